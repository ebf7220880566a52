//! `spoolgate push` and `poll`: what was typed, handed to the client.

use super::Format;
use crate::{
    client::{self, Endpoint, Login, PollOptions, PushOptions, Trust},
    domain::InterfaceName,
};
use anyhow::Context;
use clap::Args;
use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

/// Where the gateway is and who asks.
#[derive(Debug, Args)]
struct Connection {
    /// The gateway, as https://HOST or https://HOST:PORT
    #[arg(long, value_name = "URL", env = "SPOOLGATE_URL")]
    url: String,
    /// The user; without :PASSWORD it is taken from SPOOLGATE_PASSWORD or --password-file
    #[arg(
        long,
        short,
        value_name = "NAME[:PASSWORD]",
        env = "SPOOLGATE_USER",
        hide_env_values = true
    )]
    user: String,
    #[command(flatten)]
    access: Access,
}

/// By which password, and which certificates are trusted.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// Read the password from the first line of FILE
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Trust the certificates in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    cacert: Option<PathBuf>,
    /// Trust any certificate: any server that answers gets the password
    #[arg(long, short = 'k')]
    insecure: bool,
}

impl Connection {
    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        self.access.endpoint(&self.url, &self.user)
    }
}

impl Access {
    pub(super) fn endpoint(&self, url: &str, user: &str) -> anyhow::Result<Endpoint> {
        let login = Login::find(user, self.password_file.as_deref())?;
        let trust = match (&self.cacert, self.insecure) {
            (Some(file), _) => Trust::File(file.clone()),
            (None, true) => Trust::Insecure,
            (None, false) => Trust::System,
        };
        Ok(Endpoint::new(url, login, &trust)?)
    }
}

/// Uploads documents and prints the job names. A push that broke off can be repeated: the same
/// unchanged file makes no second job within the server's retention time.
#[derive(Debug, Args)]
#[command(after_long_help = PUSH_EXAMPLES)]
pub(super) struct Push {
    #[command(flatten)]
    connection: Connection,
    /// Documents to upload; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The interface; recognised by the document unless given
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<InterfaceName>,
    /// Part of the job's name; the file's name without its extension unless given
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
    /// Make a new job although this very file was pushed before
    #[arg(long, conflicts_with = "key")]
    again: bool,
    /// The idempotency key to use (one file only)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// How often a failed upload is tried again
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
}

const PUSH_EXAMPLES: &str = "\
One document:   spoolgate push --url https://HOST:8443 --user NAME order.xml
Many:           SPOOLGATE_PASSWORD=… spoolgate push --url https://HOST:8443 --user NAME out/*.xml";

impl Push {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let endpoint = self.connection.endpoint()?;
        let options = PushOptions {
            again: self.again,
            interface: self.interface,
            json: self.format.json,
            key: self.key,
            quiet: self.quiet,
            reference: self.reference,
            retries: self.retries,
            ..PushOptions::default()
        };
        runtime()?.block_on(client::push(&endpoint, &self.files, &options))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Fetches what is new in an interface into a directory: whole files only, none twice, none
/// lost, also when this program or the server is killed at any moment.
#[derive(Debug, Args)]
#[command(after_long_help = POLL_EXAMPLES)]
pub(super) struct Poll {
    #[command(flatten)]
    connection: Connection,
    /// The interface whose jobs to fetch
    #[arg(long, short, value_name = "INTERFACE")]
    interface: InterfaceName,
    /// The directory for the files; its .spoolgate-poll holds what must survive a crash
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Seconds between two rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    interval: u64,
    /// One round only; the exit code says whether all went well
    #[arg(long)]
    once: bool,
    /// Do nothing, and call that good, while another poll is running into the directory
    #[arg(long)]
    skip_if_running: bool,
    /// Fetch up to N jobs at the same time, over as many connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Run CMD by `sh -c` for each file, one after the other, its path in $1; tried again until it succeeds
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Fetch through this stylesheet of the server
    #[arg(long, value_name = "NAME")]
    xslt: Option<String>,
    #[command(flatten)]
    format: Format,
}

const POLL_EXAMPLES: &str = "\
From a timer:   spoolgate poll --url https://HOST:8443 --user NAME -i orders_out --to inbox --once
Forever:        spoolgate poll --url https://HOST:8443 --user NAME -i orders_out --to inbox \\
                  --exec './import.sh \"$1\"'";

impl Poll {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let endpoint = self.connection.endpoint()?;
        let options = PollOptions {
            exec: self.exec,
            interface: self.interface,
            interval: Duration::from_secs(self.interval.max(1)),
            json: self.format.json,
            once: self.once,
            // At least one, as the argument says.
            parallel: NonZeroUsize::new(self.parallel.into()).unwrap_or(NonZeroUsize::MIN),
            skip_if_running: self.skip_if_running,
            to: self.to,
            xslt: self.xslt,
        };
        runtime()?.block_on(client::poll(&endpoint, &options))?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("cannot start the runtime")
}
