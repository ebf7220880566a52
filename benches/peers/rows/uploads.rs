//! Durable uploads of 4 KiB. Ours answers when the job would survive a power cut; nginx answers
//! when it has made, written and renamed the file, which then is not on the disk yet. The floor
//! makes the same promise as we do, and does nothing else.

use crate::{
    client,
    context::Context,
    documents::{self, USUAL_BYTES},
    floor::{Floor, Naming},
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

const NGINX: &str = "nginx unsynced";
const CHECKED: &str = "ours, by a schema";
const FLOOR: &str = "floor";
const FLOOR_BEHIND: &str = "floor, files named behind the answer";
const FLOOR_CHECKED: &str = "floor, by a schema";
const SCHEMA: &str = "orders_in";
const PATH: &str = "/xml/upload";
const PATH_CHECKED: &str = "/xml/upload?Interfacename=checked";

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let bench = Bench::new(context)?;
    let mut lines = Vec::new();
    for connections in [64, 8, 1] {
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

    fn floor(
        &self,
        naming: Naming,
        schema: Option<&'static str>,
        connections: usize,
        window: Duration,
    ) -> anyhow::Result<Sample> {
        let floor = Floor::start(&self.site.borrow(), naming, schema)?;
        let document = schema.map_or(&self.plain, |_| &self.orders);
        let request = upload(&self.site.borrow(), PATH, document);
        // Our own process is that server, and does nothing else meanwhile.
        let before = process::own_cpu_seconds_alone()?;
        let outcome = wrk::run(&floor.server.url(""), &request, load(connections, window))?;
        let after = process::own_cpu_seconds_alone()?;
        all_are_there(&floor.stop()?, outcome.requests)?;
        Ok(sample(outcome, after - before))
    }
}

fn compare(context: &Context, bench: &Bench, connections: usize) -> anyhow::Result<Vec<Line>> {
    let mut sides = vec![
        Side::new("ours", |window| {
            ours(&bench.site, PATH, &bench.plain, connections, window)
        }),
        Side::new(NGINX, |window| {
            nginx_put(&bench.site, &bench.plain, connections, window)
        }),
        Side::new(FLOOR, |window| {
            bench.floor(Naming::Before, None, connections, window)
        }),
        Side::new(FLOOR_BEHIND, |window| {
            bench.floor(Naming::Behind, None, connections, window)
        }),
    ];
    for (what, site) in &bench.others {
        sides.push(Side::new(*what, |window| {
            ours(site, PATH, &bench.plain, connections, window)
        }));
    }
    if connections == 64 {
        sides.push(Side::new(CHECKED, |window| {
            ours(
                &bench.site,
                PATH_CHECKED,
                &bench.orders,
                connections,
                window,
            )
        }));
        sides.push(Side::new(FLOOR_CHECKED, |window| {
            bench.floor(Naming::Before, Some(SCHEMA), connections, window)
        }));
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
    let named = |label: &str| sides.iter().find(|side| side.label == label);
    let rates = |one: &Side<'_>, other: &Side<'_>, target| {
        let what = format!("{}: {} / {}", at(connections), one.label, other.label);
        Line::new(what, target, ratios(&one.rates(), &other.rates()))
            .side(&one.label, &one.rates(), "/s")
            .side(&other.label, &other.rates(), "/s")
    };
    let (ours, nginx) = (&sides[0], &sides[1]);
    let beside_nginx = match connections {
        64 => rates(ours, nginx, Target::AtLeast(1.1))
            .stretch(1.25)
            .must(),
        8 => rates(ours, nginx, Target::AtLeast(0.7)).stretch(1.1),
        _ => rates(ours, nginx, Target::AtLeast(0.5)).stretch(0.8),
    };
    let mut lines = vec![beside_nginx];
    let compared = [CHECKED, FLOOR_CHECKED];
    let rest = sides[2..].iter();
    let rest = rest.filter(|side| !compared.contains(&side.label.as_str()));
    lines.extend(rest.map(|side| rates(ours, side, Target::None)));
    if let (Some(checked), Some(floor)) = (named(CHECKED), named(FLOOR_CHECKED)) {
        let beside_nginx = rates(checked, nginx, Target::AtLeast(1.0));
        lines.push(beside_nginx.stretch(1.2).must());
        lines.push(rates(checked, floor, Target::None));
        lines.push(cpu(ours, "", 0.085, [nginx, &sides[2]]));
        lines.push(cpu(checked, ", by a schema", 0.09, [nginx, floor]));
    }
    if connections == 1 {
        lines.push(latency(ours, &sides[2]));
    }
    lines
}

fn cpu(ours: &Side<'_>, how: &str, target: f64, peers: [&Side<'_>; 2]) -> Line {
    let mut line = Line::new(
        format!("server CPU per 1000 durable uploads{how}, 64 connections"),
        Target::AtMost(target),
        ours.cpu_per_1000(),
    )
    .unit("s")
    .stretch(0.05);
    for peer in peers {
        line = line.side(&peer.label, &peer.cpu_per_1000(), "s");
    }
    line.note("user and system time of the server's processes, by /proc")
}

/// p50 of each, in the same round.
fn latency(ours: &Side<'_>, floor: &Side<'_>) -> Line {
    let [ours, floor] = [ours, floor].map(|side| side.values(|sample| sample.p50_us));
    Line::new(
        "1 connection: p50 of ours / floor",
        Target::AtMost(1.3),
        ratios(&ours, &floor),
    )
    .stretch(1.1)
    .side("ours", &ours, "µs")
    .side(FLOOR, &floor, "µs")
    .note(
        "the floor is bare hyper and rustls with our protocol: read, hash, check, append to a \
         journal, flush, rename, answer",
    )
}

fn load(connections: usize, window: Duration) -> Load {
    Load {
        connections,
        window,
        refusals_wanted: false,
    }
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
    let request = upload(&site, path, document);
    let before = process::cpu_seconds(server.pid())?;
    let outcome = wrk::run(&server.url(""), &request, load(connections, window))?;
    let after = process::cpu_seconds(server.pid())?;
    let interface = if path == PATH_CHECKED {
        "checked"
    } else {
        "plain"
    };
    server.stop()?;
    all_are_there(&site.spool("queue").join(interface), outcome.requests)?;
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
    let before = nginx.cpu_seconds()?;
    let outcome = wrk::run(&nginx.url(""), &request, load(connections, window))?;
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

pub(super) fn sample(outcome: wrk::Outcome, cpu_seconds: f64) -> Sample {
    Sample {
        per_second: outcome.per_second,
        p50_us: outcome.p50_us,
        p99_us: outcome.p99_us,
        cpu_seconds,
        operations: outcome.requests,
    }
}
