//! The chain across starts, days, leaps of the clock, full disks and retention.

use super::{
    super::{
        RealFs, Retention,
        crash_fs::{CrashFs, IMAGES},
        testing::{START_MS, TestSpool},
    },
    *,
};
use crate::store::audit::{Ending, Misfit, Outcome, Verified};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn deed(act: &str) -> Entry {
    Entry::Begun(Deed::new(act, &By::operator("olga")).into())
}

/// Records an act with its end.
fn act<F: Fs>(spool: &Spool<F>, name: &str) -> Result<(), SpoolError> {
    let (of, ticket) = spool.audit(&deed(name))?;
    spool.wait(ticket)?;
    let (_, ticket) = spool.audit(&Entry::Ended(Ending::new(of, Outcome::Done, "")))?;
    spool.wait(ticket)
}

/// A start of the service, at a moment that can be changed.
fn start(root: &Path, clock: &Arc<AtomicI64>) -> Arc<Spool> {
    let clock = clock.clone();
    let spool = TestSpool::at(root).clock(move || clock.load(Ordering::SeqCst));
    spool.journal().open().unwrap()
}

fn verify(root: &Path, from: Option<&str>) -> Result<Verified, BadRecord> {
    let files = AuditFiles::of(&root.join(DIR)).unwrap();
    files.verify(from.map(str::to_owned)).unwrap()
}

fn days(root: &Path) -> Vec<String> {
    AuditFiles::of(&root.join(DIR)).unwrap().days
}

#[test]
fn the_chain_goes_on_across_starts_days_and_leaps_and_a_copy_verifies_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START_MS));
    assert_eq!(start(dir.path(), &clock).audit_head().unwrap(), None);
    for ahead_ms in [0, DAY_MS, 3 * DAY_MS, DAY_MS, 4 * DAY_MS] {
        clock.store(START_MS + ahead_ms, Ordering::SeqCst);
        let spool = start(dir.path(), &clock);
        act(&spool, "hold").unwrap();
        // One ends in order, the next one does not.
        if ahead_ms == DAY_MS {
            spool.close_journal();
        }
    }
    assert_eq!(
        days(dir.path()),
        ["2026-11-22", "2026-11-23", "2026-11-25", "2026-11-26"]
    );
    let verified = verify(dir.path(), None).unwrap();
    assert_eq!(verified.records, 10);
    let looking = TestSpool::at(dir.path()).open().unwrap();
    let head = looking.audit_head().unwrap();
    assert_eq!(verified.newest, head);
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(DIR)).unwrap();
    for day in days(dir.path()) {
        let path = day_path(&day);
        fs::copy(dir.path().join(&path), copy.path().join(&path)).unwrap();
    }
    let sha256 = head.unwrap().sha256;
    assert_eq!(verify(copy.path(), Some(&sha256)).unwrap().records, 1);
}

#[test]
fn the_first_record_that_does_not_fit_is_named_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START_MS));
    let spool = start(dir.path(), &clock);
    for name in ["hold", "release"] {
        act(&spool, name).unwrap();
        clock.fetch_add(DAY_MS, Ordering::SeqCst);
    }
    act(&spool, "remove").unwrap();
    let second = dir.path().join(day_path("2026-11-23"));
    let text = fs::read_to_string(&second).unwrap();
    let bad = |text: &str| {
        fs::write(&second, text).unwrap();
        let bad = verify(dir.path(), None).unwrap_err();
        let name = bad.path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, bad.line, bad.misfit)
    };
    let at = |day: &str, line, misfit| (day.to_owned(), line, misfit);
    let number = |expected, found| Misfit::Number { expected, found };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        bad(&text.replace("olga", "otto")),
        at("2026-11-23", 2, Misfit::Hash)
    );
    assert_eq!(
        bad(&text.replace("done", "gone")),
        at("2026-11-23", 2, Misfit::NoRecord)
    );
    assert_eq!(
        bad(&format!("{}\n", lines[0])),
        at("2026-11-24", 1, number(4, 5))
    );
    assert_eq!(
        bad(&format!("{}\n", lines[1])),
        at("2026-11-23", 1, number(3, 4))
    );
    let swapped = format!("{}\n{}\n", lines[1], lines[0]);
    assert_eq!(bad(&swapped), at("2026-11-23", 1, number(3, 4)));
    assert_eq!(bad(text.trim_end()), at("2026-11-23", 2, Misfit::CutOff));
    fs::write(&second, &text).unwrap();
    assert!(verify(dir.path(), None).is_ok());
    fs::remove_file(dir.path().join(day_path("2026-11-22"))).unwrap();
    let bad = verify(dir.path(), None).unwrap_err();
    assert_eq!((bad.line, bad.misfit), (1, Misfit::Beginning(3)));
}

#[test]
fn a_damaged_end_is_found_and_what_comes_later_is_recorded_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START_MS));
    let spool = start(dir.path(), &clock);
    act(&spool, "hold").unwrap();
    spool.close_journal();
    drop(spool);
    let path = dir.path().join(day_path("2026-11-22"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}damage\n{{\"number\":4,")).unwrap();
    act(&start(dir.path(), &clock), "release").unwrap();
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found.starts_with(&format!("{text}damage\n{{\"number\":4,\"before\"")),
        "{found}"
    );
    let bad = verify(dir.path(), None).unwrap_err();
    assert_eq!((bad.line, bad.misfit), (3, Misfit::NoRecord));
}

