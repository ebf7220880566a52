//! In which element a finding is: one more pass over a document that has some, with its path.
//!
//! Whichever part has found something says the place; the path is made here for all of them, so
//! that good documents cost nothing and all paths are of one kind: the names as the document
//! writes them, with the number of the element among its siblings of the same name from the
//! second on, `/order/line[3]/price`.
//!
//! What is held is bounded whatever the document: the open elements, and how often each of the
//! first [`COUNTED_MAX`] names has come in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::iter::Peekable;
use std::vec::IntoIter;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::decode::Decoder;
use super::names::{is_space, split_qname};
use super::position::Position;
use super::{Finding, Source, XmlLimits};

/// Longest path that is written in full; of a longer one the end is shown.
const PATH_CHARS_MAX: usize = 200;

/// Names of siblings that are counted at the same time.
const COUNTED_MAX: usize = 1000;

/// Gives each finding the path of the element that its place is in. Where there is none, or the
/// document cannot be read again, it stays as it is.
pub(super) fn locate(
    source: &Source<'_>,
    limits: &XmlLimits,
    findings: Vec<Finding>,
) -> Vec<Finding> {
    if findings.iter().all(|finding| finding.path.is_some()) {
        return findings;
    }
    let mut numbered: Vec<_> = findings.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, finding)| (finding.line, finding.column));
    let mut pending = Pending {
        left: numbered.into_iter().peekable(),
        located: Vec::new(),
    };
    if let Ok(decoder) = Decoder::open(source) {
        pass(decoder, limits, &mut pending);
    }
    pending.located.extend(pending.left);
    // As they were.
    pending.located.sort_by_key(|(number, _)| *number);
    let located = pending.located.into_iter();
    located.map(|(_, finding)| finding).collect()
}

/// Up to the last finding, or to what is not well-formed.
fn pass(decoder: Decoder<'_>, limits: &XmlLimits, pending: &mut Pending) {
    let meter = decoder.meter();
    let mut reader = Reader::from_reader(decoder);
    let mut buffer = Vec::new();
    let mut trail = Trail::default();
    while !pending.is_empty() {
        buffer.clear();
        meter.begin_event(limits.text_bytes_max.saturating_add(1));
        let at = meter.position();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) if trail.depth() < limits.depth_max => {
                pending.before(at, &trail);
                trail.open(&tag);
            }
            Ok(Event::Empty(tag)) if trail.depth() < limits.depth_max => {
                pending.before(at, &trail);
                trail.open(&tag);
                pending.before(meter.position(), &trail);
                trail.close();
            }
            Ok(Event::End(_)) => {
                pending.before(meter.position(), &trail);
                trail.close();
            }
            Ok(Event::Eof | Event::Start(_) | Event::Empty(_)) | Err(_) => {
                return pending.rest(&trail);
            }
            Ok(
                Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::GeneralRef(_)
                | Event::PI(_)
                | Event::Text(_),
            ) => {}
        }
    }
}

/// The findings that have no path yet, in the order of their places, and those that have; with
/// their numbers.
struct Pending {
    left: Peekable<IntoIter<(usize, Finding)>>,
    located: Vec<(usize, Finding)>,
}

impl Pending {
    fn is_empty(&mut self) -> bool {
        self.left.peek().is_none()
    }

    /// What lies before a place is in the element that is open there.
    fn before(&mut self, place: Position, trail: &Trail) {
        let place = place.finding("");
        let lies_before = |(_, finding): &(usize, Finding)| {
            (finding.line, finding.column) < (place.line, place.column)
        };
        while let Some((number, finding)) = self.left.next_if(lies_before) {
            self.located.push((number, trail.mark(finding)));
        }
    }

    fn rest(&mut self, trail: &Trail) {
        let left = self.left.by_ref();
        let marked = left.map(|(number, finding)| (number, trail.mark(finding)));
        self.located.extend(marked);
    }
}

/// The open elements, outermost first.
#[derive(Default)]
struct Trail {
    /// How many names are counted in all of them.
    counted: usize,
    steps: Vec<Step>,
}

#[derive(Default)]
struct Step {
    /// How often each name has come among the children.
    children: BTreeMap<Box<str>, u64>,
    name: Box<str>,
    /// Among its siblings of this name, from 1; 0 where that is not counted.
    number: u64,
}

impl Trail {
    fn depth(&self) -> usize {
        self.steps.len()
    }

    fn open(&mut self, tag: &str) {
        let name = tag.split(is_space).next().unwrap_or_default();
        // What is no name is refused anyway.
        let name = split_qname(name).map_or("?", |_| name);
        let number = match self.steps.last_mut() {
            None => 1,
            Some(parent) => match parent.children.get_mut(name) {
                Some(count) => {
                    *count += 1;
                    *count
                }
                None if self.counted < COUNTED_MAX => {
                    parent.children.insert(name.into(), 1);
                    self.counted += 1;
                    1
                }
                None => 0,
            },
        };
        self.steps.push(Step {
            name: name.into(),
            number,
            ..Step::default()
        });
    }

