//! A schema's document type declaration, and the text that is left when it has been carried out.
//!
//! Schemas are the operator's own, and some are published with an internal subset: their general
//! entities are replaced, everything else that is declared there is skipped, and the declaration
//! becomes blanks, so that lines stay where they are and every engine sees plain XML. Nothing
//! external is read: an external identifier is ignored, a reference to an external entity is a
//! fault (XML 1.0, 4.4). Number, nesting and size of what is replaced are bounded. What is well-formed
//! is for the reader of the plain text to say.

use std::collections::BTreeMap;

use super::Finding;
use super::decode;
use super::names::{is_ncname, is_space, resolve_reference};
use super::position::Position;

/// Published schemas declare fewer than ten.
const ENTITIES_MAX: usize = 1000;

/// How deep entities may lie in each other.
const NESTING_MAX: usize = 16;

/// What all references of one file together may become; each counts a byte more than its text.
const EXPANSION_BYTES_MAX: usize = 1024 * 1024;

/// What is declared, by name; `None`: it lies outside of the file.
type Entities<'t> = BTreeMap<&'t str, Option<String>>;

/// The text of a schema file, without a document type declaration.
pub(super) fn to_plain_text(bytes: &[u8]) -> Result<String, Finding> {
    let text = decode::to_text(bytes)?;
    let start = end_of_misc(&text);
    let Some(declaration) = text[start..].strip_prefix("<!DOCTYPE") else {
        return Ok(text);
    };
    let mut scanner = Scanner { rest: declaration };
    let entities = scanner.declaration().map_err(|message| {
        let read = &text[..text.len() - scanner.rest.len()];
        Position::start().after(read.as_bytes()).finding(&message)
    })?;
    let end = text.len() - scanner.rest.len();
    let mut plain = text[..start].to_owned();
    plain.extend(text[start..end].chars().map(blank));
    let mut expansion = Expansion {
        bytes_left: EXPANSION_BYTES_MAX,
        entities: &entities,
        open: Vec::new(),
        plain,
    };
    match expansion.content(&text[end..]) {
        Ok(()) => Ok(expansion.plain),
        Err(message) => Err(Position::start()
            .after(expansion.plain.as_bytes())
            .finding(&message)),
    }
}

fn blank(c: char) -> char {
    if matches!(c, '\r' | '\n') { c } else { ' ' }
}

/// Where the XML declaration, comments and processing instructions at the beginning end.
fn end_of_misc(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        let after = match rest {
            _ if rest.starts_with("<?") => rest.split_once("?>"),
            _ if rest.starts_with("<!--") => rest.split_once("-->"),
            _ => None,
        };
        match after {
            Some((_, after)) => rest = after,
            None => return text.len() - rest.len(),
        }
    }
}

