//! Both schema engines over the same documents, with the verdicts that are known to be right.
//!
//! `tests/xsd-cases/oracle.json` has the right verdict of each document and the one that xmllint
//! gave. The engine that is built in must give the right one, and `xmllint` the one it gave, so a new
//! release of either that changes its mind is noticed.

use crate::xml::budget::Budget;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::schema::{
    CompiledSchema, Keys, SchemaEngine, SchemaError, Schemas, Unavailable, ValidateError,
};
use super::{
    Edition, Finding, SchemaFiles, Snapshot, Source, XmlLimits, Xmllint, XsdSchema, xmllint_present,
};

fn cases() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/xsd-cases")).to_owned()
}

/// What the oracle says in `column`, by the path of the case.
fn oracle(column: &str) -> BTreeMap<String, bool> {
    let text = fs::read_to_string(cases().join("oracle.json")).unwrap();
    let all: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    all.iter()
        .map(|(case, says)| {
            let case = case.strip_prefix("cases/").unwrap().to_owned();
            (case, says[column].as_bool().unwrap())
        })
        .collect()
}

/// What the engine says of every case.
fn verdicts(engine: fn() -> Box<dyn SchemaEngine>) -> BTreeMap<String, bool> {
    let open = |dir: &str| {
        let schemas = Schemas::open(&cases().join(dir), engine());
        schemas.reload();
        schemas
    };
    let valid: BTreeMap<_, _> = ["s1", "s2", "s3", "s4"].map(|dir| (dir, open(dir))).into();
    let schemas = open("s5");
    oracle("expect")
        .into_keys()
        .map(|case| {
            let (dir, file) = case.split_once('/').unwrap();
            let verdict = match file.strip_suffix(".xsd") {
                Some(name) => !schemas.is_refused(name),
                None => {
                    let path = cases().join(&case);
                    let findings = valid[dir].validate("schema", &Source::File(&path)).unwrap();
                    findings.is_empty()
                }
            };
            (case, verdict)
        })
        .collect()
}

fn differences(a: &BTreeMap<String, bool>, b: &BTreeMap<String, bool>) -> Vec<String> {
    let differing = a.iter().filter(|(case, verdict)| b[*case] != **verdict);
    differing.map(|(case, _)| case.clone()).collect()
}

#[test]
fn the_built_in_engine_is_right() {
    let says = verdicts(|| Box::new(XsdSchema));
    assert_eq!(says.len(), 128);
    assert_eq!(differences(&oracle("expect"), &says), [""; 0]);
}

#[test]
fn xmllint_says_what_it_said_before() {
    if !xmllint_present() {
        assert!(std::env::var_os("CI").is_none(), "xmllint is not installed");
        println!("skipped: xmllint is not installed");
        return;
    }
    let says = verdicts(|| Box::new(Xmllint));
    assert_eq!(differences(&oracle("xmllint"), &says), [""; 0]);
}

const ORDERS: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
    <xs:element name='orders'><xs:complexType><xs:sequence>\
    <xs:element name='order' maxOccurs='unbounded'><xs:complexType><xs:sequence>\
    <xs:element name='qty' type='xs:int'/></xs:sequence>\
    <xs:attribute name='id' type='xs:ID' use='required'/><xs:attribute name='ref' type='xs:IDREF'/>\
    </xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element></xs:schema>";

fn orders(engine: Box<dyn SchemaEngine>) -> (Schemas, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("orders.xsd"), ORDERS).unwrap();
    let schemas = Schemas::open(dir.path(), engine);
    assert_eq!(schemas.reload()[0].to_string(), "orders: loaded");
    (schemas, dir)
}

