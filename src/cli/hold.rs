//! `spoolgate hold` and `release`: the same as `touch queue/<interface>/.hold` and `rm` of it.

use super::{
    Common,
    output::{safe, tell},
    whoami, writable_spool,
};
use crate::{job::InterfaceName, spool::Spool};
use anyhow::bail;
use clap::Args;
use std::process::ExitCode;

/// Holds interfaces: uploads are still accepted, running jobs finish, nothing more is started.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:   spoolgate hold orders_in --reason 'database away until 14:00'"
)]
pub(super) struct Hold {
    /// Interfaces, as `spoolgate status` lists them
    #[arg(required = true, value_name = "INTERFACE")]
    interfaces: Vec<InterfaceName>,
    /// Why; kept in the .hold file for whoever looks
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// Releases held interfaces.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate release orders_in items_in")]
pub(super) struct Release {
    /// Interfaces, as `spoolgate status` lists them
    #[arg(required = true, value_name = "INTERFACE")]
    interfaces: Vec<InterfaceName>,
    #[command(flatten)]
    common: Common,
}

impl Hold {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let common = &self.common;
        let spool = open(common, &self.interfaces)?;
        let mut told = Ok(());
        let since = format!("{:.0}", jiff::Timestamp::now());
        let mut text = format!("by {} since {since}", whoami());
        if !self.reason.is_empty() {
            text = format!("{text}: {}", self.reason);
        }
        for interface in &self.interfaces {
            match spool.hold_text(interface)? {
                // Who held it first, and why, is worth more than that it is held twice.
                Some(earlier) if self.reason.is_empty() => {
                    let text = format!("was held already {}", safe(&earlier));
                    told = told.and(say(common, interface, &text));
                }
                Some(_) | None => {
                    spool.hold(interface, &format!("{text}\n"))?;
                    told = told.and(say(common, interface, "held"));
                }
            }
        }
        told.map(|()| ExitCode::SUCCESS)
    }
}

impl Release {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let common = &self.common;
        let spool = open(common, &self.interfaces)?;
        let mut told = Ok(());
        for interface in &self.interfaces {
            let released = spool.release(interface)?;
            let text = if released { "released" } else { "was not held" };
            told = told.and(say(common, interface, text));
        }
        told.map(|()| ExitCode::SUCCESS)
    }
}

fn open(common: &Common, interfaces: &[InterfaceName]) -> anyhow::Result<Spool> {
    let (_, tenant) = common.at.load()?;
    let spool = writable_spool(&tenant)?;
    for interface in interfaces {
        if !spool.has_interface(interface) {
            bail!("unknown interface {interface}; `spoolgate status` lists them");
        }
    }
    Ok(spool)
}

fn say(common: &Common, interface: &InterfaceName, what: &str) -> anyhow::Result<()> {
    if common.format.json {
        tell!(
            "{}",
            serde_json::json!({"interface": interface.as_str(), "outcome": what})
        )
    } else {
        tell!("{interface} {what}")
    }
}
