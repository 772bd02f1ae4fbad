//! Items of DynamoDB: read with their version, and written on the condition that it is still theirs.

use super::{now, unavailable};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::put_item::PutItemError,
    types::{AttributeValue, KeysAndAttributes},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lambda_runtime::Error;
use quadrille::{Entity, Failure, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, HashMap},
    ops::{Deref, DerefMut},
    time::Duration,
};

/// Most keys of a `BatchGetItem`.
const KEYS_MAX: usize = 100;
/// Puts under way at once.
const PUTS_AT_ONCE: usize = 100;
/// How often keys that were not read are asked for again.
const READS_MAX: u64 = 5;

type Attributes = HashMap<String, AttributeValue>;

/// Where a message goes, by the variable that names the queue, the topic or the bus.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum To {
    Queue(String),
    Topic(String),
    Bus(String),
    /// Whoever reads the stream itself.
    Stream,
}

/// A message that is written with the state, and sent by the relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub to: To,
    pub name: String,
    pub delay: Duration,
    pub body: String,
}

impl Message {
    pub fn new(to: To, name: &str, body: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::permanent("unwritable", error))?;
        Ok(Self { id: String::new(), to, name: name.to_owned(), delay: Duration::ZERO, body })
    }
}

/// What happened to an item, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    at: Timestamp,
    step: String,
    what: String,
}

/// An item as it was read, or a new one, of version 0.
#[derive(Clone, Debug)]
pub struct Item<T> {
    pub state: T,
    pub version: u64,
    pub history: Vec<Entry>,
}

/// Entries of a history that are kept.
const HISTORY_MAX: usize = 32;

impl<T> Item<T> {
    pub fn new(state: T) -> Self {
        Self { state, version: 0, history: Vec::new() }
    }
}

