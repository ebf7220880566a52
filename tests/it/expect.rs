//! What is expected from partners: how it stands, and that a running service takes what is written anew.

use crate::harness::{Daemon, order};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::fs;

#[test]
fn what_has_come_for_the_next_deadline_is_shown_and_reload_takes_what_is_expected() {
    let daemon = Daemon::start();
    // Long enough before the window closes, whenever the test runs.
    let later = Timestamp::now() + SignedDuration::from_hours(6);
    let by = TimeZone::UTC
        .to_datetime(later)
        .strftime("%H:%M")
        .to_string();
    let before = fs::read_to_string(daemon.config()).unwrap();
    let expected = format!(
        "{before}\n[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"admin\"\nby = \"{by}\"\n\
         at_least = 2\n[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"shop\"\nby = \"{by}\"\n"
    );
    fs::write(daemon.config(), expected).unwrap();
    let reloaded = daemon.operator(&["reload"]);
    assert!(reloaded.contains("expect"), "{reloaded}");
    let job = daemon.upload_text(&order("1"), "").job();
    daemon.wait_for_place(&job, "bak/orders_in");
    // What is wrong has not come.
    assert_eq!(
        daemon
            .upload_text("<ListOfOrders><wrong/></ListOfOrders>", "")
            .status,
        400
    );
    let all = daemon.objects(&["expect", "ls"]);
    assert_eq!(all.len(), 2);
    let of = |n: usize| {
        (
            &all[n]["submitter"],
            &all[n]["at_least"],
            &all[n]["next"]["documents"],
        )
    };
    assert_eq!(of(0), (&"admin".into(), &2.into(), &1.into()));
    assert_eq!(of(1), (&"shop".into(), &1.into(), &0.into()));
    let next = all[0]["next"]["deadline"].as_str().unwrap();
    assert!(next.contains(&format!("T{by}:00")), "{next}");
    let text = daemon.operator(&["expect", "ls"]);
    assert!(text.contains("2 or more"), "{text}");
    // Nothing was due since there is this interface.
    assert_eq!(all[0]["last"], serde_json::Value::Null);
    assert_eq!(
        daemon.operator(&["expect", "ls", "--missing", "--json"]),
        ""
    );
}
