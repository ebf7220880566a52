//! The literals of every built-in type, as part 2 of XML Schema defines them.
//!
//! What the engine says of each is compared with the specification: first those that are literals
//! of the type, then those that are none, with white space around them to be collapsed.

use std::fs;

use super::{Schemas, Source, XsdSchema};

struct Literals {
    of: &'static str,
    good: &'static [&'static str],
    bad: &'static [&'static str],
}

const fn literals(
    of: &'static str,
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> Literals {
    Literals { of, good, bad }
}

/// Clauses are of XSD 1.0, part 2.
const BUILT_IN: &[Literals] = &[
    // 3.2.2
    literals(
        "boolean",
        &["true", "false", "1", "0", " true\n"],
        &["", "TRUE", "yes", "2", "01"],
    ),
    // 3.2.3
    literals(
        "decimal",
        &[
            "0",
            "-1.23",
            "+100000.00",
            "210",
            ".5",
            "5.",
            "-.5",
            "0000123456789012345678901234567890.5",
        ],
        &[
            "", ".", "1e2", "INF", "NaN", "1,5", "--1", "1_000", "+ 1", "0x1", "١",
        ],
    ),
    // 3.2.4
    literals(
        "float",
        &[
            "-1E4",
            "1267.43233E12",
            "12.78e-2",
            "12",
            "-0",
            "INF",
            "-INF",
            "NaN",
            "1e400",
            ".5",
            "5.",
        ],
        &[
            "", "+INF", "inf", "Infinity", "nan", "1e", "e1", "1.e+", "1_0", "0x1p3", "1f",
        ],
    ),
    // 3.2.5
    literals(
        "double",
        &[
            "-1E4",
            "1267.43233E12",
            "12.78e-2",
            "12",
            "-0",
            "INF",
            "-INF",
            "NaN",
            "1e400",
            ".5",
            "5.",
        ],
        &[
            "", "+INF", "inf", "Infinity", "nan", "1e", "e1", "1.e+", "1_0", "0x1p3", "1d",
        ],
    ),
    // 3.2.6
    literals(
        "duration",
        &[
            "P1Y2M3DT10H30M",
            "-P120D",
            "P1347Y",
            "P0Y1347M0D",
            "PT0.5S",
            "PT130S",
            "P0D",
        ],
        &[
            "P", "PT", "P1YT", "P-1347M", "P1Y2MT", "1Y", "P1M1Y", "P1S", "PT1Y", "+P1D", "P1.5D",
            "PT.5S", "PT1.S", "-P", "P 1D",
        ],
    ),
    // 3.2.7, and that the end of a day is the beginning of the next
    literals(
        "dateTime",
        &[
            "2002-10-10T12:00:00-05:00",
            "2002-10-10T17:00:00Z",
            "-0001-01-01T00:00:00",
            "12002-10-10T12:00:00",
            "2002-10-10T24:00:00",
            "2000-02-29T00:00:00.123456789",
            "2002-12-31T24:00:00.000Z",
            "2002-10-10T12:00:00+14:00",
            "2002-10-10T12:00:00-00:00",
        ],
        &[
            "2002-10-10",
            "2002-10-10T12:00",
            "2002-10-10T24:00:01",
            "2002-10-10T24:01:00",
            "0000-01-01T00:00:00",
            "2001-02-29T00:00:00",
            "2002-13-10T12:00:00",
            "2002-10-10T12:00:60",
            "2002-10-10T12:00:00+14:01",
            "2002-10-10T12:00:00+15:00",
            "2002-10-10 12:00:00",
            "02002-10-10T12:00:00",
            "+2002-10-10T12:00:00",
            "2002-10-10T12:00:00.",
            "2002-10-10T12:00:00z",
            "202-10-10T12:00:00",
            "2002-10-10T12:00:00+5:00",
            "2002-10-10t12:00:00",
            "2002-1-10T12:00:00",
            "1900-02-29T00:00:00",
            "2002-10-10T12:60:00",
        ],
    ),
    // 3.2.8
    literals(
        "time",
        &[
            "13:20:00",
            "13:20:00-05:00",
            "24:00:00",
            "24:00:00.0Z",
            "00:00:00.5",
        ],
        &[
            "13:20",
            "24:00:01",
            "25:00:00",
            "1:20:00",
            "13:20:60",
            "13:20:00.",
            "13:20:00 Z",
            "-13:20:00",
        ],
    ),
    // 3.2.9
    literals(
        "date",
        &[
            "2002-10-10",
            "2002-10-10+13:00",
            "2002-10-10Z",
            "-0044-03-15",
            "12002-10-10",
        ],
        &[
            "2002-10-32",
            "02-10-10",
            "2002-10-10T00:00:00",
            "0000-01-01",
            "2002/10/10",
            "2001-02-29",
            "10.10.2002",
            "2002-00-10",
        ],
    ),
    // 3.2.10
    literals(
        "gYearMonth",
        &["1999-05", "1999-05Z", "-1999-05-05:00", "12999-12"],
        &[
            "1999",
            "1999-13",
            "99-05",
            "1999-5",
            "0000-05",
            "1999-05-01",
        ],
    ),
    // 3.2.11
    literals(
        "gYear",
        &["1999", "1999+02:00", "-0001", "11999"],
        &["99", "01999", "0000", "+1999", "1999-", "MCM"],
    ),
    // 3.2.12
    literals(
        "gMonthDay",
        &["--05-31", "--02-29", "--12-25Z"],
        &[
            "05-31", "--5-31", "--02-30", "--04-31", "--13-01", "--05-00", "---05-31",
        ],
    ),
    // 3.2.13
    literals(
        "gDay",
        &["---31", "---01+05:00"],
        &["---32", "---00", "---1", "--31", "31"],
    ),
    // 3.2.14, with the erratum to the first edition
    literals(
        "gMonth",
        &["--05", "--12Z"],
        &["--13", "--00", "--5", "--05--", "-05", "05"],
    ),
    // 3.2.15
    literals(
        "hexBinary",
        &["", "0FB7", "0fb7", " 0FB7 "],
        &["0FB", "0G", "0x0F", "0F B7"],
    ),
    // 3.2.16
    literals(
        "base64Binary",
        &[
            "",
            "0FB8",
            "0FB8 0Fa3",
            "0 F B 8",
            "\n0FB80Fa3\n0FB8\n",
            "0F+40A==",
            "0 F + 4 0 A = =",
            "0FB80F0=",
            "AA=&#13;\n=",
            "A&#10;A&#32;A<!-- - -->A",
            "<![CDATA[AA\nAA]]>",
        ],
        &[
            "0",
            "0F",
            "0FB",
            "=",
            "0FB8=",
            "0F+40B==",
            "0FB80F1=",
            "0FB*",
            "0FB8\u{a0}0Fa3",
            "==",
            "0F==0FB8",
            "0FB_",
            "0FB-",
        ],
    ),
    // 3.2.17: nearly anything
    literals(
        "anyURI",
        &[
            "",
            "http://a.example/b?c#d",
            "../a",
            "urn:x:y",
            "a b",
            "http://a.example/\u{e4}",
            "#",
        ],
        &[],
    ),
    // 3.2.18
    literals(
        "QName",
        &["a", "p:a", " p:a "],
        &["", ":a", "p:", "p:a:b", "q:a", "1a", "p: a"],
    ),
    // 3.2.19: only restrictions of it can be used
    literals("NOTATION", &[], &["a", "p:a"]),
    // 3.3.1 to 3.3.8
    literals("string", &["", " a\n"], &[]),
    literals("normalizedString", &["", " a  b "], &[]),
    literals("token", &["", " a  b "], &[]),
    literals(
        "language",
        &["en", "en-US", "i-klingon", "x-a", "zh-Hans-CN", "de-1996"],
        &[
            "",
            "en_US",
            "1en",
            "en-",
            "abcdefghi",
            "en-abcdefghi",
            "-en",
            "\u{e4}",
        ],
    ),
    literals(
        "NMTOKEN",
        &["1a", "a.b:c-d_e", ".", "-", "\u{e4}\u{b7}"],
        &["", "a b", "a/b", "@", "a,b"],
    ),
    literals(
        "Name",
        &["a", ":a", "_1", "\u{e4}"],
        &["", "1a", "-a", ".a", "a b"],
    ),
    literals(
        "NCName",
        &["a", "_1", "a.b-c"],
        &["", "a:b", "1a", "-a", "a b"],
    ),
    literals("ID", &["a"], &["", "a:b", "1"]),
    literals("IDREF", &[], &["", "a:b", "1", "dangling"]),
    // 3.2.1.3 of part 1: it must be the name of an entity that is declared, and there is none.
    literals("ENTITY", &[], &["a", ""]),
    literals("ENTITIES", &[], &["a", ""]),
    literals("IDREFS", &[], &["", "dangling"]),
    literals("NMTOKENS", &["a", " a  1\nb "], &["", " ", "a @"]),
    // 3.3.13 and after
    literals(
        "integer",
        &["0", "-1", "+1", "00012", "-123456789012345678901234567890"],
        &[
            "", "1.0", "1.", "1e2", "1_000", "_1", "--1", "+-1", "-", "+", "١", "1 000",
        ],
    ),
    literals(
        "nonPositiveInteger",
        &["0", "-0", "+0", "-1"],
        &["1", "+1", "-1_0", ""],
    ),
    literals(
        "negativeInteger",
        &["-1", "-00001"],
        &["0", "1", "-0", "-1_0"],
    ),
    literals(
        "long",
        &["-9223372036854775808", "9223372036854775807", "+1", "007"],
        &[
            "9223372036854775808",
            "-9223372036854775809",
            "1_0",
            "1.0",
            "",
        ],
    ),
    literals(
        "int",
        &["-2147483648", "2147483647", "+1", "007"],
        &["2147483648", "-2147483649", "1_0", "1.0", ""],
    ),
    literals(
        "short",
        &["-32768", "32767", "+1", "007"],
        &["32768", "-32769", "1_0", "1.0", ""],
    ),
    literals(
        "byte",
        &["-128", "127", "+1", "007"],
        &["128", "-129", "1_0", "1.0", ""],
    ),
    literals(
        "nonNegativeInteger",
        &["0", "-0", "+1", "123456789012345678901234567890"],
        &["-1", "1_0", ""],
    ),
    literals(
        "unsignedLong",
        &["0", "-0", "+1", "18446744073709551615"],
        &["18446744073709551616", "-1", "1_0", ""],
    ),
    literals(
        "unsignedInt",
        &["0", "-0", "+1", "4294967295"],
        &["4294967296", "-1", "1_0", ""],
    ),
    literals(
        "unsignedShort",
        &["0", "-0", "+1", "65535"],
        &["65536", "-1", "1_0", ""],
    ),
    literals(
        "unsignedByte",
        &["0", "-0", "+1", "255"],
        &["256", "-1", "1_0", ""],
    ),
    literals(
        "positiveInteger",
        &["1", "+1", "007"],
        &["0", "-1", "1_0", ""],
    ),
];

/// A schema with an element for each type, and one that has an attribute of it.
fn schema() -> String {
    let element = |literals: &Literals| {
        let of = literals.of;
        format!(
            "<xs:element name='{of}' type='xs:{of}'/><xs:element name='at.{of}'><xs:complexType>\
             <xs:attribute name='a' type='xs:{of}'/></xs:complexType></xs:element>"
        )
    };
    format!(
        "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>{}</xs:schema>",
        BUILT_IN.iter().map(element).collect::<String>()
    )
}

/// The literals that are found to be none although they are good, or good although they are none.
fn wrong(tables: &[Literals]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("types.xsd"), schema()).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    assert_eq!(schemas.reload()[0].to_string(), "types: loaded");
    let mut wrong = Vec::new();
    for Literals { of, good, bad } in tables {
        let good = good.iter().map(|literal| (literal, true));
        for (literal, expected) in good.chain(bad.iter().map(|literal| (literal, false))) {
            let mut documents = vec![format!("<{of} xmlns:p='urn:p'>{literal}</{of}>")];
            if !literal.contains('<') {
                documents.push(format!("<at.{of} xmlns:p='urn:p' a='{literal}'/>"));
            }
            for document in documents {
                let source = Source::Memory(document.as_bytes());
                let found = schemas.validate("types", &source).unwrap();
                if found.is_empty() != expected {
                    wrong.push(format!("{document}: {found:?}"));
                }
            }
        }
    }
    wrong
}

