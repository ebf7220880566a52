//! Text: what of it is kept, and where it may stand.

use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use crate::xml::tables::component::Content;
use crate::xml::tables::simple::whitespace::is_space;

use super::scan::{characters, resolve};
use super::{Pass, Step, Stop, doubt};

/// The text of the open element that has simple content, or a count of it elsewhere.
#[derive(Debug, Default)]
pub(super) struct Text {
    n_pieces: usize,
    /// Since the last tag, as it is written.
    n_bytes: usize,
    /// Where the only piece is in the window, as long as it is the only one and nothing in it has
    /// to be resolved.
    piece: Range<usize>,
    /// Otherwise all pieces.
    buffer: Vec<u8>,
    is_buffered: bool,
}

impl Text {
    pub(super) fn clear(&mut self) {
        self.n_pieces = 0;
        self.n_bytes = 0;
        self.piece = 0..0;
        self.buffer.clear();
        self.is_buffered = false;
    }

    pub(super) fn is_absent(&self) -> bool {
        self.n_pieces == 0
    }

    pub(super) fn value<'a>(&'a self, window: &'a [u8]) -> &'a [u8] {
        if self.is_buffered {
            &self.buffer
        } else {
            &window[self.piece.clone()]
        }
    }

    /// Copies what is in the window, which goes away.
    pub(super) fn keep(&mut self, window: &[u8]) {
        if self.n_pieces > 0 && !self.is_buffered {
            self.buffer.extend_from_slice(&window[self.piece.clone()]);
            self.is_buffered = true;
        }
        self.piece = 0..0;
    }
}

impl Pass<'_> {
    /// The text from here to the next markup, or as far as it can be understood.
    pub(super) fn text_run(&mut self, at: usize, rest: &[u8]) -> Step<usize> {
        let length = match memchr(b'<', rest) {
            Some(length) => length,
            None if self.is_last => rest.len(),
            None => understood(rest),
        };
        if length == 0 {
            return Err(Stop::Short);
        }
        let run = at..at + length;
        let found = characters(&rest[..length], at)?;
        if found.has_greater && memmem::find(&rest[..length], b"]]>").is_some() {
            return doubt(at, "']]>' in text");
        }
        self.text(run, found.needs_resolving)?;
        Ok(at + length)
    }

    /// The inside of a CDATA section.
    pub(super) fn section(&mut self, inside: Range<usize>) -> Step<()> {
        if self.state.stack.is_empty() {
            return doubt(inside.start, "a CDATA section outside of the root element");
        }
        let text = &self.window[inside.clone()];
        characters(text, inside.start)?;
        if memchr(b'\r', text).is_some() {
            return doubt(inside.start, "a carriage return in a CDATA section");
        }
        self.text(inside, false)
    }

    fn text(&mut self, run: Range<usize>, needs_resolving: bool) -> Step<()> {
        let at = run.start;
        let text = &self.window[run.clone()];
        self.state.text.n_bytes += text.len();
        if self.state.text.n_bytes > self.limits.text_bytes_max {
            return doubt(at, "longer than the limits allow");
        }
        let Some(open) = self.state.stack.last() else {
            return if is_blank(text) {
                Ok(())
            } else {
                doubt(at, "text outside of the root element")
            };
        };
        if open.is_nil {
            return doubt(at, "text in an element that is nil");
        }
        if open.is_skipped {
            return self.check_references(run, needs_resolving);
        }
        match self.tables.types[open.of_type].content {
            Content::Simple(_) => self.add(run, needs_resolving),
            Content::Children { is_mixed: true, .. } => self.check_references(run, needs_resolving),
            Content::Children { .. } => self.between_elements(run, needs_resolving),
            Content::Empty if text.is_empty() => Ok(()),
            Content::Empty => doubt(at, "text that may not stand here"),
        }
    }

    /// Only white space may stand there, but as text, as references or in a CDATA section: these are
    /// ways to write the same characters (Part 1, 3.4.4, Element Locally Valid (Complex Type), 2.3).
    fn between_elements(&mut self, run: Range<usize>, needs_resolving: bool) -> Step<()> {
        let at = run.start;
        if is_blank(&self.window[run.clone()]) {
            return Ok(());
        }
        self.check_references(run, needs_resolving)?;
        if needs_resolving && is_blank(&self.state.scratch) {
            Ok(())
        } else {
            doubt(at, "text that may not stand here")
        }
    }

    fn check_references(&mut self, run: Range<usize>, needs_resolving: bool) -> Step<()> {
        if needs_resolving {
            self.state.scratch.clear();
            let text = &self.window[run.clone()];
            resolve(text, run.start, false, &mut self.state.scratch)?;
        }
        Ok(())
    }

    fn add(&mut self, run: Range<usize>, needs_resolving: bool) -> Step<()> {
        let text = &mut self.state.text;
        text.n_pieces += 1;
        if text.n_pieces == 1 && !needs_resolving {
            text.piece = run;
            return Ok(());
        }
        if !text.is_buffered {
            text.buffer
                .extend_from_slice(&self.window[text.piece.clone()]);
            text.is_buffered = true;
        }
        let piece = &self.window[run.clone()];
        if needs_resolving {
            return resolve(piece, run.start, false, &mut text.buffer);
        }
        text.buffer.extend_from_slice(piece);
        Ok(())
    }
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| is_space(*byte))
}

/// How much of a text that goes on can be read without what comes behind: not the beginning of a
/// reference, of a line end or of `]]>`.
fn understood(text: &[u8]) -> usize {
    let end = match memrchr(b'&', text) {
        Some(start) if memchr(b';', &text[start..]).is_none() => start,
        _ => text.len(),
    };
    let is_open = |byte: &u8| matches!(byte, b']' | b'\r');
    let last = text[..end].iter().rposition(|byte| !is_open(byte));
    last.map_or(0, |last| last + 1)
}
