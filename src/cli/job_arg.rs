//! How a job is named on the command line: by any name that somebody has of it.

use super::access;
use crate::{
    config::{Config, Tenant},
    daemon,
    domain::{Job, JobId, JobName, Seal, id_in_hex, id_in_uuid, parse_stamp, parse_uuid},
    store::{
        Filter, Of, Store, Viewer, Want,
        fs::{deferred_entry, work_entry},
    },
};
use anyhow::{Context, bail};
use std::{fmt, io::ErrorKind, str::FromStr};
use uuid::Uuid;

/// So many of the jobs that are meant by an ambiguous text are named.
const CANDIDATES_MAX: usize = 10;
/// No day has more digits; the number of a task has.
const DAY_DIGITS: usize = 8;

/// A job's name, a beginning of it that no other has, the path of its file, or an id that a partner has of it.
#[derive(Clone, Debug)]
pub(super) struct JobArg(String);

impl FromStr for JobArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        meaning(text).map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for JobArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JobArg {
    /// The name that it is, if it is one.
    pub(super) fn name(&self) -> Option<JobName> {
        match meaning(&self.0) {
            Ok(Meaning::Name(name)) => Some(name),
            Ok(Meaning::Beginning(_) | Meaning::Hex(_) | Meaning::Task(_) | Meaning::Uuid(_))
            | Err(_) => None,
        }
    }
}

/// What a text can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    Beginning(String),
    /// Of Alteryx: 24 hexadecimal digits.
    Hex([u8; 12]),
    Name(JobName),
    /// Of PAAS.
    Task(JobId),
    /// Of Robusta and eHealth.
    Uuid(Uuid),
}

fn meaning(text: &str) -> Result<Meaning, String> {
    let file = text.rsplit('/').next().unwrap_or(text);
    let entry = work_entry(file).map(|(name, _)| name);
    let entry = entry.or_else(|| deferred_entry(file).map(|(name, _)| name));
    if let Some(name) = entry.or_else(|| file.parse().ok()) {
        return Ok(Meaning::Name(name));
    }
    if let Some(uuid) = parse_uuid(text) {
        return Ok(Meaning::Uuid(uuid));
    }
    let mut bytes = [0; 12];
    if hex::decode_to_slice(text, &mut bytes).is_ok() {
        return Ok(Meaning::Hex(bytes));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == text.len() && digits > DAY_DIGITS {
        let number = text.parse().map_err(|_| unknown(text))?;
        return Ok(Meaning::Task(JobId::from_number(number)));
    }
    let begins = match text.as_bytes().get(DAY_DIGITS) {
        None => (1..=DAY_DIGITS).contains(&digits) && digits == text.len(),
        Some(b'T') => digits == DAY_DIGITS,
        Some(_) => false,
    };
    match begins {
        true => Ok(Meaning::Beginning(text.to_owned())),
        false => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> String {
    format!(
        "{text} is neither the name of a job, as `spoolgate ls` shows it, nor the beginning of one, nor an id that a \
         partner has of it"
    )
}

/// Where jobs are looked for.
pub(super) struct Lookup<'a> {
    pub(super) config: &'a Config,
    pub(super) tenant: &'a Tenant,
    pub(super) store: &'a dyn Store,
}

impl Lookup<'_> {
    /// The name of a job that is meant; one that is written out need not be there.
    pub(super) async fn name(&self, arg: &JobArg) -> anyhow::Result<JobName> {
        let meaning = meaning(&arg.0).map_err(anyhow::Error::msg)?;
        let id = match meaning {
            Meaning::Name(name) => return Ok(name),
            Meaning::Beginning(text) => return self.beginning(&text).await,
            Meaning::Task(id) => Some(id),
            Meaning::Hex(hex) => match self.seal().await? {
                Some(seal) => seal.job_of_hex(&hex),
                None => Some(id_in_hex(&hex)),
            },
            Meaning::Uuid(uuid) => match self.seal().await? {
                Some(seal) => seal.job_of_uuid(uuid),
                None => Some(id_in_uuid(uuid)),
            },
        };
        let found = match id {
            Some(id) => {
                self.store
                    .find(&Viewer::all(), Of::Id(id), Want::PLACE)
                    .await?
            }
            None => None,
        };
        let found = found.with_context(|| format!("no job with the id {arg} in this spool"))?;
        Ok(found.summary.job.name)
    }

    /// The job that is meant, wherever it is.
    pub(super) async fn job(&self, arg: &JobArg) -> anyhow::Result<Job> {
        let name = self.name(arg).await?;
        let found = self.store.find_anywhere(&name).await?;
        let found = found.with_context(|| format!("no job {name} in this spool"))?;
        Ok(found.job)
    }

    /// The only job whose name begins so.
    async fn beginning(&self, text: &str) -> anyhow::Result<JobName> {
        let (since_ms, before_ms) = day_of(text).unzip();
        let filter = Filter {
            since_ms,
            before_ms,
            ..Filter::default()
        };
        let page = (self.store)
            .list(&Viewer::all(), &filter, None, usize::MAX)
            .await?;
        let names = page.jobs.into_iter().map(|found| found.job.name);
        let mut names: Vec<JobName> = names
            .filter(|name| name.to_string().starts_with(text))
            .collect();
        let n_names = names.len();
        if n_names > 1 {
            let told: Vec<String> = names
                .iter()
                .take(CANDIDATES_MAX)
                .map(ToString::to_string)
                .collect();
            let more = match n_names > CANDIDATES_MAX {
                true => ", …",
                false => "",
            };
            bail!(
                "{text} is the beginning of {n_names} jobs: {}{more}",
                told.join(", ")
            );
        }
        names
            .pop()
            .with_context(|| format!("no job {text}… in this spool"))
    }

    /// By which ids are checked. `None`: this user may not read the key, and an id can be of this tenant only.
    async fn seal(&self) -> anyhow::Result<Option<Seal>> {
        let key = self.tenant.root.join(".key");
        if self.tenant.database.is_none() && key.symlink_metadata().is_err() {
            bail!("this spool has given out no ids yet");
        }
        match daemon::seal(self.tenant).await {
            Ok(seal) => Ok(Some(seal)),
            Err(error)
                if self.config.tenants.len() == 1
                    && access::io_kind(&error) == Some(ErrorKind::PermissionDenied) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.context("whose id that is, only the key says")),
        }
    }
}

