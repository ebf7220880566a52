//! Watching directories with notify. An event is a hint, never a fact: it only says where to
//! look, and a scan decides. Lost events are made good by a rescan, which comes on overflow, when
//! a watched directory is moved or replaced, and from time to time regardless.
//!
//! This file knows paths and names, and moves nothing. notify 8 reports the opening of every file,
//! our own scans included: such events are dropped first thing.

use crate::job::InterfaceName;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An entry of a queue appeared, or was closed by a writer.
    Came(InterfaceName, String),
    /// A watched file, or one in a watched directory other than the queues, changed.
    Changed(PathBuf),
    /// An entry of a queue went away.
    Left(InterfaceName, String),
    /// A queue's directory, or that of all queues, was moved, removed or made anew.
    Replaced,
    /// Events were lost: look everywhere.
    Rescan,
}

/// Which directories are watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The spool's root; its `queue/<interface>` directories are watched, and their parents.
    pub root: PathBuf,
    pub interfaces: Vec<InterfaceName>,
    /// Directories of which any change is reported as [`Seen::Changed`].
    pub dirs: Vec<PathBuf>,
    /// Files of which any change is reported as [`Seen::Changed`]. Their directories are watched,
    /// so that a file which is replaced is seen.
    pub files: Vec<PathBuf>,
}

/// Watches until dropped.
pub struct Watch {
    watcher: Mutex<RecommendedWatcher>,
    watched: Watched,
}

impl Watch {
    /// Arms the watcher; from now on `sink` is called from the watcher's thread. It must not
    /// block and must not call back into the watch.
    pub fn arm(
        watched: Watched,
        sink: impl Fn(Seen) + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let layout = watched.clone();
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) => translate(&layout, &event).into_iter().for_each(&sink),
            Err(error) => {
                tracing::warn!(%error, "the watcher reports an error; everything is scanned");
                sink(Seen::Rescan);
            }
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let watch = Self {
            watcher: Mutex::new(RecommendedWatcher::new(handler, config)?),
            watched,
        };
        watch.watch_all()?;
        Ok(watch)
    }

    /// Watches the directories that now have the watched names: a watch follows the directory
    /// that it was put on, wherever that is moved. Not to be called from the sink.
    pub fn rearm(&self) -> Result<(), notify::Error> {
        {
            let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            for dir in self.queues() {
                // An error says that it was not watched (any more).
                let _ = watcher.unwatch(&dir);
            }
        }
        self.watch_all()
    }

    fn watch_all(&self) -> Result<(), notify::Error> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let parents = self.watched.files.iter().filter_map(|file| file.parent());
        let mut dirs: Vec<PathBuf> = parents.map(Path::to_owned).collect();
        dirs.extend(self.queues());
        dirs.extend(self.watched.dirs.iter().cloned());
        dirs.sort();
        dirs.dedup();
        for dir in dirs {
            watcher.watch(&dir, RecursiveMode::NonRecursive)?;
        }
        Ok(())
    }

    fn queues(&self) -> Vec<PathBuf> {
        let queue = self.watched.root.join("queue");
        let mut dirs = vec![self.watched.root.clone(), queue.clone()];
        dirs.extend(
            self.watched
                .interfaces
                .iter()
                .map(|i| queue.join(i.as_str())),
        );
        dirs
    }
}

/// What an event of notify means for us.
fn translate(watched: &Watched, event: &Event) -> Vec<Seen> {
    // First of all: this event has no paths.
    if event.need_rescan() {
        return vec![Seen::Rescan];
    }
    let (came, left) = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Create(_) => {
            (event.paths.as_slice(), [].as_slice())
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => (event.paths.as_slice(), &[][..]),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            (&[][..], event.paths.as_slice())
        }
        // The From and To that come before it say the same.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => (&[][..], &[][..]),
        // The watched directory itself was moved.
        EventKind::Modify(ModifyKind::Name(_)) => return vec![Seen::Replaced],
        EventKind::Access(_) | EventKind::Any | EventKind::Modify(_) | EventKind::Other => {
            (&[][..], &[][..])
        }
    };
    let mut seen = Vec::new();
    for (paths, here) in [(left, false), (came, true)] {
        seen.extend(paths.iter().filter_map(|path| locate(watched, path, here)));
    }
    seen
}

fn locate(watched: &Watched, path: &Path, here: bool) -> Option<Seen> {
    let Ok(inside) = path.strip_prefix(watched.root.join("queue")) else {
        let dir = path.parent();
        let known = watched.files.iter().any(|file| file == path)
            || watched.dirs.iter().any(|known| dir == Some(known));
        return known.then(|| Seen::Changed(path.into()));
    };
    let mut parts = inside.components().map(|part| part.as_os_str());
    let Some(interface) = parts.next() else {
        return Some(Seen::Replaced);
    };
    let interface = (watched.interfaces.iter())
        .find(|known| interface.to_str() == Some(known.as_str()))?
        .clone();
    match parts.next() {
        None => Some(Seen::Replaced),
        Some(name) => {
            let name = name.to_string_lossy().into_owned();
            Some(if here {
                Seen::Came(interface, name)
            } else {
                Seen::Left(interface, name)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, Flag, RemoveKind};
    use std::{sync::mpsc, time::Duration};

    fn watched(root: &Path) -> Watched {
        Watched {
            root: root.into(),
            interfaces: vec!["a".parse().unwrap()],
            dirs: vec![root.join("schemas")],
            files: vec![root.join("users.toml")],
        }
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn events_become_hints() {
        let watched = watched(Path::new("/s"));
        let see = |kind, path| translate(&watched, &event(kind, path));
        let a: InterfaceName = "a".parse().unwrap();
        let came = vec![Seen::Came(a.clone(), "x".into())];
        let create = EventKind::Create(CreateKind::File);
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let remove = EventKind::Remove(RemoveKind::File);
        for kind in [create, close, to] {
            assert_eq!(see(kind, "/s/queue/a/x"), came, "{kind:?}");
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
    fn an_overflow_has_no_paths_and_is_seen() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(
            translate(&watched(Path::new("/s")), &overflow),
            [Seen::Rescan]
        );
    }

    /// A directory that is moved away and made anew is watched again after `rearm`.
    #[test]
    fn a_replaced_directory_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for made in ["queue/a", "schemas"] {
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
        watch.rearm().unwrap();
        std::fs::write(root.join("queue/a/x"), "x").unwrap();
        wait(&Seen::Came("a".parse().unwrap(), "x".into()));
    }
}
