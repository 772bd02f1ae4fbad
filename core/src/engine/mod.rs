//! The engine: runs a choreography in one process over any ports. Consumers wait on their queues, the relay on the change
//! streams, schedules on the clock; nothing polls. Stopping lets what is in hand finish.
//!
//! Each of them is a loop of turns (`task`), watched over: a turn that panics, by a fault of a port, say, is logged and
//! the loop goes on after a pause. A handler's own panic is its message's failure and never comes so far.

mod activity;
mod consume;
mod relay;
mod schedule;
mod silence;
mod task;

pub use schedule::trigger;
pub use task::Stopping;

use crate::{model::Model, pipeline::Pipeline, port::PortError};
use activity::Activity;
use consume::Consumer;
use futures_util::future::BoxFuture;
use relay::Relay;
use schedule::Schedule;
pub(crate) use schedule::when_of;
use silence::Silence;
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use task::{Spawned, Turns, supervise};
use tokio::{sync::watch, task::JoinSet};

/// How long a receive waits before it asks again; a message or the stop wakes it earlier. One that takes longer is told as a call
/// that gives no answer.
const WAIT: Duration = Duration::from_secs(60);

/// How long an engine that is not idle is left before it is looked at again, where no task of it tells of a change.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A running choreography. Dropping it aborts what runs; [`stop`](Self::stop) lets it finish.
pub struct Engine {
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    activity: Activity,
    tasks: JoinSet<()>,
}

/// A part of an engine, which works by itself: on AWS it is a function, or a service of AWS's.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The consumers of a step.
    Step(String),
    /// The relay of a table.
    Relay(String),
    /// A schedule.
    Schedule(String),
}

impl Part {
    /// All parts.
    pub(crate) fn of(model: &Model) -> Vec<Self> {
        let steps = model.steps.iter().map(|step| Self::Step(step.name.clone()));
        let relays = model.tables.iter().map(|table| Self::Relay(table.name.clone()));
        let schedules = model.schedules.iter().map(|schedule| Self::Schedule(schedule.name.clone()));
        steps.chain(relays).chain(schedules).collect()
    }

    /// What it is called.
    #[cfg(feature = "sim")]
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Step(name) => name.clone(),
            Self::Relay(table) => format!("relay {table}"),
            Self::Schedule(name) => format!("schedule {name}"),
        }
    }
}

/// A loop of turns, watched over.
type Task = BoxFuture<'static, ()>;

/// The tasks of a part. Where it is alone in its process, nobody sees there whether a schedule's messages are handled,
/// and that is not watched.
fn tasks(
    pipeline: &Pipeline,
    part: &Part,
    activity: &Activity,
    stopping: &Stopping,
    is_watched: bool,
) -> Vec<Task> {
    let model = Arc::clone(pipeline.choreography().model());
    match part {
        Part::Step(name) => {
            let Some(step) = model.step(name) else { return Vec::new() };
            let consumer = |_| {
                let consumer = Consumer::new(pipeline, step, activity, stopping.clone());
                watched(pipeline, format!("consumer {name}"), stopping, consumer)
            };
            (0..step.workers).map(consumer).collect()
        }
        Part::Relay(table) => {
            let Some(stream) = pipeline.ports().streams.get(table) else { return Vec::new() };
            let relay = Relay::new(pipeline, table, stream, activity, stopping.clone());
            vec![watched(pipeline, format!("relay {table}"), stopping, relay)]
        }
        Part::Schedule(name) => {
            let Some(schedule) = model.schedules.iter().find(|schedule| schedule.name == *name) else {
                return Vec::new();
            };
            let mut tasks = Vec::new();
            if let Some(period) = when_of(pipeline, schedule).longest_gap().filter(|_| is_watched) {
                let told = model.steps.iter().filter(|step| step.is_told(&schedule.event_type));
                let told: Vec<String> = told.map(|step| step.name.clone()).collect();
                let now = pipeline.ports().clock.uptime();
                pipeline.scheduled().follow(name, period, &told, now);
                let silence = Silence::new(pipeline, name, stopping.clone());
                tasks.push(watched(pipeline, format!("watch over schedule {name}"), stopping, silence));
            }
            let schedule = Schedule::new(pipeline, schedule, activity, stopping.clone());
            tasks.push(watched(pipeline, format!("schedule {name}"), stopping, schedule));
            tasks
        }
    }
}

