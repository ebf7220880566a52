//! A schema or stylesheet with everything that it includes, as it was when it was last good.
//!
//! A snapshot is read once and holds the text of all files as UTF-8, so that it can be compiled again
//! at any time, whatever has become of the files since. Which files a schema has, `schema_files`
//! says; those of a stylesheet are found here: a link that leaves the directory, in its text or through a
//! symbolic link, or that names anything but a plain relative path, is refused with its place.
//!
//! An engine that wants files gets them in a private directory that is removed with the
//! [`PrivateDir`]; a crash leaves it behind in the directory for temporary files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::util::plain::{self, Links};

use super::intake::{Element, InspectError, walk};
use super::{Finding, Source, XmlLimits, decode, elsewhere, location};

/// The largest published schemas have less than a megabyte.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Files that one stylesheet may consist of.
const FILES_MAX: usize = 256;

/// Judges an element of a stylesheet and says to which file it links.
pub(super) type LinkOf = fn(&Element<'_>) -> Result<Option<String>, Finding>;

#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("{file}:{finding}")]
    Fault { file: String, finding: Finding },
    #[error("it consists of more than {FILES_MAX} files")]
    TooManyFiles,
    #[error("{file}: {source}")]
    Unreadable { file: String, source: io::Error },
}

/// By what a file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    BuiltIn,
    /// The catalogue, by this URL.
    Catalog(String),
    Directory,
    /// The mirror of this URL.
    Mirror(String),
}

/// An edition of XML Schema.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Edition {
    #[serde(rename = "1.0")]
    V1_0,
    #[serde(rename = "1.1")]
    V1_1,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What nothing was found for, and what was taken for granted then.
    assumed: Vec<String>,
    /// By which edition of XML Schema it is read, if the operator says it.
    edition: Option<Edition>,
    /// The text by the path relative to the directory.
    files: BTreeMap<String, String>,
    main: String,
    /// Of the files besides the main one.
    origins: BTreeMap<String, Origin>,
    /// The imports of what is referred to that say no location, for people.
    unlocated: Vec<String>,
}

impl Snapshot {
    pub(super) fn new(
        main: &str,
        files: BTreeMap<String, String>,
        origins: BTreeMap<String, Origin>,
        assumed: Vec<String>,
    ) -> Snapshot {
        Snapshot {
            assumed,
            edition: None,
            files,
            main: main.to_owned(),
            origins,
            unlocated: Vec::new(),
        }
    }

    pub(super) fn with_edition(self, edition: Option<Edition>) -> Snapshot {
        Snapshot { edition, ..self }
    }

    pub(super) fn with_unlocated(self, unlocated: Vec<String>) -> Snapshot {
        Snapshot { unlocated, ..self }
    }

    pub(super) fn edition(&self) -> Option<Edition> {
        self.edition
    }

    /// Reads each of these stylesheets from `dir`.
    pub(super) fn read_each(
        dir: &Path,
        names: &BTreeSet<String>,
        extension: &str,
        link_of: LinkOf,
    ) -> BTreeMap<String, Result<Snapshot, String>> {
        let read = |name: &String| {
            let snapshot = Snapshot::read(dir, &format!("{name}.{extension}"), link_of);
            (name.clone(), snapshot.map_err(|error| error.to_string()))
        };
        names.iter().map(read).collect()
    }

    /// Reads a stylesheet, `main`, from `dir` and what it links to.
    pub(super) fn read(dir: &Path, main: &str, link_of: LinkOf) -> Result<Snapshot, SnapshotError> {
        let mut files = BTreeMap::new();
        let mut wanted = vec![main.to_owned()];
        while let Some(file) = wanted.pop() {
            if files.contains_key(&file) {
                continue;
            }
            if files.len() == FILES_MAX {
                return Err(SnapshotError::TooManyFiles);
            }
            let bytes = match read_inside(dir, &file) {
                Ok(bytes) => bytes,
                Err(source) => return Err(SnapshotError::Unreadable { file, source }),
            };
            let text = match decode::to_text(&bytes)
                .and_then(|text| links(&text, &file, link_of, &mut wanted).map(|()| text))
            {
                Ok(text) => text,
                Err(finding) => return Err(SnapshotError::Fault { file, finding }),
            };
            files.insert(file, text);
        }
        let others = files.keys().filter(|file| *file != main);
        let origins = others
            .map(|file| (file.clone(), Origin::Directory))
            .collect();
        Ok(Snapshot::new(main, files, origins, Vec::new()))
    }

    pub(super) fn unlocated(&self) -> &[String] {
        &self.unlocated
    }

    pub(super) fn main(&self) -> &str {
        &self.main
    }

    pub(super) fn text(&self, file: &str) -> Option<&str> {
        self.files.get(file).map(String::as_str)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.files.iter();
        pairs.map(|(file, text)| (file.as_str(), text.as_str()))
    }

    /// Where its files were found, what was assumed, and what other validators refuse, for people.
    pub(super) fn account(&self) -> String {
        let mut parts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (file, origin) in &self.origins {
            let (by, what) = match origin {
                Origin::BuiltIn => ("built in", file.clone()),
                Origin::Catalog(url) => ("by schemas.catalog", format!("{file} ({url})")),
                Origin::Directory => ("with", file.clone()),
                Origin::Mirror(url) => ("mirrored", format!("{file} ({url})")),
            };
            parts.entry(by).or_default().push(what);
        }
        let parts = parts
            .iter()
            .map(|(by, files)| format!("{by} {}", files.join(", ")));
        let assumed = self.assumed.iter().map(|what| format!("assumed: {what}"));
        let refusals = elsewhere::refusals(self);
        let all: Vec<_> = parts.chain(assumed).chain(refusals).collect();
        all.join("; ")
    }

