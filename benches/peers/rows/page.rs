//! What the page asks for among a million jobs: those of a submitter with a text that nobody has, and the causes of a
//! hundred thousand failures. The store is asked in this process, as a service asks it.
//!
//! The documents are empty files with valid names; what is recorded of them is written as the service writes it.

use crate::{
    context::Context,
    report::{Line, Target},
    scratch, stats,
};
use anyhow::ensure;
use spoolgate::{
    domain::{InterfaceName, JobName, PlaceKind, stamp},
    store::{
        Came, Failing, Filter, Store as _, Viewer,
        fs::{Accepted, Act, DropRules, Ended, FileStore, RealFs, Rules, Spool},
    },
};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

const N_DAYS: usize = 30;
/// Of a day, in `bak`.
const N_DONE: usize = 30_000;
/// On the last day, in the queue.
const N_QUEUED: usize = 100_000;
const N_FAILED: usize = 100_000;
const N_CAUSES: usize = 10;
const INTERFACE: &str = "orders_in";
/// The first moment of 2026-11-01.
const BEGIN_MS: i64 = 1_793_491_200_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TARGET: Target = Target::AtMost(200.0);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let share = context.choose(1, 10);
    let runtime = tokio::runtime::Runtime::new()?;
    let (done, queued) = (N_DONE / share, N_QUEUED / share);
    let million = scratch::dir("page-million")?;
    eprintln!("  making {} files", done * N_DAYS + queued);
    for day in 0..N_DAYS {
        let bak = Day::new(&million, day, "bak/orders_in/DAY")?;
        bak.fill(0..done, |_| None)?;
    }
    let last = Day::new(&million, N_DAYS, "queue/orders_in")?;
    last.fill(0..queued, |_| None)?;
    let failed = scratch::dir("page-failed")?;
    let n_failed = N_FAILED / share;
    Day::new(&failed, 0, "joberrors/DAY")?.fill(0..n_failed, |n| {
        Some(format!("order {n} of {}: no {}", n * 7, cause(n)))
    })?;
    context.settle()?;
    let (million, failed) = (store(&million)?, store(&failed)?);
    let of_nobody = Filter {
        submitter: Some("shop".into()),
        text: Some("no-such-order".into()),
        newest_first: true,
        want_record: true,
        ..Filter::default()
    };
    let of_all = Filter {
        newest_first: true,
        want_record: true,
        at: vec![PlaceKind::Bak],
        ..Filter::default()
    };
    let list = |filter: &Filter, n_found: usize| {
        let found = runtime.block_on(million.list(&Viewer::all(), filter, None, 50))?;
        ensure!(found.jobs.len() == n_found, "{} jobs", found.jobs.len());
        anyhow::Ok(())
    };
    let group = || {
        let all = Viewer::all();
        let groups = runtime.block_on(failed.error_groups(&all, Failing::Jobs, None))?;
        let n_failed_in: usize = groups.iter().map(|group| group.failed).sum();
        ensure!(
            (groups.len(), n_failed_in) == (N_CAUSES, n_failed),
            "{groups:?}"
        );
        anyhow::Ok(())
    };
    let n_jobs = done * N_DAYS + queued;
    Ok(vec![
        line(
            context,
            format!("{n_jobs} jobs, by submitter and text, without a hit"),
            || list(&of_nobody, 0),
        )?
        .note(format!(
            "{} in bak over {N_DAYS} days, the rest queued; files in the page cache",
            done * N_DAYS
        )),
        line(
            context,
            format!("{n_jobs} jobs, the newest 50 that are done"),
            || list(&of_all, 50),
        )?,
        line(
            context,
            format!("{n_failed} failures of {N_CAUSES} causes, grouped"),
            group,
        )?,
    ])
}

fn cause(n: usize) -> &'static str {
    [
        "paper", "ink", "toner", "staples", "glue", "thread", "card", "foil", "wax", "dye",
    ][n % N_CAUSES]
}

fn line(
    context: &Context,
    what: String,
    mut ask: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Line> {
    ask()?;
    let mut times = Vec::new();
    for _ in 0..context.rounds {
        let begun = Instant::now();
        ask()?;
        times.push(stats::millis(begun.elapsed()));
    }
    eprintln!("  {what}: {} ms", stats::short(stats::median(&times)));
    Ok(Line::new(what, TARGET, times).unit("ms"))
}

/// The spool as it is, to look at.
fn store(root: &Path) -> anyhow::Result<FileStore> {
    let rules = Rules {
        attempts_max: 3,
        at_most_once: false,
        drops: DropRules::default(),
        order_attribute: None,
    };
    let interface: InterfaceName = INTERFACE.parse()?;
    let clock = Box::new(|| BEGIN_MS + (N_DAYS as i64 + 1) * DAY_MS);
    let spool = Spool::existing(RealFs::new(root), [(interface, rules)].into(), clock);
    Ok(FileStore::new(Arc::new(spool)))
}

/// Jobs that came on a day, where they are and what is recorded of them.
struct Day {
    begin_ms: i64,
    jobs: PathBuf,
    records: PathBuf,
}

impl Day {
    /// `place`: where they lie, `DAY` in it standing for the day.
    fn new(root: &Path, n: usize, place: &str) -> anyhow::Result<Self> {
        let begin_ms = BEGIN_MS + n as i64 * DAY_MS;
        let day = name(begin_ms, 0)?.day();
        let jobs = root.join(place.replace("DAY", &day));
        let records = root.join("records").join(&day);
        fs::create_dir_all(&jobs)?;
        fs::create_dir_all(&records)?;
        Ok(Self {
            begin_ms,
            jobs,
            records,
        })
    }

    /// `error`: how each has failed.
    fn fill(
        &self,
        numbers: std::ops::Range<usize>,
        error: impl Fn(usize) -> Option<String>,
    ) -> anyhow::Result<()> {
        let open = |name: &str| File::create(self.records.join(name)).map(BufWriter::new);
        let (mut accepted, mut ended) = (open("accepted.jsonl")?, open("ended.jsonl")?);
        for n in numbers {
            let at_ms = self.begin_ms + n as i64;
            let job = name(at_ms, n)?;
            File::create_new(self.jobs.join(job.to_string()))?;
            let mut line = Accepted::new(job.clone(), Came::Uploaded, at_ms);
            line.dialect = "dstore".into();
            line.submitter = ["shop", "erp"][n % 2].into();
            line.interface = Some(INTERFACE.parse()?);
            line.sha256 = Some("0".repeat(64));
            line.bytes = 4096;
            writeln!(accepted, "{}", line.to_line())?;
            let error = error(n);
            let act = if error.is_some() {
                Act::Failed
            } else {
                Act::Done
            };
            let mut line = Ended::new(&job, act, at_ms + 1000).with_error(error.as_deref());
            line.attempt = Some(1);
            line.started_ms = Some(at_ms + 10);
            writeln!(ended, "{}", line.to_line())?;
        }
        accepted.flush()?;
        ended.flush()?;
        Ok(())
    }
}

fn name(at_ms: i64, n: usize) -> anyhow::Result<JobName> {
    Ok(format!("{}-00000-order-{n}.xml", stamp(at_ms)).parse()?)
}
