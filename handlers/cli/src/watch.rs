//! What goes on being shown until a person has seen enough.

use crate::{App, client::Client, error::CommandError, signal::signal};
use std::{pin::Pin, time::Duration};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The times to look, until ctrl-C or SIGTERM.
pub struct Watch {
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
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
        Ok(Self { ended: Box::pin(signal()?) })
    }

    /// Waits until it is time to look again; false: it is over.
    pub async fn goes_on(&mut self) -> bool {
        tokio::select! {
            biased;
            () = &mut self.ended => false,
            () = tokio::time::sleep(LOOK_EVERY) => true,
        }
    }
}
