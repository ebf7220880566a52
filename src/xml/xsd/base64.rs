//! White space between the characters of `xs:base64Binary`, as in any text that is wrapped into
//! lines: the engine refuses it, XML Schema allows it (XSD 1.1, part 2, 3.3.16.2).

use std::collections::HashSet;
use std::iter;

use xsd_schema::SchemaSet;
use xsd_schema::ids::TypeKey;
use xsd_schema::parser::frames::ComplexContentResult;
use xsd_schema::types::XmlTypeCode;
use xsd_schema::types::facets::{FacetSet, WhitespaceMode, normalize_whitespace};
use xsd_schema::validation::validate_simple_type;

use crate::xml::names::is_space;

/// More steps of derivation than any schema has; the engine refuses those that go round.
pub(super) const STEPS_MAX: usize = 100;

/// Can the values of this type, or of its simple content, be octets in base64?
pub(super) fn is_base64(set: &SchemaSet, of: TypeKey) -> bool {
    !octet_types(set, of).is_empty()
}

/// Is a text valid by such a type, once the white space in it is passed over? Patterns are about
/// the text, all else is about the octets.
pub(super) fn is_valid(set: &SchemaSet, of: TypeKey, text: &str) -> bool {
    let octets: String = text.chars().filter(|&c| !is_space(c)).collect();
    let base64 = TypeKey::Simple(set.builtin_types().base64_binary);
    let fits = |of| {
        let mut facets = lineage(set, of).filter_map(|of| facets(set, of));
        facets.all(|facets| allow(facets, text, &octets))
    };
    validate_simple_type(&octets, base64, set).is_ok()
        && fits(of)
        && octet_types(set, of).into_iter().any(fits)
}

fn allow(facets: &FacetSet, text: &str, octets: &str) -> bool {
    let collapsed = normalize_whitespace(text, WhitespaceMode::Collapse);
    let padding = octets
        .bytes()
        .rev()
        .take_while(|&byte| byte == b'=')
        .count();
    let n_octets = (octets.len() / 4 * 3).saturating_sub(padding);
    facets.validate_patterns_only(&collapsed).is_ok()
        && facets.validate_binary_length(n_octets as u64).is_ok()
        && facets
            .validate_enum_value_space(|value| value == octets, octets)
            .is_ok()
}

/// The type itself if it is derived from `xs:base64Binary`, or the members of a union that are.
fn octet_types(set: &SchemaSet, of: TypeKey) -> Vec<TypeKey> {
    let (mut found, mut seen, mut wanted) = (Vec::new(), HashSet::new(), vec![of]);
    while let Some(of) = wanted.pop() {
        for step in lineage(set, of) {
            let TypeKey::Simple(simple) = step else {
                continue;
            };
            if set.get_type_code(simple) == Some(XmlTypeCode::Base64Binary) {
                found.push(of);
            }
            let members = set.arenas.simple_types.get(simple);
            let members = members.map_or(&[][..], |of| &of.resolved_member_types);
            wanted.extend(members.iter().filter(|&&member| seen.insert(member)));
        }
    }
    found
}

/// The type and those that it is derived from, as far as they say what its values are.
pub(super) fn lineage(set: &SchemaSet, of: TypeKey) -> impl Iterator<Item = TypeKey> {
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

pub(super) fn facets(set: &SchemaSet, of: TypeKey) -> Option<&FacetSet> {
    match of {
        TypeKey::Simple(simple) => Some(&set.arenas.simple_types.get(simple)?.facets),
        TypeKey::Complex(complex) => match &set.arenas.complex_types.get(complex)?.content {
            ComplexContentResult::Simple(content) => Some(&content.facets),
            ComplexContentResult::Complex(_) | ComplexContentResult::Empty => None,
        },
    }
}
