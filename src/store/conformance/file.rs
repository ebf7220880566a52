//! The file engine on the bench: a spool in a directory of its own.
//!
//! Workers call the spool, as they do in a service.

use super::{Bench, Store, Worker, conformance, mail, nobody, now_ms, other, plain, receivers};
use crate::store::fs::{
    DropRules, FileStore, RealFs, Rules, SEGMENT_BYTES_MIN, Spool, faults::Faults,
};
use std::sync::Arc;
use tempfile::TempDir;

struct FileBench {
    /// Before the directory, in which it still has something to write.
    spool: Arc<Spool>,
    store: Arc<FileStore>,
    dir: Arc<TempDir>,
    worker: Worker,
}

fn rules(addressed: bool) -> Rules {
    Rules {
        attempts_max: 3,
        at_most_once: false,
        drops: DropRules {
            addressed,
            ..DropRules::default()
        },
        order_attribute: None,
    }
}

impl FileBench {
    /// As a service begins.
    fn at(dir: Arc<TempDir>) -> Self {
        let interfaces = [plain(), other(), mail()];
        let interfaces = interfaces.map(|name| (name.clone(), rules(name == mail())));
        let spool = Spool::open(RealFs::new(dir.path()), interfaces.into(), Box::new(now_ms));
        // Where tests have their directories, they may be in memory.
        let spool = spool.unwrap().with_accepted_risk(true);
        let spool = spool.with_receivers(receivers());
        spool.know_users(|user| *user != nobody());
        spool.open_journal(SEGMENT_BYTES_MIN).unwrap();
        spool.recover().unwrap();
        spool.start_journal();
        let spool = Arc::new(spool);
        Self {
            store: Arc::new(FileStore::new(spool.clone())),
            spool,
            dir,
            worker: Worker::default(),
        }
    }
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

    fn worker(&self) -> &Worker {
        &self.worker
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
