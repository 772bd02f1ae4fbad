//! Event-driven choreography for AWS Lambda, without a conductor.
//!
//! A handler changes the world by a *commit*: one conditional write of one entity, with the events it emits inside the
//! same write. A relay turns the table's change stream into messages. So there is no instant at which a state is saved
//! and its message can be lost, a duplicate changes nothing, and a crash anywhere is made good by delivering again.
//!
//! # A first choreography
//!
//! A tea shop: at tea time a pot is brewed; it steeps for four minutes; then it is served. Two events are told to one
//! entity, and waiting is an event with a later time.
//!
//! The crate is not on crates.io: name the folder `core` of a copy of its repository. In `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! quadrille = { path = "quadrille/core" }
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! And the whole of `main.rs`:
//!
//! ```
//! use quadrille::{
//!     Choreography, Consumer, Context, Handled, Outcome, Pipeline, Stored, Table, Timestamp, Uses,
//!     engine::{Engine, trigger},
//!     memory::{Memory, VirtualClock},
//!     port::{Clock, SeededRandom},
//! };
//! use serde::{Deserialize, Serialize};
//! use std::{error::Error, sync::Arc, time::Duration};
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//! const DAY: Duration = Duration::from_secs(86_400);
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum State { Steeping, Served }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Pot { day: String, state: State }
//! quadrille::entity!(Pot: "pot", by day);         // one item of a table
//!
//! #[derive(Serialize, Deserialize)]
//! struct TeaTime { day: String }
//! quadrille::event!(TeaTime: "tea.time", to Pot by day);
//!
//! #[derive(Serialize, Deserialize)]
//! struct Steeped { day: String }
//! quadrille::event!(Steeped: "tea.steeped", to Pot by day);
//!
//! async fn brew(pot: Option<Stored<Pot>>, event: TeaTime, _: Context<(Steeped,)>) -> Outcome<(Steeped,)> {
//!     if pot.is_some() { return Ok(Handled::already("brewed")) }      // a duplicate ends here
//!     let pot = Stored::new(Pot { day: event.day.clone(), state: State::Steeping });
//!     Ok(pot.commit("steeping").emit_after(4 * MINUTE, Steeped { day: event.day }).into())
//! }
//!
//! async fn serve(mut pot: Stored<Pot>, _: Steeped, _: Context<()>) -> Outcome<()> {
//!     if pot.state == State::Served { return Ok(Handled::already("served")) }
//!     pot.state = State::Served;
//!     Ok(pot.commit("served").into())
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let tea_shop = Choreography::define("tea-shop")
//!         .table(Table::new("pots").holds::<Pot>())
//!         .schedule("tea-time", DAY, |at| TeaTime { day: at.to_string() })
//!         .on(Consumer::new("brew", brew).uses(Uses::new().emits_later::<Steeped>()))
//!         .on(Consumer::new("serve", serve))
//!         .build()?;
//!
//!     let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-20T16:00:00Z")?));
//!     let memory = Memory::new(tea_shop.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
//!     let engine = Engine::start(Pipeline::new(tea_shop, memory.ports()));
//!     let now = clock.now();
//!     trigger(engine.pipeline(), "tea-time", now).await?;
//!     clock.pass(4 * MINUTE).await;               // virtual time: nobody waits
//!
//!     let pot = memory.get::<Pot>(&now.to_string()).await?.ok_or("no pot was brewed")?;
//!     assert_eq!(pot.state, State::Served);
//!     for entry in &pot.trail().entries {
//!         println!("{} {}: {}", entry.at, entry.handler, entry.what);
//!     }
//!     engine.stop().await;
//!     Ok(())
//! }
//! ```
//!
//! The handlers are plain functions, and where one is not quite a handler, the compiler says which part is off. `brew` emits
//! nothing but what `(Steeped,)` says, or it does not compile. From that it is known who feeds whom. A consumer that nothing
//! feeds, an event that nobody consumes or a cycle that nothing bounds is an error of `build`, with a name and how to mend it.
//! Queues with their dead-letter queues, retries and the relay follow from the definition; each default can be set where it
//! does not fit.
//!
//! # The main types
//!
//! What a handler sees:
//!
//! - [`Entity`] and [`Event`]: what a table keeps, and what is told to it. The data is whatever serde writes. The macros
//!   [`entity!`] and [`event!`] implement them where an id is a field of text.
//! - [`Stored`]: an entity as it was loaded, with its version and its [`Trail`]: where it is, and why.
//! - [`Commit`]: what a handler returns, as [`Handled`] in an [`Outcome`]; or a [`Failure`], which is transient (try again
//!   after a [`Backoff`]) or permanent (a [`DeadLetter`] now, with its reason). [`OrFailure`] makes one of any error.
//! - [`Context`]: what a handler may do besides: read, commit children before their parent, put objects, ask the time. Of
//!   tables and buckets it may do what its [`Uses`] declare.
//!
//! What it is part of:
//!
//! - [`Choreography`], defined with [`Table`]s, [`Route`]s, schedules, [`Consumer`]s, [`Service`]s and [`Setting`]s, and with a
//!   [`Budget`] for each cycle; [`choreography::Model`] is the same as plain data.
//! - [`System`]: a choreography with all else that the command, the functions and the infrastructure need of it.
//! - [`Pipeline`]: runs handlers on messages and requests, over the [`port`]s.
//! - [`engine::Engine`]: runs a whole choreography in one process.
//! - [`operator`]: what a person does with a running one: look at queues, redrive dead letters.
//! - [`memory::Memory`]: every port in memory, with a clock that a test moves, and what a test asks of them; [`limits`] is
//!   what all adapters hold to.
//! - [`infrastructure::Infrastructure`]: what it needs on AWS, derived from the definition as a Pulumi program.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `local`: the embedded, durable engine: tables and queues in SQLite, buckets as files, all in one folder, with alarms.
//!   `examples/first.rs` runs the tea shop on it. `init_logging` writes logs, for people or as JSON.
//! - `server`: an HTTP server for routes, with limits, a token, and no trust in web pages.
//! - `aws`: the adapters of DynamoDB, SQS, S3, SNS and EventBridge. Its SDK needs Rust 1.94.1.
//! - `lambda`: the runtime of Lambda functions over the adapters of AWS (feature `aws`): a function is a step, a route or the
//!   relay of a choreography, and one binary has all of a system's.
//! - `client`: an HTTP client with timeouts and limits, for services of a system.
//! - `domain`: the order and result types of the systems that come with the library.
//! - `conformance`: the suite that an adapter of the [`port`]s has to pass, for adapters of your own.
//!
//! # What is not supported
//!
//! - A transaction over several entities. A commit is of one; a handler that commits several may be seen between them.
//! - Delivery exactly once, and order between messages. A message may come again at any time, also long after it was
//!   handled; the handler finds in the entity that there is nothing left to do.
//! - An item with its events over 400 KB, a message over 1 MiB, a notification or an entry of an event bus over
//!   256 KiB: see [`limits`].
//! - Schedules whose times one machine and AWS don't keep alike, such as every 7 minutes: an error of `build`.
//! - More than six types of events emitted by one handler.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

