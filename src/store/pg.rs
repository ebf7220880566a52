//! The cluster engine: jobs and their documents in PostgreSQL.
//!
//! For those who outgrow one machine: several gateways, any of which may die, over a database that their operators run
//! or rent already.
//!
//! - One statement, or one transaction where a step is of several jobs, is one step of the state machine, and names the
//!   fence of the job that it saw: whoever saw it before another step changes nothing.
//! - Leases are by the database's clock.
//! - Statements are plain SQL: no procedures, no physical row ids, no advisory locks, and nothing depends on being
//!   notified.
//!
//! Invariant: what a call reports as done was committed, so it survives what the database survives.

mod db;
mod migrate;
mod probe;
#[cfg(test)]
mod testing;
mod tls;

pub use db::Url;
pub use migrate::Migrated;

use crate::store::Result;
use db::Db;

/// A database in which a store is, or is to be.
pub struct Database(Db);

impl Database {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When it cannot be used as its URL says.
    pub fn new(url: Url) -> Result<Self> {
        Ok(Self(Db::new(url, CONNECTIONS_MAX)?))
    }

    /// Brings the tables to the form that this program uses. It is done as a whole or not at all, and once, however
    /// many do it.
    ///
    /// # Errors
    /// [`StoreError::Refused`](crate::store::StoreError::Refused) when they are newer than this program, or others.
    pub async fn migrate(&self) -> Result<Migrated> {
        migrate::migrate(&self.0).await
    }

    /// Looks whether the tables have the form that this program uses, and tries whether the database keeps what the
    /// engine builds on; that leaves nothing behind. Gives what operators should know although it does.
    ///
    /// # Errors
    /// What is not so, and what to do.
    pub async fn check(&self) -> Result<Vec<String>> {
        migrate::check(&self.0).await?;
        probe::probe(&self.0).await
    }
}

/// At a time, of one process.
const CONNECTIONS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;
    use testing::Server;

    fn database(server: &Server, name: &str) -> Database {
        let no_tls = || Err("it is no server of the network".into());
        let url = Url::new(server.url(name).as_bytes(), no_tls);
        Database::new(url.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn those_who_migrate_at_once_do_it_once() {
        let Some(server) = Server::of_tests() else {
            return;
        };
        let name = server.create("template1");
        let checked = database(server, &name).check().await;
        let why = checked.unwrap_err().to_string();
        assert!(why.contains("run `spoolgate store migrate`"), "{why}");
        let all: Vec<Database> = (0..4).map(|_| database(server, &name)).collect();
        let done = futures_util::future::join_all(all.iter().map(Database::migrate)).await;
        let done: Vec<Migrated> = done.into_iter().map(Result::unwrap).collect();
        let version = done[0].version;
        assert!(done.iter().all(|done| done.version == version), "{done:?}");
        let now: usize = done.iter().map(|done| done.now).sum();
        assert_eq!(now, version, "{done:?}");
        let noted = all[0].check().await.unwrap();
        assert!(noted[0].contains("no standby is synchronous"), "{noted:?}");
        // Trying it has left nothing.
        let left = all[0].0.row("select count(*) from probe", &[]).await;
        assert_eq!(left.unwrap().unwrap().get::<_, i64>(0), 0);
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_left_alone() {
        let Some(server) = Server::of_tests() else {
            return;
        };
        let database = database(server, &server.create("template1"));
        let version = database.migrate().await.unwrap().version as i32 + 1;
        let newer = "insert into schema_version (version, sha256) values ($1, 'x') returning 1";
        assert!(database.0.does(newer, &[&version]).await.unwrap());
        for refused in [
            database.migrate().await.map(drop),
            database.check().await.map(drop),
        ] {
            let why = refused.unwrap_err();
            assert!(matches!(why, StoreError::Refused(_)), "{why:?}");
            assert!(why.to_string().contains("use a newer program"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("host={} user=ada password=s3cret", dir.path().display());
        let url = Url::new(url.as_bytes(), || Err("unused".into())).unwrap();
        let database = Database::new(url).unwrap();
        let away = database.migrate().await.unwrap_err();
        assert!(
            matches!(&away, StoreError::Unavailable(why) if !why.contains("s3cret")),
            "{away}"
        );
    }
}
