//! `spoolgate store …`: the database in which a store is.

use super::{Common, output::print_line, output::print_note, runtime};
use crate::{daemon, domain::escaped, store::pg::Database};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Commands {
    /// Bring the tables of the database to the form that this program uses
    Migrate(Migrate),
    /// Look whether the tables have that form, and try whether the database keeps what it must
    Check(Check),
}

impl Commands {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Migrate(migrate) => migrate.run(),
            Self::Check(check) => check.run(),
        }
    }
}

/// Makes the tables at first, and changes them after an update. All of it is done or nothing, and done once, however
/// many do it at once. There is no way back: make a backup before.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:   spoolgate store migrate --config /etc/spoolgate/spoolgate.toml"
)]
pub(super) struct Migrate {
    #[command(flatten)]
    common: Common,
}

/// Changes nothing. What it says on standard error is worth knowing, and no error. Exit code 0: a store can be there; 1: it
/// cannot, and why.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate store check --tenant shop")]
pub(super) struct Check {
    #[command(flatten)]
    common: Common,
}

impl Migrate {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let database = self.common.database()?;
        let done = runtime()?.block_on(database.migrate())?;
        let (version, now) = (done.version, done.now);
        match self.common.format.json {
            true => print_line!("{}", json!({"version": version, "migrations": now}))?,
            false => print_line!("version {version}, {now} migrations done")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let database = self.common.database()?;
        let noted = runtime()?.block_on(database.check())?;
        match self.common.format.json {
            true => print_line!("{}", json!({"notes": noted}))?,
            false => {
                for note in noted {
                    print_note!("{}", escaped(&note));
                }
                print_line!("the database keeps what it must")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Common {
    pub(super) fn database(&self) -> anyhow::Result<Database> {
        let (_, tenant) = self.at.load()?;
        let name = &tenant.name;
        daemon::database(&tenant)?.with_context(|| {
            format!("tenant {name} has no store.url_file: its jobs are in a spool")
        })
    }
}
