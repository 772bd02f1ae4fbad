//! A node: a system on an open data folder, running or at rest.

use crate::{App, error::CommandError};
use quadrille::{
    Choreography, Pipeline, Services, Settings,
    console::{Console, Stage},
    engine::Engine,
    local::{AlarmPolicy, Local},
    operator::Api,
    port::{Ports, SystemClock, SystemRandom},
    scrape::Scraped,
    server::{Server, ServerConfig},
    setting::{Place, SettingModel},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// A choreography with its open folder.
pub struct Node {
    /// The choreography.
    pub choreography: Choreography,
    local: Local,
    alarms: AlarmPolicy,
}

impl Node {
    /// Opens `folder` to run `choreography` on it, with these settings. `services` stand in place of those that the definition
    /// would make.
    ///
    /// # Errors
    /// The folder can't be opened, or a service can't be made.
    pub fn open(
        folder: &Path,
        choreography: &Choreography,
        settings: Settings,
        services: Services,
        alarms: AlarmPolicy,
    ) -> Result<Self, CommandError> {
        let mut node = Self::at_rest(folder, choreography)?;
        let ports = node.local.ports_mut();
        ports.services = services;
        let equipped = choreography.equip(ports.clone(), settings);
        *ports = equipped.map_err(|error| CommandError::Usage(error.to_string()))?;
        node.alarms = alarms;
        Ok(node)
    }

    /// Opens `folder` for a command that sends and moves messages, without running a handler of events.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub fn at_rest(folder: &Path, choreography: &Choreography) -> Result<Self, CommandError> {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let local = Local::open(folder, choreography.model(), clock, random)?;
        Ok(Self { choreography: choreography.clone(), local, alarms: AlarmPolicy::default() })
    }

    /// Opens `folder` for a command that has a handler of requests answer: with the services it uses, made of the settings that
    /// the environment or the configuration file says.
    ///
    /// # Errors
    /// The folder can't be opened, or a service can't be made.
    pub(crate) fn to_answer(folder: &Path, app: &App<'_>, step: &str) -> Result<Self, CommandError> {
        let mut node = Self::at_rest(folder, &app.choreography)?;
        let ports = node.local.ports_mut();
        *ports = equipped(app, &app.choreography, ports.clone(), step)?;
        Ok(node)
    }

    /// Opens `folder` for a command that only looks: nothing in it is made or changed.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub fn to_look(folder: &Path, choreography: &Choreography) -> Result<Self, CommandError> {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let local = Local::open_existing(folder, choreography.model(), clock, random)?;
        Ok(Self { choreography: choreography.clone(), local, alarms: AlarmPolicy::default() })
    }

    /// Opens `folder` for a command that tries what handlers would do: nothing in it is made or changed.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub(crate) fn to_try(folder: &Path, app: &App<'_>) -> Result<Self, CommandError> {
        let mut node = Self::to_look(folder, &app.choreography)?;
        let ports = node.local.ports_mut();
        *ports = with_settings(app, &app.choreography, ports.clone())?;
        Ok(node)
    }

    /// Opens `folder` for an operator, who looks, tries, and changes.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub(crate) fn to_operate(folder: &Path, app: &App<'_>) -> Result<Self, CommandError> {
        let mut node = Self::at_rest(folder, &app.choreography)?;
        let ports = node.local.ports_mut();
        *ports = with_settings(app, &app.choreography, ports.clone())?;
        Ok(node)
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.local.lock().folder()
    }

    /// A pipeline over the folder.
    pub fn pipeline(&self) -> Pipeline {
        self.local.pipeline(&self.choreography)
    }
}

/// Ports with the services that a handler of requests uses, made of the settings that the environment or the configuration
/// file says.
pub(crate) fn equipped(
    app: &App<'_>,
    choreography: &Choreography,
    ports: Ports,
    step: &str,
) -> Result<Ports, CommandError> {
    let said = said(app, choreography.model().settings_of(step))?;
    let needed = choreography.model().settings_of(step);
    let settings = Settings::read(Place::Command, needed, |setting| said.get(&setting.name).cloned());
    let settings = settings.map_err(|errors| CommandError::Usage(errors.to_string()))?;
    choreography.equip_for(step, ports, settings).map_err(|error| CommandError::Usage(error.to_string()))
}

