//! Whether a database keeps what the engine builds on.

use super::db::{Db, Param};
use crate::store::{Result, StoreError};
use futures_util::future::join_all;

/// Each setting, what is wrong with it, and what it must not be.
const DEADLY: [(&str, &str, &str); 2] = [
    ("fsync", "off", "a power cut can take what was acknowledged"),
    (
        "full_page_writes",
        "off",
        "a power cut can leave torn pages",
    ),
];
const SETTINGS: &str = "select current_setting('server_version_num')::int8, current_setting('fsync'), \
     current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery(), \
     current_setting('synchronous_standby_names')";
/// The first whose statements are all there.
const VERSION_MIN: i64 = 130_000;
const RACERS: usize = 4;

/// Tries it, and leaves nothing behind. Gives what operators should know although it does.
pub(super) async fn probe(db: &Db) -> Result<Vec<String>> {
    let noted = settings(db).await?;
    let key = getrandom::u64().map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let key = format!("{key:016x}");
    let tried = trial(db, &key).await;
    db.rows("delete from probe where key = $1", &[&key]).await?;
    tried?;
    Ok(noted)
}

async fn settings(db: &Db) -> Result<Vec<String>> {
    let row = db.row(SETTINGS, &[]).await?;
    let row = row.ok_or_else(|| not_kept("it does not say how it is set"))?;
    let version: i64 = row.get(0);
    if version < VERSION_MIN {
        return Err(not_kept("PostgreSQL 13 or later is needed"));
    }
    for (n, (name, wrong, why)) in (1..).zip(DEADLY) {
        if row.get::<_, String>(n) == wrong {
            return Err(not_kept(&format!(
                "{name} is {wrong}, so {why}: set it to on"
            )));
        }
    }
    let commit: String = row.get(3);
    if commit == "off" {
        let text =
            "synchronous_commit is off, so a crash can take what was acknowledged: set it to on";
        return Err(not_kept(text));
    }
    if row.get(4) {
        return Err(not_kept(
            "it is a standby, which takes no jobs: name the primary",
        ));
    }
    let standbys: String = row.get(5);
    let mut noted = Vec::new();
    if standbys.is_empty() {
        let text = "no standby is synchronous: when the machine of the database is lost, the last jobs are";
        noted.push(text.into());
    } else if commit == "local" {
        let text = "synchronous_commit is local: standbys are not waited for";
        noted.push(text.into());
    }
    Ok(noted)
}

/// Of those who make one row at once one does it, a stale fence changes nothing, and others see what was done.
async fn trial(db: &Db, key: &str) -> Result<()> {
    let make =
        "insert into probe (key, fence) values ($1, 1) on conflict (key) do nothing returning 1";
    let mut made = 0;
    let params: [Param<'_>; 1] = [&key];
    for one in join_all((0..RACERS).map(|_| db.does(make, &params))).await {
        made += usize::from(one?);
    }
    if made != 1 {
        return Err(not_kept(
            "of several who made one row at once not one alone did",
        ));
    }
    let step = "update probe set fence = fence + 1 where key = $1 and fence = $2 returning 1";
    for (fence, expected) in [(1_i64, true), (1, false), (2, true)] {
        if db.does(step, &[&key, &fence]).await? != expected {
            return Err(not_kept(
                "a step by a stale fence was done, or one by the newest was not",
            ));
        }
    }
    Ok(())
}

fn not_kept(why: &str) -> StoreError {
    StoreError::Refused(format!("the database cannot keep the store: {why}"))
}
