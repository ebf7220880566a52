//! `spoolgate validate`: is a document valid, by a schema, by a configuration, or for a gateway?

use super::{
    At, Format,
    output::{print_line, print_note},
    partner::{Access, runtime},
};
use crate::{
    client::{self, Judgement},
    daemon,
    domain::{InterfaceName, escaped},
    util::Input,
    xml::{Finding, Schemas, Source, XsdSchema},
};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The exit code of those that could not be judged.
const UNKNOWN: u8 = 2;
const URL_VARIABLE: &str = "SPOOLGATE_URL";
/// What the schema of `--schema` is called here.
const SCHEMA: &str = "schema";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Validate {
    /// Documents to validate; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The schema; what it includes and imports is found beside it, and never fetched
    #[arg(long, value_name = "FILE.xsd", conflicts_with_all = ["interface", "url", "config", "tenant"])]
    schema: Option<PathBuf>,
    /// Where all that the schema includes and imports lies; the schema's directory unless given
    #[arg(long, value_name = "DIR", requires = "schema")]
    within: Option<PathBuf>,
    /// The interface of the configuration; with --url that of the gateway, which recognises it
    /// unless given
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<InterfaceName>,
    #[command(flatten)]
    at: At,
    /// The gateway, as https://HOST or https://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "tenant"])]
    url: Option<String>,
    /// The user; without :PASSWORD it is taken from SPOOLGATE_PASSWORD or --password-file
    #[arg(
        long,
        short,
        value_name = "NAME[:PASSWORD]",
        env = "SPOOLGATE_USER",
        hide_env_values = true
    )]
    user: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    format: Format,
}

const EXAMPLES: &str = "\
By a schema:       spoolgate validate --schema order.xsd order.xml
In a pipeline:     make-order | spoolgate validate --schema order.xsd -
Of a set:          spoolgate validate --schema xsd/maindoc/Invoice.xsd --within xsd invoice.xml
As the gateway:    spoolgate validate --config d/spoolgate.toml --interface orders_in order.xml
As a partner:      spoolgate validate --url https://HOST:8443 --user NAME out/*.xml
In an editor:      vim -q <(spoolgate validate --schema order.xsd order.xml)";

/// Says of the document in a file what is wrong with it; an error when that cannot be said.
type Judge = Box<dyn Fn(&Path) -> anyhow::Result<Verdict>>;

/// What is known of a document: what is wrong with it, and for which interface it would be.
struct Verdict {
    findings: Vec<Finding>,
    interface: Option<String>,
}

impl Validate {
    pub(super) fn run(&self) -> ExitCode {
        let code = self.validated().unwrap_or_else(|error| {
            super::report(&error);
            UNKNOWN
        });
        ExitCode::from(code)
    }

    /// The exit code, once all has been said.
    fn validated(&self) -> anyhow::Result<u8> {
        let judge = self.judge()?;
        let mut code = 0;
        for file in &self.files {
            let verdict = Input::of(file)
                .map_err(anyhow::Error::new)
                .and_then(|input| judge(input.path()));
            code = code.max(match &verdict {
                Ok(verdict) if verdict.findings.is_empty() => 0,
                Ok(_) => 1,
                Err(_) => UNKNOWN,
            });
            self.print(file, &verdict)?;
        }
        Ok(code)
    }

    fn judge(&self) -> anyhow::Result<Judge> {
        Input::named_once(&self.files).map_err(anyhow::Error::msg)?;
        if let Some(schema) = &self.schema {
            return by_schema(schema, self.within.as_deref());
        }
        let named = std::env::var(URL_VARIABLE).ok();
        let named = named.filter(|url| !url.is_empty() && self.interface.is_none());
        match (self.url.clone().or(named), &self.interface) {
            (Some(url), _) => self.by_gateway(&url),
            (None, Some(interface)) => self.by_configuration(interface),
            (None, None) => bail!(
                "valid by what? give --schema FILE.xsd, --interface INTERFACE of a configuration, \
                 or the gateway's --url; `spoolgate validate --help` has examples"
            ),
        }
    }

    fn by_configuration(&self, wanted: &InterfaceName) -> anyhow::Result<Judge> {
        let (_, tenant) = (self.at.load())
            .context("--interface is one of a configuration; a gateway's needs --url as well")?;
        let known = tenant.interfaces.iter().find(|(name, interface)| {
            let mut aliases = interface.service.aliases.iter();
            *name == wanted || aliases.any(|alias| alias == wanted.as_str())
        });
        let (name, interface) = known.with_context(|| format!("unknown interface {wanted}"))?;
        if !interface.service.takes_uploads() {
            bail!("{name} does not accept uploads: its jobs are fetched");
        }
        let (verifier, name) = (daemon::verifier(&tenant), name.clone());
        Ok(Box::new(move |document| {
            let bytes = document.metadata()?.len();
            let findings = verifier.findings(&Source::File(document), bytes, &name);
            Ok(Verdict {
                findings: findings.map_err(anyhow::Error::msg)?,
                interface: Some(name.to_string()),
            })
        }))
    }