    /// The text of all files, the main one first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let others = self.files.iter().filter(|(file, _)| **file != self.main);
        self.text(&self.main)
            .into_iter()
            .chain(others.map(|(_, text)| text.as_str()))
    }

    /// Writes the files into a directory that no one else can enter.
    pub(super) fn unpack(&self) -> io::Result<PrivateDir> {
        let dir = PrivateDir::create()?;
        for (file, text) in &self.files {
            let path = dir.path.join(file);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        Ok(dir)
    }
}

/// A fresh directory, removed with all that is in it when this value is dropped.
#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    fn create() -> io::Result<PrivateDir> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // A name that is taken belongs to a process that crashed or to someone else: never
        // enter it. The number of tries only keeps a hostile neighbour from holding us forever.
        for _ in 0..1000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("spoolgate-{}-{number}", process::id());
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(PrivateDir { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "a temporary directory cannot be removed");
        }
    }
}

/// Where a link leads from `base`, or `None` if that is not a plain path inside the directory.
fn resolve(base: &str, written: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let is_plain = written.chars().all(plain);
    is_plain.then(|| location::join(location::directory_of(base), written))?
}

/// Checks that `text` is well-formed and appends the files that it links to.
fn links(text: &str, file: &str, link_of: LinkOf, wanted: &mut Vec<String>) -> Result<(), Finding> {
    let mut see = |element: &Element<'_>| {
        if let Some(location) = link_of(element)? {
            let target = resolve(file, &location).ok_or_else(|| {
                element.finding(&format!(
                    "\"{location}\" is not a plain relative path inside the directory"
                ))
            })?;
            wanted.push(target);
        }
        Ok(())
    };
    let source = Source::Memory(text.as_bytes());
    match walk(&source, &XmlLimits::default(), &mut see) {
        Ok(_) => Ok(()),
        Err(InspectError::NotWellFormed(finding)) => Err(finding),
        Err(InspectError::Io(error)) => Err(Finding::new(0, 0, &error.to_string())),
    }
}

/// The bytes of a file in the directory.
pub(super) fn read_inside(dir: &Path, file: &str) -> io::Result<Vec<u8>> {
    let path = dir.join(file).canonicalize()?;
    if !path.starts_with(dir.canonicalize()?) {
        return Err(io::Error::other("a symbolic link leaves the directory"));
    }
    if path.is_dir() {
        let what = "it is a directory, not a plain file";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, what));
    }
    // The links have been followed; one that comes now is not.
    plain::read(&path, Links::Refuse, FILE_BYTES_MAX)
}

/// Is no file there, as far as [`read_inside`] says?
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory | io::ErrorKind::NotFound
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn href(element: &Element<'_>) -> Result<Option<String>, Finding> {
        Ok(element.attribute("href"))
    }

    fn read(dir: &Path) -> Result<Snapshot, String> {
        Snapshot::read(dir, "a.xml", href).map_err(|error| error.to_string())
    }

    #[test]
    fn links_are_paths_inside_the_directory() {
        assert_eq!(resolve("a.xsd", "b.xsd").as_deref(), Some("b.xsd"));
        assert_eq!(
            resolve("a.xsd", "./sub//b.xsd").as_deref(),
            Some("sub/b.xsd")
        );
        assert_eq!(resolve("sub/a.xsd", "../b.xsd").as_deref(), Some("b.xsd"));
        for bad in [
            "",
            "/etc/passwd",
            "../b",
            "sub/../../b",
            "http://h/b",
            "file:b",
            "b?c",
            "b#c",
            "b%2e",
            "b c",
            "..",
            "a\\b",
        ] {
            assert_eq!(resolve("a.xsd", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_snapshot_follows_links_and_outlives_the_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("a.xml"), "<a href='sub/b.xml'/>").unwrap();
        fs::write(dir.path().join("sub/b.xml"), "<b href='../a.xml'/>").unwrap();
        let snapshot = read(dir.path()).unwrap();
        drop(dir);
        let unpacked = snapshot.unpack().unwrap();
        let path = unpacked.path().to_owned();
        assert_eq!(
            fs::read_to_string(path.join("sub/b.xml")).unwrap(),
            "<b href='../a.xml'/>"
        );
        drop(unpacked);
        assert!(!path.exists());
    }

    #[test]
    fn a_bad_link_is_refused_with_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(dir.path().join("a.xml"), text).unwrap();
        write("<a>\n <b href='../x.xml'/></a>");
        assert_eq!(
            read(dir.path()).unwrap_err(),
            "a.xml:2:2: \"../x.xml\" is not a plain relative path inside the directory"
        );
        write("<a href='none.xml'/>");
        assert!(
            read(dir.path())
                .unwrap_err()
                .starts_with("none.xml: No such file")
        );
        write("<!DOCTYPE a SYSTEM 'x'><a/>");
        assert!(
            read(dir.path())
                .unwrap_err()
                .contains("document type declarations")
        );
        write("<a href='out.xml'/>");
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out.xml")).unwrap();
        assert_eq!(
            read(dir.path()).unwrap_err(),
            "out.xml: a symbolic link leaves the directory"
        );
    }
}
