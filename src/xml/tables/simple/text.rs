//! The lexical forms of names and other text (Part 2, 3.3).

use crate::xml::names::{is_name_char, is_name_start, is_ncname};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xml::tables) enum Lexical {
    Any,
    Id,
    IdReference,
    Language,
    Name,
    NameToken,
    NameWithoutColon,
    Uri,
}

impl Lexical {
    pub(super) fn fits(self, value: &[u8]) -> bool {
        match self {
            Lexical::Any | Lexical::Uri => true,
            Lexical::Id | Lexical::IdReference | Lexical::NameWithoutColon => {
                std::str::from_utf8(value).is_ok_and(is_ncname)
            }
            Lexical::Language => is_language(value),
            Lexical::Name => std::str::from_utf8(value).is_ok_and(|text| {
                let is_char = |c| c == ':' || is_name_char(c);
                text.starts_with(|c| c == ':' || is_name_start(c)) && text.chars().all(is_char)
            }),
            Lexical::NameToken => std::str::from_utf8(value).is_ok_and(|text| {
                !text.is_empty() && text.chars().all(|c| c == ':' || is_name_char(c))
            }),
        }
    }
}

/// `[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*`
fn is_language(value: &[u8]) -> bool {
    value
        .split(|byte| *byte == b'-')
        .enumerate()
        .all(|(n, part)| {
            let is_allowed = |b: &u8| b.is_ascii_alphabetic() || n > 0 && b.is_ascii_digit();
            (1..=8).contains(&part.len()) && part.iter().all(is_allowed)
        })
}

/// Prefix, empty without one, and local name.
pub(in crate::xml::tables) fn split_qualified(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = std::str::from_utf8(value).ok()?;
    let (prefix, local) = crate::xml::names::split_qname(text)?;
    Some((prefix.as_bytes(), local.as_bytes()))
}

/// How many characters of UTF-8.
pub(super) fn characters(value: &[u8]) -> usize {
    value.iter().filter(|byte| (**byte as i8) >= -64).count()
}
