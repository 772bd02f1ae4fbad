//! Table on DynamoDB.
//!
//! One item an entity, one conditional write a commit. Every commit writes the whole item: what it emits is in it, and
//! what the commit before it emitted is gone. So an item is in the change stream's filter for the relay exactly when
//! there is something to relay.

use super::{
    fault::{CONCURRENCY, Pace, answered, fault},
    outbox,
    shown::{self, Shown},
};
use crate::{
    layout::{
        DOCUMENT, EXPIRES_AT, EXPIRES_AT_MILLIS, INDEX, INDEX_PARTITION, INDEX_SORT, KEY, OUTBOX, RELAY,
        VERSION,
    },
    limits,
    model::TableModel,
    port::{
        CommitError, Document, IndexEntry, IndexPage, IndexQuery, Item, PortError, ScanPage, StreamRecord,
        Table, Unreadable, UnreadableOutbox, Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    operation::put_item::PutItemError,
    types::{
        AttributeValue, BatchStatementErrorCodeEnum as Code, BatchStatementResponse, KeysAndAttributes,
        ReturnValuesOnConditionCheckFailure as OnFailure,
    },
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

/// Most items a page of the index or of a scan holds: ours.
const PAGE_ITEMS_MAX: usize = 1_000;
/// Most keys a `BatchGetItem` takes.
const GET_KEYS_MAX: usize = 100;
/// Most statements a `BatchExecuteStatement` takes.
const STATEMENTS_MAX: usize = 25;
/// Most bytes of items in one `BatchExecuteStatement`, unless a single one is larger. Ours: what a slow connection can
/// still send in the time of an attempt.
const STATEMENTS_BYTES_MAX: usize = 2 * 1_024 * 1_024;

type Attributes = HashMap<String, AttributeValue>;

/// What the change stream shows of a commit with events, read from a record's new image. `key` is the attribute of the
/// partition key. `text` tells the text of its attributes, of numbers too; `sequence` is the record's place among those it
/// was delivered with. Nothing is needed but the outbox, and key and document where it was shortened by them.
pub fn stream_record<'a>(sequence: u64, key: &str, text: impl Fn(&str) -> Option<&'a str>) -> StreamRecord {
    let known_by = text(key);
    let version = text(VERSION).and_then(|version| version.parse().ok()).unwrap_or(0);
    let stored = text(OUTBOX).unwrap_or_default();
    let unreadable = |why: &dyn std::fmt::Display| {
        let why = Unreadable::new(format_args!("the events of a commit: {why}"));
        UnreadableOutbox { why, text: stored.to_owned() }
    };
    let outbox = outbox::restored(stored, || known_by.zip(text(DOCUMENT)))
        .ok_or_else(|| unreadable(&"not shortened by this item, missing, or of a format of a later version"))
        .and_then(|outbox| serde_json::from_str(&outbox).map_err(|error| unreadable(&error)));
    StreamRecord { sequence, key: known_by.unwrap_or_default().to_owned(), version, outbox }
}

/// A table.
pub(super) struct DynamoTable {
    client: Client,
    /// Its name in the model.
    name: String,
    /// Its name in the account.
    table: String,
    /// The attribute of its partition key.
    key: String,
    /// What keys have in the model and not in the table: `kind/`.
    prefix: String,
    /// Fields of the state that are attributes of their own.
    shown: Vec<String>,
    pace: Pace,
}

/// A write, and what becomes of it.
struct PlacedWrite {
    /// Its place in the call.
    at: usize,
    write: Write,
    /// Its key in the table.
    key: String,
    outbox: Option<String>,
    /// Attributes that show what the document holds.
    shown: Vec<(String, Shown)>,
    bytes: usize,
}

/// The value of an attribute; written as JSON, it is as DynamoDB takes it: `{"S":"text"}`, `{"N":"1"}`.
#[derive(Serialize)]
enum Value<'a> {
    S(&'a str),
    #[serde(serialize_with = "as_text")]
    N(u64),
    #[serde(untagged)]
    Shown(&'a Shown),
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde asks for
fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

impl From<Value<'_>> for AttributeValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::S(text) => Self::S(text.to_owned()),
            Value::N(number) => Self::N(number.to_string()),
            Value::Shown(shown) => shown.into(),
        }
    }
}

