//! What operators do: hold and resume, requeue and remove, and what they look at before.

use super::{
    accept::refused,
    schedules::{moment, saved},
    *,
};
use crate::{
    cron_schedule::Progress,
    domain::joblog::{Level, Message},
    domain::{JobId, Place},
    store::{
        AttemptEnd, Failing, Failure, HoldEnd, Recent, Result, StoreError, Traces,
        audit::{Deed, Ending, Entry, Outcome},
        error_groups::by_list,
    },
};
use std::time::Duration;

fn is_conflict<T>(done: &Result<T>) -> bool {
    matches!(done, Err(StoreError::Conflict(_)))
}

fn is_not_found<T>(done: &Result<T>) -> bool {
    matches!(done, Err(StoreError::NotFound(_)))
}

fn auditor() -> By {
    By {
        why: Some("audit".into()),
        ..By::operator("ada")
    }
}

fn unknown() -> InterfaceName {
    "unknown".parse().unwrap()
}

/// A refused document is validated again, and this is wrong with it.
async fn refuse_again(
    store: &dyn Store,
    job: &Job,
    to: &InterfaceName,
    wrong: &[&str],
) -> Result<()> {
    let wrong = wrong.iter();
    let findings = wrong.map(|text| Message::new(2, Level::Error, *text));
    let (findings, by) = (findings.collect(), olga());
    store.refuse_again(job, to, findings, &by).await
}

/// A job in each state from which one can be sent.
async fn at_rest<B: Bench>(bench: &B) -> Vec<JobName> {
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    for job in &jobs[..4] {
        bench.run(job).await;
    }
    bench.defer(&jobs[0]).await;
    bench.finish(&jobs[1], &[("a.txt", b"a")], Map::new()).await;
    bench.fail(&jobs[2], "no paper").await;
    bench.cancel(&jobs[3], "eve").await;
    bench.cancel(&jobs[4], "eve").await;
    jobs.push(refused(&*store, Some(&plain())).await.job);
    jobs
}

pub(super) async fn a_submitter_is_forgotten_once_nothing_of_his_waits<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let his = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let other = accept(&*store, &plain(), "bob", b"<a/>").await.job;
    assert_eq!(store.forget("ada").await.unwrap().waiting, 1);
    bench.run(&his).await;
    assert_eq!(store.forget("ada").await.unwrap().waiting, 1);
    bench.finish(&his, &[("a.txt", b"a")], Map::new()).await;
    let there = store.traces_of("ada").await.unwrap();
    let expected = Traces {
        jobs: 1,
        documents: 1,
        logs: 1,
        results: 1,
        ..Traces::default()
    };
    assert_eq!(there, expected);
    assert_eq!(store.forget("ada").await.unwrap(), expected);
    assert!(store.find_anywhere(&his).await.unwrap().is_none());
    assert!(!store.is_known(&his).await.unwrap());
    assert!(store.find_anywhere(&other).await.unwrap().is_some());
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(store.traces_of("ada").await.unwrap(), Traces::default());
    assert_eq!(store.traces_of("bob").await.unwrap().waiting, 1);
}

pub(super) async fn what_is_audited_is_numbered_and_stays<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert_eq!(store.audit_head().await.unwrap(), None);
    let deed = Entry::Begun(Deed::new("hold", &olga()).into());
    assert_eq!(store.audit(&deed).await.unwrap(), 1);
    let first = store.audit_head().await.unwrap().unwrap();
    let ended = Entry::Ended(Ending::new(1, Outcome::Done, "held"));
    assert_eq!(store.audit(&ended).await.unwrap(), 2);
    let second = store.audit_head().await.unwrap().unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.sha256, second.sha256);
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(store.audit_head().await.unwrap(), Some(second));
    assert_eq!(store.audit(&deed).await.unwrap(), 3);
    let records = store.audited(10).await.unwrap();
    let entries: Vec<Entry> = records.iter().map(|record| record.entry.clone()).collect();
    assert_eq!(entries, [deed.clone(), ended, deed]);
    let newest = store.audited(2).await.unwrap();
    assert_eq!(newest, records[1..]);
}

