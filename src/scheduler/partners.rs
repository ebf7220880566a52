//! What is due to each partner among the others. Pure.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

/// Whose a job is: the name of its submitter.
pub type Partner = Arc<str>;

/// How far a turn of weight 1 takes a partner behind the others. A multiple of no weight, so a share may be wrong
/// by one in a billion.
const STRIDE: u128 = 1 << 40;

/// What is due to one partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartnerRules {
    /// How many turns it has for each one of a partner of weight 1.
    pub weight: NonZeroU32,
    /// How many of its jobs run at the same time, over all interfaces.
    pub running_max: Option<usize>,
}

impl Default for PartnerRules {
    fn default() -> Self {
        Self {
            weight: NonZeroU32::MIN,
            running_max: None,
        }
    }
}

impl PartnerRules {
    /// How far one turn takes it behind the others.
    pub(super) fn stride(&self) -> u128 {
        STRIDE / u128::from(self.weight.get())
    }
}

/// What is due to all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partners {
    pub named: BTreeMap<String, PartnerRules>,
    /// Of every other one.
    pub others: PartnerRules,
}

impl Partners {
    /// Jobs of which no partner is known count as those of one.
    pub fn of(&self, partner: Option<&Partner>) -> PartnerRules {
        let named = partner.and_then(|partner| self.named.get(&**partner));
        named.copied().unwrap_or(self.others)
    }

    /// Has any of them no more than so many running jobs?
    pub fn are_limited(&self) -> bool {
        let mut all = self.named.values().chain([&self.others]);
        all.any(|rules| rules.running_max.is_some())
    }

    /// How many jobs of a partner run at the same time. Of those whose partner is not known, as many as there are.
    pub fn running_max(&self, partner: Option<&Partner>) -> usize {
        let limit = partner.and_then(|partner| self.of(Some(partner)).running_max);
        limit.unwrap_or(usize::MAX)
    }

    /// About how many turns come before that of a job, where partners take them: it is behind `before` jobs of its
    /// own partner, and so many jobs of each other partner wait.
    pub fn turns_before(
        &self,
        own: Option<&Partner>,
        before: usize,
        others: &[(Partner, usize)],
    ) -> usize {
        let weight = |partner| u128::from(self.of(partner).weight.get());
        let own_turns = before as u128 + 1;
        let turns = others.iter().map(|(other, jobs)| {
            let due = own_turns * weight(Some(other)) / weight(own);
            usize::try_from(due).unwrap_or(usize::MAX).min(*jobs)
        });
        turns.fold(before, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_for_no_more_turns_of_others_than_are_due_to_them() {
        let [ada, bob, cid]: [Partner; 3] = ["ada", "bob", "cid"].map(Into::into);
        let weight = |n| PartnerRules {
            weight: NonZeroU32::new(n).unwrap(),
            running_max: None,
        };
        let partners = Partners {
            named: BTreeMap::from([("ada".into(), weight(4))]),
            others: PartnerRules::default(),
        };
        let before = |own, n, others: &[(Partner, usize)]| partners.turns_before(own, n, others);
        assert_eq!(before(None, 7, &[]), 7);
        assert_eq!(before(Some(&bob), 0, &[(ada.clone(), 100_000)]), 4);
        assert_eq!(before(Some(&bob), 0, &[(cid.clone(), 100_000)]), 1);
        assert_eq!(before(Some(&bob), 2, &[(ada.clone(), 5), (cid, 1)]), 8);
        assert_eq!(before(Some(&ada), 7, &[(bob.clone(), 100_000)]), 7 + 2);
    }
}
