//! What the engine keeps of a document while it reads it, held against the budget of all documents: IDs and
//! references to them, values of identity constraints, the elements and texts that an assertion looks at, and
//! names that it has not met before. All else that it holds does not grow with the document.
//!
//! The engine says nothing of its memory, so what a thing takes is known by measuring, and rounded up.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::rc::Rc;
use std::sync::Arc;

use xsd_schema::SchemaSet;
use xsd_schema::arenas::{AttributeDeclData, ComplexTypeDefData, IdentityConstraintData};
use xsd_schema::ids::{ElementKey, TypeKey};
use xsd_schema::types::XmlTypeCode;

use super::base64::{STEPS_MAX, lineage};
use crate::xml::budget::{Budget, NoRoom, Share};
use crate::xml::names::is_space;

// Bytes of each beside its text.
const ID_BYTES: usize = 160;
const REFERENCE_BYTES: usize = 384;
const FIELD_BYTES: usize = 288;
/// Of an element, attribute or text that an assertion looks at.
const NODE_BYTES: usize = 192;

pub(super) struct Kept<'s> {
    set: &'s SchemaSet,
    share: Share,
    traits: HashMap<TypeKey, Traits>,
    /// Outermost first.
    open: Vec<Open>,
    /// Of the constraints of all open elements that have some.
    fields: Vec<Rc<[Field]>>,
    constraints: HashMap<ElementKey, Rc<[Field]>>,
    asserted: Option<Asserted>,
    default_bytes: usize,
    name_bytes: usize,
}

/// What is kept of the values of a type, and of the elements that have it.
#[derive(Debug, Clone, Copy, Default)]
struct Traits {
    /// Of each item of a value.
    item_bytes: usize,
    has_assertions: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Open {
    has_constraints: bool,
    of: Option<TypeKey>,
    /// Fields whose value its text may be.
    n_fields: usize,
}

/// The outermost element with assertions, of which all is kept until it ends.
#[derive(Debug, Clone, Copy)]
struct Asserted {
    depth: usize,
    bytes: usize,
}

/// What may be the value of a field: the last step of its path.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    is_attribute: bool,
    /// `None`: any.
    name: Option<String>,
}

/// There is memory, or why not.
type Step = Result<(), NoRoom>;

