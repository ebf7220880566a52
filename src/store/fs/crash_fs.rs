//! A disk in memory that stops or fails at any call, and shows after the reboot what a real one
//! could.
//!
//! It is a journalled filesystem, as ext4 and XFS are: each change of an entry, a rename too, is
//! one step in a log, and what becomes durable is a prefix of that log. `sync_dir` makes durable
//! the log up to the last step that touched the directory, and `sync_all` all of it. A file's
//! bytes become durable by `sync_file` or `sync_all` alone, so that an entry can be there long
//! before its bytes are. What was written last can be torn: of bytes that were written over in
//! place the first half is there, of those that were appended too, and then zeros.

use super::testing::START_MS;
use super::{
    file_ops::{EntryKind, Fs, Stat},
    lease::Writers,
    mount::MountId,
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Which of the possible disks a reboot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// Everything that was done is there.
    Best,
    /// Directory entries are there as last seen, file contents only as last synced.
    EntriesFirst,
    /// Of the entries' log the first half is there, file contents only as last synced, and what
    /// was written over is torn.
    Torn,
    /// Only what was synced is there.
    Worst,
}

pub(crate) const IMAGES: [Image; 4] = [Image::Best, Image::EntriesFirst, Image::Torn, Image::Worst];

#[derive(Clone, Default, Debug, PartialEq)]
struct Content {
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File {
        now: Content,
        durable: Content,
        /// The last write that was not synced: where, and what.
        torn: Option<(usize, Vec<u8>)>,
    },
}

/// One change of entries.
#[derive(Clone, Debug)]
enum Step {
    Add(PathBuf, usize),
    /// With all that is below it.
    Move(PathBuf, PathBuf),
    /// With all that is below it.
    Remove(PathBuf),
}

impl Step {
    fn touches(&self, dir: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(dir);
        match self {
            Self::Add(path, _) | Self::Remove(path) => within(path),
            Self::Move(from, to) => within(from) || within(to),
        }
    }
}

type Entries = BTreeMap<PathBuf, usize>;

fn take_step(entries: &mut Entries, step: &Step) {
    match step {
        Step::Add(path, node) => {
            entries.insert(path.clone(), *node);
        }
        Step::Move(from, to) => {
            for (path, node) in remove(entries, from) {
                let below = path.strip_prefix(from).unwrap();
                let path = if below.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(below)
                };
                entries.insert(path, node);
            }
        }
        Step::Remove(path) => drop(remove(entries, path)),
    }
}

fn remove(entries: &mut Entries, path: &Path) -> Entries {
    let gone: Entries = (entries.iter())
        .filter(|(known, _)| known.starts_with(path))
        .map(|(known, node)| (known.clone(), *node))
        .collect();
    entries.retain(|known, _| !gone.contains_key(known));
    gone
}

#[derive(Clone, Debug)]
struct Disk {
    nodes: Vec<Node>,
    now: Entries,
    durable: Entries,
    log: Vec<Step>,
    calls: usize,
    stop_at: usize,
    /// One call fails with this error of the operating system; the others go on.
    fail_at: Option<(usize, i32)>,
    failed: Option<&'static str>,
    /// How often it was mounted. The machine keeps the id of its boot, as where only the
    /// filesystem goes away.
    mounts: u64,
    /// Files that are not root's.
    owners: BTreeMap<usize, u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct CrashFs(Arc<Mutex<Disk>>);

impl CrashFs {
    pub(crate) fn new() -> Self {
        let root = Entries::from([(PathBuf::new(), 0)]);
        Self(Arc::new(Mutex::new(Disk {
            nodes: vec![Node::Dir],
            now: root.clone(),
            durable: root,
            log: Vec::new(),
            calls: 0,
            stop_at: usize::MAX,
            fail_at: None,
            failed: None,
            mounts: 1,
            owners: BTreeMap::new(),
        })))
    }

    /// From now on the `n`-th call (counted from 0) and all after it fail.
    pub(crate) fn stop_at(&self, n: usize) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.stop_at = n;
    }

