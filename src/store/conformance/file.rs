//! The file engine on the bench: a spool in a directory of its own.
//!
//! Workers and operators call the spool, as they do in a service.

use super::{Bench, Store, conformance, mail, nobody, other, plain};
use crate::{
    cron_schedule::ScheduleId,
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, JobName, Queue},
    store::fs::{
        Claim, DropRules, FileStore, Moved, RealFs, Rules, SEGMENT_BYTES_MIN, Settlement, Spool,
        faults::Faults,
    },
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

struct FileBench {
    /// Before the directory, in which it still has something to write.
    spool: Arc<Spool>,
    store: Arc<FileStore>,
    dir: Arc<TempDir>,
    running: Mutex<HashMap<JobName, Running>>,
}

struct Running {
    claim: Claim,
    started_ms: i64,
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

fn rules(addressed: bool) -> Rules {
    Rules {
        attempts_max: 3,
        at_most_once: false,
        drops: DropRules {
            addressed,
            ..DropRules::default()
        },
    }
}

impl FileBench {
    /// As a service begins.
    fn at(dir: Arc<TempDir>) -> Self {
        let interfaces = [plain(), other(), mail()];
        let interfaces = interfaces.map(|name| (name.clone(), rules(name == mail())));
        let spool = Spool::open(RealFs::new(dir.path()), interfaces.into(), Box::new(now_ms));
        let spool = spool.unwrap();
        spool.know_users(|user| *user != nobody());
        spool.open_journal(SEGMENT_BYTES_MIN).unwrap();
        spool.recover().unwrap();
        spool.start_journal();
        let spool = Arc::new(spool);
        Self {
            store: Arc::new(FileStore::new(spool.clone())),
            spool,
            dir,
            running: Mutex::default(),
        }
    }

    fn job(&self, name: &JobName) -> Job {
        let place = self.spool.find(name).unwrap();
        Job {
            place: place.unwrap_or_else(|| panic!("{name} is not there")),
            name: name.clone(),
        }
    }

    /// Ends the run of a job, as a worker does.
    fn settle(&self, name: &JobName, what: Settlement, status: Status, last: Message) {
        let running = self.running.lock().remove(name);
        let Running {
            mut claim,
            started_ms,
        } = running.unwrap();
        let job = self.job(name);
        let log = JobLog {
            job: name.clone(),
            interface: Some(claim.interface().clone()),
            status,
            received_ms: self.spool.received_ms(&job),
            started_ms: Some(started_ms),
            finished_ms: now_ms(),
            attempts: claim.attempt(),
            bytes: self.spool.bytes_of(&job).unwrap().unwrap(),
            sha256: self.spool.checksum_of(&job),
            messages: vec![last],
        };
        let published = claim.settle(what, Some(log)).unwrap();
        moved(published.moved);
    }
}

fn moved(moved: Moved) {
    assert!(matches!(moved, Moved::Done(_)), "it is gone");
}

impl Bench for FileBench {
    async fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn restart(self) -> Self {
        let dir = self.dir.clone();
        drop(self);
        Self::at(dir)
    }

    async fn run(&self, job: &JobName) {
        let interface = self.job(job).place.interface().cloned().unwrap();
        let mut claim = self.spool.claim(&interface, job).unwrap().unwrap();
        claim.prepare().unwrap();
        claim.begin();
        let running = Running {
            claim,
            started_ms: now_ms(),
        };
        self.running.lock().insert(job.clone(), running);
    }

    async fn finish(&self, job: &JobName, files: &[(&str, &[u8])], variables: Map<String, Value>) {
        let results = {
            let running = self.running.lock();
            self.dir
                .path()
                .join(running[job].claim.run_dir())
                .join("results")
        };
        for (name, bytes) in files {
            std::fs::write(results.join(name), bytes).unwrap();
        }
        if !variables.is_empty() {
            let variables = Value::Object(variables).to_string();
            std::fs::write(results.join("result.json"), variables).unwrap();
        }
        let last = Message::new(now_ms(), Level::Info, "processed");
        self.settle(job, Settlement::Done, Status::Ok, last);
    }

    async fn fail(&self, job: &JobName, why: &str) {
        let last = Message::new(now_ms(), Level::Error, why);
        self.settle(job, Settlement::Failed, Status::Error, last);
    }

    async fn defer(&self, job: &JobName) {
        let due_ms = now_ms() + 3_600_000;
        let last = Message::new(now_ms(), Level::Error, "not now");
        self.settle(job, Settlement::Deferred { due_ms }, Status::Error, last);
    }

    async fn cancel(&self, job: &JobName, by: &str) {
        if self.running.lock().contains_key(job) {
            let last = Message::cancelled(now_ms(), by);
            self.settle(job, Settlement::Failed, Status::Error, last);
        } else {
            moved(self.spool.cancel(&self.job(job), by).unwrap());
        }
    }

    async fn requeue(&self, job: &JobName, to: &Queue) {
        moved(self.spool.requeue(&self.job(job), to, "olga").unwrap());
    }

    async fn remove(&self, job: &JobName) {
        moved(self.spool.remove(&self.job(job), "olga").unwrap());
    }

    async fn hold(&self, interface: &InterfaceName) {
        self.spool.hold(interface, "a test").unwrap();
    }

    async fn resume(&self, interface: &InterfaceName) {
        assert!(self.spool.release(interface).unwrap());
    }

    async fn ask_reset(&self, schedule: ScheduleId) {
        assert!(self.spool.ask_reset(schedule).unwrap());
    }

    fn calls(&self) -> u64 {
        Faults::of(self.dir.path()).calls()
    }
}

impl Drop for FileBench {
    fn drop(&mut self) {
        // Its threads write into the directory.
        self.spool.close_journal();
    }
}

conformance!(FileBench);
