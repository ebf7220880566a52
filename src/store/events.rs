//! Events: what happened, for receivers elsewhere. Pure.
//!
//! An event is made only if a receiver wants it, and is recorded in one step with the change that it reports. It
//! waits for each of those receivers by itself, until it is delivered or dead. What is recorded is a line of JSON:
//! an event with those it is for, an attempt that failed, or how it ended for some of them. The last line of an event
//! and a receiver counts, so a dead event that is recorded once more, with its id, waits again.

mod outbox;

pub use outbox::{Outbox, Overdue};

use crate::domain::{InterfaceName, JobName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    str::FromStr,
};

const ID_PREFIX: &str = "evt_";
/// Longer texts are cut: partners choose some of them.
const TEXT_CHARS_MAX: usize = 1000;
/// So are the reasons of failed attempts, which are recorded again and again.
const REASON_CHARS_MAX: usize = 200;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum EventKind {
    /// By its deadline a partner has not sent what was expected.
    #[serde(rename = "arrival.missing")]
    ArrivalMissing,
    #[serde(rename = "certificate.expiring")]
    CertificateExpiring,
    #[serde(rename = "interface.held")]
    InterfaceHeld,
    #[serde(rename = "job.done")]
    JobDone,
    /// For good.
    #[serde(rename = "job.failed")]
    JobFailed,
    /// A partner has retrieved all of it.
    #[serde(rename = "job.fetched")]
    JobFetched,
    #[serde(rename = "job.refused")]
    JobRefused,
    /// The disk has failed: nothing more is accepted.
    #[serde(rename = "spool.unhealthy")]
    SpoolUnhealthy,
}

impl EventKind {
    pub const ALL: [Self; 8] = [
        Self::ArrivalMissing,
        Self::CertificateExpiring,
        Self::InterfaceHeld,
        Self::JobDone,
        Self::JobFailed,
        Self::JobFetched,
        Self::JobRefused,
        Self::SpoolUnhealthy,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArrivalMissing => "arrival.missing",
            Self::CertificateExpiring => "certificate.expiring",
            Self::InterfaceHeld => "interface.held",
            Self::JobDone => "job.done",
            Self::JobFailed => "job.failed",
            Self::JobFetched => "job.fetched",
            Self::JobRefused => "job.refused",
            Self::SpoolUnhealthy => "spool.unhealthy",
        }
    }
}

/// By which receivers know an event again: the same however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// Of the event of that kind which `key` tells from all others of its kind.
    pub fn of(kind: EventKind, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_str());
        hash.update([0]);
        hash.update(key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", hex::encode(self.0))
    }
}

impl FromStr for EventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        let digits = text.strip_prefix(ID_PREFIX);
        let is_read = digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut id).is_ok());
        match is_read && Self(id).to_string() == text {
            true => Ok(Self(id)),
            false => Err("the id of an event is evt_ and 32 hexadecimal digits"),
        }
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Something that happened. As JSON it is what receivers get.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened.
    pub timestamp: Timestamp,
    pub data: Map<String, Value>,
}

impl Event {
    pub fn new(kind: EventKind, at_ms: i64) -> Self {
        Self {
            kind,
            timestamp: Timestamp::from_millisecond(at_ms).unwrap_or_default(),
            data: Map::new(),
        }
    }

