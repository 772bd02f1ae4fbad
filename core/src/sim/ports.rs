//! The ports of a process in a simulation: those in memory, with pauses at which others go on, and with faults.

use super::{
    executor::{Pause, Ready},
    fault::Fault,
    ledger::{Ledger, ONE_OBJECT, WAITS},
    options::Options,
    property::Property,
    strikes::{Faults, Place},
    tape::{Kind, Tape},
    trace::Trace,
};
use crate::{
    alarm::Told,
    backoff::Waits,
    event::Envelope,
    failure::Failure,
    limits::QUEUE_VISIBILITY_MAX,
    memory::{Memory, VirtualClock},
    model::Model,
    port::{
        Bucket, Bus, BusEntry, ChangeStream, Clock, CommitError, Depth, IndexPage, IndexQuery, Item, Message,
        NewMessage, ObjectPage, PortError, Ports, Queue, Receipt, ScanPage, Steady, StreamRecord, Table,
        Topic, Write,
    },
    services::Services,
    timestamp::Timestamp,
    wire::Outside,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

/// A wait for messages or records that only they end: it is idle, and no time has to pass for it.
pub(super) const UNTIL_SOMETHING_COMES: Duration = Duration::from_secs(400 * 86_400);

/// The longest wait of who only looks.
const LOOKS: Duration = Duration::from_secs(1);

/// The wait of a receive: a process that waits for work is woken by it, and not by the end of its wait.
pub(super) fn waited(wait: Duration) -> Duration {
    if wait <= LOOKS { wait } else { UNTIL_SOMETHING_COMES }
}

/// The longest that a message comes late, in seconds.
const LATE_MAX: u64 = 12 * 3_600;

/// The longest that a call takes, in seconds.
const SLOW_MAX: u64 = 90;

/// The longest that a change stream stands, in seconds.
const HELD_MAX: u64 = 600;

/// The longest that a port takes nothing, in seconds.
const OUTAGE_MAX: u64 = 120;

/// The furthest that a clock is off, in milliseconds.
const CLOCK_OFF_MAX: u64 = 5_000;

/// The furthest that a clock is set back, in seconds.
const SET_BACK_MAX: u64 = 600;

/// When a clock is set back at the latest after its process has begun, in seconds.
const SET_BACK_BY: u64 = 1_800;

/// The furthest that a schedule's clock is off, in milliseconds.
const MINUTE: u64 = 60_000;
/// The most messages that a queue counts too many or too few.
const DEPTH_OFF_MAX: u64 = 3;

/// How soon a message may be visible again though its handler works, in seconds.
const VISIBLE_AFTER: Duration = Duration::from_secs(1);

/// How much less a message may wait than its step says: two processes have two clocks.
const TOLERATED: Duration = Duration::from_secs(5);

/// Of so many places where others may go on first, they do at one.
const PAUSES: u64 = 3;

/// The longest time without a message of a schedule that has nothing to do.
const IDLE_MAX: Duration = Duration::from_secs(86_400);

/// What all processes of a simulation have around them.
pub(super) struct Nature {
    pub(super) memory: Memory,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) tape: Tape,
    pub(super) ready: Arc<Ready>,
    /// The process that is at work dies.
    pub(super) is_doomed: AtomicBool,
    /// Whether a message is sent beside the one that it stands for, as on SQS, and not in its place.
    pub(super) is_plain: bool,
    dead_letter_queues: BTreeSet<String>,
    /// The buckets in which services keep something: they may be what stands for something outside, and answer by what is kept.
    of_services: BTreeSet<String>,
    /// How long the steps of queues wait between attempts.
    waits: BTreeMap<String, Waits>,
    /// Until when ports take nothing.
    outages: Mutex<BTreeMap<String, Timestamp>>,
    /// The schedules that have nothing to do, once the faults have stopped.
    idle: Mutex<BTreeMap<Arc<str>, Idle>>,
    /// How far the alarms have told.
    alarms: Mutex<BTreeMap<String, Told>>,
}

/// A schedule whose last message changed nothing.
struct Idle {
    /// How much had been changed when it sent its last message.
    progress: u64,
    sent_at: Timestamp,
    /// How long it is left out.
    left_out: Duration,
}