/// Reads a document type declaration (XML 1.0, 2.8) from behind `<!DOCTYPE`.
struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    fn declaration(&mut self) -> Result<Entities<'t>, String> {
        self.space()?;
        self.word();
        self.skip_space();
        if self.takes("SYSTEM") {
            self.literal()?;
        } else if self.takes("PUBLIC") {
            self.literal()?;
            self.literal()?;
        }
        self.skip_space();
        let mut entities = Entities::new();
        if self.takes("[") {
            self.subset(&mut entities)?;
            self.skip_space();
        }
        self.expect(">")?;
        Ok(entities)
    }

    fn subset(&mut self, entities: &mut Entities<'t>) -> Result<(), String> {
        loop {
            self.skip_space();
            if self.takes("]") {
                return Ok(());
            } else if self.takes("<!--") {
                self.past("-->")?;
            } else if self.takes("<?") {
                self.past("?>")?;
            } else if self.takes("%") {
                self.past(";")?;
            } else if self.takes("<!ENTITY") {
                self.entity(entities)?;
            } else if ["<!ATTLIST", "<!ELEMENT", "<!NOTATION"]
                .iter()
                .any(|keyword| self.takes(keyword))
            {
                self.end_of_declaration()?;
            } else {
                return Err("the document type declaration is not well-formed".to_owned());
            }
        }
    }

    /// The first declaration of a name is the one that counts (XML 1.0, 4.2).
    fn entity(&mut self, entities: &mut Entities<'t>) -> Result<(), String> {
        self.space()?;
        if self.takes("%") {
            return self.end_of_declaration();
        }
        let name = self.word();
        if !is_ncname(name) {
            return Err(format!("\"{name}\" is not the name of an entity"));
        }
        self.space()?;
        let value = match self.rest.starts_with(['"', '\'']) {
            true => Some(replacement_text(self.literal()?)?),
            false => None,
        };
        self.end_of_declaration()?;
        if entities.len() == ENTITIES_MAX {
            return Err(format!("more than {ENTITIES_MAX} entities are declared"));
        }
        entities.entry(name).or_insert(value);
        Ok(())
    }

    /// Past the `>` that ends the declaration; one in a literal does not.
    fn end_of_declaration(&mut self) -> Result<(), String> {
        loop {
            let stop = self.rest.find(['>', '"', '\'']).unwrap_or(self.rest.len());
            self.rest = &self.rest[stop..];
            if self.takes(">") {
                return Ok(());
            }
            self.literal()?;
        }
    }

    fn literal(&mut self) -> Result<&'t str, String> {
        self.skip_space();
        let quote = self.rest.chars().next();
        let quote = quote.filter(|c| matches!(c, '"' | '\''));
        let quoted = quote.and_then(|quote| self.rest[1..].split_once(quote));
        let (value, rest) = quoted.ok_or("a literal in quotes is expected")?;
        self.rest = rest;
        Ok(value)
    }

    fn word(&mut self) -> &'t str {
        let ends = |c: char| is_space(c) || matches!(c, '[' | '>' | '"' | '\'');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn takes(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        let there = self.takes(text);
        there
            .then_some(())
            .ok_or_else(|| format!("\"{text}\" is expected in the document type declaration"))
    }

    fn past(&mut self, end: &str) -> Result<(), String> {
        let (_, rest) = (self.rest.split_once(end))
            .ok_or_else(|| format!("\"{end}\" is missing in the document type declaration"))?;
        self.rest = rest;
        Ok(())
    }

    fn space(&mut self) -> Result<(), String> {
        let there = self.rest.starts_with(is_space);
        self.skip_space();
        there
            .then_some(())
            .ok_or_else(|| "white space is missing in the document type declaration".to_owned())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(is_space);
    }
}

