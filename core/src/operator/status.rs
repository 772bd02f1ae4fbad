//! How it goes: on one screen what waits, what fails now, and when schedules come.

use super::{QueueStatus, queues};
use crate::{
    engine::when_of,
    failure::Failure,
    pipeline::{Failing, Pipeline, StepCounts},
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Failures that are told one by one.
const FAILING_MAX: usize = 10;

/// How it goes with a choreography.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The choreography.
    pub name: String,
    /// The time.
    pub now: Timestamp,
    /// Every queue that has consumers.
    pub queues: Vec<QueueStatus>,
    /// When the oldest message was sent that a queue holds, dead-letter queues among them. Empty where no queue tells (AWS).
    pub oldest: BTreeMap<String, Timestamp>,
    /// What became of the messages of each step, since the process started.
    pub steps: BTreeMap<String, StepCounts>,
    /// The latest failures that are tried again, at most 10; see [`Pipeline::failing_now`].
    pub failing: Vec<Failing>,
    /// There are more of them.
    pub fails_more: bool,
    /// The schedules.
    pub schedules: Vec<ScheduleStatus>,
}

/// How it goes with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// Its next time; `None` where it has none.
    pub next: Option<Timestamp>,
    /// What is the matter with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amiss: Option<String>,
}

/// How it goes.
///
/// # Errors
/// A [`Failure`] of a queue.
pub async fn status(pipeline: &Pipeline) -> Result<Status, Failure> {
    let (model, ports) = (pipeline.choreography().model(), pipeline.ports());
    let (now, uptime) = (ports.clock.now(), ports.clock.uptime());
    let queues = queues(pipeline).await?;
    let mut oldest = BTreeMap::new();
    for name in queues.iter().flat_map(|queue| [&queue.name, &queue.dead_letter_queue]) {
        let port = ports.queue(name)?;
        if port.shows_arrivals()
            && let Some((_, message)) = port.arrived(0, 1).await?.pop()
        {
            oldest.insert(name.clone(), message.sent_at);
        }
    }
    let mut failing = pipeline.failing_now(None, FAILING_MAX + 1);
    let fails_more = failing.len() > FAILING_MAX;
    failing.truncate(FAILING_MAX);
    let schedules = model.schedules.iter().map(|schedule| ScheduleStatus {
        name: schedule.name.clone(),
        next: when_of(pipeline, schedule).next(now).ok(),
        amiss: pipeline.scheduled().amiss(&schedule.name, uptime),
    });
    Ok(Status {
        name: model.name.clone(),
        now,
        queues,
        oldest,
        steps: pipeline.counts(),
        failing,
        fails_more,
        schedules: schedules.collect(),
    })
}
