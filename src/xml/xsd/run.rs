//! One document through the engine: it says what is wrong but not where, so the handler keeps the
//! positions of the open elements; a finding gets that of the element it is about.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::BufRead;
use std::rc::Rc;

use xsd_schema::SchemaSet;
use xsd_schema::ids::TypeKey;
use xsd_schema::validation::{
    AttributeView, ContentType, DoctypeView, DriveWithError, ElementStartView, EndElementInfo,
    EndOfAttributesView, SchemaInfo, SchemaValidator, TextKind, ValidationError,
    ValidationEventHandler, ValidationSink, ValidationSubject, ValidationWarning,
    drive_quick_xml_with,
};
use xsd_schema::xml::ParseLimits;

use super::base64;
use crate::xml::decode::{Decoder, finding_in};
use crate::xml::names::is_space;
use crate::xml::position::{Meter, Position};
use crate::xml::schema::ValidateError;
use crate::xml::{Finding, XmlLimits};

/// What the engine calls a text that is none of the literals of its type, or of those of a union.
const NO_VALUE: [&str; 2] = ["cvc-datatype-valid", "cvc-simple-type"];

const INSTANCE_NAMESPACE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// What is wrong with the document.
///
/// # Errors
/// When it cannot be read, or the engine fails.
pub(super) fn validate(
    set: &SchemaSet,
    validator: &SchemaValidator<'_>,
    input: Box<dyn BufRead + Send>,
    limits: &XmlLimits,
) -> Result<Vec<Finding>, ValidateError> {
    let decoder = match Decoder::of(input) {
        Ok(decoder) => decoder.unlabelled(),
        Err(error) => return reading_failed(error),
    };
    let meter = decoder.meter();
    let report = Rc::new(RefCell::new(Report::new(limits.findings_max)));
    let mut runtime = validator.start_run(Sink(Rc::clone(&report)));
    runtime.set_parse_limits(parse_limits(limits));
    // Without a document type declaration a document has no entities that could be named.
    runtime.set_unparsed_entities(HashSet::new());
    let mut handler = Handler {
        base64: None,
        content: Vec::new(),
        // The engine announces a text only when it has read the tag behind it.
        event_bytes_max: limits.text_bytes_max.saturating_add(limits.tag_bytes_max),
        meter: Rc::clone(&meter),
        report: Rc::clone(&report),
        set,
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
        Err(DriveWithError::Hook(Stop::Enough)) => {}
        Err(DriveWithError::Io(error)) => match finding_in(&error) {
            Some(finding) => report.borrow_mut().findings.push(finding.clone()),
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
struct Report {
    findings: Vec<Finding>,
    findings_max: usize,
    /// Which of the findings is that the value at hand is none of its type.
    misfit: Option<usize>,
    /// The start tags of the open elements, outermost first.
    open: Vec<Position>,
    root: Position,
}

impl Report {
    fn new(findings_max: usize) -> Report {
        Report {
            findings: Vec::new(),
            findings_max,
            misfit: None,
            open: Vec::new(),
            root: Position::start(),
        }
    }

    fn add(&mut self, place: Position, message: &str) {
        if !self.full() {
            self.findings.push(place.finding(message));
        }
    }

    /// Takes back that the value at hand is none of its type.
    fn fits_after_all(&mut self) {
        if let Some(index) = self.misfit.take() {
            self.findings.remove(index);
        }
    }

    fn full(&self) -> bool {
        self.findings.len() >= self.findings_max
    }

    fn take(&mut self) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort();
        findings.dedup();
        findings
    }
}

struct Sink(Rc<RefCell<Report>>);

impl ValidationSink for Sink {
    fn on_error(&mut self, error: ValidationError) {
        if is_about_hint(&error) {
            return;
        }
        let mut report = self.0.borrow_mut();
        if NO_VALUE.contains(&error.constraint) && !report.full() {
            report.misfit = Some(report.findings.len());
        }
        let message = format!("{} [{}]", about(&error), error.constraint);
        match report.open.last() {
            Some(&place) => report.add(place, &message),
            // Only what concerns the document as a whole, such as an IDREF without its ID, is
            // reported after the last element. The path says what the position cannot.
            None => {
                let root = report.root;
                let path = error.element_path().unwrap_or("/");
                report.add(root, &format!("{message} at {path}"));
            }
        }
    }

    fn on_warning(&mut self, _warning: ValidationWarning) {}
}

/// Where a document says that a schema can be found is never looked at: a schema that is named
/// twice, too late, or by half a pair makes no document invalid.
fn is_about_hint(error: &ValidationError) -> bool {
    match error.subject() {
        Some(ValidationSubject::Attribute(name)) => {
            name.namespace_uri() == INSTANCE_NAMESPACE
                && matches!(
                    name.local_name(),
                    "noNamespaceSchemaLocation" | "schemaLocation"
                )
        }
        Some(_) | None => false,
    }
}

/// The message of the engine, which often leaves out what element or attribute it speaks of.
fn about(error: &ValidationError) -> String {
    let (mark, name) = match error.subject() {
        Some(ValidationSubject::Attribute(name)) => ("@", name.local_name()),
        Some(subject) => ("", subject.name().local_name()),
        None => return error.message.clone(),
    };
    if error.message.contains(name) {
        return error.message.clone();
    }
    format!("{mark}{name}: {}", error.message)
}

enum Stop {
    Doctype,
    Enough,
}

struct Handler<'a> {
    /// The type and the text of the innermost element, if its values can be octets in base64.
    base64: Option<(TypeKey, String)>,
    /// What the open elements may contain, outermost first.
    content: Vec<Option<ContentType>>,
    event_bytes_max: usize,
    meter: Rc<Meter>,
    report: Rc<RefCell<Report>>,
    set: &'a SchemaSet,
}

impl Handler<'_> {
    fn next_event(&self) {
        self.meter.begin_event(self.event_bytes_max);
    }

    fn hold_base64(&mut self, of: Option<TypeKey>) {
        let of = of.filter(|&of| base64::is_base64(self.set, of));
        self.base64 = of.map(|of| (of, String::new()));
    }

    /// The engine takes any white space of Unicode between elements, such as a no-break space.
    fn see_foreign_space(&self, text: &str) {
        if self.content.last() == Some(&Some(ContentType::ElementOnly))
            && text.chars().all(char::is_whitespace)
            && !text.chars().all(is_space)
        {
            let mut report = self.report.borrow_mut();
            let place = report.open.last().copied().unwrap_or(report.root);
            report.add(place, "text between elements [cvc-complex-type.2.3]");
        }
    }
}

