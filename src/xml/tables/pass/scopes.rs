//! Namespace declarations in force (Namespaces in XML 1.0).

use std::ops::Range;

use crate::xml::names::{XML_NAMESPACE, XMLNS_NAMESPACE};
use crate::xml::tables::names::{Names, Namespace};

/// Fewer than the limit for documents: more are looked at by the full engine.
const DECLARATIONS_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Scopes {
    declared: Vec<Declared>,
    /// Prefixes and names of namespaces.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Declared {
    prefix: Range<usize>,
    uri: Range<usize>,
    namespace: Namespace,
}

impl Scopes {
    pub(super) fn len(&self) -> usize {
        self.declared.len()
    }

    /// Takes back all but the first `n`.
    pub(super) fn truncate(&mut self, n: usize) {
        if let Some(first) = self.declared.get(n) {
            self.text.truncate(first.prefix.start);
            self.declared.truncate(n);
        }
    }

    /// False for a declaration that is not allowed. Without a prefix it is the default.
    #[must_use]
    pub(super) fn declare(&mut self, prefix: &[u8], uri: &[u8], names: &Names) -> bool {
        let reserved = [XML_NAMESPACE.as_bytes(), XMLNS_NAMESPACE.as_bytes()];
        if matches!(prefix, b"xml" | b"xmlns")
            || reserved.contains(&uri)
            || uri.is_empty() && !prefix.is_empty()
            || self.declared.len() == DECLARATIONS_MAX
        {
            return false;
        }
        let start = self.text.len();
        self.text.extend_from_slice(prefix);
        let middle = self.text.len();
        self.text.extend_from_slice(uri);
        self.declared.push(Declared {
            prefix: start..middle,
            uri: middle..self.text.len(),
            namespace: names.namespace(uri),
        });
        true
    }

    /// What a prefix stands for; the empty one for the default.
    pub(super) fn find(&self, prefix: &[u8]) -> Option<(Namespace, &[u8])> {
        let mut inner_first = self.declared.iter().rev();
        let found = inner_first.find(|one| self.text[one.prefix.clone()] == *prefix);
        match (found, prefix) {
            (Some(one), _) => Some((one.namespace, &self.text[one.uri.clone()])),
            (None, b"") => Some((Namespace::ABSENT, b"")),
            (None, b"xml") => Some((Namespace::XML, XML_NAMESPACE.as_bytes())),
            (None, _) => None,
        }
    }
}
