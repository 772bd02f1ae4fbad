//! The way to something outside: a platform, a gateway, a kitchen.

use crate::failure::Failure;
use async_trait::async_trait;
use std::{fmt, future::Future, sync::Arc};

/// The way to something outside, for a service that stands for it: [`Surroundings::wire`](crate::Surroundings::wire) gives it.
///
/// A call over it is only the call, but in a [simulation](crate::sim). There what is asked is written down for properties to see,
/// and the call may take long, fail before it gets there, or lose its answer, as over any network.
#[derive(Clone)]
pub struct Wire {
    service: Arc<str>,
    outside: Option<Arc<dyn Outside>>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Wire {
    /// A way on which nothing happens, for a test.
    pub fn direct() -> Self {
        Self { service: "".into(), outside: None }
    }

    /// The way to the service of this name.
    pub(crate) fn to(service: &str, outside: Option<Arc<dyn Outside>>) -> Self {
        Self { service: service.into(), outside }
    }

    /// Asks `what`, in a few words or the whole of it, and gives the `answer`.
    ///
    /// # Errors
    /// That of the answer; in a simulation also a transient `unreachable`, before it was asked, and `unanswered`, after it.
    pub async fn call<T>(
        &self,
        what: impl fmt::Display,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(outside) = &self.outside else { return answer.await };
        outside.ask(&self.service, what.to_string()).await?;
        let answer = answer.await?;
        outside.answer(&self.service).await?;
        Ok(answer)
    }

    /// Whether something that is asked again is to answer otherwise than before: never but in a simulation.
    pub fn is_fickle(&self) -> bool {
        self.outside.as_ref().is_some_and(|outside| outside.is_fickle(&self.service))
    }
}

/// Everything outside, as a simulation makes it.
#[async_trait]
pub(crate) trait Outside: Send + Sync {
    /// A service is to be asked.
    async fn ask(&self, service: &str, what: String) -> Result<(), Failure>;

    /// It has answered.
    async fn answer(&self, service: &str) -> Result<(), Failure>;

    /// Whether it is to answer otherwise than before.
    fn is_fickle(&self, service: &str) -> bool;
}