impl<T: Serialize> Item<T> {
    /// The state with its history, as a person is told of it.
    pub fn told(&self) -> Result<Value, Failure> {
        let unwritable = |error| Failure::permanent("unwritable", error);
        let mut told = serde_json::to_value(&self.state).map_err(unwritable)?;
        told["trail"] = serde_json::to_value(&self.history).map_err(unwritable)?;
        Ok(told)
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for Item<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

/// A page of an index.
pub struct Listed<T> {
    pub items: Vec<Item<T>>,
    /// The places of those that can't be read.
    pub unreadable: Vec<String>,
    /// The place of the last one.
    pub last: Option<String>,
    pub is_last: bool,
}

/// A table. `shown` ones have bare ids for keys, and the fields of the state as attributes beside the document.
pub struct Table {
    client: Client,
    name: String,
    key: &'static str,
    is_shown: bool,
    /// Who writes, for the history.
    step: String,
}

impl Table {
    pub fn new(config: &SdkConfig, variable: &str, key: &'static str) -> Result<Self, Error> {
        let (client, name) = (Client::new(config), super::variable(variable)?);
        Ok(Self { client, name, key, is_shown: false, step: super::variable("STEP")? })
    }

    pub fn shown(self) -> Self {
        Self { is_shown: true, ..self }
    }

    fn key<T: Entity>(&self, id: &str) -> String {
        if self.is_shown { id.to_owned() } else { format!("{}/{id}", T::KIND) }
    }

    pub async fn get<T: Entity>(&self, id: &str) -> Result<Option<Item<T>>, Failure> {
        Ok(self.get_all(&[id]).await?.pop().flatten())
    }

    /// Items in the order of their ids.
    pub async fn get_all<T: Entity>(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Option<Item<T>>>, Failure> {
        self.get_each(ids).await?.into_iter().collect()
    }

    /// As [`get_all`](Self::get_all), where one that can't be read is to fail alone: the log tells of it.
    pub async fn get_each<T: Entity>(
        &self,
        ids: &[impl AsRef<str>],
    ) -> Result<Vec<Result<Option<Item<T>>, Failure>>, Failure> {
        let keys: Vec<String> = ids.iter().map(|id| self.key::<T>(id.as_ref())).collect();
        let mut found = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(KEYS_MAX) {
            let keys = chunk.iter().map(|key| HashMap::from([(self.key.to_owned(), text(key))])).collect();
            let request = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(keys));
            let mut left = HashMap::from([(self.name.clone(), request.build().map_err(permanent)?)]);
            for attempt in 0.. {
                let read = self.client.batch_get_item().set_request_items(Some(left)).send().await;
                let read = read.map_err(|error| unavailable("table", &error))?;
                for item in read.responses.unwrap_or_default().into_values().flatten() {
                    let key = item.get(self.key).and_then(|key| key.as_s().ok()).cloned();
                    found.insert(key.unwrap_or_default(), item);
                }
                left = read.unprocessed_keys.unwrap_or_default();
                if left.is_empty() {
                    break;
                } else if attempt == READS_MAX {
                    return Err(Failure::transient("table", "keys stay unread: the table is throttled"));
                }
                tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
            }
        }
        Ok(keys
            .iter()
            .map(|key| found.get(key).map_or(Ok(None), |item| read(item).inspect_err(tell)))
            .collect())
    }

    /// A page of the index, without those that can't be read: of these, where they stand in the index.
    pub async fn query<T: Entity>(
        &self,
        partition: &str,
        (after, before): (&str, &str),
        limit: i32,
    ) -> Result<Listed<T>, Failure> {
        let page = self.client.query().table_name(&self.name).index_name("open").limit(limit);
        let page = page
            .key_condition_expression(
                "index_partition = :partition AND index_sort BETWEEN :after AND :before",
            )
            .expression_attribute_values(":partition", text(partition))
            .expression_attribute_values(":after", text(format!("{after}\0")))
            .expression_attribute_values(":before", text(before))
            .send()
            .await
            .map_err(|error| unavailable("table", &error))?;
        let is_last = page.last_evaluated_key.is_none();
        let mut listed = Listed { items: Vec::new(), unreadable: Vec::new(), last: None, is_last };
        for item in page.items.unwrap_or_default() {
            let sort = item.get("index_sort").and_then(|sort| sort.as_s().ok()).cloned().unwrap_or_default();
            match read(&item).inspect_err(tell) {
                Ok(found) => listed.items.extend(found),
                Err(_) => listed.unreadable.push(sort.clone()),
            }
            listed.last = Some(sort);
        }
        Ok(listed)
    }

    /// Writes the item with its messages, where its version is still the one that was read; false where it is not.
    pub async fn put<T: Entity>(
        &self,
        item: &Item<T>,
        what: &str,
        messages: Vec<Message>,
    ) -> Result<bool, Failure> {
        let key = self.key::<T>(&item.state.id());
        let attributes = self.attributes(&key, item, what, messages)?;
        let put = self.client.put_item().table_name(&self.name).set_item(Some(attributes));
        let put = match item.version {
            0 => put
                .condition_expression("attribute_not_exists(#key) OR expires_at_millis <= :now")
                .expression_attribute_names("#key", self.key)
                .expression_attribute_values(":now", number(now().as_millis())),
            version => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", number(version)),
        };
        match put.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(true),
            Err(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
            Err(error) => Err(unavailable("table", &error)),
        }
    }

    /// As [`put`](Self::put), in a step of a queue: a lost race is a failure, and the step is done anew.
    pub async fn commit<T: Entity>(
        &self,
        item: &Item<T>,
        what: &str,
        messages: Vec<Message>,
    ) -> Result<(), Failure> {
        let is_applied = self.put(item, what, messages).await?;
        is_applied.then_some(()).ok_or_else(|| Failure::transient("conflict", "the item changed meanwhile"))
    }

    /// Adds to the history of an item, where there is one.
    pub async fn note<T: Entity>(&self, id: &str, what: &str) -> Result<(), Failure> {
        match self.get::<T>(id).await? {
            Some(item) => self.commit(&item, what, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// Writes many items, each on its own condition; answers for each whether it was applied.
    pub async fn put_all<T: Entity>(
        &self,
        items: Vec<(Item<T>, String, Vec<Message>)>,
    ) -> Result<Vec<bool>, Failure> {
        let puts = items
            .into_iter()
            .map(|(item, what, messages)| async move { self.put(&item, &what, messages).await });
        stream::iter(puts).buffered(PUTS_AT_ONCE).try_collect().await
    }

    fn attributes<T: Entity>(
        &self,
        key: &str,
        item: &Item<T>,
        what: &str,
        mut messages: Vec<Message>,
    ) -> Result<Attributes, Failure> {
        let version = item.version + 1;
        let mut history = item.history.clone();
        history.push(Entry { at: now(), step: self.step.clone(), what: what.to_owned() });
        history.drain(..history.len().saturating_sub(HISTORY_MAX));
        for (at, message) in messages.iter_mut().enumerate() {
            // Derived: the same message has the same id, however often it is sent.
            message.id = format!("{key}/{version}/{at}");
        }
        let document = json(&item.state)?;
        let mut attributes = if self.is_shown { shown(&document)? } else { Attributes::new() };
        attributes.insert("document".to_owned(), text(document));
        attributes.insert("history".to_owned(), text(json(&history)?));
        attributes.insert("version".to_owned(), number(version));
        attributes.insert(self.key.to_owned(), text(key));
        if !messages.is_empty() {
            attributes.insert("outbox".to_owned(), text(json(&messages)?));
        }
        if let Some(at) = item.state.expires_at() {
            attributes.insert("expires_at".to_owned(), number(at.as_secs()));
            attributes.insert("expires_at_millis".to_owned(), number(at.as_millis()));
        }
        if let Some(index) = item.state.index() {
            attributes.insert("index_partition".to_owned(), text(index.partition));
            attributes.insert("index_sort".to_owned(), text(index.sort));
        }
        Ok(attributes)
    }
}

fn tell(failure: &Failure) {
    super::log(
        serde_json::json!({ "level": "ERROR", "message": "an item can't be read", "failure": failure.to_string() }),
    );
}

/// Reads an item; `None` where it has expired, for DynamoDB deletes it days later.
fn read<T: Entity>(item: &Attributes) -> Result<Option<Item<T>>, Failure> {
    let broken = |what: &'static str| move || Failure::permanent("unreadable_item", what);
    let string = |name| item.get(name).and_then(|value| value.as_s().ok());
    let number = |name| item.get(name).and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    if number("expires_at_millis").is_some_and(|at| at <= now().as_millis()) {
        return Ok(None);
    }
    let document = string("document").ok_or_else(broken("it has no document"))?;
    let state = serde_json::from_str(document).map_err(permanent)?;
    let history = serde_json::from_str(string("history").map_or("[]", String::as_str)).map_err(permanent)?;
    let version = number("version").and_then(|version| u64::try_from(version).ok());
    Ok(Some(Item { state, version: version.ok_or_else(broken("it has no version"))?, history }))
}

/// The fields of a document as attributes: numbers digit by digit, which a `Value` would round.
fn shown(document: &str) -> Result<Attributes, Failure> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(document).map_err(permanent)?;
    fields.into_iter().map(|(name, value)| Ok((name, attribute(value.get())?))).collect()
}

fn attribute(value: &str) -> Result<AttributeValue, Failure> {
    Ok(match value.as_bytes().first() {
        Some(b'"') => AttributeValue::S(serde_json::from_str(value).map_err(permanent)?),
        Some(b'{') => AttributeValue::M(shown(value)?),
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(value).map_err(permanent)?;
            AttributeValue::L(
                values.into_iter().map(|value| attribute(value.get())).collect::<Result<_, _>>()?,
            )
        }
        Some(b't' | b'f') => AttributeValue::Bool(value == "true"),
        Some(b'n') | None => AttributeValue::Null(true),
        Some(_) => AttributeValue::N(value.to_owned()),
    })
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(permanent)
}

fn permanent(error: impl std::fmt::Display) -> Failure {
    Failure::permanent("unreadable_item", error)
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
