//! Values, their keys, and what is refused.

use super::*;

/// A document without names, that counts IDs.
#[derive(Default)]
struct Nowhere {
    ids: Vec<Vec<u8>>,
}

impl Surroundings for Nowhere {
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        match prefix {
            b"a" | b"b" => Some(b"urn:ab"),
            b"" => Some(b""),
            _ => None,
        }
    }

    fn id(&mut self, value: &[u8]) -> bool {
        self.ids.push(value.to_vec());
        true
    }

    fn id_reference(&mut self, _: &[u8]) -> bool {
        true
    }
}

fn plain(kind: Kind) -> SimpleType {
    SimpleType {
        kind,
        whitespace: Whitespace::Collapse,
        patterns: vec![],
        enumeration: None,
        lengths: None,
        bounds: Bounds::default(),
        total_digits: None,
        fraction_digits: None,
    }
}

fn key_in(types: &Arena<SimpleType>, of: Id<SimpleType>, value: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![];
    let mut key = Key::new(&mut bytes, true);
    let has = check(
        types,
        of,
        value.as_bytes(),
        &mut Nowhere::default(),
        &mut key,
    );
    let mut unused = vec![];
    let mut nothing = Key::new(&mut unused, false);
    if has {
        assert!(check(
            types,
            of,
            value.as_bytes(),
            &mut Nowhere::default(),
            &mut nothing
        ));
        assert!(unused.is_empty());
    }
    has.then_some(bytes)
}

fn key(of: SimpleType, value: &str) -> Option<Vec<u8>> {
    let mut types = Arena::default();
    let of = types.add(of);
    key_in(&types, of, value)
}

fn bound(literal: &str, is_inclusive: bool) -> Vec<Bound> {
    let literal = literal.as_bytes().into();
    vec![Bound {
        literal,
        is_inclusive,
    }]
}

#[track_caller]
fn equal(kind: fn() -> Kind, values: &[&str]) {
    for value in values {
        let (one, first) = (key(plain(kind()), value), key(plain(kind()), values[0]));
        assert!(one.is_some() && one == first, "{value}");
    }
}

#[track_caller]
fn different(kind: fn() -> Kind, values: &[&str]) {
    let keys: HashSet<_> = values.iter().map(|v| key(plain(kind()), v)).collect();
    assert_eq!(keys.len(), values.len());
    assert!(!keys.contains(&None));
}

#[track_caller]
fn refused(kind: fn() -> Kind, values: &[&str]) {
    for value in values {
        assert_eq!(key(plain(kind()), value), None, "{value:?}");
    }
}

#[test]
fn decimals() {
    let decimal = || Kind::Decimal { is_integer: false };
    equal(decimal, &["1", "+1", "01.0", " 1. ", "1.000"]);
    equal(decimal, &["0", "-0", "+.0", "0."]);
    different(decimal, &["1", "-1", "10", "0.1", "1.1", "11"]);
    refused(
        decimal,
        &["", ".", "-", "1e3", "1 1", "--1", "1.1.1", "INF", "٣"],
    );
    let integer = || Kind::Decimal { is_integer: true };
    refused(integer, &["1.", "1.0", ".1"]);
}

#[test]
fn decimals_are_bounded_whatever_their_length() {
    let mut of = plain(Kind::Decimal { is_integer: false });
    of.bounds.lower = bound("-10.5", false);
    of.bounds.upper = bound("18446744073709551615", true);
    of.total_digits = Some(20);
    let mut types = Arena::default();
    let of = types.add(of);
    for good in [
        "-10.49",
        "0",
        "-9",
        "18446744073709551615.0",
        "000000000000000000000000",
    ] {
        assert!(key_in(&types, of, good).is_some(), "{good}");
    }
    for bad in [
        "-10.5",
        "-10.50",
        "-11",
        "-100",
        "18446744073709551615.1",
        "18446744073709551616",
    ] {
        assert!(key_in(&types, of, bad).is_none(), "{bad}");
    }
}

#[test]
fn floats() {
    let single = || Kind::Float(Width::Single);
    let double = || Kind::Float(Width::Double);
    equal(single, &["1", "1.0", "1e0", "10E-1", "+1"]);
    equal(single, &["0", "-0", "0e9"]);
    equal(single, &["16777216", "16777217"]);
    different(double, &["16777216", "16777217", "INF", "-INF", "NaN"]);
    refused(
        double,
        &[
            "", "inf", "nan", "+INF", "infinity", "1e", "e1", ".", "0x1", "1_0",
        ],
    );
    let mut of = plain(double());
    of.bounds.lower = bound("0", true);
    assert_eq!(key(of, "NaN"), None);
}

