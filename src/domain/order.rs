//! What the jobs of an interface keep their order by.
//!
//! A job's submitter and its reference are known anyway. The value of an attribute is read when the job comes and kept
//! in its record, with the attribute's name: it says nothing where order is by another one.

use super::JobName;
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Longest name of an attribute in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 64;
/// Of a longer value the hash is kept.
const VALUE_BYTES_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderBy {
    Submitter,
    /// The one in the job's name.
    Reference,
    /// An attribute without a namespace of the root element of XML documents.
    Attribute(Box<str>),
}

/// Why a text says no order. The message says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use \"submitter\", \"reference\", or \"@Name\" with the name of an attribute of the root element, without a prefix"
)]
pub struct OrderByError;

impl OrderBy {
    /// What a job keeps its order by; `None`: it keeps it with no other job. `kept` is what [`OrderBy::kept`] gave.
    pub fn key<'j>(
        &self,
        submitter: Option<&'j str>,
        job: &'j JobName,
        kept: Option<&'j str>,
    ) -> Option<&'j str> {
        match self {
            Self::Submitter => submitter,
            Self::Reference => job.reference(),
            Self::Attribute(name) => kept.filter(|kept| {
                let value = kept
                    .strip_prefix('@')
                    .and_then(|kept| kept.strip_prefix(&**name));
                value.is_some_and(|value| value.starts_with('='))
            }),
        }
    }

    /// The attribute whose value has to be read of a document that comes.
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Self::Attribute(name) => Some(name),
            Self::Reference | Self::Submitter => None,
        }
    }

    /// What is kept of the value of an attribute: no more than a few hundred bytes. `None`: of an empty one, nothing.
    pub fn kept(attribute: &str, value: &str) -> Option<String> {
        match value.len() {
            0 => None,
            1..=VALUE_BYTES_MAX => Some(format!("@{attribute}={value}")),
            _ => {
                let hash = hex::encode(Sha256::digest(value));
                Some(format!("@{attribute}=sha256:{hash}"))
            }
        }
    }
}

impl FromStr for OrderBy {
    type Err = OrderByError;
    fn from_str(text: &str) -> Result<Self, OrderByError> {
        let is_fine = |name: &str| {
            let is_of_name =
                |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{b7}');
            let first = name.chars().next();
            first.is_some_and(|c| c.is_alphabetic() || c == '_')
                && name.len() <= ATTRIBUTE_BYTES_MAX
                && name.chars().all(is_of_name)
        };
        match (text, text.strip_prefix('@')) {
            ("submitter", _) => Ok(Self::Submitter),
            ("reference", _) => Ok(Self::Reference),
            (_, Some(name)) if is_fine(name) => Ok(Self::Attribute(name.into())),
            (_, _) => Err(OrderByError),
        }
    }
}

impl fmt::Display for OrderBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitter => f.write_str("submitter"),
            Self::Reference => f.write_str("reference"),
            Self::Attribute(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_by_one_of_three() {
        for text in ["submitter", "reference", "@Customer", "@_a-1.b", "@größe"] {
            let parsed: OrderBy = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        let long = format!("@{}", "a".repeat(ATTRIBUTE_BYTES_MAX + 1));
        for text in [
            "",
            "Submitter",
            "@",
            "@a:b",
            "@1",
            "@a b",
            "@a=b",
            "@a\n",
            &long,
        ] {
            assert_eq!(text.parse::<OrderBy>(), Err(OrderByError), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_that_of_the_order_that_is_kept() {
        let job: JobName = "20261122T045748.123Z-00042-r-1.xml".parse().unwrap();
        let kept = OrderBy::kept("Customer", "4711");
        let key = |by: &str| {
            let by: OrderBy = by.parse().unwrap();
            by.key(Some("ada"), &job, kept.as_deref())
                .map(str::to_owned)
        };
        assert_eq!(key("submitter").as_deref(), Some("ada"));
        assert_eq!(key("reference").as_deref(), Some("r-1"));
        assert_eq!(key("@Customer").as_deref(), Some("@Customer=4711"));
        assert_eq!(key("@Custom"), None, "it was read for another order");
        assert_eq!(key("@customer"), None);
    }

    #[test]
    fn a_value_is_kept_in_bounds_and_an_empty_one_is_none() {
        assert_eq!(OrderBy::kept("a", ""), None);
        let longest = "x".repeat(VALUE_BYTES_MAX);
        assert_eq!(OrderBy::kept("a", &longest), Some(format!("@a={longest}")));
        let [one, other] = ["1", "2"].map(|end| OrderBy::kept("a", &format!("{longest}{end}")));
        assert_ne!(one, other);
        let hashed = one.unwrap();
        assert!(
            hashed.starts_with("@a=sha256:") && hashed.len() == 74,
            "{hashed}"
        );
    }
}
