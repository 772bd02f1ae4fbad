//! Events: their types, and the CloudEvents 1.0 envelope they travel in.

use crate::{entity::Entity, failure::Failure, port::stable_hash, timestamp::Timestamp, trace::begin_trace};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, Value, to_raw_value};
use std::{borrow::Cow, collections::BTreeSet};

/// A thing that happened, or is to be done, told to one entity.
///
/// The data is whatever serde writes of the type. Readers ignore fields they don't know, so that an old handler and
/// a new one can run side by side during a deployment.
///
/// Where the subject is a field of text, [`event!`](crate::event!) writes the implementation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "`{Self}` stands where an event is expected",
    note = "an event implements `Event`: `quadrille::event!(Steeped: \"tea.steeped\", to Pot by day);`",
    note = "a handler's arguments are the entity where it is loaded, the event, and the context, in this order"
)]
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// CloudEvents `type`: unique in a choreography, e.g. `tea.steeped`.
    const TYPE: &'static str;

    /// The entity it is told to; `()` where there is none to load.
    type Entity: Entity;

    /// The entity's id: CloudEvents `subject`.
    fn subject(&self) -> Cow<'_, str>;
}

/// A CloudEvents 1.0 envelope, structured JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<Data> {
    /// Always `1.0`.
    pub specversion: Cow<'static, str>,
    /// Derived from entity, version and position, never random: the same event has the same id however often it is
    /// sent.
    pub id: String,
    /// Who emitted it: `/choreography/step`. Nothing works with it, so that an event of which it can't be read has an empty one.
    #[serde(default, deserialize_with = "where_readable")]
    pub source: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: Cow<'static, str>,
    /// The entity it is told to; empty, and then not written, where it is told to nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// When it was committed; none where that can't be read. Only a step on a cycle needs it.
    #[serde(default, deserialize_with = "where_readable", skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// W3C trace context; none where it can't be read.
    #[serde(default, deserialize_with = "where_readable", skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What the flow this belongs to is known by, from its first event to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// Not to be handled before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notbefore: Option<Timestamp>,
    /// Not to be handled after this time: the budget of the cycle it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How many events of the cycle it runs in went before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
    /// When the entity it is told to was created, where that entity emitted it: tells an entity from a later one
    /// of the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entitycreated: Option<Timestamp>,
    /// The event.
    pub data: Data,
}

/// Reads what most can do without: what is of another kind is as though it were missing.
fn where_readable<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// The version of CloudEvents written and read.
pub const SPEC_VERSION: &str = "1.0";

impl<E: Event> Envelope<E> {
    /// The envelope of an event that no commit emits and that begins a flow: a schedule's, an alarm's. `id` is derived from
    /// what causes it; the flow is known by it.
    pub(crate) fn first(id: String, source: String, time: Timestamp, event: E) -> Self {
        Self {
            specversion: SPEC_VERSION.into(),
            source,
            event_type: E::TYPE.into(),
            subject: event.subject().into_owned(),
            time: Some(time),
            traceparent: Some(begin_trace(&id)),
            correlationid: Some(id.clone()),
            notbefore: None,
            deadline: None,
            hops: None,
            entitycreated: None,
            data: event,
            id,
        }
    }
}

impl<E: Event> Envelope<E> {
    /// The envelope of the event that follows as a message is given up by the step `step`, in the trace context of that work.
    pub(crate) fn following(
        given_up: &Envelope<Box<RawValue>>,
        step: &str,
        now: Timestamp,
        event: E,
        is_same_entity: bool,
    ) -> Result<Self, Failure> {
        let data = to_raw_value(&event).map_err(|error| Failure::permanent("unwritable", error))?;
        // A message may be given up twice, for two reasons. An id stands for what its event says.
        let id = format!("{}/given-up/{:016x}", given_up.id, stable_hash(data.get().as_bytes()));
        Ok(Self {
            specversion: SPEC_VERSION.into(),
            source: ["/", step, "/given-up"].concat(),
            event_type: E::TYPE.into(),
            subject: event.subject().into_owned(),
            time: Some(now),
            traceparent: given_up.traceparent.clone(),
            correlationid: given_up.correlationid.clone().or_else(|| Some(given_up.id.clone())),
            notbefore: None,
            deadline: None,
            hops: None,
            entitycreated: given_up.entitycreated.filter(|_| is_same_entity),
            data: event,
            id,
        })
    }

