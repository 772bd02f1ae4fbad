//! The ledger: what was applied, by which the properties that hold for every system are checked as it happens.

use super::{
    known::{Entities, Known},
    property::{Check, Property},
    world::Asked,
};
use crate::{
    alarm::Alert,
    event::Envelope,
    history::History,
    model::Model,
    port::{Item, Write},
    timestamp::Timestamp,
};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A property that does not hold, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub property: String,
    /// The process that was at work, where one broke it; empty where it is seen in the end.
    pub step: String,
    /// What shows it, in one line.
    pub detail: String,
}

impl Violation {
    /// Of something that is seen in the end.
    pub(super) fn in_the_end(property: &str, detail: impl Into<String>) -> Self {
        Self { property: property.to_owned(), step: String::new(), detail: detail.into() }
    }
}

/// The properties of every system that are checked by the ledger.
pub(super) const VERSIONS: &str = "each commit of an entity raises its version by one";
pub(super) const ONE_END: &str = "each that was posted comes to one end";
pub(super) const SENT: &str = "each event that was committed is sent";
pub(super) const COMMITTED: &str = "each event that is sent was committed";
pub(super) const ONE_CONTENT: &str = "an event says the same however often it is sent";
pub(super) const BUDGET: &str = "an event on a cycle carries the cycle's budget on";
pub(super) const TRAIL: &str = "a trail tells of each commit of its entity";
pub(super) const LETTERS: &str = "each dead letter is of something that was sent, and says why and by whom";

pub(super) const TOLD: &str = "each dead letter that stays is told of in one notification";
pub(super) const ONE_OBJECT: &str = "an object that is written again is the same";

pub(super) const WAITS: &str = "a message that failed waits as long as its step says";

/// How far the clock of a process is ahead at most.
const CLOCKS_APART: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Ledger {
    model: Arc<Model>,
    /// Those properties of the system that are about commits.
    of_commits: Vec<Property>,
    book: Mutex<Book>,
}

/// What is written down.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// How much was changed so far.
    changes: u64,
    /// How much of it was more than a schedule's message that came and went.
    progress: u64,
    pub(super) entities: Entities,
    /// The ids of events that are committed and not sent.
    unsent: BTreeSet<String>,
    /// The ids of events that are committed.
    committed: BTreeSet<String>,
    /// What events say, by their ids.
    contents: BTreeMap<String, String>,
    /// What each service was asked.
    pub(super) asked: BTreeMap<String, Vec<Asked>>,
    /// The place of the last dead letter that each alarm told of.
    told: BTreeMap<String, u64>,
    /// The notifications that have not reached anybody.
    unnotified: BTreeSet<String>,
    tried: BTreeMap<&'static str, u64>,
    violation: Option<Violation>,
}

