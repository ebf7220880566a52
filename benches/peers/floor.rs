//! The least that a server can do which makes the promise of an upload: read, hash, check, append
//! to a journal, flush, name the file, answer. The journal, the threads and the naming are written
//! anew and know nothing but this; the check of the document is ours, because it is what it is.
//!
//! No login, no rights, no limits, no log, no record beside the job, nobody who waits for it.

use crate::{
    bare_http::{Answered, BareHttp, Runtimes, response},
    scratch,
    server::Site,
};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming};
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest, Sha256};
use spoolgate::xml::{self, Schemas, Source, XmlLimits, XsdSchema};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread::JoinHandle,
};

/// Preallocated, and written over from its beginning when it is full.
const JOURNAL_BYTES: usize = 64 << 20;
/// As long as a record of ours, besides the document.
const RECORD_BYTES: usize = 250;
/// A larger document is not in the journal: its file is synced before the record is appended.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// When a file gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Made by another thread once the record is durable; the answer does not wait for it.
    Behind,
    /// Made under `tmp`, renamed once the record is durable, and then answered: as ours does.
    Before,
}

/// Ends with this value.
pub(crate) struct Floor {
    pub(crate) server: BareHttp,
    dir: PathBuf,
    journal: Arc<Journal>,
    threads: Vec<JoinHandle<()>>,
}

impl Floor {
    /// Checks by the schema, or that a document is well-formed.
    pub(crate) fn start(
        site: &Site,
        naming: Naming,
        schema: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        let dir = scratch::dir("floor")?;
        for name in ["tmp", "queue"] {
            fs::create_dir(dir.join(name))?;
        }
        let journal = Arc::new(Journal::default());
        let (behind, made) = mpsc::channel::<(PathBuf, Bytes)>();
        let file = preallocated(&dir.join("journal"))?;
        let theirs = journal.clone();
        let committer = std::thread::spawn(move || theirs.commit(&file));
        let maker = std::thread::spawn(move || {
            for (path, document) in made {
                // One that is missing is found when the files are counted.
                let _ = fs::write(path, document);
            }
        });
        let floor = Arc::new(Acceptor {
            dir: dir.clone(),
            naming,
            check: Check::of(site, schema)?,
            journal: journal.clone(),
            behind,
            n_accepted: AtomicU64::new(0),
        });
        let answer = move |request| floor.clone().answer(request);
        Ok(Self {
            server: BareHttp::start(site, Runtimes::Each, answer)?,
            dir,
            journal,
            threads: vec![committer, maker],
        })
    }

    /// Ends it, and gives the directory with what was accepted once all is there.
    pub(crate) fn stop(self) -> anyhow::Result<PathBuf> {
        drop(self.server);
        self.journal.lock().ended = true;
        self.journal.appended.notify_one();
        for thread in self.threads {
            ensure!(thread.join().is_ok(), "a thread of the floor panicked");
        }
        scratch::abandon(&self.dir);
        Ok(self.dir.join("queue"))
    }
}

fn preallocated(path: &Path) -> anyhow::Result<File> {
    let mut file = File::create_new(path)?;
    file.write_all(&vec![0; JOURNAL_BYTES])?;
    file.sync_all()?;
    Ok(file)
}

