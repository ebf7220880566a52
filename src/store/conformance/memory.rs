//! The engine in memory on the bench.

use super::{Bench, Store, Worker, conformance, mail, nobody, now_ms, other, plain, receivers};
use crate::store::memory::MemoryStore;
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
        let store = MemoryStore::new(Arc::new(now_ms))
            .with_interfaces([plain(), other(), mail()])
            .with_addressed(mail(), nobody())
            .with_receivers(receivers());
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

    fn calls(&self) -> u64 {
        // There is no disk.
        0
    }
}

conformance!(MemoryBench);
