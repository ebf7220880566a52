//! Other hands in the queues: files that are dropped, moved in and out, half written or odd, and
//! directories that are taken away.
//!
//! That something is left alone is seen by a second file, dropped later and taken in: the scan that
//! found it has met the first one too.

use crate::harness::{Daemon, day, has_job_files, order};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A directory on the spool's filesystem, beside it.
fn outside(daemon: &Daemon) -> PathBuf {
    let dir = daemon.dir().join("outside");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Drops a complete file and waits until it is processed: everything that was there before has
/// been met by a scan.
fn sentinel(daemon: &Daemon, name: &str) {
    let prepared = outside(daemon).join(name);
    fs::write(&prepared, order(name)).unwrap();
    fs::rename(
        prepared,
        daemon.spool(&format!("queue/orders_in/{name}.xml")),
    )
    .unwrap();
    daemon.soon(&format!("{name} processed"), || {
        archived(daemon, name).is_some()
    });
}

/// The path of an archived job of `orders_in` by its reference.
fn archived(daemon: &Daemon, reference: &str) -> Option<String> {
    let end = format!("-{reference}.xml");
    let mut files = daemon.files("bak/orders_in").into_iter();
    files.find(|file| file.ends_with(&end))
}

fn content(daemon: &Daemon, path: &str) -> String {
    daemon.operator(&["cat", job_of(path)])
}

fn job_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn run(program: &str, arguments: &[&OsStr]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// A valid job name that no gateway gives any more.
fn old_name(sequence: u32, reference: &str) -> String {
    format!("20200229T235959.999Z-{sequence:05}-{reference}.xml")
}

#[test]
fn a_file_may_be_dropped_by_mv_cp_and_ln() {
    let daemon = Daemon::start();
    for program in ["mv", "cp", "ln"] {
        let name = format!("by {program}.xml");
        let from = outside(&daemon).join(&name);
        fs::write(&from, order(program)).unwrap();
        let to = daemon.spool("queue/orders_in");
        run(program, &[from.as_ref(), to.as_ref()]);
        if program == "ln" {
            // A job has one name.
            fs::remove_file(&from).unwrap();
        }
        let reference = format!("by-{program}");
        daemon.soon(&name, || archived(&daemon, &reference).is_some());
        let path = archived(&daemon, &reference).unwrap();
        assert_eq!(content(&daemon, &path), order(program));
        let job = job_of(&path);
        let expected = format!("taken in from queue/orders_in, where it was dropped as {name}");
        assert_eq!(daemon.messages(job), [expected]);
        let status: serde_json::Value =
            serde_json::from_str(&daemon.operator(&["status", job, "--json"])).unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(status["submitter"], format!("uid {uid}"));
        assert_eq!(status["dialect"], "drop");
    }
}

#[test]
fn what_can_be_no_job_is_left_alone_and_reported_once() {
    let daemon = Daemon::start();
    let queue = daemon.spool("queue/orders_in");
    let target = outside(&daemon).join("target.xml");
    fs::write(&target, order("target")).unwrap();
    symlink(&target, queue.join("link.xml")).unwrap();
    symlink(&target, queue.join(old_name(1, "link"))).unwrap();
    symlink("nowhere", queue.join("dangling.xml")).unwrap();
    fs::create_dir(queue.join("folder.xml")).unwrap();
    fs::create_dir(queue.join(old_name(2, "folder"))).unwrap();
    fs::write(queue.join("folder.xml/inside.xml"), order("inside")).unwrap();
    run("mkfifo", &[queue.join("fifo.xml").as_ref()]);
    let unreadable = queue.join(OsStr::from_bytes(b"not-utf8-\xff.xml"));
    fs::write(&unreadable, order("bytes")).unwrap();
    let ignored = [
        ".hidden.xml",
        ".20200229T235959.999Z-00003.xml",
        "upload.part",
        "upload.xml.tmp",
        "upload.xml.filepart",
        "upload.xml~",
        "upload.xml.1a2b3c4d.PARTIAL",
        "upload.xml.writing",
    ];
    for name in ignored {
        fs::write(queue.join(name), order(name)).unwrap();
    }
    sentinel(&daemon, "first");
    sentinel(&daemon, "second");
    let listed = daemon.queue("orders_in");
    assert!(listed.is_empty(), "{listed:?}");
    let bak = daemon.files("bak");
    assert_eq!(bak.len(), 2, "{bak:?}");
    let left: BTreeSet<_> = fs::read_dir(&queue)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), ignored.len() + 7, "{left:?}");
    for name in ["/link.xml", "/folder.xml", "/fifo.xml", "/dangling.xml"] {
        let said = (daemon.log().lines())
            .filter(|line| line.contains(name) && line.contains("left alone"))
            .count();
        assert_eq!(said, 1, "{name}: {}", daemon.log());
    }
    assert!(!daemon.log().contains("/upload.part"), "{}", daemon.log());
    // Their writers finish by renaming.
    for (name, reference) in [
        ("upload.part", "a"),
        ("upload.xml.tmp", "b"),
        (".hidden.xml", "c"),
    ] {
        fs::rename(queue.join(name), queue.join(format!("{reference}.xml"))).unwrap();
        daemon.soon(name, || archived(&daemon, reference).is_some());
        let path = archived(&daemon, reference).unwrap();
        assert_eq!(content(&daemon, &path), order(name));
    }
}

