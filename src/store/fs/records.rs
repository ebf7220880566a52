//! The record: what is known of each job since it came, and how its attempts ended; never where it is.
//!
//! `records/<day>/accepted.jsonl` and `ended.jsonl`, of the day in the job's name, so that all of one
//! job is in one place. A line is in the journal first, in one record with what it tells of, and is
//! appended to its file after that record's flush, by one writer. Until then it is found in memory,
//! later by bisection: the ids rise within `accepted.jsonl`, up to a window. So a start reads nothing,
//! and memory holds what is on its way, some lines that were in use, and how far those jobs are that
//! have been tried and have not ended. What came before the start is read when it is asked for, one
//! day at once.
//!
//! Invariant: nothing is believed but these lines. A file whose owner is neither the service's user
//! nor the user who brought it, as its line says, is not the file that the line is of.

mod failures;
mod files;
mod line;
mod needles;
mod recall;
mod search;
mod uploads;

pub(super) use failures::ErrorLine;
pub use line::{Accepted, Act, Ended, fingerprint};
pub(super) use needles::Needles;
pub(super) use search::Search;

use super::{
    Fs, Spool, SpoolError,
    audit::Audited,
    events::{self, Shown},
    wrap,
};
use crate::domain::joblog::{Level, Message};
use crate::domain::{Horizon, InterfaceName, Job, JobId, JobName, Kind, UserName};
use crate::store::Failure;
use crate::store::events::EventLine;
use crate::store::fs::PlacePath;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

pub(super) const DIR: &str = "records";
/// Lines that were in use are kept up to so many bytes.
const RECENT_BYTES_MAX: usize = 1 << 20;
/// What a line takes in memory beside its parameters.
const LINE_BYTES: usize = 512;
/// So much is kept of what a job's next log is to say.
const NOTE_CHARS_MAX: usize = 2000;

/// What is known of a job, by one look at its file and at the record.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What was recorded of it when it came, if its file is the one that came then.
    pub(super) accepted: Option<Arc<Accepted>>,
    /// Of its file; 0 when there is none.
    pub(super) bytes: u64,
    /// As recorded, if its file has not been written to since.
    pub(super) sha256: Option<String>,
    /// Whose its file is.
    uid: Option<u32>,
}

impl Facts {
    /// Who submitted it, as far as is recorded; else whose its file is.
    pub(super) fn submitter(&self) -> String {
        match (&self.accepted, self.uid) {
            (Some(accepted), _) => accepted.submitter.clone(),
            (None, Some(uid)) => format!("uid {uid}"),
            (None, None) => String::new(),
        }
    }

    /// How often it is to be tried again, if it says so itself.
    pub(super) fn retries(&self) -> Option<u32> {
        let accepted = self.accepted.as_ref()?;
        match accepted.job.kind() {
            Kind::Json => accepted.retries,
            Kind::Xml => None,
        }
    }
}

/// One line, on its way to its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Accepted(Arc<Accepted>),
    /// Of the audit, whose files are written as those of the record are.
    Audited(Box<Audited>),
    Ended(Box<Ended>),
    /// Of the events, likewise.
    Event(Box<EventLine>),
}

impl Said {
    /// The job that it tells of, if it tells of one.
    fn job(&self) -> Option<&JobName> {
        match self {
            Self::Accepted(accepted) => Some(&accepted.job),
            Self::Audited(_) | Self::Event(_) => None,
            Self::Ended(ended) => Some(&ended.job),
        }
    }

    /// The event that it is.
    pub(super) fn event(&self) -> Option<&EventLine> {
        match self {
            Self::Event(line) => Some(line),
            Self::Accepted(_) | Self::Audited(_) | Self::Ended(_) => None,
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Accepted(accepted) => accepted_path(&accepted.job.day()),
            Self::Audited(audited) => audited.path(),
            Self::Ended(ended) => ended_path(&ended.job.day()),
            Self::Event(line) => events::path_of(line),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Accepted(accepted) => accepted.to_line(),
            Self::Audited(audited) => audited.line.clone(),
            Self::Ended(ended) => ended.to_line(),
            Self::Event(line) => line.to_line(),
        }
    }
}

