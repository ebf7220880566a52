//! Declarations and types (Part 1, chapter 3), as far as a document is checked against them.

use super::arena::{Arena, Id};
use super::identity::Constraint;
use super::model::Model;
use super::names::Symbol;
use super::simple::SimpleType;
use super::wildcard::Wildcard;

#[derive(Debug)]
pub(super) struct Element {
    pub(super) of_type: Id<Type>,
    pub(super) value: Option<Value>,
    pub(super) constraints: Box<[Id<Constraint>]>,
    /// What `xsi:type` may not do.
    pub(super) block: Methods,
    pub(super) is_nillable: bool,
    /// It cannot stand in a document; or its type is not known.
    pub(super) is_abstract: bool,
}

/// The default or fixed value of an element or attribute.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) is_fixed: bool,
    /// It means the same wherever it stands, and is right.
    pub(super) is_known: bool,
    /// `None` when it has none here.
    pub(super) key: Option<Box<[u8]>>,
    pub(super) text: Box<[u8]>,
}

impl Value {
    /// Is it the same as a value of the document? Without a key that is known of the same text only.
    pub(super) fn is_same(&self, raw: &[u8], key: &[u8]) -> bool {
        match &self.key {
            Some(own) => **own == *key,
            None => self.is_known && *self.text == *raw,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) of_type: Id<SimpleType>,
    pub(super) value: Option<Value>,
}

#[derive(Debug)]
pub(super) struct AttributeUse {
    pub(super) symbol: Symbol,
    pub(super) attribute: Attribute,
    pub(super) is_required: bool,
}

#[derive(Debug)]
pub(super) struct Type {
    pub(super) content: Content,
    /// In the order of their symbols.
    pub(super) attributes: Box<[AttributeUse]>,
    /// How many of the attributes have to be there.
    pub(super) n_required: usize,
    pub(super) any_attribute: Option<Id<Wildcard>>,
    /// `None` for `xs:anyType`.
    pub(super) base: Option<Id<Type>>,
    pub(super) derived_by: Methods,
    pub(super) block: Methods,
    pub(super) is_abstract: bool,
    /// Why the tables do not express it; any use of it is then left to the full engine.
    pub(super) inexpressible: Option<&'static str>,
}

impl Type {
    /// So many attributes are looked at one by one, which is faster than to bisect them.
    const FEW: usize = 16;

    /// Before anything is known of it.
    pub(super) fn empty() -> Type {
        Type {
            content: Content::Empty,
            attributes: Box::new([]),
            n_required: 0,
            any_attribute: None,
            base: None,
            derived_by: Methods::RESTRICTION,
            block: Methods::NONE,
            is_abstract: false,
            inexpressible: None,
        }
    }

    pub(super) fn attribute(&self, symbol: Symbol) -> Option<&AttributeUse> {
        let uses = &self.attributes;
        if uses.len() <= Type::FEW {
            return uses.iter().find(|one| one.symbol == symbol);
        }
        let place = uses.binary_search_by_key(&symbol, |one| one.symbol);
        place.ok().map(|place| &uses[place])
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Children { model: Id<Model>, is_mixed: bool },
    Empty,
    Simple(Id<SimpleType>),
}

/// A set of methods of derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods(u8);

impl Methods {
    pub(super) const NONE: Methods = Methods(0);
    pub(super) const EXTENSION: Methods = Methods(1);
    pub(super) const RESTRICTION: Methods = Methods(2);

    pub(super) fn and(self, other: Methods) -> Methods {
        Methods(self.0 | other.0)
    }

    fn meets(self, other: Methods) -> bool {
        self.0 & other.0 != 0
    }
}

/// Does `derived` come from `base` by methods none of which is blocked (Part 1, 3.4.6 and 3.14.6)?
pub(super) fn derives(
    types: &Arena<Type>,
    derived: Id<Type>,
    base: Id<Type>,
    block: Methods,
) -> bool {
    let mut current = derived;
    while current != base {
        let of = &types[current];
        match of.base {
            Some(next) if !of.derived_by.meets(block) => current = next,
            _ => return false,
        }
    }
    true
}
