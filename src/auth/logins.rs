//! How each user has logged in lately: when last, and the moments of failures. Pure.
//!
//! Only users of the file are counted, so it is bounded by them: a name that is tried and that nobody has leaves
//! nothing. What has failed is forgotten by a restart; the moment of the last login is kept with the familiar pairs.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// So many failures of a user are remembered, the latest ones.
pub const FAILURES_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Logins {
    of: HashMap<Arc<str>, Login>,
}

/// Moments are seconds of the Unix epoch.
#[derive(Debug, Default)]
struct Login {
    last_s: Option<i64>,
    failures_s: VecDeque<i64>,
}

impl Logins {
    pub(super) fn succeeded(&mut self, user: &Arc<str>, now_s: i64) {
        self.login(user).last_s = Some(now_s);
    }

    pub(super) fn failed(&mut self, user: &Arc<str>, now_s: i64) {
        let failures_s = &mut self.login(user).failures_s;
        if failures_s.len() == FAILURES_MAX {
            failures_s.pop_front();
        }
        failures_s.push_back(now_s);
    }

    fn login(&mut self, user: &Arc<str>) -> &mut Login {
        self.of.entry(user.clone()).or_default()
    }

    pub(super) fn last_s(&self, user: &str) -> Option<i64> {
        self.of.get(user)?.last_s
    }

    /// Those who have logged in since the start, and when last.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, i64)> {
        let of = self.of.iter();
        of.filter_map(|(user, login)| Some((&**user, login.last_s?)))
    }

    /// How many failures there were from a moment on, [`FAILURES_MAX`] at most.
    pub(super) fn failures_since(&self, user: &str, since_s: i64) -> usize {
        let failures_s = self.of.get(user).map(|login| &login.failures_s);
        let failures_s = failures_s.into_iter().flatten();
        failures_s.filter(|at_s| **at_s >= since_s).count()
    }

    /// Forgets who is no user any more.
    pub(super) fn retain(&mut self, is_user: impl Fn(&str) -> bool) {
        self.of.retain(|user, _| is_user(user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_login_and_the_failures_of_a_day_are_known_and_bounded() {
        let (mut logins, shop) = (Logins::default(), Arc::<str>::from("shop"));
        assert_eq!(
            (logins.last_s("shop"), logins.failures_since("shop", 0)),
            (None, 0)
        );
        for now_s in 0..10 {
            logins.failed(&shop, now_s);
        }
        logins.succeeded(&shop, 7);
        logins.succeeded(&shop, 11);
        assert_eq!(logins.last_s("shop"), Some(11));
        assert_eq!(logins.failures_since("shop", 8), 2);
        assert_eq!(logins.all().collect::<Vec<_>>(), [("shop", 11)]);
        for now_s in 20..1000 {
            logins.failed(&shop, now_s);
        }
        assert_eq!(logins.failures_since("shop", 0), FAILURES_MAX);
        assert_eq!(
            logins.failures_since("shop", 990),
            10,
            "the latest are kept"
        );
        logins.retain(|user| user != "shop");
        assert_eq!(logins.last_s("shop"), None);
    }
}
