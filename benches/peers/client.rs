//! A small HTTPS client that blocks: one connection, HTTP/1.1, keep-alive. It promises exact
//! moments, because nothing but the system stands between the caller and the socket.

use anyhow::{Context, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// What a server may send before its head ends.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The TLS settings of clients that believe one certificate.
#[derive(Clone)]
pub(crate) struct Trust(pub(crate) Arc<ClientConfig>);

impl Trust {
    pub(crate) fn of(certificate: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // The authority that has signed it is in the same file.
        for certificate in CertificateDer::pem_file_iter(certificate)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// The name in the certificate.
pub(crate) fn server_name() -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from("localhost")?)
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The job's name, if the answer is a 201.
    pub(crate) fn job(self) -> anyhow::Result<String> {
        let text = String::from_utf8_lossy(&self.body).trim().to_owned();
        ensure!(self.status == 201, "{}: {text}", self.status);
        Ok(text)
    }
}

pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, trust: &Trust) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address)?, trust)
    }

    /// From another address of this machine: everything in 127.0.0.0/8 is one.
    pub(crate) fn connect_from(
        source: Ipv4Addr,
        address: SocketAddr,
        trust: &Trust,
    ) -> anyhow::Result<Self> {
        // The standard library has no way to bind a socket before it connects.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stream = runtime
            .block_on(connect_from(source, address))?
            .into_std()?;
        stream.set_nonblocking(false)?;
        Self::over(stream, trust)
    }

    fn over(stream: TcpStream, trust: &Trust) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let session = ClientConnection::new(trust.0.clone(), server_name()?)?;
        Ok(Self {
            stream: StreamOwned::new(session, stream),
            buffer: Vec::new(),
        })
    }

    /// `request` is the whole request.
    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).context("cannot send")?;
        self.answer()
    }

    /// Part of a request.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    pub(crate) fn answer(&mut self) -> anyhow::Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(self.buffer.len() < HEAD_BYTES_MAX, "a head without an end");
            self.receive()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.context("no status")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let Some(length) = length else {
            bail!("an answer without a length: {head}");
        };
        while self.buffer.len() < end + length {
            self.receive()?;
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Ok(Answer { status, head, body })
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 16 * 1024];
        let n_bytes = self.stream.read(&mut piece).context("cannot receive")?;
        ensure!(n_bytes > 0, "the connection was closed");
        self.buffer.extend_from_slice(&piece[..n_bytes]);
        Ok(())
    }
}

/// A connection from a chosen address of this machine.
pub(crate) async fn connect_from(
    source: Ipv4Addr,
    address: SocketAddr,
) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

/// A whole request with the usual headers.
pub(crate) fn request(method: &str, path: &str, authorization: &str, body: &[u8]) -> Vec<u8> {
    let mut request = head(method, path, authorization, body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

pub(crate) fn head(method: &str, path: &str, authorization: &str, n_bytes: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/xml\r\nContent-Length: {n_bytes}\r\n\r\n"
    )
}
