//! One job: where it is and what it is, its ids, its log, what is said of the lines of its document, and what can be done
//! to it. Found by any of its ids.

use super::{
    document::{self, Line},
    layout::{Frame, Section},
    look::{Html, bytes, linked, mark, name, said, span, state},
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
    store::{Attempt, AttemptEnd, Came, Content, JobDetail, Of, Want},
};
use askama::Template;
use http::{
    HeaderValue, Response,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};

/// So much of a document is read to show lines of it.
const DOCUMENT_BYTES_MAX: u64 = 2 << 20;
/// So many messages are shown, the last ones; the log has all.
const MESSAGES_MAX: usize = 500;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    title: String,
    job: String,
    name: Html,
    state: Html,
    sentence: String,
    received: Html,
    due: Option<Html>,
    /// What can be done to it, and what not.
    acts: Vec<(&'static str, &'static str, bool)>,
    /// What the hold of its interface says.
    held: Option<String>,
    hold: Option<Html>,
    document: Option<String>,
    /// What stylesheets make of it.
    transformed: Vec<(String, String)>,
    facts: Vec<(&'static str, Html)>,
    results: Vec<(String, String)>,
    variables: Option<String>,
    ids: Vec<(&'static str, String)>,
    attempts: Vec<Tried>,
    messages: Vec<Said>,
    earlier: usize,
    lines: Vec<Line>,
    has_log: bool,
}

/// An attempt that has ended.
struct Tried {
    mark: Html,
    number: u32,
    at: Html,
    took: Option<String>,
    reason: Option<String>,
}

/// A message of the log.
struct Said {
    at: Html,
    level: Html,
    text: Html,
    tool: Option<String>,
    line: Option<u64>,
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
    let earlier = messages.len().saturating_sub(MESSAGES_MAX);
    let shown = messages.iter().skip(earlier).map(|message| Said {
        at: clock.at(message.time_ms),
        level: document::level(message.level),
        text: linked(&visit.base, &said(&message.text)),
        tool: message.tool.as_deref().map(said),
        line: message.line.filter(|_| !lines.is_empty()),
    });
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
        state: state(job_state),
        sentence: sentence(&detail),
        received: clock.age(view.received_ms),
        due: due_ms(&job.place).map(|ms| clock.age(ms)),
        acts: acts(visit, &detail),
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
        results: results
            .map(|(n, file)| (said(file), at(&n.to_string())))
            .collect(),
        variables: (!view.variables.is_empty())
            .then(|| serde_json::to_string_pretty(&view.variables).unwrap_or_default()),
        ids: ids(visit, &view),
        attempts: attempts(visit, &job.name).await?,
        messages: shown.collect(),
        earlier,
        lines,
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

/// Where it is, in words.
fn sentence(detail: &JobDetail) -> String {
    let attempts = detail.now.as_ref().and_then(|now| now.attempts);
    let attempt = attempts.map_or(String::new(), |n| format!(", attempt {n}"));
    let interface = detail.summary.interface.as_ref();
    match (&detail.summary.job.place, interface) {
        (Place::Work { attempt, .. }, Some(interface)) => {
            format!("in {interface}, attempt {attempt}")
        }
        (_, Some(interface)) => format!("in {interface}{attempt}"),
        (_, None) => String::new(),
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

fn facts(visit: &Visit<'_>, view: &View, detail: &JobDetail) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
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
fn ids(visit: &Visit<'_>, view: &View) -> Vec<(&'static str, String)> {
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
    let extension = extension_of(&content_type).unwrap_or("xml");
    let mut response = saved(
        Payload::Bytes(body),
        "application/octet-stream",
        &job.name.with_extension(&format!("{sheet}.{extension}")),
    );
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
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
    Ok(saved(log, "application/xml", &file))
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

/// How it was tried until now.
async fn attempts(visit: &Visit<'_>, job: &JobName) -> Result<Vec<Tried>, Trouble> {
    let attempts = visit.spool.store.attempts(job).await?;
    let tried = |attempt: Attempt| Tried {
        mark: mark(shape(attempt.outcome), attempt.outcome.in_words()),
        number: attempt.number,
        at: visit
            .clock
            .at(attempt.started_ms.unwrap_or(attempt.ended_ms)),
        took: attempt.started_ms.map(|ms| took(attempt.ended_ms - ms)),
        reason: attempt.reason.as_deref().map(said),
    };
    Ok(attempts.into_iter().map(tried).collect())
}

fn shape(outcome: AttemptEnd) -> &'static str {
    match outcome {
        AttemptEnd::Cancelled | AttemptEnd::GivenBack => "ended",
        AttemptEnd::CutOff => "warning",
        AttemptEnd::Deferred | AttemptEnd::Done | AttemptEnd::Failed => outcome.as_str(),
    }
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

/// Something that the browser saves and does not show.
fn saved(payload: Payload, kind: &'static str, name: &str) -> Response<Payload> {
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

/// How long a run took: `5.2 s`, `3 ms`.
fn took(ms: i64) -> String {
    match ms {
        ..1000 => format!("{} ms", ms.max(0)),
        1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => span(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_timed_as_exactly_as_is_of_use() {
        for (ms, expected) in [
            (-1, "0 ms"),
            (3, "3 ms"),
            (5_250, "5.2 s"),
            (12_000, "12 s"),
        ] {
            assert_eq!(took(ms), expected);
        }
    }

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
