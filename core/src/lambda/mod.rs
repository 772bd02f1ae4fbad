//! The runtime of Lambda functions: one event in, the pipeline, one answer out.
//!
//! A function is a [`Function`] of a choreography: a step, a route, or the relay. Its binary builds the choreography,
//! connects and serves:
//!
//! ```no_run
//! # use quadrille::{Choreography, lambda::{Function, Runtime, StartError}};
//! async fn run(choreography: Choreography) -> Result<(), StartError> {
//!     Runtime::connect(choreography, Function::Step("store_result")).await?.serve().await
//! }
//! ```
//!
//! [`connect`](Runtime::connect) belongs to the init phase, which Lambda gives a whole processor: it checks the environment
//! and builds the SDK's clients, once.
//!
//! # What it takes
//!
//! | function | event | answer |
//! | --- | --- | --- |
//! | step | SQS batch | `batchItemFailures`: what is not to be deleted |
//! | step of a topic | SNS notification, or the same by SQS | none; an error has Lambda try again |
//! | route | API Gateway HTTP API, payload 2.0, or a function URL | status, headers, body |
//! | relay | DynamoDB stream batch | `batchItemFailures`: the first record that was not sent on |
//!
//! The event source mappings need `ReportBatchItemFailures`.
//!
//! # Time
//!
//! Some time before the function's own deadline nothing more is begun, and what is not done by then is reported failed
//! ([`reserve`]): a timeout of the function would take the whole batch with it.
//!
//! # Logs and metrics
//!
//! [`init_logging`] writes logs as lines of JSON to standard output; each invocation's metrics follow as lines of
//! CloudWatch's Embedded Metric Format.

mod http;
mod log;
mod metric;
mod queue;
mod stream;
mod topic;
mod trace;

pub use log::init_logging;

use crate::{
    Choreography, Failure, Invocation, Pipeline, Timestamp,
    aws::{self, Needs, Settings, SettingsError},
    http::Problem,
    metrics::Meter,
    port::Ports,
};
use aws_lambda_events::{
    apigw::ApiGatewayV2httpRequest,
    dynamodb, sns,
    sqs::{SqsBatchResponse, SqsEvent},
    streams::DynamoDbEventResponse,
};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use lambda_runtime_api_client::{Client, body::Body};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    fmt,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::Instrument as _;

/// The part of a choreography that one Lambda function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The handler of events of that name.
    Step(&'static str),
    /// The handler of requests of that name.
    Route(&'static str),
    /// The relay of the change stream.
    Relay,
}

impl Function {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step(name) | Self::Route(name) => name,
            Self::Relay => "relay",
        }
    }
}

/// Why a function can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The choreography has no handler of that name.
    #[error("the choreography {choreography:?} has no handler {name:?}")]
    NoSuchFunction {
        /// The choreography.
        choreography: String,
        /// The name asked for.
        name: &'static str,
    },
    /// The environment lacks names of resources.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Lambda's runtime API failed.
    #[error("the runtime API: {0}")]
    Runtime(#[source] lambda_runtime::Error),
}

impl StartError {
    /// Its name, as Lambda is told it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoSuchFunction { .. } => "NoSuchFunction",
            Self::Settings(_) => "Settings",
            Self::Runtime(_) => "Runtime",
        }
    }
}

/// Of `left`, the time until the function's deadline, how much is kept for ending in order: a tenth, at least 200 ms, at
/// most 3 s. Nothing is begun in it. The last third of it is kept for the answer alone: what still runs then is given up.
pub fn reserve(left: Duration) -> Duration {
    (left / 10).clamp(Duration::from_millis(200), Duration::from_secs(3))
}

/// A function that is connected and ready to serve.
#[derive(Debug)]
pub struct Runtime {
    pipeline: Pipeline,
    function: Function,
    is_cold: AtomicBool,
}

/// Until when an invocation may do what.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    /// Nothing is begun after this.
    soft: Timestamp,
    /// The answer is given now.
    hard: Timestamp,
}

impl Deadlines {
    fn of(function_deadline: Timestamp, now: Timestamp) -> Self {
        let reserve = reserve(function_deadline.since(now));
        let before = |time: Duration| {
            Timestamp::from_millis(
                function_deadline
                    .as_millis()
                    .saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            )
        };
        Self { soft: before(reserve), hard: before(reserve / 3) }
    }
}

