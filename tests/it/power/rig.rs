//! One image with its server, its clients and their history, through consecutive cuts.

use super::{
    Tally,
    checker::{Kind as Wrong, Violation, check},
    dice::Dice,
    document::Lane,
    history::{Answer, History, Moment, Upload},
    image::{Cut, Flush, Image, Kind},
    load::{self, Clients, Seen, Sent},
    server::Server,
    tell,
    tree::{Phase, Reader, names},
    variable,
    wire::Target,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything is waited for on a busy machine; what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// A load lasts so long before the power goes.
const LOAD_MS: (u64, u64) = (200, 1500);
/// Or, now and then, so soon after the clients have begun.
const EARLY_MS: (u64, u64) = (0, 300);
/// Longer than it takes the server to have tidied up when no one wants anything.
const QUIET_MS_MAX: u64 = 1200;
/// The server may notice that its disk has failed for so long before it is killed.
const AFTER_MS_MAX: u64 = 60;
/// Keys that are repeated after each cut, besides those without an answer.
const REPEATS: usize = 25;
/// Keys of earlier rounds that are repeated again and again.
const OLD_KEYS: usize = 5;
/// An image that is fuller is recreated.
const USED_MAX: f64 = 0.7;
/// So many violations of a round are printed with their evidence.
const TOLD_MAX: usize = 5;

pub(super) struct Rig {
    kind: Kind,
    seed: u64,
    dice: Dice,
    clients: Clients,
    history: History,
    reader: Reader,
    /// Keyed uploads of earlier rounds.
    old: Sent,
    /// The names on the disk before the server recovered it.
    raw: Vec<String>,
    /// Acknowledged uploads that have been checked after everything was worked off.
    n_verified: usize,
    /// Kinds of violations that are counted and passed over.
    known: Vec<String>,
    /// What was passed over, each once, with its kind.
    found_known: BTreeMap<String, String>,
    // In the order in which they have to go.
    server: Server,
    image: Image,
    _dir: TempDir,
}

/// What is going on when the power goes.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The clients are at it.
    Busy,
    /// The clients have been gone for so long; the server works off what is left, and tidies up.
    Quiet(Duration),
    /// The server has been stopped, in order.
    Stopped,
}

/// When and how the power goes.
#[derive(Debug)]
struct Chance {
    /// Already while the first answers are being made.
    early: bool,
    load: Duration,
    ending: Ending,
    cut: Cut,
    /// The server notices that its disk has failed for so long.
    after: Duration,
    flush: Flush,
}

impl Chance {
    fn throw(dice: &mut Dice) -> Self {
        let early = dice.one_in(6);
        let (least, most) = if early { EARLY_MS } else { LOAD_MS };
        Self {
            early,
            load: Duration::from_millis(dice.between(least, most)),
            ending: match dice.below(8) {
                0 => Ending::Stopped,
                1 => Ending::Quiet(Duration::from_millis(dice.between(0, QUIET_MS_MAX))),
                _ => Ending::Busy,
            },
            cut: if dice.one_in(4) {
                Cut::LogWritten
            } else {
                Cut::LogLost
            },
            after: Duration::from_millis(dice.between(0, AFTER_MS_MAX)),
            flush: if dice.one_in(3) {
                Flush::Slow
            } else {
                Flush::Quick
            },
        }
    }
}

/// What one round came to, for its line.
struct Line {
    load: Duration,
    n_acknowledged: usize,
    drained: Option<Duration>,
    odd: String,
}

