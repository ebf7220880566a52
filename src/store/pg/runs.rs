//! Runs: claims, and how they end. A lease is of a life of this node; what other lives have left behind is taken over
//! under a fence of its own, by the database's clock.

use super::{
    Inner,
    accept::{Made, New},
    db::{is_doubled, meaning},
    known::{End, Known, id_of, known, parsed, parsed_if, priority},
    look::gone,
    step::Step,
};
use crate::{
    domain::joblog::{Level, Message, Status},
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, Reference, Transition, UserName},
    store::document::Document,
    store::{
        AttemptEnd, By, Came, Claimed, Interrupted, Lease, LeftBehind, NewJob, NewName, Precedence,
        Result, RunLog, Settled, Settlement, StoreError, Waiting, Workspace,
        events::EventKind,
        run::queue_of_emitted,
        scratch::{Emitted, Left, Scratch},
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_postgres::Row;

/// How often a step is tried that others come before.
const TRIES_MAX: u32 = 8;
/// Of what a processor has said, so much is shown while it runs.
const SAID_BYTES_MAX: u64 = 4 << 20;

const TAKE_OVER: &str = "
with taken as (update job set fence = fence + 1, life = $2 where place = 'work' and interface = $1
    and (life = $2 and not id = any($3)
      or not exists (select from life where life.life = job.life and life.until > clock_timestamp()))
  returning id)
select id from taken";
const WAITING: &str = "
select name, interface, priority, worker, submitter, order_key, case when place = 'deferred' then due_ms end
from job where interface = $1 and place in ('queue', 'deferred') order by id";
const RUNS: &str = known!("false", "r.id = any($1)");

/// The leases of this process.
#[derive(Default)]
pub(super) struct Leases {
    /// The ids of their jobs, with where what is said is kept. While claims race for a job, it has several.
    held: Mutex<BTreeMap<u64, (i64, PathBuf)>>,
    number: AtomicU64,
    /// Those that were dropped before anything began.
    given_back: Mutex<Vec<(JobName, i64)>>,
}

/// As long as it is there, this process follows the job.
struct Hold {
    leases: Arc<Leases>,
    number: u64,
}

impl Hold {
    fn new(leases: &Arc<Leases>, job: &JobName, output: PathBuf) -> Self {
        let number = leases.number.fetch_add(1, Ordering::Relaxed);
        leases.held.lock().insert(number, (id_of(job), output));
        Self {
            leases: leases.clone(),
            number,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.held.lock().remove(&self.number);
    }
}

/// What a [`Lease`] of this engine holds.
pub(super) struct Held {
    hold: Hold,
    job: JobName,
    fence: i64,
    works: bool,
    scratch: Scratch,
    settled: tokio::sync::Mutex<Option<Settled>>,
}

/// A document that a processor has made for a queue.
struct Out {
    to: Queue,
    file: String,
    document: Bytes,
}

impl Drop for Held {
    fn drop(&mut self) {
        let is_settled = self.settled.get_mut().is_some();
        if !is_settled && !self.works {
            let job = self.job.clone();
            self.hold.leases.given_back.lock().push((job, self.fence));
        }
    }
}

impl Leases {
    fn ids(&self) -> Vec<i64> {
        self.held.lock().values().map(|(id, _)| *id).collect()
    }

    /// Where what is said of a job is kept.
    fn output(&self, job: &JobName) -> Option<PathBuf> {
        let held = self.held.lock();
        let mut of_job = held.values().filter(|(id, _)| *id == id_of(job));
        of_job.next().map(|(_, output)| output.clone())
    }

    /// Does a lease of this process hold it?
    pub(super) fn hold(&self, job: &JobName) -> bool {
        self.output(job).is_some()
    }
}

pub(super) fn no_scratch(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("there is no directory for the run: {error}"))
}

/// A job that waits, and when it is taken.
pub(super) fn waiting(row: &Row) -> Result<(JobName, Precedence)> {
    let submitter: &str = row.get(4);
    let order_key: Option<&str> = row.get(5);
    let precedence = Precedence {
        priority: priority(row.get(2)),
        worker: parsed_if(row.get(3))?,
        submitter: (!submitter.is_empty()).then(|| submitter.into()),
        order_key: order_key.map(Into::into),
    };
    Ok((parsed(row.get(0))?, precedence))
}

impl Inner {
    pub(super) async fn waiting_jobs(&self, interface: &InterfaceName) -> Result<Waiting> {
        let mut found = Waiting {
            held: self.is_held(interface).await?,
            ..Waiting::default()
        };
        for row in self.db.rows(WAITING, &[&interface.as_str()]).await? {
            let (name, precedence) = waiting(&row)?;
            match row.get::<_, Option<i64>>(6) {
                None => found.ready.push((name, Some(precedence))),
                Some(due_ms) => found.deferred.push((due_ms, name, Some(precedence))),
            }
        }
        let in_turn = |a: &(i64, JobName, _), b: &(i64, JobName, _)| (a.0, &a.1).cmp(&(b.0, &b.1));
        found.deferred.sort_unstable_by(in_turn);
        let ready = found.ready.iter().cloned();
        let ready = ready.filter_map(|(name, precedence)| Some((name, precedence?)));
        self.hints.queue(interface, ready);
        Ok(found)
    }

    /// Is it for nobody to touch, since somebody works on it?
    pub(super) fn is_followed(&self, known: &Known) -> bool {
        match known.life {
            Some(life) if life == self.life => self.leases.hold(&known.name),
            Some(_) => known.lives,
            None => false,
        }
    }

    /// Jobs whose leases were dropped before anything began wait again.
    pub(super) async fn give_back(&self) -> Result<()> {
        let given = std::mem::take(&mut *self.leases.given_back.lock());
        for (n, (job, fence)) in given.iter().enumerate() {
            let done = self.release(job, *fence).await;
            if let Err(error) = done {
                let rest = given[n..].iter().cloned();
                self.leases.given_back.lock().extend(rest);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn release(&self, job: &JobName, fence: i64) -> Result<()> {
        let known = self.known(job).await?;
        let Some(known) = known.filter(|known| known.fence == fence) else {
            return Ok(());
        };
        let mut step = Step::by(&known, &Transition::Release, self.now_ms())?;
        step.attempts = known.attempts.saturating_sub(1);
        self.step(&step).await.map(drop)
    }

    fn lease(&self, known: &Known, fence: i64, works: bool, of: (Hold, Scratch)) -> Result<Lease> {
        let interface = known.interface.clone().ok_or_else(|| gone(&known.name))?;
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(&interface);
        let attempts_max = rules.map_or(1, |rules| rules.attempts_max);
        let (hold, scratch) = of;
        let held = Held {
            hold,
            job: known.name.clone(),
            fence,
            works,
            scratch,
            settled: tokio::sync::Mutex::default(),
        };
        let mut lease = Lease::new(
            known.name.clone(),
            interface,
            known.attempts,
            Arc::new(held),
        );
        let retries = known.new.options.retries;
        lease.attempts_max = retries.map_or(attempts_max, |retries| retries.saturating_add(1));
        lease.repeats = retries.is_some();
        lease.submitter.clone_from(&known.new.submitter);
        lease
            .reference_as_sent
            .clone_from(&known.new.reference_as_sent);
        Ok(lease)
    }

    pub(super) async fn claim(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Claimed> {
        if self.is_held(interface).await? {
            return Ok(Claimed::Gone);
        }
        let waits = |known: &Known| {
            let is_there =
                |queue: &Queue| queue.interface == *interface && queue.addressee.is_none();
            matches!(&known.place, Place::Queue(queue) if is_there(queue))
        };
        let Some(mut known) = self.known(job).await?.filter(waits) else {
            return Ok(Claimed::Gone);
        };
        let Some(document) = self.document(job).await? else {
            return Ok(Claimed::Gone);
        };
        let scratch = self.scratch()?;
        let params = known.new.options.params.clone();
        let workspace = scratch.workspace(job, &document, params.as_deref());
        let workspace: Workspace = workspace.map_err(no_scratch)?;
        let attempt = known.attempts + 1;
        let mut step = Step::by(&known, &Transition::Claim { attempt }, self.now_ms())?;
        step.attempts = attempt;
        step.started_ms = Some(step.at_ms);
        step.life = Some(self.life);
        step.works = works;
        // Before it is taken, so that it is never thought to be left behind.
        let hold = Hold::new(&self.leases, job, scratch.output());
        if !self.step(&step).await? {
            return Ok(Claimed::Gone);
        }
        known.attempts = attempt;
        let lease = self.lease(&known, known.fence + 1, works, (hold, scratch))?;
        Ok(Claimed::Taken(lease, Box::new(workspace)))
    }

    pub(super) async fn settle(
        &self,
        held: &Held,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        let mut settled = held.settled.lock().await;
        if let Some(settled) = &*settled {
            return Ok(settled.clone());
        }
        if !Arc::ptr_eq(&held.hold.leases, &self.leases) {
            return Ok(Settled::Fenced);
        }
        let now = self.settle_once(held, what, log).await?;
        *settled = Some(now.clone());
        Ok(now)
    }

    pub(super) fn check_output(&self, held: &Held, submitter: &str) -> Result<Option<String>> {
        let (left, said) = held.scratch.check()?;
        self.addressed(left.emitted, submitter)?;
        Ok(said)
    }

    /// To whom that goes what the processor of a job of this submitter has emitted.
    fn addressed(&self, emitted: Vec<Emitted>, submitter: &str) -> Result<Vec<Out>> {
        let interfaces = self.interfaces.load();
        let mut all = Vec::new();
        for Emitted { to, dir, files } in emitted {
            let Some(rules) = interfaces.get(&to) else {
                let text = format!(
                    "the processor emitted to {:?}, which is no interface",
                    to.as_str()
                );
                return Err(StoreError::Refused(text));
            };
            let (is_addressed, is_user) = (rules.addressed, |user: &UserName| self.is_user(user));
            let to = queue_of_emitted(&to, dir.as_deref(), is_addressed, submitter, is_user);
            let to = to.map_err(StoreError::Refused)?;
            all.extend(files.into_iter().map(|(file, document)| Out {
                to: to.clone(),
                file,
                document,
            }));
        }
        Ok(all)
    }

    /// The same, whether or not this process has heard that it was settled.
    pub(super) async fn settle_once(
        &self,
        held: &Held,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        let left = match what {
            Settlement::Done => held.scratch.left()?,
            Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => {
                Left::default()
            }
        };
        let Some(known) = self.known(&held.job).await? else {
            return Ok(Settled::Fenced);
        };
        if known.settled == Some(held.fence) {
            // Whoever settled it did not hear so.
            let emitted = self.emitted(&known.name, held.fence).await?;
            return Ok(Settled::Done { emitted });
        }
        if known.fence != held.fence {
            return Ok(Settled::Fenced);
        }
        let out = self.addressed(left.emitted, &known.new.submitter)?;
        let mut step = end_of_run(&known, what, log, self.now_ms())?;
        step.settled = Some(held.fence);
        if !left.variables.is_empty() {
            step.variables = serde_json::to_string(&left.variables).ok();
        }
        let kind = match (&step.to, step.end) {
            (Some(Place::Bak(_)), _) => Some(EventKind::JobDone),
            (Some(Place::JobErrors), End::Failed) => Some(EventKind::JobFailed),
            (Some(_) | None, _) => None,
        };
        if let Some(kind) = kind {
            let reason = step.reason().map(str::to_owned);
            step.events = self.report(kind, &known, reason.as_deref(), |event| event);
        }
        let made = match left.results.is_empty() && out.is_empty() {
            true => self.step(&step).await?.then(Vec::new),
            false => {
                let files = (&left.results, &*out);
                self.publish(&step, &known, held.fence, files).await?
            }
        };
        Ok(made.map_or(Settled::Fenced, |emitted| Settled::Done { emitted }))
    }

    /// The step with what the processor made, in one transaction. `None`: another step came before it.
    async fn publish(
        &self,
        step: &Step<'_>,
        known: &Known,
        fence: i64,
        files: (&BTreeMap<String, Bytes>, &[Out]),
    ) -> Result<Option<Vec<Job>>> {
        let mut tries = 0;
        loop {
            match self.published(step, known, fence, files).await {
                Err(error) if is_doubled(&error) && tries < TRIES_MAX => tries += 1,
                Err(error) => return Err(meaning(&error)),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(made))) => {
                    self.stepped(step);
                    made.iter().for_each(|made| self.accepted(made));
                    return Ok(Some(made.iter().map(|made| made.known.job()).collect()));
                }
            }
        }
    }

    async fn published(
        &self,
        step: &Step<'_>,
        known: &Known,
        fence: i64,
        (results, out): (&BTreeMap<String, Bytes>, &[Out]),
    ) -> Result<Result<Option<Vec<Made>>>, tokio_postgres::Error> {
        let mut client = match self.db.client().await {
            Ok(client) => client,
            Err(error) => return Ok(Err(error)),
        };
        let transaction = client.transaction().await?;
        if !self.step_on(&transaction, step).await? {
            return Ok(Ok(None));
        }
        let id = id_of(&known.name);
        for (name, bytes) in results {
            let sql = "insert into result (id, name, body) values ($1, $2, $3)";
            self.db
                .on(&transaction, sql, &[&id, name, &&bytes[..]])
                .await?;
        }
        let mut all = Vec::new();
        for Out { to, file, document } in out {
            let (kind, interface) = (Kind::of_file(file), &to.interface);
            let name = NewName {
                kind,
                reference: Reference::of_dropped_file(file),
            };
            let new = New {
                document: &Document::new(name, document.clone()),
                job: NewJob {
                    dialect: "emit".into(),
                    submitter: known.new.submitter.clone(),
                    came: Came::Emitted {
                        parent: known.name.clone(),
                    },
                    reference_as_sent: Some(file.clone()),
                    order_key: self.order_key_of(document, kind, interface),
                    ..NewJob::default()
                },
                place: Place::Queue(to.clone()),
                interface: Some(interface),
                key: None,
                findings: Vec::new(),
                parent: Some((id, fence)),
                dropped: None,
            };
            let made = self.make(&new);
            self.accept_on(&transaction, &new, &made).await?;
            all.push(made);
        }
        transaction.commit().await?;
        Ok(Ok(Some(all)))
    }

    /// The jobs that a run has made.
    async fn emitted(&self, parent: &JobName, fence: i64) -> Result<Vec<Job>> {
        let sql = "select r.name, r.interface, case when j.for_user then j.addressee end \
                   from record r left join job j on j.id = r.id \
                   where r.parent = $1 and r.parent_fence = $2 order by r.id";
        let rows = self.db.rows(sql, &[&id_of(parent), &fence]).await?;
        let emitted = rows.iter().map(|row| {
            let (interface, addressee) = (parsed(row.get(1))?, parsed_if(row.get(2))?);
            Ok(Job {
                place: Place::Queue(Queue {
                    interface,
                    addressee,
                }),
                name: parsed(row.get(0))?,
            })
        });
        emitted.collect()
    }

    pub(super) async fn left_behind(&self, interface: &InterfaceName) -> Result<Vec<LeftBehind>> {
        let held = self.leases.ids();
        let taken = self
            .db
            .rows(TAKE_OVER, &[&interface.as_str(), &self.life, &held])
            .await?;
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = taken.iter().map(|row| row.get(0)).collect();
        let mut left = Vec::new();
        for row in self.db.rows(RUNS, &[&ids]).await? {
            let known = Known::read(&row)?;
            let scratch = self.scratch()?;
            let output = scratch.output();
            let hold = Hold::new(&self.leases, &known.name, output.clone());
            left.push(LeftBehind {
                precedence: Some(known.precedence()),
                started_ms: known.started_ms,
                // Where it ran, nothing of it can be seen from here.
                cut: match known.works {
                    true => Interrupted::Crash,
                    false => Interrupted::NotStarted,
                },
                lease: self.lease(&known, known.fence, true, (hold, scratch))?,
                output,
            });
        }
        Ok(left)
    }

    /// Is the lease the newest of its job still?
    pub(super) async fn take_up(&self, held: &Held) -> Result<bool> {
        let known = self.known(&held.job).await?;
        Ok(known.is_some_and(|known| known.fence == held.fence))
    }

    pub(super) async fn cut_off(&self, lease: &Lease, held: &Held) -> Result<()> {
        let known = self.known(&held.job).await?;
        let Some(known) = known.filter(|known| known.fence == held.fence) else {
            return Ok(());
        };
        let interfaces = self.interfaces.load_full();
        let rules = interfaces.get(&lease.interface);
        let at_most_once = rules.is_some_and(|rules| rules.at_most_once);
        let at_ms = self.now_ms();
        let again = known.attempts < lease.attempts_max && !at_most_once;
        let by = match again || !known.works {
            true => Transition::Release,
            false => Transition::Fail,
        };
        let mut step = Step::by(&known, &by, at_ms)?;
        step.settled = Some(held.fence);
        if known.works {
            let text = format!("attempt {} was cut off", known.attempts);
            let last = Message::new(at_ms, Level::Error, text);
            step.write_log(Status::Error, vec![last]);
            step.ends_attempt(match again {
                true => AttemptEnd::CutOff,
                false => AttemptEnd::Failed,
            });
        } else {
            step.attempts = known.attempts.saturating_sub(1);
        }
        if by == Transition::Fail {
            let reason = step.reason().map(str::to_owned);
            step.events = self.report(EventKind::JobFailed, &known, reason.as_deref(), |event| {
                event
            });
        }
        if self.step(&step).await? {
            *held.settled.lock().await = Some(Settled::Done {
                emitted: Vec::new(),
            });
        }
        Ok(())
    }

    /// Cancels a job that nobody works on.
    pub(super) async fn cancel(&self, job: &Job, by: &By) -> Result<bool> {
        let was_running = match job.place {
            Place::Work { .. } => true,
            Place::Deferred { .. } | Place::Queue(_) => false,
            Place::Bak(_) | Place::JobErrors | Place::Refused => {
                return Err(StoreError::Conflict(format!("{} has ended", job.name)));
            }
        };
        let known = self.known(&job.name).await?;
        let Some(known) =
            known.filter(|known| known.place == job.place && !self.is_followed(known))
        else {
            return Ok(false);
        };
        let at_ms = self.now_ms();
        let mut step = Step::by(&known, &Transition::Fail, at_ms)?;
        let by = by.to_string();
        let (end, last) = match was_running {
            true => (End::Cancelled, Message::cancelled(at_ms, &by)),
            false => (End::Deleted, Message::deleted(at_ms, &by)),
        };
        step.end = end;
        step.write_log(Status::Error, vec![last]);
        self.step(&step).await
    }

    /// What the processor of a job that runs here has said.
    pub(super) fn said_so_far(&self, job: &Job) -> Vec<Message> {
        let now_ms = self.now_ms();
        let output = self.leases.output(&job.name);
        let mut said = Vec::new();
        if let Some(file) = output.and_then(|output| std::fs::File::open(output).ok()) {
            // What cannot be read is not told.
            let _ = file.take(SAID_BYTES_MAX).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let told = said.lines().map(|line| {
            let plain = || Message::new(now_ms, Level::Info, line);
            Message::structured(now_ms, line).unwrap_or_else(plain)
        });
        told.collect()
    }
}

/// How a run ends that its holder settles.
fn end_of_run<'k>(
    known: &'k Known,
    what: Settlement,
    log: Option<RunLog>,
    at_ms: i64,
) -> Result<Step<'k>> {
    let (by, status, outcome) = match what {
        Settlement::Deferred { due_ms } => {
            let by = Transition::Defer { due_ms };
            (by, Status::Error, AttemptEnd::Deferred)
        }
        Settlement::Done => (Transition::Archive, Status::Ok, AttemptEnd::Done),
        Settlement::Failed => (Transition::Fail, Status::Error, AttemptEnd::Failed),
        Settlement::GivenBack => (Transition::Release, Status::Error, AttemptEnd::GivenBack),
    };
    let mut step = Step::by(known, &by, at_ms)?;
    step.end = match what {
        Settlement::Done => End::Done,
        Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => End::Failed,
    };
    step.is_quiet = true;
    if what == Settlement::GivenBack {
        step.attempts = known.attempts.saturating_sub(1);
    }
    let is_cancelled = log.is_some_and(|log| step.write_log(status, log.messages));
    if is_cancelled {
        step.end = End::Cancelled;
    }
    step.ends_attempt(match is_cancelled {
        true => AttemptEnd::Cancelled,
        false => outcome,
    });
    Ok(step)
}
