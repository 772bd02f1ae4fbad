//! What an engine measures of itself, at one time, whoever asks for it in whatever format.
//!
//! It is read from numbers that are kept, and from the first row of each queue and stream. No rows are counted.

use crate::{
    failure::Failure,
    model::Model,
    pipeline::{Distribution, Pipeline},
    port::{ChangeStream, Ports},
    timestamp::Timestamp,
};
use futures_util::future::{try_join, try_join_all, try_join3};
use serde::Deserialize;
use std::time::Duration;

/// Numbers of one name, which differ by their labels.
pub(crate) struct Family {
    /// Its name, without what all names begin with.
    pub(crate) name: &'static str,
    pub(crate) kind: FamilyKind,
    /// What it is, in a sentence.
    pub(crate) about: &'static str,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FamilyKind {
    Gauge,
    Counter,
    Histogram,
}

/// A number with its labels.
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Count(u64),
    Number(f64),
    Spread(Distribution),
}

fn sample(labels: &[(&'static str, &str)], value: Value) -> Sample {
    let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
    Sample { labels, value }
}

/// A queue at one time.
struct Queued<'a> {
    name: &'a str,
    total: u64,
    in_flight: u64,
    oldest: Option<Duration>,
    dead_letter_queue: &'a str,
    dead: u64,
}

/// All that an engine measures.
///
/// # Errors
/// A [`Failure`] of a queue or a stream.
pub(crate) async fn measured(pipeline: &Pipeline) -> Result<Vec<Family>, Failure> {
    let (model, ports) = (pipeline.choreography().model(), pipeline.ports());
    let now = ports.clock.now();
    // All at once: a store reads them in one go.
    let (queues, lags) = try_join(queued(model, ports, now), lags(ports, now)).await?;
    let version = [("version", env!("CARGO_PKG_VERSION")), ("choreography", &model.name)];
    let mut families = vec![Family {
        name: "build_info",
        kind: FamilyKind::Gauge,
        about: "The version of the library that runs, and the choreography.",
        samples: vec![sample(&version, Value::Count(1))],
    }];
    families.extend(of_queues(&queues));
    let lag = |(table, lag): &(&str, Duration)| sample(&[("table", table)], Value::Number(lag.as_secs_f64()));
    families.push(Family {
        name: "relay_lag_seconds",
        kind: FamilyKind::Gauge,
        about: "How long the oldest event waits that the relay has not sent on.",
        samples: lags.iter().map(lag).collect(),
    });
    families.extend(of_steps(pipeline));
    Ok(families)
}

async fn queued<'a>(model: &'a Model, ports: &Ports, now: Timestamp) -> Result<Vec<Queued<'a>>, Failure> {
    let queues = model.queues.iter().filter_map(|queue| Some((queue, queue.redrive.as_ref()?)));
    try_join_all(queues.map(|(queue, redrive)| async move {
        let (port, dead) = (ports.queue(&queue.name)?, ports.queue(&redrive.dead_letter_queue)?);
        let (total, in_flight, dead) = try_join3(port.total(), port.in_flight(), dead.total()).await?;
        let oldest = if port.shows_arrivals() { port.arrived(0, 1).await?.pop() } else { None };
        let oldest = oldest.map(|(_, message)| now.since(message.sent_at));
        let dead_letter_queue = redrive.dead_letter_queue.as_str();
        Ok::<_, Failure>(Queued { name: &queue.name, total, in_flight, oldest, dead_letter_queue, dead })
    }))
    .await
}

/// How far the relay is behind in each table's stream.
async fn lags(ports: &Ports, now: Timestamp) -> Result<Vec<(&str, Duration)>, Failure> {
    try_join_all(ports.streams.iter().map(|(table, stream)| async move {
        Ok::<_, Failure>((table.as_str(), lag(stream.as_ref(), now).await?))
    }))
    .await
}

/// How long ago the oldest commit was whose events are not sent on.
async fn lag(stream: &dyn ChangeStream, now: Timestamp) -> Result<Duration, Failure> {
    #[derive(Deserialize)]
    struct Head {
        time: Timestamp,
    }
    let oldest = stream.read(1, Duration::ZERO).await?.pop().and_then(|record| record.outbox.ok());
    let event = oldest.and_then(|outbox| outbox.into_iter().next());
    // What can't be read is passed over by the relay, and has no time.
    let head = event.and_then(|event| serde_json::from_str::<Head>(event.get()).ok());
    Ok(head.map_or(Duration::ZERO, |head| now.since(head.time)))
}

fn of_queues(queues: &[Queued<'_>]) -> [Family; 4] {
    let family = |name, about, of: &dyn Fn(&Queued<'_>) -> Sample| {
        let samples = queues.iter().map(of).collect();
        Family { name, kind: FamilyKind::Gauge, about, samples }
    };
    let count = |queue: &str, count| sample(&[("queue", queue)], Value::Count(count));
    [
        family("queue_messages", "Messages that a queue holds, whatever their state.", &|queue| {
            count(queue.name, queue.total)
        }),
        family("queue_messages_in_flight", "Messages that are received and not settled.", &|queue| {
            count(queue.name, queue.in_flight)
        }),
        family(
            "queue_oldest_message_age_seconds",
            "How long ago the message was sent that has been in the queue longest; 0 where it is empty.",
            &|queue| {
                let age = queue.oldest.unwrap_or_default().as_secs_f64();
                sample(&[("queue", queue.name)], Value::Number(age))
            },
        ),
        family("dead_letters", "Dead letters that a dead-letter queue holds.", &|queue| {
            count(queue.dead_letter_queue, queue.dead)
        }),
    ]
}

fn of_steps(pipeline: &Pipeline) -> [Family; 4] {
    let outcomes = |(step, counts): (String, crate::pipeline::StepCounts)| {
        let outcomes = [
            ("handled", counts.done),
            ("delayed", counts.later),
            ("retried", counts.retried),
            ("ended", counts.ended),
            ("dead_lettered", counts.dead_lettered),
        ];
        outcomes.map(|(outcome, count)| sample(&[("step", &step), ("outcome", outcome)], Value::Count(count)))
    };
    let alive = |step: &crate::model::StepModel| {
        let alive = pipeline.vitals().alive(&["consumer ", &step.name].concat());
        sample(&[("step", &step.name)], Value::Count(alive as u64))
    };
    let (mut attempts, mut calls) = (Vec::new(), Vec::new());
    for (step, spread) in pipeline.spread() {
        attempts.push(sample(&[("step", step)], Value::Spread(spread.attempts)));
        calls.push(sample(&[("step", step)], Value::Spread(spread.calls)));
    }
    let family = |name, kind, about, samples| Family { name, kind, about, samples };
    [
        family(
            "messages_total",
            FamilyKind::Counter,
            "Messages of a step by what became of each attempt, since the start.",
            pipeline.counts().into_iter().flat_map(outcomes).collect(),
        ),
        family(
            "message_attempts",
            FamilyKind::Histogram,
            "Attempts of messages that came to an end, the last one included.",
            attempts,
        ),
        family("handler_duration_seconds", FamilyKind::Histogram, "How long calls of a handler took.", calls),
        family(
            "consumers",
            FamilyKind::Gauge,
            "Consumers of a step that are alive.",
            pipeline.choreography().model().steps.iter().map(alive).collect(),
        ),
    ]
}
