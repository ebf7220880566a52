//! What operators do to jobs: requeue, remove, cancel, one of them or a million.
//!
//! An act goes through its jobs in batches, each of which waits for the disk once for all its jobs. It ends
//! after a batch when nobody listens any more: whoever asked for it has gone, or the service is to end.

use super::{ActError, Admin, Change, audit};
use crate::{
    domain::joblog::Message,
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, text},
    ops::selection::Selection,
    service::Verifier,
    store::{By, Cancelled, Content, JobSummary, StoreError},
    xml::Source,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, num::NonZeroU32, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

/// Jobs of one batch: so many have a file open at once, and so many are done before anybody hears of it.
const BATCH: usize = 256;
/// Runs that are cancelled at the same time.
const CANCELS_MAX: usize = 32;
/// Of a document that is still wrong, so many findings are told; its log has all.
const FINDINGS_TOLD_MAX: usize = 20;

/// What an operator wants done to jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum JobAct {
    /// Ends them, whether they wait or run: they fail, and their logs say by whom.
    Cancel,
    /// Removes them for ever; their logs stay.
    Remove,
    /// Sends them to a queue, that of their own interface unless given, their attempts counted from
    /// one. Where jobs are for users and none is given, to the one for whom it was last. A document
    /// that was refused is validated again first, as at its upload.
    Requeue {
        #[serde(
            default,
            with = "text::option",
            skip_serializing_if = "Option::is_none"
        )]
        to: Option<Queue>,
        /// Also documents that were refused and are still wrong.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unchecked: bool,
    },
}

impl JobAct {
    /// What has been done then.
    pub fn done(&self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Remove => "removed",
            Self::Requeue { .. } => "requeued",
        }
    }
}

/// To which jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Jobs {
    Named(#[serde(with = "text::list")] Vec<JobName>),
    Selected(Selection),
}

/// One act on jobs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    pub act: JobAct,
    pub jobs: Jobs,
    /// No more of them in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_s: Option<NonZeroU32>,
}

/// What is told of an act while it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Told {
    /// It is about so many jobs.
    Begun {
        jobs: usize,
    },
    Job(Outcome),
}

/// What has become of one job: it was done, durably, unless there is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    #[serde(with = "text")]
    pub job: JobName,
    /// Where it waits now, if it was sent somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Outcome {
    fn of(job: JobName, done: Result<Option<String>, ActError>) -> Self {
        let (path, error) = match done {
            Ok(path) => (path, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self { job, path, error }
    }

    /// Why it was not done, or where the job is.
    fn said(&self) -> String {
        let said = self.error.as_ref().or(self.path.as_ref());
        said.cloned().unwrap_or_default()
    }
}

/// What has become of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub done: usize,
    pub failed: usize,
    /// The act ended before these.
    pub left: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, failed, left } = self;
        write!(f, "{done} done, {failed} not")?;
        match left {
            0 => Ok(()),
            left => write!(f, ", ended before {left} more"),
        }
    }
}

/// No more jobs in a second than that, and no batch of them larger.
struct Pace {
    per_s: Option<NonZeroU32>,
    next: Instant,
}

impl Pace {
    fn new(per_s: Option<NonZeroU32>) -> Self {
        let next = Instant::now();
        Self { per_s, next }
    }

    fn batch(&self) -> usize {
        self.per_s.map_or(BATCH, |n| (n.get() as usize).min(BATCH))
    }

    /// When the next batch may begin, if this one has so many.
    fn goes(&mut self, n_jobs: usize) -> Instant {
        let begin = self.next.max(Instant::now());
        if let Some(per_s) = self.per_s {
            self.next = begin + Duration::from_secs(1) * n_jobs as u32 / per_s.get();
        }
        begin
    }
}

