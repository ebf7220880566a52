//! The `http` processor: posts a job to a URL. The answer's status says what became of it, and a
//! JSON object as its body is the job's `result.json`.
//!
//! One request a run, over a connection of its own: it is never repeated within a run, no redirect
//! is followed. It is not known what happened to a request that was sent and not answered.
//!
//! What goes wrong on the way is written to the joblog without addresses and paths: partners read it.
//! The service's own log has them.
//!
//! Contract with the receiver: `docs/processors.md`, "Posting to a URL".

use super::{
    Outcome, PartnersSee, Run, RunEnd, now_ms,
    output::{Output, Source},
    signature,
};
use crate::{
    client::{Answered, Body, PostError, Posting, Receiver, Trust},
    domain::{JobName, Kind},
    util::secret,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use encoding_rs::{Encoding, UTF_8};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A longer value of a header may be refused on its way.
const PARAMS_BYTES_MAX: usize = 8 * 1024;

/// A URL that takes jobs.
#[derive(Clone, Debug)]
pub struct Post {
    url: String,
    cacert: Option<PathBuf>,
    secret: Option<PathBuf>,
    pub timeout: Duration,
    answer_bytes_max: usize,
    /// Made when it is first used.
    receiver: Arc<OnceLock<Receiver>>,
}

/// A request that is ready to be sent.
struct Ready {
    post: Post,
    posting: Posting,
}

impl Post {
    /// The URL without its scheme, and without a query, which may hold what is secret.
    pub(super) fn place(&self) -> &str {
        let place = self
            .url
            .split_once("://")
            .map_or(&*self.url, |(_, place)| place);
        place.split(['?', '#']).next().unwrap_or(place)
    }

    /// The error says what is wrong with the URL. `cacert`: a PEM file with the certificates that
    /// are believed, instead of the system's. `secret`: a file with the secret to sign with.
    ///
    /// # Errors
    /// When the URL cannot be posted to.
    pub fn new(
        url: &str,
        cacert: Option<PathBuf>,
        secret: Option<PathBuf>,
        timeout: Duration,
        answer_bytes_max: u64,
    ) -> Result<Self, &'static str> {
        Receiver::check(url)?;
        Ok(Self {
            url: url.to_owned(),
            cacert,
            secret,
            timeout,
            answer_bytes_max: usize::try_from(answer_bytes_max).unwrap_or(usize::MAX),
            receiver: Arc::default(),
        })
    }

    /// Why no job can be posted, as far as that is known without asking the receiver. Reads the
    /// certificates and the secret.
    ///
    /// # Errors
    /// When a certificate or the secret cannot be read, or others may read the secret.
    pub fn check(&self) -> Result<(), String> {
        self.receiver()?;
        self.secret().map(drop)
    }

    pub(super) async fn run(&self, run: Run, stop: &CancellationToken) -> RunEnd {
        let mut output = Output::new(PartnersSee::All, &run.job);
        let outcome = tokio::select! {
            // An answer that has come has come, whatever else is the case.
            biased;
            outcome = self.deliver(&run, &mut output) => outcome,
            () = stop.cancelled() => Outcome::Stopped,
        };
        RunEnd::new(outcome, output)
    }

    async fn deliver(&self, run: &Run, output: &mut Output) -> Outcome {
        match tokio::time::timeout(self.timeout, self.ask(run)).await {
            Err(_) => Outcome::Cut {
                reason: format!("the receiver took longer than {} s", self.timeout.as_secs()),
                timed_out: true,
            },
            Ok(Err(outcome)) => outcome,
            Ok(Ok(answered)) => self.judge(run, &answered, output).await,
        }
    }

    async fn ask(&self, run: &Run) -> Result<Answered, Outcome> {
        let ready = self.ready(run).await.map_err(|error| {
            tracing::error!(job = %run.job, error, "cannot be posted");
            retry("the job cannot be posted from here at the moment")
        })?;
        let receiver = ready.post.receiver();
        let answered = match receiver {
            Ok(receiver) => receiver.post(&ready.posting, self.answer_bytes_max).await,
            Err(reason) => Err(PostError {
                reason,
                was_sent: false,
            }),
        };
        answered.map_err(|error| unanswered(&run.job, &error))
    }

    /// What is to be sent: reads the body for its signature, and makes the receiver.
    async fn ready(&self, run: &Run) -> Result<Ready, String> {
        let post = self.clone();
        let mut headers = headers(run);
        let file = run.file.clone();
        let body = run.body.try_clone();
        let dir = run.dir.clone();
        let made = tokio::task::spawn_blocking(move || {
            post.receiver()?;
            let broken = |error: io::Error| format!("the job cannot be read: {error}");
            let mut body = body.map_err(broken)?;
            let bytes = body.metadata().map_err(broken)?.len();
            if let Some(params) = params(&dir).map_err(broken)? {
                headers.push(("x-spoolgate-params", params));
            }
            if let Some(secret) = post.secret()? {
                let moment_s = now_ms() / 1000;
                let signed = signature::sign(&secret, moment_s, &mut body).map_err(broken)?;
                headers.push(("x-spoolgate-timestamp", moment_s.to_string()));
                headers.push(("x-spoolgate-signature", signed));
            }
            let body = Body::File { path: file, bytes };
            let posting = Posting { body, headers };
            Ok(Ready { post, posting })
        });
        made.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Blocks, the first time.
    fn receiver(&self) -> Result<&Receiver, String> {
        if let Some(receiver) = self.receiver.get() {
            return Ok(receiver);
        }
        let trust = match &self.cacert {
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let made = Receiver::new(&self.url, &trust).map_err(|e| e.reason)?;
        Ok(self.receiver.get_or_init(|| made))
    }

    fn secret(&self) -> Result<Option<Vec<u8>>, String> {
        let path = self.secret.as_deref();
        path.map(secret::read).transpose()
    }

    async fn judge(&self, run: &Run, answered: &Answered, output: &mut Output) -> Outcome {
        let outcome = outcome_of(answered.status, answered.retry_after);
        if outcome != Outcome::Done {
            if is_readable(&answered.content_type) {
                let text = decoded(&answered.content_type, &answered.body);
                output.take(Source::Output, text.as_bytes(), now_ms());
            }
            return outcome;
        }
        if answered.is_cut {
            let max = self.answer_bytes_max;
            return Outcome::Failed {
                reason: format!("the receiver's answer has more than {max} bytes"),
            };
        }
        if serde_json::from_slice::<Map<String, Value>>(&answered.body).is_err() {
            return Outcome::Done;
        }
        let path = run.dir.join("results").join("result.json");
        match tokio::fs::write(&path, &answered.body).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::error!(job = %run.job, path = %path.display(), %error, "cannot be written");
                Outcome::Cut {
                    reason: "the receiver's answer cannot be kept".into(),
                    timed_out: false,
                }
            }
        }
    }
}

