//! The ports of a process in a simulation: those in memory, with pauses at which others go on, and with faults.

use super::{
    executor::Pause,
    fault::{Fault, Faults},
    ledger::Ledger,
    trace::Trace,
};
use crate::{
    memory::{Memory, VirtualClock},
    port::{
        Bucket, Bus, BusEntry, ChangeStream, Clock, CommitError, Depth, IndexPage, IndexQuery, Item, Message,
        NewMessage, ObjectPage, PortError, Ports, Queue, Receipt, ScanPage, StreamRecord, Table, Topic,
        Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A wait for messages or records that only they end: it is idle, and no time has to pass for it.
const UNTIL_SOMETHING_COMES: Duration = Duration::from_secs(400 * 86_400);

/// The longest that a message comes late.
const LATE_MAX: u64 = 12 * 3_600;

/// The longest that a call takes, in seconds.
const SLOW_MAX: u64 = 90;

/// The longest that a change stream stands, in seconds.
const HELD_MAX: u64 = 600;

/// The furthest that a clock is off, in milliseconds.
const CLOCK_OFF_MAX: u64 = 5_000;

/// How soon a message may be visible again though its handler works, in seconds.
const VISIBLE_AFTER: Duration = Duration::from_secs(1);

/// What all processes of a simulation have around them.
pub(super) struct Nature {
    pub(super) memory: Memory,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
}

/// A port of one process.
struct Ported<P: ?Sized> {
    inner: Arc<P>,
    name: String,
    process: Arc<str>,
    nature: Arc<Nature>,
}

impl<P: ?Sized> Ported<P> {
    fn strikes(&self, fault: Fault) -> bool {
        self.nature.faults.strikes(fault, &self.process)
    }

    fn error(&self, what: &str) -> PortError {
        PortError::transient(&self.name, format_args!("simulated: {what}"))
    }

    /// Before a call: others may go on, it may take long, and it may be refused.
    async fn begin(&self, call: &str) -> Result<(), PortError> {
        Pause::default().await;
        if self.strikes(Fault::Slow) {
            let time = Duration::from_secs(self.nature.faults.amount(Fault::Slow, SLOW_MAX));
            self.nature.clock.sleep_until(self.nature.clock.now() + time).await;
        }
        let refused = self.strikes(Fault::Throttled);
        self.tell(call, if refused { "throttled" } else { "called" });
        if refused { Err(self.error("throttled")) } else { Ok(()) }
    }

    /// After it: others may go on before the answer comes, and it may be lost.
    async fn end(&self, call: &str) -> Result<(), PortError> {
        Pause::default().await;
        let lost = self.strikes(Fault::Lost);
        self.tell(call, if lost { "lost" } else { "answered" });
        if lost { Err(self.error("the answer was lost")) } else { Ok(()) }
    }

    fn tell(&self, call: &str, what: &str) {
        self.nature.trace.tell(self.nature.clock.now(), &[&self.process, &self.name, call, what]);
    }

    /// Calls with each of `entries` that is not refused alone, and answers for all of them in their order.
    async fn each<T, A, E: From<PortError>>(
        &self,
        call: &str,
        entries: Vec<T>,
        work: impl AsyncFnOnce(Vec<T>) -> Vec<Result<A, E>>,
    ) -> Vec<Result<A, E>> {
        let count = entries.len();
        let all = |error: PortError| (0..count).map(|_| Err(error.clone().into())).collect();
        if let Err(error) = self.begin(call).await {
            return all(error);
        }
        let (mut taken, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for entry in entries {
            let is_refused = self.strikes(Fault::Entry);
            places.push(!is_refused);
            if !is_refused {
                taken.push(entry);
            }
        }
        let mut answers = if taken.is_empty() { Vec::new() } else { work(taken).await }.into_iter();
        if let Err(error) = self.end(call).await {
            return all(error);
        }
        let missing = || Err(self.error("this entry was refused").into());
        places
            .into_iter()
            .map(|is_taken| if is_taken { answers.next().unwrap_or_else(missing) } else { missing() })
            .collect()
    }
}

struct SimTable {
    port: Ported<dyn Table>,
    /// Pages as they were read last: an index may still be as it was then.
    pages: Mutex<BTreeMap<(String, Option<String>), IndexPage>>,
}

#[async_trait]
impl Table for SimTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.port.begin("get").await?;
        let items = self.port.inner.get(keys).await?;
        self.port.end("get").await?;
        Ok(items)
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let port = &self.port;
        port.each("commit", writes, async |writes: Vec<Write>| {
            let told: Vec<_> = writes.iter().map(Ledger::of).collect();
            let answers = port.inner.commit(writes).await;
            for ((key, version, outbox), answer) in told.iter().zip(&answers) {
                if answer.is_ok() {
                    port.nature.ledger.committed(&port.name, key, *version, outbox);
                }
            }
            answers
        })
        .await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.port.begin("query").await?;
        let mut page = self.port.inner.query(query).await?;
        let key = (query.partition.clone(), query.after.clone());
        let is_stale = self.port.strikes(Fault::Stale);
        let before = self.pages.lock().unwrap_or_else(PoisonError::into_inner).insert(key, page.clone());
        if is_stale {
            match before.filter(|before| before.items.len() <= query.limit) {
                Some(before) => page = before,
                None if page.next.is_none() => {
                    let lacks = usize::try_from(self.port.nature.faults.amount(Fault::Stale, 3)).unwrap_or(1);
                    page.items.truncate(page.items.len().saturating_sub(lacks));
                }
                None => {}
            }
        }
        self.port.end("query").await?;
        Ok(page)
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.port.inner.count(partition, at_most).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.port.inner.scan(after, limit).await
    }
}

#[async_trait]
impl ChangeStream for Ported<dyn ChangeStream> {
    async fn read(&self, max: usize, _: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.begin("read").await?;
        if self.strikes(Fault::Held) {
            let time = Duration::from_secs(self.nature.faults.amount(Fault::Held, HELD_MAX));
            self.nature.clock.sleep_until(self.nature.clock.now() + time).await;
        }
        let records = self.inner.read(max, UNTIL_SOMETHING_COMES).await?;
        self.end("read").await?;
        Ok(records)
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        self.begin("checkpoint").await?;
        if !self.strikes(Fault::Again) {
            self.inner.checkpoint(sequence).await?;
        }
        self.end("checkpoint").await
    }
}

impl Ported<dyn Queue> {
    /// Sends messages as the queue of SQS may take them: twice, late, or behind others.
    async fn arrive(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let body = message.body.clone();
            let second = NewMessage { in_place_of: None, key: None, ..message.clone() };
            let late =
                self.strikes(Fault::Late).then(|| self.nature.faults.amount(Fault::Late, LATE_MAX) * 1_000);
            let overtaken =
                || self.strikes(Fault::Overtaken).then(|| self.nature.faults.amount(Fault::Overtaken, 2_000));
            let by = Duration::from_millis(late.or_else(overtaken).unwrap_or_default());
            let mut answer = if by.is_zero() {
                self.inner.send(vec![message]).await.pop().unwrap_or(Ok(()))
            } else {
                self.nature.memory.send_late(&self.name, message, by)
            };
            if answer.is_ok() {
                self.nature.ledger.sent(self.process.starts_with("relay"), &body);
                if self.strikes(Fault::Duplicate) {
                    let by = Duration::from_millis(self.nature.faults.amount(Fault::Duplicate, 5_000));
                    answer = self.nature.memory.send_late(&self.name, second, by);
                }
            }
            answers.push(answer);
        }
        answers
    }
}

