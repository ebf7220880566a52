//! `xs:duration` (Part 2, 3.2.6).

use std::cmp::Ordering;

use super::moment::{DAY_SECONDS, days_before};

/// The months that two durations are compared from, as year and month.
const STARTS: [(i64, i64); 4] = [(1696, 9), (1697, 2), (1903, 3), (1903, 7)];

/// More are left to the full engine, so that nothing overflows.
const MONTHS_MAX: i64 = 1_000_000_000;

/// Months and seconds, which cannot be told one by the other.
pub(super) struct Duration<'v> {
    is_negative: bool,
    months: i64,
    seconds: i64,
    /// The digits behind the point, without zeros at the end.
    fraction: &'v [u8],
}

/// What a unit is in months or seconds; in the order in which they are written.
const DATE_UNITS: [(u8, Unit); 3] = [
    (b'Y', Unit::Months(12)),
    (b'M', Unit::Months(1)),
    (b'D', Unit::Seconds(DAY_SECONDS)),
];
const TIME_UNITS: [(u8, Unit); 3] = [
    (b'H', Unit::Seconds(60 * 60)),
    (b'M', Unit::Seconds(60)),
    (b'S', Unit::Seconds(1)),
];

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Seconds(i64),
}

impl Duration<'_> {
    /// Numbers of more than 32 bits are left to the full engine, which bounds all but seconds by them.
    pub(super) fn parse(value: &[u8]) -> Option<Duration<'_>> {
        let (is_negative, value) = match value.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let mut duration = Duration {
            is_negative,
            months: 0,
            seconds: 0,
            fraction: b"",
        };
        let value = value.strip_prefix(b"P")?;
        match value.iter().position(|byte| *byte == b'T') {
            Some(at) => {
                duration.add(&value[..at], &DATE_UNITS)?;
                let time = &value[at + 1..];
                if time.is_empty() {
                    return None;
                }
                duration.add(time, &TIME_UNITS)?;
            }
            None if value.is_empty() => return None,
            None => duration.add(value, &DATE_UNITS)?,
        }
        if duration.is_zero() {
            duration.is_negative = false;
        }
        Some(duration)
    }

    fn is_zero(&self) -> bool {
        self.months == 0 && self.seconds == 0 && self.fraction.is_empty()
    }
}

impl<'v> Duration<'v> {
    fn add(&mut self, mut text: &'v [u8], units: &[(u8, Unit)]) -> Option<()> {
        let mut units = units.iter();
        while !text.is_empty() {
            let n = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number: u32 = std::str::from_utf8(&text[..n]).ok()?.parse().ok()?;
            text = &text[n..];
            let mut fraction = None;
            if let Some(rest) = text.strip_prefix(b".") {
                let n = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                fraction = Some(&rest[..n]);
                text = &rest[n..];
            }
            let (name, rest) = text.split_first()?;
            text = rest;
            let (_, unit) = units.find(|(unit, _)| unit == name)?;
            match fraction {
                Some(b"") => return None,
                Some(digits) if *name == b'S' => self.fraction = without_zeros(digits),
                Some(_) => return None,
                None => {}
            }
            let (sum, more) = match unit {
                Unit::Months(months) => (&mut self.months, months),
                Unit::Seconds(seconds) => (&mut self.seconds, seconds),
            };
            *sum = sum.checked_add(i64::from(number).checked_mul(*more)?)?;
        }
        Some(())
    }

    /// Equal only when months and seconds are.
    pub(super) fn write_key(&self, key: &mut Vec<u8>) {
        key.push(u8::from(self.is_negative));
        key.extend_from_slice(&self.months.to_le_bytes());
        key.extend_from_slice(&self.seconds.to_le_bytes());
        key.extend_from_slice(self.fraction);
    }

    /// Part 2, 3.2.6.2: ordered when they are so from each of four starting points.
    pub(super) fn compare(&self, other: &Duration<'_>) -> Option<Ordering> {
        if self.is_negative != other.is_negative {
            return Some(other.is_negative.cmp(&self.is_negative));
        }
        let fractions = self.fraction.cmp(other.fraction);
        let fractions = if self.is_negative {
            fractions.reverse()
        } else {
            fractions
        };
        let mut order = None;
        for (year, month) in STARTS {
            let ends = self.end(year, month)?.cmp(&other.end(year, month)?);
            let here = ends.then(fractions);
            if order.is_some_and(|order| order != here) {
                return None;
            }
            order = Some(here);
        }
        order
    }

    /// Seconds on the time line, the fraction aside, when it begins with this month.
    fn end(&self, year: i64, month: i64) -> Option<i64> {
        let sign = if self.is_negative { -1 } else { 1 };
        if self.months > MONTHS_MAX {
            return None;
        }
        let month = year * 12 + month - 1 + sign * self.months;
        let days = days_before(month.div_euclid(12), month.rem_euclid(12) + 1, 1);
        (days * DAY_SECONDS).checked_add(sign * self.seconds)
    }
}

fn without_zeros(mut digits: &[u8]) -> &[u8] {
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    digits
}
