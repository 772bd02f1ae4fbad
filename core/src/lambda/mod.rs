//! The runtime of Lambda functions: one event in, the pipeline, one answer out.
//!
//! A function is a [`Function`] of a choreography: a step, a route, or the relay. One binary serves all of a system's
//! ([`main`]). It is named `<system>-functions`, so that it is found where the functions are packaged.
//!
//! # Environment
//!
//! The infrastructure sets all of it. What is missing or wrong is reported by name as an error of the init phase.
//!
//! | variable | what |
//! | --- | --- |
//! | `QUADRILLE_FUNCTION` | which function a process is: the name of a handler, or `relay` |
//! | `QUADRILLE_TABLE_<NAME>`, and `QUEUE`, `BUCKET`, `TOPIC`, `BUS` in place of `TABLE` | the physical names of what it [needs](Needs) |
//! | `QUADRILLE_<SETTING>` | a [setting](crate::setting) that its handler reads, itself or by a service |
//! | `QUADRILLE_<SETTING>_SECRET` | of a setting that is a secret: the ARN or name of the secret in Secrets Manager |
//!
//! [`connect`](Runtime::connect) belongs to the init phase, which Lambda gives a whole processor: it checks the environment
//! and builds the SDK's clients, once.
//!
//! # What it takes
//!
//! | function | event | answer |
//! | --- | --- | --- |
//! | step | SQS batch | `batchItemFailures`: what is not to be deleted |
//! | step of a stream | DynamoDB stream batch, or SQS batch | `batchItemFailures`: the first record that has to come again |
//! | step of a topic | SNS notification, or the same by SQS | none; an error has Lambda try again |
//! | route | API Gateway HTTP API, payload 2.0, or a function URL | status, headers, body |
//! | route | bare JSON, of a program that invokes the function itself | the body of the answer; an error where that is none of 2xx |
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

mod awaited;
mod direct;
mod http;
mod log;
mod metric;
mod queue;
pub mod secret;
mod stream;
#[cfg(test)]
mod tests;
mod topic;
mod trace;

pub use log::init_logging;

use crate::{
    aws::{self, Names, NamesError, Needs},
    choreography::Choreography,
    failure::Failure,
    http::Problem,
    infrastructure::{self, Infrastructure},
    metrics::Meter,
    model::{DefinitionErrors, FUNCTION, Model},
    pipeline::{Invocation, Pipeline},
    port::Ports,
    setting::{Place, SettingError, SettingErrors, SettingModel, Settings},
    system::System,
    timestamp::Timestamp,
};
use aws_lambda_events::{sqs::SqsBatchResponse, streams::DynamoDbEventResponse};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use lambda_runtime_api_client::{Client, body::Body};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    io::Write as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::Instrument as _;

/// The part of a choreography that one Lambda function runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// The handler of events of that name.
    Step(String),
    /// The handler of requests of that name.
    Route(String),
    /// The relay of the change stream.
    Relay,
}

impl Function {
    /// The function of that name: a handler's, or `relay`.
    pub fn find(model: &Model, name: &str) -> Option<Self> {
        if name == infrastructure::RELAY {
            return Some(Self::Relay);
        }
        if model.step(name).is_some() {
            return Some(Self::Step(name.to_owned()));
        }
        let is_route = model.routes.iter().any(|route| route.step == name);
        is_route.then(|| Self::Route(name.to_owned()))
    }

    /// Its name in logs and metrics.
    pub fn name(&self) -> &str {
        match self {
            Self::Step(name) | Self::Route(name) => name,
            Self::Relay => infrastructure::RELAY,
        }
    }
}

