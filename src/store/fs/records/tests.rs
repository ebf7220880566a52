//! Lines are found, believed, counted and made whole.

use super::{
    super::{
        RealFs, SEGMENT_BYTES_MIN,
        crash_fs::CrashFs,
        faults::Faults,
        testing::{START_MS, TestSpool},
    },
    *,
};
use crate::domain::{Ids, JobOptions, Kind, Place, Priority};
use crate::store::NewJob;
use crate::store::Settlement;
use crate::store::fs::PlacePath;
use crate::store::{By, Came};

fn interface() -> InterfaceName {
    "a".parse().unwrap()
}

fn open<F: Fs>(fs: F) -> Arc<Spool<F>> {
    let spool = TestSpool::on(fs).interface_with("a", |rules| rules.attempts_max = 5);
    spool.ticking().open().unwrap()
}

/// A start of the service.
fn serve<F: Fs>(fs: F) -> Arc<Spool<F>> {
    let spool = open(fs);
    spool.open_journal(SEGMENT_BYTES_MIN).unwrap();
    spool.recover().unwrap();
    spool
}

fn accept<F: Fs>(spool: &Arc<Spool<F>>, options: JobOptions) -> Job {
    let name = JobName::new(spool.next_id(), None, Kind::Json);
    let mut part = spool.begin(name).unwrap();
    part.write(b"{}").unwrap();
    let sealed = part.seal(&NewJob {
        submitter: "ada".into(),
        options,
        ..NewJob::default()
    });
    let (job, ticket) = spool.enqueue(sealed.unwrap(), &interface(), None).unwrap();
    spool.wait(ticket).unwrap();
    spool.arrived(&job.name);
    job
}

fn params(text: String) -> JobOptions {
    JobOptions {
        params: Some(text),
        ..JobOptions::default()
    }
}

fn look_up<F: Fs>(spool: &Spool<F>, id: JobId) -> Option<Arc<Accepted>> {
    spool.searched(&mut Search::new(id)).unwrap()
}

#[test]
fn a_line_is_found_again_whatever_its_size_and_the_order_of_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(RealFs::new(dir.path()));
    let mut ids = Ids::above(START_MS);
    let mut lines: Vec<Accepted> = (0..3000)
        .map(|n| {
            // A line may be longer than what a search reads at once.
            let long = if n % 100 == 7 { 16 * 1024 } else { n % 50 };
            let job = JobName::new(ids.next(START_MS + n as i64 * 40), None, Kind::Json);
            let accepted = Accepted::new(job, Came::Uploaded, START_MS);
            accepted.on(&params("\"".repeat(long)))
        })
        .collect();
    // Written later than they were named: by moments, and by nearly all of the window.
    lines.swap(10, 14);
    let late = lines.remove(1000);
    lines.insert(1000 + 240, late);
    let path = dir.path().join(accepted_path(&lines[0].job.day()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        text += &line.to_line();
        text.push('\n');
        if n % 500 == 3 {
            text += "\0\0 torn by other hands\n";
        }
    }
    text += "{\"id\":";
    std::fs::write(&path, text).unwrap();
    let day = lines[0].job.day();
    for line in &lines {
        let found = look_up(&spool, line.job.id());
        assert_eq!(found.as_deref(), Some(line));
    }
    let unknown = ids.next(START_MS + 3000 * 40);
    assert_eq!(look_up(&spool, unknown), None);
    assert_eq!(look_up(&spool, JobId::from_number(5)), None);
    let wanted = lines.iter().step_by(7).map(|line| line.job.id().get());
    let wanted: std::collections::HashSet<u64> = wanted.collect();
    let mut found = std::collections::HashSet::new();
    spool
        .look_up_all(&day, wanted.clone(), &mut |line| {
            assert_eq!(line.params, None);
            found.insert(line.job.id().get());
        })
        .unwrap();
    assert_eq!(found, wanted);
}

