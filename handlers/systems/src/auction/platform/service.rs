//! The platform as a service of the definition: a real one behind a URL, or the simulated one.

use super::{AuctionPlatform, HttpPlatform, SimulatedPlatform};
use quadrille::{Service, Setting, Surroundings, Uses, setting::SettingError};
use std::sync::Arc;

/// The bucket that the simulated platform remembers in.
pub const PLATFORM_BUCKET: &str = "auction-platform";

/// The word for the simulated platform.
pub const SIMULATED: &str = "simulated";

/// The setting of the platform's base URL.
pub const PLATFORM: &str = "platform";
/// The setting of how long it may take to answer.
pub const PLATFORM_TIMEOUT: &str = "platform_timeout";
/// The setting of what the simulated platform decides by.
pub const SEED: &str = "seed";
/// The setting of how often the simulated platform is not ready.
pub const NOT_READY: &str = "not_ready";

/// What may be set of it. On AWS there is no default: a simulated platform must not decide real orders because somebody
/// forgot a setting.
pub fn settings() -> [Setting; 4] {
    [
        Setting::url(PLATFORM)
            .or_word(SIMULATED)
            .default_locally(SIMULATED)
            .help("The auction platform: its base URL. The simulated one decides by itself and for nothing."),
        Setting::duration(PLATFORM_TIMEOUT).default("10s").help("How long the platform may take to answer."),
        Setting::integer(SEED).default("1").help("The seed of the simulated platform's decisions."),
        Setting::integer(NOT_READY)
            .within(0..=u64::from(u32::MAX))
            .default("3")
            .help("How often the simulated platform answers that it is not ready."),
    ]
}

/// The service: made of the settings, and the bucket of the simulated one.
pub fn service() -> Service<dyn AuctionPlatform> {
    let service = Service::<dyn AuctionPlatform>::new(made);
    service.tried_where(|around| Ok(around.setting::<String>(PLATFORM)? == SIMULATED)).uses(
        Uses::new()
            .setting(PLATFORM)
            .setting(PLATFORM_TIMEOUT)
            .setting(SEED)
            .setting(NOT_READY)
            .puts(PLATFORM_BUCKET)
            .reads(PLATFORM_BUCKET)
            .lists(PLATFORM_BUCKET)
            .where_set(PLATFORM, SIMULATED),
    )
}

fn made(around: &Surroundings<'_>) -> Result<Arc<dyn AuctionPlatform>, SettingError> {
    let platform: String = around.setting(PLATFORM)?;
    if platform == SIMULATED {
        // Within its bounds, by the declaration.
        let not_ready = u32::try_from(around.setting::<u64>(NOT_READY)?).unwrap_or(u32::MAX);
        let bucket = around.bucket(PLATFORM_BUCKET)?;
        let platform = SimulatedPlatform::new(bucket, around.setting(SEED)?, not_ready);
        return Ok(Arc::new(platform.over(around.wire())));
    }
    let made = HttpPlatform::new(&platform, around.setting(PLATFORM_TIMEOUT)?);
    let cure = format!("write the platform's base URL, or `{SIMULATED}`");
    Ok(Arc::new(made.map_err(|error| around.refuse(PLATFORM, format_args!("is of no use: {error}"), cure))?))
}
