//! Bad clients at once, from eight addresses. 2 000 hold connections: silent ones, half a
//! handshake, heads and bodies a byte a second. 400 more send garbage, inside of TLS and without,
//! each again a second after the server has hung up. The server's limits are its usual ones.
//!
//! On two processors any crowd is felt, so they are compared with as many right ones that are as
//! busy, who send as often and shake hands as often: 2 000 hold connections and ask now and then,
//! and 400 come, ask, go and come again.

use super::flood::{EndWhenDropped, Good};
use crate::{
    client::{Trust, connect_from, server_name},
    context::Context,
    process,
    report::{Line, Target},
    server::Site,
    stats::ratios,
};
use anyhow::ensure;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const N_LASTING: usize = 2000;
const N_PASSING: usize = 400;
const N_ADDRESSES: usize = 8;
/// A lasting one comes back soon after the server has ended it.
const PAUSE_LASTING: Duration = Duration::from_millis(100);
const PAUSE_GARBAGE: Duration = Duration::from_secs(1);
/// Right ones: all of them ask as often in a second as the half of the bad ones that dribbles.
const PAUSE_ASKING: Duration = Duration::from_secs(2);
/// Right ones: all of them shake hands, of those that send garbage every other one.
const PAUSE_COMING: Duration = Duration::from_secs(2);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let site = Site::new(&context.binary, "slow")?;
    let (mut alone, mut bad, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds {
        let is_later = round % 2 == 0;
        for crowd in [is_later, !is_later] {
            if crowd {
                let (calm, beside) = measure(context, &site, &BAD)?;
                alone.push(calm);
                bad.push(beside);
            } else {
                right.push(measure(context, &site, &RIGHT)?.1);
            }
        }
        eprintln!(
            "  round {}/{}: p99 {:.2} ms alone, {:.2} ms beside bad ones, {:.2} ms beside right ones",
            round + 1,
            context.rounds,
            alone[round],
            bad[round].p99_ms,
            right[round].p99_ms
        );
    }
    Ok(lines(&alone, &bad, &right))
}

fn lines(alone: &[f64], bad: &[Beside], right: &[Beside]) -> Vec<Line> {
    let values = |of: fn(&Beside) -> f64, from: &[Beside]| from.iter().map(of).collect::<Vec<_>>();
    let [beside_bad, beside_right] = [bad, right].map(|all| values(|one| one.p99_ms, all));
    let beside = Line::new(
        "good users' p99 beside 2 000 bad clients / beside as many right ones",
        Target::AtMost(1.2),
        ratios(&beside_bad, &beside_right),
    );
    let calm = Line::new(
        "good users' p99 beside 2 000 bad clients / alone",
        Target::None,
        ratios(&beside_bad, alone),
    );
    let peak = values(|one| one.peak, bad);
    let memory = Line::new("memory with them, the most", Target::None, peak);
    vec![
        beside
            .side("beside bad ones", &beside_bad, "ms")
            .side("beside right ones", &beside_right, "ms")
            .side("bad ones at the end", &values(|one| one.open, bad), "")
            .side("right ones at the end", &values(|one| one.open, right), "")
            .note("jobstatus, 500 requests/s over 16 connections whatever the server does"),
        calm.side("alone", alone, "ms"),
        memory
            .unit("MiB")
            .side("before", &values(|one| one.before, bad), "MiB")
            .side("with right ones", &values(|one| one.peak, right), "MiB"),
    ]
}

/// p99 of good users beside a crowd, how many of it are there, and memory in MiB.
struct Beside {
    p99_ms: f64,
    open: f64,
    before: f64,
    peak: f64,
}

/// On a server of its own; first the p99 without the crowd.
fn measure(context: &Context, site: &Site, crowd: &[Manner]) -> anyhow::Result<(f64, Beside)> {
    let server = site.start()?;
    let good = Good::new(site, &server)?;
    good.measure(Duration::from_secs(1))?;
    context.settle()?;
    let alone = good.measure(context.window)?.p99_ms;
    let before = process::mebibytes(server.pid(), "VmRSS")?;
    process::forget_peak(server.pid())?;
    let crowd = Crowd::begin(&good, &site.authorization, crowd)?;
    crowd.assemble()?;
    let p99_ms = good.measure(context.window)?.p99_ms;
    let open = crowd.shared.open.load(SeqCst) as f64;
    let peak = process::mebibytes(server.pid(), "VmHWM")?;
    drop(crowd);
    server.stop()?;
    let beside = Beside {
        p99_ms,
        open,
        before,
        peak,
    };
    Ok((alone, beside))
}

/// How a client of a crowd behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Right: it asks again and again.
    Asking,
    GarbageInTcp,
    GarbageInTls,
    HalfHandshake,
    /// Right: it asks once and goes.
    Passing,
    Silent,
    SlowBody,
    SlowHead,
}

