//! A tenant at work on a disk that fails and heals, while the process lives on.
//!
//! One day is lived again and again: uploads small, large, refused and repeated, commands that end
//! well, badly, later and never, results and emitted jobs, retrieval, cancel, requeue, batches of operators, a hold,
//! a schedule, a reload, a stop. In each day another kind of call fails, once, or from then on until
//! the disk heals. Afterwards every acknowledged job has come to its end without a restart, nothing
//! that was refused is there, nothing hangs, the stop stops, and the next start finds all of it.
//! Only a failed sync, or a failed write of the journal, may make the spool unhealthy.
//!
//! `SPOOLGATE_FAULTS=all` tries each site with every error, both ways, and `SPOOLGATE_FAULTS='read
//! joblog'` so those sites that begin like that; without it each site is tried with one of them, once
//! and lasting in turns.

use super::{
    supervise::Supervisor,
    tenant::{Prepared, Running, Shared},
};
use crate::{
    auth::{Caller, Grants, Role},
    config::Config,
    domain::{InterfaceName, Job, JobName, Place},
    processor::Starter,
    service::{
        Command, DocumentFormat, Fault, JobRef, JsonCheck, Reply, ScheduleRequest, ScheduleSpec,
        Service, Submit,
    },
    store::{
        By,
        fs::{
            Moved, Spool,
            faults::{Faults, Plan, Site, errnos, is_sync},
        },
    },
    util::until::until,
};
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Longer than this nothing takes that does not hang.
const HANGS: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Days at once.
const DAYS: usize = 10;
/// Days that fail before the others are let be: each takes as long as what hangs.
const BROKEN_MAX: usize = 5;
/// How long a disk is ill that heals: two seconds when everything is tried.
const ILL: Duration = Duration::from_millis(300);
const LONG_ILL: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[spool]
root = "spool"
accept_risk = true
journal_mib = 2
[limits]
free_bytes_min = 0
free_inodes_min = 0
[interfaces.works]
direction = "in"
schema = ""
processor = { command = ["/bin/sh", "-c", "cat > /dev/null; echo worked"] }
[interfaces.archives]
direction = "in"
schema = ""
processor = { archive = true }
[interfaces.fails]
direction = "in"
schema = ""
processor = { command = ["/bin/sh", "-c", "echo no such customer; exit 1"] }
[interfaces.later]
direction = "in"
schema = ""
retry = { attempts = 9, initial_s = 0.05, max_s = 0.05, jitter = 0 }
processor = { command = ["/bin/sh", "-c", "echo attempt $SPOOLGATE_ATTEMPT; [ $SPOOLGATE_ATTEMPT -ge 2 ] || exit 75"] }
[interfaces.tomorrow]
direction = "in"
schema = ""
retry = { initial_s = 3000 }
processor = { command = ["/bin/sh", "-c", "exit 75"] }
[interfaces.makes]
direction = "in"
schema = ""
processor = { command = ["/bin/sh", "-c", "echo made > $SPOOLGATE_RESULTS/r.txt; mkdir $SPOOLGATE_EMIT/archives; echo '<made/>' > $SPOOLGATE_EMIT/archives/made.xml"] }
[interfaces.endless]
direction = "in"
schema = ""
processor = { command = ["/bin/sh", "-c", "exec sleep 300"] }
[interfaces.out]
direction = "out"
"#;

/// A service of one tenant, as the daemon starts it.
struct Daemon {
    service: Arc<Service>,
    spool: Arc<Spool>,
    running: Running,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Daemon {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let config = Config::parse(CONFIG, &dir.join("spoolgate.toml")).unwrap();
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let starter = Starter::launch()?;
        let shared = Shared::new(
            &config.limits,
            starter,
            Arc::new(super::scrape::metrics(&config)),
        );
        let tenant = &config.tenants[0];
        let prepared = Prepared::new(&config, tenant, shared, None, &stop, &kill).await?;
        Ok(Self {
            service: prepared.service.load_full(),
            spool: prepared.engine.spool.clone(),
            running: prepared.run(&Supervisor::new(stop.clone()), &stop, &stop).0,
            stop,
            kill,
        })
    }

