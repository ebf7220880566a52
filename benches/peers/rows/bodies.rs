//! Large bodies, one at a time by curl, which drops or makes the data at the speed of memory. Our
//! upload is parsed as XML and on the disk when it is answered; nginx's is neither. The floor does
//! both, and gives a document from memory.

use crate::{
    bare_http::BareHttp,
    context::Context,
    documents::{self, LARGE_BYTES},
    floor::{Floor, Naming},
    nginx::Nginx,
    report::{Line, Target},
    scratch,
    server::{Server, Site},
    sides::{Sample, Side, take_turns},
    stats::ratios,
    tools,
};
use anyhow::{Context as _, bail, ensure};
use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A job for `out`, as the back office drops it.
const JOB: &str = "20261122T045748.123Z-00000.xml";
const DAY: &str = "2026-11-22";

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let site = Site::new(&context.binary, "bodies")?;
    let document = scratch::dir("large")?.join("large.xml");
    fs::write(&document, documents::plain(LARGE_BYTES))?;
    let server = site.start()?;
    let nginx = Nginx::start(&site)?;
    let bench = Bench {
        curl: Curl { site: &site },
        site: &site,
        server: &server,
        nginx: &nginx,
        document,
        n_put: Cell::new(0),
    };
    let mut lines = bench.downloads(context)?;
    lines.extend(bench.uploads(context)?);
    nginx.stop()?;
    server.stop()?;
    Ok(lines)
}

struct Bench<'a> {
    curl: Curl<'a>,
    site: &'a Site,
    server: &'a Server,
    nginx: &'a Nginx,
    document: PathBuf,
    n_put: Cell<usize>,
}

impl Bench<'_> {
    fn downloads(&self, context: &Context) -> anyhow::Result<Vec<Line>> {
        let queue = self.site.spool("queue/out");
        fs::create_dir_all(&queue)?;
        fs::copy(&self.document, self.site.spool("tmp").join(JOB))?;
        fs::rename(self.site.spool("tmp").join(JOB), queue.join(JOB))?;
        fs::copy(&self.document, self.nginx.file("large.xml"))?;
        let bare = BareHttp::constant(self.site, fs::read(&self.document)?)?;
        let job = format!("/xml/job?Interfacename=out&Jobname={JOB}");
        let mut sides = [
            Side::new("ours", |_| {
                let taken = self.curl.seconds(&self.server.url(&job), &[], 200)?;
                self.put_back()?;
                Ok(transfer(taken))
            })
            .unit("MB/s"),
            Side::new("nginx static", |_| {
                let taken = self.curl.seconds(&self.nginx.url("/large.xml"), &[], 200)?;
                Ok(transfer(taken))
            })
            .unit("MB/s"),
            Side::new("bare hyper", |_| {
                Ok(transfer(self.curl.seconds(&bare.url("/"), &[], 200)?))
            })
            .unit("MB/s"),
        ];
        take_turns(context, &mut sides)?;
        let [ours, nginx, bare] = &sides;
        Ok(vec![
            line("download", ours, nginx, Target::AtLeast(1.0)),
            line("download", ours, bare, Target::None),
        ])
    }

    /// What has been fetched goes to `bak`; an operator's `mv` makes it fetchable again.
    fn put_back(&self) -> anyhow::Result<()> {
        let archived = self.site.spool("bak/out").join(DAY).join(JOB);
        for _ in 0..1000 {
            if archived.exists() {
                fs::rename(&archived, self.site.spool("queue/out").join(JOB))?;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("a job that was fetched did not come to bak")
    }

    fn uploads(&self, context: &Context) -> anyhow::Result<Vec<Line>> {
        let document = self.document.to_string_lossy().into_owned();
        let post = ["-X", "POST", "-T", &document];
        let floor = Floor::start(self.site, Naming::Before, None)?;
        let mut sides = [
            Side::new("ours, synced", |_| {
                let url = self.server.url("/xml/upload");
                Ok(transfer(self.curl.seconds(&url, &post, 201)?))
            })
            .unit("MB/s"),
            Side::new("nginx unsynced", |_| {
                self.n_put.set(self.n_put.get() + 1);
                let url = self.nginx.url(&format!("/put/{}.xml", self.n_put.get()));
                let taken = self.curl.seconds(&url, &["-T", &document], 201)?;
                Ok(transfer(taken))
            })
            .unit("MB/s"),
            Side::new("floor, synced", |_| {
                let url = floor.server.url("/");
                Ok(transfer(self.curl.seconds(&url, &post, 201)?))
            })
            .unit("MB/s"),
        ];
        take_turns(context, &mut sides)?;
        let [ours, nginx, bare] = &sides;
        let lines = vec![
            line("upload", ours, nginx, Target::AtLeast(0.7)).stretch(1.0),
            line("upload", ours, bare, Target::None),
        ];
        drop(sides);
        floor.stop()?;
        Ok(lines)
    }
}

fn transfer(seconds: f64) -> Sample {
    Sample {
        per_second: LARGE_BYTES as f64 / 1e6 / seconds,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        cpu_seconds: f64::NAN,
        operations: 1.0,
    }
}

fn line(what: &str, ours: &Side<'_>, peer: &Side<'_>, target: Target) -> Line {
    Line::new(
        format!("{what} of 100 MB: {} / {}", ours.label, peer.label),
        target,
        ratios(&ours.rates(), &peer.rates()),
    )
    .side(&ours.label, &ours.rates(), "MB/s")
    .side(&peer.label, &peer.rates(), "MB/s")
}

/// curl as the first user of a site.
pub(super) struct Curl<'a> {
    pub(super) site: &'a Site,
}

impl Curl<'_> {
    /// From the end of the handshake to the last byte.
    pub(super) fn seconds(
        &self,
        url: &str,
        arguments: &[&str],
        status_wanted: u16,
    ) -> anyhow::Result<f64> {
        let output = tools::CURL
            .command()
            .args(["-sS", "--http1.1", "--max-time", "120", "-o"])
            .arg(Path::new("/dev/null"))
            .arg("--cacert")
            .arg(self.site.certificate())
            .args(["-u", &self.site.login, "-H", "Expect:"])
            .args(["-H", "Content-Type: application/xml"])
            .args(["-w", "%{http_code} %{time_pretransfer} %{time_total}"])
            .args(arguments)
            .arg(url)
            .output()
            .context("curl")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let [status, begun, ended] = words[..] else {
            bail!("curl: {text}{}", String::from_utf8_lossy(&output.stderr));
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            status == status_wanted.to_string(),
            "{url}: status {status}; {errors}"
        );
        Ok(ended.parse::<f64>()? - begun.parse::<f64>()?)
    }
}
