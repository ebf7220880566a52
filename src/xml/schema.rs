//! Validation of documents against the server's own schemas.
//!
//! [`Schemas`] keeps a directory of `<name>.xsd` files in force (see `reloadable_dir`). Most documents are
//! valid, and the `tables` of a schema say so in one pass; one `Arc` of them serves all threads.
//! What they doubt is decided by the engine, which finds the words for what is wrong. Of its
//! compiled schemas there is a small pool, because one is used by one thread at a time and grows
//! with the names it meets. Tables and pool belong to the version they were made from: when a new
//! version comes into force, those of the old one are dropped as they come back.
//!
//! Memory is bounded for all documents together ([`Room`]): what tables and engine keep of a document is
//! held against one budget, and the engine has one large document at a time. A document that takes more
//! than there is for all is refused; one that finds the rest taken by others is to come again.
//!
//! The schema is always the server's. What a document names in `xsi:schemaLocation` is never
//! read, and what it links to is found inside the directory only (see
//! `schema_files`). A panic inside an engine costs
//! the one document that it happened with, and the compiled schema.

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::budget::{Budget, NoRoom};
use super::locate::locate;
use super::position::Position;
use super::reloadable_dir::{ReloadReport, ReloadableDir};
use super::schema_files::SchemaFiles;
use super::snapshot::Snapshot;
use super::tables::{Doubt, Tables, Verdict};
use super::{Finding, InspectError, Source, XmlLimits, inspect, one_pass};

/// Idle compiled schemas of one version; more would only be memory.
const IDLE_MAX: usize = 8;

/// A document that the engine may have beside others.
const SMALL_BYTES_MAX: usize = 1024 * 1024;

/// Longer than the engine takes for a document of a hundred megabytes.
const PATIENCE: Duration = Duration::from_secs(20);

pub trait SchemaEngine: Send + Sync {
    /// Compiles the schema with all that it includes.
    ///
    /// # Errors
    /// When the schema is invalid or uses what the engine does not know.
    fn compile(
        &self,
        schema: &Snapshot,
        keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, SchemaError>;
}

/// What becomes of the identity constraints of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Checked,
    /// If there are tables, which decide them. Without tables they are checked.
    LeftToTables,
}

pub trait CompiledSchema: Send {
    /// An empty list means that the document is valid. A document that is not well-formed or
    /// breaks a limit has findings too; an error means that nothing was found out. What the engine keeps
    /// of the document is held against the budget.
    ///
    /// # Errors
    /// When the engine itself fails or there is no room; nothing is known of the document then.
    fn validate(
        &mut self,
        source: &Source<'_>,
        limits: &XmlLimits,
        budget: &Arc<Budget>,
    ) -> Result<Vec<Finding>, ValidateError>;

    /// True when it has grown so much that it should be thrown away and compiled again.
    fn spent(&self) -> bool;

    /// What says of most valid documents that they are; nothing for a schema that they cannot
    /// express.
    fn tables(&self) -> Option<&Arc<Tables>> {
        None
    }

    /// What an operator should know of the schema, which serves nonetheless.
    fn warnings(&self) -> &[String] {
        &[]
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
    #[error("{}", NoRoom::Busy)]
    Busy,
    #[error("{0}")]
    Engine(String),
    #[error("the document cannot be read: {0}")]
    Io(io::Error),
}

/// Why a document could not be validated. None of it is the fault of the document.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("{}", NoRoom::Busy)]
    Busy,
    #[error("the schema cannot be compiled: {0}")]
    Compile(SchemaError),
    #[error("the schema engine failed: {0}")]
    Panicked(String),
    #[error("there is no schema of this name in force")]
    Unknown,
    #[error("the document cannot be validated: {0}")]
    Validate(ValidateError),
}

/// What validations of all documents at the same time may take.
#[derive(Debug)]
pub struct Room {
    /// For what is kept of them.
    budget: Arc<Budget>,
    /// Large documents in the engine: one.
    engine: Mutex<()>,
    patience: Duration,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            budget: Arc::default(),
            engine: Mutex::default(),
            patience: PATIENCE,
        }
    }
}

