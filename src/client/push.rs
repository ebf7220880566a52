//! `spoolgate push`: uploads files, one after the other.
//!
//! Trying again makes no second job. Every upload carries an `Idempotency-Key` derived from the
//! content's SHA-256, the file's name, size, inode and modification time, the interface and the
//! reference. So the same push repeated after a crash of the client, or after an answer that got
//! lost, is answered with the job that is there already, as long as the server remembers the key;
//! a refusal is repeated, too, and said to be one. A file that was rewritten counts as new,
//! even with the same content; to push an unchanged file as another job, [`PushOptions::again`]
//! makes a fresh key, and [`PushOptions::key`] is one of the caller's own.
//!
//! The content is hashed first and its digest sent along, so a bit flipped on the way or a file
//! that changes meanwhile is refused by the server instead of becoming a job. Job names go to
//! standard output, one a line, everything else to standard error. A file that fails does not stop
//! the next.

mod content;

use super::connect::{ClientError, Endpoint};
use super::request::{Ask, Client, Payload, Progress, Response, target};
use super::retry::{self, Backoff};
use crate::domain::{InterfaceName, JobName, digest_field, escaped};
use crate::util::Input;
use anyhow::Context as _;
use content::Content;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More findings than anyone reads.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

pub struct PushOptions {
    /// Push as new jobs what was pushed before, unchanged.
    pub again: bool,
    /// `None`: the server recognises it by the document.
    pub interface: Option<InterfaceName>,
    /// One line of JSON per file on standard output.
    pub json: bool,
    /// The idempotency key, for one file only. `None`: derived, see the module's head.
    pub key: Option<String>,
    /// No progress bar and no remarks about retries.
    pub quiet: bool,
    /// Part of the job's name. `None`: the file's name without its extension.
    pub reference: Option<String>,
    /// How often a failed upload is tried again.
    pub retries: u32,
    /// The first delay; it doubles each time.
    pub retry_delay: Duration,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            again: false,
            interface: None,
            json: false,
            key: None,
            quiet: false,
            reference: None,
            retries: 5,
            retry_delay: retry::FIRST_DELAY,
        }
    }
}

/// How many files became jobs and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushSummary {
    pub failed: usize,
    pub pushed: usize,
}

/// Pushes all files; an error at the end when any of them failed.
///
/// # Errors
/// When a file could not be pushed, after all others have been tried. Pushing the same files again
/// makes no second job of those that arrived.
pub async fn push(
    endpoint: &Endpoint,
    files: &[PathBuf],
    options: &PushOptions,
) -> anyhow::Result<PushSummary> {
    let summary = push_to(
        endpoint,
        files,
        options,
        &mut io::stdout(),
        &mut io::stderr(),
    )
    .await?;
    if summary.failed > 0 {
        anyhow::bail!(
            "{} of {} files were not pushed",
            summary.failed,
            files.len()
        );
    }
    Ok(summary)
}

async fn push_to(
    endpoint: &Endpoint,
    files: &[PathBuf],
    options: &PushOptions,
    out: &mut (dyn Write + Send),
    log: &mut (dyn Write + Send),
) -> anyhow::Result<PushSummary> {
    if options.key.is_some() && files.len() != 1 {
        anyhow::bail!("--key names one job, but there are {} files", files.len());
    }
    Input::named_once(files).map_err(anyhow::Error::msg)?;
    let mut pusher = Pusher {
        client: Client::new(endpoint),
        options,
        log,
    };
    let mut summary = PushSummary::default();
    for path in files {
        let outcome = pusher.file(path).await;
        match &outcome {
            Ok(pushed) => {
                summary.pushed += 1;
                if pushed.replayed {
                    let (path, job) = (path.display(), &pushed.job);
                    let log = &mut pusher.log;
                    writeln!(log, "{path}: pushed before as {job}; --again for a new job")?;
                }
            }
            Err(refused) => {
                summary.failed += 1;
                refused.print(path, pusher.log)?;
            }
        }
        let line = match (&outcome, options.json) {
            (outcome, true) => json_line(path, outcome),
            (Ok(pushed), false) => pushed.job.to_string(),
            (Err(_), false) => continue,
        };
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .context("standard output")?;
    }
    Ok(summary)
}

