//! What is seen when somebody asks, as gauges made for one answer.

use super::{Labels, Naming, PREFIX};
use prometheus_client::{
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};
use std::{collections::HashMap, sync::atomic::AtomicU64};

/// How a service is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Can partners be served?
    pub is_healthy: bool,
    /// Of the Unix epoch. As all that follows: `None` when it is not known.
    pub certificate_expiry_s: Option<i64>,
    pub log_lines_lost: u64,
    /// Of all tenants; one that waits for two receivers counts twice.
    pub events_pending: usize,
    /// Of the spool that has the fewest.
    pub free_bytes: Option<u64>,
    pub free_inodes: Option<u64>,
    /// What is to stay free.
    pub reserve_bytes: u64,
    /// How many configurations were taken.
    pub config_epoch: u64,
    /// At most one for each place of an interface.
    pub jobs: Vec<AtPlace>,
    /// Each interface, and whether it is held.
    pub held: Vec<(Of, bool)>,
    /// Of each tenant whose audit has one.
    pub audit: Vec<NewestRecord>,
}

/// A tenant's interface, or a tenant where none is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of {
    tenant: String,
    interface: Option<String>,
}

impl Of {
    pub fn interface(tenant: &str, interface: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            interface: Some(interface.to_owned()),
        }
    }

    pub fn tenant(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            interface: None,
        }
    }
}

/// The jobs at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtPlace {
    pub of: Of,
    pub place: Place,
    pub jobs: usize,
    /// When the one came that came first, in milliseconds of the Unix epoch. `None`: there is none, or those
    /// here are not waited for.
    pub oldest_ms: Option<i64>,
}

/// The newest record of a tenant's audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestRecord {
    pub tenant: String,
    pub number: u64,
    /// The first 52 bits of its hash, which a sample shows without loss.
    pub fingerprint: u64,
}

/// Where jobs are, by its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Bak,
    Deferred,
    JobErrors,
    Queue,
    Refused,
    Work,
}

impl Place {
    /// Those of an interface.
    pub(super) const OF_INTERFACE: [Self; 4] = [Self::Bak, Self::Deferred, Self::Queue, Self::Work];
    /// Where jobs wait or run.
    pub(super) const ACTIVE: [Self; 3] = [Self::Deferred, Self::Queue, Self::Work];

    fn as_str(self) -> &'static str {
        match self {
            Self::Bak => "bak",
            Self::Deferred => "deferred",
            Self::JobErrors => "joberrors",
            Self::Queue => "queue",
            Self::Refused => "refused",
            Self::Work => "work",
        }
    }
}

impl Seen {
    pub(super) fn registry(&self, naming: Naming) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        self.register_service(&mut registry);
        self.register_jobs(&mut registry, naming);
        let held = Family::<Labels, Gauge>::default();
        for (of, is_held) in &self.held {
            let labels = naming.labels(&of.tenant, of.interface.as_deref());
            held.get_or_create(&labels).inc_by(i64::from(*is_held));
        }
        let help = naming.help("1: the interface is held, so nothing of it is started");
        registry.register("held", help, held);
        self.register_audit(&mut registry);
        registry
    }

    fn register_audit(&self, registry: &mut Registry) {
        let (numbers, hashes) = <(Family<Labels, Gauge>, Family<Labels, Gauge>)>::default();
        for newest in &self.audit {
            let labels = vec![("tenant", newest.tenant.clone())];
            for (family, value) in [(&numbers, newest.number), (&hashes, newest.fingerprint)] {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(value);
            }
        }
        let help = "The number of the newest record of the audit";
        registry.register("audit_record", help, numbers);
        let help =
            "The first 52 bits of the hash of that record: printf %013x gives its first digits";
        registry.register("audit_fingerprint", help, hashes);
    }

    fn register_service(&self, registry: &mut Registry) {
        let mut gauge = |name, help, unit, value: Option<u64>| {
            let Some(value) = value.map(ConstGauge::new) else {
                return;
            };
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, value),
                None => registry.register(name, help, value),
            }
        };
        gauge(
            "healthy",
            "1: partners can be served, as /readyz says",
            None,
            Some(self.is_healthy.into()),
        );
        gauge(
            "spool_free",
            "What is free for jobs, of the spool with the least",
            Some(Unit::Bytes),
            self.free_bytes,
        );
        gauge(
            "spool_free",
            "How many files there can be more, of the spool with the fewest",
            Some(Unit::Other("inodes".into())),
            self.free_inodes,
        );
        gauge(
            "spool_reserve",
            "What limits.free_bytes_min keeps free: with less nothing is accepted",
            Some(Unit::Bytes),
            Some(self.reserve_bytes),
        );
        gauge(
            "config_epoch",
            "How many configurations were taken since the start, that of the start included",
            None,
            Some(self.config_epoch),
        );
        if let Some(expiry_s) = self.certificate_expiry_s {
            registry.register_with_unit(
                "certificate_expiry_timestamp",
                "When the certificate in force expires",
                Unit::Seconds,
                ConstGauge::new(expiry_s),
            );
        }
        registry.register(
            "events_pending",
            "Events that wait for their receivers",
            ConstGauge::new(self.events_pending as u64),
        );
        registry.register(
            "log_lines_lost",
            "Lines of the log that could not be written",
            ConstCounter::new(self.log_lines_lost),
        );
    }

    fn register_jobs(&self, registry: &mut Registry, naming: Naming) {
        let jobs = Family::<Labels, Gauge>::default();
        let mut oldest: HashMap<Labels, i64> = HashMap::new();
        for AtPlace {
            of,
            place,
            jobs: n_jobs,
            oldest_ms,
        } in &self.jobs
        {
            let mut labels = naming.labels(&of.tenant, of.interface.as_deref());
            labels.insert(0, ("place", place.as_str().to_owned()));
            let n_jobs = i64::try_from(*n_jobs).unwrap_or(i64::MAX);
            jobs.get_or_create(&labels).inc_by(n_jobs);
            if let Some(ms) = oldest_ms {
                let oldest = oldest.entry(labels).or_insert(*ms);
                *oldest = (*oldest).min(*ms);
            }
        }
        let oldest_s = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, ms) in oldest {
            oldest_s.get_or_create(&labels).set(ms as f64 / 1000.0);
        }
        registry.register("jobs", naming.help("How many jobs are there"), jobs);
        registry.register_with_unit(
            "oldest_job_timestamp",
            naming.help("When the job came that has been there for longest; not of interfaces that are held"),
            Unit::Seconds,
            oldest_s,
        );
    }
}
