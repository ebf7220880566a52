//! Crashes at every file operation, on a real directory and on one that forgets what was not
//! synced; and the server being killed meanwhile.

use super::*;
use crate::client::poll::files::Disk;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn name(n: usize) -> JobName {
    format!("20261122T045748.123Z-{n:05}-order.xml")
        .parse()
        .unwrap()
}

/// Not a multiple of the piece size, so that a crash can fall into the middle.
fn bytes(n: usize) -> Vec<u8> {
    format!("<job n=\"{n}\">{}</job>", "x".repeat(40 + n)).into_bytes()
}

const PIECE: usize = 25;

/// A server in memory: what was fetched completely is no longer listed but can still be fetched.
struct Server {
    bak: BTreeMap<JobName, Vec<u8>>,
    /// The n-th fetch breaks off half way.
    cut: Option<usize>,
    /// What a stylesheet makes of the jobs.
    extension: Option<&'static str>,
    fetches: usize,
    /// The n-th complete fetch is not noticed: the server was killed before it filed the job away.
    killed: Option<usize>,
    queue: BTreeMap<JobName, Vec<u8>>,
}

impl Server {
    fn with(n_jobs: usize) -> Self {
        Self {
            bak: BTreeMap::new(),
            cut: None,
            extension: None,
            fetches: 0,
            killed: None,
            queue: (0..n_jobs).map(|n| (name(n), bytes(n))).collect(),
        }
    }
}

/// A server that several are asked of at the same time.
struct Shared<'s>(Mutex<&'s mut Server>);

