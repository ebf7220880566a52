//! The audit: lines of a chain, one row each.

use super::{Inner, known::count};
use crate::store::{
    Result,
    audit::{AuditHead, AuditRecord, Entry},
};

const NEWEST: &str = "select number, line from audit order by number desc limit $1";
/// Of those who record something at once one is the next, and the others look again.
const APPEND: &str =
    "insert into audit (number, line) values ($1, $2) on conflict (number) do nothing returning 1";

impl Inner {
    pub(super) async fn audit(&self, entry: &Entry) -> Result<u64> {
        loop {
            let head = self.audit_head().await?;
            let head = head.unwrap_or_else(AuditHead::nothing);
            let (next, line) = head.next(entry, self.now_ms());
            let number = next.number as i64;
            if self.db.does(APPEND, &[&number, &line]).await? {
                return Ok(next.number);
            }
        }
    }

    pub(super) async fn audit_head(&self) -> Result<Option<AuditHead>> {
        let row = self.db.row(NEWEST, &[&1_i64]).await?;
        Ok(row.and_then(|row| {
            let line: &str = row.get(1);
            let head = AuditHead::of_lines([line.as_bytes()]);
            head.map(|head| AuditHead {
                number: count(row.get::<_, i64>(0)),
                ..head
            })
        }))
    }

    pub(super) async fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.rows(NEWEST, &[&limit]).await?;
        let lines = rows
            .iter()
            .rev()
            .map(|row| row.get::<_, &str>(1).as_bytes());
        Ok(lines.filter_map(AuditRecord::from_line).collect())
    }
}
