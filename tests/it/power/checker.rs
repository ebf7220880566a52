//! The verdict: what the clients were told, what the processors did and what lies on the disk
//! must agree. Pure: three records go in, violations come out.
//!
//! - What was answered with 201 is there, once, byte for byte; a refusal is kept as well.
//! - What a client was told to be done stays done: it is never queued or run again.
//! - Each accepted job is run, with its own bytes; each attempt counts; where it is at most once,
//!   never twice; where it is ordered, in order.
//! - Nothing is torn or half published: jobs, logs, results, emitted jobs, records.
//! - A key answers what it answered before and makes no second job.
//! - Nothing lies where it must not.
//!
//! A job that no one was told of may exist or not; if it does, all of the above holds for it.

use super::{
    document::{Lane, parent_of, result_text, sha256},
    history::{Answer, Fetched, History, Moment, Repeat, Run, Upload, reference_of},
    tree::{File, Phase, Tree},
};
use spoolgate::{
    domain::JobName,
    domain::joblog::{JobLog, Status},
    store::fs::{deferred_entry, work_entry},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

/// The clocks of clients and processors differ by less.
const CLOCK_MS: u64 = 20;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A client was told that the job is done, and it is not (any more).
    CameBack,
    /// One job in two places.
    Doubled,
    /// Results or an emitted job of a job that never ended with success.
    Early,
    /// It failed for good although its processor never said so.
    FailedUnjustly,
    /// A client had the whole job, which then was nowhere.
    FetchedAndGone,
    /// A name that has no business there.
    Illegal,
    /// A repeat under a key was not answered as the first time.
    KeyForgotten,
    /// Something in `tmp` or `work` that no one will ever take away.
    Leftover,
    /// A hidden file of the service that no later start will take away.
    Litter,
    /// Acknowledged, and nowhere.
    Lost,
    /// In a place of another interface, or not where its processor's word belongs.
    Misplaced,
    /// One name was given to two jobs.
    NameTwice,
    /// Done, and what it emitted is nowhere.
    NoEmitted,
    /// Accepted, and the day's record has not its one line.
    NoLine,
    /// Settled without a log.
    NoLog,
    /// Done without its results.
    NoResult,
    /// No one ran it.
    NeverRan,
    /// A later job ran before an earlier one was settled.
    OutOfOrder,
    /// More often than once where that is the most.
    RanTwice,
    /// The processor got other bytes than were uploaded.
    RanOther,
    /// A second job of one document.
    SecondJob,
    /// The server does not start or stop, or breaks down.
    Server,
    /// A job that no one made.
    Stranger,
    /// It waits forever.
    Stuck,
    /// Other bytes than it must have.
    Torn,
    /// An attempt that was begun does not count.
    Uncounted,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    pub(super) kind: Kind,
    /// The job's name, or a path.
    pub(super) about: String,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn kind_name(&self) -> String {
        format!("{:?}", self.kind)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.kind, self.about, self.detail)
    }
}

/// Compares the records.
pub(super) fn check(history: &History, tree: &Tree) -> Vec<Violation> {
    let mut checker = Checker::new(history, tree);
    checker.acknowledged();
    checker.jobs();
    checker.copies();
    checker.emitted();
    checker.done();
    checker.runs();
    checker.order();
    checker.logs();
    checker.lines();
    checker.results();
    checker.fetched(&history.fetched);
    checker.repeats(&history.repeats);
    checker.settled();
    checker.found.into_iter().collect()
}

/// Where a job's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Bak(Lane),
    Deferred(Lane),
    JobErrors,
    Queue(Lane),
    Work(Lane),
}

impl Place {
    /// As partners see it.
    fn seen(self) -> String {
        match self {
            Self::Bak(lane) => format!("bak/{}", lane.interface()),
            Self::JobErrors => "joberrors".into(),
            Self::Deferred(lane) | Self::Queue(lane) | Self::Work(lane) => {
                format!("queue/{}", lane.interface())
            }
        }
    }

