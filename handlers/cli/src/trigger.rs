//! `trigger`: sends the message of a schedule now.

use crate::{
    App,
    access::Access,
    args,
    client::{Client, encoded},
    error::CommandError,
    print::line,
};
use serde_json::{Value, json};

/// `trigger SCHEDULE`.
pub async fn named(app: &App<'_>, args: args::Trigger) -> Result<(), CommandError> {
    let args::Trigger { schedule, plain } = args;
    trigger(app, plain, &schedule, None).await
}

/// Triggers `schedule`; `field` is what the scheduled time is called in the answer of a word of the system's own.
pub async fn trigger(
    app: &App<'_>,
    args: args::Plain,
    schedule: &str,
    field: Option<&str>,
) -> Result<(), CommandError> {
    let known: Vec<&str> =
        app.choreography.model().schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    if !known.contains(&schedule) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(CommandError::NotFound(format!(
            "{} has no schedule {schedule:?}; its schedules: {known}",
            app.system.name()
        )));
    }
    let client = Client::open(app, &args.target, Access::Changes).await?;
    let path = format!("/_quadrille/schedules/{}", encoded(schedule));
    let triggered: Value = client.post(&path, &json!({})).await?;
    let at = triggered["at"].as_str().unwrap_or_default();
    if args.target.json {
        line(field.map_or_else(|| triggered.clone(), |field| json!({ (field): at })));
        return Ok(());
    }
    match field {
        Some(field) => line(format_args!("{schedule} triggered: {field} {at}")),
        None => line(format_args!("{schedule} triggered at {at}")),
    }
    if client.is_at_rest() {
        line("No engine runs on this folder: the message waits for the next `up`.");
    }
    Ok(())
}
