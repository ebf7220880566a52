//! A scripted HTTPS server on loopback for the tests of this folder: it says, byte for byte, what
//! a test wants said, and keeps what it was asked.

use super::connect::{Endpoint, Login};
use super::trust::Trust;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) body: Vec<u8>,
    head: String,
}

impl Asked {
    /// Method and target.
    pub(super) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap();
        line.strip_suffix(" HTTP/1.1").unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// What is sent, and whether the connection ends there.
pub(super) struct Say {
    bytes: Vec<u8>,
    close: bool,
    /// Say it without reading the body first.
    early: bool,
}

impl Say {
    pub(super) fn whole(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        Self {
            bytes: text.into_bytes(),
            close: false,
            early: false,
        }
    }

    /// The same, but the connection breaks `missing` bytes before the end.
    pub(super) fn cut(mut self, missing: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - missing);
        self.close = true;
        self
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn early(mut self) -> Self {
        (self.early, self.close) = (true, true);
        self
    }

    /// An answer that only the closing of the connection ends.
    pub(super) fn endless(body: &str) -> Self {
        Self {
            bytes: format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes(),
            close: true,
            early: false,
        }
    }

    /// Never an answer, while the connection stays.
    pub(super) fn silence() -> Self {
        Self {
            close: false,
            ..Self::nothing()
        }
    }

    /// The connection ends instead of an answer.
    pub(super) fn nothing() -> Self {
        Self {
            bytes: Vec::new(),
            close: true,
            early: false,
        }
    }
}

type Script = dyn Fn(usize, &Asked) -> Say + Send + Sync;

struct Shared {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    script: Box<Script>,
}

pub(super) struct Stub {
    pub(super) dir: tempfile::TempDir,
    port: u16,
    shared: Arc<Shared>,
}

impl Stub {
    /// `script` gets the number of the request, from 0, and the request; a body that it answers
    /// early is empty.
    pub(super) async fn start(
        script: impl Fn(usize, &Asked) -> Say + Send + Sync + 'static,
    ) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), pair.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            script: Box::new(script),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), tcp, accepting.clone()));
            }
        });
        Self { dir, port, shared }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Of this server.
    pub(super) fn trust(&self) -> Trust {
        Trust::File(self.dir.path().join("ca.pem"))
    }

    /// The certificate of no one who is asked here.
    pub(super) fn other_ca(&self) -> PathBuf {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.file("other.pem", pair.cert.pem().as_bytes())
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.trusting(&self.trust())
    }

    pub(super) fn trusting(&self, trust: &Trust) -> Endpoint {
        let login = Login::new("shop1", "secret").unwrap();
        Endpoint::new(&self.url(), login, trust).unwrap()
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Whatever goes wrong with a connection here, the test sees it from the other side.
async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut tls = acceptor.accept(tcp).await.ok()?;
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut input = Vec::new();
    loop {
        let end = loop {
            match input.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => read_more(&mut tls, &mut input).await?,
            }
        };
        let head = String::from_utf8(input.drain(..end).collect()).unwrap();
        let mut asked = Asked {
            body: Vec::new(),
            head,
        };
        let length = asked
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let n = shared.asked.lock().unwrap().len();
        let mut say = (shared.script)(n, &asked);
        if !say.early {
            while input.len() < length {
                read_more(&mut tls, &mut input).await?;
            }
            asked.body = input.drain(..length).collect();
            say = (shared.script)(n, &asked);
        }
        shared.asked.lock().unwrap().push(asked);
        tls.write_all(&say.bytes).await.ok()?;
        tls.flush().await.ok()?;
        if say.close {
            tls.shutdown().await.ok()?;
            // Unread bytes would turn the end into a reset that overtakes the answer.
            while say.early && read_more(&mut tls, &mut input).await.is_some() {}
            return Some(());
        }
    }
}

async fn read_more(
    tls: &mut tokio_rustls::server::TlsStream<TcpStream>,
    input: &mut Vec<u8>,
) -> Option<()> {
    let n = tls.read_buf(input).await.ok()?;
    (n > 0).then_some(())
}
