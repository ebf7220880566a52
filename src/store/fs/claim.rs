//! Claiming a job, and settling what became of it.
//!
//! The attempt's number is durable before the claim is given out, so that a job which brings the
//! machine down is counted. The lock file `work/<interface>/<job>.lock` is held by flock and
//! handed to the command as its output, so the kernel knows whether the command lives, whatever
//! becomes of us. `work/<interface>/<job>.run` holds what the command leaves: nothing in it is
//! visible to anyone until the job is settled as done.
//!
//! On settling, results, emitted jobs and the joblog are written and synced, then the job moves.

use super::{
    Accepted, Act, Adopted, Came, EntryKind, Fs, How, INLINE_BYTES_MAX, Moved, Op, PendingRename,
    RealFs, Spool, SpoolError, Stat, accept::part_path, document::Document, records::Facts,
    results::VARIABLES, text, wrap,
};
use crate::store::fs::PlacePath;
use crate::store::{By, Fate, KeptRun, Settlement, run::queue_of_emitted};
use crate::{
    domain::joblog::{JobLog, Level, Message},
    domain::{InterfaceName, Job, JobName, Kind, Place, Queue, Reference, Transition, UserName},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

/// Of a run that nobody watched, so much output is kept.
const SAID_BYTES_MAX: u64 = 1 << 20;
/// In the directory of a run: what it says on its standard error.
pub(super) const ERRORS: &str = "errors";
/// A larger file that a command leaves is not published.
const LEFT_BYTES_MAX: u64 = 16 << 30;
/// More files than that in one directory are not published.
const LEFT_FILES_MAX: usize = 10_000;
/// So many names a run's directory can have when others cannot be taken out of the way.
const RUN_DIRS_MAX: usize = 10;

/// The exclusive right to work on one job. Dropped unsettled, it gives the job back.
#[must_use]
pub struct Claim<F: Fs = RealFs> {
    spool: Arc<Spool<F>>,
    job: Job,
    interface: InterfaceName,
    attempt: u32,
    /// The directory of this run.
    run: PathBuf,
    lock: F::Lock,
    /// What was known of the job when it was claimed.
    facts: Facts,
    /// Its command has been started: from now on the attempt counts whatever happens.
    begun: bool,
    settled: bool,
    /// What the command works on, once it is laid out.
    document: Option<Document<F>>,
    /// What has become of the job's own file, once that was looked at.
    fate: Fate,
    /// What the command has left, as it was checked.
    output: Option<Output>,
    /// What has been published of what the command emitted, and under which name it left that.
    emitted: Vec<(Job, PathBuf)>,
    /// Who has cancelled the run.
    cancelled_by: Option<By>,
}

/// What a command has left in its directories.
#[derive(Debug, Default)]
struct Output {
    /// The names of the result files.
    results: Vec<String>,
    /// The files to be emitted.
    emitted: Vec<Emitted>,
}

/// A file that a command has left to be a job.
#[derive(Debug, PartialEq, Eq)]
struct Emitted {
    to: Queue,
    /// Below the directory `emit`.
    path: PathBuf,
    name: String,
}

/// What settling a job has brought about.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    pub moved: Moved,
    /// Jobs that the processor made, in their queues.
    pub emitted: Vec<Job>,
}

