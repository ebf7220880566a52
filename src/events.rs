//! Receivers of events, and how they get them: signed, as [Standard Webhooks](https://www.standardwebhooks.com)
//! says, or as the input of a command.
//!
//! What waits is the store's to know. Here is decided when it is sent, and what an answer means. An event is sent
//! until it is taken, for three days, always under the same id: whoever gets it twice knows it again.
//!
//! Contract with the receiver: `docs/events.md`.

mod dispatcher;
mod pace;
mod signature;

pub use dispatcher::Dispatcher;

use crate::{
    client::{Body, Posting, Receiver as Endpoint, Trust},
    processor::{Command, Outcome, Starter},
    store::events::{Outgoing, Wants},
};
use jiff::Timestamp;
use signature::Keys;
use std::{path::PathBuf, sync::Arc, sync::OnceLock, time::Duration};
use tokio_util::sync::CancellationToken;

/// Of an answer nothing more is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Requests to one receiver at the same time.
const REQUESTS_MAX: usize = 8;

/// By what events are sent.
#[derive(Clone, Debug)]
pub struct Rules {
    pub receivers: Vec<Receiver>,
    /// When what waits has more bytes, the oldest are dead.
    pub bytes_max: u64,
}

/// Someone who is to get events.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    pub wants: Wants,
    pub way: Way,
}

/// How a receiver gets an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    Command(Command),
    Post(Post),
}

/// A URL that takes events.
#[derive(Clone, Debug)]
pub struct Post {
    url: String,
    cacert: Option<PathBuf>,
    secret: Option<PathBuf>,
    timeout: Duration,
    /// Made when it is first used.
    endpoint: Arc<OnceLock<Endpoint>>,
}

impl PartialEq for Post {
    /// Are they the same by what is written of them?
    fn eq(&self, other: &Self) -> bool {
        let Self {
            url,
            cacert,
            secret,
            timeout,
            endpoint: _,
        } = self;
        (url, cacert, secret, timeout) == (&other.url, &other.cacert, &other.secret, &other.timeout)
    }
}

/// Why an event was not taken, and how long its receiver asks to be left alone.
#[derive(Debug)]
struct Missed {
    reason: String,
    after: Option<Duration>,
}

impl Receiver {
    /// Why nothing can be sent, as far as that is known without asking the receiver. Reads certificates and secrets.
    ///
    /// # Errors
    /// When one of them cannot be read, or others may read a secret.
    pub fn check(&self) -> Result<(), String> {
        match &self.way {
            Way::Command(_) => Ok(()),
            Way::Post(post) => {
                post.endpoint()?;
                post.keys().map(drop)
            }
        }
    }

    /// How many events it gets at the same time: commands one after the other.
    fn at_once(&self) -> usize {
        match &self.way {
            Way::Command(_) => 1,
            Way::Post(_) => REQUESTS_MAX,
        }
    }

    async fn send(
        &self,
        out: &Outgoing,
        starter: Starter,
        stop: CancellationToken,
    ) -> Result<(), Missed> {
        match &self.way {
            Way::Command(command) => run(command, out, starter, &stop).await,
            Way::Post(post) => tokio::select! {
                // An answer that has come has come.
                biased;
                sent = post.send(out) => sent,
                () = stop.cancelled() => Err(Missed::because("the service stops".into())),
            },
        }
    }
}

impl Post {
    /// `cacert`: a PEM file with the certificates that are believed, instead of the system's. `secret`: a file with
    /// the secrets to sign with.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(
        url: &str,
        cacert: Option<PathBuf>,
        secret: Option<PathBuf>,
        timeout: Duration,
    ) -> Result<Self, &'static str> {
        Endpoint::check(url)?;
        Ok(Self {
            url: url.to_owned(),
            cacert,
            secret,
            timeout,
            endpoint: Arc::default(),
        })
    }

    /// Blocks, the first time.
    fn endpoint(&self) -> Result<&Endpoint, String> {
        if let Some(endpoint) = self.endpoint.get() {
            return Ok(endpoint);
        }
        let trust = match &self.cacert {
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let made = Endpoint::new(&self.url, &trust).map_err(|error| error.reason)?;
        Ok(self.endpoint.get_or_init(|| made))
    }

    fn keys(&self) -> Result<Option<Keys>, String> {
        self.secret.as_deref().map(Keys::read).transpose()
    }

    /// Reads the secrets each time, so that new ones count at once.
    fn posting(&self, out: &Outgoing) -> Result<Posting, String> {
        let (id, body) = (out.id.to_string(), out.event.to_json());
        let moment_s = Timestamp::now().as_second();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Some(keys) = self.keys()? {
            headers.push(("webhook-signature", keys.sign(&id, moment_s, &body)));
        }
        headers.push(("webhook-id", id));
        headers.push(("webhook-timestamp", moment_s.to_string()));
        Ok(Posting {
            body: Body::Memory(body.into()),
            headers,
        })
    }

    async fn send(&self, out: &Outgoing) -> Result<(), Missed> {
        let (post, out) = (self.clone(), out.clone());
        let ready = tokio::task::spawn_blocking(move || {
            post.endpoint()?;
            post.posting(&out)
        });
        let ready = ready.await.unwrap_or_else(|error| Err(error.to_string()));
        let posting = ready.map_err(Missed::because)?;
        let endpoint = self.endpoint().map_err(Missed::because)?;
        let posted = endpoint.post(&posting, ANSWER_BYTES_MAX);
        match tokio::time::timeout(self.timeout, posted).await {
            Err(_) => Err(Missed::because(format!(
                "no answer within {} s",
                self.timeout.as_secs()
            ))),
            Ok(Err(error)) => Err(Missed::because(error.reason)),
            Ok(Ok(answered)) if (200..=299).contains(&answered.status) => Ok(()),
            Ok(Ok(answered)) => Err(Missed {
                reason: format!("it answered {}", answered.status),
                after: answered.retry_after,
            }),
        }
    }
}

impl Missed {
    fn because(reason: String) -> Self {
        Self {
            reason,
            after: None,
        }
    }
}

/// Runs a command, with the event as JSON on its standard input.
async fn run(
    command: &Command,
    out: &Outgoing,
    starter: Starter,
    stop: &CancellationToken,
) -> Result<(), Missed> {
    let (id, kind) = (out.id.to_string(), out.event.kind.as_str().to_owned());
    let env = vec![("SPOOLGATE_EVENT", id), ("SPOOLGATE_EVENT_TYPE", kind)];
    let ended = command.run_with(out.event.to_json().into(), env, starter, stop);
    match ended.await {
        Outcome::Done => Ok(()),
        Outcome::Retry { reason, after } => Err(Missed { reason, after }),
        Outcome::Cut { reason, .. } | Outcome::Failed { reason } => Err(Missed::because(reason)),
        Outcome::Stopped => Err(Missed::because("the service stops".into())),
    }
}
