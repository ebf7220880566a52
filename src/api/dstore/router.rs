//! Request head → command.
//!
//! What parsing yields is well-formed, not yet known: whether an interface or a job exists is the
//! gateway's to say. A name that could not exist gets the same fault as one that does not.

use super::{ROOT, digest, parameters::Parameters};
use crate::{
    api::{Intake, headers::idempotency_key},
    domain::{InterfaceName, JobName, JobOptions, Reference, spaced},
    service::{Command, DocumentFormat, Fault, Submit},
};
use http::{HeaderMap, Method, header::CONTENT_TYPE, request::Parts};

/// Longest form in a body: two names and a stylesheet take less than 1 KiB.
const FORM_BYTES_MAX: u64 = 64 * 1024;
/// Longest part of a reference that is kept as it was sent.
const REFERENCE_CHARS_MAX: usize = 200;
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Job,
    JobLog,
    JobQueue,
    JobStatus,
    Upload,
    Validate,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path.strip_prefix(ROOT)? {
            "/job" => Some(Self::Job),
            "/joblog" => Some(Self::JobLog),
            "/jobqueue" => Some(Self::JobQueue),
            "/jobstatus" => Some(Self::JobStatus),
            "/upload" => Some(Self::Upload),
            "/validate" => Some(Self::Validate),
            _ => None,
        }
    }

    fn check(self, method: &Method) -> Result<(), Fault> {
        let allow = match self {
            Self::Job => "GET, HEAD, POST",
            Self::JobLog | Self::JobQueue | Self::JobStatus => "GET, POST",
            Self::Upload | Self::Validate => "POST",
        };
        if allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return Ok(());
        }
        Err(Fault::MethodNotAllowed { allow })
    }
}

pub(super) fn intake(head: &Parts) -> Intake {
    match Route::of(head.uri.path()) {
        Some(Route::Job | Route::JobLog | Route::JobQueue | Route::JobStatus)
            if head.method == Method::POST =>
        {
            Intake::Small {
                bytes_max: FORM_BYTES_MAX,
            }
        }
        Some(_) | None => Intake::Stream,
    }
}

pub(super) fn parse(head: &Parts, form: &[u8]) -> Result<Command, Fault> {
    let route = Route::of(head.uri.path()).ok_or(Fault::NoSuchPath)?;
    route.check(&head.method)?;
    if !form.is_empty() && !may_be_form(&head.headers) {
        let reason = format!("the body's content type must be {FORM_TYPE}");
        return Err(Fault::Invalid { reason });
    }
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let parameters = Parameters::parse(&[query, form])?;
    match route {
        Route::Job => Ok(Command::Fetch {
            interface: interface(parameters.required("Interfacename")?)?,
            job: job(parameters.required("Jobname")?)?,
            stylesheet: parameters.optional("xslt")?.map(stylesheet).transpose()?,
            head: head.method == Method::HEAD,
        }),
        Route::JobLog => Ok(Command::Log {
            interface: optional_interface(&parameters)?,
            job: job(parameters.required("Jobname")?)?,
        }),
        Route::JobQueue => Ok(Command::List {
            interface: interface(parameters.required("Interfacename")?)?,
        }),
        Route::JobStatus => Ok(Command::Status {
            job: job(parameters.required("Jobname")?)?,
        }),
        Route::Upload => submit(head, &parameters, false),
        Route::Validate => submit(head, &parameters, true),
    }
}

fn submit(head: &Parts, parameters: &Parameters, only_check: bool) -> Result<Command, Fault> {
    let sent = parameters.optional("RefName")?;
    Ok(Command::Submit(Submit {
        interface: optional_interface(parameters)?,
        reference: sent.and_then(Reference::of_text),
        reference_as_sent: sent.filter(|sent| !sent.is_empty()).map(kept_as_sent),
        only_check,
        idempotency_key: idempotency_key(&head.headers)?,
        digests: digest::expected(&head.headers)?,
        dialect: "dstore",
        document: DocumentFormat::Xml,
        options: JobOptions::default(),
    }))
}

/// What is kept of a reference as it was sent: one line of it, and no more than anyone reads.
fn kept_as_sent(sent: &str) -> Box<str> {
    let line = spaced(sent).take(REFERENCE_CHARS_MAX);
    line.collect::<String>().into()
}

/// A body without a type is taken for a form; one of another type would be misread as one.
fn may_be_form(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = given.to_str().unwrap_or_default().split(';').next();
    essence
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(FORM_TYPE)
}

fn optional_interface(parameters: &Parameters) -> Result<Option<InterfaceName>, Fault> {
    parameters
        .optional("Interfacename")?
        .map(interface)
        .transpose()
}

fn interface(text: &str) -> Result<InterfaceName, Fault> {
    text.parse().map_err(|_| Fault::UnknownInterface {
        interface: text.into(),
    })
}

fn job(text: &str) -> Result<JobName, Fault> {
    text.parse()
        .map_err(|_| Fault::UnknownJob { job: text.into() })
}

/// A stylesheet's name, without extension: nothing that a path would interpret.
fn stylesheet(text: &str) -> Result<String, Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.starts_with('.') || !text.bytes().all(allowed) {
        let reason =
            format!("unknown stylesheet {text}; xslt takes a name without extension and path");
        return Err(Fault::Invalid { reason });
    }
    Ok(text.into())
}
