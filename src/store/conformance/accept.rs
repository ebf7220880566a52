//! Documents on their way in: uploads, commits, refusals.

use super::*;
use crate::{
    domain::joblog::{Level, Message, Status},
    domain::{JobOptions, Place, Priority, Reference},
    store::{Came, SealedBody, StoreError},
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Nothing is there, neither in the store nor for who asks.
async fn is_empty(store: &dyn Store) {
    let all = Viewer::all();
    for interface in [plain(), other()] {
        assert_eq!(listed(store, &all, &filter(interface.clone())).await, []);
        assert_eq!(store.waiting(&interface), 0);
    }
}

pub(super) async fn nothing_is_seen_before_commit<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for n_bytes in [3, 300_000] {
        let mut begun = store.begin(a_name());
        begun.append(noise(n_bytes).into()).await.unwrap();
        let complete = sealed(&*store, &[&noise(n_bytes)]).await;
        is_empty(&*store).await;
        drop(begun);
        drop(complete);
        is_empty(&*store).await;
    }
    let unfinished = sealed(&*store, &[&noise(300_000)]).await;
    drop(store);
    let bench = bench.restart().await;
    is_empty(&*bench.store()).await;
    drop(unfinished);
}

pub(super) async fn a_committed_job_is_seen_by_every_call<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let stored = accept(&*store, &plain(), "ada", b"<order/>").await;
    let name = &stored.job;
    let place = Place::Queue(plain().into());
    let queued = Job {
        place,
        name: name.clone(),
    };
    for of in [Of::Name(name.clone()), Of::Id(name.id())] {
        for want in [Want::PLACE, Want::RECORD, Want::ALL] {
            let found = store.find(&Viewer::all(), of.clone(), want).await;
            let summary = found.unwrap().unwrap().summary;
            assert_eq!((&summary.job, summary.state), (&queued, State::Waiting));
            assert_eq!(summary.interface, Some(plain()));
            assert!(summary.is_queued() && !summary.is_deleted);
        }
    }
    let all = Viewer::all();
    let mine = std::slice::from_ref(name);
    assert_eq!(names(&*store, &all, &filter(plain())).await, mine);
    assert_eq!(listed(&*store, &all, &filter(other())).await, []);
    assert_eq!(store.still_waiting(mine.to_vec()).await.unwrap(), mine);
    assert_eq!((store.waiting(&plain()), store.waiting(&other())), (1, 0));
    let content = store.open(&queued).await.unwrap().unwrap();
    assert_eq!(bytes_of(&content).await, "<order/>");
    assert_eq!(content.sha256, Some(stored.sha256));
}

pub(super) async fn documents_of_every_size_come_back_whole<B: Bench>() {
    const KIB: usize = 1024;
    let bench = B::new().await;
    let store = bench.store();
    let around = |n_kib: usize| [n_kib * KIB - 1, n_kib * KIB, n_kib * KIB + 1];
    let sizes = [0, 1, KIB * KIB].into_iter();
    for n_bytes in sizes.chain(around(64)).chain(around(256)) {
        let body = noise(n_bytes);
        let sha256 = hex::encode(Sha256::digest(&body));
        for piece in [n_bytes.max(1), 977, 65_537] {
            // Each small piece of a large document would say nothing new.
            let piece = piece.max(n_bytes / 300);
            let pieces: Vec<&[u8]> = body.chunks(piece).collect();
            let sealed = sealed(&*store, &pieces).await;
            assert_eq!(
                (sealed.bytes(), sealed.sha256()),
                (n_bytes as u64, &*sha256)
            );
            assert!(sealed.in_memory().is_none_or(|bytes| bytes == body));
            assert!(all_of(sealed.reader()) == body, "{n_bytes} by {piece}");
            assert!(
                all_of(sealed.reader()) == body,
                "{n_bytes} by {piece}, again"
            );
            let receipt = store.commit(sealed, of("ada"), &plain(), None).await;
            let Ok(Receipt::New(stored)) = receipt else {
                panic!("{n_bytes}: {receipt:?}");
            };
            assert_eq!((stored.bytes, &stored.sha256), (n_bytes as u64, &sha256));
            let content = open(&*store, &stored.job).await;
            assert_eq!(content.bytes, n_bytes as u64);
            assert_eq!(content.sha256.as_ref(), Some(&sha256));
            assert!(bytes_of(&content).await == body, "{n_bytes} by {piece}");
        }
    }
}

