//! How large the segments become.

use super::*;
use crate::{
    domain::{InterfaceName, JobName, Kind},
    store::{
        NewJob,
        fs::{
            RealFs,
            faults::{Faults, Plan, Site},
            testing::TestSpool,
        },
    },
};
use rustix::io::Errno;

const AT_FIRST: u64 = 128 * 1024;
const MOST: u64 = 512 * 1024;

fn open(root: &Path) -> Arc<Spool<RealFs>> {
    let spool = TestSpool::at(root).interface("a").journal_of(MOST);
    spool.ticking().open().unwrap()
}

/// Accepts documents of about so many bytes together.
fn accept(spool: &Arc<Spool<RealFs>>, n_bytes: u64) {
    let to: InterfaceName = "a".parse().unwrap();
    let document = vec![b'x'; 16 * 1024];
    for _ in 0..n_bytes / document.len() as u64 {
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let mut part = spool.begin(name).unwrap();
        part.write(&document).unwrap();
        let sealed = part.seal(&NewJob::default()).unwrap();
        let (_, ticket) = spool.enqueue(sealed, &to, None).unwrap();
        spool.wait(ticket).unwrap();
    }
}

fn sizes(root: &Path) -> [u64; 2] {
    ["journal/0.log", "journal/1.log"].map(|path| root.join(path).metadata().unwrap().len())
}

#[test]
fn segments_grow_while_the_next_one_is_not_covered_and_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for _ in 0..20 {
        accept(&spool, 64 * 1024);
        spool.cover().unwrap();
    }
    assert_eq!(sizes(dir.path()), [AT_FIRST; 2], "all was covered in time");
    // No thread covers anything before it has to be.
    accept(&spool, 4 * MOST);
    assert_eq!(sizes(dir.path()), [MOST; 2]);
    spool.close_journal();
    drop(spool);
    let spool = open(dir.path());
    assert_eq!(sizes(dir.path()), [MOST; 2], "what is needed once is kept");
    accept(&spool, MOST);
    assert_eq!(spool.unhealthy(), None);
}

#[test]
fn segments_of_two_sizes_grow_alike_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.close_journal();
    drop(spool);
    // A crash came between the two.
    let path = dir.path().join("journal/0.log");
    let segment = std::fs::File::options().write(true).open(path);
    segment.unwrap().set_len(300_000).unwrap();
    let spool = open(dir.path());
    accept(&spool, 4 * MOST);
    assert_eq!(sizes(dir.path()), [MOST; 2]);
}

/// What fits into no segment is refused before it is recorded; all else goes on in the segments as they are.
#[test]
fn a_full_disk_fails_only_what_needs_more_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faults::of(dir.path());
    let spool = open(dir.path());
    let fail_once = || {
        disk.plan(Plan {
            site: Site {
                op: "lengthen",
                path: "journal/#.log".to_owned(),
            },
            errno: Errno::NOSPC,
            lasting: None,
        });
    };
    let put = |n: usize| Op::Put {
        path: format!("idem/2026-11-22/{n}.json"),
        bytes: vec![b'x'; 60 * 1024].into(),
    };
    let large: Vec<Op> = (0..3).map(put).collect();
    fail_once();
    let last = spool.latest();
    let refused = spool.record(&large, || Ok(())).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(spool.latest(), last, "nothing is recorded");
    accept(&spool, 64 * 1024);
    assert_eq!(sizes(dir.path()), [AT_FIRST; 2]);
    fail_once();
    // What comes waits for a checkpoint instead.
    accept(&spool, MOST);
    assert_eq!((disk.heal(), spool.unhealthy()), (2, None));
    let (_, ticket) = spool.record(&large, || Ok(())).unwrap();
    spool.wait(ticket).unwrap();
}
