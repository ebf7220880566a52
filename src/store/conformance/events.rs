//! What is reported to receivers, and until when it waits for them.

use super::{accept::refused, *};
use crate::store::events::{
    Ending, Event, EventEnd, EventRecord, FailedAttempt, Failure, Outgoing, WhichEvents,
};
use jiff::Timestamp;
use std::collections::HashSet;

async fn waiting(store: &dyn Store, receiver: &str) -> Vec<Outgoing> {
    let all = HashSet::new();
    store.waiting_events(receiver, &all, 99).await.unwrap()
}

async fn kinds(store: &dyn Store, receiver: &str) -> Vec<EventKind> {
    let waiting = waiting(store, receiver).await.into_iter();
    waiting.map(|out| out.event.kind).collect()
}

async fn ended(store: &dyn Store, receiver: &str, out: &Outgoing, end: EventEnd) {
    let ending = Ending {
        receiver: receiver.into(),
        id: out.id,
        end,
        why: None,
    };
    store.end_events(vec![ending]).await.unwrap();
}

/// A job of an interface that is done.
async fn done<B: Bench>(bench: &B, of: &InterfaceName) -> JobName {
    let name = accept(&*bench.store(), of, "ada", b"<a/>").await.job;
    bench.run(&name).await;
    bench.finish(&name, &[], Map::new()).await;
    name
}

fn text(event: &Event, name: &str) -> Option<String> {
    let value = event.data.get(name)?;
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

pub(super) async fn each_end_of_a_job_is_reported<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let new = async || accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let wrong = refused(&*store, Some(&plain())).await.job;
    let (fails, fetched, cancelled) = (new().await, new().await, new().await);
    bench.run(&fails).await;
    bench.fail(&fails, "no such customer").await;
    let queued = job(&*store, &fetched).await;
    store.fetched(&queued, &By::operator("bob")).await.unwrap();
    bench.cancel(&cancelled, "eve").await;
    let deferred = new().await;
    bench.run(&deferred).await;
    bench.defer(&deferred).await;
    let done = done(&bench, &plain()).await;
    let reported = waiting(&*store, "every").await;
    let expected = [
        (EventKind::JobRefused, wrong, Some("no end of <a>"), None),
        (
            EventKind::JobFailed,
            fails,
            Some("no such customer"),
            Some("1"),
        ),
        (EventKind::JobFetched, fetched, None, None),
        (EventKind::JobDone, done, None, Some("1")),
    ];
    assert_eq!(reported.len(), expected.len());
    for (out, (kind, job, reason, attempt)) in reported.iter().zip(expected) {
        let event = &out.event;
        assert_eq!(event.kind, kind);
        let by = (kind == EventKind::JobFetched).then_some("bob");
        for (name, value) in [
            ("job", Some(&*job.to_string())),
            ("interface", Some("plain")),
            ("submitter", Some("ada")),
            ("reason", reason),
            ("attempt", attempt),
            ("by", by),
        ] {
            assert_eq!(text(event, name).as_deref(), value, "{kind:?} {name}");
        }
    }
}

pub(super) async fn only_what_is_wanted_waits<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (_, second) = (done(&bench, &plain()).await, done(&bench, &other()).await);
    assert_eq!(waiting(&*store, "every").await.len(), 2);
    let some = waiting(&*store, "some").await;
    assert_eq!(text(&some[0].event, "job"), Some(second.to_string()));
    assert_eq!((some.len(), waiting(&*store, "nobody").await.len()), (1, 0));
    assert_eq!(store.pending_events(), 3);
    let first = &waiting(&*store, "every").await[0];
    let (all, others) = (HashSet::new(), HashSet::from([first.id]));
    let without = store.waiting_events("every", &others, 1).await;
    assert_eq!(without.unwrap(), some);
    let one = store.waiting_events("every", &all, 1).await;
    assert_eq!(one.unwrap(), std::slice::from_ref(first));
}

pub(super) async fn events_outlive_a_restart_until_they_end<B: Bench>() {
    let bench = B::new().await;
    done(&bench, &other()).await;
    let before = waiting(&*bench.store(), "every").await;
    ended(&*bench.store(), "some", &before[0], EventEnd::Delivered).await;
    let bench = bench.restart().await;
    let store = bench.store();
    assert_eq!(waiting(&*store, "every").await, before);
    ended(&*store, "every", &before[0], EventEnd::Delivered).await;
    assert_eq!(waiting(&*store, "every").await, []);
    assert_eq!(store.pending_events(), 0);
}

