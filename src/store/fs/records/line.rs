//! The lines of a day's record, and what they say. Pure.
//!
//! `accepted.jsonl` has one line for each job that came, `ended.jsonl` one for each end of an attempt
//! and for each act of a person. A line is one JSON object, and its first member is the job's id, so
//! that a search need not read the rest. What is not a line of ours is nothing: it is passed over.

use crate::domain::{InterfaceName, JobName, JobOptions, Priority, UserName, WorkerTag, text};
use crate::store::{By, Came, Failure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// So much is recorded of an error.
const ERROR_CHARS_MAX: usize = 200;

/// What is known of a job since it came: a line of `accepted.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    id: u64,
    #[serde(with = "text")]
    pub job: JobName,
    #[serde(flatten)]
    pub came: Came,
    pub dialect: String,
    pub submitter: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub interface: Option<InterfaceName>,
    /// For whom it is, where jobs are addressed to users.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub addressee: Option<UserName>,
    /// The name by which the submitter asked for the interface, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_as: Option<String>,
    /// The reference as it was sent, before it was reduced to what a name may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_as_sent: Option<String>,
    /// In hex; of a document that the service has written itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub bytes: u64,
    /// The user id that owns the file, where another user has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "is_usual", with = "text")]
    pub priority: Priority,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub worker: Option<WorkerTag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What its document says that it keeps its order by: `@<attribute>=<value>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
    /// Of the Unix epoch. All of the document was here then.
    pub received_ms: i64,
    /// A JSON object for the processor, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<String>,
}

fn is_usual(priority: &Priority) -> bool {
    *priority == Priority::default()
}

impl Accepted {
    /// A job that came in that way at that moment; all else is to be filled in.
    pub fn new(job: JobName, came: Came, received_ms: i64) -> Self {
        Self {
            id: job.id().get(),
            job,
            came,
            dialect: String::new(),
            submitter: String::new(),
            interface: None,
            addressee: None,
            asked_as: None,
            reference_as_sent: None,
            sha256: None,
            bytes: 0,
            uid: None,
            priority: Priority::default(),
            worker: None,
            retries: None,
            order_key: None,
            received_ms,
            params: None,
        }
    }

    /// The same with what its submitter asked for it.
    pub fn on(mut self, options: &JobOptions) -> Self {
        self.priority = options.priority;
        self.worker.clone_from(&options.worker);
        self.retries = options.retries;
        self.params.clone_from(&options.params);
        self
    }

    /// The line without its end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; `None` when it is not one of ours.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(line).ok()?;
        (read.id == read.job.id().get()).then_some(read)
    }

    /// The same without what is of its submitter: his name, his words, and what he asked the processor for.
    #[must_use]
    pub(in crate::store::fs) fn forgotten(&self) -> Self {
        Self {
            job: bare(&self.job),
            came: match &self.came {
                Came::Emitted { parent } => Came::Emitted {
                    parent: bare(parent),
                },
                Came::Dropped { .. } => Came::Dropped {
                    dropped_as: String::new(),
                },
                other @ (Came::Scheduled | Came::Uploaded) => other.clone(),
            },
            submitter: String::new(),
            addressee: None,
            reference_as_sent: None,
            params: None,
            ..self.clone()
        }
    }

    /// What the joblog says first of the job, if there is something to be said of how it came.
    pub fn note(&self) -> Option<String> {
        let sent = self.reference_as_sent.as_deref();
        self.came.note(&self.job, self.interface.as_ref(), sent)
    }
}

/// How an attempt ended, or what was done with the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Cancelled,
    /// A crash has ended the attempt; the job waits again.
    CutOff,
    Deferred,
    Done,
    Failed,
    /// Completely retrieved.
    Fetched,
    /// The attempt does not count: the service was stopped.
    GivenBack,
    /// Something was seen or done that its log is to say.
    Noted,
    Refused,
    Removed,
    Requeued,
}

/// The end of an attempt, or an act: a line of `ended.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    id: u64,
    #[serde(with = "text")]
    pub job: JobName,
    pub act: Act,
    /// Of the Unix epoch.
    pub at_ms: i64,
    /// The attempt that ended, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When it began, of the Unix epoch, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// Whose job it is from now on.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub interface: Option<InterfaceName>,
    /// For whom it is from now on, or was, if nothing before says so.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub addressee: Option<UserName>,
    /// The [`fingerprint`] of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Who was behind an account that others use as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is to be said of it in the log, or the beginning of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The interface that it was in, for whoever counts now. No line says it.
    #[serde(skip)]
    pub(in crate::store::fs) was_in: Option<InterfaceName>,
}

