//! The life of a service on a node: who has it follows the runs that it has begun, as long as it lasts by the database's
//! clock. A node has one at a time; the next one ends the one before it.

use super::{Inner, db::Db, known::count};
use crate::store::{Result, StoreError};
use parking_lot::Mutex;
use std::{
    sync::{
        Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long a life lasts unless it is prolonged.
const LASTS_S: f64 = 30.0;
const BEAT: Duration = Duration::from_secs(5);
/// After so long without an answer what runs is to end, with a beat and the grace of commands in hand.
const TRUSTED: Duration = Duration::from_secs(15);

const BEGIN: &str = "
insert into life (node, life, until)
values ($1, nextval('life_number'), clock_timestamp() + make_interval(secs => $2))
on conflict (node) do update set life = excluded.life, until = excluded.until returning life";
const PROLONG: &str = "
update life set until = clock_timestamp() + make_interval(secs => $2) where life = $1 returning 1";
const END: &str = "delete from life where life = $1 returning 1";
const CLOCK: &str = "select (extract(epoch from clock_timestamp()) * 1000)::int8";
/// Sums of sums, so that what is counted stays few.
const GATHER: &str = "
with gone as (delete from ended_count returning place, interface, jobs)
insert into ended_count (place, interface, jobs)
select place, interface, sum(jobs)::int8 from gone group by place, interface having sum(jobs) <> 0";

/// What is known of the nodes.
const NODES: &str = "
select l.node, l.until > (select clock_timestamp()), (extract(epoch from l.until) * 1000)::int8,
  (select count(*) from job j where j.place = 'work' and j.life = l.life)
from life l order by l.node";

/// A node whose service has not ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode {
    pub name: String,
    /// Its life lasts. Otherwise others take over what it ran.
    pub is_alive: bool,
    /// When it was heard of last, by the database's clock, in milliseconds of the Unix epoch.
    pub heard_ms: i64,
    /// Jobs of which it has the runs.
    pub running: u64,
}

/// The database's clock, as this process knows it. It never goes back.
pub(super) struct Clock {
    begun: Instant,
    /// What it showed then.
    at_begin_ms: Mutex<i64>,
    latest_ms: AtomicI64,
}

impl Clock {
    pub(super) async fn of(db: &Db) -> Result<Self> {
        let clock = Self {
            begun: Instant::now(),
            at_begin_ms: Mutex::new(0),
            latest_ms: AtomicI64::new(0),
        };
        clock.set(db).await?;
        Ok(clock)
    }

    /// Sets it by the database's.
    async fn set(&self, db: &Db) -> Result<()> {
        let before = self.begun.elapsed();
        let row = db.row(CLOCK, &[]).await?;
        let shown_ms: i64 = row.map_or(0, |row| row.get(0));
        // It was looked at in between.
        let middle = (before + self.begun.elapsed()) / 2;
        *self.at_begin_ms.lock() = shown_ms - millis(middle);
        Ok(())
    }

    pub(super) fn now_ms(&self) -> i64 {
        let now_ms = *self.at_begin_ms.lock() + millis(self.begun.elapsed());
        self.latest_ms
            .fetch_max(now_ms, Ordering::Relaxed)
            .max(now_ms)
    }
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

/// Begins a life of a node.
pub(super) async fn begin(db: &Db, node: &str) -> Result<i64> {
    let row = db.row(BEGIN, &[&node, &LASTS_S]).await?;
    let number = row.map(|row| row.get(0));
    number.ok_or_else(|| StoreError::Unavailable("the database began no life".into()))
}

/// Ends a life.
pub(super) async fn end(db: &Db, life: i64) -> Result<()> {
    db.rows(END, &[&life]).await.map(drop)
}

/// The nodes by their names.
pub(super) async fn nodes(db: &Db) -> Result<Vec<KnownNode>> {
    let rows = db.rows(NODES, &[]).await?;
    let nodes = rows.iter().map(|row| KnownNode {
        name: row.get(0),
        is_alive: row.get(1),
        heard_ms: row.get::<_, i64>(2) - (LASTS_S * 1000.0) as i64,
        running: count(row.get::<_, i64>(3)),
    });
    Ok(nodes.collect())
}

/// Whether the database was reached lately.
#[derive(Default)]
pub(super) struct Reached(Notify);

impl Reached {
    pub(super) async fn out_of_reach(&self) {
        self.0.notified().await;
    }
}

/// Prolongs a life as long as its store is there, and does what is to be done now and then.
pub(super) async fn follow(store: Weak<Inner>) {
    let mut prolonged = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(inner) = store.upgrade() else {
            return;
        };
        // The life is prolonged from then on at least.
        let asked = tokio::time::Instant::now();
        let beat = inner.beat();
        tokio::pin!(beat);
        let beaten = tokio::select! {
            beaten = &mut beat => beaten,
            () = tokio::time::sleep_until(prolonged + TRUSTED) => {
                inner.reached.0.notify_one();
                beat.await
            }
        };
        match beaten {
            Ok(true) => prolonged = asked,
            Ok(false) => {
                inner.reached.0.notify_one();
                return;
            }
            // What cannot be done now is done by the next beat.
            Err(_) => {}
        }
    }
}

impl Inner {
    /// False: another service has taken the node's place.
    async fn beat(&self) -> Result<bool> {
        if !self.db.does(PROLONG, &[&self.life, &LASTS_S]).await? {
            *self.unhealthy.lock() = Some(self.replaced());
            return Ok(false);
        }
        self.clock.set(&self.db).await?;
        self.give_back().await?;
        self.db.rows(GATHER, &[]).await?;
        let waiting = self.count_events().await?;
        self.hints.all_events(waiting);
        Ok(true)
    }

    pub(super) async fn health(&self) -> Result<()> {
        let sql = "select count(*) from life where life = $1";
        let row = self.db.row(sql, &[&self.life]).await?;
        let is_there = row.is_some_and(|row| count(row.get::<_, i64>(0)) > 0);
        match (
            is_there || self.node.is_none(),
            self.unhealthy.lock().clone(),
        ) {
            (true, None) => Ok(()),
            (_, why) => Err(StoreError::Unhealthy(
                why.unwrap_or_else(|| self.replaced()),
            )),
        }
    }

    fn replaced(&self) -> String {
        let node = self.node.as_ref().map_or("", |node| &node.name);
        format!("another service is node {node} now")
    }
}
