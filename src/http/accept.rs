//! The accept loop that all listeners share.
//!
//! A connection needs a permit out of those for all connections and one out of those for its address,
//! and returns both when it ends, however it ends. When no permit is left, the oldest connection on
//! which no one has logged in yet is closed to make room for a new one: idle unauthenticated keep no one
//! out. While every connection is authenticated, new clients wait in the kernel's backlog. A client
//! whose address has used up its permits is turned away immediately. Trusted proxies have no such
//! bound, because they speak for others; the client behind one may become known later
//! ([`Registration::count_for`]).
//!
//! Only `stop` ends the loop; no error of `accept` does. Everything that waits for a client, the TLS
//! handshake included, happens in the connection's own task.

use super::{Limits, connection::ConnectionSettings};
use crate::peer::{Networks, host_of};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
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
/// Shortest time between two warnings that no permit is left.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How long what still runs gets when the service stops; asked then.
pub(crate) type Deadline = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Accepts and serves until `settings.stop`, then waits as long for what still runs as `deadline` says.
pub(super) async fn run<F, Connection>(
    listener: TcpListener,
    settings: &ConnectionSettings,
    deadline: Deadline,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Registration) -> Connection,
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut limiter = ConnectionLimiter::new(&settings.limits);
    let connections = TaskTracker::new();
    while let Some((tcp, peer, permit)) = settings
        .stop
        .run_until_cancelled(limiter.next(&listener))
        .await
    {
        // Boxed: a task has room for what it is given and once more for what it makes of it.
        let connection = Box::pin(serve(tcp, peer, permit.registration.clone()));
        let open = Open::new(settings.metrics.connections.clone());
        connections.spawn(async move {
            let _open = open;
            let close = permit.close.clone();
            close.run_until_cancelled(connection).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    let ended = time::timeout(deadline(), connections.wait()).await;
    if ended.is_err() {
        let n_connections = connections.len();
        tracing::warn!(n_connections, "connections cut at the deadline of the stop");
        limiter.cut.cancel();
        connections.wait().await;
    }
}

/// A connection that is counted as long as it is open.
struct Open(Gauge);

impl Open {
    fn new(connections: Gauge) -> Self {
        connections.inc();
        Self(connections)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Decides which connections are accepted.
struct ConnectionLimiter {
    all: Arc<Semaphore>,
    /// Ends every connection.
    cut: CancellationToken,
    registry: Arc<Registry>,
    trusted_proxies: Arc<Networks>,
    /// When it last warned that no permit is left.
    warned_at: Option<Instant>,
}

/// The connections that are open.
struct Registry {
    per_address_max: usize,
    per_address: Mutex<HashMap<IpAddr, usize>>,
    /// Those on which no one has logged in, in the order in which they were accepted.
    unauthenticated: Mutex<BTreeMap<u64, CancellationToken>>,
    n_accepted: AtomicU64,
}

/// The permits of one connection; dropping it returns them.
struct Permit {
    close: CancellationToken,
    registration: Registration,
    _connection: OwnedSemaphorePermit,
}

/// A connection's entry in the registry: which address it counts for, and whether a client has
/// logged in on it. Holds no permit.
#[derive(Clone)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    client: Arc<Client>,
    number: u64,
}

#[derive(Default)]
struct Client {
    /// The address whose permit the connection has.
    host: OnceLock<IpAddr>,
    is_authenticated: AtomicBool,
}

impl Registration {
    /// Takes one of the permits of this address. `false`: none is left.
    pub(super) fn count_for(&self, address: IpAddr) -> bool {
        let host = host_of(address);
        let mut counts = self.registry.per_address.lock();
        let n_connections = counts.get(&host).copied().unwrap_or(0);
        let is_admitted =
            n_connections < self.registry.per_address_max && self.client.host.set(host).is_ok();
        if is_admitted {
            counts.insert(host, n_connections + 1);
        }
        is_admitted
    }

    fn release(&self) {
        let Some(host) = self.client.host.get() else {
            return;
        };
        let mut counts = self.registry.per_address.lock();
        if let Some(n_connections) = counts.get_mut(host) {
            *n_connections -= 1;
            if *n_connections == 0 {
                counts.remove(host);
            }
        }
    }

    /// A client has logged in: the connection is not closed to make room for others.
    pub(super) fn mark_authenticated(&self) {
        if !self.client.is_authenticated.swap(true, Ordering::Relaxed) {
            self.registry.unauthenticated.lock().remove(&self.number);
        }
    }
}

impl ConnectionLimiter {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            cut: CancellationToken::new(),
            registry: Arc::new(Registry {
                per_address_max: limits.per_address_max,
                per_address: Mutex::default(),
                unauthenticated: Mutex::default(),
                n_accepted: AtomicU64::new(0),
            }),
            trusted_proxies: limits.trusted_proxies.clone(),
            warned_at: None,
        }
    }

    /// The next connection that is admitted.
    async fn next(&mut self, listener: &TcpListener) -> (TcpStream, SocketAddr, Permit) {
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => match self.admit(peer.ip()).await {
                    Some(permit) => {
                        if let Err(error) = tcp.set_nodelay(true) {
                            tracing::debug!(%error, "no TCP_NODELAY");
                        }
                        return (tcp, peer, permit);
                    }
                    None => tracing::debug!(%peer, "too many connections from this address"),
                },
                Err(error) if is_client_abort(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// `None`: the address has used up its permits. Waits while all connections are authenticated.
    async fn admit(&mut self, address: IpAddr) -> Option<Permit> {
        let is_trusted_proxy = self.trusted_proxies.contain(address);
        if !is_trusted_proxy && !self.registry.has_permit(host_of(address)) {
            return None;
        }
        let connection = match self.all.clone().try_acquire_owned() {
            Ok(connection) => connection,
            Err(_) => {
                self.evict_oldest();
                // The semaphore is never closed; if it were, no connection could be admitted.
                self.all.clone().acquire_owned().await.ok()?
            }
        };
        let registration = self.registry.registration();
        if !is_trusted_proxy && !registration.count_for(address) {
            return None;
        }
        let close = self.cut.child_token();
        self.registry
            .unauthenticated
            .lock()
            .insert(registration.number, close.clone());
        Some(Permit {
            close,
            registration,
            _connection: connection,
        })
    }

    fn evict_oldest(&mut self) {
        let oldest = self.registry.unauthenticated.lock().pop_first();
        if self
            .warned_at
            .is_none_or(|warned_at| warned_at.elapsed() >= WARN_INTERVAL)
        {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                "the limit of connections is reached: the oldest without a login are closed"
            );
        }
        if let Some((_, close)) = oldest {
            close.cancel();
        }
    }
}

impl Registry {
    fn has_permit(&self, host: IpAddr) -> bool {
        let counts = self.per_address.lock();
        counts
            .get(&host)
            .is_none_or(|n_connections| *n_connections < self.per_address_max)
    }

    fn registration(self: &Arc<Self>) -> Registration {
        Registration {
            registry: self.clone(),
            client: Arc::default(),
            number: self.n_accepted.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.registration.mark_authenticated();
        self.registration.release();
    }
}

/// The client went away between its SYN and our `accept`: nothing to wait for.
fn is_client_abort(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
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

    async fn admit(limiter: &mut ConnectionLimiter, address: &str) -> Option<Permit> {
        let admitting = limiter.admit(address.parse().unwrap());
        let admitted = time::timeout(Duration::from_millis(20), admitting).await;
        admitted.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_counted_per_address_and_returned() {
        let mut limiter = limiter(4, 2);
        let first = admit(&mut limiter, "192.0.2.1").await;
        let second = admit(&mut limiter, "::ffff:192.0.2.1").await;
        assert!(first.is_some() && second.is_some());
        let more = admit(&mut limiter, "192.0.2.1").await;
        assert!(more.is_none(), "both spellings are one address");
        let third = admit(&mut limiter, "2001:db8::1").await;
        assert!(third.is_some());
        drop((first, second, third));
        assert!(limiter.registry.per_address.lock().is_empty());
        assert!(limiter.registry.unauthenticated.lock().is_empty());
        assert_eq!(limiter.all.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_speaks_for_others() {
        let mut limiter = ConnectionLimiter::new(&Limits {
            per_address_max: 1,
            trusted_proxies: Arc::new(Networks::from_iter(["10.0.0.0/8".parse().unwrap()])),
            ..Limits::default()
        });
        let mut of_proxy = Vec::new();
        for _ in 0..3 {
            of_proxy.push(admit(&mut limiter, "10.0.0.1").await.unwrap());
        }
        let client = |n: u8| IpAddr::from([192, 0, 2, n]);
        assert!(of_proxy[0].registration.count_for(client(1)));
        assert!(!of_proxy[1].registration.count_for(client(1)));
        assert!(of_proxy[2].registration.count_for(client(2)));
        assert!(admit(&mut limiter, "192.0.2.1").await.is_none());
        drop(of_proxy);
        assert!(admit(&mut limiter, "192.0.2.1").await.is_some());
        assert!(limiter.registry.per_address.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_without_login_makes_room_and_the_others_stay() {
        let mut limiter = limiter(3, 3);
        let known = admit(&mut limiter, "192.0.2.1").await.unwrap();
        let older = admit(&mut limiter, "192.0.2.2").await.unwrap();
        let newer = admit(&mut limiter, "192.0.2.3").await.unwrap();
        known.registration.mark_authenticated();
        assert!(admit(&mut limiter, "192.0.2.4").await.is_none());
        let closed = [&known, &older, &newer].map(|permit| permit.close.is_cancelled());
        assert_eq!(closed, [false, true, false]);
        // It ends, and the next one gets its permit.
        drop(older);
        let next = admit(&mut limiter, "192.0.2.4").await.unwrap();
        assert!(!newer.close.is_cancelled());
        // All are authenticated: a new client waits, and none is closed.
        newer.registration.mark_authenticated();
        next.registration.mark_authenticated();
        assert!(admit(&mut limiter, "192.0.2.5").await.is_none());
        let closed = [&known, &newer, &next].map(|permit| permit.close.is_cancelled());
        assert_eq!(closed, [false; 3]);
    }
}
