//! `up`: the service.

use crate::{
    App, args,
    error::CommandError,
    node::{Node, Running},
    print::{line, readable},
    settings,
    signal::signal,
    token, work,
};
use clap::ArgMatches;
use quadrille::{
    Services,
    local::{self, AlarmPolicy},
    notify::{FileNotifier, Notifier, SeveralNotifiers, TerminalNotifier, by_webhook},
    server::ServerConfig,
};
use std::{
    collections::BTreeMap,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file in the data folder that alarms are written to.
pub const NOTIFICATIONS: &str = "notifications.jsonl";

pub async fn up(app: &App<'_>, args: args::Up, matches: &ArgMatches) -> Result<(), CommandError> {
    let token = token::read(args.token_file.as_deref())?;
    let mut config = ServerConfig::new(SocketAddr::new(args.host, args.port));
    config.hosts.clone_from(&args.allowed_hosts);
    config.token = token;
    let values = settings::values(app.choreography.model(), matches, &BTreeMap::new())?;
    let mut notifiers = notifiers(&args.data, Arc::new(TerminalNotifier::new()));
    let webhook = by_webhook(&values).map_err(|error| CommandError::Usage(error.to_string()))?;
    notifiers.extend(webhook);
    let alarms = AlarmPolicy { digest_every: args.digest, ..AlarmPolicy::default() };
    let shown = shown(app, &values);
    for advice in app.choreography.advice() {
        tracing::info!("{advice}");
    }
    let services = Services::new().with::<dyn Notifier>(Arc::new(SeveralNotifiers::new(notifiers)));
    if args.accept_loss {
        accept_loss(app, args.data.clone()).await?;
    }
    let node = Node::open(&args.data, &app.choreography, values, services, alarms)?;
    let mut ended = std::pin::pin!(signal()?);
    let collector = collector(app)?;
    let mut running = Running::start(node, config, args.allow_actions).await?;
    line(format_args!("listening on http://{}", running.address));
    let acts = if args.allow_actions { ", which may act" } else { "" };
    line(format_args!("console at http://{}{}{acts}", running.address, running.console_path));
    line(format_args!("{}: data in {}{shown}", app.system.name(), readable(args.data.display())));
    if let Some(collector) = collector {
        collector.told_by(&mut running);
    }
    tokio::select! {
        biased;
        () = ended.as_mut() => {}
        () = running.asked_to_stop() => {}
        () = work::show(running.engine.pipeline()) => {}
    }
    // On a thread of its own: where nobody reads what is written, the end does not wait for that.
    std::thread::spawn(|| {
        let _ =
            writeln!(std::io::stdout(), "stopping: no more requests are taken, what is in hand is finished");
    });
    running.stop().await;
    Ok(())
}

/// The variable that names a collector of OpenTelemetry.
const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A collector of OpenTelemetry.
#[cfg(feature = "otlp")]
struct Collector(quadrille::otlp::OtlpConfig);

#[cfg(not(feature = "otlp"))]
enum Collector {}

impl Collector {
    #[cfg(feature = "otlp")]
    fn told_by(self, running: &mut Running) {
        line(format_args!("{COLLECTOR}: what is worked and measured is told to {}", self.0.endpoint));
        running.tell(self.0);
    }

    #[cfg(not(feature = "otlp"))]
    fn told_by(self, _: &mut Running) {
        match self {}
    }
}

/// The collector that OpenTelemetry's variables name.
#[cfg(feature = "otlp")]
fn collector(app: &App<'_>) -> Result<Option<Collector>, CommandError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = quadrille::otlp::OtlpConfig::read(&variables.collect(), app.system.name());
    Ok(config.map_err(|error| CommandError::Usage(error.to_string()))?.map(Collector))
}

#[cfg(not(feature = "otlp"))]
fn collector(_: &App<'_>) -> Result<Option<Collector>, CommandError> {
    if std::env::var_os(COLLECTOR).is_some() {
        tracing::warn!(
            "{COLLECTOR} is set, and this build tells no collector: build it with the feature `otlp`"
        );
    }
    Ok(None)
}

/// Has the data folder count as whole as it is, and tells of what that leaves behind.
async fn accept_loss(app: &App<'_>, data: PathBuf) -> Result<(), CommandError> {
    let model = app.choreography.model().clone();
    let accepted = tokio::task::spawn_blocking(move || local::accept_loss(&data, &model)).await;
    match accepted.map_err(|error| CommandError::Failed(error.to_string()))?? {
        Some(loss) => tracing::warn!("gone on with what is left: the data folder {loss}"),
        None => line("the data folder lacks nothing"),
    }
    Ok(())
}

/// The settings that are no secret, as they are in force.
fn shown(app: &App<'_>, values: &quadrille::Settings) -> String {
    let open = app.choreography.model().settings.iter().filter(|setting| !setting.is_secret);
    let shown =
        open.filter_map(|setting| Some(format!(", {} {}", setting.option(), values.shown(&setting.name)?)));
    shown.collect()
}

/// Whoever is told of alarms on this machine: `first`, and a file in the data folder.
pub fn notifiers(folder: &Path, first: Arc<dyn Notifier>) -> Vec<Arc<dyn Notifier>> {
    vec![first, Arc::new(FileNotifier::new(folder.join(NOTIFICATIONS)))]
}
