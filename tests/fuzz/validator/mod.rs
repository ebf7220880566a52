//! Documents for the validator: schemas, what is known of them, and mutants of documents.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spoolgate::xml::{
    Budget, CompiledSchema, Keys, SchemaEngine, Snapshot, Source, Tables, Validation, Verdict,
    XmlLimits, XsdSchema,
};

use document::{Document, Element};
use knowledge::Knowledge;
use mutate::Mutator;
use random::Random;

mod document;
mod knowledge;
mod literals;
mod mutate;
mod random;

/// More than any input needs for its keys and IDs.
const BUDGET_BYTES: usize = 1 << 24;

/// Elements of accepted documents that are kept for others.
const DONORS_MAX: usize = 500;

/// A schema in both engines.
pub(crate) struct Schema {
    name: String,
    tables: Arc<Tables>,
    engine: Box<dyn CompiledSchema>,
    budget: Arc<Budget>,
    knowledge: Knowledge,
    donors: Vec<Element>,
}

/// The directory with a schema of this name.
fn directory_of(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("schemas");
    match std::env::var_os("SPOOLGATE_FUZZ_SCHEMAS") {
        _ if own.join(format!("{name}.xsd")).exists() => own,
        Some(given) if name.contains('/') => given.into(),
        Some(_) | None => here.join("../../spool/schemas"),
    }
}

fn compile(schema: &Snapshot) -> Box<dyn CompiledSchema> {
    let compiled = XsdSchema.compile(schema, Keys::Checked);
    compiled.expect("the schema is good")
}

impl Schema {
    /// Nothing if there is none of this name.
    pub(crate) fn load(name: &str) -> Option<Schema> {
        let dir = directory_of(name);
        let file = dir.join(format!("{name}.xsd"));
        if name.contains("..") || !file.exists() {
            return None;
        }
        let snapshot = Snapshot::of_schema(&dir, name).expect("the schema can be read");
        let engine = compile(&snapshot);
        let tables = engine.tables().expect("tables can express the schema");
        Some(Schema {
            name: name.to_owned(),
            tables: Arc::clone(tables),
            engine,
            budget: Arc::new(Budget::new(BUDGET_BYTES)),
            knowledge: Knowledge::read(&file),
            donors: Vec::new(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn validation(&self) -> Validation {
        let (tables, budget) = (Arc::clone(&self.tables), Arc::clone(&self.budget));
        Validation::new(tables, budget, XmlLimits::default())
    }

    pub(crate) fn verdict(&self, document: &[u8]) -> Verdict {
        self.validation().of_whole(document)
    }

    /// The same when it comes in pieces, whose sizes follow from the seed.
    pub(crate) fn verdict_in_pieces(&self, document: &[u8], seed: u64) -> Verdict {
        let mut random = Random::of(seed);
        let longest = [1, 4, 32, 512][random.below(4)];
        let mut validation = self.validation();
        let mut rest = document;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(longest)));
            rest = behind;
            if !validation.read(piece) {
                break;
            }
        }
        validation.finish()
    }

    /// What the full engine finds first; nothing if it accepts the document.
    pub(crate) fn finding(&mut self, document: &[u8]) -> Option<String> {
        let source = Source::Memory(document);
        let findings = self
            .engine
            .validate(&source, &XmlLimits::default(), &self.budget);
        let findings = findings.expect("the engine answers");
        if self.engine.spent() {
            let dir = directory_of(&self.name);
            let snapshot = Snapshot::of_schema(&dir, &self.name).expect("it could be read before");
            self.engine = compile(&snapshot);
        }
        findings.first().map(ToString::to_string)
    }

    /// Keeps elements of an accepted document for other documents.
    pub(crate) fn remember(&mut self, document: &[u8], seed: u64) {
        let text = str::from_utf8(document).ok();
        let Some(mut document) = text.and_then(Document::parse) else {
            return;
        };
        let mut random = Random::of(seed);
        let way = random.choose(&document.ways()).cloned();
        let Some(element) = way.and_then(|way| document.at(&way).cloned()) else {
            return;
        };
        if self.donors.len() < DONORS_MAX {
            self.donors.push(element);
        } else {
            let n = random.below(DONORS_MAX);
            self.donors[n] = element;
        }
    }

    /// The document with small changes that the schema suggests; nothing if it is not well-formed.
    pub(crate) fn mutant(&self, document: &[u8], seed: u64) -> Option<Vec<u8>> {
        self.changed(document, &self.donors, seed)
    }

    /// The same without what other documents have left, so that it is the same in each run.
    pub(crate) fn mutant_alone(&self, document: &[u8], seed: u64) -> Option<Vec<u8>> {
        self.changed(document, &[], seed)
    }

    fn changed(&self, document: &[u8], donors: &[Element], seed: u64) -> Option<Vec<u8>> {
        let mut document = Document::parse(str::from_utf8(document).ok()?)?;
        Mutator::new(&self.knowledge, donors, seed).change(&mut document);
        Some(document.write().into_bytes())
    }
}
