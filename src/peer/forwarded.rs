//! What proxies write into the heads of requests: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy adds at the right end from whom it had the request. So the list is read from there, past
//! proxies that are trusted; what stands further to the left anyone may have written.

use super::Networks;
use std::net::{IpAddr, SocketAddr};

/// The two headers name two clients: a proxy writes one of them, and someone else the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Forwarded and X-Forwarded-For name different clients; let the proxy remove the one it does not write"
)]
pub struct Contradiction;

/// Who sends a request that comes from `peer`, by the values of the headers `Forwarded` and
/// `X-Forwarded-For` in their order. A peer that is not trusted speaks for itself.
///
/// # Errors
///
/// When the headers contradict each other.
pub fn client<'h>(
    peer: IpAddr,
    trusted: &Networks,
    forwarded: impl Iterator<Item = &'h [u8]>,
    x_forwarded_for: impl Iterator<Item = &'h [u8]>,
) -> Result<IpAddr, Contradiction> {
    if !trusted.contain(peer) {
        return Ok(peer);
    }
    let standard = said(forwarded, elements);
    let usual = said(x_forwarded_for, listed);
    match (standard, usual) {
        (None, None) => Ok(peer),
        (Some(hops), None) | (None, Some(hops)) => Ok(walk(peer, trusted, &hops)),
        (Some(standard), Some(usual)) => {
            let client = walk(peer, trusted, &standard);
            let same = client == walk(peer, trusted, &usual);
            same.then_some(client).ok_or(Contradiction)
        }
    }
}

/// From whom each proxy had the request; `None` where that cannot be understood.
type Hops = Vec<Option<IpAddr>>;

/// `None`: there is no such header.
fn said<'h>(
    values: impl Iterator<Item = &'h [u8]>,
    parse: impl Fn(&str) -> Option<Hops>,
) -> Option<Hops> {
    let mut hops = None;
    for value in values {
        let parsed = std::str::from_utf8(value).ok().and_then(&parse);
        // It is not known where a value that cannot be read begins and ends.
        let parsed = parsed.unwrap_or(vec![None]);
        hops.get_or_insert_with(Vec::new).extend(parsed);
    }
    hops
}

fn walk(peer: IpAddr, trusted: &Networks, hops: &[Option<IpAddr>]) -> IpAddr {
    let mut client = peer;
    for hop in hops.iter().rev() {
        match hop {
            Some(address) if trusted.contain(client) => client = address.to_canonical(),
            Some(_) | None => break,
        }
    }
    client
}

fn listed(value: &str) -> Option<Hops> {
    Some(value.split(',').map(|hop| address(hop.trim())).collect())
}

/// The elements of `Forwarded`: pairs, of which only `for` counts here. `None`: it is none.
fn elements(value: &str) -> Option<Hops> {
    let mut hops = Vec::new();
    let mut rest = value;
    loop {
        let (hop, after) = element(rest)?;
        hops.push(hop);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(hops),
        }
    }
}

/// One element and what comes after it.
fn element(text: &str) -> Option<(Option<IpAddr>, &str)> {
    let (mut hop, mut n_for) = (None, 0);
    let mut rest = text.trim_start();
    loop {
        if !rest.starts_with([',', ';']) && !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = pair_value(after)?;
            if !is_token(name) {
                return None;
            }
            if name.eq_ignore_ascii_case("for") {
                hop = address(&value);
                n_for += 1;
            }
            rest = after.trim_start();
        }
        match rest.strip_prefix(';') {
            Some(next) => rest = next.trim_start(),
            // Named twice is named by two.
            None => return Some((hop.filter(|_| n_for == 1), rest)),
        }
    }
}

/// A token or a quoted string, and what comes after it.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return is_token(value).then(|| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// RFC 9110, 5.6.2; and a colon, which many proxies forget to quote.
fn is_token(text: &str) -> bool {
    let may_be = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&b);
    !text.is_empty() && text.bytes().all(may_be)
}

