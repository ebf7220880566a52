//! The events of a spool: `events/<day>.jsonl`, of the day on which a line was recorded.
//!
//! A line is in the journal first, in one record with the change that it reports, and is appended to its file as
//! those of the days' records are. What waits is known in memory by where its line stands; a start reads the days in
//! which something can wait still. An event is shown once its record is flushed and its change has been made. One
//! whose change is taken back is void, and was shown to nobody.

use super::{
    Accepted, Act, Ended, Fs, Op, Spool, SpoolError, Ticket,
    retention::{DAY_MS, day, is_day},
    wrap,
};
use crate::{
    domain::InterfaceName,
    store::events::{
        Ending, Event, EventEnd, EventId, EventKind, EventLine, EventRecord, FailedAttempt, Outbox,
        Outgoing, Recorded, Told, Wants, WhichEvents,
    },
};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Notify;

pub(super) const DIR: &str = "events";
/// What was recorded earlier than so many days before the newest line does not wait: it is dead by then.
const WAITING_DAYS: i64 = 4;
/// So many lines are recorded at once.
const LINES_MAX: usize = 128;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    day: Date,
    at: u64,
    bytes: usize,
}

/// What waits, as far as the files have it.
#[derive(Default)]
pub(super) struct Shown {
    state: Mutex<State>,
    /// Something has come.
    more: Notify,
}

#[derive(Default)]
struct State {
    outbox: Outbox<Position>,
    /// In its file, and not shown yet.
    fresh: Vec<(EventLine, Position)>,
    /// Those that report no job, of the last days: each is recorded once.
    once: HashSet<EventId>,
}

impl State {
    fn show(&mut self, line: &EventLine, position: Position) {
        let (at_ms, bytes) = (line.at.as_millisecond(), position.bytes as u64);
        self.outbox.add(line.id, at_ms, &line.to, bytes, &position);
    }

    fn end(&mut self, line: &EventLine) {
        self.fresh.retain(|(fresh, _)| fresh.id != line.id);
        self.outbox.end(line.id, &line.to);
    }

    /// The lines of the files, at start.
    fn read(&mut self, line: &EventLine, position: Position) {
        match &line.what {
            Recorded::Event(event) => {
                self.show(line, position);
                if !is_of_job(event.kind) {
                    self.once.insert(line.id);
                }
            }
            Recorded::Failed(failure) => {
                let bytes = position.bytes as u64;
                self.outbox.failed(line.id, &line.to, failure, bytes);
            }
            Recorded::Ended { .. } => self.end(line),
        }
    }
}

impl Shown {
    /// A line is recorded. What has ended is shown no more, and an attempt counts before the next one.
    pub(super) fn tell(&self, line: &EventLine) {
        match &line.what {
            Recorded::Event(_) => {}
            Recorded::Failed(failure) => {
                let bytes = line.to_line().len() as u64;
                let outbox = &mut self.state.lock().outbox;
                outbox.failed(line.id, &line.to, failure, bytes);
            }
            Recorded::Ended { .. } => self.state.lock().end(line),
        }
    }

    /// Lines stand in their file of that name, each at its place.
    pub(super) fn written(&self, file: &Path, lines: Vec<(u64, usize, Box<EventLine>)>) {
        let Some(day) = day_of(file) else {
            return;
        };
        let mut state = self.state.lock();
        for (at, bytes, line) in lines {
            match &line.what {
                Recorded::Event(_) => state.fresh.push((*line, Position { day, at, bytes })),
                // It counts since it was recorded.
                Recorded::Failed(_) => {}
                Recorded::Ended { .. } => state.end(&line),
            }
        }
    }

    /// What the lines report has been made.
    pub(super) fn show(&self) {
        let mut state = self.state.lock();
        if state.fresh.is_empty() {
            return;
        }
        for (line, position) in std::mem::take(&mut state.fresh) {
            state.show(&line, position);
        }
        drop(state);
        self.more.notify_one();
    }
}