pub(super) async fn a_sent_job_begins_anew_from_every_state<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for name in at_rest(&bench).await {
        let seen = detail(&*store, &name).await;
        let document = bytes_of(&open(&*store, &name).await).await;
        let found = store.find_anywhere(&name).await.unwrap().unwrap();
        assert_eq!(
            (&found.job, found.state),
            (&seen.summary.job, seen.summary.state)
        );
        assert_eq!(found.interface, Some(plain()));
        let (from, to) = (&seen.summary.job, other().into());
        let there = store.requeue(from, &to, &olga()).await.unwrap();
        assert_eq!((&there.name, &there.place), (&name, &Place::Queue(to)));
        let sent = detail(&*store, &name).await;
        assert_eq!(
            (&sent.summary.job, sent.summary.state),
            (&there, State::Waiting)
        );
        assert_eq!(sent.summary.interface, Some(other()));
        assert_eq!(bytes_of(&open(&*store, &name).await).await, document);
        assert_eq!(
            (
                store.waiting(&other()),
                store.still_waiting(vec![name.clone()]).await
            ),
            (1, Ok(vec![name.clone()]))
        );
        // What was said of it stays, and who has sent it is said behind that.
        let requeued = "requeued to other by olga (uid 1000)";
        match said(&seen).as_slice() {
            [] => store.fetched(&there, &By::operator("bob")).await.unwrap(),
            before => {
                assert_eq!(said(&sent), [before, &[requeued]].concat());
                bench.run(&name).await;
                bench.finish(&name, &[], Map::new()).await;
            }
        }
        let done = detail(&*store, &name).await;
        assert_eq!(done.summary.job.place, Place::Bak(other()));
        assert_eq!(
            said(&done).iter().filter(|text| **text == requeued).count(),
            1,
            "{done:?}"
        );
        let attempts = done.log.unwrap().attempts;
        assert_eq!(attempts, u32::from(!said(&seen).is_empty()));
    }
}

pub(super) async fn a_job_that_runs_is_neither_sent_nor_removed<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let queued = job(&*store, &name).await;
    // Nor is one sent to where it waits.
    assert!(is_conflict(
        &store.requeue(&queued, &plain().into(), &olga()).await
    ));
    assert_eq!(job(&*store, &name).await, queued);
    bench.run(&name).await;
    let running = job(&*store, &name).await;
    assert!(!store.is_cut_off(&running).await.unwrap());
    for to in [plain(), other()] {
        assert!(is_conflict(
            &store.requeue(&running, &to.into(), &olga()).await
        ));
    }
    assert!(is_conflict(&store.remove(&running, &olga()).await));
    let again = refuse_again(&*store, &running, &plain(), &[]).await;
    assert!(is_conflict(&again));
    assert_eq!(job(&*store, &name).await, running);
    bench.finish(&name, &[], Map::new()).await;
    assert_eq!(said(&detail(&*store, &name).await), ["processed"]);
}

pub(super) async fn what_moved_meanwhile_is_left_alone<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let queued = job(&*store, &name).await;
    bench.run(&name).await;
    bench.finish(&name, &[], Map::new()).await;
    let done = detail(&*store, &name).await;
    assert!(is_conflict(
        &store.requeue(&queued, &other().into(), &olga()).await
    ));
    assert!(is_conflict(&store.remove(&queued, &olga()).await));
    assert_eq!(detail(&*store, &name).await, done);
    let wrong = refused(&*store, Some(&plain())).await.job;
    let seen = job(&*store, &wrong).await;
    requeue(&*store, &wrong, &other().into()).await;
    let sent = detail(&*store, &wrong).await;
    let again = refuse_again(&*store, &seen, &plain(), &[]).await;
    assert!(is_conflict(&again));
    assert_eq!(detail(&*store, &wrong).await, sent);
    // What is gone is told apart.
    remove(&*store, &name).await;
    let (job, to) = (&done.summary.job, other().into());
    let before = store.log(job).await.unwrap();
    assert!(is_not_found(&store.requeue(job, &to, &olga()).await));
    assert!(is_not_found(&store.remove(job, &olga()).await));
    assert_eq!(store.log(job).await.unwrap(), before);
}

