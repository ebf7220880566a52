//! Watching directories with notify. An event is a hint, never a fact: it only says where to
//! look, and a scan decides. Lost events are made good by a rescan, which comes on overflow, when
//! a watched directory is moved or replaced, and from time to time regardless. A directory that
//! cannot be watched takes nothing from the others, and is tried again.
//!
//! All tenants share one watcher, since the system has few. A directory that several of them watch, such as that of
//! the configuration, is told to each.
//!
//! This file knows paths and names, and moves nothing. notify 8 reports the opening of every file,
//! our own scans included: such events are dropped first thing.

use crate::domain::{InterfaceName, Queue, UserName};
use arc_swap::ArcSwap;
use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What is seen after a pause is told so much later, together with what came meanwhile: under load the thread is woken
/// now and then, not by each file, and whoever makes files need not wake it.
const GATHERED: Duration = Duration::from_millis(2);
/// Events that are read together follow each other more closely.
const PAUSE: Duration = Duration::from_micros(50);

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// An entry of a queue appeared, or may be read by others than before.
    Came(Queue, String),
    /// A watched file, or one in a watched directory other than the queues, changed.
    Changed(PathBuf),
    /// An entry of a queue is whole as far as events tell: it was renamed to its name, or closed by
    /// one who could write it.
    Closed(Queue, String),
    /// An entry of a queue went away.
    Left(Queue, String),
    /// A watched directory in the spool was moved, removed or recreated.
    Replaced,
    /// Events were lost: look everywhere.
    Rescan,
    /// Nothing was seen for a while, since the watcher has begun anew: look everywhere.
    Restarted,
    /// Someone writes an entry of a queue.
    Written(Queue, String),
}

/// What happened to an entry of a watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Came,
    Changed,
    Closed,
    Left,
    Written,
}

/// Which directories are watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// The spool's root; its `queue/<interface>` directories are watched, and their parents.
    pub root: PathBuf,
    pub interfaces: BTreeSet<InterfaceName>,
    /// Those of them whose queue has directories in which jobs wait, too: `@<user>`.
    pub addressed: Vec<InterfaceName>,
    /// Directories of which any change is reported as [`Seen::Changed`].
    pub dirs: Vec<PathBuf>,
    /// Files of which any change is reported as [`Seen::Changed`]. Their directories are watched,
    /// so that a file which is replaced is seen.
    pub files: Vec<PathBuf>,
    /// Which directory, seen from the root, has this name now; `None` when none has, or a link leads
    /// there.
    pub identity: fn(root: &Path, dir: &Path) -> Option<Identity>,
}

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// What is called with everything that was seen, on the watcher's thread. It must not block and must not call back
/// into the watch.
pub(crate) type Sink = dyn Fn(Seen) + Send + Sync;

/// Watches for all tenants: the kernel tells one queue of events, which one thread reads.
pub(crate) struct Watcher {
    thread: Mutex<WatcherThread>,
    parties: Arc<Parties>,
    watches: Mutex<Vec<Weak<Watch>>>,
}

/// Who watches which directory.
type Parties = Mutex<HashMap<PathBuf, Vec<Arc<Party>>>>;

/// One who watches.
struct Party {
    watched: ArcSwap<Watched>,
    sink: Box<Sink>,
}

/// The thread of the library, which ends with any panic there or in a sink.
struct WatcherThread {
    /// Taken when it is dropped.
    notify: Option<RecommendedWatcher>,
    has_ended: Arc<AtomicBool>,
}

/// Goes when the thread ends.
struct Alive {
    has_ended: Arc<AtomicBool>,
    ended: Box<dyn Fn() + Send>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        (self.ended)();
    }
}

impl Drop for WatcherThread {
    fn drop(&mut self) {
        let notify = self.notify.take();
        if self.has_ended() {
            // It would wait for a thread that has gone, and panic. It holds next to nothing.
            std::mem::forget(notify);
        }
    }
}