#[test]
fn moments() {
    let date_time = || Kind::Calendar(Calendar::DateTime);
    equal(
        date_time,
        &[
            "2026-11-22T24:00:00Z",
            "2026-11-23T00:00:00.00Z",
            "2026-11-23T01:00:00+01:00",
        ],
    );
    different(
        date_time,
        &[
            "2026-11-23T00:00:00",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:00.5Z",
        ],
    );
    refused(
        date_time,
        &[
            "",
            "2026-11-23",
            "2026-11-23T24:00:01",
            "2026-11-23T0:00:00",
            "0000-01-01T00:00:00",
            "026-01-01T00:00:00",
            "02026-01-01T00:00:00",
            "2026-11-31T00:00:00",
            "2026-11-23T00:00:60",
            "2026-11-23T00:00:00.",
            "2026-11-23T00:00:00+14:01",
            "2026-11-23T00:00:00z",
            "2026-00-23T00:00:00",
            "-2026-11-23T00:00:00",
        ],
    );
    let date = || Kind::Calendar(Calendar::Date);
    equal(date, &["2024-02-29", " 2024-02-29 "]);
    refused(
        date,
        &[
            "2023-02-29",
            "1900-02-29",
            "2024-02-30",
            "2024-2-29",
            "2024-02-29T",
        ],
    );
    equal(|| Kind::Calendar(Calendar::Time), &["00:00:00", "24:00:00"]);
    refused(|| Kind::Calendar(Calendar::Time), &["T00:00:00", "00:00"]);
    for (calendar, good, bad) in [
        (Calendar::Day, "---31", "---32"),
        (Calendar::Month, "--12", "--13"),
        (Calendar::MonthDay, "--02-29", "--02-30"),
        (Calendar::Year, "2026Z", "2026-11"),
        (Calendar::YearMonth, "2026-11+02:00", "2026-13"),
    ] {
        assert!(key(plain(Kind::Calendar(calendar)), good).is_some());
        assert!(key(plain(Kind::Calendar(calendar)), bad).is_none());
    }
}

#[test]
fn moments_with_and_without_a_zone_are_ordered_when_far_apart() {
    let mut of = plain(Kind::Calendar(Calendar::DateTime));
    of.bounds.lower = bound("2026-01-02T00:00:00Z", true);
    let mut types = Arena::default();
    let of = types.add(of);
    for (value, has) in [
        ("2026-01-02T00:00:00Z", true),
        ("2026-01-01T23:00:00-01:00", true),
        ("2026-01-01T23:59:59Z", false),
        ("2026-01-02T14:00:01", true),
        ("2026-01-02T14:00:00", false),
        ("2026-01-01T10:00:00", false),
    ] {
        assert_eq!(key_in(&types, of, value).is_some(), has, "{value}");
    }
}

#[test]
fn durations() {
    let duration = || Kind::Duration;
    equal(duration, &["P1Y", "P12M", "P0Y12M"]);
    equal(duration, &["P1D", "PT24H", "PT1440M", "PT86400.0S"]);
    equal(duration, &["-P0D", "PT0S"]);
    different(duration, &["P1M", "P30D", "P31D", "-P1M", "PT0.5S"]);
    refused(
        duration,
        &[
            "",
            "P",
            "PT",
            "P1",
            "1Y",
            "P1YT",
            "P1S",
            "PT1D",
            "P1M1Y",
            "PT.5S",
            "PT1.S",
            "PT1.5M",
            "+P1Y",
            "P-1Y",
            "P1Y1Y",
            "P4294967296Y",
        ],
    );
}

#[test]
fn durations_are_ordered_when_they_are_so_from_every_month() {
    let order = |one: &str, other: &str| {
        let one = Duration::parse(one.as_bytes()).unwrap();
        one.compare(&Duration::parse(other.as_bytes()).unwrap())
    };
    for (less, more) in [
        ("P27D", "P1M"),
        ("P1M", "P32D"),
        ("P364D", "P1Y"),
        ("P1Y", "P367D"),
        ("P1M1D", "P2M"),
        ("-P32D", "-P1M"),
        ("-P1D", "PT0S"),
        ("PT0.5S", "PT0.51S"),
        ("-PT0.51S", "-PT0.5S"),
        ("P1Y", "P9999Y"),
        ("-P9999Y", "-P1Y"),
    ] {
        assert_eq!(order(less, more), Some(Ordering::Less), "{less} {more}");
        assert_eq!(order(more, less), Some(Ordering::Greater), "{less} {more}");
    }
    for (one, other) in [("P1M", "P30D"), ("P1Y", "P365D"), ("P5M", "P150D")] {
        assert_eq!(order(one, other), None, "{one} {other}");
    }
    assert_eq!(order("P1Y", "P12M"), Some(Ordering::Equal));
    assert_eq!(order("P4294967295Y", "P1Y"), None);
}