impl Source for Shared<'_> {
    async fn list(&self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError> {
        let server = self.0.lock().unwrap();
        server.queue.keys().for_each(|job| each(&job.to_string()));
        Ok(())
    }

    async fn fetch(
        &self,
        job: &JobName,
        piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError> {
        let (body, is_cut, is_killed) = {
            let mut server = self.0.lock().unwrap();
            server.fetches += 1;
            let body = server.queue.get(job).or(server.bak.get(job)).cloned();
            let nth = Some(server.fetches);
            (body, server.cut == nth, server.killed == nth)
        };
        let body = body.ok_or_else(|| SourceError::Failed("no such job".into()))?;
        for (n, part) in body.chunks(PIECE).enumerate() {
            if n == 1 && is_cut {
                return Err(SourceError::Failed("cut".into()));
            }
            piece(part)?;
            // The others go on meanwhile.
            tokio::task::yield_now().await;
        }
        let mut server = self.0.lock().unwrap();
        if !is_killed {
            let filed = server.queue.remove(job).map(|body| (job.clone(), body));
            server.bak.extend(filed);
        }
        Ok(Fetched {
            bytes: body.len() as u64,
            extension: server.extension,
            sha256: [0; 32],
        })
    }
}

/// Runs out after some operations: from then on every one fails, as after a kill.
struct Life {
    left: AtomicUsize,
}

impl Life {
    fn of(operations: usize) -> Self {
        Self {
            left: AtomicUsize::new(operations),
        }
    }

    fn spend(&self) -> io::Result<()> {
        let spent = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        spent.map(drop).map_err(|_| io::Error::other("killed"))
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// The real disk until its life is over. Someone watches `to` and takes each file away the
/// moment it has its final name.
struct Mortal<'a> {
    life: &'a Life,
    taken: &'a Mutex<Vec<(String, Vec<u8>)>>,
    to: &'a Path,
}

impl Files for Mortal<'_> {
    type Part = fs::File;

    fn append(&self, part: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
        self.life.spend()?;
        Disk.append(part, bytes)
    }
    fn create(&self, path: &Path) -> io::Result<fs::File> {
        self.life.spend()?;
        Disk.create(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.life.spend()?;
        Disk.create_dir(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.life.spend()?;
        Disk.exists(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.life.spend()?;
        Disk.list(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.life.spend()?;
        Disk.remove(path)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.life.spend()?;
        Disk.rename_new(from, to)?;
        if to.parent() == Some(self.to) {
            let name = to.file_name().unwrap().to_str().unwrap().to_owned();
            self.taken.lock().unwrap().push((name, fs::read(to)?));
            fs::remove_file(to)?;
        }
        Ok(())
    }
    fn same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.life.spend()?;
        Disk.same(one, other)
    }
    // A kill loses nothing that was written, so waiting for the disk would prove nothing here;
    // what syncing is for is the power cut's test below.
    fn sync(&self, _part: &fs::File) -> io::Result<()> {
        self.life.spend()
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.life.spend()
    }
}

/// Counts what ran; fails for a job while it is set to.
#[derive(Default)]
struct Ran {
    failing: bool,
    runs: Vec<JobName>,
}

impl Hook for Ran {
    async fn run(&mut self, job: &JobName, _file: &Path) -> Result<(), String> {
        self.runs.push(job.clone());
        if self.failing {
            Err("it fails".into())
        } else {
            Ok(())
        }
    }
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Report for Notes {
    fn delivered(&mut self, _job: &JobName, _file: &Path, _fetched: Option<Fetched>) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

/// One process's life: opens the inbox and does `rounds`. Returns the last tally and the notes.
async fn life<F: Files<Part: Send> + Sync>(
    files: F,
    to: &Path,
    server: &mut Server,
    hook: Option<&mut Ran>,
    rounds: usize,
) -> (Tally, Vec<String>) {
    life_of(files, to, server, hook, rounds, 1).await
}

/// The same with so many jobs at the same time.
async fn life_of<F: Files<Part: Send> + Sync>(
    files: F,
    to: &Path,
    server: &mut Server,
    mut hook: Option<&mut Ran>,
    rounds: usize,
    parallel: usize,
) -> (Tally, Vec<String>) {
    let Ok(inbox) = Inbox::open(files, to, &"orders_out".parse().unwrap()) else {
        return (Tally::default(), Vec::new());
    };
    let (mut notes, mut filed) = (Notes::default(), HashSet::new());
    let source = Shared(Mutex::new(server));
    let mut tally = Tally::default();
    for _ in 0..rounds {
        let mut round = Round {
            filed: &mut filed,
            hook: hook.as_deref_mut(),
            inbox: &inbox,
            parallel: NonZeroUsize::new(parallel).unwrap(),
            report: &mut notes,
            source: &source,
            stop: &|| false,
            tally: Tally::default(),
        };
        let _ = round.run().await;
        tally = round.tally;
    }
    (tally, notes.0)
}

/// Every job once and whole, and nothing half done left behind.
fn check(taken: &[(String, Vec<u8>)], n_jobs: usize, to: &Path, why: &str) {
    let mut taken = taken.to_vec();
    taken.sort();
    let expected: Vec<_> = (0..n_jobs)
        .map(|n| (name(n).to_string(), bytes(n)))
        .collect();
    assert_eq!(taken, expected, "{why}");
    let state = to.join(".spoolgate-poll/orders_out");
    for dir in ["intents", "parts", "whole", "todo"] {
        let left = fs::read_dir(state.join(dir)).unwrap().count();
        assert_eq!(left, 0, "{why}: {dir}");
    }
}

#[tokio::test]
async fn killed_at_any_operation_every_job_arrives_once_and_whole() {
    const N_JOBS: usize = 3;
    let faults = [
        (None, None),
        (Some(2), None),
        (None, Some(2)),
        (Some(1), Some(3)),
    ];
    let alone = faults.map(|faults| (1, faults));
    let together = faults.map(|faults| (N_JOBS, faults));
    for (parallel, (cut, killed)) in alone.into_iter().chain(together) {
        let mut crash_at = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path();
            let taken = Mutex::new(Vec::new());
            let mut server = Server::with(N_JOBS);
            (server.cut, server.killed) = (cut, killed);
            let first = Life::of(crash_at);
            let mortal = |life| Mortal {
                life,
                taken: &taken,
                to,
            };
            life_of(mortal(&first), to, &mut server, None, 3, parallel).await;
            let why = format!("crash at {crash_at} of {parallel}, cut {cut:?}, killed {killed:?}");
            for (name, body) in taken.lock().unwrap().iter() {
                let n: usize = name[21..26].parse().unwrap();
                assert_eq!(*body, bytes(n), "{why}");
            }
            let second = Life::of(usize::MAX);
            life_of(mortal(&second), to, &mut server, None, 3, parallel).await;
            check(&taken.lock().unwrap(), N_JOBS, to, &why);
            assert!(
                server.queue.is_empty(),
                "{why}: the server still lists jobs"
            );
            let left = fs::read_dir(to.join(".spoolgate-poll/orders_out/delivered"));
            assert_eq!(left.unwrap().count(), 0, "{why}: marks are left");
            if !first.is_over() {
                break;
            }
            crash_at += 1;
        }
        assert!(
            crash_at > 50,
            "{crash_at} operations are too few to be true"
        );
    }
}

#[tokio::test]
async fn killed_at_any_operation_a_file_of_another_kind_keeps_its_name() {
    let mut crash_at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let (to, taken) = (dir.path(), Mutex::new(Vec::new()));
        let mut server = Server::with(2);
        server.extension = Some("csv");
        let lives = [Life::of(crash_at), Life::of(usize::MAX)];
        for left in &lives {
            let files = Mortal {
                life: left,
                taken: &taken,
                to,
            };
            life(files, to, &mut server, None, 3).await;
        }
        let mut taken = taken.into_inner().unwrap();
        taken.sort();
        let called = |n| name(n).to_string().replace(".xml", ".csv");
        let expected: Vec<_> = (0..2).map(|n| (called(n), bytes(n))).collect();
        assert_eq!(taken, expected, "crash at {crash_at}");
        if !lives[0].is_over() {
            break;
        }
        crash_at += 1;
    }
}

#[tokio::test]
async fn killed_twice_in_a_row_nothing_changes() {
    for first in (0..90).step_by(7) {
        for second in (0..60).step_by(5) {
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path();
            let taken = Mutex::new(Vec::new());
            let mut server = Server::with(2);
            for operations in [first, second, usize::MAX] {
                let left = Life::of(operations);
                let files = Mortal {
                    life: &left,
                    taken: &taken,
                    to,
                };
                life_of(files, to, &mut server, None, 2, 2).await;
            }
            let why = format!("crashes at {first} and {second}");
            check(&taken.lock().unwrap(), 2, to, &why);
        }
    }
}

#[tokio::test]
async fn killed_at_any_operation_the_command_runs_at_least_once_for_each() {
    let mut crash_at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path();
        let mut server = Server::with(2);
        let mut ran = Ran::default();
        let first = Life::of(crash_at);
        // No one takes the files away here: the command is there for that.
        let (taken, elsewhere) = (Mutex::new(Vec::new()), dir.path().join("elsewhere"));
        let files = Mortal {
            life: &first,
            taken: &taken,
            to: &elsewhere,
        };
        life_of(files, to, &mut server, Some(&mut ran), 2, 2).await;
        life(Disk, to, &mut server, Some(&mut ran), 2).await;
        for n in 0..2 {
            assert!(ran.runs.contains(&name(n)), "crash at {crash_at}");
            assert_eq!(fs::read(to.join(name(n).to_string())).unwrap(), bytes(n));
        }
        assert!(ran.runs.len() <= 3, "crash at {crash_at}: {:?}", ran.runs);
        if !first.is_over() {
            break;
        }
        crash_at += 1;
    }
}

/// A disk of which a power cut leaves only what was synced: contents by `sync`, names by
/// `sync_dir` of their directory.
#[derive(Clone, Default)]
struct Volatile {
    dir_syncs: Arc<AtomicUsize>,
    disk: Arc<Mutex<Trees>>,
    left: Arc<AtomicUsize>,
}

type Content = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

#[derive(Default)]
struct Trees {
    durable: BTreeMap<PathBuf, Content>,
    live: BTreeMap<PathBuf, Content>,
}

impl Volatile {
    /// What the power cut leaves, with a new life.
    fn after_power_cut(&self, operations: usize) -> Self {
        let mut disk = self.disk.lock().unwrap();
        for content in disk.durable.values() {
            let mut content = content.lock().unwrap();
            content.0 = content.1.clone();
        }
        disk.live = disk.durable.clone();
        drop(disk);
        self.left.store(operations, Ordering::SeqCst);
        self.clone()
    }

    fn spend(&self) -> io::Result<std::sync::MutexGuard<'_, Trees>> {
        let spent = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        spent.map_err(|_| io::Error::other("power cut"))?;
        Ok(self.disk.lock().unwrap())
    }
}

impl Files for Volatile {
    type Part = Content;

    fn append(&self, part: &mut Content, bytes: &[u8]) -> io::Result<()> {
        let _disk = self.spend()?;
        part.lock().unwrap().0.extend_from_slice(bytes);
        Ok(())
    }
    fn create(&self, path: &Path) -> io::Result<Content> {
        let mut disk = self.spend()?;
        if disk.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Content::default();
        disk.live.insert(path.to_owned(), content.clone());
        Ok(content)
    }
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.spend().map(drop)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.spend()?.live.contains_key(path))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.spend()?;
        let inside = disk.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend()?.live.remove(path);
        Ok(())
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.spend()?;
        if disk.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = disk.live.remove(from);
        let content = content.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        disk.live.insert(to.to_owned(), content);
        Ok(())
    }
    fn same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let disk = self.spend()?;
        let read = |path| {
            disk.live
                .get(path)
                .map(|content| content.lock().unwrap().0.clone())
        };
        Ok(read(one) == read(other))
    }
    fn sync(&self, part: &Content) -> io::Result<()> {
        let _disk = self.spend()?;
        let mut content = part.lock().unwrap();
        content.1 = content.0.clone();
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.dir_syncs.fetch_add(1, Ordering::SeqCst);
        let mut disk = self.spend()?;
        disk.durable.retain(|path, _| path.parent() != Some(dir));
        let inside: Vec<_> = disk
            .live
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, content)| (path.clone(), content.clone()))
            .collect();
        disk.durable.extend(inside);
        Ok(())
    }
}

