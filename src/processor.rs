//! Processors: what is done with a job. A processor says what became of the job, it never moves
//! it, and it must be safe to run twice on one job: a crash between its work and our settling
//! repeats it (unless the interface delivers at most once).

mod adopted;
mod backoff;
mod command;
mod output;
mod post;
mod sandbox;
mod signature;
pub mod starter;

pub use adopted::Ending;
pub use backoff::Retry;
pub use command::{Command, ExitCodes, Kept, Run};
pub use output::PartnersSee;
pub use post::Post;
pub use sandbox::Sandbox;
pub use starter::Starter;

use crate::domain::joblog::{Level, Message};
use output::Output;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What an interface does with its jobs. An interface without one leaves them to pollers and
/// operators.
#[derive(Clone, Debug)]
pub enum Processor {
    /// Straight to `bak`.
    Archive,
    /// A program of the integrator's.
    Command(Command),
    /// A URL of the integrator's.
    Post(Post),
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// For good: another attempt would not help.
    Failed {
        reason: String,
    },
    /// Ended by a signal or a limit: it is not known how far it got.
    Cut {
        reason: String,
        timed_out: bool,
    },
    /// For now: another attempt may succeed, not before `after` if that is known.
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// Not finished because we were asked to stop; does not count.
    Stopped,
}

/// The end of a run.
#[derive(Debug)]
pub struct RunEnd {
    pub outcome: Outcome,
    pub messages: Vec<Message>,
}

impl RunEnd {
    /// With what the processor said, and at last why it has not done its work.
    fn new(outcome: Outcome, output: Output) -> Self {
        let mut messages = output.end(now_ms());
        let said = match &outcome {
            Outcome::Failed { reason } => Some((Level::Error, reason)),
            Outcome::Cut { reason, .. } | Outcome::Retry { reason, .. } => {
                Some((Level::Warning, reason))
            }
            Outcome::Done | Outcome::Stopped => None,
        };
        if let Some((level, reason)) = said {
            messages.push(Message::new(now_ms(), level, reason.clone()));
        }
        Self { outcome, messages }
    }
}

impl Processor {
    /// Does it work on a job, or leave it as it is? Only work needs a directory for results, and
    /// only work that was cut off counts as an attempt.
    pub fn works(&self) -> bool {
        match self {
            Self::Archive => false,
            Self::Command(_) | Self::Post(_) => true,
        }
    }

    /// What it is in a few words: the name of the program with its arguments, or where it posts to.
    pub fn summary(&self) -> String {
        match self {
            Self::Archive => "archive".into(),
            Self::Command(command) => {
                let (program, arguments) = match &command.argv[..] {
                    [program, arguments @ ..] => (program.as_str(), arguments),
                    [] => ("", &[][..]),
                };
                let program = program.rsplit('/').next().unwrap_or(program);
                let words = std::iter::once(program).chain(arguments.iter().map(String::as_str));
                words.collect::<Vec<_>>().join(" ")
            }
            Self::Post(post) => format!("POST {}", post.place()),
        }
    }

    /// How long a run may take, if it is limited.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Archive => None,
            Self::Command(command) => Some(command.timeout),
            Self::Post(post) => Some(post.timeout),
        }
    }

    /// How a run ended that outlived the service which began it; `None` if that is not known.
    pub fn recovered(&self, kept: &Kept) -> Option<RunEnd> {
        match self {
            Self::Archive | Self::Post(_) => None,
            Self::Command(command) => command.recovered(kept),
        }
    }

    /// Works on a job until it is done, fails, reaches a limit or `stop` says so.
    pub async fn run(&self, run: Run, stop: &CancellationToken) -> RunEnd {
        match self {
            Self::Archive => RunEnd {
                outcome: Outcome::Done,
                messages: Vec::new(),
            },
            Self::Command(command) => command.run(run, stop).await,
            Self::Post(post) => post.run(run, stop).await,
        }
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
