//! A partner's first page: uploading, what there is to fetch, his jobs, and what he may do.

use super::{
    jobs::{self, Row},
    layout::{Frame, Section},
    look::{Html, bytes, count, job_link},
    respond::{Answer, Trouble, page_of},
    visit::Visit,
};
use crate::{
    api::Payload,
    auth::Right,
    domain::{InterfaceName, Job, JobName, Kind, PlaceKind},
    ops::selection::Selection,
    service::{Command, Direction, Reply},
    store::{Filter, Want},
};
use askama::Template;

/// So many jobs are shown of what there is to fetch from an interface, and of his own.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "mine.html")]
struct MinePage {
    frame: Frame,
    /// To which he may upload.
    takes: Vec<String>,
    to_fetch: Vec<Waiting>,
    /// How many these are, and whether there are more.
    n_to_fetch: String,
    jobs: Vec<Row>,
    all_jobs: String,
    rights: Vec<Rights>,
}

/// What he may do in an interface.
struct Rights {
    interface: String,
    rights: String,
    /// What its hold says, and the form that holds or releases it, for who may.
    held: Option<String>,
    hold: Option<Html>,
}

/// A job that waits to be fetched.
struct Waiting {
    id: String,
    interface: String,
    link: Html,
    age: Html,
    size: String,
    /// As what it can be fetched: its own document, or what a stylesheet makes of it.
    ways: Vec<(String, String)>,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    let user = &*visit.caller.user;
    let interfaces = |direction, right| {
        let all = visit.interfaces.iter();
        all.filter(move |(name, about)| {
            about.direction == direction && visit.caller.may(right, name)
        })
        .map(|(name, _)| name)
    };
    let (mut to_fetch, mut or_more) = (Vec::new(), "");
    for interface in interfaces(Direction::Out, Right::Download) {
        let (here, has_more) = waiting(visit, interface).await?;
        to_fetch.extend(here);
        if has_more {
            or_more = " or more";
        }
    }
    let own = Selection {
        submitter: Some(user.to_owned()),
        ..Selection::default()
    };
    let (found, _) = jobs::found(visit, &own, None).await?;
    Ok(page_of(&MinePage {
        takes: interfaces(Direction::In, Right::Upload)
            .map(ToString::to_string)
            .collect(),
        n_to_fetch: count(to_fetch.len(), "job") + or_more,
        to_fetch,
        jobs: jobs::rows(visit, found).await?,
        all_jobs: visit.to("jobs", [("submitter", Some(user))]),
        rights: rights(visit).await?,
        frame: visit.frame(Section::Index).await,
    }))
}

/// What waits in an interface for him, the oldest first, and whether there is more than is shown.
async fn waiting(
    visit: &Visit<'_>,
    interface: &InterfaceName,
) -> Result<(Vec<Waiting>, bool), Trouble> {
    let filter = Filter {
        interface: Some(interface.clone()),
        at: vec![PlaceKind::Queue],
        ..Filter::default()
    };
    let store = &visit.spool.store;
    let page = store.list(&visit.viewer(), &filter, None, SHOWN).await?;
    let has_more = page.next.is_some();
    let jobs: Vec<Job> = page.jobs.into_iter().map(|summary| summary.job).collect();
    let want = Want {
        now: true,
        ..Want::PLACE
    };
    let details = store.details(jobs, want).await?;
    let row = |detail: crate::store::JobDetail| {
        let name = &detail.summary.job.name;
        Waiting {
            id: format!("f-{}", name.id().get()),
            interface: interface.to_string(),
            link: job_link(&visit.base, name),
            age: visit.clock.age(name.id().unix_ms()),
            size: detail.now.map_or(String::new(), |now| bytes(now.bytes)),
            ways: ways(visit, interface, name),
        }
    };
    Ok((details.into_iter().map(row).collect(), has_more))
}

/// As what a job can be fetched, and where.
fn ways(visit: &Visit<'_>, interface: &InterfaceName, name: &JobName) -> Vec<(String, String)> {
    let to = format!("fetch/{interface}/{name}");
    let own = match name.kind() {
        Kind::Xml => "XML",
        Kind::Json => "JSON",
    };
    let sheets = match name.kind() {
        Kind::Xml => visit.service.stylesheets(),
        Kind::Json => Vec::new(),
    };
    let sheets = sheets.into_iter().map(|sheet| {
        let to = visit.to(&format!("{to}/{sheet}"), []);
        (sheet, to)
    });
    std::iter::once((own.to_owned(), visit.to(&to, [])))
        .chain(sheets)
        .collect()
}

async fn rights(visit: &Visit<'_>) -> Result<Vec<Rights>, Trouble> {
    let mut all = Vec::new();
    for interface in visit.interfaces.keys() {
        let rights = Right::ALL.into_iter();
        let rights: Vec<&str> = rights
            .filter(|right| visit.caller.may(*right, interface))
            .map(Right::as_str)
            .collect();
        if !rights.is_empty() {
            let held = visit.hold_said(interface).await?;
            all.push(Rights {
                interface: interface.to_string(),
                rights: rights.join(", "),
                hold: visit.hold_form(interface, held.is_some(), None),
                held,
            });
        }
    }
    Ok(all)
}

/// Fetches a job as programs do: once all of it has arrived, it goes to the archive.
pub(super) async fn fetch(visit: &Visit<'_>, path: &str) -> Answer {
    let (interface, job) = path.split_once('/').ok_or_else(super::nothing)?;
    let (job, sheet) = match job.split_once('/') {
        Some((job, sheet)) => (job, Some(sheet.to_owned())),
        None => (job, None),
    };
    let job: JobName = job.parse().map_err(|_| super::nothing())?;
    let is_there = |sheet: &String| visit.service.stylesheets().contains(sheet);
    if sheet.as_ref().is_some_and(|sheet| !is_there(sheet)) {
        return Err(super::nothing());
    }
    let command = Command::Fetch {
        interface: interface.parse().map_err(|_| super::nothing())?,
        stylesheet: sheet.clone(),
        head: visit.head.method == http::Method::HEAD,
        job: job.clone(),
    };
    match (visit.service.execute(&visit.caller, command).await?, sheet) {
        (Reply::Content(download), _) => Ok(super::job::saved_document(download)),
        (
            Reply::Transformed {
                content_type,
                body,
                head,
                completion,
            },
            Some(sheet),
        ) => {
            let payload = Payload::of_transformed(body, head, completion);
            Ok(super::job::saved_as(payload, &job, &sheet, content_type))
        }
        _ => Err(super::nothing()),
    }
}
