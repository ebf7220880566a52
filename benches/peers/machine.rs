//! What the figures were measured on, and how quiet it was meanwhile.

use crate::{context::Context, disk, process, scratch, tools};
use anyhow::Context as _;
use std::{fmt::Write, fs, process::Command, time::Duration};

/// A machine that is less busy than this disturbs no one.
pub(crate) const QUIET_PERCENT_MAX: f64 = 15.0;

/// The machine's processor time from a moment on.
pub(crate) struct Load {
    before: Vec<f64>,
    own_before: f64,
}

/// Of all processor time, in percent.
pub(crate) struct Noise {
    /// Used by what is not of this benchmark: other programs, and the kernel's own threads.
    others: f64,
    /// Given to other machines by the hypervisor.
    stolen: f64,
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} % of the processor time went to others and kernel threads, {:.1} % was stolen",
            self.others, self.stolen
        )
    }
}

impl Load {
    pub(crate) fn begin() -> anyhow::Result<Self> {
        Ok(Self {
            before: cpu_times()?,
            own_before: process::own_cpu_seconds()?,
        })
    }

    /// Exact once the programs that were started meanwhile have ended.
    pub(crate) fn end(&self) -> anyhow::Result<Noise> {
        let spent = spent_since(&self.before)?;
        let own = process::own_cpu_seconds()? - self.own_before;
        let own = own * process::TICKS_PER_SECOND;
        Ok(Noise {
            others: 100.0 * (spent.busy - own).max(0.0) / spent.all,
            stolen: 100.0 * spent.stolen / spent.all,
        })
    }
}

/// How busy the processors are for so long, in percent of all.
pub(crate) fn busy_percent(window: Duration) -> anyhow::Result<f64> {
    let before = cpu_times()?;
    std::thread::sleep(window);
    let spent = spent_since(&before)?;
    Ok(100.0 * (spent.busy + spent.stolen) / spent.all)
}

/// In ticks, over all processors.
struct Spent {
    all: f64,
    busy: f64,
    stolen: f64,
}

fn spent_since(before: &[f64]) -> anyhow::Result<Spent> {
    const IDLE: usize = 3;
    const WAITING: usize = 4;
    const STEAL: usize = 7;
    let after = cpu_times()?;
    let spent: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
    let of = |field: usize| spent.get(field).copied().unwrap_or_default();
    // Guest time, which follows, is part of user time already.
    let all: f64 = spent.iter().take(STEAL + 1).sum::<f64>().max(1.0);
    Ok(Spent {
        all,
        busy: all - of(IDLE) - of(WAITING) - of(STEAL),
        stolen: of(STEAL),
    })
}

fn cpu_times() -> anyhow::Result<Vec<f64>> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("an odd /proc/stat")?;
    let fields = line.split_whitespace().skip(1);
    fields.map(|field| Ok(field.parse()?)).collect()
}

/// A Markdown table.
pub(crate) fn describe(context: &Context, noise: &Noise) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rows = [
        ("measured", context.how()?),
        (
            "processor",
            format!("{}, {cores} cores", field("/proc/cpuinfo", "model name")),
        ),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", format!("Linux {}", kernel.trim())),
        (
            "disk",
            describe_disk().unwrap_or_else(|error| format!("{error:#}")),
        ),
        (
            "making an empty file",
            format!("{:.0} µs, at the start", context.creation_micros),
        ),
        ("compiler", version(Command::new("rustc").arg("-V"))),
        ("nginx", version(tools::NGINX.command().arg("-v"))),
        ("wrk", version(tools::WRK.command().arg("-v"))),
        ("noise", noise.to_string()),
    ];
    let mut table = String::from("| | |\n|---|---|\n");
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {name} | {value} |");
    }
    Ok(table)
}

fn describe_disk() -> anyhow::Result<String> {
    let root = scratch::root()?;
    let device = disk::Device::of(&root)?;
    Ok(format!(
        "{} on {} (mounted {}; rotational: {}, write cache: {})",
        scratch::filesystem()?,
        device.name(),
        disk::mount_options(&root)?,
        device.property("queue/rotational"),
        device.property("queue/write_cache")
    ))
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

/// The first line that the program prints, to either stream.
fn version(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return "not installed".into();
    };
    let all = [output.stdout, output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    let line = all.lines().next().unwrap_or_default();
    line.split(" Copyright")
        .next()
        .unwrap_or_default()
        .to_owned()
}
