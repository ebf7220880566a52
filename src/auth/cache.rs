//! Credentials that were checked before, so that Basic authentication does not cost an Argon2 hash
//! per request.
//!
//! What is remembered is a mark: an HMAC-SHA-256, under a key that lives only in this process,
//! over user, password and the stored hash that was checked. So memory holds no password; and with
//! a changed password or a removed user the old marks are never asked for again, without anything
//! having to be cleared. [`Proven`] has one mark for each user at most, for as long as the process
//! lives; [`Refused`] is bounded, and what was unused for [`KEPT_S`] goes from it. Pure: the clock
//! is a parameter.

use crate::domain::{KEY_BYTES, Seal};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long an unused refusal counts. Each use extends it.
pub(super) const KEPT_S: u64 = 300;
pub(super) const ENTRIES_MAX: usize = 4096;

/// The mark of one pair of credentials, against one stored hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark([u8; 32]);

/// The key of this process.
pub(super) struct MarkKey(Seal);

impl MarkKey {
    pub(super) fn new(secret: [u8; KEY_BYTES]) -> Self {
        Self(Seal::new(secret))
    }

    /// The parts are told apart by their lengths: `ab`+`c` and `a`+`bc` differ.
    pub(super) fn mark(&self, parts: &[&[u8]]) -> Mark {
        Mark(self.0.code("login", &joined(parts)))
    }
}

/// Parts as one text that no other parts give.
pub(super) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    for part in parts {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

/// The right password of each user, as far as it has been met.
#[derive(Default)]
pub(super) struct Proven {
    marks: HashMap<Arc<str>, Mark>,
}

impl Proven {
    pub(super) fn knows(&self, user: &str, mark: &Mark) -> bool {
        let known = self.marks.get(user);
        known.is_some_and(|known| known.0.ct_eq(&mark.0).into())
    }

    pub(super) fn insert(&mut self, user: Arc<str>, mark: Mark) {
        self.marks.insert(user, mark);
    }

    /// Forgets users that there are no more.
    pub(super) fn retain(&mut self, is_user: impl Fn(&str) -> bool) {
        self.marks.retain(|user, _| is_user(user));
    }
}

struct Entry {
    mark: Mark,
    used: Instant,
}

/// Guesses that were wrong. Entries are filed under the first eight bytes of their mark; the rest is compared in constant
/// time.
#[derive(Default)]
pub(super) struct Refused {
    entries: HashMap<[u8; 8], Entry>,
}

impl Refused {
    /// Whether the mark is remembered; asking keeps it for longer.
    pub(super) fn knows(&mut self, mark: &Mark, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&shelf(mark)) else {
            return false;
        };
        let same: bool = entry.mark.0.ct_eq(&mark.0).into();
        let known = same && !expired(entry, now);
        if known {
            entry.used = now;
        }
        known
    }

    pub(super) fn insert(&mut self, mark: Mark, now: Instant) {
        if self.entries.len() >= ENTRIES_MAX {
            self.make_room(now);
        }
        self.entries.insert(shelf(&mark), Entry { mark, used: now });
    }

    /// Drops what has expired or, when nothing has, the one entry that was unused the longest.
    /// This walk happens only after a hash, which costs a thousand times as much.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| !expired(entry, now));
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(shelf) = oldest.map(|(shelf, _)| *shelf) {
            self.entries.remove(&shelf);
        }
    }
}

fn shelf(mark: &Mark) -> [u8; 8] {
    let mut shelf = [0; 8];
    shelf.copy_from_slice(&mark.0[..8]);
    shelf
}

fn expired(entry: &Entry, now: Instant) -> bool {
    now.saturating_duration_since(entry.used) >= Duration::from_secs(KEPT_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_depend_on_every_part_and_on_its_bounds() {
        let key = MarkKey::new([7; 32]);
        let mark = key.mark(&[b"ab", b"c"]);
        assert!(mark == key.mark(&[b"ab", b"c"]));
        assert!(mark != key.mark(&[b"a", b"bc"]));
        assert!(mark != MarkKey::new([8; 32]).mark(&[b"ab", b"c"]));
    }

    #[test]
    fn a_user_has_one_right_password_until_it_goes() {
        let key = MarkKey::new([7; 32]);
        let (old, new) = (key.mark(&[b"old"]), key.mark(&[b"new"]));
        let mut proven = Proven::default();
        proven.insert("shop".into(), old);
        assert!(proven.knows("shop", &old) && !proven.knows("shop", &new));
        assert!(!proven.knows("other", &old));
        proven.insert("shop".into(), new);
        assert!(proven.knows("shop", &new) && !proven.knows("shop", &old));
        proven.retain(|user| user != "shop");
        assert!(!proven.knows("shop", &new));
    }

    #[test]
    fn entries_expire_unless_they_are_used() {
        let key = MarkKey::new([7; 32]);
        let (mark, t0) = (key.mark(&[b"u"]), Instant::now());
        let at = |s| t0 + Duration::from_secs(s);
        let mut cache = Refused::default();
        cache.insert(mark, t0);
        assert!(cache.knows(&mark, at(KEPT_S - 1)));
        assert!(cache.knows(&mark, at(2 * KEPT_S - 2)));
        assert!(!cache.knows(&mark, at(3 * KEPT_S - 2)));
        assert!(!cache.knows(&key.mark(&[b"v"]), t0));
    }

    #[test]
    fn the_longest_unused_entry_makes_room() {
        let key = MarkKey::new([7; 32]);
        let mark = |n: usize| key.mark(&[&n.to_be_bytes()]);
        let t0 = Instant::now();
        let mut cache = Refused::default();
        for n in 0..ENTRIES_MAX {
            cache.insert(mark(n), t0 + Duration::from_nanos(1 + n as u64));
        }
        let later = t0 + Duration::from_secs(1);
        assert!(cache.knows(&mark(0), later));
        cache.insert(mark(ENTRIES_MAX), later);
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert!(cache.knows(&mark(0), later));
        assert!(!cache.knows(&mark(1), later));
    }
}
