//! `spoolgate demo`: the whole life of some jobs on a real server with a temporary spool. Every
//! step is checked; the first one that is not as it should be ends the demo with an error.

use super::{
    Format,
    init::{Init, lay_out},
    output::{print_line, print_note},
    partner::runtime,
};
use crate::{
    assets,
    client::{Answer, Endpoint, Login, Trust, call},
    domain::JobName,
    xml::xsltproc_present,
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use http::StatusCode;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// Nothing in the demo takes nearly so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a temporary spool and certificate, starts the real server on a free port, uploads the
/// sample documents, shows a bad one being refused, processes and fetches them, and reports what
/// happened to each.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate demo --keep")]
pub(super) struct Demo {
    /// Leave the server running and print curl lines to try
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let stage = Stage::set()?;
        print_line!("spool, certificate and user are in {}", stage.dir.display())?;
        let mut server = Server::start(&stage)?;
        print_line!("the server listens on {}\n", server.url)?;
        let outcome = runtime()?.block_on(play(&stage, &server));
        if let Err(error) = outcome {
            print_note!("--- the server's log: {}", stage.log().display());
            print_note!("{}", fs::read_to_string(stage.log()).unwrap_or_default());
            return Err(error);
        }
        if self.keep {
            stage.invite(&server)?;
            let status = server.child.wait()?;
            print_line!("the server has ended: {status}")?;
            return Ok(ExitCode::SUCCESS);
        }
        server.stop()?;
        fs::remove_dir_all(&stage.dir)?;
        print_line!(
            "\nall as it should be, in {:.1} s",
            started.elapsed().as_secs_f32()
        )?;
        print_line!(
            "next: `spoolgate demo --keep`, or `spoolgate init d` for a spool of your own"
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The temporary directory with everything in it.
struct Stage {
    dir: PathBuf,
    password: String,
}

impl Stage {
    fn set() -> anyhow::Result<Self> {
        let unique = format!("spoolgate-demo-{}", std::process::id());
        let dir = std::env::temp_dir().join(unique);
        let free = Some(([127, 0, 0, 1], 0).into());
        let init = Init {
            state: None,
            dir: dir.clone(),
            user: "demo".into(),
            listen: free,
            plain_listen: free,
            ops_listen: free,
            format: Format { json: false },
        };
        let password = init.make()?;
        let stage = Self { dir, password };
        lay_out(&stage.dir.join("documents"), assets::DOCUMENTS)?;
        lay_out(&stage.dir.join("documents"), &[assets::INVALID])?;
        lay_out(&stage.dir.join("processors"), assets::PROCESSORS)?;
        for (name, _) in assets::PROCESSORS {
            let path = stage.dir.join("processors").join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        stage.configure()?;
        Ok(stage)
    }

    /// Gives the interfaces the sample processors. A temporary directory may be in memory, and a
    /// small journal is made sooner.
    fn configure(&self) -> anyhow::Result<()> {
        let archive = "processor = { archive = true }";
        let count = "processor = { command = [\"processors/count-lines.sh\"] }";
        let import = "processor = { command = [\"processors/import-orders.py\", \"orders.db\"] }";
        let orders = if python_present() {
            import
        } else {
            print_line!("python3 is missing: orders are counted instead of imported into SQLite")?;
            count
        };
        let path = self.config();
        let mut text = fs::read_to_string(&path)?;
        let at = text
            .find("[interfaces.orders_in]")
            .context("no orders_in")?;
        let end = text
            .find("[interfaces.orders_out]")
            .context("no orders_out")?;
        text.replace_range(at..end, &text[at..end].replace(archive, orders));
        text = text.replace(archive, count);
        let keys = "root = \"spool\"\naccept_risk = true\njournal_mib = 2";
        text = text.replace("root = \"spool\"", keys);
        fs::write(&path, text)?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.dir.join("spoolgate.toml")
    }

    fn document(&self, name: &str) -> PathBuf {
        self.dir.join("documents").join(name)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn invite(&self, server: &Server) -> anyhow::Result<()> {
        let curl = format!("curl -k -u demo:{} {}", self.password, server.url);
        let document = self.document(assets::DOCUMENTS[1].0);
        print_line!("\nThe server goes on until Ctrl-C. Try:")?;
        print_line!(
            "  {curl}/xml/upload?RefName=mine --data-binary @{}",
            document.display()
        )?;
        print_line!("  {curl}/xml/jobqueue?Interfacename=orders_out")?;
        print_line!("  {curl}/xml/jobqueue --data-urlencode Interfacename=orders_in")?;
        print_line!("  {curl}/xml/jobstatus?Jobname=NAME")?;
        print_line!("  {curl}/xml/joblog?Jobname=NAME")?;
        print_line!("and, as operator:")?;
        print_line!("  ls -R {}/spool", self.dir.display())?;
        print_line!("  spoolgate ls --config {}", self.config().display())?;
        print_line!(
            "It is all in {}, which you may remove afterwards.",
            self.dir.display()
        )
    }
}

fn python_present() -> bool {
    let python = Command::new("python3")
        .args(["-c", "import sqlite3"])
        .output();
    python.is_ok_and(|output| output.status.success())
}

/// The real server, as a process of its own; ended with the demo whatever happens.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(stage: &Stage) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let log = fs::File::create(stage.log())?;
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(stage.config())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let stdout = child.stdout.take().context("no output of the server")?;
        let mut server = Self {
            child,
            url: String::new(),
        };
        for line in BufReader::new(stdout).lines() {
            if let Some(url) = line?.strip_prefix("listening https://") {
                server.url = format!("https://{url}");
                return Ok(server);
            }
        }
        let log = fs::read_to_string(stage.log()).unwrap_or_default();
        bail!("the server did not start:\n{log}")
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what they are to reach.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The play itself.
async fn play(stage: &Stage, server: &Server) -> anyhow::Result<()> {
    let login = Login::new("demo", &stage.password)?;
    let trust = Trust::File(stage.dir.join("certs/cert.pem"));
    let partner = Partner(Endpoint::new(&server.url, login, &trust)?);
    print_line!("== a partner uploads documents")?;
    let mut jobs = Vec::new();
    for (name, _) in assets::DOCUMENTS {
        jobs.push(partner.upload(name, &stage.document(name)).await?);
    }
    print_line!("\n== a document with a mistake is refused, and kept")?;
    let refused = partner
        .upload_bad(&stage.document(assets::INVALID.0))
        .await?;
    print_line!("\n== processors work on what was accepted")?;
    for job in &jobs {
        partner.wait_for(job, "bak/").await?;
    }
    for job in jobs.iter().chain([&refused]) {
        partner.show_log(job).await?;
    }
    print_line!("\n== the back office drops a file into a queue; the partner polls and fetches")?;
    drop_order(stage)?;
    partner.fetch(stage).await?;
    print_line!("\n== what the operator sees: spoolgate status")?;
    let status = Command::new(std::env::current_exe()?)
        .args(["status", "--config"])
        .arg(stage.config())
        .status()?;
    ensure!(status.success(), "status ended with {status}");
    print_line!("\n{} documents processed, 1 refused, 1 fetched", jobs.len())?;
    Ok(())
}

fn drop_order(stage: &Stage) -> anyhow::Result<()> {
    let (name, document) = assets::ORDERS_OUT;
    fs::write(
        stage.dir.join("spool/queue/orders_out").join(name),
        document,
    )?;
    print_line!("cp {name} spool/queue/orders_out/")?;
    Ok(())
}

/// A partner, who has nothing but HTTPS.
struct Partner(Endpoint);

impl Partner {
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let parameters: Vec<_> = parameters.iter().map(|(k, v)| (*k, Some(*v))).collect();
        Ok(call(&self.0, path, &parameters, None).await?)
    }

    async fn upload(&self, name: &str, document: &Path) -> anyhow::Result<JobName> {
        let reference = document.file_stem().and_then(|stem| stem.to_str());
        let reference = reference.map(|stem| stem.trim_end_matches(".valid"));
        let parameters = [("RefName", reference)];
        let answer = call(&self.0, "/xml/upload", &parameters, Some(document)).await?;
        ensure!(
            answer.status == StatusCode::CREATED,
            "{name}: {}",
            answer.text
        );
        print_line!("{:<34} 201  {}", name, answer.text.trim())?;
        Ok(answer.text.trim().parse()?)
    }

    async fn upload_bad(&self, document: &Path) -> anyhow::Result<JobName> {
        let name = assets::INVALID.0;
        let answer = call(&self.0, "/xml/upload", &[], Some(document)).await?;
        ensure!(
            answer.status == StatusCode::BAD_REQUEST,
            "{name}: {}",
            answer.status
        );
        print_line!("{name:<34} 400")?;
        for line in answer.text.lines() {
            print_line!("  {line}")?;
        }
        let job = answer.headers.get("x-job-name").context("no X-Job-Name")?;
        let job: JobName = job.to_str()?.parse()?;
        self.wait_for(&job, "joberrors").await?;
        Ok(job)
    }

    async fn wait_for(&self, job: &JobName, place: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self
                .ask("/xml/jobstatus", &[("Jobname", &job.to_string())])
                .await?;
            ensure!(answer.status == StatusCode::OK, "{job}: {}", answer.text);
            if answer.text.starts_with(place) {
                print_line!("{job}  {}", answer.text.trim())?;
                return Ok(());
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "{job} stays in {}",
                answer.text.trim()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn show_log(&self, job: &JobName) -> anyhow::Result<()> {
        let answer = self
            .ask("/xml/joblog", &[("Jobname", &job.to_string())])
            .await?;
        ensure!(answer.status == StatusCode::OK, "{job}: {}", answer.text);
        let log = crate::domain::joblog::JobLog::from_xml(&answer.text);
        let log = log.map_err(anyhow::Error::msg)?;
        print_line!("log of {job}: {}", log.status.as_str())?;
        for message in log.messages.iter().take(3) {
            let line = message
                .line
                .map_or(String::new(), |line| format!("line {line}: "));
            print_line!("  {:<7} {line}{}", message.level.as_str(), message.text)?;
        }
        if let Some(more) = log.messages.len().checked_sub(4) {
            print_line!("  … and {} more", more + 1)?;
        }
        Ok(())
    }

    async fn fetch(&self, stage: &Stage) -> anyhow::Result<()> {
        let interface = ("Interfacename", "orders_out");
        let begun = Instant::now();
        let job: JobName = loop {
            let queue = self.ask("/xml/jobqueue", &[interface]).await?;
            if let Some(name) = queue.text.lines().next() {
                break name.parse()?;
            }
            ensure!(begun.elapsed() < PATIENCE, "the dropped file is not listed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        print_line!("jobqueue: {job}")?;
        let name = job.to_string();
        let document = self
            .ask("/xml/job", &[interface, ("Jobname", &name)])
            .await?;
        ensure!(
            document.text.as_bytes() == assets::ORDERS_OUT.1,
            "the document has changed"
        );
        print_line!("job: {} bytes, as they were dropped", document.text.len())?;
        self.wait_for(&job, "bak/").await?;
        if !xsltproc_present() {
            print_line!("xsltproc is missing: no transformation (apt-get install xsltproc)")?;
            return Ok(());
        }
        for sheet in ["order-csv", "order-html"] {
            let with = [interface, ("Jobname", name.as_str()), ("xslt", sheet)];
            let answer = self.ask("/xml/job", &with).await?;
            ensure!(answer.status == StatusCode::OK, "{sheet}: {}", answer.text);
            let kind = answer
                .headers
                .get("content-type")
                .context("no content type")?;
            print_line!("job with xslt={sheet}: {}", kind.to_str()?)?;
            for line in answer.text.lines().take(2) {
                print_line!("  {line:.90}")?;
            }
        }
        ensure!(
            stage.dir.join("spool/bak/orders_out").is_dir(),
            "nothing in bak"
        );
        Ok(())
    }
}
