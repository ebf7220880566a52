//! A restart on a socket that a service manager keeps open: how long those wait who connect meanwhile.
//!
//! The jobs are empty files with valid names. Each request has a connection of its own, so that somebody connects at
//! every moment of the gap; one that is refused, or not answered as it should be, fails the row.

use super::million::{make_jobs, name};
use crate::{
    client::{Client, Trust, request},
    context::Context,
    report::{Line, Target},
    server::Site,
    stats,
};
use anyhow::{Context as _, anyhow, ensure};
use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const N_QUEUED: usize = 100_000;
const N_QUEUED_QUICK: usize = 10_000;
const N_CLIENTS: usize = 4;
/// Answers before and after each restart.
const N_ANSWERS: usize = 200;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_queued = context.choose(N_QUEUED, N_QUEUED_QUICK);
    let site = Site::new(&context.binary, "restart")?;
    eprintln!("  making {n_queued} files");
    make_jobs(&site.spool("queue/plain"), 0..n_queued)?;
    let (mut longest_s, mut usual_s, mut down_s) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds {
        context.settle()?;
        let (waits, down) = restart(&site)?;
        longest_s.push(stats::greatest(&waits));
        usual_s.push(stats::median(&waits));
        down_s.push(down.as_secs_f64());
        eprintln!("  round {}: {:.2} s", round + 1, stats::greatest(&waits));
    }
    let line = Line::new(
        format!(
            "restart with {n_queued} queued, the longest that a connection waits for its answer"
        ),
        Target::AtMost(1.0),
        longest_s,
    );
    Ok(vec![
        line.unit("s")
            .side("a usual answer", &usual_s, "s")
            .side("from the signal to the next listening line", &down_s, "s")
            .note("on a socket that stays open; none is refused; the first login's Argon2id hash is a part of it"),
    ])
}

/// Restarts a server whose clients ask all the time. Gives how many seconds each answer took, and how long it was from
/// the signal until the next server listened.
fn restart(site: &Site) -> anyhow::Result<(Vec<f64>, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = site.start_on(&listener)?;
    let (address, trust) = (server.address, site.trust()?);
    let path = format!("/xml/jobstatus?Jobname={}", name(0));
    let ask = request("GET", &path, &site.authorization, b"");
    let (n_answers, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = [(); N_CLIENTS]
            .map(|()| scope.spawn(|| keep_asking((address, &trust), &ask, &n_answers, &done)));
        let restarted = (|| {
            let wait = || {
                let until = n_answers.load(Ordering::Relaxed) + N_ANSWERS;
                // One that has failed asks no more.
                while n_answers.load(Ordering::Relaxed) < until
                    && !clients.iter().any(thread::ScopedJoinHandle::is_finished)
                {
                    thread::sleep(Duration::from_millis(5));
                }
            };
            wait();
            let begun = Instant::now();
            server.stop()?;
            let server = site.start_on(&listener)?;
            let down = begun.elapsed();
            wait();
            anyhow::Ok((server, down))
        })();
        done.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for client in clients {
            let joined = client
                .join()
                .map_err(|_| anyhow!("a client has panicked"))?;
            waits.extend(joined.context("a client was not served")?);
        }
        let (server, down) = restarted?;
        server.stop()?;
        Ok((waits, down))
    })
}

/// One request after the other, each on a new connection, until `done`. Gives how many seconds each took, from before
/// it connects to the last byte of the answer.
fn keep_asking(
    (address, trust): (SocketAddr, &Trust),
    request: &[u8],
    n_answers: &AtomicUsize,
    done: &AtomicBool,
) -> anyhow::Result<Vec<f64>> {
    let mut waits = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = Client::connect(address, trust)?.ask(request)?;
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(said.trim() == "queue/plain", "{}: {said}", answer.status);
        waits.push(begun.elapsed().as_secs_f64());
        n_answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(waits)
}
