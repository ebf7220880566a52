//! The service's vocabulary: what callers ask for, what they get, and how it can fail, in words
//! that know neither HTTP nor any dialect.
//!
//! A [`Fault`] is sorted by what the caller can do about it. What a client may see is in
//! [`Fault`]'s own fields; what only the operator may see goes to the log where the fault is
//! made. No field of a `Fault` ever holds a path of the server.

use super::targets::Target;
use super::view::View;
use crate::cron_schedule::ScheduleSpec;
use crate::domain::joblog::JobLog;
use crate::domain::{Digests, InterfaceName, JobName, JobOptions, Place, Reference};
use crate::store::State;
use crate::xml::Finding;
use bytes::Bytes;
use std::{fmt, io};

/// What a caller wants. Everything but [`Command::Submit`] and [`Command::Token`] is answered by
/// `Service::execute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// An end to a job that waits or runs. For its submitter and curators.
    Cancel { job: JobRef },
    /// A job's bytes, or their transformation by a stylesheet. `head`: only what they would be.
    Fetch {
        interface: InterfaceName,
        job: JobName,
        stylesheet: Option<String>,
        head: bool,
    },
    /// The jobs of an interface, whatever became of them.
    Jobs {
        interface: InterfaceName,
        page: PageRequest,
        visibility: Visibility,
    },
    /// The names of the jobs that wait in an interface, oldest first.
    List { interface: InterfaceName },
    /// What happened to a job.
    Log {
        interface: Option<InterfaceName>,
        job: JobName,
    },
    /// A file that the processor made of a job; by its place among them, counted from 0.
    Result {
        job: JobRef,
        number: usize,
        visibility: Visibility,
    },
    /// Jobs at moments to come. Handled by `Service::schedule`, which gets the document as well.
    Schedule(Box<ScheduleRequest>),
    /// All that is known of a job, or of a schedule and its latest job.
    Show { job: JobRef, visibility: Visibility },
    /// Where a job is.
    Status { job: JobName },
    /// The interface, or all, that the caller may send JSON jobs to.
    Targets { interface: Option<InterfaceName> },
    /// A new job; its body follows. Handled by `Service::admit`, which gives an `Upload`.
    Submit(Submit),
    /// A bearer token. Handled where the users are known.
    Token(TokenRequest),
}

/// How a client names a job. All but the name are views of its id, and sealed: what was not given
/// out by this tenant is an unknown job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRef {
    /// 24 hexadecimal digits.
    Hex([u8; 12]),
    Name(JobName),
    /// The id itself. With a `runner`, which is a capability for this one job, no right is needed.
    Task {
        id: u64,
        runner: Option<String>,
    },
    Uuid(uuid::Uuid),
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(bytes) => f.write_str(&hex::encode(bytes)),
            Self::Name(name) => name.fmt(f),
            Self::Task { id, .. } => id.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

/// Which jobs a caller is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Every job, and only to curators; others are told that it is forbidden.
    Curator,
    /// Those of interfaces on which the caller has a right.
    Interface,
    /// Those that the caller submitted; to curators all.
    Own,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Jobs to leave out at the beginning.
    pub offset: usize,
    /// Jobs to show at most.
    pub limit: Option<usize>,
    pub sort: Sort,
    pub descending: bool,
    /// Only jobs in one of these states; empty: in any.
    pub states: Vec<State>,
}

/// What a list is sorted by. Jobs that are alike in it are in the order of their arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Arrival,
    Priority,
    State,
    Worker,
}

/// A client that asks for a bearer token: in the credentials of the request, or here.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Id and secret.
    pub client: Option<(String, String)>,
    /// None: not limited to any.
    pub scopes: Vec<String>,
}

/// Without the secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.as_ref().map(|(id, _)| id);
        write!(f, "TokenRequest({client:?}, {:?})", self.scopes)
    }
}

/// What is known of a new job before its body has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submit {
    /// `None`: recognised by the root element among the interfaces that accept uploads.
    pub interface: Option<InterfaceName>,
    pub reference: Option<Reference>,
    /// What the reference was made from.
    pub reference_as_sent: Option<Box<str>>,
    /// Only whether the document would be accepted is asked for: nothing is kept.
    pub only_check: bool,
    /// The submitter's `Idempotency-Key`, as sent.
    pub idempotency_key: Option<String>,
    /// What the body must have.
    pub digests: Digests,
    pub dialect: &'static str,
    pub document: DocumentFormat,
    pub options: JobOptions,
}

