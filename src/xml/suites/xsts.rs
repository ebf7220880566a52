//! The W3C XML Schema test suite: its groups that apply to XSD 1.0, and those that ask for XSD 1.1.

use std::path::Path;

use serde::Deserialize;

use super::test_sets::groups_of_1_1;
use super::{Case, Group, expected, index, run};

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
            edition: None,
            schema: Some(Case {
                expected: expected(&test.exp)?,
                file: test.main,
                name: test.id.clone(),
            }),
        })
    };
    let by_1_0 = index(dir).into_iter().filter_map(group);
    by_1_0.chain(groups_of_1_1(dir)).collect()
}

#[test]
fn the_schema_suite_has_its_verdicts() {
    run("xsts", schema_tests);
}
