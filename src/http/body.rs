//! The body of a response: bytes or a file, in pieces, and what is due when it ends.
//!
//! What the store has is read one piece ahead of the client. A job's completion goes on
//! when the last byte has been written to the connection, and is notified when the client's kernel has
//! acknowledged it (see `delivery`); a body or a piece dropped before says nothing, and so its job
//! counts as not fetched. What turns out shorter than announced fails the answer: the client sees it break off and
//! never a short 200.

use super::{
    access::AccessLine,
    activity::{Running, Ticker},
};
use crate::{
    api::{Payload, Pieces},
    service::{Completion, Content, Download, Reading},
};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Large enough that the hop to the blocking pool does not count, small enough to hold two.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Body {
    source: Source,
    /// Bytes, as far as that is known.
    remaining: u64,
    end: Option<End>,
    ticker: Option<Ticker>,
}

/// What is due once the last byte has been written to the connection.
#[derive(Default)]
struct End {
    access: Option<AccessLine>,
    completion: Option<Completion>,
    running: Option<Running>,
}

/// Bytes on their way through hyper, which knows of each when it is written.
pub(super) struct Piece {
    bytes: Bytes,
    /// With the last piece only.
    end: Option<End>,
    ticker: Option<Ticker>,
}

enum Source {
    Bytes(Bytes),
    /// The next piece, which is being read or has been, and what is left after it.
    Content(Reading<Bytes>, Content, Range<u64>),
    Stream(Pieces),
    Nothing,
}

impl Body {
    pub(super) fn new(payload: Payload) -> Self {
        match payload {
            Payload::Bytes(bytes) => Self::of_bytes(bytes, None),
            Payload::Completing(bytes, completion) => Self::of_bytes(bytes, Some(completion)),
            Payload::File(download) => Self::of_content(download),
            Payload::HeadOf(_) => Self::of_bytes(Bytes::new(), None),
            Payload::Stream(pieces) => Self::of(u64::MAX, Source::Stream(pieces), None),
        }
    }

    fn of_bytes(bytes: Bytes, completion: Option<Completion>) -> Self {
        Self::of(bytes.len() as u64, Source::Bytes(bytes), completion)
    }

    fn of_content(download: Download) -> Self {
        let bytes = download.bytes();
        let source = read_ahead(download.content, download.part);
        Self::of(bytes, source, download.completion)
    }

    fn of(remaining: u64, source: Source, completion: Option<Completion>) -> Self {
        let end = End {
            completion,
            ..End::default()
        };
        Self {
            source,
            remaining,
            end: Some(end),
            ticker: None,
        }
    }

    /// From now on the body keeps the request's log line and its place among those in flight.
    pub(super) fn carry(mut self, access: AccessLine, mut running: Running) -> Self {
        self.ticker = Some(running.sending());
        if let Some(end) = &mut self.end {
            end.access = Some(access);
            end.running = Some(running);
        }
        self
    }

    /// `None`: a stream has ended.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.source {
            Source::Bytes(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                Poll::Ready(Some(Ok(piece)))
            }
            Source::Content(reading, ..) => {
                let read = ready!(reading.as_mut().poll(cx));
                let source = std::mem::replace(&mut self.source, Source::Nothing);
                if let (Ok(_), Source::Content(_, content, left)) = (&read, source) {
                    self.source = read_ahead(content, left);
                }
                Poll::Ready(Some(read.map_err(io::Error::other)))
            }
            Source::Stream(Pieces(pieces)) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(Ok))
            }
            Source::Nothing => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Piece>>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        let bytes = match ready!(self.poll_piece(cx)) {
            Some(Ok(bytes)) => bytes,
            None => {
                self.remaining = 0;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a download failed in the middle");
                return Poll::Ready(Some(Err(error)));
            }
        };
        self.remaining -= bytes.len() as u64;
        let last = self.remaining == 0;
        if let Some(end) = &mut self.end {
            end.handed_over(bytes.len() as u64, last);
        }
        let piece = Piece {
            bytes,
            end: if last { self.end.take() } else { None },
            ticker: self.ticker.clone(),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.source {
            Source::Stream(_) => SizeHint::default(),
            Source::Bytes(_) | Source::Content(..) | Source::Nothing => {
                SizeHint::with_exact(self.remaining)
            }
        }
    }
}

