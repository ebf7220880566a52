//! Spoolgate: partners upload job files over HTTPS, directories are the state, and nothing that was
//! acknowledged is lost.
//!
//! The modules in reading order, each using only those before it:
//!
//! - [`job`] is the vocabulary: names, ids, places, and the one function that knows which moves
//!   are legal. [`joblog`] is what happened to a job. Both are pure.
//! - [`modes`] says who may read and write what the service trusts, [`plain`] reads small files.
//! - [`xml`] says whether a document is well-formed and valid, and transforms it.
//! - [`auth`] says who calls and what they may do.
//! - [`timetable`] says at which moments there are to be jobs, by the expressions of [`cron`].
//! - [`spool`] is the only code that moves a job file; it holds the durability protocol. It blocks.
//! - [`schedule`] decides which job runs when, without files, clock or tasks. [`watch`] hints where
//!   to look. [`processor`] works on a job and says what became of it. [`worker`] carries out what
//!   the schedule decides.
//! - [`gateway`] turns a command of a caller into a reply or a fault, and is where async meets the
//!   spool. A [`dialect`] translates between it and HTTP, purely. [`http`] is the server.
//! - [`admin`] is what operators do to a spool, [`control`] their way into a running service.
//! - [`health`] says what keeps partners from being served, for the probes and for operators.
//! - [`config`], [`log`] and [`daemon`] put it together; [`cli`] is what operators type, [`client`]
//!   what partners do; [`shipped`] is what the binary brings along.
//!
//! Invariant: where a job is, is which directory its file lies in. Nothing else records it.
//!
//! Invariant: a success is told only of what survives a power cut, and a failed sync is final.
//!
//! Invariant: events are hints and a scan decides, so a lost event costs time and never a job.
//!
//! Invariant: no call replaces a job file, and no name is used twice.
//!
//! Invariant: what a client sees and what the log says are separate; no answer holds a path.
//!
//! `ARCHITECTURE.md` has the table of states and the layers, `docs/internals.md` the protocol step
//! by step and the reasons; `tests/tidy.rs` checks who imports whom.

// Tests say what went wrong by failing.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod cron;
pub mod daemon;
pub mod dialect;
pub mod gateway;
pub mod health;
pub mod http;
pub mod job;
pub mod joblog;
pub mod log;
pub mod modes;
pub mod peer;
pub mod plain;
pub mod processor;
pub mod schedule;
pub mod shipped;
pub mod spool;
pub mod timetable;
pub mod watch;
pub mod worker;
pub mod xml;
