//! What a viewer is shown of the spool. All of it blocks.

use super::{Content, FileContent, Inner};
use crate::store::fs::PlacePath;
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobId, JobName, Kind, Place, UserName},
    store::{
        JobDetail, JobRecord, JobSummary, Of, Results, Sight, State, Viewer, Want,
        fs::{Accepted, RealFs, Spool, SpoolError, records::Search, spots::Spot},
    },
};
use std::{collections::HashMap, fs::File, os::unix::fs::MetadataExt, path::Path, sync::Arc};

/// How often a job that moves meanwhile is looked for again.
const LOOKS_MAX: usize = 4;

/// What was looked up of several jobs together.
#[derive(Default)]
pub(super) struct Batch<'f> {
    pub(super) accepted: HashMap<JobId, Arc<Accepted>>,
    pub(super) addressees: HashMap<JobId, UserName>,
    /// What the viewer sees of the interface that was asked for.
    pub(super) sight: Option<(&'f InterfaceName, Sight)>,
}

/// What is recorded of one job, read as far as it is asked for.
pub(super) struct Recorded {
    search: Search<RealFs>,
    /// The interface that its log says, once that was read.
    in_log: Option<Option<InterfaceName>>,
}

impl Recorded {
    fn of(id: JobId) -> Self {
        Self {
            search: Search::new(id),
            in_log: None,
        }
    }
}

/// From where it is known what is recorded of a job.
pub(super) enum Source<'s> {
    Batch(&'s Batch<'s>),
    Job(&'s mut Recorded),
}

impl Source<'_> {
    /// What a viewer sees of an interface. It is not asked again for each job of a list.
    fn sight(&self, viewer: &Viewer, interface: Option<&InterfaceName>) -> Sight {
        let known = match self {
            Source::Batch(batch) => batch.sight,
            Source::Job(_) => None,
        };
        match known {
            Some((of, sight)) if interface == Some(of) => sight,
            Some(_) | None => (viewer.sight)(interface),
        }
    }
}

