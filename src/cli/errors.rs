//! `spoolgate errors`: what jobs fail of, the commonest first.

use super::{Common, look, output::print_line};
use crate::{
    domain::{escaped, joblog::rfc3339, stamp},
    ops::moment::{Side, moment},
    store::{ErrorGroup, Failing, Viewer},
};
use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use std::process::ExitCode;

/// Groups jobs that have failed or are deferred by their last errors. Errors that differ in numbers only are one.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Errors {
    /// Only what has failed since then: how long ago (2h, 1d), a time, a day, or a moment
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// What documents were refused for, by who has sent them
    #[arg(long)]
    refused: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
What fails:        spoolgate errors
Since yesterday:   spoolgate errors --since 1d
What is refused:   spoolgate errors --refused";

impl Errors {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.common.at.load()?;
        let zone = config.time_zone.time_zone();
        let since = |text: &String| moment(text, Timestamp::now(), zone, Side::Past);
        let since = self.since.as_ref().map(since).transpose();
        let since = since.map_err(|error| anyhow!("--since: {error}"))?;
        let since_ms = since.map(Timestamp::as_millisecond);
        let of = match self.refused {
            true => Failing::Uploads,
            false => Failing::Jobs,
        };
        let groups = look(&tenant, async |store| {
            Ok(store.error_groups(&Viewer::all(), of, since_ms).await?)
        })?;
        if !self.common.format.json && !groups.is_empty() {
            print_line!(
                "{:>7} {:>8}  {:<24}  {:<24}  {:<16}  EXAMPLE AND ERROR",
                "FAILED",
                "DEFERRED",
                "FIRST",
                "LAST",
                "FINGERPRINT"
            )?;
        }
        for group in &groups {
            match self.common.format.json {
                true => print_line!("{}", json(group))?,
                false => text(group)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn json(group: &ErrorGroup) -> serde_json::Value {
    let interfaces: Vec<&str> = group.interfaces.iter().map(|i| i.as_str()).collect();
    serde_json::json!({
        "fingerprint": group.fingerprint,
        "submitter": group.submitter,
        "failed": group.failed,
        "deferred": group.deferred,
        "first": rfc3339(group.first_ms),
        "last": rfc3339(group.last_ms),
        "hours": group.hours,
        "interfaces": interfaces,
        "example": group.example.to_string(),
        "error": group.text,
    })
}

fn text(group: &ErrorGroup) -> anyhow::Result<()> {
    let sender = group.submitter.as_deref();
    let sender = sender.map_or(String::new(), |sender| format!("{}  ", escaped(sender)));
    print_line!(
        "{:>7} {:>8}  {:<24}  {:<24}  {:<16}  {sender}{}  {}",
        group.failed,
        group.deferred,
        stamp(group.first_ms),
        stamp(group.last_ms),
        group.fingerprint,
        group.example,
        escaped(group.text.as_deref().unwrap_or("-")),
    )
}
