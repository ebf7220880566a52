//! The crash test: a day in the life of a spool, stopped at every file operation in turn, and
//! rebooted to every image that the disk could show. What was acknowledged must be found, whole,
//! in exactly one place, and what was settled must stay settled.

use super::{
    Accepted, Act, Ended, FaultInjection, Fs, Key, Keyed, Moved, Spool, SpoolError,
    crash_fs::{CrashFs, IMAGES, Image},
    testing::{START_MS, TestSpool},
};
use crate::store::Settlement;
use crate::store::fs::PlacePath;
use crate::store::{
    By, NewJob,
    audit::{Chain, Deed, Entry},
    events::{EventEnd, EventKind, EventLine, Recorded},
};
use crate::{
    domain::joblog::{JobLog, Status},
    domain::{Ids, InterfaceName, Job, JobName, Kind, Place},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// So small that the segments take turns within a day.
const SEGMENT_BYTES: u64 = 16 * 1024;

fn interface(name: &str) -> InterfaceName {
    name.parse().unwrap()
}

/// A start of the service on this disk.
fn open(fs: CrashFs, at_most_once: bool) -> Result<Arc<Spool<CrashFs>>, SpoolError> {
    start(fs, at_most_once, FaultInjection::None)
}

fn start(
    fs: CrashFs,
    at_most_once: bool,
    injected: FaultInjection,
) -> Result<Arc<Spool<CrashFs>>, SpoolError> {
    TestSpool::on(fs)
        .interface_with("a", |rules| rules.at_most_once = at_most_once)
        .interface_with("out", |rules| rules.at_most_once = at_most_once)
        .interface_with("users", |rules| {
            rules.at_most_once = at_most_once;
            rules.drops.addressed = true;
        })
        .receiver("erp", None)
        .ticking()
        .injected(injected)
        .journal_of(SEGMENT_BYTES)
        .open()
}

/// Too large to be in the journal whole.
fn large() -> String {
    "large".repeat(super::INLINE_BYTES_MAX / 5 + 1)
}

/// What a partner or an operator has been told.
#[derive(Default)]
struct Told {
    /// Acknowledged jobs with their bytes, and whether they may be only at these places.
    jobs: BTreeMap<JobName, (Vec<u8>, Known)>,
    /// A command was started for the job.
    runs: BTreeMap<JobName, u32>,
    /// Records of the audit.
    audited: u64,
    /// Acknowledged jobs that were to be removed, and whether that was told to be done.
    removed: BTreeMap<JobName, bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// Not yet settled, as far as a caller was told.
    Accepted,
    Cancelled,
    Done,
    Failed,
    Refused,
}

fn log(job: &JobName, status: Status) -> JobLog {
    JobLog {
        job: job.clone(),
        interface: Some(interface("a")),
        status,
        received_ms: job.id().unix_ms(),
        started_ms: None,
        finished_ms: START_MS,
        attempts: 1,
        bytes: 0,
        sha256: None,
        messages: Vec::new(),
    }
}

impl Told {
    fn know(&mut self, job: &JobName, known: Known) {
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.1 = known;
        }
    }

    fn accept(&mut self, spool: &Arc<Spool<CrashFs>>, text: &str) -> Result<JobName, SpoolError> {
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let mut part = spool.begin(name.clone())?;
        part.write(text.as_bytes())?;
        let key = Key::new("shop", text);
        let record = Keyed {
            job: name.clone(),
            interface: Some("a".parse().unwrap()),
            sha256: part.sha256(),
            bytes: part.bytes(),
            refused: text.starts_with("bad"),
        };
        let sealed = part.seal(&NewJob::default())?;
        let keyed = Some((&key, &record));
        let ((_, ticket), known) = if record.refused {
            let log = log(&name, Status::Error);
            (spool.refuse(sealed, log, keyed)?, Known::Refused)
        } else {
            (
                spool.enqueue(sealed, &interface("a"), keyed)?,
                Known::Accepted,
            )
        };
        spool.wait(ticket)?;
        spool.arrived(&name);
        self.jobs.insert(name.clone(), (text.into(), known));
        Ok(name)
    }

    fn run(
        &mut self,
        spool: &Arc<Spool<CrashFs>>,
        job: &JobName,
        what: Settlement,
    ) -> Result<Vec<Job>, SpoolError> {
        let mut claim = spool
            .claim(&interface("a"), job)?
            .expect("the job is queued");
        claim.prepare()?;
        *self.runs.entry(job.clone()).or_default() += 1;
        if what == Settlement::Done {
            for dir in ["emit/out", "emit/users", "emit/users/@shop"] {
                let made = spool.fs().make_dir(&claim.run_dir().join(dir));
                made.map_err(super::wrap("make", Path::new("")))?;
            }
            for file in [
                "results/r.txt",
                "emit/out/new.xml",
                "emit/users/@shop/new.xml",
            ] {
                let file = spool.fs().create(&claim.run_dir().join(file));
                let file = file.map_err(super::wrap("create", Path::new("")))?;
                let written = spool.fs().write(&file, b"made");
                written.map_err(super::wrap("write", Path::new("")))?;
            }
            claim.check_output()?;
        }
        let published = claim.settle(what, Some(log(job, Status::Ok)))?;
        let known = match what {
            Settlement::Done => Known::Done,
            Settlement::Failed => Known::Failed,
            Settlement::Deferred { .. } | Settlement::GivenBack => Known::Accepted,
        };
        self.know(job, known);
        for job in &published.emitted {
            let body = (b"made".to_vec(), Known::Accepted);
            self.jobs.insert(job.name.clone(), body);
        }
        Ok(published.emitted)
    }

    fn audit(&mut self, spool: &Arc<Spool<CrashFs>>, act: &str) -> Result<(), SpoolError> {
        let deed = Deed::new(act, &By::operator("operator"));
        let (number, ticket) = spool.audit(&Entry::Begun(deed.into()))?;
        spool.wait(ticket)?;
        self.audited = number;
        Ok(())
    }

    fn cancel(&mut self, spool: &Arc<Spool<CrashFs>>, names: &[JobName]) -> Result<(), SpoolError> {
        let mut jobs = Vec::new();
        for name in names {
            let place = spool.find(name)?.expect("the job is there");
            let name = name.clone();
            jobs.push(Job { place, name });
        }
        let mut cancelled = Ok(());
        for (moved, job) in (spool.cancel_all(&jobs, &By::operator("olga")).into_iter()).zip(&jobs)
        {
            match moved {
                Ok(moved) => {
                    assert!(matches!(moved, Moved::Done(_)), "{job:?}");
                    self.know(&job.name, Known::Cancelled);
                }
                Err(error) => cancelled = Err(error),
            }
        }
        cancelled
    }

    /// Removes jobs that wait.
    fn remove(&mut self, spool: &Arc<Spool<CrashFs>>, names: &[JobName]) -> Result<(), SpoolError> {
        let jobs: Vec<Job> = (names.iter().cloned())
            .map(|name| Job {
                place: Place::Queue(interface("a").into()),
                name,
            })
            .collect();
        for name in names {
            // It may be gone from here on.
            self.jobs.remove(name);
            self.removed.insert(name.clone(), false);
        }
        let removed = spool.remove_all(&jobs, &By::operator("olga"));
        for (name, removed) in names.iter().zip(removed) {
            removed?;
            self.removed.insert(name.clone(), true);
        }
        Ok(())
    }

    fn day(&mut self, spool: &Arc<Spool<CrashFs>>) -> Result<(), SpoolError> {
        spool.recover()?;
        let first = self.accept(spool, "first")?;
        let second = self.accept(spool, "second")?;
        self.accept(spool, &large())?;
        self.accept(spool, "bad")?;
        let emitted = self.run(spool, &first, Settlement::Done)?;
        let due_ms = START_MS + 60_000;
        self.run(spool, &second, Settlement::Deferred { due_ms })?;
        let place = Place::Deferred {
            interface: interface("a"),
            due_ms,
        };
        let name = second.clone();
        spool.release_due(&Job { place, name })?;
        self.run(spool, &second, Settlement::Failed)?;
        for job in &emitted {
            spool.archive(job, &By::operator("shop"))?;
            self.know(&job.name, Known::Done);
        }
        let third = self.accept(spool, "third")?;
        self.run(spool, &third, Settlement::Failed)?;
        let failed = [&second, &third].map(|name| Job {
            place: Place::JobErrors,
            name: name.clone(),
        });
        let jobs = failed.map(|job| (job, interface("a").into()));
        // From here on the jobs may be in either place until we are told.
        self.know(&second, Known::Accepted);
        self.know(&third, Known::Accepted);
        self.audit(spool, "requeue")?;
        for sent in spool.requeue_all(&jobs, &By::operator("operator")) {
            sent?;
        }
        self.run(spool, &second, Settlement::GivenBack)?;
        // It waits for its next attempt, and then in its queue.
        let deferred = self.accept(spool, "second")?;
        self.run(spool, &deferred, Settlement::Deferred { due_ms })?;
        let queued = self.accept(spool, "first")?;
        self.cancel(spool, &[deferred, queued])?;
        let removed = [self.accept(spool, "fourth")?, self.accept(spool, "fifth")?];
        self.remove(spool, &removed)?;
        self.accept(spool, "last")?;
        self.audit(spool, "hold")?;
        spool.close_journal();
        spool.healthy()
    }
}

