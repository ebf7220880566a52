//! Schedules, and the jobs of their moments.

use super::*;
use crate::{
    cron_schedule::{Plan, Progress, Schedule, Zone},
    domain::Priority,
    store::{Came, Fired, Saved, StoreError},
};
use jiff::Timestamp;

pub(super) fn moment(n: i64) -> Timestamp {
    Timestamp::from_second(1_795_323_600 + 3600 * n).unwrap()
}

pub(super) fn schedule() -> Schedule {
    Schedule {
        interface: plain(),
        submitter: "ada".into(),
        dialect: "robusta".into(),
        created: moment(-1),
        plan: Plan {
            quartz: None,
            time_zone: Zone::default(),
            clock_changes: Default::default(),
            start: Some(moment(0)),
            end: None,
            run_once: false,
            run_immediately: false,
        },
        priority: Priority::Low,
        worker: None,
        retries: Some(2),
        document: "{\"a\": 1}".into(),
    }
}

pub(super) async fn saved(store: &dyn Store) -> ScheduleId {
    let id = store.new_schedule_id();
    let saved = store.save_schedule(id, &schedule(), None).await;
    assert_eq!(saved.unwrap(), Saved::New);
    id
}

async fn fire(
    store: &dyn Store,
    id: ScheduleId,
    moment: Timestamp,
    progress: &Progress,
    body: &str,
) -> Result<Fired, StoreError> {
    let sealed = sealed(store, &[body.as_bytes()]).await;
    let job = NewJob {
        came: Came::Scheduled,
        ..of("ada")
    };
    store
        .fire(id, moment, progress, sealed, job, &plain())
        .await
}

async fn progress(store: &dyn Store, id: ScheduleId) -> Progress {
    store.schedule(id).await.unwrap().unwrap().progress
}

async fn jobs(store: &dyn Store) -> Vec<JobName> {
    names(store, &Viewer::all(), &filter(plain())).await
}

fn new(fired: Result<Fired, StoreError>) -> (Stored, Progress) {
    match fired {
        Ok(Fired::New(stored, progress)) => (stored, progress),
        Ok(Fired::Before(..)) | Err(_) => panic!("not new: {fired:?}"),
    }
}

pub(super) async fn a_saved_schedule_is_there<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert_eq!(store.schedules().await.unwrap(), []);
    let mut large = schedule();
    large.document = format!("\"{}\"", "x".repeat(100_000));
    let (first, second) = (saved(&*store).await, store.new_schedule_id());
    let was_saved = store.save_schedule(second, &large, None).await;
    assert_eq!(was_saved.unwrap(), Saved::New);
    let third = saved(&*store).await;
    all_three(&*store, [first, second, third], &large).await;
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    all_three(&*store, [first, second, third], &large).await;
    assert!(store.new_schedule_id() > third);
    assert!(
        store
            .schedule(store.new_schedule_id())
            .await
            .unwrap()
            .is_none()
    );
}

/// Whether there is a schedule is not to be learned from what it costs to ask for it.
pub(super) async fn a_schedule_costs_what_an_unknown_one_costs<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (new, fired, asked) = (
        saved(&*store).await,
        saved(&*store).await,
        saved(&*store).await,
    );
    fire(&*store, fired, moment(0), &Progress::default(), "{}")
        .await
        .unwrap();
    assert!(store.ask_reset(asked, &olga()).await.unwrap());
    let cost = async |id: ScheduleId| {
        let before = bench.calls();
        let is_there = store.schedule(id).await.unwrap().is_some();
        (is_there, bench.calls() - before)
    };
    let (is_there, unknown) = cost(store.new_schedule_id()).await;
    assert!(!is_there);
    for id in [new, fired, asked] {
        assert_eq!(cost(id).await, (true, unknown));
    }
}

async fn all_three(store: &dyn Store, ids: [ScheduleId; 3], second: &Schedule) {
    assert_eq!(store.schedules().await.unwrap(), ids);
    for (id, meant) in ids.into_iter().zip([&schedule(), second, &schedule()]) {
        let saved = store.schedule(id).await.unwrap().unwrap();
        assert_eq!(saved.schedule, *meant);
        assert_eq!(
            (saved.progress, saved.reset_asked),
            (Progress::default(), false)
        );
    }
    // A schedule is no job.
    let of = Of::Id(ids[0].get());
    let found = store.find(&Viewer::all(), of, Want::ALL).await.unwrap();
    assert_eq!((found, jobs(store).await), (None, Vec::new()));
}

