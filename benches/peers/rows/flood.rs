//! Wrong passwords. Checking one takes 20 MiB and 50 ms of a processor on purpose; good users must
//! not feel it. Two floods: from few addresses, which the throttle sends away, and from ever new
//! addresses with ever new names, against which only the line before the hash helps.
//!
//! On two processors any load is felt, so a flood is compared with the same load of right requests:
//! as many connections from as many addresses, as many requests a second, with the right password.

use crate::{
    client::{Client, Trust, request},
    context::Context,
    latency::{self, Steady},
    report::{Line, Target},
    server::{Server, Site},
    stats::ratios,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

const ATTACKERS: u8 = 8;
/// Of the good users.
const CONNECTIONS: usize = 16;
const PER_SECOND: f64 = 500.0;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let flooded = Site::new(&context.binary, "flooded")?;
    let loaded = Site::new(&context.binary, "loaded")?;
    let mut lines = Vec::new();
    for manner in [Manner::Renewed, Manner::Same] {
        eprintln!("  {}", manner.name());
        lines.extend(compare(context, [&flooded, &loaded], manner)?);
    }
    Ok(lines)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each attempt comes from an address and by a name that was never used.
    Renewed,
    Same,
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Renewed => "ever new addresses and names",
            Self::Same => "8 addresses, one name",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Password {
    /// So many requests a second, of all clients together.
    Right(f64),
    /// As fast as they are refused.
    Wrong,
}

fn compare(context: &Context, sites: [&Site; 2], manner: Manner) -> anyhow::Result<Vec<Line>> {
    // A throttle that has been filled does not forget for minutes: a server for each.
    let [flooded, loaded] = sites;
    let (flooded, loaded) = (Victim::start(flooded)?, Victim::start(loaded)?);
    let mut all = Measured::default();
    let mut rate = f64::NAN;
    for round in 0..context.rounds {
        all.alone.push(flooded.good.measure(context.window)?.p99_ms);
        // The load is that of the flood just before, or of the round before.
        let is_later = round % 2 == 0;
        for is_flood in [is_later, !is_later] {
            if is_flood {
                let (p99_ms, per_second) = flooded.beside(manner, Password::Wrong, context)?;
                all.beside_wrong.push(p99_ms);
                all.wrong.push(per_second);
                rate = per_second;
            } else {
                let password = Password::Right(rate);
                let (p99_ms, per_second) = loaded.beside(manner, password, context)?;
                all.beside_right.push(p99_ms);
                all.right.push(per_second);
            }
        }
        eprintln!(
            "  round {}/{}: p99 {:.2} ms alone, {:.2} ms beside {rate:.0} wrong ones a second, \
             {:.2} ms beside right ones",
            round + 1,
            context.rounds,
            all.alone[round],
            all.beside_wrong[round],
            all.beside_right[round]
        );
    }
    flooded.server.stop()?;
    loaded.server.stop()?;
    Ok(all.lines(manner))
}

/// A server, and the good users of it.
struct Victim<'a> {
    site: &'a Site,
    server: Server,
    good: Good,
}

impl<'a> Victim<'a> {
    fn start(site: &'a Site) -> anyhow::Result<Self> {
        let server = site.start()?;
        let good = Good::new(site, &server)?;
        good.measure(Duration::from_secs(1))?;
        Ok(Self { site, server, good })
    }

    /// p99 of the good users in milliseconds, and requests of the others a second.
    fn beside(
        &self,
        manner: Manner,
        password: Password,
        context: &Context,
    ) -> anyhow::Result<(f64, f64)> {
        context.settle()?;
        let flood = Flood::new(manner, password, &self.server, self.site)?;
        let outcome = flood.during(|| self.good.measure(context.window))?;
        let answered = flood.answered.load(SeqCst) as f64;
        Ok((outcome.p99_ms, answered / context.window.as_secs_f64()))
    }
}

/// One value a round: p99 of good users in milliseconds, and requests of the others a second.
#[derive(Default)]
struct Measured {
    alone: Vec<f64>,
    beside_right: Vec<f64>,
    beside_wrong: Vec<f64>,
    right: Vec<f64>,
    wrong: Vec<f64>,
}

