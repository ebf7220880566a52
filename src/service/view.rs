//! A job as it is shown: one picture of what directories, record, log and results say of it.

use super::{Page, Service, Sort, Visibility, spool_fault};
use crate::{
    auth::{Caller, Right, Role},
    domain::joblog::{JobLog, Message},
    domain::{InterfaceName, Job, JobId, JobName, JobOptions, Place, Priority},
    service::{Fault, JobRef},
    store::fs::SpoolError,
};

/// What has become of a job so far, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// In its queue, or deferred until its next attempt.
    Waiting,
    Running,
    Done,
    Failed,
    /// By somebody's spec: in `joberrors`, as its log says.
    Cancelled,
}

/// All that is known of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub job: JobName,
    /// Below 2^53.
    pub id: u64,
    /// The id as a UUID of version 8.
    pub uuid: String,
    /// The id as 24 hexadecimal digits.
    pub hex: String,
    /// A capability for this job alone, which also lets its files be downloaded: shown to who may
    /// do that anyway.
    pub runner: Option<String>,
    /// `None`: a refused document of no known type.
    pub interface: Option<InterfaceName>,
    /// The name by which its submitter asked for the interface, where that is another one.
    pub asked_as: Option<String>,
    pub state: State,
    pub submitter: String,
    pub priority: Priority,
    pub worker: Option<String>,
    /// Moments are in milliseconds of the Unix epoch.
    pub received_ms: i64,
    pub started_ms: Option<i64>,
    /// When it ended; `None` before that.
    pub finished_ms: Option<i64>,
    /// When a job that waits or runs is expected to end: never in the past.
    pub eta_ms: i64,
    /// Why it failed or was cancelled.
    pub error: Option<String>,
    /// What its log says, oldest first.
    pub messages: Vec<Message>,
    /// The names of the files that the processor made, sorted; without `result.json`.
    pub files: Vec<String>,
    /// The members of the processor's `result.json`.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

impl State {
    /// What a place says by itself: a cancelled job is where failed ones are.
    fn of(place: &Place) -> Self {
        match place {
            Place::Deferred { .. } | Place::Queue(_) => Self::Waiting,
            Place::Work { .. } => Self::Running,
            Place::Bak(_) => Self::Done,
            Place::JobErrors | Place::Refused => Self::Failed,
        }
    }

