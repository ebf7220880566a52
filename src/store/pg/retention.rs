//! Retention: what has passed its time goes, in small steps, whichever node is the first to do it.
//!
//! The day is the one in the job's name. What waits or runs is never touched, and the record of a job stays as long as
//! the job.

use super::{Inner, list::first_of};
use crate::{
    domain::stamp,
    store::{
        By, Result,
        audit::{AuditHead, AuditRecord, Deed, Entry, Removed},
        fs::Retention,
    },
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// So many rows go by one statement.
const STEP: i64 = 1000;

/// A job that was held or requeued for long has an old name and a fresh end.
const JOBS: &str = "
with old as (select e.id from ended e left join log l on l.id = e.id
  where e.place = any($1) and e.id < $2 and coalesce(l.finished_ms, 0) < $3 limit $4 for update of e skip locked),
gone as (delete from ended where id in (select id from old) returning id, place, interface),
counted as (insert into ended_count (place, interface, jobs)
  select place, coalesce(interface, ''), -count(*) from gone group by 1, 2),
no_document as (delete from document where id in (select id from gone)),
no_results as (delete from result where id in (select id from gone)),
removed as (update record set removed_ms = $5 where id in (select id from gone))
select count(*) from gone";
const LOGS: &str = "
with old as (select id from log where id < $1 and finished_ms < $2
    and not exists (select from job where job.id = log.id) limit $3),
gone as (delete from log where id in (select id from old) returning id)
select count(*) from gone";
const RESULTS: &str = "
with old as (select r.id, r.name from result r left join log l on l.id = r.id
  where r.id < $1 and coalesce(l.finished_ms, 0) < $2 limit $3),
gone as (delete from result r using old where r.id = old.id and r.name = old.name returning r.id)
select count(*) from gone";
const RECORDS: &str = "
with old as (select id from record r where id < $1 and not exists (select from job where job.id = r.id)
    and not exists (select from ended where ended.id = r.id) limit $2),
no_attempts as (delete from attempt where id in (select id from old)),
gone as (delete from record where id in (select id from old) returning id)
select count(*) from gone";
const EVENTS: &str = "
with old as (select number from event where at_ms < $1 and ended is not null limit $2),
gone as (delete from event where number in (select number from old) returning 1)
select count(*) from gone";
const KEYS: &str = "
with old as (select key from idempotency_key where id < $1 limit $2),
gone as (delete from idempotency_key where key in (select key from old) returning 1)
select count(*) from gone";
const AUDITED: &str = "select line from audit order by number limit $1 offset $2";
const NO_AUDIT: &str = "delete from audit where number <= $1";

/// Removes what one statement can of something, as often as there is more.
macro_rules! gone {
    ($inner:expr, $sql:expr, $($param:expr),*) => {{
        let mut gone = 0;
        loop {
            let row = $inner.db.row($sql, &[$(&$param),*]).await?;
            let now = row.map_or(0, |row| row.get::<_, i64>(0));
            gone += now;
            if now < STEP {
                break gone;
            }
        }
    }};
}

impl Inner {
    /// Removes what has passed its time by then. Gives what that was.
    pub(super) async fn sweep(&self, keep: &Retention, now_ms: i64) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        let mut note = |what: &str, gone: i64| {
            if gone > 0 {
                removed.push(format!("{gone} {what}"));
            }
        };
        for (places, days) in [
            (&["bak"][..], keep.bak_days),
            (&["joberrors", "refused"][..], keep.joberrors_days),
        ] {
            if let Some(days) = days {
                let (first, ended_ms) = (first_of(oldest_ms(days, now_ms)), ago(days, now_ms));
                let gone = gone!(self, JOBS, places, first, ended_ms, STEP, now_ms);
                note(&format!("jobs in {}", places.join(" and ")), gone);
            }
        }
        if let Some(days) = keep.joblog_days {
            let (first, ended_ms) = (first_of(oldest_ms(days, now_ms)), ago(days, now_ms));
            note("logs", gone!(self, LOGS, first, ended_ms, STEP));
        }
        if let Some(days) = keep.results_days {
            let (first, ended_ms) = (first_of(oldest_ms(days, now_ms)), ago(days, now_ms));
            note("results", gone!(self, RESULTS, first, ended_ms, STEP));
        }
        if let Some(days) = keep.records_days {
            let first = first_of(oldest_ms(days, now_ms));
            note("records", gone!(self, RECORDS, first, STEP));
        }
        if let Some(days) = keep.events_days {
            note("events", gone!(self, EVENTS, oldest_ms(days, now_ms), STEP));
        }
        gone!(self, KEYS, first_of(now_ms - keep.key_ms()), STEP);
        if let Some(days) = keep.audit_days {
            note(
                "records of the audit",
                self.sweep_audit(oldest_ms(days, now_ms)).await?,
            );
        }
        Ok(removed)
    }

    /// Removes the records of the audit before a moment, but for the newest of all; the audit says so itself, so that its
    /// chain has a beginning.
    async fn sweep_audit(&self, oldest_ms: i64) -> Result<i64> {
        let (mut last, mut known) = (None, 0_i64);
        'all: loop {
            let rows = self.db.rows(AUDITED, &[&STEP, &known]).await?;
            for row in &rows {
                let line: &str = row.get(0);
                let record = AuditRecord::from_line(line.as_bytes());
                let is_old = |record: &AuditRecord| record.at.as_millisecond() < oldest_ms;
                let Some(record) = record.filter(is_old) else {
                    break 'all;
                };
                last = AuditHead::of_lines([line.as_bytes()]).map(|head| (record.at, head));
                known += 1;
            }
            if rows.is_empty() {
                break;
            }
        }
        let Some((at, head)) = last else {
            return Ok(0);
        };
        let mut deed = Deed::new("retention", &By::service("retention.audit_days"));
        deed.removed = Some(Removed {
            day: day(at.as_millisecond()),
            through: head.number,
            sha256: head.sha256,
        });
        self.audit(&Entry::Begun(deed.into())).await?;
        self.db.rows(NO_AUDIT, &[&(head.number as i64)]).await?;
        Ok(known)
    }
}

fn ago(days: u32, now_ms: i64) -> i64 {
    now_ms - i64::from(days) * DAY_MS
}

/// When the first day begins of which something is kept that is kept for so many days.
fn oldest_ms(days: u32, now_ms: i64) -> i64 {
    ago(days, now_ms).div_euclid(DAY_MS) * DAY_MS
}

fn day(unix_ms: i64) -> String {
    let stamp = stamp(unix_ms);
    format!("{}-{}-{}", &stamp[..4], &stamp[4..6], &stamp[6..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_whole() {
        let noon_ms = 20_000 * DAY_MS + DAY_MS / 2;
        assert_eq!(oldest_ms(0, noon_ms), 20_000 * DAY_MS);
        assert_eq!(oldest_ms(3, noon_ms), 19_997 * DAY_MS);
        assert_eq!(day(20_000 * DAY_MS), "2024-10-04");
    }
}
