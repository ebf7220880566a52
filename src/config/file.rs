//! `spoolgate.toml` as it is written: every key with its type, nothing decided yet.

use super::{
    Limits, LogConfig, MetricsConfig, Partner, Ui, expect::ExpectFile, receiver::ReceiverFile,
};
use crate::{
    cron_schedule::Missed,
    cron_schedule::cron::Changes,
    processor::{ExitCodes, PartnersSee, Retry},
    service::{Direction, Visible},
    store::fs::Retention,
    xml::Edition,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    pub(super) databases: Vec<String>,
    pub(super) server: ServerFile,
    pub(super) tls: TlsFile,
    pub(super) spool: SpoolFile,
    pub(super) store: StoreFile,
    pub(super) limits: Limits,
    pub(super) auth: AuthFile,
    pub(super) log: LogConfig,
    pub(super) metrics: MetricsConfig,
    pub(super) schemas: SchemasFile,
    pub(super) retention: Retention,
    pub(super) partners: BTreeMap<String, Partner>,
    pub(super) expect: Vec<ExpectFile>,
    pub(super) interfaces: BTreeMap<String, InterfaceFile>,
    pub(super) events: Vec<ReceiverFile>,
    pub(super) tenants: BTreeMap<String, TenantFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerFile {
    pub(super) listen: Option<SocketAddr>,
    pub(super) plain_listen: Option<SocketAddr>,
    pub(super) ops_listen: Option<SocketAddr>,
    pub(super) control: Option<PathBuf>,
    pub(super) worker_tags: Option<Vec<String>>,
    pub(super) time_zone: Option<String>,
    pub(super) clock_changes: Option<Changes>,
    pub(super) missed_schedules: Option<Missed>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) proxy_protocol: bool,
    pub(super) ui: Ui,
    pub(super) ui_operators_from: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFile {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SpoolFile {
    pub(super) root: Option<PathBuf>,
    pub(super) accept_risk: bool,
    pub(super) journal_mib: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreFile {
    pub(super) url_file: Option<PathBuf>,
    pub(super) cacert: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthFile {
    pub(super) users: Option<PathBuf>,
}

#[derive(Debug, Default)]
pub(super) struct SchemasFile {
    pub(super) catalog: BTreeMap<String, Spanned<String>>,
    /// By the names of schemas.
    pub(super) named: BTreeMap<String, SchemaFile>,
}

/// By hand, since a flattened map forgets where in the file its entries are.
impl<'de> Deserialize<'de> for SchemasFile {
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        file.deserialize_map(Schemas)
    }
}

struct Schemas;

impl<'de> Visitor<'de> for Schemas {
    type Value = SchemasFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct SchemasFile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SchemasFile, A::Error> {
        let mut schemas = SchemasFile::default();
        while let Some(key) = entries.next_key::<String>()? {
            if key == "catalog" {
                schemas.catalog = entries.next_value()?;
            } else {
                schemas.named.insert(key, entries.next_value()?);
            }
        }
        Ok(schemas)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaFile {
    pub(super) xsd: Edition,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InterfaceFile {
    pub(super) direction: Direction,
    pub(super) root: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) max_bytes: Option<u64>,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    #[serde(default)]
    pub(super) questions: Vec<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    pub(super) visible: Visible,
    #[serde(default)]
    pub(super) addressed: bool,
    #[serde(default)]
    pub(super) ordered: bool,
    pub(super) fair: Option<Fair>,
    pub(super) order_by: Option<String>,
    pub(super) temporary_names: Option<Vec<String>>,
    pub(super) concurrency: Option<usize>,
    pub(super) delivery: Option<String>,
    #[serde(default)]
    pub(super) retry: Retry,
    pub(super) processor: Option<ProcessorFile>,
}

/// Who takes turns.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fair {
    Submitter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProcessorFile {
    pub(super) command: Option<Vec<String>>,
    pub(super) archive: bool,
    pub(super) http: Option<String>,
    pub(super) cacert: Option<PathBuf>,
    pub(super) secret: Option<PathBuf>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) exit_codes: ExitCodes,
    pub(super) timeout_s: Option<u64>,
    pub(super) memory_mib_max: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    pub(super) output_bytes_max: Option<u64>,
    pub(super) sandbox: bool,
    pub(super) readable: Vec<PathBuf>,
    pub(super) writable: Vec<PathBuf>,
    pub(super) leaves_processes: bool,
    pub(super) partners_see: PartnersSee,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantFile {
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) databases: Vec<String>,
    pub(super) root: Option<PathBuf>,
    pub(super) accept_risk: Option<bool>,
    #[serde(default)]
    pub(super) store: StoreFile,
    pub(super) users: Option<PathBuf>,
    pub(super) retention: Option<Retention>,
    #[serde(default)]
    pub(super) schemas: SchemasFile,
    #[serde(default)]
    pub(super) partners: BTreeMap<String, Partner>,
    #[serde(default)]
    pub(super) expect: Vec<ExpectFile>,
    #[serde(default)]
    pub(super) interfaces: BTreeMap<String, InterfaceFile>,
    #[serde(default)]
    pub(super) events: Vec<ReceiverFile>,
}
