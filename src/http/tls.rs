//! TLS: loading, checking and reloading the certificate, the handshake, and a first certificate.
//!
//! The provider is aws-lc-rs and is named explicitly: what another dependency compiles in cannot
//! change it. A certificate is in force only if it could be read and belongs to its key; a reload
//! that finds anything else leaves the old pair in force and says what is wrong. Connections that
//! are open keep what they began with.

mod facts;
mod own;

pub(crate) use facts::Facts;
pub(crate) use own::{generate, is_renewed, renew};

use super::activity::Protocol;
use crate::{
    util::modes::{Guard, guard},
    util::plain::{self, Links},
};
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The names of the files that [`generate`] makes.
pub(crate) const CERTIFICATE_FILE: &str = "cert.pem";
pub(crate) const KEY_FILE: &str = "key.pem";
/// Far more than the longest chain.
const PEM_BYTES_MAX: u64 = 1 << 20;
const H2: &[u8] = b"h2";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: the certificate cannot be used: {reason}")]
    BadCertificate { path: PathBuf, reason: String },
    #[error("{path}: the private key cannot be used: {reason}; PKCS#8, SEC1 and PKCS#1 in PEM are")]
    BadKey { path: PathBuf, reason: String },
    #[error("{name:?} cannot be a name in a certificate: {reason}")]
    BadName { name: String, reason: String },
    #[error("{path} exists already and is left alone; remove it first if it is to be replaced")]
    Exists { path: PathBuf },
    #[error("cannot {operation} {path}: {source}")]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the key {key} does not belong to the certificate {certificate}; give the pair that was made together, the server's own certificate first"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{0}")]
    Mode(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The server's certificate and key, and the TLS settings that use them.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// What the next handshake presents.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A connection whose handshake is done.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) protocol: Protocol,
    pub(super) server_name: Option<String>,
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and its key, both in PEM.
    ///
    /// # Errors
    /// When a file cannot be read, is not PEM, or the key does not belong to the certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = read_pair(certificate, key, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(pair)));
        let config = server_config(provider, current.clone());
        let config = config.map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self {
            certificate: certificate.into(),
            key: key.into(),
            current,
            config: Arc::new(config),
        })
    }

    /// Reads the files again. `false`: it is still the same certificate. An error leaves the old
    /// pair in force.
    ///
    /// # Errors
    /// As [`Certificate::load`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        let new = read_pair(&self.certificate, &self.key, self.config.crypto_provider())?;
        if new.cert == self.current.0.load().cert {
            return Ok(false);
        }
        self.current.0.store(Arc::new(new));
        Ok(true)
    }

    /// Where it was read, and is read again.
    pub fn path(&self) -> &Path {
        &self.certificate
    }

    /// The same of its key.
    pub fn key_path(&self) -> &Path {
        &self.key
    }

    /// What the certificate in force says.
    ///
    /// # Errors
    ///
    /// When it cannot be understood, which the clients' TLS library does not forgive either.
    pub fn facts(&self) -> Result<Facts, String> {
        let current = self.current.0.load();
        let own = current.cert.first().ok_or("there is no certificate")?;
        Facts::of(own)
    }

    /// Does a client that asks for this name accept the certificate in force?
    pub fn covers(&self, name: &str) -> bool {
        let current = self.current.0.load();
        (current.cert.first()).is_some_and(|own| facts::covers(own, name))
    }

    /// `None`: it failed or took longer than `deadline`; the log has the reason at `debug`,
    /// because port scanners make many of these.
    pub(super) async fn handshake(&self, tcp: TcpStream, deadline: Duration) -> Option<Secured> {
        let acceptor = TlsAcceptor::from(self.config.clone());
        match time::timeout(deadline, acceptor.accept(tcp)).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let protocol = match session.alpn_protocol() {
                    Some(H2) => Protocol::Http2,
                    Some(_) | None => Protocol::Http1,
                };
                let server_name = session.server_name().map(str::to_owned);
                Some(Secured {
                    stream,
                    protocol,
                    server_name,
                })
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS handshake");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake took too long");
                None
            }
        }
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(current);
    // The last is for clients that offer nothing else, such as `curl --http1.0`.
    config.alpn_protocols = [H2, b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    // Tickets that the client keeps: a poller that comes back saves the expensive half of the
    // handshake, and the server remembers no one.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let pem = read_key(key)?;
    let bad_key = |reason: String| TlsError::BadKey {
        path: key.into(),
        reason,
    };
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad_key(error.to_string()))?;
    let signing = provider.key_provider.load_private_key(der);
    let signing = signing.map_err(|error| bad_key(error.to_string()))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            certificate: certificate.into(),
            key: key.into(),
        }),
        Err(error) => Err(TlsError::BadCertificate {
            path: certificate.into(),
            reason: error.to_string(),
        }),
    }
}

