//! Instructions per request: a count that no neighbour on the machine can change. The server runs
//! under callgrind twice, with few requests and with many; the difference belongs to the requests.

use crate::{
    client::{Client, request},
    context::Context,
    documents,
    report::{Line, Target},
    scratch,
    server::Site,
    tools,
};
use anyhow::{Context as _, ensure};
use std::{fs, path::Path};

const FEW: usize = 100;
const MANY: usize = 1100;
const MANY_QUICK: usize = 200;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let many = context.choose(MANY, MANY_QUICK);
    let mut site = Site::new(&context.binary, "instructions")?;
    let mut lines = Vec::new();
    for what in [What::Upload, What::JobStatus] {
        let few = count(&mut site, what, FEW)?;
        let all = count(&mut site, what, many)?;
        let each = (all - few) / (many - FEW) as f64 / 1000.0;
        eprintln!("  {}: {each:.1} thousand", what.name());
        let line = Line::new(what.name(), Target::None, vec![each]);
        lines.push(line.unit("thousand instructions each"));
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

#[derive(Clone, Copy, Debug)]
enum What {
    JobStatus,
    Upload,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::JobStatus => "jobstatus",
            Self::Upload => "upload of 4 KiB",
        }
    }
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
    let job = client.ask(&upload)?.job()?;
    let path = format!("/xml/jobstatus?Jobname={job}");
    let (asked, status) = match what {
        What::JobStatus => (request("GET", &path, &site.authorization, b""), 200),
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