    fn by_gateway(&self, url: &str) -> anyhow::Result<Judge> {
        let user = self.user.as_deref();
        let user = user.context("--user is missing, or the variable SPOOLGATE_USER")?;
        let endpoint = self.access.endpoint(url, user)?;
        let (runtime, interface) = (runtime()?, self.interface.clone());
        Ok(Box::new(move |document| {
            let interface = interface.as_ref().map(InterfaceName::as_str);
            let asked = client::validate(&endpoint, document, interface);
            match runtime.block_on(asked)? {
                Judgement::Valid { interface } => Ok(Verdict {
                    findings: Vec::new(),
                    interface: Some(interface),
                }),
                Judgement::NotValid(mistakes) => Ok(Verdict {
                    findings: (mistakes.iter())
                        .map(|m| Finding::read(m.line, m.column, &m.message))
                        .collect(),
                    interface: None,
                }),
                Judgement::Unknown(reason) => bail!(reason),
            }
        }))
    }

    fn print(&self, file: &Path, verdict: &anyhow::Result<Verdict>) -> anyhow::Result<()> {
        let name = escaped(&file.to_string_lossy());
        if self.format.json {
            return print_line!("{}", json(&name, verdict));
        }
        match verdict {
            Err(error) => print_note!("spoolgate: {name}: {}", super::explain(error)),
            Ok(Verdict {
                findings,
                interface,
            }) => {
                for finding in findings {
                    print_line!("{name}:{finding}")?;
                }
                if findings.is_empty() {
                    let for_ = interface.as_ref().map(|name| format!(" for {name}"));
                    print_line!("{name}: valid{}", for_.unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }
}

fn json(file: &str, verdict: &anyhow::Result<Verdict>) -> serde_json::Value {
    let mut line = serde_json::json!({ "file": file });
    match verdict {
        Ok(verdict) => {
            line["valid"] = verdict.findings.is_empty().into();
            line["interface"] = verdict.interface.clone().into();
            let finding = |finding: &Finding| {
                serde_json::json!({
                    "line": finding.line,
                    "column": finding.column,
                    "path": finding.path,
                    "message": finding.message,
                })
            };
            line["findings"] = verdict.findings.iter().map(finding).collect();
        }
        Err(error) => {
            line["valid"] = serde_json::Value::Null;
            line["error"] = super::explain(error).into();
        }
    }
    line
}

fn by_schema(file: &Path, within: Option<&Path>) -> anyhow::Result<Judge> {
    let schemas = loaded(file, within)?;
    for (_, warning) in schemas.warnings() {
        print_note!("spoolgate: warning: {}: {warning}", file.display());
    }
    Ok(Box::new(move |document| {
        Ok(Verdict {
            findings: schemas.validate(SCHEMA, &Source::File(document))?,
            interface: None,
        })
    }))
}

/// The schema in a file, with all that it names inside its directory or the one that is given.
fn loaded(file: &Path, within: Option<&Path>) -> anyhow::Result<Schemas> {
    let shown = file.display();
    let unreadable = || format!("cannot read {shown}");
    file.metadata().with_context(unreadable)?;
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let parent = parent.canonicalize().with_context(unreadable)?;
    let directory = match within {
        None => parent.clone(),
        Some(within) => {
            let unreadable = || format!("cannot read {}", within.display());
            within.canonicalize().with_context(unreadable)?
        }
    };
    let name = file.file_name().with_context(unreadable)?;
    let path = parent.join(name);
    let path = path.strip_prefix(&directory);
    let path = path.map_err(|_| anyhow!("{shown} is not inside {}", directory.display()))?;
    let path = path
        .to_str()
        .context("the path of the schema is not UTF-8")?;
    let schemas = Schemas::open(&directory, Box::new(XsdSchema));
    schemas.load(SCHEMA, path).map_err(|reason| {
        let hint = match reason.contains("(not inside the directory)") && within.is_none() {
            true => "; --within DIR names a directory that holds it",
            false => "",
        };
        anyhow!("{shown} is not usable: {reason}{hint}")
    })?;
    Ok(schemas)
}