    async fn stop(self) {
        self.stop.cancel();
        let kill = self.kill.clone();
        let deadline = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            kill.cancel();
        });
        let stopped = tokio::time::timeout(HANGS, self.running.stopped()).await;
        drop(stopped.expect("the stop hangs"));
        deadline.abort();
    }
}

/// How a job is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    /// Well, or by someone who cancelled it.
    Any,
    /// Well; or it is still there, when the spool was unhealthy or stopped before it was archived.
    Retrieved,
}

/// What partners have been acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Acknowledged jobs, with what they hold and how they are to end.
    jobs: BTreeMap<JobName, (Vec<u8>, End)>,
    /// Documents whose upload was answered by an error: nothing may be there that holds them.
    refused: Vec<Vec<u8>>,
    cancelled: Vec<JobName>,
    /// Jobs of which an operator was told that they are gone.
    removed: Vec<JobName>,
}

fn caller() -> Caller {
    let mut grants = Grants::default();
    grants.add_role(Role::Operator);
    Caller::new("olga", grants)
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

/// Answers in time, or the test fails.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(HANGS, work).await;
    done.unwrap_or_else(|_| panic!("{what} hangs"))
}

fn any_json(body: &mut dyn Read) -> Result<(), String> {
    let read = serde_json::from_reader::<_, serde_json::Value>(body);
    read.map(drop).map_err(|error| error.to_string())
}

fn json() -> DocumentFormat {
    DocumentFormat::Json {
        check: JsonCheck(any_json),
        empty: None,
    }
}

impl Acknowledged {
    async fn upload(
        &mut self,
        daemon: &Daemon,
        to: &str,
        body: &[u8],
        end: End,
    ) -> Option<JobName> {
        let submit = Submit {
            interface: Some(name(to)),
            dialect: "dstore",
            document: if body.starts_with(b"{") {
                json()
            } else {
                DocumentFormat::Xml
            },
            ..Submit::default()
        };
        self.submit(daemon, submit, body, end).await
    }

    async fn submit(
        &mut self,
        daemon: &Daemon,
        submit: Submit,
        body: &[u8],
        end: End,
    ) -> Option<JobName> {
        let keyed = submit.idempotency_key.is_some();
        let sent = async {
            let mut upload = daemon.service.admit(&caller(), submit, None).await?;
            upload.write(Bytes::copy_from_slice(body)).await?;
            upload.commit().await
        };
        let job = match in_time("an upload", sent).await {
            Ok(Reply::Accepted { job, .. }) => job,
            Ok(Reply::Created { view, .. }) => view.job.clone(),
            Err(Fault::Refused { job, .. }) => {
                self.jobs.insert(job, (body.to_vec(), End::Failed));
                return None;
            }
            Ok(other) => panic!("{other:?}"),
            Err(Fault::Busy { .. }) => {
                // Who sends a key may find the job of an earlier try.
                self.refused.extend((!keyed).then(|| body.to_vec()));
                return None;
            }
            // What it came to could not be read back: it is accepted, or not.
            Err(_) => return None,
        };
        self.jobs.insert(job.clone(), (body.to_vec(), end));
        Some(job)
    }

    async fn cancel(&mut self, daemon: &Daemon, job: &JobName) {
        let command = Command::Cancel {
            job: JobRef::Name(job.clone()),
        };
        let reply = in_time("a cancel", daemon.service.execute(&caller(), command)).await;
        if matches!(reply, Ok(Reply::Cancelled { .. })) {
            self.cancelled.push(job.clone());
        }
    }

