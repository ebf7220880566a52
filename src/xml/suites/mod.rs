//! Public suites of schemas and documents, whose verdicts are known, and what is made of them here.
//!
//! A suite is an archive with an index of groups: a schema and its documents, or a document alone.
//! Every group gets a thread of its own, so that one that panics or does not end is a difference
//! like any other. What is found otherwise than the suite expects must stand, with its cause, in
//! the list of `tests/suites`, and nothing else may stand there: see `known`.
//!
//! `SPOOLGATE_SUITES` says where the archives are; every tenth group is asked, and all of them with
//! `SPOOLGATE_SUITES_ALL=1`. `SPOOLGATE_SUITES_WRITE=1` writes the lists again.

mod known;
mod real;
mod test_sets;
mod xmlconf;
mod xsts;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::child;
use super::schema::{CompiledSchema, Keys, SchemaEngine};
use super::schema_files::SchemaFiles;
use super::snapshot::Edition;
use super::{Source, XmlLimits, XsdSchema, inspect};
use known::Known;
pub(super) use real::give_locations;

/// What takes longer does not end: the slowest of all takes seconds.
const CASE_TIME_MAX: Duration = Duration::from_secs(300);

/// Every how many groups one is asked unless all are.
const SAMPLE: usize = 10;

/// What becomes of a schema or a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It is valid, or for a document without a schema, well-formed.
    Accepted,
    Endless,
    /// A schema of which a file cannot be found or read.
    Incomplete,
    Panicked,
    Refused,
}

impl Verdict {
    const ALL: [(Verdict, &str); 5] = [
        (Verdict::Accepted, "accepted"),
        (Verdict::Endless, "endless"),
        (Verdict::Incomplete, "incomplete"),
        (Verdict::Panicked, "panicked"),
        (Verdict::Refused, "refused"),
    ];

