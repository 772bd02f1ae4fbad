//! A proxy before the peer that meddles with chosen calls: it throttles them, answers that something went wrong, or cuts
//! the answer off once the peer has done what it was asked to. The peer does none of that by itself.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri, body::Incoming, header, http::request, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is refused as too much (DynamoDB), and not applied.
    Throttled,
    /// It is answered by 500, and not applied.
    Failed,
    /// It is applied, and answered by 500.
    FailedAfter,
    /// It is applied, and the connection breaks before the answer.
    Cut,
    /// The first so many statements or entries of a batch are refused as too much, and not applied; the others are.
    PartThrottled(usize),
    /// The first so many keys of a read are left unprocessed; the others are read.
    PartUnprocessed(usize),
    /// The first so many entries of a batch are not applied, and the answer does not tell of them.
    PartUnconfirmed(usize),
    /// It is refused for good, and not applied, where this text stands in it.
    RefusedWith(&'static str),
}

/// What the proxy does with calls that match, in their order, and what it has seen.
#[derive(Default)]
struct Plan {
    /// A part of what the call is known by: its target, or method and path.
    of: &'static str,
    faults: VecDeque<Fault>,
    seen: Vec<String>,
    /// The actions of IAM that the calls take, each with the body of its call.
    actions: Vec<(&'static str, String, Bytes)>,
}

/// A running proxy. It ends when dropped.
pub struct Proxy {
    pub url: String,
    plan: Arc<Mutex<Plan>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy before the peer at `url`.
    pub async fn start(url: &str) -> Self {
        let peer: Uri = url.parse().unwrap();
        let peer = peer.authority().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let shared = Arc::clone(&plan);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (peer, plan) = (peer.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &peer, &plan));
                    // An error here is a cut that was asked for.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        Self { url, plan, task }
    }

    /// Meddles with the next calls that have `of` in their target, or in their method and path. Forgets what was seen.
    pub fn meddle(&self, of: &'static str, faults: &[Fault]) {
        *lock(&self.plan) = Plan { of, faults: faults.iter().copied().collect(), ..Plan::default() };
    }

    /// The calls seen since, by their targets or their methods and paths; and asserts that no fault is left.
    pub fn seen(&self) -> Vec<String> {
        let plan = lock(&self.plan);
        assert!(plan.faults.is_empty(), "never met: {:?}; seen: {:?}", plan.faults, plan.seen);
        plan.seen.clone()
    }

    /// The actions of IAM that the calls took whose body holds `part`; and asserts that no fault is left.
    pub fn actions(&self, part: &str) -> BTreeSet<String> {
        self.seen();
        let plan = lock(&self.plan);
        let on = plan.actions.iter().filter(|(.., body)| String::from_utf8_lossy(body).contains(part));
        on.map(|(service, action, _)| format!("{service}:{action}")).collect()
    }
}

fn lock(plan: &Mutex<Plan>) -> std::sync::MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call is known by: `BatchExecuteStatement`, or `PUT /bucket/key`.
fn name(request: &Request<Incoming>) -> String {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    match target.and_then(|target| target.rsplit('.').next()) {
        Some(target) => target.to_owned(),
        None => format!("{} {}", request.method(), request.uri().path()),
    }
}

