//! White space in values (Part 2, 4.3.6).

use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xml::tables) enum Whitespace {
    Collapse,
    Preserve,
    Replace,
}

pub(in crate::xml::tables) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Without the white space at both ends.
pub(in crate::xml::tables) fn trim(value: &[u8]) -> &[u8] {
    let Some(start) = value.iter().position(|byte| !is_space(*byte)) else {
        return b"";
    };
    let end = value.iter().rposition(|byte| !is_space(*byte));
    &value[start..=end.unwrap_or(start)]
}

impl Whitespace {
    pub(super) fn normalize(self, raw: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Whitespace::Collapse => collapse(raw),
            Whitespace::Preserve => Cow::Borrowed(raw),
            Whitespace::Replace => replace(raw),
        }
    }
}

fn replace(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.iter().all(|byte| *byte == b' ' || !is_space(*byte)) {
        return Cow::Borrowed(raw);
    }
    let blank = |byte: &u8| if is_space(*byte) { b' ' } else { *byte };
    Cow::Owned(raw.iter().map(blank).collect())
}

fn collapse(raw: &[u8]) -> Cow<'_, [u8]> {
    let value = trim(raw);
    // Nearly always there is nothing inside.
    let mut pairs = value.iter().zip(value.iter().skip(1));
    let is_clean = pairs.all(|(a, b)| !is_space(*a) || *a == b' ' && !is_space(*b));
    if is_clean {
        return Cow::Borrowed(value);
    }
    let words = value.split(|byte| is_space(*byte));
    let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(&b' '))
}