async fn a_power_cut_loses_no_job(parallel: usize) {
    const N_JOBS: usize = 2;
    let to = Path::new("/inbox");
    let mut crash_at = 0;
    loop {
        let mut server = Server::with(N_JOBS);
        let files = Volatile::default();
        let cut = files.after_power_cut(crash_at);
        life_of(cut, to, &mut server, None, 2, parallel).await;
        let over = files.left.load(Ordering::SeqCst) == 0;
        // A file under its final name is whole, even in what the power cut left.
        let rest = files.after_power_cut(usize::MAX);
        let whole = |n: usize| {
            let disk = rest.disk.lock().unwrap();
            let file = disk.live.get(&to.join(name(n).to_string()));
            file.map(|content| content.lock().unwrap().0 == bytes(n))
        };
        assert!(
            (0..N_JOBS).all(|n| whole(n) != Some(false)),
            "power cut at {crash_at}"
        );
        life_of(rest.clone(), to, &mut server, None, 2, parallel).await;
        for n in 0..N_JOBS {
            assert_eq!(whole(n), Some(true), "power cut at {crash_at}");
        }
        let disk = rest.disk.lock().unwrap();
        let n_in = |dir: &str| {
            let dir = to.join(dir);
            disk.live
                .keys()
                .filter(|path| path.parent() == Some(&dir))
                .count()
        };
        assert_eq!(n_in(""), N_JOBS);
        for dir in ["intents", "parts", "whole"] {
            let dir = format!(".spoolgate-poll/orders_out/{dir}");
            assert_eq!(n_in(&dir), 0, "power cut at {crash_at}: {dir}");
        }
        if !over {
            break;
        }
        crash_at += 1;
    }
    assert!(
        crash_at > 30,
        "{crash_at} operations are too few to be true"
    );
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_no_job() {
    for parallel in [1, 2] {
        a_power_cut_loses_no_job(parallel).await;
    }
}

#[tokio::test]
async fn a_batch_waits_for_the_directories_as_often_as_one_job() {
    let mut waited = Vec::new();
    for (n_jobs, parallel) in [(1, 8), (8, 8), (9, 8)] {
        let files = Volatile::default().after_power_cut(usize::MAX);
        let to = Path::new("/inbox");
        let mut server = Server::with(n_jobs);
        let lived = life_of(files.clone(), to, &mut server, None, 1, parallel);
        assert_eq!(lived.await.0.delivered, n_jobs);
        waited.push(files.dir_syncs.load(Ordering::SeqCst));
    }
    assert_eq!(waited[0], waited[1]);
    // Beside those at the beginning.
    assert_eq!(waited[2], 2 * waited[1] - 3);
}

#[tokio::test]
async fn a_marker_in_two_directories_counts_as_the_later_one() {
    for (early, later) in [("intents", "whole"), ("whole", "delivered")] {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path();
        let state = to.join(".spoolgate-poll/orders_out");
        for dir in ["intents", "parts", "whole", "delivered", "todo"] {
            fs::create_dir_all(state.join(dir)).unwrap();
        }
        let job = name(0).to_string();
        fs::write(state.join(early).join(&job), "").unwrap();
        fs::write(state.join(later).join(&job), "").unwrap();
        fs::write(state.join("parts").join(&job), bytes(0)).unwrap();
        let mut server = Server::with(1);
        server.bak = std::mem::take(&mut server.queue);
        let (taken, left) = (Mutex::new(Vec::new()), Life::of(usize::MAX));
        let files = Mortal {
            life: &left,
            taken: &taken,
            to,
        };
        let (tally, _) = life(files, to, &mut server, None, 1).await;
        assert_eq!(
            (tally.failed, server.fetches),
            (0, 0),
            "{early} and {later}"
        );
        let n_taken = usize::from(later == "whole");
        assert_eq!(taken.lock().unwrap().len(), n_taken, "{early} and {later}");
    }
}

#[tokio::test]
async fn a_command_that_fails_runs_again_and_one_that_took_its_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    let (mut server, mut ran) = (Server::with(2), Ran::default());
    ran.failing = true;
    let (tally, _) = life(Disk, to, &mut server, Some(&mut ran), 1).await;
    assert_eq!(
        (tally, ran.runs.len()),
        (
            Tally {
                delivered: 2,
                failed: 2
            },
            2
        )
    );
    let (tally, _) = life(Disk, to, &mut server, Some(&mut ran), 1).await;
    assert_eq!((tally.failed, ran.runs.len()), (2, 4));
    ran.failing = false;
    fs::remove_file(to.join(name(0).to_string())).unwrap();
    let (tally, notes) = life(Disk, to, &mut server, Some(&mut ran), 1).await;
    assert_eq!((tally.failed, ran.runs.len()), (0, 5));
    assert_eq!(ran.runs[4], name(1));
    let taken = format!("{}: the file was taken away before", name(0));
    assert!(
        notes.len() == 1 && notes[0].starts_with(&taken),
        "{notes:?}"
    );
    let (_, notes) = life(Disk, to, &mut server, Some(&mut ran), 1).await;
    assert_eq!((ran.runs.len(), notes.len()), (5, 0), "{notes:?}");
}