impl Admin {
    /// Carries out an act on jobs. What has become of each is told after its batch, and durable. When nobody hears it
    /// any more, the act ends after the batch that is under way.
    ///
    /// # Errors
    /// When the jobs that are meant cannot be found out: nothing was done then.
    pub async fn bulk(
        &self,
        bulk: &Bulk,
        by: &By,
        told: mpsc::Sender<Told>,
    ) -> Result<Summary, ActError> {
        let mut jobs = self.meant(&bulk.jobs).await?;
        let names = jobs.iter().map(|(name, _)| name);
        let begun = self.begin(&audit::deed_of_bulk(bulk, names, by)).await?;
        let mut summary = Summary::default();
        let mut said = None;
        let n_jobs = jobs.len();
        let mut is_heard = told.send(Told::Begun { jobs: n_jobs }).await.is_ok();
        let mut pace = Pace::new(bulk.per_s);
        while is_heard && !jobs.is_empty() {
            let rest = jobs.split_off(pace.batch().min(jobs.len()));
            let batch = std::mem::replace(&mut jobs, rest);
            tokio::select! {
                () = tokio::time::sleep_until(pace.goes(batch.len())) => {}
                () = told.closed() => {
                    jobs.splice(0..0, batch);
                    break;
                }
            }
            for outcome in self.batch(&bulk.act, batch, by).await {
                match &outcome.error {
                    None => summary.done += 1,
                    Some(_) => summary.failed += 1,
                }
                if outcome.error.is_some() || n_jobs == 1 {
                    said.get_or_insert_with(|| outcome.said());
                }
                is_heard = is_heard && told.send(Told::Job(outcome)).await.is_ok();
            }
        }
        summary.left = jobs.len();
        let (outcome, done) = (audit::outcome_of_bulk(&summary), summary.done as u64);
        // Of many jobs, why the first that failed did.
        begun
            .end(outcome, Some(done), &said.unwrap_or_default())
            .await;
        let (act, from) = (bulk.act.done(), &by.origin);
        if n_jobs > 1 {
            tracing::info!(act, jobs = n_jobs, %by, %from, "{summary}");
        }
        Ok(summary)
    }

    /// The jobs that are meant, as they are now; without a summary one that there is not.
    async fn meant(&self, jobs: &Jobs) -> Result<Vec<(JobName, Option<JobSummary>)>, ActError> {
        match jobs {
            Jobs::Named(names) => {
                let mut all = Vec::with_capacity(names.len());
                for names in names.chunks(BATCH) {
                    let found = self.store.find_all_anywhere(names.to_vec()).await?;
                    all.extend(names.iter().cloned().zip(found));
                }
                Ok(all)
            }
            Jobs::Selected(selection) => {
                let found = selection.find(&*self.store, &selection.filter()).await?;
                let named = |found: JobSummary| (found.job.name.clone(), Some(found));
                Ok(found.into_iter().map(named).collect())
            }
        }
    }

    /// Does it to some jobs, with one wait for the disk; an outcome for each, in their order.
    async fn batch(
        &self,
        act: &JobAct,
        batch: Vec<(JobName, Option<JobSummary>)>,
        by: &By,
    ) -> Vec<Outcome> {
        let names: Vec<JobName> = batch.iter().map(|(name, _)| name.clone()).collect();
        let found = batch
            .into_iter()
            .map(|(name, found)| found.ok_or(ActError::NoJob(name)));
        let found = found.collect();
        let done = match act {
            JobAct::Cancel => self.cancel(found, by).await,
            JobAct::Remove => self.remove(found, by).await,
            JobAct::Requeue { to, unchecked } => {
                self.requeue(found, to.as_ref(), *unchecked, by).await
            }
        };
        let outcomes = names.into_iter().zip(done);
        outcomes.map(|(job, done)| Outcome::of(job, done)).collect()
    }

    async fn requeue(
        &self,
        found: Vec<Result<JobSummary, ActError>>,
        to: Option<&Queue>,
        unchecked: bool,
        by: &By,
    ) -> Vec<Result<Option<String>, ActError>> {
        let mut ready = Vec::with_capacity(found.len());
        for found in found {
            ready.push(match found {
                Ok(found) => {
                    let to = self.ready(&found, to, unchecked, by).await;
                    to.map(|to| (found.job, to))
                }
                Err(error) => Err(error),
            });
        }
        let (jobs, order) = split(ready);
        let moves = jobs.clone();
        let sent = self.store.requeue_all(jobs, by).await;
        let moved = moves.iter().zip(&sent).filter(|(_, sent)| sent.is_ok());
        self.tell(moved.flat_map(|((job, to), _)| {
            let left = waited_in(&job.place);
            left.into_iter().chain([&to.interface])
        }));
        let paths = sent.into_iter().zip(&moves).map(|(sent, (_, to))| {
            let there = sent?;
            Ok(Some(format!("queue/{to}/{}", there.name)))
        });
        joined(order, paths)
    }

    async fn remove(
        &self,
        found: Vec<Result<JobSummary, ActError>>,
        by: &By,
    ) -> Vec<Result<Option<String>, ActError>> {
        let mut ready = Vec::with_capacity(found.len());
        for found in found {
            ready.push(match found {
                Ok(found) => {
                    let rests = self.at_rest(&found, "hold its interface and wait for its end");
                    rests.await.map(|()| found.job)
                }
                Err(error) => Err(error),
            });
        }
        let (jobs, order) = split(ready);
        let places: Vec<Place> = jobs.iter().map(|job| job.place.clone()).collect();
        let removed = self.store.remove_all(jobs, by).await;
        let moved = places
            .iter()
            .zip(&removed)
            .filter(|(_, removed)| removed.is_ok());
        self.tell(moved.filter_map(|(place, _)| waited_in(place)));
        let done = removed.into_iter().map(|removed| {
            removed?;
            Ok(None)
        });
        joined(order, done)
    }

