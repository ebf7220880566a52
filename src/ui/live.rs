//! What changes on a page while it is open.
//!
//! A page is followed at its own address by who asks there for `text/event-stream`: the script does. The stream makes the
//! page anew every second or more seldom, as the browser would get it, and sends those of its [`fragments`] that are
//! others than before. So what it shows, and to whom, is decided by the page alone, and a session that has ended, or a
//! right that has been taken away, ends here as there.
//!
//! Nothing is made in advance: the next piece is looked for once the connection has room for it, so a slow reader holds one
//! piece, and where nobody looks nothing is done. A look that has begun goes on by itself: while a reader's window is closed
//! his stream is not polled, and what it holds then it holds as long as he likes.

use super::{
    Ui,
    fragments::fragments,
    respond::{self, set},
    shown,
    visit::{self, Visit},
};
use crate::{
    api::{Payload, Pieces},
    http::VirtualHost,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, Method, Response, StatusCode, header::ACCEPT, request::Parts};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Streams of all sessions together.
const STREAMS_MAX: usize = 200;
/// So many pages are made at the same time for all of them.
const LOOKS_MAX: usize = 2;
/// How often a page is looked at, …
const INTERVAL: Duration = Duration::from_secs(1);
/// … or as seldom as that many times what it takes to make it.
const PAUSE_FACTOR: u32 = 20;
/// After so long without news a line without meaning shows that the connection is there; well below what proxies, and our
/// own server, take for the end of it.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_LINE: &[u8] = b":\n\n";
/// How long a browser waits until it asks again.
const RETRY: &str = "retry: 5000\n\n";
/// Keeps nginx, and others that have it from there, from collecting what is to be seen now.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The streams that are open: one of a session.
pub(crate) struct Streams {
    open: Mutex<HashMap<String, CancellationToken>>,
    looks: Semaphore,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            looks: Semaphore::new(LOOKS_MAX),
        }
    }
}

impl Streams {
    /// A place for a stream of a session, of which another one ends. `None`: there are too many of others.
    fn place(self: &Arc<Self>, session: &str) -> Option<Place> {
        let mut open = self.open.lock();
        match open.remove(session) {
            Some(older) => older.cancel(),
            None if open.len() >= STREAMS_MAX => return None,
            None => {}
        }
        let superseded = CancellationToken::new();
        open.insert(session.to_owned(), superseded.clone());
        Some(Place {
            streams: self.clone(),
            session: session.to_owned(),
            superseded,
        })
    }

    /// Makes a page when it is its turn, whether or not anybody waits for that: a turn, and the locks of a page, are never
    /// in the hands of a reader. Dropping the handle gives the look up.
    fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<Option<T>> {
        let streams = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let _turn = streams.looks.acquire().await.ok()?;
            Some(look.await)
        }))
    }
}

/// The place of a stream; dropping it makes room for another.
struct Place {
    streams: Arc<Streams>,
    session: String,
    /// By a further stream of the session.
    superseded: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        // Else it is the place of the further one.
        if !self.superseded.is_cancelled() {
            open.remove(&self.session);
        }
    }
}

/// Is it the changes of a page that are asked for?
pub(super) fn is_asked(head: &Parts) -> bool {
    let accepted = head.headers.get(ACCEPT).map(|value| value.as_bytes());
    head.method == Method::GET && accepted == Some(b"text/event-stream")
}

