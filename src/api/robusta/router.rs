//! Request head and body → command.

use crate::{
    api::{headers::idempotency_key, json, percent},
    domain::{InterfaceName, JobOptions, WorkerTag, parse_uuid},
    service::{
        Command, DocumentFormat, Fault, JobRef, JsonCheck, ScheduleRequest, ScheduleSpec, Submit,
        Visibility,
    },
};
use http::{Method, request::Parts};
use serde_json::{Map, Value};

/// Its own members are given once; what is in them is the client's own. Source: the Robusta
/// contract, "A member given twice".
const ONCE_LEVELS: usize = 1;
/// Said of a schedule without a moment.
const NO_MOMENT: &str = "is missing: with runImmediately N and runOnce N it says when the process \
                         runs; send it or startDate, or runImmediately Y";

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Start,
    /// Of this `robustaSpid`, as the client wrote it, decoded.
    Status(String),
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments = percent::segments(path)?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments[..] {
            ["scheduler", api, "process", "start"] if is_api(api) => Some(Self::Start),
            ["scheduler", api, "process", "status", spid] if is_api(api) => {
                Some(Self::Status(spid.into()))
            }
            _ => None,
        }
    }
}

/// The original writes it in two ways.
pub(super) fn is_api(segment: &str) -> bool {
    segment.eq_ignore_ascii_case("connector-api")
}

pub(super) fn parse(head: &Parts, body: &[u8]) -> Result<Command, Fault> {
    match Route::of(head.uri.path()).ok_or(Fault::NoSuchPath)? {
        Route::Start if head.method == Method::POST => start(head, body),
        Route::Start => Err(Fault::MethodNotAllowed { allow: "POST" }),
        Route::Status(spid) if matches!(head.method, Method::GET | Method::HEAD) => {
            let uuid = parse_uuid(&spid).ok_or(Fault::UnknownJob { job: spid })?;
            Ok(Command::Show {
                job: JobRef::Uuid(uuid),
                visibility: Visibility::Interface,
            })
        }
        Route::Status(_) => Err(Fault::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

/// Source: the Robusta contract, the table of the request body.
fn start(head: &Parts, body: &[u8]) -> Result<Command, Fault> {
    let process = Members(json::object(body, ONCE_LEVELS)?);
    process.check_values()?;
    let submit = Submit {
        interface: Some(process.name()?),
        idempotency_key: idempotency_key(&head.headers)?,
        dialect: "robusta",
        document: DocumentFormat::Json {
            check: JsonCheck(json::check),
            empty: None,
        },
        options: JobOptions {
            worker: process.worker()?,
            retries: process.retries()?,
            ..JobOptions::default()
        },
        ..Submit::default()
    };
    let (run_once, now) = (process.flag("runOnce")?, process.flag("runImmediately")?);
    let mut spec = ScheduleSpec {
        quartz: process.text("quartzDef")?,
        start: process.text("startDate")?,
        end: process.text("endDate")?,
        time_zone: process.text("timeZone")?,
        run_once: run_once.unwrap_or_default(),
        run_immediately: now.unwrap_or_default(),
    };
    if spec.quartz.is_none() && spec.start.is_none() {
        // It is not to run now, and not once either.
        if now == Some(false) && !spec.run_once {
            return Err(wrong("quartzDef", NO_MOMENT));
        }
        // Nothing says when: at once.
        if spec.end.is_none() {
            return Ok(Command::Submit(submit));
        }
        spec.run_immediately = true;
    }
    Ok(Command::Schedule(Box::new(ScheduleRequest {
        submit,
        spec,
    })))
}

/// The members of a request's body. Others are ignored.
struct Members(Map<String, Value>);

impl Members {
    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let text = match self.0.get(name) {
            None => None,
            Some(value) => json::text(name, value)?,
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// `None`: left out.
    fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        let text = self.text(name)?.map(|text| text.to_ascii_lowercase());
        match text.as_deref() {
            Some("y" | "true") => Ok(Some(true)),
            Some("n" | "false") => Ok(Some(false)),
            None => Ok(None),
            Some(_) => Err(wrong(name, "use Y or N")),
        }
    }

    fn name(&self) -> Result<InterfaceName, Fault> {
        let name = self.text("name")?;
        let name = name.ok_or_else(|| wrong("name", "is missing: say which process to start"))?;
        name.parse()
            .map_err(|_| Fault::UnknownInterface { interface: name })
    }

    fn worker(&self) -> Result<Option<WorkerTag>, Fault> {
        let tag = self.text("worker")?.map(|text| text.parse()).transpose();
        tag.map_err(|error: crate::domain::WorkerTagError| wrong("worker", &error.to_string()))
    }

    fn retries(&self) -> Result<Option<u32>, Fault> {
        let Some(text) = self.text("retryCount")? else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let count = text.parse().ok().filter(|_| digits);
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(wrong("retryCount", "must be a whole number from 0 on")),
        }
    }

    /// The processor finds the values in the document, where they stay as they were sent.
    fn check_values(&self) -> Result<(), Fault> {
        let values = match self.0.get("values") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(values)) => values,
            Some(Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err(wrong("values", "must be an object of texts"));
            }
        };
        for (name, value) in values {
            // One that is `null` is left out.
            json::text(&format!("values.{name}"), value)?;
        }
        Ok(())
    }
}

fn wrong(field: &str, reason: &str) -> Fault {
    Fault::Field {
        field: field.into(),
        reason: reason.into(),
    }
}
