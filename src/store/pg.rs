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
mod drops;
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
mod retention;
mod runs;
mod schedules;
mod step;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

pub use check::BadAudit;
pub use db::Url;
pub use lives::KnownNode;
pub use migrate::Migrated;

use crate::{
    domain::{Ids, InterfaceName, JobId, KEY_BYTES, Kind, Place, UserName},
    store::{
        Result, StoreError,
        audit::Verified,
        events::Wants,
        fs::{Retention, Spool},
        scratch::{self, Scratch},
    },
};
use arc_swap::ArcSwap;
use db::Db;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::Notify, task::AbortHandle};

/// At a time, of one process.
const CONNECTIONS_MAX: usize = 8;
/// For the commands of a service before this one, which end when it does.
const ENDING: Duration = Duration::from_secs(30);
/// Of a store that is only looked at.
const NO_LIFE: i64 = 0;

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
    /// [`StoreError::Refused`] when they are newer than this program, or others.
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

    /// The nodes whose services work on this database, or have ended without a word, by their names.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Refused`] when the tables were not made.
    pub async fn nodes(&self) -> Result<Vec<KnownNode>> {
        migrate::check(&self.0).await?;
        lives::nodes(&self.0).await
    }

    /// Looks whether all records of the audit fit together; with a hash, or its beginning, that a record has that hash,
    /// and whether those after it fit.
    ///
    /// # Errors
    /// See [`StoreError`]; what does not fit is no error of the store.
    pub async fn verify_audit(&self, from: Option<String>) -> Result<Result<Verified, BadAudit>> {
        check::verify_audit(&self.0, from).await
    }

    /// The secret behind the ids and tokens of a tenant, the same for all that work on this database; it is made once.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the tables were not made, or the database is another tenant's.
    pub async fn key(&self, tenant: &str) -> Result<[u8; KEY_BYTES]> {
        let db = &self.0;
        migrate::check(db).await?;
        let make = "insert into tenant (one, name, key) values (true, $1, $2) on conflict (one) do nothing";
        let mut new = [0; KEY_BYTES];
        getrandom::fill(&mut new).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        db.rows(make, &[&tenant, &&new[..]]).await?;
        let row = db.row("select name, key from tenant", &[]).await?;
        let (name, key): (String, Vec<u8>) =
            row.map_or_else(Default::default, |row| (row.get(0), row.get(1)));
        if name != tenant {
            let text = format!(
                "the database is that of tenant {name}: give tenant {tenant} one of its own"
            );
            return Err(StoreError::Refused(text));
        }
        let key = key.try_into();
        key.map_err(|_| StoreError::Refused("the key in the database is none".into()))
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
    pub interfaces: BTreeMap<InterfaceName, InterfaceRules>,
    pub wants: Vec<Wants>,
    /// `None`: nothing is run, and nothing taken over.
    pub node: Option<Node>,
    /// The directories of this machine, where people put files that are to be jobs. `None`: there are none.
    pub spool: Option<Arc<Spool>>,
}

/// Where jobs are run.
#[derive(Debug)]
pub struct Node {
    /// A service takes the place of the one before it on the node of that name.
    pub name: String,
    /// A directory of this machine for the runs, which no other node has.
    pub scratch: PathBuf,
}

/// The engine: one life of a node, unless it is only to look and to act on what does not run. Dropped, it ends without a
/// word, as by a crash.
pub struct PgStore {
    inner: Arc<Inner>,
    beats: Option<AbortHandle>,
}

type IsUser = Box<dyn Fn(&UserName) -> bool + Send + Sync>;

struct Inner {
    db: Db,
    interfaces: ArcSwap<BTreeMap<InterfaceName, InterfaceRules>>,
    wants: ArcSwap<Vec<Wants>>,
    node: Option<Node>,
    spool: Option<Arc<Spool>>,
    /// Which names users have; until it is set, every name.
    users: OnceLock<IsUser>,
    life: i64,
    reached: lives::Reached,
    clock: lives::Clock,
    ids: Mutex<Ids>,
    hints: hints::Hints,
    leases: Arc<runs::Leases>,
    event_came: Notify,
    newest_event: Mutex<i64>,
    unhealthy: Mutex<Option<String>>,
}

