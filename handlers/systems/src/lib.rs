//! The systems built on quadrille: the auction, and what their handlers share.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

pub mod auction;
pub mod duration;
pub mod http_client;
pub mod notify;
