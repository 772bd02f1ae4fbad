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
    /// For a whole request, from its first byte to its last. Also how long a connection may idle, and how long a
    /// client may take none of its answer.
    pub read_timeout: Duration,
    /// Connections at once, at least 1; further ones wait until the operating system gives them to us.
    pub connections_max: usize,
    /// How long requests in hand may take to finish when the server is stopped.
    pub grace: Duration,
}

impl ServerConfig {
    /// The defaults: this machine's names, no token, bodies of 1 MiB, 10 s to read a request, 512 connections, 10 s
    /// of grace.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            hosts: Vec::new(),
            token: None,
            body_bytes_max: HTTP_BODY_BYTES_MAX,
            read_timeout: Duration::from_secs(10),
            connections_max: 512,
            grace: Duration::from_secs(10),
        }
    }
}
