//! Headers that mean the same in every dialect.

use crate::gateway::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, header::ACCEPT_ENCODING};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

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
