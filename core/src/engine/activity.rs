//! What the engine's tasks have in hand, for whoever waits until it is nothing.

use std::sync::Arc;
use tokio::sync::watch;

/// What all tasks of one engine have in hand together.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<watch::Sender<InHand>>);

#[derive(Clone, Copy, Debug, Default)]
struct InHand {
    /// How many tasks have something in hand.
    now: usize,
    /// How often one took something, so far.
    taken: u64,
}

/// A task has something in hand: from when it was taken until it is acknowledged, or given up.
pub(super) struct Busy(Arc<watch::Sender<InHand>>);

impl Activity {
    pub(super) fn begin(&self) -> Busy {
        self.0.send_modify(|in_hand| {
            in_hand.now += 1;
            in_hand.taken += 1;
        });
        Busy(Arc::clone(&self.0))
    }

    pub(super) fn watch(&self) -> Watching {
        Watching(self.0.subscribe())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|in_hand| in_hand.now -= 1);
    }
}

/// Follows the activity.
pub(super) struct Watching(watch::Receiver<InHand>);

/// A time at which nothing was in hand.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    taken: u64,
}

impl Watching {
    /// Waits until nothing is in hand.
    pub(super) async fn rest(&mut self) -> Rest {
        // The sender lives as long as the engine that waits here.
        let rest = self.0.wait_for(|in_hand| in_hand.now == 0).await;
        Rest { taken: rest.map_or(0, |in_hand| in_hand.taken) }
    }

    /// Whether nothing was taken since.
    pub(super) fn is_still(&self, rest: Rest) -> bool {
        self.0.borrow().taken == rest.taken
    }

    /// Waits until something is taken or given back, where nothing was since the last look.
    pub(super) async fn moved(&mut self) {
        let _ = self.0.changed().await;
    }
}
