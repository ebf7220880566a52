//! A disk that fills up under the real server: uploads are refused before their body is sent,
//! running jobs finish from the reserve, and all goes on by itself when there is space again.
//!
//! The disk is an ext4 in a loop-mounted file; where that cannot be had, it says so and is skipped.

use crate::{
    harness::{Daemon, has_job_files, order, shell, with_keys},
    power::{
        hindrance,
        image::{Image, Kind},
    },
};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// What uploads have to leave.
const RESERVE: u64 = 32 * MIB;

/// Takes space until `left` bytes are free to everyone.
fn fill(dir: &Path, name: &str, left: u64) {
    let stat = rustix::fs::statvfs(dir).unwrap();
    let bytes = (stat.f_bavail * stat.f_frsize).checked_sub(left).unwrap();
    let file = File::create_new(dir.join(name)).unwrap();
    let mode = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&file, mode, 0, bytes).unwrap();
}

/// Takes all space there is, down to what only root may have.
fn fill_up(dir: &Path, name: &str) {
    let mut file = File::create_new(dir.join(name)).unwrap();
    for piece in [vec![0; MIB as usize], vec![0; 4096], vec![0; 1]] {
        while file.write_all(&piece).is_ok() {}
    }
    file.sync_all().unwrap();
    assert!(
        File::create_new(dir.join(format!("{name}-more")))
            .and_then(|mut more| more.write_all(b"x"))
            .is_err()
    );
}

#[test]
fn uploads_are_refused_jobs_finish_and_all_goes_on_by_itself() {
    if !has_job_files() {
        return;
    }
    if let Some(reason) = hindrance(Kind::Ext4) {
        let _ = writeln!(std::io::stderr(), "full disk: skipped: {reason}");
        return;
    }
    let dir = TempDir::new().unwrap();
    let image = Image::new(Kind::Ext4, dir.path()).unwrap();
    let (disk, spool) = (image.path(), image.path().join("spool"));
    // Each job waits for a gate of its own, then makes a result. One has said much until then, which its log is to hold.
    let script = r#"
        [ "$SPOOLGATE_REF" != late ] || head -c 500000 /dev/zero | tr '\0' x | fold -w 100
        touch "said-$SPOOLGATE_REF"
        while [ -e "gate-$SPOOLGATE_REF" ]; do sleep 0.02; done
        [ "$SPOOLGATE_REF" = late ] || head -c 1000000 /dev/zero > "$SPOOLGATE_RESULTS/made"
        echo "$SPOOLGATE_REF" >> runs"#;
    let keys = format!("{}\nconcurrency = 2", shell(script, ""));
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        let limits = format!("[limits]\nfree_bytes_min = {RESERVE}\n");
        let text = match text.contains("[limits]") {
            true => text.replace("[limits]\n", &limits),
            false => format!("{limits}\n{text}"),
        };
        with_keys(&text, "orders_in", &keys)
    });
    daemon.move_spool(&spool);
    daemon.serve();
    let gate = |name: &str| daemon.dir().join(format!("gate-{name}"));
    let send = |name: &str| {
        fs::write(gate(name), "").unwrap();
        let query = format!("?RefName={name}");
        let job = daemon.upload_text(&order(name), &query).job();
        let said = daemon.dir().join(format!("said-{name}"));
        daemon.wait("the job runs", || said.exists());
        job
    };
    let (early, late) = (send("early"), send("late"));

    // The reserve is touched: no more uploads, and none that sends its body in vain.
    fill(disk, "filler", RESERVE / 2);
    let big = daemon.scratch("big.xml", order(&"x".repeat(2 * MIB as usize)));
    let body = format!("@{}", big.display());
    let refused = daemon.curl(&[
        "--http1.1",
        "--header",
        "Expect: 100-continue",
        "--expect100-timeout",
        "30",
        "--data-binary",
        &body,
        "--write-out",
        "sent %{size_upload}",
        "/xml/upload",
    ]);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().ends_with("sent 0"), "{}", refused.text());
    assert_eq!(daemon.queue("orders_in").len(), 2, "nothing came of it");

    // What runs finishes, with its result.
    fs::remove_file(gate("early")).unwrap();
    daemon.wait_for_place(&early, "bak/orders_in");
    let made = format!("results/{}/{early}/made", crate::harness::day(&early));
    assert_eq!(fs::metadata(spool.join(made)).unwrap().len(), 1_000_000);

    // Not a byte is left: what ends now waits for space, and loses nothing.
    fill_up(disk, "filler-2");
    fs::remove_file(gate("late")).unwrap();
    daemon.wait("the end of the job finds no space", || {
        daemon.text("runs").contains("late") && daemon.log().contains("disk full")
    });
    assert_eq!(daemon.place(&late), "queue/orders_in");
    assert_eq!(daemon.upload_text(&order("no"), "").status, 503);

    // Space comes back; no one has to do anything.
    fs::remove_file(disk.join("filler-2")).unwrap();
    fs::remove_file(disk.join("filler")).unwrap();
    daemon.wait_for_place(&late, "bak/orders_in");
    let next = send("next");
    fs::remove_file(gate("next")).unwrap();
    daemon.wait_for_place(&next, "bak/orders_in");
    assert_eq!(daemon.text("runs"), "early\nlate\nnext\n", "each ran once");
    daemon.stop();
    drop(image);
}