pub(super) async fn a_job_is_named_as_it_was_asked_for<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut before: Option<JobName> = None;
    for kind in [Kind::Json, Kind::Xml] {
        for reference in [None, Reference::reduce("order-7")] {
            let as_given = reference.clone();
            let upload = store.begin(NewName { kind, reference });
            let sealed = upload.seal().await.unwrap();
            let receipt = store.commit(sealed, of("ada"), &plain(), None).await;
            let Ok(Receipt::New(Stored { job, .. })) = receipt else {
                panic!("{receipt:?}");
            };
            let as_given = as_given.as_ref().map(Reference::as_str);
            assert_eq!((job.kind(), job.reference()), (kind, as_given));
            assert!(before.is_none_or(|before| before < job), "names rise");
            let of = Of::Id(job.id());
            let by_id = store.find(&Viewer::all(), of, Want::PLACE).await;
            assert_eq!(by_id.unwrap().unwrap().summary.job.name, job);
            before = Some(job);
        }
    }
}

pub(super) async fn the_record_says_what_was_told_at_commit<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let before_ms = store.now_ms();
    let told = NewJob {
        asked_as: Some("orders".into()),
        options: JobOptions {
            priority: Priority::High,
            worker: Some("gpu".parse().unwrap()),
            ..JobOptions::default()
        },
        ..of("ada")
    };
    let sealed = sealed(&*store, &[b"<a/>"]).await;
    let receipt = store.commit(sealed, told, &plain(), None).await;
    let Ok(Receipt::New(stored)) = receipt else {
        panic!("{receipt:?}");
    };
    assert!((before_ms..=store.now_ms()).contains(&stored.received_ms));
    let summary = detail(&*store, &stored.job).await.summary;
    assert_eq!(summary.owner.as_deref(), Some("ada"));
    let record = summary.record.unwrap();
    assert_eq!(record.submitter.as_deref(), Some("ada"));
    assert_eq!(record.asked_as.as_deref(), Some("orders"));
    assert_eq!(record.priority, Priority::High);
    assert_eq!(record.worker, Some("gpu".parse().unwrap()));
    assert_eq!(record.received_ms, stored.received_ms);
}

fn findings() -> Vec<Message> {
    let mut unfinished = Message::new(1_795_323_468_123, Level::Error, "no end of <a>");
    unfinished.line = Some(7);
    let sent = Message::new(1_795_323_468_123, Level::Info, "sent as ü");
    vec![sent, unfinished]
}

pub(super) async fn refused(store: &dyn Store, interface: Option<&InterfaceName>) -> Stored {
    let sealed = sealed(store, &[b"<a>"]).await;
    let receipt = store.refuse(sealed, of("ada"), interface, findings(), None);
    match receipt.await.unwrap() {
        Receipt::New(stored) => stored,
        receipt @ (Receipt::Same(_) | Receipt::Different) => panic!("without a key: {receipt:?}"),
    }
}

pub(super) async fn a_refused_document_is_kept_with_its_findings<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let stored = refused(&*store, Some(&plain())).await;
    let found = detail(&*store, &stored.job).await;
    assert_eq!(found.summary.job.place, Place::Refused);
    assert_eq!(found.summary.state, State::Failed);
    assert_eq!(found.summary.interface, Some(plain()));
    assert_eq!(found.summary.owner.as_deref(), Some("ada"));
    let log = store.log(&found.summary.job).await.unwrap();
    assert_eq!(found.log.as_ref(), Some(&log));
    assert_eq!(log.messages, findings());
    assert_eq!((log.status, log.interface), (Status::Error, Some(plain())));
    assert_eq!((log.attempts, log.bytes), (0, 3));
    assert_eq!(log.sha256, Some(stored.sha256));
    assert_eq!(bytes_of(&open(&*store, &stored.job).await).await, "<a>");
    let mine = [stored.job];
    assert_eq!(names(&*store, &Viewer::all(), &filter(plain())).await, mine);
    assert_eq!(store.still_waiting(mine.to_vec()).await.unwrap(), []);
    assert_eq!(store.waiting(&plain()), 0);
}

pub(super) async fn a_refused_document_of_no_interface_is_on_no_list<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let stored = refused(&*store, None).await;
    is_empty(&*store).await;
    let found = detail(&*store, &stored.job).await;
    assert_eq!(
        (found.summary.interface, found.log.unwrap().interface),
        (None, None)
    );
    let asked = |user: &str| {
        let knows_none = |interface: Option<&InterfaceName>| match interface {
            None => Sight::Own,
            Some(_) => Sight::Nothing,
        };
        Viewer {
            sight: Arc::new(knows_none),
            ..viewer(user, Sight::Nothing)
        }
    };
    assert!(look(&*store, &asked("ada"), &stored.job).await.is_some());
    assert_eq!(look(&*store, &asked("eve"), &stored.job).await, None);
}

