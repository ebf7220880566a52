//! A validator over tables that are compiled once from a schema.
//!
//! `compile` makes immutable [`Tables`] of the resolved components of a schema; one `Arc` of them
//! serves all threads. `pass` reads a document once, byte by byte, and checks characters,
//! well-formedness, namespaces and validity together, over windows while the document arrives.
//!
//! The answer is [`Verdict::Valid`], or a doubt: something is wrong, or not known here. The full
//! engine then decides and finds the words. So every doubt is on the safe side, and what the
//! tables do not express of a schema concerns only the documents that use it.
//!
//! Invariant: a document that the full engine refuses is never called valid.

use super::budget::NoRoom;
use arena::{Arena, Id};
use component::{Attribute, Element, Type};
use identity::{BreachKind, Constraint, ConstraintKind};
use model::Model;
use names::{Names, NamesBuilder, Symbol};
use simple::SimpleType;
use wildcard::{Process, Wildcard};

mod arena;
mod compile;
mod component;
mod identity;
mod model;
mod names;
mod pass;
mod pattern;
mod simple;
#[cfg(test)]
mod suites;
mod wildcard;

pub(super) use identity::Breach;
pub use pass::Validation;

/// What a document is checked against. Nothing in it changes, or refers to the schema it was
/// made from.
#[derive(Debug)]
pub struct Tables {
    names: Names,
    elements: Arena<Element>,
    attributes: Arena<Attribute>,
    types: Arena<Type>,
    models: Arena<Model>,
    wildcards: Arena<Wildcard>,
    simple_types: Arena<SimpleType>,
    constraints: Arena<Constraint>,
    global_elements: Globals<Element>,
    global_attributes: Globals<Attribute>,
    global_types: Globals<Type>,
    any_type: Id<Type>,
    /// How much of a document's root element is checked.
    root: Process,
}

/// The global components of one kind, by their names.
#[derive(Debug)]
struct Globals<T> {
    by_symbol: Vec<Option<Id<T>>>,
}

impl<T> Globals<T> {
    fn find(&self, symbol: Option<Symbol>) -> Option<Id<T>> {
        *self.by_symbol.get(symbol?.index())?
    }

    fn add(&mut self, symbol: Symbol, id: Id<T>) {
        if self.by_symbol.len() <= symbol.index() {
            self.by_symbol.resize(symbol.index() + 1, None);
        }
        self.by_symbol[symbol.index()] = Some(id);
    }
}

impl<T> Default for Globals<T> {
    fn default() -> Self {
        Globals {
            by_symbol: Vec::new(),
        }
    }
}

impl Tables {
    /// Of no schema: every well-formed document is valid.
    pub(in crate::xml) fn of_any_document() -> Tables {
        Tables::empty(Process::Skip)
    }

    fn empty(root: Process) -> Tables {
        let mut types = Arena::default();
        let any_type = types.add(Type::empty());
        Tables {
            names: NamesBuilder::new().finish(),
            elements: Arena::default(),
            attributes: Arena::default(),
            types,
            models: Arena::default(),
            wildcards: Arena::default(),
            simple_types: Arena::default(),
            constraints: Arena::default(),
            global_elements: Globals::default(),
            global_attributes: Globals::default(),
            global_types: Globals::default(),
            any_type,
            root,
        }
    }

    /// Has the schema identity constraints?
    pub(in crate::xml) fn has_constraints(&self) -> bool {
        !self.constraints.is_empty()
    }

    /// What is wrong with an element (Part 1, 3.11.4), and on which line the first one with its
    /// value is.
    pub(in crate::xml) fn describe(&self, breach: &Breach, first: Option<u64>) -> String {
        let constraint = &self.constraints[breach.constraint];
        let name = &constraint.name;
        let (message, clause) = match (breach.kind, constraint.kind) {
            (BreachKind::Twice, kind) => {
                let message = match first {
                    Some(line) => format!("the value for \"{name}\" is already on line {line}"),
                    None => format!("the value for \"{name}\" is there already"),
                };
                let is_key = kind == ConstraintKind::Key;
                (message, if is_key { "4.2.2" } else { "4.1" })
            }
            (BreachKind::Incomplete, _) => (format!("a field of \"{name}\" is missing"), "4.2.1"),
            (BreachKind::Dangling, ConstraintKind::Reference(target)) => {
                let target = &self.constraints[target].name;
                (
                    format!("the value for \"{name}\" is none of \"{target}\""),
                    "4.3",
                )
            }
            (BreachKind::Dangling, ConstraintKind::Key | ConstraintKind::Unique) => {
                (format!("the value for \"{name}\" is nowhere"), "4.3")
            }
        };
        format!("{message} [cvc-identity-constraint.{clause}]")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well but for identity constraints.
    Breached,
    Doubt(Doubt),
    /// The shared budget is used up; nothing is known of the document.
    NoRoom(NoRoom),
    Valid,
}

/// Why the tables do not call a document valid. For tests and for those who look for what the
/// tables do not know; never shown to partners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Bytes from the beginning of the document to the markup or text that it is about.
    pub offset: u64,
    pub reason: &'static str,
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Tables>();
};
