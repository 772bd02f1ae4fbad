//! A proxy before the peer for each function: what the function calls is put down under the names of IAM, and some of it can be
//! made to fail.

use crate::{
    forward::forward,
    server::{Answer, Server, response},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// The situation in which secrets are read.
pub const STARTS: &str = "it starts";

/// What becomes of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The first answer of each S3 put is lost.
    Lost,
    /// Buckets and secrets are not there for anybody, nor is a table for the first call: a message is given up only where it can be
    /// told from its entity that it is not done.
    Away,
    /// Queues, topics and buses refuse for good what is sent to them; a dead-letter queue takes it.
    Refused,
}

/// A permission of a function: an action of IAM, and what it is on, by its name in the model.
pub type Permission = (String, String);

#[derive(Default)]
struct Seen {
    /// By function and permission, in which situations it was called for.
    calls: BTreeMap<(String, Permission), BTreeSet<&'static str>>,
    lost: BTreeSet<String>,
    /// The tables' first calls in this situation, by function.
    denied: BTreeSet<String>,
}

/// What all functions of a stack call.
#[derive(Clone)]
pub struct Watch {
    peer: String,
    /// Names in the model, by those on AWS.
    names: Arc<BTreeMap<String, String>>,
    secret: String,
    state: Arc<Mutex<(&'static str, Fault)>>,
    seen: Arc<Mutex<Seen>>,
}

impl Watch {
    pub fn new(url: &str, names: BTreeMap<String, String>, secret: String) -> Self {
        let peer = url.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::new(Mutex::new(("", Fault::None)));
        Self { peer, names: Arc::new(names), secret, state, seen: Arc::default() }
    }

    /// From now on this is the situation.
    pub fn situation(&self, name: &'static str, fault: Fault) {
        *self.state.lock().unwrap() = (name, fault);
        self.seen.lock().unwrap().denied.clear();
    }

    /// Each permission that a function called for, with the situations.
    pub fn of(&self, function: &str) -> BTreeMap<Permission, BTreeSet<&'static str>> {
        let seen = self.seen.lock().unwrap();
        let of = seen.calls.iter().filter(|((caller, _), _)| caller == function);
        of.map(|((_, permission), situations)| (permission.clone(), situations.clone())).collect()
    }

    /// Where `function` finds AWS.
    pub async fn endpoint(&self, function: &str) -> Server {
        let (watch, function) = (self.clone(), function.to_owned());
        Server::start(move |request: Request<Bytes>| {
            let (watch, function) = (watch.clone(), function.clone());
            async move { watch.pass(&function, request).await }
        })
        .await
    }

    async fn pass(&self, function: &str, request: Request<Bytes>) -> Answer {
        let called = called(&request);
        let (situation, fault) = *self.state.lock().unwrap();
        let name = |physical: &String| self.names.get(physical).cloned().unwrap_or_else(|| physical.clone());
        let called: Vec<Permission> = called.iter().map(|(action, on)| (action.clone(), name(on))).collect();
        let put_down = |permission: Permission| {
            // Secrets are read as the function starts, which may be late.
            let is_start = permission.0.starts_with("secretsmanager:");
            let situation = if is_start { STARTS } else { situation };
            let mut seen = self.seen.lock().unwrap();
            seen.calls.entry((function.to_owned(), permission)).or_default().insert(situation);
        };
        called.iter().cloned().for_each(&put_down);
        let (action, on) = called.first().cloned().unwrap_or_default();
        let is_sent = ["sqs:SendMessage", "sns:Publish", "events:PutEvents"].contains(&action.as_str());
        match fault {
            Fault::Away
                if !action.starts_with("sqs:")
                    && (!action.starts_with("dynamodb:")
                        || self.seen.lock().unwrap().denied.insert(function.to_owned())) =>
            {
                return Some(response(
                    400,
                    json!({"__type": "AccessDeniedException", "message": "away"}).to_string(),
                ));
            }
            Fault::Refused if is_sent && !on.ends_with("-dlq") => return Some(refused(&action)),
            _ => {}
        }
        if action == "secretsmanager:GetSecretValue" {
            return Some(response(200, json!({ "Name": "a", "SecretString": self.secret }).to_string()));
        }
        let key = format!("{function} {}", request.uri().path());
        let answered = forward(&self.peer, request).await;
        // That an object is missing S3 tells only who may list the bucket.
        if action == "s3:GetObject" && answered.status() == 404 {
            put_down(("s3:ListBucket".to_owned(), on));
        }
        let is_lost =
            fault == Fault::Lost && action == "s3:PutObject" && self.seen.lock().unwrap().lost.insert(key);
        (!is_lost).then(|| answered.map(Full::new))
    }
}

