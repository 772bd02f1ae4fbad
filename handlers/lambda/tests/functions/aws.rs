//! A small AWS: as much of DynamoDB, SQS, S3 and Secrets Manager as the functions ask for, in memory, with faults on
//! demand. It speaks the real protocols, but it is not them: what holds against the real peers is the conformance suite's
//! business, here it is what a function makes of their answers.

use crate::server::{Answer, Server, response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::Request;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls: not applied.
    Throttle,
    /// The service failed: not applied.
    Internal,
    /// Applied, and the connection closed before the answer.
    CutOff,
    /// Not applied, and never answered.
    Hang,
}

/// All that it holds, and all that it was asked.
#[derive(Default)]
pub struct State {
    /// Items of the table by key.
    pub items: BTreeMap<String, Map<String, Value>>,
    /// Messages sent, with the URL of their queue.
    pub sent: Vec<(String, Value)>,
    /// Visibility timeouts set, by receipt handle.
    pub visibility: BTreeMap<String, i64>,
    /// Objects by `/bucket/key`.
    pub objects: BTreeMap<String, Bytes>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// The operations asked for, in order.
    pub calls: Vec<String>,
    /// Queues refuse messages that hold one of these texts, each alone, for as long as it stands here.
    pub refused: Vec<String>,
    faults: BTreeMap<String, VecDeque<Fault>>,
}

/// The running thing.
pub struct Aws {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Aws {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| {
            let state = Arc::clone(&shared);
            async move { answer(&state, &request).await }
        })
        .await;
        Self { state, server }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next calls of `operation` go wrong so, one after the other.
    pub fn fail(&self, operation: &str, faults: &[Fault]) {
        self.state().faults.entry(operation.to_owned()).or_default().extend(faults);
    }

    /// From now on nothing goes wrong.
    pub fn recover(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.refused.clear();
    }

    /// The variables of a function that needs everything and finds it here.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let address = self.server.address;
        let queue = |name: &str| format!("http://{address}/123456789012/{name}");
        [
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("QUADRILLE_TABLE_ORDERS", "orders".into()),
            ("QUADRILLE_BUCKET_ORDER_RESULTS", "results".into()),
            ("QUADRILLE_BUCKET_AUCTION_PLATFORM", "platform".into()),
            ("QUADRILLE_QUEUE_AUCTION_POLL", queue("auction-poll")),
            ("QUADRILLE_QUEUE_AUCTION_POLL_DLQ", queue("auction-poll-dlq")),
            ("QUADRILLE_QUEUE_AUCTION_LEFT", queue("auction-left")),
            ("QUADRILLE_QUEUE_AUCTION_LEFT_DLQ", queue("auction-left-dlq")),
            ("QUADRILLE_QUEUE_AUCTION_RESULTS", queue("auction-results")),
            ("QUADRILLE_QUEUE_AUCTION_RESULTS_DLQ", queue("auction-results-dlq")),
            ("QUADRILLE_QUEUE_NOTIFY", queue("notify")),
            ("QUADRILLE_QUEUE_NOTIFY_DLQ", queue("notify-dlq")),
            ("QUADRILLE_PLATFORM", "simulated".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// What was sent to the queue of that name.
    pub fn sent_to(&self, queue: &str) -> Vec<Value> {
        let state = self.state();
        let wanted = state.sent.iter().filter(|(url, _)| url.ends_with(&format!("/{queue}")));
        wanted.map(|(_, message)| message.clone()).collect()
    }

    /// The document of an order, its state and its trail.
    pub fn order(&self, id: &str) -> Option<Value> {
        let state = self.state();
        let item = state.items.get(&format!("order/{id}"))?;
        Some(serde_json::from_str(item["document"]["S"].as_str().unwrap()).unwrap())
    }

    /// The version of an item.
    pub fn version(&self, key: &str) -> Option<String> {
        let state = self.state();
        Some(state.items.get(key)?["version"]["N"].as_str().unwrap().to_owned())
    }

    /// How often an operation was asked for.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.iter().filter(|call| *call == operation).count()
    }
}

async fn answer(state: &Mutex<State>, request: &Request<Bytes>) -> Answer {
    let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let (service, operation) = match &target {
        Some(target) => {
            target.split_once('.').map(|(service, operation)| (service, operation.to_owned())).unwrap()
        }
        None if request.method() == "PUT" => ("S3", "PutObject".to_owned()),
        None if request.uri().query().is_some_and(|query| query.contains("list-type=2")) => {
            ("S3", "ListObjectsV2".to_owned())
        }
        None => ("S3", "GetObject".to_owned()),
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.calls.push(operation.clone());
        state.faults.get_mut(&operation).and_then(VecDeque::pop_front)
    };
    match fault {
        Some(Fault::Throttle) => return Some(refusal(service, 400, "ThrottlingException", "Rate exceeded")),
        Some(Fault::Internal) => return Some(refusal(service, 500, "InternalServerError", "Internal")),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::CutOff) | None => {}
    }
    let answered = {
        let mut state = state.lock().unwrap();
        match service {
            "S3" => state.s3(&operation, request),
            _ => {
                let input: Value = serde_json::from_slice(request.body()).unwrap();
                match state.json(&operation, &input) {
                    Ok(output) => Some(response(200, output.to_string())),
                    Err((code, item)) => {
                        let body =
                            json!({"__type": format!("com.amazonaws#{code}"), "message": code, "Item": item});
                        Some(response(400, body.to_string()))
                    }
                }
            }
        }
    };
    if fault == Some(Fault::CutOff) { None } else { answered }
}

