//! Two services on one database: whose a run is, and what a late settlement does.

use super::{Database, InterfaceRules, Node, Options, PgStore, Url, runs::Held, testing::Server};
use crate::{
    domain::joblog::{Level, Message},
    domain::{InterfaceName, JobName, Kind},
    store::{
        Asked, By, Claimed, Interrupted, Lease, NewJob, NewName, Receipt, RunLog, Settled,
        Settlement, State, Store, Viewer, Want, Workspace,
        audit::{Deed, Entry},
        check::CheckProgress,
        fs::{REST, Retention, Spool, testing::TestSpool},
    },
};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

fn plain() -> InterfaceName {
    "plain".parse().unwrap()
}

fn database(server: &Server, name: &str) -> Database {
    let no_tls = || Err("it is no server of the network".into());
    let url = Url::new(server.url(name).as_bytes(), no_tls);
    Database::new(url.unwrap()).unwrap()
}

/// A service on a node of that name.
async fn node(server: &Server, database_name: &str, name: &str, scratch: &TempDir) -> PgStore {
    node_beside(server, database_name, name, scratch, None).await
}

/// The same on a machine with these directories.
async fn node_beside(
    server: &Server,
    database_name: &str,
    name: &str,
    scratch: &TempDir,
    spool: Option<Arc<Spool>>,
) -> PgStore {
    let rules = InterfaceRules {
        attempts_max: 3,
        at_most_once: false,
        addressed: false,
    };
    let options = Options {
        interfaces: [(plain(), rules)].into(),
        wants: Vec::new(),
        node: Some(Node {
            name: name.into(),
            scratch: scratch.path().join(name),
        }),
        spool,
    };
    let database = database(server, database_name);
    database.migrate().await.unwrap();
    PgStore::open(database, options).await.unwrap()
}

async fn waiting(store: &PgStore) -> JobName {
    let name = NewName {
        kind: Kind::Xml,
        reference: None,
    };
    let mut upload = store.begin(name);
    upload.append("<a/>".into()).await.unwrap();
    let sealed = upload.seal().await.unwrap();
    let committed = store
        .commit(sealed, NewJob::default(), &plain(), None)
        .await;
    match committed.unwrap() {
        Receipt::New(stored) => stored.job,
        receipt @ (Receipt::Same(_) | Receipt::Different) => panic!("{receipt:?}"),
    }
}

async fn claim(store: &PgStore, job: &JobName) -> Option<(Lease, Workspace)> {
    match store.claim(&plain(), job, true).await.unwrap() {
        Claimed::Taken(lease, workspace) => Some((lease, *workspace)),
        Claimed::Busy | Claimed::Gone => None,
    }
}

fn said(text: &str) -> Option<RunLog> {
    Some(RunLog {
        started_ms: 0,
        messages: vec![Message::new(1, Level::Info, text)],
        cancelled_by: None,
    })
}

async fn state(store: &PgStore, job: &JobName) -> State {
    let of = crate::store::Of::Name(job.clone());
    let found = store.find(&Viewer::all(), of, Want::PLACE).await;
    found.unwrap().unwrap().summary.state
}

#[tokio::test]
async fn what_another_node_runs_is_its_own_until_its_life_is_over() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let one = node(server, &name, "one", &scratch).await;
    let two = node(server, &name, "two", &scratch).await;
    let job = waiting(&one).await;
    let (stale, _workspace) = claim(&one, &job).await.unwrap();
    assert!(claim(&two, &job).await.is_none());
    assert!(two.left_behind(&plain()).await.unwrap().is_empty());
    // By the database's clock alone.
    let over = "update life set until = clock_timestamp() where node = 'one' returning 1";
    assert!(two.inner.db.does(over, &[]).await.unwrap());
    let left = two.left_behind(&plain()).await.unwrap().pop().unwrap();
    assert_eq!((&left.lease.job, left.lease.attempt), (&job, 1));
    assert_eq!(left.cut, Interrupted::Crash);
    let late = one.settle(&stale, Settlement::Done, said("late")).await;
    assert_eq!(late, Ok(Settled::Fenced));
    assert_eq!(state(&one, &job).await, State::Running);
    assert_eq!(one.take_up(&stale).await, Ok(false));
    assert_eq!(two.take_up(&left.lease).await, Ok(true));
    let settled = two.settle(&left.lease, Settlement::Failed, said("x")).await;
    let done = Settled::Done { emitted: vec![] };
    assert_eq!(settled, Ok(done));
    assert_eq!(state(&one, &job).await, State::Failed);
}

