//! The rows: what is compared with what, and what has to be reached.

mod bodies;
mod flood;
mod flushes;
mod idempotency;
mod instructions;
mod interfaces;
mod keys;
mod memory;
mod million;
mod page;
mod processing;
mod queries;
mod restart;
mod slow;
mod tenants;
mod uploads;
mod users;
mod validation;

use crate::{
    context::Context,
    report::Line,
    tools::{CURL, NGINX, Need, STRACE, VALGRIND, WRK},
};
use anyhow::bail;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&Context) -> anyhow::Result<Vec<Line>>,
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "uploads",
        about: "durable uploads of 4 KiB beside nginx PUT and the floor; latency; CPU",
        needs: &[Need::Tool(WRK), Need::Tool(NGINX)],
        run: uploads::run,
    },
    Row {
        name: "flushes",
        about: "flushes of the device per durable upload at 64 connections",
        needs: &[Need::Tool(WRK)],
        run: flushes::run,
    },
    Row {
        name: "syncs",
        about: "sync system calls per durable upload at 64 connections",
        needs: &[Need::Tool(WRK), Need::Tool(STRACE)],
        run: flushes::run_traced,
    },
    Row {
        name: "queries",
        about: "jobstatus and jobqueue of 10 names beside nginx and bare hyper",
        needs: &[Need::Tool(WRK), Need::Tool(NGINX)],
        run: queries::run,
    },
    Row {
        name: "bodies",
        about: "download and upload of 100 MB beside nginx and the floor",
        needs: &[Need::Tool(CURL), Need::Tool(NGINX)],
        run: bodies::run,
    },
    Row {
        name: "validation",
        about: "well-formed and valid by a schema beside libxml2, both in process",
        needs: &[Need::Libxml2],
        run: validation::run,
    },
    Row {
        name: "processed",
        about: "from upload to processed, command that does nothing, 50 jobs/s",
        needs: &[],
        run: processing::run_latency,
    },
    Row {
        name: "processing",
        about: "jobs worked off per second beside a bare loop of fork, exec and wait",
        needs: &[],
        run: processing::run_rate,
    },
    Row {
        name: "million",
        about: "1 000 000 queued jobs beside an empty spool",
        needs: &[Need::Tool(CURL), Need::Tool(WRK)],
        run: million::run,
    },
    Row {
        name: "start",
        about: "start with 1 000 000 jobs in bak and 100 000 queued",
        needs: &[],
        run: million::run_start,
    },
    Row {
        name: "restart",
        about: "how long connections wait while a service with 100 000 queued is stopped and started",
        needs: &[],
        run: restart::run,
    },
    Row {
        name: "interfaces",
        about: "1 000 interfaces beside nine: jobs worked off, restart, status of an unknown name",
        needs: &[],
        run: interfaces::run,
    },
    Row {
        name: "tenants",
        about: "1 000 tenants: start, threads, memory",
        needs: &[],
        run: tenants::run,
    },
    Row {
        name: "users",
        about: "100 000 users: start, memory, one user add",
        needs: &[],
        run: users::run,
    },
    Row {
        name: "idempotency",
        about: "start with 1 000 000 idempotency records",
        needs: &[],
        run: idempotency::run,
    },
    Row {
        name: "page",
        about: "what the page asks for among 1 000 000 jobs and 100 000 failures",
        needs: &[],
        run: page::run,
    },
    Row {
        name: "memory",
        about: "memory when idle, and with 64 uploads of 100 MB at once",
        needs: &[],
        run: memory::run,
    },
    Row {
        name: "keys",
        about: "memory with documents of 95 MB by a schema with xs:unique",
        needs: &[],
        run: keys::run,
    },
    Row {
        name: "flood",
        about: "good users beside a flood of wrong passwords, and beside as many right ones",
        needs: &[],
        run: flood::run,
    },
    Row {
        name: "slow",
        about: "good users beside 2 000 slow, silent, half-open and malformed clients, and as many right ones",
        needs: &[],
        run: slow::run,
    },
    Row {
        name: "instructions",
        about: "instructions per request, counted by callgrind",
        needs: &[Need::Tool(VALGRIND)],
        run: instructions::run,
    },
];

/// The rows whose names begin with one of `names`, in their own order; all if there are none.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    let is_meant = |row: &Row, name: &String| row.name.starts_with(name.as_str());
    for name in names {
        if !ROWS.iter().any(|row| is_meant(row, name)) {
            let all: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            bail!("there is no row {name:?}; there are: {}", all.join(", "));
        }
    }
    let wanted = |row: &&Row| names.is_empty() || names.iter().any(|name| is_meant(row, name));
    Ok(ROWS.iter().filter(wanted).collect())
}