/// What a function answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Http(http::Answer),
    Queue(SqsBatchResponse),
    Stream(DynamoDbEventResponse),
    Nothing(()),
}

/// An event of a step, as far as is needed to tell where it comes from.
#[derive(Deserialize)]
struct Source {
    #[serde(rename = "Records", default)]
    records: Vec<SourceRecord>,
}

#[derive(Deserialize)]
struct SourceRecord {
    #[serde(rename = "EventSource")]
    sns: Option<String>,
}

impl Runtime {
    /// Checks the environment for what `function` needs, and builds the clients of its ports. Makes no call.
    ///
    /// # Errors
    /// [`StartError`]: no such handler, or missing variables, all of them named.
    pub async fn connect(choreography: Choreography, function: Function) -> Result<Self, StartError> {
        let model = choreography.model();
        let needs = match function {
            Function::Step(name) => model.step(name).and_then(|_| Needs::of_step(model, name)),
            Function::Route(name) => {
                let is_route = model.routes.iter().any(|route| route.step == name);
                is_route.then(|| Needs::of_step(model, name)).flatten()
            }
            Function::Relay => Some(Needs::of_relay(model)),
        };
        let needs = needs.ok_or_else(|| StartError::NoSuchFunction {
            choreography: model.name.clone(),
            name: function.name(),
        })?;
        let ports = aws::connect(model, &Settings::from_environment(&needs)?).await;
        Ok(Self::new(Pipeline::new(choreography, ports), function))
    }

    /// `function` over the ports of `pipeline`.
    pub fn new(pipeline: Pipeline, function: Function) -> Self {
        Self { pipeline, function, is_cold: AtomicBool::new(true) }
    }

    /// The ports it works over.
    pub fn ports(&self) -> &Arc<Ports> {
        self.pipeline.ports()
    }

    /// Serves invocations for as long as the process lives.
    ///
    /// # Errors
    /// [`StartError::Runtime`] where Lambda's runtime API fails.
    pub async fn serve(self) -> Result<(), StartError> {
        let runtime = Arc::new(self);
        // Any JSON: what it is to be depends on the function.
        let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
            let runtime = Arc::clone(&runtime);
            async move { runtime.invoked(event).await }
        });
        // As a task: each wake of the future that tokio's runtime blocks on has it look for events of the system.
        let served = tokio::spawn(lambda_runtime::Runtime::new(service).run());
        served.await.map_err(|error| StartError::Runtime(error.into()))?.map_err(StartError::Runtime)
    }

    async fn invoked(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Answer, Diagnostic> {
        let LambdaEvent { payload, context, .. } = event;
        let clock = &self.ports().clock;
        let began = clock.now();
        let is_cold = self.is_cold.swap(false, Ordering::Relaxed);
        let traceparent = context.xray_trace_id.as_deref().and_then(trace::traceparent);
        let trace_id = traceparent.as_deref().and_then(crate::event::trace_id).unwrap_or_default();
        let span = tracing::info_span!(
            "invocation",
            function = self.function.name(),
            request_id = context.request_id,
            trace_id,
            cold_start = is_cold
        );
        let meter = Meter::gathering();
        let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        let deadlines = Deadlines::of(deadline, began);
        let pipeline = self.pipeline.during(Invocation {
            deadline: Some(deadlines.soft),
            traceparent,
            meter: meter.clone(),
        });
        let answered = async {
            let answered = self.answer(&pipeline, payload.get(), deadlines).await;
            let took_ms = u64::try_from(clock.now().since(began).as_millis()).unwrap_or(u64::MAX);
            match &answered {
                Ok(answer) => tracing::info!(took_ms, failed = answer.failed(), "invoked"),
                Err(failure) => tracing::error!(took_ms, %failure, "the invocation failed"),
            }
            answered
        };
        let answered = answered.instrument(span).await;
        self.write_metrics(&meter, &context, is_cold);
        answered.map_err(|failure| Diagnostic {
            error_type: failure.reason().to_owned(),
            error_message: failure.to_string(),
        })
    }

    async fn answer(
        &self,
        pipeline: &Pipeline,
        payload: &str,
        deadlines: Deadlines,
    ) -> Result<Answer, Failure> {
        match self.function {
            Function::Route(step) => {
                let event: ApiGatewayV2httpRequest = read(payload)?;
                let answering = http::answer(pipeline, step, event);
                let late = || Problem::new(503, "timeout", "no answer in time; it is safe to send it again");
                Ok(Answer::Http(match within(pipeline, deadlines, answering).await {
                    Some(answer) => answer,
                    None => http::Answer::from(crate::http::Response::from(late())),
                }))
            }
            Function::Relay => {
                let event: dynamodb::Event = read(payload)?;
                Ok(Answer::Stream(stream::forward(pipeline, event, deadlines).await))
            }
            Function::Step(step) => {
                let source: Source = read(payload)?;
                if source.records.iter().any(|record| record.sns.is_some()) {
                    let event: sns::SnsEvent = read(payload)?;
                    return topic::deliver(pipeline, step, event, deadlines)
                        .await
                        .map(|()| Answer::Nothing(()));
                }
                let event: SqsEvent = read(payload)?;
                queue::deliver(pipeline, step, event, deadlines).await.map(Answer::Queue)
            }
        }
    }

    fn write_metrics(&self, meter: &Meter, context: &lambda_runtime::Context, is_cold: bool) {
        let measured = meter.take();
        if measured.is_empty() {
            return;
        }
        let about = metric::About {
            choreography: &self.pipeline.choreography().model().name,
            function: &context.env_config.function_name,
            step: self.function.name(),
            request_id: &context.request_id,
            is_cold,
            at: self.ports().clock.now(),
        };
        let lines = metric::lines(&about, &measured);
        // Nothing better to do where standard output is gone.
        let _ = std::io::stdout().lock().write_all(lines.as_bytes());
    }
}

