//! A hundred thousand users. Bounds and not ratios: there is nothing to compare them with but what
//! an operator waits and pays for.

use crate::{
    context::Context,
    process,
    report::{Line, Target},
    server::Site,
    stats,
};
use anyhow::{Context as _, ensure};
use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

const N_USERS: usize = 100_000;
const N_USERS_QUICK: usize = 10_000;
const PAUSE: Duration = Duration::from_secs(3);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_users = context.choose(N_USERS, N_USERS_QUICK);
    let site = Site::new(&context.binary, "users")?;
    add_users(&site, n_users)?;
    let (mut start_s, mut resident, mut most) = (Vec::new(), Vec::new(), Vec::new());
    let mut add_s = Vec::new();
    for round in 0..context.rounds {
        context.settle()?;
        let begun = Instant::now();
        let server = site.start()?;
        start_s.push(begun.elapsed().as_secs_f64());
        std::thread::sleep(PAUSE);
        resident.push(process::mebibytes(server.pid(), "VmRSS")? * 1.048_576);
        most.push(process::mebibytes(server.pid(), "VmHWM")? * 1.048_576);
        let name = format!("added-{round}");
        let begun = Instant::now();
        let added = site.command(&["user", "add", &name]).output()?;
        add_s.push(begun.elapsed().as_secs_f64());
        let errors = String::from_utf8_lossy(&added.stderr);
        ensure!(added.status.success(), "user add: {errors}");
        server.stop()?;
        eprintln!(
            "  round {}/{}: start {} s, {:.0} MB, user add {} s",
            round + 1,
            context.rounds,
            stats::short(start_s[round]),
            resident[round],
            stats::short(add_s[round])
        );
    }
    let what = format!("{n_users} users");
    let start = Line::new(format!("{what}: start"), Target::AtMost(1.0), start_s);
    let memory = Line::new(format!("{what}: memory"), Target::AtMost(150.0), resident);
    let add = Line::new(format!("{what}: one user add"), Target::AtMost(0.1), add_s);
    Ok(vec![
        start.unit("s").must().note("to the first listening line"),
        memory
            .unit("MB")
            .must()
            .side("the most so far", &most, "MB")
            .note("resident, 3 s after the start"),
        add.unit("s").must().note(
            "the whole command beside a running service, the password made for it and its \
             Argon2id hash being a part of it",
        ),
    ])
}

/// With the password of the first one: hashes of their own would take an hour.
fn add_users(site: &Site, n_users: usize) -> anyhow::Result<()> {
    let path = site.dir().join("users.toml");
    let mut text = fs::read_to_string(&path)?;
    let password = text.lines().find(|line| line.starts_with("password = "));
    let password = password.context("init writes no password")?.to_owned();
    for n in 1..n_users {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[users.\"partner-{n:06}\"]\n{password}\nrights.plain = [\"upload\", \"list\"]\n"
        );
    }
    // Into the file that is there, which keeps its mode.
    fs::write(&path, text).context("users.toml")
}