/// By a schema, or, without one, whether a document is well-formed.
struct Check(Option<(&'static str, Schemas)>);

impl Check {
    fn of(site: &Site, schema: Option<&'static str>) -> anyhow::Result<Self> {
        let Some(name) = schema else {
            return Ok(Self(None));
        };
        let schemas = Schemas::open(&site.spool("schemas"), Box::new(XsdSchema));
        schemas.reload();
        ensure!(schemas.is_in_force(name), "no schema {name}");
        Ok(Self(Some((name, schemas))))
    }

    fn accepts(&self, document: &Source<'_>) -> anyhow::Result<bool> {
        Ok(match &self.0 {
            Some((name, schemas)) => schemas.validate(name, document)?.is_empty(),
            None => xml::inspect(document, &XmlLimits::default()).is_ok(),
        })
    }
}

struct Acceptor {
    dir: PathBuf,
    naming: Naming,
    check: Check,
    journal: Arc<Journal>,
    behind: mpsc::Sender<(PathBuf, Bytes)>,
    n_accepted: AtomicU64,
}

impl Acceptor {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answered {
        let n = self.n_accepted.fetch_add(1, Ordering::Relaxed);
        let name = format!("20261122T045748.123Z-{n:08}.xml");
        let announced = request.headers().get(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        let is_small = announced.is_some_and(|n_bytes: usize| n_bytes <= INLINE_BYTES_MAX);
        let accepted = if is_small {
            let document = request.into_body().collect().await?.to_bytes();
            self.accept_small(&name, document).await?
        } else {
            self.accept_large(&name, request.into_body()).await?
        };
        let status = if accepted { 201 } else { 400 };
        Ok(response(status, Bytes::from(name)))
    }

    async fn accept_small(&self, name: &str, document: Bytes) -> anyhow::Result<bool> {
        let sha256 = Sha256::digest(&document);
        if !self.check.accepts(&Source::Memory(&document))? {
            return Ok(false);
        }
        let (part, to) = (self.dir.join("tmp").join(name), self.to(name));
        if self.naming == Naming::Before {
            fs::write(&part, &document)?;
        }
        let record = self.journal.append(&sha256, &document);
        self.journal.durable(record).await;
        match self.naming {
            Naming::Before => rename(&part, &to)?,
            Naming::Behind => self.behind.send((to, document))?,
        }
        Ok(true)
    }

    /// Written while it arrives; the rest off the threads that serve.
    async fn accept_large(
        self: &Arc<Self>,
        name: &str,
        mut body: Incoming,
    ) -> anyhow::Result<bool> {
        let (part, to) = (self.dir.join("tmp").join(name), self.to(name));
        let mut file = File::create_new(&part)?;
        let mut sha256 = Sha256::new();
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                sha256.update(&piece);
                file.write_all(&piece)?;
            }
        }
        let acceptor = self.clone();
        let written = part.clone();
        let synced = tokio::task::spawn_blocking(move || -> anyhow::Result<bool> {
            let accepts = acceptor.check.accepts(&Source::File(&written))?;
            file.sync_all()?;
            Ok(accepts)
        });
        if !synced.await?? {
            return Ok(false);
        }
        let record = self.journal.append(&sha256.finalize(), b"");
        self.journal.durable(record).await;
        rename(&part, &to)?;
        Ok(true)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.dir.join("queue").join(name)
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).context("cannot rename")
}

/// One flush for all who wait at its moment.
#[derive(Default)]
struct Journal {
    state: Mutex<State>,
    appended: Condvar,
}

#[derive(Default)]
struct State {
    records: Vec<u8>,
    n_appended: u64,
    n_durable: u64,
    waiting: Vec<Waker>,
    ended: bool,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the number to wait for.
    fn append(&self, sha256: &[u8], document: &[u8]) -> u64 {
        let mut state = self.lock();
        state.records.extend_from_slice(sha256);
        let end = state.records.len() + RECORD_BYTES - sha256.len();
        state.records.resize(end, b' ');
        state.records.extend_from_slice(document);
        state.n_appended += 1;
        self.appended.notify_one();
        state.n_appended
    }

    async fn durable(&self, record: u64) {
        std::future::poll_fn(|task| {
            let mut state = self.lock();
            if state.n_durable >= record {
                return Poll::Ready(());
            }
            state.waiting.push(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Until the end: what has come together is written, flushed, and told to those who wait.
    fn commit(&self, file: &File) {
        let mut at = 0;
        let mut records = Vec::new();
        loop {
            let mut state = self.lock();
            while state.records.is_empty() {
                if state.ended {
                    return;
                }
                let woken = self.appended.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            records.clear();
            std::mem::swap(&mut records, &mut state.records);
            let last = state.n_appended;
            drop(state);
            if at + records.len() > JOURNAL_BYTES {
                at = 0;
            }
            let written = file.write_all_at(&records, at as u64);
            // Nobody is answered then, and the row says that requests were not.
            if written.and_then(|()| file.sync_data()).is_err() {
                return;
            }
            at += records.len();
            let mut state = self.lock();
            state.n_durable = last;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}
