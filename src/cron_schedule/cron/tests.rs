//! What expressions mean, by example: the contract's, Quartz's, and where clocks change.

use super::*;

fn cron(text: &str) -> Cron {
    Cron::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The first moments after `after`, as civil times with their offset.
fn moments(text: &str, after: &str, zone_name: &str, n: usize) -> Vec<String> {
    moments_by(Changes::Once, text, after, zone_name, n)
}

fn moments_by(changes: Changes, text: &str, after: &str, zone_name: &str, n: usize) -> Vec<String> {
    let (cron, zone) = (cron(text), zone(zone_name));
    let mut at: Timestamp = after.parse().unwrap();
    let mut found = Vec::new();
    while found.len() < n
        && let Some(next) = cron.next_after(at, &zone, changes)
    {
        assert!(next > at);
        at = next;
        let shown = next
            .to_zoned_datetime(zone.clone())
            .strftime("%Y-%m-%dT%H:%M:%S%:z");
        found.push(shown.to_string());
    }
    found
}

/// The days in UTC, from the beginning of 2026 on.
fn days(text: &str, n: usize) -> Vec<String> {
    let found = moments(text, "2025-12-31T23:59:59Z", "UTC", n);
    found.iter().map(|moment| moment[..10].to_owned()).collect()
}

#[test]
fn times_of_day() {
    let of = |text, n| -> Vec<String> {
        let found = moments(text, "2026-11-25T08:00:00Z", "UTC", n);
        found
            .iter()
            .map(|moment| moment[8..19].to_owned())
            .collect()
    };
    assert_eq!(of("* * * * * ?", 2), ["25T08:00:01", "25T08:00:02"]);
    assert_eq!(
        of("0 0/20 8-9 ? * *", 4),
        ["25T08:20:00", "25T08:40:00", "25T09:00:00", "25T09:20:00"]
    );
    assert_eq!(
        of("15,45 59 23 * * ?", 3),
        ["25T23:59:15", "25T23:59:45", "26T23:59:15"]
    );
    assert_eq!(
        of("0 0 22-2/2 * * ?", 4),
        ["25T22:00:00", "26T00:00:00", "26T02:00:00", "26T22:00:00"]
    );
    assert_eq!(
        of("/30 0 9 * * ?", 3),
        ["25T09:00:00", "25T09:00:30", "26T09:00:00"]
    );
    assert_eq!(
        of("58-2 0 9 * * ?", 5)[..3],
        ["25T09:00:00", "25T09:00:01", "25T09:00:02"]
    );
    assert_eq!(
        of("5/50 0 8 * * ?", 3),
        ["25T08:00:05", "25T08:00:55", "26T08:00:05"]
    );
    assert_eq!(of("\t0  0 8 * * ? ", 1), ["26T08:00:00"]);
}

#[test]
fn days_of_the_month() {
    assert_eq!(
        days("0 0 0 L * ?", 3),
        ["2026-01-31", "2026-02-28", "2026-03-31"]
    );
    assert_eq!(
        days("0 0 0 L-3 * ?", 3),
        ["2026-01-28", "2026-02-25", "2026-03-28"]
    );
    assert_eq!(days("0 0 0 L-30 * ?", 2), ["2026-01-01", "2026-03-01"]);
    assert_eq!(
        days("0 0 0 LW * ?", 5),
        [
            "2026-01-30",
            "2026-02-27",
            "2026-03-31",
            "2026-04-30",
            "2026-05-29"
        ]
    );
    assert_eq!(
        days("0 0 0 L-3W * ?", 3),
        ["2026-01-28", "2026-02-25", "2026-03-27"]
    );
    // Thursday, a Sunday twice, Wednesday, Friday, Monday, Wednesday, Saturday.
    assert_eq!(
        days("0 0 0 15w * ?", 8),
        [
            "2026-01-15",
            "2026-02-16",
            "2026-03-16",
            "2026-04-15",
            "2026-05-15",
            "2026-06-15",
            "2026-07-15",
            "2026-08-14",
        ]
    );
    // Not over the ends of the month.
    assert_eq!(days("0 0 0 1W 8 ?", 1), ["2026-08-03"]);
    assert_eq!(days("0 0 0 31W 1,5 ?", 2), ["2026-01-30", "2026-05-29"]);
    assert_eq!(
        days("0 0 0 30W * ?", 3),
        ["2026-01-30", "2026-03-30", "2026-04-30"]
    );
    assert_eq!(
        days("0 0 0 1,L,15W 2 ?", 3),
        ["2026-02-01", "2026-02-16", "2026-02-28"]
    );
    assert_eq!(
        days("0 0 0 30-2 1 ?", 4),
        ["2026-01-01", "2026-01-02", "2026-01-30", "2026-01-31"]
    );
    assert_eq!(days("0 0 0 29 2 ?", 2), ["2028-02-29", "2032-02-29"]);
    assert_eq!(
        days("0 0 0 1 NOV-FEB/2 ?", 3),
        ["2026-01-01", "2026-11-01", "2027-01-01"]
    );
}

#[test]
fn names_are_whole_or_their_first_letters() {
    for text in ["4,8", "APR,AUG", "APRIL,august", "apr,August"] {
        let first = days(&format!("0 0 0 1 {text} ?"), 2);
        assert_eq!(first, ["2026-04-01", "2026-08-01"], "{text}");
    }
    for text in ["FRIDAYL", "fridayl"] {
        let last = days(&format!("0 0 0 ? * {text}"), 1);
        assert_eq!(last, ["2026-01-30"], "{text}");
    }
    for wrong in [
        "? * FRID",
        "? * MON12345",
        "? * MONDAYS",
        "? * F",
        "1 AP ?",
        "1 APRI ?",
        "1 AUGUSTUS ?",
    ] {
        assert!(format!("0 0 0 {wrong}").parse::<Cron>().is_err(), "{wrong}");
    }
}

#[test]
fn days_of_the_week() {
    // The example of the contract.
    assert_eq!(
        moments("0 6 6 ? * FR", "2026-11-25T08:00:00Z", "UTC", 2),
        ["2026-11-27T06:06:00+00:00", "2026-12-04T06:06:00+00:00"]
    );
    let fridays = ["2026-01-02", "2026-01-09"];
    for text in [
        "6", "FRI", "fri", "FR", "Fr", "FRIDAY", "Friday", "6-6", "6,FR",
    ] {
        assert_eq!(days(&format!("0 0 0 ? * {text}"), 2), fridays, "{text}");
    }
    assert_eq!(
        days("0 0 0 ? * FRI-MON", 5),
        [
            "2026-01-02",
            "2026-01-03",
            "2026-01-04",
            "2026-01-05",
            "2026-01-09"
        ]
    );
    assert_eq!(
        days("0 0 0 ? * 7-1", 3),
        ["2026-01-03", "2026-01-04", "2026-01-10"]
    );
    assert_eq!(
        days("0 0 0 ? * 2/2", 4),
        ["2026-01-02", "2026-01-05", "2026-01-07", "2026-01-09"]
    );
    for text in ["6L", "FRIL", "frl"] {
        assert_eq!(
            days(&format!("0 0 0 ? * {text}"), 3),
            ["2026-01-30", "2026-02-27", "2026-03-27"],
            "{text}"
        );
    }
    for text in ["6#3", "FRI#3", "FR#3", "friday#3"] {
        assert_eq!(
            days(&format!("0 0 0 ? * {text}"), 2),
            ["2026-01-16", "2026-02-20"],
            "{text}"
        );
    }
    assert_eq!(
        days("0 0 0 ? * 6#5", 3),
        ["2026-01-30", "2026-05-29", "2026-07-31"]
    );
    assert_eq!(days("0 0 0 ? * L", 2), ["2026-01-03", "2026-01-10"]);
    assert_eq!(days("0 0 0 ? 1 2#1,6L", 2), ["2026-01-05", "2026-01-30"]);
}

#[test]
fn years_end() {
    assert_eq!(
        days("0 0 0 1 1 ? 2027-2031/2", 9),
        ["2027-01-01", "2029-01-01", "2031-01-01"]
    );
    assert_eq!(days("0 0 0 30 2 ?", 1), [""; 0]);
    assert_eq!(days("0 0 0 1 1 ? 1999", 1), [""; 0]);
    assert_eq!(days("59 59 23 31 12 ? 2099", 2), ["2099-12-31"]);
    // A century without a leap day is no reason to give up earlier.
    assert_eq!(days("0 0 0 29 2 ? 2096", 2), ["2096-02-29"]);
}

#[test]
fn a_moment_that_does_not_exist_comes_at_the_next_one() {
    let berlin = |text, after, n| moments(text, after, "Europe/Berlin", n);
    assert_eq!(
        berlin("0 30 2 * * ?", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    // Together they are one, also with one that is there by itself.
    assert_eq!(
        berlin("0 0/30 1-3 * * ?", "2026-03-29T00:15:00Z", 4),
        [
            "2026-03-29T01:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:30:00+02:00",
            "2026-03-30T01:00:00+02:00",
        ]
    );
    // Half an hour, and a whole day.
    assert_eq!(
        moments(
            "0 15 2 * * ?",
            "2026-10-03T00:00:00Z",
            "Australia/Lord_Howe",
            1
        ),
        ["2026-10-04T02:30:00+11:00"]
    );
    assert_eq!(
        moments("0 0 12 30 * ?", "2011-12-15T00:00:00Z", "Pacific/Apia", 2),
        ["2011-12-31T00:00:00+14:00", "2012-01-30T12:00:00+14:00"]
    );
}

#[test]
fn a_doubled_moment_comes_once() {
    let berlin = |text, after, n| moments(text, after, "Europe/Berlin", n);
    assert_eq!(
        berlin("0 30 2 * * ?", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    // Also when asked between its two times, and in the second hour.
    for after in [
        "2026-10-25T00:45:00Z",
        "2026-10-25T01:15:00Z",
        "2026-10-25T01:45:00Z",
    ] {
        assert_eq!(
            berlin("0 30 2 * * ?", after, 1),
            ["2026-10-26T02:30:00+01:00"],
            "{after}"
        );
    }
    assert_eq!(
        berlin("0 0/30 * * * ?", "2026-10-25T00:00:00Z", 3),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T03:00:00+01:00",
            "2026-10-25T03:30:00+01:00",
        ]
    );
}

#[test]
fn by_the_clock_on_the_wall_a_moment_comes_as_often_as_it_is_shown() {
    let berlin = |text, after, n| moments_by(Changes::Wall, text, after, "Europe/Berlin", n);
    assert_eq!(
        berlin("0 30 2 * * ?", "2026-03-28T12:00:00Z", 2),
        ["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]
    );
    assert_eq!(
        berlin("0 0/30 1-3 * * ?", "2026-03-29T00:15:00Z", 3),
        [
            "2026-03-29T01:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:30:00+02:00",
        ]
    );
    assert_eq!(
        berlin("0 30 2 * * ?", "2026-10-24T12:00:00Z", 3),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-26T02:30:00+01:00",
        ]
    );
    assert_eq!(
        berlin("0 0/30 * * * ?", "2026-10-25T00:00:00Z", 4),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ]
    );
    // The last one of all, a second time.
    let last = berlin("0 30 2 25 10 ? 2026", "2026-10-01T00:00:00Z", 9);
    assert_eq!(
        last,
        ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    );
    let years = berlin("0 0 0 29 2 ? 2090-2099", "2026-10-01T00:00:00Z", 9);
    assert_eq!(
        years,
        ["2092-02-29T00:00:00+01:00", "2096-02-29T00:00:00+01:00"]
    );
}

#[test]
fn the_last_moment_of_a_span() {
    let utc = TimeZone::UTC;
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let last = |text, after, until| {
        let last = cron(text).last_between(at(after), at(until), &utc, Changes::Once);
        last.map(|moment| moment.to_string())
    };
    let (from, to) = ("2026-01-10T00:00:00Z", "2026-11-25T08:00:00.5Z");
    assert_eq!(
        last("* * * ? 1 *", from, to).unwrap(),
        "2026-01-31T23:59:59Z"
    );
    assert_eq!(
        last("* * * ? * *", from, to).unwrap(),
        "2026-11-25T08:00:00Z"
    );
    assert_eq!(
        last("0 0 8 * * ?", from, "2026-11-25T08:00:00Z").unwrap(),
        "2026-11-25T08:00:00Z"
    );
    assert_eq!(
        last("0 0 8 * * ?", from, "2026-11-25T07:59:59Z").unwrap(),
        "2026-11-24T08:00:00Z"
    );
    assert_eq!(last("0 0 0 10 1 ?", from, to), None);
    assert_eq!(
        last("0 0 0 10 1 ?", "2026-01-09T23:59:59Z", to).unwrap(),
        from
    );
    assert_eq!(last("0 0 0 10 1 ?", to, from), None);
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, field, position) in [
        ("", Field::Seconds, 1),
        ("0 0 12 ? *", Field::DayOfWeek, 11),
        ("0 0 12 * * ? 2026 1", Field::Year, 19),
        ("60 0 12 * * ?", Field::Seconds, 1),
        ("0 0,60 12 * * ?", Field::Minutes, 5),
        ("0 0 24 * * ?", Field::Hours, 5),
        ("0 0 12 0 * ?", Field::DayOfMonth, 8),
        ("0 0 12 32 * ?", Field::DayOfMonth, 8),
        ("0 0 12 1 13 ?", Field::Month, 10),
        ("0 0 12 1 FEV ?", Field::Month, 10),
        ("0 0 12 1 JA ?", Field::Month, 10),
        ("0 0 12 ? * 8", Field::DayOfWeek, 12),
        ("0 0 12 ? * MON-", Field::DayOfWeek, 16),
        ("0 0 12 ? * MOND", Field::DayOfWeek, 12),
        ("0 0 12 ? * 6#6", Field::DayOfWeek, 14),
        ("0 0 12 ? * 6#", Field::DayOfWeek, 14),
        ("0 0 12 ? * 6X", Field::DayOfWeek, 13),
        ("0 0 12 ? * 2-6L", Field::DayOfWeek, 15),
        ("0 0 12 L-31 * ?", Field::DayOfMonth, 10),
        ("0 0 12 W * ?", Field::DayOfMonth, 8),
        ("0 0 12 15WL * ?", Field::DayOfMonth, 11),
        ("0 0 12 ?,1 * *", Field::DayOfMonth, 9),
        ("0 0 12 ? * ?", Field::DayOfWeek, 12),
        ("0 0 12 * * *", Field::DayOfWeek, 12),
        ("0 0 12 1 * MON", Field::DayOfWeek, 12),
        ("? 0 12 1 * ?", Field::Seconds, 1),
        ("L 0 12 1 * ?", Field::Seconds, 1),
        ("0 0/0 12 1 * ?", Field::Minutes, 5),
        ("0 0/60 12 1 * ?", Field::Minutes, 5),
        ("0 0 0/ 1 * ?", Field::Hours, 7),
        ("0 0 12,, 1 * ?", Field::Hours, 8),
        ("0 0 -5 1 * ?", Field::Hours, 5),
        ("0 0 1-2-3 1 * ?", Field::Hours, 8),
        ("0 0 99999999999 1 * ?", Field::Hours, 5),
        ("0 0 12 1 * ? 2030-2029", Field::Year, 19),
        ("0 0 12 1 * ? 1969", Field::Year, 14),
        ("ä 0 12 1 * ?", Field::Seconds, 1),
        ("0 ä 12 1 * ?", Field::Minutes, 3),
        ("0 0 12 1ä * ?", Field::DayOfMonth, 9),
    ] {
        let error = Cron::parse(text).expect_err(text);
        assert_eq!(
            (error.field, error.position),
            (field, position),
            "{text}: {error}"
        );
    }
}
