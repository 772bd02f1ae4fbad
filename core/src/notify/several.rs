//! Several who are told of the same alert, each once.

use super::Notifier;
use crate::{
    alarm::{Alert, AlertState},
    failure::Failure,
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Alerts remembered, so that who was told is not told again while another one can't be reached.
const REMEMBERED: usize = 256;

/// Tells several. Where one of them can't be told, the alert comes again, and only those who were not told are told then.
pub struct SeveralNotifiers {
    notifiers: Vec<Arc<dyn Notifier>>,
    told: Mutex<VecDeque<(AlertKey, Vec<bool>)>>,
}

/// What tells one alert from another.
type AlertKey = (String, AlertState, Timestamp);

impl fmt::Debug for SeveralNotifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeveralNotifiers").field("count", &self.notifiers.len()).finish_non_exhaustive()
    }
}

impl SeveralNotifiers {
    /// Tells each of `notifiers`.
    pub fn new(notifiers: Vec<Arc<dyn Notifier>>) -> Self {
        Self { notifiers, told: Mutex::default() }
    }

    fn already(&self, alert: &AlertKey) -> Vec<bool> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.iter().find(|(known, _)| known == alert).map(|(_, told)| told.clone());
        known.unwrap_or_else(|| vec![false; self.notifiers.len()])
    }

    fn remember(&self, alert: AlertKey, by: Vec<bool>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(known, _)| *known != alert);
        told.push_back((alert, by));
        if told.len() > REMEMBERED {
            told.pop_front();
        }
    }
}

#[async_trait]
impl Notifier for SeveralNotifiers {
    async fn notify(&self, alert: &Alert) -> Result<(), Failure> {
        let known = (alert.queue.clone(), alert.state, alert.at);
        let mut told = self.already(&known);
        let mut failed: Option<Failure> = None;
        for (notifier, told) in self.notifiers.iter().zip(&mut told) {
            if *told {
                continue;
            }
            match notifier.notify(alert).await {
                Ok(()) => *told = true,
                // One that may pass counts more: the others are told again as well.
                Err(failure) if failed.as_ref().is_none_or(Failure::is_permanent) => failed = Some(failure),
                Err(_) => {}
            }
        }
        self.remember(known, told);
        failed.map_or(Ok(()), Err)
    }
}
