//! Jobs for single users, on a real disk: dropped, emitted, moved by hand, sent again.

use super::super::{Claim, Moved, testing::TestSpool};
use super::*;
use crate::domain::Kind;
use crate::store::fs::PlacePath;
use crate::store::{By, Fate, NewJob, Settlement};
use std::{fs, sync::Arc};

struct Bench {
    dir: tempfile::TempDir,
    spool: Arc<Spool>,
}

fn name(interface: &str) -> InterfaceName {
    interface.parse().unwrap()
}

fn queue(queue: &str) -> Queue {
    queue.parse().unwrap()
}

fn open(dir: &Path) -> Arc<Spool> {
    let spool = TestSpool::at(dir)
        .interface("in")
        .interface_with("out", |rules| rules.drops.addressed = true)
        .interface("shared")
        .clock(|| jiff::Timestamp::now().as_millisecond());
    let spool = spool.journal().open().unwrap();
    spool.recover().unwrap();
    spool.start_journal();
    spool.know_users(|user| ["ada", "bob"].contains(&user.as_str()));
    spool
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path());
        Self { dir, spool }
    }

    fn restart(&mut self) {
        self.spool.close_journal();
        self.spool = open(self.dir.path());
    }

    fn put(&self, path: &str) {
        let path = self.dir.path().join("queue").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "<a/>").unwrap();
    }

    /// What scans find until one takes something in.
    fn arrived(&self) -> Vec<Job> {
        crate::util::until::blocking("what was dropped", || {
            let scan = self.spool.scan(&name("out")).unwrap();
            let arrived: Vec<Job> = scan.arrived.into_iter().map(|came| came.job).collect();
            (!arrived.is_empty()).then_some(arrived)
        })
    }

    /// A job of this submitter that a command is about to work on.
    fn begin(&self, submitter: &str) -> Claim {
        let job = JobName::new(self.spool.next_id(), None, Kind::Xml);
        let mut part = self.spool.begin(job).unwrap();
        part.write(b"<a/>").unwrap();
        let sealed = part.seal(&NewJob {
            submitter: submitter.into(),
            ..NewJob::default()
        });
        let sealed = self.spool.enqueue(sealed.unwrap(), &name("in"), None);
        let (job, ticket) = sealed.unwrap();
        self.spool.wait(ticket).unwrap();
        let claim = self.spool.claim(&name("in"), &job.name).unwrap();
        let mut claim = claim.unwrap();
        claim.prepare().unwrap();
        claim.begin();
        claim
    }

    fn emit(&self, claim: &Claim, path: &str) {
        let path = self
            .dir
            .path()
            .join(claim.run_dir())
            .join("emit")
            .join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "<a/>").unwrap();
    }

    fn addressee(&self, job: &Job) -> Option<String> {
        let user = self.spool.addressee_of(job).unwrap();
        user.map(|user| user.to_string())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.spool.close_journal();
    }
}

#[test]
fn what_is_emitted_is_for_the_named_user_or_for_the_parents_submitter() {
    let bench = Bench::new();
    for (path, to) in [
        ("out/x.xml", "out/@ada"),
        ("out/@bob/x.xml", "out/@bob"),
        ("shared/x.xml", "shared"),
    ] {
        let mut claim = bench.begin("ada");
        bench.emit(&claim, path);
        assert_eq!(claim.check_output().unwrap(), None);
        assert_eq!(claim.check_document().unwrap(), Fate::Whole);
        let emitted = claim.settle(Settlement::Done, None).unwrap().emitted;
        let [job] = &emitted[..] else {
            panic!("{emitted:?}");
        };
        assert_eq!(job.place, Place::Queue(queue(to)));
        assert!(bench.dir.path().join(job.place.path(&job.name)).exists());
        let listed = bench.spool.list(&queue(to).interface).unwrap();
        assert!(listed.contains(job), "{listed:?}");
    }
}

#[test]
fn what_is_emitted_to_nobody_fails_the_job() {
    let bench = Bench::new();
    for (submitter, path, words) in [
        ("ada", "out/@nobody/x.xml", "out/@nobody, which is no user"),
        ("ada", "out/@/x.xml", "out/@, which is no user"),
        ("ada", "shared/@bob/x.xml", "not for single users"),
        ("uid 7", "out/x.xml", "the submitter \"uid 7\" is none"),
        ("gone", "out/x.xml", "emit to out/@USER"),
        ("ada", "out/@bob/more/x.xml", "not a plain file"),
        ("ada", "out/bob/x.xml", "not a plain file"),
    ] {
        let mut claim = bench.begin(submitter);
        bench.emit(&claim, "out/@ada/good.xml");
        bench.emit(&claim, path);
        let wrong = claim.check_output().unwrap_err().to_string();
        assert!(wrong.contains(words), "{path}: {wrong}");
        claim.settle(Settlement::Failed, None).unwrap();
    }
    assert_eq!(bench.spool.list(&name("out")).unwrap(), []);
    let made = bench.dir.path().join("queue/out/@nobody");
    assert!(!made.exists());
}

