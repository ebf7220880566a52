//! Which users have logged in from which addresses recently, and when last from any.
//!
//! A pair of user and address is remembered as a code under the tenant's key, with the moment of
//! its last login, so neither memory nor the file holds a name or an address that someone could
//! read. The file survives a restart and is sealed as a whole: one that is not ours, or is damaged,
//! counts as none. It is written best effort, because all that is lost with it is a good place in
//! the line. Bounded: the pair that was unused the longest makes room.

use super::cache::joined;
use super::throttle::Address;
use crate::domain::Seal;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use subtle::ConstantTimeEq;

/// How long a pair counts after its last login.
pub(super) const FAMILIAR_S: i64 = 7 * 24 * 3600;
const PAIRS_MAX: usize = 4096;
const CODE_BYTES: usize = 16;
const ENTRY_BYTES: usize = CODE_BYTES + size_of::<i64>();
const SEAL_BYTES: usize = 32;
const FILE_BYTES_MAX: usize = PAIRS_MAX * ENTRY_BYTES + SEAL_BYTES;

/// A pair of user and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair([u8; CODE_BYTES]);

impl Pair {
    pub(super) fn of(seal: &Seal, user: &str, at: Address) -> Self {
        let what = joined(&[user.as_bytes(), &at.bytes()]);
        Self::code(seal, "familiar", &what)
    }

    /// Of a user and whatever address.
    pub(super) fn of_user(seal: &Seal, user: &str) -> Self {
        Self::code(seal, "last-login", user.as_bytes())
    }

    fn code(seal: &Seal, purpose: &'static str, what: &[u8]) -> Self {
        let code = seal.code(purpose, what);
        let mut pair = [0; CODE_BYTES];
        pair.copy_from_slice(&code[..CODE_BYTES]);
        Self(pair)
    }
}

/// Pairs with the moment of their last login, in seconds of the Unix epoch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Familiar {
    pairs: HashMap<Pair, i64>,
}

impl Familiar {
    pub(super) fn knows(&self, pair: &Pair, now_s: i64) -> bool {
        let last_s = self.pairs.get(pair);
        last_s.is_some_and(|last_s| now_s.saturating_sub(*last_s) < FAMILIAR_S)
    }

    /// When the last login of a pair was, as far as it is remembered.
    pub(super) fn last_s(&self, pair: &Pair) -> Option<i64> {
        self.pairs.get(pair).copied()
    }

    /// A login of this pair has succeeded. Says whether that was news.
    pub(super) fn saw(&mut self, pair: Pair, now_s: i64) -> bool {
        let is_news = !self.knows(&pair, now_s);
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&pair) {
            let oldest = self.pairs.iter().min_by_key(|(_, last_s)| **last_s);
            if let Some(oldest) = oldest.map(|(pair, _)| *pair) {
                self.pairs.remove(&oldest);
            }
        }
        self.pairs.insert(pair, now_s);
        is_news
    }

    /// As it is written, with its seal.
    pub(super) fn sealed(&self, seal: &Seal) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FILE_BYTES_MAX);
        for (pair, last_s) in &self.pairs {
            bytes.extend_from_slice(&pair.0);
            bytes.extend_from_slice(&last_s.to_be_bytes());
        }
        let code = seal.code("familiar-file", &bytes);
        bytes.extend_from_slice(&code);
        bytes
    }

    /// The inverse of [`Familiar::sealed`]; `None` when the bytes are not ours. What claims to be of
    /// the future counts as of now.
    pub(super) fn unseal(seal: &Seal, bytes: &[u8], now_s: i64) -> Option<Self> {
        let (entries, code) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
        let ours: bool = seal.code("familiar-file", entries).ct_eq(code).into();
        if !ours || entries.len() % ENTRY_BYTES != 0 || bytes.len() > FILE_BYTES_MAX {
            return None;
        }
        let mut pairs = HashMap::new();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (pair, last_s) = entry.split_at(CODE_BYTES);
            let last_s = i64::from_be_bytes(last_s.try_into().ok()?).min(now_s);
            pairs.insert(Pair(pair.try_into().ok()?), last_s);
        }
        Some(Self { pairs })
    }
}