fn findings(schemas: &Schemas, document: &[u8]) -> Vec<String> {
    let found = schemas
        .validate("orders", &Source::Memory(document))
        .unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn findings_have_line_and_column_of_the_element() {
    let (schemas, _dir) = orders(Box::new(XsdSchema));
    let body = "\n<orders>\n  <!-- äöü --> <order id='a' ref='z'>\n<qty>ü</qty></order><order\n id='b'></order>\n</orders>";
    let latin = format!("<?xml version='1.0' encoding='ISO-8859-1'?>{body}");
    let latin: Vec<u8> = latin.chars().map(|c| c as u8).collect();
    for bytes in [format!("<?xml version='1.0'?>{body}").as_bytes(), &latin] {
        let found = findings(&schemas, bytes);
        let places: Vec<_> = found.iter().map(|f| f.split(' ').next().unwrap()).collect();
        // The IDREF without an ID belongs to the document, the text to qty, the rest to order.
        assert_eq!(places, ["2:1:", "4:1:", "4:21:"], "{found:#?}");
    }
}

#[test]
fn both_engines_find_the_same_lines() {
    if !xmllint_present() {
        assert!(std::env::var_os("CI").is_none(), "xmllint is not installed");
        return;
    }
    let document =
        b"<orders>\n<order id='a'>\n<qty>x</qty></order>\n<order>\n<qty>1</qty></order></orders>";
    let lines = |engine: Box<dyn SchemaEngine>| {
        let (schemas, _dir) = orders(engine);
        let found = schemas
            .validate("orders", &Source::Memory(document))
            .unwrap();
        found.iter().map(|f| f.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(Box::new(XsdSchema)), [3, 4]);
    assert_eq!(lines(Box::new(Xmllint)), [3, 4]);
}

/// Source: XSD 1.1, part 2, G.4.2.2, which lets categories be those of a later version of Unicode.
#[test]
fn patterns_know_the_letters_of_today() {
    let patterns = [
        (
            "L",
            r"\p{L}+",
            "\u{1E9E}\u{23A}\u{20BB7}\u{2B820}\u{DF}",
            "1",
        ),
        ("Lu", r"\p{Lu}+", "\u{1E9E}", "\u{DF}"),
        ("N", r"[^\P{N}]+", "\u{1D7CE}1", "a"),
        ("Sc", r"\p{Sc}+", "\u{20BA}\u{20BD}\u{20AC}", "S"),
        ("w", r"\w+", "\u{20BA}a1", "-"),
        ("d", r"\d+", "1\u{1E950}", "a"),
        (
            "name",
            r"[\p{L} .\-]{1,40}",
            "WEI\u{1E9E}-\u{20BB7}\u{7530}",
            "a1",
        ),
    ];
    let choices = patterns.map(|(name, pattern, ..)| {
        format!(
            r#"<xs:element name="{name}"><xs:simpleType><xs:restriction base="xs:string">
               <xs:pattern value="{pattern}"/></xs:restriction></xs:simpleType></xs:element>
               <xs:element name="complex.{name}"><xs:complexType><xs:simpleContent>
               <xs:restriction base="text"><xs:pattern value="{pattern}"/></xs:restriction>
               </xs:simpleContent></xs:complexType></xs:element>"#
        )
    });
    let schema = format!(
        r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:complexType name="text">
           <xs:simpleContent><xs:extension base="xs:string"/></xs:simpleContent></xs:complexType>
           <xs:element name="T">
           <xs:complexType><xs:choice>{}</xs:choice></xs:complexType></xs:element></xs:schema>"#,
        choices.concat()
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("orders.xsd"), schema).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    assert_eq!(schemas.reload()[0].to_string(), "orders: loaded");
    for (name, _, good, bad) in patterns {
        for (text, n_findings) in [(good, 0), (bad, 1)] {
            for name in [name.to_owned(), format!("complex.{name}")] {
                let document = format!("<T><{name}>{text}</{name}></T>");
                let found = findings(&schemas, document.as_bytes());
                assert_eq!(found.len(), n_findings, "{name} {text}: {found:?}");
            }
        }
    }
}

#[test]
fn findings_end_at_the_limit() {
    let (schemas, _dir) = orders(Box::new(XsdSchema));
    let bad = (0..10_000).map(|n| format!("<bad{n}/>"));
    let document = format!("<orders>{}</orders>", bad.collect::<String>());
    let found = findings(&schemas, document.as_bytes());
    assert_eq!(found.len(), 101);
    assert!(found[100].contains(": 9900 more mistakes, of which this is the first"));
    // What only follows from another one is none.
    let document = format!("<orders>{}</orders>", "<bad/>".repeat(10_000));
    assert_eq!(findings(&schemas, document.as_bytes()).len(), 1);
}

/// What the engine refuses and is right all the same is none of those beyond the limit either.
#[test]
fn octets_in_lines_are_not_counted_beyond_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let schema = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
        <xs:element name='a'><xs:complexType><xs:sequence maxOccurs='unbounded'>\
        <xs:element name='n' type='xs:int'/>\
        <xs:element name='b' type='xs:base64Binary' minOccurs='0'/>\
        </xs:sequence></xs:complexType></xs:element></xs:schema>";
    fs::write(dir.path().join("orders.xsd"), schema).unwrap();
    let mut schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    schemas.limits.findings_max = 1;
    schemas.reload();
    let found = |document: &str| findings(&schemas, document.as_bytes());
    let octets = "<b>AAAA\n AAAA</b>";
    assert_eq!(found(&format!("<a><n>x</n>{octets}</a>")).len(), 1);
    let both = found(&format!("<a><n>x</n>{octets}<n>y</n>{octets}</a>"));
    assert_eq!(both.len(), 2);
    assert!(both[1].ends_with("/a/n[2]: one more mistake"), "{both:?}");
}

#[test]
fn a_hostile_document_has_a_finding_with_every_engine() {
    let engines: [fn() -> Box<dyn SchemaEngine>; 2] =
        [|| Box::new(XsdSchema), || Box::new(Xmllint)];
    for engine in engines
        .into_iter()
        .take(if xmllint_present() { 2 } else { 1 })
    {
        let (mut schemas, _dir) = orders(engine());
        schemas.limits = XmlLimits {
            text_bytes_max: 100_000,
            tag_bytes_max: 10_000,
            ..XmlLimits::default()
        };
        for document in [
            String::new(),
            "<orders>".to_owned(),
            "<!DOCTYPE orders [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><orders>&x;</orders>"
                .to_owned(),
            "<orders>".repeat(100_000),
            format!("<orders a='{}'/>", "x".repeat(1_000_000)),
            format!("<orders>{}</orders>", "x".repeat(1_000_000)),
            format!("<orders>{}</orders>", "&lt;".repeat(250_000)),
            format!("<orders {}/>", "a".repeat(1_000_000)),
            "<orders>\u{0}</orders>".to_owned(),
        ] {
            let found = findings(&schemas, document.as_bytes());
            assert!((1..=101).contains(&found.len()), "{found:?}");
        }
        let missing = schemas.validate("orders", &Source::File(Path::new("no-such-file")));
        assert!(matches!(missing, Err(Unavailable::Validate(_))));
        let unknown = schemas.validate("nothing", &Source::Memory(b"<x/>"));
        assert!(matches!(unknown, Err(Unavailable::Unknown)));
    }
}

#[test]
fn what_a_document_names_as_its_schema_is_not_looked_at() {
    let (schemas, dir) = orders(Box::new(XsdSchema));
    let lax = ORDERS.replace("xs:int", "xs:string");
    fs::write(dir.path().join("lax.txt"), lax).unwrap();
    let document = format!(
        "<orders xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
         xsi:noNamespaceSchemaLocation='{}'><order id='a'><qty>x</qty></order></orders>",
        dir.path().join("lax.txt").display()
    );
    let found = findings(&schemas, document.as_bytes());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found[0].contains(dir.path().to_str().unwrap()));
}

