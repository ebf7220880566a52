//! What happens on one connection, for the question whether it has been silent for too long.
//!
//! hyper bounds the reading of a head, but neither a half sent HTTP/2 preface, nor an idle HTTP/2
//! connection that answers pings, nor a client that never reads its answer. The activity is
//! notified of every start, piece and end; from that, [`ConnectionActivity::overdue`] knows how
//! long the present silence may last. While a request is being worked on inside, it may last as
//! long as it takes.
//!
//! It also counts what comes in while no request begins or moves: pings, settings, window updates and
//! priorities cost work and lead to nothing. Who sends too much of that is shown out.

use super::Limits;
use crate::service::Completion;
use parking_lot::{Mutex, MutexGuard};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) struct ConnectionActivity {
    protocol: Protocol,
    state: Mutex<State>,
    /// Of answers that hyper has taken whole, but that may not have been sent. They go with the
    /// connection, uncalled, if it breaks off before.
    unsent: Mutex<Vec<Completion>>,
    /// Notified when the first request has come.
    begun: Notify,
    /// Notified when the client has sent too much that moves no request.
    flooded: Notify,
}

struct State {
    /// Requests between their head's end and their answer's end.
    in_flight: usize,
    /// Those of them that only wait for the client to take the answer, each with the moment at
    /// which it last took something: a stalled one is not kept alive by its neighbours.
    sending: BTreeMap<u64, Instant>,
    /// The next request's number.
    next: u64,
    /// At least one request has come.
    served: bool,
    /// HTTP/1: bytes have come that are no request yet.
    half_read: bool,
    /// A request was answered without reading its body to the end.
    body_unread: bool,
    /// Read since a request last began, moved or ended.
    idle_bytes: u64,
    /// The last sign of life that counts.
    since: Instant,
}

/// One request in flight; dropping it ends it.
pub(super) struct Running {
    activity: Arc<ConnectionActivity>,
    number: u64,
}

/// Notes that the client has taken a part of one answer.
#[derive(Clone)]
pub(super) struct Ticker {
    activity: Arc<ConnectionActivity>,
    number: u64,
}

impl ConnectionActivity {
    pub(super) fn new(protocol: Protocol) -> Arc<Self> {
        let state = State {
            in_flight: 0,
            sending: BTreeMap::new(),
            next: 0,
            served: false,
            half_read: false,
            body_unread: false,
            idle_bytes: 0,
            since: Instant::now(),
        };
        Arc::new(Self {
            protocol,
            state: Mutex::new(state),
            unsent: Mutex::default(),
            begun: Notify::new(),
            flooded: Notify::new(),
        })
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut state = self.state();
        state.in_flight += 1;
        state.served = true;
        state.half_read = false;
        state.idle_bytes = 0;
        state.since = Instant::now();
        state.next += 1;
        self.begun.notify_one();
        Running {
            activity: self.clone(),
            number: state.next,
        }
    }

    /// This many bytes have come from the client. Says whether it may go on: no more than
    /// `idle_bytes_max` are taken while no request begins or moves.
    pub(super) fn received(&self, n_bytes: usize, idle_bytes_max: u64) -> bool {
        let mut state = self.state();
        state.idle_bytes += n_bytes as u64;
        // HTTP/2 has frames that belong to no request, such as the answer to a ping.
        let is_begin = self.protocol == Protocol::Http1 && state.in_flight == 0;
        if is_begin && !state.half_read {
            state.half_read = true;
            state.since = Instant::now();
        }
        let may_go_on = state.idle_bytes <= idle_bytes_max;
        if !may_go_on {
            self.flooded.notify_one();
        }
        may_go_on
    }

    /// A piece of a request's body has been taken.
    pub(super) fn moved(&self) {
        self.state().idle_bytes = 0;
    }

    /// The request in flight is answered although its body has not been read to the end.
    pub(super) fn leave_body_unread(&self) {
        self.state().body_unread = true;
    }

    /// May the client still be sending what no one will read?
    pub(super) fn is_cut_short(&self) -> bool {
        let state = self.state();
        state.half_read || state.body_unread
    }

