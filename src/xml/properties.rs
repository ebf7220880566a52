//! Any bytes at the gate: nothing is an end, what comes out is text that XML allows, and a fault
//! has the place where a person finds it.

use super::{
    budget::Budget,
    decode::{Decoder, finding_in, to_text},
    one_pass,
    position::Position,
    *,
};
use crate::domain::settings;
use proptest::{collection::vec, option, prelude::*, sample::Index};
use std::{io::Read, sync::Arc};

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Text that XML allows, with all kinds of line ends and characters of all lengths.
fn allowed_text() -> impl Strategy<Value = String> {
    "(\r\n|[ a<&;\r\n\t\u{e4}\u{20ac}\u{85}\u{2028}\u{fffd}\u{d7ff}\u{e000}\u{1d11e}-]){0,60}"
}

/// Bytes that are nearly a document, in many encodings.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let mark = prop_oneof![
        Just(&b""[..]),
        Just(&b"\xef\xbb\xbf"[..]),
        Just(&b"\xff\xfe"[..]),
        Just(&b"\xfe\xff"[..]),
        Just(&b"\0<\0?\0x\0m\0l\0 "[..]),
        Just(&b"<\0?\0x\0m\0l\0 \0"[..]),
    ];
    let label = option::of(prop_oneof![
        "(utf-8|UTF-16(LE|BE)?|us-ascii|iso-8859-1|latin1|windows-1252|shift_jis|gb18030)",
        "(big5|euc-kr|ISO-2022-JP|koi8-r|replacement|x-user-defined|utf-7|[a-zA-Z0-9_-]{0,8})",
    ]);
    let rest = prop_oneof![
        vec(any::<u8>(), 0..60),
        "[<>/=\"'&;#x!\\[\\]?a:\u{e4}\r\n\0 -]{0,60}".prop_map(String::into_bytes),
        allowed_text().prop_map(String::into_bytes),
    ];
    (mark, label, rest).prop_map(|(mark, label, rest)| {
        let declared = label.map_or(String::new(), |label| {
            format!("<?xml version='1.0' encoding='{label}'?>")
        });
        [mark, declared.as_bytes(), &rest].concat()
    })
}

/// The line and column after `text`, found by reading it again: CR LF is one end of a line.
fn place_after(text: &str) -> (u64, u64) {
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    let (before, last) = unix.rsplit_once('\n').unwrap_or(("", &unix));
    let lines = before.matches('\n').count() + usize::from(unix.contains('\n')) + 1;
    (lines as u64, last.chars().count() as u64 + 1)
}

fn place(finding: &Finding) -> (u64, u64) {
    (finding.line, finding.column)
}

/// A place that a person can find in a document of these bytes; no encoding has more characters
/// than bytes, or ends of lines that are not LF or CR.
fn is_inside((line, column): (u64, u64), bytes: &[u8]) -> bool {
    let n_ends = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    (1..=n_ends as u64 + 1).contains(&line) && (1..=bytes.len() as u64 + 1).contains(&column)
}

/// Does the one pass that knows no schema take a document?
fn is_taken_at_once(bytes: &[u8]) -> bool {
    let tables = Arc::new(Tables::of_any_document());
    let (source, budget) = (Source::Memory(bytes), Arc::new(Budget::default()));
    let judged = one_pass::judge(&tables, &source, &XmlLimits::default(), &budget);
    judged.unwrap().verdict == Verdict::Valid
}

/// An element as it is meant, and as it is written.
#[derive(Clone, Debug)]
struct Written {
    depth: usize,
    text: String,
}

/// Well-formed content, with every kind of markup that is accepted.
fn any_element() -> impl Strategy<Value = Written> {
    let name = "[a-zA-Z_\u{e4}\u{4e00}][a-zA-Z0-9._\u{b7}-]{0,5}";
    let attribute = (name, escaped_text(), any::<bool>());
    let leaf = prop_oneof![
        escaped_text(),
        "<!\\[CDATA\\[[a<&> ]{0,9}\\]\\]>",
        "<!--( -?[a<&>\u{e4}])*-->",
        "<\\?p[a-z]{0,3}( [a<&>=]{0,9})?\\?>",
        "&(amp|lt|gt|quot|apos|#[4-9][0-9]|#x[2-9][0-9a-fA-F]{1,3});",
    ];
    let leaf = leaf.prop_map(|text| Written { depth: 0, text });
    let inner = leaf.prop_recursive(4, 24, 4, move |content| {
        (name, vec(attribute.clone(), 0..3), vec(content, 0..4)).prop_map(element)
    });
    ("root[a-z]{0,2}", vec(inner, 0..4))
        .prop_map(|(name, content)| element((name, vec![], content)))
}