fn accepted_path(day: &str) -> PathBuf {
    [DIR, day, "accepted.jsonl"].iter().collect()
}

fn ended_path(day: &str) -> PathBuf {
    [DIR, day, "ended.jsonl"].iter().collect()
}

/// How far a job is that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Life {
    /// Attempts that count.
    attempts: u32,
    /// What its next log is to say if it does not say so yet: the last of it.
    notes: VecDeque<Message>,
}

/// The jobs of a day that have not ended, as far as there is something to be said of them.
#[derive(Debug, Default)]
struct Day {
    lives: HashMap<u64, Life>,
    /// The interfaces of those that have another one than their first line says.
    moved: HashMap<u64, InterfaceName>,
    /// The same of those for whom they are.
    addressed: HashMap<u64, UserName>,
    /// Those that were cancelled, and whether they waited then.
    cancelled: HashMap<u64, bool>,
}

impl Day {
    fn tell(&mut self, ended: &Ended) {
        let id = ended.job.id().get();
        if let Some(interface) = &ended.interface {
            self.moved.insert(id, interface.clone());
        }
        if let Some(user) = &ended.addressee {
            self.addressed.insert(id, user.clone());
        }
        match ended.act {
            Act::Cancelled => {
                self.lives.remove(&id);
                // A run has an attempt.
                self.cancelled.insert(id, ended.attempt.is_none());
            }
            Act::Done | Act::Failed | Act::Fetched | Act::Refused => {
                self.lives.remove(&id);
            }
            Act::Removed => {
                self.lives.remove(&id);
                self.moved.remove(&id);
                self.addressed.remove(&id);
                self.cancelled.remove(&id);
            }
            Act::CutOff | Act::Deferred => {
                self.lives.entry(id).or_default().attempts = ended.attempt.unwrap_or(0);
            }
            Act::GivenBack => {
                let attempts = ended.attempt.unwrap_or(0).saturating_sub(1);
                let life = self.lives.entry(id).or_default();
                life.attempts = attempts;
                if *life == Life::default() {
                    self.lives.remove(&id);
                }
            }
            Act::Noted => self.lives.entry(id).or_default().note(ended),
            Act::Requeued => {
                let life = self.lives.entry(id).or_default();
                life.attempts = 0;
                life.note(ended);
                self.cancelled.remove(&id);
            }
        }
    }
}

impl Life {
    fn note(&mut self, ended: &Ended) {
        let Some(text) = &ended.text else {
            return;
        };
        let text: String = text.chars().take(NOTE_CHARS_MAX).collect();
        let chars = |note: &Message| note.text.chars().count();
        let mut kept = text.chars().count() + self.notes.iter().map(chars).sum::<usize>();
        while kept > NOTE_CHARS_MAX
            && let Some(oldest) = self.notes.pop_front()
        {
            kept -= chars(&oldest);
        }
        let note = Message::new(ended.at_ms, Level::Info, text);
        self.notes.push_back(note);
    }
}

/// Lines that were in use, the oldest of which go.
#[derive(Debug, Default)]
struct Recent {
    lines: HashMap<u64, Arc<Accepted>>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Recent {
    fn keep(&mut self, accepted: Arc<Accepted>) {
        let id = accepted.job.id().get();
        self.bytes += Self::bytes_of(&accepted);
        match self.lines.insert(id, accepted) {
            Some(earlier) => self.bytes -= Self::bytes_of(&earlier),
            None => self.order.push_back(id),
        }
        while self.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(line) = self.lines.remove(&oldest) {
                self.bytes -= Self::bytes_of(&line);
            }
        }
    }

    fn bytes_of(line: &Accepted) -> usize {
        LINE_BYTES + line.params.as_ref().map_or(0, String::len)
    }
}

#[derive(Debug, Default)]
struct Known {
    /// Lines that their files do not have yet.
    unwritten: HashMap<u64, Arc<Accepted>>,
    recent: Recent,
    days: HashMap<String, Day>,
    /// Days of which all has been read that came before the start.
    read: HashSet<String>,
}

