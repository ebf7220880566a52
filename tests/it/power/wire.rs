//! A client of HTTP/1.1 over TLS: blocking, one kept connection, no more than the test needs.
//!
//! An answer is given only when all of it has been received.

use crate::harness::Answer;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Longer than any answer takes; a server that is silent for so long is as good as dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and a user on it.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) authorization: String,
    pub(super) tls: Arc<ClientConfig>,
}

pub(super) struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    authorization: String,
    /// Received, not used yet.
    received: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let tcp = TcpStream::connect(target.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = ClientConnection::new(target.tls.clone(), name).map_err(io::Error::other)?;
        Ok(Self {
            stream: StreamOwned::new(tls, tcp),
            authorization: target.authorization.clone(),
            received: Vec::new(),
        })
    }

    pub(super) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "", &[])
    }

    /// `headers` are whole lines.
    pub(super) fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    fn ask(&mut self, method: &str, path: &str, more: &str, body: &[u8]) -> io::Result<Answer> {
        let (user, length) = (&self.authorization, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {user}\r\n\
             Content-Length: {length}\r\n{more}\r\n"
        );
        let mut request = Vec::with_capacity(head.len() + length);
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.stream.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            match find(&self.received, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.receive()?,
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let (Some(status), Some(length)) = (
            status.and_then(|code| code.parse().ok()),
            length.and_then(|(_, value)| value.parse().ok()),
        ) else {
            return Err(io::Error::other(format!("not an answer: {head}")));
        };
        while self.received.len() < length {
            self.receive()?;
        }
        let body = self.received.drain(..length).collect();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0_u8; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.received.extend_from_slice(&piece[..bytes]);
                Ok(())
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// A client that believes exactly the certificate in `path`.
pub(super) fn believing(path: &Path) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Pinned {
        certificate: CertificateDer::from_pem_file(path).unwrap(),
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