/// What a search costs is counted in calls of the disk, to its end.
#[test]
fn a_search_costs_the_same_whether_there_is_such_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(RealFs::new(dir.path()));
    let mut ids = Ids::above(START_MS);
    let lines: Vec<Accepted> = (0..10_000)
        .map(|n| {
            let job = JobName::new(ids.next(START_MS + n * 4), None, Kind::Json);
            Accepted::new(job, Came::Uploaded, START_MS)
        })
        .collect();
    let day = lines[0].job.day();
    let path = dir.path().join(accepted_path(&day));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text: Vec<String> = lines.iter().map(|line| line.to_line() + "\n").collect();
    std::fs::write(&path, text.concat()).unwrap();
    let faults = Faults::of(dir.path());
    let cost = |id: u64, is_there: bool| {
        let mut search = Search::new(JobId::from_number(id));
        let before = faults.calls();
        let found = spool.searched(&mut search).unwrap();
        let to_find = faults.calls() - before;
        assert_eq!(found.is_some(), is_there);
        assert!(spool.search_through(&mut search).unwrap());
        (to_find, faults.calls() - before)
    };
    for line in lines.iter().step_by(499) {
        let id = line.job.id().get();
        let (_, unknown) = cost(id + 1, false);
        let (to_find, foreign) = cost(id, true);
        assert_eq!(foreign, unknown, "{id}");
        assert!(to_find < unknown, "who is shown the job need not search on");
        // From memory.
        assert_eq!(cost(id, true), (0, unknown), "{id}");
    }
}