impl WatcherThread {
    fn begin(
        parties: &Arc<Parties>,
        ended: impl Fn() + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let (parties, has_ended) = (parties.clone(), Arc::new(AtomicBool::new(false)));
        let alive = Alive {
            has_ended: has_ended.clone(),
            ended: Box::new(ended),
        };
        let mut told_at = None;
        let handler = move |event: notify::Result<Event>| {
            let _ = &alive;
            if told_at.is_none_or(|at: Instant| at.elapsed() > PAUSE) {
                thread::sleep(GATHERED);
            }
            tell(&parties, event);
            told_at = Some(Instant::now());
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        Ok(Self {
            notify: Some(RecommendedWatcher::new(handler, config)?),
            has_ended,
        })
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    fn watch(&mut self, dir: &Path, mode: RecursiveMode) -> Result<(), notify::Error> {
        match &mut self.notify {
            Some(notify) => notify.watch(dir, mode),
            None => Ok(()),
        }
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Some(notify) = &mut self.notify {
            // An error says that it was not watched any more.
            let _ = notify.unwatch(dir);
        }
    }
}

/// Tells each party what an event means for it.
fn tell(parties: &Parties, event: notify::Result<Event>) {
    let event = match event {
        // First of all: this event has no paths.
        Ok(event) if event.need_rescan() => None,
        Ok(event) => Some(event),
        Err(error) => {
            tracing::warn!(%error, "the watcher reports an error; everything is scanned");
            None
        }
    };
    let mut concerned: Vec<Arc<Party>> = Vec::new();
    {
        let parties = parties.lock();
        let mut add = |party: &Arc<Party>| {
            if !concerned.iter().any(|known| Arc::ptr_eq(known, party)) {
                concerned.push(party.clone());
            }
        };
        match &event {
            None => parties.values().flatten().for_each(add),
            Some(event) => {
                // A directory of a user is watched with the queue that it is in.
                let dirs = event.paths.iter().flat_map(|path| path.ancestors().take(3));
                let of_dirs = dirs.filter_map(|dir| parties.get(dir));
                of_dirs.flatten().for_each(&mut add);
            }
        }
    }
    for party in concerned {
        match &event {
            None => (party.sink)(Seen::Rescan),
            Some(event) => {
                let seen = translate(&party.watched.load(), event);
                seen.into_iter().for_each(&party.sink);
            }
        }
    }
}

impl Watcher {
    /// Begins to watch for those who will ask; `ended` is called when the thread has ended.
    ///
    /// # Errors
    /// When nothing can be watched.
    pub(crate) fn begin(ended: impl Fn() + Send + 'static) -> Result<Self, notify::Error> {
        let parties = Arc::default();
        Ok(Self {
            thread: Mutex::new(WatcherThread::begin(&parties, ended)?),
            parties,
            watches: Mutex::default(),
        })
    }

    /// Has the thread ended?
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.lock().has_ended()
    }

    /// Watches what was watched, after the thread has ended. Each who watches is told: what happened meanwhile was not
    /// seen.
    ///
    /// # Errors
    /// When nothing can be watched. It can be called again.
    pub(crate) fn begin_anew(
        &self,
        ended: impl Fn() + Send + 'static,
    ) -> Result<(), notify::Error> {
        *self.thread.lock() = WatcherThread::begin(&self.parties, ended)?;
        let watches: Vec<Arc<Watch>> = {
            let mut watches = self.watches.lock();
            watches.retain(|watch| watch.strong_count() > 0);
            watches.iter().filter_map(Weak::upgrade).collect()
        };
        for watch in watches {
            watch.dirs.lock().clear();
            if let Err(error) = watch.rearm(true) {
                tracing::error!(%error, "not every directory is watched any more; tried again");
            }
            (watch.party.sink)(Seen::Restarted);
        }
        Ok(())
    }

    /// Watches these directories; from now on `sink` is called.
    ///
    /// # Errors
    /// When no more can be watched. One directory that cannot be is none: see [`Watch::unwatched`].
    pub(crate) fn watch(
        self: &Arc<Self>,
        watched: Watched,
        sink: impl Fn(Seen) + Send + Sync + 'static,
    ) -> Result<Arc<Watch>, notify::Error> {
        let watch = Arc::new(Watch {
            watcher: self.clone(),
            party: Arc::new(Party {
                watched: ArcSwap::from_pointee(watched),
                sink: Box::new(sink),
            }),
            dirs: Mutex::default(),
        });
        // First: whoever begins anew arms it, too.
        self.watches.lock().push(Arc::downgrade(&watch));
        watch.rearm(true)?;
        Ok(watch)
    }

    /// Says that a party watches a directory. The event of one that is watched already comes to all who do.
    fn join(&self, dir: &Path, party: &Arc<Party>) {
        let mut parties = self.parties.lock();
        let of_dir = parties.entry(dir.to_owned()).or_default();
        if !of_dir.iter().any(|known| Arc::ptr_eq(known, party)) {
            of_dir.push(party.clone());
        }
    }

    /// Says that a party watches a directory no more; true when nobody does.
    fn leave(&self, dir: &Path, party: &Arc<Party>) -> bool {
        let mut parties = self.parties.lock();
        let Some(of_dir) = parties.get_mut(dir) else {
            return true;
        };
        of_dir.retain(|known| !Arc::ptr_eq(known, party));
        let is_left = of_dir.is_empty();
        if is_left {
            parties.remove(dir);
        }
        is_left
    }
}

/// What one tenant watches, until dropped.
pub(crate) struct Watch {
    watcher: Arc<Watcher>,
    party: Arc<Party>,
    /// What is watched under each name, or why nothing is.
    dirs: Mutex<BTreeMap<PathBuf, Result<Identity, String>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let dirs = std::mem::take(&mut *self.dirs.lock());
        dirs.keys().for_each(|dir| self.leave(dir));
    }
}

