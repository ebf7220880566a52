//! Reply or fault → response.
//!
//! Whatever a client or a document chose is cut short and stripped of control characters before
//! it is shown, and every text answer ends its lines. What is shown comes from the reply or fault
//! alone; neither ever holds a path of the server.

use super::problem;
use crate::{
    api::{
        Payload,
        headers::{self, REPR_DIGEST, mark_replayed},
    },
    domain::{JobName, Kind, spaced},
    service::{Download, Fault, Reply},
    xml::Finding,
};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use std::fmt::Write;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Without a charset: the document's own declaration counts.
const XML: HeaderValue = HeaderValue::from_static("application/xml");
const X_JOB_NAME: HeaderName = HeaderName::from_static("x-job-name");
/// Longest piece of a client's or a document's text in an answer, in characters.
const SHOWN_CHARS_MAX: usize = 1000;

pub(super) fn reply(reply: Reply) -> Response<Payload> {
    match reply {
        Reply::Accepted {
            job,
            interface: _,
            bytes: _,
            sha256,
            replayed,
        } => accepted(&job, &sha256, replayed),
        Reply::Content(download) => content(download),
        Reply::Jobs(jobs) => text(StatusCode::OK, lines(&jobs)),
        Reply::Log(log) => response(StatusCode::OK, XML, Payload::Bytes(log.to_xml().into())),
        Reply::Valid { interface } => text(StatusCode::OK, format!("valid: {interface}\n")),
        Reply::Status(place) => text(StatusCode::OK, format!("{place}\n")),
        Reply::Transformed {
            content_type,
            body,
            head,
            completion,
        } => {
            let payload = Payload::of_transformed(body, head, completion);
            let untyped = HeaderValue::from_static("application/octet-stream");
            let content_type = HeaderValue::try_from(content_type).unwrap_or(untyped);
            response(StatusCode::OK, content_type, payload)
        }
        // The answers to what this dialect has no words for.
        Reply::Cancelled { .. }
        | Reply::Created { .. }
        | Reply::Result { .. }
        | Reply::Scheduled { .. }
        | Reply::Shown(_)
        | Reply::ShownSchedule { .. }
        | Reply::Shows(_)
        | Reply::Targets(_)
        | Reply::Token { .. } => fault(&Fault::Internal, false),
    }
}

/// `as_problem`: as JSON, which the request asks for.
pub(super) fn fault(fault: &Fault, as_problem: bool) -> Response<Payload> {
    let (status, said) = said(fault);
    let mut response = match as_problem {
        true => problem::response(status, &said, fault),
        false => text(status, said + "\n" + &finding_lines(findings_of(fault))),
    };
    let all = response.headers_mut();
    headers::mark_fault(all, fault);
    if let Fault::Refused { job, sha256, .. } = fault {
        all.insert(X_JOB_NAME, header(job.to_string()));
        if let Some(digest) = headers::repr_digest(sha256) {
            all.insert(REPR_DIGEST, digest);
        }
    }
    response
}

