//! The webhook's URL: a secret, read once, in the init phase, and never from the environment.

use crate::Webhook;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use quadrille::{aws, excerpt};
use std::time::Duration;
use systems::{http_client::HttpClientError, notify::WebhookNotifier};

/// How long the webhook may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an SDK's error is told, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Why there is no webhook. No variant holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The store did not give it.
    #[error("the secret {name:?} could not be read: {detail}")]
    Unreadable {
        /// Where it was looked for.
        name: String,
        /// What the SDK said.
        detail: String,
    },
    /// There is none in it.
    #[error("the secret {0:?} holds no text")]
    Empty(String),
    /// It is no URL.
    #[error("the webhook: {0}")]
    Url(#[from] HttpClientError),
}

/// Posts to the webhook whose URL the secret holds.
pub async fn notifier(webhook: &Webhook) -> Result<WebhookNotifier, WebhookError> {
    let configuration = aws::configuration().load().await;
    let Webhook::Secret(name) = webhook;
    let client = aws_sdk_secretsmanager::Client::new(&configuration);
    let secret = client.get_secret_value().secret_id(name).send().await.map_err(|error| {
        let detail = excerpt(&DisplayErrorContext(&error).to_string(), DETAIL_BYTES_MAX);
        WebhookError::Unreadable { name: name.clone(), detail }
    })?;
    let url = secret.secret_string().map(str::trim).filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| WebhookError::Empty(name.clone()))?;
    Ok(WebhookNotifier::new(url, TIMEOUT)?)
}