    async fn fetch(&mut self, daemon: &Daemon, dir: &Path) {
        let dropped = dir.join("spool/queue/out/order.xml");
        if std::fs::write(&dropped, "<fetched/>").is_err() {
            return;
        }
        let (olga, out) = (caller(), name("out"));
        let list = || async {
            let interface = out.clone();
            let listed = daemon.service.execute(&olga, Command::List { interface });
            match in_time("a list", listed).await {
                Ok(Reply::Jobs(jobs)) => jobs.into_iter().next(),
                Ok(_) | Err(_) => None,
            }
        };
        let job = in_time("a dropped file", async {
            while daemon.spool.unhealthy().is_none() {
                if let Some(job) = list().await {
                    return Some(job);
                }
                tokio::time::sleep(LOOK).await;
            }
            None
        })
        .await;
        let Some(job) = job else { return };
        let fetch = Command::Fetch {
            interface: name("out"),
            job: job.clone(),
            stylesheet: None,
            head: false,
        };
        while daemon.spool.unhealthy().is_none() {
            let fetched = daemon.service.execute(&olga, fetch.clone());
            let Ok(Reply::Content(mut download)) = in_time("a fetch", fetched).await else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let mut body = Vec::new();
            let mut reader = download.content.reader().unwrap();
            reader.read_to_end(&mut body).unwrap();
            assert_eq!(body, b"<fetched/>");
            self.jobs.insert(job, (body, End::Retrieved));
            if let Some(mut completion) = download.completion.take() {
                completion.taken();
                completion.completed();
            }
            return;
        }
    }

    /// What operators do to several jobs at once. Of each that an error is told of, it is not known what became of it.
    async fn batches(&mut self, daemon: &Daemon) {
        let mut failed = Vec::new();
        for body in [
            b"<fails n='1'/>",
            b"<fails n='2'/>",
            b"<fails n='3'/>",
            b"<fails n='4'/>",
        ] {
            failed.extend(self.upload(daemon, "fails", body, End::Failed).await);
        }
        for job in &failed {
            has_run(daemon, job).await;
        }
        let at = |place: Place| {
            move |name: JobName| Job {
                place: place.clone(),
                name,
            }
        };
        let mut failed: Vec<Job> = failed.into_iter().map(at(Place::JobErrors)).collect();
        let sent = failed.split_off(failed.len() / 2);

        let to: Vec<_> = (sent.iter().cloned())
            .map(|job| (job, name("archives").into()))
            .collect();
        let outcomes = batch(daemon, move |spool, by| spool.requeue_all(&to, by)).await;
        for (job, outcome) in sent.iter().zip(outcomes) {
            if let Some((_, end)) = self.jobs.get_mut(&job.name) {
                *end = match outcome {
                    Ok(Moved::Done(_)) => End::Done,
                    Ok(Moved::Gone) => End::Failed,
                    Err(_) => End::Any,
                };
            }
        }
        let these = failed.clone();
        let outcomes = batch(daemon, move |spool, by| spool.remove_all(&these, by)).await;
        for (job, outcome) in failed.iter().zip(outcomes) {
            match outcome {
                Ok(Moved::Gone) => {}
                Ok(Moved::Done(_)) => {
                    self.jobs.remove(&job.name);
                    self.removed.push(job.name.clone());
                }
                Err(_) => drop(self.jobs.remove(&job.name)),
            }
        }

        let _ = batch(daemon, |spool, _| {
            vec![spool.hold(&name("fails"), &By::service("a batch"), None)]
        })
        .await;
        let mut waiting = Vec::new();
        for body in [b"<fails n='5'/>", b"<fails n='6'/>"] {
            waiting.extend(self.upload(daemon, "fails", body, End::Failed).await);
        }
        let at_queue = at(Place::Queue(name("fails").into()));
        let waiting: Vec<Job> = waiting.into_iter().map(at_queue).collect();
        let these = waiting.clone();
        let outcomes = batch(daemon, move |spool, by| spool.cancel_all(&these, by)).await;
        for (job, outcome) in waiting.into_iter().zip(outcomes) {
            if let Ok(Moved::Done(_)) = outcome {
                self.cancelled.push(job.name);
            }
        }
        release(daemon).await;
    }

