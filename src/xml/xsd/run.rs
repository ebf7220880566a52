//! One document through the engine: it says what is wrong but not where, so the handler keeps the
//! positions of the open elements; a finding gets that of the element it is about.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::BufRead;
use std::rc::Rc;
use std::sync::Arc;

use xsd_schema::SchemaSet;
use xsd_schema::ids::TypeKey;
use xsd_schema::validation::{
    AttributeView, ContentType, DoctypeView, DriveWithError, ElementStartView, EndElementInfo,
    EndOfAttributesView, SchemaInfo, SchemaValidator, TextKind, ValidationError,
    ValidationEventHandler, ValidationSink, ValidationSubject, ValidationWarning,
    drive_quick_xml_with,
};
use xsd_schema::xml::ParseLimits;

use super::expected::{Contents, Models};
use super::kept::Kept;
use super::{base64, values, wording};
use crate::xml::budget::{Budget, NoRoom};
use crate::xml::decode::{Decoder, finding_in};
use crate::xml::names::{XSI_NAMESPACE, is_space};
use crate::xml::position::{Meter, Position};
use crate::xml::schema::ValidateError;
use crate::xml::{Finding, XmlLimits};

/// What the engine calls a text that is none of the literals of its type, or of those of a union.
const NO_VALUE: [&str; 2] = ["cvc-datatype-valid", "cvc-simple-type"];

/// Bytes of an element's text that are kept to say what is wrong with it.
const VALUE_BYTES_MAX: usize = 1000;

/// What is wrong with the document.
///
/// # Errors
/// When it cannot be read, there is no room for it, or the engine fails.
pub(super) fn validate(
    models: &Models<'_>,
    validator: &SchemaValidator<'_>,
    input: Box<dyn BufRead + Send>,
    limits: &XmlLimits,
    budget: Arc<Budget>,
) -> Result<Vec<Finding>, ValidateError> {
    let decoder = match Decoder::of(input) {
        Ok(decoder) => decoder.unlabelled(),
        Err(error) => return reading_failed(error),
    };
    let meter = decoder.meter();
    let set = models.set();
    let report = Rc::new(RefCell::new(Report::new(models, limits.findings_max)));
    let mut runtime = validator.start_run(Sink(Rc::clone(&report)));
    runtime.set_parse_limits(parse_limits(limits));
    // Without a document type declaration a document has no entities that could be named.
    runtime.set_unparsed_entities(HashSet::new());
    let mut handler = Handler {
        content: Vec::new(),
        // The engine announces a text only when it has read the tag behind it.
        event_bytes_max: limits.text_bytes_max.saturating_add(limits.tag_bytes_max),
        meter: Rc::clone(&meter),
        report: Rc::clone(&report),
        kept: Kept::new(set, budget),
        set,
        value: None,
    };
    handler.next_event();
    match drive_quick_xml_with(decoder, &mut runtime, set, &mut handler) {
        Ok(_) => {
            if let Err(error) = runtime.end_validation() {
                return Err(ValidateError::Engine(error.to_string()));
            }
        }
        Err(DriveWithError::Hook(Stop::Doctype)) => {
            let message = "document type declarations are not accepted";
            report.borrow_mut().add(meter.last_tag(), message);
        }
        Err(DriveWithError::Hook(Stop::NoRoom(NoRoom::Busy))) => return Err(ValidateError::Busy),
        Err(DriveWithError::Hook(Stop::NoRoom(too_large @ NoRoom::TooLarge(_)))) => {
            report
                .borrow_mut()
                .add(meter.last_tag(), &too_large.to_string());
        }
        Err(DriveWithError::Io(error)) => match finding_in(&error) {
            Some(finding) => report.borrow_mut().push(finding.clone()),
            None => return Err(ValidateError::Io(error)),
        },
        Err(DriveWithError::NotWellFormed(fault)) => {
            report.borrow_mut().add(meter.last_tag(), fault.message());
        }
        Err(other) => report
            .borrow_mut()
            .add(meter.last_tag(), &other.to_string()),
    }
    if let Some(failure) = runtime.operational_failure() {
        return Err(ValidateError::Engine(failure.to_string()));
    }
    drop(runtime);
    let findings = report.borrow_mut().take();
    Ok(findings)
}

