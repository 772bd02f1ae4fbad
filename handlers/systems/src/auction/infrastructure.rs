//! The auction on AWS: what its infrastructure has beyond what follows from the definition.

use super::{
    NOTIFY, PLATFORM_BUCKET, Settings, auction,
    metrics::{
        ORDERS_ACCEPTED, ORDERS_RECEIVED, ORDERS_REJECTED, ORDERS_STORED, ORDERS_UNDECIDABLE, POLLS,
        POLLS_NOT_READY, RECEIVED_TO_DECIDED, RECEIVED_TO_STORED,
    },
    platform::Elsewhere,
};
use crate::notify::Nobody;
use quadrille::{
    Choreography,
    choreography::DefinitionErrors,
    infrastructure::{FunctionOptions, Infrastructure, Setting, Stack},
};
use std::sync::Arc;

/// The environment variables of the auction's functions, beside those that tell the physical names.
pub mod variables {
    /// The platform's base URL, or [`SIMULATED`](super::SIMULATED).
    pub const PLATFORM: &str = "QUADRILLE_PLATFORM";
    /// How long the platform may take to answer.
    pub const PLATFORM_TIMEOUT: &str = "QUADRILLE_PLATFORM_TIMEOUT";
    /// What the simulated platform decides by.
    pub const SEED: &str = "QUADRILLE_SEED";
    /// How often the simulated platform answers that it is not ready.
    pub const NOT_READY: &str = "QUADRILLE_NOT_READY";
    /// Name or ARN of the secret that holds the webhook's URL.
    pub const WEBHOOK_SECRET: &str = "QUADRILLE_WEBHOOK_SECRET";
}

/// The word for the simulated platform.
pub const SIMULATED: &str = "simulated";

const PLATFORM: &str = "platform";
const PLATFORM_TIMEOUT: &str = "platformTimeout";
const PLATFORM_SEED: &str = "platformSeed";
const PLATFORM_NOT_READY: &str = "platformNotReady";
const WEBHOOK: &str = "webhook";

/// The auction as it is deployed. No handler is run by it: it knows no platform and nobody to notify.
///
/// # Errors
/// As [`auction`].
pub fn deployed() -> Result<Choreography, DefinitionErrors> {
    let settings = Settings { platform_bucket: Some(PLATFORM_BUCKET.to_owned()), ..Settings::default() };
    auction(&settings, Arc::new(Elsewhere), vec![(NOTIFY.to_owned(), Arc::new(Nobody))])
}

/// The infrastructure of `choreography`, the auction as it is [`deployed`].
pub fn infrastructure(choreography: &Choreography) -> Infrastructure<'_> {
    let poll = FunctionOptions::new()
        .variable(variables::PLATFORM, PLATFORM)
        .variable(variables::PLATFORM_TIMEOUT, PLATFORM_TIMEOUT)
        .variable(variables::SEED, PLATFORM_SEED)
        .variable(variables::NOT_READY, PLATFORM_NOT_READY)
        .metrics([POLLS, POLLS_NOT_READY, ORDERS_ACCEPTED, ORDERS_REJECTED, ORDERS_UNDECIDABLE])
        .metrics([RECEIVED_TO_DECIDED]);
    Infrastructure::of(choreography)
        .setting(Setting::required(
            PLATFORM,
            format!("The auction platform: its base URL, or `{SIMULATED}`, which decides by itself and for nothing."),
        ))
        .setting(Setting::new(PLATFORM_TIMEOUT, "10s", "How long the platform may take to answer."))
        .setting(Setting::new(PLATFORM_SEED, 1, "What the simulated platform decides by."))
        .setting(Setting::new(
            PLATFORM_NOT_READY,
            3,
            "How often the simulated platform answers that it is not ready.",
        ))
        .secret(
            WEBHOOK,
            "URL of a Slack incoming webhook. While it has no value, alarms are told by mail alone.",
        )
        .function("post_orders", FunctionOptions::new().metrics([ORDERS_RECEIVED]))
        .function("poll_auction", poll)
        .function("store_result", FunctionOptions::new().metrics([ORDERS_STORED, RECEIVED_TO_STORED]))
        .function(NOTIFY, FunctionOptions::new().secret(variables::WEBHOOK_SECRET, WEBHOOK))
        .stack(trial("dev", "Where main is deployed to: a simulated platform, and nothing that must be kept."))
        .stack(trial("ephemeral", "Made for one test and removed after it; the pipeline copies this file."))
        .stack(
            Stack::new("prod", "Real orders. Set `platform` and `alarmEmail` to your own before the first deployment.")
                .set("alarmEmail", "auction-operators@example.com")
                .set(PLATFORM, "https://auction-platform.example.com")
                .set("logRetentionDays", 365)
                .set("oldVersionsDays", 365)
                .set("functionMemory", 512)
                .set("pollAuctionConcurrency", 10)
                .set("storeResultConcurrency", 10),
        )
}

/// A stack that may be removed with all that is in it.
fn trial(name: &str, about: &str) -> Stack {
    Stack::new(name, about)
        .set("alarmEmail", "auction-developers@example.com")
        .set(PLATFORM, SIMULATED)
        .set("kickoffSchedule", "rate(1 hour)")
        .set("logRetentionDays", 7)
        .set("oldVersionsDays", 1)
        .set("removalProtection", false)
        .set("emptyBucketsOnRemoval", true)
}
