//! What jobs have failed of, for whom all is seen: counted, not listed. All of it blocks.

use super::Inner;
use crate::{
    domain::{InterfaceName, JobId, Place, PlaceKind},
    store::{
        ErrorGroup, Failing,
        error_groups::{ErrorGroups, Failed},
        fs::{PlacePath, SpoolError, records::ErrorLine},
    },
};
use std::collections::{BTreeSet, HashMap};

/// Jobs of a day that have failed, by id, with the interface of those that are deferred; in the order of the ids.
type Present = Vec<(u64, Option<InterfaceName>)>;

impl Inner {
    /// The groups of all jobs whose last failures the record has.
    pub(super) fn error_groups(
        &self,
        of: Failing,
        since_ms: Option<i64>,
    ) -> Result<Vec<ErrorGroup>, SpoolError> {
        let spool = &self.spool;
        let mut deferred: HashMap<String, Present> = HashMap::new();
        if of == Failing::Jobs {
            for interface in spool.interfaces() {
                for (name, _) in spool.deferred(&interface)? {
                    let of_day = deferred.entry(name.day()).or_default();
                    of_day.push((name.id().get(), Some(interface.clone())));
                }
            }
        }
        let mut days: BTreeSet<String> = deferred.keys().cloned().collect();
        days.extend(spool.ended_days(None, &|kind| kind == PlaceKind::JobErrors)?);
        let days: Vec<String> = days.into_iter().collect();
        let mut groups = ErrorGroups::new(of, spool.now_ms(), since_ms);
        let place = match of {
            Failing::Jobs => Place::JobErrors,
            Failing::Uploads => Place::Refused,
        };
        for (n, day) in days.iter().enumerate() {
            let id = |text: &str| Some((JobId::of_name(text)?.get(), None));
            let mut present: Present = spool.entries(&place.dir_of(day), id)?;
            // In the direction in which jobs travel: one that is met twice has failed for good.
            present.extend(deferred.remove(day).unwrap_or_default());
            present.sort_by_key(|(id, _)| *id);
            present.dedup_by_key(|(id, _)| *id);
            self.count_day((n, day), &present, &mut groups)?;
        }
        groups.sorted(|(n, line)| spool.told_of(&days[n], &line))
    }

    fn count_day(
        &self,
        (n, day): (usize, &str),
        present: &Present,
        groups: &mut ErrorGroups<(usize, ErrorLine)>,
    ) -> Result<(), SpoolError> {
        if present.is_empty() {
            return Ok(());
        }
        let spool = &self.spool;
        // A job that was seen to have moved has its line then.
        spool.wait(spool.latest())?;
        let ids: Vec<u64> = present.iter().map(|(id, _)| *id).collect();
        let last = spool.last_failures(day, &ids)?;
        for ((_, waits_in), failure) in present.iter().zip(last.all()) {
            let Some(failure) = failure else {
                continue;
            };
            let interface = waits_in.as_ref().map(InterfaceName::as_str);
            let failed = Failed {
                fingerprint: failure.fingerprint,
                submitter: failure.submitter,
                interface: interface.or(failure.interface),
                is_deferred: waits_in.is_some(),
                at_ms: failure.at_ms,
            };
            groups.count(&failed, (n, failure.line));
        }
        Ok(())
    }
}