pub(super) struct Records<F: Fs> {
    known: Mutex<Known>,
    writer: Mutex<files::Writer<F::File>>,
    /// Held while a day is read.
    reading: Mutex<()>,
    counting: Mutex<recall::Counting>,
    /// The ids before the start: of jobs that came later, all is in memory.
    since: OnceLock<Horizon>,
    /// The user id that owns the files.
    owner: OnceLock<u32>,
    pub(super) events: Shown,
}

impl<F: Fs> Records<F> {
    /// Of a process that begins at that moment.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            counting: Mutex::new(recall::Counting::since(now_ms)),
            known: Mutex::default(),
            writer: Mutex::default(),
            reading: Mutex::default(),
            since: OnceLock::new(),
            owner: OnceLock::new(),
            events: Shown::default(),
        }
    }

    /// Other ids than these are new from now on: nothing before knows of them.
    pub(super) fn begin(&self, given: Horizon) {
        // Once, by the owner's start.
        let _ = self.since.set(given);
    }

    fn is_new(&self, id: JobId) -> bool {
        self.since.get().is_some_and(|given| !given.has(id))
    }

    /// Takes note of a line that has been recorded, in the order of the records.
    pub(super) fn tell(&self, said: &Said) {
        let mut known = self.known.lock();
        let unwritten = said
            .job()
            .and_then(|job| known.unwritten.get(&job.id().get()));
        let came_to = unwritten.and_then(|accepted| accepted.interface.as_ref());
        self.counting.lock().tell(said, came_to);
        match said {
            Said::Accepted(accepted) => {
                let id = accepted.job.id().get();
                known.unwritten.insert(id, accepted.clone());
            }
            Said::Audited(_) => {}
            Said::Ended(ended) => {
                let day = known.days.entry(ended.job.day()).or_default();
                day.tell(ended);
            }
            Said::Event(line) => self.events.tell(line),
        }
    }

    /// The files have the lines of these jobs.
    fn written(&self, ids: &[u64]) {
        let mut known = self.known.lock();
        for id in ids {
            if let Some(accepted) = known.unwritten.remove(id) {
                known.recent.keep(accepted);
            }
        }
    }

    fn in_memory(&self, id: u64) -> Option<Arc<Accepted>> {
        let known = self.known.lock();
        let found = known.unwritten.get(&id).or(known.recent.lines.get(&id));
        found.cloned()
    }

    /// The lines of these jobs have changed. They have ended, so nothing is known of them that counts.
    pub(super) fn forget_jobs(&self, day: &str, ids: &HashSet<u64>) {
        let mut known = self.known.lock();
        for id in ids {
            if let Some(line) = known.recent.lines.remove(id) {
                known.recent.bytes -= Recent::bytes_of(&line);
                known.recent.order.retain(|kept| kept != id);
            }
            if let Some(day) = known.days.get_mut(day) {
                day.lives.remove(id);
                day.addressed.remove(id);
            }
        }
    }

    /// A day's files have been removed.
    pub(super) fn forget(&self, day: &str) {
        let mut known = self.known.lock();
        known.days.remove(day);
        known.read.remove(day);
        drop(known);
        self.close_files();
    }
}

impl<F: Fs> Spool<F> {
    /// An end or an act to be recorded, as of now.
    ///
    /// # Errors
    /// When what was recorded of the job's day cannot be read.
    pub(super) fn ended(&self, job: &JobName, act: Act) -> Result<Ended, SpoolError> {
        self.read_day(job)?;
        Ok(Ended::new(job, act, self.now_ms()))
    }

    /// Reads what came before the start, so that what is told from now on comes after it.
    fn read_day(&self, job: &JobName) -> Result<(), SpoolError> {
        let day = job.day();
        let is_read =
            || self.records.is_new(job.id()) || self.records.known.lock().read.contains(&day);
        if is_read() {
            return Ok(());
        }
        let _one = self.records.reading.lock();
        if is_read() {
            return Ok(());
        }
        let mut before = Day::default();
        self.each_ended(&day, &mut |ended| {
            if !self.records.is_new(ended.job.id()) {
                before.tell(&ended);
            }
        })?;
        let mut known = self.records.known.lock();
        let now = known.days.entry(day.clone()).or_default();
        now.lives.extend(before.lives);
        now.moved.extend(before.moved);
        now.addressed.extend(before.addressed);
        now.cancelled.extend(before.cancelled);
        known.read.insert(day);
        Ok(())
    }