/// A schema of this content, under the name of `orders`.
fn loaded(content: &str) -> (Schemas, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let head = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>";
    let text = format!("{head}{content}</xs:schema>");
    fs::write(dir.path().join("orders.xsd"), text).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    assert_eq!(schemas.reload()[0].to_string(), "orders: loaded");
    (schemas, dir)
}

/// XSD 1.0, part 1, 4.3.2: they are hints. One that comes late is an error there, and is none here.
#[test]
fn no_document_is_refused_over_where_it_says_that_schemas_are() {
    let (schemas, _dir) = loaded(
        "<xs:element name='a'><xs:complexType><xs:sequence><xs:any minOccurs='0' \
         maxOccurs='unbounded' processContents='lax'/></xs:sequence></xs:complexType></xs:element>\
         <xs:element name='b'/>",
    );
    let checked = |attributes: &str, within: &str| {
        let document = format!(
            "<a xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' {attributes}>{within}</a>"
        );
        findings(&schemas, document.as_bytes())
    };
    for (attributes, within) in [
        ("xsi:schemaLocation='order.xsd'", ""),
        ("xsi:schemaLocation=''", ""),
        ("xsi:schemaLocation='urn:a a.xsd urn:b'", ""),
        ("xsi:schemaLocation='urn:a a.xsd urn:a b.xsd'", ""),
        ("xsi:noNamespaceSchemaLocation='a.xsd b.xsd'", ""),
        ("", "<b xsi:noNamespaceSchemaLocation='late.xsd'/>"),
        (
            "",
            "<c xmlns='urn:c'/><c xmlns='urn:c' xsi:schemaLocation='urn:c c.xsd'/>",
        ),
    ] {
        let found = checked(attributes, within);
        assert_eq!(found, [""; 0], "{attributes} {within}");
    }
    // What else is of that namespace is looked at.
    for attributes in ["xsi:type='unknown'", "xsi:nil='perhaps'"] {
        assert!(!checked(attributes, "").is_empty(), "{attributes}");
    }
}