/// Why a function can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The environment does not say which function the process is.
    #[error(
        "the environment lacks {}: set it to a function of the choreography {choreography:?}, one of {}",
        FUNCTION,
        .known.join(", ")
    )]
    NoFunction {
        /// The choreography.
        choreography: String,
        /// The functions that it has.
        known: Vec<String>,
    },
    /// The choreography has no function of that name.
    #[error(
        "{}={name:?} is no function of the choreography {choreography:?}: set it to one of {}",
        FUNCTION,
        .known.join(", ")
    )]
    NoSuchFunction {
        /// The choreography.
        choreography: String,
        /// The name asked for.
        name: String,
        /// The functions that it has.
        known: Vec<String>,
    },
    /// The definition has mistakes.
    #[error(transparent)]
    Definition(#[from] DefinitionErrors),
    /// The environment lacks names of resources.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// Settings are missing or wrong.
    #[error(transparent)]
    Settings(#[from] SettingErrors),
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    /// Lambda's runtime API failed.
    #[error("the runtime API: {0}")]
    Runtime(#[source] lambda_runtime::Error),
}

impl StartError {
    /// Its name, as Lambda is told it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoFunction { .. } => "NoFunction",
            Self::NoSuchFunction { .. } => "NoSuchFunction",
            Self::Definition(_) => "Definition",
            Self::Names(_) => "Names",
            Self::Settings(_) => "Settings",
            Self::Secret(_) => "Secret",
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
    /// Secrets that may be left out and had no value.
    awaited: Option<awaited::Awaited>,
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
    Direct(Box<RawValue>),
    Queue(SqsBatchResponse),
    Stream(DynamoDbEventResponse),
    Nothing(()),
}

/// What the records of a stream say of where they come from.
const DYNAMODB: &str = "aws:dynamodb";

/// An event of a step or the relay: records, each read by itself and no further than it is needed.
#[derive(Deserialize)]
struct Records<'a> {
    #[serde(rename = "Records", default, borrow)]
    records: Vec<&'a RawValue>,
}

/// A record, as far as is needed to tell where it comes from.
#[derive(Default, Deserialize)]
struct Source<'a> {
    #[serde(rename = "EventSource", default, borrow)]
    sns: Option<&'a RawValue>,
    #[serde(rename = "eventSource", default, borrow)]
    other: Option<Cow<'a, str>>,
}

impl Runtime {
    /// Checks the environment for what `function` needs, builds the clients of its ports, and makes the services that its
    /// handler uses. The only calls are for secrets.
    ///
    /// # Errors
    /// [`StartError`]: no such handler, missing variables, all of them named, or a setting that is wrong.
    pub async fn connect(choreography: Choreography, function: Function) -> Result<Self, StartError> {
        let model = Arc::clone(choreography.model());
        let no_such = || StartError::NoSuchFunction {
            choreography: model.name.clone(),
            name: function.name().to_owned(),
            known: Infrastructure::functions(&model),
        };
        let needs = match &function {
            Function::Step(name) | Function::Route(name) => {
                let same = Function::find(&model, name).filter(|found| *found == function);
                same.and_then(|_| Needs::of_step(&model, name))
            }
            Function::Relay => Some(Needs::of_relay(&model)),
        };
        let names = Names::from_environment(&model, &needs.ok_or_else(no_such)?)?;
        let config = aws::configuration().load().await;
        let ports = aws::ports(&model, &names, &config);
        let Told { settings, awaited } = settings(&model, function.name(), &config).await?;
        let equipped = choreography.equip_for(function.name(), ports, settings);
        let ports = equipped.map_err(SettingErrors::from)?;
        let now = ports.clock.now();
        let awaited = (awaited > 0).then(|| awaited::Awaited::new(names, config, awaited, now));
        Ok(Self { awaited, ..Self::new(Pipeline::new(choreography, ports), function) })
    }

