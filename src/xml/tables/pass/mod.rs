//! One pass over a document: characters, well-formedness, namespaces and validity together.
//!
//! The document comes in pieces of any size. A piece is read up to the last markup or text that
//! is whole in it; what is left waits for the next one. Only an open tag, a comment, a processing
//! instruction and the text of a simple element have to be whole, and all are bounded.

use std::sync::Arc;

use crate::xml::XmlLimits;

use super::component::{Element, Type};
use super::identity::Breach;
use super::model::Progress;
use super::{Doubt, Id, Tables, Verdict};
use crate::xml::budget::Budget;

use attributes::RawAttribute;
use held::{Held, Ids};
use identity::Identity;
use scopes::Scopes;
use text::Text;

mod attributes;
mod breaches;
mod element;
mod held;
mod identity;
mod markup;
mod scan;
mod scopes;
mod tag;
mod text;

/// Why the pass does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// At this byte of the window.
    Doubt(usize, &'static str),
    NoRoom,
    /// The window ends before the markup or text that begins in it.
    Short,
}

type Step<T> = Result<T, Stop>;

fn doubt<T>(at: usize, reason: &'static str) -> Step<T> {
    Err(Stop::Doubt(at, reason))
}

/// An element whose end has not come.
#[derive(Debug)]
struct Open {
    /// Where its name begins in [`State::open_names`].
    name: usize,
    element: Option<Id<Element>>,
    of_type: Id<Type>,
    progress: Progress,
    /// Namespace declarations in force around it.
    n_scopes: usize,
    is_nil: bool,
    /// Below a wildcard that says so, where only well-formedness counts.
    is_skipped: bool,
}

/// What is remembered of the document from window to window.
#[derive(Debug)]
struct State {
    stack: Vec<Open>,
    /// The names of the open elements behind each other, as they are written.
    open_names: Vec<u8>,
    scopes: Scopes,
    /// Of the tag that is being read.
    attributes: Vec<RawAttribute>,
    text: Text,
    held: Held,
    ids: Ids,
    identity: Identity,
    /// For a value whose references are resolved, and for a key.
    scratch: Vec<u8>,
    key: Vec<u8>,
    /// Some markup or text has been read.
    is_begun: bool,
    has_root: bool,
}

/// A validation while the document arrives.
#[derive(Debug)]
pub struct Validation {
    tables: Arc<Tables>,
    limits: XmlLimits,
    state: State,
    /// What was not whole in the last piece.
    rest: Vec<u8>,
    /// Bytes of the document before `rest`.
    offset: u64,
    stopped: Option<Verdict>,
}

impl Validation {
    pub fn new(tables: Arc<Tables>, budget: Arc<Budget>, limits: XmlLimits) -> Validation {
        let state = State::new(Held::of(budget), Identity::default());
        Validation::with(tables, limits, state)
    }

    fn with(tables: Arc<Tables>, limits: XmlLimits, state: State) -> Validation {
        Validation {
            tables,
            limits,
            state,
            rest: Vec::new(),
            offset: 0,
            stopped: None,
        }
    }

    /// To read the same document once more, which completes the places of [`Validation::breaches`].
    pub(in crate::xml) fn trace(self) -> Validation {
        let identity = self.state.identity.trace();
        let state = State::new(self.state.held.emptied(), identity);
        Validation::with(self.tables, self.limits, state)
    }

    /// What breaks identity constraints, as far as the document was read.
    pub(in crate::xml) fn breaches(&self) -> impl Iterator<Item = &Breach> {
        self.state.identity.breaches.all()
    }

    /// How many more there are than [`Validation::breaches`], and where the first of these is.
    pub(in crate::xml) fn more_breaches(&self) -> Option<(u64, u64)> {
        self.state.identity.breaches.more()
    }

