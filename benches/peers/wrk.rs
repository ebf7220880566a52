//! The load generator `wrk`, with scripts of our own. It promises that both sides of a comparison
//! cost the client alike: every upload is put together anew, also where it need not be.

use crate::{scratch, tools};
use anyhow::{Context, bail, ensure};
use std::{fmt::Write, fs, time::Duration};

/// What is sent, again and again.
pub(crate) enum Request<'a> {
    Get {
        path: &'a str,
        authorization: Option<&'a str>,
    },
    /// `#` in `head` is replaced by a number that is never used again.
    Upload { head: String, body: &'a [u8] },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) window: Duration,
    /// Answers of 400 and above are what is asked for.
    pub(crate) refusals_wanted: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

pub(crate) fn run(base: &str, request: &Request<'_>, load: Load) -> anyhow::Result<Outcome> {
    let script = scratch::root()?.join("load.lua");
    fs::write(&script, lua(request))?;
    // One thread can load two cores only if it has nothing else to do.
    let threads = load.connections.min(2).to_string();
    let output = tools::WRK
        .command()
        .args(["-t", &threads, "-c", &load.connections.to_string()])
        .args(["-d", &format!("{}s", load.window.as_secs().max(1))])
        .args(["--timeout", "30s", "-s"])
        .arg(&script)
        .arg(base)
        .output()
        .context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("result ")) else {
        bail!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    outcome(line, load)
}

fn outcome(line: &str, load: Load) -> anyhow::Result<Outcome> {
    let numbers: Vec<f64> = line
        .split(' ')
        .map(|word| word.parse().with_context(|| format!("wrk: {line}")))
        .collect::<anyhow::Result<_>>()?;
    let [requests, duration_us, failed, refused, p50_us, p99_us] = numbers[..] else {
        bail!("wrk: {line}");
    };
    ensure!(failed == 0.0, "{failed} requests were not answered");
    ensure!(
        refused == 0.0 || load.refusals_wanted,
        "{refused} of {requests} requests were refused"
    );
    ensure!(requests > 0.0, "no request was answered");
    Ok(Outcome {
        requests,
        per_second: requests / (duration_us / 1e6),
        p50_us,
        p99_us,
    })
}

fn lua(request: &Request<'_>) -> String {
    let requests = match request {
        Request::Get {
            path,
            authorization,
        } => {
            let mut text = format!("wrk.path = {}\n", quoted(path.as_bytes()));
            if let Some(value) = authorization {
                let value = quoted(value.as_bytes());
                // Writing to a string cannot fail.
                let _ = writeln!(text, "wrk.headers[\"Authorization\"] = {value}");
            }
            text
        }
        Request::Upload { head, body } => {
            let (before, after) = head.split_once('#').unwrap_or((head, ""));
            let after = [after.as_bytes(), body].concat();
            let (before, after) = (quoted(before.as_bytes()), quoted(&after));
            format!(
                "local before, after, n = {before}, {after}, 0\n\
                 function request()\n  n = n + 1\n  \
                 return before .. id .. \"-\" .. n .. after\nend\n"
            )
        }
    };
    format!(
        "local n_threads = 0\n\
         function setup(thread)\n  thread:set(\"id\", n_threads)\n  n_threads = n_threads + 1\nend\n\
         {requests}\
         function done(summary, latency)\n  local e = summary.errors\n  \
         io.write(string.format(\"result %d %d %d %d %d %d\\n\", summary.requests, \
         summary.duration, e.connect + e.read + e.write + e.timeout, e.status, \
         latency:percentile(50), latency:percentile(99)))\nend\n"
    )
}

/// A Lua string that holds these bytes.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            // Three digits, so that a digit that follows is not taken for a part of it.
            other => text += &format!("\\{other:03}"),
        }
    }
    text.push('"');
    text
}