/// A writer in another process, which holds a file open and writes when told to.
struct SlowWriter {
    child: Child,
    say: ChildStdin,
    heard: BufReader<ChildStdout>,
}

impl SlowWriter {
    fn open(path: &Path) -> Self {
        let script = r#"exec 3>"$1"; echo open; while read -r line; do printf %s "$line" >&3; echo written; done"#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let say = child.stdin.take().unwrap();
        let heard = BufReader::new(child.stdout.take().unwrap());
        let mut writer = Self { child, say, heard };
        writer.hear("open\n");
        writer
    }

    fn hear(&mut self, expected: &str) {
        let mut line = String::new();
        self.heard.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }

    fn write(&mut self, text: &str) {
        writeln!(self.say, "{text}").unwrap();
        self.hear("written\n");
    }

    fn close(mut self) {
        drop(self.say);
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_slow_writer_is_waited_for() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let job = old_name(7, "slow");
    for (name, reference) in [("foreign.xml", "foreign"), (job.as_str(), "slow")] {
        let text = order(reference);
        let (first, rest) = text.split_at(10);
        let (second, third) = rest.split_at(20);
        let path = daemon.spool(&format!("queue/orders_in/{name}"));
        let mut writer = SlowWriter::open(&path);
        for (step, piece) in ["", first, second].into_iter().enumerate() {
            writer.write(piece);
            sentinel(&daemon, &format!("beside-{reference}-{step}"));
            assert!(path.exists());
            assert_eq!(daemon.queue("orders_in"), [""; 0]);
            assert!(archived(&daemon, reference).is_none());
        }
        writer.write(third);
        writer.close();
        daemon.soon(name, || archived(&daemon, reference).is_some());
        let path = archived(&daemon, reference).unwrap();
        assert_eq!(content(&daemon, &path), text);
    }
    assert_eq!(job_of(&archived(&daemon, "slow").unwrap()), job);
    assert_eq!(
        daemon.messages(&job),
        ["moved by hand to queue/orders_in"],
        "a job's name is kept"
    );
}

#[test]
fn a_slow_writer_in_a_queue_that_nobody_processes_is_listed_after_its_close() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let job = old_name(8, "slow");
    let mut writer = SlowWriter::open(&daemon.spool(&format!("queue/orders_out/{job}")));
    writer.write("<ListOfOrders/>");
    let other = old_name(9, "quick");
    let prepared = outside(&daemon).join(&other);
    fs::write(&prepared, order("quick")).unwrap();
    fs::rename(prepared, daemon.spool(&format!("queue/orders_out/{other}"))).unwrap();
    assert_eq!(daemon.queue("orders_out"), [&*other]);
    writer.close();
    assert_eq!(daemon.queue("orders_out"), [job, other]);
}

