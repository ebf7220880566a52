//! Headers that mean the same in every dialect.

use crate::{
    domain::digest_field,
    service::{Download, Fault},
};
use hex::FromHex;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, ALLOW, CONTENT_DISPOSITION, ETAG, RETRY_AFTER},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What does not stand for itself in the name of a file: fewer do than RFC 8187 allows.
const NOT_PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Says what a file is called, which bytes it has, and that parts of it can be asked for.
pub(super) fn describe(headers: &mut HeaderMap, download: &Download) {
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(name) = HeaderValue::try_from(attachment(&download.name)) {
        headers.insert(CONTENT_DISPOSITION, name);
    }
    let sha256 = download.content.sha256.as_deref();
    if let Some((hex, digest)) = sha256.and_then(|hex| Some((hex, repr_digest(hex)?))) {
        headers.insert(REPR_DIGEST, digest);
        // Strong: other bytes have another one (RFC 9110, 8.8.1).
        if let Ok(version) = HeaderValue::try_from(format!("\"{hex}\"")) {
            headers.insert(ETAG, version);
        }
    }
}

/// The value of `Repr-Digest` for a SHA-256 in hexadecimal (RFC 9530); `None` if it is none.
pub(super) fn repr_digest(hex: &str) -> Option<HeaderValue> {
    let sha256 = <[u8; 32]>::from_hex(hex).ok()?;
    HeaderValue::try_from(digest_field(&sha256)).ok()
}

/// `attachment` with a file's name in ASCII and, where that is not all of it, in full (RFC 6266,
/// RFC 8187).
fn attachment(name: &str) -> String {
    let quotable = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name
        .chars()
        .map(|c| if quotable(c) { c } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        text += "; filename*=UTF-8''";
        text.extend(utf8_percent_encode(name, NOT_PLAIN));
    }
    text
}

/// The client's `Idempotency-Key`, if it sent one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else {
        return Ok(None);
    };
    let printable = |value: &HeaderValue| {
        let key = value.as_bytes();
        let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
        fits && key.iter().all(|b| matches!(b, b' '..=b'~'))
    };
    if !printable(key) || given.any(|other| other != key) {
        let reason = format!(
            "the header Idempotency-Key must be one of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"
        );
        return Err(Fault::Invalid { reason });
    }
    Ok(key.to_str().ok().map(str::to_owned))
}

/// The headers that belong to a fault whatever the dialect.
pub(super) fn mark_fault(all: &mut HeaderMap, fault: &Fault) {
    match fault {
        Fault::Busy { retry_after_s, .. } | Fault::TooMany { retry_after_s, .. } => {
            all.insert(RETRY_AFTER, (*retry_after_s).into());
        }
        Fault::MethodNotAllowed { allow } => {
            all.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Fault::Unsupported { is_encoded, .. } => mark_unsupported(all, *is_encoded),
        Fault::Conflict { .. }
        | Fault::Field { .. }
        | Fault::Forbidden { .. }
        | Fault::Internal
        | Fault::Invalid { .. }
        | Fault::NoSuchPath
        | Fault::NotValid { .. }
        | Fault::Refused { .. }
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::Unauthorized
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownJob { .. }
        | Fault::UnknownTenant { .. } => {}
    }
}

/// Says with a 415 which encodings are read: none (RFC 9110, 12.5.3).
pub(super) fn mark_unsupported(headers: &mut HeaderMap, is_encoded: bool) {
    if is_encoded {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// Says of the answer to a repeated request that it is one.
pub(super) fn mark_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name() {
        let cases = [
            ("a b.csv", "attachment; filename=\"a b.csv\""),
            (
                "gr\u{f6}\"\u{df}e\n.pdf",
                "attachment; filename=\"gr___e_.pdf\"; filename*=UTF-8''gr%C3%B6%22%C3%9Fe%0A.pdf",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(attachment(name), expected, "{name}");
        }
    }

    #[test]
    fn a_digest_has_its_length() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
        assert_eq!(repr_digest(hex).unwrap(), expected);
        for odd in [
            "",
            &hex[1..],
            &hex.replace('b', "g"),
            &format!("+{}", &hex[1..]),
        ] {
            assert_eq!(repr_digest(odd), None, "{odd}");
        }
    }
}
