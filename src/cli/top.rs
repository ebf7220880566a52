//! `spoolgate top`: where the jobs are, live in the terminal.
//!
//! It looks as any reader of the spool may, and asks the service nothing. What is shown is made in `table.rs`; the
//! terminal is as it was before when this ends.

mod table;

use super::{
    At, look,
    output::{Paint, print_line, written},
};
use crate::{
    config::Tenant,
    ops::selection::{JobState, Selection},
    store::{
        Store,
        fs::{RealFs, SpoolLock},
    },
};
use anyhow::Context;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::{Duration, Instant},
};
use table::{Rates, Row, Sample};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

const EVERY: Duration = Duration::from_secs(1);
/// What has failed is counted again after so long, and after so many times as long as the last count took.
const FAILED_EVERY: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: u32 = 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// As the terminal gives it when it sends no signals.
const CONTROL_C: u8 = 3;

/// Shows, each second, how many jobs of each interface wait, run and are deferred, how many of those that came in the
/// last 24 hours have failed, how many are done in a minute, and how old the oldest is that waits; those with most to do
/// first. The key q ends it. Where the output is no terminal, it prints this once.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Top {
    #[command(flatten)]
    at: At,
}

const EXAMPLES: &str = "\
Until q is typed:  spoolgate top
Once:              spoolgate top | cat";

impl Top {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.at.load()?;
        let is_live = io::stdin().is_terminal() && io::stdout().is_terminal();
        look(&tenant, async |store| {
            let mut watch = Watch::of(&tenant, store);
            match is_live {
                true => watch.live().await,
                false => watch.once().await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Watch<'a> {
    tenant: &'a Tenant,
    store: &'a dyn Store,
    rates: Rates,
    /// By interface, with when that was counted and how long it took.
    failed: Option<(Instant, Duration, BTreeMap<String, usize>)>,
}

impl<'a> Watch<'a> {
    fn of(tenant: &'a Tenant, store: &'a dyn Store) -> Self {
        Self {
            tenant,
            store,
            rates: Rates::default(),
            failed: None,
        }
    }

    /// Two looks, since it takes two to say how many are done in a minute.
    async fn once(&mut self) -> anyhow::Result<()> {
        self.sample().await?;
        tokio::time::sleep(EVERY).await;
        let sample = self.sample().await?;
        let (no_end, paint) = ((usize::MAX, usize::MAX), Paint::of_stdout());
        for line in table::lines(&sample, &self.rates, no_end, paint) {
            print_line!("{line}")?;
        }
        Ok(())
    }

    async fn live(&mut self) -> anyhow::Result<()> {
        let mut end = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let screen = Screen::open().context("the terminal")?;
        let (mut keys, paint) = (keys(), Paint::of_stdout());
        loop {
            let sample = self.sample().await?;
            let lines = table::lines(&sample, &self.rates, Screen::size(), paint);
            screen.draw(&lines)?;
            tokio::select! {
                key = keys.recv() => match key {
                    Some(b'q' | b'Q' | CONTROL_C) | None => return Ok(()),
                    Some(_) => {}
                },
                _ = end.recv() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn sample(&mut self) -> anyhow::Result<Sample> {
        self.count_failed().await?;
        let now_ms = self.store.now_ms();
        let counts = self.store.counts().await?;
        let failed = self.failed.as_ref().map(|(_, _, failed)| failed);
        let mut rows = Vec::new();
        for (interface, of) in &counts.of {
            let name = interface.to_string();
            let oldest = [of.queued.oldest, of.deferred.oldest];
            let oldest_ms = oldest.into_iter().flatten().map(|job| job.unix_ms()).min();
            rows.push(Row {
                queued: of.queued.jobs,
                running: of.running.jobs,
                deferred: of.deferred.jobs,
                failed: failed
                    .and_then(|failed| failed.get(&name))
                    .copied()
                    .unwrap_or(0),
                done: of.done.jobs,
                age_ms: oldest_ms.map(|oldest_ms| now_ms - oldest_ms),
                is_held: self.store.is_held(interface).await?,
                interface: name,
            });
        }
        let sample = Sample {
            at_ms: now_ms,
            service: SpoolLock::holder(&RealFs::new(&self.tenant.root))?,
            rows,
        };
        self.rates.note(&sample);
        Ok(sample)
    }

    /// Reads what was recorded of a day, and so not at each look.
    async fn count_failed(&mut self) -> anyhow::Result<()> {
        if let Some((at, took, _)) = &self.failed
            && at.elapsed() < FAILED_EVERY.max(*took * PAUSE_FACTOR)
        {
            return Ok(());
        }
        let begun = Instant::now();
        let selection = Selection {
            states: vec![JobState::Failed],
            since_ms: Some(self.store.now_ms() - DAY_MS),
            ..Selection::default()
        };
        let mut failed = BTreeMap::new();
        for found in selection.find(self.store, &selection.filter()).await? {
            if let Some(interface) = found.interface {
                *failed.entry(interface.to_string()).or_default() += 1;
            }
        }
        self.failed = Some((Instant::now(), begun.elapsed(), failed));
        Ok(())
    }
}

/// What is typed. The thread waits for more until the program ends.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (typed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for key in io::stdin().lock().bytes() {
            let Ok(key) = key else { break };
            if typed.send(key).is_err() {
                break;
            }
        }
    });
    keys
}

/// The terminal, which is given back as it was.
struct Screen {
    before: Termios,
}

impl Screen {
    /// A screen of our own, without a cursor; keys come as they are typed, and are not shown.
    fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        let screen = Self { before };
        screen.write("\u{1b}[?1049h\u{1b}[?25l")?;
        Ok(screen)
    }

    /// Columns and lines.
    fn size() -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            Ok(_) | Err(_) => (80, 24),
        }
    }

    /// Each line takes the place of the one before it; nothing is cleared first, so nothing flickers.
    fn draw(&self, lines: &[String]) -> anyhow::Result<()> {
        let text = lines.join("\u{1b}[K\r\n");
        written(self.write(&format!("\u{1b}[H{text}\u{1b}[K\u{1b}[J")))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = self.write("\u{1b}[?25h\u{1b}[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