    /// Those that wait are ended by the store, and those that run by who works on them.
    async fn cancel(
        &self,
        found: Vec<Result<JobSummary, ActError>>,
        by: &By,
    ) -> Vec<Result<Option<String>, ActError>> {
        let active = found.into_iter().map(|found| {
            let job = found?.job;
            match job.place {
                Place::Bak(_) | Place::JobErrors | Place::Refused => Err(ActError::Ended(job.name)),
                Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => Ok(job),
            }
        });
        let (jobs, order) = split(active.collect());
        let places: Vec<Place> = jobs.iter().map(|job| job.place.clone()).collect();
        let by_store = self.store.cancel_all(jobs.clone(), by).await;
        let mut done: Vec<Option<Result<(), ActError>>> = Vec::with_capacity(jobs.len());
        let mut running = Vec::new();
        for (at, (cancelled, job)) in by_store.into_iter().zip(jobs).enumerate() {
            done.push(match cancelled {
                Ok(true) => Some(Ok(())),
                Ok(false) => {
                    running.push((at, job.name));
                    None
                }
                Err(error) => Some(Err(error.into())),
            });
        }
        for some in running.chunks(CANCELS_MAX) {
            for (at, ended) in self.end_runs(some, by).await {
                done[at] = Some(ended);
            }
        }
        let lost = || Err(StoreError::Unavailable("its outcome is unknown".into()).into());
        let done = done
            .into_iter()
            .map(|done| done.unwrap_or_else(lost).map(|()| None));
        let done = joined(order, done);
        self.tell(places.iter().filter_map(waited_in));
        done
    }

    /// Ends the runs of jobs that are worked on, together.
    async fn end_runs(
        &self,
        jobs: &[(usize, JobName)],
        by: &By,
    ) -> Vec<(usize, Result<(), ActError>)> {
        let mut ends = JoinSet::new();
        let mut ended = Vec::with_capacity(jobs.len());
        for (at, job) in jobs.iter().cloned() {
            let Some(worker) = self.worker.clone() else {
                let advice = "start the service, which can end it";
                ended.push((at, Err(ActError::Running { job, advice })));
                continue;
            };
            let by = by.clone();
            ends.spawn(async move {
                let end = worker.cancel(job.clone(), by).await;
                let end = end.map_err(ActError::from).and_then(|end| match end {
                    Cancelled::Done { .. } => Ok(()),
                    Cancelled::NotActive => Err(ActError::Ended(job)),
                    Cancelled::Pending => Err(ActError::Ending(job)),
                });
                (at, end)
            });
        }
        while let Some(end) = ends.join_next().await {
            match end {
                Ok(end) => ended.push(end),
                Err(error) => tracing::error!(%error, "a cancel panicked"),
            }
        }
        ended
    }

