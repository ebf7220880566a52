//! Moments as operators type them: `14:00`, `2026-11-22`, RFC 3339, or a while such as `2h`. Pure.

use jiff::{
    Span, Timestamp, ToSpan,
    civil::{Date, Time},
    tz::TimeZone,
};

/// On which side of now a moment is meant that does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Past,
    Future,
}

/// When the day began in which that is, both in milliseconds of the Unix epoch. A moment beyond the calendar is its own.
pub fn midnight_ms(now_ms: i64, zone: &TimeZone) -> i64 {
    let begun = || {
        let now = Timestamp::from_millisecond(now_ms).ok()?;
        let midnight = now.to_zoned_datetime(zone.clone()).start_of_day().ok()?;
        Some(midnight.timestamp().as_millisecond())
    };
    begun().unwrap_or(now_ms)
}

/// The moment that a text means at `now`. Times of the day and days are those of `zone`: a time is the next one, or
/// in the past the last one; a day is its beginning; a while ends, or began, now.
///
/// # Errors
/// When it means none; the text is for the user.
pub fn moment(
    text: &str,
    now: Timestamp,
    zone: &TimeZone,
    side: Side,
) -> Result<Timestamp, String> {
    understood(text, now, zone, side).ok_or_else(|| {
        format!(
            "{text} is no moment; use a time such as 14:00, a day such as 2026-11-22, \
             2026-11-22T14:00:00Z, or a while such as 30m, 2h or 3d"
        )
    })
}

fn understood(text: &str, now: Timestamp, zone: &TimeZone, side: Side) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Some(time) = clock_time(text) {
        return at_time(time, now, zone, side).ok();
    }
    if let Ok(day) = text.parse::<Date>() {
        return zone.to_timestamp(day.at(0, 0, 0, 0)).ok();
    }
    let span: Span = text.parse().ok()?;
    if span.is_negative() {
        return None;
    }
    let span = match side {
        Side::Past => -span,
        Side::Future => span,
    };
    let then = now.to_zoned_datetime(zone.clone()).checked_add(span);
    then.map(|then| then.timestamp()).ok()
}

/// `14:00` or `14:00:30`, and nothing else that could be taken for a time.
fn clock_time(text: &str) -> Option<Time> {
    let plain = |c: char| c.is_ascii_digit() || c == ':';
    let is_clock = text.contains(':') && text.chars().all(plain);
    is_clock.then(|| text.parse().ok()).flatten()
}

fn at_time(
    time: Time,
    now: Timestamp,
    zone: &TimeZone,
    side: Side,
) -> Result<Timestamp, jiff::Error> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let then = zone.to_timestamp(today.to_datetime(time))?;
    let day = match side {
        Side::Future if then <= now => today.checked_add(1.day())?,
        Side::Past if then > now => today.checked_sub(1.day())?,
        Side::Future | Side::Past => return Ok(then),
    };
    zone.to_timestamp(day.to_datetime(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, side: Side) -> String {
        let now = "2026-11-22T11:30:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        match moment(text, now, &zone, side) {
            Ok(moment) => moment.to_string(),
            Err(error) => error,
        }
    }

    #[test]
    fn every_way_to_say_a_moment_is_understood() {
        for (text, past, future) in [
            ("14:00", "2026-11-21T13:00:00Z", "2026-11-22T13:00:00Z"),
            ("12:00:30", "2026-11-22T11:00:30Z", "2026-11-23T11:00:30Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z"),
            (
                "2026-11-22T14:00:00Z",
                "2026-11-22T14:00:00Z",
                "2026-11-22T14:00:00Z",
            ),
            (
                "2026-11-22T14:00:00+01:00",
                "2026-11-22T13:00:00Z",
                "2026-11-22T13:00:00Z",
            ),
            ("2h", "2026-11-22T09:30:00Z", "2026-11-22T13:30:00Z"),
            ("1h 30m", "2026-11-22T10:00:00Z", "2026-11-22T13:00:00Z"),
            ("3d", "2026-11-19T11:30:00Z", "2026-11-25T11:30:00Z"),
        ] {
            assert_eq!(said(text, Side::Past), past, "{text}");
            assert_eq!(said(text, Side::Future), future, "{text}");
        }
        for odd in [
            "",
            "soon",
            "25:00",
            "14",
            "2h ago",
            "-2h",
            "2026-13-01",
            "9999999999h",
        ] {
            let error = said(odd, Side::Future);
            assert!(error.contains("is no moment; use "), "{odd}: {error}");
        }
    }
}
