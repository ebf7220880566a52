//! Looking for one job: who sees it, and what of it.

use super::*;
use crate::{
    domain::{
        Place,
        joblog::{Level, Message},
    },
    store::{NotReady, Remains, Results, check::CheckProgress},
};

/// A job of a user in each of its states; what is done has results.
async fn in_each_state<B: Bench>(bench: &B, user: &str) -> Vec<JobName> {
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..6 {
        jobs.push(accept(&*store, &plain(), user, b"<a/>").await.job);
    }
    for job in &jobs[1..5] {
        bench.run(job).await;
    }
    bench.defer(&jobs[2]).await;
    let variables = Map::from_iter([("pages".to_owned(), 7.into())]);
    let files: [(&str, &[u8]); 2] = [("b.txt", b"b"), ("a.txt", b"a")];
    bench.finish(&jobs[3], &files, variables).await;
    bench.fail(&jobs[4], "no paper").await;
    bench.cancel(&jobs[5], "olga").await;
    jobs
}

pub(super) async fn what_calls_have_made_has_no_flaw<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let removed = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let removed = job(&*store, &removed).await;
    store.remove(&removed, &By::operator("olga")).await.unwrap();
    let progress = Arc::new(CheckProgress::default());
    let checked = store.check(progress.clone()).await.unwrap();
    assert_eq!(checked.flaws, []);
    assert_eq!(checked.jobs, jobs.len() as u64);
    assert_eq!(progress.so_far(), (checked.jobs, checked.jobs));
}

pub(super) async fn every_state_is_told<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let states = [
        State::Waiting,
        State::Running,
        State::Waiting,
        State::Done,
        State::Failed,
        State::Cancelled,
    ];
    for (job, state) in jobs.iter().zip(states) {
        let of_name = Of::Name(job.clone());
        for want in [Want::PLACE, Want::RECORD, Want::ALL] {
            for of in [of_name.clone(), Of::Id(job.id())] {
                let found = store.find(&Viewer::all(), of, want).await;
                let summary = found.unwrap().unwrap().summary;
                assert_eq!(summary.job.name, *job);
                assert_eq!((summary.state, summary.interface), (state, Some(plain())));
                assert_eq!(summary.is_deleted, state == State::Cancelled);
            }
        }
    }
    let deferred = job(&*store, &jobs[2]).await.place;
    assert!(matches!(deferred, Place::Deferred { .. }), "{deferred:?}");
    assert_eq!(job(&*store, &jobs[3]).await.place, Place::Bak(plain()));
    let running = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    bench.run(&running).await;
    bench.cancel(&running, "olga").await;
    let summary = detail(&*store, &running).await.summary;
    assert_eq!(
        (summary.state, summary.is_deleted),
        (State::Cancelled, false)
    );
    // Back in a queue, nothing of that counts any more.
    for job in [&jobs[3], &jobs[4], &jobs[5], &running] {
        requeue(&*store, job, &plain().into()).await;
        let summary = detail(&*store, job).await.summary;
        assert_eq!((summary.state, summary.is_deleted), (State::Waiting, false));
        assert!(summary.is_queued());
    }
}

pub(super) async fn nothing_is_read_that_was_not_asked_for<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let wants = [false, true].into_iter().flat_map(|record| {
        let rest = [(false, false), (false, true), (true, false), (true, true)];
        rest.map(|(log, results)| Want {
            record,
            log,
            results,
            now: log && results,
        })
    });
    for want in wants {
        for (n, job) in jobs.iter().enumerate() {
            let of = Of::Name(job.clone());
            let found = store.find(&Viewer::all(), of, want).await.unwrap().unwrap();
            let full = detail(&*store, job).await;
            assert_eq!(
                found.summary.record,
                full.summary.record.filter(|_| want.record)
            );
            assert_eq!(found.log, full.log.filter(|_| want.log));
            assert_eq!(found.now.is_some(), want.now);
            let is_done = n == 3;
            match want.results && is_done {
                true => {
                    assert_eq!(found.results.files, ["a.txt", "b.txt"]);
                    assert_eq!(found.results.variables["pages"], 7);
                }
                false => assert_eq!(found.results, Results::default()),
            }
            // Deferred, done, failed, cancelled: each has ended an attempt, or for good.
            assert_eq!(found.log.is_some(), want.log && n >= 2, "{n}");
        }
    }
}

