//! What an engine tells a collector of OpenTelemetry, as a collector gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "../../cli/tests/support/mod.rs"]
mod support;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value},
    metrics::v1::{Metric, metric, number_data_point},
    trace::v1::{Span, status::StatusCode},
};
use prost::Message as _;
use serde_json::json;
use std::{collections::BTreeSet, path::Path, process::Command};
use support::{
    Engine, ask, command, eventually,
    server::{Asked, Reply, Server},
};

/// The command that the tests start.
const COMMAND: &str = env!("CARGO_BIN_EXE_quadrille");

fn up(folder: &Path, collector: &str) -> Command {
    let mut command = command(&["up", "auction", "--port", "0", "--backoff", "1ms", "--seed", "1", "--data"]);
    command.arg(folder);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc");
    command.env("OTEL_BSP_SCHEDULE_DELAY", "50").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    command
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

fn told(collector: &Server, path: &str) -> Vec<Asked> {
    collector.asked().into_iter().filter(|asked| asked.path == path).collect()
}

fn spans(collector: &Server) -> Vec<Span> {
    let read = |asked: Asked| ExportTraceServiceRequest::decode(asked.bytes.as_slice()).unwrap();
    let requests = told(collector, "/v1/traces").into_iter().map(read);
    let of_resources = requests.flat_map(|request| request.resource_spans);
    of_resources.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
}

fn metrics(collector: &Server) -> Vec<Metric> {
    let last = told(collector, "/v1/metrics").pop().map(|asked| asked.bytes).unwrap_or_default();
    let request = ExportMetricsServiceRequest::decode(last.as_slice()).unwrap();
    let of_resources = request.resource_metrics.into_iter();
    of_resources.flat_map(|metrics| metrics.scope_metrics).flat_map(|metrics| metrics.metrics).collect()
}

/// How many messages of a step had this outcome.
fn counted(metrics: &[Metric], step: &str, outcome: &str) -> Option<i64> {
    let metric = metrics.iter().find(|metric| metric.name == "quadrille_messages_total")?;
    let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
    assert!(sum.is_monotonic);
    let of =
        |attributes: &[KeyValue]| text(attributes, "step") == step && text(attributes, "outcome") == outcome;
    match sum.data_points.iter().find(|point| of(&point.attributes))?.value {
        Some(number_data_point::Value::AsInt(count)) => Some(count),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn each_message_is_a_span_of_its_flow_and_what_is_measured_is_told() {
    let collector = Server::start(|_| Reply::ok(""));
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(up(folder.path(), &collector.url()), folder.path());
    let orders = json!([{ "record_id": "order-1", "parameter_1": "a", "parameter_2": 1 },
        { "record_id": "order-2", "parameter_1": "a", "parameter_2": 1 }]);
    assert_eq!(engine.ask("POST", "/orders", Some(orders.to_string().as_bytes())).status, 202);
    let triggered = engine.ask("POST", "/_quadrille/schedules/kickoff", Some(b"{}"));
    assert_eq!(triggered.status, 202);
    let filed = |spans: &[Span]| spans.iter().filter(|span| span.name == "store_result").cloned().collect();
    let filed: Vec<Span> = eventually("both orders are at their ends", || {
        Some(filed(&spans(&collector))).filter(|spans: &Vec<Span>| spans.len() == 2)
    });
    for span in &filed {
        let order = engine.get(&format!("/orders/{}", text(&span.attributes, "quadrille.subject"))).json();
        let trace = format!("{:032x}", u128::from_be_bytes(span.trace_id.clone().try_into().unwrap()));
        assert_eq!(order["trace_id"], trace, "it belongs to the trace of its order");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.span_id.len() == 8);
        let (outcome, is_error) = match order["status"].as_str().unwrap() {
            "accepted" => ("handled", false),
            _ => ("dead_lettered", true),
        };
        assert_eq!(text(&span.attributes, "quadrille.outcome"), outcome);
        assert_eq!(span.status.as_ref().unwrap().code() == StatusCode::Error, is_error, "{span:?}");
    }
    let ids: BTreeSet<_> = spans(&collector).into_iter().map(|span| span.span_id).collect();
    assert_eq!(ids.len(), spans(&collector).len(), "no span has another's id");
    eventually("what is measured is told", || {
        let told = metrics(&collector);
        let ends =
            [counted(&told, "store_result", "handled")?, counted(&told, "store_result", "dead_lettered")?];
        (ends.iter().sum::<i64>() == 2).then_some(())
    });
    let told = metrics(&collector);
    let durations = told.iter().find(|metric| metric.name == "quadrille_handler_duration_seconds").unwrap();
    let Some(metric::Data::Histogram(histogram)) = &durations.data else { panic!("{durations:?}") };
    for point in &histogram.data_points {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count, "each bucket by itself");
    }
    for asked in collector.asked() {
        assert_eq!(asked.method, "POST");
        assert_eq!(asked.headers["content-type"], "application/x-protobuf");
        assert_eq!(asked.headers["authorization"], "Bearer abc");
    }
    assert_eq!(engine.terminate().code, 0);
}

#[test]
fn a_span_has_the_span_that_it_follows_from_for_its_parent() {
    let collector = Server::start(|_| Reply::ok(""));
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(up(folder.path(), &collector.url()), folder.path());
    let post = |id: &str, headers: &[(&str, &str)]| {
        let orders = json!([{ "record_id": id, "parameter_1": "a", "parameter_2": 1 }]).to_string();
        ask(&engine.address, "POST", "/orders", headers, Some(orders.as_bytes())).unwrap()
    };
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(post("of a caller", &[("traceparent", given)]).status, 202);
    assert_eq!(post("of nobody", &[]).status, 202);
    engine.ask("POST", "/_quadrille/schedules/kickoff", Some(b"{}"));
    let of = |spans: &[Span], step: &str| -> Vec<Span> {
        spans.iter().filter(|span| span.name == step).cloned().collect()
    };
    let spans = eventually("both orders and the run are at their ends", || {
        let spans = spans(&collector);
        let ended = of(&spans, "poll_auction")
            .iter()
            .any(|span| text(&span.attributes, "quadrille.what").starts_with("ended"));
        (of(&spans, "store_result").len() == 2 && ended).then_some(spans)
    });
    // Whoever posted an order began its flow: a caller, who has told his span, or somebody who has told none.
    for span in of(&spans, "store_result") {
        let subject = text(&span.attributes, "quadrille.subject");
        let parent = if subject == "of a caller" { "b7ad6b7169203331" } else { "" };
        let told: String = span.parent_span_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(told, parent, "{subject}");
    }
    // A run goes on from work to work: each is the child of the one before.
    let mut polls = of(&spans, "poll_auction");
    polls.sort_by_key(|span| span.end_time_unix_nano);
    assert!(polls.len() > 2, "{polls:?}");
    assert!(polls[0].parent_span_id.is_empty(), "the schedule began it, and is no span");
    let parents: BTreeSet<&[u8]> = polls[1..].iter().map(|span| span.parent_span_id.as_slice()).collect();
    assert_eq!(parents.len(), polls.len() - 1, "none has two children: {polls:?}");
    for child in &polls[1..] {
        let parent = polls.iter().find(|span| span.span_id == child.parent_span_id);
        let parent = parent.unwrap_or_else(|| panic!("{child:?} of {polls:?}"));
        assert_eq!(parent.trace_id, child.trace_id);
        assert!(parent.start_time_unix_nano <= child.start_time_unix_nano && parent.span_id != child.span_id);
    }
    assert_eq!(engine.terminate().code, 0);
}

#[test]
fn an_engine_that_ends_tells_of_all_that_it_has_worked() {
    let collector = Server::start(|_| Reply::ok(""));
    let folder = tempfile::tempdir().unwrap();
    let mut command = up(folder.path(), &collector.url());
    command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000").env("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
    let engine = Engine::start(command, folder.path());
    engine.ask("POST", "/_quadrille/schedules/kickoff", Some(b"{}"));
    eventually("the run is over", || {
        let counts = engine.get("/_quadrille/counts").json();
        (counts["poll_auction"]["done"].as_u64() > Some(0)).then_some(())
    });
    assert_eq!(spans(&collector).len() + metrics(&collector).len(), 0);
    assert_eq!(engine.terminate().code, 0);
    assert!(spans(&collector).iter().any(|span| span.name == "poll_auction"));
    assert!(counted(&metrics(&collector), "poll_auction", "handled") > Some(0));
}

#[test]
fn a_collector_that_refuses_or_is_away_holds_nothing_up() {
    for (collector, why) in
        [(Some(Server::start(|_| Reply::Is(503, String::new()))), "503"), (None, "no_answer")]
    {
        let folder = tempfile::tempdir().unwrap();
        // The discard port: nobody listens there.
        let url = collector.as_ref().map_or("http://127.0.0.1:9".to_owned(), Server::url);
        let engine = Engine::start(up(folder.path(), &url), folder.path());
        let order = json!([{ "record_id": "order-1", "parameter_1": "a", "parameter_2": 1 }]);
        assert_eq!(engine.ask("POST", "/orders", Some(order.to_string().as_bytes())).status, 202);
        engine.ask("POST", "/_quadrille/schedules/kickoff", Some(b"{}"));
        eventually("the order is decided", || {
            let order = engine.get("/orders/order-1").json();
            (order["status"] == "accepted" || order["status"] == "rejected").then_some(())
        });
        let done = engine.terminate();
        assert_eq!(done.code, 0);
        let told = done.err.lines().filter(|line| line.contains("the collector takes nothing"));
        let told: Vec<&str> = told.collect();
        assert!(told.len() == 1 && told[0].contains(why), "it is said once: {told:?}");
        assert!(!done.err.contains("abc"), "{}", done.err);
    }
}

#[test]
fn a_collector_that_can_not_be_one_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let done = support::run(up(folder.path(), "nowhere"), b"");
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", done.err);
}
