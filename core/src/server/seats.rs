//! The seats of a server: as many connections at once as it has. Where all are taken, one whose client is silent goes: the one
//! that has idled longest, or else the one that stopped longest ago in the middle of its request.

use super::progress::{Progress, Silence};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How often it is looked whether a client has become silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The seats, and who has them.
pub(super) struct Seats {
    free: Arc<Semaphore>,
    /// By the order in which they came.
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    seats: BTreeMap<u64, Arc<Progress>>,
    next: u64,
}

/// A connection's seat, until it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    /// How its connection gets on.
    pub(super) progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(seats: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(seats.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a connection that was accepted: a free one, or that of a silent one.
    pub(super) async fn take(self: &Arc<Self>) -> Seat {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return self.seat(permit);
            }
            self.ask_longest_silent(|_| true);
            // One that was heard in the meantime stays, and then another one may go.
            if let Ok(Ok(permit)) = timeout(LOOK_EVERY, Arc::clone(&self.free).acquire_owned()).await {
                return self.seat(permit);
            }
        }
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Seat {
        let progress = Arc::new(Progress::new());
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&progress));
        Seat { seats: Arc::clone(self), number, progress, _permit: permit }
    }

    fn ask_longest_silent(&self, may_go: impl Fn(&Silence) -> bool) {
        let taken = self.taken();
        let silent = taken.seats.values().filter_map(|progress| Some((progress.silence()?, progress)));
        let longest = silent.filter(|(silence, _)| may_go(silence)).min_by_key(|(silence, _)| *silence);
        if let Some((_, progress)) = longest {
            progress.ask_to_go();
        }
    }

    /// Lets the connection go that stopped longest ago in the middle of a body, for there is no room for others.
    pub(super) fn make_room(&self) {
        self.ask_longest_silent(|silence| silence.has_body);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.number);
    }
}