    fn lane(self) -> Option<Lane> {
        match self {
            Self::Bak(lane) | Self::Deferred(lane) | Self::Queue(lane) | Self::Work(lane) => {
                Some(lane)
            }
            Self::JobErrors => None,
        }
    }

    fn is_settled(self) -> bool {
        matches!(self, Self::Bak(_) | Self::JobErrors)
    }
}

/// What a path says that its file is.
enum Meaning {
    Aside,
    Illegal,
    Job(Place, JobName),
    Leftover,
    /// Lines of a day's record, of the jobs that came if that is so.
    Lines(bool),
    Litter,
    Log(JobName),
    Record,
    Result(JobName, String),
}

fn meaning(path: &str) -> Meaning {
    let lane = |interface: &str| Lane::ALL.into_iter().find(|l| l.interface() == interface);
    let job = |place: Option<Place>, name: Option<JobName>, day: Option<&str>| match (place, name) {
        (Some(place), Some(name)) if day.is_none_or(|day| name.day() == day) => {
            Meaning::Job(place, name)
        }
        _ => Meaning::Illegal,
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["tmp", inside, ..] if !inside.is_empty() => Meaning::Leftover,
        ["work", i, entry] if !entry.is_empty() => match work_entry(entry) {
            Some((name, _)) => job(lane(i).map(Place::Work), Some(name), None),
            None => Meaning::Leftover,
        },
        ["work", _, _, ..] if parts.len() > 3 => Meaning::Leftover,
        [.., ""] => Meaning::Aside,
        ["queue", _, ".hold"] => Meaning::Aside,
        [.., entry] if parts.len() > 1 && entry.starts_with('.') => Meaning::Litter,
        ["queue", i, entry] => job(lane(i).map(Place::Queue), entry.parse().ok(), None),
        ["deferred", i, entry] => {
            let name = deferred_entry(entry).map(|(name, _)| name);
            job(lane(i).map(Place::Deferred), name, None)
        }
        ["bak", i, day, entry] => job(lane(i).map(Place::Bak), entry.parse().ok(), Some(day)),
        ["joberrors", day, entry] | ["joberrors", day, "refused", entry] => {
            job(Some(Place::JobErrors), entry.parse().ok(), Some(day))
        }
        ["joblog", day, entry] => {
            let name = entry
                .strip_suffix(".xml")
                .and_then(|name| name.parse().ok());
            match name.filter(|name: &JobName| name.day() == day) {
                Some(name) => Meaning::Log(name),
                None => Meaning::Illegal,
            }
        }
        ["results", day, of, file] => match of.parse().ok().filter(|n: &JobName| n.day() == day) {
            Some(name) => Meaning::Result(name, file.to_owned()),
            None => Meaning::Illegal,
        },
        ["records", _, "accepted.jsonl"] => Meaning::Lines(true),
        ["records", _, "ended.jsonl"] => Meaning::Lines(false),
        ["idem", _, entry] if entry.ends_with(".json") => Meaning::Record,
        [
            "queue" | "deferred" | "bak" | "joberrors" | "joblog" | "results" | "idem",
            ..,
        ] => Meaning::Illegal,
        _ => Meaning::Aside,
    }
}

/// A job's file.
struct Spot<'h> {
    place: Place,
    file: &'h File,
}

struct Checker<'h> {
    history: &'h History,
    phase: Phase,
    uploads: HashMap<&'h str, &'h Upload>,
    spots: BTreeMap<String, Vec<Spot<'h>>>,
    /// Names of jobs, by reference.
    names: BTreeMap<String, BTreeSet<String>>,
    /// How many lines the days' records have of a job that came; unless they are as they were.
    lines: Option<HashMap<String, usize>>,
    logs: HashMap<String, &'h File>,
    results: BTreeMap<String, BTreeMap<String, &'h File>>,
    runs: HashMap<&'h str, Vec<&'h Run>>,
    found: BTreeSet<Violation>,
}

