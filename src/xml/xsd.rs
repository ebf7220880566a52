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
mod edition;
mod expected;
mod run;
mod serving;
mod values;
mod wording;

use std::sync::Arc;

use xsd_schema::parser::frames::ComplexContentResult;
use xsd_schema::parser::location::{SourceLocation, SourceRef};
use xsd_schema::types::facets::PatternFacet;
use xsd_schema::{
    DirectiveFailure, RegexCompat, ResolverConfig, SchemaLoader, SchemaResolver, SchemaResult,
    SchemaSet, SchemaSetBuilder, XsdVersion,
};

use super::schema::{CompiledSchema, Keys, SchemaEngine, SchemaError};
use super::snapshot::{Edition, Snapshot};
use super::tables::Tables;
use super::{Finding, location};
use serving::Serving;

/// Gives the files of a snapshot an identity that can never be a path.
const SCHEME: &str = "snapshot:///";

#[derive(Debug, Default, Clone, Copy)]
pub struct XsdSchema;

impl SchemaEngine for XsdSchema {
    fn compile(
        &self,
        schema: &Snapshot,
        keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        let (mut set, warning) = read(schema)?;
        let tables = Tables::compile(&set).ok().map(Arc::new);
        if tables.is_some() && keys == Keys::LeftToTables {
            for element in set.arenas.entries_mut().elements.values_mut() {
                element.identity_constraints.clear();
            }
        }
        match Serving::start(set, tables, warning) {
            Ok(serving) => Ok(Box::new(serving)),
            Err(error) => Err(SchemaError::Engine(error.to_string())),
        }
    }
}

/// The schema by the edition that it wants, and what is to be said of that.
fn read(schema: &Snapshot) -> Result<(SchemaSet, Option<String>), SchemaError> {
    let as_written: fn(&str) -> String = str::to_owned;
    let by_1_0 = |text_of: fn(&str) -> String| load(schema, XsdVersion::V1_0, text_of);
    match schema.edition() {
        Some(Edition::V1_0) => return Ok((by_1_0(edition::unconditional)?, None)),
        Some(Edition::V1_1) => return Ok((load(schema, XsdVersion::V1_1, as_written)?, None)),
        None if !edition::wants_1_1(schema) => return Ok((by_1_0(as_written)?, None)),
        None => {}
    }
    let refusal = match load(schema, XsdVersion::V1_1, as_written) {
        Ok(set) => return Ok((set, None)),
        Err(refusal) => refusal,
    };
    match by_1_0(edition::unconditional) {
        Ok(set) => {
            let warning = format!(
                "it asks for XSD 1.1 by vc:minVersion, is none ({refusal}), and is read as XSD 1.0"
            );
            Ok((set, Some(warning)))
        }
        Err(_) => Err(refusal),
    }
}

fn load(
    schema: &Snapshot,
    version: XsdVersion,
    text_of: fn(&str) -> String,
) -> Result<SchemaSet, SchemaError> {
    let loader = Box::new(SnapshotLoader::of(schema, text_of));
    let resolver = SchemaResolver::with_config_and_loader(ResolverConfig::default(), loader);
    let text = text_of(schema.text(schema.main()).unwrap_or_default());
    let mut set = SchemaSetBuilder::with_resolver(resolver, version)
        .add_source(&text, &uri_of(schema.main()))
        .and_then(SchemaSetBuilder::compile)
        .map_err(|error| schema_error(schema, &error))?
        .into_schema_set();
    if let Some(failure) = set.directive_failures().iter().find(|f| is_fatal(f)) {
        return Err(schema_error(schema, failure.error()));
    }
    refuse_unknown_type(schema, &set)?;
    refuse_unknown_head(schema, &set)?;
    refuse_no_element(schema, &set)?;
    know_todays_characters(&mut set);
    compile_patterns_of_content(schema, &mut set)?;
    know_integers(&mut set);
    Ok(set)
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

/// The files of a snapshot under their `snapshot:` names, and nothing else.
#[derive(Debug)]
struct SnapshotLoader {
    files: Vec<(String, String)>,
}

fn uri_of(file: &str) -> String {
    format!("{SCHEME}{}", location::encoded(file))
}

/// The file behind a [`uri_of`] it.
fn file_of(uri: &str) -> String {
    let path = uri.replace(SCHEME, "");
    location::decoded(&path).unwrap_or(path)
}

impl SnapshotLoader {
    fn of(snapshot: &Snapshot, text_of: impl Fn(&str) -> String) -> SnapshotLoader {
        SnapshotLoader {
            files: snapshot
                .files()
                .map(|(file, text)| (uri_of(file), text_of(text)))
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
