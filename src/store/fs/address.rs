//! Queues that have a directory for each user: `queue/<interface>/@<user>`.
//!
//! The directory says for whom a job is, so `mv` re-addresses it. What lies beside the users'
//! directories, or in a directory of a name that no user has, has no owner: it is reported and left
//! alone.

use super::{EntryKind, Fs, Spool, SpoolError, TemporaryNames, not_a_dir, wrap};
use crate::domain::{InterfaceName, Job, JobName, Place, Queue, UserName};
use crate::store::fs::{PlacePath, QueuePath};
use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

/// Says whether there is a user of that name.
pub(super) type IsUser = Box<dyn Fn(&UserName) -> bool + Send + Sync>;

/// What lies in an addressed queue and is for no user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// Relative to the spool.
    pub path: PathBuf,
    /// Why, and what to do.
    pub why: String,
}

/// An entry of an addressed interface's queue that does not wait for its writer.
enum Addressed {
    Queue(Queue),
    /// With the reason why it is for no user.
    Astray(OsString, String),
}

impl<F: Fs> Spool<F> {
    /// Sets once how users are known. `is_user` may block, as all here.
    pub fn know_users(&self, is_user: impl Fn(&UserName) -> bool + Send + Sync + 'static) {
        // Set once, where the spool is opened.
        let _ = self.users.set(Box::new(is_user));
    }

    /// Is there a user of that name, as far as is known?
    pub fn is_user(&self, user: &UserName) -> bool {
        self.users.get().is_none_or(|is_user| is_user(user))
    }

    /// Has the interface's queue a directory for each user?
    pub fn is_addressed(&self, interface: &InterfaceName) -> bool {
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(interface);
        rules.is_some_and(|rules| rules.drops.addressed)
    }

    /// The interfaces whose queue has a directory for each user.
    pub fn addressed_interfaces(&self) -> Vec<InterfaceName> {
        let interfaces = self.interfaces.load();
        let addressed = interfaces.iter().filter(|(_, rules)| rules.drops.addressed);
        addressed.map(|(interface, _)| interface.clone()).collect()
    }

    /// Is a job in an addressed queue where it is for no user?
    pub fn is_astray(&self, place: &Place) -> bool {
        let Place::Queue(queue) = place else {
            return false;
        };
        self.is_addressed(&queue.interface)
            && !(queue.addressee.as_ref()).is_some_and(|user| self.is_user(user))
    }

    /// Makes a queue's directory if it is not there. A replay makes it again.
    ///
    /// # Errors
    /// As those of [`Spool::queue_dir`], and when it cannot be made.
    pub fn make_queue(&self, queue: &Queue) -> Result<(), SpoolError> {
        let dir = self.queue_dir(queue)?;
        if queue.addressee.is_some() && self.stat(&dir)?.is_none() {
            if self.stat(&Queue::from(&queue.interface).dir())?.is_none() {
                self.restore_dirs()?;
            }
            self.make_dir(&dir)?;
        }
        Ok(())
    }

    /// A queue's directory.
    ///
    /// # Errors
    /// When it, or one above it, has been replaced by a link or a file: what is behind that is no queue.
    pub fn queue_dir(&self, queue: &Queue) -> Result<PathBuf, SpoolError> {
        let dir = queue.dir();
        check_dirs(&*self.fs, &dir)?;
        Ok(dir)
    }

    /// The directories in which jobs of an interface wait, also those of names that no user has. One
    /// that the service may not read is left out: it must not keep other users from their jobs.
    ///
    /// # Errors
    /// When the users' directories cannot be listed.
    pub fn queues(&self, interface: &InterfaceName) -> Result<Vec<Queue>, SpoolError> {
        let mut queues = vec![Queue::from(interface)];
        if !self.is_addressed(interface) {
            return Ok(queues);
        }
        let dir = queues[0].dir();
        let each = &mut |name: &OsStr, kind| {
            let user = name.to_str().and_then(UserName::of_dir);
            if let Some(user) = user.filter(|_| kind == EntryKind::Dir) {
                queues.push(Queue::of_user(interface, user));
            }
        };
        self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
        let is_open = |queue| Ok(self.is_open(&queue)?.then_some(queue));
        let open = queues
            .into_iter()
            .map(is_open)
            .filter_map(Result::transpose);
        open.collect()
    }

    /// May we look at what is in the directory of a queue?
    fn is_open(&self, queue: &Queue) -> Result<bool, SpoolError> {
        match self.stat(&queue.dir().join(".")) {
            Err(SpoolError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Ok(queue.addressee.is_none())
            }
            other => other.map(|_| true),
        }
    }

    /// The directories in which jobs of an interface wait for a user. What is for no user is reported,
    /// once.
    ///
    /// # Errors
    /// When the queue is no directory of its own or cannot be listed: tried again by the next scan.
    pub(super) fn queues_to_scan(
        &self,
        interface: &InterfaceName,
    ) -> Result<Vec<Queue>, SpoolError> {
        if !self.is_addressed(interface) {
            return Ok(vec![interface.into()]);
        }
        let (mut queues, mut here) = (Vec::new(), HashSet::new());
        let dir = Queue::from(interface).dir();
        for entry in self.addressed(interface)? {
            match entry {
                Addressed::Queue(queue) => queues.push(queue),
                Addressed::Astray(name, why) => {
                    self.report_odd(&dir.join(&name), &why);
                    here.insert(name);
                }
            }
        }
        self.forget_odd(&dir, |name| here.contains(name));
        Ok(queues)
    }

