//! `spoolgate nodes`: the services that work on one database.

use super::{Common, output::print_line, runtime};
use crate::{domain::escaped, domain::joblog::rfc3339};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// Lists the nodes of a database, each the spool of one machine, with when the database has heard of its service last and
/// how many jobs it runs. What one that is not alive has left behind is taken over by the others.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate nodes --json")]
pub(super) struct Nodes {
    #[command(flatten)]
    common: Common,
}

impl Nodes {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let database = self.common.database()?;
        let nodes = runtime()?.block_on(database.nodes())?;
        for node in &nodes {
            let (heard, running) = (rfc3339(node.heard_ms), node.running);
            match self.common.format.json {
                true => print_line!(
                    "{}",
                    json!({"node": node.name, "alive": node.is_alive, "heard": heard, "running": running})
                )?,
                false => {
                    let alive = if node.is_alive { "alive" } else { "gone" };
                    let name = escaped(&node.name);
                    print_line!("{name}  {alive}, heard of {heard}, {running} running")?;
                }
            }
        }
        if nodes.is_empty() && !self.common.format.json {
            print_line!("no service works on the database")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