impl Rig {
    /// The error says what this machine cannot do.
    pub(super) fn new(kind: Kind, seed: u64, number: u32) -> Result<Self, String> {
        let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let prefix = format!("power-{}-", kind.name());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(below);
        let dir = dir.map_err(|error| error.to_string())?;
        let image = Image::new(kind, dir.path())?;
        // Each image has a seed of its own, made from the first and its number.
        let mut dice = Dice::new(seed.wrapping_add(u64::from(number))).fork();
        // The smallest that there is wraps round within a round.
        let journal_mib = if dice.one_in(2) { 2 } else { 16 };
        let server = Server::new(dir.path(), &image.path().join("spool"), journal_mib);
        Ok(Self {
            kind,
            seed,
            dice,
            clients: Clients::new(),
            history: History::default(),
            reader: Reader::default(),
            old: Sent::new(),
            raw: Vec::new(),
            n_verified: 0,
            known: known_kinds(),
            found_known: BTreeMap::new(),
            server,
            image,
            _dir: dir,
        })
    }

    fn spool(&self) -> PathBuf {
        self.image.path().join("spool")
    }

    /// Cuts the power up to `most` times, or until something is found or the image is worn.
    pub(super) fn run(&mut self, most: u32, tally: &mut Tally) {
        let mut outcome = self.server.serve().map_err(|why| broken("start", &why));
        for n in 1.. {
            let Ok(target) = outcome else { break };
            let last = n == most || self.image.used() > USED_MAX;
            outcome = self.round(&target, last, tally);
            tally.cuts += 1;
            if last {
                break;
            }
        }
        if let Err(violations) = outcome {
            self.report(&violations, tally);
        }
        let uploads = self.history.uploads.iter();
        tally.acknowledged += uploads.filter(|u| u.answer != Answer::None).count();
        tally.runs += self.history.runs.len();
        tally.done += self.history.done.len();
        tally.fetched += self.history.fetched.len();
        for kind in std::mem::take(&mut self.found_known).into_values() {
            *tally.known.entry(kind).or_default() += 1;
        }
        tally.repeats += self.history.repeats.len();
    }

    /// Load, cut, recovery, and the verdict; gives the server that runs again.
    fn round(
        &mut self,
        target: &Target,
        last: bool,
        tally: &mut Tally,
    ) -> Result<Target, Vec<Violation>> {
        // Without a pause the power goes again while the server recovers and works off.
        let pause = last || !self.dice.one_in(4);
        let begun = Instant::now();
        let mut seen = self.load_and_cut(target)?;
        let load = begun.elapsed();
        // That a failed disk is no service is as it should be.
        seen.odd.retain(|answer, _| !answer.contains(": 503 "));
        let odd = if seen.odd.is_empty() {
            String::new()
        } else {
            format!("; odd answers: {:?}", seen.odd)
        };
        let n_acknowledged = (seen.sent.iter())
            .filter(|(upload, _)| upload.answer != Answer::None)
            .count();
        let (target, drained) = match self.recover(&mut seen, pause) {
            Ok((target, drained)) => (Ok(target), drained),
            Err(violations) => (Err(violations), None),
        };
        let line = Line {
            load,
            n_acknowledged,
            drained,
            odd,
        };
        self.tell(&line, tally);
        let target = target?;
        if !pause {
            return Ok(target);
        }
        self.stop_and_check(last)?;
        tally.verified += self.fresh();
        if last {
            return Ok(target);
        }
        self.server.serve().map_err(|why| broken("start", &why))
    }

    /// Lets the clients loose, takes the power away, and ends what was running.
    fn load_and_cut(&mut self, target: &Target) -> Result<Seen, Vec<Violation>> {
        let moment = Chance::throw(&mut self.dice);
        let (round, mut dice) = (self.history.round, self.dice.fork());
        let (image, server, cuts) = (&self.image, &mut self.server, &mut self.history.cuts);
        image.set_flush(moment.flush);
        let mut stopped = Ok(());
        let seen = self.clients.run(target, round, &mut dice, |shared| {
            let begun = Instant::now();
            let busy = || shared.n_accepted.load(Ordering::SeqCst) > 0;
            while !moment.early && !busy() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
            // The random moment: not a wait for something to happen.
            std::thread::sleep(moment.load);
            match moment.ending {
                Ending::Busy => {}
                Ending::Quiet(time) => {
                    shared.end();
                    std::thread::sleep(time);
                }
                Ending::Stopped => {
                    shared.end();
                    stopped = server.stop();
                }
            }
            let before = Moment::now();
            image.cut(moment.cut);
            cuts.push((before, Moment::now()));
            std::thread::sleep(moment.after);
            server.kill();
            image.set_flush(Flush::Quick);
        });
        self.history.record_runs(&self.server.take_runs());
        self.history.round += 1;
        self.reader.power_was_cut();
        stopped.map_err(|why| broken("stop", &why))?;
        Ok(seen)
    }

