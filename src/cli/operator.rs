//! What acts in a spool: the service that has it, or, when none does, this command.
//!
//! Nothing is ever done beside a running service, which would not know of it.

use super::{At, explain, has_jobs, output::print_note, runtime};
use crate::{
    config::{Config, Tenant},
    daemon::{self, Engine},
    ops::admin::{
        Acted, Admin, Administration, Bulk, Operation, Summary, Told, operator_of_process,
    },
    ops::control::{Client, ClientError},
    store::{
        By,
        audit::Outcome,
        fs::{LockError, SpoolLock},
    },
};
use anyhow::bail;
use std::time::{Duration, Instant};
use tokio::{runtime::Runtime, sync::mpsc};

/// How long to wait for a service that is just starting or ending to be reachable, or gone.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) enum Operator {
    Service(Client),
    Own(Box<Own>),
}

/// A spool that is this command's until the end, or a database.
pub(super) struct Own {
    admin: Admin,
    engine: Engine,
    by: By,
    runtime: Runtime,
    _lock: Option<SpoolLock>,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.runtime.block_on(self.engine.close());
    }
}

impl Operator {
    /// Reaches the service that has the spool, or takes the spool.
    pub(super) fn open(at: &At) -> anyhow::Result<Self> {
        let (config, tenant) = at.load()?;
        Self::of(&config, &tenant)
    }

    /// The same for a configuration that has been read.
    pub(super) fn of(config: &Config, tenant: &Tenant) -> anyhow::Result<Self> {
        let begun = Instant::now();
        loop {
            match Self::reach(config, tenant)? {
                Ok(operator) => return Ok(operator),
                Err(holder) if begun.elapsed() > PATIENCE => bail!(
                    "the service (process {holder}) has this spool, and its control socket cannot \
                     be reached at {}; nothing was done. Its log says at the start where the \
                     socket is or why there is none; server.control names a place for it",
                    sockets(config)
                ),
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// The inner error is the process that has the spool and cannot be reached.
    fn reach(config: &Config, tenant: &Tenant) -> anyhow::Result<Result<Self, String>> {
        match Client::connect(&daemon::control_places(config), &tenant.root) {
            Ok(client) => return Ok(Ok(Self::Service(client))),
            Err(ClientError::Absent) => {}
            Err(ClientError::Unreachable { .. }) if !tenant.root.exists() => {}
            Err(error) => return Err(error.into()),
        }
        has_jobs(tenant)?;
        let runtime = runtime()?;
        match runtime.block_on(daemon::take_over(tenant)) {
            Ok((lock, engine, admin)) => Ok(Ok(Self::Own(Box::new(Own {
                admin,
                engine,
                by: operator_of_process(),
                runtime,
                _lock: lock,
            })))),
            Err(error) => match error.downcast_ref() {
                Some(LockError::Taken { holder }) => Ok(Err(holder.clone())),
                Some(LockError::Io(_)) | None => Err(error),
            },
        }
    }

    /// Does one thing.
    pub(super) fn act(&mut self, operation: &Operation) -> anyhow::Result<Acted> {
        match self {
            Self::Service(client) => Ok(client.act(operation)?),
            Self::Own(own) => Ok(own.runtime.block_on(own.admin.act(operation, &own.by))?),
        }
    }

    /// Does something to users, which the audit has before it is done, and then what came of it.
    pub(super) fn recorded<T>(
        &mut self,
        what: &Administration,
        act: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let said =
            |acted: &anyhow::Result<T>| acted.as_ref().err().map(explain).unwrap_or_default();
        match self {
            Self::Service(client) => {
                client.begin(what)?;
                let acted = act();
                if let Err(error) = client.end(acted.is_ok(), &said(&acted)) {
                    print_note!("note: the audit lacks what came of this: {error}");
                }
                acted
            }
            Self::Own(own) => {
                let begun = own.runtime.block_on(own.admin.begin(&what.deed(&own.by)))?;
                let acted = act();
                let said = said(&acted);
                let ended = begun.end(Outcome::of(acted.is_ok()), None, &said);
                own.runtime.block_on(ended);
                acted
            }
        }
    }

    /// Does one thing to jobs; `told` hears what becomes of each.
    pub(super) fn bulk(
        &mut self,
        bulk: &Bulk,
        mut told: impl FnMut(Told),
    ) -> anyhow::Result<Summary> {
        match self {
            Self::Service(client) => Ok(client.bulk(bulk, told)?),
            Self::Own(own) => own.runtime.block_on(async {
                let (sender, mut heard) = mpsc::channel(1);
                let hear = async {
                    while let Some(one) = heard.recv().await {
                        told(one);
                    }
                };
                let (summary, ()) = tokio::join!(own.admin.bulk(bulk, &own.by, sender), hear);
                Ok(summary?)
            }),
        }
    }

    /// Does several things, one after the other. `report` prints what was done, or why it was not; one that fails
    /// does not stop the others. False when one did.
    pub(super) fn each<T>(
        &mut self,
        all: impl IntoIterator<Item = T>,
        act: impl Fn(&T) -> Operation,
        mut report: impl FnMut(T, Result<&Acted, &anyhow::Error>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let (mut done, mut reported) = (true, Ok(()));
        for one in all {
            let outcome = self.act(&act(&one));
            done &= outcome.is_ok();
            // A closed standard output is no reason to stop.
            reported = reported.and(report(one, outcome.as_ref()));
        }
        reported.map(|()| done)
    }
}

/// Does something to a tenant's users, as [`Operator::recorded`]. Before there is a spool nothing has an audit.
pub(super) fn recorded<T>(
    config: &Config,
    tenant: &Tenant,
    what: &Administration,
    act: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let is_there = tenant.root.join("queue").try_exists();
    match is_there {
        Ok(false) if tenant.database.is_none() => act(),
        Ok(_) | Err(_) => Operator::of(config, tenant)?.recorded(what, act),
    }
}

fn sockets(config: &Config) -> String {
    let places = daemon::control_places(config);
    let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    places.join(" or ")
}
