//! One document through the engine: it says what is wrong but not where, so the handler keeps the
//! positions of the open elements; a finding gets that of the element it is about.

use std::cell::RefCell;
use std::io::BufRead;
use std::rc::Rc;

use xsd_schema::SchemaSet;
use xsd_schema::validation::{
    DoctypeView, DriveWithError, SchemaValidator, TextKind, ValidationError,
    ValidationEventHandler, ValidationSink, ValidationSubject, ValidationWarning,
    drive_quick_xml_with,
};
use xsd_schema::xml::ParseLimits;

use crate::xml::decode::{Decoder, finding_in};
use crate::xml::position::{Meter, Position};
use crate::xml::schema::ValidateError;
use crate::xml::{Finding, XmlLimits};

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
    let mut handler = Handler {
        // The engine announces a text only when it has read the tag behind it.
        event_bytes_max: limits.text_bytes_max.saturating_add(limits.tag_bytes_max),
        meter: Rc::clone(&meter),
        report: Rc::clone(&report),
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
    /// The start tags of the open elements, outermost first.
    open: Vec<Position>,
    root: Position,
}

impl Report {
    fn new(findings_max: usize) -> Report {
        Report {
            findings: Vec::new(),
            findings_max,
            open: Vec::new(),
            root: Position::start(),
        }
    }

    fn add(&mut self, place: Position, message: &str) {
        if !self.full() {
            self.findings.push(place.finding(message));
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
        let mut report = self.0.borrow_mut();
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

struct Handler {
    event_bytes_max: usize,
    meter: Rc<Meter>,
    report: Rc<RefCell<Report>>,
}

impl Handler {
    fn next_event(&self) {
        self.meter.begin_event(self.event_bytes_max);
    }
}

impl ValidationEventHandler for Handler {
    type Error = Stop;

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

    fn on_text(&mut self, _kind: TextKind, _text: &str) -> Result<(), Stop> {
        self.next_event();
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
