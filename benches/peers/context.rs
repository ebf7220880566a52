//! What every row is given. It promises that one binary serves for the whole run, whatever is
//! built meanwhile.

use crate::{args::Args, disk, machine, scratch};
use anyhow::Context as _;
use std::{
    cell::Cell,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const BINARY: &str = env!("CARGO_BIN_EXE_spoolgate");
const ROUNDS: usize = 5;
const ROUNDS_QUICK: usize = 1;
const SECONDS: u64 = 5;
const SECONDS_QUICK: u64 = 1;
/// For a quiet machine, in a whole run.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_QUICK: Duration = Duration::from_secs(10);

pub(crate) struct Context {
    pub(crate) binary: PathBuf,
    /// Other builds to measure beside ours: what they are, and where.
    pub(crate) others: Vec<(&'static str, PathBuf)>,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    /// What making a file took at the start.
    pub(crate) creation_micros: f64,
    commit: String,
    /// How much longer this run may wait for others to finish their work.
    patience_left: Cell<Duration>,
}

impl Context {
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let binary = keep(Path::new(BINARY), "spoolgate")?;
        let mut others = Vec::new();
        for (what, variable) in [
            ("ours unsynced", "SPOOLGATE_UNSYNCED_BIN"),
            ("other build", "SPOOLGATE_OTHER_BIN"),
        ] {
            if let Some(path) = env::var_os(variable) {
                let kept = keep(Path::new(&path), &format!("spoolgate-{}", others.len()));
                others.push((what, kept.with_context(|| variable.to_owned())?));
            }
        }
        let (rounds, seconds) = if args.quick {
            (ROUNDS_QUICK, SECONDS_QUICK)
        } else {
            (ROUNDS, SECONDS)
        };
        Ok(Self {
            binary,
            others,
            quick: args.quick,
            rounds: args.rounds.unwrap_or(rounds).max(1),
            window: Duration::from_secs(args.seconds.unwrap_or(seconds).max(1)),
            creation_micros: creation()?,
            commit: commit(),
            patience_left: Cell::new(if args.quick { PATIENCE_QUICK } else { PATIENCE }),
        })
    }

    /// `quick` of two numbers in a quick run.
    pub(crate) fn choose<T>(&self, usual: T, quick: T) -> T {
        if self.quick { quick } else { usual }
    }

    /// How a row was measured, for the heading of its results.
    pub(crate) fn how(&self) -> anyhow::Result<String> {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        Ok(format!(
            "{date}, {}, on {}, {} rounds, {} s per side where a side is a load{}",
            self.commit,
            scratch::filesystem()?,
            self.rounds,
            self.window.as_secs(),
            if self.quick {
                ", quick: no evidence"
            } else {
                ""
            },
        ))
    }

    /// The disk's share of the work before must not fall into the next measurement, and what
    /// others do on the machine should not.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        disk::sync_filesystem(&scratch::root()?)?;
        let begun = Instant::now();
        while machine::busy_percent(Duration::from_millis(200))? > machine::QUIET_PERCENT_MAX {
            if begun.elapsed() >= self.patience_left.get() {
                break;
            }
        }
        let left = self.patience_left.get();
        self.patience_left.set(left.saturating_sub(begun.elapsed()));
        Ok(())
    }
}

/// A copy, which a build under way cannot replace. The next run writes over it.
fn keep(binary: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers-kept");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let kept = dir.join(name);
    fs::copy(binary, &kept).with_context(|| format!("cannot copy {}", binary.display()))?;
    Ok(kept)
}

fn creation() -> anyhow::Result<f64> {
    const USUAL_MICROS_MAX: f64 = 100.0;
    let micros = disk::creation_micros()?;
    if micros > USUAL_MICROS_MAX {
        eprintln!(
            "warning: making a file takes {micros:.0} µs here; many files were deleted lately, \
             or the machine is busy. In six minutes the figures will be better"
        );
    }
    Ok(micros)
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output();
        let output = output.ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "no commit".into();
    };
    let changed = git(&["status", "--porcelain", "src"]).is_some_and(|list| !list.is_empty());
    let changes = if changed { " with changes in src" } else { "" };
    format!("commit {commit}{changes}")
}
