//! Dropped files on a real disk: their order, their rest, their writers and their names.

use super::{
    super::{crash_fs::CrashFs, testing::TestSpool},
    *,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::Arc,
    sync::atomic::{AtomicI64, Ordering},
};

/// A spool on the disk, whose clock is set by hand: a file rests by it.
struct Bench {
    dir: tempfile::TempDir,
    spool: Arc<Spool>,
    clock: Arc<AtomicI64>,
}

fn a() -> InterfaceName {
    "a".parse().unwrap()
}

fn queue() -> Queue {
    a().into()
}

impl Bench {
    fn new(ordered: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(0));
        let of = clock.clone();
        let spool = TestSpool::at(dir.path())
            .interface_with("a", |rules| rules.drops.ordered = ordered)
            .clock(move || of.load(Ordering::SeqCst));
        let spool = spool.open().unwrap();
        Self { dir, spool, clock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("queue/a").join(name)
    }

    /// Drops a file; it is the last change that the clock knows of.
    fn put(&self, name: &str) {
        fs::write(self.path(name), name).unwrap();
    }

    /// Sets the clock so long after a file's last change.
    fn set_after(&self, name: &str, after_ms: i64) {
        let meta = fs::metadata(self.path(name)).unwrap();
        let changed_ms = meta.ctime() * 1000 + meta.ctime_nsec() / 1_000_000;
        self.clock.store(changed_ms + after_ms, Ordering::SeqCst);
    }

    fn scan(&self) -> Scan {
        self.spool.scan(&a()).unwrap()
    }

    /// The names under which the jobs were dropped, as they came.
    fn taken(&self) -> Vec<String> {
        let arrived = self.scan().arrived.into_iter();
        arrived.filter_map(|arrival| arrival.dropped_as).collect()
    }
}

