//! Secrets that had no value when the function started: people put them there later, and a function that runs on must not go
//! on without.

use super::{Function, Told, settings};
use crate::{
    aws::{self, Names},
    pipeline::Pipeline,
    timestamp::Timestamp,
};
use aws_config::SdkConfig;
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The wait before the first look, which doubles with each. Ours.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait: a look takes one call of Secrets Manager a secret. Ours.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The secrets that are looked for again.
pub(super) struct Awaited {
    names: Names,
    config: SdkConfig,
    state: Mutex<State>,
}

struct State {
    /// Secrets without a value.
    missing: usize,
    next: Timestamp,
    wait: Duration,
    /// The pipeline with what was found since the start.
    found: Option<Pipeline>,
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}

impl State {
    /// Whether it is time for a look; the next one is then later.
    fn is_due(&mut self, now: Timestamp) -> bool {
        if self.missing == 0 || now < self.next {
            return false;
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.next = now + self.wait;
        true
    }
}

impl Awaited {
    pub(super) fn new(names: Names, config: SdkConfig, missing: usize, now: Timestamp) -> Self {
        let state = State { missing, next: now + FIRST_WAIT, wait: FIRST_WAIT, found: None };
        Self { names, config, state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline of `first` with the secrets that have got a value since; `None` where none has.
    pub(super) async fn look(
        &self,
        first: &Pipeline,
        function: &Function,
        now: Timestamp,
    ) -> Option<Pipeline> {
        if !self.state().is_due(now) {
            return self.state().found.clone();
        }
        let choreography = first.choreography();
        let told = settings(choreography.model(), function.name(), &self.config).await;
        let Told { settings, awaited } = match told {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "a secret that had no value could not be looked for again");
                return self.state().found.clone();
            }
        };
        if awaited >= self.state().missing {
            return self.state().found.clone();
        }
        let ports = aws::ports(choreography.model(), &self.names, &self.config);
        match choreography.equip_for(function.name(), ports, settings) {
            Ok(ports) => {
                tracing::info!("a secret has got its value");
                let mut state = self.state();
                state.missing = awaited;
                state.found = Some(Pipeline::new(choreography.clone(), ports));
                state.found.clone()
            }
            Err(error) => {
                tracing::error!(%error, "a secret has got a value that is of no use");
                self.state().found.clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_looked_for_less_and_less_often_but_not_less_than_once_a_minute() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let mut state = State { missing: 1, next: at(1), wait: FIRST_WAIT, found: None };
        let looks: Vec<i64> = (0..300).filter(|second| state.is_due(at(*second))).collect();
        assert_eq!(looks, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
        state.missing = 0;
        assert!(!state.is_due(at(1_000)), "nothing is missing any more");
    }
}