impl<'h> Checker<'h> {
    fn new(history: &'h History, tree: &'h Tree) -> Self {
        let uploads = history.uploads.iter();
        let mut checker = Self {
            history,
            phase: tree.phase,
            uploads: uploads.map(|u| (u.reference.as_str(), u)).collect(),
            spots: BTreeMap::new(),
            names: BTreeMap::new(),
            lines: None,
            logs: HashMap::new(),
            results: BTreeMap::new(),
            runs: HashMap::new(),
            found: BTreeSet::new(),
        };
        for run in &history.runs {
            checker.runs.entry(&run.job).or_default().push(run);
        }
        for file in &tree.files {
            checker.sort_in(file);
        }
        checker
    }

    fn sort_in(&mut self, file: &'h File) {
        match meaning(&file.path) {
            Meaning::Aside => {}
            Meaning::Illegal => self.say(Kind::Illegal, &file.path, "no legal name there"),
            Meaning::Job(place, name) => {
                let name = name.to_string();
                if let Some(reference) = reference_of(&name) {
                    let names = self.names.entry(reference).or_default();
                    names.insert(name.clone());
                }
                let spots = self.spots.entry(name).or_default();
                spots.push(Spot { place, file });
            }
            Meaning::Leftover => self.say(Kind::Leftover, &file.path, "nobody's any more"),
            Meaning::Lines(of_those_that_came) => self.read_lines(file, of_those_that_came),
            Meaning::Litter => self.say(Kind::Litter, &file.path, "it stays forever"),
            Meaning::Log(name) => {
                self.logs.insert(name.to_string(), file);
            }
            Meaning::Record => {
                let text = file.content.as_ref().map(|content| &content.text);
                let is_whole = |text: &String| {
                    let record = serde_json::from_str::<serde_json::Value>(text);
                    record.is_ok_and(|record| record["job"].is_string())
                };
                if text.is_some_and(|text| !is_whole(text)) {
                    self.say(Kind::Torn, &file.path, "not a record");
                }
            }
            Meaning::Result(name, entry) => {
                let files = self.results.entry(name.to_string()).or_default();
                files.insert(entry, file);
            }
        }
    }

    fn read_lines(&mut self, file: &'h File, of_those_that_came: bool) {
        let Some(content) = &file.content else { return };
        let text = &content.text;
        let mut torn = !text.is_empty() && !text.ends_with('\n');
        for line in text.lines() {
            let line = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
            match line["job"].as_str() {
                Some(job) if of_those_that_came => {
                    let lines = self.lines.get_or_insert_default();
                    *lines.entry(job.to_owned()).or_default() += 1;
                }
                Some(_) => {}
                None => torn = true,
            }
        }
        if torn {
            self.say(Kind::Torn, &file.path, "has a line that says nothing");
        }
    }

    fn say(&mut self, kind: Kind, about: &str, detail: impl Into<String>) {
        self.found.insert(Violation {
            kind,
            about: about.to_owned(),
            detail: detail.into(),
        });
    }

    /// The only place of a job, if it has one.
    fn place(&self, job: &str) -> Option<Place> {
        self.spots.get(job).map(|spots| spots[0].place)
    }

    fn paths(&self, job: &str) -> String {
        let spots = self.spots.get(job).map_or(&[][..], Vec::as_slice);
        let paths: Vec<&str> = spots.iter().map(|spot| spot.file.path.as_str()).collect();
        paths.join(" and ")
    }

    /// The document that a job was made of, directly or as what its processor emitted, with the
    /// checksum that it must have.
    fn origin(&self, job: &str) -> Option<(&'h Upload, &'h str, bool)> {
        let reference = reference_of(job)?;
        if let Some(upload) = self.uploads.get(reference.as_str()) {
            return Some((upload, &upload.sha256, false));
        }
        let parent = self.uploads.get(parent_of(&reference)?)?;
        let emits = parent.traits.emits;
        emits.then_some((*parent, parent.emitted_sha256.as_str(), true))
    }