#[test]
fn any_name_is_taken_in_under_a_jobs_name() {
    let daemon = Daemon::start();
    let long = "x".repeat(255);
    let names = [
        ("with several  spaces.xml", Some("with-several-spaces")),
        ("Bestellung für Köln.xml", Some("Bestellung-fuer-Koeln")),
        ("two\nlines.xml", Some("two-lines")),
        ("-rf", Some("rf")),
        ("$(reboot);'\"\\*?.xml", Some("reboot")),
        ("日本語", Some("Ri-Ben-Yu")),
        ("..xml-", None),
        ("UPPER.XML", Some("UPPER")),
        ("20200229T235959.999Z-1.xml", Some("20200229T235959.999Z-1")),
        (&long, Some(&long[..64])),
    ];
    // The one that starts with a dot is hidden.
    let visible: Vec<_> = names.iter().filter(|n| !n.0.starts_with('.')).collect();
    for (name, _) in names {
        let prepared = outside(&daemon).join(name);
        fs::write(&prepared, name).unwrap();
        fs::rename(prepared, daemon.spool("queue/orders_out").join(name)).unwrap();
    }
    daemon.soon("all are taken in", || {
        daemon.queue("orders_out").len() == visible.len()
    });
    let mut unseen: Vec<_> = visible;
    for job in daemon.queue("orders_out") {
        let text = content(&daemon, &format!("queue/orders_out/{job}"));
        let at = unseen.iter().position(|(name, _)| *name == text).unwrap();
        let (name, reference) = unseen.remove(at);
        let end = match reference {
            Some(reference) => format!("-{reference}.xml"),
            None => ".xml".into(),
        };
        assert_eq!(&job[26..], end, "{name:?} became {job}");
    }
}

#[test]
fn names_from_work_and_deferred_become_natural() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    for (before, after) in [("", ".a3"), ("20300102T030405.678Z@", "")] {
        let job = daemon.upload_text(&order("1"), "?RefName=natural").job();
        let queued = daemon.spool(&format!("queue/orders_in/{job}"));
        let aside = outside(&daemon).join("aside");
        fs::rename(&queued, &aside).unwrap();
        assert_eq!(daemon.queue("orders_in"), [""; 0]);
        let dropped = format!("{before}{job}{after}");
        fs::rename(aside, daemon.spool(&format!("queue/orders_in/{dropped}"))).unwrap();
        daemon.soon(&dropped, || queued.exists());
        assert_eq!(daemon.queue("orders_in"), [&*job]);
        daemon.operator(&["rm", &job]);
    }
}

#[test]
fn a_replaced_queue_is_watched_anew() {
    let daemon = Daemon::start();
    let (queue, aside) = (
        daemon.spool("queue/orders_in"),
        outside(&daemon).join("orders_in"),
    );
    for round in 0..3 {
        let aside = aside.with_extension(round.to_string());
        fs::rename(&queue, &aside).unwrap();
        // The server may have been quicker.
        fs::create_dir_all(&queue).unwrap();
        sentinel(&daemon, &format!("anew-{round}"));
        sentinel(&daemon, &format!("watched-{round}"));
        // The old directory is no one's queue any more.
        fs::write(aside.join("lost.xml"), order("lost")).unwrap();
        sentinel(&daemon, &format!("after-{round}"));
        assert!(aside.join("lost.xml").exists());
    }
}

