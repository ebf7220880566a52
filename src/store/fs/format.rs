//! The version of a spool's layout, which the file `format` in it names.
//!
//! | version | layout | taken up |
//! |---|---|---|
//! | 1 | no `format`; what is known of a job is in extended attributes of its file | after a clean stop: the attributes become lines of the days' records, the journal's mark is written anew |
//! | 2 | idempotency records lie in `idem` itself | at every start records that lie there are put into their days |
//! | 3 | no `audit`; the journal has no records of it, which older versions take for its end | nothing is to be done |
//! | 4 | no `events`; the journal has no records of them, which older versions take for its end | nothing is to be done |
//! | 5 | as `ARCHITECTURE.md` says | it is the present one |
//!
//! A newer layout is left alone. Each step up can be cut off at any moment and is done again then;
//! `format` is written last.

use super::{
    Act, Came, EntryKind, Fs, RealFs, Spool, SpoolError,
    journal::job_of,
    records::{Accepted, Ended, Said},
    wrap,
};
use crate::domain::{JobName, JobOptions};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

/// The present version.
const FORMAT: u32 = 5;

const FORMAT_BYTES_MAX: u64 = 64;
/// More than the longest attribute has.
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// Why a spool cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(
        "{}: the spool has format {found}, and this version knows formats up to {FORMAT}; use a newer \
         spoolgate", root.display()
    )]
    Newer { root: PathBuf, found: String },
    #[error(
        "{}: the spool has format 1 and was not stopped cleanly; start and stop it once with the version \
         that made it", root.display()
    )]
    Unclean { root: PathBuf },
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

fn path() -> &'static Path {
    Path::new("format")
}

impl Spool<RealFs> {
    /// Refuses a layout that is not known. Changes nothing.
    ///
    /// # Errors
    /// [`FormatError::Newer`], or when `format` cannot be read.
    pub fn check_format(&self) -> Result<(), FormatError> {
        self.format().map(drop)
    }

    /// Takes up a spool of an earlier format, and notes the present one. To be called by the spool's
    /// owner, before its journal is opened.
    ///
    /// # Errors
    /// Then the spool is as it was, save for lines of the days' records.
    pub fn take_format(&self) -> Result<(), FormatError> {
        let found = self.format()?;
        if found == Some(FORMAT) {
            return Ok(());
        }
        if found.is_none()
            && let Some(journal) = self.journal_of_format_1()?
        {
            if !journal.is_clean {
                return Err(FormatError::Unclean {
                    root: self.fs.absolute(Path::new("")),
                });
            }
            let n_jobs = self.take_up_attributes()?;
            self.take_up_journal(&journal)?;
            tracing::info!(jobs = n_jobs, "a spool of format 1 was taken up");
        }
        let temp = self.write_temp("format", format!("{FORMAT}\n").as_bytes())?;
        self.fs.sync_all().map_err(wrap("sync", path()))?;
        let named = self.fs.replace(&temp, path());
        let named = named.and_then(|()| self.fs.sync_dir(Path::new("")));
        Ok(named.map_err(wrap("write", path()))?)
    }

    /// The version that is noted, if one is.
    fn format(&self) -> Result<Option<u32>, FormatError> {
        let text = match self.fs.read_small(path(), FORMAT_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(wrap("read", path()))?,
        };
        let found = String::from_utf8_lossy(&text).trim().to_owned();
        match found.parse() {
            Ok(found @ 2..=FORMAT) => Ok(Some(found)),
            Ok(_) | Err(_) => Err(FormatError::Newer {
                root: self.fs.absolute(Path::new("")),
                found,
            }),
        }
    }

    /// What is known of jobs from the attributes of their files; says of how many.
    fn take_up_attributes(&self) -> Result<usize, SpoolError> {
        // By name, since ids rise within a day's record.
        let mut said: BTreeMap<JobName, Vec<Said>> = BTreeMap::new();
        let states = ["bak", "deferred", "joberrors", "queue", "work"];
        let mut dirs: Vec<PathBuf> = states.map(PathBuf::from).into();
        while let Some(dir) = dirs.pop() {
            let mut files = Vec::new();
            let mut below = Vec::new();
            let each = &mut |name: &OsStr, kind| match kind {
                EntryKind::Dir => below.push(dir.join(name)),
                EntryKind::File => files.push(dir.join(name)),
                EntryKind::Other => {}
            };
            self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
            for path in files {
                if let Some(job) = path.to_str().and_then(job_of) {
                    said.insert(job.clone(), self.said_of(&path, &job));
                }
            }
            // Runs have directories in `work`, whose files are no jobs.
            below.retain(|dir| !dir.starts_with("work") || dir.components().count() == 2);
            dirs.extend(below);
        }
        let n_jobs = said.len();
        self.complete_records(said.into_values().flatten().collect())?;
        Ok(n_jobs)
    }

