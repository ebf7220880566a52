//! The figures that every page has: of the whole spool for operators, of his own jobs for a partner.

use super::{
    look::{Html, bytes, count, mark, number},
    visit::Visit,
};
use crate::{
    auth::Right,
    domain::{JobId, PlaceKind},
    ops::health::Report,
    service::Direction,
    store::{Filter, State, StoreError, Tally},
};
use askama::Template;
use std::time::Duration;

/// How many are done in a minute is told of the last so many.
const RATE_MINUTES: usize = 5;
/// Longer no page waits for what the probes say.
const PATIENCE: Duration = Duration::from_secs(2);
/// Below so many days a certificate is about to end.
const CERTIFICATE_DAYS: i64 = 30;

/// One of them.
#[derive(Template, Default)]
#[template(path = "figure.html")]
pub(super) struct Figure {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) value: Html,
    /// Where the jobs are that it counts.
    pub(super) href: Option<String>,
    pub(super) class: &'static str,
    /// Behind the value, in small letters.
    pub(super) small: String,
    pub(super) title: String,
}

impl Figure {
    fn jobs(id: &'static str, label: &'static str, n: usize, href: String) -> Self {
        Self {
            id,
            label,
            value: Html(number(n as u64)),
            href: (n > 0).then_some(href),
            class: if n == 0 { "z" } else { "" },
            ..Self::default()
        }
    }

    /// The same of what is bad.
    fn bad_jobs(id: &'static str, label: &'static str, n: usize, href: String) -> Self {
        let class = if n == 0 { "z" } else { "bad" };
        Self {
            class,
            ..Self::jobs(id, label, n, href)
        }
    }
}

/// Those of the spool, and what keeps partners from being served.
pub(super) async fn of_spool(visit: &Visit<'_>) -> (Vec<Figure>, Option<String>) {
    let report = visit.report().await;
    let down = report.down.as_ref().map(ToString::to_string);
    let Ok(picture) = visit.picture().await else {
        let note = down.unwrap_or("the spool cannot be read; see the log".into());
        return (Vec::new(), Some(note));
    };
    let (queued, running, _) = picture.active();
    let today = picture.all_today();
    let jobs = |place| visit.to("jobs", [("place", Some(place))]);
    let mut bar = vec![
        Figure::jobs("b-queued", "queued", queued, jobs("queued")),
        Figure {
            small: format!("of {}", visit.config.limits.running_max),
            ..Figure::jobs("b-running", "running", running, jobs("running"))
        },
        Figure::bad_jobs(
            "b-failed",
            "failed today",
            today.failed as usize,
            jobs("failed"),
        ),
        Figure::jobs(
            "b-refused",
            "refused today",
            today.refused as usize,
            jobs("refused"),
        ),
        Figure::jobs("b-done", "done today", today.done as usize, jobs("done")),
        rate(&picture.activity.all.minutes(visit.clock.now_ms)),
        oldest(visit, picture.oldest.waiting.map(JobId::unix_ms)),
    ];
    if let Some(free) = picture.free {
        let reserve = visit.config.limits.free_bytes_min;
        let spare = free.free_bytes.saturating_sub(reserve);
        bar.push(Figure {
            id: "b-disk",
            label: "disk to spare",
            value: Html(bytes(spare)),
            class: if spare == 0 { "bad" } else { "" },
            title: format!(
                "{} free, {} kept in reserve",
                bytes(free.free_bytes),
                bytes(reserve)
            ),
            ..Figure::default()
        });
    }
    bar.extend(certificate(visit));
    bar.push(health(visit, &report));
    bar.push(Figure {
        id: "b-epoch",
        label: "config epoch",
        value: Html(number((visit.ui.epoch)())),
        title: "configurations taken since the start".into(),
        ..Figure::default()
    });
    (bar, down)
}

/// How many are done in a minute, of late.
fn rate(minutes: &[Tally]) -> Figure {
    let last = &minutes[minutes.len().saturating_sub(RATE_MINUTES)..];
    let done: u32 = last.iter().map(|minute| minute.done).sum();
    let per_minute = f64::from(done) / last.len().max(1) as f64;
    Figure {
        id: "b-rate",
        label: "done per min",
        value: Html(match per_minute {
            ..10.0 if done > 0 => format!("{per_minute:.1}"),
            _ => number(per_minute.round() as u64),
        }),
        class: if done == 0 { "z" } else { "" },
        title: format!("over the last {} minutes", last.len()),
        ..Figure::default()
    }
}

