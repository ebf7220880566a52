//! Is a document well-formed and valid? Ours is asked as an upload asks, libxml2 by its streaming
//! interface. Both work in this process, on one thread, by a schema that was loaded before, and on
//! the same bytes.

use crate::{
    context::Context,
    documents::{self, LARGE_BYTES, USUAL_BYTES},
    libxml2,
    report::{Line, Target},
    scratch,
    sides::{Sample, Side, take_turns},
    stats::ratios,
    ubl::Ubl,
};
use anyhow::{Context as _, ensure};
use spoolgate::xml::{Schemas, Source, XsdSchema};
use std::{
    cell::RefCell,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const ORDERS: &str = "orders_in";
const ORDERS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/spool/schemas/orders_in.xsd");

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let dir = scratch::dir("schemas")?;
    fs::copy(ORDERS_FILE, dir.join(ORDERS).with_extension("xsd"))?;
    let orders = Pair::load(&dir, ORDERS)?;
    Ok(vec![
        usual(context, &orders)?,
        invoice(context)?,
        large(context, &orders)?,
        wrong(context, &orders)?,
    ])
}

fn usual(context: &Context, orders: &Pair) -> anyhow::Result<Line> {
    let document = Document::Memory(documents::orders(USUAL_BYTES));
    let rates = orders.compare(context, &document, true)?;
    let line = rates.line("orders of 4 KiB", Target::AtLeast(3.5));
    let note = format!(
        "well-formedness is a part of it; one thread; libxml2 {} by its streaming interface",
        libxml2::version()?
    );
    Ok(line.stretch(5.0).note(note))
}

fn invoice(context: &Context) -> anyhow::Result<Line> {
    const TARGET: Target = Target::AtLeast(2.0);
    if let Some(why) = Ubl::missing() {
        let line = Line::new(what("an invoice of UBL 2.1"), TARGET, Vec::new());
        return Ok(line.note(why));
    }
    let ubl = Ubl::unpack()?;
    let document = format!("an invoice of UBL 2.1 ({} bytes)", ubl.invoice.len());
    let pair = Pair::load(&ubl.schemas, Ubl::SCHEMA)?;
    let rates = pair.compare(context, &Document::Memory(ubl.invoice), true)?;
    Ok(rates.line(document, TARGET))
}

fn large(context: &Context, orders: &Pair) -> anyhow::Result<Line> {
    let n_bytes = context.choose(LARGE_BYTES, LARGE_BYTES / 10);
    let path = scratch::dir("orders")?.join("orders.xml");
    fs::write(&path, documents::orders(n_bytes))?;
    let rates = orders.compare(context, &Document::File(path), true)?;
    let document = format!("orders of {} MB, from a file", n_bytes / 1_000_000);
    Ok(rates.line(document, Target::AtLeast(3.0)))
}

fn wrong(context: &Context, orders: &Pair) -> anyhow::Result<Line> {
    let document = Document::Memory(documents::orders_with_a_mistake(USUAL_BYTES));
    let rates = orders.compare(context, &document, false)?;
    let line = rates.line("orders of 4 KiB, the last value wrong", Target::None);
    Ok(line.note("our tables only doubt it; it is read twice more, the second time by the engine that has the words"))
}

fn what(document: impl Display) -> String {
    format!("{document}: ours / libxml2")
}

enum Document {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Document {
    fn source(&self) -> Source<'_> {
        match self {
            Self::File(path) => Source::File(path),
            Self::Memory(bytes) => Source::Memory(bytes),
        }
    }

    /// In what its rate is said, and how much of it one document is.
    fn rate(&self) -> anyhow::Result<(&'static str, f64)> {
        Ok(match self {
            Self::File(path) => ("MB/s", fs::metadata(path)?.len() as f64 / 1e6),
            Self::Memory(_) => ("/s", 1.0),
        })
    }
}

/// One schema, loaded by both.
struct Pair {
    name: &'static str,
    ours: Schemas,
    theirs: RefCell<libxml2::Validator>,
}

impl Pair {
    fn load(dir: &Path, name: &'static str) -> anyhow::Result<Self> {
        let ours = Schemas::open(dir, Box::new(XsdSchema));
        let reports: Vec<String> = ours.reload().iter().map(ToString::to_string).collect();
        ensure!(ours.is_in_force(name), "{}", reports.join("; "));
        let file = dir.join(name).with_extension("xsd");
        let theirs = libxml2::Validator::of(&file).context("its schema")?;
        Ok(Self {
            name,
            ours,
            theirs: RefCell::new(theirs),
        })
    }

    /// `is_valid`: what both have to say.
    fn compare(
        &self,
        context: &Context,
        document: &Document,
        is_valid: bool,
    ) -> anyhow::Result<Values> {
        let (unit, of_one) = document.rate()?;
        let mut theirs = self.theirs.borrow_mut();
        let mut sides = [
            Side::new("ours", |window| {
                repeat(window, of_one, || {
                    let findings = self.ours.validate(self.name, &document.source())?;
                    ensure!(findings.is_empty() == is_valid, "ours finds {findings:?}");
                    Ok(())
                })
            })
            .unit(unit),
            Side::new("libxml2", |window| {
                repeat(window, of_one, || {
                    let accepted = match document {
                        Document::File(path) => theirs.accepts_file(path)?,
                        Document::Memory(bytes) => theirs.accepts(bytes)?,
                    };
                    ensure!(accepted == is_valid, "libxml2 accepts: {accepted}");
                    Ok(())
                })
            })
            .unit(unit),
        ];
        take_turns(context, &mut sides)?;
        let [ours, theirs] = [&sides[0], &sides[1]].map(Side::rates);
        Ok(Values { ours, theirs, unit })
    }
}

/// Validates one document again and again, each time to the end.
fn repeat(
    window: Duration,
    of_one: f64,
    mut validate: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Sample> {
    let begun = Instant::now();
    let mut n_documents = 0.0;
    while begun.elapsed() < window {
        validate()?;
        n_documents += 1.0;
    }
    Ok(Sample {
        per_second: n_documents * of_one / begun.elapsed().as_secs_f64(),
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        cpu_seconds: f64::NAN,
        operations: n_documents,
    })
}

/// The rates of both, one a round.
struct Values {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    unit: &'static str,
}

impl Values {
    fn line(&self, document: impl Display, target: Target) -> Line {
        Line::new(what(document), target, ratios(&self.ours, &self.theirs))
            .side("ours", &self.ours, self.unit)
            .side("libxml2", &self.theirs, self.unit)
    }
}
