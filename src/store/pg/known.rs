//! What the database knows of a job, as one row says it.

use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobName, JobOptions, Place, Priority, Queue, UserName},
    store::{Failure, JobRecord, NewJob, Now, Precedence, Result, State, StoreError},
};
use std::{fmt::Display, str::FromStr};
use tokio_postgres::Row;

/// All columns of [`Known`], with the text of the log when it is said so, of those jobs that are meant.
macro_rules! known {
    ($with_log:literal, $of:literal) => {
        concat!(
            "select r.id, r.name, r.submitter, r.dialect, r.asked_as, r.priority, r.worker, r.retries, r.params, \
             r.order_key, r.reference_as_sent, r.came, r.received_ms, r.bytes, r.sha256, \
             coalesce(j.place, e.place) as place, coalesce(j.interface, e.interface) as interface, \
             coalesce(j.addressee, e.addressee) as addressee, coalesce(j.for_user, false) as for_user, j.due_ms, \
             e.state, coalesce(j.attempts, e.attempts) as attempts, \
             coalesce(j.started_ms, e.started_ms) as started_ms, coalesce(j.fence, e.fence) as fence, \
             coalesce(j.settled, e.settled) as settled, j.life, coalesce(j.works, false) as works, j.notes, \
             e.variables, l.finished_ms, l.attempts as log_attempts, l.reason, \
             case when ", $with_log, " then l.text end as log, \
             exists (select from life where life.life = j.life and life.until > clock_timestamp()) as lives \
             from record r left join job j on j.id = r.id left join ended e on e.id = r.id \
             left join log l on l.id = r.id where (j.id is not null or e.id is not null) and ",
            $of
        )
    };
}
pub(super) use known;

/// How a job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Cancelled,
    /// Cancelled while it waited.
    Deleted,
    Done,
    Failed,
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut all = [Self::Cancelled, Self::Deleted, Self::Done, Self::Failed].into_iter();
        all.find(|end| end.as_str() == text)
    }
}

/// The newest log of a job.
#[derive(Clone, Debug)]
pub(super) struct LastLog {
    pub(super) finished_ms: i64,
    pub(super) attempts: u32,
    /// Why it ended badly, by what was said in that run alone.
    pub(super) reason: Option<String>,
    /// If it was asked for.
    pub(super) text: Option<JobLog>,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: JobName,
    pub(super) place: Place,
    /// Where it is, or was last before it failed.
    pub(super) interface: Option<InterfaceName>,
    pub(super) addressee: Option<UserName>,
    pub(super) end: Option<End>,
    pub(super) new: NewJob,
    pub(super) received_ms: i64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) attempts: u32,
    pub(super) started_ms: Option<i64>,
    /// Rises with each step.
    pub(super) fence: i64,
    /// The fence of the lease by which its last run was settled.
    pub(super) settled: Option<i64>,
    pub(super) life: Option<i64>,
    /// Does that life last?
    pub(super) lives: bool,
    /// A processor works on it: should the lease be lost, the attempt counts.
    pub(super) works: bool,
    /// What its first log is to say.
    pub(super) notes: Vec<(i64, String)>,
    /// What `result.json` had.
    pub(super) variables: Option<String>,
    pub(super) log: Option<LastLog>,
}

fn damaged(what: &str) -> StoreError {
    StoreError::Unavailable(format!("a row of the store is damaged: {what}"))
}

/// A value that is written as text.
pub(super) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|error| damaged(&format!("{text:?}: {error}")))
}

pub(super) fn parsed_if<T: FromStr<Err: Display>>(text: Option<String>) -> Result<Option<T>> {
    text.as_deref().map(parsed).transpose()
}

/// A number that is never below zero.
pub(super) fn count(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

pub(super) fn count32(number: i32) -> u32 {
    number.try_into().unwrap_or(0)
}

pub(super) fn small(number: u32) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

pub(super) fn id_of(job: &JobName) -> i64 {
    // Ids are below 2^53.
    job.id().get() as i64
}

/// By its number in the order of turns.
pub(super) fn priority(number: i16) -> Priority {
    let known = usize::try_from(number).ok();
    let known = known.and_then(|number| Priority::ALL.get(number));
    known.copied().unwrap_or_default()
}

pub(super) fn number_of(priority: Priority) -> i16 {
    let at = Priority::ALL.iter().position(|known| *known == priority);
    at.and_then(|at| at.try_into().ok()).unwrap_or(0)
}

pub(super) fn place_name(place: &Place) -> &'static str {
    match place {
        Place::Bak(_) => "bak",
        Place::Deferred { .. } => "deferred",
        Place::JobErrors => "joberrors",
        Place::Queue(_) => "queue",
        Place::Refused => "refused",
        Place::Work { .. } => "work",
    }
}

/// The columns of a record.
pub(super) fn record_of(row: &Row) -> Result<NewJob> {
    let retries: Option<i32> = row.get("retries");
    let came: &str = row.get("came");
    Ok(NewJob {
        dialect: row.get("dialect"),
        asked_as: row.get("asked_as"),
        submitter: row.get("submitter"),
        options: JobOptions {
            priority: priority(row.get("priority")),
            worker: parsed_if(row.get("worker"))?,
            retries: retries.map(count32),
            params: row.get("params"),
        },
        came: serde_json::from_str(came).map_err(|error| damaged(&error.to_string()))?,
        reference_as_sent: row.get("reference_as_sent"),
        order_key: row.get("order_key"),
    })
}

pub(super) fn log_of_text(text: &str) -> Result<JobLog> {
    JobLog::from_xml(text).map_err(|why| damaged(&why))
}

