//! Spoolgate: partners upload job files over HTTPS, directories are the state, and nothing that was
//! acknowledged is lost.
//!
//! The modules in reading order, each using only those before it:
//!
//! - [`domain`] is the vocabulary: names, ids, places, what happened to a job, and the one function
//!   that knows which moves are legal. It is pure. `util` opens plain files and checks their rights.
//! - [`xml`] says whether a document is well-formed and valid, and transforms it.
//! - [`auth`] says who calls and what they may do.
//! - [`cron_schedule`] says at which moments there are to be jobs.
//! - [`store`] is the only code that moves a job file; it holds the durability protocol. It blocks.
//! - [`scheduler`] decides which job runs when, without files, clock or tasks. `watch` hints where
//!   to look. [`processor`] works on a job and says what became of it. [`worker`] carries out what
//!   the scheduler decides.
//! - [`service`] turns a command of a caller into a reply or a fault, and is where async meets the
//!   store. A dialect in [`api`] translates between it and HTTP, purely. `http` is the server.
//! - [`events`] sends what happened to those who want to know.
//! - [`metrics`] has the instruments by which all of these count what they do.
//! - [`ops`] is what operators do and see: their acts, their socket, and what is wrong.
//! - `ui` is the page in the browser.
//! - [`config`], `log` and `daemon` put it together; [`cli`] is what operators type, [`client`]
//!   what partners do; `assets` is what the binary brings along.
//!
//! Invariant: where a job is, is which directory its file lies in. Nothing else records it.
//!
//! Invariant: success is reported only for what survives a power cut, and a failed sync is final.
//!
//! Invariant: events are hints and a scan decides, so a lost event costs time and never a job.
//!
//! Invariant: no call replaces a job file, and no name is used twice.
//!
//! Invariant: what a client sees and what the log says are separate; no answer holds a path, but what
//! operators are told of the health of their service.
//!
//! `ARCHITECTURE.md` has the table of states and the layers, `docs/internals.md` the protocol step
//! by step and the reasons; `tests/tidy.rs` checks who imports whom.

// Tests say what went wrong by failing.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod api;
pub(crate) mod assets;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod cron_schedule;
pub(crate) mod daemon;
pub mod domain;
pub mod events;
pub(crate) mod http;
pub(crate) mod log;
pub mod metrics;
pub mod ops;
pub mod peer;
pub mod processor;
pub mod scheduler;
pub mod service;
pub mod store;
pub(crate) mod ui;
pub(crate) mod util;
pub(crate) mod watch;
pub mod worker;
pub mod xml;
