//! `spoolgate schedule …`: what is to run at moments to come. A running service sees immediately what
//! is done here, as it sees an `rm` or `mv` of the files.

use super::{
    Common, ConfigArg, Format,
    jobs::exit_code,
    look,
    operator::Operator,
    output::{acted, failed, print_line},
};
use crate::{
    config::Config,
    cron_schedule::cron::{Changes, Cron},
    cron_schedule::{Progress, Schedule, ScheduleId, Zone},
    domain::escaped,
    ops::admin::Operation,
    store::Store,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Commands {
    /// List schedules with their next moments
    Ls(Ls),
    /// Show schedules, and what became of their latest jobs
    Show(Show),
    /// Let schedules follow the clock again that wait since it was set back
    Reset(Reset),
    /// End schedules permanently; their jobs stay
    Rm(Rm),
    /// Say when a cron expression names moments, before it is used or to explain one
    Next(Next),
}

impl Commands {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Next(next) => next.run(),
            Self::Reset(reset) => reset.run(),
            Self::Rm(rm) => rm.run(),
            Self::Show(show) => show.run(),
        }
    }
}

/// A schedule's id, or the path of its file.
#[derive(Clone, Debug)]
struct IdArg(ScheduleId);

impl std::str::FromStr for IdArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let file = text.rsplit('/').next().unwrap_or(text);
        let id = file.strip_suffix(".json").unwrap_or(file).parse();
        id.map(Self)
            .map_err(|_| "not a schedule's id; `spoolgate schedule ls` lists them".into())
    }
}

/// Lists schedules, oldest first, each with its next moment and in plain words, where few say when it runs. Those that have ended are left out
/// unless asked for.
#[derive(Debug, Args)]
#[command(after_long_help = LS_EXAMPLES)]
pub(super) struct Ls {
    /// Also those that have ended: no moment is left, or they have run once and were to run once
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

const LS_EXAMPLES: &str = "\
What will run:     spoolgate schedule ls
What ever ran:     spoolgate schedule ls --all --json";

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let (all, code) = look(&tenant, async |store| self.all_known(store).await)?;
        if self.common.format.json {
            for one in &all {
                print_line!("{one}")?;
            }
            return Ok(code);
        }
        for one in &all {
            let text = |key: &str| escaped(one[key].as_str().unwrap_or("-"));
            let (id, next, interface) = (text("schedule"), text("next"), text("interface"));
            let next = if next == "-" { "ended".into() } else { next };
            let expression = match text("quartz").as_str() {
                "-" => String::new(),
                quartz => format!("  {quartz} ({})", text("time_zone")),
            };
            let words = match text("in_words").as_str() {
                "-" => String::new(),
                words => format!("  {words}"),
            };
            print_line!(
                "{id}  {next:<20}  {interface:<16}  {:>6} runs{expression}{words}",
                one["runs"]
            )?;
        }
        Ok(code)
    }

    /// What is known of each; one that cannot be read is reported.
    async fn all_known(&self, store: &dyn Store) -> anyhow::Result<(Vec<Value>, ExitCode)> {
        let (mut all, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for id in store.schedules().await? {
            match read(store, id).await {
                Ok((schedule, progress)) => {
                    if self.all || schedule.next(&progress).is_some() {
                        all.push(known(store, id, &schedule, &progress).await);
                    }
                }
                Err(error) => {
                    failed(self.common.format.json, "schedule", id, &error)?;
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok((all, code))
    }
}

/// Shows all that is known of schedules: when they run, for whom, how often they have run, and
/// where their latest job is.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate schedule show 20261125T125442.123Z-00042")]
pub(super) struct Show {
    /// Ids, or the paths of their files
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdArg>,
    #[command(flatten)]
    common: Common,
}

impl Show {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        look(&tenant, async |store| {
            let mut code = ExitCode::SUCCESS;
            for IdArg(id) in &self.ids {
                if let Err(error) = self.show(store, *id).await {
                    failed(self.common.format.json, "schedule", id, &error)?;
                    code = ExitCode::FAILURE;
                }
            }
            Ok(code)
        })
    }

    async fn show(&self, store: &dyn Store, id: ScheduleId) -> anyhow::Result<()> {
        let (schedule, progress) = read(store, id).await?;
        let known = known(store, id, &schedule, &progress).await;
        if self.common.format.json {
            return print_line!("{known}");
        }
        let known = known.as_object().into_iter().flatten();
        for (key, value) in known.filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            print_line!("{key:<15} {}", escaped(&text))?;
        }
        Ok(())
    }
}

/// Lets schedules follow the clock from now on. A moment comes once, so after a clock that was ahead
/// has been set back, a schedule waits until it has caught up; this ends the wait. A running service
/// does it immediately, else the next one.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate schedule reset 20261125T125442.123Z-00042")]
pub(super) struct Reset {
    /// Ids, or the paths of their files
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdArg>,
    #[command(flatten)]
    common: Common,
}

impl Reset {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let act = |id: &&IdArg| Operation::ResetSchedule { schedule: id.0 };
        let mut operator = Operator::open(&self.common.at)?;
        let done = operator.each(&self.ids, act, |id, outcome| {
            let (id, as_json) = (id.0.to_string(), self.common.format.json);
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => return failed(as_json, "schedule", id, error),
            };
            match as_json {
                true => print_line!("{}", acted("schedule", id, outcome)?),
                false => print_line!("{id} follows the clock from now on"),
            }
        })?;
        Ok(exit_code(done))
    }
}

