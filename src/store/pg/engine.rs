//! The seam: what is asked of a store, and which part does it.

use super::{
    PgStore,
    accept::{New, Part},
    migrate, probe,
    runs::Held,
};
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::joblog::{JobLog, Message},
    domain::{InterfaceName, Job, JobName, Place, Queue, UserName},
    store::document::Document,
    store::{
        Activity, Asked, Attempt, Beside, By, Capacity, Claimed, Content, Counts, DocumentWriter,
        Fate, Filter, Fired, HoldEnd, JobDetail, JobSummary, KeptRun, Key, Keyed, Lease,
        LeftBehind, NewJob, NewName, NotReady, Of, Page, Precedence, Receipt, Remains, Result,
        RunLog, Saved, SavedSchedule, Sealed, Settled, Settlement, Store, Traces, Viewer, Waiting,
        Want,
        audit::{AuditHead, AuditRecord, Entry},
        check::{CheckProgress, Checked},
        events::{Ending, Event, EventId, EventRecord, FailedAttempt, Outgoing, WhichEvents},
    },
};
use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

#[async_trait]
impl Store for PgStore {
    fn begin(&self, name: NewName) -> Box<dyn DocumentWriter> {
        Box::new(Part::new(name))
    }

    async fn commit(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let new = New {
            document: &Document::of(sealed)?,
            job,
            place: Place::Queue(interface.into()),
            interface: Some(interface),
            key,
            findings: Vec::new(),
            parent: None,
            dropped: None,
        };
        self.asked().await?.take_in(&new).await
    }

    async fn refuse(
        &self,
        sealed: Sealed,
        job: NewJob,
        interface: Option<&InterfaceName>,
        findings: Vec<Message>,
        key: Option<&Key>,
    ) -> Result<Receipt> {
        let new = New {
            document: &Document::of(sealed)?,
            job,
            place: Place::Refused,
            interface,
            key,
            findings,
            parent: None,
            dropped: None,
        };
        self.asked().await?.take_in(&new).await
    }

    async fn find_key(&self, key: &Key) -> Result<Option<Keyed>> {
        let found = self.asked().await?.key(key).await?;
        Ok(found.map(|(keyed, _)| keyed))
    }

    async fn find(&self, viewer: &Viewer, of: Of, want: Want) -> Result<Option<JobDetail>> {
        self.asked().await?.find(viewer, of, want).await
    }

    async fn details(&self, jobs: Vec<Job>, want: Want) -> Result<Vec<JobDetail>> {
        self.asked().await?.details(&jobs, want).await
    }

