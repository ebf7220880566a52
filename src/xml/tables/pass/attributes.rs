//! The attributes of an element: those of its type, and those of `xsi` (Part 1, 3.4.4 and 3.2.7).

use std::ops::Range;

use crate::xml::tables::Id;
use crate::xml::tables::component::{Attribute, Element, Type, derives};
use crate::xml::tables::names::{Namespace, Symbol};
use crate::xml::tables::simple::text::split_qualified;
use crate::xml::tables::simple::whitespace::trim;
use crate::xml::tables::simple::{Key, boolean, check};
use crate::xml::tables::wildcard::Process;

use super::held::Around;
use super::scan::{Name, resolve};
use super::{Pass, Step, Stop, doubt};

/// An attribute of the tag that is being read.
#[derive(Debug)]
pub(super) struct RawAttribute {
    pub(super) name: Name,
    /// Where its value is in the window, as it is written.
    pub(super) value: Range<usize>,
    /// There is nothing in the value to resolve.
    pub(super) is_plain: bool,
    pub(super) namespace: Namespace,
    pub(super) symbol: Option<Symbol>,
}

/// What the attributes of `xsi` say of an element.
#[derive(Default)]
pub(super) struct Instance {
    pub(super) is_nil: bool,
    pub(super) of_type: Option<Id<Type>>,
}

