//! `cargo bench`: Spoolgate beside its peers.
//!
//! It promises that every figure comes from the real release server on a real disk, that the sides
//! of a ratio were measured alternately in one run, and that what could not be measured is named
//! instead of left out. `cargo bench -- --help` explains it, `--list` shows the rows.

mod args;
mod arrivals;
mod bare_http;
mod children;
mod client;
mod context;
mod disk;
mod documents;
mod floor;
mod image;
mod latency;
mod libxml2;
mod machine;
mod nginx;
mod process;
mod report;
mod rows;
mod scratch;
mod server;
mod sides;
mod stats;
mod tools;
mod ubl;
mod wrk;

use anyhow::Context as _;
use args::Args;
use clap::Parser;
use context::Context;
use image::Kind;
use report::{Measured, Section};
use rows::{ROWS, Row};
use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        // `cargo test --all-targets` comes here.
        eprintln!("nothing is measured in a debug build; run `cargo bench`");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether every row could be run. A target that is missed is a result, not a failure.
fn run(args: &Args) -> anyhow::Result<bool> {
    if args.list {
        for row in ROWS {
            println!("{:<14} {}", row.name, row.about);
        }
        return Ok(true);
    }
    let chosen = rows::chosen(&args.rows)?;
    let filesystem = filesystem(args)?;
    let _scratch = scratch::take(args.dir.as_deref(), filesystem)?;
    children::end_on_signal()?;
    let context = Context::new(args)?;
    let load = machine::Load::begin()?;
    let mut sections = Vec::new();
    for row in chosen {
        let section = run_row(row, &context)?;
        children::stop_if_interrupted();
        println!("{}", report::table(&section));
        sections.push(section);
    }
    let machine = machine::describe(&context, &load.end()?)?;
    println!("{machine}");
    if args.quick {
        println!("A quick run: it shows that the rows work. Its figures are no evidence.");
    }
    if args.writes() {
        let path = report::write(&machine, &sections).context("benches/RESULTS.md")?;
        eprintln!("written: {}", path.display());
    }
    let failed = |section: &&Section| matches!(section.measured, Measured::Failed(_));
    Ok(!sections.iter().any(|section| failed(&section)))
}

/// Which one each row gets, if it gets one. To mount it this program starts itself again.
fn filesystem(args: &Args) -> anyhow::Result<Option<Kind>> {
    if args.plain {
        return Ok(None);
    }
    let kind = args.image.unwrap_or(Kind::Ext4);
    if args.in_namespaces {
        return Ok(Some(kind));
    }
    match image::is_possible(kind) {
        Ok(()) => Err(image::enter_namespaces("--in-namespaces")),
        Err(error) if args.image.is_some() => Err(error).context("--image"),
        Err(error) => {
            eprintln!("no fresh filesystem: {error:#}; measured is that of the directory");
            Ok(None)
        }
    }
}

/// One row's failure, or panic, costs that row only.
fn run_row(row: &'static Row, context: &Context) -> anyhow::Result<Section> {
    eprintln!("{}: {}", row.name, row.about);
    scratch::fresh()?;
    let begun = Instant::now();
    let load = machine::Load::begin()?;
    let missing = tools::missing(row.needs);
    let measured = if missing.is_empty() {
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| (row.run)(context)));
        match ran {
            Ok(Ok(lines)) => Measured::Lines(lines),
            Ok(Err(error)) => Measured::Failed(format!("{error:#}")),
            Err(_) => Measured::Failed("it panicked; the message is above".into()),
        }
    } else {
        Measured::Skipped(missing.join("; "))
    };
    let took = begun.elapsed().as_secs_f64();
    let noise = load.end()?;
    eprintln!("{}: took {took:.0} s; {noise}", row.name);
    Ok(Section {
        row,
        measured,
        how: format!("{}; {noise}", context.how()?),
    })
}
