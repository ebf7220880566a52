//! One HTTP/1.1 connection that is kept alive, and requests over it.
//!
//! A file is streamed, never held in memory; a [`Payload`] can be sent again from its beginning.
//! When a connection that was kept alive turns out to be closed, the request is sent once more
//! over a fresh one: every request of this client may safely be repeated (uploads carry an
//! idempotency key). All else is the caller's to repeat. While a body flows, the deadlines count
//! from the last piece that moved.

use super::connect::{ClientError, Endpoint};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout;

const PIECE_BYTES: usize = 128 * 1024;
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("spoolgate/", env!("CARGO_PKG_VERSION")));

/// Is called with how many bytes of the file have been sent.
pub(super) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

pub(super) enum Payload {
    Empty,
    /// Exactly `bytes` of the file; a file that has become shorter breaks the request off.
    File {
        path: PathBuf,
        bytes: u64,
        progress: Progress,
    },
    Memory(Bytes),
}

/// What to ask.
pub(super) struct Ask {
    pub(super) headers: HeaderMap,
    pub(super) method: Method,
    pub(super) payload: Payload,
    /// Begins with `/`; already encoded.
    pub(super) target: String,
}

impl Ask {
    pub(super) fn get(target: String) -> Self {
        Self {
            headers: HeaderMap::new(),
            method: Method::GET,
            payload: Payload::Empty,
            target,
        }
    }
}

/// `path?name=value&…` of the parameters that have a value.
pub(super) fn target(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{path}{mark}{query}")
}

/// The one connection to an endpoint.
pub(super) struct Client<'e> {
    endpoint: &'e Endpoint,
    kept: Option<SendRequest<Outgoing>>,
}

impl<'e> Client<'e> {
    pub(super) fn new(endpoint: &'e Endpoint) -> Self {
        Self {
            endpoint,
            kept: None,
        }
    }

