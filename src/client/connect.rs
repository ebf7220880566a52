//! Where the server is, who we are there, whom we trust; and the way to a connection.
//!
//! With a password only `https` is spoken: it goes with every request. Each step has a deadline.
//! The errors say what the person at the keyboard can do. Nothing is tried twice here.

use super::trust::{Trust, tls_config};
use crate::util::plain::{self, Links};
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the last byte sent to the answer's head. Long: a large upload is validated meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two pieces of an answer's body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a file with a password in its first line.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;
const PASSWORD_VARIABLE: &str = "SPOOLGATE_PASSWORD";

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the connection broke {doing}: {reason}")]
    Broken { doing: &'static str, reason: String },
    #[error(
        "the certificate of {host} is not trusted ({reason}); name the issuer's certificate \
         with --cacert FILE, or for a test only use --insecure"
    )]
    Certificate { host: String, reason: String },
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Login(String),
    #[error("{at} refuses connections; is the server running, and is the port right?")]
    Refused { at: String },
    #[error("the host name {host} is not known ({reason}); check its spelling")]
    Resolve { host: String, reason: String },
    #[error("{host} does not answer in time {doing}")]
    Timeout { host: String, doing: &'static str },
    #[error("no TLS connection with {host} ({reason}); is this the https port?")]
    Tls { host: String, reason: String },
    #[error("{0}")]
    Trust(String),
    #[error("{at} cannot be reached: {source}")]
    Unreachable { at: String, source: io::Error },
    #[error("`{url}` is not usable: {reason}; expected https://HOST or https://HOST:PORT")]
    Url { url: String, reason: &'static str },
}

impl ClientError {
    /// There was no connection at all, so that asking for the next job is no use either.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Certificate { .. }
            | Self::Login(_)
            | Self::Refused { .. }
            | Self::Resolve { .. }
            | Self::Tls { .. }
            | Self::Trust(_)
            | Self::Unreachable { .. }
            | Self::Url { .. } => true,
            Self::Broken { .. } | Self::File { .. } | Self::Timeout { .. } => false,
        }
    }

    /// It may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Broken { .. }
            | Self::Refused { .. }
            | Self::Resolve { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. } => true,
            Self::Certificate { .. }
            | Self::File { .. }
            | Self::Login(_)
            | Self::Tls { .. }
            | Self::Trust(_)
            | Self::Url { .. } => false,
        }
    }
}

/// User and password, ready as a header. Never printed.
pub struct Login {
    pub(super) header: HeaderValue,
}

impl Login {
    /// The header for a user and a password.
    ///
    /// # Errors
    /// When either is empty or holds what Basic authentication cannot carry.
    pub fn new(user: &str, password: &str) -> Result<Self, ClientError> {
        let wrong = |what: &str| Err(ClientError::Login(what.to_owned()));
        if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
            return wrong("the user name is empty or contains a colon or a control character");
        }
        if password.is_empty() || password.chars().any(char::is_control) {
            return wrong("the password is empty or contains a control character");
        }
        let header = http_auth_basic::Credentials::new(user, password).as_http_header();
        let Ok(mut header) = HeaderValue::try_from(header) else {
            return wrong("user and password do not fit into a header");
        };
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// `user` is `NAME` or `NAME:PASSWORD`. Without a password there it is taken from the
    /// environment variable `SPOOLGATE_PASSWORD`, then from the first line of `password_file`.
    /// A password on the command line is visible to the machine's other users.
    ///
    /// # Errors
    /// When no password is given in any of these places, its file cannot be read or is open to
    /// others, or it does not fit into a header.
    pub fn find(user: &str, password_file: Option<&Path>) -> Result<Self, ClientError> {
        let variable = std::env::var(PASSWORD_VARIABLE).ok();
        Self::choose(user, variable, password_file)
    }

