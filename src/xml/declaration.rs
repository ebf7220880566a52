//! The XML declaration, `<?xml version="1.0" encoding="…" standalone="…"?>`.
//!
//! Read twice: by the decoder, which needs the encoding before there are any characters, and by
//! the well-formedness check, which wants every rule kept. The parser is strict and pure; it
//! says where in its text it stopped, and never looks beyond the text that it is given.

use std::ops::Range;

use super::names::is_space;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declaration<'t> {
    pub(super) encoding: Option<&'t str>,
    /// The bytes of the whole `encoding="…"`, counted in the text that was parsed.
    pub(super) encoding_span: Range<usize>,
}

/// Why a declaration is refused, and at which byte of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadDeclaration {
    pub(super) offset: usize,
    pub(super) message: &'static str,
}

/// Parses what stands between `<?` and `?>`, beginning with `xml`.
pub(super) fn parse(text: &str) -> Result<Declaration<'_>, BadDeclaration> {
    let mut scanner = Scanner {
        text,
        offset: "xml".len(),
    };
    let (name, version, _) = scanner
        .item()?
        .ok_or(scanner.bad("the XML declaration needs a version"))?;
    if name != "version" {
        return Err(scanner.bad("the XML declaration must begin with the version"));
    }
    if version != "1.0" {
        return Err(scanner.bad("only XML version 1.0 is accepted"));
    }
    let mut declaration = Declaration {
        encoding: None,
        encoding_span: 0..0,
    };
    let mut item = scanner.item()?;
    if let Some(("encoding", value, span)) = item {
        if !is_encoding_name(value) {
            return Err(scanner.bad("the name of the encoding is not well-formed"));
        }
        declaration.encoding = Some(value);
        declaration.encoding_span = span;
        item = scanner.item()?;
    }
    if let Some(("standalone", value, _)) = item {
        if value != "yes" && value != "no" {
            return Err(scanner.bad("standalone must be \"yes\" or \"no\""));
        }
        item = scanner.item()?;
    }
    match item {
        Some(_) => {
            Err(scanner
                .bad("the XML declaration has version, encoding and standalone, in this order"))
        }
        None => Ok(declaration),
    }
}

fn is_encoding_name(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// A name, its value, and the bytes of both.
type Item<'t> = (&'t str, &'t str, Range<usize>);

struct Scanner<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Scanner<'t> {
    /// The next `name="value"` with its span, or `None` at the end of the declaration.
    fn item(&mut self) -> Result<Option<Item<'t>>, BadDeclaration> {
        let spaces = self.skip_spaces();
        if self.rest().is_empty() {
            return Ok(None);
        }
        if spaces == 0 {
            return Err(self.bad("white space is missing in the XML declaration"));
        }
        let start = self.offset;
        let name = self.take_while(|c| c.is_ascii_alphabetic());
        self.skip_spaces();
        if !self.eat('=') {
            return Err(self.bad("'=' is missing in the XML declaration"));
        }
        self.skip_spaces();
        let quote = match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => quote,
            _ => return Err(self.bad("a quoted value is missing in the XML declaration")),
        };
        self.eat(quote);
        let value = self.take_while(|c| c != quote);
        if !self.eat(quote) {
            return Err(self.bad("a value in the XML declaration is not closed"));
        }
        Ok(Some((name, value, start..self.offset)))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.offset..]
    }

    fn skip_spaces(&mut self) -> usize {
        self.take_while(is_space).len()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.offset += end;
        &rest[..end]
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.offset += c.len_utf8();
        }
        found
    }

    fn bad(&self, message: &'static str) -> BadDeclaration {
        BadDeclaration {
            offset: self.offset,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_and_where_it_stands() {
        let text = "xml version='1.0' encoding = \"UTF-8\" standalone='no' ";
        let declaration = parse(text).unwrap();
        assert_eq!(declaration.encoding, Some("UTF-8"));
        assert_eq!(&text[declaration.encoding_span], "encoding = \"UTF-8\"");
        assert_eq!(parse("xml version=\"1.0\"").unwrap().encoding, None);
    }

    #[test]
    fn every_rule_of_the_declaration() {
        for bad in [
            "xml",
            "xml version='1.1'",
            "xml version='2.0'",
            "xml version=1.0",
            "xml version='1.0",
            "xml encoding='UTF-8'",
            "xml version='1.0'encoding='UTF-8'",
            "xml version='1.0' encoding='-x'",
            "xml version='1.0' encoding=''",
            "xml version='1.0' standalone='maybe'",
            "xml version='1.0' standalone='yes' encoding='UTF-8'",
            "xml version='1.0' version='1.0'",
            "xml version='1.0' colour='red'",
            "xml version='1.0' ?",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
