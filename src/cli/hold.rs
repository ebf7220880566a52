//! `spoolgate hold` and `release`: the same as `touch queue/<interface>/.hold` and `rm` of it.

use super::{
    Common,
    jobs::exit_code,
    operator::Operator,
    output::{failed, print_line},
};
use crate::{
    config::Tenant,
    domain::{InterfaceName, escaped},
    ops::{
        admin::Operation,
        moment::{Side, moment},
    },
};
use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use std::process::ExitCode;

/// Holds interfaces: uploads are still accepted, running jobs finish, nothing more is started.
#[derive(Debug, Args)]
#[command(after_long_help = HOLD_EXAMPLES)]
pub(super) struct Hold {
    #[command(flatten)]
    which: Which,
    /// Why; kept in the .hold file for others to read
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Until when: 14:00 in server.time_zone, 2026-11-22T14:00:00Z, or for a while such as 2h
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    #[command(flatten)]
    common: Common,
}

const HOLD_EXAMPLES: &str = "\
One:          spoolgate hold orders_in --reason 'database away' --until 14:00
All of them:  spoolgate hold --all --until 2h";

/// Releases held interfaces.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate release orders_in items_in")]
pub(super) struct Release {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Common,
}

/// Which interfaces are meant.
#[derive(Debug, Args)]
struct Which {
    /// Interfaces, as `spoolgate status` lists them
    #[arg(required_unless_present = "all", value_name = "INTERFACE")]
    interfaces: Vec<InterfaceName>,
    /// All interfaces of the tenant
    #[arg(long, conflicts_with = "interfaces")]
    all: bool,
}

impl Which {
    fn of(&self, tenant: &Tenant) -> Vec<InterfaceName> {
        match self.all {
            true => tenant.interfaces.keys().cloned().collect(),
            false => self.interfaces.clone(),
        }
    }
}

impl Hold {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let (now, zone) = (Timestamp::now(), config.time_zone.time_zone());
        let until = self.until.as_ref();
        let until = until.map(|text| moment(text, now, zone, Side::Future));
        let until = until.transpose().map_err(|e| anyhow!("--until: {e}"))?;
        each(&self.common, &self.which.of(&tenant), |interface| {
            Operation::Hold {
                interface: interface.clone(),
                reason: self.reason.clone(),
                until,
            }
        })
    }
}

impl Release {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        each(&self.common, &self.which.of(&tenant), |interface| {
            Operation::Release {
                interface: interface.clone(),
            }
        })
    }
}

/// Does something with every interface; one that fails does not stop the others.
fn each(
    common: &Common,
    interfaces: &[InterfaceName],
    act: impl Fn(&InterfaceName) -> Operation,
) -> anyhow::Result<ExitCode> {
    let mut operator = Operator::open(&common.at)?;
    let as_json = common.format.json;
    let done = operator.each(
        interfaces,
        |interface| act(interface),
        |interface, outcome| match outcome {
            Err(error) => failed(as_json, "interface", interface, error),
            Ok(outcome) if as_json => print_line!(
                "{}",
                serde_json::json!({"interface": interface.as_str(), "outcome": outcome})
            ),
            Ok(outcome) => print_line!("{interface} {}", escaped(outcome)),
        },
    )?;
    Ok(exit_code(done))
}
