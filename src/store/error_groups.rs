//! What jobs have failed of: those of which the last errors differ in numbers only are one group.

use super::{Failure, Filter, Result, State, Store, Viewer};
use crate::domain::{InterfaceName, JobName, PlaceKind};
use std::collections::{BTreeMap, BTreeSet};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// Of so many hours it is known how many failed in each.
pub const HOURS: usize = 24;

/// Whose errors are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Of jobs that have failed for good, or are deferred.
    Jobs,
    /// Of documents that were refused; the groups are also by submitter.
    Uploads,
}

impl Failing {
    pub(super) fn places(self) -> &'static [PlaceKind] {
        match self {
            Self::Jobs => &[PlaceKind::Deferred, PlaceKind::JobErrors],
            Self::Uploads => &[PlaceKind::Refused],
        }
    }
}

/// Jobs that have failed, or are deferred, of one error, or documents that were refused for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    pub fingerprint: String,
    /// Of documents that were refused, as far as it is known.
    pub submitter: Option<String>,
    /// For good, or refused.
    pub failed: usize,
    pub deferred: usize,
    /// Of the Unix epoch.
    pub first_ms: i64,
    pub last_ms: i64,
    /// How many failed in each of the last hours, the present one last.
    pub hours: [u32; HOURS],
    pub interfaces: BTreeSet<InterfaceName>,
    /// The one that failed last.
    pub example: JobName,
    /// The beginning of its error.
    pub text: Option<String>,
}

/// A job that counts.
pub(super) struct Failed<'f> {
    pub(super) fingerprint: &'f str,
    pub(super) submitter: Option<&'f str>,
    pub(super) interface: Option<&'f str>,
    pub(super) is_deferred: bool,
    pub(super) at_ms: i64,
}

/// Groups on their way; `E` finds the example of one.
pub(super) struct ErrorGroups<E> {
    of: Failing,
    now_ms: i64,
    since_ms: Option<i64>,
    groups: BTreeMap<String, Group<E>>,
}

/// An [`ErrorGroup`] whose example is not known yet.
struct Group<E> {
    fingerprint: String,
    submitter: Option<String>,
    failed: usize,
    deferred: usize,
    first_ms: i64,
    last_ms: i64,
    hours: [u32; HOURS],
    interfaces: BTreeSet<InterfaceName>,
    example: E,
}

impl<E> ErrorGroups<E> {
    /// Those of what has failed at that moment or later.
    pub(super) fn new(of: Failing, now_ms: i64, since_ms: Option<i64>) -> Self {
        Self {
            of,
            now_ms,
            since_ms,
            groups: BTreeMap::new(),
        }
    }

    /// Counts one, which is the example of its group while it is the last.
    pub(super) fn count(&mut self, failed: &Failed<'_>, example: E) {
        let at_ms = failed.at_ms;
        if self.since_ms.is_some_and(|since_ms| at_ms < since_ms) {
            return;
        }
        let submitter = failed.submitter.filter(|_| self.of == Failing::Uploads);
        let of_submitter = submitter.map(|submitter| format!("{} {submitter}", failed.fingerprint));
        let key = of_submitter.as_deref().unwrap_or(failed.fingerprint);
        let group = match self.groups.get_mut(key) {
            Some(group) => {
                if at_ms >= group.last_ms {
                    (group.last_ms, group.example) = (at_ms, example);
                }
                group
            }
            None => self.groups.entry(key.to_owned()).or_insert(Group {
                fingerprint: failed.fingerprint.to_owned(),
                submitter: submitter.map(str::to_owned),
                failed: 0,
                deferred: 0,
                first_ms: at_ms,
                last_ms: at_ms,
                hours: [0; HOURS],
                interfaces: BTreeSet::new(),
                example,
            }),
        };
        match failed.is_deferred {
            true => group.deferred += 1,
            false => group.failed += 1,
        }
        group.first_ms = group.first_ms.min(at_ms);
        let hours_ago = usize::try_from((self.now_ms - at_ms) / HOUR_MS).unwrap_or(0);
        if let Some(hour) = HOURS.checked_sub(hours_ago + 1) {
            group.hours[hour] += 1;
        }
        if let Some(interface) = failed.interface
            && !group
                .interfaces
                .iter()
                .any(|known| known.as_str() == interface)
        {
            group.interfaces.extend(interface.parse());
        }
    }

