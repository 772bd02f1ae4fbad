//! Properties: what has to hold whatever happens.

use super::world::World;
use std::{fmt, sync::Arc};

/// When a property has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// After every change.
    Always,
    /// Once the faults have stopped, and nothing is under way.
    Eventually,
    /// At some time in some run. Where it never does, the faults or the orders are too tame.
    Sometimes,
}

type Check = dyn Fn(&World<'_>) -> Result<(), String> + Send + Sync;

/// Something that has to hold of a system: its name, when, and how it is seen.
#[derive(Clone)]
pub struct Property {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) check: Arc<Check>,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property")
            .field("name", &self.name)
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

/// What holds after every change. The error says what shows that it does not.
pub fn always(
    name: &'static str,
    check: impl Fn(&World<'_>) -> Result<(), String> + Send + Sync + 'static,
) -> Property {
    Property { name, holds: Holds::Always, check: Arc::new(check) }
}

/// What holds once the faults have stopped. The error says what shows that it does not.
pub fn eventually(
    name: &'static str,
    check: impl Fn(&World<'_>) -> Result<(), String> + Send + Sync + 'static,
) -> Property {
    Property { name, holds: Holds::Eventually, check: Arc::new(check) }
}

/// What is so at the end of some run, or the simulation tries too little.
pub fn sometimes(name: &'static str, is_so: impl Fn(&World<'_>) -> bool + Send + Sync + 'static) -> Property {
    let check = move |world: &World<'_>| if is_so(world) { Ok(()) } else { Err(String::new()) };
    Property { name, holds: Holds::Sometimes, check: Arc::new(check) }
}
