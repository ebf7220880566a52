//! The page: what operators and partners see of the service in a browser, and do there.
//!
//! Everything is HTML that the server makes, and forms that work without a script; the one script replaces what has
//! changed. What is shown is asked of the store through the eyes of who looks ([`Service::viewer_of`]), and what is
//! done goes through [`Admin`], with the user as who acts, so the audit has it.
//!
//! Who has logged in shows a session: a cookie that is sealed, and void after eight hours or with another password.
//! A form is taken only from a page of our own (`Origin`) and with the session's token.
//!
//! Invariant: texts of others are escaped by the templates; only [`look::Html`] is taken as it is.
//! Invariant: an operator is one only from where the configuration lets operators be.

mod act;
mod arrivals;
mod assets;
mod attempts;
mod bar;
mod census;
mod charts;
mod document;
mod errors;
mod events;
mod facts;
mod form;
mod fragments;
mod hold;
mod index;
mod job;
mod joblog;
mod jobs;
mod layout;
mod live;
mod login;
mod look;
mod mine;
mod partners;
mod respond;
mod schedules;
mod tabs;
mod upload;
mod visit;

use crate::{
    auth::Users,
    config::{self, Config, InterfaceConfig},
    domain::InterfaceName,
    http::{self, BodyError, UiAnswer, UiRequest},
    ops::{admin::Admin, health::Readiness},
    processor::Processor,
    service::{Direction, Service},
    store::Store,
};
use ::http::Method;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use census::Census;
use form::Form;
use jiff::Timestamp;
use layout::Section;
pub(crate) use live::Streams;
use look::Clock;
use respond::{Answer, Trouble, redirect};
use std::{collections::BTreeMap, fmt, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use visit::Visit;

/// Where all of it lies.
const ROOT: &str = "/ui/";

/// So much is said of a processor in a table.
const PROCESSOR_CHARS_MAX: usize = 60;
/// A form's names and choices; documents are not sent so.
const FORM_BYTES_MAX: u64 = 256 * 1024;

/// The page.
pub(crate) struct Ui {
    /// What is in force: also for whom there is a page, and from where operators are operators.
    pub config: Box<dyn Fn() -> Arc<Config> + Send + Sync>,
    /// How many configurations were taken, that of the start included.
    pub epoch: Box<dyn Fn() -> u64 + Send + Sync>,
    pub certificate: Arc<http::tls::Certificate>,
    pub readiness: Arc<Readiness>,
    pub spools: Vec<Spool>,
    /// What goes on although nobody waits for it any more; it ends soon after `stop`.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub streams: Arc<Streams>,
}

/// A tenant as the page knows it.
pub(crate) struct Spool {
    name: String,
    store: Arc<dyn Store>,
    admin: Arc<Admin>,
    service: Arc<ArcSwap<Service>>,
    users: Arc<Users>,
    census: Census,
}

/// What is said of an interface beside its name.
struct About {
    direction: Direction,
    /// What works on its jobs.
    processor: Option<String>,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        match &self.processor {
            // A script may be long.
            Some(processor) => match processor.char_indices().nth(PROCESSOR_CHARS_MAX) {
                Some((at, _)) => write!(f, "{direction}: {} …", &processor[..at]),
                None => write!(f, "{direction}: {processor}"),
            },
            None => write!(f, "{direction}: waits to be fetched"),
        }
    }
}

impl About {
    fn of(interface: &InterfaceConfig) -> Self {
        Self {
            direction: interface.service.direction,
            processor: interface.lane.processor.as_ref().map(Processor::summary),
        }
    }

    /// Of all interfaces of a tenant.
    fn all(config: &Config, tenant: &str) -> BTreeMap<InterfaceName, Self> {
        let tenant = config.tenants.iter().find(|of| of.name == tenant);
        let interfaces = tenant.into_iter().flat_map(|tenant| &tenant.interfaces);
        let about = interfaces.map(|(name, interface)| (name.clone(), Self::of(interface)));
        about.collect()
    }
}

