//! Names, white space, characters and references, by the letter of XML 1.0.

use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

use crate::xml::names::{is_char, is_ncname, resolve_reference};
use crate::xml::tables::simple::whitespace::is_space;

use super::{Step, Stop, doubt};

/// May begin a name.
const START: u8 = 1;
/// May stand in a name.
const INSIDE: u8 = 2;
/// A part of a character that has to be looked at.
const WIDE: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut n = 0;
    while n < 256 {
        let byte = n as u8;
        classes[n] = if byte.is_ascii_alphabetic() || byte == b'_' {
            START | INSIDE
        } else if byte.is_ascii_digit() || byte == b'-' || byte == b'.' {
            INSIDE
        } else if byte.is_ascii() {
            0
        } else {
            START | INSIDE | WIDE
        };
        n += 1;
    }
    classes
};

/// A qualified name in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The place of its colon.
    colon: Option<usize>,
}

impl Name {
    pub(super) fn whole(self, window: &[u8]) -> &[u8] {
        &window[self.start..self.end]
    }

    /// Empty without one.
    pub(super) fn prefix(self, window: &[u8]) -> &[u8] {
        &window[self.start..self.colon.unwrap_or(self.start)]
    }

    pub(super) fn local(self, window: &[u8]) -> &[u8] {
        let start = self.colon.map_or(self.start, |colon| colon + 1);
        &window[start..self.end]
    }

    pub(super) fn has_prefix(self) -> bool {
        self.colon.is_some()
    }
}

/// The name at this place (Namespaces in XML 1.0, `QName`). It is followed by something.
pub(super) fn name(window: &[u8], start: usize, bytes_max: usize) -> Step<Name> {
    let mut colon = None;
    let mut end = start;
    let mut classes = 0;
    let mut wanted = START;
    loop {
        let Some(byte) = window.get(end) else {
            return Err(Stop::Short);
        };
        let class = CLASSES[usize::from(*byte)];
        if class & wanted == 0 {
            // Only a colon may follow, and another name behind it.
            if *byte != b':' || wanted == START || colon.is_some() {
                break;
            }
            colon = Some(end);
            wanted = START;
        } else {
            classes |= class;
            wanted = INSIDE;
        }
        end += 1;
    }
    let name = Name { start, end, colon };
    if wanted == START || window[end] == b':' || end - start > bytes_max {
        return doubt(start, "a name");
    }
    if classes & WIDE != 0 {
        let is_name = |part| std::str::from_utf8(part).is_ok_and(is_ncname);
        let prefix = name.prefix(window);
        if !is_name(name.local(window)) || !prefix.is_empty() && !is_name(prefix) {
            return doubt(start, "a name");
        }
    }
    Ok(name)
}

/// Past white space.
pub(super) fn spaces(window: &[u8], at: usize) -> usize {
    let mut at = at;
    while window.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// What stands in quotes at this place.
pub(super) fn quoted(window: &[u8], at: usize) -> Step<Range<usize>> {
    let quote = match window.get(at) {
        Some(quote @ (b'"' | b'\'')) => *quote,
        Some(_) => return doubt(at, "a value without quotes"),
        None => return Err(Stop::Short),
    };
    let start = at + 1;
    let length = memchr2(quote, b'<', &window[start..]).ok_or(Stop::Short)?;
    let end = start + length;
    if window[end] == b'<' {
        return doubt(end, "'<' in a value");
    }
    Ok(start..end)
}

/// Checks that all are characters. Is there a reference or a carriage return to be resolved?
pub(super) fn characters(text: &[u8], at: usize) -> Step<bool> {
    const CONTROL: u8 = 1;
    const AMPERSAND: u8 = 2;
    const NEAR_THE_END: u8 = 4;
    let mut found = 0;
    // Without a branch, so that many bytes are looked at together.
    for byte in text {
        let control = (*byte < 0x20) & (*byte != b'\t') & (*byte != b'\n');
        found |= u8::from(control) * CONTROL;
        found |= u8::from(*byte == b'&') * AMPERSAND;
        found |= u8::from(*byte == 0xEF) * NEAR_THE_END;
    }
    if found == 0 {
        return Ok(false);
    }
    if found & (CONTROL | NEAR_THE_END) != 0 {
        let is_allowed = std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_char));
        if !is_allowed {
            return doubt(at, "a character");
        }
    }
    Ok(text.iter().any(|byte| matches!(byte, b'&' | b'\r')))
}

