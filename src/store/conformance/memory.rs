//! The engine in memory on the bench.

use super::{Bench, Store, conformance, mail, nobody};
use crate::{
    cron_schedule::ScheduleId,
    domain::{InterfaceName, JobName, Queue},
    store::memory::MemoryStore,
};
use serde_json::{Map, Value};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

struct MemoryBench(Arc<MemoryStore>);

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

impl Bench for MemoryBench {
    async fn new() -> Self {
        let store = MemoryStore::new(Arc::new(now_ms)).with_addressed(mail(), nobody());
        Self(Arc::new(store))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    async fn restart(self) -> Self {
        Self(Arc::new(self.0.restart()))
    }

    async fn run(&self, job: &JobName) {
        self.0.start(job);
    }

    async fn finish(&self, job: &JobName, files: &[(&str, &[u8])], variables: Map<String, Value>) {
        self.0.finish(job, files, variables);
    }

    async fn fail(&self, job: &JobName, why: &str) {
        self.0.fail(job, why);
    }

    async fn defer(&self, job: &JobName) {
        self.0.defer(job, now_ms() + 3_600_000);
    }

    async fn cancel(&self, job: &JobName, by: &str) {
        self.0.cancel(job, by);
    }

    async fn requeue(&self, job: &JobName, to: &Queue) {
        self.0.requeue(job, to.clone());
    }

    async fn remove(&self, job: &JobName) {
        self.0.remove(job);
    }

    async fn hold(&self, interface: &InterfaceName) {
        self.0.hold(interface);
    }

    async fn resume(&self, interface: &InterfaceName) {
        self.0.resume(interface);
    }

    async fn ask_reset(&self, schedule: ScheduleId) {
        self.0.ask_reset(schedule);
    }

    fn calls(&self) -> u64 {
        // There is no disk.
        0
    }
}

conformance!(MemoryBench);
