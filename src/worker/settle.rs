//! What becomes of a job after its run.

use super::{Core, Lane, runs::Run};
use crate::{
    domain::joblog::{Level, Message},
    metrics::Attempt,
    processor::{Outcome, Retry, RunEnd},
    scheduler::End,
    store::{By, Fate, Lease, Result, RunLog, Settled, Settlement, StoreError},
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

/// What is to become of a job after its run.
#[derive(Clone)]
struct Verdict {
    what: Settlement,
    /// How the attempt counts; `None`: it does not.
    attempt: Option<Attempt>,
    /// Why it has not done its work, if so.
    reason: Option<String>,
    /// `None`: there is nothing to be said of it.
    log: Option<RunLog>,
    /// Of the Unix epoch.
    ended_ms: i64,
}

impl Verdict {
    /// The job fails, for this reason alone; if it is to be given back, it is.
    fn failed(self, reason: String, now_ms: i64) -> Self {
        if self.what == Settlement::GivenBack {
            return self;
        }
        let message = Message::new(now_ms, Level::Error, &reason);
        Self {
            what: Settlement::Failed,
            attempt: Some(Attempt::Failed),
            reason: Some(reason),
            log: self.log.map(|log| RunLog {
                messages: vec![message],
                cancelled_by: None,
                ..log
            }),
            ..self
        }
    }
}

impl Core {
    /// `lane`: by whose rules the job was started.
    pub(super) async fn settle(
        &self,
        (lease, lane): (&Lease, &Lane),
        ended: RunEnd,
        started_ms: i64,
        run: &Run,
    ) -> End {
        let mut verdict = self.verdict_of((lease, lane), ended, started_ms, run).await;
        let first = verdict.clone();
        let mut settled = self.settle_patiently(lease, first.what, first.log).await;
        if let Err(error) = &settled
            && self.can_settle()
        {
            // What cannot be settled as it should be fails, so that it does not run for ever.
            let told = match error {
                StoreError::Refused(reason) => reason.clone(),
                other @ (StoreError::Conflict(_)
                | StoreError::Full(_)
                | StoreError::NotFound(_)
                | StoreError::Unavailable(_)
                | StoreError::Unhealthy(_)) => format!("the job could not be settled: {other}"),
            };
            tracing::error!(job = %lease.job, "{told}");
            verdict = verdict.failed(told, self.store.now_ms());
            let log = verdict.log.clone();
            settled = self.settle_at_last(lease, verdict.what, log).await;
        }
        match settled {
            Ok(settled) => {
                if let Some(attempt) = verdict.attempt {
                    self.attempted(lease, attempt, started_ms);
                }
                if run.cancelled_by().is_none() && verdict.what != Settlement::GivenBack {
                    self.ran(&lease.interface, verdict.ended_ms - started_ms);
                }
                self.told(lease, verdict, settled, started_ms)
            }
            Err(error) => {
                tracing::error!(job = %lease.job, %error, "the job cannot be settled");
                End::Unknown
            }
        }
    }

    /// What is to become of a job whose run has ended. From now on nobody can cancel it.
    async fn verdict_of(
        &self,
        (lease, lane): (&Lease, &Lane),
        ended: RunEnd,
        started_ms: i64,
        run: &Run,
    ) -> Verdict {
        let ended_ms = self.store.now_ms();
        let fate = self.fate_of(lease).await;
        let ended = match fate {
            Fate::Changed => ended,
            Fate::Moved | Fate::Restored | Fate::Whole => self.judged(lease, lane, ended).await,
        };
        let fails = |end: Message, mut messages: Vec<Message>| {
            let reason = Some(end.text.clone());
            messages.push(end);
            (Settlement::Failed, reason, messages)
        };
        let mut cancelled_by = None;
        let cut = cut_of(&ended.outcome);
        let (what, reason, mut messages) = match run.close() {
            // Whatever the command came to: nothing of it is published.
            Some(by) => {
                let end = Message::cancelled(ended_ms, &by.to_string());
                cancelled_by = Some(By::clone(&by));
                fails(end, ended.messages)
            }
            None if fate == Fate::Changed => {
                let end = Message::new(ended_ms, Level::Error, CHANGED);
                fails(end, ended.messages)
            }
            None => self.settlement_of((lease, lane), ended, ended_ms),
        };
        if fate == Fate::Restored {
            messages.insert(0, Message::new(ended_ms, Level::Warning, RESTORED));
        }
        let log = (what != Settlement::GivenBack).then_some(RunLog {
            started_ms,
            messages,
            cancelled_by,
        });
        let attempt = match (run.cancelled_by(), what) {
            (_, Settlement::GivenBack) => None,
            (Some(_), _) => Some(Attempt::Cancelled),
            (None, Settlement::Deferred { .. }) => cut.or(Some(Attempt::Retry)),
            (None, Settlement::Done) => Some(Attempt::Done),
            (None, Settlement::Failed) => cut.or(Some(Attempt::Failed)),
        };
        Verdict {
            what,
            attempt,
            reason,
            log,
            ended_ms,
        }
    }

    /// What a run came to, once its output and the rules of its interface were looked at.
    async fn judged(&self, lease: &Lease, lane: &Lane, ended: RunEnd) -> RunEnd {
        let reason = match &ended.outcome {
            Outcome::Done => match self.store.check_output(lease).await {
                Err(StoreError::Refused(reason)) => reason,
                Ok(Some(warning)) => {
                    let RunEnd {
                        outcome,
                        mut messages,
                    } = ended;
                    let now_ms = self.store.now_ms();
                    messages.push(Message::new(now_ms, Level::Warning, warning));
                    return RunEnd { outcome, messages };
                }
                Ok(None) | Err(_) => return ended,
            },
            Outcome::Cut { .. } | Outcome::Stopped if lane.at_most_once => {
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
        messages.push(Message::new(self.store.now_ms(), Level::Error, &reason));
        let outcome = Outcome::Failed { reason };
        RunEnd { outcome, messages }
    }

    /// Where the job goes, why, and what its log says of it.
    fn settlement_of(
        &self,
        (lease, lane): (&Lease, &Lane),
        ended: RunEnd,
        now_ms: i64,
    ) -> (Settlement, Option<String>, Vec<Message>) {
        let RunEnd {
            outcome,
            mut messages,
        } = ended;
        // Who asks for repetitions of a job means them after any error of its processor. Source: the
        // Robusta contract, `retryCount`.
        let again = !lane.at_most_once && lease.repeats;
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
        let (reason, asked) = match outcome {
            Outcome::Done => return (Settlement::Done, None, messages),
            Outcome::Failed { reason } => return (Settlement::Failed, Some(reason), messages),
            Outcome::Stopped => return (Settlement::GivenBack, None, messages),
            Outcome::Cut { reason, .. } => (reason, None),
            Outcome::Retry { reason, after } => (reason, after),
        };
        let retry = Retry {
            attempts: lease.attempts_max,
            ..lane.retry.clone()
        };
        let what = match retry.asked_wait_ms(lease.attempt, chance(), asked) {
            Some(wait_ms) => Settlement::Deferred {
                due_ms: now_ms + wait_ms,
            },
            None => {
                let text = format!("given up after {} attempts", lease.attempt);
                messages.push(Message::given_up(now_ms, text));
                Settlement::Failed
            }
        };
        (what, Some(reason), messages)
    }

    /// What has become of the job's document. Nothing is decided before that is known.
    async fn fate_of(&self, lease: &Lease) -> Fate {
        loop {
            match self.store.check_document(lease).await {
                Ok(fate) => return fate,
                Err(error) if self.can_settle() => {
                    tracing::error!(job = %lease.job, %error, "its document is looked at again");
                    tokio::time::sleep(AGAIN_EVERY).await;
                }
                // Nor can it be settled.
                Err(_) => return Fate::Whole,
            }
        }
    }

    pub(super) fn can_settle(&self) -> bool {
        self.store.unhealthy().is_none() && !self.kill.is_cancelled()
    }

    /// Settles a job however often that fails, without its log if need be, as long as the service
    /// goes on: nobody else would take the job out of `work`.
    async fn settle_at_last(
        &self,
        lease: &Lease,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        loop {
            let mut settled = self.settle_patiently(lease, what, log.clone()).await;
            if settled.is_err() && log.is_some() {
                // It may be the log that cannot be written.
                settled = self.settle_patiently(lease, what, None).await;
            }
            match settled {
                Err(error) if self.can_settle() => {
                    tracing::error!(job = %lease.job, %error, "not settled yet; tried again");
                    tokio::time::sleep(AGAIN_EVERY).await;
                }
                other => return other,
            }
        }
    }

    /// A full disk is waited for: the work is done, and doing it again would do it twice. Any other
    /// error of the disk is given some time to pass.
    async fn settle_patiently(
        &self,
        lease: &Lease,
        what: Settlement,
        log: Option<RunLog>,
    ) -> Result<Settled> {
        let mut failures = 0;
        loop {
            let error = match self.store.settle(lease, what, log.clone()).await {
                Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_))) => error,
                other => return other,
            };
            let is_full = matches!(error, StoreError::Full(_));
            failures += u32::from(!is_full);
            if failures >= SETTLES_MAX || !self.can_settle() {
                return Err(error);
            }
            let job = &lease.job;
            match is_full {
                true => tracing::error!(%job, %error, "disk full: the job waits to be settled"),
                false => tracing::error!(%job, %error, "cannot be settled now; tried again"),
            }
            tokio::time::sleep(AGAIN_EVERY).await;
        }
    }

    fn told(&self, lease: &Lease, verdict: Verdict, settled: Settled, started_ms: i64) -> End {
        let (job, interface, attempt) = (&lease.job, &lease.interface, lease.attempt);
        let ms = self.store.now_ms() - started_ms;
        let Verdict { what, reason, .. } = verdict;
        let reason = reason.unwrap_or_default();
        let emitted = match settled {
            Settled::Done { emitted } => emitted,
            Settled::Moved | Settled::Fenced => {
                tracing::warn!(%job, %interface, attempt, ms, "moved by hand while its command ran");
                return End::Unknown;
            }
        };
        match what {
            Settlement::Deferred { due_ms } => {
                let due = crate::domain::stamp(due_ms);
                tracing::warn!(%job, %interface, attempt, ms, due, reason, "deferred");
            }
            Settlement::Done => tracing::info!(%job, %interface, attempt, ms, "done"),
            Settlement::Failed => tracing::error!(%job, %interface, attempt, ms, reason, "failed"),
            Settlement::GivenBack => tracing::info!(%job, %interface, attempt, ms, "given back"),
        }
        for emitted in emitted {
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
}

/// How an attempt counts that was cut off.
fn cut_of(outcome: &Outcome) -> Option<Attempt> {
    match outcome {
        Outcome::Cut {
            timed_out: true, ..
        } => Some(Attempt::TimedOut),
        Outcome::Cut { .. } => Some(Attempt::Crashed),
        Outcome::Done | Outcome::Failed { .. } | Outcome::Retry { .. } | Outcome::Stopped => None,
    }
}

/// From 0 to 1, for jitter.
fn chance() -> f64 {
    let random = getrandom::u32().unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}
