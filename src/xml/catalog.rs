//! The operator's table of URLs and the files of the schemas' directory that they stand for.

use std::collections::BTreeMap;

use super::location::{comparable, decoded, join, scheme};

/// By URL, or by the beginning of URLs if it ends in `/`: the path, which then ends in `/`, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    entries: BTreeMap<String, String>,
}

impl Catalog {
    /// Checks what an operator wrote.
    ///
    /// # Errors
    /// When a key is no URL or comes twice, or its path leads outside of the directory.
    pub fn parse(written: &BTreeMap<String, String>) -> Result<Catalog, String> {
        let mut entries = BTreeMap::new();
        for (url, path) in written {
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
            if entries.insert(comparable(url), inside).is_some() {
                return Err(format!(
                    "\"{url}\" stands there twice; http and https are the same"
                ));
            }
        }
        Ok(Catalog { entries })
    }

    /// The path for a URL: of the URL itself, else of its longest beginning.
    pub(super) fn find(&self, url: &str) -> Option<String> {
        let url = comparable(url);
        if let Some(path) = self.entries.get(&url).filter(|path| !path.ends_with('/')) {
            return Some(path.clone());
        }
        let beginnings = self.entries.iter().filter(|(key, _)| key.ends_with('/'));
        let fits = beginnings.filter_map(|(key, path)| Some((path, url.strip_prefix(key)?)));
        let (directory, rest) = fits.min_by_key(|(_, rest)| rest.len())?;
        let inside = join(directory, &decoded(rest)?)?;
        inside.starts_with(directory).then_some(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Catalog, String> {
        let written = entries
            .iter()
            .map(|(url, path)| ((*url).into(), (*path).into()));
        Catalog::parse(&written.collect())
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
}
