//! How the jobs of a day have failed last, counted: of each line no more is read than that takes.

use super::{
    super::{Fs, Spool, SpoolError},
    Act, Ended, accepted_path, ended_path,
    line::{id_name_and_rest, id_of},
    unreadable,
};
use crate::{
    domain::JobName,
    store::{Attempt, AttemptEnd},
};
use memchr::{memchr, memchr2, memmem::Finder};
use std::{borrow::Cow, collections::HashMap};

/// How a job has failed last.
pub(in crate::store::fs) struct LastFailure<'t> {
    pub(in crate::store::fs) at_ms: i64,
    pub(in crate::store::fs) fingerprint: &'t str,
    pub(in crate::store::fs) interface: Option<&'t str>,
    pub(in crate::store::fs) submitter: Option<&'t str>,
    pub(in crate::store::fs) line: ErrorLine,
}

/// The line of a day's `ended.jsonl` that says so: where it begins, and how long it is.
#[derive(Clone, Copy)]
pub(in crate::store::fs) struct ErrorLine {
    begin: u64,
    length: usize,
}

/// How jobs of a day have failed last.
pub(in crate::store::fs) struct LastFailures {
    /// In the order of the ids that were asked for.
    of: Vec<Failed>,
    texts: Texts,
}

/// The same of one job, whose texts are numbers.
#[derive(Clone, Default)]
struct Failed {
    last: Option<(i64, u32, ErrorLine)>,
    interface: Option<u32>,
    submitter: Option<u32>,
}

impl LastFailures {
    /// Of each job that was asked for, in the order of the ids; `None`: it has gone on since, or of its error there is
    /// no fingerprint.
    pub(in crate::store::fs) fn all(&self) -> impl Iterator<Item = Option<LastFailure<'_>>> {
        let text = |number: u32| &*self.texts.all[number as usize];
        self.of.iter().map(move |failing| {
            let (at_ms, fingerprint, line) = failing.last?;
            Some(LastFailure {
                at_ms,
                fingerprint: text(fingerprint),
                interface: failing.interface.map(text),
                submitter: failing.submitter.map(text),
                line,
            })
        })
    }
}

/// Texts that many lines have, each of them once.
#[derive(Default)]
struct Texts {
    all: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // There are no more of them than lines in a file that is read within a request.
        let number = self.all.len() as u32;
        self.all.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }
}

/// Where ids are in a sorted list. Lines come about in that order, so the next one is looked at first.
struct Ranks<'i> {
    ids: &'i [u64],
    next: usize,
}

impl Ranks<'_> {
    fn of(&mut self, id: u64) -> Option<usize> {
        let rank = match self.ids.get(self.next) {
            Some(next) if *next == id => self.next,
            Some(_) | None => self.ids.binary_search(&id).ok()?,
        };
        self.next = rank + 1;
        Some(rank)
    }
}

/// What is read of a line of `ended.jsonl`.
pub(super) struct Glance<'l> {
    pub(super) id: u64,
    pub(super) act: Act,
    pub(super) at_ms: i64,
    pub(super) rest: &'l [u8],
}

impl<'l> Glance<'l> {
    /// `None`: it is no line of ours.
    pub(super) fn at(line: &'l [u8]) -> Option<Self> {
        let (id, _, rest) = id_name_and_rest(line)?;
        let rest = rest.strip_prefix(b",\"act\":")?;
        let (act, rest) = rest.split_at(memchr(b',', rest)?);
        let rest = rest.strip_prefix(b",\"at_ms\":")?;
        let end = rest.iter().position(|byte| [b',', b'}'].contains(byte))?;
        let (at_ms, rest) = rest.split_at(end);
        Some(Self {
            id,
            act: serde_json::from_slice(act).ok()?,
            at_ms: std::str::from_utf8(at_ms).ok()?.parse().ok()?,
            rest,
        })
    }
}

