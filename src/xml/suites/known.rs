//! The list of what is known to be found otherwise than a suite expects, and why.
//!
//! ```text
//! # What the list is.
//!
//! [the cause, with its clause]
//! expected ours name of the case
//! ```
//!
//! A cause stands once, above all cases that it explains. What is written again keeps the causes
//! that are there; new cases come under [`UNEXPLAINED`] with the messages for them as comments, and
//! wait there for a cause.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::{Answer, Verdict};

/// The cause of what nobody has looked at.
const UNEXPLAINED: &str = "unexplained";

/// How a case is found otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    expected: Verdict,
    /// Only of one that is unexplained.
    message: String,
    ours: Verdict,
}

/// The differences by cause, in the order of the file, then by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    causes: Vec<(String, BTreeMap<String, Difference>)>,
    /// The comment that the file begins with.
    head: String,
}

impl Known {
    pub(super) fn read(path: &Path) -> Known {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Known::parse(&text)
    }

    fn parse(text: &str) -> Known {
        let mut known = Known::default();
        for line in text.lines() {
            let cause = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
            match (cause, known.causes.last_mut()) {
                (Some(cause), _) => known.causes.push((cause.to_owned(), BTreeMap::new())),
                (None, None) => known.head += &format!("{line}\n"),
                (None, Some(_)) if line.is_empty() || line.starts_with('#') => {}
                (None, Some((_, cases))) => {
                    let (name, difference) = parse_line(line);
                    let before = cases.insert(name, difference);
                    assert!(before.is_none(), "twice: {line}");
                }
            }
        }
        known
    }

    /// What is asked and neither right nor known, and what is known and not so. `names` are those of
    /// all cases; one that is not asked, such as a document whose schema does not load, stays known.
    pub(super) fn mistakes(&self, answers: &[Answer], names: &BTreeSet<String>) -> Vec<String> {
        let mut mistakes = Vec::new();
        let known = |name: &str| {
            let mut cases = self.causes.iter().map(|(_, cases)| cases);
            cases.find_map(|cases| cases.get(name))
        };
        for answer in answers {
            let Answer {
                expected,
                message,
                name,
                ours,
                ..
            } = answer;
            match known(name) {
                Some(_) if answer.is_right() => {
                    mistakes.push(format!("no longer a difference: {name}"));
                }
                Some(known) if known.expected == *expected && known.ours == *ours => {}
                Some(known) => mistakes.push(format!(
                    "{expected} {ours} {name}: known as {} {}: {message}",
                    known.expected, known.ours
                )),
                None if answer.is_right() => {}
                None => mistakes.push(format!("{expected} {ours} {name}: {message}")),
            }
        }
        for (cause, cases) in &self.causes {
            if cause == UNEXPLAINED {
                mistakes.extend(cases.keys().map(|name| format!("unexplained: {name}")));
            }
            let gone = cases.keys().filter(|name| !names.contains(*name));
            mistakes.extend(gone.map(|name| format!("not in the suite: {name}")));
        }
        mistakes
    }

    /// The list as it has to be for these answers, of the cases that have a name in the suite.
    pub(super) fn renewed(mut self, answers: &[Answer], names: &BTreeSet<String>) -> Known {
        let answer_of: BTreeMap<_, _> = answers.iter().map(|a| (a.name.as_str(), a)).collect();
        let mut new: BTreeMap<_, _> = answers
            .iter()
            .filter(|answer| !answer.is_right())
            .map(|answer| (answer.name.clone(), Difference::of(answer)))
            .collect();
        for (cause, cases) in &mut self.causes {
            cases.retain(|name, known| match answer_of.get(name.as_str()) {
                Some(answer) => {
                    let same = known.expected == answer.expected && known.ours == answer.ours;
                    same && cause != UNEXPLAINED && new.remove(name).is_some()
                }
                None => names.contains(name),
            });
        }
        self.causes.push((UNEXPLAINED.to_owned(), new));
        self.causes.retain(|(_, cases)| !cases.is_empty());
        self
    }
}

impl Difference {
    fn of(answer: &Answer) -> Difference {
        Difference {
            expected: answer.expected,
            message: answer.message.clone(),
            ours: answer.ours,
        }
    }
}

fn parse_line(line: &str) -> (String, Difference) {
    let parse = || {
        let (expected, rest) = line.split_once(' ')?;
        let (ours, name) = rest.split_once(' ')?;
        let difference = Difference {
            expected: Verdict::parse(expected)?,
            message: String::new(),
            ours: Verdict::parse(ours)?,
        };
        Some((name.to_owned(), difference))
    };
    parse().unwrap_or_else(|| panic!("not `expected ours name`: {line}"))
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.head.trim_end())?;
        for (cause, cases) in &self.causes {
            write!(f, "\n\n[{cause}]")?;
            for (
                name,
                Difference {
                    expected,
                    message,
                    ours,
                },
            ) in cases
            {
                write!(f, "\n{expected} {ours} {name}")?;
                if !message.is_empty() {
                    write!(f, "\n# {message}")?;
                }
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# A head.\n\n[a cause]\naccepted refused a b\nrefused accepted c\n";

    fn answer(name: &str, expected: Verdict, ours: Verdict) -> Answer {
        Answer {
            expected,
            message: "1:1: bad".to_owned(),
            name: name.to_owned(),
            of_schema: false,
            ours,
        }
    }

    const GOOD: Verdict = Verdict::Accepted;
    const BAD: Verdict = Verdict::Refused;

    fn names() -> BTreeSet<String> {
        ["a b", "c", "d", "e"].map(str::to_owned).into()
    }

    #[test]
    fn a_list_is_true_or_has_mistakes() {
        let mistakes = |answers: &[Answer]| Known::parse(LIST).mistakes(answers, &names());
        let known = [answer("a b", GOOD, BAD), answer("c", BAD, GOOD)];
        assert_eq!(mistakes(&known), [""; 0]);
        assert_eq!(mistakes(&[answer("d", GOOD, GOOD)]), [""; 0]);
        let found = [
            answer("a b", GOOD, GOOD),
            answer("c", BAD, Verdict::Panicked),
            answer("d", GOOD, BAD),
            answer("e", BAD, Verdict::Incomplete),
        ];
        let wanted = [
            "no longer a difference: a b",
            "refused panicked c: known as refused accepted: 1:1: bad",
            "accepted refused d: 1:1: bad",
        ];
        assert_eq!(mistakes(&found), wanted);
        let other = Known::parse("[unexplained]\naccepted refused f\n");
        assert_eq!(
            other.mistakes(&[], &names()),
            ["unexplained: f", "not in the suite: f"]
        );
    }

    #[test]
    fn a_list_written_again_keeps_its_causes() {
        let renewed = |list: &str, answers: &[Answer]| {
            let renewed = Known::parse(list).renewed(answers, &names());
            renewed.to_string()
        };
        assert_eq!(renewed(LIST, &[]), LIST);
        let found = [answer("a b", GOOD, BAD), answer("d", GOOD, BAD)];
        let new = "\n[unexplained]\naccepted refused d\n# 1:1: bad\n";
        let with_new = format!("{LIST}{new}");
        assert_eq!(renewed(LIST, &found), with_new);
        assert_eq!(renewed(&with_new, &found), with_new);
        let gone = LIST.replace(" c\n", " f\n");
        let without = LIST.replace("refused accepted c\n", "");
        assert_eq!(renewed(&gone, &found), format!("{without}{new}"));
        assert_eq!(renewed(&with_new, &[answer("d", GOOD, GOOD)]), LIST);
    }
}
