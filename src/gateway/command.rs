//! The gateway's vocabulary: what callers ask for, what they get, and how it can fail, in words
//! that know neither HTTP nor any dialect.
//!
//! A [`Fault`] is sorted by what the caller can do about it. What a client may see is in
//! [`Fault`]'s own fields; what only the operator may see goes to the log where the fault is
//! made. No field of a `Fault` ever holds a path of the server.

use crate::job::{InterfaceName, JobName, Place, Reference};
use crate::joblog::JobLog;
use crate::xml::Finding;
use bytes::Bytes;

/// What a caller wants. Everything but [`Command::Submit`] is answered by `Gateway::execute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A job's bytes, or their transformation by a stylesheet. `head`: only what they would be.
    Fetch {
        interface: InterfaceName,
        job: JobName,
        stylesheet: Option<String>,
        head: bool,
    },
    /// The names of the jobs that wait in an interface, oldest first.
    List { interface: InterfaceName },
    /// What happened to a job.
    Log {
        interface: Option<InterfaceName>,
        job: JobName,
    },
    /// Where a job is.
    Status { job: JobName },
    /// A new job; its body follows. Handled by `Gateway::admit`, which gives an `Upload`.
    Submit(Submit),
}

/// What is known of a new job before its body has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submit {
    /// `None`: recognised by the root element among the interfaces that accept uploads.
    pub interface: Option<InterfaceName>,
    pub reference: Option<Reference>,
    /// The submitter's `Idempotency-Key`, as sent.
    pub idempotency_key: Option<String>,
    pub digests: Digests,
    pub dialect: &'static str,
}

/// What the body must have (`Content-Digest` and `Repr-Digest`, RFC 9530), as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub sha256: Option<[u8; 32]>,
    pub sha512: Option<[u8; 64]>,
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
    /// The job's bytes, unchanged.
    Content(super::Download),
    Jobs(Vec<JobName>),
    Log(JobLog),
    Status(Place),
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
    /// No such job, or not one that this caller may know of: the two look alike.
    UnknownJob { job: String },
}