#[test]
fn wrapped_base64_is_measured_in_octets_and_matched_as_it_is_written() {
    let (schemas, _dir) = loaded(
        "<xs:simpleType name='six'><xs:restriction base='xs:base64Binary'><xs:length value='6'/>\
         </xs:restriction></xs:simpleType>\
         <xs:simpleType name='unwrapped'><xs:restriction base='xs:base64Binary'>\
         <xs:pattern value='[0-9A-Za-z+/]*'/></xs:restriction></xs:simpleType>\
         <xs:complexType name='file'><xs:simpleContent><xs:extension base='six'>\
         <xs:attribute name='hash' type='six'/></xs:extension></xs:simpleContent></xs:complexType>\
         <xs:simpleType name='list'><xs:list itemType='xs:base64Binary'/></xs:simpleType>\
         <xs:element name='a'><xs:complexType><xs:choice>\
         <xs:element name='six' type='six'/><xs:element name='unwrapped' type='unwrapped'/>\
         <xs:element name='file' type='file'/><xs:element name='list' type='list'/>\
         <xs:element name='text' type='xs:anySimpleType'/></xs:choice></xs:complexType></xs:element>",
    );
    for (within, n_findings) in [
        ("<six>0FB8\n0Fa3</six>", 0),
        ("<six>0FB8\n0Fa3 0FB8</six>", 1),
        ("<unwrapped>0FB80Fa3</unwrapped>", 0),
        ("<unwrapped>0FB8\n0Fa3</unwrapped>", 1),
        ("<file hash='0FB8 0Fa3'>0FB8 0Fa3</file>", 0),
        ("<file hash='0FB8 0Fa'>0FB8 0Fa3</file>", 1),
        ("<file hash='0FB8 0Fa3' other=''>0FB8 0Fa3</file>", 1),
        ("<list>0FB8 0Fa3</list>", 0),
        ("<list>0FB8 0F a3</list>", 1),
        ("<six>0FB8<b/>\n0Fa3</six>", 1),
        (
            "<text xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='six'>0FB8 0Fa3</text>",
            0,
        ),
    ] {
        let found = findings(&schemas, format!("<a>{within}</a>").as_bytes());
        let n_found = usize::from(!found.is_empty());
        assert_eq!(n_found, n_findings, "{within}: {found:?}");
    }
}

/// Part 2, 3.2.16 of XSD 1.0: the white space is of the text and not of the octets.
#[test]
fn wrapped_base64_is_known_in_unions_and_among_enumerated_values() {
    let restricted = |name: &str, base: &str, facet: &str, value: &str| {
        format!(
            "<xs:simpleType name='{name}'><xs:restriction base='{base}'>\
             <xs:{facet} value='{value}'/></xs:restriction></xs:simpleType>\
             <xs:element name='{name}' type='{name}'/>"
        )
    };
    let (schemas, _dir) = loaded(
        &[
            "<xs:element name='a'><xs:complexType><xs:choice><xs:any/></xs:choice>\
             </xs:complexType></xs:element>\
             <xs:simpleType name='either'><xs:union memberTypes='xs:int six'/></xs:simpleType>\
             <xs:element name='either'><xs:complexType><xs:simpleContent><xs:extension base='either'>\
             <xs:attribute name='hash' type='either'/></xs:extension></xs:simpleContent>\
             </xs:complexType></xs:element>"
                .to_owned(),
            restricted("six", "xs:base64Binary", "length", "6"),
            restricted("one", "xs:base64Binary", "enumeration", "0FB80Fa3"),
            restricted("among", "either", "enumeration", "0FB80Fa3"),
            restricted("spaced", "xs:base64Binary", "pattern", ".{4} .{4}"),
        ]
        .concat(),
    );
    for (within, n_findings) in [
        ("<either hash='0FB8 0Fa3'>0FB8\n0Fa3</either>", 0),
        ("<either hash='12'>-1</either>", 0),
        ("<either>0FB8 0F</either>", 1),
        ("<either>1 2</either>", 1),
        ("<either hash='1 2'>1</either>", 1),
        ("<one>0FB8 0Fa3</one>", 0),
        ("<one>0FB8 0FB8</one>", 1),
        ("<among>0FB8 0Fa3</among>", 0),
        ("<among>0FB8 0FB8</among>", 1),
        ("<spaced>0FB8\n 0Fa3</spaced>", 0),
        ("<spaced>0FB80Fa3</spaced>", 1),
    ] {
        let found = findings(&schemas, format!("<a>{within}</a>").as_bytes());
        let n_found = usize::from(!found.is_empty());
        assert_eq!(n_found, n_findings, "{within}: {found:?}");
    }
}

