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
    planted::planted,
    port::{ChangeStream, PortError, Ports, StreamRecord},
    relay,
    vitals::Vital,
};
use futures_util::future::{Either, select};
use std::{pin::pin, sync::Arc, time::Duration};

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
    _busy: Busy,
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
    /// acknowledges and receives. What could not be checkpointed is kept, and nothing is read before it is: it would be sent
    /// again.
    async fn next(&mut self) -> Result<Option<Vec<StreamRecord>>, PortError> {
        let (stream, stopping) = (&self.stream, &mut self.stopping);
        let done = self.done.as_ref().map(|done| done.sequence);
        let checkpointing = async {
            match done {
                Some(sequence) => stream.checkpoint(sequence).await,
                None => Ok(()),
            }
        };
        let reading = async {
            tokio::select! {
                biased;
                () = stopping.wait() => Ok(None),
                read = stream.read(RELAY_BATCH, WAIT) => read.map(Some),
            }
        };
        // Nothing is taken by reading, so that it may be dropped.
        match select(pin!(checkpointing), pin!(reading)).await {
            Either::Left((checkpointed, reading)) => {
                checkpointed?;
                self.done = None;
                reading.await
            }
            Either::Right((read, checkpointing)) => {
                checkpointing.await?;
                self.done = None;
                read
            }
        }
    }

    async fn forward(&mut self, records: &[StreamRecord]) -> Result<(), Failure> {
        let busy = self.activity.begin();
        // Nobody else reads this stream here.
        let hands_on = |table: &str| table == self.table;
        let meter = Meter::default();
        if let Some(last) = records.last().filter(|_| planted("checkpoint_before_send")) {
            self.stream.checkpoint(last.sequence).await?;
        }
        let forwarded = relay::forward(&self.model, &self.ports, records, &meter, hands_on).await;
        let sent = forwarded.as_ref().map_or_else(|(sent, _)| *sent, |()| records.len());
        let last = sent.checked_sub(1).and_then(|last| records.get(last)).map(|last| last.sequence);
        self.done = last.map(|sequence| Done { sequence, _busy: busy });
        let Err((_, failure)) = forwarded else { return Ok(()) };
        // Now, as a pause follows: what was sent on is not to be sent again because of what was not.
        if let Some(Done { sequence, .. }) = &self.done {
            self.stream.checkpoint(*sequence).await?;
            self.done = None;
        }
        Err(failure)
    }
}

impl Turns for Relay {
    async fn turn(&mut self, vital: &Vital) -> Progress {
        vital.within(WAIT);
        let forwarded = match self.next().await {
            Ok(None) => return Progress::Stopped,
            Ok(Some(records)) if records.is_empty() => return Progress::Idle,
            Ok(Some(records)) => {
                vital.within(Duration::ZERO);
                self.forward(&records).await
            }
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