    /// The largest first. `told` gives the name of an example and the beginning of its error.
    ///
    /// # Errors
    /// That of `told`.
    pub(super) fn sorted<R>(
        self,
        told: impl Fn(E) -> Result<(JobName, Option<String>), R>,
    ) -> Result<Vec<ErrorGroup>, R> {
        let finished = self.groups.into_values().map(|group| {
            let (example, text) = told(group.example)?;
            Ok(ErrorGroup {
                fingerprint: group.fingerprint,
                submitter: group.submitter,
                failed: group.failed,
                deferred: group.deferred,
                first_ms: group.first_ms,
                last_ms: group.last_ms,
                hours: group.hours,
                interfaces: group.interfaces,
                example,
                text,
            })
        });
        let mut groups = finished.collect::<Result<Vec<ErrorGroup>, R>>()?;
        groups.sort_by_key(|group| {
            let count = group.failed + group.deferred;
            (std::cmp::Reverse(count), std::cmp::Reverse(group.last_ms))
        });
        Ok(groups)
    }
}

/// The groups by a list of all that a viewer sees.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn by_list<S: Store + ?Sized>(
    store: &S,
    viewer: &Viewer,
    of: Failing,
    since_ms: Option<i64>,
) -> Result<Vec<ErrorGroup>> {
    let filter = Filter {
        at: of.places().to_vec(),
        states: vec![State::Failed, State::Waiting],
        want_failure: true,
        want_record: of == Failing::Uploads,
        ..Filter::default()
    };
    let page = store.list(viewer, &filter, None, usize::MAX).await?;
    let mut groups = ErrorGroups::new(of, store.now_ms(), since_ms);
    for summary in &page.jobs {
        let Some(Failure {
            at_ms,
            fingerprint: Some(fingerprint),
            ..
        }) = &summary.failure
        else {
            continue;
        };
        let record = summary.record.as_ref();
        let failed = Failed {
            fingerprint,
            submitter: record.and_then(|record| record.submitter.as_deref()),
            interface: summary.interface.as_ref().map(InterfaceName::as_str),
            is_deferred: summary.state == State::Waiting,
            at_ms: *at_ms,
        };
        groups.count(&failed, summary);
    }
    groups.sorted(|summary| {
        let failure = summary.failure.as_ref();
        let reason = failure.and_then(|failure| failure.reason.clone());
        Ok((summary.job.name.clone(), reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, Kind};
    use std::convert::Infallible;

    fn name(n: u64) -> JobName {
        JobName::new(JobId::from_number(n), None, Kind::Xml)
    }

    const NOW_MS: i64 = 100 * HOUR_MS;

    fn grouped(of: Failing, since_ms: Option<i64>) -> Vec<ErrorGroup> {
        let mut groups = ErrorGroups::new(of, NOW_MS, since_ms);
        for (n, (fingerprint, submitter, interface, is_deferred, hours_ago)) in [
            ("one", "shop", "a", false, 50),
            ("two", "shop", "a", false, 30),
            ("two", "erp", "a", false, 2),
            ("two", "shop", "b", true, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let failed = Failed {
                fingerprint,
                submitter: Some(submitter),
                interface: Some(interface),
                is_deferred,
                at_ms: NOW_MS - hours_ago * HOUR_MS,
            };
            groups.count(&failed, n);
        }
        let told = |n| Ok::<_, Infallible>((name(n as u64), Some(format!("{n} sheets"))));
        groups.sorted(told).unwrap()
    }

    #[test]
    fn the_largest_group_comes_first_and_its_last_job_is_the_example() {
        let groups = grouped(Failing::Jobs, None);
        let mut hours = [0; HOURS];
        (hours[HOURS - 2], hours[HOURS - 3]) = (1, 1);
        let first = ErrorGroup {
            fingerprint: "two".into(),
            submitter: None,
            failed: 2,
            deferred: 1,
            first_ms: NOW_MS - 30 * HOUR_MS,
            last_ms: NOW_MS - HOUR_MS,
            hours,
            interfaces: ["a".parse().unwrap(), "b".parse().unwrap()].into(),
            example: name(3),
            text: Some("3 sheets".into()),
        };
        assert_eq!(groups[0], first);
        assert_eq!((groups.len(), groups[1].failed), (2, 1));
        assert_eq!(grouped(Failing::Jobs, Some(first.last_ms + 1)), []);
        assert_eq!(grouped(Failing::Jobs, Some(first.last_ms)).len(), 1);
    }

    #[test]
    fn what_was_refused_is_also_told_apart_by_who_sent_it() {
        let groups = grouped(Failing::Uploads, None);
        let of = |group: &ErrorGroup| (group.fingerprint.clone(), group.submitter.clone());
        let told: Vec<_> = groups.iter().map(of).collect();
        let of = |fingerprint: &str, user: &str| (fingerprint.to_owned(), Some(user.to_owned()));
        let all = [of("two", "shop"), of("two", "erp"), of("one", "shop")];
        assert_eq!(told, all);
    }
}
