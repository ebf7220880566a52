//! Which jobs may be called so, or be of that submitter: the lines of a day are searched as bytes, and none is read.

use super::{
    super::{EntryKind, Fs, Spool, SpoolError, wrap},
    DIR, accepted_path,
    files::{CHUNK_BYTES, Lines},
    line::{id_of, name_of},
    unreadable,
};
use crate::store::Filter;
use memchr::{memchr, memmem::Finder, memrchr};
use std::{collections::BTreeSet, ffi::OsStr, path::Path};

/// Whoever is known by his files only is called so, which no line need say.
const OF_FILES: &str = "uid ";
/// Members of a line that say, beside the name, what a job is called; in lower case, as the lines are searched.
const CALLED_IN: [&[u8]; 2] = [b"\"reference_as_sent\":", b"\"dropped_as\":"];

/// What is looked for in lines of `accepted.jsonl`. Some that are found may be others; none is missed.
pub(in crate::store::fs) struct Needles {
    /// In lower case, as far as it is ASCII.
    text: Option<Finder<'static>>,
    submitter: Option<Finder<'static>>,
}

impl Needles {
    /// `None`: what a filter asks for need not be in the record.
    pub(in crate::store::fs) fn of(filter: &Filter) -> Option<Self> {
        let text = filter.text.as_ref().filter(|text| !text.is_empty());
        let submitter = filter.submitter.as_ref();
        let submitter = submitter.filter(|submitter| !submitter.starts_with(OF_FILES));
        if text.is_none() && submitter.is_none() {
            return None;
        }
        let finder = |text: &str| Finder::new(text).into_owned();
        Some(Self {
            text: text.map(|text| finder(&in_json(&text.to_ascii_lowercase()))),
            submitter: submitter
                .map(|submitter| finder(&format!("\"submitter\":\"{}\"", in_json(submitter)))),
        })
    }

    /// Adds the ids of what is found in whole lines.
    fn find_in(&self, block: &[u8], lowered: &mut Vec<u8>, ids: &mut BTreeSet<u64>) {
        let (rare, searched) = match (&self.text, &self.submitter) {
            (Some(text), _) => {
                lowered.clear();
                lowered.extend_from_slice(block);
                lowered.make_ascii_lowercase();
                (text, &lowered[..])
            }
            (None, Some(submitter)) => (submitter, block),
            (None, None) => return,
        };
        let mut at = 0;
        while let Some(found) = rare.find(&searched[at..]) {
            let hit = at + found;
            let begin = memrchr(b'\n', &block[..hit]).map_or(0, |end| end + 1);
            let end = memchr(b'\n', &block[hit..]).map_or(block.len(), |length| hit + length);
            let line = &block[begin..end];
            if self.may_be(line, &searched[begin..end]) {
                ids.extend(id_of(line));
            }
            at = end;
        }
    }

    /// Can a line be meant in which something is found? `searched`: the same line, as it was searched.
    fn may_be(&self, line: &[u8], searched: &[u8]) -> bool {
        let is_called = self.text.as_ref().is_none_or(|text| {
            let is_named = name_of(searched).is_some_and(|name| text.find(name).is_some());
            is_named
                || (CALLED_IN.iter()).any(|member| memchr::memmem::find(line, member).is_some())
        });
        let submitter = self.submitter.as_ref();
        is_called && submitter.is_none_or(|submitter| submitter.find(line).is_some())
    }
}

