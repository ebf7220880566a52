//! The same moments as the crate `croner` finds, where the two agree on what an expression means:
//! plain values, lists, ranges that do not wrap, steps, `L`, `LW`, `15W`, `6L` and `6#3`, in UTC. And
//! whatever the text is, reading it ends well.

use super::*;
use crate::domain::{any_text, settings};
use croner::parser::{CronParser, Seconds, Year};
use proptest::{prelude::*, sample::select};

fn any_values(least: i16, greatest: i16) -> impl Strategy<Value = String> {
    let value = least..=greatest;
    let range = (least..=greatest, 0..=greatest - least)
        .prop_map(move |(from, more)| (from, (from + more).min(greatest)));
    let step = 1..=greatest.min(20);
    let one = prop_oneof![
        value.clone().prop_map(|value| value.to_string()),
        range.clone().prop_map(|(from, to)| format!("{from}-{to}")),
        (value, step.clone()).prop_map(|(from, step)| format!("{from}/{step}")),
        (range, step.clone()).prop_map(|((from, to), step)| format!("{from}-{to}/{step}")),
        step.prop_map(|step| format!("*/{step}")),
    ];
    prop_oneof![
        1 => Just("*".to_owned()),
        3 => proptest::collection::vec(one, 1..4).prop_map(|all| all.join(",")),
    ]
}

fn any_days() -> impl Strategy<Value = (String, String)> {
    let of_month = prop_oneof![
        3 => any_values(1, 31),
        1 => (1..=31).prop_map(|day| format!("{day}W")),
        1 => select(vec!["L", "LW"]).prop_map(str::to_owned),
    ];
    let of_week = prop_oneof![
        3 => any_values(1, 7),
        1 => (1..=7).prop_map(|day| format!("{day}L")),
        1 => (1..=7, 1..=5).prop_map(|(day, n)| format!("{day}#{n}")),
        1 => select(vec!["MON", "SUN", "tue", "WED-FRI", "FRI#2", "FRIL"]).prop_map(str::to_owned),
    ];
    prop_oneof![
        of_month.prop_map(|days| (days, "?".to_owned())),
        of_week.prop_map(|days| ("?".to_owned(), days)),
    ]
}

fn any_expression() -> impl Strategy<Value = String> {
    let times = (any_values(0, 59), any_values(0, 59), any_values(0, 23));
    let months = prop_oneof![
        any_values(1, 12),
        select(vec!["JAN", "feb,Mar", "APR-NOV"]).prop_map(str::to_owned),
    ];
    let year = proptest::option::of(2020..2040_i16);
    (times, any_days(), months, year).prop_map(|(times, days, months, year)| {
        let (seconds, minutes, hours) = times;
        let (of_month, of_week) = days;
        let year = year.map_or(String::new(), |year| format!(" {year}"));
        format!("{seconds} {minutes} {hours} {of_month} {months} {of_week}{year}")
    })
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    // From 2020 to 2035.
    (1_577_836_800..2_051_222_400_i64).prop_map(|s| Timestamp::from_second(s).unwrap())
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Tehran",
    ];
    select(zones.to_vec()).prop_map(|name| TimeZone::get(name).unwrap())
}

/// The same moment in UTC, as `croner` takes it.
fn of_croner(moment: Timestamp) -> jiff_0_2::Zoned {
    let moment = jiff_0_2::Timestamp::from_second(moment.as_second()).unwrap();
    moment.to_zoned(jiff_0_2::tz::TimeZone::UTC)
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn moments_are_those_of_croner(
        text in any_expression(),
        from in any_moment(),
        changes in select(vec![Changes::Once, Changes::Wall]),
    ) {
        let ours = Cron::parse(&text).unwrap();
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Optional)
            .alternative_weekdays(true)
            .dom_and_dow(true)
            .sloppy_ranges(true)
            .build();
        let theirs = parser.parse(&text).unwrap();
        let mut at = from;
        for _ in 0..4 {
            let next = ours.next_after(at, &TimeZone::UTC, changes);
            let expected = theirs.find_next_occurrence(&of_croner(at), false).ok();
            let expected = expected.map(|zoned| Timestamp::from_second(zoned.timestamp().as_second()).unwrap());
            // It looks further than to the end of 2099.
            let expected = expected.filter(|at| *at < "2100-01-01T00:00:00Z".parse().unwrap());
            prop_assert_eq!(next, expected, "{} after {}", text, at);
            let Some(next) = next else { break };
            at = next;
        }
    }

    #[test]
    fn the_last_of_a_span_is_the_last_that_is_met(
        text in any_expression(),
        from in any_moment(),
        zone in any_zone(),
        n in 1..5_usize,
        more_s in 0..100_i64,
    ) {
        let cron = Cron::parse(&text).unwrap();
        let mut at = from;
        for _ in 0..n {
            let Some(next) = cron.next_after(at, &zone, Changes::Once) else { return Ok(()) };
            prop_assert!(next > at);
            at = next;
        }
        prop_assert_eq!(cron.last_between(from, at, &zone, Changes::Once), Some(at), "{}", text);
        let until = at + SignedDuration::from_secs(more_s);
        if cron.next_after(at, &zone, Changes::Once).is_none_or(|next| next > until) {
            prop_assert_eq!(cron.last_between(from, until, &zone, Changes::Once), Some(at), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_has_a_mistake(
        text in prop_oneof![any_text(), "[-0-9*?/,LW# A-Z]{0,40}", any_expression()],
        from in any_moment(),
        zone in any_zone(),
    ) {
        match Cron::parse(&text) {
            Ok(cron) => {
                prop_assert_eq!(cron.to_string(), text.trim());
                if let Some(next) = cron.next_after(from, &zone, Changes::Once) {
                    prop_assert!(next > from);
                }
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.position)),
        }
    }
}
