//! `xs:decimal`, `xs:float` and `xs:double` (Part 2, 3.2.3 to 3.2.5).

use std::cmp::Ordering;

use memchr::memchr;

/// A decimal of any length, without the zeros that mean nothing. Zero is not negative.
pub(super) struct Decimal<'v> {
    is_negative: bool,
    whole: &'v [u8],
    fraction: &'v [u8],
}

impl Decimal<'_> {
    pub(super) fn parse(value: &[u8]) -> Option<Decimal<'_>> {
        let (is_negative, digits) = match value {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let (mut whole, mut fraction) = match memchr(b'.', digits) {
            Some(point) => (&digits[..point], &digits[point + 1..]),
            None => (digits, &b""[..]),
        };
        if whole.is_empty() && fraction.is_empty()
            || !whole.iter().chain(fraction).all(u8::is_ascii_digit)
        {
            return None;
        }
        while let [b'0', rest @ ..] = whole {
            whole = rest;
        }
        while let [rest @ .., b'0'] = fraction {
            fraction = rest;
        }
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Decimal {
            is_negative: is_negative && !is_zero,
            whole,
            fraction,
        })
    }

    pub(super) fn digits(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    pub(super) fn fraction_digits(&self) -> usize {
        self.fraction.len()
    }

    pub(super) fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let sign = |decimal: &Decimal<'_>| if decimal.is_negative { -1 } else { 1 };
        let size = (self.whole.len(), self.whole, self.fraction);
        let size = size.cmp(&(other.whole.len(), other.whole, other.fraction));
        let size = if self.is_negative {
            size.reverse()
        } else {
            size
        };
        sign(self).cmp(&sign(other)).then(size)
    }

    pub(super) fn write_key(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(if self.is_negative { b"-" } else { b"" });
        key.extend_from_slice(self.whole);
        key.push(b'.');
        key.extend_from_slice(self.fraction);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::xml::tables) enum Width {
    Single,
    Double,
}

/// The nearest number of that width, as the wider of the two.
pub(super) fn float(width: Width, value: &[u8]) -> Option<f64> {
    match value {
        b"INF" => return Some(f64::INFINITY),
        b"-INF" => return Some(f64::NEG_INFINITY),
        b"NaN" => return Some(f64::NAN),
        _ => {}
    }
    let is_allowed = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !value.iter().all(is_allowed) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    match width {
        Width::Single => text.parse::<f32>().ok().map(f64::from),
        Width::Double => text.parse().ok(),
    }
}
