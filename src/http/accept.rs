//! The accept loop that all listeners share.
//!
//! A connection needs a place among all connections and one among those of its address, and gives
//! both back when it ends, however it ends. When all places are taken, the oldest connection on which
//! nobody has logged in yet is ended to make room for a new one: idle strangers keep nobody out. While
//! everybody inside is known, clients wait in the kernel's backlog. An address that has used up its
//! own places is turned away at once. Proxies that are trusted have no such bound, for they stand for
//! others; whose connection it is may become known later ([`Standing::is_of`]).
//!
//! The loop ends by `stop` only; no error of `accept` ends it. Everything that waits for a client,
//! the TLS handshake included, happens in the connection's own task.

use super::{Limits, connection::ConnectionSettings};
use crate::peer::{Networks, host_of};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
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

/// Accepts and serves until `settings.stop`, then waits up to `deadline` for what still runs.
pub(super) async fn run<F, Connection>(
    listener: TcpListener,
    settings: &ConnectionSettings,
    deadline: Duration,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Standing) -> Connection,
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut limiter = ConnectionLimiter::new(&settings.limits);
    let connections = TaskTracker::new();
    while let Some((tcp, peer, guest)) = settings
        .stop
        .run_until_cancelled(limiter.next(&listener))
        .await
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
        limiter.cut.cancel();
        connections.wait().await;
    }
}

/// Who is let in.
struct ConnectionLimiter {
    all: Arc<Semaphore>,
    /// Ends every connection.
    cut: CancellationToken,
    inside: Arc<Inside>,
    trusted_proxies: Arc<Networks>,
    /// When it was last said that places have run out.
    said: Option<Instant>,
}

/// Everybody who was let in and has not left.
struct Inside {
    per_address_max: usize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
    /// Those who have not logged in, by the order in which they came.
    strangers: Mutex<BTreeMap<u64, CancellationToken>>,
    n_came: AtomicU64,
}

/// One connection with its places; dropping it gives them back.
struct Guest {
    leave: CancellationToken,
    standing: Standing,
    _of_all: OwnedSemaphorePermit,
}

/// Whose connection it is, and whether somebody has logged in on it. Keeps none of its places.
#[derive(Clone)]
pub(super) struct Standing {
    inside: Arc<Inside>,
    person: Arc<Person>,
    number: u64,
}

#[derive(Default)]
struct Person {
    /// Among whose places the connection has one.
    host: OnceLock<IpAddr>,
    is_known: AtomicBool,
}

impl Standing {
    /// It is a connection of this address: takes one of its places. `false`: it has used them up.
    pub(super) fn is_of(&self, address: IpAddr) -> bool {
        let host = host_of(address);
        let mut counts = lock(&self.inside.per_address);
        let n_connections = counts.get(&host).copied().unwrap_or(0);
        let is_let_in =
            n_connections < self.inside.per_address_max && self.person.host.set(host).is_ok();
        if is_let_in {
            counts.insert(host, n_connections + 1);
        }
        is_let_in
    }

    fn give_back(&self) {
        let Some(host) = self.person.host.get() else {
            return;
        };
        let mut counts = lock(&self.inside.per_address);
        if let Some(n_connections) = counts.get_mut(host) {
            *n_connections -= 1;
            if *n_connections == 0 {
                counts.remove(host);
            }
        }
    }

    /// Somebody has logged in: the connection does not have to make room for others.
    pub(super) fn make_known(&self) {
        if !self.person.is_known.swap(true, Ordering::Relaxed) {
            lock(&self.inside.strangers).remove(&self.number);
        }
    }
}

