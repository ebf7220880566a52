//! What a viewer is shown of the spool. All of it blocks.

use super::{Content, FileContent, Inner};
use crate::store::fs::PlacePath;
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobId, JobName, Place, Queue, UserName},
    store::{
        Filter, JobDetail, JobSummary, Of, Page, Record, Results, Sight, State, Viewer, Want,
        fs::{Accepted, Spool, SpoolError},
    },
};
use std::{collections::HashMap, fs::File, os::unix::fs::MetadataExt, path::Path, sync::Arc};

/// How often a job that moves meanwhile is looked for again.
const LOOKS_MAX: usize = 4;
/// So many jobs are looked up in the record together.
const TOGETHER: usize = 1024;

type Known = HashMap<JobId, Arc<Accepted>>;

/// What was looked up of several jobs together.
#[derive(Default)]
struct Batch {
    accepted: Known,
    addressees: HashMap<JobId, UserName>,
}

impl Inner {
    /// Where a job waits, if that is all that is asked for and it is known without a look into a
    /// directory. `None` says nothing.
    pub(super) fn waiting_at(&self, viewer: &Viewer, of: &Of, want: Want) -> Option<JobDetail> {
        let Of::Name(name) = of else {
            return None;
        };
        if want != Want::PLACE {
            return None;
        }
        let place = self.spool.find_waiting(name)?;
        let interface = place.interface().cloned();
        let is_seen = (viewer.sight)(interface.as_ref()) == Sight::All
            && (viewer.sees_astray || !self.spool.is_astray(&place));
        let name = name.clone();
        is_seen.then(|| {
            JobDetail::of(JobSummary {
                job: Job { place, name },
                state: State::Waiting,
                is_deleted: false,
                interface,
                owner: None,
                record: None,
            })
        })
    }

    pub(super) fn find(
        &self,
        viewer: &Viewer,
        of: Of,
        want: Want,
    ) -> Result<Option<JobDetail>, SpoolError> {
        let job = match of {
            Of::Id(id) => self.spool.find_id(id)?,
            Of::Name(name) => {
                let place = self.spool.find_known(&name)?;
                place.map(|place| Job { place, name })
            }
        };
        match job {
            Some(job) => self.detail(viewer, job, want),
            None => Ok(None),
        }
    }

    /// What is known of a job that was there a moment ago.
    pub(super) fn detail_there(
        &self,
        viewer: &Viewer,
        job: Job,
        want: Want,
    ) -> Result<Option<JobDetail>, SpoolError> {
        if want == Want::PLACE {
            return self.find(viewer, Of::Name(job.name), want);
        }
        self.detail(viewer, job, want)
    }

    /// What is known of a job. If it moves meanwhile, it is looked for again.
    fn detail(
        &self,
        viewer: &Viewer,
        mut job: Job,
        want: Want,
    ) -> Result<Option<JobDetail>, SpoolError> {
        for look in 1.. {
            let Some(summary) = self.summary(viewer, &job, want, None)? else {
                return Ok(None);
            };
            let detail = self.detail_of(summary, want)?;
            if want == Want::PLACE || look == LOOKS_MAX {
                return Ok(Some(detail));
            }
            match self.spool.find_known(&job.name)? {
                Some(place) if place == job.place => return Ok(Some(detail)),
                Some(place) => job.place = place,
                None => break,
            }
        }
        Ok(None)
    }

    fn detail_of(&self, summary: JobSummary, want: Want) -> Result<JobDetail, SpoolError> {
        let log = match want.log {
            true => self.spool.read_log(&summary.job.name),
            false => None,
        };
        let results = match want.results && summary.state == State::Done {
            true => {
                let (files, variables) = self.spool.results_of(&summary.job.name)?;
                Results { files, variables }
            }
            false => Results::default(),
        };
        Ok(JobDetail {
            summary,
            log,
            results,
        })
    }

