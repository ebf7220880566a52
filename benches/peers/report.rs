//! What was found, as tables. It promises that RESULTS.md loses nothing: a row that was not run
//! keeps its section, and what stands between the `tried` marks is never touched.

use crate::{
    rows::{ROWS, Row},
    stats::{greatest, least, median, short},
};
use std::{fmt::Write, fs, path::PathBuf};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
const TRIED: (&str, &str) = ("<!-- tried: begin -->", "<!-- tried: end -->");
const TRIED_AT_FIRST: &str = "
## What was tried, and what it gave

Written by hand; `cargo bench` leaves it alone.
";
const INTRODUCTION: &str = "\
# Results

Made by `cargo bench --bench peers`; its `--help` says how. Only ratios within one run, and counts,
are evidence: **measured** is the median over the rounds with least and greatest. The figures of the
sides are for orientation; they differ between runs by more than the sides do. A target in bold must
be met.
";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// For orientation.
    None,
}

/// One side's absolute figures, one a round.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) what: String,
    pub(crate) values: Vec<f64>,
    pub(crate) unit: &'static str,
}

/// One thing that was measured, with what it has to reach.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) target: Target,
    pub(crate) stretch: Option<f64>,
    /// Not reaching the target is no result that could be explained.
    pub(crate) is_must: bool,
    /// One value a round.
    pub(crate) values: Vec<f64>,
    pub(crate) unit: &'static str,
    pub(crate) sides: Vec<Figures>,
    pub(crate) note: String,
}

pub(crate) enum Measured {
    Failed(String),
    Lines(Vec<Line>),
    Skipped(String),
}

pub(crate) struct Section {
    pub(crate) row: &'static Row,
    pub(crate) measured: Measured,
    pub(crate) how: String,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, target: Target, values: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            target,
            stretch: None,
            is_must: false,
            values,
            unit: "×",
            sides: Vec::new(),
            note: String::new(),
        }
    }

    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(crate) fn stretch(mut self, stretch: f64) -> Self {
        self.stretch = Some(stretch);
        self
    }

    pub(crate) fn must(mut self) -> Self {
        self.is_must = true;
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn side(
        mut self,
        what: impl Into<String>,
        values: &[f64],
        unit: &'static str,
    ) -> Self {
        self.sides.push(Figures {
            what: what.into(),
            values: values.to_vec(),
            unit,
        });
        self
    }

    fn target_text(&self) -> String {
        let text = match self.target {
            Target::AtLeast(bound) => format!("≥ {bound}"),
            Target::AtMost(bound) => format!("≤ {bound}"),
            Target::None => return "–".into(),
        };
        let stretch = self.stretch.map(|bound| format!(" (stretch {bound})"));
        let text = format!("{text} {}", self.unit);
        let text = if self.is_must {
            format!("**{}**", text.trim_end())
        } else {
            text.trim_end().to_owned()
        };
        text + &stretch.unwrap_or_default()
    }

    fn verdict(&self) -> &'static str {
        if self.values.is_empty() {
            return "not measured";
        }
        let value = median(&self.values);
        let met = |bound: f64| match self.target {
            Target::AtLeast(_) => value >= bound,
            Target::AtMost(_) => value <= bound,
            Target::None => false,
        };
        match self.target {
            Target::None => "–",
            Target::AtLeast(bound) | Target::AtMost(bound) if !met(bound) => "**not met**",
            Target::AtLeast(_) | Target::AtMost(_) => match self.stretch {
                Some(bound) if met(bound) => "met, stretch too",
                Some(_) | None => "met",
            },
        }
    }

    fn measured(&self) -> String {
        let text = format!("{} {}", spread(&self.values), self.unit);
        text.trim_end().to_owned()
    }

    fn sides_text(&self) -> String {
        let sides = self.sides.iter().map(|side| {
            let value = spread(&side.values);
            format!("{}: {value} {}", side.what, side.unit)
        });
        sides.collect::<Vec<_>>().join("; ")
    }
}

/// The median, and the ends if there is more than one value.
fn spread(values: &[f64]) -> String {
    match values {
        [] => "–".into(),
        [one] => short(*one),
        many => format!(
            "{} ({}..{})",
            short(median(many)),
            short(least(many)),
            short(greatest(many))
        ),
    }
}

/// The section of a row, in Markdown that reads well in a terminal, too.
pub(crate) fn table(section: &Section) -> String {
    let mut text = format!(
        "### {}: {}\n\n{}.\n\n",
        section.row.name, section.row.about, section.how
    );
    match &section.measured {
        Measured::Skipped(why) => text += &format!("**Skipped.** {why}\n"),
        Measured::Failed(why) => text += &format!("**Failed.** {why}\n"),
        Measured::Lines(lines) => {
            text +=
                "| what | target | measured | | sides, for orientation |\n|---|---|---|---|---|\n";
            for line in lines {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} |",
                    line.what,
                    line.target_text(),
                    line.measured(),
                    line.verdict(),
                    line.sides_text()
                );
            }
            let notes = lines.iter().filter(|line| !line.note.is_empty());
            let notes: Vec<String> = notes
                .map(|line| format!("- {}: {}\n", line.what, line.note))
                .collect();
            if !notes.is_empty() {
                text += "\n";
                text += &notes.concat();
            }
        }
    }
    text
}

fn marks(row: &Row) -> (String, String) {
    (
        format!("<!-- row {}: begin -->", row.name),
        format!("<!-- row {}: end -->", row.name),
    )
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(begin)?.1;
    Some(rest.split_once(end)?.0)
}

/// Puts the sections into RESULTS.md, keeping the others.
pub(crate) fn write(machine: &str, sections: &[Section]) -> anyhow::Result<PathBuf> {
    let old = fs::read_to_string(PATH).unwrap_or_default();
    let new = merged(&old, machine, sections);
    fs::write(PATH, new)?;
    Ok(PATH.into())
}

fn merged(old: &str, machine: &str, sections: &[Section]) -> String {
    let mut text =
        format!("{INTRODUCTION}\n## The machine of the last run\n\n{machine}\n## Rows\n");
    for row in ROWS {
        let (begin, end) = marks(row);
        let ran = sections.iter().find(|section| section.row.name == row.name);
        let content = match ran {
            Some(section) => format!("\n{}", table(section)),
            None => match between(old, &begin, &end) {
                Some(kept) => kept.to_owned(),
                None => continue,
            },
        };
        text += &format!("\n{begin}{content}{end}\n");
    }
    let tried = between(old, TRIED.0, TRIED.1).unwrap_or(TRIED_AT_FIRST);
    text + &format!("\n{}{tried}{}\n", TRIED.0, TRIED.1)
}