impl<F: Fs> Spool<F> {
    /// Claims a queued job. `None`: somebody else has it, or it is gone.
    ///
    /// # Errors
    /// When the spool is unhealthy or cannot be written, or what was recorded of its day cannot be read. The job is given
    /// back; where that fails too it lies in `work` until it is taken up.
    pub fn claim(
        self: &Arc<Self>,
        interface: &InterfaceName,
        name: &JobName,
    ) -> Result<Option<Claim<F>>, SpoolError> {
        self.healthy()?;
        let queued = Job {
            place: Place::Queue(interface.clone().into()),
            name: name.clone(),
        };
        let earlier = self.attempts_of(name)?;
        let lock_path = run_file(interface, name, "lock");
        let mut locked = self.fs.lock(&lock_path);
        if matches!(&locked, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            // Somebody has taken the directory away.
            self.restore_dirs()?;
            locked = self.fs.lock(&lock_path);
        }
        let locked = locked.map_err(wrap("lock", &lock_path))?;
        let Some(lock) = locked else {
            return Ok(None);
        };
        // Looked at here, so that nothing starts once `.hold` is there.
        if self.is_held(interface)? {
            self.clean_run(interface, name);
            return Ok(None);
        }
        let attempt = u32::saturating_add(earlier, 1);
        // Of an earlier run, which may have had the same number.
        let kept = run_file(interface, name, "exit");
        match self.fs.unlink(&kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(wrap("remove", &kept)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let unseen = self.unseen_move(&queued)?;
        let (moved, ticket) = self.shift(&queued, &Transition::Claim { attempt }, unseen)?;
        match moved {
            Moved::Gone => {
                self.clean_run(interface, name);
                Ok(None)
            }
            Moved::Done(job) => {
                self.forget_ready(&interface.into(), name);
                // From here on a failure gives the job back.
                let mut claim = Claim {
                    spool: self.clone(),
                    job,
                    interface: interface.clone(),
                    attempt,
                    run: run_file(interface, name, "run"),
                    lock,
                    facts: Facts::default(),
                    begun: false,
                    settled: false,
                    document: None,
                    fate: Fate::Whole,
                    output: None,
                    emitted: Vec::new(),
                    cancelled_by: None,
                };
                claim.facts = self.facts_of(&claim.job)?;
                // Only a claim that is durable counts, and only one that counts may run.
                self.wait(ticket)?;
                Ok(Some(claim))
            }
        }
    }

    /// Makes the directory for a run, where nothing is: what an earlier attempt left must not be
    /// published with this one's.
    fn fresh_run(&self, interface: &InterfaceName, name: &JobName) -> Result<PathBuf, SpoolError> {
        let run = run_file(interface, name, "run");
        if self.make_dir(&run)? {
            return Ok(run);
        }
        self.clear(&run);
        let all = [run.clone()].into_iter().chain(other_runs(interface, name));
        for dir in all {
            if self.make_dir(&dir)? {
                return Ok(dir);
            }
        }
        Err(wrap("make directory", &run)(
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// Removes what a run leaves besides the job, with its lock in our hands. What cannot be
    /// removed is in nobody's way.
    pub(super) fn clean_run(&self, interface: &InterfaceName, name: &JobName) {
        self.clear(&run_file(interface, name, "run"));
        for what in ["exit", "lock"] {
            let path = run_file(interface, name, what);
            match self.fs.unlink(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot be removed");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// What a run has left that ended while no service was there, if its end was kept; `None` also
    /// as long as it goes on.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn kept_of(&self, adopted: &Adopted) -> Result<Option<KeptRun>, SpoolError> {
        let (interface, name) = (&adopted.interface, &adopted.name);
        let file = |what| run_file(interface, name, what);
        let (kept, lock) = (file("exit"), file("lock"));
        if self.stat(&kept)?.is_none() {
            return Ok(None);
        }
        if self.fs.lock(&lock).map_err(wrap("lock", &lock))?.is_none() {
            return Ok(None);
        }
        Ok(Some(KeptRun {
            end: self.read_small(&kept),
            output: self.read_small(&lock),
            errors: self.read_small(&file("run").join(ERRORS)),
        }))
    }

    /// Takes over a run that has ended while no service was there. `None`: it goes on, or the job
    /// is elsewhere.
    ///
    /// # Errors
    /// When the lock cannot be taken, or the job's file cannot be opened.
    pub fn resume(self: &Arc<Self>, adopted: &Adopted) -> Result<Option<Claim<F>>, SpoolError> {
        let (interface, name) = (&adopted.interface, &adopted.name);
        let path = run_file(interface, name, "lock");
        let Some(lock) = self.fs.lock(&path).map_err(wrap("lock", &path))? else {
            return Ok(None);
        };
        let job = adopted.job();
        if self.stat(&job.place.path(name))?.is_none() {
            return Ok(None);
        }
        let document = self.earlier_document(adopted)?;
        let facts = self.facts_of(&job)?;
        Ok(Some(Claim {
            facts,
            spool: self.clone(),
            job,
            interface: interface.clone(),
            attempt: adopted.attempt,
            run: run_file(interface, name, "run"),
            lock,
            begun: true,
            settled: false,
            document: Some(document),
            fate: Fate::Whole,
            output: None,
            emitted: Vec::new(),
            cancelled_by: None,
        }))
    }

    /// A file of bounded size; empty when it is not there, or larger.
    pub(super) fn read_small(&self, path: &Path) -> Vec<u8> {
        let is_small = |stat: Stat| stat.kind == EntryKind::File && stat.bytes < SAID_BYTES_MAX;
        match self.stat(path) {
            Ok(Some(stat)) if is_small(stat) => self.fs.read(path).unwrap_or_default(),
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// Removes the directory of a run, or else takes it out of the way: to `tmp`, which the next
    /// start empties. Nothing that a processor leaves may keep a job from its end.
    pub(super) fn clear(&self, run: &Path) {
        let Err(error) = self.fs.remove_tree(run) else {
            return;
        };
        let number = self.temps.fetch_add(1, Ordering::Relaxed);
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let aside = Path::new("tmp").join(format!("{name}.{}.{number}.part", std::process::id()));
        let put = self.fs.rename(run, &aside);
        let left = if put.is_ok() { &aside } else { run };
        tracing::warn!(
            path = %left.display(), %error,
            "what a processor left cannot be removed; remove it by hand",
        );
    }
}

impl<F: Fs> Claim<F> {
    pub fn job(&self) -> &JobName {
        &self.job.name
    }

    /// The job at its place in `work`.
    pub fn place(&self) -> &Job {
        &self.job
    }

    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// Counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The job's file, relative to the spool.
    pub fn path(&self) -> PathBuf {
        self.job.place.path(&self.job.name)
    }

    /// The lock file, to be inherited by the command.
    pub fn lock(&self) -> &F::Lock {
        &self.lock
    }

    /// The directory of this run, relative to the spool.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// The file for what the command says on its standard error, relative to the spool.
    pub fn errors_path(&self) -> PathBuf {
        self.run.join(ERRORS)
    }

    /// Where the end of the run is kept, relative to the spool.
    pub fn kept_path(&self) -> PathBuf {
        run_file(&self.interface, &self.job.name, "exit")
    }

    /// What was known of the job when it was claimed.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The document that a command works on, relative to the spool: the job's own file unless the
    /// run was prepared.
    pub fn document_path(&self) -> PathBuf {
        match self.document {
            Some(_) => self.run.join(self.job.name.to_string()),
            None => self.path(),
        }
    }

    /// Lays out the document for a command, and the directories that it writes to: `results` and
    /// `emit`, in which it makes `<interface>` and, below, `@<user>`.
    ///
    /// # Errors
    /// When the spool is full or cannot be written.
    pub fn prepare(&mut self) -> Result<(), SpoolError> {
        self.run = self.spool.fresh_run(&self.interface, &self.job.name)?;
        for dir in ["results", "emit"] {
            self.spool.make_dir(&self.run.join(dir))?;
        }
        let sha256 = self.facts.sha256.clone();
        let to = self.run.join(self.job.name.to_string());
        self.document = Some(self.spool.lay_document(&self.path(), sha256, &to)?);
        Ok(())
    }

    /// The command is about to be started.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Looks at the job's own file after its command, and restores it where it was taken away.
    ///
    /// # Errors
    /// When it cannot be looked at, or not restored.
    pub fn check_document(&mut self) -> Result<Fate, SpoolError> {
        if let Some(document) = &self.document {
            let (path, name) = (self.path(), &self.job.name);
            self.fate = self.spool.fate_of(document, name, &path)?;
        }
        Ok(self.fate)
    }

    /// What [`Claim::check_document`] has found.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Checks what the command left before anything of it is published. Gives what is to be said
    /// of it although it is.
    ///
    /// # Errors
    /// [`SpoolError::Output`] when that cannot be published: the job is to fail.
    pub fn check_output(&mut self) -> Result<Option<String>, SpoolError> {
        let output = self.look_at_output()?;
        let has_variables = output.results.iter().any(|file| file == VARIABLES);
        self.output = Some(output);
        if !has_variables {
            return Ok(None);
        }
        let path = self.run.join("results").join(VARIABLES);
        let read = self.spool.variables(&path)?;
        Ok(read
            .err()
            .map(|wrong| format!("{VARIABLES} is not used: {wrong}")))
    }

    /// Its run has ended because of them.
    pub fn cancelled(&mut self, by: By) {
        self.cancelled_by = Some(by);
    }

    /// Settles the job. After an error nothing that the state table does not know has happened:
    /// it may be called again (`SpoolError::Full`), or the next start recovers the job.
    ///
    /// # Errors
    /// [`SpoolError::Output`]: what the command left cannot be published, for this reason. Others: the spool is unhealthy,
    /// full or cannot be written.
    pub fn settle(
        &mut self,
        what: Settlement,
        log: Option<JobLog>,
    ) -> Result<Published, SpoolError> {
        if self.spool.stat(&self.path())?.is_none() {
            // Moved by hand while its command ran: there is nothing to be said of it.
            self.settled = true;
            self.clean();
            return Ok(Published {
                moved: Moved::Gone,
                emitted: Vec::new(),
            });
        }
        if what != Settlement::Done && self.document.is_some() {
            // First, since it may be what fills the disk.
            self.spool.clear(&self.run);
        }
        if what == Settlement::Done {
            // If settling fails here, what is left is looked at again.
            let output = match self.output.take() {
                Some(output) => output,
                None => self.look_at_output()?,
            };
            self.sync_output(&output)?;
            self.publish_results(&output)?;
            self.publish_emitted(output)?;
        }
        let (by, act) = end_of(what, log.as_ref());
        let mut ended = self.spool.ended(&self.job.name, act)?;
        ended.attempt = Some(self.attempt);
        ended.started_ms = log.as_ref().and_then(|log| log.started_ms);
        if let (Act::Cancelled, Some(by)) = (act, &self.cancelled_by) {
            ended = ended.by(by);
        }
        if what != Settlement::Done {
            ended = ended.with_error(log.as_ref().and_then(JobLog::reason));
        }
        // All before the move is earlier in the journal, so durable with it.
        if let Some(mut log) = log {
            for (job, _) in &self.emitted {
                let interface = job.place.interface().map_or("", InterfaceName::as_str);
                let text = format!("emitted {} to {interface}", job.name);
                let now_ms = self.spool.now_ms();
                log.messages.push(Message::new(now_ms, Level::Info, text));
            }
            let _ = self.spool.write_log(log)?;
        }
        let (moved, ticket) = self.spool.shift(&self.job, &by, Some(ended))?;
        if let Err(error) = self.spool.wait(ticket) {
            self.take_back_emitted();
            return Err(error);
        }
        self.spool.arrived(&self.job.name);
        self.settled = true;
        for (job, _) in &self.emitted {
            self.spool.arrived(&job.name);
        }
        self.clean();
        Ok(Published {
            moved,
            emitted: self.emitted.drain(..).map(|(job, _)| job).collect(),
        })
    }

    fn clean(&self) {
        let (interface, name) = (&self.interface, &self.job.name);
        if self.run != run_file(interface, name, "run") {
            self.spool.clear(&self.run);
        }
        self.spool.clean_run(interface, name);
    }

    /// What was emitted and could not get its name is put back where the command left it: the next
    /// try to settle emits it.
    fn take_back_emitted(&mut self) {
        let spool = &self.spool;
        self.emitted.retain(|(job, left)| {
            // Best effort: one that is not under `tmp` any more has got its name.
            let back = spool.fs.rename(&part_path(&job.name), left);
            if back.is_ok() {
                spool.arrived(&job.name);
            }
            back.is_err()
        });
    }

    fn look_at_output(&self) -> Result<Output, SpoolError> {
        if self.document.is_none() {
            // Nothing was laid out for it: whatever is there is of an earlier run.
            return Ok(Output::default());
        }
        Ok(Output {
            results: self.plain_files(&self.run.join("results"), "result")?,
            emitted: self.emitted()?,
        })
    }

    /// The files to be emitted, by interface.
    fn emitted(&self) -> Result<Vec<Emitted>, SpoolError> {
        let emit = self.run.join("emit");
        let mut interfaces = Vec::new();
        for (name, kind) in self.entries(&emit)? {
            let interface = name.to_str().and_then(|n| n.parse::<InterfaceName>().ok());
            match interface {
                Some(i) if kind == EntryKind::Dir && self.spool.has_interface(&i) => {
                    interfaces.push(i);
                }
                Some(_) | None => {
                    let text = format!("the processor emitted to {name:?}, which is no interface");
                    return Err(SpoolError::Output(text));
                }
            }
        }
        interfaces.sort();
        let mut found = Vec::new();
        for interface in interfaces {
            let dir = Path::new(interface.as_str());
            let entries = self.entries(&emit.join(dir))?;
            let users = self.users_among(&entries, &interface)?;
            let own = entries.iter().map(|(name, _)| name);
            let own = own.filter(|name| !users.contains_key(*name));
            let own = self.fit(&emit.join(dir), own, "emitted job")?;
            let to = match own.is_empty() {
                true => Queue::from(&interface),
                false => self.queue_of_emitted(&interface, None)?,
            };
            add_emitted(&mut found, &to, dir, own);
            for (name, queue) in users {
                let dir = dir.join(name);
                let files = self.plain_files(&emit.join(&dir), "emitted job")?;
                add_emitted(&mut found, &queue, &dir, files);
            }
        }
        Ok(found)
    }

    /// The users' directories among what is emitted to an interface, and where what is in them goes.
    fn users_among(
        &self,
        entries: &[(OsString, EntryKind)],
        interface: &InterfaceName,
    ) -> Result<BTreeMap<OsString, Queue>, SpoolError> {
        let mut users = BTreeMap::new();
        for (name, kind) in entries {
            let text = name.to_str().filter(|text| text.starts_with('@'));
            if let Some(text) = text.filter(|_| *kind == EntryKind::Dir) {
                users.insert(name.clone(), self.queue_of_emitted(interface, Some(text))?);
            }
        }
        Ok(users)
    }

    fn queue_of_emitted(
        &self,
        interface: &InterfaceName,
        dir: Option<&str>,
    ) -> Result<Queue, SpoolError> {
        let accepted = self.facts.accepted.as_ref();
        let submitter = accepted.map_or("", |known| &*known.submitter);
        let is_addressed = self.spool.is_addressed(interface);
        let is_user = |user: &UserName| self.spool.is_user(user);
        let queue = queue_of_emitted(interface, dir, is_addressed, submitter, is_user);
        queue.map_err(SpoolError::Output)
    }

    /// The files in one of the command's directories, each fit to be published.
    fn plain_files(&self, dir: &Path, what: &str) -> Result<Vec<String>, SpoolError> {
        let entries = self.entries(dir)?;
        self.fit(dir, entries.iter().map(|(name, _)| name), what)
    }

    /// These files of a directory, if each is fit to be published.
    fn fit<'n>(
        &self,
        dir: &Path,
        names: impl Iterator<Item = &'n OsString>,
        what: &str,
    ) -> Result<Vec<String>, SpoolError> {
        let mut files = Vec::new();
        for name in names {
            let text = name.to_str().filter(|text| !text.starts_with('.'));
            let stat = self.spool.stat(&dir.join(name))?;
            // By itself and not by its entry, which a filesystem need not know more of.
            let wrong = match (text, stat) {
                (_, None) => continue,
                (Some(_), Some(stat)) if stat.kind == EntryKind::File => {
                    self.unfit(dir, name, &stat)?
                }
                (None, _) | (_, Some(_)) => Some(
                    "is not a plain file with a name that does not start with a dot".to_owned(),
                ),
            };
            if let Some(wrong) = wrong {
                return Err(SpoolError::Output(format!("{what} {name:?} {wrong}")));
            }
            files.extend(text.map(str::to_owned));
        }
        files.sort();
        Ok(files)
    }

    /// Why a plain file cannot be published, if so. An error is the disk's, and may pass.
    fn unfit(&self, dir: &Path, name: &OsStr, stat: &Stat) -> Result<Option<String>, SpoolError> {
        let is_document = self
            .document
            .as_ref()
            .is_some_and(|document| document.is(stat));
        if stat.links > 1 && !is_document {
            let text = "has another name elsewhere (a hard link), by which it can change";
            return Ok(Some(text.to_owned()));
        }
        if stat.bytes > LEFT_BYTES_MAX {
            return Ok(Some(format!("has more than {LEFT_BYTES_MAX} bytes")));
        }
        let path = dir.join(name);
        if is_document {
            self.make_own(&path).map_err(wrap("copy", &path))?;
        }
        match self.spool.fs.update(&path) {
            Ok(_) => Ok(None),
            Err(error) if is_fault(&error) => Err(wrap("open", &path)(error)),
            Err(error) => Ok(Some(format!("cannot be opened: {error}"))),
        }
    }

    /// A file in place of what is another name of the job's own.
    fn make_own(&self, path: &Path) -> io::Result<()> {
        let fs = &self.spool.fs;
        let copy = self.run.join("copy");
        let _ = fs.unlink(&copy);
        drop(fs.copy(path, &copy)?);
        fs.replace(&copy, path)
    }

    /// What is in one of the command's directories; nothing if it has removed that. One in which nothing is goes at
    /// once.
    fn entries(&self, dir: &Path) -> Result<Vec<(OsString, EntryKind)>, SpoolError> {
        let spool = &self.spool;
        // What was emitted may have to come back.
        if self.emitted.is_empty() && spool.fs.remove_dir(dir).is_ok() {
            return Ok(Vec::new());
        }
        let name = dir.strip_prefix(&self.run).unwrap_or(dir).display();
        match spool.stat(dir)?.map(|stat| stat.kind) {
            None => return Ok(Vec::new()),
            Some(EntryKind::Dir) => {}
            Some(EntryKind::File | EntryKind::Other) => {
                return Err(SpoolError::Output(format!(
                    "the processor has put something else in the place of its directory {name}"
                )));
            }
        }
        let mut found = Vec::new();
        let mut list = || {
            found.clear();
            let each = &mut |name: &OsStr, kind| {
                if found.len() <= LEFT_FILES_MAX {
                    found.push((name.to_owned(), kind));
                }
            };
            spool.fs.list(dir, each)
        };
        let mut listed = list();
        if matches!(&listed, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
            spool.fs.give_rights(dir);
            listed = list();
        }
        match listed {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = format!("the processor's directory {name} cannot be read: {error}");
                return Err(SpoolError::Output(text));
            }
            other => other.map_err(wrap("list", dir))?,
        }
        if found.len() > LEFT_FILES_MAX {
            let text = format!("the processor left more than {LEFT_FILES_MAX} files in {name}");
            return Err(SpoolError::Output(text));
        }
        if !found.is_empty() {
            // To take files out of it, and to move it, takes rights that it need not have now.
            spool.fs.give_rights(dir);
        }
        Ok(found)
    }

    /// Makes durable what the command left and the journal does not take whole.
    fn sync_output(&self, output: &Output) -> Result<(), SpoolError> {
        let emit = self.run.join("emit");
        let mut large = !output.results.is_empty();
        for emitted in &output.emitted {
            large |= self.spool.is_large(&emit.join(&emitted.path))?;
        }
        if large { self.spool.sync_all() } else { Ok(()) }
    }

    fn publish_results(&self, output: &Output) -> Result<(), SpoolError> {
        if output.results.is_empty() {
            return Ok(());
        }
        let spool = &self.spool;
        let from = self.run.join("results");
        let day: PathBuf = ["results", &self.job.name.day()].iter().collect();
        spool.day_dir(&day)?;
        let to = day.join(self.job.name.to_string());
        // An earlier run of the same job may have left its results; this run's replace them.
        spool.fs.remove_tree(&to).map_err(wrap("remove", &to))?;
        // Durable with the job's own move.
        let _ = spool.move_file(&from, &to).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                return SpoolError::Output(format!("the results cannot be taken: {error}"));
            }
            wrap("publish", &to)(error)
        })?;
        Ok(())
    }

    fn publish_emitted(&mut self, output: Output) -> Result<(), SpoolError> {
        let emit = self.run.join("emit");
        let submitter = match output.emitted.is_empty() {
            true => String::new(),
            false => self.facts.submitter(),
        };
        for emitted in output.emitted {
            let from = emit.join(&emitted.path);
            let job = self.publish_one(&emitted.to, &emitted.name, &from, &submitter)?;
            self.emitted.push((job, from));
        }
        Ok(())
    }

    /// Makes a job of a file that the command has left to be one.
    fn publish_one(
        &self,
        queue: &Queue,
        file: &str,
        from: &Path,
        submitter: &str,
    ) -> Result<Job, SpoolError> {
        let spool = &self.spool;
        spool.make_queue(queue)?;
        let stat = spool.fs.stat(from).map_err(wrap("look at", from))?;
        let reference = Reference::of_dropped_file(file);
        let name = JobName::new(spool.next_id(), reference, Kind::of_file(file));
        let place = Place::Queue(queue.clone());
        let to = place.path(&name);
        // Out of the command's directory, so that settling again does not emit it again.
        let part = part_path(&name);
        let came = Came::Emitted {
            parent: self.job.name.clone(),
        };
        let mut accepted = Accepted::new(name.clone(), came, spool.now_ms());
        accepted.dialect = "emit".to_owned();
        accepted.submitter = submitter.to_owned();
        accepted.interface = Some(queue.interface.clone());
        accepted.addressee.clone_from(&queue.addressee);
        accepted.reference_as_sent = Some(file.to_owned());
        accepted.bytes = stat.map_or(0, |stat| stat.bytes);
        accepted.uid = stat.map(|stat| stat.uid);
        accepted.order_key = spool.order_key_in(from, name.kind(), &queue.interface)?;
        let mut ops = if spool.is_large(from)? {
            vec![Op::moved(from, &part), Op::moved(&part, &to)]
        } else {
            let bytes = spool.fs.read(from).map_err(wrap("read", from))?;
            if bytes.len() > INLINE_BYTES_MAX {
                let text = format!("emitted job {file:?} still grows");
                return Err(SpoolError::Output(text));
            }
            accepted.bytes = bytes.len() as u64;
            accepted.sha256 = Some(hex::encode(Sha256::digest(&bytes)));
            let path = text(&to);
            let bytes = bytes.into();
            vec![Op::Put { path, bytes }]
        };
        ops.push(Op::Accepted(Box::new(accepted)));
        spool.fs.rename(from, &part).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                let text = format!("emitted job {file:?} cannot be taken: {error}");
                return SpoolError::Output(text);
            }
            wrap("take", from)(error)
        })?;
        spool.set_arriving(queue, &name);
        let pending = PendingRename {
            from: part,
            to,
            how: How::New,
            content: None,
            step: Some(self.job.name.id()),
        };
        // There, and durable, with the job's own move.
        let _ = spool.publish(&ops, vec![pending])?;
        Ok(Job { place, name })
    }
}

impl<F: Fs> Drop for Claim<F> {
    fn drop(&mut self) {
        if self.settled || self.spool.unhealthy().is_some() {
            return;
        }
        if self.begun {
            // Its command ran: giving it back would run it again uncounted.
            tracing::error!(job = %self.job.name, "the job stays in work until restart");
            return;
        }
        // If this fails too, recovery does it.
        if let Err(error) = self.settle(Settlement::GivenBack, None) {
            tracing::error!(job = %self.job.name, %error, "the job stays in work until restart");
        }
    }
}

/// By which move a run is settled, and what the record calls that.
fn end_of(what: Settlement, log: Option<&JobLog>) -> (Transition, Act) {
    match what {
        Settlement::Deferred { due_ms } => (Transition::Defer { due_ms }, Act::Deferred),
        Settlement::Done => (Transition::Archive, Act::Done),
        Settlement::Failed if log.is_some_and(JobLog::is_cancelled) => {
            (Transition::Fail, Act::Cancelled)
        }
        Settlement::Failed => (Transition::Fail, Act::Failed),
        Settlement::GivenBack => (Transition::Release, Act::GivenBack),
    }
}

fn add_emitted(found: &mut Vec<Emitted>, to: &Queue, dir: &Path, files: Vec<String>) {
    found.extend(files.into_iter().map(|name| Emitted {
        to: to.clone(),
        path: dir.join(&name),
        name,
    }));
}

/// `work/<interface>/<job>.<what>`
pub(super) fn run_file(interface: &InterfaceName, name: &JobName, what: &str) -> PathBuf {
    ["work", interface.as_str(), &format!("{name}.{what}")]
        .iter()
        .collect()
}

/// The names that a run's directory has when `<job>.run` cannot be taken out of the way.
pub(super) fn other_runs<'a>(
    interface: &'a InterfaceName,
    name: &'a JobName,
) -> impl Iterator<Item = PathBuf> + 'a {
    (1..RUN_DIRS_MAX).map(move |n| run_file(interface, name, &format!("run-{n}")))
}

/// The job to whose run an entry of `work` belongs, if it is not the job itself.
pub(super) fn run_owner(entry: &str) -> Option<JobName> {
    let (owner, what) = entry.rsplit_once('.')?;
    let is_number = |text: &str| text.parse::<usize>().is_ok();
    let ours =
        ["exit", "lock", "run"].contains(&what) || what.strip_prefix("run-").is_some_and(is_number);
    owner.parse().ok().filter(|_| ours)
}

/// True for an error that says nothing of the file: the disk fails, or we are short of something.
fn is_fault(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
