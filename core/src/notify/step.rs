//! The step that tells people of alarms, with its service and its setting.

use super::Notifier;
use crate::{
    alarm::Alert,
    choreography::Consumer,
    commit::{Handled, Outcome},
    context::Context,
    failure::Failure,
    model::Uses,
    service::{Service, Surroundings},
    setting::{Setting, SettingError, Settings},
};
use async_trait::async_trait;
use std::sync::Arc;

/// The step that tells people of alarms.
pub const NOTIFY: &str = "notify";

/// The setting that holds the webhook's URL.
pub const WEBHOOK: &str = "webhook";

/// The setting of the webhook.
pub(crate) fn setting() -> Setting {
    Setting::url(WEBHOOK)
        .optional()
        .secret()
        .help("A Slack incoming webhook that alarms are posted to, or what understands the same messages.")
}

/// Whoever is told: by default the webhook.
pub(crate) fn service() -> Service<dyn Notifier> {
    Service::<dyn Notifier>::new(by_default).uses(Uses::new().setting(WEBHOOK))
}

/// The step: tells the service of what comes by `topic`, and commits nothing.
pub(crate) fn consumer(topic: &str) -> Consumer {
    Consumer::new(NOTIFY, notify).from_topic(topic).uses(Uses::new().service::<dyn Notifier>())
}

async fn notify(alert: Alert, cx: Context<()>) -> Outcome<()> {
    cx.service::<dyn Notifier>()?.notify(&alert).await?;
    Ok(Handled::Done)
}

/// A webhook that was never set up.
struct NotSetUp;

#[async_trait]
impl Notifier for NotSetUp {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        tracing::warn!(queue = %alert.queue, "no webhook is set up: nobody was told of this alarm by one");
        Ok(())
    }
}

fn by_default(around: &Surroundings<'_>) -> Result<Arc<dyn Notifier>, SettingError> {
    Ok(by_webhook(around.settings())?.unwrap_or_else(|| Arc::new(NotSetUp)))
}

/// The webhook that the settings name; `None` where they name none, or know no such setting.
///
/// # Errors
/// [`SettingError`] for a URL that is of no use.
#[cfg(feature = "client")]
pub fn by_webhook(settings: &Settings) -> Result<Option<Arc<dyn Notifier>>, SettingError> {
    /// How long the webhook may take to answer.
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
    let Ok(Some(url)) = settings.get::<Option<String>>(WEBHOOK) else { return Ok(None) };
    let webhook = super::WebhookNotifier::new(&url, TIMEOUT);
    let refused = |error| settings.refuse(WEBHOOK, format_args!("is of no use: {error}"), "look at the URL");
    Ok(Some(Arc::new(webhook.map_err(refused)?)))
}

/// The webhook that the settings name; `None` where they name none, or know no such setting.
///
/// # Errors
/// [`SettingError`]: a webhook needs the feature `client`.
#[cfg(not(feature = "client"))]
pub fn by_webhook(settings: &Settings) -> Result<Option<Arc<dyn Notifier>>, SettingError> {
    match settings.get::<Option<String>>(WEBHOOK) {
        Ok(Some(_)) => Err(settings.refuse(
            WEBHOOK,
            "needs an HTTP client",
            "build with the feature `client` of quadrille",
        )),
        _ => Ok(None),
    }
}