#[async_trait]
impl Queue for Ported<dyn Queue> {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        if self.process.starts_with("schedule") && self.strikes(Fault::Skipped) {
            return messages.iter().map(|_| Ok(())).collect();
        }
        self.each("send", messages, async |messages| self.arrive(messages).await).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.begin("receive").await?;
        let visibility = if self.strikes(Fault::Visible) { Some(VISIBLE_AFTER) } else { visibility };
        let wait = if wait.is_zero() { wait } else { UNTIL_SOMETHING_COMES };
        let mut messages = self.inner.receive(max, wait, visibility).await?;
        for message in &mut messages {
            if self.strikes(Fault::Count) {
                let is_more = self.nature.faults.amount(Fault::Count, 2) == 1;
                let count = message.receive_count;
                message.receive_count = if is_more { count + 1 } else { count.saturating_sub(1).max(1) };
            }
        }
        self.end("receive").await?;
        Ok(messages)
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.begin("extend").await?;
        self.inner.extend(receipts).await?;
        self.end("extend").await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.begin("delete").await?;
        self.inner.delete(receipts).await?;
        self.nature.ledger.changed();
        self.end("delete").await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.inner.depth().await
    }

    fn shows_arrivals(&self) -> bool {
        self.inner.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.inner.arrived(after, max).await
    }
}

