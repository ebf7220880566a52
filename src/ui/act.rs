//! What is done to jobs, in two steps: the first says to how many and what will happen, the second does it, if they are
//! still as many.

use super::{
    form::Form,
    jobs::Wanted,
    layout::{Frame, Section},
    look::{Html, count, job_link, said},
    respond::{Answer, Trouble, page_of},
    visit::Visit,
};
use crate::{
    domain::JobName,
    ops::admin::{ActError, Admin, Bulk, JobAct, Jobs, Summary, Told},
    store::{By, Filter, JobSummary, Of, Want},
};
use askama::Template;
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// So many of the jobs are named before something is done to them, …
const NAMED: usize = 3;
/// … so many of those who sent them, …
const SUBMITTERS_NAMED: usize = 3;
/// … and so many of those to which it was not done.
const FAILURES_TOLD: usize = 20;
/// Longer nobody waits for the end of an act; it goes on.
const PATIENCE: Duration = Duration::from_secs(5);
/// What may be told before somebody hears it.
const TOLD: usize = 64;

/// What can be done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Cancel,
    Remove,
    Requeue,
}

impl Act {
    fn of(form: &Form) -> Result<Self, Trouble> {
        match form.get("act") {
            Some("cancel") => Ok(Self::Cancel),
            Some("remove") => Ok(Self::Remove),
            Some("requeue") => Ok(Self::Requeue),
            Some(_) | None => Err(Trouble::Invalid("say what is to be done".into())),
        }
    }

    /// In a form.
    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Remove => "remove",
            Self::Requeue => "requeue",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "Cancel",
            Self::Remove => "Remove",
            Self::Requeue => "Requeue",
        }
    }

    fn act(self) -> JobAct {
        match self {
            Self::Cancel => JobAct::Cancel,
            Self::Remove => JobAct::Remove,
            Self::Requeue => JobAct::Requeue {
                to: None,
                unchecked: false,
            },
        }
    }

    /// What will happen.
    fn consequence(self) -> &'static str {
        match self {
            Self::Cancel => {
                "Those that wait are ended, and those that run are stopped. They count as failed, and their logs say \
                 who cancelled them. Those that have ended stay as they are."
            }
            Self::Remove => {
                "Their logs stay and say who removed them. Jobs that run are left alone."
            }
            Self::Requeue => {
                "They go to the queues of their interfaces in the order of their arrival; attempts count from one \
                 again. A document that was refused is validated again first. Jobs that run or wait stay as they are."
            }
        }
    }
}

/// To which jobs, as a form says it.
struct Meant {
    jobs: Jobs,
    /// In words, if all that match are meant.
    words: Option<String>,
    found: Vec<JobSummary>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    act: &'static str,
    verb: &'static str,
    is_removal: bool,
    consequence: &'static str,
    n: usize,
    jobs: String,
    words: Option<String>,
    /// How many they were before, if that has changed.
    before: Option<usize>,
    first: Html,
    last: Html,
    submitters: String,
    named: Vec<Html>,
    more: usize,
    /// What the second step needs to find them again.
    names: Vec<String>,
    filter: Option<String>,
    rate: String,
    back: String,
    /// The page of the job from which it was asked for.
    back_job: Option<JobName>,
}

#[derive(Template)]
#[template(path = "done.html")]
struct DonePage {
    frame: Frame,
    title: String,
    text: &'static str,
    failures: Vec<(Html, String)>,
    more: usize,
    back: String,
}

/// The first step: says what would happen. Nothing is done.
pub(super) async fn confirm(visit: &Visit<'_>, form: &Form) -> Answer {
    let (act, meant) = (Act::of(form)?, meant(visit, form).await?);
    asked(visit, form, act, meant, None).await
}

