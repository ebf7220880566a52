//! Where the page for people is let in: below `/ui/`, for each virtual host.
//!
//! What is there, is known above; here a request gets so far, with its client and its body, and its answer gets the
//! headers that all answers have. What a page of another site sends is not let in.

use super::{
    VirtualHost,
    access::AccessLine,
    body_reader::{BodyError, BodyReader},
    request::{Context, CutOff, caught, is_cross_site, text},
};
use crate::{api::Payload, domain::JobName, metrics::Login};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use std::{net::IpAddr, pin::pin, sync::Arc};

/// What its requests are called in logs and metrics.
const NAME: &str = "ui";
/// What a page that is followed is called there: it takes as long as somebody looks.
const FOLLOWED: &str = "ui-live";

/// What people see of the service in a browser.
#[async_trait]
pub(crate) trait Ui: Send + Sync {
    /// Is it there at the moment?
    fn is_there(&self) -> bool;

    /// # Errors
    /// When the body did not arrive.
    async fn answer(self: Arc<Self>, request: UiRequest<'_>) -> Result<UiAnswer, BodyError>;
}

/// One request, of which the body has not been read.
pub(crate) struct UiRequest<'r> {
    pub head: &'r Parts,
    /// Who sends it, as far as proxies that are believed say it.
    pub client: IpAddr,
    pub host: &'r VirtualHost,
    pub body: &'r mut dyn RequestBody,
}

/// The body of a request, on its way.
#[async_trait]
pub(crate) trait RequestBody: Send {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// When it does not come.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError>;

    /// All of it.
    ///
    /// # Errors
    /// When it does not come, or has more bytes than that.
    async fn whole(&mut self, bytes_max: u64) -> Result<Bytes, BodyError>;
}

#[async_trait]
impl RequestBody for BodyReader<'_, Incoming> {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.next().await
    }

    async fn whole(&mut self, bytes_max: u64) -> Result<Bytes, BodyError> {
        self.whole(bytes_max).await
    }
}

/// What is answered, and what the log is to say of it.
pub(crate) struct UiAnswer {
    pub response: Response<Payload>,
    /// Who has logged in.
    pub user: Option<Arc<str>>,
    /// What came of a login.
    pub login: Option<Login>,
    pub job: Option<JobName>,
    /// The answer is a document, or what was made of one.
    pub is_download: bool,
}

impl From<Response<Payload>> for UiAnswer {
    fn from(response: Response<Payload>) -> Self {
        Self {
            response,
            user: None,
            login: None,
            job: None,
            is_download: false,
        }
    }
}

/// What answers at a path, if people look there and there is a page at the moment.
pub(super) fn at<'c>(path: &str, ui: Option<&'c Arc<dyn Ui>>) -> Option<&'c Arc<dyn Ui>> {
    let is_of_page = path == "/ui" || path.starts_with("/ui/");
    ui.filter(|ui| is_of_page && ui.is_there())
}

pub(super) async fn respond(
    ui: &Arc<dyn Ui>,
    context: &Context,
    (host, client): (&VirtualHost, IpAddr),
    head: &Parts,
    reader: &mut BodyReader<'_, Incoming>,
    access: &mut AccessLine,
) -> Result<Response<Payload>, CutOff> {
    access.dialect = NAME;
    access.tenant.clone_from(&host.name);
    if is_cross_site(head) {
        access.fault = "forbidden";
        let line = "a page of another site sends this request\n";
        return Ok(text(StatusCode::FORBIDDEN, line));
    }
    let request = UiRequest {
        head,
        client,
        host,
        body: reader,
    };
    let answered = caught(pin!(ui.clone().answer(request))).await;
    let answer = match answered {
        Some(Ok(answer)) => answer,
        Some(Err(BodyError::CutOff)) => {
            access.bytes_in = reader.n_bytes;
            return Err(CutOff);
        }
        Some(Err(BodyError::TimedOut)) => text(
            StatusCode::REQUEST_TIMEOUT,
            "the rest did not come in time\n",
        )
        .into(),
        Some(Err(BodyError::TooLarge)) => {
            text(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large\n").into()
        }
        None => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it broke down; see the log\n",
        )
        .into(),
    };
    if let Payload::Stream(_) = answer.response.body() {
        access.dialect = FOLLOWED;
    }
    if answer.user.is_some() {
        context.registration.mark_authenticated();
    }
    if let Some(login) = answer.login {
        context.metrics.logged_in(login);
    }
    access.user = answer.user;
    access.job = answer.job;
    let is_sent = head.method == Method::GET && answer.response.status().is_success();
    access.is_download = answer.is_download && is_sent;
    Ok(answer.response)
}