impl Room {
    /// A place in the engine.
    fn place(&self, source: &Source<'_>) -> Result<Option<MutexGuard<'_, ()>>, Unavailable> {
        match source {
            Source::Memory(bytes) if bytes.len() <= SMALL_BYTES_MAX => Ok(None),
            Source::File(_) | Source::Memory(_) | Source::Reader(_) => {
                let place = self.engine.try_lock_for(self.patience);
                place.map(Some).ok_or(Unavailable::Busy)
            }
        }
    }
}

pub struct Schemas {
    engine: Box<dyn SchemaEngine>,
    pub(super) limits: XmlLimits,
    dir: ReloadableDir<Version>,
    files: ArcSwap<SchemaFiles>,
    room: Arc<Room>,
}

impl Schemas {
    /// Nothing is in force before the first [`Schemas::reload`].
    pub fn open(dir: &Path, engine: Box<dyn SchemaEngine>) -> Schemas {
        Schemas {
            engine,
            limits: XmlLimits::default(),
            dir: ReloadableDir::new(dir, "xsd"),
            files: ArcSwap::default(),
            room: Arc::default(),
        }
    }

    /// Shares the room of other schemas.
    #[must_use]
    pub fn with_room(mut self, room: Arc<Room>) -> Schemas {
        self.room = room;
        self
    }

    /// Puts schemas together so.
    #[must_use]
    pub fn with_files(self, files: SchemaFiles) -> Schemas {
        self.take_files(files);
        self
    }

    /// The same from the next [`Schemas::reload`] on. A document whose check has begun is judged by the version with
    /// which it began.
    pub fn take_files(&self, files: SchemaFiles) {
        self.files.store(Arc::new(files));
    }

    /// Could all schemas that serve well be put together so? Nothing is put in force.
    ///
    /// # Errors
    /// Why one could not.
    pub fn try_files(&self, files: &SchemaFiles) -> Result<(), ReloadReport> {
        if **self.files.load() == *files {
            return Ok(());
        }
        let read = |dir: &Path, names: &BTreeSet<String>| files.read(dir, names);
        self.dir.try_out(&read, &|snapshot| self.version(snapshot))
    }

    /// Loads what is new or has changed. Call it at start and whenever the directory changes.
    pub fn reload(&self) -> Vec<ReloadReport> {
        let files = self.files.load();
        let read = |dir: &Path, names: &BTreeSet<String>| files.read(dir, names);
        self.dir.reload(&read, &|snapshot| self.version(snapshot))
    }

    /// Loads one schema alone, by this name: that in `file`, a path relative to the directory.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn load(&self, name: &str, file: &str) -> Result<(), String> {
        let files = self.files.load();
        let snapshot = files.read_one(self.dir.path(), name, file);
        self.dir
            .renew(name, snapshot, &|snapshot| self.version(snapshot))
            .map(drop)
    }

    fn version(&self, snapshot: &Snapshot) -> Result<Version, String> {
        let compiled = self.compile(snapshot, Keys::LeftToTables);
        let compiled = compiled.map_err(|error| match error {
            Unavailable::Compile(error) => error.to_string(),
            Unavailable::Busy
            | Unavailable::Panicked(_)
            | Unavailable::Unknown
            | Unavailable::Validate(_) => error.to_string(),
        })?;
        Ok(Version::of(compiled))
    }

