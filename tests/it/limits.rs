//! How much one partner may have and send: 429 with a `Retry-After` that is true, and others are served.

use crate::harness::{Answer, Daemon, day, order};

/// A server where `shop` and `other` may upload, and `keys` are in the table of `shop`.
fn daemon(limits: &str, keys: &str) -> (Daemon, String, String) {
    let mut daemon = Daemon::init();
    daemon.configure(|text| format!("{text}\n[limits]\n{limits}\n[partners.shop]\n{keys}\n"));
    let rights = ["orders_in=upload,list"];
    let (shop, other) = (
        daemon.add_user("shop", &rights),
        daemon.add_user("other", &rights),
    );
    daemon.serve();
    daemon.operator(&["hold", "orders_in"]);
    (daemon, shop, other)
}

/// Uploads a document as a user, with more options for curl.
fn upload(daemon: &Daemon, login: &str, text: &str, options: &[&str]) -> Answer {
    let path = daemon.scratch(&format!("{}.xml", login.replace(':', "-")), text);
    let body = format!("@{}", path.display());
    let mut all = vec!["--data-binary", &body];
    all.extend(options);
    match options.last() {
        Some(path) if path.starts_with('/') => {}
        Some(_) | None => all.push("/xml/upload"),
    }
    daemon.curl_as(login, &all)
}

fn retry_after(refused: &Answer) -> u32 {
    assert_eq!(refused.status, 429, "{}", refused.text());
    refused.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn a_partner_begins_so_many_uploads_a_minute() {
    let limits = "uploads_per_minute_per_user_max = 4";
    let (daemon, shop, other) = daemon(limits, "uploads_per_minute_max = 3");
    let key = ["-H", "Idempotency-Key: 1"];
    let job = upload(&daemon, &shop, &order("1"), &key).job();
    // A repetition costs as much as the upload did, and so does one that only asks.
    assert_eq!(upload(&daemon, &shop, &order("1"), &key).job(), job);
    let asked = upload(&daemon, &shop, &order("1"), &["/xml/validate"]);
    assert_eq!(asked.status, 200, "{}", asked.text());
    let refused = upload(&daemon, &shop, &order("1"), &key);
    let seconds = retry_after(&refused);
    assert!((1..=60).contains(&seconds), "{seconds}");
    let said = format!("you may begin 3 uploads a minute; the next is possible in {seconds} s\n");
    assert_eq!(refused.text(), said);
    // Everything else goes on, and so do the others, each by himself.
    assert_eq!(
        daemon
            .curl_as(&shop, &["/xml/jobqueue?Interfacename=orders_in"])
            .status,
        200
    );
    for _ in 0..3 {
        upload(&daemon, &other, &order("2"), &[]).job();
    }
    assert_eq!(upload(&daemon, &other, "<a>", &[]).status, 400);
    assert!(
        upload(&daemon, &other, &order("2"), &[])
            .text()
            .contains("may begin 4 uploads")
    );
    daemon.upload_text(&order("3"), "").job();
}

#[test]
fn a_partner_sends_so_many_bytes_a_day_whatever_crashes() {
    let document = order("1");
    let n_bytes = document.len();
    let keys = format!("bytes_per_day_max = {}", 2 * n_bytes + 5);
    let (mut daemon, shop, other) = daemon("", &keys);
    let first = upload(&daemon, &shop, &document, &[]).job();
    // What is refused is kept, too.
    assert_eq!(upload(&daemon, &shop, "<a>", &[]).status, 400);
    // What is only asked is not.
    let asked = upload(&daemon, &shop, &document, &["/xml/validate"]);
    assert_eq!(asked.status, 200, "{}", asked.text());
    let last = upload(&daemon, &shop, &document, &[]);
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    let refused = |daemon: &Daemon| {
        let announced = upload(daemon, &shop, "<abc/>", &[]);
        let seconds = retry_after(&announced);
        let said = format!(
            "you may upload {} bytes a day, of which 2 are left; the next day (UTC) begins in \
             {seconds} s\n",
            2 * n_bytes + 5
        );
        assert_eq!(announced.text(), said);
        assert!(seconds <= 86_400);
        // One that does not say how much it has is refused as soon as it has too much.
        retry_after(&upload(daemon, &shop, "<abc/>", &chunked));
        // What fits into no day is too large.
        let huge = upload(daemon, &shop, &document.repeat(3), &[]);
        assert_eq!(huge.status, 413, "{}", huge.text());
        upload(daemon, &other, &document, &[]).job();
    };
    if day(&first) != day(&last.job()) {
        eprintln!("skipped: a day has begun meanwhile");
        return;
    }
    refused(&daemon);
    daemon.kill();
    daemon.serve();
    refused(&daemon);
    let files = daemon.files("tmp");
    assert_eq!(
        files,
        Vec::<String>::new(),
        "of what is refused nothing is left"
    );
}

#[test]
fn a_partner_has_so_many_waiting_jobs() {
    let limits = "queue_jobs_per_user_max = 1";
    let (daemon, shop, other) = daemon(limits, "waiting_jobs_max = 2");
    for _ in 0..2 {
        upload(&daemon, &shop, &order("1"), &[]).job();
    }
    let refused = upload(&daemon, &shop, &order("1"), &[]);
    assert!(retry_after(&refused) > 0);
    assert_eq!(
        refused.text(),
        "you have 2 jobs waiting, and may have 2 at most\n"
    );
    upload(&daemon, &other, &order("1"), &[]).job();
    assert_eq!(upload(&daemon, &other, &order("1"), &[]).status, 429);
}

#[test]
fn limits_of_no_user_are_warned_of() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| text + "\n[partners.shpo]\nbytes_per_day_max = 5\n");
    let said = "it has no user shpo, so the limits of partners.shpo are no one's";
    let checked = daemon.operator(&["check"]);
    assert!(checked.contains(said), "{checked}");
    daemon.serve();
    daemon.wait("a warning at start", || daemon.log().contains(said));
}
