//! The integration tests: one binary that starts the real server, each test with its own spool.

// The lint spares test functions, but not what they share; here all of it is for tests.
#![allow(clippy::unwrap_used)]

mod addressed;
mod audit;
mod browser;
mod bulk;
mod cancel;
mod clients;
mod clock;
mod contract;
mod control;
mod crash;
mod database;
mod dialects;
mod events;
mod expect;
mod fsck;
mod full_disk;
mod harness;
mod json_lines;
mod lifecycle;
mod limits;
mod live;
mod logging;
mod metrics;
mod operators;
mod overview;
mod page;
mod partner;
mod partners;
mod plain_files;
mod posting;
mod power;
mod processors;
mod readiness;
mod reloading;
mod scale;
mod schedules;
mod security;
mod service_manager;
mod snapshot;
mod terms;
mod tokens;
mod turns;
mod unit;
mod users;
mod validating;
mod watching;
