//! The command line: what was typed, and where it goes.
//!
//! Operators' commands look at the store, with the service down or up; those that change
//! something are calls to the running service, or have the spool to themselves. `push` and `poll`
//! are the partner's side and speak to the service over HTTPS only; `validate` is for both.

mod access;
mod attempts;
mod audit;
mod check;
mod completions;
mod demo;
mod errors;
mod events;
mod expect;
mod findings;
mod follow;
mod forget;
mod fsck;
mod health;
mod hold;
mod init;
mod job_arg;
mod jobs;
mod ls;
mod man;
#[cfg(feature = "cluster")]
mod nodes;
mod operator;
mod output;
mod partner;
mod reload;
mod schedule;
mod select;
mod serve;
mod shape;
mod show;
mod status;
#[cfg(feature = "cluster")]
mod store;
mod token;
mod top;
mod user;
mod validate;
mod why;

use crate::{
    config::{Config, Tenant},
    daemon::Engine,
    store::{
        Store,
        fs::{RealFs, SpoolLock},
    },
    util::modes,
};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::runtime::{Builder, Runtime};

pub use completions::answer as answer_shell;

/// A filesystem queue gateway: partners upload job files over HTTPS, the directories are the
/// state, and nothing that was acknowledged is ever lost.
#[derive(Debug, Parser)]
#[command(name = "spoolgate", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Try it:         spoolgate demo
Set it up:      spoolgate init d && spoolgate serve --config d/spoolgate.toml
As operator:    spoolgate ls; spoolgate status JOB; spoolgate requeue JOB
As partner:     spoolgate push --url https://HOST:8443 --user NAME order.xml
                spoolgate validate --schema order.xsd order.xml";

#[derive(Clone, Debug, Args)]
struct ConfigArg {
    /// The configuration file; the variable SPOOLGATE_CONFIG names another default
    #[arg(long, value_name = "FILE", default_value_os_t = usual_config())]
    config: PathBuf,
}

/// Where packages have it.
const INSTALLED_CONFIG: &str = "/etc/spoolgate/spoolgate.toml";

/// What the variable names, or else the one in the working directory, or, where there is none, the installed one.
/// Not clap's `env`, which would show it as required in every usage line.
fn usual_config() -> PathBuf {
    let given = std::env::var_os("SPOOLGATE_CONFIG").filter(|path| !path.is_empty());
    let at = |path| first_there([Path::new("./spoolgate.toml"), Path::new(path)]);
    given.map_or_else(|| at(INSTALLED_CONFIG).into(), PathBuf::from)
}

/// The first of them that is there, also one that may not be looked at; the first of all if none is.
fn first_there<const N: usize>(paths: [&Path; N]) -> &Path {
    let there = |path: &&Path| path.try_exists().unwrap_or(true);
    paths.into_iter().find(there).unwrap_or(paths[0])
}

