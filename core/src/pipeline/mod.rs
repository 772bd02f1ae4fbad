//! The delivery pipeline: decode, load, handle, commit, then acknowledge, retry later or dead-letter. Written once;
//! the Lambda runtime, the local engine and the simulator differ only in the ports.
//!
//! A batch is worked as a whole: one read loads its entities, one request commits what its handlers return, one
//! acknowledges. Messages told to one entity are worked in turn, each after the one before it is committed. A commit
//! that loses a race is resolved by reading again.

mod admit;
mod backlog;
mod batch;
mod failing;
mod histogram;
mod invocation;
mod observe;
mod round;
mod route;
mod scheduled;
mod settle;
mod trail;
mod verdict;
mod work;

pub use failing::{FAILING_MAX, Failing};
#[cfg(feature = "server")]
pub(crate) use histogram::Distribution;
pub use invocation::Invocation;
pub use observe::{Observation, StepCounts};
pub(crate) use scheduled::Scheduled;
pub use settle::Delivered;
use settle::How;
pub(crate) use settle::{Settled, Unsettled};
pub use verdict::Verdict;

use crate::{
    choreography::Choreography,
    context::{About, Call},
    failure::Failure,
    http::{Problem, Response},
    model::StepModel,
    port::{Message, PortError, Ports, Receipt},
    vitals::Vitals,
};
use backlog::Intake;
use failing::Failures;
use futures_util::future::join_all;
use observe::Counters;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::broadcast;

/// How long a table may take to answer before it is told as standing.
const PROBE_MAX: Duration = Duration::from_secs(3);

/// Runs a choreography's handlers on messages and requests, over ports.
#[derive(Clone, Debug)]
pub struct Pipeline {
    choreography: Choreography,
    ports: Arc<Ports>,
    /// Made for the first onlooker: it takes up the room for all it may keep, some 3 MB.
    observers: Arc<OnceLock<broadcast::Sender<Arc<Observation>>>>,
    counts: Arc<BTreeMap<String, Counters>>,
    invocation: Invocation,
    vitals: Vitals,
    intake: Intake,
    scheduled: Scheduled,
    failures: Failures,
}

impl Pipeline {
    /// A pipeline of `choreography` over `ports`.
    pub fn new(choreography: Choreography, ports: Ports) -> Self {
        let steps = choreography.model().steps.iter();
        let counts = Arc::new(steps.map(|step| (step.name.clone(), Counters::default())).collect());
        Self {
            choreography,
            ports: Arc::new(ports),
            observers: Arc::default(),
            counts,
            invocation: Invocation::default(),
            vitals: Vitals::default(),
            intake: Intake::default(),
            scheduled: Scheduled::default(),
            failures: Failures::default(),
        }
    }

    /// The same pipeline, bounded and measured as `invocation` says. Cheap: all is shared.
    #[must_use]
    pub fn during(&self, invocation: Invocation) -> Self {
        Self { invocation, ..self.clone() }
    }

    /// Another process of the same choreography, over ports of its own. What is done, and what fails, both count together.
    #[cfg(feature = "sim")]
    pub(crate) fn over(&self, ports: Ports) -> Self {
        Self {
            observers: Arc::clone(&self.observers),
            counts: Arc::clone(&self.counts),
            failures: self.failures.clone(),
            ..Self::new(self.choreography.clone(), ports)
        }
    }

    /// The ports it works over.
    pub fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    /// The tasks that run it.
    pub(crate) fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// What it runs.
    pub fn choreography(&self) -> &Choreography {
        &self.choreography
    }

    /// Works a batch of messages of `step`'s queue and settles each: deletes it, hides it for its backoff, sends it on,
    /// or dead-letters it. Returns the verdicts in the order of `messages`.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step. A message that can't be settled is left as it is: its visibility
    /// timeout gives it back.
    pub async fn deliver(&self, step: &str, messages: &[Message]) -> Result<Vec<Verdict>, Failure> {
        let Settled { delivered, observations, .. } = self.settled(step, messages, true).await?;
        if let Err(failure) = self.acknowledge(step, &delivered.done(messages)).await {
            tracing::warn!(step, %failure, "messages were not deleted; their visibility timeout gives them back");
        }
        self.tell(observations);
        Ok(delivered.verdicts)
    }

    /// Deletes messages that are done.
    pub(crate) async fn acknowledge(&self, step: &str, done: &[Receipt]) -> Result<(), Failure> {
        if done.is_empty() {
            return Ok(());
        }
        Ok(self.ports.queue(&self.step(step)?.queue)?.delete(done).await?)
    }

    /// [`deliver`](Self::deliver) for a caller that acknowledges the messages itself, as a Lambda function does by its
    /// answer: hides, sends on and dead-letters, and deletes nothing.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step. A message that can't be sent on or dead-lettered is among those kept.
    pub async fn deliver_unacknowledged(
        &self,
        step: &str,
        messages: &[Message],
    ) -> Result<Delivered, Failure> {
        let Settled { delivered, observations, .. } = self.settled(step, messages, false).await?;
        self.tell(observations);
        Ok(delivered)
    }

    /// Works a batch and settles it but for its acknowledgement, for a caller that also tells the onlookers. `in_place`: he
    /// acknowledges by the messages' receipts.
    pub(crate) async fn settled(
        &self,
        step: &str,
        messages: &[Message],
        in_place: bool,
    ) -> Result<Settled, Failure> {
        let step = self.step(step)?;
        let began = self.ports.clock.now();
        let mut worked = self.work(step, messages).await?;
        let how = self.settling(in_place);
        let kept = self.settle(step, &worked.iter().collect::<Vec<_>>(), how).await;
        self.count(step, &worked);
        self.remember_failures(step, &worked, how.at);
        self.remember_scheduled(step, &worked).await;
        let observations = self.observations(step, began, &mut worked);
        let verdicts: Vec<Verdict> = worked.into_iter().map(|worked| worked.verdict).collect();
        let unsettled = Unsettled::of(&kept.unsettled, messages, &verdicts, how.at);
        let kept = kept.all.into_iter().collect();
        Ok(Settled { delivered: Delivered { verdicts, kept }, unsettled, observations })
    }