#[test]
fn a_queue_that_was_taken_away_is_made_anew() {
    let daemon = Daemon::start();
    for (round, gone) in ["queue/orders_in", "queue"].into_iter().enumerate() {
        fs::remove_dir_all(daemon.spool(gone)).unwrap();
        daemon.soon(gone, || daemon.spool("queue/orders_in").is_dir());
        let job = daemon.upload_text(&order("1"), "").job();
        daemon.wait_for_place(&job, "bak/orders_in");
        sentinel(&daemon, &format!("dropped-{round}"));
        sentinel(&daemon, &format!("again-{round}"));
    }
}

#[test]
fn a_burst_that_overflows_the_watcher_is_listed_completely() {
    if !has_job_files() {
        return;
    }
    const FILES: usize = 20_000;
    let daemon = Daemon::start();
    let dir = outside(&daemon);
    for n in 0..FILES {
        fs::write(dir.join(n.to_string()), "<ListOfOrders/>").unwrap();
    }
    let moved = |from: &str, to: &str| fs::rename(dir.join(from), daemon.spool(to)).unwrap();
    fs::write(dir.join("last"), order("last")).unwrap();
    // While the server stands still, the kernel's queue of events runs over.
    daemon.signal(rustix::process::Signal::STOP);
    for n in 0..FILES {
        moved(&n.to_string(), &format!("queue/orders_out/burst-{n}.xml"));
    }
    // The event of this one is lost.
    moved("last", "queue/persons_out/last.xml");
    daemon.signal(rustix::process::Signal::CONT);
    daemon.soon("the last is taken in", || {
        daemon.queue("persons_out").len() == 1
    });
    daemon.soon("all are taken in", || {
        fs::read_dir(daemon.spool("queue/orders_out"))
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().as_bytes().starts_with(b"burst"))
    });
    let listed = daemon.queue("orders_out");
    let distinct: BTreeSet<&str> = (listed.iter())
        .map(|job| job.split_once("burst-").unwrap().1)
        .collect();
    assert_eq!((listed.len(), distinct.len()), (FILES, FILES));
}

#[test]
fn the_listing_agrees_with_the_directory_whatever_operators_move() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let mut expected = Vec::new();
    for n in 0..20 {
        let job = old_name(n, "moved");
        let prepared = outside(&daemon).join(&job);
        fs::write(&prepared, order("moved")).unwrap();
        fs::rename(&prepared, daemon.spool(&format!("queue/orders_out/{job}"))).unwrap();
        expected.push(job);
        // At once, whether or not the watcher was quick.
        assert_eq!(daemon.queue("orders_out"), expected);
    }
    for n in [19, 7, 0] {
        let job = expected.remove(n);
        let out = outside(&daemon).join(&job);
        fs::rename(daemon.spool(&format!("queue/orders_out/{job}")), out).unwrap();
        assert_eq!(daemon.queue("orders_out"), expected);
        let answer = daemon.curl(&[&format!("/xml/jobstatus?Jobname={job}")]);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let job = &expected[3];
    let to = daemon.spool(&format!("bak/orders_out/{}", day(job)));
    fs::create_dir_all(&to).unwrap();
    let from = daemon.spool(&format!("queue/orders_out/{job}"));
    fs::rename(&from, to.join(job)).unwrap();
    assert_eq!(daemon.place(job), "bak/orders_out");
    fs::rename(to.join(job), &from).unwrap();
    assert_eq!(daemon.place(job), "queue/orders_out");
    assert_eq!(daemon.queue("orders_out"), expected);
}

#[test]
fn a_job_may_be_moved_to_another_queue() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    daemon.operator(&["hold", "orders_in"]);
    let job = daemon.upload_text(&order("1"), "").job();
    fs::rename(
        daemon.spool(&format!("queue/orders_in/{job}")),
        daemon.spool(&format!("queue/items_in/{job}")),
    )
    .unwrap();
    daemon.soon("it is processed there", || {
        daemon.place(&job) == "bak/items_in"
    });
    assert_eq!(daemon.messages(&job), ["moved by hand to queue/items_in"]);
    assert_eq!(daemon.queue("orders_in"), [""; 0]);
}

