//! What goes on being shown until a person has seen enough.

use crate::{App, client::Client, error::CommandError, signal::signal};
use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The times to look, until ctrl-C or SIGTERM.
pub struct Watch {
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    looks: Interval,
}

impl Watch {
    /// Watches by `client`, if what it reaches can change meanwhile.
    ///
    /// # Errors
    /// [`CommandError::OutOfReach`] for a folder that no engine runs on: looking at it would keep every engine away.
    pub fn by(client: &Client, app: &App<'_>) -> Result<Self, CommandError> {
        if client.is_at_rest() {
            let text = format!("no engine runs on this folder: {} starts one", app.typed("up"));
            return Err(CommandError::OutOfReach(text));
        }
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { ended: Box::pin(signal()?), looks })
    }

    /// Waits until it is time to look again; false: it is over. It may be waited for in several goes.
    pub async fn goes_on(&mut self) -> bool {
        tokio::select! {
            biased;
            () = &mut self.ended => false,
            _ = self.looks.tick() => true,
        }
    }
}
