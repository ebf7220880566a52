//! What jobs have failed of, for whom all is seen: counted, not listed. All of it blocks.

use super::Inner;
use crate::{
    domain::{InterfaceName, JobName, Place, PlaceKind},
    store::{
        ErrorGroup, Failing,
        error_groups::{ErrorGroups, Failed},
        fs::{PlacePath, SpoolError},
    },
};
use std::collections::{BTreeSet, HashMap};

/// Jobs that have failed, by id, with the interface of those that are deferred.
type Present = HashMap<u64, Option<InterfaceName>>;

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
                    of_day.insert(name.id().get(), Some(interface.clone()));
                }
            }
        }
        let mut days: BTreeSet<String> = deferred.keys().cloned().collect();
        days.extend(spool.ended_days(None, &|kind| kind == PlaceKind::JobErrors)?);
        let mut groups = ErrorGroups::new(of, spool.now_ms(), since_ms);
        for day in days {
            // In the direction in which jobs travel: one that is met twice has failed for good.
            let mut present = deferred.remove(&day).unwrap_or_default();
            let place = match of {
                Failing::Jobs => Place::JobErrors,
                Failing::Uploads => Place::Refused,
            };
            let id = |text: &str| Some(text.parse::<JobName>().ok()?.id().get());
            let failed = spool.entries(&place.dir_of(&day), id)?;
            present.extend(failed.into_iter().map(|id| (id, None)));
            self.count_day(&day, &present, &mut groups)?;
        }
        Ok(groups.sorted())
    }

    fn count_day(
        &self,
        day: &str,
        present: &Present,
        groups: &mut ErrorGroups,
    ) -> Result<(), SpoolError> {
        if present.is_empty() {
            return Ok(());
        }
        let spool = &self.spool;
        // A job that was seen to have moved has its line then.
        spool.wait(spool.latest())?;
        let last = spool.last_failures(day, &|id| present.contains_key(&id))?;
        for (id, failure) in last {
            let waits_in = present.get(&id).and_then(Option::as_ref);
            let interface = waits_in.map(InterfaceName::as_str);
            let failed = Failed {
                fingerprint: &failure.fingerprint,
                submitter: failure.submitter.as_deref(),
                interface: interface.or(failure.interface.as_deref()),
                is_deferred: waits_in.is_some(),
                at_ms: failure.at_ms,
            };
            groups.count(&failed, || spool.told_of(day, &failure))?;
        }
        Ok(())
    }
}
