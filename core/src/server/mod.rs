//! An HTTP server over any [`Service`]: HTTP/1.1 on one address, for programs on this machine and for those that have the
//! token.
//!
//! It listens where web pages the user visits can reach it, so it trusts no request for having arrived. A `Host` that
//! is not its own is refused (a page may have its name resolve to 127.0.0.1), and so is a browser's request from
//! another site. Everything a client can make it hold is bounded: header, body, all bodies, time, connections.
//!
//! A service gets whole requests only, and may stop in the middle of one: a client that goes away takes its request
//! with it. Errors are problems (RFC 9457), but for what is not HTTP or has too large a header: hyper answers that
//! with an empty 400, 414 or 431.

mod body;
mod budget;
mod config;
mod connection;
mod door;
mod progress;
mod seats;
mod token;

pub use body::EventStream;
pub use config::ServerConfig;
pub use token::{Token, TokenError};

use crate::http::{Request, Response};
use door::Door;
use seats::Seats;
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Until the next try, where a connection can't be accepted: mostly there are too many open files.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request, whatever its method (a HEAD is asked as a GET); `path` is as it was sent, still
    /// percent-encoded. The future is dropped where the client goes away.
    fn respond(&self, method: &str, path: &str, request: Request) -> impl Future<Output = Response> + Send;

    /// The events that a request asks to be told of from now on, or why it is not told; `None` where it asks for none, and
    /// gets a [response](Self::respond). They are told until the client has enough, or the server ends.
    fn listen(&self, method: &str, path: &str, request: &Request) -> Option<Result<EventStream, Response>> {
        let _ = (method, path, request);
        None
    }

    /// Whether a GET of this path is answered without the token: it tells nothing that is anybody's.
    fn is_open(&self, path: &str) -> bool {
        let _ = path;
        false
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program listens there.
    #[error(
        "{address} is in use; stop what listens there, or choose another port (0 takes any that is free)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Other machines can reach the address, and nothing would keep them out.
    #[error("{address} can be reached from other machines; set a token, or listen on 127.0.0.1")]
    TokenRequired {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused the address.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A server that listens. Clients can connect from here on; they are answered once it runs.
#[derive(Debug)]
pub struct Server<S> {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
    service: S,
}

impl<S: Service> Server<S> {
    /// Listens at the configuration's address.
    ///
    /// # Errors
    /// [`ServerError`]: the address is in use, can't be had, or needs a token.
    pub async fn bind(config: ServerConfig, service: S) -> Result<Self, ServerError> {
        let address = config.address;
        if !address.ip().to_canonical().is_loopback() && config.token.is_none() {
            return Err(ServerError::TokenRequired { address });
        }
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
            _ => ServerError::Bind { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, config, service })
    }

    /// Where it listens, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` is done; then accepts no more, lets those in hand finish, for
    /// [`ServerConfig::grace`] at most, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, address, config, service } = self;
        let mut shutdown = pin!(shutdown);
        let seats = Seats::new(config.connections_max);
        let (stop, stopping) = watch::channel(());
        let grace = config.grace;
        let door = Arc::new(Door::new(address, config, Arc::clone(&seats), service));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let (stream, _) = listener.accept().await?;
                Ok::<_, io::Error>((stream, seats.take().await))
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accepted => match accepted {
                    Ok((stream, seat)) => {
                        connections.spawn(connection::serve(stream, seat, Arc::clone(&door), stopping.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                },
            }
            while connections.try_join_next().is_some() {}
        }
        drop((listener, stop));
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!(left = connections.len(), "requests were not finished in time and are cut off");
            connections.shutdown().await;
        }
    }
}