    /// Has the job ended?
    pub fn is_settled(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl View {
    /// The interface as the submitter called it.
    pub fn called(&self) -> Option<&str> {
        let interface = self.interface.as_ref().map(InterfaceName::as_str);
        self.asked_as.as_deref().or(interface)
    }

    /// Was it cancelled while it waited?
    pub fn is_deleted(&self) -> bool {
        self.state == State::Cancelled && self.messages.last().is_some_and(Message::is_deleted)
    }
}

/// What its log says of a job that is in `joberrors`: how it ended, and why.
fn ending(log: Option<&JobLog>) -> (State, Option<String>) {
    let Some(log) = log else {
        return (State::Failed, None);
    };
    let state = match log.is_cancelled() {
        true => State::Cancelled,
        false => State::Failed,
    };
    (state, log.reason().map(str::to_owned))
}

impl Service {
    /// A job that is shown to the caller. What a capability is for is shown to anybody.
    pub(super) fn shown(
        &self,
        caller: &Caller,
        of: &JobRef,
        visibility: Visibility,
    ) -> Result<Box<View>, Fault> {
        check_reach(caller, visibility)?;
        let job = self.job_of(of)?;
        if is_capability(of) {
            return Ok(Box::new(self.view(job)?));
        }
        if self.is_hidden(caller, &job) {
            return Err(unknown(of));
        }
        let addressee = match self.is_addressed(&job) {
            true => Some(self.owner_of(&job)?.unwrap_or_default()),
            false => None,
        };
        let mut view = self.view(job)?;
        let owner = addressee.as_ref().unwrap_or(&view.submitter);
        let interface = view.interface.as_ref();
        // Who is shown his own jobs has deleted this one.
        let is_gone = visibility != Visibility::Interface && view.is_deleted();
        if is_gone || !self.reaches(caller, interface, owner, visibility) {
            return Err(unknown(of));
        }
        let may_download = interface.is_some_and(|i| caller.may(Right::Download, i));
        if !may_download && !caller.is(owner) {
            view.runner = None;
        }
        Ok(Box::new(view))
    }

    /// The job that a client means, if there is one; who may know of it is not looked at. A forged
    /// id is found out before any directory is.
    pub(super) fn job_of(&self, of: &JobRef) -> Result<Job, Fault> {
        let id = match of {
            JobRef::Name(name) => {
                let found = self.spool.find(name).map_err(|e| spool_fault(&e))?;
                let name = name.clone();
                return (found.map(|place| Job { place, name })).ok_or_else(|| unknown(of));
            }
            JobRef::Hex(hex) => self.seal.job_of_hex(hex),
            JobRef::Uuid(uuid) => self.seal.job_of_uuid(*uuid),
            JobRef::Task { id, runner } => {
                let id = JobId::from_number(*id);
                let sealed = |runner: &String| self.seal.is_runner(id, runner);
                runner.as_ref().is_none_or(sealed).then_some(id)
            }
        };
        let id = id.ok_or_else(|| unknown(of))?;
        let found = self.spool.find_id(id).map_err(|e| spool_fault(&e))?;
        found.ok_or_else(|| unknown(of))
    }

    /// A page of an interface's jobs.
    pub(super) fn page(
        &self,
        caller: &Caller,
        interface: &InterfaceName,
        page: &Page,
        visibility: Visibility,
    ) -> Result<Vec<View>, Fault> {
        check_reach(caller, visibility)?;
        let mut jobs = self.spool.jobs(interface).map_err(|e| spool_fault(&e))?;
        // One look for all of them.
        let known = |jobs: &[Job]| {
            let known = self.spool.accepted_of_all(jobs);
            known.map_err(|e| spool_fault(&e))
        };
        let sees_all = match visibility {
            Visibility::Curator => true,
            Visibility::Interface => self.sees_all(caller, interface),
            Visibility::Own => is_curator(caller),
        };
        self.keep_shown(caller, interface, sees_all, &mut jobs)?;
        // A cancelled job is told from a failed one by its log, which only those are read for.
        let state_of = |job: &Job| match job.place {
            Place::JobErrors | Place::Refused => self.ended_badly(&job.name).0,
            Place::Bak(_) | Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => {
                State::of(&job.place)
            }
        };
        if !page.states.is_empty() {
            jobs.retain(|job| page.states.contains(&state_of(job)));
        }
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        match page.sort {
            Sort::Arrival => {}
            Sort::Priority => {
                let known = known(&jobs)?;
                let priority = |job: &Job| known.get(&job.name.id()).map(|known| known.priority);
                jobs.sort_by_cached_key(|job| priority(job).unwrap_or_default());
            }
            Sort::State => jobs.sort_by_cached_key(state_of),
            Sort::Worker => {
                let known = known(&jobs)?;
                let worker = |job: &Job| known.get(&job.name.id())?.worker.clone();
                jobs.sort_by_cached_key(worker);
            }
        }
        if page.descending {
            jobs.reverse();
        }
        let limit = page.limit.unwrap_or(usize::MAX);
        // What was deleted is on no list.
        let there = jobs.into_iter().filter(|job| !self.is_deleted(job));
        let jobs = there.skip(page.offset).take(limit);
        let views = jobs.map(|job| self.view(job));
        // One that a retention has removed meanwhile is not on the list any more.
        let views = views.filter(|view| !matches!(view, Err(Fault::UnknownJob { .. })));
        views.collect()
    }

    /// Was the job cancelled while it waited?
    pub(super) fn is_deleted(&self, job: &Job) -> bool {
        let log = || self.spool.read_log(&job.name);
        job.place == Place::JobErrors
            && log().is_some_and(|log| {
                log.is_cancelled() && log.messages.last().is_some_and(Message::is_deleted)
            })
    }

    fn ended_badly(&self, name: &JobName) -> (State, Option<String>) {
        ending(self.spool.read_log(name).as_ref())
    }

    /// Puts together what is known of a job. If it moves meanwhile, it is looked for again.
    pub(super) fn view(&self, job: Job) -> Result<View, Fault> {
        let mut job = job;
        for _ in 0..super::OPENS_MAX {
            let view = self.view_of(&job).map_err(|e| spool_fault(&e))?;
            let place = self.spool.find(&job.name).map_err(|e| spool_fault(&e))?;
            match place {
                Some(place) if place == job.place => return Ok(view),
                Some(place) => job.place = place,
                None => return Err(unknown(&JobRef::Name(job.name))),
            }
        }
        self.view_of(&job).map_err(|e| spool_fault(&e))
    }

    /// A job that has just been accepted, as it was then. Reads nothing.
    pub(super) fn new_view(
        &self,
        job: JobName,
        interface: InterfaceName,
        submitter: &str,
        options: &JobOptions,
    ) -> View {
        let (id, place) = (job.id(), Place::Queue(interface.clone().into()));
        let name = job.clone();
        let queued = Job { place, name };
        let eta_ms = self.worker.eta_ms(&queued);
        View {
            id: id.get(),
            uuid: self.seal.uuid(id).to_string(),
            hex: hex::encode(self.seal.hex(id)),
            runner: Some(self.seal.runner(id)),
            eta_ms: eta_ms.unwrap_or_else(|| self.spool.now_ms()),
            interface: Some(interface),
            asked_as: None,
            state: State::Waiting,
            submitter: submitter.to_owned(),
            priority: options.priority,
            worker: options.worker.as_ref().map(ToString::to_string),
            // As later answers say it: its name may be of a moment before.
            received_ms: self.spool.received_ms(&queued),
            started_ms: None,
            finished_ms: None,
            error: None,
            messages: Vec::new(),
            files: Vec::new(),
            variables: serde_json::Map::new(),
            job,
        }
    }

    fn view_of(&self, job: &Job) -> Result<View, SpoolError> {
        let (spool, id) = (&self.spool, job.name.id());
        let log = spool.read_log(&job.name);
        let logged = log.as_ref().and_then(|log| log.interface.clone());
        let interface = (job.place.interface().cloned())
            .or(logged)
            .or_else(|| spool.interface_of(job));
        let (state, error) = match job.place {
            Place::JobErrors | Place::Refused => ending(log.as_ref()),
            Place::Bak(_) | Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => {
                (State::of(&job.place), None)
            }
        };
        // Results and the end's moments belong to jobs that have ended: a job that runs again has
        // those of its earlier life still lying about.
        let ended = log.as_ref().filter(|_| state.is_settled());
        let (files, variables) = match state {
            State::Done => spool.results_of(&job.name)?,
            State::Cancelled | State::Failed | State::Running | State::Waiting => {
                Default::default()
            }
        };
        Ok(View {
            id: id.get(),
            uuid: self.seal.uuid(id).to_string(),
            hex: hex::encode(self.seal.hex(id)),
            runner: Some(self.seal.runner(id)),
            eta_ms: (self.worker.eta_ms(job)).unwrap_or_else(|| spool.now_ms()),
            interface,
            asked_as: spool.asked_as(job),
            state,
            submitter: spool.submitter_of(job).unwrap_or_default(),
            priority: spool.priority_of(job),
            worker: spool.worker_of(job).map(|tag| tag.to_string()),
            received_ms: spool.received_ms(job),
            started_ms: ended.and_then(|log| log.started_ms),
            finished_ms: ended.map(|log| log.finished_ms).or_else(|| {
                // Moved by hand: nobody wrote down when.
                state.is_settled().then(|| spool.received_ms(job))
            }),
            error,
            messages: log.map_or(Vec::new(), |log: JobLog| log.messages),
            files,
            variables,
            job: job.name.clone(),
        })
    }
}

/// What is for curators only is forbidden to others.
fn check_reach(caller: &Caller, visibility: Visibility) -> Result<(), Fault> {
    match visibility == Visibility::Curator && !is_curator(caller) {
        false => Ok(()),
        true => Err(Fault::Forbidden {
            reason: "only curators may see this".into(),
        }),
    }
}

/// Curators and operators.
pub(super) fn is_curator(caller: &Caller) -> bool {
    caller.has(Role::Curator) || caller.has(Role::Operator)
}

pub(super) fn is_capability(of: &JobRef) -> bool {
    matches!(
        of,
        JobRef::Task {
            runner: Some(_),
            ..
        }
    )
}

pub(super) fn unknown(of: &JobRef) -> Fault {
    Fault::UnknownJob {
        job: of.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::joblog::{Level, Status};

    fn log(status: Status, messages: Vec<Message>) -> JobLog {
        JobLog {
            job: "20261122T045748.123Z-00042.json".parse().unwrap(),
            interface: None,
            status,
            received_ms: 1,
            started_ms: None,
            finished_ms: 2,
            attempts: 1,
            bytes: 2,
            sha256: None,
            messages,
        }
    }

    #[test]
    fn how_a_job_ended_badly_is_in_its_last_words() {
        let message = |level, text: &str| Message::new(1, level, text);
        let ended = |messages: &[Message]| ending(Some(&log(Status::Error, messages.into())));
        let failed = [
            message(Level::Error, "first"),
            message(Level::Error, "no paper"),
            message(Level::Info, "bye"),
        ];
        assert_eq!(ended(&failed), (State::Failed, Some("no paper".into())));
        let cancelled = Message::cancelled(1, "ada");
        let spec = (State::Cancelled, Some("cancelled by ada".into()));
        assert_eq!(ended(&[failed[0].clone(), cancelled.clone()]), spec);
        // It ran again afterwards.
        let again = [cancelled, message(Level::Info, "moved by hand")];
        assert_eq!(ended(&again).0, State::Failed);
        assert_eq!(ended(&[]), (State::Failed, None));
        let at = |time_ms, level, text: &str| Message::new(time_ms, level, text);
        let runs = |said| JobLog {
            started_ms: Some(5),
            ..log(
                Status::Error,
                vec![
                    at(3, Level::Error, "the first run's"),
                    at(5, said, "no paper"),
                    at(6, Level::Info, "bye"),
                    at(6, Level::Error, "exit code 1"),
                ],
            )
        };
        let why = |said| ending(Some(&runs(said))).1;
        assert_eq!(why(Level::Error).as_deref(), Some("no paper"));
        assert_eq!(why(Level::Warning).as_deref(), Some("exit code 1"));
        // However often it was tried.
        let given_up = |mut log: JobLog| {
            let end = Message::given_up(7, "given up after 2 attempts");
            log.messages.push(end);
            ending(Some(&log)).1
        };
        assert_eq!(given_up(runs(Level::Error)).as_deref(), Some("no paper"));
        assert_eq!(given_up(runs(Level::Info)).as_deref(), Some("exit code 1"));
        assert_eq!(given_up(log(Status::Error, vec![])), None);
        assert_eq!(ending(None), (State::Failed, None));
    }
}