impl Known {
    pub(super) fn read(row: &Row) -> Result<Self> {
        let interface: Option<InterfaceName> = parsed_if(row.get("interface"))?;
        let addressee: Option<UserName> = parsed_if(row.get("addressee"))?;
        let attempts = count32(row.get("attempts"));
        let place = place_of(row, interface.as_ref(), addressee.as_ref(), attempts)?;
        let finished_ms: Option<i64> = row.get("finished_ms");
        let text: Option<&str> = row.get("log");
        let text = text.map(log_of_text).transpose()?;
        let log_attempts: Option<i32> = row.get("log_attempts");
        let log = finished_ms.map(|finished_ms| LastLog {
            finished_ms,
            attempts: log_attempts.map_or(0, count32),
            reason: row.get("reason"),
            text,
        });
        let notes: Option<&str> = row.get("notes");
        let notes = notes.map(serde_json::from_str).transpose();
        let end: Option<&str> = row.get("state");
        Ok(Self {
            name: parsed(row.get("name"))?,
            place,
            interface,
            addressee,
            end: end.and_then(End::read),
            new: record_of(row)?,
            received_ms: row.get("received_ms"),
            bytes: count(row.get::<_, i64>("bytes")),
            sha256: row.get("sha256"),
            attempts,
            started_ms: row.get("started_ms"),
            fence: row.get("fence"),
            settled: row.get("settled"),
            life: row.get("life"),
            lives: row.get("lives"),
            works: row.get("works"),
            notes: notes
                .map_err(|error| damaged(&error.to_string()))?
                .unwrap_or_default(),
            variables: row.get("variables"),
            log,
        })
    }

    pub(super) fn job(&self) -> Job {
        Job {
            place: self.place.clone(),
            name: self.name.clone(),
        }
    }

    /// With whether it was cancelled while it waited.
    pub(super) fn state(&self) -> (State, bool) {
        match (&self.place, self.end) {
            (Place::Deferred { .. } | Place::Queue(_), _) => (State::Waiting, false),
            (Place::Work { .. }, _) => (State::Running, false),
            (Place::Bak(_), _) => (State::Done, false),
            (Place::JobErrors, Some(End::Cancelled)) => (State::Cancelled, false),
            (Place::JobErrors, Some(End::Deleted)) => (State::Cancelled, true),
            (Place::JobErrors | Place::Refused, _) => (State::Failed, false),
        }
    }

    pub(super) fn precedence(&self) -> Precedence {
        self.new.precedence(&self.name)
    }

    pub(super) fn record(&self) -> JobRecord {
        self.new.record(self.received_ms)
    }

    /// How its last attempt failed, as its log says.
    pub(super) fn failure(&self) -> Option<Failure> {
        let log = self.log.as_ref()?;
        let is_cancelled = self.state().0 == State::Cancelled;
        let reason = log.reason.as_deref().filter(|_| !is_cancelled)?;
        Failure::logged(&self.place, log.finished_ms, log.attempts, reason)
    }

    pub(super) fn now(&self) -> Now {
        Now {
            bytes: self.bytes,
            sha256: Some(self.sha256.clone()),
            attempts: match self.place {
                Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => {
                    Some(self.attempts)
                }
                Place::Bak(_) | Place::JobErrors | Place::Refused => None,
            },
            attempts_max: None,
            started_ms: (self.started_ms).filter(|_| matches!(self.place, Place::Work { .. })),
            path: None,
        }
    }

    /// The log of an end, without that of an end before it.
    pub(super) fn log_of(&self, status: Status, at_ms: i64, mut messages: Vec<Message>) -> JobLog {
        if self.log.is_none() {
            let (new, interface) = (&self.new, self.interface.as_ref());
            let sent = new.reference_as_sent.as_deref();
            let came = new.came.note(&self.name, interface, sent);
            let came = came.map(|text| (self.received_ms, text));
            let noted = came.into_iter().chain(self.notes.iter().cloned());
            let noted = noted.map(|(at_ms, text)| Message::new(at_ms, Level::Info, text));
            messages.splice(0..0, noted);
        }
        JobLog {
            job: self.name.clone(),
            interface: self.interface.clone(),
            status,
            received_ms: self.received_ms,
            started_ms: self.started_ms,
            finished_ms: at_ms,
            attempts: self.attempts,
            bytes: self.bytes,
            sha256: Some(self.sha256.clone()),
            messages,
        }
    }

    /// The log that it has.
    pub(super) fn text(&self) -> Option<&JobLog> {
        self.log.as_ref()?.text.as_ref()
    }
}

fn place_of(
    row: &Row,
    interface: Option<&InterfaceName>,
    addressee: Option<&UserName>,
    attempt: u32,
) -> Result<Place> {
    let name: &str = row.get("place");
    let for_user: bool = row.get("for_user");
    let due_ms: Option<i64> = row.get("due_ms");
    match (name, interface.cloned()) {
        ("joberrors", _) => Ok(Place::JobErrors),
        ("refused", _) => Ok(Place::Refused),
        ("bak", Some(interface)) => Ok(Place::Bak(interface)),
        ("queue", Some(interface)) => Ok(Place::Queue(Queue {
            interface,
            addressee: addressee.filter(|_| for_user).cloned(),
        })),
        ("deferred", Some(interface)) => Ok(Place::Deferred {
            interface,
            due_ms: due_ms.unwrap_or(0),
        }),
        ("work", Some(interface)) => Ok(Place::Work { interface, attempt }),
        (other, _) => Err(damaged(other)),
    }
}