    /// One day.
    async fn day(&mut self, daemon: &Daemon, dir: &Path) {
        self.upload(daemon, "works", b"<works/>", End::Done).await;
        let large = format!("<large>{}</large>", "x".repeat(300_000));
        self.upload(daemon, "archives", large.as_bytes(), End::Done)
            .await;
        self.upload(daemon, "works", b"<broken", End::Failed).await;
        let failed = self.upload(daemon, "fails", b"<fails/>", End::Failed).await;
        self.upload(daemon, "later", b"<later/>", End::Done).await;
        self.upload(daemon, "makes", b"<makes/>", End::Done).await;
        let tomorrow = self
            .upload(daemon, "tomorrow", b"{\"t\":1}", End::Any)
            .await;
        let endless = self.upload(daemon, "endless", b"{\"e\":1}", End::Any).await;
        for _ in 0..2 {
            let submit = Submit {
                interface: Some(name("archives")),
                idempotency_key: Some("key".into()),
                dialect: "dstore",
                ..Submit::default()
            };
            self.submit(daemon, submit, b"<keyed/>", End::Done).await;
        }
        self.fetch(daemon, dir).await;
        for job in [endless, tomorrow].into_iter().flatten() {
            self.cancel(daemon, &job).await;
        }
        if let Some(failed) = failed {
            requeue(daemon, failed).await;
        }
        self.batches(daemon).await;
        hold(daemon).await;
        schedule(daemon).await;
        std::fs::write(dir.join("spool/schemas/new.xsd"), "no schema").unwrap();
    }

    fn unfinished(&self, spool: &Spool, was_unhealthy: bool) -> Vec<String> {
        let mut left = Vec::new();
        for (job, (_, end)) in &self.jobs {
            match spool.find(job) {
                Ok(Some(Place::Bak(_) | Place::JobErrors | Place::Refused)) => {}
                Ok(Some(Place::Queue(_))) if *end == End::Retrieved && was_unhealthy => {}
                other => left.push(format!("{job}: {other:?}")),
            }
        }
        left
    }

    /// Everything is at its end, as it was acknowledged.
    fn check(&self, spool: &Spool, dir: &Path, context: &str, was_unhealthy: bool) {
        let files = files(&dir.join("spool"));
        for (job, (body, end)) in &self.jobs {
            let here = |path: &&PathBuf| {
                let states = ["queue", "work", "deferred", "bak", "joberrors"];
                let text = path.to_string_lossy();
                // What a run leaves besides the job is removed last.
                let ends = [".exit", ".lock"];
                let is_beside =
                    ends.iter().any(|end| text.ends_with(end)) || text.contains(".run/");
                text.contains(&job.to_string())
                    && !is_beside
                    && states
                        .iter()
                        .any(|state| path.starts_with(dir.join("spool").join(state)))
            };
            let found: Vec<&PathBuf> = files.keys().filter(here).collect();
            assert_eq!(found.len(), 1, "{context}: {job} is in {found:?}");
            assert_eq!(&files[found[0]], body, "{context}: {job}");
            let place = spool.find(job).unwrap().unwrap();
            match end {
                End::Done => assert!(
                    matches!(place, Place::Bak(_)),
                    "{context}: {job} is in {place}"
                ),
                End::Failed => assert!(
                    matches!(place, Place::JobErrors | Place::Refused),
                    "{context}: {job} is in {place}"
                ),
                End::Any => {}
                End::Retrieved if matches!(place, Place::Queue(_)) => continue,
                End::Retrieved => {}
            }
            let log = spool.read_log(job);
            let log = log.unwrap_or_else(|| panic!("{context}: {job} has no log"));
            let texts: Vec<&str> = log.messages.iter().map(|m| m.text.as_str()).collect();
            if body == b"<later/>" {
                for said in ["attempt 1", "attempt 2"] {
                    let kept = texts.contains(&said);
                    assert!(kept, "{context}: {said:?} of {job} is lost: {texts:?}");
                }
            }
            if self.cancelled.contains(job) {
                assert!(log.is_cancelled(), "{context}: {job}: {texts:?}");
            }
        }
        for job in &self.removed {
            let place = spool.find(job).unwrap();
            assert_eq!(place, None, "{context}: {job} was removed");
            assert!(spool.read_log(job).is_some(), "{context}: {job} has no log");
        }
        // A failed sync may have reached the disk nevertheless: a client that was refused asks again.
        let refused = self.refused.iter().filter(|_| !was_unhealthy);
        for body in refused {
            let found: Vec<_> = files.iter().filter(|(_, bytes)| *bytes == body).collect();
            assert!(found.is_empty(), "{context}: refused, and there: {found:?}");
        }
    }
}

