//! One request, from its head to its answer.
//!
//! Order: host → virtual host, path → dialect, credentials, then everything else. Nothing is read of a
//! body before the caller is known and, for a job, before the service has admitted it; so a
//! client that sent `Expect: 100-continue` and is refused never sends its job.
//!
//! If the client leaves, hyper drops the future of [`answer`], and with it an [`Upload`] that has
//! not been committed. A commit that has begun is the service's and runs to its end. A panic is
//! caught here and becomes a 500.
//!
//! [`Upload`]: crate::service::Upload

use super::{
    Choice, Hosts, Limits, Ui, VirtualHost,
    accept::Registration,
    access::{AccessLine, Peer},
    activity::{ConnectionActivity, Running},
    body::Body,
    body_reader::{BodyError, BodyReader},
    credentials::{self, AuthFailure, Rejection, challenge},
    media, range, ui,
};
use crate::{
    api::{self, Credentials, Dialect, Intake, Payload},
    auth::{Caller, Users},
    domain::JobName,
    metrics::{Login, Requests},
    peer::{self, Contradiction},
    service::{Command, Fault, Reply, Submit, TokenRequest},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, EXPECT, FORWARDED, HOST, LINK, ORIGIN, RETRY_AFTER,
        STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const OPENAPI_PATH: &str = "/openapi.json";
/// What a person sees who opens the server in a browser.
const WELCOME: &str = "\
This is spoolgate, a gateway that takes jobs in and gives them out.

/openapi.json   describes all that can be asked of it
/xml/           XML documents: upload, jobqueue, job, joblog, jobstatus, validate
/scheduler/     processes, now or at moments to come
/patients/      compositions
/api/v1/        tasks and their files
/webapi/        jobs of workflows
";

/// What the requests of one connection have in common.
pub(super) struct Context {
    pub(super) limits: Arc<Limits>,
    pub(super) peer: SocketAddr,
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) metrics: Requests,
    /// The host that the TLS handshake named.
    pub(super) server_name: Option<String>,
    pub(super) hosts: Hosts,
    /// What people see in a browser; `None`: there is nothing.
    pub(super) ui: Option<Arc<dyn Ui>>,
    pub(super) registration: Registration,
}

/// The request broke off: there is no one to answer.
#[derive(Debug, thiserror::Error)]
#[error("the request broke off")]
pub(super) struct CutOff;

