//! What a tenant's service, worker, watcher and spool count.

use super::{Labels, Naming, counters, quick};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{collections::BTreeMap, sync::Arc};

/// Bounds in seconds of what jobs wait, and of what programs take.
const LONG_S: [f64; 12] = [
    0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
];
/// How many series an interface has here: a histogram has a sum, a count and one more bucket,
/// and there is a gauge.
pub(super) const SERIES_PER_INTERFACE: usize =
    Attempt::ALL.len() + Upload::ALL.len() + LONG_S.len() + 4;

/// What came of an attempt at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Done,
    /// The job is tried again.
    Retry,
    Failed,
    /// Nobody knows how far it got.
    Crashed,
    TimedOut,
    Cancelled,
}

impl Attempt {
    const ALL: [Self; 6] = [
        Self::Done,
        Self::Retry,
        Self::Failed,
        Self::Crashed,
        Self::TimedOut,
        Self::Cancelled,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What came of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    Accepted,
    /// The answer to an earlier one was given again.
    Replayed,
    /// It cannot be taken as it is.
    Refused,
    /// The same can be taken later.
    Busy,
    /// Its sender lacks a right.
    Denied,
}

impl Upload {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Replayed,
        Self::Refused,
        Self::Busy,
        Self::Denied,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Denied => "denied",
        }
    }
}

/// Why queues were scanned for what the watcher may not have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescan {
    /// It told more than was taken.
    Backlog,
    /// The kernel has dropped something.
    Lost,
    /// A directory is another one now.
    Replaced,
    /// It broke down and began anew.
    Restarted,
}

impl Rescan {
    const ALL: [Self; 4] = [Self::Backlog, Self::Lost, Self::Replaced, Self::Restarted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Backlog => "backlog",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
            Self::Restarted => "restarted",
        }
    }
}

/// What a tenant counts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    interfaces: Arc<BTreeMap<String, Interface>>,
    /// Uploads of which no interface is known.
    none: Interface,
    common: Common,
}

/// Of an interface, or of all of them.
#[derive(Clone, Debug)]
struct Interface {
    arrivals_missing: Gauge,
    wait_seconds: Histogram,
    attempts: [Counter; Attempt::ALL.len()],
    uploads: [Counter; Upload::ALL.len()],
}

impl Default for Interface {
    fn default() -> Self {
        Self {
            arrivals_missing: Gauge::default(),
            wait_seconds: long(),
            attempts: Attempt::ALL.map(|_| Counter::default()),
            uploads: Upload::ALL.map(|_| Counter::default()),
        }
    }
}

/// Of all tenants.
#[derive(Clone, Debug)]
struct Common {
    attempt_seconds: Histogram,
    journal: Journal,
    rescans: [Counter; Rescan::ALL.len()],
    schedules_missed: Counter,
    events_dead: Counter,
    upload_bytes: Counter,
    upload_seconds: Histogram,
    validation_seconds: Histogram,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            attempt_seconds: long(),
            journal: Journal::default(),
            rescans: Rescan::ALL.map(|_| Counter::default()),
            events_dead: Counter::default(),
            schedules_missed: Counter::default(),
            upload_bytes: Counter::default(),
            upload_seconds: quick(),
            validation_seconds: quick(),
        }
    }
}

/// Of the journals.
#[derive(Clone, Debug)]
pub struct Journal {
    flush_seconds: Histogram,
    records: Counter,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            flush_seconds: quick(),
            records: Counter::default(),
        }
    }
}

impl Journal {
    /// So many records are durable, by a flush that took so long.
    pub fn flushed(&self, records: u64, seconds: f64) {
        self.records.inc_by(records);
        self.flush_seconds.observe(seconds);
    }
}

impl Tenant {
    /// A job was taken for its first attempt, so long after it came.
    pub fn waited(&self, interface: &str, seconds: f64) {
        self.of(Some(interface)).wait_seconds.observe(seconds);
    }

    /// An attempt has ended after so long.
    pub fn attempted(&self, interface: &str, outcome: Attempt, seconds: f64) {
        self.of(Some(interface)).attempts[outcome as usize].inc();
        self.common.attempt_seconds.observe(seconds);
    }

    /// An attempt has ended with the service. Nobody knows after how long.
    pub fn cut_off(&self, interface: &str) {
        self.of(Some(interface)).attempts[Attempt::Crashed as usize].inc();
    }

    /// `interface`: as far as it is known.
    pub fn uploaded(&self, interface: Option<&str>, outcome: Upload) {
        self.of(interface).uploads[outcome as usize].inc();
    }

    /// From the admission of an upload to the answer.
    pub fn upload_took(&self, seconds: f64) {
        self.common.upload_seconds.observe(seconds);
    }

    /// Of the documents of uploads.
    pub fn came(&self, bytes: u64) {
        self.common.upload_bytes.inc_by(bytes);
    }

    pub fn validated(&self, seconds: f64) {
        self.common.validation_seconds.observe(seconds);
    }