    /// The `n`-th call from now on fails with `errno`, and no other.
    pub(crate) fn fail_at(&self, n: usize, errno: i32) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.failed = None;
        disk.fail_at = Some((n, errno));
    }

    pub(crate) fn calls(&self) -> usize {
        self.disk().calls
    }

    /// What the call was that [`CrashFs::fail_at`] let fail.
    pub(crate) fn failed_call(&self) -> &'static str {
        self.disk().failed.unwrap_or("none")
    }

    /// Changes the owner of a file.
    pub(crate) fn give(&self, path: &Path, uid: u32) {
        let mut disk = self.disk();
        let at = disk.find(path).unwrap();
        disk.owners.insert(at, uid);
    }

    /// The disk that the next start finds when only the process was killed.
    pub(crate) fn kill(&self) -> Self {
        let mut disk = self.disk().clone();
        disk.stop_at = usize::MAX;
        disk.fail_at = None;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk that the next start finds after the power was cut.
    pub(crate) fn reboot(&self, image: Image) -> Self {
        let mut disk = self.disk().clone();
        let kept = match image {
            Image::Best | Image::EntriesFirst => disk.log.len(),
            Image::Torn => disk.log.len() / 2,
            Image::Worst => 0,
        };
        for step in disk.log.drain(..).take(kept) {
            take_step(&mut disk.durable, &step);
        }
        disk.now = disk.durable.clone();
        for node in &mut disk.nodes {
            if let Node::File { now, durable, torn } = node {
                match image {
                    Image::Best => *durable = now.clone(),
                    Image::EntriesFirst | Image::Worst => {}
                    Image::Torn => {
                        if let Some((at, bytes)) = torn {
                            let half = *at + bytes.len() / 2;
                            let end = (*at + bytes.len()).min(now.bytes.len());
                            if durable.bytes.len() < end {
                                let mut shown = now.bytes[..half.min(end)].to_vec();
                                shown.resize(end, 0);
                                durable.bytes = shown;
                            } else {
                                let end = half.min(durable.bytes.len());
                                let at = (*at).min(end);
                                durable.bytes[at..end].copy_from_slice(&bytes[..end - at]);
                            }
                        }
                    }
                }
                *now = durable.clone();
                *torn = None;
            }
        }
        disk.mounts += 1;
        disk.stop_at = usize::MAX;
        disk.fail_at = None;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Every file: path and bytes.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        let file = |(path, node): (&PathBuf, &usize)| match &disk.nodes[*node] {
            Node::Dir => None,
            Node::File { now, .. } => Some((path.display().to_string(), now.bytes.clone())),
        };
        disk.now.iter().filter_map(file).collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock()
    }

    fn call(&self, name: &'static str) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        if disk.calls >= disk.stop_at {
            return Err(io::Error::other("the machine has stopped"));
        }
        disk.calls += 1;
        if let Some((n, errno)) = disk.fail_at
            && disk.calls == n + 1
        {
            disk.failed = Some(name);
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(disk)
    }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let found = self.now.get(path).copied();
        found.ok_or(io::ErrorKind::NotFound.into())
    }

    fn step(&mut self, step: Step) {
        take_step(&mut self.now, &step);
        self.log.push(step);
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        match self.nodes[self.find(path.parent().unwrap())?] {
            Node::Dir => Ok(()),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        self.parent(path)?;
        if self.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.step(Step::Add(path.to_owned(), node));
        Ok(node)
    }

    fn file(&mut self, at: usize) -> (&mut Content, &mut Content, &mut Option<(usize, Vec<u8>)>) {
        match &mut self.nodes[at] {
            Node::File { now, durable, torn } => (now, durable, torn),
            Node::Dir => panic!("a directory is used as a file"),
        }
    }

    fn kind(&self, at: usize) -> EntryKind {
        match self.nodes[at] {
            Node::Dir => EntryKind::Dir,
            Node::File { .. } => EntryKind::File,
        }
    }
}

fn new_file() -> Node {
    Node::File {
        now: Content::default(),
        durable: Content::default(),
        torn: None,
    }
}

impl Fs for CrashFs {
    type File = usize;
    type Lock = ();

    fn copy(&self, from: &Path, to: &Path) -> io::Result<usize> {
        let mut disk = self.call("copy")?;
        let at = disk.find(from)?;
        let bytes = disk.file(at).0.bytes.clone();
        let copy = disk.add(to, new_file())?;
        disk.file(copy).0.bytes = bytes;
        Ok(copy)
    }

    fn copy_open(&self, from: &usize, to: &Path) -> io::Result<usize> {
        let mut disk = self.call("copy_open")?;
        let content = disk.file(*from).0.clone();
        let copy = disk.add(to, new_file())?;
        *disk.file(copy).0 = content;
        Ok(copy)
    }

    fn digest(&self, path: &Path) -> io::Result<String> {
        use sha2::{Digest, Sha256};
        let mut disk = self.call("digest")?;
        let at = disk.find(path)?;
        Ok(hex::encode(Sha256::digest(&disk.file(at).0.bytes)))
    }

    fn scratch(&self, from: &Path, to: &Path) -> io::Result<Option<u32>> {
        self.copy(from, to).map(|_| None)
    }

    fn set_mode(&self, _: &usize, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        self.call("create")?.add(path, new_file())
    }

    fn cut(&self, file: &usize, n_bytes: u64) -> io::Result<()> {
        let mut disk = self.call("cut")?;
        let n_bytes = usize::try_from(n_bytes).unwrap();
        disk.file(*file).0.bytes.truncate(n_bytes);
        Ok(())
    }

