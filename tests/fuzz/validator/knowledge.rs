//! What the files of a schema say that documents can be made of: names, how often something may
//! occur, and values at the bounds of its types. It is read from the text, not by the code under test.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::literals::{self, built_in};

const SCHEMA_NAMESPACE: &str = "http://www.w3.org/2001/XMLSchema";

/// Types inside each other.
const DEPTH_MAX: usize = 12;

/// Values of one type, those of its own facets first.
const VALUES_MAX: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) local: String,
}

#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) elements: Vec<Name>,
    pub(crate) attributes: Vec<Name>,
    pub(crate) types: Vec<Name>,
    pub(crate) namespaces: Vec<String>,
    /// By the local name of an element, or that of an attribute behind `@`.
    values: HashMap<String, Vec<String>>,
    /// How often an element of this local name may and may not occur.
    occurrences: HashMap<String, Vec<usize>>,
    /// Local names of elements that wildcards open to other elements, and to other attributes.
    pub(crate) open_to_elements: BTreeSet<String>,
    pub(crate) open_to_attributes: BTreeSet<String>,
}

impl Knowledge {
    /// Of the schema in this file and all that it links to.
    pub(crate) fn read(main: &Path) -> Knowledge {
        let mut texts: Vec<(PathBuf, String)> = Vec::new();
        let mut wanted = vec![main.to_owned()];
        while let Some(path) = wanted.pop() {
            let known = texts.iter().any(|(other, _)| *other == path);
            let Some(text) = fs::read_to_string(&path).ok().filter(|_| !known) else {
                continue;
            };
            for link in text.split("schemaLocation=").skip(1) {
                let mut parts = link.split(['"', '\'']);
                let location = parts.nth(1).unwrap_or_default();
                let linked = path.parent().unwrap_or(Path::new("")).join(location);
                wanted.extend(linked.canonicalize().ok());
            }
            texts.push((path, text));
        }
        let documents = texts.iter().map(|(_, text)| Document::parse(text));
        let documents: Vec<Document<'_>> = documents.filter_map(Result::ok).collect();
        let mut knowledge = Knowledge::default();
        Reader::of(&documents).fill(&mut knowledge);
        knowledge
    }

    pub(crate) fn values_of_element(&self, local: &str) -> &[String] {
        self.values.get(local).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn values_of_attribute(&self, local: &str) -> &[String] {
        let values = self.values.get(&format!("@{local}"));
        values.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn occurrences_of(&self, local: &str) -> &[usize] {
        self.occurrences.get(local).map_or(&[], Vec::as_slice)
    }
}

struct Reader<'x> {
    documents: &'x [Document<'x>],
    /// Simple and complex ones, by their local names.
    types: HashMap<&'x str, Node<'x, 'x>>,
}