/// The stream of a page: first all of it that is live, then what has changed.
pub(super) fn answer(
    ui: Arc<Ui>,
    visit: &Visit<'_>,
    host: &VirtualHost,
    page: Response<Payload>,
) -> Response<Payload> {
    let session = visit::session(&visit.head.headers).unwrap_or_default();
    let Some(place) = ui.streams.place(session) else {
        let text = "too many pages are live now; reload this one by hand\n";
        let kind = "text/plain; charset=utf-8";
        return respond::content(StatusCode::SERVICE_UNAVAILABLE, kind, text);
    };
    let mut known = HashMap::new();
    let page = text(page).unwrap_or_default();
    let first = RETRY.to_owned() + &changes(&mut known, &page);
    let follower = Follower {
        head: visit.head.clone(),
        host: host.clone(),
        client: visit.client,
        first: Some(first.into()),
        known,
        next_look: Instant::now() + INTERVAL,
        has_ended: false,
        place,
        ui,
    };
    let pieces = stream::unfold(follower, |mut follower| async {
        let piece = follower.next().await?;
        Some((piece, follower))
    });
    let mut response = respond::content(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = Payload::Stream(Pieces(Box::pin(pieces)));
    set(&mut response, X_ACCEL_BUFFERING, "no");
    response
}

/// Who looks at a page.
struct Follower {
    ui: Arc<Ui>,
    /// With which the page is asked for.
    head: Parts,
    host: VirtualHost,
    client: IpAddr,
    place: Place,
    /// What the browser has: the digest of each fragment.
    known: HashMap<String, u64>,
    next_look: Instant,
    has_ended: bool,
    first: Option<Bytes>,
}

impl Follower {
    /// What is to be sent next; `None`: nothing more.
    async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let stop = self.ui.stop.clone();
        let superseded = self.place.superseded.clone();
        match heard(&stop, &superseded, self.news()).await {
            Heard::News(news) => Some(news),
            Heard::Nothing => Some(HEARTBEAT_LINE.into()),
            Heard::LoggedOut => Some(self.last("logged out")),
            Heard::Superseded => Some(self.last("live elsewhere")),
            // The browser is to ask again, whoever serves then.
            Heard::Stop => None,
        }
    }

    /// Says why the stream ends, and that it is not to be asked for again.
    fn last(&mut self, why: &str) -> Bytes {
        self.has_ended = true;
        format!("event: end\ndata: {why}\n\n").into()
    }

    /// Waits until something has changed; `None`: the session has ended.
    async fn news(&mut self) -> Option<Bytes> {
        loop {
            Visit::begin(&self.ui, &self.head, (&self.host, self.client))?;
            if self.next_look <= Instant::now() {
                let look = self.ui.streams.in_turn(self.look()).await;
                if let Ok(Some((page, took))) = look {
                    self.next_look = Instant::now() + INTERVAL.max(took * PAUSE_FACTOR);
                    let news = page.map_or(String::new(), |page| changes(&mut self.known, &page));
                    if !news.is_empty() {
                        return Some(news.into());
                    }
                }
            }
            time::sleep(INTERVAL).await;
        }
    }

    /// The page as it is now, if there is one for who asks, and how long it took to make.
    fn look(&self) -> impl Future<Output = (Option<String>, Duration)> + Send + 'static {
        let (ui, head) = (self.ui.clone(), self.head.clone());
        let (host, client) = (self.host.clone(), self.client);
        async move {
            let begun = Instant::now();
            let page = match Visit::begin(&ui, &head, (&host, client)) {
                Some(visit) => shown(&visit).await.ok().and_then(text),
                None => None,
            };
            (page, begun.elapsed())
        }
    }
}

/// What comes next to who follows a page.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    News(Bytes),
    /// For as long as [`HEARTBEAT`].
    Nothing,
    /// His session has ended.
    LoggedOut,
    /// A further stream of his session has begun.
    Superseded,
    /// The service stops.
    Stop,
}

async fn heard(
    stop: &CancellationToken,
    superseded: &CancellationToken,
    news: impl Future<Output = Option<Bytes>>,
) -> Heard {
    tokio::select! {
        biased;
        () = stop.cancelled() => Heard::Stop,
        () = superseded.cancelled() => Heard::Superseded,
        news = time::timeout(HEARTBEAT, news) => match news {
            Ok(Some(news)) => Heard::News(news),
            Ok(None) => Heard::LoggedOut,
            Err(_) => Heard::Nothing,
        },
    }
}

/// What a page says; `None`: it is none.
fn text(page: Response<Payload>) -> Option<String> {
    match page.into_body() {
        Payload::Bytes(bytes) => String::from_utf8(bytes.into()).ok(),
        Payload::Completing(..) | Payload::File(_) | Payload::HeadOf(_) | Payload::Stream(_) => {
            None
        }
    }
}