/// What a reference to an entity becomes: references to characters are resolved where it is
/// declared (XML 1.0, 4.5). A line end becomes a blank, so that lines stay where they are.
fn replacement_text(value: &str) -> Result<String, String> {
    if value.contains('%') {
        return Err("a parameter entity inside a declaration is not accepted".to_owned());
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("&#") {
        text.push_str(&rest[..at]);
        let reference = rest[at + 1..].split_once(';');
        let character = reference.and_then(|(name, _)| resolve_reference(name));
        let (Some(character), Some((_, after))) = (character, reference) else {
            return Err("a reference to a character is malformed".to_owned());
        };
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Ok(text.replace(['\r', '\n'], " "))
}

/// The text behind the declaration, with every reference to a declared entity replaced.
struct Expansion<'e> {
    bytes_left: usize,
    entities: &'e Entities<'e>,
    /// The entities that are being replaced, outermost first.
    open: Vec<&'e str>,
    plain: String,
}

impl<'e> Expansion<'e> {
    /// Text and markup. Nothing is replaced in comments, processing instructions and CDATA sections.
    fn content(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '&']) {
            self.plain.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = match rest {
                _ if rest.starts_with('&') => self.reference(rest, Expansion::content)?,
                _ if rest.starts_with("<!--") => self.copy_past(rest, "-->"),
                _ if rest.starts_with("<![CDATA[") => self.copy_past(rest, "]]>"),
                _ if rest.starts_with("<?") => self.copy_past(rest, "?>"),
                _ => self.tag(rest)?,
            };
        }
        self.plain.push_str(rest);
        Ok(())
    }

    fn copy_past<'t>(&mut self, rest: &'t str, end: &str) -> &'t str {
        let length = rest.find(end).map_or(rest.len(), |at| at + end.len());
        self.plain.push_str(&rest[..length]);
        &rest[length..]
    }

    /// Copies a tag with its attributes' values replaced; says what is behind it.
    fn tag<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        let mut rest = text;
        while let Some(at) = rest.find(['>', '"', '\'']) {
            let (before, after) = rest.split_at(at + 1);
            self.plain.push_str(before);
            let quote = match before.as_bytes()[at] {
                b'>' => return Ok(after),
                quote => char::from(quote),
            };
            let end = after.find(quote).unwrap_or(after.len());
            self.value(&after[..end], |plain, text| plain.push_str(text))?;
            rest = after[end..].strip_prefix(quote).unwrap_or_default();
            if end < after.len() {
                self.plain.push(quote);
            }
        }
        self.plain.push_str(rest);
        Ok("")
    }

    fn value(&mut self, text: &str, push: fn(&mut String, &str)) -> Result<(), String> {
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            push(&mut self.plain, &rest[..at]);
            // A quote in an entity does not end the value (XML 1.0, 4.4.5).
            rest = self.reference(&rest[at..], |expansion, text| {
                expansion.value(text, push_quoted)
            })?;
        }
        push(&mut self.plain, rest);
        Ok(())
    }

    /// Replaces the reference at the beginning of `text` and says what is behind it. One that is not
    /// to an entity of the declaration is left to the reader of the plain text.
    fn reference<'t>(
        &mut self,
        text: &'t str,
        expand: fn(&mut Self, &'e str) -> Result<(), String>,
    ) -> Result<&'t str, String> {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let after = text[1..].trim_start_matches(is_part);
        let name = &text[1..text.len() - after.len()];
        let entities = self.entities;
        let declared = entities.get_key_value(name);
        let is_known = resolve_reference(name).is_some() || !after.starts_with(';');
        let Some((name, value)) = declared.filter(|_| !is_known) else {
            self.plain.push('&');
            return Ok(&text[1..]);
        };
        let value = value.as_ref().ok_or_else(|| {
            format!("the entity \"{name}\" lies outside of the file and is not read")
        })?;
        if self.open.contains(name) {
            return Err(format!("the entity \"{name}\" contains itself"));
        }
        if self.open.len() == NESTING_MAX {
            return Err("entities are nested too deeply".to_owned());
        }
        self.bytes_left = (self.bytes_left.checked_sub(value.len() + 1))
            .ok_or_else(|| format!("entities become more than {EXPANSION_BYTES_MAX} bytes"))?;
        self.open.push(name);
        expand(self, value)?;
        self.open.pop();
        Ok(&after[1..])
    }
}

