//! What a check of all that is kept has found. Pure.

use crate::domain::{JobName, text};
use serde::Serialize;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// How far a check is, for those who watch it.
#[derive(Debug, Default)]
pub struct CheckProgress {
    looked_at: AtomicU64,
    of: AtomicU64,
}

impl CheckProgress {
    /// So many jobs are there to be looked at.
    pub fn begin(&self, jobs: u64) {
        self.of.store(jobs, Ordering::Relaxed);
    }

    /// One more was looked at.
    pub fn advance(&self) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
    }

    /// How many jobs were looked at, and about how many there are; 0 as long as that is not known.
    pub fn so_far(&self) -> (u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.looked_at), read(&self.of))
    }
}

/// What a check has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Jobs that were looked at.
    pub jobs: u64,
    pub flaws: Vec<Flaw>,
}

impl Checked {
    /// Could all be looked at?
    pub fn is_whole(&self) -> bool {
        self.flaws
            .iter()
            .all(|flaw| flaw.kind != FlawKind::Unreadable)
    }
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    #[serde(rename = "flaw")]
    pub kind: FlawKind,
    /// `None`: it is of no single job.
    #[serde(with = "text::option")]
    pub job: Option<JobName>,
    /// Where it lies, as the engine names that.
    pub at: Vec<String>,
    pub why: String,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlawKind {
    /// The document of a job is not the one that was accepted.
    Altered,
    /// The audit is no chain.
    Audit,
    /// A job is at more than one place.
    Doubled,
    /// A job is at no place, and nothing says that it was removed.
    Lost,
    /// What stands in the record is no line of it.
    Record,
    /// Results of which there is no job.
    Results,
    /// It could not be looked at.
    Unreadable,
    /// Nothing is recorded of a job.
    Unrecorded,
}

impl FlawKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Audit => "audit",
            Self::Doubled => "doubled",
            Self::Lost => "lost",
            Self::Record => "record",
            Self::Results => "results",
            Self::Unreadable => "unreadable",
            Self::Unrecorded => "unrecorded",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, at) = (self.kind.as_str(), self.at.join(", "));
        write!(f, "{kind:<10} {at}: {}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_is_told_as_text_and_as_an_object() {
        let flaw = Flaw {
            kind: FlawKind::Doubled,
            job: Some("20261122T045748.123Z-00042.xml".parse().unwrap()),
            at: vec!["queue/a/x".into(), "bak/a/x".into()],
            why: "one job".into(),
        };
        assert_eq!(flaw.to_string(), "doubled    queue/a/x, bak/a/x: one job");
        let object = serde_json::json!({
            "flaw": flaw.kind.as_str(), "job": "20261122T045748.123Z-00042.xml",
            "at": ["queue/a/x", "bak/a/x"], "why": "one job",
        });
        assert_eq!(serde_json::to_value(&flaw).unwrap(), object);
        let of = |kind| Checked {
            jobs: 1,
            flaws: vec![Flaw {
                kind,
                ..flaw.clone()
            }],
        };
        assert!(of(FlawKind::Lost).is_whole() && !of(FlawKind::Unreadable).is_whole());
    }
}
