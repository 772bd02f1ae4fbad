//! The ledger: what was applied, by which the properties that hold for every system are checked as it happens.

use crate::{event::Envelope, port::Write};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A property that does not hold, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub property: String,
    /// What shows it, in one line.
    pub detail: String,
}

/// The properties of every system that are checked by the ledger.
pub(super) const VERSIONS: &str = "each commit of an entity raises its version by one";
pub(super) const SENT: &str = "each event that was committed is sent";
pub(super) const COMMITTED: &str = "each event that the relay sends was committed";
pub(super) const ONE_CONTENT: &str = "an event says the same however often it is sent";

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// How much was changed so far.
    changes: u64,
    versions: BTreeMap<(String, String), u64>,
    /// The ids of events that are committed and not sent.
    unsent: BTreeSet<String>,
    /// The ids of events that are committed.
    committed: BTreeSet<String>,
    /// What events say, by their ids.
    contents: BTreeMap<String, String>,
    violation: Option<Violation>,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit of `table` is applied.
    pub(super) fn committed(&self, table: &str, key: &str, version: u64, outbox: &[Box<RawValue>]) {
        let mut book = self.book();
        book.changes += 1;
        let last = book.versions.insert((table.to_owned(), key.to_owned()), version);
        // An entity that has expired begins anew.
        if version != 1 && last.is_none_or(|last| version != last + 1) {
            book.violated(VERSIONS, format!("{key} of {table} went from {last:?} to {version}"));
        }
        for event in outbox {
            if let Ok(envelope) = Envelope::parse(event.get()) {
                book.unsent.insert(envelope.id.clone());
                book.committed.insert(envelope.id);
            }
        }
    }

    /// What a commit has to be told of once it is applied.
    pub(super) fn of(write: &Write) -> (String, u64, Vec<Box<RawValue>>) {
        (write.item.key.clone(), write.item.version, write.outbox.clone())
    }

    /// A message or an entry was taken by a queue, a topic or a bus.
    pub(super) fn sent(&self, by_relay: bool, body: &str) {
        let mut book = self.book();
        book.changes += 1;
        let Ok(envelope) = Envelope::parse(body) else { return };
        book.unsent.remove(&envelope.id);
        if by_relay && !book.committed.contains(&envelope.id) {
            book.violated(COMMITTED, envelope.id.clone());
        }
        let data = envelope.data.get().to_owned();
        match book.contents.get(&envelope.id) {
            Some(said) if *said != data => {
                let detail = format!("{} said {said}, and then {data}", envelope.id);
                book.violated(ONE_CONTENT, detail);
            }
            Some(_) => {}
            None => {
                book.contents.insert(envelope.id, data);
            }
        }
    }

    /// Something was changed that no property of the ledger's is about.
    pub(super) fn changed(&self) {
        self.book().changes += 1;
    }

    /// How much was changed so far.
    pub(super) fn changes(&self) -> u64 {
        self.book().changes
    }

    /// The first property that does not hold.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.book().violation.clone()
    }

    /// Once nothing is under way any longer: an event that was not sent.
    pub(super) fn unsent(&self) -> Option<String> {
        self.book().unsent.first().cloned()
    }
}

impl Book {
    fn violated(&mut self, property: &str, detail: String) {
        self.violation.get_or_insert(Violation { property: property.to_owned(), detail });
    }
}