/// A member of a line whose value is a text.
pub(super) struct Member(Finder<'static>);

impl Member {
    pub(super) fn new(name: &str) -> Self {
        Self(Finder::new(&format!(",\"{name}\":\"")).into_owned())
    }

    /// Its text. Within a text quotes are escaped, so what looks like a member is one.
    pub(super) fn of<'l>(&self, line: &'l [u8]) -> Option<Cow<'l, str>> {
        let begin = self.0.find(line)? + self.0.needle().len();
        let (mut end, mut is_escaped) = (begin, false);
        loop {
            end += memchr2(b'"', b'\\', line.get(end..)?)?;
            if line[end] == b'"' {
                break;
            }
            (end, is_escaped) = (end + 2, true);
        }
        // Most texts stand there as they are.
        match is_escaped {
            false => std::str::from_utf8(&line[begin..end])
                .map(Cow::Borrowed)
                .ok(),
            true => {
                let text = serde_json::from_slice(&line[begin - 1..=end]);
                text.map(Cow::Owned).ok()
            }
        }
    }
}

impl<F: Fs> Spool<F> {
    /// How jobs of a day have failed last: those that are asked for by their ids, which are sorted. Of whom and for which
    /// interface they are is what the lines say.
    ///
    /// # Errors
    /// When what was recorded of the day cannot be read.
    pub(in crate::store::fs) fn last_failures(
        &self,
        day: &str,
        ids: &[u64],
    ) -> Result<LastFailures, SpoolError> {
        let [error, interface, submitter] = ["error", "interface", "submitter"].map(Member::new);
        let mut of = vec![Failed::default(); ids.len()];
        let mut texts = Texts::default();
        let mut ranks = Ranks { ids, next: 0 };
        self.each_line(&ended_path(day), &mut |begin, line| {
            let Some(glance) = Glance::at(line) else {
                return Ok(());
            };
            let Some(rank) = ranks.of(glance.id) else {
                return Ok(());
            };
            let failing = &mut of[rank];
            if let Some(interface) = interface.of(glance.rest) {
                failing.interface = Some(texts.number(&interface));
            }
            let fingerprint = match glance.act {
                Act::CutOff | Act::Deferred | Act::Failed | Act::Refused => error.of(glance.rest),
                Act::Cancelled | Act::Done | Act::Fetched | Act::Removed | Act::Requeued => None,
                // They end no attempt.
                Act::GivenBack | Act::Noted => return Ok(()),
            };
            let length = line.len();
            failing.last = fingerprint.map(|fingerprint| {
                let line = ErrorLine { begin, length };
                (glance.at_ms, texts.number(&fingerprint), line)
            });
            Ok(())
        })?;
        if of.iter().any(|failing| failing.last.is_some()) {
            ranks.next = 0;
            self.each_line(&accepted_path(day), &mut |_, line| {
                if let Some(rank) = id_of(line).and_then(|id| ranks.of(id))
                    && of[rank].last.is_some()
                {
                    let failing = &mut of[rank];
                    failing.submitter = submitter.of(line).map(|text| texts.number(&text));
                    // What was said of it later counts.
                    if failing.interface.is_none() {
                        failing.interface = interface.of(line).map(|text| texts.number(&text));
                    }
                }
                Ok(())
            })?;
        }
        Ok(LastFailures { of, texts })
    }

    /// The name of a job that has failed so, and the beginning of its error.
    ///
    /// # Errors
    /// When what was recorded of the day cannot be read.
    pub(in crate::store::fs) fn told_of(
        &self,
        day: &str,
        line: &ErrorLine,
    ) -> Result<(JobName, Option<String>), SpoolError> {
        let path = ended_path(day);
        let gone = || unreadable(&path)(std::io::ErrorKind::NotFound.into());
        let (file, _) = self.opened(&path)?.ok_or_else(gone)?;
        let line = self.fs.read_at(&file, line.begin, line.length);
        let ended = Ended::from_line(&line.map_err(unreadable(&path))?);
        ended.map(|ended| (ended.job, ended.text)).ok_or_else(gone)
    }

