//! Validation of documents against the server's own schemas, by an engine that can be changed.
//!
//! [`Schemas`] keeps a directory of `<name>.xsd` files in force (see `dir`) and a small pool
//! of compiled schemas for each, because a compiled schema is used by one thread at a time and
//! grows with the names it meets. A compiled schema belongs to the version it was made from: when
//! a new version comes into force, those of the old one are dropped as they come back.
//!
//! The schema is always the server's. What a document names in `xsi:schemaLocation` is never
//! read, and what it links to is found inside the directory only (see
//! `schema_files`). A panic inside an engine costs
//! the one document that it happened with, and the compiled schema.

use parking_lot::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::catalog::Catalog;
use super::reloadable_dir::{ReloadReport, ReloadableDir};
use super::schema_files::SchemaFiles;
use super::snapshot::{Edition, Snapshot};
use super::{Finding, Source, XmlLimits};

/// Idle compiled schemas of one version; more would only be memory.
const POOL_MAX: usize = 8;

pub trait SchemaEngine: Send + Sync {
    /// Compiles the schema with all that it includes.
    ///
    /// # Errors
    /// When the schema is invalid or uses what the engine does not know.
    fn compile(&self, schema: &Snapshot) -> Result<Box<dyn CompiledSchema>, SchemaError>;
}

pub trait CompiledSchema: Send {
    /// An empty list means that the document is valid. A document that is not well-formed or
    /// breaks a limit has findings too; an error means that nothing was found out.
    ///
    /// # Errors
    /// When the engine itself fails; nothing is known of the document then.
    fn validate(
        &mut self,
        source: &Source<'_>,
        limits: &XmlLimits,
    ) -> Result<Vec<Finding>, ValidateError>;

    /// True when it has grown so much that it should be thrown away and compiled again.
    fn spent(&self) -> bool;

    /// What an operator should know of the schema, which serves nonetheless.
    fn warning(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("{0}")]
    Engine(String),
    #[error("{file}:{finding}")]
    Invalid { file: String, finding: Finding },
}

#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    #[error("{0}")]
    Engine(String),
    #[error("the document cannot be read: {0}")]
    Io(io::Error),
}

/// Why a document could not be validated. None of it is the fault of the document.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("the schema cannot be compiled: {0}")]
    Compile(SchemaError),
    #[error("the schema engine failed: {0}")]
    Panicked(String),
    #[error("there is no schema of this name in force")]
    Unknown,
    #[error("the document cannot be validated: {0}")]
    Validate(ValidateError),
}

pub struct Schemas {
    engine: Box<dyn SchemaEngine>,
    pub(super) limits: XmlLimits,
    dir: ReloadableDir<Pool>,
    files: SchemaFiles,
}

impl Schemas {
    /// Nothing is in force before the first [`Schemas::reload`].
    pub fn open(dir: &Path, engine: Box<dyn SchemaEngine>) -> Schemas {
        Schemas {
            engine,
            limits: XmlLimits::default(),
            dir: ReloadableDir::new(dir, "xsd"),
            files: SchemaFiles::default(),
        }
    }

    /// Finds files by this catalogue.
    #[must_use]
    pub fn with_catalog(mut self, catalog: Catalog) -> Schemas {
        self.files.catalog = catalog;
        self
    }

    /// Reads the schemas of these names by these editions, whatever they say.
    #[must_use]
    pub fn with_editions(mut self, editions: BTreeMap<String, Edition>) -> Schemas {
        self.files.editions = editions;
        self
    }

    /// Takes the schemas of these names for such even where they are parts of others.
    #[must_use]
    pub fn with_used(mut self, names: BTreeSet<String>) -> Schemas {
        self.files.used = names;
        self
    }

    /// Loads what is new or has changed. Call it at start and whenever the directory changes.
    pub fn reload(&self) -> Vec<ReloadReport> {
        let read = |dir: &Path, names: &BTreeSet<String>| self.files.read(dir, names);
        self.dir.reload(&read, &|snapshot| {
            let compiled = self.compile(snapshot).map_err(|error| match error {
                Unavailable::Compile(error) => error.to_string(),
                Unavailable::Panicked(_) | Unavailable::Unknown | Unavailable::Validate(_) => {
                    error.to_string()
                }
            })?;
            let pool = Pool {
                warning: compiled.warning().map(str::to_owned),
                ..Pool::default()
            };
            pool.put(compiled);
            Ok(pool)
        })
    }

    /// What an operator should know of schemas that are in force, by their names.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let of = |name: String| {
            let warning = self.dir.find(&name)?.value.warning.clone()?;
            Some((name, warning))
        };
        self.dir.names().into_iter().filter_map(of).collect()
    }

    pub fn is_in_force(&self, name: &str) -> bool {
        self.dir.find(name).is_some()
    }

    /// Where the files of the schema of this name in force were found besides its own, and what was assumed.
    pub fn account(&self, name: &str) -> Option<String> {
        let kept = self.dir.find(name)?;
        Some(kept.snapshot.account())
    }

    /// Is there a file of this name that the last reload could not load?
    pub fn is_refused(&self, name: &str) -> bool {
        self.dir.is_refused(name)
    }

    /// What is wrong with a document by the schema of this name; nothing if it is valid.
    ///
    /// # Errors
    /// When there is no usable schema of that name, or its engine fails. The document may be tried
    /// again later.
    pub fn validate(&self, name: &str, source: &Source<'_>) -> Result<Vec<Finding>, Unavailable> {
        let kept = self.dir.find(name).ok_or(Unavailable::Unknown)?;
        let mut compiled = match kept.value.take() {
            Some(compiled) => compiled,
            None => self.compile(&kept.snapshot)?,
        };
        let findings =
            guarded(|| compiled.validate(source, &self.limits))?.map_err(Unavailable::Validate)?;
        // Only what ended well goes back; after an error or a panic its state is not known.
        if !compiled.spent() {
            kept.value.put(compiled);
        }
        Ok(findings)
    }

    fn compile(&self, snapshot: &Snapshot) -> Result<Box<dyn CompiledSchema>, Unavailable> {
        guarded(|| self.engine.compile(snapshot))?.map_err(Unavailable::Compile)
    }
}

/// Compiled schemas that wait for a document.
#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<Box<dyn CompiledSchema>>>,
    warning: Option<String>,
}

impl Pool {
    fn take(&self) -> Option<Box<dyn CompiledSchema>> {
        let mut idle = self.idle.lock();
        idle.pop()
    }

    fn put(&self, compiled: Box<dyn CompiledSchema>) {
        let mut idle = self.idle.lock();
        if idle.len() < POOL_MAX {
            idle.push(compiled);
        }
    }
}

/// Runs a foreign engine; its panic becomes an answer.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Unavailable> {
    // What the closure may leave half-changed is thrown away by every caller.
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| Unavailable::Panicked(panic_message(&*panic)))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    super::one_line(text.unwrap_or("it panicked"))
}