    /// What the attributes of a job's file say: `job` has dialect, checksum and submitter in one, and
    /// files that came otherwise have them apart.
    fn said_of(&self, path: &Path, job: &JobName) -> Vec<Said> {
        let file = self.fs.absolute(path);
        let text = |name: &str| attribute(&file, name).unwrap_or_default();
        let all = text("job");
        let mut all = all.splitn(3, ' ').map(str::to_owned);
        let (dialect, sha256, submitter) = (all.next(), all.next(), all.next());
        let received_ms = text("received").parse().unwrap_or(job.id().unix_ms());
        let options = JobOptions {
            priority: text("priority").parse().unwrap_or_default(),
            worker: text("worker").parse().ok(),
            retries: text("retries").parse().ok(),
            params: attribute(&file, "params"),
        };
        let mut accepted = Accepted::new(job.clone(), Came::Uploaded, received_ms).on(&options);
        let is_one = submitter.is_some();
        accepted.dialect = dialect.filter(|_| is_one).unwrap_or(text("dialect"));
        accepted.submitter = submitter.unwrap_or(text("submitter"));
        let sha256 = sha256.and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        accepted.sha256 = sha256.map(hex::encode);
        accepted.interface = text("interface").parse().ok();
        accepted.uid = accepted
            .submitter
            .strip_prefix("uid ")
            .and_then(|uid| uid.parse().ok());
        accepted.bytes = self.stat(path).ok().flatten().map_or(0, |stat| stat.bytes);
        let mut said = vec![Said::Accepted(accepted.into())];
        if let Some(note) = attribute(&file, "note") {
            let mut noted = Ended::new(job, Act::Noted, received_ms);
            noted.text = Some(note);
            said.push(Said::Ended(Box::new(noted)));
        }
        if let Ok(attempts @ 1..) = text("attempts").parse() {
            let mut tried = Ended::new(job, Act::CutOff, received_ms);
            tried.attempt = Some(attempts);
            said.push(Said::Ended(Box::new(tried)));
        }
        said
    }
}

