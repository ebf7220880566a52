//! Which values a type takes, in words for someone who has written another one.

use xsd_schema::SchemaSet;
use xsd_schema::ids::TypeKey;
use xsd_schema::parser::frames::SimpleTypeVariety;
use xsd_schema::types::facets::FacetSet;

use super::base64::{facets, lineage};

/// Values of an enumeration, or members of a union, that are listed.
const LISTED_MAX: usize = 8;

/// Longest description; more is cut off.
const CHARS_MAX: usize = 220;

/// Unions and lists within each other, of which a description speaks.
const LEVELS_MAX: usize = 4;

/// What is expected where the engine refused `value` by this constraint.
pub(super) fn expected(
    set: &SchemaSet,
    of: TypeKey,
    constraint: &str,
    value: &str,
) -> Option<String> {
    let mut steps = lineage(set, of);
    let by_facet = steps.find_map(|of| match built_in(set, of) {
        Some(name) => Some(name),
        None => facets(set, of).and_then(|facets| by_facet(facets, constraint, value)),
    });
    let words = match constraint {
        "cvc-datatype-valid" | "cvc-simple-type" => described(set, of, LEVELS_MAX),
        _ => by_facet,
    };
    words.map(|words| cut(&words))
}

/// The facet that a constraint is about.
fn by_facet(facets: &FacetSet, constraint: &str, value: &str) -> Option<String> {
    let bound = |words: &str, bound: &str| Some(format!("{words} {bound}"));
    match constraint {
        "cvc-enumeration-valid" => enumerated(facets),
        "cvc-pattern-valid" => match facets.validate_patterns_only(value) {
            Ok(()) => None,
            Err(_) => patterned(facets),
        },
        "cvc-length-valid" => bound("a length of", &facets.length.as_ref()?.value.to_string()),
        "cvc-minLength-valid" => bound(
            "a length of at least",
            &facets.min_length.as_ref()?.value.to_string(),
        ),
        "cvc-maxLength-valid" => bound(
            "a length of at most",
            &facets.max_length.as_ref()?.value.to_string(),
        ),
        "cvc-minInclusive-valid" => {
            bound("a value of at least", &facets.min_inclusive.as_ref()?.value)
        }
        "cvc-maxInclusive-valid" => {
            bound("a value of at most", &facets.max_inclusive.as_ref()?.value)
        }
        "cvc-minExclusive-valid" => bound("a value above", &facets.min_exclusive.as_ref()?.value),
        "cvc-maxExclusive-valid" => bound("a value below", &facets.max_exclusive.as_ref()?.value),
        "cvc-totalDigits-valid" => {
            let digits = facets.total_digits.as_ref()?.value;
            Some(format!("at most {digits} digits"))
        }
        "cvc-fractionDigits-valid" => {
            let digits = facets.fraction_digits.as_ref()?.value;
            Some(format!("at most {digits} digits after the point"))
        }
        _ => None,
    }
}

/// The type as a whole.
fn described(set: &SchemaSet, of: TypeKey, levels: usize) -> Option<String> {
    lineage(set, of).find_map(|of| {
        let by_values = || facets(set, of).and_then(|f| enumerated(f).or_else(|| patterned(f)));
        built_in(set, of)
            .or_else(by_values)
            .or_else(|| composed(set, of, levels.checked_sub(1)?))
    })
}

fn composed(set: &SchemaSet, of: TypeKey, levels: usize) -> Option<String> {
    let data = set.arenas.simple_types.get(of.as_simple()?)?;
    match data.variety {
        SimpleTypeVariety::Atomic => None,
        SimpleTypeVariety::List => {
            let items = described(set, data.resolved_item_type?, levels)?;
            Some(format!("a list, each item {items}"))
        }
        SimpleTypeVariety::Union => {
            let mut each: Vec<String> = Vec::new();
            for &member in &data.resolved_member_types {
                let words = described(set, member, levels);
                each.extend(words.filter(|words| !each.contains(words)));
            }
            let n_more = each.len().saturating_sub(LISTED_MAX);
            each.truncate(LISTED_MAX);
            if n_more > 0 {
                each.push(format!("{n_more} other forms"));
            }
            (!each.is_empty()).then(|| each.join(", or "))
        }
    }
}

fn enumerated(facets: &FacetSet) -> Option<String> {
    let mut values: Vec<&String> = facets.enumeration.as_ref()?.values.iter().collect();
    values.sort();
    let shown = values.iter().take(LISTED_MAX);
    let shown: Vec<String> = shown.map(|value| format!("\"{value}\"")).collect();
    let more = match values.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} others"),
    };
    Some(match &shown[..] {
        [one] => one.clone(),
        _ => format!("one of {}{more}", shown.join(", ")),
    })
}

fn patterned(facets: &FacetSet) -> Option<String> {
    let step = facets.patterns.last()?.iter();
    let patterns: Vec<&str> = step.map(|pattern| pattern.value.as_str()).collect();
    (!patterns.is_empty()).then(|| format!("text that matches {}", patterns.join(" or ")))
}

/// The type's own name, with an example where the name does not say how a value is written.
fn built_in(set: &SchemaSet, of: TypeKey) -> Option<String> {
    let name = set.get_type_code(of.as_simple()?)?.local_name()?;
    let words = match name {
        "anyURI" => "a URI",
        "base64Binary" => "octets in base64",
        "boolean" => "true or false",
        "date" => "a date as 2026-11-27",
        "dateTime" => "a date and time as 2026-11-27T10:00:00",
        "dateTimeStamp" => "a date and time with zone as 2026-11-27T10:00:00Z",
        "decimal" => "a number as 12.50",
        "double" | "float" => "a number as 12.50 or 1.25E1",
        "duration" => "a duration as P1DT12H",
        "gYear" => "a year as 2026",
        "gYearMonth" => "a month as 2026-11",
        "hexBinary" => "octets in hexadecimal",
        "integer" => "a whole number",
        "language" => "a language as de-DE",
        "nonNegativeInteger" => "a whole number from 0 on",
        "positiveInteger" => "a whole number from 1 on",
        "time" => "a time as 10:00:00",
        "byte" | "int" | "long" | "negativeInteger" | "nonPositiveInteger" | "short"
        | "unsignedByte" | "unsignedInt" | "unsignedLong" | "unsignedShort" => {
            return Some(format!("a whole number (xs:{name})"));
        }
        _ => return Some(format!("a value of xs:{name}")),
    };
    Some(words.to_owned())
}

fn cut(words: &str) -> String {
    match words.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