    /// What was recorded of a job when it came; `None` when nothing was. To be believed of a job's
    /// file only by [`Spool::accepted_of`].
    ///
    /// # Errors
    /// When the record of its day cannot be read.
    pub fn accepted(&self, job: &JobName) -> Result<Option<Arc<Accepted>>, SpoolError> {
        self.searched(&mut Search::new(job.id()))
    }

    /// What was recorded of a job when it came, if its file is the one that came then.
    ///
    /// # Errors
    /// When the record of its day, or the file, cannot be looked at.
    pub fn accepted_of(&self, job: &Job) -> Result<Option<Arc<Accepted>>, SpoolError> {
        match self.accepted(&job.name)? {
            Some(accepted) if self.believes(job, &accepted)? => Ok(Some(accepted)),
            Some(_) | None => Ok(None),
        }
    }

    /// All that is known of a job.
    ///
    /// # Errors
    /// As those of [`Spool::accepted_of`].
    pub(super) fn facts_of(&self, job: &Job) -> Result<Facts, SpoolError> {
        let path = job.place.path(&job.name);
        let mut facts = Facts {
            accepted: self.accepted(&job.name)?,
            ..Facts::default()
        };
        let Some(stat) = self.stat(&path)? else {
            return Ok(facts);
        };
        if let Some(accepted) = facts.accepted.take()
            && self.believes_of(stat.uid, accepted.uid)?
        {
            facts.sha256 = self.checksum_at(&path, &stat, &accepted);
            facts.accepted = Some(accepted);
        }
        facts.bytes = stat.bytes;
        facts.uid = Some(stat.uid);
        Ok(facts)
    }

    /// The same of many jobs, by id, without their parameters: one look through each day.
    ///
    /// # Errors
    /// As those of [`Spool::accepted_of`].
    pub fn accepted_of_all(
        &self,
        jobs: &[Job],
    ) -> Result<HashMap<JobId, Arc<Accepted>>, SpoolError> {
        let mut found = HashMap::with_capacity(jobs.len());
        let mut days: HashMap<String, Vec<&Job>> = HashMap::new();
        for job in jobs {
            match self.records.in_memory(job.name.id().get()) {
                Some(known) => drop(found.insert(job.name.id(), known)),
                None => days.entry(job.name.day()).or_default().push(job),
            }
        }
        for (day, jobs) in days {
            let ids = jobs.iter().map(|job| job.name.id().get()).collect();
            self.look_up_all(&day, ids, &mut |accepted| {
                found.insert(accepted.job.id(), accepted);
            })?;
        }
        for job in jobs {
            if let Some(accepted) = found.get(&job.name.id())
                && !self.believes(job, accepted)?
            {
                found.remove(&job.name.id());
            }
        }
        Ok(found)
    }

    pub(super) fn believes(&self, job: &Job, accepted: &Accepted) -> Result<bool, SpoolError> {
        match self.stat(&job.place.path(&job.name))? {
            Some(stat) => self.believes_of(stat.uid, accepted.uid),
            None => Ok(true),
        }
    }

    /// Is a file of this owner the one that came with a line that says who brought it?
    ///
    /// # Errors
    /// When the directory of the records cannot be looked at.
    pub(super) fn believes_of(
        &self,
        uid: u32,
        brought_by: Option<u32>,
    ) -> Result<bool, SpoolError> {
        let owner = match self.records.owner.get() {
            Some(owner) => Some(*owner),
            None => self.stat(Path::new(DIR))?.map(|stat| {
                let owner = stat.uid;
                *self.records.owner.get_or_init(|| owner)
            }),
        };
        Ok(uid == 0 || owner == Some(uid) || brought_by == Some(uid))
    }

