//! The engine on PostgreSQL on the bench: a database of its own, of the server that tests have for themselves.

use super::{Bench, Store, Worker, conformance, mail, nobody, other, plain, receivers};
use crate::store::pg::{Database, InterfaceRules, Node, Options, PgStore, Url, testing::Server};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::OnceCell;

struct PgBench {
    store: Arc<PgStore>,
    url: Url,
    scratch: Arc<TempDir>,
    worker: Worker,
}

fn url_of(server: &Server, name: &str) -> Url {
    let no_tls = || Err("it is no server of the network".into());
    Url::new(server.url(name).as_bytes(), no_tls).unwrap()
}

/// The name of a database that has the tables, of which others are copies.
async fn template(server: &Server) -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let make = || async {
        let name = server.create("template1");
        let database = Database::new(url_of(server, &name)).unwrap();
        database.migrate().await.unwrap();
        name
    };
    TEMPLATE.get_or_init(make).await
}

impl PgBench {
    /// As a service begins.
    async fn at(url: Url, scratch: Arc<TempDir>) -> Self {
        let interfaces = [plain(), other(), mail()].map(|name| {
            let rules = InterfaceRules {
                attempts_max: 3,
                at_most_once: false,
                addressed: name == mail(),
            };
            (name, rules)
        });
        let options = Options {
            interfaces: interfaces.into(),
            wants: receivers(),
            node: Some(Node {
                name: "here".into(),
                scratch: scratch.path().to_owned(),
            }),
            spool: None,
        };
        let database = Database::new(url.clone()).unwrap();
        let store = PgStore::open(database, options).await.unwrap();
        store.know_users(|user| *user != nobody());
        Self {
            store: Arc::new(store),
            url,
            scratch,
            worker: Worker::default(),
        }
    }
}

impl Bench for PgBench {
    fn is_there() -> bool {
        Server::of_tests().is_some()
    }

    async fn new() -> Self {
        let server = Server::of_tests().unwrap();
        let name = server.create(template(server).await);
        let scratch = Arc::new(tempfile::tempdir().unwrap());
        Self::at(url_of(server, &name), scratch).await
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn restart(self) -> Self {
        let (url, scratch) = (self.url.clone(), self.scratch.clone());
        drop(self);
        Self::at(url, scratch).await
    }

    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn calls(&self) -> u64 {
        self.store.statements()
    }
}

conformance!(PgBench);
