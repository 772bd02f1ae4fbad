//! An event bus of a definition.

use crate::model::BusModel;

/// An event bus: what is published to it reaches everybody who has a [`Rule`](super::Rule) for it.
#[derive(Clone, Debug)]
pub struct Bus {
    pub(super) model: BusModel,
}

impl From<&str> for Bus {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Bus {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl Bus {
    /// A bus named `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { model: BusModel { name: name.into(), physical: None, variable: None, is_outside: false } }
    }

    /// A bus of others, whose name on AWS is `physical`. It is not made with the infrastructure. Others may publish to it as
    /// well: entries whose detail is the envelope of an event.
    pub fn of_others(name: impl Into<String>, physical: impl Into<String>) -> Self {
        let (name, physical) = (name.into(), Some(physical.into()));
        Self { model: BusModel { name, physical, variable: None, is_outside: true } }
    }

    /// Its name on AWS, where that can't be `<choreography>-<stack>-<name>`. There is then one stack an account and region.
    #[must_use]
    pub fn physical_name(mut self, name: impl Into<String>) -> Self {
        self.model.physical = Some(name.into());
        self
    }

    /// The environment variable that tells a function its name on AWS, where that can't be `QUADRILLE_BUS_<NAME>`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>) -> Self {
        self.model.variable = Some(name.into());
        self
    }
}