impl Watch {
    /// Watches these directories from now on. What happened meanwhile in one that was not watched is to be looked for.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(crate) fn take(&self, watched: Watched) -> Result<(), notify::Error> {
        self.party.watched.store(Arc::new(watched));
        self.rearm(true).map(drop)
    }

    /// Watches the directories that now have the watched names: a watch follows the directory
    /// that it was put on, wherever that is moved. `all` of them anew, as one that was replaced may
    /// look the same; else those that are different from before. Says whether a directory is watched
    /// that was not: what happened there meanwhile is to be looked for. Once the watcher's thread has ended nothing is
    /// done: it begins anew soon. Not to be called from the sink.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(crate) fn rearm(&self, all: bool) -> Result<bool, notify::Error> {
        let mut known = self.dirs.lock();
        let mut is_new = false;
        let watched = self.party.watched.load();
        let dirs = dirs_of(&watched);
        let left: Vec<PathBuf> = known.keys().cloned().collect();
        for dir in left.into_iter().filter(|dir| !dirs.contains(dir)) {
            known.remove(&dir);
            self.leave(&dir);
        }
        for dir in dirs {
            let before = known.get(&dir).cloned();
            let now = (watched.identity)(&watched.root, &dir);
            let stays =
                now.is_some() && before.as_ref().and_then(|b| b.as_ref().ok()) == now.as_ref();
            if stays && !all {
                continue;
            }
            let is_watched = matches!(before, Some(Ok(_)));
            let Some(watching) = self.watch_anew(&dir, is_watched, now)? else {
                return Ok(false);
            };
            is_new |= watching.is_ok();
            known.insert(dir, watching);
        }
        Ok(is_new)
    }

    /// Watches what has a name now. `None`: the thread has ended.
    fn watch_anew(
        &self,
        dir: &Path,
        is_watched: bool,
        now: Option<Identity>,
    ) -> Result<Option<Result<Identity, String>>, notify::Error> {
        let Some(now) = now else {
            if is_watched {
                self.leave(dir);
            }
            let why = "it is no directory, or a link to one; make it a directory again";
            return Ok(Some(Err(why.to_owned())));
        };
        // First: events of a directory without a party are nobody's.
        self.watcher.join(dir, &self.party);
        let mut thread = self.watcher.thread.lock();
        if thread.has_ended() {
            return Ok(None);
        }
        if is_watched {
            thread.unwatch(dir);
        }
        match thread.watch(dir, mode_of(&self.party.watched.load(), dir)) {
            Ok(()) => Ok(Some(Ok(now))),
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => Err(error),
            Err(error) => Ok(Some(Err(error.to_string()))),
        }
    }

    /// Watches a directory no more.
    fn leave(&self, dir: &Path) {
        if self.watcher.leave(dir, &self.party) {
            let mut thread = self.watcher.thread.lock();
            if !thread.has_ended() {
                thread.unwatch(dir);
            }
        }
    }

    /// The directories that are not watched, with the reason.
    pub(crate) fn unwatched(&self) -> BTreeMap<PathBuf, String> {
        let dirs = self.dirs.lock();
        let unwatched = dirs.iter().filter_map(|(dir, watching)| {
            let why = watching.as_ref().err()?;
            Some((dir.clone(), why.clone()))
        });
        unwatched.collect()
    }
}

