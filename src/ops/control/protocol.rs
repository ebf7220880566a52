//! What is said on the socket: one JSON object a line, first a request, then its reply. Before the reply to
//! an act on jobs come lines that say how far it is. Pure.
//!
//! A request of another version is refused before anything else in it is read, and one with a
//! member that is not known is refused by that member's name.

use crate::config::Differences;
use crate::ops::admin::{Acted, Administration, Bulk, Operation, Sudo, Summary, Told};
use serde::{Deserialize, Serialize};
use std::{io, os::unix::fs::MetadataExt, path::Path};

/// The version of what is described here.
pub const VERSION: u32 = 3;
/// Longest line, in bytes without its end: [`NAMES_MAX`] names of jobs, however long they are.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// So many jobs can be named in one act.
pub const NAMES_MAX: usize = 16 * 1024;

/// A spool, whatever path it is seen under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolId {
    device: u64,
    inode: u64,
}

impl SpoolId {
    /// Of the spool whose root is there.
    ///
    /// # Errors
    /// When there is none, or it may not be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(root)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub version: u32,
    pub spool: SpoolId,
    /// Who called `sudo`; believed of root only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<Sudo>,
    pub ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Does the service have this spool, and may I act?
    Ping,
    Act(Operation),
    /// What would another configuration change?
    Differences,
    /// Record in the audit what this command is about to do itself.
    Begin(Administration),
    /// Record what came of that; on the same connection.
    End {
        done: bool,
        said: String,
    },
    /// To jobs. What is told of it comes before the reply.
    Bulk(Bulk),
}

/// What the service answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    Differences(Differences),
    /// That was done, durably, and there is nothing to tell of it.
    Done,
    /// An act was carried out, durably.
    Acted(Acted),
    /// It was not done, for this reason.
    Failed(String),
    /// Another service has that spool, or none.
    UnknownSpool,
    /// An act on jobs goes on, and this has become of it so far.
    Told(Told),
    /// It goes on, and there is nothing new.
    Working,
    /// It has ended.
    Ended(Summary),
}

/// Reads a request; the error is what is answered.
///
/// # Errors
/// When the line is not a request of this version.
pub fn request(line: &[u8]) -> Result<Request, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<u32>,
    }
    let mistake = |error: serde_json::Error| format!("not understood: {error}");
    let versioned: Versioned = serde_json::from_slice(line).map_err(mistake)?;
    match versioned.version {
        Some(VERSION) => serde_json::from_slice(line).map_err(mistake),
        Some(other) => Err(format!(
            "this service understands version {VERSION} of its socket's protocol, not {other}; \
             use the spoolgate program that the service was started from"
        )),
        None => Err("the request has no version".into()),
    }
}

/// A request or a reply as a line.
pub(super) fn line(said: &impl Serialize) -> Vec<u8> {
    // Text, numbers and structs always serialise.
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{any_interface, any_job_name, any_queue, any_text, settings},
        ops::{
            admin::{JobAct, Jobs, UserAct},
            selection::Selection,
        },
    };
    use proptest::{option, prelude::*};
    use std::num::NonZeroU32;

    fn any_act() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (any_interface(), any_text(), option::of(0..1_u64 << 31)).prop_map(
                |(interface, reason, until_s)| Operation::Hold {
                    interface,
                    reason,
                    until: until_s.map(|s| jiff::Timestamp::from_second(s as i64).unwrap()),
                }
            ),
            any_interface().prop_map(|interface| Operation::Release { interface }),
            Just(Operation::Reload),
        ]
    }

    fn any_bulk() -> impl Strategy<Value = Bulk> {
        let requeue = (option::of(any_queue()), any::<bool>())
            .prop_map(|(to, unchecked)| JobAct::Requeue { to, unchecked });
        let act = prop_oneof![Just(JobAct::Cancel), Just(JobAct::Remove), requeue];
        let selected = (option::of(any_interface()), any_text()).prop_map(|(interface, error)| {
            Jobs::Selected(Selection {
                interface,
                error: Some(error),
                ..Selection::default()
            })
        });
        let named = prop::collection::vec(any_job_name(), 0..4).prop_map(Jobs::Named);
        let jobs = prop_oneof![named, selected];
        (act, jobs, any::<u32>()).prop_map(|(act, jobs, per_s)| Bulk {
            act,
            jobs,
            per_s: NonZeroU32::new(per_s),
        })
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let sudo = option::of((any_text(), any::<u32>()));
        let begin = (any_text(), option::of(any_text()))
            .prop_map(|(user, with)| Ask::Begin(Administration::new(UserAct::Add, &[user], with)));
        let end = (any::<bool>(), any_text()).prop_map(|(done, said)| Ask::End { done, said });
        let ask = prop_oneof![
            Just(Ask::Ping),
            Just(Ask::Differences),
            any_act().prop_map(Ask::Act),
            any_bulk().prop_map(Ask::Bulk),
            begin,
            end
        ];
        (any::<u64>(), any::<u64>(), sudo, ask).prop_map(|(device, inode, sudo, ask)| Request {
            version: VERSION,
            spool: SpoolId { device, inode },
            sudo: sudo.map(|(user, uid)| Sudo { user, uid }),
            ask,
        })
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn a_request_is_one_line_and_reads_back(asked in any_request()) {
            let line = line(&asked);
            let (end, text) = line.split_last().unwrap();
            prop_assert_eq!(*end, b'\n');
            prop_assert!(!text.contains(&b'\n'));
            prop_assert_eq!(request(text), Ok(asked));
        }

        #[test]
        fn whatever_comes_is_a_request_or_a_mistake(
            asked in any_request(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut line = line(&asked);
            let at = at.index(line.len());
            line[at] = byte;
            match request(&line) {
                Ok(read) => prop_assert_eq!(read.version, VERSION),
                Err(text) => prop_assert!(!text.is_empty()),
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let start = r#"{"version":3,"spool":{"device":1,"inode":2}"#;
        let read = |rest: &str| request(format!("{start}{rest}").as_bytes()).map(|r| r.ask);
        assert_eq!(read(r#","ask":"ping"}"#), Ok(Ask::Ping));
        let release = r#","ask":{"act":{"release":{"interface":"a"}}}}"#;
        let interface = "a".parse().unwrap();
        assert_eq!(
            read(release),
            Ok(Ask::Act(Operation::Release { interface }))
        );
        for (rest, words) in [
            (r#","ask":"ping","as":"root"}"#, "unknown field `as`"),
            (r#","ask":"pong"}"#, "unknown variant `pong`"),
            (
                r#","ask":{"act":{"release":{"interface":"a","x":1}}}}"#,
                "unknown field `x`",
            ),
            (
                r#","ask":{"act":{"release":{"interface":"a/b"}}}}"#,
                "not allowed",
            ),
            (
                r#","ask":{"bulk":{"act":"remove","jobs":{"named":["/etc/passwd"]}}}}"#,
                "not allowed",
            ),
            (
                r#","ask":{"bulk":{"act":"remove","jobs":{"selected":{"sate":[]}}}}}"#,
                "unknown field `sate`",
            ),
            ("}", "missing field `ask`"),
        ] {
            let said = read(rest).unwrap_err();
            assert!(said.contains(words), "{rest}: {said}");
        }
        let other = request(br#"{"version":1,"what":"ever"}"#).unwrap_err();
        assert!(
            other.contains("version 3") && other.contains("not 1"),
            "{other}"
        );
        assert!(request(b"{}").unwrap_err().contains("no version"));
        assert!(request(b"").is_err());
    }
}