mod alarm;
#[cfg(feature = "aws")]
pub mod aws;
mod backoff;
pub mod choreography;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "server")]
pub mod console;
mod context;
mod dead_letter;
pub mod decimal;
#[cfg(feature = "domain")]
pub mod domain;
pub mod engine;
mod entity;
mod event;
mod failure;
mod handler;
mod history;
pub mod http;
#[cfg(feature = "client")]
pub mod http_client;
#[cfg(feature = "client")]
pub mod http_service;
pub mod ids;
pub mod infrastructure;
pub mod input;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod layout;
pub mod limits;
mod lines;
#[cfg(feature = "local")]
pub mod local;
#[cfg(any(feature = "local", feature = "lambda"))]
mod logging;
mod macros;
#[cfg(feature = "server")]
mod measured;
pub mod memory;
pub mod metrics;
mod model;
pub mod needs;
pub mod notify;
pub mod operator;
#[cfg(feature = "otlp")]
pub mod otlp;
mod panics;
mod path_parameters;
pub mod percent;
mod pipeline;
#[doc(hidden)]
pub mod planted;
pub mod port;
mod relay;
pub mod scale;
#[cfg(feature = "server")]
pub mod scrape;
#[cfg(feature = "server")]
pub mod server;
mod service;
mod services;
pub mod setting;
#[cfg(feature = "sim")]
pub mod sim;
mod stored;
pub mod system;
mod timestamp;
mod trace;
mod trail;
mod vitals;
mod wire;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub use alarm::{ALERT_SUBJECTS_MAX, Alert, AlertState};
pub use backoff::{Backoff, Waits};
pub use choreography::{
    Backlog, Budget, Choreography, Consumer, Cron, Definition, Route, Table, Topic, Uses, Workload,
};
pub use commit::{Commit, Handled, Outcome};
pub use context::{Change, Committed, Context, Merged, Page, Unread};
pub use dead_letter::{DeadLetter, RECEIVES_EXHAUSTED, Redriven, UNDELIVERED};
pub use entity::Entity;
#[doc(hidden)]
pub use entity::in_one_word;
pub use event::{Contains, Emits, Envelope, Event, Place, SPEC_VERSION};
pub use failure::{Failure, FailureKind, OrFailure, excerpt};
pub use handler::{Handler, Load, RouteHandler};
#[cfg(any(feature = "local", feature = "lambda"))]
pub use logging::{LogFormat, Logs, init_logging};
pub use pipeline::{Delivered, FAILING_MAX, Failing, Invocation, Observation, Pipeline, StepCounts, Verdict};
#[doc(hidden)]
pub use planted::planted;
pub use service::{Service, Surroundings};
pub use services::{Services, service_name};
pub use setting::{Setting, Settings};
pub use stored::{Stored, Told};
pub use system::System;
pub use timestamp::{Timestamp, TimestampError};
#[cfg(any(feature = "local", feature = "lambda"))]
pub use tracing::level_filters::LevelFilter as LogLevel;
pub use trail::{Trail, TrailDetails, TrailEntry, TrailEntryKind};
pub use wire::Wire;
