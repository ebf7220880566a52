//! The list of jobs: a filter that is in the address, pages that begin behind a job, and what can be done to those that
//! are chosen.

use super::{
    form::Form,
    layout::{Frame, Section},
    live,
    look::{Html, bytes, job_link, said, state},
    respond::{Answer, Trouble, page_of},
    tabs::{Tab, tabs},
    visit::Visit,
};
use crate::{
    domain::{InterfaceName, Job, JobId, JobName},
    ops::{
        moment::{Side, moment},
        selection::{JobState, Selection},
    },
    store::{Filter, JobDetail, JobSummary, Of, Want},
};
use askama::Template;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Jobs of one page.
const PAGE_JOBS: usize = 50;
/// In the address of a page's changes: the ids of its jobs.
const ON_PAGE: &str = "on";
/// So many are asked for at once, where not all that come are of the state that is wanted.
const TOGETHER: usize = 4 * PAGE_JOBS;
/// When nothing matches, it is looked for so long what would match less of the filter.
const PATIENCE: Duration = Duration::from_millis(50);

/// Which jobs are wanted, as the address says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) place: Option<JobState>,
    pub(super) interface: Option<InterfaceName>,
    pub(super) submitter: Option<String>,
    /// In its name, or in the names that others have of it.
    pub(super) text: Option<String>,
    pub(super) error: Option<String>,
    pub(super) fingerprint: Option<String>,
    /// As it was typed: a moment of the past, or how long ago.
    pub(super) since: Option<String>,
}

impl Wanted {
    /// # Errors
    /// When a place or an interface is no such thing.
    pub(super) fn of(form: &Form) -> Result<Self, Trouble> {
        let text = |name| form.get(name).map(str::to_owned);
        let place = form.get("place").map(str::parse).transpose();
        let interface = form.get("interface").map(str::parse).transpose();
        Ok(Self {
            place: place.map_err(Trouble::Invalid)?,
            interface: interface
                .map_err(|_| Trouble::Invalid("there is no such interface".into()))?,
            submitter: text("submitter"),
            text: text("text"),
            error: text("error"),
            fingerprint: text("fingerprint"),
            since: text("since"),
        })
    }

    /// What it says in an address.
    pub(super) fn values(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("place", self.place.map(JobState::as_str)),
            (
                "interface",
                self.interface.as_ref().map(InterfaceName::as_str),
            ),
            ("submitter", self.submitter.as_deref()),
            ("text", self.text.as_deref()),
            ("error", self.error.as_deref()),
            ("fingerprint", self.fingerprint.as_deref()),
            ("since", self.since.as_deref()),
        ]
    }

    /// The jobs that it means now.
    ///
    /// # Errors
    /// When since when they came cannot be understood.
    pub(super) fn selection(&self, visit: &Visit<'_>) -> Result<Selection, Trouble> {
        let clock = &visit.clock;
        let now = Timestamp::from_millisecond(clock.now_ms).unwrap_or_default();
        let since = self.since.as_deref();
        let since = since.map(|text| moment(text, now, &clock.zone, Side::Past));
        let since = since.transpose().map_err(Trouble::Invalid)?;
        Ok(Selection {
            interface: self.interface.clone(),
            states: self.place.into_iter().collect(),
            submitter: self.submitter.clone(),
            since_ms: since.map(Timestamp::as_millisecond),
            text: self.text.clone(),
            error: self.error.clone(),
            fingerprint: self.fingerprint.clone(),
            ..Selection::default()
        })
    }

    /// Without one of its parts; `None`: it does not have that.
    fn without(&self, part: &str) -> Option<Self> {
        let mut less = self.clone();
        match part {
            "place" => less.place = None,
            "interface" => less.interface = None,
            "submitter" => less.submitter = None,
            "text" => less.text = None,
            "error" => less.error = None,
            "fingerprint" => less.fingerprint = None,
            _ => less.since = None,
        }
        (less != *self).then_some(less)
    }

    /// In words, for what is about to be done.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.place.map(|place| place.to_string()));
        words.extend(self.interface.as_ref().map(|name| format!("in {name}")));
        words.extend(self.submitter.as_ref().map(|name| format!("from {name}")));
        let called = self.text.as_ref();
        words.extend(called.map(|text| format!("with “{text}” in a name")));
        words.extend(
            self.error
                .as_ref()
                .map(|text| format!("with “{text}” in the reason")),
        );
        words.extend(
            self.fingerprint
                .as_ref()
                .map(|text| format!("of the cause {text}")),
        );
        words.extend(self.since.as_ref().map(|text| format!("since {text}")));
        words.join(", ")
    }
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    title: String,
    words: String,
    tabs: Vec<Tab>,
    wanted: Wanted,
    /// The one that is wanted is marked.
    interfaces: Vec<(String, bool)>,
    rows: Vec<Row>,
    /// How many match that are newer than all of these, and where they are seen.
    newer: Option<(String, String)>,
    /// On a job of this page.
    may_act: bool,
    may_act_on_all: bool,
    /// The filter, for what is done to all that match.
    filter: String,
    /// What to leave out when nothing matches.
    less: Vec<Less>,
    older: Option<String>,
    newest: Option<String>,
}

