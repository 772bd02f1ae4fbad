//! A consumer: receives a step's messages, has the pipeline work them, acknowledges them.

use super::{
    WAIT,
    activity::{Activity, Busy},
    task::{Progress, Stopping, Turns},
};
use crate::{
    failure::Failure,
    model::StepModel,
    pipeline::{Observation, Pipeline, Settled},
    port::{Message, Receipt},
};
use futures_util::future::join;

/// One consumer of a step.
pub(super) struct Consumer {
    pipeline: Pipeline,
    step: String,
    queue: String,
    batch: usize,
    activity: Activity,
    stopping: Stopping,
    done: Option<Done>,
}

/// A batch that is settled, and acknowledged with the next turn.
struct Done {
    receipts: Vec<Receipt>,
    /// What onlookers are told then.
    observations: Vec<Observation>,
    busy: Busy,
}

impl Consumer {
    pub(super) fn new(
        pipeline: &Pipeline,
        step: &StepModel,
        activity: &Activity,
        stopping: Stopping,
    ) -> Self {
        Self {
            pipeline: pipeline.clone(),
            step: step.name.clone(),
            queue: step.queue.clone(),
            batch: step.batch,
            activity: activity.clone(),
            stopping,
            done: None,
        }
    }

    /// Acknowledges what is done and receives the next; `None` where the engine stops. Both at once: a store does them with
    /// one flush.
    async fn next(&mut self) -> Result<Option<Vec<Message>>, Failure> {
        let (pipeline, step, stopping) = (&self.pipeline, &self.step, &mut self.stopping);
        let done = self.done.take();
        let acknowledging = async {
            if let Some(Done { receipts, observations, busy }) = done {
                pipeline.acknowledge(step, &receipts).await;
                pipeline.tell(observations);
                drop(busy);
            }
        };
        let queue = pipeline.ports().queue(&self.queue);
        // A receive that is dropped half-way may have taken messages: their visibility timeout gives them back.
        let receiving = async {
            tokio::select! {
                biased;
                () = stopping.wait() => Ok(None),
                received = async { queue?.receive(self.batch, WAIT, None).await } => received.map(Some),
            }
        };
        let ((), received) = join(acknowledging, receiving).await;
        Ok(received?)
    }

    async fn work(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let busy = self.activity.begin();
        let Settled { delivered, observations } = self.pipeline.settled(&self.step, messages).await?;
        self.done = Some(Done { receipts: delivered.done(messages), observations, busy });
        Ok(())
    }
}

impl Turns for Consumer {
    async fn turn(&mut self) -> Progress {
        let worked = match self.next().await {
            Ok(None) => return Progress::Stopped,
            Ok(Some(messages)) if messages.is_empty() => return Progress::Idle,
            Ok(Some(messages)) => self.work(&messages).await,
            Err(failure) => Err(failure),
        };
        match worked {
            Ok(()) => Progress::Worked,
            Err(failure) => {
                tracing::error!(step = self.step, %failure, "a batch could not be worked");
                Progress::Failed
            }
        }
    }
}