    /// What lies in an interface's queue and is for no user, because of where it lies.
    ///
    /// # Errors
    /// When the queue cannot be listed.
    pub fn astray(&self, interface: &InterfaceName) -> Result<Vec<Astray>, SpoolError> {
        if !self.is_addressed(interface) {
            return Ok(Vec::new());
        }
        let dir = Queue::from(interface).dir();
        let entries = self.addressed(interface)?.into_iter();
        let mut astray: Vec<Astray> = entries
            .filter_map(|entry| match entry {
                Addressed::Queue(_) => None,
                Addressed::Astray(name, why) => Some(Astray {
                    path: dir.join(name),
                    why,
                }),
            })
            .collect();
        astray.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(astray)
    }

    /// Is there a job of that name in the directory of another user, too?
    ///
    /// # Errors
    /// When that cannot be looked up; the job is left for the next scan.
    pub(super) fn is_for_another_too(
        &self,
        queue: &Queue,
        job: &JobName,
    ) -> Result<bool, SpoolError> {
        if queue.addressee.is_none() {
            return Ok(false);
        }
        let key = self.job_key(job);
        let other = {
            let ready = self.ready.lock();
            let mut others = ready
                .iter()
                .filter(|(of, _)| *of != queue && of.interface == queue.interface);
            others
                .find(|(_, jobs)| jobs.contains(&key))
                .map(|(of, _)| of.clone())
        };
        // It may have been moved from there to here.
        match other {
            Some(other) => Ok(self.stat(&Place::Queue(other).path(job))?.is_some()),
            None => Ok(false),
        }
    }

    /// Why a job is for no user, if so, and what to do.
    pub fn why_astray(&self, job: &Job) -> Option<String> {
        let interface = job
            .place
            .interface()
            .filter(|_| self.is_astray(&job.place))?;
        let because = match job.place.addressee() {
            Some(user) => format!("there is no user {user}"),
            None => "it lies beside the directories of users".to_owned(),
        };
        let name = &job.name;
        Some(format!(
            "no user is shown it: {because}; run `spoolgate requeue {name} --to {interface}/@USER`, \
             or move it there with `mv`"
        ))
    }

    /// The entries of an addressed interface's queue.
    fn addressed(&self, interface: &InterfaceName) -> Result<Vec<Addressed>, SpoolError> {
        let dir = self.queue_dir(&interface.into())?;
        let interfaces = self.interfaces.load();
        let rules = interfaces.get(interface);
        let temporary = rules.map_or_else(TemporaryNames::default, |r| r.drops.temporary.clone());
        let mut found = Vec::new();
        let each = &mut |name: &OsStr, kind| {
            let text = name.to_string_lossy();
            let why = match name.to_str().and_then(UserName::of_dir) {
                Some(user) if kind == EntryKind::Dir => {
                    return found.push(Addressed::Queue(Queue::of_user(interface, user)));
                }
                None if text.starts_with('.') || temporary.matches(&text) => return,
                None if kind == EntryKind::Dir => {
                    no_user(text.strip_prefix('@').unwrap_or_default())
                }
                Some(_) | None => beside(),
            };
            found.push(Addressed::Astray(name.to_owned(), why));
        };
        self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
        let mut entries = Vec::with_capacity(found.len());
        for entry in found {
            let Addressed::Queue(Queue {
                addressee: Some(user),
                interface,
            }) = entry
            else {
                entries.push(entry);
                continue;
            };
            let (name, queue) = (format!("@{user}"), Queue::of_user(&interface, user.clone()));
            if !self.is_open(&queue)? {
                let why = "the service cannot look into it; give its user the right to";
                entries.push(Addressed::Astray(name.into(), why.to_owned()));
            } else if self.is_user(&user) {
                entries.push(Addressed::Queue(queue));
            } else if self.has_files(&queue.dir())? {
                // One that is empty may be that of a user who has gone.
                entries.push(Addressed::Astray(name.into(), no_user(user.as_str())));
            }
        }
        Ok(entries)
    }

    fn has_files(&self, dir: &Path) -> Result<bool, SpoolError> {
        let mut any = false;
        let each = &mut |name: &OsStr, _| any |= !name.to_string_lossy().starts_with('.');
        self.fs.list(dir, each).map_err(wrap("list", dir))?;
        Ok(any)
    }
}

/// Is a directory one, and each above it, as far as they are there?
///
/// # Errors
/// When one has been replaced by a link or a file, or cannot be looked at.
pub(super) fn check_dirs(fs: &impl Fs, dir: &Path) -> Result<(), SpoolError> {
    let mut above: Vec<&Path> = dir.ancestors().collect();
    // The spool itself may be behind one.
    above.pop();
    for dir in above.into_iter().rev() {
        let stat = fs.stat(dir).map_err(wrap("look at", dir))?;
        if stat.is_some_and(|stat| stat.kind != EntryKind::Dir) {
            return Err(wrap("use", dir)(not_a_dir()));
        }
    }
    Ok(())
}

/// Of what lies beside the users' directories.
fn beside() -> String {
    "no user is shown it: move it with `mv` into the directory @USER of the user it is for"
        .to_owned()
}

/// Of a directory whose name no user has.
fn no_user(name: &str) -> String {
    if name.is_empty() {
        return "no user is shown what is in it: a user's directory is called @USER; move the files \
                there with `mv`"
            .to_owned();
    }
    format!(
        "no user is shown what is in it: there is no user {name}; run `spoolgate user add {name}`, or \
         move the files to the directory of another user with `mv`"
    )
}

#[cfg(test)]
mod tests;
