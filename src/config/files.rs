//! The files of a configuration: `spoolgate.toml`, and then `conf.d/*.toml` beside it in the order of their names,
//! read as one.
//!
//! Each key says one thing. One that two files have is a mistake, whichever of them comes later; what two tables of
//! the same name hold is put together, and so are lists of tables.
//!
//! A position is a byte of all the texts, one after the other.

use super::ConfigError;
use crate::util::{
    modes::{Guard, guard},
    plain::{self, Links},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

/// The directory of the other files, beside the first one.
const DROP_INS: &str = "conf.d";
/// Of one file.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is wrong, and at which position, if it is known.
pub(super) struct Mistake {
    pub(super) at: Option<usize>,
    pub(super) text: String,
}

/// Why the files do not say what is wanted.
pub(super) enum Unread {
    Mistake(Mistake),
    /// In words of the parser, with the position.
    Unfit(toml::de::Error),
}

#[derive(Clone)]
struct Text {
    path: PathBuf,
    text: String,
}

/// The first one is `spoolgate.toml`.
#[derive(Clone)]
pub(super) struct Files(Vec<Text>);

impl Files {
    /// Reads the file at `path` and those of the directory beside it.
    ///
    /// # Errors
    /// When one cannot be read, or others may write it or the directory.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut files = vec![text_of(path)?];
        for path in drop_ins(path)? {
            files.push(text_of(&path)?);
        }
        Ok(Self(files))
    }

    /// One text alone.
    pub(super) fn one(path: &Path, text: &str) -> Self {
        Self(vec![Text {
            path: path.to_owned(),
            text: text.to_owned(),
        }])
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|file| file.path.as_path())
    }

    /// Of all that they say, in hexadecimal digits: of one file that of its text.
    pub(super) fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (n, file) in self.0.iter().enumerate() {
            if n > 0 {
                hash.update(b"\0");
            }
            hash.update(&file.text);
        }
        hex::encode(hash.finalize())
    }

    /// All their keys.
    ///
    /// # Errors
    /// What is no TOML, or is said twice.
    pub(super) fn table(&self) -> Result<DeTable<'_>, Mistake> {
        let mut all = DeTable::new();
        let mut begin = 0;
        for file in &self.0 {
            let table = DeTable::parse(&file.text).map_err(|error| Mistake {
                at: error.span().map(|span| begin + span.start),
                text: error.message().trim().to_owned(),
            })?;
            let merged = merge(&mut all, moved(table.into_inner(), begin), "");
            merged.map_err(|twice| self.said_twice(&twice))?;
            begin += file.text.len();
        }
        Ok(all)
    }

    /// What they say, as `T` wants it.
    ///
    /// # Errors
    /// What is no table of keys, or none that `T` takes.
    pub(super) fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Unread> {
        let table = self.table().map_err(Unread::Mistake)?;
        let n_bytes = self.0.iter().map(|file| file.text.len()).sum();
        let whole = Spanned::new(0..n_bytes, table);
        T::deserialize(Deserializer::from(whole)).map_err(Unread::Unfit)
    }

    /// The same files with another text in that place.
    pub(super) fn with(&self, place: &Range<usize>, text: &str) -> Self {
        let mut files = self.clone();
        let (n, begin) = self.file_at(place.start);
        if let Some(file) = files.0.get_mut(n) {
            let inside = place.start - begin..place.end - begin;
            if file.text.get(inside.clone()).is_some() {
                file.text.replace_range(inside, text);
            }
        }
        files
    }

    /// The file of a position, and the line there.
    pub(super) fn place(&self, at: usize) -> (&Path, usize) {
        let (n, begin) = self.file_at(at);
        let Some(file) = self.0.get(n) else {
            return (Path::new(""), 1);
        };
        let before = file.text.bytes().take(at - begin);
        let line = before.filter(|byte| *byte == b'\n').count() + 1;
        (&file.path, line)
    }

    /// A mistake in words, with the file in which it is.
    pub(super) fn told(&self, mistake: Mistake) -> (PathBuf, String) {
        let Some(at) = mistake.at else {
            let path = self.paths().next().unwrap_or(Path::new(""));
            return (path.to_owned(), mistake.text);
        };
        let (path, line) = self.place(at);
        (path.to_owned(), format!("line {line}: {}", mistake.text))
    }

    /// Which file has a position, and at which it begins.
    fn file_at(&self, at: usize) -> (usize, usize) {
        let mut begin = 0;
        for (n, file) in self.0.iter().enumerate() {
            // The end of the last one is its own.
            if at < begin + file.text.len() || n + 1 == self.0.len() {
                return (n, begin);
            }
            begin += file.text.len();
        }
        (0, 0)
    }

    fn said_twice(&self, twice: &Twice) -> Mistake {
        let (path, line) = self.place(twice.first);
        let (name, path) = (&twice.name, path.display());
        Mistake {
            at: Some(twice.second),
            text: format!("{name} stands in {path}, line {line}, too; take one of them out"),
        }
    }
}