/// Answers to every question about a job, with what each has cost.
async fn answers<B: Bench>(
    bench: &B,
    viewer: &Viewer,
    job: &JobName,
) -> Vec<(Option<JobDetail>, u64)> {
    let store = bench.store();
    let mut answers = Vec::new();
    for of in [Of::Name(job.clone()), Of::Id(job.id())] {
        for want in [Want::PLACE, Want::RECORD, Want::ALL] {
            let before = bench.calls();
            let found = store.find(viewer, of.clone(), want).await.unwrap();
            answers.push((found, bench.calls() - before));
        }
    }
    answers
}

/// The name of a job that there is not, as like that of this one as can be.
fn unknown(job: &JobName) -> JobName {
    job.with_id(crate::domain::JobId::from_number(
        // Of the same millisecond, and so of the same day.
        job.id().get() + 2048,
    ))
}

/// A job of a user in each state, each way into it, and each of the two kinds of interface.
async fn in_each_way<B: Bench>(bench: &B, user: &str) -> Vec<JobName> {
    let mut jobs = in_each_state(bench, user).await;
    jobs.push(address(bench, &user.parse().unwrap(), user).await);
    let store = bench.store();
    let fetched = address(bench, &user.parse().unwrap(), user).await;
    store
        .fetched(&job(&*store, &fetched).await, &By::operator(user))
        .await
        .unwrap();
    jobs.push(fetched);
    let cancelled = accept(&*store, &plain(), user, b"<a/>").await.job;
    bench.run(&cancelled).await;
    bench.cancel(&cancelled, "olga").await;
    jobs.push(cancelled);
    for interface in [None, Some(&plain())] {
        let sealed = sealed(&*store, &[b"<a>"]).await;
        let findings = vec![Message::new(store.now_ms(), Level::Error, "no end")];
        let refused = store.refuse(sealed, of(user), interface, findings, None);
        match refused.await.unwrap() {
            Receipt::New(stored) => jobs.push(stored.job),
            receipt @ (Receipt::Same(_) | Receipt::Different) => panic!("{receipt:?}"),
        }
    }
    jobs
}

/// As many calls, and the same answers, whatever was looked at before.
pub(super) async fn a_foreign_job_is_answered_like_an_unknown_one<B: Bench>() {
    let mut bench = B::new().await;
    let jobs = in_each_way(&bench, "ada").await;
    for _life in 0..2 {
        // What is read once in a life, of the engine or of a day.
        assert!(
            look(&*bench.store(), &Viewer::all(), &jobs[0])
                .await
                .is_some()
        );
        for viewer in [viewer("eve", Sight::Own), viewer("ada", Sight::Nothing)] {
            for job in &jobs {
                let at_first = answers(&bench, &viewer, job).await;
                let later = answers(&bench, &viewer, job).await;
                let unknown = answers(&bench, &viewer, &unknown(job)).await;
                assert!(unknown.iter().all(|(found, _)| found.is_none()));
                assert_eq!(at_first, unknown, "{viewer:?}, {job}");
                assert_eq!(later, unknown, "{viewer:?}, {job}");
            }
        }
        bench = bench.restart().await;
    }
}

pub(super) async fn half_of_a_name_is_no_name<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let id = accept(&*store, &plain(), "ada", b"<a/>").await.job.id();
    for reference in ["x", "order-7"] {
        let name = JobName::new(id, crate::domain::Reference::reduce(reference), Kind::Xml);
        assert_eq!(look(&*store, &Viewer::all(), &name).await, None);
    }
    let name = JobName::new(id, None, Kind::Json);
    assert_eq!(look(&*store, &Viewer::all(), &name).await, None);
}

pub(super) async fn a_viewer_sees_his_own_job_in_every_state<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let of_ada = in_each_state(&bench, "ada").await;
    let of_eve = accept(&*store, &plain(), "eve", b"<a/>").await.job;
    let ada = viewer("ada", Sight::Own);
    for job in &of_ada {
        let all = look(&*store, &Viewer::all(), job).await;
        assert!(all.is_some());
        assert_eq!(look(&*store, &ada, job).await, all);
        let of = Of::Id(job.id());
        let found = store.find(&ada, of, Want::PLACE).await.unwrap();
        assert_eq!(found.unwrap().summary.job.name, *job);
    }
    assert_eq!(look(&*store, &ada, &of_eve).await, None);
    assert!(
        look(&*store, &viewer("ada", Sight::All), &of_eve)
            .await
            .is_some()
    );
    // What an interface shows is asked of that interface.
    let by_interface = Viewer {
        sight: Arc::new(|interface| match interface == Some(&plain()) {
            true => Sight::All,
            false => Sight::Nothing,
        }),
        ..ada
    };
    let elsewhere = accept(&*store, &other(), "ada", b"<a/>").await.job;
    assert!(look(&*store, &by_interface, &of_eve).await.is_some());
    assert_eq!(look(&*store, &by_interface, &elsewhere).await, None);
}

