//! `spoolgate events …`: what waits for receivers, what they never took, and sending it again.

use super::{At, Common, Format, operator::Operator, output::print_line};
use crate::{
    config::Tenant,
    domain::escaped,
    ops::{
        admin::Operation,
        moment::{Side, moment},
    },
    store::events::{EventEnd, EventId, EventRecord, WhichEvents},
};
use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// List events that wait for their receivers, and those that are dead, oldest first
    Ls(Ls),
    /// Let events wait again for receivers that did not take them
    Redeliver(Redeliver),
}

/// Lists events that wait, or that are dead since their receiver did not take them for three days or there was no more
/// room for them.
#[derive(Debug, Args)]
#[command(after_long_help = LS_EXAMPLES)]
pub(super) struct Ls {
    /// Only those for this receiver
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Only those recorded from then on: how long ago (2h, 1d), a time or day, or a moment
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Also those that were delivered
    #[arg(long)]
    delivered: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

const LS_EXAMPLES: &str = "\
All of them:         spoolgate events ls
One receiver's:      spoolgate events ls --to erp --since 2h --delivered --json";

/// Sends events once more, under the same ids: a receiver that has one knows it again. Delivered ones are sent again
/// only when they are named.
#[derive(Debug, Args)]
#[command(after_long_help = REDELIVER_EXAMPLES)]
pub(super) struct Redeliver {
    /// Events, as `spoolgate events ls` lists them
    #[arg(value_name = "EVENT", required_unless_present = "all")]
    events: Vec<EventId>,
    /// All that are dead
    #[arg(long, conflicts_with = "events")]
    all: bool,
    /// Only to this receiver
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    #[command(flatten)]
    common: Common,
}

const REDELIVER_EXAMPLES: &str = "\
All dead ones:       spoolgate events redeliver --all --to erp
One:                 spoolgate events redeliver evt_0d80cbc92d92354947b9fe224ae807b6";

impl Events {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Redeliver(redeliver) => redeliver.run(),
        }
    }
}

fn has_receiver(tenant: &Tenant, name: &str) -> bool {
    tenant.events.iter().any(|of| of.wants.receiver == name)
}

fn state(record: &EventRecord) -> &'static str {
    match record.ended {
        None => "waiting",
        Some((_, EventEnd::Dead, _)) => "dead",
        Some((_, EventEnd::Delivered, _)) => "delivered",
        Some((_, EventEnd::Void, _)) => "void",
    }
}

/// When the next attempt is due at the earliest, of an event that waits and was tried.
fn next(record: &EventRecord) -> Option<Timestamp> {
    let (_, failure) = record.failed.as_ref()?;
    record.ended.is_none().then_some(failure.next)
}

fn as_json(record: &EventRecord, is_configured: bool) -> Value {
    let (ended, failed) = (record.ended.as_ref(), record.failed.as_ref());
    let mut row = json!({
        "event": record.id,
        "receiver": record.receiver,
        "configured": is_configured,
        "state": state(record),
        "recorded_at": record.at,
        "type": record.event.kind,
        "timestamp": record.event.timestamp,
        "data": record.event.data,
        "failed_attempts": failed.map_or(0, |(_, failure)| failure.attempts),
        "last_failed_at": failed.map(|(at, _)| at),
        "last_failure": failed.map(|(_, failure)| &failure.reason),
        "next_attempt_at": next(record),
        "ended_at": ended.map(|(at, ..)| at),
        "why": ended.and_then(|(_, _, why)| why.as_ref()),
    });
    if let Some(row) = row.as_object_mut() {
        row.retain(|_, value| !value.is_null());
    }
    row
}

fn as_text(record: &EventRecord, is_configured: bool) -> String {
    let event = &record.event;
    let mut text = format!(
        "{}  {:.0}  {}  {}  {}",
        record.id,
        event.timestamp,
        record.receiver,
        state(record),
        event.kind.as_str()
    );
    for name in ["interface", "job"] {
        if let Some(value) = event.data.get(name).and_then(Value::as_str) {
            text += &format!(" {value}");
        }
    }
    if let Some((_, _, Some(why))) = &record.ended {
        text += &format!(": {why}");
    }
    if let Some((at, failure)) = &record.failed {
        let (failed, reason) = (failure.attempts, &failure.reason);
        text += &format!("; {failed} failed, the last {at:.0}: {reason}");
    }
    match next(record).filter(|_| is_configured) {
        Some(next) => text += &format!("; next not before {next:.0}"),
        None if is_configured => {}
        None => text += &format!("; no receiver {} is configured", record.receiver),
    }
    escaped(&text)
}

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (config, tenant) = self.at.load()?;
        let zone = config.time_zone.time_zone();
        let since = self.since.as_ref();
        let since = since.map(|text| moment(text, Timestamp::now(), zone, Side::Past));
        let which = WhichEvents {
            receiver: self.to.clone(),
            since: since.transpose().map_err(|e| anyhow!("--since: {e}"))?,
            delivered: self.delivered,
            ..WhichEvents::default()
        };
        let records = super::look(&tenant, async |store| Ok(store.events(&which).await?))?;
        for record in &records {
            let is_configured = has_receiver(&tenant, &record.receiver);
            match self.format.json {
                true => print_line!("{}", as_json(record, is_configured))?,
                false => print_line!("{}", as_text(record, is_configured))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Redeliver {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        if let Some(to) = &self.to
            && !has_receiver(&tenant, to)
        {
            bail!("no receiver {to} is configured: see [[events]]");
        }
        let operation = Operation::Redeliver {
            events: self.events.clone(),
            receiver: self.to.clone(),
        };
        let outcome = Operator::open(&self.common.at)?.act(&operation)?;
        match self.common.format.json {
            true => print_line!("{}", serde_json::to_value(&outcome)?)?,
            false => print_line!("{}", escaped(&outcome.to_string()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
