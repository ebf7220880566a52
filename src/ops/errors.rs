//! What jobs have failed of: those of which the last errors differ in numbers only are one group.

use crate::{
    domain::{InterfaceName, JobName, PlaceKind},
    store::{Failure, Filter, JobSummary, State, Store, StoreError, Viewer},
};
use std::collections::{BTreeMap, BTreeSet};

/// Jobs that have failed, or are deferred, of one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    pub fingerprint: String,
    /// For good.
    pub failed: usize,
    pub deferred: usize,
    /// Of the Unix epoch.
    pub first_ms: i64,
    pub last_ms: i64,
    pub interfaces: BTreeSet<InterfaceName>,
    /// The one that failed last.
    pub example: JobName,
    /// The beginning of its error.
    pub text: Option<String>,
}

/// The groups of all jobs that have failed since a moment, the largest first. What was refused has not failed.
///
/// # Errors
/// When the store cannot be read.
pub async fn groups(
    store: &dyn Store,
    since_ms: Option<i64>,
) -> Result<Vec<ErrorGroup>, StoreError> {
    let mut failed = Vec::new();
    for (at, state) in [
        (PlaceKind::JobErrors, State::Failed),
        (PlaceKind::Deferred, State::Waiting),
    ] {
        let filter = Filter {
            at: vec![at],
            states: vec![state],
            want_failure: true,
            ..Filter::default()
        };
        let all = Viewer::all();
        let page = store.list(&all, &filter, None, usize::MAX).await?;
        let is_meant = |of: &Failure| since_ms.is_none_or(|since_ms| of.at_ms >= since_ms);
        let is_meant = |summary: &JobSummary| summary.failure.as_ref().is_some_and(is_meant);
        failed.extend(page.jobs.into_iter().filter(is_meant));
    }
    Ok(grouped(failed))
}

fn grouped(failed: Vec<JobSummary>) -> Vec<ErrorGroup> {
    let mut groups: BTreeMap<String, ErrorGroup> = BTreeMap::new();
    for summary in failed {
        let Some(Failure {
            at_ms,
            fingerprint: Some(fingerprint),
            reason,
            ..
        }) = summary.failure
        else {
            continue;
        };
        let name = summary.job.name;
        let group = groups
            .entry(fingerprint.clone())
            .or_insert_with(|| ErrorGroup {
                fingerprint,
                failed: 0,
                deferred: 0,
                first_ms: at_ms,
                last_ms: at_ms,
                interfaces: BTreeSet::new(),
                example: name.clone(),
                text: None,
            });
        match summary.state {
            State::Waiting => group.deferred += 1,
            State::Cancelled | State::Done | State::Failed | State::Running => group.failed += 1,
        }
        group.interfaces.extend(summary.interface);
        group.first_ms = group.first_ms.min(at_ms);
        if at_ms >= group.last_ms {
            group.last_ms = at_ms;
            group.example = name;
            group.text = reason;
        }
    }
    let mut groups: Vec<ErrorGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| {
        let count = group.failed + group.deferred;
        (std::cmp::Reverse(count), std::cmp::Reverse(group.last_ms))
    });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Job, JobId, Kind, Place};

    fn name(n: u64) -> JobName {
        JobName::new(JobId::from_number(n), None, Kind::Xml)
    }

    fn failed(n: u64, state: State, interface: &str, of: (&str, i64)) -> JobSummary {
        JobSummary {
            job: Job {
                place: Place::JobErrors,
                name: name(n),
            },
            state,
            is_deleted: false,
            interface: Some(interface.parse().unwrap()),
            owner: None,
            record: None,
            failure: Some(Failure {
                at_ms: of.1,
                attempt: Some(1),
                fingerprint: Some(of.0.into()),
                reason: Some(format!("{n} sheets missing")),
            }),
        }
    }

    #[test]
    fn the_largest_group_comes_first_and_its_last_job_is_the_example() {
        let groups = grouped(vec![
            failed(1, State::Failed, "a", ("one", 50)),
            failed(2, State::Failed, "a", ("two", 70)),
            failed(4, State::Failed, "a", ("two", 40)),
            failed(3, State::Waiting, "b", ("two", 60)),
        ]);
        let first = ErrorGroup {
            fingerprint: "two".into(),
            failed: 2,
            deferred: 1,
            first_ms: 40,
            last_ms: 70,
            interfaces: ["a".parse().unwrap(), "b".parse().unwrap()].into(),
            example: name(2),
            text: Some("2 sheets missing".into()),
        };
        assert_eq!(groups[0], first);
        assert_eq!((groups.len(), groups[1].failed), (2, 1));
    }
}
