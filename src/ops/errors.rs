//! What jobs have failed of: those of which the last errors differ in numbers only are one group.

use crate::{
    domain::{InterfaceName, JobName, PlaceKind},
    store::{Filter, JobSummary, LastError, State, Store, StoreError, Viewer},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Its error, if its log is there.
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
    let mut jobs = Vec::new();
    for (at, state) in [
        (PlaceKind::JobErrors, State::Failed),
        (PlaceKind::Deferred, State::Waiting),
    ] {
        let filter = Filter {
            at: vec![at],
            states: vec![state],
            ..Filter::default()
        };
        let all = Viewer::all();
        let page = store.list(&all, &filter, None, usize::MAX).await?;
        jobs.extend(page.jobs);
    }
    let all = jobs.iter().map(|summary| summary.job.clone()).collect();
    let mut errors = store.last_errors(all).await?;
    errors.retain(|error| since_ms.is_none_or(|since_ms| error.at_ms >= since_ms));
    let mut groups = grouped(&jobs, errors);
    for group in &mut groups {
        let log = store.remains(&group.example).await?.log;
        group.text = log.and_then(|log| log.reason().map(str::to_owned));
    }
    Ok(groups)
}

fn grouped(jobs: &[JobSummary], errors: Vec<LastError>) -> Vec<ErrorGroup> {
    let jobs: HashMap<&JobName, &JobSummary> = jobs
        .iter()
        .map(|summary| (&summary.job.name, summary))
        .collect();
    let mut groups: BTreeMap<String, ErrorGroup> = BTreeMap::new();
    for error in errors {
        let Some(summary) = jobs.get(&error.job) else {
            continue;
        };
        let group = groups
            .entry(error.fingerprint.clone())
            .or_insert_with(|| ErrorGroup {
                fingerprint: error.fingerprint,
                failed: 0,
                deferred: 0,
                first_ms: error.at_ms,
                last_ms: error.at_ms,
                interfaces: BTreeSet::new(),
                example: error.job.clone(),
                text: None,
            });
        match summary.state {
            State::Waiting => group.deferred += 1,
            State::Cancelled | State::Done | State::Failed | State::Running => group.failed += 1,
        }
        group.interfaces.extend(summary.interface.clone());
        group.first_ms = group.first_ms.min(error.at_ms);
        if error.at_ms >= group.last_ms {
            group.last_ms = error.at_ms;
            group.example = error.job;
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

    fn summary(n: u64, state: State, interface: &str) -> JobSummary {
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
            failure: None,
        }
    }

    #[test]
    fn the_largest_group_comes_first_and_its_last_job_is_the_example() {
        let jobs = [
            summary(1, State::Failed, "a"),
            summary(2, State::Failed, "a"),
            summary(3, State::Waiting, "b"),
            summary(4, State::Failed, "a"),
        ];
        let error = |n, fingerprint: &str, at_ms| LastError {
            job: name(n),
            fingerprint: fingerprint.into(),
            at_ms,
        };
        let errors = vec![
            error(1, "one", 50),
            error(2, "two", 70),
            error(4, "two", 40),
            error(3, "two", 60),
            // It has gone meanwhile.
            error(9, "two", 99),
        ];
        let groups = grouped(&jobs, errors);
        let first = ErrorGroup {
            fingerprint: "two".into(),
            failed: 2,
            deferred: 1,
            first_ms: 40,
            last_ms: 70,
            interfaces: ["a".parse().unwrap(), "b".parse().unwrap()].into(),
            example: name(2),
            text: None,
        };
        assert_eq!(groups[0], first);
        assert_eq!((groups.len(), groups[1].failed), (2, 1));
    }
}