#[test]
fn binaries() {
    equal(|| Kind::Hexadecimal, &["0aF1", "0Af1"]);
    refused(|| Kind::Hexadecimal, &["0", "0g", "0 0a"]);
    equal(|| Kind::Base64, &["YWJj", "YW Jj", "Y W\n J j"]);
    equal(|| Kind::Base64, &["YQ==", "Y Q = ="]);
    refused(
        || Kind::Base64,
        &["YQ=", "YR==", "YWK=", "=", "Y=Q=", "YWJ", "YW*j"],
    );
    let mut of = plain(Kind::Base64);
    of.lengths = Some(1..=1);
    let mut types = Arena::default();
    let of = types.add(of);
    assert!(key_in(&types, of, "YQ==").is_some());
    assert!(key_in(&types, of, "YWI=").is_none());
}

#[test]
fn names_and_text() {
    equal(|| Kind::Notation, &["a:x", "b:x"]);
    assert_ne!(
        key(plain(Kind::Notation), "x"),
        key(plain(Kind::QualifiedName), "x")
    );
    let mut of = plain(Kind::QualifiedName);
    of.lengths = Some(1..=2);
    assert!(key(of, "a:xyz").is_some());
    let name = || Kind::QualifiedName;
    equal(name, &["a:x", "b:x"]);
    different(name, &["a:x", "x", "a:y"]);
    refused(name, &["c:x", ":x", "a:", "a:x:y", "", "1"]);
    let text = |lexical| move |value| key(plain(Kind::Text(lexical)), value).is_some();
    let language = text(Lexical::Language);
    assert!(language("en") && language("de-AT-1996"));
    assert!(!language("") && !language("1a") && !language("en-") && !language("abcdefghi"));
    let token = text(Lexical::NameToken);
    assert!(token("1:a") && !token("a b") && !token(""));
    let name = text(Lexical::Name);
    assert!(name(":a") && !name("-a"));
    let id = text(Lexical::Id);
    assert!(id("ä1") && !id("a:b") && !id("1"));
}

#[test]
fn lengths_count_characters() {
    let mut of = plain(Kind::Text(Lexical::Any));
    of.lengths = Some(2..=3);
    let mut types = Arena::default();
    let of = types.add(of);
    for (value, has) in [("ä", false), ("äö", true), ("𝄞𝄞𝄞", true), ("abcd", false)] {
        assert_eq!(key_in(&types, of, value).is_some(), has, "{value}");
    }
}

#[test]
fn lists_and_unions_have_the_keys_of_their_parts() {
    let mut types = Arena::default();
    let integer = types.add(plain(Kind::Decimal { is_integer: true }));
    let text = types.add(plain(Kind::Text(Lexical::Any)));
    let mut of = plain(Kind::List(integer));
    of.lengths = Some(1..=2);
    let list = types.add(of);
    assert_eq!(
        key_in(&types, list, " 1\n02 "),
        key_in(&types, list, "01 2")
    );
    assert!(key_in(&types, list, "").is_none());
    assert!(key_in(&types, list, "1 2 3").is_none());
    assert!(key_in(&types, list, "1 x").is_none());
    let words = types.add(plain(Kind::List(text)));
    assert_ne!(key_in(&types, words, "ab c"), key_in(&types, words, "a bc"));
    let mut of = plain(Kind::Union {
        members: Box::new([integer, text]),
        are_told_apart: false,
    });
    of.whitespace = Whitespace::Preserve;
    let union = types.add(of);
    assert_eq!(key_in(&types, union, " 007 "), key_in(&types, integer, "7"));
    assert_eq!(key_in(&types, union, "x7"), key_in(&types, text, "x7"));
}

#[test]
fn enumerations_are_of_values() {
    let mut types = Arena::default();
    let decimal = types.add(plain(Kind::Decimal { is_integer: false }));
    let mut of = plain(Kind::Decimal { is_integer: false });
    let keys = ["1", "2.50"].map(|v| key_in(&types, decimal, v).unwrap().into_boxed_slice());
    of.enumeration = Some(HashSet::from(keys));
    let of = types.add(of);
    assert!(key_in(&types, of, "1.0").is_some());
    assert!(key_in(&types, of, "2.5").is_some());
    assert!(key_in(&types, of, "2").is_none());
}

#[test]
fn white_space_is_as_the_type_wants_it() {
    for (whitespace, normalized) in [
        (Whitespace::Preserve, " a\t\n b "),
        (Whitespace::Replace, " a   b "),
        (Whitespace::Collapse, "a b"),
    ] {
        let value = whitespace.normalize(b" a\t\n b ");
        assert_eq!(&*value, normalized.as_bytes());
    }
    assert_eq!(&*Whitespace::Collapse.normalize(b" \n "), b"");
    assert_eq!(&*Whitespace::Collapse.normalize(b"a\tb"), b"a b");
}