    /// `function` over the ports of `pipeline`.
    pub fn new(pipeline: Pipeline, function: Function) -> Self {
        Self { pipeline, function, is_cold: AtomicBool::new(true), awaited: None }
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
        let trace_id = traceparent.as_deref().and_then(crate::trace::trace_id).unwrap_or_default();
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
        let current = match &self.awaited {
            Some(awaited) => awaited.look(&self.pipeline, &self.function, began).await,
            None => None,
        };
        let pipeline = current.as_ref().unwrap_or(&self.pipeline).during(Invocation {
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
        match &self.function {
            Function::Route(step) => {
                let Some(event) = http::event(payload)? else {
                    return direct::answer(pipeline, step, payload, deadlines).await.map(Answer::Direct);
                };
                let answering = http::answer(pipeline, step, event);
                let late = || Problem::new(503, "timeout", "no answer in time; it is safe to send it again");
                Ok(Answer::Http(match within(pipeline, deadlines, answering).await {
                    Some(answer) => answer,
                    None => http::Answer::from(crate::http::Response::from(late())),
                }))
            }
            Function::Relay => {
                let Records { records } = read(payload)?;
                Ok(Answer::Stream(stream::forward(pipeline, &records, deadlines).await))
            }
            Function::Step(step) => {
                let Records { records } = read(payload)?;
                // All come from one place, which the first that tells of it tells for all.
                let mut source = records.iter().filter_map(|record| serde_json::from_str(record.get()).ok());
                let source =
                    source.find(|source: &Source<'_>| source.sns.is_some() || source.other.is_some());
                let Source { sns, other } = source.unwrap_or_default();
                if sns.is_some() {
                    let told = topic::deliver(pipeline, step, &records, deadlines).await;
                    return told.map(|()| Answer::Nothing(()));
                }
                if other.as_deref() == Some(DYNAMODB) {
                    return stream::deliver(pipeline, step, &records, deadlines).await.map(Answer::Stream);
                }
                queue::deliver(pipeline, step, &records, deadlines).await.map(Answer::Queue)
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
            Self::Http(_) | Self::Direct(_) | Self::Nothing(()) => 0,
        }
    }
}

/// Reads an event. One of another shape is an error of the deployment: the function hangs on the wrong source.
fn read<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, Failure> {
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

/// The settings of a function.
struct Told {
    settings: Settings,
    /// Secrets that have no value yet, and may be left out.
    awaited: usize,
}

/// The settings that a function reads: from its environment, and secrets from Secrets Manager.
async fn settings(model: &Model, function: &str, config: &aws_config::SdkConfig) -> Result<Told, StartError> {
    let variable = |setting: &SettingModel| {
        std::env::var(setting.function_variable()).ok().filter(|value| !value.is_empty())
    };
    let mut secrets = BTreeMap::new();
    let mut missing = Vec::new();
    let mut needed = model.settings_of(function);
    for setting in needed.extract_if(.., |setting| setting.is_secret && variable(setting).is_none()) {
        // Also of one that may be left out: the infrastructure makes the secret, whose value may be left out.
        missing.push(SettingError::Missing {
            name: setting.function_variable(),
            expected: "the name or ARN of a secret in Secrets Manager".to_owned(),
            about: setting.about.clone(),
        });
    }
    for setting in needed.iter().filter(|setting| setting.is_secret) {
        if let Some(id) = variable(setting) {
            secrets.extend(secret::read(config, &id).await?.map(|value| (&setting.name, value)));
        }
    }
    let read = |setting: &SettingModel| {
        if setting.is_secret { secrets.get(&setting.name).cloned() } else { variable(setting) }
    };
    let awaited = needed.iter().filter(|setting| setting.is_secret && !secrets.contains_key(&setting.name));
    let awaited = awaited.count();
    match Settings::read(Place::Function, needed.iter().copied(), read) {
        Ok(settings) if missing.is_empty() => Ok(Told { settings, awaited }),
        Ok(_) => Err(SettingErrors(missing).into()),
        Err(SettingErrors(wrong)) => Err(SettingErrors(missing.into_iter().chain(wrong).collect()).into()),
    }
}

/// Runs the function of `system` that the environment names, until its process ends: the one line of `main` of a binary that
/// serves all of a system's functions.
///
/// ```no_run
/// # use quadrille::{Choreography, Definition, System};
/// # struct TeaShop;
/// # impl System for TeaShop {
/// #     fn name(&self) -> &'static str { "tea-shop" }
/// #     fn about(&self) -> &'static str { "" }
/// #     fn define(&self) -> Definition { Choreography::define(self.name()) }
/// # }
/// fn main() -> std::process::ExitCode {
///     quadrille::lambda::main(&TeaShop)
/// }
/// ```
pub fn main(system: &dyn System) -> ExitCode {
    // Where a host has logs of its own, those stay.
    init_logging(&[system.log_target()]);
    // One thread: a function has a fraction of a processor, and works one event at a time.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(system)),
        Err(error) => {
            // Nothing is there to report it by but standard error.
            eprintln!("no asynchronous runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Connects and serves; reports what prevents it. For a `main` with a runtime of its own, whose exit code it gives.
pub async fn run(system: &dyn System) -> ExitCode {
    let ended = async {
        let choreography = system.define().build()?;
        let function = named(choreography.model())?;
        Runtime::connect(choreography, function).await?.serve().await
    };
    ended_as(ended.await).await
}

/// The function that the environment names.
fn named(model: &Model) -> Result<Function, StartError> {
    let (choreography, known) = (model.name.clone(), Infrastructure::functions(model));
    let name = std::env::var(FUNCTION).ok().filter(|name| !name.is_empty());
    let Some(name) = name else { return Err(StartError::NoFunction { choreography, known }) };
    Function::find(model, &name).ok_or(StartError::NoSuchFunction { choreography, name, known })
}

/// The exit code of a function that ended so; an error is reported as one of the init phase.
pub async fn ended_as(ended: Result<(), StartError>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_init_error(&error, error.name()).await;
            ExitCode::FAILURE
        }
    }
}
