//! Topic: a message to every subscriber.

use super::{NewMessage, PortError};
use async_trait::async_trait;

/// A topic. Every subscription gets every message at least once.
#[async_trait]
pub trait Topic: Send + Sync {
    /// Publishes each message on its own; answers in their order. Bodies hold at most 256 KiB; there are no delays.
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>>;
}
