//! `trigger`: sends the message of a schedule now.

use crate::{
    App,
    access::Access,
    args,
    client::{Client, encoded},
    error::CommandError,
    print::line,
};
use quadrille::{Envelope, Timestamp, excerpt};
use serde_json::{Value, json, value::RawValue};

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
    tell(app, schedule, at)?;
    line(match &client {
        Client::Remote { .. } => "An engine runs: it is worked now.",
        Client::Local { .. } => "No engine runs on this folder: the message waits for the next `up`.",
        #[cfg(feature = "aws")]
        Client::Aws(_) => "Lambda works it.",
    });
    Ok(())
}

/// Where the message went, what works it, and how that is followed.
fn tell(app: &App<'_>, schedule: &str, at: &str) -> Result<(), CommandError> {
    let model = app.choreography.model();
    let told = model.schedules.iter().find(|known| known.name == schedule);
    let steps = model.steps.iter().filter(|step| told.is_some_and(|told| step.is_told(&told.event_type)));
    let at = Timestamp::parse(at).map_err(|error| CommandError::Failed(error.to_string()))?;
    let (_, body) = app.choreography.scheduled_message(schedule, at)?;
    let event: Envelope<Box<RawValue>> = serde_json::from_str(&body)?;
    for step in steps {
        let emits = step.emits.join(", ");
        let emits = if emits.is_empty() { String::new() } else { format!(", and may emit {emits}") };
        line(format_args!("sent to the queue {}, which {} works{emits}", step.queue, step.name));
        if let Some(kind) = &step.entity_kind {
            let system =
                if app.systems.len() > 1 { format!("{} ", app.system.name()) } else { String::new() };
            let follow = format!("trace {system}{kind} {} --follow", excerpt(&event.subject, 200));
            line(format_args!("{} follows it", app.typed(&follow)));
        }
    }
    Ok(())
}
