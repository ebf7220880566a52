//! The HTTP server: three listeners over one accept loop.
//!
//! - [`serve_tls`]: HTTP/1.1 and HTTP/2 over TLS, everything that the dialects offer. Who forgets TLS
//!   gets an answer that says so.
//! - [`serve_plain`]: answers 403 to every request and reads neither credentials nor body.
//! - [`serve_ops`]: liveness and readiness for an orchestrator, and metrics.
//!
//! A client that is slow, silent or broken costs one timeout and never a thread, and a panic in a
//! request costs that request. What a request means is not known here: dialects parse and render,
//! the service decides, and nothing in this folder touches the spool.
//!
//! A stop drops the listener immediately, lets running requests finish, closes idle connections, and
//! cuts at the deadline what is left.

mod accept;
mod access;
mod activity;
mod body;
mod body_reader;
mod connection;
mod credentials;
mod delivery;
mod limits;
mod media;
mod ops;
mod proxy;
mod range;
mod request;
mod stream;
pub(crate) mod tls;
mod ui;
mod virtual_hosts;

pub(crate) use accept::Deadline;
pub(crate) use body_reader::BodyError;
pub(crate) use limits::Limits;
pub(crate) use ops::{Ops, Readiness, Report, Scrape};
pub(crate) use ui::{RequestBody, Ui, UiAnswer, UiRequest};
use virtual_hosts::Choice;
pub(crate) use virtual_hosts::{Hosts, Unserved, VirtualHost, VirtualHosts};

use crate::metrics::Listener;
use accept::Registration;
use connection::{ConnectionSettings, Opening};
use ops::{InClear, InClearContext};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Serves the dialects over TLS until `stop`, then at most as much longer as `deadline` says.
pub(crate) async fn serve_tls(
    listener: TcpListener,
    tls: Arc<tls::Certificate>,
    (hosts, ui): (Hosts, Option<Arc<dyn Ui>>),
    limits: Limits,
    metrics: Listener,
    (stop, deadline): (CancellationToken, Deadline),
) {
    let terms = ConnectionSettings::new(limits, metrics, stop);
    let server = Arc::new(Server {
        in_clear: terms.in_a_hurry(),
        hosts,
        ui,
        terms,
        tls,
    });
    let serving = server.clone();
    let serve = move |tcp, peer, registration| serving.clone().serve(tcp, peer, registration);
    accept::run(listener, &server.terms, deadline, serve).await;
}

/// What the connections of partners have in common.
struct Server {
    /// For those who forget TLS.
    in_clear: ConnectionSettings,
    hosts: Hosts,
    ui: Option<Arc<dyn Ui>>,
    terms: ConnectionSettings,
    tls: Arc<tls::Certificate>,
}

impl Server {
    async fn serve(
        self: Arc<Self>,
        mut tcp: TcpStream,
        peer: SocketAddr,
        registration: Registration,
    ) {
        let limits = &self.terms.limits;
        let Some(peer) = announced(&mut tcp, peer, &registration, limits).await else {
            return;
        };
        let opening = connection::opening(&tcp, limits.handshake_timeout);
        match self.terms.unless_stopped(opening).await.flatten() {
            Some(Opening::Tls) => {}
            Some(Opening::Clear(protocol)) => {
                return refuse(tcp, protocol, peer, InClear::TlsPort, &self.in_clear).await;
            }
            Some(Opening::Proxy) => {
                tracing::warn!(
                    %peer,
                    "a PROXY header is believed from server.trusted_proxies only, and with \
                     server.proxy_protocol; the connection is closed",
                );
                return;
            }
            None => return,
        }
        let handshake = self.tls.handshake(tcp, limits.handshake_timeout);
        let Some(secured) = self.terms.unless_stopped(handshake).await.flatten() else {
            return;
        };
        let protocol = secured.protocol;
        let activity = activity::ConnectionActivity::new(protocol);
        let context = Arc::new(request::Context {
            limits: limits.clone(),
            peer,
            activity: activity.clone(),
            metrics: self.terms.metrics.requests.clone(),
            server_name: secured.server_name,
            hosts: self.hosts.clone(),
            ui: self.ui.clone(),
            registration,
        });
        let answer = move |request| request::answer(context.clone(), request);
        connection::drive(secured.stream, protocol, activity, answer, &self.terms).await;
    }
}

/// Answers every request with 403 until `stop`, then at most as much longer as `deadline` says.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    limits: Limits,
    metrics: Listener,
    (stop, deadline): (CancellationToken, Deadline),
) {
    let terms = Arc::new(ConnectionSettings::new(limits.hurried(), metrics, stop));
    let loop_terms = terms.clone();
    accept::run(listener, &loop_terms, deadline, move |tcp, peer, _| {
        let terms = terms.clone();
        async move {
            let protocol = connection::spoken(&tcp, terms.limits.header_timeout).await;
            refuse(tcp, protocol, peer, InClear::PlainPort, &terms).await;
        }
    })
    .await;
}

/// Whose connection it is: that of `peer`, or of whom a trusted proxy announces. `None`: that could
/// not be understood, or the client has used up its places.
async fn announced(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    registration: &Registration,
    limits: &Limits,
) -> Option<SocketAddr> {
    if !limits.proxy_protocol || !limits.trusted_proxies.contain(peer.ip()) {
        return Some(peer);
    }
    match proxy::client(tcp, limits.handshake_timeout).await {
        Ok(None) => Some(peer),
        Ok(Some(client)) if registration.count_for(client.ip()) => Some(client),
        Ok(Some(client)) => {
            tracing::debug!(%client, "too many connections from this address");
            None
        }
        Err(error) => {
            tracing::warn!(proxy = %peer, %error, "a proxy's connection is closed");
            None
        }
    }
}

/// Tells a client that speaks HTTP without TLS what to do.
async fn refuse(
    tcp: TcpStream,
    protocol: activity::Protocol,
    peer: SocketAddr,
    place: InClear,
    terms: &ConnectionSettings,
) {
    let activity = activity::ConnectionActivity::new(protocol);
    let context = Arc::new(InClearContext {
        activity: activity.clone(),
        metrics: terms.metrics.requests.clone(),
        peer,
        place,
    });
    let answer = move |request| ops::use_https(context.clone(), request);
    connection::drive(tcp, protocol, activity, answer, terms).await;
}

/// Serves `GET /livez`, `GET /readyz` and `GET /metrics` until `stop`.
pub(crate) async fn serve_ops(
    listener: TcpListener,
    ops: Arc<Ops>,
    metrics: Listener,
    stop: CancellationToken,
) {
    let limits = Limits::default().hurried();
    let lingering = limits.lingering_close_timeout;
    let deadline: Deadline = Arc::new(move || lingering);
    let terms = Arc::new(ConnectionSettings::new(limits, metrics, stop));
    let loop_terms = terms.clone();
    accept::run(listener, &loop_terms, deadline, move |tcp, _, _| {
        let (terms, ops) = (terms.clone(), ops.clone());
        async move {
            let activity = activity::ConnectionActivity::new(activity::Protocol::Http1);
            let context = Arc::new((activity.clone(), ops));
            let answer = move |request| ops::answer(context.clone(), request);
            connection::drive(tcp, activity::Protocol::Http1, activity, answer, &terms).await;
        }
    })
    .await;
}

#[cfg(test)]
mod tests;