/// A statement of a batch, as DynamoDB takes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    statement: String,
    parameters: Vec<Value<'a>>,
    return_values_on_condition_check_failure: &'static str,
}

/// The body of a `BatchExecuteStatement`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statements<'a> {
    statements: Vec<Statement<'a>>,
}

impl PlacedWrite {
    /// The attributes after the write, but the key and what is shown.
    fn attributes(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let Item { version, document, expires_at, index, .. } = &self.write.item;
        // One that can't be read was refused.
        let document = document.text().unwrap_or_default();
        let millis = |at: Timestamp| at.as_millis().unsigned_abs();
        [
            Some((VERSION, Value::N(*version))),
            Some((DOCUMENT, Value::S(document))),
            expires_at.map(|at| (EXPIRES_AT, Value::N(millis(at).div_ceil(1_000)))),
            expires_at.map(millis).filter(|at| at % 1_000 != 0).map(|at| (EXPIRES_AT_MILLIS, Value::N(at))),
            index.as_ref().map(|index| (INDEX_PARTITION, Value::S(&index.partition))),
            index.as_ref().map(|index| (INDEX_SORT, Value::S(&index.sort))),
            self.outbox.as_ref().map(|outbox| (OUTBOX, Value::S(outbox))),
            self.outbox.as_ref().map(|_| (RELAY, Value::S("1"))),
        ]
        .into_iter()
        .flatten()
    }

    fn key(&self) -> Value<'_> {
        Value::S(&self.key)
    }

    /// The attributes that show what the document holds.
    fn shown(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.shown.iter().map(|(name, value)| (name.as_str(), Value::Shown(value)))
    }

    /// The write as one statement of a batch.
    fn statement<'a>(&'a self, table: &str, key: &str, shown: &'a [String]) -> Statement<'a> {
        let mut statement = String::with_capacity(256);
        let mut parameters = Vec::with_capacity(10);
        if self.write.expected == 0 {
            statement.extend(["INSERT INTO \"", table, "\" VALUE {'", key, "':?"]);
            parameters.push(self.key());
            for (name, value) in self.attributes().chain(self.shown()) {
                statement.extend([",'", name, "':?"]);
                parameters.push(value);
            }
            statement.push('}');
        } else {
            statement.extend(["UPDATE \"", table, "\""]);
            // An index key that is not named costs no look at the index.
            let left = |name: &str| match name {
                INDEX_PARTITION | INDEX_SORT => !self.write.index_changed,
                EXPIRES_AT | EXPIRES_AT_MILLIS => !self.write.expiry_changed,
                _ => false,
            };
            let mut gone = vec![EXPIRES_AT, EXPIRES_AT_MILLIS, INDEX_PARTITION, INDEX_SORT, OUTBOX, RELAY];
            gone.extend(shown.iter().map(String::as_str));
            for (name, value) in self.attributes().chain(self.shown()) {
                gone.retain(|other| *other != name);
                if !left(name) {
                    statement.extend([" SET \"", name, "\"=?"]);
                    parameters.push(value);
                }
            }
            for name in gone.into_iter().filter(|name| !left(name)) {
                statement.extend([" REMOVE \"", name, "\""]);
            }
            statement.extend([" WHERE \"", key, "\"=? AND \"", VERSION, "\"=?"]);
            parameters.extend([self.key(), Value::N(self.write.expected)]);
        }
        Statement {
            statement,
            parameters,
            return_values_on_condition_check_failure: OnFailure::AllOld.as_str(),
        }
    }

    /// Whether `stored` is what this write makes: then it was applied, though its answer was lost. What is shown is only
    /// counted, for the document holds it, and DynamoDB writes numbers in its own way.
    fn made(&self, stored: &Attributes, key: &str) -> bool {
        let mut count = 1 + self.shown.len();
        stored.get(key).and_then(|key| key.as_s().ok()) == Some(&self.key)
            && self.attributes().all(|(name, value)| {
                count += 1;
                stored.get(name) == Some(&value.into())
            })
            && stored.len() == count
    }

    /// Whether `stored` has expired by the time of this write, which inserts.
    fn may_replace(&self, stored: &Attributes) -> bool {
        self.write.expected == 0 && expiry(stored).is_some_and(|at| at <= self.write.now)
    }
}