/// What has been found so far, shared by the sink and the handler of one run.
struct Report<'m> {
    child: Child,
    contents: Contents<'m>,
    findings: Vec<Finding>,
    findings_max: usize,
    /// Which of the findings is that the type of the value at hand does not take it.
    misfit: Option<Misfit>,
    /// The first of those beyond the limit, and how many these are.
    more: Option<(Finding, u64)>,
    /// Outermost first.
    open: Vec<Open>,
    root: Position,
}

struct Misfit {
    constraint: &'static str,
    /// None: it is beyond the limit.
    index: Option<usize>,
}

/// The element that is about to open, if one is.
#[derive(Default)]
struct Child {
    is_there: bool,
    name: String,
    namespace: String,
}

/// An element whose end has not come.
struct Open {
    /// May it not stand where it is?
    is_refused: bool,
    place: Position,
    /// The last of its children that may not stand there.
    refused_child: Option<String>,
}

impl<'m> Report<'m> {
    fn new(models: &'m Models<'m>, findings_max: usize) -> Report<'m> {
        Report {
            child: Child::default(),
            contents: Contents::new(models),
            findings: Vec::new(),
            findings_max,
            misfit: None,
            more: None,
            open: Vec::new(),
            root: Position::start(),
        }
    }

    /// The element at hand.
    fn here(&self) -> Position {
        self.open.last().map_or(self.root, |open| open.place)
    }

    fn add(&mut self, place: Position, message: &str) {
        self.push(place.finding(message));
    }

    fn push(&mut self, finding: Finding) {
        if !self.is_full() {
            return self.findings.push(finding);
        }
        match &mut self.more {
            Some((_, count)) => *count += 1,
            None => self.more = Some((finding, 1)),
        }
    }

    fn is_full(&self) -> bool {
        self.findings.len() >= self.findings_max
    }

    /// Does the error only follow from what was said of an element that may not stand where it is?
    fn follows(&mut self, error: &ValidationError) -> bool {
        let refused = match (error.constraint, self.child.is_there) {
            ("cvc-complex-type.2.4", true) => self.child.name.clone(),
            ("cvc-complex-type.2.4", false) => {
                return self
                    .open
                    .last()
                    .is_some_and(|of| of.refused_child.is_some());
            }
            ("cvc-elt.1" | "cvc-elt.2", _) => {
                return self.open.last().is_some_and(|of| of.is_refused);
            }
            _ => return false,
        };
        let [.., parent, child] = &mut self.open[..] else {
            return false;
        };
        child.is_refused = true;
        let before = parent.refused_child.replace(refused);
        before == parent.refused_child
    }

    fn error(&mut self, error: &ValidationError) {
        if self.follows(error) {
            return;
        }
        if wording::is_about_value(error) {
            self.misfit = Some(Misfit {
                constraint: error.constraint,
                index: (!self.is_full()).then_some(self.findings.len()),
            });
        }
        if self.is_full() {
            // It is counted only.
            return self.add(self.here(), "");
        }
        let Child {
            is_there,
            name,
            namespace,
        } = &self.child;
        let child = is_there.then_some(name.as_str());
        let message = wording::of(error, child, || {
            let namespace = Some(namespace.as_str()).filter(|uri| !uri.is_empty());
            let instead = child.map(|name| (namespace, name));
            match error.subject() {
                Some(ValidationSubject::Attribute(_)) => self.contents.attributes(),
                _ if *is_there && self.open.len() == 1 => self.contents.roots(instead),
                _ => self.contents.next(instead),
            }
        });
        // Only what concerns the document as a whole, such as an IDREF without its ID, is
        // reported after the last element.
        self.add(self.here(), &message);
    }

    /// Says of the value at hand what is expected in its place.
    fn explain(&mut self, set: &SchemaSet, of: TypeKey, attribute: Option<&str>, value: &str) {
        if let Some(Misfit { constraint, index }) = self.misfit.take()
            && let Some(finding) = index.and_then(|index| self.findings.get_mut(index))
        {
            let expected = values::expected(set, of, constraint, value);
            let message = wording::of_value(constraint, attribute, value, expected.as_deref());
            *finding = Finding::new(finding.line, finding.column, &message);
        }
    }

    /// May the value at hand be taken by its type all the same?
    fn is_misfit_in_form(&self) -> bool {
        self.misfit
            .as_ref()
            .is_some_and(|misfit| NO_VALUE.contains(&misfit.constraint))
    }

    /// Takes back that the value at hand is none of its type.
    fn fits_after_all(&mut self) {
        match self.misfit.take() {
            Some(Misfit {
                index: Some(index), ..
            }) => {
                self.findings.remove(index);
            }
            Some(Misfit { index: None, .. }) => {
                let more = self.more.take().filter(|(_, count)| *count > 1);
                self.more = more.map(|(first, count)| (first, count - 1));
            }
            None => {}
        }
    }

    fn take(&mut self) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort();
        findings.dedup();
        if let Some((first, count)) = self.more.take() {
            findings.push(Finding::of_more(first.line, first.column, count));
        }
        findings
    }
}

