//! The character classes of XML 1.0 (fifth edition) and of Namespaces in XML 1.0.
//!
//! Pure functions over text that is already UTF-8: which characters may appear at all, what a
//! name is, what a qualified name is, what a reference stands for.

pub(super) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
pub(super) const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";
pub(super) const XSI_NAMESPACE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// `Char`: what may appear in a document, written out or as a character reference.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// `S`: the four characters that XML calls white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `NCName`: a name without a colon.
pub(super) fn is_ncname(text: &str) -> bool {
    // Most names are ASCII.
    let ascii = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if text.bytes().all(ascii) {
        let first = text.bytes().next();
        return first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    }
    let mut chars = text.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

/// Splits a `QName` into prefix (empty without one) and local part.
pub(super) fn split_qname(text: &str) -> Option<(&str, &str)> {
    match text.split_once(':') {
        Some((prefix, local)) => (is_ncname(prefix) && is_ncname(local)).then_some((prefix, local)),
        None => is_ncname(text).then_some(("", text)),
    }
}

/// The character that a reference (the text between `&` and `;`) stands for. There are no
/// entities besides the five of XML itself, because no document type declaration is accepted.
pub(super) fn resolve_reference(reference: &str) -> Option<char> {
    let code = match reference {
        "amp" => return Some('&'),
        "apos" => return Some('\''),
        "gt" => return Some('>'),
        "lt" => return Some('<'),
        "quot" => return Some('"'),
        _ => reference.strip_prefix('#')?,
    };
    let (digits, radix) = match code.strip_prefix('x') {
        Some(hexadecimal) => (hexadecimal, 16),
        None => (code, 10),
    };
    // `from_str_radix` alone would take a sign.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(digits, radix).ok()?;
    char::from_u32(number).filter(|&c| is_char(c))
}

/// `NameStartChar`, without the colon.
pub(super) fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
        | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}'
        | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar`, without the colon.
pub(super) fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}'
            | '\u{203F}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualified_names() {
        assert_eq!(split_qname("a"), Some(("", "a")));
        assert_eq!(split_qname("p:größe-1.x"), Some(("p", "größe-1.x")));
        for bad in [
            "", ":", "a:", ":a", "a:b:c", "1a", "a:1", "-a", "a b", "a\u{D7}",
        ] {
            assert_eq!(split_qname(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn references() {
        assert_eq!(resolve_reference("lt"), Some('<'));
        assert_eq!(resolve_reference("#65"), Some('A'));
        assert_eq!(resolve_reference("#x1D11E"), Some('𝄞'));
        for bad in [
            "",
            "#",
            "#x",
            "nbsp",
            "#0",
            "#1",
            "#xD800",
            "#xFFFE",
            "#x110000",
            "#+65",
            "#X41",
            "#99999999999",
        ] {
            assert_eq!(resolve_reference(bad), None, "{bad:?}");
        }
    }
}
