//! The partner's side: `spoolgate push`, `spoolgate poll` and `spoolgate validate --url`.
//!
//! It speaks the dStore dialect over HTTPS and knows nothing of the spool or the gateway: what it
//! promises holds against any server that keeps the dStore contract. And beside them [`Receiver`],
//! by which a processor posts a job to a URL.
//!
//! [`push()`] uploads files so that trying again, also after a crash, makes no second job.
//! [`poll()`] fetches what is new into a directory: whole files only, none twice, none lost. [`validate()`] asks
//! what is wrong with a document, and nothing of it is kept.

mod call;
mod connect;
mod poll;
mod post;
mod push;
mod request;
mod retry;
#[cfg(test)]
mod stub;
mod trust;
mod validate;

pub use call::{Answer, call};
pub use connect::{ClientError, Endpoint, Login};
pub use poll::{PollOptions, poll};
pub use post::{Answered, Body, PostError, Posting, Receiver};
pub use push::{PushOptions, PushSummary, push};
pub use trust::{Trust, tls_config};
pub use validate::{Judgement, Mistake, validate};
