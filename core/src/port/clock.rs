//! Clock: the only place the time comes from.

use crate::timestamp::Timestamp;
use async_trait::async_trait;
use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A machine's clock that is behind by more than this is told of.
const BEHIND: Duration = Duration::from_secs(1);

/// The time, and waiting for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now. It never goes back.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some moment of this process, whatever the time is.
    fn uptime(&self) -> Duration;

    /// It was this time already, as what is stored shows: the time goes on from there at the earliest.
    fn not_before(&self, time: Timestamp);

    /// Returns once it is `until` or later.
    async fn sleep_until(&self, until: Timestamp);
}

/// The machine's clock. Where that is set back, the time goes on all the same, at nine tenths of its pace, until the machine's
/// clock has caught up: nothing stands meanwhile, and no time comes twice. One for the whole process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The time of this process.
static TIME: Mutex<Steady> = Mutex::new(Steady::new());

/// A time that never goes back, and never stands still.
#[derive(Debug)]
pub(crate) struct Steady {
    /// The time that was given last, in nanoseconds since the epoch, and the uptime then.
    last: Option<(u128, Duration)>,
    /// The machine's clock is behind, and that is told.
    is_behind: bool,
}

impl Steady {
    pub(crate) const fn new() -> Self {
        Self { last: None, is_behind: false }
    }

    /// The time, and how far the machine's clock is behind where that is to be told.
    pub(crate) fn now(&mut self, machine: Duration, uptime: Duration) -> (Timestamp, Option<Duration>) {
        let machine = machine.as_nanos();
        let least =
            self.last.map_or(0, |(last, then)| last + uptime.saturating_sub(then).as_nanos() / 10 * 9);
        let now = machine.max(least);
        self.last = Some((now, uptime));
        let behind = Duration::from_nanos(u64::try_from(now - machine).unwrap_or(u64::MAX));
        let was_behind = std::mem::replace(&mut self.is_behind, behind > BEHIND);
        let millis = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX);
        (Timestamp::from_millis(millis), Some(behind).filter(|_| self.is_behind && !was_behind))
    }

    pub(crate) fn not_before(&mut self, time: Timestamp, uptime: Duration) {
        let time = u128::from(time.as_millis().max(0).unsigned_abs()) * 1_000_000;
        let (last, then) = self.last.unwrap_or((0, uptime));
        if time > last {
            self.last = Some((time, then));
        }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let told = TIME.lock().unwrap_or_else(PoisonError::into_inner).now(machine, self.uptime());
        let (now, behind) = told;
        if let Some(behind) = behind {
            tracing::warn!(
                ?behind,
                "the machine's clock is behind what was recorded; times are ahead of it until it has caught up"
            );
        }
        now
    }

    fn uptime(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn not_before(&self, time: Timestamp) {
        // The machine's time first: what is before that changes nothing.
        self.now();
        TIME.lock().unwrap_or_else(PoisonError::into_inner).not_before(time, self.uptime());
    }

    async fn sleep_until(&self, until: Timestamp) {
        // The machine's clock can be set while we sleep, and a long sleep drifts from it: look again.
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Duration::from_secs(60))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(time: Duration) -> Timestamp {
        Timestamp::from_millis(i64::try_from(time.as_millis()).unwrap())
    }

    #[test]
    fn a_clock_that_is_set_back_is_told_once_and_the_time_goes_on_until_it_has_caught_up() {
        let mut time = Steady::new();
        assert_eq!(time.now(2 * HOUR, secs(0)), (at(2 * HOUR), None));
        assert_eq!(time.now(HOUR, secs(0)), (at(2 * HOUR), Some(HOUR)), "set back by an hour");
        // However often it is asked for.
        for tenth in 1..=100 {
            let passed = Duration::from_millis(100 * tenth);
            assert_eq!(time.now(HOUR + passed, passed).1, None);
        }
        assert_eq!(time.now(HOUR + secs(10), secs(10)).0, at(2 * HOUR + secs(9)));
        assert_eq!(time.now(12 * HOUR, 11 * HOUR), (at(12 * HOUR), None), "it has caught up");
        assert_eq!(time.now(11 * HOUR, 11 * HOUR).1, Some(HOUR), "a second time is told again");
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_and_a_hair_is_not_told() {
        let mut time = Steady::new();
        time.now(HOUR, secs(0));
        assert_eq!(time.now(3 * HOUR, secs(1)), (at(3 * HOUR), None));
        assert_eq!(time.now(3 * HOUR - secs(1), secs(1)), (at(3 * HOUR), None));
    }

    #[test]
    fn the_time_goes_on_from_what_was_recorded() {
        let mut time = Steady::new();
        time.now(HOUR, secs(0));
        time.not_before(at(2 * HOUR), secs(0));
        assert_eq!(time.now(HOUR + secs(10), secs(10)).0, at(2 * HOUR + secs(9)));
        time.not_before(at(HOUR), secs(10));
        assert_eq!(time.now(HOUR + secs(20), secs(20)).0, at(2 * HOUR + secs(18)));
    }
}
