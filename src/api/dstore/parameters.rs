//! Parameters from the query and from a form body, alike and strictly.
//!
//! Strictly, because a value that is guessed at may name another job: a broken percent-encoding,
//! text that is not UTF-8 and two different values of one parameter are the client's mistakes and
//! are reported, not repaired. Names count exactly as spelled; parameters that no one asks for are
//! decoded and ignored.

use crate::service::Fault;

pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `name=value&…` from each of `sources`.
    pub(super) fn parse(sources: &[&[u8]]) -> Result<Self, Fault> {
        let mut pairs = Vec::new();
        for pair in sources
            .iter()
            .flat_map(|source| source.split(|b| *b == b'&'))
        {
            if pair.is_empty() {
                continue;
            }
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of `name`, if it is given.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&str>, Fault> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.any(|(_, value)| Some(value.as_str()) != first) {
            let reason = format!("parameter {name} is given twice with different values");
            return Err(Fault::Invalid { reason });
        }
        Ok(first)
    }

    /// The value of `name`, which must be given and not be empty.
    pub(super) fn required(&self, name: &str) -> Result<&str, Fault> {
        let value = self.optional(name)?.filter(|value| !value.is_empty());
        value.ok_or_else(|| Fault::Invalid {
            reason: format!("parameter {name} is missing"),
        })
    }
}

/// Decodes `+` and `%XX`.
fn decode(encoded: &[u8]) -> Result<String, Fault> {
    let invalid = |reason: &str| Fault::Invalid {
        reason: reason.into(),
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let byte = hex_digit(bytes.next()).zip(hex_digit(bytes.next()));
                let (high, low) = byte.ok_or_else(|| {
                    invalid("a parameter has a % that is not followed by two hexadecimal digits")
                })?;
                high << 4 | low
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).map_err(|_| invalid("a parameter is not UTF-8"))
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    let digit = char::from(*byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}
