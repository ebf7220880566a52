//! A document through the [`Tables`] of its schema, from wherever it is and in whatever encoding.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::budget::Budget;
use super::decode::{Decoder, as_utf8, finding_in, in_utf8};
use super::position::Position;
use super::tables::{Doubt, Tables, Validation, Verdict};
use super::{Finding, Source, XmlLimits};

/// What the tables say of a document.
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// What breaks identity constraints, as far as the document was read.
    pub(super) findings: Vec<Finding>,
}

/// # Errors
/// When the document cannot be read.
pub(super) fn judge(
    tables: &Arc<Tables>,
    source: &Source<'_>,
    limits: &XmlLimits,
    budget: &Arc<Budget>,
) -> io::Result<Judgement> {
    let mut validation = Validation::new(Arc::clone(tables), Arc::clone(budget), *limits);
    let verdict = read(&mut validation, source)?;
    if validation.breaches().next().is_none() {
        let findings = Vec::new();
        return Ok(Judgement { verdict, findings });
    }
    let mut trace = validation.trace();
    read(&mut trace, source)?;
    let findings = findings(tables, source, &trace)?;
    Ok(Judgement { verdict, findings })
}

fn read(validation: &mut Validation, source: &Source<'_>) -> io::Result<Verdict> {
    if let Source::Memory(bytes) = source
        && let Some(text) = as_utf8(bytes)
    {
        return Ok(validation.of_whole(text));
    }
    let undecodable = Verdict::Doubt(Doubt {
        offset: 0,
        reason: "not what its encoding allows",
    });
    let failed = |error: io::Error| match finding_in(&error) {
        Some(_) => Ok(undecodable),
        None => Err(error),
    };
    let mut text = match in_utf8(source) {
        Ok(text) => text,
        Err(error) => return failed(error),
    };
    loop {
        let piece = match text.fill_buf() {
            Ok(piece) => piece,
            Err(error) => return failed(error),
        };
        let bytes = piece.len();
        if bytes == 0 || !validation.read(piece) {
            return Ok(validation.finish());
        }
        text.consume(bytes);
    }
}

/// Says of each breach where it is, in the order of the document, and how many more there are.
fn findings(tables: &Tables, source: &Source<'_>, trace: &Validation) -> io::Result<Vec<Finding>> {
    let more = trace.more_breaches();
    let offsets = trace.breaches().flat_map(|b| [Some(b.offset), b.first]);
    let offsets = offsets.flatten().chain(more.map(|(_, first)| first));
    let mut offsets: Vec<u64> = offsets.collect();
    offsets.sort_unstable();
    offsets.dedup();
    let places = places(source, &offsets)?;
    let place = |offset: u64| {
        let place = offsets
            .binary_search(&offset)
            .ok()
            .and_then(|n| places.get(n));
        place.copied().unwrap_or_else(Position::start)
    };
    let mut findings: Vec<Finding> = (trace.breaches())
        .map(|breach| {
            let first = breach.first.map(|first| place(first).finding("").line);
            place(breach.offset).finding(&tables.describe(breach, first))
        })
        .collect();
    findings.sort();
    findings.extend(more.map(|(count, first)| {
        let first = place(first).finding("");
        Finding::of_more(first.line, first.column, count)
    }));
    Ok(findings)
}

