//! Commits: the one way a handler changes the world. A commit is one conditional write of one entity, with the
//! events it emits inside the same write.

use crate::{
    dead_letter::Redriven,
    entity::{Entity, key_of},
    event::{Contains, Envelope, Event, SPEC_VERSION, event_id},
    failure::Failure,
    history::{DOCUMENT_ENDS, History},
    metrics::Metric,
    planted::planted,
    port::{IndexEntry, Item, Write},
    timestamp::Timestamp,
    trace::{begin_trace, emitted},
    trail::{TrailDetails, TrailEntry, TrailEntryKind, TrailText, cut, dead_lettered},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, marker::PhantomData, time::Duration};

/// One conditional write of one entity, with what it emits. `Em` is the tuple of events its handler may emit:
/// any other is a compile error.
///
/// ```compile_fail
/// # use quadrille::*; use std::borrow::Cow;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Tea { id: String }
/// # impl Entity for Tea { const KIND: &'static str = "tea"; fn id(&self) -> Cow<'_, str> { (&self.id).into() } }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Poured { id: String }
/// # impl Event for Poured { const TYPE: &'static str = "poured"; type Entity = Tea;
/// #     fn subject(&self) -> Cow<'_, str> { (&self.id).into() } }
/// fn pour(tea: Stored<Tea>) -> Commit<()> {
///     tea.commit("poured").emit(Poured { id: "1".into() }) // () emits nothing
/// }
/// ```
#[derive(Debug)]
pub struct Commit<Em> {
    pending: Box<Pending>,
    emits: PhantomData<fn() -> Em>,
}

/// Room for a document, in bytes. A longer one makes its own.
const DOCUMENT_BYTES: usize = 1_024;

/// A commit before it is stamped with time, handler and attempt.
#[derive(Debug)]
pub(crate) struct Pending {
    key: String,
    /// The document as far as its state.
    document: Result<Vec<u8>, String>,
    history: History,
    index: Option<IndexEntry>,
    expires_at: Option<Timestamp>,
    what: Cow<'static, str>,
    kind: TrailEntryKind,
    /// The event that ends with it.
    event: Option<u32>,
    events: Vec<PendingEvent>,
    measured: Vec<(Metric, f64)>,
}

#[derive(Debug)]
struct PendingEvent {
    event_type: &'static str,
    subject: String,
    key: String,
    data: Result<Box<RawValue>, String>,
    after: Option<Duration>,
}

impl<Em> Commit<Em> {
    pub(crate) fn new<E: Entity>(state: &E, history: History, what: Cow<'static, str>) -> Self {
        let pending = Pending {
            key: key_of::<E>(&state.id()),
            document: begun(state),
            index: state.index(),
            expires_at: state.expires_at(),
            history,
            what,
            kind: TrailEntryKind::Committed,
            event: None,
            events: Vec::new(),
            measured: Vec::new(),
        };
        Self { pending: Box::new(pending), emits: PhantomData }
    }

    /// Emits `event` with this commit.
    #[must_use]
    pub fn emit<E: Event, Place>(self, event: E) -> Self
    where
        Em: Contains<E, Place>,
    {
        self.push(&event, None)
    }

    /// Emits `event` with this commit, to be handled `after` that long, however long that is.
    #[must_use]
    pub fn emit_after<E: Event, Place>(self, after: Duration, event: E) -> Self
    where
        Em: Contains<E, Place>,
    {
        self.push(&event, Some(after))
    }

    /// Adds `value` to `metric` once this commit is applied: a commit that loses its race, or is never reached, counts
    /// nothing.
    #[must_use]
    pub fn measure(mut self, metric: Metric, value: f64) -> Self {
        self.pending.measured.push((metric, value));
        self
    }

    fn push<E: Event>(mut self, event: &E, after: Option<Duration>) -> Self {
        let subject = event.subject().into_owned();
        self.pending.events.push(PendingEvent {
            event_type: E::TYPE,
            key: key_of::<E::Entity>(&subject),
            subject,
            data: to_raw_value(event).map_err(|error| error.to_string()),
            after,
        });
        self
    }

    pub(crate) fn into_pending(self) -> Box<Pending> {
        self.pending
    }
}

