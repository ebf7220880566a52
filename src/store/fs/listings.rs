//! What was found in directories that have not changed since: who asks again and again what waits costs one look at
//! each directory, not a listing.

use super::{EntryKind, Fs, Spool, SpoolError};
use crate::domain::InterfaceName;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that has changed so recently may change again without a later time of change.
pub(super) const TICK_MS: i64 = 2_000;
/// So many names are remembered in all; a directory with more than a tenth of that is listed each time.
const NAMES_MAX: usize = 65_536;

/// The names of the files in a directory, in no order.
type Names = Arc<[Box<str>]>;

#[derive(Debug, Default)]
pub(super) struct Listings {
    /// By directory: the time of its last change, and what was in it.
    known: HashMap<PathBuf, (i64, Names)>,
    n_names: usize,
}

impl Listings {
    fn of(&self, dir: &Path, changed_ns: i64) -> Option<Names> {
        let (known_ns, names) = self.known.get(dir)?;
        (*known_ns == changed_ns).then(|| names.clone())
    }

    fn remember(&mut self, dir: &Path, changed_ns: i64, names: Names) {
        if names.len() > NAMES_MAX / 10 {
            return;
        }
        if self.n_names + names.len() > NAMES_MAX {
            *self = Self::default();
        }
        self.n_names += names.len();
        if let Some((_, before)) = self.known.insert(dir.to_owned(), (changed_ns, names)) {
            self.n_names -= before.len();
        }
    }
}

impl<F: Fs> Spool<F> {
    /// Would a list of what waits and runs in an interface list no directory, and find `names_max` names at most? It
    /// costs a look at each directory, and waits for no disk.
    pub(super) fn is_listed(&self, interface: &InterfaceName, names_max: usize) -> bool {
        if self.is_addressed(interface) || !self.has_scanned_all() {
            return false;
        }
        let name = interface.as_str();
        let dirs = ["deferred", "queue", "work"].map(|place| Path::new(place).join(name));
        let mut n_names = 0;
        dirs.iter().all(|dir| {
            let known = self.known_names(dir).ok().and_then(|(_, names)| names);
            n_names += known.as_ref().map_or(0, |names| names.len());
            known.is_some() && n_names <= names_max
        })
    }

    /// When a directory has last changed, and what is in it, if that is remembered.
    fn known_names(&self, dir: &Path) -> Result<(Option<i64>, Option<Names>), SpoolError> {
        let stat = self.stat(dir)?;
        let stat = stat.filter(|stat| stat.kind == EntryKind::Dir && stat.changed_ns != 0);
        let changed_ns = stat.map(|stat| stat.changed_ns);
        let names = changed_ns.and_then(|ns| self.listings.lock().of(dir, ns));
        Ok((changed_ns, names))
    }

    /// What `parse` finds in the names of the files of a directory, in no order, which is listed only if it has
    /// changed.
    ///
    /// # Errors
    /// When it cannot be looked at or listed.
    pub(super) fn known_entries<T>(
        &self,
        dir: &Path,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SpoolError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let (changed_ns, known) = self.known_names(dir)?;
        let names = match known {
            Some(names) => names,
            None => {
                let names: Names = self.entries(dir, |name| Some(name.into()))?.into();
                if let Some(ns) = changed_ns.filter(|ns| ns / 1_000_000 + TICK_MS < now_ms) {
                    self.listings.lock().remember(dir, ns, names.clone());
                }
                names
            }
        };
        Ok(names.iter().filter_map(|name| parse(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::testing::TestSpool;
    use std::fs;

    fn names(n: usize) -> Names {
        (0..n).map(|n| n.to_string().into()).collect()
    }

    #[test]
    fn a_change_is_seen_and_what_is_the_same_is_not_listed_again() {
        let dir = tempfile::tempdir().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").open().unwrap();
        let queue = Path::new("queue/a");
        let found = || {
            let mut found = spool.known_entries(queue, |name| Some(name.to_owned()));
            found.as_mut().unwrap().sort();
            found.unwrap()
        };
        let changed_ns = || spool.stat(queue).unwrap().unwrap().changed_ns;
        fs::write(dir.path().join("queue/a/one"), "").unwrap();
        assert_eq!(found(), ["one"]);
        fs::write(dir.path().join("queue/a/two"), "").unwrap();
        assert_eq!(
            found(),
            ["one", "two"],
            "it may have changed in the same moment"
        );
        assert!(spool.listings.lock().known.is_empty());
        let remembered = |names: Names| spool.listings.lock().remember(queue, changed_ns(), names);
        remembered(Arc::from(["known".into()]));
        assert_eq!(found(), ["known"]);
        fs::remove_file(dir.path().join("queue/a/one")).unwrap();
        assert_eq!(found(), ["two"]);
        fs::rename(dir.path().join(queue), dir.path().join("behind")).unwrap();
        let gone = spool.known_entries(queue, |name| Some(name.to_owned()));
        let listed = spool.entries(queue, |name| Some(name.to_owned()));
        assert_eq!(gone.ok(), listed.ok());
        std::os::unix::fs::symlink(dir.path().join("behind"), dir.path().join(queue)).unwrap();
        remembered(Arc::from(["known".into()]));
        assert_eq!(found(), [""; 0], "a link is no directory");
    }

    #[test]
    fn a_list_is_known_as_long_as_no_directory_changes() {
        let dir = tempfile::tempdir().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").open().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let remember = |place: &str, n_names| {
            let place = Path::new(place);
            let changed_ns = spool.stat(place).unwrap().unwrap().changed_ns;
            (spool.listings.lock()).remember(place, changed_ns, names(n_names));
        };
        let places = ["deferred/a", "queue/a", "work/a"];
        places.into_iter().for_each(|place| remember(place, 3));
        assert!(
            !spool.is_listed(&interface, 9),
            "what waits was not looked at"
        );
        spool.scan(&interface).unwrap();
        assert!(spool.is_listed(&interface, 9));
        assert!(!spool.is_listed(&interface, 8));
        for place in places {
            fs::write(dir.path().join(place).join("new"), "").unwrap();
            assert!(!spool.is_listed(&interface, 9), "{place}");
            remember(place, 3);
            assert!(spool.is_listed(&interface, 9), "{place}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut listings = Listings::default();
        listings.remember(Path::new("large"), 1, names(NAMES_MAX / 10 + 1));
        assert!(listings.known.is_empty());
        for n in 0..100 {
            listings.remember(Path::new(&n.to_string()), 1, names(NAMES_MAX / 10));
            listings.remember(Path::new(&n.to_string()), 2, names(NAMES_MAX / 20));
            let all = listings.known.values();
            let n_names: usize = all.map(|(_, names)| names.len()).sum();
            assert_eq!(n_names, listings.n_names);
            assert!(n_names <= NAMES_MAX);
        }
        assert!(listings.of(Path::new("99"), 1).is_none());
        assert!(listings.of(Path::new("99"), 2).is_some());
    }
}