    fn settling(&self, in_place: bool) -> How {
        How { in_place, at: self.ports.clock.now(), again: false }
    }

    /// [`deliver`](Self::deliver) for messages that no queue holds: of what can't be handled, a permanent failure is
    /// dead-lettered, a transient one is left to the caller.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step, or a message could not be dead-lettered.
    #[cfg(feature = "lambda")]
    pub(crate) async fn deliver_unreceived(
        &self,
        step: &str,
        messages: &[Message],
    ) -> Result<Vec<Verdict>, Failure> {
        let step = self.step(step)?;
        let began = self.ports.clock.now();
        let mut worked = self.work(step, messages).await?;
        let settling = worked.iter().filter(|worked| !matches!(worked.verdict, Verdict::Retry(..)));
        let kept = self.settle(step, &settling.collect::<Vec<_>>(), self.settling(false)).await;
        self.count(step, &worked);
        self.remember_scheduled(step, &worked).await;
        self.tell(self.observations(step, began, &mut worked));
        if kept.all.is_empty() {
            return Ok(worked.into_iter().map(|worked| worked.verdict).collect());
        }
        Err(Failure::transient("not_dead_lettered", "the dead-letter queue could not be reached"))
    }

    /// [`deliver`](Self::deliver) for messages of a stream, where all that stand behind the first one that has to come again
    /// come again as well. Returns its place; those behind it are left unsettled.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step.
    #[cfg(feature = "lambda")]
    pub(crate) async fn deliver_in_order(
        &self,
        step: &str,
        messages: &[Message],
    ) -> Result<Option<usize>, Failure> {
        let step = self.step(step)?;
        let began = self.ports.clock.now();
        let mut worked = self.work(step, messages).await?;
        let failed = worked.iter().position(|worked| matches!(worked.verdict, Verdict::Retry(..)));
        let settling = &worked[..failed.unwrap_or(worked.len())];
        let kept = self.settle(step, &settling.iter().collect::<Vec<_>>(), self.settling(false)).await;
        self.count(step, &worked);
        self.remember_scheduled(step, &worked).await;
        self.tell(self.observations(step, began, &mut worked));
        Ok(kept.all.first().copied().or(failed))
    }

    /// What stands, by name: tables that do not answer or take no commit, buckets that take no object, and tasks of an engine
    /// that runs this pipeline. A consumer, a relay or a schedule stands when it fails time after time, has ended for good, or
    /// waits for an answer for longer than any takes. A schedule stands too where none of its messages was handled for three of
    /// its periods. Answers within some seconds itself.
    pub async fn standing(&self) -> BTreeSet<String> {
        let mut standing = self.vitals.standing(&*self.ports.clock);
        standing.extend(self.scheduled.standing(self.ports.clock.uptime()));
        let probes = self.ports.tables.iter().map(|(name, table)| async move {
            let unread = match self.answered(table.get(&["health/probe".to_owned()])).await {
                Err(error) => Some(error.to_string()),
                Ok(found) => {
                    found.iter().flatten().find_map(|item| Some(item.document.text().err()?.to_string()))
                }
            };
            if let Some(error) = unread {
                tracing::warn!(table = name, error, "a table does not answer");
                return Some(["reads of ", name].concat());
            }
            let refused = self.answered(table.takes_commits()).await.err()?;
            tracing::warn!(table = name, error = %refused, "a table takes no commits");
            Some(["writes of ", name].concat())
        });
        standing.extend(join_all(probes).await.into_iter().flatten());
        let probes = self.ports.buckets.iter().map(|(name, bucket)| async move {
            let refused = bucket.takes_objects().await.err()?;
            tracing::warn!(bucket = name, error = %refused, "a bucket takes no objects");
            Some(["writes of ", name].concat())
        });
        standing.extend(join_all(probes).await.into_iter().flatten());
        standing
    }

    /// What a probe of a port is answered, or that it is not.
    async fn answered<T>(&self, probe: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        let clock = &self.ports.clock;
        tokio::select! {
            biased;
            answer = probe => answer,
            () = clock.sleep_until(clock.now() + PROBE_MAX) => {
                Err(PortError::transient("health", format_args!("no answer within {PROBE_MAX:?}")))
            }
        }
    }

    /// The answer to `GET /healthz`, the same everywhere: 200 where all is well, or else 503 with the names of what stands.
    pub async fn health(&self) -> Response {
        let standing = self.standing().await;
        if standing.is_empty() {
            return Response::json(200, &serde_json::json!({ "status": "ok" }));
        }
        let names = standing.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let detail = format_args!("this stands still: {names}");
        Problem::new(503, "work_stands", detail).with("standing", &standing).into()
    }

    fn step(&self, name: &str) -> Result<&StepModel, Failure> {
        let unknown = || Failure::permanent("no_step", format_args!("no step is named {name:?}"));
        self.choreography.model().step(name).ok_or_else(unknown)
    }

    fn call(&self, step: Arc<str>, about: Arc<About>) -> Call {
        Call {
            ports: Arc::clone(&self.ports),
            model: Arc::clone(self.choreography.model()),
            step,
            about,
            meter: self.invocation.meter.clone(),
        }
    }
}
