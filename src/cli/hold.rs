//! `spoolgate hold` and `release`: the same as `touch queue/<interface>/.hold` and `rm` of it.

use super::{
    Common,
    jobs::exit_code,
    operator::Operator,
    output::{acted, failed, print_line},
};
use crate::{
    config::Tenant,
    domain::{InterfaceName, NameError, escaped},
    ops::{
        admin::Operation,
        moment::{Side, moment},
    },
};
use anyhow::{anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use std::{process::ExitCode, str::FromStr};

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
Of a kind:    spoolgate hold 'orders_*' items_in
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
    /// Interfaces, as `spoolgate status` lists them; with * for whatever stands there, as in 'orders_*'
    #[arg(required_unless_present = "all", value_name = "INTERFACE")]
    interfaces: Vec<Pattern>,
    /// All interfaces of the tenant
    #[arg(long, conflicts_with = "interfaces")]
    all: bool,
}

/// The name of an interface, or with `*` those of several.
#[derive(Clone, Debug)]
struct Pattern(String);

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.replace('*', "x").parse::<InterfaceName>()?;
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    fn fits(&self, name: &InterfaceName) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return self.0 == name.as_str();
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = name.as_str().strip_prefix(head);
        let Some(between) = between.and_then(|rest| rest.strip_suffix(tail)) else {
            return false;
        };
        // What comes first leaves most for the others.
        let left = middle.split('*').try_fold(between, |left, part| {
            left.split_once(part).map(|(_, left)| left)
        });
        left.is_some()
    }

    /// Those that it names: one that is not known, too, which is refused by its name.
    fn of(&self, tenant: &Tenant) -> anyhow::Result<Vec<InterfaceName>> {
        if let Ok(name) = self.0.parse() {
            return Ok(vec![name]);
        }
        let all = tenant.interfaces.keys();
        let found: Vec<_> = all.filter(|name| self.fits(name)).cloned().collect();
        if found.is_empty() {
            let known: Vec<&str> = tenant.interfaces.keys().map(|i| i.as_str()).collect();
            bail!(
                "no interface fits {}; there are {}",
                self.0,
                known.join(", ")
            );
        }
        Ok(found)
    }
}

impl Which {
    /// Each once.
    fn of(&self, tenant: &Tenant) -> anyhow::Result<Vec<InterfaceName>> {
        if self.all {
            return Ok(tenant.interfaces.keys().cloned().collect());
        }
        let mut all = Vec::new();
        for pattern in &self.interfaces {
            for name in pattern.of(tenant)? {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        Ok(all)
    }
}

impl Hold {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let (now, zone) = (Timestamp::now(), config.time_zone.time_zone());
        let until = self.until.as_ref();
        let until = until.map(|text| moment(text, now, zone, Side::Future));
        let until = until.transpose().map_err(|e| anyhow!("--until: {e}"))?;
        each(&self.common, &self.which.of(&tenant)?, |interface| {
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
        each(&self.common, &self.which.of(&tenant)?, |interface| {
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
            Ok(outcome) if as_json => print_line!("{}", acted("interface", interface, outcome)?),
            Ok(outcome) => print_line!("{interface} {}", escaped(&outcome.to_string())),
        },
    )?;
    Ok(exit_code(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_names() {
        let fits = |pattern: &str, name: &str| {
            let pattern: Pattern = pattern.parse().unwrap();
            pattern.fits(&name.parse().unwrap())
        };
        for (pattern, name) in [
            ("orders_in", "orders_in"),
            ("*", "orders_in"),
            ("orders_*", "orders_in"),
            ("*_in", "orders_in"),
            ("o*_*n", "orders_in"),
            ("*r*r*", "orders_in"),
            ("orders_in*", "orders_in"),
            ("a*a", "aa"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("orders", "orders_in"),
            ("orders_*", "borders_in"),
            ("*_in", "orders_int"),
            ("*r*r*r*", "orders_in"),
            ("a*a", "a"),
            ("*n*i*", "orders_in"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        for odd in ["", "../*", "a b*", "*/x"] {
            assert!(odd.parse::<Pattern>().is_err(), "{odd}");
        }
    }
}
