//! A document beside what is said of its lines: only the lines near that are shown. Pure.

use super::look::{Html, count, mark, said};
use crate::domain::joblog::{Level, Message};
use encoding_rs::{Encoding, UTF_8};
use std::collections::BTreeMap;

/// So many lines are shown before and after one of which something is said.
const NEAR: u64 = 3;
/// A longer line is cut.
const LINE_CHARS_MAX: usize = 500;
/// So many lines are shown at most.
const LINES_MAX: usize = 500;
/// Where a document says how it is encoded.
const DECLARATION_BYTES: usize = 200;

/// A line, or what stands for those that are left out.
pub(super) struct Line {
    /// `None`: lines are left out here.
    pub(super) number: Option<u64>,
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

/// What is said of a line.
pub(super) struct Finding {
    pub(super) mark: Html,
    pub(super) text: String,
    pub(super) tool: Option<String>,
}

/// Of which lines that are shown something is said.
pub(super) struct Hits {
    pub(super) lines: Vec<u64>,
    /// How much: `2 findings`.
    pub(super) findings: String,
}

impl Hits {
    /// So many are named in a heading.
    pub(super) const NAMED: usize = 8;

    pub(super) fn of(lines: &[Line]) -> Self {
        let hit = lines.iter().filter(|line| !line.findings.is_empty());
        let findings = lines.iter().map(|line| line.findings.len()).sum();
        Self {
            lines: hit.filter_map(|line| line.number).collect(),
            findings: count(findings, "finding"),
        }
    }

    pub(super) fn has(&self, line: u64) -> bool {
        self.lines.binary_search(&line).is_ok()
    }
}

impl Finding {
    fn of(message: &Message) -> Self {
        Self {
            mark: level(message.level),
            text: said(&message.text),
            tool: message.tool.as_deref().map(said),
        }
    }
}

/// How bad what is said is.
pub(super) fn level(level: Level) -> Html {
    match level {
        Level::Error => mark("failed", "error"),
        Level::Warning => mark("warning", "warning"),
        Level::Info => Html("<span class=\"dim\">info</span>".into()),
    }
}

/// The text of a document, as far as it can be read.
pub(super) fn decoded(bytes: &[u8]) -> String {
    let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_BYTES)]);
    let label = begin.split_once("encoding=").and_then(|(_, rest)| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest.get(1..)?.split(quote).next()
    });
    let declared = label.and_then(|label| Encoding::for_label(label.as_bytes()));
    // A mark at the beginning has the last word.
    let (text, ..) = declared.unwrap_or(UTF_8).decode(bytes);
    text.into_owned()
}

/// The lines near those of which something is said.
pub(super) fn near(text: &str, messages: &[Message]) -> Vec<Line> {
    let mut said_of: BTreeMap<u64, Vec<Finding>> = BTreeMap::new();
    for message in messages {
        if let Some(line) = message.line {
            said_of.entry(line).or_default().push(Finding::of(message));
        }
    }
    let is_near = |number: u64| {
        let around = number.saturating_sub(NEAR)..=number + NEAR;
        said_of.range(around).next().is_some()
    };
    let mut lines: Vec<Line> = Vec::new();
    let mut is_gap = false;
    let texts: Vec<&str> = text.lines().collect();
    for (number, text) in (1..).zip(&texts) {
        if !is_near(number) {
            is_gap = true;
            continue;
        }
        if lines.len() >= LINES_MAX {
            break;
        }
        if is_gap {
            lines.push(gap());
            is_gap = false;
        }
        lines.push(Line {
            number: Some(number),
            text: cut(text),
            findings: Vec::new(),
        });
    }
    if is_gap && !lines.is_empty() {
        lines.push(gap());
    }
    for line in &mut lines {
        let found = line.number.and_then(|number| said_of.remove(&number));
        line.findings = found.unwrap_or_default();
    }
    lines
}

fn gap() -> Line {
    Line {
        number: None,
        text: String::new(),
        findings: Vec::new(),
    }
}

fn cut(text: &str) -> String {
    let shown = said(text);
    match shown.char_indices().nth(LINE_CHARS_MAX) {
        Some((at, _)) => format!("{} …", &shown[..at]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: u64) -> Message {
        Message {
            line: Some(line),
            ..Message::new(0, Level::Error, format!("of {line}"))
        }
    }

    #[test]
    fn only_lines_near_findings_are_shown() {
        let text: String = (1..=40).map(|n| format!("line {n}\n")).collect();
        let lines = near(
            &text,
            &[
                finding(5),
                finding(7),
                finding(20),
                finding(20),
                finding(99),
            ],
        );
        let numbers: Vec<Option<u64>> = lines.iter().map(|line| line.number).collect();
        let expected: Vec<Option<u64>> = std::iter::once(None)
            .chain((2..=10).map(Some))
            .chain([None])
            .chain((17..=23).map(Some))
            .chain([None])
            .collect();
        assert_eq!(numbers, expected);
        let of = |number| {
            lines
                .iter()
                .find(|line| line.number == Some(number))
                .unwrap()
        };
        assert_eq!(of(20).findings.len(), 2);
        assert_eq!(of(7).findings[0].text, "of 7");
        let hits = Hits::of(&lines);
        assert_eq!(
            (&hits.lines[..], &*hits.findings),
            (&[5, 7, 20][..], "4 findings")
        );
        assert!(hits.has(7) && !hits.has(6) && !hits.has(99));
        assert!(near(&text, &[]).is_empty());
        assert!(near("", &[finding(1)]).is_empty());
    }

    #[test]
    fn a_document_is_read_in_its_encoding() {
        assert_eq!(decoded("<a>ö</a>".as_bytes()), "<a>ö</a>");
        assert_eq!(
            decoded(b"<?xml version='1.0' encoding='ISO-8859-1'?>\xf6"),
            "<?xml version='1.0' encoding='ISO-8859-1'?>ö"
        );
        let utf_16: Vec<u8> = "\u{feff}<a>ö</a>"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(decoded(&utf_16), "<a>ö</a>");
        let long = "x".repeat(2000);
        assert_eq!(
            near(&long, &[finding(1)])[0].text.chars().count(),
            LINE_CHARS_MAX + 2
        );
    }
}