/// Every directory that is to be watched.
fn dirs_of(watched: &Watched) -> BTreeSet<PathBuf> {
    let parents = watched.files.iter().filter_map(|file| file.parent());
    let queue = watched.root.join("queue");
    let queues = watched.interfaces.iter().map(|i| queue.join(i.as_str()));
    parents
        .map(Path::to_owned)
        .chain(queues)
        .chain(watched.dirs.iter().cloned())
        .chain([watched.root.clone(), queue.clone()])
        .collect()
}

/// Whether what is in the directories of a directory is watched, also of those that are yet to be
/// made.
fn mode_of(watched: &Watched, dir: &Path) -> RecursiveMode {
    let queue = watched.root.join("queue");
    let inside = dir.strip_prefix(&queue).ok().and_then(Path::to_str);
    let mut addressed = watched.addressed.iter();
    match addressed.any(|name| inside == Some(name.as_str())) {
        true => RecursiveMode::Recursive,
        false => RecursiveMode::NonRecursive,
    }
}

/// What an event of notify means for us.
fn translate(watched: &Watched, event: &Event) -> Vec<Seen> {
    let happened = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Happened::Closed,
        EventKind::Create(_) => Happened::Came,
        // Owner, permissions, access lists.
        EventKind::Modify(ModifyKind::Metadata(_)) => Happened::Changed,
        EventKind::Modify(ModifyKind::Data(_)) => Happened::Written,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            Happened::Left
        }
        // The From and To that come before it say the same.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        // The watched directory itself was moved.
        EventKind::Modify(ModifyKind::Name(_)) => return vec![Seen::Replaced],
        EventKind::Access(_) | EventKind::Any | EventKind::Modify(_) | EventKind::Other => {
            return Vec::new();
        }
    };
    let located = |path: &PathBuf| locate(watched, path, happened);
    event.paths.iter().filter_map(located).collect()
}