#[test]
fn a_file_is_for_the_user_in_whose_directory_it_was_dropped() {
    let bench = Bench::new();
    bench.put("out/@ada/order.xml");
    bench.put("out/beside.xml");
    bench.put("out/@nobody/x.xml");
    bench.put("out/notes/x.xml");
    bench.put("out/.hidden");
    bench.put("out/half.part");
    fs::create_dir(bench.dir.path().join("queue/out/@gone")).unwrap();
    let arrived = bench.arrived();
    let [job] = &arrived[..] else {
        panic!("{arrived:?}");
    };
    assert_eq!(job.place, Place::Queue(queue("out/@ada")));
    assert_eq!(bench.spool.list(&name("out")).unwrap(), arrived);
    assert_eq!(bench.spool.ready_jobs(&name("out")), 1);
    let first = bench.spool.first_words(job).unwrap();
    assert_eq!(
        first.text,
        "taken in from queue/out, where it was dropped as order.xml"
    );
    let astray = bench.spool.astray(&name("out")).unwrap();
    let paths: Vec<&str> = astray.iter().map(|a| a.path.to_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "queue/out/@nobody",
            "queue/out/beside.xml",
            "queue/out/notes"
        ]
    );
    assert!(astray[0].why.contains("there is no user nobody"));
    assert!(astray[1].why.contains("directory @USER"));
    for path in ["beside.xml", "@nobody/x.xml", "notes/x.xml"] {
        let path = bench.dir.path().join("queue/out").join(path);
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn a_job_that_lies_beside_is_found_by_its_name_and_not_listed() {
    let bench = Bench::new();
    let job = JobName::new(bench.spool.next_id(), None, Kind::Xml);
    bench.put(&format!("out/{job}"));
    let place = bench.spool.find(&job).unwrap().unwrap();
    assert!(bench.spool.is_astray(&place));
    let found = Job { place, name: job };
    let why = bench.spool.why_astray(&found).unwrap();
    assert!(
        why.contains("it lies beside") && why.contains("--to out/@USER"),
        "{why}"
    );
    assert_eq!(bench.spool.list(&name("out")).unwrap(), []);
    assert!(bench.spool.scan(&name("out")).unwrap().ready.is_empty());
    let moved = bench
        .spool
        .requeue(&found, &queue("out/@bob"), &By::operator("olga"));
    assert!(matches!(moved, Ok(Moved::Done(_))), "{moved:?}");
    assert_eq!(bench.spool.list(&name("out")).unwrap().len(), 1);
}

/// Also after a restart: what is fetched is archived flat, and the record says for whom it was.
#[test]
fn the_last_user_for_whom_a_job_was_is_known() {
    let mut bench = Bench::new();
    bench.put("out/@ada/order.xml");
    let job = bench.arrived().pop().unwrap();
    assert_eq!(bench.addressee(&job), Some("ada".into()));
    let to = Place::Queue(queue("out/@bob"));
    bench.spool.make_queue(&queue("out/@bob")).unwrap();
    let [from, path] = [&job.place, &to].map(|p| bench.dir.path().join(p.path(&job.name)));
    fs::rename(from, path).unwrap();
    // Nobody has seen it when it is fetched.
    let job = Job { place: to, ..job };
    assert_eq!(bench.addressee(&job), Some("bob".into()));
    let Moved::Done(fetched) = bench.spool.archive(&job, &By::operator("bob")).unwrap() else {
        panic!("it is gone");
    };
    let day = fetched.name.day();
    let flat = format!("bak/out/{day}/{}", fetched.name);
    assert!(bench.dir.path().join(flat).exists());
    for _ in 0..2 {
        assert_eq!(bench.addressee(&fetched), Some("bob".into()));
        let all = bench
            .spool
            .addressees_of_all(std::slice::from_ref(&fetched));
        assert_eq!(all.unwrap()[&fetched.name.id()].as_str(), "bob");
        bench.restart();
    }
    bench
        .spool
        .requeue(&fetched, &queue("out/@ada"), &By::operator("olga"))
        .unwrap();
    let place = bench.spool.find(&fetched.name).unwrap().unwrap();
    let job = Job { place, ..fetched };
    let Moved::Done(fetched) = bench.spool.archive(&job, &By::operator("ada")).unwrap() else {
        panic!("it is gone");
    };
    bench.restart();
    assert_eq!(bench.addressee(&fetched), Some("ada".into()));
}

#[test]
fn a_copy_for_another_user_is_another_job() {
    let bench = Bench::new();
    bench.put("out/@ada/order.xml");
    let job = bench.arrived().pop().unwrap();
    bench.put(&format!("out/@bob/{}", job.name));
    let copy = bench.arrived().pop().unwrap();
    assert_eq!(copy.place, Place::Queue(queue("out/@bob")));
    assert_ne!(copy.name, job.name);
    for job in [job, copy] {
        assert_eq!(bench.spool.find(&job.name).unwrap(), Some(job.place));
    }
}

#[test]
fn no_link_is_a_users_directory() {
    let bench = Bench::new();
    let out = bench.dir.path().join("queue/out");
    fs::create_dir(bench.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", out.join("@ada")).unwrap();
    assert!(bench.spool.make_queue(&queue("out/@ada")).is_err());
    assert_eq!(bench.spool.queues(&name("out")).unwrap(), [queue("out")]);
    let astray = bench.spool.astray(&name("out")).unwrap();
    assert_eq!(astray.len(), 1);
}
