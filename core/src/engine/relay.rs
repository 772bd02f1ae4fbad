//! The relay of one table: sends what its change stream holds on to queues and topics.

use super::{
    WAIT,
    activity::{Activity, Busy},
    task::{Progress, Stopping, Turns},
};
use crate::{
    failure::Failure,
    metrics::Meter,
    model::Model,
    pipeline::Pipeline,
    port::{ChangeStream, PortError, Ports, StreamRecord},
    relay,
};
use futures_util::future::join;
use std::sync::Arc;

/// Stream records sent on at once.
const RELAY_BATCH: usize = 1_000;

/// The relay of one stream.
pub(super) struct Relay {
    model: Arc<Model>,
    ports: Arc<Ports>,
    table: String,
    stream: Arc<dyn ChangeStream>,
    activity: Activity,
    stopping: Stopping,
    done: Option<Done>,
}

/// Records that are sent on, and checkpointed with the next turn.
struct Done {
    sequence: u64,
    busy: Busy,
}

impl Relay {
    pub(super) fn new(
        pipeline: &Pipeline,
        table: &str,
        stream: &Arc<dyn ChangeStream>,
        activity: &Activity,
        stopping: Stopping,
    ) -> Self {
        Self {
            model: Arc::clone(pipeline.choreography().model()),
            ports: Arc::clone(pipeline.ports()),
            table: table.to_owned(),
            stream: Arc::clone(stream),
            activity: activity.clone(),
            stopping,
            done: None,
        }
    }

    /// Checkpoints what was sent on, and reads what is behind it; `None` where the engine stops. Both at once, as a consumer
    /// acknowledges and receives.
    async fn next(&mut self) -> (Result<(), PortError>, Option<Result<Vec<StreamRecord>, PortError>>) {
        let (stream, stopping) = (&self.stream, &mut self.stopping);
        let done = self.done.take();
        let checkpointing = async {
            let Some(Done { sequence, busy }) = done else { return Ok(()) };
            let checkpointed = stream.checkpoint(sequence).await;
            drop(busy);
            checkpointed
        };
        let reading = async {
            tokio::select! {
                biased;
                () = stopping.wait() => None,
                read = stream.read(RELAY_BATCH, WAIT) => Some(read),
            }
        };
        join(checkpointing, reading).await
    }

    async fn forward(&mut self, records: &[StreamRecord]) -> Result<(), Failure> {
        let busy = self.activity.begin();
        // Nobody else reads this stream here.
        let hands_on = |table: &str| table == self.table;
        let meter = Meter::default();
        let forwarded = relay::forward(&self.model, &self.ports, records, &meter, hands_on).await;
        let sent = forwarded.as_ref().map_or_else(|(sent, _)| *sent, |()| records.len());
        let last = sent.checked_sub(1).and_then(|last| records.get(last)).map(|last| last.sequence);
        match (forwarded, last) {
            (Ok(()), last) => self.done = last.map(|sequence| Done { sequence, busy }),
            // Now, as a pause follows: what was sent on is not to be sent again because of what was not.
            (Err((_, failure)), Some(sequence)) => {
                self.stream.checkpoint(sequence).await?;
                return Err(failure);
            }
            (Err((_, failure)), None) => return Err(failure),
        }
        Ok(())
    }
}

impl Turns for Relay {
    async fn turn(&mut self) -> Progress {
        let (checkpointed, read) = self.next().await;
        let Some(read) = read else {
            if let Err(error) = checkpointed {
                tracing::warn!(%error, "the relay could not checkpoint; what it sent last is sent again");
            }
            return Progress::Stopped;
        };
        let forwarded = match checkpointed.and(read) {
            Ok(records) if records.is_empty() => return Progress::Idle,
            Ok(records) => self.forward(&records).await,
            Err(error) => Err(error.into()),
        };
        match forwarded {
            Ok(()) => Progress::Worked,
            Err(failure) => {
                tracing::warn!(%failure, "the relay could not send everything on; it goes on where it was");
                Progress::Failed
            }
        }
    }
}
