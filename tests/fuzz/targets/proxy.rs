//! What proxies, or whoever poses as one, say of a client: a PROXY header is read to its end and not
//! further, whatever follows it; of the headers of a request, no one is named but whom a trusted proxy
//! names.
//!
//! The first byte says which: even, the beginning of a connection; odd, lines of `X-Forwarded-For`
//! and, after a zero byte, of `Forwarded`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::peer::{HEADER_BYTES_MAX, Networks, Step, client, step};
use std::net::IpAddr;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 2 {
        0 => connection(rest),
        _ => request(rest),
    }
});

fn connection(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut end = 0;
        loop {
            match step(&bytes[..end]) {
                Ok(Step::More(n_bytes)) => {
                    assert!(n_bytes > 0, "it ends");
                    end += n_bytes;
                    assert!(end <= HEADER_BYTES_MAX);
                    if end > bytes.len() {
                        return None;
                    }
                }
                Ok(Step::Done(source)) => return Some((source, end)),
                Err(error) => {
                    assert!(!error.to_string().chars().any(char::is_control));
                    return None;
                }
            }
        }
    };
    if let Some((source, end)) = read(bytes) {
        // What follows changes nothing.
        assert_eq!(read(&bytes[..end]), Some((source, end)));
        let followed = [&bytes[..end], b"\x16\x03\x01"].concat();
        assert_eq!(read(&followed), Some((source, end)));
    }
}

fn request(bytes: &[u8]) {
    let (usual, standard) = match bytes.iter().position(|b| *b == 0) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let trusted: Networks = ["10.0.0.0/8".parse().expect("a network")]
        .into_iter()
        .collect();
    let proxy = IpAddr::from([10, 0, 0, 1]);
    let real = IpAddr::from([192, 0, 2, 7]);
    let lines = |text: &'static [u8]| std::iter::once(text);
    // A stranger speaks for no one.
    let found = client(real, &trusted, standard.into_iter(), std::iter::once(usual));
    assert_eq!(found, Ok(real));
    // Of whatever else stands there, the proxy's own line counts.
    let of_list = client(
        proxy,
        &trusted,
        std::iter::empty(),
        std::iter::once(usual).chain(lines(b"192.0.2.7")),
    );
    assert_eq!(of_list, Ok(real));
    let of_standard = client(
        proxy,
        &trusted,
        standard.into_iter().chain(lines(b"for=192.0.2.7")),
        std::iter::empty(),
    );
    assert_eq!(of_standard, Ok(real));
    // Whatever both say together, it is an answer.
    let _ = client(
        proxy,
        &trusted,
        standard.into_iter(),
        std::iter::once(usual),
    );
}