    /// With something that is known of it. Long texts are cut, since partners choose some.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut value = value.into();
        if let Value::String(text) = &mut value {
            *text = text.chars().take(TEXT_CHARS_MAX).collect();
        }
        self.data.insert(name.to_owned(), value);
        self
    }

    /// The same, if it is known.
    #[must_use]
    pub fn with_known(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// What is sent.
    pub fn to_json(&self) -> String {
        // Text and maps always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Of a job that ended so.
    pub fn of_job(kind: EventKind, at_ms: i64, job: &JobName) -> Self {
        Self::new(kind, at_ms)
            .with("job", job.to_string())
            .with_known("reference", job.reference())
    }

    /// Of an interface.
    #[must_use]
    pub fn about(self, interface: Option<&InterfaceName>) -> Self {
        self.with_known("interface", interface.map(InterfaceName::as_str))
    }

    pub fn interface(&self) -> Option<&str> {
        self.text("interface")
    }

    /// The line by which it is recorded now, for those who want it; `None` when nobody does. `key` tells it from all
    /// others of its kind.
    pub fn line(self, wants: &[Wants], key: &str, now_ms: i64) -> Option<EventLine> {
        let takers = wants
            .iter()
            .filter(|wants| wants.takes(self.kind, self.interface()));
        let to: Vec<String> = takers.map(|wants| wants.receiver.clone()).collect();
        let line = EventLine {
            id: EventId::of(self.kind, key),
            at: Timestamp::from_millisecond(now_ms).unwrap_or_default(),
            to,
            what: Recorded::Event(self),
        };
        (!line.to.is_empty()).then_some(line)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.data.get(name).and_then(Value::as_str)
    }

    /// The same without what is of this person, if something is.
    #[must_use]
    pub fn forgotten(&self, user: &str) -> Option<Self> {
        let of_him = |name: &&str| self.text(name) == Some(user);
        let is_his = of_him(&"submitter");
        let names: &[&str] = match is_his {
            true => &["job", "reason", "reference", "submitter", "by"],
            false => &["by"],
        };
        if !is_his && !of_him(&"by") {
            return None;
        }
        let mut event = self.clone();
        event.data.retain(|name, _| !names.contains(&name.as_str()));
        Some(event)
    }
}

/// Which events a receiver wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// What the receiver is called.
    pub receiver: String,
    pub on: BTreeSet<EventKind>,
    /// Empty: those of every interface. An event of no interface is wanted in any case.
    pub interfaces: BTreeSet<InterfaceName>,
}

impl Wants {
    pub fn takes(&self, kind: EventKind, interface: Option<&str>) -> bool {
        let is_of = |name| self.interfaces.iter().any(|of| of.as_str() == name);
        let is_wanted = |name| self.interfaces.is_empty() || is_of(name);
        self.on.contains(&kind) && interface.is_none_or(is_wanted)
    }
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventEnd {
    Delivered,
    /// It was not delivered in time, or there was no more room for it.
    Dead,
    /// What it reports has not happened after all.
    Void,
}

/// What is recorded of an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recorded {
    Event(Event),
    Failed(Failure),
    Ended {
        end: EventEnd,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EventLine {
    pub id: EventId,
    /// When it was recorded.
    pub at: Timestamp,
    /// The receivers.
    pub to: Vec<String>,
    #[serde(flatten)]
    pub what: Recorded,
}

impl EventLine {
    /// Reads a line; `None` when it is not one of ours.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The line without its end.
    pub fn to_line(&self) -> String {
        // Text and maps always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The line by which it is taken back.
    #[must_use]
    pub fn void(&self) -> Self {
        let (end, why) = (EventEnd::Void, None);
        Self {
            what: Recorded::Ended { end, why },
            ..self.clone()
        }
    }
}

/// What is known of an event that was sent and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failure {
    /// How many there were, this one included.
    pub attempts: u32,
    /// What came of the last one.
    pub reason: String,
    /// The next one is not made before.
    pub next: Timestamp,
}

/// An event on its way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub id: EventId,
    pub event: Event,
    /// How many attempts have failed.
    pub attempts: u32,
}

/// An attempt to send an event that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    pub receiver: String,
    pub id: EventId,
    pub failure: Failure,
}

impl FailedAttempt {
    /// The line by which that is recorded now. A long reason is cut.
    pub fn line(&self, now_ms: i64) -> EventLine {
        let reason = self.failure.reason.chars().take(REASON_CHARS_MAX);
        EventLine {
            id: self.id,
            at: Timestamp::from_millisecond(now_ms).unwrap_or_default(),
            to: vec![self.receiver.clone()],
            what: Recorded::Failed(Failure {
                reason: reason.collect(),
                ..self.failure.clone()
            }),
        }
    }
}