    fn lengthen(&self, file: &usize, n_bytes: u64) -> io::Result<()> {
        let mut disk = self.call("lengthen")?;
        let bytes = &mut disk.file(*file).0.bytes;
        let n_bytes = usize::try_from(n_bytes).unwrap().max(bytes.len());
        bytes.resize(n_bytes, 0);
        Ok(())
    }

    fn give_rights(&self, _: &Path) {}

    fn is_foreign(&self, stat: &Stat) -> bool {
        stat.uid != 0
    }

    fn list(&self, dir: &Path, each: &mut dyn FnMut(&OsStr, EntryKind)) -> io::Result<()> {
        let disk = self.call("list")?;
        for (path, at) in &disk.now {
            if path.parent() == Some(dir) {
                each(path.file_name().unwrap(), disk.kind(*at));
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<()>> {
        let mut disk = self.call("lock")?;
        if disk.find(path).is_err() {
            disk.add(path, new_file())?;
        }
        Ok(Some(()))
    }

    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        match self.call("make_dir")?.add(path, Node::Dir) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mount(&self) -> io::Result<Option<MountId>> {
        let mount = self.call("mount")?.mounts;
        Ok(Some(MountId { boot: 7, mount }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut disk = self.call("read")?;
        let at = disk.find(path)?;
        Ok(disk.file(at).0.bytes.clone())
    }

    fn read_at(&self, file: &usize, offset: u64, n_bytes: usize) -> io::Result<Vec<u8>> {
        let mut disk = self.call("read_at")?;
        let bytes = &disk.file(*file).0.bytes;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let to = from.saturating_add(n_bytes).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call("remove_dir")?;
        let at = disk.find(path)?;
        if disk.kind(at) != EntryKind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if disk.now.keys().any(|known| known.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.step(Step::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call("remove_tree")?;
        if disk.find(path).is_ok() {
            disk.step(Step::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call("rename")?;
        disk.find(from)?;
        if disk.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.parent(to)?;
        disk.step(Step::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call("replace")?;
        disk.find(from)?;
        disk.parent(to)?;
        disk.step(Step::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let mut disk = self.call("stat")?;
        let Ok(at) = disk.find(path) else {
            return Ok(None);
        };
        let kind = disk.kind(at);
        let bytes = match kind {
            EntryKind::File => disk.file(at).0.bytes.len() as u64,
            EntryKind::Dir | EntryKind::Other => 0,
        };
        Ok(Some(Stat {
            bytes,
            inode: at as u64,
            kind,
            changed_ns: 0,
            links: 1,
            // When the tests begin.
            modified_ms: START_MS,
            uid: disk.owners.get(&at).copied().unwrap_or(0),
        }))
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut disk = self.call("sync_all")?;
        disk.log.clear();
        disk.durable = disk.now.clone();
        for node in &mut disk.nodes {
            if let Node::File { now, durable, torn } = node {
                if now != durable {
                    *durable = now.clone();
                }
                *torn = None;
            }
        }
        Ok(())
    }

    fn sync_data(&self, file: &usize) -> io::Result<()> {
        let mut disk = self.call("sync_data")?;
        let (now, durable, torn) = disk.file(*file);
        assert_eq!(now.bytes.len(), durable.bytes.len(), "its size has changed");
        durable.bytes = now.bytes.clone();
        *torn = None;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.call("sync_dir")?;
        disk.find(dir)?;
        let last = disk.log.iter().rposition(|step| step.touches(dir));
        let steps: Vec<Step> = disk.log.drain(..last.map_or(0, |last| last + 1)).collect();
        for step in steps {
            take_step(&mut disk.durable, &step);
        }
        Ok(())
    }

    fn sync_file(&self, file: &usize) -> io::Result<()> {
        let mut disk = self.call("sync_file")?;
        let (now, durable, torn) = disk.file(*file);
        *durable = now.clone();
        *torn = None;
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call("unlink")?;
        disk.find(path)?;
        disk.step(Step::Remove(path.to_owned()));
        Ok(())
    }

    fn update(&self, path: &Path) -> io::Result<usize> {
        self.call("update")?.find(path)
    }

    fn write(&self, file: &usize, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.call("write")?;
        disk.file(*file).0.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, file: &usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.call("write_at")?;
        let (now, _, torn) = disk.file(*file);
        let at = usize::try_from(offset).unwrap();
        let end = now.bytes.len().max(at + bytes.len());
        now.bytes.resize(end, 0);
        now.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        *torn = Some((at, bytes.to_owned()));
        Ok(())
    }

    fn writable(&self, path: &Path) -> io::Result<usize> {
        self.call("writable")?.find(path)
    }

    fn writers(&self, path: &Path) -> io::Result<Writers> {
        let disk = self.call("writers")?;
        let at = disk.find(path)?;
        // As without leases on the files of other users.
        Ok(match disk.owners.contains_key(&at) {
            true => Writers::Unknown,
            false => Writers::None,
        })
    }
}
