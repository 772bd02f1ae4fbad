//! What may differ from stack to stack: the program's typed configuration.

use super::{
    keys::{self, HTTP_BURST, HTTP_CONCURRENCY, HTTP_RATE, HTTP_RATE_DEFAULT},
    program::logical,
    yaml::{Map, Yaml},
};
use crate::{
    model::{Model, ScheduleModel, StepModel, TableModel},
    setting::{Place, SettingKind, SettingModel},
};
use std::collections::BTreeSet;

pub(super) const REGION: &str = "aws:region";
pub(super) const ALARM_EMAIL: &str = "alarmEmail";
pub(super) const LOG_RETENTION: &str = "logRetentionDays";
pub(super) const REMOVAL_PROTECTION: &str = "removalProtection";
pub(super) const EMPTY_BUCKETS: &str = "emptyBucketsOnRemoval";
pub(super) const OLD_VERSIONS: &str = "oldVersionsDays";
pub(super) const MEMORY: &str = "functionMemory";
pub(super) const JWT: &str = "jwt";
pub(super) const JWT_ISSUER: &str = "jwtIssuer";
pub(super) const JWT_AUDIENCE: &str = "jwtAudience";

/// The region where a stack says no other.
const DEFAULT_REGION: &str = "eu-west-1";

/// The value of a key of the program's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

impl ConfigValue {
    /// As it stands in a name.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
        }
    }
}

impl From<&str> for ConfigValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for ConfigValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for ConfigValue {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<ConfigValue> for Yaml {
    fn from(value: ConfigValue) -> Self {
        match value {
            ConfigValue::Text(text) => text.into(),
            ConfigValue::Integer(number) => number.into(),
            ConfigValue::Boolean(boolean) => boolean.into(),
        }
    }
}

/// A key of the program's configuration, which each stack may set otherwise (`pulumi config set KEY VALUE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigKey {
    name: String,
    kind: &'static str,
    default: Option<ConfigValue>,
    about: String,
}

impl ConfigKey {
    /// One that has a value unless a stack sets another.
    fn new(name: impl Into<String>, default: impl Into<ConfigValue>, about: impl Into<String>) -> Self {
        let default = default.into();
        let kind = match &default {
            ConfigValue::Text(_) => "string",
            ConfigValue::Integer(_) => "integer",
            ConfigValue::Boolean(_) => "boolean",
        };
        Self { name: name.into(), kind, default: Some(default), about: about.into() }
    }

