//! Saved schedules: `schedules/<id>.json`, and how far each is, `schedules/<id>.fired`.
//!
//! The first file is written once. The second is in one record with each job that the schedule
//! makes, and with that job's idempotency record: after a crash all three are there, or none. So
//! removing the first file, by `rm`, `mv` or [`Spool::remove_schedule`], ends the schedule for good;
//! nothing that is being written brings it back.

use super::{
    EntryKind, Fs, INLINE_BYTES_MAX, Key, Keyed, Op, SealedPart, Spool, SpoolError, Ticket,
    WhenFull, text, wrap,
};
use crate::{
    cron_schedule::{Progress, Schedule, ScheduleId},
    domain::{InterfaceName, Job, JobId},
};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

const DIR: &str = "schedules";
/// A schedule holds the document of its jobs.
const FILE_BYTES_MAX: u64 = 256 << 20;

fn schedule_path(id: ScheduleId) -> PathBuf {
    Path::new(DIR).join(format!("{id}.json"))
}

fn progress_path(id: ScheduleId) -> PathBuf {
    Path::new(DIR).join(format!("{id}.fired"))
}

/// It exists while a reset is asked for.
fn reset_path(id: ScheduleId) -> PathBuf {
    Path::new(DIR).join(format!("{id}.reset"))
}

impl<F: Fs> Spool<F> {
    /// The ids of all schedules, oldest first.
    ///
    /// # Errors
    /// When the directory cannot be listed: that is not the same as none.
    pub fn schedules(&self) -> Result<Vec<ScheduleId>, SpoolError> {
        self.schedule_files(".json")
    }

    fn schedule_files(&self, extension: &str) -> Result<Vec<ScheduleId>, SpoolError> {
        let dir = Path::new(DIR);
        let mut ids = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            let id = name.to_str().and_then(|name| name.strip_suffix(extension));
            match id.and_then(|id| id.parse().ok()) {
                Some(id) if kind == EntryKind::File => ids.push(id),
                Some(_) | None => {}
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        ids.sort();
        Ok(ids)
    }

    /// A schedule; `None` when there is no such file. One that was edited badly is an
    /// error, which says what is wrong.
    ///
    /// # Errors
    /// When the file cannot be read now, which may be tried again, or is no schedule, which an
    /// operator has to mend.
    pub fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, SpoolError> {
        let path = schedule_path(id);
        let read = self.read_saved(&path)?;
        let schedule = read.map(|bytes| Schedule::from_json(&bytes));
        schedule
            .transpose()
            .map_err(|e| wrap("read", &path)(e.into()))
    }

    /// How far a schedule is.
    ///
    /// # Errors
    /// When the file cannot be read, or does not say it. The schedule must not run then: moments
    /// could get a second job.
    pub fn progress(&self, id: ScheduleId) -> Result<Progress, SpoolError> {
        let path = progress_path(id);
        let read = self.read_saved(&path)?;
        let progress = read.map(|bytes| Progress::from_json(&bytes));
        let progress = progress
            .transpose()
            .map_err(|e| wrap("read", &path)(e.into()))?;
        Ok(progress.unwrap_or_default())
    }

    fn read_saved(&self, path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
        match self.fs.read_small(path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("read", path)(error)),
        }
    }

    /// Saves a new schedule, and the record of its key if there is one. Durable with the ticket.
    ///
    /// # Errors
    /// Nothing was saved, unless the schedule is large: its file may be there then without the
    /// record of its key. With the same key it can be tried again.
    pub fn save_schedule(
        &self,
        id: ScheduleId,
        schedule: &Schedule,
        key: Option<(&Key, &Keyed)>,
    ) -> Result<Ticket, SpoolError> {
        self.healthy()?;
        let (to, bytes) = (schedule_path(id), schedule.to_json());
        let mut all = Vec::new();
        if bytes.len() > INLINE_BYTES_MAX {
            // Durable by itself, and before its record: without the record, no caller has been answered.
            let _ = self.put("schedule", &to, &bytes)?;
        } else {
            all.push(self.replacement("schedule", to, bytes)?);
        }
        all.extend(self.keyed(key)?);
        if all.is_empty() {
            return Ok(Ticket::NONE);
        }
        let (ops, renames): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        self.publish(&ops, renames)
    }

