//! A small spool for tests.

use super::{
    Clock, DropRules, FaultInjection, Fs, RealFs, Rules, SEGMENT_BYTES_MIN, Spool, SpoolError,
};
use crate::domain::InterfaceName;
use crate::store::events::{EventKind, Wants};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// What the clock of a [`TestSpool`] says at first: 2026-11-22T04:57:48.123Z.
pub(crate) const START_MS: i64 = 1_795_323_468_123;

/// A spool to be opened. Without more it has no interface, a clock that stands still and no journal.
pub(crate) struct TestSpool<F: Fs = RealFs> {
    fs: F,
    interfaces: BTreeMap<InterfaceName, Rules>,
    clock: Clock,
    injected: FaultInjection,
    segment_bytes: Option<u64>,
    wants: Vec<Wants>,
}

impl TestSpool {
    /// In this directory.
    pub(crate) fn at(root: &Path) -> Self {
        Self::on(RealFs::new(root))
    }
}

impl<F: Fs> TestSpool<F> {
    /// On this disk.
    pub(crate) fn on(fs: F) -> Self {
        Self {
            fs,
            interfaces: BTreeMap::new(),
            clock: Box::new(|| START_MS),
            injected: FaultInjection::chosen(),
            segment_bytes: None,
            wants: Vec::new(),
        }
    }

    /// With an interface: three attempts, at least once, and the drops that nothing is said of.
    pub(crate) fn interface(self, name: &str) -> Self {
        self.interface_with(name, |_| ())
    }

    /// With an interface whose rules differ from those in this.
    pub(crate) fn interface_with(mut self, name: &str, differ: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules {
            attempts_max: 3,
            at_most_once: false,
            drops: DropRules::default(),
            order_attribute: None,
        };
        differ(&mut rules);
        self.interfaces.insert(name.parse().unwrap(), rules);
        self
    }

    pub(crate) fn clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// With a clock that goes on by a millisecond whenever it is looked at, from [`START_MS`] on.
    pub(crate) fn ticking(self) -> Self {
        let now_ms = AtomicI64::new(START_MS);
        self.clock(move || now_ms.fetch_add(1, Ordering::SeqCst))
    }

    /// With its journal taken up.
    pub(crate) fn journal(self) -> Self {
        self.journal_of(SEGMENT_BYTES_MIN)
    }

    /// The same with segments of that size, which may be smaller than a service has them.
    pub(crate) fn journal_of(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = Some(segment_bytes);
        self
    }

    /// With a receiver that wants every event of this interface, or of all.
    pub(crate) fn receiver(mut self, name: &str, of: Option<&str>) -> Self {
        self.wants.push(Wants {
            receiver: name.to_owned(),
            on: EventKind::ALL.into(),
            interfaces: of.iter().map(|name| name.parse().unwrap()).collect(),
        });
        self
    }

    /// With a deliberate mistake.
    pub(crate) fn injected(mut self, injected: FaultInjection) -> Self {
        self.injected = injected;
        self
    }

    pub(crate) fn open(self) -> Result<Arc<Spool<F>>, SpoolError> {
        let spool = Spool::open(self.fs, self.interfaces, self.clock)?;
        let spool = spool.with_injected(self.injected);
        let spool = spool.with_receivers(self.wants);
        if let Some(segment_bytes) = self.segment_bytes {
            spool.open_journal(segment_bytes)?;
        }
        Ok(Arc::new(spool))
    }
}