async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    in_time(what, tokio::task::spawn_blocking(work))
        .await
        .unwrap()
}

/// A batch of an operator, whose errors, if any, are reported to him; what was done to each is told apart.
async fn batch<T: Send + 'static>(
    daemon: &Daemon,
    act: impl FnOnce(&Spool, &By) -> Vec<T> + Send + 'static,
) -> Vec<T> {
    let spool = daemon.spool.clone();
    blocking("a batch", move || act(&spool, &By::operator("an operator"))).await
}

/// Waits until a job waits and runs no more.
async fn has_run(daemon: &Daemon, job: &JobName) {
    let (spool, job) = (daemon.spool.clone(), job.clone());
    until("a failing job", || {
        spool.unhealthy().is_some()
            || !matches!(
                spool.find(&job),
                Ok(Some(Place::Queue(_) | Place::Work { .. }))
            )
    })
    .await;
}

async fn requeue(daemon: &Daemon, name: JobName) {
    has_run(daemon, &name).await;
    let spool = daemon.spool.clone();
    // Its error, if any, is reported to the operator.
    let _ = blocking("a requeue", move || {
        let place = Place::JobErrors;
        spool.requeue(
            &Job { place, name },
            &"fails".parse().unwrap(),
            &By::operator("an operator"),
        )
    })
    .await;
}

async fn hold(daemon: &Daemon) {
    let spool = daemon.spool.clone();
    let _ = blocking("a hold", move || {
        let interface = "fails".parse().unwrap();
        spool.hold(&interface, &By::service("a look"), None)
    })
    .await;
    release(daemon).await;
}

/// Until it is released, whatever came of that.
async fn release(daemon: &Daemon) {
    let spool = daemon.spool.clone();
    blocking("a release", move || {
        let (interface, begun) = (name("fails"), Instant::now());
        while spool.release(&interface).is_err()
            && spool.unhealthy().is_none()
            && begun.elapsed() < HANGS
        {
            std::thread::sleep(LOOK);
        }
    })
    .await;
}

async fn schedule(daemon: &Daemon) {
    let request = ScheduleRequest {
        submit: Submit {
            interface: Some(name("archives")),
            dialect: "robusta",
            document: json(),
            ..Submit::default()
        },
        spec: ScheduleSpec {
            start: Some("2020-01-01 00:00:00".into()),
            ..ScheduleSpec::default()
        },
    };
    let document = Bytes::from_static(b"{\"scheduled\":1}");
    let olga = caller();
    let scheduled = daemon.service.schedule(&olga, request, document);
    let Ok(_) = in_time("a schedule", scheduled).await else {
        return;
    };
    // Its one moment has one job, whatever fails.
    let spool = daemon.spool.clone();
    let made = || {
        let jobs = spool.jobs(&name("archives")).unwrap_or_default();
        let of_it = |job: &&Job| job.name.to_string().ends_with(".json");
        jobs.iter().filter(of_it).count()
    };
    until("a schedule's job", || {
        made() > 0 || spool.unhealthy().is_some()
    })
    .await;
    assert!(made() <= 1, "a moment has two jobs");
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let walk = walkdir::WalkDir::new(dir).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    let inside = files.filter(|entry| {
        !entry
            .path()
            .components()
            .any(|c| c.as_os_str() == "journal")
    });
    inside
        .map(|entry| {
            (
                entry.path().to_owned(),
                std::fs::read(entry.path()).unwrap_or_default(),
            )
        })
        .collect()
}