fn locate(watched: &Watched, path: &Path, happened: Happened) -> Option<Seen> {
    // If a directory has become readable, all of it has to be scanned.
    let directory = match happened {
        Happened::Changed => Seen::Rescan,
        Happened::Came | Happened::Closed | Happened::Left | Happened::Written => Seen::Replaced,
    };
    if watched.dirs.iter().any(|known| known == path) {
        return Some(directory);
    }
    let Ok(inside) = path.strip_prefix(watched.root.join("queue")) else {
        let dir = path.parent();
        let known = watched.files.iter().any(|file| file == path)
            || watched.dirs.iter().any(|known| dir == Some(known));
        // A file that is being written is reported when it is closed.
        return (known && happened != Happened::Written).then(|| Seen::Changed(path.into()));
    };
    let mut parts = inside.components().map(|part| part.as_os_str());
    let Some(interface) = parts.next() else {
        return Some(directory);
    };
    let interface: InterfaceName = interface.to_str()?.parse().ok()?;
    if !watched.interfaces.contains(&interface) {
        return None;
    }
    let Some(name) = parts.next() else {
        return Some(directory);
    };
    let (queue, name) = match parts.next() {
        None => (Queue::from(interface), name),
        Some(inner) => {
            let user = name.to_str().and_then(UserName::of_dir)?;
            (Queue::of_user(&interface, user), inner)
        }
    };
    // Deeper than that nothing is a job.
    if parts.next().is_some() {
        return None;
    }
    let name = name.to_string_lossy().into_owned();
    Some(match happened {
        Happened::Came | Happened::Changed => Seen::Came(queue, name),
        Happened::Closed => Seen::Closed(queue, name),
        Happened::Left => Seen::Left(queue, name),
        Happened::Written => Seen::Written(queue, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};
    use std::{os::unix::fs::MetadataExt, sync::mpsc};

    fn watched(root: &Path) -> Watched {
        Watched {
            root: root.into(),
            interfaces: ["a", "b"].map(|name| name.parse().unwrap()).into(),
            addressed: vec!["b".parse().unwrap()],
            dirs: vec![root.join("schemas")],
            files: vec![root.join("users.toml")],
            identity: |_, dir| {
                let meta = std::fs::symlink_metadata(dir).ok()?;
                meta.is_dir().then(|| (meta.dev(), meta.ino()))
            },
        }
    }

    /// By a watcher of its own.
    fn watch(root: &Path, sink: impl Fn(Seen) + Send + Sync + 'static) -> Arc<Watch> {
        let watcher = Arc::new(Watcher::begin(|| ()).unwrap());
        watcher.watch(watched(root), sink).unwrap()
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn events_become_hints() {
        let watched = watched(Path::new("/s"));
        let see = |kind, path| translate(&watched, &event(kind, path));
        let a: Queue = "a".parse().unwrap();
        let came = vec![Seen::Came(a.clone(), "x".into())];
        let create = EventKind::Create(CreateKind::File);
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let remove = EventKind::Remove(RemoveKind::File);
        let chmod = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        for kind in [create, chmod] {
            assert_eq!(see(kind, "/s/queue/a/x"), came, "{kind:?}");
        }
        for kind in [close, to] {
            let closed = [Seen::Closed(a.clone(), "x".into())];
            assert_eq!(see(kind, "/s/queue/a/x"), closed, "{kind:?}");
        }
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let written = [Seen::Written(a.clone(), "x".into())];
        assert_eq!(see(write, "/s/queue/a/x"), written);
        assert_eq!(see(write, "/s/users.toml"), []);
        for dir in ["/s/queue", "/s/queue/a", "/s/schemas"] {
            assert_eq!(see(chmod, dir), [Seen::Rescan]);
            assert_eq!(see(create, dir), [Seen::Replaced]);
        }
        for kind in [from, remove] {
            assert_eq!(
                see(kind, "/s/queue/a/x"),
                [Seen::Left(a.clone(), "x".into())]
            );
            assert_eq!(see(kind, "/s/queue/a"), [Seen::Replaced]);
            assert_eq!(see(kind, "/s/queue"), [Seen::Replaced]);
        }
        assert_eq!(see(to, "/s/queue/a"), [Seen::Replaced]);
        assert_eq!(
            see(to, "/s/schemas/x.xsd"),
            [Seen::Changed("/s/schemas/x.xsd".into())]
        );
        assert_eq!(
            see(close, "/s/users.toml"),
            [Seen::Changed("/s/users.toml".into())]
        );
        assert_eq!(see(to, "/s/.clock"), []);
        assert_eq!(see(to, "/s/queue/unknown/x"), []);
        assert_eq!(
            see(
                EventKind::Access(AccessKind::Open(AccessMode::Any)),
                "/s/queue/a/x"
            ),
            []
        );
    }

    #[test]
    fn what_is_for_a_user_is_seen_as_such() {
        let watched = watched(Path::new("/s"));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let see = |path| translate(&watched, &event(close, path));
        for (path, queue, name) in [
            ("/s/queue/b/@shop/x", "b/@shop", "x"),
            ("/s/queue/b/@shop", "b", "@shop"),
            ("/s/queue/b/x", "b", "x"),
        ] {
            let closed = Seen::Closed(queue.parse().unwrap(), name.into());
            assert_eq!(see(path), [closed], "{path}");
        }
        for path in [
            "/s/queue/b/shop/x",
            "/s/queue/b/@/x",
            "/s/queue/b/@shop/x/y",
        ] {
            assert_eq!(see(path), [], "{path}");
        }
    }

    /// Also in a directory that is made later.
    #[test]
    fn directories_of_users_are_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for made in ["queue/a", "queue/b/@ada", "schemas"] {
            std::fs::create_dir_all(root.join(made)).unwrap();
        }
        let (sender, seen) = mpsc::channel();
        let _watch = watch(&root, move |s| sender.send(s).unwrap());
        let sees = |queue: &str| {
            let wanted = Seen::Closed(queue.parse().unwrap(), "x".into());
            std::iter::from_fn(|| seen.recv_timeout(Duration::from_secs(1)).ok())
                .any(|seen| seen == wanted)
        };
        std::fs::write(root.join("queue/b/@ada/x"), "x").unwrap();
        assert!(sees("b/@ada"));
        std::fs::create_dir(root.join("queue/b/@bob")).unwrap();
        // What comes before the directory is watched is found by the scan that it causes.
        crate::util::until::blocking("what is for a new user", || {
            std::fs::write(root.join("queue/b/@bob/x"), "x").unwrap();
            sees("b/@bob").then_some(())
        });
    }

    #[test]
    fn an_overflow_has_no_paths_and_is_seen_by_each() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let watcher = Arc::new(Watcher::begin(|| ()).unwrap());
        let (sender, seen) = mpsc::channel();
        let watches = dirs.each_ref().map(|dir| {
            let (sender, root) = (sender.clone(), dir.path().to_owned());
            let sink = move |seen| sender.send((root.clone(), seen)).unwrap();
            watcher.watch(watched(dir.path()), sink).unwrap()
        });
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        tell(&watcher.parties, Ok(overflow));
        drop((watches, sender));
        let mut told: Vec<_> = seen.iter().collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let mut expected = dirs
            .each_ref()
            .map(|dir| (dir.path().to_owned(), Seen::Rescan));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(told, expected);
    }

    /// Of the configuration, say.
    #[test]
    fn a_directory_that_two_watch_is_told_to_each_until_he_goes() {
        let (common, mut watches) = (tempfile::tempdir().unwrap(), Vec::new());
        let watcher = Arc::new(Watcher::begin(|| ()).unwrap());
        let common = common.path().canonicalize().unwrap();
        let (sender, seen) = mpsc::channel();
        for of in ["one", "other"] {
            let root = common.join(of);
            std::fs::create_dir_all(root.join("queue/a")).unwrap();
            let watched = Watched {
                files: vec![common.join("users.toml")],
                ..watched(&root)
            };
            let sender = sender.clone();
            // One that has gone may still be told something.
            let sink = move |seen| drop(sender.send((of, seen)));
            watches.push(watcher.watch(watched, sink).unwrap());
        }
        let wait = |who: &str, wanted: &Seen| loop {
            let one = seen.recv_timeout(Duration::from_secs(20));
            let (of, one) = one.expect("nothing came");
            assert!(who.contains(of) || one != *wanted, "{of} is told");
            if one == *wanted {
                return of;
            }
        };
        let users = Seen::Changed(common.join("users.toml"));
        std::fs::write(common.join("users.toml"), "").unwrap();
        let both = BTreeSet::from([wait("one other", &users), wait("one other", &users)]);
        assert_eq!(both, BTreeSet::from(["one", "other"]));
        // What is one's own concerns no other.
        std::fs::write(common.join("one/queue/a/x"), "").unwrap();
        wait("one", &Seen::Closed("a".parse().unwrap(), "x".into()));
        drop(watches.remove(0));
        while seen.try_recv().is_ok() {}
        std::fs::write(common.join("users.toml"), "").unwrap();
        wait("other", &users);
    }

    /// A directory that is moved away and recreated is watched again after `rearm`.
    #[test]
    fn a_replaced_directory_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for made in ["queue/a", "queue/b", "schemas"] {
            std::fs::create_dir_all(root.join(made)).unwrap();
        }
        let (sender, seen) = mpsc::channel();
        let watch = watch(&root, move |s| sender.send(s).unwrap());
        let wait = |wanted: &Seen| loop {
            let one = seen
                .recv_timeout(Duration::from_secs(20))
                .expect("nothing came");
            if one == *wanted {
                return;
            }
        };
        std::fs::rename(root.join("queue/a"), root.join("old")).unwrap();
        std::fs::create_dir(root.join("queue/a")).unwrap();
        wait(&Seen::Replaced);
        assert!(watch.rearm(true).unwrap());
        std::fs::write(root.join("queue/a/x"), "x").unwrap();
        wait(&Seen::Closed("a".parse().unwrap(), "x".into()));
        // A link in its place is not followed, and takes nothing from the others.
        std::fs::rename(root.join("queue/a"), root.join("older")).unwrap();
        std::os::unix::fs::symlink("../old", root.join("queue/a")).unwrap();
        wait(&Seen::Replaced);
        assert!(watch.rearm(true).unwrap());
        assert_eq!(
            Vec::from_iter(watch.unwatched().keys()),
            [&root.join("queue/a")]
        );
        std::fs::write(root.join("queue/a/y"), "y").unwrap();
        std::fs::write(root.join("schemas/z"), "z").unwrap();
        wait(&Seen::Changed(root.join("schemas/z")));
        // What is another directory than before is noticed without an event.
        assert!(!watch.rearm(false).unwrap());
        std::fs::remove_file(root.join("queue/a")).unwrap();
        std::fs::create_dir(root.join("queue/a")).unwrap();
        assert!(watch.rearm(false).unwrap());
        assert!(watch.unwatched().is_empty());
        std::fs::write(root.join("queue/a/back"), "x").unwrap();
        let back = Seen::Closed("a".parse().unwrap(), "back".into());
        let linked = Seen::Closed("a".parse().unwrap(), "y".into());
        loop {
            let one = seen.recv_timeout(Duration::from_secs(20));
            let one = one.expect("nothing came");
            assert_ne!(one, linked, "the link was followed");
            if one == back {
                return;
            }
        }
    }
}
