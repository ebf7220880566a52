//! The clients: uploaders, askers and pollers, each on a thread with a connection of its own, that
//! note what they are answered until the server is gone.

use super::{
    dice::Dice,
    document::{Document, Lane, sha256},
    history::{Answer, Done, Fetched, Moment, Repeat, Upload},
    wire::{Target, Wire},
};
use crate::harness;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// As many as keep both cores busy; more only wait for each other.
const UPLOADERS: usize = 16;
const ASKERS: usize = 2;
/// Askers look at the oldest jobs, which are the next to be done.
const OLDEST: u64 = 12;
/// The share of the uploads that carry a key.
const KEYED_ONE_IN: u64 = 3;
/// How often a poller asks for a job that it has fetched, until it is in `bak`.
const ASKS_MAX: usize = 200;
const NOTHING_TO_DO: Duration = Duration::from_millis(1);

/// Uploads, and the documents of those that carried a key.
pub(super) type Sent = Vec<(Upload, Option<Vec<u8>>)>;

/// What the clients have seen in one round.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sent: Sent,
    pub(super) done: Vec<Done>,
    pub(super) fetched: Vec<Fetched>,
    /// Answers that were none of those wanted, with their number.
    pub(super) odd: BTreeMap<String, usize>,
}

/// What the threads of a round share.
pub(super) struct Shared {
    round: u32,
    over: AtomicBool,
    pub(super) n_accepted: AtomicUsize,
    /// Accepted jobs that no one has seen done.
    open: Mutex<VecDeque<String>>,
    seen: Mutex<Seen>,
}

/// Ends the clients when it goes.
struct Over<'s>(&'s Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The clients of one image; their documents are numbered on over all its rounds.
pub(super) struct Clients {
    next: [usize; UPLOADERS],
}

impl Clients {
    pub(super) fn new() -> Self {
        Self {
            next: [0; UPLOADERS],
        }
    }

    /// Lets the clients loose until `until` returns, by when the server has to be gone.
    pub(super) fn run(
        &mut self,
        target: &Target,
        round: u32,
        dice: &mut Dice,
        until: impl FnOnce(&Shared),
    ) -> Seen {
        let shared = Shared {
            round,
            over: AtomicBool::new(false),
            n_accepted: AtomicUsize::new(0),
            open: Mutex::default(),
            seen: Mutex::default(),
        };
        std::thread::scope(|scope| {
            let shared = &shared;
            for (client, next) in self.next.iter_mut().enumerate() {
                let dice = dice.fork();
                scope.spawn(move || shared.upload(target, client, next, dice));
            }
            for _ in 0..ASKERS {
                let dice = dice.fork();
                scope.spawn(move || shared.ask(target, dice));
            }
            scope.spawn(move || shared.poll(target));
            // Also on a panic, which would wait for the threads forever.
            let _over = Over(shared);
            until(shared);
        });
        shared.seen.into_inner().unwrap()
    }
}

