//! Runs behind the seam: claims, what becomes of them, and runs that nobody follows.
//!
//! A [`Lease`] holds its [`Claim`]; the kernel knows by the claim's lock that the run lives.

use super::Inner;
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobName},
    store::{
        By, Claimed, Fate, Interrupted, KeptRun, Lease, LeftBehind, RunLog, Settled, Settlement,
        Workspace,
        fs::{Adopted, Claim, Fs, Moved, RealFs, Spool, SpoolError, records::Facts, wrap},
    },
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Which jobs have runs here.
#[derive(Default)]
pub(super) struct Runs {
    /// Jobs for which there are leases, and how many.
    leased: Mutex<HashMap<JobName, usize>>,
    /// Jobs that are being cancelled where they wait, and by how many: we have their locks ourselves.
    cancelling: Mutex<HashMap<JobName, usize>>,
    /// Jobs that lie in `work` for runs which never began.
    unstarted: Mutex<HashSet<JobName>>,
    /// Held while jobs that were left behind are looked for, so that each has one lease.
    looking: Mutex<()>,
}

/// A job's entry in one of the lists of [`Runs`].
struct Entry {
    runs: Arc<Runs>,
    list: fn(&Runs) -> &Mutex<HashMap<JobName, usize>>,
    job: JobName,
}

impl Entry {
    fn new(
        runs: &Arc<Runs>,
        list: fn(&Runs) -> &Mutex<HashMap<JobName, usize>>,
        job: &JobName,
    ) -> Self {
        *list(runs).lock().entry(job.clone()).or_default() += 1;
        Self {
            runs: runs.clone(),
            list,
            job: job.clone(),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut list = (self.list)(&self.runs).lock();
        if let Some(n) = list.get_mut(&self.job) {
            *n -= 1;
            if *n == 0 {
                list.remove(&self.job);
            }
        }
    }
}

/// A run that can begin.
struct Begun {
    claim: Claim,
    workspace: Workspace,
}

/// What a [`Lease`] of this engine holds.
pub(super) struct Held {
    spool: Arc<Spool>,
    state: Mutex<State>,
}

impl Held {
    /// Is it of this spool?
    pub(super) fn is_of(&self, spool: &Arc<Spool>) -> bool {
        Arc::ptr_eq(&self.spool, spool)
    }
}

enum State {
    Claimed {
        claim: Box<Claim>,
        /// Said of the run before all else, once that was looked up.
        opening: Option<Option<Message>>,
        _leased: Entry,
    },
    LeftBehind {
        run: Adopted,
        _leased: Entry,
    },
    Settled(Settled),
}

impl Inner {
    pub(super) fn claim(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Claimed, SpoolError> {
        // Before the claim, so that it is never found as one that was left behind.
        let leased = Entry::new(&self.runs, |runs| &runs.leased, job);
        let begun = self.begin_run(interface, job, works);
        let mut unstarted = self.runs.unstarted.lock();
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // If it could not be given back either, it is found in `work`.
                unstarted.insert(job.clone());
                return Err(error);
            }
        };
        let Some(Begun { claim, workspace }) = begun else {
            drop(unstarted);
            // Its lock may be in our own hands.
            let is_cancelling = self.runs.cancelling.lock().contains_key(job);
            let is_busy = !is_cancelling
                && self.spool.is_ready(&interface.into(), job)
                && !self.spool.is_held(interface)?;
            return Ok(if is_busy {
                Claimed::Busy
            } else {
                Claimed::Gone
            });
        };
        unstarted.remove(job);
        drop(unstarted);
        let (facts, attempt) = (claim.facts().clone(), claim.attempt());
        let held = self.held(State::Claimed {
            claim: Box::new(claim),
            opening: None,
            _leased: leased,
        });
        let mut lease = Lease::new(job.clone(), interface.clone(), attempt, held);
        self.know(&mut lease, &facts);
        Ok(Claimed::Taken(lease, Box::new(workspace)))
    }

