//! Simple types with their facets (Part 2, chapter 4).

use std::collections::HashSet;

use xsd_schema::parser::frames::SimpleTypeVariety;
use xsd_schema::{FacetSet, SimpleTypeKey, TypeKey, WhitespaceMode, XmlTypeCode};

use super::super::pattern::Pattern;
use super::super::simple::moment::Calendar;
use super::super::simple::number::Width;
use super::super::simple::text::Lexical;
use super::super::simple::whitespace::{Whitespace, trim};
use super::super::simple::{self, Bound, Bounds, Key, Kind, SimpleType};
use super::{Compiler, DEPTH_MAX, Id, Schema};

/// The bounds of a built-in integer type, empty where there are none.
type Range = (&'static str, &'static str);

impl<'s> Compiler<'s> {
    pub(super) fn simple_type(&mut self, key: SimpleTypeKey) -> Id<SimpleType> {
        if let Some(id) = self.simple_types.get(&key) {
            return *id;
        }
        let facets = self.effective_facets(key);
        let id = self.restricted(key, &facets);
        self.simple_types.insert(key, id);
        id
    }

    /// A simple type with other facets than its own.
    pub(super) fn restricted(&mut self, key: SimpleTypeKey, facets: &FacetSet) -> Id<SimpleType> {
        let (mut kind, range, mut whitespace) = self.kind(key);
        if matches!(kind, Kind::Notation) && facets.enumeration.is_none() {
            // Only what an enumeration names is a notation (Part 2, 3.2.19).
            kind = Kind::Inexpressible;
        }
        if let (Some(facet), false) = (&facets.whitespace, matches!(kind, Kind::Union { .. })) {
            whitespace = match facet.value {
                WhitespaceMode::Collapse => Whitespace::Collapse,
                WhitespaceMode::Preserve => Whitespace::Preserve,
                WhitespaceMode::Replace => Whitespace::Replace,
            };
        }
        let mut patterns = Vec::new();
        for step in facets.patterns.iter().filter(|step| !step.is_empty()) {
            let alternatives: Vec<&str> = step.iter().map(|one| one.value.as_str()).collect();
            match Pattern::new(&alternatives) {
                Some(pattern) => patterns.push(pattern),
                None => kind = Kind::Inexpressible,
            }
        }
        let digits = |digits: u32| usize::try_from(digits).unwrap_or(usize::MAX);
        let id = self.tables.simple_types.add(SimpleType {
            kind,
            whitespace,
            patterns,
            enumeration: None,
            lengths: lengths(facets),
            bounds: bounds(facets, range),
            total_digits: facets
                .total_digits
                .as_ref()
                .map(|facet| digits(facet.value)),
            fraction_digits: facets
                .fraction_digits
                .as_ref()
                .filter(|_| self.fault.knows_fraction_digits())
                .map(|facet| digits(facet.value)),
        });
        self.enumerate(id, facets);
        id
    }

    /// The literals of an enumeration are read as the type without it reads them, each where it
    /// is written.
    fn enumerate(&mut self, id: Id<SimpleType>, facets: &FacetSet) {
        let Some(facet) = &facets.enumeration else {
            return;
        };
        let names = &self.set.name_table;
        let scoped = facet.qname_contexts.iter();
        let scoped = scoped.map(|(literal, scope)| (literal, Schema::at(scope, names)));
        let in_scope: HashSet<&String> = scoped.clone().map(|(literal, _)| literal).collect();
        let others = facet.values.iter();
        let others = others.filter(|literal| !in_scope.contains(literal));
        let others = others.map(|literal| (literal, Schema::anywhere()));
        let mut allowed = HashSet::new();
        for (literal, mut around) in scoped.chain(others) {
            let mut bytes = Vec::new();
            let mut key = Key::new(&mut bytes, true);
            let types = &self.tables.simple_types;
            if !simple::check(types, id, literal.as_bytes(), &mut around, &mut key) {
                self.tables.simple_types[id].kind = Kind::Inexpressible;
                return;
            }
            allowed.insert(bytes.into_boxed_slice());
        }
        self.tables.simple_types[id].enumeration = Some(allowed);
    }

    /// The facets of a type with those of its bases.
    pub(super) fn effective_facets(&self, key: SimpleTypeKey) -> FacetSet {
        let mut facets = self.own_facets(key);
        for base in self.bases(key).skip(1) {
            facets.inherit_from(&self.own_facets(base));
        }
        facets
    }

    /// The facets that a type adds to its base. What a pattern says of a built-in type, its kind knows.
    fn own_facets(&self, key: SimpleTypeKey) -> FacetSet {
        let mut facets = self.set.arenas.simple_types[key].facets.clone();
        if self.set.get_type_code(key).is_some() {
            facets.patterns.clear();
        }
        facets
    }