impl Ended {
    pub fn new(job: &JobName, act: Act, at_ms: i64) -> Self {
        Self {
            id: job.id().get(),
            job: job.clone(),
            act,
            at_ms,
            attempt: None,
            started_ms: None,
            interface: None,
            addressee: None,
            error: None,
            by: None,
            login: None,
            from: None,
            why: None,
            text: None,
            was_in: None,
        }
    }

    /// The same without what is of the submitter whose job it is, or of him who did it.
    #[must_use]
    pub(in crate::store::fs) fn forgotten(&self, is_his: bool, is_by_him: bool) -> Self {
        let mut line = self.clone();
        if is_his {
            line.job = bare(&self.job);
            line.addressee = None;
            line.text = None;
        }
        if is_by_him {
            line.by = None;
            line.login = None;
            line.from = None;
            line.why = None;
        }
        line
    }

    /// The same with who did it.
    pub fn by(mut self, by: &By) -> Self {
        self.by = Some(by.to_string());
        self.login.clone_from(&by.login);
        self.from = Some(by.origin.to_string());
        self.why.clone_from(&by.why);
        self
    }

    /// The same with the error by which it ended.
    pub fn with_error(mut self, error: Option<&str>) -> Self {
        self.error = error.map(fingerprint);
        self.text = error.map(|error| error.chars().take(ERROR_CHARS_MAX).collect());
        self
    }

    /// What it says of how an attempt, or an upload, has failed.
    pub fn failure(&self) -> Failure {
        Failure {
            at_ms: self.at_ms,
            attempt: self.attempt,
            fingerprint: self.error.clone(),
            reason: self.text.clone(),
        }
    }

    /// The line without its end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; `None` when it is not one of ours.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(line).ok()?;
        (read.id == read.job.id().get()).then_some(read)
    }
}

/// What a line of `accepted.jsonl` says of the size of an upload, without the rest.
#[derive(Debug, Deserialize)]
pub(super) struct UploadLine<'l> {
    pub(super) id: u64,
    #[serde(borrow)]
    came: Cow<'l, str>,
    #[serde(borrow)]
    pub(super) submitter: Cow<'l, str>,
    pub(super) bytes: u64,
}

impl<'l> UploadLine<'l> {
    /// `None` when it is not the line of an upload.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(line).ok()?;
        (read.came == "uploaded").then_some(read)
    }
}

/// A job's name without its reference, which is its submitter's.
fn bare(job: &JobName) -> JobName {
    JobName::new(job.id(), None, job.kind())
}

/// The job's id in a line, without reading the rest.
pub(super) fn id_of(line: &[u8]) -> Option<u64> {
    Some(id_and_rest(line)?.0)
}

/// The job's name in a line, without reading the rest.
pub(super) fn name_of(line: &[u8]) -> Option<&[u8]> {
    Some(id_name_and_rest(line)?.1)
}

/// Both, and what follows the name.
pub(super) fn id_name_and_rest(line: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (id, rest) = id_and_rest(line)?;
    let name = rest.strip_prefix(b"\"job\":\"")?;
    // There is nothing in a name that a string of JSON has to escape.
    let (name, rest) = name.split_at(memchr::memchr(b'"', name)?);
    Some((id, name, &rest[1..]))
}

