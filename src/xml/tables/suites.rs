//! Nothing is called valid that the full engine refuses: the W3C's XML Schema suite, schemas and
//! documents in use, and documents made of these by small changes.
//!
//! Where the archives are and how many of their groups are asked, `xml::suites` says.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::xml::one_pass::judge;
use crate::xml::schema::{CompiledSchema, Keys, SchemaEngine};
use crate::xml::snapshot::Snapshot;
use crate::xml::suites;
use crate::xml::{Finding, Source, XmlLimits, XsdSchema};

use super::{Tables, Verdict};
use crate::xml::budget::Budget;

const MUTANTS: u64 = 20;

/// The groups of a suite that have documents.
fn groups(dir: &Path, documents: &str) -> Vec<Value> {
    let mut all: Vec<Value> = suites::index(dir);
    all.retain(|group| !strings(&group[documents]).is_empty());
    all.into_iter().step_by(suites::step()).collect()
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

/// How the verdicts compare.
#[derive(Debug, Default)]
struct Tally {
    schemas: usize,
    both_accept: usize,
    both_refuse: usize,
    only_engine_accepts: BTreeMap<&'static str, usize>,
    listed: usize,
    wrong: Vec<String>,
}

/// A schema in both engines.
struct Both {
    tables: Arc<Tables>,
    engine: Box<dyn CompiledSchema>,
    budget: Arc<Budget>,
}

impl Both {
    fn load(root: &Path, main: &str) -> Option<Both> {
        let name = main.strip_suffix(".xsd")?;
        let snapshot = Snapshot::of_schema(root, name).ok()?;
        let load = || {
            let engine = XsdSchema.compile(&snapshot, Keys::Checked).ok()?;
            let tables = Arc::clone(engine.tables()?);
            Some((engine, tables))
        };
        // The engine's panics are not looked for here.
        let (engine, tables) = catch_unwind(AssertUnwindSafe(load)).ok()??;
        Some(Both {
            tables,
            engine,
            budget: Arc::new(Budget::new(1 << 24)),
        })
    }

    fn verdict(&self, document: &[u8]) -> Verdict {
        let source = Source::Memory(document);
        let judgement = judge(&self.tables, &source, &XmlLimits::default(), &self.budget);
        judgement.unwrap().verdict
    }

    fn compare(&mut self, name: &str, document: &[u8], tally: &mut Tally) {
        let source = Source::Memory(document);
        let limits = XmlLimits::default();
        let run = AssertUnwindSafe(|| self.engine.validate(&source, &limits, &self.budget));
        let Ok(Ok(findings)) = catch_unwind(run) else {
            return;
        };
        match (self.verdict(document), findings.is_empty()) {
            (Verdict::Valid, true) => tally.both_accept += 1,
            (Verdict::Valid, false) if findings.iter().all(is_listed) => tally.listed += 1,
            (Verdict::Valid, false) => {
                let text = String::from_utf8_lossy(document);
                let text: String = text.chars().take(600).collect();
                tally.wrong.push(format!("{name}: {}\n{text}", findings[0]));
            }
            (Verdict::Doubt(doubt), true) => {
                *tally.only_engine_accepts.entry(doubt.reason).or_default() += 1;
            }
            (Verdict::NoRoom(_), true) => {
                *tally.only_engine_accepts.entry("no room").or_default() += 1;
            }
            (Verdict::Breached, true) => tally.wrong.push(format!("{name}: a breach")),
            (Verdict::Breached | Verdict::Doubt(_) | Verdict::NoRoom(_), false) => {
                tally.both_refuse += 1;
            }
        }
    }
}

/// What the engine refuses without reason: what it says of the locations of schemas that a
/// document names (Part 1, 4.3.2: they are hints).
fn is_listed(finding: &Finding) -> bool {
    finding.message.contains("schemaLocation") || finding.message.contains("SchemaLocation")
}

#[track_caller]
fn conclude(tally: &Tally) {
    println!("{tally:#?}");
    assert!(tally.wrong.is_empty(), "{} are wrong", tally.wrong.len());
    assert!(tally.both_accept > 0);
}

#[test]
fn the_suite_of_w3c_has_no_document_that_only_the_tables_accept() {
    let Some(dir) = suites::unpack("xsts") else {
        return;
    };
    let root = dir.path().join("xsts");
    let mut tally = Tally::default();
    for group in groups(&root, "docs") {
        let Some(mut both) = Both::load(&root, group["main"].as_str().unwrap_or_default()) else {
            continue;
        };
        tally.schemas += 1;
        for name in strings(&group["docs"]) {
            if let Ok(document) = fs::read(root.join(&name)) {
                both.compare(&name, &document, &mut tally);
            }
        }
    }
    conclude(&tally);
}

#[test]
fn no_document_in_use_nor_mutant_is_accepted_by_the_tables_alone() {
    let Some(dir) = suites::unpack("real") else {
        return;
    };
    let root = dir.path().join("real");
    suites::give_locations(&root);
    let mut tally = Tally::default();
    for group in groups(&root, "documents") {
        let Some(mut both) = Both::load(&root, group["schema"].as_str().unwrap_or_default()) else {
            continue;
        };
        tally.schemas += 1;
        for name in strings(&group["documents"]) {
            let Ok(document) = fs::read_to_string(root.join(&name)) else {
                continue;
            };
            both.compare(&name, document.as_bytes(), &mut tally);
            for seed in 1..=MUTANTS {
                let mutant = mutant(&document, seed);
                let name = format!("{name} mutant {seed}");
                both.compare(&name, mutant.as_bytes(), &mut tally);
            }
        }
    }
    conclude(&tally);
}

/// A document with one small change that mostly leaves it well-formed.
fn mutant(document: &str, seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let tokens = tokens(document);
    let leaves: Vec<usize> = (0..tokens.len().saturating_sub(2))
        .filter(|n| tokens[*n].starts_with('<') && tokens[n + 2].starts_with("</"))
        .collect();
    if leaves.is_empty() {
        return document.to_owned();
    }
    let (one, other) = (
        leaves[random.below(leaves.len())],
        leaves[random.below(leaves.len())],
    );
    let mut changed: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
    match random.below(7) {
        // A leaf away, twice, or in the place of another.
        0 => drop(changed.drain(one..one + 3)),
        1 => {
            let leaf = changed[one..one + 3].concat();
            changed[one].insert_str(0, &leaf);
        }
        2 => {
            let leaf = changed[other..other + 3].concat();
            changed[one] = leaf;
            changed[one + 1].clear();
            changed[one + 2].clear();
        }
        // Other text.
        3 => changed[one + 1] = changed[other + 1].clone(),
        4 => {
            let texts = [
                "",
                " ",
                "x",
                "0",
                "-1",
                "1.50",
                "2026-02-30",
                "true",
                "&#9;",
                "ä]",
            ];
            changed[one + 1] = texts[random.below(texts.len())].to_owned();
        }
        5 => {
            let text = &mut changed[one + 1];
            let all: Vec<char> = text.chars().collect();
            if !all.is_empty() {
                let place = random.below(all.len());
                let kept = all.iter().enumerate().filter(|(n, _)| *n != place);
                *text = kept.map(|(_, c)| c).collect();
            }
        }
        // Other attributes.
        _ => changed[one] = changed[one].replacen('>', " x='1'>", 1),
    }
    changed.concat()
}

/// Markup and text in turns.
fn tokens(document: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = document;
    while !rest.is_empty() {
        let is_markup = rest.starts_with('<');
        let end = if is_markup {
            rest.find('>').map(|at| at + 1)
        } else {
            rest.find('<')
        };
        let (token, behind) = rest.split_at(end.unwrap_or(rest.len()));
        tokens.push(token);
        if is_markup && behind.starts_with('<') {
            tokens.push("");
        }
        rest = behind;
    }
    tokens
}

/// The same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}