#[tokio::test]
async fn a_service_ends_the_life_of_the_one_before_it_on_its_node() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let before = node(server, &name, "one", &scratch).await;
    assert_eq!(before.health().await, Ok(()));
    let job = waiting(&before).await;
    let _held = claim(&before, &job).await.unwrap();
    // As if nothing worked on it any more.
    let elsewhere = tempfile::tempdir().unwrap();
    let after = node(server, &name, "one", &elsewhere).await;
    assert_eq!(after.left_behind(&plain()).await.unwrap().len(), 1);
    assert!(before.left_behind(&plain()).await.unwrap().is_empty());
    let why = before.health().await.unwrap_err().to_string();
    assert!(why.contains("another service is node one now"), "{why}");
    assert_eq!(after.health().await, Ok(()));
}

#[tokio::test]
async fn a_settlement_whose_answer_was_lost_is_answered_as_before() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let store = node(server, &name, "one", &scratch).await;
    let job = waiting(&store).await;
    let (lease, workspace) = claim(&store, &job).await.unwrap();
    std::fs::create_dir(workspace.dir.join("emit/plain")).unwrap();
    std::fs::write(workspace.dir.join("emit/plain/b.xml"), "<b/>").unwrap();
    let held = lease.held::<Held>().unwrap();
    // What is settled is not remembered here, as when the connection ends before the answer comes.
    let mut answers = Vec::new();
    for _ in 0..2 {
        let settled = store.inner.settle_once(&held, Settlement::Done, said("x"));
        answers.push(settled.await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    let Settled::Done { emitted } = &answers[0] else {
        panic!("{answers:?}");
    };
    assert_eq!(emitted.len(), 1);
    assert_eq!(store.waiting(&plain()), 1);
}

#[tokio::test]
async fn what_has_passed_its_time_goes_and_what_waits_stays() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let store = node(server, &name, "one", &scratch).await;
    let (done, waits) = (waiting(&store).await, waiting(&store).await);
    let (lease, workspace) = claim(&store, &done).await.unwrap();
    std::fs::write(workspace.dir.join("results/a"), "a").unwrap();
    let settled = store.settle(&lease, Settlement::Done, said("x")).await;
    assert!(matches!(settled, Ok(Settled::Done { .. })), "{settled:?}");
    let deed = Deed::new("hold", &By::operator("olga"));
    store.audit(&Entry::Begun(deed.into())).await.unwrap();
    let days = Some(2);
    let keep = Retention {
        audit_days: days,
        bak_days: days,
        events_days: days,
        joberrors_days: days,
        joblog_days: days,
        records_days: days,
        results_days: days,
        idempotency_hours: None,
    };
    assert_eq!(store.sweep(&keep).await.unwrap(), [""; 0], "it is of today");
    let later_ms = store.now_ms() + 4 * 24 * 60 * 60 * 1000;
    let gone = store.inner.sweep(&keep, later_ms).await.unwrap();
    let all = [
        "1 jobs in bak",
        "1 logs",
        "1 records",
        "1 records of the audit",
    ];
    assert_eq!(gone, all);
    let of = crate::store::Of::Name(done.clone());
    assert!(
        store
            .find(&Viewer::all(), of, Want::PLACE)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(state(&store, &waits).await, State::Waiting);
    let checked = store
        .check(Arc::new(CheckProgress::default()))
        .await
        .unwrap();
    assert!(checked.flaws.is_empty(), "{:?}", checked.flaws);
    assert_eq!(checked.jobs, 1);
}

/// What is dropped has rested long before.
const LOOKS_MAX: usize = 500;

/// The names of the jobs that wait, once there are so many and nothing is left in the queue's directory.
async fn taken_over(store: &PgStore, queue: &Path, jobs: usize) -> Vec<JobName> {
    for _ in 0..LOOKS_MAX {
        let waiting = store.waiting_jobs(&plain(), Asked::default()).await;
        let ready = waiting.unwrap().ready.into_iter().map(|(job, _)| job);
        let ready: Vec<JobName> = ready.collect();
        assert!(ready.len() <= jobs, "{ready:?}");
        let left = std::fs::read_dir(queue).unwrap().count();
        if ready.len() == jobs && left == 0 {
            return ready;
        }
        tokio::time::sleep(REST).await;
    }
    panic!("not all is taken over")
}

#[tokio::test]
async fn a_dropped_file_is_one_job_wherever_a_crash_comes() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let root = tempfile::tempdir().unwrap();
    let spool = TestSpool::at(root.path()).interface("plain");
    let spool = Some(spool.open().unwrap());
    let queue = root.path().join("queue/plain");
    let one = node_beside(server, &name, "one", &scratch, spool).await;
    std::fs::write(queue.join("order 7.xml"), "<a/>").unwrap();
    let jobs = taken_over(&one, &queue, 1).await;
    let first = &jobs[0];
    assert_eq!(first.reference(), Some("order-7"));
    // It was put aside, and no more.
    let aside = |job: &JobName| queue.join(format!(".{job}.taken"));
    let job: JobName = "20261122T045748.123Z-00042-b.xml".parse().unwrap();
    std::fs::write(aside(&job), "<b/>").unwrap();
    let jobs = taken_over(&one, &queue, 2).await;
    assert!(jobs.contains(&job), "{jobs:?}");
    // Its job was made, but it was not removed.
    for made in [first, &job] {
        std::fs::write(aside(made), "<b/>").unwrap();
    }
    assert_eq!(taken_over(&one, &queue, 2).await, jobs);
    // The same name on another node is another file.
    let spool = TestSpool::at(root.path()).interface("plain");
    let spool = Some(spool.open().unwrap());
    let two = node_beside(server, &name, "two", &scratch, spool).await;
    std::fs::write(aside(&job), "<c/>").unwrap();
    let jobs = taken_over(&two, &queue, 3).await;
    let of_other = jobs.iter().find(|other| ![first, &job].contains(other));
    let bytes = two.inner.document(of_other.unwrap()).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(&b"<c/>"[..]));
}

