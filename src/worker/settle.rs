//! What becomes of a job after its run.

use super::{Core, runs::Run};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    processor::{Ended, Outcome, Retry},
    scheduler::End,
    store::fs::{Claim, Fate, Fs, Moved, Published, Settlement, SpoolError},
};
use std::time::Duration;

/// How long to wait before settling is tried again.
pub(super) const AGAIN_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// How often it is tried as it should be on a disk that fails in another way than by being full.
const SETTLES_MAX: u32 = if cfg!(test) { 200 } else { 10 };

/// What the log says of a job whose document is not what it was.
const CHANGED: &str = "the job's document was changed by its command: it is no longer what was \
     accepted";
const RESTORED: &str = "the job's document was taken away while its command ran; it was put back";

impl Core {
    pub(super) fn settle(&self, mut claim: Claim, ended: Ended, started_ms: i64, run: &Run) -> End {
        let now_ms = self.spool.now_ms();
        let fate = self.fate_of(&mut claim);
        let (what, mut reason, mut messages) = match run.close() {
            Some(user) => {
                // Whatever the command came to: nothing of it is published.
                let end = Message::cancelled(now_ms, &user);
                let (reason, mut messages) = (end.text.clone(), ended.messages);
                messages.push(end);
                (Settlement::Failed, Some(reason), messages)
            }
            None if fate == Fate::Changed => {
                let mut messages = ended.messages;
                messages.push(Message::new(now_ms, Level::Error, CHANGED));
                (Settlement::Failed, Some(CHANGED.to_owned()), messages)
            }
            None => {
                let Ended { outcome, messages } = self.judged(&mut claim, ended);
                self.settlement_of(&claim, outcome, messages, now_ms)
            }
        };
        if fate == Fate::Restored {
            messages.insert(0, Message::new(now_ms, Level::Warning, RESTORED));
        }
        let log = (what != Settlement::GivenBack)
            .then(|| self.log_of(&claim, what, messages, started_ms));
        let mut what = what;
        let mut settled = self.settle_patiently(&mut claim, what, log.clone());
        if let Err(error) = &settled
            && self.can_settle()
        {
            // What cannot be settled as it should be fails, so that it does not run for ever.
            let told = match error {
                SpoolError::Output(reason) => reason.clone(),
                other @ (SpoolError::Full { .. }
                | SpoolError::Illegal(_)
                | SpoolError::Io { .. }
                | SpoolError::Unhealthy { .. }) => {
                    format!("the job could not be settled: {other}")
                }
            };
            tracing::error!(job = %claim.job(), "{told}");
            let log = log.map(|mut log| {
                log.status = Status::Error;
                log.messages = vec![Message::new(now_ms, Level::Error, &told)];
                log
            });
            if what != Settlement::GivenBack {
                (what, reason) = (Settlement::Failed, Some(told));
            }
            settled = self.settle_at_last(&mut claim, what, log);
        }
        match settled {
            Ok(published) => {
                if run.cancelled_by().is_none() && what != Settlement::GivenBack {
                    self.ran(claim.interface(), now_ms - started_ms);
                }
                self.told(&claim, what, reason, published, started_ms)
            }
            Err(error) => {
                tracing::error!(job = %claim.job(), %error, "the job cannot be settled");
                End::Unknown
            }
        }
    }

    /// What a run came to, once its output and the rules of its interface were looked at.
    fn judged(&self, claim: &mut Claim, ended: Ended) -> Ended {
        let reason = match &ended.outcome {
            Outcome::Done => match claim.check_output() {
                Err(SpoolError::Output(reason)) => reason,
                Ok(Some(warning)) => {
                    let Ended {
                        outcome,
                        mut messages,
                    } = ended;
                    let now_ms = self.spool.now_ms();
                    messages.push(Message::new(now_ms, Level::Warning, warning));
                    return Ended { outcome, messages };
                }
                Ok(None) | Err(_) => return ended,
            },
            Outcome::Cut { .. } | Outcome::Stopped
                if self.lanes[claim.interface()].at_most_once =>
            {
                "the outcome is unknown; this interface delivers at most once, so the job is not \
                 run again"
                    .to_owned()
            }
            Outcome::Cut { .. }
            | Outcome::Failed { .. }
            | Outcome::Retry { .. }
            | Outcome::Stopped => return ended,
        };
        let mut messages = ended.messages;
        messages.push(Message::new(self.spool.now_ms(), Level::Error, &reason));
        let outcome = Outcome::Failed { reason };
        Ended { outcome, messages }
    }

