//! The schema engine that is built in: `xsd-schema`, XSD 1.0, streaming, constant memory.
//!
//! Reads schemas from a [`Snapshot`] only; its loader has no way to a file or to the network. A
//! document is fed as decoded UTF-8. The engine says what is wrong but not where, so the handler
//! keeps the positions of the open elements; a finding gets that of the element it is about.
//!
//! Document type declarations and whatever exceeds [`XmlLimits`] become findings, so this engine
//! is safe with a document that nothing has checked before.

use std::cell::RefCell;
use std::rc::Rc;

use xsd_schema::validation::{
    DoctypeView, DriveWithError, SchemaValidator, TextKind, ValidationError,
    ValidationEventHandler, ValidationFlags, ValidationSink, ValidationSubject, ValidationWarning,
    drive_quick_xml_with,
};
use xsd_schema::xml::ParseLimits;
use xsd_schema::{
    DirectiveFailure, EmbeddedLoader, LoaderChain, RegexCompat, ResolverConfig, SchemaLoader,
    SchemaResolver, SchemaResult, SchemaSet, SchemaSetBuilder, XsdVersion,
};

use xsd_schema::types::facets::PatternFacet;

use super::decode::{Decoder, finding_in};
use super::position::{Meter, Position};
use super::schema::{CompiledSchema, SchemaEngine, SchemaError, ValidateError};
use super::snapshot::Snapshot;
use super::{Finding, Source, XmlLimits};

/// Gives the files of a snapshot an identity that can never be a path.
const SCHEME: &str = "snapshot:///";

/// The table of names keeps every name of every document. Compiling again costs milliseconds.
const NEW_NAMES_MAX: usize = 50_000;

/// The same for long names.
const NEW_NAME_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Default, Clone, Copy)]
pub struct XsdSchema;

impl SchemaEngine for XsdSchema {
    fn compile(&self, schema: &Snapshot) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        let mut loaders = LoaderChain::new();
        loaders.add(Box::new(EmbeddedLoader::new()));
        loaders.add(Box::new(SnapshotLoader::of(schema)));
        let mut resolver =
            SchemaResolver::with_config_and_loader(ResolverConfig::default(), Box::new(loaders));
        resolver.catalog_mut().add_xml_catalog();
        let text = schema.text(schema.main()).unwrap_or_default();
        let mut set = SchemaSetBuilder::with_resolver(resolver, XsdVersion::V1_0)
            .add_source(text, &format!("{SCHEME}{}", schema.main()))
            .and_then(SchemaSetBuilder::compile)
            .map_err(|error| schema_error(schema, &error))?
            .into_schema_set();
        if let Some(failure) = set.directive_failures().iter().find(|f| is_fatal(f)) {
            return Err(schema_error(schema, failure.error()));
        }
        know_todays_characters(&mut set);
        Ok(Box::new(Compiled {
            names: set.name_table.len(),
            name_bytes: set.name_table.heap_bytes(),
            set,
        }))
    }
}

/// Compiles the patterns again, so that `\p{L}`, `\w` and the like know the characters of today: the
/// engine takes those of XSD 1.0 from Unicode 3.0, which lacks letters that names are written with.
/// A pattern that is none is refused before this.
fn know_todays_characters(set: &mut SchemaSet) {
    let types = set.arenas.entries_mut().simple_types.values_mut();
    for pattern in types.flat_map(|of| of.facets.patterns.iter_mut().flatten()) {
        let (value, source) = (pattern.value.clone(), pattern.source.clone());
        let compiled = PatternFacet::new(value, source, XsdVersion::V1_1, RegexCompat::Strict);
        if let Ok(compiled) = compiled {
            *pattern = compiled;
        }
    }
}

struct Compiled {
    name_bytes: usize,
    names: usize,
    set: SchemaSet,
}

impl CompiledSchema for Compiled {
    fn validate(
        &mut self,
        source: &Source<'_>,
        limits: &XmlLimits,
    ) -> Result<Vec<Finding>, ValidateError> {
        let decoder = match Decoder::open(source) {
            Ok(decoder) => decoder.unlabelled(),
            Err(error) => return reading_failed(error),
        };
        let meter = decoder.meter();
        let report = Rc::new(RefCell::new(Report::new(limits.findings_max)));
        let flags = ValidationFlags::default() & !ValidationFlags::BUILD_PSVI_TYPED_VALUES;
        let validator = SchemaValidator::new(&self.set, flags);
        let mut runtime = validator.start_run(Sink(Rc::clone(&report)));
        runtime.set_parse_limits(parse_limits(limits));
        let mut handler = Handler {
            // The engine announces a text only when it has read the tag behind it.
            event_bytes_max: limits.text_bytes_max.saturating_add(limits.tag_bytes_max),
            meter: Rc::clone(&meter),
            report: Rc::clone(&report),
        };
        handler.next_event();
        match drive_quick_xml_with(decoder, &mut runtime, &self.set, &mut handler) {
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

    fn spent(&self) -> bool {
        let names = &self.set.name_table;
        names.len() > self.names + NEW_NAMES_MAX
            || names.heap_bytes() > self.name_bytes + NEW_NAME_BYTES_MAX
    }
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

/// The files of a snapshot under their `snapshot:` names, and nothing else.
#[derive(Debug)]
struct SnapshotLoader {
    files: Vec<(String, String)>,
}

impl SnapshotLoader {
    fn of(snapshot: &Snapshot) -> SnapshotLoader {
        SnapshotLoader {
            files: snapshot
                .files()
                .map(|(file, text)| (format!("{SCHEME}{file}"), text.to_owned()))
                .collect(),
        }
    }
}

impl SchemaLoader for SnapshotLoader {
    fn load(&self, location: &str) -> SchemaResult<String> {
        let file = self.files.iter().find(|(file, _)| file == location);
        file.map(|(_, text)| text.clone()).ok_or_else(|| {
            xsd_schema::SchemaError::resolution(format!("{location} is not among the files"))
        })
    }

    fn can_load(&self, location: &str) -> bool {
        location.starts_with(SCHEME)
    }
}

/// A document that was not read may be missed only if its namespace came from somewhere else.
fn is_fatal(failure: &DirectiveFailure) -> bool {
    !failure.namespace_supplied()
}

fn schema_error(schema: &Snapshot, error: &xsd_schema::SchemaError) -> SchemaError {
    let text = error.to_string();
    let (file, finding) = match error.location() {
        Some(at) => {
            // The text says the place in its middle, the finding at its beginning: once will do.
            let message = text
                .replacen(&format!(" at {at}"), "", 1)
                .replace(SCHEME, "");
            let finding = Finding::new(at.line as u64, at.column as u64, &message);
            (at.base_uri.replace(SCHEME, ""), finding)
        }
        None => {
            let finding = Finding::new(0, 0, &text.replace(SCHEME, ""));
            (schema.main().to_owned(), finding)
        }
    };
    SchemaError::Invalid { file, finding }
}
