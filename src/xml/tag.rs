//! The inside of a start tag: a name and attributes, by the letter of XML 1.0.
//!
//! Works on the text between `<` and `>`. Says what is wrong and at which byte, so that the
//! caller can name the place; it knows nothing of namespaces or of what came before.

use super::XmlLimits;
use super::names::{is_space, resolve_reference};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'t> {
    pub(super) attributes: Vec<RawAttribute<'t>>,
    pub(super) name: &'t str,
}

/// An attribute as it is written, references not resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawAttribute<'t> {
    /// Behind its closing quote.
    pub(super) end: usize,
    pub(super) name: &'t str,
    pub(super) offset: usize,
    pub(super) value: &'t str,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadTag {
    pub(super) message: String,
    pub(super) offset: usize,
}

impl BadTag {
    fn new(offset: usize, message: impl Into<String>) -> BadTag {
        BadTag {
            message: message.into(),
            offset,
        }
    }
}

/// Splits a start tag. Names are cut out but not judged.
pub(super) fn parse<'t>(text: &'t str, limits: &XmlLimits) -> Result<Tag<'t>, BadTag> {
    let end = find(text, is_space_byte);
    let name = &text[..end];
    if name.is_empty() {
        return Err(BadTag::new(0, "a name is missing after '<'"));
    }
    if name.len() > limits.name_bytes_max {
        let bytes = limits.name_bytes_max;
        return Err(BadTag::new(
            0,
            format!("the name of the element is too long; expected are at most {bytes} bytes"),
        ));
    }
    let mut attributes = Vec::new();
    let mut offset = end;
    loop {
        let rest = past_space(&text[offset..]);
        if rest.is_empty() {
            return Ok(Tag { attributes, name });
        }
        let start = text.len() - rest.len();
        if start == offset {
            return Err(BadTag::new(
                start,
                "white space is missing before the attribute",
            ));
        }
        if attributes.len() == limits.attributes_max {
            let n = limits.attributes_max;
            return Err(BadTag::new(
                start,
                format!("the element has too many attributes; expected are at most {n}"),
            ));
        }
        let (attribute, next) = attribute_at(text, start, limits)?;
        attributes.push(attribute);
        offset = next;
    }
}

/// The value that an attribute stands for: references resolved, white space as spaces. The
/// value has been checked by [`parse`].
pub(super) fn resolve(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(stop) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..stop]);
        rest = &rest[stop..];
        let reference = rest.strip_prefix('&').and_then(|text| text.split_once(';'));
        if let Some((name, after)) = reference {
            value.extend(resolve_reference(name));
            rest = after;
        } else {
            let end_of_line = if rest.starts_with("\r\n") { 2 } else { 1 };
            value.push(' ');
            rest = &rest[end_of_line..];
        }
    }
    value.push_str(rest);
    value
}

/// The attribute that begins at `start`, and where the text goes on behind it.
fn attribute_at<'t>(
    text: &'t str,
    start: usize,
    limits: &XmlLimits,
) -> Result<(RawAttribute<'t>, usize), BadTag> {
    let rest = &text[start..];
    let name_end = find(rest, |b| {
        is_space_byte(b) || matches!(b, b'=' | b'"' | b'\'')
    });
    let name = &rest[..name_end];
    if name.len() > limits.name_bytes_max {
        let bytes = limits.name_bytes_max;
        return Err(BadTag::new(
            start,
            format!("the name of the attribute is too long; expected are at most {bytes} bytes"),
        ));
    }
    let after_name = past_space(&rest[name_end..]);
    let Some(quoted) = after_name.strip_prefix('=') else {
        return Err(BadTag::new(
            start,
            format!("the attribute \"{name}\" has no value"),
        ));
    };
    let quoted = past_space(quoted);
    let (quote, rest) = match quoted.as_bytes().first() {
        Some(quote @ (b'"' | b'\'')) => (*quote, &quoted[1..]),
        _ => {
            return Err(BadTag::new(
                start,
                format!("the value of the attribute \"{name}\" is not in quotes"),
            ));
        }
    };
    let length = find(rest, |b| b == quote);
    if length == rest.len() {
        return Err(BadTag::new(
            start,
            format!("the value of the attribute \"{name}\" is not closed"),
        ));
    }
    let value = &rest[..length];
    let value_offset = text.len() - rest.len();
    check_value(name, value, value_offset, limits)?;
    let end = value_offset + length + 1;
    let attribute = RawAttribute {
        end,
        name,
        offset: start,
        value,
    };
    Ok((attribute, end))
}

