//! How jobs are selected on the command line: by what they have in common.

use crate::{
    config::Config,
    domain::InterfaceName,
    ops::{
        moment::{Side, moment},
        selection::{JobState, Selection},
    },
};
use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;

/// Which jobs are meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Select {
    /// Jobs of this interface
    #[arg(long, value_name = "INTERFACE", help_heading = HEADING)]
    pub(super) interface: Option<InterfaceName>,
    /// Jobs in this state: queued, deferred, running, done, failed, cancelled or refused; several with commas
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', help_heading = HEADING)]
    pub(super) states: Vec<JobState>,
    /// Jobs of this user
    #[arg(long, value_name = "USER", help_heading = HEADING)]
    submitter: Option<String>,
    /// Jobs with TEXT in their names, or in their references as they were sent, in whatever case
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    text: Option<String>,
    /// Jobs that came since then: 14:00, 2026-11-22, 2026-11-22T14:00:00Z, 2h, 3d
    #[arg(long, value_name = "MOMENT", help_heading = HEADING)]
    since: Option<String>,
    /// Jobs that came before then, or are older than that
    #[arg(long, value_name = "MOMENT", help_heading = HEADING)]
    older: Option<String>,
    /// Jobs whose last error has TEXT in it, in whatever case
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    error: Option<String>,
    /// Jobs whose last error has this fingerprint
    #[arg(long, value_name = "F", help_heading = HEADING)]
    fingerprint: Option<String>,
    /// The first N of them
    #[arg(long, value_name = "N", help_heading = HEADING)]
    limit: Option<usize>,
}

const HEADING: &str = "Selection";

impl Select {
    /// What was typed, as it is meant now. `None`: nothing was.
    pub(super) fn selection(&self, config: &Config) -> anyhow::Result<Option<Selection>> {
        let (now, zone) = (Timestamp::now(), config.time_zone.time_zone());
        let ms = |option: &str, text: &Option<String>| {
            let text = text.as_ref();
            let found = text.map(|text| moment(text, now, zone, Side::Past));
            let found = found.transpose().map_err(|e| anyhow!("{option}: {e}"))?;
            anyhow::Ok(found.map(Timestamp::as_millisecond))
        };
        let selection = Selection {
            interface: self.interface.clone(),
            states: self.states.clone(),
            submitter: self.submitter.clone(),
            text: self.text.clone(),
            since_ms: ms("--since", &self.since)?,
            before_ms: ms("--older", &self.older)?,
            error: self.error.clone(),
            fingerprint: self.fingerprint.clone(),
            limit: self.limit,
        };
        Ok((selection != Selection::default()).then_some(selection))
    }
}
