//! Where a server listens, and how much it takes.

use super::Token;
use crate::limits::HTTP_BODY_BYTES_MAX;
use std::{net::SocketAddr, time::Duration};

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Names, beside those of this machine, under which clients reach it: `example.org` with any port, or
    /// `example.org:8443`.
    pub hosts: Vec<String>,
    /// What clients have to show; required unless the address is one of the loopback.
    pub token: Option<Token>,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// What the bodies of all requests in hand may take together, in bytes, at least that of one. A request beyond is answered
    /// with 503 and `Retry-After`.
    pub bodies_bytes_max: usize,
    /// For a whole request, from its first byte to its last. Also how long a client may take none of its answer.
    pub read_timeout: Duration,
    /// How long a connection may wait for its next request. Longer than a proxy in front keeps its connections (mostly 60 s
    /// or 75 s): it would send a request on one that is just being closed.
    pub idle_timeout: Duration,
    /// Connections at once, at least 1. A further one gets the place of the one that has idled longest, or else of one that
    /// stopped in the middle of its request; while there is none, it waits.
    pub connections_max: usize,
    /// How long requests in hand may take to finish when the server is stopped.
    pub grace: Duration,
}

/// Most connections at once unless the configuration says otherwise. Ours: each may hold 64 KiB of what it reads, 256 MiB in
/// all.
const CONNECTIONS_MAX: usize = 4_096;

/// Seats of a process that may open so many files. The other half is for the data, and for connections to others.
fn seats(files: Option<u64>) -> usize {
    let half = files.map_or(CONNECTIONS_MAX, |files| usize::try_from(files / 2).unwrap_or(usize::MAX));
    half.clamp(1, CONNECTIONS_MAX)
}

/// How many files the process may open (`ulimit -n`); `None` where that is not limited.
#[cfg(unix)]
fn files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn files_max() -> Option<u64> {
    Some(1_024)
}

impl ServerConfig {
    /// The defaults: this machine's names, no token, bodies of 1 MiB and 64 MiB together, 10 s to read a request, 90 s to
    /// idle, 10 s of grace. There are as many connections as half of the files that the process may open, at most 4,096.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            hosts: Vec::new(),
            token: None,
            body_bytes_max: HTTP_BODY_BYTES_MAX,
            bodies_bytes_max: 64 * HTTP_BODY_BYTES_MAX,
            read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            connections_max: seats(files_max()),
            grace: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_half_of_the_files_that_may_be_open() {
        assert_eq!([Some(0), Some(64), Some(1_024)].map(seats), [1, 32, 512]);
        assert_eq!([Some(1_048_576), Some(u64::MAX), None].map(seats), [4_096; 3]);
        let config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        assert_eq!(config.connections_max, seats(files_max()));
    }
}
