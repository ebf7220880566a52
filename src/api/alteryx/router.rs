//! Request head and body → command.

use crate::{
    api::{headers::idempotency_key, json, oauth, percent},
    domain::{InterfaceName, JobOptions, PriorityError, WorkerTagError},
    service::{
        Command, DocumentFormat, Fault, JobRef, JsonCheck, PageRequest, Sort, State, Submit,
        Visibility,
    },
};
use hex::FromHex;
use http::{Method, request::Parts};
use serde_json::{Map, Value};

/// A job without a request.
const EMPTY: &str = "{}";
/// The request's own members, and those of each question, are given once.
const ONCE_LEVELS: usize = 3;
/// Most jobs in an answer; a client that wants more asks again with an `offset`.
const JOBS_MAX: usize = 1000;

/// What a path names. The texts are as the client wrote them, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Job(String),
    /// Of a workflow.
    Jobs(String),
    Messages(String),
    /// Of a job.
    Output(String, String),
    /// Of a workflow.
    Questions(String),
    Token,
    Workflow(String),
    Workflows,
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        // Public clients join `/webapi/` and `/v3/`: a doubled slash counts as one.
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments: Result<Vec<_>, _> = segments.map(percent::decoded).collect();
        let segments = segments.ok()?;
        let lower: Vec<String> = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let given = |at: usize| segments[at].clone().into_owned();
        match lower[..] {
            ["webapi", "oauth2", "token"] => Some(Self::Token),
            ["webapi", V1 | V3, "jobs", _] => Some(Self::Job(given(3))),
            ["webapi", V1 | V3, "jobs", _, "messages"] => Some(Self::Messages(given(3))),
            ["webapi", V1 | V3, "jobs", _, "output", _] => Some(Self::Output(given(3), given(5))),
            ["webapi", V1, "workflows", "subscription"] => Some(Self::Workflows),
            ["webapi", V3, "workflows"] => Some(Self::Workflows),
            ["webapi", V3, "workflows", _] => Some(Self::Workflow(given(3))),
            ["webapi", V1 | V3, "workflows", _, "jobs"] => Some(Self::Jobs(given(3))),
            ["webapi", V1 | V3, "workflows", _, "questions"] => Some(Self::Questions(given(3))),
            _ => None,
        }
    }
}

/// The versions of the API, as they stand in paths.
const V1: &str = "v1";
const V3: &str = "v3";

/// Is the path one of the older version, whose jobs have a `createDate`?
pub(super) fn is_v1(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    segments
        .nth(1)
        .is_some_and(|version| version.eq_ignore_ascii_case(V1))
}

pub(super) fn parse(head: &Parts, body: &[u8]) -> Result<Command, Fault> {
    let get = matches!(head.method, Method::GET | Method::HEAD);
    let not_allowed = |allow| Err(Fault::MethodNotAllowed { allow });
    let job = |job: &str| {
        let hex = FromHex::from_hex(job).map(JobRef::Hex);
        hex.map_err(|_| Fault::UnknownJob { job: job.into() })
    };
    match Route::of(head.uri.path()).ok_or(Fault::NoSuchPath)? {
        Route::Job(id) if get => {
            with_messages(head)?;
            Ok(Command::Show {
                job: job(&id)?,
                visibility: Visibility::Own,
            })
        }
        Route::Job(id) if head.method == Method::DELETE => Ok(Command::Cancel { job: job(&id)? }),
        Route::Job(_) => not_allowed("GET, HEAD, DELETE"),
        Route::Jobs(workflow) if get => jobs(head, &workflow),
        Route::Jobs(workflow) if head.method == Method::POST => submit(head, &workflow, body),
        Route::Jobs(_) => not_allowed("GET, HEAD, POST"),
        Route::Messages(id) if get => Ok(Command::Show {
            job: job(&id)?,
            visibility: Visibility::Curator,
        }),
        Route::Output(id, output) if get => {
            let format = parameter(head, "format")?;
            if format.is_some_and(|format| !format.eq_ignore_ascii_case("Raw")) {
                return Err(field("format", "use Raw"));
            }
            let number = <[u8; 12]>::from_hex(&output).ok().and_then(number);
            Ok(Command::Result {
                job: job(&id)?,
                number: number.ok_or(Fault::NoSuchPath)?,
                visibility: Visibility::Own,
            })
        }
        Route::Workflows if get => {
            name_filter(head)?;
            Ok(Command::Targets { interface: None })
        }
        Route::Workflow(workflow) | Route::Questions(workflow) if get => Ok(Command::Targets {
            interface: Some(interface(&workflow)?),
        }),
        Route::Messages(_)
        | Route::Output(..)
        | Route::Questions(_)
        | Route::Workflow(_)
        | Route::Workflows => not_allowed("GET, HEAD"),
        // There are no scopes here: public clients send some and mean all.
        Route::Token if head.method == Method::POST => {
            oauth::parse(head, body, oauth::Scopes::Ignored)
        }
        Route::Token => not_allowed("POST"),
    }
}

