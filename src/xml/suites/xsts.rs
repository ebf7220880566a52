//! The W3C XML Schema test suite: its groups that apply to XSD 1.0.

use std::path::Path;

use serde::Deserialize;

use super::{Case, Group, Verdict, index, run};

/// A group of the W3C XML Schema suite.
#[derive(Deserialize)]
struct SchemaTest {
    dexp: Vec<String>,
    docs: Vec<String>,
    exp: String,
    id: String,
    main: String,
}

/// Those with a verdict.
fn schema_tests(dir: &Path) -> Vec<Group> {
    let expected = |text: &str| match text {
        "valid" => Some(Verdict::Accepted),
        "invalid" => Some(Verdict::Refused),
        _ => None,
    };
    let group = |test: SchemaTest| {
        let documents = test.docs.iter().zip(&test.dexp).filter_map(|(file, exp)| {
            Some(Case {
                expected: expected(exp)?,
                file: file.clone(),
                name: format!("{} {file}", test.id),
            })
        });
        Some(Group {
            documents: documents.collect(),
            schema: Some(Case {
                expected: expected(&test.exp)?,
                file: test.main,
                name: test.id.clone(),
            }),
        })
    };
    index(dir).into_iter().filter_map(group).collect()
}

#[test]
fn the_schema_suite_has_its_verdicts() {
    run("xsts", schema_tests);
}