impl ValidationEventHandler for Handler<'_> {
    type Error = Stop;

    fn before_attribute(&mut self, _view: AttributeView<'_>) -> Result<(), Stop> {
        self.report.borrow_mut().misfit = None;
        Ok(())
    }

    fn after_attribute(&mut self, view: AttributeView<'_>, info: &SchemaInfo) -> Result<(), Stop> {
        let mut report = self.report.borrow_mut();
        if let Some(of) = info.schema_type
            && report.misfit.is_some()
            && base64::is_base64(self.set, of)
            && base64::is_valid(self.set, of, view.value)
        {
            report.fits_after_all();
        }
        Ok(())
    }

    fn after_element(
        &mut self,
        _view: ElementStartView<'_>,
        info: &SchemaInfo,
    ) -> Result<(), Stop> {
        self.content.push(info.content_type);
        self.hold_base64(info.schema_type);
        Ok(())
    }

    fn after_end_of_attributes(&mut self, view: EndOfAttributesView<'_>) -> Result<(), Stop> {
        // By XSD 1.1 another type can be chosen by the attributes.
        if view.info.schema_type.is_some() {
            self.content.pop();
            self.content.push(view.info.content_type);
            self.hold_base64(view.info.schema_type);
        }
        self.report.borrow_mut().misfit = None;
        Ok(())
    }

    fn after_end_element(&mut self, _info: &EndElementInfo, _depth: usize) -> Result<(), Stop> {
        self.content.pop();
        let mut report = self.report.borrow_mut();
        if let Some((of, text)) = self.base64.take()
            && report.misfit.is_some()
            && base64::is_valid(self.set, of, &text)
        {
            report.fits_after_all();
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
        report.open.push(place);
        if report.full() {
            Err(Stop::Enough)
        } else {
            Ok(())
        }
    }

    fn on_element_end_offset(&mut self, _byte_pos: usize) -> Result<(), Stop> {
        self.next_event();
        self.report.borrow_mut().open.pop();
        Ok(())
    }

    fn on_text(&mut self, _kind: TextKind, text: &str) -> Result<(), Stop> {
        self.next_event();
        if let Some((_, held)) = &mut self.base64 {
            held.push_str(text);
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
