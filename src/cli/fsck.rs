//! `spoolgate fsck`: whether all that is kept fits together.

use super::{
    Common, look,
    output::{bar, print_line},
};
use crate::{
    domain::escaped,
    store::{
        Store,
        check::{CheckProgress, Checked},
    },
};
use clap::Args;
use std::{process::ExitCode, sync::Arc, time::Duration};

/// Not all could be looked at.
const UNKNOWN: u8 = 2;
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Looks at every job, whether or not a service is at work, and changes nothing: each is in one place, its document is
/// the one that was accepted, the record has a line for it, and nothing is lost, or left of no job; the audit is one
/// chain. Reads every document, so it takes as long as that. Exit code 0: all fits; 1: some does not; 2: not all could be
/// looked at.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Fsck {
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
All of a spool:    spoolgate fsck
Of a tenant:       spoolgate fsck --tenant shop --json";

impl Fsck {
    pub(super) fn run(&self) -> ExitCode {
        let code = self.checked().unwrap_or_else(|error| {
            super::report(&error);
            UNKNOWN
        });
        ExitCode::from(code)
    }

    /// The exit code, once all has been said.
    fn checked(&self) -> anyhow::Result<u8> {
        let (_, tenant) = self.common.at.load()?;
        let checked = look(&tenant, watched)?;
        for flaw in &checked.flaws {
            match self.common.format.json {
                true => print_line!("{}", serde_json::to_value(flaw)?)?,
                false => print_line!("{}", escaped(&flaw.to_string()))?,
            }
        }
        if !self.common.format.json {
            let (jobs, flaws) = (checked.jobs, checked.flaws.len());
            print_line!("{jobs} jobs looked at, {flaws} flaws")?;
        }
        Ok(code_of(&checked))
    }
}

/// Checks a store, with a bar where somebody sees it.
async fn watched(store: &dyn Store) -> anyhow::Result<Checked> {
    let progress = Arc::new(CheckProgress::default());
    let shown = bar(0);
    let checking = store.check(progress.clone());
    tokio::pin!(checking);
    let checked = loop {
        tokio::select! {
            checked = &mut checking => break checked,
            () = tokio::time::sleep(DRAWN_EVERY) => {
                let (done, of) = progress.so_far();
                shown.set_length(of);
                shown.set_position(done);
            }
        }
    };
    shown.finish_and_clear();
    Ok(checked?)
}

fn code_of(checked: &Checked) -> u8 {
    match checked {
        _ if !checked.is_whole() => UNKNOWN,
        _ if checked.flaws.is_empty() => 0,
        _ => 1,
    }
}
