//! Whatever a processor or a partner says, the log is well-formed, valid and reads back.

use super::*;
use crate::{
    domain::{any_interface, any_job_name, any_text, settings},
    xml::{Schemas, Source, XmlLimits, XsdSchema, inspect},
};
use proptest::{collection::vec, option, prelude::*};
use std::sync::LazyLock;

/// The years 1 to 9999, which `xs:dateTime` has one spelling for.
const MOMENTS_MS: std::ops::Range<i64> = -62_135_596_800_000..253_370_764_800_000;

fn any_message() -> impl Strategy<Value = Message> {
    let level = prop_oneof![Just(Level::Error), Just(Level::Info), Just(Level::Warning)];
    let text = prop_oneof![
        8 => any_text(),
        4 => "[\0-\x1f\u{7f}-\u{9f}\u{fffe}\u{ffff}<>&'\"\\]!a \u{1d11e}-]{0,40}",
        1 => ("\\PC|\0", TEXT_BYTES_MAX / 2..TEXT_BYTES_MAX * 2).prop_map(|(c, n)| c.repeat(n)),
    ];
    let line = option::of(1..=u64::MAX);
    (MOMENTS_MS, level, line, option::of(any_text()), text).prop_map(
        |(time_ms, level, line, tool, text)| Message {
            time_ms,
            level,
            line,
            tool,
            text,
        },
    )
}

fn any_log() -> impl Strategy<Value = JobLog> {
    let names = (any_job_name(), option::of(any_interface()), any::<bool>());
    let moments = (MOMENTS_MS, option::of(MOMENTS_MS), MOMENTS_MS);
    // An attribute of a file can have been set by anyone.
    let sha256 = option::of(prop_oneof!["[0-9a-f]{64}", any_text()]);
    let numbers = (any::<u32>(), any::<u64>());
    (names, moments, numbers, sha256, vec(any_message(), 0..5)).prop_map(
        |(names, moments, numbers, sha256, messages)| JobLog {
            job: names.0,
            interface: names.1,
            status: if names.2 { Status::Ok } else { Status::Error },
            received_ms: moments.0,
            started_ms: moments.1,
            finished_ms: moments.2,
            attempts: numbers.0,
            bytes: numbers.1,
            sha256,
            messages,
        },
    )
}

/// What XML holds and every reader reads alike; of a CR alone a reader makes a LF.
fn is_kept(c: char) -> bool {
    matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && text.chars().all(is_kept)
}

static SCHEMA: LazyLock<Schemas> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let shipped = crate::assets::SCHEMAS.iter();
    let (name, schema) = shipped.into_iter().find(|f| f.0 == "joblog.xsd").unwrap();
    std::fs::write(dir.path().join(name), schema).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    assert_eq!(schemas.reload()[0].to_string(), "joblog: loaded");
    schemas
});

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_log_is_well_formed_and_valid_whatever_it_says(log in any_log()) {
        let text = log.to_xml();
        let source = Source::Memory(text.as_bytes());
        let root = inspect(&source, &XmlLimits::default());
        prop_assert!(root.as_ref().is_ok_and(|root| root.name == "JobLog"), "{:?}: {}", root, text);
        let findings = SCHEMA.validate("joblog", &source).unwrap();
        prop_assert!(findings.is_empty(), "{:?}: {}", findings, text);
    }

    #[test]
    fn a_log_reads_back(log in any_log()) {
        let read = JobLog::from_xml(&log.to_xml());
        prop_assert!(read.is_ok(), "{:?}", read);
        let read = read.unwrap();
        // What was replaced or cut once is not changed again by a later run.
        prop_assert_eq!(JobLog::from_xml(&read.to_xml()), Ok(read.clone()));
        for (read, said) in read.messages.iter().zip(&log.messages) {
            let cut = TEXT_BYTES_MAX + "…".len();
            prop_assert!(read.text.len() <= cut, "{} bytes", read.text.len());
            prop_assert!(read.text.chars().all(is_kept), "{:?}", read.text);
            if is_plain(&said.text) {
                prop_assert_eq!(&read.text, &said.text);
            }
            if said.tool.as_deref().is_none_or(is_plain) {
                prop_assert_eq!(&read.tool, &said.tool);
            }
        }
        let is_digest = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut expected = log;
        expected.sha256 = expected.sha256.filter(is_digest);
        prop_assert_eq!(read.messages.len(), expected.messages.len());
        for (read, said) in read.messages.iter().zip(&mut expected.messages) {
            said.text.clone_from(&read.text);
            said.tool.clone_from(&read.tool);
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_damaged_log_is_refused_or_read_and_never_an_end(
        log in any_log(),
        at in any::<prop::sample::Index>(),
        cut in 0..9_usize,
        put in "[<>&;/\"= \0a-z!\\[?-]{0,6}",
    ) {
        let text = log.to_xml();
        let from = text.floor_char_boundary(at.index(text.len()));
        let to = text.ceil_char_boundary((from + cut).min(text.len()));
        let damaged = format!("{}{put}{}", &text[..from], &text[to..]);
        if let Err(message) = JobLog::from_xml(&damaged) {
            prop_assert!(!message.is_empty());
        }
    }

    #[test]
    fn a_structured_line_has_a_text(line in prop_oneof![any_text(), "\\{[ -~]{0,60}\\}"]) {
        let Some(said) = Message::structured(5, &line) else { return Ok(()) };
        prop_assert_eq!(said.time_ms, 5);
        prop_assert_ne!(said.line, Some(0));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["text"].as_str(), Some(said.text.as_str()));
    }

    #[test]
    fn a_structured_line_says_what_it_says(
        text in any_text(),
        line in option::of(prop_oneof![Just(0), any::<u64>()]),
        tool in option::of(prop_oneof![any_text(), "spoolgate-?[a-z]{0,9}"]),
    ) {
        let json = serde_json::json!({ "text": text, "line": line, "tool": tool, "level": "warning" });
        let said = Message::structured(5, &json.to_string()).unwrap();
        let level = Level::Warning;
        let line = line.filter(|line| *line > 0);
        let tool = tool.filter(|tool| !tool.starts_with("spoolgate-"));
        prop_assert_eq!(said, Message { time_ms: 5, level, line, tool, text });
    }
}
