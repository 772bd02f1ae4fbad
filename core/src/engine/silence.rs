//! Watches a schedule: where nothing of it is handled for some periods, people are told, once, and once when it is well again.

use super::task::{Progress, Stopping, Turns};
use crate::{
    alarm::{Alert, AlertState},
    event::Envelope,
    failure::Failure,
    pipeline::{Pipeline, silence},
    port::{NewMessage, PortError},
    vitals::Vital,
};
use std::time::Duration;

/// How often a schedule that stands is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

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

    async fn tell(&self, state: AlertState) -> Result<(), Failure> {
        let Some(topic) = &self.topic else { return Ok(()) };
        let (ports, choreography) = (self.pipeline.ports(), &self.pipeline.choreography().model().name);
        let now = ports.clock.now();
        let name = ["schedule ", &self.schedule].concat();
        let (id, detail) = match state {
            AlertState::Ok => (format!("silence/{}@{now}.ok", self.schedule), "handled again".to_owned()),
            _ => (format!("silence/{}@{now}.alarm", self.schedule), silence()),
        };
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
        let Some(left) = self.pipeline.scheduled().left(&self.schedule, clock.uptime()) else {
            return Progress::Over;
        };
        if left.is_zero() == self.is_told {
            let wait = if left.is_zero() { LOOK_AGAIN } else { left };
            // A clock that was set back goes at nine tenths of its pace.
            vital.within(wait.saturating_add(wait / 8));
            tokio::select! {
                biased;
                () = self.stopping.wait() => return Progress::Stopped,
                () = clock.sleep_until(clock.now() + wait) => return Progress::Idle,
            }
        }
        vital.within(Duration::ZERO);
        let state = if left.is_zero() { AlertState::Alarm } else { AlertState::Ok };
        if state == AlertState::Alarm {
            tracing::error!(schedule = self.schedule, "{}", silence());
        }
        match self.tell(state).await {
            Ok(()) => {
                self.is_told = state == AlertState::Alarm;
                Progress::Worked
            }
            Err(failure) => {
                tracing::error!(schedule = self.schedule, %failure, "people could not be told of a schedule; tried again");
                Progress::Failed
            }
        }
    }
}
