//! What `/metrics` says beside the instruments: what is seen of the spools when somebody asks.
//!
//! To count jobs is to look at directories, of which there may be many. So no more than a twentieth of the time is
//! spent on it, and who asks waits a moment only: then he gets what was counted before.

use super::{About, tenant::Served};
use crate::{
    config::{Config, Tenant},
    http::{self, tls::Certificate},
    log::lost_lines,
    metrics::{AtPlace, Metrics, NewestRecord, Of, Place, Seen},
    store::{self, Capacity, Store},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// Jobs are counted at most so often …
const COUNTED_EVERY: Duration = Duration::from_secs(1);
/// … and after so many times as long as the last count took.
const PAUSE_FACTOR: u32 = 20;
/// Longer nobody waits for a count.
const PATIENCE: Duration = Duration::from_secs(2);

/// The instruments of a service with this configuration.
pub(super) fn metrics(config: &Config) -> Metrics {
    let interfaces = |tenant: &Tenant| {
        let names = tenant.interfaces.keys();
        names.map(ToString::to_string).collect()
    };
    let tenants = config.tenants.iter();
    let tenants: BTreeMap<String, Vec<String>> = tenants
        .map(|tenant| (tenant.name.clone(), interfaces(tenant)))
        .collect();
    Metrics::new(&tenants, config.metrics.series_max)
}

/// Answers those who ask for the metrics of a service.
pub(super) fn scrape(
    about: Arc<About>,
    metrics: Arc<Metrics>,
    certificate: Arc<Certificate>,
    served: &[Served],
) -> Arc<http::Scrape> {
    let spools = served.iter().map(|served| {
        let store: Arc<dyn Store> = served.store.clone();
        (served.name.clone(), store)
    });
    let scraper = Arc::new(Scraper {
        metrics,
        certificate,
        about,
        spools: spools.collect(),
        census: Census::default(),
    });
    Arc::new(move |is_healthy| {
        let scraper = scraper.clone();
        Box::pin(async move { scraper.text(is_healthy).await })
    })
}

struct Scraper {
    metrics: Arc<Metrics>,
    certificate: Arc<Certificate>,
    about: Arc<About>,
    /// By tenant.
    spools: Arc<[(String, Arc<dyn Store>)]>,
    census: Census,
}

/// Counts as often as is good, and one at a time.
#[derive(Default)]
struct Census {
    alone: Arc<tokio::sync::Mutex<()>>,
    last: Arc<Mutex<Counted>>,
}

/// What was seen of all spools at last.
#[derive(Clone, Default)]
struct Counted {
    at: Option<Instant>,
    took: Duration,
    jobs: Vec<AtPlace>,
    held: Vec<(Of, bool)>,
    audit: Vec<NewestRecord>,
    /// Of the spool with the fewest bytes.
    free: Option<Capacity>,
}

impl Counted {
    fn is_good(&self) -> bool {
        let pause = COUNTED_EVERY.max(self.took * PAUSE_FACTOR);
        self.at.is_some_and(|at| at.elapsed() < pause)
    }

    /// Adds what is seen of a tenant's spool. Of what cannot be read nothing is said.
    async fn add(&mut self, tenant: &str, store: &dyn Store) {
        let free = store.capacity().into_iter().chain(self.free);
        self.free = free.min_by_key(|free| free.free_bytes);
        match store.audit_head().await {
            Ok(head) => self.audit.extend(head.map(|head| NewestRecord {
                tenant: tenant.to_owned(),
                number: head.number,
                fingerprint: head.fingerprint(),
            })),
            Err(error) => tracing::debug!(tenant, %error, "the audit cannot be read"),
        }
        let counts = match store.counts().await {
            Ok(counts) => counts,
            Err(error) => {
                tracing::debug!(tenant, %error, "the jobs cannot be counted");
                return;
            }
        };
        for (place, jobs) in [
            (Place::JobErrors, counts.failed),
            (Place::Refused, counts.refused),
        ] {
            self.jobs.push(AtPlace {
                of: Of::tenant(tenant),
                place,
                jobs,
                oldest_ms: None,
            });
        }
        for (name, counts) in counts.of {
            let is_held = store.is_held(&name).await.unwrap_or(false);
            let of = Of::interface(tenant, name.as_str());
            self.held.push((of.clone(), is_held));
            let mut add = |place, at: store::AtPlace, is_waited_for| {
                let oldest = at.oldest.filter(|_| is_waited_for);
                self.jobs.push(AtPlace {
                    of: of.clone(),
                    place,
                    jobs: at.jobs,
                    oldest_ms: oldest.map(|job| job.unix_ms()),
                });
            };
            add(Place::Queue, counts.queued, !is_held);
            add(Place::Deferred, counts.deferred, !is_held);
            add(Place::Work, counts.running, true);
            add(Place::Bak, counts.done, false);
        }
    }
}

impl Census {
    /// What was counted at last: by `count`, if that is due now and does not take too long.
    async fn ask<Count>(&self, count: impl FnOnce() -> Count) -> Counted
    where
        Count: Future<Output = Counted> + Send + 'static,
    {
        if let Ok(alone) = self.alone.clone().try_lock_owned()
            && !self.last.lock().is_good()
        {
            let (last, counting) = (self.last.clone(), count());
            let counting = tokio::spawn(async move {
                let _alone = alone;
                let begun = Instant::now();
                let counted = counting.await;
                *last.lock() = Counted {
                    at: Some(Instant::now()),
                    took: begun.elapsed(),
                    ..counted
                };
            });
            // It goes on for who asks next.
            let _ = timeout(PATIENCE, counting).await;
        }
        self.last.lock().clone()
    }
}

impl Scraper {
    async fn text(&self, is_healthy: bool) -> String {
        let spools = self.spools.clone();
        let counted = self.census.ask(|| async move {
            let mut counted = Counted::default();
            for (tenant, store) in &*spools {
                counted.add(tenant, &**store).await;
            }
            counted
        });
        let Counted {
            jobs,
            held,
            audit,
            free,
            ..
        } = counted.await;
        let certificate = self.certificate.facts().ok();
        let configuration = &self.about.configuration;
        self.metrics.text(&Seen {
            is_healthy,
            certificate_expiry_s: certificate.map(|facts| facts.not_after_s),
            log_lines_lost: lost_lines(),
            events_pending: self.spools.iter().map(|(_, of)| of.pending_events()).sum(),
            free_bytes: free.map(|free| free.free_bytes),
            free_inodes: free.and_then(|free| free.free_files),
            reserve_bytes: configuration.in_force().limits.free_bytes_min,
            config_epoch: configuration.epoch(),
            jobs,
            held,
            audit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Pending, pending};
    use tokio::time::sleep;

    fn counted(jobs: usize) -> Counted {
        Counted {
            jobs: vec![AtPlace {
                of: Of::tenant("main"),
                place: Place::Refused,
                jobs,
                oldest_ms: None,
            }],
            ..Counted::default()
        }
    }

    fn never() -> Pending<Counted> {
        panic!("nobody is to count now")
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_takes_long_is_made_seldom() {
        let census = Census::default();
        let slow = |jobs| async move {
            sleep(Duration::from_secs(1)).await;
            counted(jobs)
        };
        assert_eq!(census.ask(|| slow(1)).await.jobs, counted(1).jobs);
        sleep(Duration::from_secs(19)).await;
        assert_eq!(census.ask(never).await.jobs, counted(1).jobs);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(census.ask(|| slow(2)).await.jobs, counted(2).jobs);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_waits_for_a_moment_and_is_told_what_was_known() {
        let census = Census::default();
        let begun = Instant::now();
        assert!(census.ask(pending).await.jobs.is_empty());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(census.ask(never).await.jobs.is_empty());
        assert_eq!(begun.elapsed(), PATIENCE, "one counts already");

        let census = Census::default();
        let late = async {
            sleep(PATIENCE * 2).await;
            counted(3)
        };
        assert!(census.ask(|| late).await.jobs.is_empty());
        sleep(PATIENCE * 2).await;
        assert_eq!(census.ask(never).await.jobs, counted(3).jobs);
    }
}
