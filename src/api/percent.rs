//! Percent-encoding, read strictly: a value that is guessed at may name another job.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Why a text cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// A `%` without two hexadecimal digits, which the library would leave as it is.
    Digits,
    Utf8,
}

/// The text without its percent signs.
pub(super) fn decoded<T>(encoded: &T) -> Result<Cow<'_, str>, Undecodable>
where
    T: AsRef<[u8]> + ?Sized,
{
    let encoded = encoded.as_ref();
    let is_byte = |after: &[u8]| {
        let digits = after.get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut parts = encoded.split(|byte| *byte == b'%').skip(1);
    if !parts.all(is_byte) {
        return Err(Undecodable::Digits);
    }
    let text = percent_decode(encoded).decode_utf8();
    text.map_err(|_| Undecodable::Utf8)
}

/// The segments of a path, decoded. `None` for a path that does not decode to text.
pub(super) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let segments = path.split('/').skip(1).map(decoded);
    segments.collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_cannot_be_decoded_says_why() {
        for bad in ["%", "a%4", "%zz", "%%41", "%ff%"] {
            assert_eq!(decoded(bad), Err(Undecodable::Digits), "{bad}");
        }
        assert_eq!(decoded("%ff"), Err(Undecodable::Utf8));
        assert_eq!(decoded(b"\xff"), Err(Undecodable::Utf8));
        assert_eq!(decoded("a+%2B"), Ok("a++".into()));
    }
}
