//! What an engine measures of itself, in Prometheus's text format (version 0.0.4): `GET /metrics`.

use crate::{
    failure::Failure,
    http::{Method, Problem, Request, Response},
    measured::{Family, FamilyKind, Value, measured},
    pipeline::{Distribution, Pipeline},
    server::Service,
};
use std::fmt::Write as _;

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

/// The metrics of an engine.
///
/// # Errors
/// A [`Failure`] of a queue or a stream.
pub async fn scrape(pipeline: &Pipeline) -> Result<String, Failure> {
    let mut text = Text::default();
    measured(pipeline).await?.iter().for_each(|family| text.family(family));
    Ok(text.0)
}

/// A text in the format.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, family: &Family) {
        let Family { name, kind, about, samples } = family;
        let kind = match kind {
            FamilyKind::Gauge => "gauge",
            FamilyKind::Counter => "counter",
            FamilyKind::Histogram => "histogram",
        };
        let about = about.replace('\\', "\\\\").replace('\n', "\\n");
        // A String takes all that is written to it.
        let _ = write!(self.0, "# HELP quadrille_{name} {about}\n# TYPE quadrille_{name} {kind}\n");
        for sample in samples {
            match &sample.value {
                Value::Count(count) => self.sample(name, &sample.labels, count),
                Value::Number(number) => self.sample(name, &sample.labels, number),
                Value::Spread(spread) => self.histogram(name, &sample.labels, spread),
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&'static str, String)], found: &Distribution) {
        let bucket = [name, "_bucket"].concat();
        let bounds = found.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, within) in bounds.zip(&found.within) {
            let labels: Vec<_> = labels.iter().cloned().chain([("le", bound)]).collect();
            self.sample(&bucket, &labels, within);
        }
        self.sample(&[name, "_sum"].concat(), labels, found.sum);
        self.sample(&[name, "_count"].concat(), labels, found.within.last().copied().unwrap_or(0));
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, String)], value: impl std::fmt::Display) {
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
        let labels = vec![("queue", "a\"b\\c\nd".to_owned()), ("step", "é".to_owned())];
        let samples = vec![crate::measured::Sample { labels, value: Value::Number(1.5) }];
        text.family(&Family { name: "x", kind: FamilyKind::Gauge, about: "One\\\nline.", samples });
        let expected = "# HELP quadrille_x One\\\\\\nline.\n# TYPE quadrille_x gauge\nquadrille_x{queue=\"a\\\"b\\\\c\\nd\",step=\"é\"} 1.5\n";
        assert_eq!(text.0, expected);
    }
}
