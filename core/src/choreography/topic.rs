//! A topic of a definition.

use crate::model::TopicModel;

/// A topic: what is published to it reaches everybody who has subscribed.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(super) model: TopicModel,
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl Topic {
    /// A topic named `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { model: TopicModel { name: name.into(), physical: None, variable: None } }
    }

    /// Its name on AWS, where that can't be `<choreography>-<stack>-<name>`. There is then one stack an account and region.
    #[must_use]
    pub fn physical_name(mut self, name: impl Into<String>) -> Self {
        self.model.physical = Some(name.into());
        self
    }

    /// The environment variable that tells a function its ARN on AWS, where that can't be `QUADRILLE_TOPIC_<NAME>`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>) -> Self {
        self.model.variable = Some(name.into());
        self
    }
}
