//! `spoolgate shape`: how old the jobs are that wait.

use super::{Common, look, output::print_line};
use crate::{
    domain::{PlaceKind, escaped},
    ops::shape::{Ages, BOUNDED, Shape, end_s},
    store::{Filter, Store, Viewer},
};
use clap::{Args, ValueEnum};
use std::{collections::BTreeSet, process::ExitCode};

/// Counts the jobs that wait by their ages. Each column is twice as wide as the one before; a number on the right is a
/// job that nobody takes. Those of interfaces that are held are counted apart, in the last column.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ShapeOf {
    /// A line for each of these
    #[arg(long, value_enum, default_value_t = By::Interface)]
    by: By,
    /// Only jobs that lie there; may be repeated. Default: queue and deferred
    #[arg(long = "place", value_enum)]
    places: Vec<Where>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Who waits long:     spoolgate shape --by submitter
What stays failed:  spoolgate shape --place joberrors --by fingerprint";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Interface,
    Submitter,
    /// Of the last error
    Fingerprint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Where {
    Queue,
    Deferred,
    Work,
    Joberrors,
    Bak,
}

impl Where {
    fn kinds(self) -> &'static [PlaceKind] {
        match self {
            Self::Bak => &[PlaceKind::Bak],
            Self::Deferred => &[PlaceKind::Deferred],
            Self::Joberrors => &[PlaceKind::JobErrors, PlaceKind::Refused],
            Self::Queue => &[PlaceKind::Queue],
            Self::Work => &[PlaceKind::Work],
        }
    }
}

impl ShapeOf {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (_, tenant) = self.common.at.load()?;
        let shape = look(&tenant, async |store| self.counted(store).await)?;
        if self.common.format.json {
            for (group, ages) in &shape.by {
                print_line!("{}", json(group, ages))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let width = shape.by.keys().map(|group| group.chars().count()).max();
        let width = width.unwrap_or(0).max("TOTAL".len());
        print_line!("{:width$}  {}", "", heads())?;
        print_line!("{:width$}  {}", "TOTAL", columns(&shape.all))?;
        for (group, ages) in &shape.by {
            print_line!("{:width$}  {}", escaped(group), columns(ages))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn counted(&self, store: &dyn Store) -> anyhow::Result<Shape> {
        let usual = [Where::Queue, Where::Deferred];
        let places = match self.places.is_empty() {
            true => &usual[..],
            false => &self.places[..],
        };
        let filter = Filter {
            at: places
                .iter()
                .flat_map(|place| place.kinds())
                .copied()
                .collect(),
            want_record: self.by == By::Submitter,
            want_failure: self.by == By::Fingerprint,
            ..Filter::default()
        };
        let all = Viewer::all();
        let jobs = store.list(&all, &filter, None, usize::MAX).await?.jobs;
        let now_ms = store.now_ms();
        let mut held = BTreeSet::new();
        for interface in store.interfaces() {
            if store.is_held(&interface).await? {
                held.insert(interface);
            }
        }
        let mut shape = Shape::default();
        for summary in jobs {
            let waits = [PlaceKind::Deferred, PlaceKind::Queue].contains(&summary.job.place.kind());
            let is_held = waits && (summary.interface.as_ref()).is_some_and(|of| held.contains(of));
            let age_ms = now_ms - summary.job.name.id().unix_ms();
            let group = match self.by {
                By::Fingerprint => summary.failure.and_then(|failure| failure.fingerprint),
                By::Interface => summary.interface.map(|interface| interface.to_string()),
                By::Submitter => summary.record.and_then(|record| record.submitter),
            };
            shape.count(group.unwrap_or_else(|| "-".into()), age_ms, is_held);
        }
        Ok(shape)
    }
}

fn heads() -> String {
    let mut minutes = (0..BOUNDED).filter_map(end_s).map(|end_s| end_s / 60);
    let ends = minutes.clone().map(|minutes| format!("<{minutes}m"));
    let older = minutes.next_back().map(|minutes| format!("{minutes}m+"));
    let heads = std::iter::once("T".to_owned()).chain(ends).chain(older);
    let heads = heads.chain(["HELD".to_owned()]);
    heads
        .map(|head| format!("{head:>6}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn columns(ages: &Ages) -> String {
    let all = std::iter::once(ages.total()).chain(ages.jobs);
    let all = all.chain([ages.total_held()]);
    all.map(|jobs| format!("{jobs:>6}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn json(group: &str, ages: &Ages) -> serde_json::Value {
    let buckets = ages.jobs.iter().zip(ages.held).enumerate();
    let buckets: Vec<_> = buckets
        .map(|(n, (jobs, held))| serde_json::json!({"younger_than_s": end_s(n), "jobs": jobs, "held": held}))
        .collect();
    serde_json::json!({
        "group": group, "jobs": ages.total(), "held": ages.total_held(), "ages": buckets,
    })
}