/// Every place where a job of that name lies on the disk.
fn places(files: &BTreeMap<String, Vec<u8>>, job: &JobName) -> Vec<String> {
    let job = job.to_string();
    let states = ["queue/", "deferred/", "work/", "bak/", "joberrors/"];
    (files.keys())
        .filter(|path| states.iter().any(|state| path.starts_with(state)))
        .filter(|path| path.contains(&job))
        .cloned()
        .collect()
}

fn check(fs: CrashFs, told: &Told, context: &str) {
    check_as(fs, told, context, FaultInjection::None);
}

fn check_as(fs: CrashFs, told: &Told, context: &str, injected: FaultInjection) {
    let spool = start(fs.clone(), false, injected).unwrap();
    let recovery = spool.recover().unwrap_or_else(|e| panic!("{context}: {e}"));
    assert!(recovery.adopted.is_empty());
    let files = fs.files();
    for (job, (bytes, known)) in &told.jobs {
        let found = places(&files, job);
        assert_eq!(found.len(), 1, "{context}: {job} {known:?} is in {found:?}");
        assert_eq!(&files[&found[0]], bytes, "{context}: {job} is torn");
        let place = spool.find(job).unwrap();
        let place = place.unwrap_or_else(|| panic!("{context}: {job} is not found"));
        match known {
            Known::Accepted => {}
            Known::Done => assert!(
                matches!(place, Place::Bak(_)),
                "{context}: {job} in {place}"
            ),
            Known::Failed => assert_eq!(place, Place::JobErrors, "{context}: {job}"),
            Known::Refused => assert_eq!(place, Place::Refused, "{context}: {job}"),
            Known::Cancelled => {
                let name = job.clone();
                let cancelled = spool.was_cancelled(&Job { place, name });
                assert!(cancelled, "{context}: {job} is not cancelled");
            }
        }
        if *known != Known::Accepted && found[0].starts_with("bak/a") {
            assert!(spool.read_log(job).is_some(), "{context}: {job} has no log");
        }
    }
    for (job, is_told) in &told.removed {
        let found = places(&files, job);
        let kept = found.len() <= usize::from(!is_told);
        assert!(
            kept,
            "{context}: {job}, removed: {is_told}, is in {found:?}"
        );
    }
    for path in files.keys() {
        let state = path.split('/').next().unwrap();
        assert!(
            state != "tmp" && state != "work",
            "{context}: {path} is left"
        );
    }
    // Whatever is in a queue under a job's name was acknowledged, or was on its way to be.
    for interface in ["a", "out", "users"].map(interface) {
        for Job { name, .. } in spool.list(&interface).unwrap() {
            let bytes = &files[&places(&files, &name)[0]];
            let whole: [&[u8]; 7] = [
                b"first", b"second", b"third", b"fourth", b"fifth", b"last", b"made",
            ];
            assert!(
                whole.contains(&bytes.as_slice()) || *bytes == large().as_bytes(),
                "{context}: {name} is torn"
            );
        }
    }
    check_records(&files, told, context);
    check_audit(&files, told, context);
    check_events(&files, context);
    // A record without its job would answer a name that does not exist.
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("idem/")) {
        let record: crate::store::Keyed = serde_json::from_slice(bytes).unwrap();
        let found = spool.find(&record.job).unwrap();
        let is_removed = told.removed.contains_key(&record.job);
        assert!(
            found.is_some() || is_removed,
            "{context}: {path} has no {}",
            record.job
        );
    }
    // Names never repeat.
    let next = spool.next_id();
    for job in told.jobs.keys() {
        assert!(next > job.id(), "{context}: {job} could be given out again");
    }
}

