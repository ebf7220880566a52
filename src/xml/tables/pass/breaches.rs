//! What breaks identity constraints, and where the other place is that it concerns.
//!
//! While a document is read no place of a key is held, only its digest. So what breaks a constraint
//! is noted, and the document is read once more, when only the noted keys are looked for.

use std::collections::HashMap;

use crate::xml::tables::Id;
use crate::xml::tables::identity::{Breach, BreachKind, Constraint};

use super::held::{Digest, Digests};

/// Those of one document, at most as many as there may be findings.
#[derive(Debug, Default)]
pub(super) struct Breaches {
    noted: Vec<Noted>,
    /// How many more there are, and where the first of these is.
    more: Option<(u64, u64)>,
    /// The keys to look for in a document that is read once more.
    traced: Option<Digests>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    breach: Breach,
    digest: Option<Digest>,
}

/// Where the keys of one scope that are traced were seen first.
pub(super) type FirstSeen = HashMap<Digest, u64>;

impl Breaches {
    /// What reads the same document once more.
    pub(super) fn trace(&self) -> Breaches {
        Breaches {
            traced: Some(self.noted.iter().filter_map(|noted| noted.digest).collect()),
            noted: self.noted.clone(),
            more: self.more,
        }
    }

    pub(super) fn is_trace(&self) -> bool {
        self.traced.is_some()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Breach> {
        self.noted.iter().map(|noted| &noted.breach)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// How many more there are than were noted, and where the first of these is.
    pub(super) fn more(&self) -> Option<(u64, u64)> {
        self.more
    }

    /// Notes at most `max`, and counts the others.
    pub(super) fn note(&mut self, breach: Breach, digest: Option<Digest>, max: usize) {
        if self.traced.is_some() {
            return;
        }
        if self.noted.len() < max {
            self.noted.push(Noted { breach, digest });
        } else {
            self.more.get_or_insert((0, breach.offset)).0 += 1;
        }
    }

    /// A key of the element at `offset`, in a document that is read once more.
    pub(super) fn seen(
        &mut self,
        constraint: Id<Constraint>,
        digest: Digest,
        offset: u64,
        first_seen: &mut FirstSeen,
    ) {
        let is_traced = |traced: &Digests| traced.contains(&digest);
        if !self.traced.as_ref().is_some_and(is_traced) {
            return;
        }
        let first = *first_seen.entry(digest).or_insert(offset);
        let found = self.find(BreachKind::Twice, constraint, digest, offset);
        if let Some(breach) = found {
            breach.first = Some(first);
        }
    }

    /// A scope has ended at `offset`, in a document that is read once more. References that name no
    /// key were noted there.
    pub(super) fn left(&mut self, constraint: Id<Constraint>, offset: u64, first_seen: &FirstSeen) {
        for (digest, first) in first_seen {
            let found = self.find(BreachKind::Dangling, constraint, *digest, offset);
            if let Some(breach) = found {
                breach.offset = *first;
            }
        }
    }

    fn find(
        &mut self,
        kind: BreachKind,
        constraint: Id<Constraint>,
        digest: Digest,
        offset: u64,
    ) -> Option<&mut Breach> {
        let is_meant = |noted: &&mut Noted| {
            let breach = &noted.breach;
            breach.kind == kind
                && breach.constraint == constraint
                && breach.offset == offset
                && noted.digest == Some(digest)
        };
        let noted = self.noted.iter_mut().find(is_meant)?;
        Some(&mut noted.breach)
    }
}