#[test]
fn every_literal_of_a_built_in_type_is_one_and_no_other() {
    assert_eq!(wrong(BUILT_IN), [""; 0]);
}

/// XSD 1.1, part 2, 5.4 lets years, and what durations count, have a bound: here it is that of 32
/// bits. Seconds have none.
const BOUNDED: &[Literals] = &[
    literals(
        "gYear",
        &["2147483647", "-2147483647"],
        &["2147483648", "-2147483649"],
    ),
    literals(
        "dateTime",
        &["2147483647-01-01T00:00:00"],
        &["2147483648-01-01T00:00:00"],
    ),
    literals("date", &["2147483647-01-01"], &["2147483648-01-01"]),
    literals("gYearMonth", &["2147483647-01"], &["2147483648-01"]),
    literals(
        "duration",
        &[
            "P4294967295Y",
            "P4294967295M",
            "P4294967295D",
            "PT4294967295H",
            "PT4294967295M",
            "PT99999999999999999999S",
            "PT0.1234567890123456789S",
        ],
        &[
            "P4294967296Y",
            "P4294967296M",
            "P4294967296D",
            "PT4294967296H",
            "PT4294967296M",
        ],
    ),
];

#[test]
fn years_and_what_durations_count_are_bounded_by_32_bits() {
    assert_eq!(wrong(BOUNDED), [""; 0]);
}
