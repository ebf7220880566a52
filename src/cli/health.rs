//! `spoolgate health`: is the service well? For the probes of containers, which have no other client at hand.

use super::{ConfigArg, findings, output::print_line};
use crate::{
    config::{Config, Tenant},
    daemon,
    ops::control::Client,
};
use anyhow::bail;
use clap::Args;
use std::{net::SocketAddr, process::ExitCode};

/// Asks the running service whether partners can be served, at the address of `ops_listen`; where the configuration has
/// none, whether it answers operators. Exit code 0 if so, 1 if not.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Health {
    /// Only whether the process answers, for probes that restart it
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    file: ConfigArg,
}

const EXAMPLES: &str = "\
In a Containerfile:   HEALTHCHECK CMD [\"spoolgate\", \"health\"]
To restart it:        spoolgate health --live";

impl Health {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.file.config)?;
        // Nobody knows which one the kernel has chosen for port 0.
        match config.ops_listen.filter(|at| at.port() != 0) {
            Some(at) => self.probe(at),
            None => {
                let mut tenants = config.tenants.iter();
                tenants.try_for_each(|tenant| answers_operators(&config, tenant))?;
                print_line!("ok")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    fn probe(&self, at: SocketAddr) -> anyhow::Result<ExitCode> {
        let path = if self.live { "/livez" } else { "/readyz" };
        let Some(answer) = findings::probe(at, path) else {
            bail!("no service answers at {at} (server.ops_listen)");
        };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        print_line!("{}", body.trim_end())?;
        Ok(match head.starts_with("HTTP/1.1 200 ") {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

fn answers_operators(config: &Config, tenant: &Tenant) -> anyhow::Result<()> {
    Client::connect(&daemon::control_places(config), &tenant.root)?;
    Ok(())
}