/// XSD 1.0, part 1, 3.4.4, rule 2.3: the white space between elements is that of XML.
#[test]
fn a_no_break_space_between_elements_is_text() {
    let (schemas, _dir) = orders(Box::new(XsdSchema));
    let order = "<order id='a'><qty>1</qty></order>";
    for (space, n_findings) in [
        (" \t\r\n&#32;", 0),
        ("\u{a0}", 1),
        (" \u{2003} ", 1),
        ("&#xa0;", 1),
    ] {
        let document = format!("<orders>{order}{space}</orders>");
        let found = findings(&schemas, document.as_bytes());
        assert_eq!(found.len(), n_findings, "{space:?}: {found:?}");
    }
}

/// What a reload says of `a.xsd`, an `xs:schema` with these attributes and this content.
fn reloaded(attributes: &str, content: &str) -> (Schemas, tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' \
         xmlns:vc='http://www.w3.org/2007/XMLSchema-versioning' {attributes}>\n{content}</xs:schema>"
    );
    fs::write(dir.path().join("a.xsd"), text).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    let report = schemas.reload()[0].to_string();
    (schemas, dir, report)
}

/// A schema that is none by XSD 1.1: a prohibited attribute has no value there (part 1, 3.2.3).
const OF_1_0: &str = "<xs:element name='a' type='xs:int'/><xs:complexType name='t'>\
    <xs:attribute name='n' use='prohibited' fixed='1'/></xs:complexType>";

#[test]
fn a_schema_that_asks_for_xsd_1_1_is_read_so() {
    let valid = |schemas: &Schemas, document: &str| {
        let source = Source::Memory(document.as_bytes());
        schemas.validate("a", &source).unwrap().is_empty()
    };
    let plain = "<xs:element name='a' type='xs:int'/>";
    for attributes in [
        "",
        "vc:minVersion='1.0'",
        "vc:minVersion='1.1'",
        "vc:minVersionExclusive=' 1.0 '",
        "vc:maxVersion='1.1'",
    ] {
        let (schemas, _dir, report) = reloaded(attributes, plain);
        assert_eq!(report, "a: loaded", "{attributes}");
        assert_eq!(schemas.warnings(), [], "{attributes}");
        assert!(valid(&schemas, "<a>1</a>"), "{attributes}");
        assert!(!valid(&schemas, "<a>x</a>"), "{attributes}");
    }
    let asserting = "<xs:element name='a'><xs:complexType><xs:attribute name='from' type='xs:int'/>\
         <xs:attribute name='to' type='xs:int'/><xs:assert test='@from le @to'/></xs:complexType></xs:element>";
    let (schemas, _dir, report) = reloaded("vc:minVersion='1.1'", asserting);
    assert_eq!(report, "a: loaded");
    assert!(valid(&schemas, "<a from='1' to='2'/>"));
    assert!(!valid(&schemas, "<a from='2' to='1'/>"));
    let (.., report) = reloaded("", asserting);
    assert!(
        report.ends_with("requires XSD 1.1 but schema is in XSD 1.0 mode"),
        "{report}"
    );
}

