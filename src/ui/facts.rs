//! What is known of a job: how it came, when it was worked on, what its document is, its ids, and which others have its
//! reference.

use super::{
    attempts::took,
    look::{bytes, count, said},
    respond::Trouble,
    visit::Visit,
};
use crate::{
    domain::JobName,
    service::View,
    store::{Came, Filter, JobDetail},
};

/// Jobs with the reference of one are looked for in so much time before and after it, …
const REFERENCE_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// … and counted up to so many.
const REFERENCES_MAX: usize = 100;

/// What is known of it, each with its name.
pub(super) fn facts(
    visit: &Visit<'_>,
    view: &View,
    detail: &JobDetail,
) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let path = detail.now.as_ref().and_then(|now| now.path.clone());
    facts.extend(
        path.filter(|_| visit.is_operator())
            .map(|path| ("place", path)),
    );
    let about = view
        .interface
        .as_ref()
        .and_then(|name| visit.interfaces.get(name));
    let processor = about.and_then(|about| about.processor.clone());
    facts.extend(
        processor
            .filter(|_| visit.is_operator())
            .map(|text| ("processor", text)),
    );
    let record = detail.summary.record.as_ref();
    let dialect = record.and_then(|record| record.dialect.as_deref());
    let from = match dialect {
        Some(dialect) => format!("{}, by {dialect}", view.submitter),
        None => view.submitter.clone(),
    };
    facts.push(("from", said(&from)));
    facts.extend(record.and_then(|record| came(record.came.as_ref()?)));
    facts.push(("received", visit.clock.full(view.received_ms)));
    facts.extend(view.started_ms.map(|ms| ("started", visit.clock.full(ms))));
    facts.extend(view.finished_ms.map(|ms| ("ended", visit.clock.full(ms))));
    if let (Some(started), Some(finished)) = (view.started_ms, view.finished_ms) {
        facts.push(("took", took(finished - started)));
    }
    facts.push(("priority", view.priority.to_string()));
    facts.extend(view.worker.clone().map(|worker| ("worker", worker)));
    if let Some(now) = &detail.now {
        facts.push(("size", bytes(now.bytes)));
        facts.extend(now.sha256.clone().map(|sha256| ("SHA-256", sha256)));
    }
    facts
}

/// Other jobs with its reference that came within some days of it: a document may have been sent twice.
pub(super) async fn same_reference(
    visit: &Visit<'_>,
    job: &JobName,
) -> Result<Option<(String, String)>, Trouble> {
    let Some(reference) = job.reference() else {
        return Ok(None);
    };
    let came_ms = job.id().unix_ms();
    // As it stands in a name: others have it as a part of theirs.
    let text = format!("-{reference}.");
    let filter = Filter {
        text: Some(text.clone()),
        since_ms: Some(came_ms - REFERENCE_MS),
        before_ms: Some(came_ms + REFERENCE_MS),
        ..Filter::default()
    };
    let store = &visit.spool.store;
    let page = store
        .list(&visit.viewer(), &filter, None, REFERENCES_MAX)
        .await?;
    let others = page.jobs.iter().filter(|other| {
        let name = &other.job.name;
        name != job && name.reference() == Some(reference)
    });
    let or_more = if page.next.is_some() { " or more" } else { "" };
    Ok(match others.count() {
        0 => None,
        n => Some((
            count(n, "other job") + or_more,
            visit.to("jobs", [("text", Some(&*text))]),
        )),
    })
}

/// How it came, if not by an upload.
fn came(came: &Came) -> Option<(&'static str, String)> {
    match came {
        Came::Uploaded => None,
        Came::Dropped { dropped_as } => Some(("dropped as", said(dropped_as))),
        Came::Emitted { parent } => Some(("emitted by", parent.to_string())),
        Came::Scheduled => Some(("came by", "a schedule".into())),
    }
}

/// The ids by which each dialect knows it. A runner is a capability: it is for the submitter.
pub(super) fn ids(visit: &Visit<'_>, view: &View) -> Vec<(&'static str, String)> {
    let mut ids = vec![
        ("dStore", view.job.to_string()),
        ("Robusta", view.uuid.clone()),
        ("eHealth", view.uuid.clone()),
        ("PAAS", view.id.to_string()),
        ("Alteryx", view.hex.clone()),
    ];
    let runner = view
        .runner
        .clone()
        .filter(|_| visit.caller.is(&view.submitter));
    ids.extend(runner.map(|runner| ("PAAS runner, a secret", runner)));
    ids
}