pub(super) async fn a_job_that_was_never_one_is_not_found<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let stored = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let name = stored.with_id(JobId::from_number(stored.id().get() + 1_000_000));
    let no_job = |place| Job {
        place,
        name: name.clone(),
    };
    assert_eq!(store.find_anywhere(&name).await.unwrap(), None);
    for place in [
        Place::Queue(plain().into()),
        Place::Bak(plain()),
        Place::JobErrors,
    ] {
        let job = no_job(place);
        assert!(is_not_found(
            &store.requeue(&job, &other().into(), &olga()).await
        ));
        assert!(is_not_found(&store.remove(&job, &olga()).await));
        assert_eq!(store.addressee_of(&job).await.unwrap(), None);
    }
    let refused = no_job(Place::Refused);
    let again = refuse_again(&*store, &refused, &plain(), &[]).await;
    assert!(is_not_found(&again));
    assert!(!store.is_known(&name).await.unwrap());
}

/// The log of a job that was removed is there, and nothing else of it.
async fn is_gone(store: &dyn Store, seen: &JobDetail) {
    let job = &seen.summary.job;
    assert_eq!(look(store, &Viewer::all(), &job.name).await, None);
    assert_eq!(store.find_anywhere(&job.name).await.unwrap(), None);
    assert!(store.open(job).await.unwrap().is_none());
    let listed = names(store, &Viewer::all(), &filter(plain())).await;
    assert!(!listed.contains(&job.name));
    assert!(store.is_known(&job.name).await.unwrap());
    let log = store.log(job).await.unwrap();
    let texts: Vec<&str> = log.messages.iter().map(|said| said.text.as_str()).collect();
    assert_eq!(
        texts,
        [&said(seen)[..], &["removed by olga (uid 1000)"]].concat()
    );
    assert_eq!(log.job, job.name);
}

pub(super) async fn a_removed_job_is_gone_for_ever_but_its_log<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut gone = Vec::new();
    for name in at_rest(&bench).await {
        let seen = detail(&*store, &name).await;
        store.remove(&seen.summary.job, &olga()).await.unwrap();
        is_gone(&*store, &seen).await;
        gone.push(seen);
    }
    assert_eq!(store.waiting(&plain()), 0);
    drop(store);
    let bench = bench.restart().await;
    for seen in &gone {
        is_gone(&*bench.store(), seen).await;
    }
}

pub(super) async fn a_refused_document_is_validated_again<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = refused(&*store, Some(&plain())).await.job;
    let seen = job(&*store, &name).await;
    let again = refuse_again(&*store, &seen, &other(), &["one", "two"]).await;
    again.unwrap();
    let found = detail(&*store, &name).await;
    let again = "validated again for other by olga (uid 1000): still wrong";
    assert_eq!(
        said(&found),
        ["sent as ü", "no end of <a>", again, "one", "two"]
    );
    assert_eq!(
        (&found.summary.job, found.summary.state),
        (&seen, State::Failed)
    );
    assert_eq!(found.summary.interface, Some(plain()));
    assert_eq!(store.log(&seen).await.unwrap(), found.log.unwrap());
    requeue(&*store, &name, &plain().into()).await;
    assert_eq!(state(&*store, &name).await, State::Waiting);
    // What has failed was in order.
    bench.run(&name).await;
    bench.fail(&name, "no paper").await;
    let failed = job(&*store, &name).await;
    let again = refuse_again(&*store, &failed, &plain(), &[]).await;
    assert!(is_conflict(&again));
}