/// Is `]]>` in the text, where it may not be?
pub(super) fn has_section_end(text: &[u8]) -> bool {
    memchr(b'>', text).is_some() && memmem::find(text, b"]]>").is_some()
}

/// Appends `text` with its references resolved and its line ends as XML has them (2.11). In an
/// attribute white space becomes blanks (3.3.3), but not what a reference stands for.
pub(super) fn resolve(text: &[u8], at: usize, is_attribute: bool, out: &mut Vec<u8>) -> Step<()> {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'&' => {
                let end = memchr(b';', rest).unwrap_or(rest.len());
                let reference = std::str::from_utf8(&rest[..end]).unwrap_or_default();
                let Some(c) = resolve_reference(reference).filter(|_| end < rest.len()) else {
                    return doubt(at, "a reference");
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[end + 1..];
            }
            b'\r' => {
                out.push(if is_attribute { b' ' } else { b'\n' });
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            b'\t' | b'\n' if is_attribute => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(text: &str, expected: Option<(&str, &str)>) {
        let window = text.as_bytes();
        let name = name(window, 0, 1024);
        let parts = name.ok().map(|name| {
            let text = |part: &[u8]| std::str::from_utf8(part).unwrap().to_owned();
            (text(name.prefix(window)), text(name.local(window)))
        });
        let expected = expected.map(|(prefix, local)| (prefix.to_owned(), local.to_owned()));
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn names() {
        check_name("a-1.b>", Some(("", "a-1.b")));
        check_name("p:größe ", Some(("p", "größe")));
        check_name("a\u{D7}>", Some(("", "a\u{D7}")).filter(|_| false));
        for bad in [
            ":a>",
            "a:>",
            "a:b:c>",
            "1a>",
            "a:1>",
            "->",
            ">",
            "p:\u{D7}>",
            "\u{300}a>",
        ] {
            check_name(bad, None);
        }
        assert_eq!(name(b"abc", 0, 1024).err(), Some(Stop::Short));
        assert!(name(b"abcd>", 0, 3).is_err());
    }

    #[test]
    fn characters_are_those_of_xml() {
        assert_eq!(characters("a\tä\n>".as_bytes(), 0), Ok(false));
        assert_eq!(characters("\u{FFFD}\u{F000}".as_bytes(), 0), Ok(false));
        assert_eq!(characters(b"a\rb", 0), Ok(true));
        assert_eq!(characters(b"a&b;", 0), Ok(true));
        for bad in [
            "\0",
            "\u{8}",
            "\u{1F}",
            "\u{FFFE}",
            "aaaaaaaaaaaaaaaaaaaa\u{FFFF}",
        ] {
            assert!(characters(bad.as_bytes(), 0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn references_and_line_ends() {
        let resolved = |text: &str, is_attribute| {
            let mut out = vec![];
            let done = resolve(text.as_bytes(), 0, is_attribute, &mut out);
            done.ok().map(|()| String::from_utf8(out).unwrap())
        };
        let text = "a&lt;&#xA;\r\n\r\tb&amp;amp;";
        assert_eq!(resolved(text, false).unwrap(), "a<\n\n\n\tb&amp;");
        assert_eq!(resolved(text, true).unwrap(), "a<\n   b&amp;");
        for bad in ["&", "&amp", "&x;", "&#0;", "&;", "a & b;"] {
            assert_eq!(resolved(bad, false), None, "{bad}");
        }
    }
}
