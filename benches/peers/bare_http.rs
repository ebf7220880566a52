//! The least that a server on hyper and rustls can do. Our own server is built on the same two, so
//! this is what they leave to us: with a constant answer here, with the promise of an upload in
//! `floor`.

use crate::server::Site;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{net::SocketAddr, sync::Arc, thread::available_parallelism};
use tokio::{net::TcpListener, runtime};
use tokio_rustls::TlsAcceptor;

pub(crate) type Answered = anyhow::Result<Response<Full<Bytes>>>;

/// How connections are spread over the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtimes {
    /// One for each processor; a connection stays where it was put.
    Each,
    /// One for all.
    Shared,
}

/// Ends with this value.
pub(crate) struct BareHttp {
    pub(crate) address: SocketAddr,
    runtimes: Vec<runtime::Runtime>,
}

impl BareHttp {
    /// Answers everything with `body`.
    pub(crate) fn constant(site: &Site, body: Vec<u8>) -> anyhow::Result<Self> {
        let body = Bytes::from(body);
        let answer = move |_| std::future::ready(Ok(response(200, body.clone())));
        Self::start(site, Runtimes::Shared, answer)
    }

    /// `answer` is asked for each request. An error of it ends the connection.
    pub(crate) fn start<A, F>(site: &Site, runtimes: Runtimes, answer: A) -> anyhow::Result<Self>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answered> + Send + 'static,
    {
        let chain = vec![CertificateDer::from_pem_file(site.certificate())?];
        let key = PrivateKeyDer::from_pem_file(site.key())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let n_cores = available_parallelism()?.get();
        let (n_runtimes, n_threads) = match runtimes {
            Runtimes::Each => (n_cores, 1),
            Runtimes::Shared => (1, n_cores),
        };
        let build = |_| {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(n_threads).enable_all().build()
        };
        let runtimes = (0..n_runtimes).map(build).collect::<Result<Vec<_>, _>>()?;
        let listener = runtimes[0].block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let handles = runtimes.iter().map(|runtime| runtime.handle().clone());
        runtimes[0].spawn(serve(listener, acceptor, handles.collect(), answer));
        Ok(Self { address, runtimes })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

impl Drop for BareHttp {
    fn drop(&mut self) {
        for runtime in self.runtimes.drain(..) {
            runtime.shutdown_background();
        }
    }
}

/// Connections go to the runtimes in turn.
async fn serve<A, F>(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    runtimes: Vec<runtime::Handle>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    for runtime in runtimes.iter().cycle() {
        // What a client breaks off is no concern of anyone here.
        let Ok(tcp) = accept(&listener).await else {
            continue;
        };
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        runtime.spawn(async move {
            let tcp = tokio::net::TcpStream::from_std(tcp)?;
            let stream = acceptor.accept(tcp).await?;
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            connection.await?;
            anyhow::Ok(())
        });
    }
}

/// Not yet a part of any runtime.
async fn accept(listener: &TcpListener) -> std::io::Result<std::net::TcpStream> {
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    tcp.into_std()
}

/// With as many headers as ours has.
pub(crate) fn response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-request-id", "26689f50167efed1"),
    ] {
        let value = http::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
