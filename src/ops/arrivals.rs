//! Expected arrivals: how many documents of a partner have come for the deadline that is next, and what became of the
//! last one.

use crate::{
    cron_schedule::{Expectation, Verdict, Window},
    domain::PlaceKind,
    store::{Filter, Store, StoreError, Viewer},
};
use jiff::{SignedDuration, Timestamp};

/// A deadline that was not judged within this time, because no service ran, stays so.
const JUDGED_WITHIN: SignedDuration = SignedDuration::from_hours(72);

/// How an expectation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// The deadline that is next and the documents that have come for it; `None` when there is none any more.
    pub next: Option<(Window, u64)>,
    /// The last deadline since there is the interface, the documents that came for it, and what that makes of it.
    pub last: Option<(Window, u64, Verdict)>,
}

impl Arrivals {
    /// # Errors
    /// When the store cannot be read.
    pub async fn of(
        expectation: &Expectation,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let next = match expectation.deadlines.open_at(now) {
            None => None,
            Some(window) => Some((window, arrived(expectation, store, window).await?)),
        };
        let since_ms = store.served_since_ms(&expectation.interface).await?;
        let closed = expectation.deadlines.last_closed(now);
        let last = match closed.filter(|of| of.deadline.as_millisecond() > since_ms) {
            None => None,
            Some(window) => {
                let documents = arrived(expectation, store, window).await?;
                Some((window, documents, expectation.judge(documents)))
            }
        };
        Ok(Self { next, last })
    }

    /// Was the last deadline not met?
    pub fn is_missing(&self) -> bool {
        (self.last).is_some_and(|(_, _, verdict)| verdict != Verdict::Met)
    }
}

/// How many documents of a window were accepted and not removed since. What was refused has not come.
///
/// # Errors
/// When the store cannot be read.
pub async fn arrived(
    expectation: &Expectation,
    store: &dyn Store,
    window: Window,
) -> Result<u64, StoreError> {
    let after = |moment: Timestamp| Some(moment.as_millisecond().saturating_add(1));
    let filter = Filter {
        interface: Some(expectation.interface.clone()),
        submitter: Some(expectation.submitter.clone()),
        at: vec![
            PlaceKind::Bak,
            PlaceKind::Deferred,
            PlaceKind::JobErrors,
            PlaceKind::Queue,
            PlaceKind::Work,
        ],
        since_ms: after(window.from),
        before_ms: after(window.until),
        ..Filter::default()
    };
    let page = store
        .list(&Viewer::all(), &filter, None, usize::MAX)
        .await?;
    Ok(page.jobs.len() as u64)
}

/// The deadlines after `through` that are to be judged now, oldest first.
pub fn to_judge(expectation: &Expectation, through: Timestamp, now: Timestamp) -> Vec<Window> {
    let through = through.max(now - JUDGED_WITHIN);
    expectation.deadlines.closed_between(through, now)
}