    fn choose(
        user: &str,
        variable: Option<String>,
        password_file: Option<&Path>,
    ) -> Result<Self, ClientError> {
        if let Some((user, password)) = user.split_once(':') {
            return Self::new(user, password);
        }
        if let Some(password) = variable.filter(|text| !text.is_empty()) {
            return Self::new(user, &password);
        }
        let Some(path) = password_file else {
            return Err(ClientError::Login(format!(
                "no password for user {user}: set {PASSWORD_VARIABLE}, or use --password-file \
                 FILE or --user {user}:PASSWORD"
            )));
        };
        let text = plain::read_text(path, Links::Follow, PASSWORD_BYTES_MAX);
        let text = text.map_err(|source| ClientError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::new(user, text.lines().next().unwrap_or_default())
    }
}

pub(super) struct Timeouts {
    pub(super) answer: Duration,
    pub(super) connect: Duration,
    pub(super) idle: Duration,
}

/// With TLS, or without.
pub(super) type Connection = Either<TlsStream<TcpStream>, TcpStream>;

/// A server, and a user on it if it asks for one.
pub struct Endpoint {
    host: String,
    pub(super) login: Option<Login>,
    port: u16,
    pub(super) timeouts: Timeouts,
    /// `None`: nothing is encrypted.
    tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// Reads the certificates; nothing is connected yet.
    ///
    /// # Errors
    /// When the URL is not one of https with a host, or the certificates cannot be read.
    pub fn new(url: &str, login: Login, trust: &Trust) -> Result<Self, ClientError> {
        let (host, port) = parse_url(url)?;
        let timeouts = Timeouts {
            answer: ANSWER_TIMEOUT,
            connect: CONNECT_TIMEOUT,
            idle: IDLE_TIMEOUT,
        };
        Ok(Self {
            host,
            login: Some(login),
            port,
            timeouts,
            tls: Some(Arc::new(tls_config(trust)?)),
        })
    }

    /// Of a URL that has been split, where no one logs in. Its answers are waited for as long as the
    /// caller does.
    pub(super) fn anonymous(url: &UrlParts, trust: &Trust) -> Result<Self, ClientError> {
        let tls = match url.tls {
            true => Some(Arc::new(tls_config(trust)?)),
            false => None,
        };
        Ok(Self {
            host: url.host.clone(),
            login: None,
            port: url.port,
            timeouts: Timeouts {
                answer: Duration::MAX,
                connect: CONNECT_TIMEOUT,
                idle: Duration::MAX,
            },
            tls,
        })
    }

    /// `HOST:PORT`, as the `Host` header and the messages have it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn timed_out(&self, doing: &'static str) -> ClientError {
        ClientError::Timeout {
            host: self.authority(),
            doing,
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, ClientError> {
        let host = self.host.trim_matches(['[', ']']);
        let limit = self.timeouts.connect;
        let found = timeout(limit, tokio::net::lookup_host((host, self.port)));
        let unknown = |reason: String| ClientError::Resolve {
            host: host.to_owned(),
            reason,
        };
        let found = found
            .await
            .map_err(|_| self.timed_out("while its name is looked up"))?
            .map_err(|e| unknown(e.to_string()))?;
        let mut last = unknown("it has no address".into());
        for address in found {
            match timeout(limit, TcpStream::connect(address)).await {
                Err(_) => last = self.timed_out("to a connection"),
                Ok(Err(source)) => last = self.no_connection(source),
                Ok(Ok(tcp)) => {
                    // Only a matter of speed, so a socket that refuses it is used as it is.
                    let _ = tcp.set_nodelay(true);
                    return match &self.tls {
                        Some(tls) => Ok(Either::Left(self.handshake(tls, host, tcp).await?)),
                        None => Ok(Either::Right(tcp)),
                    };
                }
            }
        }
        Err(last)
    }

    fn no_connection(&self, source: io::Error) -> ClientError {
        let at = self.authority();
        if source.kind() == io::ErrorKind::ConnectionRefused {
            ClientError::Refused { at }
        } else {
            ClientError::Unreachable { at, source }
        }
    }

    async fn handshake(
        &self,
        tls: &Arc<ClientConfig>,
        host: &str,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ClientError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::Url {
            url: self.authority(),
            reason: "the host name cannot stand in a certificate",
        })?;
        let connector = TlsConnector::from(tls.clone());
        let shaken = timeout(self.timeouts.connect, connector.connect(name, tcp)).await;
        match shaken {
            Err(_) => Err(self.timed_out("during the TLS handshake")),
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.no_handshake(&error)),
        }
    }

    fn no_handshake(&self, error: &io::Error) -> ClientError {
        let host = self.authority();
        let tls = error.get_ref().and_then(|e| e.downcast_ref());
        match tls {
            Some(rustls::Error::InvalidCertificate(reason)) => ClientError::Certificate {
                host,
                reason: in_words(reason).into(),
            },
            Some(other) => ClientError::Tls {
                host,
                reason: other.to_string(),
            },
            None => ClientError::Broken {
                doing: "during the TLS handshake",
                reason: error.to_string(),
            },
        }
    }
}

/// What is wrong with a certificate, for people; rustls's words are those of its source.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "it may get variants any time"
)]
fn in_words(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "it has expired",
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for other host names",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet",
        E::Revoked => "it was revoked",
        E::UnknownIssuer => "its issuer is not trusted",
        _ => "it cannot be verified",
    }
}

