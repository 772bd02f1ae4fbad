//! Event-driven choreography for AWS Lambda, without a conductor.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

mod alarm;
pub mod auction;
mod backoff;
pub mod choreography;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod dead_letter;
pub mod engine;
mod entity;
mod event;
mod failure;
mod handler;
pub mod http;
pub mod limits;
#[cfg(feature = "local")]
pub mod local;
pub mod memory;
pub mod operator;
mod pipeline;
pub mod port;
mod relay;
mod timestamp;
mod trail;

pub use alarm::{ALERT_SUBJECTS_MAX, Alert, AlertState};
pub use backoff::Backoff;
pub use choreography::{Budget, Choreography, Consumer, Definition, Table};
pub use commit::{Commit, Handled, Outcome};
pub use context::{Committed, Context};
pub use dead_letter::{DeadLetter, RECEIVES_EXHAUSTED};
pub use entity::{Entity, Stored};
pub use event::{Contains, Emits, Envelope, Event, Place, SPEC_VERSION};
pub use failure::{Failure, FailureKind, excerpt};
pub use handler::{Handler, Load, RouteHandler};
pub use pipeline::{Observation, Pipeline, StepCounts, Verdict};
pub use timestamp::{Timestamp, TimestampError};
pub use trail::{Trail, TrailEntry};
