//! Bucket in memory.

use crate::{
    limits::OBJECT_KEY_BYTES_MAX,
    port::{Bucket, ObjectPage, PortError},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most keys a page of a listing holds (S3).
const PAGE_KEYS_MAX: usize = 1_000;

/// A bucket.
pub(super) struct MemoryBucket {
    name: String,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryBucket {
    pub(super) fn new(name: String) -> Self {
        Self { name, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_key(&self, key: &str) -> Result<(), PortError> {
        if (1..=OBJECT_KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(());
        }
        let detail = format_args!("a key of {} bytes; 1 to {OBJECT_KEY_BYTES_MAX} are allowed", key.len());
        Err(PortError::permanent(&self.name, detail))
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.check_key(key)?;
        match self.objects().entry(key.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(body);
                Ok(true)
            }
            Entry::Occupied(_) => Ok(false),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.check_key(key)?;
        Ok(self.objects().get(key).cloned())
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        if !(1..=PAGE_KEYS_MAX).contains(&limit) {
            let detail = format_args!("a page of {limit} keys; 1 to {PAGE_KEYS_MAX} are allowed");
            return Err(PortError::permanent(&self.name, detail));
        }
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects();
        let mut found = objects
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        let keys: Vec<String> = found.by_ref().take(limit).cloned().collect();
        let next = found.next().and_then(|_| keys.last().cloned());
        Ok(ObjectPage { keys, next })
    }
}