/// Why a statement of a batch was not applied.
enum Refused {
    /// The item is not as expected; as it is, where the answer told.
    Contested(Option<Attributes>),
    Failed(PortError),
}

type Answer = (usize, Result<(), CommitError>);

/// Items by their key in the table, or why one is refused.
type Found = HashMap<String, Result<Attributes, PortError>>;

impl DynamoTable {
    pub(super) fn new(client: Client, model: &TableModel, table: String, pace: Pace) -> Self {
        let key = model.key_attribute.clone().unwrap_or_else(|| KEY.to_owned());
        let prefix = model.kinds.first().filter(|_| model.has_bare_keys).map(|kind| [kind, "/"].concat());
        let (prefix, shown) = (prefix.unwrap_or_default(), model.shows.clone());
        Self { client, name: model.name.clone(), table, key, prefix, shown, pace }
    }

    /// A key as the table has it; `None` where the table can have no such item.
    fn stored_key<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.prefix.as_str()).filter(|key| is_key(key, limits::KEY_BYTES_MAX))
    }

    /// A key of the table as the model has it.
    fn model_key(&self, key: String) -> String {
        if self.prefix.is_empty() { key } else { [self.prefix.as_str(), &key].concat() }
    }

    fn permanent(&self, detail: impl std::fmt::Display) -> PortError {
        PortError::permanent(&self.name, detail)
    }

    fn check_limit(&self, limit: usize) -> Result<(), PortError> {
        if (1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Ok(());
        }
        Err(self.permanent(format_args!("a page of {limit} items; 1 to {PAGE_ITEMS_MAX} are allowed")))
    }

    /// Refuses what DynamoDB would refuse, and what the caller must not ask for.
    fn check(&self, write: &Write, bytes: usize) -> Result<(), CommitError> {
        let Item { version, index, .. } = &write.item;
        let refuse = |detail: &str| Err(CommitError::Port(self.permanent(detail)));
        if let Some(entry) = index
            && !(is_key(&entry.partition, limits::KEY_BYTES_MAX)
                && is_key(&entry.sort, limits::INDEX_SORT_BYTES_MAX))
        {
            return refuse(
                "the index entry has an empty key, a partition over 2,048 or a sort over 1,024 bytes",
            );
        }
        if *version != write.expected.saturating_add(1) {
            return refuse("the version written is not one more than the expected one");
        }
        if bytes > limits::ITEM_BYTES_MAX { Err(CommitError::TooLarge { bytes }) } else { Ok(()) }
    }

    /// A write as the table takes it.
    fn place(&self, at: usize, write: Write) -> Result<PlacedWrite, CommitError> {
        let Some(key) = self.stored_key(&write.item.key).map(str::to_owned) else {
            let detail = "the key is empty, over 2,048 bytes, or of a kind that the table does not hold";
            return Err(CommitError::Port(self.permanent(detail)));
        };
        let document = write.item.document.text().map_err(|why| self.permanent(why))?;
        let shown = shown::of(document, &self.shown)
            .map_err(|error| self.permanent(format_args!("a document without a state: {error}")))?;
        let outbox = array(&write.outbox);
        let beside: usize = shown.iter().map(|(name, value)| name.len() + value.size()).sum();
        // Whether it is too large must not depend on how well it can be shortened.
        let bytes = size(&write, outbox.as_deref(), &self.key) + beside;
        self.check(&write, bytes)?;
        let outbox = outbox.map(|outbox| outbox::shortened(outbox, bytes, &key, document));
        Ok(PlacedWrite { at, write, key, outbox, shown, bytes })
    }

    /// One write as a request of its own. A put, for its condition can say what a statement's can't: absent, or expired.
    async fn put(&self, pending: &PlacedWrite) -> Result<(), CommitError> {
        let mut attempt = 1;
        let stored = loop {
            let key = (self.key.clone(), pending.key().into());
            let attributes = pending.attributes().chain(pending.shown());
            let item = attributes.map(|(name, value)| (name.to_owned(), value.into())).chain([key]);
            let request = self
                .client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.collect()))
                .return_values_on_condition_check_failure(OnFailure::AllOld);
            let Write { expected, now, .. } = &pending.write;
            let request = if *expected == 0 {
                request
                    .condition_expression(
                        "attribute_not_exists(#key) OR (attribute_exists(#millis) AND #millis <= :millis) \
                         OR (attribute_not_exists(#millis) AND #seconds <= :seconds)",
                    )
                    .expression_attribute_names("#key", &self.key)
                    .expression_attribute_names("#millis", EXPIRES_AT_MILLIS)
                    .expression_attribute_names("#seconds", EXPIRES_AT)
                    .expression_attribute_values(":millis", AttributeValue::N(now.as_millis().to_string()))
                    .expression_attribute_values(":seconds", AttributeValue::N(now.as_secs().to_string()))
            } else {
                request
                    .condition_expression("#version = :expected")
                    .expression_attribute_names("#version", VERSION)
                    .expression_attribute_values(":expected", AttributeValue::N(expected.to_string()))
            };
            let error = match request.send().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => break failed.item.clone(),
                // The SDK does not count it among what passes.
                Some(PutItemError::TransactionConflictException(_)) if self.pace.next(attempt).await => {
                    attempt += 1;
                }
                _ => return Err(fault(&self.name, &error).into()),
            }
        };
        let stored = match stored {
            Some(stored) => Some(stored),
            None => self.stored(&pending.key).await?,
        };
        if stored.is_some_and(|stored| pending.made(&stored, &self.key)) {
            Ok(())
        } else {
            Err(CommitError::Conflict)
        }
    }

    async fn stored(&self, key: &str) -> Result<Option<Attributes>, PortError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(&self.key, AttributeValue::S(key.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| fault(&self.name, &error))?;
        Ok(answer.item)
    }

    /// The items of different keys; for one that is refused alone and for good, why.
    async fn stored_all(&self, keys: Vec<&str>) -> Result<Found, PortError> {
        let chunks: Vec<Vec<String>> = keys
            .chunks(GET_KEYS_MAX)
            .map(|keys| keys.iter().map(|key| (*key).to_owned()).collect())
            .collect();
        let mut found = HashMap::with_capacity(keys.len());
        let mut reads =
            stream::iter(chunks).map(|chunk| self.stored_chunk(chunk)).buffer_unordered(CONCURRENCY);
        while let Some(items) = reads.next().await {
            found.extend(items?);
        }
        Ok(found)
    }

    /// The items of as many keys as a request takes. A request that is refused whole and for good is cut in two: what is wrong
    /// with a key must not take the others with it.
    async fn stored_chunk(&self, keys: Vec<String>) -> Result<Found, PortError> {
        let mut found = HashMap::with_capacity(keys.len());
        let mut parts = vec![keys];
        while let Some(mut keys) = parts.pop() {
            let read = match &keys[..] {
                [key] => self.stored(key).await.map(|item| item.into_iter().collect()),
                keys => self.stored_part(keys).await,
            };
            match read {
                Ok(items) => found.extend(items.into_iter().filter_map(|item: Attributes| {
                    let Some(AttributeValue::S(key)) = item.get(&self.key) else { return None };
                    Some((key.clone(), Ok(item)))
                })),
                Err(error) if error.is_transient() => return Err(error),
                Err(_) if keys.len() > 1 => {
                    let rest = keys.split_off(keys.len() / 2);
                    parts.extend([rest, keys]);
                }
                Err(error) => found.extend(keys.pop().map(|key| (key, Err(error)))),
            }
        }
        Ok(found)
    }

    async fn stored_part(&self, keys: &[String]) -> Result<Vec<Attributes>, PortError> {
        let key = |key: &String| HashMap::from([(self.key.clone(), AttributeValue::S(key.clone()))]);
        let keys = keys.iter().map(key).collect();
        let mut left = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut found = Vec::new();
        let mut attempt = 1;
        loop {
            let left_now = left.map_err(|error| self.permanent(error))?;
            let request = self.client.batch_get_item().request_items(&self.table, left_now);
            let answer = request.send().await.map_err(|error| fault(&self.name, &error))?;
            let before = found.len();
            for (_, items) in answer.responses.into_iter().flatten() {
                found.extend(items);
            }
            // An answer ends at 16 MB: what it leaves for the next one is no failed attempt.
            if found.len() > before {
                attempt = 1;
            }
            let unprocessed = answer.unprocessed_keys.into_iter().flatten().map(|(_, keys)| keys).next();
            let Some(keys) = unprocessed.filter(|keys| !keys.keys().is_empty()) else {
                return Ok(found);
            };
            if !self.pace.next(attempt).await {
                let detail = format_args!("{} keys of a read were left unprocessed", keys.keys().len());
                return Err(PortError::transient(&self.name, detail));
            }
            (left, attempt) = (Ok(keys), attempt + 1);
        }
    }

    /// Writes of different keys, in one request where it can be.
    async fn chunk(&self, chunk: Vec<PlacedWrite>) -> Vec<Answer> {
        if let [pending] = &chunk[..] {
            return vec![(pending.at, self.put(pending).await)];
        }
        let mut answers = Vec::with_capacity(chunk.len());
        let mut contested: Vec<(PlacedWrite, Option<Attributes>)> = Vec::new();
        let mut left = chunk;
        let mut attempt = 1;
        while !left.is_empty() {
            let responses = match self.execute(&left).await {
                Ok(responses) => responses,
                Err(error) if error.is_transient() => {
                    answers.extend(left.iter().map(|pending| (pending.at, Err(error.clone().into()))));
                    break;
                }
                // One of them may be what is refused: it must not take the others with it.
                Err(_) => {
                    for pending in &left {
                        answers.push((pending.at, self.put(pending).await));
                    }
                    break;
                }
            };
            let mut again: Vec<(PlacedWrite, PortError)> = Vec::new();
            for (pending, response) in left.into_iter().zip(responses) {
                match self.judge(response) {
                    Ok(()) => answers.push((pending.at, Ok(()))),
                    Err(Refused::Contested(stored)) => contested.push((pending, stored)),
                    Err(Refused::Failed(error)) if error.is_transient() => again.push((pending, error)),
                    Err(Refused::Failed(error)) => answers.push((pending.at, Err(error.into()))),
                }
            }
            if !again.is_empty() && !self.pace.next(attempt).await {
                answers.extend(again.into_iter().map(|(pending, error)| (pending.at, Err(error.into()))));
                break;
            }
            left = again.into_iter().map(|(pending, _)| pending).collect();
            attempt += 1;
        }
        answers.extend(self.resolve(contested).await);
        answers
    }

    async fn execute(&self, left: &[PlacedWrite]) -> Result<Vec<BatchStatementResponse>, PortError> {
        let statements =
            left.iter().map(|pending| pending.statement(&self.table, &self.key, &self.shown)).collect();
        // Statement, names and escapes beside what the item has.
        let bytes: usize = left.iter().map(|pending| pending.bytes + pending.bytes / 4 + 400).sum();
        let mut body = Vec::with_capacity(bytes);
        serde_json::to_writer(&mut body, &Statements { statements })
            .map_err(|error| self.permanent(error))?;
        let length = body.len().to_string();
        let body = Bytes::from(body);
        // The SDK takes owned values, escapes a copy of each and joins the copies: a seventh of the processor time of a POST
        // of 100 orders. So it gets the body as it is sent, which is signed and sent again like its own.
        let request = self.client.batch_execute_statement().customize().mutate_request(move |request| {
            request.headers_mut().insert("content-length", length.clone());
            *request.body_mut() = body.clone().into();
        });
        let answer = request.send().await.map_err(|error| fault(&self.name, &error))?;
        let responses = answer.responses.unwrap_or_default();
        if responses.len() != left.len() {
            let detail = format_args!("{} answers to {} statements", responses.len(), left.len());
            return Err(PortError::transient(&self.name, detail));
        }
        Ok(responses)
    }

    fn judge(&self, response: BatchStatementResponse) -> Result<(), Refused> {
        let Some(error) = response.error else {
            return Ok(());
        };
        match &error.code {
            Some(Code::ConditionalCheckFailed | Code::DuplicateItem) => {
                Err(Refused::Contested(error.item.or(response.item).filter(|item| !item.is_empty())))
            }
            code => {
                let code = code.as_ref().map_or("no code", Code::as_str);
                Err(Refused::Failed(answered(&self.name, code, error.message.as_deref())))
            }
        }
    }

    /// Decides what met an item other than expected. An item that is just what was to be written is ours: an answer was
    /// lost, and the SDK has asked again.
    async fn resolve(&self, mut contested: Vec<(PlacedWrite, Option<Attributes>)>) -> Vec<Answer> {
        let unknown: Vec<&str> = contested
            .iter()
            .filter(|(_, stored)| stored.is_none())
            .map(|(pending, _)| pending.key.as_str())
            .collect();
        let mut unread = None;
        if !unknown.is_empty() {
            match self.stored_all(unknown).await {
                Ok(mut found) => {
                    for (pending, stored) in contested.iter_mut().filter(|(_, stored)| stored.is_none()) {
                        // One that can't be read is there, and is not what was to be written.
                        *stored = found.remove(&pending.key).and_then(Result::ok);
                    }
                }
                Err(error) => unread = Some(error),
            }
        }
        let mut answers = Vec::with_capacity(contested.len());
        for (pending, stored) in contested {
            let answer = match (stored, &unread) {
                (Some(stored), _) if pending.made(&stored, &self.key) => Ok(()),
                (Some(stored), _) if pending.may_replace(&stored) => self.put(&pending).await,
                (None, Some(error)) => Err(error.clone().into()),
                _ => Err(CommitError::Conflict),
            };
            answers.push((pending.at, answer));
        }
        answers
    }

    /// An item as the port has it.
    fn item(&self, mut attributes: Attributes) -> Item {
        let expires_at = expiry(&attributes);
        let mut text = |name: &str| match attributes.remove(name) {
            Some(AttributeValue::S(text) | AttributeValue::N(text)) => Some(text),
            _ => None,
        };
        let (key, version, document) = (text(&self.key), text(VERSION), text(DOCUMENT));
        let index = text(INDEX_PARTITION).zip(text(INDEX_SORT));
        let version = version.and_then(|version| version.parse().ok());
        let document = match (version, document) {
            (Some(_), Some(document)) => document.into(),
            _ => Document::unreadable("it has no version or no document: this library did not write it so"),
        };
        Item {
            key: self.model_key(key.unwrap_or_default()),
            version: version.unwrap_or(0),
            document,
            expires_at,
            index: index.map(|(partition, sort)| IndexEntry { partition, sort }),
        }
    }
}

