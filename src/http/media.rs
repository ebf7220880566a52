//! What a body surely is not: the document itself.
//!
//! Types are not insisted on, because partners send all kinds; but an encoded body, or a form with a
//! file in it, would be stored as something that no one can read.

use crate::service::Fault;
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

/// Longest encoding that is shown to its sender, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// Could the body be the document? Source: the dStore contract, "Upload", 5.
///
/// # Errors
/// [`Fault::Unsupported`], which says what to send instead.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Fault> {
    for encodings in headers.get_all(CONTENT_ENCODING) {
        let encodings = String::from_utf8_lossy(encodings.as_bytes()).into_owned();
        let mut each = encodings.split(',').map(str::trim);
        let other = each.find(|e| !e.is_empty() && !e.eq_ignore_ascii_case("identity"));
        if let Some(other) = other {
            let other: String = other.chars().take(SHOWN_CHARS_MAX).collect();
            return Err(Fault::Unsupported {
                is_encoded: true,
                reason: format!(
                    "the body is encoded as {other}, which is not read here: send it as it is, \
                     without Content-Encoding; nothing was stored"
                ),
            });
        }
    }
    let is_form = |kind: &http::HeaderValue| {
        let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
        kind.split(';').next().unwrap_or_default().trim() == "multipart/form-data"
    };
    match headers.get_all(CONTENT_TYPE).iter().any(is_form) {
        false => Ok(()),
        true => Err(Fault::Unsupported {
            is_encoded: false,
            reason: "the body is a form with parts (multipart/form-data), not the document: send \
                     the document itself as the body, with curl by --data-binary @FILE in place of \
                     -F; nothing was stored"
                .into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(http::HeaderName, &str)]) -> Option<bool> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        match check(&headers.collect()) {
            Ok(()) => None,
            Err(Fault::Unsupported { is_encoded, .. }) => Some(is_encoded),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_encoded_or_in_parts_is_named() {
        for (encoding, expected) in [
            ("identity", None),
            ("", None),
            ("Identity, identity", None),
            ("gzip", Some(true)),
            ("identity, br", Some(true)),
            ("x-unknown", Some(true)),
        ] {
            assert_eq!(
                checked(&[(CONTENT_ENCODING, encoding)]),
                expected,
                "{encoding}"
            );
        }
        for (kind, expected) in [
            ("application/xml", None),
            ("application/x-www-form-urlencoded", None),
            ("multipart/mixed", None),
            ("nonsense", None),
            ("multipart/form-data", Some(false)),
            ("Multipart/Form-Data ; boundary=x", Some(false)),
        ] {
            assert_eq!(checked(&[(CONTENT_TYPE, kind)]), expected, "{kind}");
        }
        let second = [(CONTENT_ENCODING, "identity"), (CONTENT_ENCODING, "zstd")];
        assert_eq!(checked(&second), Some(true));
        assert_eq!(checked(&[]), None);
    }
}
