//! What is seen of a spool for those who look at all of it: counted seldom enough that looking costs little, however many
//! look.

use super::{look::Clock, visit::Visit};
use crate::{
    cron_schedule::Expectation,
    domain::{InterfaceName, PlaceKind},
    ops::{
        arrivals::Arrivals,
        shape::{Ages, Oldest, Shape},
    },
    store::{
        Activity, Capacity, Counts, ErrorGroup, Failing, Filter, Recent, Store, StoreError, Tally,
        Viewer,
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// What was seen is good for so long, …
const GOOD_FOR: Duration = Duration::from_secs(1);
/// … and for so many times as long as it took.
const PAUSE_FACTOR: u32 = 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A spool as it was seen at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) counts: Counts,
    /// What the holds say.
    pub(super) held: BTreeMap<InterfaceName, String>,
    pub(super) activity: Activity,
    pub(super) midnight_ms: i64,
    /// Of what waits in queues and for an attempt, what is held apart.
    pub(super) waiting: Ages,
    pub(super) oldest: Oldest,
    /// What failed in the last day, by cause.
    pub(super) groups: Vec<ErrorGroup>,
    pub(super) free: Option<Capacity>,
    /// What is expected from partners, in the order of the configuration.
    pub(super) expected: Vec<(Expectation, Arrivals)>,
}

impl Picture {
    async fn look(
        store: &dyn Store,
        clock: &Clock,
        expectations: &[Expectation],
    ) -> Result<Self, StoreError> {
        let counts = store.counts().await?;
        let mut held = BTreeMap::new();
        for interface in store.interfaces() {
            if let Some(text) = store.hold_text(&interface).await? {
                held.insert(interface, text);
            }
        }
        let day = Some(clock.now_ms - DAY_MS);
        let names = held.keys().cloned().collect();
        let mut picture = Self {
            oldest: Oldest::of(&counts, &names),
            counts,
            held,
            groups: store
                .error_groups(&Viewer::all(), Failing::Jobs, day)
                .await?,
            activity: store.activity().await?,
            midnight_ms: clock.midnight_ms(),
            free: store.capacity(),
            ..Self::default()
        };
        picture.count_waiting(store, clock.now_ms).await?;
        for expectation in expectations {
            let arrivals = Arrivals::of(expectation, store, clock.moment()).await?;
            picture.expected.push((expectation.clone(), arrivals));
        }
        Ok(picture)
    }

    async fn count_waiting(&mut self, store: &dyn Store, now_ms: i64) -> Result<(), StoreError> {
        let filter = Filter {
            at: vec![PlaceKind::Queue, PlaceKind::Deferred],
            ..Filter::default()
        };
        let page = store
            .list(&Viewer::all(), &filter, None, usize::MAX)
            .await?;
        let mut shape = Shape::default();
        for summary in page.jobs {
            let interface = summary.job.place.interface();
            let is_held = interface.is_some_and(|interface| self.held.contains_key(interface));
            let age_ms = now_ms - summary.job.name.id().unix_ms();
            shape.count(String::new(), age_ms, is_held);
        }
        self.waiting = shape.all;
        Ok(())
    }

    /// Of all interfaces.
    pub(super) fn all_today(&self) -> Tally {
        self.today(&self.activity.all)
    }

    pub(super) fn today_in(&self, interface: &InterfaceName) -> Tally {
        self.today(&self.activity.of(interface))
    }

    fn today(&self, recent: &Recent) -> Tally {
        recent.between(self.midnight_ms, i64::MAX)
    }

    /// How many jobs of all interfaces wait in their queues, run, and wait for an attempt.
    pub(super) fn active(&self) -> (usize, usize, usize) {
        let of = self.counts.of.values();
        of.fold((0, 0, 0), |(queued, running, deferred), counts| {
            (
                queued + counts.queued.jobs,
                running + counts.running.jobs,
                deferred + counts.deferred.jobs,
            )
        })
    }
}

/// The last picture, and how long it took.
#[derive(Default)]
pub(super) struct Census {
    last: Mutex<Option<(Instant, Duration, Arc<Picture>)>>,
}

impl Census {
    /// A picture that is good; one is taken at a time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn picture(
        &self,
        store: &dyn Store,
        clock: &Clock,
        expectations: &[Expectation],
    ) -> Result<Arc<Picture>, StoreError> {
        let mut last = self.last.lock().await;
        if let Some((at, took, picture)) = &*last
            && at.elapsed() < GOOD_FOR.max(*took * PAUSE_FACTOR)
        {
            return Ok(picture.clone());
        }
        let begun = Instant::now();
        let picture = Arc::new(Picture::look(store, clock, expectations).await?);
        *last = Some((Instant::now(), begun.elapsed(), picture.clone()));
        Ok(picture)
    }

    /// What was done just now is to be seen by who has done it.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

impl Visit<'_> {
    /// The spool, as it was seen a moment ago. For who may see all of it.
    pub(super) async fn picture(&self) -> Result<Arc<Picture>, StoreError> {
        let census = &self.spool.census;
        let tenant = self.config.tenants.iter();
        let tenant = tenant.filter(|of| of.name == self.spool.name);
        let expectations: Vec<Expectation> = tenant
            .flat_map(|tenant| tenant.expectations.iter().cloned())
            .collect();
        let store = &*self.spool.store;
        census.picture(store, &self.clock, &expectations).await
    }
}
