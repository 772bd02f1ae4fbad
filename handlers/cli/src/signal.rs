//! The signals that end a command in good order.

use crate::error::CommandError;

/// Resolves with ctrl-C or SIGTERM. The handlers are set before it is first polled.
pub fn signal() -> Result<impl Future<Output = ()>, CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let set = |kind| signal(kind).map_err(CommandError::io("signal handlers"));
    let (mut interrupt, mut terminate) = (set(SignalKind::interrupt())?, set(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