    /// Where the job goes, why, and what its log says of it.
    fn settlement_of(
        &self,
        claim: &Claim,
        outcome: Outcome,
        mut messages: Vec<Message>,
        now_ms: i64,
    ) -> (Settlement, Option<String>, Vec<Message>) {
        let asked = match &outcome {
            Outcome::Retry { after, .. } => *after,
            Outcome::Cut { .. } | Outcome::Done | Outcome::Failed { .. } | Outcome::Stopped => None,
        };
        // Who asks for repetitions of a job means them after any error of its processor. Source: the
        // Robusta contract, `retryCount`.
        let again = !self.lanes[claim.interface()].at_most_once
            && self.spool.retries_of(claim.place()).is_some();
        let outcome = match outcome {
            Outcome::Failed { reason } if again => Outcome::Retry {
                reason,
                after: None,
            },
            other @ (Outcome::Cut { .. }
            | Outcome::Done
            | Outcome::Failed { .. }
            | Outcome::Retry { .. }
            | Outcome::Stopped) => other,
        };
        let (what, reason) = match outcome {
            Outcome::Done => (Settlement::Done, None),
            Outcome::Failed { reason } => (Settlement::Failed, Some(reason)),
            Outcome::Cut { reason } | Outcome::Retry { reason, .. } => {
                let retry = Retry {
                    attempts: self.spool.attempts_max(claim.place()),
                    ..self.lanes[claim.interface()].retry.clone()
                };
                match retry.asked_wait_ms(claim.attempt(), chance(), asked) {
                    Some(wait_ms) => {
                        let due_ms = now_ms + wait_ms;
                        (Settlement::Deferred { due_ms }, Some(reason))
                    }
                    None => {
                        let text = format!("given up after {} attempts", claim.attempt());
                        messages.push(Message::given_up(now_ms, text));
                        (Settlement::Failed, Some(reason))
                    }
                }
            }
            Outcome::Stopped => (Settlement::GivenBack, None),
        };
        (what, reason, messages)
    }

    /// What has become of the job's own file. Nothing is decided before that is known.
    fn fate_of(&self, claim: &mut Claim) -> Fate {
        loop {
            match claim.check_document() {
                Ok(fate) => return fate,
                Err(error) if self.can_settle() => {
                    tracing::error!(job = %claim.job(), %error, "its document is looked at again");
                    std::thread::sleep(AGAIN_EVERY);
                }
                // Nor can it be settled.
                Err(_) => return Fate::Whole,
            }
        }
    }

    pub(super) fn can_settle(&self) -> bool {
        self.spool.unhealthy().is_none() && !self.kill.is_cancelled()
    }

    /// Settles a job however often that fails, without its log if need be, as long as the service
    /// goes on: nobody else would take the job out of `work`.
    pub(super) fn settle_at_last(
        &self,
        claim: &mut Claim,
        what: Settlement,
        log: Option<JobLog>,
    ) -> Result<Published, SpoolError> {
        loop {
            let mut settled = self.settle_patiently(claim, what, log.clone());
            if settled.is_err() && log.is_some() {
                // It may be the log that cannot be written.
                settled = self.settle_patiently(claim, what, None);
            }
            match settled {
                Err(error) if self.can_settle() => {
                    tracing::error!(job = %claim.job(), %error, "not settled yet; tried again");
                    std::thread::sleep(AGAIN_EVERY);
                }
                other => return other,
            }
        }
    }

