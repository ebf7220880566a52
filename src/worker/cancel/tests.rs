//! Cancelling with a real spool, a real worker and real commands.

use super::*;
use crate::{
    domain::{InterfaceName, Kind, WorkerTags},
    processor::{Command, ExitCodes, PartnersSee, Post, Processor, Retry, Starter},
    scheduler::{LaneRules, Order, Partners},
    store::{
        By, Interrupted,
        fs::{Adopted, EntryKind, FileStore, Fs, Spool, testing::TestSpool},
    },
    util::until::{some, until},
    worker::{Lane, Parts, Rules, Worker},
};
use std::{collections::BTreeMap, os::unix::process::CommandExt, path::PathBuf, time::Instant};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

struct Bench {
    dir: tempfile::TempDir,
    spool: Arc<Spool>,
    interface: InterfaceName,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path())
            .interface("a")
            .clock(|| jiff::Timestamp::now().as_millisecond())
            .journal();
        let spool = spool.open().unwrap();
        spool.start_journal();
        Self {
            dir,
            spool,
            interface,
        }
    }

    /// A worker that runs `script` on each job, in a shell.
    fn work(&self, script: &str, adopted: Vec<Adopted>, stop: &CancellationToken) -> Handle {
        let command = Command {
            argv: ["sh", "-c", script].map(String::from).into(),
            dir: self.dir.path().to_owned(),
            env: Vec::new(),
            exit_codes: ExitCodes::default(),
            timeout: Duration::from_secs(600),
            output_bytes_max: 100_000,
            memory_bytes_max: None,
            open_files_max: None,
            sandbox: None,
            leaves_processes: false,
            partners_see: PartnersSee::All,
        };
        self.work_by(Processor::Command(command), adopted, stop)
    }

    fn work_by(
        &self,
        processor: Processor,
        adopted: Vec<Adopted>,
        stop: &CancellationToken,
    ) -> Handle {
        let lane = Lane {
            processor: Some(processor),
            retry: Retry::default(),
            rules: LaneRules {
                running_max: 1,
                order: Order::None,
                fair: false,
            },
            order_by: None,
            at_most_once: false,
        };
        let store = Arc::new(FileStore::new(self.spool.clone()));
        let worker = Worker::new(Parts {
            adopted: store.adopt(adopted),
            store,
            rules: Rules {
                lanes: BTreeMap::from([(self.interface.clone(), Arc::new(lane))]),
                running_max: 4,
                partners: Partners::default(),
                tags: WorkerTags::All,
            },
            metrics: crate::metrics::Tenant::default(),
            starter: Starter::launch().unwrap(),
            stop: stop.clone(),
            kill: stop.clone(),
        });
        let handle = worker.handle();
        tokio::spawn(worker.run(None));
        handle
    }

    fn queue(&self, handle: Option<&Handle>) -> JobName {
        let name = JobName::new(self.spool.next_id(), None, Kind::Json);
        let mut part = self.spool.begin(name.clone()).unwrap();
        part.write(b"{}").unwrap();
        let sealed = part.seal(&crate::store::NewJob::default()).unwrap();
        let (_, ticket) = self.spool.enqueue(sealed, &self.interface, None).unwrap();
        self.spool.wait(ticket).unwrap();
        self.spool.arrived(&name);
        if let Some(handle) = handle {
            handle.arrived(&self.interface, &name);
        }
        name
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn job(&self, name: &JobName) -> Job {
        Job {
            place: self.spool.find(name).unwrap().unwrap(),
            name: name.clone(),
        }
    }

    /// What a command has written beside the spool.
    async fn written(&self, file: &str) -> String {
        some(file, || {
            let text = std::fs::read_to_string(self.path(file)).ok()?;
            Some(text.strip_suffix('\n')?.trim().to_owned())
        })
        .await
    }

    fn is_there(&self, dir: &str) -> bool {
        let mut there = false;
        let each = &mut |_: &std::ffi::OsStr, _: EntryKind| there = true;
        self.spool.fs().list(dir.as_ref(), each).unwrap();
        there
    }

    fn assert_cancelled(&self, name: &JobName, user: &str) {
        assert!(self.spool.was_cancelled(&self.job(name)));
        let log = self.spool.read_log(name).unwrap();
        let last = log.messages.last().unwrap();
        assert_eq!(last.text, format!("cancelled by {user}"));
    }
}

