//! Places and transitions: the state machine of a job.
//!
//! | state | path under the spool | moved on by |
//! |---|---|---|
//! | queued | `queue/<interface>/<job>` | `Claim`, `Archive` (fetched), `Fail`, `Requeue`, `Discard` |
//! | queued for a user | `queue/<interface>/@<user>/<job>` | the same, but `Claim` |
//! | deferred | `deferred/<interface>/<due>@<job>` | `Release`, `Fail`, `Requeue`, `Discard` |
//! | in work | `work/<interface>/<job>.a<N>` | `Archive`, `Defer`, `Fail`, `Release` |
//! | done | `bak/<interface>/<day>/<job>` | `Requeue`, `Discard` |
//! | failed | `joberrors/<day>/<job>` | `Requeue`, `Discard` |
//! | refused | `joberrors/<day>/refused/<job>` | `Requeue`, `Discard` |
//!
//! [`Place::step`] is the only function that knows this table; `ARCHITECTURE.md` has it with
//! what recovery does.

use super::name::{InterfaceName, JobName, NameError, UserName, stamp};
use std::{fmt, str::FromStr};

/// Where jobs wait: in an interface's queue, or in the part of it that is one user's alone. Prints and
/// parses as its directory below `queue`: `<interface>` or `<interface>/@<user>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    pub interface: InterfaceName,
    /// For whom the jobs are; `None`: for whoever has a right on the interface.
    pub addressee: Option<UserName>,
}

impl Queue {
    /// What an interface has for one user.
    pub fn of_user(interface: &InterfaceName, user: UserName) -> Self {
        Self {
            interface: interface.clone(),
            addressee: Some(user),
        }
    }
}

impl From<InterfaceName> for Queue {
    fn from(interface: InterfaceName) -> Self {
        Self {
            interface,
            addressee: None,
        }
    }
}

impl From<&InterfaceName> for Queue {
    fn from(interface: &InterfaceName) -> Self {
        interface.clone().into()
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.addressee {
            None => self.interface.fmt(f),
            Some(user) => write!(f, "{}/@{user}", self.interface),
        }
    }
}

impl FromStr for Queue {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once("/@") {
            None => text.parse::<InterfaceName>().map(Self::from),
            Some((interface, user)) => Ok(Self::of_user(&interface.parse()?, user.parse()?)),
        }
    }
}

/// Where a job file lies. The directory is the state; there is no second record of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Bak(InterfaceName),
    Deferred {
        interface: InterfaceName,
        due_ms: i64,
    },
    JobErrors,
    Queue(Queue),
    /// What was not accepted, kept beside what has failed.
    Refused,
    Work {
        interface: InterfaceName,
        attempt: u32,
    },
}

/// What a place is, whatever its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceKind {
    Bak,
    Deferred,
    JobErrors,
    Queue,
    Refused,
    Work,
}

impl PlaceKind {
    /// Where jobs wait or run.
    pub const ACTIVE: [Self; 3] = [Self::Deferred, Self::Queue, Self::Work];
}

/// A job at a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    pub place: Place,
    pub name: JobName,
}

/// The only ways in which a job moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Done: processed (in) or completely retrieved (out).
    Archive,
    /// A processor begins attempt number `attempt`.
    Claim { attempt: u32 },
    /// The attempt failed for now; the next one is due at `due_ms` of the Unix epoch.
    Defer { due_ms: i64 },
    /// The operator removes the job for ever.
    Discard,
    /// Failed for good.
    Fail,
    /// Back to its own queue: due again, or given back unfinished.
    Release,
    /// The operator sends the job to a queue, a new life with its attempts counted from one.
    Requeue(Queue),
}

/// A transition that the state machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job in {from} cannot {by}")]
pub struct Illegal {
    pub from: Place,
    pub by: Transition,
}

impl Place {
    pub fn kind(&self) -> PlaceKind {
        match self {
            Self::Bak(_) => PlaceKind::Bak,
            Self::Deferred { .. } => PlaceKind::Deferred,
            Self::JobErrors => PlaceKind::JobErrors,
            Self::Queue(_) => PlaceKind::Queue,
            Self::Refused => PlaceKind::Refused,
            Self::Work { .. } => PlaceKind::Work,
        }
    }

