//! Runs: claims, what becomes of them, and runs that nobody follows.

use super::*;
use crate::store::{Fate, StoreError};

async fn claim(store: &dyn Store, job: &JobName, works: bool) -> Option<(Lease, Workspace)> {
    match store.claim(&plain(), job, works).await.unwrap() {
        Claimed::Taken(lease, workspace) => Some((lease, *workspace)),
        Claimed::Busy | Claimed::Gone => None,
    }
}

/// A job that waits, of which nothing is known but that.
async fn waiting(store: &dyn Store) -> JobName {
    accept(store, &plain(), "shop", b"<a/>").await.job
}

fn log_of(text: &str) -> Option<RunLog> {
    Some(RunLog {
        cancelled_by: None,
        started_ms: now_ms(),
        messages: vec![Message::new(now_ms(), Level::Info, text)],
    })
}

fn done() -> Settled {
    Settled::Done { emitted: vec![] }
}

pub(super) async fn eight_claims_of_a_job_give_one_lease<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for _ in 0..4 {
        let job = waiting(&*store).await;
        let claims = [(); 8].map(|()| {
            let (store, job) = (bench.store(), job.clone());
            async move { claim(&*store, &job, true).await }
        });
        let leases = together(claims).await;
        let mut leases: Vec<_> = leases.into_iter().flatten().collect();
        assert_eq!(leases.len(), 1);
        let (lease, _) = leases.remove(0);
        assert_eq!((lease.attempt, &lease.job), (1, &job));
        assert_eq!(state(&*store, &job).await, State::Running);
        let settled = store.settle(&lease, Settlement::Done, log_of("x")).await;
        assert_eq!(settled, Ok(done()));
    }
}

pub(super) async fn a_lease_says_what_its_run_needs<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let document = sealed(&*store, &[b"<a>", b"</a>"]).await;
    let mut new = of("shop");
    new.reference_as_sent = Some("a/b".into());
    let receipt = store.commit(document, new, &plain(), None).await.unwrap();
    let Receipt::New(Stored { job, .. }) = receipt else {
        panic!("{receipt:?}");
    };
    let (lease, mut workspace) = claim(&*store, &job, true).await.unwrap();
    assert_eq!((&lease.interface, &*lease.submitter), (&plain(), "shop"));
    assert_eq!(lease.reference_as_sent.as_deref(), Some("a/b"));
    assert_eq!((lease.attempts_max, lease.repeats), (3, false));
    let mut document = Vec::new();
    workspace.document.read_to_end(&mut document).unwrap();
    assert_eq!(document, b"<a></a>");
    assert_eq!(std::fs::read(&workspace.path).unwrap(), b"<a></a>");
    let params = std::fs::read(workspace.dir.join("params.json")).unwrap();
    assert_eq!(params, b"{}");
    assert!(workspace.dir.join("results").is_dir());
    assert_eq!(store.check_document(&lease).await, Ok(Fate::Whole));
}

pub(super) async fn a_take_counts_its_attempt_unless_it_is_given_back<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = waiting(&*store).await;
    let due_ms = now_ms() - 1;
    for (attempt, what) in [
        (1, Settlement::GivenBack),
        (1, Settlement::Deferred { due_ms }),
        (2, Settlement::GivenBack),
        (2, Settlement::Deferred { due_ms }),
        (3, Settlement::Failed),
    ] {
        let (lease, _) = claim(&*store, &name, true).await.unwrap();
        assert_eq!(lease.attempt, attempt, "{what:?}");
        let settled = store.settle(&lease, what, log_of("x")).await;
        assert_eq!(settled, Ok(done()));
        let job = job(&*store, &name).await;
        if let Settlement::Deferred { .. } = what {
            assert!(claim(&*store, &name, true).await.is_none(), "deferred");
            assert_eq!(store.release_due(&job).await, Ok(true));
            assert_eq!(store.release_due(&job).await, Ok(false));
        }
    }
    assert_eq!(state(&*store, &name).await, State::Failed);
    assert!(claim(&*store, &name, true).await.is_none(), "it has ended");
}

pub(super) async fn a_held_interface_gives_nothing<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    store.hold(&plain(), &olga(), None).await.unwrap();
    assert!(claim(&*store, &job, true).await.is_none());
    assert_eq!(state(&*store, &job).await, State::Waiting);
    assert!(store.resume(&plain(), &olga()).await.unwrap());
    assert!(claim(&*store, &job, true).await.is_some());
}

