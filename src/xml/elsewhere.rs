//! What other validators refuse of a schema that is good: partners may check with them before
//! they send.
//!
//! libxml2 and Xerces read schemas by XSD 1.0. Only what is certain is said: what one tag shows,
//! or one and its neighbours, as it was measured with libxml2 2.9 and with the Xerces of Java 17.

use std::collections::BTreeMap;

use super::intake::{Element, walk};
use super::names::is_space;
use super::schema_part::XSD_NAMESPACE;
use super::snapshot::Snapshot;
use super::{Finding, Source, XmlLimits};

/// The largest number that they take for minOccurs and maxOccurs.
const OCCURS_MAX: u64 = 2_147_483_647;

/// More than this is refused by Java, of a group or of an element beside others.
const OCCURS_MAX_OF_JAVA: u64 = 5000;

/// Elements that came with XSD 1.1.
const LATER_ELEMENTS: [&str; 7] = [
    "alternative",
    "assert",
    "assertion",
    "defaultOpenContent",
    "explicitTimezone",
    "openContent",
    "override",
];

/// Attributes that came with XSD 1.1, and their elements.
const LATER_ATTRIBUTES: [(&str, &[&str]); 7] = [
    ("defaultAttributesApply", &["complexType"]),
    ("inheritable", &["attribute"]),
    ("notNamespace", &["any", "anyAttribute"]),
    ("notQName", &["any", "anyAttribute"]),
    ("ref", &["key", "keyref", "unique"]),
    ("targetNamespace", &["attribute", "element"]),
    ("xpathDefaultNamespace", &["field", "selector"]),
];

/// Types that came with XSD 1.1.
const LATER_TYPES: [&str; 5] = [
    "anyAtomicType",
    "dateTimeStamp",
    "dayTimeDuration",
    "error",
    "yearMonthDuration",
];

/// Attributes whose value is one qualified name.
const NAMES: [&str; 6] = [
    "base",
    "itemType",
    "ref",
    "refer",
    "substitutionGroup",
    "type",
];

/// Who refuses a schema.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Both,
    Libxml2,
    Xerces,
    Java,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Both => "libxml2 and Xerces refuse it",
            Who::Libxml2 => "libxml2 refuses it",
            Who::Xerces => "Xerces refuses it",
            Who::Java => "Java's Xerces refuses it",
        }
    }
}