    /// What an operator should know of schemas that are in force, by their names.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let of = |name: String| {
            let kept = self.dir.find(&name);
            let warnings = kept.map_or_else(Vec::new, |kept| kept.value.warnings.clone());
            warnings
                .into_iter()
                .map(move |warning| (name.clone(), warning))
        };
        self.dir.names().into_iter().flat_map(of).collect()
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

    /// What is wrong with a document of an interface: nothing if it is well-formed and, where the
    /// interface has a schema, valid.
    ///
    /// # Errors
    /// As with [`Schemas::validate`].
    pub fn check(
        &self,
        schema: Option<&str>,
        source: &Source<'_>,
    ) -> Result<Vec<Finding>, Unavailable> {
        match schema {
            Some(name) => self.validate(name, source),
            None => {
                // They have no words for what is wrong.
                static ANY: LazyLock<Arc<Tables>> =
                    LazyLock::new(|| Arc::new(Tables::of_any_document()));
                if self.judge(&ANY, source)?.0 == Verdict::Valid {
                    return Ok(Vec::new());
                }
                Ok(self.ill_formed(source)?.into_iter().collect())
            }
        }
    }

    /// The same, as far as it takes one pass over the document: `None` when a schema's tables do not say that it is valid.
    ///
    /// # Errors
    /// As with [`Schemas::validate`].
    pub fn check_at_once(
        &self,
        schema: Option<&str>,
        source: &Source<'_>,
    ) -> Result<Option<Vec<Finding>>, Unavailable> {
        let Some(name) = schema else {
            return self.check(None, source).map(Some);
        };
        let kept = self.dir.find(name).ok_or(Unavailable::Unknown)?;
        let Some(tables) = &kept.value.tables else {
            return Ok(None);
        };
        let (verdict, findings) = self.judge(tables, source)?;
        Ok((verdict == Verdict::Valid).then_some(findings))
    }

    /// What is wrong with a document by the schema of this name; nothing if it is well-formed and
    /// valid.
    ///
    /// # Errors
    /// When there is no usable schema of that name, its engine fails, or there is no room for the
    /// document. It may be tried again later.
    pub fn validate(&self, name: &str, source: &Source<'_>) -> Result<Vec<Finding>, Unavailable> {
        let kept = self.dir.find(name).ok_or(Unavailable::Unknown)?;
        let findings = self.findings(&kept.snapshot, &kept.value, source)?;
        Ok(locate(source, &self.limits, findings))
    }

    fn findings(
        &self,
        snapshot: &Snapshot,
        version: &Version,
        source: &Source<'_>,
    ) -> Result<Vec<Finding>, Unavailable> {
        let mut findings = match &version.tables {
            None => Vec::new(),
            Some(tables) => match self.judge(tables, source)? {
                (Verdict::Valid | Verdict::Breached, findings) => return Ok(findings),
                (Verdict::NoRoom(NoRoom::Busy), _) => return Err(Unavailable::Busy),
                (Verdict::NoRoom(too_large), _) => {
                    return Ok(vec![Position::start().finding(&too_large.to_string())]);
                }
                (Verdict::Doubt(_), findings) => findings,
            },
        };
        if let Some(finding) = self.ill_formed(source)? {
            return Ok(vec![finding]);
        }
        findings.extend(self.find(snapshot, &version.idle, Keys::LeftToTables, source)?);
        let has_keys = |tables: &Arc<Tables>| tables.has_constraints();
        if findings.is_empty() && version.tables.as_ref().is_some_and(has_keys) {
            // The tables do not express what the document has, and have not seen all its keys.
            return self.find(snapshot, &version.idle_with_keys, Keys::Checked, source);
        }
        findings.sort();
        Ok(findings)
    }

    fn ill_formed(&self, source: &Source<'_>) -> Result<Option<Finding>, Unavailable> {
        match inspect(source, &self.limits) {
            Ok(_) => Ok(None),
            Err(InspectError::NotWellFormed(finding)) => Ok(Some(finding)),
            Err(InspectError::Io(error)) => Err(Unavailable::Validate(ValidateError::Io(error))),
        }
    }

    /// What the tables say of a document.
    fn judge(
        &self,
        tables: &Arc<Tables>,
        source: &Source<'_>,
    ) -> Result<(Verdict, Vec<Finding>), Unavailable> {
        let judge = || one_pass::judge(tables, source, &self.limits, &self.room.budget);
        match guarded(judge) {
            Ok(Ok(judgement)) => Ok((judgement.verdict, judgement.findings)),
            Ok(Err(error)) => Err(Unavailable::Validate(ValidateError::Io(error))),
            Err(panicked) => {
                tracing::error!(error = %panicked, "the tables of a schema failed");
                let reason = "the tables failed";
                Ok((Verdict::Doubt(Doubt { offset: 0, reason }), Vec::new()))
            }
        }
    }

    /// What the engine says of a document.
    fn find(
        &self,
        snapshot: &Snapshot,
        idle: &Idle,
        keys: Keys,
        source: &Source<'_>,
    ) -> Result<Vec<Finding>, Unavailable> {
        let _place = self.room.place(source)?;
        let mut compiled = match idle.take() {
            Some(compiled) => compiled,
            None => self.compile(snapshot, keys)?,
        };
        let budget = &self.room.budget;
        let validated = guarded(|| compiled.validate(source, &self.limits, budget))?;
        let findings = validated.map_err(|error| match error {
            ValidateError::Busy => Unavailable::Busy,
            failed @ (ValidateError::Engine(_) | ValidateError::Io(_)) => {
                Unavailable::Validate(failed)
            }
        })?;
        // Only what ended well goes back; after an error or a panic its state is not known.
        if !compiled.spent() {
            idle.put(compiled);
        }
        Ok(findings)
    }

    fn compile(
        &self,
        snapshot: &Snapshot,
        keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, Unavailable> {
        guarded(|| self.engine.compile(snapshot, keys))?.map_err(Unavailable::Compile)
    }
}

