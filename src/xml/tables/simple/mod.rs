//! Simple types as plain data, and the check of a value (Part 2).
//!
//! Values are compared by their keys: bytes that are equal exactly when the values are. Fixed
//! values, enumerations and identity constraints all use them, so they cannot disagree. A value
//! whose key is not known here is refused, which leaves the document to the full engine.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::arena::{Arena, Id};
use super::pattern::Pattern;

use binary::{base64_length, hexadecimal_length};
use duration::Duration;
use moment::{Calendar, Moment};
use number::{Decimal, Width};
use text::Lexical;
use whitespace::{Whitespace, is_space, trim};

mod binary;
pub(super) mod duration;
pub(super) mod moment;
pub(super) mod number;
pub(super) mod text;
pub(super) mod whitespace;

#[derive(Debug)]
pub(super) struct SimpleType {
    pub(super) kind: Kind,
    pub(super) whitespace: Whitespace,
    /// One for each step of derivation that has patterns.
    pub(super) patterns: Vec<Pattern>,
    /// The keys of the values that are allowed.
    pub(super) enumeration: Option<HashSet<Box<[u8]>>>,
    /// In characters, bytes or items; `None` when all are allowed.
    pub(super) lengths: Option<RangeInclusive<usize>>,
    pub(super) bounds: Bounds,
    pub(super) total_digits: Option<usize>,
    pub(super) fraction_digits: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Anything,
    Base64,
    Boolean,
    Calendar(Calendar),
    Decimal {
        is_integer: bool,
    },
    Duration,
    Float(Width),
    Hexadecimal,
    /// What the tables do not know: no value is taken.
    Inexpressible,
    List(Id<SimpleType>),
    Notation,
    QualifiedName,
    Text(Lexical),
    Union {
        members: Box<[Id<SimpleType>]>,
        /// Is it of interest which of them takes a value, because one may be an ID, refer to one, or
        /// be what is not known here?
        are_told_apart: bool,
    },
}

/// The bounds of a range, as the schema writes them. More than one of a side may apply.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub(super) lower: Vec<Bound>,
    pub(super) upper: Vec<Bound>,
}

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) literal: Box<[u8]>,
    pub(super) is_inclusive: bool,
}

impl Bounds {
    fn is_empty(&self) -> bool {
        self.lower.is_empty() && self.upper.is_empty()
    }

    /// `compare` says how the value is to a bound; nothing if they are not ordered.
    fn hold(&self, compare: impl Fn(&[u8]) -> Option<Ordering>) -> bool {
        let holds = |bound: &Bound, wanted: Ordering| match compare(&bound.literal) {
            Some(Ordering::Equal) => bound.is_inclusive,
            Some(order) => order == wanted,
            None => false,
        };
        self.lower.iter().all(|b| holds(b, Ordering::Greater))
            && self.upper.iter().all(|b| holds(b, Ordering::Less))
    }
}

/// What a value may need of the document that it is in.
pub(super) trait Surroundings {
    /// The name of the namespace that a prefix stands for.
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]>;
    /// Takes note of an ID; false when it cannot stand here.
    fn id(&mut self, value: &[u8]) -> bool;
    /// Takes note of a reference to an ID; false when it cannot.
    fn id_reference(&mut self, value: &[u8]) -> bool;
}

/// The same for a value of which nothing is noted.
struct Unnoted<'a>(&'a (dyn Surroundings + 'a));

impl Surroundings for Unnoted<'_> {
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        self.0.namespace(prefix)
    }

    fn id(&mut self, _: &[u8]) -> bool {
        true
    }

    fn id_reference(&mut self, _: &[u8]) -> bool {
        true
    }
}

/// Where the key of a value goes, if it is wanted.
pub(super) struct Key<'k> {
    bytes: &'k mut Vec<u8>,
    is_wanted: bool,
}