/// A text as it stands within a string of a line.
fn in_json(text: &str) -> String {
    // A string always serialises.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

impl<F: Fs> Spool<F> {
    /// The days of which there are lines.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(in crate::store::fs) fn recorded_days(&self) -> Result<BTreeSet<String>, SpoolError> {
        let mut days: BTreeSet<String> = {
            let known = self.records.known.lock();
            let lines = known.unwritten.values();
            lines.map(|line| line.job.day()).collect()
        };
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                days.extend(name.to_str().map(str::to_owned));
            }
        };
        let listed = self.fs.list(Path::new(DIR), each);
        listed.map_err(wrap("list", Path::new(DIR)))?;
        Ok(days)
    }

    /// The ids of the jobs of a day that may be meant: all that are, and maybe some others. `None`: the day has no
    /// record. Takes as long as reading the day's `accepted.jsonl` does.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub(in crate::store::fs) fn recorded_with(
        &self,
        day: &str,
        needles: &Needles,
    ) -> Result<Option<BTreeSet<u64>>, SpoolError> {
        // First what the file does not have yet: it may be there by the time that it is read.
        let mut ids: BTreeSet<u64> = {
            let known = self.records.known.lock();
            let of_day = known
                .unwritten
                .iter()
                .filter(|(_, line)| line.job.day() == day);
            of_day.map(|(id, _)| *id).collect()
        };
        let path = accepted_path(day);
        let Some((file, _)) = self.opened(&path)? else {
            return Ok((!ids.is_empty()).then_some(ids));
        };
        let (mut lines, mut lowered) = (Lines::new(&*self.fs, &file, 0, CHUNK_BYTES), Vec::new());
        let read = (|| {
            while let Some(block) = lines.next_block()? {
                needles.find_in(block, &mut lowered, &mut ids);
            }
            Ok(())
        })();
        read.map_err(unreadable(&path))?;
        Ok(Some(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::{
                RealFs,
                testing::{START_MS, TestSpool},
            },
            Accepted,
        },
        *,
    };
    use crate::{
        domain::{Ids, JobName, Kind, Reference},
        store::Came,
    };

    fn needles(text: Option<&str>, submitter: Option<&str>) -> Option<Needles> {
        Needles::of(&Filter {
            text: text.map(str::to_owned),
            submitter: submitter.map(str::to_owned),
            ..Filter::default()
        })
    }

    fn line(ids: &mut Ids, reference: &str, came: Came, submitter: &str) -> Accepted {
        let reference = Reference::of_text(reference);
        let job = JobName::new(ids.next(START_MS), reference, Kind::Xml);
        let mut line = Accepted::new(job, came, START_MS);
        line.dialect = "dstore".into();
        line.submitter = submitter.into();
        line
    }

    /// How many of these lines are found.
    fn found(lines: &[Accepted], text: Option<&str>, submitter: Option<&str>) -> usize {
        let block: String = lines.iter().map(|line| line.to_line() + "\n").collect();
        let mut ids = BTreeSet::new();
        let needles = needles(text, submitter).unwrap();
        needles.find_in(block.as_bytes(), &mut Vec::new(), &mut ids);
        ids.len()
    }

    #[test]
    fn a_name_is_found_in_whatever_case_and_wherever_it_stands() {
        let ids = &mut Ids::above(START_MS);
        let dropped_as = "Lieferung \"1\"\u{1}.XML".to_owned();
        let mut sent = line(ids, "b", Came::Uploaded, "shop \"x\"");
        sent.reference_as_sent = Some("B\\u0001".into());
        let lines = [
            line(ids, "Order-1", Came::Uploaded, "shop"),
            line(ids, "order-2", Came::Uploaded, "erp"),
            line(ids, "c", Came::Dropped { dropped_as }, "uid 7"),
            sent,
        ];
        for (text, submitter, n) in [
            ("ORDER", None, 2),
            ("ORDER", Some("erp"), 1),
            ("order", Some("er"), 0),
            ("", Some("shop"), 1),
            ("", Some("shop \"x\""), 1),
            ("ieferung \"1\"\u{1}.x", None, 1),
            ("b\\U0001", None, 1),
            // What no job is called does not cost to be read: neither a dialect nor a member.
            ("dstore", Some("erp"), 0),
            ("submitter", Some("erp"), 0),
            ("2026", None, 4),
            ("order-3", None, 0),
        ] {
            assert_eq!(
                found(&lines, Some(text), submitter),
                n,
                "{text} {submitter:?}"
            );
        }
    }

    #[test]
    fn what_need_not_be_recorded_is_not_looked_for() {
        assert!(needles(None, None).is_none());
        assert!(needles(Some(""), None).is_none());
        assert!(needles(None, Some("uid 7")).is_none());
        assert!(needles(Some("a"), Some("uid 7")).is_some());
    }

    #[test]
    fn lines_are_found_wherever_the_file_was_cut_to_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").open().unwrap();
        let ids = &mut Ids::above(START_MS);
        let lines: Vec<Accepted> = (0..40)
            .map(|n| line(ids, &format!("order-{n}"), Came::Uploaded, "shop"))
            .collect();
        let text: String = lines.iter().map(|line| line.to_line() + "\n").collect();
        std::fs::write(
            dir.path().join("lines"),
            text + "{\"id\":1,\"job\":\"order-",
        )
        .unwrap();
        let path = Path::new("lines");
        let (file, _) = spool.opened(path).unwrap().unwrap();
        let needles = needles(Some("order-1"), None).unwrap();
        for chunk_bytes in [7, 200, 1000, 1 << 20] {
            let fs: &RealFs = spool.fs();
            let mut blocks = Lines::new(fs, &file, 0, chunk_bytes);
            let mut ids = BTreeSet::new();
            while let Some(block) = blocks.next_block().unwrap() {
                needles.find_in(block, &mut Vec::new(), &mut ids);
            }
            assert_eq!(ids.len(), 11, "{chunk_bytes}");
        }
    }
}
