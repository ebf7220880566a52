//! Uploads by a form, one document after the other, as they come: nothing of them is kept in memory. What became of each
//! is a page, or for the script the inside of one entry of a list.

use super::{
    document::Line,
    form::Form,
    job,
    layout::{Frame, Section},
    look::{Html, job_link, mark, said},
    respond::{Answer, Trouble, html, page_of},
    visit::{DIALECT, Visit},
};
use crate::{
    domain::{Digests, Job, JobName, JobOptions, Place, Reference, spaced},
    http::{BodyError, RequestBody},
    service::{DocumentFormat, Fault, Reply, Submit},
};
use askama::Template;
use futures_util::stream;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use multer::{Constraints, Field, Multipart, SizeLimit};

/// Of everything in the form but the documents, each.
const FIELD_BYTES_MAX: u64 = 8 * 1024;
/// So many documents in one form.
const DOCUMENTS_MAX: usize = 1000;
/// So much is kept of a reference as it was sent.
const REFERENCE_CHARS_MAX: usize = 1000;
const KEY_BYTES_MAX: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What the script asks for.
const ITEM: &str = "text/x-item";

#[derive(Template)]
#[template(path = "sent.html")]
struct SentPage {
    frame: Frame,
    title: String,
    items: Vec<Item>,
}

/// What became of a document.
#[derive(Template)]
#[template(path = "item.html")]
struct Item {
    mark: Html,
    file: String,
    job: Option<Html>,
    /// Why it was not taken.
    why: Option<String>,
    is_refused: bool,
    lines: Vec<Line>,
}

/// # Errors
/// When the body does not come.
pub(super) async fn answer(
    visit: &Visit<'_>,
    body: &mut dyn RequestBody,
) -> Result<Answer, BodyError> {
    let items = match received(visit, body).await {
        Ok(items) => items,
        Err(Stop::Body(error)) => return Err(error),
        Err(Stop::Trouble(trouble)) => return Ok(Err(trouble)),
    };
    Ok(shown(visit, items).await)
}

async fn shown(visit: &Visit<'_>, items: Vec<Item>) -> Answer {
    let accepts = visit.head.headers.get(ACCEPT).map(HeaderValue::as_bytes);
    if accepts == Some(ITEM.as_bytes()) {
        let item = items.iter().map(Html::of).next().unwrap_or_default();
        return Ok(html(StatusCode::OK, item.0));
    }
    if items.is_empty() {
        return Err(Trouble::Invalid("no document was chosen".into()));
    }
    let n_taken = items.iter().filter(|item| item.why.is_none()).count();
    Ok(page_of(&SentPage {
        title: format!("{n_taken} of {} taken", items.len()),
        items,
        frame: visit.frame(Section::Index).await,
    }))
}

/// Why there is nothing to tell of documents.
enum Stop {
    Body(BodyError),
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<multer::Error> for Stop {
    fn from(error: multer::Error) -> Self {
        if let multer::Error::StreamReadFailed(failed) = &error
            && let Some(error) = failed.downcast_ref::<BodyError>()
        {
            return Self::Body(*error);
        }
        Self::Trouble(Trouble::Invalid(format!(
            "the form cannot be read: {error}"
        )))
    }
}

/// Takes the documents of the form. Its token comes before them.
async fn received(visit: &Visit<'_>, body: &mut dyn RequestBody) -> Result<Vec<Item>, Stop> {
    let kind = visit.head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind)?;
    let pieces = stream::unfold(body, |body| async move {
        let piece = body.next().await.transpose()?;
        Some((piece, body))
    });
    let limits = SizeLimit::new()
        .per_field(FIELD_BYTES_MAX)
        // How large a document may be is the service's to say.
        .for_field("file", u64::MAX);
    let limits = Constraints::new().size_limit(limits);
    let mut parts = Multipart::with_constraints(pieces, boundary, limits);
    let (mut form, mut items) = (Form::default(), Vec::new());
    while let Some(part) = parts.next_field().await? {
        match part.name() {
            Some("file") => {
                visit.check(&form)?;
                if items.len() == DOCUMENTS_MAX {
                    let text = format!("a form has {DOCUMENTS_MAX} documents at most");
                    return Err(Trouble::Invalid(text).into());
                }
                items.extend(document(visit, &form, part).await?);
            }
            Some(name) => {
                let name = name.to_owned();
                form.add(name, part.text().await?);
            }
            None => {}
        }
    }
    visit.check(&form)?;
    Ok(items)
}

