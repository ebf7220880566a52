//! What may come next in the elements that are open: followed beside the engine, which refuses
//! what may not come, and keeps to itself what might have.

use std::cell::RefCell;
use std::collections::HashMap;

use xsd_schema::SchemaSet;
use xsd_schema::compiler::{
    AllParticle, NfaTerm, SubstitutionGroupMap, build_substitution_group_map,
    compile_content_model_matcher,
};
use xsd_schema::ids::{ComplexTypeKey, ElementKey, NameId, TypeKey};
use xsd_schema::validation::{CompiledContentModel, ContentValidatorState};

use super::attributes;

/// Names that are listed of those that may come.
const NAMES_MAX: usize = 8;

/// An element of no schema: what takes it takes any of other namespaces.
const ANY: (&str, &str) = ("urn:spoolgate:any", "any");

/// The content models of a schema's types, each compiled when it is first needed.
pub(super) struct Models<'s> {
    compiled: RefCell<HashMap<ComplexTypeKey, Option<CompiledContentModel>>>,
    set: &'s SchemaSet,
    substitutes: SubstitutionGroupMap,
}

impl<'s> Models<'s> {
    pub(super) fn new(set: &'s SchemaSet) -> Models<'s> {
        Models {
            compiled: RefCell::default(),
            set,
            substitutes: build_substitution_group_map(set),
        }
    }

    pub(super) fn set(&self) -> &'s SchemaSet {
        self.set
    }

    fn groups(&self) -> Option<&SubstitutionGroupMap> {
        Some(&self.substitutes).filter(|groups| !groups.is_empty())
    }

    /// What wildcards of a type take for its own namespace.
    fn target(&self, of: ComplexTypeKey) -> Option<NameId> {
        self.set.arenas.complex_types.get(of)?.target_namespace
    }

    fn ids(&self, namespace: &str, name: &str) -> Ids {
        let names = &self.set.name_table;
        let namespace = (!namespace.is_empty()).then(|| names.add(namespace));
        (names.add(name), namespace)
    }

    fn name(&self, (name, namespace): Ids) -> Name<'_> {
        let names = &self.set.name_table;
        let namespace = namespace.map(|namespace| names.resolve_ref(namespace));
        (namespace, names.resolve_ref(name))
    }

    /// The element itself, and for one that is abstract those that may stand in its place.
    fn substituted(&self, ids: Ids, element: Option<ElementKey>) -> Vec<Ids> {
        let declared = element.and_then(|element| self.set.arenas.elements.get(element));
        match element.and_then(|element| self.substitutes.get(&element)) {
            Some(group) if declared.is_some_and(|of| of.is_abstract) => group
                .iter()
                .copied()
                .filter(|other| *other != ids)
                .collect(),
            Some(_) | None => vec![ids],
        }
    }

    fn start(&self, of: ComplexTypeKey) -> Option<ContentValidatorState> {
        let compile = || {
            let data = self.set.arenas.complex_types.get(of)?;
            let matcher = compile_content_model_matcher(self.set, data).ok()?;
            CompiledContentModel::try_from_matcher(matcher).ok()
        };
        let mut compiled = self.compiled.borrow_mut();
        let model = compiled.entry(of).or_insert_with(compile);
        model.as_ref().map(ContentValidatorState::from_compiled)
    }
}

/// An open element, as far as its type is known.
struct Content {
    of: Option<TypeKey>,
    /// Of a type without a content model there is none.
    state: Option<(ComplexTypeKey, ContentValidatorState)>,
}

/// The open elements of one document, outermost first.
pub(super) struct Contents<'m> {
    models: &'m Models<'m>,
    open: Vec<Content>,
}

/// The name of an element: its namespace and its local part.
type Name<'n> = (Option<&'n str>, &'n str);

/// The same as numbers, the local part first.
type Ids = (NameId, Option<NameId>);

