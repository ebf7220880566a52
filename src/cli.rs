//! The command line: what was typed, and where it goes.
//!
//! Operators' commands work on the directories, with the service down or up. `push` and `poll`
//! are the partner's side and speak to the service over HTTPS only.

mod check;
mod demo;
mod hold;
mod init;
mod jobs;
mod ls;
mod partner;
mod serve;
mod show;
mod status;
mod user;

use crate::{
    config::{Config, Tenant},
    daemon,
    spool::Spool,
};
use anyhow::{anyhow, bail};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// A filesystem queue gateway: partners upload job files over HTTPS, the directories are the
/// state, and nothing that was acknowledged is ever lost.
#[derive(Debug, Parser)]
#[command(name = "spoolgate", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Try it:         spoolgate demo
Set it up:      spoolgate init d && spoolgate serve --config d/spoolgate.toml
As operator:    spoolgate ls; spoolgate status JOB; spoolgate requeue JOB
As partner:     spoolgate push --url https://HOST:8443 --user NAME order.xml";

#[derive(Clone, Debug, Args)]
struct Common {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "./spoolgate.toml",
        env = "SPOOLGATE_CONFIG"
    )]
    config: PathBuf,
    /// The tenant to work on; the default one unless given
    #[arg(long, global = true, value_name = "NAME")]
    tenant: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

impl Common {
    fn load(&self) -> anyhow::Result<(Config, Tenant)> {
        let config = Config::load(&self.config)?;
        let tenant = config.tenant(self.tenant.as_deref());
        let tenant = tenant.map_err(|text| anyhow!(text))?.clone();
        Ok((config, tenant))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a configuration, a spool, certificates and a first user
    Init(init::Init),
    /// Serve until SIGTERM or SIGINT; SIGHUP reads changed files again
    Serve,
    /// Show the whole life of some jobs on a temporary spool
    Demo(demo::Demo),
    /// Try the configuration, the schemas, the stylesheets and the spool; exit code 0 if all is well
    Check,
    /// Add, change, remove and list users
    #[command(subcommand)]
    User(user::User),
    /// List jobs
    Ls(ls::Ls),
    /// Show where a job is and what is known of it; without a job, count what is in each interface
    Status(status::Status),
    /// Show what happened to a job
    Log(show::Log),
    /// Print a job's document
    Cat(show::Cat),
    /// Hold interfaces: uploads are still accepted, nothing is processed
    Hold(hold::Hold),
    /// Release held interfaces
    Release(hold::Release),
    /// Send jobs from joberrors, bak or deferred to a queue again
    Requeue(jobs::Requeue),
    /// Remove jobs for ever; their logs stay
    Rm(jobs::Rm),
    /// Upload documents to a gateway, as a partner
    Push(partner::Push),
    /// Fetch what is new from a gateway, as a partner
    Poll(partner::Poll),
}

impl Cli {
    /// Runs the command. An error is printed by the caller; the code is what the shell sees.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let common = &self.common;
        match self.command {
            Command::Check => check::run(common),
            Command::Cat(cat) => cat.run(common),
            Command::Demo(demo) => demo.run(common),
            Command::Hold(hold) => hold.run(common),
            Command::Init(init) => init.run(common),
            Command::Log(log) => log.run(common),
            Command::Ls(ls) => ls.run(common),
            Command::Poll(poll) => poll.run(common),
            Command::Push(push) => push.run(common),
            Command::Release(release) => release.run(common),
            Command::Requeue(requeue) => requeue.run(common),
            Command::Rm(rm) => rm.run(common),
            Command::Serve => serve::run(common),
            Command::Status(status) => status.run(common),
            Command::User(user) => user.run(common),
        }
    }
}

/// Opens a tenant's spool to look at it or to act in it. A path that was mistyped is no reason to
/// make a new one there.
fn open_spool(tenant: &Tenant) -> anyhow::Result<Spool> {
    if !tenant.root.join("queue").is_dir() {
        bail!(
            "there is no spool at {}; `spoolgate serve` or `spoolgate check` makes it",
            tenant.root.display()
        );
    }
    daemon::open_spool(tenant)
}

/// An error with its causes, each told once: many of ours name theirs already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !told.contains(&text) {
            let colon = if told.is_empty() { "" } else { ": " };
            told = format!("{told}{colon}{text}");
        }
    }
    told
}

/// Who types: for the notes in joblogs.
fn whoami() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    match name {
        Ok(name) if !name.is_empty() => format!("{name} (uid {uid})"),
        Ok(_) | Err(_) => format!("uid {uid}"),
    }
}