/// Ends schedules permanently: they make no more jobs. Jobs that they have made stay, and so does one
/// that is being made just now. The same as `rm` of their files.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate schedule rm 20261125T125442.123Z-00042")]
pub(super) struct Rm {
    /// Ids, or the paths of their files
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdArg>,
    #[command(flatten)]
    common: Common,
}

impl Rm {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let act = |id: &&IdArg| Operation::RemoveSchedule { schedule: id.0 };
        let mut operator = Operator::open(&self.common.at)?;
        let done = operator.each(&self.ids, act, |id, outcome| {
            let (id, as_json) = (id.0.to_string(), self.common.format.json);
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => return failed(as_json, "schedule", id, error),
            };
            match as_json {
                true => print_line!("{}", acted("schedule", id, outcome)?),
                false => print_line!("{id} {outcome}"),
            }
        })?;
        Ok(exit_code(done))
    }
}

/// Prints the moments of a Quartz cron expression, with seconds first, or those that are left of a
/// schedule: one per line, in its time zone.
#[derive(Debug, Args)]
#[command(after_long_help = NEXT_EXAMPLES)]
pub(super) struct Next {
    /// An expression of 6 or 7 fields in quotes, or the id of a schedule
    #[arg(value_name = "EXPRESSION|ID")]
    what: String,
    /// How many moments
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5)]
    count: usize,
    /// The time zone of the expression, as in the IANA database; the configured one unless given
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<Zone>,
    /// Moments after this one, such as 2026-03-29T00:00:00Z; now unless given
    #[arg(long, value_name = "MOMENT")]
    after: Option<Timestamp>,
    #[command(flatten)]
    file: ConfigArg,
    /// The tenant of the schedule; the default one unless given
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    format: Format,
}

const NEXT_EXAMPLES: &str = "\
Fridays at 6:06:        spoolgate schedule next '0 6 6 ? * FR'
The last working day:   spoolgate schedule next '0 0 18 LW * ?' --time-zone Europe/Berlin
Where clocks change:    spoolgate schedule next '0 30 2 * * ?' --time-zone Europe/Berlin \\
                            --after 2026-03-28T12:00:00Z
Of a schedule:          spoolgate schedule next 20261125T125442.123Z-00042";

