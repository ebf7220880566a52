//! What can be typed after `cargo bench --`. The help promises to be all that one has to read.

use crate::image::Kind;
use clap::Parser;
use std::path::PathBuf;

/// Measures Spoolgate beside its peers: nginx, libxml2, a minimal hyper server, and the bare system
/// calls.
///
/// Each row compares two or more sides. They run alternately (A B, B A, …) in one run, each round
/// on fresh directories, and what counts is the ratio within a round: its median over the rounds,
/// with the least and the greatest. Absolute figures are for orientation only; they differ from
/// run to run by more than the sides do.
///
/// Progress goes to standard error, tables to standard output, and a run with the usual rounds is
/// written to benches/RESULTS.md, row by row: rows that were not run keep what stands there, and
/// so does the section between the two `tried` marks, which is written by hand.
#[derive(Debug, Parser)]
#[command(
    name = "peers",
    bin_name = "cargo bench --",
    after_help = "\
Examples:
  cargo bench                              every row, about 35 minutes
  cargo bench -- --quick                   every row once over, about 7 minutes, nothing written
  cargo bench -- uploads --rounds 9        one row, more rounds
  cargo bench -- uploads --no-write        one row, RESULTS.md left alone
  cargo bench -- --image ext4              every row, on a fresh ext4 with a journal

It needs (Debian): apt-get install wrk nginx-extras curl libxml2 strace valgrind
What is missing skips the rows that need it, and says so.

Environment:
  SPOOLGATE_UNSYNCED_BIN   a build of spoolgate that syncs nothing
  SPOOLGATE_OTHER_BIN      any other build, such as that of the commit before
  SPOOLGATE_SUITES         the directory of the archive with the UBL invoice of `validation`
The first two are one more side of `uploads` and `instructions` each.

The spools lie in target/tmp unless --dir says otherwise. It must be a disk: on a filesystem in
memory nothing is measured. An ext4 without a journal, as some virtual machines have it, syncs in
ways that usual disks do not; the results name it, and --image ext4 (or xfs) is the way out.
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
    /// Two rounds of one second, smaller numbers: to see that it works. Not evidence
    #[arg(long)]
    pub(crate) quick: bool,
    /// List the rows and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Where spools and other temporary files go; a directory of its own is made there and removed
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Measure on a filesystem made for this run, in an image file in DIR; needs root
    #[arg(long, value_name = "KIND")]
    pub(crate) image: Option<Kind>,
    /// Leave benches/RESULTS.md as it is
    #[arg(long)]
    pub(crate) no_write: bool,
    /// cargo passes this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    pub(crate) fn writes(&self) -> bool {
        !self.quick && !self.no_write
    }
}