/// A document with its state, to be gone on with.
fn begun(state: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut document = Vec::with_capacity(DOCUMENT_BYTES);
    document.extend(b"{\"state\":");
    serde_json::to_writer(&mut document, state).map_err(|error| error.to_string())?;
    document.extend(b",\"trail\":");
    Ok(document)
}

/// Ends a document with its trail, and what the flow is known by.
fn ended(
    document: &mut Vec<u8>,
    history: &History,
    entry: &TrailEntry,
    correlation_id: Option<&str>,
    traceparent: Option<&str>,
    created: Timestamp,
) -> serde_json::Result<()> {
    if planted("trail_begun_anew") {
        TrailText::default().write_with(entry, document)?;
    } else {
        history.trail.write_with(entry, document)?;
    }
    for (name, value) in [(r#","correlation_id":"#, correlation_id), (r#","traceparent":"#, traceparent)] {
        if let Some(value) = value {
            document.extend(name.as_bytes());
            serde_json::to_writer(&mut *document, value)?;
        }
    }
    document.extend(DOCUMENT_ENDS.as_bytes());
    serde_json::to_writer(&mut *document, &created)?;
    document.push(b'}');
    Ok(())
}

/// What a trail keeps of the events that a commit emits.
fn told(events: &[PendingEvent]) -> String {
    let told = |event: &PendingEvent| {
        let data = event.data.as_ref().map_or("null", |data| data.get());
        // A type is a word of the program's.
        format!("{{\"type\":\"{}\",\"data\":{data}}}", event.event_type)
    };
    if events.is_empty() {
        return String::new();
    }
    cut(&format!("[{}]", events.iter().map(told).collect::<Vec<_>>().join(",")))
}

/// Who commits, when, and in whose name.
#[derive(Clone, Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) now: Timestamp,
    pub(crate) choreography: &'a str,
    pub(crate) step: &'a str,
    pub(crate) attempt: u32,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) traceparent: Option<&'a str>,
    /// What the handler was called for and when, where trails keep that.
    pub(crate) called: Option<(Timestamp, &'a str)>,
    pub(crate) redriven: Option<&'a Redriven>,
}

/// What is left of a cycle's budget for an event: its deadline and the rounds walked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) hops: Option<u32>,
}