impl Shared {
    /// The clients finish what they have begun, and end.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn odd(&self, what: &str, answer: &harness::Answer) {
        let text = answer.text();
        let line = text.lines().next().unwrap_or_default();
        let what = format!("{what}: {} {line}", answer.status);
        *self.seen.lock().unwrap().odd.entry(what).or_default() += 1;
    }

    fn upload(&self, target: &Target, client: usize, next: &mut usize, mut dice: Dice) {
        let mut sent = Sent::new();
        // The error is the end of the server, or there is another connection to be had.
        while let (false, Ok(mut wire)) = (self.is_over(), Wire::connect(target)) {
            while !self.is_over() {
                let lane = lane_of(client, *next, &mut dice);
                let document = Document::new(client, *next, lane, &mut dice);
                *next += 1;
                let keyed = dice.one_in(KEYED_ONE_IN);
                let mut upload = Upload::of(&document, keyed, self.round);
                let answered = post(&mut wire, &upload, &document.body);
                if let Ok(answer) = &answered {
                    upload.answer = meaning(answer);
                    self.note(&upload, answer);
                }
                sent.push((upload, keyed.then_some(document.body)));
                if answered.is_err() {
                    break;
                }
            }
        }
        self.seen.lock().unwrap().sent.extend(sent);
    }

    fn note(&self, upload: &Upload, answer: &harness::Answer) {
        match &upload.answer {
            Answer::Accepted { job, .. } => {
                self.n_accepted.fetch_add(1, Ordering::SeqCst);
                if upload.lane.drains() {
                    self.open.lock().unwrap().push_back(job.clone());
                }
            }
            Answer::Refused { .. } => {}
            Answer::None => self.odd("upload", answer),
        }
    }

    /// Asks where jobs are, and sometimes for their log, until they are done.
    fn ask(&self, target: &Target, mut dice: Dice) {
        let mut done = Vec::new();
        let Ok(mut wire) = Wire::connect(target) else {
            return;
        };
        while !self.is_over() {
            let job = {
                let mut open = self.open.lock().unwrap();
                let n = OLDEST.min(open.len() as u64);
                let at = if n == 0 { 0 } else { dice.below(n) };
                open.remove(usize::try_from(at).unwrap())
            };
            let Some(job) = job else {
                std::thread::sleep(NOTHING_TO_DO);
                continue;
            };
            let (by, asked) = if dice.one_in(4) {
                ("joblog", self.log_of(&mut wire, &job))
            } else {
                ("jobstatus", self.place_of(&mut wire, &job))
            };
            match asked {
                Ok(Some(place)) => done.push(self.done(job, place, by)),
                Ok(None) => self.open.lock().unwrap().push_front(job),
                Err(_) => break,
            }
        }
        self.seen.lock().unwrap().done.extend(done);
    }

    fn done(&self, job: String, place: String, by: &'static str) -> Done {
        Done {
            job,
            place,
            by,
            round: self.round,
            at: Moment::now(),
        }
    }

    /// The place of a job that is done.
    fn place_of(&self, wire: &mut Wire, job: &str) -> io::Result<Option<String>> {
        let answer = wire.get(&format!("/xml/jobstatus?Jobname={job}"))?;
        if answer.status != 200 {
            self.odd("jobstatus", &answer);
            return Ok(None);
        }
        let place = answer.text().trim().to_owned();
        Ok((!place.starts_with("queue/")).then_some(place))
    }

    /// The place of a job, as far as its log tells that it is done.
    fn log_of(&self, wire: &mut Wire, job: &str) -> io::Result<Option<String>> {
        let answer = wire.get(&format!("/xml/joblog?Jobname={job}"))?;
        if answer.status != 200 {
            if answer.status != 503 {
                self.odd("joblog", &answer);
            }
            return Ok(None);
        }
        let text = answer.text();
        let value = |name: &str| {
            let rest = text.split(&format!(" {name}=\"")).nth(1)?;
            rest.split('"').next()
        };
        Ok(match (value("Status"), value("Interfacename")) {
            (Some("ok"), Some(interface)) => Some(format!("bak/{interface}")),
            (Some("error"), _) => Some("joberrors".to_owned()),
            _ => None,
        })
    }

    /// Fetches what commands have emitted, each job once.
    fn poll(&self, target: &Target) {
        let mut known = HashSet::new();
        let Ok(mut wire) = Wire::connect(target) else {
            return;
        };
        while !self.is_over() && self.poll_once(&mut wire, &mut known).is_ok() {
            std::thread::sleep(NOTHING_TO_DO);
        }
    }

    fn poll_once(&self, wire: &mut Wire, known: &mut HashSet<String>) -> io::Result<()> {
        let out = Lane::Out.interface();
        let queue = wire.get(&format!("/xml/jobqueue?Interfacename={out}"))?;
        if queue.status != 200 {
            self.odd("jobqueue", &queue);
            return Ok(());
        }
        let text = queue.text();
        for job in text.lines() {
            if self.is_over() || !known.insert(job.to_owned()) {
                continue;
            }
            let answer = wire.get(&format!("/xml/job?Interfacename={out}&Jobname={job}"))?;
            if answer.status != 200 {
                self.odd("job", &answer);
                continue;
            }
            self.seen.lock().unwrap().fetched.push(Fetched {
                job: job.to_owned(),
                sha256: sha256(&answer.body),
                round: self.round,
                at: Moment::now(),
            });
            for _ in 0..ASKS_MAX {
                if let Some(place) = self.place_of(wire, job)? {
                    let done = self.done(job.to_owned(), place, "jobstatus");
                    self.seen.lock().unwrap().done.push(done);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What clients upload: most of it rests, so that the rest can be worked off in time. One client
/// does all that is ordered, so that its order is known.
fn lane_of(client: usize, number: usize, dice: &mut Dice) -> Lane {
    if client == 0 && number.is_multiple_of(4) {
        return Lane::Ordered;
    }
    match dice.below(100) {
        0..15 => Lane::Archive,
        15..40 => Lane::Least,
        40..46 => Lane::Once,
        _ => Lane::Plain,
    }
}

fn post(wire: &mut Wire, upload: &Upload, body: &[u8]) -> io::Result<harness::Answer> {
    let reference = &upload.reference;
    let key = if upload.keyed {
        format!("Idempotency-Key: {reference}\r\n")
    } else {
        String::new()
    };
    wire.post(&format!("/xml/upload?RefName={reference}"), &key, body)
}

/// What an answer promises.
fn meaning(answer: &harness::Answer) -> Answer {
    let named = answer.header("x-job-name").map(str::to_owned);
    match (answer.status, named) {
        (201, _) => Answer::Accepted {
            job: answer.text().trim().to_owned(),
            at: Moment::now(),
        },
        (400, Some(job)) => Answer::Refused { job },
        _ => Answer::None,
    }
}

/// Sends uploads again under their keys, and learns what became of those without an answer.
pub(super) fn repeat(target: &Target, sent: &mut Sent) -> io::Result<Vec<Repeat>> {
    let mut wire = Wire::connect(target)?;
    let mut repeats = Vec::new();
    for (upload, body) in sent {
        let Some(body) = body else { continue };
        let answer = post(&mut wire, upload, body)?;
        let after = meaning(&answer);
        let promised = match &after {
            Answer::Accepted { job, .. } | Answer::Refused { job } => Ok(job.clone()),
            Answer::None => Err(format!("{} {}", answer.status, answer.text())),
        };
        repeats.push(Repeat {
            reference: upload.reference.clone(),
            before: upload.answer.clone(),
            after: promised,
        });
        if upload.answer == Answer::None {
            upload.answer = after;
        }
    }
    Ok(repeats)
}