/// A refusal for good, as the services word it.
fn refused(action: &str) -> hyper::Response<Full<Bytes>> {
    match action {
        "sns:Publish" => {
            let error = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameter</Code><Message>no</Message>\
                         </Error><RequestId>1</RequestId></ErrorResponse>";
            response(400, error)
        }
        "events:PutEvents" => {
            response(400, json!({"__type": "ValidationException", "message": "no"}).to_string())
        }
        _ => response(
            400,
            json!({"__type": "com.amazonaws.sqs#InvalidMessageContents", "message": "no"}).to_string(),
        ),
    }
}

/// The actions of IAM that a request takes, and what it names.
fn called(request: &Request<Bytes>) -> Vec<(String, String)> {
    let target = request.headers().get("x-amz-target").map(|target| target.to_str().unwrap());
    let Some((service, operation)) = target.and_then(|target| target.split_once('.')) else {
        if request.uri().path() == "/" {
            return vec![of_sns(request.body())];
        }
        let is_list = request.uri().query().unwrap_or_default().contains("list-type=2");
        let action = match request.method().as_str() {
            "PUT" => "s3:PutObject",
            _ if is_list => "s3:ListBucket",
            _ => "s3:GetObject",
        };
        let bucket = request.uri().path().split('/').nth(1).unwrap_or_default();
        return vec![(action.to_owned(), bucket.to_owned())];
    };
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (service, operation) {
        ("AmazonSQS", operation) => {
            let operation = operation.strip_suffix("Batch").unwrap_or(operation);
            vec![(format!("sqs:{operation}"), text(&body["QueueUrl"]))]
        }
        ("AWSEvents", operation) => {
            vec![(format!("events:{operation}"), text(&body["Entries"][0]["EventBusName"]))]
        }
        ("secretsmanager", operation) => {
            vec![(format!("secretsmanager:{operation}"), text(&body["SecretId"]))]
        }
        (_, "BatchExecuteStatement") => {
            let statements = body["Statements"].as_array().unwrap().iter().map(|one| text(&one["Statement"]));
            let action = |statement: String| {
                let action = if statement.starts_with("INSERT") { "PartiQLInsert" } else { "PartiQLUpdate" };
                let table = statement.split('"').nth(1).unwrap_or_default().to_owned();
                (format!("dynamodb:{action}"), table)
            };
            statements.map(action).collect()
        }
        (_, "BatchGetItem") => {
            let tables = body["RequestItems"].as_object().unwrap().keys();
            tables.map(|table| ("dynamodb:BatchGetItem".to_owned(), table.clone())).collect()
        }
        (_, operation) => vec![(format!("dynamodb:{operation}"), text(&body["TableName"]))],
    }
}

fn of_sns(body: &[u8]) -> (String, String) {
    let field = |name: &str| {
        let mut fields = body.split(|byte| *byte == b'&');
        let found = fields.find_map(|field| field.strip_prefix(format!("{name}=").as_bytes()));
        percent_encoding::percent_decode(found.unwrap_or_default()).decode_utf8_lossy().into_owned()
    };
    let action = field("Action");
    let action = action.strip_suffix("Batch").unwrap_or(&action);
    (format!("sns:{action}"), field("TopicArn"))
}
