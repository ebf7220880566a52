//! The integrity fields of RFC 9530: `Content-Digest` and `Repr-Digest`, SHA-256 only.
//!
//! A field lists one digest per algorithm: `sha-256=:<base64>:, sha-512=:…:`. Other algorithms
//! are ignored, as the RFC asks; a field that cannot be read is refused, because its sender
//! believes that the bytes are being checked.

use crate::gateway::Fault;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const ALGORITHM: &str = "sha-256";

/// Padding is written, and not missed when a client leaves it out (RFC 8941, 4.2.7).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 that the body must have, if the client said so.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Fault> {
    let mut expected = None;
    for field in [CONTENT_DIGEST, REPR_DIGEST] {
        for value in headers.get_all(&field) {
            let malformed = || Fault::Invalid {
                reason: format!("the header {field} is malformed; write sha-256=:<base64>:"),
            };
            for digest in parse(value).ok_or_else(malformed)? {
                if expected
                    .replace(digest)
                    .is_some_and(|other| other != digest)
                {
                    let reason = "two different SHA-256 digests are given".into();
                    return Err(Fault::Invalid { reason });
                }
            }
        }
    }
    Ok(expected)
}

/// The field's value for a digest in hexadecimal; `None` if it is none.
pub(super) fn field(hex: &str) -> Option<HeaderValue> {
    let pairs = hex.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let bytes: [u8; 32] = bytes?.try_into().ok()?;
    HeaderValue::try_from(format!("{ALGORITHM}=:{}:", BASE64.encode(bytes))).ok()
}

/// The SHA-256 digests in one field; `None` if it is malformed.
fn parse(value: &HeaderValue) -> Option<Vec<[u8; 32]>> {
    let mut digests = Vec::new();
    for member in value.to_str().ok()?.split(',') {
        let (algorithm, digest) = member.trim_matches([' ', '\t']).split_once('=')?;
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*');
        if algorithm.is_empty() || !algorithm.bytes().all(allowed) {
            return None;
        }
        let encoded = digest.strip_prefix(':')?.strip_suffix(':')?;
        let digest = BASE64.decode(encoded).ok()?;
        if algorithm == ALGORITHM {
            digests.push(digest.try_into().ok()?);
        }
    }
    Some(digests)
}
