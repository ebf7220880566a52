//! Clients that ask at a steady rate, whatever the server does. It promises that a slow answer
//! counts with all that it held up: the time runs from when a request was due.

use crate::{
    client::{Client, Trust},
    stats,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

pub(crate) struct Steady<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) trust: &'a Trust,
    pub(crate) connections: usize,
    /// Of all connections together.
    pub(crate) per_second: f64,
    pub(crate) window: Duration,
}

pub(crate) struct Outcome {
    pub(crate) p99_ms: f64,
}

/// Sends `request`, which must be answered with 200.
pub(crate) fn run(steady: &Steady<'_>, request: &[u8]) -> anyhow::Result<Outcome> {
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..steady.connections)
            .map(|n| scope.spawn(move || one(steady, n, request)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?
    .concat();
    Ok(Outcome {
        p99_ms: stats::percentile(&latencies, 0.99),
    })
}

fn one(steady: &Steady<'_>, number: usize, request: &[u8]) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(steady.address, steady.trust)?;
    // The handshake, and the first look at the password, are not what is measured.
    client.ask(request)?;
    let interval = Duration::from_secs_f64(steady.connections as f64 / steady.per_second);
    let mut latencies = Vec::new();
    let begun = Instant::now();
    // Spread over the interval, so that they do not all come at once.
    let mut due = begun + interval.mul_f64(number as f64 / steady.connections as f64);
    while due < begun + steady.window {
        // Waking late is our fault, not the server's; being held up by the last answer is its.
        let wait = due.checked_duration_since(Instant::now());
        wait.inspect(|wait| std::thread::sleep(*wait));
        let from = wait.map_or(due, |_| Instant::now());
        let answer = client.ask(request)?;
        anyhow::ensure!(answer.status == 200, "a good client got {}", answer.status);
        latencies.push(stats::millis(from.elapsed()));
        due += interval;
    }
    Ok(latencies)
}