pub(super) async fn a_job_of_another_interface_is_not_given<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = accept(&*store, &other(), "shop", b"<a/>").await.job;
    assert!(claim(&*store, &job, true).await.is_none());
    assert_eq!(state(&*store, &job).await, State::Waiting);
}

pub(super) async fn settling_again_is_answered_as_before<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    let (lease, _) = claim(&*store, &job, true).await.unwrap();
    let calls = [(); 8].map(|()| {
        let (store, lease) = (bench.store(), lease.clone());
        async move { store.settle(&lease, Settlement::Done, log_of("once")).await }
    });
    assert_eq!(together(calls).await, [(); 8].map(|()| Ok(done())));
    let failed = store
        .settle(&lease, Settlement::Failed, log_of("twice"))
        .await;
    assert_eq!(failed, Ok(done()));
    let detail = detail(&*store, &job).await;
    assert_eq!(detail.summary.state, State::Done);
    assert_eq!(said(&detail), ["once"]);
}

pub(super) async fn a_lease_of_another_store_settles_nothing<B: Bench>() {
    let (bench, another) = (B::new().await, B::new().await);
    let (store, another) = (bench.store(), another.store());
    let job = waiting(&*another).await;
    let (lease, _) = claim(&*another, &job, true).await.unwrap();
    let settled = store.settle(&lease, Settlement::Done, None).await;
    assert_eq!(settled, Ok(Settled::Fenced));
    assert_eq!(state(&*another, &job).await, State::Running);
}

pub(super) async fn what_a_run_makes_is_there_with_its_end<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
    std::fs::write(workspace.dir.join("results/r"), "made").unwrap();
    std::fs::create_dir(workspace.dir.join("emit/plain")).unwrap();
    std::fs::write(workspace.dir.join("emit/plain/order 7.xml"), "<b/>").unwrap();
    assert_eq!(store.check_output(&lease).await, Ok(None));
    let before = names(&*store, &Viewer::all(), &filter(plain())).await;
    assert_eq!(
        before,
        std::slice::from_ref(&job),
        "nothing of it is visible yet"
    );
    let settled = store.settle(&lease, Settlement::Done, log_of("x")).await;
    let Ok(Settled::Done { emitted }) = settled else {
        panic!("{settled:?}");
    };
    let [child] = emitted.try_into().unwrap();
    let found = detail(&*store, &child.name).await;
    assert_eq!(
        (found.summary.job, found.summary.state),
        (child.clone(), State::Waiting)
    );
    let submitter = found.summary.record.unwrap().submitter;
    assert_eq!(submitter.as_deref(), Some("shop"));
    assert_eq!(bytes_of(&open(&*store, &child.name).await).await, "<b/>");
    let found = detail(&*store, &job).await;
    assert_eq!(found.results.files, ["r"]);
    let result = store.open_result(&job, "r").await.unwrap().unwrap();
    assert_eq!(bytes_of(&result).await, "made");
}

pub(super) async fn a_run_that_is_not_done_publishes_nothing<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let due_ms = now_ms() + 3_600_000;
    for what in [
        Settlement::Deferred { due_ms },
        Settlement::Failed,
        Settlement::GivenBack,
    ] {
        let job = waiting(&*store).await;
        let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
        std::fs::write(workspace.dir.join("results/r"), "made").unwrap();
        std::fs::create_dir(workspace.dir.join("emit/plain")).unwrap();
        std::fs::write(workspace.dir.join("emit/plain/x.xml"), "<b/>").unwrap();
        let settled = store.settle(&lease, what, log_of("x")).await;
        assert_eq!(settled, Ok(done()), "{what:?}");
        assert_eq!(detail(&*store, &job).await.results.files, [""; 0]);
        assert!(store.open_result(&job, "r").await.unwrap().is_none());
    }
    let all = names(&*store, &Viewer::all(), &filter(plain())).await;
    assert_eq!(all.len(), 3, "nothing was emitted");
}