pub(super) async fn a_hold_says_by_whom_since_when_and_why<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let text = async || store.hold_text(&plain()).await.unwrap();
    assert_eq!(text().await, None);
    assert_eq!(store.hold(&plain(), &auditor(), None).await, Ok(None));
    let held = text().await.unwrap();
    assert!(held.starts_with("by ada since "), "{held}");
    assert!(held.ends_with("Z: audit"), "{held}");
    // Whoever says no reason leaves the one that was said.
    assert_eq!(
        store.hold(&plain(), &olga(), None).await,
        Ok(Some(held.clone()))
    );
    assert_eq!(text().await, Some(held));
    let late = By {
        why: Some("too late".into()),
        ..olga()
    };
    assert_eq!(store.hold(&plain(), &late, None).await, Ok(None));
    let held = text().await.unwrap();
    assert!(
        held.starts_with("by olga (uid 1000) since ") && held.ends_with(": too late"),
        "{held}"
    );
    assert_eq!(store.hold_text(&other()).await.unwrap(), None);
    assert_eq!(store.resume(&plain(), &olga()).await, Ok(true));
    assert_eq!(store.resume(&plain(), &olga()).await, Ok(false));
    assert_eq!(
        (text().await, store.is_held(&plain()).await),
        (None, Ok(false))
    );
    assert_eq!(store.hold(&plain(), &olga(), None).await, Ok(None));
    let held = text().await.unwrap();
    assert!(
        held.starts_with("by olga (uid 1000) since ") && held.ends_with('Z'),
        "{held}"
    );
}

pub(super) async fn an_unknown_interface_is_told<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert_eq!(store.interfaces(), [mail(), other(), plain()]);
    assert!(is_not_found(&store.hold(&unknown(), &olga(), None).await));
    assert!(is_not_found(&store.resume(&unknown(), &olga()).await));
    assert_eq!(store.hold_text(&unknown()).await.unwrap(), None);
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let queued = job(&*store, &name).await;
    let sent = store.requeue(&queued, &unknown().into(), &olga()).await;
    assert!(is_not_found(&sent), "{sent:?}");
    assert_eq!(job(&*store, &name).await, queued);
}

pub(super) async fn it_is_known_for_whom_a_job_is<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let bob: UserName = "bob".parse().unwrap();
    assert!(store.is_user(&bob).await.unwrap());
    assert!(!store.is_user(&nobody()).await.unwrap());
    let name = address(&bench, &bob, "ada").await;
    let of = async || {
        let job = job(&*store, &name).await;
        store.addressee_of(&job).await.unwrap()
    };
    assert_eq!(of().await.as_ref(), Some(&bob));
    let queued = job(&*store, &name).await;
    store.fetched(&queued, &By::operator("bob")).await.unwrap();
    assert_eq!(of().await.as_ref(), Some(&bob));
    // Also where jobs are for nobody alone.
    requeue(&*store, &name, &plain().into()).await;
    assert_eq!(of().await.as_ref(), Some(&bob));
    let plain = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let plain = job(&*store, &plain).await;
    assert_eq!(store.addressee_of(&plain).await.unwrap(), None);
}

/// What eight calls gave that were made at one moment.
async fn eight<T, F>(store: &Arc<dyn Store>, call: impl Fn(Arc<dyn Store>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    together((0..8).map(|n| call(store.clone(), n))).await
}

pub(super) async fn of_eight_who_do_the_same_one_does_it<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    // Whether they meet is a matter of luck.
    for round in 0..30 {
        let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
        bench.run(&name).await;
        bench.fail(&name, "no paper").await;
        let failed = job(&*store, &name).await;
        let done = eight(&store, |store, n| {
            let failed = failed.clone();
            async move {
                match (round % 3, n % 2) {
                    (0, _) | (2, 0) => store
                        .requeue(&failed, &other().into(), &olga())
                        .await
                        .map(drop),
                    (_, _) => store.remove(&failed, &olga()).await,
                }
            }
        });
        let done = done.await;
        let is_late = |done: &&Result<()>| is_conflict(done) || is_not_found(done);
        assert_eq!(
            done.iter().filter(|done| done.is_ok()).count(),
            1,
            "{done:?}"
        );
        assert_eq!(done.iter().filter(is_late).count(), 7, "{done:?}");
        let log = store.log(&failed).await.unwrap();
        assert_eq!(log.messages.len(), 2, "{log:?}");
    }
}

