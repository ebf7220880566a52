//! TLS to the database by rustls.

use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The protocol, as a server that begins with TLS at once wants it named.
const PROTOCOL: &[u8] = b"postgresql";

/// Makes connections that trust as its configuration says.
#[derive(Clone)]
pub(super) struct Connector(Arc<ClientConfig>);

impl Connector {
    pub(super) fn new(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Self(Arc::new(config))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Self::Error> {
        Ok(Handshake {
            connector: TlsConnector::from(self.0.clone()),
            host: ServerName::try_from(host)?.to_owned(),
        })
    }
}

/// With a server of that name.
pub(super) struct Handshake {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.host, stream).await?;
            Ok(Stream(Box::new(stream)))
        })
    }
}

pub(super) struct Stream<S>(Box<TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // The certificate is verified.
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, bytes)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::db::{Db, Url};
    use crate::client::{Trust, tls_config};
    use rustls::{ServerConfig, crypto::aws_lc_rs};
    use std::{path::Path, sync::Arc};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    /// Its own certificate, and the file that has it.
    fn server(dir: &Path) -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap());
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// What a server that speaks TLS hears of a client that trusts so, and what that says.
    async fn heard(acceptor: &TlsAcceptor, trust: Trust) -> (Vec<u8>, String) {
        let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Whatever it asks for, it is spoken to by TLS.
        let url = format!("postgres://ada:s3cret@localhost:{port}/x?sslmode=disable");
        let tls = || tls_config(&trust).map_err(|error| error.to_string());
        let db = Db::new(Url::new(url.as_bytes(), tls).unwrap(), 1).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request[4..], [4, 210, 22, 47], "it asks for TLS first");
            stream.write_all(b"S").await.unwrap();
            let mut heard = vec![0; 200];
            match acceptor.accept(stream).await {
                Ok(mut stream) => {
                    let n_bytes = stream.read(&mut heard).await.unwrap_or(0);
                    heard.truncate(n_bytes);
                }
                Err(_) => heard.clear(),
            }
            heard
        };
        let (heard, client) = tokio::join!(serve, db.client());
        (heard, client.err().unwrap().to_string())
    }

    #[tokio::test]
    async fn only_a_server_that_is_trusted_hears_anything() {
        let dir = tempfile::tempdir().unwrap();
        let acceptor = server(dir.path());
        let trusted = Trust::File(dir.path().join("cert.pem"));
        let (told, _) = heard(&acceptor, trusted.clone()).await;
        let has = |name: &[u8]| told.windows(name.len()).any(|part| part == name);
        assert!(has(b"user\0ada\0"), "{told:?}");
        let (told, why) = heard(&server(tempfile::tempdir().unwrap().path()), trusted).await;
        assert_eq!(told, b"");
        assert!(!why.contains("s3cret"), "{why}");
    }
}
