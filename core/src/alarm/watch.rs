//! Who watches a dead-letter queue, in CloudWatch's place: one that is no longer empty tells its topic, once, and once when it is
//! empty again. As an alarm that stays red would hide the next failure, dead letters that arrive later are told in digests,
//! until none is missing from a notification. How far it has told is written with the notification: a crash neither loses one
//! nor sends it twice.

use super::{ALERT_SUBJECTS_MAX, Alert, AlertState};
use crate::{
    dead_letter::DeadLetter,
    event::Envelope,
    failure::excerpt,
    planted::planted,
    port::{Clock, PortError, Queue},
    timestamp::Timestamp,
};
use async_trait::async_trait;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How an alarm gathers what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmPolicy {
    /// How long the first notification waits for more of the same burst.
    pub gather: Duration,
    /// The least time between two notifications of dead letters that arrive while the alarm is red.
    pub digest_every: Duration,
}

impl Default for AlarmPolicy {
    /// Half a second, and a minute.
    fn default() -> Self {
        Self { gather: Duration::from_millis(500), digest_every: Duration::from_secs(60) }
    }
}

/// Bytes of a subject that a notification tells.
const SUBJECT_BYTES_MAX: usize = 300;

/// Dead letters looked at in one go.
const PAGE: usize = 500;

/// How far an alarm has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// The place of the last dead letter told of.
    pub(crate) place: u64,
    pub(crate) is_red: bool,
    /// When it last told.
    pub(crate) last: Timestamp,
}

/// How far an alarm has told, and whom it tells.
#[async_trait]
pub(crate) trait Telling: Send + Sync {
    /// Counts the changes of the queue.
    fn changes(&self) -> watch::Receiver<u64>;

    /// How far it has told.
    async fn told(&self) -> Result<Told, PortError>;

    /// Tells `body`, an [`Alert`]'s envelope, and writes down how far that goes, in one.
    async fn tell(&self, told: Told, body: String) -> Result<(), PortError>;
}

/// Watches one dead-letter queue.
pub(crate) struct Watch {
    pub(crate) choreography: String,
    pub(crate) name: String,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) telling: Arc<dyn Telling>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: AlarmPolicy,
}

/// Dead letters not yet told of.
#[derive(Default)]
struct Arrived {
    count: u64,
    reasons: BTreeMap<String, u64>,
    subjects: Vec<String>,
    place: u64,
}

impl Watch {
    /// Watches until `stopping` is done.
    pub(crate) async fn run(&self, stopping: impl Future<Output = ()>) {
        let mut stopping = std::pin::pin!(stopping);
        let mut changes = self.telling.changes();
        loop {
            // A burst is one notification.
            tokio::select! {
                biased;
                () = stopping.as_mut() => return,
                () = self.clock.sleep_until(self.clock.now() + self.policy.gather) => {}
            }
            changes.borrow_and_update();
            let wake = match self.look().await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::warn!(queue = %self.name, %error, "the alarm could not look at its queue; tried again in a second");
                    Some(self.clock.now() + Duration::from_secs(1))
                }
            };
            tokio::select! {
                biased;
                () = stopping.as_mut() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = self.clock.sleep_until(wake.unwrap_or(Timestamp::MAX)) => {}
            }
        }
    }

    /// Tells what there is to tell; answers when to look again though nothing changes.
    async fn look(&self) -> Result<Option<Timestamp>, PortError> {
        let now = self.clock.now();
        let told = self.telling.told().await?;
        let depth = self.queue.depth().await?.total();
        if told.is_red && depth > 0 {
            if planted("later_letters_untold") {
                return Ok(None);
            }
            let due = told.last + self.policy.digest_every;
            if due > now {
                let waiting = !self.queue.arrived(told.place, 1).await?.is_empty();
                return Ok(waiting.then_some(due));
            }
        }
        let from = if planted("letters_told_again") { 0 } else { told.place };
        let arrived = self.gather(from).await?;
        let mut told = told;
        if arrived.count > 0 {
            let state = if told.is_red { AlertState::Digest } else { AlertState::Alarm };
            told = Told { place: arrived.place, is_red: true, last: now };
            // The depth is older than what has arrived since: whether it is empty again is for the next look to say.
            let depth = depth.max(arrived.count);
            self.tell(told, now, state, depth, arrived).await?;
        } else if told.is_red && depth == 0 {
            told.is_red = false;
            self.tell(told, now, AlertState::Ok, 0, Arrived::default()).await?;
        }
        Ok(None)
    }

    async fn gather(&self, mut place: u64) -> Result<Arrived, PortError> {
        let mut arrived = Arrived { place, ..Arrived::default() };
        loop {
            let page = self.queue.arrived(place, PAGE).await?;
            let whole = page.len() == PAGE;
            for (at, message) in page {
                let letter = DeadLetter::read(&message);
                place = at;
                arrived.count += 1;
                *arrived.reasons.entry(letter.reason).or_default() += 1;
                if let Some(subject) = letter.subject.filter(|_| arrived.subjects.len() < ALERT_SUBJECTS_MAX)
                {
                    arrived.subjects.push(excerpt(&subject, SUBJECT_BYTES_MAX));
                }
            }
            arrived.place = place;
            if !whole {
                return Ok(arrived);
            }
        }
    }

    async fn tell(
        &self,
        told: Told,
        now: Timestamp,
        state: AlertState,
        depth: u64,
        arrived: Arrived,
    ) -> Result<(), PortError> {
        let alert = Alert {
            choreography: self.choreography.clone(),
            queue: self.name.clone(),
            state,
            at: now,
            depth,
            arrived: arrived.count,
            reasons: arrived.reasons,
            subjects: arrived.subjects,
            detail: None,
        };
        let body = self.envelope(alert, told.place).map_err(|error| PortError::permanent("alarm", error))?;
        self.telling.tell(told, body).await
    }

    fn envelope(&self, alert: Alert, place: u64) -> Result<String, serde_json::Error> {
        let state = serde_json::to_value(alert.state)?;
        let id = format!("alarm/{}@{place}.{}", self.name, state.as_str().unwrap_or_default());
        let source = format!("/{}/alarm", self.choreography);
        serde_json::to_string(&Envelope::first(id, source, alert.at, alert))
    }
}
