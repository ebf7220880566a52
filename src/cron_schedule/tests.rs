//! Which moments a schedule has and which are due, by a clock that the tests set; and what its
//! files say.

use super::*;
use crate::{cron_schedule::cron::Changes, domain::settings};
use jiff::SignedDuration;
use proptest::{prelude::*, sample::select};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seconds(s: i64) -> SignedDuration {
    SignedDuration::from_secs(s)
}

fn job(n: u64) -> JobName {
    format!("20261125T080000.000Z-{n:05}.json").parse().unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Of a schedule that is made on a Wednesday at noon UTC.
const NOW: &str = "2026-11-25T12:00:00Z";

fn plan(spec: ScheduleSpec) -> Plan {
    spec.plan(at(NOW), &Zone::UTC, Changes::Once).unwrap()
}

fn mistake(spec: ScheduleSpec) -> (Member, String) {
    let mistake = spec
        .plan(at(NOW), &Zone::UTC, Changes::Once)
        .expect_err("there is a mistake");
    (mistake.member, mistake.to_string())
}

fn every(quartz: &str) -> ScheduleSpec {
    ScheduleSpec {
        quartz: some(quartz),
        ..ScheduleSpec::default()
    }
}

/// The moments that get a job when the service is there all the time.
fn moments(plan: &Plan, n: usize) -> Vec<String> {
    let mut progress = Progress::default();
    let mut found = Vec::new();
    while found.len() < n
        && let Some(next) = plan.next(at(NOW), &progress)
    {
        let due = plan.due(at(NOW), &progress, next, at(NOW), Missed::Once);
        assert_eq!(due, Due::Run(next));
        progress = progress.ran(next, job(1));
        found.push(next.to_string());
    }
    found
}

#[test]
fn a_schedule_runs_at_each_moment_of_its_expression() {
    assert_eq!(
        moments(&plan(every("0 6 6 ? * FR")), 2),
        ["2026-11-27T06:06:00Z", "2026-12-04T06:06:00Z"]
    );
    // Not at the moment itself at which it is made.
    assert_eq!(
        moments(&plan(every("0 0 12 * * ?")), 1),
        ["2026-11-26T12:00:00Z"]
    );
    let once = ScheduleSpec {
        run_once: true,
        ..every("0 0 12 * * ?")
    };
    assert_eq!(moments(&plan(once), 9), ["2026-11-26T12:00:00Z"]);
    let immediately = ScheduleSpec {
        run_immediately: true,
        ..every("0 0 12 * * ?")
    };
    assert_eq!(
        moments(&plan(immediately), 2),
        [NOW, "2026-11-26T12:00:00Z"]
    );
    let only_now = ScheduleSpec {
        run_once: true,
        run_immediately: true,
        ..ScheduleSpec::default()
    };
    assert_eq!(moments(&plan(only_now.clone()), 9), [NOW]);
    let not_once = ScheduleSpec {
        run_once: false,
        ..only_now
    };
    assert_eq!(moments(&plan(not_once), 9), [NOW]);
}

#[test]
fn start_and_end_count_themselves() {
    let span = ScheduleSpec {
        start: some("2026-12-01 12:00:00"),
        end: some("2026-12-03 12:00:00"),
        ..every("0 0 12 * * ?")
    };
    let three = [
        "2026-12-01T12:00:00Z",
        "2026-12-02T12:00:00Z",
        "2026-12-03T12:00:00Z",
    ];
    assert_eq!(moments(&plan(span.clone()), 9), three);
    let in_a_zone = ScheduleSpec {
        time_zone: some("europe/berlin"),
        ..span.clone()
    };
    let at_eleven = three.map(|moment| moment.replace("T12", "T11"));
    assert_eq!(moments(&plan(in_a_zone), 9), at_eleven);
    let immediately = ScheduleSpec {
        run_immediately: true,
        start: some("2026-12-01 12:00:01"),
        ..span.clone()
    };
    assert_eq!(
        moments(&plan(immediately), 9),
        ["2026-12-01T12:00:01Z", three[1], three[2]]
    );
    let start_alone = ScheduleSpec {
        quartz: None,
        ..span.clone()
    };
    assert_eq!(moments(&plan(start_alone), 9), three[..1]);
    // A start that has passed changes nothing.
    let started = ScheduleSpec {
        start: some("2020-01-01 00:00:00"),
        end: None,
        ..span
    };
    assert_eq!(moments(&plan(started), 1), ["2026-11-26T12:00:00Z"]);
}

#[test]
fn the_configured_zone_is_the_usual_one() {
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    let plan = every("0 0 12 * * ?")
        .plan(at(NOW), &berlin, Changes::Once)
        .unwrap();
    assert_eq!(moments(&plan, 1), ["2026-11-26T11:00:00Z"]);
    assert_eq!(plan.time_zone.to_string(), "Europe/Berlin");
}

#[test]
fn mistakes_name_their_member() {
    let noon = || every("0 0 12 * * ?");
    let (member, text) = mistake(every("0 0 12 ? * FRY"));
    assert_eq!(member, Member::QuartzDef);
    assert!(text.contains("day of week, character 12"), "{text}");
    for odd in [
        "2026-12-01",
        "2026-12-01T12:00:00",
        "2026-12-01 12:00",
        "2026-13-01 12:00:00",
        "2026-02-30 12:00:00",
        "2026-12-01 24:00:00",
        " 026-12-01 12:00:00",
        "",
    ] {
        let spec = ScheduleSpec {
            start: some(odd),
            ..noon()
        };
        assert_eq!(mistake(spec).0, Member::StartDate, "{odd:?}");
        let spec = ScheduleSpec {
            end: some(odd),
            ..noon()
        };
        assert_eq!(mistake(spec).0, Member::EndDate, "{odd:?}");
    }
    for (odd, place) in [
        (
            "2026-12-1 12:00:00",
            "character 10: write yyyy-MM-dd HH:mm:ss",
        ),
        ("2026-12-01 12:00:00Z", "character 20: write"),
        ("2026-12-01", "character 11: write"),
        ("2026-13-01 12:00:00", "character 6: 13 is not within 1-12"),
        ("2026-11-31 12:00:00", "character 9: 31 is not within 1-30"),
        ("2026-12-01 24:00:00", "character 12: 24 is not within 0-23"),
        ("2026-12-01 12:00:60", "character 18: 60 is not within 0-59"),
    ] {
        let spec = ScheduleSpec {
            start: some(odd),
            ..noon()
        };
        let (_, text) = mistake(spec);
        assert!(text.starts_with(&format!("startDate: {place}")), "{text}");
    }
    for odd in ["", "Berlin", "+01:00", "Europe/Atlantis"] {
        let spec = ScheduleSpec {
            time_zone: some(odd),
            ..noon()
        };
        assert_eq!(mistake(spec).0, Member::TimeZone, "{odd:?}");
    }
    let before = ScheduleSpec {
        start: some("2026-12-02 12:00:00"),
        end: some("2026-12-02 11:59:59"),
        ..noon()
    };
    assert!(mistake(before).1.contains("endDate: is before startDate"));
    let passed = ScheduleSpec {
        end: some("2026-11-25 11:59:59"),
        ..noon()
    };
    assert!(mistake(passed).1.contains("endDate: has passed"));
    let between = ScheduleSpec {
        end: some("2026-11-26 11:59:59"),
        ..noon()
    };
    assert!(
        mistake(between)
            .1
            .contains("endDate: comes before the first moment")
    );
    assert_eq!(mistake(every("0 0 12 30 2 ?")).0, Member::QuartzDef);
    assert_eq!(mistake(ScheduleSpec::default()).0, Member::QuartzDef);
    let once = ScheduleSpec {
        run_once: true,
        ..ScheduleSpec::default()
    };
    assert_eq!(mistake(once).0, Member::QuartzDef);
    let started = ScheduleSpec {
        start: some("2026-11-25 12:00:00"),
        ..ScheduleSpec::default()
    };
    assert_eq!(mistake(started).0, Member::StartDate);
}

/// The jobs of a service that looks at these moments and has been up since `since`.
fn jobs(
    plan: &Plan,
    progress: &mut Progress,
    looks: &[&str],
    since: &str,
    missed: Missed,
) -> Vec<String> {
    let mut made = Vec::new();
    for now in looks {
        loop {
            match plan.due(at(NOW), progress, at(now), at(since), missed) {
                Due::Later(next) => {
                    assert!(next.is_none_or(|next| next > at(now)));
                    break;
                }
                Due::Run(moment) => {
                    *progress = progress.ran(moment, job(made.len() as u64));
                    made.push(moment.strftime("%H:%M:%S").to_string());
                }
                Due::Skip(through) => *progress = progress.skipped(through),
            }
        }
    }
    made
}

#[test]
fn what_was_missed_runs_by_the_policy() {
    let plan = plan(every("0/10 * * * * ?"));
    let (since, look) = ("2026-11-25T12:01:05Z", "2026-11-25T12:01:10.2Z");
    let made = |missed| jobs(&plan, &mut Progress::default(), &[look], since, missed);
    assert_eq!(made(Missed::Once), ["12:01:00", "12:01:10"]);
    assert_eq!(made(Missed::Skip), ["12:01:10"]);
    assert_eq!(
        made(Missed::Each),
        [
            "12:00:10", "12:00:20", "12:00:30", "12:00:40", "12:00:50", "12:01:00", "12:01:10"
        ]
    );
    // A service that is there, and only slow, leaves nothing out.
    let all = jobs(&plan, &mut Progress::default(), &[look], NOW, Missed::Skip);
    assert_eq!(
        all,
        [
            "12:00:20", "12:00:30", "12:00:40", "12:00:50", "12:01:00", "12:01:10"
        ][..]
    );
}

#[test]
fn of_very_many_missed_moments_the_last_get_their_jobs() {
    let plan = plan(every("0/10 * * * * ?"));
    let due = |progress: &Progress, since: &str| {
        plan.due(at(NOW), progress, at(since), at(since), Missed::Each)
    };
    let mut progress = Progress::default();
    // The one of this moment itself is not missed.
    let most = due(&progress, "2026-11-25T14:46:50Z");
    assert_eq!(most, Due::Run(at("2026-11-25T12:00:10Z")));
    let since = "2026-11-26T02:00:00Z";
    let more = due(&progress, since);
    assert_eq!(more, Due::Skip(at("2026-11-25T23:13:10Z")));
    progress = progress.skipped(at("2026-11-25T23:13:10Z"));
    let first = due(&progress, since);
    assert_eq!(first, Due::Run(at("2026-11-25T23:13:20Z")));
}

#[test]
fn one_moment_that_was_missed_is_not_folded_with_those_that_were_not() {
    let plan = plan(every("0 0 * * * ?"));
    let looks = [
        "2026-11-25T15:30:00Z",
        "2026-11-25T16:00:00Z",
        "2026-11-25T17:00:00.5Z",
    ];
    let made = jobs(
        &plan,
        &mut Progress::default(),
        &looks,
        looks[0],
        Missed::Once,
    );
    assert_eq!(made, ["15:00:00", "16:00:00", "17:00:00"]);
}

#[test]
fn what_was_to_run_at_once_runs_whatever_was_missed() {
    let spec = ScheduleSpec {
        run_immediately: true,
        ..every("0 0 * * * ?")
    };
    let plan = plan(spec);
    let look = "2026-11-25T15:30:00Z";
    for (missed, expected) in [
        (Missed::Skip, &["12:00:00"][..]),
        (Missed::Once, &["12:00:00", "15:00:00"]),
        (
            Missed::Each,
            &["12:00:00", "13:00:00", "14:00:00", "15:00:00"],
        ),
    ] {
        let made = jobs(&plan, &mut Progress::default(), &[look], look, missed);
        assert_eq!(made, expected, "{missed:?}");
    }
}

#[test]
fn nothing_runs_after_the_end() {
    let spec = ScheduleSpec {
        end: some("2026-11-25 14:00:00"),
        ..every("0 0 * * * ?")
    };
    let plan = plan(spec);
    let look = "2026-11-25T15:30:00Z";
    for missed in [Missed::Each, Missed::Once, Missed::Skip] {
        let mut progress = Progress::default();
        assert_eq!(
            jobs(&plan, &mut progress, &[look], look, missed),
            [""; 0],
            "{missed:?}"
        );
        assert_eq!(plan.next(at(NOW), &progress), None);
    }
    // Its last moment, a moment too late.
    let look = "2026-11-25T14:00:00.3Z";
    let made = jobs(
        &plan,
        &mut Progress::default(),
        &[look],
        "2026-11-25T13:30:00Z",
        Missed::Skip,
    );
    assert_eq!(made, ["14:00:00"]);
}

#[test]
fn steps_of_the_clock_double_nothing() {
    let plan = plan(every("0 0/10 * * * ?"));
    let mut progress = Progress::default();
    // Set back by half an hour after a run, and then forward by two hours.
    let looks = [
        "2026-11-25T12:10:00Z",
        "2026-11-25T12:30:00Z",
        "2026-11-25T12:00:00Z",
        "2026-11-25T12:10:00Z",
        "2026-11-25T12:40:00Z",
        "2026-11-25T14:42:00Z",
        "2026-11-25T14:50:00Z",
    ];
    let made = jobs(
        &plan,
        &mut progress,
        &looks,
        "2026-11-25T12:05:00Z",
        Missed::Once,
    );
    // 12:20 was passed over by a jump of the clock, as most between 12:40 and 14:40.
    assert_eq!(
        made,
        [
            "12:10:00", "12:20:00", "12:30:00", "12:40:00", "14:40:00", "14:50:00"
        ]
    );
    // A service that was started when the clock was ahead.
    let ahead = "2026-11-25T20:00:00Z";
    let looks = ["2026-11-25T15:00:00Z", "2026-11-25T15:10:00Z"];
    let made = jobs(&plan, &mut progress, &looks, ahead, Missed::Skip);
    assert_eq!(made, ["15:00:00", "15:10:00"]);
}

#[test]
fn ids_read_back() {
    let id = ScheduleId::new(job(42).id());
    assert_eq!(id.to_string(), "20261125T080000.000Z-00042");
    assert_eq!(id.to_string().parse(), Ok(id));
    for odd in [
        "",
        "x",
        "20261125T080000.000Z-00042-a",
        "20261125T080000.000Z-00042.json",
        ".fired",
    ] {
        assert!(odd.parse::<ScheduleId>().is_err(), "{odd}");
    }
}

fn schedule() -> Schedule {
    let spec = ScheduleSpec {
        start: some("2026-12-01 12:00:00"),
        time_zone: some("Europe/Berlin"),
        ..every("0 6 6 ? * FR")
    };
    Schedule {
        interface: "orders_in".parse().unwrap(),
        submitter: "ada".into(),
        dialect: "robusta".into(),
        created: at("2026-11-25T12:00:00.123Z"),
        plan: plan(spec),
        priority: Priority::High,
        worker: Some("robot 1".parse().unwrap()),
        retries: Some(2),
        document: "{\n \"name\": \"ä\\u0000\"}\n".into(),
    }
}

#[test]
fn what_follows_the_next_moment_is_foreseen() {
    let every_friday = schedule();
    let progress = Progress::default();
    let first = every_friday.next(&progress).unwrap();
    assert_eq!(first, at("2026-12-04T05:06:00Z"));
    let second = every_friday.next_after(&progress, first);
    assert_eq!(second, Some(at("2026-12-11T05:06:00Z")));
    // What runs immediately does so once.
    let mut once = every_friday;
    once.plan.run_immediately = true;
    let first = once.next(&progress).unwrap();
    assert_eq!(first, at("2026-12-01T11:00:00Z"));
    let second = once.next_after(&progress, first);
    assert_eq!(second, Some(at("2026-12-04T05:06:00Z")));
    once.plan.run_once = true;
    assert_eq!(once.next_after(&progress, first), None);
}

#[test]
fn files_read_back() {
    let whole = schedule();
    assert_eq!(Schedule::from_json(&whole.to_json()).unwrap(), whole);
    let least = Schedule {
        priority: Priority::default(),
        worker: None,
        retries: None,
        plan: plan(ScheduleSpec {
            run_immediately: true,
            ..ScheduleSpec::default()
        }),
        ..whole
    };
    assert_eq!(Schedule::from_json(&least.to_json()).unwrap(), least);
    let progress = Progress::default().ran(at(NOW), job(3));
    let read = Progress::from_json(&progress.to_json());
    assert_eq!(read.unwrap(), progress);
}

#[test]
fn an_edited_file_says_what_is_wrong_with_it() {
    let text = String::from_utf8(schedule().to_json()).unwrap();
    for (from, to, word) in [
        ("? * FR", "* * FR", "day of week, character 11"),
        ("Europe/Berlin", "Europe/Atlantis", "not a time zone"),
        ("\"start\"", "\"begin\"", "unknown field `begin`"),
        ("High", "Highest", "use Critical"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        let error = Schedule::from_json(edited.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let quartz = select(vec![
        Some("* * * * * ?"),
        Some("0/7 * * * * ?"),
        Some("0 0/5 * * * ?"),
        Some("0 0 12 ? * FR"),
        Some("0 30 2 * * ?"),
        Some("0 0 0 L * ?"),
        None,
    ]);
    let zone = select(vec![
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
    ]);
    let span_s = proptest::option::of(-5000..500_000_i64);
    let changes = select(vec![Changes::Once, Changes::Wall]);
    (
        quartz,
        (zone, changes),
        span_s.clone(),
        span_s,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(quartz, (zone, clock_changes), start_s, length_s, run_once, run_immediately)| {
                let start = start_s.map(|s| at(NOW) + seconds(s));
                Plan {
                    quartz: quartz.map(|text| text.parse().unwrap()),
                    time_zone: zone.parse().unwrap(),
                    clock_changes,
                    start,
                    end: length_s.map(|s| start.unwrap_or(at(NOW)) + seconds(s)),
                    run_once,
                    run_immediately,
                }
            },
        )
}

proptest! {
    #![proptest_config(settings())]

    /// Whatever the clock does, jobs come in order, one for a moment, within the bounds; and a look
    /// ends.
    #[test]
    fn moments_rise(
        plan in any_plan(),
        steps in proptest::collection::vec((-4000..90_000_i64, any::<bool>()), 1..8),
        missed in select(vec![Missed::Each, Missed::Once, Missed::Skip]),
    ) {
        let mut progress = Progress::default();
        let (mut now, mut since) = (at(NOW), at(NOW));
        for (step_s, restarts) in steps {
            now += seconds(step_s);
            if restarts {
                since = now;
            }
            for _ in 0..200 {
                match plan.due(at(NOW), &progress, now, since, missed) {
                    Due::Later(next) => {
                        prop_assert!(next.is_none_or(|next| next > now));
                        prop_assert_eq!(next, plan.next(at(NOW), &progress));
                        break;
                    }
                    Due::Run(moment) => {
                        prop_assert!(moment <= now && moment >= at(NOW));
                        prop_assert!(plan.start.is_none_or(|start| moment >= start));
                        let is_now = plan.run_immediately && progress.runs == 0;
                        prop_assert!(is_now || progress.through < Some(moment));
                        prop_assert!(is_now || plan.end.is_none_or(|end| moment <= end));
                        prop_assert!(!plan.run_once || progress.runs == 0);
                        progress = progress.ran(moment, job(1));
                    }
                    Due::Skip(through) => {
                        prop_assert!(through <= now && progress.through < Some(through));
                        progress = progress.skipped(through);
                    }
                }
            }
        }
    }
}
