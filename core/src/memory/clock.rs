//! A clock that stands still until it is told to go on.

use crate::{
    port::{Clock, Steady},
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

/// Lets every other task of this thread run until all of them wait. In memory nothing else can wake them, so that 256 rounds
/// are many more than the longest chain of them needs.
pub async fn all_wait() {
    for _ in 0..256 {
        tokio::task::yield_now().await;
    }
}

/// Virtual time: it moves only by [`advance`](Self::advance) and [`advance_to`](Self::advance_to), so that hours of
/// waiting pass in no time and a test sees the same times in every run.
///
/// Who sleeps is woken, but runs only when the runtime lets it: after an advance, yield
/// ([`tokio::task::yield_now`]) before looking at what came of it.
#[derive(Debug)]
pub struct VirtualClock(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What gives the time, as it does for the machine's clock.
    steady: Steady,
    /// What the machine's clock shows, since the epoch.
    machine: Duration,
    uptime: Duration,
    /// Tells sleepers of one instant apart, in the order in which they lay down.
    sleepers_so_far: u64,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
}

impl VirtualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(State {
            steady: Steady::new(),
            machine: start.since(Timestamp::from_millis(0)),
            uptime: Duration::ZERO,
            sleepers_so_far: 0,
            sleepers: BTreeMap::new(),
        }))
    }

    /// Lets exactly that much time pass, everybody waking at the time for which they asked. Only what runs in memory, on a
    /// runtime of one thread, is waited for.
    pub async fn pass(&self, time: Duration) {
        let end = self.now() + time;
        all_wait().await;
        while let Some(next) = self.next_wake().filter(|next| *next <= end) {
            self.advance_to(next);
            all_wait().await;
        }
        self.advance_to(end);
        all_wait().await;
    }

    /// Lets `time` pass, to the millisecond, and wakes the sleepers whose time has come.
    pub fn advance(&self, time: Duration) {
        self.state().advance(time);
    }

    /// Moves on to `until` and wakes the sleepers whose time has come. Time never goes back: an earlier `until`
    /// changes nothing.
    pub fn advance_to(&self, until: Timestamp) {
        self.state().advance_to(until);
    }

    /// Sets the machine's clock back, as somebody may set a real one: the time goes on at nine tenths of its pace, as that of
    /// [`SystemClock`](crate::port::SystemClock) does, until the machine's clock has caught up.
    pub fn set_back(&self, by: Duration) {
        let mut state = self.state();
        // From now on, whether or not anybody has asked.
        state.now();
        state.machine = state.machine.saturating_sub(by);
    }

    /// When the next sleeper is to be woken; `None` where nobody sleeps.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.state().sleepers.keys().next().map(|(until, _)| *until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lie_down(&self, until: Timestamp) -> Option<Sleeper<'_>> {
        let mut state = self.state();
        if until <= state.now() {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        state.sleepers_so_far += 1;
        let place = (until, state.sleepers_so_far);
        state.sleepers.insert(place, wake);
        Some(Sleeper { clock: self, place, woken })
    }
}

impl State {
    fn now(&mut self) -> Timestamp {
        self.steady.now(self.machine, self.uptime).0
    }

    fn advance(&mut self, time: Duration) {
        self.machine += time;
        self.uptime += time;
        self.wake();
    }

    fn advance_to(&mut self, until: Timestamp) {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return self.wake();
            }
            // The machine's clock gets there, or the time of one that is behind does, at its pace.
            let machine = until.since(Timestamp::from_millis(0)).saturating_sub(self.machine);
            self.advance(machine.min(left + left / 9 + Duration::from_nanos(10)));
        }
    }

    /// Wakes the sleepers whose time has come.
    fn wake(&mut self) {
        let now = self.now();
        while let Some(first) = self.sleepers.first_entry()
            && first.key().0 <= now
        {
            // Its sleeper may be gone by now; then nobody needs to be woken.
            let _ = first.remove().send(());
        }
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.state().now()
    }

    fn not_before(&self, time: Timestamp) {
        let mut state = self.state();
        state.now();
        let uptime = state.uptime;
        state.steady.not_before(time, uptime);
        state.wake();
    }

    fn uptime(&self) -> Duration {
        self.state().uptime
    }

    async fn sleep_until(&self, until: Timestamp) {
        if let Some(mut sleeper) = self.lie_down(until) {
            // The sending end goes away only by being used.
            let _ = (&mut sleeper.woken).await;
        }
    }
}

/// A place among the sleepers, given up when the sleep is cancelled: [`VirtualClock::next_wake`] must not name a
/// time for which nobody waits any more.
struct Sleeper<'a> {
    clock: &'a VirtualClock,
    place: (Timestamp, u64),
    woken: oneshot::Receiver<()>,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.clock.state().sleepers.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::task::yield_now;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = Arc::new(VirtualClock::new(at(1_000)));
        let sleep = |until: i64| {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep_until(at(until)).await })
        };
        let (late, early, past) = (sleep(3_000), sleep(2_000), sleep(1_000));
        past.await.unwrap();
        yield_now().await;
        assert_eq!(clock.next_wake(), Some(at(2_000)));
        clock.advance(Duration::from_millis(1_000));
        early.await.unwrap();
        assert!(!late.is_finished());
        assert_eq!(clock.next_wake(), Some(at(3_000)));
        clock.advance_to(at(9_000));
        late.await.unwrap();
        assert_eq!((clock.next_wake(), clock.now()), (None, at(9_000)));
    }

    #[tokio::test]
    async fn a_sleep_given_up_leaves_nothing_behind_and_time_never_goes_back() {
        let clock = Arc::new(VirtualClock::new(at(1_000)));
        let sleeper = Arc::clone(&clock);
        let sleep = tokio::spawn(async move { sleeper.sleep_until(at(2_000)).await });
        yield_now().await;
        sleep.abort();
        assert!(sleep.await.unwrap_err().is_cancelled());
        assert_eq!(clock.next_wake(), None);
        clock.advance_to(at(10));
        assert_eq!(clock.now(), at(1_000));
    }
}