/// Lines and columns of places in a document, which are in its order.
fn places(source: &Source<'_>, offsets: &[u64]) -> io::Result<Vec<Position>> {
    let mut decoder = Decoder::open(source)?;
    let meter = decoder.meter();
    let mut places = Vec::with_capacity(offsets.len());
    for offset in offsets {
        loop {
            let left = offset.saturating_sub(meter.position().offset);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let bytes = decoder.fill_buf()?.len().min(left);
            if bytes == 0 {
                break;
            }
            decoder.consume(bytes);
        }
        places.push(meter.position());
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::schema::{Keys, SchemaEngine};
    use crate::xml::{Snapshot, XsdSchema};
    use std::fs;

    const SCHEMA: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'>\
        <xs:element name='r'><xs:complexType><xs:sequence>\
        <xs:element name='i' type='xs:string' maxOccurs='unbounded'/></xs:sequence></xs:complexType>\
        <xs:unique name='items'><xs:selector xpath='i'/><xs:field xpath='.'/></xs:unique>\
        </xs:element></xs:schema>";

    fn tables() -> Arc<Tables> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.xsd"), SCHEMA).unwrap();
        let snapshot = Snapshot::read(dir.path(), "a.xsd", |_| Ok(None)).unwrap();
        let compiled = XsdSchema.compile(&snapshot, Keys::LeftToTables).unwrap();
        Arc::clone(compiled.tables().unwrap())
    }

    /// Gives a few bytes at a time.
    struct Drip(io::Cursor<Vec<u8>>);

    impl io::Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let few = into.len().min(3);
            self.0.read(&mut into[..few])
        }
    }

    /// In memory and from a reader that gives a few bytes at a time.
    fn judged(document: &[u8]) -> (Verdict, Vec<String>) {
        let tables = tables();
        let judged = |source: &Source<'_>| {
            let budget = Arc::new(Budget::new(1 << 20));
            let judged = judge(&tables, source, &XmlLimits::default(), &budget).unwrap();
            let findings = judged.findings.iter().map(ToString::to_string);
            (judged.verdict, findings.collect::<Vec<_>>())
        };
        let whole = judged(&Source::Memory(document));
        let open = || Ok(Box::new(Drip(io::Cursor::new(document.to_vec()))) as Box<_>);
        let in_pieces = judged(&Source::Reader(&open));
        match (whole.0, in_pieces.0) {
            (Verdict::Doubt(_), Verdict::Doubt(_)) => {}
            (one, other) => assert_eq!(one, other),
        }
        assert_eq!(whole.1, in_pieces.1);
        whole
    }

    fn utf16(text: &str, mark: bool) -> Vec<u8> {
        let mark = mark.then_some(0xFEFF);
        let units = mark.into_iter().chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn a_document_has_the_same_verdict_and_places_in_every_encoding() {
        let twice = "\r\n<r>\r\n<i>ä</i>\n  <i>ö</i>ü</r>".replace('ü', "<i>&#xE4;</i>");
        let label = |encoding: &str| format!("<?xml version='1.0' encoding='{encoding}'?>{twice}");
        let latin = label("iso-8859-1").chars().map(|c| c as u8).collect();
        for document in [
            format!("<?xml version='1.0'?>{twice}").into_bytes(),
            label("utf-8").into_bytes(),
            format!("\u{FEFF}{}", label("UTF-8")).into_bytes(),
            latin,
            utf16(&label("utf-16"), true),
        ] {
            let text = String::from_utf8_lossy(&document).into_owned();
            let (verdict, findings) = judged(&document);
            assert_eq!(verdict, Verdict::Breached, "{text}");
            let expected = "4:11: the value for \"items\" is already on line 3 \
                            [cvc-identity-constraint.4.1]";
            assert_eq!(findings, [expected], "{text}");
        }
        let valid = label("utf-8").replace("&#xE4;", "e");
        assert_eq!(judged(valid.as_bytes()).0, Verdict::Valid);
    }

    #[test]
    fn more_mistakes_than_are_said_are_counted() {
        let n_items = XmlLimits::default().findings_max + 4;
        let (verdict, findings) = judged(format!("<r>{}</r>", "<i/>".repeat(n_items)).as_bytes());
        assert_eq!(verdict, Verdict::Breached);
        assert_eq!(findings.len(), n_items - 3);
        let last = "1:408: 3 more mistakes, of which this is the first";
        assert_eq!(findings.last().map(String::as_str), Some(last));
    }

    #[test]
    fn what_is_not_what_its_encoding_allows_is_doubted() {
        for document in [
            &b"<r><i>\xE4</i></r>"[..],
            b"<?xml version='1.0' encoding='us-ascii'?><r><i>\xC3\xA4</i></r>",
            "\u{FEFF}\u{FEFF}<r><i/></r>".as_bytes(),
            &utf16("<?xml version='1.0' encoding='utf-8'?><r><i/></r>", true),
            b"<?xml version='1.0' encoding='klingon'?><r><i/></r>",
            b"\0\0\0<",
        ] {
            let verdict = judged(document).0;
            assert!(matches!(verdict, Verdict::Doubt(_)), "{verdict:?}");
        }
    }
}