/// What was told is recorded, once, and every record fits to the one before.
fn check_audit(files: &BTreeMap<String, Vec<u8>>, told: &Told, context: &str) {
    let mut chain = Chain::new(None);
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("audit/")) {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.ends_with('\n'), "{context}: {path} is torn");
        for line in text.lines() {
            let fits = chain.line(line.as_bytes());
            assert_eq!(fits, Ok(()), "{context}: {line}");
        }
    }
    let records = chain.end().unwrap().records;
    assert!(records >= told.audited, "{context}: {records} records");
}

/// What the days' records say of ends is reported, each end once, and nothing else is.
fn check_events(files: &BTreeMap<String, Vec<u8>>, context: &str) {
    let lines_of = |dir: &str, name: &str| {
        let of = |path: &String| path.starts_with(dir) && path.ends_with(name);
        let texts = files.iter().filter(|(path, _)| of(path));
        let texts = texts.map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap());
        texts.collect::<String>()
    };
    let recorded = lines_of("records/", "ended.jsonl");
    let ended = recorded.lines().filter_map(|line| {
        let ended = Ended::from_line(line.as_bytes()).unwrap();
        let kind = match ended.act {
            Act::Done => EventKind::JobDone,
            Act::Failed => EventKind::JobFailed,
            Act::Fetched => EventKind::JobFetched,
            Act::Refused => EventKind::JobRefused,
            Act::Cancelled
            | Act::CutOff
            | Act::Deferred
            | Act::GivenBack
            | Act::Noted
            | Act::Removed
            | Act::Requeued => return None,
        };
        Some((kind, ended.job.to_string()))
    });
    let events = lines_of("events/", ".jsonl");
    assert!(
        events.is_empty() || events.ends_with('\n'),
        "{context}: a torn event"
    );
    let mut ids = BTreeSet::new();
    let reported = events.lines().filter_map(|line| {
        let line = EventLine::from_line(line.as_bytes()).unwrap();
        let event = match line.what {
            Recorded::Event(event) => event,
            Recorded::Failed(_) => return None,
            Recorded::Ended { end, .. } => {
                assert_eq!(end, EventEnd::Void, "{context}: nothing was delivered");
                return None;
            }
        };
        assert!(ids.insert(line.id), "{context}: twice {event:?}");
        let job = event.data.get("job")?.as_str()?.to_owned();
        Some((event.kind, job))
    });
    let (mut ended, mut reported): (Vec<_>, Vec<_>) = (ended.collect(), reported.collect());
    ended.sort();
    reported.sort();
    assert_eq!(ended, reported, "{context}");
}