#[test]
fn a_copy_of_a_finished_job_runs_and_overwrites_nothing() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let job = daemon.upload_text(&order("first"), "?RefName=r").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    let [path] = daemon.files("bak").try_into().unwrap();
    let prepared = outside(&daemon).join(&job);
    fs::write(&prepared, order("second")).unwrap();
    fs::rename(prepared, daemon.spool(&format!("queue/orders_in/{job}"))).unwrap();
    daemon.soon("it is done as well", || daemon.files("bak").len() == 2);
    assert_eq!(content(&daemon, &path), order("first"));
    let other = archived(&daemon, "r.1").unwrap();
    assert_eq!(content(&daemon, &other), order("second"));
    assert!(
        daemon
            .messages(&job)
            .contains(&"moved by hand to queue/orders_in".into())
    );
}

#[test]
fn touch_holds_and_rm_releases() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let hold = daemon.spool("queue/orders_in/.hold");
    for round in ["one", "two"] {
        run("touch", &[hold.as_ref()]);
        let held = ["a", "b"].map(|reference| {
            let job = old_name(1, &format!("{round}-{reference}"));
            let prepared = outside(&daemon).join(&job);
            fs::write(&prepared, order(reference)).unwrap();
            fs::rename(prepared, daemon.spool(&format!("queue/orders_in/{job}"))).unwrap();
            job
        });
        // Another queue is not held; its job comes later and is done.
        let items = crate::harness::document("items_in/assortment.valid.xml");
        let other = daemon.upload(&items, "").job();
        daemon.wait_for_place(&other, "bak/items_in");
        assert_eq!(daemon.queue("orders_in"), held);
        let status = daemon.operator(&["status"]);
        assert!(status.contains("HELD"), "{status}");
        run("rm", &[hold.as_ref()]);
        for job in held {
            daemon.soon("released", || daemon.place(&job) == "bak/orders_in");
        }
    }
}

/// A processor that writes down the references of its jobs, in the order in which it is run.
fn in_turn(name: &str, ordered: bool) -> String {
    let script = crate::harness::shell("echo $SPOOLGATE_REF >> order.log", "");
    format!(
        "\n[interfaces.{name}]\ndirection = \"in\"\nschema = \"\"\nordered = {ordered}\n{script}\n"
    )
}