fn number(id: [u8; 12]) -> Option<usize> {
    let number = id
        .iter()
        .fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
    usize::try_from(number).ok()
}

fn field(field: &str, reason: impl Into<String>) -> Fault {
    Fault::Field {
        field: field.into(),
        reason: reason.into(),
    }
}

/// A parameter of the query; one without a value counts as left out.
fn parameter(head: &Parts, name: &str) -> Result<Option<String>, Fault> {
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let mut given =
        form_urlencoded::parse(query).filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (given.next(), given.next()) {
        (Some((_, value)), None) => Ok(Some(value.into_owned()).filter(|value| !value.is_empty())),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(field(name, "is given twice")),
    }
}

/// Does the client want a job's messages with it? Source: the Alteryx contract, `includeMessages`.
pub(super) fn with_messages(head: &Parts) -> Result<bool, Fault> {
    let given = parameter(head, "includeMessages")?;
    match given.map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(field("includeMessages", "use true or false")),
    }
}

/// The one name of workflows that the client wants to see.
pub(super) fn name_filter(head: &Parts) -> Result<Option<String>, Fault> {
    parameter(head, "name")
}

fn jobs(head: &Parts, workflow: &str) -> Result<Command, Fault> {
    let count = |name| {
        let given = parameter(head, name)?;
        let parsed = given.map(|text| text.parse::<u32>()).transpose();
        let parsed = parsed.map_err(|_| field(name, "must be a number from 0 on"))?;
        Ok(parsed.and_then(|count| usize::try_from(count).ok()))
    };
    let states = states(head)?;
    let limit = match &states {
        // None that can be: no job, where no states at all would be any job.
        Some(states) if states.is_empty() => 0,
        Some(_) | None => count("limit")?.unwrap_or(JOBS_MAX).min(JOBS_MAX),
    };
    let page = PageRequest {
        offset: count("offset")?.unwrap_or(0),
        limit: Some(limit),
        sort: chosen(head, "sortField", SORTS)?.unwrap_or_default(),
        descending: chosen(head, "direction", DIRECTIONS)?.unwrap_or_default(),
        states: states.unwrap_or_default(),
    };
    Ok(Command::Jobs {
        interface: interface(workflow)?,
        page,
        visibility: Visibility::Own,
    })
}

const SORTS: &[(&str, Sort)] = &[
    ("id", Sort::Arrival),
    ("createDate", Sort::Arrival),
    ("createDateTime", Sort::Arrival),
    ("priority", Sort::Priority),
    ("status", Sort::State),
    ("workerTag", Sort::Worker),
];
const DIRECTIONS: &[(&str, bool)] = &[("asc", false), ("desc", true)];
/// Beside the names of the contract those that jobs are shown with.
const STATUSES: &[(&str, &[State])] = &[
    ("Complete", &[State::Done, State::Failed]),
    ("Error", &[State::Failed]),
    ("Running", &[State::Running]),
    ("Queued", &[State::Waiting]),
    ("Completed", &[State::Done, State::Failed]),
    ("Cancelled", &[State::Cancelled]),
];
/// The dispositions that jobs are shown with.
const RESULT_CODES: &[(&str, &[State])] = &[
    ("Success", &[State::Done]),
    ("Error", &[State::Failed]),
    ("None", &[State::Waiting, State::Running, State::Cancelled]),
];