pub(super) async fn failed_attempts_count_across_a_restart<B: Bench>() {
    let bench = B::new().await;
    done(&bench, &other()).await;
    let id = waiting(&*bench.store(), "every").await[0].id;
    let failed = |attempts| FailedAttempt {
        receiver: "every".into(),
        id,
        failure: Failure {
            attempts,
            reason: "it answered 500".into(),
            next: Timestamp::from_second(i64::from(attempts)).unwrap(),
        },
    };
    for attempts in 1..=2 {
        let store = bench.store();
        let noted = store.note_failed_attempts(vec![failed(attempts)]);
        noted.await.unwrap();
    }
    let which = WhichEvents {
        delivered: true,
        ..WhichEvents::default()
    };
    // What is looked at is durable.
    bench.store().events(&which).await.unwrap();
    let bench = bench.restart().await;
    let store = bench.store();
    for (receiver, attempts) in [("every", 2), ("some", 0)] {
        let out = &waiting(&*store, receiver).await[0];
        assert_eq!(out.attempts, attempts, "{receiver}");
        let tried = failed(attempts).failure;
        let due = (attempts > 0).then_some((id, tried.next));
        let known = store.event_dues(receiver).await.unwrap();
        assert_eq!(known, Vec::from_iter(due));
        ended(&*store, receiver, out, EventEnd::Delivered).await;
        let records = store.events(&which).await.unwrap();
        let record = records.into_iter().find(|of| of.receiver == receiver);
        let known = record.unwrap().failed.map(|(_, failure)| failure);
        assert_eq!(known, (attempts > 0).then_some(tried));
    }
    assert_eq!(store.event_dues("every").await, Ok(vec![]));
}

pub(super) async fn an_event_of_no_job_is_recorded_once<B: Bench>() {
    let bench = B::new().await;
    let missing = |store: Arc<dyn Store>, key: &'static str, of: InterfaceName| async move {
        let event = Event::new(EventKind::ArrivalMissing, now_ms()).about(Some(&of));
        store.record_event(&event, key).await.unwrap()
    };
    assert!(missing(bench.store(), "06:00", plain()).await);
    assert!(missing(bench.store(), "07:00", other()).await);
    assert!(!missing(bench.store(), "06:00", plain()).await);
    assert_eq!(waiting(&*bench.store(), "some").await.len(), 1);
    for out in waiting(&*bench.store(), "every").await {
        ended(&*bench.store(), "every", &out, EventEnd::Delivered).await;
    }
    let bench = bench.restart().await;
    assert!(!missing(bench.store(), "07:00", other()).await);
    assert_eq!(bench.store().pending_events(), 1);
}

pub(super) async fn a_hold_is_reported<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let by = By {
        why: Some("stocktaking".into()),
        ..By::operator("olga")
    };
    let until = Timestamp::from_second(now_ms() / 1000 + 3600).unwrap();
    store.hold(&plain(), &by, Some(until)).await.unwrap();
    let reported = waiting(&*store, "every").await;
    assert_eq!(kinds(&*store, "every").await, [EventKind::InterfaceHeld]);
    for (name, value) in [
        ("interface", "plain"),
        ("by", "olga"),
        ("reason", "stocktaking"),
        ("until", &until.to_string()),
    ] {
        assert_eq!(
            text(&reported[0].event, name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    // One who says nothing new holds it no second time.
    let says_nothing = By::operator("olga");
    store.hold(&plain(), &says_nothing, None).await.unwrap();
    assert_eq!(store.pending_events(), 1);
}

pub(super) async fn dead_events_wait_again_when_that_is_asked<B: Bench>() {
    let bench = B::new().await;
    for _ in 0..3 {
        done(&bench, &other()).await;
    }
    let store = bench.store();
    let all = waiting(&*store, "every").await;
    let past = Timestamp::UNIX_EPOCH;
    assert_eq!(store.bury_events(past, u64::MAX).await.unwrap(), 0);
    let future = Timestamp::from_millisecond(now_ms() + 60_000).unwrap();
    assert_eq!(store.bury_events(future, u64::MAX).await.unwrap(), 6);
    assert_eq!(store.pending_events(), 0);
    let of_every = WhichEvents {
        receiver: Some("every".into()),
        ..WhichEvents::default()
    };
    let dead = store.events(&of_every).await.unwrap();
    let is_dead = |record: &EventRecord| {
        let end = record.ended.as_ref().map(|(_, end, _)| *end);
        end == Some(EventEnd::Dead)
    };
    assert!(dead.len() == 3 && dead.iter().all(is_dead), "{dead:?}");
    let second = WhichEvents {
        ids: [all[1].id].into(),
        ..of_every.clone()
    };
    assert_eq!(store.redeliver(&second).await.unwrap(), 1);
    assert_eq!(store.redeliver(&of_every).await.unwrap(), 2, "the others");
    assert_eq!(store.redeliver(&of_every).await.unwrap(), 0, "they wait");
    let again = waiting(&*store, "every").await;
    assert_eq!(again, [1, 0, 2].map(|n: usize| all[n].clone()));
    // Beyond what there is room for, the oldest go.
    assert_eq!(store.bury_events(past, 0).await.unwrap(), 3);
    assert_eq!(store.pending_events(), 0);
    let bench = bench.restart().await;
    assert_eq!(
        bench
            .store()
            .events(&WhichEvents::default())
            .await
            .unwrap()
            .len(),
        6
    );
}

pub(super) async fn who_waits_hears_of_an_event<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let waits = {
        let store = store.clone();
        tokio::spawn(async move { store.event_recorded().await })
    };
    done(&bench, &plain()).await;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(60), waits).await;
    heard.unwrap().unwrap();
    assert_eq!(kinds(&*store, "every").await, [EventKind::JobDone]);
}