#[tokio::test]
async fn a_file_in_the_way_is_kept_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    let mut server = Server::with(2);
    let file = to.join(name(0).to_string());
    fs::write(&file, "mine").unwrap();
    let (tally, notes) = life(Disk, to, &mut server, None, 2).await;
    assert_eq!(
        tally,
        Tally {
            delivered: 0,
            failed: 1
        }
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("a different file is in the way"))
    );
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(fs::read(to.join(name(1).to_string())).unwrap(), bytes(1));
    fs::remove_file(&file).unwrap();
    let (tally, _) = life(Disk, to, &mut server, None, 1).await;
    assert_eq!(
        tally,
        Tally {
            delivered: 1,
            failed: 0
        }
    );
    assert_eq!(fs::read(&file).unwrap(), bytes(0));
}

#[tokio::test]
async fn a_job_sent_again_after_it_left_the_queue_is_delivered_again() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path();
    let mut server = Server::with(1);
    life(Disk, to, &mut server, None, 2).await;
    let file = to.join(name(0).to_string());
    fs::remove_file(&file).unwrap();
    server.queue = std::mem::take(&mut server.bak);
    let (tally, _) = life(Disk, to, &mut server, None, 1).await;
    assert_eq!(tally.delivered, 1);
    assert_eq!(fs::read(&file).unwrap(), bytes(0));
}

