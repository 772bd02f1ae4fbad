//! Alarms of the local engine, in CloudWatch's place: a dead-letter queue that is no longer empty tells its topic, once,
//! and once when it is empty again. As an alarm that stays red would hide the next failure, dead letters that arrive later
//! are told in digests, until none is missing from a notification. How far it has told is durable, and written in the
//! transaction that sends the notification: a crash neither loses one nor sends it twice.

use super::{
    Local,
    column::Columns,
    queue::{LocalQueue, QueueFile},
    store::Store,
};
use crate::{
    alarm::{ALERT_SUBJECTS_MAX, Alert, AlertState},
    dead_letter::DeadLetter,
    engine::Stopping,
    event::Envelope,
    failure::excerpt,
    model::{AlarmModel, Model},
    port::{Clock, PortError, Queue as _},
    timestamp::Timestamp,
};
use rusqlite::OptionalExtension as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

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

/// Watches one dead-letter queue.
pub(super) struct Watch {
    choreography: String,
    queue: Arc<LocalQueue>,
    name: String,
    subscriptions: Vec<Arc<LocalQueue>>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    policy: AlarmPolicy,
}

/// How far an alarm has told.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    /// The place of the last dead letter told of.
    place: u64,
    red: bool,
    /// When it last told.
    last: Timestamp,
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
    pub(super) fn new(local: &Local, model: &Model, alarm: &AlarmModel, policy: AlarmPolicy) -> Option<Self> {
        let subscribers = model.steps.iter().filter(|step| step.topic() == Some(&alarm.topic));
        Some(Self {
            choreography: model.name.clone(),
            queue: Arc::clone(local.queues.get(&alarm.dead_letter_queue)?),
            name: alarm.dead_letter_queue.clone(),
            subscriptions: subscribers.filter_map(|step| local.queues.get(&step.queue).cloned()).collect(),
            store: Arc::clone(&local.store),
            clock: Arc::clone(&local.clock),
            policy,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn run(self: Arc<Self>, mut stopping: Stopping) {
        let mut changes = self.queue.changes();
        loop {
            // A burst is one notification.
            tokio::select! {
                biased;
                () = stopping.wait() => return,
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
                () = stopping.wait() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = self.clock.sleep_until(wake.unwrap_or(Timestamp::MAX)) => {}
            }
        }
    }

    /// Tells what there is to tell; answers when to look again though nothing changes.
    async fn look(&self) -> Result<Option<Timestamp>, PortError> {
        let now = self.clock.now();
        let told = self.told().await?;
        let depth = self.queue.depth().await?.total();
        if told.red && depth > 0 {
            let due = told.last + self.policy.digest_every;
            if due > now {
                let waiting = !self.queue.arrived(told.place, 1).await?.is_empty();
                return Ok(waiting.then_some(due));
            }
        }
        let arrived = self.gather(told.place).await?;
        let mut told = told;
        if arrived.count > 0 {
            let state = if told.red { AlertState::Digest } else { AlertState::Alarm };
            told = Reported { place: arrived.place, red: true, last: now };
            // The depth is older than what has arrived since: whether it is empty again is for the next look to say.
            let depth = depth.max(arrived.count);
            self.tell(told, now, state, depth, arrived).await?;
        } else if told.red && depth == 0 {
            told.red = false;
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

    async fn told(&self) -> Result<Reported, PortError> {
        let name = self.name.clone();
        self.store
            .read(move |connection| {
                let mut select =
                    connection.prepare_cached("SELECT told, red, last FROM alarm WHERE queue = ?1")?;
                let told = select.query_row((&name,), |row| {
                    let mut columns = Columns::of(row);
                    let (place, red) = (columns.number(0, "place")?, columns.number(1, "state")? > 0);
                    let last = columns.optional_time(2, "time")?.map(Timestamp::from_millis).unwrap_or_default();
                    Ok(match columns.wrong() {
                        None => Reported { place, red, last },
                        Some(why) => {
                            tracing::error!(queue = %name, %why, "what an alarm told is damaged: it is told anew");
                            Reported::default()
                        }
                    })
                });
                Ok(told.optional()?.unwrap_or_default())
            })
            .await
    }

    async fn tell(
        &self,
        told: Reported,
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
        let (name, place) = (self.name.clone(), i64::try_from(told.place).unwrap_or(i64::MAX));
        let files: Vec<Arc<QueueFile>> =
            self.subscriptions.iter().map(|queue| Arc::clone(queue.file())).collect();
        self.store
            .run(move |connection| {
                for file in &files {
                    file.inserter(connection)?.insert(now, Duration::ZERO, None, (&body, 0))?;
                }
                connection
                    .prepare_cached(
                        "INSERT INTO alarm(queue, told, red, last) VALUES(?1, ?2, ?3, ?4)
                         ON CONFLICT(queue) DO UPDATE SET told = ?2, red = ?3, last = ?4",
                    )?
                    .execute((name, place, told.red, told.last.as_millis()))
            })
            .await?;
        for queue in &self.subscriptions {
            queue.sent();
        }
        Ok(())
    }

    fn envelope(&self, alert: Alert, place: u64) -> Result<String, serde_json::Error> {
        let state = serde_json::to_value(alert.state)?;
        let id = format!("alarm/{}@{place}.{}", self.name, state.as_str().unwrap_or_default());
        let source = format!("/{}/alarm", self.choreography);
        serde_json::to_string(&Envelope::first(id, source, alert.at, alert))
    }
}
