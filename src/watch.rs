//! Watching directories with notify. An event is a hint, never a fact: it only says where to
//! look, and a scan decides. Lost events are made good by a rescan, which comes on overflow, when
//! a watched directory is moved or replaced, and from time to time regardless. A directory that
//! cannot be watched takes nothing from the others, and is tried again.
//!
//! This file knows paths and names, and moves nothing. notify 8 reports the opening of every file,
//! our own scans included: such events are dropped first thing.

use crate::domain::{InterfaceName, Queue, UserName};
use arc_swap::ArcSwap;
use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

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

/// Watches until dropped.
pub(crate) struct Watch {
    armed: Mutex<Armed>,
    watched: Arc<ArcSwap<Watched>>,
}

struct Armed {
    watcher: RecommendedWatcher,
    /// What is watched under each name, or why nothing is.
    dirs: BTreeMap<PathBuf, Result<Identity, String>>,
}

impl Watch {
    /// Arms the watcher; from now on `sink` is called from the watcher's thread. It must not
    /// block and must not call back into the watch.
    ///
    /// # Errors
    /// When nothing, or no more, can be watched. One directory that cannot be is none: see
    /// [`Watch::unwatched`].
    pub(crate) fn arm(
        watched: Watched,
        sink: impl Fn(Seen) + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let watched = Arc::new(ArcSwap::from_pointee(watched));
        let layout = watched.clone();
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) => {
                let seen = translate(&layout.load(), &event);
                seen.into_iter().for_each(&sink);
            }
            Err(error) => {
                tracing::warn!(%error, "the watcher reports an error; everything is scanned");
                sink(Seen::Rescan);
            }
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let watch = Self {
            armed: Mutex::new(Armed {
                watcher: RecommendedWatcher::new(handler, config)?,
                dirs: BTreeMap::new(),
            }),
            watched,
        };
        watch.rearm(true)?;
        Ok(watch)
    }

    /// Watches these directories from now on. What happened meanwhile in one that was not watched is to be looked for.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(crate) fn take(&self, watched: Watched) -> Result<(), notify::Error> {
        self.watched.store(Arc::new(watched));
        self.rearm(true).map(drop)
    }

    /// Watches the directories that now have the watched names: a watch follows the directory
    /// that it was put on, wherever that is moved. `all` of them anew, as one that was replaced may
    /// look the same; else those that are different from before. Says whether a directory is watched
    /// that was not: what happened there meanwhile is to be looked for. Not to be called from the
    /// sink.
    ///
    /// # Errors
    /// When no more can be watched.
    pub(crate) fn rearm(&self, all: bool) -> Result<bool, notify::Error> {
        let mut armed = self.armed();
        let mut is_new = false;
        let (watched, dirs) = (self.watched.load(), self.dirs());
        let left: Vec<PathBuf> = armed.dirs.keys().cloned().collect();
        for dir in left.into_iter().filter(|dir| !dirs.contains(dir)) {
            if matches!(armed.dirs.remove(&dir), Some(Ok(_))) {
                // As below.
                let _ = armed.watcher.unwatch(&dir);
            }
        }
        for dir in dirs {
            let before = armed.dirs.get(&dir).cloned();
            let now = (watched.identity)(&watched.root, &dir);
            let stays =
                now.is_some() && before.as_ref().and_then(|b| b.as_ref().ok()) == now.as_ref();
            if stays && !all {
                continue;
            }
            if matches!(before, Some(Ok(_))) {
                // An error says that it was not watched any more.
                let _ = armed.watcher.unwatch(&dir);
            }
            let watching = match now {
                None => Err(
                    "it is no directory, or a link to one; make it a directory again".to_owned(),
                ),
                Some(now) => match armed.watcher.watch(&dir, self.mode(&dir)) {
                    Ok(()) => Ok(now),
                    Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                        return Err(error);
                    }
                    Err(error) => Err(error.to_string()),
                },
            };
            is_new |= watching.is_ok();
            armed.dirs.insert(dir, watching);
        }
        Ok(is_new)
    }

    /// The directories that are not watched, with the reason.
    pub(crate) fn unwatched(&self) -> BTreeMap<PathBuf, String> {
        let armed = self.armed();
        let unwatched = armed.dirs.iter().filter_map(|(dir, watching)| {
            let why = watching.as_ref().err()?;
            Some((dir.clone(), why.clone()))
        });
        unwatched.collect()
    }

    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock()
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let watched = self.watched.load();
        let parents = watched.files.iter().filter_map(|file| file.parent());
        let mut dirs: Vec<PathBuf> = parents.map(Path::to_owned).collect();
        dirs.extend(self.queues());
        dirs.extend(watched.dirs.iter().cloned());
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Whether what is in the directories of a directory is watched, also of those that are yet to be
    /// made.
    fn mode(&self, dir: &Path) -> RecursiveMode {
        let watched = self.watched.load();
        let queue = watched.root.join("queue");
        let inside = dir.strip_prefix(&queue).ok().and_then(Path::to_str);
        match watched
            .addressed
            .iter()
            .any(|name| inside == Some(name.as_str()))
        {
            true => RecursiveMode::Recursive,
            false => RecursiveMode::NonRecursive,
        }
    }

    fn queues(&self) -> Vec<PathBuf> {
        let watched = self.watched.load();
        let queue = watched.root.join("queue");
        let mut dirs = vec![watched.root.clone(), queue.clone()];
        dirs.extend(watched.interfaces.iter().map(|i| queue.join(i.as_str())));
        dirs
    }
}

/// What an event of notify means for us.
fn translate(watched: &Watched, event: &Event) -> Vec<Seen> {
    // First of all: this event has no paths.
    if event.need_rescan() {
        return vec![Seen::Rescan];
    }
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
    use std::{os::unix::fs::MetadataExt, sync::mpsc, time::Duration};

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
        let _watch = Watch::arm(watched(&root), move |s| sender.send(s).unwrap()).unwrap();
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
    fn an_overflow_has_no_paths_and_is_seen() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(
            translate(&watched(Path::new("/s")), &overflow),
            [Seen::Rescan]
        );
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
        let watch = Watch::arm(watched(&root), move |s| sender.send(s).unwrap()).unwrap();
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
