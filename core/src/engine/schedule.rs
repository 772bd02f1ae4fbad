//! A schedule: sends its message at the multiples of its period.

use super::{
    activity::Activity,
    task::{Progress, Stopping, Turns},
};
use crate::{
    choreography::ScheduleModel,
    failure::Failure,
    pipeline::Pipeline,
    port::{NewMessage, PortError},
    timestamp::Timestamp,
};

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

/// A running schedule.
pub(super) struct Schedule {
    pipeline: Pipeline,
    name: String,
    every_millis: i64,
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
            every_millis: i64::try_from(schedule.every.as_millis()).unwrap_or(i64::MAX).max(1),
            activity: activity.clone(),
            stopping,
            next: None,
        }
    }
}

impl Turns for Schedule {
    async fn turn(&mut self) -> Progress {
        let (clock, every) = (&self.pipeline.ports().clock, self.every_millis);
        let multiple = || Timestamp::from_millis((clock.now().as_millis() / every + 1).saturating_mul(every));
        let next = *self.next.get_or_insert_with(multiple);
        tokio::select! {
            biased;
            () = self.stopping.wait() => return Progress::Stopped,
            () = clock.sleep_until(next) => {}
        }
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
