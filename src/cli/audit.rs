//! `spoolgate audit …`: what operators and administrators did, and whether its record was touched.

#[cfg(feature = "cluster")]
use super::runtime;
use super::{
    At, Format, access,
    jobs::exit_code,
    look,
    output::{print_line, print_note},
};
#[cfg(feature = "cluster")]
use crate::daemon;
use crate::{
    domain::escaped,
    ops::moment::{Side, moment},
    store::audit::{AuditRecord, Deed, Ending, Entry, Verified},
    store::fs::AuditFiles,
};
use clap::{Args, Subcommand};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

/// Fewer could be those of another record by chance.
const HASH_DIGITS_MIN: usize = 13;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List what operators and administrators did, oldest first
    Ls(Ls),
    /// Look whether all records fit together; exit code 1 names the first one that does not
    Verify(Verify),
}

/// Which audit.
#[derive(Debug, Args)]
struct Of {
    /// A copy of the directory `audit` of a spool; no configuration is read then
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    format: Format,
}

impl Of {
    fn files(&self) -> anyhow::Result<AuditFiles> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => {
                let (_, tenant) = self.at.load()?;
                super::has_jobs(&tenant)?;
                tenant.root.join("audit")
            }
        };
        access::explained(&dir, || {
            AuditFiles::of(&dir)
                .map_err(|error| anyhow::Error::new(error).context(dir.display().to_string()))
        })
    }
}

impl Of {
    /// What is recorded where jobs are in a database; `None`: it is in files.
    fn in_database(&self) -> anyhow::Result<Option<Vec<AuditRecord>>> {
        if self.dir.is_some() {
            return Ok(None);
        }
        let (_, tenant) = self.at.load()?;
        if tenant.database.is_none() {
            return Ok(None);
        }
        let audited = look(&tenant, async |store| Ok(store.audited(usize::MAX).await?));
        audited.map(Some)
    }
}

/// Lists acts, each with what came of it; an act without an outcome is under way, or was cut off by a crash.
#[derive(Debug, Args)]
#[command(after_long_help = LS_EXAMPLES)]
pub(super) struct Ls {
    /// Only from then on: how long ago (2h, 1d), a time or day of UTC, or a moment
    #[arg(long, value_name = "MOMENT", value_parser = since)]
    since: Option<Timestamp>,
    /// Only those of this account, or login behind sudo
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    #[command(flatten)]
    of: Of,
}

const LS_EXAMPLES: &str = "\
Since Monday:      spoolgate audit ls --since 2026-11-23
One operator's:    spoolgate audit ls --by olga --json";

/// Looks whether every record has the hash of the one before. That finds damage, and changes by someone who does
/// not write all later records anew; with a hash that was noted elsewhere, from `status` or the log, it
/// finds also those, and an end that was cut off.
#[derive(Debug, Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub(super) struct Verify {
    /// The hash of a record, or its first 13 digits or more: that record has to be there, and only those after
    /// it are looked at
    #[arg(long, value_name = "HASH", value_parser = hash)]
    from: Option<String>,
    #[command(flatten)]
    of: Of,
}

const VERIFY_EXAMPLES: &str = "\
All of it:         spoolgate audit verify
Since a hash:      spoolgate audit verify --from 5f1d7a84db00d
A copy:            spoolgate audit verify --dir /backup/spool/audit";

/// A copy has no time zone of its own.
fn since(text: &str) -> Result<Timestamp, String> {
    moment(text, Timestamp::now(), &TimeZone::UTC, Side::Past)
}

fn hash(text: &str) -> Result<String, String> {
    let is_hash = (HASH_DIGITS_MIN..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hash {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "a hash has 64 hexadecimal digits; give {HASH_DIGITS_MIN} or more of them"
        )),
    }
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Ls(ls) => ls.run(),
            Self::Verify(verify) => verify.run(),
        }
    }
}

/// An act, and how it ended.
struct Row {
    record: AuditRecord,
    ended: Option<(Timestamp, Ending)>,
}

impl Row {
    fn deed(&self) -> Option<&Deed> {
        match &self.record.entry {
            Entry::Begun(deed) => Some(deed),
            Entry::Ended(_) => None,
        }
    }

    fn json(&self) -> Value {
        let mut row = serde_json::to_value(&self.record).unwrap_or_default();
        let ended = self.ended.as_ref();
        row["before"].take();
        row["ended_at"] = json!(ended.map(|(at, _)| at));
        row["outcome"] = json!(ended.map(|(_, ended)| ended.outcome));
        row["done"] = json!(ended.and_then(|(_, ended)| ended.done));
        row["said"] = json!(ended.and_then(|(_, ended)| ended.said.as_ref()));
        if let Some(row) = row.as_object_mut() {
            row.retain(|key, value| !value.is_null() || key == "outcome");
        }
        row
    }