/// The first four last, the others come and go.
const BAD: [Manner; 6] = [
    Manner::Silent,
    Manner::HalfHandshake,
    Manner::SlowHead,
    Manner::SlowBody,
    Manner::GarbageInTls,
    Manner::GarbageInTcp,
];
const RIGHT: [Manner; 6] = [
    Manner::Asking,
    Manner::Asking,
    Manner::Asking,
    Manner::Asking,
    Manner::Passing,
    Manner::Passing,
];
const N_LASTING_MANNERS: usize = 4;

struct Shared {
    address: SocketAddr,
    authorization: String,
    /// Of the right ones.
    question: Vec<u8>,
    trust: Trust,
    open: AtomicUsize,
    end: AtomicBool,
}

/// They leave when it is dropped.
struct Crowd {
    runtime: Option<tokio::runtime::Runtime>,
    shared: Arc<Shared>,
}

impl Crowd {
    fn begin(good: &Good, authorization: &str, manners: &[Manner]) -> anyhow::Result<Self> {
        // One thread: it sleeps most of the time, and must not crowd out the good clients itself.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            address: good.address,
            authorization: authorization.to_owned(),
            question: good.request.clone(),
            trust: good.trust.clone(),
            open: AtomicUsize::new(0),
            end: AtomicBool::new(false),
        });
        let (lasting, passing) = manners.split_at(N_LASTING_MANNERS);
        let lasting = lasting.iter().cycle().take(N_LASTING);
        let passing = passing.iter().cycle().take(N_PASSING);
        for (n, manner) in lasting.chain(passing).enumerate() {
            let last = 1 + (n / N_LASTING_MANNERS % N_ADDRESSES) as u8;
            let source = Ipv4Addr::new(127, 2, 0, last);
            runtime.spawn(shared.clone().misbehave(*manner, source));
        }
        Ok(Self {
            runtime: Some(runtime),
            shared,
        })
    }

    /// Waits until most of them are there; some are always between two connections.
    fn assemble(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.shared.open.load(SeqCst) < N_LASTING * 9 / 10 {
            ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "only {} clients could connect",
                self.shared.open.load(SeqCst)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        // Whoever begins a handshake now would be measured with it.
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ends = EndWhenDropped(&self.shared.end);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    async fn misbehave(self: Arc<Self>, manner: Manner, source: Ipv4Addr) {
        while !self.end.load(SeqCst) {
            if let Ok(tcp) = connect_from(source, self.address).await {
                self.open.fetch_add(1, SeqCst);
                // It ends when the server has had enough.
                let _ = self.connection(manner, tcp).await;
                self.open.fetch_sub(1, SeqCst);
            }
            sleep(match manner {
                Manner::GarbageInTcp | Manner::GarbageInTls => PAUSE_GARBAGE,
                Manner::Passing => PAUSE_COMING,
                Manner::Asking | Manner::HalfHandshake | Manner::Silent => PAUSE_LASTING,
                Manner::SlowBody | Manner::SlowHead => PAUSE_LASTING,
            })
            .await;
        }
    }

    async fn connection(&self, manner: Manner, mut tcp: TcpStream) -> io::Result<()> {
        match manner {
            Manner::Asking => {
                let mut tls = self.handshake(tcp).await?;
                while !self.end.load(SeqCst) {
                    self.ask(&mut tls).await?;
                    sleep(PAUSE_ASKING).await;
                }
                Ok(())
            }
            Manner::Passing => {
                let mut tls = self.handshake(tcp).await?;
                self.ask(&mut tls).await
            }
            Manner::Silent => until_closed(&mut tcp).await,
            Manner::HalfHandshake => {
                // A record of a handshake, 512 bytes long, of which ten come.
                tcp.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03")
                    .await?;
                until_closed(&mut tcp).await
            }
            Manner::SlowHead => {
                let mut tls = self.handshake(tcp).await?;
                tls.write_all(b"GET /xml/jobstatus HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                    .await?;
                dribble(&mut tls).await
            }
            Manner::SlowBody => {
                let mut tls = self.handshake(tcp).await?;
                let head =
                    crate::client::head("POST", "/xml/upload", &self.authorization, 1_000_000);
                tls.write_all(head.as_bytes()).await?;
                dribble(&mut tls).await
            }
            Manner::GarbageInTls => {
                let mut tls = self.handshake(tcp).await?;
                tls.write_all(b"\x00\xff\x13\x37 this is no request\r\n\r\n")
                    .await?;
                until_closed(&mut tls).await
            }
            Manner::GarbageInTcp => {
                tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
                until_closed(&mut tcp).await
            }
        }
    }

    async fn ask(&self, tls: &mut TlsStream<TcpStream>) -> io::Result<()> {
        tls.write_all(&self.question).await?;
        let mut answer = [0; 4096];
        match tls.read(&mut answer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn handshake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = server_name().map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.trust.0.clone());
        connector.connect(name, tcp).await
    }
}

async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// A byte a second, until the server closes.
async fn dribble(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut sink = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut sink) => if read? == 0 { return Ok(()) },
            () = sleep(Duration::from_secs(1)) => {
                stream.write_all(b"x").await?;
                stream.flush().await?;
            }
        }
    }
}
