//! One job: where it is and what it is, its ids, its log, what is said of the lines of its document, and what can be done
//! to it. Found by any of its ids.

use super::{
    attempts::{Attempts, Line as Step, attempts},
    document::{self, Hits, Line},
    facts::{facts, ids, same_reference},
    joblog::{self, Entry},
    layout::{Frame, Section},
    look::{Html, linked, name, said, state},
    respond::{Answer, Trouble, page_of, redirect},
    visit::Visit,
};
use crate::{
    api::Payload,
    auth::Right,
    domain::{
        Job, JobName, Kind, Place, extension_of, id_in_hex, id_in_uuid, joblog::Message, parse_uuid,
    },
    ops::selection::JobState,
    service::{Command, Direction, Download, JobRef, Reply, View, Visibility},
    store::{Content, JobDetail, Of, Want},
};
use askama::Template;
use http::{
    HeaderValue, Response,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};

/// So much of a document is read to show lines of it.
const DOCUMENT_BYTES_MAX: u64 = 2 << 20;

/// What marks an answer that is a download.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    title: String,
    job: String,
    name: Html,
    standing: Standing,
    received: Html,
    /// What can be done to it, and what not.
    acts: Vec<(&'static str, &'static str, bool)>,
    why_not: &'static str,
    /// What the hold of its interface says.
    held: Option<String>,
    hold: Option<Html>,
    document: Option<String>,
    /// What stylesheets make of it.
    transformed: Vec<(String, String)>,
    facts: Vec<(&'static str, Html)>,
    /// How many others have its reference, and where they are.
    same_reference: Option<(String, String)>,
    results: Vec<(String, String)>,
    variables: Option<String>,
    ids: Vec<(&'static str, String)>,
    attempts: Attempts,
    log: Vec<Entry>,
    earlier: usize,
    lines: Vec<Line>,
    /// Of which of these something is said, and how much in all.
    hits: Hits,
    has_log: bool,
}

/// Where it is, since when, and from whom.
struct Standing {
    state: Html,
    /// Its interface, and where the jobs of that are.
    interface: Option<(String, String)>,
    /// Which attempt it is, and of how many.
    attempt: Option<(u32, Option<u32>)>,
    /// Since when it runs, …
    running: Option<Html>,
    /// … or when it is tried again.
    due: Option<Html>,
    received: Html,
    /// Who sent it, and where his jobs are.
    submitter: (String, String),
}

/// The page of the job that a text is the id of, or the jobs that have it in a name.
pub(super) async fn find(visit: &Visit<'_>) -> Answer {
    let text = visit.query.get("id").unwrap_or_default();
    let found = match meaning(text) {
        Some(of) => {
            visit
                .spool
                .store
                .find(&visit.viewer(), of, Want::PLACE)
                .await?
        }
        None => None,
    };
    let to = match found {
        Some(found) => visit.to(&format!("job/{}", found.summary.job.name), []),
        None => visit.to("jobs", [("text", Some(text))]),
    };
    Ok(redirect(&to))
}

/// What a text may be the name of. Who may know of the job is looked at by whoever finds it, so an id need not be one
/// that was given out.
fn meaning(text: &str) -> Option<Of> {
    if let Ok(name) = text.parse() {
        return Some(Of::Name(name));
    }
    if let Some(uuid) = parse_uuid(text) {
        return Some(Of::Id(id_in_uuid(uuid)));
    }
    let mut bytes = [0; 12];
    if hex::decode_to_slice(text, &mut bytes).is_ok() {
        return Some(Of::Id(id_in_hex(&bytes)));
    }
    let number = text.parse().ok()?;
    Some(Of::Id(crate::domain::JobId::from_number(number)))
}

/// The page of a job, and what is below its address.
pub(super) async fn page(visit: &Visit<'_>, path: &str) -> Answer {
    let (job, part) = path.split_once('/').unwrap_or((path, ""));
    let name: JobName = job.parse().map_err(|_| no_job(job))?;
    let want = Want {
        now: true,
        ..Want::RECORD
    };
    let viewer = visit.viewer();
    let detail = visit
        .spool
        .store
        .find(&viewer, Of::Name(name.clone()), want)
        .await?;
    let detail = detail.ok_or_else(|| no_job(job))?;
    match part {
        "" => shown(visit, detail).await,
        "document" => document(visit, &detail).await,
        "log" => log(visit, name).await,
        part => match part.split_once('/') {
            Some(("as", sheet)) => transformed(visit, &detail, sheet).await,
            Some(_) | None => result(visit, name, part).await,
        },
    }
}

fn no_job(job: &str) -> Trouble {
    Trouble::NotFound(format!("there is no job {}", said(job)))
}

async fn shown(visit: &Visit<'_>, detail: JobDetail) -> Answer {
    let job = detail.summary.job.clone();
    let view = view(visit, &job.name).await?;
    let mut messages = view.messages.clone();
    if let Place::Work { .. } = job.place {
        messages.extend(visit.spool.store.said_so_far(&job).await?);
    }
    let may_read = may_read(visit, &detail);
    let lines = match may_read && messages.iter().any(|message| message.line.is_some()) {
        true => near(visit, &job, &messages).await?,
        false => Vec::new(),
    };
    let (clock, job_state) = (&visit.clock, JobState::of(&detail.summary));
    let started_ms = detail.now.as_ref().and_then(|now| now.started_ms);
    let attempts = attempts(visit, &job, view.received_ms, started_ms).await?;
    let hits = Hits::of(&lines);
    let (earlier, log) = joblog::entries((clock, &visit.base), &messages, &attempts.begun, &hits);
    let interface = detail.summary.interface.as_ref();
    let held = match interface {
        Some(interface) => visit.hold_said(interface).await?,
        None => None,
    };
    let hold =
        interface.and_then(|interface| visit.hold_form(interface, held.is_some(), Some(&job.name)));
    let at = |part: &str| visit.to(&format!("job/{}/{part}", job.name), []);
    let results = view.files.iter().enumerate();
    let sheets = sheets(visit, &detail);
    let sheets = sheets.iter();
    Ok(page_of(&JobPage {
        title: format!(
            "{job_state}: {}",
            job.name.reference().unwrap_or(&job.name.to_string())
        ),
        job: job.name.to_string(),
        name: name(&job.name),
        standing: standing(visit, &view, &detail),
        received: clock.at(view.received_ms),
        acts: acts(visit, &detail),
        why_not: why_not(&job.place),
        held,
        hold,
        document: may_read.then(|| at("document")),
        transformed: sheets
            .map(|sheet| (sheet.clone(), at(&format!("as/{sheet}"))))
            .collect(),
        facts: facts(visit, &view, &detail)
            .into_iter()
            .map(|(name, text)| (name, linked(&visit.base, &text)))
            .collect(),
        same_reference: same_reference(visit, &job.name).await?,
        results: results
            .map(|(n, file)| (said(file), at(&n.to_string())))
            .collect(),
        variables: (!view.variables.is_empty())
            .then(|| serde_json::to_string_pretty(&view.variables).unwrap_or_default()),
        ids: ids(visit, &view),
        attempts,
        log,
        earlier,
        lines,
        hits,
        has_log: view.finished_ms.is_some(),
        frame: visit.frame(Section::Jobs).await,
    }))
}

/// A job as partners are shown it.
pub(super) async fn view(visit: &Visit<'_>, name: &JobName) -> Result<Box<View>, Trouble> {
    let command = Command::Show {
        job: JobRef::Name(name.clone()),
        visibility: Visibility::Interface,
    };
    let reply = visit.service.execute(&visit.caller, command).await?;
    let Reply::Shown(view) = reply else {
        return Err(no_job(&name.to_string()));
    };
    Ok(view)
}

fn standing(visit: &Visit<'_>, view: &View, detail: &JobDetail) -> Standing {
    let (clock, summary) = (&visit.clock, &detail.summary);
    let now = detail.now.as_ref();
    let (submitter, interface) = (view.submitter.as_str(), summary.interface.as_ref());
    let jobs = |part, value| visit.to("jobs", [(part, Some(value))]);
    Standing {
        state: state(JobState::of(summary)),
        interface: interface.map(|name| (name.to_string(), jobs("interface", name.as_str()))),
        attempt: now.and_then(|now| {
            let n = now.attempts.filter(|n| *n > 0)?;
            Some((n, now.attempts_max))
        }),
        running: now.and_then(|now| now.started_ms).map(|ms| clock.age(ms)),
        due: due_ms(&summary.job.place).map(|ms| clock.age(ms)),
        received: clock.age(view.received_ms),
        submitter: (said(submitter), jobs("submitter", submitter)),
    }
}

/// What a person who may act can do: the act, its name, and whether it is possible now.
fn acts(visit: &Visit<'_>, detail: &JobDetail) -> Vec<(&'static str, &'static str, bool)> {
    if !visit.may_manage(detail.summary.interface.as_ref()) {
        return Vec::new();
    }
    let (rests, has_ended) = match detail.summary.job.place {
        Place::Work { .. } => (false, false),
        Place::Queue(_) | Place::Deferred { .. } => (true, false),
        Place::Bak(_) | Place::JobErrors | Place::Refused => (true, true),
    };
    let is_queued = detail.summary.is_queued();
    vec![
        ("requeue", "Requeue…", rests && !is_queued),
        ("cancel", "Cancel…", !has_ended),
        ("remove", "Remove for ever…", rests),
    ]
}

/// Why some of the acts are not possible now.
fn why_not(place: &Place) -> &'static str {
    match place {
        Place::Work { .. } => "It runs: the others are possible when it has ended.",
        Place::Queue(_) => "It is in its queue already.",
        Place::Deferred { .. } => "",
        Place::Bak(_) | Place::JobErrors | Place::Refused => {
            "It has ended: nothing is left to cancel."
        }
    }
}