/// Takes one document. `None`: no file was chosen.
async fn document(
    visit: &Visit<'_>,
    form: &Form,
    mut part: Field<'_>,
) -> Result<Option<Item>, Stop> {
    let file = part.file_name().unwrap_or_default().to_owned();
    if file.is_empty() {
        return Ok(None);
    }
    let service = &visit.service;
    let mut upload = match service
        .admit(&visit.caller, submit(visit, form, &file), None)
        .await
    {
        Ok(upload) => upload,
        Err(fault) => return Ok(Some(item(visit, &file, Err(fault)).await?)),
    };
    while let Some(piece) = part.chunk().await? {
        if let Err(fault) = upload.write(piece).await {
            return Ok(Some(item(visit, &file, Err(fault)).await?));
        }
    }
    let reply = upload.commit().await;
    Ok(Some(item(visit, &file, reply).await?))
}

fn submit(visit: &Visit<'_>, form: &Form, file: &str) -> Submit {
    let sent = form.get("RefName").unwrap_or(file);
    let kept = spaced(sent).take(REFERENCE_CHARS_MAX).collect::<String>();
    let key = visit.head.headers.get(IDEMPOTENCY_KEY);
    let key = key.and_then(|key| key.to_str().ok());
    Submit {
        interface: form.parsed("interface"),
        reference: Reference::of_text(sent),
        reference_as_sent: Some(kept.into()),
        only_check: false,
        // The script sends one document in each form.
        idempotency_key: key
            .filter(|key| key.len() <= KEY_BYTES_MAX)
            .map(str::to_owned),
        digests: Digests::default(),
        dialect: DIALECT,
        document: DocumentFormat::Xml,
        options: JobOptions::default(),
    }
}

async fn item(visit: &Visit<'_>, file: &str, reply: Result<Reply, Fault>) -> Result<Item, Trouble> {
    let nothing = Item {
        mark: mark("failed", "not taken"),
        file: said(file),
        job: None,
        why: None,
        is_refused: false,
        lines: Vec::new(),
    };
    match reply {
        Ok(Reply::Accepted { job, .. }) => Ok(Item {
            mark: mark("done", "taken"),
            job: Some(job_link(&visit.base, &job)),
            ..nothing
        }),
        Err(Fault::Refused { job, findings, .. }) => Ok(Item {
            mark: mark("refused", "refused"),
            job: Some(job_link(&visit.base, &job)),
            why: findings.first().map(|finding| said(&finding.message)),
            is_refused: true,
            lines: lines(visit, job).await?,
            ..nothing
        }),
        Ok(_) => Ok(nothing),
        Err(fault) => Ok(Item {
            why: Some(said(&why(fault))),
            ..nothing
        }),
    }
}

/// What its sender is told of a document that was not even kept.
fn why(fault: Fault) -> String {
    if let Fault::TooLarge { bytes_max } = fault {
        return format!("it is too large: {} at most", super::look::bytes(bytes_max));
    }
    if let Fault::UnknownInterface { interface } = fault {
        return format!("there is no interface {interface}");
    }
    Trouble::from(fault).text().to_owned()
}

/// The lines of a refused document of which something is said.
async fn lines(visit: &Visit<'_>, name: JobName) -> Result<Vec<Line>, Trouble> {
    let view = job::view(visit, &name).await?;
    let place = Place::Refused;
    job::near(visit, &Job { place, name }, &view.messages).await
}
