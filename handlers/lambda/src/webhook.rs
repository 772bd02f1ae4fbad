//! The webhook's URL: a secret, read once, in the init phase, and never from the environment.

use crate::Webhook;
use async_trait::async_trait;
use aws_sdk_secretsmanager::{error::DisplayErrorContext, operation::get_secret_value::GetSecretValueError};
use quadrille::{Alert, Failure, aws, excerpt};
use std::{sync::Arc, time::Duration};
use systems::{
    http_client::HttpClientError,
    notify::{Notifier, WebhookNotifier},
};

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

/// A webhook that was never set up: the secret is there and has had no value yet. Mail tells of alarms then.
struct NotSetUp;

#[async_trait]
impl Notifier for NotSetUp {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        tracing::warn!(queue = %alert.queue, "no webhook is set up: nobody was told of this alarm by one");
        Ok(())
    }
}

/// Posts to the webhook whose URL the secret holds.
pub async fn notifier(webhook: &Webhook) -> Result<Arc<dyn Notifier>, WebhookError> {
    let configuration = aws::configuration().load().await;
    let Webhook::Secret(name) = webhook;
    let client = aws_sdk_secretsmanager::Client::new(&configuration);
    let secret = match client.get_secret_value().secret_id(name).send().await {
        Ok(secret) => secret,
        Err(error) => {
            let told = error.as_service_error();
            // Secrets Manager says the same of a secret that is not there, and of one that has no value. The infrastructure
            // makes the secret and names it by its ARN, so that it is the latter.
            if name.starts_with("arn:")
                && told.is_some_and(GetSecretValueError::is_resource_not_found_exception)
            {
                tracing::warn!("the webhook's secret has no value yet: alarms are not told by one");
                return Ok(Arc::new(NotSetUp));
            }
            let detail = excerpt(&DisplayErrorContext(&error).to_string(), DETAIL_BYTES_MAX);
            return Err(WebhookError::Unreadable { name: name.clone(), detail });
        }
    };
    let url = secret.secret_string().map(str::trim).filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| WebhookError::Empty(name.clone()))?;
    Ok(Arc::new(WebhookNotifier::new(url, TIMEOUT)?))
}
