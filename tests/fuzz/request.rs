//! Requests as the corpus writes them.

use http::{HeaderName, HeaderValue, Method, Request, Uri, request::Parts};

/// As the server has them.
const HEADERS_MAX: usize = 100;
const URI_BYTES_MAX: usize = 8 * 1024;

/// `METHOD URI`, a line for each header, an empty line, the body.
pub(crate) fn read(data: &[u8]) -> Option<(Parts, &[u8])> {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data.strip_suffix(b"\n").unwrap_or(data), &data[..0]),
    };
    let mut lines = head.split(|b| *b == b'\n');
    let mut first = lines.next()?.splitn(2, |b| *b == b' ');
    let method = Method::from_bytes(first.next()?).ok()?;
    let uri = Uri::try_from(first.next()?).ok()?;
    if uri.path_and_query()?.as_str().len() > URI_BYTES_MAX {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri) = (method, uri);
    for line in lines.take(HEADERS_MAX) {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        parts.headers.append(name, value);
    }
    Some((parts, body))
}
