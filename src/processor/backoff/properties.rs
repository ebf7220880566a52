//! Whatever a configuration may say: a wait is bounded, never shrinks, and ends with the attempts.

use super::*;
use crate::domain::settings;
use proptest::prelude::*;

/// Settings that pass the check, the extreme ones included.
fn any_retry() -> impl Strategy<Value = Retry> {
    let initial_s = prop_oneof![
        Just(0.0),
        0.0..100.0,
        0.0..f64::MAX,
        Just(f64::MIN_POSITIVE)
    ];
    let factor = prop_oneof![Just(1.0), 1.0..10.0, 1.0..f64::MAX];
    let max_s = prop_oneof![Just(0.0), 0.0..100.0, 0.0..=MAX_S];
    let jitter = prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0];
    let attempts = prop_oneof![1..10_u32, 1..=u32::MAX, Just(u32::MAX)];
    (attempts, initial_s, factor, max_s, jitter).prop_map(
        |(attempts, initial_s, factor, max_s, jitter)| Retry {
            attempts,
            initial_s,
            factor,
            max_s,
            jitter,
        },
    )
}

fn any_attempt() -> impl Strategy<Value = u32> {
    prop_oneof![1..10_u32, 1..2000_u32, 1..=u32::MAX]
}

fn any_chance() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0]
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_wait_is_bounded_and_ends_with_the_attempts(
        retry in any_retry(),
        attempt in any_attempt(),
        chance in any_chance(),
    ) {
        prop_assert_eq!(retry.check(), Ok(()));
        let wait_ms = retry.wait_ms(attempt, chance);
        prop_assert_eq!(wait_ms.is_some(), attempt < retry.attempts);
        let Some(wait_ms) = wait_ms else { return Ok(()) };
        prop_assert!((0..=(retry.max_s * 1000.0) as i64).contains(&wait_ms), "{}", wait_ms);
        if attempt == 1 {
            prop_assert!(wait_ms as f64 <= retry.initial_s * 1000.0);
        }
        // Chance takes away the share that it may, and nothing more.
        let whole_ms = retry.wait_ms(attempt, 0.0).unwrap_or_default();
        let least_ms = (whole_ms as f64 * (1.0 - retry.jitter * chance)) as i64;
        prop_assert!((least_ms - 1..=whole_ms).contains(&wait_ms), "{} of {}", wait_ms, whole_ms);
    }

    #[test]
    fn a_later_wait_is_never_shorter(
        retry in any_retry(),
        (a, b) in (any_attempt(), any_attempt()),
        chance in any_chance(),
    ) {
        let waits = [a.min(b), a.max(b)].map(|attempt| retry.wait_ms(attempt, chance));
        if let [Some(earlier), Some(later)] = waits {
            prop_assert!(earlier <= later, "{} ms, then {} ms", earlier, later);
        }
        if retry.initial_s == 0.0 {
            prop_assert!(waits.iter().flatten().all(|wait_ms| *wait_ms == 0), "{:?}", waits);
        }
    }

    /// Chance from outside of its range does no more than at its ends.
    #[test]
    fn chance_is_kept_within_its_range(retry in any_retry(), chance in any::<f64>()) {
        let wait_ms = retry.wait_ms(1, chance);
        prop_assert!(wait_ms >= retry.wait_ms(1, 1.0) && wait_ms <= retry.wait_ms(1, 0.0));
    }

    #[test]
    fn what_passes_the_check_has_numbers(
        (attempts, initial_s, factor, max_s, jitter) in any::<(u32, f64, f64, f64, f64)>(),
    ) {
        let retry = Retry { attempts, initial_s, factor, max_s, jitter };
        if retry.check().is_ok() {
            let finite = [initial_s, factor, max_s, jitter].iter().all(|n| n.is_finite());
            prop_assert!(finite && attempts > 0 && max_s <= MAX_S, "{:?}", retry);
        }
    }
}