/// What is refused by whom: the first thing, and how many more there are.
pub(super) fn refusals(schema: &Snapshot) -> Vec<String> {
    let mut look = Look::default();
    for place in schema.unlocated() {
        look.found.entry(Who::Both).or_default().push(place.clone());
    }
    for (file, text) in schema.files() {
        look.file = file.to_owned();
        look.open.clear();
        let source = Source::Memory(text.as_bytes());
        // The text has been found to be well-formed.
        let _ = walk(&source, &XmlLimits::default(), &mut |element| {
            look.see(element);
            Ok(())
        });
    }
    let told = look.found.into_iter().filter_map(|(who, found)| {
        let first = found.first()?;
        let more = match found.len() - 1 {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        Some(format!("{}: {first}{more}", who.name()))
    });
    told.collect()
}

#[derive(Default)]
struct Look {
    file: String,
    found: BTreeMap<Who, Vec<String>>,
    /// The open elements, outermost first.
    open: Vec<Open>,
}

struct Open {
    /// Is it inside an annotation, or none of XML Schema's own?
    is_foreign: bool,
    name: String,
    n_particles: usize,
    /// What Java refuses if more than one particle stands here.
    waiting: Vec<String>,
}

impl Look {
    fn see(&mut self, element: &Element<'_>) {
        self.open.truncate(element.depth.saturating_sub(1));
        let parent = self.open.last();
        let is_foreign = parent.is_some_and(|parent| parent.is_foreign)
            || element.namespace != Some(XSD_NAMESPACE)
            || element.name == "annotation";
        if !is_foreign {
            let parent = parent.map_or("", |parent| &parent.name).to_owned();
            self.see_later(element, &parent);
            self.see_names(element);
            self.see_occurs(element);
        }
        self.open.push(Open {
            is_foreign,
            name: element.name.to_owned(),
            n_particles: 0,
            waiting: Vec::new(),
        });
    }

    fn add(&mut self, who: Who, element: &Element<'_>, what: &str) {
        let place = self.place(element, what);
        self.found.entry(who).or_default().push(place);
    }

    fn place(&self, element: &Element<'_>, what: &str) -> String {
        let Finding { line, .. } = element.finding("");
        format!("{}:{line}: {what}", self.file)
    }

    /// What came with XSD 1.1.
    fn see_later(&mut self, element: &Element<'_>, parent: &str) {
        let name = element.name;
        let later = |what: &str| format!("{what} is of XSD 1.1");
        if LATER_ELEMENTS.contains(&name) {
            self.add(Who::Both, element, &later(&format!("xs:{name}")));
        }
        for (attribute, elements) in LATER_ATTRIBUTES {
            if elements.contains(&name) && element.attribute(attribute).is_some() {
                let what = format!("{attribute} of xs:{name}");
                self.add(Who::Both, element, &later(&what));
            }
        }
        for attribute in ["defaultAttributes", "xpathDefaultNamespace"] {
            if name == "schema" && element.attribute(attribute).is_some() {
                let what = format!("{attribute} of xs:schema");
                self.add(Who::Xerces, element, &later(&what));
            }
        }
        let in_all = match name {
            "any" | "group" => true,
            "element" => occurs(element, "maxOccurs").is_some_and(|n| n > 1),
            _ => false,
        };
        if parent == "all" && in_all {
            let what = match name {
                "element" => "maxOccurs above 1 in xs:all".to_owned(),
                _ => format!("xs:{name} in xs:all"),
            };
            self.add(Who::Both, element, &later(&what));
        }
    }

    /// What is the matter with the components that it refers to.
    fn see_names(&mut self, element: &Element<'_>) {
        for attribute in NAMES {
            let value = element.attribute(attribute).unwrap_or_default();
            if value.starts_with(is_space) || value.ends_with(is_space) {
                let what = format!("white space around the value of {attribute}");
                self.add(Who::Libxml2, element, &what);
            }
            let n_names = words(&value).count();
            if attribute == "substitutionGroup" && n_names > 1 {
                let what = "a substitutionGroup of several elements is of XSD 1.1";
                self.add(Who::Both, element, what);
            }
        }
        for attribute in ["base", "itemType", "memberTypes", "type"] {
            let value = element.attribute(attribute).unwrap_or_default();
            for word in words(&value) {
                let (prefix, name) = word.split_once(':').unwrap_or(("", word));
                if element.scopes.namespace(prefix) != Some(XSD_NAMESPACE) {
                    continue;
                }
                if LATER_TYPES.contains(&name) {
                    let what = format!("xs:{name} is of XSD 1.1");
                    self.add(Who::Both, element, &what);
                }
                if name == "anySimpleType" && matches!(attribute, "itemType" | "memberTypes") {
                    let what = format!("xs:anySimpleType in {attribute}");
                    self.add(Who::Libxml2, element, &what);
                }
            }
        }
    }

    /// How often particles may occur.
    fn see_occurs(&mut self, element: &Element<'_>) {
        let max = occurs(element, "maxOccurs").unwrap_or(0);
        let min = occurs(element, "minOccurs").unwrap_or(0);
        if max > OCCURS_MAX {
            self.add(Who::Both, element, &format!("maxOccurs above {OCCURS_MAX}"));
        } else if min > OCCURS_MAX {
            let what = format!("minOccurs above {OCCURS_MAX}");
            self.add(Who::Xerces, element, &what);
        }
        let is_group = matches!(element.name, "choice" | "group" | "sequence");
        if is_group || matches!(element.name, "any" | "element") {
            self.see_particle(element, is_group, max);
        }
    }

    fn see_particle(&mut self, element: &Element<'_>, is_group: bool, max: u64) {
        let is_large = (OCCURS_MAX_OF_JAVA + 1..=OCCURS_MAX).contains(&max);
        let what = format!(
            "maxOccurs above {OCCURS_MAX_OF_JAVA} of xs:{}",
            element.name
        );
        if is_large && is_group {
            self.add(Who::Java, element, &what);
        }
        let beside = self.place(element, &format!("{what} beside other particles"));
        let Some(parent) = self.open.last_mut() else {
            return;
        };
        parent.n_particles += 1;
        if is_large && !is_group {
            parent.waiting.push(beside);
        }
        if parent.n_particles > 1 {
            let refused = parent.waiting.drain(..);
            self.found.entry(Who::Java).or_default().extend(refused);
        }
    }
}

/// A number of occurrences; none if it is not there, or unbounded.
fn occurs(element: &Element<'_>, attribute: &str) -> Option<u64> {
    let value = element.attribute(attribute)?;
    let digits = value.trim_matches(is_space).trim_start_matches('+');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(is_space).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::xml::schema_files::SchemaFiles;
    use crate::xml::{Edition, Keys, SchemaEngine, XsdSchema, child};

    const HEAD: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' \
        xmlns:t='urn:t' targetNamespace='urn:t'";

    /// What is refused of `a.xsd` of the directory, which is a good schema by this edition.
    fn refused(dir: &Path, edition: Edition) -> Vec<String> {
        let name = "a".to_owned();
        let files = SchemaFiles {
            editions: [(name.clone(), edition)].into(),
            ..SchemaFiles::default()
        };
        let mut read = files.read(dir, &BTreeSet::from([name.clone()]));
        let snapshot = read.remove(&name).unwrap().unwrap();
        XsdSchema
            .compile(&snapshot, Keys::Checked)
            .map(|_| ())
            .unwrap();
        refusals(&snapshot)
    }

    /// Does libxml2 refuse it, if it is installed?
    fn is_refused_by_libxml2(dir: &Path) -> Option<bool> {
        let Some(xmllint) = child::find("xmllint") else {
            assert!(std::env::var_os("CI").is_none(), "xmllint is not installed");
            return None;
        };
        fs::write(dir.join("d.xml"), "<d/>").unwrap();
        let told = Command::new(xmllint)
            .args(["--nonet", "--noout", "--schema", "a.xsd", "d.xml"])
            .current_dir(dir)
            .env("XML_CATALOG_FILES", "")
            .output()
            .unwrap();
        Some(String::from_utf8_lossy(&told.stderr).contains("failed to compile"))
    }

    /// Content of a schema, and what is refused of it.
    const CASES: &[(&str, &str)] = &[
        (
            "<xs:complexType name='c'><xs:sequence><xs:element name='e' maxOccurs='5000'/>\
          <xs:element name='f' maxOccurs='5000'/></xs:sequence></xs:complexType>",
            "",
        ),
        (
            "<xs:annotation><xs:appinfo><xs:assert test='1'/></xs:appinfo></xs:annotation>",
            "",
        ),
        (
            "<xs:complexType name='c'>\n<xs:assert test='1'/>\n<xs:assert test='1'/></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:2: xs:assert is of XSD 1.1, and 1 more",
        ),
        (
            "<xs:complexType name='c'><xs:attribute name='a' inheritable='true'/></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:1: inheritable of xs:attribute is of XSD 1.1",
        ),
        (
            "<xs:complexType name='c'><xs:all><xs:element name='e' maxOccurs='2'/></xs:all></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:1: maxOccurs above 1 in xs:all is of XSD 1.1",
        ),
        (
            "<xs:complexType name='c'><xs:all><xs:any processContents='lax'/></xs:all></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:1: xs:any in xs:all is of XSD 1.1",
        ),
        (
            "<xs:element name='e' type='xs:dateTimeStamp'/>",
            "libxml2 and Xerces refuse it: a.xsd:1: xs:dateTimeStamp is of XSD 1.1",
        ),
        (
            "<xs:element name='e' substitutionGroup='t:r t:s'/><xs:element name='s'/>",
            "libxml2 and Xerces refuse it: a.xsd:1: a substitutionGroup of several elements is of XSD 1.1",
        ),
        (
            "<xs:complexType name='c'><xs:sequence><xs:element name='e' maxOccurs='2147483648'/>\
          </xs:sequence></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:1: maxOccurs above 2147483647",
        ),
        (
            "<xs:import namespace='http://www.w3.org/XML/1998/namespace'/>\
          <xs:complexType name='c'><xs:attribute ref='xml:lang'/></xs:complexType>",
            "libxml2 and Xerces refuse it: a.xsd:1: an import of namespace \
          http://www.w3.org/XML/1998/namespace without a schemaLocation",
        ),
        (
            "<xs:element name='e' type=' xs:int'/>",
            "libxml2 refuses it: a.xsd:1: white space around the value of type",
        ),
        (
            "<xs:simpleType name='s'><xs:list itemType='xs:anySimpleType'/></xs:simpleType>",
            "libxml2 refuses it: a.xsd:1: xs:anySimpleType in itemType",
        ),
        (
            "<xs:complexType name='c'><xs:sequence><xs:element name='e' minOccurs='2147483648' \
          maxOccurs='unbounded'/></xs:sequence></xs:complexType>",
            "Xerces refuses it: a.xsd:1: minOccurs above 2147483647",
        ),
        (
            "<xs:complexType name='c'><xs:sequence maxOccurs='5001'><xs:element name='e'/></xs:sequence></xs:complexType>",
            "Java's Xerces refuses it: a.xsd:1: maxOccurs above 5000 of xs:sequence",
        ),
        (
            "<xs:complexType name='c'><xs:sequence><xs:element name='e' maxOccurs='5001'/></xs:sequence></xs:complexType>",
            "",
        ),
        (
            "<xs:complexType name='c'><xs:sequence>\n<xs:element name='e' maxOccurs='5001'/>\n\
          <xs:element name='f' maxOccurs='5001'/></xs:sequence></xs:complexType>",
            "Java's Xerces refuses it: a.xsd:2: maxOccurs above 5000 of xs:element beside other particles, and 1 more",
        ),
    ];

    #[test]
    fn what_others_refuse_of_a_good_schema_is_named() {
        for (content, wanted) in CASES {
            let dir = tempfile::tempdir().unwrap();
            let (imports, others) = match content.strip_prefix("<xs:import") {
                Some(_) => content.split_at(content.find("/>").unwrap() + 2),
                None => ("", *content),
            };
            let text = format!("{HEAD}>{imports}<xs:element name='r'/>{others}</xs:schema>");
            fs::write(dir.path().join("a.xsd"), text).unwrap();
            let edition = match wanted.contains("XSD 1.1") {
                true => Edition::V1_1,
                false => Edition::V1_0,
            };
            let refused = refused(dir.path(), edition).join("; ");
            assert_eq!(refused, *wanted, "{content}");
            if let Some(is_refused) = is_refused_by_libxml2(dir.path()) {
                assert_eq!(is_refused, wanted.starts_with("libxml2"), "{content}");
            }
        }
    }
}
