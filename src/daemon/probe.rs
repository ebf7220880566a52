//! What `/readyz` says: everything that keeps partners from being served.
//!
//! A probe costs a few calls per interface, so its outcome is valid for a second, and one probe goes
//! on at a time: many who ask cost no more than one.

use super::{About, host_name, supervise::Supervisor, tenant::Served};
use crate::{
    http::tls,
    log::lost_lines,
    ops::health::{
        self, Grade, HealthFinding, Readiness, Report,
        gather::{CertificateSource, StoreFacts, TenantSource, facts},
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinError};
use tokio_util::sync::CancellationToken;

const GOOD_FOR: Duration = Duration::from_secs(1);

/// What is probed.
pub(super) struct Probed {
    pub(super) certificate: Arc<tls::Certificate>,
    pub(super) served: Vec<Served>,
    pub(super) supervisor: Supervisor,
    pub(super) about: Arc<About>,
}

/// Not ready while stopping. What is wrong now goes into the log.
pub(super) fn readiness(probed: Probed, stop: &CancellationToken) -> Arc<Readiness> {
    let prober = Arc::new(Prober {
        probed: Arc::new(probed),
        stop: stop.clone(),
        last: Mutex::default(),
    });
    let first = prober.clone();
    tokio::spawn(async move { log(&first.report().await) });
    Arc::new(move || {
        let prober = prober.clone();
        Box::pin(async move { prober.report().await })
    })
}

/// Probes, one probe at a time.
struct Prober {
    probed: Arc<Probed>,
    stop: CancellationToken,
    last: Mutex<Option<(Instant, Report)>>,
}

impl Prober {
    async fn report(&self) -> Report {
        if let Some(failure) = self.probed.supervisor.failure() {
            return Report::down(failure);
        }
        if self.stop.is_cancelled() {
            return Report::down("stopping");
        }
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return report.clone();
        }
        let report = self.probed.report().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

fn log(report: &Report) {
    if let Some(reason) = &report.down {
        tracing::error!("no partner can be served: {reason}");
    }
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
}

impl Probed {
    async fn report(self: &Arc<Self>) -> Report {
        let mut stores = Vec::new();
        for served in &self.served {
            stores.push(served.store_facts().await);
        }
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.report_with(stores));
        match read.await.map_err(JoinError::try_into_panic) {
            Ok(report) => report,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Report::down("stopping"),
        }
    }

    /// The same, when the stores have said how they are. Blocks.
    fn report_with(&self, stores: Vec<StoreFacts>) -> Report {
        let config = self.about.configuration.in_force();
        let configured = self.about.configuration.served(&config);
        let served = self.served.iter().zip(configured).zip(stores);
        let tenants: Vec<TenantSource<'_>> = served
            .map(|((served, tenant), store)| served.source(tenant, store))
            .collect();
        let host_name = host_name();
        let certificate = CertificateSource {
            in_force: Some(&self.certificate),
            trouble: self.served.first().and_then(Served::certificate_trouble),
            host_name: host_name.as_deref(),
        };
        let findings = health::judge(&facts(&config, &certificate, &tenants));
        let down = health::down(&findings, tenants.len());
        let others = findings.iter().filter(|finding| Some(*finding) != down);
        let mut warnings: Vec<HealthFinding> = others.cloned().collect();
        let own = self.supervisor.warnings().into_iter();
        let own = own.chain(self.about.clock.warning());
        let own = own.chain(self.about.configuration.unserved());
        let own = own.chain(self.about.configuration.warning());
        let own = own.chain(log_warning(lost_lines()));
        warnings.extend(own.map(|text| HealthFinding::of_process(Grade::Warning, text)));
        Report {
            down: down.cloned(),
            warnings,
        }
    }
}

fn log_warning(n_lines: u64) -> Option<String> {
    let text = format!("{n_lines} log lines were lost since the start");
    (n_lines > 0).then(|| text + ": standard error cannot be written to")
}
