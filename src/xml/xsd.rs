//! The schema engine that is built in: `xsd-schema`, XSD 1.0 and 1.1, streaming, constant memory.
//!
//! Reads schemas from a [`Snapshot`] only; its loader has no way to a file or to the network. A
//! compiled schema is `serving` on a thread of its own, and a document is one `run` there, fed as
//! decoded UTF-8.
//!
//! Document type declarations and whatever exceeds [`XmlLimits`](super::XmlLimits) become findings,
//! so this engine is safe with a document that nothing has checked before.

mod attributes;
mod base64;
mod components;
mod edition;
mod expected;
mod kept;
mod restrictions;
mod run;
mod serving;
mod values;
mod wording;

use std::sync::Arc;

use xsd_schema::parser::frames::ComplexContentResult;
use xsd_schema::parser::location::{SourceLocation, SourceRef};
use xsd_schema::types::facets::PatternFacet;
use xsd_schema::{RegexCompat, SchemaSet, XsdVersion};

use super::schema::{CompiledSchema, Keys, SchemaEngine, SchemaError};
use super::snapshot::{Edition, Snapshot};
use super::tables::Tables;
use super::{Finding, location};
use components::Written;
use restrictions::Refused;
use serving::Serving;

/// Gives the files of a snapshot an identity that can never be a path.
const SCHEME: &str = "snapshot:///";

/// Invalid restrictions of one schema that are told one by one.
const RESTRICTIONS_TOLD_MAX: usize = 10;

#[derive(Debug, Default, Clone, Copy)]
pub struct XsdSchema;

impl SchemaEngine for XsdSchema {
    fn compile(
        &self,
        schema: &Snapshot,
        keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        let (mut set, warnings) = read(schema)?;
        let tables = Tables::compile(&set).ok().map(Arc::new);
        if tables.is_some() && keys == Keys::LeftToTables {
            for element in set.arenas.entries_mut().elements.values_mut() {
                element.identity_constraints.clear();
            }
        }
        match Serving::start(set, tables, warnings) {
            Ok(serving) => Ok(Box::new(serving)),
            Err(error) => Err(SchemaError::Engine(error.to_string())),
        }
    }
}

/// A schema, and what an operator should know of it.
type Loaded = (SchemaSet, Vec<String>);

/// The schema by the edition that it wants.
fn read(schema: &Snapshot) -> Result<Loaded, SchemaError> {
    let by = |version, text_of| {
        load(&Written {
            schema,
            text_of,
            version,
        })
    };
    let as_written: fn(&str) -> String = str::to_owned;
    match schema.edition() {
        Some(Edition::V1_0) => return by(XsdVersion::V1_0, edition::unconditional),
        Some(Edition::V1_1) => return by(XsdVersion::V1_1, as_written),
        None if !edition::wants_1_1(schema) => return by(XsdVersion::V1_0, as_written),
        None => {}
    }
    let refusal = match by(XsdVersion::V1_1, as_written) {
        Ok(loaded) => return Ok(loaded),
        Err(refusal) => refusal,
    };
    match by(XsdVersion::V1_0, edition::unconditional) {
        Ok((set, mut warnings)) => {
            let warning = format!(
                "it asks for XSD 1.1 by vc:minVersion, is none ({refusal}), and is read as XSD 1.0"
            );
            warnings.insert(0, warning);
            Ok((set, warnings))
        }
        Err(_) => Err(refusal),
    }
}

fn load(written: &Written<'_>) -> Result<Loaded, SchemaError> {
    let schema = written.schema;
    let (mut set, refused) = written.resolve()?;
    refuse_unknown_type(schema, &set)?;
    refuse_unknown_head(schema, &set)?;
    refuse_no_element(schema, &set)?;
    know_todays_characters(&mut set);
    compile_patterns_of_content(schema, &mut set)?;
    know_integers(&mut set);
    Ok((set, warnings(schema, &refused)))
}

/// What is said of types that are no valid restriction of their base.
fn warnings(schema: &Snapshot, refused: &[Refused]) -> Vec<String> {
    let mut invalid_ones = refused.iter().filter(|of| !of.is_valid);
    let told = invalid_ones.by_ref().take(RESTRICTIONS_TOLD_MAX).map(|of| {
        let text = format!("{} (constraint: {})", of.message, restrictions::CONSTRAINT);
        let breach = invalid(schema, of.place.as_ref(), &text);
        format!("{breach}; the type counts as it is written")
    });
    let mut warnings: Vec<String> = told.collect();
    let n_more = invalid_ones.count();
    if n_more > 0 {
        warnings.push(format!("more restrictions like these: {n_more}"));
    }
    warnings
}

