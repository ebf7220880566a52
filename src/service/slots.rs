//! Slots for transformations, which take long.
//!
//! A transformation needs a slot among all and one among its user's, so one user's slow ones do not
//! hold up another's. Who finds none waits in the line of his user, and users are served in rotation; a
//! line has an end, and waiting has one too.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

const WAITING_MAX: usize = 256;
const WAITING_PER_USER_MAX: usize = 16;
/// Longer than transformations take that are worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The line is too long, or was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A tenant's share of the slots that all tenants have together.
#[derive(Clone)]
pub struct Slots {
    shared: Arc<Shared>,
    /// Users of different tenants are different users, whatever their names are.
    tenant: usize,
}

type User = (usize, Arc<str>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    max: usize,
    per_user_max: usize,
    taken: usize,
    /// Without users who have none.
    taken_by: HashMap<User, usize>,
    /// In the order of service. Invariant: no line is empty.
    lines: VecDeque<(User, VecDeque<oneshot::Sender<Slot>>)>,
}

/// A slot that is taken; dropping it calls the next in line.
pub(super) struct Slot {
    shared: Arc<Shared>,
    user: User,
}

impl Slots {
    /// For the first tenant: so many slots in all, and for each user.
    pub fn new(max: usize, per_user_max: usize) -> Self {
        let slots = Self {
            shared: Arc::default(),
            tenant: 0,
        };
        slots.limit(max, per_user_max);
        slots
    }

    /// From now on there are so many slots for all tenants, and for each user. Those that are taken stay so.
    pub fn limit(&self, max: usize, per_user_max: usize) {
        {
            let mut state = self.shared.state.lock();
            (state.max, state.per_user_max) = (max, per_user_max);
        }
        while let Some((turn, slot)) = self.shared.next() {
            drop(turn.send(slot));
        }
    }

    /// The same slots, for another tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: usize) -> Self {
        Self {
            shared: self.shared.clone(),
            tenant,
        }
    }

    /// Waits for a slot, in line and not for ever.
    ///
    /// # Errors
    /// When the line is too long, or it took too long: the same may be tried later.
    pub(super) async fn take(&self, user: &Arc<str>) -> Result<Slot, Full> {
        let user = (self.tenant, user.clone());
        let turn = {
            let mut state = self.shared.state.lock();
            if state.may_take(&user) {
                state.add(&user);
                let shared = self.shared.clone();
                return Ok(Slot { shared, user });
            }
            state.join(user)?
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }
}

impl Shared {
    /// Takes the slot that has become free for the first who may have it.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let mut state = self.state.lock();
        let at = (0..state.lines.len()).find(|at| state.may_take(&state.lines[*at].0))?;
        let (user, mut line) = state.lines.remove(at)?;
        let turn = line.pop_front()?;
        if !line.is_empty() {
            state.lines.push_back((user.clone(), line));
        }
        state.add(&user);
        let shared = self.clone();
        Some((turn, Slot { shared, user }))
    }
}

impl State {
    fn may_take(&self, user: &User) -> bool {
        let own = self.taken_by.get(user).copied().unwrap_or(0);
        self.taken < self.max && own < self.per_user_max
    }

    fn add(&mut self, user: &User) {
        self.taken += 1;
        *self.taken_by.entry(user.clone()).or_default() += 1;
    }