/// Events that end for a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub receiver: String,
    pub id: EventId,
    pub end: EventEnd,
    pub why: Option<String>,
}

impl Ending {
    /// The line by which that is recorded now.
    pub fn line(&self, now_ms: i64) -> EventLine {
        EventLine {
            id: self.id,
            at: Timestamp::from_millisecond(now_ms).unwrap_or_default(),
            to: vec![self.receiver.clone()],
            what: Recorded::Ended {
                end: self.end,
                why: self.why.clone(),
            },
        }
    }
}

impl From<Overdue> for Ending {
    fn from(overdue: Overdue) -> Self {
        Self {
            receiver: overdue.receiver,
            id: overdue.id,
            end: EventEnd::Dead,
            why: Some(overdue.why.to_owned()),
        }
    }
}

/// Which events are meant, of those that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichEvents {
    /// Of this receiver alone.
    pub receiver: Option<String>,
    /// These alone.
    pub ids: HashSet<EventId>,
    /// Recorded then or later.
    pub since: Option<Timestamp>,
    /// Also those that were delivered.
    pub delivered: bool,
}

/// What lines say of the events that are meant.
#[derive(Debug)]
pub struct Told {
    which: WhichEvents,
    /// With the number of the line by which each is recorded.
    known: HashMap<(EventId, String), (usize, EventRecord)>,
    lines: usize,
}

impl Told {
    pub fn new(which: WhichEvents) -> Self {
        Self {
            which,
            known: HashMap::new(),
            lines: 0,
        }
    }

    /// Takes the next line.
    pub fn take(&mut self, line: EventLine) {
        let EventLine { id, at, to, what } = line;
        let which = &self.which;
        self.lines += 1;
        let is_meant = |receiver: &String| {
            which.receiver.as_ref().is_none_or(|of| of == receiver)
                && (which.ids.is_empty() || which.ids.contains(&id))
        };
        for receiver in to.into_iter().filter(is_meant) {
            let key = (id, receiver.clone());
            match &what {
                Recorded::Event(event) => {
                    let record = EventRecord {
                        id,
                        receiver,
                        event: event.clone(),
                        at,
                        failed: None,
                        ended: None,
                    };
                    self.known.insert(key, (self.lines, record));
                }
                Recorded::Failed(failure) => {
                    if let Some((_, record)) = self.known.get_mut(&key) {
                        record.failed = Some((at, failure.clone()));
                    }
                }
                Recorded::Ended { end, why } => {
                    let is_kept = match end {
                        EventEnd::Dead => true,
                        EventEnd::Delivered => which.delivered,
                        EventEnd::Void => false,
                    };
                    match self.known.get_mut(&key) {
                        Some((_, record)) if is_kept => {
                            record.ended = Some((at, *end, why.clone()))
                        }
                        Some(_) => drop(self.known.remove(&key)),
                        None => {}
                    }
                }
            }
        }
    }

    /// Those that are meant, oldest first.
    pub fn records(self) -> Vec<EventRecord> {
        let since = self.which.since;
        let meant = |(_, of): &(usize, EventRecord)| since.is_none_or(|since| of.at >= since);
        let mut records: Vec<_> = self.known.into_values().filter(meant).collect();
        records.sort_by_key(|(line, _)| *line);
        records.into_iter().map(|(_, record)| record).collect()
    }
}