    /// As it is sent.
    pub(crate) fn to_text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::permanent("unwritable", error))
    }

    /// With its data as it would be read.
    pub(crate) fn into_raw(self) -> Result<Envelope<Box<RawValue>>, Failure> {
        let data = to_raw_value(&self.data).map_err(|error| Failure::permanent("unwritable", error))?;
        Ok(Envelope {
            specversion: self.specversion,
            id: self.id,
            source: self.source,
            event_type: self.event_type,
            subject: self.subject,
            time: self.time,
            traceparent: self.traceparent,
            correlationid: self.correlationid,
            notbefore: self.notbefore,
            deadline: self.deadline,
            hops: self.hops,
            entitycreated: self.entitycreated,
            data,
        })
    }
}

impl Envelope<Box<RawValue>> {
    /// Reads an envelope, leaving its data unread.
    ///
    /// # Errors
    /// A permanent [`Failure`] `malformed` that says where.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let envelope: Self = serde_json::from_str(text).map_err(|error| {
            Failure::permanent("malformed", format_args!("not a CloudEvents envelope: {error}"))
        })?;
        if envelope.specversion != SPEC_VERSION {
            return Err(Failure::permanent(
                "malformed",
                format_args!("CloudEvents specversion {:?}, not {SPEC_VERSION:?}", envelope.specversion),
            ));
        }
        Ok(envelope)
    }

    /// Reads the data as `E`.
    ///
    /// # Errors
    /// A permanent [`Failure`]: `unexpected_event` for another type, `malformed` for data that does not fit it.
    pub fn data_as<E: Event>(&self) -> Result<E, Failure> {
        if self.event_type != E::TYPE {
            return Err(Failure::permanent(
                "unexpected_event",
                format_args!("an event of type {:?} where {:?} is consumed", self.event_type, E::TYPE),
            ));
        }
        serde_json::from_str(self.data.get())
            .map_err(|error| Failure::permanent("malformed", format_args!("data of {}: {error}", E::TYPE)))
    }
}

/// The id of the event at `position` in the outbox of the commit that made `key` version `version`. `created` keeps
/// it apart from the events of an earlier entity of the same key.
pub fn event_id(key: &str, created: Timestamp, version: u64, position: usize) -> String {
    // Put together without the formatter: every event has one.
    let (created, version) = (created.as_millis().to_string(), version.to_string());
    [key, "@", &created, ".", &version, ".", &position.to_string()].concat()
}

/// The types of the events a handler may emit: a tuple of [`Event`]s, `()` for none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of at most six events",
    label = "a handler emits a tuple of events",
    note = "a tuple of one event has a comma: `(Steeped,)`; `()` is for a handler that emits nothing",
    note = "a handler that emits more than six types of events is to be two handlers, or one event with an enum in it"
)]
pub trait Emits: Send + Sync + 'static {
    /// Their CloudEvents types.
    fn types() -> BTreeSet<&'static str>;
}

/// Says that a tuple of events holds `E`. `Place` is where, and is inferred.
#[diagnostic::on_unimplemented(
    message = "a handler with `Context<{Self}>` does not emit `{E}`",
    label = "`{E}` is not among `{Self}`",
    note = "name each event that a handler emits, once, in the tuple of its `Context<…>` and of its `Outcome<…>`"
)]
pub trait Contains<E, Place> {}

/// A place in a tuple.
#[derive(Debug)]
pub struct Place<const N: usize>;

impl Emits for () {
    fn types() -> BTreeSet<&'static str> {
        BTreeSet::new()
    }
}

macro_rules! emits {
    ($($event:ident $place:literal),+) => {
        impl<$($event: Event + Sync),+> Emits for ($($event,)+) {
            fn types() -> BTreeSet<&'static str> {
                BTreeSet::from([$($event::TYPE),+])
            }
        }
        emits!(@each [$($event),+] $($event $place),+);
    };
    (@each $all:tt $($event:ident $place:literal),+) => { $(emits!(@one $all $event $place);)+ };
    (@one [$($all:ident),+] $event:ident $place:literal) => {
        impl<$($all),+> Contains<$event, Place<$place>> for ($($all,)+) {}
    };
}

emits!(A 0);
emits!(A 0, B 1);
emits!(A 0, B 1, C 2);
emits!(A 0, B 1, C 2, D 3);
emits!(A 0, B 1, C 2, D 3, E 4);
emits!(A 0, B 1, C 2, D 3, E 4, F 5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_of_another_specification_is_refused() {
        let text = r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","subject":"x","time":"2026-11-20T00:00:00Z","data":{}}"#;
        assert_eq!(Envelope::parse(text).unwrap_err().reason(), "malformed");
        let envelope = Envelope::parse(&text.replace("0.3", "1.0")).unwrap();
        assert_eq!(envelope.data.get(), "{}");
    }
}
