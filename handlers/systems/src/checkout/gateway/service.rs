//! The gateway as a service of the definition: a real one behind a URL, or the simulated one.

use super::{HttpGateway, PaymentGateway, SimulatedGateway};
use quadrille::{Service, Setting, Surroundings, Uses, setting::SettingError};
use std::sync::Arc;

/// The bucket that the simulated gateway remembers in.
pub const PAYMENTS_BUCKET: &str = "payments";

/// The word for the simulated gateway.
pub const SIMULATED: &str = "simulated";

/// The setting of the gateway's base URL.
pub const GATEWAY: &str = "gateway";
/// The setting of the token that the gateway asks for.
pub const GATEWAY_TOKEN: &str = "gateway_token";
/// The setting of how long it may take to answer.
pub const GATEWAY_TIMEOUT: &str = "gateway_timeout";
/// The setting of how long the simulated gateway takes to decide.
pub const GATEWAY_DELAY: &str = "gateway_delay";
/// The setting of how many charges the simulated gateway never answers.
pub const GATEWAY_OUTAGES: &str = "gateway_outages";
/// The setting of what the simulated gateway decides by.
pub const SEED: &str = "seed";

/// What may be set of it. On AWS there is no default: a simulated gateway must not take real orders for paid because somebody
/// forgot a setting.
pub fn settings() -> [Setting; 6] {
    [
        Setting::url(GATEWAY).or_word(SIMULATED).default_locally(SIMULATED).help(
            "The payment gateway: its base URL. The simulated one charges nobody and lets nine of ten pay.",
        ),
        Setting::text(GATEWAY_TOKEN)
            .optional()
            .secret()
            .help("The token that the gateway asks for, sent as a bearer token."),
        Setting::duration(GATEWAY_TIMEOUT).default("10s").help("How long the gateway may take to answer."),
        Setting::duration(GATEWAY_DELAY)
            .default("200ms")
            .help("How long the simulated gateway takes to decide."),
        Setting::integer(GATEWAY_OUTAGES)
            .within(0..=100)
            .default("0")
            .help("Of 100 charges, how many the simulated gateway never answers."),
        Setting::integer(SEED).default("1").help("The seed of the simulated gateway's decisions."),
    ]
}

/// The service: made of the settings, and the bucket of the simulated one.
pub fn service() -> Service<dyn PaymentGateway> {
    let uses = [GATEWAY, GATEWAY_TOKEN, GATEWAY_TIMEOUT, GATEWAY_DELAY, GATEWAY_OUTAGES, SEED];
    let uses = uses.into_iter().fold(Uses::new(), Uses::setting);
    let service = Service::<dyn PaymentGateway>::new(made);
    let service = service.tried_where(|around| Ok(around.setting::<String>(GATEWAY)? == SIMULATED));
    service.uses(uses.puts(PAYMENTS_BUCKET).where_set(GATEWAY, SIMULATED))
}

fn made(around: &Surroundings<'_>) -> Result<Arc<dyn PaymentGateway>, SettingError> {
    let gateway: String = around.setting(GATEWAY)?;
    if gateway == SIMULATED {
        return Ok(Arc::new(SimulatedGateway {
            bucket: around.bucket(PAYMENTS_BUCKET)?,
            clock: around.clock(),
            seed: around.setting(SEED)?,
            delay: around.setting(GATEWAY_DELAY)?,
            outages: around.setting(GATEWAY_OUTAGES)?,
            wire: around.wire(),
        }));
    }
    let token: Option<String> = around.setting(GATEWAY_TOKEN)?;
    let made = HttpGateway::new(&gateway, token.as_deref(), around.setting(GATEWAY_TIMEOUT)?);
    let cure = format!("write the gateway's base URL, or `{SIMULATED}`");
    Ok(Arc::new(made.map_err(|error| around.refuse(GATEWAY, format_args!("is of no use: {error}"), cure))?))
}
