//! `spoolgate reload`.

use super::{ConfigArg, Format, operator::Operator, output::print_line};
use crate::{config::Config, domain::escaped, ops::admin::Operation};
use anyhow::anyhow;
use clap::Args;
use std::process::ExitCode;

/// Has the running service take `spoolgate.toml` and `conf.d` as they now are: all of it, or nothing. Prints what is
/// taken. Nothing is when there is a mistake, or something that needs a restart, which is named then. SIGHUP does
/// the same; the log says what came of it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Reload {
    #[command(flatten)]
    file: ConfigArg,
    #[command(flatten)]
    format: Format,
}

const EXAMPLES: &str = "\
Take it:                  spoolgate reload
What it would change:     spoolgate check --diff";

impl Reload {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.file.config)?;
        let tenant = config.tenant(None).map_err(|text| anyhow!(text))?;
        let said = Operator::of(&config, tenant)?.act(&Operation::Reload)?;
        if self.format.json {
            print_line!("{}", serde_json::to_value(&said)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        for line in said.to_string().lines() {
            print_line!("{}", escaped(line))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