    /// Asks the service that works on this spool, or the next one, to let a schedule follow the clock
    /// from then on; `text` may say who does. False when there is no such schedule. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn ask_reset(&self, id: ScheduleId, text: &str) -> Result<bool, SpoolError> {
        if !self.is_schedule(id.get())? {
            return Ok(false);
        }
        let ticket = self.put("reset", &reset_path(id), text.as_bytes())?;
        self.wait(ticket).map(|()| true)
    }

    /// Was that asked for?
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn is_reset_asked(&self, id: ScheduleId) -> Result<bool, SpoolError> {
        Ok(self.stat(&reset_path(id))?.is_some())
    }

    /// Lets a schedule go on as `progress` says, as was asked for. Durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses it; it is then asked for still.
    pub fn reset_schedule(&self, id: ScheduleId, progress: &Progress) -> Result<(), SpoolError> {
        let ticket = self.save_progress(id, progress)?;
        self.wait(ticket)?;
        self.remove_file(&reset_path(id)).map(drop)
    }

    /// Is that the id of a schedule?
    ///
    /// # Errors
    /// When that cannot be looked up: there may be one.
    pub(super) fn is_schedule(&self, id: JobId) -> Result<bool, SpoolError> {
        let path = schedule_path(ScheduleId::new(id));
        Ok(self.stat(&path)?.is_some())
    }

    /// Notes how far a schedule is, when it makes no job. Durable with the ticket.
    ///
    /// # Errors
    /// The schedule is as far as it was, and this can be tried again; on an unhealthy spool only
    /// after a restart.
    pub fn save_progress(&self, id: ScheduleId, progress: &Progress) -> Result<Ticket, SpoolError> {
        self.healthy()?;
        self.put("fired", &progress_path(id), &progress.to_json())
    }

    /// Publishes the job of a schedule's moment, with the record that there is one and with how
    /// far the schedule is then. All are durable with the ticket, or none is.
    ///
    /// # Errors
    /// Nothing was accepted and the schedule is as far as it was, so its moment is still due. The
    /// rest is as with [`Spool::enqueue`].
    pub fn fire(
        &self,
        sealed: SealedPart<F>,
        to: &InterfaceName,
        (key, record): (&Key, &Keyed),
        (id, progress): (ScheduleId, &Progress),
    ) -> Result<(Job, Ticket), SpoolError> {
        let progress = self.replacement("fired", progress_path(id), progress.to_json())?;
        let before = vec![self.write_record(key, record)?];
        // Last: without it the moment is looked at again, and the record names its job.
        self.enqueue_between(WhenFull::Wait, sealed, to, before, vec![progress])
    }

    /// Ends a schedule. False when there is none. Durable when it returns.
    ///
    /// # Errors
    /// When a file cannot be removed, or that does not become durable. It can be called again, also
    /// when the schedule itself is gone.
    pub fn remove_schedule(&self, id: ScheduleId) -> Result<bool, SpoolError> {
        // The first one decides.
        let removed = self.remove_file(&schedule_path(id))?;
        self.remove_file(&progress_path(id))?;
        Ok(removed)
    }

    /// Makes no later id that of a schedule.
    ///
    /// # Errors
    /// When they cannot be listed: the start fails, as a new id could be that of a schedule.
    pub(super) fn recover_schedules(&self) -> Result<(), SpoolError> {
        if let Some(last) = self.schedules()?.last() {
            self.saw_id(last.get());
        }
        Ok(())
    }

    /// Removes a file that is no job; false when there is none. Durable when it returns.
    fn remove_file(&self, path: &Path) -> Result<bool, SpoolError> {
        let op = Op::Remove { path: text(path) };
        match self.record(&[op], || self.fs.unlink(path)) {
            Ok(((), ticket)) => self.wait(ticket).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(wrap("remove", path)(error)),
        }
    }

    /// Another process has removed a schedule, or put it there: a replay is not to undo that.
    pub fn saw_schedule(&self, id: ScheduleId, is_there: bool) {
        let path = text(&schedule_path(id));
        let op = match is_there {
            true => Op::Seen { path },
            false => Op::Remove { path },
        };
        // Not waited for: what a power cut takes back of it was told to no caller.
        let _ = self.note_ops(&[op]);
    }

    /// Removes what is left of schedules that were taken away, once it is older than `oldest_ms`:
    /// until then one may come back and go on where it was.
    ///
    /// # Errors
    /// When one cannot be looked at or removed; the next sweep goes on.
    pub(super) fn sweep_progress(&self, oldest_ms: i64) -> Result<(), SpoolError> {
        let there = self.schedules()?;
        for id in self.schedule_files(".fired")? {
            let path = progress_path(id);
            let touched_ms = self.stat(&path)?.map_or(i64::MAX, |stat| stat.modified_ms);
            if there.binary_search(&id).is_err() && touched_ms < oldest_ms {
                self.remove_file(&path)?;
            }
        }
        Ok(())
    }
}
