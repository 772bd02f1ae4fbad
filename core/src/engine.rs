//! The engine: runs a choreography in one process over any ports. Consumers wait on their queues, the relay on the change
//! streams, schedules on the clock; nothing polls. Stopping lets what is in hand finish.

use crate::{
    Failure, Pipeline,
    choreography::{ScheduleModel, When},
    metrics::Meter,
    port::{ChangeStream, NewMessage, PortError},
    relay,
};
use futures_util::future::join;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// How long a receive waits before it asks again; a message or the stop wakes it earlier.
const WAIT: Duration = Duration::from_secs(3_600);

/// Pause after a port failed, so that a broken one is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(500);

/// Stream records sent on at once.
const RELAY_BATCH: usize = 1_000;

/// A running choreography. Dropping it aborts what runs; [`stop`](Self::stop) lets it finish.
pub struct Engine {
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Tells a task of the engine that it is to stop.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Returns once the engine is stopping.
    pub async fn wait(&mut self) {
        // The sender is gone only with the engine.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Engine {
    /// Starts consumers, relay and schedules of the pipeline's choreography.
    pub fn start(pipeline: Pipeline) -> Self {
        let mut engine =
            Self { pipeline: pipeline.clone(), stop: watch::Sender::new(false), tasks: JoinSet::new() };
        let model = Arc::clone(pipeline.choreography().model());
        for step in &model.steps {
            for _ in 0..step.workers {
                let (pipeline, name, queue, batch) =
                    (pipeline.clone(), step.name.clone(), step.queue.clone(), step.batch);
                engine.spawn(|stopping| consume(pipeline, name, queue, batch, stopping));
            }
        }
        for stream in pipeline.ports().streams.values() {
            let (pipeline, stream) = (pipeline.clone(), Arc::clone(stream));
            engine.spawn(|stopping| forward(pipeline, stream, stopping));
        }
        for schedule in &model.schedules {
            let when = when_of(&pipeline, schedule);
            let (pipeline, name) = (pipeline.clone(), schedule.name.clone());
            engine.spawn(move |stopping| run_schedule(pipeline, name, when, stopping));
        }
        engine
    }

    /// The pipeline it runs messages and requests through.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Runs a task of the adapter's beside the engine's own, until it is told to stop.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, task: impl FnOnce(Stopping) -> F) {
        self.tasks.spawn(task(Stopping(self.stop.subscribe())));
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

/// Sends the message of schedule `name` for the time `scheduled`, as the schedule itself would.
///
/// # Errors
/// A [`Failure`] where there is no such schedule or a queue can't take the message; others may have it. It is safe to
/// repeat.
pub async fn trigger(pipeline: &Pipeline, name: &str, scheduled: crate::Timestamp) -> Result<(), Failure> {
    let (queues, body) = pipeline.choreography().scheduled_message(name, scheduled)?;
    for queue in queues {
        let message = NewMessage { body: body.clone(), ..NewMessage::default() };
        let sent = pipeline.ports().queue(&queue)?.send(vec![message]).await;
        sent.into_iter().collect::<Result<(), PortError>>()?;
    }
    Ok(())
}

async fn consume(pipeline: Pipeline, step: String, queue: String, batch: usize, mut stopping: Stopping) {
    let queue = match pipeline.ports().queue(&queue) {
        Ok(queue) => Arc::clone(queue),
        Err(error) => {
            tracing::error!(step, %error, "a consumer has no queue");
            return;
        }
    };
    let clock = Arc::clone(&pipeline.ports().clock);
    let mut done = Vec::new();
    loop {
        let settled = std::mem::take(&mut done);
        // Those done are deleted while the next are received: a store does both with one flush.
        let ((), received) = join(pipeline.acknowledge(&step, &settled), async {
            // A receive that is dropped half-way may have taken messages: their visibility timeout gives them back.
            tokio::select! {
                biased;
                () = stopping.wait() => None,
                received = queue.receive(batch, WAIT, None) => Some(received),
            }
        })
        .await;
        let outcome = match received {
            None => return,
            Some(Ok(messages)) if messages.is_empty() => continue,
            Some(Ok(messages)) => {
                let delivered = pipeline.deliver_unacknowledged(&step, &messages).await;
                delivered.map(|delivered| done = delivered.done(&messages))
            }
            Some(Err(error)) => Err(error.into()),
        };
        if let Err(failure) = outcome {
            tracing::error!(step, %failure, "a batch could not be worked");
            pause(clock.as_ref(), &mut stopping).await;
        }
    }
}

async fn pause(clock: &dyn crate::port::Clock, stopping: &mut Stopping) {
    tokio::select! {
        () = clock.sleep_until(clock.now() + PAUSE) => {}
        () = stopping.wait() => {}
    }
}

async fn forward(pipeline: Pipeline, stream: Arc<dyn ChangeStream>, mut stopping: Stopping) {
    let (model, ports) = (Arc::clone(pipeline.choreography().model()), Arc::clone(pipeline.ports()));
    let mut done = None;
    loop {
        // As with a consumer's messages: what was sent on is checkpointed while what is behind it is read.
        let checkpoint = async {
            match done.take() {
                Some(sequence) => stream.checkpoint(sequence).await,
                None => Ok(()),
            }
        };
        let (checkpointed, read) = join(checkpoint, async {
            tokio::select! {
                biased;
                () = stopping.wait() => None,
                read = stream.read(RELAY_BATCH, WAIT) => Some(read),
            }
        })
        .await;
        let Some(read) = read else {
            if let Err(error) = checkpointed {
                tracing::warn!(%error, "the relay could not checkpoint; what it sent last is sent again");
            }
            return;
        };
        let outcome = async {
            checkpointed?;
            let records = read?;
            let (sent, failure) = match relay::forward(&model, &ports, &records, &Meter::default()).await {
                Ok(()) => (records.len(), None),
                Err((sent, failure)) => (sent, Some(failure)),
            };
            done = sent.checked_sub(1).and_then(|last| records.get(last)).map(|last| last.sequence);
            let Some(failure) = failure else { return Ok(()) };
            // Now, as a pause follows: what was sent on is not to be sent again because of what was not.
            if let Some(sequence) = done.take() {
                stream.checkpoint(sequence).await?;
            }
            Err(failure)
        };
        if let Err(failure) = outcome.await {
            tracing::warn!(%failure, "the relay could not send everything on; it goes on where it was");
            pause(ports.clock.as_ref(), &mut stopping).await;
        }
    }
}

/// When a schedule sends in this process: as a setting says, where it has one.
fn when_of(pipeline: &Pipeline, schedule: &ScheduleModel) -> When {
    let setting = schedule.setting.as_ref();
    let every = setting.and_then(|name| pipeline.ports().settings.get::<Duration>(name).ok());
    every.map_or_else(|| schedule.when.clone(), When::Every)
}

async fn run_schedule(pipeline: Pipeline, name: String, when: When, mut stopping: Stopping) {
    let clock = Arc::clone(&pipeline.ports().clock);
    loop {
        let next = match when.next(clock.now()) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(schedule = name, %error, "a schedule has no further time");
                return;
            }
        };
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = stopping.wait() => return,
        }
        // The same event however often it is sent, so that sending it again is safe.
        while let Err(failure) = trigger(&pipeline, &name, next).await {
            tracing::error!(schedule = name, %failure, "a scheduled message could not be sent; tried again");
            tokio::select! {
                () = clock.sleep_until(clock.now() + PAUSE) => {}
                () = stopping.wait() => return,
            }
        }
    }
}