pub(super) async fn a_job_that_is_addressed_is_its_addressees<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert!(store.is_addressed(&mail()) && !store.is_addressed(&plain()));
    let bob: UserName = "bob".parse().unwrap();
    let name = address(&bench, &bob, "ada").await;
    let owns = async |user: &str| {
        let own = viewer(user, Sight::Own);
        let found = look(&*store, &own, &name).await.is_some();
        let listed = names(&*store, &own, &filter(mail())).await;
        assert_eq!(listed.contains(&name), found);
        found
    };
    for is_done in [false, true] {
        if is_done {
            let job = job(&*store, &name).await;
            assert_eq!(job.place.addressee(), Some(&bob));
            assert_eq!(store.waiting(&mail()), 1);
            store.fetched(&job, &By::operator("bob")).await.unwrap();
            assert_eq!(store.waiting(&mail()), 0);
        }
        let summary = detail(&*store, &name).await.summary;
        assert_eq!(summary.owner.as_deref(), Some("bob"));
        assert_eq!(summary.record.unwrap().submitter.as_deref(), Some("ada"));
        assert_eq!(summary.interface, Some(mail()));
        assert!(owns("bob").await && !owns("ada").await && !owns("eve").await);
    }
}

pub(super) async fn a_job_lies_astray_for_nobody_but_operators<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = address(&bench, &nobody(), "ada").await;
    let sees_all = viewer("olga", Sight::All);
    let operator = Viewer {
        sees_astray: true,
        ..sees_all.clone()
    };
    for (viewer, is_seen) in [(&sees_all, false), (&operator, true)] {
        assert_eq!(look(&*store, viewer, &name).await.is_some(), is_seen);
        let listed = names(&*store, viewer, &filter(mail())).await;
        assert_eq!(listed.contains(&name), is_seen);
    }
    let own = viewer("nobody", Sight::Own);
    assert_eq!(look(&*store, &own, &name).await, None);
    assert_eq!(names(&*store, &own, &filter(mail())).await, []);
}

pub(super) async fn only_those_that_wait_are_still_waiting<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let last = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let mut asked = jobs.clone();
    asked.extend([unknown(&jobs[0]), last.clone()]);
    let mut waiting = store.still_waiting(asked).await.unwrap();
    // Whether one that is deferred counts is left open.
    waiting.retain(|job| *job != jobs[2]);
    assert_eq!(waiting, [jobs[0].clone(), last]);
    assert!((2..=3).contains(&store.waiting(&plain())));
    assert_eq!(store.still_waiting(Vec::new()).await.unwrap(), []);
}

pub(super) async fn a_job_is_known_as_long_as_its_log_is_there<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    for job in &jobs {
        assert!(store.is_known(job).await.unwrap());
        assert!(!store.is_known(&unknown(job)).await.unwrap());
    }
    for job in [&jobs[3], &jobs[4]] {
        remove(&*store, job).await;
        assert!(store.is_known(job).await.unwrap());
        assert_eq!(look(&*store, &Viewer::all(), job).await, None);
    }
}

pub(super) async fn a_hold_is_seen<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert!(!store.is_held(&plain()).await.unwrap());
    store.hold(&plain(), &olga(), None).await.unwrap();
    assert!(store.is_held(&plain()).await.unwrap());
    assert!(!store.is_held(&other()).await.unwrap());
    // What waits can come all the same.
    let job = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    assert_eq!(state(&*store, &job).await, State::Waiting);
    assert!(store.resume(&plain(), &olga()).await.unwrap());
    assert!(!store.is_held(&plain()).await.unwrap());
}

pub(super) async fn the_engine_is_healthy_at_first<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    assert_eq!((store.unhealthy(), store.health().await), (None, Ok(())));
    let served_ms = store.served_since_ms(&plain()).await.unwrap();
    // A filesystem's clock may lag a little behind.
    assert!((store.now_ms() - served_ms).abs() < 60_000, "{served_ms}");
    accept(&*store, &plain(), "ada", b"<a/>").await;
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!((store.unhealthy(), store.health().await), (None, Ok(())));
    assert_eq!(store.served_since_ms(&plain()).await.unwrap(), served_ms);
}

