//! The inside of an open tag.

use crate::xml::tables::names::Namespace;

use super::attributes::RawAttribute;
use super::scan::{Name, name, quoted, spaces};
use super::{Pass, Step, Stop, doubt};

/// So many attributes are compared with each other, which is faster than to sort their names.
const FEW: usize = 32;

/// How an open tag ends.
struct End {
    at: usize,
    is_empty_element: bool,
}

impl Pass<'_> {
    pub(super) fn open_tag(&mut self, at: usize) -> Step<usize> {
        let element = name(self.window, at + 1, self.limits.name_bytes_max)?;
        let end = self.read_attributes(element.end)?;
        if end.at - at > self.limits.tag_bytes_max {
            return doubt(at, "longer than the limits allow");
        }
        self.tell_apart(at)?;
        let n_scopes = self.state.scopes.len();
        self.declare_namespaces(at)?;
        self.expand_names(at)?;
        self.open(at, element, n_scopes)?;
        if end.is_empty_element {
            self.close(at)?;
        }
        Ok(end.at)
    }

    fn read_attributes(&mut self, from: usize) -> Step<End> {
        self.state.attributes.clear();
        let mut at = from;
        loop {
            let start = spaces(self.window, at);
            match &self.window[start..] {
                [] | [b'/'] => return Err(Stop::Short),
                [b'>', ..] => {
                    return Ok(End {
                        at: start + 1,
                        is_empty_element: false,
                    });
                }
                [b'/', b'>', ..] => {
                    return Ok(End {
                        at: start + 2,
                        is_empty_element: true,
                    });
                }
                _ if start == at => return doubt(at, "no space before an attribute"),
                _ => at = self.read_attribute(start)?,
            }
        }
    }

    fn read_attribute(&mut self, start: usize) -> Step<usize> {
        let window = self.window;
        let name = name(window, start, self.limits.name_bytes_max)?;
        let equals = spaces(window, name.end);
        match window.get(equals) {
            Some(b'=') => {}
            Some(_) => return doubt(start, "an attribute without a value"),
            None => return Err(Stop::Short),
        }
        let value = quoted(window, spaces(window, equals + 1))?;
        if value.inside.len() > self.limits.attribute_bytes_max {
            return doubt(start, "longer than the limits allow");
        }
        let attributes = &mut self.state.attributes;
        if attributes.len() == self.limits.attributes_max {
            return doubt(start, "more attributes than the limits allow");
        }
        let is_same = |other: &RawAttribute| other.name.whole(window) == name.whole(window);
        if attributes.len() < FEW && attributes.iter().any(is_same) {
            return doubt(start, "an attribute twice");
        }
        let end = value.inside.end + 1;
        attributes.push(RawAttribute {
            name,
            value: value.inside,
            is_plain: value.is_plain,
            namespace: Namespace::ABSENT,
            symbol: None,
        });
        Ok(end)
    }

    /// Where there are many attributes, these have different names, too.
    fn tell_apart(&self, at: usize) -> Step<()> {
        let attributes = &self.state.attributes;
        if attributes.len() <= FEW {
            return Ok(());
        }
        let names = attributes.iter().map(|one| one.name.whole(self.window));
        let mut names: Vec<&[u8]> = names.collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return doubt(at, "an attribute twice");
        }
        Ok(())
    }

    /// Takes the namespace declarations out of the attributes. What has to be resolved in the name
    /// of a namespace is left to the full engine.
    fn declare_namespaces(&mut self, at: usize) -> Step<()> {
        let window = self.window;
        let is_declaration = |name: Name| {
            let prefix = if name.has_prefix() {
                name.prefix(window)
            } else {
                name.local(window)
            };
            prefix == b"xmlns"
        };
        let (names, scopes) = (&self.tables.names, &mut self.state.scopes);
        let mut is_sound = true;
        self.state.attributes.retain(|attribute| {
            if !is_declaration(attribute.name) {
                return true;
            }
            let prefix = match attribute.name.has_prefix() {
                true => attribute.name.local(window),
                false => b"",
            };
            let uri = &window[attribute.value.clone()];
            is_sound &= attribute.is_plain && scopes.declare(prefix, uri, names);
            false
        });
        if is_sound {
            Ok(())
        } else {
            doubt(at, "a namespace declaration")
        }
    }

    /// Finds the expanded names of the attributes, which have to be different.
    fn expand_names(&mut self, at: usize) -> Step<()> {
        let window = self.window;
        let (names, scopes) = (&self.tables.names, &self.state.scopes);
        let mut n_prefixed = 0;
        for attribute in &mut self.state.attributes {
            if attribute.name.has_prefix() {
                let Some((namespace, _)) = scopes.find(attribute.name.prefix(window)) else {
                    return doubt(at, "an unknown prefix");
                };
                attribute.namespace = namespace;
                n_prefixed += 1;
            }
            let local = attribute.name.local(window);
            attribute.symbol = names.symbol(attribute.namespace, local);
        }
        if n_prefixed < 2 {
            return Ok(());
        }
        // Two prefixes may stand for one namespace, also for one that the schema does not know.
        let expanded = |attribute: &RawAttribute| {
            let namespace = scopes.find(attribute.name.prefix(window));
            (namespace, attribute.name.local(window).to_owned())
        };
        let prefixed = self.state.attributes.iter();
        let prefixed = prefixed.filter(|attribute| attribute.name.has_prefix());
        let mut expanded: Vec<_> = prefixed.map(expanded).collect();
        expanded.sort_unstable();
        if expanded.windows(2).any(|pair| pair[0] == pair[1]) {
            return doubt(at, "an attribute twice");
        }
        Ok(())
    }
}