#[tokio::test]
async fn what_can_be_no_job_stays_where_it_was_dropped() {
    let Some(server) = Server::of_tests() else {
        return;
    };
    let (name, scratch) = (server.create("template1"), tempfile::tempdir().unwrap());
    let root = tempfile::tempdir().unwrap();
    let spool = TestSpool::at(root.path()).interface("plain");
    let spool = Some(spool.open().unwrap());
    let queue = root.path().join("queue/plain");
    let store = node_beside(server, &name, "one", &scratch, spool).await;
    let large = std::fs::File::create(queue.join("large.xml")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    drop(large);
    let of_a_spool = "20261122T045748.123Z-00042-b.xml";
    std::fs::write(queue.join(of_a_spool), "<b/>").unwrap();
    std::fs::create_dir(queue.join("folder.xml")).unwrap();
    std::fs::write(queue.join("good.xml"), "<a/>").unwrap();
    for _ in 0..LOOKS_MAX {
        let waiting = store.waiting_jobs(&plain(), Asked::default()).await;
        waiting.unwrap();
        if !queue.join("good.xml").exists() {
            break;
        }
        tokio::time::sleep(REST).await;
    }
    assert_eq!(store.waiting(&plain()), 1);
    for left in ["large.xml", of_a_spool, "folder.xml"] {
        assert!(queue.join(left).exists(), "{left}");
    }
}
