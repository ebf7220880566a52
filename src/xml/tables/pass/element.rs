//! Elements: which declaration and type govern one, and what has to hold when it ends (Part 1,
//! 3.3.4 and 3.4.4).

use crate::xml::tables::Id;
use crate::xml::tables::component::{Content, Element};
use crate::xml::tables::model::Taken;
use crate::xml::tables::names::{Namespace, Symbol};
use crate::xml::tables::simple::{Key, SimpleType, check};
use crate::xml::tables::wildcard::Process;

use super::held::Around;
use super::scan::Name;
use super::{Open, Pass, Step, Stop, doubt};

/// What the place of an element says of it.
struct Assessed {
    element: Option<Id<Element>>,
    /// How much of it is checked where it is not declared.
    process: Process,
}

impl Pass<'_> {
    /// An element begins, whose attributes have been read.
    pub(super) fn open(&mut self, at: usize, name: Name, n_scopes: usize) -> Step<()> {
        if self.state.stack.len() == self.limits.depth_max {
            return doubt(at, "nested more deeply than the limits allow");
        }
        let Some((namespace, _)) = self.state.scopes.find(name.prefix(self.window)) else {
            return doubt(at, "an unknown prefix");
        };
        let symbol = self.tables.names.symbol(namespace, name.local(self.window));
        let assessed = self.assess(at, namespace, symbol)?;
        let mut open = self.govern(at, &assessed)?;
        open.n_scopes = n_scopes;
        open.name = self.state.open_names.len();
        let name = name.whole(self.window);
        self.state.open_names.extend_from_slice(name);
        self.state.text.clear();
        self.state.stack.push(open);
        self.enter(at, namespace, symbol)
    }

    /// What the parent says of its next child.
    fn assess(
        &mut self,
        at: usize,
        namespace: Namespace,
        symbol: Option<Symbol>,
    ) -> Step<Assessed> {
        let tables = self.tables;
        let global = tables.global_elements.find(symbol);
        let strict = |element| Assessed {
            element,
            process: Process::Strict,
        };
        let Some(parent) = self.state.stack.last_mut() else {
            if self.state.has_root {
                return doubt(at, "a second root element");
            }
            self.state.has_root = true;
            let process = tables.root;
            let element = global;
            return Ok(Assessed { element, process });
        };
        if parent.is_skipped {
            return Ok(Assessed {
                element: None,
                process: Process::Skip,
            });
        }
        let model = match tables.types[parent.of_type].content {
            Content::Children { model, .. } if !parent.is_nil => &tables.models[model],
            Content::Children { .. } | Content::Empty | Content::Simple(_) => {
                return doubt(at, "an element that may not stand here");
            }
        };
        let progress = &mut parent.progress;
        match model.step(progress, namespace, symbol, &tables.wildcards) {
            Some(Taken::Element(element)) => Ok(strict(Some(element))),
            Some(Taken::Wildcard(wildcard)) => {
                let process = tables.wildcards[wildcard].process;
                let element = global.filter(|_| process != Process::Skip);
                Ok(Assessed { element, process })
            }
            None => doubt(at, "an element that may not stand here"),
        }
    }

    /// The declaration and type of an element; checks its attributes.
    fn govern(&mut self, at: usize, assessed: &Assessed) -> Step<Open> {
        let tables = self.tables;
        let mut open = Open {
            name: 0,
            element: assessed.element,
            of_type: tables.any_type,
            progress: 0,
            n_scopes: 0,
            is_nil: false,
            is_skipped: assessed.process == Process::Skip,
        };
        if open.is_skipped {
            self.skip_attributes(at)?;
            return Ok(open);
        }
        let instance = self.instance_attributes(at, assessed.element)?;
        match (assessed.element, instance.of_type) {
            (Some(element), named) => {
                let element = &tables.elements[element];
                if element.is_abstract {
                    return doubt(at, "an element that is abstract");
                }
                if instance.is_nil && element.value.as_ref().is_some_and(|v| v.is_fixed) {
                    return doubt(at, "an element with a fixed value that is nil");
                }
                open.of_type = named.unwrap_or(element.of_type);
            }
            (None, Some(named)) => open.of_type = named,
            (None, None) if assessed.process == Process::Strict => {
                return doubt(at, "an element that is not declared");
            }
            (None, None) => {}
        }
        open.is_nil = instance.is_nil;
        let of_type = &tables.types[open.of_type];
        if let Some(reason) = of_type.inexpressible {
            return doubt(at, reason);
        }
        if of_type.is_abstract {
            return doubt(at, "a type that is abstract");
        }
        self.check_attributes(at, of_type)?;
        Ok(open)
    }

    /// The innermost element ends.
    pub(super) fn close(&mut self, at: usize) -> Step<()> {
        let depth = self.state.stack.len();
        let Some(open) = self.state.stack.pop() else {
            return doubt(at, "an end tag without its element");
        };
        let is_field = self.state.identity.wants(depth);
        let element = open.element.map(|element| &self.tables.elements[element]);
        match self.tables.types[open.of_type].content {
            Content::Simple(of_type) if !open.is_nil => {
                self.close_simple(at, element, of_type, is_field)?;
                if is_field {
                    let digest = self.state.held.digest(&self.state.key);
                    self.state.identity.found(depth, digest);
                }
            }
            Content::Children { .. } | Content::Empty | Content::Simple(_) if is_field => {
                return doubt(at, "a field that is not a simple value");
            }
            Content::Children { model, is_mixed } if !open.is_nil && !open.is_skipped => {
                if !self.tables.models[model].is_complete(open.progress) {
                    return doubt(at, "an element that is not complete");
                }
                let value = element.and_then(|element| element.value.as_ref());
                if is_mixed && value.is_some_and(|value| value.is_fixed) {
                    return doubt(at, "mixed content with a fixed value");
                }
            }
            Content::Children { .. } | Content::Empty | Content::Simple(_) => {}
        }
        self.leave(at, depth)?;
        self.state.scopes.truncate(open.n_scopes);
        self.state.open_names.truncate(open.name);
        self.state.text.clear();
        Ok(())
    }

    /// The key of the value is in [`super::State::key`] then, if it is wanted.
    fn close_simple(
        &mut self,
        at: usize,
        element: Option<&Element>,
        of_type: Id<SimpleType>,
        wants_key: bool,
    ) -> Step<()> {
        let state = &mut *self.state;
        let mut raw = state.text.value(self.window);
        let value = element.and_then(|element| element.value.as_ref());
        let mut fixed = None;
        if let Some(value) = value {
            if state.text.is_absent() {
                if !value.is_known {
                    return doubt(at, "a default value that is not known");
                }
                raw = &value.text;
            } else if raw.is_empty() {
                return doubt(at, "an element with a default or fixed value that is empty");
            } else if value.is_fixed {
                fixed = Some(value);
            }
        }
        let mut around = Around {
            scopes: &state.scopes,
            held: &mut state.held,
            ids: Some(&mut state.ids),
        };
        let wants_key = wants_key || fixed.is_some_and(|fixed| fixed.key.is_some());
        let mut key = Key::new(&mut state.key, wants_key);
        if !check(
            &self.tables.simple_types,
            of_type,
            raw,
            &mut around,
            &mut key,
        ) {
            return if state.held.is_full() {
                Err(Stop::NoRoom)
            } else {
                doubt(at, "the value of an element")
            };
        }
        if fixed.is_some_and(|fixed| !fixed.is_same(raw, &state.key)) {
            return doubt(at, "an element that does not have its fixed value");
        }
        Ok(())
    }
}
