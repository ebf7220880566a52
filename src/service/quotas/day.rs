//! The bytes that users upload in a day.
//!
//! A day is one of UTC, as those of the spool's directories and of jobs' names are. An upload takes what it announces, or
//! what has come of it, and gives it back unless its document is kept: so uploads at the same time are no way around the
//! limit.
//!
//! Invariant: of the documents that a user uploads in a day no more bytes are kept than he may send.

use super::whole_seconds;
use crate::service::Fault;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What is known of one day. Others are over, or have not begun.
#[derive(Clone, Default)]
pub(in crate::service) struct Days {
    known: Arc<Mutex<Day>>,
    /// Held while a day is read.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Day {
    date: Option<Date>,
    sent: HashMap<String, u64>,
}

/// What an upload has taken of the bytes that its user may send in a day. Given back when dropped.
pub(in crate::service) struct DayBytes {
    days: Days,
    date: Date,
    user: Arc<str>,
    bytes: u64,
    max: u64,
}

/// The day of a moment in milliseconds of the Unix epoch.
pub(in crate::service) fn today(now_ms: i64) -> Date {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    TimeZone::UTC.to_datetime(now).date()
}

/// How long the day of that moment still lasts, in whole seconds.
fn rest_of_day_s(now_ms: i64) -> u32 {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let left_ms = DAY_MS - now_ms.rem_euclid(DAY_MS);
    whole_seconds(Duration::from_millis(left_ms.unsigned_abs()))
}

impl Days {
    /// Takes so many bytes for an upload that begins on this day. What was sent on it before is asked for once.
    ///
    /// # Errors
    ///
    /// - When the user may not send so many any more on this day.
    /// - What `read` fails with.
    pub(in crate::service) async fn take(
        &self,
        user: &Arc<str>,
        (now_ms, max): (i64, u64),
        bytes: u64,
        read: impl AsyncFnOnce(Date) -> Result<HashMap<String, u64>, Fault>,
    ) -> Result<DayBytes, Fault> {
        let date = today(now_ms);
        let is_known = || self.known.lock().date == Some(date);
        if !is_known() {
            let _one = self.reading.lock().await;
            if !is_known() {
                let sent = read(date).await?;
                let date = Some(date);
                *self.known.lock() = Day { date, sent };
            }
        }
        let mut taken = DayBytes {
            days: self.clone(),
            date,
            user: user.clone(),
            bytes: 0,
            max,
        };
        taken.reach(bytes, now_ms)?;
        Ok(taken)
    }
}

impl DayBytes {
    /// So many bytes have come, or are announced.
    ///
    /// # Errors
    ///
    /// When the user may not send so many on this day.
    pub(in crate::service) fn reach(&mut self, bytes: u64, now_ms: i64) -> Result<(), Fault> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut day = self.days.known.lock();
        // It has ended meanwhile: nothing else is counted for it.
        if day.date != Some(self.date) {
            return Ok(());
        }
        let sent = day.sent.entry(self.user.to_string()).or_default();
        if sent.saturating_add(more) > self.max {
            let (max, left) = (self.max, self.max.saturating_sub(*sent));
            let retry_after_s = rest_of_day_s(now_ms);
            return Err(Fault::TooMany {
                retry_after_s,
                reason: format!(
                    "you may upload {max} bytes a day, of which {left} are left; the next day (UTC) \
                     begins in {retry_after_s} s"
                ),
            });
        }
        *sent += more;
        self.bytes = bytes;
        Ok(())
    }

    /// The document is kept and has so many bytes.
    pub(in crate::service) fn keep(mut self, bytes: u64) {
        self.settle(bytes);
        self.bytes = 0;
    }

    /// Counts so many bytes instead of those that were taken.
    fn settle(&self, bytes: u64) {
        let mut day = self.days.known.lock();
        if day.date == Some(self.date)
            && let Some(sent) = day.sent.get_mut(&*self.user)
        {
            *sent = (*sent + bytes).saturating_sub(self.bytes);
        }
    }
}

impl Drop for DayBytes {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.settle(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NOON_MS: i64 = 1_795_348_800_000;
    const DAY_MS: i64 = 86_400_000;

    /// One user who may send ten bytes a day, with what the record says of him.
    struct World {
        days: Days,
        recorded: u64,
        reads: AtomicUsize,
    }

    impl World {
        fn new(recorded: u64) -> Self {
            Self {
                days: Days::default(),
                recorded,
                reads: AtomicUsize::new(0),
            }
        }

        async fn take(&self, now_ms: i64, bytes: u64) -> Result<DayBytes, Fault> {
            let read = async |_| {
                self.reads.fetch_add(1, Ordering::SeqCst);
                Ok(HashMap::from([("shop".to_owned(), self.recorded)]))
            };
            let user = "shop".into();
            self.days.take(&user, (now_ms, 10), bytes, read).await
        }
    }

    fn told(refused: Result<DayBytes, Fault>) -> (u32, String) {
        match refused.map(|_| ()) {
            Err(Fault::TooMany {
                retry_after_s,
                reason,
            }) => (retry_after_s, reason),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_kept_counts_until_the_day_ends() {
        let world = World::new(0);
        world.take(NOON_MS, 6).await.unwrap().keep(6);
        let (retry_after_s, reason) = told(world.take(NOON_MS, 5).await);
        assert_eq!(retry_after_s, 43_200);
        assert_eq!(
            reason,
            "you may upload 10 bytes a day, of which 4 are left; the next day (UTC) begins in 43200 s"
        );
        world.take(NOON_MS, 4).await.unwrap().keep(4);
        // Who waits as long as he is told may send again.
        assert_eq!(told(world.take(NOON_MS + 43_199_001, 1).await).0, 1);
        world.take(NOON_MS + 43_200_000, 10).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_kept_is_given_back() {
        let world = World::new(0);
        let one = world.take(NOON_MS, 6).await.unwrap();
        // Also while both are under way there is no way around it.
        told(world.take(NOON_MS, 5).await);
        drop(one);
        let mut other = world.take(NOON_MS, 5).await.unwrap();
        // One that has announced too little, or nothing, takes more as it comes.
        other.reach(10, NOON_MS).unwrap();
        other.reach(3, NOON_MS).unwrap();
        assert!(other.reach(11, NOON_MS).is_err());
        other.keep(7);
        told(world.take(NOON_MS, 4).await);
        world.take(NOON_MS, 3).await.unwrap();
    }

    #[tokio::test]
    async fn the_record_of_a_day_is_read_once_and_counts() {
        let world = World::new(8);
        told(world.take(NOON_MS, 3).await);
        let yesterday = world.take(NOON_MS, 2).await.unwrap();
        assert_eq!(world.reads.load(Ordering::SeqCst), 1);
        let today = world.take(NOON_MS + DAY_MS, 2).await.unwrap();
        assert_eq!(world.reads.load(Ordering::SeqCst), 2);
        // What began on a day that is over changes nothing of the new one.
        drop(yesterday);
        told(world.take(NOON_MS + DAY_MS, 1).await);
        drop(today);
    }
}