fn id_and_rest(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(b"{\"id\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(b",")?;
    let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((id, rest))
}

/// What errors have in common that differ in numbers only: 16 hex digits.
pub fn fingerprint(error: &str) -> String {
    let mut hash = Sha256::new();
    let mut was_digit = false;
    for byte in error.bytes() {
        let is_digit = byte.is_ascii_digit();
        if !is_digit {
            hash.update([byte]);
        } else if !was_digit {
            hash.update(b"#");
        }
        was_digit = is_digit;
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobName {
        "20261122T045748.123Z-00042-x.json".parse().unwrap()
    }

    fn accepted() -> Accepted {
        let options = JobOptions {
            priority: Priority::High,
            worker: Some("robot 1".parse().unwrap()),
            retries: Some(2),
            params: Some("{\"a\":\"\\n\"}".into()),
        };
        let mut accepted = Accepted::new(job(), Came::Uploaded, 1_795_323_468_123).on(&options);
        accepted.dialect = "robusta".into();
        accepted.submitter = "ada".into();
        accepted.interface = Some("a".parse().unwrap());
        accepted.reference_as_sent = Some("Größe 1".into());
        accepted.sha256 = Some("00".repeat(32));
        accepted.order_key = Some("@a=1".into());
        accepted.bytes = 7;
        accepted
    }

    #[test]
    fn lines_are_these_and_read_back() {
        let line = accepted().to_line();
        let expected = r#"{"id":890825392631850,"job":"20261122T045748.123Z-00042-x.json","came":"uploaded","dialect":"robusta","submitter":"ada","interface":"a","reference_as_sent":"Größe 1","sha256":"0000000000000000000000000000000000000000000000000000000000000000","bytes":7,"priority":"High","worker":"robot 1","retries":2,"order_key":"@a=1","received_ms":1795323468123,"params":"{\"a\":\"\\n\"}"}"#;
        assert_eq!(line, expected);
        assert_eq!(Accepted::from_line(line.as_bytes()), Some(accepted()));
        assert_eq!(id_of(line.as_bytes()), Some(job().id().get()));
        assert_eq!(name_of(line.as_bytes()), Some(job().to_string().as_bytes()));
        let upload = UploadLine::read(line.as_bytes()).unwrap();
        assert_eq!(
            (upload.id, &*upload.submitter, upload.bytes),
            (job().id().get(), "ada", 7)
        );
        for came in [
            Came::Dropped {
                dropped_as: "o.xml".into(),
            },
            Came::Emitted { parent: job() },
            Came::Scheduled,
        ] {
            let plain = Accepted::new(job(), came, 1);
            let line = plain.to_line();
            assert_eq!(Accepted::from_line(line.as_bytes()), Some(plain));
            assert!(UploadLine::read(line.as_bytes()).is_none());
        }
        let mut ended = Ended::new(&job(), Act::Deferred, 5);
        ended.attempt = Some(3);
        ended.error = Some(fingerprint("exit code 1"));
        let line = ended.to_line();
        let expected = r#"{"id":890825392631850,"job":"20261122T045748.123Z-00042-x.json","act":"deferred","at_ms":5,"attempt":3,"error":"#;
        assert!(line.starts_with(expected), "{line}");
        assert_eq!(Ended::from_line(line.as_bytes()), Some(ended));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn what_is_no_line_of_ours_says_nothing() {
        let line = accepted().to_line();
        for end in 0..line.len() {
            assert_eq!(Accepted::from_line(&line.as_bytes()[..end]), None, "{end}");
        }
        let other = line.replacen("890825392631850", "7", 1);
        assert_eq!(Accepted::from_line(other.as_bytes()), None, "another id");
        for odd in ["", "{}", "{\"id\":", "{\"id\":x,", "{\"id\":1}", "[1]"] {
            assert_eq!(id_of(odd.as_bytes()), None, "{odd}");
            assert_eq!(name_of(odd.as_bytes()), None, "{odd}");
            assert_eq!(Ended::from_line(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn errors_that_differ_in_numbers_only_are_alike() {
        assert_eq!(fingerprint("line 12: no"), fingerprint("line 7: no"));
        assert_ne!(fingerprint("line 12: no"), fingerprint("line : no"));
        assert_eq!(fingerprint("").len(), 16);
    }
}