fn is_dead(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |text| text.contains(") Z"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_all_its_processes_and_publishes_nothing() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let script = "echo one > \"$SPOOLGATE_RESULTS/r\"; mkdir \"$SPOOLGATE_EMIT/a\"; echo two > \"$SPOOLGATE_EMIT/a/e\"
        echo working; sleep 600 & echo $! > child; wait";
    let handle = bench.work(script, Vec::new(), &stop);
    let running = bench.queue(Some(&handle));
    let child = bench.written("child").await;
    let waiting = bench.queue(Some(&handle));
    let cancelled = handle
        .cancel(running.clone(), By::operator("olga"))
        .await
        .unwrap();
    assert_eq!(cancelled, Cancelled::Done { was_running: true });
    bench.assert_cancelled(&running, "olga");
    let log = bench.spool.read_log(&running).unwrap();
    let texts: Vec<&str> = log.messages.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(texts, ["working", "cancelled by olga"]);
    assert!(!bench.is_there("results"));
    until("the end of the child", || is_dead(&child)).await;
    // Its lane is free again, and its end is no attempt of another.
    until("the first run of the next", || {
        matches!(bench.job(&waiting).place, Place::Work { attempt: 1, .. })
    })
    .await;
    let again = handle.cancel(running, By::operator("pete")).await.unwrap();
    assert_eq!(again, Cancelled::NotActive);
    let listed = bench.spool.list(&bench.interface).unwrap();
    let listed: Vec<JobName> = listed.into_iter().map(|job| job.name).collect();
    assert_eq!(listed, [waiting], "what it emitted is not there");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_never_runs() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let script = "echo \"$SPOOLGATE_JOB\" >> ran; while test -e gate; do sleep 0.01; done";
    std::fs::write(bench.path("gate"), "").unwrap();
    let handle = bench.work(script, Vec::new(), &stop);
    let first = bench.queue(Some(&handle));
    assert_eq!(bench.written("ran").await, first.to_string());
    let (second, third) = (bench.queue(Some(&handle)), bench.queue(Some(&handle)));
    let cancelled = handle
        .cancel(second.clone(), By::operator("olga"))
        .await
        .unwrap();
    assert_eq!(cancelled, Cancelled::Done { was_running: false });
    bench.assert_cancelled(&second, "olga");
    let unknown = JobName::new(bench.spool.next_id(), None, Kind::Json);
    let none = handle.cancel(unknown, By::operator("olga")).await.unwrap();
    assert_eq!(none, Cancelled::NotActive);
    std::fs::remove_file(bench.path("gate")).unwrap();
    let done = Place::Bak(bench.interface.clone());
    until("the end of the third", || bench.job(&third).place == done).await;
    let ran = std::fs::read_to_string(bench.path("ran")).unwrap();
    assert_eq!(ran, format!("{first}\n{third}\n"));
    stop.cancel();
}

/// Whoever is quicker: what is answered is what has happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_meets_the_end_of_a_run_has_one_outcome() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let handle = bench.work("echo x > \"$SPOOLGATE_RESULTS/r\"", Vec::new(), &stop);
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for n in 0..45 {
        let name = bench.queue(Some(&handle));
        let has_run = || matches!(bench.job(&name).place, Place::Bak(_));
        // At once, somewhere in its run, or after it.
        let is_time = || match n % 3 {
            0 => true,
            1 => handle.0.runs.of(&name).is_some() || has_run(),
            _ => has_run(),
        };
        let begun = Instant::now();
        while !is_time() {
            assert!(begun.elapsed().as_secs() < 60, "it does not run");
            tokio::task::yield_now().await;
        }
        let cancelled = handle
            .cancel(name.clone(), By::operator("olga"))
            .await
            .unwrap();
        let job = bench.job(&name);
        let results = bench.spool.results_of(&name).unwrap().0.len();
        let outcome = match cancelled {
            Cancelled::Done { was_running } => {
                bench.assert_cancelled(&name, "olga");
                assert_eq!(results, 0);
                if was_running { "run" } else { "waiting" }
            }
            Cancelled::NotActive => {
                assert_eq!(job.place, Place::Bak(bench.interface.clone()));
                assert_eq!(results, 1);
                "too late"
            }
            Cancelled::Pending => panic!("nothing takes so long here"),
        };
        *outcomes.entry(outcome).or_default() += 1;
        // Its job has moved before the run that it had is cleared away.
        until("an empty directory", || !bench.is_there("work/a")).await;
    }
    assert!(
        outcomes["too late"] >= 15 && outcomes.len() > 1,
        "{outcomes:?}"
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_outlived_its_service_is_ended_too() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let name = bench.queue(None);
    let mut claim = bench.spool.claim(&bench.interface, &name).unwrap().unwrap();
    claim.begin();
    let output = claim.lock().try_clone().unwrap();
    let mut command = std::process::Command::new("sleep");
    command.arg("600").stdout(output).process_group(0);
    let mut child = command.spawn().unwrap();
    // It has the output open as well.
    drop(command);
    drop(claim);
    let adopted = Adopted {
        interface: bench.interface.clone(),
        name: name.clone(),
        attempt: 1,
        cut: Interrupted::Crash,
    };
    let handle = bench.work("true", vec![adopted], &stop);
    assert!(handle.eta_ms(&bench.job(&name)) > Some(bench.spool.now_ms()));
    let reaped = std::thread::spawn(move || child.wait());
    let cancelled = handle
        .cancel(name.clone(), By::operator("olga"))
        .await
        .unwrap();
    assert_eq!(cancelled, Cancelled::Done { was_running: true });
    bench.assert_cancelled(&name, "olga");
    assert!(!reaped.join().unwrap().unwrap().success());
    assert_eq!(handle.eta_ms(&bench.job(&name)), None);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_knows_the_runs_and_the_jobs_before() {
    let (bench, stop) = (Bench::new(), CancellationToken::new());
    let handle = bench.work("echo >> ran; test -e gate && sleep 600", Vec::new(), &stop);
    let done = bench.queue(Some(&handle));
    until("the end of the first", || {
        bench.job(&done).place == Place::JobErrors
    })
    .await;
    handle.0.ran(&bench.interface, 39_900);
    std::fs::write(bench.path("gate"), "").unwrap();
    let jobs = [(); 3].map(|()| bench.queue(Some(&handle)));
    until("one run", || bench.spool.ready_jobs(&bench.interface) == 2).await;
    // Jobs that come at once may be met in another order.
    let is_running = |job: &JobName| matches!(bench.job(job).place, Place::Work { .. });
    let (mut jobs, waiting): (Vec<JobName>, Vec<JobName>) = jobs.into_iter().partition(is_running);
    jobs.extend(waiting);
    let left_s = |name: &JobName| {
        let eta_ms = handle.eta_ms(&bench.job(name)).unwrap();
        (eta_ms - bench.spool.now_ms()) / 1000
    };
    // That the first run has ended is noted a moment after its job has moved.
    until("an estimate", || left_s(&jobs[0]) <= 30).await;
    // Two runs, of nearly nothing and 40 s, make 20 s; a lane of one runs one after the other.
    for (job, expected_s) in jobs.iter().zip([10..=30, 30..=50, 50..=70]) {
        let left_s = left_s(job);
        assert!(expected_s.contains(&left_s), "{left_s} of {expected_s:?}");
    }
    let by = By::service("the test");
    bench.spool.hold(&bench.interface, &by, None).unwrap();
    assert!(left_s(&jobs[1]) >= 59, "nothing is started");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_answer_is_left() {
    let bench = Bench::new();
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let post = Post::new(&url, None, None, Duration::from_secs(600), 100).unwrap();
    let handle = bench.work_by(Processor::Post(post), Vec::new(), &stop);
    let name = bench.queue(Some(&handle));
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut begin = [0; 7];
    connection.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"POST / ");
    let cancelled = handle
        .cancel(name.clone(), By::operator("olga"))
        .await
        .unwrap();
    assert_eq!(cancelled, Cancelled::Done { was_running: true });
    bench.assert_cancelled(&name, "olga");
    // The receiver is told by the end of the connection.
    let _ = connection.read_to_end(&mut Vec::new()).await;
    stop.cancel();
}
