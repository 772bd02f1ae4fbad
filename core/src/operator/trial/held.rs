//! Ports that hold back what a trial would do: reads go through, and what is written stays here.

use crate::{
    alarm::Alert,
    failure::Failure,
    limits::ITEM_BYTES_MAX,
    notify::Notifier,
    port::{
        Bucket, Bus, BusEntry, CommitError, Depth, IndexPage, IndexQuery, Item, Message, NewMessage,
        ObjectPage, PortError, Ports, Queue, Receipt, ScanPage, Table, Topic, Write,
    },
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Bytes that trials keep of what they wrote: with more, those that follow see the state without it.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Names of tables or buckets, each with what is written under its keys.
type Written<T> = BTreeMap<(String, String), T>;

/// What trials would have done.
#[derive(Default)]
pub(super) struct Held {
    effects: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: Written<Item>,
    objects: Written<Vec<u8>>,
    bytes: usize,
}

impl Held {
    /// The ports of a trial over these.
    pub(super) fn ports(self: &Arc<Self>, ports: &Ports) -> Ports {
        Ports {
            tables: self.each(&ports.tables, |port| Arc::new(port) as _),
            streams: BTreeMap::new(),
            queues: self.each(&ports.queues, |port| Arc::new(port) as _),
            buckets: self.each(&ports.buckets, |port| Arc::new(port) as _),
            topics: self.each(&ports.topics, |port| Arc::new(port) as _),
            buses: self.each(&ports.buses, |port| Arc::new(port) as _),
            ..ports.clone()
        }
    }

    fn each<P: ?Sized>(
        self: &Arc<Self>,
        ports: &BTreeMap<String, Arc<P>>,
        wrap: impl Fn(Tried<P>) -> Arc<P>,
    ) -> BTreeMap<String, Arc<P>> {
        let tried = |(name, inner): (&String, &Arc<P>)| {
            let tried = Tried { name: name.clone(), inner: Arc::clone(inner), held: Arc::clone(self) };
            (name.clone(), wrap(tried))
        };
        ports.iter().map(tried).collect()
    }

    /// How much was to be written or sent so far.
    pub(super) fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }

    fn is_effect(&self) {
        self.effects.fetch_add(1, Ordering::Relaxed);
    }

    /// Bounds what is kept.
    pub(super) fn forget_what_is_much(&self) {
        let mut state = self.state();
        if state.bytes > KEPT_BYTES_MAX {
            *state = State::default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port of a trial.
struct Tried<P: ?Sized> {
    name: String,
    inner: Arc<P>,
    held: Arc<Held>,
}

impl<P: ?Sized> Tried<P> {
    fn key(&self, key: &str) -> (String, String) {
        (self.name.clone(), key.to_owned())
    }

    /// Whatever is sent is taken, and goes nowhere.
    fn taken<T>(&self, sent: &[T]) -> Vec<Result<(), PortError>> {
        sent.iter().map(|_| self.held.is_effect()).map(Ok).collect()
    }
}

impl Tried<dyn Table> {
    fn written(&self, key: &str) -> Option<Item> {
        self.held.state().items.get(&self.key(key)).cloned()
    }

    async fn write(&self, write: Write) -> Result<(), CommitError> {
        let bytes = write.item.document.text().map_or(0, str::len);
        if bytes > ITEM_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes });
        }
        let key = write.item.key.clone();
        let stored = self.get(std::slice::from_ref(&key)).await?.pop().flatten();
        let holds = match stored {
            None => write.expected == 0,
            Some(stored) if write.expected == 0 => stored.expires_at.is_some_and(|at| at <= write.now),
            Some(stored) => stored.version == write.expected,
        };
        if !holds {
            return Err(CommitError::Conflict);
        }
        self.held.is_effect();
        let mut state = self.held.state();
        state.bytes += bytes;
        state.items.insert(self.key(&key), write.item);
        Ok(())
    }
}

#[async_trait]
impl Table for Tried<dyn Table> {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        let mut items = self.inner.get(keys).await?;
        for (key, item) in keys.iter().zip(&mut items) {
            if let Some(written) = self.written(key) {
                *item = Some(written);
            }
        }
        Ok(items)
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            answers.push(self.write(write).await);
        }
        answers
    }

    /// As an index may lag, it shows nothing that was not there before; what has left the partition meanwhile it does not show.
    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        let mut page = self.inner.query(query).await?;
        for item in &mut page.items {
            if let Some(written) = self.written(&item.key) {
                *item = written;
            }
        }
        let is_listed =
            |item: &Item| item.index.as_ref().is_some_and(|index| index.partition == query.partition);
        page.items.retain(is_listed);
        Ok(page)
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.inner.scan(after, limit).await
    }
}

#[async_trait]
impl Bucket for Tried<dyn Bucket> {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        if self.get(key).await?.is_some() {
            return Ok(false);
        }
        self.held.is_effect();
        let mut state = self.held.state();
        state.bytes += body.len();
        state.objects.insert(self.key(key), body);
        Ok(true)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        let written = self.held.state().objects.get(&self.key(key)).cloned();
        match written {
            Some(body) => Ok(Some(body)),
            None => self.inner.get(key).await,
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        let mut page = self.inner.list(prefix, after, limit).await?;
        let from = (self.name.clone(), after.unwrap_or(prefix).to_owned());
        let written: Vec<String> = {
            let state = self.held.state();
            let behind = state.objects.range(from..).map(|((bucket, key), _)| (bucket, key));
            let behind = behind.take_while(|(bucket, _)| **bucket == self.name).map(|(_, key)| key);
            let of_page = |key: &&String| {
                key.starts_with(prefix)
                    && after.is_none_or(|after| key.as_str() > after)
                    && page.next.as_ref().is_none_or(|last| *key < last)
            };
            behind.filter(of_page).cloned().collect()
        };
        page.keys.extend(written);
        page.keys.sort();
        if page.keys.len() > limit {
            page.keys.truncate(limit);
            page.next = page.keys.last().cloned();
        }
        Ok(page)
    }
}

#[async_trait]
impl Queue for Tried<dyn Queue> {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.taken(&messages)
    }

    async fn receive(&self, _: usize, _: Duration, _: Option<Duration>) -> Result<Vec<Message>, PortError> {
        Ok(Vec::new())
    }

    async fn extend(&self, _: &[(Receipt, Duration)]) -> Result<(), PortError> {
        Ok(())
    }

    async fn delete(&self, _: &[Receipt]) -> Result<(), PortError> {
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.inner.depth().await
    }
}

#[async_trait]
impl Topic for Tried<dyn Topic> {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.taken(&messages)
    }
}

#[async_trait]
impl Bus for Tried<dyn Bus> {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        self.taken(&entries)
    }
}

/// Tells nobody.
pub(super) struct Silent;

#[async_trait]
impl Notifier for Silent {
    async fn notify(&self, _: &Alert) -> Result<(), Failure> {
        Ok(())
    }
}
