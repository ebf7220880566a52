//! Jobs that are worked on by a program that does nothing: what remains is our own part.

use crate::{
    arrivals::Arrivals,
    client::{Client, request},
    context::Context,
    documents::{self, Repeated},
    report::{Line, Target},
    server::{Server, Site},
    sides::{Sample, Side, take_turns},
    stats::{self, ratios},
};
use anyhow::{Context as _, ensure};
use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const JOBS_PER_SECOND: f64 = 50.0;
const SENDERS: usize = 8;
const CONCURRENCY: usize = 4;
const N_JOBS: usize = 2000;
const N_JOBS_QUICK: usize = 400;
const PATIENCE: Duration = Duration::from_secs(120);
const NOTHING: &str = "/bin/true";

fn upload(site: &Site) -> Vec<u8> {
    let document = Repeated::new("Noop", documents::USUAL_BYTES).whole();
    request("POST", "/xml/upload", &site.authorization, &document)
}

/// Open loop: a job is sent when it is due, however long others take.
pub(crate) fn run_latency(context: &Context) -> anyhow::Result<Vec<Line>> {
    let mut site = Site::new(&context.binary, "processed")?;
    let (mut p50, mut p99, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    // At this rate a window has to be long to hold a hundredth.
    let window = context.choose(2 * context.window, 3 * context.window);
    for round in 0..context.rounds {
        site.new_spool()?;
        let server = site.start()?;
        let arrivals = Arrivals::watch(&site.spool("bak/noop"))?;
        context.settle()?;
        let sent = send_all(&site, &server, window)?;
        let came = arrivals.wait(sent.len(), PATIENCE)?;
        server.stop()?;
        let came: HashMap<String, Instant> = came.into_iter().collect();
        let mut latencies = Vec::new();
        for job in &sent {
            let came = came.get(&job.name).context("a job got another name")?;
            latencies.push(stats::millis(came.saturating_duration_since(job.sent)));
        }
        let answers: Vec<f64> = sent.iter().map(|job| job.answered_ms).collect();
        p50.push(stats::percentile(&latencies, 0.5));
        p99.push(stats::percentile(&latencies, 0.99));
        answered.push(stats::percentile(&answers, 0.5));
        eprintln!(
            "  round {}/{}: {} jobs, p50 {:.2} ms, p99 {:.2} ms",
            round + 1,
            context.rounds,
            latencies.len(),
            stats::percentile(&latencies, 0.5),
            stats::percentile(&latencies, 0.99)
        );
    }
    let how = "from the first byte of the upload to the job's name in bak/<interface>/<day>, \
               by inotify; the upload's own answer is a part of it";
    Ok(vec![
        Line::new("upload to processed, p50", Target::AtMost(5.0), p50)
            .stretch(2.5)
            .unit("ms")
            .side("the upload's answer, p50", &answered, "ms")
            .note(how),
        Line::new("upload to processed, p99", Target::AtMost(25.0), p99).unit("ms"),
    ])
}

struct Sent {
    name: String,
    sent: Instant,
    answered_ms: f64,
}

fn send_all(site: &Site, server: &Server, window: Duration) -> anyhow::Result<Vec<Sent>> {
    let upload = &upload(site);
    let trust = &site.trust()?;
    let sent = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS)
            .map(|n| {
                scope.spawn(move || -> anyhow::Result<Vec<Sent>> {
                    let mut client = Client::connect(server.address, trust)?;
                    send_until(&mut client, site, upload, n, window)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok(sent.into_iter().flatten().collect())
}

fn send_until(
    client: &mut Client,
    site: &Site,
    upload: &[u8],
    sender: usize,
    window: Duration,
) -> anyhow::Result<Vec<Sent>> {
    // The first look at the password is slow on purpose; it makes no job.
    client.ask(&request(
        "GET",
        "/xml/jobqueue?Interfacename=noop",
        &site.authorization,
        b"",
    ))?;
    let interval = Duration::from_secs_f64(SENDERS as f64 / JOBS_PER_SECOND);
    let begun = Instant::now();
    let mut due = begun + interval.mul_f64(sender as f64 / SENDERS as f64);
    let mut all = Vec::new();
    while due < begun + window {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        let name = client.ask(upload)?.job()?;
        let answered_ms = stats::millis(sent.elapsed());
        all.push(Sent {
            name,
            sent,
            answered_ms,
        });
        due += interval;
    }
    Ok(all)
}

/// A queue that was filled while it was held is released, and worked off.
pub(crate) fn run_rate(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_jobs = context.choose(N_JOBS, N_JOBS_QUICK);
    let mut site = Site::new(&context.binary, "processing")?;
    let mut sides = [
        Side::new("ours", |_| work_off(context, &mut site, n_jobs)),
        Side::new("bare fork, exec, wait", |window| {
            bare(window.min(Duration::from_secs(3)))
        }),
    ];
    take_turns(context, &mut sides)?;
    let [ours, bare] = &sides;
    let line = Line::new(
        "jobs worked off, concurrency 4: ours / bare loop",
        Target::AtLeast(0.6),
        ratios(&ours.rates(), &bare.rates()),
    )
    .stretch(0.8);
    let cpu = Line::new(
        "processor time per 1000 jobs, commands included",
        Target::None,
        ours.cpu_per_1000(),
    );
    Ok(vec![
        line.side("ours", &ours.rates(), "/s")
            .side("bare", &bare.rates(), "/s")
            .note(format!(
                "{n_jobs} jobs, from the removal of .hold to the last name in bak, durable at each step"
            )),
        cpu.unit("s").note("of the server and of what it waited for"),
    ])
}

pub(super) fn work_off(
    context: &Context,
    site: &mut Site,
    n_jobs: usize,
) -> anyhow::Result<Sample> {
    site.new_spool()?;
    let queue = site.spool("queue/noop");
    fs::create_dir_all(&queue)?;
    let hold = queue.join(".hold");
    fs::write(&hold, "until the queue is full")?;
    let server = site.start()?;
    fill(site, server.address, n_jobs)?;
    let arrivals = Arrivals::watch(&site.spool("bak/noop"))?;
    context.settle()?;
    let before = crate::process::cpu_seconds_with_children(server.pid())?;
    let begun = Instant::now();
    fs::remove_file(&hold)?;
    let came = arrivals.wait(n_jobs, PATIENCE)?;
    let last = came
        .iter()
        .map(|(_, at)| *at)
        .max()
        .context("no job came")?;
    let seconds = last.duration_since(begun).as_secs_f64();
    let cpu_seconds = crate::process::cpu_seconds_with_children(server.pid())? - before;
    server.stop()?;
    ensure!(came.len() == n_jobs, "{} of {n_jobs} jobs came", came.len());
    Ok(Sample {
        per_second: n_jobs as f64 / seconds,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        cpu_seconds,
        operations: n_jobs as f64,
    })
}

fn fill(site: &Site, address: SocketAddr, n_jobs: usize) -> anyhow::Result<()> {
    const CLIENTS: usize = 16;
    let (upload, trust) = (&upload(site), &site.trust()?);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|n| {
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut client = Client::connect(address, trust)?;
                    for _ in (n..n_jobs).step_by(CLIENTS) {
                        client.ask(upload)?.job()?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// The same program, started and waited for by as many threads, and nothing else.
fn bare(window: Duration) -> anyhow::Result<Sample> {
    let begun = Instant::now();
    let ran = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONCURRENCY)
            .map(|_| {
                scope.spawn(move || -> anyhow::Result<usize> {
                    let mut n = 0;
                    while begun.elapsed() < window {
                        let mut command = Command::new(NOTHING);
                        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
                        ensure!(quiet.status()?.success(), "{NOTHING} failed");
                        n += 1;
                    }
                    Ok(n)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum::<anyhow::Result<usize>>()
    })?;
    Ok(Sample {
        per_second: ran as f64 / begun.elapsed().as_secs_f64(),
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        cpu_seconds: f64::NAN,
        operations: ran as f64,
    })
}
