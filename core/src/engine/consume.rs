//! A consumer: receives a step's messages, has the pipeline work them, acknowledges them.

use super::{
    WAIT,
    activity::{Activity, Busy},
    task::{Progress, Stopping, Turns},
};
use crate::{
    failure::Failure,
    model::StepModel,
    pipeline::{Observation, Pipeline, Settled, Unsettled},
    planted::planted,
    port::{Message, PortError, Receipt},
    timestamp::Timestamp,
    vitals::Vital,
};
use futures_util::future::{BoxFuture, Either, select};
use std::{pin::pin, sync::Arc, time::Duration};

/// One consumer of a step.
pub(super) struct Consumer {
    pipeline: Pipeline,
    step: String,
    queue: String,
    /// The queue's visibility timeout.
    visibility: Duration,
    timeout: Duration,
    batch: usize,
    activity: Activity,
    stopping: Stopping,
    /// What is to be acknowledged with the next turn. Two batches at most: where the first could not be, no third is received.
    done: Vec<Done>,
    /// Some of that could not be acknowledged before.
    is_late: bool,
    /// A receive that goes on: dropped half-way, it may have taken messages.
    receiving: Option<BoxFuture<'static, Result<Vec<Message>, PortError>>>,
}

/// A batch that is settled, but for what its ports did not take and for its acknowledgement.
struct Done {
    receipts: Vec<Receipt>,
    unsettled: Option<Unsettled>,
    /// From then on its messages come again, settled or not.
    until: Timestamp,
    /// What onlookers are told once it is acknowledged.
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
        let queue = pipeline.choreography().model().queue(&step.queue);
        Self {
            pipeline: pipeline.clone(),
            step: step.name.clone(),
            queue: step.queue.clone(),
            visibility: queue.map(|queue| queue.visibility_timeout).unwrap_or_default(),
            timeout: step.timeout,
            batch: step.batch,
            activity: activity.clone(),
            stopping,
            done: Vec::new(),
            is_late: false,
            receiving: None,
        }
    }

    /// Acknowledges what is done and receives the next; `None` where the engine stops. Both at once: a store does them with
    /// one flush. Where the first could not be done, the receive is left to go on meanwhile.
    async fn next(&mut self) -> Result<Option<Vec<Message>>, Failure> {
        let mut receiving = match self.receiving.take() {
            Some(receiving) => receiving,
            None => self.receive()?,
        };
        let done = std::mem::take(&mut self.done);
        let stopping = &mut self.stopping;
        let received = async {
            tokio::select! {
                biased;
                () = stopping.wait() => Ok(None),
                received = &mut receiving => received.map(Some),
            }
        };
        let (left, received) = {
            let acknowledging = pin!(acknowledged(&self.pipeline, &self.step, done));
            match select(acknowledging, pin!(received)).await {
                Either::Left((left, received)) if left.is_empty() => (left, Some(received.await)),
                Either::Left((left, _)) => (left, None),
                Either::Right((received, acknowledging)) => (acknowledging.await, Some(received)),
            }
        };
        self.is_late = !left.is_empty();
        self.done = left;
        match received {
            Some(received) => Ok(received?),
            None => {
                self.receiving = Some(receiving);
                Err(self.late())
            }
        }
    }

    fn receive(&self) -> Result<BoxFuture<'static, Result<Vec<Message>, PortError>>, Failure> {
        let (queue, batch) = (Arc::clone(self.pipeline.ports().queue(&self.queue)?), self.batch);
        Ok(Box::pin(async move { queue.receive(batch, WAIT, None).await }))
    }

    /// Acknowledges what could not be before.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        if self.is_late {
            let done = std::mem::take(&mut self.done);
            self.done = acknowledged(&self.pipeline, &self.step, done).await;
            self.is_late = !self.done.is_empty();
        }
        if self.is_late { Err(self.late()) } else { Ok(()) }
    }

    fn late(&self) -> Failure {
        let detail = format_args!("what was done with messages of {} is not taken yet", self.queue);
        Failure::transient("not_settled", detail)
    }

    async fn work(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let busy = self.activity.begin();
        let until = self.pipeline.ports().clock.now() + self.visibility;
        if planted("acknowledge_before_commit") {
            let receipts: Vec<Receipt> = messages.iter().map(|message| message.receipt.clone()).collect();
            self.pipeline.acknowledge(&self.step, &receipts).await?;
        }
        let settled = self.pipeline.settled(&self.step, messages, true).await?;
        let Settled { delivered, unsettled, observations } = settled;
        self.is_late |= unsettled.is_some();
        let receipts = delivered.done(messages);
        self.done.push(Done { receipts, unsettled, until, observations, busy });
        Ok(())
    }
}

/// Settles and acknowledges what is done, and tells the onlookers. Returns what could not be, and can be later: it is kept
/// until it comes again by itself.
async fn acknowledged(pipeline: &Pipeline, step: &str, done: Vec<Done>) -> Vec<Done> {
    let mut left = Vec::new();
    for mut done in done {
        let failure = match settled(pipeline, step, &mut done).await {
            Ok(()) if done.unsettled.is_none() => None,
            Ok(()) => Some(Failure::transient("not_settled", "a port did not take it")),
            Err(failure) => Some(failure),
        };
        match failure {
            Some(failure) if !failure.is_permanent() && pipeline.ports().clock.now() < done.until => {
                left.push(done);
                continue;
            }
            Some(failure) => {
                tracing::warn!(step, %failure, "messages were not settled; their visibility timeout gives them back");
            }
            None => {}
        }
        pipeline.tell(done.observations);
        drop(done.busy);
    }
    left
}

async fn settled(pipeline: &Pipeline, step: &str, done: &mut Done) -> Result<(), Failure> {
    if let Some(unsettled) = &done.unsettled {
        let (receipts, left) = pipeline.settle_again(step, unsettled).await?;
        done.receipts.extend(receipts);
        done.unsettled = left;
    }
    pipeline.acknowledge(step, &done.receipts).await?;
    done.receipts.clear();
    Ok(())
}

impl Turns for Consumer {
    async fn turn(&mut self, vital: &Vital) -> Progress {
        vital.within(WAIT);
        let next = match self.catch_up().await {
            Ok(()) => self.next().await,
            Err(failure) => Err(failure),
        };
        let worked = match next {
            Ok(None) => return Progress::Stopped,
            Ok(Some(messages)) if messages.is_empty() => return Progress::Idle,
            Ok(Some(messages)) => {
                vital.within(self.timeout);
                self.work(&messages).await
            }
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