    /// Mounts the disk and starts the server; with a pause also looks at what it recovered and
    /// lets it work everything off.
    fn recover(
        &mut self,
        seen: &mut Seen,
        pause: bool,
    ) -> Result<(Target, Option<Duration>), Vec<Violation>> {
        self.image.unmount().unwrap();
        self.image.mount().unwrap();
        self.raw = names(&self.spool());
        if pause {
            self.hold(true);
        }
        let target = self.server.serve();
        let target = target.map_err(|why| broken("start after the cut", &why))?;
        let sent = std::mem::take(&mut seen.sent);
        self.history.done.append(&mut seen.done);
        self.history.fetched.append(&mut seen.fetched);
        let (uploads, keyed) = self.pick_repeats(sent);
        self.history.uploads.extend(uploads);
        if pause {
            // What is due goes back to its queue, also of a held interface; then nothing moves.
            self.wait_for(|rig| rig.is_empty(&["deferred"]));
            // Before the repeats, which put the key's jobs there if they were not.
            self.look(Phase::Recovered)?;
        }
        self.repeat(&target, keyed)?;
        if !pause {
            return Ok((target, None));
        }
        let begun = Instant::now();
        self.hold(false);
        // In the direction in which jobs travel, and back again for those that were deferred.
        self.wait_for(|rig| rig.is_empty(&["deferred", "queue", "work", "deferred"]));
        Ok((target, Some(begun.elapsed())))
    }

    /// All uploads, and of those that carried a key the ones to be repeated.
    fn pick_repeats(&mut self, sent: Sent) -> (Vec<Upload>, Sent) {
        let mut keyed = std::mem::take(&mut self.old);
        let uploads = sent.iter().map(|(upload, _)| upload.clone()).collect();
        let (unanswered, mut answered): (Sent, Sent) = (sent.into_iter())
            .filter(|(_, body)| body.is_some())
            .partition(|(upload, _)| upload.answer == Answer::None);
        for _ in 0..REPEATS.min(answered.len()) {
            let at = self.dice.below(answered.len() as u64);
            keyed.push(answered.swap_remove(usize::try_from(at).unwrap()));
        }
        keyed.extend(unanswered);
        (uploads, keyed)
    }

    /// Repeats uploads, and notes what became of those that had had no answer.
    fn repeat(&mut self, target: &Target, mut keyed: Sent) -> Result<(), Vec<Violation>> {
        let repeats = load::repeat(target, &mut keyed);
        let repeats = repeats.map_err(|error| broken("answer a repeat", &error.to_string()))?;
        self.history.repeats.extend(repeats);
        for (upload, _) in &keyed {
            let mut uploads = self.history.uploads.iter_mut().rev();
            if let Some(known) = uploads.find(|known| known.reference == upload.reference) {
                known.answer = upload.answer.clone();
            }
        }
        while keyed.len() > OLD_KEYS {
            let at = self.dice.below(keyed.len() as u64);
            keyed.swap_remove(usize::try_from(at).unwrap());
        }
        self.old = keyed;
        Ok(())
    }