fn text_of(path: &Path) -> Result<Text, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.into(),
        source,
    };
    let file = plain::open(path, Links::Follow).map_err(unreadable)?;
    guard(&file, path, Guard::Configuration).map_err(ConfigError::Mode)?;
    let text = plain::text_of(file, FILE_BYTES_MAX).map_err(unreadable)?;
    Ok(Text {
        path: path.to_owned(),
        text,
    })
}

/// The files of the directory beside the first file, in the order of their names; hidden ones are left out, as
/// editors and package managers keep theirs there.
fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = path.with_file_name(DROP_INS);
    let unreadable = |source| ConfigError::Unreadable {
        path: dir.clone(),
        source,
    };
    let opened = match File::open(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(unreadable)?,
    };
    guard(&opened, &dir, Guard::ConfigurationDirectory).map_err(ConfigError::Mode)?;
    let mut paths = Vec::new();
    for entry in dir.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A key that two files have, and where.
struct Twice {
    name: String,
    first: usize,
    second: usize,
}

/// Puts what `from` holds into `into`.
fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>, prefix: &str) -> Result<(), Twice> {
    for (key, value) in from {
        let name = format!("{prefix}{}", key.get_ref());
        let Some((known, _)) = into.get_key_value(key.get_ref().as_ref()) else {
            into.insert(key, value);
            continue;
        };
        let twice = Twice {
            name: name.clone(),
            first: known.span().start,
            second: key.span().start,
        };
        let there = into.get_mut(key.get_ref().as_ref());
        match (there.map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(there)), DeValue::Table(more)) => {
                merge(there, more, &format!("{name}."))?;
            }
            (Some(DeValue::Array(there)), DeValue::Array(more))
                if are_tables(there) && are_tables(&more) =>
            {
                more.into_iter().for_each(|entry| there.push(entry));
            }
            _ => return Err(twice),
        }
    }
    Ok(())
}

fn are_tables(list: &DeArray<'_>) -> bool {
    list.iter().all(|entry| entry.get_ref().is_table())
}