fn is_key(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
}

fn expiry(attributes: &Attributes) -> Option<Timestamp> {
    let number = |name: &str| attributes.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let millis = number(EXPIRES_AT_MILLIS)
        .or_else(|| number(EXPIRES_AT).map(|seconds| seconds.saturating_mul(1_000)))?;
    Some(Timestamp::from_millis(millis))
}

/// Bytes of an item as DynamoDB counts them: names and values, text in UTF-8, two digits of a number a byte and one more.
fn size(write: &Write, outbox: Option<&str>, key_attribute: &str) -> usize {
    let Item { key, version, document, expires_at, index } = &write.item;
    let document = document.text().unwrap_or_default();
    let number = |number: u64| number.checked_ilog10().unwrap_or(0) as usize / 2 + 2;
    let millis = |at: Timestamp| number(at.as_millis().unsigned_abs());
    let expiry = expires_at.map_or(0, |at| EXPIRES_AT.len() + EXPIRES_AT_MILLIS.len() + 2 * millis(at));
    let index = index.as_ref().map_or(0, |entry| {
        INDEX_PARTITION.len() + entry.partition.len() + INDEX_SORT.len() + entry.sort.len()
    });
    let outbox = outbox.map_or(0, |outbox| OUTBOX.len() + outbox.len() + RELAY.len() + 1);
    let always =
        key_attribute.len() + key.len() + VERSION.len() + number(*version) + DOCUMENT.len() + document.len();
    always + expiry + index + outbox
}

