//! What is worked and measured, told to a collector of OpenTelemetry: OTLP over HTTP, in protobuf.
//!
//! Each message that is worked is a span of its flow's trace. Its parent is the span of the work that emitted its event, which the event
//! carries in its `traceparent`. A request is no span. So what a request began has the span of its caller for its parent, where he told
//! one. A schedule is none either: what it began has no parent.
//!
//! An entity belongs to the trace that it was begun in. Where work of another trace commits it, as a run does with an order, that work
//! is no parent: a parent is of the same trace. The event then carries on what began the entity's trace. Of an entity that an earlier
//! version began, that may be a span that nobody ever told.
//!
//! What an engine measures is told from time to time. A collector
//! that is slow or away costs nothing but its spans: so many are kept until the next batch, and of the rest the count is logged.

mod messages;

use crate::{
    failure::Failure,
    http_client::{HttpClient, HttpClientError, Method, parse_url},
    measured::measured,
    pipeline::{Observation, Pipeline},
    timestamp::Timestamp,
};
use prost::Message as _;
use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Spans of one request (the batch size that OpenTelemetry's own exporters have by default).
const SPANS_MAX: usize = 512;

/// The longest that one request takes (`OTEL_EXPORTER_OTLP_TIMEOUT`'s default).
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where it is told, and how often.
#[derive(Clone)]
pub struct OtlpConfig {
    /// The collector's base URL: `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Headers that each request carries, a secret perhaps.
    pub headers: Vec<(&'static str, String)>,
    /// What the service is called.
    pub service: String,
    /// Time between two batches of spans.
    pub spans_every: Duration,
    /// Time between two tellings of what is measured.
    pub metrics_every: Duration,
}

impl std::fmt::Debug for OtlpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpConfig")
            .field("endpoint", &self.endpoint)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct OtlpConfigError {
    variable: &'static str,
    why: String,
}

impl OtlpConfig {
    /// The configuration that OpenTelemetry's variables say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS` (only
    /// `authorization` and `x-api-key` are taken), `OTEL_EXPORTER_OTLP_PROTOCOL`, `OTEL_SERVICE_NAME`,
    /// `OTEL_BSP_SCHEDULE_DELAY` and `OTEL_METRIC_EXPORT_INTERVAL` (milliseconds). `None` where there is no endpoint, or
    /// `OTEL_SDK_DISABLED` is `true`.
    ///
    /// # Errors
    /// [`OtlpConfigError`]: a value that is none.
    pub fn read(
        variables: &BTreeMap<String, String>,
        service: &str,
    ) -> Result<Option<Self>, OtlpConfigError> {
        let said = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let is_off = said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(endpoint) = said(ENDPOINT).filter(|_| !is_off) else { return Ok(None) };
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        parse_url(&endpoint).map_err(|error| wrong(ENDPOINT, error))?;
        if let Some(other) = said(PROTOCOL).filter(|protocol| *protocol != "http/protobuf") {
            return Err(wrong(PROTOCOL, format!("{other:?} is not spoken here; `http/protobuf` is")));
        }
        let millis = |variable: &'static str, default: u64| match said(variable) {
            None => Ok(Duration::from_millis(default)),
            Some(text) => match text.parse() {
                Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
                _ => Err(wrong(variable, format!("{text:?} is no number of milliseconds"))),
            },
        };
        Ok(Some(Self {
            endpoint,
            headers: said(HEADERS).map(headers).transpose()?.unwrap_or_default(),
            service: said("OTEL_SERVICE_NAME").unwrap_or(service).to_owned(),
            spans_every: millis("OTEL_BSP_SCHEDULE_DELAY", 5_000)?,
            metrics_every: millis("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?,
        }))
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// The headers by which collectors know who may tell them.
const KNOWN_HEADERS: [&str; 2] = ["authorization", "x-api-key"];

fn wrong(variable: &'static str, why: impl std::fmt::Display) -> OtlpConfigError {
    OtlpConfigError { variable, why: why.to_string() }
}

/// `name=value` pairs with commas between.
fn headers(text: &str) -> Result<Vec<(&'static str, String)>, OtlpConfigError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong(HEADERS, "a pair is `name=value`"))?;
        let known = KNOWN_HEADERS.into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()));
        let name =
            known.ok_or_else(|| wrong(HEADERS, format!("what is taken is {}", KNOWN_HEADERS.join(", "))))?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
        Ok((name, value.map_err(|error| wrong(HEADERS, error))?.into_owned()))
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

/// Tells the collector until `stop` is done, and then once more, of all that is left.
pub async fn export(pipeline: Pipeline, config: OtlpConfig, stop: impl Future<Output = ()>) {
    let client = match HttpClient::new(TIMEOUT) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "nothing is told to the collector");
            return;
        }
    };
    let clock = Arc::clone(&pipeline.ports().clock);
    let mut exporter =
        Exporter { seen: pipeline.observe(), began: clock.now(), is_away: false, pipeline, config, client };
    let mut stop = pin!(stop);
    let (mut spans_at, mut metrics_at) =
        (exporter.began + exporter.config.spans_every, exporter.began + exporter.config.metrics_every);
    let mut batch = Vec::new();
    loop {
        let due = spans_at.min(metrics_at);
        tokio::select! {
            biased;
            () = stop.as_mut() => break,
            seen = exporter.seen.recv(), if batch.len() < SPANS_MAX => exporter.take(seen, &mut batch),
            () = clock.sleep_until(if batch.len() < SPANS_MAX { due } else { clock.now() }) => {}
        }
        let now = clock.now();
        if now >= spans_at || batch.len() >= SPANS_MAX {
            exporter.spans(&mut batch).await;
            spans_at = clock.now() + exporter.config.spans_every;
        }
        if now >= metrics_at {
            exporter.metrics().await;
            metrics_at = clock.now() + exporter.config.metrics_every;
        }
    }
    while let Ok(seen) = exporter.seen.try_recv() {
        batch.push(seen);
        if batch.len() == SPANS_MAX && !exporter.spans(&mut batch).await {
            return;
        }
    }
    exporter.spans(&mut batch).await;
    exporter.metrics().await;
}

