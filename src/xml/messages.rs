//! What is said of each kind of mistake, in one table: whichever part has found it, a partner reads
//! one style. `UPDATE_EXPECT=1` writes what is said now; the difference is for a person to read.

use std::path::Path;

use expect_test::expect_file;

use super::{Finding, InspectError, Schemas, Source, XmlLimits, XsdSchema, inspect};

/// Small enough for documents that can be read.
fn limits() -> XmlLimits {
    XmlLimits {
        attributes_max: 5,
        depth_max: 6,
        text_bytes_max: 180,
        ..XmlLimits::default()
    }
}

fn findings(schemas: &Schemas, document: &str) -> Vec<Finding> {
    let source = Source::Memory(document.as_bytes());
    match inspect(&source, &limits()) {
        Ok(_) => schemas.validate("order", &source).unwrap(),
        Err(InspectError::NotWellFormed(finding)) => vec![finding],
        Err(error @ InspectError::Io(_)) => panic!("{error}"),
    }
}

#[test]
fn each_mistake_has_its_message() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages");
    let mut schemas = Schemas::open(&directory, Box::new(XsdSchema));
    schemas.limits.findings_max = 10;
    assert_eq!(schemas.reload()[0].to_string(), "order: loaded");
    let table = directory.join("table.txt");
    let text = std::fs::read_to_string(&table).unwrap();
    let said = text.split("### ").skip(1).map(|example| {
        let (asked, _) = example.split_once("\n=>").unwrap();
        let (_, document) = asked.split_once('\n').unwrap();
        let found = findings(&schemas, document);
        assert!(!found.is_empty(), "{asked}");
        let lines = found.iter().map(|finding| format!("{finding}\n"));
        format!("### {asked}\n=>\n{}", lines.collect::<String>())
    });
    expect_file![table].assert_eq(&said.collect::<Vec<_>>().join("\n"));
}