/// May the document be read? Its submitter may, and who may download.
fn may_read(visit: &Visit<'_>, detail: &JobDetail) -> bool {
    let (summary, caller) = (&detail.summary, &visit.caller);
    let interface = summary.interface.as_ref();
    let record = summary.record.as_ref();
    let submitter = record.and_then(|record| record.submitter.as_deref());
    let may = visit.is_operator()
        || submitter.is_some_and(|submitter| caller.is(submitter))
        || interface.is_some_and(|interface| caller.may(Right::Download, interface));
    // Whoever fetches a job takes it away, which to look at it would not.
    let about = interface.and_then(|interface| visit.interfaces.get(interface));
    let is_to_fetch = about.is_some_and(|about| about.direction == Direction::Out);
    may && (visit.is_operator() || !(is_to_fetch && summary.is_queued()))
}

/// The lines of the document of which something is said.
pub(super) async fn near(
    visit: &Visit<'_>,
    job: &Job,
    messages: &[Message],
) -> Result<Vec<Line>, Trouble> {
    let Some(content) = visit.spool.store.open(job).await? else {
        return Ok(Vec::new());
    };
    let read = content
        .read(0..content.bytes.min(DOCUMENT_BYTES_MAX))
        .await?;
    Ok(document::near(&document::decoded(&read), messages))
}

