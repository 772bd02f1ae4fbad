//! A function's process, and the Lambda Runtime API that it asks for events
//! (docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).

#![allow(dead_code)] // Each test binary uses a part of it.

use crate::server::{Server, response};
use bytes::Bytes;
use hyper::{Method, Request, Response};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc},
};

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What X-Ray would send along.
pub const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// The same as W3C trace context: its trace id.
pub const TRACE_ID: &str = "5759e988bd862e3fe1be46a994272793";

/// An event that is waiting for the function.
struct Waiting {
    id: String,
    event: String,
    deadline: SystemTime,
}

/// What a function said.
#[derive(Debug)]
enum Said {
    Response(String, Value),
    Error(String, Value),
    InitError(String, Value),
}

/// A function, running.
pub struct Function {
    child: Child,
    events: mpsc::UnboundedSender<Waiting>,
    said: mpsc::UnboundedReceiver<Said>,
    lines: Arc<Mutex<Vec<String>>>,
    printed: mpsc::UnboundedReceiver<()>,
    invocations: u32,
    _api: Server,
}

/// The variable that says which function a process is.
pub const FUNCTION: &str = "QUADRILLE_FUNCTION";

impl Function {
    /// Starts the function `name` with `variables` beside those that Lambda sets.
    pub async fn start(name: &str, variables: &BTreeMap<String, String>) -> Self {
        Self::start_of(crate::BINARY, name, variables).await
    }

    /// The same of another system, whose functions are `binary`.
    pub async fn start_of(binary: &str, name: &str, variables: &BTreeMap<String, String>) -> Self {
        let (events, waiting) = mpsc::unbounded_channel::<Waiting>();
        let (say, said) = mpsc::unbounded_channel();
        let waiting = Arc::new(AsyncMutex::new(waiting));
        let api = Server::start(move |request: Request<Bytes>| {
            let (waiting, say) = (Arc::clone(&waiting), say.clone());
            async move { answer(request, &waiting, &say).await }
        })
        .await;
        let mut child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", format!("test-{name}"))
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            .env("AWS_SESSION_TOKEN", "example")
            .env("_HANDLER", "bootstrap")
            .env(FUNCTION, name)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, printed) = mpsc::unbounded_channel();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Some(line) = output.next_line().await.unwrap() {
                kept.lock().unwrap().push(line);
                let _ = told.send(());
            }
        });
        Self { child, events, said, lines, printed, invocations: 0, _api: api }
    }

    /// Hands the function an event with the time that Lambda gives by default, and waits for its answer: `Err` where it
    /// reported an error.
    pub async fn invoke(&mut self, event: &Value) -> Result<Value, Value> {
        self.invoke_within(event, Duration::from_secs(30)).await
    }

    /// The same, for a function that has `time`.
    pub async fn invoke_within(&mut self, event: &Value, time: Duration) -> Result<Value, Value> {
        self.invocations += 1;
        let id = format!("8476a536-e9f4-11e8-9739-{:012}", self.invocations);
        let deadline = SystemTime::now() + time;
        assert!(self.events.send(Waiting { id: id.clone(), event: event.to_string(), deadline }).is_ok());
        match self.said().await {
            Said::Response(to, answer) if to == id => Ok(answer),
            Said::Error(to, error) if to == id => Err(error),
            other => panic!("not an answer to {id}: {other:?}; {:#?}", self.lines()),
        }
    }

    async fn said(&mut self) -> Said {
        let said = tokio::time::timeout(PATIENCE, self.said.recv()).await;
        said.unwrap_or_else(|_| panic!("the function says nothing: {:#?}", self.lines())).unwrap()
    }

    /// Waits for the function to give up before it took an event: the type and the report of its error, and how it ended.
    pub async fn failed_init(mut self) -> (String, Value, ExitStatus) {
        let Said::InitError(error_type, report) = self.said().await else { panic!("it started") };
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (error_type, report, ended)
    }

    /// What it printed so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line, read as JSON, that `is` says it is; waits for it.
    pub async fn line(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let lines = self.lines();
            let found = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|line| is(line));
            if let Some(line) = found {
                return line;
            }
            let more = tokio::time::timeout(PATIENCE, self.printed.recv()).await;
            assert!(matches!(more, Ok(Some(()))), "no line with {what}: {lines:#?}");
        }
    }
}

async fn answer(
    request: Request<Bytes>,
    waiting: &AsyncMutex<mpsc::UnboundedReceiver<Waiting>>,
    say: &mpsc::UnboundedSender<Said>,
) -> Option<Response<http_body_util::Full<Bytes>>> {
    let path = request.uri().path().strip_prefix("/2018-06-01/runtime/").unwrap().to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let body = || serde_json::from_slice::<Value>(request.body()).unwrap();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => {
            // The test is over where nobody sends events any longer.
            let Waiting { id, event, deadline } = waiting.lock().await.recv().await?;
            let mut response = response(200, event);
            let deadline = deadline.duration_since(UNIX_EPOCH).unwrap().as_millis();
            for (name, value) in [
                ("lambda-runtime-aws-request-id", id),
                ("lambda-runtime-deadline-ms", deadline.to_string()),
                (
                    "lambda-runtime-invoked-function-arn",
                    "arn:aws:lambda:us-east-1:123456789012:function:f".into(),
                ),
                ("lambda-runtime-trace-id", XRAY.to_owned()),
            ] {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Some(response)
        }
        (&Method::POST, ["invocation", id, "response"]) => {
            say.send(Said::Response((*id).to_owned(), body())).unwrap();
            Some(response(202, ""))
        }
        (&Method::POST, ["invocation", id, "error"]) => {
            say.send(Said::Error((*id).to_owned(), body())).unwrap();
            Some(response(202, ""))
        }
        (&Method::POST, ["init", "error"]) => {
            let error_type = &request.headers()["lambda-runtime-function-error-type"];
            say.send(Said::InitError(error_type.to_str().unwrap().to_owned(), body())).unwrap();
            Some(response(202, ""))
        }
        other => panic!("the runtime API has no {other:?}"),
    }
}