fn is_of_job(kind: EventKind) -> bool {
    match kind {
        EventKind::JobDone
        | EventKind::JobFailed
        | EventKind::JobFetched
        | EventKind::JobRefused => true,
        EventKind::ArrivalMissing
        | EventKind::CertificateExpiring
        | EventKind::InterfaceHeld
        | EventKind::SpoolUnhealthy => false,
    }
}

/// The file that has a line.
pub(super) fn path_of(line: &EventLine) -> PathBuf {
    day_path(date(line.at))
}

fn date(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

fn day_path(day: Date) -> PathBuf {
    Path::new(DIR).join(format!("{day}.jsonl"))
}

fn day_of(file: &Path) -> Option<Date> {
    let name = file.file_stem().and_then(OsStr::to_str)?;
    name.parse().ok().filter(|_| is_day(name))
}

impl<F: Fs> Spool<F> {
    /// Events are recorded for these.
    #[must_use]
    pub fn with_receivers(self, wants: Vec<Wants>) -> Self {
        self.take_receivers(wants);
        self
    }

    /// The same for what happens from now on. What waits for one that is gone waits on.
    pub fn take_receivers(&self, wants: Vec<Wants>) {
        self.wants.store(Arc::new(wants));
    }

    /// The event that reports the end of a job, if somebody wants it.
    pub(super) fn event_of(
        &self,
        ended: &Ended,
        interface: Option<&InterfaceName>,
        known: impl FnOnce() -> Option<Arc<Accepted>>,
    ) -> Option<Op> {
        let kind = match ended.act {
            Act::Done => EventKind::JobDone,
            Act::Failed => EventKind::JobFailed,
            Act::Fetched => EventKind::JobFetched,
            Act::Refused => EventKind::JobRefused,
            Act::Cancelled
            | Act::CutOff
            | Act::Deferred
            | Act::GivenBack
            | Act::Noted
            | Act::Removed
            | Act::Requeued => return None,
        };
        let name = interface.map(InterfaceName::as_str);
        // What is known of a job has to be looked up.
        let wants = self.wants.load();
        if !wants.iter().any(|wants| wants.takes(kind, name)) {
            return None;
        }
        let by = ended.by.as_deref().filter(|_| ended.act == Act::Fetched);
        let event = Event::of_job(kind, ended.at_ms, &ended.job)
            .about(interface)
            .with_known("submitter", known().map(|known| known.submitter.clone()))
            .with_known("attempt", ended.attempt)
            .with_known("reason", ended.text.as_deref())
            .with_known("by", by);
        let key = format!("{}/{}", ended.job, ended.at_ms);
        self.event_op(event, &key)
    }

    /// An event to be recorded, if somebody wants it.
    pub(super) fn event_op(&self, event: Event, key: &str) -> Option<Op> {
        let line = event.line(&self.wants.load(), key, self.now_ms())?;
        Some(Op::Event(Box::new(line)))
    }

    /// Records an event that no change of a job reports, once, however often it is called in the days after. False:
    /// it was recorded before, or nobody wants it. Durable with the ticket.
    ///
    /// # Errors
    /// When the spool is unhealthy.
    pub fn record_event(&self, event: Event, key: &str) -> Result<(bool, Ticket), SpoolError> {
        let id = EventId::of(event.kind, key);
        let Some(op) = self.event_op(event, key) else {
            return Ok((false, Ticket::NONE));
        };
        if !self.records.events.state.lock().once.insert(id) {
            return Ok((false, self.latest()));
        }
        match self.record(&[op], || Ok(())) {
            Ok(((), ticket)) => Ok((true, ticket)),
            Err(error) => {
                self.records.events.state.lock().once.remove(&id);
                Err(wrap("record", Path::new(DIR))(error))
            }
        }
    }

    /// The oldest events that wait for a receiver, without these.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn waiting_events(
        &self,
        receiver: &str,
        without: &HashSet<EventId>,
        limit: usize,
    ) -> Result<Vec<Outgoing>, SpoolError> {
        let state = self.records.events.state.lock();
        let oldest = state.outbox.oldest(receiver, without, limit);
        drop(state);
        let mut found = Vec::with_capacity(oldest.len());
        for (id, position, attempts) in oldest {
            let path = day_path(position.day);
            let read = (self.fs.update(&path))
                .and_then(|file| self.fs.read_at(&file, position.at, position.bytes));
            let line = EventLine::from_line(&read.map_err(wrap("read", &path))?);
            match line.map(|line| (line.id, line.what)) {
                Some((of, Recorded::Event(event))) if of == id => {
                    found.push(Outgoing {
                        id,
                        event,
                        attempts,
                    });
                }
                Some(_) | None => {
                    tracing::error!(%id, path = %path.display(), "an event is damaged, and lost");
                    let _ = self.end_events(&[Ending {
                        receiver: receiver.to_owned(),
                        id,
                        end: EventEnd::Dead,
                        why: Some("its line is damaged".to_owned()),
                    }])?;
                }
            }
        }
        Ok(found)
    }

    /// Events wait no longer, also before that is durable with the ticket.
    ///
    /// # Errors
    /// When the spool is unhealthy: some of them wait still.
    pub fn end_events(&self, endings: &[Ending]) -> Result<Ticket, SpoolError> {
        let now_ms = self.now_ms();
        self.record_lines(endings.iter().map(|ending| ending.line(now_ms)))
    }

    /// Attempts to send events failed; they wait on. Nobody has to wait for the ticket: an attempt that a crash
    /// forgets is made again earlier.
    ///
    /// # Errors
    /// When the spool is unhealthy: some of them are not counted.
    pub fn note_failed_attempts(&self, failed: &[FailedAttempt]) -> Result<Ticket, SpoolError> {
        let now_ms = self.now_ms();
        self.record_lines(failed.iter().map(|failed| failed.line(now_ms)))
    }

    /// When events that were sent to a receiver in vain are due again.
    pub fn event_dues(&self, receiver: &str) -> Vec<(EventId, Timestamp)> {
        self.records.events.state.lock().outbox.dues(receiver)
    }

    fn record_lines(
        &self,
        lines: impl IntoIterator<Item = EventLine>,
    ) -> Result<Ticket, SpoolError> {
        let ops = lines.into_iter().map(|line| Op::Event(Box::new(line)));
        let ops: Vec<Op> = ops.collect();
        let mut last = Ticket::NONE;
        for ops in ops.chunks(LINES_MAX) {
            let recorded = self.record(ops, || Ok(()));
            let ((), ticket) = recorded.map_err(wrap("record", Path::new(DIR)))?;
            last = ticket;
        }
        Ok(last)
    }

    /// Ends, as dead, what was recorded before a moment, and the oldest beyond so many bytes. Gives how many that
    /// are; there may be more.
    ///
    /// # Errors
    /// As those of [`Spool::end_events`].
    pub fn bury_events(&self, before: Timestamp, bytes_max: u64) -> Result<usize, SpoolError> {
        let state = self.records.events.state.lock();
        let before_ms = before.as_millisecond();
        let overdue = state.outbox.overdue(before_ms, bytes_max, LINES_MAX);
        drop(state);
        let endings: Vec<Ending> = overdue.into_iter().map(Ending::from).collect();
        let _ = self.end_events(&endings)?;
        Ok(endings.len())
    }

    /// The events that are meant, of those that are kept, oldest first.
    ///
    /// # Errors
    /// When the disk has failed, or a file cannot be read.
    pub fn events(&self, which: &WhichEvents) -> Result<Vec<EventRecord>, SpoolError> {
        // What has just been recorded is to be in the files.
        self.wait(self.latest())?;
        let from = which.since.map(date);
        let mut told = Told::new(which.clone());
        for day in self.event_days(from)? {
            self.each_line(&day_path(day), &mut |_, line| {
                EventLine::from_line(line)
                    .into_iter()
                    .for_each(|line| told.take(line));
                Ok(())
            })?;
        }
        Ok(told.records())
    }

    /// Lets events wait again for receivers that there are: these, or else all that are dead. Gives how many times
    /// one waits; durable with the ticket.
    ///
    /// # Errors
    /// As those of [`Spool::events`] and [`Spool::end_events`].
    pub fn redeliver(&self, which: &WhichEvents) -> Result<(usize, Ticket), SpoolError> {
        let wants = self.wants.load();
        let is_receiver = |name: &str| wants.iter().any(|wants| wants.receiver == name);
        let at = Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        let ended = self
            .events(which)?
            .into_iter()
            .filter(|record| record.ended.is_some() && is_receiver(&record.receiver));
        let lines = ended.map(|record| EventLine {
            id: record.id,
            at,
            to: vec![record.receiver],
            what: Recorded::Event(record.event),
        });
        let lines: Vec<EventLine> = lines.collect();
        let n_lines = lines.len();
        Ok((n_lines, self.record_lines(lines)?))
    }

    /// How often an event waits for a receiver.
    pub fn pending_events(&self) -> usize {
        self.records.events.state.lock().outbox.len()
    }

    /// Resolves once something waits that did not before the last time, for one who waits.
    pub async fn event_recorded(&self) {
        self.records.events.more.notified().await;
    }

    /// Reads what waits. To be called once what was recorded has been completed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn take_up_events(&self) -> Result<(), SpoolError> {
        let days = self.event_days(None)?;
        let Some(newest) = days.last() else {
            return Ok(());
        };
        let today = Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        // Nothing ended while no service was there to end it.
        let newest = date(today).min(*newest);
        let waiting = |day: &Date| newest <= day.saturating_add(WAITING_DAYS.days());
        for day in days.iter().copied().filter(waiting) {
            self.each_line(&day_path(day), &mut |at, line| {
                if let Some(read) = EventLine::from_line(line) {
                    let bytes = line.len();
                    let mut state = self.records.events.state.lock();
                    state.read(&read, Position { day, at, bytes });
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The days that have a file, oldest first, from one on.
    fn event_days(&self, from: Option<Date>) -> Result<Vec<Date>, SpoolError> {
        let mut days = Vec::new();
        let each = &mut |name: &OsStr, _| {
            let day = day_of(Path::new(name));
            days.extend(day.filter(|day| from.is_none_or(|from| *day >= from)));
        };
        let dir = Path::new(DIR);
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        days.sort_unstable();
        Ok(days)
    }

    /// Removes the days that have passed their time, but never one in which something can wait.
    pub(super) fn sweep_events(
        &self,
        keep_days: Option<u32>,
        now_ms: i64,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), SpoolError> {
        let Some(keep_days) = keep_days else {
            return Ok(());
        };
        let oldest = day(now_ms - i64::from(keep_days).max(WAITING_DAYS) * DAY_MS);
        for day in self.event_days(None)? {
            if day.to_string() < oldest {
                let path = day_path(day);
                self.fs.unlink(&path).map_err(wrap("remove", &path))?;
                self.records.close_files();
                removed.push(path);
            }
        }
        Ok(())
    }

    /// Writes over what events say of a person, with as many bytes. Not synced.
    ///
    /// # Errors
    /// When a file cannot be read or written; it can be done again.
    pub(super) fn forget_in_events(&self, user: &str) -> Result<(), SpoolError> {
        for day in self.event_days(None)? {
            self.rewrite(&day_path(day), &|line| {
                let known = EventLine::from_line(line)?;
                let Recorded::Event(event) = &known.what else {
                    return Some(None);
                };
                let other = event.forgotten(user).map(|event| EventLine {
                    what: Recorded::Event(event),
                    ..known.clone()
                });
                Some(other.map(|other| other.to_line()))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
