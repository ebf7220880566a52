//! A job as it is shown: one picture of what directories, record, log and results say of it.

use super::{PageRequest, Service, Sort, Visibility, store_fault};
use crate::{
    auth::{Caller, Right, Role},
    domain::joblog::{JobLog, Message},
    domain::{InterfaceName, Job, JobId, JobName, JobOptions, Place, Priority},
    service::{Fault, JobRef},
    store::{By, Filter, JobDetail, JobSummary, Of, Origin, Sight, State, Stored, Viewer, Want},
};
use std::sync::Arc;

/// So many jobs of a list are looked for at once.
const PAGE_JOBS_MAX: usize = 50_000;

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

impl View {
    /// The interface as the submitter called it.
    pub fn called(&self) -> Option<&str> {
        let interface = self.interface.as_ref().map(InterfaceName::as_str);
        self.asked_as.as_deref().or(interface)
    }
}

/// What a list is sorted by, beside the arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Arrival,
    Priority(Priority),
    State(State),
    Worker(Option<String>),
}

impl Service {
    /// A job that is shown to the caller. What a capability is for is shown to anybody.
    ///
    /// # Errors
    /// - [`Fault::Forbidden`]: the caller is no curator.
    /// - [`Fault::UnknownJob`]: there is no such job, or the caller may not know of it.
    /// - [`Fault::Busy`]: the store cannot be read, which is no answer; ask again.
    pub(super) async fn shown(
        self: &Arc<Self>,
        caller: &Caller,
        of: &JobRef,
        visibility: Visibility,
    ) -> Result<Box<View>, Fault> {
        check_reach(caller, visibility)?;
        let wanted = self.of(of)?;
        if is_capability(of) {
            let found = self.found(&Viewer::all(), wanted, Want::ALL, of).await?;
            return Ok(Box::new(self.view(found)));
        }
        let viewer = self.viewer_by(caller, visibility);
        let found = self.found(&viewer, wanted, Want::ALL, of).await?;
        // Who is shown his own jobs has deleted this one.
        if visibility != Visibility::Interface && found.summary.is_deleted {
            return Err(unknown(of));
        }
        let owner = found.summary.owner.clone();
        let mut view = self.view(found);
        let interface = view.interface.as_ref();
        let may_download = interface.is_some_and(|i| caller.may(Right::Download, i));
        if !may_download && !owner.is_some_and(|owner| caller.is(&owner)) {
            view.runner = None;
        }
        Ok(Box::new(view))
    }

    /// Which job a client means; who may know of it is not looked at. A forged id is found out before
    /// anything is looked for.
    ///
    /// # Errors
    /// [`Fault::UnknownJob`] when the id was not given out by this tenant.
    pub(super) fn of(&self, of: &JobRef) -> Result<Of, Fault> {
        let id = match of {
            JobRef::Name(name) => return Ok(Of::Name(name.clone())),
            JobRef::Hex(hex) => self.seal.job_of_hex(hex),
            JobRef::Uuid(uuid) => self.seal.job_of_uuid(*uuid),
            JobRef::Task { id, runner } => {
                let id = JobId::from_number(*id);
                let sealed = |runner: &String| self.seal.is_runner(id, runner);
                runner.as_ref().is_none_or(sealed).then_some(id)
            }
        };
        id.map(Of::Id).ok_or_else(|| unknown(of))
    }

    /// A page of an interface's jobs.
    ///
    /// # Errors
    /// [`Fault::Forbidden`] when the caller is no curator, [`Fault::Busy`] when the store cannot be
    /// read: ask again.
    pub(super) async fn page(
        self: &Arc<Self>,
        caller: &Caller,
        interface: &InterfaceName,
        page: &PageRequest,
        visibility: Visibility,
    ) -> Result<Vec<View>, Fault> {
        check_reach(caller, visibility)?;
        let jobs = self.paged(caller, interface, page, visibility).await?;
        // Neither logs nor results, of which a list shows nothing.
        let details = self.store.details(jobs, Want::RECORD).await;
        let details = details.map_err(|e| store_fault(&e))?;
        Ok(details
            .into_iter()
            .map(|detail| self.view(detail))
            .collect())
    }

