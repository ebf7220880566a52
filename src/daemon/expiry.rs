//! Tells receivers of events each day that the certificate expires soon.

use crate::{
    http::tls::Certificate,
    store::{
        Store,
        events::{Event, EventKind},
    },
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// One of our own making is renewed before that.
const SOON_DAYS: i64 = 14;
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Looks until `stop`.
pub(super) async fn run(
    certificate: Arc<Certificate>,
    stores: Vec<Arc<dyn Store>>,
    stop: CancellationToken,
) {
    loop {
        if let Some((event, key)) = expiring(&certificate, Timestamp::now()) {
            for store in &stores {
                if let Err(error) = store.record_event(&event, &key).await {
                    tracing::warn!(%error, "that the certificate expires cannot be recorded");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// What is to be told, and by what it is known: the certificate and the day.
fn expiring(certificate: &Certificate, now: Timestamp) -> Option<(Event, String)> {
    let facts = certificate.facts().ok()?;
    let days = facts.days_left(now.as_second());
    let expires = Timestamp::from_second(facts.not_after_s).ok()?;
    let event = Event::new(EventKind::CertificateExpiring, now.as_millisecond())
        .with("subject", facts.subject)
        .with("expires", expires.to_string())
        .with("days_left", days);
    (days < SOON_DAYS).then(|| (event, format!("{expires}/{days}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tls;

    #[test]
    fn it_is_told_once_a_day_from_two_weeks_before_the_end_on() {
        let dir = tempfile::tempdir().unwrap();
        tls::generate(dir.path(), &["localhost".into()]).unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = Certificate::load(&at(tls::CERTIFICATE_FILE), &at(tls::KEY_FILE)).unwrap();
        let end_s = made.facts().unwrap().not_after_s;
        let told = |days: i64| {
            let now = Timestamp::from_second(end_s - days * 86_400).unwrap();
            expiring(&made, now)
        };
        assert!(told(14).is_none());
        let (event, key) = told(13).unwrap();
        assert_eq!(event.data["days_left"], 13);
        assert_ne!(told(12).unwrap().1, key);
        assert_eq!(told(-1).unwrap().0.data["days_left"], -1);
    }
}