/// The value of `user.spoolgate.<name>`.
fn attribute(file: &Path, name: &str) -> Option<String> {
    let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
    let name = format!("user.spoolgate.{name}");
    let length = rustix::fs::lgetxattr(file, name, &mut value).ok()?;
    value.truncate(length);
    String::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Job, Kind},
        store::{NewJob, fs::testing::TestSpool},
    };
    use rustix::fs::{XattrFlags, setxattr};
    use sha2::{Digest, Sha256};
    use std::{fs, sync::Arc};

    const JOB: &str = "20261122T045748.123Z-00042-x.xml";

    /// Less than a day after [`JOB`] came.
    fn spool(root: &Path) -> Arc<Spool> {
        let spool = TestSpool::at(root).interface("a");
        spool.clock(|| 1_795_400_000_000).open().unwrap()
    }

    /// The version that is noted.
    fn noted(root: &Path) -> u32 {
        let text = fs::read_to_string(root.join("format")).unwrap();
        text.strip_suffix('\n').unwrap().parse().unwrap()
    }

    fn hashed(said: &[u8]) -> Vec<u8> {
        let mut bytes = [b"SPOOLJ1\n".as_slice(), said].concat();
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }

    /// A spool as version 1 has left it: a job that was tried once, and one that was dropped.
    fn format_1(root: &Path) {
        drop(spool(root));
        let set = |path: &Path, name: &str, value: &str| {
            let name = format!("user.spoolgate.{name}");
            setxattr(path, name, value.as_bytes(), XattrFlags::empty()).unwrap();
        };
        let queued = root.join("queue/a").join(JOB);
        fs::write(&queued, "<a/>").unwrap();
        let sha256 = STANDARD_NO_PAD.encode(Sha256::digest("<a/>"));
        set(&queued, "job", &format!("robusta {sha256} ada lovelace"));
        set(&queued, "params", "{}");
        set(&queued, "attempts", "1");
        set(&queued, "note", "moved by hand");
        let done = root.join("bak/a/2026-11-22");
        fs::create_dir_all(&done).unwrap();
        let dropped = done.join(JOB.replace("00042", "00041"));
        fs::write(&dropped, "<b/>").unwrap();
        set(&dropped, "dialect", "drop");
        set(&dropped, "submitter", "uid 1000");
        fs::create_dir_all(root.join("journal")).unwrap();
        let last_id = JOB.parse::<JobName>().unwrap().id().get() + 7;
        let mut mark = hashed(&[9, last_id].map(u64::to_le_bytes).concat());
        mark.resize(8192, 0);
        fs::write(root.join("journal/mark"), mark).unwrap();
    }

    #[test]
    fn a_spool_of_format_1_is_taken_up_with_all_that_is_known_of_its_jobs() {
        let dir = tempfile::tempdir().unwrap();
        format_1(dir.path());
        let spool = spool(dir.path());
        spool.take_format().unwrap();
        assert_eq!(noted(dir.path()), FORMAT);
        spool.open_journal(1 << 20).unwrap();
        spool.recover().unwrap();
        let job: JobName = JOB.parse().unwrap();
        let place = spool.find(&job).unwrap().unwrap();
        let queued = Job { place, name: job };
        let accepted = spool.accepted_of(&queued).unwrap().unwrap();
        assert_eq!(accepted.dialect, "robusta");
        assert_eq!(accepted.submitter, "ada lovelace");
        assert_eq!(accepted.sha256, Some(hex::encode(Sha256::digest("<a/>"))));
        assert_eq!(accepted.params.as_deref(), Some("{}"));
        assert_eq!(spool.attempts_of(&queued.name).unwrap(), 1);
        assert_eq!(
            spool.noted_of(&queued.name).unwrap()[0].text,
            "moved by hand"
        );
        let lines =
            fs::read_to_string(dir.path().join("records/2026-11-22/accepted.jsonl")).unwrap();
        let of: Vec<_> = lines
            .lines()
            .map(|line| Accepted::from_line(line.as_bytes()))
            .collect();
        let dropped = of[0].clone().unwrap();
        assert_eq!(
            (dropped.dialect.as_str(), dropped.uid),
            ("drop", Some(1000))
        );
        assert_eq!(of[1].as_ref(), Some(&*accepted), "ids rise");
        assert!(
            spool.earlier_id().get() > queued.name.id().get(),
            "of the mark"
        );
        // Once is enough.
        drop(spool);
        let spool = self::spool(dir.path());
        spool.take_format().unwrap();
        assert_eq!(spool.open_journal(1 << 20).unwrap().records, 0);
    }

    #[test]
    fn a_step_that_was_cut_off_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        format_1(dir.path());
        spool(dir.path()).take_up_attributes().unwrap();
        let record = || fs::read(dir.path().join("records/2026-11-22/accepted.jsonl")).unwrap();
        let before = record();
        spool(dir.path()).take_format().unwrap();
        assert_eq!(record(), before);
    }

    #[test]
    fn what_was_not_stopped_cleanly_or_is_newer_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        format_1(dir.path());
        let segment = crate::store::fs::journal::a_segment_from(10);
        fs::write(dir.path().join("journal/0.log"), segment).unwrap();
        let error = spool(dir.path()).take_format().unwrap_err().to_string();
        assert!(error.contains("start and stop it once"), "{error}");
        assert!(!dir.path().join("format").exists());
        for newer in [&*(FORMAT + 1).to_string(), "x"] {
            fs::write(dir.path().join("format"), newer).unwrap();
            let spool = spool(dir.path());
            for error in [spool.take_format(), spool.check_format()] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(&format!("has format {newer}")), "{error}");
            }
        }
    }

    #[test]
    fn keys_of_a_spool_of_format_2_are_still_known() {
        use crate::store::{Key, Keyed};
        let dir = tempfile::tempdir().unwrap();
        drop(spool(dir.path()));
        fs::write(dir.path().join("format"), "2\n").unwrap();
        let keyed = Keyed {
            job: JOB.parse().unwrap(),
            interface: Some("a".parse().unwrap()),
            sha256: String::new(),
            bytes: 4,
            refused: false,
        };
        let key = Key::new("shop", "1");
        let flat = dir.path().join(format!("idem/{}.json", key.as_str()));
        fs::write(&flat, serde_json::to_vec(&keyed).unwrap()).unwrap();
        fs::write(dir.path().join("idem/x.json"), "no record").unwrap();
        let spool = spool(dir.path());
        spool.take_format().unwrap();
        assert_eq!(noted(dir.path()), FORMAT);
        spool.open_journal(1 << 20).unwrap();
        spool.recover().unwrap();
        assert_eq!(spool.find_record(&key).unwrap(), Some(keyed));
        assert!(!flat.exists() && dir.path().join("idem/x.json").exists());
    }

    /// Of what changed since then nothing has to be done: what a crash has left is replayed.
    #[test]
    fn a_spool_of_each_earlier_format_keeps_what_its_journal_has() {
        for earlier in 2..FORMAT {
            let dir = tempfile::tempdir().unwrap();
            let before = spool(dir.path());
            before.open_journal(1 << 20).unwrap();
            let name = JobName::new(before.next_id(), None, Kind::Xml);
            let mut part = before.begin(name.clone()).unwrap();
            part.write(b"<a/>").unwrap();
            let sealed = part.seal(&NewJob::default()).unwrap();
            let (job, ticket) = before.enqueue(sealed, &"a".parse().unwrap(), None).unwrap();
            before.wait(ticket).unwrap();
            drop(before);
            fs::write(dir.path().join("format"), format!("{earlier}\n")).unwrap();

            let spool = spool(dir.path());
            spool.take_format().unwrap();
            assert_eq!(noted(dir.path()), FORMAT);
            assert!(
                spool.open_journal(1 << 20).unwrap().records > 0,
                "{earlier}"
            );
            spool.recover().unwrap();
            assert_eq!(spool.find(&name).unwrap(), Some(job.place), "{earlier}");
        }
    }

    #[test]
    fn a_new_spool_has_the_present_format() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path());
        spool.check_format().unwrap();
        assert!(!dir.path().join("format").exists(), "looking makes nothing");
        spool.take_format().unwrap();
        spool.check_format().unwrap();
        assert_eq!(noted(dir.path()), FORMAT);
    }
}
