//! An engine from another hand, which the tests compare with: `xmllint --schema`, one child process for
//! each document. The files of the schema are unpacked for each run and are all that the child can
//! read, see `child`.

use super::budget::Budget;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::child::{self, ChildError, ChildLimits, ChildOutput};
use super::decode::finding_in;
use super::schema::{CompiledSchema, Keys, SchemaEngine, SchemaError, ValidateError};
use super::snapshot::Snapshot;
use super::{Finding, Source, XmlLimits};

const PROGRAM: &str = "xmllint";

/// A document of 100 MB becomes a tree of more than a gigabyte.
const LIMITS: ChildLimits = ChildLimits {
    memory_bytes: 4 << 30,
    output_bytes_max: 64 * 1024,
    time: Duration::from_secs(60),
};

/// The exit statuses that are about the document and nothing else.
const DOCUMENT_FAULTS: [i32; 3] = [1, 3, 4];
const SCHEMA_FAULT: i32 = 5;

#[derive(Debug, Default, Clone, Copy)]
pub struct Xmllint;

pub fn xmllint_present() -> bool {
    child::find(PROGRAM).is_some()
}

impl SchemaEngine for Xmllint {
    fn compile(
        &self,
        schema: &Snapshot,
        _keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        // There is no option to load a schema alone; any document will do.
        let ended = run(schema, &Source::Memory(b"<any/>"))
            .map_err(|error| SchemaError::Engine(error.to_string()))?;
        if ended
            .status
            .code()
            .is_some_and(|code| code == 0 || DOCUMENT_FAULTS.contains(&code))
        {
            let schema = schema.clone();
            return Ok(Box::new(Compiled { schema }));
        }
        let messages = String::from_utf8_lossy(&ended.messages);
        if ended.status.code() != Some(SCHEMA_FAULT) {
            return Err(SchemaError::Engine(failure(&ended)));
        }
        let (file, finding) = messages
            .lines()
            .find_map(located)
            .unwrap_or_else(|| (schema.main(), Finding::new(0, 0, &messages)));
        Err(SchemaError::Invalid {
            file: file.to_owned(),
            finding,
        })
    }
}

struct Compiled {
    schema: Snapshot,
}

impl CompiledSchema for Compiled {
    fn validate(
        &mut self,
        source: &Source<'_>,
        limits: &XmlLimits,
        _budget: &Arc<Budget>,
    ) -> Result<Vec<Finding>, ValidateError> {
        // The program expands entities, so it must not see a document that declares some.
        match super::inspect(source, limits) {
            Ok(_) => {}
            Err(super::InspectError::NotWellFormed(finding)) => return Ok(vec![finding]),
            Err(super::InspectError::Io(error)) => return Err(ValidateError::Io(error)),
        }
        let ended = match run(&self.schema, source) {
            Ok(ended) => ended,
            Err(ChildError::Input(error)) => {
                return match finding_in(&error) {
                    Some(finding) => Ok(vec![finding.clone()]),
                    None => Err(ValidateError::Io(error)),
                };
            }
            Err(error) => return Err(ValidateError::Engine(error.to_string())),
        };
        match ended.status.code() {
            Some(0) => Ok(Vec::new()),
            Some(code) if DOCUMENT_FAULTS.contains(&code) => {
                let messages = String::from_utf8_lossy(&ended.messages);
                let about_document = |(file, finding)| (file == "-").then_some(finding);
                let located = messages.lines().filter_map(located);
                let mut findings: Vec<_> = located
                    .filter_map(about_document)
                    .take(limits.findings_max)
                    .collect();
                if findings.is_empty() {
                    findings.push(Finding::new(0, 0, "the document is not valid"));
                }
                findings.sort();
                Ok(findings)
            }
            _ => Err(ValidateError::Engine(failure(&ended))),
        }
    }

    fn spent(&self) -> bool {
        false
    }
}

fn run(schema: &Snapshot, source: &Source<'_>) -> Result<ChildOutput, ChildError> {
    let program = child::find(PROGRAM).ok_or_else(|| {
        let missing = "xmllint is not installed (apt-get install libxml2-utils)";
        ChildError::Run(io::Error::new(io::ErrorKind::NotFound, missing))
    })?;
    let dir = schema.unpack().map_err(ChildError::Run)?;
    let arguments = ["--noout", "--nonet", "--schema", schema.main(), "-"];
    child::run(
        &program,
        &arguments.map(OsStr::new),
        dir.path(),
        source,
        &LIMITS,
    )
}

/// `file:line: element x: Schemas validity error : message`, the form of all located messages.
fn located(line: &str) -> Option<(&str, Finding)> {
    let (file, rest) = line.split_once(':')?;
    let (number, rest) = rest.split_once(':')?;
    let number = number.parse().ok()?;
    let (kind, message) = rest.split_once(" error : ")?;
    let known = ["parser", "Schemas parser", "Schemas validity", "namespace"];
    known
        .iter()
        .any(|suffix| kind.trim_end().ends_with(suffix))
        .then(|| (file, Finding::new(number, 0, message)))
}

fn failure(ended: &ChildOutput) -> String {
    let messages = String::from_utf8_lossy(&ended.messages);
    super::one_line(&format!("xmllint ended with {}: {messages}", ended.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_a_place_are_found() {
        let line = "-:5: element order: Schemas validity error : Element 'order': bad : error : x";
        let (file, finding) = located(line).unwrap();
        assert_eq!(file, "-");
        assert_eq!(finding.to_string(), "5:0: Element 'order': bad : error : x");
        assert!(located("a.xsd:2: element bogus: Schemas parser error : The content").is_some());
        for other in [
            "- fails to validate",
            "     ^",
            "<order>a:5: error : b</order>",
            "-:x: parser error : y",
        ] {
            assert_eq!(located(other), None, "{other}");
        }
    }
}