struct Pushed {
    bytes: u64,
    job: JobName,
    /// An earlier push has made the job.
    replayed: bool,
    sha256: String,
}

/// Why a file did not become a job.
struct Refused {
    /// One per line of the server's answer.
    findings: Vec<String>,
    message: String,
    status: Option<StatusCode>,
}

impl Refused {
    fn because(message: impl ToString) -> Self {
        Self {
            findings: Vec::new(),
            message: message.to_string(),
            status: None,
        }
    }

    /// `file: why`, then the findings as `file:line:column: message`, which editors understand.
    fn print(&self, path: &Path, log: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        let path = path.display();
        writeln!(log, "{path}: {}", self.message)?;
        for finding in &self.findings {
            let gap = if is_located(finding) { "" } else { " " };
            writeln!(log, "{path}:{gap}{finding}")?;
        }
        Ok(())
    }
}

/// `line:column: message`.
fn is_located(finding: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = finding.splitn(3, ':');
    let located = parts.next().is_some_and(number) && parts.next().is_some_and(number);
    located && parts.next().is_some()
}

fn json_line(path: &Path, outcome: &Result<Pushed, Refused>) -> String {
    let file = path.display().to_string();
    let line = match outcome {
        Ok(pushed) => serde_json::json!({
            "file": file,
            "job": pushed.job.to_string(),
            "bytes": pushed.bytes,
            "replayed": pushed.replayed,
            "sha256": pushed.sha256,
        }),
        Err(refused) => serde_json::json!({
            "file": file,
            "error": refused.message,
            "findings": refused.findings,
            "status": refused.status.map(|status| status.as_u16()),
        }),
    };
    line.to_string()
}

struct Pusher<'a> {
    client: Client<'a>,
    log: &'a mut (dyn Write + Send),
    options: &'a PushOptions,
}

/// One attempt's end that is not a job.
enum Missed {
    /// Worth trying again, after the time that the server asked for.
    ForNow(Refused, Option<Duration>),
    ForGood(Refused),
}

