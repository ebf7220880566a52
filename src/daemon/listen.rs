//! The sockets on which partners and probes are answered: bound first, listening once the spools are
//! ours, and accepting at last.

use super::{
    memory,
    service_manager::{self, GivenSockets},
    supervise::Supervisor,
};
use crate::{
    config::Config,
    http::{self, Hosts, tls},
    metrics::Metrics,
    util::Heartbeat,
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Addresses that are bound; nothing is accepted yet.
pub(super) struct Sockets {
    main: Bound,
    plain: Option<Bound>,
    ops: Option<Bound>,
}

enum Bound {
    ByUs(TcpSocket),
    /// It listens already: who connects waits until we accept.
    Given(std::net::TcpListener),
}

/// What answers on the listeners.
pub(super) struct ServedBy {
    pub(super) certificate: Arc<tls::Certificate>,
    pub(super) hosts: Hosts,
    pub(super) ui: Arc<dyn http::Ui>,
    pub(super) ops: Arc<http::Ops>,
    /// Beats while connections are accepted.
    pub(super) accepting: Arc<Heartbeat>,
    pub(super) stop_deadline: http::Deadline,
}

/// Sockets that listen; nothing is accepted yet.
pub(super) struct Listeners {
    main: TcpListener,
    plain: Option<TcpListener>,
    ops: Option<TcpListener>,
    metrics: Arc<Metrics>,
}

impl Sockets {
    /// Those that were given come first, whatever the configuration says.
    pub(super) fn bind(config: &Config, given: GivenSockets) -> anyhow::Result<Self> {
        let or_given =
            |at: Option<SocketAddr>, key, given: Option<std::net::TcpListener>| match (given, at) {
                (Some(given), _) => Ok(Some(Bound::Given(given))),
                (None, Some(at)) => bind(at, key).map(|socket| Some(Bound::ByUs(socket))),
                (None, None) => Ok(None),
            };
        let main = or_given(Some(config.listen), "listen", given.listen)?;
        Ok(Self {
            main: main.context("there is no address to listen on")?,
            plain: or_given(config.plain_listen, "plain_listen", given.plain_listen)?,
            ops: or_given(config.ops_listen, "ops_listen", given.ops_listen)?,
        })
    }

    pub(super) fn listen(self, metrics: Arc<Metrics>) -> anyhow::Result<Listeners> {
        let listen = |socket| {
            let listener = match socket {
                Bound::ByUs(socket) => socket.listen(BACKLOG),
                Bound::Given(listener) => {
                    (listener.set_nonblocking(true)).and_then(|()| TcpListener::from_std(listener))
                }
            };
            listener.context("cannot listen")
        };
        Ok(Listeners {
            main: listen(self.main)?,
            plain: self.plain.map(listen).transpose()?,
            ops: self.ops.map(listen).transpose()?,
            metrics,
        })
    }
}

impl Listeners {
    /// One line for each, as users and scripts read them.
    pub(super) fn lines(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = vec![format!("listening https://{}", self.main.local_addr()?)];
        for (what, listener) in [("plain", &self.plain), ("ops", &self.ops)] {
            if let Some(listener) = listener {
                lines.push(format!(
                    "listening {what} http://{}",
                    listener.local_addr()?
                ));
            }
        }
        Ok(lines)
    }

    /// Answers until `stop`; the tasks end when the last request has.
    pub(super) fn serve(
        self,
        config: &Config,
        by: ServedBy,
        supervisor: &Supervisor,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) {
        let limits = http::Limits {
            connections_max: config.limits.connections_max,
            per_address_max: config.limits.connections_per_address_max,
            proxy_protocol: config.proxy_protocol,
            trusted_proxies: Arc::new(config.trusted_proxies.clone()),
            ..http::Limits::default()
        };
        if let Some(plain) = self.plain {
            let metrics = self.metrics.listener("plain");
            let until = (stop.clone(), by.stop_deadline.clone());
            let plain = http::serve_plain(plain, limits.clone(), metrics, until);
            tasks.spawn(supervisor.essential("the plain listener", plain, stop.clone()));
        }
        if let Some(listener) = self.ops {
            let metrics = self.metrics.listener("ops");
            let ops = http::serve_ops(listener, by.ops, metrics, stop.clone());
            tasks.spawn(supervisor.essential("the ops listener", ops, stop.clone()));
        }
        let (pages, stop_memory) = ((by.hosts, Some(by.ui)), stop.clone());
        let metrics = self.metrics.listener("https");
        let until = (stop.clone(), by.stop_deadline);
        let main = http::serve_tls(self.main, by.certificate, pages, limits, metrics, until);
        let main = service_manager::beating(main, by.accepting);
        tasks.spawn(supervisor.essential("the listener", main, stop.clone()));
        supervisor.keep("the giving back of memory", move || {
            memory::give_back(stop_memory.clone())
        });
        tasks.close();
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpSocket> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok::<_, std::io::Error>(socket)
    };
    bound().with_context(|| format!("cannot listen on {address}; change server.{key}"))
}