    /// Claims a job and lays out what its run needs; what cannot be laid out is given back.
    fn begin_run(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Option<Begun>, SpoolError> {
        let Some(mut claim) = self.spool.claim(interface, job)? else {
            return Ok(None);
        };
        let workspace = lay_out(&self.spool, &mut claim, works)?;
        if works {
            claim.begin();
        }
        Ok(Some(Begun { claim, workspace }))
    }

    fn held(&self, state: State) -> Arc<Held> {
        Arc::new(Held {
            spool: self.spool.clone(),
            state: Mutex::new(state),
        })
    }

    /// What is known of a lease's job.
    fn know(&self, lease: &mut Lease, facts: &Facts) {
        let retries = facts.retries();
        lease.attempts_max = self.spool.attempts_with(retries, Some(&lease.interface));
        lease.repeats = retries.is_some();
        lease.submitter = facts.submitter();
        let accepted = facts.accepted.as_ref();
        lease.reference_as_sent = accepted.and_then(|known| known.reference_as_sent.clone());
    }

    pub(super) fn check_document(&self, held: &Held) -> Result<Fate, SpoolError> {
        match &mut *held.state.lock() {
            State::Claimed { claim, .. } => claim.check_document(),
            State::LeftBehind { .. } | State::Settled(_) => Ok(Fate::Whole),
        }
    }

    pub(super) fn check_output(&self, held: &Held) -> Result<Option<String>, SpoolError> {
        match &mut *held.state.lock() {
            State::Claimed { claim, .. } => claim.check_output(),
            State::LeftBehind { .. } | State::Settled(_) => Ok(None),
        }
    }

    pub(super) fn settle(
        &self,
        held: &Held,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled, SpoolError> {
        let mut state = held.state.lock();
        let (claim, opening) = match &mut *state {
            State::Claimed { claim, opening, .. } => (claim, opening),
            State::LeftBehind { .. } => return Ok(Settled::Fenced),
            State::Settled(settled) => return Ok(settled.clone()),
        };
        if let Some(by) = log.as_ref().and_then(|log| log.cancelled_by.clone()) {
            claim.cancelled(by);
        }
        let log = log.map(|log| {
            let opening = opening.get_or_insert_with(|| self.opening_of(claim, log.started_ms));
            self.log_of(claim, what, opening.clone(), log)
        });
        let published = claim.settle(what, log)?;
        let settled = match published.moved {
            Moved::Done(_) => Settled::Done {
                emitted: published.emitted,
            },
            Moved::Gone => Settled::Moved,
        };
        *state = State::Settled(settled.clone());
        Ok(settled)
    }

    /// What is said of a run before all else.
    fn opening_of(&self, claim: &Claim, started_ms: i64) -> Option<Message> {
        // A job that has a log was said there to have come, and this run is not its first.
        if self.spool.read_log(claim.job()).is_some() {
            let text = format!("attempt {} started", claim.attempt());
            return Some(Message::new(started_ms, Level::Info, text));
        }
        Spool::<RealFs>::words_of(claim.facts().accepted.as_deref()?)
    }

    fn log_of(
        &self,
        claim: &Claim,
        what: Settlement,
        opening: Option<Message>,
        log: RunLog,
    ) -> JobLog {
        let log_without_run = self.spool.log_by(
            claim.facts(),
            claim.place(),
            claim.attempt(),
            opening.into_iter().chain(log.messages).collect(),
        );
        JobLog {
            status: match what {
                Settlement::Done => Status::Ok,
                Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => {
                    Status::Error
                }
            },
            started_ms: Some(log.started_ms),
            // Beside other bytes it would look as if it were right.
            sha256: match claim.fate() {
                Fate::Changed => None,
                Fate::Moved | Fate::Restored | Fate::Whole => log_without_run.sha256.clone(),
            },
            ..log_without_run
        }
    }

    pub(super) fn left_behind(
        &self,
        interface: &InterfaceName,
    ) -> Result<Vec<LeftBehind>, SpoolError> {
        let _alone = self.runs.looking.lock();
        let unleased = || -> Result<Vec<_>, SpoolError> {
            let mut working = self.spool.working(interface)?;
            let leased = self.runs.leased.lock();
            working.retain(|(name, _)| !leased.contains_key(name));
            Ok(working)
        };
        let first = unleased()?;
        if first.is_empty() {
            return Ok(Vec::new());
        }
        // The first look may have met a job that was just being settled.
        let again = unleased()?.into_iter().filter(|job| first.contains(job));
        let left = again.map(|(name, attempt)| {
            let is_unstarted = self.runs.unstarted.lock().contains(&name);
            self.left(Adopted {
                interface: interface.clone(),
                cut: match is_unstarted {
                    true => Interrupted::NotStarted,
                    false => Interrupted::Stranded,
                },
                name,
                attempt,
            })
        });
        Ok(left.collect())
    }

    /// The lease of a run that is to be followed to its end.
    pub(super) fn left(&self, run: Adopted) -> LeftBehind {
        let (output, started_ms) = self.spool.run_of(&run);
        let (place, cut) = (run.job(), run.cut);
        let (job, interface, attempt) = (run.name.clone(), run.interface.clone(), run.attempt);
        let leased = Entry::new(&self.runs, |runs| &runs.leased, &job);
        let held = self.held(State::LeftBehind {
            run,
            _leased: leased,
        });
        let mut lease = Lease::new(job, interface, attempt, held);
        let facts = self.spool.facts_of(&place).inspect_err(|error| {
            tracing::warn!(job = %place.name, %error, "the record cannot be read");
        });
        self.know(&mut lease, facts.as_ref().unwrap_or(&Facts::default()));
        LeftBehind {
            lease,
            cut,
            precedence: (facts.ok())
                .map(|facts| self.precedences.recorded(facts.accepted.as_deref())),
            started_ms,
            output: self.spool.fs().absolute(&output),
        }
    }

    pub(super) fn kept(&self, held: &Held) -> Result<Option<KeptRun>, SpoolError> {
        match &*held.state.lock() {
            State::LeftBehind { run, .. } => self.spool.kept_of(run),
            State::Claimed { .. } | State::Settled(_) => Ok(None),
        }
    }

    pub(super) fn take_up(&self, held: &Held) -> Result<bool, SpoolError> {
        let mut state = held.state.lock();
        let State::LeftBehind { run, .. } = &*state else {
            return Ok(false);
        };
        let Some(claim) = self.spool.resume(run)? else {
            return Ok(false);
        };
        let leased = Entry::new(&self.runs, |runs| &runs.leased, claim.job());
        *state = State::Claimed {
            claim: Box::new(claim),
            opening: None,
            _leased: leased,
        };
        Ok(true)
    }

    pub(super) fn cut_off(&self, held: &Held) -> Result<bool, SpoolError> {
        let mut state = held.state.lock();
        let State::LeftBehind { run, .. } = &*state else {
            return Ok(true);
        };
        if self.spool.end_of(run)?.is_none() {
            return Ok(false);
        }
        let emitted = Vec::new();
        *state = State::Settled(Settled::Done { emitted });
        Ok(true)
    }

    pub(super) fn cancel(&self, jobs: &[Job], by: &By) -> Vec<Result<bool, SpoolError>> {
        let entry = |job: &Job| Entry::new(&self.runs, |runs| &runs.cancelling, &job.name);
        let _cancelling: Vec<_> = jobs.iter().map(entry).collect();
        let moved = self.spool.cancel_all(jobs, by).into_iter();
        moved
            .map(|moved| Ok(matches!(moved?, Moved::Done(_))))
            .collect()
    }
}

/// Lays out what a run needs.
fn lay_out(spool: &Spool, claim: &mut Claim, works: bool) -> Result<Workspace, SpoolError> {
    let fs = spool.fs();
    let path = claim.path();
    let lock = |claim: &Claim| claim.lock().try_clone().map_err(wrap("open", &path));
    let errors = if works {
        claim.prepare()?;
        let accepted = claim.facts().accepted.clone();
        let params = accepted
            .as_ref()
            .and_then(|accepted| accepted.params.as_deref());
        let to = claim.run_dir().join("params.json");
        let file = fs.create(&to).map_err(wrap("create", &to))?;
        fs.write(&file, params.unwrap_or("{}").as_bytes())
            .map_err(wrap("write", &to))?;
        let to = claim.errors_path();
        fs.create_output(&to).map_err(wrap("create", &to))?
    } else {
        lock(claim)?
    };
    let document = claim.document_path();
    Ok(Workspace {
        document: fs.update(&document).map_err(wrap("open", &document))?,
        output: lock(claim)?,
        errors,
        path: fs.absolute(&document),
        dir: fs.absolute(claim.run_dir()),
        kept: Some(fs.absolute(&claim.kept_path())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_listed_until_its_last_entry_is_gone_however_it_goes() {
        let runs = Arc::new(Runs::default());
        let job: JobName = "20261122T045748.123Z-00042.json".parse().unwrap();
        let enter = || Entry::new(&runs, |runs| &runs.cancelling, &job);
        let is_listed = || runs.cancelling.lock().contains_key(&job);
        let first = enter();
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _second = enter();
            panic!("it breaks down");
        }));
        assert!(broken.is_err() && is_listed());
        drop(first);
        assert!(!is_listed());
        assert!(runs.leased.lock().is_empty());
    }
}
