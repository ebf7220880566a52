//! A million jobs: queued beside an empty spool, and archived when the server starts.
//!
//! The jobs are empty files with valid names, made in the directory itself: neither a listing nor
//! a status reads a job's content.

use super::{
    bodies::Curl,
    uploads::{sample, upload},
};
use crate::{
    client::{Client, request},
    context::Context,
    documents::{self, USUAL_BYTES},
    process,
    report::{Line, Target},
    server::{Server, Site},
    sides::{Sample, Side, take_turns},
    stats::{self, ratios},
    wrk::{self, Load, Request},
};
use anyhow::Context as _;
use std::{
    cell::RefCell,
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 64;
const N_JOBS: usize = 1_000_000;
const N_JOBS_QUICK: usize = 100_000;
const DAY: &str = "2025-01-02";

pub(super) fn name(n: usize) -> String {
    let (second, ms) = (n / 1000, n % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("20250102T{hour:02}{minute:02}{second:02}.{ms:03}Z-00000.xml")
}

pub(super) fn make_jobs(dir: &Path, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    eprintln!("  making {} files", numbers.len());
    fs::create_dir_all(dir)?;
    for n in numbers {
        File::create_new(dir.join(name(n))).with_context(|| format!("cannot make {}", name(n)))?;
    }
    Ok(())
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_jobs = context.choose(N_JOBS, N_JOBS_QUICK);
    let full = Site::new(&context.binary, "million")?;
    let queue = full.spool("queue/plain");
    make_jobs(&queue, 0..n_jobs)?;
    context.settle()?;
    let server = full.start()?;
    process::forget_peak(server.pid())?;
    let empty = RefCell::new(Site::new(&context.binary, "empty")?);
    let mut lines = vec![list(context, &full, &server, n_jobs)?];
    let bench = Bench {
        full: &full,
        server: &server,
        empty: &empty,
        n_jobs,
    };
    lines.push(bench.statuses(context)?);
    lines.push(bench.uploads(context)?);
    let resident = process::mebibytes(server.pid(), "VmRSS")?;
    let peak = process::mebibytes(server.pid(), "VmHWM")?;
    let memory = Line::new(
        format!("memory with {n_jobs} queued, the most"),
        Target::AtMost(100.0),
        vec![peak],
    )
    .stretch(60.0);
    lines.push(
        memory
            .unit("MiB")
            .side("at the end", &[resident], "MiB")
            .note("resident; over the listings, status requests and uploads of this row"),
    );
    server.stop()?;
    Ok(lines)
}

fn list(context: &Context, site: &Site, server: &Server, n_jobs: usize) -> anyhow::Result<Line> {
    let curl = Curl { site };
    let url = server.url("/xml/jobqueue?Interfacename=plain");
    curl.seconds(&url, &[], 200)?;
    let mut seconds = Vec::new();
    for _ in 0..context.rounds {
        context.settle()?;
        seconds.push(curl.seconds(&url, &[], 200)?);
    }
    eprintln!(
        "  the whole list: {} s",
        stats::short(stats::median(&seconds))
    );
    let line = Line::new(
        format!("jobqueue of {n_jobs}, the whole list"),
        Target::AtMost(1.5),
        seconds,
    );
    Ok(line
        .unit("s")
        .note("over TLS, from the request to the last byte"))
}

struct Bench<'a> {
    full: &'a Site,
    server: &'a Server,
    empty: &'a RefCell<Site>,
    n_jobs: usize,
}

impl Bench<'_> {
    fn statuses(&self, context: &Context) -> anyhow::Result<Line> {
        eprintln!("  jobstatus");
        let asked = format!("/xml/jobstatus?Jobname={}", name(self.n_jobs / 2));
        let mut sides = [
            Side::new("full", |window| {
                load(self.server, &get(&asked, self.full), window)
            }),
            Side::new("empty", |window| {
                let (site, server) = self.fresh()?;
                let site = site.borrow();
                let mut client = Client::connect(server.address, &site.trust()?)?;
                let job = client.ask(&upload_once(&site))?.job()?;
                let asked = format!("/xml/jobstatus?Jobname={job}");
                let outcome = load(&server, &get(&asked, &site), window)?;
                server.stop()?;
                Ok(outcome)
            }),
        ];
        take_turns(context, &mut sides)?;
        Ok(self.line("jobstatus", &sides))
    }

    fn uploads(&self, context: &Context) -> anyhow::Result<Line> {
        eprintln!("  uploads");
        let document = documents::plain(USUAL_BYTES);
        let mut sides = [
            Side::new("full", |window| {
                let request = upload(self.full, "/xml/upload", &document);
                load(self.server, &request, window)
            }),
            Side::new("empty", |window| {
                let (site, server) = self.fresh()?;
                let site = site.borrow();
                let mut client = Client::connect(server.address, &site.trust()?)?;
                client.ask(&upload_once(&site))?.job()?;
                let request = upload(&site, "/xml/upload", &document);
                let outcome = load(&server, &request, window)?;
                server.stop()?;
                Ok(outcome)
            }),
        ];
        take_turns(context, &mut sides)?;
        Ok(self.line("durable uploads", &sides))
    }

    fn fresh(&self) -> anyhow::Result<(&RefCell<Site>, Server)> {
        self.empty.borrow_mut().new_spool()?;
        let server = self.empty.borrow().start()?;
        Ok((self.empty, server))
    }

    fn line(&self, what: &str, sides: &[Side<'_>; 2]) -> Line {
        let [full, empty] = sides;
        Line::new(
            format!("{what}, 64 connections: {} queued / empty", self.n_jobs),
            Target::AtLeast(0.9),
            ratios(&full.rates(), &empty.rates()),
        )
        .side("full", &full.rates(), "/s")
        .side("empty", &empty.rates(), "/s")
    }
}

fn get<'a>(path: &'a str, site: &'a Site) -> Request<'a> {
    Request::Get {
        path,
        authorization: Some(&site.authorization),
    }
}

fn load(server: &Server, request: &Request<'_>, window: Duration) -> anyhow::Result<Sample> {
    let load = Load {
        connections: CONNECTIONS,
        window,
        refusals_wanted: false,
    };
    Ok(sample(wrk::run(&server.url(""), request, load)?, f64::NAN))
}

fn upload_once(site: &Site) -> Vec<u8> {
    let document = documents::plain(USUAL_BYTES);
    request("POST", "/xml/upload", &site.authorization, &document)
}

pub(crate) fn run_start(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_archived = context.choose(N_JOBS, N_JOBS_QUICK);
    let n_queued = n_archived / 10;
    let site = Site::new(&context.binary, "start")?;
    let day = site.spool("bak/plain").join(DAY);
    make_jobs(&day, 0..n_archived)?;
    // Names that none of the archived ones has.
    make_jobs(&site.spool("queue/plain"), N_JOBS..N_JOBS + n_queued)?;
    context.settle()?;
    let (mut upload_s, mut listening_s) = (Vec::new(), Vec::new());
    for round in 0..context.rounds {
        let begun = Instant::now();
        let server = site.start()?;
        listening_s.push(begun.elapsed().as_secs_f64());
        let mut client = Client::connect(server.address, &site.trust()?)?;
        client.ask(&upload_once(&site))?.job()?;
        upload_s.push(begun.elapsed().as_secs_f64());
        server.stop()?;
        eprintln!(
            "  round {}: {:.2} s",
            round + 1,
            begun.elapsed().as_secs_f64()
        );
    }
    let line = Line::new(
        format!("start with {n_archived} in bak and {n_queued} queued, to the first 201"),
        Target::AtMost(2.0),
        upload_s,
    );
    Ok(vec![
        line.unit("s")
            .side("to the first listening line", &listening_s, "s")
            .note("directories in the page cache; the first login's Argon2id hash is a part of it"),
    ])
}