/// What decided that a viewer sees a job.
struct Shown {
    interface: Option<InterfaceName>,
    /// Where it was asked for.
    accepted: Option<Arc<Accepted>>,
    owner: Option<String>,
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
        let queue = self.spool.waits_in(name)?;
        let interface = queue.interface.clone();
        let place = Place::Queue(queue.clone());
        let is_seen = (viewer.sight)(Some(&interface)) == Sight::All
            && (viewer.sees_astray || !self.spool.is_astray(&place));
        let name = name.clone();
        // Nothing is looked at for whom it is not.
        (is_seen && self.spool.is_waiting(&name, &queue)).then(|| {
            JobDetail::of(JobSummary {
                job: Job { place, name },
                state: State::Waiting,
                is_deleted: false,
                interface: Some(interface),
                owner: None,
                record: None,
                failure: None,
            })
        })
    }

    /// A job as far as a viewer sees it. What is not for him is looked for to the end, as what is not there: at
    /// as many places, through the record, and in the log.
    pub(super) fn find(
        &self,
        viewer: &Viewer,
        of: Of,
        want: Want,
    ) -> Result<Option<JobDetail>, SpoolError> {
        let (id, is_by_id) = match &of {
            Of::Id(id) => (*id, true),
            Of::Name(name) => (name.id(), false),
        };
        let mut recorded = Recorded::of(id);
        let names = match of {
            Of::Id(_) => self.names_of(id, &mut recorded)?,
            Of::Name(name) => vec![name],
        };
        for name in &names {
            let home = self.spool.home_of(name, &mut recorded.search)?;
            let sees = &mut |spot: &Spot| {
                // Nothing is hidden from an operator, and each file that is found is asked about for itself.
                let looks_anywhere = viewer.sees_astray || !self.spool.has_scanned_all();
                if matches!(spot, Spot::Anywhere) && looks_anywhere {
                    return Ok(true);
                }
                let shown = self.shown(viewer, name, spot, false, &mut Source::Job(&mut recorded));
                Ok(shown?.is_some())
            };
            let Some(place) = self.spool.find_seen(name, &home, sees)? else {
                continue;
            };
            let name = name.clone();
            let detail = self.detail(viewer, Job { place, name }, want, &mut recorded)?;
            if detail.is_some() {
                return Ok(detail);
            }
        }
        let has_record = self.spool.search_through(&mut recorded.search)?;
        let unrecorded = match is_by_id && !has_record {
            true => self.spool.settled_with(id)?,
            false => Vec::new(),
        };
        for job in unrecorded {
            if let Some(detail) = self.detail(viewer, job, want, &mut recorded)? {
                return Ok(Some(detail));
            }
        }
        if recorded.in_log.is_none() {
            self.spool.has_log(&names[0])?;
        }
        Ok(None)
    }

    /// Two names that a job with that id can have: first the one that is recorded of it, if any.
    fn names_of(&self, id: JobId, recorded: &mut Recorded) -> Result<Vec<JobName>, SpoolError> {
        let plain = |kind| JobName::new(id, None, kind);
        let mut names = [Kind::Json, Kind::Xml].map(plain).to_vec();
        if let Some(accepted) = self.spool.searched(&mut recorded.search)? {
            names.retain(|name| name.kind() != accepted.job.kind());
            names.insert(0, accepted.job.clone());
        }
        Ok(names)
    }

    /// A job where anybody may have put it: by a listing of the directories in which jobs run or are
    /// deferred.
    pub(super) fn find_anywhere(&self, name: JobName) -> Result<Option<JobSummary>, SpoolError> {
        let Some(place) = self.spool.find(&name)? else {
            return Ok(None);
        };
        let recorded = &mut Recorded::of(name.id());
        let source = &mut Source::Job(recorded);
        self.summary(&Viewer::all(), &Job { place, name }, Want::PLACE, source)
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
        let mut recorded = Recorded::of(job.name.id());
        self.detail(viewer, job, want, &mut recorded)
    }

    /// What is known of a job. If it moves meanwhile, it is looked for again.
    fn detail(
        &self,
        viewer: &Viewer,
        mut job: Job,
        want: Want,
        recorded: &mut Recorded,
    ) -> Result<Option<JobDetail>, SpoolError> {
        for look in 1.. {
            let source = &mut Source::Job(recorded);
            let Some(summary) = self.summary(viewer, &job, want, source)? else {
                return Ok(None);
            };
            let detail = self.detail_of(summary, want)?;
            if want == Want::PLACE || look == LOOKS_MAX || self.spool.is_file(&job)? {
                return Ok(Some(detail));
            }
            match self.spool.find_known(&job.name)? {
                Some(place) => job.place = place,
                None => break,
            }
        }
        Ok(None)
    }

    fn detail_of(&self, summary: JobSummary, want: Want) -> Result<JobDetail, SpoolError> {
        let log = match want.log {
            true => self.spool.shown_log(&summary.job.name),
            false => None,
        };
        let results = match want.results && summary.state == State::Done {
            true => {
                let (files, variables) = self.spool.results_of(&summary.job.name)?;
                Results { files, variables }
            }
            false => Results::default(),
        };
        let now = want.now.then(|| self.now_of(&summary.job)).transpose()?;
        Ok(JobDetail {
            summary,
            log,
            results,
            now,
        })
    }

    /// A job as a list shows it; `None`: it is not for this viewer.
    pub(super) fn summary(
        &self,
        viewer: &Viewer,
        job: &Job,
        want: Want,
        source: &mut Source<'_>,
    ) -> Result<Option<JobSummary>, SpoolError> {
        let spot = Spot::at(&job.place);
        let Some(shown) = self.shown(viewer, &job.name, &spot, want.record, source)? else {
            return Ok(None);
        };
        let (state, is_deleted) = self.state_of(job)?;
        let accepted = shown.accepted.as_deref();
        Ok(Some(JobSummary {
            job: job.clone(),
            state,
            is_deleted,
            interface: shown.interface,
            owner: shown.owner.filter(|_| want.record),
            record: want.record.then(|| record_of(&self.spool, job, accepted)),
            failure: None,
        }))
    }

    /// Is a job at a spot for this viewer? The record is read where that depends on it, or when it is wanted.
    fn shown(
        &self,
        viewer: &Viewer,
        name: &JobName,
        spot: &Spot,
        wants_record: bool,
        source: &mut Source<'_>,
    ) -> Result<Option<Shown>, SpoolError> {
        let is_astray = spot
            .place()
            .is_some_and(|place| self.spool.is_astray(place));
        if is_astray && !viewer.sees_astray {
            return Ok(None);
        }
        let mut accepted = None;
        let interface = match spot.interface() {
            Some(interface) => Some(interface.clone()),
            None => {
                accepted = self.accepted(name, spot, source)?;
                self.interface_of(name, accepted.as_deref(), source)?
            }
        };
        let sight = source.sight(viewer, interface.as_ref());
        let is_owned = match sight {
            Sight::Nothing => return Ok(None),
            Sight::Own => true,
            Sight::All => wants_record,
        };
        if accepted.is_none() && is_owned {
            accepted = self.accepted(name, spot, source)?;
        }
        let owner = match is_owned {
            true => self.owner_of(name, spot, interface.as_ref(), accepted.as_deref(), source)?,
            false => None,
        };
        if sight == Sight::Own && owner.as_deref() != Some(&*viewer.user) {
            return Ok(None);
        }
        Ok(Some(Shown {
            interface,
            accepted,
            owner,
        }))
    }

    /// What was recorded of a job when it came, if the file at that spot is the one that came then.
    fn accepted(
        &self,
        name: &JobName,
        spot: &Spot,
        source: &mut Source<'_>,
    ) -> Result<Option<Arc<Accepted>>, SpoolError> {
        let recorded = match source {
            Source::Batch(batch) => return Ok(batch.accepted.get(&name.id()).cloned()),
            Source::Job(recorded) => recorded,
        };
        match self.spool.searched(&mut recorded.search)? {
            Some(accepted) if self.spool.believes_at(name, spot, &accepted)? => Ok(Some(accepted)),
            Some(_) | None => Ok(None),
        }
    }

    /// The interface of a job whose place does not say it.
    fn interface_of(
        &self,
        name: &JobName,
        accepted: Option<&Accepted>,
        source: &mut Source<'_>,
    ) -> Result<Option<InterfaceName>, SpoolError> {
        let moved = self.spool.moved(name)?;
        let recorded = moved.or_else(|| accepted?.interface.clone());
        if recorded.is_some() {
            return Ok(recorded);
        }
        // Of what nothing is recorded.
        let in_log = || self.spool.read_log(name).and_then(|log| log.interface);
        Ok(match source {
            Source::Batch(_) => in_log(),
            Source::Job(recorded) => recorded.in_log.get_or_insert_with(in_log).clone(),
        })
    }

    fn owner_of(
        &self,
        name: &JobName,
        spot: &Spot,
        interface: Option<&InterfaceName>,
        accepted: Option<&Accepted>,
        source: &Source<'_>,
    ) -> Result<Option<String>, SpoolError> {
        if !interface.is_some_and(|interface| self.spool.is_addressed(interface)) {
            return Ok(accepted.map(|accepted| accepted.submitter.clone()));
        }
        let user = match (spot.addressee(), source) {
            (Some(user), _) => Some(user.clone()),
            (None, Source::Batch(batch)) => batch.addressees.get(&name.id()).cloned(),
            (None, Source::Job(_)) => {
                let last = self.spool.last_addressee(name)?;
                last.or_else(|| accepted?.addressee.clone())
            }
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

    /// One look for all of them, those of an interface or of all.
    pub(super) fn batch<'f>(
        &self,
        of: Option<&InterfaceName>,
        jobs: &[Job],
    ) -> Result<Batch<'f>, SpoolError> {
        let addressed = self.spool.addressed_interfaces();
        let addressees = match addressed.iter().any(|one| of.is_none_or(|of| of == one)) {
            true => self.spool.addressees_of_all(jobs)?,
            false => HashMap::new(),
        };
        Ok(Batch {
            accepted: self.spool.accepted_of_all(jobs)?,
            addressees,
            sight: None,
        })
    }

    /// One look for all of those whose place does not say of which interface they are.
    pub(super) fn batch_of_ended<'f>(&self, jobs: &[Job]) -> Result<Batch<'f>, SpoolError> {
        let jobs = jobs.iter().filter(|job| job.place.interface().is_none());
        let jobs: Vec<Job> = jobs.cloned().collect();
        Ok(Batch {
            accepted: self.spool.accepted_of_all(&jobs)?,
            ..Batch::default()
        })
    }

    /// The log of a job that someone moved to where it is.
    pub(super) fn bare_log(&self, job: &Job) -> JobLog {
        let status = Status::at(&job.place);
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

fn record_of(spool: &Spool, job: &Job, known: Option<&Accepted>) -> JobRecord {
    let Some(known) = known else {
        return JobRecord {
            submitter: spool.file_owner_of(job),
            received_ms: job.name.id().unix_ms().min(spool.now_ms()),
            ..JobRecord::default()
        };
    };
    recorded(known)
}

/// A line of the record, as it is shown.
pub(super) fn recorded(accepted: &Accepted) -> JobRecord {
    JobRecord {
        submitter: Some(accepted.submitter.clone()),
        dialect: Some(accepted.dialect.clone()),
        asked_as: accepted.asked_as.clone(),
        priority: accepted.priority,
        worker: accepted.worker.clone(),
        retries: accepted.retries,
        order_key: accepted.order_key.clone(),
        came: Some(accepted.came.clone()),
        reference_as_sent: accepted.reference_as_sent.clone(),
        received_ms: accepted.received_ms,
    }
}

#[cfg(test)]
mod tests;
