//! `stop`: asks the engine of a data folder to end, and waits until it has.

use crate::{
    App,
    access::Access,
    args::Plain,
    client::Client,
    error::CommandError,
    print::{line, readable},
    target::Place,
};
use quadrille::local;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long an engine may finish what it has in hand.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

pub async fn stop(app: &App<'_>, args: Plain) -> Result<(), CommandError> {
    let target = args.target;
    if target.place == Place::Aws {
        return Err(CommandError::Usage("what runs on AWS is not stopped: it costs nothing at rest".into()));
    }
    let client = Client::open(app, &target, Access::Looks).await?;
    let was_running = !client.is_at_rest();
    if was_running {
        let _: Value = client.post("/_quadrille/stop", &json!({})).await?;
        let began = Instant::now();
        // An address tells nothing of the folder: there it has to be silent.
        while match target.url {
            Some(_) => client.get::<Value>("/healthz").await.is_ok(),
            None => local::is_held(&target.data),
        } {
            if began.elapsed() > STOPPED_WITHIN {
                let text = format!("the engine still finishes what it has in hand, after {STOPPED_WITHIN:?}");
                return Err(CommandError::OutOfReach(text));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    match (target.json, was_running) {
        (true, _) => line(json!({ "was_running": was_running })),
        (false, true) => line("stopped: what it had in hand is finished"),
        (false, false) => line(format_args!("no engine runs on {}", readable(target.data.display()))),
    }
    Ok(())
}
