//! Events from the change that they report to their end, across starts, days and full disks.

use super::{
    super::{
        Moved, Retention,
        testing::{START_MS, TestSpool},
    },
    *,
};
use crate::{
    domain::{Job, JobName, Kind, Transition},
    store::{NewJob, Settlement},
};
use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

/// A start of the service, at a moment that can be changed.
fn start(root: &Path, clock: &Arc<AtomicI64>) -> Arc<Spool> {
    let clock = clock.clone();
    let spool = TestSpool::at(root)
        .interface("a")
        .interface("b")
        .receiver("all", None)
        .receiver("a", Some("a"))
        .clock(move || clock.fetch_add(1, Ordering::SeqCst));
    spool.journal().open().unwrap()
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(START_MS))
}

/// A job of Ada's in the queue of an interface.
fn accept(spool: &Arc<Spool>, to: &str) -> JobName {
    let new = NewJob {
        submitter: "ada".into(),
        ..NewJob::default()
    };
    let name = JobName::new(spool.next_id(), None, Kind::Json);
    let sealed = spool.begin(name.clone()).unwrap().seal(&new).unwrap();
    let (_, ticket) = spool.enqueue(sealed, &to.parse().unwrap(), None).unwrap();
    spool.wait(ticket).unwrap();
    spool.arrived(&name);
    name
}

/// One that is done.
fn done(spool: &Arc<Spool>, of: &str) -> JobName {
    let name = accept(spool, of);
    let mut claim = spool.claim(&of.parse().unwrap(), &name).unwrap().unwrap();
    claim.settle(Settlement::Done, None).unwrap();
    name
}

fn waiting(spool: &Spool, receiver: &str) -> Vec<Outgoing> {
    spool.waiting_events(receiver, &HashSet::new(), 99).unwrap()
}

fn jobs(spool: &Spool, receiver: &str) -> Vec<String> {
    let waiting = waiting(spool, receiver).into_iter();
    waiting
        .map(|out| out.event.data["job"].as_str().unwrap().to_owned())
        .collect()
}

