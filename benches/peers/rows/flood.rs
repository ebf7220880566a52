//! Wrong passwords. Checking one takes 20 MiB and 50 ms of a processor on purpose; good users must
//! not feel it. Two floods: from few addresses, which the throttle sends away, and from ever new
//! addresses with ever new names, against which only the line before the hash helps. A third one
//! knows its password and asks as fast for what does not exist: what any busy client costs here.

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
    time::Duration,
};

const ATTACKERS: u8 = 8;
/// Of the good users.
const CONNECTIONS: usize = 16;
const PER_SECOND: f64 = 500.0;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let site = Site::new(&context.binary, "flood")?;
    let mut lines = Vec::new();
    for manner in [Manner::Renewed, Manner::Same, Manner::Harmless] {
        eprintln!("  {}", manner.name());
        lines.push(compare(context, &site, manner)?);
    }
    Ok(lines)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// No flood of passwords.
    Harmless,
    /// Each attempt comes from an address and by a name that was never used.
    Renewed,
    Same,
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Harmless => "no flood: 8 busy clients with a right password",
            Self::Renewed => "ever new addresses and names",
            Self::Same => "8 addresses, one name",
        }
    }
}

fn compare(context: &Context, site: &Site, manner: Manner) -> anyhow::Result<Line> {
    // A throttle that has been filled does not forget for minutes: a server for each flood.
    let server = site.start()?;
    let good = Good::new(site, &server)?;
    let (mut calm, mut flooded) = (Vec::new(), Vec::new());
    let (mut checked, mut refused) = (Vec::new(), Vec::new());
    good.measure(Duration::from_secs(1))?;
    for round in 0..context.rounds {
        calm.push(good.measure(context.window)?.p99_ms);
        let flood = Flood::new(manner, &server, site)?;
        let outcome = flood.during(|| good.measure(context.window))?;
        flooded.push(outcome.p99_ms);
        let seconds = context.window.as_secs_f64();
        checked.push(flood.unauthorized.load(SeqCst) as f64 / seconds);
        refused.push(flood.refused.load(SeqCst) as f64 / seconds);
        eprintln!(
            "  round {}/{}: p99 {:.2} ms, flooded {:.2} ms",
            round + 1,
            context.rounds,
            calm.last().copied().unwrap_or(f64::NAN),
            outcome.p99_ms
        );
    }
    server.stop()?;
    let target = match manner {
        Manner::Harmless => Target::None,
        Manner::Renewed | Manner::Same => Target::AtMost(2.0),
    };
    let what = format!("{}: good users' p99 with / without", manner.name());
    let line = Line::new(what, target, ratios(&flooded, &calm));
    Ok(line
        .side("with", &flooded, "ms")
        .side("without", &calm, "ms")
        .side("wrong passwords checked (401)", &checked, "/s")
        .side("other answers", &refused, "/s")
        .note("jobstatus, 500 requests/s over 16 connections whatever the server does"))
}

/// Good users, who ask for the status of a job.
pub(super) struct Good {
    address: SocketAddr,
    pub(super) trust: Trust,
    request: Vec<u8>,
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
    address: SocketAddr,
    trust: Trust,
    authorization: &'a str,
    end: AtomicBool,
    attempts: AtomicU32,
    refused: AtomicUsize,
    unauthorized: AtomicUsize,
}

impl<'a> Flood<'a> {
    fn new(manner: Manner, server: &Server, site: &'a Site) -> anyhow::Result<Self> {
        Ok(Self {
            manner,
            address: server.address,
            trust: site.trust()?,
            authorization: &site.authorization,
            end: AtomicBool::default(),
            attempts: AtomicU32::default(),
            refused: AtomicUsize::default(),
            unauthorized: AtomicUsize::default(),
        })
    }

    fn during<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            for n in 0..ATTACKERS {
                scope.spawn(move || {
                    while !self.end.load(SeqCst) {
                        // An attacker that is cut off tries again.
                        let _ = self.attack(n);
                    }
                });
            }
            let _ends = EndWhenDropped(&self.end);
            work()
        })
    }

    /// On one connection, as long as its address lasts.
    fn attack(&self, attacker: u8) -> anyhow::Result<()> {
        let number = self.attempts.fetch_add(1, SeqCst);
        let [_, a, b, c] = number.to_be_bytes();
        let (source, user, attempts) = match self.manner {
            Manner::Renewed => {
                let source = Ipv4Addr::new(127, 64 | a, b, c);
                (source, format!("guess-{number}"), 1)
            }
            Manner::Harmless | Manner::Same => {
                let source = Ipv4Addr::new(127, 1, 0, attacker + 1);
                (source, "admin".to_owned(), u32::MAX)
            }
        };
        let mut client = Client::connect_from(source, self.address, &self.trust)?;
        for attempt in 0..attempts {
            if self.end.load(SeqCst) {
                break;
            }
            let login = BASE64_STANDARD.encode(format!("{user}:wrong-{number}-{attempt}"));
            let asked = match self.manner {
                Manner::Harmless => request("GET", "/xml/nothing", self.authorization, b""),
                Manner::Renewed | Manner::Same => {
                    let path = "/xml/jobqueue?Interfacename=plain";
                    request("GET", path, &format!("Basic {login}"), b"")
                }
            };
            let answer = client.ask(&asked)?;
            match answer.status {
                401 => self.unauthorized.fetch_add(1, SeqCst),
                _ => self.refused.fetch_add(1, SeqCst),
            };
        }
        Ok(())
    }
}

/// Also when the work panics, or the threads would never end.
pub(super) struct EndWhenDropped<'a>(pub(super) &'a AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
