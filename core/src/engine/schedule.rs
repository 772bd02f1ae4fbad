//! A schedule: sends its message at its times.

use super::{
    activity::Activity,
    task::{Progress, Stopping, Turns},
};
use crate::{
    failure::Failure,
    model::{ScheduleModel, When},
    pipeline::Pipeline,
    port::{NewMessage, PortError},
    timestamp::Timestamp,
    vitals::Vital,
};
use std::time::Duration;

/// Sends the message of schedule `name` for the time `scheduled`, as the schedule itself would.
///
/// # Errors
/// A [`Failure`] where there is no such schedule or a queue can't take the message; others may have it. It is safe to
/// repeat.
pub async fn trigger(pipeline: &Pipeline, name: &str, scheduled: Timestamp) -> Result<(), Failure> {
    let (queues, body) = pipeline.choreography().scheduled_message(name, scheduled)?;
    for queue in queues {
        let message = NewMessage { body: body.clone(), ..NewMessage::default() };
        let sent = pipeline.ports().queue(&queue)?.send(vec![message]).await;
        sent.into_iter().collect::<Result<(), PortError>>()?;
    }
    Ok(())
}

/// When a schedule sends in this process: as a setting says, where it has one.
pub(crate) fn when_of(pipeline: &Pipeline, schedule: &ScheduleModel) -> When {
    let setting = schedule.setting.as_ref();
    let every = setting.and_then(|name| pipeline.ports().settings.get::<Duration>(name).ok());
    every.map_or_else(|| schedule.when.clone(), When::Every)
}

/// A running schedule.
pub(super) struct Schedule {
    pipeline: Pipeline,
    name: String,
    when: When,
    activity: Activity,
    stopping: Stopping,
    /// The time that is next to be sent, until it is.
    next: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn new(
        pipeline: &Pipeline,
        schedule: &ScheduleModel,
        activity: &Activity,
        stopping: Stopping,
    ) -> Self {
        Self {
            pipeline: pipeline.clone(),
            name: schedule.name.clone(),
            when: when_of(pipeline, schedule),
            activity: activity.clone(),
            stopping,
            next: None,
        }
    }
}

impl Turns for Schedule {
    async fn turn(&mut self, vital: &Vital) -> Progress {
        let clock = &self.pipeline.ports().clock;
        let next = match self.next {
            Some(next) => next,
            None => match self.when.next(clock.now()) {
                Ok(next) => *self.next.insert(next),
                Err(error) => {
                    tracing::error!(schedule = self.name, %error, "a schedule has no further time");
                    return Progress::Over;
                }
            },
        };
        let left = next.since(clock.now());
        // A clock that was set back goes at nine tenths of its pace.
        vital.within(left.saturating_add(left / 8));
        tokio::select! {
            biased;
            () = self.stopping.wait() => return Progress::Stopped,
            () = clock.sleep_until(next) => {}
        }
        vital.within(Duration::ZERO);
        let _busy = self.activity.begin();
        // The same event however often it is sent, so that sending it again is safe.
        if let Err(failure) = trigger(&self.pipeline, &self.name, next).await {
            tracing::error!(schedule = self.name, %failure, "a scheduled message could not be sent; tried again");
            return Progress::Failed;
        }
        self.next = None;
        Progress::Worked
    }
}
