//! What does not fit is found, and what the life of a job explains is not.

use super::super::{RealFs, Retention, testing::TestSpool};
use super::*;
use crate::{
    domain::{InterfaceName, Job, JobName, Kind, Place},
    store::{By, NewJob, Settlement, fs::PlacePath},
};
use std::{fs, sync::Arc};
use tempfile::TempDir;

struct Bench {
    spool: Arc<Spool<RealFs>>,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::of(TempDir::new().unwrap())
    }

    fn of(dir: TempDir) -> Self {
        let spool = TestSpool::at(dir.path()).interface("a").interface("b");
        let spool = spool.ticking().journal().open().unwrap();
        spool.recover().unwrap();
        Self { spool, dir }
    }

    fn accept(&self) -> Job {
        let name = JobName::new(self.spool.next_id(), None, Kind::Xml);
        let mut part = self.spool.begin(name).unwrap();
        part.write(b"<order/>").unwrap();
        let sealed = part.seal(&NewJob {
            submitter: "ada".into(),
            ..NewJob::default()
        });
        let enqueued = self.spool.enqueue(sealed.unwrap(), &interface(), None);
        let (job, ticket) = enqueued.unwrap();
        self.spool.wait(ticket).unwrap();
        self.spool.arrived(&job.name);
        job
    }

    /// Works on a job, which is done then, with a result.
    fn end(&self, job: &Job) -> Job {
        let mut claim = self.spool.claim(&interface(), &job.name).unwrap().unwrap();
        claim.prepare().unwrap();
        let file = self
            .spool
            .fs()
            .create(&claim.run_dir().join("results/r.txt"));
        self.spool.fs().write(&file.unwrap(), b"made").unwrap();
        claim.check_output().unwrap();
        let log = self.spool.log_without_run(job, 1, Vec::new());
        claim.settle(Settlement::Done, Some(log)).unwrap();
        Job {
            place: Place::Bak(interface()),
            name: job.name.clone(),
        }
    }

    fn path(&self, job: &Job) -> PathBuf {
        self.dir.path().join(job.place.path(&job.name))
    }

    /// What is found, by two looks, and of which jobs.
    fn flaws(&self) -> Vec<(FlawKind, Option<JobName>)> {
        let none = HashSet::new();
        let (_, suspects) = self.spool.check(&none, &CheckProgress::default()).unwrap();
        let still = self.spool.suspects_still(&none, &suspects).unwrap();
        assert_eq!(still.len(), suspects.len(), "nothing moves meanwhile");
        let flaws = still.into_iter().map(|suspect| suspect.flaw);
        flaws.map(|flaw| (flaw.kind, flaw.job)).collect()
    }
}

fn interface() -> InterfaceName {
    "a".parse().unwrap()
}

#[test]
fn each_thing_that_does_not_fit_is_found_by_its_name() {
    let bench = Bench::new();
    let done = bench.accept();
    let done = bench.end(&done);
    let waiting = bench.accept();
    assert_eq!(bench.flaws(), []);
    let of = |kind, job: &Job| vec![(kind, Some(job.name.clone()))];

    // Of the same size, of another one, and as it was.
    let path = bench.path(&done);
    for bytes in ["<ordes/>", "<order></order>"] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(bench.flaws(), of(FlawKind::Altered, &done), "{bytes}");
    }
    fs::write(&path, "<order/>").unwrap();
    assert_eq!(bench.flaws(), []);

    let copy = bench.dir.path().join("queue/b").join(done.name.to_string());
    fs::copy(&path, &copy).unwrap();
    assert_eq!(bench.flaws(), of(FlawKind::Doubled, &done));
    fs::remove_file(&copy).unwrap();

    let aside = bench.dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert_eq!(bench.flaws(), of(FlawKind::Lost, &done));
    fs::rename(&aside, &path).unwrap();
    fs::rename(bench.path(&waiting), &aside).unwrap();
    assert_eq!(bench.flaws(), of(FlawKind::Lost, &waiting));
    fs::rename(&aside, bench.path(&waiting)).unwrap();

    let stranger = JobName::new(bench.spool.next_id(), None, Kind::Xml);
    let results = bench.dir.path().join("results").join(stranger.day());
    fs::create_dir_all(results.join(stranger.to_string())).unwrap();
    let found = vec![(FlawKind::Results, Some(stranger.clone()))];
    assert_eq!(bench.flaws(), found);
    let brought = bench.dir.path().join("queue/a").join(stranger.to_string());
    fs::write(&brought, "<order/>").unwrap();
    let found = vec![(FlawKind::Unrecorded, Some(stranger))];
    assert_eq!(bench.flaws(), found);
    fs::remove_dir_all(results.join(brought.file_name().unwrap())).unwrap();
    fs::remove_file(&brought).unwrap();

    let record = format!("records/{}/ended.jsonl", done.name.day());
    let record = bench.dir.path().join(record);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, format!("{text}   \nwhat\n")).unwrap();
    assert_eq!(bench.flaws(), [(FlawKind::Record, None)]);
}