impl Nature {
    /// That of one run, which begins at this time.
    pub(super) fn new(
        model: &Arc<Model>,
        properties: &[Property],
        tape: &Tape,
        ready: Arc<Ready>,
        options: &Options,
        begin: Timestamp,
    ) -> Self {
        let clock = Arc::new(VirtualClock::new(begin));
        let dead_letter_queues = model.dead_letter_queues().map(str::to_owned).collect();
        let kept = keeping(model, &dead_letter_queues);
        Self {
            memory: Memory::new(&kept, Arc::clone(&clock) as _, Arc::new(tape.clone())),
            clock,
            faults: Faults::draw(tape, &options.faults, options.strikes_max),
            ledger: Ledger::new(model, properties),
            trace: Trace::new(options.is_kept),
            is_plain: tape.choose(Kind::Rate, 2) == 0,
            tape: tape.clone(),
            ready,
            is_doomed: AtomicBool::new(false),
            dead_letter_queues,
            of_services: model
                .services
                .iter()
                .flat_map(|service| service.uses.buckets().keys().cloned())
                .collect(),
            waits: model.steps.iter().map(|step| (step.queue.clone(), step.waits.clone())).collect(),
            outages: Mutex::default(),
            idle: Mutex::default(),
            alarms: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far the alarms have told.
    pub(super) fn alarms(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fault strikes here now, which the trace tells.
    pub(super) fn strikes(&self, fault: Fault, place: &Place) -> bool {
        let strikes = self.faults.strikes(fault, place);
        if strikes {
            self.trace.tell(self.now(), &[&place.name, "fault", fault.as_str()]);
        }
        strikes
    }

    /// A place where the process may die, and where others may go on first.
    pub(super) async fn pause(&self, place: &Place) {
        if self.strikes(Fault::Crash, place) {
            self.is_doomed.store(true, Ordering::Relaxed);
            return pending().await;
        }
        if self.ready.has_some() && self.tape.choose(Kind::Task, PAUSES) == 0 {
            Pause::default().await;
        }
    }

    /// The answer of a process that may die before it gives one.
    pub(super) async fn mortal<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.is_doomed.swap(false, Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether a schedule's message is left out: since its last one nothing was done, and nothing strikes any longer. Such a message
    /// changes nothing, and waits of days would be full of them.
    fn is_left_out(&self, schedule: &Arc<str>) -> bool {
        if self.faults.are_on() {
            return false;
        }
        let (progress, now) = (self.ledger.progress(), self.now());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = idle.get(schedule).filter(|last| last.progress == progress);
        if last.is_some_and(|last| now < last.sent_at + last.left_out) {
            return true;
        }
        // From its own time on, twice as long each time.
        let left_out = last.map_or(Duration::ZERO, |last| (now.since(last.sent_at) * 2).min(IDLE_MAX));
        idle.insert(Arc::clone(schedule), Idle { progress, sent_at: now, left_out });
        false
    }

    /// Whether a port takes nothing now, or from now on.
    fn is_out(&self, port: &str, place: &Place) -> bool {
        if !self.faults.may_strike(Fault::Outage) {
            return false;
        }
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if self.strikes(Fault::Outage, place) {
            let until = now + Duration::from_secs(self.faults.amount(Fault::Outage, OUTAGE_MAX));
            outages.insert(port.to_owned(), until);
        }
        outages.get(port).is_some_and(|until| now < *until)
    }
}

/// A model whose dead letters stay for as long as a run lasts: that they expire is a fault of its own.
fn keeping(model: &Model, dead_letter_queues: &BTreeSet<String>) -> Model {
    let mut model = model.clone();
    for queue in model.queues.iter_mut().filter(|queue| dead_letter_queues.contains(&queue.name)) {
        queue.retention = UNTIL_SOMETHING_COMES;
    }
    model
}

/// A port of one process.
struct Ported<P: ?Sized> {
    inner: Arc<P>,
    name: String,
    place: Arc<Place>,
    nature: Arc<Nature>,
}

impl<P: ?Sized> Ported<P> {
    fn strikes(&self, fault: Fault) -> bool {
        self.nature.strikes(fault, &self.place)
    }

    fn amount(&self, fault: Fault, most: u64) -> u64 {
        self.nature.faults.amount(fault, most)
    }

    fn error(&self, what: &str) -> PortError {
        PortError::transient(&self.name, format_args!("simulated: {what}"))
    }

    /// Before a call: others may go on, it may take long, and it may be refused.
    async fn begin(&self, call: &str) -> Result<(), PortError> {
        self.nature.pause(&self.place).await;
        if self.strikes(Fault::Slow) {
            let time = Duration::from_secs(self.amount(Fault::Slow, SLOW_MAX));
            self.nature.clock.sleep_until(self.nature.now() + time).await;
        }
        if self.strikes(Fault::Throttled) || self.nature.is_out(&self.name, &self.place) {
            self.tell(call, "refused");
            return Err(self.error("throttled"));
        }
        self.tell(call, "called");
        Ok(())
    }

    /// After it: others may go on before the answer comes, and it may be lost.
    async fn end(&self, call: &str) -> Result<(), PortError> {
        self.nature.pause(&self.place).await;
        if self.strikes(Fault::Lost) {
            self.tell(call, "lost");
            return Err(self.error("the answer was lost"));
        }
        Ok(())
    }

    fn tell(&self, call: &str, what: &str) {
        self.nature.trace.tell(self.nature.now(), &[&self.place.name, &self.name, call, what]);
    }

    /// For people: which entities a call is about.
    fn explain(&self, call: &str, about: impl FnOnce() -> Vec<String>) {
        let words = || {
            let mut words = vec![self.place.name.to_string(), self.name.clone(), call.to_owned()];
            words.extend(about());
            words
        };
        self.nature.trace.explain(self.nature.now(), words);
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

    /// What a publication does for each that it reaches: once, or twice, now or late.
    fn lateness(&self) -> Duration {
        if self.strikes(Fault::Late) {
            Duration::from_secs(self.amount(Fault::Late, LATE_MAX))
        } else if self.strikes(Fault::Overtaken) {
            Duration::from_millis(self.amount(Fault::Overtaken, 2_000))
        } else {
            Duration::ZERO
        }
    }

    /// Does something in which each message that is sent arrives so much later. It never waits, so that nothing else is sent meanwhile.
    async fn late<T>(&self, by: Duration, send: impl Future<Output = T>) -> T {
        if by.is_zero() {
            return send.await;
        }
        self.nature.memory.deliver_late(by);
        let sent = send.await;
        self.nature.memory.deliver_late(Duration::ZERO);
        sent
    }
}

/// An event, as people are told of it: what it is, and to whom.
fn named(body: &str) -> String {
    Envelope::parse(body).map_or_else(
        |_| body.chars().take(80).collect(),
        |event| format!("{} to {} ({})", event.event_type, event.subject, event.id),
    )
}

/// A page that was read with other bounds, held to those of `query`.
fn within(query: &IndexQuery, mut page: IndexPage) -> IndexPage {
    let Some(before) = &query.before else { return page };
    let count = page.items.len();
    page.items.retain(|item| item.index.as_ref().is_none_or(|entry| entry.sort < *before));
    // Behind the bound there is nothing.
    page.next = page.next.filter(|_| page.items.len() == count);
    page
}

struct SimTable {
    port: Ported<dyn Table>,
    /// Pages as they were read last: an index may still be as it was then.
    pages: Mutex<BTreeMap<(String, Option<String>), IndexPage>>,
}

impl SimTable {
    /// A page as it was read before, or without its latest entries.
    fn maybe_stale(&self, query: &IndexQuery, page: &mut IndexPage) {
        let key = (query.partition.clone(), query.after.clone());
        let is_stale = self.port.strikes(Fault::Stale);
        let before = self.pages.lock().unwrap_or_else(PoisonError::into_inner).insert(key, page.clone());
        if !is_stale {
            return;
        }
        match before.filter(|before| before.items.len() <= query.limit) {
            Some(before) => *page = within(query, before),
            None if page.next.is_none() => {
                let lacks = usize::try_from(self.port.amount(Fault::Stale, 3)).unwrap_or(1);
                page.items.truncate(page.items.len().saturating_sub(lacks));
            }
            None => {}
        }
    }
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
            for ((item, outbox), answer) in told.into_iter().zip(&answers) {
                let outcome = if answer.is_ok() { "committed" } else { "not committed" };
                port.explain(outcome, || vec![item.key.clone(), format!("version {}", item.version)]);
                if answer.is_ok() {
                    port.nature.ledger.committed(item, &outbox, port.nature.now());
                }
            }
            answers
        })
        .await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.port.begin("query").await?;
        let mut page = self.port.inner.query(query).await?;
        if self.port.nature.faults.may_strike(Fault::Stale) {
            self.maybe_stale(query, &mut page);
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
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.begin("read").await?;
        if self.strikes(Fault::Held) {
            let time = Duration::from_secs(self.amount(Fault::Held, HELD_MAX));
            self.nature.clock.sleep_until(self.nature.now() + time).await;
        }
        let wait = waited(wait);
        let mut records = self.inner.read(max, wait).await?;
        if let Some(last) = records.last().filter(|_| self.strikes(Fault::RecordsLost)) {
            self.inner.checkpoint(last.sequence).await?;
            records.clear();
        }
        self.end("read").await?;
        Ok(records)
    }

    /// It is applied at once: a read that begins after it has begun does not give what it is of.
    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        let is_refused = self.strikes(Fault::Throttled);
        if !is_refused && !self.strikes(Fault::Again) {
            self.inner.checkpoint(sequence).await?;
        }
        self.tell("checkpoint", if is_refused { "refused" } else { "called" });
        if is_refused {
            self.nature.pause(&self.place).await;
            return Err(self.error("throttled"));
        }
        self.end("checkpoint").await
    }
}

/// A queue, with what was received of it: how often before, and when.
struct SimQueue {
    port: Ported<dyn Queue>,
    /// The waits of its step.
    waits: Option<Waits>,
    received: Mutex<BTreeMap<String, (u32, Timestamp)>>,
}

impl std::ops::Deref for SimQueue {
    type Target = Ported<dyn Queue>;

    fn deref(&self) -> &Self::Target {
        &self.port
    }
}

impl SimQueue {
    fn received(&self) -> MutexGuard<'_, BTreeMap<String, (u32, Timestamp)>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a receive gives: it is remembered, and a count may be off.
    async fn handed_out(&self, mut messages: Vec<Message>) -> Result<Vec<Message>, PortError> {
        for message in &mut messages {
            if self.strikes(Fault::Count) {
                let is_more = self.amount(Fault::Count, 2) == 1;
                let count = message.receive_count;
                message.receive_count = if is_more { count + 1 } else { count.saturating_sub(1).max(1) };
            }
        }
        let now = self.nature.now();
        let receives =
            messages.iter().map(|message| (message.receipt.0.clone(), (message.receive_count, now)));
        self.received().extend(receives);
        self.explain("received", || messages.iter().map(|message| named(&message.body)).collect());
        self.end("receive").await?;
        Ok(messages)
    }

    /// Whether each of these messages is hidden for as long as its step waits at least before another attempt. One that comes back
    /// at once failed for a port's sake, which takes it again by now.
    fn look_at_waits(&self, hidden: &[(Receipt, Duration)]) {
        let (Some(waits), now, received) = (&self.waits, self.nature.now(), self.received()) else { return };
        for (receipt, hidden) in hidden.iter().filter(|(_, hidden)| !hidden.is_zero()) {
            let Some((attempt, at)) = received.get(&receipt.0) else { continue };
            // Clocks of two processes are not the same.
            let least = waits.shortest(*attempt).saturating_sub(TOLERATED);
            if now + *hidden < *at + least {
                let detail =
                    format!("after attempt {attempt} of a message in {} it is {hidden:?}", self.name);
                self.nature.ledger.violated(WAITS, detail);
            }
        }
    }
}

impl Ported<dyn Queue> {
    /// Sends messages as the queue of SQS may take them: twice, late, or behind others.
    async fn arrive(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::with_capacity(messages.len());
        let is_dead = self.nature.dead_letter_queues.contains(&self.name);
        for mut message in messages {
            if self.nature.is_plain {
                (message.in_place_of, message.key) = (None, None);
            }
            let body = message.body.clone();
            self.explain(if is_dead { "dead-lettered" } else { "sent" }, || vec![named(&body)]);
            if is_dead && self.strikes(Fault::LetterExpired) {
                answers.push(Ok(()));
                continue;
            }
            let second = NewMessage { in_place_of: None, key: None, ..message.clone() };
            let sent = self.late(self.lateness(), self.inner.send(vec![message])).await;
            let mut answer = sent.into_iter().next().unwrap_or(Ok(()));
            if answer.is_ok() {
                self.nature.ledger.sent(&self.place.name, &body);
                if self.strikes(Fault::Duplicate) {
                    let by = Duration::from_millis(self.amount(Fault::Duplicate, 5_000));
                    let sent = self.late(by, self.inner.send(vec![second])).await;
                    answer = sent.into_iter().next().unwrap_or(Ok(()));
                }
            }
            answers.push(answer);
        }
        answers
    }
}

/// A visibility timeout that ends early. One that is shorter stays as it is, and so does one that no queue takes.
fn visible_soon(visibility: Option<Duration>) -> Option<Duration> {
    let stays = |asked: &Duration| *asked < VISIBLE_AFTER || *asked > QUEUE_VISIBILITY_MAX;
    visibility.filter(stays).or(Some(VISIBLE_AFTER))
}

#[async_trait]
impl Queue for SimQueue {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let is_scheduled = self.place.name.starts_with("schedule");
        if is_scheduled && (self.nature.is_left_out(&self.place.name) || self.strikes(Fault::Skipped)) {
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
        let visibility = if self.strikes(Fault::Visible) { visible_soon(visibility) } else { visibility };
        let wait = waited(wait);
        let messages = self.inner.receive(max, wait, visibility).await?;
        self.handed_out(messages).await
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.begin("receive").await?;
        let visibility = if self.strikes(Fault::Visible) { visible_soon(visibility) } else { visibility };
        let messages = self.inner.receive_these(ids, visibility).await?;
        self.handed_out(messages).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.begin("extend").await?;
        self.look_at_waits(receipts);
        self.inner.extend(receipts).await?;
        self.end("extend").await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.begin("delete").await?;
        self.inner.delete(receipts).await?;
        receipts.iter().for_each(|receipt| _ = self.received().remove(&receipt.0));
        self.nature.ledger.changed(false);
        self.end("delete").await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        let mut depth = self.inner.depth().await?;
        if self.strikes(Fault::Depth) {
            let by = self.amount(Fault::Depth, DEPTH_OFF_MAX);
            let is_more = self.amount(Fault::Depth, 2) == 1;
            depth.visible =
                if is_more { depth.visible.saturating_add(by) } else { depth.visible.saturating_sub(by) };
        }
        Ok(depth)
    }

    /// SQS shows none.
    fn shows_arrivals(&self) -> bool {
        !self.nature.is_plain && self.inner.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.inner.arrived(after, max).await
    }
}

#[async_trait]
impl Bucket for Ported<dyn Bucket> {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.begin("put").await?;
        let is_new = self.inner.put_if_absent(key, body.clone()).await?;
        self.nature.ledger.changed(is_new);
        if !is_new
            && !self.nature.of_services.contains(&self.name)
            && self.inner.get(key).await?.is_some_and(|kept| kept != body)
        {
            let detail = format!("{key} in {} was to be written again, and otherwise", self.name);
            self.nature.ledger.violated(ONE_OBJECT, detail);
        }
        self.explain(if is_new { "written" } else { "was there" }, || vec![key.to_owned()]);
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
            let answers = self.late(self.lateness(), self.inner.publish(messages)).await;
            tell_sent(self, &bodies, &answers);
            self.late(self.lateness(), self.inner.publish(again)).await;
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
            let answers = self.late(self.lateness(), self.inner.publish(entries)).await;
            tell_sent(self, &bodies, &answers);
            self.late(self.lateness(), self.inner.publish(again)).await;
            answers
        })
        .await
    }
}