/// The document to look at: the job stays where it is.
async fn document(visit: &Visit<'_>, detail: &JobDetail) -> Answer {
    let job = &detail.summary.job;
    if !may_read(visit, detail) {
        let text = "you have no right to download it, or it waits to be fetched".to_owned();
        return Err(Trouble::Forbidden(text));
    }
    let content = visit.spool.store.open(job).await?;
    let content: Content = content.ok_or_else(|| no_job(&job.name.to_string()))?;
    let mut download = Download::new(job.name.to_string(), content);
    download.kind = Some(job.name.kind());
    Ok(saved_document(download))
}

/// The stylesheets by which a job may be had: as for its document, and by who may download as programs do.
fn sheets(visit: &Visit<'_>, detail: &JobDetail) -> Vec<String> {
    let job = &detail.summary.job;
    let interface = job.place.interface();
    let may = interface.is_some_and(|interface| visit.caller.may(Right::Download, interface));
    match may && may_read(visit, detail) && job.name.kind() == Kind::Xml {
        true => visit.service.stylesheets(),
        false => Vec::new(),
    }
}

/// What a stylesheet makes of the document, as the dialects give it, bytes and type. The job stays where it is.
async fn transformed(visit: &Visit<'_>, detail: &JobDetail, sheet: &str) -> Answer {
    let job = &detail.summary.job;
    let interface = job.place.interface().cloned();
    let known = sheets(visit, detail).iter().any(|name| name == sheet);
    let interface = interface.filter(|_| known).ok_or_else(super::nothing)?;
    let command = Command::Fetch {
        interface,
        job: job.name.clone(),
        stylesheet: Some(sheet.to_owned()),
        head: false,
    };
    let reply = visit.service.execute(&visit.caller, command).await?;
    // Without its completion it is not fetched.
    let Reply::Transformed {
        content_type, body, ..
    } = reply
    else {
        return Err(super::nothing());
    };
    Ok(saved_as(
        Payload::Bytes(body),
        &job.name,
        sheet,
        content_type,
    ))
}

