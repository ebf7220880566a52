//! Reading a request's body: in order, counted, and with patience that ends.
//!
//! Three deadlines, all on waiting for the client and none on what is done with its bytes: each
//! piece must come within the idle timeout, the waits may add up to the idle timeout plus what
//! the minimum rate grants for the bytes received, and the whole body has the request timeout.
//! Polling for the first piece is what makes hyper send `100 Continue`.

use super::{Limits, activity::ConnectionActivity};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::time::Duration;
use tokio::time::{self, Instant};

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection or stream ended, or broke the protocol, in the middle.
    #[error("it broke off")]
    CutOff,
    #[error("it did not come in time")]
    TimedOut,
    #[error("it is too large")]
    TooLarge,
}

pub(super) struct BodyReader<'a, B> {
    body: &'a mut B,
    limits: &'a Limits,
    activity: &'a ConnectionActivity,
    begun: Instant,
    waited: Duration,
    pub(super) n_bytes: u64,
    ended: bool,
}

impl<'a, B: Body<Data = Bytes> + Unpin> BodyReader<'a, B> {
    pub(super) fn new(
        body: &'a mut B,
        limits: &'a Limits,
        activity: &'a ConnectionActivity,
    ) -> Self {
        Self {
            body,
            limits,
            activity,
            begun: Instant::now(),
            waited: Duration::ZERO,
            n_bytes: 0,
            ended: false,
        }
    }

    /// How long the body will be, where the client has said so.
    pub(super) fn declared(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Has everything been read that the client sends?
    pub(super) fn is_finished(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let from = Instant::now();
            let frame = time::timeout(self.patience(), self.body.frame()).await;
            self.waited += from.elapsed();
            match frame {
                Err(_) => return Err(BodyError::TimedOut),
                Ok(None) => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(Some(Err(_))) => return Err(BodyError::CutOff),
                Ok(Some(Ok(frame))) => {
                    // Trailers are of no use here.
                    if let Ok(piece) = frame.into_data() {
                        self.n_bytes += piece.len() as u64;
                        self.activity.moved();
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The whole body, at most `bytes_max`.
    pub(super) async fn whole(&mut self, bytes_max: u64) -> Result<Bytes, BodyError> {
        if self.declared().is_some_and(|declared| declared > bytes_max) {
            return Err(BodyError::TooLarge);
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if self.n_bytes > bytes_max {
                return Err(BodyError::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// How long to wait for the next piece.
    fn patience(&self) -> Duration {
        let limits = self.limits;
        let earned = Duration::from_secs(self.n_bytes / limits.body_rate_min.max(1));
        let by_rate = (limits.body_idle_timeout + earned).saturating_sub(self.waited);
        let by_whole = limits.request_timeout.saturating_sub(self.begun.elapsed());
        limits.body_idle_timeout.min(by_rate).min(by_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::Protocol;
    use super::*;
    use hyper::body::Frame;
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    /// Gives a piece of `piece_bytes` every `every`, forever.
    struct Drip {
        every: time::Interval,
        piece_bytes: usize,
    }

    impl Body for Drip {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.every.poll_tick(cx));
            let piece = Bytes::from(vec![0; self.piece_bytes]);
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    async fn seconds_until_error(every_s: u64, piece_bytes: usize) -> (BodyError, u64) {
        let limits = Limits::default();
        let every = time::interval(Duration::from_secs(every_s));
        let mut drip = Drip { every, piece_bytes };
        let (begun, activity) = (Instant::now(), ConnectionActivity::new(Protocol::Http1));
        let mut reader = BodyReader::new(&mut drip, &limits, &activity);
        loop {
            if let Err(error) = reader.next().await {
                return (error, begun.elapsed().as_secs());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_dripping_and_endless_bodies_end() {
        assert_eq!(
            seconds_until_error(31, 1 << 20).await,
            (BodyError::TimedOut, 30)
        );
        assert_eq!(seconds_until_error(1, 1).await, (BodyError::TimedOut, 30));
        // 512 bytes a second earn half a second each: the 30 s are used up after 60.
        assert_eq!(
            seconds_until_error(2, 1024).await,
            (BodyError::TimedOut, 61)
        );
        assert_eq!(
            seconds_until_error(1, 2048).await,
            (BodyError::TimedOut, 900)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_has_a_limit() {
        let (limits, activity) = (Limits::default(), ConnectionActivity::new(Protocol::Http1));
        let mut drip = Drip {
            every: time::interval(Duration::from_secs(1)),
            piece_bytes: 1000,
        };
        let mut reader = BodyReader::new(&mut drip, &limits, &activity);
        assert_eq!(reader.whole(2500).await, Err(BodyError::TooLarge));
        assert_eq!(reader.n_bytes, 3000);
        let mut full = http_body_util::Full::new(Bytes::from("0123456789"));
        let mut reader = BodyReader::new(&mut full, &limits, &activity);
        assert_eq!(reader.whole(9).await, Err(BodyError::TooLarge));
        assert_eq!(reader.whole(10).await, Ok(Bytes::from("0123456789")));
        assert!(reader.is_finished());
    }
}
