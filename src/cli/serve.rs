//! `spoolgate serve`.

use super::ConfigArg;
use crate::{
    config::Config,
    daemon, log,
    processor::{Starter, starter::init},
};
use anyhow::{Context, anyhow};
use clap::Args;
use std::{process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the last log lines have to be written when the process ends immediately.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Serves all tenants of a configuration.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate serve --config /etc/spoolgate/spoolgate.toml")]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigArg,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if let Some(code) = init::run_below().context("cannot run as the first process")? {
            return Ok(code);
        }
        let config = Config::load(&self.file.config)?;
        run(config)
    }
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    // Before anything is started that could inherit them.
    let given = daemon::GivenSockets::take()?;
    // Before there are threads, and before the limit on open files is raised.
    let starter = Starter::launch().context("cannot start the process that starts commands")?;
    // Dropped last, so that the log has all that is said.
    let _flush = log::start(&config.log).map_err(|text| anyhow!(text))?;
    daemon::keep_small();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let stopped = runtime.block_on(async {
        let leave = CancellationToken::new();
        leave_on_signal(&leave)?;
        daemon::serve(config, starter, given, leave, log::announce).await
    })?;
    // The blocking threads end first, then the next owner may come.
    drop(runtime);
    drop(stopped.locks);
    match stopped.failure {
        None => Ok(ExitCode::SUCCESS),
        Some(reason) => Err(anyhow!("stopped: {reason}")),
    }
}

/// The first SIGTERM or SIGINT stops in order; a second one ends the process immediately, which loses
/// nothing that was acknowledged.
fn leave_on_signal(leave: &CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let leave = leave.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if leave.is_cancelled() {
                tracing::warn!("ended immediately by a second signal");
                log::flush(LAST_WORDS);
                std::process::exit(1);
            }
            leave.cancel();
        }
    });
    Ok(())
}