fn turns(daemon: &Daemon) -> Vec<String> {
    daemon
        .text("order.log")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Moves files of these names into a queue by one `mv`, which ends with an error when one that it has
/// moved is not there any more.
fn mv_all(daemon: &Daemon, names: &[String], interface: &str) {
    let mut files = Vec::new();
    // Made the other way round, so that the order of inodes or entries is no help.
    for name in names.iter().rev() {
        let path = outside(daemon).join(format!("{name}.xml"));
        fs::write(&path, order(name)).unwrap();
        files.push(path);
    }
    files.reverse();
    files.push(daemon.spool(&format!("queue/{interface}")));
    let arguments: Vec<&OsStr> = files.iter().map(|path| path.as_os_str()).collect();
    run("mv", &arguments);
}

#[test]
fn many_files_of_one_mv_are_worked_on_in_order_and_mv_finds_them_all() {
    const FILES: usize = 300;
    let mut daemon = Daemon::start_with(|text| text + &in_turn("turns", true));
    let names =
        |round: &str| -> Vec<String> { (0..FILES).map(|n| format!("{round}{n:03}")).collect() };
    let (up, down) = (names("up"), names("down"));
    mv_all(&daemon, &up, "turns");
    daemon.wait("they are done", || turns(&daemon).len() == FILES);
    assert_eq!(turns(&daemon), up);
    daemon.stop();
    mv_all(&daemon, &down, "turns");
    daemon.serve();
    daemon.wait("they are done too", || turns(&daemon).len() == 2 * FILES);
    assert_eq!(turns(&daemon), [up, down].concat());
}

#[test]
fn temporary_names_can_be_chosen() {
    let names = "temporary_names = [\"*.halb\", \"vor-*\"]\nprocessor = { archive = true }";
    let edit = |text: String| crate::harness::with_keys(&text, "orders_in", names);
    let daemon = Daemon::start_with(edit);
    for name in ["x.HALB", "vor-y.xml", ".z.part"] {
        fs::write(
            daemon.spool(&format!("queue/orders_in/{name}")),
            order(name),
        )
        .unwrap();
    }
    // No longer one of them.
    fs::write(daemon.spool("queue/orders_in/whole.part"), order("whole")).unwrap();
    daemon.soon("whole.part", || archived(&daemon, "whole.part").is_some());
    sentinel(&daemon, "last");
    assert_eq!(daemon.files("bak").len(), 2);
    let bad = Daemon::init();
    let all = "temporary_names = [\"*\"]\nprocessor = { archive = true }";
    bad.configure(|text| crate::harness::with_keys(&text, "orders_in", all));
    let refused = bad.spoolgate(&["check"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let key = "interfaces.orders_in.temporary_names";
    assert!(said.contains(key) && said.contains("*.part"), "{said}");
}

/// An account that is not root's and owns nothing here.
const SERVICE: u32 = 64_207;

/// A service without the capability for leases, whom root brings files.
fn unprivileged(more: &str) -> Option<Daemon> {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text + more);
    if !daemon.give_to(SERVICE) {
        return None;
    }
    daemon.serve_as(SERVICE);
    Some(daemon)
}

#[test]
fn without_leases_the_writers_close_is_waited_for() {
    let Some(daemon) = unprivileged("") else {
        return;
    };
    let text = order("slow");
    let (first, second) = text.split_at(20);
    let path = daemon.spool("queue/orders_in/slow.xml");
    let mut writer = SlowWriter::open(&path);
    writer.write(first);
    for round in 0..3 {
        // A file that is complete is not kept waiting.
        sentinel(&daemon, &format!("beside-{round}"));
        assert!(path.exists() && archived(&daemon, "slow").is_none());
    }
    writer.write(second);
    writer.close();
    daemon.soon("closed", || archived(&daemon, "slow").is_some());
    assert_eq!(content(&daemon, &archived(&daemon, "slow").unwrap()), text);
    let warned = daemon.log().matches("without CAP_LEASE").count();
    assert_eq!(warned, 1, "{}", daemon.log());
}

#[test]
fn a_file_becomes_a_job_once_it_is_made_readable() {
    let Some(daemon) = unprivileged("") else {
        return;
    };
    let path = daemon.spool("queue/orders_in/later.xml");
    let prepared = outside(&daemon).join("later.xml");
    fs::write(&prepared, order("later")).unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    fs::set_permissions(&prepared, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(prepared, &path).unwrap();
    let said = || {
        let log = daemon.log();
        let of = |line: &&str| line.contains("later.xml") && line.contains("cannot be read");
        log.lines().filter(of).count()
    };
    daemon.soon("it is reported", || said() == 1);
    sentinel(&daemon, "first");
    sentinel(&daemon, "second");
    assert_eq!(said(), 1);
    mode(0o200);
    daemon.soon("it has changed and is as bad", || said() == 2);
    mode(0o644);
    daemon.soon("it is readable", || archived(&daemon, "later").is_some());
}

/// What lay there before the service started may be half a file: no one has seen it closed. Those
/// that came later wait for it where the order counts.
#[test]
fn what_nobody_saw_closed_has_to_be_quiet_for_long() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text + &in_turn("turns", true) + &in_turn("any", false));
    let drop = |daemon: &Daemon, name: &str, interface: &str| {
        let prepared = outside(daemon).join(name);
        fs::write(&prepared, order(name)).unwrap();
        let path = daemon.spool(&format!("queue/{interface}/{name}-{interface}.xml"));
        fs::rename(prepared, path).unwrap();
    };
    for interface in ["turns", "any"] {
        fs::create_dir_all(daemon.spool(&format!("queue/{interface}"))).unwrap();
    }
    if !daemon.give_to(SERVICE) {
        return;
    }
    ["turns", "any"]
        .iter()
        .for_each(|interface| drop(&daemon, "before", interface));
    daemon.serve_as(SERVICE);
    ["turns", "any"]
        .iter()
        .for_each(|interface| drop(&daemon, "after", interface));
    daemon.wait("all are done", || turns(&daemon).len() == 4);
    let turns = turns(&daemon);
    let at = |name: &str| turns.iter().position(|turn| turn == name).unwrap();
    assert!(at("before-turns") < at("after-turns"), "{turns:?}");
    assert_eq!(at("after-any"), 0, "{turns:?}");
}

#[test]
fn a_queue_that_became_a_link_is_reported_once_and_the_others_go_on() {
    if !has_job_files() {
        return;
    }
    let daemon = Daemon::start();
    let elsewhere = outside(&daemon).join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("mine.xml"), order("mine")).unwrap();
    let queue = daemon.spool("queue/items_in");
    while symlink(&elsewhere, &queue).is_err() {
        // The server was quicker and has made it anew.
        let _ = fs::remove_dir(&queue);
    }
    let said = |what: &str| daemon.log().matches(what).count();
    daemon.soon("it is reported", || said("nothing is taken from here") >= 1);
    let items = crate::harness::document("items_in/assortment.valid.xml");
    assert_eq!(daemon.upload(&items, "").status, 503);
    sentinel(&daemon, "first");
    sentinel(&daemon, "second");
    fs::write(elsewhere.join("another.xml"), order("another")).unwrap();
    sentinel(&daemon, "third");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 2);
    assert_eq!(said("nothing is taken from here"), 1, "{}", daemon.log());
    assert_eq!(said("the queue cannot be scanned"), 1, "{}", daemon.log());
    fs::remove_file(&queue).unwrap();
    fs::create_dir_all(&queue).unwrap();
    daemon.soon("it is a queue again", || said("is watched again") == 1);
    let job = daemon.upload(&items, "").job();
    daemon.wait_for_place(&job, "bak/items_in");
    let path = queue.join("back.xml");
    fs::write(&path, fs::read(&items).unwrap()).unwrap();
    daemon.soon("it is watched", || !path.exists());
}