impl<'x> Reader<'x> {
    fn of(documents: &'x [Document<'x>]) -> Reader<'x> {
        let top = documents.iter().flat_map(|d| d.root_element().children());
        let types = top.filter(|node| is(node, "simpleType") || is(node, "complexType"));
        Reader {
            documents,
            types: types
                .filter_map(|node| Some((node.attribute("name")?, node)))
                .collect(),
        }
    }

    fn fill(&self, knowledge: &mut Knowledge) {
        let mut names = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        let mut namespaces = BTreeSet::from([String::new(), "urn:of-nothing".to_owned()]);
        for document in self.documents {
            let target = document.root_element().attribute("targetNamespace");
            let target = target.unwrap_or_default();
            namespaces.insert(target.to_owned());
            let local_is_qualified = |node: &Node<'_, '_>| {
                let of_all = format!("{}FormDefault", node.tag_name().name());
                let form = node.attribute("form");
                form.or(document.root_element().attribute(of_all.as_str())) == Some("qualified")
            };
            for node in document.descendants().filter(Node::is_element) {
                if is(&node, "any") || is(&node, "anyAttribute") {
                    let written = node.attribute("namespace").unwrap_or_default();
                    let written = written.split_whitespace().filter(|n| !n.starts_with('#'));
                    namespaces.extend(written.map(str::to_owned));
                    let open = match is(&node, "any") {
                        true => &mut knowledge.open_to_elements,
                        false => &mut knowledge.open_to_attributes,
                    };
                    open.extend(self.elements_around(node));
                }
                self.occurrences(&node, knowledge);
                let kind = match node.tag_name().name() {
                    "element" => 0,
                    "attribute" => 1,
                    "simpleType" | "complexType" => 2,
                    _ => continue,
                };
                let Some(local) = node.attribute("name") else {
                    continue;
                };
                let is_global = node.parent() == Some(document.root_element());
                let is_qualified = is_global || local_is_qualified(&node);
                names[kind].insert(Name {
                    namespace: if is_qualified { target } else { "" }.to_owned(),
                    local: local.to_owned(),
                });
                if kind < 2 {
                    let key = format!("{}{local}", ["", "@"][kind]);
                    let values = knowledge.values.entry(key).or_default();
                    values.extend(self.values_of_declaration(node));
                }
            }
        }
        for local in ["int", "string", "token", "anyType", "date", "NMTOKEN"] {
            names[2].insert(Name {
                namespace: SCHEMA_NAMESPACE.to_owned(),
                local: local.to_owned(),
            });
        }
        let [elements, attributes, types] = names;
        knowledge.elements = elements.into_iter().collect();
        knowledge.attributes = attributes.into_iter().collect();
        knowledge.types = types.into_iter().collect();
        knowledge.namespaces = namespaces.into_iter().collect();
    }

    /// What a particle says of itself, or of the elements in it.
    fn occurrences(&self, node: &Node<'x, 'x>, knowledge: &mut Knowledge) {
        let bound = |name| node.attribute(name).and_then(|n| n.parse::<usize>().ok());
        for bound in [bound("minOccurs"), bound("maxOccurs")]
            .into_iter()
            .flatten()
        {
            let elements = node.descendants().filter(|inner| is(inner, "element"));
            for element in elements {
                let name = element.attribute("name").or(element.attribute("ref"));
                let local = name.map(super::document::local).unwrap_or_default();
                let counts = knowledge.occurrences.entry(local.to_owned()).or_default();
                counts.extend([bound.saturating_sub(1), bound, bound + 1]);
            }
        }
    }

    /// The names of the elements in whose type a node is.
    fn elements_around(&self, node: Node<'x, 'x>) -> Vec<String> {
        let named = |inner: &Node<'_, '_>| inner.attribute("name").is_some();
        let Some(around) = node.ancestors().find(named) else {
            return Vec::new();
        };
        let name = around.attribute("name").unwrap_or_default();
        if is(&around, "element") {
            return vec![name.to_owned()];
        }
        let elements = self.documents.iter().flat_map(|d| d.descendants());
        let of_type = elements.filter(|element| {
            let of_type = element.attribute("type").map(super::document::local);
            is(element, "element") && of_type == Some(name)
        });
        let names = of_type.filter_map(|element| element.attribute("name"));
        names.map(str::to_owned).collect()
    }

    fn values_of_declaration(&self, node: Node<'x, 'x>) -> Vec<String> {
        let mut values = match node.attribute("type") {
            Some(name) => self.values_of_name(node, name, 0),
            None => self.values_inside(node, 0),
        };
        for name in ["default", "fixed"] {
            let value = node.attribute(name).into_iter();
            values.extend(value.flat_map(literals::neighbours));
        }
        values
    }

    fn values_of_name(&self, scope: Node<'x, 'x>, name: &str, depth: usize) -> Vec<String> {
        let (prefix, local) = match name.split_once(':') {
            Some((prefix, local)) => (Some(prefix), local),
            None => (None, name),
        };
        if scope.lookup_namespace_uri(prefix) == Some(SCHEMA_NAMESPACE) {
            return built_in(local).iter().map(|v| (*v).to_owned()).collect();
        }
        match self.types.get(local) {
            Some(node) if depth < DEPTH_MAX => self.values_inside(*node, depth + 1),
            Some(_) | None => Vec::new(),
        }
    }

    /// Of the type that a node is or has.
    fn values_inside(&self, node: Node<'x, 'x>, depth: usize) -> Vec<String> {
        let mut values = Vec::new();
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "simpleType" | "complexType" | "simpleContent" if depth < DEPTH_MAX => {
                    values.extend(self.values_inside(child, depth + 1));
                }
                "extension" | "restriction" => values.extend(self.restricted(child, depth)),
                "list" => {
                    let items = self.values_of_part(child, "itemType", depth);
                    values.extend(literals::lists(&items));
                }
                "union" => values.extend(self.values_of_part(child, "memberTypes", depth)),
                _ => {}
            }
        }
        values.truncate(VALUES_MAX);
        values
    }

    /// Of the types that an attribute names, and those that are written inside.
    fn values_of_part(&self, node: Node<'x, 'x>, attribute: &str, depth: usize) -> Vec<String> {
        let names = node.attribute(attribute).unwrap_or_default();
        let names = names.split_whitespace();
        let mut values: Vec<String> = names
            .flat_map(|name| self.values_of_name(node, name, depth + 1))
            .collect();
        values.extend(self.values_inside(node, depth + 1));
        values
    }

    fn restricted(&self, node: Node<'x, 'x>, depth: usize) -> Vec<String> {
        let base = self.values_of_part(node, "base", depth);
        let mut values = Vec::new();
        for facet in node.children().filter(Node::is_element) {
            let Some(value) = facet.attribute("value") else {
                continue;
            };
            let number = value.parse::<usize>().unwrap_or(0).min(64);
            values.extend(match facet.tag_name().name() {
                "fractionDigits" => literals::of_fraction_digits(number),
                "length" | "maxLength" | "minLength" => literals::of_length(number, &base),
                "pattern" => literals::of_pattern(value),
                "totalDigits" => literals::of_total_digits(number),
                _ => literals::neighbours(value),
            });
        }
        values.extend(base);
        values
    }
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((SCHEMA_NAMESPACE, name))
}
