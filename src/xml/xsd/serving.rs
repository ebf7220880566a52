//! A compiled schema on a thread of its own.
//!
//! The engine's validator holds every content model compiled, which takes much longer than most
//! documents do, so it is made once. It borrows its schema, and neither may be looked at by two
//! threads: both stay on one for as long as they serve, and documents are sent there.

use std::io::BufRead;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use xsd_schema::SchemaSet;
use xsd_schema::validation::{SchemaValidator, ValidationFlags};

use super::expected::Models;
use super::run;
use crate::xml::budget::Budget;
use crate::xml::schema::{CompiledSchema, ValidateError};
use crate::xml::tables::Tables;
use crate::xml::{Finding, Source, XmlLimits};

/// The table of names keeps every name of every document. Compiling again costs milliseconds.
const NEW_NAMES_MAX: usize = 50_000;

/// The same for long names.
const NEW_NAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A thread that ends when this is dropped.
pub(super) struct Serving {
    answers: Receiver<Answer>,
    documents: Sender<Document>,
    spent: bool,
    tables: Option<Arc<Tables>>,
    /// Taken once it has panicked.
    thread: Option<JoinHandle<()>>,
    warnings: Vec<String>,
}

struct Document {
    budget: Arc<Budget>,
    input: Box<dyn BufRead + Send>,
    limits: XmlLimits,
}

struct Answer {
    findings: Result<Vec<Finding>, ValidateError>,
    spent: bool,
}

impl Serving {
    /// Returns when documents can come.
    ///
    /// # Errors
    /// When the content model of a type cannot be compiled, or there can be no more threads.
    pub(super) fn start(
        set: SchemaSet,
        tables: Option<Arc<Tables>>,
        warnings: Vec<String>,
    ) -> Result<Serving, ValidateError> {
        let (documents, received) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("schema".to_owned())
            .spawn(move || serve(&set, &received, &answer))
            .map_err(|error| ValidateError::Engine(format!("a thread cannot start: {error}")))?;
        let mut serving = Serving {
            answers,
            documents,
            spent: false,
            tables,
            thread: Some(thread),
            warnings,
        };
        // The first answer is to no document.
        serving.answer().map(|_| serving)
    }

    fn answer(&mut self) -> Result<Vec<Finding>, ValidateError> {
        match self.answers.recv() {
            Ok(answer) => {
                self.spent = answer.spent;
                answer.findings
            }
            Err(mpsc::RecvError) => match self.thread.take().map(JoinHandle::join) {
                Some(Err(panic)) => resume_unwind(panic),
                Some(Ok(())) | None => {
                    Err(ValidateError::Engine("its thread has ended".to_owned()))
                }
            },
        }
    }
}

impl CompiledSchema for Serving {
    fn validate(
        &mut self,
        source: &Source<'_>,
        limits: &XmlLimits,
        budget: &Arc<Budget>,
    ) -> Result<Vec<Finding>, ValidateError> {
        let document = Document {
            budget: Arc::clone(budget),
            input: source
                .open_for_another_thread()
                .map_err(ValidateError::Io)?,
            limits: *limits,
        };
        // A thread that is no more gives no answer either, and that says why.
        let _ = self.documents.send(document);
        self.answer()
    }

    fn spent(&self) -> bool {
        self.spent
    }

    fn tables(&self) -> Option<&Arc<Tables>> {
        self.tables.as_ref()
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Answers once when documents can come, then each of them.
fn serve(set: &SchemaSet, documents: &Receiver<Document>, answers: &Sender<Answer>) {
    let mut flags = ValidationFlags::default() & !ValidationFlags::BUILD_PSVI_TYPED_VALUES;
    // Without it assertions would be passed over, and every document accepted.
    flags.set(ValidationFlags::PROCESS_ASSERTIONS, set.is_xsd11());
    let validator = SchemaValidator::new(set, flags);
    let (n_names, name_bytes) = (set.name_table.len(), set.name_table.heap_bytes());
    let ready = Answer {
        findings: every_model(&validator).map(|()| Vec::new()),
        spent: false,
    };
    if answers.send(ready).is_err() {
        return;
    }
    let models = Models::new(set);
    for document in documents {
        let Document {
            budget,
            input,
            limits,
        } = document;
        let findings = run::validate(&models, &validator, input, &limits, budget);
        let names = &set.name_table;
        let spent = names.len() > n_names + NEW_NAMES_MAX
            || names.heap_bytes() > name_bytes + NEW_NAME_BYTES_MAX;
        if answers.send(Answer { findings, spent }).is_err() {
            return;
        }
    }
}

/// A type without its content model would fail with the first document that has such an element.
fn every_model(validator: &SchemaValidator<'_>) -> Result<(), ValidateError> {
    match validator.content_model_failures().first() {
        Some((_, reason)) => Err(ValidateError::Engine((*reason).to_owned())),
        None => Ok(()),
    }
}
