//! Names, white space, characters and references, by the letter of XML 1.0.

use std::ops::Range;

use memchr::memchr;

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

/// Has to be looked at in a value: markup, a reference, white space that is no blank, what may be
/// no character.
static IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut n = 0;
    while n < 256 {
        special[n] = n < 0x20 || n == b'<' as usize || n == b'&' as usize || n == 0xEF;
        n += 1;
    }
    special
};

/// What stands in quotes, as it is written.
pub(super) struct Quoted {
    pub(super) inside: Range<usize>,
    /// There is nothing in it to resolve.
    pub(super) is_plain: bool,
}

/// The value of an attribute at this place.
pub(super) fn quoted(window: &[u8], at: usize) -> Step<Quoted> {
    let quote = match window.get(at) {
        Some(quote @ (b'"' | b'\'')) => *quote,
        Some(_) => return doubt(at, "a value without quotes"),
        None => return Err(Stop::Short),
    };
    let start = at + 1;
    let mut end = start;
    let mut has_special = false;
    // Values are short: one look at each byte is faster than a search and then another look.
    loop {
        match window.get(end) {
            Some(byte) if *byte == quote => break,
            Some(byte) => has_special |= IS_SPECIAL[usize::from(*byte)],
            None => return Err(Stop::Short),
        }
        end += 1;
    }
    let mut is_plain = true;
    if has_special {
        let text = &window[start..end];
        if memchr(b'<', text).is_some() {
            return doubt(at, "'<' in a value");
        }
        let found = characters(text, start)?;
        let is_blank = |byte: &u8| matches!(byte, b'\t' | b'\n');
        is_plain = !found.needs_resolving && !text.iter().any(is_blank);
    }
    let inside = start..end;
    Ok(Quoted { inside, is_plain })
}

/// What is special in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// There is a reference, or a carriage return.
    pub(super) needs_resolving: bool,
    /// There is a `>`.
    pub(super) has_greater: bool,
}

/// Checks that all are characters.
pub(super) fn characters(text: &[u8], at: usize) -> Step<Found> {
    const CONTROL: u8 = 1;
    const AMPERSAND: u8 = 2;
    const NEAR_THE_END: u8 = 4;
    const GREATER: u8 = 8;
    let mut found = 0;
    // Without a branch, so that many bytes are looked at together.
    for byte in text {
        let control = (*byte < 0x20) & (*byte != b'\t') & (*byte != b'\n');
        found |= u8::from(control) * CONTROL;
        found |= u8::from(*byte == b'&') * AMPERSAND;
        found |= u8::from(*byte == 0xEF) * NEAR_THE_END;
        found |= u8::from(*byte == b'>') * GREATER;
    }
    if found & (CONTROL | NEAR_THE_END) != 0 {
        let is_allowed = std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_char));
        if !is_allowed {
            return doubt(at, "a character");
        }
    }
    let needs_resolving = match found & (CONTROL | AMPERSAND) {
        0 => false,
        _ => text.iter().any(|byte| matches!(byte, b'&' | b'\r')),
    };
    Ok(Found {
        needs_resolving,
        has_greater: found & GREATER != 0,
    })
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
        let found = |text: &str| {
            let found = characters(text.as_bytes(), 0).unwrap();
            (found.needs_resolving, found.has_greater)
        };
        assert_eq!(found("a\tä\n>"), (false, true));
        assert_eq!(found("\u{FFFD}\u{F000}"), (false, false));
        assert_eq!(found("a\rb"), (true, false));
        assert_eq!(found("a&b;"), (true, false));
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
    fn values_stand_in_quotes() {
        let value = |text: &str| {
            let quoted = quoted(text.as_bytes(), 0).ok()?;
            Some((text[quoted.inside].to_owned(), quoted.is_plain))
        };
        let plain = |text: &str, is_plain| Some((text.to_owned(), is_plain));
        assert_eq!(value("'a\"ä'b"), plain("a\"ä", true));
        assert_eq!(value("\"\u{FFFD} '\""), plain("\u{FFFD} '", true));
        for resolved in ["a\tb", "a\nb", "a\rb", "&lt;"] {
            assert_eq!(value(&format!("'{resolved}'")), plain(resolved, false));
        }
        for bad in ["a", "'a", "'<'", "'\u{1}'", "'\u{FFFE}'"] {
            assert_eq!(value(bad), None, "{bad:?}");
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