    /// What clients were told is there.
    fn acknowledged(&mut self) {
        let mut given: HashMap<&str, &str> = HashMap::new();
        for upload in &self.history.uploads {
            let (job, refused) = match &upload.answer {
                Answer::None => continue,
                Answer::Accepted { job, .. } => (job, false),
                Answer::Refused { job } => (job, true),
            };
            if let Some(other) = given.insert(job, &upload.reference) {
                let detail = format!("the name of {other} and of {}", upload.reference);
                self.say(Kind::NameTwice, job, detail);
            }
            let Some(place) = self.place(job) else {
                let detail = match &upload.answer {
                    Answer::Accepted { at, .. } => format!("201{}", self.when(upload.round, *at)),
                    Answer::None | Answer::Refused { .. } => "refused, and not kept".into(),
                };
                self.say(Kind::Lost, job, detail);
                continue;
            };
            let belongs = match place.lane() {
                Some(lane) => lane == upload.lane && !refused,
                None => true,
            };
            if !belongs {
                let detail = format!("it is in {}", self.paths(job));
                self.say(Kind::Misplaced, job, detail);
            }
        }
    }

    /// Every job that is there is whole, known, and there once.
    fn jobs(&mut self) {
        let mut found = Vec::new();
        for (job, spots) in &self.spots {
            if spots.len() > 1 {
                found.push((Kind::Doubled, job.clone(), self.paths(job)));
            }
            let Some((_, sha256, _)) = self.origin(job) else {
                found.push((Kind::Stranger, job.clone(), self.paths(job)));
                continue;
            };
            for Spot { file, .. } in spots {
                let content = file.content.as_ref();
                if let Some(content) = content.filter(|content| content.sha256 != sha256) {
                    let detail = format!("{} has {}", file.path, content.sha256);
                    found.push((Kind::Torn, job.clone(), detail));
                }
            }
        }
        for (kind, job, detail) in found {
            self.say(kind, &job, detail);
        }
    }

    /// One document is one job. Nothing here was sent twice but under its key.
    fn copies(&mut self) {
        let names = std::mem::take(&mut self.names);
        for (reference, jobs) in &names {
            if self.uploads.contains_key(reference.as_str()) && jobs.len() > 1 {
                let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
                self.say(Kind::SecondJob, reference, jobs.join(" and "));
            }
        }
        self.names = names;
    }

    /// How many runs of a document's job ended with success.
    fn successes(&self, reference: &str) -> usize {
        let jobs = self.names.get(reference).into_iter().flatten();
        let runs = jobs.filter_map(|job| self.runs.get(job.as_str())).flatten();
        runs.filter(|run| run.end.as_ref().is_some_and(|end| end.1 == 0))
            .count()
    }

    /// What a job emits is there once it is done, and not more often than it succeeded.
    fn emitted(&mut self) {
        for upload in self.history.uploads.iter().filter(|u| u.traits.emits) {
            let n_emitted =
                (self.names.get(&format!("{}-out", upload.reference))).map_or(0, BTreeSet::len);
            let n_successes = self.successes(&upload.reference);
            if n_emitted > n_successes {
                let detail = format!("{n_emitted} emitted jobs, {n_successes} runs with success");
                self.say(Kind::Early, &upload.reference, detail);
            }
            let jobs = self
                .names
                .get(&upload.reference)
                .cloned()
                .unwrap_or_default();
            let is_done = |job: &String| matches!(self.place(job), Some(Place::Bak(_)));
            if n_emitted == 0 && jobs.iter().any(is_done) {
                let detail = "done, and what it emitted is nowhere";
                self.say(Kind::NoEmitted, &upload.reference, detail);
            }
        }
    }