impl ConnectionLimiter {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            cut: CancellationToken::new(),
            inside: Arc::new(Inside {
                per_address_max: limits.per_address_max,
                per_address: Mutex::default(),
                strangers: Mutex::default(),
                n_came: AtomicU64::new(0),
            }),
            trusted_proxies: limits.trusted_proxies.clone(),
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
        let stands_for_others = self.trusted_proxies.contain(address);
        if !stands_for_others && !self.inside.has_place(host_of(address)) {
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
        let standing = self.inside.standing();
        if !stands_for_others && !standing.is_of(address) {
            return None;
        }
        let leave = self.cut.child_token();
        lock(&self.inside.strangers).insert(standing.number, leave.clone());
        Some(Guest {
            leave,
            standing,
            _of_all: permit,
        })
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
    fn has_place(&self, host: IpAddr) -> bool {
        let counts = lock(&self.per_address);
        counts
            .get(&host)
            .is_none_or(|n_connections| *n_connections < self.per_address_max)
    }

    fn standing(self: &Arc<Self>) -> Standing {
        Standing {
            inside: self.clone(),
            person: Arc::default(),
            number: self.n_came.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.standing.make_known();
        self.standing.give_back();
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

    fn limiter(connections_max: usize, per_address_max: usize) -> ConnectionLimiter {
        ConnectionLimiter::new(&Limits {
            connections_max,
            per_address_max,
            ..Limits::default()
        })
    }

    async fn enter(limiter: &mut ConnectionLimiter, address: &str) -> Option<Guest> {
        let entering = limiter.enter(address.parse().unwrap());
        let entered = time::timeout(Duration::from_millis(20), entering).await;
        entered.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_per_address_and_given_back() {
        let mut limiter = limiter(4, 2);
        let first = enter(&mut limiter, "192.0.2.1").await;
        let second = enter(&mut limiter, "::ffff:192.0.2.1").await;
        assert!(first.is_some() && second.is_some());
        let more = enter(&mut limiter, "192.0.2.1").await;
        assert!(more.is_none(), "both spellings are one address");
        let third = enter(&mut limiter, "2001:db8::1").await;
        assert!(third.is_some());
        drop((first, second, third));
        assert!(lock(&limiter.inside.per_address).is_empty());
        assert!(lock(&limiter.inside.strangers).is_empty());
        assert_eq!(limiter.all.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_stands_for_others() {
        let mut limiter = ConnectionLimiter::new(&Limits {
            per_address_max: 1,
            trusted_proxies: Arc::new(Networks::from_iter(["10.0.0.0/8".parse().unwrap()])),
            ..Limits::default()
        });
        let mut of_proxy = Vec::new();
        for _ in 0..3 {
            of_proxy.push(enter(&mut limiter, "10.0.0.1").await.unwrap());
        }
        let client = |n: u8| IpAddr::from([192, 0, 2, n]);
        assert!(of_proxy[0].standing.is_of(client(1)));
        assert!(!of_proxy[1].standing.is_of(client(1)));
        assert!(of_proxy[2].standing.is_of(client(2)));
        assert!(enter(&mut limiter, "192.0.2.1").await.is_none());
        drop(of_proxy);
        assert!(enter(&mut limiter, "192.0.2.1").await.is_some());
        assert!(lock(&limiter.inside.per_address).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_makes_room_and_who_is_known_stays() {
        let mut limiter = limiter(3, 3);
        let known = enter(&mut limiter, "192.0.2.1").await.unwrap();
        let older = enter(&mut limiter, "192.0.2.2").await.unwrap();
        let newer = enter(&mut limiter, "192.0.2.3").await.unwrap();
        known.standing.make_known();
        assert!(enter(&mut limiter, "192.0.2.4").await.is_none());
        let told = [&known, &older, &newer].map(|guest| guest.leave.is_cancelled());
        assert_eq!(told, [false, true, false]);
        // It goes, and its place is the next one's.
        drop(older);
        let next = enter(&mut limiter, "192.0.2.4").await.unwrap();
        assert!(!newer.leave.is_cancelled());
        // Everybody is known: whoever comes waits, and nobody has to go.
        newer.standing.make_known();
        next.standing.make_known();
        assert!(enter(&mut limiter, "192.0.2.5").await.is_none());
        let told = [&known, &newer, &next].map(|guest| guest.leave.is_cancelled());
        assert_eq!(told, [false; 3]);
    }
}