pub(super) async fn a_moment_has_one_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (id, other) = (saved(&*store).await, saved(&*store).await);
    let begin = Progress::default();
    let (stored, first) = new(fire(&*store, id, moment(0), &begin, "{}").await);
    assert_eq!(first, begin.ran(moment(0), stored.job.clone()));
    assert_eq!(progress(&*store, id).await, first);
    assert_eq!(state(&*store, &stored.job).await, State::Waiting);
    assert_eq!(stored.job.kind(), Kind::Xml, "as its upload said");
    assert_eq!(bytes_of(&open(&*store, &stored.job).await).await, "{}");
    // Whatever its document is by now, and however far its job is.
    for _ in 0..2 {
        let again = fire(&*store, id, moment(0), &begin, "{\"b\": 2}").await;
        let before = Fired::Before(stored.job.clone(), first.clone());
        assert_eq!(again.unwrap(), before);
        bench.cancel(&stored.job, "olga").await;
        requeue(&*store, &stored.job, &plain().into()).await;
    }
    remove(&*store, &stored.job).await;
    let again = fire(&*store, id, moment(0), &begin, "{}").await.unwrap();
    assert_eq!(again, Fired::Before(stored.job.clone(), first.clone()));
    assert_eq!(jobs(&*store).await, []);
    // Another moment, and the same of another schedule.
    let (next, second) = new(fire(&*store, id, moment(1), &first, "{}").await);
    assert_eq!(second, first.ran(moment(1), next.job.clone()));
    assert_eq!(progress(&*store, id).await, second);
    let (theirs, _) = new(fire(&*store, other, moment(0), &begin, "{}").await);
    assert_eq!(jobs(&*store).await, [next.job, theirs.job]);
    assert_eq!(progress(&*store, other).await.runs, 1);
}

pub(super) async fn a_moment_has_one_job_over_a_restart<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (id, begin) = (saved(&*store).await, Progress::default());
    let (stored, first) = new(fire(&*store, id, moment(0), &begin, "{}").await);
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(progress(&*store, id).await, first);
    let again = fire(&*store, id, moment(0), &begin, "{}").await.unwrap();
    assert_eq!(again, Fired::Before(stored.job.clone(), first));
    assert_eq!(jobs(&*store).await, [stored.job]);
}

pub(super) async fn eight_fires_of_a_moment_make_one_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (id, mut before) = (saved(&*store).await, Progress::default());
    for n in 0..5 {
        let mut fires = Vec::new();
        for _ in 0..8 {
            let sealed = sealed(&*store, &[b"{}"]).await;
            let (store, before) = (store.clone(), before.clone());
            fires.push(async move {
                let (job, to) = (of("ada"), plain());
                let fired = store.fire(id, moment(n), &before, sealed, job, &to);
                fired.await.unwrap()
            });
        }
        let fired = together(fires).await;
        let (made, others): (Vec<_>, Vec<_>) =
            (fired.into_iter()).partition(|fired| matches!(fired, Fired::New(..)));
        assert_eq!(made.len(), 1, "{made:?} {others:?}");
        let (stored, after) = new(Ok(made[0].clone()));
        let same = Fired::Before(stored.job, after.clone());
        assert!(others.iter().all(|other| *other == same), "{others:?}");
        assert_eq!(progress(&*store, id).await, after);
        before = after;
    }
    assert_eq!(jobs(&*store).await.len(), 5);
}

pub(super) async fn progress_is_kept<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let id = saved(&*store).await;
    let skipped = Progress::default().skipped(moment(3));
    store.save_progress(id, &skipped).await.unwrap();
    assert_eq!(progress(&*store, id).await, skipped);
    let (stored, ran) = new(fire(&*store, id, moment(4), &skipped, "{}").await);
    assert_eq!(ran, skipped.ran(moment(4), stored.job));
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(progress(&*bench.store(), id).await, ran);
}

pub(super) async fn a_reset_is_asked_for_until_it_is_made<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (id, other) = (saved(&*store).await, saved(&*store).await);
    let is_asked = async |id| store.schedule(id).await.unwrap().unwrap().reset_asked;
    assert!(store.ask_reset(id, &olga()).await.unwrap());
    assert!(is_asked(id).await && !is_asked(other).await);
    store.save_progress(id, &Progress::default()).await.unwrap();
    assert!(is_asked(id).await);
    let reset = Progress::default().reset(moment(9));
    store.reset_schedule(id, &reset).await.unwrap();
    assert!(!is_asked(id).await);
    assert_eq!(progress(&*store, id).await, reset);
}

pub(super) async fn a_removed_schedule_is_gone<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (id, other) = (saved(&*store).await, saved(&*store).await);
    let (stored, ran) = new(fire(&*store, id, moment(0), &Progress::default(), "{}").await);
    assert!(store.remove_schedule(id, &olga()).await.unwrap());
    assert!(store.schedule(id).await.unwrap().is_none());
    assert_eq!(store.schedules().await.unwrap(), [other]);
    assert!(!store.remove_schedule(id, &olga()).await.unwrap());
    // Its jobs stay, and there are no more of them.
    let fired = fire(&*store, id, moment(1), &ran, "{}").await;
    assert!(matches!(fired, Err(StoreError::Refused(_))), "{fired:?}");
    assert!(store.schedule(id).await.unwrap().is_none());
    assert_eq!(jobs(&*store).await, std::slice::from_ref(&stored.job));
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(bench.store().schedules().await.unwrap(), [other]);
}