struct Exporter {
    pipeline: Pipeline,
    config: OtlpConfig,
    client: HttpClient,
    seen: Receiver<Arc<Observation>>,
    began: Timestamp,
    /// The collector took nothing the last time, which was logged.
    is_away: bool,
}

impl Exporter {
    fn take(&self, seen: Result<Arc<Observation>, RecvError>, batch: &mut Vec<Arc<Observation>>) {
        match seen {
            Ok(observation) => batch.push(observation),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "spans were left out: the collector takes fewer than there are");
            }
            // The pipeline holds the other end.
            Err(RecvError::Closed) => {}
        }
    }

    /// Tells of a batch, which is gone by then; whether it was taken.
    async fn spans(&mut self, batch: &mut Vec<Arc<Observation>>) -> bool {
        if batch.is_empty() {
            return true;
        }
        let spans = messages::spans(&self.config.service, batch).encode_to_vec();
        batch.clear();
        self.tell("traces", spans).await
    }

    async fn metrics(&mut self) -> bool {
        let families = match measured(&self.pipeline).await {
            Ok(families) => families,
            Err(failure) => {
                tracing::warn!(%failure, "what is measured can't be told");
                return false;
            }
        };
        let now = self.pipeline.ports().clock.now();
        let metrics = messages::metrics(&self.config.service, &families, self.began, now).encode_to_vec();
        self.tell("metrics", metrics).await
    }

    async fn tell(&mut self, what: &str, body: Vec<u8>) -> bool {
        let url = format!("{}/v1/{what}", self.config.endpoint);
        let mut headers = vec![("content-type", "application/x-protobuf")];
        headers.extend(self.config.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let answered = self.client.send(Method::POST, &url, &headers, Some(body), ANSWER_BYTES_MAX).await;
        let told = answered.map_err(|error: HttpClientError| Failure::transient("no_answer", error));
        let told = told.and_then(|(status, _)| match status {
            200..300 => Ok(()),
            status => Err(Failure::transient("refused", format_args!("it answered {status}"))),
        });
        let was_away = std::mem::replace(&mut self.is_away, told.is_err());
        match told {
            Ok(()) if was_away => tracing::info!("the collector takes what it is told again"),
            Err(failure) if !was_away => {
                tracing::warn!(%failure, what, "the collector takes nothing: what it is told until it does is lost");
            }
            Ok(()) | Err(_) => {}
        }
        !self.is_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &[(&str, &str)]) -> Result<Option<OtlpConfig>, String> {
        let said = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        OtlpConfig::read(&said.collect(), "shop").map_err(|error| error.to_string())
    }

    #[test]
    fn the_variables_of_open_telemetry_say_where_and_how_often() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[(ENDPOINT, "http://x"), ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        let all = [
            (ENDPOINT, "http://collector:4318/"),
            (HEADERS, "Authorization=Bearer%20abc, x-api-key=k"),
            (PROTOCOL, "http/protobuf"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let config = read(&all).unwrap().unwrap();
        assert_eq!((config.endpoint.as_str(), config.service.as_str()), ("http://collector:4318", "mine"));
        assert_eq!(
            config.headers,
            [("authorization", "Bearer abc".to_owned()), ("x-api-key", "k".to_owned())]
        );
        assert_eq!(config.spans_every, Duration::from_millis(50));
        assert_eq!(config.metrics_every, Duration::from_secs(60));
        assert!(!format!("{config:?}").contains("abc"), "a header may be a secret");
        for (said, told) in [
            ((ENDPOINT, "collector"), ENDPOINT),
            ((PROTOCOL, "grpc"), "http/protobuf"),
            ((HEADERS, "x"), "name=value"),
            ((HEADERS, "x-other=1"), "authorization, x-api-key"),
            (("OTEL_METRIC_EXPORT_INTERVAL", "soon"), "milliseconds"),
        ] {
            let error = read(&[(ENDPOINT, "http://x"), said]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
