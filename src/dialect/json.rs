//! What the JSON dialects share: answers, objects as clients write them, and path segments.

use super::Payload;
use crate::gateway::{Download, Fault};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ACCEPT_RANGES, ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER},
};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, io};

/// Longest text in an answer to a fault.
const SHOWN_CHARS_MAX: usize = 1000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of JSON.
pub(super) fn response(status: StatusCode, body: &Value) -> Response<Payload> {
    let mut response = Response::new(Payload::Bytes(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The answer to a fault, with the headers that belong to it whatever the dialect.
pub(super) fn fault(status: StatusCode, fault: &Fault, body: &Value) -> Response<Payload> {
    let mut response = response(status, body);
    let headers = response.headers_mut();
    match fault {
        Fault::Busy { retry_after_s, .. } | Fault::TooMany { retry_after_s, .. } => {
            headers.insert(RETRY_AFTER, (*retry_after_s).into());
        }
        Fault::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Fault::Conflict { .. }
        | Fault::Field { .. }
        | Fault::Forbidden { .. }
        | Fault::Internal
        | Fault::Invalid { .. }
        | Fault::NoSuchPath
        | Fault::Refused { .. }
        | Fault::TimedOut
        | Fault::TooLarge { .. }
        | Fault::Unauthorized
        | Fault::UnknownFile { .. }
        | Fault::UnknownInterface { .. }
        | Fault::UnknownJob { .. }
        | Fault::UnknownTenant { .. } => {}
    }
    response
}

/// The usual status of a fault, and what is said of it to the client.
pub(super) fn plain(fault: &Fault) -> (StatusCode, Cow<'_, str>) {
    let (status, text): (_, Cow<'_, str>) = match fault {
        Fault::Busy { reason, .. } => (StatusCode::SERVICE_UNAVAILABLE, reason.into()),
        Fault::Conflict { reason } => (StatusCode::CONFLICT, reason.into()),
        Fault::Field { field, reason } => {
            (StatusCode::BAD_REQUEST, format!("{field}: {reason}").into())
        }
        Fault::Forbidden { reason } => (StatusCode::FORBIDDEN, reason.into()),
        Fault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".into()),
        Fault::Invalid { reason } => (StatusCode::BAD_REQUEST, reason.into()),
        Fault::MethodNotAllowed { allow } => (
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this path answers to {allow} only").into(),
        ),
        Fault::NoSuchPath => (StatusCode::NOT_FOUND, "no such path".into()),
        Fault::Refused { .. } => (StatusCode::BAD_REQUEST, "the document was refused".into()),
        Fault::TimedOut => (
            StatusCode::REQUEST_TIMEOUT,
            "the request did not arrive in time".into(),
        ),
        Fault::TooLarge { bytes_max } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {bytes_max} bytes").into(),
        ),
        Fault::TooMany { reason, .. } => (StatusCode::TOO_MANY_REQUESTS, reason.into()),
        Fault::Unauthorized => (
            StatusCode::UNAUTHORIZED,
            "valid credentials of this server are needed".into(),
        ),
        Fault::UnknownFile { job, number } => (
            StatusCode::NOT_FOUND,
            format!("the job {job} has no file {number}").into(),
        ),
        Fault::UnknownInterface { interface } => (
            StatusCode::NOT_FOUND,
            format!("unknown interface {interface}").into(),
        ),
        Fault::UnknownJob { job } => (StatusCode::NOT_FOUND, format!("unknown job {job}").into()),
        Fault::UnknownTenant { tenant } => (
            StatusCode::NOT_FOUND,
            format!("unknown tenant {tenant}").into(),
        ),
    };
    (status, shown(text))
}

/// A text without control characters, and not longer than anybody reads.
fn shown(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains(char::is_control) && text.len() <= SHOWN_CHARS_MAX {
        return text;
    }
    let harmless = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(SHOWN_CHARS_MAX).map(harmless).collect()
}

/// A file that a processor made, to be saved by the client under its name.
pub(super) fn file(name: &str, download: Download) -> Response<Payload> {
    let mut response = Response::new(Payload::File(download));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(value) = HeaderValue::try_from(attachment(name)) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// `attachment` with a file's name in ASCII and, where that is not all of it, in full (RFC 6266).
fn attachment(name: &str) -> String {
    use fmt::Write;
    let quotable = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name
        .chars()
        .map(|c| if quotable(c) { c } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        text += "; filename*=UTF-8''";
        for byte in name.bytes() {
            // Writing to a string cannot fail.
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    write!(text, "{}", char::from(byte))
                }
                _ => write!(text, "%{byte:02X}"),
            };
        }
    }
    text
}

/// The type of a file by its extension.
fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "csv" => "text/csv; charset=utf-8",
        "gif" => "image/gif",
        "htm" | "html" => "text/html; charset=utf-8",
        "jpeg" | "jpg" => "image/jpeg",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "tif" | "tiff" => "image/tiff",
        "log" | "txt" => "text/plain; charset=utf-8",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xml" => "application/xml",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

/// Is a body JSON? To be the check of a document, see [`crate::gateway::JsonCheck`].
pub(super) fn check(body: &mut dyn io::Read) -> Result<(), String> {
    let parsed: Result<IgnoredAny, _> = serde_json::from_reader(Text::new(body));
    parsed.map(drop).map_err(|error| not_json(&error))
}

/// Bytes on their way to a parser that passes over the insides of strings: what is not UTF-8 is an
/// error here.
pub(super) struct Text<'r> {
    body: &'r mut dyn io::Read,
    /// The beginning of a character whose other bytes are still to come.
    begun: Vec<u8>,
}