    pub fn rescanned(&self, reason: Rescan) {
        self.common.rescans[reason as usize].inc();
    }

    /// Moments of a schedule have no job of their own, since nobody was there.
    pub fn missed(&self) {
        self.common.schedules_missed.inc();
    }

    /// Events that their receivers never took.
    pub fn events_died(&self, n_events: u64) {
        self.common.events_dead.inc_by(n_events);
    }

    /// The last deadline of an expectation was not met, or after one that was not, it was.
    pub fn arrivals_missing(&self, interface: &str, is_missing: bool) {
        let missing = &self.of(Some(interface)).arrivals_missing;
        match is_missing {
            true => missing.inc(),
            false => missing.dec(),
        };
    }

    pub fn journal(&self) -> Journal {
        self.common.journal.clone()
    }

    fn of(&self, interface: Option<&str>) -> &Interface {
        let known = interface.and_then(|name| self.interfaces.get(name));
        known.unwrap_or(&self.none)
    }
}

/// The instruments of these tenants, each with its interfaces.
pub(super) fn register(
    registry: &mut Registry,
    naming: Naming,
    tenants: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Tenant> {
    let families = Families::register(registry, naming);
    let common = Common::register(registry);
    let tenant = |(name, interfaces): (&String, &Vec<String>)| {
        let of = |interface: &String| {
            let labels = naming.labels(name, Some(interface));
            (interface.clone(), families.interface(&labels))
        };
        let tenant = Tenant {
            interfaces: Arc::new(interfaces.iter().map(of).collect()),
            none: Interface {
                uploads: families.uploads(&naming.labels(name, None)),
                ..Interface::default()
            },
            common: common.clone(),
        };
        (name.clone(), tenant)
    };
    tenants.iter().map(tenant).collect()
}

struct Families {
    arrivals_missing: Family<Labels, Gauge>,
    wait_seconds: Family<Labels, Histogram, fn() -> Histogram>,
    attempts: Family<Labels, Counter>,
    uploads: Family<Labels, Counter>,
}

impl Families {
    fn register(registry: &mut Registry, naming: Naming) -> Self {
        let families = Self {
            arrivals_missing: Family::default(),
            wait_seconds: Family::new_with_constructor(long),
            attempts: Family::default(),
            uploads: Family::default(),
        };
        registry.register(
            "arrivals_missing",
            naming.help("Of how many expectations the last deadline was not met"),
            families.arrivals_missing.clone(),
        );
        registry.register_with_unit(
            "job_wait",
            naming.help("From when a job came to its first attempt"),
            Unit::Seconds,
            families.wait_seconds.clone(),
        );
        registry.register(
            "attempts",
            naming.help("Attempts at jobs that have ended"),
            families.attempts.clone(),
        );
        registry.register(
            "uploads",
            naming.help("Uploads that were answered"),
            families.uploads.clone(),
        );
        families
    }

    fn interface(&self, labels: &Labels) -> Interface {
        Interface {
            arrivals_missing: self.arrivals_missing.get_or_create_owned(labels),
            wait_seconds: self.wait_seconds.get_or_create_owned(labels),
            attempts: counters(
                &self.attempts,
                labels,
                "outcome",
                Attempt::ALL.map(Attempt::as_str),
            ),
            uploads: self.uploads(labels),
        }
    }

    fn uploads(&self, labels: &Labels) -> [Counter; Upload::ALL.len()] {
        let outcomes = Upload::ALL.map(Upload::as_str);
        counters(&self.uploads, labels, "outcome", outcomes)
    }
}

impl Common {
    fn register(registry: &mut Registry) -> Self {
        let rescans = Family::default();
        let common = Self {
            rescans: counters(&rescans, &[], "reason", Rescan::ALL.map(Rescan::as_str)),
            ..Self::default()
        };
        for (name, help, histogram) in [
            (
                "attempt_duration",
                "How long an attempt at a job took",
                &common.attempt_seconds,
            ),
            (
                "upload_duration",
                "From the head of an upload to its answer",
                &common.upload_seconds,
            ),
            (
                "validation_duration",
                "How long the check of a document took",
                &common.validation_seconds,
            ),
            (
                "journal_flush_duration",
                "How long it took to write records and to flush them",
                &common.journal.flush_seconds,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        registry.register_with_unit(
            "upload",
            "What came of documents",
            Unit::Bytes,
            common.upload_bytes.clone(),
        );
        registry.register(
            "journal_records",
            "Records that are durable",
            common.journal.records.clone(),
        );
        registry.register(
            "watch_rescans",
            "Scans of queues since the watcher may have told less than happened",
            rescans,
        );
        registry.register(
            "events_dead",
            "Events that no receiver took in time, or that there was no room for",
            common.events_dead.clone(),
        );
        registry.register(
            "schedules_missed",
            "How often moments of a schedule were missed and have no job of their own",
            common.schedules_missed.clone(),
        );
        common
    }
}

fn long() -> Histogram {
    Histogram::new(LONG_S)
}
