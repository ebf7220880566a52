//! The operators' way into a running service: a Unix socket beside its spool.
//!
//! Peers that may use it are known by the credentials that the kernel gives: root, the service's own
//! user, and members of the socket's group. [`protocol`] is what is said, [`server`] the service's
//! side, [`client`] the command's.
//!
//! A service has one socket for all its tenants, a request names the spool by its device and inode:
//! whichever service answers at a path, nothing is done to another spool than the one that was
//! meant.

pub mod client;
mod peer;
pub mod protocol;
pub mod server;

pub use client::{Client, ClientError};
pub use protocol::SpoolId;
pub use server::Listener;

use sha2::{Digest, Sha256};
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Longer paths are not sockets' on every system.
pub const PATH_BYTES_MAX: usize = 100;
const SOCKET: &str = "control.sock";

/// Where the socket of the service with this spool can be, the first choice first: where the
/// configuration says; else beside the spool, and in it when its parent directory takes nothing or
/// has the socket of another service; else, when paths there are too long, below `/run`.
pub fn places(root: &Path, configured: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = configured {
        return vec![path.to_owned()];
    }
    let beside = root.parent().unwrap_or(root).join(SOCKET);
    let mut places = vec![beside, root.join(format!(".{SOCKET}"))];
    places.retain(|path| path.as_os_str().len() <= PATH_BYTES_MAX);
    if places.is_empty() {
        let hash = Sha256::digest(root.as_os_str().as_bytes());
        let hash = hex::encode(&hash[..8]);
        places.push(format!("/run/spoolgate-{hash}/{SOCKET}").into());
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_beside_the_spool_unless_the_path_is_too_long() {
        let at = |root: &str| places(Path::new(root), None);
        let usual: Vec<PathBuf> = vec![
            "/srv/control.sock".into(),
            "/srv/spool/.control.sock".into(),
        ];
        assert_eq!(at("/srv/spool"), usual);
        let chosen = Path::new("/run/spoolgate/control.sock");
        assert_eq!(places(Path::new("/srv/spool"), Some(chosen)), [chosen]);
        let long = format!("/srv/{}/spool", "x".repeat(90));
        let [place] = &at(&long)[..] else {
            panic!("one place")
        };
        assert!(place.starts_with("/run") && place.as_os_str().len() <= PATH_BYTES_MAX);
        assert_ne!(at(&long), at(&format!("{long}2")));
    }
}
