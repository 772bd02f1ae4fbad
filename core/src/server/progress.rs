//! How a connection gets on: watched by those who wait for it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::time::Instant;

/// What is known of the request a connection is at.
#[derive(Default)]
pub(super) struct Progress {
    /// When its first byte arrived.
    pub(super) since: Mutex<Option<Instant>>,
    /// Anything arrived at all.
    pub(super) begun: AtomicBool,
    /// It was answered before it was read to its end.
    pub(super) unread: AtomicBool,
}

impl Progress {
    /// Notes that the request is answered before it was read to its end.
    pub(super) fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn arrived(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// Takes the time at which the request began.
    pub(super) fn take_since(&self) -> Option<Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