impl<'m> Contents<'m> {
    pub(super) fn new(models: &'m Models<'m>) -> Contents<'m> {
        Contents {
            models,
            open: Vec::new(),
        }
    }

    /// A child of this name comes in the innermost element. One that may not come changes nothing.
    pub(super) fn child(&mut self, namespace: &str, name: &str) {
        let models = self.models;
        let Some(content) = self.open.last_mut() else {
            return;
        };
        if let Some((of, state)) = &mut content.state {
            let (name, namespace) = models.ids(namespace, name);
            let target = models.target(*of);
            let (version, groups) = (models.set.xsd_version, models.groups());
            let advanced = state.try_advance_element(name, namespace, target, version, groups);
            if advanced.is_err() {
                // What comes after is not known.
                content.state = None;
            }
        }
    }

    /// An element opens.
    pub(super) fn enter(&mut self, of: Option<TypeKey>) {
        let state = match of {
            Some(TypeKey::Complex(of)) => self.models.start(of).map(|state| (of, state)),
            Some(TypeKey::Simple(_)) | None => None,
        };
        self.open.push(Content { of, state });
    }

    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// Which attributes the innermost one may have.
    pub(super) fn attributes(&self) -> Option<String> {
        let of = self.open.last()?.of?;
        Some(attributes::expected(self.models.set, of))
    }

    /// Which elements a document may have as its root, where these are few, or one has the name of
    /// the element that came instead.
    pub(super) fn roots(&self, instead: Option<Name<'_>>) -> Option<String> {
        let set = self.models.set;
        let all = set.namespaces.values().flat_map(|of| of.elements.values());
        let all = all.filter_map(|key| set.arenas.elements.get(*key));
        let concrete = all.filter(|element| !element.is_abstract);
        let ids = concrete.filter_map(|of| Some((of.name?, of.target_namespace)));
        let mut names: Vec<Name<'_>> = ids.map(|ids| self.models.name(ids)).collect();
        names.sort_unstable_by_key(|&(namespace, name)| (name, namespace));
        if names.len() > NAMES_MAX {
            names.retain(|(_, name)| instead.is_some_and(|(_, other)| other == *name));
        }
        (!names.is_empty()).then(|| listed(&names, false, instead))
    }

    /// Which elements may come next in the innermost one, where that is known; `instead` of one of
    /// this name.
    pub(super) fn next(&self, instead: Option<Name<'_>>) -> Option<String> {
        let (of, state) = self.open.last()?.state.as_ref()?;
        let models = self.models;
        let target = models.target(*of);
        let accepts = |&(name, namespace): &Ids| {
            let (version, groups) = (models.set.xsd_version, models.groups());
            state.would_accept(name, namespace, target, version, groups)
        };
        let terms = terms(state);
        let terms = terms
            .into_iter()
            .flat_map(|(name, namespace, element)| models.substituted((name, namespace), element));
        // A counted element is a term even where there may be no more of it.
        let mut next: Vec<Ids> = terms.filter(accepts).collect();
        // As the schema mentions them first.
        next.sort_unstable_by_key(|(name, namespace)| (name.0, namespace.map(|uri| uri.0)));
        next.dedup();
        let next: Vec<Name<'_>> = next.iter().map(|ids| models.name(*ids)).collect();
        let any = accepts(&models.ids(ANY.0, ANY.1));
        Some(listed(&next, any, instead))
    }
}

/// The elements that a state may accept next.
fn terms(state: &ContentValidatorState) -> Vec<(NameId, Option<NameId>, Option<ElementKey>)> {
    match state {
        ContentValidatorState::Nfa {
            nfa, active_states, ..
        } => active_states.expected_element_terms(nfa),
        ContentValidatorState::AllGroup { model, .. } => {
            let element = |particle: &AllParticle| match &particle.term {
                NfaTerm::Element {
                    name,
                    namespace,
                    element_key,
                    ..
                } => Some((*name, *namespace, *element_key)),
                NfaTerm::Wildcard { .. } => None,
            };
            model.particles.iter().filter_map(element).collect()
        }
        ContentValidatorState::Simple | ContentValidatorState::Empty => Vec::new(),
    }
}

/// `the element "a"`, or `one of the elements "a", "b"`. A namespace is named where the name alone
/// would not tell an element from the one that came instead. `any`: there is a wildcard as well.
fn listed(names: &[Name<'_>], any: bool, instead: Option<Name<'_>>) -> String {
    let written = |&(namespace, name): &Name<'_>| match (namespace, instead) {
        (Some(namespace), Some((_, other))) if other == name => {
            format!("\"{name}\" of the namespace \"{namespace}\"")
        }
        (None, Some((_, other))) if other == name => format!("\"{name}\" of no namespace"),
        (Some(_) | None, _) => format!("\"{name}\""),
    };
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(written).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} others"),
    };
    let named = match &shown[..] {
        [] => None,
        [one] => Some(format!("the element {one}")),
        _ => Some(format!("one of the elements {}{more}", shown.join(", "))),
    };
    match (named, any) {
        (Some(named), false) => named,
        (Some(named), true) => format!("{named}, or one of another namespace"),
        (None, true) => "an element of another namespace".to_owned(),
        (None, false) => "nothing more".to_owned(),
    }
}