/// A key that others could read or replace is no key.
fn read_key(path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = plain::open(path, Links::Follow).map_err(io_error("read", path))?;
    guard(&file, path, Guard::Key).map_err(TlsError::Mode)?;
    plain::bytes_of(file, PEM_BYTES_MAX).map_err(io_error("read", path))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = plain::read(path, Links::Follow, PEM_BYTES_MAX).map_err(io_error("read", path))?;
    let bad = |reason: String| TlsError::BadCertificate {
        path: path.into(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("no CERTIFICATE section in it; PEM is expected".into()));
    }
    Ok(chain)
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    move |source| TlsError::Io {
        operation,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn made() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::TempDir::new().unwrap();
        generate(dir.path(), &["localhost".into()]).unwrap();
        let (certificate, key) = (dir.path().join(CERTIFICATE_FILE), dir.path().join(KEY_FILE));
        (dir, certificate, key)
    }

    fn in_force(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
        certificate.current.0.load().cert.clone()
    }

    #[test]
    fn a_made_pair_loads_is_private_and_is_never_replaced() {
        let (dir, certificate, key) = made();
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let before = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
        assert!(matches!(
            generate(dir.path(), &[]),
            Err(TlsError::Exists { .. })
        ));
        assert_eq!(
            before,
            (fs::read(&certificate).unwrap(), fs::read(&key).unwrap())
        );
        // With the key gone, the certificate still stands, and no new key is left beside it.
        fs::remove_file(&key).unwrap();
        assert!(matches!(
            generate(dir.path(), &[]),
            Err(TlsError::Exists { .. })
        ));
        assert!(!key.exists());
    }

    #[test]
    fn a_key_that_others_may_use_is_refused_with_what_to_do() {
        let (_dir, certificate, key) = made();
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o660, false),
            (0o602, false),
        ] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            match Certificate::load(&certificate, &key) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(error) => {
                    let remedy = format!("run: chmod 600 {}", key.display());
                    assert!(
                        !fine && error.to_string().contains(&remedy),
                        "{mode:o}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused() {
        let (_dir, certificate, key) = made();
        let (_other_dir, other_certificate, other_key) = made();
        assert!(Certificate::load(&certificate, &key).is_ok());
        let error = Certificate::load(&certificate, &other_key).unwrap_err();
        assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
        let error = Certificate::load(&key, &key).unwrap_err();
        assert!(matches!(error, TlsError::BadCertificate { .. }), "{error}");
        let error = Certificate::load(&certificate, &other_certificate).unwrap_err();
        assert!(matches!(error, TlsError::BadKey { .. }), "{error}");
        let error = Certificate::load(Path::new("nowhere.pem"), &key).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read nowhere.pem: "),
            "{error}"
        );
    }

    #[test]
    fn a_reload_takes_a_good_pair_and_keeps_the_old_one_for_a_bad() {
        let (_dir, certificate, key) = made();
        let (_other_dir, other_certificate, other_key) = made();
        let loaded = Certificate::load(&certificate, &key).unwrap();
        let first = in_force(&loaded);
        assert!(!loaded.reload().unwrap());
        fs::copy(&other_certificate, &certificate).unwrap();
        assert!(matches!(loaded.reload(), Err(TlsError::Mismatch { .. })));
        assert_eq!(in_force(&loaded), first);
        fs::write(&key, "").unwrap();
        assert!(matches!(loaded.reload(), Err(TlsError::BadKey { .. })));
        assert_eq!(in_force(&loaded), first);
        fs::copy(&other_key, &key).unwrap();
        assert!(loaded.reload().unwrap());
        assert_ne!(in_force(&loaded), first);
        // What would never end, or never begin, is not read.
        fs::remove_file(&key).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(loaded.reload(), Err(TlsError::Io { .. })));
        fs::remove_file(&key).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &key).unwrap();
        assert!(matches!(loaded.reload(), Err(TlsError::Io { .. })));
    }
}
