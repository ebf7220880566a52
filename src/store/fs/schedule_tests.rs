//! The crash test of schedules: a few moments followed, stopped at every file operation, rebooted to
//! every image that the disk could show, and gone on with. Each moment has one job, a schedule that
//! was saved is there, and one that was removed is not.

use super::{
    Fs, Key, Keyed, Spool, SpoolError,
    crash_fs::{CrashFs, IMAGES},
    testing::{START_MS, TestSpool},
};
use crate::store::NewJob;
use crate::store::fs::PlacePath;
use crate::{
    cron_schedule::{Plan, Progress, Schedule, ScheduleId},
    domain::{InterfaceName, Job, JobName, Kind},
};
use jiff::{Timestamp, ToSpan};
use std::sync::Arc;

const SEGMENT_BYTES: u64 = 16 * 1024;
const MOMENTS: i64 = 4;

fn queue() -> InterfaceName {
    "a".parse().unwrap()
}

fn open(fs: CrashFs) -> Result<Arc<Spool<CrashFs>>, SpoolError> {
    let spool = TestSpool::on(fs).interface("a").ticking();
    let spool = spool.journal_of(SEGMENT_BYTES).open()?;
    spool.recover()?;
    Ok(spool)
}

fn start() -> Timestamp {
    Timestamp::from_millisecond(START_MS).unwrap()
}

/// Some jobs are too large to be in the journal whole.
fn schedule(document_bytes: usize) -> Schedule {
    Schedule {
        interface: queue(),
        submitter: "ada".into(),
        dialect: "robusta".into(),
        created: start(),
        plan: Plan {
            quartz: Some("* * * * * ?".parse().unwrap()),
            time_zone: Default::default(),
            clock_changes: Default::default(),
            start: None,
            end: None,
            run_once: false,
            run_immediately: false,
        },
        priority: Default::default(),
        worker: None,
        retries: None,
        document: "x".repeat(document_bytes),
    }
}

/// Follows the schedule by the moments that have no job yet, as the service does.
fn follow(spool: &Arc<Spool<CrashFs>>, id: ScheduleId) -> Result<(), SpoolError> {
    let schedule = spool.schedule(id)?.expect("it was saved");
    for n in 1..=MOMENTS {
        let moment = start() + n.seconds();
        let progress = spool.progress(id)?;
        if progress.through >= Some(moment) {
            continue;
        }
        let key = Key::new("schedule", &moment.to_string());
        let ticket = match spool.find_record(&key)? {
            Some(record) => {
                let job = record.job;
                spool.save_progress(id, &progress.ran(moment, job))?
            }
            None => fire(spool, id, &schedule, &progress, &key, moment)?,
        };
        spool.wait(ticket)?;
    }
    Ok(())
}

fn fire(
    spool: &Arc<Spool<CrashFs>>,
    id: ScheduleId,
    schedule: &Schedule,
    progress: &Progress,
    key: &Key,
    moment: Timestamp,
) -> Result<super::Ticket, SpoolError> {
    let job = JobName::new(spool.next_id(), None, Kind::Json);
    let mut part = spool.begin(job.clone())?;
    part.write(schedule.document.as_bytes())?;
    let sealed = part.seal(&NewJob::default())?;
    let record = Keyed {
        job: job.clone(),
        interface: Some("a".parse().unwrap()),
        sha256: sealed.sha256().to_owned(),
        bytes: sealed.bytes(),
        refused: false,
    };
    let progress = progress.ran(moment, job);
    let fired = spool.fire(sealed, &queue(), (key, &record), (id, &progress))?;
    Ok(fired.1)
}

fn save(spool: &Spool<CrashFs>, schedule: &Schedule) -> Result<ScheduleId, SpoolError> {
    let id = ScheduleId::new(spool.next_id());
    let ticket = spool.save_schedule(id, schedule, None)?;
    spool.wait(ticket)?;
    Ok(id)
}

#[test]
fn every_moment_has_one_job_after_a_stop_at_every_call() {
    for document_bytes in [10, super::INLINE_BYTES_MAX + 1] {
        let schedule = schedule(document_bytes);
        for n in 0.. {
            let mut was_reached = false;
            for image in IMAGES {
                let fs = CrashFs::new();
                fs.stop_at(n);
                let mut told = None;
                let outcome = open(fs.clone()).and_then(|spool| {
                    let id = save(&spool, &schedule)?;
                    told = Some(id);
                    follow(&spool, id)
                });
                was_reached |= outcome.is_err();
                let context = format!("{document_bytes} bytes, call {n}, {image:?}");
                let fs = fs.reboot(image);
                let spool = open(fs.clone()).unwrap();
                let there = spool.schedules().unwrap();
                if let Some(told) = told {
                    assert_eq!(there, [told], "{context}");
                }
                for id in there {
                    follow(&spool, id).unwrap();
                    let jobs = spool.list(&queue()).unwrap();
                    assert_eq!(jobs.len(), MOMENTS as usize, "{context}: {jobs:?}");
                    let whole = |job: &Job| {
                        let path = job.place.path(&job.name);
                        fs.files()[path.to_str().unwrap()] == schedule.document.as_bytes()
                    };
                    assert!(jobs.iter().all(whole), "{context}");
                    assert_eq!(
                        spool.progress(id).unwrap().runs,
                        MOMENTS as u64,
                        "{context}"
                    );
                    assert!(spool.next_id() > id.get(), "{context}");
                }
            }
            if !was_reached {
                assert!(n > 30, "the day has become too short: {n}");
                break;
            }
        }
    }
}

#[test]
fn what_was_removed_stays_removed() {
    let saved = || {
        let fs = CrashFs::new();
        let service = open(fs.clone()).unwrap();
        let id = save(&service, &schedule(10)).unwrap();
        follow(&service, id).unwrap();
        (fs, service, id)
    };
    // By the service; by a command after its end, whose journal still has the file.
    for after_end in [false, true] {
        for n in 0.. {
            let (mut fs, service, id) = saved();
            if after_end {
                fs = fs.kill();
            }
            fs.stop_at(n);
            let removed = match after_end {
                false => service.remove_schedule(id),
                true => open(fs.clone()).and_then(|spool| spool.remove_schedule(id)),
            };
            for image in IMAGES {
                let spool = open(fs.reboot(image)).unwrap();
                let context = format!("after the end: {after_end}, call {n}, {image:?}");
                match &removed {
                    Ok(removed) => {
                        assert!(removed, "{context}");
                        assert_eq!(spool.schedules().unwrap(), [], "{context}");
                    }
                    Err(_) => assert!(spool.schedules().unwrap().len() <= 1, "{context}"),
                }
            }
            if removed.is_ok() {
                assert!(n > 1);
                break;
            }
        }
    }
}

/// By `rm`, while no service was there.
#[test]
fn what_was_removed_by_hand_after_the_end_of_the_process_stays_removed() {
    let fs = CrashFs::new();
    let service = open(fs.clone()).unwrap();
    let id = save(&service, &schedule(10)).unwrap();
    follow(&service, id).unwrap();
    let fs = fs.kill();
    let path = format!("schedules/{id}.json");
    fs.unlink(std::path::Path::new(&path)).unwrap();
    assert_eq!(open(fs).unwrap().schedules().unwrap(), []);
}
