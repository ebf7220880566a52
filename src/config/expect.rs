//! `[[expect]]`: what is to come from a partner, and by when.

use super::{at_least_1, files::FILE_BYTES_MAX};
use crate::{
    cron_schedule::{Deadlines, Expectation, Zone, holidays},
    domain::InterfaceName,
    util::plain::{self, Links},
};
use jiff::{
    SignedDuration,
    civil::{Date, Time},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Longer, and documents would count for yesterday while those of today are due.
const GRACE_MAX: SignedDuration = SignedDuration::from_hours(12);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    interface: String,
    submitter: String,
    by: String,
    #[serde(default = "every_day")]
    days: String,
    time_zone: Option<String>,
    #[serde(default = "one")]
    at_least: u64,
    at_most: Option<u64>,
    grace: Option<String>,
    holidays: Option<PathBuf>,
}

fn every_day() -> String {
    "*".into()
}

fn one() -> u64 {
    1
}

/// The list of a tenant; `zone` is for those that name none, and paths are relative to `dir`.
///
/// # Errors
///
/// The first mistake, with its key, or with the line of a file of holidays.
pub(super) fn checked<T>(
    expected: &[ExpectFile],
    interfaces: &BTreeMap<InterfaceName, T>,
    zone: &Zone,
    dir: &Path,
) -> Result<Vec<Expectation>, String> {
    let mut all: Vec<Expectation> = Vec::with_capacity(expected.len());
    for file in expected {
        let wrong = |error: String| {
            let (interface, submitter) = (&file.interface, &file.submitter);
            format!("expect.{error} (of {interface} and {submitter})")
        };
        let expectation = decide(file, interfaces, zone, dir).map_err(wrong)?;
        let text = expectation.to_string();
        if all.iter().any(|other| other.to_string() == text) {
            return Err(wrong(
                "by: an entry before says the same; make one of both".into(),
            ));
        }
        all.push(expectation);
    }
    Ok(all)
}

fn decide<T>(
    file: &ExpectFile,
    interfaces: &BTreeMap<InterfaceName, T>,
    zone: &Zone,
    dir: &Path,
) -> Result<Expectation, String> {
    let interface = interfaces
        .keys()
        .find(|name| name.as_str() == file.interface);
    let Some(interface) = interface.cloned() else {
        let known: Vec<&str> = interfaces.keys().map(InterfaceName::as_str).collect();
        return Err(format!(
            "interface is {:?}, which is not configured; there are {}",
            file.interface,
            known.join(", ")
        ));
    };
    at_least_1("at_least", file.at_least)?;
    if let Some(most) = file.at_most.filter(|most| *most < file.at_least) {
        return Err(format!(
            "at_most is {most} and must not be less than at_least, which is {}",
            file.at_least
        ));
    }
    let zone = match &file.time_zone {
        None => zone.clone(),
        Some(name) => name
            .parse()
            .map_err(|error| format!("time_zone: {error}"))?,
    };
    let holidays = match &file.holidays {
        None => BTreeSet::new(),
        Some(path) => days_of(&dir.join(path))?,
    };
    let (by, grace) = (time(&file.by)?, grace(file.grace.as_deref())?);
    let deadlines = Deadlines::new(by, &file.days, zone, holidays, grace);
    Ok(Expectation {
        interface,
        submitter: file.submitter.clone(),
        deadlines: deadlines.map_err(|_| {
            let example = "days of the week such as MON-FRI, MON,THU or *";
            format!("days is {:?} and must be {example}", file.days)
        })?,
        at_least: file.at_least,
        at_most: file.at_most,
    })
}

fn time(text: &str) -> Result<Time, String> {
    let time = text.parse().ok();
    let whole = time.filter(|time: &Time| time.second() == 0 && time.subsec_nanosecond() == 0);
    whole.ok_or_else(|| format!("by is {text:?} and must be a time of day such as \"06:00\""))
}