/// Why a request has no reply.
enum Stop {
    CutOff,
    Fault(Fault),
    /// No one is known to send it.
    Unknown(AuthFailure),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Rejection> for Stop {
    fn from(refused: Rejection) -> Self {
        match refused {
            Rejection::Slow { retry_after_s } => Self::Fault(Fault::TooMany {
                retry_after_s,
                reason: "too many logins; try again later".into(),
            }),
            Rejection::Unknown(failure) => Self::Unknown(failure),
        }
    }
}

pub(super) async fn answer(
    context: Arc<Context>,
    request: Request<Incoming>,
) -> Result<Response<Body>, CutOff> {
    let running = context.activity.begin();
    let (mut head, mut body) = request.into_parts();
    let request_id = request_id(&head);
    // A dialect may show it.
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        head.headers.insert(X_REQUEST_ID, value);
    }
    let peer = peer_of(&context, &head);
    let shown = peer.unwrap_or(context.peer.into());
    let mut access = AccessLine::begin(&head, shown, request_id, &context.metrics);
    let mut reader = BodyReader::new(&mut body, &context.limits, &context.activity);
    let mut response = match peer {
        Ok(peer) => respond(&context, peer.client, &head, &mut reader, &mut access).await?,
        Err(contradiction) => {
            let line = format!("{contradiction}\n");
            access.wrong(&line);
            text(StatusCode::BAD_REQUEST, line)
        }
    };
    access.bytes_in = reader.n_bytes;
    if !reader.is_finished() {
        context.activity.leave_body_unread();
        if head.version == Version::HTTP_2 {
            tokio::spawn(discard(body, context.clone()));
        } else {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
    access.status = Some(response.status());
    protect(response.headers_mut());
    Ok(finish(response, &head.method, access, running))
}

/// Who sends a request.
fn peer_of(context: &Context, head: &Parts) -> Result<Peer, Contradiction> {
    let all = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let client = peer::client(
        context.peer.ip(),
        &context.limits.trusted_proxies,
        all(FORWARDED),
        all(X_FORWARDED_FOR),
    )?;
    Ok(Peer {
        client,
        socket: context.peer,
    })
}

/// Makes browsers stay with TLS, and run nothing that a document or a stylesheet's result might
/// hold: partners wrote it. What says itself what it may do, keeps that.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// Reads and drops the rest of a body for a short time. HTTP/2 resets a stream whose body no one
/// wants any more, and some clients then lose the answer that explains why.
async fn discard(mut body: Incoming, context: Arc<Context>) {
    let rest = async {
        while let Some(Ok(_)) = body.frame().await {
            context.activity.moved();
        }
    };
    // Too long: the reset is what such a client gets.
    let _ = tokio::time::timeout(context.limits.lingering_close_timeout, rest).await;
}

/// The response with the headers that all have, and with what is due when it ends.
pub(super) fn finish(
    response: Response<Payload>,
    method: &Method,
    access: AccessLine,
    running: Running,
) -> Response<Body> {
    let (mut parts, payload) = response.into_parts();
    // The answer to HEAD has no body, and never completes the fetching of a job.
    let n_bytes = match &payload {
        Payload::Bytes(bytes) | Payload::Completing(bytes, _) => Some(bytes.len() as u64),
        Payload::File(download) => Some(download.bytes()),
        Payload::HeadOf(n_bytes) => Some(*n_bytes),
        Payload::Stream(_) => None,
    };
    let payload = match *method {
        Method::HEAD => Payload::HeadOf(n_bytes.unwrap_or_default()),
        _ => payload,
    };
    let headers = &mut parts.headers;
    if let Some(n_bytes) = n_bytes.filter(|_| parts.status != StatusCode::NOT_MODIFIED) {
        headers.insert(CONTENT_LENGTH, n_bytes.into());
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(request_id) = HeaderValue::from_str(&access.request_id) {
        headers.insert(X_REQUEST_ID, request_id);
    }
    Response::from_parts(parts, Body::new(payload).carry(access, running))
}

/// A one-line answer outside of every dialect.
pub(super) fn text(status: StatusCode, line: impl Into<Bytes>) -> Response<Payload> {
    let mut response = Response::new(Payload::Bytes(line.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// What anyone may ask: what this server is, and its descriptions. `None`: no such path.
fn public(head: &Parts) -> Option<Response<Payload>> {
    let (body, kind) = match head.uri.path() {
        "/" => (WELCOME, "text/plain; charset=utf-8"),
        OPENAPI_PATH => (api::description(), "application/json"),
        _ => return None,
    };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(ALLOW, allow);
        return Some(refused);
    }
    let mut response = text(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // RFC 8631
    let described = HeaderValue::from_static("</openapi.json>; rel=\"service-desc\"");
    headers.insert(LINK, described);
    Some(response)
}

/// The client's own id of the request when it is harmless, else a new one.
pub(super) fn request_id(head: &Parts) -> String {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let given = head.headers.get(X_REQUEST_ID).map(HeaderValue::as_bytes);
    match given {
        Some(id @ [_, ..]) if id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(allowed) => {
            String::from_utf8_lossy(id).into_owned()
        }
        Some(_) | None => format!("{:016x}", fastrand::u64(..)),
    }
}

async fn respond(
    context: &Context,
    client: IpAddr,
    head: &Parts,
    reader: &mut BodyReader<'_, Incoming>,
    access: &mut AccessLine,
) -> Result<Response<Payload>, CutOff> {
    let path = head.uri.path();
    let checked = check_length(head, context.limits.uri_bytes_max).and_then(|()| check_head(head));
    if let Err((status, line)) = checked {
        access.wrong(line);
        return Ok(text(status, line));
    }
    let hosts = context.hosts.load_full();
    let virtual_host = match hosts.choose(head, context.server_name.as_deref()) {
        Choice::Served(virtual_host) => virtual_host,
        Choice::Unserved => return Ok(unserved()),
        Choice::Nobody => return Ok(text(StatusCode::MISDIRECTED_REQUEST, "no such host here\n")),
    };
    if let Some(ui) = ui::at(path, context.ui.as_ref()) {
        return ui::respond(ui, context, (virtual_host, client), head, reader, access).await;
    }
    let Some(dialect) = api::of(path) else {
        access.tenant.clone_from(&virtual_host.name);
        let nothing = || text(StatusCode::NOT_FOUND, "no such path\n");
        return Ok(public(head).unwrap_or_else(nothing));
    };
    access.dialect = dialect.name();
    let virtual_host = match dialect.tenant(head) {
        None => virtual_host,
        Some(tenant) => match hosts.named(&tenant) {
            Some(virtual_host) => virtual_host,
            None if hosts.is_unserved(&tenant) => return Ok(unserved()),
            None => {
                let fault = Fault::UnknownTenant {
                    tenant: tenant.into_owned(),
                };
                access.failed(&fault);
                return Ok(dialect.render_fault(head, &fault));
            }
        },
    };
    access.tenant.clone_from(&virtual_host.name);
    let reply = caught(pin!(reply(
        context,
        client,
        virtual_host,
        dialect,
        head,
        reader,
        access
    )))
    .await;
    let (fault, failure) = match reply.unwrap_or(Err(Stop::Fault(Fault::Internal))) {
        Ok(reply) => return Ok(render(dialect, head, reply, access)),
        Err(Stop::CutOff) => {
            access.bytes_in = reader.n_bytes;
            return Err(CutOff);
        }
        Err(Stop::Fault(fault)) => (fault, AuthFailure::Credentials),
        Err(Stop::Unknown(failure)) => (Fault::Unauthorized, failure),
    };
    access.failed(&fault);
    let mut response = dialect.render_fault(head, &fault);
    if fault == Fault::Unauthorized {
        let challenge = challenge(&virtual_host.realm, dialect.credentials(head), failure);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    Ok(response)
}

/// What a reply is in its dialect, as far as it is asked for.
fn render(
    dialect: &dyn Dialect,
    head: &Parts,
    reply: Reply,
    access: &mut AccessLine,
) -> Response<Payload> {
    access.job = job_of(&reply).or(access.job.take());
    let is_document = is_document(&reply);
    let whole = dialect.render(head, reply);
    let response = range::apply(head, range::unless_known(head, whole));
    let is_sent = head.method == Method::GET && response.status().is_success();
    access.is_download = is_document && is_sent;
    response
}

impl AccessLine {
    /// Of which job a command is, as far as it says so itself; the reply says it of others.
    fn asked(&mut self, command: &Command) {
        match command {
            Command::Fetch { job, .. } | Command::Log { job, .. } | Command::Status { job } => {
                self.job = Some(job.clone());
            }
            Command::Cancel { .. }
            | Command::Jobs { .. }
            | Command::List { .. }
            | Command::Result { .. }
            | Command::Schedule(_)
            | Command::Show { .. }
            | Command::Submit(_)
            | Command::Targets { .. }
            | Command::Token(_) => {}
        }
    }
}

/// To requests for a tenant that cannot be served; operators know why.
fn unserved() -> Response<Payload> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "not served now; try again later\n",
    );
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

fn check_length(head: &Parts, uri_bytes_max: usize) -> Result<(), (StatusCode, &'static str)> {
    let uri = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    match uri.len() <= uri_bytes_max {
        true => Ok(()),
        false => Err((StatusCode::URI_TOO_LONG, "the address is too long\n")),
    }
}

/// What is wrong with a head, whichever host the request is for: what two readers could take for two
/// things, and what asks for something that is not done here.
fn check_head(head: &Parts) -> Result<(), (StatusCode, &'static str)> {
    let headers = &head.headers;
    // RFC 9112, 3.2. Earlier versions need no host, and HTTP/2 has it elsewhere.
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() || (host.is_none() && head.version == Version::HTTP_11) {
        let line = "a request names one host in its header Host\n";
        return Err((StatusCode::BAD_REQUEST, line));
    }
    if head.version == Version::HTTP_2 {
        if head.uri.scheme_str() != Some("https") {
            return Err((StatusCode::BAD_REQUEST, "the scheme is https here\n"));
        }
        let authority = head.uri.authority().map(|authority| authority.as_str());
        let same = |host: &HeaderValue| {
            let (host, authority) = (host.as_bytes(), authority.unwrap_or_default());
            host.eq_ignore_ascii_case(authority.as_bytes())
        };
        if authority.is_some() && host.is_some_and(|host| !same(host)) {
            let line = "the header host is not what :authority says\n";
            return Err((StatusCode::BAD_REQUEST, line));
        }
    }
    // hyper reads what has `chunked` at its end and leaves the other codings to us.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|first| !is_chunked(first)) || codings.next().is_some() {
        let line = "the only transfer coding that is understood is chunked\n";
        return Err((StatusCode::NOT_IMPLEMENTED, line));
    }
    let is_continue = |expected: &HeaderValue| {
        let expected = expected.as_bytes();
        expected.eq_ignore_ascii_case(b"100-continue")
    };
    if !headers.get_all(EXPECT).iter().all(is_continue) {
        let line = "the only expectation that is met is 100-continue\n";
        return Err((StatusCode::EXPECTATION_FAILED, line));
    }
    Ok(())
}

/// Does a browser send this request for a page of another site? It would add a password that it
/// remembers, whatever that page is up to. Following a link is allowed; it shows nothing to the page.
///
/// Source: W3C Fetch Metadata Request Headers; RFC 6454 for older browsers.
pub(super) fn is_cross_site(head: &Parts) -> bool {
    let named = |name: &HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
    let is_safe = matches!(head.method, Method::GET | Method::HEAD);
    let is_link = is_safe
        && named(&SEC_FETCH_MODE) == Some(b"navigate")
        && matches!(named(&SEC_FETCH_DEST), None | Some(b"document"));
    match (named(&SEC_FETCH_SITE), named(&ORIGIN)) {
        (Some(b"same-origin" | b"none"), _) | (None, None) => false,
        (Some(_), _) => !is_link,
        (None, Some(origin)) => {
            let host = head
                .uri
                .authority()
                .map(|authority| authority.as_str().as_bytes());
            let host = host.or(named(&HOST)).unwrap_or_default();
            let own = origin.strip_prefix(b"https://");
            !is_safe && !own.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        }
    }
}

async fn reply(
    context: &Context,
    peer: IpAddr,
    virtual_host: &VirtualHost,
    dialect: &'static dyn Dialect,
    head: &Parts,
    reader: &mut BodyReader<'_, Incoming>,
    access: &mut AccessLine,
) -> Result<Reply, Stop> {
    let wanted = dialect.credentials(head);
    let by_browser = matches!(wanted, Credentials::Basic | Credentials::Open);
    if by_browser && is_cross_site(head) {
        return Err(Stop::Fault(Fault::Forbidden {
            reason: "a page of another site sends this request".into(),
        }));
    }
    let caller = known(context, &virtual_host.users, wanted, head, peer).await?;
    let caller = caller.via(dialect.name(), peer);
    if !caller.is_anonymous() {
        context.registration.mark_authenticated();
    }
    access.user = Some(caller.user.clone());
    let small = match dialect.intake(head) {
        Intake::Small { bytes_max } => {
            media::check(&head.headers)?;
            let whole = reader.whole(bytes_max).await;
            whole.map_err(|error| stop(error, bytes_max))?
        }
        Intake::Stream => Bytes::new(),
    };
    let command = dialect.parse(head, &small)?;
    access.asked(&command);
    match command {
        Command::Submit(submit) => {
            media::check(&head.headers)?;
            receive(virtual_host, &caller, submit, small, reader).await
        }
        Command::Token(asked) => {
            let caller = client(context, virtual_host, caller, &asked, peer).await?;
            access.user = Some(caller.user.clone());
            let TokenRequest { scopes, .. } = asked;
            Ok(credentials::token(
                &virtual_host.users,
                &caller,
                scopes,
                now_ms(),
            )?)
        }
        Command::Schedule(request) => Ok(virtual_host
            .service
            .schedule(&caller, *request, small)
            .await?),
        Command::Cancel { .. }
        | Command::Fetch { .. }
        | Command::Jobs { .. }
        | Command::List { .. }
        | Command::Log { .. }
        | Command::Result { .. }
        | Command::Show { .. }
        | Command::Status { .. }
        | Command::Targets { .. } => Ok(virtual_host.service.execute(&caller, command).await?),
    }
}

/// Streams the body into the spool, after what has been read of it already. Leaving early, by error
/// or by being dropped, discards it.
async fn receive(
    virtual_host: &VirtualHost,
    caller: &Caller,
    submit: Submit,
    small: Bytes,
    reader: &mut BodyReader<'_, Incoming>,
) -> Result<Reply, Stop> {
    let declared = match small.len() as u64 {
        0 => reader.declared(),
        n_bytes => Some(n_bytes),
    };
    let mut upload = virtual_host.service.admit(caller, submit, declared).await?;
    if !small.is_empty() {
        upload.write(small).await?;
    }
    // `next` has no limit of its own: how much is too much is the upload's to say.
    while let Some(piece) = reader.next().await.map_err(|error| stop(error, u64::MAX))? {
        upload.write(piece).await?;
    }
    Ok(upload.commit().await?)
}

fn stop(error: BodyError, bytes_max: u64) -> Stop {
    match error {
        BodyError::CutOff => Stop::CutOff,
        BodyError::TimedOut => Stop::Fault(Fault::TimedOut),
        BodyError::TooLarge => Stop::Fault(Fault::TooLarge { bytes_max }),
    }
}

fn job_of(reply: &Reply) -> Option<JobName> {
    match reply {
        Reply::Accepted { job, .. } | Reply::Cancelled { job, .. } | Reply::Result { job, .. } => {
            Some(job.clone())
        }
        Reply::Created { view, .. } | Reply::Shown(view) => Some(view.job.clone()),
        Reply::Content(_)
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Scheduled { .. }
        | Reply::ShownSchedule { .. }
        | Reply::Shows(_)
        | Reply::Status(_)
        | Reply::Targets(_)
        | Reply::Valid { .. }
        | Reply::Token { .. }
        | Reply::Transformed { .. } => None,
    }
}

/// Who sends a request, which is a login if it has credentials.
async fn known(
    context: &Context,
    users: &Users,
    wanted: Credentials,
    head: &Parts,
    peer: IpAddr,
) -> Result<Caller, Rejection> {
    let caller = credentials::caller(users, wanted, &head.headers, peer, now_ms()).await;
    let anonymous = (caller.as_ref()).is_ok_and(Caller::is_anonymous);
    if head.headers.contains_key(AUTHORIZATION) && !anonymous {
        context.metrics.logged_in(came_of(&caller));
    }
    caller
}

/// Who asks for a token, which is a login if his name and secret are in the form.
async fn client(
    context: &Context,
    virtual_host: &VirtualHost,
    caller: Caller,
    asked: &TokenRequest,
    peer: IpAddr,
) -> Result<Caller, Rejection> {
    let given = asked.client.as_ref();
    let caller = credentials::client(&virtual_host.users, caller, given, peer).await;
    if given.is_some() {
        context.metrics.logged_in(came_of(&caller));
    }
    if caller.is_ok() {
        context.registration.mark_authenticated();
    }
    caller
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What came of the credentials of a request.
fn came_of(caller: &Result<Caller, Rejection>) -> Login {
    match caller {
        Ok(_) => Login::Accepted,
        Err(Rejection::Slow { .. }) => Login::Throttled,
        Err(Rejection::Unknown(_)) => Login::Rejected,
    }
}

/// Is it what a job is, or what came of one?
fn is_document(reply: &Reply) -> bool {
    match reply {
        Reply::Content(_) | Reply::Result { .. } | Reply::Transformed { .. } => true,
        Reply::Accepted { .. }
        | Reply::Cancelled { .. }
        | Reply::Created { .. }
        | Reply::Jobs(_)
        | Reply::Log(_)
        | Reply::Scheduled { .. }
        | Reply::Shown(_)
        | Reply::ShownSchedule { .. }
        | Reply::Shows(_)
        | Reply::Status(_)
        | Reply::Targets(_)
        | Reply::Token { .. }
        | Reply::Valid { .. } => false,
    }
}

/// The output of `future`, or `None` if it panicked; the panic's message is on standard error.
/// Pinned by its caller: a future that is handed on is copied, and those of requests are large.
pub(super) fn caught<F: Future>(
    mut future: Pin<&mut F>,
) -> impl Future<Output = Option<F::Output>> {
    poll_fn(
        move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_where_it_happens() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("as ordered");
        };
        assert!(caught(pin!(panics)).await.is_none());
        assert_eq!(caught(pin!(async { 1 })).await, Some(1));
    }

    fn head(version: Version, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(version: Version, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let refused = check_head(&head(version, uri, headers)).err();
        refused.map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn heads_that_could_be_taken_for_two_things_are_refused() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let host = ("host", "a.example");
        for (expected, version, uri, headers) in [
            (200, one, "/", &[host][..]),
            (400, one, "/", &[]),
            (400, one, "/", &[host, host]),
            (200, Version::HTTP_10, "/", &[]),
            (200, two, "https://a.example/", &[]),
            (200, two, "https://A.example/", &[host]),
            (400, two, "https://a.example/", &[host, host]),
            (400, two, "https://b.example/", &[host]),
            (400, two, "https://a.example:99/", &[host]),
            (400, two, "http://a.example/", &[]),
            (400, two, "ftp://a.example/", &[host]),
            (400, two, "/", &[host]),
        ] {
            let found = status(version, uri, headers);
            assert_eq!(found, expected, "{version:?} {uri} {headers:?}");
        }
    }

    #[test]
    fn codings_and_expectations_that_are_not_understood_are_refused() {
        let host = ("host", "a.example");
        for (expected, name, values) in [
            (200, "transfer-encoding", &["chunked"][..]),
            (200, "transfer-encoding", &["Chunked"]),
            (501, "transfer-encoding", &["gzip, chunked"]),
            (501, "transfer-encoding", &["gzip", "chunked"]),
            (501, "transfer-encoding", &["chunked", "chunked"]),
            (501, "transfer-encoding", &["identity"]),
            (501, "transfer-encoding", &[""]),
            (200, "expect", &["100-continue"]),
            (200, "expect", &["100-Continue"]),
            (417, "expect", &["200-ok"]),
            (417, "expect", &["100-continue, 200-ok"]),
            (417, "expect", &["100-continue", "x"]),
            (417, "expect", &[""]),
        ] {
            let mut headers = vec![host];
            headers.extend(values.iter().map(|value| (name, *value)));
            let found = status(Version::HTTP_11, "/", &headers);
            assert_eq!(found, expected, "{name}: {values:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_send_no_requests() {
        let (origin, site) = ("origin", "sec-fetch-site");
        let (mode, dest) = ("sec-fetch-mode", "sec-fetch-dest");
        for (expected, method, headers) in [
            // Programs.
            (false, "POST", &[][..]),
            (
                false,
                "POST",
                &[(site, "same-origin"), (origin, "https://a.example")],
            ),
            // A proxy has changed the host; the browser knows better.
            (
                false,
                "POST",
                &[(site, "same-origin"), (origin, "https://public.example")],
            ),
            (false, "POST", &[(site, "none")]),
            (true, "POST", &[(site, "cross-site"), (mode, "no-cors")]),
            (true, "POST", &[(site, "same-site")]),
            (
                true,
                "POST",
                &[(site, "cross-site"), (mode, "navigate"), (dest, "document")],
            ),
            (true, "DELETE", &[(site, "cross-site")]),
            (true, "POST", &[(site, "")]),
            // A link, and a picture of the same address.
            (
                false,
                "GET",
                &[(site, "cross-site"), (mode, "navigate"), (dest, "document")],
            ),
            (false, "GET", &[(site, "cross-site"), (mode, "navigate")]),
            (
                true,
                "GET",
                &[(site, "cross-site"), (mode, "navigate"), (dest, "iframe")],
            ),
            (
                true,
                "GET",
                &[(site, "cross-site"), (mode, "no-cors"), (dest, "image")],
            ),
            // Older browsers.
            (false, "POST", &[(origin, "https://a.example")]),
            (false, "POST", &[(origin, "https://A.EXAMPLE")]),
            (true, "POST", &[(origin, "https://b.example")]),
            (true, "POST", &[(origin, "http://a.example")]),
            (true, "POST", &[(origin, "https://a.example:99")]),
            (true, "POST", &[(origin, "null")]),
            (false, "GET", &[(origin, "https://b.example")]),
        ] {
            let mut of_1 = head(
                Version::HTTP_11,
                "/",
                &[&[("host", "a.example")], headers].concat(),
            );
            let mut of_2 = head(Version::HTTP_2, "https://a.example/", headers);
            for head in [&mut of_1, &mut of_2] {
                head.method = method.parse().unwrap();
                assert_eq!(is_cross_site(head), expected, "{method} {headers:?}");
            }
        }
    }
}
