//! The PROXY protocol, versions 1 and 2: what a proxy says of its client before anything else.
//!
//! Source: "The PROXY protocol", versions 1 & 2, 2025/05/05, sections 2.1 and 2.2. Of TCP over IPv4
//! and IPv6 the source counts; what is LOCAL or UNKNOWN is from the proxy itself. TLVs are passed
//! over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read. Version 1 has 107 bytes at most.
pub const HEADER_BYTES_MAX: usize = 536;
const LINE_BYTES_MAX: usize = 107;
/// `PROXY UNKNOWN` and a line end.
const LINE_BYTES_MIN: usize = 15;
const LINE_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, length of the rest.
const FIXED_BYTES: usize = 16;

/// What is known after this much of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is complete. `None`: the proxy speaks for itself.
    Done(Option<SocketAddr>),
    /// At least so many bytes more belong to it: whoever reads no more than that never reads of what
    /// comes after it.
    More(usize),
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the PROXY header cannot be understood: {0}")]
    Malformed(&'static str),
    #[error("there is no PROXY header")]
    Missing,
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Examines the beginning of a connection, as far as it has been read.
///
/// # Errors
///
/// When it is not the beginning of a PROXY header, or of one that does not say where a TCP connection
/// comes from.
pub fn step(begun: &[u8]) -> Result<Step, HeaderError> {
    match begun.first() {
        None => Ok(Step::More(LINE_BYTES_MIN)),
        Some(b'\r') => binary(begun),
        Some(_) => line(begun),
    }
}

fn binary(begun: &[u8]) -> Result<Step, HeaderError> {
    let n_bytes = begun.len().min(SIGNATURE.len());
    if begun[..n_bytes] != SIGNATURE[..n_bytes] {
        return Err(HeaderError::Missing);
    }
    let Some((fixed, rest)) = begun.split_at_checked(FIXED_BYTES) else {
        return Ok(Step::More(FIXED_BYTES - begun.len()));
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(Step::More(length - rest.len()));
    };
    let short = || HeaderError::Malformed("it is too short for its addresses");
    match (command, family) {
        (0x20, _) | (0x21, 0x00) => Ok(Step::Done(None)),
        // Source, destination, source port, destination port.
        (0x21, 0x11) => {
            let addresses: &[u8; 12] = rest.first_chunk().ok_or_else(short)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            Ok(Step::Done(Some((Ipv4Addr::new(a, b, c, d), port).into())))
        }
        (0x21, 0x21) => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let rest: &[u8; 20] = rest.first_chunk().ok_or_else(short)?;
            let port = u16::from_be_bytes([rest[16], rest[17]]);
            Ok(Step::Done(Some((Ipv6Addr::from(*source), port).into())))
        }
        (0x21, _) => Err(HeaderError::Malformed("it is not about a TCP connection")),
        _ => Err(HeaderError::Malformed("its version or command is unknown")),
    }
}

fn line(begun: &[u8]) -> Result<Step, HeaderError> {
    let n_bytes = begun.len().min(LINE_BEGIN.len());
    if begun[..n_bytes] != LINE_BEGIN[..n_bytes] {
        return Err(HeaderError::Missing);
    }
    if begun.len() < LINE_BYTES_MIN {
        return Ok(Step::More(LINE_BYTES_MIN - begun.len()));
    }
    let (text, missing) = match begun {
        [text @ .., b'\r', b'\n'] => (text, 0),
        [text @ .., b'\r'] => (text, 1),
        text => (text, 2),
    };
    if text.iter().any(|b| !matches!(b, b' '..=b'~')) {
        return Err(HeaderError::Malformed(
            "it has control characters or others",
        ));
    }
    if begun.len() + missing > LINE_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if missing > 0 {
        return Ok(Step::More(missing));
    }
    let text = std::str::from_utf8(text).map_err(|_| HeaderError::Malformed("it is no text"))?;
    let words: Vec<&str> = text.split(' ').collect();
    let malformed = HeaderError::Malformed("its addresses or ports are none");
    match words[..] {
        [_, "UNKNOWN", ..] => Ok(Step::Done(None)),
        [_, "TCP4", source, destination, from, to] => {
            let parsed = (source.parse::<Ipv4Addr>(), destination.parse::<Ipv4Addr>());
            let (Ok(source), Ok(_), Some(from), Some(_)) =
                (parsed.0, parsed.1, port(from), port(to))
            else {
                return Err(malformed);
            };
            Ok(Step::Done(Some((IpAddr::V4(source), from).into())))
        }
        [_, "TCP6", source, destination, from, to] => {
            let parsed = (source.parse::<Ipv6Addr>(), destination.parse::<Ipv6Addr>());
            let (Ok(source), Ok(_), Some(from), Some(_)) =
                (parsed.0, parsed.1, port(from), port(to))
            else {
                return Err(malformed);
            };
            Ok(Step::Done(Some((IpAddr::V6(source), from).into())))
        }
        _ => Err(HeaderError::Malformed("it is not about a TCP connection")),
    }
}