/// The bytes of the file; empty when there is none. Only a plain file is read, and no more of it
/// than one of ours can have.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    // A FIFO must not be waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = match options.read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts the bytes in the file's place. Not synced: after a power cut there is the file before, or
/// one that is torn and counts as none.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(&new)?.write_all(bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::os::unix::fs::PermissionsExt as _;

    fn seal(byte: u8) -> Seal {
        Seal::new([byte; crate::domain::KEY_BYTES])
    }

    fn pair(user: &str, host: u8) -> Pair {
        let at = Address::of(IpAddr::from([192, 0, 2, host]));
        Pair::of(&seal(1), user, at)
    }

    #[test]
    fn a_pair_is_familiar_for_a_week_after_each_login() {
        let mut familiar = Familiar::default();
        assert!(familiar.saw(pair("shop", 1), 0));
        assert!(!familiar.saw(pair("shop", 1), FAMILIAR_S - 1));
        assert!(familiar.knows(&pair("shop", 1), 2 * FAMILIAR_S - 2));
        assert!(!familiar.knows(&pair("shop", 1), 2 * FAMILIAR_S - 1));
        assert!(!familiar.knows(&pair("shop", 2), 0));
        assert!(!familiar.knows(&pair("shop1", 1), 0));
        let anywhere = Pair::of_user(&seal(1), "shop");
        assert_eq!(familiar.last_s(&anywhere), None);
        familiar.saw(anywhere, 5);
        assert_eq!(familiar.last_s(&anywhere), Some(5));
        // A clock that was set back makes no one a stranger.
        assert!(familiar.knows(&pair("shop", 1), -FAMILIAR_S));
    }

    #[test]
    fn the_pair_that_was_unused_the_longest_makes_room() {
        let mut familiar = Familiar::default();
        let pairs = (0..=PAIRS_MAX).map(|n| pair(&n.to_string(), 1));
        for (pair, now_s) in pairs.zip(0..) {
            familiar.saw(pair, now_s);
        }
        assert_eq!(familiar.pairs.len(), PAIRS_MAX);
        assert!(!familiar.knows(&pair("0", 1), 0) && familiar.knows(&pair("1", 1), 0));
        let sealed = familiar.sealed(&seal(1));
        assert_eq!(Familiar::unseal(&seal(1), &sealed, 9999), Some(familiar));
    }

    #[test]
    fn what_is_not_ours_or_damaged_is_nothing() {
        let mut familiar = Familiar::default();
        familiar.saw(pair("shop", 1), 77);
        let sealed = familiar.sealed(&seal(1));
        let unsealed = |bytes: &[u8]| Familiar::unseal(&seal(1), bytes, 50);
        let of_now = unsealed(&sealed).unwrap();
        assert!(of_now.knows(&pair("shop", 1), FAMILIAR_S + 49));
        assert!(!of_now.knows(&pair("shop", 1), FAMILIAR_S + 50));
        assert_eq!(Familiar::unseal(&seal(2), &sealed, 50), None);
        for len in 0..sealed.len() {
            assert_eq!(unsealed(&sealed[..len]), None, "{len}");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(unsealed(&damaged), None, "{at}");
        }
    }

    #[test]
    fn only_a_plain_file_is_read_and_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".familiar");
        assert_eq!(read(&path).unwrap(), b"");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(read(&fifo).is_err());
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(read(&dir.path().join("link")).is_err());
        fs::write(&path, vec![0; 4 * FILE_BYTES_MAX]).unwrap();
        assert!(read(&path).unwrap().len() <= FILE_BYTES_MAX + 1);
    }
}