/// Every acknowledged job has its line once, what was told of its end is the last word on it, and
/// no line is torn or doubled.
fn check_records(files: &BTreeMap<String, Vec<u8>>, told: &Told, context: &str) {
    let mut accepted: BTreeMap<JobName, usize> = BTreeMap::new();
    let mut last: BTreeMap<JobName, Act> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (path, bytes) in files
        .iter()
        .filter(|(path, _)| path.starts_with("records/"))
    {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "{context}: {path} is torn"
        );
        for line in text.lines() {
            assert!(seen.insert(line), "{context}: {path} has twice {line}");
            match path.ends_with("accepted.jsonl") {
                true => {
                    let line = Accepted::from_line(line.as_bytes());
                    let line = line.unwrap_or_else(|| panic!("{context}: {path} is torn"));
                    *accepted.entry(line.job).or_default() += 1;
                }
                false => {
                    let line = Ended::from_line(line.as_bytes());
                    let line = line.unwrap_or_else(|| panic!("{context}: {path} is torn"));
                    last.insert(line.job, line.act);
                }
            }
        }
    }
    for (job, (_, known)) in &told.jobs {
        assert_eq!(accepted.get(job), Some(&1), "{context}: lines of {job}");
        let last = last.get(job);
        let is_told = match known {
            Known::Accepted => true,
            Known::Done => matches!(last, Some(Act::Done | Act::Fetched)),
            Known::Failed => last == Some(&Act::Failed),
            Known::Refused => last == Some(&Act::Refused),
            Known::Cancelled => last == Some(&Act::Cancelled),
        };
        assert!(
            is_told,
            "{context}: {job} {known:?} is {last:?} in the record"
        );
    }
}

