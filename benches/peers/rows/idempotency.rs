//! Start with a million idempotency records, as the service writes them: all of one day, and none so
//! young that a crash may have left it behind.

use crate::{
    client::{Client, request},
    context::Context,
    documents::{self, USUAL_BYTES},
    report::{Line, Target},
    scratch,
    server::Site,
    stats,
};
use anyhow::ensure;
use spoolgate::{
    domain::{JobName, stamp},
    store::{Key, Keyed},
};
use std::{
    fs::{self, File},
    io::Write,
    time::{Duration, Instant, SystemTime},
};

const N_RECORDS: usize = 1_000_000;
const N_RECORDS_QUICK: usize = 100_000;
/// A day before the day of the start has no record that is looked at. So these are of today, and
/// were written earlier than a commit may take.
const AGE: Duration = Duration::from_secs(60 * 60);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_records = context.choose(N_RECORDS, N_RECORDS_QUICK);
    let site = Site::new(&context.binary, "idempotency")?;
    first_job(&site)?;
    make_records(&site, n_records)?;
    let (mut warm_s, mut cold_s) = (Vec::new(), Vec::new());
    let mut is_cold_possible = true;
    for round in 0..context.rounds {
        warm_s.push(start(&site)?);
        context.settle()?;
        is_cold_possible = scratch::forget_cache()?;
        if is_cold_possible {
            cold_s.push(start(&site)?);
        }
        eprintln!(
            "  round {}/{}: {} s, cold {} s",
            round + 1,
            context.rounds,
            stats::short(warm_s[round]),
            stats::short(cold_s.last().copied().unwrap_or(f64::NAN))
        );
    }
    let what = format!("start with {n_records} idempotency records");
    let cold = Line::new(
        format!("{what}, not in the page cache"),
        Target::AtMost(2.0),
        cold_s,
    );
    let warm = Line::new(format!("{what}, in the page cache"), Target::None, warm_s);
    let why = if is_cold_possible {
        "to the first listening line; the filesystem was unmounted before"
    } else {
        "only on a filesystem of the run's own: run it as root, without --plain"
    };
    Ok(vec![cold.unit("s").note(why), warm.unit("s")])
}

/// It makes the spool, and says up to when the service was at work.
fn first_job(site: &Site) -> anyhow::Result<()> {
    let server = site.start()?;
    let document = documents::plain(USUAL_BYTES);
    let upload = request("POST", "/xml/upload", &site.authorization, &document);
    Client::connect(server.address, &site.trust()?)?
        .ask(&upload)?
        .job()?;
    server.stop()
}

/// In seconds. The service answers afterwards.
fn start(site: &Site) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let server = site.start()?;
    let seconds = begun.elapsed().as_secs_f64();
    let question = request(
        "GET",
        "/xml/jobqueue?Interfacename=plain",
        &site.authorization,
        b"",
    );
    let answer = Client::connect(server.address, &site.trust()?)?.ask(&question)?;
    ensure!(answer.status == 200, "{}", answer.head);
    server.stop()?;
    Ok(seconds)
}

fn make_records(site: &Site, n_records: usize) -> anyhow::Result<()> {
    eprintln!("  making {n_records} files");
    let begun = jiff::Timestamp::now().as_millisecond();
    let written = SystemTime::now() - AGE;
    for n in 0..n_records {
        let job: JobName = format!("{}-00000-{n}.xml", stamp(begun)).parse()?;
        let dir = site.spool("idem").join(job.day());
        if n == 0 {
            fs::create_dir_all(&dir)?;
        }
        let record = Keyed {
            job,
            interface: Some("plain".parse()?),
            sha256: "0".repeat(64),
            bytes: 4096,
            refused: false,
        };
        let key = Key::new("admin", &format!("order-{n}"));
        let path = dir.join(key.as_str()).with_extension("json");
        let mut file = File::create_new(path)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        file.set_modified(written)?;
    }
    Ok(())
}
