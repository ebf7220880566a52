//! What a certificate says of itself: for whom, by whom, from when to when.

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

pub(super) const DAY_S: i64 = 24 * 60 * 60;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub subject: String,
    pub issuer: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// Seconds of the Unix epoch.
    pub not_before_s: i64,
    pub not_after_s: i64,
    /// As it stands there, with its algorithm.
    pub(super) public_key: Vec<u8>,
}

impl Facts {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
        let san = parsed.subject_alternative_name();
        let san = san.map_err(|e| e.to_string())?;
        let names = san.iter().flat_map(|san| &san.value.general_names);
        let names = names.filter_map(|name| {
            if let GeneralName::DNSName(name) = name {
                return Some((*name).to_owned());
            }
            let GeneralName::IPAddress(bytes) = name else {
                return None;
            };
            address(bytes)
        });
        Ok(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names.collect(),
            not_before_s: parsed.validity().not_before.timestamp(),
            not_after_s: parsed.validity().not_after.timestamp(),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// Whole days until its end; negative after it.
    pub fn days_left(&self, now_s: i64) -> i64 {
        (self.not_after_s - now_s).div_euclid(DAY_S)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(bytes).to_string())
}

/// Does a client that asks for this name accept it?
pub(super) fn covers(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else {
        return false;
    };
    let parsed = ParsedCertificate::try_from(certificate);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}