#[test]
fn every_acknowledged_job_survives_a_stop_at_every_call() {
    let fs = CrashFs::new();
    let mut told = Told::default();
    told.day(&open(fs.clone(), false).unwrap()).unwrap();
    check(fs.reboot(Image::Worst), &told, "no crash");
    let calls = fs.calls();
    assert!(calls > 150, "the day has become too short: {calls}");
    for n in 0..calls {
        for image in IMAGES {
            let fs = CrashFs::new();
            let mut told = Told::default();
            fs.stop_at(n);
            let outcome = open(fs.clone(), false).and_then(|spool| told.day(&spool));
            // At the very end a call may fail that no result depends on.
            assert!(
                outcome.is_err() || fs.calls() == n,
                "call {n} was not reached"
            );
            check(fs.reboot(image), &told, &format!("call {n}, {image:?}"));
        }
    }
}

/// The machine goes on, and the next start finds what was done. Then the power goes after all.
#[test]
fn every_acknowledged_job_survives_the_end_of_the_process_at_every_call() {
    let calls = calls_of_a_day();
    for n in 0..calls {
        let (fs, told) = killed_at(n);
        // Nobody has done anything meanwhile, so all names that were recorded are given: of what is
        // new, and of jobs that are done. Other moves may have been made and not recorded.
        let started = |fs: CrashFs| {
            let spool = open(fs.clone(), false).unwrap();
            spool.recover().unwrap();
            let named = |path: String| {
                let (state, _) = path.split_once('/')?;
                let at_its_place =
                    path.starts_with("bak/a/") || ["idem", "results"].contains(&state);
                let job = path.rsplit(['/', '@']).next()?.to_owned();
                match state {
                    _ if at_its_place => Some(path),
                    "bak" | "deferred" | "joberrors" | "queue" => Some(job),
                    _ => None,
                }
            };
            // So may a removal, with which the record of the job's key loses its job.
            let removed = told.removed.keys().map(ToString::to_string);
            let removed: Vec<String> = removed.collect();
            let is_of_removed = |path: &str, bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                (removed.iter()).any(|job| path.contains(job) || text.contains(job))
            };
            let mut files = fs.files();
            files.retain(|path, bytes| !is_of_removed(path, bytes));
            let files = files.into_keys();
            files.filter_map(named).collect::<BTreeSet<_>>()
        };
        assert_eq!(
            started(fs.kill()),
            started(fs.reboot(Image::Best)),
            "killed at call {n}"
        );
        let fs = fs.kill();
        check(fs.clone(), &told, &format!("killed at call {n}"));
        for image in IMAGES {
            let context = format!("killed at call {n}, then {image:?}");
            check(fs.reboot(image), &told, &context);
        }
    }
}

/// What somebody does while no service is there stays done after the end of the process alone,
/// whenever it came.
#[test]
fn what_is_done_by_hand_after_the_end_of_the_process_stays() {
    let mut n_removed = 0;
    for n in 0..calls_of_a_day() {
        let (fs, told) = killed_at(n);
        let fs = fs.kill();
        let before = fs.files();
        let names: Vec<JobName> = told.jobs.keys().cloned().collect();
        for (at, job) in names.iter().enumerate() {
            let context = format!("killed at call {n}, {job}");
            let fs = fs.kill();
            let mut found = places(&before, job);
            // What a run has besides the job.
            found.retain(|path| !path.contains(".xml.lock") && !path.contains(".xml.run"));
            assert_eq!(found.len(), 1, "{context}: {found:?}");
            let path = Path::new(&found[0]);
            let elsewhere = format!("queue/out/{job}");
            let moves = at % 2 == 1 && !found[0].starts_with("queue/out");
            match moves {
                true => fs.rename(path, Path::new(&elsewhere)).unwrap(),
                false => fs.unlink(path).unwrap(),
            }
            let spool = open(fs.clone(), false).unwrap();
            spool.recover().unwrap();
            let found = places(&fs.files(), job);
            match moves {
                true => assert_eq!(found, [elsewhere], "{context}"),
                false => assert!(found.is_empty(), "{context}: {found:?}"),
            }
            n_removed += 1;
        }
    }
    assert!(n_removed > 300, "the day has become too short: {n_removed}");
}

