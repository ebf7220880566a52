//! The integrity fields of RFC 9530: `Content-Digest` and `Repr-Digest`, SHA-256 and SHA-512.
//!
//! A field lists one digest per algorithm: `sha-256=:<base64>:, sha-512=:…:`, each perhaps with
//! parameters after a semicolon, which mean nothing yet. Other algorithms are ignored, as the RFC
//! asks; a field that cannot be read is refused, because its sender believes that the bytes are
//! being checked.

use crate::{
    api::headers::REPR_DIGEST,
    service::{Digests, Fault},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const SHA_256: &str = "sha-256";
const SHA_512: &str = "sha-512";

/// Padding is written, and not missed when a client leaves it out (RFC 8941, 4.2.7).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the body must have, if the client said so.
pub(super) fn expected(headers: &HeaderMap) -> Result<Digests, Fault> {
    let mut expected = Digests::default();
    for field in [CONTENT_DIGEST, REPR_DIGEST] {
        let malformed = || Fault::Invalid {
            reason: format!("the header {field} is malformed; write sha-256=:<base64>:"),
        };
        for value in headers.get_all(&field) {
            let value = value.to_str().map_err(|_| malformed())?;
            for member in split(value, ',') {
                let (algorithm, digest) = parse(member).ok_or_else(malformed)?;
                let unequal = match algorithm {
                    SHA_256 => differs(&mut expected.sha256, digest),
                    SHA_512 => differs(&mut expected.sha512, digest),
                    _ => Some(false),
                };
                if unequal.ok_or_else(malformed)? {
                    let name = algorithm.to_uppercase();
                    let reason = format!("two different {name} digests are given");
                    return Err(Fault::Invalid { reason });
                }
            }
        }
    }
    Ok(expected)
}

/// Notes a digest and says whether another one stood there; `None` if it has the wrong length.
fn differs<const N: usize>(expected: &mut Option<[u8; N]>, digest: Vec<u8>) -> Option<bool> {
    let digest = digest.try_into().ok()?;
    Some(
        expected
            .replace(digest)
            .is_some_and(|other| other != digest),
    )
}

/// The algorithm and the digest of one member of the list; `None` if it is malformed.
fn parse(member: &str) -> Option<(&str, Vec<u8>)> {
    let mut parts = split(member, ';');
    let (algorithm, digest) = parts.next()?.split_once('=')?;
    let encoded = digest.strip_prefix(':')?.strip_suffix(':')?;
    let parameter = |part: &str| match part.split_once('=') {
        Some((key, value)) => is_key(key) && !value.is_empty(),
        None => is_key(part),
    };
    let well_formed = is_key(algorithm) && parts.all(parameter);
    well_formed.then_some((algorithm, BASE64.decode(encoded).ok()?))
}

/// The parts between separators that do not stand in a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        quoted ^= c == '"' && !escaped;
        escaped = quoted && !escaped && c == '\\';
        c == separator && !quoted
    });
    parts.map(|part| part.trim_matches([' ', '\t']))
}

fn is_key(text: &str) -> bool {
    let first = |b: u8| matches!(b, b'a'..=b'z' | b'*');
    let other = |b: u8| first(b) || matches!(b, b'0'..=b'9' | b'_' | b'-' | b'.');
    text.bytes().next().is_some_and(first) && text.bytes().all(other)
}