impl Next {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (moments, zone) = match self.what.parse::<IdArg>() {
            Ok(IdArg(id)) => self.of_schedule(id)?,
            Err(_) => self.of_expression()?,
        };
        let zoned = |moment: &Timestamp| moment.to_zoned_datetime(zone.time_zone().clone());
        if self.format.json {
            for moment in &moments {
                let (moment, zone) = (moment.to_string(), zone.to_string());
                print_line!("{}", json!({"moment": moment, "time_zone": zone}))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        for moment in &moments {
            print_line!("{}", zoned(moment).strftime("%a %Y-%m-%d %H:%M:%S %:z"))?;
        }
        if moments.is_empty() {
            print_line!("never")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn of_expression(&self) -> anyhow::Result<(Vec<Timestamp>, Zone)> {
        let cron = Cron::parse(&self.what)?;
        let config = Config::load(&self.file.config);
        let (zone, changes) = match (&self.time_zone, config) {
            (Some(zone), Ok(config)) => (zone.clone(), config.clock_changes),
            (Some(zone), Err(_)) => (zone.clone(), Changes::default()),
            (None, Ok(config)) => (config.time_zone, config.clock_changes),
            (None, Err(error)) => {
                return Err(error).context("--time-zone ZONE makes a configuration needless");
            }
        };
        let mut at = self.after.unwrap_or_else(Timestamp::now);
        let mut moments = Vec::new();
        while moments.len() < self.count
            && let Some(next) = cron.next_after(at, zone.time_zone(), changes)
        {
            moments.push(next);
            at = next;
        }
        Ok((moments, zone))
    }

    fn of_schedule(&self, id: ScheduleId) -> anyhow::Result<(Vec<Timestamp>, Zone)> {
        let config = Config::load(&self.file.config)?;
        let tenant = config.tenant(self.tenant.as_deref());
        let tenant = tenant.map_err(anyhow::Error::msg)?;
        let (schedule, mut progress) = look(tenant, async |store| read(store, id).await)?;
        if let Some(after) = self.after {
            progress = progress.skipped(after);
        }
        let mut moments = Vec::new();
        while moments.len() < self.count
            && let Some(next) = schedule.next(&progress)
        {
            moments.push(next);
            progress.runs += 1;
            progress = progress.skipped(next);
        }
        Ok((moments, schedule.plan.time_zone))
    }
}

async fn read(store: &dyn Store, id: ScheduleId) -> anyhow::Result<(Schedule, Progress)> {
    let saved = store.schedule(id).await?;
    let saved = saved.with_context(|| format!("no schedule {id} in this spool"))?;
    Ok((saved.schedule, saved.progress))
}

/// What is known of a schedule.
async fn known(
    store: &dyn Store,
    id: ScheduleId,
    schedule: &Schedule,
    progress: &Progress,
) -> Value {
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let last = progress.last.as_ref();
    let found = match last {
        Some(run) => store.find_anywhere(&run.job).await.ok().flatten(),
        None => None,
    };
    let place = found.map(|found| found.job.place);
    let plan = &schedule.plan;
    json!({
        "schedule": id.to_string(),
        "interface": schedule.interface.as_str(),
        "quartz": plan.quartz.as_ref().map(ToString::to_string),
        "in_words": plan.in_words(),
        "time_zone": plan.time_zone.to_string(),
        "clock_changes": plan.clock_changes,
        "start": moment(plan.start),
        "end": moment(plan.end),
        "run_once": plan.run_once,
        "run_immediately": plan.run_immediately,
        "next": moment(schedule.next(progress)),
        "runs": progress.runs,
        "last_moment": moment(last.map(|run| run.moment)),
        "last_job": last.map(|run| run.job.to_string()),
        "last_job_is_in": place.map(|place| place.to_string()),
        "submitter": schedule.submitter,
        "dialect": schedule.dialect,
        "created": schedule.created.to_string(),
        "priority": schedule.priority.as_str(),
        "worker": schedule.worker.as_ref().map(|tag| tag.as_str()),
        "retries": schedule.retries,
        "document": schedule.document,
    })
}