fn refusal(
    service: &str,
    status: u16,
    code: &str,
    message: &str,
) -> hyper::Response<http_body_util::Full<Bytes>> {
    if service == "S3" {
        let (status, code) = if status == 400 { (503, "SlowDown") } else { (status, "InternalError") };
        return response(status, format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"));
    }
    response(status, json!({"__type": format!("com.amazonaws#{code}"), "message": message}).to_string())
}

type Refused = (&'static str, Option<Map<String, Value>>);

impl State {
    fn json(&mut self, operation: &str, input: &Value) -> Result<Value, Refused> {
        match operation {
            "BatchExecuteStatement" => {
                let statements = input["Statements"].as_array().unwrap();
                assert!(statements.len() <= 25);
                let responses = statements.iter().map(|statement| match self.execute(statement) {
                    Ok(()) => json!({}),
                    Err((code, item)) => {
                        let code = code.trim_end_matches("Exception").trim_end_matches("Item");
                        let code =
                            if code == "Duplicate" { "DuplicateItem" } else { "ConditionalCheckFailed" };
                        json!({"Error": {"Code": code, "Message": code, "Item": item}})
                    }
                });
                Ok(json!({"Responses": responses.collect::<Vec<_>>()}))
            }
            "PutItem" => {
                let item = input["Item"].as_object().unwrap().clone();
                let key = item["key"]["S"].as_str().unwrap().to_owned();
                let existing = self.items.get(&key);
                let expected = &input["ExpressionAttributeValues"][":expected"];
                let may = if expected.is_null() {
                    existing.is_none()
                } else {
                    existing.is_some_and(|existing| existing["version"] == *expected)
                };
                if !may {
                    return Err(("ConditionalCheckFailedException", existing.cloned()));
                }
                self.items.insert(key, item);
                Ok(json!({}))
            }
            "GetItem" => {
                let key = input["Key"]["key"]["S"].as_str().unwrap();
                Ok(self.items.get(key).map_or(json!({}), |item| json!({ "Item": item })))
            }
            "BatchGetItem" => {
                let (table, asked) = input["RequestItems"].as_object().unwrap().iter().next().unwrap();
                let keys = asked["Keys"].as_array().unwrap().iter();
                let found: Vec<_> =
                    keys.filter_map(|key| self.items.get(key["key"]["S"].as_str().unwrap())).collect();
                Ok(json!({"Responses": {table: found}, "UnprocessedKeys": {}}))
            }
            "Query" => {
                let partition = &input["ExpressionAttributeValues"][":partition"];
                let found: Vec<_> = self
                    .items
                    .values()
                    .filter(|item| item.get("index_partition") == Some(partition))
                    .collect();
                Ok(json!({"Items": found, "Count": found.len()}))
            }
            "SendMessageBatch" => {
                let url = input["QueueUrl"].as_str().unwrap();
                let entries = input["Entries"].as_array().unwrap();
                assert!(entries.len() <= 10);
                let (mut successful, mut failed) = (Vec::new(), Vec::new());
                for entry in entries {
                    let body = entry["MessageBody"].as_str().unwrap();
                    if self.refused.iter().any(|text| body.contains(text)) {
                        failed
                            .push(json!({"Id": entry["Id"], "Code": "InternalError", "SenderFault": false}));
                        continue;
                    }
                    self.sent.push((url.to_owned(), entry.clone()));
                    successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0"}));
                }
                Ok(json!({"Successful": successful, "Failed": failed}))
            }
            "ChangeMessageVisibilityBatch" => {
                let entries = input["Entries"].as_array().unwrap();
                for entry in entries {
                    let receipt = entry["ReceiptHandle"].as_str().unwrap().to_owned();
                    self.visibility.insert(receipt, entry["VisibilityTimeout"].as_i64().unwrap());
                }
                let done: Vec<_> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
                Ok(json!({"Successful": done, "Failed": []}))
            }
            "GetSecretValue" => {
                let id = input["SecretId"].as_str().unwrap();
                let secret = self.secrets.get(id).ok_or(("ResourceNotFoundException", None))?;
                Ok(json!({"Name": id, "SecretString": secret}))
            }
            other => panic!("not asked for so far: {other}"),
        }
    }

    /// One conditional write in PartiQL, as the adapter writes it.
    fn execute(&mut self, statement: &Value) -> Result<(), Refused> {
        let text = statement["Statement"].as_str().unwrap();
        let mut parameters = statement["Parameters"].as_array().unwrap().iter().cloned();
        if let Some((_, names)) = text.strip_prefix("INSERT").and_then(|rest| rest.split_once('{')) {
            let names = names.split(',').map(|name| name.split('\'').nth(1).unwrap().to_owned());
            let item: Map<String, Value> = names.zip(parameters).collect();
            let key = item["key"]["S"].as_str().unwrap().to_owned();
            if let Some(existing) = self.items.get(&key) {
                return Err(("DuplicateItemException", Some(existing.clone())));
            }
            self.items.insert(key, item);
            return Ok(());
        }
        let (changes, _) = text.split_once(" WHERE ").unwrap();
        let name = |part: &str| part.split('"').nth(1).unwrap().to_owned();
        let mut changed: Vec<(String, Option<Value>)> = Vec::new();
        for part in changes.split(" SET ").skip(1) {
            let mut parts = part.split(" REMOVE ");
            changed.push((name(parts.next().unwrap()), parameters.next()));
            changed.extend(parts.map(|part| (name(part), None)));
        }
        let (key, expected) = (parameters.next().unwrap(), parameters.next().unwrap());
        let item = self.items.get_mut(key["S"].as_str().unwrap()).filter(|item| item["version"] == expected);
        let Some(item) = item else {
            return Err((
                "ConditionalCheckFailedException",
                self.items.get(key["S"].as_str().unwrap()).cloned(),
            ));
        };
        for (name, value) in changed {
            match value {
                Some(value) => item.insert(name, value),
                None => item.remove(&name),
            };
        }
        Ok(())
    }

    fn s3(&mut self, operation: &str, request: &Request<Bytes>) -> Answer {
        let path = percent_decode_str(request.uri().path()).decode_utf8().unwrap().into_owned();
        match operation {
            "PutObject" if self.objects.contains_key(&path) => {
                let body = "<Error><Code>PreconditionFailed</Code><Message>There is one</Message></Error>";
                Some(response(412, body))
            }
            "PutObject" => {
                assert_eq!(request.headers()["if-none-match"], "*");
                self.objects.insert(path, unchunked(request));
                Some(response(200, ""))
            }
            "GetObject" => Some(match self.objects.get(&path) {
                Some(object) => response(200, object.clone()),
                None => response(404, "<Error><Code>NoSuchKey</Code><Message>None</Message></Error>"),
            }),
            _ => {
                let bucket = path.trim_matches('/');
                let keys = self.objects.keys().filter_map(|key| key.strip_prefix(&format!("/{bucket}/")));
                let keys: String = keys.map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
                Some(response(
                    200,
                    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"),
                ))
            }
        }
    }
}

/// The object of a request whose body may come in the chunks of AWS's own encoding.
fn unchunked(request: &Request<Bytes>) -> Bytes {
    let is_chunked = request.headers().get("content-encoding").is_some_and(|value| value == "aws-chunked");
    if !is_chunked {
        return request.body().clone();
    }
    let mut left = request.body().as_ref();
    let mut whole = Vec::new();
    loop {
        let end = left.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = std::str::from_utf8(&left[..end]).unwrap().split(';').next().unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole.into();
        }
        whole.extend_from_slice(&left[end + 2..end + 2 + size]);
        left = &left[end + 2 + size + 2..];
    }
}

/// Text as base64.
pub fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
