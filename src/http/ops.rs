//! The answers that need no dialect: what is said to HTTP without TLS, and the operations port with its
//! probes and metrics.
//!
//! Neither reads credentials or a body. On the plain port they may stand there in clear
//! text because a client is misconfigured; the less is done with them the better.

use super::{
    access::AccessLine,
    activity::ConnectionActivity,
    body::Body,
    request::{self, CutOff},
};
use crate::{
    api::Payload,
    metrics::{self, Requests},
};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE},
};
use hyper::body::{Body as _, Incoming};
use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

/// How the service is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Why no partner can be served.
    pub down: Option<String>,
    /// What else is wrong, each in a sentence, …
    pub warnings: Vec<String>,
    /// … and which interfaces are held.
    pub holds: Vec<String>,
}

/// Reports how the service is. Whoever waits no longer leaves it to its end.
pub(crate) type Readiness = dyn Fn() -> Pin<Box<dyn Future<Output = Report> + Send>> + Send + Sync;

/// What is measured, as text; of a service that can serve its partners, or not.
pub(crate) type Scrape = dyn Fn(bool) -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync;

/// What the operations port answers with.
pub(crate) struct Ops {
    pub readiness: Arc<Readiness>,
    pub scrape: Arc<Scrape>,
}

/// A disk that takes longer to answer serves no one.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where someone speaks HTTP without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InClear {
    /// On the port that is there to say so.
    PlainPort,
    TlsPort,
}

impl InClear {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            // Source: the dStore contract, "Errors".
            Self::PlainPort => (StatusCode::FORBIDDEN, "use https\n"),
            Self::TlsPort => (
                StatusCode::BAD_REQUEST,
                "this port speaks https: write https:// in place of http://\n",
            ),
        }
    }
}

/// What the requests of a connection without TLS have in common.
pub(super) struct InClearContext {
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) metrics: Requests,
    pub(super) peer: SocketAddr,
    pub(super) place: InClear,
}

pub(super) async fn use_https(
    context: Arc<InClearContext>,
    request: Request<Incoming>,
) -> Result<Response<Body>, CutOff> {
    let activity = &context.activity;
    let running = activity.begin();
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        activity.leave_body_unread();
    }
    let request_id = request::request_id(&head);
    let mut access = AccessLine::begin(&head, context.peer.into(), request_id, &context.metrics);
    let (status, line) = context.place.answer();
    let mut response = request::text(status, line);
    if head.version != Version::HTTP_2 {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    access.status = Some(response.status());
    access.fault = "plain_http";
    Ok(request::finish(response, &head.method, access, running))
}

pub(super) async fn answer(
    context: Arc<(Arc<ConnectionActivity>, Arc<Ops>)>,
    request: Request<Incoming>,
) -> Result<Response<Body>, CutOff> {
    let (activity, ops) = &*context;
    let _running = activity.begin();
    if !request.body().is_end_stream() {
        activity.leave_body_unread();
    }
    let response = match (request.uri().path(), request.method()) {
        ("/livez" | "/metrics" | "/readyz", method)
            if method != Method::GET && method != Method::HEAD =>
        {
            let mut refused = request::text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            refused
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        ("/livez", _) => request::text(StatusCode::OK, "ok\n"),
        ("/readyz", _) => {
            let query = request.uri().query().unwrap_or_default();
            let asked = |what| query.split('&').any(|part| part == what);
            let mut report = ops.report().await;
            if asked("holds=no") {
                report.holds.clear();
            }
            ready(&report, asked("strict"))
        }
        ("/metrics", _) => {
            let is_healthy = ops.report().await.down.is_none();
            let mut response = request::text(StatusCode::OK, (ops.scrape)(is_healthy).await);
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => request::text(StatusCode::NOT_FOUND, "no such path\n"),
    };
    Ok(response.map(|payload: Payload| Body::new(payload)))
}

impl Ops {
    async fn report(&self) -> Report {
        let check = tokio::spawn((self.readiness)());
        match tokio::time::timeout(CHECK_TIMEOUT, check).await {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => unknown("checking the service's state panicked; see the log"),
            Err(_) => unknown("the disk does not answer; check it, then restart"),
        }
    }
}

fn unknown(reason: &str) -> Report {
    Report {
        down: Some(reason.to_owned()),
        ..Report::default()
    }
}

/// 503 when no one can be served, or `strict` and anything is wrong.
fn ready(report: &Report, strict: bool) -> Response<Payload> {
    let warnings = report.warnings.iter().chain(&report.holds);
    let bad = report.down.is_some() || (strict && warnings.clone().next().is_some());
    let status = match bad {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    let mut text = match &report.down {
        Some(reason) => format!("{reason}\n"),
        None if bad => String::new(),
        None => "ok\n".to_owned(),
    };
    for warning in warnings {
        text.push_str("warning: ");
        text.push_str(warning);
        text.push('\n');
    }
    request::text(status, text)
}
