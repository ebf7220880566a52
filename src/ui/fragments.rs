//! The parts of a page that are replaced while it is open: elements that begin with their id and `data-live`. Pure.
//!
//! A page is HTML of our own templates, in which texts of others are escaped, so a tag is where one seems to be.

use std::hash::{DefaultHasher, Hasher};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'p> {
    pub(super) id: &'p str,
    pub(super) html: &'p str,
}

impl Fragment<'_> {
    /// The same for what looks the same, whenever it was made: ages go on by themselves.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut parts = self.html.split("<time data-age");
        hasher.write(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let (tag, rest) = part.split_once('>').unwrap_or_default();
            let (_age, rest) = rest.split_once('<').unwrap_or_default();
            hasher.write(tag.as_bytes());
            hasher.write(rest.as_bytes());
        }
        hasher.finish()
    }
}

/// Those of a page, in its order.
pub(super) fn fragments(page: &str) -> Vec<Fragment<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(bracket) = page[at..].find('<') {
        let from = at + bracket;
        at = from + 1;
        let Some((name, id)) = live(&page[at..]) else {
            continue;
        };
        if let Some(length) = length(&page[at..], name) {
            at += length;
            let html = &page[from..at];
            found.push(Fragment { id, html });
        }
    }
    found
}

/// The name and the id of an element that is live, of what stands behind the bracket of its tag.
fn live(tag: &str) -> Option<(&str, &str)> {
    let (name, rest) = tag.split_at(tag.find(|c: char| !c.is_ascii_alphanumeric())?);
    let (id, rest) = rest.strip_prefix(" id=\"")?.split_once('"')?;
    let is_live = rest.strip_prefix(" data-live")?.starts_with([' ', '>']);
    is_live.then_some((name, id))
}

/// How far an element goes of which the tag has just begun; `None`: it has no end.
fn length(html: &str, name: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, _) in html.match_indices('<') {
        let tag = &html[at + 1..];
        let (is_end, tag) = match tag.strip_prefix('/') {
            Some(tag) => (true, tag),
            None => (false, tag),
        };
        let same = tag.strip_prefix(name);
        if !same.is_some_and(|rest| rest.starts_with([' ', '>'])) {
            continue;
        }
        depth = if is_end { depth - 1 } else { depth + 1 };
        if depth == 0 {
            return Some(at + "</>".len() + name.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_live_is_found_whole() {
        let row = "<tr id=\"j-1\" data-live>\n<td><table><tr><td>x</td></tr></table></td></tr>";
        let figure = "<div id=\"b\" data-live class=\"x\"><div>a</div><divider></divider></div>";
        let page = format!(
            "<!doctype html><p id=\"still\">a</p><br>{figure} <table>{row}</table>\
             <input value=\"&#34; data-live\"><p id=\"open\" data-live>"
        );
        let found: Vec<_> = fragments(&page);
        let expected = [("b", figure), ("j-1", row)];
        assert_eq!(found, expected.map(|(id, html)| Fragment { id, html }));
        assert_eq!(fragments(""), []);
    }

    #[test]
    fn a_text_of_others_makes_nothing_live() {
        for text in [
            "<p title=\"&#60;tr id=&#34;x&#34; data-live&#62;\">a</p>",
            "<a x id=\"x\" data-live>a</a>",
            "<p id=\"x\" data-lively>a</p>",
        ] {
            assert_eq!(fragments(text), [], "{text}");
        }
    }

    #[test]
    fn to_grow_older_is_no_change() {
        let digest = |html: &str| Fragment { id: "x", html }.digest();
        let of = |age, at, more| {
            format!("<p>a <time data-age datetime=\"{at}\">{age}</time> ago<b>{more}</b></p>")
        };
        let first = of("5 s", "12:00", "x");
        assert_eq!(digest(&first), digest(&of("1 min", "12:00", "x")));
        assert_ne!(digest(&first), digest(&of("5 s", "12:01", "x")));
        assert_ne!(digest(&first), digest(&of("5 s", "12:00", "y")));
        assert_ne!(digest("<time>1</time>"), digest("<time>2</time>"));
    }
}
