//! The configuration in force, and how a running service takes another one: when an operator says so, never because
//! a file was changed, and then all of it or nothing.
//!
//! What can fail comes first: reading it, what needs a restart, directories. Requests and commands that are under way
//! go on by the configuration with which they began. A file that says something else than what is in force is reported,
//! so that no one believes in it.

use super::tenant::{Follower, Prepared, Shared};
use crate::{
    auth::Users,
    config::{Config, Differences, Tenant},
    http::{Hosts, Unserved, VirtualHost, VirtualHosts},
    log,
    ops::admin::{self, Answer},
    service::Service,
    store::fs::InForce,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const UNCHANGED: &str = "nothing has changed";

pub(super) struct Configuration {
    in_force: ArcSwap<Config>,
    /// How many were taken, that of the start included.
    epoch: AtomicU64,
    /// The tenants that could not be prepared at the start, with the reason.
    unserved: OnceLock<BTreeMap<String, String>>,
    /// What was reported last.
    reported: Mutex<Option<String>>,
    /// What follows it, one reload at a time; `None` before the tenants are ready.
    followers: tokio::sync::Mutex<Option<Followers>>,
}

/// What decides by the configuration while the service runs.
pub(super) struct Followers {
    hosts: Hosts,
    shared: Shared,
    /// In the order of the configuration's tenants.
    tenants: Vec<Follower>,
}

impl Followers {
    pub(super) fn new(hosts: Hosts, shared: Shared, tenants: &[Prepared]) -> Self {
        Self {
            hosts,
            shared,
            tenants: tenants.iter().map(Prepared::follower).collect(),
        }
    }
}

impl Configuration {
    pub(super) fn new(config: Config) -> Self {
        Self {
            in_force: ArcSwap::from_pointee(config),
            epoch: AtomicU64::new(1),
            unserved: OnceLock::new(),
            reported: Mutex::default(),
            followers: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn in_force(&self) -> Arc<Config> {
        self.in_force.load_full()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Some tenants could not be prepared: they are not served before the next start.
    pub(super) fn lacks(&self, unserved: BTreeMap<String, String>) {
        // Said once, at the start.
        let _ = self.unserved.set(unserved);
    }

    /// Those that are served, in the order of the configuration.
    pub(super) fn served<'c>(&self, config: &'c Config) -> Vec<&'c Tenant> {
        let unserved = self.unserved.get();
        let is_served =
            |tenant: &&Tenant| !unserved.is_some_and(|un| un.contains_key(&tenant.name));
        config.tenants.iter().filter(is_served).collect()
    }

    /// The others, as sentences of `/readyz`.
    pub(super) fn unserved(&self) -> Vec<String> {
        let unserved = self.unserved.get().into_iter().flatten();
        let said = unserved.map(|(name, why)| {
            format!("tenant {name} is not served: {why}; mend that and restart the service")
        });
        said.collect()
    }

    /// From now on it can be taken anew.
    pub(super) async fn followed_by(&self, followers: Followers) {
        *self.followers.lock().await = Some(followers);
    }

    /// Takes another one at each SIGHUP, until `stop`. What comes of it is for the log.
    pub(super) async fn follow_signals(self: Arc<Self>, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be caught");
                return;
            }
        };
        loop {
            tokio::select! {
                signal = hangup.recv() => match signal {
                    // What comes of it is in the log.
                    Some(()) => drop(self.take().await),
                    None => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes the files as they now are.
    ///
    /// # Errors
    /// Why nothing was taken, in words for operators.
    async fn take(&self) -> Result<String, String> {
        let taken = self.take_all().await;
        let epoch = self.epoch();
        match &taken {
            Ok(said) if said == UNCHANGED => tracing::info!(epoch, "configuration: {said}"),
            Ok(said) => {
                let sha256 = &self.in_force().sha256;
                tracing::info!(
                    epoch,
                    sha256,
                    "the configuration is taken: {}",
                    one_line(said)
                );
            }
            Err(error) => {
                tracing::error!(epoch, "the configuration before stays: {}", one_line(error));
            }
        }
        self.look_anew().await;
        taken
    }

    async fn take_all(&self) -> Result<String, String> {
        let followers = self.followers.lock().await;
        let Some(followers) = &*followers else {
            return Err("the service is just starting; try again".into());
        };
        let before = self.in_force();
        let config = read(&before.path).await?;
        let differences = Differences::between(&before, &config);
        if !differences.needs_restart.is_empty() {
            return Err(format!(
                "nothing was taken, since part of it needs a restart: restart the service, or take that \
                 back\n{differences}"
            ));
        }
        if config.sha256 == before.sha256 {
            return Ok(UNCHANGED.into());
        }
        log::check(&config.log).map_err(|error| format!("nothing was taken: {error}"))?;
        let served = self.served(&config);
        let parts = || followers.tenants.iter().zip(served.iter().copied());
        for (follower, tenant) in parts() {
            let prepared = follower.prepare(tenant).await;
            prepared.map_err(|error| format!("nothing was taken: {error:#}"))?;
        }
        let services = parts().map(|(follower, tenant)| follower.service(&config, tenant));
        let services: Vec<Arc<Service>> = services.collect();
        let users = followers
            .tenants
            .iter()
            .map(|follower| follower.users.clone());
        let hosts = self.virtual_hosts(&config, services.iter().cloned().zip(users));
        let hosts = hosts.map_err(|error| format!("nothing was taken: {error:#}"))?;
        // From here on nothing fails that was tried before.
        if let Err(error) = log::take(&config.log) {
            tracing::error!(%error, "log.level stays as it was");
        }
        let epoch = self.epoch() + 1;
        let sha256 = config.sha256.clone();
        for ((follower, tenant), service) in parts().zip(services) {
            follower.take(&config, tenant, service).await;
            let sha256 = sha256.clone();
            follower.say(&InForce { sha256, epoch });
        }
        followers.shared.take(&config.limits);
        followers.hosts.store(Arc::new(hosts));
        self.in_force.store(Arc::new(config));
        self.epoch.store(epoch, Ordering::Release);
        let said = differences.to_string();
        let all = if said.is_empty() {
            "no key says anything else"
        } else {
            &said
        };
        Ok(format!("configuration {epoch} is in force\n{all}"))
    }

    /// The tenants of the start, by their hosts.
    ///
    /// # Errors
    /// As those of [`VirtualHosts::new`].
    pub(super) fn hosts(&self, config: &Config, tenants: &[Prepared]) -> anyhow::Result<Hosts> {
        let parts = (tenants.iter()).map(|of| (of.service.load_full(), of.users.clone()));
        let hosts = self.virtual_hosts(config, parts)?;
        Ok(Arc::new(ArcSwap::from_pointee(hosts)))
    }

    /// The tenants by their hosts, those that are served each with its service and users, in the order of the
    /// configuration.
    ///
    /// # Errors
    /// As those of [`VirtualHosts::new`].
    fn virtual_hosts(
        &self,
        config: &Config,
        parts: impl Iterator<Item = (Arc<Service>, Arc<Users>)>,
    ) -> anyhow::Result<VirtualHosts> {
        let served = self.served(config);
        let hosts = parts
            .zip(&served)
            .map(|((service, users), tenant)| VirtualHost {
                name: tenant.name.clone(),
                is_default: tenant.is_default,
                hosts: tenant.hosts.clone(),
                databases: tenant.databases.clone(),
                service,
                users,
                realm: "spoolgate".into(),
            });
        let mut all = VirtualHosts::new(hosts.collect())?;
        for tenant in &config.tenants {
            if !served.iter().any(|served| served.name == tenant.name) {
                all = all.without(Unserved {
                    name: tenant.name.clone(),
                    is_default: tenant.is_default,
                    hosts: tenant.hosts.clone(),
                    databases: tenant.databases.clone(),
                });
            }
        }
        Ok(all)
    }

    async fn look_anew(&self) {
        let found = self.found(read(&self.in_force().path).await);
        self.report(found);
    }

    /// Reads the files again and reports what has changed. Blocking.
    pub(super) fn look(&self) {
        let read = Config::load(&self.in_force().path).map_err(|error| error.to_string());
        self.report(self.found(read));
    }

    fn found(&self, read: Result<Config, String>) -> Option<String> {
        match read {
            Ok(config) if config.sha256 == self.in_force().sha256 => None,
            Ok(_) => Some(format!("it was changed; {}", admin::RELOAD)),
            Err(error) => Some(format!("a reload or a restart would fail: {error}")),
        }
    }

    fn report(&self, found: Option<String>) {
        let mut reported = self.reported.lock();
        if *reported == found {
            return;
        }
        let path = self.in_force().path.display().to_string();
        match &found {
            Some(text) => tracing::warn!(path, "the configuration: {text}"),
            None => tracing::info!(path, "the configuration that lies there is in force"),
        }
        *reported = found;
    }

    /// What is to be known of it, as one of the sentences of `/readyz`.
    pub(super) fn warning(&self) -> Option<String> {
        let reported = self.reported.lock();
        // Without what is wrong with it: that may be anyone's words.
        let failing = reported.as_ref()?.contains("would fail");
        Some(match failing {
            true => "the configuration was changed, and a reload or a restart would fail; the log says why".into(),
            false => format!("the configuration was changed; {}", admin::RELOAD),
        })
    }
}

impl admin::Configuration for Configuration {
    fn differences(&self) -> Answer<'_, Differences> {
        Box::pin(async move {
            let before = self.in_force();
            let config = read(&before.path).await?;
            Ok(Differences::between(&before, &config))
        })
    }

    fn reload(&self) -> Answer<'_, String> {
        Box::pin(self.take())
    }
}

async fn read(path: &Path) -> Result<Config, String> {
    let path = path.to_owned();
    let read = move || Config::load(&path).map_err(|error| error.to_string());
    super::supervise::blocking(read).await
}

/// A line of the log has one line.
fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spoolgate.toml");
        let text = "[interfaces.a]\ndirection = \"in\"\nschema = \"\"\n";
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(text);
        let file = Configuration::new(Config::load(&path).unwrap());
        let warning = || {
            file.look();
            file.warning()
        };
        assert_eq!(warning(), None);
        write(&format!("{text}# a comment\n"));
        assert!(warning().unwrap().contains("spoolgate reload"));
        write("[interface.a]");
        assert!(warning().unwrap().contains("would fail"));
        write(text);
        assert_eq!(warning(), None);
    }
}
