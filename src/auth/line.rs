//! The line in front of the password hash: few at a time, served in turn by address.
//!
//! At most [`AT_ONCE`] hashes run together. Who has to wait stands in the line of its address, and
//! the addresses are served in rotation, so one address that sends a flood waits for itself and a
//! newcomer waits for one hash per other address at most. Users at addresses where they are familiar
//! have lines of their own, which are served first: strangers, however many addresses they have,
//! hold up only each other. Both a line and all lines together are bounded; when all are full, a
//! newcomer takes the last place of the longest line if that is longer than its own would become,
//! and a familiar one that of any stranger. Nothing here knows users or passwords.

use super::throttle::Address;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) const AT_ONCE: usize = 2;
/// Together they wait for some seconds at most.
pub(super) const WAITING_MAX: usize = 512;
pub(super) const WAITING_PER_ADDRESS_MAX: usize = 8;

/// There is no place to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The permission to hash once; dropping it calls the next in line.
pub(super) struct Turn {
    line: Arc<Line>,
}

pub(super) struct Line {
    state: Mutex<State>,
}

/// Who is served first, from last to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    Stranger,
    Familiar,
}

struct State {
    free: usize,
    familiar: Lines,
    strangers: Lines,
}

/// In the order of service. Invariant: no line is empty.
#[derive(Default)]
struct Lines(VecDeque<(Address, VecDeque<oneshot::Sender<Turn>>)>);

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: AT_ONCE,
                familiar: Lines::default(),
                strangers: Lines::default(),
            }),
        })
    }

    /// Waits for a turn. `Full`: there was no place, or the place was given to another.
    pub(super) async fn turn(self: &Arc<Self>, at: Address, rank: Rank) -> Result<Turn, Full> {
        let place = {
            let mut state = self.locked();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn { line: self.clone() });
            }
            state.join(at, rank)?
        };
        place.await.map_err(|_| Full)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn join(&mut self, at: Address, rank: Rank) -> Result<oneshot::Receiver<Turn>, Full> {
        let own_len = self.lines(rank).len_of(at);
        if own_len >= WAITING_PER_ADDRESS_MAX {
            return Err(Full);
        }
        if self.familiar.waiting() + self.strangers.waiting() >= WAITING_MAX {
            let made_room = match rank {
                Rank::Stranger => self.strangers.shorten(own_len + 1),
                Rank::Familiar => self.strangers.shorten(0) || self.familiar.shorten(own_len + 1),
            };
            if !made_room {
                return Err(Full);
            }
        }
        let (turn, place) = oneshot::channel();
        self.lines(rank).push(at, turn);
        Ok(place)
    }

    fn lines(&mut self, rank: Rank) -> &mut Lines {
        match rank {
            Rank::Stranger => &mut self.strangers,
            Rank::Familiar => &mut self.familiar,
        }
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.familiar.next().or_else(|| self.strangers.next())
    }
}

impl Lines {
    fn waiting(&self) -> usize {
        self.0.iter().map(|(_, line)| line.len()).sum()
    }

    fn len_of(&self, at: Address) -> usize {
        let own = self.0.iter().find(|(address, _)| *address == at);
        own.map_or(0, |(_, line)| line.len())
    }

    fn push(&mut self, at: Address, turn: oneshot::Sender<Turn>) {
        match self.0.iter_mut().find(|(address, _)| *address == at) {
            Some((_, line)) => line.push_back(turn),
            None => self.0.push_back((at, VecDeque::from([turn]))),
        }
    }