fn end(spool: &Spool, receiver: &str, id: EventId, end: EventEnd) {
    let ending = Ending {
        receiver: receiver.to_owned(),
        id,
        end,
        why: None,
    };
    let ticket = spool.end_events(&[ending]).unwrap();
    spool.wait(ticket).unwrap();
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = (fs::read_dir(root.join(DIR)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_end_is_reported_to_those_who_want_it_until_it_is_delivered_to_each() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    let (first, second) = (done(&spool, "a"), done(&spool, "b"));
    let both = [first.to_string(), second.to_string()];
    assert_eq!(jobs(&spool, "all"), both);
    assert_eq!(jobs(&spool, "a"), [first.to_string()]);
    assert_eq!(jobs(&spool, "nobody"), [""; 0]);
    let out = &waiting(&spool, "a")[0];
    assert_eq!(out.event.kind, EventKind::JobDone);
    let known = serde_json::json!({
        "attempt": 1, "interface": "a", "job": first.to_string(), "submitter": "ada"
    });
    assert_eq!(serde_json::Value::Object(out.event.data.clone()), known);
    end(&spool, "all", out.id, EventEnd::Delivered);
    for closes in [true, false] {
        let spool = start(dir.path(), &clock);
        assert_eq!(jobs(&spool, "all"), both[1..]);
        assert_eq!(waiting(&spool, "a"), std::slice::from_ref(out));
        assert_eq!(spool.pending_events(), 2);
        // A start after a stop, and one after a crash.
        if closes {
            spool.close_journal();
        }
    }
}

#[test]
fn other_receivers_get_what_happens_from_then_on_and_what_waits_for_those_before_waits_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    let first = done(&spool, "a").to_string();
    let new = Wants {
        receiver: "new".into(),
        on: EventKind::ALL.into(),
        interfaces: BTreeSet::new(),
    };
    spool.take_receivers(vec![new]);
    let second = done(&spool, "a").to_string();
    assert_eq!(jobs(&spool, "all"), std::slice::from_ref(&first));
    assert_eq!(jobs(&spool, "new"), [second]);
    let later = Timestamp::from_millisecond(spool.now_ms()).unwrap();
    assert_eq!(spool.bury_events(later, u64::MAX).unwrap(), 3);
    let of = |receiver: &str| WhichEvents {
        receiver: Some(receiver.into()),
        ..WhichEvents::default()
    };
    let dead = spool.events(&of("all")).unwrap();
    assert!(matches!(dead[0].ended, Some((_, EventEnd::Dead, _))));
    // Nobody is there to get it, until somebody is.
    assert_eq!(spool.redeliver(&of("all")).unwrap().0, 0);
    let all = Wants {
        receiver: "all".into(),
        on: EventKind::ALL.into(),
        interfaces: BTreeSet::new(),
    };
    spool.take_receivers(vec![all]);
    assert_eq!(spool.redeliver(&of("all")).unwrap().0, 1);
    spool.wait(spool.latest()).unwrap();
    assert_eq!(jobs(&spool, "all"), [first]);
}

#[test]
fn what_is_taken_back_is_reported_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    let name = accept(&spool, "a");
    let _claim = spool.claim(&"a".parse().unwrap(), &name).unwrap().unwrap();
    let running = Job {
        place: spool.find(&name).unwrap().unwrap(),
        name: name.clone(),
    };
    let ended = spool.ended(&name, Act::Done).unwrap();
    let (moved, ticket) = spool
        .shift(&running, &Transition::Archive, Some(ended))
        .unwrap();
    assert!(matches!(moved, Moved::Done(_)));
    let taken = dir.path().join(format!("bak/a/{}/{name}", name.day()));
    fs::write(taken, "another").unwrap();
    spool.wait(ticket).unwrap_err();
    assert_eq!((jobs(&spool, "all").len(), spool.pending_events()), (0, 0));
    spool.wait(spool.latest()).unwrap();
    let text = fs::read_to_string(dir.path().join("events/2026-11-22.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(start(dir.path(), &clock).pending_events(), 0);
}

#[test]
fn a_full_disk_delays_an_event_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    let events = dir.path().join(DIR);
    fs::remove_dir(&events).unwrap();
    // Nothing can be made there.
    fs::write(&events, "").unwrap();
    let job = done(&spool, "b");
    assert_eq!(jobs(&spool, "all"), [""; 0]);
    fs::remove_file(&events).unwrap();
    let later = done(&spool, "b");
    assert_eq!(jobs(&spool, "all"), [job.to_string(), later.to_string()]);
}

#[test]
fn what_is_of_no_job_is_recorded_once_across_starts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let missing = |spool: &Spool, key: &str| {
        let event = Event::new(EventKind::ArrivalMissing, 7).with("interface", "a");
        let (is_new, ticket) = spool.record_event(event, key).unwrap();
        spool.wait(ticket).unwrap();
        is_new
    };
    let spool = start(dir.path(), &clock);
    assert!(missing(&spool, "a/06:00") && missing(&spool, "a/07:00"));
    assert!(!missing(&spool, "a/06:00"));
    let known = waiting(&spool, "a");
    let again = start(dir.path(), &clock);
    assert!(!missing(&again, "a/07:00"));
    assert_eq!(waiting(&again, "a"), known);
    let nobody = TestSpool::at(dir.path()).journal().open().unwrap();
    assert!(!missing(&nobody, "a/08:00"), "nobody wants it");
}

#[test]
fn what_is_late_or_too_much_is_dead_and_waits_again_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    let all: Vec<JobName> = (0..3).map(|_| done(&spool, "b")).collect();
    let now = || Timestamp::from_millisecond(clock.load(Ordering::SeqCst)).unwrap();
    let bytes = fs::metadata(dir.path().join("events/2026-11-22.jsonl"))
        .unwrap()
        .len();
    let before = Timestamp::from_millisecond(START_MS).unwrap();
    assert_eq!(spool.bury_events(before, bytes).unwrap(), 0);
    assert_eq!(spool.bury_events(before, bytes * 2 / 3).unwrap(), 1);
    assert_eq!(
        jobs(&spool, "all"),
        [all[1].to_string(), all[2].to_string()]
    );
    assert_eq!(spool.bury_events(now(), u64::MAX).unwrap(), 2);
    assert_eq!(spool.pending_events(), 0);
    let every = WhichEvents::default();
    let why = |record: EventRecord| record.ended.unwrap().2.unwrap();
    let whys: Vec<String> = spool.events(&every).unwrap().into_iter().map(why).collect();
    assert_eq!(whys[0], "there was no more room for it");
    assert_eq!(whys[1..], ["it was not delivered in time"; 2]);
    let ids: Vec<EventId> = spool
        .events(&every)
        .unwrap()
        .iter()
        .map(|of| of.id)
        .collect();
    // Days later, by another start.
    clock.fetch_add(9 * DAY_MS, Ordering::SeqCst);
    let spool = start(dir.path(), &clock);
    let second = WhichEvents {
        ids: [ids[1]].into(),
        ..WhichEvents::default()
    };
    for (which, n) in [(&second, 1), (&second, 0), (&every, 2), (&every, 0)] {
        let (n_events, ticket) = spool.redeliver(which).unwrap();
        spool.wait(ticket).unwrap();
        assert_eq!(n_events, n);
    }
    let waiting: Vec<EventId> = waiting(&spool, "all").iter().map(|out| out.id).collect();
    assert_eq!(waiting, [ids[1], ids[0], ids[2]]);
    assert_eq!(start(dir.path(), &clock).pending_events(), 3);
}