/// The same table, so many bytes further on.
fn moved(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = key.span();
        let key = Spanned::new(span.start + by..span.end + by, key.into_inner());
        (key, moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let moved = match value.into_inner() {
        DeValue::Table(inner) => DeValue::Table(moved(inner, by)),
        DeValue::Array(list) => {
            let mut further = DeArray::new();
            let entries = list.into_iter().map(|entry| moved_value(entry, by));
            entries.for_each(|entry| further.push(entry));
            DeValue::Array(further)
        }
        plain @ (DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Float(_)
        | DeValue::Integer(_)
        | DeValue::String(_)) => plain,
    };
    Spanned::new(span.start + by..span.end + by, moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::{fs, os::unix::fs::PermissionsExt};

    const A: &str = "[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n";

    /// A directory with the first file, and these others.
    fn laid(first: &str, others: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spoolgate.toml");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        for (name, text) in [("../spoolgate.toml", first)].iter().chain(others) {
            let path = dir.path().join("conf.d").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        (dir, path)
    }

    fn said(first: &str, others: &[(&str, &str)]) -> String {
        let (dir, path) = laid(first, others);
        let error = Config::load(&path).map(drop).unwrap_err().to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn what_lies_beside_it_is_part_of_the_configuration() {
        let others = [
            (
                "20-b.toml",
                "[interfaces.b]\ndirection = \"out\"\nquestions = [{ y = 2 }]\n",
            ),
            (
                "10-limits.toml",
                "[limits]\nrunning_max = 3\n[[interfaces.b.questions]]\nx = 1",
            ),
            (".20-b.toml.swp.toml", "no TOML"),
            ("notes.txt", "no TOML"),
        ];
        let (dir, path) = laid(&format!("{A}[limits]\nuploads_max = 7\n"), &others);
        let config = Config::load(&path).unwrap();
        assert_eq!(
            (config.limits.running_max, config.limits.uploads_max),
            (3, 7)
        );
        let interfaces = &config.tenants[0].interfaces;
        assert_eq!(interfaces.len(), 2);
        let b = &interfaces[&"b".parse().unwrap()].service;
        assert_eq!(b.questions.len(), 2, "in the order of the names");
        assert!(b.questions[0].contains_key("x"));
        let names = config.files.iter().map(|path| path.file_name().unwrap());
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["spoolgate.toml", "10-limits.toml", "20-b.toml"]);
        assert_eq!(config.tenants[0].root, dir.path().join("spool"));
        let before = config.sha256;
        fs::write(dir.path().join("conf.d/20-b.toml"), "# nothing\n").unwrap();
        let after = Config::parse(&fs::read_to_string(&path).unwrap(), &path).unwrap();
        assert_ne!(before, after.sha256);
    }

    #[test]
    fn a_mistake_is_in_the_file_in_which_it_is() {
        for (others, expected) in [
            (
                ["\n[limits]\nuploads_max = 0", ""],
                "conf.d/1.toml: line 3: limits.uploads_max is 0",
            ),
            (
                ["# no key", "[interfaces.b]\ndirection = \"up\""],
                "conf.d/2.toml: line 2: interfaces.b.direction is \"up\"; use \"in\" or \"out\"",
            ),
            (
                ["", "[server]\nclock_changes = 3"],
                "conf.d/2.toml: line 2: server.clock_changes is 3; use",
            ),
            (["", "[limits"], "conf.d/2.toml: line 1: "),
            (["zzz = 1", ""], "conf.d/1.toml: line 1: zzz is not a key"),
            (
                ["[schemas.catalog]\n\"a\" = \"a\"", ""],
                "conf.d/1.toml: line 1: schemas.catalog: \"a\" is not a URL",
            ),
            (
                [
                    "[limits]\nrunning_max = 1",
                    "[limits]\nuploads_max = 1\nrunning_max = 1",
                ],
                "conf.d/2.toml: line 3: limits.running_max stands in conf.d/1.toml, line 2, too; take one",
            ),
            (
                ["", "interfaces.a.direction = \"in\""],
                "conf.d/2.toml: line 1: interfaces.a.direction stands in spoolgate.toml, line 2, too",
            ),
            (
                ["interfaces = 3", ""],
                "conf.d/1.toml: line 1: interfaces stands in spoolgate.toml, line 1, too",
            ),
        ] {
            let error = said(A, &[("1.toml", others[0]), ("2.toml", others[1])]);
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
        assert!(said("", &[]).starts_with("spoolgate.toml: no interface"));
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let (dir, path) = laid(A, &[("1.toml", "")]);
        let let_others = |of: &str, mode| {
            fs::set_permissions(dir.path().join(of), fs::Permissions::from_mode(mode)).unwrap();
            Config::load(&path).map(drop).unwrap_err().to_string()
        };
        let error = let_others("conf.d/1.toml", 0o666);
        assert!(error.contains("chmod 640"), "{error}");
        let error = let_others("conf.d", 0o757);
        assert!(error.contains("chmod 750"), "{error}");
    }
}