    /// The same as [`Spool::accepted_of`], to show a job: what cannot be read is logged and counts as
    /// unknown.
    pub(super) fn known_of(&self, job: &Job) -> Option<Arc<Accepted>> {
        self.accepted_of(job).unwrap_or_else(|error| {
            tracing::warn!(job = %job.name, %error, "the record cannot be read");
            None
        })
    }

    /// Who submitted a job, as far as its record says; else whose its file is: `uid N`. `None` when
    /// there is no such file.
    pub fn submitter_of(&self, job: &Job) -> Option<String> {
        if let Some(accepted) = self.known_of(job) {
            return Some(accepted.submitter.clone());
        }
        self.file_owner_of(job)
    }

    /// Whose a job's file is: `uid N`. `None` when there is no such file.
    pub(super) fn file_owner_of(&self, job: &Job) -> Option<String> {
        let stat = self.stat(&job.place.path(&job.name)).ok().flatten()?;
        Some(format!("uid {}", stat.uid))
    }

    /// The interface that a job belongs to, by its place, or else by its log or the record.
    pub fn interface_of(&self, job: &Job) -> Option<InterfaceName> {
        if let Some(interface) = job.place.interface() {
            return Some(interface.clone());
        }
        (self.read_log(&job.name).and_then(|log| log.interface))
            .or_else(|| self.known_of(job)?.interface.clone())
    }

    /// The interface in which a job is, if no line says it: people have moved it there.
    pub(super) fn interface_to_tell(&self, job: &Job) -> Option<InterfaceName> {
        let interface = job.place.interface()?;
        let moved = self.moved(&job.name).ok().flatten();
        let accepted = || self.accepted(&job.name).ok().flatten();
        let recorded = moved.or_else(|| accepted()?.interface.clone());
        (recorded.as_ref() != Some(interface)).then(|| interface.clone())
    }

    /// What is to be recorded of a job that people have moved to where it is while nobody saw that, if so.
    ///
    /// # Errors
    /// As those of [`Spool::ended`].
    pub(super) fn unseen_move(&self, job: &Job) -> Result<Option<Ended>, SpoolError> {
        match self.interface_to_tell(job) {
            Some(_) => self.ended(&job.name, Act::Noted).map(Some),
            None => Ok(None),
        }
    }

    /// The interface in which a job was when that was last told to be another one than at its coming.
    ///
    /// # Errors
    /// When what was recorded of its day cannot be read.
    pub(super) fn moved(&self, job: &JobName) -> Result<Option<InterfaceName>, SpoolError> {
        self.read_day(job)?;
        let known = self.records.known.lock();
        let day = known.days.get(&job.day());
        Ok(day.and_then(|day| day.moved.get(&job.id().get()).cloned()))
    }

    /// Was a job cancelled, and if so, while it waited?
    ///
    /// # Errors
    /// When what was recorded of its day cannot be read.
    pub(super) fn cancelled(&self, job: &JobName) -> Result<Option<bool>, SpoolError> {
        self.read_day(job)?;
        let known = self.records.known.lock();
        let day = known.days.get(&job.day());
        Ok(day.and_then(|day| day.cancelled.get(&job.id().get()).copied()))
    }

    /// How the jobs of a day have failed last, by id, those that have not gone on since. All of the day's lines that
    /// are in its file are read.
    ///
    /// # Errors
    /// When what was recorded of the day cannot be read.
    pub(super) fn failures_of(&self, day: &str) -> Result<HashMap<JobId, Failure>, SpoolError> {
        let mut failures = HashMap::new();
        self.each_ended(day, &mut |ended| {
            let id = ended.job.id();
            match ended.act {
                Act::CutOff | Act::Deferred | Act::Failed | Act::Refused => {
                    failures.insert(id, ended.failure());
                }
                Act::Cancelled | Act::Done | Act::Fetched | Act::Removed | Act::Requeued => {
                    failures.remove(&id);
                }
                // They end no attempt.
                Act::GivenBack | Act::Noted => {}
            }
        })?;
        Ok(failures)
    }