#[test]
fn what_fails_again_and_again_takes_room_also_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    done(&spool, "b");
    let file = dir.path().join("events/2026-11-22.jsonl");
    let once = fs::metadata(&file).unwrap().len();
    let out = &waiting(&spool, "all")[0];
    let failed = |attempts| FailedAttempt {
        receiver: "all".into(),
        id: out.id,
        failure: crate::store::events::Failure {
            attempts,
            reason: "it answered 500".into(),
            next: Timestamp::from_millisecond(START_MS).unwrap(),
        },
    };
    let ticket = spool.note_failed_attempts(&[failed(1), failed(2)]).unwrap();
    spool.wait(ticket).unwrap();
    let before = Timestamp::UNIX_EPOCH;
    let bytes = fs::metadata(&file).unwrap().len() - 3;
    assert!(bytes > once + 100, "{bytes}");
    let spool = start(dir.path(), &clock);
    assert_eq!(waiting(&spool, "all")[0].attempts, 2);
    assert_eq!(spool.bury_events(before, bytes).unwrap(), 0);
    assert_eq!(spool.bury_events(before, bytes - 1).unwrap(), 1);
    let record = &spool.events(&WhichEvents::default()).unwrap()[0];
    let (_, failure) = record.failed.as_ref().unwrap();
    assert_eq!(
        (failure, record.ended.is_some()),
        (&failed(2).failure, true)
    );
}

#[test]
fn days_go_by_retention_but_those_in_which_something_waits() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    for _ in 0..8 {
        done(&start(dir.path(), &clock), "a");
        clock.fetch_add(DAY_MS, Ordering::SeqCst);
    }
    assert_eq!(files(dir.path()).len(), 8);
    let spool = start(dir.path(), &clock);
    // Of the last five days, for two receivers.
    assert_eq!(spool.pending_events(), 10);
    for (events_days, left) in [(6, 6), (1, 4)] {
        let keep = Retention {
            events_days: Some(events_days),
            ..Retention::default()
        };
        spool.sweep(&keep).unwrap();
        assert_eq!(files(dir.path()).len(), left, "{events_days}");
    }
    let job = done(&spool, "a");
    assert_eq!(
        jobs(&start(dir.path(), &clock), "all").pop(),
        Some(job.to_string())
    );
}

#[test]
fn a_hold_is_reported_with_by_whom_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), &clock());
    let by = crate::store::By {
        why: Some("audit".into()),
        ..crate::store::By::operator("olga")
    };
    spool.hold(&"a".parse().unwrap(), &by, None).unwrap();
    let out = &waiting(&spool, "a")[0];
    assert_eq!(out.event.kind, EventKind::InterfaceHeld);
    let known = serde_json::json!({"by": "olga", "interface": "a", "reason": "audit"});
    assert_eq!(serde_json::Value::Object(out.event.data.clone()), known);
}

#[test]
fn a_person_is_forgotten_in_what_waits_too() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let spool = start(dir.path(), &clock);
    done(&spool, "a");
    spool.forget("ada").unwrap();
    let text = fs::read_to_string(dir.path().join("events/2026-11-22.jsonl")).unwrap();
    assert!(!text.contains("ada"), "{text}");
    let left = serde_json::json!({"attempt": 1, "interface": "a"});
    for spool in [spool, start(dir.path(), &clock)] {
        let out = &waiting(&spool, "a")[0];
        assert_eq!(serde_json::Value::Object(out.event.data.clone()), left);
    }
}
