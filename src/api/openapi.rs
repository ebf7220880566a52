//! The description of all dialects' methods, OpenAPI 3.1.
//!
//! Each dialect describes its own paths, responses and schemas in a file in its folder. What they
//! share, and the description's head, is in `openapi.json` beside this file. The tests find where a
//! description is not as a dialect does.

#[cfg(test)]
mod tests;

use super::DIALECTS;
use serde_json::{Map, Value};
use std::sync::LazyLock;
#[cfg(test)]
pub(super) use tests::assert_described;

const SHARED: &str = include_str!("openapi.json");

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let mut all = parsed(SHARED);
    for dialect in DIALECTS {
        merge(&mut all, parsed(dialect.openapi()));
    }
    format!("{:#}\n", Value::Object(all))
});

/// All that the server can be asked, as JSON.
pub fn description() -> &'static str {
    &DESCRIPTION
}

fn parsed(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("the tests have read it")
}

/// Adds the members of `more`; objects that both have are merged.
fn merge(all: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (all.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
}