pub(super) async fn what_cannot_be_published_fails_its_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for bad in ["results/.hidden", "emit/no interface"] {
        let job = waiting(&*store).await;
        let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
        std::fs::write(workspace.dir.join(bad), "x").unwrap();
        let is_refused = |error: StoreError| matches!(error, StoreError::Refused(_));
        let checked = store.check_output(&lease).await;
        assert!(checked.is_err_and(is_refused), "{bad}");
        let settled = store.settle(&lease, Settlement::Done, log_of("x")).await;
        assert!(settled.is_err_and(is_refused), "{bad}");
        assert_eq!(state(&*store, &job).await, State::Running);
        let settled = store.settle(&lease, Settlement::Failed, log_of("x")).await;
        assert_eq!(settled, Ok(done()));
        assert_eq!(state(&*store, &job).await, State::Failed);
    }
    let job = waiting(&*store).await;
    let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
    std::fs::write(workspace.dir.join("results/result.json"), "no JSON").unwrap();
    let warning = store.check_output(&lease).await.unwrap().unwrap();
    assert!(warning.contains("result.json is not used"), "{warning}");
    let settled = store.settle(&lease, Settlement::Done, log_of("x")).await;
    assert_eq!(settled, Ok(done()));
}

pub(super) async fn a_lease_that_is_dropped_gives_its_job_back<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    drop(claim(&*store, &job, false).await.unwrap());
    assert_eq!(state(&*store, &job).await, State::Waiting);
    let (lease, _) = claim(&*store, &job, true).await.unwrap();
    assert_eq!(lease.attempt, 1, "it was not counted");
}

pub(super) async fn a_run_whose_lease_is_lost_is_left_behind<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
    assert!(store.left_behind(&plain()).await.unwrap().is_empty());
    drop((lease, workspace));
    let mut left = store.left_behind(&plain()).await.unwrap();
    let left = left.pop().unwrap();
    assert_eq!((&left.lease.job, left.lease.attempt), (&job, 1));
    assert!(
        store.left_behind(&plain()).await.unwrap().is_empty(),
        "it has a lease now"
    );
    assert_eq!(store.kept(&left.lease).await, Ok(None));
    assert_eq!(store.cut_off(&left.lease).await, Ok(true));
    assert_eq!(state(&*store, &job).await, State::Waiting);
    let (lease, _) = claim(&*store, &job, true).await.unwrap();
    assert_eq!(lease.attempt, 2, "it was counted");
}

pub(super) async fn a_run_that_was_left_behind_can_be_taken_up<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
    drop((lease, workspace));
    let left = store.left_behind(&plain()).await.unwrap().pop().unwrap();
    assert_eq!(store.take_up(&left.lease).await, Ok(true));
    let settled = store
        .settle(&left.lease, Settlement::Done, log_of("x"))
        .await;
    assert_eq!(settled, Ok(done()));
    assert_eq!(state(&*store, &job).await, State::Done);
}

pub(super) async fn a_job_whose_runs_are_cut_off_fails_at_last<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let job = waiting(&*store).await;
    for attempt in 1..=3 {
        let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
        assert_eq!(lease.attempt, attempt);
        drop((lease, workspace));
        let left = store.left_behind(&plain()).await.unwrap().pop().unwrap();
        assert_eq!(store.cut_off(&left.lease).await, Ok(true));
    }
    assert_eq!(state(&*store, &job).await, State::Failed);
}

pub(super) async fn a_restart_in_a_run_counts_it_and_loses_nothing<B: Bench>() {
    let mut bench = B::new().await;
    let job = waiting(&*bench.store()).await;
    for attempt in 1..=2 {
        let store = bench.store();
        let (lease, workspace) = claim(&*store, &job, true).await.unwrap();
        assert_eq!(lease.attempt, attempt);
        drop((lease, workspace, store));
        bench = bench.restart().await;
        let store = bench.store();
        // Some engines find that it was cut off when they begin.
        for left in store.left_behind(&plain()).await.unwrap() {
            assert_eq!(store.cut_off(&left.lease).await, Ok(true));
        }
        assert_eq!(state(&*store, &job).await, State::Waiting);
    }
}

pub(super) async fn a_restart_after_each_call_of_a_run_keeps_what_it_did<B: Bench>() {
    let mut bench = B::new().await;
    let due_ms = now_ms() - 1;
    for (what, expected) in [
        (Settlement::Done, State::Done),
        (Settlement::Failed, State::Failed),
        (Settlement::GivenBack, State::Waiting),
        (Settlement::Deferred { due_ms }, State::Waiting),
    ] {
        let store = bench.store();
        let name = waiting(&*store).await;
        let (lease, workspace) = claim(&*store, &name, true).await.unwrap();
        let settled = store.settle(&lease, what, log_of("x")).await;
        assert_eq!(settled, Ok(done()));
        drop((lease, workspace, store));
        bench = bench.restart().await;
        let store = bench.store();
        assert!(store.left_behind(&plain()).await.unwrap().is_empty());
        assert_eq!(state(&*store, &name).await, expected, "{what:?}");
        if let Settlement::Deferred { .. } = what {
            let job = job(&*store, &name).await;
            assert_eq!(store.release_due(&job).await, Ok(true));
            drop(store);
            bench = bench.restart().await;
            let store = bench.store();
            let (lease, _) = claim(&*store, &name, true).await.unwrap();
            assert_eq!(lease.attempt, 2);
            let settled = store.settle(&lease, Settlement::Done, log_of("x")).await;
            assert_eq!(settled, Ok(done()));
        }
    }
}

