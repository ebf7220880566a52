//! `[[events]]`: who is told what happens.

use super::{InterfaceConfig, OUTPUT_BYTES_MAX};
use crate::{
    domain::InterfaceName,
    events::{Post, Receiver, Way},
    processor::{Command, ExitCodes, PartnersSee},
    store::events::{EventKind, Wants},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// Names are in logs, files and on command lines.
const NAME_CHARS_MAX: usize = 64;
const TIMEOUT_S: u64 = 15;
/// A receiver that takes longer keeps others of its events waiting.
const TIMEOUT_S_MAX: u64 = 3600;

/// A table of `[[events]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverFile {
    pub(super) name: String,
    pub(super) url: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) on: BTreeSet<EventKind>,
    #[serde(default)]
    pub(super) interfaces: BTreeSet<String>,
    pub(super) secret: Option<PathBuf>,
    pub(super) cacert: Option<PathBuf>,
    pub(super) timeout_s: Option<u64>,
}

/// The receivers of a tenant with these interfaces.
///
/// # Errors
/// The first mistake, with its key.
pub(super) fn receivers(
    files: &[ReceiverFile],
    interfaces: &BTreeMap<InterfaceName, InterfaceConfig>,
    dir: &Path,
) -> Result<Vec<Receiver>, String> {
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let name = &file.name;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
            return Err(format!(
                "events.name is {name:?}; use 1 to {NAME_CHARS_MAX} letters, digits, - _ and ."
            ));
        }
        if !names.insert(name) {
            return Err(format!("events.name: {name} is taken already"));
        }
        let receiver = receiver(file, interfaces, dir);
        all.push(receiver.map_err(|error| format!("events.{error} (of {name})"))?);
    }
    Ok(all)
}

fn receiver(
    file: &ReceiverFile,
    interfaces: &BTreeMap<InterfaceName, InterfaceConfig>,
    dir: &Path,
) -> Result<Receiver, String> {
    if file.on.is_empty() {
        return Err("on is empty; name the events, such as \"job.failed\"".into());
    }
    let of = file.interfaces.iter().map(|name| {
        let known = interfaces.keys().find(|known| known.as_str() == name);
        known
            .cloned()
            .ok_or_else(|| format!("interfaces has {name}, which is not configured"))
    });
    let timeout_s = file.timeout_s.unwrap_or(TIMEOUT_S);
    if !(1..=TIMEOUT_S_MAX).contains(&timeout_s) {
        return Err(format!(
            "timeout_s is {timeout_s} and must be 1 to {TIMEOUT_S_MAX}"
        ));
    }
    Ok(Receiver {
        wants: Wants {
            receiver: file.name.clone(),
            on: file.on.clone(),
            interfaces: of.collect::<Result<_, _>>()?,
        },
        way: way(file, Duration::from_secs(timeout_s), dir)?,
    })
}

fn way(file: &ReceiverFile, timeout: Duration, dir: &Path) -> Result<Way, String> {
    let at = |path: &Option<PathBuf>| path.as_ref().map(|path| dir.join(path));
    match (&file.url, &file.command) {
        (Some(url), None) => {
            let post = Post::new(url, at(&file.cacert), at(&file.secret), timeout);
            let post = post.map_err(|reason| format!("url: {reason}; expected https://HOST/PATH"));
            Ok(Way::Post(post?))
        }
        (None, Some(argv)) => {
            for (name, given) in [("cacert", &file.cacert), ("secret", &file.secret)] {
                if given.is_some() {
                    return Err(format!("{name} is for url; take it out"));
                }
            }
            if argv.first().is_none_or(String::is_empty) {
                return Err("command must name a program".into());
            }
            if argv.iter().any(|argument| argument.contains('\0')) {
                return Err("command has a NUL in it; take it out".into());
            }
            Ok(Way::Command(Command {
                argv: argv.clone(),
                dir: dir.into(),
                env: Vec::new(),
                exit_codes: ExitCodes::default(),
                timeout,
                output_bytes_max: OUTPUT_BYTES_MAX,
                memory_bytes_max: None,
                open_files_max: None,
                leaves_processes: false,
                sandbox: None,
                partners_see: PartnersSee::default(),
            }))
        }
        (None, None) => Err("url is missing: give url = \"https://…\" or command = [\"…\"]".into()),
        (Some(_), Some(_)) => Err("url and command exclude each other".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn receivers_of(text: &str) -> Result<Vec<Receiver>, String> {
        let interface = "[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n";
        let path = Path::new("/etc/spoolgate/spoolgate.toml");
        let config = Config::parse(&format!("{interface}{text}"), path)?;
        Ok(config.tenants[0].events.clone())
    }

    #[test]
    fn receivers_are_as_they_are_written() {
        let text = "[[events]]\nname = \"erp\"\nurl = \"https://h/x\"\non = [\"job.done\"]\n\
                    interfaces = [\"a\"]\nsecret = \"erp.secret\"\n\
                    [[events]]\nname = \"pager\"\ncommand = [\"page\"]\ntimeout_s = 3\n\
                    on = [\"job.failed\", \"spool.unhealthy\"]\n";
        let found = receivers_of(text).unwrap();
        let wants = Wants {
            receiver: "erp".into(),
            on: [EventKind::JobDone].into(),
            interfaces: ["a".parse().unwrap()].into(),
        };
        assert_eq!(found[0].wants, wants);
        let Way::Command(command) = &found[1].way else {
            panic!("{found:?}");
        };
        assert_eq!(command.timeout, Duration::from_secs(3));
        assert!(found[1].wants.interfaces.is_empty());
        let tenant = "[tenants.x.interfaces.b]\ndirection = \"in\"\n\
                      [[tenants.x.events]]\nname = \"erp\"\nurl = \"https://h\"\non = [\"job.done\"]\n";
        let path = Path::new("/etc/spoolgate/spoolgate.toml");
        let config = Config::parse(&format!("[tenants.x]\nhosts = [\"x\"]\n{tenant}"), path);
        assert_eq!(config.unwrap().tenants[0].events.len(), 1);
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let url = "url = \"https://h\"";
        let on = "on = [\"job.done\"]";
        for (keys, words) in [
            (format!("{url}\non = []"), "events.on is empty"),
            (format!("{url}\non = [\"job.dome\"]"), "job.dome"),
            (on.to_owned(), "events.url is missing"),
            (
                format!("{url}\n{on}\ncommand = [\"x\"]"),
                "events.url and command exclude",
            ),
            (
                format!("{on}\nurl = \"ftp://h\""),
                "events.url: it is neither",
            ),
            (format!("{on}\ncommand = []"), "events.command must name"),
            (
                format!("{on}\ncommand = [\"x\"]\nsecret = \"s\""),
                "events.secret is for url",
            ),
            (
                format!("{url}\n{on}\ninterfaces = [\"b\"]"),
                "events.interfaces has b",
            ),
            (format!("{url}\n{on}\ntimeout_s = 0"), "must be 1 to 3600"),
            (
                format!("{url}\n{on}\nretry = 1"),
                "events.retry is not a key",
            ),
        ] {
            let text = format!("[[events]]\nname = \"erp\"\n{keys}\n");
            let error = receivers_of(&text).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
        let one = |name: &str| format!("[[events]]\nname = {name:?}\n{url}\n{on}\n");
        for (text, words) in [
            (one("a b"), "events.name is \"a b\""),
            (one("erp") + &one("erp"), "erp is taken already"),
        ] {
            let error = receivers_of(&text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
