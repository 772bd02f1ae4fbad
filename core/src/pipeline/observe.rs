//! What the outside sees of the work: counts, observations, log lines.

#[cfg(feature = "server")]
use super::histogram::Distribution;
use super::{
    Pipeline,
    batch::{Work, Worked},
    histogram::{ATTEMPTS, Histogram, SECONDS},
    verdict::Verdict,
};
use crate::{
    event::Envelope,
    metrics,
    model::StepModel,
    port::Message,
    timestamp::Timestamp,
    trace::{trace_id, within},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast;

/// Messages of a step by what became of them, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// Handled, or nothing to do.
    pub done: u64,
    /// Sent on, as their time had not come.
    pub later: u64,
    /// To be tried again.
    pub retried: u64,
    /// Ended for a reason that is business.
    #[serde(default)]
    pub ended: u64,
    /// Given up.
    pub dead_lettered: u64,
}

#[derive(Debug)]
pub(super) struct Counters {
    done: AtomicU64,
    later: AtomicU64,
    retried: AtomicU64,
    ended: AtomicU64,
    dead_lettered: AtomicU64,
    /// Attempts of messages that came to an end.
    attempts: Histogram,
    /// Times of calls of the handler.
    pub(super) calls: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            done: zero(),
            later: zero(),
            retried: zero(),
            ended: zero(),
            dead_lettered: zero(),
            attempts: Histogram::new(&ATTEMPTS),
            calls: Histogram::new(&SECONDS),
        }
    }
}

/// How the messages of a step spread, since this process started.
#[cfg(feature = "server")]
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// Attempts of those that came to an end.
    pub(crate) attempts: Distribution,
    /// Times of calls of the handler, in seconds.
    pub(crate) calls: Distribution,
}

/// A message that was worked and is settled, as an onlooker is told of it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When its batch was begun.
    pub began: Timestamp,
    /// When it was settled.
    pub at: Timestamp,
    /// The id of its event; empty where it can't be read.
    pub event: String,
    /// The W3C trace context that it came with.
    pub traceparent: Option<String>,
    /// The W3C trace context of its work, which the events that it emits carry on.
    pub context: String,
    /// Which handler.
    pub step: String,
    /// The entity the message was told to.
    pub subject: String,
    /// Which receive of the message, counted from 1.
    pub attempt: u32,
    /// What the handler did, in the words of the trail.
    pub what: String,
    /// What became of the message.
    pub verdict: Verdict,
}

/// Observations kept for an onlooker that is slow; it misses older ones.
const OBSERVATIONS_KEPT: usize = 16_384;

