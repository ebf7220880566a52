//! The audit of a spool: `audit/<day>.jsonl`, one chain for all days.
//!
//! A record is in the journal first, and is appended to its file by the writer of the days' records after that
//! is flushed, so a replay completes it. Its number and the hash before are those of the chain's end in memory,
//! under one lock with the journal's order, and the journal has the whole line: however often it is replayed,
//! the chain is the same. Only a start reads the files, for the end of the chain.
//!
//! The day is that of the record; after a clock was set back, that of the record before. So the order of the
//! files is that of the chain.

mod files;

pub use files::{AuditFiles, BadRecord};

use super::{
    Fs, Op, Spool, SpoolError, Ticket,
    retention::{day, is_day, oldest_day},
    wrap,
};
use crate::store::{
    By,
    audit::{AuditHead, AuditRecord, Deed, Entry, Removed},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

pub(super) const DIR: &str = "audit";
/// No record is longer: the parts of one are bounded.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A line, for the file of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Audited {
    day: String,
    pub(super) line: String,
}

impl Audited {
    pub(super) fn path(&self) -> PathBuf {
        day_path(&self.day)
    }
}

fn day_path(day: &str) -> PathBuf {
    Path::new(DIR).join(format!("{day}.jsonl"))
}

/// The day of a file of the audit.
fn day_of(name: &OsStr) -> Option<&str> {
    let day = name.to_str()?.strip_suffix(".jsonl")?;
    is_day(day).then_some(day)
}

/// The end of the chain, and the day of its file.
#[derive(Clone, Debug)]
pub(super) struct AuditEnd {
    head: AuditHead,
    day: String,
}

impl AuditEnd {
    fn nothing() -> Self {
        Self {
            head: AuditHead::nothing(),
            day: String::new(),
        }
    }
}

impl<F: Fs> Spool<F> {
    /// Records what somebody wants done, or what came of it, and gives the record's number. Durable with the
    /// ticket.
    ///
    /// # Errors
    /// When the spool is unhealthy, or the end of the chain cannot be read: nothing is recorded.
    pub fn audit(&self, entry: &Entry) -> Result<(u64, Ticket), SpoolError> {
        // Held over the append, so that the order in the journal is that of the chain.
        let mut end = self.audit.lock();
        let before = match end.take() {
            Some(end) => end,
            None => self.audit_end()?,
        };
        let now_ms = self.now_ms();
        let (head, line) = before.head.next(entry, now_ms);
        let day = day(now_ms).max(before.day.clone());
        let path = day_path(&day);
        let audited = Audited {
            day: day.clone(),
            line,
        };
        let recorded = self.record(&[Op::Audited(audited.into())], || Ok(()));
        *end = Some(match &recorded {
            Ok(_) => AuditEnd { head, day },
            Err(_) => before,
        });
        let ((), ticket) = recorded.map_err(wrap("record", &path))?;
        Ok(((*end).as_ref().map_or(0, |end| end.head.number), ticket))
    }

    /// The newest record of the audit; `None` when there is none. Of a spool that is only looked at, as its
    /// files have it.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn audit_head(&self) -> Result<Option<AuditHead>, SpoolError> {
        let known = self.audit.lock().clone();
        let end = match known {
            Some(end) => end,
            None => self.audit_end()?,
        };
        Ok((end.head.number > 0).then_some(end.head))
    }

    /// The newest records, so many at most, oldest first; of each day those in the last bytes of its file.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>, SpoolError> {
        let mut newest_first = Vec::new();
        for day in self.audit_days()?.into_iter().rev() {
            let (end, _) = self.tail_of(&day_path(&day))?;
            let lines = end.split(|byte| *byte == b'\n').rev();
            newest_first.extend(lines.filter_map(AuditRecord::from_line));
            if newest_first.len() >= limit {
                break;
            }
        }
        newest_first.truncate(limit);
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Takes up the chain where the files have its end; a torn last line is cut off. To be called once what was
    /// recorded has been completed.
    ///
    /// # Errors
    /// When the files cannot be read or written: nothing may be recorded.
    pub(super) fn take_up_audit(&self) -> Result<(), SpoolError> {
        if let Some(newest) = self.audit_days()?.last() {
            let path = day_path(newest);
            let (end, size) = self.tail_of(&path)?;
            let torn = end.iter().rev().take_while(|byte| **byte != b'\n').count();
            if torn > 0 {
                tracing::warn!(path = %path.display(), "a torn line is cut off");
                let cut = (self.fs.writable(&path))
                    .and_then(|file| self.fs.cut(&file, size - torn as u64));
                cut.map_err(wrap("cut", &path))?;
            }
        }
        *self.audit.lock() = Some(self.audit_end()?);
        Ok(())
    }

    /// The days that have a file, oldest first.
    fn audit_days(&self) -> Result<Vec<String>, SpoolError> {
        let mut days = Vec::new();
        let each = &mut |name: &OsStr, _| days.extend(day_of(name).map(str::to_owned));
        let dir = Path::new(DIR);
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        days.sort_unstable();
        Ok(days)
    }

    /// The last bytes of a file, more than the longest line has, and its size.
    fn tail_of(&self, path: &Path) -> Result<(Vec<u8>, u64), SpoolError> {
        let size = self.stat(path)?.map_or(0, |stat| stat.bytes);
        let from = size.saturating_sub(LINE_BYTES_MAX + 1);
        let read = (self.fs.update(path))
            .and_then(|file| self.fs.read_at(&file, from, (size - from) as usize));
        Ok((read.map_err(wrap("read", path))?, size))
    }

    fn audit_end(&self) -> Result<AuditEnd, SpoolError> {
        for day in self.audit_days()?.into_iter().rev() {
            if let Some(head) = self.head_of_day(&day)? {
                return Ok(AuditEnd { head, day });
            }
        }
        Ok(AuditEnd::nothing())
    }

    /// The last record of a day; `None` when the file has no whole line.
    fn head_of_day(&self, day: &str) -> Result<Option<AuditHead>, SpoolError> {
        let (end, _) = self.tail_of(&day_path(day))?;
        let whole = end.split_inclusive(|byte| *byte == b'\n');
        let whole = whole.filter_map(|line| line.strip_suffix(b"\n"));
        Ok(AuditHead::of_lines(whole))
    }

    /// Removes days of the audit, but never its newest; a record that says so comes first.
    pub(super) fn sweep_audit(
        &self,
        keep_days: Option<u32>,
        now_ms: i64,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), SpoolError> {
        let Some(keep_days) = keep_days else {
            return Ok(());
        };
        let oldest = oldest_day(keep_days, now_ms);
        let mut days = self.audit_days()?;
        days.pop();
        for day in days.into_iter().take_while(|day| *day < oldest) {
            let path = day_path(&day);
            if let Some(head) = self.head_of_day(&day)? {
                let mut deed = Deed::new("retention", &By::service("retention.audit_days"));
                deed.removed = Some(Removed {
                    day,
                    through: head.number,
                    sha256: head.sha256,
                });
                let (_, ticket) = self.audit(&Entry::Begun(deed.into()))?;
                self.wait(ticket)?;
            }
            self.fs.unlink(&path).map_err(wrap("remove", &path))?;
            self.records.close_files();
            removed.push(path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
