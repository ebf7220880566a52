//! The clock of what is expected from partners: judges each deadline once its window has closed.
//!
//! An event is recorded once for a deadline, whoever judges it how often. So nothing is kept of what has been judged, and a
//! start judges the deadlines of the last days again.

use super::configuration::Configuration;
use crate::{
    config::Config,
    cron_schedule::{Expectation, Verdict, Window},
    domain::{InterfaceName, joblog::rfc3339},
    metrics,
    ops::arrivals::{arrived, to_judge},
    store::{
        Store, StoreError,
        events::{Event, EventKind},
    },
};
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the deadlines are looked at: the clock may be set, and another configuration be taken.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What this process knows of the expectations of a tenant.
pub(super) struct Arrivals {
    pub(super) tenant: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: metrics::Tenant,
    /// By the text of the expectation.
    pub(super) known: BTreeMap<String, Judged>,
}

pub(super) struct Judged {
    interface: InterfaceName,
    /// The last deadline that was judged by this process.
    through: Option<Timestamp>,
    /// Was it not met?
    is_missing: bool,
}

/// Judges deadlines until `stop`.
pub(super) async fn run(
    mut arrivals: Arrivals,
    configuration: Arc<Configuration>,
    stop: CancellationToken,
) {
    loop {
        let config = configuration.in_force();
        let wait = arrivals.look(&config, Timestamp::now()).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Arrivals {
    /// Judges what is due. Gives how long to wait for what is next.
    async fn look(&mut self, config: &Config, now: Timestamp) -> Duration {
        let tenant = config.tenants.iter().find(|of| of.name == self.tenant);
        let expectations = tenant.map_or(&[][..], |tenant| &tenant.expectations);
        self.forget_others(expectations);
        let mut wait = LOOK_EVERY;
        for expectation in expectations {
            if let Err(error) = self.judge(expectation, now).await {
                tracing::warn!(%expectation, %error, "cannot be judged; tried again");
            }
            if let Some(next) = expectation.deadlines.open_at(now) {
                let left = next.until.duration_since(now);
                wait = wait.min(Duration::try_from(left).unwrap_or_default());
            }
        }
        wait
    }

    /// What is not expected any more is not missing.
    fn forget_others(&mut self, expectations: &[Expectation]) {
        let texts: Vec<String> = expectations.iter().map(ToString::to_string).collect();
        let metrics = &self.metrics;
        self.known.retain(|text, judged| {
            let stays = texts.contains(text);
            if !stays && judged.is_missing {
                metrics.arrivals_missing(judged.interface.as_str(), false);
            }
            stays
        });
    }

    /// Judges the deadlines whose windows have closed.
    ///
    /// # Errors
    /// When the store cannot be read or written. The deadlines that remain are judged next time.
    async fn judge(&mut self, expectation: &Expectation, now: Timestamp) -> Result<(), StoreError> {
        let judged = self.known.entry(expectation.to_string());
        let judged = judged.or_insert_with(|| Judged {
            interface: expectation.interface.clone(),
            through: None,
            is_missing: false,
        });
        let through = match judged.through {
            Some(through) => through,
            // Nothing was due before there was the interface.
            None => {
                let since_ms = self.store.served_since_ms(&judged.interface).await?;
                Timestamp::from_millisecond(since_ms).unwrap_or(Timestamp::MIN)
            }
        };
        for window in to_judge(expectation, through, now) {
            let documents = arrived(expectation, &*self.store, window).await?;
            let verdict = expectation.judge(documents);
            let is_missing = verdict != Verdict::Met;
            if is_missing {
                report(expectation, &*self.store, window, (documents, verdict)).await?;
            }
            if is_missing != judged.is_missing {
                self.metrics
                    .arrivals_missing(judged.interface.as_str(), is_missing);
            }
            judged.is_missing = is_missing;
            judged.through = Some(window.deadline);
        }
        Ok(())
    }
}

/// Tells who wants to know of a deadline that was not met.
async fn report(
    expectation: &Expectation,
    store: &dyn Store,
    window: Window,
    (documents, verdict): (u64, Verdict),
) -> Result<(), StoreError> {
    let Expectation {
        interface,
        submitter,
        at_least,
        at_most,
        ..
    } = expectation;
    let deadline = rfc3339(window.deadline.as_millisecond());
    let verdict = verdict.as_str();
    tracing::warn!(
        %interface, submitter, deadline, documents, at_least, at_most, verdict,
        "not what is expected"
    );
    let event = Event::new(EventKind::ArrivalMissing, window.until.as_millisecond())
        .about(Some(interface))
        .with("submitter", submitter.as_str())
        .with("deadline", deadline.as_str())
        .with("documents", documents)
        .with("at_least", *at_least)
        .with_known("at_most", *at_most)
        .with("verdict", verdict);
    let key = format!("{expectation} {deadline}");
    store.record_event(&event, &key).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Kind,
        store::{
            NewJob, NewName,
            events::{Wants, WhichEvents},
            memory::MemoryStore,
        },
    };
    use serde_json::json;
    use std::path::Path;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn config(expected: &str) -> Config {
        let interfaces = "[interfaces.orders_in]\ndirection = \"in\"\nroot = \"A\"\n";
        Config::parse(
            &format!("{interfaces}{expected}"),
            Path::new("/x/spoolgate.toml"),
        )
        .unwrap()
    }

    /// The store as it is from then on, with somebody who wants to know what is missing.
    fn store(begun: &str) -> MemoryStore {
        let begun_ms = at(begun).as_millisecond();
        let wants = Wants {
            receiver: "pager".into(),
            on: [EventKind::ArrivalMissing].into(),
            interfaces: [].into(),
        };
        let store = MemoryStore::new(Arc::new(move || begun_ms));
        let store = store.with_interfaces(["orders_in".parse().unwrap()]);
        store.with_receivers(vec![wants])
    }

    /// Those who judge, as after a start.
    fn arrivals(store: &MemoryStore) -> Arrivals {
        Arrivals {
            tenant: "default".into(),
            store: Arc::new(store.restart()),
            metrics: metrics::Tenant::default(),
            known: BTreeMap::new(),
        }
    }

    async fn send(store: &dyn Store, submitter: &str) {
        let mut upload = store.begin(NewName {
            kind: Kind::Xml,
            reference: None,
        });
        upload.append("<A/>".into()).await.unwrap();
        let sealed = upload.seal().await.unwrap();
        let job = NewJob {
            submitter: submitter.into(),
            ..NewJob::default()
        };
        let to = "orders_in".parse().unwrap();
        store.commit(sealed, job, &to, None).await.unwrap();
    }

    async fn told(store: &dyn Store) -> Vec<serde_json::Value> {
        let events = store.events(&WhichEvents::default()).await.unwrap();
        let data = events.into_iter().map(|record| record.event.data.into());
        data.collect()
    }

    const BY_SIX: &str =
        "[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"shop\"\nby = \"06:00\"\n";

    #[tokio::test]
    async fn a_deadline_is_told_once_whoever_judges_it_how_often() {
        let (config, store) = (config(BY_SIX), store("2026-11-27T05:00:00Z"));
        send(&store, "shop").await;
        send(&store, "other").await;
        let mut first = arrivals(&store);
        let is_missing = |judges: &Arrivals| judges.known.values().all(|of| of.is_missing);
        first.look(&config, at("2026-11-27T06:00:00Z")).await;
        assert!(!is_missing(&first));
        assert_eq!(told(&*first.store).await, [json!(null); 0], "one came");
        first.look(&config, at("2026-11-28T05:59:59Z")).await;
        assert_eq!(told(&*first.store).await.len(), 0, "there is time left");
        first.look(&config, at("2026-11-28T06:00:00Z")).await;
        assert!(is_missing(&first));
        let expected = json!({
            "interface": "orders_in", "submitter": "shop", "deadline": "2026-11-28T06:00:00.000Z",
            "documents": 0, "at_least": 1, "verdict": "too_few",
        });
        assert_eq!(told(&*first.store).await, std::slice::from_ref(&expected));
        first.look(&config, at("2026-11-28T06:00:10Z")).await;
        let Arrivals { store, .. } = first;
        let mut second = Arrivals {
            tenant: "default".into(),
            store,
            metrics: metrics::Tenant::default(),
            known: BTreeMap::new(),
        };
        second.look(&config, at("2026-11-28T07:00:00Z")).await;
        assert!(is_missing(&second), "known again after a start");
        assert_eq!(told(&*second.store).await, std::slice::from_ref(&expected));
        // The service was down for one.
        second.look(&config, at("2026-11-30T07:00:00Z")).await;
        assert_eq!(told(&*second.store).await.len(), 3, "one for each deadline");
    }

    #[tokio::test]
    async fn nothing_is_missing_that_was_due_before_there_was_an_interface() {
        let (config, store) = (config(BY_SIX), store("2026-11-27T06:30:00Z"));
        let mut arrivals = arrivals(&store);
        let wait = arrivals.look(&config, at("2026-11-27T06:30:00Z")).await;
        assert_eq!(told(&*arrivals.store).await.len(), 0);
        assert_eq!(wait, LOOK_EVERY);
        let wait = arrivals.look(&config, at("2026-11-28T05:59:58Z")).await;
        assert_eq!(wait, Duration::from_secs(2), "until the window closes");
    }

    #[tokio::test]
    async fn another_configuration_counts_at_once() {
        let store = store("2026-11-27T05:00:00Z");
        let mut arrivals = arrivals(&store);
        let now = at("2026-11-27T06:00:00Z");
        arrivals.look(&config(BY_SIX), now).await;
        assert_eq!(arrivals.known.len(), 1);
        arrivals.look(&config(""), now).await;
        assert_eq!(arrivals.known.len(), 0);
    }
}
