//! What may stand in a document: tags, text, comments, processing instructions, CDATA sections
//! (XML 1.0, chapter 2). Document type declarations are left to the full engine.

use memchr::{memchr, memmem};

use crate::xml::declaration;
use crate::xml::tables::simple::whitespace::is_space;

use super::scan::{characters, name, spaces};
use super::{Pass, Step, Stop, doubt};

impl Pass<'_> {
    /// Reads what begins at this place; where the next begins.
    pub(super) fn next(&mut self, at: usize) -> Step<usize> {
        let rest = &self.window[at..];
        if !self.state.is_begun {
            return self.begin(rest);
        }
        match rest {
            [b'<', b'/', ..] => self.end_tag(at),
            [b'<', b'?', ..] => self.instruction(at),
            [b'<', b'!', ..] => self.declared(at, rest),
            [b'<', _, ..] => self.open_tag(at),
            [b'<'] => Err(Stop::Short),
            _ => self.text_run(at, rest),
        }
    }

    /// The XML declaration.
    fn begin(&mut self, markup: &[u8]) -> Step<usize> {
        const DECLARATION: &[u8] = b"<?xml ";
        if markup.len() < DECLARATION.len() && !self.is_last {
            return Err(Stop::Short);
        }
        if !markup.starts_with(b"<?xml") || !markup.get(5).is_some_and(|byte| is_space(*byte)) {
            self.state.is_begun = true;
            return Ok(0);
        }
        let length = memmem::find(markup, b"?>").ok_or(Stop::Short)?;
        let text = std::str::from_utf8(&markup[2..length]).unwrap_or_default();
        let is_utf8 = declaration::parse(text).is_ok_and(|declaration| {
            let encoding = declaration.encoding;
            encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("utf-8"))
        });
        characters(text.as_bytes(), 0)?;
        if !is_utf8 {
            return doubt(0, "the XML declaration");
        }
        self.state.is_begun = true;
        Ok(length + 2)
    }

    /// What begins with `<!`.
    fn declared(&mut self, at: usize, rest: &[u8]) -> Step<usize> {
        const COMMENT: &[u8] = b"<!--";
        const SECTION: &[u8] = b"<![CDATA[";
        if rest.starts_with(COMMENT) {
            return self.comment(at);
        }
        if let Some(section) = rest.strip_prefix(SECTION) {
            let length = memmem::find(section, b"]]>").ok_or(Stop::Short)?;
            let start = at + SECTION.len();
            self.section(start..start + length)?;
            return Ok(start + length + 3);
        }
        if COMMENT.starts_with(rest) || SECTION.starts_with(rest) {
            return Err(Stop::Short);
        }
        doubt(at, "a document type declaration")
    }

    fn comment(&mut self, at: usize) -> Step<usize> {
        let start = at + 4;
        let length = memmem::find(&self.window[start..], b"--").ok_or(Stop::Short)?;
        let end = start + length;
        match self.window.get(end + 2) {
            Some(b'>') => {}
            Some(_) => return doubt(end, "'--' in a comment"),
            None => return Err(Stop::Short),
        }
        self.aside(start, end)?;
        Ok(end + 3)
    }

    fn instruction(&mut self, at: usize) -> Step<usize> {
        let target = name(self.window, at + 2, self.limits.name_bytes_max)?;
        let end = target.end;
        let is_reserved = target.whole(self.window).eq_ignore_ascii_case(b"xml");
        if target.has_prefix() || is_reserved {
            return doubt(at, "the target of a processing instruction");
        }
        let length = memmem::find(&self.window[end..], b"?>").ok_or(Stop::Short)?;
        if length > 0 && !is_space(self.window[end]) {
            return doubt(at, "a processing instruction");
        }
        self.aside(end, end + length)?;
        Ok(end + length + 2)
    }

    /// What has no meaning for validity.
    fn aside(&self, start: usize, end: usize) -> Step<()> {
        if end - start > self.limits.text_bytes_max {
            return doubt(start, "longer than the limits allow");
        }
        characters(&self.window[start..end], start).map(|_| ())
    }

    fn end_tag(&mut self, at: usize) -> Step<usize> {
        let length = memchr(b'>', &self.window[at..]).ok_or(Stop::Short)?;
        let end = at + length;
        let Some(open) = self.state.stack.last() else {
            return doubt(at, "an end tag without its element");
        };
        let name = &self.state.open_names[open.name..];
        let rest = self.window[at + 2..end].strip_prefix(name);
        if rest.is_none_or(|rest| spaces(rest, 0) != rest.len()) {
            return doubt(at, "an end tag of another element");
        }
        self.close(at)?;
        Ok(end + 1)
    }
}
