//! The least that a server on hyper and rustls can do: one constant answer to every request. Our
//! own server is built on the same two, so this is what they leave to us.

use crate::server::Site;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Ends with this value.
pub(crate) struct BareHttp {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl BareHttp {
    /// On a runtime of its own, with as many threads as our server has.
    pub(crate) fn start(site: &Site, body: Vec<u8>) -> anyhow::Result<Self> {
        let chain = vec![CertificateDer::from_pem_file(site.certificate())?];
        let key = PrivateKeyDer::from_pem_file(site.key())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(serve(listener, acceptor, body.into()));
        Ok(Self {
            address,
            runtime: Some(runtime),
        })
    }
}

impl Drop for BareHttp {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, body: Bytes) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, body) = (acceptor.clone(), body.clone());
        tokio::spawn(async move {
            // What a client breaks off is no concern of anyone here.
            let _ = tcp.set_nodelay(true);
            let Ok(stream) = acceptor.accept(tcp).await else {
                return;
            };
            let service = service_fn(move |_: Request<Incoming>| answer(body.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

/// With as many headers as ours has.
async fn answer(body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(body));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-request-id", "26689f50167efed1"),
    ] {
        response
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    Ok(response)
}
