//! A part of a file, where the client asks for one and the dialect offers it (RFC 9110, 14), or
//! nothing of it, where the client has it already (RFC 9110, 13).
//!
//! One range is served; a client that asks for several, or in a form that is not understood, gets
//! the whole file, as the standard allows.

use crate::api::Payload;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
        IF_RANGE, RANGE,
    },
    request::Parts,
};

/// What a client asks for of this many bytes.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Nothing,
    Part { first: u64, n_bytes: u64 },
}

/// Leaves of the answer what the client lacks of it, if the request says what it has.
pub(super) fn unless_known(head: &Parts, mut response: Response<Payload>) -> Response<Payload> {
    let asked = matches!(head.method, Method::GET | Method::HEAD);
    let version = response.headers().get(ETAG);
    let known = version.is_some_and(|version| {
        let mut given = head.headers.get_all(IF_NONE_MATCH).iter();
        given.any(|list| names(list.as_bytes(), version.as_bytes()))
    });
    if !asked || response.status() != StatusCode::OK || !known {
        return response;
    }
    // A job that is on its way with it is not retrieved.
    *response.body_mut() = Payload::Bytes(Bytes::new());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for about_the_body in [CONTENT_TYPE, CONTENT_DISPOSITION, ACCEPT_RANGES] {
        response.headers_mut().remove(about_the_body);
    }
    response
}

/// Is a version in a list of them, `*` being any? Weak ones count as strong (RFC 9110, 13.1.2).
fn names(list: &[u8], version: &[u8]) -> bool {
    // Ours has no comma.
    let mut each = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    each.any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == version)
}

/// Cuts the answer down to the part of the file that the request asks for.
pub(super) fn apply(head: &Parts, mut response: Response<Payload>) -> Response<Payload> {
    let offered = response.headers().contains_key(ACCEPT_RANGES);
    if !offered || response.status() != StatusCode::OK || head.method != Method::GET {
        return response;
    }
    let changed = is_other_version(head, response.headers().get(ETAG));
    let mut ranges = head.headers.get_all(RANGE).iter();
    let (Some(range), None, false) = (ranges.next(), ranges.next(), changed) else {
        return response;
    };
    let Payload::File(download) = response.body_mut() else {
        return response;
    };
    let total = download.content.bytes;
    let content_range = match wanted(range.as_bytes(), total) {
        Wanted::All => return response,
        Wanted::Nothing => {
            *response.body_mut() = Payload::Bytes(Bytes::new());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            format!("bytes */{total}")
        }
        Wanted::Part { first, n_bytes } => {
            download.part = first..first + n_bytes;
            if let Some(completion) = &mut download.completion {
                completion.only(first..first + n_bytes);
            }
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            format!("bytes {first}-{}/{total}", first + n_bytes - 1)
        }
    };
    if let Ok(value) = HeaderValue::try_from(content_range) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}

/// Has the client a part of another version than this? Then a part is of no use (RFC 9110, 13.1.5).
fn is_other_version(head: &Parts, version: Option<&HeaderValue>) -> bool {
    let has = head.headers.get(IF_RANGE);
    has.is_some_and(|has| Some(has) != version)
}

fn wanted(range: &[u8], total: u64) -> Wanted {
    let parsed = std::str::from_utf8(range).ok().and_then(parse);
    let (first, end) = match parsed {
        None => return Wanted::All,
        Some((Some(first), last)) => (first, last.map_or(total, |last| last.saturating_add(1))),
        // The last bytes, this many.
        Some((None, Some(n_bytes))) => (total.saturating_sub(n_bytes), total),
        Some((None, None)) => return Wanted::All,
    };
    match end.min(total).checked_sub(first) {
        None | Some(0) => Wanted::Nothing,
        Some(n_bytes) => Wanted::Part { first, n_bytes },
    }
}

/// `bytes=first-last`, either of which may be missing, but not both.
fn parse(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, spec) = range.split_once('=')?;
    let (first, last) = spec.trim().split_once('-')?;
    let number = |text: &str| -> Option<Option<u64>> {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text {
            "" => Some(None),
            _ if digits => text.parse().ok().map(Some),
            _ => None,
        }
    };
    let (first, last) = (number(first)?, number(last)?);
    let backwards = matches!((first, last), (Some(first), Some(last)) if last < first);
    let fine = unit.eq_ignore_ascii_case("bytes") && !backwards;
    (fine && (first.is_some() || last.is_some())).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let ours = b"\"ab\"";
        for list in [
            "\"ab\"",
            "W/\"ab\"",
            "*",
            "\"x\", \"ab\"",
            "\"x\",W/\"ab\" ",
        ] {
            assert!(names(list.as_bytes(), ours), "{list}");
        }
        for list in ["", "ab", "\"a\"", "\"AB\"", "\"ab", "w/\"ab\"", "\"*\""] {
            assert!(!names(list.as_bytes(), ours), "{list}");
        }
        let answered = |method: &str, has: &str| {
            let request = http::Request::builder().method(method);
            let request = request.header(IF_NONE_MATCH, has).body(()).unwrap();
            let mut whole = Response::new(Payload::HeadOf(3));
            let version = HeaderValue::from_static("\"ab\"");
            whole.headers_mut().insert(ETAG, version);
            unless_known(&request.into_parts().0, whole)
                .status()
                .as_u16()
        };
        assert_eq!(answered("GET", "\"ab\""), 304);
        assert_eq!(answered("HEAD", "*"), 304);
        assert_eq!(answered("GET", "\"abc\""), 200);
        assert_eq!(answered("POST", "\"ab\""), 200);
    }

    #[test]
    fn a_part_of_another_version_is_of_no_use() {
        let is_other = |has: &[&'static str], version: Option<&'static str>| {
            let mut request = http::Request::builder();
            for has in has {
                request = request.header(IF_RANGE, *has);
            }
            let head = request.body(()).unwrap().into_parts().0;
            is_other_version(&head, version.map(HeaderValue::from_static).as_ref())
        };
        assert!(!is_other(&[], Some("\"ab\"")), "it has not asked");
        assert!(!is_other(&["\"ab\""], Some("\"ab\"")));
        assert!(is_other(&["\"a\""], Some("\"ab\"")));
        assert!(
            is_other(&["W/\"ab\""], Some("\"ab\"")),
            "weak is not enough"
        );
        assert!(is_other(&["Sun, 22 Nov 2026 10:00:00 GMT"], Some("\"ab\"")));
        assert!(is_other(&["\"ab\""], None));
    }

    #[test]
    fn one_range_is_understood() {
        let part = |first, n_bytes| Wanted::Part { first, n_bytes };
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-9", part(0, 10)),
            ("bytes=3-", part(3, 7)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("Bytes= 2 - 4", part(2, 3)),
            ("bytes=8-100", part(8, 2)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=18446744073709551615-", Wanted::Nothing),
            ("bytes=4-3", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=18446744073709551616-", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes", Wanted::All),
        ] {
            assert_eq!(wanted(range.as_bytes(), 10), expected, "{range}");
        }
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted(b"bytes=\xff-", 10), Wanted::All);
    }
}