    /// A full disk is waited for: the work is done, and doing it again would do it twice. Any other
    /// error of the disk is given some time to pass.
    fn settle_patiently(
        &self,
        claim: &mut Claim,
        what: Settlement,
        log: Option<JobLog>,
    ) -> Result<Published, SpoolError> {
        let mut failures = 0;
        loop {
            let error = match claim.settle(what, log.clone()) {
                Err(error @ (SpoolError::Full { .. } | SpoolError::Io { .. })) => error,
                other => return other,
            };
            failures += u32::from(!matches!(error, SpoolError::Full { .. }));
            if failures >= SETTLES_MAX || !self.can_settle() {
                return Err(error);
            }
            let (job, full) = (claim.job(), matches!(error, SpoolError::Full { .. }));
            match full {
                true => tracing::error!(%job, %error, "disk full: the job waits to be settled"),
                false => tracing::error!(%job, %error, "cannot be settled now; tried again"),
            }
            std::thread::sleep(AGAIN_EVERY);
        }
    }

    fn told(
        &self,
        claim: &Claim,
        what: Settlement,
        reason: Option<String>,
        published: Published,
        started_ms: i64,
    ) -> End {
        let (job, interface) = (claim.job(), claim.interface());
        let ms = self.spool.now_ms() - started_ms;
        let attempt = claim.attempt();
        let reason = reason.unwrap_or_default();
        if published.moved == Moved::Gone {
            tracing::warn!(%job, %interface, attempt, ms, "moved by hand while its command ran");
            return End::Unknown;
        }
        match what {
            Settlement::Deferred { due_ms } => {
                let due = crate::domain::stamp(due_ms);
                tracing::warn!(%job, %interface, attempt, ms, due, reason, "deferred");
            }
            Settlement::Done => tracing::info!(%job, %interface, attempt, ms, "done"),
            Settlement::Failed => tracing::error!(%job, %interface, attempt, ms, reason, "failed"),
            Settlement::GivenBack => tracing::info!(%job, %interface, attempt, ms, "given back"),
        }
        for emitted in published.emitted {
            tracing::info!(job = %emitted.name, place = %emitted.place, parent = %job, "emitted");
            if let Some(interface) = emitted.place.interface() {
                self.hints.arrived(interface, &emitted.name);
            }
        }
        match what {
            Settlement::Deferred { due_ms } => End::Deferred { due_ms },
            Settlement::Done | Settlement::Failed => End::Left,
            Settlement::GivenBack => End::Unknown,
        }
    }

    fn log_of(
        &self,
        claim: &Claim,
        what: Settlement,
        mut messages: Vec<Message>,
        started_ms: i64,
    ) -> JobLog {
        // A job that has a log has its notes there, and this run is not its first.
        if self.spool.read_log(claim.job()).is_some() {
            let text = format!("attempt {} started", claim.attempt());
            messages.insert(0, Message::new(started_ms, Level::Info, text));
        } else if let Some(first) = self.spool.first_words(claim.place()) {
            messages.insert(0, first);
        }
        let stat = self.spool.fs().stat(&claim.path()).ok().flatten();
        JobLog {
            job: claim.job().clone(),
            interface: Some(claim.interface().clone()),
            status: match what {
                Settlement::Done => Status::Ok,
                Settlement::Deferred { .. } | Settlement::Failed | Settlement::GivenBack => {
                    Status::Error
                }
            },
            received_ms: self.spool.received_ms(claim.place()),
            started_ms: Some(started_ms),
            finished_ms: self.spool.now_ms(),
            attempts: claim.attempt(),
            bytes: stat.map_or(0, |stat| stat.bytes),
            // Beside other bytes it would look as if it were right.
            sha256: match claim.fate() {
                Fate::Changed => None,
                Fate::Moved | Fate::Restored | Fate::Whole => self.spool.checksum_of(claim.place()),
            },
            messages,
        }
    }
}

/// From 0 to 1, for jitter.
fn chance() -> f64 {
    let random = getrandom::u32().unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}
