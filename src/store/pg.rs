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

mod accept;
mod activity;
mod audit;
mod check;
mod db;
mod engine;
mod events;
mod hints;
mod known;
mod list;
mod lives;
mod look;
mod migrate;
#[cfg(test)]
mod node_tests;
mod operators;
mod probe;
mod runs;
mod schedules;
mod step;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

pub use db::Url;
pub use migrate::Migrated;

use crate::{
    domain::{Ids, InterfaceName, JobId, Place, UserName},
    store::{Result, events::Wants},
};
use db::Db;
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};
use tokio::{sync::Notify, task::AbortHandle};

/// At a time, of one process.
const CONNECTIONS_MAX: usize = 8;

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

/// How jobs of an interface are handled.
#[derive(Clone, Debug)]
pub struct InterfaceRules {
    pub attempts_max: u32,
    /// What was cut off is not tried again.
    pub at_most_once: bool,
    /// Its jobs are for one user each.
    pub addressed: bool,
}

/// What a store is to know.
pub struct Options {
    /// What this machine is called: a service on it takes the place of the one before.
    pub node: String,
    pub interfaces: BTreeMap<InterfaceName, InterfaceRules>,
    pub wants: Vec<Wants>,
    pub is_user: Box<dyn Fn(&UserName) -> bool + Send + Sync>,
    /// A directory for the runs.
    pub scratch: PathBuf,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.interfaces.keys();
        write!(f, "Options({}, {:?})", self.node, names.collect::<Vec<_>>())
    }
}

/// The engine: one life of a node. Dropped, it ends without a word, as by a crash.
pub struct PgStore {
    inner: Arc<Inner>,
    beats: AbortHandle,
}

struct Inner {
    db: Db,
    options: Options,
    life: i64,
    clock: lives::Clock,
    ids: Mutex<Ids>,
    hints: hints::Hints,
    leases: Arc<runs::Leases>,
    event_came: Notify,
    newest_event: Mutex<i64>,
    unhealthy: Mutex<Option<String>>,
}

impl PgStore {
    /// Begins a life of the node on a database whose tables were made.
    ///
    /// # Errors
    /// [`StoreError::Refused`](crate::store::StoreError::Refused) when it cannot be used.
    pub async fn open(database: Database, options: Options) -> Result<Self> {
        let db = database.0;
        migrate::check(&db).await?;
        let clock = lives::Clock::of(&db).await?;
        let life = lives::begin(&db, &options.node).await?;
        let served = "insert into served (interface, since_ms) select name, $2 from unnest($1::text[]) as i(name) \
                      on conflict (interface) do nothing";
        let names: Vec<String> = options.interfaces.keys().map(ToString::to_string).collect();
        db.rows(served, &[&names, &clock.now_ms()]).await?;
        let last =
            "select greatest((select max(id) from record), (select max(id) from schedule), 0)";
        let last: i64 = db.row(last, &[]).await?.map_or(0, |row| row.get(0));
        let mut ids = Ids::above(clock.now_ms() - 1);
        ids.note(JobId::from_number(known::count(last)));
        let inner = Arc::new(Inner {
            db,
            options,
            life,
            clock,
            ids: Mutex::new(ids),
            hints: hints::Hints::default(),
            leases: Arc::default(),
            event_came: Notify::new(),
            newest_event: Mutex::new(0),
            unhealthy: Mutex::default(),
        });
        inner.look_around().await?;
        let beats = tokio::spawn(lives::follow(Arc::downgrade(&inner)));
        Ok(Self {
            inner,
            beats: beats.abort_handle(),
        })
    }

    /// How many statements there have been.
    #[cfg(test)]
    pub(crate) fn statements(&self) -> u64 {
        self.inner.db.statements()
    }

    /// What the database is asked by: what was dropped meanwhile has been given back.
    async fn asked(&self) -> Result<&Inner> {
        self.inner.give_back().await?;
        Ok(&self.inner)
    }
}

impl Drop for PgStore {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

impl Inner {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn is_addressed(&self, interface: &InterfaceName) -> bool {
        let rules = self.options.interfaces.get(interface);
        rules.is_some_and(|rules| rules.addressed)
    }

    /// Learns what waits.
    async fn look_around(&self) -> Result<()> {
        let sql = "select name, interface, priority, worker, submitter, order_key from job where place = 'queue'";
        for row in self.db.rows(sql, &[]).await? {
            let (name, precedence) = runs::waiting(&row)?;
            let to = Place::Queue(known::parsed::<InterfaceName>(row.get(1))?.into());
            self.hints
                .moved(&name, &Place::Refused, Some(&to), || precedence);
        }
        for interface in self.options.interfaces.keys() {
            self.is_held(interface).await?;
        }
        self.hints.all_events(self.count_events().await?);
        Ok(())
    }
}

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