impl Pusher<'_> {
    async fn file(&mut self, path: &Path) -> Result<Pushed, Refused> {
        let owned = path.to_owned();
        let read = tokio::task::spawn_blocking(move || Content::read(&owned)).await;
        let content = read.map_err(Refused::because)?.map_err(Refused::because)?;
        let bar = self.bar(path, content.bytes);
        let ask = self.ask(path, &content, &bar)?;
        let outcome = self.try_and_try_again(path, &ask).await;
        bar.finish_and_clear();
        let (job, replayed) = outcome?;
        Ok(Pushed {
            bytes: content.bytes,
            job,
            replayed,
            sha256: hex::encode(content.sha256),
        })
    }

    /// The job, and whether an earlier push has made it.
    async fn try_and_try_again(
        &mut self,
        path: &Path,
        ask: &Ask,
    ) -> Result<(JobName, bool), Refused> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(self.options.retry_delay);
        for left in (0..=self.options.retries).rev() {
            let (mut refused, asked) = match self.once(ask, begun).await {
                // Otherwise it was an attempt of this push whose answer got lost.
                Ok((job, replayed)) => return Ok((job, replayed && left == self.options.retries)),
                Err(Missed::ForGood(refused)) => return Err(refused),
                Err(Missed::ForNow(refused, asked)) => (refused, asked),
            };
            if let Some(asked) = asked.filter(|asked| *asked > retry::ASKED_MAX) {
                refused.message += &format!("; push it again in {} s", asked.as_secs());
                return Err(refused);
            }
            if left == 0 {
                return Err(refused);
            }
            let delay = backoff.delay(asked);
            if !self.options.quiet {
                let (path, why, s) = (path.display(), &refused.message, delay.as_secs_f32());
                // A remark that cannot be written is no reason to stop pushing.
                let _ = writeln!(self.log, "{path}: {why}; trying again in {s:.1} s");
            }
            tokio::time::sleep(delay).await;
        }
        Err(Refused::because("it was not tried"))
    }

    async fn once(&mut self, ask: &Ask, begun: Instant) -> Result<(JobName, bool), Missed> {
        let failed = |error: ClientError| {
            let refused = Refused::because(&error);
            if error.is_temporary() {
                Missed::ForNow(refused, None)
            } else {
                Missed::ForGood(refused)
            }
        };
        let response = self.client.request(ask).await.map_err(failed)?;
        let (status, asked) = (response.status, retry::asked(&response.headers));
        if status.is_success() {
            let replayed = response.headers.get("idempotency-replayed");
            let replayed = replayed.is_some_and(|value| value == "true");
            let text = response.text(ANSWER_BYTES_MAX).await.map_err(failed)?;
            let job = text.trim().parse().map_err(|_| {
                let message = "the answer is no job name; is this a dStore server?";
                Missed::ForGood(Refused::because(message))
            });
            return job.map(|job| (job, replayed));
        }
        let refused = refusal(response, begun).await;
        Err(if retry::is_temporary(status) {
            Missed::ForNow(refused, asked)
        } else {
            Missed::ForGood(refused)
        })
    }

    fn ask(&self, path: &Path, content: &Content, bar: &ProgressBar) -> Result<Ask, Refused> {
        let options = self.options;
        let interface = options.interface.as_ref().map(InterfaceName::as_str);
        let stem = path.file_stem().filter(|_| !Input::is_standard(path));
        let stem = stem.map(|stem| stem.to_string_lossy());
        let reference = options.reference.as_deref().or(stem.as_deref());
        let key = match &options.key {
            Some(key) => key.clone(),
            None if options.again => random_key().map_err(Refused::because)?,
            None => content.key(path, interface, reference),
        };
        let digest = digest_field(&content.sha256);
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-digest", digest), ("idempotency-key", key)] {
            let value = HeaderValue::try_from(value);
            let value = value.map_err(|_| Refused::because("the key does not fit a header"))?;
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let bar = bar.clone();
        let progress: Progress = Arc::new(move |sent| bar.set_position(sent));
        Ok(Ask {
            headers,
            method: Method::POST,
            payload: Payload::File {
                path: content.input.path().to_owned(),
                bytes: content.bytes,
                progress,
            },
            target: target(
                "/xml/upload",
                &[("Interfacename", interface), ("RefName", reference)],
            ),
        })
    }

    fn bar(&self, path: &Path, bytes: u64) -> ProgressBar {
        let visible = !self.options.quiet && !self.options.json && io::stderr().is_terminal();
        if !visible {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let shape = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        let name = path.file_name().unwrap_or_default();
        bar.set_message(escaped(&name.to_string_lossy()));
        bar
    }
}

/// The server's words, with ours for the cases in which the person can do something.
async fn refusal(response: Response, begun: Instant) -> Refused {
    let status = response.status;
    let pushed_ms = server_ms(&response.headers, begun);
    let job = response.headers.get("x-job-name");
    let job = job.and_then(|name| name.to_str().ok()?.parse::<JobName>().ok());
    // The status says enough when the text does not arrive.
    let text = response.text(ANSWER_BYTES_MAX).await.unwrap_or_default();
    let name = job.as_ref().map(JobName::to_string);
    let lines = text.lines().map(str::trim);
    let findings = lines.filter(|line| !line.is_empty() && Some(*line) != name.as_deref());
    let findings = findings.map(escaped).collect();
    let hint = match status.as_u16() {
        401 => "user or password is wrong; check --user",
        403 => "the user may not upload here",
        413 => "the document is larger than the interface takes",
        429 => "the user has sent too much",
        _ => "the server refused it",
    };
    let kept = name.map_or_else(String::new, |name| format!("; kept there as {name}"));
    // A job that is older than this push is of one before, and so is the answer.
    let before = match (&job, pushed_ms) {
        (Some(job), Some(pushed_ms)) if job.id().unix_ms() < pushed_ms => {
            "; this is the answer from before, --again sends it as a new one"
        }
        (_, _) => "",
    };
    Refused {
        findings,
        message: format!("{hint} ({status}){kept}{before}"),
        status: Some(status),
    }
}

/// When the push began by the server's clock, which names its jobs; up to seconds too early,
/// since a `Date` has whole ones.
fn server_ms(headers: &HeaderMap, begun: Instant) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    let elapsed_ms = i64::try_from(begun.elapsed().as_millis()).ok()?;
    Some(date.timestamp().as_millisecond() - elapsed_ms)
}

fn random_key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests;
