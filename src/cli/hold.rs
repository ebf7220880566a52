//! `spoolgate hold` and `release`: the same as `touch queue/<interface>/.hold` and `rm` of it.

use super::{Common, jobs::exit_code, operator::Operator, output::print_line};
use crate::{
    domain::escaped,
    {domain::InterfaceName, ops::admin::Operation},
};
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
    /// Why; kept in the .hold file for others to read
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
        each(&self.common, &self.interfaces, |interface| {
            Operation::Hold {
                interface: interface.clone(),
                reason: self.reason.clone(),
            }
        })
    }
}

impl Release {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        each(&self.common, &self.interfaces, |interface| {
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
    let say = |interface: &InterfaceName, outcome: &str| say(common, interface, &escaped(outcome));
    let done = operator.each(interfaces, |interface| act(interface), say)?;
    Ok(exit_code(done))
}

fn say(common: &Common, interface: &InterfaceName, what: &str) -> anyhow::Result<()> {
    if common.format.json {
        print_line!(
            "{}",
            serde_json::json!({"interface": interface.as_str(), "outcome": what})
        )
    } else {
        print_line!("{interface} {what}")
    }
}