/// How far an event is on its way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    pub id: EventId,
    pub receiver: String,
    pub event: Event,
    /// When it was recorded, last if it was more than once.
    pub at: Timestamp,
    /// When the last attempt failed that did, and what is known of them.
    pub failed: Option<(Timestamp, Failure)>,
    /// When and how it ended, and why; `None`: it waits.
    pub ended: Option<(Timestamp, EventEnd, Option<String>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: Recorded) -> EventLine {
        EventLine {
            id: EventId::of(EventKind::JobDone, "j/1"),
            at: Timestamp::from_millisecond(1_795_323_468_123).unwrap(),
            to: vec!["erp".into(), "pager".into()],
            what,
        }
    }

    fn failure(attempts: u32) -> Failure {
        Failure {
            attempts,
            reason: "it answered 500".into(),
            next: Timestamp::from_millisecond(1_795_323_472_123).unwrap(),
        }
    }

    fn event() -> Event {
        Event::new(EventKind::JobDone, 1_795_323_468_120)
            .with("job", "20261122T045748.123Z-00042.xml")
            .with("submitter", "ada")
            .with_known("reference", None::<&str>)
    }

    #[test]
    fn lines_are_these_and_read_back() {
        let recorded = line(Recorded::Event(event()));
        assert_eq!(
            recorded.to_line(),
            r#"{"id":"evt_0d80cbc92d92354947b9fe224ae807b6","at":"2026-11-22T04:57:48.123Z","to":["erp","pager"],"event":{"type":"job.done","timestamp":"2026-11-22T04:57:48.12Z","data":{"job":"20261122T045748.123Z-00042.xml","submitter":"ada"}}}"#
        );
        let ended = line(Recorded::Ended {
            end: EventEnd::Dead,
            why: Some("no room".into()),
        });
        assert!(
            ended
                .to_line()
                .ends_with(r#""ended":{"end":"dead","why":"no room"}}"#)
        );
        let failed = FailedAttempt {
            receiver: "erp".into(),
            id: recorded.id,
            failure: failure(3),
        };
        let failed = failed.line(1_795_323_468_123);
        assert!(failed.to_line().ends_with(
            r#""to":["erp"],"failed":{"attempts":3,"reason":"it answered 500","next":"2026-11-22T04:57:52.123Z"}}"#
        ));
        for line in [recorded, ended, failed] {
            let text = line.to_line();
            assert_eq!(EventLine::from_line(text.as_bytes()), Some(line));
            for end in 0..text.len() {
                assert_eq!(EventLine::from_line(&text.as_bytes()[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn kinds_are_spelt_alike_everywhere_and_ids_read_back() {
        for kind in EventKind::ALL {
            let text = serde_json::to_value(kind).unwrap();
            assert_eq!(text, kind.as_str());
            let id = EventId::of(kind, "x");
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_ne!(
            EventId::of(EventKind::JobDone, "x"),
            EventId::of(EventKind::JobFailed, "x")
        );
        for odd in [
            "",
            "evt_",
            "evt_00",
            "evt_ZZ",
            "msg_00000000000000000000000000000000",
        ] {
            assert!(odd.parse::<EventId>().is_err(), "{odd}");
        }
        let upper = "evt_ABCDEF00000000000000000000000000";
        assert!(upper.parse::<EventId>().is_err());
    }

    #[test]
    fn a_receiver_takes_what_it_wants_and_what_is_of_no_interface() {
        let wants = Wants {
            receiver: "erp".into(),
            on: [EventKind::JobDone, EventKind::SpoolUnhealthy].into(),
            interfaces: ["a".parse().unwrap()].into(),
        };
        assert!(wants.takes(EventKind::JobDone, Some("a")));
        assert!(wants.takes(EventKind::SpoolUnhealthy, None));
        assert!(!wants.takes(EventKind::JobDone, Some("b")));
        assert!(!wants.takes(EventKind::JobFailed, Some("a")));
        let every = Wants {
            interfaces: BTreeSet::new(),
            ..wants
        };
        assert!(every.takes(EventKind::JobDone, Some("b")));
    }

    #[test]
    fn what_is_of_a_person_is_forgotten_and_what_is_not_stays() {
        let of_ada = event().with("reason", "no Ada").with("interface", "a");
        let left = of_ada.forgotten("ada").unwrap();
        assert_eq!(
            Value::Object(left.data),
            serde_json::json!({"interface": "a"})
        );
        assert_eq!(of_ada.forgotten("ad"), None);
        let fetched = event().with("by", "bob");
        let left = fetched.forgotten("bob").unwrap();
        assert_eq!(left, event());
    }

    #[test]
    fn the_last_line_of_an_event_and_a_receiver_counts() {
        let ended = |end| line(Recorded::Ended { end, why: None });
        let recorded = || line(Recorded::Event(event()));
        let told = |which: WhichEvents, lines: &[EventLine]| {
            let mut told = Told::new(which);
            lines.iter().cloned().for_each(|line| told.take(line));
            let each = told.records().into_iter();
            let each = each.map(|record| (record.receiver, record.ended.map(|ended| ended.1)));
            each.collect::<Vec<_>>()
        };
        let of_pager = WhichEvents {
            receiver: Some("pager".into()),
            ..WhichEvents::default()
        };
        let with_delivered = WhichEvents {
            delivered: true,
            ..of_pager.clone()
        };
        let is = |ended| vec![("pager".to_owned(), ended)];
        let (dead, delivered) = (ended(EventEnd::Dead), ended(EventEnd::Delivered));
        assert_eq!(told(WhichEvents::default(), &[recorded()]).len(), 2);
        assert_eq!(told(of_pager.clone(), &[recorded()]), is(None));
        let died = [recorded(), dead];
        assert_eq!(told(of_pager.clone(), &died), is(Some(EventEnd::Dead)));
        let again = [&died[..], &[recorded()]].concat();
        assert_eq!(told(of_pager.clone(), &again), is(None));
        let done = [&again[..], &[delivered]].concat();
        assert_eq!(told(of_pager.clone(), &done), []);
        assert_eq!(
            told(with_delivered.clone(), &done),
            is(Some(EventEnd::Delivered))
        );
        let void = [recorded(), ended(EventEnd::Void)];
        assert_eq!(told(with_delivered, &void), []);
        let elsewhere = WhichEvents {
            ids: [EventId::of(EventKind::JobDone, "other")].into(),
            ..of_pager.clone()
        };
        assert_eq!(told(elsewhere, &died), []);
        let late = WhichEvents {
            since: Some(died[0].at + jiff::SignedDuration::from_millis(1)),
            ..of_pager
        };
        assert_eq!(told(late, &died), []);
    }

    #[test]
    fn the_last_failure_is_told_until_an_event_is_recorded_once_more() {
        let recorded = || line(Recorded::Event(event()));
        let failed = |attempts| line(Recorded::Failed(failure(attempts)));
        let dead = line(Recorded::Ended {
            end: EventEnd::Dead,
            why: None,
        });
        let attempts = |lines: &[EventLine]| {
            let mut told = Told::new(WhichEvents::default());
            lines.iter().cloned().for_each(|line| told.take(line));
            let failed = told.records().into_iter().map(|record| record.failed);
            let attempts = failed.map(|failed| failed.map(|(_, failure)| failure.attempts));
            attempts.collect::<Vec<_>>()
        };
        let tried = [recorded(), failed(1), failed(2)];
        assert_eq!(attempts(&tried), [Some(2); 2]);
        let died = [&tried[..], &[dead]].concat();
        assert_eq!(attempts(&died), [Some(2); 2]);
        assert_eq!(attempts(&[&died[..], &[recorded()]].concat()), [None; 2]);
        assert_eq!(attempts(&[failed(1)]), [], "of an event that nobody knows");
    }

    #[test]
    fn long_texts_are_cut() {
        let failed = FailedAttempt {
            receiver: "erp".into(),
            id: EventId::of(EventKind::JobDone, "j/1"),
            failure: Failure {
                reason: "ü".repeat(REASON_CHARS_MAX + 1),
                ..failure(1)
            },
        };
        let Recorded::Failed(kept) = failed.line(0).what else {
            unreachable!("a failure is recorded as one");
        };
        assert_eq!(kept.reason.chars().count(), REASON_CHARS_MAX);
        let long = event().with("reason", "ü".repeat(TEXT_CHARS_MAX + 1));
        let kept = long.text("reason").unwrap();
        assert_eq!(kept.chars().count(), TEXT_CHARS_MAX);
    }
}
