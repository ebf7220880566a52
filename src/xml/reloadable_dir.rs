//! A directory of `<name>.<extension>` files of which the last good version is in force.
//!
//! [`ReloadableDir::reload`] checks every file, loads what has changed, itself or in a file that it
//! includes, and reports. What cannot be loaded is refused and the version before it stays in
//! force, as does one whose file has vanished: a slip of the hand in the directory never turns a
//! working interface away. What is in force lives in memory; after a restart only the files count.

use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::snapshot::Snapshot;

/// What `ReloadableDir::reload` has to say about one name. Nothing is said of what has not changed;
/// a problem is reported at every reload for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadReport {
    pub name: String,
    pub outcome: ReloadOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// A new version is in force.
    Loaded,
    /// Not usable; `in_force` says whether an earlier version still serves.
    Refused { reason: String, in_force: bool },
    /// The file is gone; the version that was loaded still serves.
    Vanished,
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.outcome {
            ReloadOutcome::Loaded => write!(f, "loaded"),
            ReloadOutcome::Refused { reason, in_force } => {
                let kept = if *in_force {
                    ", the version before it stays in force"
                } else {
                    ""
                };
                write!(f, "refused{kept}: {reason}")
            }
            ReloadOutcome::Vanished => {
                write!(f, "the file is gone, its last version stays in force")
            }
        }
    }
}

/// Says what is to be in force, by name, of a directory in which the files of these names have the
/// extension.
pub(super) type Read<'r> =
    dyn Fn(&Path, &BTreeSet<String>) -> BTreeMap<String, Result<Snapshot, String>> + 'r;

/// One version in force: the files it was loaded from, and what was made of them.
pub(super) struct Kept<T> {
    pub(super) snapshot: Snapshot,
    pub(super) value: T,
}

pub(super) struct ReloadableDir<T> {
    dir: PathBuf,
    extension: &'static str,
    kept: RwLock<BTreeMap<String, Arc<Kept<T>>>>,
    /// What the last reload could not load, whether or not an earlier version serves.
    refused: RwLock<BTreeSet<String>>,
    /// Held while reloading, so that an older version never replaces a newer one.
    reloading: Mutex<()>,
}

