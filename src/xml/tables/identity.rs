//! Identity constraints: keys, uniqueness and references (Part 1, 3.11).

use super::arena::Id;
use super::names::{Namespace, Symbol};

#[derive(Debug)]
pub(super) struct Constraint {
    pub(super) name: Box<str>,
    pub(super) kind: ConstraintKind,
    pub(super) selector: Box<[Path]>,
    pub(super) fields: Box<[Box<[Path]>]>,
    /// Some reference refers to it, so its keys outlive the element that has it.
    pub(super) is_referred_to: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConstraintKind {
    Key,
    /// To the keys of another constraint.
    Reference(Id<Constraint>),
    Unique,
}

/// What breaks a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xml) struct Breach {
    pub(super) constraint: Id<Constraint>,
    pub(super) kind: BreachKind,
    /// Bytes of the document, in UTF-8, before the tag of the element that is selected.
    pub(in crate::xml) offset: u64,
    /// The same of the element that had the value first.
    pub(in crate::xml) first: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreachKind {
    /// A reference to no key.
    Dangling,
    /// A key that lacks a field.
    Incomplete,
    /// A value of another element.
    Twice,
}

impl Breach {
    pub(super) fn of(constraint: Id<Constraint>, kind: BreachKind, offset: u64) -> Breach {
        Breach {
            constraint,
            kind,
            offset,
            first: None,
        }
    }
}

impl Constraint {
    /// How many paths the fields have together.
    pub(super) fn n_field_paths(&self) -> usize {
        self.fields.iter().map(|paths| paths.len()).sum()
    }

    pub(super) fn field_paths(&self) -> impl Iterator<Item = &Path> {
        self.fields.iter().flatten()
    }
}

/// One path of a selector or field: child steps, and maybe an attribute at the end.
#[derive(Debug)]
pub(super) struct Path {
    /// It begins with `.//`.
    pub(super) is_anywhere: bool,
    pub(super) steps: Box<[Test]>,
    pub(super) attribute: Option<Test>,
}

/// How far a path is matched at an element: bit `n` when its first `n` steps are behind.
pub(super) type Matched = u64;

impl Path {
    /// As many as [`Matched`] has bits for.
    pub(super) const STEPS_MAX: usize = 63;

    /// At the element where the path starts.
    pub(super) fn start(&self) -> Matched {
        1
    }

    /// At a child of the element where `outer` holds.
    pub(super) fn step(
        &self,
        outer: Matched,
        namespace: Namespace,
        symbol: Option<Symbol>,
    ) -> Matched {
        let mut matched = Matched::from(self.is_anywhere);
        for (n, test) in self.steps.iter().enumerate() {
            if outer >> n & 1 == 1 && test.matches(namespace, symbol) {
                matched |= 1 << (n + 1);
            }
        }
        matched
    }

    /// Are all steps behind?
    pub(super) fn is_whole(&self, matched: Matched) -> bool {
        matched >> self.steps.len() & 1 == 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Any,
    InNamespace(Namespace),
    Named(Symbol),
}

impl Test {
    pub(super) fn matches(self, namespace: Namespace, symbol: Option<Symbol>) -> bool {
        match self {
            Test::Any => true,
            Test::InNamespace(wanted) => wanted == namespace,
            Test::Named(wanted) => symbol == Some(wanted),
        }
    }
}