/// The day with which a name begins, in milliseconds of the Unix epoch: from, and before.
fn day_of(text: &str) -> Option<(i64, i64)> {
    let begin = parse_stamp(&format!("{}T000000.000Z", text.get(..DAY_DIGITS)?))?;
    Some((begin, begin + 24 * 60 * 60 * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_job_is_understood() {
        let name: JobName = "20261122T045748.123Z-00042-x.json".parse().unwrap();
        let is_name = |text: &str| meaning(text) == Ok(Meaning::Name(name.clone()));
        assert!(is_name("20261122T045748.123Z-00042-x.json"));
        assert!(is_name("./work/a/20261122T045748.123Z-00042-x.json.a3"));
        assert!(is_name(
            "deferred/a/20261122T045800.000Z@20261122T045748.123Z-00042-x.json"
        ));
        for beginning in [
            "2",
            "20261122",
            "20261122T",
            "20261122T0457",
            "20261122T045748.123Z-00042-x",
        ] {
            let meant = Meaning::Beginning(beginning.to_owned());
            assert_eq!(meaning(beginning), Ok(meant));
        }
        let task = Meaning::Task(JobId::from_number(890_825_392_631_850));
        assert_eq!(meaning("890825392631850"), Ok(task));
        let uuid = "91a2b3c4-d5e6-8f5c-a292-13ba12e17e46";
        assert_eq!(meaning(uuid), Ok(Meaning::Uuid(parse_uuid(uuid).unwrap())));
        assert!(matches!(
            meaning("91a2b3c4d5e6f1c62fdf0506"),
            Ok(Meaning::Hex(_))
        ));
        for odd in [
            "",
            "x",
            "orders_in",
            "2026-11-22",
            "20261122X",
            "2x",
            "99999999999999999999",
        ] {
            let said = meaning(odd).unwrap_err();
            assert!(
                said.contains("is neither the name of a job"),
                "{odd}: {said}"
            );
        }
    }

    #[test]
    fn a_day_is_known_by_its_digits_alone() {
        let begin = parse_stamp("20261122T000000.000Z").unwrap();
        assert_eq!(day_of("20261122T0457"), Some((begin, begin + 86_400_000)));
        assert_eq!(day_of("202611"), None);
        assert_eq!(day_of("20261399"), None);
    }
}