/// A filter without one of its parts.
struct Less {
    /// How it looks then.
    words: &'static str,
    href: String,
    /// How many jobs match then; empty: to count them takes too long.
    jobs: String,
    is_none: bool,
}

/// A job in the list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) link: Html,
    pub(super) why: Option<String>,
    pub(super) state: Html,
    pub(super) interface: String,
    pub(super) submitter: String,
    pub(super) attempts: String,
    pub(super) size: String,
    pub(super) age: Html,
    pub(super) may_act: bool,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    let wanted = Wanted::of(&visit.query)?;
    let selection = wanted.selection(visit)?;
    let after: Option<JobName> = visit.query.parsed("after");
    let (found, next) = found(visit, &selection, after.clone()).await?;
    let mut frame = visit.frame(Section::Jobs).await;
    let n = found.len();
    let title = match (&after, &next) {
        (None, None) if n == 0 => "No jobs".to_owned(),
        (None, None) => super::look::count(n, "job"),
        (None, Some(_)) => format!("The newest {n} jobs"),
        (Some(_), _) => "Older jobs".to_owned(),
    };
    let older = next.map(|next| {
        let after = next.to_string();
        visit.to(
            "jobs",
            wanted
                .values()
                .into_iter()
                .chain([("after", Some(&*after))]),
        )
    });
    let on_page = on_page(visit);
    let is_newer = |summary: &&JobSummary| {
        on_page
            .iter()
            .flatten()
            .all(|id| summary.job.name.id() > *id)
    };
    let newer = match (&on_page, &after) {
        (Some(_), None) => found.iter().filter(is_newer).count(),
        (None, _) | (_, Some(_)) => 0,
    };
    let found = match on_page {
        Some(ids) => kept(visit, found, &ids).await?,
        None => found,
    };
    frame.stream = Some(stream(visit, &wanted, after.as_ref(), &found));
    let rows = rows(visit, found).await?;
    Ok(page_of(&JobsPage {
        tabs: tabs(visit, &wanted).await?,
        less: match rows.is_empty() && !live::is_asked(visit.head) {
            true => less(visit, &wanted).await?,
            false => Vec::new(),
        },
        interfaces: interfaces(visit, &wanted),
        newer: (newer > 0).then(|| (newer_ones(newer), visit.to("jobs", wanted.values()))),
        newest: after.map(|_| visit.to("jobs", wanted.values())),
        filter: super::form::address("", wanted.values())
            .trim_start_matches('?')
            .to_owned(),
        words: wanted.words(),
        title,
        may_act: rows.iter().any(|row| row.may_act),
        may_act_on_all: visit.may_manage(wanted.interface.as_ref()),
        rows,
        wanted,
        older,
        frame,
    }))
}