/// What of a page is another than it was, as events; of what is not there any more, its name.
fn changes(known: &mut HashMap<String, u64>, page: &str) -> String {
    let mut events = String::new();
    let mut there = HashSet::new();
    for fragment in fragments(page) {
        let digest = fragment.digest();
        there.insert(fragment.id);
        if known.insert(fragment.id.to_owned(), digest) != Some(digest) {
            events += &event(fragment.html);
        }
    }
    known.retain(|id, _| {
        let is_there = there.contains(id.as_str());
        if !is_there {
            events += &event(&format!("<del id=\"{id}\"></del>"));
        }
        is_there
    });
    events
}

fn event(html: &str) -> String {
    let lines = html.split('\n').map(|line| format!("data: {line}\n"));
    lines.collect::<String>() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_stream_and_all_have_so_many() {
        let streams = Arc::new(Streams::default());
        let place = |n: usize| streams.place(&format!("session {n}"));
        let mut all: Vec<Place> = (0..STREAMS_MAX).map(|n| place(n).unwrap()).collect();
        assert!(place(STREAMS_MAX).is_none());
        // A further one of a session takes the place of the older, …
        let further = place(0).unwrap();
        assert!(all[0].superseded.is_cancelled());
        // … and keeps it when that goes.
        all.remove(0);
        assert!(place(STREAMS_MAX).is_none() && !further.superseded.is_cancelled());
        drop(further);
        assert!(place(STREAMS_MAX).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_keeps_no_turn_from_others() {
        let streams = Arc::new(Streams::default());
        let mut unread = Vec::new();
        for _ in 0..=LOOKS_MAX {
            let look = time::sleep(Duration::from_millis(1));
            let mut look = Box::pin(streams.in_turn(look));
            // It is polled once, and then no more.
            assert!(futures_util::poll!(&mut look).is_pending());
            unread.push(look);
        }
        let other = time::timeout(HEARTBEAT, streams.in_turn(async { 7 })).await;
        assert_eq!(other.unwrap().unwrap(), Some(7));
        // One that is given up makes room, too.
        let endless = || streams.in_turn(std::future::pending::<()>());
        drop([endless(), endless()]);
        let other = time::timeout(HEARTBEAT, streams.in_turn(async { 8 })).await;
        assert_eq!(other.unwrap().unwrap(), Some(8));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_a_heartbeat_and_an_end_says_why() {
        let (stop, superseded) = (CancellationToken::new(), CancellationToken::new());
        let begun = time::Instant::now();
        let quiet = heard(&stop, &superseded, std::future::pending()).await;
        assert_eq!((quiet, begun.elapsed()), (Heard::Nothing, HEARTBEAT));
        let news = Bytes::from_static(b"data: x\n\n");
        let told = heard(&stop, &superseded, async { Some(news.clone()) }).await;
        assert_eq!(told, Heard::News(news.clone()));
        let ended = heard(&stop, &superseded, async { None }).await;
        assert_eq!(ended, Heard::LoggedOut);
        superseded.cancel();
        let elsewhere = heard(&stop, &superseded, async { Some(news.clone()) }).await;
        assert_eq!(elsewhere, Heard::Superseded);
        stop.cancel();
        let stopped = heard(&stop, &superseded, async { Some(news) }).await;
        assert_eq!(stopped, Heard::Stop);
        assert_eq!(begun.elapsed(), HEARTBEAT, "only silence takes time");
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let (a, b) = (
            "<p id=\"a\" data-live>\n1</p>",
            "<p id=\"b\" data-live>2</p>",
        );
        let mut known = HashMap::new();
        let mut told = |page: &str| changes(&mut known, page);
        let both = format!("data: <p id=\"a\" data-live>\ndata: 1</p>\n\ndata: {b}\n\n");
        assert_eq!(told(&format!("{a}<hr>{b}")), both);
        assert_eq!(told(&format!("{b}{a}")), "");
        let other = b.replace('2', "3");
        assert_eq!(told(&format!("{a}{other}")), format!("data: {other}\n\n"));
        assert_eq!(told(a), "data: <del id=\"b\"></del>\n\n");
        assert_eq!(told(a), "");
        assert_eq!(told(&format!("{a}{b}")), format!("data: {b}\n\n"));
    }
}
