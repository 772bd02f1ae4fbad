//! A node: the auction on an open data folder, running or at rest.

use crate::{args::AuctionOptions, error::CommandError};
use quadrille::{
    Backoff, Choreography, Pipeline,
    local::{AlarmPolicy, Local},
    port::{SystemClock, SystemRandom},
};
use std::{path::Path, sync::Arc};
use systems::{
    auction::{
        NOTIFY, Settings, auction,
        infrastructure::SIMULATED,
        platform::{AuctionPlatform, Elsewhere, HttpPlatform, SimulatedPlatform},
    },
    notify::{Nobody, Notifier},
};

/// The name of the folder beside the buckets that the simulated platform remembers in.
const PLATFORM_FOLDER: &str = "platform";

/// The choreography with its open folder.
pub struct Node {
    pub choreography: Choreography,
    pub local: Local,
    pub alarms: AlarmPolicy,
}

impl Node {
    /// Opens `folder` for the auction as `options` say, with `notifiers` subscribed to its alarms.
    pub fn open(
        folder: &Path,
        options: &AuctionOptions,
        notifiers: Vec<(String, Arc<dyn Notifier>)>,
    ) -> Result<Self, CommandError> {
        let remote = remote_platform(options)?;
        let settings = settings(options);
        let model = auction(&settings, Arc::new(Elsewhere), notifiers.clone())?;
        let local = Local::open(folder, model.model(), Arc::new(SystemClock), Arc::new(SystemRandom))?;
        // The simulated platform's folder lies in this one, which has to be ours before it is touched.
        let platform = remote.map_or_else(|| simulated_platform(folder, options), Ok)?;
        let choreography = auction(&settings, platform, notifiers)?;
        let alarms = AlarmPolicy { digest_every: options.digest, ..AlarmPolicy::default() };
        Ok(Self { choreography, local, alarms })
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.local.lock().folder()
    }

    /// A pipeline over the folder. At rest, it serves commands that look and send, without running a handler.
    pub fn pipeline(&self) -> Pipeline {
        self.local.pipeline(&self.choreography)
    }
}

/// What the options say of the auction.
pub fn settings(options: &AuctionOptions) -> Settings {
    Settings {
        every: options.every,
        poll_backoff: Backoff { initial: options.backoff, max: options.backoff * 60, ..Backoff::default() },
        deadline: options.deadline,
        platform_bucket: None,
    }
}

/// The platform over HTTP; none where it is simulated.
fn remote_platform(options: &AuctionOptions) -> Result<Option<Arc<dyn AuctionPlatform>>, CommandError> {
    if options.platform == SIMULATED {
        return Ok(None);
    }
    let platform = HttpPlatform::new(&options.platform, options.platform_timeout);
    Ok(Some(Arc::new(platform.map_err(|error| CommandError::Usage(format!("--platform: {error}")))?)))
}

fn simulated_platform(
    folder: &Path,
    options: &AuctionOptions,
) -> Result<Arc<dyn AuctionPlatform>, CommandError> {
    let bucket = quadrille::local::bucket(&folder.join(PLATFORM_FOLDER))
        .map_err(CommandError::io(format!("the simulated platform's folder in {}", folder.display())))?;
    Ok(Arc::new(SimulatedPlatform::new(bucket, options.seed, options.not_ready)))
}

/// The auction as it is derived from: its diagram knows no folder and no platform.
pub fn standard() -> Result<Choreography, CommandError> {
    definition(&[NOTIFY])
}

/// The auction with subscribers of these names to its alarms. No handler is run by it.
pub fn definition(subscribers: &[&str]) -> Result<Choreography, CommandError> {
    let nobody: Arc<dyn Notifier> = Arc::new(Nobody);
    let notifiers = subscribers.iter().map(|name| ((*name).to_owned(), Arc::clone(&nobody)));
    Ok(auction(&Settings::default(), Arc::new(Elsewhere), notifiers.collect())?)
}
