//! White space between the characters of `xs:base64Binary`, as in any text that is wrapped into
//! lines: the engine refuses it, XML Schema allows it (XSD 1.1, part 2, 3.3.16.2).

use std::iter;

use xsd_schema::SchemaSet;
use xsd_schema::ids::TypeKey;
use xsd_schema::parser::frames::ComplexContentResult;
use xsd_schema::types::XmlTypeCode;
use xsd_schema::types::facets::{FacetSet, WhitespaceMode, normalize_whitespace};
use xsd_schema::validation::validate_simple_type;

use crate::xml::names::is_space;

/// More steps of derivation than any schema has; the engine refuses those that go round.
const STEPS_MAX: usize = 100;

/// Are the values of this type, or of its simple content, octets in base64?
pub(super) fn is_base64(set: &SchemaSet, of: TypeKey) -> bool {
    lineage(set, of).any(|of| match of {
        TypeKey::Simple(simple) => set.get_type_code(simple) == Some(XmlTypeCode::Base64Binary),
        TypeKey::Complex(_) => false,
    })
}

/// Is a text valid by such a type, once the white space in it is passed over? Patterns are about
/// the text, all else is about the octets.
pub(super) fn is_valid(set: &SchemaSet, of: TypeKey, text: &str) -> bool {
    let collapsed = normalize_whitespace(text, WhitespaceMode::Collapse);
    let fits_patterns = |facets: &FacetSet| facets.validate_patterns_only(&collapsed).is_ok();
    let octets: String = text.chars().filter(|&c| !is_space(c)).collect();
    lineage(set, of)
        .filter_map(|of| facets(set, of))
        .all(fits_patterns)
        && validate_simple_type(&octets, of, set).is_ok()
}

/// The type and those that it is derived from, as far as they say what its values are.
fn lineage(set: &SchemaSet, of: TypeKey) -> impl Iterator<Item = TypeKey> {
    let base = |of: &TypeKey| match *of {
        TypeKey::Simple(simple) => set.arenas.simple_types.get(simple)?.resolved_base_type,
        TypeKey::Complex(complex) => {
            let data = set.arenas.complex_types.get(complex)?;
            data.resolved_simple_content_type
                .or(data.resolved_base_type)
        }
    };
    iter::successors(Some(of), base).take(STEPS_MAX)
}

fn facets(set: &SchemaSet, of: TypeKey) -> Option<&FacetSet> {
    match of {
        TypeKey::Simple(simple) => Some(&set.arenas.simple_types.get(simple)?.facets),
        TypeKey::Complex(complex) => match &set.arenas.complex_types.get(complex)?.content {
            ComplexContentResult::Simple(content) => Some(&content.facets),
            ComplexContentResult::Complex(_) | ComplexContentResult::Empty => None,
        },
    }
}