    /// Takes the last place of the longest line if that has more than `len` places. Who stood there
    /// learns of it by the dropped sender.
    fn shorten(&mut self, len: usize) -> bool {
        let longest = (0..self.0.len()).max_by_key(|n| self.0[*n].1.len());
        let Some(longest) = longest.filter(|n| self.0[*n].1.len() > len) else {
            return false;
        };
        let line = &mut self.0[longest].1;
        line.pop_back();
        if line.is_empty() {
            self.0.remove(longest);
        }
        true
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (address, mut line) = self.0.pop_front()?;
        let next = line.pop_front();
        if !line.is_empty() {
            self.0.push_back((address, line));
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.line.locked();
        match state.next() {
            None => state.free += 1,
            Some(next) => {
                // Not under the lock: a waiter that has left hands the turn back, and dropping
                // that comes here again.
                drop(state);
                let turn = Turn {
                    line: self.line.clone(),
                };
                drop(next.send(turn));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::net::IpAddr;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

    fn join(line: &Arc<Line>, n: u8) -> (Waiting, Poll<Result<Turn, Full>>) {
        join_as(line, n, Rank::Stranger)
    }

    fn join_as(line: &Arc<Line>, n: u8, rank: Rank) -> (Waiting, Poll<Result<Turn, Full>>) {
        let line = line.clone();
        let at = Address::of(IpAddr::from([192, 0, 2, n]));
        let mut waiting: Waiting = Box::pin(async move { line.turn(at, rank).await });
        let now = poll(&mut waiting);
        (waiting, now)
    }

    fn poll(waiting: &mut Waiting) -> Poll<Result<Turn, Full>> {
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ready(polled: Poll<Result<Turn, Full>>) -> Turn {
        match polled {
            Poll::Ready(Ok(turn)) => turn,
            Poll::Ready(Err(Full)) => panic!("refused"),
            Poll::Pending => panic!("waiting"),
        }
    }

    fn refused(polled: &Poll<Result<Turn, Full>>) -> bool {
        matches!(polled, Poll::Ready(Err(Full)))
    }

    #[test]
    fn a_newcomer_waits_for_one_turn_of_a_flooding_address() {
        let line = Line::new();
        let first = ready(join(&line, 1).1);
        let _second = ready(join(&line, 1).1);
        let mut flood: Vec<Waiting> = (0..WAITING_PER_ADDRESS_MAX)
            .map(|_| join(&line, 1).0)
            .collect();
        assert!(refused(&join(&line, 1).1));
        let mut newcomer = join(&line, 2).0;
        drop(first);
        let turn = ready(poll(&mut flood[0]));
        assert!(poll(&mut newcomer).is_pending());
        drop(turn);
        let _turn = ready(poll(&mut newcomer));
        assert!(flood[1..].iter_mut().all(|w| poll(w).is_pending()));
    }

    #[test]
    fn a_waiter_that_left_is_passed_over() {
        let line = Line::new();
        let first = ready(join(&line, 1).1);
        let second = ready(join(&line, 1).1);
        let left = join(&line, 1).0;
        let mut stays = join(&line, 1).0;
        drop(left);
        drop(first);
        let third = ready(poll(&mut stays));
        drop((second, third));
        assert_eq!(line.locked().free, AT_ONCE);
        assert!(line.locked().strangers.0.is_empty());
    }

    #[test]
    fn a_turn_that_was_given_but_never_taken_goes_on() {
        let line = Line::new();
        let first = ready(join(&line, 1).1);
        let _second = ready(join(&line, 1).1);
        let given = join(&line, 1).0;
        drop(first);
        drop(given);
        let _again = ready(join(&line, 1).1);
    }

    #[test]
    fn when_all_lines_are_full_the_longest_gives_up_its_last_place() {
        let line = Line::new();
        let _running = [ready(join(&line, 1).1), ready(join(&line, 1).1)];
        let lines = u8::try_from(WAITING_MAX / WAITING_PER_ADDRESS_MAX).unwrap();
        let mut waiting: Vec<Waiting> = (1..=lines)
            .flat_map(|n| (0..WAITING_PER_ADDRESS_MAX).map(move |_| n))
            .map(|n| join(&line, n).0)
            .collect();
        let (mut newcomer, polled) = join(&line, 100);
        assert!(polled.is_pending());
        let polled = waiting.iter_mut().map(poll);
        assert_eq!(polled.filter(refused).count(), 1);
        assert!(poll(&mut newcomer).is_pending());
    }

    #[test]
    fn who_is_familiar_waits_for_no_stranger_and_finds_a_place() {
        let line = Line::new();
        let first = ready(join(&line, 1).1);
        let _second = ready(join(&line, 1).1);
        let lines = u8::try_from(WAITING_MAX / WAITING_PER_ADDRESS_MAX).unwrap();
        let mut strangers: Vec<Waiting> = (1..=lines)
            .flat_map(|n| (0..WAITING_PER_ADDRESS_MAX).map(move |_| n))
            .map(|n| join(&line, n).0)
            .collect();
        let (mut familiar, polled) = join_as(&line, 200, Rank::Familiar);
        assert!(polled.is_pending());
        let polled = strangers.iter_mut().map(poll);
        assert_eq!(polled.filter(refused).count(), 1);
        drop(first);
        let _turn = ready(poll(&mut familiar));
    }
}
