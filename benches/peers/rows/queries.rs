//! Short questions: where is a job, and which jobs wait. Beside nginx, which serves a static file
//! of the same size, and a server that gives the same bytes as a constant.

use super::uploads::sample;
use crate::{
    bare_http::BareHttp,
    client::{Client, request},
    context::Context,
    documents,
    nginx::Nginx,
    process,
    report::{Line, Target},
    server::{Server, Site},
    sides::{Sample, Side, take_turns},
    stats::ratios,
    wrk::{self, Load, Request},
};
use anyhow::ensure;
use std::time::Duration;

const CONNECTIONS: usize = 64;
const N_JOBS: usize = 10;

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let site = Site::new(&context.binary, "queries")?;
    let server = site.start()?;
    let nginx = Nginx::start(&site)?;
    let mut client = Client::connect(server.address, &site.trust()?)?;
    let upload = request(
        "POST",
        "/xml/upload",
        &site.authorization,
        &documents::plain(documents::USUAL_BYTES),
    );
    let mut job = String::new();
    for _ in 0..N_JOBS {
        job = client.ask(&upload)?.job()?;
    }
    let mut lines = Vec::new();
    for (what, path) in [
        ("jobstatus", format!("/xml/jobstatus?Jobname={job}")),
        ("jobqueue of 10", "/xml/jobqueue?Interfacename=plain".into()),
    ] {
        eprintln!("  {what}");
        // One that waited during the row before would have been sent away.
        let mut client = Client::connect(server.address, &site.trust()?)?;
        let answer = client.ask(&request("GET", &path, &site.authorization, b""))?;
        ensure!(answer.status == 200, "{what}: {}", answer.head);
        std::fs::write(nginx.file("same.txt"), &answer.body)?;
        let bare = BareHttp::constant(&site, answer.body.clone())?;
        let peers = Peers {
            site: &site,
            server: &server,
            nginx: &nginx,
            bare: &bare,
        };
        lines.extend(peers.compare(context, what, &path, answer.body.len())?);
    }
    nginx.stop()?;
    server.stop()?;
    Ok(lines)
}

struct Peers<'a> {
    site: &'a Site,
    server: &'a Server,
    nginx: &'a Nginx,
    bare: &'a BareHttp,
}

impl Peers<'_> {
    fn compare(
        &self,
        context: &Context,
        what: &str,
        path: &str,
        n_bytes: usize,
    ) -> anyhow::Result<Vec<Line>> {
        let asked = Request::Get {
            path,
            authorization: Some(&self.site.authorization),
        };
        let file = Request::Get {
            path: "/same.txt",
            authorization: None,
        };
        let bare = self.bare.url("");
        let mut sides = [
            Side::new("ours", |window| {
                let cpu = || process::cpu_seconds(self.server.pid());
                load(&self.server.url(""), &asked, window, &cpu)
            }),
            Side::new("nginx static", |window| {
                load(&self.nginx.url(""), &file, window, &|| {
                    self.nginx.cpu_seconds()
                })
            }),
            // Our own process is that server, and does nothing else meanwhile.
            Side::new("bare hyper", |window| {
                load(&bare, &asked, window, &process::own_cpu_seconds_alone)
            }),
        ];
        take_turns(context, &mut sides)?;
        let [ours, nginx, bare] = &sides;
        let is_status = what == "jobstatus";
        let line = |peer: &Side<'_>, target| {
            let what = format!("{what} ({n_bytes} bytes): ours / {}", peer.label);
            Line::new(what, target, ratios(&ours.rates(), &peer.rates()))
                .side("ours", &ours.rates(), "/s")
                .side(&peer.label, &peer.rates(), "/s")
        };
        let cpu = Line::new(
            format!("{what}: server CPU per 1000"),
            Target::None,
            ours.cpu_per_1000(),
        );
        let beside_nginx = if is_status {
            line(nginx, Target::AtLeast(1.0)).stretch(1.2).must()
        } else {
            line(nginx, Target::AtLeast(0.8)).stretch(1.0)
        };
        let beside_bare = if is_status {
            line(bare, Target::AtLeast(0.5)).stretch(0.6)
        } else {
            line(bare, Target::None)
        };
        Ok(vec![
            beside_nginx,
            beside_bare,
            cpu.unit("s")
                .side("nginx static", &nginx.cpu_per_1000(), "s")
                .side("bare hyper", &bare.cpu_per_1000(), "s"),
        ])
    }
}

fn load(
    base: &str,
    request: &Request<'_>,
    window: Duration,
    cpu_seconds: &dyn Fn() -> anyhow::Result<f64>,
) -> anyhow::Result<Sample> {
    let load = Load {
        connections: CONNECTIONS,
        window,
        refusals_wanted: false,
    };
    let before = cpu_seconds()?;
    let outcome = wrk::run(base, request, load)?;
    Ok(sample(outcome, cpu_seconds()? - before))
}