/// What a stylesheet made of a job's document, under a name that says so.
pub(super) fn saved_as(
    payload: Payload,
    job: &JobName,
    sheet: &str,
    content_type: String,
) -> Response<Payload> {
    let extension = extension_of(&content_type).unwrap_or("xml");
    let name = job.with_extension(&format!("{sheet}.{extension}"));
    let mut response = saved(payload, "application/octet-stream", &name);
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// A job's own document.
pub(super) fn saved_document(download: Download) -> Response<Payload> {
    let kind = match download.kind {
        Some(Kind::Json) => "application/json",
        Some(Kind::Xml) | None => "application/xml",
    };
    let name = download.name.clone();
    saved(Payload::File(download), kind, &name)
}

async fn log(visit: &Visit<'_>, job: JobName) -> Answer {
    let file = job.with_extension("log.xml");
    let command = Command::Log {
        interface: None,
        job,
    };
    let reply = visit.service.execute(&visit.caller, command).await?;
    let Reply::Log(log) = reply else {
        return Err(super::nothing());
    };
    let log = Payload::Bytes(log.to_xml().into());
    Ok(attached(log, "application/xml", &file))
}

/// A file that the processor made, by its number.
async fn result(visit: &Visit<'_>, job: JobName, number: &str) -> Answer {
    let command = Command::Result {
        job: JobRef::Name(job),
        number: number.parse().map_err(|_| super::nothing())?,
        visibility: Visibility::Interface,
    };
    let reply = visit.service.execute(&visit.caller, command).await?;
    let Reply::Result { download, .. } = reply else {
        return Err(super::nothing());
    };
    let name = download.name.clone();
    let kind = "application/octet-stream";
    Ok(saved(Payload::File(download), kind, &name))
}

/// When it is tried again.
fn due_ms(place: &Place) -> Option<i64> {
    match place {
        Place::Deferred { due_ms, .. } => Some(*due_ms),
        Place::Bak(_)
        | Place::JobErrors
        | Place::Queue(_)
        | Place::Refused
        | Place::Work { .. } => None,
    }
}

/// A document, or what was made of one, under a name to save it by.
fn saved(payload: Payload, kind: &'static str, name: &str) -> Response<Payload> {
    let mut response = attached(payload, kind, name);
    response.extensions_mut().insert(Saved);
    response
}

/// Something that the browser saves and does not show.
fn attached(payload: Payload, kind: &'static str, name: &str) -> Response<Payload> {
    let mut response = Response::new(payload);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let attachment = HeaderValue::try_from(format!("attachment; filename=\"{plain}\""));
    let attachment = attachment.unwrap_or(HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_DISPOSITION, attachment);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_is_understood() {
        let name: JobName = "20261126T133502.870Z-00000-day.xml".parse().unwrap();
        let id = name.id();
        assert_eq!(meaning(&name.to_string()), Some(Of::Name(name)));
        assert_eq!(meaning(&id.get().to_string()), Some(Of::Id(id)));
        let seal = crate::domain::Seal::new([7; crate::domain::KEY_BYTES]);
        assert_eq!(meaning(&seal.uuid(id).to_string()), Some(Of::Id(id)));
        assert_eq!(meaning(&hex::encode(seal.hex(id))), Some(Of::Id(id)));
        for odd in ["", "order-10834", "../x", "<b>"] {
            assert_eq!(meaning(odd), None, "{odd}");
        }
    }
}
