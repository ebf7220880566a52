//! The W3C XML conformance suite: which documents are well-formed.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{Case, Group, Verdict, index, run};

/// A document of the W3C XML conformance suite.
#[derive(Deserialize)]
struct DocumentTest {
    docs: Vec<String>,
    ed: String,
    id: String,
    ns: String,
    rec: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Those for a processor of XML 1.0, fifth edition, that knows namespaces. What is of the type
/// `error` may be reported or not. A document with a document type declaration is to be refused,
/// whatever it is.
fn document_tests(dir: &Path) -> Vec<Group> {
    let tests = index(dir).into_iter().filter(|test: &DocumentTest| {
        let edition = test.ed.is_empty() || test.ed.contains('5');
        edition && test.ns == "yes" && !test.rec.contains("1.1") && test.kind != "error"
    });
    let group = |test: DocumentTest| {
        let file = format!("xmlconf/{}", test.docs[0]);
        let is_good = test.kind != "not-wf" && !declares_a_type(&dir.join(&file));
        let document = Case {
            expected: if is_good {
                Verdict::Accepted
            } else {
                Verdict::Refused
            },
            file,
            name: test.id,
        };
        Group {
            documents: vec![document],
            edition: None,
            schema: None,
        }
    };
    tests.map(group).collect()
}

/// Is there a document type declaration? Without its zeros UTF-16 reads like UTF-8.
fn declares_a_type(document: &Path) -> bool {
    let mut bytes = fs::read(document).unwrap();
    bytes.retain(|byte| *byte != 0);
    let text = String::from_utf8_lossy(&bytes);
    let mut rest = &text[..];
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let end = match rest {
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<?") => "?>",
            _ => return rest.starts_with("<!DOCTYPE"),
        };
        rest = rest.split_once(end).map_or("", |(_, after)| after);
    }
    false
}

#[test]
fn the_conformance_suite_has_its_verdicts() {
    run("xmlconf", document_tests);
}
