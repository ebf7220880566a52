//! Whose certificates are believed: the system's, those of a file, or anyone's.
//!
//! The cryptographic provider is named explicitly, so that no other crate's choice of features
//! can change it or leave it open. Certificate files are read once, when the endpoint is made.

use super::connect::ClientError;
use crate::util::plain::{self, Links};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The certificates in this PEM file.
    File(PathBuf),
    /// Anyone's. The password then goes to any server that answers.
    Insecure,
    /// The system's roots.
    System,
}

/// How clients that trust so speak TLS, here by HTTP.
///
/// # Errors
/// When what is to be trusted cannot be read, or is nothing.
pub fn tls_config(trust: &Trust) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Trust(e.to_string()))?;
    let mut config = match trust {
        Trust::Insecure => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
        Trust::File(path) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Named::new(path, provider)?))
            .with_no_client_auth(),
        Trust::System => builder
            .with_root_certificates(system_roots()?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A bundle of all authorities of the world has 0.3 MB.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// Believes the certificates in a file and those that they have issued.
#[derive(Debug)]
struct Named {
    certificates: Vec<CertificateDer<'static>>,
    issued: Arc<WebPkiServerVerifier>,
}

impl Named {
    fn new(path: &Path, provider: Arc<CryptoProvider>) -> Result<Self, ClientError> {
        let text = plain::read(path, Links::Follow, PEM_BYTES_MAX).map_err(|source| {
            ClientError::File {
                path: path.to_owned(),
                source,
            }
        })?;
        let wrong = |e: &dyn std::fmt::Display| {
            ClientError::Trust(format!("{}: not a PEM certificate: {e}", path.display()))
        };
        let mut roots = rustls::RootCertStore::empty();
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|e| wrong(&e))?;
            roots.add(certificate.clone()).map_err(|e| wrong(&e))?;
            certificates.push(certificate);
        }
        if roots.is_empty() {
            return Err(wrong(&"there is none in the file"));
        }
        let issued = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        Ok(Self {
            certificates,
            issued: issued.build().map_err(|e| wrong(&e))?,
        })
    }
}

impl ServerCertVerifier for Named {
    /// A server's own certificate that stands in the file is believed for the names in it. It may
    /// be marked as an issuer's, as the usual self-signed ones are, which the ordinary path refuses.
    /// Its dates are not checked: the user who named it knows it.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificates.iter().any(|named| named == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.issued
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issued.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issued.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

fn system_roots() -> Result<rustls::RootCertStore, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "this system has no root certificates; name the issuer's (cacert)";
        return Err(ClientError::Trust(message.to_owned()));
    }
    Ok(roots)
}

/// Believes any certificate, for `--insecure`. Signatures are still checked: the peer holds the
/// key of the certificate it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(names: &[&str]) -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap()
    }

    /// `openssl req -x509` marks what it makes as an issuer's certificate.
    #[test]
    fn a_self_signed_certificate_that_was_named_is_believed_for_its_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let (named, other) = (self_signed(&["localhost"]), self_signed(&["localhost"]));
        std::fs::write(&path, named.pem()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Named::new(&path, provider).unwrap();
        let verify = |certificate: &rcgen::Certificate, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let now = UnixTime::now();
            let verified = verifier.verify_server_cert(certificate.der(), &[], &name, &[], now);
            verified.is_ok()
        };
        assert!(verify(&named, "localhost"));
        assert!(!verify(&named, "example.org"));
        assert!(!verify(&other, "localhost"));
    }
}