    /// A type and its simple bases.
    fn bases(&self, key: SimpleTypeKey) -> impl Iterator<Item = SimpleTypeKey> + use<'s> {
        let set = self.set;
        let base = move |key: &SimpleTypeKey| match set.arenas.simple_types[*key].resolved_base_type
        {
            Some(TypeKey::Simple(base)) if base != *key => Some(base),
            Some(TypeKey::Complex(_) | TypeKey::Simple(_)) | None => None,
        };
        std::iter::successors(Some(key), base).take(DEPTH_MAX)
    }

    fn kind(&mut self, key: SimpleTypeKey) -> (Kind, Range, Whitespace) {
        let set = self.set;
        match set.arenas.simple_types[key].variety {
            SimpleTypeVariety::Atomic => {
                atomic(self.bases(key).find_map(|key| set.get_type_code(key)))
            }
            SimpleTypeVariety::List => (self.list(key), ("", ""), Whitespace::Collapse),
            SimpleTypeVariety::Union => (self.union(key), ("", ""), Whitespace::Preserve),
        }
    }

    fn list(&mut self, key: SimpleTypeKey) -> Kind {
        let set = self.set;
        let data = |key| &set.arenas.simple_types[key];
        let is_unresolved = self
            .bases(key)
            .any(|key| data(key).deferred_item_type_error.is_some());
        let item = self.bases(key).find_map(|key| data(key).resolved_item_type);
        match item {
            Some(TypeKey::Simple(item)) if !is_unresolved => Kind::List(self.simple_type(item)),
            _ => Kind::Inexpressible,
        }
    }

    fn union(&mut self, key: SimpleTypeKey) -> Kind {
        let set = self.set;
        let members = self.bases(key).find_map(|key| {
            let members = &set.arenas.simple_types[key].resolved_member_types;
            (!members.is_empty()).then_some(members)
        });
        let mut union = Vec::new();
        let mut are_told_apart = false;
        for member in members.into_iter().flatten() {
            let TypeKey::Simple(member) = member else {
                return Kind::Inexpressible;
            };
            let member = self.simple_type(*member);
            are_told_apart |= self.may_name_ids(member);
            union.push(member);
        }
        if union.is_empty() {
            return Kind::Inexpressible;
        }
        Kind::Union {
            members: union.into(),
            are_told_apart,
        }
    }

    /// May a value of the type be an ID, or refer to one, or to an entity, which is not known here?
    pub(super) fn may_name_ids(&self, id: Id<SimpleType>) -> bool {
        match &self.tables.simple_types[id].kind {
            Kind::Inexpressible => true,
            Kind::List(item) => self.may_name_ids(*item),
            Kind::Union { are_told_apart, .. } => *are_told_apart,
            Kind::Text(lexical) => matches!(lexical, Lexical::Id | Lexical::IdReference),
            Kind::Anything
            | Kind::Base64
            | Kind::Boolean
            | Kind::Calendar(_)
            | Kind::Decimal { .. }
            | Kind::Duration
            | Kind::Float(_)
            | Kind::Hexadecimal
            | Kind::Notation
            | Kind::QualifiedName => false,
        }
    }
}

fn lengths(facets: &FacetSet) -> Option<std::ops::RangeInclusive<usize>> {
    let bounded = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    let length = facets.length.as_ref().map(|facet| facet.value);
    let least = facets.min_length.as_ref().map(|facet| facet.value);
    let most = facets.max_length.as_ref().map(|facet| facet.value);
    if length.is_none() && least.is_none() && most.is_none() {
        return None;
    }
    // With all of them each holds.
    let least = length.max(least).unwrap_or(0);
    let most = length.into_iter().chain(most).min().unwrap_or(u64::MAX);
    Some(bounded(least)..=bounded(most))
}

fn bounds(facets: &FacetSet, (least, most): Range) -> Bounds {
    let mut bounds = Bounds::default();
    let bound = |literal: &str, is_inclusive| Bound {
        literal: trim(literal.as_bytes()).into(),
        is_inclusive,
    };
    let lower = &mut bounds.lower;
    lower.extend(facets.min_inclusive.iter().map(|f| bound(&f.value, true)));
    lower.extend(facets.min_exclusive.iter().map(|f| bound(&f.value, false)));
    lower.extend((!least.is_empty()).then(|| bound(least, true)));
    let upper = &mut bounds.upper;
    upper.extend(facets.max_inclusive.iter().map(|f| bound(&f.value, true)));
    upper.extend(facets.max_exclusive.iter().map(|f| bound(&f.value, false)));
    upper.extend((!most.is_empty()).then(|| bound(most, true)));
    bounds
}