fn oldest(visit: &Visit<'_>, oldest_ms: Option<i64>) -> Figure {
    let (value, class) = match oldest_ms {
        None => (Html("–".into()), "z"),
        Some(ms) => (visit.clock.age(ms), visit.clock.lateness(ms)),
    };
    Figure {
        id: "b-oldest",
        label: "oldest waits",
        href: oldest_ms.map(|_| visit.to("jobs", [("place", Some("queued"))])),
        value,
        class,
        ..Figure::default()
    }
}

fn certificate(visit: &Visit<'_>) -> Option<Figure> {
    let facts = visit.ui.certificate.facts().ok()?;
    let days = facts.days_left(visit.clock.now_ms.div_euclid(1000));
    Some(Figure {
        id: "b-cert",
        label: "certificate",
        value: Html(format!("{days} d")),
        class: if days < CERTIFICATE_DAYS { "late" } else { "" },
        title: format!("ends {}", visit.clock.full(facts.not_after_s * 1000)),
        ..Figure::default()
    })
}

fn health(visit: &Visit<'_>, report: &Report) -> Figure {
    let n_warnings = report.warnings.len();
    let value = match (&report.down, n_warnings) {
        (Some(_), _) => mark("failed", "down"),
        (None, 0) => mark("done", "well"),
        (None, _) => mark("warning", "look"),
    };
    Figure {
        id: "b-health",
        label: "health",
        value,
        href: Some(visit.to("", [])),
        title: count(n_warnings, "warning"),
        ..Figure::default()
    }
}

impl Visit<'_> {
    /// What the probes say of the service, to operators of the default tenant; to others what they say of theirs.
    pub(super) async fn report(&self) -> Report {
        let report = match tokio::time::timeout(PATIENCE, (self.ui.readiness)()).await {
            Ok(report) => report,
            Err(_) => Report::down("the disk does not answer; check it, then restart"),
        };
        match self.sees_service {
            true => report,
            false => report.of_tenant(&self.spool.name),
        }
    }
}

/// Those of a partner's own jobs.
pub(super) async fn of_partner(visit: &Visit<'_>) -> Vec<Figure> {
    let Ok(own) = own(visit).await else {
        return Vec::new();
    };
    let user = &*visit.caller.user;
    let jobs = |place| visit.to("jobs", [("place", Some(place)), ("submitter", Some(user))]);
    vec![
        Figure::jobs("b-waiting", "waiting", own.waiting, jobs("queued")),
        Figure::jobs("b-running", "running", own.running, jobs("running")),
        Figure::jobs("b-done", "done today", own.done, jobs("done")),
        Figure::bad_jobs("b-failed", "failed today", own.failed, jobs("failed")),
        Figure::jobs("b-refused", "refused today", own.refused, jobs("refused")),
        Figure::jobs(
            "b-fetch",
            "to fetch",
            own.to_fetch,
            visit.to("", []) + "#fetch",
        ),
    ]
}

/// What there is of a partner.
#[derive(Default)]
struct Own {
    waiting: usize,
    running: usize,
    to_fetch: usize,
    /// Of those that came today.
    done: usize,
    failed: usize,
    refused: usize,
}

async fn own(visit: &Visit<'_>) -> Result<Own, StoreError> {
    let (store, viewer) = (&visit.spool.store, visit.viewer());
    let mut own = Own::default();
    let mine = Filter {
        submitter: Some(visit.caller.user.to_string()),
        ..Filter::default()
    };
    let active = Filter {
        at: PlaceKind::ACTIVE.to_vec(),
        ..mine.clone()
    };
    let active = store.list(&viewer, &active, None, usize::MAX).await?;
    for summary in active.jobs {
        match summary.state {
            State::Running => own.running += 1,
            State::Waiting | State::Done | State::Failed | State::Cancelled => own.waiting += 1,
        }
    }
    let ended = Filter {
        at: vec![PlaceKind::Bak, PlaceKind::JobErrors, PlaceKind::Refused],
        since_ms: Some(visit.clock.midnight_ms()),
        ..mine
    };
    let ended = store.list(&viewer, &ended, None, usize::MAX).await?;
    for summary in ended.jobs {
        match summary.job.place.kind() {
            PlaceKind::Bak => own.done += 1,
            PlaceKind::Refused => own.refused += 1,
            PlaceKind::JobErrors | PlaceKind::Deferred | PlaceKind::Queue | PlaceKind::Work => {
                own.failed += 1;
            }
        }
    }
    for (interface, about) in &visit.interfaces {
        let may_fetch = visit.caller.may(Right::Download, interface);
        if about.direction == Direction::Out && may_fetch {
            let waiting = Filter {
                interface: Some(interface.clone()),
                at: vec![PlaceKind::Queue],
                ..Filter::default()
            };
            let page = store.list(&viewer, &waiting, None, usize::MAX).await?;
            own.to_fetch += page.jobs.len();
        }
    }
    Ok(own)
}
