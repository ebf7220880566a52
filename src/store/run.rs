//! Runs: what the store gives to those who work on jobs, and what they give back.

use super::By;
use crate::domain::joblog::Message;
use crate::domain::{InterfaceName, Job, JobName, Priority, Queue, UserName, WorkerTag};
use std::{any::Any, fmt, fs::File, path::PathBuf, sync::Arc, time::Duration};

/// When a job that waits is taken, and by which workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precedence {
    pub priority: Priority,
    /// `None`: by any.
    pub worker: Option<WorkerTag>,
    /// `None`: it is not known, or was not asked for, as all that follows.
    pub submitter: Option<Arc<str>>,
    /// As in [`NewJob::order_key`](super::NewJob::order_key).
    pub order_key: Option<Arc<str>>,
}

/// What a worker has to know of the jobs that wait in an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// An older job is never missing while a younger one is there.
    pub in_order: bool,
    /// Whose they are, and what they keep their order by. Nothing else has to be read of XML documents.
    pub whose: bool,
}

/// About what waits in an interface beside one of its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Jobs that came before it.
    pub before: usize,
    /// Its submitter, if that was asked for and is known, as all that follows.
    pub submitter: Option<Arc<str>>,
    /// Of those that came before it, the ones of its submitter.
    pub own: usize,
    /// How many jobs of each other submitter wait.
    pub others: Vec<(Arc<str>, usize)>,
    /// Of those that came before it, the ones with its order key.
    pub same_key: usize,
}

/// What waits in an interface for a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Nothing of it is to be started.
    pub held: bool,
    /// Complete jobs, oldest first. Without a precedence: it cannot be read now.
    pub ready: Vec<(JobName, Option<Precedence>)>,
    /// Jobs that wait for their next attempt, with the moment, of the Unix epoch, when they are due. With a
    /// precedence if they were asked for in order and it can be read.
    pub deferred: Vec<(i64, JobName, Option<Precedence>)>,
    /// There is something that may be ready then: look again after so long.
    pub again: Option<Duration>,
}

/// The exclusive right to work on a job until it is settled: proof of a claim for all that is done for
/// the run. When the last one of a claim is dropped unsettled, the job is given back, or, once its run
/// had begun, left behind.
#[derive(Clone)]
pub struct Lease {
    pub job: JobName,
    pub interface: InterfaceName,
    /// Counted from 1, durably, before the lease was given.
    pub attempt: u32,
    /// How many attempts the job has in all.
    pub attempts_max: u32,
    /// Its submitter wants it repeated after any error.
    pub repeats: bool,
    /// Empty when it is not known.
    pub submitter: String,
    /// The reference as it was sent, before it was reduced to what a name may hold.
    pub reference_as_sent: Option<String>,
    held: Arc<dyn Any + Send + Sync>,
}

impl Lease {
    /// `held` is for the engine that makes it.
    pub(super) fn new(
        job: JobName,
        interface: InterfaceName,
        attempt: u32,
        held: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            job,
            interface,
            attempt,
            attempts_max: 1,
            repeats: false,
            submitter: String::new(),
            reference_as_sent: None,
            held,
        }
    }

    /// What the engine that made it has put into it; `None` for another engine.
    pub(super) fn held<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.held.clone().downcast().ok()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, attempt {})", self.job, self.attempt)
    }
}

/// Where a run works: files of this machine that belong to its lease. A processor is given all of it;
/// nobody else looks into it.
#[derive(Debug)]
pub struct Workspace {
    /// The document, to be read from its first byte.
    pub document: File,
    /// For what the processor says. Processes that have it open keep the run from being taken for
    /// ended.
    pub output: File,
    /// For what it says of errors.
    pub errors: File,
    /// Absolute path of the document.
    pub path: PathBuf,
    /// Absolute path of a directory with `results`, `emit` and `params.json`.
    pub dir: PathBuf,
    /// Where the end of the run is kept for a later service; `None`: none takes it up, and a processor ends when this
    /// one does.
    pub kept: Option<PathBuf>,
}

/// What came of claiming a job.
#[derive(Debug)]
pub enum Claimed {
    Taken(Lease, Box<Workspace>),
    /// It does not wait any more, or its interface is held.
    Gone,
    /// It waits, and somebody else has hold of it: try again later.
    Busy,
}

/// What becomes of a job after its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It waits for its next attempt until `due_ms`, of the Unix epoch.
    Deferred {
        due_ms: i64,
    },
    Done,
    Failed,
    /// Not finished and not counted as an attempt: we were asked to stop.
    GivenBack,
}

/// What a run has to say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLog {
    /// Of the Unix epoch.
    pub started_ms: i64,
    pub messages: Vec<Message>,
    /// Who has ended it, if that is why the job fails.
    pub cancelled_by: Option<By>,
}

/// What settling a run has brought about. The same again for the same lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// With the jobs that the processor made, in their queues.
    Done { emitted: Vec<Job> },
    /// Somebody has moved the job by hand meanwhile: it stays where it is, and nothing is published.
    Moved,
    /// The lease is not the newest one of its job: nothing has happened.
    Fenced,
}

/// What has become of a job's document while its processor worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its bytes are not those that were accepted.
    Changed,
    /// Somebody has moved the job to another place of the spool: it stays there.
    Moved,
    /// It was taken away or replaced, and is there again.
    Restored,
    Whole,
}

/// What has cut off a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The service has ended, and its command may have outlived it.
    Crash,
    /// The service lives on, but an error of the disk or of its own kept it from going on.
    Stranded,
    /// The same before its command was started: it does not count as an attempt.
    NotStarted,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "by a crash",
            Self::NotStarted | Self::Stranded => "by an error of the disk or of the service",
        })
    }
}

/// A job whose run nobody follows any more, though its command may still live.
#[derive(Clone, Debug)]
pub struct LeftBehind {
    pub lease: Lease,
    pub cut: Interrupted,
    /// `None`: it cannot be read now.
    pub precedence: Option<Precedence>,
    /// When its command was started, in milliseconds of the Unix epoch, if that is known.
    pub started_ms: Option<i64>,
    /// The [`Workspace::output`] of its run: processes that have it open belong to it.
    pub output: PathBuf,
}

/// What is left of a run that has ended while no service was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRun {
    /// How it ended, as its supervisor has said.
    pub end: Vec<u8>,
    /// What it said.
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

/// To whom a job goes that a processor has emitted: to the user in whose directory, `@` and his name, it lies. Where jobs
/// are for single users, one beside is for who has submitted its parent.
///
/// # Errors
/// Why it is for nobody.
pub(super) fn queue_of_emitted(
    interface: &InterfaceName,
    dir: Option<&str>,
    is_addressed: bool,
    submitter: &str,
    is_user: impl Fn(&UserName) -> bool,
) -> Result<Queue, String> {
    let refuse = |dir: &str, why| format!("the processor emitted to {interface}/{dir}, {why}");
    match dir {
        None if !is_addressed => Ok(interface.into()),
        None => match submitter.parse() {
            Ok(user) if is_user(&user) => Ok(Queue::of_user(interface, user)),
            Ok(_) | Err(_) => Err(format!(
                "the processor emitted to {interface}, whose jobs are for single users, and the \
                 submitter {submitter:?} is none; emit to {interface}/@USER"
            )),
        },
        Some(dir) if !is_addressed => Err(refuse(dir, "whose jobs are not for single users")),
        Some(dir) => match UserName::of_dir(dir) {
            Some(user) if is_user(&user) => Ok(Queue::of_user(interface, user)),
            Some(_) | None => Err(refuse(dir, "which is no user")),
        },
    }
}
