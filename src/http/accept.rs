//! The accept loop that all listeners share.
//!
//! A connection needs a place among all connections and one among those of its address, and gives
//! both back when it ends, however it ends. When all places are taken, the oldest connection on which
//! nobody has logged in yet is ended to make room for a new one: idle strangers keep nobody out. While
//! everybody inside is known, clients wait in the kernel's backlog. An address that has used up its
//! own places is turned away at once.
//!
//! The loop ends by `stop` only; no error of `accept` ends it. Everything that waits for a client,
//! the TLS handshake included, happens in the connection's own task.

use super::{Limits, connection::Terms};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause after an error that the next `accept` would meet again, such as no free descriptor.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// That places run out is said so often at most.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Accepts and serves until `terms.stop`, then waits up to `deadline` for what still runs.
pub(super) async fn run<F, Connection>(
    listener: TcpListener,
    terms: &Terms,
    deadline: Duration,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Standing) -> Connection,
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut door = Door::new(&terms.limits);
    let connections = TaskTracker::new();
    while let Some((tcp, peer, guest)) = terms.stop.run_until_cancelled(door.next(&listener)).await
    {
        let connection = serve(tcp, peer, guest.standing.clone());
        connections.spawn(async move {
            let leave = guest.leave.clone();
            leave.run_until_cancelled(connection).await;
            drop(guest);
        });
    }
    drop(listener);
    connections.close();
    if time::timeout(deadline, connections.wait()).await.is_err() {
        let n_connections = connections.len();
        tracing::warn!(n_connections, "connections cut at the deadline of the stop");
        door.cut.cancel();
        connections.wait().await;
    }
}

/// Who is let in.
struct Door {
    all: Arc<Semaphore>,
    /// Ends every connection.
    cut: CancellationToken,
    inside: Arc<Inside>,
    per_address_max: usize,
    /// When it was last said that places have run out.
    said: Option<Instant>,
}

/// Everybody who was let in and has not left.
#[derive(Default)]
struct Inside {
    per_address: Mutex<HashMap<IpAddr, usize>>,
    /// Those who have not logged in, by the order in which they came.
    strangers: Mutex<BTreeMap<u64, CancellationToken>>,
    n_came: AtomicU64,
}

/// One connection with its places; dropping it gives them back.
struct Guest {
    address: IpAddr,
    inside: Arc<Inside>,
    leave: CancellationToken,
    standing: Standing,
    _of_all: OwnedSemaphorePermit,
}

/// Whether somebody has logged in on a connection. Keeps none of its places.
#[derive(Clone)]
pub(super) struct Standing {
    inside: Arc<Inside>,
    is_known: Arc<AtomicBool>,
    number: u64,
}

impl Standing {
    /// Somebody has logged in: the connection does not have to make room for others.
    pub(super) fn make_known(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            lock(&self.inside.strangers).remove(&self.number);
        }
    }
}

impl Door {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            cut: CancellationToken::new(),
            inside: Arc::default(),
            per_address_max: limits.per_address_max,
            said: None,
        }
    }

    /// The next connection that may come in.
    async fn next(&mut self, listener: &TcpListener) -> (TcpStream, SocketAddr, Guest) {
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => match self.enter(peer.ip()).await {
                    Some(guest) => {
                        if let Err(error) = tcp.set_nodelay(true) {
                            tracing::debug!(%error, "no TCP_NODELAY");
                        }
                        return (tcp, peer, guest);
                    }
                    None => tracing::debug!(%peer, "too many connections from this address"),
                },
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// `None`: the address has used up its places. Waits while all are taken by who is known.
    async fn enter(&mut self, address: IpAddr) -> Option<Guest> {
        let address = network(address);
        if self.inside.count(address) >= self.per_address_max {
            return None;
        }
        let permit = match self.all.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.make_room();
                // Nobody closes this semaphore; if it were, nobody could come in any more.
                self.all.clone().acquire_owned().await.ok()?
            }
        };
        Some(self.inside.enter(address, permit, &self.cut))
    }

    fn make_room(&mut self) {
        let oldest = lock(&self.inside.strangers).pop_first();
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(
                "all places for connections are taken: the oldest on which nobody has logged in go"
            );
        }
        if let Some((_, leave)) = oldest {
            leave.cancel();
        }
    }
}

impl Inside {
    fn count(&self, address: IpAddr) -> usize {
        lock(&self.per_address).get(&address).copied().unwrap_or(0)
    }

    fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
        cut: &CancellationToken,
    ) -> Guest {
        *lock(&self.per_address).entry(address).or_default() += 1;
        let leave = cut.child_token();
        let number = self.n_came.fetch_add(1, Ordering::Relaxed);
        lock(&self.strangers).insert(number, leave.clone());
        Guest {
            address,
            inside: self.clone(),
            leave,
            standing: Standing {
                inside: self.clone(),
                is_known: Arc::default(),
                number,
            },
            _of_all: permit,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.standing.make_known();
        let mut counts = lock(&self.inside.per_address);
        if let Some(n_connections) = counts.get_mut(&self.address) {
            *n_connections -= 1;
            if *n_connections == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: for IPv6 the /64, which a single host can fill at will.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The client went away between its SYN and our `accept`: nothing to wait for.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// What is held is right after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(connections_max: usize, per_address_max: usize) -> Door {
        Door::new(&Limits {
            connections_max,
            per_address_max,
            ..Limits::default()
        })
    }

    async fn enter(door: &mut Door, address: &str) -> Option<Guest> {
        let entering = door.enter(address.parse().unwrap());
        let entered = time::timeout(Duration::from_millis(20), entering).await;
        entered.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_per_address_and_given_back() {
        let mut door = door(4, 2);
        let first = enter(&mut door, "192.0.2.1").await;
        let second = enter(&mut door, "::ffff:192.0.2.1").await;
        assert!(first.is_some() && second.is_some());
        let more = enter(&mut door, "192.0.2.1").await;
        assert!(more.is_none(), "both spellings are one address");
        let third = enter(&mut door, "2001:db8::1").await;
        assert!(third.is_some());
        drop((first, second, third));
        assert!(lock(&door.inside.per_address).is_empty());
        assert!(lock(&door.inside.strangers).is_empty());
        assert_eq!(door.all.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_makes_room_and_who_is_known_stays() {
        let mut door = door(3, 3);
        let known = enter(&mut door, "192.0.2.1").await.unwrap();
        let older = enter(&mut door, "192.0.2.2").await.unwrap();
        let newer = enter(&mut door, "192.0.2.3").await.unwrap();
        known.standing.make_known();
        assert!(enter(&mut door, "192.0.2.4").await.is_none());
        let told = [&known, &older, &newer].map(|guest| guest.leave.is_cancelled());
        assert_eq!(told, [false, true, false]);
        // It goes, and its place is the next one's.
        drop(older);
        let next = enter(&mut door, "192.0.2.4").await.unwrap();
        assert!(!newer.leave.is_cancelled());
        // Everybody is known: whoever comes waits, and nobody has to go.
        newer.standing.make_known();
        next.standing.make_known();
        assert!(enter(&mut door, "192.0.2.5").await.is_none());
        let told = [&known, &newer, &next].map(|guest| guest.leave.is_cancelled());
        assert_eq!(told, [false; 3]);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
