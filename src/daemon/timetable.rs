//! The clock of a tenant's schedules: sleeps until one has a moment, and lets the gateway follow.

use crate::{
    gateway::{Agenda, Gateway, Touched},
    timetable::ScheduleId,
};
use jiff::Timestamp;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// The clock is looked at so often while a schedule waits: it may be set.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// All schedules are looked at so often, whatever the watcher says; without one, so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Those that have ended, and whose last job is gone, are removed so often.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// What is told to the clock.
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
        let id = name.and_then(|name| name.strip_suffix(".json"));
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
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BTreeSet<ScheduleId>>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows all schedules until `stop`.
pub(super) async fn run(
    gateway: Arc<Gateway>,
    alarm: Arc<Alarm>,
    is_watched: bool,
    stop: CancellationToken,
) {
    let since = Timestamp::now();
    let mut agenda = Agenda::default();
    let look_every = if is_watched { LOOK_EVERY } else { POLL_EVERY };
    let mut look_at = Instant::now();
    let mut sweep_at = Instant::now();
    loop {
        if look_at <= Instant::now() {
            alarm.touch_all();
            look_at = Instant::now() + look_every;
        }
        agenda = gateway.follow_schedules(agenda, alarm.take(), since).await;
        if sweep_at <= Instant::now() {
            agenda = gateway.sweep_schedules(agenda).await;
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
