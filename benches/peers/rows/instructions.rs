//! Instructions per request: a count that no neighbour on the machine can change. The server runs
//! under callgrind twice, with few requests and with many; the difference belongs to the requests.
//! Another build takes its turn after ours, in the same run.

use crate::{
    client::{Client, request},
    context::Context,
    documents,
    report::{Line, Target},
    scratch,
    server::Site,
    stats::ratios,
    tools,
};
use anyhow::{Context as _, ensure};
use memchr::memmem;
use std::{
    fs,
    path::{Path, PathBuf},
};

const FEW: usize = 100;
const MANY: usize = 1100;
const MANY_QUICK: usize = 200;
/// The number of the `prctl` by which the server finds the vDSO on Linux 6.4 and later. Under valgrind 3.19 there
/// is none, and the server would end at the first login.
const PR_GET_AUXV: u32 = 0x4155_5856;
/// Which no kernel knows: then `/proc/self/auxv` is read in its place, once in a process.
const PR_UNKNOWN: u32 = 0x4255_5856;
/// Jobs that wait when the queue is listed.
const N_JOBS: usize = 10;
/// Of ours to those of another build.
const RATIO_MAX: f64 = 1.05;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let many = context.choose(MANY, MANY_QUICK);
    let mut ours = Site::new(&for_valgrind(&context.binary)?, "instructions")?;
    let mut others = Vec::new();
    for (n, (what, binary)) in context.others.iter().enumerate() {
        let binary = for_valgrind(binary)?;
        others.push((*what, Site::new(&binary, &format!("instructions-{n}"))?));
    }
    let mut lines = Vec::new();
    for what in [What::Upload, What::JobStatus, What::JobQueue] {
        let mut of_ours = Vec::new();
        let mut of_others = vec![Vec::new(); others.len()];
        // A count alone needs no second one.
        let rounds = if others.is_empty() { 1 } else { context.rounds };
        for _ in 0..rounds {
            of_ours.push(each(&mut ours, what, many)?);
            for ((_, site), values) in others.iter_mut().zip(&mut of_others) {
                values.push(each(site, what, many)?);
            }
        }
        eprintln!("  {}: {of_ours:.1?} thousand", what.name());
        let unit = "thousand instructions each";
        lines.push(Line::new(what.name(), Target::None, of_ours.clone()).unit(unit));
        for ((other, _), values) in others.iter().zip(&of_others) {
            let name = format!("{}: ours / {other}", what.name());
            let line = Line::new(name, Target::AtMost(RATIO_MAX), ratios(&of_ours, values));
            lines.push(line.side(*other, values, "thousand"));
        }
    }
    if let Some(last) = lines.last_mut() {
        last.note = format!(
            "user space only; one connection, one after the other, ({many} requests - {FEW} \
             requests) / {}; without the processor's instructions that valgrind does not know, so \
             ciphers may count for more than they cost",
            many - FEW
        );
    }
    Ok(lines)
}

/// A copy of a binary that valgrind can run.
fn for_valgrind(binary: &Path) -> anyhow::Result<PathBuf> {
    let copy = scratch::dir("for-valgrind")?.join("spoolgate");
    // With its rights.
    fs::copy(binary, &copy)?;
    let bytes = fs::read(binary)?;
    let mut patched = bytes.clone();
    let (from, to) = (PR_GET_AUXV.to_le_bytes(), PR_UNKNOWN.to_le_bytes());
    for at in memmem::find_iter(&bytes, &from) {
        patched[at..at + to.len()].copy_from_slice(&to);
    }
    fs::write(&copy, patched)?;
    Ok(copy)
}

#[derive(Clone, Copy, Debug)]
enum What {
    JobQueue,
    JobStatus,
    Upload,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::JobQueue => "jobqueue of 10",
            Self::JobStatus => "jobstatus",
            Self::Upload => "upload of 4 KiB",
        }
    }
}

/// The instructions of one request, in thousands.
fn each(site: &mut Site, what: What, many: usize) -> anyhow::Result<f64> {
    let few = count(site, what, FEW)?;
    let all = count(site, what, many)?;
    Ok((all - few) / (many - FEW) as f64 / 1000.0)
}

/// All instructions of a server that answers `n_requests` requests.
fn count(site: &mut Site, what: What, n_requests: usize) -> anyhow::Result<f64> {
    site.new_spool()?;
    let out = scratch::dir("callgrind")?.join("out");
    let mut valgrind = tools::VALGRIND.command();
    valgrind
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        // Threads take turns anyway; fewer of them wake each other less.
        .env("TOKIO_WORKER_THREADS", "1");
    let server = site.start_as_argument(valgrind)?;
    let mut client = Client::connect(server.address, &site.trust()?)?;
    let document = documents::plain(documents::USUAL_BYTES);
    let upload = request("POST", "/xml/upload", &site.authorization, &document);
    let mut job = String::new();
    for _ in 0..N_JOBS {
        job = client.ask(&upload)?.job()?;
    }
    let get = |path: &str| request("GET", path, &site.authorization, b"");
    let (asked, status) = match what {
        What::JobQueue => (get("/xml/jobqueue?Interfacename=plain"), 200),
        What::JobStatus => (get(&format!("/xml/jobstatus?Jobname={job}")), 200),
        What::Upload => (upload, 201),
    };
    for _ in 0..n_requests {
        let answer = client.ask(&asked)?;
        ensure!(answer.status == status, "{}", answer.head);
    }
    drop(client);
    server.stop()?;
    total(&out)
}

fn total(out: &Path) -> anyhow::Result<f64> {
    let text = fs::read_to_string(out).context("callgrind left no file")?;
    let lines = text.lines();
    let mut sums = lines.filter_map(|line| {
        let line = line
            .strip_prefix("totals:")
            .or(line.strip_prefix("summary:"))?;
        line.trim().parse::<f64>().ok()
    });
    sums.next().context("callgrind counted nothing")
}
