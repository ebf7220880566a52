//! The engine of a tenant's store, as the configuration names it, and what a service asks of it beside the seam.
//!
//! Beside a database there is a spool, too: its directories are where this machine keeps schemas, stylesheets and who has
//! logged in, and where people put files that are to be jobs. No job is in it.

use super::{supervise::blocking, tenant};
#[cfg(feature = "cluster")]
use crate::{
    client::{Trust, tls_config},
    config::DatabaseConfig,
    domain::InterfaceName,
    store::pg::{Database, InterfaceRules, Node, Options, PgStore, Url},
    util::secret,
};
use crate::{
    config::Tenant,
    domain::{Seal, UserName},
    metrics::Tenant as TenantMetrics,
    store::{
        LeftBehind, Store,
        fs::{FileStore, RealFs, Retention, Spool, key},
    },
};
#[cfg(feature = "cluster")]
use anyhow::anyhow;
#[cfg(feature = "cluster")]
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where this machine has the runs of jobs that are in a database.
#[cfg(feature = "cluster")]
const RUNS: &str = "runs";

#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    /// The directories of this machine.
    pub(super) spool: Arc<Spool>,
    jobs: Jobs,
}

/// Where they are.
#[derive(Clone)]
enum Jobs {
    Spool,
    #[cfg(feature = "cluster")]
    Database(Arc<PgStore>),
}

impl Engine {
    /// That of a service whose lock is taken: probe → replay → recover. With the runs that go on.
    pub(super) async fn open(
        tenant: &Tenant,
        metrics: &TenantMetrics,
    ) -> anyhow::Result<(Self, Vec<LeftBehind>)> {
        let spool = tenant::open_spool(tenant)?.with_metrics(metrics.journal());
        let spool = Arc::new(spool);
        #[cfg(feature = "cluster")]
        if let Some(database) = database(tenant)? {
            let engine = Self::on(database, tenant, spool, Some(node(tenant))).await?;
            engine.probe(tenant).await?;
            return Ok((engine, Vec::new()));
        }
        let files = Arc::new(FileStore::new(spool.clone()));
        let engine = Self::of(spool.clone(), files.clone());
        engine.probe(tenant).await?;
        let adopted = tenant::recover(tenant, &spool, metrics)?;
        Ok((engine, files.adopt(adopted)))
    }

    /// One to look at, whether or not a service is at work: nothing is made.
    pub(crate) async fn look(tenant: &Tenant) -> anyhow::Result<Self> {
        let spool = tenant::existing_spool(tenant);
        #[cfg(feature = "cluster")]
        if let Some(database) = database(tenant)? {
            let engine = Self::on(database, tenant, Arc::new(spool), None).await?;
            if let Some(is_user) = tenant::users_of_files(tenant) {
                engine.know_users(is_user);
            }
            return Ok(engine);
        }
        let spool = Arc::new(spool);
        let files = Arc::new(FileStore::new(spool.clone()));
        Ok(Self::of(spool, files))
    }

    pub(super) fn of(spool: Arc<Spool>, files: Arc<FileStore>) -> Self {
        Self {
            store: files,
            spool,
            jobs: Jobs::Spool,
        }
    }

    #[cfg(feature = "cluster")]
    async fn on(
        database: Database,
        tenant: &Tenant,
        spool: Arc<Spool>,
        node: Option<Node>,
    ) -> anyhow::Result<Self> {
        let options = Options {
            interfaces: interface_rules(tenant),
            wants: tenant::wants(tenant),
            node,
            spool: Some(spool.clone()),
        };
        let store = Arc::new(PgStore::open(database, options).await?);
        Ok(Self {
            store: store.clone(),
            spool,
            jobs: Jobs::Database(store),
        })
    }

    async fn probe(&self, tenant: &Tenant) -> anyhow::Result<()> {
        for warning in self.store.probe().await? {
            tracing::warn!(tenant = tenant.name, "{warning}");
        }
        Ok(())
    }

    /// # Errors
    /// When this program cannot use the directories in which jobs are.
    pub(crate) fn check_format(&self) -> anyhow::Result<()> {
        match &self.jobs {
            Jobs::Spool => Ok(self.spool.check_format()?),
            // That of the tables was looked at.
            #[cfg(feature = "cluster")]
            Jobs::Database(_) => Ok(()),
        }
    }

    /// Are there others at work on it, of which this process hears nothing?
    pub(super) fn is_shared(&self) -> bool {
        match &self.jobs {
            Jobs::Spool => false,
            #[cfg(feature = "cluster")]
            Jobs::Database(_) => true,
        }
    }

    /// Sets once how users are known; `is_user` may block.
    pub(super) fn know_users(
        &self,
        is_user: impl Fn(&UserName) -> bool + Clone + Send + Sync + 'static,
    ) {
        match &self.jobs {
            Jobs::Spool => {}
            #[cfg(feature = "cluster")]
            Jobs::Database(store) => store.know_users(is_user.clone()),
        }
        self.spool.know_users(is_user);
    }