#[test]
fn what_the_life_of_a_job_explains_is_no_flaw() {
    let bench = Bench::new();
    let olga = By::operator("olga");
    let jobs: Vec<Job> = (0..6).map(|_| bench.accept()).collect();
    let done = bench.end(&jobs[0]);
    let removed = bench.end(&jobs[1]);
    bench.spool.remove(&removed, &olga).unwrap();
    // By other hands: to another interface, beside the days, among the deferred without a moment.
    let by_hand = |job: &Job, to: &str| {
        let to = bench.dir.path().join(to).join(job.name.to_string());
        fs::rename(bench.path(job), to).unwrap();
    };
    by_hand(&jobs[2], "queue/b");
    by_hand(&jobs[3], "joberrors");
    by_hand(&jobs[4], "deferred/a");
    by_hand(&done, "bak/b");
    let _run = bench
        .spool
        .claim(&interface(), &jobs[5].name)
        .unwrap()
        .unwrap();
    // What is no job yet, or is on its way.
    fs::write(bench.dir.path().join("queue/a/new.xml"), "<order/>").unwrap();
    fs::write(bench.dir.path().join("tmp/x.part"), "<ord").unwrap();
    assert_eq!(bench.flaws(), []);
}

#[test]
fn what_was_kept_for_long_enough_is_not_missed() {
    let old = Retention {
        bak_days: Some(3),
        joberrors_days: Some(9),
        ..Retention::default()
    };
    let bench = Bench::new();
    let done = bench.accept();
    let done = bench.end(&done);
    let waiting = bench.accept();
    for job in [&done, &waiting] {
        fs::remove_file(bench.path(job)).unwrap();
    }
    let at = |days: i64, retention: &Retention| {
        let now_ms = waiting.name.id().unix_ms() + days * 24 * 60 * 60 * 1000;
        let disk = RealFs::new(bench.dir.path());
        let spool = Spool::existing(disk, BTreeMap::new(), Box::new(move || now_ms));
        let spool = spool.with_retention(retention.clone());
        let none = HashSet::new();
        spool
            .check(&none, &CheckProgress::default())
            .unwrap()
            .1
            .len()
    };
    assert_eq!(at(30, &Retention::default()), 2);
    assert_eq!(at(2, &old), 2);
    assert_eq!(at(5, &old), 0);
    // It has ended elsewhere than what is kept for a short time.
    let other = Retention {
        bak_days: None,
        ..old
    };
    assert_eq!(at(5, &other), 2);
    assert_eq!(at(30, &other), 1);
}

#[test]
fn what_the_next_start_puts_right_is_no_flaw() {
    let bench = Bench::new();
    let job = bench.accept();
    fs::remove_file(bench.path(&job)).unwrap();
    assert_eq!(bench.flaws(), [(FlawKind::Lost, Some(job.name.clone()))]);
    let to_replay = bench.spool.jobs_to_replay().unwrap();
    assert_eq!(to_replay, HashSet::from([job.name.id().get()]));
    let (jobs, suspects) = (bench.spool.check(&to_replay, &CheckProgress::default())).unwrap();
    assert_eq!((jobs, suspects.len()), (0, 0));
}
