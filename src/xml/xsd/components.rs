//! From the files of a schema to its resolved components.

use xsd_schema::parser::{
    fixup_composition_edges, parse_schema_with_config, resolve_all_directives,
};
use xsd_schema::{
    DirectiveFailure, ResolverConfig, SchemaLoader, SchemaResolver, SchemaResult, SchemaSet,
    XsdVersion, process_loaded_schemas,
};

use super::restrictions::{self, Refused};
use super::{file_uri, schema_error};
use crate::xml::schema::SchemaError;
use crate::xml::snapshot::Snapshot;

/// A schema to be read by one edition.
#[derive(Clone, Copy)]
pub(super) struct Written<'s> {
    pub(super) schema: &'s Snapshot,
    /// What is read for the text of a file.
    pub(super) text_of: fn(&str) -> String,
    pub(super) version: XsdVersion,
}

impl Written<'_> {
    /// The resolved components, and the types whose restriction the engine has refused; they serve
    /// nonetheless.
    ///
    /// # Errors
    /// When the schema is invalid in any other way, or lacks a file.
    pub(super) fn resolve(&self) -> Result<(SchemaSet, Vec<Refused>), SchemaError> {
        let error = |error| schema_error(self.schema, &error);
        let mut set = self.parse().map_err(error)?;
        let mut refused = Vec::new();
        match process_loaded_schemas(&mut set) {
            Ok(_) => {}
            Err(refusal) if restrictions::is_refusal(&refusal) => {
                refused = restrictions::refused(&mut set);
                // Components can be resolved once.
                set = self.parse().map_err(error)?;
                restrictions::overlook(&mut set, &refused);
                process_loaded_schemas(&mut set).map_err(error)?;
            }
            Err(other) => return Err(error(other)),
        }
        if let Some(failure) = set.directive_failures().iter().find(|f| is_fatal(f)) {
            return Err(schema_error(self.schema, failure.error()));
        }
        Ok((set, refused))
    }

    /// The components as they are written, of all files.
    fn parse(&self) -> SchemaResult<SchemaSet> {
        let config = ResolverConfig::default();
        let loader = Box::new(self.loader());
        let mut resolver = SchemaResolver::with_config_and_loader(config, loader);
        let mut set = SchemaSet::with_version(self.version);
        let main = self.schema.main();
        let text = (self.text_of)(self.schema.text(main).unwrap_or_default());
        let uri = resolver.resolve_location(&file_uri(main), "")?;
        let config = &resolver.config().parser_config;
        let main = parse_schema_with_config(text.as_bytes(), &uri, &mut set, config)?;
        set.mark_loaded(uri, main);
        let mut open = vec![main];
        while let Some(document) = open.pop() {
            let read = resolve_all_directives(document, &mut resolver, &mut set);
            let mut errors = read.errors.into_iter().chain(read.import_errors);
            if let Some(error) = errors.find(|error| error.is_schema_content_error()) {
                return Err(error);
            }
            // What one links to, and all behind it, comes before what the next one does.
            open.extend(read.loaded.into_iter().rev());
        }
        fixup_composition_edges(&mut set);
        Ok(set)
    }

    fn loader(&self) -> SnapshotLoader {
        let files = self.schema.files();
        SnapshotLoader {
            files: files
                .map(|(file, text)| (file_uri(file), (self.text_of)(text)))
                .collect(),
        }
    }
}

/// The files of a snapshot under their `snapshot:` names, and nothing else.
#[derive(Debug)]
struct SnapshotLoader {
    files: Vec<(String, String)>,
}

impl SchemaLoader for SnapshotLoader {
    fn load(&self, location: &str) -> SchemaResult<String> {
        let file = self.files.iter().find(|(file, _)| file == location);
        file.map(|(_, text)| text.clone()).ok_or_else(|| {
            xsd_schema::SchemaError::resolution(format!("{location} is not among the files"))
        })
    }

    fn can_load(&self, location: &str) -> bool {
        location.starts_with(super::SCHEME)
    }
}

/// A document that was not read may be missed only if its namespace came from somewhere else.
fn is_fatal(failure: &DirectiveFailure) -> bool {
    !failure.namespace_supplied()
}
