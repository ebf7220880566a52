//! How much each user has and sends: waiting jobs, uploads a minute, bytes a day, idempotency keys, schedules. So no
//! user fills what all share.
//!
//! Kept in memory, so that no request lists a directory. Of jobs and keys, those count that were
//! accepted since the start; schedules are read at the start and all count. A user's jobs are looked
//! after, which of them still wait, when they seem too many or have doubled since the last look. Uploads a minute
//! count from the start on. What was sent on a day is in its record, which is read once after a start and
//! whenever a day begins, if there is a user whom it concerns.

mod day;

pub(super) use day::{DayBytes, Days};

use super::{Fault, RETRY_LATER_S};
use crate::{cron_schedule::ScheduleId, domain::JobName};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// A look at a user's jobs takes so small a part of the time at most.
const LOOK_SHARE: u32 = 20;
/// Jobs that are not worth a look.
const FEW: usize = 1024;
const HOUR_MS: i64 = 60 * 60 * 1000;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Quotas {
    pub(super) days: Days,
    jobs: Mutex<HashMap<Arc<str>, Jobs>>,
    keys: Mutex<HashMap<Arc<str>, Keys>>,
    schedules: Mutex<HashMap<ScheduleId, Arc<str>>>,
    /// When the uploads of the last minute began.
    uploads: Mutex<HashMap<Arc<str>, VecDeque<Instant>>>,
}

#[derive(Default)]
struct Jobs {
    names: Vec<JobName>,
    /// How many there were after the last look.
    left: usize,
    /// When it ended, and how long it took.
    looked: Option<(Instant, Duration)>,
}

/// Keys that were used, by the hour.
#[derive(Default)]
struct Keys(VecDeque<(i64, usize)>);

impl Quotas {
    /// Another job of the user waits.
    pub(super) fn submitted(&self, user: &Arc<str>, job: JobName) {
        let mut jobs = self.jobs.lock();
        jobs.entry(user.clone()).or_default().names.push(job);
    }