    fn close(&mut self) {
        if let Some(step) = self.steps.pop() {
            self.counted -= step.children.len();
        }
    }

    fn mark(&self, finding: Finding) -> Finding {
        match self.steps.is_empty() || finding.line == 0 {
            true => finding,
            false => finding.with_path(&self.path()),
        }
    }

    fn path(&self) -> String {
        let (mut steps, mut n_chars) = (Vec::new(), 0);
        for step in self.steps.iter().rev() {
            let written = step.written();
            n_chars += written.chars().count();
            if n_chars > PATH_CHARS_MAX {
                steps.push("…".to_owned());
                break;
            }
            steps.push(written);
        }
        steps.reverse();
        steps.concat()
    }
}

impl Step {
    fn written(&self) -> String {
        let mut written = format!("/{}", self.name);
        // Writing to a string does not fail.
        let _ = match self.number {
            0 => write!(written, "[?]"),
            1 => Ok(()),
            number => write!(written, "[{number}]"),
        };
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(document: &str, places: &[(u64, u64)]) -> Vec<String> {
        let findings = places
            .iter()
            .map(|&(line, column)| Finding::new(line, column, "x"));
        let source = Source::Memory(document.as_bytes());
        let located = locate(&source, &XmlLimits::default(), findings.collect());
        let path = |finding: Finding| finding.path.map_or(String::new(), String::from);
        located.into_iter().map(path).collect()
    }

    #[test]
    fn a_place_is_in_the_innermost_element() {
        let document = "<!-- -->\n<p:a xmlns:p='u'>\n<b/>text<b x='1'>\n</b><c><b/></c>\n</p:a> ";
        let cases = [
            ((0, 0), ""),
            ((1, 1), ""),
            ((2, 1), "/p:a"),
            ((2, 5), "/p:a"),
            ((3, 1), "/p:a/b"),
            ((3, 4), "/p:a/b"),
            ((3, 5), "/p:a"),
            ((3, 9), "/p:a/b[2]"),
            ((3, 12), "/p:a/b[2]"),
            ((4, 1), "/p:a/b[2]"),
            ((4, 5), "/p:a/c"),
            ((4, 8), "/p:a/c/b"),
            ((5, 1), "/p:a"),
            ((5, 7), ""),
        ];
        let places: Vec<_> = cases.iter().map(|(place, _)| *place).collect();
        let expected: Vec<_> = cases.iter().map(|(_, path)| *path).collect();
        assert_eq!(paths(document, &places), expected);
    }

    #[test]
    fn findings_stay_in_their_order() {
        let places = [(3, 1), (2, 1), (0, 0), (1, 1)];
        assert_eq!(
            paths("<a>\n<b/>\n<c/></a>", &places),
            ["/a/c", "/a/b", "", "/a"]
        );
    }

    #[test]
    fn what_is_not_well_formed_has_a_path_as_well() {
        for (document, place, expected) in [
            ("<a>\n<b></a>", (2, 4), "/a/b"),
            ("<a>\n<1/></a>", (2, 1), "/a/?"),
            ("<a>\n<b x/></a>", (2, 4), "/a/b"),
            ("<a>\n<b", (2, 1), "/a"),
            ("<!DOCTYPE a>\n<a/>", (1, 1), ""),
        ] {
            assert_eq!(paths(document, &[place]), [expected], "{document}");
        }
    }

    /// However deep and wide a document is.
    #[test]
    fn what_is_held_is_bounded() {
        let deep = "<a>".repeat(100_000);
        let path = &paths(&deep, &[(1, 1 + 3 * 256)])[0];
        assert!(path.starts_with("…/a/a") && path.chars().count() <= PATH_CHARS_MAX + 1);
        let long = format!("<{}><b/></{0}>", "n".repeat(1000));
        assert_eq!(paths(&long, &[(1, 1), (1, 1003)]), ["…", "…/b"]);
        let names = (0..COUNTED_MAX + 2).map(|n| format!("<a{n}/>"));
        let wide = format!(
            "<r>{}\n<a0/><a1001/>\n<b><a0/></b></r>",
            names.collect::<String>()
        );
        assert_eq!(
            paths(&wide, &[(2, 1), (2, 6), (3, 4)]),
            ["/r/a0[2]", "/r/a1001[?]", "/r/b[?]/a0[?]"]
        );
    }

    #[test]
    fn what_an_element_has_counted_goes_with_it() {
        let inner = (0..COUNTED_MAX - 3).map(|n| format!("<a{n}/>"));
        let inner = format!("<b>{}</b>", inner.collect::<String>());
        let document = format!("<r>{}\n<c/></r>", inner.repeat(3));
        assert_eq!(paths(&document, &[(2, 1)]), ["/r/c"]);
    }
}
