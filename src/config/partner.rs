//! `[partners.NAME]`: what one user may have and send, and what turns are his, where that is not as for all.

use super::{COUNT_MAX, at_least_1, at_most};
use crate::{scheduler::PartnerRules, service::UserLimits};
use serde::Deserialize;
use std::{collections::BTreeMap, num::NonZeroU32};

/// Enough to tell partners apart, and few enough that no one waits for ever.
const WEIGHT_MAX: u32 = 1000;

/// The moment of each is remembered for a minute.
const UPLOADS_PER_MINUTE_MAX: usize = 100_000;

/// What is not given is as `[limits]` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Partner {
    /// How many turns he has for each one of a user of weight 1.
    pub weight: u32,
    /// How many of his jobs run at the same time, over all interfaces of a tenant.
    pub running_max: Option<usize>,
    pub waiting_jobs_max: Option<usize>,
    pub bytes_per_day_max: Option<u64>,
    pub uploads_per_minute_max: Option<usize>,
}

impl Default for Partner {
    fn default() -> Self {
        Self {
            weight: 1,
            running_max: None,
            waiting_jobs_max: None,
            bytes_per_day_max: None,
            uploads_per_minute_max: None,
        }
    }
}

impl Partner {
    /// As the scheduler wants it; `others` are those of whom nothing is said.
    pub fn rules(&self, others: &PartnerRules) -> PartnerRules {
        PartnerRules {
            weight: NonZeroU32::new(self.weight).unwrap_or(NonZeroU32::MIN),
            running_max: self.running_max.or(others.running_max),
        }
    }

    /// The limits of this user, where `usual` are those of all.
    pub fn limits(&self, usual: &UserLimits) -> UserLimits {
        UserLimits {
            waiting_jobs_max: self.waiting_jobs_max.unwrap_or(usual.waiting_jobs_max),
            bytes_per_day_max: self.bytes_per_day_max.or(usual.bytes_per_day_max),
            uploads_per_minute_max: self.uploads_per_minute_max.or(usual.uploads_per_minute_max),
        }
    }

    fn check(&self) -> Result<(), String> {
        let weight = self.weight;
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(format!("weight is {weight} and must be 1 to {WEIGHT_MAX}"));
        }
        if let Some(running_max) = self.running_max {
            at_least_1("running_max", running_max as u64)?;
            at_most("running_max", running_max, COUNT_MAX)?;
        }
        if let Some(waiting_jobs_max) = self.waiting_jobs_max {
            at_least_1("waiting_jobs_max", waiting_jobs_max as u64)?;
            at_most("waiting_jobs_max", waiting_jobs_max, COUNT_MAX)?;
        }
        check_bytes("bytes_per_day_max", self.bytes_per_day_max)?;
        check_uploads("uploads_per_minute_max", self.uploads_per_minute_max)
    }
}

/// The table of a tenant.
///
/// # Errors
///
/// What in it is wrong, with its key.
pub(super) fn checked(
    partners: &BTreeMap<String, Partner>,
) -> Result<BTreeMap<String, Partner>, String> {
    for (name, partner) in partners {
        let checked = partner.check();
        checked.map_err(|error| format!("partners.{name}.{error}"))?;
    }
    Ok(partners.clone())
}

pub(super) fn check_bytes(name: &str, given: Option<u64>) -> Result<(), String> {
    given.map_or(Ok(()), |bytes| at_least_1(name, bytes))
}

pub(super) fn check_uploads(name: &str, given: Option<usize>) -> Result<(), String> {
    let Some(uploads) = given else {
        return Ok(());
    };
    at_least_1(name, uploads as u64)?;
    at_most(name, uploads, UPLOADS_PER_MINUTE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn parse(keys: &str) -> Result<Config, String> {
        let text = format!("[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n{keys}");
        Config::parse(&text, Path::new("/x/spoolgate.toml"))
    }

    #[test]
    fn a_partner_has_what_his_table_says_and_else_what_all_have() {
        let config = parse(
            "[limits]\nqueue_jobs_per_user_max = 7\nbytes_per_day_per_user_max = 100\n\
             [partners.shop]\nbytes_per_day_max = 200\nuploads_per_minute_max = 3\n\
             [tenants.north]\nhosts = [\"h\"]\n[tenants.north.interfaces.b]\ndirection = \"in\"\n\
             [tenants.north.partners.shop]\nwaiting_jobs_max = 9\n",
        );
        let config = config.unwrap();
        let usual = config.limits.admission().user;
        let of = |tenant: usize| config.tenants[tenant].partners["shop"].limits(&usual);
        let expected = UserLimits {
            waiting_jobs_max: 7,
            bytes_per_day_max: Some(200),
            uploads_per_minute_max: Some(3),
        };
        assert_eq!(of(0), expected);
        let expected = UserLimits {
            waiting_jobs_max: 9,
            bytes_per_day_max: Some(100),
            uploads_per_minute_max: None,
        };
        assert_eq!(of(1), expected);
    }

    #[test]
    fn what_would_let_nothing_in_or_too_much_is_refused() {
        for (keys, words) in [
            (
                "[partners.shop]\nwaiting_jobs_max = 0",
                "partners.shop.waiting_jobs_max is 0 and must be at least 1",
            ),
            (
                "[partners.shop]\nbytes_per_day_max = 0",
                "partners.shop.bytes_per_day_max is 0 and must be at least 1",
            ),
            (
                "[partners.shop]\nuploads_per_minute_max = 100001",
                "partners.shop.uploads_per_minute_max is 100001 and must be at most 100000",
            ),
            (
                "[limits]\nuploads_per_minute_per_user_max = 0",
                "limits.uploads_per_minute_per_user_max is 0 and must be at least 1",
            ),
            (
                "[limits]\nbytes_per_day_per_user_max = 0",
                "limits.bytes_per_day_per_user_max is 0 and must be at least 1",
            ),
            ("[partners.shop]\nbytes_a_day = 1", "bytes_per_day_max"),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
    }
}