impl<'r> Text<'r> {
    pub(super) fn new(body: &'r mut dyn io::Read) -> Self {
        Self {
            body,
            begun: Vec::new(),
        }
    }
}

impl io::Read for Text<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let not_utf8 = || io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
        let n_bytes = self.body.read(into)?;
        if n_bytes == 0 && !self.begun.is_empty() && !into.is_empty() {
            return Err(not_utf8());
        }
        self.begun.extend_from_slice(&into[..n_bytes]);
        let good = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(not_utf8()),
        };
        self.begun.drain(..good);
        Ok(n_bytes)
    }
}

/// The members of an object; none of an empty body. A member that is given twice, in this object
/// or within, is an error which names it.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let invalid = |reason| Fault::Invalid { reason };
    let mut twice = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed = Once { twice: &mut twice }.deserialize(&mut reader);
    let parsed = parsed.and_then(|value| reader.end().map(|()| value));
    match (parsed.map_err(|error| invalid(not_json(&error)))?, twice) {
        (_, Some(field)) => Err(Fault::Field {
            field,
            reason: "is given twice".into(),
        }),
        (Value::Object(members), None) => Ok(members),
        (
            Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_),
            None,
        ) => Err(invalid("the body is JSON, but not an object".into())),
    }
}

fn not_json(error: &serde_json::Error) -> String {
    format!("the body is not JSON: {error}")
}

/// The text, number or boolean that a client gave for a value, as text; `None` for `null`.
pub(super) fn text(field: &str, value: &Value) -> Result<Option<String>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(given) => Ok(Some(given.to_string())),
        Value::Number(given) => Ok(Some(given.to_string())),
        Value::String(given) => Ok(Some(given.clone())),
        Value::Array(_) | Value::Object(_) => Err(Fault::Field {
            field: field.into(),
            reason: "must be a text".into(),
        }),
    }
}

/// The segments of a path, decoded. `None` for a path that does not decode to text.
pub(super) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    path.split('/').skip(1).map(decoded).collect()
}

