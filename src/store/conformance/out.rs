//! How jobs end, and what their logs say of it.

use super::*;
use crate::domain::{Place, joblog::Status};

pub(super) async fn fetched_ends_a_job_that_waits<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let stored = accept(&*store, &plain(), "ada", b"<a/>").await;
    let queued = job(&*store, &stored.job).await;
    store.fetched(&queued, &By::operator("bob")).await.unwrap();
    let done = detail(&*store, &stored.job).await;
    assert_eq!(done.summary.state, State::Done);
    assert_eq!(done.summary.job.place, Place::Bak(plain()));
    assert_eq!(said(&done), ["retrieved"]);
    let log = done.log.as_ref().unwrap();
    assert_eq!((log.status, &log.job), (Status::Ok, &stored.job));
    assert_eq!((log.bytes, log.attempts), (4, 0));
    assert_eq!(
        (&log.interface, &log.sha256),
        (&Some(plain()), &Some(stored.sha256))
    );
    assert_eq!(log.received_ms, stored.received_ms);
    assert_eq!(store.log(&done.summary.job).await.unwrap(), *log);
    assert_eq!(store.waiting(&plain()), 0);
    assert_eq!(bytes_of(&open(&*store, &stored.job).await).await, "<a/>");
    for job in [&queued, &done.summary.job] {
        store.fetched(job, &By::operator("eve")).await.unwrap();
        assert_eq!(detail(&*store, &stored.job).await, done);
    }
}

pub(super) async fn eight_fetches_at_once_are_one<B: Bench>() {
    let bench = B::new().await;
    // Whether they meet is a matter of luck.
    for _ in 0..20 {
        let store = bench.store();
        let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
        let queued = job(&*store, &name).await;
        let fetched = together((0..8).map(|_| {
            let (store, queued) = (store.clone(), queued.clone());
            async move { store.fetched(&queued, &By::operator("bob")).await }
        }));
        assert!(fetched.await.iter().all(|fetched| fetched.is_ok()));
        let done = detail(&*store, &name).await;
        assert_eq!(done.summary.state, State::Done);
        assert_eq!(said(&done), ["retrieved"]);
    }
}

pub(super) async fn fetched_leaves_every_other_job_alone<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    let mut queued = Vec::new();
    for _ in 0..5 {
        let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
        queued.push(job(&*store, &name).await);
        jobs.push(name);
    }
    for job in &jobs[..3] {
        bench.run(job).await;
    }
    bench.fail(&jobs[1], "no paper").await;
    bench.defer(&jobs[2]).await;
    requeue(&*store, &jobs[3], &other().into()).await;
    remove(&*store, &jobs[4]).await;
    for (name, queued) in jobs.iter().zip(&queued) {
        let before = look(&*store, &Viewer::all(), name).await;
        // As it was seen when its retrieval began.
        store.fetched(queued, &By::operator("bob")).await.unwrap();
        assert_eq!(look(&*store, &Viewer::all(), name).await, before);
    }
}

/// The log of a job that has ended is the one with its details, and says this last.
async fn ends_with(store: &dyn Store, job: &JobName, status: Status, last: &str) {
    let found = detail(store, job).await;
    let log = store.log(&found.summary.job).await.unwrap();
    assert_eq!(found.log.as_ref(), Some(&log));
    assert_eq!((&log.job, log.status), (job, status));
    assert_eq!((log.bytes, log.interface), (4, Some(plain())));
    assert_eq!(said(&found).last(), Some(&last), "{found:?}");
}

pub(super) async fn the_log_of_each_end_says_how_it_ended<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    for job in &jobs[..3] {
        bench.run(job).await;
    }
    bench.finish(&jobs[0], &[], Map::new()).await;
    bench.fail(&jobs[1], "no paper").await;
    bench.cancel(&jobs[2], "olga").await;
    bench.cancel(&jobs[3], "olga").await;
    let done = detail(&*store, &jobs[0]).await.log.unwrap();
    assert_eq!((done.status, done.attempts), (Status::Ok, 1));
    assert!(
        done.started_ms
            .is_some_and(|started_ms| started_ms <= done.finished_ms)
    );
    ends_with(&*store, &jobs[1], Status::Error, "no paper").await;
    ends_with(&*store, &jobs[2], Status::Error, "cancelled by olga").await;
    ends_with(&*store, &jobs[3], Status::Error, "cancelled by olga").await;
    let failed = detail(&*store, &jobs[1]).await.log.unwrap();
    assert_eq!(failed.reason(), Some("no paper"));
    // A second life keeps what was said of the first.
    requeue(&*store, &jobs[1], &plain().into()).await;
    bench.run(&jobs[1]).await;
    bench.finish(&jobs[1], &[], Map::new()).await;
    let again = detail(&*store, &jobs[1]).await;
    assert!(said(&again).contains(&"no paper"), "{again:?}");
    assert_eq!(again.log.unwrap().status, Status::Ok);
    assert_eq!(again.summary.state, State::Done);
}