    /// The jobs of such a page, in order.
    async fn paged(
        self: &Arc<Self>,
        caller: &Caller,
        interface: &InterfaceName,
        page: &PageRequest,
        visibility: Visibility,
    ) -> Result<Vec<Job>, Fault> {
        let by_arrival = page.sort == Sort::Arrival;
        let viewer = self.viewer(caller, move |this, caller, of| {
            let sees_all = match visibility {
                Visibility::Curator => true,
                Visibility::Interface => of.is_some_and(|of| this.sees_all(caller, of)),
                Visibility::Own => is_curator(caller),
            };
            match sees_all {
                true => Sight::All,
                false => Sight::Own,
            }
        });
        let filter = Filter {
            interface: Some(interface.clone()),
            states: page.states.clone(),
            newest_first: by_arrival && page.descending,
            want_record: matches!(page.sort, Sort::Priority | Sort::Worker),
            ..Filter::default()
        };
        let limit = page.limit.unwrap_or(usize::MAX);
        let wanted = page.offset.saturating_add(limit);
        let (mut jobs, mut after) = (Vec::new(), None);
        loop {
            let next = self.store.list(&viewer, &filter, after, PAGE_JOBS_MAX);
            let next = next.await.map_err(|e| store_fault(&e))?;
            // What was deleted is on no list.
            let there = next.jobs.into_iter().filter(|summary| !summary.is_deleted);
            jobs.extend(there.map(|summary| (sort_key(page.sort, &summary), summary.job)));
            after = next.next;
            if after.is_none() || by_arrival && jobs.len() >= wanted {
                break;
            }
        }
        if !by_arrival {
            jobs.sort_by(|(one, _), (other, _)| one.cmp(other));
            if page.descending {
                jobs.reverse();
            }
        }
        let jobs = jobs.into_iter().map(|(_, job)| job);
        Ok(jobs.skip(page.offset).take(limit).collect())
    }

    /// A job that has just been accepted, as it was then. Reads nothing.
    pub(super) fn new_view(
        &self,
        stored: &Stored,
        interface: InterfaceName,
        submitter: &str,
        options: &JobOptions,
    ) -> View {
        let job = stored.job.clone();
        let (id, place) = (job.id(), Place::Queue(interface.clone().into()));
        let name = job.clone();
        let eta_ms = self.worker.eta_ms(&Job { place, name });
        View {
            id: id.get(),
            uuid: self.seal.uuid(id).to_string(),
            hex: hex::encode(self.seal.hex(id)),
            runner: Some(self.seal.runner(id)),
            eta_ms: eta_ms.unwrap_or_else(|| self.store.now_ms()),
            interface: Some(interface),
            asked_as: None,
            state: State::Waiting,
            submitter: submitter.to_owned(),
            priority: options.priority,
            worker: options.worker.as_ref().map(ToString::to_string),
            // As later answers say it: its name may be of a moment before.
            received_ms: stored.received_ms,
            started_ms: None,
            finished_ms: None,
            error: None,
            messages: Vec::new(),
            files: Vec::new(),
            variables: serde_json::Map::new(),
            job,
        }
    }

    /// Puts together what is known of a job.
    pub(super) fn view(&self, detail: JobDetail) -> View {
        let JobDetail {
            summary,
            log,
            results,
            now: _,
        } = detail;
        let (id, state) = (summary.job.name.id(), summary.state);
        let record = summary.record.unwrap_or_default();
        let error = match state {
            State::Cancelled | State::Failed => log.as_ref().and_then(JobLog::reason),
            State::Done | State::Running | State::Waiting => None,
        };
        let error = error.map(str::to_owned);
        // The end's moments belong to jobs that have ended: a job that runs again has those of its
        // earlier life still lying about.
        let ended = log.as_ref().filter(|_| state.is_settled());
        let eta_ms = self.worker.eta_ms(&summary.job);
        View {
            id: id.get(),
            uuid: self.seal.uuid(id).to_string(),
            hex: hex::encode(self.seal.hex(id)),
            runner: Some(self.seal.runner(id)),
            eta_ms: eta_ms.unwrap_or_else(|| self.store.now_ms()),
            interface: summary.interface,
            asked_as: record.asked_as,
            state,
            submitter: record.submitter.unwrap_or_default(),
            priority: record.priority,
            worker: record.worker.map(|tag| tag.to_string()),
            received_ms: record.received_ms,
            started_ms: ended.and_then(|log| log.started_ms),
            finished_ms: ended.map(|log| log.finished_ms).or_else(|| {
                // Moved by hand: nobody wrote down when.
                state.is_settled().then_some(record.received_ms)
            }),
            error,
            messages: log.map_or(Vec::new(), |log| log.messages),
            files: results.files,
            variables: results.variables,
            job: summary.job.name,
        }
    }
}

fn sort_key(sort: Sort, summary: &JobSummary) -> SortKey {
    let record = summary.record.as_ref();
    match sort {
        Sort::Arrival => SortKey::Arrival,
        Sort::Priority => {
            SortKey::Priority(record.map_or_else(Priority::default, |record| record.priority))
        }
        Sort::State => SortKey::State(summary.state),
        Sort::Worker => {
            let worker = record.and_then(|record| record.worker.as_ref());
            SortKey::Worker(worker.map(ToString::to_string))
        }
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

/// By whom a caller's act is done.
pub(super) fn by(caller: &Caller) -> By {
    let (dialect, address) = caller
        .via
        .map_or(("", None), |via| (via.dialect, Some(via.address)));
    By {
        account: caller.user.to_string(),
        login: None,
        origin: Origin::Client {
            dialect: dialect.into(),
            address,
        },
        why: None,
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