async fn asked(
    visit: &Visit<'_>,
    form: &Form,
    act: Act,
    meant: Meant,
    before: Option<usize>,
) -> Answer {
    let found = &meant.found;
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return Err(Trouble::Conflict(
            "no job is chosen, or none of them is there any more".into(),
        ));
    };
    let at = |summary: &JobSummary| visit.clock.at(summary.job.name.id().unix_ms());
    let named = found.iter().rev().take(NAMED);
    let names = match &meant.jobs {
        Jobs::Named(names) => names.iter().map(ToString::to_string).collect(),
        Jobs::Selected(_) => Vec::new(),
    };
    Ok(page_of(&ConfirmPage {
        frame: visit.frame(Section::Jobs).await,
        act: act.word(),
        verb: act.verb(),
        is_removal: act == Act::Remove,
        consequence: act.consequence(),
        n: found.len(),
        jobs: count(found.len(), "job"),
        before,
        first: at(first),
        last: at(last),
        submitters: submitters(found),
        named: named
            .map(|summary| job_link(&visit.base, &summary.job.name))
            .collect(),
        more: found.len().saturating_sub(NAMED),
        names,
        filter: meant
            .words
            .is_some()
            .then(|| form.get("filter").unwrap_or_default().to_owned()),
        words: meant.words,
        rate: form.get("rate").unwrap_or_default().to_owned(),
        back: back(visit, form),
        back_job: form.parsed("back"),
    }))
}

/// The second step: does it.
pub(super) async fn act(visit: &Visit<'_>, form: &Form) -> Answer {
    let (act, meant) = (Act::of(form)?, meant(visit, form).await?);
    let (before, n) = (form.parsed::<usize>("count"), meant.found.len());
    if before != Some(n) {
        return asked(visit, form, act, meant, before).await;
    }
    if act == Act::Remove && form.parsed::<usize>("sure") != Some(n) {
        let text = format!("to remove them, type their number, {n}");
        return Err(Trouble::Invalid(text));
    }
    let bulk = Bulk {
        act: act.act(),
        jobs: meant.jobs,
        per_s: form.parsed::<NonZeroU32>("rate"),
    };
    let done = carry_out(
        visit.spool.admin.clone(),
        bulk,
        visit.by(),
        visit.ui.stop.clone(),
    );
    // To its end, also when the browser has gone.
    let doing = visit.ui.tasks.spawn(done);
    let done = tokio::time::timeout(PATIENCE, doing).await;
    visit.spool.census.forget().await;
    let (title, text, failures, failed) = match done {
        Err(_) => (
            format!("{} of {} goes on", act.verb(), count(n, "job")),
            "It takes a while. What comes of it is in the audit.",
            Vec::new(),
            0,
        ),
        Ok(Err(_)) => {
            return Err(Trouble::Unavailable(
                "it broke down; see the log and the audit".into(),
            ));
        }
        Ok(Ok(done)) => {
            let Done { summary, failures } = done?;
            let word = act.act().done();
            let title = match summary.failed + summary.left {
                0 => format!("{} {word}", count(summary.done, "job")),
                rest => format!("{} {word}, {rest} not", count(summary.done, "job")),
            };
            (
                title,
                "The act and its jobs are in the audit.",
                failures,
                summary.failed,
            )
        }
    };
    let failures = failures.into_iter();
    let failures: Vec<_> = failures
        .map(|(job, error)| (job_link(&visit.base, &job), said(&error)))
        .collect();
    Ok(page_of(&DonePage {
        frame: visit.frame(Section::Jobs).await,
        title,
        text,
        more: failed - failures.len(),
        failures,
        back: back(visit, form),
    }))
}

/// Where one goes who changes nothing, or has done it.
fn back(visit: &Visit<'_>, form: &Form) -> String {
    match (form.get("filter"), form.parsed::<JobName>("back")) {
        (_, Some(job)) => visit.to(&format!("job/{job}"), []),
        (Some(filter), None) => {
            let wanted = Wanted::of(&Form::parse(filter.as_bytes())).unwrap_or_default();
            visit.to("jobs", wanted.values())
        }
        (None, _) => visit.to("jobs", []),
    }
}