    /// Works by another configuration from now on.
    pub(super) async fn take(&self, tenant: &Tenant) {
        self.spool.take_interfaces(tenant::rules(tenant));
        let retention = tenant.retention.clone();
        self.spool.take_rules(retention, tenant::only_json(tenant));
        self.spool.take_receivers(tenant::wants(tenant));
        match &self.jobs {
            Jobs::Spool => {}
            #[cfg(feature = "cluster")]
            Jobs::Database(store) => {
                store.take_receivers(tenant::wants(tenant));
                let taken = store.take_interfaces(interface_rules(tenant)).await;
                if let Err(error) = taken {
                    let tenant = &tenant.name;
                    tracing::warn!(tenant, %error, "it is not noted since when interfaces are served");
                }
            }
        }
    }

    /// Puts what lies beside its day into it.
    pub(super) async fn file_orphans(&self) {
        match &self.jobs {
            Jobs::Spool => {
                let spool = self.spool.clone();
                if let Err(error) = blocking(move || spool.file_orphans()).await {
                    tracing::error!(%error, "jobs outside of their days cannot be looked for");
                }
            }
            // What there is, is in its day.
            #[cfg(feature = "cluster")]
            Jobs::Database(_) => {}
        }
    }

    /// Removes what has passed its retention, and says what that was.
    pub(super) async fn sweep(&self, keep: Arc<Retention>) {
        let removed = match &self.jobs {
            Jobs::Spool => {
                let spool = self.spool.clone();
                let swept = blocking(move || spool.sweep(&keep)).await;
                let paths = swept.map_err(|error| error.to_string());
                paths.map(|paths| {
                    paths
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect()
                })
            }
            #[cfg(feature = "cluster")]
            Jobs::Database(store) => {
                let swept = store.sweep(&keep).await;
                swept.map_err(|error| error.to_string())
            }
        };
        match removed {
            Ok::<Vec<String>, String>(removed) => {
                for path in removed {
                    tracing::info!(path, "its retention has passed; removed");
                }
            }
            Err(error) => tracing::error!(error, "old days cannot be removed"),
        }
    }

    /// Resolves when what runs is to be ended, since others may soon take it over; as often as that happens.
    pub(super) async fn out_of_reach(&self) {
        match &self.jobs {
            Jobs::Spool => std::future::pending().await,
            #[cfg(feature = "cluster")]
            Jobs::Database(store) => store.out_of_reach().await,
        }
    }

    /// Ends the work in order, so that the next start has nothing to do again.
    pub(crate) async fn close(&self) {
        match &self.jobs {
            Jobs::Spool => {
                let spool = self.spool.clone();
                let closed = tokio::task::spawn_blocking(move || spool.close_journal());
                if let Err(error) = closed.await {
                    tracing::error!(%error, "closing the journal broke down");
                }
            }
            #[cfg(feature = "cluster")]
            Jobs::Database(store) => {
                if let Err(error) = store.close().await {
                    tracing::warn!(%error, "the database does not know that this node has stopped");
                }
            }
        }
    }
}

/// What ids and tokens of a tenant are sealed with; its key is made if there is none.
pub(crate) async fn seal(tenant: &Tenant) -> anyhow::Result<Seal> {
    #[cfg(feature = "cluster")]
    if let Some(database) = database(tenant)? {
        return Ok(Seal::new(database.key(&tenant.name).await?));
    }
    let root = &tenant.root;
    tenant::make_root(tenant)?;
    Ok(Seal::new(key(&RealFs::new(root))?))
}

/// The database of a tenant that has one.
#[cfg(feature = "cluster")]
pub(crate) fn database(tenant: &Tenant) -> anyhow::Result<Option<Database>> {
    let Some(config) = &tenant.database else {
        return Ok(None);
    };
    let url = url(config).map_err(|why| anyhow!("{}: {why}", config.url_file.display()));
    Ok(Some(Database::new(url?)?))
}

#[cfg(feature = "cluster")]
fn url(config: &DatabaseConfig) -> Result<Url, String> {
    let trust = config.cacert.clone().map_or(Trust::System, Trust::File);
    let tls = || tls_config(&trust).map_err(|error| error.to_string());
    Url::new(&secret::read(&config.url_file)?, tls)
}

/// This machine and spool: no two services have the same.
#[cfg(feature = "cluster")]
fn node(tenant: &Tenant) -> Node {
    let root = tenant.root.canonicalize().unwrap_or(tenant.root.clone());
    let host = super::host_name().unwrap_or_else(|| "localhost".into());
    Node {
        name: format!("{host}:{}", root.display()),
        scratch: root.join(RUNS),
    }
}

#[cfg(feature = "cluster")]
fn interface_rules(tenant: &Tenant) -> BTreeMap<InterfaceName, InterfaceRules> {
    let interfaces = tenant.interfaces.iter();
    let rules = interfaces.map(|(name, interface)| {
        let rules = InterfaceRules {
            attempts_max: interface.rules.attempts_max,
            at_most_once: interface.rules.at_most_once,
            addressed: interface.rules.drops.addressed,
        };
        (name.clone(), rules)
    });
    rules.collect()
}