fn element(
    (name, attributes, content): (String, Vec<(String, String, bool)>, Vec<Written>),
) -> Written {
    let mut text = format!("<{name}");
    for (n, (attribute, value, single)) in attributes.into_iter().enumerate() {
        let quote = if single { '\'' } else { '"' };
        // The number makes names that differ.
        text += &format!("\n{attribute}{n} = {quote}{value}{quote}");
    }
    let depth = content.iter().map(|inside| inside.depth).max().unwrap_or(0) + 1;
    if content.is_empty() {
        text += " />";
    } else {
        let content: String = content.into_iter().map(|inside| inside.text).collect();
        text += &format!(">{content}</{name}\n>");
    }
    Written { depth, text }
}

/// Text without markup, quotes and the end of a CDATA section.
fn escaped_text() -> impl Strategy<Value = String> + Clone {
    "([a-z =;#\n\t\u{e4}\u{1d11e}]|&lt;|&#10;|&#x1D11E;){0,12}"
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_bytes_are_text_or_have_a_fault_with_a_place(bytes in any_bytes()) {
        match to_text(&bytes) {
            Ok(text) => prop_assert!(text.chars().all(is_allowed), "{:?}", text),
            Err(finding) => prop_assert!(is_inside(place(&finding), &bytes), "{}", finding),
        }
        match inspect(&Source::Memory(&bytes), &XmlLimits::default()) {
            Ok(root) => {
                prop_assert!(to_text(&bytes).is_ok_and(|text| text.contains(&root.name)));
                prop_assert!(is_inside((root.line, root.column), &bytes));
            }
            Err(InspectError::Io(error)) => prop_assert!(false, "{}", error),
            Err(InspectError::NotWellFormed(finding)) => {
                prop_assert!(is_inside(place(&finding), &bytes), "{}", finding);
                let plain = !finding.message.is_empty() && !finding.message.contains(char::is_control);
                prop_assert!(plain, "{:?}", finding.message);
            }
        }
    }

    /// Without a mark or a label it is UTF-8, up to the first byte that is none and the first
    /// character that is not allowed.
    #[test]
    fn unlabelled_bytes_are_utf_8_up_to_the_first_fault(
        good in allowed_text(),
        bad in prop_oneof![
            vec(any::<u8>(), 0..4),
            "[\0-\x1f\u{fffe}\u{ffff}\u{feff}]{0,2}".prop_map(String::into_bytes),
        ],
        after in "[a\n\u{e4}]{0,9}",
    ) {
        let bytes = [b"x", good.as_bytes(), &bad, after.as_bytes()].concat();
        let whole = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
        };
        let end = whole.find(|c| !is_allowed(c)).unwrap_or(whole.len());
        let mut decoder = Decoder::open(&Source::Memory(&bytes)).unwrap();
        let mut text = Vec::new();
        let fault = decoder.read_to_end(&mut text).err();
        prop_assert_eq!(text, &bytes[..end], "what is good is delivered before the fault");
        prop_assert_eq!(fault.is_some(), end < bytes.len());
        if let Some(fault) = fault {
            let finding = finding_in(&fault).unwrap();
            prop_assert_eq!(place(finding), place_after(&whole[..end]), "{}", finding);
        }
    }

    #[test]
    fn every_encoding_gives_the_text(text in allowed_text()) {
        let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
        };
        let marked = format!("\u{feff}{text}").into_bytes();
        for bytes in [wide(&text, u16::to_le_bytes), wide(&text, u16::to_be_bytes), marked] {
            prop_assert_eq!(to_text(&bytes), Ok(text.clone()));
        }
        let latin: String = text.chars().map(|c| char::from(c as u8)).filter(|c| is_allowed(*c)).collect();
        let latin1: Vec<u8> = latin.chars().map(|c| c as u8).collect();
        let ascii = latin.replace(|c: char| !c.is_ascii(), "");
        for (label, bytes, latin) in [
            ("ISO-8859-1", &latin1[..], &latin),
            ("us-ascii", ascii.as_bytes(), &ascii),
            ("utf-8", latin.as_bytes(), &latin),
        ] {
            let head = format!("<?xml version='1.0' encoding='{label}'?>");
            let decoded = to_text(&[head.as_bytes(), bytes].concat()).unwrap();
            prop_assert_eq!(decoded.strip_prefix(&head.replace(&format!("encoding='{label}'"), &" ".repeat(label.len() + 11))), Some(latin.as_str()));
        }
    }

    /// However the consumer reads, and wherever the pieces of a file end.
    #[test]
    fn the_text_is_the_same_in_any_pieces(
        bytes in any_bytes(),
        padding in 4090..4100_usize,
        piece in 1..9_usize,
    ) {
        let bytes = [&bytes[..], &vec![b' '; padding], &bytes].concat();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let read = |source: &Source<'_>| -> Result<Vec<u8>, String> {
            let decoder = Decoder::open(source).map_err(|e| e.to_string())?;
            let mut decoder = decoder.unlabelled();
            let (mut text, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                match decoder.read(&mut buffer).map_err(|e| format!("{e} after {text:?}"))? {
                    0 => return Ok(text),
                    n => text.extend_from_slice(&buffer[..n]),
                }
            }
        };
        let pieces = read(&Source::Memory(&bytes));
        prop_assert_eq!(&read(&Source::File(file.path())), &pieces);
        prop_assert_eq!(pieces.ok(), to_text(&bytes).ok().map(String::into_bytes));
    }

    #[test]
    fn a_position_is_the_same_however_the_text_comes(
        text in allowed_text(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]);
        let position = pieces.fold(Position::start(), Position::after);
        let bytes = text.as_bytes().chunks(1);
        prop_assert_eq!(bytes.fold(Position::start(), Position::after), position);
        prop_assert_eq!(position.offset, text.len() as u64);
        prop_assert_eq!(place(&position.finding("x")), place_after(&text));
    }

    #[test]
    fn what_is_well_formed_is_accepted_and_its_root_found(
        before in "(\n|<!--[a ]{0,5}-->|<\\?p x\\?>){0,3}",
        document in any_element(),
        after in "([ \r\n]|<!---->|<\\?p\\?>){0,3}",
    ) {
        let text = format!("{before}{}{after}", document.text);
        let root = inspect(&Source::Memory(text.as_bytes()), &XmlLimits::default());
        let root = root.map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert_eq!((root.line, root.column), place_after(&before));
        let begin = format!("<{}", root.name);
        prop_assert!(document.text.starts_with(&begin));
        let limits = |depth_max| XmlLimits { depth_max, ..XmlLimits::default() };
        for (depth_max, fits) in [(document.depth, true), (document.depth - 1, false)] {
            let within = inspect(&Source::Memory(text.as_bytes()), &limits(depth_max));
            prop_assert_eq!(within.is_ok(), fits, "{} deep: {}", depth_max, text);
        }
    }

    /// What it takes, the full check takes; what it does not, is left to that.
    #[test]
    fn the_one_pass_takes_nothing_that_is_not_well_formed(
        bytes in any_bytes(),
        document in any_element(),
        at in any::<Index>(),
        other in prop_oneof![any::<u8>(), Just(b'<'), Just(b'&'), Just(b':'), Just(b'"'), Just(b'a')],
    ) {
        let mut changed = document.text.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = other;
        for bytes in [document.text.as_bytes(), &bytes, &changed] {
            let inspected = inspect(&Source::Memory(bytes), &XmlLimits::default());
            let is_right = inspected.is_ok() || !is_taken_at_once(bytes);
            prop_assert!(is_right, "{}", String::from_utf8_lossy(bytes));
        }
    }

    /// A document that breaks off is none, wherever it breaks off, and so is one with more.
    #[test]
    fn a_part_of_a_document_is_no_document(document in any_element(), at in any::<Index>()) {
        let text = document.text;
        let cut = &text[..text.floor_char_boundary(at.index(text.len()))];
        for bad in [cut.to_owned(), format!("{text}x"), format!("{text}{text}")] {
            let inspected = inspect(&Source::Memory(bad.as_bytes()), &XmlLimits::default());
            prop_assert!(inspected.is_err(), "{}", bad);
        }
    }

    #[test]
    fn a_value_stands_for_what_was_escaped(value in allowed_text()) {
        let mut raw = String::new();
        for c in value.chars() {
            match c {
                '<' | '&' | '\r' | '\n' | '\t' => raw += &format!("&#{};", u32::from(c)),
                '"' => raw += "&quot;",
                other => raw.push(other),
            }
        }
        prop_assert_eq!(tag::resolve(&raw), value);
        let text = format!("e a=\"{raw}\"");
        let parsed = tag::parse(&text, &XmlLimits::default()).unwrap();
        prop_assert_eq!(parsed.attributes[0].value, raw);
    }

    #[test]
    fn a_declaration_is_read_or_refused(
        text in "xml( ?(version|encoding|standalone|e)? ?=? ?['\"]?(1.0|UTF-8|yes|\u{e4})?['\"]?){0,4}",
    ) {
        match declaration::parse(&text) {
            Ok(read) => {
                let span = &text[read.encoding_span];
                prop_assert_eq!(span.is_empty(), read.encoding.is_none());
                prop_assert!(read.encoding.is_none_or(|label| span.contains(label)));
            }
            Err(bad) => prop_assert!(text.is_char_boundary(bad.offset)),
        }
    }
}

#[test]
fn a_usual_document_needs_one_pass() {
    let usual = "<?xml version='1.0' encoding='UTF-8'?>\r\n<!-- a --><?b c?><a:b xmlns:a='urn:a' c='&lt;&#64;'>\
        d <e/> \u{e4} &amp; <![CDATA[<]]></a:b>\n";
    assert!(is_taken_at_once(usual.as_bytes()));
    assert!(!is_taken_at_once(b"<a><b></a></b>"));
}