#[test]
fn retention_says_what_it_removes_and_keeps_the_newest_day() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START_MS));
    let spool = start(dir.path(), &clock);
    let keep = |audit_days| Retention {
        audit_days,
        ..Retention::default()
    };
    for _ in 0..6 {
        act(&spool, "hold").unwrap();
        spool.sweep(&keep(None)).unwrap();
        clock.fetch_add(DAY_MS, Ordering::SeqCst);
    }
    assert_eq!(days(dir.path()).len(), 6);
    for audit_days in [4, 2] {
        spool.sweep(&keep(Some(audit_days))).unwrap();
        // The day on which the sweep has recorded what it does.
        assert_eq!(days(dir.path()).len(), audit_days as usize + 1);
        verify(dir.path(), None).unwrap();
    }
    clock.fetch_add(100 * DAY_MS, Ordering::SeqCst);
    spool.sweep(&keep(Some(1))).unwrap();
    spool.sweep(&keep(Some(1))).unwrap();
    assert_eq!(days(dir.path()).len(), 1);
    act(&spool, "hold").unwrap();
    verify(dir.path(), None).unwrap();
    spool.close_journal();
    act(&start(dir.path(), &clock), "hold").unwrap();
    verify(dir.path(), None).unwrap();
}

/// What the files of a disk in memory have, as one text.
fn lines_of(fs: &CrashFs) -> Vec<String> {
    let files = fs.files().into_iter();
    let files = files.filter(|(path, _)| path.starts_with("audit/"));
    let text: Vec<u8> = files.flat_map(|(_, bytes)| bytes).collect();
    let text = String::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(str::to_owned).collect()
}

fn fits(lines: &[String]) -> u64 {
    let mut chain = crate::store::audit::Chain::new(None);
    for line in lines {
        chain.line(line.as_bytes()).unwrap();
    }
    chain.end().unwrap().records
}

/// Stopped at each call: what was told is in the chain, once, in its order, whatever the disk shows, and the
/// chain goes on. So small a journal that checkpoints come in between.
#[test]
fn no_crash_breaks_the_chain_or_loses_what_was_told() {
    let open = |fs: CrashFs| {
        TestSpool::on(fs)
            .interface("a")
            .ticking()
            .journal_of(16 * 1024)
            .open()
    };
    let acts = |fs: &CrashFs| {
        let mut told = 0;
        if let Ok(spool) = open(fs.clone()) {
            while told < 20 && act(&spool, "hold").is_ok() {
                told += 1;
            }
            spool.close_journal();
        }
        told
    };
    let whole = CrashFs::new();
    assert_eq!(acts(&whole), 20);
    for n in 0..whole.calls() {
        let fs = CrashFs::new();
        fs.stop_at(n);
        let told = acts(&fs);
        let images = IMAGES.iter().map(|image| fs.reboot(*image));
        for fs in images.chain([fs.kill()]) {
            drop(open(fs.clone()).unwrap());
            let first = lines_of(&fs);
            // Begun before it was told, ended before that.
            assert!(
                fits(&first) >= 2 * told,
                "call {n}: {told} acts in {first:?}"
            );
            // Once more, as if the first start had not come to its end.
            drop(open(fs.clone()).unwrap());
            assert_eq!(lines_of(&fs), first, "call {n}");
            act(&open(fs.clone()).unwrap(), "release").unwrap();
            assert_eq!(fits(&lines_of(&fs)), first.len() as u64 + 2, "call {n}");
        }
    }
}

/// One call fails, and the disk is well again.
#[test]
fn a_call_that_fails_leaves_a_chain_that_fits() {
    use rustix::io::Errno;
    for errno in [Errno::NOSPC, Errno::IO] {
        for n in 0.. {
            let fs = CrashFs::new();
            let spool = TestSpool::on(fs.clone())
                .interface("a")
                .ticking()
                .journal_of(16 * 1024);
            let spool = spool.open().unwrap();
            fs.fail_at(n, errno.raw_os_error());
            let told = (0..30).take_while(|_| act(&spool, "hold").is_ok()).count();
            spool.close_journal();
            let is_over = fs.failed_call() == "none";
            let fs = fs.reboot(crate::store::fs::crash_fs::Image::Best);
            drop(
                TestSpool::on(fs.clone())
                    .interface("a")
                    .journal_of(16 * 1024)
                    .open()
                    .unwrap(),
            );
            assert!(
                fits(&lines_of(&fs)) >= 2 * told as u64,
                "call {n} with {errno}"
            );
            if is_over {
                assert_eq!(told, 30);
                break;
            }
        }
    }
}

/// Several at once: one chain.
#[test]
fn acts_at_the_same_time_are_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let spool = TestSpool::on(RealFs::new(dir.path()))
        .journal()
        .open()
        .unwrap();
    spool.start_journal();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| act(&spool, "hold").unwrap()));
        }
    });
    spool.close_journal();
    assert_eq!(verify(dir.path(), None).unwrap().records, 320);
}
