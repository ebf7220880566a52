//! Processors: what is done with a job. A processor says what became of the job, it never moves
//! it, and it must be safe to run twice on one job: a crash between its work and our settling
//! repeats it (unless the interface delivers at most once).

mod adopted;
mod backoff;
mod command;
mod output;

pub use adopted::Ending;
pub use backoff::Retry;
pub use command::{Command, ExitCodes, Run};

use crate::joblog::Message;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What an interface does with its jobs. An interface without one leaves them to pollers and
/// operators.
#[derive(Clone, Debug, PartialEq)]
pub enum Processor {
    /// Straight to `bak`.
    Archive,
    /// A program of the integrator's.
    Command(Command),
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// For good: another attempt would not help.
    Failed {
        reason: String,
    },
    /// Ended by a signal or a limit: nobody knows how far it got.
    Cut {
        reason: String,
    },
    /// For now: another attempt may succeed.
    Retry {
        reason: String,
    },
    /// Not finished because we were asked to stop; does not count.
    Stopped,
}

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub messages: Vec<Message>,
}

impl Processor {
    /// How long a run may take, if it is limited.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Archive => None,
            Self::Command(command) => Some(command.timeout),
        }
    }

    /// Works on a job until it is done, fails, reaches a limit or `stop` says so.
    pub async fn run(&self, run: Run, stop: &CancellationToken) -> Ended {
        match self {
            Self::Archive => Ended {
                outcome: Outcome::Done,
                messages: Vec::new(),
            },
            Self::Command(command) => command.run(run, stop).await,
        }
    }
}
