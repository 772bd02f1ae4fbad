//! Secrets: the values of settings that lie in Secrets Manager, read once, in the init phase, and never from the environment.

use crate::failure::excerpt;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{error::DisplayErrorContext, operation::get_secret_value::GetSecretValueError};

/// How much of an SDK's error is told, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Why a secret could not be read. No variant holds its value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The store did not give it.
    #[error("the secret {name:?} could not be read: {detail}")]
    Unreadable {
        /// Its name or ARN.
        name: String,
        /// What the SDK said.
        detail: String,
    },
}

/// The text of the secret with this name or ARN; `None` where it has had no value yet.
///
/// # Errors
/// [`SecretError::Unreadable`].
pub(super) async fn read(config: &SdkConfig, name: &str) -> Result<Option<String>, SecretError> {
    let client = aws_sdk_secretsmanager::Client::new(config);
    match client.get_secret_value().secret_id(name).send().await {
        Ok(secret) => Ok(secret.secret_string().filter(|text| !text.is_empty()).map(str::to_owned)),
        Err(error) => {
            let told = error.as_service_error();
            // Secrets Manager says the same of a secret that is not there, and of one that has no value. The infrastructure
            // makes the secret and names it by its ARN, so that it is the latter.
            let has_no_value = name.starts_with("arn:")
                && told.is_some_and(GetSecretValueError::is_resource_not_found_exception);
            if has_no_value {
                tracing::warn!(secret = name, "a secret has no value yet");
                return Ok(None);
            }
            let detail = excerpt(&DisplayErrorContext(&error).to_string(), DETAIL_BYTES_MAX);
            Err(SecretError::Unreadable { name: name.to_owned(), detail })
        }
    }
}