#[test]
fn a_disk_that_has_failed_is_not_trusted_though_only_the_process_ended() {
    let intact = |fs: &CrashFs| {
        let spool = TestSpool::on(fs.kill()).open().unwrap();
        spool.open_journal(SEGMENT_BYTES).unwrap().intact
    };
    let mut n_failed = 0;
    for n in 0.. {
        let fs = CrashFs::new();
        let spool = open(fs.clone(), false).unwrap();
        fs.fail_at(n, rustix::io::Errno::IO.raw_os_error());
        let _ = Told::default().day(&spool);
        match (fs.failed_call(), spool.unhealthy()) {
            ("none", _) => break,
            // The mark itself may be what could not be written: it was not that which failed first.
            (_, Some(reason)) => {
                n_failed += 1;
                assert!(!intact(&fs), "call {n}: {reason}");
            }
            (_, None) => assert!(intact(&fs), "call {n}"),
        }
    }
    assert!(n_failed > 20, "{n_failed}");
}

/// How a command ended is believed where its results must be there too.
#[test]
fn a_kept_end_counts_after_the_end_of_the_process_alone() {
    let fs = CrashFs::new();
    let spool = open(fs.clone(), false).unwrap();
    let job = Told::default().accept(&spool, "first").unwrap();
    let mut claim = spool.claim(&interface("a"), &job).unwrap().unwrap();
    claim.prepare().unwrap();
    claim.begin();
    let kept = fs.create(&claim.kept_path()).unwrap();
    fs.write(&kept, b"0").unwrap();
    fs.stop_at(0);
    drop(claim);
    let recovered = |fs: CrashFs| open(fs, false).unwrap().recover().unwrap();
    assert_eq!(recovered(fs.kill()).adopted[0].name, job);
    for image in IMAGES {
        let recovery = recovered(fs.reboot(image));
        assert_eq!(recovery.adopted, [], "{image:?}");
        assert_eq!(recovery.requeued, std::slice::from_ref(&job), "{image:?}");
    }
}

/// A day that is cut short at call `n`, and what was told until then.
fn killed_at(n: usize) -> (CrashFs, Told) {
    let (fs, mut told) = (CrashFs::new(), Told::default());
    fs.stop_at(n);
    let _ = open(fs.clone(), false).and_then(|spool| told.day(&spool));
    (fs, told)
}

fn calls_of_a_day() -> usize {
    let (fs, _) = killed_at(usize::MAX);
    fs.calls()
}

#[test]
fn a_stop_during_recovery_loses_nothing_either() {
    let mut told = Told::default();
    let fs = CrashFs::new();
    let spool = open(fs.clone(), false).unwrap();
    let job = told.accept(&spool, "first").unwrap();
    let mut claim = spool.claim(&interface("a"), &job).unwrap().unwrap();
    claim.prepare().unwrap();
    fs.stop_at(0);
    assert!(claim.settle(Settlement::Done, None).is_err());
    drop(claim);
    for n in 0.. {
        for image in IMAGES {
            let fs = fs.reboot(Image::Best);
            fs.stop_at(n);
            if open(fs.clone(), false).and_then(|s| s.recover()).is_ok() {
                assert!(n > 10);
                return;
            }
            check(
                fs.reboot(image),
                &told,
                &format!("recovery call {n}, {image:?}"),
            );
        }
    }
}

#[test]
fn a_crash_counts_as_an_attempt_until_the_limit() {
    let mut fs = CrashFs::new();
    let mut told = Told::default();
    let job = told
        .accept(&open(fs.clone(), false).unwrap(), "first")
        .unwrap();
    for attempt in 1..=3 {
        fs = fs.reboot(Image::Worst);
        let spool = open(fs.clone(), false).unwrap();
        spool.recover().unwrap();
        let claim = spool.claim(&interface("a"), &job).unwrap().unwrap();
        assert_eq!(claim.attempt(), attempt);
        fs.stop_at(0);
        drop(claim);
    }
    let spool = open(fs.reboot(Image::Worst), false).unwrap();
    assert_eq!(spool.recover().unwrap().failed, std::slice::from_ref(&job));
    assert_eq!(spool.find(&job).unwrap(), Some(Place::JobErrors));
    let said = spool.read_log(&job).unwrap().messages;
    assert!(
        said.last().unwrap().text.contains("crashed 3 times"),
        "{said:?}"
    );
}

