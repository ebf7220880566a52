//! How long a failed login has to wait: windows that grow with each failure.
//!
//! Failures are counted two ways, per address and per pair of user and address; each has a number
//! that is free and then a window that doubles up to a limit. The longer of the two holds, with one
//! exception: where a user is familiar (see `familiar`), it answers for its own failures only. So a
//! flood behind the same address does not lock a partner out. Nothing is counted per user: whoever
//! guesses at a partner's name from elsewhere waits for himself.
//!
//! Windows are timestamps, never sleeping tasks. Every table is bounded; what makes room is the
//! entry that failed longest ago. Everything is forgotten by a restart. Pure: the clock is a
//! parameter.

use crate::{peer::host_of, util::doubled};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ENTRIES_MAX: usize = 10_000;
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// A series of failures ends after this much time without one. Longer than any window.
const FORGOTTEN: Duration = Duration::from_secs(900);

const ADDRESS: Allowance = Allowance::new(20, 300);
const PAIR: Allowance = Allowance::new(5, 300);

/// Where a caller comes from, as far as it can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address(IpAddr);

impl Address {
    pub(super) fn of(peer: IpAddr) -> Self {
        Self(host_of(peer))
    }

    pub(super) fn bytes(self) -> [u8; 16] {
        match self.0 {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    }
}

type UserAddress = (Arc<str>, Address);

#[derive(Default)]
pub(super) struct Throttle {
    addresses: Failures<Address>,
    pairs: Failures<UserAddress>,
}

impl Throttle {
    /// How much longer this user has to wait at this address; `None`: not at all.
    pub(super) fn wait(
        &self,
        user: &Arc<str>,
        at: Address,
        is_familiar: bool,
        now: Instant,
    ) -> Option<Duration> {
        let own = self.pairs.wait(&(user.clone(), at), now);
        match is_familiar {
            true => own,
            false => own.max(self.addresses.wait(&at, now)),
        }
    }

    /// Nothing takes a failure back: one good account must not wash away the guesses at others.
    pub(super) fn failed(&mut self, user: &Arc<str>, at: Address, now: Instant) {
        self.addresses.add(at, &ADDRESS, now);
        self.pairs.add((user.clone(), at), &PAIR, now);
    }
}

struct Allowance {
    free: u32,
    longest: Duration,
}

impl Allowance {
    const fn new(free: u32, longest_s: u64) -> Self {
        Self {
            free,
            longest: Duration::from_secs(longest_s),
        }
    }

    fn window(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(times) => doubled(FIRST_WINDOW, times, self.longest),
        }
    }
}

struct Series {
    failures: u32,
    last: Instant,
    until: Instant,
}

struct Failures<K> {
    series: HashMap<K, Series>,
}

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self {
            series: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Failures<K> {
    fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let left = self.series.get(key)?.until.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    fn add(&mut self, key: K, allowance: &Allowance, now: Instant) {
        if self.series.len() >= ENTRIES_MAX && !self.series.contains_key(&key) {
            drop_oldest(&mut self.series, |series| series.last);
        }
        let series = self.series.entry(key).or_insert(Series {
            failures: 0,
            last: now,
            until: now,
        });
        if now.saturating_duration_since(series.last) >= FORGOTTEN {
            series.failures = 0;
        }
        series.failures = series.failures.saturating_add(1);
        series.last = now;
        series.until = now + allowance.window(series.failures);
    }
}

/// A walk over the whole table, affordable because each step here follows an Argon2 hash.
fn drop_oldest<K: Clone + Eq + Hash, V>(table: &mut HashMap<K, V>, age: impl Fn(&V) -> Instant) {
    let oldest = table.iter().min_by_key(|(_, value)| age(value));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        table.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> Address {
        Address::of(IpAddr::from([192, 0, 2, n]))
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn windows_double_up_to_the_limit() {
        let windows: Vec<u64> = (4..18).map(|n| PAIR.window(n).as_secs()).collect();
        assert_eq!(
            windows,
            [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        );
        assert_eq!(PAIR.window(u32::MAX), seconds(300));
    }

    #[test]
    fn a_guesser_at_one_user_waits_and_others_do_not() {
        let (shop, other): (Arc<str>, Arc<str>) = ("shop".into(), "other".into());
        let (now, mut throttle) = (Instant::now(), Throttle::default());
        for _ in 0..6 {
            assert_eq!(throttle.wait(&shop, address(1), false, now), None);
            throttle.failed(&shop, address(1), now);
        }
        let wait = |user, n, now| throttle.wait(user, address(n), false, now);
        assert_eq!(wait(&shop, 1, now), Some(seconds(1)));
        assert_eq!(wait(&shop, 1, now + seconds(1)), None);
        assert_eq!(wait(&shop, 2, now), None);
        assert_eq!(wait(&other, 1, now), None);
    }

    #[test]
    fn many_users_from_one_address_slow_that_address_but_not_who_is_familiar_there() {
        let (now, mut throttle) = (Instant::now(), Throttle::default());
        for n in 0..21 {
            throttle.failed(&format!("u{n}").into(), address(1), now);
        }
        let new: Arc<str> = "new".into();
        assert_eq!(
            throttle.wait(&new, address(1), false, now),
            Some(seconds(1))
        );
        assert_eq!(throttle.wait(&new, address(2), false, now), None);
        assert_eq!(throttle.wait(&new, address(1), true, now), None);
        for _ in 0..6 {
            throttle.failed(&new, address(1), now);
        }
        assert_eq!(throttle.wait(&new, address(1), true, now), Some(seconds(1)));
    }

    #[test]
    fn one_user_from_many_addresses_is_not_slowed() {
        let shop: Arc<str> = "shop".into();
        let (now, mut throttle) = (Instant::now(), Throttle::default());
        for n in 0..200 {
            throttle.failed(&shop, address(n), now);
            throttle.failed(&shop, address(n), now);
        }
        assert_eq!(throttle.wait(&shop, address(201), false, now), None);
        assert_eq!(throttle.wait(&shop, address(1), false, now), None);
    }

    #[test]
    fn a_series_is_forgotten() {
        let shop: Arc<str> = "shop".into();
        let (now, mut throttle) = (Instant::now(), Throttle::default());
        for _ in 0..12 {
            throttle.failed(&shop, address(1), now);
        }
        let later = now + FORGOTTEN;
        throttle.failed(&shop, address(1), later);
        assert_eq!(throttle.wait(&shop, address(1), false, later), None);
    }

    #[test]
    fn tables_are_bounded_and_the_oldest_goes() {
        let (now, mut failures) = (Instant::now(), Failures::default());
        for n in 0..=ENTRIES_MAX {
            failures.add(n, &PAIR, now + Duration::from_nanos(n as u64));
        }
        assert_eq!(failures.series.len(), ENTRIES_MAX);
        assert!(!failures.series.contains_key(&0) && failures.series.contains_key(&1));
    }

    #[test]
    fn addresses_are_told_apart_by_all_their_bytes() {
        assert_ne!(address(1).bytes(), address(2).bytes());
        let of = |text: &str| Address::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1").bytes(), of("2001:db8:0:1::1").bytes());
    }
}
