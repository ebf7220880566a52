//! How long the jobs of an interface take, and when those that wait will be done. Pure.
//!
//! It is an estimate for those who ask again when it has passed: never in the past, and never so soon
//! that asking is all they do. It knows nothing of an earlier service.

use std::collections::VecDeque;

/// So many runs are remembered.
const RUNS_MAX: usize = 32;
/// How long a run takes as long as nobody has seen one, in milliseconds.
const UNKNOWN_MS: i64 = 5_000;
/// No estimate is nearer.
const SOON_MS: i64 = 1_000;
/// The estimate while an interface starts nothing.
const IDLE_MS: i64 = 60_000;
/// Nor further away: a year.
const FAR_MS: i64 = 365 * 86_400_000;

/// The recent runs of an interface.
#[derive(Clone, Debug, Default)]
pub struct RunStats {
    recent_ms: VecDeque<i64>,
}

/// What has to happen before a job is done, besides its own run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It waits for its next attempt.
    Deferred { due_ms: i64 },
    /// Nothing: it runs, since a moment that may not be known.
    Running { started_ms: Option<i64> },
    /// So many jobs run, or wait before it; `in_series`, at least so many runs have to end one after the other.
    Waiting { jobs: usize, in_series: usize },
}

impl RunStats {
    /// A run has ended after so long.
    pub fn ran(&mut self, ms: i64) {
        if self.recent_ms.len() == RUNS_MAX {
            self.recent_ms.pop_front();
        }
        // Clocks step back.
        self.recent_ms.push_back(ms.max(0));
    }

    /// The mean, since it is runs one after the other that make a job wait.
    fn usual_ms(&self) -> i64 {
        match i64::try_from(self.recent_ms.len()) {
            Ok(n) if n > 0 => {
                self.recent_ms
                    .iter()
                    .fold(0_i64, |sum, ms| sum.saturating_add(*ms))
                    / n
            }
            Ok(_) | Err(_) => UNKNOWN_MS,
        }
    }

    /// When a job will be done, in milliseconds of the Unix epoch, if `at_once` jobs of its interface
    /// run at once; 0: none is started at present.
    pub fn eta_ms(&self, now_ms: i64, ahead: Ahead, at_once: usize) -> i64 {
        let usual_ms = self.usual_ms();
        let left_ms = match ahead {
            Ahead::Running { started_ms } => {
                let taken_ms = now_ms.saturating_sub(started_ms.unwrap_or(now_ms)).max(0);
                // One that takes longer than usual is given some more of what it has taken.
                usual_ms.saturating_sub(taken_ms).max(taken_ms / 4)
            }
            Ahead::Deferred { due_ms } => due_ms
                .saturating_sub(now_ms)
                .max(0)
                .saturating_add(usual_ms),
            Ahead::Waiting { jobs, in_series } => {
                let full = jobs.checked_div(at_once).unwrap_or(0);
                let rounds = full.max(in_series).saturating_add(1);
                usual_ms.saturating_mul(i64::try_from(rounds).unwrap_or(i64::MAX))
            }
        };
        let starts = at_once > 0 || matches!(ahead, Ahead::Running { .. });
        let least_ms = if starts { SOON_MS } else { IDLE_MS };
        now_ms.saturating_add(left_ms.clamp(least_ms, FAR_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_795_323_468_123;

    fn after(runs: &[i64]) -> RunStats {
        let mut stats = RunStats::default();
        runs.iter().for_each(|ms| stats.ran(*ms));
        stats
    }

    fn left_ms(stats: &RunStats, ahead: Ahead, at_once: usize) -> i64 {
        stats.eta_ms(NOW_MS, ahead, at_once) - NOW_MS
    }

    fn behind(jobs: usize) -> Ahead {
        let in_series = 0;
        Ahead::Waiting { jobs, in_series }
    }

    #[test]
    fn runs_one_after_the_other_count_however_many_jobs_run_at_once() {
        let stats = after(&[1_000]);
        let ahead = |in_series| Ahead::Waiting {
            jobs: 12,
            in_series,
        };
        assert_eq!(left_ms(&stats, ahead(3), 8), 4_000);
        assert_eq!(left_ms(&stats, ahead(0), 8), 2_000);
    }

    #[test]
    fn a_job_waits_for_the_rounds_before_it() {
        let stats = after(&[8_000, 12_000]);
        let waiting = |jobs, at_once| left_ms(&stats, behind(jobs), at_once);
        assert_eq!(waiting(0, 1), 10_000);
        assert_eq!(waiting(3, 1), 40_000);
        assert_eq!(waiting(3, 4), 10_000);
        assert_eq!(waiting(4, 4), 20_000);
        assert_eq!(waiting(0, 0), IDLE_MS, "nothing is started");
        assert_eq!(left_ms(&RunStats::default(), behind(1), 1), 2 * UNKNOWN_MS);
        let due = Ahead::Deferred {
            due_ms: NOW_MS + 500,
        };
        assert_eq!(left_ms(&stats, due, 1), 10_500);
        let overdue = Ahead::Deferred {
            due_ms: NOW_MS - 500,
        };
        assert_eq!(left_ms(&stats, overdue, 1), 10_000);
    }

    #[test]
    fn a_run_has_what_is_left_of_its_time() {
        let stats = after(&[10_000]);
        let since = |ms| Ahead::Running {
            started_ms: Some(NOW_MS - ms),
        };
        assert_eq!(left_ms(&stats, since(4_000), 1), 6_000);
        assert_eq!(left_ms(&stats, since(9_900), 1), 2_475);
        assert_eq!(
            left_ms(&stats, since(60_000), 1),
            15_000,
            "it takes longer than usual"
        );
        assert_eq!(
            left_ms(&stats, since(4_000), 0),
            6_000,
            "a hold does not end it"
        );
        assert_eq!(
            left_ms(&stats, Ahead::Running { started_ms: None }, 1),
            10_000
        );
        assert_eq!(left_ms(&after(&[3]), since(0), 1), SOON_MS);
    }

    #[test]
    fn old_runs_are_forgotten() {
        let mut stats = after(&[1_000_000; 5]);
        for _ in 0..RUNS_MAX {
            stats.ran(2_000);
        }
        assert_eq!(left_ms(&stats, behind(0), 1), 2_000);
    }

    fn any_ahead() -> impl Strategy<Value = Ahead> {
        prop_oneof![
            any::<i64>().prop_map(|due_ms| Ahead::Deferred { due_ms }),
            any::<Option<i64>>().prop_map(|started_ms| Ahead::Running { started_ms }),
            any::<[usize; 2]>().prop_map(|[jobs, in_series]| Ahead::Waiting { jobs, in_series }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_never_in_the_past(
            runs in proptest::collection::vec(any::<i64>(), 0..40),
            ahead in any_ahead(),
            at_once in any::<usize>(),
        ) {
            let left_ms = left_ms(&after(&runs), ahead, at_once);
            prop_assert!((SOON_MS..=FAR_MS).contains(&left_ms), "{left_ms}");
        }
    }
}