fn tell_sent<P: ?Sized>(port: &Ported<P>, bodies: &[String], answers: &[Result<(), PortError>]) {
    for (body, _) in bodies.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
        port.explain("published", || vec![named(body)]);
        port.nature.ledger.sent(&port.place.name, body);
    }
}

/// The clock of a process: it may be off, and may be set back once. It never goes back all the same.
struct ProcessClock {
    clock: Arc<VirtualClock>,
    ahead: Duration,
    behind: Duration,
    /// When it is set back, and by how much.
    set_back: Option<(Timestamp, Duration)>,
    steady: Mutex<Steady>,
}

impl ProcessClock {
    /// The clock of a process that begins now.
    fn of(nature: &Nature, place: &Place) -> Self {
        let off_max = if place.name.starts_with("schedule") && nature.strikes(Fault::Minute, place) {
            Some((Fault::Minute, MINUTE))
        } else {
            nature.strikes(Fault::Clock, place).then_some((Fault::Clock, CLOCK_OFF_MAX))
        };
        let (mut ahead, mut behind) = (Duration::ZERO, Duration::ZERO);
        if let Some((fault, most)) = off_max {
            let off = Duration::from_millis(nature.faults.amount(fault, most));
            let is_ahead = nature.faults.amount(fault, 2) == 1;
            *(if is_ahead { &mut ahead } else { &mut behind }) = off;
        }
        let set_back = nature.strikes(Fault::SetBack, place).then(|| {
            let after = Duration::from_secs(nature.faults.amount(Fault::SetBack, SET_BACK_BY));
            (nature.now() + after, Duration::from_secs(nature.faults.amount(Fault::SetBack, SET_BACK_MAX)))
        });
        let (clock, steady) = (Arc::clone(&nature.clock), Mutex::new(Steady::new()));
        Self { clock, ahead, behind, set_back, steady }
    }

