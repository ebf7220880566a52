//! `--since`: a moment, as operators type it.

use jiff::{SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};
use std::str::FromStr;

/// A moment, a day of UTC as jobs' names have it, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    At(Timestamp),
    Ago(jiff::SignedDuration),
}

impl Since {
    /// In milliseconds of the Unix epoch.
    pub(super) fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(moment) => moment.as_millisecond(),
            Self::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        if let Ok(day) = text.parse::<Date>()
            && let Ok(begin) = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0))
        {
            return Ok(Self::At(begin));
        }
        let span = text.parse::<jiff::Span>().ok();
        let days = SpanRelativeTo::days_are_24_hours();
        let ago = span.and_then(|span| span.to_duration(days).ok());
        match ago.filter(|ago| !ago.is_negative()) {
            Some(ago) => Ok(Self::Ago(ago)),
            None => Err(
                "use how long ago, as 2h or 1d, a day as 2026-11-22, or a moment as \
                         2026-11-22T08:00:00Z"
                    .into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_typed_in_three_ways() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("2h", "2026-11-22T10:00:00Z"),
            ("1d", "2026-11-21T12:00:00Z"),
            ("90m", "2026-11-22T10:30:00Z"),
            ("2026-11-22", "2026-11-22T00:00:00Z"),
            ("2026-11-22T08:00:00+01:00", "2026-11-22T07:00:00Z"),
        ] {
            let ms = text.parse::<Since>().unwrap().ms(now.as_millisecond());
            let moment: Timestamp = moment.parse().unwrap();
            assert_eq!(ms, moment.as_millisecond(), "{text}");
        }
        for odd in ["", "2", "yesterday", "-2h", "2 years and a bit"] {
            assert!(odd.parse::<Since>().is_err(), "{odd}");
        }
    }
}