/// The first ASCII character that fits, or the text's end. Looks at bytes: what is searched for is
/// never a part of another character.
fn find(text: &str, fits: impl Fn(u8) -> bool) -> usize {
    let found = text.bytes().position(fits);
    found.unwrap_or(text.len())
}

fn is_space_byte(byte: u8) -> bool {
    is_space(char::from(byte))
}

fn past_space(text: &str) -> &str {
    &text[find(text, |b| !is_space_byte(b))..]
}

fn check_value(name: &str, value: &str, offset: usize, limits: &XmlLimits) -> Result<(), BadTag> {
    if value.len() > limits.attribute_bytes_max {
        return Err(BadTag::new(
            offset,
            format!(
                "the value of the attribute \"{name}\" is too long; expected are at most {} bytes",
                limits.attribute_bytes_max
            ),
        ));
    }
    let mut from = 0;
    loop {
        let at = from + find(&value[from..], |b| matches!(b, b'<' | b'&'));
        if at == value.len() {
            return Ok(());
        }
        if value[at..].starts_with('<') {
            return Err(BadTag::new(
                offset + at,
                format!("'<' in the value of the attribute \"{name}\""),
            ));
        }
        let reference = value[at + 1..].split(';').next().unwrap_or_default();
        if at + 1 + reference.len() == value.len() {
            return Err(BadTag::new(
                offset + at,
                "'&' without the ';' of a reference",
            ));
        }
        if resolve_reference(reference).is_none() {
            return Err(BadTag::new(offset + at, unknown_reference(reference)));
        }
        from = at + 1 + reference.len();
    }
}

/// Text and attributes speak of bad references alike.
pub(super) fn unknown_reference(reference: &str) -> String {
    if reference.starts_with('#') {
        format!("\"&{reference};\" stands for no character that XML allows")
    } else {
        format!("the entity \"{reference}\" is not declared")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let bad = parse(text, &XmlLimits::default()).unwrap_err();
        (bad.offset, bad.message)
    }

    #[test]
    fn names_and_values_come_out_as_written() {
        let tag = parse("p:a b = '\"&lt;' c=\"'\"\n", &XmlLimits::default()).unwrap();
        assert_eq!(tag.name, "p:a");
        let written: Vec<_> = tag
            .attributes
            .iter()
            .map(|a| (a.offset, a.name, a.value))
            .collect();
        assert_eq!(written, [(4, "b", "\"&lt;"), (16, "c", "'")]);
    }

    #[test]
    fn bad_tags_are_refused_at_their_place() {
        for (text, offset) in [
            ("a b", 2),
            ("a b=", 2),
            ("a b=c", 2),
            ("a b='c", 2),
            ("a b='c'd='e'", 7),
            ("a b='<'", 5),
            ("a b='x&y'", 6),
            ("a b='x&y;'", 6),
            ("a b='&#0;'", 5),
            ("a /", 2),
        ] {
            assert_eq!(refused(text).0, offset, "{text}: {}", refused(text).1);
        }
    }

    #[test]
    fn limits_hold() {
        let many: String = (0..1001).map(|n| format!(" a{n}='x'")).collect();
        assert_eq!(
            refused(&format!("e{many}")).1,
            "the element has too many attributes; expected are at most 1000"
        );
        let long = format!("e a='{}'", "x".repeat(64 * 1024 + 1));
        assert_eq!(
            refused(&long).1,
            "the value of the attribute \"a\" is too long; expected are at most 65536 bytes"
        );
        assert!(refused(&"n".repeat(1025)).1.contains("too long"));
    }

    #[test]
    fn values_resolve() {
        assert_eq!(resolve("a&#100;&lt;\r\nb\tc&amp;amp;"), "ad< b c&amp;");
    }
}