impl Ledger {
    pub(super) fn new(model: &Arc<Model>, properties: &[Property]) -> Self {
        let of_commits = properties.iter().filter(|property| matches!(property.check, Check::Commit(..)));
        Self { model: Arc::clone(model), of_commits: of_commits.cloned().collect(), book: Mutex::default() }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit is applied, at this time.
    pub(super) fn committed(&self, item: Item, outbox: &[Box<RawValue>], now: Timestamp) {
        let mut book = self.book();
        book.changes += 1;
        book.progress += 1;
        for event in outbox {
            if let Ok(envelope) = Envelope::parse(event.get()) {
                book.unsent.insert(envelope.id.clone());
                book.committed.insert(envelope.id);
            }
        }
        let (key, version) = (item.key.clone(), item.version);
        let before = book.entities.0.remove(&key);
        let last = before.as_ref().map(|before| before.item.version);
        // An entity that has expired begins anew.
        let is_gone = |before: &Known| before.item.expires_at.is_some_and(|at| at <= now + CLOCKS_APART);
        let begins = version == 1 && before.as_ref().is_none_or(is_gone);
        if !begins && last.is_none_or(|last| version != last + 1) {
            book.violated(VERSIONS, format!("{key} went from {last:?} to {version}"));
        }
        let after = Known::new(item);
        for property in &self.of_commits {
            let Check::Commit(kind, check) = &property.check else { continue };
            if key.split_once('/').is_some_and(|(of, _)| of == *kind) {
                *book.tried.entry(property.name).or_default() += 1;
                // An entity of the same id that has expired was another one.
                let before = before.as_ref().filter(|_| version != 1);
                if let Err(detail) = check(before, &after) {
                    book.violated(property.name, detail);
                }
            }
        }
        book.entities.0.insert(key, after);
    }

    /// What a commit has to be told of once it is applied.
    pub(super) fn of(write: &Write) -> (Item, Vec<Box<RawValue>>) {
        (write.item.clone(), write.outbox.clone())
    }

    /// A message or an entry was taken by a queue, a topic or a bus.
    pub(super) fn sent(&self, process: &str, body: &str) {
        let mut book = self.book();
        book.changes += 1;
        book.progress += u64::from(!process.starts_with("schedule"));
        let Ok(envelope) = Envelope::parse(body) else { return };
        book.unsent.remove(&envelope.id);
        if process.starts_with("relay")
            && let Some(lacks) = self.lacks_budget(&envelope)
        {
            book.violated(BUDGET, format!("{}: {lacks}", envelope.id));
        }
        if !book.committed.contains(&envelope.id)
            && !self.may_begin(process, &envelope.event_type, &book, &envelope.id)
        {
            book.violated(COMMITTED, envelope.id.clone());
        }
        let data = envelope.data.get();
        match book.contents.get(&envelope.id) {
            Some(said) if said != data => {
                let detail = format!("{} said {said}, and then {data}", envelope.id);
                book.violated(ONE_CONTENT, detail);
            }
            Some(_) => {}
            None => {
                let data = data.to_owned();
                book.contents.insert(envelope.id, data);
            }
        }
    }

    /// Whether a process may send an event that nobody committed: one that it got itself, or the first of a schedule or an alarm, or
    /// what follows as a message is given up. A relay may not.
    fn may_begin(&self, process: &str, event_type: &str, book: &Book, id: &str) -> bool {
        let begins = ["schedule", "alarm"].iter().any(|prefix| process.starts_with(prefix));
        let follows = self.model.steps.iter().any(|step| step.given_up.as_deref() == Some(event_type));
        let is_known = !process.starts_with("relay") && book.contents.contains_key(id);
        begins || is_known || (follows && !process.starts_with("relay"))
    }

    /// What an event lacks of the budget of the cycle that it stays on.
    fn lacks_budget(&self, envelope: &Envelope<Box<RawValue>>) -> Option<String> {
        let from = self.model.step(envelope.source.rsplit('/').next()?)?;
        let budget = self.model.budget_of(from)?;
        let mut on_cycle = self.model.steps.iter().filter(|to| to.cycle.is_some() && to.cycle == from.cycle);
        on_cycle.find(|to| to.event_type == envelope.event_type)?;
        match (envelope.hops, envelope.deadline) {
            (Some(hops), Some(_)) if (1..=budget.hops.saturating_add(1)).contains(&hops) => None,
            (hops, deadline) => {
                Some(format!("it has {hops:?} hops of {}, and the deadline {deadline:?}", budget.hops))
            }
        }
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// An alarm has told of the dead letters up to this place; `is_notified` says whether that ends at the one who is told.
    pub(super) fn alerted(&self, queue: &str, place: u64, body: &str, is_notified: bool) {
        let Ok(alert) =
            Envelope::parse(body).map(|envelope| serde_json::from_str::<Alert>(envelope.data.get()))
        else {
            return;
        };
        let Ok(alert) = alert else { return };
        let mut book = self.book();
        *book.tried.entry(TOLD).or_default() += 1;
        let before = book.told.insert(queue.to_owned(), place).unwrap_or_default();
        if alert.arrived > place.saturating_sub(before) {
            let lately = format!(
                "{queue}: {} letters are told of behind place {before}, up to {place}",
                alert.arrived
            );
            book.violated(TOLD, lately);
        }
        if is_notified {
            book.unnotified.insert(named(&alert));
        }
    }

    /// Somebody was told of an alert.
    pub(super) fn notified(&self, alert: &Alert) {
        let mut book = self.book();
        book.progress += 1;
        book.unnotified.remove(&named(alert));
    }

    /// A notification that nobody got, and that was not given up either.
    pub(super) fn unnotified(&self, is_given_up: impl Fn(&str) -> bool) -> Option<String> {
        self.book().unnotified.iter().find(|alert| !is_given_up(alert)).cloned()
    }

    /// A property does not hold.
    pub(super) fn violated(&self, property: &str, detail: String) {
        self.book().violated(property, detail);
    }

    /// Something was changed that no property of the ledger's is about.
    pub(super) fn changed(&self, is_progress: bool) {
        let mut book = self.book();
        book.changes += 1;
        book.progress += u64::from(is_progress);
    }

    /// A service was asked.
    pub(super) fn asked(&self, service: &str, at: Timestamp, what: String) {
        let mut book = self.book();
        book.changes += 1;
        book.progress += 1;
        book.asked.entry(service.to_owned()).or_default().push(Asked { at, what });
    }

    /// How much was changed so far.
    pub(super) fn changes(&self) -> u64 {
        self.book().changes
    }

    /// How much was changed so far beside schedules' messages that came and went.
    pub(super) fn progress(&self) -> u64 {
        self.book().progress
    }

    /// The first property that does not hold.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.book().violation.clone()
    }

    /// How often each property of commits was tried.
    pub(super) fn tried(&self) -> BTreeMap<&'static str, u64> {
        self.book().tried.clone()
    }

    /// Once nothing is under way any longer: an event that was not sent.
    pub(super) fn unsent(&self) -> Option<String> {
        self.book().unsent.first().cloned()
    }

    /// Whether something of this body was ever sent.
    pub(super) fn was_sent(&self, body: &str) -> bool {
        Envelope::parse(body).is_ok_and(|envelope| self.book().contents.contains_key(&envelope.id))
    }

    /// A trail that does not tell of each commit.
    pub(super) fn untold(&self) -> Option<String> {
        self.book().entities.0.values().find_map(|known| untold(&known.item))
    }
}

/// What one alert is told from others by.
pub(super) fn named(alert: &Alert) -> String {
    format!("{:?} of {} at {}", alert.state, alert.queue, alert.at)
}

/// What the trail of an entity lacks.
pub(super) fn untold(item: &Item) -> Option<String> {
    let (_, history) = History::read::<IgnoredAny>(item).ok()?;
    let trail = history.trail.read();
    let told = trail.entries.len() as u64 + u64::from(trail.dropped);
    let lacks = || format!("{} has {} commits, and its trail tells of {told}", item.key, item.version);
    (told != item.version).then(lacks)
}

impl Book {
    fn violated(&mut self, property: &str, detail: String) {
        self.violation.get_or_insert(Violation::in_the_end(property, detail));
    }
}
