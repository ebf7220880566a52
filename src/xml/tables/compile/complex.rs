//! Complex types (Part 1, 3.4).

use xsd_schema::arenas::ComplexTypeDefData;
use xsd_schema::compiler::{ContentModelMatcher, compile_content_model_matcher};
use xsd_schema::parser::frames::{ComplexContentResult, DerivationMethod};
use xsd_schema::{ComplexTypeKey, FacetSet, SimpleTypeKey, TypeKey};

use super::super::component::{Content, Methods, Type};
use super::{Compiler, DEPTH_MAX, Id, Reason, SimpleType, complex_base, methods};

/// What the content of a complex type is made of.
#[derive(Clone, Copy)]
enum ContentKind {
    Children { is_mixed: bool },
    Empty,
    Text,
}

impl Compiler<'_> {
    pub(super) fn fill_complex(&mut self, id: Id<Type>, key: ComplexTypeKey) -> Result<(), Reason> {
        let data = &self.set.arenas.complex_types[key];
        let base = match data.resolved_base_type {
            Some(base) if base != TypeKey::Complex(key) => Some(self.type_of(base)),
            _ if id == self.tables.any_type => None,
            _ => Some(self.tables.any_type),
        };
        let of = &mut self.tables.types[id];
        of.base = base;
        of.derived_by = match data.derivation_method {
            Some(DerivationMethod::Extension) => Methods::EXTENSION,
            _ => Methods::RESTRICTION,
        };
        of.block = methods(data.block);
        of.is_abstract = data.is_abstract;
        let any_attribute = self.attribute_wildcard(key);
        let attributes = self.attribute_uses(key)?;
        let content = match content_kind(self.set, key, 0) {
            ContentKind::Empty => Content::Empty,
            ContentKind::Text => Content::Simple(self.simple_content(key)?),
            ContentKind::Children { is_mixed } => self.children(data, is_mixed)?,
        };
        let of = &mut self.tables.types[id];
        of.any_attribute = any_attribute;
        of.n_required = attributes.iter().filter(|one| one.is_required).count();
        of.attributes = attributes.into();
        of.content = content;
        Ok(())
    }

    fn children(&mut self, data: &ComplexTypeDefData, is_mixed: bool) -> Result<Content, Reason> {
        let matcher = compile_content_model_matcher(self.set, data);
        let model = match matcher.map_err(|_| "a content model that does not compile")? {
            ContentModelMatcher::AllGroup(all) => self.all(&all)?,
            ContentModelMatcher::Nfa(nfa) => self.automaton(&nfa, data.target_namespace)?,
            ContentModelMatcher::WithOpenContent { .. } => return Err("open content"),
        };
        let model = self.tables.models.add(model);
        Ok(Content::Children { model, is_mixed })
    }

    /// The simple type of simple content (Part 1, 3.4.2).
    pub(super) fn simple_content(&mut self, key: ComplexTypeKey) -> Result<Id<SimpleType>, Reason> {
        match self.simple_content_parts(key, 0)? {
            (base, None) => Ok(self.simple_type(base)),
            (base, Some(facets)) => Ok(self.restricted(base, &facets)),
        }
    }

    /// The simple type, and the facets if restrictions on the way to it add any.
    fn simple_content_parts(
        &self,
        key: ComplexTypeKey,
        depth: usize,
    ) -> Result<(SimpleTypeKey, Option<FacetSet>), Reason> {
        let data = &self.set.arenas.complex_types[key];
        let below = data
            .resolved_simple_content_type
            .or(data.resolved_base_type);
        let (base, inherited) = match below {
            Some(TypeKey::Simple(base)) => (base, None),
            Some(TypeKey::Complex(base)) if depth < DEPTH_MAX => {
                self.simple_content_parts(base, depth + 1)?
            }
            _ => return Err("simple content without a simple type"),
        };
        match &data.content {
            ComplexContentResult::Simple(own)
                if own.derivation == DerivationMethod::Restriction && !own.facets.is_empty() =>
            {
                let inherited = inherited.unwrap_or_else(|| self.effective_facets(base));
                let mut facets = own.facets.clone();
                facets.inherit_from(&inherited);
                Ok((base, Some(facets)))
            }
            ComplexContentResult::Complex(_)
            | ComplexContentResult::Empty
            | ComplexContentResult::Simple(_) => Ok((base, inherited)),
        }
    }
}

/// Part 1, 3.4.2, {content type}.
fn content_kind(set: &xsd_schema::SchemaSet, key: ComplexTypeKey, depth: usize) -> ContentKind {
    let data = &set.arenas.complex_types[key];
    match &data.content {
        ComplexContentResult::Empty if data.mixed => ContentKind::Children { is_mixed: true },
        ComplexContentResult::Empty => ContentKind::Empty,
        ComplexContentResult::Simple(_) => ContentKind::Text,
        ComplexContentResult::Complex(own) => {
            let is_mixed = data.mixed || own.mixed;
            // A particle that may occur never is none (3.9.2).
            let has_particle = own
                .particle
                .as_ref()
                .is_some_and(|p| p.min_occurs > 0 || p.max_occurs != Some(0));
            if has_particle || is_mixed {
                return ContentKind::Children { is_mixed };
            }
            match (data.derivation_method, complex_base(set, key)) {
                (Some(DerivationMethod::Extension), Some(base)) if depth < DEPTH_MAX => {
                    content_kind(set, base, depth + 1)
                }
                _ => ContentKind::Empty,
            }
        }
    }
}