    /// What a client was told to be done is where it was told, and is not run again.
    fn done(&mut self) {
        for done in &self.history.done {
            let place = self.place(&done.job).map(Place::seen);
            if place.as_deref() != Some(&done.place) {
                let detail = format!(
                    "a client was told {} by {}{}, it is in {:?}",
                    done.place,
                    done.by,
                    self.when(done.round, done.at),
                    self.paths(&done.job)
                );
                self.say(Kind::CameBack, &done.job, detail);
            }
            let end = done.at.plus_ms(CLOCK_MS);
            let runs = self.runs.get(done.job.as_str()).cloned();
            let mut runs = runs.unwrap_or_default().into_iter();
            let again = runs.find(|run| {
                run.round > done.round || (run.round == done.round && run.started > end)
            });
            if let Some(run) = again {
                let detail = format!(
                    "a client was told {} by {}{}, attempt {} ran in round {}",
                    done.place,
                    done.by,
                    self.when(done.round, done.at),
                    run.attempt,
                    run.round
                );
                self.say(Kind::CameBack, &done.job, detail);
            }
        }
    }

    /// When someone was told something, seen from the cut that ended the round.
    fn when(&self, round: u32, at: Moment) -> String {
        match self.history.cuts.get(round as usize) {
            Some((before, _)) if at < *before => {
                format!(
                    " in round {round}, {} ms before its cut",
                    before.ms_after(at)
                )
            }
            Some((_, after)) if at > *after => {
                format!(
                    " in round {round}, {} ms after its cut",
                    at.ms_after(*after)
                )
            }
            Some(_) => format!(" in round {round}, during its cut"),
            None => format!(" in round {round}"),
        }
    }

    /// Runs got the job's bytes, were counted, and were not too many.
    fn runs(&mut self) {
        let mut found = Vec::new();
        for (job, runs) in &self.runs {
            let Some((upload, sha256, false)) = self.origin(job) else {
                found.push((Kind::Stranger, *job, "run, and never uploaded".to_owned()));
                continue;
            };
            let mut ends = runs.iter().filter_map(|run| run.end.as_ref());
            if let Some((got, _)) = ends.find(|(got, _)| got != sha256) {
                found.push((Kind::RanOther, *job, format!("a run got {got}")));
            }
            if runs
                .iter()
                .any(|run| run.interface != upload.lane.interface())
            {
                found.push((Kind::RanOther, *job, "run by another interface".into()));
            }
            if runs.windows(2).any(|two| two[0].attempt >= two[1].attempt) {
                found.push((Kind::Uncounted, *job, attempts(runs)));
            }
            if upload.lane == Lane::Once && runs.len() > 1 {
                found.push((Kind::RanTwice, *job, attempts(runs)));
            }
        }
        for (kind, job, detail) in found {
            self.say(kind, job, detail);
        }
    }

    /// In an ordered interface, a job that was answered before another was sent is settled before
    /// that one runs.
    fn order(&mut self) {
        let mut span: HashMap<&str, (usize, usize)> = HashMap::new();
        for (at, run) in self.history.runs.iter().enumerate() {
            let (_, last) = span.entry(&run.job).or_insert((at, at));
            *last = at;
        }
        let mut answered: Vec<(Moment, &str)> = Vec::new();
        let mut sent: Vec<(Moment, &str)> = Vec::new();
        for upload in self
            .history
            .uploads
            .iter()
            .filter(|u| u.lane == Lane::Ordered)
        {
            if let Answer::Accepted { job, at } = &upload.answer {
                answered.push((*at, job));
                sent.push((upload.sent, job));
            }
        }
        answered.sort_unstable();
        sent.sort_unstable();
        let mut earlier = answered.into_iter().peekable();
        // Of all that were answered so far, the one that ran last, or never.
        let mut latest: Option<(usize, &str)> = None;
        for (sent_at, job) in sent {
            while let Some((_, before)) = earlier.next_if(|(at, _)| *at < sent_at) {
                let last = span.get(before).map_or(usize::MAX, |span| span.1);
                latest = latest.max(Some((last, before)));
            }
            if let (Some((last, before)), Some((first, _))) = (latest, span.get(job))
                && last > *first
            {
                let when = if last == usize::MAX { "never" } else { "later" };
                self.say(
                    Kind::OutOfOrder,
                    job,
                    format!("{before}, earlier, ran {when}"),
                );
            }
        }
    }

