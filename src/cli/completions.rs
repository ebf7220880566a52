//! `spoolgate completions`: what shells need to complete commands, options, jobs and interfaces.
//!
//! The shell asks the program itself, by the variable [`ASKED`], so that there is nothing to keep up to date.

use super::{At, Cli, ConfigArg, look, usual_config};
use crate::{
    domain::PlaceKind,
    store::{Filter, Viewer},
};
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use std::{ffi::OsStr, io, process::ExitCode};

/// Its value is the shell that asks.
const ASKED: &str = "SPOOLGATE_COMPLETE";
/// More are no help.
const CANDIDATES_MAX: usize = 500;

/// Prints what a shell is to read at its start, so that it completes commands, options, interfaces and names of jobs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

const EXAMPLES: &str = "\
For bash:   spoolgate completions bash > /etc/bash_completion.d/spoolgate
For fish:   spoolgate completions fish > ~/.config/fish/completions/spoolgate.fish
For zsh:    spoolgate completions zsh > /usr/local/share/zsh/site-functions/_spoolgate";

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).context("no such shell")?;
        let mut script = Vec::new();
        shell.write_registration(ASKED, "spoolgate", "spoolgate", "spoolgate", &mut script)?;
        let written = io::Write::write_all(&mut io::stdout().lock(), &script);
        super::output::written(written)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers a shell that asks, and ends the process then.
pub fn answer() {
    CompleteEnv::with_factory(|| with_candidates(Cli::command()))
        .var(ASKED)
        .complete();
}

/// The commands, where what is called JOB or INTERFACE can be completed.
fn with_candidates(command: clap::Command) -> clap::Command {
    let named = |arg: clap::Arg| {
        let name = arg.get_value_names().and_then(|names| names.first());
        match name.map(|name| name.as_str()) {
            Some("INTERFACE") => arg.add(ArgValueCompleter::new(interfaces)),
            Some("JOB") => arg.add(ArgValueCompleter::new(jobs)),
            Some(_) | None => arg,
        }
    };
    command.mut_args(named).mut_subcommands(with_candidates)
}

/// Interfaces of the usual configuration.
fn interfaces(begun: &OsStr) -> Vec<CompletionCandidate> {
    let of = |at: &At| {
        let (_, tenant) = at.load()?;
        let names = tenant.interfaces.keys();
        Ok(names.map(ToString::to_string).collect())
    };
    candidates(begun, of)
}

/// The newest jobs that wait, run or have failed.
fn jobs(begun: &OsStr) -> Vec<CompletionCandidate> {
    let of = |at: &At| {
        let (_, tenant) = at.load()?;
        let filter = Filter {
            at: vec![
                PlaceKind::Deferred,
                PlaceKind::JobErrors,
                PlaceKind::Queue,
                PlaceKind::Refused,
                PlaceKind::Work,
            ],
            newest_first: true,
            ..Filter::default()
        };
        let page = look(&tenant, async |store| {
            let all = Viewer::all();
            Ok(store.list(&all, &filter, None, usize::MAX).await?)
        })?;
        let names = page.jobs.into_iter();
        Ok(names.map(|summary| summary.job.name.to_string()).collect())
    };
    candidates(begun, of)
}

/// Those that begin with what was typed; none when they cannot be known: an error would stand in the line that is typed.
fn candidates(
    begun: &OsStr,
    of: impl FnOnce(&At) -> anyhow::Result<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let at = At {
        file: ConfigArg {
            config: usual_config(),
        },
        tenant: None,
    };
    let begun = begun.to_string_lossy();
    let names = of(&at).unwrap_or_default().into_iter();
    let fitting = names.filter(|name| name.starts_with(&*begun));
    fitting
        .take(CANDIDATES_MAX)
        .map(CompletionCandidate::new)
        .collect()
}