    /// For whom a job is: where it lies says so, else the last that is known.
    ///
    /// # Errors
    /// When what was recorded of the job or of its day cannot be read.
    pub fn addressee_of(&self, job: &Job) -> Result<Option<UserName>, SpoolError> {
        match job.place.addressee() {
            Some(user) => Ok(Some(user.clone())),
            None => self.recorded_addressee(job),
        }
    }

    /// The same of many jobs, by id: one look through each day.
    ///
    /// # Errors
    /// As those of [`Spool::addressee_of`].
    pub fn addressees_of_all(&self, jobs: &[Job]) -> Result<HashMap<JobId, UserName>, SpoolError> {
        let elsewhere = jobs.iter().filter(|job| job.place.addressee().is_none());
        let elsewhere: Vec<Job> = elsewhere.cloned().collect();
        let accepted = self.accepted_of_all(&elsewhere)?;
        let mut found = HashMap::with_capacity(jobs.len());
        for job in jobs {
            let id = job.name.id();
            let user = match job.place.addressee() {
                Some(user) => Some(user.clone()),
                None => (self.last_addressee(&job.name)?)
                    .or_else(|| accepted.get(&id).and_then(|known| known.addressee.clone())),
            };
            found.extend(user.map(|user| (id, user)));
        }
        Ok(found)
    }

    /// For whom a job was when that was last told to be another one than at its coming.
    pub(super) fn last_addressee(&self, job: &JobName) -> Result<Option<UserName>, SpoolError> {
        self.read_day(job)?;
        let known = self.records.known.lock();
        let day = known.days.get(&job.day());
        Ok(day.and_then(|day| day.addressed.get(&job.id().get()).cloned()))
    }

    fn recorded_addressee(&self, job: &Job) -> Result<Option<UserName>, SpoolError> {
        let last = self.last_addressee(&job.name)?;
        if last.is_some() {
            return Ok(last);
        }
        let accepted = self.accepted_of(job)?;
        Ok(accepted.and_then(|accepted| accepted.addressee.clone()))
    }

    /// For whom a job is that leaves the only place which says so, if no line says it.
    pub(super) fn addressee_to_tell(&self, job: &Job) -> Option<UserName> {
        let user = job.place.addressee()?;
        let known = self.recorded_addressee(job).ok().flatten();
        (known.as_ref() != Some(user)).then(|| user.clone())
    }

    /// Attempts of a waiting job that count.
    ///
    /// # Errors
    /// When what was recorded of its day cannot be read.
    pub fn attempts_of(&self, job: &JobName) -> Result<u32, SpoolError> {
        self.read_day(job)?;
        let known = self.records.known.lock();
        let day = known.days.get(&job.day());
        let life = day.and_then(|day| day.lives.get(&job.id().get()));
        Ok(life.map_or(0, |life| life.attempts))
    }

    /// What was noted of a job since it ended last, if it did, as messages of its log. Whoever writes or shows that adds
    /// what it does not say yet.
    ///
    /// # Errors
    /// When what was recorded of its day cannot be read.
    pub(super) fn noted_of(&self, job: &JobName) -> Result<Vec<Message>, SpoolError> {
        self.read_day(job)?;
        let known = self.records.known.lock();
        let day = known.days.get(&job.day());
        let life = day.and_then(|day| day.lives.get(&job.id().get()));
        let notes = life.map(|life| life.notes.iter().cloned().collect());
        Ok(notes.unwrap_or_default())
    }

    /// How a job came, as the first message of its first log, if there is something to be said of that.
    pub fn first_words(&self, job: &Job) -> Option<Message> {
        Self::words_of(&*self.known_of(job)?)
    }

    /// The same by what was recorded of it.
    pub(super) fn words_of(accepted: &Accepted) -> Option<Message> {
        let note = accepted.note()?;
        Some(Message::new(accepted.received_ms, Level::Info, note))
    }
}

/// What cannot be read of a file of the record.
fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> SpoolError + '_ {
    wrap("read", path)
}

#[cfg(test)]
mod tests;
