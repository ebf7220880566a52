//! Deliberate mistakes in the tables, so that the fuzzing which must notice them can be seen to do so.
//!
//! A product that is built without the feature `fault-injection` has none: there
//! [`FaultInjection::chosen`] is always [`FaultInjection::None`], and nothing reads the environment.
//! With the feature, the variable `SPOOLGATE_FAULT_INJECTION` names the mistake; those of other parts
//! have other names.

use super::super::names::Namespace;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "fault-injection"),
    expect(dead_code, reason = "only the feature makes mistakes")
)]
pub(super) enum FaultInjection {
    /// No mistake.
    #[default]
    None,
    /// What may occur so many times may occur once more.
    CounterOffByOne,
    /// `xs:fractionDigits` is not looked at.
    FacetIgnored,
    /// `##other` takes what has no namespace, too.
    WildcardTooWide,
}

impl FaultInjection {
    /// The mistake that the environment asks for.
    #[cfg(feature = "fault-injection")]
    pub(super) fn chosen() -> Self {
        let name = std::env::var("SPOOLGATE_FAULT_INJECTION").unwrap_or_default();
        match name.as_str() {
            "counter-off-by-one" => Self::CounterOffByOne,
            "facet-ignored" => Self::FacetIgnored,
            "wildcard-too-wide" => Self::WildcardTooWide,
            _ => Self::None,
        }
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(super) fn chosen() -> Self {
        Self::None
    }

    /// How often something may occur that `maxOccurs` allows `max` times.
    pub(super) fn occurrences_max(self, max: u32) -> u32 {
        max.saturating_add(u32::from(self == Self::CounterOffByOne))
    }

    pub(super) fn knows_fraction_digits(self) -> bool {
        self != Self::FacetIgnored
    }

    /// What `##other` leaves out in a schema for `target`.
    pub(super) fn not_other(self, target: Namespace) -> Vec<Namespace> {
        match self {
            Self::None | Self::CounterOffByOne | Self::FacetIgnored => {
                vec![target, Namespace::ABSENT]
            }
            Self::WildcardTooWide => vec![target],
        }
    }
}
