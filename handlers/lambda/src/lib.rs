//! The Lambda functions of the systems.
//!
//! A system has one binary for all its functions, `<system>-functions`, of the one line [`main`]`(&System)`. Which function
//! its process is, the environment says; see [`quadrille::lambda`].
#![cfg(feature = "aws")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

pub use quadrille::lambda::main;

/// A batch is thousands of small texts: with the system's allocator a POST of 100 orders takes a seventh longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