/// Lives one day with one fault. Gives the sites that were met, and how many calls failed.
async fn live(plan: Option<Plan>) -> (Vec<Site>, usize) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users.toml"), "").unwrap();
    let faults = Faults::of(&dir.path().join("spool"));
    let daemon = Daemon::start(dir.path()).await.unwrap();
    let context = format!("{plan:?}");
    faults.begin();
    if let Some(plan) = &plan {
        faults.plan(plan.clone());
    }
    let mut acknowledged = Acknowledged::default();
    let day = acknowledged.day(&daemon, dir.path());
    tokio::time::timeout(HANGS * 5, day)
        .await
        .expect("the day does not end");
    let failures = faults.heal();
    let hosts = faults.seen();
    let spool = daemon.spool.clone();
    if let Some(reason) = spool.unhealthy() {
        let may = plan.as_ref().is_some_and(|plan| is_sync(plan.site.op));
        assert!(may, "{context}: unhealthy: {reason}");
        // What was acknowledged stays true; the rest is for the next start.
        drop(spool);
        daemon.stop().await;
        let daemon = Daemon::start(dir.path()).await.unwrap();
        finish(daemon, &acknowledged, dir.path(), &context, true).await;
    } else {
        drop(spool);
        finish(daemon, &acknowledged, dir.path(), &context, false).await;
        let daemon = Daemon::start(dir.path()).await.unwrap();
        finish(
            daemon,
            &acknowledged,
            dir.path(),
            &format!("{context}, restarted"),
            false,
        )
        .await;
    }
    (hosts, failures)
}