fn parse_url(url: &str) -> Result<(String, u16), ClientError> {
    let wrong = |reason| ClientError::Url {
        url: url.escape_debug().to_string(),
        reason,
    };
    // Before anything is echoed: a URL with a password in it must not end up on the screen.
    if url.contains('@') {
        return Err(ClientError::Url {
            url: "https://…@…".into(),
            reason: "user and password do not belong there, use --user",
        });
    }
    let parts = split_url(url).map_err(wrong)?;
    if !parts.tls {
        return Err(wrong("http would send the password in the clear"));
    }
    if parts.target != "/" {
        return Err(wrong("it has a path"));
    }
    Ok((parts.host, parts.port))
}

/// A URL of the web in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UrlParts {
    /// `https`, or else `http`.
    pub(super) tls: bool,
    /// In brackets if it is an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query; begins with `/`.
    pub(super) target: String,
}

/// The error says what is wrong and never holds the URL.
pub(super) fn split_url(url: &str) -> Result<UrlParts, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) => return Err("it is neither https nor http"),
        None => return Err("the scheme is missing"),
    };
    if url.contains('#') {
        return Err("a part of a page, after #, is never sent");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("user and password do not belong there");
    }
    let port = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => {
            port.parse().map_err(|_| "the port is not a number")?
        }
        Some(_) | None if tls => 443,
        Some(_) | None => 80,
    };
    if authority.host().is_empty() {
        return Err("it has no host");
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mark = if target.starts_with('/') { "" } else { "/" };
    Ok(UrlParts {
        tls,
        host: authority.host().to_owned(),
        port,
        target: format!("{mark}{target}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_and_nothing_more() {
        let parsed = |url| parse_url(url).map_err(|e| e.to_string());
        assert_eq!(parsed("https://a.example"), Ok(("a.example".into(), 443)));
        assert_eq!(
            parsed("https://a.example:8443/"),
            Ok(("a.example".into(), 8443))
        );
        assert_eq!(parsed("https://[::1]:8443"), Ok(("[::1]".into(), 8443)));
        assert_eq!(parsed("https://[::1]"), Ok(("[::1]".into(), 443)));
        for (url, hint) in [
            ("http://a.example", "in the clear"),
            ("a.example", "scheme is missing"),
            ("https://a.example/xml", "has a path"),
            ("https://a.example:http", "not"),
            ("ftp://a.example", "it is neither https nor http"),
        ] {
            let message = parsed(url).unwrap_err();
            assert!(message.contains(hint), "{message}");
        }
        let message = parsed("https://shop1:secret@a.example").unwrap_err();
        assert!(
            message.contains("--user") && !message.contains("secret"),
            "{message}"
        );
    }

    #[test]
    fn urls_have_parts() {
        let parts = |tls, host: &str, port, target: &str| {
            let (host, target) = (host.into(), target.into());
            Ok(UrlParts {
                tls,
                host,
                port,
                target,
            })
        };
        for (url, expected) in [
            ("http://a.example", parts(false, "a.example", 80, "/")),
            ("http://[::1]?x=1", parts(false, "[::1]", 80, "/?x=1")),
            (
                "https://a.example:8443/b/@c?d=%20",
                parts(true, "a.example", 8443, "/b/@c?d=%20"),
            ),
            ("ftp://a.example", Err("it is neither https nor http")),
            ("/b", Err("the scheme is missing")),
            ("https://a b", Err("it is not a URL")),
            (
                "https://u:p@a.example/",
                Err("user and password do not belong there"),
            ),
            (
                "https://a.example/#b",
                Err("a part of a page, after #, is never sent"),
            ),
        ] {
            assert_eq!(split_url(url), expected, "{url}");
        }
    }

    #[test]
    fn passwords_have_an_order_of_sources() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "from-file\nrest\n").unwrap();
        let header = |user: &str, variable: Option<&str>, file| {
            Login::choose(user, variable.map(str::to_owned), file)
                .map(|login| login.header)
                .map_err(|e| e.to_string())
        };
        let expected = |password| Ok(Login::new("u", password).unwrap().header);
        assert_eq!(header("u:a:b", Some("v"), Some(&file)), expected("a:b"));
        assert_eq!(header("u", Some("v"), Some(&file)), expected("v"));
        assert_eq!(header("u", Some(""), Some(&file)), expected("from-file"));
        assert!(
            header("u", None, None)
                .unwrap_err()
                .contains("--password-file")
        );
        assert!(header("u:", None, None).unwrap_err().contains("empty"));
        assert!(header("", Some("v"), None).is_err());
    }
}