/// A server that answers as none of ours would.
#[derive(Default)]
struct Odd {
    asked: Mutex<Vec<JobName>>,
}

impl Source for Odd {
    async fn list(&self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError> {
        ["../../etc/passwd", ".spoolgate-poll", "a.xml"]
            .into_iter()
            .for_each(&mut *each);
        each(&name(1).to_string());
        each(&name(2).to_string());
        Ok(())
    }

    async fn fetch(
        &self,
        job: &JobName,
        _piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(job.clone());
        match asked.len() {
            1 => Err(SourceError::Failed("410 Gone".into())),
            _ => Err(SourceError::Unreachable("refused".into())),
        }
    }
}

#[tokio::test]
async fn odd_names_are_never_used_and_an_unreachable_server_ends_the_round() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(Disk, dir.path(), &"orders_out".parse().unwrap()).unwrap();
    let (source, mut notes) = (Odd::default(), Notes::default());
    let mut round: Round<'_, _, _, Ran, _> = Round {
        filed: &mut HashSet::new(),
        hook: None,
        inbox: &inbox,
        parallel: NonZeroUsize::MIN,
        report: &mut notes,
        source: &source,
        stop: &|| false,
        tally: Tally::default(),
    };
    let CutShort(why) = round.run().await.unwrap_err();
    assert_eq!((why.as_str(), round.tally.failed), ("refused", 2));
    assert_eq!(*source.asked.lock().unwrap(), [name(1), name(2)]);
    assert!(
        notes.0[0].contains("3 lines are not job names"),
        "{:?}",
        notes.0
    );
    assert_eq!(inbox.intended().unwrap().len(), 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_stop_comes_between_two_batches() {
    for parallel in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(Disk, dir.path(), &"orders_out".parse().unwrap()).unwrap();
        let (mut server, mut notes) = (Server::with(3), Notes::default());
        let asked = AtomicUsize::new(0);
        // Asked before what is listed, and before each batch of it.
        let stop = || asked.fetch_add(1, Ordering::SeqCst) >= 2;
        let mut round: Round<'_, _, _, Ran, _> = Round {
            filed: &mut HashSet::new(),
            hook: None,
            inbox: &inbox,
            parallel: NonZeroUsize::new(parallel).unwrap(),
            report: &mut notes,
            source: &Shared(Mutex::new(&mut server)),
            stop: &stop,
            tally: Tally::default(),
        };
        round.run().await.unwrap();
        assert_eq!(round.tally.delivered, parallel);
        assert_eq!(inbox.delivered().unwrap().len(), parallel);
    }
}

