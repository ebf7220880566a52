//! Memory of the server, by /proc. Bounds and not ratios, because memory does not depend on how
//! busy the machine is.

use crate::{
    client::{Client, head, request},
    context::Context,
    documents::{LARGE_BYTES, Repeated},
    process,
    report::{Line, Target},
    server::Site,
};
use std::{net::SocketAddr, time::Duration};

const UPLOADS: usize = 64;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    Ok(vec![idle(context)?, uploads(context)?])
}

/// As `init` made it, after one client has come and gone.
fn idle(context: &Context) -> anyhow::Result<Line> {
    let site = Site::shipped(&context.binary, "idle")?;
    let (mut resident, mut peak) = (Vec::new(), Vec::new());
    for _ in 0..context.rounds.min(3) {
        let server = site.start()?;
        let mut client = Client::connect(server.address, &site.trust()?)?;
        let path = "/xml/jobqueue?Interfacename=orders_out";
        client.ask(&request("GET", path, &site.authorization, b""))?;
        drop(client);
        std::thread::sleep(Duration::from_secs(3));
        resident.push(process::mebibytes(server.pid(), "VmRSS")?);
        peak.push(process::mebibytes(server.pid(), "VmHWM")?);
        server.stop()?;
    }
    let line = Line::new("idle", Target::AtMost(25.0), resident).unit("MiB");
    Ok(line.side("the most so far", &peak, "MiB").note(
        "resident, with the shipped schemas loaded, 3 s after a login; the most includes \
               the 19 MiB of its Argon2id hash",
    ))
}

fn uploads(context: &Context) -> anyhow::Result<Line> {
    let n_bytes = context.choose(LARGE_BYTES, LARGE_BYTES / 10);
    let site = Site::new(&context.binary, "memory")?;
    let server = site.start()?;
    let trust = &site.trust()?;
    let first = request(
        "GET",
        "/xml/jobqueue?Interfacename=plain",
        &site.authorization,
        b"",
    );
    Client::connect(server.address, trust)?.ask(&first)?;
    std::thread::sleep(Duration::from_secs(2));
    process::forget_peak(server.pid())?;
    let document = &Repeated::new("Plain", n_bytes);
    let head = &head("POST", "/xml/upload", &site.authorization, document.len());
    let address = server.address;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..UPLOADS)
            .map(|_| scope.spawn(move || stream(address, trust, head, document)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let peak = process::mebibytes(server.pid(), "VmHWM")?;
    std::thread::sleep(Duration::from_secs(3));
    let after = process::mebibytes(server.pid(), "VmRSS")?;
    server.stop()?;
    let what = format!(
        "{UPLOADS} uploads of {} MB at once, the most",
        n_bytes / 1_000_000
    );
    let line = Line::new(what, Target::AtMost(150.0), vec![peak]).unit("MiB");
    Ok(line
        .side("3 s later", &[after], "MiB")
        .note("resident; one round"))
}

/// The client holds one piece, whatever the size.
fn stream(
    address: SocketAddr,
    trust: &crate::client::Trust,
    head: &str,
    document: &Repeated,
) -> anyhow::Result<()> {
    let mut client = Client::connect(address, trust)?;
    client.send(head.as_bytes())?;
    client.send(document.begin.as_bytes())?;
    for _ in 0..document.n_pieces {
        client.send(document.piece.as_bytes())?;
    }
    client.send(document.end.as_bytes())?;
    client.answer()?.job().map(|_| ())
}
