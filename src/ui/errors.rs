//! What jobs fail of: groups of failed and deferred ones by cause, which can be sent again, and what was refused at the
//! door, by partner and finding, which is only shown.

use super::{
    charts,
    form::{Form, address},
    jobs::Wanted,
    layout::{Frame, Section},
    look::{Html, count, job_link, number, said},
    respond::{Answer, page_of},
    visit::Visit,
};
use crate::{
    domain::InterfaceName,
    store::{ErrorGroup, Failing, Viewer},
};
use askama::Template;

const SINCE_UNLESS_SAID: &str = "24h";

#[derive(Template)]
#[template(path = "errors.html")]
struct ErrorsPage {
    frame: Frame,
    title: String,
    since: String,
    groups: Vec<Group>,
    refused_title: String,
    refused: Vec<Refused>,
}

/// Jobs that fail of the same.
struct Group {
    fingerprint: String,
    n: String,
    href: String,
    text: String,
    failed: usize,
    deferred: usize,
    interfaces: String,
    hours: Html,
    first: Html,
    last: Html,
    example: Html,
    /// For what is done to them.
    filter: String,
}

/// Documents of one partner that were refused for the same.
struct Refused {
    n: String,
    text: String,
    sender: String,
    interface: String,
    hours: Html,
    first: Html,
    last: Html,
    example: Html,
    href: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    visit.for_operators()?;
    let since = visit
        .query
        .get("since")
        .unwrap_or(SINCE_UNLESS_SAID)
        .to_owned();
    let wanted = Wanted::of(&Form::parse(
        address("", [("since", Some(&*since))])
            .trim_start_matches('?')
            .as_bytes(),
    ))?;
    let since_ms = wanted.selection(visit)?.since_ms;
    let (store, all) = (&visit.spool.store, Viewer::all());
    let groups = store.error_groups(&all, Failing::Jobs, since_ms).await?;
    let uploads = store.error_groups(&all, Failing::Uploads, since_ms).await?;
    let n_jobs: usize = groups
        .iter()
        .map(|group| group.failed + group.deferred)
        .sum();
    let n_refused: usize = uploads.iter().map(|group| group.failed).sum();
    let reasons = |groups: &[ErrorGroup]| count(groups.len(), "reason");
    Ok(page_of(&ErrorsPage {
        title: match n_jobs {
            0 => "Nothing has failed".to_owned(),
            n => format!("{}, {}", count(n, "job"), reasons(&groups)),
        },
        since,
        groups: groups.iter().map(|group| shown(visit, group)).collect(),
        refused_title: format!("{}, {}", count(n_refused, "document"), reasons(&uploads)),
        refused: uploads.iter().map(|group| refused(visit, group)).collect(),
        frame: visit.frame(Section::Errors).await,
    }))
}

fn shown(visit: &Visit<'_>, group: &ErrorGroup) -> Group {
    let values = [("fingerprint", Some(group.fingerprint.as_str()))];
    Group {
        n: number((group.failed + group.deferred) as u64),
        href: visit.to("jobs", values),
        text: text(group),
        failed: group.failed,
        deferred: group.deferred,
        interfaces: interfaces(group),
        hours: charts::hours(&group.hours),
        first: visit.clock.age(group.first_ms),
        last: visit.clock.age(group.last_ms),
        example: job_link(&visit.base, &group.example),
        filter: address("", values).trim_start_matches('?').to_owned(),
        fingerprint: group.fingerprint.clone(),
    }
}

fn refused(visit: &Visit<'_>, group: &ErrorGroup) -> Refused {
    let interfaces = interfaces(group);
    let values = [
        ("place", Some("refused")),
        ("submitter", group.submitter.as_deref()),
        ("fingerprint", Some(group.fingerprint.as_str())),
    ];
    Refused {
        n: number(group.failed as u64),
        text: text(group),
        sender: said(group.submitter.as_deref().unwrap_or("unknown")),
        interface: match interfaces.is_empty() {
            true => "of no known type".into(),
            false => interfaces,
        },
        hours: charts::hours(&group.hours),
        first: visit.clock.age(group.first_ms),
        last: visit.clock.age(group.last_ms),
        example: job_link(&visit.base, &group.example),
        href: visit.to("jobs", values),
    }
}

fn text(group: &ErrorGroup) -> String {
    said(group.text.as_deref().unwrap_or("without a word"))
}

fn interfaces(group: &ErrorGroup) -> String {
    let names: Vec<&str> = group.interfaces.iter().map(InterfaceName::as_str).collect();
    names.join(", ")
}
