//! The integrity fields of a request (RFC 9530). One that cannot be read is refused, because its
//! sender believes that the bytes are being checked.

use crate::{api::headers::REPR_DIGEST, domain::Digests, service::Fault};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// What the body must have, if the client said so.
pub(super) fn expected(headers: &HeaderMap) -> Result<Digests, Fault> {
    let content = field(headers, CONTENT_DIGEST)?;
    let representation = field(headers, REPR_DIGEST)?;
    Ok(Digests {
        sha256: one("SHA-256", content.sha256, representation.sha256)?,
        sha512: one("SHA-512", content.sha512, representation.sha512)?,
    })
}

fn field(headers: &HeaderMap, name: HeaderName) -> Result<Digests, Fault> {
    let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    Digests::parse(lines).ok_or_else(|| Fault::Invalid {
        reason: format!("the header {name} is malformed; write sha-256=:<base64>:"),
    })
}

/// No content coding is taken, so both fields are of the same bytes.
fn one<D: PartialEq>(name: &str, one: Option<D>, other: Option<D>) -> Result<Option<D>, Fault> {
    if one.is_some() && other.is_some() && one != other {
        let reason = format!("two different {name} digests are given");
        return Err(Fault::Invalid { reason });
    }
    Ok(one.or(other))
}
