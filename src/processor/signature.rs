//! The signature by which a receiver knows that a job comes from us and is whole: HMAC-SHA256 under
//! a secret that both have in a file, over the moment, a dot and the body.
//!
//! Contract with the receiver: `docs/processors.md`, "Posting to a URL".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::{self, Read};

const PIECE_BYTES: usize = 128 * 1024;

/// The value of the signature's header, for a moment in seconds of the Unix epoch.
pub(super) fn sign(secret: &[u8], moment_s: i64, body: &mut impl Read) -> io::Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(io::Error::other)?;
    mac.update(format!("{moment_s}.").as_bytes());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match body.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => mac.update(&piece[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(format!(
        "sha256={}",
        hex::encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.<a/>' | openssl dgst -sha256 -hmac s3cret`
    #[test]
    fn the_signature_is_what_others_compute() {
        let signed = sign(b"s3cret", 1_700_000_000, &mut &b"<a/>"[..]).unwrap();
        assert_eq!(
            signed,
            "sha256=2fdfe365ac1d70a6ff8fcbca6356ef05c6e6cd3327de75e9dc20c067a0da7624"
        );
        let long = vec![7; PIECE_BYTES + 1];
        let other = sign(b"s3cret", 1_700_000_000, &mut &long[..]).unwrap();
        let shorter = sign(b"s3cret", 1_700_000_000, &mut &long[1..]).unwrap();
        assert_ne!(other, shorter, "all of it is signed");
    }
}
