//! TLS: loading, checking and reloading the certificate, the handshake, and a first certificate.
//!
//! The provider is aws-lc-rs and is named explicitly: what another dependency compiles in cannot
//! change it. A certificate is in force only if it could be read and belongs to its key; a reload
//! that finds anything else leaves the old pair in force and says what is wrong. Connections that
//! are open keep what they began with.

use super::connection::Protocol;
use arc_swap::ArcSwap;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The names of the files that [`generate`] makes.
pub const CERTIFICATE_FILE: &str = "cert.pem";
pub const KEY_FILE: &str = "key.pem";
/// Far more than the longest chain.
const PEM_BYTES_MAX: u64 = 1 << 20;
const VALID_YEARS: i64 = 10;
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
    pub fn reload(&self) -> Result<bool, TlsError> {
        let new = read_pair(&self.certificate, &self.key, self.config.crypto_provider())?;
        if new.cert == self.current.0.load().cert {
            return Ok(false);
        }
        self.current.0.store(Arc::new(new));
        Ok(true)
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

/// Makes a self-signed certificate for `names`, 127.0.0.1 and ::1, valid for ten years, as
/// [`CERTIFICATE_FILE`] and [`KEY_FILE`] in `dir`. Replaces nothing; makes both files or none.
pub fn generate(dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let params = self_signed(names)?;
    let setup = |error: rcgen::Error| TlsError::Setup(error.to_string());
    // The default algorithm is ECDSA P-256: a quarter of the server's time of an RSA handshake.
    let key = KeyPair::generate().map_err(setup)?;
    let certificate = params.self_signed(&key).map_err(setup)?;
    let (certificate_path, key_path) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
    write_new(&key_path, &key.serialize_pem(), 0o600)?;
    if let Err(error) = write_new(&certificate_path, &certificate.pem(), 0o644) {
        // This key belongs to no certificate and was made a moment ago.
        fs::remove_file(&key_path).map_err(io_error("remove", &key_path))?;
        return Err(error);
    }
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("sync", dir))
}

fn server_config(
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    // Tickets that the client keeps: a poller that comes back saves the expensive half of the
    // handshake, and the server remembers nobody.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn read_pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let pem = read_plain(key).map_err(io_error("read", key))?;
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

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_plain(path).map_err(io_error("read", path))?;
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

/// A FIFO or a directory is not waited for, and no more is read than a chain and a key have.
fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > PEM_BYTES_MAX {
        let message = format!("it is not a plain file of at most {PEM_BYTES_MAX} bytes");
        return Err(io::Error::other(message));
    }
    let mut pem = Vec::new();
    file.take(PEM_BYTES_MAX).read_to_end(&mut pem)?;
    Ok(pem)
}

fn self_signed(names: &[String]) -> Result<CertificateParams, TlsError> {
    let mut subjects: Vec<String> = names.to_vec();
    for own in ["127.0.0.1", "::1"] {
        if !names.iter().any(|name| name == own) {
            subjects.push(own.into());
        }
    }
    let first = subjects[0].clone();
    let mut params = CertificateParams::new(subjects).map_err(|error| TlsError::BadName {
        name: names.join(", "),
        reason: error.to_string(),
    })?;
    params.distinguished_name.push(DnType::CommonName, first);
    // rustls clients refuse an authority's certificate as a server's own.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let day = |date: jiff::civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    // From yesterday: clocks of clients may be behind.
    params.not_before = day(today.saturating_sub(jiff::Span::new().days(1)));
    params.not_after = day(today.saturating_add(jiff::Span::new().years(VALID_YEARS)));
    Ok(params)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(TlsError::Exists { path: path.into() });
        }
        Err(error) => return Err(io_error("create", path)(error)),
    };
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(io_error("write", path))
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
    use std::os::unix::fs::PermissionsExt;

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
