//! A document against a schema, by the compiled tables and by the full engine: what the tables call
//! valid, the engine accepts, and how the document arrives makes no difference. An input is a line
//! with the name of the schema and a number, from which the sizes of the pieces follow, and then
//! the document. Mutants are made by knowledge of the schema, and of bytes.

#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use spoolgate::xml::{Doubt, Verdict};

use validator::Schema;

#[path = "../validator/mod.rs"]
mod validator;

/// Schemas that are kept compiled; a large one takes tens of megabytes.
const SCHEMAS_MAX: usize = 12;

/// Of each valid document, beside those that libFuzzer asks for.
const MUTANTS: u64 = 16;

#[derive(Default)]
struct State {
    schemas: Vec<Schema>,
    /// How often documents were doubted for no fault of theirs, by schema and reason.
    doubts: BTreeMap<(String, &'static str), u64>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

impl State {
    fn schema(&mut self, name: &str) -> Option<&mut Schema> {
        let known = self.schemas.iter().position(|schema| schema.name() == name);
        let place = match known {
            Some(place) => place,
            None => {
                let schema = Schema::load(name)?;
                if self.schemas.len() == SCHEMAS_MAX {
                    self.schemas.remove(0);
                }
                self.schemas.push(schema);
                self.schemas.len() - 1
            }
        };
        self.schemas.get_mut(place)
    }

    fn count(&mut self, schema: &str, doubt: Doubt, document: &[u8]) {
        let n = self
            .doubts
            .entry((schema.to_owned(), doubt.reason))
            .or_default();
        *n += 1;
        // The last line that a log has for a reason is at least half of the truth.
        if n.is_power_of_two() {
            let at = usize::try_from(doubt.offset).unwrap_or(0);
            let around = at.saturating_sub(40)..document.len().min(at + 20);
            let around = document.get(around).unwrap_or_default().escape_ascii();
            eprintln!("DOUBT: {n} × {schema}: {}: {around}", doubt.reason);
        }
    }
}

/// Looks at mutants of a valid document. Most are refused by the tables, so that the engine, which
/// takes most of the time, need not be asked.
fn check_around(schema: &mut Schema, number: u64, document: &[u8]) {
    for n in 1..=MUTANTS {
        let mutant = schema.mutant_alone(document, number.wrapping_mul(MUTANTS) + n);
        let Some(mutant) = mutant else {
            return;
        };
        if schema.verdict(&mutant) == Verdict::Valid
            && let Some(finding) = schema.finding(&mutant)
        {
            wrong(&finding, &mutant);
        }
    }
}

fn wrong(finding: &str, document: &[u8]) -> ! {
    let text = String::from_utf8_lossy(document);
    panic!("accepted, but the engine refuses it: {finding}\n{text}");
}

/// The name of the schema, the number, and the document.
fn parts(data: &[u8]) -> Option<(&str, u64, &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    let line = str::from_utf8(&data[..end]).ok()?;
    let (name, number) = line.split_once(' ')?;
    Some((name, number.parse().ok()?, &data[end + 1..]))
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let checked = parts(data).and_then(|(name, number, document)| {
        STATE.with_borrow_mut(|state| state.check(name, number, document))
    });
    checked.unwrap_or(Corpus::Reject)
});

impl State {
    /// Should the document be changed further? A mistake shows only in a document without another
    /// one, so of what is refused little is kept.
    fn check(&mut self, name: &str, number: u64, document: &[u8]) -> Option<Corpus> {
        let schema = self.schema(name)?;
        let verdict = schema.verdict(document);
        let in_pieces = schema.verdict_in_pieces(document, number);
        match (verdict, in_pieces) {
            (Verdict::Doubt(_), Verdict::Doubt(_)) => {}
            (whole, in_pieces) => assert_eq!(whole, in_pieces, "whole and in pieces"),
        }
        match (verdict, schema.finding(document)) {
            (Verdict::Valid, None) => {
                schema.remember(document, number);
                check_around(schema, number, document);
            }
            (Verdict::Valid, Some(finding)) => wrong(&finding, document),
            (Verdict::Breached, None) => {
                let text = String::from_utf8_lossy(document);
                panic!("a key is refused that the engine accepts\n{text}");
            }
            (Verdict::Breached, Some(_)) => {}
            (Verdict::Doubt(doubt), None) => {
                schema.remember(document, number);
                self.count(name, doubt, document);
            }
            (Verdict::Doubt(_), Some(_)) if number.is_multiple_of(8) => {}
            (Verdict::Doubt(_), Some(_)) => return Some(Corpus::Reject),
            (Verdict::NoRoom(_), _) => panic!("there is room for every input"),
        }
        Some(Corpus::Keep)
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match mutated(&data[..size], max_size, seed) {
        Some(mutant) if mutant.len() <= max_size => {
            data[..mutant.len()].copy_from_slice(&mutant);
            mutant.len()
        }
        Some(_) | None => size,
    }
});

/// The same schema with another number and document.
fn mutated(data: &[u8], max_size: usize, seed: u32) -> Option<Vec<u8>> {
    let (name, _, document) = parts(data)?;
    let mut mutant = format!("{name} {seed}\n").into_bytes();
    let by_schema = || {
        STATE.with_borrow_mut(|state| {
            let schema = state.schema(name)?;
            schema.mutant(document, u64::from(seed))
        })
    };
    // Of ten mutants one is made of bytes, and those of what is not well-formed.
    let by_knowledge = if seed.is_multiple_of(10) {
        None
    } else {
        by_schema()
    };
    if let Some(changed) = by_knowledge {
        mutant.extend(changed);
    } else {
        let mut bytes = document.to_vec();
        let room = max_size.checked_sub(mutant.len())?.max(document.len());
        bytes.resize(room, 0);
        let length = fuzzer_mutate(&mut bytes, document.len(), room);
        mutant.extend_from_slice(&bytes[..length]);
    }
    Some(mutant)
}
