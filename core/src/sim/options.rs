//! How a run is made.

use super::fault::Fault;
use std::collections::BTreeSet;

/// How a run is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many clients post something.
    pub orders: u64,
    /// For how many minutes faults strike.
    pub minutes: u64,
    /// The faults that may strike.
    pub faults: BTreeSet<Fault>,
    /// How many strikes there are at most.
    pub strikes_max: u64,
    /// Whether of the tasks that are ready the first goes on each time.
    pub is_in_order: bool,
    /// Whether the choices and the trace are kept.
    pub is_kept: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            orders: 20,
            minutes: 60,
            faults: Fault::ALL.iter().copied().filter(|fault| fault.is_withstood()).collect(),
            strikes_max: u64::MAX,
            is_in_order: false,
            is_kept: false,
        }
    }
}
