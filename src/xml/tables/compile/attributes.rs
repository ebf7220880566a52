//! The attribute uses of complex types (Part 1, 3.4.2, {attribute uses}).

use std::collections::HashSet;

use xsd_schema::arenas::ResolvedAttributeUse;
use xsd_schema::parser::frames::{AttributeUseKind, AttributeUseResult, DerivationMethod};
use xsd_schema::{AttributeGroupKey, AttributeKey, ComplexTypeKey, NameId, TypeKey};

use super::super::component::{Attribute, AttributeUse};
use super::{Compiler, Reason, complex_base};

type ExpandedName = (Option<NameId>, NameId);

/// An `xs:attribute` of a type, or of a group that it refers to.
struct Written<'s> {
    one: &'s AttributeUseResult,
    resolved: Option<&'s ResolvedAttributeUse>,
    target: Option<NameId>,
    is_in_group: bool,
}

impl Written<'_> {
    fn reference(&self) -> Option<AttributeKey> {
        self.resolved?.resolved_ref
    }
}

impl<'s> Compiler<'s> {
    /// The attribute uses with those of the bases, in the order of their symbols.
    pub(super) fn attribute_uses(
        &mut self,
        key: ComplexTypeKey,
    ) -> Result<Vec<AttributeUse>, Reason> {
        let any_type = self.set.any_type_key();
        let mut uses = Vec::new();
        // Names that a restriction on the way keeps out of what its base gives.
        let mut barred: HashSet<ExpandedName> = HashSet::new();
        let mut current = Some(key).filter(|key| *key != any_type);
        while let Some(key) = current {
            let mut own = HashSet::new();
            let mut prohibited = HashSet::new();
            for written in self.written_uses(key) {
                let Some(name) = self.attribute_name(&written) else {
                    return Err("an attribute without its declaration");
                };
                if written.one.use_kind == AttributeUseKind::Prohibited {
                    if !written.is_in_group {
                        prohibited.insert(name);
                    }
                    continue;
                }
                if barred.contains(&name) || !own.insert(name) {
                    continue;
                }
                uses.push(self.attribute_use(name, &written)?);
            }
            barred.extend(own);
            let data = &self.set.arenas.complex_types[key];
            if data.derivation_method != Some(DerivationMethod::Extension) {
                barred.extend(prohibited);
            }
            current = complex_base(self.set, key).filter(|base| *base != any_type);
        }
        uses.sort_unstable_by_key(|one| one.symbol);
        Ok(uses)
    }

    fn attribute_use(
        &mut self,
        name: ExpandedName,
        written: &Written<'_>,
    ) -> Result<AttributeUse, Reason> {
        let declared = written.reference().map(|key| self.attribute(key));
        let own_type = written.resolved.and_then(|resolved| resolved.resolved_type);
        let of_type = match (own_type, &declared) {
            (Some(TypeKey::Simple(key)), _) => self.simple_type(key),
            (_, Some(declared)) => declared.of_type,
            _ => self.simple_type(self.set.builtin_types().any_simple_type),
        };
        let own = &written.one.attribute;
        let value = match (&own.default_value, &own.fixed_value) {
            (None, None) => declared.and_then(|declared| declared.value),
            (Some(text), fixed) => Some(self.value(text, Some(of_type), fixed.is_some())),
            (None, Some(text)) => Some(self.value(text, Some(of_type), true)),
        };
        if value.is_some() && self.may_name_ids(of_type) {
            // It counts where the attribute is left out, too.
            return Err("an attribute with a default or fixed value that may be an ID");
        }
        Ok(AttributeUse {
            symbol: self.symbol(name.0, name.1)?,
            attribute: Attribute { of_type, value },
            is_required: written.one.use_kind == AttributeUseKind::Required,
        })
    }

    /// A global attribute.
    pub(super) fn attribute(&mut self, key: AttributeKey) -> Attribute {
        let declaration = &self.set.arenas.attributes[key];
        let of_type = match declaration.resolved_type {
            Some(TypeKey::Simple(key)) => key,
            _ => self.set.builtin_types().any_simple_type,
        };
        let of_type = self.simple_type(of_type);
        let value = match (&declaration.default_value, &declaration.fixed_value) {
            (None, None) => None,
            (Some(text), _) | (None, Some(text)) => {
                let is_fixed = declaration.fixed_value.is_some();
                Some(self.value(text, Some(of_type), is_fixed))
            }
        };
        Attribute { of_type, value }
    }

    /// What a type itself writes, and the groups that it refers to.
    fn written_uses(&self, key: ComplexTypeKey) -> Vec<Written<'s>> {
        let data = &self.set.arenas.complex_types[key];
        let own = data.attributes.iter().enumerate().map(|(n, one)| Written {
            one,
            resolved: data.resolved_attributes.get(n),
            target: data.target_namespace,
            is_in_group: false,
        });
        let mut written: Vec<Written<'s>> = own.collect();
        let mut seen = HashSet::new();
        let mut groups: Vec<AttributeGroupKey> = data.resolved_attribute_groups.clone();
        groups.reverse();
        while let Some(key) = groups.pop() {
            if !seen.insert(key) {
                continue;
            }
            let group = &self.set.arenas.attribute_groups[key];
            groups.extend(group.resolved_ref);
            if group.resolved_ref.is_some() {
                continue;
            }
            let uses = group.attributes.iter().enumerate();
            written.extend(uses.map(|(n, one)| Written {
                one,
                resolved: group.resolved_attributes.get(n),
                target: group.target_namespace,
                is_in_group: true,
            }));
            groups.extend(group.resolved_attribute_groups.iter().rev());
        }
        written
    }

    fn attribute_name(&self, written: &Written<'_>) -> Option<ExpandedName> {
        let own = &written.one.attribute;
        if let (Some(name), None) = (own.name, &own.ref_name) {
            let namespace = self.set.effective_local_attribute_namespace(
                own.target_namespace,
                own.form.as_deref(),
                own.source.as_ref(),
                written.target,
            );
            return Some((namespace, name));
        }
        let declaration = &self.set.arenas.attributes[written.reference()?];
        Some((declaration.target_namespace, declaration.name?))
    }
}
