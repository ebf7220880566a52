//! The operator's table of URLs and the files of the schemas' directory that they stand for.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::location::{comparable, decoded, join, scheme};
use super::schema_part::Part;
use super::snapshot::{is_missing, read_inside};

/// What an operator wrote: a URL, or the beginning of URLs if it ends in `/`, and the path, which
/// then ends in `/`, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Where it stands: the file of the configuration, and the line.
    pub file: PathBuf,
    pub line: usize,
    pub path: String,
    pub url: String,
}

/// The entries by their URLs as these are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    entries: BTreeMap<String, CatalogEntry>,
}

impl Catalog {
    /// Checks what an operator wrote.
    ///
    /// # Errors
    /// When a key is no URL or comes twice, or its path leads outside of the directory.
    pub fn parse(written: impl IntoIterator<Item = CatalogEntry>) -> Result<Catalog, String> {
        let mut entries = BTreeMap::new();
        for entry in written {
            let CatalogEntry { path, url, .. } = &entry;
            if scheme(url).is_none() || url.contains('#') {
                return Err(format!(
                    "\"{url}\" is not a URL such as \"http://www.w3.org/2001/xml.xsd\""
                ));
            }
            let Some(inside) = join("", path) else {
                return Err(format!(
                    "\"{url}\": \"{path}\" is not a path inside the directory of schemas"
                ));
            };
            let inside = match (url.ends_with('/'), path.ends_with('/')) {
                (true, true) => format!("{inside}/"),
                (false, false) => inside,
                (true, false) | (false, true) => {
                    return Err(format!(
                        "\"{url}\": the beginning of URLs and its directory both end in \"/\", \
                         a URL and its file do not"
                    ));
                }
            };
            let key = comparable(url);
            if entries.contains_key(&key) {
                return Err(format!(
                    "\"{url}\" stands there twice; http and https are the same"
                ));
            }
            let path = inside;
            entries.insert(key, CatalogEntry { path, ..entry });
        }
        Ok(Catalog { entries })
    }

    /// The entries that lead to no schema, or to no directory, in the directory of schemas, with what is
    /// wrong, in the order of their places.
    pub fn faults(&self, dir: &Path) -> Vec<(&CatalogEntry, String)> {
        let entries = self.entries.values();
        let mut faults: Vec<_> = entries
            .filter_map(|entry| Some((entry, entry.fault(dir)?)))
            .collect();
        faults.sort_by_key(|(entry, _)| (&entry.file, entry.line));
        faults
    }

    /// The path for a URL: of the URL itself, else of its longest beginning.
    pub(super) fn find(&self, url: &str) -> Option<String> {
        let url = comparable(url);
        if let Some(entry) = self.entries.get(&url).filter(|entry| !entry.is_beginning()) {
            return Some(entry.path.clone());
        }
        let beginnings = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_beginning());
        let fits = beginnings.filter_map(|(key, entry)| Some((entry, url.strip_prefix(key)?)));
        let (CatalogEntry { path, .. }, rest) = fits.min_by_key(|(_, rest)| rest.len())?;
        let inside = join(path, &decoded(rest)?)?;
        inside.starts_with(path).then_some(inside)
    }
}

impl CatalogEntry {
    fn is_beginning(&self) -> bool {
        self.path.ends_with('/')
    }

    fn fault(&self, dir: &Path) -> Option<String> {
        let path = dir.join(&self.path);
        let place = path.display();
        let what = match read_inside(dir, self.path.trim_end_matches('/')) {
            Err(error) if is_missing(&error) => format!("it is not there: looked for {place}"),
            Err(error) if error.kind() == ErrorKind::IsADirectory && self.is_beginning() => {
                return None;
            }
            Err(error) => format!("{place}: {error}"),
            Ok(_) if self.is_beginning() => format!("{place}: it is a file, not a directory"),
            Ok(bytes) => match Part::read(&bytes) {
                Ok(_) => return None,
                Err(finding) => format!("{place}:{finding}"),
            },
        };
        Some(format!("\"{}\": {what}", self.url))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Catalog, String> {
        let written = entries
            .iter()
            .zip(1..)
            .map(|((url, path), line)| CatalogEntry {
                file: PathBuf::new(),
                line,
                path: (*path).into(),
                url: (*url).into(),
            });
        Catalog::parse(written)
    }

    #[test]
    fn a_url_is_found_by_itself_or_by_its_longest_beginning() {
        let catalog = parse(&[
            ("http://h/a.xsd", "own/a.xsd"),
            ("https://H/", "all/"),
            ("http://h/deep/", "deep/"),
            ("urn:x", "./x.xsd"),
        ])
        .unwrap();
        for (url, path) in [
            ("https://h/a.xsd#part", Some("own/a.xsd")),
            ("http://h/b%20c.xsd", Some("all/b c.xsd")),
            ("http://h/deep/b.xsd", Some("deep/b.xsd")),
            ("http://h/deep/../../x", None),
            ("http://h/deep/../b.xsd", None),
            ("urn:x", Some("x.xsd")),
            ("http://other/a.xsd", None),
        ] {
            assert_eq!(catalog.find(url).as_deref(), path, "{url}");
        }
    }

    #[test]
    fn a_mistake_in_the_table_is_named() {
        for (url, path, words) in [
            ("xml.xsd", "xml.xsd", "\"xml.xsd\" is not a URL"),
            ("http://h/a#b", "a", "is not a URL"),
            ("http://h/a", "../a", "\"../a\" is not a path inside"),
            ("http://h/a", "/a", "is not a path inside"),
            ("http://h/a", "", "is not a path inside"),
            ("http://h/", "a", "both end in \"/\""),
            ("http://h/a", "a/", "both end in \"/\""),
        ] {
            let said = parse(&[(url, path)]).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let twice = parse(&[("http://h/a", "a"), ("https://h/a", "b")]).unwrap_err();
        assert!(twice.contains("stands there twice"), "{twice}");
    }

    #[test]
    fn an_entry_that_leads_to_no_schema_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        fs::create_dir(dir.path().join("common")).unwrap();
        write(
            "good.xsd",
            "<schema xmlns='http://www.w3.org/2001/XMLSchema'/>",
        );
        write("bad.xsd", "\n<a/>");
        let catalog = parse(&[
            ("http://h/z.xsd", "gone.xsd"),
            ("http://h/common/", "common/"),
            ("http://h/good.xsd", "good.xsd"),
            ("http://h/bad.xsd", "bad.xsd"),
            ("http://h/common.xsd", "common"),
            ("http://h/gone/", "gone/"),
            ("http://h/file/", "good.xsd/"),
        ])
        .unwrap();
        let at = dir.path().display();
        let wanted = [
            (
                1,
                format!("\"http://h/z.xsd\": it is not there: looked for {at}/gone.xsd"),
            ),
            (
                4,
                format!(
                    "\"http://h/bad.xsd\": {at}/bad.xsd:2:1: the root element is not xs:schema"
                ),
            ),
            (
                5,
                format!(
                    "\"http://h/common.xsd\": {at}/common: it is a directory, not a plain file"
                ),
            ),
            (
                6,
                format!("\"http://h/gone/\": it is not there: looked for {at}/gone/"),
            ),
            (
                7,
                format!("\"http://h/file/\": {at}/good.xsd/: it is a file, not a directory"),
            ),
        ];
        let faults = catalog.faults(dir.path()).into_iter();
        let faults: Vec<_> = faults.map(|(entry, fault)| (entry.line, fault)).collect();
        assert_eq!(faults, wanted);
    }
}
