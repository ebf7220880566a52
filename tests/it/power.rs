//! The power goes while the real server works on a real filesystem: nothing that was acknowledged
//! is lost, torn, doubled or comes back.
//!
//! A round: clients and processors put load on a server whose spool is on a filesystem of its own
//! (ext4 or XFS in a loop-mounted file). At a random moment that is shut down without a chance to
//! write anything more ([`image`]), and server and commands are killed. It is mounted again, which
//! recovers its log; the server is started on it; everything is worked off; and the checker
//! ([`checker`]) compares what the clients were told, what the processors did, and what lies on the
//! disk. In some rounds the power goes again before that is over.
//!
//! It needs root, loop devices and mkfs; without them it says so and is skipped. A few rounds are
//! a part of `cargo test`; the long run is
//!
//! ```sh
//! SPOOLGATE_POWER_CUTS=200 cargo test --test it power::ext4 -- --nocapture
//! ```
//!
//! A deliberate mistake (`src/store/fs/fault_injection.rs`) has to be found within 20 cuts:
//!
//! ```sh
//! cargo build --features fault-injection && cp target/debug/spoolgate target/faulty
//! SPOOLGATE_FAULT_INJECTION=no-flush SPOOLGATE_POWER_EXPECT=caught SPOOLGATE_BIN=target/faulty \
//!     SPOOLGATE_POWER_CUTS=20 cargo test --test it power::ext4 -- --nocapture
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `SPOOLGATE_POWER_CUTS` | how many cuts; with it, what would be skipped fails |
//! | `SPOOLGATE_POWER_SEED` | repeats the random moments and documents of a run |
//! | `SPOOLGATE_POWER_EXPECT=caught` | the server has a mistake that must be found |
//! | `SPOOLGATE_POWER_KNOWN` | kinds, with commas, that are counted only: to see behind a known mistake |
//! | `SPOOLGATE_BIN` | another server than the one just built |
//! | `CI=true` | a missing mkfs fails where root and loop devices are there |
//!
//! The server gets this test's environment, so other variables reach it.

mod checker;
mod checker_tests;
mod dice;
mod document;
mod history;
pub(crate) mod image;
mod load;
mod rig;
mod server;
mod tree;
mod wire;

use image::Kind;
use rig::Rig;
use std::{
    collections::BTreeMap,
    fmt::Display,
    io::Write,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Cuts of a run that is a part of `cargo test`.
const CUTS: u32 = 3;
/// After so many cuts an image is recreated.
const CUTS_OF_AN_IMAGE: u32 = 20;

/// One run at a time: each is sized for the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn ext4_keeps_what_was_acknowledged() {
    campaign(Kind::Ext4);
}

#[test]
fn xfs_keeps_what_was_acknowledged() {
    campaign(Kind::Xfs);
}

/// Not by `eprintln!`, which the test runner keeps to itself when all goes well.
fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "power: {line}");
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Why this machine cannot run the test.
pub(crate) fn hindrance(kind: Kind) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, to mount".into());
    }
    let loops = image::run(Command::new("losetup").arg("-f"));
    if let Err(error) = loops {
        return Some(format!("no loop devices: {error}"));
    }
    let there = Command::new(kind.mkfs()).arg("-V").output().is_ok();
    if !there && variable("CI").is_some_and(|value| value == "true") {
        panic!("{} is missing: install e2fsprogs and xfsprogs", kind.mkfs());
    }
    (!there).then(|| format!("{} is missing", kind.mkfs()))
}

/// What a campaign has seen so far.
#[derive(Default)]
pub(crate) struct Tally {
    cuts: u32,
    images: u32,
    acknowledged: usize,
    verified: usize,
    runs: usize,
    done: usize,
    fetched: usize,
    repeats: usize,
    violations: Vec<String>,
    known: BTreeMap<String, usize>,
}

fn campaign(kind: Kind) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = kind.name();
    let asked = number("SPOOLGATE_POWER_CUTS");
    if let Some(why) = hindrance(kind) {
        assert!(asked.is_none(), "{name}: cannot be run: {why}");
        return tell(format_args!("{name}: SKIPPED: {why}"));
    }
    let cuts = asked.map_or(CUTS, |cuts| u32::try_from(cuts).unwrap());
    let seed = number("SPOOLGATE_POWER_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let expect_caught = match variable("SPOOLGATE_POWER_EXPECT").as_deref() {
        None => false,
        Some("caught") => true,
        Some(other) => panic!("SPOOLGATE_POWER_EXPECT is \"caught\", not {other:?}"),
    };
    tell(format_args!(
        "{name}: {cuts} cuts, SPOOLGATE_POWER_SEED={seed}"
    ));
    let begun = Instant::now();
    let mut tally = Tally::default();
    while tally.cuts < cuts && (!expect_caught || tally.violations.is_empty()) {
        tally.images += 1;
        let most = CUTS_OF_AN_IMAGE.min(cuts - tally.cuts);
        match Rig::new(kind, seed, tally.images) {
            Ok(mut rig) => rig.run(most, &mut tally),
            Err(why) if asked.is_none() && tally.cuts == 0 => {
                return tell(format_args!("{name}: SKIPPED: {why}"));
            }
            Err(why) => panic!("{name}: {why}"),
        }
    }
    let text = tally.text(kind, seed, begun);
    tell(&text);
    verdict(&tally, expect_caught, &text);
}

fn verdict(tally: &Tally, expect_caught: bool, text: &str) {
    let list = tally.violations.join("\n");
    if expect_caught {
        assert!(!tally.violations.is_empty(), "nothing was found: {text}");
        tell(format_args!("caught after {} cuts:\n{list}", tally.cuts));
    } else {
        assert!(tally.violations.is_empty(), "{text}\n{list}");
        assert!(
            tally.acknowledged > 0,
            "nothing was put to the test: {text}"
        );
    }
}

impl Tally {
    fn text(&self, kind: Kind, seed: u64, begun: Instant) -> String {
        format!(
            "{}: {} cuts on {} images in {:.0} s: {} uploads acknowledged, {} verified, {} runs, \
             {} jobs seen done, {} fetched, {} keys repeated; {} violations, known ones {:?}; \
             SPOOLGATE_POWER_SEED={seed}",
            kind.name(),
            self.cuts,
            self.images,
            begun.elapsed().as_secs_f64(),
            self.acknowledged,
            self.verified,
            self.runs,
            self.done,
            self.fetched,
            self.repeats,
            self.violations.len(),
            self.known,
        )
    }
}