    /// Tells of each of these interfaces once that something has changed there.
    fn tell<'i>(&self, interfaces: impl Iterator<Item = &'i InterfaceName>) {
        let all: BTreeSet<&InterfaceName> = interfaces.collect();
        for interface in all {
            (self.changed)(Change::Interface(interface.clone()));
        }
    }

    /// Where a job is to be sent; a document that was refused is validated for that first.
    async fn ready(
        &self,
        found: &JobSummary,
        to: Option<&Queue>,
        unchecked: bool,
        by: &By,
    ) -> Result<Queue, ActError> {
        self.at_rest(found, "wait for its end").await?;
        let to = self.addressed(found, to).await?;
        let job = &found.job;
        // What has failed was valid; and whether JSON is right only its dialect knows.
        if job.place == Place::Refused && !unchecked && job.name.kind() == Kind::Xml {
            self.verify(job, &to.interface, by).await?;
        }
        Ok(to)
    }

    /// Validates a refused document again. One that is still wrong stays, and its log says so.
    async fn verify(&self, job: &Job, to: &InterfaceName, by: &By) -> Result<(), ActError> {
        let name = &job.name;
        let unverified = |reason: String| ActError::Unverified {
            job: name.clone(),
            reason,
        };
        let opened = self.store.open(job).await;
        let document = opened.map_err(|error| unverified(error.to_string()))?;
        let document = document.ok_or_else(|| ActError::Moved(name.clone()))?;
        let (interface, now_ms) = (to.clone(), self.store.now_ms());
        let verified = self.reading(document, move |verifier, document, bytes| {
            verifier.verify(document, bytes, &interface, now_ms)
        });
        let verified = verified.await;
        let findings = verified.unwrap_or_else(|| Err("the validation broke down".into()));
        let findings = findings.map_err(unverified)?;
        if findings.is_empty() {
            return Ok(());
        }
        let line = |found: &Message| match found.line {
            Some(line) => format!("  line {line}: {}", found.text),
            None => format!("  {}", found.text),
        };
        let told = findings.iter().take(FINDINGS_TOLD_MAX).map(line);
        let told: Vec<String> = told.collect();
        self.store.refuse_again(job, to, findings, by).await?;
        Err(ActError::StillWrong {
            job: name.clone(),
            interface: to.clone(),
            findings: told.join("\n"),
        })
    }

    /// What the verifier says of a document of so many bytes, which blocks; `None` when it has panicked.
    async fn reading<T: Send + 'static>(
        &self,
        document: Content,
        read: impl FnOnce(&Verifier, &Source<'_>, u64) -> T + Send + 'static,
    ) -> Option<T> {
        let verifier = self.verifier.load_full();
        let reading = tokio::task::spawn_blocking(move || {
            let open = || document.reader();
            read(&verifier, &Source::Reader(&open), document.bytes)
        });
        let read = reading.await;
        read.inspect_err(|error| tracing::error!(%error, "a validation panicked"))
            .ok()
    }

    /// Where a job is sent, and to whom if jobs are for users there.
    async fn addressed(&self, found: &JobSummary, to: Option<&Queue>) -> Result<Queue, ActError> {
        let interface = self.target(found, to.map(|to| &to.interface)).await?;
        let given = to.and_then(|to| to.addressee.clone());
        let user = match (given, self.store.is_addressed(&interface)) {
            (None, false) => return Ok(interface.into()),
            (Some(_), false) => return Err(ActError::NotAddressed(interface)),
            (Some(user), true) => Some(user),
            (None, true) => self.store.addressee_of(&found.job).await?,
        };
        let Some(user) = user else {
            return Err(ActError::Unaddressed {
                job: found.job.name.clone(),
                interface,
            });
        };
        match self.store.is_user(&user).await? {
            true => Ok(Queue::of_user(&interface, user)),
            false => Err(ActError::NoUser(user)),
        }
    }

    /// A job that nobody looks at would wait for ever.
    async fn target(
        &self,
        found: &JobSummary,
        to: Option<&InterfaceName>,
    ) -> Result<InterfaceName, ActError> {
        if let Some(to) = to {
            self.known(to)?;
            return Ok(to.clone());
        }
        let job = &found.job;
        let own = match &found.interface {
            Some(own) => Some(own.clone()),
            // Whose it is may be known by now.
            None if job.place == Place::Refused => self.recognise(job).await,
            None => None,
        };
        let Some(own) = own else {
            return Err(ActError::Unclaimed {
                job: job.name.clone(),
                known: self.interfaces(),
            });
        };
        if !self.store.interfaces().contains(&own) {
            return Err(ActError::GoneInterface {
                job: job.name.clone(),
                interface: own,
                known: self.interfaces(),
            });
        }
        Ok(own)
    }

    async fn recognise(&self, job: &Job) -> Option<InterfaceName> {
        let document = self.store.open(job).await.ok()??;
        let recognised = self.reading(document, |verifier, document, _| {
            verifier.recognise(document)
        });
        recognised.await?
    }

    /// Is a job not worked on?
    async fn at_rest(&self, found: &JobSummary, advice: &'static str) -> Result<(), ActError> {
        if !matches!(found.job.place, Place::Work { .. }) {
            return Ok(());
        }
        let job = found.job.name.clone();
        // Its command has ended meanwhile, and only a service knows what that means.
        match self.store.is_cut_off(&found.job).await? {
            true => Err(ActError::CutOff(job)),
            false => Err(ActError::Running { job, advice }),
        }
    }
}

/// Where what waited behind a job may go on, once that has left its place.
fn waited_in(place: &Place) -> Option<&InterfaceName> {
    match place {
        Place::Deferred { interface, .. } | Place::Queue(Queue { interface, .. }) => {
            Some(interface)
        }
        Place::Bak(_) | Place::JobErrors | Place::Refused | Place::Work { .. } => None,
    }
}

/// Those that can go on, and the errors of the others with their places between them.
fn split<T>(all: Vec<Result<T, ActError>>) -> (Vec<T>, Vec<Result<(), ActError>>) {
    let mut some = Vec::with_capacity(all.len());
    let order = all.into_iter().map(|one| one.map(|one| some.push(one)));
    let order = order.collect();
    (some, order)
}

/// The outcomes of those that went on, at their places among the others.
fn joined<T>(
    order: Vec<Result<(), ActError>>,
    outcomes: impl IntoIterator<Item = Result<T, ActError>>,
) -> Vec<Result<T, ActError>> {
    let mut outcomes = outcomes.into_iter();
    let lost = || Err(StoreError::Unavailable("its outcome is unknown".into()).into());
    let all = order.into_iter();
    all.map(|one| one.and_then(|()| outcomes.next().unwrap_or_else(lost)))
        .collect()
}