impl<T> ReloadableDir<T> {
    pub(super) fn new(dir: &Path, extension: &'static str) -> ReloadableDir<T> {
        ReloadableDir {
            dir: dir.to_owned(),
            extension,
            kept: RwLock::default(),
            refused: RwLock::default(),
            reloading: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    pub(super) fn names(&self) -> Vec<String> {
        let kept = self.kept.read();
        kept.keys().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Kept<T>>> {
        let kept = self.kept.read();
        kept.get(name).cloned()
    }

    /// The names of all files that the last reload could not load.
    pub(super) fn all_refused(&self) -> Vec<String> {
        let refused = self.refused.read();
        refused.iter().cloned().collect()
    }

    /// Is there a file of this name that the last reload could not load?
    pub(super) fn is_refused(&self, name: &str) -> bool {
        let refused = self.refused.read();
        refused.contains(name)
    }

    pub(super) fn reload(
        &self,
        read: &Read<'_>,
        load: &dyn Fn(&Snapshot) -> Result<T, String>,
    ) -> Vec<ReloadReport> {
        let _one_at_a_time = self.reloading.lock();
        let listed = match self.list() {
            Ok(listed) => listed,
            Err(error) => {
                let reason = format!("the directory cannot be read: {error}");
                return vec![self.refused("*", reason)];
            }
        };
        let (mut reports, mut refused) = (Vec::new(), BTreeSet::new());
        let read = read(&self.dir, &listed);
        let wanted: BTreeSet<String> = read.keys().cloned().collect();
        for (name, snapshot) in read {
            match self.renew(&name, snapshot, load) {
                Ok(true) => reports.push(report(&name, ReloadOutcome::Loaded)),
                Ok(false) => {}
                Err(reason) => {
                    reports.push(self.refused(&name, reason));
                    refused.insert(name);
                }
            }
        }
        *self.refused.write() = refused;
        // What has become a mere part of something else is not in force any more.
        let stays = |name: &String| wanted.contains(name) || !listed.contains(name);
        self.kept.write().retain(|name, _| stays(name));
        let gone = self
            .names()
            .into_iter()
            .filter(|name| !listed.contains(name));
        reports.extend(gone.map(|name| report(&name, ReloadOutcome::Vanished)));
        reports
    }

    /// Could all that serves well be replaced by what `read` says? Nothing is.
    ///
    /// # Errors
    /// Why one could not.
    pub(super) fn try_out(
        &self,
        read: &Read<'_>,
        load: &dyn Fn(&Snapshot) -> Result<T, String>,
    ) -> Result<(), ReloadReport> {
        let Ok(listed) = self.list() else {
            // A reload reports that, and changes nothing.
            return Ok(());
        };
        for (name, snapshot) in read(&self.dir, &listed) {
            let serves = self.find(&name).filter(|_| !self.is_refused(&name));
            let Some(serves) = serves else {
                continue;
            };
            let tried = snapshot.and_then(|snapshot| match snapshot == serves.snapshot {
                true => Ok(()),
                false => load(&snapshot).map(drop),
            });
            tried.map_err(|reason| self.refused(&name, reason))?;
        }
        Ok(())
    }

    /// The names of all files with the extension; files with a leading dot are not ours.
    fn list(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let file = entry?.file_name();
            let file = file.to_string_lossy();
            let stem = file
                .strip_suffix(self.extension)
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(stem) = stem
                && !stem.starts_with('.')
                && !stem.is_empty()
            {
                names.insert(stem.to_owned());
            }
        }
        Ok(names)
    }

    /// Puts the file's present version in force; `false` when it already is.
    pub(super) fn renew(
        &self,
        name: &str,
        snapshot: Result<Snapshot, String>,
        load: &dyn Fn(&Snapshot) -> Result<T, String>,
    ) -> Result<bool, String> {
        if !is_name(name) {
            return Err("a name consists of letters, digits, '.', '_' and '-'".to_owned());
        }
        let snapshot = snapshot?;
        if self
            .find(name)
            .is_some_and(|kept| kept.snapshot == snapshot)
        {
            return Ok(false);
        }
        let value = load(&snapshot)?;
        let renewed = Arc::new(Kept { snapshot, value });
        let mut kept = self.kept.write();
        kept.insert(name.to_owned(), renewed);
        Ok(true)
    }

    fn refused(&self, name: &str, reason: String) -> ReloadReport {
        let in_force = self.find(name).is_some();
        report(name, ReloadOutcome::Refused { reason, in_force })
    }
}

fn report(name: &str, outcome: ReloadOutcome) -> ReloadReport {
    ReloadReport {
        name: name.to_owned(),
        outcome,
    }
}

fn is_name(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Finding;
    use crate::xml::intake::Element;

    fn include(element: &Element<'_>) -> Result<Option<String>, Finding> {
        Ok(element.attribute("include"))
    }

    fn read(dir: &Path, names: &BTreeSet<String>) -> BTreeMap<String, Result<Snapshot, String>> {
        Snapshot::read_each(dir, names, "xsd", include)
    }

    fn load(snapshot: &Snapshot) -> Result<usize, String> {
        let text: String = snapshot.texts().collect();
        if text.contains("bad") {
            Err("bad content".to_owned())
        } else {
            Ok(text.len())
        }
    }

    #[test]
    fn the_last_good_version_stays_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        let files = ReloadableDir::new(dir.path(), "xsd");
        let reload = || -> Vec<String> {
            files
                .reload(&read, &load)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        write("a.xsd", "<a include='part.inc'/>");
        write("part.inc", "<part/>");
        write("b.xsd", "<bad/>");
        write("b c.xsd", "<c/>");
        write(".d.xsd", "<d/>");
        let odd = "b c: refused: a name consists of letters, digits, '.', '_' and '-'";
        assert_eq!(reload(), ["a: loaded", "b: refused: bad content", odd]);
        assert_eq!(files.names(), ["a"]);
        assert!(files.is_refused("b") && !files.is_refused("a") && !files.is_refused("c"));
        assert_eq!(reload(), ["b: refused: bad content", odd]);
        write("b.xsd", "<b/>");
        write("part.inc", "<part><more/></part>");
        assert_eq!(reload(), ["a: loaded", "b: loaded", odd]);
        assert!(!files.is_refused("b"));
        let before = files.find("a").unwrap().value;
        write("part.inc", "<part>");
        fs::remove_file(dir.path().join("b.xsd")).unwrap();
        fs::remove_file(dir.path().join("b c.xsd")).unwrap();
        assert_eq!(
            reload(),
            [
                "a: refused, the version before it stays in force: part.inc:1:7: the document ends inside an element",
                "b: the file is gone, its last version stays in force",
            ]
        );
        assert_eq!(files.find("a").unwrap().value, before);
        assert!(files.find("b").is_some());
        drop(dir);
        assert!(reload()[0].starts_with("*: refused: the directory cannot be read"));
        assert_eq!(files.names(), ["a", "b"]);
    }
}