    /// The whole state machine. `None`: the job ceases to exist.
    ///
    /// # Errors
    ///
    /// When the transition is not legal in this place; it is a mistake of ours.
    pub fn step(&self, by: &Transition) -> Result<Option<Place>, Illegal> {
        use Transition as T;
        let to = match (self, by) {
            // What is for a user is for no processor.
            (Place::Queue(queue), T::Claim { attempt }) if queue.addressee.is_none() => {
                Some(Place::Work {
                    interface: queue.interface.clone(),
                    attempt: *attempt,
                })
            }
            (Place::Queue(Queue { interface, .. }) | Place::Work { interface, .. }, T::Archive) => {
                Some(Place::Bak(interface.clone()))
            }
            (Place::Work { interface, .. }, T::Defer { due_ms }) => Some(Place::Deferred {
                interface: interface.clone(),
                due_ms: *due_ms,
            }),
            (Place::Queue(_) | Place::Deferred { .. } | Place::Work { .. }, T::Fail) => {
                Some(Place::JobErrors)
            }
            (Place::Deferred { interface, .. } | Place::Work { interface, .. }, T::Release) => {
                Some(Place::Queue(interface.into()))
            }
            (Place::Queue(from), T::Requeue(to)) if from != to => Some(Place::Queue(to.clone())),
            (
                Place::Bak(_) | Place::Deferred { .. } | Place::JobErrors | Place::Refused,
                T::Requeue(to),
            ) => Some(Place::Queue(to.clone())),
            (
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Queue(_)
                | Place::Refused,
                T::Discard,
            ) => None,
            (
                Place::Bak(_) | Place::JobErrors | Place::Refused,
                T::Archive | T::Fail | T::Release,
            )
            | (Place::Deferred { .. }, T::Archive)
            | (Place::Queue(_), T::Claim { .. } | T::Release | T::Requeue(_))
            | (Place::Work { .. }, T::Discard | T::Requeue(_))
            | (
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Refused
                | Place::Work { .. },
                T::Claim { .. },
            )
            | (
                Place::Bak(_)
                | Place::Deferred { .. }
                | Place::JobErrors
                | Place::Queue(_)
                | Place::Refused,
                T::Defer { .. },
            ) => {
                return Err(Illegal {
                    from: self.clone(),
                    by: by.clone(),
                });
            }
        };
        Ok(to)
    }

    pub fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Place::Bak(interface)
            | Place::Deferred { interface, .. }
            | Place::Queue(Queue { interface, .. })
            | Place::Work { interface, .. } => Some(interface),
            Place::JobErrors | Place::Refused => None,
        }
    }

    /// The user in whose part of a queue this is.
    pub fn addressee(&self) -> Option<&UserName> {
        match self {
            Place::Queue(queue) => queue.addressee.as_ref(),
            Place::Bak(_)
            | Place::Deferred { .. }
            | Place::JobErrors
            | Place::Refused
            | Place::Work { .. } => None,
        }
    }
}