/// A job that has failed is sent again, and runs.
fn sent_again(
    spool: &Arc<Spool<CrashFs>>,
    told: &mut Told,
    job: &JobName,
) -> Result<(), SpoolError> {
    let (place, name) = (Place::JobErrors, job.clone());
    spool.requeue(
        &Job { place, name },
        &interface("a").into(),
        &By::operator("olga"),
    )?;
    told.run(spool, job, Settlement::Failed).map(drop)
}

#[test]
fn whenever_it_ends_a_log_says_once_that_its_job_was_sent_again() {
    for image in IMAGES {
        for n in 0.. {
            let (fs, mut told) = (CrashFs::new(), Told::default());
            let spool = open(fs.clone(), false).unwrap();
            let job = told.accept(&spool, "first").unwrap();
            told.run(&spool, &job, Settlement::Failed).unwrap();
            fs.stop_at(n);
            let is_whole = sent_again(&spool, &mut told, &job).is_ok();
            drop(spool);
            let spool = open(fs.reboot(image), false).unwrap();
            spool.recover().unwrap();
            let says = || {
                let log = spool.shown_log(&job).unwrap();
                let said = |text: &str| {
                    log.messages
                        .iter()
                        .filter(|m| m.text.starts_with(text))
                        .count()
                };
                said("requeued to a by olga")
            };
            let context = format!("call {n}, {image:?}");
            match spool.find(&job).unwrap() {
                Some(Place::Queue(_)) => {
                    assert_eq!(says(), 1, "{context}");
                    told.run(&spool, &job, Settlement::Failed).unwrap();
                    assert_eq!(says(), 1, "{context}, run");
                }
                Some(Place::JobErrors) => assert!(says() <= 1, "{context}"),
                other => panic!("{context}: {other:?}"),
            }
            if is_whole {
                assert!(n > 10 && says() == 1, "{context}");
                break;
            }
        }
    }
}

#[test]
fn at_most_once_never_runs_again_after_a_crash() {
    let fs = CrashFs::new();
    let mut told = Told::default();
    let spool = open(fs.clone(), true).unwrap();
    let job = told.accept(&spool, "first").unwrap();
    let claim = spool.claim(&interface("a"), &job).unwrap().unwrap();
    fs.stop_at(0);
    drop(claim);
    for image in IMAGES {
        let spool = open(fs.reboot(image), true).unwrap();
        assert_eq!(
            spool.recover().unwrap().failed,
            std::slice::from_ref(&job),
            "{image:?}"
        );
    }
}

/// The tests must be able to fail: each deliberate mistake has to be noticed by some image.
#[test]
fn injected_faults_are_caught() {
    let notices = |injected: FaultInjection| {
        let fs = CrashFs::new();
        let calls = {
            let fs = fs.clone();
            let _ = Told::default().day(&start(fs.clone(), false, FaultInjection::None).unwrap());
            fs.calls()
        };
        (0..calls).any(|n| {
            IMAGES.iter().any(|image| {
                let fs = CrashFs::new();
                let mut told = Told::default();
                fs.stop_at(n);
                let _ = start(fs.clone(), false, injected).and_then(|spool| told.day(&spool));
                let fs = fs.reboot(*image);
                let check = || check_as(fs, &told, "injected fault", injected);
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
            })
        })
    };
    for injected in [
        FaultInjection::BootIdAlone,
        FaultInjection::NoCheckpointSync,
        FaultInjection::NoFlush,
        FaultInjection::NoReplay,
        FaultInjection::NoSettle,
        FaultInjection::NoSync,
    ] {
        assert!(notices(injected), "{injected:?} went unnoticed");
    }
}

/// A claim that is not durable is forgotten, and the job is run again although it must not be.
#[test]
fn a_spool_that_does_not_count_attempts_is_caught() {
    let fs = CrashFs::new();
    let mut told = Told::default();
    let spool = start(fs.clone(), true, FaultInjection::NoAttempts).unwrap();
    let job = told.accept(&spool, "first").unwrap();
    drop(spool.claim(&interface("a"), &job).unwrap());
    fs.stop_at(0);
    let spool = open(fs.reboot(Image::Worst), true).unwrap();
    assert_eq!(
        spool.recover().unwrap().failed,
        [],
        "it was noticed after all"
    );
}