pub(super) async fn a_schedule_is_reset_and_removed_by_one<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for _ in 0..5 {
        let id = saved(&*store).await;
        let asked = eight(&store, |store, _| async move {
            store.ask_reset(id, &olga()).await
        });
        assert!(asked.await.iter().all(|asked| *asked == Ok(true)));
        assert!(store.schedule(id).await.unwrap().unwrap().reset_asked);
        let gone = eight(&store, |store, _| async move {
            store.remove_schedule(id, &olga()).await
        });
        let gone = gone.await;
        assert_eq!(
            gone.iter().filter(|gone| **gone == Ok(true)).count(),
            1,
            "{gone:?}"
        );
        assert_eq!(
            gone.iter().filter(|gone| **gone == Ok(false)).count(),
            7,
            "{gone:?}"
        );
        assert_eq!(store.ask_reset(id, &olga()).await, Ok(false));
    }
    let held = eight(&store, |store, _| async move {
        store.hold(&plain(), &olga(), None).await.unwrap()
    });
    let held = held.await;
    let text = store.hold_text(&plain()).await.unwrap();
    assert_eq!(
        held.iter().filter(|before| before.is_none()).count(),
        1,
        "{held:?}"
    );
    assert_eq!(
        held.iter().filter(|before| **before == text).count(),
        7,
        "{held:?}"
    );
    let released = eight(&store, |store, _| async move {
        store.resume(&plain(), &olga()).await
    });
    let released = released.await;
    assert_eq!(
        released.iter().filter(|was| **was == Ok(true)).count(),
        1,
        "{released:?}"
    );
}

pub(super) async fn each_act_outlives_a_restart<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    bench.run(&name).await;
    bench.defer(&name).await;
    requeue(&*store, &name, &other().into()).await;
    store.hold(&plain(), &auditor(), None).await.unwrap();
    store.hold(&other(), &olga(), None).await.unwrap();
    store.resume(&other(), &olga()).await.unwrap();
    let held = store.hold_text(&plain()).await.unwrap();
    let wrong = refused(&*store, Some(&plain())).await.job;
    let seen = job(&*store, &wrong).await;
    let again = refuse_again(&*store, &seen, &plain(), &["one"]).await;
    again.unwrap();
    let (reset, gone) = (saved(&*store).await, saved(&*store).await);
    store.ask_reset(reset, &olga()).await.unwrap();
    store.remove_schedule(gone, &olga()).await.unwrap();
    let (sent, wrong) = (detail(&*store, &name).await, detail(&*store, &wrong).await);
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(store.hold_text(&plain()).await.unwrap(), held);
    assert!(!store.is_held(&other()).await.unwrap());
    for before in [sent, wrong] {
        assert_eq!(detail(&*store, &before.summary.job.name).await, before);
    }
    assert_eq!(store.schedules().await.unwrap(), [reset]);
    assert!(store.schedule(reset).await.unwrap().unwrap().reset_asked);
    let progress = Progress::default().reset(moment(9));
    store.reset_schedule(reset, &progress).await.unwrap();
    assert!(!store.schedule(reset).await.unwrap().unwrap().reset_asked);
    // Its attempts are counted from none there, too.
    bench.run(&name).await;
    bench.finish(&name, &[], Map::new()).await;
    assert_eq!(detail(&*store, &name).await.log.unwrap().attempts, 1);
}