/// An address, of IPv6 also in brackets, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bracketed = text.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted() -> Networks {
        let networks = ["10.0.0.0/8", "::1"];
        networks.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(peer: &str, forwarded: &[&str], usual: &[&str]) -> Result<String, Contradiction> {
        let client = client(
            peer.parse().unwrap(),
            &trusted(),
            forwarded.iter().map(|value| value.as_bytes()),
            usual.iter().map(|value| value.as_bytes()),
        );
        client.map(|client| client.to_string())
    }

    #[test]
    fn the_list_is_read_from_the_right_past_trusted_proxies() {
        for (expected, usual) in [
            ("192.0.2.7", &["192.0.2.7"][..]),
            ("192.0.2.7", &["203.0.113.1, 192.0.2.7"]),
            ("192.0.2.7", &["203.0.113.1", "192.0.2.7, 10.0.0.9"]),
            ("192.0.2.7", &["192.0.2.7,10.0.0.9,::ffff:10.0.0.8"]),
            ("192.0.2.7", &["192.0.2.7:5632"]),
            ("2001:db8::7", &["[2001:db8::7]:5632"]),
            ("2001:db8::7", &["2001:db8::7, ::1"]),
            // All are ours: the first of them sends it.
            ("10.0.0.7", &["10.0.0.7, 10.0.0.9"]),
            // The peer that wrote this is the last of whom anything is known.
            ("10.0.0.1", &["192.0.2.7, unknown"]),
            ("10.0.0.9", &["192.0.2.7, junk, 10.0.0.9"]),
            ("10.0.0.1", &["192.0.2.7", ""]),
            ("10.0.0.1", &[]),
        ] {
            assert_eq!(
                found("10.0.0.1", &[], usual),
                Ok(expected.into()),
                "{usual:?}"
            );
        }
        let forged = found("203.0.113.9", &["for=192.0.2.7"], &["192.0.2.7"]);
        assert_eq!(forged, Ok("203.0.113.9".into()));
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (expected, standard) in [
            ("192.0.2.7", &["for=192.0.2.7"][..]),
            (
                "192.0.2.7",
                &["For=\"192.0.2.7:47011\";proto=https;by=10.0.0.1"],
            ),
            ("2001:db8::7", &["for=\"[2001:db8::7]:4711\""]),
            (
                "192.0.2.7",
                &["for=203.0.113.1, proto=http; for=192.0.2.7 , for=10.0.0.9"],
            ),
            ("192.0.2.7", &["for=203.0.113.1", "for=\"\\192.0.2.7\""]),
            ("10.0.0.1", &["for=192.0.2.7, for=unknown"]),
            ("10.0.0.1", &["for=192.0.2.7, for=_hidden"]),
            ("10.0.0.1", &["for=192.0.2.7, proto=https"]),
            ("10.0.0.1", &["for=192.0.2.7;for=192.0.2.8"]),
            // A quote that someone has left open swallows what the proxy wrote.
            ("10.0.0.1", &["for=192.0.2.7, for=\", for=203.0.113.1"]),
            ("10.0.0.1", &["for=192.0.2.7, for=\", for=\"203.0.113.1\""]),
            ("10.0.0.1", &["for=192.0.2.7,"]),
            ("10.0.0.1", &[""]),
        ] {
            let found = found("10.0.0.1", standard, &[]);
            assert_eq!(found, Ok(expected.into()), "{standard:?}");
        }
    }

    #[test]
    fn two_headers_have_to_agree() {
        let both = |standard, usual| found("10.0.0.1", &[standard], &[usual]);
        assert_eq!(
            both("for=192.0.2.7", "203.0.113.1, 192.0.2.7"),
            Ok("192.0.2.7".into())
        );
        assert_eq!(both("for=192.0.2.7", "192.0.2.8"), Err(Contradiction));
        assert_eq!(both("nonsense", "192.0.2.8"), Err(Contradiction));
        let stranger = found("203.0.113.9", &["for=192.0.2.7"], &["192.0.2.8"]);
        assert_eq!(stranger, Ok("203.0.113.9".into()));
    }
}
