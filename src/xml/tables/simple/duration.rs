//! `xs:duration` (Part 2, 3.2.6).

use std::cmp::Ordering;

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
    (b'D', Unit::Seconds(24 * 60 * 60)),
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
    /// Numbers that are too large to be counted are left to the full engine.
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
            let number: i64 = std::str::from_utf8(&text[..n]).ok()?.parse().ok()?;
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
            *sum = sum.checked_add(number.checked_mul(*more)?)?;
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

    /// Part 2, 3.2.6.2. Ordered only when all starting points agree, and here only when months and
    /// seconds say the same; the rest is left to the full engine.
    pub(super) fn compare(&self, other: &Duration<'_>) -> Option<Ordering> {
        if self.is_negative != other.is_negative {
            return Some(other.is_negative.cmp(&self.is_negative));
        }
        let months = self.months.cmp(&other.months);
        let seconds = (self.seconds, self.fraction).cmp(&(other.seconds, other.fraction));
        let order = match (months, seconds) {
            (Ordering::Equal, order) | (order, Ordering::Equal) => order,
            (a, b) if a == b => a,
            _ => return None,
        };
        Some(if self.is_negative {
            order.reverse()
        } else {
            order
        })
    }
}

fn without_zeros(mut digits: &[u8]) -> &[u8] {
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    digits
}
