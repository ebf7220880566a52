//! What the clients and the processors have recorded, over all cuts of one image.
//!
//! Everything is noted by those who saw it, after they had seen all of it. A round is what happens
//! up to a cut; the first is number 0.

use super::document::{Document, Lane, Traits};
use spoolgate::domain::JobName;
use std::{
    fs,
    sync::OnceLock,
    time::{Duration, Instant},
};

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The round that is under way.
    pub(super) round: u32,
    /// When each round ended: just before the cut, and just after.
    pub(super) cuts: Vec<(Moment, Moment)>,
    pub(super) uploads: Vec<Upload>,
    pub(super) done: Vec<Done>,
    pub(super) fetched: Vec<Fetched>,
    pub(super) repeats: Vec<Repeat>,
    pub(super) runs: Vec<Run>,
}

/// A document that was sent.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) reference: String,
    pub(super) lane: Lane,
    pub(super) traits: Traits,
    pub(super) sha256: String,
    /// Of the job that its processor emits.
    pub(super) emitted_sha256: String,
    /// It carried its reference as `Idempotency-Key`.
    pub(super) keyed: bool,
    pub(super) round: u32,
    pub(super) sent: Moment,
    pub(super) answer: Answer,
}

impl Upload {
    pub(super) fn of(document: &Document, keyed: bool, round: u32) -> Self {
        Self {
            reference: document.reference.clone(),
            lane: document.lane,
            traits: document.traits,
            sha256: document.sha256(),
            emitted_sha256: if document.traits.emits {
                document.emitted_sha256()
            } else {
                String::new()
            },
            keyed,
            round,
            sent: Moment::now(),
            answer: Answer::None,
        }
    }
}

/// What a client knows of its upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 201, received completely.
    Accepted { job: String, at: Moment },
    /// No answer, or one that promises nothing.
    None,
    /// 400 with the name under which the document is kept.
    Refused { job: String },
}

/// A client was told that a job is done: it may not come back.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) job: String,
    /// `bak/<interface>` or `joberrors`.
    pub(super) place: String,
    /// Which answer said so.
    pub(super) by: &'static str,
    pub(super) round: u32,
    pub(super) at: Moment,
}

/// A complete download of a job that was in its queue.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) job: String,
    pub(super) sha256: String,
    pub(super) round: u32,
    pub(super) at: Moment,
}

/// An upload that was sent again, under its key, after a restart.
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    pub(super) reference: String,
    pub(super) before: Answer,
    /// The job of a 201, or of a 400 for a document that is not well-formed; otherwise what was
    /// answered.
    pub(super) after: Result<String, String>,
}

/// One run of a processor.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) job: String,
    pub(super) interface: String,
    pub(super) attempt: u32,
    pub(super) round: u32,
    pub(super) started: Moment,
    /// Checksum of the body and exit code of a run that got through.
    pub(super) end: Option<(String, i32)>,
}

impl History {
    /// Takes in lines of the processors' record.
    pub(super) fn record_runs(&mut self, lines: &str) {
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["start", job, interface, attempt, up] => self.runs.push(Run {
                    job: job.to_owned(),
                    interface: interface.to_owned(),
                    attempt: attempt.parse().unwrap(),
                    round: self.round,
                    started: Moment::of_uptime(up),
                    end: None,
                }),
                ["end", job, _, attempt, sha256, code] => {
                    let attempt: u32 = attempt.parse().unwrap();
                    let mut runs = self.runs.iter_mut().rev();
                    let run = runs.find(|run| run.job == job && run.attempt == attempt);
                    let run = run.unwrap_or_else(|| panic!("an end without a start: {line}"));
                    run.end = Some((sha256.to_owned(), code.parse().unwrap()));
                }
                _ => panic!("not a record of a run: {line:?}"),
            }
        }
    }
}

/// The reference in a job's name.
pub(super) fn reference_of(job: &str) -> Option<String> {
    let name: JobName = job.parse().ok()?;
    name.reference().map(str::to_owned)
}

/// Since the machine was started: the same clock for clients and processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    pub(super) fn now() -> Self {
        static BASE: OnceLock<(Instant, Moment)> = OnceLock::new();
        let (instant, uptime) = BASE.get_or_init(|| {
            let text = fs::read_to_string("/proc/uptime").unwrap();
            let now = Self::of_uptime(text.split(' ').next().unwrap());
            (Instant::now(), now)
        });
        Self(uptime.0 + instant.elapsed())
    }

    fn of_uptime(seconds: &str) -> Self {
        Self(Duration::from_secs_f64(seconds.parse().unwrap()))
    }

    /// How much later than another, in milliseconds.
    pub(super) fn ms_after(self, other: Self) -> i128 {
        self.0.as_millis().cast_signed() - other.0.as_millis().cast_signed()
    }

    pub(super) fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + Duration::from_millis(ms))
    }
}
