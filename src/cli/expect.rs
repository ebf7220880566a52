//! `spoolgate expect …`: what is to come from partners, and what has.

use super::{Common, look, output::print_line};
use crate::{
    cron_schedule::{Expectation, Window},
    domain::{escaped, joblog::rfc3339},
    ops::arrivals::Arrivals,
};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Commands {
    /// List what is expected from partners, what has come of it, and how the last deadline went
    Ls(Ls),
}

impl Commands {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Ls(ls) => ls.run(),
        }
    }
}

/// Lists the entries of `[[expect]]` in the configuration: the next deadline with the documents that have come for it,
/// and the last one with what became of it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Ls {
    /// Only those of which the last deadline was not met; the exit code is 1 if there is one
    #[arg(long)]
    missing: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Who has not sent:   spoolgate expect ls --missing
For a script:       spoolgate expect ls --json | jq 'select(.last.verdict == \"too_few\")'";

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let expectations = &tenant.expectations;
        let mut all = look(&tenant, async |store| {
            let mut all = Vec::with_capacity(expectations.len());
            for expectation in expectations {
                let arrivals = Arrivals::of(expectation, store, Timestamp::now()).await?;
                all.push((expectation, arrivals));
            }
            Ok(all)
        })?;
        let mut code = ExitCode::SUCCESS;
        if self.missing {
            all.retain(|(_, arrivals)| arrivals.is_missing());
            if !all.is_empty() {
                code = ExitCode::FAILURE;
            }
        }
        if self.common.format.json {
            for (expectation, arrivals) in &all {
                print_line!("{}", as_json(expectation, arrivals))?;
            }
        } else {
            print_table(&all)?;
        }
        Ok(code)
    }
}

fn print_table(all: &[(&Expectation, Arrivals)]) -> anyhow::Result<()> {
    let mut lines =
        vec![["INTERFACE", "SUBMITTER", "EXPECTED", "CAME", "BY", "LAST"].map(String::from)];
    for (expectation, arrivals) in all {
        let (came, by) = match arrivals.next {
            None => ("-".to_owned(), "never again".to_owned()),
            Some((window, documents)) => (documents.to_string(), moment(window.deadline)),
        };
        let last = match arrivals.last {
            None => "-".to_owned(),
            Some((window, documents, verdict)) => {
                let by = moment(window.deadline);
                format!("{}: {documents} came by {by}", verdict.in_words())
            }
        };
        let submitter = escaped(&expectation.submitter);
        lines.push([
            expectation.interface.to_string(),
            submitter,
            expectation.wanted(),
            came,
            by,
            last,
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths = [0, 1, 2, 3, 4].map(|column| width(column).unwrap_or(0));
    let [a, b, c, d, e] = widths;
    for [interface, submitter, wanted, came, by, last] in &lines {
        print_line!("{interface:a$}  {submitter:b$}  {wanted:c$}  {came:>d$}  {by:e$}  {last}")?;
    }
    Ok(())
}

fn as_json(expectation: &Expectation, arrivals: &Arrivals) -> Value {
    let next = arrivals.next.map(
        |(window, documents)| json!({"deadline": moment(window.deadline), "documents": documents}),
    );
    let last = arrivals
        .last
        .map(|(Window { deadline, .. }, documents, verdict)| {
            let deadline = moment(deadline);
            json!({"deadline": deadline, "documents": documents, "verdict": verdict.as_str()})
        });
    json!({
        "interface": expectation.interface.as_str(),
        "submitter": expectation.submitter,
        "at_least": expectation.at_least,
        "at_most": expectation.at_most,
        "next": next,
        "last": last,
    })
}

fn moment(moment: Timestamp) -> String {
    rfc3339(moment.as_millisecond())
}