/// One call fails, with each error that a disk can give, and the disk is well again: nothing is
/// acknowledged that is not kept, and the spool goes on, or says that it does not.
#[test]
fn a_call_that_fails_costs_no_acknowledged_job() {
    use rustix::io::Errno;
    let errnos = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::MFILE,
        Errno::ROFS,
    ];
    for n in 0.. {
        for errno in errnos {
            let fs = CrashFs::new();
            let mut told = Told::default();
            let spool = open(fs.clone(), false).unwrap();
            fs.fail_at(n, errno.raw_os_error());
            let outcome = told.day(&spool);
            if fs.failed_call() == "none" {
                assert!(n > 150, "the day has become too short: {n}");
                return;
            }
            let context = format!("call {n} ({}) failed with {errno}", fs.failed_call());
            let is_sync = ["sync_all", "sync_data", "sync_file", "write_at"];
            if is_sync.contains(&fs.failed_call()) && outcome.is_err() {
                assert!(spool.unhealthy().is_some(), "{context}: {outcome:?}");
            }
            match spool.unhealthy() {
                Some(_) => assert!(told.accept(&spool, "later").is_err(), "{context}"),
                None => drop(told.accept(&spool, "last").expect(&context)),
            }
            drop(spool);
            check(fs.reboot(Image::Best), &told, &context);
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    let fs = CrashFs::new();
    let mut told = Told::default();
    let spool = open(fs.clone(), false).unwrap();
    told.accept(&spool, "first").unwrap();
    let calls = fs.calls();
    // Somewhere in this upload a sync fails; from then on nothing is acknowledged.
    for n in 0..20 {
        fs.stop_at(calls);
        let _ = told.accept(&spool, "x");
        fs.stop_at(n);
        let before = told.jobs.len();
        let failed = told.accept(&spool, &format!("y{n}")).is_err();
        fs.stop_at(usize::MAX);
        if failed && spool.unhealthy().is_some() {
            assert!(told.accept(&spool, "later").is_err());
            assert!(
                spool
                    .claim(&interface("a"), &told.jobs.keys().next().unwrap().clone())
                    .is_err()
            );
            assert_eq!(told.jobs.len(), before);
            return;
        }
    }
    panic!("no sync ever failed");
}

#[test]
fn a_taken_name_is_never_overwritten() {
    let fs = CrashFs::new();
    let mut told = Told::default();
    let spool = open(fs.clone(), false).unwrap();
    let job = told.accept(&spool, "first").unwrap();
    let bak = Place::Bak(interface("a"));
    spool.day_dir(&bak.dir(&job)).unwrap();
    let squatter = spool.fs().create(&bak.path(&job)).unwrap();
    spool.fs().write(&squatter, b"squatter").unwrap();
    told.run(&spool, &job, Settlement::Done).unwrap();
    let files = fs.files();
    let bodies: Vec<&[u8]> = (files.iter())
        .filter(|(path, _)| path.starts_with("bak/a"))
        .map(|(_, bytes)| bytes.as_slice())
        .collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies.contains(&b"squatter".as_slice()) && bodies.contains(&b"first".as_slice()));
}

#[test]
fn records_of_answers_that_were_never_sent_are_dropped() {
    let fs = CrashFs::new();
    let spool = open(fs.clone(), false).unwrap();
    let mut told = Told::default();
    told.accept(&spool, "first").unwrap();
    let never = JobName::new(Ids::above(START_MS).next(START_MS + 90), None, Kind::Xml);
    let record = Keyed {
        job: never,
        interface: None,
        sha256: String::new(),
        bytes: 0,
        refused: false,
    };
    let key = Key::new("shop", "never");
    spool.write_record(&key, &record).unwrap();
    let spool = open(fs.reboot(Image::Worst), false).unwrap();
    spool.recover().unwrap();
    assert_eq!(spool.find_record(&key).unwrap(), None);
    let kept = spool.find_record(&Key::new("shop", "first")).unwrap();
    assert!(kept.is_some());
}
