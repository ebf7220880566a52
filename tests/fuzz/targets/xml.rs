//! Any bytes as a document: its check is no end and says a place; what it accepts, another parser
//! reads alike. A joblog that can be read is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::{
    domain::joblog::JobLog,
    xml::{Finding, InspectError, Root, Source, XmlLimits, inspect},
};

/// So small that an input of a few kilobytes meets every one of them.
const TIGHT: XmlLimits = XmlLimits {
    attribute_bytes_max: 40,
    attributes_max: 4,
    depth_max: 5,
    findings_max: 3,
    name_bytes_max: 12,
    namespaces_max: 3,
    tag_bytes_max: 100,
    text_bytes_max: 200,
};

fuzz_target!(|data: &[u8]| {
    let wide = inspected(data, &XmlLimits::default());
    let tight = inspected(data, &TIGHT);
    if let Ok(root) = tight {
        assert_eq!(wide.as_ref(), Ok(&root), "less is allowed by wider limits");
    }
    if let Ok(text) = str::from_utf8(data) {
        if let Ok(root) = &wide {
            compare(root, text);
        }
        joblog(text);
    }
});

fn inspected(data: &[u8], limits: &XmlLimits) -> Result<Root, Finding> {
    let result = match inspect(&Source::Memory(data), limits) {
        Ok(root) => Ok(root),
        Err(InspectError::NotWellFormed(finding)) => Err(finding),
        Err(InspectError::Io(error)) => panic!("memory cannot fail: {error}"),
    };
    let (line, column) = match &result {
        Ok(root) => (root.line, root.column),
        Err(finding) => (finding.line, finding.column),
    };
    let n_ends = data.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    assert!((1..=n_ends as u64 + 1).contains(&line), "line {line}");
    assert!(
        (1..=data.len() as u64 + 1).contains(&column),
        "column {column}"
    );
    if let Err(Finding { message, .. }) = &result {
        assert!(!message.is_empty() && message.chars().count() <= 400);
        assert!(!message.contains(char::is_control), "{message:?}");
    }
    result
}

/// A second opinion on a document in UTF-8. With a label it may be meant otherwise, and a NUL
/// makes it UTF-16.
fn compare(root: &Root, text: &str) {
    if text.contains("encoding") || text.contains('\0') {
        return;
    }
    let options = roxmltree::ParsingOptions {
        allow_dtd: false,
        ..Default::default()
    };
    match roxmltree::Document::parse_with_options(text, options) {
        Ok(document) => {
            let other = document.root_element().tag_name();
            assert_eq!(root.name, other.name());
            assert_eq!(root.namespace.as_deref(), other.namespace());
        }
        Err(error) => panic!("accepted, but elsewhere refused: {error}"),
    }
}

fn joblog(text: &str) {
    let Ok(log) = JobLog::from_xml(text) else {
        return;
    };
    let written = log.to_xml();
    let root = inspected(written.as_bytes(), &XmlLimits::default());
    assert!(root.is_ok_and(|root| root.name == "JobLog"), "{written}");
    let read = JobLog::from_xml(&written).expect("what was written can be read");
    assert_eq!(read.job, log.job);
    assert_eq!(read.messages.len(), log.messages.len());
    assert_eq!(read.to_xml(), written, "a second reading changes it");
}