    fn is_right(&self) -> bool {
        self.ahead.is_zero() && self.behind.is_zero() && self.set_back.is_none()
    }
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        if self.is_right() {
            return now;
        }
        let back = self.set_back.filter(|(at, _)| *at <= now).map_or(Duration::ZERO, |(_, by)| by);
        let machine = (now + self.ahead).since(Timestamp::from_millis(0)).saturating_sub(self.behind + back);
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        steady.now(machine, self.clock.uptime()).0
    }

    fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    fn not_before(&self, time: Timestamp) {
        if self.is_right() {
            return self.clock.not_before(time);
        }
        // What time it is has to be known first.
        self.now();
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        steady.not_before(time, self.clock.uptime());
    }

    async fn sleep_until(&self, until: Timestamp) {
        if self.is_right() {
            return self.clock.sleep_until(until).await;
        }
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            self.clock.sleep_until(self.clock.now() + left).await;
        }
    }
}

/// What is outside, as a process sees it.
struct SimOutside {
    place: Arc<Place>,
    nature: Arc<Nature>,
}

#[async_trait]
impl Outside for SimOutside {
    async fn ask(&self, service: &str, what: String) -> Result<(), Failure> {
        let nature = &self.nature;
        nature.pause(&self.place).await;
        if nature.strikes(Fault::Slow, &self.place) {
            let time = Duration::from_secs(nature.faults.amount(Fault::Slow, SLOW_MAX));
            nature.clock.sleep_until(nature.now() + time).await;
        }
        if nature.strikes(Fault::Unreachable, &self.place) {
            return Err(Failure::transient("unreachable", format_args!("simulated: {service}")));
        }
        let now = nature.now();
        nature.trace.tell(now, &[&self.place.name, service, "asked", &what]);
        nature.ledger.asked(service, now, what);
        Ok(())
    }

