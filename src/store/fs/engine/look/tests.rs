//! What a look costs, and what is found of jobs that people have moved.

use super::*;
use crate::store::{
    Asked, By, Filter, NewJob, Settlement, Store as _,
    fs::{FileStore, Moved, faults::Faults, testing::TestSpool},
};
use std::sync::atomic::{AtomicUsize, Ordering};

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn accept(spool: &Arc<Spool>, to: &InterfaceName) -> JobName {
    let part = spool.begin(JobName::new(spool.next_id(), None, Kind::Xml));
    let mut part = part.unwrap();
    part.write(b"<a/>").unwrap();
    let sealed = part.seal(&NewJob::default()).unwrap();
    let (job, ticket) = spool.enqueue(sealed, to, None).unwrap();
    spool.wait(ticket).unwrap();
    job.name
}

/// Who sees all of one interface, and nothing else.
fn partner_of(interface: &str) -> Viewer {
    let of = name(interface);
    Viewer {
        user: "ada".into(),
        sight: Arc::new(move |interface| match interface {
            Some(interface) if *interface == of => Sight::All,
            Some(_) => Sight::Nothing,
            None => Sight::Own,
        }),
        sees_astray: false,
    }
}

#[tokio::test]
async fn a_list_asks_once_what_is_seen_of_its_interface() {
    let dir = tempfile::tempdir().unwrap();
    let interface = name("a");
    let spool = TestSpool::at(dir.path()).interface(interface.as_str());
    let spool = spool.open().unwrap();
    for _ in 0..3 {
        accept(&spool, &interface);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let viewer = Viewer {
        sight: Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Sight::All
        }),
        ..Viewer::all()
    };
    let filter = Filter {
        interface: Some(interface),
        ..Filter::default()
    };
    let store = FileStore::new(spool.clone());
    let page = store.list(&viewer, &filter, None, 10).await.unwrap();
    assert_eq!(page.jobs.len(), 3);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A job that waits, one that is done, and one that there is not, for a partner and for an operator.
#[tokio::test]
async fn a_look_costs_the_same_with_many_interfaces() {
    let mut costs = Vec::new();
    for n_interfaces in [3, 60] {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..n_interfaces).map(|n| format!("i{n}")).collect();
        let spool = TestSpool::at(dir.path()).ticking();
        let spool = names
            .iter()
            .fold(spool, |spool, name| spool.interface(name));
        let spool = spool.open().unwrap();
        let store = FileStore::new(spool.clone());
        let (waits, done) = (accept(&spool, &name("i1")), accept(&spool, &name("i1")));
        for interface in names.iter().map(|text| name(text)) {
            let scanned = store.waiting_jobs(&interface, Asked::default());
            scanned.await.unwrap();
        }
        let place = Place::Queue(name("i1").into());
        let job = Job {
            place,
            name: done.clone(),
        };
        let archived = spool.archive(&job, &By::operator("olga")).unwrap();
        assert!(matches!(archived, Moved::Done(_)));
        let unknown = waits.with_id(JobId::from_number(waits.id().get() + 2048));
        let disk = Faults::of(dir.path());
        for viewer in [partner_of("i1"), partner_of("i2"), Viewer::all()] {
            for job in [&waits, &done, &unknown] {
                for of in [Of::Name(job.clone()), Of::Id(job.id())] {
                    let before = disk.calls();
                    let found = store.find(&viewer, of, Want::PLACE).await.unwrap();
                    costs.push((n_interfaces, found.is_some(), disk.calls() - before));
                }
            }
        }
    }
    let (many, few): (Vec<_>, Vec<_>) = costs.into_iter().partition(|(n, ..)| *n == 60);
    assert_eq!(few.iter().filter(|(_, is_found, _)| *is_found).count(), 8);
    for (many, few) in many.iter().zip(&few) {
        assert_eq!((many.1, many.2), (few.1, few.2), "{many:?}, {few:?}");
    }
}