pub(super) async fn a_cancelled_job_never_runs<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let queued = waiting(&*store).await;
    let deferred = waiting(&*store).await;
    bench.run(&deferred).await;
    bench.defer(&deferred).await;
    for name in [queued, deferred] {
        let job = job(&*store, &name).await;
        let cancels = [(); 8].map(|()| {
            let (store, job) = (bench.store(), job.clone());
            async move { store.cancel(&job, &By::operator("olga")).await }
        });
        let cancelled = together(cancels).await;
        let n_done = cancelled.iter().filter(|done| **done == Ok(true)).count();
        assert_eq!(n_done, 1, "{cancelled:?}");
        assert_eq!(state(&*store, &name).await, State::Cancelled);
        let last = detail(&*store, &name).await;
        assert_eq!(said(&last).last(), Some(&"cancelled by olga"));
        assert!(claim(&*store, &name, true).await.is_none());
        let ended = super::job(&*store, &name).await;
        let again = store.cancel(&ended, &By::operator("pete")).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    }
}

pub(super) async fn a_job_that_runs_is_not_cancelled_by_the_store<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = waiting(&*store).await;
    let (lease, workspace) = claim(&*store, &name, true).await.unwrap();
    let running = job(&*store, &name).await;
    assert_eq!(
        store.cancel(&running, &By::operator("olga")).await,
        Ok(false)
    );
    assert_eq!(state(&*store, &name).await, State::Running);
    // Nobody works on it any more.
    drop((lease, workspace));
    assert_eq!(
        store.cancel(&running, &By::operator("olga")).await,
        Ok(true)
    );
    assert_eq!(state(&*store, &name).await, State::Cancelled);
}

pub(super) async fn a_claim_and_a_cancel_have_one_outcome<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for _ in 0..8 {
        let name = waiting(&*store).await;
        let waits = job(&*store, &name).await;
        let (first, second, other) = (bench.store(), bench.store(), name.clone());
        let (claimed, cancelled) = tokio::join!(
            async move { claim(&*first, &other, true).await },
            async move { second.cancel(&waits, &By::operator("olga")).await.unwrap() },
        );
        assert!(claimed.is_none() || !cancelled, "both have it");
        let expected = match (&claimed, cancelled) {
            (Some(_), _) => State::Running,
            (None, true) => State::Cancelled,
            // Each has met the other.
            (None, false) => State::Waiting,
        };
        assert_eq!(state(&*store, &name).await, expected);
    }
}

pub(super) async fn a_batch_of_cancels_leaves_alone_what_runs<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (queued, deferred, running, ended) = (
        waiting(&*store).await,
        waiting(&*store).await,
        waiting(&*store).await,
        waiting(&*store).await,
    );
    bench.run(&deferred).await;
    bench.defer(&deferred).await;
    bench.run(&ended).await;
    bench.fail(&ended, "no paper").await;
    let held = claim(&*store, &running, true).await.unwrap();
    let mut jobs = Vec::new();
    for name in [&queued, &running, &ended, &deferred] {
        jobs.push(super::job(&*store, name).await);
    }
    let by = By::operator("olga");
    let done = store.cancel_all(jobs.clone(), &by).await;
    assert_eq!(
        (&done[0], &done[1], &done[3]),
        (&Ok(true), &Ok(false), &Ok(true))
    );
    assert!(matches!(done[2], Err(StoreError::Conflict(_))), "{done:?}");
    for (name, expected) in [
        (&queued, State::Cancelled),
        (&running, State::Running),
        (&ended, State::Failed),
        (&deferred, State::Cancelled),
    ] {
        assert_eq!(state(&*store, name).await, expected);
    }
    // Again, each is where it is.
    let again = store
        .cancel_all(vec![jobs[0].clone(), jobs[3].clone()], &by)
        .await;
    assert_eq!(again, [Ok(false), Ok(false)]);
    drop(held);
}
