//! Who is at the other end of a socket, as the kernel says.
//!
//! A file with `unsafe` code: no crate in use offers `SO_PEERGROUPS`. The groups are those of the
//! moment when the peer connected, which `/proc` could not say of a process that has ended.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// More groups than the kernel lets a process have.
const GROUPS_MAX: usize = 65_536;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Peer {
    pub(super) fn of(socket: &impl AsFd) -> io::Result<Self> {
        // struct ucred: pid, uid and gid, 32 bits each.
        let credentials = option(socket, libc::SO_PEERCRED, 3)?;
        let &[pid, uid, gid] = &credentials[..] else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let groups = option(socket, libc::SO_PEERGROUPS, GROUPS_MAX)?;
        Ok(Self {
            pid,
            uid,
            gid,
            groups,
        })
    }

    pub(super) fn is_member_of(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// An option of a socket that is an array of at most `n_max` numbers.
#[allow(unsafe_code)]
fn option(socket: &impl AsFd, name: libc::c_int, n_max: usize) -> io::Result<Vec<u32>> {
    let mut values = vec![0_u32; n_max];
    let mut n_bytes = libc::socklen_t::try_from(size_of_val(&values[..]))
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `values` has `n_bytes`
    // writable bytes, of which the kernel writes no more than their length and says how many in
    // `n_bytes`; any bytes are a u32.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            values.as_mut_ptr().cast(),
            &raw mut n_bytes,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    values.truncate(n_bytes as usize / size_of::<u32>());
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.is_member_of(rustix::process::getegid().as_raw()));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let groups = status
            .lines()
            .find_map(|l| l.strip_prefix("Groups:"))
            .unwrap();
        let groups: Vec<u32> = groups
            .split_whitespace()
            .map(|g| g.parse().unwrap())
            .collect();
        assert!(groups.iter().all(|gid| peer.is_member_of(*gid)));
        assert!(!peer.is_member_of(4_000_000_000));
    }
}
