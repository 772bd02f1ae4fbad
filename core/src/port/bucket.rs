//! Bucket: objects by key, written once.

use super::PortError;
use async_trait::async_trait;

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// Keys in the order of their bytes.
    pub keys: Vec<String>,
    /// The last key, where there are more behind it.
    pub next: Option<String>,
}

/// A bucket of objects. Keys are 1 to 1,024 bytes of UTF-8 and are data: whatever they hold, an object stays inside
/// the bucket. An object appears whole or not at all. An adapter may refuse, with a permanent
/// error, a key whose `..` are more than the segments before them, and one of white space alone, as S3 and its SDK do.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// Writes the object unless the key exists. True: it was written now; false: it was there and is unchanged.
    /// Of several at once one wins. An acknowledged object is durable.
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError>;

    /// Whether an object would be taken now, as far as the adapter can tell without a put that costs.
    async fn takes_objects(&self) -> Result<(), PortError> {
        Ok(())
    }

    /// The object, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError>;

    /// Keys that begin with `prefix`, after `after`, at most `limit` (1 to 1,000).
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError>;
}
