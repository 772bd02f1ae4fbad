//! Ports around other ports, which fail as a test says and remember what went through them.

use super::Log;
use async_trait::async_trait;
use quadrille::port::{
    ChangeStream, CommitError, Depth, IndexPage, IndexQuery, Item, Message, NewMessage, PortError, Queue,
    Receipt, ScanPage, StreamRecord, Table, Write,
};
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What happens to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing: it is applied.
    None,
    /// It is not applied, and the answer says so.
    NotApplied,
    /// It is applied, and the answer says that it failed.
    AppliedUnheard,
    /// Somebody else adds a stop to the parcel first.
    Overtaken(String),
}

/// A port that does not work for a while.
#[derive(Default)]
pub struct Outage {
    /// It refuses each call that writes.
    pub refuses: AtomicBool,
    /// It gives no answer to any call.
    pub hangs: AtomicBool,
}

impl Outage {
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    pub fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    async fn read(&self) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    async fn write(&self) -> Result<(), PortError> {
        self.read().await;
        if self.refuses.load(Ordering::Relaxed) {
            return Err(PortError::transient("port", "no space"));
        }
        Ok(())
    }
}

type AskCommit = Box<dyn FnMut(&Write) -> CommitFault + Send>;

/// A table that asks about every write what is to happen to it.
pub struct MeddledTable {
    table: Arc<dyn Table>,
    ask: Mutex<AskCommit>,
    pub outage: Outage,
    /// Asked whether it takes commits, it gives no answer.
    pub never_says_whether_it_takes: AtomicBool,
    /// Every write that was tried.
    pub tried: Log<Write>,
    /// The keys of every read.
    pub read: Log<Vec<String>>,
}

impl MeddledTable {
    pub fn new(table: Arc<dyn Table>, ask: impl FnMut(&Write) -> CommitFault + Send + 'static) -> Self {
        Self {
            table,
            ask: Mutex::new(Box::new(ask)),
            outage: Outage::default(),
            never_says_whether_it_takes: AtomicBool::default(),
            tried: Log::default(),
            read: Log::default(),
        }
    }

    /// The keys of all writes that were tried.
    pub fn keys(&self) -> Vec<String> {
        self.tried.all().into_iter().map(|write| write.item.key).collect()
    }

    async fn overtake(&self, write: &Write, stop: &str) {
        let stored = self.table.get(std::slice::from_ref(&write.item.key)).await.unwrap();
        let mut item: Item = stored.into_iter().flatten().next().unwrap();
        let mut document: Value = serde_json::from_str(item.document.text().unwrap()).unwrap();
        document["state"]["stops"].as_array_mut().unwrap().push(stop.into());
        let expected = item.version;
        (item.version, item.document) = (expected + 1, document.to_string().into());
        let rival = Write {
            item,
            expected,
            now: write.now,
            outbox: Vec::new(),
            index_changed: false,
            expiry_changed: false,
        };
        assert_eq!(self.table.commit(vec![rival]).await, [Ok(())]);
    }
}

#[async_trait]
impl Table for MeddledTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.outage.read().await;
        self.read.push(keys.to_vec());
        self.table.get(keys).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let unheard = || CommitError::from(PortError::transient("table", "no answer"));
        if let Err(error) = self.outage.write().await {
            return writes.iter().map(|_| Err(error.clone().into())).collect();
        }
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            self.tried.push(write.clone());
            let fault = (self.ask.lock().unwrap_or_else(PoisonError::into_inner))(&write);
            match fault {
                CommitFault::None => answers.extend(self.table.commit(vec![write]).await),
                CommitFault::NotApplied => answers.push(Err(unheard())),
                CommitFault::AppliedUnheard => {
                    let applied = self.table.commit(vec![write]).await;
                    answers.extend(applied.into_iter().map(|answer| answer.and(Err(unheard()))));
                }
                CommitFault::Overtaken(stop) => {
                    self.overtake(&write, &stop).await;
                    answers.extend(self.table.commit(vec![write]).await);
                }
            }
        }
        answers
    }

    async fn takes_commits(&self) -> Result<(), PortError> {
        self.outage.write().await?;
        if self.never_says_whether_it_takes.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.table.takes_commits().await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.table.scan(after, limit).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.table.query(query).await
    }
}

