//! The engine's tasks: loops of turns, and what watches over them.

use crate::{panics::caught, port::Clock, vitals::Vital};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Pause after a turn failed, so that a broken port is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(500);

/// Tells a task of the engine that it is to stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    pub(super) fn new(stop: watch::Receiver<bool>) -> Self {
        Self(stop)
    }

    /// Returns once the engine is stopping.
    pub async fn wait(&mut self) {
        // The sender is gone only with the engine.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was done.
    Worked,
    /// There was nothing to do.
    Idle,
    /// Something was not done, as the log tells; the next turn tries it again, after a pause.
    Failed,
    /// The task came to an end of its own, which none should.
    Ended,
    /// Nothing will ever be to do again, as the log tells.
    Over,
    /// The engine is stopping, and what was in hand is finished.
    Stopped,
}

/// A closed loop, of which each turn stands for itself: it may be dropped at any await, and what it had in hand comes again.
pub(super) trait Turns: Send {
    /// Waits for something to do, and does it. Before each of these it says to `vital` within what time it will be over.
    fn turn(&mut self, vital: &Vital) -> impl Future<Output = Progress> + Send;
}

/// A task that an adapter gave, whole as one turn.
pub(super) struct Spawned<T> {
    task: T,
    stopping: Stopping,
}

impl<T> Spawned<T> {
    pub(super) fn new(task: T, stopping: Stopping) -> Self {
        Self { task, stopping }
    }
}

impl<T, F> Turns for Spawned<T>
where
    T: FnMut(Stopping) -> F + Send,
    F: Future<Output = ()> + Send,
{
    /// For how long it works is not known.
    async fn turn(&mut self, _: &Vital) -> Progress {
        (self.task)(self.stopping.clone()).await;
        if self.stopping.is_stopping() { Progress::Stopped } else { Progress::Ended }
    }
}

/// Runs a task turn by turn until the engine stops. Whatever a turn comes to, there is a next one, and the log tells why.
pub(super) async fn supervise(
    name: String,
    clock: Arc<dyn Clock>,
    mut stopping: Stopping,
    mut task: impl Turns,
    vital: Vital,
) {
    let mut ends = 0_u64;
    loop {
        let cause = match caught(task.turn(&vital)).await {
            Ok(Progress::Worked | Progress::Idle) => {
                vital.works();
                continue;
            }
            Ok(Progress::Stopped) => return,
            Ok(Progress::Over) => {
                vital.is_over();
                stopping.wait().await;
                return;
            }
            Ok(Progress::Failed) => None,
            Ok(Progress::Ended) => Some("it ended by itself".to_owned()),
            Err(panic) => Some(format!("it panicked: {panic}")),
        };
        vital.fails();
        if let Some(cause) = cause {
            ends += 1;
            tracing::error!(task = name, ends, cause, "a task of the engine ended; it is started again");
        }
        tokio::select! {
            biased;
            // Without another turn: one that fails would fail for ever.
            () = stopping.wait() => return,
            () = clock.sleep_until(clock.now() + PAUSE) => {}
        }
    }
}
