//! What a service manager such as systemd is told, by its protocol (`sd_notify(3)`): that the service is
//! ready, how many jobs wait, that it goes on, that it stops; and which sockets it has opened for us
//! (`sd_listen_fds(3)`). Where there is none, nobody is told anything.
//!
//! It goes on while the loop that accepts connections and those that write the journals go round. A disk that
//! stalls, or a spool that has failed for good, is no reason to end the process: `/readyz` says so.

use crate::{
    store::Store,
    util::{HEARTBEAT_EVERY, Heartbeat},
};
use anyhow::{Context, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio::time;
use tokio_util::sync::CancellationToken;

const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Which socket is which, separated by colons.
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// Sockets that listen already, by the keys of the configuration that they stand for.
#[derive(Debug, Default)]
pub(crate) struct GivenSockets {
    pub(super) listen: Option<TcpListener>,
    pub(super) plain_listen: Option<TcpListener>,
    pub(super) ops_listen: Option<TcpListener>,
}

impl GivenSockets {
    /// Takes them, so that no child inherits them. To be called before the first process is started.
    ///
    /// # Errors
    /// When one has a name that is none of ours, or is no socket that listens.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let names = std::env::var(NAMES_VARIABLE).unwrap_or_default();
        let mut given = ListenFd::from_env();
        let mut sockets = Self::default();
        for n in 0..given.len() {
            let name = names.split(':').nth(n).unwrap_or_default();
            let place = match name {
                "listen" => &mut sockets.listen,
                "plain_listen" => &mut sockets.plain_listen,
                "ops_listen" => &mut sockets.ops_listen,
                _ => bail!(
                    "a socket that was given is called {name:?}; FileDescriptorName of the socket unit has to be \
                     listen, plain_listen or ops_listen"
                ),
            };
            let taken = given.take_tcp_listener(n);
            *place = taken.with_context(|| format!("the socket {name} cannot be used"))?;
        }
        Ok(sockets)
    }
}

/// What is told, and of what.
pub(super) struct Told {
    pub(super) stores: Vec<Arc<dyn Store>>,
    /// One for each store: its queues have been looked at.
    pub(super) scanned: Vec<CancellationToken>,
    pub(super) heartbeats: Vec<Arc<Heartbeat>>,
}

impl Told {
    /// Tells until `stop`, and that it has come.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let watching = async {
            match sd_notify::watchdog_enabled() {
                Some(patience) => self.feed(patience).await,
                None => std::future::pending().await,
            }
        };
        let reporting = async {
            for scanned in &self.scanned {
                scanned.cancelled().await;
            }
            tell(&[NotifyState::Ready, NotifyState::Status(&self.status())]);
            loop {
                time::sleep(STATUS_EVERY).await;
                tell(&[NotifyState::Status(&self.status())]);
            }
        };
        tokio::select! {
            () = stop.cancelled() => tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
            () = watching => {}
            () = reporting => {}
        }
    }

    /// Says that the service goes on, for as long as it does. A service manager that hears nothing for
    /// `patience` ends the process.
    async fn feed(&self, patience: Duration) {
        let mut said = true;
        loop {
            let still = self.heartbeats.iter();
            let n_still = still.filter(|of| !of.is_alive(patience / 2)).count();
            if n_still == 0 {
                tell(&[NotifyState::Watchdog]);
            } else if said {
                tracing::error!(loops = n_still, "a loop of the service stands still");
            }
            said = n_still == 0;
            time::sleep(patience / 4).await;
        }
    }

    fn status(&self) -> String {
        let interfaces = |store: &Arc<dyn Store>| {
            let each = store.interfaces().into_iter();
            each.map(|interface| store.waiting(&interface))
                .sum::<usize>()
        };
        let n_waiting: usize = self.stores.iter().map(interfaces).sum();
        match self.stores.iter().find_map(|store| store.unhealthy()) {
            Some(reason) => format!("unhealthy: {reason}; {n_waiting} jobs wait"),
            None => format!("{n_waiting} jobs wait"),
        }
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Runs the task, which loops, and beats for it for as long as it is polled.
pub(super) async fn beating(task: impl Future<Output = ()>, heartbeat: Arc<Heartbeat>) {
    let beats = async {
        loop {
            heartbeat.beat();
            time::sleep(HEARTBEAT_EVERY).await;
        }
    };
    tokio::select! {
        () = task => heartbeat.rest(),
        () = beats => {}
    }
}
