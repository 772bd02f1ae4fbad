//! From an error of the SDK to an error of a port, and how often a call is repeated.

use super::ATTEMPTS_MAX;
use crate::{
    backoff::Backoff,
    port::{Clock, PortError, Random},
};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use std::{error::Error, fmt::Write as _, sync::Arc, time::Duration};

/// Waits before a part of a batch is sent again: 50 ms, 100 ms and 200 ms, up to half of it less.
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1), multiplier: 2.0, jitter: 0.5 };

/// Requests of one call that are under way at the same time. As many connections are kept open; more of them would make
/// a throttled table's trouble worse.
pub(super) const CONCURRENCY: usize = 8;

/// What says that the call itself is wrong: no repetition can help. Whatever is not here may pass, also what the
/// deployment got wrong (a permission, a name), for that is no fault of the message that met it.
const PERMANENT: &[&str] = &[
    // DynamoDB
    "ItemCollectionSizeLimitExceeded",
    "ItemCollectionSizeLimitExceededException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
    // SQS and SNS
    "BatchRequestTooLong",
    "BatchRequestTooLongException",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidMessageContents",
    "InvalidParameter",
    "InvalidParameterCombination",
    "InvalidParameterException",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "MissingParameter",
    "UnsupportedOperation",
    // EventBridge
    "MalformedDetail",
    "NotAuthorizedForSourceException",
    // S3
    "EntityTooLarge",
    "InvalidArgument",
    "InvalidRequest",
    "InvalidURI",
    "KeyTooLongError",
];

/// What says that a permission is missing, besides all codes that speak of `AccessDenied`.
const DENIED: &[&str] = &[
    // SNS
    "AuthorizationError",
    "AuthorizationErrorException",
    // S3, where an answer has no body
    "Forbidden",
];

/// A code without its origin, which some protocols name before it: `com.amazonaws.sqs#…`, `AWS.SimpleQueueService.…`.
fn bare(code: &str) -> &str {
    code.rsplit(['#', '.']).next().unwrap_or(code)
}

/// Whether an error code of any of the services says that no repetition can help.
pub(super) fn is_permanent(code: &str) -> bool {
    PERMANENT.contains(&bare(code))
}

/// Whether an error code of any of the services says that the caller has no permission.
pub fn is_denied(code: &str) -> bool {
    let code = bare(code);
    code.contains("AccessDenied") || DENIED.contains(&code)
}

/// The error of a port for a code that a service answered.
pub(super) fn answered(port: &str, code: &str, message: Option<&str>) -> PortError {
    let detail = format_args!("{code}: {}", message.unwrap_or("no message"));
    if is_denied(code) {
        PortError::denied(port, detail)
    } else if is_permanent(code) {
        PortError::permanent(port, detail)
    } else {
        PortError::transient(port, detail)
    }
}

/// The error of a port for a call that the SDK gave up.
pub(super) fn fault<E, R>(port: &str, error: &SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(code) = error.code() {
        return answered(port, code, error.message());
    }
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _ = write!(detail, ": {cause}");
        source = cause.source();
    }
    match error {
        SdkError::ConstructionFailure(_) => PortError::permanent(port, detail),
        _ => PortError::transient(port, detail),
    }
}

/// When what is left of a batch is tried again.
#[derive(Clone)]
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Pace {
    pub(super) fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    /// Waits after attempt `attempt` (counted from 1); false where it was the last one.
    pub(super) async fn next(&self, attempt: u32) -> bool {
        if attempt >= ATTEMPTS_MAX {
            return false;
        }
        let wait = BACKOFF.after(attempt, &*self.random);
        self.clock.sleep_until(self.clock.now() + wait).await;
        true
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}