type AskSend = Box<dyn FnMut(&NewMessage) -> Option<PortError> + Send>;

/// What a panic holds, when the panic is to get past whoever catches it.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a fault of the one who caught a panic");
    }
}

/// A queue that asks about every message sent whether to refuse it. Others get to run before it takes or deletes any.
pub struct MeddledQueue {
    queue: Arc<dyn Queue>,
    ask: Mutex<AskSend>,
    /// Every message that was taken.
    pub taken: Log<NewMessage>,
    /// Errors that the next receives give, the last one first.
    pub deaf: Mutex<Vec<PortError>>,
    /// The next receive panics.
    pub panics: AtomicBool,
    /// The next receive panics, and so does what catches that: it ends the task that asked.
    pub kills: AtomicBool,
    pub outage: Outage,
    /// It refuses to delete.
    pub refuses_deletes: AtomicBool,
    /// All others run between its looking at its depth and its telling it.
    pub tells_late: AtomicBool,
}

impl MeddledQueue {
    pub fn new(
        queue: Arc<dyn Queue>,
        ask: impl FnMut(&NewMessage) -> Option<PortError> + Send + 'static,
    ) -> Self {
        Self {
            queue,
            ask: Mutex::new(Box::new(ask)),
            taken: Log::default(),
            deaf: Mutex::default(),
            panics: AtomicBool::default(),
            kills: AtomicBool::default(),
            outage: Outage::default(),
            refuses_deletes: AtomicBool::default(),
            tells_late: AtomicBool::default(),
        }
    }
}

#[async_trait]
impl Queue for MeddledQueue {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        tokio::task::yield_now().await;
        if let Err(error) = self.outage.write().await {
            return messages.iter().map(|_| Err(error.clone())).collect();
        }
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let refused = (self.ask.lock().unwrap_or_else(PoisonError::into_inner))(&message);
            match refused {
                Some(error) => answers.push(Err(error)),
                None => {
                    self.taken.push(message.clone());
                    answers.extend(self.queue.send(vec![message]).await);
                }
            }
        }
        answers
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a fault of the port");
        if self.kills.swap(false, Ordering::Relaxed) {
            std::panic::panic_any(PanicsWhenDropped);
        }
        if let Some(error) = self.deaf.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Err(error);
        }
        self.outage.write().await?;
        self.queue.receive(max, wait, visibility).await
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.outage.write().await?;
        self.queue.receive_these(ids, visibility).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.outage.write().await?;
        self.queue.extend(receipts).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.outage.write().await?;
        if self.refuses_deletes.load(Ordering::Relaxed) {
            return Err(PortError::transient("queue", "no space"));
        }
        self.queue.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        let depth = self.queue.depth().await;
        if self.tells_late.load(Ordering::Relaxed) {
            super::all_wait().await;
        }
        depth
    }

    fn shows_arrivals(&self) -> bool {
        self.queue.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.queue.arrived(after, max).await
    }
}

/// A stream that remembers its checkpoints.
pub struct WatchedStream {
    stream: Arc<dyn ChangeStream>,
    pub checkpoints: Log<u64>,
    pub outage: Outage,
}

impl WatchedStream {
    pub fn new(stream: Arc<dyn ChangeStream>) -> Self {
        Self { stream, checkpoints: Log::default(), outage: Outage::default() }
    }
}

#[async_trait]
impl ChangeStream for WatchedStream {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.outage.read().await;
        self.stream.read(max, wait).await
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        self.outage.write().await?;
        self.checkpoints.push(sequence);
        self.stream.checkpoint(sequence).await
    }
}