/// In a directory like `/tmp`, where no one takes away what is another's.
#[test]
fn what_cannot_be_taken_away_becomes_no_job() {
    let Some(daemon) = unprivileged("") else {
        return;
    };
    let queue = daemon.spool("queue/orders_in");
    std::os::unix::fs::chown(&queue, Some(0), None).unwrap();
    let mode = |mode| fs::set_permissions(&queue, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o1777);
    let prepared = outside(&daemon).join("sticky.xml");
    fs::write(&prepared, order("sticky")).unwrap();
    fs::rename(prepared, queue.join("sticky.xml")).unwrap();
    let said = || {
        let log = daemon.log();
        log.lines()
            .filter(|line| line.contains("cannot take away"))
            .count()
    };
    daemon.soon("it is reported", || said() == 1);
    for round in 0..3 {
        // Each hold and its end wake a scan.
        daemon.operator(&["hold", "orders_in"]);
        daemon.operator(&["release", "orders_in"]);
        let job = daemon.upload_text(&order(&round.to_string()), "").job();
        daemon.wait_for_place(&job, "bak/orders_in");
    }
    assert_eq!(
        (said(), daemon.files("bak").len()),
        (1, 3),
        "{}",
        daemon.log()
    );
    mode(0o777);
    daemon.soon("it is taken in", || archived(&daemon, "sticky").is_some());
    assert_eq!(daemon.files("bak").len(), 4);
}
