//! Of connections, requests and logins.

use super::{Labels, counters, quick};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// A path that is of no dialect.
const NO_DIALECT: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    dialect: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    dialect: &'static str,
}

/// Of all listeners.
pub(super) struct Http {
    connections: Family<Labels, Gauge>,
    requests: Requests,
}

/// Of one listener.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// Those that are open.
    pub connections: Gauge,
    pub requests: Requests,
}

/// Of the requests of all listeners. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram, fn() -> Histogram>,
    downloads: Counter,
    logins: [Counter; Login::ALL.len()],
}

/// What came of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Accepted,
    Rejected,
    /// Not looked at, since there are too many.
    Throttled,
}

impl Login {
    const ALL: [Self; 3] = [Self::Accepted, Self::Rejected, Self::Throttled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(quick),
            downloads: Counter::default(),
            logins: Login::ALL.map(|_| Counter::default()),
        }
    }
}

impl Requests {
    /// One has ended after so long, with the code of its answer; 0 when the client had gone before.
    pub fn ended(&self, dialect: &'static str, code: u16, seconds: f64) {
        let dialect = if dialect.is_empty() {
            NO_DIALECT
        } else {
            dialect
        };
        self.answered
            .get_or_create(&Answered { dialect, code })
            .inc();
        self.seconds
            .get_or_create(&Asked { dialect })
            .observe(seconds);
    }

    /// The last byte of a document, or of a part that was asked for, is on its way.
    pub fn downloaded(&self) {
        self.downloads.inc();
    }

    pub fn logged_in(&self, outcome: Login) {
        self.logins[outcome as usize].inc();
    }
}

impl Http {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let logins = Family::default();
        let requests = Requests {
            logins: counters(&logins, &[], "outcome", Login::ALL.map(Login::as_str)),
            ..Requests::default()
        };
        let connections = Family::default();
        registry.register("connections", "How many are open", connections.clone());
        registry.register(
            "http_requests",
            "Requests by the status of their answers; 0: the client had gone before",
            requests.answered.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to the last byte of its answer",
            Unit::Seconds,
            requests.seconds.clone(),
        );
        registry.register(
            "downloads",
            "Documents and results, or parts of them, that were sent to the last byte",
            requests.downloads.clone(),
        );
        registry.register("logins", "Credentials that came with requests", logins);
        Self {
            connections,
            requests,
        }
    }

    pub(super) fn listener(&self, name: &str) -> Listener {
        let labels = vec![("listener", name.to_owned())];
        Listener {
            connections: self.connections.get_or_create_owned(&labels),
            requests: self.requests.clone(),
        }
    }
}
