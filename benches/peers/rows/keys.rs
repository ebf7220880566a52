//! Memory of the server with large documents whose keys must be unique: what is to be remembered of
//! a document grows with it. Megabytes of the system's bookkeeping, not ratios, because memory does
//! not depend on how busy the machine is.

use crate::{
    client::{Answer, Client, Trust, head, request},
    context::Context,
    process,
    report::{Line, Target},
    scratch,
    server::{Server, Site},
};
use anyhow::{bail, ensure};
use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

const CONFIGURATION: &str = r#"
[interfaces.keyed]
direction = "in"
root = "Keyed"
max_bytes = 200000000
"#;
const SCHEMA: &str = r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:element name="Keyed">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="Item" maxOccurs="unbounded">
          <xs:complexType>
            <xs:simpleContent>
              <xs:extension base="xs:string">
                <xs:attribute name="No" type="xs:token" use="required"/>
              </xs:extension>
            </xs:simpleContent>
          </xs:complexType>
        </xs:element>
      </xs:sequence>
    </xs:complexType>
    <xs:unique name="Numbers">
      <xs:selector xpath="Item"/>
      <xs:field xpath="@No"/>
    </xs:unique>
  </xs:element>
</xs:schema>
"#;
const DOCUMENT_BYTES: usize = 95_000_000;
const AT_ONCE: usize = 8;
const ROUNDS_MAX: usize = 3;
/// After this the server has to have given memory back.
const PAUSE: Duration = Duration::from_secs(15);

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Line>> {
    let n_bytes = context.choose(DOCUMENT_BYTES, DOCUMENT_BYTES / 10);
    let mut site = Site::with(&context.binary, "keys", CONFIGURATION)?;
    site.add_schema("keyed", SCHEMA)?;
    let dir = scratch::dir("keyed")?;
    let valid = Manner::new("valid", 201, dir.join("valid.xml"));
    let doubled = Manner::new("with one duplicate", 400, dir.join("doubled.xml"));
    let n_items = write_document(&valid.document, n_bytes, false)?;
    write_document(&doubled.document, n_bytes, true)?;
    let mut all = Vec::new();
    for manner in [valid, doubled] {
        let mut rounds = Vec::new();
        for round in 0..context.rounds.min(ROUNDS_MAX) {
            site.new_spool()?;
            let server = site.start()?;
            let measured = measure(&site, &server, &manner)?;
            server.stop()?;
            eprintln!(
                "  round {} {}: {:.0} MB, with {AT_ONCE} at once {:.0} MB",
                round + 1,
                manner.what,
                measured.most_of_one,
                measured.most_of_eight
            );
            rounds.push(measured);
        }
        all.extend(lines(&rounds, &manner, n_bytes));
    }
    if let Some(first) = all.first_mut() {
        first.note = format!(
            "resident, uploaded by HTTP over TLS; {n_items} items, each with a number of its own; \
             what finds no room gets 503 and is counted"
        );
    }
    Ok(all)
}

/// As many items as fit, each with a number of its own; the last one may have that of the first.
fn write_document(path: &Path, n_bytes: usize, is_doubled: bool) -> anyhow::Result<usize> {
    const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Keyed>\n";
    const END: &str = "</Keyed>\n";
    let item = |number: usize| format!("<Item No=\"{number:08}\">Gewicht gepr\u{fc}ft</Item>\n");
    let n_items = (n_bytes - BEGIN.len() - END.len()) / item(0).len();
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(BEGIN.as_bytes())?;
    for number in 0..n_items {
        let is_last = number + 1 == n_items;
        let number = if is_doubled && is_last { 0 } else { number };
        file.write_all(item(number).as_bytes())?;
    }
    file.write_all(END.as_bytes())?;
    file.flush()?;
    Ok(n_items)
}

/// A document, and what becomes of it where there is room.
struct Manner {
    what: &'static str,
    status: u16,
    document: PathBuf,
}

impl Manner {
    fn new(what: &'static str, status: u16, document: PathBuf) -> Self {
        Self {
            what,
            status,
            document,
        }
    }