    /// All that hyper had to send has been handed to the kernel; gives what is to happen once the
    /// client has it.
    pub(super) fn flushed(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.unsent())
    }

    fn unsent(&self) -> MutexGuard<'_, Vec<Completion>> {
        self.unsent.lock()
    }

    /// Returns once there has been a request.
    pub(super) async fn begun(&self) {
        if !self.state().served {
            self.begun.notified().await;
        }
    }

    /// Returns once the connection has to end: it has been silent for longer than it may, or has
    /// sent too much that moves no request.
    pub(super) async fn overdue(&self, limits: &Limits, stopping: bool) {
        tokio::select! {
            () = self.silent(limits, stopping) => {}
            () = self.flooded.notified() => {
                tracing::debug!("a connection sent too much that moves no request");
            }
        }
    }

    async fn silent(&self, limits: &Limits, stopping: bool) {
        loop {
            let due = self.state().due(limits, stopping);
            // Checked again after `header_timeout` at the latest: what is allowed can shrink.
            let next_check = Instant::now() + limits.header_timeout;
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => time::sleep_until(due.min(next_check)).await,
                None => time::sleep_until(next_check).await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// When the present silence has lasted for too long, if nothing happens until then.
    fn due(&self, limits: &Limits, stopping: bool) -> Option<Instant> {
        if let Some(stalled) = self.sending.values().min() {
            return Some(*stalled + limits.send_idle_timeout);
        }
        let allowance = if self.in_flight > 0 {
            return None;
        } else if stopping {
            limits.lingering_close_timeout
        } else if self.served && !self.half_read {
            limits.keep_alive_timeout
        } else {
            limits.header_timeout
        };
        Some(self.since + allowance)
    }
}

impl Running {
    /// The answer is ready: from now on it is the client's turn.
    pub(super) fn sending(&mut self) -> Ticker {
        let ticker = Ticker {
            activity: self.activity.clone(),
            number: self.number,
        };
        let mut state = self.activity.state();
        state.sending.insert(self.number, Instant::now());
        ticker
    }

    /// The last byte is on the connection; what is to happen once it has been delivered.
    pub(super) fn written(&self, completion: Completion) {
        self.activity.unsent().push(completion);
    }
}

impl Ticker {
    /// The client has taken another piece.
    pub(super) fn progress(&self) {
        let mut state = self.activity.state();
        state.idle_bytes = 0;
        if let Some(last) = state.sending.get_mut(&self.number) {
            *last = Instant::now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.in_flight -= 1;
        state.sending.remove(&self.number);
        state.idle_bytes = 0;
        state.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn allowed(activity: &ConnectionActivity, stopping: bool) -> Option<Duration> {
        let state = activity.state();
        let due = state.due(&Limits::default(), stopping);
        due.map(|due| due - state.since)
    }

    #[tokio::test(start_paused = true)]
    async fn the_allowance_follows_what_the_connection_does() {
        let limits = Limits::default();
        let activity = ConnectionActivity::new(Protocol::Http1);
        assert_eq!(allowed(&activity, false), Some(limits.header_timeout));
        let mut running = activity.begin();
        assert_eq!(allowed(&activity, true), None);
        running.sending();
        assert_eq!(allowed(&activity, true), Some(limits.send_idle_timeout));
        drop(running);
        assert_eq!(allowed(&activity, false), Some(limits.keep_alive_timeout));
        assert_eq!(
            allowed(&activity, true),
            Some(limits.lingering_close_timeout)
        );
        activity.received(1, u64::MAX);
        assert_eq!(allowed(&activity, false), Some(limits.header_timeout));
        assert!(activity.is_cut_short());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_answer_is_not_kept_alive_by_its_neighbours() {
        let limits = Limits::default();
        let activity = ConnectionActivity::new(Protocol::Http2);
        let (mut stalled, mut lively) = (activity.begin(), activity.begin());
        stalled.sending();
        let ticker = lively.sending();
        let begin = Instant::now();
        let alive = async {
            loop {
                time::sleep(Duration::from_secs(1)).await;
                ticker.progress();
                drop(activity.begin());
            }
        };
        tokio::select! {
            () = alive => {}
            () = activity.overdue(&limits, false) => {}
        }
        assert!(begin.elapsed() <= limits.send_idle_timeout + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_read_head_on_an_idle_connection_is_noticed() {
        let limits = Limits::default();
        let activity = ConnectionActivity::new(Protocol::Http1);
        drop(activity.begin());
        let begin = Instant::now();
        let half = async {
            time::sleep(Duration::from_secs(20)).await;
            activity.received(1, u64::MAX);
        };
        tokio::join!(half, activity.overdue(&limits, false));
        let silent = begin.elapsed();
        assert!(silent >= Duration::from_secs(35), "{silent:?}");
        assert!(silent <= Duration::from_secs(36), "{silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_too_much_that_moves_nothing_is_disconnected() {
        let limits = Limits::default();
        let activity = ConnectionActivity::new(Protocol::Http2);
        let some = 1000;
        let until_refused = || {
            let pings = std::iter::repeat_with(|| activity.received(17, some));
            let pings = pings.take(1000);
            pings.take_while(|may_go_on| *may_go_on).count()
        };
        let running = activity.begin();
        assert_eq!(until_refused(), 58);
        let begin = Instant::now();
        activity.overdue(&limits, false).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // What moves makes good what came before it.
        activity.moved();
        assert_eq!(until_refused(), 58);
        drop(activity.begin());
        assert_eq!(until_refused(), 58);
        drop(running);
        assert_eq!(until_refused(), 58);
    }
}
