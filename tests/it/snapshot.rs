//! A backup as the page of operations says it is made: a snapshot of the filesystem, taken under load, of which a
//! service elsewhere loses nothing.
//!
//! The filesystem is an ext4 in a loop-mounted file; where that cannot be had, it says so and is skipped.

use crate::{
    events::{body, ids, nobody, taken},
    harness::{Daemon, Over, day, has_job_files, order, shell, with_keys},
    posting::Receiver,
    power::{
        hindrance,
        image::{Image, Kind},
    },
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};
use tempfile::TempDir;

/// Uploads that are answered before the snapshot is taken.
const BEFORE: usize = 60;
/// So many a client sends at most, of three that go on meanwhile.
const UPLOADS_MAX: usize = 300;

/// An upload that was answered.
#[derive(Clone)]
struct Answered {
    key: String,
    fails: bool,
    text: String,
    job: String,
}

/// A server whose spool is on the image; nobody listens where its events go.
fn server(image: &Image, receiver: SocketAddr) -> Daemon {
    let mut daemon = Daemon::init();
    let spool = image.path().join("spool");
    let script = r#"cat > /dev/null; echo "<a/>" > "$SPOOLGATE_RESULTS/made"
        case "$SPOOLGATE_REF" in fails*) exit 1;; esac"#;
    let table = format!(
        "\n[limits]\nfree_bytes_min = 1000000\n[[events]]\nname = \"erp\"\nurl = \"http://{receiver}/hook\"\n\
         on = [\"job.done\", \"job.failed\", \"interface.held\"]\n"
    );
    daemon.configure(|text| {
        let root = format!("root = \"{}\"", spool.display());
        let text = text.replace("root = \"spool\"", &root);
        with_keys(&text, "orders_in", &shell(script, "")) + &table
    });
    // With the schemas that `init` has put there.
    copy(&daemon.spool(""), &spool);
    daemon.serve();
    daemon
}

/// The server of a backup: a copy of what is beside the spool, and the spool of the snapshot.
fn restored(from: &Daemon, original: &Image, snapshot: &Image) -> Daemon {
    let mut daemon = Daemon::init();
    fs::remove_dir_all(daemon.dir().join("certs")).unwrap();
    for name in ["certs", "users.toml"] {
        copy(&from.dir().join(name), &daemon.dir().join(name));
    }
    let text = fs::read_to_string(from.config()).unwrap();
    let [root, elsewhere] = [original, snapshot].map(|of| of.path().display().to_string());
    assert!(text.contains(&root), "{text}");
    fs::write(daemon.config(), text.replace(&root, &elsewhere)).unwrap();
    daemon.password.clone_from(&from.password);
    daemon
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-aT").args([from, to]).status();
    assert!(copied.unwrap().success(), "{}", from.display());
}

/// Uploads a document under its key, which fails or is done.
fn upload(daemon: &Daemon, key: &str, fails: bool) -> Answered {
    let text = order(key);
    let reference = if fails { "fails" } else { "works" };
    let path = format!("/xml/upload?RefName={reference}");
    let header = format!("Idempotency-Key: {key}");
    let answer = daemon.curl(&["-H", &header, "--data-binary", &text, &path]);
    Answered {
        key: key.to_owned(),
        fails,
        text,
        job: answer.job(),
    }
}

/// What operators do all the time; each act waits for those before it.
fn operate(daemon: &Daemon, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        daemon.operator(&["hold", "items_in", "--reason", "stocktaking"]);
        // There may be none yet.
        daemon.spoolgate(&["requeue", "--state", "failed", "--limit", "3", "--yes"]);
        daemon.operator(&["release", "items_in"]);
    }
}

/// What is known when the snapshot is taken.
struct Known {
    answered: Vec<Answered>,
    /// Events that wait for their receiver.
    events: BTreeSet<String>,
    /// Acts that the audit has.
    n_acts: usize,
    snapshot: Image,
}

/// Takes a snapshot while clients upload and operators act; also gives all that was answered until the end.
fn under_load(daemon: &Daemon, image: &Image, dir: &Path) -> (Known, Vec<Answered>) {
    let (answered, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let known = std::thread::scope(|scope| {
        for client in 0..3 {
            let (answered, done) = (&answered, &done);
            scope.spawn(move || {
                for n in (0..UPLOADS_MAX).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let fails = n % 4 == 3;
                    let answer = upload(daemon, &format!("{client}-{n}"), fails);
                    answered.lock().push(answer);
                }
            });
        }
        scope.spawn(|| operate(daemon, &done));
        let _over = Over(&done);
        daemon.wait("uploads", || answered.lock().len() >= BEFORE);
        daemon.wait("acts", || daemon.objects(&["audit", "ls"]).len() >= 8);
        let n_acts = daemon.objects(&["audit", "ls"]).len();
        let waiting = daemon.objects(&["events", "ls"]).into_iter();
        let events = waiting.map(|event| event["event"].as_str().unwrap().to_owned());
        let events = events.collect();
        let answered = answered.lock().clone();
        let snapshot = image.snapshot(dir).unwrap();
        Known {
            answered,
            events,
            n_acts,
            snapshot,
        }
    });
    (known, answered.into_inner())
}