async fn finish(
    daemon: Daemon,
    acknowledged: &Acknowledged,
    dir: &Path,
    context: &str,
    was_unhealthy: bool,
) {
    // A cancel that was not answered may not have come to anything; and a job whose file was away is
    // unknown until it is taken up.
    let mut asked = Acknowledged::default();
    let spool = daemon.spool.clone();
    let ends = tokio::time::timeout(HANGS, async {
        while !acknowledged.unfinished(&spool, was_unhealthy).is_empty() {
            for (job, (_, end)) in &acknowledged.jobs {
                let is_cancelled = |by: &Acknowledged| by.cancelled.contains(job);
                if *end == End::Any && !is_cancelled(acknowledged) && !is_cancelled(&asked) {
                    asked.cancel(&daemon, job).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    if ends.await.is_err() {
        panic!(
            "{context}: not at an end: {:?}",
            acknowledged.unfinished(&spool, was_unhealthy)
        );
    }
    acknowledged.check(&spool, dir, context, was_unhealthy);
    drop(spool);
    daemon.stop().await;
}

fn plans(hosts: Vec<Site>) -> Vec<Plan> {
    let wanted = std::env::var("SPOOLGATE_FAULTS").ok();
    let all = wanted.is_some();
    let wanted = wanted.filter(|wanted| wanted != "all").unwrap_or_default();
    let mut plans = Vec::new();
    for (at, site) in hosts.into_iter().enumerate() {
        if !format!("{} {}", site.op, site.path).starts_with(&wanted) {
            continue;
        }
        let errnos = errnos(&site);
        for (n, errno) in errnos.iter().enumerate() {
            for (m, lasting) in [None, Some(if all { LONG_ILL } else { ILL })]
                .into_iter()
                .enumerate()
            {
                if all || (n == at % errnos.len() && m == (at / 2) % 2) {
                    let (site, errno) = (site.clone(), *errno);
                    plans.push(Plan {
                        site,
                        errno,
                        lasting,
                    });
                }
            }
        }
    }
    plans
}

/// The disk is full when a file is to get its name, and stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users.toml"), "").unwrap();
    let faults = Faults::of(&dir.path().join("spool"));
    let daemon = Daemon::start(dir.path()).await.unwrap();
    let mut acknowledged = Acknowledged::default();
    let before = acknowledged
        .upload(&daemon, "tomorrow", b"<before/>", End::Any)
        .await;
    let before = before.unwrap();
    let site = |op, path: &str| Site {
        op,
        path: path.to_owned(),
    };
    let (works, broken) = (b"<works/>".as_slice(), b"<broken".as_slice());
    for (site, first, then) in [
        (site("rename", "queue/works/#T#.#Z-#.xml"), works, broken),
        (
            site("replace", "joblog/#-#-#/#T#.#Z-#.xml.xml"),
            broken,
            works,
        ),
    ] {
        let (errno, lasting) = (Errno::NOSPC, Some(HANGS));
        faults.plan(Plan {
            site,
            errno,
            lasting,
        });
        let quick = Duration::from_secs(10);
        let answered = tokio::time::timeout(quick, async {
            for body in [first, then] {
                let accepted = acknowledged.upload(&daemon, "works", body, End::Done).await;
                assert_eq!(accepted, None);
            }
            let (job, olga) = (before.clone(), caller());
            let status = daemon.service.execute(&olga, Command::Status { job });
            assert!(matches!(status.await, Ok(Reply::Status(_))));
        });
        answered.await.expect("somebody waits for a full disk");
        faults.heal();
    }
    assert_eq!(acknowledged.refused.len(), 4);
    assert_eq!(daemon.spool.unhealthy(), None);
    let spool = daemon.spool.clone();
    let late = acknowledged
        .upload(&daemon, "works", b"<late/>", End::Done)
        .await
        .unwrap();
    until("a later job", || {
        matches!(spool.find(&late), Ok(Some(Place::Bak(_))))
    })
    .await;
    // Full once more, to the end: the stop does not wait for it.
    let site = site("rename", "bak/works/#-#-#/#T#.#Z-#.xml");
    let (errno, lasting) = (Errno::NOSPC, Some(HANGS * 2));
    faults.plan(Plan {
        site,
        errno,
        lasting,
    });
    acknowledged
        .upload(&daemon, "works", b"<last/>", End::Done)
        .await;
    drop(spool);
    daemon.stop().await;
    faults.heal();
    let daemon = Daemon::start(dir.path()).await.unwrap();
    finish(daemon, &acknowledged, dir.path(), "full to the end", false).await;
}

#[test]
fn a_disk_that_fails_and_heals_costs_no_acknowledged_job() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let (hosts, failures) = runtime.block_on(live(None));
    assert_eq!(failures, 0);
    let plans = Arc::new(Mutex::new(plans(hosts)));
    let n_plans = plans.lock().unwrap().len();
    let n_min = if std::env::var_os("SPOOLGATE_FAULTS").is_some() {
        1
    } else {
        100
    };
    assert!(n_plans >= n_min, "the day has become too short: {n_plans}");
    let faults = Arc::new(Mutex::new((0, Vec::new())));
    runtime.block_on(async {
        let mut days = tokio::task::JoinSet::new();
        for _ in 0..DAYS {
            let (plans, faults) = (plans.clone(), faults.clone());
            days.spawn(async move {
                while faults.lock().unwrap().1.len() < BROKEN_MAX {
                    let Some(plan) = plans.lock().unwrap().pop() else {
                        return;
                    };
                    let lived = tokio::spawn(live(Some(plan.clone()))).await;
                    let mut faults = faults.lock().unwrap();
                    match lived {
                        Ok((_, failures)) => faults.0 += failures.min(1),
                        Err(error) => faults.1.push(format!("{plan:?}: {error}")),
                    }
                }
            });
        }
        while days.join_next().await.is_some() {}
    });
    let (met, broken) = &*faults.lock().unwrap();
    assert!(
        broken.is_empty(),
        "{} of {n_plans} days:\n{}",
        broken.len(),
        broken.join("\n")
    );
    println!("{met} of {n_plans} faults were met");
    assert!(
        met * 10 > n_plans * 8,
        "only {met} of {n_plans} faults were met"
    );
}