#[async_trait]
impl Bucket for Ported<dyn Bucket> {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.begin("put").await?;
        let is_new = self.inner.put_if_absent(key, body).await?;
        self.nature.ledger.changed();
        self.end("put").await?;
        Ok(is_new)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.begin("get").await?;
        let object = self.inner.get(key).await?;
        self.end("get").await?;
        Ok(object)
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.begin("list").await?;
        let page = self.inner.list(prefix, after, limit).await?;
        self.end("list").await?;
        Ok(page)
    }
}

#[async_trait]
impl Topic for Ported<dyn Topic> {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.each("publish", messages, async |messages: Vec<NewMessage>| {
            let bodies: Vec<String> = messages.iter().map(|message| message.body.clone()).collect();
            let again = messages.iter().filter(|_| self.strikes(Fault::Duplicate)).cloned().collect();
            let answers = self.inner.publish(messages).await;
            tell_sent(self, &bodies, &answers);
            self.inner.publish(again).await;
            answers
        })
        .await
    }
}

#[async_trait]
impl Bus for Ported<dyn Bus> {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        self.each("publish", entries, async |entries: Vec<BusEntry>| {
            let bodies: Vec<String> = entries.iter().map(|entry| entry.detail.clone()).collect();
            let again = entries.iter().filter(|_| self.strikes(Fault::Duplicate)).cloned().collect();
            let answers = self.inner.publish(entries).await;
            tell_sent(self, &bodies, &answers);
            self.inner.publish(again).await;
            answers
        })
        .await
    }
}

fn tell_sent<P: ?Sized>(port: &Ported<P>, bodies: &[String], answers: &[Result<(), PortError>]) {
    for (body, _) in bodies.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
        port.nature.ledger.sent(port.process.starts_with("relay"), body);
    }
}

/// The clock of a process: it may be off by some seconds, and stays so as long as the process lives.
struct ProcessClock {
    clock: Arc<VirtualClock>,
    ahead: Duration,
    behind: Duration,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
            + (self.clock.now() + self.ahead).since(Timestamp::from_millis(0) + self.behind)
    }

    fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    fn not_before(&self, time: Timestamp) {
        self.clock.not_before(time);
    }

    async fn sleep_until(&self, until: Timestamp) {
        let until =
            Timestamp::from_millis(0) + (until + self.behind).since(Timestamp::from_millis(0) + self.ahead);
        self.clock.sleep_until(until).await;
    }
}

/// The ports of a process, over those in memory.
pub(super) fn ports_of(nature: &Arc<Nature>, process: &Arc<str>, random: &super::tape::Tape) -> Ports {
    let ports = nature.memory.ports();
    let off = || Duration::from_millis(nature.faults.amount(Fault::Clock, CLOCK_OFF_MAX));
    let (mut ahead, mut behind) = (Duration::ZERO, Duration::ZERO);
    if nature.faults.strikes(Fault::Clock, process) {
        (ahead, behind) =
            if nature.faults.amount(Fault::Clock, 2) == 1 { (off(), behind) } else { (ahead, off()) };
    }
    Ports {
        tables: each(nature, process, &ports.tables, |port| {
            Arc::new(SimTable { port, pages: Mutex::default() }) as _
        }),
        streams: each(nature, process, &ports.streams, |port| Arc::new(port) as _),
        queues: each(nature, process, &ports.queues, |port| Arc::new(port) as _),
        buckets: each(nature, process, &ports.buckets, |port| Arc::new(port) as _),
        topics: each(nature, process, &ports.topics, |port| Arc::new(port) as _),
        buses: each(nature, process, &ports.buses, |port| Arc::new(port) as _),
        clock: Arc::new(ProcessClock { clock: Arc::clone(&nature.clock), ahead, behind }),
        random: Arc::new(random.clone()),
        ..ports
    }
}

fn each<P: ?Sized>(
    nature: &Arc<Nature>,
    process: &Arc<str>,
    ports: &BTreeMap<String, Arc<P>>,
    wrap: impl Fn(Ported<P>) -> Arc<P>,
) -> BTreeMap<String, Arc<P>> {
    let ported = |(name, inner): (&String, &Arc<P>)| {
        let port = Ported {
            inner: Arc::clone(inner),
            name: name.clone(),
            process: Arc::clone(process),
            nature: Arc::clone(nature),
        };
        (name.clone(), wrap(port))
    };
    ports.iter().map(ported).collect()
}
