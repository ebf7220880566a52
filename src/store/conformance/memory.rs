//! The engine in memory on the bench.

use super::{Bench, Store, Worker, conformance, mail, nobody, now_ms};
use crate::{
    cron_schedule::ScheduleId,
    domain::{InterfaceName, JobName, Queue},
    store::memory::MemoryStore,
};
use std::sync::Arc;

struct MemoryBench {
    store: Arc<MemoryStore>,
    worker: Worker,
}

impl MemoryBench {
    fn of(store: MemoryStore) -> Self {
        Self {
            store: Arc::new(store),
            worker: Worker::default(),
        }
    }
}

impl Bench for MemoryBench {
    async fn new() -> Self {
        let store = MemoryStore::new(Arc::new(now_ms)).with_addressed(mail(), nobody());
        Self::of(store)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn restart(self) -> Self {
        Self::of(self.store.restart())
    }

    fn worker(&self) -> &Worker {
        &self.worker
    }

    async fn requeue(&self, job: &JobName, to: &Queue) {
        self.store.requeue(job, to.clone());
    }

    async fn remove(&self, job: &JobName) {
        self.store.remove(job);
    }

    async fn hold(&self, interface: &InterfaceName) {
        self.store.hold(interface);
    }

    async fn resume(&self, interface: &InterfaceName) {
        self.store.resume(interface);
    }

    async fn ask_reset(&self, schedule: ScheduleId) {
        self.store.ask_reset(schedule);
    }

    fn calls(&self) -> u64 {
        // There is no disk.
        0
    }
}

conformance!(MemoryBench);