    /// A job as a list shows it; `None`: it is not for this viewer.
    fn summary(
        &self,
        viewer: &Viewer,
        job: &Job,
        want: Want,
        batch: Option<&Batch>,
    ) -> Result<Option<JobSummary>, SpoolError> {
        let spool = &self.spool;
        if !viewer.sees_astray && spool.is_astray(&job.place) {
            return Ok(None);
        }
        let accepted = || match batch {
            Some(batch) => Ok(batch.accepted.get(&job.name.id()).cloned()),
            None => spool.accepted_of(job),
        };
        let mut known = None;
        let interface = match job.place.interface() {
            Some(interface) => Some(interface.clone()),
            None => {
                known = accepted()?;
                self.interface_of(job, known.as_deref())?
            }
        };
        let sight = (viewer.sight)(interface.as_ref());
        if sight == Sight::Nothing {
            return Ok(None);
        }
        if known.is_none() && (want.record || sight == Sight::Own) {
            known = accepted()?;
        }
        let owner = match want.record || sight == Sight::Own {
            true => self.owner_of(job, interface.as_ref(), known.as_deref(), batch)?,
            false => None,
        };
        if sight == Sight::Own && owner.as_deref() != Some(&*viewer.user) {
            return Ok(None);
        }
        let (state, is_deleted) = self.state_of(job)?;
        Ok(Some(JobSummary {
            job: job.clone(),
            state,
            is_deleted,
            interface,
            owner: owner.filter(|_| want.record),
            record: want.record.then(|| record_of(spool, job, known.as_deref())),
        }))
    }

    /// The interface of a job whose place does not say it.
    fn interface_of(
        &self,
        job: &Job,
        known: Option<&Accepted>,
    ) -> Result<Option<InterfaceName>, SpoolError> {
        let moved = self.spool.moved(&job.name)?;
        let recorded = moved.or_else(|| known?.interface.clone());
        // Of what nothing is recorded.
        Ok(recorded.or_else(|| self.spool.read_log(&job.name)?.interface))
    }

    fn owner_of(
        &self,
        job: &Job,
        interface: Option<&InterfaceName>,
        known: Option<&Accepted>,
        batch: Option<&Batch>,
    ) -> Result<Option<String>, SpoolError> {
        if !interface.is_some_and(|interface| self.spool.is_addressed(interface)) {
            return Ok(known.map(|known| known.submitter.clone()));
        }
        let user = match batch {
            Some(batch) => batch.addressees.get(&job.name.id()).cloned(),
            None => self.spool.addressee_of(job)?,
        };
        Ok(user.map(|user| user.to_string()))
    }

    fn state_of(&self, job: &Job) -> Result<(State, bool), SpoolError> {
        let state = match job.place {
            Place::Deferred { .. } | Place::Queue(_) => State::Waiting,
            Place::Work { .. } => State::Running,
            Place::Bak(_) => State::Done,
            Place::Refused => State::Failed,
            Place::JobErrors => {
                return Ok(match self.spool.cancelled(&job.name)? {
                    Some(while_it_waited) => (State::Cancelled, while_it_waited),
                    None => (State::Failed, false),
                });
            }
        };
        Ok((state, false))
    }

