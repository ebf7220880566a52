//! What is forgotten is gone, also after a crash, and nothing else.

use super::super::{
    Ended,
    crash_fs::{CrashFs, IMAGES},
    testing::{START_MS, TestSpool},
};
use super::*;
use crate::{
    domain::{InterfaceName, Job, JobOptions, Kind, Place, Reference},
    store::{By, Key, NewJob, Settlement},
};
use std::sync::Arc;

fn open(fs: CrashFs) -> Arc<Spool<CrashFs>> {
    let spool = TestSpool::on(fs).interface("a").ticking().journal().open();
    let spool = spool.unwrap();
    spool.recover().unwrap();
    spool
}

fn interface() -> InterfaceName {
    "a".parse().unwrap()
}

fn accept(spool: &Arc<Spool<CrashFs>>, submitter: &str) -> Job {
    let reference = Reference::reduce(&format!("{submitter}-secret"));
    let name = JobName::new(spool.next_id(), reference, Kind::Json);
    let mut part = spool.begin(name.clone()).unwrap();
    part.write(format!("body of {submitter}").as_bytes())
        .unwrap();
    let keyed = Keyed {
        job: name,
        interface: Some(interface()),
        sha256: part.sha256(),
        bytes: part.bytes(),
        refused: false,
    };
    let sealed = part.seal(&NewJob {
        submitter: submitter.into(),
        reference_as_sent: Some(format!("{submitter} secret")),
        options: JobOptions {
            params: Some(format!("{{\"iban\":\"{submitter}\"}}")),
            ..JobOptions::default()
        },
        ..NewJob::default()
    });
    let key = Key::new(submitter, "k");
    let (job, ticket) =
        (spool.enqueue(sealed.unwrap(), &interface(), Some((&key, &keyed)))).unwrap();
    spool.wait(ticket).unwrap();
    spool.arrived(&job.name);
    job
}

fn end(spool: &Arc<Spool<CrashFs>>, job: &Job) {
    let mut claim = spool.claim(&interface(), &job.name).unwrap().unwrap();
    claim.prepare().unwrap();
    let file = spool.fs().create(&claim.run_dir().join("results/r.txt"));
    spool.fs().write(&file.unwrap(), b"made").unwrap();
    claim.check_output().unwrap();
    let log = spool.log_without_run(job, 1, Vec::new());
    claim.settle(Settlement::Done, Some(log)).unwrap();
}

/// One job of each that has ended, and what the service has found of ada.
fn two(fs: &CrashFs) -> (Arc<Spool<CrashFs>>, Job, Job) {
    let spool = open(fs.clone());
    let (of_ada, of_bob) = (accept(&spool, "ada"), accept(&spool, "bob"));
    end(&spool, &of_ada);
    end(&spool, &of_bob);
    (spool, of_ada, of_bob)
}

/// The files, but for the journal, that have this text in their name or content.
fn with(fs: &CrashFs, text: &str) -> Vec<String> {
    let files = fs.files().into_iter();
    let has = |path: &str, bytes: &[u8]| {
        path.contains(text)
            || bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
    };
    let files = files.filter(|(path, bytes)| !path.starts_with("journal/") && has(path, bytes));
    files.map(|(path, _)| path).collect()
}

#[test]
fn nothing_is_left_of_him_and_all_of_the_others() {
    let fs = CrashFs::new();
    let (spool, of_ada, _) = two(&fs);
    let done = Job {
        place: Place::Bak(interface()),
        name: of_ada.name.clone(),
    };
    let ada = By::operator("ada");
    let mut cancelled = Ended::new(&of_ada.name, crate::store::fs::Act::Noted, START_MS).by(&ada);
    cancelled.text = Some("ada says".into());
    let ticket = spool.note_ops(&[Op::Ended(cancelled.into())]);
    spool.wait(ticket).unwrap();
    assert!(spool.accepted_of(&done).unwrap().unwrap().params.is_some());
    let before = with(&fs, "bob");
    let there = spool.traces_of("ada").unwrap();
    let expected = Traces {
        jobs: 1,
        documents: 1,
        logs: 1,
        results: 1,
        keys: 1,
        ..Traces::default()
    };
    assert_eq!(there, expected);
    assert_eq!(spool.forget("ada").unwrap(), expected);
    assert!(with(&fs, "ada").is_empty(), "{:?}", with(&fs, "ada"));
    assert_eq!(with(&fs, "bob"), before);
    // What an auditor needs stays: that there was a job, when, and of which bytes.
    let kept = spool.accepted(&of_ada.name).unwrap().unwrap();
    assert_eq!(kept.job.id(), of_ada.name.id());
    assert!(kept.sha256.is_some() && kept.params.is_none() && kept.submitter.is_empty());
    assert_eq!(spool.traces_of("ada").unwrap(), Traces::default());
    assert_eq!(spool.forget("ada").unwrap(), Traces::default());
    for fs in IMAGES.map(|image| fs.reboot(image)) {
        drop(open(fs.clone()));
        assert!(with(&fs, "ada").is_empty(), "{:?}", with(&fs, "ada"));
    }
}

#[test]
fn nothing_is_done_while_a_job_of_his_waits() {
    let fs = CrashFs::new();
    let (spool, ..) = two(&fs);
    accept(&spool, "ada");
    let before = with(&fs, "ada");
    assert_eq!(spool.forget("ada").unwrap().waiting, 1);
    assert_eq!(with(&fs, "ada"), before);
}

/// Whatever was cut off is done by the next call, and what is not his is there.
#[test]
fn a_stop_at_any_call_can_be_gone_on_with() {
    let calls = {
        let fs = CrashFs::new();
        let (spool, ..) = two(&fs);
        fs.stop_at(usize::MAX);
        spool.forget("ada").unwrap();
        fs.calls()
    };
    for n in 0..calls {
        let fs = CrashFs::new();
        let (spool, _, of_bob) = two(&fs);
        fs.stop_at(n);
        assert!(spool.forget("ada").is_err() || fs.calls() <= n, "call {n}");
        for fs in IMAGES
            .map(|image| fs.reboot(image))
            .into_iter()
            .chain([fs.kill()])
        {
            let spool = open(fs.clone());
            spool.forget("ada").unwrap();
            let left = with(&fs, "ada");
            assert!(left.is_empty(), "call {n}: {left:?}");
            let place = spool.find(&of_bob.name).unwrap();
            assert_eq!(place, Some(Place::Bak(interface())), "call {n}");
            assert!(spool.accepted(&of_bob.name).unwrap().is_some(), "call {n}");
        }
    }
}
