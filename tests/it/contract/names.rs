//! Job names: of uploads and of files that someone dropped into a queue.

use super::{held, wait_for_empty_tmp, with_command};
use crate::harness::{Daemon, order};
use std::{collections::BTreeSet, fs};

/// `20261122T045748.123Z-00042[-reference].xml`; gives the reference.
fn reference_of(job: &str) -> &str {
    let pattern = "dddddddd\u{0}dddddd\u{0}ddd\u{0}\u{0}ddddd";
    let fixed = ["T", ".", "Z", "-"];
    let mut fixed = fixed.iter();
    assert!(job.is_ascii() && job.len() <= 200, "{job}");
    for (at, expected) in pattern.chars().enumerate() {
        let found = &job[at..=at];
        if expected == 'd' {
            assert!(found.as_bytes()[0].is_ascii_digit(), "{job}");
        } else {
            assert_eq!(found, *fixed.next().unwrap(), "{job}");
        }
    }
    let rest = job[pattern.chars().count()..].strip_suffix(".xml").unwrap();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    assert!(rest.bytes().all(allowed), "{job}");
    rest.strip_prefix('-').unwrap_or_default()
}

#[test]
fn names_are_unique_across_interfaces_and_rise() {
    let daemon = Daemon::start();
    let items = std::fs::read_to_string(crate::harness::document("items_in/change.valid.xml"));
    let items = items.unwrap();
    let uploaded = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (daemon, items) = (&daemon, &items);
                scope.spawn(move || {
                    let upload = |n: usize| match n % 2 {
                        0 => daemon.upload_text(items, "").job(),
                        _ => daemon.upload_text(&order("1"), "").job(),
                    };
                    [upload(n), upload(n + 1)]
                })
            })
            .collect();
        let jobs = threads.into_iter().map(|thread| thread.join().unwrap());
        jobs.collect::<Vec<_>>()
    });
    for [earlier, later] in &uploaded {
        assert!(earlier < later);
        assert_eq!(reference_of(earlier), "");
    }
    let distinct: BTreeSet<&String> = uploaded.iter().flatten().collect();
    assert_eq!(distinct.len(), 16);
}

#[test]
fn a_reference_is_reduced_to_the_alphabet() {
    let daemon = Daemon::start();
    held(&daemon, "orders_in");
    let long = "x".repeat(500);
    for given in [
        "..%2F..%2Fetc%2Fpasswd",
        "%C3%BCml%C3%A4ut%C3%9F",
        "%00%0d%0a%1b",
        "%3Cb%3E%26%22%27",
        "a%20b+c",
        ".hidden",
        "-",
        "..",
        &long,
        "",
    ] {
        let job = daemon
            .upload_text(&order("1"), &format!("?RefName={given}"))
            .job();
        let reference = reference_of(&job);
        assert!(reference.len() <= 64, "{given}: {job}");
        assert!(
            !reference.contains('/') && !reference.contains(' '),
            "{job}"
        );
        assert_eq!(daemon.place(&job), "queue/orders_in", "{given}");
        assert!(daemon.has(&format!("queue/orders_in/{job}")));
    }
    let job = daemon
        .upload_text(&order("1"), "?RefName=Order_1.2-a")
        .job();
    assert_eq!(reference_of(&job), "Order_1.2-a");
    let job = daemon
        .upload_text(&order("1"), &format!("?RefName={long}"))
        .job();
    assert_eq!(reference_of(&job), "x".repeat(64));
    wait_for_empty_tmp(&daemon);
}

#[test]
fn a_reference_is_written_in_ascii_and_kept_as_it_was_sent() {
    let daemon = Daemon::start_with(|text| with_command(&text, "orders_in", "exit 0"));
    for (given, expected) in [
        ("Gr%C3%B6%C3%9Fe%201", "Groesse-1"),
        ("%E6%BC%A2%E5%AD%97", "Han-Zi"),
        ("x.xml", "x"),
        ("c.XML", "c"),
        (".xml", ""),
    ] {
        let query = format!("?RefName={given}");
        let job = daemon.upload_text(&order("1"), &query).job();
        assert_eq!(reference_of(&job), expected);
    }
    let sent = "RefName as sent: Gr\u{f6}\u{df}e 1".to_owned();
    let query = "?RefName=Gr%C3%B6%C3%9Fe%201";
    let done = daemon.upload_text(&order("1"), query).job();
    daemon.wait_for_place(&done, "bak/orders_in");
    assert!(daemon.messages(&done).contains(&sent));
    let refused = daemon.upload_text("<ListOfOrders/>", query);
    let refused = refused.header("x-job-name").unwrap().to_owned();
    assert_eq!(daemon.messages(&refused)[0], sent);
    // What the name says is not said again.
    let plain = daemon.upload_text(&order("1"), "?RefName=x").job();
    daemon.wait_for_place(&plain, "bak/orders_in");
    assert!(
        !daemon
            .messages(&plain)
            .iter()
            .any(|said| said.contains("as sent"))
    );
    // A dropped file's name is a reference, too.
    let job = daemon.drop_in("orders_out", "M\u{fc}ller 7.XML", order("1"));
    assert_eq!(reference_of(&job), "Mueller-7");
}

#[test]
fn a_dropped_file_is_taken_in_under_a_name_of_its_own() {
    let daemon = Daemon::start();
    let job = daemon.drop_in("orders_out", "order-10834.xml", order("10834"));
    assert_eq!(reference_of(&job), "order-10834");
    let stored = daemon.operator(&["cat", &job]);
    assert_eq!(stored, order("10834"));
    assert_eq!(daemon.queue("orders_out"), [job.as_str()]);

    for odd in ["<b>\u{1b}[1m&.xml", "Stra\u{df}e 7.xml", "no-extension"] {
        let job = daemon.drop_in("orders_out", odd, order("1"));
        assert!(reference_of(&job).len() <= 64, "{odd}: {job}");
        let shown = daemon.operator(&["status", &job]);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
    assert_eq!(daemon.queue("orders_out").len(), 4);
    assert!(!daemon.log().contains('\u{1b}'));
}

#[test]
fn a_dropped_file_is_left_alone_until_it_is_complete() {
    use std::io::Write as _;
    let daemon = Daemon::start();
    let path = daemon.spool("queue/orders_out/slow.xml");
    let mut slow = fs::File::create(&path).unwrap();
    slow.write_all(b"<ListOf").unwrap();
    fs::create_dir(daemon.spool("queue/orders_out/directory.xml")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", daemon.spool("queue/orders_out/link.xml")).unwrap();
    // A later one that is complete overtakes it: the scan has seen both.
    let other = daemon.drop_in("orders_out", "other.xml", order("1"));
    assert_eq!(daemon.queue("orders_out"), [other.as_str()]);
    assert!(path.exists());
    slow.write_all(b"Orders/>").unwrap();
    drop(slow);
    daemon.wait("it is taken in once closed", || {
        daemon.queue("orders_out").len() == 2
    });
    let jobs = daemon.queue("orders_out");
    let slow = jobs.iter().find(|job| reference_of(job) == "slow").unwrap();
    assert_eq!(daemon.operator(&["cat", slow]), "<ListOfOrders/>");
    assert!(daemon.spool("queue/orders_out/link.xml").is_symlink());
    assert!(daemon.spool("queue/orders_out/directory.xml").is_dir());
}