    /// Holds all interfaces, or releases them, as an operator does.
    fn hold(&self, held: bool) {
        for lane in Lane::ALL {
            let path = self.spool().join("queue").join(lane.interface());
            let path = path.join(".hold");
            if held {
                // Before the first start that got through there is no queue to be held.
                let _ = fs::write(path, "");
            } else {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Waits for what has to come. If it does not, the checker finds what is stuck.
    fn wait_for(&self, reached: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !reached(self) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// No job is in one of these states, of those that leave them by themselves.
    fn is_empty(&self, states: &[&str]) -> bool {
        let is_empty = |dir: PathBuf| {
            let mut entries = fs::read_dir(dir).unwrap();
            entries.next().is_none()
        };
        let mut lanes = Lane::ALL.into_iter().filter(|lane| lane.drains());
        lanes.all(|lane| {
            let dirs = states.iter().map(|state| self.spool().join(state));
            dirs.map(|dir| dir.join(lane.interface())).all(is_empty)
        })
    }

    fn stop_and_check(&mut self, last: bool) -> Result<(), Vec<Violation>> {
        self.server.stop().map_err(|why| broken("stop", &why))?;
        if last {
            self.reader.forget();
        }
        self.look(Phase::Drained)
    }

    fn look(&mut self, phase: Phase) -> Result<(), Vec<Violation>> {
        self.history.record_runs(&self.server.take_runs());
        let tree = self.reader.read(&self.spool(), phase);
        let violations = check(&self.history, &tree).into_iter();
        let (known, violations): (Vec<_>, Vec<_>) =
            violations.partition(|violation| self.known.contains(&violation.kind_name()));
        let known = known.iter().map(|v| (v.to_string(), v.kind_name()));
        self.found_known.extend(known);
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }

    /// Acknowledged uploads that the last check has looked at for the first time.
    fn fresh(&mut self) -> usize {
        let answered = |upload: &&Upload| upload.answer != Answer::None;
        let n = self.history.uploads.iter().filter(answered).count();
        n - std::mem::replace(&mut self.n_verified, n)
    }

    fn tell(&self, line: &Line, tally: &Tally) {
        let drained = line.drained.map_or("power gone again".into(), |time| {
            format!("worked off in {:.1} s", time.as_secs_f64())
        });
        tell(format_args!(
            "{} cut {}: {} uploads acknowledged, cut and killed after {:.2} s, {drained}{}",
            self.kind.name(),
            tally.cuts + 1,
            line.n_acknowledged,
            line.load.as_secs_f64(),
            line.odd
        ));
    }

    /// Prints what was found, with what the server said and where the job lay, and keeps the rest.
    fn report(&mut self, violations: &[Violation], tally: &mut Tally) {
        let (name, seed, cut) = (self.kind.name(), self.seed, tally.cuts);
        let kept = format!("power-evidence-{name}-{seed}-{cut}");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kept);
        self.server.keep_evidence(&kept);
        let list: Vec<String> = violations.iter().map(Violation::to_string).collect();
        fs::write(kept.join("violations"), list.join("\n")).unwrap();
        fs::write(kept.join("disk"), self.raw.join("\n")).unwrap();
        for violation in violations.iter().take(TOLD_MAX) {
            tell(format_args!("{name} cut {cut}: VIOLATION {violation}"));
            let on_disk = self
                .raw
                .iter()
                .filter(|path| path.contains(&violation.about));
            let on_disk: Vec<&str> = on_disk.map(String::as_str).collect();
            tell(format_args!("  on the disk after the cut: {on_disk:?}"));
            for line in self.server.log_of(&violation.about, 8).lines() {
                tell(format_args!("  log: {line}"));
            }
        }
        tell(format_args!(
            "{} violations; all of it is in {}",
            list.len(),
            kept.display()
        ));
        let marked = list.iter().map(|text| format!("{name} cut {cut}: {text}"));
        tally.violations.extend(marked);
    }
}

fn known_kinds() -> Vec<String> {
    let kinds = variable("SPOOLGATE_POWER_KNOWN").unwrap_or_default();
    kinds.split(',').map(str::to_owned).collect()
}

fn broken(what: &str, why: &str) -> Vec<Violation> {
    vec![Violation {
        kind: Wrong::Server,
        about: "the server".into(),
        detail: format!("it does not {what}: {why}"),
    }]
}
