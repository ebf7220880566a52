//! The facts about a service, from what it has in force, from its stores and from the files.
//!
//! Nothing is made, loaded or compiled here: only what is there is read. Cheap enough to be asked for every
//! second. What looks at files blocks.

use super::{CertificateFacts, InterfaceFacts, SchemaFacts, ServiceFacts, TenantFacts, UsersFacts};
use crate::{
    config::{Config, DEFAULT_TENANT, InterfaceConfig, Tenant},
    domain::{InterfaceName, PlaceKind},
    events::Way,
    http::tls,
    processor::Processor,
    store::{Capacity, Filter, Store, StoreError, Viewer},
    xml::{Schemas, Stylesheets},
};
use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path};

/// What a tenant's store says of itself.
#[derive(Clone, Debug, Default)]
pub struct StoreFacts {
    /// Why nothing is accepted or started, with what to do.
    stopped: Option<String>,
    free: Option<Capacity>,
    queues: BTreeMap<InterfaceName, QueueFacts>,
}

#[derive(Clone, Debug, Default)]
struct QueueFacts {
    queued: usize,
    held: Option<String>,
    astray: Vec<(String, String)>,
}

impl StoreFacts {
    /// Of a store that cannot be asked, and why.
    pub fn unknown(why: String) -> Self {
        Self {
            stopped: Some(why),
            ..Self::default()
        }
    }

    /// Asks a store, which this process serves, so that it knows what is queued, or only looks at.
    pub async fn of(store: &dyn Store, is_served: bool) -> Self {
        let mut queues = BTreeMap::new();
        for name in store.interfaces() {
            let queued = match is_served {
                true => store.waiting(&name),
                false => listed(store, &name).await,
            };
            let facts = QueueFacts {
                queued,
                held: store.hold_text(&name).await.ok().flatten(),
                astray: store.astray(&name).await.unwrap_or_default(),
            };
            queues.insert(name, facts);
        }
        Self {
            stopped: store.health().await.err().map(stopped),
            free: store.capacity(),
            queues,
        }
    }
}

/// How many jobs are in a queue; none are when it cannot be listed.
async fn listed(store: &dyn Store, interface: &InterfaceName) -> usize {
    let filter = Filter {
        interface: Some(interface.clone()),
        at: vec![PlaceKind::Queue],
        ..Filter::default()
    };
    let listed = store.list(&Viewer::all(), &filter, None, usize::MAX).await;
    listed.map_or(0, |page| page.jobs.len())
}

fn stopped(error: StoreError) -> String {
    match error {
        StoreError::Unhealthy(reason) => format!(
            "the spool is unhealthy, nothing is accepted or started: {reason}; check the disk, then \
             restart"
        ),
        error @ (StoreError::Conflict(_)
        | StoreError::Full(_)
        | StoreError::NotFound(_)
        | StoreError::Refused(_)
        | StoreError::Unavailable(_)) => error.to_string(),
    }
}

/// A tenant as it is served, or as it would be.
pub struct TenantSource<'a> {
    pub tenant: &'a Tenant,
    pub store: StoreFacts,
    /// Whether anyone has a right, or why the file cannot be used.
    pub users: Result<bool, String>,
    /// Why the files of single users do not count as they are.
    pub broken_users: Vec<String>,
    /// As [`unknown_partners`] gives them.
    pub unknown_partners: Vec<String>,
    pub schemas: &'a Schemas,
    pub stylesheets: &'a Stylesheets,
}

/// Those who have limits of their own and are no users.
pub fn unknown_partners(tenant: &Tenant, is_user: impl Fn(&str) -> bool) -> Vec<String> {
    let names = tenant.partners.keys();
    names.filter(|name| !is_user(name)).cloned().collect()
}

/// The certificate as it is served, or as it would be.
pub struct CertificateSource<'a> {
    /// The one in force; none: there is none yet.
    pub in_force: Option<&'a tls::Certificate>,
    /// Why the files that lie there are not, or cannot come into force.
    pub trouble: Option<String>,
    /// What this machine is called.
    pub host_name: Option<&'a str>,
}