#[test]
fn an_operator_has_the_last_word_on_the_edition() {
    let with = |edition, attributes: &str, content: &str| {
        let (_, dir, _) = reloaded(attributes, content);
        let schemas = Schemas::open(dir.path(), Box::new(XsdSchema)).with_files(SchemaFiles {
            editions: BTreeMap::from([("a".to_owned(), edition)]),
            ..SchemaFiles::default()
        });
        let report = schemas.reload()[0].to_string();
        (schemas, report)
    };
    let found =
        |schemas: &Schemas, text: &[u8]| schemas.validate("a", &Source::Memory(text)).unwrap();
    let asserting = "<xs:element name='a'><xs:complexType><xs:attribute name='n' type='xs:int'/>\
         <xs:assert test='@n gt 1'/></xs:complexType></xs:element>";
    let (schemas, report) = with(Edition::V1_1, "", asserting);
    assert_eq!(report, "a: loaded");
    assert!(found(&schemas, b"<a n='2'/>").is_empty());
    assert_eq!(found(&schemas, b"<a n='1'/>").len(), 1);
    let (_, report) = with(Edition::V1_0, "vc:minVersion='1.1'", asserting);
    assert!(report.ends_with("is in XSD 1.0 mode"), "{report}");
    // What is none by 1.1 is not read by 1.0 then, and what is by 1.0 has no warning.
    let (_, report) = with(Edition::V1_1, "", OF_1_0);
    assert!(report.starts_with("a: refused: a.xsd:2:"), "{report}");
    let (schemas, report) = with(Edition::V1_0, "vc:minVersion='1.1'", OF_1_0);
    assert_eq!(report, "a: loaded");
    assert_eq!(schemas.warnings(), []);
    assert!(found(&schemas, b"<a>1</a>").is_empty());
}

#[test]
fn a_schema_that_only_asks_for_xsd_1_1_is_read_as_1_0_with_a_warning() {
    let (schemas, dir, report) = reloaded("vc:minVersion='1.1'", OF_1_0);
    assert_eq!(report, "a: loaded");
    let warnings = schemas.warnings();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].0, "a");
    let text = &warnings[0].1;
    assert!(
        text.starts_with("it asks for XSD 1.1 by vc:minVersion, is none (a.xsd:2:")
            && text.ends_with("), and is read as XSD 1.0"),
        "{text}"
    );
    let validate = |text: &[u8]| schemas.validate("a", &Source::Memory(text)).unwrap();
    assert!(validate(b"<a>1</a>").is_empty());
    assert_eq!(validate(b"<a>x</a>").len(), 1);
    // The same when only a part asks.
    let (main, part) = (
        "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:include schemaLocation='part.inc'/></xs:schema>",
        fs::read_to_string(dir.path().join("a.xsd")).unwrap(),
    );
    fs::write(dir.path().join("part.inc"), part).unwrap();
    fs::write(dir.path().join("a.xsd"), main).unwrap();
    assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
    assert!(schemas.warnings()[0].1.contains("(part.inc:2:"));
    let validate = |text: &[u8]| schemas.validate("a", &Source::Memory(text)).unwrap();
    assert!(validate(b"<a>1</a>").is_empty());
    // What is none by either is refused by what it asks for.
    let (.., report) = reloaded("vc:minVersion='1.1'", "<xs:element name='a' type='b'/>");
    assert!(report.starts_with("a: refused: a.xsd:2:1: "), "{report}");
}

#[test]
fn what_a_schema_refers_to_and_lacks_is_missed_when_it_is_loaded() {
    let typed = |content: &str| {
        format!("<xs:element name='a'><xs:complexType>{content}</xs:complexType></xs:element>")
    };
    let beside = |content: &str| format!("<xs:element name='a' type='xs:int'/>{content}");
    let reports = [
        "<xs:element name='a' type='Lacking'/>".to_owned(),
        typed("<xs:sequence><xs:element name='b' type='Lacking'/></xs:sequence>"),
        typed("<xs:sequence><xs:element ref='Lacking'/></xs:sequence>"),
        typed("<xs:group ref='Lacking'/>"),
        typed("<xs:attribute name='b' type='Lacking'/>"),
        typed("<xs:attribute ref='Lacking'/>"),
        typed("<xs:attributeGroup ref='Lacking'/>"),
        beside("<xs:group name='g'><xs:choice><xs:element name='c' type='Lacking'/></xs:choice></xs:group>"),
        beside("<xs:attribute name='b' type='Lacking'/>"),
        beside("<xs:simpleType name='l'><xs:list itemType='Lacking'/></xs:simpleType>"),
        beside("<xs:simpleType name='u'><xs:union memberTypes='xs:int Lacking'/></xs:simpleType>"),
        beside("<xs:element name='b' substitutionGroup='Lacking'/>"),
    ]
    .map(|content| reloaded("", &content).2);
    let place = "a: refused: a.xsd:2:";
    for report in &reports {
        let named = report.starts_with(place) && report.contains("Lacking");
        assert!(named, "{reports:#?}");
    }
    assert!(
        reports[0].contains("element a: Type 'Lacking' not found"),
        "{reports:#?}"
    );
}