pub(super) async fn a_restart_loses_nothing_that_was_committed<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for n_bytes in [5, 70_000, 300_000, 6, 7, 8, 9] {
        jobs.push(accept(&*store, &plain(), "ada", &noise(n_bytes)).await.job);
    }
    for job in &jobs[3..6] {
        bench.run(job).await;
    }
    let made: [(&str, &[u8]); 1] = [("a.csv", b"1;2")];
    bench.finish(&jobs[3], &made, Map::new()).await;
    bench.fail(&jobs[4], "no paper").await;
    bench.defer(&jobs[5]).await;
    bench.cancel(&jobs[6], "olga").await;
    jobs.push(refused(&*store, Some(&plain())).await.job);
    store.hold(&other(), &olga(), None).await.unwrap();
    let mut before = Vec::new();
    for job in &jobs {
        before.push((
            detail(&*store, job).await,
            bytes_of(&open(&*store, job).await).await,
        ));
    }
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    for (job, (found, bytes)) in jobs.iter().zip(before) {
        assert_eq!(detail(&*store, job).await, found);
        assert!(bytes_of(&open(&*store, job).await).await == bytes);
    }
    let result = store.open_result(&jobs[3], "a.csv").await.unwrap().unwrap();
    assert_eq!(bytes_of(&result).await, "1;2");
    assert_eq!(names(&*store, &Viewer::all(), &filter(plain())).await, jobs);
    assert!(store.is_held(&other()).await.unwrap());
    assert!(accept(&*store, &plain(), "ada", b"").await.job > jobs[7]);
}

/// Another engine's.
struct Foreign;

impl SealedBody for Foreign {
    fn bytes(&self) -> u64 {
        0
    }

    fn sha256(&self) -> &str {
        ""
    }

    fn in_memory(&self) -> Option<&[u8]> {
        None
    }

    fn reader(&self) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(std::io::empty()))
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

pub(super) async fn a_document_of_another_engine_is_refused<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let foreign = || Sealed::new(Box::new(Foreign));
    let committed = store.commit(foreign(), of("ada"), &plain(), None).await;
    assert!(
        matches!(committed, Err(StoreError::Refused(_))),
        "{committed:?}"
    );
    let kept = store.refuse(foreign(), of("ada"), None, findings(), None);
    assert!(matches!(kept.await, Err(StoreError::Refused(_))));
    is_empty(&*store).await;
}

pub(super) async fn uploads_of_a_day_count_whatever_becomes_of_them<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for (user, body) in [("ada", "<a/>"), ("ada", "<a>1</a>"), ("bob", "<b>22</b>")] {
        jobs.push(accept(&*store, &plain(), user, body.as_bytes()).await.job);
    }
    let bad = sealed(&*store, &[b"<bad>"]).await;
    let finding = Message::new(now_ms(), Level::Error, "no end");
    let refused = store.refuse(bad, of("ada"), None, vec![finding], None);
    let Ok(Receipt::New(refused)) = refused.await else {
        panic!("it is kept");
    };
    jobs.push(refused.job);
    let emitted = NewJob {
        came: Came::Emitted {
            parent: jobs[0].clone(),
        },
        ..of("ada")
    };
    let made = sealed(&*store, &[b"<made/>"]).await;
    store.commit(made, emitted, &plain(), None).await.unwrap();
    let queued = job(&*store, &jobs[0]).await;
    store.remove(&queued, &olga()).await.unwrap();
    let uploaded = async |store: &dyn Store| {
        let days: BTreeSet<String> = jobs.iter().map(JobName::day).collect();
        let mut all = BTreeMap::new();
        for day in days {
            let sent = store.uploaded_bytes(day.parse().unwrap()).await.unwrap();
            for (user, bytes) in sent {
                *all.entry(user).or_insert(0) += bytes;
            }
        }
        all
    };
    let expected = BTreeMap::from([("ada".to_owned(), 4 + 8 + 5), ("bob".to_owned(), 9)]);
    assert_eq!(uploaded(&*store).await, expected);
    let other = "2001-01-01".parse().unwrap();
    assert!(store.uploaded_bytes(other).await.unwrap().is_empty());
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(uploaded(&*bench.store()).await, expected);
}