impl Pipeline {
    /// What became of the messages of each step, since this process started.
    pub fn counts(&self) -> BTreeMap<String, StepCounts> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.counts
            .iter()
            .map(|(step, counters)| {
                let counts = StepCounts {
                    done: read(&counters.done),
                    later: read(&counters.later),
                    retried: read(&counters.retried),
                    ended: read(&counters.ended),
                    dead_lettered: read(&counters.dead_lettered),
                };
                (step.clone(), counts)
            })
            .collect()
    }

    /// How the messages of each step spread.
    #[cfg(feature = "server")]
    pub(crate) fn spread(&self) -> impl Iterator<Item = (&str, Spread)> {
        self.counts.iter().map(|(step, counters)| {
            let (attempts, calls) = (counters.attempts.read(), counters.calls.read());
            (step.as_str(), Spread { attempts, calls })
        })
    }

    pub(super) fn count(&self, step: &StepModel, worked: &[Worked<'_>]) {
        let Some(counters) = self.counts.get(&step.name) else {
            return;
        };
        for Worked { work, verdict, .. } in worked {
            if !matches!(verdict, Verdict::Later(_) | Verdict::Retry(..)) {
                counters.attempts.count(work.message.receive_count);
            }
            let (counter, metric) = match verdict {
                Verdict::Done => (&counters.done, metrics::HANDLED),
                Verdict::Later(_) => (&counters.later, metrics::DELAYED),
                Verdict::Retry(..) => (&counters.retried, metrics::RETRIED),
                Verdict::Ended(_) => (&counters.ended, metrics::HANDLED),
                Verdict::DeadLetter(_) => (&counters.dead_lettered, metrics::DEAD_LETTERED),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.invocation.meter.add(metric, 1.0);
        }
    }

    /// Tells of every message worked from now on. Costs nothing while nobody listens.
    ///
    /// A message is told of once it is settled: what it committed is in the table, and where the pipeline acknowledges it
    /// ([`deliver`](Self::deliver), and the [engine](crate::engine)), it is acknowledged.
    pub fn observe(&self) -> broadcast::Receiver<Arc<Observation>> {
        self.observers.get_or_init(|| broadcast::Sender::new(OBSERVATIONS_KEPT)).subscribe()
    }

    /// Whoever listens to what is worked.
    fn onlookers(&self) -> Option<&broadcast::Sender<Arc<Observation>>> {
        self.observers.get().filter(|observers| observers.receiver_count() > 0)
    }

    /// What onlookers are to be told of these messages; nothing while nobody listens.
    pub(super) fn observations(
        &self,
        step: &StepModel,
        began: Timestamp,
        worked: &mut [Worked<'_>],
    ) -> Vec<Observation> {
        if self.onlookers().is_none() {
            return Vec::new();
        }
        let at = self.ports.clock.now();
        let observation = |Worked { work, verdict, note }: &mut Worked<'_>| Observation {
            began,
            at,
            event: work.envelope.as_ref().map(|envelope| envelope.id.clone()).unwrap_or_default(),
            traceparent: work.envelope.as_ref().and_then(|envelope| envelope.traceparent.clone()),
            context: self.context(step, work.message, work.envelope.as_ref()),
            step: step.name.clone(),
            subject: work.envelope.as_ref().map(|envelope| envelope.subject.clone()).unwrap_or_default(),
            attempt: work.message.receive_count,
            what: match verdict {
                Verdict::DeadLetter(failure) | Verdict::Ended(failure) | Verdict::Retry(_, failure) => {
                    failure.to_string()
                }
                Verdict::Done | Verdict::Later(_) => note.take().unwrap_or_default(),
            },
            verdict: verdict.clone(),
        };
        worked.iter_mut().map(observation).collect()
    }

    /// The trace context of the work on a message: the trace that it came with, and a span that no other receive of a message has.
    pub(super) fn context(
        &self,
        step: &StepModel,
        message: &Message,
        envelope: Option<&Envelope<Box<RawValue>>>,
    ) -> String {
        let event = envelope.map(|envelope| envelope.id.as_str()).unwrap_or_default();
        let id = format!("{} {} {event} {}", step.name, message.id, message.receive_count);
        let came_with = envelope.and_then(|envelope| envelope.traceparent.as_deref());
        let came_with = came_with.filter(|given| trace_id(given).is_some());
        within(came_with.or(self.invocation.traceparent.as_deref()), &id)
    }

    /// Tells onlookers of messages that are settled.
    pub(crate) fn tell(&self, observations: Vec<Observation>) {
        let Some(onlookers) = self.onlookers() else {
            return;
        };
        for observation in observations {
            // An onlooker that went away is none.
            let _ = onlookers.send(Arc::new(observation));
        }
    }

    pub(super) fn note(&self, notes: &mut [Option<String>], at: usize, what: impl FnOnce() -> String) {
        if self.onlookers().is_some()
            && let Some(note) = notes.get_mut(at)
        {
            *note = Some(what());
        }
    }
}

/// Correlation id and trace id, as log lines tell them.
pub(super) fn known_by(envelope: Option<&Envelope<Box<RawValue>>>) -> (&str, &str) {
    let correlation_id = envelope.and_then(|envelope| envelope.correlationid.as_deref()).unwrap_or_default();
    let trace = envelope.and_then(|envelope| trace_id(envelope.traceparent.as_deref()?)).unwrap_or_default();
    (correlation_id, trace)
}

pub(super) fn log(model: &StepModel, work: &Work<'_>, verdict: &Verdict, traceparent: Option<&str>) {
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let envelope = work.envelope.as_ref();
    let (correlation_id, trace) = known_by(envelope);
    let trace = if trace.is_empty() { traceparent.and_then(trace_id).unwrap_or_default() } else { trace };
    let event = envelope.map(|envelope| envelope.id.as_str()).unwrap_or_default();
    let (step, attempt) = (model.name.as_str(), work.message.receive_count);
    match verdict {
        Verdict::Done => {
            tracing::debug!(step, event, attempt, correlation_id, trace_id = trace, "handled");
        }
        Verdict::Later(left) => {
            tracing::debug!(
                step,
                event,
                attempt,
                correlation_id,
                trace_id = trace,
                left_ms = millis(left),
                "not yet"
            );
        }
        Verdict::Retry(after, failure) => {
            tracing::warn!(step, event, attempt, correlation_id, trace_id = trace, after_ms = millis(after), %failure, "retry");
        }
        Verdict::Ended(failure) => {
            tracing::debug!(step, event, attempt, correlation_id, trace_id = trace, %failure, "ended");
        }
        // An end of business is no fault that somebody has to look after.
        Verdict::DeadLetter(failure) if model.dead_lettered_ends.contains(failure.reason()) => {
            tracing::info!(step, event, attempt, correlation_id, trace_id = trace, %failure, "dead-lettered, an end of business");
        }
        Verdict::DeadLetter(failure) => {
            tracing::warn!(step, event, attempt, correlation_id, trace_id = trace, %failure, "dead-lettered");
        }
    }
}