impl Measured {
    fn lines(&self, manner: Manner) -> Vec<Line> {
        let what = format!("{}: good users' p99 beside wrong passwords", manner.name());
        let beside_right = Line::new(
            format!("{what} / beside the same load of right ones"),
            Target::AtMost(1.2),
            ratios(&self.beside_wrong, &self.beside_right),
        );
        let alone = Line::new(
            format!("{what} / alone"),
            Target::None,
            ratios(&self.beside_wrong, &self.alone),
        );
        vec![
            beside_right
                .side("beside wrong ones", &self.beside_wrong, "ms")
                .side("beside right ones", &self.beside_right, "ms")
                .side("wrong ones", &self.wrong, "/s")
                .side("right ones", &self.right, "/s")
                .note("jobstatus, 500 requests/s over 16 connections whatever the server does"),
            alone.side("alone", &self.alone, "ms"),
        ]
    }
}

/// Good users, who ask for the status of a job.
pub(super) struct Good {
    pub(super) address: SocketAddr,
    pub(super) trust: Trust,
    pub(super) request: Vec<u8>,
}

impl Good {
    pub(super) fn new(site: &Site, server: &Server) -> anyhow::Result<Self> {
        let trust = site.trust()?;
        let mut client = Client::connect(server.address, &trust)?;
        let document = crate::documents::plain(4096);
        let upload = request("POST", "/xml/upload", &site.authorization, &document);
        let job = client.ask(&upload)?.job()?;
        let path = format!("/xml/jobstatus?Jobname={job}");
        Ok(Self {
            address: server.address,
            trust,
            request: request("GET", &path, &site.authorization, b""),
        })
    }

    pub(super) fn measure(&self, window: Duration) -> anyhow::Result<latency::Outcome> {
        let steady = Steady {
            address: self.address,
            trust: &self.trust,
            connections: CONNECTIONS,
            per_second: PER_SECOND,
            window,
        };
        latency::run(&steady, &self.request)
    }
}

struct Flood<'a> {
    manner: Manner,
    password: Password,
    address: SocketAddr,
    trust: Trust,
    authorization: &'a str,
    end: AtomicBool,
    attempts: AtomicU32,
    answered: AtomicUsize,
}

impl<'a> Flood<'a> {
    fn new(
        manner: Manner,
        password: Password,
        server: &Server,
        site: &'a Site,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            manner,
            password,
            address: server.address,
            trust: site.trust()?,
            authorization: &site.authorization,
            end: AtomicBool::default(),
            attempts: AtomicU32::default(),
            answered: AtomicUsize::default(),
        })
    }

    fn during<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            for n in 0..ATTACKERS {
                scope.spawn(move || {
                    let mut due = Instant::now();
                    while !self.end.load(SeqCst) {
                        // An attacker that is cut off tries again.
                        let _ = self.attack(n, &mut due);
                    }
                });
            }
            let _ends = EndWhenDropped(&self.end);
            work()
        })
    }

    /// On one connection, as long as its address lasts. `due`: when the next request is.
    fn attack(&self, attacker: u8, due: &mut Instant) -> anyhow::Result<()> {
        let number = self.attempts.fetch_add(1, SeqCst);
        let [_, a, b, c] = number.to_be_bytes();
        let (source, user, attempts) = match self.manner {
            Manner::Renewed => {
                let source = Ipv4Addr::new(127, 64 | a, b, c);
                (source, format!("guess-{number}"), 1)
            }
            Manner::Same => {
                let source = Ipv4Addr::new(127, 1, 0, attacker + 1);
                (source, "admin".to_owned(), u32::MAX)
            }
        };
        self.wait(due);
        let mut client = Client::connect_from(source, self.address, &self.trust)?;
        for attempt in 0..attempts {
            if attempt > 0 {
                self.wait(due);
            }
            if self.end.load(SeqCst) {
                break;
            }
            let login = BASE64_STANDARD.encode(format!("{user}:wrong-{number}-{attempt}"));
            let login = match self.password {
                Password::Right(_) => self.authorization.to_owned(),
                Password::Wrong => format!("Basic {login}"),
            };
            let path = "/xml/jobqueue?Interfacename=out";
            client.ask(&request("GET", path, &login, b""))?;
            self.answered.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    /// Until the next request is due, if there is a pace; in pieces, so that it ends in time.
    fn wait(&self, due: &mut Instant) {
        let Password::Right(per_second) = self.password else {
            return;
        };
        while !self.end.load(SeqCst) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        *due += Duration::from_secs_f64(f64::from(ATTACKERS) / per_second.max(0.1));
    }
}

/// Also when the work panics, or the threads would never end.
pub(super) struct EndWhenDropped<'a>(pub(super) &'a AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