    /// Reads the next bytes of the document, in UTF-8 without a byte order mark. False when the verdict is known, so that
    /// no more bytes are needed.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        if self.rest.is_empty() {
            let n_read = self.window(bytes, false);
            self.rest.extend_from_slice(&bytes[n_read..]);
        } else {
            let mut window = std::mem::take(&mut self.rest);
            window.extend_from_slice(bytes);
            let n_read = self.window(&window, false);
            window.drain(..n_read);
            self.rest = window;
        }
        let longest = self.limits.text_bytes_max.max(self.limits.tag_bytes_max);
        if self.rest.len() > longest {
            self.stop(Stop::Doubt(0, "longer than the limits allow"));
        }
        self.stopped.is_none()
    }

    /// The document is whole.
    pub fn finish(&mut self) -> Verdict {
        let rest = std::mem::take(&mut self.rest);
        self.last(&rest)
    }

    /// For a document that is whole, in UTF-8 without a byte order mark.
    pub fn of_whole(&mut self, document: &[u8]) -> Verdict {
        self.last(document)
    }

    fn last(&mut self, window: &[u8]) -> Verdict {
        if self.stopped.is_none() {
            let n_read = self.window(window, true);
            if self.stopped.is_none() {
                let end = self.state.end(window.len() - n_read);
                if let Err(stop) = end {
                    self.stop(stop);
                }
            }
        }
        match self.stopped {
            Some(verdict) => verdict,
            None if !self.state.identity.breaches.is_empty() => Verdict::Breached,
            None => Verdict::Valid,
        }
    }

    /// Reads what is whole in the window; how many bytes that was.
    fn window(&mut self, window: &[u8], is_last: bool) -> usize {
        let (text, is_utf8) = match std::str::from_utf8(window) {
            Ok(_) => (window, true),
            Err(error) => {
                let is_cut = error.error_len().is_none() && !is_last;
                (&window[..error.valid_up_to()], is_cut)
            }
        };
        let mut pass = Pass {
            tables: &self.tables,
            limits: &self.limits,
            window: text,
            offset: self.offset,
            is_last: is_last && is_utf8,
            state: &mut self.state,
        };
        let (n_read, end) = pass.run();
        let end = match end {
            Err(Stop::Short) if is_utf8 && !is_last => Ok(()),
            Err(Stop::Short) => doubt(n_read, "the document is cut off"),
            Ok(()) if !is_utf8 => doubt(text.len(), "not UTF-8"),
            other => other,
        };
        if let Err(stop) = end {
            self.stop(stop);
        }
        self.offset += n_read as u64;
        n_read
    }

    fn stop(&mut self, stop: Stop) {
        let doubt = |at: usize, reason| {
            Verdict::Doubt(Doubt {
                offset: self.offset + at as u64,
                reason,
            })
        };
        self.stopped = Some(match stop {
            Stop::Doubt(at, reason) => doubt(at, reason),
            Stop::NoRoom => Verdict::NoRoom(self.state.held.no_room()),
            Stop::Short => doubt(0, "the document is cut off"),
        });
    }
}

impl State {
    fn new(held: Held, identity: Identity) -> State {
        State {
            stack: Vec::with_capacity(16),
            open_names: Vec::with_capacity(256),
            scopes: Scopes::default(),
            attributes: Vec::with_capacity(8),
            text: Text::default(),
            held,
            ids: Ids::default(),
            identity,
            scratch: Vec::new(),
            key: Vec::new(),
            is_begun: false,
            has_root: false,
        }
    }

    /// What has to hold at the end of a document.
    fn end(&self, n_left: usize) -> Step<()> {
        if n_left > 0 || !self.stack.is_empty() || !self.has_root {
            return doubt(0, "the document is cut off");
        }
        if !self.ids.are_resolved() {
            return doubt(0, "a reference to an ID that is not there");
        }
        Ok(())
    }
}

/// The pass over one window.
struct Pass<'w> {
    tables: &'w Tables,
    limits: &'w XmlLimits,
    window: &'w [u8],
    /// Bytes of the document before the window.
    offset: u64,
    /// Nothing comes behind the window.
    is_last: bool,
    state: &'w mut State,
}

impl Pass<'_> {
    /// How many bytes were read, and why it ended if that is not the end of the window.
    fn run(&mut self) -> (usize, Step<()>) {
        let mut at = 0;
        while at < self.window.len() {
            match self.next(at) {
                Ok(next) => at = next,
                Err(stop) => {
                    self.state.text.keep(self.window);
                    return (at, Err(stop));
                }
            }
        }
        self.state.text.keep(self.window);
        (at, Ok(()))
    }
}

#[cfg(test)]
mod tests;