/// As partners see it: `queue`, `deferred` and `work` are all `queue/<interface>`.
/// Source: the dStore contract, jobstatus.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Bak(interface) => write!(f, "bak/{interface}"),
            Place::JobErrors | Place::Refused => f.write_str("joberrors"),
            Place::Deferred { interface, .. }
            | Place::Queue(Queue { interface, .. })
            | Place::Work { interface, .. } => write!(f, "queue/{interface}"),
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transition::Archive => f.write_str("be archived"),
            Transition::Claim { attempt } => write!(f, "be claimed for attempt {attempt}"),
            Transition::Defer { due_ms } => write!(f, "be deferred until {}", stamp(*due_ms)),
            Transition::Discard => f.write_str("be removed"),
            Transition::Fail => f.write_str("be failed"),
            Transition::Release => f.write_str("be released"),
            Transition::Requeue(to) => write!(f, "be requeued to {to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::every_place, store::fs::PlacePath};

    fn job() -> JobName {
        "20261122T045748.123Z-00042-x.xml".parse().unwrap()
    }

    #[test]
    fn the_state_machine_is_this_table() {
        let [a, b, user] = ["a", "b", "a/@shop"].map(|queue| queue.parse::<Queue>().unwrap());
        let moves = [
            ("archive", Transition::Archive),
            ("claim", Transition::Claim { attempt: 3 }),
            (
                "defer",
                Transition::Defer {
                    due_ms: 1_600_000_000_000,
                },
            ),
            ("discard", Transition::Discard),
            ("fail", Transition::Fail),
            ("release", Transition::Release),
            ("requeue a", Transition::Requeue(a)),
            ("requeue b", Transition::Requeue(b)),
            ("requeue @", Transition::Requeue(user)),
        ];
        let mut table = String::new();
        for place in every_place(&job()) {
            for (word, by) in &moves {
                let to = match place.step(by) {
                    Ok(Some(to)) => to.path(&job()).display().to_string(),
                    Ok(None) => "gone".into(),
                    Err(_) => continue,
                };
                let to = to.replace(&job().to_string(), "J");
                let dir = place.dir(&job());
                let dir = dir.display().to_string();
                let is_special = place == Place::Refused || place.addressee().is_some();
                let from = match dir.split_once('/') {
                    Some((first, _)) if !is_special => first,
                    Some(_) | None => &dir,
                };
                table += &format!("{from} {word} {to}\n");
            }
        }
        let expected = "\
queue archive bak/a/2026-11-22/J
queue claim work/a/J.a3
queue discard gone
queue fail joberrors/2026-11-22/J
queue requeue b queue/b/J
queue requeue @ queue/a/@shop/J
queue/a/@shop archive bak/a/2026-11-22/J
queue/a/@shop discard gone
queue/a/@shop fail joberrors/2026-11-22/J
queue/a/@shop requeue a queue/a/J
queue/a/@shop requeue b queue/b/J
deferred discard gone
deferred fail joberrors/2026-11-22/J
deferred release queue/a/J
deferred requeue a queue/a/J
deferred requeue b queue/b/J
deferred requeue @ queue/a/@shop/J
work archive bak/a/2026-11-22/J
work defer deferred/a/20200913T122640.000Z@J
work fail joberrors/2026-11-22/J
work release queue/a/J
bak discard gone
bak requeue a queue/a/J
bak requeue b queue/b/J
bak requeue @ queue/a/@shop/J
joberrors discard gone
joberrors requeue a queue/a/J
joberrors requeue b queue/b/J
joberrors requeue @ queue/a/@shop/J
joberrors/2026-11-22/refused discard gone
joberrors/2026-11-22/refused requeue a queue/a/J
joberrors/2026-11-22/refused requeue b queue/b/J
joberrors/2026-11-22/refused requeue @ queue/a/@shop/J
";
        assert_eq!(table, expected);
    }

    #[test]
    fn no_name_of_a_user_leads_out_of_a_queue() {
        for name in ["shop", ".", "..", "@", "a@b.example"] {
            let queue: Queue = format!("a/@{name}").parse().unwrap();
            assert_eq!(queue.to_string(), format!("a/@{name}"));
            let user = queue.addressee.unwrap();
            assert_eq!(UserName::of_dir(&format!("@{name}")), Some(user));
        }
        let long = format!("a/@{}", "u".repeat(65));
        for odd in [
            "a/@", "a/@x/y", "a/@../b", "a/@x\0", "a/@ü", "a/x", "/@x", &long,
        ] {
            assert!(odd.parse::<Queue>().is_err(), "{odd}");
        }
        assert_eq!(UserName::of_dir("shop"), None);
    }

    #[test]
    fn partners_see_three_places() {
        let seen: Vec<String> = every_place(&job()).iter().map(Place::to_string).collect();
        assert_eq!(
            seen,
            [
                "queue/a",
                "queue/a",
                "queue/a",
                "queue/a",
                "bak/a",
                "joberrors",
                "joberrors"
            ]
        );
    }
}