    /// How the attempts at a job have ended, in that order.
    ///
    /// # Errors
    /// When what was recorded of its day cannot be read.
    pub fn attempts_ended(&self, job: &JobName) -> Result<Vec<Attempt>, SpoolError> {
        let id = job.id().get();
        let mut attempts = Vec::new();
        self.each_line(&ended_path(&job.day()), &mut |_, line| {
            let ended = id_of(line).filter(|of| *of == id);
            let ended = ended.and_then(|_| Ended::from_line(line));
            attempts.extend(ended.and_then(attempt_of));
            Ok(())
        })?;
        Ok(attempts)
    }
}

/// The attempt that ended so; `None`: none did.
fn attempt_of(ended: Ended) -> Option<Attempt> {
    let outcome = match ended.act {
        Act::Cancelled => AttemptEnd::Cancelled,
        Act::CutOff => AttemptEnd::CutOff,
        Act::Deferred => AttemptEnd::Deferred,
        Act::Done => AttemptEnd::Done,
        Act::Failed => AttemptEnd::Failed,
        Act::GivenBack => AttemptEnd::GivenBack,
        Act::Fetched | Act::Noted | Act::Refused | Act::Removed | Act::Requeued => return None,
    };
    Some(Attempt {
        number: ended.attempt?,
        started_ms: ended.started_ms,
        ended_ms: ended.at_ms,
        outcome,
        fingerprint: ended.error,
        reason: ended.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_of_a_line_is_what_it_says() {
        let job: JobName = "20261122T045748.123Z-00042-x.json".parse().unwrap();
        let [error, interface] = ["error", "interface"].map(Member::new);
        // Words of others that look like members.
        let odd = "\",\"error\":\"0\",\"interface\":\"b\\";
        for (said, moved, by) in [
            (None, None, None),
            (Some("exit code 1"), None, None),
            (Some(odd), Some("a"), Some(odd)),
            (None, Some("a"), Some(odd)),
        ] {
            let mut ended = Ended::new(&job, Act::CutOff, 1_795_323_468_123).with_error(said);
            ended.interface = moved.map(|name: &str| name.parse().unwrap());
            ended.by = by.map(str::to_owned);
            let line = ended.to_line();
            let glance = Glance::at(line.as_bytes()).unwrap();
            assert_eq!(glance.id, job.id().get());
            assert_eq!((glance.act, glance.at_ms), (Act::CutOff, ended.at_ms));
            assert_eq!(
                error.of(glance.rest).as_deref(),
                ended.error.as_deref(),
                "{line}"
            );
            assert_eq!(interface.of(glance.rest).as_deref(), moved, "{line}");
            for end in 0..line.len() {
                let torn = &line.as_bytes()[..end];
                let _ = Glance::at(torn).map(|glance| error.of(glance.rest).is_some());
            }
        }
        let bare = Ended::new(&job, Act::Noted, 7).to_line();
        assert_eq!(Glance::at(bare.as_bytes()).unwrap().at_ms, 7);
        assert_eq!(
            Member::new("submitter").of(br#"{"id":1,"submitter":"a\"\u00e4","error":"b"}"#),
            Some("a\"\u{e4}".into())
        );
    }

    #[test]
    fn ids_are_found_in_any_order() {
        let ids = [2, 3, 5, 8];
        let mut ranks = Ranks { ids: &ids, next: 0 };
        for (id, rank) in [
            (2, Some(0)),
            (3, Some(1)),
            (8, Some(3)),
            (9, None),
            (2, Some(0)),
            (4, None),
        ] {
            assert_eq!(ranks.of(id), rank, "{id}");
        }
    }

    #[test]
    fn a_text_has_one_number() {
        let mut texts = Texts::default();
        let numbers = ["a", "b", "a"].map(|text| texts.number(text));
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!(texts.all.len(), 2);
    }
}
