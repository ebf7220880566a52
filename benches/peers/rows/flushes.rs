//! How often the disk is flushed for an upload, and how often the server asks for it. The kernel
//! counts flushes for a whole device, so what others do on it counts, too: the idle rate is shown.

use super::uploads;
use crate::{
    client::{Client, request},
    context::Context,
    disk::Device,
    documents::{self, USUAL_BYTES},
    report::{Line, Target},
    scratch,
    server::{Server, Site},
    tools,
    wrk::{self, Load},
};
use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use std::{collections::BTreeMap, process::Stdio, time::Duration};

const CONNECTIONS: usize = 64;
const PATH: &str = "/xml/upload";

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let device = Device::of(&scratch::root()?)?;
    let mut site = Site::new(&context.binary, "flushes")?;
    let document = documents::plain(USUAL_BYTES);
    let (mut per_upload, mut idle, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds {
        let server = begin(&mut site, &document)?;
        context.settle()?;
        let before = wait_for_quiet(&device)?;
        let begun = device.flushes()?;
        let outcome = load(&site, &server, &document, context.window)?;
        let flushes = (device.flushes()? - begun) as f64;
        server.stop()?;
        ensure!(
            flushes > 0.0,
            "{} uploads were answered without a flush: {} passes none on, or counts none",
            outcome.requests,
            device.name()
        );
        idle.push(before.max(idle_flushes(&device)?));
        per_upload.push(flushes / outcome.requests);
        rates.push(outcome.per_second);
        eprintln!(
            "  round {}/{}: {} flushes, {} uploads",
            round + 1,
            context.rounds,
            flushes,
            outcome.requests
        );
    }
    let line = Line::new(
        "flushes per durable upload",
        Target::AtMost(0.1),
        per_upload,
    )
    .unit("")
    .side("uploads", &rates, "/s")
    .side(
        "flushes by others, in a second just before or after",
        &idle,
        "/s",
    );
    let name = device.name();
    Ok(vec![line.note(format!(
        "all flushes of {name} that ended while the load ran, by /sys/block/{name}/stat"
    ))])
}

/// Flushes in a second in which we do nothing.
fn idle_flushes(device: &Device) -> anyhow::Result<f64> {
    let before = device.flushes()?;
    std::thread::sleep(Duration::from_secs(1));
    Ok((device.flushes()? - before) as f64)
}

/// Others may flush, too; after a while they may do so.
fn wait_for_quiet(device: &Device) -> anyhow::Result<f64> {
    const FLUSHES_MAX: f64 = 5.0;
    const ATTEMPTS: usize = 15;
    let mut idle = idle_flushes(device)?;
    for _ in 1..ATTEMPTS {
        if idle <= FLUSHES_MAX {
            break;
        }
        idle = idle_flushes(device)?;
    }
    Ok(idle)
}

/// A server on an empty spool that knows the password already.
fn begin(site: &mut Site, document: &[u8]) -> anyhow::Result<Server> {
    site.new_spool()?;
    let server = site.start()?;
    let first = request("POST", PATH, &site.authorization, document);
    let mut client = Client::connect(server.address, &site.trust()?)?;
    client.ask(&first)?.job()?;
    Ok(server)
}

fn load(
    site: &Site,
    server: &Server,
    document: &[u8],
    window: Duration,
) -> anyhow::Result<wrk::Outcome> {
    let load = Load {
        connections: CONNECTIONS,
        window,
        refusals_wanted: false,
    };
    wrk::run(
        &server.url(""),
        &uploads::upload(site, PATH, document),
        load,
    )
}

/// The calls that ask for a flush. Being traced slows each of them, so fewer uploads share one:
/// the count is an upper bound.
pub(crate) fn run_traced(context: &Context) -> anyhow::Result<Vec<Line>> {
    let mut site = Site::new(&context.binary, "syncs")?;
    let document = documents::plain(USUAL_BYTES);
    let mut totals: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..context.rounds.min(3) {
        let server = begin(&mut site, &document)?;
        let before = n_jobs(&site)?;
        let table = scratch::root()?.join("strace.txt");
        let mut strace = tools::STRACE.command();
        let calls = "trace=fsync,fdatasync,sync_file_range,syncfs,msync";
        strace
            .args(["-f", "-c", "-U", "calls,name", "-e", calls, "-p"])
            .arg(server.pid().to_string())
            .arg("-o")
            .arg(&table)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut strace = crate::children::Kept::spawn(&mut strace)?;
        wait_for_tracer(&server)?;
        load(&site, &server, &document, Duration::from_secs(2))?;
        let uploads = n_jobs(&site)? - before;
        strace.end(Signal::INT)?;
        server.stop()?;
        for (name, calls) in counts(&std::fs::read_to_string(&table)?) {
            totals.entry(name).or_default().push(calls / uploads);
        }
        eprintln!("  round {}: {uploads} uploads", round + 1);
    }
    let line = |(name, values): (String, Vec<f64>)| {
        Line::new(format!("{name} per upload"), Target::None, values).unit("")
    };
    let mut lines: Vec<Line> = totals.into_iter().map(line).collect();
    if let Some(last) = lines.last_mut() {
        last.note = "counted by strace, which slows each call; jobs counted in the queue".into();
    }
    Ok(lines)
}

fn n_jobs(site: &Site) -> anyhow::Result<f64> {
    let queue = site.spool("queue/plain");
    let entries = std::fs::read_dir(&queue).with_context(|| format!("{}", queue.display()))?;
    Ok(entries.count() as f64)
}

fn wait_for_tracer(server: &Server) -> anyhow::Result<()> {
    let path = format!("/proc/{}/status", server.pid());
    for _ in 0..500 {
        let status = std::fs::read_to_string(&path)?;
        let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
        if tracer.is_some_and(|pid| pid.trim() != "0") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("strace does not attach; is tracing forbidden (kernel.yama.ptrace_scope)?")
}

/// Lines such as `   1234 fsync`.
fn counts(table: &str) -> Vec<(String, f64)> {
    let lines = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let calls: f64 = words.next()?.parse().ok()?;
        let name = words.next()?;
        (name != "total").then(|| (name.to_owned(), calls))
    });
    lines.collect()
}