/// Whoever sees the interface to which it was moved finds it, in each state; whoever sees the other does not. Also
/// when it was moved while no service was there to see that.
#[tokio::test]
async fn a_job_that_was_moved_to_another_interface_is_found_there() {
    for is_seen in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let spool = TestSpool::at(dir.path()).interface("a").interface("b");
            let spool = spool.ticking().journal().open().unwrap();
            spool.start_journal();
            let store = FileStore::new(spool.clone());
            (spool, store)
        };
        let (mut spool, mut store) = open();
        let scan = async |store: &FileStore| {
            for interface in ["a", "b"].map(name) {
                let scanned = store.waiting_jobs(&interface, Asked::default());
                scanned.await.unwrap();
            }
        };
        scan(&store).await;
        let job = accept(&spool, &name("a"));
        spool.arrived(&job);
        let path = |interface: &str| dir.path().join(format!("queue/{interface}/{job}"));
        if !is_seen {
            spool.close_journal();
        }
        std::fs::rename(path("a"), path("b")).unwrap();
        if !is_seen {
            (spool, store) = open();
        }
        let is_found = async |store: &FileStore, place: Place| {
            for (viewer, sees) in [("a", false), ("b", true)] {
                for of in [Of::Name(job.clone()), Of::Id(job.id())] {
                    let viewer = partner_of(viewer);
                    let found = store.find(&viewer, of, Want::PLACE).await.unwrap();
                    let found = found.map(|detail| detail.summary.job.place);
                    assert_eq!(found, sees.then(|| place.clone()), "{is_seen}");
                }
            }
        };
        crate::util::until::blocking("its scan", || spool.scan(&name("b")).unwrap().ready.pop());
        scan(&store).await;
        is_found(&store, Place::Queue(name("b").into())).await;
        let mut claim = spool.claim(&name("b"), &job).unwrap().unwrap();
        is_found(&store, claim.place().place.clone()).await;
        let due_ms = 1_900_000_000_000;
        let deferred = claim.settle(Settlement::Deferred { due_ms }, None);
        let Moved::Done(deferred) = deferred.unwrap().moved else {
            panic!("it is gone");
        };
        drop(claim);
        spool.close_journal();
        let (spool, store) = open();
        scan(&store).await;
        is_found(&store, deferred.place.clone()).await;
        spool.release_due(&deferred).unwrap();
        let mut claim = spool.claim(&name("b"), &job).unwrap().unwrap();
        claim.settle(Settlement::Done, None).unwrap();
        drop(claim);
        spool.wait(spool.latest()).unwrap();
        is_found(&store, Place::Bak(name("b"))).await;
        spool.close_journal();
    }
}

/// It is found by the record, by whom that lets see it, and by operators also without one.
#[tokio::test]
async fn a_file_that_was_put_where_nobody_looks_for_jobs_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let spool = TestSpool::at(dir.path()).interface("a").interface("b");
    let spool = spool.open().unwrap();
    let store = FileStore::new(spool.clone());
    for interface in ["a", "b"].map(name) {
        let scanned = store.waiting_jobs(&interface, Asked::default());
        scanned.await.unwrap();
    }
    let job = accept(&spool, &name("a"));
    let to = dir.path().join(Place::Bak(name("b")).path(&job));
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(dir.path().join(format!("queue/a/{job}")), to).unwrap();
    let everyone = Viewer {
        sight: Arc::new(|interface| match interface {
            Some(_) => Sight::All,
            None => Sight::Own,
        }),
        ..partner_of("a")
    };
    for (viewer, sees) in [
        (everyone, true),
        (Viewer::all(), true),
        (partner_of("a"), false),
    ] {
        let of = Of::Name(job.clone());
        let found = store.find(&viewer, of, Want::PLACE).await.unwrap();
        assert_eq!(found.is_some(), sees, "{viewer:?}");
    }
}

/// Of what people have put into a queue there is no record. After a start it is found all the same, before its queue
/// has been scanned and after, by whom that lets see the queue's interface.
#[tokio::test]
async fn a_file_of_which_nothing_is_recorded_is_found_from_the_start_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = TestSpool::at(dir.path()).interface("a").interface("b");
    let spool = spool.open().unwrap();
    let job = JobName::new(spool.next_id(), None, Kind::Xml);
    std::fs::write(dir.path().join(format!("queue/b/{job}")), "<a/>").unwrap();
    let store = FileStore::new(spool.clone());
    for scanned in [None, Some("a"), Some("b")] {
        if let Some(interface) = scanned.map(name) {
            let scan = store.waiting_jobs(&interface, Asked::default());
            scan.await.unwrap();
        }
        for (viewer, sees) in [
            (partner_of("b"), true),
            (partner_of("a"), false),
            (Viewer::all(), true),
        ] {
            for of in [Of::Name(job.clone()), Of::Id(job.id())] {
                let found = store.find(&viewer, of, Want::PLACE).await.unwrap();
                assert_eq!(found.is_some(), sees, "{viewer:?}, {scanned:?}");
            }
        }
    }
}