/// Part 2, chapter 3.
fn atomic(code: Option<XmlTypeCode>) -> (Kind, Range, Whitespace) {
    use XmlTypeCode as Code;
    let Some(code) = code else {
        return (Kind::Anything, ("", ""), Whitespace::Preserve);
    };
    if let Some(range) = integer_range(code) {
        let kind = Kind::Decimal { is_integer: true };
        return (kind, range, Whitespace::Collapse);
    }
    let text = |lexical| (Kind::Text(lexical), Whitespace::Collapse);
    let collapsed = |kind| (kind, Whitespace::Collapse);
    let calendar = |calendar| (Kind::Calendar(calendar), Whitespace::Collapse);
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most codes are of XPath; what is new is left to the full engine"
    )]
    let (kind, whitespace) = match code {
        Code::AnyAtomicType | Code::AnySimpleType => (Kind::Anything, Whitespace::Preserve),
        Code::AnyUri => text(Lexical::Uri),
        Code::Base64Binary => collapsed(Kind::Base64),
        Code::Boolean => collapsed(Kind::Boolean),
        Code::Date => calendar(Calendar::Date),
        Code::DateTime => calendar(Calendar::DateTime),
        Code::Decimal => collapsed(Kind::Decimal { is_integer: false }),
        Code::Double => collapsed(Kind::Float(Width::Double)),
        Code::Duration => collapsed(Kind::Duration),
        Code::Float => collapsed(Kind::Float(Width::Single)),
        Code::GDay => calendar(Calendar::Day),
        Code::GMonth => calendar(Calendar::Month),
        Code::GMonthDay => calendar(Calendar::MonthDay),
        Code::GYear => calendar(Calendar::Year),
        Code::GYearMonth => calendar(Calendar::YearMonth),
        Code::HexBinary => collapsed(Kind::Hexadecimal),
        Code::Id => text(Lexical::Id),
        Code::IdRef => text(Lexical::IdReference),
        Code::Language => text(Lexical::Language),
        Code::NCName => text(Lexical::NameWithoutColon),
        Code::Name => text(Lexical::Name),
        Code::NmToken => text(Lexical::NameToken),
        Code::Notation => collapsed(Kind::Notation),
        Code::NormalizedString => (Kind::Text(Lexical::Any), Whitespace::Replace),
        Code::QName => collapsed(Kind::QualifiedName),
        Code::String => (Kind::Text(Lexical::Any), Whitespace::Preserve),
        Code::Time => calendar(Calendar::Time),
        Code::Token => text(Lexical::Any),
        _ => collapsed(Kind::Inexpressible),
    };
    (kind, ("", ""), whitespace)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are no integers")]
fn integer_range(code: XmlTypeCode) -> Option<Range> {
    use XmlTypeCode as Code;
    Some(match code {
        Code::Byte => ("-128", "127"),
        Code::Int => ("-2147483648", "2147483647"),
        Code::Integer => ("", ""),
        Code::Long => ("-9223372036854775808", "9223372036854775807"),
        Code::NegativeInteger => ("", "-1"),
        Code::NonNegativeInteger => ("0", ""),
        Code::NonPositiveInteger => ("", "0"),
        Code::PositiveInteger => ("1", ""),
        Code::Short => ("-32768", "32767"),
        Code::UnsignedByte => ("0", "255"),
        Code::UnsignedInt => ("0", "4294967295"),
        Code::UnsignedLong => ("0", "18446744073709551615"),
        Code::UnsignedShort => ("0", "65535"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::xml::snapshot::Snapshot;
    use crate::xml::tables::component::Content;
    use crate::xml::{Keys, SchemaEngine, Tables, XsdSchema};

    fn patterns_of(tables: &Tables, namespace: &str, name: &str) -> usize {
        let namespace = tables.names.namespace(namespace.as_bytes());
        let symbol = tables.names.symbol(namespace, name.as_bytes());
        let of_type = tables.global_types.find(symbol).unwrap();
        match tables.types[of_type].content {
            Content::Simple(id) => tables.simple_types[id].patterns.len(),
            Content::Children { .. } | Content::Empty => panic!("{name} is not simple"),
        }
    }

    #[test]
    fn patterns_of_built_in_types_are_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let schema = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
             <xs:element name='r' type='xs:integer'/>\
             <xs:simpleType name='even'><xs:restriction base='xs:positiveInteger'>\
               <xs:pattern value='.*[02468]'/></xs:restriction></xs:simpleType></xs:schema>";
        fs::write(dir.path().join("main.xsd"), schema).unwrap();
        let snapshot = Snapshot::of_schema(dir.path(), "main").unwrap();
        let compiled = XsdSchema.compile(&snapshot, Keys::Checked).unwrap();
        let tables = compiled.tables().unwrap();
        for name in [
            "integer",
            "nonNegativeInteger",
            "byte",
            "language",
            "NMTOKEN",
        ] {
            let namespace = "http://www.w3.org/2001/XMLSchema";
            assert_eq!(patterns_of(tables, namespace, name), 0, "{name}");
        }
        assert_eq!(patterns_of(tables, "", "even"), 1);
    }
}
