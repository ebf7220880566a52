//! Retention: a day that has passed its time goes as a whole.
//!
//! The day is the one in the job's name, so nothing has to be opened to decide. Queued, deferred
//! and running jobs are never touched. By default everything is kept.

use super::{EntryKind, Fs, Spool, SpoolError, idem::KEY_HOURS, records, wrap};
use crate::domain::JobName;
use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// How long to keep what; `None`: for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub audit_days: Option<u32>,
    pub bak_days: Option<u32>,
    pub events_days: Option<u32>,
    pub joberrors_days: Option<u32>,
    pub joblog_days: Option<u32>,
    pub records_days: Option<u32>,
    pub results_days: Option<u32>,
    /// Hours after which an idempotency key may be used anew; 24 unless given.
    pub idempotency_hours: Option<u32>,
}

impl Retention {
    /// Hours after which an idempotency key may be used anew.
    pub fn key_hours(&self) -> u32 {
        self.idempotency_hours.unwrap_or(KEY_HOURS)
    }

    /// The same in milliseconds.
    pub(in crate::store) fn key_ms(&self) -> i64 {
        i64::from(self.key_hours()) * 60 * 60 * 1000
    }
}

pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl<F: Fs> Spool<F> {
    /// Removes the days and records that have passed their time. Gives what was removed.
    ///
    /// # Errors
    /// When something cannot be listed or removed. What was removed until then stays so, and the
    /// next sweep goes on. On an unhealthy spool nothing is removed.
    pub fn sweep(&self, keep: &Retention) -> Result<Vec<PathBuf>, SpoolError> {
        self.healthy()?;
        let now_ms = self.now_ms();
        let mut removed = Vec::new();
        for interface in &self.interfaces() {
            let dir = Path::new("bak").join(interface.as_str());
            self.sweep_days(&dir, keep.bak_days, now_ms, &mut removed)?;
        }
        for (dir, days) in [
            ("joberrors", keep.joberrors_days),
            ("joblog", keep.joblog_days),
            ("results", keep.results_days),
        ] {
            self.sweep_days(Path::new(dir), days, now_ms, &mut removed)?;
        }
        self.sweep_records(keep.records_days, now_ms, &mut removed)?;
        self.sweep_audit(keep.audit_days, now_ms, &mut removed)?;
        self.sweep_events(keep.events_days, now_ms, &mut removed)?;
        let oldest_ms = now_ms - keep.key_ms();
        self.sweep_record_days(oldest_ms)?;
        self.sweep_progress(oldest_ms)?;
        Ok(removed)
    }

    /// The record of a day goes when none of its jobs waits or runs any more.
    fn sweep_records(
        &self,
        keep_days: Option<u32>,
        now_ms: i64,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), SpoolError> {
        let Some(keep_days) = keep_days else {
            return Ok(());
        };
        let mut needed = HashSet::new();
        for interface in &self.interfaces() {
            needed.extend(self.waiting(interface)?.iter().map(JobName::day));
        }
        for path in self.days_before(Path::new(records::DIR), keep_days, now_ms)? {
            let day = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if needed.contains(day) {
                continue;
            }
            self.fs.remove_tree(&path).map_err(wrap("remove", &path))?;
            self.records.forget(day);
            removed.push(path);
        }
        Ok(())
    }

    /// The days of a directory that have passed their time.
    fn days_before(
        &self,
        dir: &Path,
        keep_days: u32,
        now_ms: i64,
    ) -> Result<Vec<PathBuf>, SpoolError> {
        let oldest = oldest_day(keep_days, now_ms);
        let mut old = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            let text = name.to_str().filter(|text| is_day(text));
            if kind == EntryKind::Dir && text.is_some_and(|text| text < oldest.as_str()) {
                old.push(dir.join(name));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(old)
    }

    fn sweep_days(
        &self,
        dir: &Path,
        keep_days: Option<u32>,
        now_ms: i64,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), SpoolError> {
        let Some(keep_days) = keep_days else {
            return Ok(());
        };
        for path in self.days_before(dir, keep_days, now_ms)? {
            // A job that was held or requeued for long has an old name and a fresh end.
            let touched_ms = self.stat(&path)?.map_or(0, |stat| stat.modified_ms);
            if touched_ms > now_ms - i64::from(keep_days) * DAY_MS {
                continue;
            }
            self.fs.remove_tree(&path).map_err(wrap("remove", &path))?;
            self.days.lock().retain(|day| !day.starts_with(&path));
            removed.push(path);
        }
        Ok(())
    }
}

/// The first day of which something is kept that is kept for so many days.
pub(super) fn oldest_day(keep_days: u32, now_ms: i64) -> String {
    day(now_ms - i64::from(keep_days) * DAY_MS)
}

pub(super) fn day(unix_ms: i64) -> String {
    let stamp = crate::domain::stamp(unix_ms);
    format!("{}-{}-{}", &stamp[..4], &stamp[4..6], &stamp[6..8])
}

pub(super) fn is_day(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        })
}
