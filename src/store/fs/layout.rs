//! The layout: the path of every state of a job, relative to the spool.
//!
//! Invariant: a path is a pure function of place and name, and the day in it is the one in the name.

use crate::domain::{JobName, Place, Queue, parse_stamp, stamp};
use std::path::PathBuf;

/// Where in the spool a place is.
pub trait PlacePath {
    /// The directory of `name` at this place.
    fn dir(&self, name: &JobName) -> PathBuf;

    /// The directory of a day's jobs at this place; of all, where days are not apart.
    fn dir_of(&self, day: &str) -> PathBuf;

    /// The file of `name` at this place.
    fn path(&self, name: &JobName) -> PathBuf;
}

/// Where in the spool a queue is.
pub trait QueuePath {
    fn dir(&self) -> PathBuf;
}

impl QueuePath for Queue {
    fn dir(&self) -> PathBuf {
        let mut dir: PathBuf = ["queue", self.interface.as_str()].iter().collect();
        if let Some(user) = &self.addressee {
            dir.push(format!("@{user}"));
        }
        dir
    }
}

impl PlacePath for Place {
    fn dir(&self, name: &JobName) -> PathBuf {
        match self {
            Place::Bak(_) | Place::JobErrors | Place::Refused => self.dir_of(&name.day()),
            Place::Deferred { .. } | Place::Queue(_) | Place::Work { .. } => self.dir_of(""),
        }
    }

    fn dir_of(&self, day: &str) -> PathBuf {
        match self {
            Place::Bak(interface) => ["bak", interface.as_str(), day].iter().collect(),
            Place::JobErrors => ["joberrors", day].iter().collect(),
            Place::Deferred { interface, .. } => ["deferred", interface.as_str()].iter().collect(),
            Place::Queue(queue) => queue.dir(),
            Place::Refused => ["joberrors", day, "refused"].iter().collect(),
            Place::Work { interface, .. } => ["work", interface.as_str()].iter().collect(),
        }
    }

    fn path(&self, name: &JobName) -> PathBuf {
        let file = match self {
            Place::Bak(_) | Place::JobErrors | Place::Queue(_) | Place::Refused => name.to_string(),
            Place::Deferred { due_ms, .. } => format!("{}@{name}", stamp(*due_ms)),
            Place::Work { attempt, .. } => format!("{name}.a{attempt}"),
        };
        self.dir(name).join(file)
    }
}

/// Reads a name in `work/<interface>`: `<job>.a<N>`.
pub fn work_entry(entry: &str) -> Option<(JobName, u32)> {
    let (name, attempt) = entry.rsplit_once(".a")?;
    let canonical = !attempt.starts_with(['0', '+']);
    canonical.then_some(())?;
    Some((name.parse().ok()?, attempt.parse().ok()?))
}

/// Reads a name in `deferred/<interface>`: `<due>@<job>`.
pub fn deferred_entry(entry: &str) -> Option<(JobName, i64)> {
    let (due, name) = entry.split_once('@')?;
    Some((name.parse().ok()?, parse_stamp(due)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        any_job_name, any_place, any_queue, any_text, every_place, is_plain, settings,
    };
    use proptest::prelude::*;
    use std::path::Path;

    fn job() -> JobName {
        "20261122T045748.123Z-00042-x.xml".parse().unwrap()
    }

    #[test]
    fn every_path_reads_back() {
        for place in every_place(&job()) {
            let path = place.path(&job());
            let file = path.file_name().unwrap().to_str().unwrap();
            match &place {
                Place::Deferred { due_ms, .. } => {
                    assert_eq!(deferred_entry(file), Some((job(), *due_ms)));
                }
                Place::Work { attempt, .. } => {
                    assert_eq!(work_entry(file), Some((job(), *attempt)));
                }
                Place::Bak(_) | Place::JobErrors | Place::Queue(_) | Place::Refused => {
                    assert_eq!(file.parse(), Ok(job()));
                }
            }
        }
        for odd in [
            "J.a1",
            "20261122T045748.123Z-00042.xml.a01",
            "x@y",
            "@",
            ".a1",
        ] {
            assert_eq!(work_entry(odd), None, "{odd}");
            assert_eq!(deferred_entry(odd), None, "{odd}");
        }
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn a_queue_is_where_it_says(queue in any_queue()) {
            prop_assert_eq!(queue.dir(), Path::new("queue").join(queue.to_string()));
        }

        #[test]
        fn a_path_is_pure_and_inside_the_spool(place in any_place(), name in any_job_name()) {
            let path = place.path(&name);
            prop_assert_eq!(place.clone().path(&name.clone()), path.clone());
            prop_assert_eq!(path.parent().map(Path::to_path_buf), Some(place.dir(&name)));
            let components: Vec<&str> = path.iter().map(|c| c.to_str().unwrap()).collect();
            prop_assert!(components.iter().all(|c| is_plain(c)), "{}", path.display());
            let (top, length) = match &place {
                Place::Bak(_) => ("bak", 4),
                Place::Deferred { .. } => ("deferred", 3),
                Place::JobErrors => ("joberrors", 3),
                Place::Queue(queue) => ("queue", 3 + usize::from(queue.addressee.is_some())),
                Place::Refused => ("joberrors", 4),
                Place::Work { .. } => ("work", 3),
            };
            prop_assert_eq!((components[0], components.len()), (top, length));
            if let Some(interface) = place.interface() {
                prop_assert_eq!(components[1], interface.as_str());
            }
            if matches!(place, Place::Bak(_) | Place::JobErrors) {
                prop_assert_eq!(components[length - 2], name.day());
            }
            if place == Place::Refused {
                let day = name.day();
                prop_assert_eq!(&components[1..3], &[&day, "refused"]);
            }
            let file = components[length - 1];
            let read = match &place {
                Place::Deferred { due_ms, .. } => deferred_entry(file) == Some((name, *due_ms)),
                Place::Work { attempt, .. } => work_entry(file) == Some((name, *attempt)),
                Place::Bak(_) | Place::JobErrors | Place::Queue(_) | Place::Refused => {
                    file.parse() == Ok(name)
                }
            };
            prop_assert!(read, "{} does not read back", file);
        }

        #[test]
        fn an_entry_is_foreign_or_has_one_spelling(
            name in any_job_name(),
            before in "[0-9TZ.@a-]{0,22}",
            after in "(\\.a[+0]?[0-9]{0,3}|[0-9+.a-]{0,11})",
            text in any_text(),
        ) {
            let stamped = format!("{}@{name}", stamp(1_577_836_800_000));
            for entry in [text, format!("{before}{name}{after}"), format!("{before}{stamped}{after}")] {
                if let Some((name, attempt)) = work_entry(&entry) {
                    prop_assert_eq!(format!("{name}.a{attempt}"), entry.clone());
                }
                if let Some((name, due_ms)) = deferred_entry(&entry) {
                    prop_assert_eq!(format!("{}@{name}", stamp(due_ms)), entry);
                }
            }
        }
    }
}
