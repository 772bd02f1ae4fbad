//! `quadrille up`: the service.

use crate::{api::Api, args::Up, error::CommandError, node::Node, print::line, token};
use quadrille::{
    engine::Engine,
    server::{Server, ServerConfig},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use systems::notify::{FileNotifier, Notifier, TerminalNotifier, WebhookNotifier};
use tokio::{sync::watch, task::JoinHandle};

/// How long a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A node that runs and serves HTTP.
pub struct Running {
    pub node: Node,
    pub engine: Engine,
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Running {
    /// Starts the engine of `node` and serves its API.
    pub async fn start(node: Node, config: ServerConfig) -> Result<Self, CommandError> {
        // Bound before anything runs: an address in use changes nothing.
        let pipeline = node.pipeline();
        let server = Server::bind(config, Api::new(pipeline.clone())).await?;
        let engine = node.local.start(&pipeline, node.alarms);
        let address = server.local_addr();
        node.local.lock().announce(address).map_err(CommandError::io("the data folder"))?;
        let (stop, mut stopping) = watch::channel(false);
        let serving = tokio::spawn(server.run(async move {
            // The sender is gone only with the process.
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
        Ok(Self { node, engine, address, stop, serving })
    }

    /// Takes no more requests, finishes what is in hand.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the server ended badly");
        }
        self.engine.stop().await;
    }
}

/// A server on a free port of the loopback address.
pub fn loopback() -> ServerConfig {
    ServerConfig::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}

pub async fn up(args: Up) -> Result<(), CommandError> {
    let token = token::read(args.token_file.as_deref())?;
    let mut config = ServerConfig::new(SocketAddr::new(args.host, args.port));
    config.hosts.clone_from(&args.allowed_hosts);
    config.token = token;
    let mut notifiers: Vec<(String, Arc<dyn Notifier>)> = vec![
        ("notify_terminal".into(), Arc::new(TerminalNotifier::new())),
        ("notify_file".into(), Arc::new(FileNotifier::new(args.data.join("notifications.jsonl")))),
    ];
    if let Some(url) = &args.webhook {
        let webhook = WebhookNotifier::new(url, WEBHOOK_TIMEOUT);
        let webhook = webhook.map_err(|error| CommandError::Usage(format!("--webhook: {error}")))?;
        notifiers.push(("notify_webhook".into(), Arc::new(webhook)));
    }
    let node = Node::open(&args.data, &args.auction, notifiers)?;
    let mut ended = std::pin::pin!(signal()?);
    let running = Running::start(node, config).await?;
    line(format_args!("listening on http://{}", running.address));
    line(format_args!(
        "data in {}, a run every {:?}, platform {}",
        args.data.display(),
        args.auction.every,
        args.auction.platform
    ));
    ended.as_mut().await;
    line("stopping: no more requests are taken, what is in hand is finished");
    running.stop().await;
    Ok(())
}

/// Resolves with ctrl-C or SIGTERM. The handlers are set before it is first polled.
pub fn signal() -> Result<impl Future<Output = ()>, CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let set = |kind| signal(kind).map_err(CommandError::io("signal handlers"));
    let (mut interrupt, mut terminate) = (set(SignalKind::interrupt())?, set(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
