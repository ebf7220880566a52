//! Lists: pages of jobs, by days. All of it blocks.
//!
//! Those that wait or run are listed once, before any that have ended, since jobs travel in that direction; the others
//! day by day, so that a page costs no more than the days that it shows. A list that depends on what is recorded asks
//! the record first, and lists nothing of a day on which there is no such job.

use super::{
    Inner,
    look::{Batch, Source},
};
use crate::{
    domain::{InterfaceName, Job, JobId, JobName, Place, PlaceKind, Queue},
    store::{
        Failure, Filter, Page, Sight, Viewer, Want,
        fs::{Spool, SpoolError, records::Needles},
    },
};
use std::collections::{BTreeSet, HashMap};

/// So many jobs are looked up in the record together.
const TOGETHER: usize = 1024;
/// So many names are read without a change of threads.
const AT_ONCE_MAX: usize = 256;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Where jobs are whose last attempt, or upload, has failed.
const FAILS: [PlaceKind; 3] = [
    PlaceKind::Deferred,
    PlaceKind::JobErrors,
    PlaceKind::Refused,
];
const ENDED: [PlaceKind; 3] = [PlaceKind::Bak, PlaceKind::JobErrors, PlaceKind::Refused];

/// How the jobs of one day have failed: a list comes to one day after the other.
#[derive(Default)]
struct Failures {
    day: String,
    of: HashMap<JobId, Failure>,
}

impl Failures {
    fn of(&mut self, spool: &Spool, job: &Job) -> Result<Option<Failure>, SpoolError> {
        if !FAILS.contains(&job.place.kind()) {
            return Ok(None);
        }
        let day = job.name.day();
        if day != self.day {
            // A job that was seen to have moved has its line then.
            spool.wait(spool.latest())?;
            self.of = spool.failures_of(&day)?;
            self.day = day;
        }
        Ok(self.of.get(&job.name.id()).cloned())
    }
}

/// Can a job of that day be among those that a filter takes?
fn has_ms_of(filter: &Filter, day: &str) -> bool {
    let day: Option<jiff::civil::Date> = day.parse().ok();
    let utc = jiff::tz::TimeZone::UTC;
    let begin = day.and_then(|day| utc.to_timestamp(day.at(0, 0, 0, 0)).ok());
    begin.is_some_and(|begin| {
        let begin_ms = begin.as_millisecond();
        filter
            .since_ms
            .is_none_or(|since| since < begin_ms + DAY_MS)
            && filter.before_ms.is_none_or(|before| before > begin_ms)
    })
}

/// A list on its way.
struct Listing<'l> {
    inner: &'l Inner,
    viewer: &'l Viewer,
    filter: &'l Filter,
    after: Option<&'l JobName>,
    limit: usize,
    /// What the viewer sees of the interface that is asked for, or of none.
    sight: Sight,
    /// What the record is asked for first.
    needles: Option<Needles>,
    /// Those that wait or run, by day, once they are listed.
    active: Option<HashMap<String, Vec<Job>>>,
    failures: Failures,
    page: Page,
}

impl Inner {
    /// Is a list so short and of so little that it needs no disk: a few names, of directories that have not changed?
    pub(super) fn lists_at_once(&self, viewer: &Viewer, filter: &Filter) -> bool {
        let Some(interface) = &filter.interface else {
            return false;
        };
        let is_active = |at: &PlaceKind| PlaceKind::ACTIVE.contains(at);
        let wants_records = filter.want_record || filter.asks_for_records();
        let wants_failures = filter.want_failure || filter.asks_for_failures();
        !filter.at.is_empty()
            && filter.at.iter().all(is_active)
            && !wants_records
            && !wants_failures
            && (viewer.sight)(Some(interface)) == Sight::All
            && self.spool.is_listed(interface, AT_ONCE_MAX)
    }

    pub(super) fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Page, SpoolError> {
        let sight = (viewer.sight)(filter.interface.as_ref());
        if filter.interface.is_some() && sight == Sight::Nothing {
            return Ok(Page::default());
        }
        let mut listing = Listing {
            inner: self,
            viewer,
            filter,
            after,
            limit,
            sight,
            needles: Needles::of(filter),
            active: None,
            failures: Failures::default(),
            page: Page::default(),
        };
        for day in listing.days()? {
            let jobs = listing.jobs_of(&day)?;
            if !listing.show(&jobs)? {
                break;
            }
        }
        Ok(listing.page)
    }
}

