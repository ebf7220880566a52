//! What a submitter may ask for a job: its priority, which worker may run it, how often it is tried
//! again, and parameters beside its document.
//!
//! All are in the day's record of the job; a job of which nothing is recorded has the usual ones.
//!
//! Sources: the Alteryx contract, `priority` and `workerTag`; the Robusta contract, `worker`.

use std::{fmt, str::FromStr};

/// Longest worker tag in bytes.
pub const WORKER_TAG_BYTES_MAX: usize = 64;

/// Which of the jobs that wait in an interface comes first. Orders by turn: what is to run earlier
/// is less. Within one priority the order is that of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    Critical,
    High,
    Medium,
    #[default]
    Default,
    Low,
}

impl Priority {
    /// In the order of their turns.
    pub const ALL: [Self; 5] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Default,
        Self::Low,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Default => "Default",
            Self::Low => "Low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a priority. The message says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use Critical, High, Medium, Default or Low")]
pub struct PriorityError;

impl FromStr for Priority {
    type Err = PriorityError;
    /// Without regard to case.
    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let mut all = Self::ALL.into_iter();
        all.find(|priority| priority.as_str().eq_ignore_ascii_case(text))
            .ok_or(PriorityError)
    }
}

/// The one kind of worker that may run a job.
/// Invariant: 1..=64 bytes without control characters, no space at the ends, not `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerTag(Box<str>);

impl WorkerTag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not a worker tag. The message says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a worker tag has 1 to {WORKER_TAG_BYTES_MAX} bytes, no control characters, no space at its ends, and is not *"
)]
pub struct WorkerTagError;

impl FromStr for WorkerTag {
    type Err = WorkerTagError;
    fn from_str(text: &str) -> Result<Self, WorkerTagError> {
        let fine = (1..=WORKER_TAG_BYTES_MAX).contains(&text.len())
            && !text.chars().any(char::is_control)
            && text.trim() == text
            && text != "*";
        fine.then(|| Self(text.into())).ok_or(WorkerTagError)
    }
}

/// Longest parameters of a job, as JSON text in bytes: they are in its record, which is in one piece.
pub const PARAMS_BYTES_MAX: usize = 16 * 1024;

/// All that a submitter asked for one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    pub priority: Priority,
    pub worker: Option<WorkerTag>,
    /// How often it is tried again after an error; `None`: as its interface says.
    pub retries: Option<u32>,
    /// A JSON object for the processor, as text of at most [`PARAMS_BYTES_MAX`] bytes.
    pub params: Option<String>,
}

/// Which tags a service answers to: the jobs of other tags wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerTags {
    All,
    /// These only. Jobs without a tag are everyone's, also when there is none.
    Named(Vec<WorkerTag>),
}

impl WorkerTags {
    /// The tags as the configuration lists them; `*` is all.
    ///
    /// # Errors
    /// When an entry is not a tag.
    pub fn parse(list: &[String]) -> Result<Self, WorkerTagError> {
        if list.iter().any(|tag| tag == "*") {
            return Ok(Self::All);
        }
        let tags: Result<_, _> = list.iter().map(|tag| tag.parse()).collect();
        tags.map(Self::Named)
    }

    /// May a job of that tag run here?
    pub fn take(&self, tag: Option<&WorkerTag>) -> bool {
        match (self, tag) {
            (Self::All, _) | (Self::Named(_), None) => true,
            (Self::Named(tags), Some(tag)) => tags.contains(tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_their_order_and_one_spelling() {
        assert!(Priority::ALL.is_sorted());
        for priority in Priority::ALL {
            let text = priority.to_string();
            assert_eq!(text.parse(), Ok(priority));
            assert_eq!(text.to_lowercase().parse(), Ok(priority));
        }
        for odd in ["", "urgent", "High ", "0"] {
            assert_eq!(odd.parse::<Priority>(), Err(PriorityError), "{odd}");
        }
    }

    #[test]
    fn tags_are_short_plain_text() {
        for good in ["a", "Robot 1", "büro", &"x".repeat(64)] {
            assert_eq!(good.parse::<WorkerTag>().unwrap().as_str(), good);
        }
        for odd in ["", "*", " a", "a ", "a\nb", "a\0", &"x".repeat(65)] {
            assert_eq!(odd.parse::<WorkerTag>(), Err(WorkerTagError), "{odd:?}");
        }
    }

    #[test]
    fn a_service_takes_its_tags_and_what_has_none() {
        let tags = |list: &[&str]| {
            WorkerTags::parse(&list.iter().map(|t| t.to_string()).collect::<Vec<_>>())
        };
        let tag = |text: &str| text.parse::<WorkerTag>().unwrap();
        let two = tags(&["a", "b"]).unwrap();
        assert!(two.take(None) && two.take(Some(&tag("b"))));
        assert!(!two.take(Some(&tag("c"))) && !two.take(Some(&tag("A"))));
        assert!(tags(&["a", "*"]).unwrap().take(Some(&tag("c"))));
        let none = tags(&[]).unwrap();
        assert!(none.take(None) && !none.take(Some(&tag("a"))));
        assert_eq!(tags(&["a", ""]), Err(WorkerTagError));
    }
}