    fn text(&self) -> String {
        let Some(deed) = self.deed() else {
            return String::new();
        };
        let mut text = format!("{:.0}  {}", self.record.at, deed.by);
        if let Some(login) = &deed.login {
            text += &format!(", {login} by way of sudo");
        }
        text += &format!("  {}", deed.act);
        let things = [&deed.interface, &deed.schedule, &deed.filter, &deed.with];
        let things = things.into_iter().flatten();
        for thing in things.chain(&deed.users).chain(deed.jobs.first()) {
            text += &format!(" {thing}");
        }
        if let Some(count @ 2..) = deed.count {
            text += &format!(" and {} more", count - 1);
        }
        if let Some(removed) = &deed.removed {
            text += &format!(" {} through record {}", removed.day, removed.through);
        }
        if let Some(why) = &deed.why {
            text += &format!(" ({why})");
        }
        match &self.ended {
            None if deed.removed.is_some() => {}
            None => text += "  no outcome",
            Some((_, ended)) => {
                text += &format!("  {}", ended.outcome.as_str());
                if let Some(said) = ended.said.as_ref().filter(|said| *said != "done") {
                    text += &format!(": {said}");
                }
            }
        }
        escaped(&text)
    }
}

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
        let mut each = |record: AuditRecord| match &record.entry {
            Entry::Begun(deed) => {
                let is_late = self.since.is_none_or(|since| record.at >= since);
                if is_late && self.by.as_ref().is_none_or(|user| deed.is_by(user)) {
                    let ended = None;
                    rows.insert(record.number, Row { record, ended });
                }
            }
            Entry::Ended(ending) => {
                if let Some(row) = rows.get_mut(&ending.of) {
                    row.ended = Some((record.at, ending.clone()));
                }
            }
        };
        match self.of.in_database()? {
            Some(records) => records.into_iter().for_each(&mut each),
            None => {
                let mut files = self.of.files()?;
                if let Some(since) = self.since {
                    // A record is never in a file of an earlier day than its own.
                    files = files.since(&since.strftime("%Y-%m-%d").to_string());
                }
                files.records(&mut each)?;
            }
        }
        for row in rows.values() {
            match self.of.format.json {
                true => print_line!("{}", row.json())?,
                false => print_line!("{}", row.text())?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The first record that does not fit.
struct Misfitting {
    /// Where it is, as an object says it.
    at: Value,
    said: String,
}

impl Verify {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let verified = match self.in_database()? {
            Some(verified) => verified,
            None => self.in_files()?,
        };
        match &verified {
            Ok(fits) if self.of.format.json => {
                print_line!(
                    "{}",
                    json!({"fits": true, "records": fits.records, "newest": fits.newest})
                )?;
            }
            Ok(fits) => match &fits.newest {
                None => print_line!("there is no record")?,
                Some(newest) => print_line!(
                    "{} records fit; the newest is number {}, sha256 {}",
                    fits.records,
                    newest.number,
                    newest.sha256
                )?,
            },
            Err(bad) => {
                if self.of.format.json {
                    print_line!("{}", bad.at)?;
                }
                print_note!("spoolgate: {}", escaped(&bad.said));
            }
        }
        Ok(exit_code(verified.is_ok()))
    }

    fn in_files(&self) -> anyhow::Result<Result<Verified, Misfitting>> {
        let verified = self.of.files()?.verify(self.from.clone())?;
        Ok(verified.map_err(|bad| {
            let (file, why) = (bad.path.display().to_string(), bad.misfit.to_string());
            Misfitting {
                at: json!({"fits": false, "file": file, "line": bad.line, "why": why}),
                said: bad.to_string(),
            }
        }))
    }

    /// The same where jobs are in a database; `None`: it is in files.
    #[cfg(feature = "cluster")]
    fn in_database(&self) -> anyhow::Result<Option<Result<Verified, Misfitting>>> {
        if self.of.dir.is_some() {
            return Ok(None);
        }
        let (_, tenant) = self.of.at.load()?;
        let Some(database) = daemon::database(&tenant)? else {
            return Ok(None);
        };
        let verified = runtime()?.block_on(database.verify_audit(self.from.clone()))?;
        Ok(Some(verified.map_err(|bad| {
            let (number, why) = (bad.number, bad.misfit.to_string());
            Misfitting {
                at: json!({"fits": false, "record": number, "why": why}),
                said: bad.to_string(),
            }
        })))
    }

    #[cfg(not(feature = "cluster"))]
    fn in_database(&self) -> anyhow::Result<Option<Result<Verified, Misfitting>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_hashes_are_read() {
        let at = |text: &str| since(text).map(|moment| moment.to_string());
        assert_eq!(at("2026-11-22"), Ok("2026-11-22T00:00:00Z".into()));
        assert_eq!(
            at("2026-11-22T09:00:00+01:00"),
            Ok("2026-11-22T08:00:00Z".into())
        );
        assert!(at("yesterday").is_err());
        assert_eq!(hash("5F1D7A84DB00D"), Ok("5f1d7a84db00d".into()));
        assert!(hash("5f1d7a84db00").is_err() && hash("5f1d7a84db00x").is_err());
        assert!(hash(&"0".repeat(65)).is_err());
    }
}
