//! `spoolgate hold` and `release`: the same as `touch queue/<interface>/.hold` and `rm` of it.

use super::{Common, open_spool, whoami};
use crate::{job::InterfaceName, spool::Spool};
use anyhow::bail;
use clap::Args;
use std::process::ExitCode;

/// Holds interfaces: uploads are still accepted, running jobs finish, nothing more is started.
#[derive(Debug, Args)]
pub(super) struct Hold {
    /// Interfaces, as `spoolgate status` lists them
    #[arg(required = true, value_name = "INTERFACE")]
    interfaces: Vec<InterfaceName>,
    /// Why; kept in the .hold file for whoever looks
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Releases held interfaces.
#[derive(Debug, Args)]
pub(super) struct Release {
    /// Interfaces, as `spoolgate status` lists them
    #[arg(required = true, value_name = "INTERFACE")]
    interfaces: Vec<InterfaceName>,
}

impl Hold {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let spool = open(common, &self.interfaces)?;
        let since = format!("{:.0}", jiff::Timestamp::now());
        let mut text = format!("by {} since {since}", whoami());
        if !self.reason.is_empty() {
            text = format!("{text}: {}", self.reason);
        }
        for interface in &self.interfaces {
            match spool.hold_text(interface)? {
                // Who held it first, and why, is worth more than that it is held twice.
                Some(earlier) if self.reason.is_empty() => {
                    say(common, interface, &format!("was held already {earlier}"));
                }
                Some(_) | None => {
                    spool.hold(interface, &format!("{text}\n"))?;
                    say(common, interface, "held");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let spool = open(common, &self.interfaces)?;
        for interface in &self.interfaces {
            let released = spool.release(interface)?;
            say(
                common,
                interface,
                if released { "released" } else { "was not held" },
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn open(common: &Common, interfaces: &[InterfaceName]) -> anyhow::Result<Spool> {
    let (_, tenant) = common.load()?;
    let spool = open_spool(&tenant)?;
    for interface in interfaces {
        if !spool.has_interface(interface) {
            bail!("unknown interface {interface}; `spoolgate status` lists them");
        }
    }
    Ok(spool)
}

fn say(common: &Common, interface: &InterfaceName, what: &str) {
    if common.json {
        println!(
            "{}",
            serde_json::json!({"interface": interface.as_str(), "outcome": what})
        );
    } else {
        println!("{interface} {what}");
    }
}