impl<'l> Listing<'l> {
    fn is_wanted(&self, kind: PlaceKind) -> bool {
        let filter = self.filter;
        (filter.at.is_empty() || filter.at.contains(&kind))
            && (!filter.asks_for_failures() || FAILS.contains(&kind))
    }

    /// The days on which there may be such jobs, in the order of the list.
    fn days(&mut self) -> Result<Vec<String>, SpoolError> {
        let spool = &self.inner.spool;
        let mut days = match self.needles {
            Some(_) => spool.recorded_days()?,
            None => self.active()?.keys().cloned().collect(),
        };
        let of = self.filter.interface.as_ref();
        days.extend(spool.ended_days(of, &|kind| self.is_wanted(kind))?);
        let after = self.after.map(JobName::day);
        days.retain(|day| {
            let comes = after
                .as_ref()
                .is_none_or(|after| match self.filter.newest_first {
                    false => day >= after,
                    true => day <= after,
                });
            comes && has_ms_of(self.filter, day)
        });
        let days = days.into_iter();
        Ok(match self.filter.newest_first {
            false => days.collect(),
            true => days.rev().collect(),
        })
    }

    /// The jobs of a day among which the list looks, in its order.
    fn jobs_of(&mut self, day: &str) -> Result<Vec<Job>, SpoolError> {
        let spool = &self.inner.spool;
        let found = match &self.needles {
            Some(needles) => spool.recorded_with(day, needles)?,
            None => None,
        };
        if found.as_ref().is_some_and(|ids| ids.is_empty()) {
            return Ok(Vec::new());
        }
        // In the direction in which jobs travel: one that is met twice is where it was last.
        let active = self.active()?.get(day).cloned().unwrap_or_default();
        let places = active.into_iter().map(|job| (job.name, job.place));
        let mut places: HashMap<JobName, Place> = places.collect();
        let of = self.filter.interface.as_ref();
        let is_wanted = |kind| self.is_wanted(kind);
        spool.ended_on(of, &is_wanted, day, &mut places)?;
        let jobs = places.into_iter().map(|(name, place)| Job { place, name });
        let mut jobs: Vec<Job> = jobs
            .filter(|job| self.filter.takes_ms(job.name.id().unix_ms()))
            .filter(|job| {
                let is_among = |ids: &BTreeSet<u64>| ids.contains(&job.name.id().get());
                found.as_ref().is_none_or(is_among)
            })
            .collect();
        match self.filter.newest_first {
            false => jobs.sort_unstable_by(|one, other| one.name.cmp(&other.name)),
            true => jobs.sort_unstable_by(|one, other| other.name.cmp(&one.name)),
        }
        let begin = match self.after {
            None => 0,
            Some(after) if self.filter.newest_first => {
                jobs.partition_point(|job| job.name >= *after)
            }
            Some(after) => jobs.partition_point(|job| job.name <= *after),
        };
        Ok(jobs.split_off(begin))
    }

    /// Those that wait or run, by day.
    fn active(&mut self) -> Result<&HashMap<String, Vec<Job>>, SpoolError> {
        if self.active.is_none() {
            let mut days: HashMap<String, Vec<Job>> = HashMap::new();
            for job in self.list_active()? {
                days.entry(job.name.day()).or_default().push(job);
            }
            self.active = Some(days);
        }
        Ok(self.active.get_or_insert_default())
    }

    fn list_active(&self) -> Result<Vec<Job>, SpoolError> {
        let spool = &self.inner.spool;
        let is_wanted = |kind| self.is_wanted(kind);
        let Some(interface) = &self.filter.interface else {
            return spool.active(None, &is_wanted);
        };
        if ENDED.into_iter().any(is_wanted) {
            return spool.active(Some(interface), &is_wanted);
        }
        if self.sight != Sight::Own || !spool.is_addressed(interface) {
            let mut jobs = spool.list(interface)?;
            jobs.retain(|job| is_wanted(job.place.kind()));
            return Ok(jobs);
        }
        // Whoever is no user has no such directory.
        let Ok(user) = self.viewer.user.parse() else {
            return Ok(Vec::new());
        };
        let queue = Queue::of_user(interface, user);
        let names = spool.list_for(&queue)?.into_iter();
        let place = Place::Queue(queue);
        let job = |name| Job {
            place: place.clone(),
            name,
        };
        Ok(names.map(job).collect())
    }