    pub(super) fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<&JobName>,
        limit: usize,
    ) -> Result<Page, SpoolError> {
        let sight = (viewer.sight)(Some(&filter.interface));
        if sight == Sight::Nothing {
            return Ok(Page::default());
        }
        let mut jobs = self.candidates(viewer, filter, sight)?;
        match filter.newest_first {
            false => jobs.sort_unstable_by(|one, other| one.name.cmp(&other.name)),
            true => jobs.sort_unstable_by(|one, other| other.name.cmp(&one.name)),
        }
        let begin = match after {
            None => 0,
            Some(after) if filter.newest_first => jobs.partition_point(|job| job.name >= *after),
            Some(after) => jobs.partition_point(|job| job.name <= *after),
        };
        let want = Want {
            record: filter.want_record,
            ..Want::PLACE
        };
        let mut page = Page::default();
        for jobs in jobs[begin..].chunks(TOGETHER) {
            let batch = match want.record || sight == Sight::Own {
                true => self.batch(&filter.interface, jobs)?,
                false => Batch::default(),
            };
            for job in jobs {
                let is_in = |state| filter.states.is_empty() || filter.states.contains(&state);
                match self.summary(viewer, job, want, Some(&batch))? {
                    Some(summary) if is_in(summary.state) => {
                        if page.jobs.len() == limit {
                            page.next = page.jobs.last().map(|last| last.job.name.clone());
                            return Ok(page);
                        }
                        page.jobs.push(summary);
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(page)
    }

    /// The jobs among which a list looks, in no order.
    fn candidates(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        sight: Sight,
    ) -> Result<Vec<Job>, SpoolError> {
        let interface = &filter.interface;
        if !filter.only_active {
            return self.spool.jobs(interface);
        }
        if sight != Sight::Own || !self.spool.is_addressed(interface) {
            return self.spool.list(interface);
        }
        // Whoever is no user has no such directory.
        let Ok(user) = viewer.user.parse() else {
            return Ok(Vec::new());
        };
        let queue = Queue::of_user(interface, user);
        let names = self.spool.list_for(&queue)?.into_iter();
        let place = Place::Queue(queue);
        let job = |name| Job {
            place: place.clone(),
            name,
        };
        Ok(names.map(job).collect())
    }

    /// One look for all of them.
    fn batch(&self, interface: &InterfaceName, jobs: &[Job]) -> Result<Batch, SpoolError> {
        let addressees = match self.spool.is_addressed(interface) {
            true => self.spool.addressees_of_all(jobs)?,
            false => HashMap::new(),
        };
        Ok(Batch {
            accepted: self.spool.accepted_of_all(jobs)?,
            addressees,
        })
    }

    /// The log of a job that someone moved to where it is.
    pub(super) fn bare_log(&self, job: &Job) -> JobLog {
        let status = match job.place {
            Place::Bak(_) => Status::Ok,
            Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused
            | Place::Work { .. } => Status::Error,
        };
        let received_ms = self.spool.received_ms(job);
        let text = format!("moved by hand to {}", job.place);
        let message = Message::new(received_ms, Level::Info, text);
        JobLog {
            interface: self.spool.interface_of(job),
            status,
            finished_ms: received_ms,
            ..self.spool.log_without_run(job, 0, vec![message])
        }
    }

    pub(super) fn open(&self, job: &Job) -> Result<Option<Content>, SpoolError> {
        let sha256 = self.spool.checksum_of(job);
        if !self.spool.is_whole(job) {
            // Someone is still copying it there.
            return Ok(None);
        }
        let file = self.spool.open_job(job)?;
        let path = job.place.path(&job.name);
        let content = file.map(|file| self.content(file, sha256, &path));
        content.transpose()
    }

    /// An open file, with its digest, which is computed where it is not known yet: of what was made or dropped
    /// by hand.
    pub(super) fn content(
        &self,
        file: File,
        sha256: Option<String>,
        path: &Path,
    ) -> Result<Content, SpoolError> {
        let unreadable = |error| super::super::wrap("read", path)(error);
        let bytes = file.metadata().map_err(unreadable)?.size();
        let sha256 = match sha256 {
            Some(known) => Some(known),
            None => self.digests.of(&file).map_err(unreadable)?,
        };
        Ok(Content::new(
            bytes,
            sha256,
            Arc::new(FileContent(Arc::new(file))),
        ))
    }
}

fn record_of(spool: &Spool, job: &Job, known: Option<&Accepted>) -> Record {
    let Some(known) = known else {
        return Record {
            submitter: spool.file_owner_of(job),
            received_ms: job.name.id().unix_ms().min(spool.now_ms()),
            ..Record::default()
        };
    };
    Record {
        submitter: Some(known.submitter.clone()),
        asked_as: known.asked_as.clone(),
        priority: known.priority,
        worker: known.worker.clone(),
        received_ms: known.received_ms,
    }
}