/// Ports with the settings that the environment or the configuration file says. Where one is missing or wrong there are none, and handlers that need them
/// can't be tried.
pub(crate) fn with_settings(
    app: &App<'_>,
    choreography: &Choreography,
    ports: Ports,
) -> Result<Ports, CommandError> {
    let needed = &choreography.model().settings;
    let said = said(app, needed)?;
    let settings = Settings::read(Place::Command, needed, |setting| said.get(&setting.name).cloned());
    let settings = settings.unwrap_or_else(|errors| {
        tracing::warn!(%errors, "handlers that need settings can't be tried");
        Settings::default()
    });
    Ok(Ports { settings: Arc::new(settings), ..ports })
}

/// The values that the environment or the configuration file says.
fn said<'a>(
    app: &App<'_>,
    settings: impl IntoIterator<Item = &'a SettingModel>,
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut said = BTreeMap::new();
    for setting in settings {
        said.extend(app.config.setting(setting)?.map(|value| (setting.name.clone(), value)));
    }
    Ok(said)
}

/// A node that runs and serves HTTP.
pub struct Running {
    /// The node.
    pub node: Node,
    /// Its engine.
    pub engine: Engine,
    /// Where it listens.
    pub address: SocketAddr,
    /// The path of the console.
    pub console_path: &'static str,
    asked: Arc<Notify>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    /// What tells a collector, and how it is told to end.
    telling: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Running {
    /// Starts the engine of `node` and serves its API, and the console, which acts where `allows_actions`.
    ///
    /// # Errors
    /// The address can't be listened on, or the folder can't be written.
    pub async fn start(node: Node, config: ServerConfig, allows_actions: bool) -> Result<Self, CommandError> {
        // Bound before anything runs: an address in use changes nothing.
        let pipeline = node.pipeline();
        let asked = Arc::new(Notify::new());
        let api = Api::new(pipeline.clone()).stopped_by(Arc::clone(&asked));
        let scraped = Scraped::new(api, pipeline.clone());
        let console = Console::new(scraped, pipeline.clone(), Stage::Local).allowing_actions(allows_actions);
        let console_path = console.path();
        let server = Server::bind(config, console).await?;
        let engine = node.local.start(&pipeline, node.alarms);
        let address = server.local_addr();
        node.local.lock().announce(address).map_err(CommandError::io("the data folder"))?;
        let (stop, mut stopping) = watch::channel(false);
        let serving = tokio::spawn(server.run(async move {
            // The sender is gone only with the process.
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
        Ok(Self { node, engine, address, console_path, asked, stop, serving, telling: None })
    }

    /// Whether its engine has nothing to do within this time.
    pub(crate) async fn is_idle(&self, within: std::time::Duration) -> bool {
        tokio::time::timeout(within, self.engine.idle()).await.is_ok()
    }

    /// Resolves once somebody asks over HTTP that it stop.
    pub async fn asked_to_stop(&self) {
        self.asked.notified().await;
    }

    /// Tells a collector of OpenTelemetry what is worked and measured from now on.
    #[cfg(feature = "otlp")]
    pub(crate) fn tell(&mut self, config: quadrille::otlp::OtlpConfig) {
        let pipeline = self.engine.pipeline().clone();
        let (stop, mut stopping) = watch::channel(false);
        let telling = quadrille::otlp::export(pipeline, config, async move {
            // The sender is gone only with the process.
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        self.telling = Some((stop, tokio::spawn(telling)));
    }

    /// Takes no more requests, finishes what is in hand.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server ended badly");
        }
        self.engine.stop().await;
        // Last, so that it tells of all that was worked.
        if let Some((stop, telling)) = self.telling {
            stop.send_replace(true);
            if let Err(error) = telling.await {
                tracing::error!(%error, "what tells the collector ended badly");
            }
        }
    }
}

/// A server on a free port of the loopback address.
pub fn loopback() -> ServerConfig {
    ServerConfig::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}