/// A segment of a path without its percent signs.
pub(super) fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Reads a value, and notes the first member in it that is given twice.
struct Once<'t> {
    /// Its name, after those of the members that it is in.
    twice: &'t mut Option<String>,
}

impl Once<'_> {
    /// What is found from now on is in the member, or at the place, of that name.
    fn within<T, E>(
        &mut self,
        name: impl fmt::Display,
        read: impl FnOnce(Once) -> Result<T, E>,
    ) -> Result<T, E> {
        let first = self.twice.is_none();
        let value = read(Once { twice: self.twice })?;
        if let Some(inner) = self.twice.as_mut().filter(|_| first) {
            *inner = format!("{name}.{inner}");
        }
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = self.within(values.len(), |once| seq.next_element_seed(once))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = self.within(&name, |once| map.next_value_seed(once))?;
            if members.contains_key(&name) {
                self.twice.get_or_insert(name);
            } else {
                members.insert(name, value);
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_is_json() {
        for good in ["{}", " [1]\n", "\"\u{e4}\"", "null", "-1e5"] {
            assert_eq!(check(&mut good.as_bytes()), Ok(()), "{good}");
        }
        for bad in ["", "{", "{}{}", "{\"a\":}", "'a'", "01", "\"\n\""] {
            let error = check(&mut bad.as_bytes()).unwrap_err();
            assert!(
                error.contains("line 1 column") || bad == "\"\n\"",
                "{bad}: {error}"
            );
        }
        let not_text = [&b"\"\xff\""[..], b"\"\xc3", b"{\"a\": \"\xc3\x28\"}"];
        for bad in not_text {
            assert!(check(&mut &bad[..]).is_err(), "{bad:?}");
            // Also where each byte comes alone.
            let mut slow = io::BufReader::with_capacity(1, bad);
            assert!(check(&mut slow).is_err(), "{bad:?}");
        }
        let mut slow = io::BufReader::with_capacity(1, "\"\u{e4}\u{1d11e}\"".as_bytes());
        assert_eq!(check(&mut slow), Ok(()));
        // Deep nesting neither overflows the stack nor passes for a broken body.
        let deep = "[".repeat(100_000);
        assert!(check(&mut deep.as_bytes()).is_err());
    }

    #[test]
    fn objects_are_read_and_doubled_members_named() {
        assert_eq!(object(b" \n"), Ok(Map::new()));
        assert_eq!(object(b"{\"a\":1}").unwrap()["a"], 1);
        let twice = object(b"{\"a\":1,\"b\":{},\"b\":2}");
        assert!(matches!(twice, Err(Fault::Field { field, .. }) if field == "b"));
        let within = object(br#"{"a": [{"x": 1}, {"b": {"c": 1, "\u0063": 2, "c": 3}}], "a": 1}"#);
        assert!(matches!(within, Err(Fault::Field { field, .. }) if field == "a.1.b.c"));
        let plain = r#"{"a":[null,true,-1,1.5,18446744073709551615,"x",{"y":{}}]}"#;
        assert_eq!(
            Value::Object(object(plain.as_bytes()).unwrap()).to_string(),
            plain
        );
        for bad in ["[]", "1", "{", "{}x"] {
            let read = object(bad.as_bytes());
            assert!(matches!(read, Err(Fault::Invalid { .. })), "{bad}");
        }
    }

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
        assert_eq!(content_type("Report.PDF"), "application/pdf");
        assert_eq!(content_type("pdf"), "application/octet-stream");
    }

    #[test]
    fn segments_are_decoded_once() {
        let of = |path| segments(path).map(|s| s.join("|"));
        assert_eq!(of("/a/b%20c/%2541").as_deref(), Some("a|b c|%41"));
        assert_eq!(of("/a%2Fb/").as_deref(), Some("a/b|"));
        assert_eq!(of("/%c3%A4").as_deref(), Some("\u{e4}"));
        for bad in ["/%", "/%4", "/%zz", "/%ff"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