/// What the commands on a spool have in common.
#[derive(Clone, Debug, Args)]
struct At {
    #[command(flatten)]
    file: ConfigArg,
    /// The tenant to work on; the default one unless given
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

impl At {
    fn load(&self) -> anyhow::Result<(Config, Tenant)> {
        let config = access::explained(&self.file.config, || Config::load(&self.file.config))?;
        let tenant = config.tenant(self.tenant.as_deref());
        let tenant = tenant.map_err(|text| anyhow!(text))?.clone();
        Ok((config, tenant))
    }
}

/// The same for those that can print JSON.
#[derive(Clone, Debug, Args)]
struct Common {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Debug, Args)]
struct Format {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a configuration, a spool, certificates and a first user
    Init(init::Init),
    /// Serve until SIGTERM or SIGINT; SIGHUP reads changed files again, also the configuration
    Serve(serve::Serve),
    /// Have the running service take another configuration
    Reload(reload::Reload),
    /// Show the whole life of some jobs on a temporary spool
    Demo(demo::Demo),
    /// Try the configuration, the schemas, the stylesheets and the spool; exit code 0 if all is well
    Check(check::Check),
    /// Ask whether the service is well, for the probes of containers
    Health(health::Health),
    /// Add, change, remove and list users
    #[command(subcommand)]
    User(user::User),
    /// List jobs
    Ls(ls::Ls),
    /// Show where a job is and what is known of it; without a job, count what is in each interface
    Status(status::Status),
    /// Show what happened to a job
    Log(show::Log),
    /// Group failed and deferred jobs by their errors
    Errors(errors::Errors),
    /// Show how old the jobs are that wait
    Shape(shape::ShapeOf),
    /// List the services that work on a database
    #[cfg(feature = "cluster")]
    Nodes(nodes::Nodes),
    /// Prepare and try the database of a store on PostgreSQL
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Store(store::Commands),
    /// Show live, in the terminal, where the jobs of each interface are
    Top(top::Top),
    /// Say what jobs wait for, or what became of them
    Why(why::Why),
    /// Print a job's document
    Cat(show::Cat),
    /// Hold interfaces: uploads are still accepted, nothing is processed
    Hold(hold::Hold),
    /// Release held interfaces
    Release(hold::Release),
    /// Send jobs from joberrors, bak or deferred to a queue again
    Requeue(jobs::Requeue),
    /// Remove jobs permanently; their logs stay
    Rm(jobs::Rm),
    /// Remove what there is of a submitter, permanently
    Forget(forget::Forget),
    /// Look whether all jobs, documents and records fit together
    Fsck(fsck::Fsck),
    /// Cancel jobs that wait or run
    Cancel(jobs::Cancel),
    /// List, show and remove schedules, and say when they run
    #[command(subcommand)]
    Schedule(schedule::Commands),
    /// List what is expected from partners and what has come
    #[command(subcommand)]
    Expect(expect::Commands),
    /// List what operators and administrators did, and verify that nobody changed that record
    #[command(subcommand)]
    Audit(audit::Audit),
    /// List events that wait for receivers or were never taken, and send those again
    #[command(subcommand)]
    Events(events::Events),
    /// Upload documents to a gateway, as a partner
    Push(partner::Push),
    /// Fetch what is new from a gateway, as a partner
    Poll(partner::Poll),
    /// Say what is wrong with documents, by a schema, a configuration or a gateway
    ///
    /// One mistake a line as FILE:LINE:COLUMN: PATH: MESSAGE, to which editors jump; nothing is kept.
    /// Exit code 0: all documents are valid; 1: some are not; 2: of some it cannot be said.
    ///
    /// They are judged by --schema, which needs nothing else; for --interface as the gateway of the
    /// configuration would; or by the gateway at --url. Without any of these the gateway that the
    /// variable SPOOLGATE_URL names is asked.
    Validate(validate::Validate),
    /// Print what a shell needs to complete commands, interfaces and jobs
    Completions(completions::Completions),
    /// Write the manual pages into a directory
    Man(man::Man),
}

impl Cli {
    /// Runs the command. An error is printed by the caller; the code is what the shell sees.
    ///
    /// # Errors
    /// When the command cannot do what it was asked to; the text is for the user.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if matches!(self.command, Command::Init(_) | Command::Demo(_)) {
            modes::show_to_group();
        } else if !matches!(self.command, Command::Poll(_) | Command::Push(_)) {
            // A partner's files are made as the partner likes them.
            modes::keep_from_others();
        }
        match self.command {
            Command::Audit(audit) => audit.run(),
            Command::Cancel(cancel) => cancel.run(),
            Command::Cat(cat) => cat.run(),
            Command::Check(check) => check.run(),
            Command::Completions(completions) => completions.run(),
            Command::Demo(demo) => demo.run(),
            Command::Errors(errors) => errors.run(),
            Command::Events(events) => events.run(),
            Command::Expect(expect) => expect.run(),
            Command::Forget(forget) => forget.run(),
            Command::Fsck(fsck) => Ok(fsck.run()),
            Command::Health(health) => health.run(),
            Command::Hold(hold) => hold.run(),
            Command::Init(init) => init.run(),
            Command::Log(log) => log.run(),
            Command::Ls(ls) => ls.run(),
            Command::Man(man) => man.run(),
            Command::Poll(poll) => poll.run(),
            Command::Push(push) => push.run(),
            Command::Release(release) => release.run(),
            Command::Reload(reload) => reload.run(),
            Command::Requeue(requeue) => requeue.run(),
            Command::Rm(rm) => rm.run(),
            Command::Schedule(schedule) => schedule.run(),
            Command::Serve(serve) => serve.run(),
            Command::Shape(shape) => shape.run(),
            Command::Status(status) => status.run(),
            #[cfg(feature = "cluster")]
            Command::Nodes(nodes) => nodes.run(),
            #[cfg(feature = "cluster")]
            Command::Store(store) => store.run(),
            Command::Top(top) => top.run(),
            Command::User(user) => user.run(),
            Command::Validate(validate) => Ok(validate.run()),
            Command::Why(why) => why.run(),
        }
    }
}