    async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<JobName>,
        limit: usize,
    ) -> Result<Page> {
        self.asked().await?.list(viewer, filter, after, limit).await
    }

    async fn attempts(&self, job: &JobName) -> Result<Vec<Attempt>> {
        self.asked().await?.attempts(job).await
    }

    async fn still_waiting(&self, jobs: Vec<JobName>) -> Result<Vec<JobName>> {
        self.asked().await?.still_waiting(jobs).await
    }

    async fn is_known(&self, job: &JobName) -> Result<bool> {
        self.asked().await?.is_known(job).await
    }

    async fn log(&self, job: &Job) -> Result<JobLog> {
        self.asked().await?.log(job).await
    }

    async fn open(&self, job: &Job) -> Result<Option<Content>> {
        self.asked().await?.open(job).await
    }

    async fn open_result(&self, job: &JobName, name: &str) -> Result<Option<Content>> {
        self.asked().await?.open_result(job, name).await
    }

    async fn is_held(&self, interface: &InterfaceName) -> Result<bool> {
        self.asked().await?.is_held(interface).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.asked().await?.counts().await
    }

    async fn activity(&self) -> Result<Activity> {
        self.asked().await?.activity().await
    }

    async fn uploaded_bytes(&self, day: Date) -> Result<HashMap<String, u64>> {
        self.asked().await?.uploaded_bytes(day).await
    }

    async fn served_since_ms(&self, interface: &InterfaceName) -> Result<i64> {
        let sql = "select since_ms from served where interface = $1";
        let inner = self.asked().await?;
        let row = inner.db.row(sql, &[&interface.as_str()]).await?;
        Ok(row.map_or_else(|| inner.now_ms(), |row| row.get(0)))
    }

    async fn waiting_jobs(&self, interface: &InterfaceName, _: Asked) -> Result<Waiting> {
        let inner = self.asked().await?;
        let again = inner.take_drops(interface).await?;
        let waiting = inner.waiting_jobs(interface).await?;
        Ok(Waiting { again, ..waiting })
    }

    async fn precedence(&self, _: &InterfaceName, job: &JobName, _: bool) -> Result<Precedence> {
        let known = self.asked().await?.known(job).await?;
        Ok(known.map_or_else(Precedence::default, |known| known.precedence()))
    }

    async fn claim(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        works: bool,
    ) -> Result<Claimed> {
        self.asked().await?.claim(interface, job, works).await
    }

    async fn check_document(&self, _: &Lease) -> Result<Fate> {
        // Whatever became of the copy: the document is in the database.
        Ok(Fate::Whole)
    }

    async fn check_output(&self, lease: &Lease) -> Result<Option<String>> {
        let held = lease.held::<Held>();
        held.map_or(Ok(None), |held| {
            self.inner.check_output(&held, &lease.submitter)
        })
    }

    async fn settle(
        &self,
        lease: &Lease,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        match lease.held::<Held>() {
            None => Ok(Settled::Fenced),
            Some(held) => self.asked().await?.settle(&held, what, log).await,
        }
    }

    async fn left_behind(&self, interface: &InterfaceName) -> Result<Vec<LeftBehind>> {
        self.asked().await?.left_behind(interface).await
    }

    async fn kept(&self, _: &Lease) -> Result<Option<KeptRun>> {
        // It is on the machine where it ran, if anywhere.
        Ok(None)
    }

    async fn take_up(&self, lease: &Lease) -> Result<bool> {
        match lease.held::<Held>() {
            None => Ok(false),
            Some(held) => self.asked().await?.take_up(&held).await,
        }
    }

    async fn cut_off(&self, lease: &Lease) -> Result<bool> {
        if let Some(held) = lease.held::<Held>() {
            self.asked().await?.cut_off(lease, &held).await?;
        }
        Ok(true)
    }

    async fn cancel_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<bool>> {
        let mut done = Vec::with_capacity(jobs.len());
        for job in &jobs {
            done.push(match self.asked().await {
                Ok(inner) => inner.cancel(job, by).await,
                Err(error) => Err(error),
            });
        }
        done
    }

    async fn release_due(&self, job: &Job) -> Result<bool> {
        self.asked().await?.release_due(job).await
    }

    async fn fetched(&self, job: &Job, by: &By) -> Result<()> {
        self.asked().await?.fetched(job, by).await
    }

    fn new_schedule_id(&self) -> ScheduleId {
        let now_ms = self.now_ms();
        ScheduleId::new(self.inner.ids.lock().next(now_ms))
    }

    async fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<&Key>,
    ) -> Result<Saved> {
        let inner = self.asked().await?;
        inner.save_schedule(id, schedule, key).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleId>> {
        self.asked().await?.schedules().await
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<SavedSchedule>> {
        self.asked().await?.schedule(id).await
    }

    async fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        self.asked().await?.save_progress(id, progress).await
    }

    async fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<()> {
        self.asked().await?.reset_schedule(id, progress).await
    }

    async fn fire(
        &self,
        id: ScheduleId,
        moment: Timestamp,
        progress: &Progress,
        sealed: Sealed,
        job: NewJob,
        interface: &InterfaceName,
    ) -> Result<Fired> {
        let document = Document::of(sealed)?;
        let inner = self.asked().await?;
        inner
            .fire(id, moment, progress, &document, job, interface)
            .await
    }

    async fn remove_schedule(&self, id: ScheduleId, _: &By) -> Result<bool> {
        self.asked().await?.remove_schedule(id).await
    }

    fn interfaces(&self) -> Vec<InterfaceName> {
        self.inner.interfaces.load().keys().cloned().collect()
    }

    async fn find_all_anywhere(&self, jobs: Vec<JobName>) -> Result<Vec<Option<JobSummary>>> {
        self.asked().await?.summaries(&jobs).await
    }

    async fn remains(&self, job: &JobName) -> Result<Remains> {
        self.asked().await?.remains(job).await
    }

    async fn not_ready(&self, job: &Job) -> Result<Option<NotReady>> {
        let why = || NotReady::Astray("no user is shown it".into());
        Ok(self.inner.is_astray(&job.place).then(why))
    }

    async fn astray(&self, interface: &InterfaceName) -> Result<Vec<(String, String)>> {
        self.asked().await?.astray(interface).await
    }

    async fn said_so_far(&self, job: &Job) -> Result<Vec<Message>> {
        Ok(match job.place {
            Place::Work { .. } => self.inner.said_so_far(job),
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused => Vec::new(),
        })
    }

    async fn restored(&self) -> Result<Option<(i64, Vec<String>)>> {
        // The database restores itself.
        Ok(None)
    }

    async fn is_user(&self, user: &UserName) -> Result<bool> {
        Ok(self.inner.is_user(user))
    }

    async fn addressee_of(&self, job: &Job) -> Result<Option<UserName>> {
        let known = self.asked().await?.known(&job.name).await?;
        Ok(known.and_then(|known| known.addressee))
    }

    async fn is_cut_off(&self, job: &Job) -> Result<bool> {
        let inner = self.asked().await?;
        let known = inner.known(&job.name).await?;
        let runs = known.filter(|known| matches!(known.place, Place::Work { .. }));
        Ok(runs.is_some_and(|known| !inner.is_followed(&known)))
    }

    async fn hold_text(&self, interface: &InterfaceName) -> Result<Option<String>> {
        self.asked().await?.hold_text(interface).await
    }

    async fn hold(
        &self,
        interface: &InterfaceName,
        by: &By,
        until: Option<Timestamp>,
    ) -> Result<Option<String>> {
        self.asked().await?.hold(interface, by, until).await
    }

    async fn end_hold(&self, interface: &InterfaceName) -> Result<HoldEnd> {
        self.asked().await?.end_hold(interface).await
    }

    async fn resume(&self, interface: &InterfaceName, _: &By) -> Result<bool> {
        self.asked().await?.resume(interface).await
    }

    async fn requeue_all(&self, jobs: Vec<(Job, Queue)>, by: &By) -> Vec<Result<Job>> {
        let mut sent = Vec::with_capacity(jobs.len());
        for (job, to) in &jobs {
            sent.push(match self.asked().await {
                Ok(inner) => inner.requeue(job, to, by).await,
                Err(error) => Err(error),
            });
        }
        sent
    }

    async fn remove_all(&self, jobs: Vec<Job>, by: &By) -> Vec<Result<()>> {
        let mut removed = Vec::with_capacity(jobs.len());
        for job in &jobs {
            removed.push(match self.asked().await {
                Ok(inner) => inner.remove(job, by).await,
                Err(error) => Err(error),
            });
        }
        removed
    }

    async fn refuse_again(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        let inner = self.asked().await?;
        inner.refuse_again(job, interface, findings, by).await
    }

    async fn ask_reset(&self, id: ScheduleId, _: &By) -> Result<bool> {
        self.asked().await?.ask_reset(id).await
    }

    async fn traces_of(&self, submitter: &str) -> Result<Traces> {
        self.asked().await?.traces_of(submitter).await
    }

    async fn forget(&self, submitter: &str) -> Result<Traces> {
        self.asked().await?.forget(submitter).await
    }

    async fn audit(&self, entry: &Entry) -> Result<u64> {
        self.asked().await?.audit(entry).await
    }

    async fn audit_head(&self) -> Result<Option<AuditHead>> {
        self.asked().await?.audit_head().await
    }

    async fn audited(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        self.asked().await?.audited(limit).await
    }

    async fn record_event(&self, event: &Event, key: &str) -> Result<bool> {
        self.asked().await?.record_event(event, key).await
    }

    async fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>> {
        let inner = self.asked().await?;
        inner.waiting_events(receiver, without, limit).await
    }

    async fn end_events(&self, endings: Vec<Ending>) -> Result<()> {
        self.asked().await?.end_events(&endings).await
    }

    async fn note_failed_attempts(&self, failed: Vec<FailedAttempt>) -> Result<()> {
        self.asked().await?.note_failed_attempts(&failed).await
    }

    async fn event_dues(&self, receiver: &str) -> Result<Vec<(EventId, Timestamp)>> {
        self.asked().await?.event_dues(receiver).await
    }

    async fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize> {
        self.asked().await?.bury_events(before, bytes_max).await
    }

    async fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>> {
        self.asked().await?.events(which).await
    }

    async fn redeliver(&self, which: &WhichEvents) -> Result<usize> {
        self.asked().await?.redeliver(which).await
    }

    async fn event_recorded(&self) {
        self.inner.event_recorded().await;
    }

    async fn probe(&self) -> Result<Vec<String>> {
        let inner = self.asked().await?;
        migrate::check(&inner.db).await?;
        probe::probe(&inner.db).await
    }

    async fn check(&self, progress: Arc<CheckProgress>) -> Result<Checked> {
        self.asked().await?.check(&progress).await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }

    fn unhealthy(&self) -> Option<String> {
        self.inner.unhealthy.lock().clone()
    }

    fn pending_events(&self) -> usize {
        self.inner.hints.pending_events()
    }

    fn waiting(&self, interface: &InterfaceName) -> usize {
        self.inner.hints.waiting(interface)
    }

    fn waiting_beside(
        &self,
        interface: &InterfaceName,
        job: &JobName,
        whose: bool,
    ) -> Option<Beside> {
        self.inner.hints.beside(interface, job, whose)
    }

    fn capacity(&self) -> Option<Capacity> {
        None
    }

    fn is_addressed(&self, interface: &InterfaceName) -> bool {
        self.inner.is_addressed(interface)
    }
}
