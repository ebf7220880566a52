//! What can be typed after `cargo bench --`. The help promises to be all that one has to read.

use crate::image::Kind;
use clap::Parser;
use std::path::PathBuf;

/// Measures Spoolgate beside its peers: nginx, libxml2, and the floor, which is the least that a
/// server on hyper and rustls can do that makes the same promise.
///
/// Each row compares two or more sides. They run alternately (A B, B A, …) in one run, each round
/// on fresh directories, and what counts is the ratio within a round: its median over the rounds,
/// with the least and the greatest. Absolute figures are for orientation only; they differ from
/// run to run by more than the sides do. Bounds of memory and of time that a user waits are
/// absolute. A target in bold must be met; another may say what keeps it from being met.
///
/// Each row begins on a filesystem made for it: ext4 with a journal, by the defaults of mkfs, in
/// an image file on the disk. It is mounted where only this run sees it, and gone with the run
/// however that ends. Without root the directory is used as it is, and the results say so.
///
/// Progress goes to standard error, tables to standard output, and a run with the usual rounds is
/// written to benches/RESULTS.md, row by row: rows that were not run keep what stands there, and
/// so does the section between the two `tried` marks, which is written by hand.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    bin_name = "cargo bench --bench peers --",
    after_help = "\
Examples:
  cargo bench --bench peers                        every row, about an hour
  cargo bench --bench peers -- --quick             every row once over, some minutes, nothing written
  cargo bench --bench peers -- --list              what the rows are
  cargo bench --bench peers -- uploads --rounds 9  one row, more rounds
  cargo bench --bench peers -- uploads --no-write  one row, RESULTS.md left alone
  cargo bench --bench peers -- --image xfs         every row, on XFS
  cargo bench --bench peers -- --plain --dir /srv  every row, on the disk of /srv as it is

How a row reads: `64 connections: ours / nginx unsynced | ≥ 1.1 × | 0.98 (0.95..1.02) × | not met`
says that in the median round ours did 0.98 of what nginx did in the same round.

It needs (Debian): apt-get install wrk nginx-light curl libxml2 strace valgrind
What is missing skips the rows that need it, and says so.

Environment:
  SPOOLGATE_UNSYNCED_BIN   a build of spoolgate that syncs nothing
  SPOOLGATE_OTHER_BIN      any other build, such as that of the commit before
  SPOOLGATE_SUITES         the directory of the archive with the UBL invoice of `validation`
The first two are one more side of `uploads` and `instructions` each.

The image, or the spools, lie in target/tmp unless --dir says otherwise. It must be a disk with 30 GB
free for all rows: on a filesystem in memory nothing is measured.
The machine should be quiet: a run waits two minutes for that, in all, and reports the noise."
)]
pub(crate) struct Args {
    /// Rows to run, by name or its beginning; all if none is named
    pub(crate) rows: Vec<String>,
    /// Rounds per row instead of 5
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Seconds per side and round instead of 5
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<u64>,
    /// One round of one second, smaller numbers: to see that it works. No evidence
    #[arg(long)]
    pub(crate) quick: bool,
    /// List the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Where the image, or else the spools, go; what is made there is removed
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Which filesystem to make for each row instead of ext4; an error where none can be made
    #[arg(long, value_name = "KIND", conflicts_with = "plain")]
    pub(crate) image: Option<Kind>,
    /// Make no filesystem, measure on that of DIR
    #[arg(long)]
    pub(crate) plain: bool,
    /// Leave benches/RESULTS.md as it is
    #[arg(long)]
    pub(crate) no_write: bool,
    /// cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    /// The run is in namespaces of its own: what it mounts, only it sees
    #[arg(long, hide = true)]
    pub(crate) in_namespaces: bool,
}

impl Args {
    pub(crate) fn writes(&self) -> bool {
        !self.quick && !self.no_write
    }
}