/// A page of the jobs that are meant and that the user may know of, the newest first, and behind which one the next
/// page begins.
pub(super) async fn found(
    visit: &Visit<'_>,
    selection: &Selection,
    after: Option<JobName>,
) -> Result<(Vec<JobSummary>, Option<JobName>), Trouble> {
    let filter = Filter {
        newest_first: true,
        want_failure: true,
        ..selection.filter()
    };
    let (viewer, mut found, mut after) = (visit.viewer(), Vec::new(), after);
    loop {
        let page = visit
            .spool
            .store
            .list(&viewer, &filter, after, TOGETHER)
            .await?;
        found.extend(page.jobs.into_iter().filter(|job| selection.takes(job)));
        after = page.next;
        if found.len() > PAGE_JOBS || after.is_none() {
            break;
        }
    }
    let more = found.len() > PAGE_JOBS;
    found.truncate(PAGE_JOBS);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| last.job.name.clone());
    Ok((found, next))
}

/// The jobs that are on a page of which the changes are asked for.
fn on_page(visit: &Visit<'_>) -> Option<Vec<JobId>> {
    let ids = visit.query.get(ON_PAGE).unwrap_or_default().split('.');
    let ids = ids.filter_map(|id| Some(JobId::from_number(id.parse().ok()?)));
    live::is_asked(visit.head).then(|| ids.take(PAGE_JOBS).collect())
}

/// From where the page of these jobs hears what becomes of them.
fn stream(
    visit: &Visit<'_>,
    wanted: &Wanted,
    after: Option<&JobName>,
    found: &[JobSummary],
) -> String {
    let ids = found.iter().map(|summary| summary.job.name.id().get());
    let ids = ids.map(|id| id.to_string()).collect::<Vec<_>>().join(".");
    let after = after.map(JobName::to_string);
    let more = [("after", after.as_deref()), (ON_PAGE, Some(&*ids))];
    visit.to("jobs", wanted.values().into_iter().chain(more))
}

/// Those on a page as they are now, whether they still match or not; without those that are gone.
async fn kept(
    visit: &Visit<'_>,
    found: Vec<JobSummary>,
    ids: &[JobId],
) -> Result<Vec<JobSummary>, Trouble> {
    let (viewer, mut kept) = (visit.viewer(), Vec::new());
    let mut found: HashMap<JobId, JobSummary> = found
        .into_iter()
        .map(|summary| (summary.job.name.id(), summary))
        .collect();
    for id in ids {
        let summary = match found.remove(id) {
            Some(summary) => Some(summary),
            None => {
                let of = Of::Id(*id);
                let found = visit.spool.store.find(&viewer, of, Want::RECORD).await?;
                found.map(|detail| detail.summary)
            }
        };
        kept.extend(summary);
    }
    Ok(kept)
}

fn newer_ones(n: usize) -> String {
    match n {
        1 => "1 newer one matches".to_owned(),
        PAGE_JOBS => format!("{PAGE_JOBS} newer ones match, or more"),
        n => format!("{n} newer ones match"),
    }
}

/// What is shown of jobs.
pub(super) async fn rows(visit: &Visit<'_>, found: Vec<JobSummary>) -> Result<Vec<Row>, Trouble> {
    let want = Want {
        now: true,
        ..Want::RECORD
    };
    let jobs: Vec<Job> = found.iter().map(|summary| summary.job.clone()).collect();
    let details = visit.spool.store.details(jobs, want).await?;
    // Both are in one order, and those that are gone by now are missing in one of them.
    let mut details = details.into_iter().peekable();
    let row = |summary: JobSummary| {
        let name = &summary.job.name;
        let detail = details.next_if(|detail| detail.summary.job.name == *name)?;
        Some(row(visit, &summary, &detail))
    };
    Ok(found.into_iter().filter_map(row).collect())
}

