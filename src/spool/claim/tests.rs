//! What a command does to its own directories, on a real disk.

use super::*;
use crate::spool::{Attributes, Rules};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
    sync::atomic::AtomicUsize,
};

struct Bench {
    dir: tempfile::TempDir,
    spool: Arc<Spool>,
    interface: InterfaceName,
    name: JobName,
}

impl Bench {
    /// A spool with a job in its queue.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let rules = Rules {
            attempts_max: 3,
            at_most_once: false,
        };
        let interfaces = BTreeMap::from([(interface.clone(), rules)]);
        let clock = Box::new(|| 1_795_323_468_123);
        let spool = Spool::open(RealFs::new(dir.path()), interfaces, clock).unwrap();
        let spool = Arc::new(spool);
        spool.open_journal(1 << 20).unwrap();
        spool.start_journal();
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let mut part = spool.begin(name.clone()).unwrap();
        part.write(b"<a/>").unwrap();
        let sealed = part.seal(&Attributes::default()).unwrap();
        let (_, ticket) = spool.enqueue(sealed, &interface, None).unwrap();
        spool.wait(ticket).unwrap();
        spool.arrived(&name);
        Self {
            dir,
            spool,
            interface,
            name,
        }
    }

    /// Claims the job for a command, which is about to start.
    fn begin(&self) -> Claim {
        let claim = self.spool.claim(&self.interface, &self.name).unwrap();
        let mut claim = claim.unwrap();
        claim.prepare().unwrap();
        claim.begin();
        claim
    }

    fn run(&self, claim: &Claim) -> PathBuf {
        self.dir.path().join(claim.run_dir())
    }

    fn place(&self) -> Place {
        self.spool.find(&self.name).unwrap().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.spool.close_journal();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What only root may do, on some filesystems: says whether it was done.
fn may(command: &[&str], path: &Path) -> bool {
    let done = Command::new(command[0])
        .args(&command[1..])
        .arg(path)
        .output();
    done.is_ok_and(|output| output.status.success())
}

#[test]
fn whatever_a_run_leaves_the_next_one_begins_anew() {
    type Mischief = fn(&Path);
    let all: [(&str, Mischief); 8] = [
        ("a directory without rights", |run| {
            fs::create_dir(run.join("results/sub")).unwrap();
            fs::write(run.join("results/sub/f"), "").unwrap();
            set_mode(&run.join("results/sub"), 0o555);
        }),
        ("no rights at all", |run| {
            fs::write(run.join("results/f"), "").unwrap();
            set_mode(&run.join("results"), 0o000);
            set_mode(run, 0o000);
        }),
        ("nothing", |run| fs::remove_dir_all(run).unwrap()),
        ("a file in its place", |run| {
            fs::remove_dir_all(run).unwrap();
            fs::write(run, "x").unwrap();
        }),
        ("a link in its place", |run| {
            fs::remove_dir_all(run).unwrap();
            symlink("/", run).unwrap();
        }),
        ("an unchangeable file", |run| {
            fs::write(run.join("results/f"), "").unwrap();
            may(&["chattr", "+i"], &run.join("results/f"));
        }),
        ("an unchangeable directory", |run| {
            fs::write(run.join("f"), "").unwrap();
            may(&["chattr", "+i"], run);
        }),
        ("a mount", |run| {
            fs::write(run.join("results/f"), "").unwrap();
            may(&["mount", "-t", "tmpfs", "none"], run);
        }),
    ];
    for (what, mischief) in all {
        let bench = Bench::new();
        let mut claim = bench.begin();
        let run = bench.run(&claim);
        mischief(&run);
        let due_ms = bench.spool.now_ms();
        let settled = claim.settle(Settlement::Deferred { due_ms }, None);
        let place = Place::Deferred {
            interface: bench.interface.clone(),
            due_ms,
        };
        assert_eq!(
            settled.unwrap().moved,
            Moved::Done(job(&bench, place.clone()))
        );
        bench.spool.release_due(&job(&bench, place)).unwrap();
        let mut claim = bench.begin();
        assert_eq!(claim.attempt(), 2, "{what}");
        let results = bench.run(&claim).join("results");
        assert_eq!(fs::read_dir(&results).unwrap().count(), 0, "{what}");
        fs::write(results.join("report"), what).unwrap();
        claim.check_output().unwrap();
        claim.settle(Settlement::Done, None).unwrap();
        assert_eq!(bench.place(), Place::Bak(bench.interface.clone()), "{what}");
        let (files, _) = bench.spool.results_of(&bench.name).unwrap();
        assert_eq!(files, ["report"], "{what}");
        // So that the directory can be removed.
        may(&["umount"], &run);
        may(&["chattr", "-R", "-i"], bench.dir.path());
    }
}

fn job(bench: &Bench, place: Place) -> Job {
    let name = bench.name.clone();
    Job { place, name }
}

#[test]
fn what_cannot_be_published_fails_the_job_with_a_reason() {
    type Mischief = fn(&Path);
    let all: [(&str, Mischief); 10] = [
        ("in the place of its directory results", |run| {
            fs::remove_dir(run.join("results")).unwrap();
            fs::write(run.join("results"), "").unwrap();
        }),
        ("in the place of its directory emit", |run| {
            fs::remove_dir_all(run.join("emit")).unwrap();
            symlink("/", run.join("emit")).unwrap();
        }),
        ("which is no interface", |run| {
            fs::remove_dir(run.join("emit/a")).unwrap();
            symlink("/", run.join("emit/a")).unwrap();
        }),
        ("is not a plain file", |run| {
            fs::create_dir(run.join("results/sub")).unwrap();
        }),
        ("is not a plain file", |run| {
            assert!(may(&["mkfifo"], &run.join("emit/a/x")));
        }),
        ("is not a plain file", |run| {
            use std::os::unix::ffi::OsStrExt;
            let odd = OsStr::from_bytes(b"\xff\xfe");
            fs::write(run.join("results").join(odd), "").unwrap();
        }),
        ("a hard link", |run| {
            fs::write(run.join("x"), "").unwrap();
            fs::hard_link(run.join("x"), run.join("results/x")).unwrap();
        }),
        ("a hard link", |run| {
            fs::write(run.join("x"), "").unwrap();
            fs::hard_link(run.join("x"), run.join("emit/a/x")).unwrap();
        }),
        ("has more than", |run| {
            let file = fs::File::create(run.join("emit/a/x")).unwrap();
            file.set_len(LEFT_BYTES_MAX + 1).unwrap();
        }),
        ("more than 10000 files", |run| {
            for n in 0..=LEFT_FILES_MAX {
                fs::write(run.join(format!("results/{n}")), "").unwrap();
            }
        }),
    ];
    for (wrong, mischief) in all {
        let bench = Bench::new();
        let mut claim = bench.begin();
        mischief(&bench.run(&claim));
        let checked = claim.check_output();
        let said = matches!(&checked, Err(SpoolError::Output(text)) if text.contains(wrong));
        assert!(said, "{wrong}: {checked:?}");
        claim.settle(Settlement::Failed, None).unwrap();
        assert_eq!(bench.place(), Place::JobErrors, "{wrong}");
        let left = fs::read_dir(bench.dir.path().join("work/a")).unwrap();
        assert_eq!(left.count(), 0, "{wrong}");
    }
}

#[test]
fn what_can_be_published_is_whatever_the_rights() {
    let bench = Bench::new();
    let mut claim = bench.begin();
    let run = bench.run(&claim);
    fs::write(run.join("results/report"), "r").unwrap();
    fs::write(run.join("emit/a/next.json"), "{}").unwrap();
    for dir in ["results", "emit/a", "emit"] {
        set_mode(&run.join(dir), 0o000);
    }
    claim.check_output().unwrap();
    let published = claim.settle(Settlement::Done, None).unwrap();
    let [next] = published.emitted.try_into().unwrap();
    assert_eq!(next.name.kind(), Kind::Json);
    assert_eq!(next.name.reference(), Some("next"));
    let (files, _) = bench.spool.results_of(&bench.name).unwrap();
    assert_eq!(files, ["report"]);
}

#[test]
fn a_lock_that_was_removed_excludes_nobody_so_nobody_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::new(dir.path());
    let path = Path::new("lock");
    let holders = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let Some(lock) = fs.lock(path).unwrap() else {
                        continue;
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    holders.fetch_sub(1, Ordering::SeqCst);
                    fs.unlink(path).unwrap();
                    drop(lock);
                }
            });
        }
    });
}
