//! The backoff schedule. The only module that knows the `backoff` crate (unmaintained, RUSTSEC-2025-0012; the
//! exception and its reason stand in `deny.toml`). Its clock and its random numbers are not used: growth comes
//! from it, jitter from the [`Random`] port, so that a simulated run is a function of its seed.

use crate::{planted::planted, port::Random};
use ::backoff::{ExponentialBackoff, backoff::Backoff as _};
use std::time::Duration;

/// The waits between the attempts of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Waits {
    /// They grow.
    Exponential(Backoff),
    /// They are listed: the first after the first attempt, the last one after every further attempt.
    Listed(Vec<Duration>),
}

impl Default for Waits {
    /// The default [`Backoff`].
    fn default() -> Self {
        Self::Exponential(Backoff::default())
    }
}

impl From<Backoff> for Waits {
    fn from(backoff: Backoff) -> Self {
        Self::Exponential(backoff)
    }
}

impl<const N: usize> From<[Duration; N]> for Waits {
    fn from(waits: [Duration; N]) -> Self {
        Self::Listed(waits.into())
    }
}

impl Waits {
    /// The wait after attempt `attempt` (counted from 1), the longest it can be.
    pub fn longest(&self, attempt: u32) -> Duration {
        match self {
            Self::Exponential(backoff) => backoff.longest(attempt),
            Self::Listed(waits) => {
                let at = usize::try_from(attempt.max(1) - 1).unwrap_or(usize::MAX);
                waits.get(at).or(waits.last()).copied().unwrap_or_default()
            }
        }
    }

    /// The longest of the waits after the attempts 1 to `attempts`.
    pub(crate) fn longest_of(&self, attempts: u32) -> Duration {
        (1..=attempts.min(10_000)).map(|attempt| self.longest(attempt)).max().unwrap_or_default()
    }

    /// The wait after attempt `attempt` (counted from 1), the shortest it can be.
    #[cfg(feature = "sim")]
    pub(crate) fn shortest(&self, attempt: u32) -> Duration {
        match self {
            Self::Exponential(backoff) => {
                backoff.longest(attempt).mul_f64(1.0 - backoff.jitter.clamp(0.0, 1.0))
            }
            Self::Listed(_) => self.longest(attempt),
        }
    }

    /// The wait after attempt `attempt` (counted from 1). Listed ones have no jitter.
    pub fn after(&self, attempt: u32, random: &dyn Random) -> Duration {
        let attempt = if planted("backoff_that_never_grows") { 1 } else { attempt };
        match self {
            Self::Exponential(backoff) => backoff.after(attempt, random),
            Self::Listed(_) => self.longest(attempt),
        }
    }

    /// The sum of the longest waits of `attempts` attempts (the last attempt is followed by none).
    pub fn total(&self, attempts: u32) -> Duration {
        (1..attempts.min(10_000))
            .map(|attempt| self.longest(attempt))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// What makes no sense about them, and how to mend it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Exponential(backoff) => backoff.problem(),
            Self::Listed(waits) if waits.is_empty() => Some("the list is empty: list one wait at least"),
            Self::Listed(_) => None,
        }
    }
}

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

    /// What makes no sense about it, and how to mend it.
    fn problem(&self) -> Option<&'static str> {
        if !(self.multiplier.is_finite() && self.multiplier >= 1.0) {
            return Some("the multiplier is less than 1, or no number: 2.0 doubles each wait");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Some("the jitter is not between 0 and 1: 0.5 makes half of each wait random");
        }
        (self.initial > self.max).then_some("the first wait is longer than the longest: raise `max`")
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
        assert_eq!(Waits::from(backoff).total(4), Duration::from_secs(7));
    }

    #[test]
    fn listed_waits_come_in_their_order_and_the_last_one_stays() {
        let waits = Waits::from([2, 4, 8].map(Duration::from_secs));
        let after: Vec<_> =
            (1..=5).map(|attempt| waits.after(attempt, &SeededRandom::new(1)).as_secs()).collect();
        assert_eq!(after, [2, 4, 8, 8, 8]);
        assert_eq!(waits.total(3), Duration::from_secs(6));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let standard = Backoff::default();
        assert_eq!(Waits::from(standard).problem(), None);
        for senseless in [
            Backoff { multiplier: f64::NAN, ..standard },
            Backoff { multiplier: -2.0, ..standard },
            Backoff { jitter: 1.5, ..standard },
            Backoff { initial: standard.max * 2, ..standard },
        ] {
            assert!(Waits::from(senseless).problem().is_some(), "{senseless:?}");
        }
        assert!(Waits::Listed(Vec::new()).problem().is_some());
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