/// By XSD 1.0 the engine lets the type of an element, or of the items of a list, be missing until a
/// document needs it, but it is the schema that is wrong (part 1, 3.17.6.2), not each document.
fn refuse_unknown_type(schema: &Snapshot, set: &SchemaSet) -> Result<(), SchemaError> {
    let elements = set.arenas.elements.values();
    let elements = elements.map(|of| ("element", of.name, &of.deferred_type_error));
    let lists = set.arenas.simple_types.values();
    let lists = lists.map(|of| ("list", of.name, &of.deferred_item_type_error));
    for (kind, name, unknown) in elements.chain(lists) {
        if let Some(unknown) = unknown {
            let name = name.map(|name| set.name_table.resolve(name));
            let name = name.unwrap_or_else(|| "without a name".to_owned());
            let message = format!(
                "{kind} {name}: {} (constraint: src-resolve)",
                unknown.message
            );
            let place = set.locate(unknown.source.as_ref());
            return Err(invalid(schema, place.as_ref(), &message));
        }
    }
    Ok(())
}

/// By XSD 1.0 the engine lets an element be in the substitution group of one that does not exist,
/// which is the same mistake.
fn refuse_unknown_head(schema: &Snapshot, set: &SchemaSet) -> Result<(), SchemaError> {
    let names = &set.name_table;
    for element in set.arenas.elements.values() {
        if element.resolved_substitution_groups.len() < element.substitution_group.len() {
            let name = |name| names.resolve(name);
            let heads = element
                .substitution_group
                .iter()
                .map(|head| name(head.local_name));
            let message = format!(
                "element {}: Head '{}' of its substitution group not found (constraint: src-resolve)",
                element.name.map(name).unwrap_or_default(),
                heads.collect::<Vec<_>>().join(" "),
            );
            let place = set.locate(element.source.as_ref());
            return Err(invalid(schema, place.as_ref(), &message));
        }
    }
    Ok(())
}

/// No document is valid by a schema without a global element.
fn refuse_no_element(schema: &Snapshot, set: &SchemaSet) -> Result<(), SchemaError> {
    if set.namespaces.values().all(|of| of.elements.is_empty()) {
        let message = "it declares no element, nor does what it includes or imports";
        return Err(invalid(schema, None, message));
    }
    Ok(())
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

/// Compiles the patterns that complex types put on their simple content. The engine leaves that to
/// each value, by the characters of today, and lets no value match a pattern that is none.
fn compile_patterns_of_content(schema: &Snapshot, set: &mut SchemaSet) -> Result<(), SchemaError> {
    let types = set.arenas.entries_mut().complex_types.values_mut();
    let contents = types.filter_map(|of| match &mut of.content {
        ComplexContentResult::Simple(content) => Some(content),
        ComplexContentResult::Complex(_) | ComplexContentResult::Empty => None,
    });
    let patterns = contents.flat_map(|of| of.facets.patterns.iter_mut().flatten());
    let compiled = patterns.map(|pattern| {
        let (value, source) = (pattern.value.clone(), pattern.source.clone());
        *pattern = PatternFacet::new(value, source, XsdVersion::V1_1, RegexCompat::Strict)
            .map_err(|error| (error.to_string(), pattern.source.clone()))?;
        Ok(())
    });
    let outcome: Result<(), (String, Option<SourceRef>)> = compiled.collect();
    outcome.map_err(|(message, source)| {
        let message = format!("{message} (constraint: pattern-valid)");
        invalid(schema, set.locate(source.as_ref()).as_ref(), &message)
    })
}

/// Gives the integers their pattern (XSD 1.1, part 2, 3.4.13): the engine takes `1_000` for one
/// where it is of any length.
fn know_integers(set: &mut SchemaSet) {
    let known = set.builtin_types();
    let unbounded = [
        known.integer,
        known.non_negative_integer,
        known.negative_integer,
        known.non_positive_integer,
        known.positive_integer,
    ];
    let value = "[-+]?[0-9]+".to_owned();
    let Ok(pattern) = PatternFacet::new(value, None, XsdVersion::V1_1, RegexCompat::Strict) else {
        return;
    };
    let types = &mut set.arenas.entries_mut().simple_types;
    for of in unbounded {
        if let Some(of) = types.get_mut(of) {
            of.facets.patterns.push(vec![pattern.clone()]);
        }
    }
}

fn file_uri(file: &str) -> String {
    format!("{SCHEME}{}", location::encoded(file))
}

/// The file behind a [`file_uri`] it.
fn file_of(uri: &str) -> String {
    let path = uri.replace(SCHEME, "");
    location::decoded(&path).unwrap_or(path)
}

fn schema_error(schema: &Snapshot, error: &xsd_schema::SchemaError) -> SchemaError {
    invalid(schema, error.location(), &error.to_string())
}

fn invalid(schema: &Snapshot, place: Option<&SourceLocation>, text: &str) -> SchemaError {
    let (file, finding) = match place {
        Some(at) => {
            // The text may say the place in its middle, the finding at its beginning: once will do.
            let message = text
                .replacen(&format!(" at {at}"), "", 1)
                .replace(SCHEME, "");
            let finding = Finding::new(at.line as u64, at.column as u64, &message);
            (file_of(&at.base_uri), finding)
        }
        None => {
            let finding = Finding::new(0, 0, &text.replace(SCHEME, ""));
            (schema.main().to_owned(), finding)
        }
    };
    SchemaError::Invalid { file, finding }
}
