//! Looking: what is queued, and where a job is.
//!
//! A look decides by the directory alone. It never waits and never moves a job; what has arrived in a
//! queue by other hands is taken in by `drops.rs`.

use super::{Accepted, EntryKind, Fs, INLINE_BYTES_MAX, RealFs, Spool, SpoolError, Stat, wrap};
use crate::domain::{InterfaceName, Job, JobId, JobName, Kind, Place, PlaceKind, Queue};
use crate::store::fs::layout::{deferred_entry, work_entry};
use crate::store::fs::{PlacePath, QueuePath};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

/// Rounds of a look that found nothing while jobs moved.
const LOOKS_MAX: usize = 4;

impl<F: Fs> Spool<F> {
    /// The jobs that wait or run in an interface, oldest first: `queue`, `deferred` and `work` are one
    /// to partners. Files that are still being written are left out.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    pub fn list(&self, interface: &InterfaceName) -> Result<Vec<Job>, SpoolError> {
        let mut jobs = Vec::new();
        for _ in 0..LOOKS_MAX {
            let before = self.moves.load(Ordering::SeqCst);
            // In the direction in which jobs travel, so that one on its way is met.
            let deferred = self.deferred(interface)?;
            let queued = self.complete_jobs(interface)?;
            let working = self.working(interface)?;
            // One that was met twice is where it was last.
            jobs = Vec::with_capacity(working.len() + queued.len() + deferred.len());
            let job = |name, place| Job { place, name };
            jobs.extend(working.into_iter().map(|(name, attempt)| {
                let interface = interface.clone();
                job(name, Place::Work { interface, attempt })
            }));
            jobs.extend(queued);
            jobs.extend(deferred.into_iter().map(|(name, due_ms)| {
                let interface = interface.clone();
                job(name, Place::Deferred { interface, due_ms })
            }));
            jobs.sort_by(|one, other| one.name.cmp(&other.name));
            jobs.dedup_by(|later, kept| later.name == kept.name);
            if self.moves.load(Ordering::SeqCst) == before || jobs.len() > 10_000 {
                break;
            }
        }
        Ok(jobs)
    }

    /// The names of all jobs that wait or run in an interface, complete or not, in no order.
    pub(super) fn waiting(&self, interface: &InterfaceName) -> Result<Vec<JobName>, SpoolError> {
        let deferred = self.deferred(interface)?.into_iter().map(|(name, _)| name);
        let mut names: Vec<JobName> = deferred.collect();
        for queue in self.queues(interface)? {
            names.extend(self.entries(&queue.dir(), |text| text.parse().ok())?);
        }
        names.extend(self.working(interface)?.into_iter().map(|(name, _)| name));
        Ok(names)
    }

    /// The complete jobs in an interface's queue, in no order. What lies beside the directories of
    /// users is no job.
    fn complete_jobs(&self, interface: &InterfaceName) -> Result<Vec<Job>, SpoolError> {
        let mut queues = self.queues(interface)?;
        if self.is_addressed(interface) {
            queues.retain(|queue| queue.addressee.is_some());
        }
        let mut jobs = Vec::new();
        for queue in queues {
            let names = self.complete_in(&queue)?;
            let place = Place::Queue(queue);
            jobs.extend(names.into_iter().map(|name| Job {
                place: place.clone(),
                name,
            }));
        }
        Ok(jobs)
    }

    /// The complete jobs that wait for one user alone, oldest first.
    ///
    /// # Errors
    /// When his directory cannot be listed.
    pub fn list_for(&self, queue: &Queue) -> Result<Vec<JobName>, SpoolError> {
        let mut names = self.complete_in(queue)?;
        names.sort_unstable();
        Ok(names)
    }

    fn complete_in(&self, queue: &Queue) -> Result<Vec<JobName>, SpoolError> {
        let mut names = self.known_entries(&queue.dir(), |text| text.parse::<JobName>().ok())?;
        let mut unknown = Vec::new();
        {
            // Not while listing: whoever accepts or claims a job waits for this lock.
            let ready = self.ready.lock();
            let ready = ready.get(queue);
            names.retain(|job| {
                let known = ready.is_some_and(|jobs| jobs.contains(&self.job_key(job)));
                if !known {
                    unknown.push(job.clone());
                }
                known
            });
        }
        unknown.retain(|job| self.is_complete(queue, job));
        names.append(&mut unknown);
        Ok(names)
    }

    /// The claimed jobs of an interface with their attempt.
    ///
    /// # Errors
    /// When `work/<interface>` cannot be listed.
    pub fn working(&self, interface: &InterfaceName) -> Result<Vec<(JobName, u32)>, SpoolError> {
        let dir = Path::new("work").join(interface.as_str());
        self.known_entries(&dir, work_entry)
    }

    /// The deferred jobs of an interface with their due moment.
    ///
    /// # Errors
    /// When `deferred/<interface>` cannot be listed.
    pub fn deferred(&self, interface: &InterfaceName) -> Result<Vec<(JobName, i64)>, SpoolError> {
        let dir = Path::new("deferred").join(interface.as_str());
        self.known_entries(&dir, deferred_entry)
    }

    pub(super) fn entries<T>(
        &self,
        dir: &Path,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SpoolError> {
        let mut found = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::File {
                found.extend(name.to_str().and_then(&parse));
            }
        };
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(found)
    }

    /// The directories of the days of a place that has days, oldest first.
    pub(super) fn days_of(&self, place: &Place) -> Result<Vec<PathBuf>, SpoolError> {
        let root: PathBuf = match place {
            Place::Bak(interface) => Path::new("bak").join(interface.as_str()),
            Place::JobErrors | Place::Refused => "joberrors".into(),
            Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => return Ok(Vec::new()),
        };
        let mut days = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            if kind == EntryKind::Dir {
                let mut day = root.join(name);
                if *place == Place::Refused {
                    day.push("refused");
                }
                days.push(day);
            }
        };
        self.fs.list(&root, each).map_err(wrap("list", &root))?;
        days.sort();
        Ok(days)
    }

    /// The complete jobs in a queue itself, oldest first.
    ///
    /// # Errors
    /// When the queue cannot be listed.
    pub fn queued(&self, interface: &InterfaceName) -> Result<Vec<Job>, SpoolError> {
        let mut jobs = self.complete_jobs(interface)?;
        jobs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(jobs)
    }

    /// The jobs of an interface, or of all, that wait or run, at the places that are wanted, in no order. Files that are
    /// still being written are left out. One that moves meanwhile is there once, or not at all.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    pub fn active(
        &self,
        of: Option<&InterfaceName>,
        is_wanted: &dyn Fn(PlaceKind) -> bool,
    ) -> Result<Vec<Job>, SpoolError> {
        let mut found = HashMap::new();
        for interface in &self.all_or(of) {
            // In the direction in which jobs travel, so that one on its way is met.
            if is_wanted(PlaceKind::Deferred) {
                for (name, due_ms) in self.deferred(interface)? {
                    let interface = interface.clone();
                    found.insert(name, Place::Deferred { interface, due_ms });
                }
            }
            if is_wanted(PlaceKind::Queue) {
                let queued = self.complete_jobs(interface)?.into_iter();
                found.extend(queued.map(|job| (job.name, job.place)));
            }
            if is_wanted(PlaceKind::Work) {
                for (name, attempt) in self.working(interface)? {
                    let interface = interface.clone();
                    found.insert(name, Place::Work { interface, attempt });
                }
            }
        }
        let found = found.into_iter();
        Ok(found.map(|(name, place)| Job { place, name }).collect())
    }

    /// The days of which jobs of an interface, or of any, may have ended, as far as such places are wanted.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    pub fn ended_days(
        &self,
        of: Option<&InterfaceName>,
        is_wanted: &dyn Fn(PlaceKind) -> bool,
    ) -> Result<BTreeSet<String>, SpoolError> {
        let mut days = BTreeSet::new();
        let bak = self.all_or(of).into_iter().map(Place::Bak);
        for place in bak.chain([Place::JobErrors]) {
            // What was refused lies below the day of what has failed.
            let has_refused = place == Place::JobErrors && is_wanted(PlaceKind::Refused);
            if has_refused || is_wanted(place.kind()) {
                let dirs = self.days_of(&place)?;
                let names = dirs.iter().filter_map(|dir| dir.file_name()?.to_str());
                days.extend(names.map(str::to_owned));
            }
        }
        Ok(days)
    }

    /// Adds the jobs of a day that have ended, of an interface or of all, at the places that are wanted. A file in the
    /// directory of another day than its name says is none.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    pub fn ended_on(
        &self,
        of: Option<&InterfaceName>,
        is_wanted: &dyn Fn(PlaceKind) -> bool,
        day: &str,
        found: &mut HashMap<JobName, Place>,
    ) -> Result<(), SpoolError> {
        let digits = day.replace('-', "");
        let of_day = |text: &str| text.starts_with(&digits).then(|| text.parse().ok())?;
        let bak = self.all_or(of).into_iter().map(Place::Bak);
        for place in bak.chain([Place::JobErrors, Place::Refused]) {
            if !is_wanted(place.kind()) {
                continue;
            }
            let dir = place.dir_of(day);
            let names: Vec<JobName> = self.entries(&dir, of_day)?;
            let mut jobs: Vec<Job> = names
                .into_iter()
                .map(|name| Job {
                    place: place.clone(),
                    name,
                })
                .collect();
            if let Some(of) = of
                && place.interface().is_none()
            {
                self.retain_of(of, &mut jobs)?;
            }
            found.extend(jobs.into_iter().map(|job| (job.name, job.place)));
        }
        Ok(())
    }

    /// All jobs of an interface, wherever they are, in no order.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    #[cfg(test)]
    pub(crate) fn jobs(&self, of: &InterfaceName) -> Result<Vec<Job>, SpoolError> {
        let active = self.active(Some(of), &|_| true)?.into_iter();
        let mut found = active.map(|job| (job.name, job.place)).collect();
        for day in self.ended_days(Some(of), &|_| true)? {
            self.ended_on(Some(of), &|_| true, &day, &mut found)?;
        }
        let found = found.into_iter();
        Ok(found.map(|(name, place)| Job { place, name }).collect())
    }

    fn all_or(&self, of: Option<&InterfaceName>) -> Vec<InterfaceName> {
        match of {
            Some(of) => vec![of.clone()],
            None => self.interfaces(),
        }
    }

    /// Leaves those that have failed, or were refused, of an interface.
    fn retain_of(&self, of: &InterfaceName, failed: &mut Vec<Job>) -> Result<(), SpoolError> {
        let known = self.accepted_of_all(failed)?;
        let mut is_of = Vec::with_capacity(failed.len());
        for job in &*failed {
            let moved = self.moved(&job.name)?;
            let interface = match known.get(&job.name.id()) {
                Some(known) => moved.or_else(|| known.interface.clone()),
                // Of what nothing is recorded.
                None => moved.or_else(|| self.read_log(&job.name)?.interface),
            };
            is_of.push(interface.as_ref() == Some(of));
        }
        let mut is_of = is_of.into_iter();
        failed.retain(|_| is_of.next() == Some(true));
        Ok(())
    }

    /// The jobs with an id among those that have ended on its day, whatever else is in their names.
    ///
    /// # Errors
    /// When one of the directories cannot be listed.
    pub(super) fn settled_with(&self, id: JobId) -> Result<Vec<Job>, SpoolError> {
        let any_name = JobName::new(id, None, Kind::Xml);
        let of_id = |text: &str| text.parse().ok().filter(|name: &JobName| name.id() == id);
        let bak = self.interfaces().into_iter().map(Place::Bak);
        let mut found = Vec::new();
        for place in [Place::Refused, Place::JobErrors].into_iter().chain(bak) {
            let names = self.entries(&place.dir(&any_name), of_id)?;
            found.extend(names.into_iter().map(|name| Job {
                place: place.clone(),
                name,
            }));
        }
        Ok(found)
    }

    /// In which queue a job waits, if it is among those that are known to. `None` says nothing.
    pub fn waits_in(&self, name: &JobName) -> Option<Queue> {
        let job = self.job_key(name);
        let ready = self.ready.lock();
        let mut known = ready.iter();
        Some(known.find(|(_, jobs)| jobs.contains(&job))?.0.clone())
    }

    /// Does a job wait in that queue? One look at one name.
    pub fn is_waiting(&self, name: &JobName, queue: &Queue) -> bool {
        let path = queue.dir().join(name.to_string());
        let stat = self.stat(&path).ok().flatten();
        stat.is_some_and(|stat| stat.kind == EntryKind::File)
    }

    /// Where a job is, `None` when there is none of that name.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn find(&self, name: &JobName) -> Result<Option<Place>, SpoolError> {
        for _ in 0..LOOKS_MAX {
            let before = self.moves.load(Ordering::SeqCst);
            let found = self.look(name)?;
            if found.is_some() || self.moves.load(Ordering::SeqCst) == before {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn look(&self, name: &JobName) -> Result<Option<Place>, SpoolError> {
        // The cheap looks first; the directories that must be listed only when they fail.
        if let Some(place) = self.look_in_queues(name)? {
            return Ok(Some(place));
        }
        if let Some(place) = self.look_among_settled(name)? {
            return Ok(Some(place));
        }
        for interface in &self.interfaces() {
            if let Some(place) = self.look_in_work(name, interface)? {
                return Ok(Some(place));
            }
            if let Some(place) = self.look_among_deferred(name, interface)? {
                return Ok(Some(place));
            }
        }
        // It may have settled, or come back to its queue, while those were listed.
        match self.look_among_settled(name)? {
            None => self.look_in_queues(name),
            settled => Ok(settled),
        }
    }

    pub(super) fn look_in_work(
        &self,
        name: &JobName,
        interface: &InterfaceName,
    ) -> Result<Option<Place>, SpoolError> {
        let running = self.working(interface)?;
        let found = running.iter().find(|(job, _)| job == name);
        Ok(found.map(|(_, attempt)| Place::Work {
            interface: interface.clone(),
            attempt: *attempt,
        }))
    }

    pub(super) fn look_among_deferred(
        &self,
        name: &JobName,
        interface: &InterfaceName,
    ) -> Result<Option<Place>, SpoolError> {
        let deferred = self.deferred(interface)?;
        let found = deferred.iter().find(|(job, _)| job == name);
        Ok(found.map(|(_, due_ms)| Place::Deferred {
            interface: interface.clone(),
            due_ms: *due_ms,
        }))
    }

    fn is_file_at(&self, place: &Place, name: &JobName) -> Result<bool, SpoolError> {
        let stat = self.stat(&place.path(name))?;
        Ok(stat.is_some_and(|stat| stat.kind == EntryKind::File))
    }

    /// Is a job still where it was seen?
    pub(super) fn is_file(&self, job: &Job) -> Result<bool, SpoolError> {
        self.is_file_at(&job.place, &job.name)
    }

    fn look_in_queues(&self, name: &JobName) -> Result<Option<Place>, SpoolError> {
        for interface in &self.interfaces() {
            for queue in self.queues(interface)? {
                let place = Place::Queue(queue);
                if self.is_file_at(&place, name)? {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    fn look_among_settled(&self, name: &JobName) -> Result<Option<Place>, SpoolError> {
        let places = self.interfaces().into_iter().map(Place::Bak);
        for place in places.chain([Place::JobErrors, Place::Refused]) {
            if self.is_file_at(&place, name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The size of a job's file in bytes, `None` when it is not there (any more).
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn bytes_of(&self, job: &Job) -> Result<Option<u64>, SpoolError> {
        let stat = self.stat(&job.place.path(&job.name))?;
        Ok(stat.map(|stat| stat.bytes))
    }

    /// The SHA-256 of a job as it was received, in hex; `None` when it is not known, or when the
    /// file was written to afterwards. A small file of a later moment, as a replay or a copy makes
    /// it, is read to see that.
    pub fn checksum_of(&self, job: &Job) -> Option<String> {
        let accepted = self.known_of(job)?;
        let path = job.place.path(&job.name);
        let stat = self.stat(&path).ok().flatten()?;
        self.checksum_at(&path, &stat, &accepted)
    }

    /// The same of a file that was looked at.
    pub(super) fn checksum_at(
        &self,
        path: &Path,
        stat: &Stat,
        accepted: &Accepted,
    ) -> Option<String> {
        let sha256 = accepted.sha256.as_ref()?;
        let is_it = stat.bytes == accepted.bytes
            && (stat.modified_ms <= accepted.received_ms
                || stat.bytes <= INLINE_BYTES_MAX as u64
                    && self
                        .fs
                        .read(path)
                        .is_ok_and(|bytes| hex::encode(Sha256::digest(&bytes)) == *sha256));
        is_it.then(|| sha256.clone())
    }

    /// When a job was received, in milliseconds of the Unix epoch: as recorded, or else by its name.
    pub fn received_ms(&self, job: &Job) -> i64 {
        self.received_by(&job.name, self.known_of(job).as_deref())
    }

    /// The same by what was recorded of it.
    pub(super) fn received_by(&self, job: &JobName, accepted: Option<&Accepted>) -> i64 {
        accepted.map_or_else(
            || job.id().unix_ms().min(self.now_ms()),
            |accepted| accepted.received_ms,
        )
    }

    /// True when an interface is held by a `.hold` file.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn is_held(&self, interface: &InterfaceName) -> Result<bool, SpoolError> {
        let path: PathBuf = ["queue", interface.as_str(), ".hold"].iter().collect();
        Ok(self.stat(&path)?.is_some())
    }
}

impl Spool<RealFs> {
    /// Opens a job's file for reading; `None` when it has moved on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_job(&self, job: &Job) -> Result<Option<File>, SpoolError> {
        let path = job.place.path(&job.name);
        match self.fs.update(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("open", &path)(error)),
        }
    }
}