/// The events of a commit as one JSON array; `None` where there are none.
fn array(outbox: &[Box<RawValue>]) -> Option<String> {
    let mut text = String::with_capacity(outbox.iter().map(|event| event.get().len() + 1).sum::<usize>() + 1);
    for event in outbox {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(event.get());
    }
    (!text.is_empty()).then(|| text + "]")
}

/// Splits writes into requests: as many as fit in one, no two of one key.
fn chunks(pending: Vec<PlacedWrite>) -> Vec<Vec<PlacedWrite>> {
    let mut chunks: Vec<Vec<PlacedWrite>> = Vec::with_capacity(pending.len().div_ceil(STATEMENTS_MAX));
    let mut bytes = 0;
    for write in pending {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < STATEMENTS_MAX && bytes + write.bytes <= STATEMENTS_BYTES_MAX => {
                bytes += write.bytes;
                chunk.push(write);
            }
            _ => {
                bytes = write.bytes;
                chunks.push(vec![write]);
            }
        }
    }
    chunks
}

#[async_trait]
impl Table for DynamoTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        let mut seen = HashSet::with_capacity(keys.len());
        // DynamoDB refuses a key twice in a request, and a key that no item can have.
        let asked: Vec<&str> =
            keys.iter().filter_map(|key| self.stored_key(key)).filter(|key| seen.insert(*key)).collect();
        if asked.is_empty() {
            return Ok(vec![None; keys.len()]);
        }
        let repeats = asked.len() < keys.len();
        let mut found = self.stored_all(asked).await?;
        let items = keys.iter().map(|model_key| {
            let key = self.stored_key(model_key)?;
            let stored = if repeats { found.get(key).cloned() } else { found.remove(key) }?;
            Some(stored.map(|stored| self.item(stored)).unwrap_or_else(|refused| Item {
                key: model_key.clone(),
                version: 0,
                document: Document::unreadable(refused),
                expires_at: None,
                index: None,
            }))
        });
        Ok(items.collect())
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let mut answers: Vec<Result<(), CommitError>> = Vec::with_capacity(writes.len());
        // Writes of one key are applied in turn: the second of them in the second round.
        let mut rounds: Vec<Vec<PlacedWrite>> = Vec::with_capacity(1);
        let mut times: HashMap<&str, usize> = HashMap::with_capacity(writes.len());
        let round_of: Vec<usize> = writes
            .iter()
            .map(|write| {
                let time = times.entry(&write.item.key).or_default();
                std::mem::replace(time, *time + 1)
            })
            .collect();
        for (at, write) in writes.into_iter().enumerate() {
            let placed = match self.place(at, write) {
                Ok(placed) => placed,
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            };
            // Until its round has come.
            answers.push(Ok(()));
            let round = round_of[at];
            if rounds.len() <= round {
                rounds.resize_with(round + 1, Vec::new);
            }
            rounds[round].push(placed);
        }
        for round in rounds {
            let mut under_way =
                stream::iter(chunks(round)).map(|chunk| self.chunk(chunk)).buffer_unordered(CONCURRENCY);
            while let Some(some) = under_way.next().await {
                for (at, answer) in some {
                    answers[at] = answer;
                }
            }
        }
        answers
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.check_limit(query.limit)?;
        let after = query.after.as_ref().filter(|after| !after.is_empty());
        let before = query.before.as_ref();
        // No entry is there, and DynamoDB takes no such bounds.
        let is_void = before
            .is_some_and(|before| before.is_empty() || after.is_some_and(|after| after >= before))
            || !is_key(&query.partition, limits::KEY_BYTES_MAX);
        if is_void {
            return Ok(IndexPage::default());
        }
        let text = |text: &String| AttributeValue::S(text.clone());
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .expression_attribute_names("#partition", INDEX_PARTITION)
            .expression_attribute_values(":partition", text(&query.partition));
        let request = match (after, before) {
            (None, None) => request.key_condition_expression("#partition = :partition"),
            (Some(after), None) => request
                .key_condition_expression("#partition = :partition AND #sort > :after")
                .expression_attribute_values(":after", text(after)),
            (None, Some(before)) => request
                .key_condition_expression("#partition = :partition AND #sort < :before")
                .expression_attribute_values(":before", text(before)),
            // There is no condition for both but one that takes in the bounds: they are left out below.
            (Some(after), Some(before)) => request
                .key_condition_expression("#partition = :partition AND #sort BETWEEN :after AND :before")
                .expression_attribute_values(":after", text(after))
                .expression_attribute_values(":before", text(before)),
        };
        let (request, bounds) = match (after, before) {
            (None, None) => (request, 0),
            (Some(_), Some(_)) => (request.expression_attribute_names("#sort", INDEX_SORT), 2),
            _ => (request.expression_attribute_names("#sort", INDEX_SORT), 0),
        };
        let limit = i32::try_from(query.limit + bounds).unwrap_or(i32::MAX);
        let answer = request.limit(limit).send().await.map_err(|error| fault(&self.name, &error))?;
        let sort = |attributes: &Attributes| attributes.get(INDEX_SORT)?.as_s().ok().cloned();
        let mut next = answer.last_evaluated_key.as_ref().and_then(sort);
        let mut items = Vec::new();
        for attributes in answer.items.unwrap_or_default() {
            let item = self.item(attributes);
            let Some(entry) = &item.index else { continue };
            if after.is_some_and(|after| entry.sort <= *after)
                || before.is_some_and(|before| entry.sort >= *before)
            {
                continue;
            }
            if items.len() == query.limit {
                next =
                    items.last().and_then(|item: &Item| item.index.as_ref()).map(|index| index.sort.clone());
                break;
            }
            items.push(item);
        }
        // Behind the upper bound there is nothing to look for.
        next = next.filter(|next| before.is_none_or(|before| next < before));
        Ok(IndexPage { items, next })
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.check_limit(limit)?;
        if after.is_some_and(|after| !is_key(after, limits::KEY_BYTES_MAX)) {
            return Err(PortError::misplaced(&self.name));
        }
        let from =
            after.map(|after| HashMap::from([(self.key.clone(), AttributeValue::S(after.to_owned()))]));
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .set_exclusive_start_key(from)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| fault(&self.name, &error))?;
        let next = match answer.last_evaluated_key.and_then(|mut key| key.remove(&self.key)) {
            Some(AttributeValue::S(key)) => Some(key),
            _ => None,
        };
        let items = answer.items.unwrap_or_default().into_iter().map(|item| self.item(item));
        Ok(ScanPage { items: items.collect(), next })
    }
}
