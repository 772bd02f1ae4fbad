//! What goes on being shown until a person has seen enough.

use crate::{App, client::Client, error::CommandError, signal::signal};
use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A look that takes long is made less often: for a part of the time, whatever it costs whoever is looked at.
const RESTS_FOR_LOOKS: u32 = 4;

/// The times to look, until ctrl-C or SIGTERM.
pub struct Watch {
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// When the last look began.
    began: Instant,
    /// When the next one is due, once the last is over.
    due: Option<Instant>,
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
        Ok(Self { ended: Box::pin(signal()?), began: Instant::now(), due: None })
    }

    /// Waits until it is time to look again; false: it is over. It may be waited for in several goes.
    pub async fn goes_on(&mut self) -> bool {
        let due = *self.due.get_or_insert_with(|| {
            let now = Instant::now();
            now + LOOK_EVERY.max((now - self.began) * RESTS_FOR_LOOKS)
        });
        tokio::select! {
            biased;
            () = &mut self.ended => false,
            () = sleep_until(due) => {
                (self.began, self.due) = (Instant::now(), None);
                true
            }
        }
    }
}
