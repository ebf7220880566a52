//! By which edition of XML Schema a schema wants to be read (XSD 1.1, part 1, 4.2.2).
//!
//! `vc:minVersion="1.1"` on `xs:schema` makes a schema of 1.0 an empty one. Editors write it on
//! schemas that need nothing of 1.1, and by 1.0 a foreign attribute means nothing at all (part 1,
//! 3.15.2), so a schema that is none by 1.1 may still be read as if the attribute were not there.

use crate::xml::intake::walk;
use crate::xml::snapshot::Snapshot;
use crate::xml::{Source, XmlLimits};

const VERSIONING_NAMESPACE: &str = "http://www.w3.org/2007/XMLSchema-versioning";

/// Of the same length, so that places stay what they are.
const IGNORED_NAMESPACE: &str = "http://www.w3.org/2007/XMLSchema-overlooked";

/// Is there a file that is none by XSD 1.0?
pub(super) fn wants_1_1(schema: &Snapshot) -> bool {
    schema.files().any(|(_, text)| file_wants_1_1(text))
}

/// The text without a condition in it.
pub(super) fn unconditional(text: &str) -> String {
    text.replace(VERSIONING_NAMESPACE, IGNORED_NAMESPACE)
}

fn file_wants_1_1(text: &str) -> bool {
    if !text.contains(VERSIONING_NAMESPACE) {
        return false;
    }
    let mut wants = false;
    // The text has been found to be well-formed.
    let _ = walk(
        &Source::Memory(text.as_bytes()),
        &XmlLimits::default(),
        &mut |element| {
            let conditions = element
                .attributes
                .iter()
                .filter(|a| element.is_root && a.namespace == Some(VERSIONING_NAMESPACE));
            for condition in conditions {
                let bound = condition.value().trim().parse::<f64>();
                wants |= match condition.name {
                    "minVersion" => bound.is_ok_and(|bound| bound > 1.0),
                    "minVersionExclusive" => bound.is_ok_and(|bound| bound >= 1.0),
                    _ => false,
                };
            }
            Ok(())
        },
    );
    wants
}
