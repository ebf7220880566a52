//! Answers: pages, redirections, and what is said when there is no page.

use super::layout::Frame;
use crate::{api::Payload, ops::admin::ActError, service::Fault, store::StoreError};
use askama::Template;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY},
};

/// Everything is our own, nothing is inline, and no other page shows ours in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'";

pub(super) type Answer = Result<Response<Payload>, Trouble>;

/// Why a page is not shown, or an act not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It does not exist, or not for this user.
    NotFound(String),
    /// The user has no right to it.
    Forbidden(String),
    /// What was sent cannot be used as it is.
    Invalid(String),
    /// It cannot be done in the state in which things are.
    Conflict(String),
    /// It cannot be said now; ask again.
    Unavailable(String),
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "There is no such thing",
            Self::Forbidden(_) => "You may not do that",
            Self::Invalid(_) => "That cannot be used",
            Self::Conflict(_) => "Nothing was done",
            Self::Unavailable(_) => "That cannot be said now",
        }
    }

    /// What is said of it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::NotFound(text)
            | Self::Forbidden(text)
            | Self::Invalid(text)
            | Self::Conflict(text)
            | Self::Unavailable(text) => text,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            // Their words may hold paths.
            StoreError::Conflict(_) | StoreError::Refused(_) => {
                Self::Conflict("it is in another state by now; look again".into())
            }
            StoreError::NotFound(_) => Self::NotFound("it is not there any more".into()),
            StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Unhealthy(_) => {
                tracing::warn!(%error, "the page cannot show what was asked for");
                Self::Unavailable("the store cannot be read now; try again, and see the log".into())
            }
        }
    }
}

impl From<ActError> for Trouble {
    fn from(error: ActError) -> Self {
        if let ActError::Store(error) = error {
            return error.into();
        }
        Self::Conflict(error.to_string())
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy { reason, .. } | Fault::TooMany { reason, .. } => Self::Unavailable(reason),
            Fault::Conflict { reason } => Self::Conflict(reason),
            Fault::Forbidden { reason } => Self::Forbidden(reason),
            Fault::Invalid { reason } => Self::Invalid(reason),
            Fault::UnknownJob { job } => Self::NotFound(format!("there is no job {job}")),
            Fault::Field { reason, .. } | Fault::Unsupported { reason, .. } => {
                Self::Invalid(reason)
            }
            Fault::Internal
            | Fault::MethodNotAllowed { .. }
            | Fault::NoSuchPath
            | Fault::NotValid { .. }
            | Fault::Refused { .. }
            | Fault::TimedOut
            | Fault::TooLarge { .. }
            | Fault::Unauthorized
            | Fault::UnknownFile { .. }
            | Fault::UnknownInterface { .. }
            | Fault::UnknownTenant { .. } => Self::NotFound("there is no such thing".into()),
        }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'t> {
    frame: &'t Frame,
    title: &'static str,
    text: &'t str,
}

/// The page that says so.
pub(super) fn trouble(frame: &Frame, trouble: &Trouble) -> Response<Payload> {
    let page = TroublePage {
        frame,
        title: trouble.title(),
        text: trouble.text(),
    };
    let mut response = page_of(&page);
    *response.status_mut() = trouble.status();
    response
}

/// A whole page.
pub(super) fn page_of(page: &impl Template) -> Response<Payload> {
    match page.render() {
        Ok(text) => html(StatusCode::OK, text),
        Err(error) => {
            tracing::error!(%error, "a page cannot be made");
            html(StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    }
}

pub(super) fn html(status: StatusCode, text: impl Into<Bytes>) -> Response<Payload> {
    content(status, "text/html; charset=utf-8", text)
}

/// Something of the page's own, which is shown as the page is.
pub(super) fn content(
    status: StatusCode,
    kind: &'static str,
    text: impl Into<Bytes>,
) -> Response<Payload> {
    let mut response = Response::new(Payload::Bytes(text.into()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        // With none at all a form of ours would not say from where it comes.
        (REFERRER_POLICY, "same-origin"),
    ] {
        set(&mut response, name, value);
    }
    response
}

pub(super) fn set(response: &mut Response<Payload>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

pub(super) fn not_allowed() -> Response<Payload> {
    let mut response = html(StatusCode::METHOD_NOT_ALLOWED, "");
    set(&mut response, ALLOW, "GET, HEAD, POST");
    response
}

/// On to another page, by GET. What cannot stand in a header leads to the first page.
pub(super) fn redirect(to: &str) -> Response<Payload> {
    let mut response = html(StatusCode::SEE_OTHER, "");
    let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static(super::ROOT));
    response.headers_mut().insert(LOCATION, to);
    response
}