struct Sink<'m>(Rc<RefCell<Report<'m>>>);

impl ValidationSink for Sink<'_> {
    fn on_error(&mut self, error: ValidationError) {
        if !is_about_hint(&error) {
            self.0.borrow_mut().error(&error);
        }
    }

    fn on_warning(&mut self, _warning: ValidationWarning) {}
}

/// Where a document says that a schema can be found is never looked at: a schema that is named
/// twice, too late, or by half a pair makes no document invalid.
fn is_about_hint(error: &ValidationError) -> bool {
    match error.subject() {
        Some(ValidationSubject::Attribute(name)) => {
            name.namespace_uri() == XSI_NAMESPACE
                && matches!(
                    name.local_name(),
                    "noNamespaceSchemaLocation" | "schemaLocation"
                )
        }
        Some(_) | None => false,
    }
}

enum Stop {
    Doctype,
    NoRoom(NoRoom),
}

impl From<NoRoom> for Stop {
    fn from(no_room: NoRoom) -> Stop {
        Stop::NoRoom(no_room)
    }
}

/// The text of the innermost element, which has content of this type.
struct Value {
    is_base64: bool,
    of: TypeKey,
    text: String,
}

impl Value {
    /// Octets in base64 are needed whole.
    fn push(&mut self, text: &str) {
        let room = VALUE_BYTES_MAX.saturating_sub(self.text.len());
        match self.is_base64 {
            true => self.text.push_str(text),
            false => self.text.push_str(&text[..text.floor_char_boundary(room)]),
        }
    }
}

struct Handler<'a, 'm> {
    /// What the open elements may contain, outermost first.
    content: Vec<Option<ContentType>>,
    event_bytes_max: usize,
    kept: Kept<'a>,
    meter: Rc<Meter>,
    report: Rc<RefCell<Report<'m>>>,
    set: &'a SchemaSet,
    value: Option<Value>,
}

impl Handler<'_, '_> {
    fn next_event(&self) {
        self.meter.begin_event(self.event_bytes_max);
    }

    fn hold_value(&mut self, of: Option<TypeKey>) {
        self.value = of.map(|of| Value {
            is_base64: base64::is_base64(self.set, of),
            of,
            text: String::new(),
        });
    }

    /// The engine takes any white space of Unicode between elements, such as a no-break space.
    fn see_foreign_space(&self, text: &str) {
        if self.content.last() == Some(&Some(ContentType::ElementOnly))
            && text.chars().all(char::is_whitespace)
            && !text.chars().all(is_space)
        {
            let mut report = self.report.borrow_mut();
            let place = report.here();
            let message =
                "a space that is none in XML stands between elements [cvc-complex-type.2.3]";
            report.add(place, message);
        }
    }
}

impl ValidationEventHandler for Handler<'_, '_> {
    type Error = Stop;

    fn before_attribute(&mut self, _view: AttributeView<'_>) -> Result<(), Stop> {
        self.report.borrow_mut().misfit = None;
        Ok(())
    }

    fn after_attribute(&mut self, view: AttributeView<'_>, info: &SchemaInfo) -> Result<(), Stop> {
        (self.kept).attribute(view.local_name, info.schema_type, view.value)?;
        let mut report = self.report.borrow_mut();
        let Some(of) = info.schema_type.filter(|_| report.misfit.is_some()) else {
            return Ok(());
        };
        if report.is_misfit_in_form()
            && base64::is_base64(self.set, of)
            && base64::is_valid(self.set, of, view.value)
        {
            report.fits_after_all();
        } else {
            report.explain(self.set, of, Some(view.local_name), view.value);
        }
        Ok(())
    }

