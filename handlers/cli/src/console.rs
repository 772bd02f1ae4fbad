//! `console`: the console of what runs elsewhere, served on this machine over the operator's own permissions.

use crate::{
    App, access::Access, args::ServeConsole, client::Client, error::CommandError, print::line, signal::signal,
};
use quadrille::{
    console::{Console, Stage},
    operator::Api,
    port::{Random as _, SystemRandom},
    server::{Server, ServerConfig, Token},
};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};

pub async fn console(app: &App<'_>, args: ServeConsole) -> Result<(), CommandError> {
    let access = if args.allow_actions { Access::Operates } else { Access::Tries };
    let client = Client::open(app, &args.target, access).await?;
    match &client {
        Client::Remote { base, .. } => {
            tell(
                &args,
                &format!("{base}/"),
                &format!("the engine at {base} serves its own console: {base}/"),
            );
            Ok(())
        }
        Client::Local { api, .. } => serve(app, &args, api, Stage::Local).await,
        #[cfg(feature = "aws")]
        Client::Aws(aws) => {
            // A file of names tells no stack's name: it may be any, and so production.
            let stack = args.target.stack.clone().unwrap_or_else(|| "unnamed".to_owned());
            serve(app, &args, aws.api(), Stage::Aws { stack }).await
        }
    }
}

/// Serves until ctrl-C or SIGTERM. Only those have access who see the address: other users of the machine have not.
async fn serve(app: &App<'_>, args: &ServeConsole, api: &Api, stage: Stage) -> Result<(), CommandError> {
    let token = Token::new(SystemRandom.id()).map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut config = ServerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)));
    config.token = Some(token.clone());
    let console =
        Console::new(api.clone(), api.pipeline().clone(), stage).allowing_actions(args.allow_actions);
    let path = console.path();
    let server = Server::bind(config, console).await?;
    let ended = signal()?;
    let address = format!("http://{}{path}#token={}", server.local_addr(), token.reveal());
    let acts = if args.allow_actions { "looks and acts" } else { "only looks" };
    tell(args, &address, &format!("{}: the console, which {acts}: {address}", app.system.name()));
    server.run(ended).await;
    Ok(())
}

fn tell(args: &ServeConsole, address: &str, text: &str) {
    match args.target.json {
        true => line(json!({ "console": address, "allows_actions": args.allow_actions })),
        false => line(text),
    }
}
