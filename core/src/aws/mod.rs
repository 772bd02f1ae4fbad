//! The adapters of AWS: DynamoDB, SQS, S3, SNS and EventBridge behind the [`ports`](crate::port).
//!
//! A process says what it [`Needs`] of a model, reads their [`Names`] from the environment, and connects once, before
//! its first invocation:
//!
//! ```no_run
//! use quadrille::{aws::{self, Names, Needs}, choreography::Model, port::Ports};
//!
//! async fn ports(model: &Model) -> Result<Ports, aws::NamesError> {
//!     let names = Names::from_environment(model, &Needs::everything(model))?;
//!     Ok(aws::connect(model, &names).await)
//! }
//! ```
//!
//! The change stream is not among the ports: Lambda reads it and invokes the relay with its records.
//!
//! # Retries and timeouts
//!
//! Each call is tried at most [`ATTEMPTS_MAX`] times, the first included, by the SDK's standard retry mode: throttling,
//! internal errors and connections that break are tried again after a wait with jitter. A connection has
//! [`CONNECT_TIMEOUT`], an attempt [`ATTEMPT_TIMEOUT`], a call with all its attempts [`CALL_TIMEOUT`], which is well below
//! the timeout of a function that uses it. What then still fails is a transient [`PortError`](crate::port::PortError). So
//! is whatever is the fault of the deployment and not of the call: a permission that is missing as yet, a table that is
//! not there. A message that meets it comes again, and goes to the dead-letter queue only after its last attempt. A call
//! that the service calls wrong itself is a permanent one. The body of an object is read after its attempt: the SDK's stalled
//! stream protection gives it up, whatever the configuration says of that.

//!
//! # Permissions
//!
//! What a process [`Needs`] says how it uses each table, queue, bucket, topic and event bus, and each use which actions it takes:
//! [`TableUse::actions`](crate::model::TableUse::actions), and so on. An operator needs `dynamodb:Scan` as well. What
//! Lambda needs to read a stream comes on top.

mod batch;
mod bucket;
mod bus;
mod fault;
mod outbox;
mod queue;
mod shown;
pub mod table;
mod topic;

pub use crate::needs::{Names, NamesError, Needs};
pub use fault::is_denied;

use crate::{
    model::{Model, TableModel},
    port::{Bucket, Bus, Clock, Ports, Queue, Random, SystemClock, SystemRandom, Table, Topic},
    services::Services,
};
use aws_config::{
    BehaviorVersion, ConfigLoader, SdkConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bucket::S3Bucket;
use bus::EventBridgeBus;
use fault::Pace;
use queue::SqsQueue;
use std::{cell::LazyCell, collections::BTreeMap, sync::Arc, time::Duration};
use table::DynamoTable;
use topic::SnsTopic;

/// How often a call is tried, the first time included.
pub const ATTEMPTS_MAX: u32 = 4;

/// How long a connection may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long one attempt of a call may take. A receive that waits for messages has its wait on top.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a call may take with all its attempts. A receive that waits for messages has its wait on top.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// What [`connect`] gives the SDK to go by: an HTTPS client on rustls with ring, and the retries and timeouts of this
/// [module](self). Region, credentials and `AWS_ENDPOINT_URL` come from the environment once it is loaded, unless they
/// are set on it before.
pub fn configuration() -> ConfigLoader {
    let client =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(2));
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .timeout_config(timeouts)
        .retry_config(retries)
        // An attempt's time holds its answer, read to the end. To watch the speed of each body besides costs timers and copies.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// Opens the ports of `model` as far as `names` has some for them, with the SDK's clients built from
/// [`configuration`]. Makes no call.
pub async fn connect(model: &Model, names: &Names) -> Ports {
    ports(model, names, &configuration().load().await)
}

/// Opens the ports of `model` as far as `names` has some for them, with one client a service built from `config`, which
/// needs an HTTP client: [`configuration`] has one. Makes no call.
///
/// With an endpoint of one's own, buckets are named in the path and not in the host.
pub fn ports(model: &Model, names: &Names, config: &SdkConfig) -> Ports {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let pace = Pace::new(Arc::clone(&clock), Arc::clone(&random));
    // A client that no port needs is not built: a function's cold start would pay for it.
    let dynamodb = LazyCell::new(|| aws_sdk_dynamodb::Client::new(config));
    let table = |model: &TableModel, physical: &String| -> Arc<dyn Table> {
        Arc::new(DynamoTable::new((*dynamodb).clone(), model, physical.clone(), pace.clone()))
    };
    let tables = model.tables.iter().filter_map(|model| {
        let physical = names.tables.get(&model.name)?;
        Some((model.name.clone(), table(model, physical)))
    });
    let sqs = LazyCell::new(|| aws_sdk_sqs::Client::new(config));
    let queue = |name: &String, url: &String| -> Arc<dyn Queue> {
        Arc::new(SqsQueue::new((*sqs).clone(), name.clone(), url.clone(), pace.clone()))
    };
    // Nobody resolves the name of a bucket before that of an endpoint of one's own.
    let is_local = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let s3 = LazyCell::new(|| {
        // An object comes as a stream, behind the end of its attempt: one that stands still has to be given up.
        let watched = StalledStreamProtectionConfig::enabled().upload_enabled(false).build();
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(is_local)
            .stalled_stream_protection(watched);
        aws_sdk_s3::Client::from_conf(s3.build())
    });
    let bucket = |name: &String, physical: &String| -> Arc<dyn Bucket> {
        Arc::new(S3Bucket::new((*s3).clone(), name.clone(), physical.clone(), pace.clone()))
    };
    let sns = LazyCell::new(|| aws_sdk_sns::Client::new(config));
    let topic = |name: &String, arn: &String| -> Arc<dyn Topic> {
        Arc::new(SnsTopic::new((*sns).clone(), name.clone(), arn.clone(), pace.clone()))
    };
    let eventbridge = LazyCell::new(|| aws_sdk_eventbridge::Client::new(config));
    let bus = |name: &String, physical: &String| -> Arc<dyn Bus> {
        Arc::new(EventBridgeBus::new((*eventbridge).clone(), name.clone(), physical.clone(), pace.clone()))
    };
    Ports {
        tables: tables.collect(),
        streams: BTreeMap::new(),
        queues: open(model.queues.iter().map(|model| &model.name), &names.queues, queue),
        buckets: open(model.buckets.iter().map(|model| &model.name), &names.buckets, bucket),
        topics: open(model.topics.iter().map(|model| &model.name), &names.topics, topic),
        buses: open(model.buses.iter().map(|model| &model.name), &names.buses, bus),
        published: BTreeMap::new(),
        clock,
        random,
        services: Services::new(),
        settings: Arc::default(),
    }
}

/// A port for each name of the model that has a physical one.
fn open<'a, P: ?Sized>(
    names: impl Iterator<Item = &'a String>,
    physical: &BTreeMap<String, String>,
    port: impl Fn(&String, &String) -> Arc<P>,
) -> BTreeMap<String, Arc<P>> {
    names.filter_map(|name| Some((name.clone(), port(name, physical.get(name)?)))).collect()
}