pub(super) async fn it_is_known_how_jobs_failed_last<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..7 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    let [one, like_it, later, well, given_up, again, _] = &jobs[..] else {
        unreachable!();
    };
    for name in [one, like_it, later, well, given_up, again] {
        bench.run(name).await;
    }
    bench.fail(one, "exit code 1").await;
    bench.fail(like_it, "exit code 27").await;
    bench.defer(later).await;
    bench.finish(well, &[], serde_json::Map::new()).await;
    bench.cancel(given_up, "olga").await;
    bench.fail(again, "exit code 1").await;
    requeue(&*store, again, &plain().into()).await;
    let failures = async |store: &dyn Store| {
        let filter = Filter {
            want_failure: true,
            ..Filter::default()
        };
        let page = store.list(&Viewer::all(), &filter, None, usize::MAX).await;
        let failed = page.unwrap().jobs.into_iter();
        let failed = failed.filter_map(|of| Some((of.job.name, of.failure?)));
        failed.collect::<Vec<(JobName, Failure)>>()
    };
    let known = failures(&*store).await;
    let names: Vec<&JobName> = known.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [one, like_it, later]);
    let kind = |n: usize| known[n].1.fingerprint.as_ref().unwrap();
    assert_eq!(kind(0), kind(1));
    assert_ne!(kind(0), kind(2));
    assert!(known.iter().all(|(_, failure)| failure.at_ms <= now_ms()));
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(failures(&*bench.store()).await, known);
}

pub(super) async fn it_is_known_how_each_attempt_ended<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let other = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    assert_eq!(store.attempts(&name).await, Ok(Vec::new()));
    let began_ms = now_ms();
    bench.run(&name).await;
    bench.fail(&name, "no paper in 7").await;
    requeue(&*store, &name, &plain().into()).await;
    bench.run(&name).await;
    bench.defer(&name).await;
    let deferred = job(&*store, &name).await;
    assert!(store.release_due(&deferred).await.unwrap());
    bench.run(&name).await;
    bench.cancel(&name, "olga").await;
    bench.run(&other).await;
    bench.finish(&other, &[], serde_json::Map::new()).await;
    let known = store.attempts(&name).await.unwrap();
    let told: Vec<_> = known.iter().map(|one| (one.number, one.outcome)).collect();
    let all = [
        (1, AttemptEnd::Failed),
        (1, AttemptEnd::Deferred),
        (2, AttemptEnd::Cancelled),
    ];
    assert_eq!(told, all);
    let mut before_ms = began_ms;
    for attempt in &known {
        let started_ms = attempt.started_ms.unwrap();
        assert!(before_ms <= started_ms && started_ms <= attempt.ended_ms);
        before_ms = attempt.ended_ms;
    }
    assert_eq!(known[0].reason.as_deref(), Some("no paper in 7"));
    let kind = known[0].fingerprint.clone();
    assert!(kind.is_some() && kind != known[1].fingerprint);
    let of_other = store.attempts(&other).await.unwrap();
    let [done] = &of_other[..] else {
        panic!("{of_other:?}");
    };
    assert_eq!((done.number, done.outcome), (1, AttemptEnd::Done));
    assert_eq!((&done.fingerprint, &done.reason), (&None, &None));
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(bench.store().attempts(&name).await.unwrap(), known);
}

pub(super) async fn what_came_and_ended_is_counted<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    accept(&*store, &other(), "ada", b"<a/>").await;
    for name in &jobs[..4] {
        bench.run(name).await;
    }
    bench.finish(&jobs[0], &[], serde_json::Map::new()).await;
    bench.fail(&jobs[1], "no paper").await;
    bench.cancel(&jobs[2], "olga").await;
    bench.defer(&jobs[3]).await;
    let fetched = job(&*store, &jobs[4]).await;
    store.fetched(&fetched, &By::operator("ada")).await.unwrap();
    let wrong = refused(&*store, Some(&plain())).await.job;
    let wrong = job(&*store, &wrong).await;
    let (to, olga) = (plain(), By::operator("olga"));
    let again = store.refuse_again(&wrong, &to, Vec::new(), &olga).await;
    again.unwrap();
    requeue(&*store, &jobs[1], &other().into()).await;
    bench.run(&jobs[1]).await;
    bench.finish(&jobs[1], &[], serde_json::Map::new()).await;
    drop(store);
    let counted = async |store: &dyn Store| {
        let activity = store.activity().await.unwrap();
        let of = |recent: Recent| {
            let tally = recent.between(0, i64::MAX);
            (tally.accepted(), tally.done, tally.failed, tally.refused)
        };
        [
            of(activity.all.clone()),
            of(activity.of(&plain())),
            of(activity.of(&other())),
        ]
    };
    let all = [(7, 3, 1, 1), (6, 2, 1, 1), (1, 1, 0, 0)];
    assert_eq!(counted(&*bench.store()).await, all);
    assert_eq!(counted(&*bench.store()).await, all, "once");
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(counted(&*store).await, all);
    accept(&*store, &other(), "ada", b"<a/>").await;
    assert_eq!(counted(&*store).await[2], (2, 1, 0, 0));
}