impl Pass<'_> {
    /// Only references have to be right below a wildcard that skips, and the values of `xsi:type` and
    /// `xsi:nil`: the engine looks at these everywhere.
    pub(super) fn skip_attributes(&mut self, at: usize) -> Step<()> {
        for n in 0..self.state.attributes.len() {
            let attribute = &self.state.attributes[n];
            let is_sound = attribute.namespace != Namespace::XSI
                || match attribute.name.local(self.window) {
                    b"noNamespaceSchemaLocation" | b"schemaLocation" => true,
                    b"nil" => attribute.is_plain && boolean(self.trimmed(attribute)).is_some(),
                    b"type" => attribute.is_plain && self.is_name(self.trimmed(attribute)),
                    _ => false,
                };
            if !is_sound {
                return doubt(at, "an xsi attribute of an element that is skipped");
            }
            self.check_references_of(n)?;
        }
        Ok(())
    }

    fn trimmed(&self, attribute: &RawAttribute) -> &[u8] {
        trim(&self.window[attribute.value.clone()])
    }

    fn is_name(&self, value: &[u8]) -> bool {
        let parts = split_qualified(value);
        parts.is_some_and(|(prefix, _)| self.state.scopes.find(prefix).is_some())
    }

    fn check_references_of(&mut self, n: usize) -> Step<()> {
        let attribute = &self.state.attributes[n];
        if !attribute.is_plain {
            let value = &self.window[attribute.value.clone()];
            self.state.scratch.clear();
            resolve(value, attribute.value.start, true, &mut self.state.scratch)?;
        }
        Ok(())
    }

    /// `xsi:type` and `xsi:nil`; the locations of schemas are never looked at.
    pub(super) fn instance_attributes(
        &mut self,
        at: usize,
        element: Option<Id<Element>>,
    ) -> Step<Instance> {
        let mut instance = Instance::default();
        for n in 0..self.state.attributes.len() {
            let attribute = &self.state.attributes[n];
            if attribute.namespace != Namespace::XSI {
                continue;
            }
            match attribute.name.local(self.window) {
                b"noNamespaceSchemaLocation" | b"schemaLocation" => self.check_references_of(n)?,
                b"nil" if attribute.is_plain => {
                    instance.is_nil = self.is_nil(at, attribute, element)?;
                }
                b"type" if attribute.is_plain => {
                    let value = self.trimmed(attribute);
                    instance.of_type = Some(self.named_type(at, value, element)?);
                }
                _ => return doubt(at, "an xsi attribute"),
            }
        }
        Ok(instance)
    }

    /// What `xsi:nil` says (Part 1, 3.3.4, Element Locally Valid (Element), clause 3). Only an element
    /// that is declared can be nil.
    fn is_nil(
        &self,
        at: usize,
        attribute: &RawAttribute,
        element: Option<Id<Element>>,
    ) -> Step<bool> {
        let element = element.map(|element| &self.tables.elements[element]);
        if element.is_some_and(|element| !element.is_nillable) {
            return doubt(at, "xsi:nil of an element that is not nillable");
        }
        let value = self.trimmed(attribute);
        match boolean(value) {
            None => doubt(at, "xsi:nil"),
            // The engine does not take it for true with space around it.
            Some(true) if element.is_some() && value.len() < attribute.value.len() => {
                doubt(at, "xsi:nil with space around its value")
            }
            Some(is_true) => Ok(is_true && element.is_some()),
        }
    }

    /// The type that `xsi:type` names (Part 1, 3.3.4, Element Locally Valid, clause 4).
    fn named_type(&self, at: usize, value: &[u8], element: Option<Id<Element>>) -> Step<Id<Type>> {
        let Some((prefix, local)) = split_qualified(value) else {
            return doubt(at, "xsi:type");
        };
        let Some((namespace, _)) = self.state.scopes.find(prefix) else {
            return doubt(at, "xsi:type with an unknown prefix");
        };
        let symbol = self.tables.names.symbol(namespace, local);
        let Some(named) = self.tables.global_types.find(symbol) else {
            return doubt(at, "xsi:type with an unknown name");
        };
        if let Some(element) = element {
            let element = &self.tables.elements[element];
            let types = &self.tables.types;
            let block = element.block.and(types[element.of_type].block);
            if !derives(types, named, element.of_type, block) {
                return doubt(at, "xsi:type that may not stand here");
            }
            if element.value.is_some() && named != element.of_type {
                return doubt(at, "xsi:type of an element with a default or fixed value");
            }
        }
        Ok(named)
    }

    pub(super) fn check_attributes(&mut self, at: usize, of_type: &Type) -> Step<()> {
        // No attribute is there twice, so that counting them is enough.
        let mut n_required = 0;
        let n_ids = self.state.ids.len();
        for n in 0..self.state.attributes.len() {
            let attribute = &self.state.attributes[n];
            if attribute.namespace == Namespace::XSI {
                continue;
            }
            let symbol = attribute.symbol;
            if let Some(used) = symbol.and_then(|symbol| of_type.attribute(symbol)) {
                n_required += usize::from(used.is_required);
                self.check_attribute(at, n, &used.attribute)?;
            } else {
                self.check_by_wildcard(at, n, of_type)?;
            }
        }
        if self.state.ids.len() > n_ids + 1 {
            return doubt(at, "two attributes of type ID");
        }
        if n_required != of_type.n_required {
            return doubt(at, "an attribute is missing");
        }
        Ok(())
    }

    fn check_by_wildcard(&mut self, at: usize, n: usize, of_type: &Type) -> Step<()> {
        let tables = self.tables;
        let attribute = &self.state.attributes[n];
        let wildcard = of_type.any_attribute.map(|id| &tables.wildcards[id]);
        let Some(wildcard) = wildcard.filter(|w| w.namespaces.contains(attribute.namespace)) else {
            return doubt(at, "an attribute that may not stand here");
        };
        let global = tables.global_attributes.find(attribute.symbol);
        match (wildcard.process, global) {
            (Process::Skip, _) | (Process::Lax, None) => self.check_references_of(n),
            (Process::Strict, None) => doubt(at, "an attribute that is not declared"),
            (Process::Lax | Process::Strict, Some(id)) => {
                self.check_attribute(at, n, &tables.attributes[id])
            }
        }
    }

    fn check_attribute(&mut self, at: usize, n: usize, declared: &Attribute) -> Step<()> {
        let fixed = declared.value.as_ref().filter(|value| value.is_fixed);
        let wants_key = fixed.is_some_and(|fixed| fixed.key.is_some());
        self.attribute_value(at, n, declared, wants_key, true)?;
        let Some(fixed) = fixed else {
            return Ok(());
        };
        let attribute = &self.state.attributes[n];
        let raw = match attribute.is_plain {
            true => &self.window[attribute.value.clone()],
            // It was resolved for the check.
            false => &self.state.scratch,
        };
        if fixed.is_same(raw, &self.state.key) {
            Ok(())
        } else {
            doubt(at, "an attribute that does not have its fixed value")
        }
    }

    /// Checks the value of an attribute. Its key is in [`super::State::key`] then, if it is wanted.
    pub(super) fn attribute_value(
        &mut self,
        at: usize,
        n: usize,
        declared: &Attribute,
        wants_key: bool,
        notes_ids: bool,
    ) -> Step<()> {
        let state = &mut *self.state;
        let attribute = &state.attributes[n];
        let mut value = &self.window[attribute.value.clone()];
        if !attribute.is_plain {
            state.scratch.clear();
            resolve(value, attribute.value.start, true, &mut state.scratch)?;
            value = &state.scratch;
        }
        let mut around = Around {
            scopes: &state.scopes,
            held: &mut state.held,
            ids: notes_ids.then_some(&mut state.ids),
        };
        let mut key = Key::new(&mut state.key, wants_key);
        let types = &self.tables.simple_types;
        if check(types, declared.of_type, value, &mut around, &mut key) {
            Ok(())
        } else if state.held.is_full() {
            Err(Stop::NoRoom)
        } else {
            doubt(at, "the value of an attribute")
        }
    }
}
