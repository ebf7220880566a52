//! Parameters from the query and from a form body, alike and strictly.
//!
//! Strictly, because a value that is guessed at may name another job: a broken percent-encoding,
//! text that is not UTF-8 and two different values of one parameter are the client's mistakes and
//! are reported, not repaired. Names count exactly as spelled; parameters that no one asks for are
//! decoded and ignored.

use crate::{
    api::percent::{self, Undecodable},
    service::Fault,
};
use std::borrow::Cow;

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
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent::decoded(&spaced).map(Cow::into_owned);
    decoded.map_err(|undecodable| Fault::Invalid {
        reason: match undecodable {
            Undecodable::Digits => {
                "a parameter has a % that is not followed by two hexadecimal digits"
            }
            Undecodable::Utf8 => "a parameter is not UTF-8",
        }
        .into(),
    })
}
