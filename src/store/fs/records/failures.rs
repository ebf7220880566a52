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
use std::collections::HashMap;

/// How a job has failed last.
pub(in crate::store::fs) struct LastFailure {
    pub(in crate::store::fs) at_ms: i64,
    pub(in crate::store::fs) fingerprint: String,
    pub(in crate::store::fs) interface: Option<String>,
    pub(in crate::store::fs) submitter: Option<String>,
    /// Where its line begins, and how long that is.
    begin: u64,
    length: usize,
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
    pub(super) fn of(&self, line: &[u8]) -> Option<String> {
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
            false => String::from_utf8(line[begin..end].to_vec()).ok(),
            true => serde_json::from_slice(&line[begin - 1..=end]).ok(),
        }
    }
}

impl<F: Fs> Spool<F> {
    /// How jobs of a day have failed last, by id: of those that are asked for, the ones that have not gone on since and
    /// of whose errors there is a fingerprint. Of whom and for which interface they are is what the lines say.
    ///
    /// # Errors
    /// When what was recorded of the day cannot be read.
    pub(in crate::store::fs) fn last_failures(
        &self,
        day: &str,
        is_asked: &dyn Fn(u64) -> bool,
    ) -> Result<HashMap<u64, LastFailure>, SpoolError> {
        let [error, interface, submitter] = ["error", "interface", "submitter"].map(Member::new);
        let (mut last, mut moved) = (HashMap::new(), HashMap::new());
        self.each_line(&ended_path(day), &mut |begin, line| {
            let Some(glance) = Glance::at(line).filter(|glance| is_asked(glance.id)) else {
                return Ok(());
            };
            let id = glance.id;
            moved.extend(interface.of(glance.rest).map(|interface| (id, interface)));
            let fingerprint = match glance.act {
                Act::CutOff | Act::Deferred | Act::Failed | Act::Refused => error.of(glance.rest),
                Act::Cancelled | Act::Done | Act::Fetched | Act::Removed | Act::Requeued => None,
                // They end no attempt.
                Act::GivenBack | Act::Noted => return Ok(()),
            };
            let failure = fingerprint.map(|fingerprint| LastFailure {
                at_ms: glance.at_ms,
                fingerprint,
                interface: None,
                submitter: None,
                begin,
                length: line.len(),
            });
            match failure {
                Some(failure) => drop(last.insert(id, failure)),
                None => drop(last.remove(&id)),
            }
            Ok(())
        })?;
        if last.is_empty() {
            return Ok(last);
        }
        self.each_line(&accepted_path(day), &mut |_, line| {
            if let Some(id) = id_of(line)
                && let Some(failure) = last.get_mut(&id)
            {
                failure.interface = interface.of(line);
                failure.submitter = submitter.of(line);
            }
            Ok(())
        })?;
        for (id, interface) in moved {
            if let Some(failure) = last.get_mut(&id) {
                failure.interface = Some(interface);
            }
        }
        Ok(last)
    }

    /// The name of a job that has failed so, and the beginning of its error.
    ///
    /// # Errors
    /// When what was recorded of the day cannot be read.
    pub(in crate::store::fs) fn told_of(
        &self,
        day: &str,
        failure: &LastFailure,
    ) -> Result<(JobName, Option<String>), SpoolError> {
        let path = ended_path(day);
        let gone = || unreadable(&path)(std::io::ErrorKind::NotFound.into());
        let (file, _) = self.opened(&path)?.ok_or_else(gone)?;
        let line = self.fs.read_at(&file, failure.begin, failure.length);
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
            assert_eq!(error.of(glance.rest), ended.error, "{line}");
            assert_eq!(interface.of(glance.rest).as_deref(), moved, "{line}");
            for end in 0..line.len() {
                let torn = &line.as_bytes()[..end];
                let _ = Glance::at(torn).map(|glance| error.of(glance.rest));
            }
        }
        let bare = Ended::new(&job, Act::Noted, 7).to_line();
        assert_eq!(Glance::at(bare.as_bytes()).unwrap().at_ms, 7);
        assert_eq!(
            Member::new("submitter").of(br#"{"id":1,"submitter":"a\"\u00e4","error":"b"}"#),
            Some("a\"\u{e4}".into())
        );
    }
}
