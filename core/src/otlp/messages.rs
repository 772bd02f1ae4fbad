//! The messages of OTLP.

use crate::{
    measured::{Family, FamilyKind, Sample, Value},
    pipeline::{Distribution, Observation, Verdict},
    timestamp::Timestamp,
    trace::parent,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};
use std::{ops::Range, sync::Arc};

/// A text of an attribute, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// Messages that were worked, each a span.
pub(super) fn spans(service: &str, worked: &[Arc<Observation>]) -> ExportTraceServiceRequest {
    let scope_spans = ScopeSpans {
        scope: Some(scope()),
        spans: worked.iter().map(|observation| span(observation)).collect(),
        ..ScopeSpans::default()
    };
    let resource = Some(resource(service));
    let spans = ResourceSpans { resource, scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

/// Where a W3C trace context has them.
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;

/// It begins with its batch, and ends once it is settled. An event that came with no trace has one of its own.
fn span(observation: &Observation) -> Span {
    let Observation { began, at, event, traceparent, context, step, subject, attempt, what, verdict } =
        observation;
    let hex = |range| u128::from_str_radix(context.get(range).unwrap_or_default(), 16).unwrap_or_default();
    let (trace, own) = (hex(TRACE_ID), hex(SPAN_ID) as u64);
    let parent = traceparent.as_deref().and_then(|came_with| parent(came_with, event));
    let (outcome, is_failure) = match verdict {
        Verdict::Done => ("handled", false),
        Verdict::Later(_) => ("delayed", false),
        Verdict::Retry(..) => ("retried", true),
        Verdict::Ended(_) => ("ended", false),
        Verdict::DeadLetter(_) => ("dead_lettered", true),
    };
    let text = |text: &str| crate::failure::excerpt(text, TEXT_BYTES_MAX);
    let attributes = [
        ("messaging.system", string("quadrille")),
        ("messaging.operation.name", string("process")),
        ("messaging.message.id", string(text(event))),
        ("quadrille.subject", string(text(subject))),
        ("quadrille.outcome", string(outcome)),
        ("quadrille.attempt", integer(u64::from(*attempt))),
        ("quadrille.what", string(text(what))),
    ];
    let code = if is_failure { StatusCode::Error } else { StatusCode::Unset };
    let message = if is_failure { text(what) } else { String::new() };
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: own.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: step.clone(),
        kind: SpanKind::Consumer.into(),
        start_time_unix_nano: nanos(*began),
        end_time_unix_nano: nanos((*at).max(*began)),
        attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        status: Some(Status { message, code: code.into() }),
        ..Span::default()
    }
}

/// What is measured, since `began`.
pub(super) fn metrics(
    service: &str,
    families: &[Family],
    began: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let times = (nanos(began), nanos(now));
    let scope_metrics = ScopeMetrics {
        scope: Some(scope()),
        metrics: families.iter().map(|family| metric(family, times)).collect(),
        ..ScopeMetrics::default()
    };
    let resource = Some(resource(service));
    let metrics =
        ResourceMetrics { resource, scope_metrics: vec![scope_metrics], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
}

fn metric(family: &Family, times: (u64, u64)) -> Metric {
    let Family { name, kind, about, samples } = family;
    let numbers = || samples.iter().filter_map(|sample| number(sample, times)).collect();
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let data = match kind {
        FamilyKind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        FamilyKind::Counter => {
            metric::Data::Sum(Sum { data_points: numbers(), aggregation_temporality, is_monotonic: true })
        }
        FamilyKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: samples.iter().filter_map(|sample| spread(sample, times)).collect(),
            aggregation_temporality,
        }),
    };
    let unit = if name.ends_with("_seconds") { "s" } else { "1" };
    Metric {
        name: format!("quadrille_{name}"),
        description: (*about).to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(sample: &Sample, (began, now): (u64, u64)) -> Option<NumberDataPoint> {
    let value = match sample.value {
        Value::Count(count) => number_data_point::Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX)),
        Value::Number(number) => number_data_point::Value::AsDouble(number),
        Value::Spread(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: labels(sample),
        start_time_unix_nano: began,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn spread(sample: &Sample, (began, now): (u64, u64)) -> Option<HistogramDataPoint> {
    let Value::Spread(Distribution { bounds, within, sum }) = &sample.value else { return None };
    // OTLP counts each bucket by itself.
    let below = std::iter::once(&0).chain(within);
    Some(HistogramDataPoint {
        attributes: labels(sample),
        start_time_unix_nano: began,
        time_unix_nano: now,
        count: within.last().copied().unwrap_or(0),
        sum: Some(*sum),
        bucket_counts: within
            .iter()
            .zip(below)
            .map(|(within, below)| within.saturating_sub(*below))
            .collect(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn labels(sample: &Sample) -> Vec<KeyValue> {
    sample.labels.iter().map(|(name, value)| attribute(name, string(value.clone()))).collect()
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("quadrille".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn resource(service: &str) -> Resource {
    let attributes = vec![attribute("service.name", string(service))];
    Resource { attributes, ..Resource::default() }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(text: impl Into<String>) -> any_value::Value {
    any_value::Value::StringValue(text.into())
}

fn integer(number: u64) -> any_value::Value {
    any_value::Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Nanoseconds since 1970.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0).saturating_mul(1_000_000)
}
