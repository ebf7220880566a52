//! Which namespace a prefix stands for, by Namespaces in XML 1.0.
//!
//! [`Scopes`] follows the elements of one document: declarations come in with a start tag, are
//! in force for its names and everything inside, and go with its end. A name that cannot be
//! resolved or a declaration that is not allowed is refused with a message; the place is the
//! concern of the caller, and so is a limit on how many declarations are in force.

use super::names::{XML_NAMESPACE, XMLNS_NAMESPACE, split_qname};
use super::tag::{self, RawAttribute};

/// The namespace declarations in force, innermost last.
#[derive(Default)]
pub(super) struct Scopes {
    bindings: Vec<Binding>,
}

struct Binding {
    depth: usize,
    /// Empty for the default namespace.
    prefix: String,
    /// Empty where the default namespace is taken back.
    uri: String,
}

impl Scopes {
    /// What a prefix stands for; the empty one for the default namespace.
    pub(super) fn namespace(&self, prefix: &str) -> Option<&str> {
        if prefix == "xml" {
            return Some(XML_NAMESPACE);
        }
        let mut inner = self.bindings.iter().rev();
        let binding = inner.find(|binding| binding.prefix == prefix)?;
        Some(binding.uri.as_str()).filter(|uri| !uri.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Takes in a namespace declaration of an element at `depth`; other attributes pass by.
    pub(super) fn declare(
        &mut self,
        attribute: &RawAttribute<'_>,
        depth: usize,
    ) -> Result<(), &'static str> {
        let prefix = match attribute.name.split_once(':') {
            Some(("xmlns", prefix)) => prefix,
            None if attribute.name == "xmlns" => "",
            _ => return Ok(()),
        };
        let uri = tag::resolve(attribute.value);
        if prefix == "xmlns" || uri == XMLNS_NAMESPACE {
            return Err("the prefix \"xmlns\" and its namespace cannot be declared");
        }
        if (prefix == "xml") != (uri == XML_NAMESPACE) {
            return Err("the prefix \"xml\" and its namespace belong together");
        }
        if uri.is_empty() && !prefix.is_empty() {
            return Err("the declaration of a namespace prefix cannot be empty");
        }
        self.bindings.push(Binding {
            depth,
            prefix: prefix.to_owned(),
            uri,
        });
        Ok(())
    }

    /// Forgets what the elements at `depth` and deeper have declared.
    pub(super) fn close(&mut self, depth: usize) {
        while self.bindings.last().is_some_and(|b| b.depth >= depth) {
            self.bindings.pop();
        }
    }

    /// The namespace and local part of an element's name.
    pub(super) fn element_name<'n>(
        &'n self,
        name: &'n str,
    ) -> Result<(Option<&'n str>, &'n str), String> {
        let (prefix, local) = qname(name)?;
        if prefix.is_empty() {
            return Ok((self.namespace(""), local));
        }
        Ok((Some(self.bound(prefix)?), local))
    }

    /// The same for an attribute, to which the default namespace does not apply.
    pub(super) fn attribute_name<'n>(
        &'n self,
        name: &'n str,
    ) -> Result<(Option<&'n str>, &'n str), String> {
        let (prefix, local) = qname(name)?;
        match (prefix, local) {
            ("xmlns", _) | ("", "xmlns") => Ok((Some(XMLNS_NAMESPACE), local)),
            ("", _) => Ok((None, local)),
            _ => Ok((Some(self.bound(prefix)?), local)),
        }
    }

    fn bound(&self, prefix: &str) -> Result<&str, String> {
        self.namespace(prefix)
            .ok_or_else(|| format!("the namespace prefix \"{prefix}\" is not declared"))
    }
}

fn qname(name: &str) -> Result<(&str, &str), String> {
    split_qname(name).ok_or_else(|| format!("\"{name}\" is not a name"))
}