/// A job that is to be made at moments to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRequest {
    /// Of each job.
    pub submit: Submit,
    /// When.
    pub spec: ScheduleSpec,
}

/// What a body has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentFormat {
    /// JSON, kept as it was sent. Only for an interface that is named and takes any document.
    Json {
        check: JsonCheck,
        /// What an empty body stands for; `None`: an empty body is refused.
        empty: Option<&'static str>,
    },
    /// XML, validated by the schema of its interface.
    #[default]
    Xml,
}

/// Reads a whole body and says what is wrong with it.
#[derive(Clone, Copy)]
pub struct JsonCheck(pub fn(&mut dyn io::Read) -> Result<(), String>);

impl PartialEq for JsonCheck {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for JsonCheck {}

impl fmt::Debug for JsonCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonCheck")
    }
}

/// The answer to a [`Command`].
#[derive(Debug)]
pub enum Reply {
    /// The job would survive a power cut from now on. `replayed`: this is the first answer again.
    Accepted {
        job: JobName,
        interface: InterfaceName,
        bytes: u64,
        sha256: String,
        replayed: bool,
    },
    /// The job has been cancelled, and that would survive a power cut.
    Cancelled {
        job: JobName,
        /// It ran; else it waited.
        was_running: bool,
    },
    /// The job's bytes, unchanged.
    Content(super::Download),
    /// A JSON job, which would survive a power cut from now on. `replayed`: this is the answer to
    /// a repeated request.
    Created {
        view: Box<View>,
        replayed: bool,
    },
    Jobs(Vec<JobName>),
    Log(JobLog),
    /// A file that the processor made of a job.
    Result {
        job: JobName,
        download: super::Download,
    },
    /// The schedule would survive a power cut from now on.
    Scheduled {
        uuid: String,
    },
    Shown(Box<View>),
    /// A schedule: its latest job, if it has made one, and its next moment, if there is one.
    ShownSchedule {
        uuid: String,
        latest: Option<Box<View>>,
        next_ms: Option<i64>,
    },
    /// A list, without what logs and results say.
    Shows(Vec<View>),
    Status(Place),
    /// The one that was asked for, or all, by name.
    Targets(Vec<Target>),
    Token {
        access_token: String,
        expires_in_s: u64,
        scopes: Vec<String>,
    },
    /// The document would have been accepted, as one of this interface.
    Valid {
        interface: InterfaceName,
    },
    /// The job's bytes, transformed. `head`: answer without the body.
    Transformed {
        content_type: String,
        body: Bytes,
        head: bool,
        completion: Option<super::Completion>,
    },
}

/// How a command fails, by what the caller can do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The same request can succeed later. `reason` is shown to the client.
    Busy { retry_after_s: u32, reason: String },
    /// The job is not in a state for that.
    Conflict { reason: String },
    /// A named part of the request is wrong. `reason` is shown to the client.
    Field { field: String, reason: String },
    /// The caller has no right to this.
    Forbidden { reason: String },
    /// Our mistake or a broken stylesheet: the log has the details, the client gets none.
    Internal,
    /// Other parameters can succeed. `reason` is shown to the client.
    Invalid { reason: String },
    /// This method is not for this path; `allow` lists those that are.
    MethodNotAllowed { allow: &'static str },
    /// No such path.
    NoSuchPath,
    /// The document would be refused for these; nothing was kept.
    NotValid { findings: Vec<Finding> },
    /// The document was kept in `joberrors` under `job`; these are its mistakes.
    Refused {
        job: JobName,
        sha256: String,
        findings: Vec<Finding>,
    },
    /// The client took too long to send its request.
    TimedOut,
    /// The body is larger than `bytes_max`.
    TooLarge { bytes_max: u64 },
    /// Too many requests of this kind from this user or address.
    TooMany { retry_after_s: u32, reason: String },
    /// No credentials, or wrong ones.
    Unauthorized,
    /// The processor made no such file of this job.
    UnknownFile { job: String, number: usize },
    /// No such interface.
    UnknownInterface { interface: String },
    /// No such job, or not one that this caller may know of: the two look alike.
    UnknownJob { job: String },
    /// No such tenant.
    UnknownTenant { tenant: String },
    /// The body is surely not the document itself. `is_encoded`: it is encoded in a way that is
    /// not read.
    Unsupported { is_encoded: bool, reason: String },
}
