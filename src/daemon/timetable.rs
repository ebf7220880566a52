//! The clock of a tenant's schedules: sleeps until one has a moment, and lets the service follow.

use super::clock::{Leaps, steady_ms};
use crate::{
    cron_schedule::ScheduleId,
    service::{Agenda, Service, Touched},
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often the clock is read while a schedule waits: it may be set.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// How often all schedules are read again, with a watcher and without one.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Those that have ended, and whose last job is gone, are removed so often.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// What the clock is notified of.
#[derive(Default)]
pub(super) struct Alarm {
    notify: Notify,
    /// All, when there is no list.
    touched: Mutex<Option<BTreeSet<ScheduleId>>>,
}

impl Alarm {
    /// A schedule may have been saved, changed or removed.
    pub(super) fn touch(&self, id: ScheduleId) {
        if let Some(ids) = &mut *self.lock() {
            ids.insert(id);
        }
        self.notify.notify_one();
    }

    pub(super) fn touch_all(&self) {
        *self.lock() = None;
        self.notify.notify_one();
    }

    /// A file in `schedules` has changed.
    pub(super) fn touch_file(&self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| {
            let id = name.strip_suffix(".json");
            id.or_else(|| name.strip_suffix(".reset"))
        });
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            self.touch(id);
        }
    }

    fn take(&self) -> Touched {
        match self.lock().replace(BTreeSet::new()) {
            Some(ids) => Touched::These(ids),
            None => Touched::All,
        }
    }

    /// Consistent between statements.
    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<ScheduleId>>> {
        self.touched.lock()
    }
}

/// Since when the clock has run without a leap. Moments that it jumped over were missed, as if no one
/// had been there.
struct Since {
    moment: Timestamp,
    leaps: Leaps,
}

impl Since {
    fn new(moment: Timestamp) -> Self {
        let leaps = Leaps::default();
        Self { moment, leaps }
    }

    fn at(&mut self, now: Timestamp, steady_ms: i64) -> Timestamp {
        if self.leaps.look(now.as_millisecond(), steady_ms).is_some() {
            self.moment = now;
        }
        self.moment
    }
}

/// Follows all schedules until `stop`.
pub(super) async fn run(
    service: Arc<ArcSwap<Service>>,
    alarm: Arc<Alarm>,
    is_watched: bool,
    stop: CancellationToken,
) {
    let mut since = Since::new(Timestamp::now());
    let mut agenda = Agenda::default();
    let look_every = if is_watched { LOOK_EVERY } else { POLL_EVERY };
    let mut look_at = Instant::now();
    let mut sweep_at = Instant::now();
    loop {
        if look_at <= Instant::now() {
            alarm.touch_all();
            look_at = Instant::now() + look_every;
        }
        let begun = since.at(Timestamp::now(), steady_ms());
        let service = service.load_full();
        agenda = service.follow_schedules(agenda, alarm.take(), begun).await;
        if sweep_at <= Instant::now() {
            agenda = service.sweep_schedules(agenda).await;
            sweep_at = Instant::now() + SWEEP_EVERY;
        }
        let wait = match agenda.next() {
            Some(next) => {
                let left = next.duration_since(Timestamp::now());
                let left = Duration::try_from(left).unwrap_or_default();
                left.min(CLOCK_EVERY)
            }
            None => look_at.saturating_duration_since(Instant::now()),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = alarm.notify.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clock_jumps_over_counts_as_missed() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let mut since = Since::new(at(1_000));
        assert_eq!(since.at(at(1_000), 0), at(1_000));
        assert_eq!(since.at(at(61_000), 60_000), at(1_000), "it has run on");
        assert_eq!(
            since.at(at(92_000), 61_000),
            at(92_000),
            "half a minute forward"
        );
        assert_eq!(since.at(at(93_000), 62_000), at(92_000));
        assert_eq!(since.at(at(5_000), 63_000), at(5_000), "set back");
    }
}