    fn join(&mut self, user: User) -> Result<oneshot::Receiver<Slot>, Full> {
        // Who has lost patience stands there no more.
        self.lines.retain_mut(|(_, line)| {
            line.retain(|turn| !turn.is_closed());
            !line.is_empty()
        });
        let waiting: usize = self.lines.iter().map(|(_, line)| line.len()).sum();
        if waiting >= WAITING_MAX {
            return Err(Full);
        }
        let (turn, slot) = oneshot::channel();
        match self.lines.iter_mut().find(|(other, _)| *other == user) {
            Some((_, line)) if line.len() >= WAITING_PER_USER_MAX => return Err(Full),
            Some((_, line)) => line.push_back(turn),
            None => self.lines.push_back((user, VecDeque::from([turn]))),
        }
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.taken -= 1;
            if let Some(own) = state.taken_by.get_mut(&self.user) {
                *own -= 1;
                if *own == 0 {
                    state.taken_by.remove(&self.user);
                }
            }
        }
        // Not under the lock: a waiter that has left hands the slot back, and dropping that comes
        // here again.
        if let Some((turn, slot)) = self.shared.next() {
            drop(turn.send(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;

    fn poll<T>(waiting: &mut Waiting<T>) -> Poll<T> {
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    fn take(slots: &Slots, user: &str) -> Waiting<Result<Slot, Full>> {
        let (slots, user) = (slots.clone(), user.into());
        Box::pin(async move { slots.take(&user).await })
    }

    fn taken(waiting: &mut Waiting<Result<Slot, Full>>) -> Slot {
        match poll(waiting) {
            Poll::Ready(Ok(slot)) => slot,
            Poll::Ready(Err(Full)) => panic!("refused"),
            Poll::Pending => panic!("waiting"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_users_slow_ones_do_not_hold_up_another() {
        let slots = Slots::new(4, 2);
        let slow: Vec<Slot> = (0..2).map(|_| taken(&mut take(&slots, "a"))).collect();
        let mut third = take(&slots, "a");
        assert!(poll(&mut third).is_pending());
        let other = taken(&mut take(&slots, "b"));
        // Of the same name, but of another tenant.
        let elsewhere = taken(&mut take(&slots.for_tenant(1), "a"));
        assert!(poll(&mut take(&slots, "c")).is_pending(), "all are taken");
        drop(other);
        assert!(
            poll(&mut third).is_pending(),
            "its user has as many as he may"
        );
        drop(slow);
        let _third = taken(&mut third);
        drop(elsewhere);
    }

    #[tokio::test(start_paused = true)]
    async fn users_are_served_in_rotation() {
        let slots = Slots::new(1, 1);
        let first = taken(&mut take(&slots, "a"));
        let mut flood: Vec<_> = (0..3).map(|_| take(&slots, "a")).collect();
        assert!(flood.iter_mut().all(|waiting| poll(waiting).is_pending()));
        let mut other = take(&slots, "b");
        assert!(poll(&mut other).is_pending());
        drop(first);
        drop(taken(&mut flood[0]));
        let other = taken(&mut other);
        assert!(poll(&mut flood[1]).is_pending());
        // One that has left is passed over.
        drop(flood.remove(1));
        drop(other);
        drop(taken(&mut flood[1]));
        let state = slots.shared.state.lock();
        assert_eq!(
            (state.taken, state.taken_by.len(), state.lines.len()),
            (0, 0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn other_limits_count_for_those_who_wait() {
        let slots = Slots::new(2, 2);
        let mut slow: Vec<Slot> = (0..2).map(|_| taken(&mut take(&slots, "a"))).collect();
        let mut line: Vec<_> = (0..2).map(|_| take(&slots, "b")).collect();
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
        slots.for_tenant(1).limit(3, 1);
        let first = taken(&mut line[0]);
        slots.limit(2, 2);
        // There are more than there may be now.
        drop(slow.pop());
        assert!(poll(&mut line[1]).is_pending());
        drop(slow);
        let _second = taken(&mut line[1]);
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_and_patience_end() {
        let slots = Slots::new(1, 1);
        let _slow = taken(&mut take(&slots, "a"));
        let mut line: Vec<_> = (0..WAITING_PER_USER_MAX)
            .map(|_| take(&slots, "a"))
            .collect();
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
        assert!(matches!(
            poll(&mut take(&slots, "a")),
            Poll::Ready(Err(Full))
        ));
        tokio::time::advance(PATIENCE).await;
        for waiting in &mut line {
            assert!(matches!(poll(waiting), Poll::Ready(Err(Full))));
        }
        assert!(poll(&mut take(&slots, "a")).is_pending());
    }
}
