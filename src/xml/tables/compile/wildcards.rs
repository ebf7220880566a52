//! Wildcards of elements and attributes (Part 1, 3.10).

use xsd_schema::parser::frames::{
    ComplexContentResult, DerivationMethod, ProcessContents as WrittenProcess, WildcardNamespace,
    WildcardResult,
};
use xsd_schema::types::complex::{NamespaceConstraint, ProcessContents};
use xsd_schema::{AttributeGroupKey, ComplexTypeKey, NameId};

use super::super::names::Namespace;
use super::super::wildcard::{Namespaces, Process, Wildcard};
use super::{Compiler, DEPTH_MAX, Id, complex_base};

impl Compiler<'_> {
    fn wildcard(&mut self, wildcard: Wildcard) -> Id<Wildcard> {
        if let Some(id) = self.wildcards.get(&wildcard) {
            return *id;
        }
        let id = self.tables.wildcards.add(wildcard.clone());
        self.wildcards.insert(wildcard, id);
        id
    }

    pub(super) fn element_wildcard(
        &mut self,
        namespaces: &NamespaceConstraint,
        process: ProcessContents,
        target: Option<NameId>,
    ) -> Id<Wildcard> {
        let target = self.namespace(target);
        let namespaces = match namespaces {
            NamespaceConstraint::Any => Namespaces::Any,
            NamespaceConstraint::List(some) => Namespaces::Only(self.all_of(some)),
            NamespaceConstraint::Local => Namespaces::Only(vec![Namespace::ABSENT]),
            NamespaceConstraint::Not(some) => Namespaces::Except(self.all_of(some)),
            NamespaceConstraint::Other => Namespaces::Except(self.fault.not_other(target)),
            NamespaceConstraint::TargetNamespace => Namespaces::Only(vec![target]),
        };
        let process = match process {
            ProcessContents::Lax => Process::Lax,
            ProcessContents::Skip => Process::Skip,
            ProcessContents::Strict => Process::Strict,
        };
        self.wildcard(Wildcard {
            namespaces,
            process,
        })
    }

    fn all_of(&mut self, some: &[Option<NameId>]) -> Vec<Namespace> {
        some.iter().map(|uri| self.namespace(*uri)).collect()
    }

    /// Part 1, 3.4.2, {attribute wildcard}.
    pub(super) fn attribute_wildcard(&mut self, key: ComplexTypeKey) -> Option<Id<Wildcard>> {
        let wildcard = self.wildcard_of_type(key, 0)?;
        Some(self.wildcard(wildcard))
    }

    fn wildcard_of_type(&mut self, key: ComplexTypeKey, depth: usize) -> Option<Wildcard> {
        let data = &self.set.arenas.complex_types[key];
        let written = data.attribute_wildcard.as_ref().or(match &data.content {
            ComplexContentResult::Complex(content) => content.attribute_wildcard.as_ref(),
            ComplexContentResult::Empty => None,
            ComplexContentResult::Simple(content) => content.attribute_wildcard.as_ref(),
        });
        let groups = &data.resolved_attribute_groups;
        let own = self.complete_wildcard(written, data.target_namespace, groups, 0);
        let base = complex_base(self.set, key).filter(|_| depth < DEPTH_MAX);
        match (data.derivation_method, base) {
            (Some(DerivationMethod::Extension), Some(base)) => {
                match (own, self.wildcard_of_type(base, depth + 1)) {
                    (Some(own), Some(base)) => Some(Wildcard {
                        namespaces: own.namespaces.union(base.namespaces),
                        process: own.process,
                    }),
                    (own, base) => own.or(base),
                }
            }
            _ => own,
        }
    }

    /// The wildcard of a type or group with those of the groups that it refers to.
    fn complete_wildcard(
        &mut self,
        written: Option<&WildcardResult>,
        target: Option<NameId>,
        groups: &[AttributeGroupKey],
        depth: usize,
    ) -> Option<Wildcard> {
        let mut complete = written.map(|written| self.written_wildcard(written, target));
        for key in groups.iter().filter(|_| depth < DEPTH_MAX) {
            let mut group = &self.set.arenas.attribute_groups[*key];
            if let Some(target) = group.resolved_ref {
                group = &self.set.arenas.attribute_groups[target];
            }
            let of_group = self.complete_wildcard(
                group.attribute_wildcard.as_ref(),
                group.target_namespace,
                &group.resolved_attribute_groups,
                depth + 1,
            );
            complete = match (complete, of_group) {
                (Some(one), Some(other)) => Some(Wildcard {
                    namespaces: one.namespaces.intersection(other.namespaces),
                    process: one.process,
                }),
                (one, other) => one.or(other),
            };
        }
        complete
    }

    fn written_wildcard(&mut self, written: &WildcardResult, target: Option<NameId>) -> Wildcard {
        let own = self.namespace(target);
        let namespaces = match &written.namespace {
            WildcardNamespace::Any => Namespaces::Any,
            WildcardNamespace::List(tokens) => {
                let tokens = tokens.iter();
                Namespaces::Only(tokens.map(|t| self.namespace(t.resolve(target))).collect())
            }
            WildcardNamespace::Local => Namespaces::Only(vec![Namespace::ABSENT]),
            WildcardNamespace::Other => Namespaces::Except(self.fault.not_other(own)),
            WildcardNamespace::TargetNamespace => Namespaces::Only(vec![own]),
        };
        let process = match written.process_contents {
            WrittenProcess::Lax => Process::Lax,
            WrittenProcess::Skip => Process::Skip,
            WrittenProcess::Strict => Process::Strict,
        };
        Wildcard {
            namespaces,
            process,
        }
    }
}