/// The actions of IAM that a call takes, by its service.
fn actions(parts: &request::Parts, name: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let without_batch = |action: &str| action.strip_suffix("Batch").unwrap_or(action).to_owned();
    match target.map(|target| target.starts_with("DynamoDB")) {
        Some(true) if name == "BatchExecuteStatement" => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            let statements = asked["Statements"].as_array().unwrap().iter();
            let verbs = statements.map(|statement| statement["Statement"].as_str().unwrap());
            let action = |statement: &str| match statement.split(' ').next() {
                Some("INSERT") => "PartiQLInsert".to_owned(),
                Some("UPDATE") => "PartiQLUpdate".to_owned(),
                other => format!("PartiQL {other:?}"),
            };
            verbs.map(|statement| ("dynamodb", action(statement))).collect()
        }
        Some(true) => vec![("dynamodb", name.to_owned())],
        Some(false) if target.is_some_and(|target| target.starts_with("AWSEvents")) => {
            vec![("events", name.to_owned())]
        }
        Some(false) => vec![("sqs", without_batch(name))],
        None if parts.uri.path() == "/" => {
            let mut fields = body.split(|byte| *byte == b'&').map(String::from_utf8_lossy);
            let action = fields.find_map(|field| field.strip_prefix("Action=").map(without_batch));
            vec![("sns", action.unwrap_or_default())]
        }
        None => {
            let is_listing = parts.uri.query().is_some_and(|query| query.contains("list-type"));
            let action = match (&parts.method, is_listing) {
                (&Method::GET, true) => "ListBucket",
                (&Method::GET, false) => "GetObject",
                (&Method::PUT, false) => "PutObject",
                _ => name,
            };
            vec![("s3", action.to_owned())]
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: &str,
    plan: &Mutex<Plan>,
) -> io::Result<Response<Full<Bytes>>> {
    let name = name(&request);
    let fault = {
        let mut plan = lock(plan);
        plan.seen.push(name.clone());
        if name.contains(plan.of) { plan.faults.pop_front().unwrap_or(Fault::None) } else { Fault::None }
    };
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let taken = actions(&parts, &name, &body).into_iter();
    lock(plan).actions.extend(taken.map(|(service, action)| (service, action, body.clone())));
    let forwarded = |body: Bytes| {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        if parts.method != Method::GET {
            request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        }
        forward(peer, request)
    };
    let wrong = || plain(StatusCode::INTERNAL_SERVER_ERROR, &json!({"__type": "InternalServerError"}));
    match fault {
        Fault::None => {
            let answer = forwarded(body.clone()).await?;
            // That an object is missing S3 tells only who may list the bucket.
            let is_object = name.starts_with("GET /");
            if is_object && answer.status() == StatusCode::NOT_FOUND {
                lock(plan).actions.push(("s3", "ListBucket".to_owned(), body));
            }
            Ok(answer)
        }
        Fault::Throttled => Ok(plain(
            StatusCode::BAD_REQUEST,
            &json!({"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                "message": "on purpose"}),
        )),
        Fault::Failed => Ok(wrong()),
        Fault::FailedAfter => forwarded(body).await.map(|_| wrong()),
        Fault::Cut => {
            forwarded(body).await?;
            Err(io::Error::other("cut off on purpose"))
        }
        Fault::RefusedWith(text) if String::from_utf8_lossy(&body).contains(text) => Ok(plain(
            StatusCode::BAD_REQUEST,
            &json!({"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": "on purpose"}),
        )),
        Fault::RefusedWith(_) => forwarded(body).await,
        Fault::PartUnconfirmed(count) => {
            let mut asked: Value = serde_json::from_slice(&body)?;
            let entries = asked["Entries"].as_array_mut().unwrap();
            let dropped = entries.drain(..count).count();
            let is_left = !entries.is_empty();
            let mut answered = json!({"Successful": [], "Entries": [], "Failed": []});
            if is_left {
                let answer = forwarded(serde_json::to_vec(&asked)?.into()).await?;
                let body = answer.into_body().collect().await.unwrap_or_else(|never| match never {});
                answered = serde_json::from_slice(&body.to_bytes())?;
            }
            if name == "PutEvents" {
                let entries = answered["Entries"].as_array_mut().unwrap();
                (0..dropped).for_each(|_| entries.insert(0, json!({})));
            }
            Ok(plain(StatusCode::OK, &answered))
        }
        Fault::PartUnprocessed(count) => {
            let mut asked: Value = serde_json::from_slice(&body)?;
            let mut left = asked["RequestItems"].clone();
            for (table, keys) in asked["RequestItems"].as_object_mut().unwrap() {
                let keys = keys["Keys"].as_array_mut().unwrap();
                left[table]["Keys"] = keys.drain(..count).collect();
            }
            let answer = forwarded(serde_json::to_vec(&asked)?.into()).await?;
            let answered = answer.into_body().collect().await.unwrap_or_else(|never| match never {});
            let mut answered: Value = serde_json::from_slice(&answered.to_bytes())?;
            answered["UnprocessedKeys"] = left;
            Ok(plain(StatusCode::OK, &answered))
        }
        Fault::PartThrottled(count) => {
            let mut asked: Value = serde_json::from_slice(&body)?;
            let (list, answers) = match name.as_str() {
                "BatchExecuteStatement" => ("Statements", "Responses"),
                "PutEvents" => ("Entries", "Entries"),
                _ => ("Entries", "Failed"),
            };
            let refused: Vec<Value> = asked[list].as_array_mut().unwrap().drain(..count).collect();
            let answer = forwarded(serde_json::to_vec(&asked)?.into()).await?;
            let answered = answer.into_body().collect().await.unwrap_or_else(|never| match never {});
            let mut answered: Value = serde_json::from_slice(&answered.to_bytes())?;
            let found = answered[answers].as_array().cloned().unwrap_or_default();
            let thrown = refused.iter().map(|entry| match list {
                "Entries" if name == "PutEvents" => json!({"ErrorCode": "ThrottlingException"}),
                "Statements" => json!({"Error": {"Code": "ThrottlingError", "Message": "on purpose"}}),
                _ => json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}),
            });
            answered[answers] = thrown.chain(found).collect();
            Ok(plain(StatusCode::OK, &answered))
        }
    }
}

fn plain(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    answer
}

/// Hands a request on.
pub async fn forward(peer: &str, request: Request<Full<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
    let connection = TcpStream::connect(peer).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    // The body is whole now, however it came.
    parts.headers.remove(header::TRANSFER_ENCODING);
    Ok::<_, Infallible>(Response::from_parts(parts, Full::new(body))).map_err(|never| match never {})
}
