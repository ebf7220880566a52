//! A thousand tenants with an interface each. Bounds and not ratios: there is nothing to compare
//! them with but what an operator waits and pays for.

use crate::{
    context::Context,
    process,
    report::{Line, Target},
    scratch,
    server::Site,
};
use anyhow::ensure;
use std::{
    fmt::Write,
    time::{Duration, Instant},
};

const N_TENANTS: usize = 1000;
const N_TENANTS_QUICK: usize = 20;
/// What a tenant may take on the disk before the first job.
const TENANT_BYTES_MAX: u64 = 80 << 20;
const PAUSE: Duration = Duration::from_secs(3);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_tenants = context.choose(N_TENANTS, N_TENANTS_QUICK);
    ensure!(
        scratch::room()? > n_tenants as u64 * TENANT_BYTES_MAX,
        "{n_tenants} tenants may need {} GB on the disk, which is not there; --dir names another",
        n_tenants as u64 * TENANT_BYTES_MAX / 1_000_000_000
    );
    let mut tenants = String::new();
    for n in 0..n_tenants {
        // Writing to a string cannot fail.
        let _ = write!(
            tenants,
            "\n[tenants.t{n}]\nhosts = [\"t{n}.example\"]\nroot = \"t{n}\"\nusers = \"users.toml\"\n\
             [tenants.t{n}.interfaces.plain]\ndirection = \"in\"\nroot = \"Plain\"\nschema = \"\"\n"
        );
    }
    let site = Site::with(&context.binary, "tenants", &tenants)?;
    // The first start makes the spools, which is the disk's work.
    let begun = Instant::now();
    site.start()?.stop()?;
    let first_s = begun.elapsed().as_secs_f64();
    let (mut start_s, mut threads, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds.min(3) {
        context.settle()?;
        let begun = Instant::now();
        let server = site.start()?;
        start_s.push(begun.elapsed().as_secs_f64());
        std::thread::sleep(PAUSE);
        threads.push(process::status(server.pid(), "Threads")?);
        resident.push(process::mebibytes(server.pid(), "VmRSS")? * 1.048_576);
        server.stop()?;
        eprintln!(
            "  round {}: {:.2} s, {} threads, {:.0} MB",
            round + 1,
            start_s[round],
            threads[round],
            resident[round]
        );
    }
    let what = format!("{n_tenants} tenants");
    let start = Line::new(format!("{what}: start"), Target::AtMost(5.0), start_s);
    let threads = Line::new(format!("{what}: threads"), Target::AtMost(50.0), threads);
    let memory = Line::new(format!("{what}: memory"), Target::AtMost(300.0), resident);
    Ok(vec![
        start
            .unit("s")
            .side("the first, which makes the spools", &[first_s], "s")
            .note("to the first listening line, the spools being there"),
        threads.unit(""),
        memory.unit("MB").note("resident, 3 s after the start"),
    ])
}