    /// Adds those of these jobs that are meant to the page. False: it is full, and there are more.
    fn show(&mut self, jobs: &[Job]) -> Result<bool, SpoolError> {
        let filter = self.filter;
        let want = Want {
            record: filter.want_record || filter.asks_for_records(),
            ..Want::PLACE
        };
        for jobs in jobs.chunks(TOGETHER) {
            let batch = self.batch(jobs, want)?;
            for job in jobs {
                let is_in = |state| filter.states.is_empty() || filter.states.contains(&state);
                let source = &mut Source::Batch(&batch);
                let shown = self.inner.summary(self.viewer, job, want, source)?;
                let Some(mut summary) = shown.filter(|summary| is_in(summary.state)) else {
                    continue;
                };
                if filter.want_failure || filter.asks_for_failures() {
                    summary.failure = self.failures.of(&self.inner.spool, job)?;
                }
                if !filter.takes(&summary) {
                    continue;
                }
                if self.page.jobs.len() == self.limit {
                    let last = self.page.jobs.last();
                    self.page.next = last.map(|last| last.job.name.clone());
                    return Ok(false);
                }
                self.page.jobs.push(summary);
            }
        }
        Ok(true)
    }

    fn batch(&self, jobs: &[Job], want: Want) -> Result<Batch<'l>, SpoolError> {
        let of: Option<&'l InterfaceName> = self.filter.interface.as_ref();
        let batch = match want.record || self.sight != Sight::All {
            true => self.inner.batch(of, jobs)?,
            false => self.inner.batch_of_ended(jobs)?,
        };
        Ok(Batch {
            sight: of.map(|of| (of, self.sight)),
            ..batch
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Store as _,
        fs::{FileStore, faults::Faults, testing::TestSpool},
    };
    use std::{fs, path::Path};

    /// Two files that somebody has put into the archive, on each of so many days; their names.
    fn archive(root: &Path, days: u32) -> Vec<JobName> {
        let mut names = Vec::new();
        for day in 1..=days {
            let dir = root.join(format!("bak/a/2026-11-{day:02}"));
            fs::create_dir_all(&dir).unwrap();
            for n in 1..=2 {
                let name = format!("202611{day:02}T045748.123Z-0000{n}-day-{day}.xml");
                fs::write(dir.join(&name), "").unwrap();
                names.push(name.parse().unwrap());
            }
        }
        names
    }

    fn at(root: &Path) -> FileStore {
        FileStore::new(TestSpool::at(root).interface("a").open().unwrap())
    }

    #[tokio::test]
    async fn pages_go_from_day_to_day_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let store = at(dir.path());
        let mut jobs = archive(dir.path(), 3);
        let queued = "20261102T060000.000Z-00000.xml";
        fs::write(dir.path().join("queue/a").join(queued), "<a/>").unwrap();
        jobs.insert(4, queued.parse().unwrap());
        let elsewhere = dir
            .path()
            .join("bak/a/2026-11-01")
            .join("20261103T060000.000Z-00000.xml");
        fs::write(elsewhere, "<a/>").unwrap();
        for newest_first in [false, true] {
            let filter = Filter {
                newest_first,
                ..Filter::default()
            };
            let (mut shown, mut after) = (Vec::new(), None);
            loop {
                let page = store.list(&Viewer::all(), &filter, after, 2).await.unwrap();
                shown.extend(page.jobs.into_iter().map(|one| one.job.name));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            if newest_first {
                shown.reverse();
            }
            assert_eq!(shown, jobs);
        }
        // Of a day without a record, the names are what is known.
        let filter = Filter {
            text: Some("DAY-2".into()),
            ..Filter::default()
        };
        let page = store.list(&Viewer::all(), &filter, None, 9).await.unwrap();
        let shown: Vec<JobName> = page.jobs.into_iter().map(|one| one.job.name).collect();
        assert_eq!(shown, jobs[2..4]);
    }

    #[tokio::test]
    async fn a_page_costs_what_the_days_cost_that_it_shows() {
        let cost = async |days| {
            let dir = tempfile::tempdir().unwrap();
            archive(dir.path(), days);
            let store = at(dir.path());
            let disk = Faults::of(dir.path());
            let filter = Filter {
                newest_first: true,
                ..Filter::default()
            };
            let before = disk.calls();
            let page = store.list(&Viewer::all(), &filter, None, 1).await.unwrap();
            assert!(page.next.is_some());
            disk.calls() - before
        };
        assert_eq!(cost(20).await, cost(2).await);
    }
}