/// All facts. Blocks.
pub fn facts(
    config: &Config,
    certificate: &CertificateSource<'_>,
    tenants: &[TenantSource<'_>],
) -> ServiceFacts {
    use rustix::process::{Resource, getrlimit};
    ServiceFacts {
        now_s: jiff::Timestamp::now().as_second(),
        certificate: certificate_facts(config, certificate),
        connections_max: config.limits.connections_max,
        // The service raises its limit to that.
        open_files_max: getrlimit(Resource::Nofile).maximum,
        tenants: (tenants.iter())
            .map(|source| tenant_facts(config, source))
            .collect(),
    }
}

fn certificate_facts(config: &Config, source: &CertificateSource<'_>) -> CertificateFacts {
    let path = config.certificate.display().to_string();
    let Some(certificate) = source.in_force else {
        return CertificateFacts {
            path,
            trouble: source.trouble.clone(),
            ..CertificateFacts::default()
        };
    };
    let hosts = || config.tenants.iter().flat_map(|tenant| &tenant.hosts);
    let missing = hosts().filter(|host| !certificate.covers(host));
    let missing: Vec<String> = missing.cloned().collect();
    let has_own = (source.host_name).is_none_or(|name| certificate.covers(name));
    let has_hosts = hosts().count() > missing.len();
    let facts = certificate.facts();
    let names = facts
        .as_ref()
        .map_or(Vec::new(), |facts| facts.names.clone());
    CertificateFacts {
        path,
        valid_s: facts.as_ref().ok().map(|f| (f.not_before_s, f.not_after_s)),
        trouble: source.trouble.clone().or(facts.err()),
        is_renewed: tls::is_renewed(certificate.path()),
        missing_hosts: missing,
        names,
        has_a_name: has_own || has_hosts,
        any_name_will_do: config.tenants.iter().any(|tenant| tenant.hosts.is_empty()),
    }
}

fn tenant_facts(config: &Config, source: &TenantSource<'_>) -> TenantFacts {
    let tenant = source.tenant;
    let root = &tenant.root;
    let schemas = root.join("schemas");
    let stylesheets = root.join("xslt");
    let refused = source.stylesheets.refused().into_iter();
    let limits = &config.limits;
    let receivers = source.tenant.events.iter().filter_map(|receiver| {
        let wrong = match &receiver.way {
            Way::Command(command) => lacking(&command.argv[0], &command.dir),
            Way::Post(_) => receiver.check().err(),
        };
        wrong.map(|wrong| (receiver.wants.receiver.clone(), wrong))
    });
    TenantFacts {
        receivers: receivers.collect(),
        name: (tenant.name != DEFAULT_TENANT).then(|| tenant.name.clone()),
        root: root.display().to_string(),
        stopped: source.store.stopped.clone(),
        free: source.store.free,
        bytes_min: limits.free_bytes_min,
        inodes_min: limits.free_inodes_min,
        users: UsersFacts {
            path: tenant.users.display().to_string(),
            anybody_may: source.users == Ok(true),
            trouble: source.users.clone().err(),
            broken: source.broken_users.clone(),
            unknown_partners: source.unknown_partners.clone(),
        },
        unreadable_schemas: std::fs::read_dir(&schemas).err().map(|e| e.to_string()),
        broken_stylesheets: refused
            .map(|name| {
                let in_force = source.stylesheets.names().contains(&name);
                (name, in_force)
            })
            .collect(),
        open_dirs: [root.as_path(), &schemas, &stylesheets]
            .into_iter()
            .chain(tenant.users.parent())
            .filter(|dir| is_open(dir))
            .map(|dir| dir.display().to_string())
            .collect(),
        interfaces: (tenant.interfaces.iter())
            .map(|(name, interface)| interface_facts(config, source, name, interface))
            .collect(),
    }
}

/// May everyone replace what is in the directory?
fn is_open(dir: &Path) -> bool {
    let mode = std::fs::metadata(dir).map_or(0, |meta| meta.mode());
    mode & 0o1002 == 0o002
}

fn interface_facts(
    config: &Config,
    source: &TenantSource<'_>,
    name: &InterfaceName,
    interface: &InterfaceConfig,
) -> InterfaceFacts {
    let schema = interface.service.schema.as_ref();
    let queue = source.store.queues.get(name).cloned().unwrap_or_default();
    InterfaceFacts {
        name: name.to_string(),
        schema: schema.map(|schema| (schema.clone(), schema_facts(source, schema))),
        queued: queue.queued,
        queue_jobs_max: config.limits.queue_jobs_max,
        held: queue.held,
        processor: match &interface.lane.processor {
            None | Some(Processor::Archive) => None,
            Some(Processor::Command(command)) => lacking(&command.argv[0], &command.dir)
                .or_else(|| command.sandbox.as_ref()?.check().err()),
            Some(Processor::Post(post)) => post.check().err(),
        },
        astray: queue.astray,
    }
}

fn schema_facts(source: &TenantSource<'_>, schema: &str) -> SchemaFacts {
    let in_force = source.schemas.is_in_force(schema);
    let file = source.tenant.root.join(format!("schemas/{schema}.xsd"));
    if source.schemas.is_refused(schema) {
        return SchemaFacts::Broken { in_force };
    }
    match file.exists() {
        true if in_force => SchemaFacts::Good,
        // It came a moment ago.
        true => SchemaFacts::Broken { in_force },
        false => SchemaFacts::Missing { in_force },
    }
}

/// Why a processor's program cannot be run, if so.
fn lacking(program: &str, dir: &Path) -> Option<String> {
    use rustix::fs::{Access, access};
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let found = if program.contains('/') {
        runs(&dir.join(program))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| runs(&dir.join(program)))
    };
    (!found).then(|| {
        format!("the command {program} is not found or not executable: jobs fail; put it there")
    })
}
