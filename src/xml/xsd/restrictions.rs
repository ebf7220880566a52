//! Complex types that the engine takes for no valid restriction of their base (part 1, 3.4.6,
//! Derivation Valid (Restriction, Complex)).
//!
//! Documents are checked by what a type itself says, so a schema with such types can serve, and
//! libxml2 takes most of them. The engine refuses the schema while it resolves the components, and
//! has no switch for that. It looks at a restriction where one is named as the method of
//! derivation; a type without a method is a restriction of its base everywhere else. So the method
//! is taken away from these types, and from no others, before the components are resolved.

use xsd_schema::compiler::build_substitution_group_map_with_abstract;
use xsd_schema::parser::frames::{
    AlternativeResult, ComplexContentResult, DerivationMethod, ParticleResult, ParticleTerm,
    TypeFrameResult,
};
use xsd_schema::parser::location::{SourceLocation, SourceRef};
use xsd_schema::schema::{DependencyGraph, validate_all_derivations};
use xsd_schema::{SchemaError, SchemaSet, TypeKey};

pub(super) const CONSTRAINT: &str = "derivation-ok-restriction";

/// A type whose restriction the engine refuses.
pub(super) struct Refused {
    /// Is it valid by the specification?
    pub(super) is_valid: bool,
    pub(super) message: String,
    pub(super) place: Option<SourceLocation>,
    source: SourceRef,
}

/// Is it a restriction that the engine has refused first? Then the components are resolved.
pub(super) fn is_refusal(error: &SchemaError) -> bool {
    matches!(error, SchemaError::StructuralError { constraint, .. } if *constraint == CONSTRAINT)
}

/// All such types among the components, which are resolved, and of no more use afterwards.
pub(super) fn refused(set: &mut SchemaSet) -> Vec<Refused> {
    let mut refused = look(set);
    declare_members_as_heads(set);
    let invalid = look(set);
    for of in &mut refused {
        of.is_valid = !is_among(&invalid, Some(&of.source));
    }
    refused
}

fn look(set: &SchemaSet) -> Vec<Refused> {
    let restrictions = set
        .arenas
        .complex_types
        .iter()
        .filter(|(_, of)| of.derivation_method == Some(DerivationMethod::Restriction));
    let refused = restrictions.filter_map(|(key, of)| {
        let mut alone = DependencyGraph::new();
        alone.add_type(TypeKey::Complex(key));
        alone.sort().ok()?;
        match validate_all_derivations(set, &alone) {
            Err(SchemaError::StructuralError {
                constraint: CONSTRAINT,
                message,
                location,
            }) => Some(Refused {
                is_valid: false,
                message,
                place: location,
                source: of.source.clone()?,
            }),
            Err(_) | Ok(_) => None,
        }
    });
    refused.collect()
}

/// Where a head of a substitution group may stand, a restriction may name one of its members,
/// whatever that one's type adds: the head stands for the choice of all of them, and the member is
/// compared with itself (part 1, 3.9.6). The engine compares it with the head, and finds no
/// difference when both are declared alike.
fn declare_members_as_heads(set: &mut SchemaSet) {
    for (head, names) in build_substitution_group_map_with_abstract(set) {
        let of = &set.arenas.elements[head];
        if !of.resolved_substitution_groups.is_empty() {
            continue;
        }
        let (block, nillable, resolved_type) = (of.block, of.nillable, of.resolved_type);
        let fixed_value = of.fixed_value.clone();
        let members = names.iter();
        let members = members.filter_map(|(name, namespace)| set.lookup_element(*namespace, *name));
        let members: Vec<_> = members.collect();
        let elements = &mut set.arenas.entries_mut().elements;
        for member in members {
            if let Some(of) = elements.get_mut(member) {
                of.block = block;
                of.fixed_value.clone_from(&fixed_value);
                of.nillable = nillable;
                of.resolved_type = resolved_type;
            }
        }
    }
}