/// A change time that differs from the last one.
fn later(bench: &Bench, name: &str, than: &str) {
    let changed = |name: &str| {
        let meta = fs::metadata(bench.path(name)).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    while changed(name) <= changed(than) {
        fs::write(bench.path(name), name).unwrap();
    }
}

#[test]
fn files_are_taken_in_by_their_change_time_and_then_by_name() {
    let bench = Bench::new(false);
    bench.put("z");
    for (name, before) in [("m", "z"), ("b", "m"), ("k", "b")] {
        bench.put(name);
        later(&bench, name, before);
    }
    bench.set_after("k", 10_000);
    let scan = bench.scan();
    let names: Vec<_> = scan
        .arrived
        .iter()
        .map(|a| a.dropped_as.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["z", "m", "b", "k"]);
    let jobs: Vec<_> = scan
        .arrived
        .iter()
        .map(|arrival| arrival.job.name.clone())
        .collect();
    assert_eq!(jobs, scan.ready, "their jobs' names sort alike");
    // One moment for all of them, so it is the name that counts.
    bench.clock.store(0, Ordering::SeqCst);
    for name in ["q", "p", "r"] {
        bench.put(name);
    }
    assert_eq!(
        bench.taken(),
        [""; 0],
        "all are of the future, and so of now"
    );
    std::thread::sleep(REST);
    assert_eq!(bench.taken(), ["p", "q", "r"]);
}

#[test]
fn a_file_rests_after_its_last_change() {
    let bench = Bench::new(false);
    bench.put("x.xml");
    let rest_ms = i64::try_from(REST.as_millis()).unwrap();
    bench.set_after("x.xml", rest_ms - 2);
    let scan = bench.scan();
    assert_eq!((scan.arrived, scan.again), (vec![], Some(REST)));
    bench.set_after("x.xml", rest_ms + 1);
    assert_eq!(bench.taken(), ["x.xml"]);
    assert_eq!(bench.scan().again, None);
}

#[test]
fn a_job_that_is_moved_in_rests_as_well_but_not_one_of_an_earlier_run() {
    let bench = Bench::new(false);
    let name = |n: u32| format!("20200229T235959.999Z-{n:05}.xml");
    bench.put(&name(1));
    bench.set_after(&name(1), 0);
    assert_eq!(
        bench.scan().ready.len(),
        1,
        "the first scan finds what we accepted before"
    );
    bench.put(&name(2));
    bench.set_after(&name(2), 0);
    assert_eq!(bench.scan().ready.len(), 1);
    bench.set_after(&name(2), 1_000);
    assert_eq!(bench.scan().ready.len(), 2);
}

#[test]
fn a_file_that_is_being_written_blocks_no_other() {
    for ordered in [false, true] {
        let bench = Bench::new(ordered);
        bench.put("first");
        bench.put("second");
        later(&bench, "second", "first");
        let written = fs::File::options()
            .append(true)
            .open(bench.path("first"))
            .unwrap();
        bench.set_after("second", 10_000);
        // It comes when it is closed.
        assert_eq!(bench.taken(), ["second"], "ordered: {ordered}");
        drop(written);
        assert_eq!(bench.taken(), ["first"]);
    }
}

#[test]
fn a_file_with_another_name_is_left_alone_until_it_has_one() {
    let bench = Bench::new(false);
    bench.put("x.xml");
    let other = bench.dir.path().join("other");
    fs::hard_link(bench.path("x.xml"), &other).unwrap();
    bench.set_after("x.xml", 10_000);
    let scan = bench.scan();
    assert_eq!((scan.arrived, scan.again), (vec![], Some(REST)));
    let job = "20200229T235959.999Z-00001.xml";
    fs::hard_link(&other, bench.path(job)).unwrap();
    assert_eq!(bench.scan().ready, []);
    assert_eq!(bench.spool.list(&a()).unwrap(), [], "nor is it shown");
    fs::remove_file(other).unwrap();
    fs::remove_file(bench.path(job)).unwrap();
    bench.set_after("x.xml", 10_000);
    assert_eq!(bench.taken(), ["x.xml"]);
}

#[test]
fn a_closed_name_is_open_again_once_it_is_written() {
    let bench = Bench::new(false);
    let is_closed = || bench.spool.is_closed(&queue(), OsStr::new("x"));
    bench.spool.closed(&queue(), "x");
    assert!(is_closed());
    bench.spool.reopened(&queue(), "x");
    assert!(!is_closed());
    for n in 0..=CLOSED_MAX {
        bench.spool.closed(&queue(), &n.to_string());
    }
    assert_eq!(bench.spool.drops.closed.lock()[&queue()].len(), CLOSED_MAX);
    bench.spool.forget_closed();
    assert!(!bench.spool.is_closed(&queue(), OsStr::new("1")));
}

#[test]
fn what_has_been_said_of_files_is_forgotten_with_them() {
    let bench = Bench::new(false);
    fs::create_dir(bench.path("folder")).unwrap();
    bench.put("rests");
    bench.scan();
    let kept = |bench: &Bench| {
        let pending = bench
            .spool
            .drops
            .pending
            .lock()
            .get(&queue())
            .map_or(0, HashMap::len);
        (bench.spool.drops.odd.lock().len(), pending)
    };
    assert_eq!(kept(&bench), (1, 1));
    fs::remove_dir(bench.path("folder")).unwrap();
    fs::remove_file(bench.path("rests")).unwrap();
    bench.scan();
    assert_eq!(kept(&bench), (0, 0));
}

#[test]
fn two_files_of_one_id_are_two_jobs() {
    let bench = Bench::new(false);
    let [one, other] = ["-one", "-other"].map(|r| format!("20200229T235959.999Z-00001{r}.xml"));
    bench.put(&one);
    assert_eq!(bench.scan().ready.len(), 1);
    let written = fs::File::create(bench.path(&other)).unwrap();
    bench.set_after(&other, 10_000);
    assert_eq!(bench.scan().ready.len(), 1, "the other is still written");
    drop(written);
    let scan = bench.scan();
    assert_eq!((scan.ready.len(), scan.arrived.len()), (2, 1));
    bench.spool.forget_ready(&queue(), &one.parse().unwrap());
    assert!(bench.spool.is_ready(&queue(), &other.parse().unwrap()));
}

#[test]
fn nothing_is_taken_or_put_through_a_link() {
    let bench = Bench::new(false);
    let outside = bench.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x.xml"), "x").unwrap();
    for replaced in ["queue/a", "queue"] {
        let dir = bench.dir.path().join(replaced);
        fs::remove_dir_all(&dir).unwrap();
        let target = if replaced == "queue" {
            bench.dir.path()
        } else {
            &outside
        };
        std::os::unix::fs::symlink(target, &dir).unwrap();
        let error = bench.spool.scan(&a()).unwrap_err().to_string();
        assert!(
            error.contains(replaced) && error.contains("a link or a file"),
            "{error}"
        );
        let name = JobName::new(bench.spool.next_id(), None, Kind::Xml);
        let part = bench.spool.begin(name).unwrap();
        let sealed = part.seal(&crate::store::NewJob::default()).unwrap();
        let enqueued = bench.spool.enqueue(sealed, &a(), None);
        assert!(
            enqueued
                .and_then(|(_, ticket)| bench.spool.wait(ticket))
                .is_err()
        );
        // What can be made is made all the same, and nothing behind the link.
        fs::remove_dir(bench.dir.path().join("work/a")).unwrap();
        assert!(bench.spool.restore_dirs().is_err());
        assert!(bench.dir.path().join("work/a").is_dir());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert!(!bench.dir.path().join("a").exists());
        fs::remove_file(&dir).unwrap();
        bench.spool.restore_dirs().unwrap();
    }
    bench.put("back.xml");
    bench.set_after("back.xml", 10_000);
    assert_eq!(bench.taken(), ["back.xml"]);
}

#[test]
fn a_scan_that_is_broken_off_keeps_what_it_has_taken_in_and_leaves_the_rest() {
    let names = ["a", "b", "c"];
    let mut n_taken = std::collections::BTreeSet::new();
    for n_looks in 0..20 {
        let bench = Bench::new(false);
        names.iter().for_each(|name| bench.put(name));
        bench.set_after("c", 10_000);
        let looks = AtomicI64::new(n_looks);
        let wanted = || looks.fetch_sub(1, Ordering::SeqCst) > 0;
        let scan = bench.spool.scan_while(&a(), &wanted).unwrap();
        let went_through = looks.load(Ordering::SeqCst) >= 0;
        assert_eq!(bench.spool.has_scanned_all(), went_through);
        let taken = scan.arrived.into_iter().filter_map(|a| a.dropped_as);
        let mut taken: Vec<String> = taken.collect();
        n_taken.insert(taken.len());
        taken.extend(bench.taken());
        taken.sort();
        assert_eq!(taken, names, "{n_looks} looks");
        assert!(bench.spool.has_scanned_all());
    }
    assert_eq!(n_taken, [0, 1, 2, 3].into());
}

#[test]
fn a_file_that_is_written_while_it_is_copied_is_no_job_yet() {
    let bench = Bench::new(false);
    let job = JobName::new(bench.spool.next_id(), None, Kind::Xml);
    let path = aside(Path::new("queue/a"), &job);
    let absolute = bench.dir.path().join(&path);
    fs::write(&absolute, vec![b'x'; 8 << 20]).unwrap();
    let stop = AtomicI64::new(0);
    let round = Round {
        queue: &queue(),
        dir: Path::new("queue/a"),
        first: false,
        now_ns: 0,
        wanted: &|| true,
    };
    let copy = || bench.spool.copy_aside(&round, &path, &job, "x");
    std::thread::scope(|scope| {
        let (started, has_started) = std::sync::mpsc::channel();
        let (stop, absolute) = (&stop, &absolute);
        let writer = scope.spawn(move || {
            use std::io::Write;
            let mut file = fs::File::options().append(true).open(absolute).unwrap();
            while stop.load(Ordering::SeqCst) == 0 {
                file.write_all(b"y").unwrap();
                let _ = started.send(());
            }
        });
        has_started.recv().unwrap();
        let outcome = copy();
        stop.store(1, Ordering::SeqCst);
        writer.join().unwrap();
        assert_eq!(outcome.unwrap(), Taken::Changing);
    });
    assert!(absolute.exists() && !bench.path(&job.to_string()).exists());
    assert_eq!(
        fs::read_dir(bench.dir.path().join("tmp")).unwrap().count(),
        0
    );
    let whole = fs::read(&absolute).unwrap();
    assert_eq!(copy().unwrap(), Taken::Job(job.clone()));
    assert_eq!(fs::read(bench.path(&job.to_string())).unwrap(), whole);
    assert!(!absolute.exists());
}

#[test]
fn a_file_that_a_crash_left_aside_becomes_its_job_once() {
    let bench = Bench::new(false);
    let reference = Reference::of_dropped_file("r");
    let job = JobName::new(bench.spool.next_id(), reference, Kind::Xml);
    let left = aside(Path::new(""), &job).display().to_string();
    bench.put(&left);
    bench.set_after(&left, 10_000);
    let scan = bench.scan();
    assert_eq!((scan.ready.len(), scan.arrived.len()), (1, 1));
    assert!(!bench.path(&left).exists());
    // The crash came after it had got its name.
    let job = scan.ready[0].clone();
    let left = aside(Path::new(""), &job).display().to_string();
    bench.put(&left);
    bench.set_after(&left, 10_000);
    assert_eq!(bench.scan().ready, [job]);
    assert!(!bench.path(&left).exists());
}

/// The first will come once it has been quiet for long; on an ordered interface the second, which is
/// complete, waits for it.
#[test]
fn on_an_ordered_interface_a_file_waits_for_those_before_it() {
    for ordered in [false, true] {
        let fs = CrashFs::new();
        let spool = TestSpool::on(fs.clone())
            .interface_with("a", |rules| rules.drops.ordered = ordered)
            .clock(|| 60_000);
        let spool = spool.open().unwrap();
        for name in ["first", "second"] {
            fs.create(&Path::new("queue/a").join(name)).unwrap();
        }
        // Nobody can say who writes a file of somebody else.
        fs.give(Path::new("queue/a/first"), 1000);
        let arrived = spool.scan(&a()).unwrap().arrived.into_iter();
        let taken: Vec<_> = arrived.filter_map(|arrival| arrival.dropped_as).collect();
        let expected: &[&str] = if ordered { &[] } else { &["second"] };
        assert_eq!(taken, expected, "ordered: {ordered}");
    }
}

/// A listing that began before the job was named does not make it unknown.
#[test]
fn a_job_that_is_arriving_is_not_forgotten() {
    let bench = Bench::new(false);
    let job: JobName = "20261122T045748.123Z-00042.xml".parse().unwrap();
    bench.spool.set_arriving(&queue(), &job);
    bench.scan();
    assert!(bench.spool.is_ready(&queue(), &job));
    bench.spool.arrived(&job);
    bench.scan();
    assert!(!bench.spool.is_ready(&queue(), &job), "it is not there");
}