/// The value that a parameter chooses, if it is given.
fn chosen<T: Copy>(head: &Parts, name: &str, all: &[(&str, T)]) -> Result<Option<T>, Fault> {
    let Some(given) = parameter(head, name)? else {
        return Ok(None);
    };
    let found = (all.iter()).find(|(known, _)| known.eq_ignore_ascii_case(&given));
    match found {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let names: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            Err(field(name, format!("use one of {}", names.join(", "))))
        }
    }
}

/// The states that the query leaves; `None`: it leaves all.
fn states(head: &Parts) -> Result<Option<Vec<State>>, Fault> {
    let status = chosen(head, "status", STATUSES)?;
    let result = chosen(head, "resultCode", RESULT_CODES)?;
    Ok(match (status, result) {
        (None, None) => None,
        (Some(states), None) | (None, Some(states)) => Some(states.to_vec()),
        (Some(states), Some(result)) => {
            let both = states.iter().filter(|state| result.contains(state));
            Some(both.copied().collect())
        }
    })
}

fn interface(workflow: &str) -> Result<InterfaceName, Fault> {
    workflow.parse().map_err(|_| Fault::UnknownInterface {
        interface: workflow.into(),
    })
}

fn submit(head: &Parts, workflow: &str, body: &[u8]) -> Result<Command, Fault> {
    Ok(Command::Submit(Submit {
        interface: Some(interface(workflow)?),
        idempotency_key: idempotency_key(&head.headers)?,
        dialect: "alteryx",
        document: DocumentFormat::Json {
            check: JsonCheck(json::check),
            empty: Some(EMPTY),
        },
        options: options(&json::object(body, ONCE_LEVELS)?)?,
        ..Submit::default()
    }))
}

fn options(body: &Map<String, Value>) -> Result<JobOptions, Fault> {
    questions(member(body, "questions")?)?;
    let text = |name| match member(body, name)? {
        Some(value) => json::text(name, value).map(|text| text.filter(|text| !text.is_empty())),
        None => Ok(None),
    };
    // Nothing here has credentials of its own.
    text("credentialId")?;
    let priority = text("priority")?.map(|text| text.parse());
    let worker = text("workerTag")?.map(|text| text.parse());
    Ok(JobOptions {
        priority: priority
            .transpose()
            .map_err(|e: PriorityError| field("priority", e.to_string()))?
            .unwrap_or_default(),
        worker: worker
            .transpose()
            .map_err(|e: WorkerTagError| field("workerTag", e.to_string()))?,
        ..JobOptions::default()
    })
}

/// A member of an object, in whatever case its name is written.
fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Result<Option<&'v Value>, Fault> {
    let mut given = (object.iter()).filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (given.next(), given.next()) {
        (Some((_, value)), None) => Ok(Some(value)),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(field(name, "is given twice")),
    }
}

/// Each question has a name, and a value that is for the processor to understand.
fn questions(given: Option<&Value>) -> Result<(), Fault> {
    let questions = match given {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(questions)) => questions,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(field("questions", "must be an array of {name, value}"));
        }
    };
    for (at, question) in questions.iter().enumerate() {
        let Value::Object(question) = question else {
            return Err(field(&format!("questions[{at}]"), "must be {name, value}"));
        };
        let name = member(question, "name")?.and_then(Value::as_str);
        if name.is_none_or(str::is_empty) {
            return Err(field(&format!("questions[{at}].name"), "must be a text"));
        }
        member(question, "value")?;
    }
    Ok(())
}