impl Spool {
    pub(crate) fn new(
        name: String,
        store: Arc<dyn Store>,
        admin: Admin,
        (service, users): (Arc<ArcSwap<Service>>, Arc<Users>),
    ) -> Self {
        Self {
            name,
            store,
            admin: Arc::new(admin),
            service,
            users,
            census: Census::default(),
        }
    }
}

impl Ui {
    fn clock(&self, config: &Config) -> Clock {
        Clock {
            now_ms: Timestamp::now().as_millisecond(),
            zone: config.time_zone.time_zone().clone(),
        }
    }

    fn spool(&self, tenant: &str) -> Option<&Spool> {
        self.spools.iter().find(|spool| spool.name == tenant)
    }
}

#[async_trait]
impl http::Ui for Ui {
    fn is_there(&self) -> bool {
        (self.config)().ui != config::Ui::Off
    }

    async fn answer(self: Arc<Self>, request: UiRequest<'_>) -> Result<UiAnswer, BodyError> {
        let (head, from) = (request.head, (request.host, request.client));
        let (path, method) = (head.uri.path(), &head.method);
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Ok(respond::not_allowed().into());
        }
        if let Some(asset) = assets::answer(path, head.uri.query()) {
            return Ok(asset.into());
        }
        if path == login::PATH {
            return login::answer(request).await;
        }
        let Some(visit) = Visit::begin(&self, head, from) else {
            return Ok(match path.starts_with(ROOT) {
                true => login::first(head).into(),
                // Without the slash at its end.
                false => redirect(ROOT).into(),
            });
        };
        let answer = match (*method == Method::POST, visit.path) {
            (true, "upload") => upload::answer(&visit, request.body).await?,
            (true, _) => {
                let form = Form::parse(&request.body.whole(FORM_BYTES_MAX).await?);
                posted(&visit, &form).await
            }
            (false, _) => shown(&visit).await,
        };
        let response = match answer {
            Ok(page) if live::is_asked(head) && is_followed(visit.path) => {
                live::answer(self.clone(), &visit, request.host, page)
            }
            Ok(response) => response,
            Err(trouble) => {
                let frame = visit.frame(Section::Elsewhere).await;
                respond::trouble(&frame, &trouble)
            }
        };
        Ok(UiAnswer {
            is_download: response.extensions().get::<job::Saved>().is_some(),
            user: Some(visit.caller.user.clone()),
            ..response.into()
        })
    }
}

/// The page of an address.
async fn shown(visit: &Visit<'_>) -> Answer {
    match visit.path {
        "" if visit.is_operator() => index::page(visit).await,
        "" => mine::page(visit).await,
        "errors" => errors::page(visit).await,
        "events" => events::page(visit).await,
        "job" => job::find(visit).await,
        "jobs" => jobs::page(visit).await,
        "partners" => partners::page(visit).await,
        "schedules" => schedules::page(visit).await,
        path => match path.split_once('/') {
            Some(("fetch", job)) => mine::fetch(visit, job).await,
            Some(("job", job)) => job::page(visit, job).await,
            Some(_) | None => Err(nothing()),
        },
    }
}

/// Is it told what changes on the page of a path? To look at it must change nothing.
fn is_followed(path: &str) -> bool {
    match path {
        "" | "errors" | "events" | "jobs" | "partners" | "schedules" => true,
        path => path
            .strip_prefix("job/")
            .is_some_and(|job| !job.contains('/')),
    }
}

/// What a form does.
async fn posted(visit: &Visit<'_>, form: &Form) -> Answer {
    visit.check(form)?;
    match visit.path {
        "" => hold::act(visit, form).await,
        "act" => act::act(visit, form).await,
        "confirm" => act::confirm(visit, form).await,
        "logout" => Ok(login::out()),
        "schedules" => schedules::act(visit, form).await,
        _ => Err(nothing()),
    }
}

fn nothing() -> Trouble {
    Trouble::NotFound("there is no page at this address".into())
}
