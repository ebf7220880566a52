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

/// Whose clock stands still: a run begins in the millisecond in which the one before it ended.
#[tokio::test]
async fn each_run_has_its_own_reason_within_one_millisecond() {
    let at_ms = now_ms();
    let store = MemoryStore::new(Arc::new(move || at_ms)).with_interfaces([plain()]);
    let bench = MemoryBench::of(store);
    let store = bench.store();
    let name = super::accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let reasons = ["no paper", "no ink"];
    for why in reasons {
        bench.run(&name).await;
        bench.fail(&name, why).await;
        super::requeue(&*store, &name, &plain().into()).await;
    }
    let known = store.attempts(&name).await.unwrap();
    let told: Vec<_> = known.iter().map(|one| one.reason.as_deref()).collect();
    assert_eq!(told, reasons.map(Some));
}