impl<'k> Key<'k> {
    /// The buffer may be used either way; it is empty afterwards when the key is not wanted.
    pub(super) fn new(bytes: &'k mut Vec<u8>, is_wanted: bool) -> Key<'k> {
        bytes.clear();
        Key { bytes, is_wanted }
    }

    fn put(&mut self, kind: u8, bytes: &[u8]) {
        if self.is_wanted {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl SimpleType {
    /// Is every text a value, whose white space does not matter?
    fn takes_all(&self) -> bool {
        let any = match self.kind {
            Kind::Anything | Kind::Text(Lexical::Any | Lexical::Uri) => true,
            Kind::Base64
            | Kind::Boolean
            | Kind::Calendar(_)
            | Kind::Decimal { .. }
            | Kind::Duration
            | Kind::Float(_)
            | Kind::Hexadecimal
            | Kind::Inexpressible
            | Kind::List(_)
            | Kind::Notation
            | Kind::QualifiedName
            | Kind::Text(_)
            | Kind::Union { .. } => false,
        };
        any && self.patterns.is_empty() && self.enumeration.is_none() && self.lengths.is_none()
    }
}

/// Is `raw` a value of the type? Its key is appended if that is wanted.
pub(super) fn check<S: Surroundings>(
    types: &Arena<SimpleType>,
    of: Id<SimpleType>,
    raw: &[u8],
    around: &mut S,
    key: &mut Key<'_>,
) -> bool {
    let of = &types[of];
    if !key.is_wanted && of.takes_all() {
        return true;
    }
    let value = of.whitespace.normalize(raw);
    if !of.patterns.is_empty() && !of.matches_patterns(&value) {
        return false;
    }
    let Some(enumeration) = &of.enumeration else {
        return of.has(types, &value, raw, around, key);
    };
    let start = key.bytes.len();
    let is_wanted = std::mem::replace(&mut key.is_wanted, true);
    let allowed =
        of.has(types, &value, raw, around, key) && enumeration.contains(&key.bytes[start..]);
    key.is_wanted = is_wanted;
    if !is_wanted {
        key.bytes.truncate(start);
    }
    allowed
}

impl SimpleType {
    /// The patterns of a union see what the white space of the member that fits leaves of the value
    /// (Part 2, 4.3.6). A value that every member would leave as it is, is seen so by all of them; what
    /// happens to others is left to the full engine.
    fn matches_patterns(&self, value: &[u8]) -> bool {
        let is_union = matches!(self.kind, Kind::Union { .. });
        let is_seen_so = !is_union || *Whitespace::Collapse.normalize(value) == *value;
        is_seen_so && self.patterns.iter().all(|pattern| pattern.matches(value))
    }

    /// Is it a value, patterns and enumeration aside? `raw` is it before white space was
    /// normalized: the members of a union see it so (Part 2, 4.3.6).
    fn has<S: Surroundings>(
        &self,
        types: &Arena<SimpleType>,
        value: &[u8],
        raw: &[u8],
        around: &mut S,
        key: &mut Key<'_>,
    ) -> bool {
        match &self.kind {
            Kind::Anything => !key.is_wanted,
            Kind::Base64 => self.has_base64(value, key),
            Kind::Boolean => boolean(value).is_some_and(|truth| {
                key.put(b'b', &[u8::from(truth)]);
                true
            }),
            Kind::Calendar(calendar) => self.has_moment(*calendar, value, key),
            Kind::Decimal { is_integer } => self.has_decimal(*is_integer, value, key),
            Kind::Duration => self.has_duration(value, key),
            Kind::Float(width) => self.has_float(*width, value, key),
            Kind::Hexadecimal => {
                let length = hexadecimal_length(value);
                key.put(b'h', value);
                let from = key.bytes.len() - if key.is_wanted { value.len() } else { 0 };
                key.bytes[from..].make_ascii_lowercase();
                length.is_some_and(|length| self.has_length(length))
            }
            Kind::Inexpressible => false,
            Kind::List(item) => self.has_items(types, *item, value, around, key),
            Kind::Notation => has_name(b'n', value, around, key),
            Kind::QualifiedName => has_name(b'q', value, around, key),
            Kind::Text(lexical) => self.has_text(*lexical, value, around, key),
            Kind::Union {
                members,
                are_told_apart,
            } if *are_told_apart || key.is_wanted => {
                let member = member(types, members, raw, around);
                member.is_some_and(|member| check(types, member, raw, around, key))
            }
            Kind::Union { members, .. } => {
                let mut members = members.iter();
                members.any(|member| check(types, *member, raw, around, key))
            }
        }
    }

    fn has_length(&self, length: usize) -> bool {
        let lengths = self.lengths.as_ref();
        lengths.is_none_or(|lengths| lengths.contains(&length))
    }

    fn has_base64(&self, value: &[u8], key: &mut Key<'_>) -> bool {
        key.put(b'6', b"");
        if key.is_wanted {
            key.bytes.extend(value.iter().filter(|byte| **byte != b' '));
        }
        base64_length(value).is_some_and(|length| self.has_length(length))
    }

    fn has_moment(&self, calendar: Calendar, value: &[u8], key: &mut Key<'_>) -> bool {
        let Some(moment) = Moment::parse(calendar, value) else {
            return false;
        };
        if (key.is_wanted || !self.bounds.is_empty()) && !moment.is_comparable() {
            return false;
        }
        if key.is_wanted {
            key.put(b't', &[calendar as u8]);
            moment.write_key(key.bytes);
        }
        let compare = |bound: &[u8]| moment.compare(&Moment::parse(calendar, bound)?);
        self.bounds.hold(compare)
    }

    fn has_decimal(&self, is_integer: bool, value: &[u8], key: &mut Key<'_>) -> bool {
        let Some(decimal) = Decimal::parse(value) else {
            return false;
        };
        if key.is_wanted {
            key.put(b'd', b"");
            decimal.write_key(key.bytes);
        }
        let (digits, fraction) = (decimal.digits(), decimal.fraction_digits());
        !(is_integer && value.contains(&b'.'))
            && self.total_digits.is_none_or(|max| digits <= max)
            && self.fraction_digits.is_none_or(|max| fraction <= max)
            && self
                .bounds
                .hold(|bound| Some(decimal.compare(&Decimal::parse(bound)?)))
    }

    fn has_duration(&self, value: &[u8], key: &mut Key<'_>) -> bool {
        let Some(duration) = Duration::parse(value) else {
            return false;
        };
        if key.is_wanted {
            key.put(b'p', b"");
            duration.write_key(key.bytes);
        }
        self.bounds
            .hold(|bound| duration.compare(&Duration::parse(bound)?))
    }

    fn has_float(&self, width: Width, value: &[u8], key: &mut Key<'_>) -> bool {
        let Some(number) = number::float(width, value) else {
            return false;
        };
        // There is one zero, and NaN is equal to itself (Part 2, 3.2.4.1).
        key.put(b'f', &[width as u8]);
        key.put(b'.', &(number + 0.0).to_bits().to_le_bytes());
        self.bounds
            .hold(|bound| number.partial_cmp(&number::float(width, bound)?))
    }

    fn has_items<S: Surroundings>(
        &self,
        types: &Arena<SimpleType>,
        item: Id<SimpleType>,
        value: &[u8],
        around: &mut S,
        key: &mut Key<'_>,
    ) -> bool {
        let mut n_items = 0;
        key.put(b'l', b"");
        for one in value.split(|byte| *byte == b' ').filter(|v| !v.is_empty()) {
            n_items += 1;
            let start = key.bytes.len();
            if !check(types, item, one, around, key) {
                return false;
            }
            if key.is_wanted {
                // Otherwise two lists whose items end elsewhere might look the same.
                let length = (key.bytes.len() - start) as u64;
                key.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.has_length(n_items)
    }

    fn has_text<S: Surroundings>(
        &self,
        lexical: Lexical,
        value: &[u8],
        around: &mut S,
        key: &mut Key<'_>,
    ) -> bool {
        if !lexical.fits(value) {
            return false;
        }
        let noted = match lexical {
            Lexical::Id => around.id(value),
            Lexical::IdReference => around.id_reference(value),
            Lexical::Any
            | Lexical::Language
            | Lexical::Name
            | Lexical::NameToken
            | Lexical::NameWithoutColon
            | Lexical::Uri => true,
        };
        key.put(if lexical == Lexical::Uri { b'u' } else { b's' }, value);
        noted && (self.lengths.is_none() || self.has_length(text::characters(value)))
    }
}

/// The member of a union that a value is one of: the first that takes it (Part 2, 2.5.1.3). Nothing
/// where one before it refuses what is not known here, too.
fn member<S: Surroundings>(
    types: &Arena<SimpleType>,
    members: &[Id<SimpleType>],
    raw: &[u8],
    around: &S,
) -> Option<Id<SimpleType>> {
    for member in members {
        let mut unused = Vec::new();
        let mut no_key = Key::new(&mut unused, false);
        if check(types, *member, raw, &mut Unnoted(around), &mut no_key) {
            return Some(*member);
        }
        if !refuses_surely(types, *member, raw) {
            return None;
        }
    }
    None
}

/// Is a value that the type refuses none of it, and not one that is only not known here?
fn refuses_surely(types: &Arena<SimpleType>, of: Id<SimpleType>, raw: &[u8]) -> bool {
    let of = &types[of];
    match &of.kind {
        Kind::Calendar(_) | Kind::Duration => {
            // Not all are compared, and large numbers and years before the first are not read.
            let is_compared = !of.bounds.is_empty() || of.enumeration.is_some();
            let mut digits = raw.split(|byte| !byte.is_ascii_digit());
            !is_compared && !trim(raw).starts_with(b"-") && digits.all(|digits| digits.len() < 10)
        }
        // It is equal to itself, but in no order, so that bounds may or may not take it.
        Kind::Float(_) => of.bounds.is_empty() || trim(raw) != b"NaN",
        Kind::Inexpressible => false,
        Kind::List(item) => {
            let mut items = raw.split(|byte| is_space(*byte));
            of.enumeration.is_none() && items.all(|one| refuses_surely(types, *item, one))
        }
        Kind::Union { members, .. } => {
            let mut members = members.iter();
            of.enumeration.is_none()
                && of.patterns.is_empty()
                && members.all(|member| refuses_surely(types, *member, raw))
        }
        Kind::Anything
        | Kind::Base64
        | Kind::Boolean
        | Kind::Decimal { .. }
        | Kind::Hexadecimal
        | Kind::Notation
        | Kind::QualifiedName
        | Kind::Text(_) => true,
    }
}

/// A name, or a notation's. Any length is right for it (Part 2, 4.3.1.3).
fn has_name<S: Surroundings>(kind: u8, value: &[u8], around: &mut S, key: &mut Key<'_>) -> bool {
    let Some((prefix, local)) = text::split_qualified(value) else {
        return false;
    };
    let Some(namespace) = around.namespace(prefix) else {
        return false;
    };
    key.put(kind, namespace);
    key.put(b'}', local);
    true
}

/// `xs:boolean` (Part 2, 3.2.2), without white space around it.
pub(super) fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