/// What was told.
#[derive(Default)]
struct Told(Vec<JobName>);

impl Report for Told {
    fn delivered(&mut self, job: &JobName, _file: &Path, _fetched: Option<Fetched>) {
        self.0.push(job.clone());
    }
    fn note(&mut self, _text: &str) {}
}

/// The first of a batch takes longest; one fails.
#[derive(Default)]
struct Slow {
    going_on: AtomicUsize,
    most: AtomicUsize,
}

impl Source for Slow {
    async fn list(&self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError> {
        (0..8).for_each(|n| each(&name(n).to_string()));
        Ok(())
    }

    async fn fetch(
        &self,
        job: &JobName,
        piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError> {
        let now = self.going_on.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let n = (0..8).find(|n| name(*n) == *job).unwrap();
        for _ in n..8 {
            tokio::task::yield_now().await;
        }
        piece(&bytes(n))?;
        self.going_on.fetch_sub(1, Ordering::SeqCst);
        match n {
            2 => Err(SourceError::Failed("410 Gone".into())),
            _ => Ok(Fetched {
                bytes: 0,
                extension: None,
                sha256: [0; 32],
            }),
        }
    }
}

#[tokio::test]
async fn jobs_are_fetched_together_and_told_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(Disk, dir.path(), &"orders_out".parse().unwrap()).unwrap();
    let (source, mut told, mut ran) = (Slow::default(), Told::default(), Ran::default());
    let mut round = Round {
        filed: &mut HashSet::new(),
        hook: Some(&mut ran),
        inbox: &inbox,
        parallel: NonZeroUsize::new(4).unwrap(),
        report: &mut told,
        source: &source,
        stop: &|| false,
        tally: Tally::default(),
    };
    round.run().await.unwrap();
    assert_eq!((round.tally.delivered, round.tally.failed), (7, 1));
    assert_eq!(source.most.load(Ordering::SeqCst), 4);
    let others: Vec<JobName> = (0..8).filter(|n| *n != 2).map(name).collect();
    assert_eq!(told.0, others);
    assert_eq!(ran.runs, others);
    assert_eq!(inbox.intended().unwrap(), [name(2)].into());
}
