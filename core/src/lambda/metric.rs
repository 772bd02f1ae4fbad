//! Metrics as lines of CloudWatch's Embedded Metric Format: logs from which CloudWatch makes metrics, without a call.

use crate::{
    metrics::{Measured, Unit},
    timestamp::Timestamp,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The namespace of all metrics.
const NAMESPACE: &str = "Quadrille";

/// The dimension of what is measured of a schedule.
const SCHEDULE: &str = "schedule";

/// Most values of a metric in one line (CloudWatch).
const VALUES_MAX: usize = 100;

/// Of what the metrics are.
pub(super) struct About<'a> {
    pub(super) choreography: &'a str,
    /// Its name in the account.
    pub(super) function: &'a str,
    /// Its name in the choreography.
    pub(super) step: &'a str,
    pub(super) request_id: &'a str,
    pub(super) is_cold: bool,
    pub(super) at: Timestamp,
}

/// A line for the function and one for each schedule, or as many as it takes where a metric has more values than a line may have.
pub(super) fn lines(about: &About<'_>, measured: &[Measured]) -> String {
    let schedules: BTreeSet<Option<&str>> =
        measured.iter().map(|measured| measured.schedule.as_deref()).collect();
    schedules.into_iter().map(|schedule| lines_of(about, schedule, measured)).collect()
}

fn lines_of(about: &About<'_>, schedule: Option<&str>, measured: &[Measured]) -> String {
    let of = measured.iter().filter(|measured| measured.schedule.as_deref() == schedule);
    let mut left: Vec<(&Measured, &[f64])> =
        of.map(|measured| (measured, measured.values.as_slice())).collect();
    let dimensions: Vec<&str> =
        ["choreography", "function"].into_iter().chain(schedule.map(|_| SCHEDULE)).collect();
    let mut lines = String::new();
    while !left.is_empty() {
        let mut line = Map::new();
        let mut metrics = Vec::with_capacity(left.len());
        let mut more = Vec::new();
        for (measured, values) in left {
            let (now, later) = values.split_at(values.len().min(VALUES_MAX));
            let (name, unit) = (measured.metric.name(), measured.metric.unit());
            let value = match (unit, now) {
                (Unit::Count, [sum]) => whole(*sum),
                _ => Value::from_iter(now.iter().copied()),
            };
            metrics.push(json!({"Name": name, "Unit": unit.as_str()}));
            line.insert(name.to_owned(), value);
            if !later.is_empty() {
                more.push((measured, later));
            }
        }
        // One set of dimensions: each further one would be a metric of its own, and cost as one.
        let directive = json!({
            "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics
        });
        let metadata = json!({"Timestamp": about.at.as_millis(), "CloudWatchMetrics": [directive]});
        line.insert("_aws".to_owned(), metadata);
        line.insert("choreography".to_owned(), about.choreography.into());
        line.insert("function".to_owned(), about.function.into());
        if let Some(schedule) = schedule {
            line.insert(SCHEDULE.to_owned(), schedule.into());
        }
        line.insert("step".to_owned(), about.step.into());
        line.insert("request_id".to_owned(), about.request_id.into());
        line.insert("cold_start".to_owned(), about.is_cold.into());
        lines.push_str(&Value::Object(line).to_string());
        lines.push('\n');
        left = more;
    }
    lines
}

/// A count as the whole number that it nearly always is.
fn whole(count: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)] // below 2^53 in size, and checked to be whole
    if count.fract() == 0.0 && count.abs() < 9_007_199_254_740_992.0 {
        Value::from(count as i64)
    } else {
        Value::from(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    #[test]
    fn a_line_is_exactly_this() {
        let about = About {
            choreography: "shop",
            function: "prod-shop-pack",
            step: "pack",
            request_id: "r-1",
            is_cold: true,
            at: Timestamp::from_millis(1_500),
        };
        let taken = Measured { metric: Metric::count("Taken"), schedule: None, values: vec![3.0] };
        let took = Measured { metric: Metric::milliseconds("Took"), schedule: None, values: vec![1.5; 101] };
        let rounds = Some("rounds".to_owned());
        let kicked = Measured { metric: Metric::count("Scheduled"), schedule: rounds, values: vec![1.0] };
        let text = lines(&about, &[taken, kicked, took]);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
        let expected = |metrics: Value| {
            json!({
                "_aws": {"Timestamp": 1_500, "CloudWatchMetrics": [{"Namespace": "Quadrille",
                    "Dimensions": [["choreography", "function"]], "Metrics": metrics}]},
                "choreography": "shop", "function": "prod-shop-pack", "step": "pack", "request_id": "r-1", "cold_start": true
            })
        };
        let mut first = expected(json!([metric("Taken", "Count"), metric("Took", "Milliseconds")]));
        first["Taken"] = json!(3);
        first["Took"] = json!(vec![1.5; 100]);
        let mut second = expected(json!([metric("Took", "Milliseconds")]));
        second["Took"] = json!([1.5]);
        let mut third = expected(json!([metric("Scheduled", "Count")]));
        third["_aws"]["CloudWatchMetrics"][0]["Dimensions"] =
            json!([["choreography", "function", "schedule"]]);
        (third["schedule"], third["Scheduled"]) = (json!("rounds"), json!(1));
        assert_eq!(lines, [first, second, third]);
    }
}