    /// A text that every stack has to set.
    fn required(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { name: name.into(), kind: "string", default: None, about: about.into() }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its default as text, where it has one.
    pub(super) fn default_text(&self) -> Option<String> {
        self.default.as_ref().map(ConfigValue::text)
    }

    /// Whether a stack has to set it.
    pub(super) fn is_required(&self) -> bool {
        self.default.is_none()
    }
}

/// What a stack sets that may be removed with all that is in it, as far as the program has it.
pub(super) fn disposable() -> [(String, ConfigValue); 4] {
    [
        (LOG_RETENTION.to_owned(), 7.into()),
        (OLD_VERSIONS.to_owned(), 1.into()),
        (REMOVAL_PROTECTION.to_owned(), false.into()),
        (EMPTY_BUCKETS.to_owned(), true.into()),
    ]
}

/// The setting of a schedule's times.
pub(super) fn schedule(name: &str) -> String {
    logical(name, "Schedule")
}

/// The setting of the longest time between two messages of a schedule.
pub(super) fn schedule_period(name: &str) -> String {
    logical(name, "Period")
}

/// The setting of how long what a schedule works off may wait.
pub(super) fn schedule_patience(name: &str) -> String {
    logical(name, "Patience")
}

/// The setting of the name of a queue of others.
pub(super) fn outside(queue: &str) -> String {
    logical(queue, "QueueName")
}

/// The configuration of the program of `model`: what every program has, and the choreography's own settings.
pub(super) fn of(model: &Model) -> Vec<ConfigKey> {
    let email = ConfigKey::required(
        ALARM_EMAIL,
        "The address that alarms are mailed to. It gets a mail to confirm first.",
    );
    let mut settings: Vec<ConfigKey> = (!model.alarms.is_empty()).then_some(email).into_iter().collect();
    settings.extend([
        ConfigKey::new(LOG_RETENTION, 30, "Days for which logs are kept."),
        ConfigKey::new(
            REMOVAL_PROTECTION,
            true,
            "Whether tables, buckets and the key are kept from being removed.",
        ),
    ]);
    if !model.buckets.is_empty() {
        settings.extend([
            ConfigKey::new(
                EMPTY_BUCKETS,
                false,
                "Whether removing the stack deletes the objects in its buckets.",
            ),
            ConfigKey::new(
                OLD_VERSIONS,
                30,
                "Days for which overwritten and deleted objects can be restored.",
            ),
        ]);
    }
    settings.extend([ConfigKey::new(
        MEMORY,
        256,
        "Memory of a function, in MB. Its share of a processor grows with it.",
    )]);
    settings.extend(model.schedules.iter().flat_map(|schedule| of_schedule(model, schedule)));
    settings.extend(model.steps.iter().flat_map(of_step));
    let relayed = super::relayed_tables(model);
    if !relayed.is_empty() {
        settings.push(reserved(super::RELAY));
    }
    settings.extend(relayed.into_iter().map(|table| factor(table, &format!("the stream of {table}"))));
    settings.extend(model.tables.iter().flat_map(of_table));
    for queue in model.queues.iter().filter(|queue| queue.is_outside) {
        let about = format!("The name of the queue of others that the flow knows as {}.", queue.name);
        settings.push(ConfigKey::required(outside(&queue.name), about));
    }
    if model.routes.iter().any(|route| route.path.is_some()) {
        settings.extend(of_http());
    }
    settings.extend(needed(model).filter(|setting| !setting.is_secret).map(of_setting));
    settings
}

/// How much of a step runs at the same time.
fn of_step(step: &StepModel) -> Vec<ConfigKey> {
    let name = &step.name;
    let mut settings = match step.pollers {
        Some((least, most)) => vec![
            ConfigKey::new(
                keys::pollers_least(name),
                i64::from(least),
                format!("Fewest pollers of the queue of {name}, which are paid by the hour: 2 to 200."),
            ),
            ConfigKey::new(
                keys::pollers_most(name),
                i64::from(most),
                format!(
                    "Most pollers of the queue of {name}, each of 10 invocations at the same time: 2 to 2,000."
                ),
            ),
        ],
        None => vec![ConfigKey::new(
            keys::concurrency(name),
            i64::from(keys::concurrency_default(step)),
            format!("Most invocations of {name} at the same time: 2 to 1,000."),
        )],
    };
    settings.push(reserved(name));
    if step.stream().is_some() {
        settings.push(factor(name, &format!("the stream that {name} reads")));
    }
    settings
}

fn reserved(function: &str) -> ConfigKey {
    let about = format!(
        "Invocations reserved for {function}, which is then also the most it gets. -1: none reserved."
    );
    ConfigKey::new(keys::reserved(function), -1, about)
}

fn factor(of: &str, stream: &str) -> ConfigKey {
    let about = format!("Batches of a shard of {stream} at the same time: 1 to 10.");
    ConfigKey::new(keys::factor(of), 1, about)
}

/// The units of a table, where the definition says of them.
fn of_table(table: &TableModel) -> Vec<ConfigKey> {
    let name = &table.name;
    let mut settings = Vec::new();
    if let Some(warm) = table.warm {
        let of = |key: String, units: u32, what: &str| {
            let about =
                format!("{what} units a second that it is ready for from the start. Only ever raise it.");
            ConfigKey::new(key, i64::from(units), format!("{name}: {about}"))
        };
        for (reads, writes) in [keys::warm(name), keys::warm_index(name)] {
            settings.extend([of(reads, warm.reads, "read"), of(writes, warm.writes, "write")]);
        }
    }
    if let Some(most) = table.at_most {
        let of = |key: String, units: u32, what: &str| {
            let about = format!("{name}: {what} units a second that table and index may use at most, each.");
            ConfigKey::new(key, i64::from(units), about)
        };
        let (reads, writes) = keys::at_most(name);
        settings.extend([of(reads, most.reads, "read"), of(writes, most.writes, "write")]);
    }
    settings
}

/// The configuration of a schedule.
fn of_schedule(model: &Model, of: &ScheduleModel) -> Vec<ConfigKey> {
    // A schedule that AWS can't have is no part of a model that was proved.
    let (expression, zone) = of.when.to_aws().unwrap_or_default();
    let about = format!("When the schedule {} sends its message: rate(…) or cron(…), in {zone}.", of.name);
    let mut settings = vec![ConfigKey::new(schedule(&of.name), expression.as_str(), about)];
    let Some(watch) = of.watch().filter(|_| !model.alarms.is_empty()) else { return settings };
    let about = format!(
        "The longest time between two messages of the schedule {}, in seconds, a multiple of 60; after {} without one an alarm \
         rings.",
        of.name, watch.periods
    );
    let period = i64::try_from(watch.period).unwrap_or(i64::MAX);
    settings.push(ConfigKey::new(schedule_period(&of.name), period, about));
    if model.works_something_off(of) {
        let about = format!(
            "How long, in seconds, what the schedule {} works off may wait before an alarm rings: {} of its periods.",
            of.name, watch.periods
        );
        let patience = period.saturating_mul(i64::try_from(watch.periods).unwrap_or(i64::MAX));
        settings.push(ConfigKey::new(schedule_patience(&of.name), patience, about));
    }
    settings
}

/// The configuration of the HTTP API.
fn of_http() -> [ConfigKey; 6] {
    [
        ConfigKey::new(
            HTTP_CONCURRENCY,
            -1,
            "Invocations reserved for each route's function, which is then also the most it gets. -1: none reserved.",
        ),
        ConfigKey::new(
            HTTP_RATE,
            i64::from(HTTP_RATE_DEFAULT),
            "Requests a second that the API lets through.",
        ),
        ConfigKey::new(HTTP_BURST, 200, "Requests at once that the API lets through."),
        ConfigKey::new(
            JWT,
            0,
            "Who may call the API. 0: whom IAM allows `execute-api:Invoke`. 1: who has a token of `jwtIssuer`.",
        ),
        ConfigKey::new(
            JWT_ISSUER,
            "https://accounts.google.com",
            "The issuer of tokens. API Gateway asks for one that exists, even while `jwt` is 0.",
        ),
        ConfigKey::new(
            JWT_AUDIENCE,
            "nobody",
            "The audience that tokens are issued for. No issuer issues any for this default.",
        ),
    ]
}

/// The settings that some function reads.
pub(super) fn needed(model: &Model) -> impl Iterator<Item = &SettingModel> {
    let read: BTreeSet<&String> =
        model.handlers().flat_map(|step| model.settings_of(step)).map(|setting| &setting.name).collect();
    model.settings.iter().filter(move |setting| read.contains(&setting.name))
}

/// A setting of the choreography as a key of the configuration.
fn of_setting(setting: &SettingModel) -> ConfigKey {
    let about = match &setting.words[..] {
        [] => format!("{} It is {}.", setting.about, setting.kind.expected()),
        words => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            format!("{} It is {}, or {}.", setting.about, setting.kind.expected(), words.join(", "))
        }
    };
    let about = about.trim_start();
    let default = setting.default_in(Place::Stack);
    match (&setting.kind, default) {
        (SettingKind::Integer(_), Some(default)) if setting.words.is_empty() => {
            // A default that is no number is no part of a model that was proved.
            ConfigKey::new(setting.key(), default.parse::<i64>().unwrap_or_default(), about)
        }
        (SettingKind::Boolean, Some(default)) if setting.words.is_empty() => {
            ConfigKey::new(setting.key(), default == "true", about)
        }
        (_, Some(default)) => ConfigKey::new(setting.key(), default, about),
        (_, None) if setting.is_optional => ConfigKey::new(setting.key(), "", about),
        (_, None) => ConfigKey::required(setting.key(), about),
    }
}

/// The `config` of the program.
pub(super) fn config(settings: &[ConfigKey]) -> Map {
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