impl<'s> Kept<'s> {
    pub(super) fn new(set: &'s SchemaSet, budget: Arc<Budget>) -> Kept<'s> {
        Kept {
            set,
            share: Share::of(budget),
            traits: HashMap::new(),
            open: Vec::new(),
            fields: Vec::new(),
            constraints: HashMap::new(),
            asserted: None,
            default_bytes: default_bytes(set),
            name_bytes: set.name_table.heap_bytes(),
        }
    }

    /// An element begins.
    pub(super) fn enter(
        &mut self,
        name: &str,
        element: Option<ElementKey>,
        of: Option<TypeKey>,
    ) -> Step {
        let n_fields = self.n_fields(false, name);
        let own = element.map(|element| self.fields_of(element));
        let own = own.filter(|fields| !fields.is_empty());
        // A constraint may select the element that has it.
        let n_own = own.as_ref().map_or(0, |own| matching(own, false, name));
        self.open.push(Open {
            has_constraints: own.is_some(),
            of: None,
            n_fields: n_fields + n_own,
        });
        self.fields.extend(own);
        self.hold((n_fields + n_own) * FIELD_BYTES)?;
        self.take_type(of)?;
        self.hold_asserted(0)?;
        let name_bytes = self.set.name_table.heap_bytes();
        let new = name_bytes.saturating_sub(self.name_bytes);
        self.name_bytes = name_bytes;
        self.hold(new + self.default_bytes)
    }

    /// The innermost element has this type; it may have had another one until now.
    pub(super) fn take_type(&mut self, of: Option<TypeKey>) -> Step {
        let traits = self.traits(of);
        if let Some(open) = self.open.last_mut() {
            open.of = of;
        }
        if traits.has_assertions {
            let depth = self.open.len();
            self.asserted.get_or_insert(Asserted { depth, bytes: 0 });
        }
        // Without content its value may be one that the schema says.
        self.hold(traits.item_bytes)
    }

    /// An attribute of the innermost element.
    pub(super) fn attribute(&mut self, name: &str, of: Option<TypeKey>, value: &str) -> Step {
        let n_fields = self.n_fields(true, name);
        self.hold(n_fields * FIELD_BYTES)?;
        self.value(of, n_fields, value)
    }

    /// Some text of the innermost element.
    pub(super) fn text(&mut self, text: &str) -> Step {
        let open = self.open.last().copied().unwrap_or_default();
        self.value(open.of, open.n_fields, text)
    }

    fn value(&mut self, of: Option<TypeKey>, n_fields: usize, text: &str) -> Step {
        let item_bytes = self.traits(of).item_bytes;
        if item_bytes > 0 {
            let items = text.split(is_space).filter(|item| !item.is_empty());
            self.hold(items.map(|item| item_bytes + item.len()).sum())?;
        }
        self.hold(n_fields * text.len())?;
        self.hold_asserted(text.len())
    }

    /// The innermost element has ended.
    pub(super) fn leave(&mut self) {
        let depth = self.open.len();
        if let Some(ended) = self.asserted.take_if(|asserted| asserted.depth == depth) {
            self.share.release(ended.bytes);
        }
        if self.open.pop().is_some_and(|open| open.has_constraints) {
            self.fields.pop();
        }
    }

    /// Holds a node if an assertion may look at it.
    fn hold_asserted(&mut self, text_bytes: usize) -> Step {
        let bytes = NODE_BYTES + text_bytes;
        match &mut self.asserted {
            None => return Ok(()),
            Some(asserted) => asserted.bytes += bytes,
        }
        self.hold(bytes)
    }

    fn hold(&mut self, bytes: usize) -> Step {
        match bytes == 0 || self.share.hold(bytes) {
            true => Ok(()),
            false => Err(self.share.no_room()),
        }
    }

    /// Of how many fields an element or attribute of this name may be the value.
    fn n_fields(&self, is_attribute: bool, name: &str) -> usize {
        let each = self.fields.iter();
        each.map(|fields| matching(fields, is_attribute, name))
            .sum()
    }

    fn fields_of(&mut self, element: ElementKey) -> Rc<[Field]> {
        let arenas = &self.set.arenas;
        let fields = || {
            let declared = arenas.elements.get(element);
            let keys = declared.map_or(&[][..], |of| &of.identity_constraints);
            let constraints = keys
                .iter()
                .filter_map(|key| arenas.identity_constraints.get(*key));
            constraints.flat_map(fields).collect()
        };
        self.constraints
            .entry(element)
            .or_insert_with(fields)
            .clone()
    }

    fn traits(&mut self, of: Option<TypeKey>) -> Traits {
        let set = self.set;
        let traits = |of: TypeKey| *self.traits.entry(of).or_insert_with(|| traits(set, of));
        of.map(traits).unwrap_or_default()
    }
}

fn matching(fields: &[Field], is_attribute: bool, name: &str) -> usize {
    let fits = |field: &&Field| {
        field.is_attribute == is_attribute && field.name.as_deref().is_none_or(|of| of == name)
    };
    fields.iter().filter(fits).count()
}

/// Each way in which a constraint's fields may have a value.
fn fields(constraint: &IdentityConstraintData) -> Vec<Field> {
    let paths = constraint.fields.iter().flat_map(|of| of.xpath.split('|'));
    let selected = || constraint.selector.xpath.split('|').map(last_step);
    let values = paths.flat_map(|path| match last_step(path) {
        "." => selected().collect(),
        step => vec![step],
    });
    values.map(field).collect()
}

fn last_step(path: &str) -> &str {
    path.rsplit(['/', ':']).next().unwrap_or(path).trim()
}

fn field(step: &str) -> Field {
    let name = step.trim_start_matches('@').trim();
    Field {
        is_attribute: step.starts_with('@'),
        name: (name != "*" && name != ".").then(|| name.to_owned()),
    }
}

fn traits(set: &SchemaSet, of: TypeKey) -> Traits {
    let complex = |of| match of {
        TypeKey::Complex(of) => set.arenas.complex_types.get(of),
        TypeKey::Simple(_) => None,
    };
    let base = |of: &&'_ ComplexTypeDefData| complex(of.resolved_base_type?);
    let mut lineage = iter::successors(complex(of), base).take(STEPS_MAX);
    Traits {
        item_bytes: item_bytes(set, of),
        has_assertions: lineage.any(|of| !of.assertions.is_empty()),
    }
}

/// What the attributes that a schema gives to elements without them take at most, if they refer to IDs.
fn default_bytes(set: &SchemaSet) -> usize {
    let arenas = &set.arenas;
    let of_types = arenas.complex_types.values();
    let of_types = of_types.map(|of| (&of.attributes, &of.resolved_attributes));
    let of_groups = arenas.attribute_groups.values();
    let of_groups = of_groups.map(|of| (&of.attributes, &of.resolved_attributes));
    let uses = of_types
        .chain(of_groups)
        .flat_map(|(uses, resolved)| uses.iter().zip(resolved));
    let bytes = uses.map(|(used, resolved)| {
        let declared = resolved
            .resolved_ref
            .and_then(|key| arenas.attributes.get(key));
        let value = used
            .attribute
            .default_value
            .as_ref()
            .or(used.attribute.fixed_value.as_ref());
        let of_declared =
            |of: &'_ AttributeDeclData| of.default_value.is_some() || of.fixed_value.is_some();
        let of = resolved
            .resolved_type
            .or(declared.and_then(|of| of.resolved_type));
        match value.is_some() || declared.is_some_and(of_declared) {
            true => of.map_or(0, |of| item_bytes(set, of)),
            false => 0,
        }
    });
    bytes.sum()
}

/// What an item of a value of this type takes, if it may be an ID or a reference to one.
fn item_bytes(set: &SchemaSet, of: TypeKey) -> usize {
    let (mut most, mut seen, mut wanted) = (0, HashSet::new(), vec![of]);
    while let Some(of) = wanted.pop() {
        for step in lineage(set, of) {
            let TypeKey::Simple(simple) = step else {
                continue;
            };
            most = most.max(match set.get_type_code(simple) {
                Some(XmlTypeCode::Id) => ID_BYTES,
                Some(XmlTypeCode::IdRef) => REFERENCE_BYTES,
                _ => 0,
            });
            if let Some(data) = set.arenas.simple_types.get(simple) {
                let parts = data
                    .resolved_member_types
                    .iter()
                    .chain(&data.resolved_item_type);
                wanted.extend(parts.filter(|&&part| seen.insert(part)));
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::schema::{Keys, SchemaEngine, ValidateError};
    use crate::xml::{Snapshot, Source, XmlLimits, XsdSchema};

    const VC: &str = "xmlns:vc='http://www.w3.org/2007/XMLSchema-versioning' vc:minVersion='1.1'";
    const N: usize = 5000;

    /// What is found of `r` with many items, by a budget of so many bytes.
    fn found(
        edition: &str,
        item: &str,
        of_root: &str,
        text: fn(usize) -> String,
        bytes: usize,
    ) -> Vec<String> {
        let (head, space) = ("http://www.w3.org/2001/XMLSchema", "maxOccurs='unbounded'");
        let schema = format!(
            "<xs:schema xmlns:xs='{head}' {edition}><xs:element name='r'><xs:complexType>\
             <xs:sequence>{}</xs:sequence>{of_root}</xs:element></xs:schema>",
            item.replace("MANY", space)
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.xsd"), schema).unwrap();
        let snapshot = Snapshot::read(dir.path(), "a.xsd", |_| Ok(None)).unwrap();
        let mut engine = XsdSchema.compile(&snapshot, Keys::Checked).unwrap();
        let items: String = (0..N).map(text).collect();
        let document = format!("<r>{items}</r>");
        let (source, limits) = (Source::Memory(document.as_bytes()), XmlLimits::default());
        let budget = Arc::new(Budget::new(bytes));
        let found = engine.validate(&source, &limits, &budget).unwrap();
        if bytes > 0 {
            // All of it has been given back, however the run ended.
            assert!(Share::of(Arc::clone(&budget)).hold(bytes / (64 * 1024) * 64 * 1024));
        }
        found.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn takes(edition: &str, item: &str, of_root: &str, text: fn(usize) -> String, each: usize) {
        let within = found(edition, item, of_root, text, 2 * N * each);
        assert_eq!(within, [""; 0]);
        let beyond = found(edition, item, of_root, text, N * each / 2);
        assert!(
            beyond.len() == 1 && beyond[0].contains("send it in parts"),
            "{beyond:?}"
        );
    }

    const END: &str = "</xs:complexType>";

    #[test]
    fn all_that_grows_with_a_document_is_bounded() {
        let attribute = "<xs:element name='i' MANY><xs:complexType>\
             <xs:attribute name='a' type='xs:TYPE'/></xs:complexType></xs:element>";
        let of = |name: &str| attribute.replace("TYPE", name);
        takes("", &of("ID"), END, |n| format!("<i a='a{n}'/>"), ID_BYTES);
        let refer = |n: usize| match n {
            0 => "<i><d>a</d></i>".to_owned(),
            _ => "<i><s>a a</s></i>".to_owned(),
        };
        let nested = "<xs:element name='i' MANY><xs:complexType><xs:choice>\
             <xs:element name='d' type='xs:ID'/><xs:element name='s' type='xs:IDREFS'/>\
             </xs:choice></xs:complexType></xs:element>";
        takes("", nested, END, refer, 3 * REFERENCE_BYTES);
        let unique = "</xs:complexType><xs:unique name='u'><xs:selector xpath='i'/>\
             <xs:field xpath='PATH'/></xs:unique>";
        let (by_text, by_attribute) = (unique.replace("PATH", "."), unique.replace("PATH", "@a"));
        let text = "<xs:element name='i' type='xs:string' MANY/>";
        takes("", text, &by_text, |n| format!("<i>{n}</i>"), FIELD_BYTES);
        takes(
            "",
            &of("int"),
            &by_attribute,
            |n| format!("<i a='{n}'/>"),
            FIELD_BYTES,
        );
        let inside = "<xs:element name='i' MANY><xs:complexType><xs:attribute name='a'/>\
             </xs:complexType><xs:key name='u'><xs:selector xpath='.'/><xs:field xpath='@a'/>\
             </xs:key></xs:element>";
        takes(
            "",
            inside,
            END,
            |n| format!("<i a='{n}'/>"),
            2 * FIELD_BYTES,
        );
        let asserted = "<xs:assert test='count(i) ge 1'/></xs:complexType>";
        takes(
            VC,
            text,
            asserted,
            |n| format!("<i>{n}</i>"),
            2 * NODE_BYTES,
        );
        let any = "<xs:any processContents='skip' MANY/>";
        takes("", any, END, |n| format!("<i{n}/>"), 80);
        let defaults =
            of("IDREF").replace("/></xs:complexType>", " default='a'/></xs:complexType>");
        let defaults = format!("<xs:element name='d' type='xs:ID' minOccurs='0'/>{defaults}");
        let with_default = |n: usize| if n == 0 { "<d>a</d>" } else { "<i/>" }.to_owned();
        takes("", &defaults, END, with_default, REFERENCE_BYTES);
    }

    #[test]
    fn what_does_not_grow_takes_nothing() {
        let text = "<xs:element name='i' type='xs:string' MANY/>";
        assert_eq!(found("", text, END, |n| format!("<i>{n}</i>"), 0), [""; 0]);
        // What an assertion has looked at is given back with its element.
        let small = "<xs:element name='i' MANY><xs:complexType><xs:sequence>\
             <xs:element name='n' type='xs:int'/></xs:sequence><xs:assert test='n ge 0'/>\
             </xs:complexType></xs:element>";
        let item = |n: usize| format!("<i><n>{n}</n></i>");
        assert_eq!(found(VC, small, END, item, 64 * 1024), [""; 0]);
        let small = "<xs:element name='i' MANY><xs:complexType><xs:attribute name='a' type='xs:int'/>\
             </xs:complexType></xs:element>";
        let unique = "</xs:complexType><xs:unique name='u'><xs:selector xpath='i/j'/>\
             <xs:field xpath='@b'/></xs:unique>";
        assert_eq!(
            found("", small, unique, |n| format!("<i a='{n}'/>"), 0),
            [""; 0]
        );
    }

    #[test]
    fn what_others_hold_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let schema = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
             <xs:element name='r' type='xs:ID'/></xs:schema>";
        std::fs::write(dir.path().join("a.xsd"), schema).unwrap();
        let snapshot = Snapshot::read(dir.path(), "a.xsd", |_| Ok(None)).unwrap();
        let mut engine = XsdSchema.compile(&snapshot, Keys::Checked).unwrap();
        let budget = Arc::new(Budget::new(64 * 1024));
        let mut other = Share::of(Arc::clone(&budget));
        assert!(other.hold(1));
        let (source, limits) = (Source::Memory(b"<r>a</r>"), XmlLimits::default());
        let found = engine.validate(&source, &limits, &budget);
        assert!(matches!(found, Err(ValidateError::Busy)), "{found:?}");
        drop(other);
        assert!(
            engine
                .validate(&source, &limits, &budget)
                .unwrap()
                .is_empty()
        );
    }
}