/// In decimal digits, as short as it can be.
fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let short = digits == "0" || !digits.starts_with('0');
    (plain && short).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a reader finds that reads what it is told to, and how many bytes it has read.
    pub(in crate::peer) fn read(
        mut from: &[u8],
    ) -> (Result<Option<SocketAddr>, HeaderError>, usize) {
        let mut begun = Vec::new();
        loop {
            match step(&begun) {
                Err(error) => return (Err(error), begun.len()),
                Ok(Step::Done(source)) => return (Ok(source), begun.len()),
                Ok(Step::More(n_bytes)) => {
                    assert!(n_bytes > 0);
                    let Some((more, rest)) = from.split_at_checked(n_bytes) else {
                        return (Err(HeaderError::Missing), begun.len());
                    };
                    begun.extend_from_slice(more);
                    from = rest;
                }
            }
        }
    }

    pub(in crate::peer) fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn found(header: &[u8]) -> Result<Option<String>, HeaderError> {
        let followed = [header, b"\x16\x03\x01"].concat();
        let (found, n_bytes) = read(&followed);
        if found.is_ok() {
            assert_eq!(n_bytes, header.len(), "{header:?}");
        }
        found.map(|source| source.map(|source| source.to_string()))
    }

    #[test]
    fn lines_are_read_as_the_protocol_says() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443",
                Some("192.0.2.7:56324"),
            ),
            (
                "PROXY TCP4 255.255.255.255 0.0.0.0 0 65535",
                Some("255.255.255.255:0"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 56324 443",
                Some("[2001:db8::7]:56324"),
            ),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535", None),
        ] {
            let expected = Ok(expected.map(str::to_owned));
            assert_eq!(found(format!("{line}\r\n").as_bytes()), expected, "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
        assert_eq!((long.len(), found(long.as_bytes())), (107, Ok(None)));
        let longer = long.replace("\r\n", "x\r\n");
        assert_eq!(found(longer.as_bytes()), Err(HeaderError::TooLong));
    }

    #[test]
    fn lines_that_say_something_else_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 1",
            "PROXY TCP4  192.0.2.7 10.0.0.1 56324 443",
            "PROXY TCP4 192.0.2.07 10.0.0.1 56324 443",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 443",
            "PROXY TCP4 2001:db8::7 ::1 56324 443",
            "PROXY TCP6 192.0.2.7 10.0.0.1 56324 443",
            "PROXY UDP4 192.0.2.7 10.0.0.1 56324 443",
            "PROXY UNKNOWNS",
            "PROXY TCP4 192.0.2.7\t10.0.0.1 56324 443",
            "PROXY TCP4 192.0.2.7\n10.0.0.1 56324 443",
        ] {
            let refused = found(format!("{line}\r\n").as_bytes());
            assert!(
                matches!(refused, Err(HeaderError::Malformed(_))),
                "{line}: {refused:?}"
            );
        }
        for other in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PRI * ",
        ] {
            assert_eq!(found(other), Err(HeaderError::Missing));
        }
    }

    #[test]
    fn binary_headers_are_read_as_the_protocol_says() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 1, 187];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 7;
        v6[32] = 1;
        let tlvs = [&v4[..], &[4, 0, 2, 9, 9]].concat();
        let most = [&v4[..], &[0; HEADER_BYTES_MAX - FIXED_BYTES - 12]].concat();
        for (command, family, rest, expected) in [
            (0x21, 0x11, &v4[..], Some("192.0.2.7:56324")),
            (0x21, 0x11, &tlvs, Some("192.0.2.7:56324")),
            (0x21, 0x11, &most, Some("192.0.2.7:56324")),
            (0x21, 0x21, &v6, Some("[2001:db8::7]:256")),
            (0x20, 0x00, &[], None),
            (0x20, 0x11, &v4, None),
            (0x21, 0x00, &tlvs, None),
        ] {
            let expected = Ok(expected.map(str::to_owned));
            assert_eq!(found(&version_2(command, family, rest)), expected);
        }
        let more = [&most[..], &[0]].concat();
        let too_long = found(&version_2(0x21, 0x11, &more));
        assert_eq!(too_long, Err(HeaderError::TooLong));
        for (command, family, rest) in [
            (0x11, 0x11, &v4[..]),
            (0x22, 0x11, &v4),
            (0x21, 0x12, &v4),
            (0x21, 0x31, &v6),
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v6[..35]),
            (0x21, 0x21, &v4),
        ] {
            let refused = found(&version_2(command, family, rest));
            assert!(
                matches!(refused, Err(HeaderError::Malformed(_))),
                "{refused:?}"
            );
        }
    }
}