    async fn answer(&self, service: &str) -> Result<(), Failure> {
        self.nature.pause(&self.place).await;
        if self.nature.strikes(Fault::Unanswered, &self.place) {
            return Err(Failure::transient("unanswered", format_args!("simulated: {service}")));
        }
        Ok(())
    }

    fn is_fickle(&self, _: &str) -> bool {
        self.nature.strikes(Fault::Fickle, &self.place)
    }
}

/// The ports of a process, over those in memory.
pub(super) fn ports_of(nature: &Arc<Nature>, process: &str) -> Ports {
    let (ports, place) = (nature.memory.ports(), nature.faults.place(process));
    let outside: Arc<dyn Outside> =
        Arc::new(SimOutside { place: Arc::clone(&place), nature: Arc::clone(nature) });
    Ports {
        tables: each(nature, &place, &ports.tables, |port| {
            Arc::new(SimTable { port, pages: Mutex::default() }) as _
        }),
        streams: each(nature, &place, &ports.streams, |port| Arc::new(port) as _),
        queues: each(nature, &place, &ports.queues, |port| {
            let waits = nature.waits.get(&port.name).cloned();
            Arc::new(SimQueue { port, waits, received: Mutex::default() }) as _
        }),
        buckets: each(nature, &place, &ports.buckets, |port| Arc::new(port) as _),
        topics: each(nature, &place, &ports.topics, |port| Arc::new(port) as _),
        buses: each(nature, &place, &ports.buses, |port| Arc::new(port) as _),
        clock: Arc::new(ProcessClock::of(nature, &place)),
        random: Arc::new(nature.tape.clone()),
        services: Services::new().with::<dyn Outside>(outside),
        ..ports
    }
}

fn each<P: ?Sized>(
    nature: &Arc<Nature>,
    place: &Arc<Place>,
    ports: &BTreeMap<String, Arc<P>>,
    wrap: impl Fn(Ported<P>) -> Arc<P>,
) -> BTreeMap<String, Arc<P>> {
    let ported = |(name, inner): (&String, &Arc<P>)| {
        let port = Ported {
            inner: Arc::clone(inner),
            name: name.clone(),
            place: Arc::clone(place),
            nature: Arc::clone(nature),
        };
        (name.clone(), wrap(port))
    };
    ports.iter().map(ported).collect()
}
