//! Content models: which children may stand in which order (Part 1, 3.8 and 3.9).
//!
//! A model is an automaton that reads one symbol for each child. In one state at most one
//! declaration fits a name (Unique Particle Attribution), so there is never a choice.

use super::arena::Id;
use super::names::{Namespace, Symbol};
use super::wildcard::Wildcard;
use super::{Arena, Element};

#[derive(Debug)]
pub(super) enum Model {
    All(All),
    Automaton(Automaton),
}

/// How far the children of an open element have been matched; 0 before the first.
pub(super) type Progress = u64;

/// What takes a child.
pub(super) enum Taken {
    Element(Id<Element>),
    Wildcard(Id<Wildcard>),
}

impl Model {
    /// The next child; `None` where it may not stand.
    pub(super) fn step(
        &self,
        progress: &mut Progress,
        namespace: Namespace,
        symbol: Option<Symbol>,
        wildcards: &Arena<Wildcard>,
    ) -> Option<Taken> {
        match self {
            Model::All(all) => {
                let (next, element) = all.step(*progress, symbol?)?;
                *progress = next;
                Some(Taken::Element(element))
            }
            Model::Automaton(automaton) => {
                let state = *progress as usize;
                if let Some((next, element)) = symbol.and_then(|s| automaton.step(state, s)) {
                    *progress = Progress::from(next);
                    return Some(Taken::Element(element));
                }
                let ways = automaton.wildcards.get(state)?;
                let way = ways
                    .iter()
                    .find(|way| wildcards[way.wildcard].namespaces.contains(namespace))?;
                *progress = Progress::from(way.next);
                Some(Taken::Wildcard(way.wildcard))
            }
        }
    }

    /// May the element end here?
    pub(super) fn is_complete(&self, progress: Progress) -> bool {
        match self {
            Model::All(all) => {
                progress & all.required == all.required || all.is_optional && progress == 0
            }
            Model::Automaton(automaton) => automaton.accepts[progress as usize],
        }
    }
}

/// A deterministic automaton with a dense row for each state over the symbols that it knows.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) columns: Columns,
    pub(super) cells: Box<[Cell]>,
    /// The declarations that [`Cell::element`] counts.
    pub(super) elements: Box<[Id<Element>]>,
    pub(super) accepts: Box<[bool]>,
    /// For each state the wildcards that lead out of it; empty where the model has none.
    pub(super) wildcards: Box<[Box<[Way]>]>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    /// The next state, or [`Cell::NONE`].
    pub(super) next: u16,
    pub(super) element: u16,
}

impl Cell {
    pub(super) const NONE: Cell = Cell {
        next: u16::MAX,
        element: u16::MAX,
    };
}

/// Out of a state through a wildcard.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) wildcard: Id<Wildcard>,
    pub(super) next: u16,
}

impl Automaton {
    fn step(&self, state: usize, symbol: Symbol) -> Option<(u16, Id<Element>)> {
        let column = self.columns.find(symbol)?;
        let cell = self.cells[state * self.columns.len() + column];
        if cell.next == Cell::NONE.next {
            return None;
        }
        Some((cell.next, self.elements[usize::from(cell.element)]))
    }
}

/// `xs:all`: each member at most once, in any order. The progress has a bit for each member seen.
#[derive(Debug)]
pub(super) struct All {
    pub(super) columns: Columns,
    /// For each column the declaration, and the number of the member that it belongs to.
    pub(super) members: Box<[(Id<Element>, u8)]>,
    pub(super) required: u64,
    /// All of it may be left out.
    pub(super) is_optional: bool,
}

impl All {
    pub(super) const MEMBERS_MAX: usize = 64;

    fn step(&self, seen: Progress, symbol: Symbol) -> Option<(Progress, Id<Element>)> {
        let (element, member) = self.members[self.columns.find(symbol)?];
        let bit = 1 << member;
        (seen & bit == 0).then_some((seen | bit, element))
    }
}

/// From symbols to columns: a hash without collisions.
#[derive(Debug)]
pub(super) struct Columns {
    factor: u32,
    shift: u32,
    slots: Slots,
    n_columns: usize,
}

/// A symbol and its column.
type Slots = Box<[Option<(Symbol, u16)>]>;

impl Columns {
    pub(super) const MAX: usize = 16 * 1024;

    /// The column of a symbol is its place in `symbols`, which are different, and at most
    /// [`Columns::MAX`].
    pub(super) fn new(symbols: &[Symbol]) -> Columns {
        /// Enough for nearly every set; else twice the slots.
        const TRIES: u32 = 200;
        let mut bits = (symbols.len().max(1) * 2).next_power_of_two().ilog2();
        loop {
            for n in 0..TRIES {
                let factor = 0x9E37_79B1_u32.wrapping_mul(2 * n + 1);
                if let Some(slots) = Columns::place(symbols, factor, bits) {
                    return Columns {
                        factor,
                        shift: u32::BITS - bits,
                        slots,
                        n_columns: symbols.len(),
                    };
                }
            }
            bits += 1;
        }
    }

    fn place(symbols: &[Symbol], factor: u32, bits: u32) -> Option<Slots> {
        let mut slots = vec![None; 1 << bits];
        for (column, symbol) in symbols.iter().enumerate() {
            let place = symbol.number().wrapping_mul(factor) >> (u32::BITS - bits);
            let slot = &mut slots[place as usize];
            if slot.is_some() {
                return None;
            }
            *slot = Some((*symbol, column as u16));
        }
        Some(slots.into())
    }

    pub(super) fn len(&self) -> usize {
        self.n_columns
    }

    pub(super) fn find(&self, symbol: Symbol) -> Option<usize> {
        let place = symbol.number().wrapping_mul(self.factor) >> self.shift;
        let (there, column) = self.slots[place as usize]?;
        (there == symbol).then_some(usize::from(column))
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::NamesBuilder;
    use super::*;

    #[test]
    fn columns_are_found_and_nothing_else() {
        let mut names = NamesBuilder::new();
        let mut symbol = |n: usize| names.symbol(Namespace::ABSENT, &n.to_string()).unwrap();
        let all: Vec<Symbol> = (0..3000).map(&mut symbol).collect();
        for n in [0, 1, 2, 7, 100, 1000] {
            let chosen: Vec<Symbol> = all.iter().copied().step_by(3).take(n).collect();
            let columns = Columns::new(&chosen);
            assert_eq!(columns.len(), n);
            for symbol in &all {
                let place = chosen.iter().position(|c| c == symbol);
                assert_eq!(columns.find(*symbol), place);
            }
        }
    }
}
