//! What an engine measures of itself, in Prometheus's text format (version 0.0.4): `GET /metrics`.
//!
//! A scrape reads numbers that are kept, and the first row of each queue and stream. It counts no rows.

use crate::{
    failure::Failure,
    http::{Method, Problem, Request, Response},
    pipeline::{Distribution, Pipeline},
    port::ChangeStream,
    server::Service,
    timestamp::Timestamp,
};
use futures_util::future::{try_join, try_join_all, try_join3};
use serde::Deserialize;
use std::{fmt::Write as _, time::Duration};

/// Where the metrics are, unless the system has a route of its own there.
const PATH: &str = "/metrics";

/// The format and its version (Prometheus).
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A service with the metrics of its pipeline beside it.
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    service: S,
    pipeline: Pipeline,
    is_taken: bool,
}

impl<S: Service> Scraped<S> {
    /// `service`, which works with `pipeline`. A route of the choreography that has the path itself keeps it.
    pub fn new(service: S, pipeline: Pipeline) -> Self {
        let takes = |path: &str| path == PATH || (path.starts_with("/{") && path.matches('/').count() == 1);
        let mut routes = pipeline.choreography().model().routes.iter();
        let is_taken =
            routes.any(|route| route.method == Method::Get && route.path.as_deref().is_some_and(takes));
        Self { service, pipeline, is_taken }
    }
}

impl<S: Service> Service for Scraped<S> {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        if path != PATH || self.is_taken {
            return self.service.respond(method, path, request).await;
        }
        if method != "GET" {
            return Problem::method_not_allowed(method, "GET, HEAD");
        }
        match scrape(&self.pipeline).await {
            Ok(text) => Response {
                status: 200,
                content_type: CONTENT_TYPE,
                body: text.into_bytes(),
                headers: Vec::new(),
            },
            Err(failure) => Problem::new(503, failure.reason(), failure.detail()).into(),
        }
    }
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

/// The metrics of an engine.
///
/// # Errors
/// A [`Failure`] of a queue or a stream.
pub async fn scrape(pipeline: &Pipeline) -> Result<String, Failure> {
    let (model, ports) = (pipeline.choreography().model(), pipeline.ports());
    let now = ports.clock.now();
    let mut text = Text::default();
    text.family("build_info", "gauge", "The version of the library that runs, and the choreography.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION")), ("choreography", &model.name)], 1);
    let queues = model.queues.iter().filter_map(|queue| Some((queue, queue.redrive.as_ref()?)));
    // All at once: a store reads them in one go.
    let queues = try_join_all(queues.map(|(queue, redrive)| async move {
        let (port, dead) = (ports.queue(&queue.name)?, ports.queue(&redrive.dead_letter_queue)?);
        let (total, in_flight, dead) = try_join3(port.total(), port.in_flight(), dead.total()).await?;
        let oldest = if port.shows_arrivals() { port.arrived(0, 1).await?.pop() } else { None };
        let oldest = oldest.map(|(_, message)| now.since(message.sent_at));
        let dead_letter_queue = redrive.dead_letter_queue.as_str();
        Ok::<_, Failure>(Queued { name: &queue.name, total, in_flight, oldest, dead_letter_queue, dead })
    }));
    let streams = try_join_all(ports.streams.iter().map(|(table, stream)| async move {
        Ok::<_, Failure>((table.as_str(), lag(stream.as_ref(), now).await?))
    }));
    let (queues, streams) = try_join(queues, streams).await?;
    text.queues(&queues);
    text.family(
        "relay_lag_seconds",
        "gauge",
        "How long the oldest event waits that the relay has not sent on.",
    );
    for (table, lag) in streams {
        text.sample("relay_lag_seconds", &[("table", table)], lag.as_secs_f64());
    }
    text.steps(pipeline);
    Ok(text.0)
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

/// A text in the format.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn queues(&mut self, queues: &[Queued<'_>]) {
        self.family("queue_messages", "gauge", "Messages that a queue holds, whatever their state.");
        for queue in queues {
            self.sample("queue_messages", &[("queue", queue.name)], queue.total);
        }
        self.family("queue_messages_in_flight", "gauge", "Messages that are received and not settled.");
        for queue in queues {
            self.sample("queue_messages_in_flight", &[("queue", queue.name)], queue.in_flight);
        }
        let about =
            "How long ago the message was sent that has been in the queue longest; 0 where it is empty.";
        self.family("queue_oldest_message_age_seconds", "gauge", about);
        for queue in queues {
            let age = queue.oldest.unwrap_or_default().as_secs_f64();
            self.sample("queue_oldest_message_age_seconds", &[("queue", queue.name)], age);
        }
        self.family("dead_letters", "gauge", "Dead letters that a dead-letter queue holds.");
        for queue in queues {
            self.sample("dead_letters", &[("queue", queue.dead_letter_queue)], queue.dead);
        }
    }

    fn steps(&mut self, pipeline: &Pipeline) {
        let steps = &pipeline.choreography().model().steps;
        let counts = pipeline.counts();
        self.family(
            "messages_total",
            "counter",
            "Messages of a step by what became of each attempt, since the start.",
        );
        for (step, counts) in &counts {
            for (outcome, count) in [
                ("handled", counts.done),
                ("delayed", counts.later),
                ("retried", counts.retried),
                ("ended", counts.ended),
                ("dead_lettered", counts.dead_lettered),
            ] {
                self.sample("messages_total", &[("step", step), ("outcome", outcome)], count);
            }
        }
        self.family(
            "message_attempts",
            "histogram",
            "Attempts of messages that came to an end, the last one included.",
        );
        for (step, spread) in pipeline.spread() {
            self.histogram("message_attempts", step, &spread.attempts);
        }
        self.family("handler_duration_seconds", "histogram", "How long calls of a handler took.");
        for (step, spread) in pipeline.spread() {
            self.histogram("handler_duration_seconds", step, &spread.calls);
        }
        self.family("consumers", "gauge", "Consumers of a step that are alive.");
        for step in steps {
            let alive = pipeline.vitals().alive(&["consumer ", &step.name].concat());
            self.sample("consumers", &[("step", &step.name)], alive);
        }
    }

    fn histogram(&mut self, name: &str, step: &str, found: &Distribution) {
        let bucket = [name, "_bucket"].concat();
        let bounds = found.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, within) in bounds.zip(&found.within) {
            self.sample(&bucket, &[("step", step), ("le", &bound)], within);
        }
        self.sample(&[name, "_sum"].concat(), &[("step", step)], found.sum);
        self.sample(&[name, "_count"].concat(), &[("step", step)], found.within.last().copied().unwrap_or(0));
    }

    fn family(&mut self, name: &str, kind: &str, about: &str) {
        let about = about.replace('\\', "\\\\").replace('\n', "\\n");
        // A String takes all that is written to it.
        let _ = write!(self.0, "# HELP quadrille_{name} {about}\n# TYPE quadrille_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "quadrille_{name}{{{}}} {value}", labels.join(","));
    }
}

/// The value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let mut text = Text::default();
        text.family("x", "gauge", "One\\\nline.");
        text.sample("x", &[("queue", "a\"b\\c\nd"), ("step", "é")], 1.5);
        let expected = "# HELP quadrille_x One\\\\\\nline.\n# TYPE quadrille_x gauge\nquadrille_x{queue=\"a\\\"b\\\\c\\nd\",step=\"é\"} 1.5\n";
        assert_eq!(text.0, expected);
    }
}