/// The lines of the records of all days that say which job was accepted, by job.
fn accepted(spool: &Path) -> BTreeMap<String, Vec<serde_json::Value>> {
    let mut found: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for day in fs::read_dir(spool.join("records")).unwrap() {
        let text = fs::read_to_string(day.unwrap().path().join("accepted.jsonl"));
        for line in text.unwrap_or_default().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let job = line["job"].as_str().unwrap().to_owned();
            found.entry(job).or_default().push(line);
        }
    }
    found
}

/// The files below a directory whose names do not begin with a dot.
fn jobs_in(dir: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok);
    let files = walk.filter(|entry| entry.file_type().is_file());
    let jobs = files.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    jobs.map(walkdir::DirEntry::into_path).collect()
}

/// Each of these jobs is there once, whole, with its record, its log and its result, and nothing waits.
fn check_jobs(spool: &Path, answered: &[Answered]) {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for state in ["bak", "deferred", "joberrors", "queue", "work"] {
        for path in jobs_in(&spool.join(state)) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            places.entry(name).or_default().push(path);
        }
    }
    let records = accepted(spool);
    for Answered {
        fails, text, job, ..
    } in answered
    {
        let found = places.get(job).map_or(&[][..], Vec::as_slice);
        assert_eq!(found.len(), 1, "{job}: {found:?}");
        let settled = ["bak", "joberrors"].map(|state| found[0].starts_with(spool.join(state)));
        let expected = [!fails, *fails];
        assert_eq!(settled, expected, "{found:?}");
        assert_eq!(&fs::read_to_string(&found[0]).unwrap(), text, "{job}");
        let lines = records.get(job).map_or(&[][..], Vec::as_slice);
        assert_eq!(lines.len(), 1, "{job}: {lines:?}");
        let digest = hex::encode(Sha256::digest(text));
        assert_eq!(lines[0]["sha256"], digest, "{job}");
        let day = day(job);
        assert!(
            spool.join(format!("joblog/{day}/{job}.xml")).is_file(),
            "{job}"
        );
        let result = spool.join(format!("results/{day}/{job}/made"));
        assert_eq!(result.is_file(), expected[0], "{job}");
    }
}

#[test]
fn a_service_on_a_snapshot_taken_under_load_loses_nothing() {
    if !has_job_files() {
        return;
    }
    if let Some(reason) = hindrance(Kind::Ext4) {
        let _ = writeln!(std::io::stderr(), "snapshot: skipped: {reason}");
        return;
    }
    let dir = TempDir::new().unwrap();
    let [at, elsewhere] = ["original", "backup"].map(|name| dir.path().join(name));
    for dir in [&at, &elsewhere] {
        fs::create_dir(dir).unwrap();
    }
    let image = Image::new(Kind::Ext4, &at).unwrap();
    let (_, receiver) = nobody();
    let mut original = server(&image, receiver);
    let (known, all) = under_load(&original, &image, &elsewhere);
    assert!(all.len() > known.answered.len(), "the load went on");
    original.kill();

    let mut backup = restored(&original, &image, &known.snapshot);
    let spool = known.snapshot.path().join("spool");
    // As it is, before a start has put anything right.
    backup.operator(&["fsck"]);
    backup.operator(&["audit", "verify"]);
    let receiver = Receiver::on(TcpListener::bind(receiver).unwrap(), taken);
    backup.serve();
    backup.wait("all is processed", || {
        // A hold is a file, too.
        let waits = ["queue", "deferred", "work"];
        waits
            .iter()
            .all(|state| jobs_in(&spool.join(state)).is_empty())
    });
    check_jobs(&spool, &known.answered);

    backup.wait("all events are told", || {
        let told = ids(&receiver.asked());
        known.events.is_subset(&told) && backup.objects(&["events", "ls"]).is_empty()
    });
    let asked = receiver.asked();
    let jobs = asked.iter().map(|asked| body(asked)["data"]["job"].clone());
    let told: BTreeSet<String> = jobs
        .filter_map(|job| job.as_str().map(str::to_owned))
        .collect();
    for Answered { job, .. } in &known.answered {
        assert!(told.contains(job), "{job}");
    }

    // What an upload was answered, it is answered again; and no name is given twice.
    let names: BTreeSet<&String> = all.iter().map(|answered| &answered.job).collect();
    assert_eq!(names.len(), all.len());
    for before in &known.answered {
        assert_eq!(upload(&backup, &before.key, before.fails).job, before.job);
    }
    let new = upload(&backup, "new", false).job;
    assert!(!names.contains(&new), "{new}");

    assert!(backup.objects(&["audit", "ls"]).len() >= known.n_acts);
    backup.operator(&["hold", "items_in"]);
    backup.operator(&["fsck"]);
    backup.operator(&["audit", "verify"]);
    backup.stop();
}