    /// Of every job that was acknowledged there is one line.
    fn lines(&mut self) {
        let Some(lines) = self.lines.take() else {
            return;
        };
        for upload in &self.history.uploads {
            let (Answer::Accepted { job, .. } | Answer::Refused { job }) = &upload.answer else {
                continue;
            };
            let n = lines.get(job).copied().unwrap_or(0);
            if n != 1 {
                self.say(
                    Kind::NoLine,
                    job,
                    format!("the day's record has {n} lines of it"),
                );
            }
        }
    }

    /// Every settled job has a log that is whole and tells of it.
    fn logs(&mut self) {
        let mut found = Vec::new();
        for (job, spots) in &self.spots {
            if spots[0].place.is_settled() && !self.logs.contains_key(job) {
                found.push((Kind::NoLog, job.clone(), self.paths(job)));
            }
        }
        for (job, file) in &self.logs {
            let Some(content) = &file.content else {
                continue;
            };
            let place = self.place(job);
            let sha256 = self.origin(job).map(|(_, sha256, _)| sha256);
            if let Err(why) = log_is_whole(job, &content.text, place, sha256) {
                found.push((Kind::Torn, job.clone(), format!("{}: {why}", file.path)));
            }
        }
        for (kind, job, detail) in found {
            self.say(kind, &job, detail);
        }
    }

    /// Results are all there and whole, and only of what ended with success.
    fn results(&mut self) {
        let mut found = Vec::new();
        for (job, files) in &self.results {
            let Some((upload, sha, false)) = self.origin(job) else {
                found.push((Kind::Stranger, job.clone(), "results of no job".into()));
                continue;
            };
            if self.successes(&upload.reference) == 0 {
                found.push((Kind::Early, job.clone(), "results, and no success".into()));
            }
            let text = sha256(result_text(&upload.reference).as_bytes());
            let expected = [("copy.xml", sha), ("result.json", text.as_str())];
            for (name, file) in files {
                let wanted = expected.iter().find(|(known, _)| known == name);
                let content = file.content.as_ref().map(|content| content.sha256.as_str());
                if wanted.is_none_or(|(_, sha)| content.is_some_and(|is| is != *sha)) {
                    found.push((Kind::Torn, job.clone(), file.path.clone()));
                }
            }
            if files.len() < expected.len() {
                found.push((Kind::Torn, job.clone(), "a result is missing".into()));
            }
        }
        for (job, spots) in &self.spots {
            let origin = self.origin(job).filter(|(upload, _, emitted)| {
                upload.traits.results && !emitted && matches!(spots[0].place, Place::Bak(_))
            });
            if origin.is_some() && !self.results.contains_key(job) {
                found.push((Kind::NoResult, job.clone(), "done without results".into()));
            }
        }
        for (kind, job, detail) in found {
            self.say(kind, &job, detail);
        }
    }

    /// What was fetched was whole, and exists.
    fn fetched(&mut self, all: &[Fetched]) {
        for fetched in all {
            let origin = self.origin(&fetched.job);
            if origin.is_none_or(|(_, sha256, _)| sha256 != fetched.sha256) {
                let detail = format!("a client fetched {}", fetched.sha256);
                self.say(Kind::Torn, &fetched.job, detail);
            }
            if self.place(&fetched.job).is_none() {
                let detail = format!("fetched{}", self.when(fetched.round, fetched.at));
                self.say(Kind::FetchedAndGone, &fetched.job, detail);
            }
        }
    }