#[test]
fn a_pattern_that_is_none_is_missed_when_the_schema_is_loaded() {
    let pattern = "<xs:restriction base='BASE'><xs:pattern value='[a'/></xs:restriction>";
    let of = |base: &str| pattern.replace("BASE", base);
    let simple = format!(
        "<xs:simpleType name='s'>{}</xs:simpleType>",
        of("xs:string")
    );
    let complex = format!(
        "<xs:complexType name='t'><xs:simpleContent><xs:extension base='xs:string'/>\
         </xs:simpleContent></xs:complexType>\n<xs:complexType name='r'><xs:simpleContent>{}\
         </xs:simpleContent></xs:complexType>",
        of("t")
    );
    for (types, line) in [(simple, 2), (complex, 3)] {
        let (.., report) = reloaded("", &format!("<xs:element name='a'/>{types}"));
        let place = format!("a: refused: a.xsd:{line}:");
        assert!(report.starts_with(&place), "{report}");
        assert!(report.ends_with("(constraint: pattern-valid)"), "{report}");
    }
}

#[test]
fn a_schema_without_an_element_is_none() {
    let none =
        "a: refused: a.xsd:0:0: it declares no element, nor does what it includes or imports";
    let xml = "<xs:import namespace='http://www.w3.org/XML/1998/namespace' \
               schemaLocation='http://www.w3.org/2001/xml.xsd'/>";
    for (attributes, content) in [
        ("", ""),
        ("", "<xs:complexType name='t'/>"),
        ("", xml),
        ("vc:maxVersion='0.9'", "<xs:element name='a'/>"),
    ] {
        assert_eq!(
            reloaded(attributes, content).2,
            none,
            "{attributes} {content}"
        );
    }
    let part = "<xs:element name='a'/>";
    let (schemas, dir, _) = reloaded("", part);
    let part = fs::read_to_string(dir.path().join("a.xsd")).unwrap();
    fs::write(dir.path().join("part.inc"), part).unwrap();
    let main = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:include schemaLocation='part.inc'/></xs:schema>";
    fs::write(dir.path().join("a.xsd"), main).unwrap();
    assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
}

#[test]
fn a_broken_include_leaves_the_old_schema_in_force_for_every_worker() {
    let engines: [fn() -> Box<dyn SchemaEngine>; 2] =
        [|| Box::new(XsdSchema), || Box::new(Xmllint)];
    for engine in engines.iter().take(if xmllint_present() { 2 } else { 1 }) {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| {
            let head = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>";
            fs::write(
                dir.path().join(file),
                format!("{head}{content}</xs:schema>"),
            )
            .unwrap();
        };
        write(
            "a.xsd",
            "<xs:include schemaLocation='part.inc'/><xs:element name='a' type='T'/>",
        );
        write(
            "part.inc",
            "<xs:simpleType name='T'><xs:restriction base='xs:int'/></xs:simpleType>",
        );
        let schemas = Schemas::open(dir.path(), engine());
        let reload = || {
            schemas
                .reload()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(reload(), ["a: loaded"]);
        assert_eq!(reload(), [""; 0]);
        write(
            "part.inc",
            "\n<xs:simpleType name='T'><xs:restriction base='nonsense'/></xs:simpleType>",
        );
        let report = reload().concat();
        assert!(
            report.starts_with("a: refused, the version before it stays in force: part.inc:2:"),
            "{report}"
        );
        fs::remove_file(dir.path().join("a.xsd")).unwrap();
        validate_on_four_threads(&schemas);
        write(
            "part.inc",
            "<xs:simpleType name='T'><xs:restriction base='xs:string'/></xs:simpleType>",
        );
        write(
            "a.xsd",
            "<xs:include schemaLocation='part.inc'/><xs:element name='a' type='T'/>",
        );
        assert_eq!(reload(), ["a: loaded"]);
        assert!(
            schemas
                .validate("a", &Source::Memory(b"<a>seven</a>"))
                .unwrap()
                .is_empty()
        );
    }
}

/// More at the same time than have been compiled, so the others are made from the snapshot.
fn validate_on_four_threads(schemas: &Schemas) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let check = |text: &[u8]| schemas.validate("a", &Source::Memory(text)).unwrap();
                assert!(check(b"<a>7</a>").is_empty());
                assert_eq!(check(b"<a>seven</a>").len(), 1);
            });
        }
    });
}

