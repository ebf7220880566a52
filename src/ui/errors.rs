//! What jobs fail of: groups of failed and deferred ones by cause, which can be sent again, and what was refused at the
//! door, by partner and finding, which is only shown.

use super::{
    form::{Form, address},
    jobs::Wanted,
    layout::{Frame, Section},
    look::{Html, count, job_link, number, said},
    respond::{Answer, Trouble, page_of},
    visit::Visit,
};
use crate::{
    domain::{InterfaceName, JobName, PlaceKind},
    ops::errors::{self, ErrorGroup},
    store::{Filter, JobSummary, Viewer},
};
use askama::Template;
use std::collections::BTreeMap;

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
    let store = &*visit.spool.store;
    let groups = errors::groups(store, since_ms).await?;
    let refused = refused(visit, since_ms).await?;
    let n_jobs: usize = groups
        .iter()
        .map(|group| group.failed + group.deferred)
        .sum();
    let n_refused: usize = refused.values().map(|of| of.n).sum();
    let groups_said = count(groups.len(), "reason");
    Ok(page_of(&ErrorsPage {
        title: match n_jobs {
            0 => "Nothing has failed".to_owned(),
            n => format!("{}, {groups_said}", count(n, "job")),
        },
        since,
        groups: groups.iter().map(|group| shown(visit, group)).collect(),
        refused_title: format!(
            "{}, {}",
            count(n_refused, "document"),
            count(refused.len(), "reason")
        ),
        refused: refused_rows(visit, refused),
        frame: visit.frame(Section::Errors).await,
    }))
}

fn shown(visit: &Visit<'_>, group: &ErrorGroup) -> Group {
    let interfaces: Vec<&str> = group.interfaces.iter().map(InterfaceName::as_str).collect();
    let values = [("fingerprint", Some(group.fingerprint.as_str()))];
    Group {
        n: number((group.failed + group.deferred) as u64),
        href: visit.to("jobs", values),
        text: said(group.text.as_deref().unwrap_or("without a word")),
        failed: group.failed,
        deferred: group.deferred,
        interfaces: interfaces.join(", "),
        first: visit.clock.age(group.first_ms),
        last: visit.clock.age(group.last_ms),
        example: job_link(&visit.base, &group.example),
        filter: address("", values).trim_start_matches('?').to_owned(),
        fingerprint: group.fingerprint.clone(),
    }
}

/// By sender, interface and cause.
type Causes = BTreeMap<(String, Option<InterfaceName>, String), Cause>;

struct Cause {
    n: usize,
    first_ms: i64,
    /// The last one.
    example: JobName,
    text: Option<String>,
}

/// What was refused since a moment.
async fn refused(visit: &Visit<'_>, since_ms: Option<i64>) -> Result<Causes, Trouble> {
    let filter = Filter {
        at: vec![PlaceKind::Refused],
        since_ms,
        want_failure: true,
        want_record: true,
        ..Filter::default()
    };
    let store = &visit.spool.store;
    let page = store
        .list(&Viewer::all(), &filter, None, usize::MAX)
        .await?;
    Ok(by_cause(page.jobs))
}

/// Oldest first, as a list has them.
fn by_cause(refused: Vec<JobSummary>) -> Causes {
    let mut causes = Causes::new();
    for summary in refused {
        let name = summary.job.name;
        let submitter = summary.record.and_then(|record| record.submitter);
        let failure = summary.failure.unwrap_or_default();
        let key = (
            submitter.unwrap_or_default(),
            summary.interface,
            failure.fingerprint.unwrap_or_default(),
        );
        let cause = causes.entry(key).or_insert_with(|| Cause {
            n: 0,
            first_ms: name.id().unix_ms(),
            example: name.clone(),
            text: None,
        });
        cause.n += 1;
        cause.example = name;
        cause.text = failure.reason;
    }
    causes
}

fn refused_rows(visit: &Visit<'_>, causes: Causes) -> Vec<Refused> {
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(_, cause)| std::cmp::Reverse(cause.n));
    let row = |((sender, interface, fingerprint), cause): (
        (String, Option<InterfaceName>, String),
        Cause,
    )| {
        let interface = interface.as_ref().map(InterfaceName::as_str);
        let values = [
            ("place", Some("refused")),
            ("interface", interface),
            ("submitter", Some(&*sender).filter(|name| !name.is_empty())),
            (
                "fingerprint",
                Some(&*fingerprint).filter(|text| !text.is_empty()),
            ),
        ];
        Refused {
            n: number(cause.n as u64),
            text: said(cause.text.as_deref().unwrap_or("without a word")),
            interface: interface.unwrap_or("of no known type").to_owned(),
            first: visit.clock.age(cause.first_ms),
            last: visit.clock.age(cause.example.id().unix_ms()),
            example: job_link(&visit.base, &cause.example),
            href: visit.to("jobs", values),
            sender: said(&sender),
        }
    };
    causes.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Job, JobId, Kind, Place},
        store::{Failure, JobRecord, State},
    };

    #[test]
    fn refused_documents_are_grouped_by_sender_and_cause() {
        let refused = |n: u64, sender: &str, fingerprint: &str| JobSummary {
            job: Job {
                place: Place::Refused,
                name: JobName::new(JobId::from_number(n << 12), None, Kind::Xml),
            },
            state: State::Failed,
            is_deleted: false,
            interface: "orders_in".parse().ok(),
            owner: None,
            record: Some(JobRecord {
                submitter: Some(sender.into()),
                ..JobRecord::default()
            }),
            failure: Some(Failure {
                fingerprint: Some(fingerprint.into()),
                reason: Some(format!("{n}")),
                ..Failure::default()
            }),
        };
        let causes = by_cause(vec![
            refused(1, "shop", "a"),
            refused(2, "erp", "a"),
            refused(3, "shop", "a"),
            refused(4, "shop", "b"),
        ]);
        assert_eq!(causes.len(), 3);
        let of = &causes[&("shop".into(), "orders_in".parse().ok(), "a".into())];
        assert_eq!((of.n, of.text.as_deref()), (2, Some("3")));
        assert!(of.first_ms < of.example.id().unix_ms());
    }
}