/// The status of a fault, and one line about it.
fn said(fault: &Fault) -> (StatusCode, String) {
    let bad = StatusCode::BAD_REQUEST;
    let (status, text) = match fault {
        Fault::Busy { reason, .. } => (StatusCode::SERVICE_UNAVAILABLE, reason.clone()),
        Fault::Conflict { reason } => (StatusCode::CONFLICT, reason.clone()),
        Fault::Field { field, reason } => (bad, format!("{field}: {reason}")),
        Fault::Forbidden { reason } => (StatusCode::FORBIDDEN, reason.clone()),
        Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".into()),
        Fault::Invalid { reason } => (bad, reason.clone()),
        Fault::MethodNotAllowed { allow } => (
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this path answers to {allow} only"),
        ),
        Fault::NoSuchPath => (StatusCode::NOT_FOUND, "no such path".into()),
        Fault::NotValid { .. } => (bad, "the document would be refused".into()),
        Fault::Refused { job, .. } => (
            bad,
            format!("{job}: the document was refused and kept in joberrors"),
        ),
        Fault::TimedOut => (
            StatusCode::REQUEST_TIMEOUT,
            "the request did not arrive in time".into(),
        ),
        Fault::TooLarge { bytes_max } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {bytes_max} bytes"),
        ),
        Fault::TooMany { reason, .. } => (StatusCode::TOO_MANY_REQUESTS, reason.clone()),
        Fault::Unauthorized => (
            StatusCode::UNAUTHORIZED,
            "a user and password of this server are needed".into(),
        ),
        Fault::UnknownFile { job, number } => (
            StatusCode::NOT_FOUND,
            format!("the job {job} has no file {number}"),
        ),
        Fault::UnknownInterface { interface } => (bad, format!("unknown interface {interface}")),
        Fault::UnknownJob { job } => (bad, format!("unknown job {job}")),
        Fault::UnknownTenant { tenant } => (
            StatusCode::NOT_FOUND,
            format!("no tenant is called {tenant}"),
        ),
        Fault::Unsupported { reason, .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason.clone()),
    };
    (status, shown(&text))
}

/// What is wrong with the document, if that is the fault.
pub(super) fn findings_of(fault: &Fault) -> &[Finding] {
    match fault {
        Fault::NotValid { findings } | Fault::Refused { findings, .. } => findings,
        Fault::Busy { .. }
        | Fault::Conflict { .. }
        | Fault::Field { .. }
        | Fault::Forbidden { .. }
        | Fault::Internal
        | Fault::Invalid { .. }
        | Fault::MethodNotAllowed { .. }
        | Fault::NoSuchPath
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::TooMany { .. }
        | Fault::Unauthorized
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownJob { .. }
        | Fault::UnknownTenant { .. }
        | Fault::Unsupported { .. } => &[],
    }
}

fn accepted(job: &JobName, sha256: &str, replayed: bool) -> Response<Payload> {
    let mut response = text(StatusCode::CREATED, format!("{job}\n"));
    let all = response.headers_mut();
    all.insert(X_JOB_NAME, header(job.to_string()));
    // A job's name consists of characters that stand for themselves in a query.
    all.insert(LOCATION, header(format!("/xml/jobstatus?Jobname={job}")));
    if let Some(digest) = headers::repr_digest(sha256) {
        all.insert(REPR_DIGEST, digest);
    }
    mark_replayed(all, replayed);
    response
}

fn content(download: Download) -> Response<Payload> {
    let content_type = match download.kind {
        Some(Kind::Json) => JSON,
        Some(Kind::Xml) | None => XML,
    };
    let mut response = response(
        StatusCode::OK,
        content_type,
        Payload::HeadOf(download.bytes()),
    );
    headers::describe(response.headers_mut(), &download);
    if !download.head {
        *response.body_mut() = Payload::File(download);
    }
    response
}

/// One finding a line.
fn finding_lines(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .map(|finding| shown(&finding.to_string()) + "\n");
    lines.collect()
}

fn lines(jobs: &[JobName]) -> String {
    // There may be a million, none of them longer than the first few suggest.
    let longest = jobs.iter().take(100).map(|job| job.to_string().len());
    let line_bytes = longest.max().unwrap_or_default() + 1;
    let mut lines = String::with_capacity(jobs.len() * line_bytes);
    for job in jobs {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{job}");
    }
    lines
}

fn text(status: StatusCode, body: String) -> Response<Payload> {
    response(status, TEXT, Payload::Bytes(Bytes::from(body)))
}

fn response(status: StatusCode, content_type: HeaderValue, body: Payload) -> Response<Payload> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// For values built from names and digests, whose characters a header can hold.
fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}

/// One line of what someone else wrote.
pub(super) fn shown(text: &str) -> String {
    let line = spaced(text);
    let mut shown: String = line.clone().take(SHOWN_CHARS_MAX).collect();
    if line.count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}
