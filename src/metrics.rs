//! What is measured of the service, for `GET /metrics`: instruments of OpenMetrics, without files, clock or tasks.
//!
//! Whoever does something counts it, by an instrument that was found once, at the start. What can be seen when
//! somebody asks is not counted: it is [`Seen`], of which gauges are made for one answer.
//!
//! Invariant: a label's values are a bounded set: tenants, interfaces, dialects, codes and words of ours, never a
//! user or a job.

mod requests;
mod seen;
mod tenant;

pub use requests::{Listener, Login, Requests};
pub use seen::{AtPlace, NewestRecord, Of, Place, Seen};
pub use tenant::{Attempt, Journal, Rescan, Tenant, Upload};

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};
use requests::Http;
use std::collections::BTreeMap;

const PREFIX: &str = "spoolgate";
/// What the answer is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bounds in seconds of what a client waits for.
const QUICK_S: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// How many series an interface has.
const SERIES_PER_INTERFACE: usize =
    Place::OF_INTERFACE.len() + Place::ACTIVE.len() + 1 + tenant::SERIES_PER_INTERFACE;

type Labels = Vec<(&'static str, String)>;

/// The instruments of a service.
pub struct Metrics {
    registry: Registry,
    naming: Naming,
    http: Http,
    tenants: BTreeMap<String, Tenant>,
}

impl Metrics {
    /// `tenants`: their interfaces. `series_max`: beyond so many series by interface, they are not told apart.
    pub fn new(tenants: &BTreeMap<String, Vec<String>>, series_max: usize) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Which version it is", Info::new(version));
        let interfaces: usize = tenants.values().map(Vec::len).sum();
        let naming = Naming {
            tells_interfaces: interfaces * SERIES_PER_INTERFACE <= series_max,
        };
        Self {
            naming,
            http: Http::register(&mut registry),
            tenants: tenant::register(&mut registry, naming, tenants),
            registry,
        }
    }

    /// Those of a listener, by what it is called.
    pub fn listener(&self, name: &str) -> Listener {
        self.http.listener(name)
    }

    /// Those of a tenant, by its name. One that is not known counts in vain.
    pub fn tenant(&self, name: &str) -> Tenant {
        self.tenants.get(name).cloned().unwrap_or_default()
    }

    /// The answer to who asks, with what was seen just now.
    pub fn text(&self, seen: &Seen) -> String {
        let mut text = String::new();
        let now = seen.registry(self.naming);
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &now);
        let _ = encode_eof(&mut text);
        text
    }
}

/// Whether interfaces are told apart.
#[derive(Clone, Copy)]
struct Naming {
    tells_interfaces: bool,
}

impl Naming {
    /// The labels of a tenant's interface, or of none.
    fn labels(self, tenant: &str, interface: Option<&str>) -> Labels {
        let interface = interface.filter(|_| self.tells_interfaces);
        vec![
            ("tenant", tenant.to_owned()),
            ("interface", interface.unwrap_or_default().to_owned()),
        ]
    }

    /// What is said of a metric, with a word on a label that is left out.
    fn help(self, text: &str) -> String {
        match self.tells_interfaces {
            true => text.to_owned(),
            false => format!(
                "{text}. The label interface is left out: there would be more series than \
                 metrics.series_max allows"
            ),
        }
    }
}