pub(super) async fn how_a_job_is_now_is_told_of_each_state<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let want = Want {
        now: true,
        ..Want::PLACE
    };
    let now = async |job: &JobName| {
        let of = Of::Name(job.clone());
        let found = store.find(&Viewer::all(), of, want).await.unwrap();
        found.unwrap().now.unwrap()
    };
    // The logs of those that have ended say it.
    let attempts = [Some(0), Some(1), Some(1), None, None, None];
    for (job, attempts) in jobs.iter().zip(attempts) {
        let now = now(job).await;
        assert_eq!((now.bytes, now.attempts), (4, attempts), "{job}");
        assert_eq!(now.sha256.unwrap().len(), 64);
    }
    // Sent to its queue, it is as one that came just now.
    requeue(&*store, &jobs[2], &plain().into()).await;
    assert_eq!(now(&jobs[2]).await.attempts, Some(0));
    let listed = listed(&*store, &Viewer::all(), &filter(plain())).await;
    let listed = listed.into_iter().map(|shown| shown.job).collect();
    for detail in store.details(listed, want).await.unwrap() {
        assert_eq!(detail.now, Some(now(&detail.summary.job.name).await));
    }
}

pub(super) async fn what_remains_of_a_job_outlives_it<B: Bench>() {
    let bench = B::new().await;
    let mut store = bench.store();
    let jobs = in_each_state(&bench, "ada").await;
    let nothing = store.remains(&unknown(&jobs[0])).await.unwrap();
    assert_eq!(nothing, Remains::default());
    for job in &jobs {
        let (remains, found) = (
            store.remains(job).await.unwrap(),
            detail(&*store, job).await,
        );
        assert_eq!(remains.record, found.summary.record);
        assert_eq!(remains.log, found.log);
    }
    for job in [&jobs[0], &jobs[3]] {
        remove(&*store, job).await;
    }
    let before = store.remains(&jobs[3]).await.unwrap();
    drop(store);
    let bench = bench.restart().await;
    store = bench.store();
    assert_eq!(store.remains(&jobs[3]).await.unwrap(), before);
    for job in [&jobs[0], &jobs[3]] {
        let remains = store.remains(job).await.unwrap();
        assert_eq!(remains.record.unwrap().submitter.as_deref(), Some("ada"));
        let last = remains.log.unwrap().messages.pop().unwrap();
        assert_eq!(last.text, "removed by olga (uid 1000)");
    }
}

pub(super) async fn what_is_not_ready_says_why<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut ready = in_each_state(&bench, "ada").await;
    ready.push(address(&bench, &"bob".parse().unwrap(), "ada").await);
    for name in &ready {
        let job = job(&*store, name).await;
        assert_eq!(store.not_ready(&job).await.unwrap(), None, "{name}");
    }
    let astray = address(&bench, &nobody(), "ada").await;
    let astray = job(&*store, &astray).await;
    match store.not_ready(&astray).await.unwrap() {
        Some(NotReady::Astray(why)) => assert!(why.starts_with("no user is shown it"), "{why}"),
        other @ (Some(NotReady::Incomplete) | None) => panic!("{other:?}"),
    }
    // It is told where and why, once for all that lies there.
    address(&bench, &nobody(), "ada").await;
    let told = store.astray(&mail()).await.unwrap();
    let [(place, why)] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(
        place.ends_with("mail/@nobody") && why.contains("no user nobody"),
        "{told:?}"
    );
    for interface in [plain(), other()] {
        assert_eq!(store.astray(&interface).await.unwrap(), []);
    }
    // Nothing is to be restored that was never lost.
    assert_eq!(store.restored().await.unwrap(), None);
}

pub(super) async fn a_run_is_heard_while_it_lasts<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let said = async || {
        let job = job(&*store, &name).await;
        let said = store.said_so_far(&job).await.unwrap().into_iter();
        said.map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!(said().await, [""; 0]);
    bench.run(&name).await;
    assert_eq!(said().await, [""; 0]);
    bench.worker().say(&name, "half");
    bench.worker().say(&name, "nearly");
    assert_eq!(said().await, ["half", "nearly"]);
    bench.fail(&name, "no paper").await;
    assert_eq!(said().await, [""; 0]);
}

pub(super) async fn a_sound_engine_passes_its_probe<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    store.probe().await.unwrap();
    let none = listed(&*store, &Viewer::all(), &Filter::default()).await;
    assert_eq!(none, []);
    in_each_state(&bench, "ada").await;
    let bench = bench.restart().await;
    let store = bench.store();
    let before = listed(&*store, &Viewer::all(), &Filter::default()).await;
    let counts = store.counts().await.unwrap();
    // One that was cut off leaves nothing in the way of the next.
    for _ in 0..2 {
        store.probe().await.unwrap();
        let after = listed(&*store, &Viewer::all(), &Filter::default()).await;
        assert_eq!(
            (after, store.counts().await.unwrap()),
            (before.clone(), counts.clone())
        );
    }
}
