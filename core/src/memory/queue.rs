//! Queue in memory.

use crate::{
    limits::{MESSAGE_BYTES_MAX, QUEUE_DELAY_MAX, QUEUE_VISIBILITY_MAX},
    model::QueueModel,
    port::{
        Attributes, Clock, Depth, Message, NewMessage, PortError, Queue, Random, Receipt, Received,
        Unreadable,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// A queue.
pub(super) struct MemoryQueue {
    name: String,
    visibility_timeout: Duration,
    retention: Duration,
    redrive: OnceLock<Redrive>,
    /// All of them by name: what is sent may stand for a message that another one holds.
    queues: OnceLock<BTreeMap<String, Weak<MemoryQueue>>>,
    /// Whether each message that is sent arrives twice.
    twice: AtomicBool,
    /// How much later than sent each message arrives, in milliseconds.
    late: AtomicU64,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
    /// Tells waiting receivers that something may be visible, or will be sooner than they think.
    changed: Notify,
    /// Counts what arrives and what is deleted, for who watches the queue.
    #[cfg(feature = "sim")]
    watched: tokio::sync::watch::Sender<u64>,
}

struct Redrive {
    dead_letters: Arc<MemoryQueue>,
    receives_max: u32,
}

/// A message is in `messages` and `by_age`, and in one of `visible` and `hidden`.
#[derive(Default)]
struct State {
    /// The place of the latest arrival; places count from 1.
    last_place: u64,
    messages: BTreeMap<u64, Held>,
    by_age: BTreeSet<(Timestamp, u64)>,
    keys: BTreeSet<String>,
    /// Ready to be received, by when they became so.
    visible: BTreeSet<(Timestamp, u64)>,
    /// Not to be received before their time.
    hidden: BTreeSet<(Timestamp, u64)>,
    /// How many of the hidden ones wait for their first delivery; the others are in flight.
    delayed: u64,
}

#[derive(Clone)]
struct Held {
    id: String,
    key: Option<String>,
    body: String,
    unreadable: Option<Unreadable>,
    attributes: Attributes,
    /// When it was first sent. Moving to a dead-letter queue does not change it, as on SQS.
    sent_at: Timestamp,
    /// Over all queues it has been in, as SQS counts.
    receives: u32,
    due: Timestamp,
    delayed: bool,
}

impl Held {
    fn message(&self, receipt: Receipt) -> Message {
        Message {
            id: self.id.clone(),
            receipt,
            body: self.body.clone(),
            unreadable: self.unreadable.clone(),
            attributes: self.attributes.clone(),
            receive_count: self.receives,
            sent_at: self.sent_at,
        }
    }
}

/// What one look for messages found.
struct Taken {
    received: Vec<Message>,
    dead: Vec<Held>,
    /// When the next message becomes visible, unless another one comes first.
    next_due: Option<Timestamp>,
}

impl State {
    /// Brings the state to `now`: what is due becomes visible, what is too old vanishes. Each message is touched once
    /// for each time it is hidden, so that this costs no more than hiding it did.
    fn roll(&mut self, now: Timestamp, retention: Duration) {
        while let Some((sent_at, place)) = self.by_age.first().copied()
            && sent_at + retention <= now
        {
            self.remove(place);
        }
        while let Some((due, place)) = self.hidden.first().copied()
            && due <= now
        {
            self.hidden.remove(&(due, place));
            self.visible.insert((due, place));
            if let Some(held) = self.messages.get_mut(&place)
                && std::mem::take(&mut held.delayed)
            {
                self.delayed -= 1;
            }
        }
    }

    fn insert(&mut self, held: Held) {
        if held.key.as_ref().is_some_and(|key| !self.keys.insert(key.clone())) {
            return;
        }
        self.last_place += 1;
        let place = self.last_place;
        self.by_age.insert((held.sent_at, place));
        self.hidden.insert((held.due, place));
        self.delayed += u64::from(held.delayed);
        self.messages.insert(place, held);
    }

    fn remove(&mut self, place: u64) -> Option<Held> {
        let held = self.messages.remove(&place)?;
        self.by_age.remove(&(held.sent_at, place));
        held.key.as_ref().map(|key| self.keys.remove(key));
        self.visible.remove(&(held.due, place));
        self.hidden.remove(&(held.due, place));
        self.delayed -= u64::from(held.delayed);
        Some(held)
    }

    /// Those of these messages that are visible, in the order of their arrival.
    fn visible_of(&self, ids: &[String]) -> Vec<(Timestamp, u64)> {
        let ids: BTreeSet<&String> = ids.iter().collect();
        let named = self.messages.iter().filter(|(_, held)| ids.contains(&held.id));
        named.map(|(place, held)| (held.due, *place)).filter(|key| self.visible.contains(key)).collect()
    }

    /// Hides a received message until `due`.
    fn hide(&mut self, place: u64, due: Timestamp) {
        let Some(held) = self.messages.get_mut(&place) else {
            return;
        };
        let before = std::mem::replace(&mut held.due, due);
        self.visible.remove(&(before, place));
        self.hidden.remove(&(before, place));
        self.hidden.insert((due, place));
    }

    /// The place of the message that `receipt` was given for, unless a later receive voided it or it is gone.
    fn place_of(&self, receipt: &Receipt) -> Option<u64> {
        let (place, receives) = receipt.0.split_once('.')?;
        let place = place.parse().ok()?;
        let held = self.messages.get(&place)?;
        (receives.parse() == Ok(held.receives)).then_some(place)
    }
}

impl MemoryQueue {
    pub(super) fn new(model: &QueueModel, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self {
            name: model.name.clone(),
            visibility_timeout: model.visibility_timeout,
            retention: model.retention,
            redrive: OnceLock::new(),
            queues: OnceLock::new(),
            twice: AtomicBool::new(false),
            late: AtomicU64::new(0),
            clock,
            random,
            state: Mutex::default(),
            changed: Notify::new(),
            #[cfg(feature = "sim")]
            watched: tokio::sync::watch::Sender::new(0),
        }
    }

    /// Sends messages received `receives_max` times to `dead_letters`. Said once, when all queues are made.
    pub(super) fn redrive_to(&self, dead_letters: Arc<Self>, receives_max: u32) {
        // A second call could only come from a model with two queues of one name, where the first one counts.
        let _ = self.redrive.set(Redrive { dead_letters, receives_max });
    }

    /// All queues of the adapter. Said once, when they are made.
    pub(super) fn beside(&self, queues: BTreeMap<String, Weak<Self>>) {
        let _ = self.queues.set(queues);
    }

    /// Takes away the message that another one is to stand for. False where it is somebody else's by now, or gone.
    fn settle(&self, received: &Received) -> Result<bool, PortError> {
        let queue = self.queues.get().and_then(|queues| queues.get(&received.queue)).and_then(Weak::upgrade);
        let queue = queue.ok_or_else(|| {
            PortError::permanent(&self.name, format_args!("there is no queue {:?}", received.queue))
        })?;
        let mut state = queue.state();
        Ok(state.place_of(&received.receipt).and_then(|place| state.remove(place)).is_some())
    }

    /// From now on each message that is sent arrives twice, as one of SQS may.
    pub(super) fn deliver_twice(&self) {
        self.twice.store(true, Ordering::Relaxed);
    }

    /// From now on each message that is sent arrives so much later, which may be longer than any delay that one can be sent with.
    #[cfg(feature = "sim")]
    pub(super) fn deliver_late(&self, by: Duration) {
        self.late.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Damages the message that has this body; false where there is none.
    pub(super) fn damage(&self, body: &str) -> bool {
        let mut state = self.state();
        let held = state.messages.values_mut().find(|held| held.body == body);
        held.map(|held| held.unreadable = Some(Unreadable::new("damaged by a test"))).is_some()
    }

    /// The state as of now.
    fn state(&self) -> MutexGuard<'_, State> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.roll(now, self.retention);
        state
    }

    fn check_visibility(&self, visibility: Duration) -> Result<(), PortError> {
        if visibility <= QUEUE_VISIBILITY_MAX {
            return Ok(());
        }
        let detail = format_args!(
            "a visibility timeout of {visibility:?} is over the limit of {QUEUE_VISIBILITY_MAX:?}"
        );
        Err(PortError::permanent(&self.name, detail))
    }

    fn insert(&self, held: impl IntoIterator<Item = Held>) {
        let mut state = self.state();
        held.into_iter().for_each(|held| state.insert(held));
        drop(state);
        self.changed.notify_waiters();
        self.tell_watcher();
    }

    /// Counts what arrives and what is deleted, for who watches the queue.
    #[cfg(feature = "sim")]
    pub(super) fn watched(&self) -> tokio::sync::watch::Receiver<u64> {
        self.watched.subscribe()
    }

    fn tell_watcher(&self) {
        #[cfg(feature = "sim")]
        self.watched.send_modify(|count| *count += 1);
    }

    /// One look for messages that are visible: any, or those of `ids`.
    fn take(&self, max: usize, ids: Option<&[String]>, visibility: Duration) -> Taken {
        let now = self.clock.now();
        let receives_max = self.redrive.get().map_or(u32::MAX, |redrive| redrive.receives_max);
        let mut state = self.state();
        let (mut received, mut dead) = (Vec::new(), Vec::new());
        let mut places = Vec::new();
        let mut wanted = ids.map(|ids| state.visible_of(ids).into_iter());
        while received.len() < max {
            let next = match &mut wanted {
                Some(wanted) => wanted.next(),
                None => state.visible.first().copied(),
            };
            let Some(key @ (_, place)) = next else { break };
            state.visible.remove(&key);
            let Some(held) = state.messages.get_mut(&place) else {
                continue;
            };
            if held.receives >= receives_max {
                dead.extend(state.remove(place));
                continue;
            }
            held.receives += 1;
            received.push(held.message(Receipt(format!("{place}.{}", held.receives))));
            places.push(place);
        }
        // Hidden only now: with a visibility timeout of zero this receive would find them again.
        for place in places {
            state.hide(place, now + visibility);
        }
        Taken { received, dead, next_due: state.hidden.first().map(|(due, _)| *due) }
    }

    fn dead_letter(&self, dead: Vec<Held>) {
        let Some(redrive) = self.redrive.get().filter(|_| !dead.is_empty()) else {
            return;
        };
        let now = self.clock.now();
        redrive.dead_letters.insert(dead.into_iter().map(|held| Held {
            due: now,
            delayed: false,
            key: None,
            ..held
        }));
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let now = self.clock.now();
        let late = Duration::from_millis(self.late.load(Ordering::Relaxed));
        let mut arriving = Vec::with_capacity(messages.len());
        let answers = messages
            .into_iter()
            .map(|message| {
                let NewMessage { body, attributes, delay, in_place_of, key } =
                    message.admitted(&self.name, MESSAGE_BYTES_MAX, QUEUE_DELAY_MAX)?;
                if let Some(received) = in_place_of
                    && !self.settle(&received)?
                {
                    return Ok(());
                }
                arriving.push(Held {
                    id: format!("{:016x}", self.random.next_u64()),
                    key,
                    body,
                    unreadable: None,
                    attributes,
                    sent_at: now,
                    receives: 0,
                    due: now + delay + late,
                    delayed: !(delay + late).is_zero(),
                });
                Ok(())
            })
            .collect();
        if self.twice.load(Ordering::Relaxed) {
            arriving.extend(arriving.clone());
        }
        self.insert(arriving);
        answers
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let visibility = visibility.unwrap_or(self.visibility_timeout);
        self.check_visibility(visibility)?;
        let until = self.clock.now() + wait;
        loop {
            // Made before looking, so that a message that comes in between wakes it.
            let changed = self.changed.notified();
            let Taken { received, dead, next_due } = self.take(max, None, visibility);
            self.dead_letter(dead);
            if !received.is_empty() || max == 0 || self.clock.now() >= until {
                return Ok(received);
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.clock.sleep_until(next_due.map_or(until, |due| due.min(until))) => {}
            }
        }
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        let visibility = visibility.unwrap_or(self.visibility_timeout);
        self.check_visibility(visibility)?;
        let Taken { received, dead, .. } = self.take(usize::MAX, Some(ids), visibility);
        self.dead_letter(dead);
        Ok(received)
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        receipts.iter().try_for_each(|(_, visibility)| self.check_visibility(*visibility))?;
        let now = self.clock.now();
        let mut state = self.state();
        for (receipt, visibility) in receipts {
            if let Some(place) = state.place_of(receipt) {
                state.hide(place, now + *visibility);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        let mut state = self.state();
        for receipt in receipts {
            if let Some(place) = state.place_of(receipt) {
                state.remove(place);
            }
        }
        drop(state);
        self.tell_watcher();
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        let state = self.state();
        Ok(Depth {
            visible: state.visible.len() as u64,
            in_flight: (state.hidden.len() as u64).saturating_sub(state.delayed),
            delayed: state.delayed,
        })
    }

    fn shows_arrivals(&self) -> bool {
        true
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        let state = self.state();
        let behind = state.messages.range((Bound::Excluded(after), Bound::Unbounded)).take(max);
        Ok(behind.map(|(place, held)| (*place, held.message(Receipt(String::new())))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory::VirtualClock, port::SeededRandom};

    fn queue(name: &str, clock: &Arc<VirtualClock>) -> Arc<MemoryQueue> {
        let model = QueueModel {
            name: name.to_owned(),
            visibility_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(600),
            redrive: None,
            physical: None,
            is_outside: false,
        };
        Arc::new(MemoryQueue::new(
            &model,
            Arc::clone(clock) as Arc<dyn Clock>,
            Arc::new(SeededRandom::new(1)),
        ))
    }

    #[tokio::test]
    async fn a_dead_letter_keeps_its_id_its_time_and_its_receive_count() {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_000)));
        let (source, dead_letters) = (queue("source", &clock), queue("source-dlq", &clock));
        source.redrive_to(Arc::clone(&dead_letters), 1);
        let sent = source.send(vec![NewMessage { body: "x".to_owned(), ..NewMessage::default() }]).await;
        assert_eq!(sent, [Ok(())]);
        let first = source.receive(10, Duration::ZERO, None).await.unwrap().remove(0);
        clock.advance(Duration::from_secs(30));
        assert_eq!(source.receive(10, Duration::ZERO, None).await.unwrap(), []);
        assert_eq!(source.depth().await.unwrap().total(), 0);
        let dead = dead_letters.receive(10, Duration::ZERO, None).await.unwrap().remove(0);
        assert_eq!((&dead.id, dead.sent_at, dead.receive_count), (&first.id, first.sent_at, 2));
        // The first receipt was the source's; here it must not touch anything.
        dead_letters.delete(&[first.receipt]).await.unwrap();
        assert_eq!(dead_letters.depth().await.unwrap(), Depth { in_flight: 1, ..Depth::default() });
        // Its retention counts from when it was first sent.
        clock.advance(Duration::from_secs(570));
        assert_eq!(dead_letters.depth().await.unwrap(), Depth::default());
    }
}
