//! Which attributes an element of a type may have, in words for someone who has written another one.

use std::collections::BTreeSet;

use xsd_schema::SchemaSet;
use xsd_schema::ids::{AttributeGroupKey, TypeKey};
use xsd_schema::parser::frames::{AttributeUseKind, AttributeUseResult};

use super::base64::lineage;

/// Names that are listed.
const NAMES_MAX: usize = 8;

/// Groups within groups; the engine refuses those that go round.
const LEVELS_MAX: usize = 50;

/// What is expected in the place of an attribute that may not be there. Wildcards are left out:
/// they have not taken it.
pub(super) fn expected(set: &SchemaSet, of: TypeKey) -> String {
    let mut names = Names {
        found: Vec::new(),
        prohibited: BTreeSet::new(),
        set,
    };
    for of in lineage(set, of) {
        let data = match of {
            TypeKey::Complex(of) => set.arenas.complex_types.get(of),
            TypeKey::Simple(_) => None,
        };
        if let Some(data) = data {
            names.take(&data.attributes);
            names.take_groups(&data.resolved_attribute_groups, LEVELS_MAX);
        }
    }
    names.listed()
}

struct Names<'s> {
    found: Vec<&'s str>,
    /// What a restriction takes away of its base.
    prohibited: BTreeSet<&'s str>,
    set: &'s SchemaSet,
}

impl<'s> Names<'s> {
    fn take(&mut self, uses: &[AttributeUseResult]) {
        for one in uses {
            let of = &one.attribute;
            let name = of.name.or(of.ref_name.as_ref().map(|of| of.local_name));
            let Some(name) = name.map(|name| self.set.name_table.resolve_ref(name)) else {
                continue;
            };
            if one.use_kind == AttributeUseKind::Prohibited {
                self.prohibited.insert(name);
            } else if !self.prohibited.contains(name) && !self.found.contains(&name) {
                self.found.push(name);
            }
        }
    }

    fn take_groups(&mut self, groups: &[AttributeGroupKey], levels: usize) {
        for group in groups {
            let group = self.set.arenas.attribute_groups.get(*group);
            if let (Some(group), Some(levels)) = (group, levels.checked_sub(1)) {
                self.take(&group.attributes);
                self.take_groups(&group.resolved_attribute_groups, levels);
            }
        }
    }

    fn listed(&self) -> String {
        let shown = self.found.iter().take(NAMES_MAX);
        let shown: Vec<String> = shown.map(|name| format!("\"{name}\"")).collect();
        let more = match self.found.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        match &shown[..] {
            [] => "no attribute".to_owned(),
            [one] => format!("the attribute {one}"),
            _ => format!("one of the attributes {}{more}", shown.join(", ")),
        }
    }
}