    /// Sends and waits for the head of the answer, whatever its status.
    pub(super) async fn request(&mut self, ask: &Ask) -> Result<Response, ClientError> {
        if let Some(mut kept) = self.kept.take()
            && timeout(self.endpoint.timeouts.connect, kept.ready())
                .await
                .is_ok_and(|ready| ready.is_ok())
        {
            match self.send(kept, ask).await {
                Err(Failed::Transport(_)) => {}
                Err(Failed::Because(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        let fresh = self.connect().await?;
        self.send_over(fresh, ask).await
    }

    /// Sends over a connection that has just been made, once, whatever comes of it.
    pub(super) async fn send_over(
        &mut self,
        fresh: SendRequest<Outgoing>,
        ask: &Ask,
    ) -> Result<Response, ClientError> {
        self.send(fresh, ask).await.map_err(|failed| match failed {
            Failed::Because(error) | Failed::Transport(error) => error,
        })
    }

    pub(super) async fn connect(&self) -> Result<SendRequest<Outgoing>, ClientError> {
        let stream = self.endpoint.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| broken("at its beginning", &e))?;
        // Ends when the sender is dropped; its error reaches the request as well.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(
        &mut self,
        mut over: SendRequest<Outgoing>,
        ask: &Ask,
    ) -> Result<Response, Failed> {
        let activity = Arc::new(Activity::new());
        let request = self.compose(ask, activity.clone()).await?;
        let limit = self.endpoint.timeouts.answer;
        let mut answer = pin!(over.send_request(request));
        let answer = loop {
            let left = limit.saturating_sub(activity.idle());
            match timeout(left, &mut answer).await {
                Ok(answer) => break answer,
                Err(_) if activity.idle() < limit => {}
                Err(_) => {
                    let doing = "to the request";
                    return Err(Failed::Because(self.endpoint.timed_out(doing)));
                }
            }
        };
        match answer {
            // Our own body broke off: the file, not the connection.
            Err(error) if error.is_user() => {
                Err(Failed::Because(broken("during the request", &error)))
            }
            Err(error) => Err(Failed::Transport(broken("before the answer", &error))),
            Ok(answer) => {
                self.kept = Some(over);
                let (head, body) = answer.into_parts();
                Ok(Response {
                    status: head.status,
                    headers: head.headers,
                    body,
                    host: self.endpoint.authority(),
                    idle: self.endpoint.timeouts.idle,
                })
            }
        }
    }

    async fn compose(
        &self,
        ask: &Ask,
        activity: Arc<Activity>,
    ) -> Result<Request<Outgoing>, Failed> {
        let body = Outgoing::open(&ask.payload, activity).await?;
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.target.parse().map_err(|e| impossible(&e))?;
        *request.headers_mut() = ask.headers.clone();
        let host = self.endpoint.authority();
        let host = HeaderValue::try_from(host).map_err(|e| impossible(&e))?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some(login) = &self.endpoint.login {
            headers.insert(AUTHORIZATION, login.header.clone());
        }
        headers.insert(USER_AGENT, AGENT);
        Ok(request)
    }
}

enum Failed {
    Because(ClientError),
    /// No answer came over this connection: on one that was kept, worth a fresh one.
    Transport(ClientError),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Failed::Because(error)
    }
}

fn impossible(error: &dyn std::error::Error) -> Failed {
    Failed::Because(broken("before it began", error))
}

/// With the error's causes: hyper names the cause of a broken body only there.
fn broken(doing: &'static str, error: &dyn std::error::Error) -> ClientError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    ClientError::Broken { doing, reason }
}

/// The head of an answer, and its body piece by piece. The connection can be used again after the
/// body was read to its end.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    host: String,
    idle: Duration,
}

impl Response {
    /// `None` at the end, which is the whole body: one that was cut short is an error.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = timeout(self.idle, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError::Timeout {
                host: self.host.clone(),
                doing: "with the rest of its answer",
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(e)) => return Err(broken("in the middle of the answer", &e)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The body as text, cut off after `bytes_max`.
    pub(super) async fn text(mut self, bytes_max: usize) -> Result<String, ClientError> {
        let mut text = Vec::new();
        while text.len() < bytes_max
            && let Some(piece) = self.piece().await?
        {
            text.extend_from_slice(&piece);
        }
        text.truncate(bytes_max);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// When something last moved.
struct Activity(Mutex<Instant>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn moved(&self) {
        *self.0.lock() = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// Where a body comes from.
type Source = Pin<Box<dyn AsyncRead + Send>>;

/// A request's body on its way.
pub(super) struct Outgoing {
    activity: Arc<Activity>,
    source: Option<(Source, Progress)>,
    left: u64,
    sent: u64,
}

impl Outgoing {
    async fn open(payload: &Payload, activity: Arc<Activity>) -> Result<Self, ClientError> {
        let (source, left): (Option<(Source, Progress)>, u64) = match payload {
            Payload::Empty => (None, 0),
            Payload::Memory(bytes) => {
                let nobody: Progress = Arc::new(|_| {});
                let source = Box::pin(io::Cursor::new(bytes.clone()));
                (Some((source, nobody)), bytes.len() as u64)
            }
            Payload::File {
                path,
                bytes,
                progress,
            } => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|source| ClientError::File {
                    path: path.clone(),
                    source,
                })?;
                (Some((Box::pin(file), progress.clone())), *bytes)
            }
        };
        Ok(Self {
            activity,
            source,
            left,
            sent: 0,
        })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        let Some((source, progress)) = body.source.as_mut().filter(|_| body.left > 0) else {
            return Poll::Ready(None);
        };
        let want = usize::try_from(body.left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let mut piece = BytesMut::zeroed(want);
        let mut buffer = ReadBuf::new(&mut piece);
        if let Err(error) = ready!(source.as_mut().poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let read = buffer.filled().len();
        if read == 0 {
            let message = "the file became shorter while it was sent";
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, message);
            return Poll::Ready(Some(Err(error)));
        }
        piece.truncate(read);
        body.left -= read as u64;
        body.sent += read as u64;
        body.activity.moved();
        progress(body.sent);
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_encoded() {
        assert_eq!(target("/xml/upload", &[("RefName", None)]), "/xml/upload");
        assert_eq!(
            target(
                "/xml/job",
                &[("a", Some("x y&z")), ("b", None), ("c", Some("1"))]
            ),
            "/xml/job?a=x+y%26z&c=1"
        );
    }
}
