//! The audit: what operators and administrators did, as a chain of lines. Pure.
//!
//! An act has two records: what is wanted, durable before anything of it is done, and what came of it.
//! So nothing is done that the audit does not show; after a crash in the middle of an act the second one is
//! missing. Each record has the SHA-256 of the line before, without its end. That shows damage, and edits by
//! someone who does not write all later lines anew; against those a copy of the newest hash helps that is
//! kept elsewhere.

mod chain;

pub use chain::{Chain, Misfit, Verified};

use super::By;
use crate::domain::JobName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// So many names are recorded of what an act is about; the others are counted.
pub const NAMES_MAX: usize = 100;
/// Of what users have typed, so many characters are recorded.
const TEXT_CHARS_MAX: usize = 1000;
/// The hash that the first record has.
const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What somebody wants done, by whom and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// As the command is called.
    pub act: String,
    /// The account that acts.
    pub by: String,
    /// Who is behind that account, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    pub from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The first of those that an administrator's act is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// By what the jobs were chosen, if not by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How many jobs, or users, there are to be acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first of the jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// What else was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// What retention removes of the audit itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
}

/// The records that are gone: up to that number, and the hash of the last of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub day: String,
    pub through: u64,
    pub sha256: String,
}

impl Deed {
    /// An act of that name; all else is to be filled in.
    pub fn new(act: &str, by: &By) -> Self {
        Self {
            act: act.into(),
            by: by.account.clone(),
            login: by.login.clone(),
            from: by.origin.to_string(),
            why: by.why.as_deref().map(short),
            ..Self::default()
        }
    }

    /// On so many jobs, of which these are the first.
    #[must_use]
    pub fn jobs<'j>(mut self, count: usize, jobs: impl IntoIterator<Item = &'j JobName>) -> Self {
        self.count = Some(count as u64);
        let names = jobs.into_iter().take(NAMES_MAX);
        self.jobs = names.map(ToString::to_string).collect();
        self
    }

    /// On so many users, of whom these are the first.
    #[must_use]
    pub fn users(mut self, count: usize, users: &[String]) -> Self {
        self.count = Some(count as u64);
        self.users = (users.iter().take(NAMES_MAX))
            .map(|user| short(user))
            .collect();
        self
    }

    /// With what was asked for beside that.
    #[must_use]
    pub fn with(mut self, text: Option<&str>) -> Self {
        self.with = text.map(short);
        self
    }

    /// Is it this person's, by account or login?
    pub fn is_by(&self, user: &str) -> bool {
        let names = [Some(&self.by), self.login.as_ref()];
        let is_named = |name: &&String| {
            let rest = name.strip_prefix(user);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" (uid "))
        };
        names.into_iter().flatten().any(|name| is_named(&name))
    }
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done,
    /// Some of it was done.
    Partly,
    /// Nothing was done.
    Refused,
    /// How much of it was done is not known.
    Failed,
}

impl Outcome {
    /// Of an act that is done as a whole or not at all.
    pub fn of(done: bool) -> Self {
        match done {
            true => Self::Done,
            false => Self::Refused,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The number of the record that says what was wanted.
    pub of: u64,
    pub outcome: Outcome,
    /// To how many jobs it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// What the one who acts was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

impl Ending {
    pub fn new(of: u64, outcome: Outcome, said: &str) -> Self {
        Self {
            of,
            outcome,
            done: None,
            said: (!said.is_empty()).then(|| short(said)),
        }
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    Ended(Ending),
    Begun(Box<Deed>),
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Counted from 1 without a gap.
    pub number: u64,
    /// The SHA-256 of the line before, in hex.
    pub before: String,
    pub at: Timestamp,
    #[serde(flatten)]
    pub entry: Entry,
}

impl AuditRecord {
    /// Reads a line; `None` when it is not one of ours.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The line without its end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The newest record of a chain: whoever keeps its hash elsewhere can tell whether anything before it was
/// changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditHead {
    pub number: u64,
    /// Of its line, in hex.
    pub sha256: String,
    /// `None`: its line cannot be read.
    pub at: Option<Timestamp>,
}

impl AuditHead {
    /// Of a chain without a record.
    pub fn nothing() -> Self {
        Self {
            number: 0,
            sha256: NOTHING_BEFORE.into(),
            at: None,
        }
    }

    /// With the line of a record at its end.
    fn of(number: u64, line: &[u8], at: Option<Timestamp>) -> Self {
        Self {
            number,
            sha256: hex::encode(Sha256::digest(line)),
            at,
        }
    }

    /// The end of a chain whose last lines these are. Damaged lines count as records.
    pub fn of_lines<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> Option<Self> {
        let mut head: Option<Self> = None;
        for line in lines {
            let before = head.map_or(0, |head| head.number);
            head = Some(match AuditRecord::from_line(line) {
                Some(record) => Self::of(record.number, line, Some(record.at)),
                None => Self::of(before + 1, line, None),
            });
        }
        head
    }

    /// The line of the next record, and the chain's end with it.
    pub fn next(&self, entry: &Entry, now_ms: i64) -> (Self, String) {
        let at = Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let record = AuditRecord {
            number: self.number + 1,
            before: self.sha256.clone(),
            at,
            entry: entry.clone(),
        };
        let line = record.to_line();
        (Self::of(record.number, line.as_bytes(), Some(at)), line)
    }

    /// The first 52 bits of the hash as a number that a metric can show without loss: `printf %013x` gives the
    /// digits with which the hash begins.
    pub fn fingerprint(&self) -> u64 {
        let digits = self.sha256.get(..13).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0)
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