impl Pending {
    /// The types of the events that have to wait for their time.
    pub(crate) fn later(&self) -> impl Iterator<Item = &'static str> {
        self.events.iter().filter(|event| event.after.is_some()).map(|event| event.event_type)
    }

    /// With it, the event of this number is done or given up.
    pub(crate) fn ending(self, event: Option<u32>) -> Self {
        Self { event, ..self }
    }

    /// The key of its entity.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The kind of its entity.
    pub(crate) fn entity_kind(&self) -> &str {
        self.key.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// What to measure once it is applied.
    pub(crate) fn take_measured(&mut self) -> Vec<(Metric, f64)> {
        std::mem::take(&mut self.measured)
    }

    /// A commit that only adds to an entity's trail that a message was dead-lettered for this failure, leaving its state,
    /// index entry and expiry as they are.
    pub(crate) fn dead_lettered(item: &Item, failure: &Failure) -> Result<Self, Failure> {
        let reason = failure.reason();
        let kind = TrailEntryKind::DeadLettered { reason: Cow::Owned(reason.to_owned()) };
        Self::note(item, dead_lettered(reason), kind)
    }

    /// The same of a message that ended for a reason that is business.
    pub(crate) fn ended(item: &Item, failure: &Failure) -> Result<Self, Failure> {
        let kind = TrailEntryKind::Ended { reason: Cow::Owned(failure.reason().to_owned()) };
        Self::note(item, ["ended: ", failure.reason()].concat().into(), kind)
    }

    fn note(item: &Item, what: Cow<'static, str>, kind: TrailEntryKind) -> Result<Self, Failure> {
        let (state, history) = History::read::<&RawValue>(item)?;
        Ok(Self {
            key: item.key.clone(),
            document: begun(&state),
            index: item.index.clone(),
            expires_at: item.expires_at,
            history,
            what,
            kind,
            event: None,
            events: Vec::new(),
            measured: Vec::new(),
        })
    }

    /// The write of this commit. `carried` tells what budget an event of a type carries.
    pub(crate) fn into_write(
        self,
        stamp: &Stamp<'_>,
        carried: impl Fn(&'static str) -> Carried,
    ) -> Result<Write, Failure> {
        let Self { key, document, history, index, expires_at, what, kind, event, events, measured: _ } = self;
        let unwritable = |error: String| Failure::permanent("unwritable", format_args!("{key}: {error}"));
        let mut document = document.map_err(unwritable)?;
        let version = history.version.saturating_add(1);
        let created = history.created_at.unwrap_or(stamp.now);
        let correlation_id = history.correlation_id.as_deref().or(stamp.correlation_id);
        let traceparent = history.traceparent.as_deref().or(stamp.traceparent);
        let emitting = emitted(traceparent, stamp.traceparent);
        let details = stamp.called.map(|(at, input)| TrailDetails {
            took_millis: u64::try_from(stamp.now.since(at).as_millis()).unwrap_or(u64::MAX),
            input: input.to_owned(),
            output: told(&events),
        });
        let mut outbox = Vec::with_capacity(events.len());
        let mut until = None;
        for (position, event) in events.into_iter().enumerate() {
            let id = event_id(&key, created, version, position);
            let notbefore = event.after.map(|after| stamp.now + after);
            until = until.max(notbefore);
            let carried = carried(event.event_type);
            let envelope = Envelope {
                specversion: SPEC_VERSION.into(),
                source: ["/", stamp.choreography, "/", stamp.step].concat(),
                event_type: event.event_type.into(),
                time: Some(stamp.now),
                traceparent: Some(emitting.map_or_else(|| begin_trace(&id), str::to_owned)),
                correlationid: correlation_id.map(str::to_owned),
                notbefore,
                deadline: carried.deadline,
                hops: carried.hops,
                entitycreated: (event.key == key).then_some(created),
                subject: event.subject,
                data: event.data.map_err(unwritable)?,
                id,
            };
            outbox.push(to_raw_value(&envelope).map_err(|error| unwritable(error.to_string()))?);
        }
        let entry = TrailEntry {
            at: stamp.now,
            what,
            handler: stamp.step.to_owned().into(),
            attempt: stamp.attempt,
            until,
            kind,
            event,
            redriven: stamp.redriven.cloned(),
            details,
        };
        let written = ended(&mut document, &history, &entry, correlation_id, traceparent, created);
        written.map_err(|error| unwritable(error.to_string()))?;
        let document = String::from_utf8(document).map_err(|error| unwritable(error.to_string()))?;
        let is_new = history.version == 0;
        Ok(Write {
            index_changed: is_new || index != history.index,
            expiry_changed: is_new || expires_at != history.expires_at,
            item: Item { key, version, document: document.into(), expires_at, index },
            expected: history.version,
            now: stamp.now,
            outbox,
        })
    }
}

/// What a handler made of its message, when it did not fail.
///
/// ```
/// use quadrille::{Handled, Outcome};
/// # fn served(cups: u32) -> Outcome<()> {
/// if cups > 0 {
///     return Ok(Handled::already(format!("{cups} cups are poured")));
/// }
/// Ok(Handled::Done)
/// # }
/// # assert!(matches!(served(2), Ok(Handled::Already(why)) if why == "2 cups are poured"));
/// ```
#[derive(Debug)]
pub enum Handled<Em> {
    /// The handler's last commit: with it the message is done.
    Commit(Commit<Em>),
    /// There was nothing to do; why, in a few words (`already decided`). A duplicate ends here.
    Already(Cow<'static, str>),
    /// The handler is done and has nothing to commit: its work was a call of the outside.
    Done,
}

impl<Em> Handled<Em> {
    /// There was nothing to do; `why` says it in a few words.
    pub fn already(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Already(why.into())
    }
}

impl<Em> From<Commit<Em>> for Handled<Em> {
    fn from(commit: Commit<Em>) -> Self {
        Self::Commit(commit)
    }
}

/// What a handler returns.
pub type Outcome<Em> = Result<Handled<Em>, Failure>;
