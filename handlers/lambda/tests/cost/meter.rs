//! Proxies before the peer that count, at the wire, what AWS would charge for.

use crate::{forward::forward, server::Server, units::Copy};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// SQS charges a request for every 64 KiB of its messages.
const QUEUE_REQUEST_BYTES: usize = 65_536;

/// Calls and units of one caller, by what they are called in `docs/cost.md`.
pub type Counts = BTreeMap<String, f64>;

/// What a caller did, as IAM names it, and on what, as the request names it.
pub type Call = (String, String, String);

#[derive(Default)]
struct Account {
    by_caller: BTreeMap<String, Counts>,
    calls: BTreeSet<Call>,
    copy: Copy,
    largest: usize,
}

/// The account of a stack.
#[derive(Clone)]
pub struct Meter {
    peer: String,
    account: Arc<Mutex<Account>>,
    /// A bucket that stands for something that is not AWS: what it is asked for is not counted.
    foreign: String,
}

impl Meter {
    pub fn new(url: &str, foreign: &str) -> Self {
        let peer = url.strip_prefix("http://").unwrap().to_owned();
        Self { peer, account: Arc::default(), foreign: foreign.to_owned() }
    }

    /// The attributes of the keys of tables, where they are not the library's.
    pub fn know_keys(&self, keys: impl IntoIterator<Item = (String, String)>) {
        self.account.lock().unwrap().copy.keys.extend(keys);
    }

    /// An endpoint whose calls are put down to `caller`.
    pub async fn endpoint(&self, caller: &str) -> Server {
        let (meter, caller) = (self.clone(), caller.to_owned());
        Server::start(move |request: Request<Bytes>| {
            let (meter, caller) = (meter.clone(), caller.clone());
            async move { Some(meter.pass(&caller, request).await) }
        })
        .await
    }

    /// Puts something down to `caller` that is not seen here.
    pub fn add(&self, caller: &str, what: &str, count: f64) {
        add(&mut self.account.lock().unwrap().by_caller, caller, what, count);
    }

    /// What each caller used, and the size of the largest order written.
    pub fn read(&self) -> (BTreeMap<String, Counts>, usize) {
        let account = self.account.lock().unwrap();
        (account.by_caller.clone(), account.largest)
    }

    /// What each caller did.
    pub fn calls(&self) -> BTreeSet<Call> {
        self.account.lock().unwrap().calls.clone()
    }

    /// Asserts that units were counted of what the table holds.
    pub fn assert_counted(&self, stored: &[Value]) {
        self.account.lock().unwrap().copy.assert_is(stored);
    }

    async fn pass(&self, caller: &str, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
        let (method, uri, asked) = (request.method().clone(), request.uri().clone(), request.body().clone());
        let response = forward(&self.peer, request).await;
        let (head, answered) = response.into_parts();
        let mut account = self.account.lock().unwrap();
        let account = &mut *account;
        for (action, on) in actions(target.as_deref(), method.as_str(), &uri, &asked) {
            account.calls.insert((caller.to_owned(), action, on));
        }
        let mut count = |what: &str, count: f64| add(&mut account.by_caller, caller, what, count);
        match target.as_deref().map(|target| target.split_once('.').unwrap()) {
            Some(("DynamoDB_20120810", operation)) => {
                let read = |body: &Bytes| serde_json::from_slice(body).unwrap();
                let units =
                    account.copy.charge(operation, &read(&asked), head.status.as_u16(), &read(&answered));
                account.largest = account.largest.max(units.largest);
                count("DynamoDB requests", 1.0);
                count(&format!("DynamoDB {operation}"), 1.0);
                count("DynamoDB table write units", units.table_write);
                count("of these, the order's own table writes", units.orders_table_write);
                count("DynamoDB index write units", units.index_write);
                count("of these, the order's own index writes", units.orders_index_write);
                count("DynamoDB read units", units.read);
            }
            Some(("AmazonSQS", operation)) => {
                let read = |body: &Bytes| -> Value { serde_json::from_slice(body).unwrap() };
                let bytes =
                    message_bytes(&read(&asked)["Entries"]) + message_bytes(&read(&answered)["Messages"]);
                let requests = u32::try_from(bytes.div_ceil(QUEUE_REQUEST_BYTES).max(1)).unwrap();
                count("SQS requests", requests.into());
                count(&format!("SQS {operation}"), requests.into());
            }
            Some(("AWSEvents", _)) => count("EventBridge requests", 1.0),
            Some(other) => panic!("not known what a call of {other:?} costs"),
            None if uri.path().split('/').nth(1) == Some(&self.foreign) => {}
            None if uri.path() == "/" && method == "POST" => count("SNS requests", 1.0),
            None => match (method.as_str(), uri.query().unwrap_or_default().contains("list-type=2")) {
                ("PUT", _) => count("S3 puts", 1.0),
                ("GET", true) => count("S3 lists", 1.0),
                ("GET", false) => count("S3 gets", 1.0),
                other => panic!("not known what a call of S3 costs: {other:?}"),
            },
        }
        Response::from_parts(head, Full::new(answered))
    }
}

/// The actions of IAM that a request takes, and the resource that it names.
fn actions(target: Option<&str>, method: &str, uri: &hyper::Uri, body: &Bytes) -> Vec<(String, String)> {
    let Some((service, operation)) = target.and_then(|target| target.split_once('.')) else {
        let is_list = uri.query().unwrap_or_default().contains("list-type=2");
        let action = match method {
            "PUT" => "s3:PutObject",
            _ if is_list => "s3:ListBucket",
            _ => "s3:GetObject",
        };
        let bucket = uri.path().split('/').nth(1).unwrap_or_default();
        return vec![(action.to_owned(), bucket.to_owned())];
    };
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if service == "AmazonSQS" {
        let operation = operation.strip_suffix("Batch").unwrap_or(operation);
        return vec![(format!("sqs:{operation}"), text(&body["QueueUrl"]))];
    }
    match operation {
        "BatchExecuteStatement" => {
            let statements = body["Statements"].as_array().unwrap().iter().map(|one| text(&one["Statement"]));
            let action = |statement: String| {
                let action = if statement.starts_with("INSERT") { "PartiQLInsert" } else { "PartiQLUpdate" };
                let table = statement.split('"').nth(1).unwrap_or_default().to_owned();
                (format!("dynamodb:{action}"), table)
            };
            statements.map(action).collect()
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().unwrap().keys();
            tables.map(|table| ("dynamodb:BatchGetItem".to_owned(), table.clone())).collect()
        }
        _ => vec![(format!("dynamodb:{operation}"), text(&body["TableName"]))],
    }
}

fn add(by_caller: &mut BTreeMap<String, Counts>, caller: &str, what: &str, count: f64) {
    if count > 0.0 {
        *by_caller.entry(caller.to_owned()).or_default().entry(what.to_owned()).or_default() += count;
    }
}

/// Bytes of the messages that are sent or received: body, and name, type and value of each attribute.
fn message_bytes(messages: &Value) -> usize {
    let length = |value: &Value| value.as_str().unwrap_or_default().len();
    let one = |message: &Value| {
        let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
        let attributes = attributes
            .map(|(name, value)| name.len() + length(&value["DataType"]) + length(&value["StringValue"]));
        length(&message["MessageBody"]) + length(&message["Body"]) + attributes.sum::<usize>()
    };
    messages.as_array().into_iter().flatten().map(one).sum()
}