/// Looks at a tenant's store, whether or not a service is at work on it: nothing is created.
fn look<T>(
    tenant: &Tenant,
    with: impl AsyncFnOnce(&dyn Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    has_jobs(tenant)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let engine = Engine::look(tenant).await?;
        engine.check_format()?;
        with(&*engine.store).await
    })
}

/// For the calls of one command.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")
}

/// A path that was mistyped is no reason to make a new spool there.
fn has_jobs(tenant: &Tenant) -> anyhow::Result<()> {
    if tenant.database.is_some() {
        return Ok(());
    }
    let queue = tenant.root.join("queue");
    access::explained(&queue, || std::fs::read_dir(&queue).map(drop)).or_else(|error| {
        let is = |kind| access::io_kind(&error) == Some(kind);
        if !is(ErrorKind::NotFound) && !is(ErrorKind::NotADirectory) {
            return Err(error);
        }
        bail!(
            "there is no spool at {}; `spoolgate serve` makes it",
            tenant.root.display()
        )
    })
}

/// Does the service that works on a spool not know the configuration as it now is?
fn is_unknown_to_service(config: &Config, tenant: &Tenant) -> bool {
    let fs = RealFs::new(&tenant.root);
    let served = matches!(SpoolLock::holder(&fs), Ok(Some(_)));
    let known = SpoolLock::configuration(&fs).ok().flatten();
    served && known.is_some_and(|known| known.sha256 != config.sha256)
}

/// An error with its causes, each named once: many of ours include theirs already.
fn explain(error: &anyhow::Error) -> String {
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

/// Prints an error to standard error.
pub fn report(error: &anyhow::Error) {
    output::print_note!("spoolgate: {}", explain(error));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The commands with no commands of their own, by their whole name.
    fn leaves(command: &clap::Command, prefix: &str, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands() {
            let name = format!("{prefix}{}", sub.get_name());
            match sub.has_subcommands() {
                true => leaves(sub, &format!("{name} "), found),
                false => found.push((name, sub.clone())),
            }
        }
    }

    #[test]
    fn the_usual_configuration_is_the_first_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (here, installed) = (dir.path().join("a"), dir.path().join("b"));
        assert_eq!(first_there([&here, &installed]), here);
        std::fs::write(&installed, "").unwrap();
        assert_eq!(first_there([&here, &installed]), installed);
        // What it says of itself when it is opened is more than that there is none.
        let unseen = installed.join("c");
        assert_eq!(first_there([&here, &unseen]), unseen);
        std::fs::write(&here, "").unwrap();
        assert_eq!(first_there([&here, &installed]), here);
    }

    #[test]
    fn options_are_listed_where_they_mean_something_and_explained() {
        Cli::command().debug_assert();
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert_eq!(found.len(), 47);
        let without = |option: &str| -> Vec<&str> {
            let has = |command: &clap::Command| {
                command
                    .get_arguments()
                    .any(|a| a.get_long() == Some(option))
            };
            let without = found.iter().filter(|(_, command)| !has(command));
            without.map(|(name, _)| name.as_str()).collect()
        };
        assert_eq!(
            without("config"),
            ["init", "demo", "push", "poll", "completions", "man"]
        );
        assert_eq!(
            without("tenant"),
            [
                "init",
                "serve",
                "reload",
                "demo",
                "health",
                "push",
                "poll",
                "completions",
                "man"
            ]
        );
        assert_eq!(
            without("json"),
            [
                "serve",
                "demo",
                "health",
                "top",
                "cat",
                "completions",
                "man"
            ]
        );
        for (name, command) in &found {
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{name}: {id}");
            }
            let examples = command.get_after_long_help().map(ToString::to_string);
            let example = format!("spoolgate {name}");
            assert!(
                examples.is_some_and(|text| text.contains(&example)),
                "{name} has no example"
            );
        }
    }
}