#[test]
fn schemas_reach_no_file_outside_and_no_network() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    let report = |content: &str| {
        let head = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>";
        fs::write(
            dir.path().join("a.xsd"),
            format!("{head}{content}</xs:schema>"),
        )
        .unwrap();
        schemas.reload()[0].to_string()
    };
    for location in [
        "http://example.org/a.xsd",
        "/etc/passwd",
        "../a.xsd",
        "file:///etc/passwd",
        "embedded://xml.xsd",
    ] {
        let found = report(&format!("<xs:include schemaLocation='{location}'/>"));
        assert!(
            found.contains("a.xsd:1:56: it is not there: looked for "),
            "{found}"
        );
    }
    let xml_attributes = "<xs:import namespace='http://www.w3.org/XML/1998/namespace' schemaLocation='http://www.w3.org/2001/xml.xsd'/>\
        <xs:element name='a'><xs:complexType><xs:attribute ref='xml:lang'/></xs:complexType></xs:element>";
    assert_eq!(report(xml_attributes), "a: loaded");
}

#[test]
fn a_compiled_schema_that_has_met_many_names_is_spent() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.xsd"), ORDERS).unwrap();
    let snapshot = Snapshot::read(dir.path(), "a.xsd", |_| Ok(None)).unwrap();
    let mut compiled = XsdSchema.compile(&snapshot, Keys::Checked).unwrap();
    let names: String = (0..51_000).map(|n| format!("<n{n}/>")).collect();
    let limits = XmlLimits {
        findings_max: usize::MAX,
        ..XmlLimits::default()
    };
    let mut validate = |text: &str| {
        compiled
            .validate(&Source::Memory(text.as_bytes()), &limits, &Arc::default())
            .unwrap()
    };
    validate("<orders/>");
    assert!(!compiled.spent());
    let mut validate = |text: &str| {
        compiled
            .validate(&Source::Memory(text.as_bytes()), &limits, &Arc::default())
            .unwrap()
    };
    validate(&format!("<orders>{names}</orders>"));
    assert!(compiled.spent());
}

/// An engine that counts what it compiles, and panics at a document with "boom" in it.
struct Fragile(Arc<AtomicUsize>);

impl SchemaEngine for Fragile {
    fn compile(
        &self,
        _schema: &Snapshot,
        _keys: Keys,
    ) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FragileSchema { spent: false }))
    }
}

struct FragileSchema {
    spent: bool,
}

impl CompiledSchema for FragileSchema {
    fn validate(
        &mut self,
        source: &Source<'_>,
        _limits: &XmlLimits,
        _budget: &Arc<Budget>,
    ) -> Result<Vec<Finding>, ValidateError> {
        let mut text = String::new();
        source.open().unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.contains("boom"), "it went {text}");
        self.spent = text.contains("tiring");
        Ok(Vec::new())
    }

    fn spent(&self) -> bool {
        self.spent
    }
}

#[test]
fn a_compiled_schema_serves_until_it_is_spent_or_has_panicked() {
    let compiled = Arc::new(AtomicUsize::new(0));
    let (schemas, _dir) = orders(Box::new(Fragile(Arc::clone(&compiled))));
    let validate = |text: &str, compiled_before: usize| {
        assert_eq!(compiled.load(Ordering::Relaxed), compiled_before, "{text}");
        schemas.validate("orders", &Source::Memory(text.as_bytes()))
    };
    validate("<fine/>", 1).unwrap();
    validate("<tiring/>", 1).unwrap();
    validate("<fine/>", 1).unwrap();
    let panicked = validate("<boom/>", 2).unwrap_err().to_string();
    assert_eq!(panicked, "the schema engine failed: it went <boom/>");
    validate("<fine/>", 2).unwrap();
    validate("<fine/>", 3).unwrap();
}