    fn before_element(&mut self, view: ElementStartView<'_>) -> Result<(), Stop> {
        let mut report = self.report.borrow_mut();
        report.child.is_there = true;
        view.namespace_uri.clone_into(&mut report.child.namespace);
        view.local_name.clone_into(&mut report.child.name);
        report.contents.child(view.namespace_uri, view.local_name);
        Ok(())
    }

    fn after_element(&mut self, view: ElementStartView<'_>, info: &SchemaInfo) -> Result<(), Stop> {
        (self.kept).enter(view.local_name, info.element_decl, info.schema_type)?;
        self.content.push(info.content_type);
        self.hold_value(info.schema_type);
        let mut report = self.report.borrow_mut();
        report.child.is_there = false;
        report.contents.enter(info.schema_type);
        Ok(())
    }

    fn after_end_of_attributes(&mut self, view: EndOfAttributesView<'_>) -> Result<(), Stop> {
        // By XSD 1.1 another type can be chosen by the attributes.
        if view.info.schema_type.is_some() {
            self.kept.take_type(view.info.schema_type)?;
            self.content.pop();
            self.content.push(view.info.content_type);
            self.hold_value(view.info.schema_type);
            let mut report = self.report.borrow_mut();
            report.contents.leave();
            report.contents.enter(view.info.schema_type);
        }
        self.report.borrow_mut().misfit = None;
        Ok(())
    }

    fn after_end_element(&mut self, _info: &EndElementInfo, _depth: usize) -> Result<(), Stop> {
        self.kept.leave();
        self.content.pop();
        let mut report = self.report.borrow_mut();
        report.contents.leave();
        if let Some(Value {
            is_base64,
            of,
            text,
        }) = self.value.take()
        {
            if is_base64 && report.is_misfit_in_form() && base64::is_valid(self.set, of, &text) {
                report.fits_after_all();
            } else {
                report.explain(self.set, of, None, &text);
            }
        }
        report.misfit = None;
        Ok(())
    }

    fn on_element_start_offset(&mut self, _byte_pos: usize) -> Result<(), Stop> {
        self.next_event();
        // The start tag has just been consumed, and there is no '<' inside a tag.
        let place = self.meter.last_tag();
        let mut report = self.report.borrow_mut();
        if report.open.is_empty() {
            report.root = place;
        }
        report.open.push(Open {
            is_refused: false,
            place,
            refused_child: None,
        });
        Ok(())
    }

    fn on_element_end_offset(&mut self, _byte_pos: usize) -> Result<(), Stop> {
        self.next_event();
        self.report.borrow_mut().open.pop();
        Ok(())
    }

    fn on_text(&mut self, _kind: TextKind, text: &str) -> Result<(), Stop> {
        self.next_event();
        self.kept.text(text)?;
        if let Some(value) = &mut self.value {
            value.push(text);
        }
        self.see_foreign_space(text);
        Ok(())
    }

    fn on_comment(&mut self, _text: &str) -> Result<(), Stop> {
        self.next_event();
        Ok(())
    }

    fn on_processing_instruction(&mut self, _target: &str, _data: &str) -> Result<(), Stop> {
        self.next_event();
        Ok(())
    }

    fn on_doctype(&mut self, _doctype: DoctypeView<'_>) -> Result<(), Stop> {
        Err(Stop::Doctype)
    }
}

fn parse_limits(limits: &XmlLimits) -> ParseLimits {
    ParseLimits::none()
        .with_max_attribute_value_bytes(limits.attribute_bytes_max)
        .with_max_attributes(limits.attributes_max)
        .with_max_depth(limits.depth_max)
        .with_max_name_bytes(limits.name_bytes_max)
        .with_max_namespace_declarations(limits.namespaces_max)
        .with_max_namespaces_in_scope(limits.namespaces_max)
        .with_max_text_bytes(limits.text_bytes_max)
}

fn reading_failed(error: std::io::Error) -> Result<Vec<Finding>, ValidateError> {
    match finding_in(&error) {
        Some(finding) => Ok(vec![finding.clone()]),
        None => Err(ValidateError::Io(error)),
    }
}
