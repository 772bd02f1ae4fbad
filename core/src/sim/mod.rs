//! Deterministic simulation: a system's own handlers, pipeline and engine in virtual time, under the faults that AWS allows.
//!
//! Each function, each relay and each schedule is a process of its own. Clients post what the system's
//! [demonstration](crate::system::Demo) posts, and ask again until they are answered. [Faults](Fault) strike at the calls of
//! ports; processes die at any await, and are started again. Then the faults stop, and everything has to come to its end within
//! 30 virtual days.
//!
//! What happens is a function of a [`Tape`]: which task goes on, whether a fault strikes, how long something takes. A seed makes
//! a tape, and the same seed makes the same run, in every process.
//!
//! Some properties hold for every system: each commit raises a version by one, each event that was committed is sent and says
//! the same however often, every queue drains, and each that was posted comes to one end. A system states
//! [its own](crate::System::properties), in a few lines each:
//!
//! ```
//! use quadrille::sim::{Property, eventually};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Pot { day: String, cups: u32 }
//! quadrille::entity!(Pot: "pot", by day);
//!
//! fn properties() -> Vec<Property> {
//!     vec![eventually("a pot is served once", |world| {
//!         match world.entities::<Pot>().iter().find(|pot| pot.cups != 4) {
//!             Some(pot) => Err(format!("of {} there are {} cups", pot.day, pot.cups)),
//!             None => Ok(()),
//!         }
//!     })]
//! }
//! # assert_eq!(properties().len(), 1);
//! ```

mod alarm;
mod client;
#[cfg(test)]
mod conforms;
mod executor;
mod explore;
mod fault;
mod known;
mod ledger;
mod operator;
mod options;
mod ports;
mod property;
mod run;
mod settings;
mod snapshot;
mod strikes;
mod tape;
mod trace;
mod world;

pub use explore::{Explored, Failed, explore, shrink};
pub use fault::{Fault, FaultError};
pub use ledger::Violation;
pub use options::Options;
pub use property::{Holds, Property, always, each_commit, eventually, sometimes};
pub use run::{Paused, Run, Simulator, SimulatorError, Until};
pub use settings::defaults;
pub use snapshot::{Checked, Snapshot};
pub use tape::{Choice, ChoiceError, Kind, Tape};
pub use world::{Asked, Posted, World};
