//! The operators' socket of the service.

use super::{configuration::Configuration, supervise::Supervisor, tenant::Prepared};
use crate::{
    config::Config,
    ops::control::{self, Listener, SpoolId, server::Admins},
};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where the operators' socket of a service can be.
pub(crate) fn control_places(config: &Config) -> Vec<PathBuf> {
    let root = config.tenants.first().map(|tenant| tenant.root.as_path());
    control::places(root.unwrap_or(Path::new("/")), config.control.as_deref())
}

/// The socket, bound, and what is asked through it.
pub(super) struct Socket {
    listener: Arc<Listener>,
    admins: Arc<Admins>,
}

impl Socket {
    /// `None`: the service cannot have one; it serves its partners nevertheless.
    pub(super) fn bind(
        config: &Config,
        tenants: &[Prepared],
        configuration: &Arc<Configuration>,
    ) -> anyhow::Result<Option<Self>> {
        let mut admins = Admins::new();
        for (prepared, tenant) in tenants.iter().zip(configuration.served(config)) {
            let root = tenant.root.display();
            let id = SpoolId::of(&tenant.root).with_context(|| format!("cannot look at {root}"))?;
            let admin = prepared.admin().with_configuration(configuration.clone());
            admins.insert(id, Arc::new(admin));
        }
        match Listener::bind(&control_places(config)) {
            Ok(listener) => {
                let path = listener.path().display();
                tracing::info!(%path, "listening for operators' commands");
                Ok(Some(Self {
                    listener: Arc::new(listener),
                    admins: Arc::new(admins),
                }))
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "there is no control socket: operators' commands that change something are \
                     refused; name a place for it that this user can write to in server.control",
                );
                Ok(None)
            }
        }
    }

    /// Answers until `stop`. What is under way then is among `tasks`: the journal is closed after it.
    pub(super) fn keep(
        self,
        supervisor: &Supervisor,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let until = stop.clone();
        let kept = supervisor.keep("the control socket", move || {
            let Self { listener, admins } = &self;
            listener.clone().serve(admins.clone(), until.clone())
        });
        // The supervisor has reported what became of it.
        tasks.spawn(async move { drop(kept.await) });
    }
}