fn headers(run: &Run) -> Vec<(&'static str, String)> {
    let content_type = match run.job.kind() {
        Kind::Json => "application/json",
        Kind::Xml => "application/xml",
    };
    vec![
        ("content-type", content_type.to_owned()),
        ("x-spoolgate-attempt", run.attempt.to_string()),
        ("x-spoolgate-interface", run.interface.to_string()),
        ("x-spoolgate-job", run.job.to_string()),
        (
            "x-spoolgate-reference",
            run.job.reference().unwrap_or_default().to_owned(),
        ),
        ("x-spoolgate-submitter", run.submitter.clone()),
    ]
}

/// The parameters of a job as a header's value; `None` if they are too many.
fn params(dir: &Path) -> io::Result<Option<String>> {
    let params = std::fs::read(dir.join("params.json"))?;
    let value = STANDARD.encode(params);
    Ok((value.len() <= PARAMS_BYTES_MAX).then_some(value))
}

/// Text by the charset that it is said to have; UTF-8 if none is said, or an unknown one.
fn decoded<'a>(content_type: &str, body: &'a [u8]) -> Cow<'a, str> {
    let mut parts = content_type.split(';').map(str::trim);
    let label = parts.find_map(|part| part.strip_prefix("charset="));
    let label = label.map(|label| label.trim_matches('"').as_bytes());
    let encoding = label.and_then(Encoding::for_label).unwrap_or(UTF_8);
    encoding.decode(body).0
}

fn unanswered(job: &JobName, error: &PostError) -> Outcome {
    tracing::warn!(%job, was_sent = error.was_sent, reason = error.reason, "not answered");
    match error.was_sent {
        true => Outcome::Cut {
            reason: "the receiver did not answer, or not to the end".into(),
            timed_out: false,
        },
        false => retry("the receiver cannot be reached"),
    }
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry {
        reason: reason.to_owned(),
        after: None,
    }
}

/// What an answer's status means.
fn outcome_of(status: u16, after: Option<Duration>) -> Outcome {
    match status {
        200..=299 => Outcome::Done,
        300..=399 => Outcome::Failed {
            reason: format!("the receiver answered {status}: redirects are not followed"),
        },
        408 | 425 | 429 | 500..=599 => Outcome::Retry {
            reason: format!("the receiver answered {status}"),
            after,
        },
        _ => Outcome::Failed {
            reason: format!("the receiver answered {status}"),
        },
    }
}

/// A page for a browser is nothing for a log.
fn is_readable(content_type: &str) -> bool {
    content_type.starts_with("text/plain") || content_type.contains("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_became_of_the_job() {
        let after = Some(Duration::from_secs(9));
        for status in [200, 201, 202, 204] {
            assert_eq!(outcome_of(status, after), Outcome::Done);
        }
        for status in [408, 425, 429, 500, 501, 503, 599] {
            let outcome = outcome_of(status, after);
            let asked = matches!(&outcome, Outcome::Retry { after: asked, .. } if *asked == after);
            assert!(asked, "{status}");
        }
        for status in [301, 307, 400, 401, 404, 409, 413, 422, 600] {
            let failed = matches!(outcome_of(status, after), Outcome::Failed { .. });
            assert!(failed, "{status}");
        }
    }

    #[test]
    fn an_answer_is_decoded_by_its_charset() {
        for (content_type, body) in [
            ("text/plain; charset=iso-8859-1", b"gr\xfcn".as_slice()),
            ("text/plain;charset=\"windows-1252\"", b"gr\xfcn"),
            ("text/plain; charset=utf-8", "grün".as_bytes()),
            ("application/json", "grün".as_bytes()),
            ("text/plain; charset=unheard-of", "grün".as_bytes()),
        ] {
            assert_eq!(decoded(content_type, body), "grün", "{content_type}");
        }
    }

    #[test]
    fn pages_are_not_read() {
        for text in [
            "text/plain; charset=utf-8",
            "application/json",
            "application/problem+json",
        ] {
            assert!(is_readable(text), "{text}");
        }
        for other in ["", "text/html", "application/octet-stream"] {
            assert!(!is_readable(other), "{other}");
        }
    }
}