pub(super) async fn errors_are_grouped_as_a_list_would_have_them<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for user in ["ada", "bob", "ada", "ada", "ada", "ada"] {
        let name = accept(&*store, &plain(), user, b"<a/>").await.job;
        bench.run(&name).await;
        jobs.push(name);
    }
    bench.fail(&jobs[0], "no paper in 7").await;
    bench.fail(&jobs[1], "no paper in 12").await;
    bench.defer(&jobs[2]).await;
    bench.cancel(&jobs[3], "olga").await;
    bench.fail(&jobs[4], "no ink").await;
    requeue(&*store, &jobs[4], &plain().into()).await;
    bench.fail(&jobs[5], "no ink").await;
    requeue(&*store, &jobs[5], &other().into()).await;
    // A run that begins in the millisecond in which the last one ended has its messages, too.
    let ended_ms = store.now_ms();
    while store.now_ms() == ended_ms {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.run(&jobs[5]).await;
    bench.fail(&jobs[5], "no paper in 9").await;
    for of in [Some(plain()), None] {
        refused(&*store, of.as_ref()).await;
    }
    let everybody = Viewer::all();
    let groups = store.error_groups(&everybody, Failing::Jobs, None).await;
    let groups = groups.unwrap();
    let counted: Vec<_> = groups.iter().map(|of| (of.failed, of.deferred)).collect();
    assert_eq!(counted, [(3, 0), (0, 1)]);
    assert_eq!(groups[0].interfaces, [other(), plain()].into());
    assert_eq!(groups[0].example, jobs[5]);
    assert_eq!(groups[0].text.as_deref(), Some("no paper in 9"));
    assert_eq!(groups[0].hours.iter().sum::<u32>(), 3);
    let later = Some(groups[0].last_ms + 1);
    let none = store.error_groups(&everybody, Failing::Jobs, later).await;
    assert_eq!(none, Ok(Vec::new()));
    let own = viewer("bob", Sight::Own);
    let of_bob = store.error_groups(&own, Failing::Jobs, None).await.unwrap();
    assert_eq!((of_bob.len(), of_bob[0].failed), (1, 1));
    for of in [Failing::Jobs, Failing::Uploads] {
        let listed = by_list(&*store, &everybody, of, None).await.unwrap();
        assert_eq!(
            store.error_groups(&everybody, of, None).await.unwrap(),
            listed
        );
    }
    let wrong = store.error_groups(&everybody, Failing::Uploads, None).await;
    let wrong = wrong.unwrap();
    assert_eq!(wrong.iter().map(|of| of.failed).sum::<usize>(), 2);
    assert!(wrong.iter().all(|of| of.submitter.is_some()), "{wrong:?}");
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    let again = store.error_groups(&everybody, Failing::Jobs, None).await;
    assert_eq!(again.unwrap(), groups);
}

