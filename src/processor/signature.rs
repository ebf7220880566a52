//! The signature by which a receiver knows that a job comes from us and is whole: HMAC-SHA256 under
//! a secret that both have in a file, over the moment, a dot and the body.
//!
//! Contract with the receiver: `docs/processors.md`, "Posting to a URL".

use crate::util::plain::{self, Links};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

const SECRET_BYTES_MAX: u64 = 4096;
const PIECE_BYTES: usize = 128 * 1024;

/// Reads a secret, without the end of its line. The error says what to change.
pub(super) fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let at = path.display();
    let unreadable = |error: io::Error| format!("the secret {at} cannot be read: {error}");
    let file = plain::open(path, Links::Follow).map_err(unreadable)?;
    // Of the file that is read, not of what may lie there meanwhile.
    let mode = file.metadata().map_err(unreadable)?.mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "the secret {at} may be used by others; run: chmod 600 {at}"
        ));
    }
    let mut secret = Vec::new();
    let mut file = file.take(SECRET_BYTES_MAX + 1);
    file.read_to_end(&mut secret).map_err(unreadable)?;
    let end = secret.trim_ascii_end().len();
    secret.truncate(end);
    if secret.is_empty() || secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!(
            "the secret {at} must have 1 to {SECRET_BYTES_MAX} bytes"
        ));
    }
    Ok(secret)
}

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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let with = |content: &[u8], mode| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            secret(&path)
        };
        assert_eq!(with(b"s3cret \r\n", 0o600), Ok(b"s3cret".to_vec()));
        assert_eq!(with(b"\xff", 0o400), Ok(b"\xff".to_vec()));
        for mode in [0o640, 0o604, 0o620] {
            assert!(with(b"s3cret", mode).unwrap_err().contains("chmod 600"));
        }
        assert!(with(b" \n", 0o600).unwrap_err().contains("1 to 4096"));
        assert!(with(&[b'x'; 4097], 0o600).is_err());
        assert!(with(&[b'x'; 4096], 0o600).is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(secret(&path).unwrap_err().contains("cannot be read"));
    }

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
