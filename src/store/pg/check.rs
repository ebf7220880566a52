//! Whether all that is kept fits together. The database looks at the documents itself.

use super::{
    Inner,
    db::Db,
    known::{count, parsed},
};
use crate::{
    domain::JobName,
    store::{
        Result,
        audit::{Chain, Misfit, Verified},
        check::{CheckProgress, Checked, Flaw, FlawKind},
    },
};

/// So many jobs are looked at by one statement.
const JOBS: i64 = 100;
const LINES: i64 = 1000;

const LOOK: &str = "
select r.id, r.name, j.id is not null, e.id is not null, d.id is not null,
  coalesce(encode(sha256(d.body), 'hex') <> r.sha256, false), r.removed_ms is not null
from record r left join job j on j.id = r.id left join ended e on e.id = r.id left join document d on d.id = r.id
where r.id > $1 order by r.id limit $2";
const OF_NO_JOB: &str = "select id::text, 'result' from result where not exists (select from ended where ended.id = result.id)
  union all select id::text, 'job' from job where not exists (select from record where record.id = job.id)
  union all select id::text, 'ended' from ended where not exists (select from record where record.id = ended.id)";

fn flaw(kind: FlawKind, job: Option<JobName>, at: &[&str], why: &str) -> Flaw {
    Flaw {
        kind,
        job,
        at: at.iter().map(ToString::to_string).collect(),
        why: why.to_owned(),
    }
}

impl Inner {
    pub(super) async fn check(&self, progress: &CheckProgress) -> Result<Checked> {
        let sql = "select (select count(*) from job) + (select count(*) from ended)";
        let jobs = self.db.row(sql, &[]).await?;
        progress.begin(jobs.map_or(0, |row| count(row.get::<_, i64>(0))));
        let mut checked = Checked::default();
        let mut last = -1_i64;
        loop {
            let rows = self.db.rows(LOOK, &[&last, &JOBS]).await?;
            let Some(row) = rows.last() else {
                break;
            };
            last = row.get(0);
            for row in &rows {
                let name: JobName = parsed(row.get(1))?;
                let [waits, ended, has_document, is_altered, is_removed] =
                    [2, 3, 4, 5, 6].map(|n| row.get::<_, bool>(n));
                if waits || ended {
                    checked.jobs += 1;
                    progress.advance();
                }
                let found = match (waits, ended, is_removed) {
                    (true, true, _) => Some((FlawKind::Doubled, "it waits and has ended")),
                    (false, false, false) => Some((FlawKind::Lost, "it is at no place")),
                    (false, false, true) => None,
                    _ if !has_document => Some((FlawKind::Lost, "its document is not there")),
                    _ if is_altered => Some((FlawKind::Altered, "its document is another one")),
                    _ => None,
                };
                let found = found.map(|(kind, why)| flaw(kind, Some(name), &["record"], why));
                checked.flaws.extend(found);
            }
        }
        for row in self.db.rows(OF_NO_JOB, &[]).await? {
            let (id, table): (&str, &str) = (row.get(0), row.get(1));
            let kind = match table {
                "result" => FlawKind::Results,
                _ => FlawKind::Unrecorded,
            };
            let why = format!("row {id} is of no job");
            checked.flaws.push(flaw(kind, None, &[table], &why));
        }
        checked.flaws.extend(self.check_audit().await?);
        Ok(checked)
    }

    async fn check_audit(&self) -> Result<Option<Flaw>> {
        let verified = verify_audit(&self.db, None).await?;
        Ok(verified.err().map(|bad| {
            let at = format!("audit {}", bad.number);
            flaw(FlawKind::Audit, None, &[&at], &bad.misfit.to_string())
        }))
    }
}

/// A record of the audit that does not fit to those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} of the audit: {misfit}")]
pub struct BadAudit {
    pub number: u64,
    pub misfit: Misfit,
}

/// As [`Chain::new`].
pub(super) async fn verify_audit(
    db: &Db,
    from: Option<String>,
) -> Result<Result<Verified, BadAudit>> {
    let sql = "select number, line from audit where number > $1 order by number limit $2";
    let (mut chain, mut last) = (Chain::new(from), 0_i64);
    loop {
        let rows = db.rows(sql, &[&last, &LINES]).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            last = row.get(0);
            if let Err(misfit) = chain.line(row.get::<_, &str>(1).as_bytes()) {
                let number = count(last);
                return Ok(Err(BadAudit { number, misfit }));
            }
        }
    }
    let number = count(last);
    Ok(chain.end().map_err(|misfit| BadAudit { number, misfit }))
}
