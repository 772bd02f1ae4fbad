//! Watches a schedule: where nothing of it is handled for some periods, or what it works off waits as long, people are told, once,
//! and once when it is well again.

use super::task::{Progress, Stopping, Turns};
use crate::{
    alarm::{Alert, AlertState},
    event::Envelope,
    failure::Failure,
    pipeline::Pipeline,
    port::{NewMessage, PortError},
    vitals::Vital,
};
use std::time::Duration;

/// How often a schedule that stands is looked at, where nothing tells of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);

/// The watch over one schedule.
pub(super) struct Silence {
    pipeline: Pipeline,
    schedule: String,
    /// The topic that people are told by.
    topic: Option<String>,
    stopping: Stopping,
    is_told: bool,
}

impl Silence {
    pub(super) fn new(pipeline: &Pipeline, schedule: &str, stopping: Stopping) -> Self {
        let alarm = pipeline.choreography().model().alarms.first();
        Self {
            pipeline: pipeline.clone(),
            schedule: schedule.to_owned(),
            topic: alarm.map(|alarm| alarm.topic.clone()),
            stopping,
            is_told: false,
        }
    }

    /// Tells what is amiss, or that nothing is any longer.
    async fn tell(&self, amiss: Option<String>) -> Result<(), Failure> {
        let Some(topic) = &self.topic else { return Ok(()) };
        let (ports, choreography) = (self.pipeline.ports(), &self.pipeline.choreography().model().name);
        let now = ports.clock.now();
        let name = ["schedule ", &self.schedule].concat();
        let (state, detail) = match amiss {
            None => (AlertState::Ok, "well again".to_owned()),
            Some(amiss) => (AlertState::Alarm, amiss),
        };
        let end = if state == AlertState::Ok { "ok" } else { "alarm" };
        let id = format!("silence/{}@{now}.{end}", self.schedule);
        let alert = Alert {
            choreography: choreography.clone(),
            queue: name,
            state,
            at: now,
            depth: 0,
            arrived: 0,
            reasons: Default::default(),
            subjects: Vec::new(),
            detail: Some(detail),
        };
        let envelope = Envelope::first(id, format!("/{choreography}/alarm"), now, alert);
        let message = NewMessage { body: envelope.to_text()?, ..NewMessage::default() };
        let told = ports.topic(topic)?.publish(vec![message]).await;
        Ok(told.into_iter().collect::<Result<(), PortError>>()?)
    }
}

impl Turns for Silence {
    async fn turn(&mut self, vital: &Vital) -> Progress {
        let clock = &self.pipeline.ports().clock;
        let scheduled = self.pipeline.scheduled();
        // Made before looking, so that what is handled in between is seen.
        let changed = scheduled.changed();
        let Some(left) = scheduled.left(&self.schedule, clock.uptime()) else {
            return Progress::Over;
        };
        let amiss = scheduled.amiss(&self.schedule, clock.uptime());
        if amiss.is_some() == self.is_told {
            let wait = if left.is_zero() { LOOK_AGAIN } else { left };
            // A clock that was set back goes at nine tenths of its pace.
            vital.within(wait.saturating_add(wait / 8));
            tokio::select! {
                biased;
                () = self.stopping.wait() => return Progress::Stopped,
                () = changed => return Progress::Idle,
                () = clock.sleep_until(clock.now() + wait) => return Progress::Idle,
            }
        }
        vital.within(Duration::ZERO);
        let is_amiss = amiss.is_some();
        if let Some(amiss) = &amiss {
            tracing::error!(schedule = self.schedule, "{amiss}");
        }
        match self.tell(amiss).await {
            Ok(()) => {
                self.is_told = is_amiss;
                Progress::Worked
            }
            Err(failure) => {
                tracing::error!(schedule = self.schedule, %failure, "people could not be told of a schedule; tried again");
                Progress::Failed
            }
        }
    }
}
