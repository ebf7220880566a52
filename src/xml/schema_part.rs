//! One file of a schema: its text, what it links to, and what it refers to.

use std::collections::BTreeSet;
use std::ops::Range;

use super::intake::{Element, InspectError, walk};
use super::names::is_space;
use super::{Finding, Source, XmlLimits, doctype, location};

pub(super) const XSD_NAMESPACE: &str = "http://www.w3.org/2001/XMLSchema";

/// The attributes that refer to components by qualified names (XSD 1.0 Part 1, 3.15.3).
const REFERRING: [&str; 8] = [
    "base",
    "defaultAttributes",
    "itemType",
    "memberTypes",
    "ref",
    "refer",
    "substitutionGroup",
    "type",
];

pub(super) struct Part {
    pub(super) links: Vec<Link>,
    /// The namespaces of all components that it refers to.
    pub(super) referred: BTreeSet<Option<String>>,
    pub(super) target_namespace: Option<String>,
    text: String,
}

/// A directive that names another file, or a namespace.
pub(super) struct Link {
    pub(super) is_import: bool,
    /// As it is written.
    pub(super) location: Option<String>,
    pub(super) namespace: Option<String>,
    place: Finding,
    /// Where `schemaLocation` stands, or is to stand, in the text.
    span: Range<usize>,
}

impl Link {
    pub(super) fn finding(&self, message: &str) -> Finding {
        Finding::new(self.place.line, self.place.column, message)
    }
}

impl Part {
    /// Checks that the file is well-formed and a schema.
    pub(super) fn read(bytes: &[u8]) -> Result<Part, Finding> {
        let text = doctype::to_plain_text(bytes)?;
        let mut part = Part {
            links: Vec::new(),
            referred: BTreeSet::new(),
            target_namespace: None,
            text: String::new(),
        };
        let source = Source::Memory(text.as_bytes());
        match walk(&source, &XmlLimits::default(), &mut |element| {
            part.see(element)
        }) {
            Ok(_) => Ok(Part { text, ..part }),
            Err(InspectError::NotWellFormed(finding)) => Err(finding),
            Err(InspectError::Io(error)) => Err(Finding::new(0, 0, &error.to_string())),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The text in which every link, in turn, leads to its target and no other goes anywhere. Lines
    /// stay where they are; what is right already stays as it is written.
    pub(super) fn linked(&self, file: &str, targets: &[Option<String>]) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (link, target) in self.links.iter().zip(targets) {
            let written = &self.text[link.span.clone()];
            let attribute = match (target, &link.location) {
                (Some(target), Some(location)) if leads(file, location, target) => continue,
                (Some(target), _) => {
                    let reference = location::reference(file, target);
                    format!(" schemaLocation=\"{reference}\"")
                }
                (None, _) => String::new(),
            };
            text.push_str(&self.text[copied..link.span.start]);
            text.push_str(&attribute);
            text.extend(written.chars().filter(|c| matches!(c, '\r' | '\n')));
            copied = link.span.end;
        }
        text.push_str(&self.text[copied..]);
        text
    }

    fn see(&mut self, element: &Element<'_>) -> Result<(), Finding> {
        let is_xsd = element.namespace == Some(XSD_NAMESPACE);
        if element.depth == 1 {
            if !is_xsd || element.name != "schema" {
                return Err(element.finding("the root element is not xs:schema"));
            }
            self.target_namespace = element.attribute("targetNamespace");
        }
        if !is_xsd {
            return Ok(());
        }
        let links = ["import", "include", "override", "redefine"].contains(&element.name);
        if element.depth == 2 && links {
            self.links.push(link(element));
        }
        for attribute in &element.attributes {
            if attribute.namespace.is_none() && REFERRING.contains(&attribute.name) {
                let value = attribute.value();
                let names = value.split(is_space).filter(|name| !name.is_empty());
                let prefixes = names.map(|name| name.split_once(':').map_or("", |(p, _)| p));
                let namespaces = prefixes.map(|prefix| element.scopes.namespace(prefix));
                self.referred
                    .extend(namespaces.map(|uri| uri.map(str::to_owned)));
            }
        }
        Ok(())
    }
}

fn link(element: &Element<'_>) -> Link {
    let span = element.attribute_span("schemaLocation");
    Link {
        is_import: element.name == "import",
        location: element.attribute("schemaLocation"),
        namespace: element.attribute("namespace"),
        place: element.finding(""),
        span: span.unwrap_or_else(|| element.name_end()..element.name_end()),
    }
}

/// Does everyone who reads `location` in `file` find `target`?
fn leads(file: &str, written: &str, target: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let found = location::join(location::directory_of(file), written);
    written.chars().all(plain) && found.as_deref() == Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_led_to_their_targets_and_lines_stay() {
        let text = "<schema xmlns='http://www.w3.org/2001/XMLSchema' xmlns:a='urn:a'>\n\
            <include schemaLocation='same.xsd'/>\n<import namespace='urn:a'\n schemaLocation\n=\n\
            ' http://h/a.xsd ' id='i'/><import/>\n<import namespace='urn:b' schemaLocation='b.xsd'/>\
            <annotation><appinfo><import schemaLocation='no.xsd'/></appinfo></annotation>\
            <element name='e' type='a:t'/><simpleType name='u'><union memberTypes='a:x u'/></simpleType></schema>";
        let part = Part::read(text.as_bytes()).unwrap();
        let locations: Vec<_> = part
            .links
            .iter()
            .map(|link| link.location.as_deref())
            .collect();
        let written = [
            Some("same.xsd"),
            Some(" http://h/a.xsd "),
            None,
            Some("b.xsd"),
        ];
        assert_eq!(locations, written);
        assert!(part.links[1].is_import && !part.links[0].is_import);
        assert_eq!(part.links[1].finding("x").to_string(), "3:1: x");
        let referred = [Some("http://www.w3.org/2001/XMLSchema"), Some("urn:a")];
        assert_eq!(
            part.referred,
            referred.map(|uri| uri.map(str::to_owned)).into()
        );
        let targets = [Some("d/same.xsd"), Some("h/ä.xsd"), Some("d/c.xsd"), None];
        let linked = part.linked(
            "d/main.xsd",
            &targets.map(|target| target.map(str::to_owned)),
        );
        assert!(linked.contains(
            "\n<include schemaLocation='same.xsd'/>\n<import namespace='urn:a' \
             schemaLocation=\"../h/%C3%A4.xsd\"\n\n\n id='i'/><import schemaLocation=\"../d/c.xsd\"/>\n\
             <import namespace='urn:b'/>"
        ), "{linked}");
        Part::read(linked.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        let refused = |text: &str| Part::read(text.as_bytes()).err().unwrap().to_string();
        assert_eq!(refused("\n<a/>"), "2:1: the root element is not xs:schema");
    }
}
