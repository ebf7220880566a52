//! The line in front of the password hash: few at a time, served in turn by address.
//!
//! At most [`AT_ONCE`] hashes run together. Who has to wait stands in the line of its address, and
//! the addresses are served in rotation, so one address that sends a flood waits for itself and a
//! newcomer waits for one hash per other address at most. Both a line and all lines together are
//! bounded; when all are full, a newcomer takes the last place of the longest line if that is
//! longer than its own would become. Nothing here knows users or passwords.

use super::throttle::Address;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

pub(super) const AT_ONCE: usize = 2;
pub(super) const WAITING_MAX: usize = 64;
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

struct State {
    free: usize,
    /// In the order of service. Invariant: no line is empty.
    lines: VecDeque<(Address, VecDeque<oneshot::Sender<Turn>>)>,
}

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: AT_ONCE,
                lines: VecDeque::new(),
            }),
        })
    }

    /// Waits for a turn. `Full`: there was no place, or the place was given to another.
    pub(super) async fn turn(self: &Arc<Self>, at: Address) -> Result<Turn, Full> {
        let place = {
            let mut state = self.locked();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn { line: self.clone() });
            }
            state.join(at)?
        };
        place.await.map_err(|_| Full)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, at: Address) -> Result<oneshot::Receiver<Turn>, Full> {
        let own = self.lines.iter().position(|(address, _)| *address == at);
        let own_len = own.map_or(0, |n| self.lines[n].1.len());
        if own_len >= WAITING_PER_ADDRESS_MAX {
            return Err(Full);
        }
        let waiting: usize = self.lines.iter().map(|(_, line)| line.len()).sum();
        if waiting >= WAITING_MAX {
            let longest = self.lines.iter_mut().map(|(_, line)| line);
            let longest = longest.max_by_key(|line| line.len()).ok_or(Full)?;
            if longest.len() <= own_len + 1 {
                return Err(Full);
            }
            // Its waiter learns of it by the dropped sender. The line keeps at least one.
            longest.pop_back();
        }
        let (turn, place) = oneshot::channel();
        match own {
            Some(n) => self.lines[n].1.push_back(turn),
            None => self.lines.push_back((at, VecDeque::from([turn]))),
        }
        Ok(place)
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (address, mut line) = self.lines.pop_front()?;
        let next = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((address, line));
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
        let line = line.clone();
        let at = Address::of(IpAddr::from([192, 0, 2, n]));
        let mut waiting: Waiting = Box::pin(async move { line.turn(at).await });
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
        assert!(line.locked().lines.is_empty());
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
}
