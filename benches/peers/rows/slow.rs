//! Bad clients at once, from eight addresses. 2 000 hold connections: silent ones, half a
//! handshake, heads and bodies a byte a second. 400 more send garbage, inside of TLS and without,
//! each again a second after the server has hung up. The server's limits are its usual ones.

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
const N_GARBAGE: usize = 400;
const N_ADDRESSES: usize = 8;
/// A lasting one comes back soon after the server has ended it.
const PAUSE_LASTING: Duration = Duration::from_millis(100);
const PAUSE_GARBAGE: Duration = Duration::from_secs(1);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let site = Site::new(&context.binary, "slow")?;
    let (mut calm, mut crowded) = (Vec::new(), Vec::new());
    let (mut before, mut peak, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds {
        let server = site.start()?;
        let good = Good::new(&site, &server)?;
        good.measure(Duration::from_secs(1))?;
        calm.push(good.measure(context.window)?.p99_ms);
        before.push(process::mebibytes(server.pid(), "VmRSS")?);
        process::forget_peak(server.pid())?;
        let crowd = Crowd::begin(server.address, good.trust.clone(), &site.authorization)?;
        crowd.assemble()?;
        crowded.push(good.measure(context.window)?.p99_ms);
        open.push(crowd.shared.open.load(SeqCst) as f64);
        peak.push(process::mebibytes(server.pid(), "VmHWM")?);
        drop(crowd);
        server.stop()?;
        eprintln!(
            "  round {}/{}: p99 {:.2} ms, crowded {:.2} ms",
            round + 1,
            context.rounds,
            calm[round],
            crowded[round]
        );
    }
    let line = Line::new(
        "good users' p99 with / without 2 000 bad clients",
        Target::AtMost(2.0),
        ratios(&crowded, &calm),
    );
    let memory = Line::new("memory with them, the most", Target::None, peak);
    Ok(vec![
        line.side("with", &crowded, "ms")
            .side("without", &calm, "ms")
            .side("bad connections open at the end", &open, "")
            .note("jobstatus, 500 requests/s over 16 connections whatever the server does"),
        memory.unit("MiB").side("before", &before, "MiB"),
    ])
}

/// How a client is bad.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Silent,
    HalfHandshake,
    SlowHead,
    SlowBody,
    GarbageInTls,
    GarbageInTcp,
}

const LASTING: [Manner; 4] = [
    Manner::Silent,
    Manner::HalfHandshake,
    Manner::SlowHead,
    Manner::SlowBody,
];
const GARBAGE: [Manner; 2] = [Manner::GarbageInTls, Manner::GarbageInTcp];

struct Shared {
    address: SocketAddr,
    authorization: String,
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
    fn begin(address: SocketAddr, trust: Trust, authorization: &str) -> anyhow::Result<Self> {
        // One thread: it sleeps most of the time, and must not crowd out the good clients itself.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            address,
            authorization: authorization.to_owned(),
            trust,
            open: AtomicUsize::new(0),
            end: AtomicBool::new(false),
        });
        let lasting = LASTING.iter().cycle().take(N_LASTING);
        let garbage = GARBAGE.iter().cycle().take(N_GARBAGE);
        for (n, manner) in lasting.chain(garbage).enumerate() {
            let last = 1 + (n / LASTING.len() % N_ADDRESSES) as u8;
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
                "only {} bad clients could connect",
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
                Manner::HalfHandshake | Manner::Silent => PAUSE_LASTING,
                Manner::SlowBody | Manner::SlowHead => PAUSE_LASTING,
            })
            .await;
        }
    }

    async fn connection(&self, manner: Manner, mut tcp: TcpStream) -> io::Result<()> {
        match manner {
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