    fn parse(word: &str) -> Option<Verdict> {
        let named = Self::ALL.iter().find(|(_, name)| *name == word);
        named.map(|(verdict, _)| *verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(verdict, _)| verdict == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

/// A schema or a document of a suite.
struct Case {
    expected: Verdict,
    /// From the directory of the suite.
    file: String,
    /// Unique in its suite.
    name: String,
}

/// A schema with its documents, or documents of which only well-formedness is asked.
struct Group {
    documents: Vec<Case>,
    /// By which edition the schema is read, whatever it says.
    edition: Option<Edition>,
    schema: Option<Case>,
}

impl Group {
    /// The cases in the order in which they are asked.
    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.schema.iter().chain(&self.documents)
    }

    /// Tells the verdict on each case with the message for it. Without a schema in force the documents
    /// are not asked.
    fn judge(&self, dir: &Path, tell: &Sender<(Verdict, String)>) {
        let answer = |verdict, message| {
            // Who has waited too long for the one before listens no more.
            let _ = tell.send((verdict, message));
        };
        let mut compiled = None;
        if let Some(schema) = &self.schema {
            match load(dir, &schema.file, self.edition) {
                Ok(schema) => compiled = Some(schema),
                Err((verdict, message)) => return answer(verdict, message),
            }
            answer(Verdict::Accepted, String::new());
        }
        for document in &self.documents {
            match check(compiled.as_deref_mut(), &dir.join(&document.file)) {
                None => answer(Verdict::Accepted, String::new()),
                Some(message) => answer(Verdict::Refused, message),
            }
        }
    }
}

/// Loads a schema as the product does, but that what operators are warned of is refused.
fn load(
    dir: &Path,
    main: &str,
    edition: Option<Edition>,
) -> Result<Box<dyn CompiledSchema>, (Verdict, String)> {
    let incomplete = |why: String| (Verdict::Incomplete, why);
    let name = main.strip_suffix(".xsd").unwrap_or(main).to_owned();
    let files = SchemaFiles {
        editions: edition
            .map(|edition| (name.clone(), edition))
            .into_iter()
            .collect(),
        ..SchemaFiles::default()
    };
    let snapshot = files.read_one(dir, &name, main).map_err(incomplete)?;
    let compiled = XsdSchema
        .compile(&snapshot, Keys::Checked)
        .map_err(|error| (Verdict::Refused, error.to_string()))?;
    match compiled.warnings() {
        [] => Ok(compiled),
        [warning, ..] => Err((Verdict::Refused, warning.clone())),
    }
}

/// What is wrong with a document first, if anything is.
fn check(schema: Option<&mut (dyn CompiledSchema + 'static)>, document: &Path) -> Option<String> {
    let (source, limits) = (Source::File(document), XmlLimits::default());
    if let Err(error) = inspect(&source, &limits) {
        return Some(error.to_string());
    }
    match schema?.validate(&source, &limits, &Arc::default()) {
        Ok(findings) => findings.first().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

/// A case that was asked, and what became of it.
struct Answer {
    expected: Verdict,
    message: String,
    name: String,
    of_schema: bool,
    ours: Verdict,
}

impl Answer {
    /// A schema that is to be refused may be so for a file that is missing.
    fn is_right(&self) -> bool {
        let refused = [Verdict::Refused, Verdict::Incomplete];
        self.expected == self.ours
            || refused.contains(&self.expected) && refused.contains(&self.ours)
    }
}

/// Says what becomes of the cases of a group, one after the other.
type Judge = dyn Fn(&Group, &Sender<(Verdict, String)>) + Send + Sync;

/// Asks about one group, in a thread that may panic or be left behind.
fn ask(group: &Arc<Group>, judge: &Arc<Judge>, case_time_max: Duration) -> Vec<Answer> {
    let (tell, told) = mpsc::channel();
    let (asked, judge) = (Arc::clone(group), Arc::clone(judge));
    let thread = thread::spawn(move || judge(&asked, &tell));
    let mut answers = Vec::new();
    for (n, case) in group.cases().enumerate() {
        let mut add = |ours, message| {
            answers.push(Answer {
                expected: case.expected,
                message,
                name: case.name.clone(),
                of_schema: n == 0 && group.schema.is_some(),
                ours,
            });
        };
        match told.recv_timeout(case_time_max) {
            Ok((ours, message)) => add(ours, message),
            Err(RecvTimeoutError::Timeout) => {
                add(Verdict::Endless, String::new());
                break;
            }
            Err(RecvTimeoutError::Disconnected) => {
                if thread.join().is_err() {
                    add(Verdict::Panicked, String::new());
                }
                break;
            }
        }
    }
    answers
}

/// Asks about all groups, as many at the same time as there are processors.
fn ask_all(dir: &Path, groups: Vec<Group>) -> Vec<Answer> {
    let dir = dir.to_owned();
    let judge: Arc<Judge> = Arc::new(move |group, tell| group.judge(&dir, tell));
    let groups: Vec<_> = groups.into_iter().map(Arc::new).collect();
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = ask(group, &judge, CASE_TIME_MAX);
            answers.lock().extend(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    answers.into_inner()
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| value == "1")
}

/// Of every how many groups one is asked.
pub(super) fn step() -> usize {
    let all = is_set("SPOOLGATE_SUITES_ALL");
    if all { 1 } else { SAMPLE }
}

/// Unpacks the suite into a directory that goes with the value. Without it the test is skipped, or
/// fails in the project's checks.
pub(super) fn unpack(suite: &str) -> Option<tempfile::TempDir> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    let suites = env::var_os("SPOOLGATE_SUITES").map_or(beside, PathBuf::from);
    let archive = suites.join(format!("{suite}.tar.xz"));
    let missing = if !archive.is_file() {
        format!("there is no {}, see CONTRIBUTING.md", archive.display())
    } else if child::find("xz").is_none() {
        "xz is not installed (apt-get install xz-utils)".to_owned()
    } else {
        let dir = tempfile::tempdir().unwrap();
        let tar = Command::new("tar")
            .arg("-xJf")
            .arg(&archive)
            .current_dir(dir.path())
            .output();
        let tar = tar.unwrap();
        assert!(
            tar.status.success(),
            "{}",
            String::from_utf8_lossy(&tar.stderr)
        );
        return Some(dir);
    };
    assert!(env::var_os("CI").is_none(), "{missing}");
    println!("skipped: {missing}");
    None
}

/// What the W3C XML Schema suite expects, if it is a verdict.
fn expected(validity: &str) -> Option<Verdict> {
    match validity {
        "valid" => Some(Verdict::Accepted),
        "invalid" => Some(Verdict::Refused),
        _ => None,
    }
}

/// What the archive says of itself; all files are below its own directory.
pub(super) fn index<T: DeserializeOwned>(dir: &Path) -> Vec<T> {
    let text = fs::read_to_string(dir.join("index.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Runs a suite of which `groups` reads the index, and compares what is found with what is known.
fn run(suite: &str, groups: fn(&Path) -> Vec<Group>) {
    let Some(unpacked) = unpack(suite) else {
        return;
    };
    let dir = unpacked.path().join(suite);
    let groups = groups(&dir);
    let cases = groups.iter().flat_map(Group::cases);
    let names = cases.map(|case| case.name.clone()).collect();
    let answers = ask_all(&dir, groups.into_iter().step_by(step()).collect());
    print!("{}", figures(suite, &answers));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/suites/{suite}.txt"));
    let known = Known::read(&path);
    if is_set("SPOOLGATE_SUITES_WRITE") {
        fs::write(&path, known.renewed(&answers, &names).to_string()).unwrap();
    } else {
        let mistakes = known.mistakes(&answers, &names);
        assert!(mistakes.is_empty(), "{suite}:\n{}", mistakes.join("\n"));
    }
}

/// How many schemas and documents have which verdict.
fn figures(suite: &str, answers: &[Answer]) -> String {
    let mut counts: BTreeMap<(bool, Verdict, Verdict), usize> = BTreeMap::new();
    for answer in answers {
        let key = (!answer.of_schema, answer.expected, answer.ours);
        *counts.entry(key).or_default() += 1;
    }
    let line = |((is_document, expected, ours), n): (&(bool, Verdict, Verdict), &usize)| {
        let what = if *is_document { "documents" } else { "schemas" };
        format!("{suite}: {n} {what} to be {expected} are {ours}\n")
    };
    counts.iter().map(line).collect()
}

#[test]
fn a_case_that_panics_or_does_not_end_costs_its_group_alone() {
    let case = |name: &str| Case {
        expected: Verdict::Accepted,
        file: name.to_owned(),
        name: name.to_owned(),
    };
    let group = Arc::new(Group {
        documents: vec![case("bad"), case("after")],
        edition: None,
        schema: Some(case("good")),
    });
    let found = |bad: fn()| {
        let judge: Arc<Judge> = Arc::new(move |_, tell| {
            tell.send((Verdict::Accepted, String::new())).unwrap();
            bad();
        });
        let answers = ask(&group, &judge, Duration::from_secs(1));
        let verdicts = answers.iter().map(|a| format!("{} {}", a.ours, a.name));
        verdicts.collect::<Vec<_>>()
    };
    assert_eq!(found(|| panic!("boom")), ["accepted good", "panicked bad"]);
    let never_ends = || loop {
        thread::park();
    };
    assert_eq!(found(never_ends), ["accepted good", "endless bad"]);
    assert_eq!(found(|| {}), ["accepted good"]);
}
