//! Bucket on S3.
//!
//! A key is data and is sent as it is, each byte of it encoded. Of the keys that the port allows, two kinds are
//! refused, with a permanent error, before the call. S3 does not take those whose `..` would climb above the bucket, and
//! its SDK does not send those of white space alone. Reading needs the permission to list the bucket:
//! without it S3 answers that a missing object is forbidden.

use super::fault::{Pace, fault};
use crate::{
    limits::OBJECT_KEY_BYTES_MAX,
    port::{Bucket, ObjectPage, PortError},
};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_sdk_s3::{
    Client,
    config::Config,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::get_object::GetObjectError,
    primitives::ByteStream,
    types::EncodingType,
};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

/// Most keys a page of a listing holds (S3).
const PAGE_KEYS_MAX: usize = 1_000;

/// A bucket.
pub(super) struct S3Bucket {
    client: Client,
    /// Its name in the model.
    name: String,
    /// Its name in the account.
    bucket: String,
    pace: Pace,
}

impl S3Bucket {
    pub(super) fn new(client: Client, name: String, bucket: String, pace: Pace) -> Self {
        Self { client, name, bucket, pace }
    }

    fn check(&self, key: &str) -> Result<(), PortError> {
        if !(1..=OBJECT_KEY_BYTES_MAX).contains(&key.len()) {
            let detail =
                format_args!("a key of {} bytes; 1 to {OBJECT_KEY_BYTES_MAX} are allowed", key.len());
            return Err(PortError::permanent(&self.name, detail));
        }
        if key.trim().is_empty() {
            return Err(PortError::permanent(
                &self.name,
                "the key is white space alone, which the SDK does not take",
            ));
        }
        if climbs(key) {
            let detail = "the '..' of the key climb above the bucket, which S3 does not take";
            return Err(PortError::permanent(&self.name, detail));
        }
        Ok(())
    }

    async fn read(&self, key: &str) -> Result<Option<Bytes>, PortError> {
        let answer = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.as_service_error() {
                    Some(GetObjectError::NoSuchKey(_)) => Ok(None),
                    _ => Err(fault(&self.name, &error)),
                };
            }
        };
        let body = answer.body.collect().await;
        // The connection broke in the middle of the object.
        let body = body.map_err(|error| PortError::transient(&self.name, error))?;
        Ok(Some(body.into_bytes()))
    }
}

/// Whether, read from left to right, a key's `..` are more than the segments before them.
fn climbs(key: &str) -> bool {
    let mut depth = 0_i32;
    key.split('/').any(|segment| {
        match segment {
            ".." => depth -= 1,
            "" | "." => {}
            _ => depth += 1,
        }
        depth < 0
    })
}

/// A key as a listing has it: with `+` for a space, and the rest percent-encoded.
fn decoded(key: &str) -> Option<String> {
    let spaced;
    let key = if key.contains('+') {
        spaced = key.replace('+', " ");
        &spaced
    } else {
        key
    };
    percent_decode_str(key).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.check(key)?;
        let body = Bytes::from(body);
        // Repeated here and not by the SDK: only so is it known whether "it is there" may be the answer to an attempt
        // of ours whose own answer was lost.
        let mut lost = false;
        let mut attempt = 1;
        loop {
            let sent = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(key)
                .if_none_match("*")
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(Config::builder().retry_config(RetryConfig::disabled()))
                .send()
                .await;
            let error = match sent {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            let status = match &error {
                SdkError::ServiceError(answer) => Some(answer.raw().status().as_u16()),
                _ => None,
            };
            match (status, error.code()) {
                (Some(412), _) | (_, Some("PreconditionFailed")) => {
                    return Ok(lost && self.read(key).await?.as_ref() == Some(&body));
                }
                // Another write of the key is under way: this one was not applied.
                (Some(409), _) => {}
                (Some(400..500), _) => {}
                // No answer, or one that does not say whether it was applied.
                _ => lost = true,
            }
            let error = fault(&self.name, &error);
            if !error.is_transient() || !self.pace.next(attempt).await {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.check(key)?;
        Ok(self.read(key).await?.map(Vec::from))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        if !(1..=PAGE_KEYS_MAX).contains(&limit) {
            let detail = format_args!("a page of {limit} keys; 1 to {PAGE_KEYS_MAX} are allowed");
            return Err(PortError::permanent(&self.name, detail));
        }
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_start_after(after.filter(|after| !after.is_empty()).map(str::to_owned))
            // XML can't hold each character that a key may have.
            .encoding_type(EncodingType::Url)
            .max_keys(i32::try_from(limit).unwrap_or(1_000))
            .send()
            .await
            .map_err(|error| fault(&self.name, &error))?;
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let truncated = answer.is_truncated == Some(true);
        let keys: Option<Vec<String>> = answer
            .contents
            .into_iter()
            .flatten()
            .filter_map(|object| object.key)
            .map(|key| if is_encoded { decoded(&key) } else { Some(key) })
            .collect();
        let keys =
            keys.ok_or_else(|| PortError::permanent(&self.name, "a listing with a key that is no text"))?;
        let next = if truncated { keys.last().cloned() } else { None };
        Ok(ObjectPage { keys, next })
    }
}
