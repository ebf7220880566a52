//! The accept loop that all listeners share.
//!
//! A connection needs a place among all connections and one among those of its address, and gives
//! both back when it ends, however it ends. While all places are taken nobody is accepted: clients
//! wait in the kernel's backlog. An address that has used up its own is turned away at once.
//!
//! The loop ends by `stop` only; no error of `accept` ends it. Everything that waits for a client,
//! the TLS handshake included, happens in the connection's own task.

use super::{Limits, connection::Terms};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause after an error that the next `accept` would meet again, such as no free descriptor.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until `terms.stop`, then waits up to `deadline` for what still runs.
pub(super) async fn run<F, Connection>(
    listener: TcpListener,
    terms: &Terms,
    deadline: Duration,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Connection,
    Connection: Future<Output = ()> + Send + 'static,
{
    let door = Door::new(&terms.limits);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((tcp, peer, place)) = terms.stop.run_until_cancelled(door.next(&listener)).await
    {
        let connection = serve(tcp, peer);
        let cut = cut.clone();
        connections.spawn(async move {
            let _place = place;
            cut.run_until_cancelled(connection).await;
        });
    }
    drop(listener);
    connections.close();
    if time::timeout(deadline, connections.wait()).await.is_err() {
        let n_connections = connections.len();
        tracing::warn!(n_connections, "connections cut at the deadline of the stop");
        cut.cancel();
        connections.wait().await;
    }
}

/// Who is let in.
struct Door {
    all: Arc<Semaphore>,
    per_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address_max: usize,
}

/// A connection's places; dropping it gives them back.
struct Place {
    _of_all: OwnedSemaphorePermit,
    address: IpAddr,
    per_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Door {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections_max)),
            per_address: Arc::default(),
            per_address_max: limits.per_address_max,
        }
    }

    /// The next connection that may come in.
    async fn next(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Place) {
        loop {
            let Ok(permit) = self.all.clone().acquire_owned().await else {
                // Nobody closes this semaphore; if it were, nobody could come in any more.
                std::future::pending().await
            };
            match listener.accept().await {
                Ok((tcp, peer)) => match self.enter(peer.ip(), permit) {
                    Some(place) => {
                        if let Err(error) = tcp.set_nodelay(true) {
                            tracing::debug!(%error, "no TCP_NODELAY");
                        }
                        return (tcp, peer, place);
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

    fn enter(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let address = network(address);
        let mut counts = lock(&self.per_address);
        let n_connections = counts.entry(address).or_default();
        if *n_connections >= self.per_address_max {
            return None;
        }
        *n_connections += 1;
        Some(Place {
            _of_all: permit,
            address,
            per_address: self.per_address.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.per_address);
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

/// A count is right after every statement, so a panic elsewhere does not spoil the map.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_per_address_and_given_back() {
        let door = Door::new(&Limits {
            connections_max: 3,
            per_address_max: 2,
            ..Limits::default()
        });
        let enter = |address: &str| {
            let permit = door.all.clone().try_acquire_owned().ok()?;
            door.enter(address.parse().unwrap(), permit)
        };
        let first = enter("192.0.2.1");
        let second = enter("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(
            enter("192.0.2.1").is_none(),
            "both spellings are one address"
        );
        let third = enter("2001:db8::1");
        assert!(third.is_some());
        assert!(enter("192.0.2.9").is_none(), "all places are taken");
        drop((first, second, third));
        assert!(lock(&door.per_address).is_empty());
        assert_eq!(door.all.available_permits(), 3);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
