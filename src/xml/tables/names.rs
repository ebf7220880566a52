//! Expanded names as numbers.
//!
//! Every name that the schema knows has a [`Symbol`]; elements, attributes and types share them.
//! A document's name is looked up once and never kept, so unknown names cost no memory.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::xml::names::{XML_NAMESPACE, XSI_NAMESPACE};

/// A namespace that the schema speaks of, or [`Namespace::FOREIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Namespace(u16);

impl Namespace {
    /// No namespace.
    pub(super) const ABSENT: Namespace = Namespace(0);
    /// Any namespace that the schema does not speak of.
    pub(super) const FOREIGN: Namespace = Namespace(u16::MAX);
    pub(super) const XML: Namespace = Namespace(1);
    pub(super) const XSI: Namespace = Namespace(2);
}

/// An expanded name that the schema knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Symbol(NonZeroU32);

impl Symbol {
    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    pub(super) fn number(self) -> u32 {
        self.0.get()
    }

    fn of_index(index: usize) -> Option<Symbol> {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        number.map(Symbol)
    }
}

/// Names while the tables are being made.
pub(super) struct NamesBuilder {
    namespaces: HashMap<Box<[u8]>, Namespace>,
    symbols: HashMap<(Namespace, Box<[u8]>), Symbol>,
}

impl NamesBuilder {
    pub(super) fn new() -> NamesBuilder {
        let known = [
            ("", Namespace::ABSENT),
            (XML_NAMESPACE, Namespace::XML),
            (XSI_NAMESPACE, Namespace::XSI),
        ];
        let known = known.map(|(uri, namespace)| (Box::from(uri.as_bytes()), namespace));
        NamesBuilder {
            namespaces: HashMap::from(known),
            symbols: HashMap::new(),
        }
    }

    /// The number of a namespace; [`Namespace::FOREIGN`] when there are no more numbers.
    pub(super) fn namespace(&mut self, uri: &str) -> Namespace {
        let next = u16::try_from(self.namespaces.len()).unwrap_or(u16::MAX);
        *self
            .namespaces
            .entry(uri.as_bytes().into())
            .or_insert(Namespace(next))
    }

    pub(super) fn symbol(&mut self, namespace: Namespace, local: &str) -> Option<Symbol> {
        let next = Symbol::of_index(self.symbols.len())?;
        let key = (namespace, Box::from(local.as_bytes()));
        Some(*self.symbols.entry(key).or_insert(next))
    }

    /// Whether all namespaces got a number of their own.
    pub(super) fn is_complete(&self) -> bool {
        self.namespaces.len() < usize::from(u16::MAX)
    }

    pub(super) fn finish(self) -> Names {
        let n_slots = (self.symbols.len() * 2 + 2).next_power_of_two();
        let mut slots = vec![None; n_slots];
        let mut text = Vec::new();
        for ((namespace, local), symbol) in &self.symbols {
            let mut place = hash(*namespace, local) & (n_slots - 1);
            while slots[place].is_some() {
                place = (place + 1) & (n_slots - 1);
            }
            slots[place] = Some(Slot {
                start: text.len(),
                length: local.len(),
                namespace: *namespace,
                symbol: *symbol,
            });
            text.extend_from_slice(local);
        }
        Names {
            namespaces: self.namespaces,
            slots: slots.into(),
            text: text.into(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where the local name is in the text of all names.
    start: usize,
    length: usize,
    namespace: Namespace,
    symbol: Symbol,
}

/// All names of a schema. Open addressing, at most half full.
#[derive(Debug)]
pub(super) struct Names {
    namespaces: HashMap<Box<[u8]>, Namespace>,
    slots: Box<[Option<Slot>]>,
    text: Box<[u8]>,
}

impl Names {
    pub(super) fn namespace(&self, uri: &[u8]) -> Namespace {
        let known = self.namespaces.get(uri).copied();
        known.unwrap_or(Namespace::FOREIGN)
    }

    pub(super) fn symbol(&self, namespace: Namespace, local: &[u8]) -> Option<Symbol> {
        let mask = self.slots.len() - 1;
        let mut place = hash(namespace, local) & mask;
        // There is always an empty slot.
        while let Some(slot) = &self.slots[place] {
            if slot.namespace == namespace
                && slot.length == local.len()
                && &self.text[slot.start..slot.start + slot.length] == local
            {
                return Some(slot.symbol);
            }
            place = (place + 1) & mask;
        }
        None
    }
}

/// Needs no secret: the names in the table are the operator's, and those of a document are only
/// compared with them.
fn hash(namespace: Namespace, local: &[u8]) -> usize {
    const FACTOR: u64 = 0x517C_C1B7_2722_0A95;
    let mix = |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut state = mix(local.len() as u64, u64::from(namespace.0));
    let (words, rest) = local.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let rest = rest.iter();
    state = mix(
        state,
        rest.fold(0, |word, byte| word << 8 | u64::from(*byte)),
    );
    // The upper bits depend on all of the input.
    (state >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_told_apart_by_namespace_and_text() {
        let mut builder = NamesBuilder::new();
        let shop = builder.namespace("urn:shop");
        let all: Vec<_> = (0..500)
            .map(|n| format!("Name{n}WithALongEnd"))
            .flat_map(|local| [(Namespace::ABSENT, local.clone()), (shop, local)])
            .collect();
        let symbols: Vec<_> = all
            .iter()
            .map(|(namespace, local)| builder.symbol(*namespace, local))
            .collect();
        let names = builder.finish();
        for ((namespace, local), symbol) in all.iter().zip(&symbols) {
            assert_eq!(names.symbol(*namespace, local.as_bytes()), *symbol);
        }
        assert_eq!(symbols.iter().collect::<HashSet<_>>().len(), 1000);
        assert_eq!(names.namespace(b"urn:shop"), shop);
        assert_eq!(names.namespace(b"urn:other"), Namespace::FOREIGN);
        assert_eq!(names.symbol(shop, b"Name500WithALongEnd"), None);
        assert_eq!(names.symbol(Namespace::XML, b"Name1WithALongEnd"), None);
    }
}
