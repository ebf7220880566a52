//! Looking for single jobs, their documents, logs and results.

use super::{
    Inner,
    known::{Known, id_of, known, log_of_text, parsed, record_of},
};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{Job, JobName, Place},
    store::{
        Attempt, AttemptEnd, Content, JobDetail, JobSummary, Of, Remains, Result, Results, Sight,
        State, StoreError, Viewer, Want, fs::fingerprint,
    },
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const FIND: &str = known!("$2", "r.id = $1");
const FIND_ALL: &str = known!("$2", "r.id = any($1)");

impl Inner {
    /// A job as it is now, with its log.
    pub(super) async fn known(&self, job: &JobName) -> Result<Option<Known>> {
        Ok(self
            .known_of_id(id_of(job), true)
            .await?
            .filter(|known| known.name == *job))
    }

    async fn known_of_id(&self, id: i64, with_log: bool) -> Result<Option<Known>> {
        let row = self.db.row(FIND, &[&id, &with_log]).await?;
        row.as_ref().map(Known::read).transpose()
    }

    /// Those that there are, by their ids.
    async fn all_known(&self, jobs: &[JobName], with_log: bool) -> Result<HashMap<i64, Known>> {
        let ids: Vec<i64> = jobs.iter().map(id_of).collect();
        let rows = self.db.rows(FIND_ALL, &[&ids, &with_log]).await?;
        let known = rows.iter().map(|row| Ok((row.get(0), Known::read(row)?)));
        known.collect()
    }

    pub(super) async fn find(
        &self,
        viewer: &Viewer,
        of: Of,
        want: Want,
    ) -> Result<Option<JobDetail>> {
        let id = match &of {
            Of::Id(id) => id.get() as i64,
            Of::Name(name) => id_of(name),
        };
        let is_meant = |known: &Known| match &of {
            Of::Id(_) => true,
            Of::Name(name) => known.name == *name,
        };
        // What is not seen is not read any further.
        let found = self.known_of_id(id, want.log).await?;
        match found.filter(|known| is_meant(known) && self.is_seen(viewer, known)) {
            None => Ok(None),
            Some(known) => Ok(Some(self.detail(known, want).await?)),
        }
    }

    async fn detail(&self, known: Known, want: Want) -> Result<JobDetail> {
        let is_done = known.state().0 == State::Done;
        let results = match want.results && is_done {
            true => self.results(&known).await?,
            false => Results::default(),
        };
        let now = want.now.then(|| known.now());
        let summary = self.summary(&known, want.record);
        Ok(JobDetail {
            summary,
            log: known.log.and_then(|log| log.text),
            results,
            now,
        })
    }

    async fn results(&self, known: &Known) -> Result<Results> {
        let names = "select name from result where id = $1 order by name collate \"C\"";
        let names = self.db.rows(names, &[&id_of(&known.name)]).await?;
        let variables = known.variables.as_deref().map(serde_json::from_str);
        Ok(Results {
            files: names.iter().map(|row| row.get(0)).collect(),
            variables: variables.and_then(Result::ok).unwrap_or_default(),
        })
    }

    pub(super) async fn details(&self, jobs: &[Job], want: Want) -> Result<Vec<JobDetail>> {
        let names: Vec<JobName> = jobs.iter().map(|job| job.name.clone()).collect();
        let mut known = self.all_known(&names, want.log).await?;
        let mut details = Vec::new();
        for name in &names {
            if let Some(known) = known.remove(&id_of(name)) {
                details.push(self.detail(known, want).await?);
            }
        }
        Ok(details)
    }

    pub(super) async fn summaries(&self, jobs: &[JobName]) -> Result<Vec<Option<JobSummary>>> {
        let known = self.all_known(jobs, false).await?;
        let found = jobs.iter().map(|job| {
            let known = known.get(&id_of(job)).filter(|known| known.name == *job);
            known.map(|known| self.summary(known, false))
        });
        Ok(found.collect())
    }

    pub(super) fn summary(&self, known: &Known, record: bool) -> JobSummary {
        let (state, is_deleted) = known.state();
        JobSummary {
            job: known.job(),
            state,
            is_deleted,
            interface: known.interface.clone(),
            owner: record.then(|| self.owner(known)).flatten(),
            record: record.then(|| known.record()),
            failure: None,
        }
    }

    pub(super) fn is_seen(&self, viewer: &Viewer, known: &Known) -> bool {
        let is_in_sight = match (viewer.sight)(known.interface.as_ref()) {
            Sight::All => true,
            Sight::Own => self.owner(known).as_deref() == Some(&*viewer.user),
            Sight::Nothing => false,
        };
        is_in_sight && (viewer.sees_astray || !self.is_astray(&known.place))
    }

    fn owner(&self, known: &Known) -> Option<String> {
        match &known.interface {
            Some(interface) if self.is_addressed(interface) => {
                known.addressee.as_ref().map(ToString::to_string)
            }
            Some(_) | None => Some(known.new.submitter.clone()),
        }
    }

