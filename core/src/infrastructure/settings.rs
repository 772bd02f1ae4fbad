//! What may differ from stack to stack: the program's typed configuration.

use super::{
    program::logical,
    yaml::{Map, Yaml},
};
use crate::choreography::Model;
use std::time::Duration;

pub(super) const REGION: &str = "aws:region";
pub(super) const ALARM_EMAIL: &str = "alarmEmail";
pub(super) const LOG_RETENTION: &str = "logRetentionDays";
pub(super) const REMOVAL_PROTECTION: &str = "removalProtection";
pub(super) const EMPTY_BUCKETS: &str = "emptyBucketsOnRemoval";
pub(super) const OLD_VERSIONS: &str = "oldVersionsDays";
pub(super) const MEMORY: &str = "functionMemory";
pub(super) const HTTP_CONCURRENCY: &str = "httpConcurrency";
pub(super) const HTTP_RATE: &str = "httpRate";
pub(super) const HTTP_BURST: &str = "httpBurst";
pub(super) const JWT: &str = "jwt";
pub(super) const JWT_ISSUER: &str = "jwtIssuer";
pub(super) const JWT_AUDIENCE: &str = "jwtAudience";

/// The region where a stack says no other.
const DEFAULT_REGION: &str = "eu-west-1";

/// The least `maximumConcurrency` of a queue's event source mapping (Lambda).
const CONCURRENCY_MIN: usize = 2;

/// The value of a [`Setting`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

impl From<&str> for SettingValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for SettingValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for SettingValue {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<SettingValue> for Yaml {
    fn from(value: SettingValue) -> Self {
        match value {
            SettingValue::Text(text) => text.into(),
            SettingValue::Integer(number) => number.into(),
            SettingValue::Boolean(boolean) => boolean.into(),
        }
    }
}

/// A key of the program's configuration, which each stack may set otherwise (`pulumi config set KEY VALUE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    name: String,
    kind: &'static str,
    default: Option<SettingValue>,
    about: String,
}

impl Setting {
    /// One that has a value unless a stack sets another.
    pub fn new(name: impl Into<String>, default: impl Into<SettingValue>, about: impl Into<String>) -> Self {
        let default = default.into();
        let kind = match &default {
            SettingValue::Text(_) => "string",
            SettingValue::Integer(_) => "integer",
            SettingValue::Boolean(_) => "boolean",
        };
        Self { name: name.into(), kind, default: Some(default), about: about.into() }
    }

    /// A text that every stack has to set.
    pub fn required(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { name: name.into(), kind: "string", default: None, about: about.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a stack has to set it.
    pub(super) fn is_required(&self) -> bool {
        self.default.is_none()
    }
}

/// The setting of a schedule's times.
pub(super) fn schedule(name: &str) -> String {
    logical(name, "Schedule")
}

/// The setting of how many invocations of a step's function may run at the same time.
pub(super) fn concurrency(step: &str) -> String {
    logical(step, "Concurrency")
}

/// The settings that the program of `model` has by itself.
pub(super) fn of(model: &Model) -> Vec<Setting> {
    let mut settings = vec![
        Setting::required(
            ALARM_EMAIL,
            "The address that alarms are mailed to. It gets a mail to confirm first.",
        ),
        Setting::new(LOG_RETENTION, 30, "Days for which logs are kept."),
        Setting::new(
            REMOVAL_PROTECTION,
            true,
            "Whether tables, buckets and the key are kept from being removed.",
        ),
        Setting::new(EMPTY_BUCKETS, false, "Whether removing the stack deletes the objects in its buckets."),
        Setting::new(OLD_VERSIONS, 30, "Days for which overwritten and deleted objects can be restored."),
        Setting::new(MEMORY, 256, "Memory of a function, in MB. Its share of a processor grows with it."),
    ];
    for model in &model.schedules {
        let about =
            format!("When the schedule {} sends its message: rate(…) or cron(…), in UTC.", model.name);
        settings.push(Setting::new(schedule(&model.name), rate(model.every).as_str(), about));
    }
    for step in &model.steps {
        let about =
            format!("Most invocations of {} at the same time; at least {CONCURRENCY_MIN}.", step.name);
        let workers = i64::try_from(step.workers.max(CONCURRENCY_MIN)).unwrap_or(i64::MAX);
        settings.push(Setting::new(concurrency(&step.name), workers, about));
    }
    if !model.routes.is_empty() {
        settings.extend([
            Setting::new(
                HTTP_CONCURRENCY,
                -1,
                "Invocations reserved for each route's function, which is then also the most it gets. -1: none reserved.",
            ),
            Setting::new(HTTP_RATE, 100, "Requests a second that the API lets through."),
            Setting::new(HTTP_BURST, 200, "Requests at once that the API lets through."),
            Setting::new(
                JWT,
                0,
                "Who may call the API. 0: whom IAM allows `execute-api:Invoke`. 1: who has a token of `jwtIssuer`.",
            ),
            Setting::new(
                JWT_ISSUER,
                "https://accounts.google.com",
                "The issuer of tokens. API Gateway asks for one that exists, even while `jwt` is 0.",
            ),
            Setting::new(
                JWT_AUDIENCE,
                "nobody",
                "The audience that tokens are issued for. No issuer issues any for this default.",
            ),
        ]);
    }
    settings
}

/// As the scheduler writes it: in the largest unit that it is a whole number of, at least a minute.
fn rate(every: Duration) -> String {
    let minutes = every.as_secs().div_ceil(60).max(1);
    let (count, unit) = match minutes {
        minutes if minutes % 1_440 == 0 => (minutes / 1_440, "day"),
        minutes if minutes % 60 == 0 => (minutes / 60, "hour"),
        minutes => (minutes, "minute"),
    };
    format!("rate({count} {unit}{})", if count == 1 { "" } else { "s" })
}

/// The `config` of the program.
pub(super) fn config(settings: &[Setting]) -> Map {
    let mut config = Map::new().with(REGION, Map::new().with("value", DEFAULT_REGION));
    for setting in settings {
        let mut entry = Map::new().with("type", setting.kind);
        if let Some(default) = &setting.default {
            entry.put("default", default.clone());
        }
        entry.put("description", &setting.about);
        config.put(&setting.name, entry);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_the_scheduler_reads_it() {
        let rates = [
            (60, "rate(1 minute)"),
            (300, "rate(5 minutes)"),
            (3_600, "rate(1 hour)"),
            (172_800, "rate(2 days)"),
        ];
        for (seconds, expected) in rates {
            assert_eq!(rate(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(rate(Duration::from_secs(1)), "rate(1 minute)", "the scheduler knows nothing shorter");
        assert_eq!(rate(Duration::from_secs(61)), "rate(2 minutes)");
    }
}
