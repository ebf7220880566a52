//! What is held of values until the document, or an element, ends: hashes under random seeds.
//!
//! Two values are taken for one with a chance of 1 to 2^64, which nobody can better who does not
//! know the seeds. With a million references to a million keys that is less than 1 to 10^7.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use crate::xml::budget::{Budget, NoRoom, Share};
use crate::xml::tables::simple::Surroundings;

use super::scopes::Scopes;

/// The hash of a value.
pub(super) type Digest = u64;

/// A digest with what a set needs beside it.
pub(super) const DIGEST_BYTES: usize = 3 * size_of::<Digest>();

pub(super) type Digests = HashSet<Digest, BuildHasherDefault<Verbatim>>;
pub(super) type DigestMap<T> = HashMap<Digest, T, BuildHasherDefault<Verbatim>>;

/// What is a hash already is not hashed again.
#[derive(Debug, Default)]
pub(super) struct Verbatim(u64);

impl Hasher for Verbatim {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

/// The seeds and the memory of one validation.
#[derive(Debug)]
pub(super) struct Held {
    seeds: RandomState,
    share: Share,
    is_full: bool,
}

impl Held {
    pub(super) fn of(budget: Arc<Budget>) -> Held {
        Held {
            seeds: RandomState::new(),
            share: Share::of(budget),
            is_full: false,
        }
    }

    /// With the same seeds, so that the same value has the same digest.
    pub(super) fn emptied(self) -> Held {
        Held {
            seeds: self.seeds,
            share: self.share.emptied(),
            is_full: false,
        }
    }

    pub(super) fn digest(&self, key: &[u8]) -> Digest {
        self.seeds.hash_one(key)
    }

    /// Of the fields of a key.
    pub(super) fn combine(&self, fields: &[Option<Digest>]) -> Digest {
        match fields {
            [Some(single)] => *single,
            all => self.seeds.hash_one(all),
        }
    }

    /// One more digest is held; false when there is no memory for it.
    #[must_use]
    pub(super) fn hold(&mut self) -> bool {
        self.is_full |= !self.share.hold(DIGEST_BYTES);
        !self.is_full
    }

    /// Why there is no memory for another digest.
    pub(super) fn no_room(&self) -> NoRoom {
        self.share.no_room()
    }

    pub(super) fn release(&mut self, n_digests: usize) {
        self.share.release(n_digests * DIGEST_BYTES);
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

/// The IDs of a document and the references to them (Part 1, 3.3.4, Validation Root Valid).
#[derive(Debug, Default)]
pub(super) struct Ids {
    seen: Digests,
    references: Vec<Digest>,
}

impl Ids {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn are_resolved(&self) -> bool {
        self.references.iter().all(|id| self.seen.contains(id))
    }
}

/// Where a value stands in the document.
pub(super) struct Around<'a> {
    pub(super) scopes: &'a Scopes,
    pub(super) held: &'a mut Held,
    /// `None` for a value whose IDs were counted already.
    pub(super) ids: Option<&'a mut Ids>,
}

impl Surroundings for Around<'_> {
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        self.scopes.find(prefix).map(|(_, uri)| uri)
    }

    fn id(&mut self, value: &[u8]) -> bool {
        match &mut self.ids {
            Some(ids) => self.held.hold() && ids.seen.insert(self.held.digest(value)),
            None => true,
        }
    }

    fn id_reference(&mut self, value: &[u8]) -> bool {
        if let Some(ids) = &mut self.ids {
            if !self.held.hold() {
                return false;
            }
            ids.references.push(self.held.digest(value));
        }
        true
    }
}