fn grace(text: Option<&str>) -> Result<SignedDuration, String> {
    let Some(text) = text else {
        return Ok(SignedDuration::ZERO);
    };
    let span = text.parse().ok();
    let span = span.filter(|span| (SignedDuration::ZERO..=GRACE_MAX).contains(span));
    span.ok_or_else(|| {
        format!("grace is {text:?} and must be a time up to \"12h\", such as \"15m\"")
    })
}

fn days_of(path: &Path) -> Result<BTreeSet<Date>, String> {
    let text = plain::read_text(path, Links::Follow, FILE_BYTES_MAX);
    let text = text.map_err(|error| format!("holidays: {}: {error}", path.display()))?;
    holidays(&text).map_err(|(line, said)| {
        let path = path.display();
        format!("holidays: {path}: line {line}: {said:?} is no date such as 2026-12-25")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(keys: &str, path: &Path) -> Result<Config, String> {
        let interfaces = "[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n";
        Config::parse(&format!("{keys}\n{interfaces}"), path)
    }

    #[test]
    fn what_is_expected_has_defaults() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("days"), "2026-12-25 # Christmas\n").unwrap();
        let text = "[server]\ntime_zone = \"Europe/Berlin\"\n\
             [[expect]]\ninterface = \"a\"\nsubmitter = \"shop\"\nby = \"06:00\"\n\
             [[expect]]\ninterface = \"a\"\nsubmitter = \"shop\"\nby = \"18:30\"\ndays = \"FRI\"\n\
             time_zone = \"UTC\"\nat_least = 2\nat_most = 3\ngrace = \"15m\"\nholidays = \"days\"\n";
        let config = parse(text, &dir.path().join("spoolgate.toml")).unwrap();
        let [first, second] = &config.tenants[0].expectations[..] else {
            panic!("two are expected");
        };
        assert_eq!(first.to_string(), "a of shop by 06:00 * Europe/Berlin");
        assert_eq!((first.at_least, first.at_most), (1, None));
        assert_eq!(second.to_string(), "a of shop by 18:30 FRI UTC");
        assert_eq!((second.at_least, second.at_most), (2, Some(3)));
        let open = second
            .deadlines
            .open_at("2026-12-20T00:00:00Z".parse().unwrap());
        let until = "2027-01-01T18:45:00Z".parse().unwrap();
        assert_eq!(
            open.unwrap().until,
            until,
            "with grace, and not on the holiday"
        );
    }

    #[test]
    fn what_could_never_be_met_or_known_is_refused_with_its_key() {
        let good = "interface = \"a\"\nsubmitter = \"shop\"\nby = \"06:00\"\n";
        for (wrong, words) in [
            (
                "interface = \"b\"\nsubmitter = \"s\"\nby = \"06:00\"".to_owned(),
                "expect.interface is \"b\", which is not configured; there are a (of b and s)",
            ),
            (good.to_owned(), "expect.by: an entry before says the same"),
            (
                format!("{good}at_least = 0"),
                "at_least is 0 and must be at least 1",
            ),
            (
                format!("{good}at_least = 3\nat_most = 2"),
                "at_most is 2 and must not be less than at_least, which is 3",
            ),
            (
                good.replace("06:00", "6"),
                "by is \"6\" and must be a time of day such as",
            ),
            (good.replace("06:00", "06:00:30"), "by is \"06:00:30\""),
            (
                format!("{good}days = \"WEEKDAYS\""),
                "days is \"WEEKDAYS\" and must be days of",
            ),
            (
                format!("{good}grace = \"13h\""),
                "grace is \"13h\" and must be a time up to",
            ),
            (format!("{good}grace = \"-1m\""), "grace is \"-1m\""),
            (
                format!("{good}time_zone = \"Berlin\""),
                "\"Berlin\" is not a time zone",
            ),
            (format!("{good}holidays = \"none\""), "holidays: /x/none: "),
            (format!("{good}until = \"x\""), "until"),
        ] {
            let text = format!("[[expect]]\n{good}[[expect]]\n{wrong}");
            let error = parse(&text, Path::new("/x/spoolgate.toml")).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