impl End {
    fn handed_over(&mut self, n_bytes: u64, last: bool) {
        if let Some(access) = &mut self.access {
            access.bytes_out += n_bytes;
        }
        if let (true, Some(completion)) = (last, &mut self.completion) {
            completion.taken();
        }
    }

    fn written(mut self) {
        if let Some(access) = &mut self.access {
            access.finished = true;
        }
        if let (Some(completion), Some(running)) = (self.completion.take(), &self.running) {
            running.written(completion);
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    /// Called as the bytes go to the connection; over HTTP/2 only as far as the client's window
    /// allows. A piece that is dropped with bytes left says nothing.
    fn advance(&mut self, n_bytes: usize) {
        self.bytes.advance(n_bytes);
        if let Some(ticker) = &self.ticker {
            ticker.progress();
        }
        if self.bytes.is_empty()
            && let Some(end) = self.end.take()
        {
            end.written();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // An answer without bytes has no last piece.
        if let (0, Some(mut end)) = (self.remaining, self.end.take()) {
            end.handed_over(0, true);
            end.written();
        }
    }
}

/// Begins to read the next piece of what is left.
fn read_ahead(content: Content, left: Range<u64>) -> Source {
    if left.is_empty() {
        return Source::Nothing;
    }
    let end = left.end.min(left.start + PIECE_BYTES as u64);
    let reading = content.read(left.start..end);
    Source::Content(reading, content, end..left.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn download(content: &[u8], announced: u64) -> Body {
        let mut content = Content::of_bytes(content.to_vec(), None);
        content.bytes = announced;
        Body::new(Payload::File(Download::new("x".into(), content)))
    }

    #[tokio::test]
    async fn a_file_arrives_whole_and_in_order() {
        for n_bytes in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
            let content: Vec<u8> = (0..n_bytes).map(|at| (at % 251) as u8).collect();
            let body = download(&content, n_bytes as u64);
            assert_eq!(
                hyper::body::Body::size_hint(&body).exact(),
                Some(n_bytes as u64)
            );
            assert!(
                body.collect().await.unwrap().to_bytes() == content,
                "{n_bytes}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_not_made_in_advance_for_a_slow_reader() {
        const PIECES: usize = 1000;
        const PIECE: &[u8] = &[b'x'; 64 * 1024];
        let made = Arc::new(AtomicUsize::new(0));
        let counted = made.clone();
        let answer = hyper::service::service_fn(move |_| {
            let counted = counted.clone();
            let pieces = stream::iter(0..PIECES).map(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Bytes::from_static(PIECE)
            });
            let body = Body::new(Payload::Stream(Pieces(Box::pin(pieces))));
            async { Ok::<_, io::Error>(hyper::Response::new(body)) }
        });
        let (mut reader, server) = tokio::io::duplex(1024);
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        reader.write_all(request).await.unwrap();
        let mut serving = std::pin::pin!(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(server), answer)
        );
        // The clock goes on by itself only when nobody has anything to do.
        let idle = tokio::time::timeout(Duration::from_secs(1), serving.as_mut()).await;
        assert!(idle.is_err(), "nobody has read it");
        let in_advance = made.load(Ordering::Relaxed);
        assert!((1..32).contains(&in_advance), "{in_advance} pieces");
        let mut all = Vec::new();
        let (served, read) = tokio::join!(serving, reader.read_to_end(&mut all));
        served.unwrap();
        read.unwrap();
        assert_eq!(made.load(Ordering::Relaxed), PIECES);
        assert!(all.len() > PIECES * PIECE.len());
    }

    #[tokio::test]
    async fn a_longer_file_is_cut_and_a_shorter_one_fails() {
        let longer = download(b"0123456789", 4).collect().await.unwrap();
        assert_eq!(longer.to_bytes(), "0123");
        let shorter = download(b"0123", 5).collect().await;
        assert!(shorter.is_err());
    }
}
