//! Properties: what has to hold whatever happens.

use super::{known::Known, world::World};
use crate::{entity::Entity, stored::Stored};
use std::{fmt, sync::Arc};

/// When a property has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// After every change.
    Always,
    /// Of every commit.
    OfEachCommit,
    /// Once the faults have stopped, and nothing is under way.
    Eventually,
    /// At the end of some run. Where it never does, the faults or the orders are too tame.
    Sometimes,
}

type OfWorld = dyn Fn(&World<'_>) -> Result<(), String> + Send + Sync;
type OfCommit = dyn Fn(Option<&Known>, &Known) -> Result<(), String> + Send + Sync;

/// How a property is seen.
#[derive(Clone)]
pub(super) enum Check {
    World(Arc<OfWorld>),
    /// Of the entities of a kind: as it was, and as it is.
    Commit(&'static str, Arc<OfCommit>),
}

/// Something that has to hold of a system: its name, when, and how it is seen.
#[derive(Clone)]
pub struct Property {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) check: Check,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property")
            .field("name", &self.name)
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

impl Property {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// When it has to hold.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// Whether it holds of the world; of one that is about commits there is nothing to see.
    ///
    /// # Errors
    /// What shows that it does not hold.
    pub fn check(&self, world: &World<'_>) -> Result<(), String> {
        match &self.check {
            Check::World(check) => check(world),
            Check::Commit(..) => Ok(()),
        }
    }
}

/// What holds after every change. The error says what shows that it does not.
///
/// It is asked often: what is about one entity alone is better said by [`each_commit`].
pub fn always(
    name: &'static str,
    check: impl Fn(&World<'_>) -> Result<(), String> + Send + Sync + 'static,
) -> Property {
    Property { name, holds: Holds::Always, check: Check::World(Arc::new(check)) }
}

/// What holds of each commit of an entity: of how it was before, where there was one, and how it is then. The error says what
/// shows that it does not.
///
/// ```
/// use quadrille::sim::{Property, each_commit};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Pot { day: String, cups: u32 }
/// quadrille::entity!(Pot: "pot", by day);
///
/// fn never_fuller() -> Property {
///     each_commit::<Pot>("a pot is never filled again", |before, after| match before {
///         Some(before) if after.cups > before.cups => Err(format!("{} has {} cups", after.day, after.cups)),
///         _ => Ok(()),
///     })
/// }
/// # assert_eq!(never_fuller().name(), "a pot is never filled again");
/// ```
pub fn each_commit<E: Entity>(
    name: &'static str,
    check: impl Fn(Option<&Stored<E>>, &Stored<E>) -> Result<(), String> + Send + Sync + 'static,
) -> Property {
    let check = move |before: Option<&Known>, after: &Known| {
        let before = before.and_then(Known::read::<E>);
        match after.read::<E>() {
            Some(after) => check(before.as_deref(), &after),
            None => Err(format!("{} can't be read as it was committed", after.item.key)),
        }
    };
    Property { name, holds: Holds::OfEachCommit, check: Check::Commit(E::KIND, Arc::new(check)) }
}

/// What holds once the faults have stopped. The error says what shows that it does not.
pub fn eventually(
    name: &'static str,
    check: impl Fn(&World<'_>) -> Result<(), String> + Send + Sync + 'static,
) -> Property {
    Property { name, holds: Holds::Eventually, check: Check::World(Arc::new(check)) }
}

/// What is so at the end of some run, or the simulation tries too little.
pub fn sometimes(name: &'static str, is_so: impl Fn(&World<'_>) -> bool + Send + Sync + 'static) -> Property {
    let check = move |world: &World<'_>| if is_so(world) { Ok(()) } else { Err(String::new()) };
    Property { name, holds: Holds::Sometimes, check: Check::World(Arc::new(check)) }
}