pub(super) async fn a_batch_has_an_outcome_for_each_of_its_jobs<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let rest = at_rest(&bench).await;
    let running = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    bench.run(&running).await;
    let gone = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let mut seen = Vec::new();
    for name in rest.iter().chain([&running, &gone]) {
        seen.push(job(&*store, name).await);
    }
    remove(&*store, &gone).await;
    // One is given twice, and one is to go where nothing is.
    seen.push(seen[0].clone());
    let mut jobs: Vec<(Job, Queue)> = seen
        .iter()
        .map(|job| (job.clone(), other().into()))
        .collect();
    jobs[1].1 = unknown().into();
    let sent = store.requeue_all(jobs, &olga()).await;
    let n_rest = rest.len();
    assert_eq!(sent.len(), n_rest + 3);
    for (n, (sent, seen)) in sent.iter().zip(&seen).enumerate() {
        match n {
            _ if n == 1 || n == n_rest + 1 => assert!(is_not_found(sent), "{n}: {sent:?}"),
            _ if n >= n_rest => assert!(is_conflict(sent), "{n}: {sent:?}"),
            _ => {
                let there = sent.as_ref().unwrap();
                assert_eq!(
                    (&there.name, &there.place),
                    (&seen.name, &Place::Queue(other().into()))
                );
                assert_eq!(state(&*store, &seen.name).await, State::Waiting);
            }
        }
    }
    assert_eq!(job(&*store, &rest[1]).await, seen[1]);
    let shown = detail(&*store, &rest[2]).await;
    let requeued = said(&shown)
        .into_iter()
        .filter(|said| said.starts_with("requeued"));
    assert_eq!(requeued.count(), 1, "{shown:?}");
    // The same of those that are removed.
    let jobs = vec![seen[1].clone(), seen[0].clone(), seen[n_rest].clone()];
    let removed = store.remove_all(jobs, &olga()).await;
    assert_eq!(removed[0], Ok(()));
    // They have moved since they were seen.
    assert!(
        is_conflict(&removed[1]) && is_conflict(&removed[2]),
        "{removed:?}"
    );
    assert_eq!(store.find_anywhere(&rest[1]).await.unwrap(), None);
    assert_eq!(store.requeue_all(Vec::new(), &olga()).await, []);
    let names = vec![rest[1].clone(), rest[0].clone()];
    let found = store.find_all_anywhere(names).await.unwrap();
    assert_eq!(found[0], None);
    assert_eq!(found[1].as_ref().unwrap().job.name, rest[0]);
}

pub(super) async fn a_batch_outlives_a_restart<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..9 {
        let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
        bench.run(&name).await;
        bench.fail(&name, "no paper").await;
        jobs.push(job(&*store, &name).await);
    }
    let sent = jobs[..3].iter().map(|job| (job.clone(), other().into()));
    let sent = store.requeue_all(sent.collect(), &olga()).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let removed = store.remove_all(jobs[3..6].to_vec(), &olga()).await;
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    let mut before = Vec::new();
    for job in jobs[..3].iter().chain(&jobs[6..]) {
        before.push(detail(&*store, &job.name).await);
    }
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    for before in before {
        assert_eq!(detail(&*store, &before.summary.job.name).await, before);
    }
    for job in &jobs[3..6] {
        assert_eq!(store.find_anywhere(&job.name).await.unwrap(), None);
        let log = store.log(job).await.unwrap();
        assert!(log.messages.last().unwrap().text.starts_with("removed by"));
    }
}

pub(super) async fn a_hold_ends_when_its_moment_has_come<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let end = async || store.end_hold(&plain()).await.unwrap();
    assert_eq!(end().await, HoldEnd::Never);
    store.hold(&plain(), &auditor(), None).await.unwrap();
    assert_eq!(end().await, HoldEnd::Never);
    let at = |ms: i64| jiff::Timestamp::from_second((now_ms() + ms) / 1000).unwrap();
    let (later, past) = (at(3_600_000), at(-5_000));
    assert_eq!(store.hold(&plain(), &olga(), Some(later)).await, Ok(None));
    let text = store.hold_text(&plain()).await.unwrap().unwrap();
    assert!(text.ends_with(&format!(" until {later}")), "{text}");
    assert_eq!(end().await, HoldEnd::At(later));
    assert!(store.is_held(&plain()).await.unwrap());
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(store.end_hold(&plain()).await, Ok(HoldEnd::At(later)));
    // Of one that ended while nobody was there.
    store.hold(&plain(), &auditor(), Some(past)).await.unwrap();
    assert_eq!(store.end_hold(&plain()).await, Ok(HoldEnd::Ended(past)));
    assert!(!store.is_held(&plain()).await.unwrap());
    assert_eq!(store.end_hold(&plain()).await, Ok(HoldEnd::Never));
    assert!(is_not_found(&store.end_hold(&unknown()).await));
}