fn push_quoted(plain: &mut String, text: &str) {
    plain.push_str(&text.replace('"', "&#34;").replace('\'', "&#39;"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Source, XmlLimits, inspect};

    fn plain(text: &str) -> String {
        let plain =
            to_plain_text(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        inspect(&Source::Memory(plain.as_bytes()), &XmlLimits::default())
            .unwrap_or_else(|error| panic!("{error}: {plain}"));
        plain
    }

    fn refused(text: &str) -> String {
        to_plain_text(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn entities_are_replaced_and_lines_and_columns_stay() {
        let text = "\u{FEFF}<?xml version='1.0'?>\r\n<!-- <!DOCTYPE x> --><!DOCTYPE s PUBLIC '-//W3C//ü>' \
                    \"http://h/x.dtd\"\n [<!ATTLIST s a CDATA #FIXED '>]'>\n<!ENTITY n 'urn:n'> <?p ]>?>\
                    <!-- ] <!ENTITY n 'no'> --><!ENTITY % p '<x'> %p; <!ELEMENT s ANY><!NOTATION o SYSTEM 'o'>\
                    <!ENTITY n 'later'><!ENTITY o SYSTEM 'file:///etc/passwd'>] >\n<s a='&n;' b=\"&n;#&lt;\">&n;</s>";
        let plain = plain(text);
        assert!(
            plain.ends_with("\n<s a='urn:n' b=\"urn:n#&lt;\">urn:n</s>"),
            "{plain}"
        );
        assert!(!plain.contains("DOCTYPE s") && !plain.contains("ENTITY"));
        let lines = |text: &str| {
            text.lines()
                .map(|line| line.chars().count())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&plain)[..4], lines(&text[3..])[..4]);
    }

    #[test]
    fn an_entity_may_hold_markup_quotes_lines_and_other_entities() {
        let head = "<!DOCTYPE s [<!ENTITY in \"<b c='&q;'/>\"><!ENTITY q '\"&#39;&#38;amp;'>\
                    <!ENTITY lines 'a\nb'><!ENTITY esc '&#38;#60;'>]>";
        let behind = |body: &str| plain(&format!("{head}{body}")).split_off(head.len());
        assert_eq!(
            behind("<s a=\"&q;\">&in;&lines;&esc;</s>"),
            "<s a=\"&#34;&#39;&amp;\"><b c='&#34;&#39;&amp;'/>a b&#60;</s>"
        );
        let untouched = "<s><!--&in;--><?p &in;?><![CDATA[&in;]]>&amp;&#65;&gt;</s>";
        assert_eq!(behind(untouched), untouched);
    }

    #[test]
    fn what_is_outside_recursive_or_without_bounds_is_refused() {
        let with = |subset: &str| format!("<!DOCTYPE s [{subset}]>\n<s>\n&a;</s>");
        for (subset, expected) in [
            (
                "<!ENTITY a '&b;'><!ENTITY b '&a;'>",
                "3:1: the entity \"a\" contains itself",
            ),
            (
                "<!ENTITY a SYSTEM '/etc/passwd'>",
                "3:1: the entity \"a\" lies outside of the file",
            ),
            (
                "<!ENTITY a '%p;'>",
                "1:30: a parameter entity inside a declaration",
            ),
            (
                "<!ENTITY a '&#0;'>",
                "a reference to a character is malformed",
            ),
            ("<!ENTITY a 'x>", "a literal in quotes is expected"),
            ("<!ENTITY a:b 'x'>", "\"a:b\" is not the name of an entity"),
            (
                "<!WRONG>",
                "1:14: the document type declaration is not well-formed",
            ),
            ("<!-- ", "is missing in the document type declaration"),
        ] {
            let found = refused(&with(subset));
            assert!(found.contains(expected), "{subset}: {found}");
        }
        let chain = |count: usize, of: &dyn Fn(usize) -> String| -> String {
            let link = |n: usize| format!("<!ENTITY e{n} '{}'>", of(n + 1));
            let links: String = (0..count).map(link).collect();
            with(&format!("<!ENTITY a '&e0;'>{links}<!ENTITY e{count} ''>"))
        };
        let laughs = chain(14, &|n| format!("&e{n};").repeat(10));
        assert!(
            refused(&laughs).contains("entities become more than"),
            "{laughs}"
        );
        assert!(refused(&chain(20, &|n| format!("&e{n};"))).contains("nested too deeply"));
        assert!(refused(&chain(1001, &|_| String::new())).contains("more than 1000 entities"));
        for cut in [
            "<!DOCTYPE",
            "<!DOCTYPE s",
            "<!DOCTYPE s [",
            "<!DOCTYPE s SYSTEM",
            "<!DOCTYPE s []",
        ] {
            refused(cut);
        }
    }

    #[test]
    fn any_text_is_answered() {
        let text = "<!DOCTYPE s [<!ENTITY a \"x&#65;&b;\"><!ENTITY b '<q r=\"ü\"/>'>]><s t='&a;'>&b;&a</s>";
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = to_plain_text(&text.as_bytes()[..end]);
            let without = format!(
                "{}{}",
                &text[..end],
                text[end..].chars().skip(1).collect::<String>()
            );
            let _ = to_plain_text(without.as_bytes());
        }
    }
}
