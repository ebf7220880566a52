//! What a command does to its own directories, on a real disk.

use super::*;
use crate::store::NewJob;
use crate::store::fs::PlacePath;
use crate::store::fs::{DropRules, Rules};
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
        Self::with("<a/>")
    }

    fn with(document: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let rules = Rules {
            attempts_max: 3,
            at_most_once: false,
            drops: DropRules::default(),
            order_attribute: None,
        };
        let interfaces = BTreeMap::from([(interface.clone(), rules)]);
        let clock = Box::new(|| jiff::Timestamp::now().as_millisecond());
        let spool = Spool::open(RealFs::new(dir.path()), interfaces, clock).unwrap();
        let spool = Arc::new(spool);
        spool.open_journal(1 << 20).unwrap();
        spool.start_journal();
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let mut part = spool.begin(name.clone()).unwrap();
        part.write(document.as_bytes()).unwrap();
        let sealed = part.seal(&NewJob::default()).unwrap();
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
            symlink("/", run.join("emit/a")).unwrap();
        }),
        ("is not a plain file", |run| {
            fs::create_dir(run.join("results/sub")).unwrap();
        }),
        ("is not a plain file", |run| {
            fs::create_dir(run.join("emit/a")).unwrap();
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
            fs::create_dir(run.join("emit/a")).unwrap();
            fs::hard_link(run.join("x"), run.join("emit/a/x")).unwrap();
        }),
        ("has more than", |run| {
            fs::create_dir(run.join("emit/a")).unwrap();
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
fn a_run_begins_with_as_many_directories_whatever_interfaces_there_are() {
    let bench = Bench::new();
    let claim = bench.begin();
    let entries = |dir: &str| fs::read_dir(bench.run(&claim).join(dir)).unwrap().count();
    assert_eq!((entries("results"), entries("emit")), (0, 0));
}

#[test]
fn what_can_be_published_is_whatever_the_rights() {
    let bench = Bench::new();
    let mut claim = bench.begin();
    let run = bench.run(&claim);
    fs::write(run.join("results/report"), "r").unwrap();
    // As .NET and PowerShell write it.
    fs::write(run.join("results/result.json"), "\u{feff}{\"a\": 1}").unwrap();
    fs::create_dir(run.join("emit/a")).unwrap();
    fs::write(run.join("emit/a/next.json"), "{}").unwrap();
    for dir in ["results", "emit/a", "emit"] {
        set_mode(&run.join(dir), 0o000);
    }
    assert_eq!(claim.check_output().unwrap(), None);
    let published = claim.settle(Settlement::Done, None).unwrap();
    let [next] = published.emitted.try_into().unwrap();
    assert_eq!(next.name.kind(), Kind::Json);
    assert_eq!(next.name.reference(), Some("next"));
    let (files, variables) = bench.spool.results_of(&bench.name).unwrap();
    assert_eq!(
        (files, variables["a"].as_i64()),
        (vec!["report".to_owned()], Some(1))
    );
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

/// What a command does to its document and to the job's own file, and what becomes of the job.
#[test]
fn a_job_outlives_whatever_its_command_does_to_its_document() {
    type Mischief = fn(&Path, &Path);
    let all: [(&str, Mischief, Fate); 14] = [
        ("nothing", |_, _| {}, Fate::Whole),
        (
            "it is moved",
            |given, _| fs::rename(given, given.with_extension("x")).unwrap(),
            Fate::Whole,
        ),
        (
            "it is removed",
            |given, _| fs::remove_file(given).unwrap(),
            Fate::Whole,
        ),
        (
            "its rights and names change",
            |_, own| {
                set_mode(own, 0o600);
                fs::hard_link(own, own.with_extension("x")).unwrap();
                fs::remove_file(own.with_extension("x")).unwrap();
            },
            Fate::Whole,
        ),
        (
            "the own one is removed",
            |_, own| fs::remove_file(own).unwrap(),
            Fate::Restored,
        ),
        (
            "the own one is moved away",
            |given, own| fs::rename(own, given.with_extension("y")).unwrap(),
            Fate::Restored,
        ),
        (
            "another one has its name",
            |_, own| {
                fs::remove_file(own).unwrap();
                fs::write(own, "other").unwrap();
            },
            Fate::Restored,
        ),
        (
            "a directory has its name",
            |_, own| {
                fs::remove_file(own).unwrap();
                fs::create_dir_all(own.join("sub")).unwrap();
            },
            Fate::Restored,
        ),
        (
            "a link has its name",
            |_, own| {
                fs::remove_file(own).unwrap();
                symlink("/etc/hostname", own).unwrap();
            },
            Fate::Restored,
        ),
        (
            "the own one is truncated",
            |_, own| drop(fs::File::create(own).unwrap()),
            Fate::Changed,
        ),
        ("something is appended", |_, own| append(own), Fate::Changed),
        (
            "it is changed and removed",
            |_, own| {
                append(own);
                fs::remove_file(own).unwrap();
            },
            Fate::Changed,
        ),
        (
            "it is put into its queue by hand",
            |_, own| {
                let name = own.file_name().unwrap().to_str().unwrap();
                let name = name.rsplit_once('.').unwrap().0;
                let root = own.parent().unwrap().parent().unwrap().parent().unwrap();
                fs::rename(own, root.join("queue/a").join(name)).unwrap();
            },
            Fate::Moved,
        ),
        (
            "it is dropped anew by hand",
            |_, own| {
                let root = own.parent().unwrap().parent().unwrap().parent().unwrap();
                fs::rename(own, root.join("queue/a/again.xml")).unwrap();
            },
            Fate::Moved,
        ),
    ];
    for large in [false, true] {
        for (what, mischief, fate) in all {
            let bytes = if large { 100_000 } else { 4 };
            let bench = Bench::with(&"x".repeat(bytes));
            let mut claim = bench.begin();
            let own = bench.dir.path().join(claim.path());
            let given = bench.dir.path().join(claim.document_path());
            mischief(&given, &own);
            assert_eq!(claim.check_document().unwrap(), fate, "{what}, {large}");
            let moved = claim.settle(Settlement::Failed, None).unwrap().moved;
            if fate == Fate::Moved {
                assert_eq!(moved, Moved::Gone, "{what}");
                continue;
            }
            assert_eq!(bench.place(), Place::JobErrors, "{what}");
            let kept = fs::read(bench.dir.path().join(bench.place().path(&bench.name))).unwrap();
            if fate != Fate::Changed {
                assert_eq!(kept.len(), bytes, "{what}");
                assert!(kept.iter().all(|byte| *byte == b'x'), "{what}");
            }
        }
    }
}

fn append(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(b"more").unwrap();
}

/// The command's file is another name of a large document where the filesystem shares no bytes.
#[test]
fn a_large_document_that_is_written_to_fails_and_one_that_is_passed_on_is_copied() {
    let bench = Bench::with(&"x".repeat(100_000));
    let mut claim = bench.begin();
    let given = bench.dir.path().join(claim.document_path());
    let is_linked = claim.document.as_ref().unwrap().mode.is_some();
    let emit = bench.run(&claim).join("emit/a");
    fs::create_dir(&emit).unwrap();
    fs::rename(&given, emit.join("on.xml")).unwrap();
    assert_eq!(claim.check_document().unwrap(), Fate::Whole);
    claim.check_output().unwrap();
    let published = claim.settle(Settlement::Done, None).unwrap();
    let [next] = published.emitted.try_into().unwrap();
    let path = |job: &Job| bench.dir.path().join(job.place.path(&job.name));
    let own = job(&bench, bench.place());
    append(&path(&next));
    assert_eq!(fs::metadata(path(&own)).unwrap().len(), 100_000);
    assert_ne!(
        fs::metadata(path(&own)).unwrap().permissions().mode() & 0o200,
        0
    );

    let bench = Bench::with(&"x".repeat(100_000));
    let mut claim = bench.begin();
    let given = bench.dir.path().join(claim.document_path());
    set_mode(&given, 0o600);
    append(&given);
    let fate = if is_linked {
        Fate::Changed
    } else {
        Fate::Whole
    };
    assert_eq!(claim.check_document().unwrap(), fate);
    claim.settle(Settlement::Failed, None).unwrap();
}