/// The jobs that a form means, as they are now.
///
/// # Errors
/// When the user may not act on one of them; those that he may not know of are as if there were none.
async fn meant(visit: &Visit<'_>, form: &Form) -> Result<Meant, Trouble> {
    let store = &visit.spool.store;
    if form.get("all").is_some() {
        let filter = form.get("filter").unwrap_or_default();
        let wanted = Wanted::of(&Form::parse(filter.as_bytes()))?;
        if !visit.may_manage(wanted.interface.as_ref()) {
            return Err(forbidden("choose an interface that you may manage"));
        }
        let selection = wanted.selection(visit)?;
        let filter = Filter {
            want_record: true,
            ..selection.filter()
        };
        let found = selection.find(&**store, &filter).await?;
        return Ok(Meant {
            jobs: Jobs::Selected(selection),
            words: Some(wanted.words()),
            found,
        });
    }
    let names = form.all("job").map(str::parse).collect();
    let names: Result<Vec<JobName>, _> = names;
    let names = names.map_err(|error| Trouble::Invalid(error.to_string()))?;
    let viewer = visit.viewer();
    let mut found = Vec::new();
    for name in &names {
        let detail = store
            .find(&viewer, Of::Name(name.clone()), Want::RECORD)
            .await?;
        found.extend(detail.map(|detail| detail.summary));
    }
    let may = |summary: &JobSummary| visit.may_manage(summary.interface.as_ref());
    if !found.iter().all(may) {
        return Err(forbidden("you have no right to manage all of these"));
    }
    found.sort_by(|a, b| a.job.name.cmp(&b.job.name));
    Ok(Meant {
        jobs: Jobs::Named(
            found
                .iter()
                .map(|summary| summary.job.name.clone())
                .collect(),
        ),
        words: None,
        found,
    })
}

fn forbidden(text: &str) -> Trouble {
    Trouble::Forbidden(text.to_owned())
}

/// Who sent them: the first few by how many.
fn submitters(found: &[JobSummary]) -> String {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for summary in found {
        let record = summary.record.as_ref();
        let submitter = record.and_then(|record| record.submitter.as_deref());
        *by.entry(submitter.unwrap_or("unknown")).or_default() += 1;
    }
    let mut by: Vec<(&str, usize)> = by.into_iter().collect();
    by.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let rest = by.len().saturating_sub(SUBMITTERS_NAMED);
    let named = by.iter().take(SUBMITTERS_NAMED);
    let mut words: Vec<String> = named
        .map(|(name, n)| format!("{} ({n})", said(name)))
        .collect();
    if rest > 0 {
        words.push(format!("{rest} others"));
    }
    words.join(", ")
}

/// What has become of an act.
struct Done {
    summary: Summary,
    /// The first of those to which it was not done, and why.
    failures: Vec<(JobName, String)>,
}

/// Does it, until the service is to end: then it ends after the batch that is under way.
async fn carry_out(
    admin: Arc<Admin>,
    bulk: Bulk,
    by: By,
    stop: CancellationToken,
) -> Result<Done, ActError> {
    let (told, mut heard) = mpsc::channel(TOLD);
    let hearing = async move {
        let mut failures = Vec::new();
        loop {
            let told = tokio::select! {
                told = heard.recv() => told,
                () = stop.cancelled() => None,
            };
            match told {
                None => return failures,
                Some(Told::Begun { .. }) => {}
                Some(Told::Job(outcome)) => {
                    let error = outcome.error.filter(|_| failures.len() < FAILURES_TOLD);
                    failures.extend(error.map(|error| (outcome.job, error)));
                }
            }
        }
    };
    let (summary, failures) = tokio::join!(admin.bulk(&bulk, &by, told), hearing);
    Ok(Done {
        summary: summary?,
        failures,
    })
}