    pub(super) fn is_astray(&self, place: &Place) -> bool {
        match place {
            Place::Queue(queue) => {
                self.is_addressed(&queue.interface)
                    && !queue
                        .addressee
                        .as_ref()
                        .is_some_and(|user| self.is_user(user))
            }
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Refused
            | Place::Work { .. } => false,
        }
    }

    pub(super) async fn attempts(&self, job: &JobName) -> Result<Vec<Attempt>> {
        let sql = "select number, started_ms, ended_ms, outcome, reason from attempt \
                   where id = $1 and number > 0 order by serial";
        let rows = self.db.rows(sql, &[&id_of(job)]).await?;
        let read = rows.iter().map(|row| {
            let outcome = outcome(row.get(3))?;
            let reason: Option<String> = row.get(4);
            let reason = reason.filter(|_| outcome != AttemptEnd::Done);
            Some(Attempt {
                number: super::known::count32(row.get(0)),
                started_ms: row.get(1),
                ended_ms: row.get(2),
                outcome,
                fingerprint: reason.as_deref().map(fingerprint),
                reason,
            })
        });
        Ok(read.flatten().collect())
    }

    pub(super) async fn still_waiting(&self, jobs: Vec<JobName>) -> Result<Vec<JobName>> {
        let ids: Vec<i64> = jobs.iter().map(id_of).collect();
        let sql = "select name from job where id = any($1) and place = 'queue'";
        let rows = self.db.rows(sql, &[&ids]).await?;
        let there: Vec<JobName> =
            (rows.iter().map(|row| parsed(row.get(0)))).collect::<Result<_>>()?;
        Ok(jobs.into_iter().filter(|job| there.contains(job)).collect())
    }

    pub(super) async fn is_known(&self, job: &JobName) -> Result<bool> {
        let sql = "select 1 from record where id = $1 and name = $2";
        self.db.does(sql, &[&id_of(job), &job.to_string()]).await
    }

    pub(super) async fn remains(&self, job: &JobName) -> Result<Remains> {
        let sql = "select r.*, l.text from record r left join log l on l.id = r.id where r.id = $1 and r.name = $2";
        let row = self.db.row(sql, &[&id_of(job), &job.to_string()]).await?;
        let Some(row) = row else {
            return Ok(Remains::default());
        };
        let log: Option<&str> = row.get("text");
        Ok(Remains {
            record: Some(record_of(&row)?.record(row.get("received_ms"))),
            log: log.map(log_of_text).transpose()?,
        })
    }

    pub(super) async fn log(&self, job: &Job) -> Result<JobLog> {
        if let Some(log) = self.remains(&job.name).await?.log {
            return Ok(log);
        }
        let known = self.known(&job.name).await?;
        let known = known.ok_or_else(|| gone(&job.name))?;
        let status = Status::at(&known.place);
        let text = format!("it is in {}", known.place);
        let is_there = Message::new(known.received_ms, Level::Info, text);
        Ok(known.log_of(status, known.received_ms, vec![is_there]))
    }

    pub(super) async fn open(&self, job: &Job) -> Result<Option<Content>> {
        let known = self.known_of_id(id_of(&job.name), false).await?;
        let Some(known) = known.filter(|known| known.job() == *job) else {
            return Ok(None);
        };
        let document = self.document(&job.name).await?;
        Ok(document.map(|document| Content::of_bytes(document, Some(known.sha256))))
    }

    /// The document of a job, as long as that is there.
    pub(super) async fn document(&self, job: &JobName) -> Result<Option<Bytes>> {
        let sql = "select body from document where id = $1";
        let row = self.db.row(sql, &[&id_of(job)]).await?;
        Ok(row.map(|row| row.get::<_, Vec<u8>>(0).into()))
    }

    pub(super) async fn open_result(&self, job: &JobName, name: &str) -> Result<Option<Content>> {
        let sql = "select body from result where id = $1 and name = $2";
        let row = self.db.row(sql, &[&id_of(job), &name]).await?;
        Ok(row.map(|row| {
            let bytes: Vec<u8> = row.get(0);
            let sha256 = hex::encode(Sha256::digest(&bytes));
            Content::of_bytes(bytes, Some(sha256))
        }))
    }
}

pub(super) fn gone(job: &JobName) -> StoreError {
    StoreError::NotFound(format!("there is no job {job} any more"))
}

fn outcome(text: &str) -> Option<AttemptEnd> {
    let mut all = [
        AttemptEnd::Cancelled,
        AttemptEnd::CutOff,
        AttemptEnd::Deferred,
        AttemptEnd::Done,
        AttemptEnd::Failed,
        AttemptEnd::GivenBack,
    ]
    .into_iter();
    all.find(|outcome| outcome.as_str() == text)
}
