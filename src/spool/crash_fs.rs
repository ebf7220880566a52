//! A disk in memory that stops at any call, and shows after the reboot what a real one could.
//!
//! Each file and each directory has what programs see now and what is durable: a file's bytes
//! and attributes become durable by `sync_file`, a directory's entries by `sync_dir`. Renames
//! between directories are not atomic here: POSIX does not promise it, so the worst image may
//! show a file in both directories, or in neither if the source is synced before the target.

use super::fs::{EntryKind, Fs, Stat};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Component, Path},
    sync::{Arc, Mutex, MutexGuard},
};

/// Which of the possible disks a reboot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// Everything that was done is there.
    Best,
    /// Directory entries are there as last seen, file contents only as last synced.
    EntriesFirst,
    /// Only what was synced is there.
    Worst,
}

#[derive(Clone, Default, Debug)]
struct FileNode {
    now: Content,
    durable: Content,
}

#[derive(Clone, Default, Debug, PartialEq)]
struct Content {
    bytes: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

#[derive(Clone, Default, Debug)]
struct DirNode {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
enum Node {
    Dir(DirNode),
    File(FileNode),
}

#[derive(Clone, Debug)]
struct Disk {
    nodes: Vec<Node>,
    calls: usize,
    stop_at: usize,
    /// A deliberate mistake: directory syncs do nothing.
    forget_dir_syncs: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct CrashFs(Arc<Mutex<Disk>>);

impl CrashFs {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk {
            nodes: vec![Node::Dir(DirNode::default())],
            calls: 0,
            stop_at: usize::MAX,
            forget_dir_syncs: false,
        })))
    }

    pub(crate) fn forgetting_dir_syncs(self) -> Self {
        self.disk().forget_dir_syncs = true;
        self
    }

    /// From now on the `n`-th call (counted from 0) and all after it fail.
    pub(crate) fn stop_at(&self, n: usize) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.stop_at = n;
    }

    pub(crate) fn calls(&self) -> usize {
        self.disk().calls
    }

    /// The disk that the next start finds.
    pub(crate) fn reboot(&self, image: Image) -> Self {
        let mut disk = self.disk().clone();
        for node in &mut disk.nodes {
            match node {
                Node::Dir(dir) => match image {
                    Image::Best | Image::EntriesFirst => dir.durable = dir.now.clone(),
                    Image::Worst => dir.now = dir.durable.clone(),
                },
                Node::File(file) => match image {
                    Image::Best => file.durable = file.now.clone(),
                    Image::EntriesFirst | Image::Worst => file.now = file.durable.clone(),
                },
            }
        }
        disk.stop_at = usize::MAX;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Every file: path and bytes.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        let mut found = BTreeMap::new();
        let mut todo = vec![(String::new(), 0)];
        while let Some((path, node)) = todo.pop() {
            match &disk.nodes[node] {
                Node::Dir(dir) => {
                    todo.extend(dir.now.iter().map(|(name, node)| {
                        let slash = if path.is_empty() { "" } else { "/" };
                        (format!("{path}{slash}{name}"), *node)
                    }));
                }
                Node::File(file) => {
                    found.insert(path, file.now.bytes.clone());
                }
            }
        }
        found
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn call(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        if disk.calls >= disk.stop_at {
            return Err(io::Error::other("the machine has stopped"));
        }
        disk.calls += 1;
        Ok(disk)
    }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let Node::Dir(dir) = &self.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *dir
                .now
                .get(name.to_str().unwrap())
                .ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut DirNode> {
        let at = self.find(path)?;
        match &mut self.nodes[at] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn parent(&mut self, path: &Path) -> io::Result<(&mut DirNode, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.dir(path.parent().unwrap())?, name))
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let at = self.nodes.len();
        let (dir, name) = self.parent(path)?;
        if dir.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.now.insert(name, at);
        self.nodes.push(node);
        Ok(at)
    }

    fn take(&mut self, path: &Path) -> io::Result<usize> {
        let (dir, name) = self.parent(path)?;
        dir.now.remove(&name).ok_or(io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, at: usize) -> &mut FileNode {
        match &mut self.nodes[at] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory is used as a file"),
        }
    }

    fn kind(&self, at: usize) -> EntryKind {
        match self.nodes[at] {
            Node::Dir(_) => EntryKind::Dir,
            Node::File(_) => EntryKind::File,
        }
    }
}

impl Fs for CrashFs {
    type File = usize;
    type Lock = ();

    fn attribute(&self, path: &Path, name: &str) -> io::Result<Option<String>> {
        let mut disk = self.call()?;
        let at = disk.find(path)?;
        Ok(disk.file(at).now.attributes.get(name).cloned())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<usize> {
        let mut disk = self.call()?;
        let at = disk.find(from)?;
        let now = Content {
            bytes: disk.file(at).now.bytes.clone(),
            attributes: BTreeMap::new(),
        };
        let durable = Content::default();
        disk.add(to, Node::File(FileNode { now, durable }))
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        self.call()?.add(path, Node::File(FileNode::default()))
    }

    fn is_foreign(&self, stat: &Stat) -> bool {
        stat.uid != 0
    }

    fn is_complete(&self, path: &Path) -> io::Result<bool> {
        self.call()?.find(path).map(|_| true)
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(&OsStr, EntryKind)) -> io::Result<()> {
        let mut disk = self.call()?;
        let entries = match disk.dir(dir) {
            Ok(dir) => dir.now.clone(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for (name, at) in entries {
            each(OsStr::new(&name), disk.kind(at));
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<()>> {
        let mut disk = self.call()?;
        if disk.find(path).is_err() {
            disk.add(path, Node::File(FileNode::default()))?;
        }
        Ok(Some(()))
    }

    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        match self.call()?.add(path, Node::Dir(DirNode::default())) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut disk = self.call()?;
        let at = disk.find(path)?;
        Ok(disk.file(at).now.bytes.clone())
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        match self.call()?.take(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        if disk.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.parent(to)?;
        let at = disk.take(from)?;
        let (dir, name) = disk.parent(to)?;
        dir.now.insert(name, at);
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        disk.parent(to)?;
        let at = disk.take(from)?;
        let (dir, name) = disk.parent(to)?;
        dir.now.insert(name, at);
        Ok(())
    }

    fn set_attribute(&self, file: &usize, name: &str, value: &str) -> io::Result<()> {
        let mut disk = self.call()?;
        let attributes = &mut disk.file(*file).now.attributes;
        attributes.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let mut disk = self.call()?;
        let Ok(at) = disk.find(path) else {
            return Ok(None);
        };
        let kind = disk.kind(at);
        let bytes = match kind {
            EntryKind::File => disk.file(at).now.bytes.len() as u64,
            EntryKind::Dir | EntryKind::Other => 0,
        };
        Ok(Some(Stat {
            bytes,
            inode: at as u64,
            kind,
            modified_ms: 0,
            uid: 0,
        }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.call()?;
        if !disk.forget_dir_syncs {
            let dir = disk.dir(dir)?;
            dir.durable = dir.now.clone();
        }
        Ok(())
    }

    fn sync_file(&self, file: &usize) -> io::Result<()> {
        let mut disk = self.call()?;
        let file = disk.file(*file);
        file.durable = file.now.clone();
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.call()?.take(path).map(drop)
    }

    fn update(&self, path: &Path) -> io::Result<usize> {
        self.call()?.find(path)
    }

    fn write(&self, file: &usize, bytes: &[u8]) -> io::Result<()> {
        self.call()?.file(*file).now.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
