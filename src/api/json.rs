//! What the JSON dialects share: answers, and objects as clients write them.

use super::{Payload, headers};
use crate::{
    domain::spaced,
    service::{Download, Fault},
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, io};

/// Longest text in an answer to a fault.
const SHOWN_CHARS_MAX: usize = 1000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Some systems begin a text in UTF-8 with it (RFC 8259, 8.1: it may be ignored).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Deepest nesting of arrays and objects in what a client sends.
const DEPTH_MAX: usize = 128;
/// Levels of an object that a dialect can look into.
const LEVELS_READ: usize = 3;

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
    headers::mark_fault(response.headers_mut(), fault);
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
        Fault::NotValid { .. } | Fault::Refused { .. } => {
            (StatusCode::BAD_REQUEST, "the document was refused".into())
        }
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
        Fault::Unsupported { reason, .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, reason.into()),
    };
    (status, shown(text))
}

/// A text without control characters, and not longer than anyone reads.
fn shown(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains(char::is_control) && text.len() <= SHOWN_CHARS_MAX {
        return text;
    }
    spaced(&text).take(SHOWN_CHARS_MAX).collect()
}

/// A file that a processor made, to be saved by the client under its name.
pub(super) fn file(download: Download) -> Response<Payload> {
    let kind = HeaderValue::from_static(content_type(&download.name));
    let mut response = Response::new(Payload::Bytes(Bytes::new()));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    headers::describe(response.headers_mut(), &download);
    *response.body_mut() = Payload::File(download);
    response
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

/// Is a body JSON? To be the check of a document, see [`crate::service::JsonCheck`].
///
/// # Errors
/// What is wrong with it, in words for the client.
pub(super) fn check(body: &mut dyn io::Read) -> Result<(), String> {
    let text = Text::new(body).map_err(not_json)?;
    let parsed: Result<IgnoredAny, _> = serde_json::from_reader(text);
    parsed.map(drop).map_err(not_json)
}

/// How deep arrays and objects are within each other at some place of a JSON text, strings passed
/// over. What parses such a text after us may do so by recursion.
#[derive(Default)]
struct Depth {
    open: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Depth {
    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// When they are nested deeper than [`DEPTH_MAX`].
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'[' | b'{' if self.open == DEPTH_MAX => {
                    let text = format!("it is nested deeper than {DEPTH_MAX} levels");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                b'[' | b'{' => self.open += 1,
                b']' | b'}' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Bytes on their way to a parser that passes over the insides of strings and has no bound on
/// nesting: what is not UTF-8, or nested deeper than [`DEPTH_MAX`], is an error here. A byte order
/// mark at the beginning is left out.
pub(super) struct Text<'r> {
    body: io::Chain<io::Cursor<Vec<u8>>, &'r mut dyn io::Read>,
    /// The beginning of a character whose other bytes are still to come.
    begun: Vec<u8>,
    depth: Depth,
}

impl<'r> Text<'r> {
    /// # Errors
    /// When the beginning of the body cannot be read.
    pub(super) fn new(body: &'r mut dyn io::Read) -> io::Result<Self> {
        let mut first = Vec::new();
        let mark_bytes = BYTE_ORDER_MARK.len() as u64;
        io::Read::read_to_end(&mut io::Read::take(&mut *body, mark_bytes), &mut first)?;
        if first == BYTE_ORDER_MARK {
            first.clear();
        }
        Ok(Self {
            body: io::Read::chain(io::Cursor::new(first), body),
            begun: Vec::new(),
            depth: Depth::default(),
        })
    }
}

impl io::Read for Text<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let not_utf8 = || io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
        let n_bytes = self.body.read(into)?;
        if n_bytes == 0 && !self.begun.is_empty() && !into.is_empty() {
            return Err(not_utf8());
        }
        self.depth.take(&into[..n_bytes])?;
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

/// The members of an object; none of an empty body. A byte order mark before it is skipped.
///
/// A member that is given twice is an error which names it, down to `once_levels`: the object
/// itself is the first level. Below that is what the client means for someone else; there the
/// last one counts. What lies deeper than [`LEVELS_READ`] is left out: arrays and objects there are
/// empty.
///
/// # Errors
/// When the body is not such an object.
pub(super) fn object(body: &[u8], once_levels: usize) -> Result<Map<String, Value>, Fault> {
    let invalid = |reason| Fault::Invalid { reason };
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| invalid(not_json("it is not UTF-8")))?;
    let shallow = Depth::default().take(body);
    shallow.map_err(|error| invalid(not_json(error)))?;
    let mut twice = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Once {
        twice: &mut twice,
        level: 1,
        once_levels,
    };
    let parsed = parsed.deserialize(&mut reader);
    let parsed = parsed.and_then(|value| reader.end().map(|()| value));
    match (parsed.map_err(|error| invalid(not_json(error)))?, twice) {
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

fn not_json(error: impl fmt::Display) -> String {
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

/// Reads a value, and notes the first member in it that is given twice.
struct Once<'t> {
    /// Its name, after those of the members that it is in.
    twice: &'t mut Option<String>,
    /// Of the arrays and objects that are read now, from 1 on.
    level: usize,
    /// Further down, a member may be given twice.
    once_levels: usize,
}

impl Once<'_> {
    /// What is found from now on is in the member, or at the place, of that name.
    fn within<T, E>(
        &mut self,
        name: impl fmt::Display,
        read: impl FnOnce(Once) -> Result<T, E>,
    ) -> Result<T, E> {
        let first = self.twice.is_none();
        let value = read(Once {
            twice: self.twice,
            level: self.level + 1,
            once_levels: self.once_levels,
        })?;
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
        if self.level > LEVELS_READ {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
        }
        while let Some(value) = self.within(values.len(), |once| seq.next_element_seed(once))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        if self.level > LEVELS_READ {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        }
        while let Some(name) = map.next_key::<String>()? {
            let value = self.within(&name, |once| map.next_value_seed(once))?;
            if self.level <= self.once_levels && members.contains_key(&name) {
                self.twice.get_or_insert_with(|| name.clone());
            }
            members.insert(name, value);
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
    }

    #[test]
    fn nesting_has_a_bound_wherever_it_is() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let object_of = |value: &str| object(format!("{{\"a\":{value}}}").as_bytes(), 1);
        assert_eq!(check(&mut nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert!(object_of(&nested(DEPTH_MAX - 1)).is_ok());
        let in_a_string = format!("\"\\\"{}\"", nested(200));
        assert_eq!(check(&mut in_a_string.as_bytes()), Ok(()));
        assert!(object_of(&in_a_string).is_ok());
        let wide = format!("[{}[]]", "[],{},".repeat(1000));
        assert_eq!(check(&mut wide.as_bytes()), Ok(()));
        for levels in [DEPTH_MAX + 1, 200, 100_000] {
            let deep = nested(levels);
            let why = check(&mut deep.as_bytes()).unwrap_err();
            assert!(why.contains("deeper than 128 levels"), "{levels}: {why}");
            // Also where each byte comes alone, and in objects.
            let objects = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
            let mut slow = io::BufReader::with_capacity(1, objects.as_bytes());
            assert!(check(&mut slow).unwrap_err().contains("deeper"), "{levels}");
            let why = object(objects.as_bytes(), 1).unwrap_err();
            let deeper = |reason: &str| reason.contains("deeper than 128 levels");
            assert!(
                matches!(&why, Fault::Invalid { reason } if deeper(reason)),
                "{why:?}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once_and_at_the_beginning_only() {
        for good in ["\u{feff}{\"a\":1}", "\u{feff} {\"a\":\"\u{feff}\"}"] {
            assert_eq!(check(&mut good.as_bytes()), Ok(()), "{good:?}");
            let mut slow = io::BufReader::with_capacity(1, good.as_bytes());
            assert_eq!(check(&mut slow), Ok(()), "{good:?}");
            assert!(object(good.as_bytes(), 1).is_ok(), "{good:?}");
        }
        assert_eq!(object("\u{feff}".as_bytes(), 1), Ok(Map::new()));
        let marks = ["\u{feff}\u{feff}{}", "{\u{feff}}", " \u{feff}{}"];
        let cut = [&b"\xef\xbb"[..], b"\xef\xbb{}", b"\xef"];
        for bad in marks.map(str::as_bytes).into_iter().chain(cut) {
            assert!(check(&mut &*bad).is_err(), "{bad:?}");
            assert!(object(bad, 1).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn objects_are_read_and_doubled_members_named() {
        assert_eq!(object(b" \n", 1), Ok(Map::new()));
        assert_eq!(object(b"{\"a\":1}", 1).unwrap()["a"], 1);
        let twice = object(b"{\"a\":1,\"b\":{},\"b\":2}", 1);
        assert!(matches!(twice, Err(Fault::Field { field, .. }) if field == "b"));
        let within = br#"{"a": [{"x": 1}, {"b": 1, "\u0062": 2, "b": 3}], "a": 1}"#;
        let named = object(within, 3);
        assert!(matches!(named, Err(Fault::Field { field, .. }) if field == "a.1.b"));
        let plain = r#"{"a":[null,true,-1,1.5,18446744073709551615,"x",{"y":1}]}"#;
        assert_eq!(
            Value::Object(object(plain.as_bytes(), 3).unwrap()).to_string(),
            plain
        );
        for bad in ["[]", "1", "{", "{}x", "{\"a\":[[[[}]]]]}"] {
            let read = object(bad.as_bytes(), 1);
            assert!(matches!(read, Err(Fault::Invalid { .. })), "{bad}");
        }
        assert!(matches!(
            object(b"{\"a\":\"\xff\"}", 1),
            Err(Fault::Invalid { .. })
        ));
    }

    #[test]
    fn in_what_is_the_clients_own_the_last_one_counts() {
        let own = br#"{"values": {"a": 1, "b": 2, "a": {"x": 1, "x": 2}}}"#;
        let read = object(own, 1).unwrap();
        assert_eq!(read["values"]["b"], 2);
        assert_eq!(read["values"]["a"]["x"], 2);
        assert!(object(own, 2).is_err());
        // What no one looks at is passed over.
        let deep = object(br#"{"a":[[[1],{"x":1}]]}"#, 1).unwrap();
        assert_eq!(Value::Object(deep).to_string(), r#"{"a":[[[],{}]]}"#);
    }

    #[test]
    fn a_type_is_known_by_its_extension() {
        assert_eq!(content_type("Report.PDF"), "application/pdf");
        assert_eq!(content_type("pdf"), "application/octet-stream");
    }
}