    /// A key gets the same answer again.
    fn repeats(&mut self, all: &[Repeat]) {
        for repeat in all {
            let before = match &repeat.before {
                Answer::None => None,
                Answer::Accepted { job, .. } | Answer::Refused { job } => Some(job),
            };
            let same = match (&repeat.after, before) {
                (Ok(after), Some(before)) => after == before,
                (Ok(_), None) => true,
                (Err(_), _) => false,
            };
            if !same {
                let detail = format!("first {before:?}, then {:?}", repeat.after);
                self.say(Kind::KeyForgotten, &repeat.reference, detail);
            }
        }
    }

    /// What was to be processed has been, and ended as its processor said.
    fn settled(&mut self) {
        let mut found = Vec::new();
        for (job, spots) in &self.spots {
            let Some((upload, _, false)) = self.origin(job) else {
                continue;
            };
            let (lane, traits) = (upload.lane, upload.traits);
            let place = spots[0].place;
            let runs = self.runs.get(job.as_str()).map_or(&[][..], Vec::as_slice);
            if self.phase == Phase::Drained && lane.drains() && !place.is_settled() {
                found.push((Kind::Stuck, job.clone(), self.paths(job)));
            }
            let is_bak = matches!(place, Place::Bak(_));
            if (traits.fails || traits.broken || lane == Lane::Plain) && is_bak {
                found.push((Kind::Misplaced, job.clone(), self.paths(job)));
            }
            // A cut makes the outcome unknown, and that of an upload cannot come before it.
            let unknown = lane == Lane::Once && upload.round < self.history.round;
            let failed = place == Place::JobErrors && !traits.fails && !traits.broken;
            if failed && !unknown {
                found.push((Kind::FailedUnjustly, job.clone(), attempts(runs)));
            }
            let through = runs.iter().any(|run| run.end.is_some());
            if lane.has_command() && place.is_settled() && !through && !unknown {
                found.push((Kind::NeverRan, job.clone(), self.paths(job)));
            }
            if lane == Lane::Once && is_bak && !through {
                found.push((Kind::NeverRan, job.clone(), self.paths(job)));
            }
        }
        for (kind, job, detail) in found {
            self.say(kind, &job, detail);
        }
    }
}

fn attempts(runs: &[&Run]) -> String {
    let runs = runs.iter().map(|run| {
        let code = run.end.as_ref().map(|end| end.1);
        format!(
            "attempt {} in round {} ended {code:?}",
            run.attempt, run.round
        )
    });
    runs.collect::<Vec<_>>().join(", ")
}

fn log_is_whole(
    job: &str,
    text: &str,
    place: Option<Place>,
    sha256: Option<&str>,
) -> Result<(), String> {
    // Its reader takes what it finds; a log that was cut off has no end.
    if !text.starts_with("<?xml") || !text.trim_end().ends_with("</JobLog>") {
        let end: String = text.chars().rev().take(40).collect();
        let end: String = end.chars().rev().collect();
        return Err(format!("{} bytes, ending {end:?}", text.len()));
    }
    let log = JobLog::from_xml(text)?;
    let status = match place {
        Some(Place::Bak(_)) => Some(Status::Ok),
        Some(Place::JobErrors) => Some(Status::Error),
        Some(Place::Deferred(_) | Place::Queue(_) | Place::Work(_)) | None => None,
    };
    if log.job.to_string() != job {
        return Err(format!("it is of {}", log.job));
    }
    if status.is_some_and(|status| status != log.status) {
        return Err(format!("it says {:?}, the job is in {place:?}", log.status));
    }
    let other = |told: &String| sha256.is_some_and(|sha256| sha256 != told);
    if log.sha256.as_ref().is_some_and(other) {
        return Err(format!("it tells of other bytes: {:?}", log.sha256));
    }
    Ok(())
}
