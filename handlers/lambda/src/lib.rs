//! The auction as Lambda functions. Each binary names its [`Function`]; [`run`] does the rest: it reads the environment,
//! builds the same choreography as everywhere else, connects, and serves.
//!
//! # Environment
//!
//! What the infrastructure made is told by `QUADRILLE_TABLE_…`, `QUADRILLE_QUEUE_…`, `QUADRILLE_BUCKET_…` and
//! `QUADRILLE_TOPIC_…` (see [`quadrille::aws::Settings`]); the rest by the variables of [`Environment`]. What is missing or
//! wrong is reported by name as an error of the init phase.
#![cfg(feature = "aws")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

mod environment;
mod late;
mod webhook;

pub use environment::{Environment, EnvironmentError, Webhook};
pub use quadrille::lambda::Function;

use late::Late;
use quadrille::{
    choreography::DefinitionErrors,
    lambda::{self, Runtime, StartError},
    port::Bucket,
};
use std::{process::ExitCode, sync::Arc};
use systems::{
    auction::{
        NOTIFY, PLATFORM_BUCKET, auction,
        platform::{AuctionPlatform, BaseUrlError, Elsewhere, HttpPlatform, SimulatedPlatform},
    },
    notify::Notifier,
};
use webhook::WebhookError;

/// A batch is thousands of small texts: with the system's allocator a POST of 100 orders takes a seventh longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The step that asks the platform.
const POLL_AUCTION: &str = "poll_auction";

/// Why a function of the auction can't start.
#[derive(Debug, thiserror::Error)]
enum AuctionError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("QUADRILLE_PLATFORM: {0}")]
    Platform(#[from] BaseUrlError),
    #[error(transparent)]
    Definition(#[from] DefinitionErrors),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error("the platform's bucket: {0}")]
    Bucket(#[from] quadrille::port::PortError),
}

impl AuctionError {
    fn name(&self) -> &'static str {
        match self {
            Self::Environment(_) => "Environment",
            Self::Platform(_) => "Platform",
            Self::Definition(_) => "Definition",
            Self::Start(error) => error.name(),
            Self::Webhook(_) => "Webhook",
            Self::Bucket(_) => "Bucket",
        }
    }
}

/// Runs a function of the auction until its process ends.
pub fn run(function: Function) -> ExitCode {
    lambda::init_logging(&["lambdas", "systems"]);
    // One thread: a function has a fraction of a processor, and works one event at a time.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(function)),
        Err(error) => {
            // Nothing is there to report it by but standard error.
            eprintln!("no asynchronous runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(function: Function) -> ExitCode {
    match start(function).await {
        Ok(runtime) => lambda::ended_as(runtime.serve().await).await,
        Err(error) => {
            lambda::report_init_error(&error, error.name()).await;
            ExitCode::FAILURE
        }
    }
}

/// The init phase.
async fn start(function: Function) -> Result<Runtime, AuctionError> {
    let environment = Environment::read(|name| std::env::var(name).ok())?;
    let mut settings = environment.settings.clone();
    // Bucket and webhook are known once there are clients, which are built of the definition.
    let memory: Late<Arc<dyn Bucket>> = Late::default();
    let notifier: Late<Arc<dyn Notifier>> = Late::default();
    let mut platform: Arc<dyn AuctionPlatform> = Arc::new(Elsewhere);
    if function == Function::Step(POLL_AUCTION) {
        platform = match environment.platform()? {
            environment::Platform::Http(url) => {
                Arc::new(HttpPlatform::new(url, environment.platform_timeout)?)
            }
            environment::Platform::Simulated => {
                settings.platform_bucket = Some(PLATFORM_BUCKET.to_owned());
                let (seed, not_ready) = (environment.seed, environment.not_ready);
                Arc::new(SimulatedPlatform::new(Arc::new(memory.clone()), seed, not_ready))
            }
        };
    }
    let choreography = auction(&settings, platform, vec![(NOTIFY.to_owned(), Arc::new(notifier.clone()))])?;
    let webhook = (function == Function::Step(NOTIFY)).then(|| environment.webhook()).transpose()?;
    let runtime = Runtime::connect(choreography, function).await?;
    if let Some(bucket) = &settings.platform_bucket {
        memory.set(Arc::clone(runtime.ports().bucket(bucket)?));
    }
    if let Some(webhook) = webhook {
        notifier.set(webhook::notifier(webhook).await?);
    }
    Ok(runtime)
}