    /// The user's jobs, when it is time to look which of them still wait: then they are taken out, until
    /// [`Look::found`] says.
    pub(super) fn look(&self, user: &Arc<str>, max: usize) -> Option<Look<'_>> {
        let mut all = self.jobs.lock();
        let jobs = all.get_mut(user)?;
        let many = jobs.names.len();
        let rested = jobs
            .looked
            .is_none_or(|(at, took)| at.elapsed() >= took * LOOK_SHARE);
        let is_time = many >= 2 * jobs.left + FEW || (many >= max && rested);
        is_time.then(|| Look {
            quotas: self,
            user: user.clone(),
            jobs: std::mem::take(&mut jobs.names),
            began: Instant::now(),
        })
    }

    /// # Errors
    ///
    /// When the user has as many waiting jobs as he may.
    pub(super) fn may_submit(&self, user: &str, max: usize) -> Result<(), Fault> {
        let jobs = self.jobs.lock();
        let n_jobs = jobs.get(user).map_or(0, |jobs| jobs.names.len());
        within(n_jobs, max, "jobs waiting", RETRY_LATER_S)
    }

    /// The job of the user that has waited longest, as far as is known.
    pub(super) fn oldest_job(&self, user: &str) -> Option<JobName> {
        let jobs = self.jobs.lock();
        jobs.get(user)?.names.iter().min().cloned()
    }

    /// Takes a place for an upload that begins now.
    ///
    /// # Errors
    ///
    /// When as many of the user's have begun in the last minute as may; it says when the next one may.
    pub(super) fn take_upload(
        &self,
        user: &Arc<str>,
        now: Instant,
        max: usize,
    ) -> Result<(), Fault> {
        let mut all = self.uploads.lock();
        let begun = all.entry(user.clone()).or_default();
        let left = |since: Instant| (since + MINUTE).saturating_duration_since(now);
        while begun.front().is_some_and(|first| left(*first).is_zero()) {
            begun.pop_front();
        }
        match begun.front() {
            Some(first) if begun.len() >= max => {
                let retry_after_s = whole_seconds(left(*first));
                Err(Fault::TooMany {
                    retry_after_s,
                    reason: format!(
                        "you may begin {max} uploads a minute; the next is possible in \
                         {retry_after_s} s"
                    ),
                })
            }
            Some(_) | None => {
                begun.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes another key for the user. A key counts for `hours`.
    ///
    /// # Errors
    ///
    /// When the user has as many keys as he may.
    pub(super) fn take_key(
        &self,
        user: &Arc<str>,
        now_ms: i64,
        hours: u32,
        max: usize,
    ) -> Result<(), Fault> {
        let hour = now_ms.div_euclid(HOUR_MS);
        let mut all = self.keys.lock();
        let Keys(by_hour) = all.entry(user.clone()).or_default();
        while by_hour
            .front()
            .is_some_and(|(first, _)| *first < hour - i64::from(hours))
        {
            by_hour.pop_front();
        }
        let n_keys = by_hour.iter().map(|(_, n_keys)| n_keys).sum();
        let oldest = by_hour.front().map_or(hour, |(first, _)| *first);
        let free_ms = (oldest + i64::from(hours) + 1) * HOUR_MS;
        let left = Duration::from_millis(u64::try_from(free_ms - now_ms).unwrap_or(0));
        let retry_after_s = whole_seconds(left);
        within(n_keys, max, "idempotency keys in use", retry_after_s)?;
        match by_hour.back_mut() {
            Some((last, n_keys)) if *last >= hour => *n_keys += 1,
            Some(_) | None => by_hour.push_back((hour, 1)),
        }
        Ok(())
    }

    /// There is a schedule of this user.
    pub(super) fn has_schedule(&self, id: ScheduleId, user: &str) {
        let mut schedules = self.schedules.lock();
        schedules.entry(id).or_insert_with(|| user.into());
    }

    pub(super) fn schedule_is_gone(&self, id: ScheduleId) {
        self.schedules.lock().remove(&id);
    }

    /// Takes a place for a schedule that is about to be saved.
    ///
    /// # Errors
    ///
    /// When the user has as many schedules as he may.
    pub(super) fn take_schedule(
        &self,
        id: ScheduleId,
        user: &str,
        max: usize,
    ) -> Result<(), Fault> {
        let mut schedules = self.schedules.lock();
        let n_schedules = schedules.values().filter(|owner| &***owner == user);
        within(n_schedules.count(), max, "schedules", RETRY_LATER_S)?;
        schedules.insert(id, user.into());
        Ok(())
    }
}

/// A look at a user's jobs. Dropped before its end it leaves them as they were.
pub(super) struct Look<'q> {
    quotas: &'q Quotas,
    user: Arc<str>,
    jobs: Vec<JobName>,
    began: Instant,
}

impl Look<'_> {
    pub(super) fn jobs(&self) -> &[JobName] {
        &self.jobs
    }

    /// Only these still wait.
    pub(super) fn found(mut self, waiting: Vec<JobName>) {
        self.jobs = waiting;
        let looked = (Instant::now(), self.began.elapsed());
        if let Some(jobs) = self.quotas.jobs.lock().get_mut(&self.user) {
            jobs.left = jobs.names.len() + self.jobs.len();
            jobs.looked = Some(looked);
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut all = self.quotas.jobs.lock();
        let Some(jobs) = all.get_mut(&self.user) else {
            return;
        };
        // Others may have come meanwhile.
        jobs.names.append(&mut self.jobs);
        if jobs.names.is_empty() {
            all.remove(&self.user);
        }
    }
}

/// As many as it takes: whoever waits for them does not come too early.
fn whole_seconds(left: Duration) -> u32 {
    let seconds = left.as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

fn within(n: usize, max: usize, what: &str, retry_after_s: u32) -> Result<(), Fault> {
    if n < max {
        return Ok(());
    }
    Err(Fault::TooMany {
        retry_after_s,
        reason: format!("you have {n} {what}, and may have {max} at most"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, Kind};

    fn job(n: u64) -> JobName {
        JobName::new(JobId::from_number(n), None, Kind::Xml)
    }

    fn reason(refused: Result<(), Fault>) -> String {
        let Err(Fault::TooMany { reason, .. }) = refused else {
            panic!("{refused:?}");
        };
        reason
    }

    #[test]
    fn jobs_count_as_long_as_they_wait() {
        let (quotas, shop): (_, Arc<str>) = (Quotas::default(), "shop".into());
        for n in 0..3 {
            quotas.may_submit("shop", 3).unwrap();
            assert!(quotas.look(&shop, 3).is_none());
            quotas.submitted(&shop, job(n));
        }
        let look = |kept: &[JobName]| {
            // However short ago the last one was.
            quotas.jobs.lock().get_mut(&shop).unwrap().looked = None;
            quotas.look(&shop, 0).unwrap().found(kept.to_vec());
        };
        // One that is broken off changes nothing.
        drop(quotas.look(&shop, 3).unwrap());
        look(&[job(0), job(1), job(2)]);
        let refused = reason(quotas.may_submit("shop", 3));
        assert_eq!(refused, "you have 3 jobs waiting, and may have 3 at most");
        quotas.may_submit("other", 3).unwrap();
        look(&[job(1)]);
        quotas.may_submit("shop", 2).unwrap();
        assert!(quotas.may_submit("shop", 1).is_err());
        look(&[]);
        assert!(quotas.jobs.lock().is_empty());
    }

    #[test]
    fn names_of_jobs_that_have_gone_do_not_pile_up() {
        let (quotas, shop): (_, Arc<str>) = (Quotas::default(), "shop".into());
        for n in 0..10_000 {
            if let Some(look) = quotas.look(&shop, usize::MAX) {
                look.found(Vec::new());
            }
            quotas.submitted(&shop, job(n));
            assert!(quotas.jobs.lock()["shop"].names.len() <= FEW);
        }
    }

    #[test]
    fn so_many_uploads_begin_in_any_minute() {
        let (quotas, shop): (_, Arc<str>) = (Quotas::default(), "shop".into());
        let start = Instant::now();
        let take = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            match quotas.take_upload(&shop, now, 2) {
                Ok(()) => 0,
                Err(Fault::TooMany { retry_after_s, .. }) => retry_after_s,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!((take(0), take(30_500)), (0, 0));
        // What is refused takes no place, and who waits as long as he is told gets one.
        assert_eq!((take(30_500), take(31_000), take(59_999)), (30, 29, 1));
        assert_eq!(take(60_000), 0);
        assert_eq!((take(60_000), take(90_499)), (31, 1));
        assert_eq!(take(90_500), 0);
        quotas.take_upload(&"other".into(), start, 1).unwrap();
        let refused = reason(quotas.take_upload(&"other".into(), start, 1));
        let said = "you may begin 1 uploads a minute; the next is possible in 60 s";
        assert_eq!(refused, said);
    }

    #[test]
    fn keys_count_until_they_may_be_used_anew() {
        let (quotas, shop): (_, Arc<str>) = (Quotas::default(), "shop".into());
        let take = |hour: i64| quotas.take_key(&shop, hour * HOUR_MS + 1, 24, 2);
        take(0).unwrap();
        take(5).unwrap();
        let refused = take(24);
        let Err(Fault::TooMany { retry_after_s, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(retry_after_s, 3600, "the first one counts an hour more");
        assert_eq!(
            reason(refused),
            "you have 2 idempotency keys in use, and may have 2 at most"
        );
        take(25).unwrap();
        assert!(take(29).is_err());
        // A clock that was set back makes no room.
        assert!(take(3).is_err());
        take(30).unwrap();
        quotas.take_key(&"other".into(), 0, 24, 1).unwrap();
    }

    #[test]
    fn schedules_count_until_they_are_gone() {
        let quotas = Quotas::default();
        let id = |n| ScheduleId::new(JobId::from_number(n));
        quotas.has_schedule(id(1), "shop");
        quotas.has_schedule(id(1), "shop");
        quotas.take_schedule(id(2), "shop", 2).unwrap();
        let refused = reason(quotas.take_schedule(id(3), "shop", 2));
        assert_eq!(refused, "you have 2 schedules, and may have 2 at most");
        quotas.take_schedule(id(3), "other", 2).unwrap();
        quotas.schedule_is_gone(id(1));
        quotas.take_schedule(id(4), "shop", 2).unwrap();
    }
}