/// A version of a schema that is in force.
struct Version {
    tables: Option<Arc<Tables>>,
    /// By [`Keys::LeftToTables`].
    idle: Idle,
    idle_with_keys: Idle,
    warnings: Vec<String>,
}

impl Version {
    fn of(compiled: Box<dyn CompiledSchema>) -> Version {
        let version = Version {
            tables: compiled.tables().cloned(),
            idle: Idle::default(),
            idle_with_keys: Idle::default(),
            warnings: compiled.warnings().to_vec(),
        };
        version.idle.put(compiled);
        version
    }
}

/// Compiled schemas that wait for a document.
#[derive(Default)]
struct Idle(Mutex<Vec<Box<dyn CompiledSchema>>>);

impl Idle {
    fn take(&self) -> Option<Box<dyn CompiledSchema>> {
        self.0.lock().pop()
    }

    fn put(&self, compiled: Box<dyn CompiledSchema>) {
        let mut idle = self.0.lock();
        if idle.len() < IDLE_MAX {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::budget::Share;
    use crate::xml::{Catalog, CatalogEntry, XsdSchema};
    use std::fs;

    const SCHEMA: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
        <xs:element name='r'><xs:complexType><xs:sequence>\
        <xs:element name='medium' type='medium' minOccurs='0'/>\
        <xs:element name='i' type='xs:string' minOccurs='0' maxOccurs='unbounded'/>\
        <xs:element name='n' type='xs:int' minOccurs='0'/>\
        </xs:sequence></xs:complexType>\
        <xs:unique name='items'><xs:selector xpath='i'/><xs:field xpath='.'/></xs:unique>\
        </xs:element>\
        <xs:simpleType name='medium'><xs:restriction base='xs:NOTATION'>\
        <xs:enumeration value='picture'/></xs:restriction></xs:simpleType>\
        <xs:notation name='picture' public='picture'/></xs:schema>";

    fn schemas(room: Room) -> (Schemas, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.xsd"), SCHEMA).unwrap();
        let schemas = Schemas::open(dir.path(), Box::new(XsdSchema)).with_room(Arc::new(room));
        assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
        (schemas, dir)
    }

    fn found(schemas: &Schemas, text: &str) -> Vec<String> {
        let found = schemas.validate("a", &Source::Memory(text.as_bytes()));
        found.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tables_decide_keys_and_the_engine_the_rest() {
        let (schemas, _dir) = schemas(Room::default());
        let items = "<i>1</i><i>2</i><i>1</i>";
        let twice = "1:20: /r/i[3]: the value for \"items\" is already on line 1 \
                     [cvc-identity-constraint.4.1]";
        assert_eq!(found(&schemas, "<r><i>1</i><n>1</n></r>"), [""; 0]);
        assert_eq!(found(&schemas, &format!("<r>{items}</r>")), [twice]);
        let both = found(&schemas, &format!("<r>{items}<n>x</n></r>"));
        assert_eq!(both[0], twice);
        assert!(both.len() == 2 && both[1].contains("[cvc-"), "{both:?}");
        // The tables do not express the medium, so the engine decides keys, too.
        let medium = "<medium>picture</medium>";
        assert_eq!(
            found(&schemas, &format!("<r>{medium}<i>1</i></r>")),
            [""; 0]
        );
        let by_engine = found(&schemas, &format!("<r>{medium}{items}</r>"));
        assert!(
            by_engine.len() == 1 && by_engine[0] != twice,
            "{by_engine:?}"
        );
    }

    /// The type of `r` is found by this file.
    fn files(file: &str) -> SchemaFiles {
        let entry = CatalogEntry {
            file: "spoolgate.toml".into(),
            line: 1,
            path: file.to_owned(),
            url: "https://h.example/kind.xsd".to_owned(),
        };
        SchemaFiles {
            catalog: Catalog::parse([entry]).unwrap(),
            ..SchemaFiles::default()
        }
    }

    #[test]
    fn a_check_that_has_begun_ends_by_the_files_with_which_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| {
            let begin = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>";
            let text = format!("{begin}{content}</xs:schema>");
            fs::write(dir.path().join(file), text).unwrap();
        };
        let include = "<xs:include schemaLocation='https://h.example/kind.xsd'/>";
        write(
            "a.xsd",
            &format!("{include}<xs:element name='r' type='kind'/>"),
        );
        fs::create_dir(dir.path().join("kinds")).unwrap();
        for (file, base) in [("kinds/number.xsd", "int"), ("kinds/word.xsd", "string")] {
            let kind = format!("<xs:restriction base='xs:{base}'/>");
            write(
                file,
                &format!("<xs:simpleType name='kind'>{kind}</xs:simpleType>"),
            );
        }
        let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
        let schemas = schemas.with_files(files("kinds/number.xsd"));
        assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
        let reopen = || -> io::Result<Box<dyn io::Read + Send>> {
            assert!(schemas.try_files(&files("kinds/word.xsd")).is_ok());
            schemas.take_files(files("kinds/word.xsd"));
            schemas.reload();
            Ok(Box::new(&b"<r>x</r>"[..]))
        };
        let findings = schemas.validate("a", &Source::Reader(&reopen)).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(found(&schemas, "<r>x</r>"), [""; 0]);
        let refused = schemas.try_files(&files("kinds/none.xsd")).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.starts_with("a: refused, the version before it stays in force: "),
            "{said}"
        );
        assert_eq!(found(&schemas, "<r>x</r>"), [""; 0]);
        // What is broken already keeps nothing else from being taken.
        write("a.xsd", "<xs:element name='r' type='none'/>");
        schemas.reload();
        assert!(schemas.is_refused("a"));
        assert!(schemas.try_files(&files("kinds/none.xsd")).is_ok());
    }

    #[test]
    fn what_finds_no_room_is_to_come_again() {
        let small = Room {
            budget: Arc::new(Budget::new(64 * 1024)),
            patience: Duration::ZERO,
            ..Room::default()
        };
        let (schemas, _dir) = schemas(small);
        let mut others = Share::of(Arc::clone(&schemas.room.budget));
        assert!(others.hold(1));
        let validate = |text: &str| schemas.validate("a", &Source::Memory(text.as_bytes()));
        assert!(validate("<r/>").unwrap().is_empty());
        assert!(matches!(validate("<r><i/></r>"), Err(Unavailable::Busy)));
        drop(others);
        assert!(validate("<r><i/></r>").unwrap().is_empty());
        let many: String = (0..9999).map(|n| format!("<i>{n}</i>")).collect();
        let too_large = validate(&format!("<r>{many}</r>")).unwrap();
        assert!(too_large.len() == 1 && too_large[0].to_string().contains("send it in parts"));
        let space = " ".repeat(SMALL_BYTES_MAX);
        let wrong = [
            format!("<r>{space}<n>x</n></r>"),
            "<r><n>x</n></r>".to_owned(),
        ];
        assert_eq!(validate(&wrong[0]).unwrap().len(), 1);
        let _other = schemas.room.engine.lock();
        assert!(matches!(validate(&wrong[0]), Err(Unavailable::Busy)));
        assert_eq!(validate(&wrong[1]).unwrap().len(), 1);
    }
}
