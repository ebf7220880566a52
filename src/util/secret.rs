//! Secrets in files that are for their owner only.

use super::plain::{self, Links};
use std::{
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

const BYTES_MAX: u64 = 4096;

/// The bytes of a secret, without blanks and line ends behind them.
///
/// # Errors
/// What to change: it cannot be read, others may use it, or it is empty or too long.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
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
    let mut file = file.take(BYTES_MAX + 1);
    file.read_to_end(&mut secret).map_err(unreadable)?;
    let end = secret.trim_ascii_end().len();
    secret.truncate(end);
    if secret.is_empty() || secret.len() as u64 > BYTES_MAX {
        return Err(format!("the secret {at} must have 1 to {BYTES_MAX} bytes"));
    }
    Ok(secret)
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
            read(&path)
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
        assert!(read(&path).unwrap_err().contains("cannot be read"));
    }
}
