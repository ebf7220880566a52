//! Where in a document a reader stands: byte offset, line and column of the decoded text.
//!
//! A [`Position`] is advanced over text that has been read; nothing is ever read again to find a
//! line number. CR LF, LF and a lone CR each end one line, as in XML itself. A [`Meter`] is the
//! position of a [`super::decode::Decoder`] shared with its consumer, together with the
//! number of bytes that it may still consume before the next event.

use std::cell::Cell;

use super::Finding;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: u64,
    line: u64,
    column: u64,
    after_cr: bool,
}

impl Position {
    pub(super) fn start() -> Position {
        Position {
            offset: 0,
            line: 1,
            column: 1,
            after_cr: false,
        }
    }

    /// The position after `text`, a piece of UTF-8 that may begin or end inside a character.
    #[must_use]
    pub(super) fn after(mut self, text: &[u8]) -> Position {
        self.offset += text.len() as u64;
        if self.after_cr || text.contains(&b'\r') {
            self.step_through(text);
            return self;
        }
        match text.iter().rposition(|&b| b == b'\n') {
            Some(last) => {
                self.line += text.iter().filter(|&&b| b == b'\n').count() as u64;
                self.column = 1 + chars(&text[last + 1..]);
            }
            None => self.column += chars(text),
        }
        self
    }

    pub(super) fn finding(&self, message: &str) -> Finding {
        Finding::new(self.line, self.column, message)
    }

    fn step_through(&mut self, text: &[u8]) {
        for &byte in text {
            match byte {
                b'\n' if self.after_cr => {}
                b'\n' | b'\r' => {
                    self.line += 1;
                    self.column = 1;
                }
                _ => self.column += chars(&[byte]),
            }
            self.after_cr = byte == b'\r';
        }
    }
}

/// Counts the bytes that begin a character.
fn chars(text: &[u8]) -> u64 {
    text.iter().filter(|&&b| b & 0xC0 != 0x80).count() as u64
}

/// The state that a decoder and its consumer share.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Cell<usize>,
    event: Cell<Position>,
    last_tag: Cell<Position>,
    position: Cell<Position>,
    skims: Cell<bool>,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter {
            budget: Cell::new(usize::MAX),
            event: Cell::new(Position::start()),
            last_tag: Cell::new(Position::start()),
            position: Cell::new(Position::start()),
            skims: Cell::new(false),
        }
    }

    /// From now on only the budget is counted: positions stay as they are.
    pub(super) fn skim(&self) {
        self.skims.set(true);
    }

    /// Everything consumed so far lies before this position.
    pub(super) fn position(&self) -> Position {
        self.position.get()
    }

    /// The position of the last `<` that was consumed.
    pub(super) fn last_tag(&self) -> Position {
        self.last_tag.get()
    }

    /// Where the event began that may use up the budget.
    pub(super) fn event(&self) -> Position {
        self.event.get()
    }

    /// A new event begins here and may take `bytes`: this is what bounds the buffer of a parser
    /// that collects an event before it shows it.
    pub(super) fn begin_event(&self, bytes: usize) {
        self.budget.set(bytes);
        if !self.skims.get() {
            self.event.set(self.position.get());
        }
    }

    pub(super) fn budget(&self) -> usize {
        self.budget.get()
    }

    pub(super) fn consume(&self, text: &[u8]) {
        self.budget
            .set(self.budget.get().saturating_sub(text.len()));
        if self.skims.get() {
            return;
        }
        let mut position = self.position.get();
        let mut rest = text;
        if let Some(tag) = text.iter().rposition(|&b| b == b'<') {
            position = position.after(&text[..tag]);
            self.last_tag.set(position);
            rest = &text[tag..];
        }
        self.position.set(position.after(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pieces: &[&[u8]]) -> String {
        let mut position = Position::start();
        for piece in pieces {
            position = position.after(piece);
        }
        position.finding("x").to_string()
    }

    #[test]
    fn lines_end_at_lf_cr_and_crlf_and_columns_count_characters() {
        assert_eq!(place(&[b"ab"]), "1:3: x");
        assert_eq!(place(&[b"a\nb\n"]), "3:1: x");
        assert_eq!(place(&[b"a\r\nb\rc"]), "3:2: x");
        assert_eq!(place(&[b"a\r", b"\nb"]), "2:2: x");
        assert_eq!(place(&["äöü€𝄞".as_bytes()]), "1:6: x");
        assert_eq!(
            place(&[&"ä".as_bytes()[..1], &"ä".as_bytes()[1..]]),
            "1:2: x"
        );
    }

    #[test]
    fn a_meter_knows_the_last_tag_and_spends_its_budget() {
        let meter = Meter::new();
        meter.begin_event(10);
        meter.consume(b"\n<a>xy");
        assert_eq!(meter.last_tag().finding("x").to_string(), "2:1: x");
        assert_eq!(meter.position().finding("x").to_string(), "2:6: x");
        assert_eq!(meter.budget(), 4);
    }
}