/// A counter for each value of a label, beside the labels that all of them have.
fn counters<const N: usize>(
    family: &Family<Labels, Counter>,
    common: &[(&'static str, String)],
    label: &'static str,
    values: [&str; N],
) -> [Counter; N] {
    values.map(|value| {
        let of_value = [(label, value.to_owned())];
        family.get_or_create_owned(&[common, &of_value].concat())
    })
}

fn quick() -> Histogram {
    Histogram::new(QUICK_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(interfaces: usize) -> BTreeMap<String, Vec<String>> {
        let interfaces = (0..interfaces).map(|n| format!("i{n}"));
        BTreeMap::from([("main".to_owned(), interfaces.collect())])
    }

    fn seen(interfaces: usize) -> Seen {
        let of = |n| Of::interface("main", &format!("i{n}"));
        let at_each_place = |n| {
            Place::OF_INTERFACE.map(|place| AtPlace {
                of: of(n),
                place,
                jobs: 2,
                oldest_ms: (Place::ACTIVE.contains(&place))
                    .then(|| 1_700_000_000_500 + i64::try_from(n).unwrap()),
            })
        };
        Seen {
            jobs: (0..interfaces).flat_map(at_each_place).collect(),
            held: (0..interfaces).map(|n| (of(n), n == 0)).collect(),
            ..Seen::default()
        }
    }

    fn by_interface(text: &str) -> usize {
        let named = text.lines().filter(|line| line.contains("interface=\"i"));
        named.count()
    }

    #[test]
    fn an_interface_has_as_many_series_as_is_reckoned() {
        let text = Metrics::new(&tenants(3), usize::MAX).text(&seen(3));
        assert_eq!(by_interface(&text), 3 * SERIES_PER_INTERFACE, "{text}");
        assert!(
            text.ends_with("# EOF\n") && !text.contains("series_max"),
            "{text}"
        );
    }

    #[test]
    fn beyond_the_bound_interfaces_are_not_told_apart_and_a_comment_says_so() {
        let bound = 3 * SERIES_PER_INTERFACE;
        let within = Metrics::new(&tenants(3), bound).text(&seen(3));
        assert_eq!(by_interface(&within), bound);
        let beyond = Metrics::new(&tenants(3), bound - 1).text(&seen(3));
        assert_eq!(by_interface(&beyond), 0, "{beyond}");
        for line in [
            "# HELP spoolgate_jobs How many jobs are there. The label interface is left out: there would be \
             more series than metrics.series_max allows.",
            "spoolgate_jobs{place=\"queue\",tenant=\"main\",interface=\"\"} 6",
            "spoolgate_oldest_job_timestamp_seconds{place=\"work\",tenant=\"main\",interface=\"\"} 1700000000.5",
            "spoolgate_held{tenant=\"main\",interface=\"\"} 1",
        ] {
            assert!(
                beyond.lines().any(|found| found == line),
                "{line}:\n{beyond}"
            );
        }
    }

    #[test]
    fn what_a_tenant_counts_is_told_by_interface() {
        let metrics = Metrics::new(&tenants(2), usize::MAX);
        let tenant = metrics.tenant("main");
        for outcome in [Attempt::TimedOut, Attempt::Done, Attempt::Done] {
            tenant.attempted("i1", outcome, 2.0);
        }
        tenant.uploaded(Some("i0"), Upload::Busy);
        // A name that somebody has made up is no label.
        tenant.uploaded(Some("i7"), Upload::Denied);
        tenant.waited("i1", 70.0);
        metrics.tenant("other").uploaded(None, Upload::Denied);
        let text = metrics.text(&Seen::default());
        for line in [
            "spoolgate_attempts_total{tenant=\"main\",interface=\"i1\",outcome=\"done\"} 2",
            "spoolgate_attempts_total{tenant=\"main\",interface=\"i1\",outcome=\"timeout\"} 1",
            "spoolgate_attempts_total{tenant=\"main\",interface=\"i0\",outcome=\"done\"} 0",
            "spoolgate_attempt_duration_seconds_sum 6.0",
            "spoolgate_uploads_total{tenant=\"main\",interface=\"i0\",outcome=\"busy\"} 1",
            "spoolgate_uploads_total{tenant=\"main\",interface=\"\",outcome=\"denied\"} 1",
            "spoolgate_job_wait_seconds_bucket{le=\"60.0\",tenant=\"main\",interface=\"i1\"} 0",
            "spoolgate_job_wait_seconds_bucket{le=\"300.0\",tenant=\"main\",interface=\"i1\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn the_newest_record_of_an_audit_is_told_without_loss() {
        let text = Metrics::new(&tenants(1), usize::MAX).text(&Seen {
            audit: vec![NewestRecord {
                tenant: "main".into(),
                number: 7,
                fingerprint: (1 << 52) - 1,
            }],
            ..Seen::default()
        });
        for line in [
            "spoolgate_audit_record{tenant=\"main\"} 7",
            "spoolgate_audit_fingerprint{tenant=\"main\"} 4503599627370495",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_said() {
        let text = Metrics::new(&tenants(1), usize::MAX).text(&Seen::default());
        assert!(!text.contains("spoolgate_spool_free_inodes"), "{text}");
        assert!(text.contains("\nspoolgate_healthy 0\n"), "{text}");
        assert!(!text.contains("spoolgate_oldest"), "{text}");
    }
}
