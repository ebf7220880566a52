//! What anyone may send: it ends, and no one is named whom a trusted proxy has not named.

use super::proxy_protocol::tests::{read, version_2};
use super::*;
use crate::domain::settings;
use proptest::{collection::vec, prelude::*};
use std::net::{IpAddr, SocketAddr};

fn any_socket() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

fn header_1(from: SocketAddr) -> Vec<u8> {
    let kind = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!("PROXY {kind} {0} {0} {1} 443\r\n", from.ip(), from.port());
    line.into_bytes()
}

fn header_2(from: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let (family, address) = match from.ip() {
        IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
        IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
    };
    let ports = [from.port().to_be_bytes(), [1, 187]].concat();
    version_2(0x21, family, &[&address, &address, &ports, tlvs].concat())
}

fn networks(texts: &[&str]) -> Networks {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn headers_are_read_back_and_nothing_after_them(
        from in any_socket(),
        tlvs in vec(any::<u8>(), 0..400),
        after in vec(any::<u8>(), 0..99),
    ) {
        for header in [header_1(from), header_2(from, &tlvs)] {
            let (found, n_bytes) = read(&[&header[..], &after].concat());
            prop_assert_eq!(found, Ok(Some(from)));
            prop_assert_eq!(n_bytes, header.len());
        }
    }

    #[test]
    fn any_beginning_is_understood_or_refused(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..600),
            "PROXY (TCP4|TCP6|UNKNOWN)[ -~]{0,120}\r?\n?".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..40).prop_map(|rest| version_2(0x21, 0x11, &rest)),
        ],
    ) {
        let (_, n_bytes) = read(&bytes);
        prop_assert!(n_bytes <= HEADER_BYTES_MAX);
    }

    #[test]
    fn whatever_a_client_writes_the_proxys_word_counts(
        forged in "[ -~]{0,60}",
        address in any::<[u8; 4]>(),
    ) {
        let address = IpAddr::from(address);
        let trusted = networks(&["2001:db8::/32"]);
        let peer: IpAddr = "2001:db8::1".parse().unwrap();
        let none = std::iter::empty::<&[u8]>;
        let list = format!("{forged}, {address}");
        let found = client(peer, &trusted, none(), [list.as_bytes()].into_iter());
        prop_assert_eq!(found, Ok(address));
        // A proxy that writes a line of its own.
        let own = format!("for={address}");
        let lines = [forged.as_bytes(), own.as_bytes()];
        prop_assert_eq!(client(peer, &trusted, lines.into_iter(), none()), Ok(address));
        // In one line, an open quote can hide what the proxy wrote, and names no one else.
        let line = format!("{forged}, {own}");
        let found = client(peer, &trusted, [line.as_bytes()].into_iter(), none()).unwrap();
        prop_assert!(found == address || found == peer, "{}", found);
    }

    #[test]
    fn networks_read_back_as_written(address in any_socket(), prefix in 0..=128_u8) {
        let text = format!("{}/{prefix}", address.ip());
        let network = match text.parse::<Network>() {
            Ok(network) => network,
            Err(NetworkError::HostBits { meant, .. }) => meant,
            Err(NetworkError::Malformed(_)) => {
                let mapped = address.ip().to_canonical() != address.ip();
                prop_assert!(mapped || (address.is_ipv4() && prefix > 32));
                return Ok(());
            }
        };
        prop_assert!(network.contains(address.ip()));
        prop_assert_eq!(network.to_string().parse(), Ok(network));
    }
}
