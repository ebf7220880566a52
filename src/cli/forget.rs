//! `spoolgate forget`: what there is of a submitter is removed.

use super::{
    Common, look,
    operator::Operator,
    output::{acted, print_line, print_note},
};
use crate::{
    domain::escaped,
    ops::admin::{Operation, told},
};
use anyhow::bail;
use clap::Args;
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

/// Removes documents, logs, results and idempotency keys of all jobs of a submitter, for ever, and what the
/// record says of him; the ids and digests of his jobs stay. Nothing is done while one of his jobs waits or runs, or a
/// schedule of his is there. The audit keeps that it was done, and who did it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Forget {
    /// The submitter, as `spoolgate ls` names him; he need not be a user any more
    #[arg(value_name = "USER")]
    user: String,
    /// Only say what there is
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
What there is:     spoolgate forget shop --dry-run
For ever:          spoolgate user rm shop && spoolgate forget shop --yes";

impl Forget {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let user = &self.user;
        let traces = look(&tenant, async |store| Ok(store.traces_of(user).await?))?;
        if self.dry_run {
            match self.common.format.json {
                true => print_line!("{}", serde_json::to_value(&traces)?)?,
                false => print_line!(
                    "{}; {} jobs wait or run, {} schedules",
                    told(&traces),
                    traces.waiting,
                    traces.schedules
                )?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes && !self.is_confirmed(&told(&traces))? {
            print_note!("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        let forget = Operation::Forget {
            submitter: user.clone(),
        };
        let outcome = Operator::open(&self.common.at)?.act(&forget)?;
        match self.common.format.json {
            true => print_line!("{}", acted("user", user, &outcome)?),
            false => print_line!("removed {outcome}"),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    fn is_confirmed(&self, there: &str) -> anyhow::Result<bool> {
        if !std::io::stdin().is_terminal() {
            bail!("nothing was removed; --yes removes {there} without asking");
        }
        print_note!(
            "This removes {there}, for ever. Type {} to go on:",
            escaped(&self.user)
        );
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']) == self.user)
    }
}
