//! Which jobs an operator means: what they have in common, as the commands take it and the socket
//! carries it.

use crate::{
    domain::{InterfaceName, PlaceKind, joblog::rfc3339, text},
    store::{Filter, JobSummary, Result, State, Store, Viewer},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What has become of a job, as operators call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Queued,
    Deferred,
    Running,
    Done,
    Failed,
    /// By somebody, while it waited or ran.
    Cancelled,
    Refused,
}

impl JobState {
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Deferred,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Refused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deferred => "deferred",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// Of a job as a list shows it.
    pub fn of(summary: &JobSummary) -> Self {
        match summary.job.place.kind() {
            PlaceKind::Bak => Self::Done,
            PlaceKind::Deferred => Self::Deferred,
            PlaceKind::JobErrors if summary.state == State::Cancelled => Self::Cancelled,
            PlaceKind::JobErrors => Self::Failed,
            PlaceKind::Queue => Self::Queued,
            PlaceKind::Refused => Self::Refused,
            PlaceKind::Work => Self::Running,
        }
    }

    pub fn kind(self) -> PlaceKind {
        match self {
            Self::Queued => PlaceKind::Queue,
            Self::Deferred => PlaceKind::Deferred,
            Self::Running => PlaceKind::Work,
            Self::Done => PlaceKind::Bak,
            Self::Failed | Self::Cancelled => PlaceKind::JobErrors,
            Self::Refused => PlaceKind::Refused,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("{text} is no state of a job; there are {all}")
        })
    }
}

/// Jobs by what they have in common; the default is every job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    /// In one of these; empty: in any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<JobState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// This is in their names or references, as [`Filter::text`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// They came at this moment or later, and before the other, of the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<i64>,
    /// Their last error, or what they were refused for, has this text in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The fingerprint of their last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// So many of them, those that came first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// As options of a command.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<&str> = self.states.iter().map(|state| state.as_str()).collect();
        let options = [
            (
                "interface",
                self.interface.as_ref().map(ToString::to_string),
            ),
            ("state", (!states.is_empty()).then(|| states.join(","))),
            ("submitter", self.submitter.clone()),
            ("text", self.text.as_ref().map(|text| format!("{text:?}"))),
            ("since", self.since_ms.map(rfc3339)),
            ("before", self.before_ms.map(rfc3339)),
            ("error", self.error.as_ref().map(|text| format!("{text:?}"))),
            ("fingerprint", self.fingerprint.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let given = options
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let given: Vec<String> = given
            .map(|(name, value)| format!("--{name} {value}"))
            .collect();
        match given.is_empty() {
            true => f.write_str("all"),
            false => f.write_str(&given.join(" ")),
        }
    }
}

impl Selection {
    /// What the store is asked for; [`Selection::takes`] decides.
    pub fn filter(&self) -> Filter {
        let mut at: Vec<PlaceKind> = self.states.iter().map(|state| state.kind()).collect();
        at.sort_unstable();
        at.dedup();
        Filter {
            interface: self.interface.clone(),
            at,
            submitter: self.submitter.clone(),
            text: self.text.clone(),
            since_ms: self.since_ms,
            before_ms: self.before_ms,
            error: self.error.clone(),
            fingerprint: self.fingerprint.clone(),
            ..Filter::default()
        }
    }

    /// Is a job that the store has given one of them?
    pub fn takes(&self, summary: &JobSummary) -> bool {
        self.states.is_empty() || self.states.contains(&JobState::of(summary))
    }

    /// The jobs that are meant, those that came first first. `filter` is [`Selection::filter`], with what else is
    /// wanted of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(&self, store: &dyn Store, filter: &Filter) -> Result<Vec<JobSummary>> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let wanted = limit - found.len();
            let page = store.list(&Viewer::all(), filter, after, wanted).await?;
            found.extend(page.jobs.into_iter().filter(|job| self.takes(job)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Job, Place, Queue};

    fn summary(place: Place, state: State) -> JobSummary {
        let name = "20261122T045748.123Z-00042.xml".parse().unwrap();
        JobSummary {
            job: Job { place, name },
            state,
            is_deleted: false,
            interface: None,
            owner: None,
            record: None,
            failure: None,
        }
    }

    fn any() -> Vec<(JobState, JobSummary)> {
        let a: InterfaceName = "a".parse().unwrap();
        let deferred = Place::Deferred {
            interface: a.clone(),
            due_ms: 1,
        };
        let work = Place::Work {
            interface: a.clone(),
            attempt: 1,
        };
        let queue = Place::Queue(Queue::from(a.clone()));
        vec![
            (JobState::Queued, summary(queue, State::Waiting)),
            (JobState::Deferred, summary(deferred, State::Waiting)),
            (JobState::Running, summary(work, State::Running)),
            (JobState::Done, summary(Place::Bak(a), State::Done)),
            (JobState::Failed, summary(Place::JobErrors, State::Failed)),
            (
                JobState::Cancelled,
                summary(Place::JobErrors, State::Cancelled),
            ),
            (JobState::Refused, summary(Place::Refused, State::Failed)),
        ]
    }

    #[test]
    fn a_job_is_in_one_state_and_found_by_it_alone() {
        for wanted in JobState::ALL {
            assert_eq!(wanted.to_string().parse(), Ok(wanted));
            let selection = Selection {
                states: vec![wanted],
                ..Selection::default()
            };
            for (state, summary) in any() {
                assert_eq!(JobState::of(&summary), state);
                assert_eq!(
                    selection.takes(&summary),
                    state == wanted,
                    "{wanted} {state}"
                );
                let is_looked_at = selection.filter().at.contains(&summary.job.place.kind());
                assert!(is_looked_at || state != wanted, "{wanted}");
            }
        }
        assert!(any().iter().all(|(_, job)| Selection::default().takes(job)));
        assert!("odd".parse::<JobState>().unwrap_err().contains("queued, "));
    }

    #[test]
    fn two_states_at_one_place_are_told_apart_beside_a_third() {
        let selection = Selection {
            states: vec![JobState::Cancelled, JobState::Refused],
            ..Selection::default()
        };
        let taken = any().into_iter().filter(|(_, job)| selection.takes(job));
        let taken: Vec<JobState> = taken.map(|(state, _)| state).collect();
        assert_eq!(taken, selection.states);
    }

    #[test]
    fn it_is_carried_as_it_is() {
        let selection = Selection {
            interface: Some("a".parse().unwrap()),
            states: vec![JobState::Failed, JobState::Deferred],
            submitter: Some("shop".into()),
            text: Some("order".into()),
            since_ms: Some(1),
            before_ms: Some(2),
            error: Some("no \"paper\"".into()),
            fingerprint: Some("0123456789abcdef".into()),
            limit: Some(7),
        };
        for selection in [selection, Selection::default()] {
            let text = serde_json::to_string(&selection).unwrap();
            assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), selection);
        }
        let odd = serde_json::from_str::<Selection>("{\"fingerprnt\":\"\"}");
        assert!(odd.unwrap_err().to_string().contains("fingerprnt"));
    }
}