fn row(visit: &Visit<'_>, summary: &JobSummary, detail: &JobDetail) -> Row {
    let (name, record) = (&summary.job.name, detail.summary.record.as_ref());
    let failure = summary.failure.as_ref();
    let now = detail.now.as_ref();
    let attempts = now.and_then(|now| now.attempts);
    let attempts = attempts.or_else(|| failure?.attempt);
    let interface = detail
        .summary
        .interface
        .as_ref()
        .or(summary.interface.as_ref());
    let received_ms = record.map_or(name.id().unix_ms(), |record| record.received_ms);
    let text = |text: Option<&str>| said(text.unwrap_or("–"));
    Row {
        id: format!("j-{}", name.id().get()),
        name: name.to_string(),
        link: job_link(&visit.base, name),
        why: failure
            .and_then(|failure| failure.reason.as_deref())
            .map(said),
        state: state(JobState::of(&detail.summary)),
        interface: text(interface.map(InterfaceName::as_str)),
        submitter: text(record.and_then(|record| record.submitter.as_deref())),
        attempts: attempts.map_or("–".to_owned(), |n| n.to_string()),
        size: now.map_or("–".to_owned(), |now| bytes(now.bytes)),
        age: visit.clock.age(received_ms),
        may_act: visit.may_manage(interface),
    }
}

/// Those of which the user may know.
fn interfaces(visit: &Visit<'_>, wanted: &Wanted) -> Vec<(String, bool)> {
    let all = visit.interfaces.keys();
    let known = all.filter(|name| visit.caller.may_any(name));
    known
        .map(|name| (name.to_string(), wanted.interface.as_ref() == Some(name)))
        .collect()
}

/// The same filter without one of its parts, for each of them, and how many jobs match then.
async fn less(visit: &Visit<'_>, wanted: &Wanted) -> Result<Vec<Less>, Trouble> {
    let parts = [
        ("place", "in all places"),
        ("interface", "of all interfaces"),
        ("submitter", "from anyone"),
        ("text", "of any name"),
        ("error", "whatever the reason says"),
        ("fingerprint", "of any cause"),
        ("since", "since ever"),
    ];
    let (begun, mut all) = (Instant::now(), Vec::new());
    for (part, words) in parts {
        let Some(less) = wanted.without(part) else {
            continue;
        };
        let found = match begun.elapsed() < PATIENCE {
            true => Some(found(visit, &less.selection(visit)?, None).await?),
            false => None,
        };
        all.push(Less {
            words,
            href: visit.to("jobs", less.values()),
            is_none: found.as_ref().is_some_and(|(found, _)| found.is_empty()),
            jobs: match found {
                Some((found, None)) => super::look::count(found.len(), "job"),
                Some((found, Some(_))) => super::look::count(found.len(), "job") + " or more",
                None => String::new(),
            },
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::form::address;

    #[test]
    fn the_address_has_the_filter() {
        let given = "place=failed&interface=orders_in&submitter=shop&text=order&error=data+base&fingerprint=9f&since=24h";
        let wanted = Wanted::of(&Form::parse(given.as_bytes())).unwrap();
        assert_eq!(wanted.place, Some(JobState::Failed));
        assert_eq!(address("", wanted.values()), format!("?{given}"));
        let words = "failed, in orders_in, from shop, with “order” in a name, with “data base” in the reason, of the cause 9f, since 24h";
        assert_eq!(wanted.words(), words);
        for part in [
            "place",
            "interface",
            "submitter",
            "text",
            "error",
            "fingerprint",
            "since",
        ] {
            let less = wanted.without(part).unwrap();
            assert_eq!(less.without(part), None, "{part}");
        }
        assert_eq!(Wanted::of(&Form::default()).unwrap(), Wanted::default());
        for odd in ["place=<b>", "interface=..%2f"] {
            assert!(Wanted::of(&Form::parse(odd.as_bytes())).is_err(), "{odd}");
        }
    }
}
