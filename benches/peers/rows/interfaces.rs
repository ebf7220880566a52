//! A thousand interfaces beside nine: what an interface costs those who do not use it.

use super::processing::work_off;
use crate::{
    client::{Client, request},
    context::Context,
    report::{Line, Target},
    server::Site,
    stats::{self, ratios},
};
use anyhow::ensure;
use std::{fmt::Write, time::Instant};

/// What `init` writes, and what the other rows need.
const FEW: usize = 9;
const MANY: usize = 1000;
const MANY_QUICK: usize = 100;
const N_JOBS: usize = 400;
const N_JOBS_QUICK: usize = 40;
const N_QUESTIONS: usize = 500;
const N_QUESTIONS_QUICK: usize = 50;
/// Nobody has ever sent it.
const UNKNOWN: &str = "/xml/jobstatus?Jobname=20251122T045748.123Z-00042.xml";

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let many = context.choose(MANY, MANY_QUICK);
    let mut more = String::new();
    for n in FEW..many {
        // Writing to a string cannot fail.
        let _ = write!(
            more,
            "\n[interfaces.x{n}]\ndirection = \"in\"\nroot = \"X{n}\"\nschema = \"\"\n"
        );
    }
    let mut sites = [
        Site::new(&context.binary, "few")?,
        Site::and(&context.binary, "many", &more)?,
    ];
    let mut measured = [Measured::default(), Measured::default()];
    for round in 0..context.rounds {
        for n in [round % 2, 1 - round % 2] {
            measured[n].add(context, &mut sites[n])?;
            eprintln!(
                "  round {}/{} {}: {} jobs/s, restart {} s, unknown {} µs",
                round + 1,
                context.rounds,
                ["few", "many"][n],
                stats::short(measured[n].jobs[round]),
                stats::short(measured[n].restart_s[round]),
                stats::short(measured[n].unknown_us[round]),
            );
        }
    }
    let [few, of_many] = &measured;
    let line = |what: &str, target, unit, of: fn(&Measured) -> &[f64]| {
        let what = format!("{what}: {many} interfaces / {FEW}");
        Line::new(what, target, ratios(of(of_many), of(few)))
            .must()
            .side(format!("{many} interfaces"), of(of_many), unit)
            .side(format!("{FEW} interfaces"), of(few), unit)
    };
    let n_jobs = context.choose(N_JOBS, N_JOBS_QUICK);
    Ok(vec![
        line("jobs worked off", Target::AtLeast(0.9), "/s", |m| &m.jobs).note(format!(
            "{n_jobs} jobs of one interface, by a command that does nothing"
        )),
        line("restart", Target::AtMost(3.0), "s", |m| &m.restart_s)
            .note("to the first listening line"),
        line(
            "status of an unknown name",
            Target::AtMost(2.0),
            "µs",
            |m| &m.unknown_us,
        )
        .note("p50 of one connection, one after the other"),
    ])
}

/// One value a round.
#[derive(Default)]
struct Measured {
    jobs: Vec<f64>,
    restart_s: Vec<f64>,
    unknown_us: Vec<f64>,
}

impl Measured {
    fn add(&mut self, context: &Context, site: &mut Site) -> anyhow::Result<()> {
        let n_jobs = context.choose(N_JOBS, N_JOBS_QUICK);
        self.jobs.push(work_off(context, site, n_jobs)?.per_second);
        context.settle()?;
        let begun = Instant::now();
        let server = site.start()?;
        self.restart_s.push(begun.elapsed().as_secs_f64());
        let question = request("GET", UNKNOWN, &site.authorization, b"");
        let mut client = Client::connect(server.address, &site.trust()?)?;
        // With the first look at the password.
        let answer = client.ask(&question)?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(text.contains("unknown job"), "{}{text}", answer.head);
        let mut took = Vec::new();
        for _ in 0..context.choose(N_QUESTIONS, N_QUESTIONS_QUICK) {
            let begun = Instant::now();
            client.ask(&question)?;
            took.push(stats::micros(begun.elapsed()));
        }
        self.unknown_us.push(stats::percentile(&took, 0.5));
        server.stop()
    }
}