/// Takes the method of derivation away from these types, wherever they stand, before the
/// components are resolved.
pub(super) fn overlook(set: &mut SchemaSet, refused: &[Refused]) {
    let overlooked = Overlooked(refused);
    let arenas = set.arenas.entries_mut();
    for of in arenas.complex_types.values_mut() {
        overlooked.in_type(
            of.source.as_ref(),
            &mut of.derivation_method,
            &mut of.content,
        );
    }
    for of in arenas.elements.values_mut() {
        overlooked.in_element(&mut of.inline_type, &mut of.alternatives);
    }
    for of in arenas.model_groups.values_mut() {
        overlooked.in_particles(&mut of.particles);
    }
}

fn is_among(refused: &[Refused], source: Option<&SourceRef>) -> bool {
    let place = |of: &SourceRef| (of.doc_id, of.span);
    let mut places = refused.iter().map(|of| place(&of.source));
    source.is_some_and(|of| places.any(|other| other == place(of)))
}

struct Overlooked<'r>(&'r [Refused]);

impl Overlooked<'_> {
    fn in_type(
        &self,
        source: Option<&SourceRef>,
        method: &mut Option<DerivationMethod>,
        content: &mut ComplexContentResult,
    ) {
        if is_among(self.0, source) {
            *method = None;
        }
        match content {
            ComplexContentResult::Complex(content) => {
                self.in_particles(content.particle.as_mut_slice());
            }
            ComplexContentResult::Empty | ComplexContentResult::Simple(_) => {}
        }
    }

    fn in_particles(&self, particles: &mut [ParticleResult]) {
        for particle in particles {
            match &mut particle.term {
                ParticleTerm::Any(_) => {}
                ParticleTerm::Element(of) => {
                    self.in_element(&mut of.inline_type, &mut of.alternatives);
                }
                ParticleTerm::Group(of) => self.in_particles(&mut of.particles),
            }
        }
    }

    /// An element may have types of its own.
    fn in_element(
        &self,
        own: &mut Option<Box<TypeFrameResult>>,
        alternatives: &mut [AlternativeResult],
    ) {
        let alternatives = alternatives.iter_mut().map(|of| &mut of.inline_type);
        for of in alternatives.chain([own]).flatten() {
            match &mut **of {
                TypeFrameResult::Complex(of) => self.in_type(
                    of.source.as_ref(),
                    &mut of.derivation_method,
                    &mut of.content,
                ),
                TypeFrameResult::Simple(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::xml::{Schemas, Source, XsdSchema};

    const BASE: &str = "<xs:complexType name='Base'><xs:sequence>\
        <xs:element name='a' type='xs:int' maxOccurs='2'/></xs:sequence>\
        <xs:attribute name='k' use='required'/></xs:complexType>\n";

    /// A schema of one file with this content, and what a reload says of it.
    fn loaded(content: &str) -> (Schemas, String) {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\n{content}</xs:schema>"
        );
        fs::write(dir.path().join("s.xsd"), text).unwrap();
        let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
        let report = schemas.reload()[0].to_string();
        (schemas, report)
    }

    fn restriction(attributes: &str, inside: &str) -> String {
        format!(
            "<xs:complexType {attributes}><xs:complexContent><xs:restriction base='Base'>{inside}\
             </xs:restriction></xs:complexContent></xs:complexType>\n"
        )
    }

    fn warnings(schemas: &Schemas) -> Vec<String> {
        let warnings = schemas.warnings().into_iter();
        let of_schema = warnings.map(|(name, warning)| (name == "s").then_some(warning));
        of_schema.collect::<Option<_>>().unwrap()
    }

    #[track_caller]
    fn check(schemas: &Schemas, documents: &[&str], are_valid: bool) {
        for document in documents {
            let found = schemas.validate("s", &Source::Memory(document.as_bytes()));
            let found = found.unwrap();
            assert_eq!(found.is_empty(), are_valid, "{document}: {found:?}");
        }
    }

    /// What a restriction says; what the warning says of it; documents that are valid by it, and
    /// such that are not.
    type Case = (
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    const CASES: [Case; 7] = [
        (
            "<xs:sequence><xs:element name='a' type='xs:int' maxOccurs='3'/></xs:sequence>",
            "Content model of 'Wrong' is not a valid restriction of base type 'Base'",
            &["<r k=''><a>1</a><a>2</a><a>3</a></r>"],
            &[
                "<r k=''><a>1</a><a>2</a><a>3</a><a>4</a></r>",
                "<r k=''/>",
                "<r><a>1</a></r>",
            ],
        ),
        (
            "<xs:sequence><xs:element name='a' type='xs:int'/><xs:element name='b'/></xs:sequence>",
            "Content model of 'Wrong'",
            &["<r k=''><a>1</a><b/></r>"],
            &["<r k=''><a>1</a></r>", "<r k=''><a>1</a><a>1</a><b/></r>"],
        ),
        (
            "<xs:sequence><xs:element name='a' type='xs:date'/></xs:sequence>",
            "Content model of 'Wrong'",
            &["<r k=''><a>2026-01-31</a></r>"],
            &["<r k=''><a>1</a></r>"],
        ),
        (
            "<xs:sequence><xs:element name='a' type='xs:int'/></xs:sequence>\
             <xs:attribute name='k' use='optional' type='xs:int'/>",
            "attribute 'k' but the derived type weakens it",
            &["<r><a>1</a></r>", "<r k='1'><a>1</a></r>"],
            &["<r k='x'><a>1</a></r>"],
        ),
        (
            "<xs:sequence><xs:element name='a' type='xs:int'/></xs:sequence>\
             <xs:attribute name='new' use='required'/>",
            "attribute 'new' matches no attribute use of the base",
            &["<r k='' new=''><a>1</a></r>"],
            &["<r k=''><a>1</a></r>", "<r new=''><a>1</a></r>"],
        ),
        (
            "",
            "'Wrong' removes required particle content",
            &["<r k=''/>"],
            &["<r k=''><a>1</a></r>"],
        ),
        (
            "<xs:choice><xs:element name='a' type='xs:int'/>\
             <xs:any namespace='##other' processContents='skip'/></xs:choice>",
            "Content model of 'Wrong'",
            &["<r k=''><a>1</a></r>", "<r k=''><b xmlns='urn:b'/></r>"],
            &["<r k=''/>", "<r k=''><b/></r>"],
        ),
    ];

    #[test]
    fn an_invalid_restriction_is_warned_of_and_counts_as_it_is_written() {
        for (inside, words, valid, invalid) in CASES {
            let element = "<xs:element name='r' type='Wrong'/>\n";
            let wrong = restriction("name='Wrong'", inside);
            let (schemas, report) = loaded(&format!("{BASE}{element}{wrong}"));
            assert_eq!(report, "s: loaded", "{inside}");
            let warnings = warnings(&schemas);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(
                warnings[0].starts_with("s.xsd:4:1: ")
                    && warnings[0].contains(words)
                    && warnings[0].ends_with(
                        "(constraint: derivation-ok-restriction); the type counts as it is written"
                    ),
                "{warnings:?}"
            );
            check(&schemas, valid, true);
            check(&schemas, invalid, false);
        }
    }

    #[test]
    fn invalid_restrictions_are_found_wherever_they_stand() {
        let wrong = restriction("", "");
        let element = |name: &str| format!("<xs:element name='{name}'>\n{wrong}</xs:element>");
        let (x, y, z) = (element("x"), element("y"), element("z"));
        let (schemas, report) = loaded(&format!(
            "{BASE}<xs:element name='r'><xs:complexType><xs:sequence><xs:choice>{x}</xs:choice>\
             <xs:group ref='g'/></xs:sequence></xs:complexType></xs:element>\
             <xs:group name='g'><xs:sequence>{y}</xs:sequence></xs:group>{z}"
        ));
        assert_eq!(report, "s: loaded");
        let warnings = warnings(&schemas);
        for line in ["4", "6", "8"] {
            let place = format!("s.xsd:{line}:1: ");
            let here = warnings.iter().filter(|of| of.starts_with(&place));
            assert_eq!(here.count(), 1, "{warnings:?}");
        }
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        check(&schemas, &["<r><x k=''/><y k=''/></r>", "<z k=''/>"], true);
        check(&schemas, &["<r><x k=''/><y/></r>", "<z/>"], false);
    }

    #[test]
    fn many_invalid_restrictions_are_counted() {
        let wrong = |n: usize| restriction(&format!("name='W{n}'"), "");
        let all: String = (1..=12).map(wrong).collect();
        let (schemas, _) = loaded(&format!("{BASE}<xs:element name='r' type='W12'/>{all}"));
        let warnings = warnings(&schemas);
        assert_eq!(warnings.len(), 11);
        assert!(warnings[9].contains("'W10'"), "{warnings:?}");
        assert_eq!(warnings[10], "more restrictions like these: 2");
        check(&schemas, &["<r k=''/>"], true);
    }

    /// Part 1, 3.9.6: XBRL, GML and CityGML are written so.
    #[test]
    fn a_head_may_be_narrowed_to_a_member_whose_type_adds_something() {
        let narrowed = |member: &str| {
            let inside = format!("<xs:sequence><xs:element ref='{member}'/></xs:sequence>");
            restriction("name='Narrow'", &inside)
        };
        let types = "<xs:element name='head' type='T' abstract='true'/>\
            <xs:complexType name='T'><xs:sequence/></xs:complexType>\
            <xs:complexType name='More'><xs:complexContent><xs:extension base='T'>\
            <xs:attribute name='x' use='required'/></xs:extension></xs:complexContent></xs:complexType>\
            <xs:element name='member' type='More' substitutionGroup='head' nillable='true'/>\
            <xs:element name='stranger' type='More'/>\
            <xs:complexType name='Base'><xs:sequence><xs:element ref='head'/></xs:sequence>\
            </xs:complexType><xs:element name='r' type='Narrow'/>";
        let (schemas, report) = loaded(&format!("{types}{}", narrowed("member")));
        assert_eq!(report, "s: loaded");
        assert_eq!(warnings(&schemas), [""; 0]);
        check(&schemas, &["<r><member x=''/></r>"], true);
        check(
            &schemas,
            &["<r/>", "<r><member/></r>", "<r><head/></r>"],
            false,
        );
        let (schemas, _) = loaded(&format!("{types}{}", narrowed("stranger")));
        assert_eq!(warnings(&schemas).len(), 1);
        check(&schemas, &["<r><stranger x=''/></r>"], true);
    }

    #[test]
    fn what_else_is_wrong_with_a_schema_is_refused() {
        let wrong = restriction("name='Wrong'", "");
        let elements = "<xs:element name='r' type='Wrong'/><xs:element name='s' type='lacking'/>";
        let (_, report) = loaded(&format!("{BASE}{elements}{wrong}"));
        assert!(report.contains("lacking"), "{report}");
        let element = "<xs:element name='r' type='Wrong'/>";
        for other in [
            "<xs:simpleType name='i'><xs:restriction base='xs:int'><xs:maxInclusive value='x'/>\
             </xs:restriction></xs:simpleType>",
            "<xs:complexType name='c'><xs:simpleContent><xs:restriction base='Base'>\
             <xs:simpleType><xs:restriction base='xs:int'/></xs:simpleType></xs:restriction>\
             </xs:simpleContent></xs:complexType>",
        ] {
            let (schemas, report) = loaded(&format!("{BASE}{element}{wrong}{other}"));
            assert!(report.starts_with("s: refused: "), "{report}");
            assert!(!report.contains("'Wrong'"), "{report}");
            assert_eq!(schemas.warnings(), []);
        }
    }
}
