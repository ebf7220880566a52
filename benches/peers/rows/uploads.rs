//! Durable uploads of 4 KiB. Ours answers when the job would survive a power cut; nginx answers
//! when it has written the file, which then is not on the disk yet. The bare filesystem makes the
//! same promise as we do, without a server.

use crate::{
    bare_fs::{self, DirectorySync},
    client,
    context::Context,
    documents::{self, USUAL_BYTES},
    nginx::Nginx,
    process,
    report::{Line, Target},
    server::Site,
    sides::{Sample, Side, take_turns},
    stats::ratios,
    wrk::{self, Load, Request},
};
use anyhow::ensure;
use std::{cell::RefCell, fs, path::Path, time::Duration};

const CPU_TARGET: f64 = 0.08;
const EMPTY: &str = "an empty request";
const NGINX: &str = "nginx unsynced";
/// As `Context` calls it.
const UNSYNCED: &str = "ours unsynced";

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let bench = Bench::new(context)?;
    let mut lines = Vec::new();
    let all = context.choose(&[64, 8, 1][..], &[64, 1]);
    for connections in all.iter().copied() {
        eprintln!("  {}", at(connections));
        lines.extend(compare(context, &bench, connections)?);
    }
    Ok(lines)
}

struct Bench {
    /// Several sides use it, one after the other.
    site: RefCell<Site>,
    others: Vec<(&'static str, RefCell<Site>)>,
    plain: Vec<u8>,
    orders: Vec<u8>,
}

impl Bench {
    fn new(context: &Context) -> anyhow::Result<Self> {
        let site = Site::new(&context.binary, "uploads")?;
        let mut others = Vec::new();
        for (n, (what, binary)) in context.others.iter().enumerate() {
            let site = Site::new(binary, &format!("uploads-{n}"))?;
            others.push((*what, RefCell::new(site)));
        }
        Ok(Self {
            site: RefCell::new(site),
            others,
            plain: documents::plain(USUAL_BYTES),
            orders: documents::orders(USUAL_BYTES),
        })
    }
}

fn compare(context: &Context, bench: &Bench, connections: usize) -> anyhow::Result<Vec<Line>> {
    const PATH: &str = "/xml/upload";
    let mut sides = vec![
        Side::new("ours", |window| {
            ours(&bench.site, PATH, &bench.plain, connections, window)
        }),
        Side::new(NGINX, |window| {
            nginx_put(&bench.site, &bench.plain, connections, window)
        }),
        Side::new("bare filesystem", |window| {
            bare(DirectorySync::Each, &bench.plain, connections, window)
        }),
    ];
    if connections > 1 {
        sides.push(Side::new(
            "bare filesystem, directory syncs shared",
            |window| bare(DirectorySync::Grouped, &bench.plain, connections, window),
        ));
    }
    for (what, site) in &bench.others {
        sides.push(Side::new(*what, |window| {
            ours(site, PATH, &bench.plain, connections, window)
        }));
    }
    match connections {
        64 => sides.push(Side::new("ours, by a schema", |window| {
            let path = "/xml/upload?Interfacename=checked";
            ours(&bench.site, path, &bench.orders, connections, window)
        })),
        1 => sides.push(Side::new(EMPTY, |window| {
            empty_request(&bench.site, window)
        })),
        _ => {}
    }
    take_turns(context, &mut sides)?;
    Ok(lines(&sides, connections))
}

fn at(connections: usize) -> String {
    match connections {
        1 => "1 connection".into(),
        n => format!("{n} connections"),
    }
}

fn lines(sides: &[Side<'_>], connections: usize) -> Vec<Line> {
    let ours = &sides[0];
    let mut lines = Vec::new();
    for side in sides[1..].iter().filter(|side| side.label != EMPTY) {
        let what = format!("{}: ours / {}", at(connections), side.label);
        let values = ratios(&ours.rates(), &side.rates());
        let line = match (side.label.as_str(), connections) {
            (NGINX, 64) => Line::new(what, Target::AtLeast(1.3), values).stretch(1.6),
            (UNSYNCED, 64) => Line::new(what, Target::AtLeast(0.7), values).stretch(0.85),
            _ => Line::new(what, Target::None, values),
        };
        lines.push(
            line.side("ours", &ours.rates(), "/s")
                .side(&side.label, &side.rates(), "/s"),
        );
    }
    if connections == 64 {
        if !sides.iter().any(|side| side.label == UNSYNCED) {
            let what = format!("{}: ours / {UNSYNCED}", at(connections));
            let line = Line::new(what, Target::AtLeast(0.7), Vec::new()).stretch(0.85);
            lines.push(line.note("SPOOLGATE_UNSYNCED_BIN names no binary that syncs nothing"));
        }
        lines.extend(cpu(sides));
    }
    if connections == 1 {
        lines.extend(latency(sides));
    }
    lines
}

fn cpu(sides: &[Side<'_>]) -> Vec<Line> {
    let [ours, nginx] = [&sides[0], &sides[1]].map(Side::cpu_per_1000);
    let line = Line::new(
        "server CPU per 1000 durable uploads, 64 connections",
        Target::AtMost(CPU_TARGET),
        ours,
    );
    let line = line.unit("s").side(NGINX, &nginx, "s");
    vec![line.note("user and system time of the server's processes, by /proc")]
}

/// The sum of what must be done is compared with what it takes: p50 of each, in the same round.
fn latency(sides: &[Side<'_>]) -> Vec<Line> {
    let p50 = |side: &Side<'_>| side.values(|sample| sample.p50_us);
    let empty = sides.iter().find(|side| side.label == EMPTY);
    let Some(empty) = empty.map(p50) else {
        return Vec::new();
    };
    let (ours, bare) = (p50(&sides[0]), p50(&sides[2]));
    let sum: Vec<f64> = bare.iter().zip(&empty).map(|(a, b)| a + b).collect();
    let line = Line::new(
        "1 connection: p50 of ours / (bare system calls + an empty request)",
        Target::AtMost(1.5),
        ratios(&ours, &sum),
    );
    let line = line
        .side("ours", &ours, "µs")
        .side("bare system calls", &bare, "µs")
        .side("an empty request (405)", &empty, "µs");
    vec![line]
}

/// On a spool of its own, because a directory that grows gets slower.
fn ours(
    site: &RefCell<Site>,
    path: &str,
    document: &[u8],
    connections: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let mut site = site.borrow_mut();
    site.new_spool()?;
    let server = site.start()?;
    // The first look at the password is slow on purpose.
    let request = client::request("POST", path, &site.authorization, document);
    client::Client::connect(server.address, &site.trust()?)?
        .ask(&request)?
        .job()?;
    let load = Load {
        connections,
        window,
        refusals_wanted: false,
    };
    let before = process::cpu_seconds(server.pid())?;
    let outcome = wrk::run(&server.url(""), &upload(&site, path, document), load)?;
    let after = process::cpu_seconds(server.pid())?;
    let interface = if path.contains("checked") {
        "checked"
    } else {
        "plain"
    };
    all_are_there(&site.spool("queue").join(interface), outcome.requests)?;
    server.stop()?;
    Ok(sample(outcome, after - before))
}

pub(super) fn upload<'a>(site: &Site, path: &str, document: &'a [u8]) -> Request<'a> {
    Request::Upload {
        head: format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nX-Number: #\r\n\
             Content-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            site.authorization,
            document.len()
        ),
        body: document,
    }
}

fn nginx_put(
    site: &RefCell<Site>,
    document: &[u8],
    connections: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let nginx = Nginx::start(&site.borrow())?;
    let request = Request::Upload {
        head: format!(
            "PUT /put/20261122T045748.123Z-#.xml HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            document.len()
        ),
        body: document,
    };
    let load = Load {
        connections,
        window,
        refusals_wanted: false,
    };
    let before = nginx.cpu_seconds()?;
    let outcome = wrk::run(&nginx.url(""), &request, load)?;
    let after = nginx.cpu_seconds()?;
    all_are_there(&nginx.file("put"), outcome.requests)?;
    nginx.stop()?;
    Ok(sample(outcome, after - before))
}

/// A rate of answers is worth nothing if there is not a file for each.
fn all_are_there(dir: &Path, answers: f64) -> anyhow::Result<()> {
    let n_files = fs::read_dir(dir)?.count();
    ensure!(
        n_files as f64 >= answers,
        "{answers} uploads were answered, and there are {n_files} files"
    );
    Ok(())
}

fn bare(
    syncs: DirectorySync,
    document: &[u8],
    writers: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let outcome = bare_fs::run(writers, syncs, document, window)?;
    Ok(Sample {
        per_second: outcome.per_second,
        p50_us: outcome.p50_us,
        p99_us: outcome.p99_us,
        cpu_seconds: f64::NAN,
        operations: outcome.written,
    })
}

/// What a request costs that has nothing to do: the wrong method for its path.
fn empty_request(site: &RefCell<Site>, window: Duration) -> anyhow::Result<Sample> {
    let site = site.borrow();
    let server = site.start()?;
    let request = Request::Get {
        path: "/xml/upload",
        authorization: Some(&site.authorization),
    };
    let load = Load {
        connections: 1,
        window,
        refusals_wanted: true,
    };
    let outcome = wrk::run(&server.url(""), &request, load)?;
    server.stop()?;
    Ok(sample(outcome, f64::NAN))
}

pub(super) fn sample(outcome: wrk::Outcome, cpu_seconds: f64) -> Sample {
    Sample {
        per_second: outcome.per_second,
        p50_us: outcome.p50_us,
        p99_us: outcome.p99_us,
        cpu_seconds,
        operations: outcome.requests,
    }
}