fn watched(pipeline: &Pipeline, name: String, stopping: &Stopping, task: impl Turns + 'static) -> Task {
    let clock = Arc::clone(&pipeline.ports().clock);
    let vital = pipeline.vitals().follow(&name, &clock);
    Box::pin(supervise(name, clock, stopping.clone(), task, vital))
}

/// The tasks of parts that somebody else runs, without a runtime: they are never told to stop, and may be dropped at any await.
#[cfg(feature = "sim")]
pub(crate) struct Tasks {
    never: watch::Sender<bool>,
}

#[cfg(feature = "sim")]
impl Default for Tasks {
    fn default() -> Self {
        Self { never: watch::Sender::new(false) }
    }
}

#[cfg(feature = "sim")]
impl Tasks {
    /// Those of a part, over the ports of this pipeline.
    pub(crate) fn of(&self, pipeline: &Pipeline, part: &Part) -> Vec<Task> {
        tasks(pipeline, part, &Activity::default(), &Stopping::new(self.never.subscribe()), false)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts consumers, relay and schedules of the pipeline's choreography.
    pub fn start(pipeline: Pipeline) -> Self {
        let stop = watch::Sender::new(false);
        let mut engine =
            Self { pipeline: pipeline.clone(), stop, activity: Activity::default(), tasks: JoinSet::new() };
        pipeline.holds_back();
        for part in Part::of(pipeline.choreography().model()) {
            for task in tasks(&pipeline, &part, &engine.activity, &engine.stopping(), true) {
                engine.tasks.spawn(task);
            }
        }
        engine
    }

    /// The pipeline it runs messages and requests through.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Runs a task of the adapter's beside the engine's own, until it is told to stop. One that ends before, or panics, is
    /// made and run again after a pause, and the log tells of it by its `name`.
    pub fn spawn<T, F>(&mut self, name: impl Into<String>, task: T)
    where
        T: FnMut(Stopping) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping();
        let task = Spawned::new(task, stopping.clone());
        self.tasks.spawn(watched(&self.pipeline, name.into(), &stopping, task));
    }

    fn stopping(&self) -> Stopping {
        Stopping::new(self.stop.subscribe())
    }

    /// Returns once nothing is left to do now. No queue with a consumer has a message that is visible or in flight, no
    /// change stream has a record that was not sent on, and none of the engine's tasks has something in hand.
    ///
    /// What waits for a later time does not count: a message with a delay, a schedule. A message that waits for its backoff
    /// is in flight, and so is one whose receiver died: it is waited for. It is as exact as the depths that the queues
    /// tell. What others send meanwhile, requests for example, may come right after it.
    pub async fn idle(&self) {
        let clock = &self.pipeline.ports().clock;
        let mut watching = self.activity.watch();
        loop {
            let rest = watching.rest().await;
            match self.is_empty().await {
                // What is in motion can be overlooked, in its old place and in its new one: nothing must have moved.
                Ok(true) if watching.is_still(rest) => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "it could not be seen whether the engine is idle"),
            }
            tokio::select! {
                biased;
                () = watching.moved() => {}
                () = clock.sleep_until(clock.now() + LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether there is nothing now in the queues that have a consumer, and in the change streams.
    async fn is_empty(&self) -> Result<bool, PortError> {
        let (model, ports) = (self.pipeline.choreography().model(), self.pipeline.ports());
        for stream in ports.streams.values() {
            // Nothing is taken by reading: only a checkpoint moves on.
            if !stream.read(1, Duration::ZERO).await?.is_empty() {
                return Ok(false);
            }
        }
        let consumed: BTreeSet<&str> = model.steps.iter().map(|step| step.queue.as_str()).collect();
        for queue in consumed {
            let depth = ports.queue(queue)?.depth().await?;
            if depth.visible + depth.in_flight > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes nothing new, finishes what is in hand, and returns.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the engine ended badly");
            }
        }
    }
}