/// A clock that was hours ahead and is put right within the day: the later lines have lower ids.
#[test]
fn a_line_is_found_after_a_leap_of_the_clock_too() {
    const LEAP_MS: i64 = 5 * 60 * 60 * 1000;
    let dir = tempfile::tempdir().unwrap();
    let spool = open(RealFs::new(dir.path()));
    let mut lines = Vec::new();
    for ahead_ms in [0, LEAP_MS, 0] {
        for n in 0..1000 {
            let id = spool.ids.lock().next(START_MS + ahead_ms + n);
            let job = JobName::new(id, None, Kind::Json);
            lines.push(Accepted::new(job, Came::Uploaded, START_MS));
        }
    }
    let path = dir.path().join(accepted_path(&lines[0].job.day()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text: Vec<String> = lines.iter().map(|line| line.to_line() + "\n").collect();
    std::fs::write(&path, text.concat()).unwrap();
    let day = lines[0].job.day();
    for line in lines.iter().step_by(7) {
        let found = look_up(&spool, line.job.id());
        assert_eq!(found.as_deref(), Some(line));
    }
    let wanted = lines[2000..].iter().map(|line| line.job.id().get());
    let wanted: std::collections::HashSet<u64> = wanted.collect();
    let mut found = std::collections::HashSet::new();
    spool
        .look_up_all(&day, wanted.clone(), &mut |line| {
            found.insert(line.job.id().get());
        })
        .unwrap();
    assert_eq!(found, wanted);
}

#[test]
fn what_was_asked_for_is_there_after_a_start() {
    let fs = CrashFs::new();
    let options = JobOptions {
        priority: Priority::High,
        worker: Some("robot".parse().unwrap()),
        retries: Some(7),
        params: Some("x".repeat(crate::domain::PARAMS_BYTES_MAX)),
    };
    let spool = serve(fs.clone());
    let job = accept(&spool, options.clone());
    for spool in [spool, serve(fs.clone()), open(fs)] {
        let accepted = spool.accepted_of(&job).unwrap().unwrap();
        assert_eq!(accepted.params, options.params);
        assert_eq!(accepted.priority, options.priority);
        assert_eq!(accepted.worker, options.worker);
        assert_eq!(spool.attempts_max(&job), 8);
        assert_eq!(spool.submitter_of(&job).as_deref(), Some("ada"));
        assert_eq!(spool.checksum_of(&job), accepted.sha256);
    }
}

#[test]
fn attempts_count_across_starts_until_the_job_ends() {
    let fs = CrashFs::new();
    let mut spool = serve(fs.clone());
    let name = accept(&spool, JobOptions::default()).name;
    let settle = |spool: &Arc<Spool<CrashFs>>, what| {
        let mut claim = spool.claim(&interface(), &name).unwrap().unwrap();
        claim.begin();
        claim.settle(what, None).unwrap();
        claim.attempt()
    };
    let due_ms = START_MS + 10;
    let deferred = Settlement::Deferred { due_ms };
    for attempt in 1..4 {
        assert_eq!(settle(&spool, deferred), attempt);
        assert_eq!(spool.attempts_of(&name).unwrap(), attempt);
        let place = spool.find(&name).unwrap().unwrap();
        let job = Job {
            place,
            name: name.clone(),
        };
        spool.release_due(&job).unwrap();
        if attempt == 2 {
            spool = serve(fs.clone());
        }
    }
    assert_eq!(settle(&spool, Settlement::GivenBack), 4);
    assert_eq!(settle(&spool, Settlement::Failed), 4, "it did not count");
    for spool in [spool, serve(fs)] {
        assert_eq!(spool.attempts_of(&name).unwrap(), 0, "a later life");
        let day = &spool.records.known.lock().days[&name.day()];
        assert!(day.lives.is_empty(), "{day:?}");
    }
}

#[test]
fn a_file_of_another_owner_is_not_the_one_that_came() {
    let spool = open(CrashFs::new());
    let job = accept(&spool, JobOptions::default());
    let accepted = spool.accepted(&job.name).unwrap().unwrap();
    let believed = |owner: u32, uid: Option<u32>| {
        spool.records.owner.get_or_init(|| 7);
        spool.fs().give(&job.place.path(&job.name), owner);
        let mut accepted = (*accepted).clone();
        accepted.uid = uid;
        spool.believes(&job, &accepted).unwrap()
    };
    assert!(believed(7, None), "the service's own");
    assert!(believed(0, None), "an operator has copied it");
    assert!(believed(1000, Some(1000)), "whoever has brought it");
    assert!(!believed(1000, None) && !believed(1000, Some(1001)));
    assert_eq!(spool.accepted_of(&job).unwrap(), None);
    assert_eq!(spool.submitter_of(&job).as_deref(), Some("uid 1000"));
    let of_all = spool.accepted_of_all(std::slice::from_ref(&job)).unwrap();
    assert!(of_all.is_empty());
}

#[test]
fn what_the_files_lack_is_appended_once_and_what_is_torn_is_cut_off() {
    let fs = CrashFs::new();
    let spool = open(fs.clone());
    let mut ids = Ids::above(START_MS);
    let mut said = |n: usize| {
        let job = JobName::new(ids.next(START_MS), None, Kind::Json);
        let accepted = Accepted::new(job, Came::Uploaded, n as i64);
        Said::Accepted(Arc::new(accepted))
    };
    let all: Vec<Said> = (0..4).map(&mut said).collect();
    let line = |said: &Said| said.line() + "\n";
    let whole: String = all.iter().map(line).collect();
    let path = all[0].path();
    for n_covered in 0..3 {
        // Covered by a checkpoint, so there; of the rest there may be anything.
        let covered: String = all[..n_covered].iter().map(line).collect();
        for end in covered.len()..=whole.len() {
            for garbage in ["", "\0\0\0", "\0\n", "{}\n"] {
                let _ = fs.unlink(&path);
                let text = format!("{}{garbage}", &whole[..end]);
                spool.records.close_files();
                let file = fs.create(&path).or_else(|_| {
                    fs.make_dir(path.parent().unwrap())?;
                    fs.create(&path)
                });
                fs.write(&file.unwrap(), text.as_bytes()).unwrap();
                for _ in 0..2 {
                    spool.complete_records(all[n_covered..].to_vec()).unwrap();
                    let found = String::from_utf8(fs.read(&path).unwrap()).unwrap();
                    assert_eq!(found, whole, "{n_covered} {end} {garbage:?}");
                }
            }
        }
    }
    // With none of them torn, and one that only the file has.
    let other = said(9);
    let _ = fs.unlink(&path);
    let file = fs.create(&path).unwrap();
    let text = format!("{}{}", line(&all[1]), line(&other));
    fs.write(&file, text.as_bytes()).unwrap();
    spool.complete_records(all.clone()).unwrap();
    let found = String::from_utf8(fs.read(&path).unwrap()).unwrap();
    assert_eq!(found.lines().count(), 5, "{found}");
    assert!(found.contains(&line(&other)));
}

#[test]
fn a_line_that_cannot_be_written_is_written_later_in_its_order() {
    let fs = CrashFs::new();
    let spool = open(fs.clone());
    accept(&spool, JobOptions::default());
    let job = JobName::new(spool.next_id(), None, Kind::Json);
    let said = |n| Said::Ended(Box::new(Ended::new(&job, Act::Noted, n)));
    spool.records.append(&fs, &[said(1)]).unwrap();
    let n_calls = {
        fs.stop_at(usize::MAX);
        spool.records.append(&fs, &[said(2)]).unwrap();
        fs.calls()
    };
    for n in 0..n_calls {
        fs.fail_at(n, rustix::io::Errno::NOSPC.raw_os_error());
        let mark = 10 + n as i64;
        assert!(spool.records.append(&fs, &[said(mark)]).is_err());
        spool.records.append(&fs, &[]).unwrap();
    }
    let mut marks = Vec::new();
    spool
        .each_ended(&job.day(), &mut |ended| marks.push(ended.at_ms))
        .unwrap();
    let expected: Vec<i64> = [1, 2]
        .into_iter()
        .chain((0..n_calls as i64).map(|n| 10 + n))
        .collect();
    assert_eq!(marks, expected);
}

#[test]
fn a_note_waits_for_the_next_log_and_the_last_ones_are_kept() {
    let fs = CrashFs::new();
    let spool = serve(fs.clone());
    let job = accept(&spool, JobOptions::default());
    assert_eq!(spool.noted_of(&job.name).unwrap(), []);
    spool.note(&job, "long ago").unwrap();
    spool.note(&job, "one").unwrap();
    spool.note(&job, &"y".repeat(NOTE_CHARS_MAX - 3)).unwrap();
    spool.wait(spool.latest()).unwrap();
    for spool in [spool, serve(fs)] {
        let noted = spool.noted_of(&job.name).unwrap();
        let texts: Vec<&str> = noted.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(texts, ["one", &"y".repeat(NOTE_CHARS_MAX - 3)]);
        assert!(spool.shown_log(&job.name).is_none());
    }
}

#[test]
fn a_job_that_failed_elsewhere_is_listed_there() {
    let spool = serve(CrashFs::new());
    let job = accept(&spool, JobOptions::default());
    let of = |spool: &Spool<CrashFs>| spool.jobs(&interface()).unwrap();
    let moved = spool.cancel(&job, &By::operator("olga")).unwrap();
    let failed = Job {
        place: Place::JobErrors,
        name: job.name.clone(),
    };
    assert_eq!(moved, super::super::Moved::Done(failed.clone()));
    assert_eq!(of(&spool), [failed]);
    let mut ended = Ended::new(&job.name, Act::Failed, 1);
    ended.interface = Some("b".parse().unwrap());
    spool.records.tell(&Said::Ended(Box::new(ended)));
    assert_eq!(of(&spool), []);
}

#[test]
fn what_was_in_use_is_kept_up_to_a_bound() {
    let mut recent = Recent::default();
    let mut ids = Ids::above(START_MS);
    for n in 0..10_000 {
        let job = JobName::new(ids.next(START_MS), None, Kind::Json);
        let accepted = Accepted::new(job, Came::Uploaded, n);
        recent.keep(Arc::new(accepted.on(&params("x".repeat(1000)))));
        assert!(recent.bytes <= RECENT_BYTES_MAX);
        assert_eq!(recent.lines.len(), recent.order.len());
    }
    assert!(recent.lines.len() > 500);
}
