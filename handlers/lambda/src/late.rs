//! What a definition holds before it is there.

use async_trait::async_trait;
use quadrille::{
    Alert, Failure,
    port::{Bucket, ObjectPage, PortError},
};
use std::sync::{Arc, OnceLock};
use systems::notify::Notifier;

/// A value that is set once, in the init phase. Clones share it.
#[derive(Clone)]
pub struct Late<T>(Arc<OnceLock<T>>);

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Late<T> {
    /// Sets it; the first one stays.
    pub fn set(&self, value: T) {
        let _ = self.0.set(value);
    }
}

impl Late<Arc<dyn Bucket>> {
    fn bucket(&self) -> Result<&Arc<dyn Bucket>, PortError> {
        self.0.get().ok_or_else(|| PortError::permanent("bucket", "this function was not given it"))
    }
}

#[async_trait]
impl Bucket for Late<Arc<dyn Bucket>> {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.bucket()?.put_if_absent(key, body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.bucket()?.get(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.bucket()?.list(prefix, after, limit).await
    }
}

#[async_trait]
impl Notifier for Late<Arc<dyn Notifier>> {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let missing = || Failure::permanent("no_notifier", "this function was not given a webhook");
        self.0.get().ok_or_else(missing)?.notify(alert).await
    }
}
