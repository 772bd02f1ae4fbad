//! The backoff schedule. The only module that knows the `backoff` crate (unmaintained, RUSTSEC-2025-0012; the
//! exception and its reason stand in `deny.toml`). Its clock and its random numbers are not used: growth comes
//! from it, jitter from the [`Random`] port, so that a simulated run is a function of its seed.

use crate::port::Random;
use ::backoff::{ExponentialBackoff, backoff::Backoff as _};
use std::time::Duration;

/// How long to wait before the next attempt: exponential growth with jitter, capped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Wait after the first attempt, before jitter.
    pub initial: Duration,
    /// Longest wait, before jitter.
    pub max: Duration,
    /// Factor from one wait to the next; at least 1.
    pub multiplier: f64,
    /// Part of a wait that is random, 0 to 1: a wait is drawn evenly from `wait * (1 - jitter)` to `wait`.
    pub jitter: f64,
}

impl Default for Backoff {
    /// 1 s, doubling to 5 min, half of it random.
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(300), multiplier: 2.0, jitter: 0.5 }
    }
}

impl Backoff {
    /// The wait after attempt `attempt` (counted from 1), without jitter: the longest it can be.
    pub fn longest(&self, attempt: u32) -> Duration {
        let mut schedule = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            randomization_factor: 0.0,
            multiplier: self.multiplier.max(1.0),
            max_interval: self.max.max(self.initial),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // Growth past 64 steps is capped in every sensible schedule; a bound keeps a hostile count cheap.
        let mut wait = self.initial;
        for _ in 0..attempt.clamp(1, 64) {
            wait = schedule.next_backoff().unwrap_or(self.max);
        }
        wait.min(self.max)
    }

    /// The wait after attempt `attempt` (counted from 1), with jitter.
    pub fn after(&self, attempt: u32, random: &dyn Random) -> Duration {
        let longest = self.longest(attempt);
        let jitter = self.jitter.clamp(0.0, 1.0);
        longest.mul_f64(1.0 - jitter * random.unit())
    }

    /// The sum of the longest waits of `attempts` attempts (the last attempt is followed by none).
    pub fn total(&self, attempts: u32) -> Duration {
        (1..attempts.min(10_000))
            .map(|attempt| self.longest(attempt))
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::SeededRandom;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff =
            Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(5), ..Backoff::default() };
        let waits: Vec<_> = (1..=5).map(|n| backoff.longest(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.total(4), Duration::from_secs(7));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(attempt in 0u32..200, seed: u64, jitter in 0.0f64..=1.0) {
            let backoff = Backoff { jitter, ..Backoff::default() };
            let (wait, longest) = (backoff.after(attempt, &SeededRandom::new(seed)), backoff.longest(attempt));
            prop_assert!(wait <= longest);
            prop_assert!(wait >= longest.mul_f64((1.0 - jitter).max(0.0)).saturating_sub(Duration::from_micros(1)));
        }

        #[test]
        fn the_same_seed_gives_the_same_wait(attempt in 1u32..50, seed: u64) {
            let backoff = Backoff::default();
            prop_assert_eq!(
                backoff.after(attempt, &SeededRandom::new(seed)),
                backoff.after(attempt, &SeededRandom::new(seed))
            );
        }
    }
}
