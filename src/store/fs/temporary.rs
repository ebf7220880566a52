//! Names under which a file is still its writer's: browsers, transfer clients, brokers and editors
//! write under such a name and rename at the end. Pure.

use std::sync::Arc;

/// What the common tools use. Names that begin with a dot need not be here: none of them is a job.
const USUAL: &[&str] = &[
    "#*#",
    "*.!bt",
    "*.!qb",
    "*.!ut",
    "*.aria2",
    "*.bc!",
    "*.camellock",
    "*.crdownload",
    "*.download",
    "*.filepart",
    "*.incomplete",
    "*.inprogress",
    "*.kate-swp",
    "*.lck",
    "*.lock",
    "*.opdownload",
    "*.part",
    "*.partial",
    "*.swo",
    "*.swp",
    "*.swx",
    "*.temp",
    "*.tmp",
    "*.uploading",
    "*.writing",
    "*~",
    "~$*",
    "~syncthing~*",
];
/// More patterns, or longer ones, are a mistake.
const PATTERNS_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 255;

/// Patterns of names, in which `*` stands for any characters. Upper and lower case are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporaryNames(Arc<[String]>);

impl Default for TemporaryNames {
    fn default() -> Self {
        Self(USUAL.iter().map(|&pattern| pattern.to_owned()).collect())
    }
}

impl TemporaryNames {
    /// These patterns and no others.
    ///
    /// # Errors
    /// When a pattern can be that of no name, or is that of every name. The message says which and why.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        if patterns.len() > PATTERNS_MAX {
            return Err(format!(
                "has {} patterns, at most {PATTERNS_MAX} are allowed",
                patterns.len()
            ));
        }
        for pattern in patterns {
            let wrong = if pattern.is_empty() {
                "is empty"
            } else if pattern.chars().all(|c| c == '*') {
                "would leave every file alone; name an ending such as \"*.part\""
            } else if pattern.len() > PATTERN_BYTES_MAX {
                "is longer than any name"
            } else if pattern.contains(['/', '\0']) {
                "has a character that no name can have"
            } else if pattern.contains(['?', '[', ']']) {
                "has a ?, [ or ]; only * stands for other characters"
            } else {
                continue;
            };
            return Err(format!("{pattern:?} {wrong}"));
        }
        Ok(Self(patterns.iter().map(|p| p.to_lowercase()).collect()))
    }

    /// True when a file of this name is still its writer's.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.0.iter().any(|pattern| matches(pattern, &name))
    }
}

/// Does `name` consist of what stands between the stars, in this order?
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_common_tools_are_temporary_in_any_case() {
        let usual = TemporaryNames::default();
        for name in [
            "doc.xml.1a2b3c4d.partial",
            "doc.xml.writing",
            "doc.INPROGRESS",
            "doc.TMP",
            "Unconfirmed 1234.crdownload",
            "doc.xml~",
            "#doc.xml#",
            "~$doc.xml",
            "doc.xml.!uT",
            "doc.swp",
            ".part",
        ] {
            assert!(usual.matches(name), "{name}");
        }
        for name in [
            "doc.xml",
            "part",
            "doc.parts",
            "tmp.xml",
            "#123.xml",
            "~doc.xml",
            "lock",
            "doc.tmp.xml",
        ] {
            assert!(!usual.matches(name), "{name}");
        }
    }

    #[test]
    fn the_page_of_configuration_names_them_all() {
        let page = include_str!("../../../docs/configuration.md");
        for pattern in USUAL {
            assert!(page.contains(&format!("`{pattern}`")), "{pattern}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, yes, no) in [
            ("*.a", ["x.a", ".a"], ["x.ab", "a"]),
            ("a*", ["a", "abc"], ["ba", ""]),
            ("*mid*", ["mid", "a mid b"], ["mi d", "m"]),
            ("a*a", ["aa", "aba"], ["a", "ab"]),
            ("a*b*c", ["abc", "aXbXc"], ["acb", "abcd"]),
            ("a", ["a", "A"], ["aa", ""]),
        ] {
            let names = TemporaryNames::new(&[pattern.to_owned()]).unwrap();
            for (name, expected) in yes
                .map(|n| (n, true))
                .into_iter()
                .chain(no.map(|n| (n, false)))
            {
                assert_eq!(names.matches(name), expected, "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_can_be_meant_by_no_pattern_is_refused() {
        for bad in [
            "",
            "*",
            "**",
            "a/b",
            "a\0",
            "*.t?p",
            "[ab]",
            &"x".repeat(256),
        ] {
            let refused = TemporaryNames::new(&[bad.to_owned()]);
            assert!(refused.is_err(), "{bad:?}");
        }
        let none = TemporaryNames::new(&[]).unwrap();
        assert!(!none.matches("x.part"));
        let too_many = vec!["a".to_owned(); PATTERNS_MAX + 1];
        assert!(TemporaryNames::new(&too_many).is_err());
    }
}