impl PgStore {
    /// Begins a life of the node on a database whose tables were made, once the commands of the life before have ended.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot be used.
    pub async fn open(database: Database, options: Options) -> Result<Self> {
        let db = database.0;
        migrate::check(&db).await?;
        let clock = lives::Clock::of(&db).await?;
        let life = match &options.node {
            None => NO_LIFE,
            Some(node) => {
                clear(node).await?;
                lives::begin(&db, &node.name).await?
            }
        };
        let last =
            "select greatest((select max(id) from record), (select max(id) from schedule), 0)";
        let last: i64 = db.row(last, &[]).await?.map_or(0, |row| row.get(0));
        let mut ids = Ids::above(clock.now_ms() - 1);
        ids.note(JobId::from_number(known::count(last)));
        let inner = Arc::new(Inner {
            db,
            interfaces: ArcSwap::from_pointee(options.interfaces),
            wants: ArcSwap::from_pointee(options.wants),
            node: options.node,
            spool: options.spool,
            users: OnceLock::new(),
            life,
            reached: lives::Reached::default(),
            clock,
            ids: Mutex::new(ids),
            hints: hints::Hints::default(),
            leases: Arc::default(),
            event_came: Notify::new(),
            newest_event: Mutex::new(0),
            unhealthy: Mutex::default(),
        });
        let beats = match inner.node {
            None => None,
            Some(_) => {
                inner.serve().await?;
                inner.look_around().await?;
                let beats = tokio::spawn(lives::follow(Arc::downgrade(&inner)));
                Some(beats.abort_handle())
            }
        };
        Ok(Self { inner, beats })
    }

    /// Sets once how users are known. `is_user` may block.
    pub fn know_users(&self, is_user: impl Fn(&UserName) -> bool + Send + Sync + 'static) {
        // Set once, where the store is opened.
        let _ = self.inner.users.set(Box::new(is_user));
    }

    /// From now on has these interfaces, with their rules. What is under way goes on by those before.
    ///
    /// # Errors
    /// See [`StoreError`]: it has them all the same.
    pub async fn take_interfaces(
        &self,
        interfaces: BTreeMap<InterfaceName, InterfaceRules>,
    ) -> Result<()> {
        self.inner.interfaces.store(Arc::new(interfaces));
        self.inner.serve().await
    }

    /// Records events for these receivers from now on.
    pub fn take_receivers(&self, wants: Vec<Wants>) {
        self.inner.wants.store(Arc::new(wants));
    }

    /// Removes what has passed its time, but nothing that waits or runs. Gives what that was.
    ///
    /// # Errors
    /// See [`StoreError`]. What was removed until then stays so, and the next sweep goes on.
    pub async fn sweep(&self, keep: &Retention) -> Result<Vec<String>> {
        let inner = self.asked().await?;
        inner.sweep(keep, inner.now_ms()).await
    }

    /// Resolves when what runs here is to be ended, since the database was not reached for so long that others may
    /// soon take it over; as often as that happens.
    pub async fn out_of_reach(&self) {
        self.inner.reached.out_of_reach().await;
    }

    /// Ends the life in order: what it has left behind is taken over at once.
    ///
    /// # Errors
    /// See [`StoreError`]: then it ends in a while by itself.
    pub async fn close(&self) -> Result<()> {
        if let Some(beats) = &self.beats {
            beats.abort();
        }
        self.inner.give_back().await?;
        lives::end(&self.inner.db, self.inner.life).await
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
        if let Some(beats) = &self.beats {
            beats.abort();
        }
    }
}

/// Waits for what an earlier service on the node has left at work.
async fn clear(node: &Node) -> Result<()> {
    let dir = node.scratch.clone();
    let cleared = tokio::task::spawn_blocking(move || scratch::clear(&dir, ENDING)).await;
    let cleared = cleared.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let scratch = node.scratch.display();
    cleared
        .map_err(|error| StoreError::Refused(format!("the directory {scratch} for runs: {error}")))
}

impl Inner {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn is_addressed(&self, interface: &InterfaceName) -> bool {
        let interfaces = self.interfaces.load();
        interfaces
            .get(interface)
            .is_some_and(|rules| rules.addressed)
    }

    fn is_user(&self, user: &UserName) -> bool {
        self.users.get().is_none_or(|is_user| is_user(user))
    }

    /// What a document, which comes otherwise than by an upload, says that its job keeps its order by.
    fn order_key_of(&self, document: &[u8], kind: Kind, to: &InterfaceName) -> Option<String> {
        let spool = self.spool.as_ref()?;
        spool.order_key_of(document, kind, to)
    }

    /// Where runs work.
    fn scratch(&self) -> Result<Scratch> {
        let node = self.node.as_ref();
        let node = node.ok_or_else(|| StoreError::Refused("nothing is run here".into()))?;
        Scratch::new(&node.scratch).map_err(runs::no_scratch)
    }

    /// From when on an interface was served is noted.
    async fn serve(&self) -> Result<()> {
        let served = "insert into served (interface, since_ms) select name, $2 from unnest($1::text[]) as i(name) \
                      on conflict (interface) do nothing";
        let interfaces = self.interfaces.load_full();
        let names: Vec<String> = interfaces.keys().map(ToString::to_string).collect();
        self.db.rows(served, &[&names, &self.now_ms()]).await?;
        Ok(())
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
        for interface in self.interfaces.load_full().keys() {
            self.is_held(interface).await?;
        }
        self.hints.all_events(self.count_events().await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
