//! `demo`: a system's whole flow, once, before your eyes.

mod evidence;
mod play;
mod show;

use crate::{
    App, args,
    error::CommandError,
    node::{Node, Running, loopback},
    print::line,
    settings,
    up::notifiers,
};
use async_trait::async_trait;
use clap::ArgMatches;
use quadrille::{
    Alert, Failure, Services,
    local::AlarmPolicy,
    notify::{Notifier, SeveralNotifiers},
    system::Demo,
};
use show::Show;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Alerts kept for the demonstration, which looks at the first of them.
const ALERTS_KEPT: usize = 64;

/// A time between two messages of a schedule that no demonstration lives to see.
const NEVER: &str = "14d";

/// Hands alerts to the demonstration.
struct ChannelNotifier(mpsc::Sender<Alert>);

#[async_trait]
impl Notifier for ChannelNotifier {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        // One that is not looked at any longer is none.
        let _ = self.0.try_send(alert.clone());
        Ok(())
    }
}

/// Plays the demonstration of the system.
pub async fn demo(app: &App<'_>, args: args::Demo, matches: &ArgMatches) -> Result<(), CommandError> {
    let mut demo = app.system.demo().ok_or_else(|| {
        CommandError::NotFound(format!(
            "{} has no demonstration: {} runs it as a service",
            app.system.name(),
            app.typed("up")
        ))
    })?;
    if let Some(seed) = seed(app, matches)? {
        demo.seed(seed);
    }
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(CommandError::io("a temporary folder"))?),
    };
    let folder =
        args.data.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new("."));
    let (tell, mut told) = mpsc::channel(ALERTS_KEPT);
    let running = start(app, demo.as_ref(), matches, folder, tell).await?;
    // On a folder that is kept, each demonstration has entities of its own.
    let tag = running.engine.pipeline().ports().clock.now().as_millis();
    let prefix =
        if args.data.is_some() { format!("{}-{tag}-", demo.kind()) } else { format!("{}-", demo.kind()) };
    let show = Show::new(demo.as_ref(), args.orders, prefix, args.json);
    let outcome = tokio::select! {
        biased;
        played = play::play(app, demo.as_ref(), &running, &show, &mut told) => played,
        () = running.asked_to_stop() => Err(CommandError::Failed("it was asked to stop".into())),
    };
    running.stop().await;
    let summary = outcome?;
    if args.json {
        line(&summary);
    }
    let count = |name: &str| summary[name].as_u64().unwrap_or(0);
    if count("lost") > 0 || count("unfinished") > 0 {
        let text = format!(
            "{} of the {} lost, {} without an end",
            count("lost"),
            demo.subjects(),
            count("unfinished")
        );
        return Err(CommandError::Incomplete(text));
    }
    Ok(())
}

/// The seed; none where it is a setting of the system's, which is read with the others.
fn seed(app: &App<'_>, matches: &ArgMatches) -> Result<Option<u64>, CommandError> {
    if app.choreography.model().settings.iter().any(|setting| setting.name == args::SEED) {
        return Ok(None);
    }
    let said = matches.try_get_one::<String>(args::SEED).ok().flatten();
    said.map(|text| {
        text.parse().map_err(|_| CommandError::Usage(format!("--seed is a whole number, not {text:?}")))
    })
    .transpose()
}

async fn start(
    app: &App<'_>,
    demo: &dyn Demo,
    matches: &ArgMatches,
    folder: &Path,
    tell: mpsc::Sender<Alert>,
) -> Result<Running, CommandError> {
    let model = app.choreography.model();
    let mut others: BTreeMap<&str, String> = demo.settings();
    // The demonstration itself triggers its schedules.
    for setting in model.schedules.iter().filter_map(|schedule| schedule.setting.as_deref()) {
        others.insert(setting, NEVER.to_owned());
    }
    let values = settings::values(model, matches, &others)?;
    let told: Arc<dyn Notifier> =
        Arc::new(SeveralNotifiers::new(notifiers(folder, Arc::new(ChannelNotifier(tell)))));
    let services = Services::new().with::<dyn Notifier>(told);
    // On a folder whose alarm is red from before, new dead letters are told of in a digest, which is waited for.
    let alarms = AlarmPolicy { digest_every: Duration::from_secs(1), ..AlarmPolicy::default() };
    let node = Node::open(folder, &app.choreography, values, services, alarms)?;
    Running::start(node, loopback(), false).await
}
