//! Small changes of a document, made by knowledge of its schema, most of which leave it well-formed.

use super::document::{Document, Element, Node, Way, local};
use super::knowledge::{Knowledge, Name};
use super::random::Random;

const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Times that an element may be written again.
const COPIES_MAX: usize = 130;

pub(crate) struct Mutator<'k> {
    pub(crate) knowledge: &'k Knowledge,
    /// Elements of other documents of the schema.
    pub(crate) donors: &'k [Element],
    pub(crate) random: Random,
    /// What the root declares: prefixes, the empty one for the default, and what they stand for.
    prefixes: Vec<(String, String)>,
}

impl<'k> Mutator<'k> {
    pub(crate) fn new(knowledge: &'k Knowledge, donors: &'k [Element], seed: u64) -> Mutator<'k> {
        Mutator {
            knowledge,
            donors,
            random: Random::of(seed),
            prefixes: Vec::new(),
        }
    }

    pub(crate) fn change(&mut self, document: &mut Document) {
        let declared = |(name, uri): &(String, String)| {
            let prefix = name.strip_prefix("xmlns")?;
            Some((prefix.trim_start_matches(':').to_owned(), uri.clone()))
        };
        self.prefixes = document
            .root
            .attributes
            .iter()
            .filter_map(declared)
            .collect();
        while {
            self.change_once(document);
            self.random.once_in(3)
        } {}
    }

    fn change_once(&mut self, document: &mut Document) {
        let ways = document.ways();
        let way = match self.random.choose(&ways) {
            Some(way) if !self.random.once_in(20) => way.clone(),
            Some(_) | None => Way::new(),
        };
        match self.random.below(27) {
            0..=4 => self.with_leaf(document, &ways, Self::own_value),
            5 => self.with_leaf(document, &ways, Self::other_value),
            6..=7 => self.with_leaf(document, &ways, Self::other_characters),
            8..=9 => self.same_value(document, &ways, &way),
            10..=12 => self.children(document, &way),
            13..=15 => self.as_often(document, &ways),
            16 => self.exchange(document, &ways, &way),
            17 => self.with(document, &way, Self::own_attribute),
            18 => self.with(document, &way, Self::add_attribute),
            19 => self.with(document, &way, Self::fewer_attributes),
            20 => self.with(document, &way, Self::instance_type),
            21 => self.with(document, &way, Self::nil),
            22 => self.with(document, &way, Self::other_name),
            23 => self.with(document, &way, Self::add_markup),
            24..=25 => self.by_wildcard(document, &ways),
            _ => self.with(document, &way, Self::add_element),
        }
    }

    fn with(
        &mut self,
        document: &mut Document,
        way: &[usize],
        change: fn(&mut Self, &mut Element),
    ) {
        if let Some(element) = document.at(way) {
            change(self, element);
        }
    }

    fn with_leaf(
        &mut self,
        document: &mut Document,
        ways: &[Way],
        change: fn(&mut Self, &mut Element),
    ) {
        for _ in 0..8 {
            let way = self.random.choose(ways).cloned().unwrap_or_default();
            if let Some(element) = document.at(&way).filter(|element| element.is_leaf()) {
                return change(self, element);
            }
        }
    }

    /// A value at a bound of the type.
    fn own_value(&mut self, element: &mut Element) {
        let knowledge = self.knowledge;
        let values = knowledge.values_of_element(element.local());
        if let Some(value) = self.random.choose(values) {
            let value = self.written(value);
            element.set_inside(value);
        }
    }

    fn other_value(&mut self, element: &mut Element) {
        let knowledge = self.knowledge;
        let Some(other) = self.random.choose(&knowledge.elements) else {
            return;
        };
        let values = knowledge.values_of_element(&other.local);
        if let Some(value) = self.random.choose(values) {
            let value = self.written(value);
            element.set_inside(value);
        }
    }

    fn other_characters(&mut self, element: &mut Element) {
        let text = self.changed(&element.inside());
        element.set_inside(text);
    }

    /// A text with one character or reference other, more or less.
    fn changed(&mut self, text: &str) -> String {
        const PIECES: [&str; 24] = [
            " ",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "&#9;",
            "&#10;",
            "&#13;",
            "&#x20;",
            "&#48;",
            "&amp;",
            "&lt;",
            "0",
            "1",
            "9",
            "-",
            ".",
            "a",
            "Z",
            "ä",
            "\u{10000}",
            "<!---->",
            "<?p?>",
            "<![CDATA[1]]>",
        ];
        let mut all: Vec<String> = text.chars().map(String::from).collect();
        let at = self.random.below(all.len() + 1);
        let piece = PIECES[self.random.below(PIECES.len())].to_owned();
        match self.random.below(5) {
            0 => all.insert(at, piece),
            1 if at < all.len() => all[at] = piece,
            2 if at < all.len() => drop(all.remove(at)),
            3 if at < all.len() => all.insert(at, all[at].clone()),
            _ => {
                let split = all.concat();
                let (before, behind) = split.split_at(all[..at].concat().len());
                return format!("{before}<![CDATA[{behind}]]>");
            }
        }
        all.concat()
    }

    /// A value as a document writes it, sometimes with other references or space around it.
    fn written(&mut self, value: &str) -> String {
        let mut text = value
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace("]]>", "]]&gt;");
        if self.random.once_in(10) {
            text = text
                .chars()
                .map(|c| format!("&#{};", u32::from(c)))
                .collect();
        } else if self.random.once_in(10) {
            text = format!("\n {text}\t");
        } else if self.random.once_in(20) {
            text = format!("<![CDATA[{}]]>", value.replace("]]>", ""));
        }
        text
    }

    /// In an attribute there is no markup.
    fn written_in_attribute(&mut self, value: &str) -> String {
        let text = value
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;");
        match self.random.below(10) {
            0 => format!(" {text}\n"),
            1 => format!("&#32;{text}"),
            _ => text,
        }
    }

    /// The value of another element of this name, as keys must not and references have to be.
    fn same_value(&mut self, document: &mut Document, ways: &[Way], way: &[usize]) {
        let Some(name) = document.at(way).map(|element| element.local().to_owned()) else {
            return;
        };
        let mut others: Vec<Element> = Vec::new();
        for way in ways {
            others.extend(document.at(way).cloned());
        }
        let is_alike = self.random.below(3) > 0;
        others.retain(|other| (local(&other.name) == name) == is_alike);
        let (Some(other), Some(element)) = (self.random.choose(&others), document.at(way)) else {
            return;
        };
        match self.random.choose(&other.attributes) {
            Some((_, value)) if self.random.once_in(2) && !element.attributes.is_empty() => {
                let n = self.random.below(element.attributes.len());
                element.attributes[n].1.clone_from(value);
            }
            _ if other.is_leaf() && element.is_leaf() => {
                element.children.clone_from(&other.children)
            }
            _ => {}
        }
    }

    /// An element out, again, or one of another document beside it.
    fn children(&mut self, document: &mut Document, way: &[usize]) {
        let Some((n, parent)) = way.split_last() else {
            return;
        };
        let Some(parent) = document.at(parent) else {
            return;
        };
        match self.random.below(4) {
            0..=1 => drop(parent.children.remove(*n)),
            2 => parent.children.insert(*n, parent.children[*n].clone()),
            _ => {
                if let Some(donor) = self.random.choose(self.donors) {
                    let place = *n + self.random.below(2);
                    parent.children.insert(place, Node::Element(donor.clone()));
                }
            }
        }
    }

    /// An element as often as it may occur in its parent, or once more or less.
    fn as_often(&mut self, document: &mut Document, ways: &[Way]) {
        let knowledge = self.knowledge;
        let mut counted: Vec<(&Way, Element)> = Vec::new();
        for way in ways {
            let element = document.at(way).cloned();
            let element = element.filter(|e| {
                let is_known = counted.iter().any(|(_, other)| other.name == e.name);
                !is_known && !knowledge.occurrences_of(e.local()).is_empty()
            });
            counted.extend(element.map(|element| (way, element)));
        }
        let Some((way, element)) = self.random.choose(&counted) else {
            return;
        };
        // One more than is allowed is what is looked for most.
        let counts = knowledge.occurrences_of(element.local());
        let count = if self.random.once_in(2) {
            counts.iter().max()
        } else {
            self.random.choose(counts)
        };
        let (Some((n, parent)), Some(count)) = (way.split_last(), count) else {
            return;
        };
        let Some(parent) = document.at(parent) else {
            return;
        };
        let is_other = |node: &Node| match node {
            Node::Element(other) => other.name != element.name,
            Node::Other(_) => true,
        };
        let before = parent.children[..*n].iter();
        let place = before.filter(|node| is_other(node)).count();
        parent.children.retain(is_other);
        let copies = vec![Node::Element(element.clone()); (*count).min(COPIES_MAX)];
        parent.children.splice(place..place, copies);
    }

    /// Something of any namespace where a wildcard takes some.
    fn by_wildcard(&mut self, document: &mut Document, ways: &[Way]) {
        let knowledge = self.knowledge;
        let mut open: Vec<(&Way, bool)> = Vec::new();
        for way in ways {
            let name = document.at(way).map(|element| element.local().to_owned());
            let name = name.unwrap_or_default();
            if knowledge.open_to_elements.contains(&name) {
                open.push((way, true));
            }
            if knowledge.open_to_attributes.contains(&name) {
                open.push((way, false));
            }
        }
        let Some((way, is_to_elements)) = self.random.choose(&open) else {
            return;
        };
        let Some(element) = document.at(way) else {
            return;
        };
        if !is_to_elements {
            return self.add_attribute(element);
        }
        let mut inside = element.children.iter_mut().filter_map(|child| match child {
            Node::Element(child) => Some(child),
            Node::Other(_) => None,
        });
        match inside.next() {
            Some(first) if self.random.once_in(2) => self.other_name(first),
            Some(_) | None => self.add_element(element),
        }
    }

    fn exchange(&mut self, document: &mut Document, ways: &[Way], way: &[usize]) {
        let Some(other) = self.random.choose(ways).cloned() else {
            return;
        };
        if way.starts_with(&other) || other.starts_with(way) {
            return;
        }
        let (Some(one), Some(two)) = (document.at(way).cloned(), document.at(&other).cloned())
        else {
            return;
        };
        if let Some(element) = document.at(way) {
            *element = two;
        }
        if let Some(element) = document.at(&other).filter(|_| self.random.below(3) > 0) {
            *element = one;
        }
    }

    fn own_attribute(&mut self, element: &mut Element) {
        if element.attributes.is_empty() {
            return self.add_attribute(element);
        }
        let n = self.random.below(element.attributes.len());
        let knowledge = self.knowledge;
        let values = knowledge.values_of_attribute(local(&element.attributes[n].0));
        let value = match self.random.choose(values) {
            Some(value) if !self.random.once_in(5) => self.written_in_attribute(value),
            Some(_) | None => self.changed(&element.attributes[n].1),
        };
        element.attributes[n].1 = value;
    }

    fn add_attribute(&mut self, element: &mut Element) {
        let knowledge = self.knowledge;
        let Some(known) = self.random.choose(&knowledge.attributes) else {
            return;
        };
        let mut name = known.clone();
        if self.random.once_in(4) {
            name.namespace = self.any_namespace();
        }
        let values = knowledge.values_of_attribute(&known.local);
        let value = self.random.choose(values).cloned().unwrap_or_default();
        let value = self.written_in_attribute(&value);
        let name = self.qualified(element, &name, false);
        element.set_attribute(&name, value);
    }

    fn fewer_attributes(&mut self, element: &mut Element) {
        if !element.attributes.is_empty() {
            let n = self.random.below(element.attributes.len());
            element.attributes.remove(n);
        }
    }

    fn instance_type(&mut self, element: &mut Element) {
        let knowledge = self.knowledge;
        if let Some(name) = self.random.choose(&knowledge.types) {
            let value = self.qualified(element, name, true);
            let instance = self.instance(element, "type");
            element.set_attribute(&instance, value);
        }
    }

    fn nil(&mut self, element: &mut Element) {
        let values = ["true", "1", "false", "0", " true ", "yes"];
        let value = values[self.random.below(values.len())];
        let name = self.instance(element, "nil");
        element.set_attribute(&name, value.to_owned());
        if self.random.below(3) > 0 {
            element.children.clear();
        }
    }

    fn instance(&mut self, element: &mut Element, local: &str) -> String {
        let name = Name {
            namespace: INSTANCE.to_owned(),
            local: local.to_owned(),
        };
        self.qualified(element, &name, false)
    }

    /// Another name, or the same in another namespace.
    fn other_name(&mut self, element: &mut Element) {
        let knowledge = self.knowledge;
        let mut name = Name {
            namespace: self.any_namespace(),
            local: element.local().to_owned(),
        };
        if let Some(other) = self
            .random
            .choose(&knowledge.elements)
            .filter(|_| self.random.below(3) > 0)
        {
            name.clone_from(other);
        }
        element.name = self.qualified(element, &name, true);
    }

    fn add_element(&mut self, parent: &mut Element) {
        let knowledge = self.knowledge;
        let Some(known) = self.random.choose(&knowledge.elements) else {
            return;
        };
        let mut element = Element::default();
        let mut name = known.clone();
        if self.random.once_in(3) {
            name.namespace = self.any_namespace();
        }
        element.name = self.qualified(&mut element, &name, true);
        if let Some(value) = self
            .random
            .choose(knowledge.values_of_element(&known.local))
        {
            let value = self.written(value);
            element.set_inside(value);
        }
        let place = self.random.below(parent.children.len() + 1);
        parent.children.insert(place, Node::Element(element));
    }

    fn add_markup(&mut self, element: &mut Element) {
        const PIECES: [&str; 12] = [
            "<!-- c -->",
            "<?p q?>",
            " ",
            "\n",
            "\t",
            "&#32;",
            "x",
            "<![CDATA[]]>",
            "<![CDATA[ ]]>",
            "<![CDATA[x]]>",
            "&amp;",
            "\r",
        ];
        let piece = PIECES[self.random.below(PIECES.len())].to_owned();
        if self.random.once_in(6) {
            element.children.clear();
        }
        let place = self.random.below(element.children.len() + 1);
        element.children.insert(place, Node::Other(piece));
    }

    fn any_namespace(&mut self) -> String {
        let knowledge = self.knowledge;
        self.random
            .choose(&knowledge.namespaces)
            .cloned()
            .unwrap_or_default()
    }

    /// A name with a prefix that stands for its namespace; the element declares one if the root
    /// does not. An attribute without a prefix has no namespace.
    fn qualified(&mut self, element: &mut Element, name: &Name, may_be_default: bool) -> String {
        let fits = |(prefix, uri): &&(String, String)| {
            *uri == name.namespace && (may_be_default || !prefix.is_empty())
        };
        let known = self
            .prefixes
            .iter()
            .find(fits)
            .map(|(prefix, _)| prefix.clone());
        let has_default = self.prefixes.iter().any(|(prefix, _)| prefix.is_empty());
        let prefix = match known {
            Some(prefix) => prefix,
            None if name.namespace.is_empty() => {
                if may_be_default && has_default {
                    element.set_attribute("xmlns", String::new());
                }
                String::new()
            }
            None => {
                let prefix = ["q", "r", "e"][self.random.below(3)];
                element.set_attribute(&format!("xmlns:{prefix}"), name.namespace.clone());
                prefix.to_owned()
            }
        };
        match prefix.as_str() {
            "" => name.local.clone(),
            prefix => format!("{prefix}:{}", name.local),
        }
    }
}