impl Answer {
    /// How many of a batch it reports failed.
    fn failed(&self) -> usize {
        match self {
            Self::Queue(response) => response.batch_item_failures.len(),
            Self::Stream(response) => response.batch_item_failures.len(),
            Self::Http(_) | Self::Nothing(()) => 0,
        }
    }
}

/// Reads an event. One of another shape is an error of the deployment: the function hangs on the wrong source.
fn read<T: DeserializeOwned>(payload: &str) -> Result<T, Failure> {
    serde_json::from_str(payload).map_err(|error| {
        Failure::permanent(
            "unexpected_event",
            format_args!("not an event of this function's source: {error}"),
        )
    })
}

/// What `work` gives; `None` where it has to be given up so that there is still an answer.
async fn within<T>(pipeline: &Pipeline, deadlines: Deadlines, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = pipeline.ports().clock.sleep_until(deadlines.hard) => {
            tracing::error!("given up: the function's time is over");
            None
        }
    }
}

/// Tells Lambda, and the log, why the init phase failed. The process should end then, with an exit code that is not 0.
pub async fn report_init_error(error: &(dyn fmt::Display + Sync), error_type: &str) {
    tracing::error!(error_type, %error, "the function can not start");
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Report<'a> {
        error_type: &'a str,
        error_message: String,
    }
    // Without the API there is nobody to tell; the log has it.
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    let report = Report { error_type, error_message: error.to_string() };
    let told = async {
        let request = ::http::Request::post("/2018-06-01/runtime/init/error")
            .header("lambda-runtime-function-error-type", format!("Quadrille.{error_type}"))
            .header("content-type", "application/json")
            .body(Body::from(serde_json::to_vec(&report)?))?;
        Client::builder().build()?.call(request).await
    };
    if let Err(error) = told.await {
        tracing::error!(%error, "the runtime API could not be told");
    }
}

/// Connects and serves; reports what prevents it. For `main`, whose exit code it gives.
pub async fn run(choreography: Choreography, function: Function) -> std::process::ExitCode {
    let ended = async { Runtime::connect(choreography, function).await?.serve().await };
    ended_as(ended.await).await
}

/// The exit code of a function that ended so; an error is reported as one of the init phase.
pub async fn ended_as(ended: Result<(), StartError>) -> std::process::ExitCode {
    match ended {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            report_init_error(&error, error.name()).await;
            std::process::ExitCode::FAILURE
        }
    }
}
