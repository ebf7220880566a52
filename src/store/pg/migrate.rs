//! Migrations: embedded, forward only, each done once, by whoever comes first.
//!
//! A schema that is newer than this program is refused, and one whose past is another.

use super::db::{Db, meaning};
use crate::store::{Result, StoreError};
use deadpool_postgres::GenericClient;
use sha2::{Digest, Sha256};

/// In the order in which they are done: the version of the schema is how many of them were.
const ALL: [&str; 3] = [
    include_str!("migrations/0001_tables.sql"),
    include_str!("migrations/0002_tenant.sql"),
    include_str!("migrations/0003_dropped.sql"),
];

const VERSIONS: &str = "create table if not exists schema_version (
       version int4 primary key, sha256 text not null, applied timestamptz not null default clock_timestamp());
     insert into schema_version (version, sha256) values (0, '') on conflict (version) do nothing";
/// Those who come at the same time wait here.
const TURN: &str = "set local statement_timeout = 0; set local lock_timeout = '60s';
     select 1 from schema_version where version = 0 for update";
const DONE: &str = "select version, sha256 from schema_version where version > 0 order by version";
const NOTE: &str = "insert into schema_version (version, sha256) values ($1, $2)";

/// How far a schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub version: usize,
    /// Migrations that were done for that now.
    pub now: usize,
}

/// Brings the schema to this program's version, in one step.
pub(super) async fn migrate(db: &Db) -> Result<Migrated> {
    let mut client = db.client().await?;
    // Of two who make a table at once one is told that it is there.
    if client.batch_execute(VERSIONS).await.is_err() {
        let again = client.batch_execute(VERSIONS).await;
        again.map_err(|error| meaning(&error))?;
    }
    let step = async {
        let transaction = client.transaction().await?;
        transaction.batch_execute(TURN).await?;
        let before = match done(&transaction).await? {
            Ok(before) => before,
            Err(refused) => return Ok(Err(refused)),
        };
        for (version, text) in (1_i32..).zip(ALL).skip(before) {
            transaction.batch_execute(text).await?;
            transaction
                .execute(NOTE, &[&version, &sha256(text)])
                .await?;
        }
        transaction.commit().await?;
        Ok(Ok(ALL.len() - before))
    };
    let now = step.await.map_err(|error| meaning(&error))??;
    Ok(Migrated {
        version: ALL.len(),
        now,
    })
}

/// Is the schema this program's?
pub(super) async fn check(db: &Db) -> Result<()> {
    let there = db.row("select to_regclass('schema_version') is not null", &[]);
    let is_there = there.await?.is_some_and(|row| row.get(0));
    let before = match is_there {
        false => 0,
        true => {
            let client = db.client().await?;
            let done = done(&client).await;
            done.map_err(|error| meaning(&error))??
        }
    };
    match ALL.len() - before {
        0 => Ok(()),
        missing => Err(StoreError::Refused(format!(
            "the schema of the store has version {before}, and {missing} migrations are to be done: \
             run `spoolgate store migrate`"
        ))),
    }
}

/// How many migrations were done. The inner error: they were others.
async fn done(client: &impl GenericClient) -> Result<Result<usize>, tokio_postgres::Error> {
    let there = client.query(DONE, &[]).await?;
    let past: Vec<(i32, String)> = there.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(fits(&past, &ALL))
}

/// How many of these migrations the past has.
fn fits(past: &[(i32, String)], all: &[&str]) -> Result<usize> {
    if past.len() > all.len() {
        return Err(StoreError::Refused(format!(
            "the schema of the store has version {}, this program's is {}: use a newer program",
            past.len(),
            all.len()
        )));
    }
    for ((version, text), (done, hash)) in (1..).zip(all).zip(past) {
        if (version, sha256(text)) != (*done, hash.clone()) {
            return Err(StoreError::Refused(format!(
                "migration {done} of the store was another one than this program's: they are not of one line"
            )));
        }
    }
    Ok(past.len())
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_is_taken_up_unless_it_is_newer_or_another() {
        let all = ["a", "b"];
        let past = |texts: &[&str]| -> Vec<(i32, String)> {
            let texts = texts.iter().map(|text| sha256(text));
            (1..).zip(texts).collect()
        };
        assert_eq!(fits(&[], &all), Ok(0));
        assert_eq!(fits(&past(&["a"]), &all), Ok(1));
        assert_eq!(fits(&past(&["a", "b"]), &all), Ok(2));
        let why = |texts: &[&str]| fits(&past(texts), &all).unwrap_err().to_string();
        assert!(why(&["a", "b", "c"]).contains("version 3, this program's is 2"));
        assert!(why(&["b"]).contains("migration 1 of the store was another one"));
        let with_a_gap = [(2, sha256("b"))];
        assert!(fits(&with_a_gap, &all).is_err());
    }
}