    /// Was there room? Every other answer than the right one is an error.
    fn had_room(&self, answer: &Answer) -> anyhow::Result<bool> {
        const FINDING: &str = "the value for \"Numbers\" is already on line 3 ";
        let body = String::from_utf8_lossy(&answer.body);
        match answer.status {
            503 => Ok(false),
            400 if self.status == 400 => {
                ensure!(body.contains(FINDING), "refused for another reason: {body}");
                Ok(true)
            }
            status if status == self.status => Ok(true),
            status => bail!("{}: status {status}: {body}", self.what),
        }
    }
}

/// Of one round, in megabytes.
struct Measured {
    most_of_one: f64,
    after_one: f64,
    most_of_eight: f64,
    after_eight: f64,
    with_room: f64,
}

/// A server without a past: one document, then eight at once.
fn measure(site: &Site, server: &Server, manner: &Manner) -> anyhow::Result<Measured> {
    let trust = &site.trust()?;
    // The first look at the password takes memory of its own.
    let path = "/xml/jobqueue?Interfacename=keyed";
    let first = request("GET", path, &site.authorization, b"");
    Client::connect(server.address, trust)?.ask(&first)?;
    std::thread::sleep(Duration::from_secs(2));

    process::forget_peak(server.pid())?;
    let had_room = upload(server.address, trust, site, manner)?;
    ensure!(had_room, "there was no room for a single document");
    let most_of_one = megabytes(server, "VmHWM")?;
    std::thread::sleep(PAUSE);
    let after_one = megabytes(server, "VmRSS")?;

    process::forget_peak(server.pid())?;
    let with_room = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| upload(server.address, trust, site, manner)))
            .collect();
        threads.into_iter().try_fold(0.0, |sum, thread| {
            let ended = thread.join();
            let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended.map(|had_room| sum + f64::from(u8::from(had_room)))
        })
    })?;
    ensure!(with_room > 0.0, "there was no room for any of {AT_ONCE}");
    let most_of_eight = megabytes(server, "VmHWM")?;
    std::thread::sleep(PAUSE);
    Ok(Measured {
        most_of_one,
        after_one,
        most_of_eight,
        after_eight: megabytes(server, "VmRSS")?,
        with_room,
    })
}

fn megabytes(server: &Server, field: &str) -> anyhow::Result<f64> {
    const BYTES_PER_MEBIBYTE: f64 = 1_048_576.0;
    Ok(process::mebibytes(server.pid(), field)? * BYTES_PER_MEBIBYTE / 1e6)
}

/// Was there room for the document? The client holds a piece of it.
fn upload(
    address: SocketAddr,
    trust: &Trust,
    site: &Site,
    manner: &Manner,
) -> anyhow::Result<bool> {
    let mut document = File::open(&manner.document)?;
    let n_bytes = usize::try_from(document.metadata()?.len())?;
    let path = "/xml/upload?Interfacename=keyed";
    let mut client = Client::connect(address, trust)?;
    client.send(head("POST", path, &site.authorization, n_bytes).as_bytes())?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n_read = document.read(&mut piece)?;
        if n_read == 0 {
            break;
        }
        client.send(&piece[..n_read])?;
    }
    manner.had_room(&client.answer()?)
}

fn lines(rounds: &[Measured], manner: &Manner, n_bytes: usize) -> Vec<Line> {
    let what = format!("of {} MB, {}", n_bytes / 1_000_000, manner.what);
    let values = |of: fn(&Measured) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let line = |what: String, target: f64, of: fn(&Measured) -> f64| {
        Line::new(what, Target::AtMost(target), values(of))
            .unit("MB")
            .must()
    };
    let with_room = values(|round| round.with_room);
    let without: Vec<f64> = with_room.iter().map(|n| AT_ONCE as f64 - n).collect();
    let later = PAUSE.as_secs();
    vec![
        line(format!("one {what}, the most"), 150.0, |r| r.most_of_one),
        line(format!("{later} s after one {what}"), 40.0, |r| r.after_one),
        line(format!("{AT_ONCE} at once {what}, the most"), 300.0, |r| {
            r.most_of_eight
        })
        .side(manner.status.to_string(), &with_room, "")
        .side("503", &without, ""),
        line(
            format!("{later} s after {AT_ONCE} at once {what}"),
            40.0,
            |r| r.after_eight,
        ),
    ]
}
