//! Alarms, and the dashboard.

use super::{
    FunctionOptions,
    entry::failures_name,
    function::{RELAY, RELAY_FAILURES},
    program::{Options, Program, json, logical, reference},
    settings::{REGION, schedule_patience, schedule_period},
    state::{physical, seconds},
    yaml::{Map, Yaml},
};
use crate::{
    limits::QUEUE_DELAY_MAX,
    metrics::{self, Metric, Unit},
    model::{Model, ScheduleModel, StepModel},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The namespace of the handlers' own metrics.
const OURS: &str = "Quadrille";

/// How far the relay may lag behind the table before somebody is told.
const RELAY_LAG: Duration = Duration::from_secs(300);

/// How long a message may be tried again before somebody is told: an outage is known while the flow still has time. Ours.
const RETRIES_UNTOLD_MAX: Duration = Duration::from_secs(1_800);

/// What an alarm watches.
struct WatchedMetric {
    namespace: &'static str,
    metric: &'static str,
    dimensions: Vec<(&'static str, String)>,
    statistic: &'static str,
}

impl WatchedMetric {
    fn queue(name: &str, metric: &'static str) -> Self {
        let queue = reference(&format!("{}.name", logical(name, "Queue")));
        Self { namespace: "AWS/SQS", metric, dimensions: vec![("QueueName", queue)], statistic: "Maximum" }
    }

    fn function(name: &str, metric: &'static str, statistic: &'static str) -> Self {
        let dimensions = vec![("FunctionName", function_name(name))];
        Self { namespace: "AWS/Lambda", metric, dimensions, statistic }
    }

    fn ours(system: &str, function: &str, metric: Metric) -> Self {
        let dimensions = vec![("choreography", system.to_owned()), ("function", function_name(function))];
        Self { namespace: OURS, metric: metric.name(), dimensions, statistic: "Sum" }
    }
}

impl WatchedMetric {
    fn schedule(system: &str, step: &str, schedule: &str, metric: Metric) -> Self {
        let mut watched = Self::ours(system, step, metric);
        watched.dimensions.push(("schedule", schedule.to_owned()));
        watched
    }

    /// The greatest value of a period.
    fn greatest(self) -> Self {
        Self { statistic: "Maximum", ..self }
    }
}

fn function_name(name: &str) -> String {
    reference(&format!("{}.name", logical(name, "Function")))
}

/// When an alarm goes off: at `threshold` and more, over `period` seconds.
struct Limit {
    threshold: i64,
    period: i64,
}

impl Limit {
    fn rule(&self) -> Map {
        Map::new()
            .with("period", self.period)
            .with("evaluationPeriods", 1)
            .with("threshold", self.threshold)
            .with("comparisonOperator", "GreaterThanOrEqualToThreshold")
            .with("treatMissingData", "notBreaching")
    }
}

const AT_ONCE: Limit = Limit { threshold: 1, period: 60 };
const IN_FIVE_MINUTES: Limit = Limit { threshold: 1, period: 300 };

/// Alarms that tell `topic`. An alarm tells of a change once, so it is made `after` all by which people hear of it.
struct Alarms<'a> {
    program: &'a mut Program,
    topic: String,
    after: Vec<String>,
}

impl Alarms<'_> {
    /// One that tells both that it is red and that it is well again.
    fn state(&mut self, name: &str, about: &str, watched: &WatchedMetric, limit: &Limit) {
        self.add(name, about, watched, limit.rule(), true);
    }

    /// One that tells that nothing comes any more: in none of so many periods, whose length a setting says.
    fn silence(&mut self, name: &str, about: &str, watched: &WatchedMetric, periods: u64, period: &str) {
        let rule = Map::new()
            .with("period", reference(period))
            .with("evaluationPeriods", i64::try_from(periods).unwrap_or(i64::MAX))
            .with("threshold", 1)
            .with("comparisonOperator", "LessThanThreshold")
            .with("treatMissingData", "breaching");
        self.add(name, about, watched, rule, true);
    }

    /// One that tells that what a schedule works off waits too long. It is measured with each message of the schedule: in between
    /// nothing is known.
    fn waiting(&mut self, name: &str, about: &str, watched: &WatchedMetric, schedule: &str) {
        let rule = Map::new()
            .with("period", reference(&schedule_period(schedule)))
            .with("evaluationPeriods", 1)
            .with("threshold", reference(&schedule_patience(schedule)))
            .with("comparisonOperator", "GreaterThanOrEqualToThreshold")
            .with("treatMissingData", "ignore");
        self.add(name, about, watched, rule, true);
    }

    /// One that clears by itself, which is no news.
    fn event(&mut self, name: &str, about: &str, watched: &WatchedMetric, limit: &Limit) {
        self.add(name, about, watched, limit.rule(), false);
    }

    fn add(&mut self, name: &str, about: &str, watched: &WatchedMetric, rule: Map, tells_ok: bool) {
        let dimensions =
            watched.dimensions.iter().fold(Map::new(), |map, (name, value)| map.with(*name, value));
        let topic = [reference(&format!("{}.arn", logical(&self.topic, "Topic")))];
        let mut properties = Map::new()
            .with("name", physical(name))
            .with("alarmDescription", about)
            .with("namespace", watched.namespace)
            .with("metricName", watched.metric)
            .with("dimensions", dimensions)
            .with("statistic", watched.statistic)
            .and(rule)
            .with("alarmActions", topic.clone());
        if tells_ok {
            properties.put("okActions", topic);
        }
        let name = logical(name, "Alarm");
        let after: Vec<&str> = self.after.iter().map(String::as_str).collect();
        self.program.resource(&name, "aws:cloudwatch:MetricAlarm", properties, Options::after_all(&after));
    }
}

/// All alarms of `model`; none where it has no topic for them.
pub(super) fn alarms(program: &mut Program, model: &Model, is_relayed: bool) {
    let Some(topic) = model.alarms.first().map(|alarm| alarm.topic.clone()) else { return };
    let hear = model.steps.iter().filter(|step| step.topic() == Some(topic.as_str()));
    let subscriptions = hear.map(|step| logical(&step.queue, "Subscription"));
    let after = std::iter::once(logical(&topic, "TopicPolicy")).chain(subscriptions).collect();
    let mut alarms = Alarms { program, topic, after };
    for step in &model.steps {
        of_step(&mut alarms, model, step);
    }
    let refused: BTreeSet<&String> = model.outlets.iter().map(|outlet| &outlet.dead_letter_queue).collect();
    for dead in refused {
        alarms.state(
            dead,
            &format!("{dead} is not empty: events were refused for good outside, and wait for a redrive"),
            &WatchedMetric::queue(dead, VISIBLE),
            &AT_ONCE,
        );
    }
    let relay = RELAY.to_owned();
    for name in model.handlers().chain(is_relayed.then_some(&relay)) {
        of_function_itself(&mut alarms, model, name);
    }
    if is_relayed {
        of_relay(&mut alarms, &model.name);
    }
    for schedule in &model.schedules {
        of_schedule(&mut alarms, model, schedule);
    }
    if model.routes.iter().any(|route| route.path.is_some()) {
        let api = WatchedMetric {
            namespace: "AWS/ApiGateway",
            metric: "5xx",
            dimensions: vec![("ApiId", reference("api.id"))],
            statistic: "Sum",
        };
        alarms.state("api-5xx", "the API answered with an error of its own", &api, &IN_FIVE_MINUTES);
    }
}

/// How it runs, and what it can't read.
fn of_function_itself(alarms: &mut Alarms<'_>, model: &Model, name: &str) {
    alarms.state(
        &format!("{name}-errors"),
        &format!("{name} failed as a whole: it could not start, ran out of time or memory, or crashed"),
        &WatchedMetric::function(name, "Errors", "Sum"),
        &IN_FIVE_MINUTES,
    );
    alarms.state(
        &format!("{name}-throttles"),
        &format!("{name} was refused an invocation: its concurrency, or the account's, is used up"),
        &WatchedMetric::function(name, "Throttles", "Sum"),
        &IN_FIVE_MINUTES,
    );
    if model.uses_of(name).is_some_and(|uses| !uses.kinds().is_empty()) {
        alarms.event(
            &format!("{name}-unreadable"),
            &format!("{name} met entities that it can't read, and left them out: its log says which"),
            &WatchedMetric::ours(&model.name, name, metrics::UNREADABLE),
            &AT_ONCE,
        );
    }
}

/// That its messages are sent and handled, and that what it works off does not wait too long.
fn of_schedule(alarms: &mut Alarms<'_>, model: &Model, schedule: &ScheduleModel) {
    alarms.state(
        &failures_name(schedule),
        &format!("the schedule {} could not send its message", schedule.name),
        &WatchedMetric::queue(&failures_name(schedule), VISIBLE),
        &AT_ONCE,
    );
    let Some(watch) = schedule.watch() else { return };
    let (schedule, event_type) = (&schedule.name, &schedule.event_type);
    for step in model.steps.iter().filter(|step| step.is_told(event_type)) {
        let of = |metric| WatchedMetric::schedule(&model.name, &step.name, schedule, metric);
        let step_name = &step.name;
        alarms.silence(
            &format!("{schedule}-{step_name}-silence"),
            &format!(
                "{step_name} has handled nothing of the schedule {schedule} in {} of its periods",
                watch.periods
            ),
            &of(metrics::SCHEDULED),
            watch.periods,
            &schedule_period(schedule),
        );
        if !model.worked_off_by(step).is_empty() {
            alarms.waiting(
                &format!("{schedule}-{step_name}-waiting"),
                &format!("what {step_name} works off with the schedule {schedule} waits too long"),
                &of(metrics::OLDEST_WAITING).greatest(),
                schedule,
            );
        }
    }
}

const VISIBLE: &str = "ApproximateNumberOfMessagesVisible";
const OLDEST: &str = "ApproximateAgeOfOldestMessage";

fn of_step(alarms: &mut Alarms<'_>, model: &Model, step: &StepModel) {
    let Some(queue) = model.queue(&step.queue) else { return };
    if let Some(redrive) = &queue.redrive {
        let dead = &redrive.dead_letter_queue;
        alarms.state(
            dead,
            &format!("{dead} is not empty: messages of {} were given up and wait for a redrive", step.name),
            &WatchedMetric::queue(dead, VISIBLE),
            &AT_ONCE,
        );
        alarms.event(
            &format!("{}-dead-letters", step.name),
            &format!("{} gave up messages within the last minute: {dead} has more than before", step.name),
            &WatchedMetric::ours(&model.name, &step.name, metrics::DEAD_LETTERED),
            &AT_ONCE,
        );
    }
    if let Some(table) = step.stream() {
        alarms.state(
            &format!("{}-lag", step.name),
            &format!("{} is behind the table {table}: its stream is not worked off", step.name),
            &WatchedMetric::function(&step.name, "IteratorAge", "Maximum"),
            &Limit { threshold: i64::try_from(RELAY_LAG.as_millis()).unwrap_or(i64::MAX), period: 60 },
        );
    }
    // A message may be held back, and come as often as its attempts allow; one that is older is not getting through.
    let attempts = step.waits.total(step.attempts) + step.timeout * step.attempts;
    let patience = QUEUE_DELAY_MAX + attempts.min(RETRIES_UNTOLD_MAX);
    alarms.state(
        &format!("{}-age", step.queue),
        &format!("a message is in {} for longer than its attempts should take", step.queue),
        &WatchedMetric::queue(&step.queue, OLDEST),
        &Limit { threshold: seconds(patience), period: 300 },
    );
}

fn of_relay(alarms: &mut Alarms<'_>, system: &str) {
    alarms.state(
        RELAY_FAILURES,
        "Lambda gave up stream records: their events are not sent, and the stream keeps them for 24 h",
        &WatchedMetric::queue(RELAY_FAILURES, VISIBLE),
        &AT_ONCE,
    );
    let lag = i64::try_from(RELAY_LAG.as_millis()).unwrap_or(i64::MAX);
    alarms.state(
        "relay-lag",
        "the relay is behind the table: committed events are not sent on",
        &WatchedMetric::function(RELAY, "IteratorAge", "Maximum"),
        &Limit { threshold: lag, period: 60 },
    );
    alarms.event(
        "relay-passed-over",
        "the relay passed over what it can't read, or what nobody consumes: its log says which",
        &WatchedMetric::ours(system, RELAY, metrics::PASSED_OVER),
        &AT_ONCE,
    );
}

/// Columns of a dashboard's grid (CloudWatch).
const COLUMNS: i64 = 24;

/// Grid rows of a chart.
const HEIGHT: i64 = 6;

/// Grid rows of a row of charts, with its title.
const ROW: usize = HEIGHT as usize + 1;

/// The dashboard: a row for each function, in the order of the flow: how it runs, what it did, what waits for it.
pub(super) fn dashboard(
    program: &mut Program,
    model: &Model,
    relay: Option<&str>,
    options: &BTreeMap<String, FunctionOptions>,
) {
    let mut rows: Vec<(String, Vec<Chart>)> = Vec::new();
    for route in &model.routes {
        let mut charts = of_function(&model.name, &route.step, options, &[]);
        charts.extend(route.path.is_some().then(api_chart));
        rows.push((format!("{}: {}", route.address(), route.step), charts));
    }
    if let Some(table) = relay {
        let ours = [metrics::RELAYED, metrics::PASSED_OVER];
        let mut charts = of_function(&model.name, RELAY, options, &ours);
        charts.push(relay_chart());
        rows.push((format!("{table}, stream: relay"), charts));
    }
    for step in &model.steps {
        let ours = [metrics::HANDLED, metrics::RETRIED, metrics::DEAD_LETTERED];
        let mut charts = of_function(&model.name, &step.name, options, &ours);
        charts.push(depth_chart(model, &step.queue));
        rows.push((format!("{}: {}", step.queue, step.name), charts));
    }
    let body = Map::new().with("widgets", widgets(rows));
    let properties = Map::new().with("dashboardName", reference("prefix")).with("dashboardBody", json(body));
    program.resource("dashboard", "aws:cloudwatch:Dashboard", properties, Options::default());
}

/// Rows of charts, each under its title, on the dashboard's grid.
fn widgets(rows: Vec<(String, Vec<Chart>)>) -> Vec<Yaml> {
    let mut widgets: Vec<Yaml> = Vec::new();
    for (y, (title, charts)) in (0..).step_by(ROW).zip(rows) {
        let heading = Map::new().with("markdown", format!("## {title}"));
        widgets.push(place(0, y, COLUMNS, 1).with("type", "text").with("properties", heading).into());
        let width = COLUMNS / i64::try_from(charts.len().max(1)).unwrap_or(COLUMNS);
        for (x, chart) in (0..).zip(charts) {
            let properties = Map::new()
                .with("title", chart.title)
                .with("region", reference(REGION))
                .with("view", "timeSeries")
                .with("stat", chart.stat)
                .with("period", 60)
                .with("metrics", chart.metrics);
            let widget = place(x * width, y + 1, width, HEIGHT).with("type", "metric");
            widgets.push(widget.with("properties", properties).into());
        }
    }
    widgets
}

fn api_chart() -> Chart {
    let dimension = ["ApiId".to_owned(), reference("api.id")];
    Chart {
        title: "API: requests and errors, all routes".into(),
        stat: "Sum",
        metrics: ["Count", "4xx", "5xx"]
            .map(|metric| Yaml::from(vec!["AWS/ApiGateway", metric, &dimension[0], &dimension[1]]))
            .to_vec(),
    }
}

fn relay_chart() -> Chart {
    Chart {
        title: "relay: how far it is behind, ms".into(),
        stat: "Maximum",
        metrics: vec![Yaml::from(vec![
            "AWS/Lambda".to_owned(),
            "IteratorAge".to_owned(),
            "FunctionName".to_owned(),
            function_name(RELAY),
        ])],
    }
}

/// How much waits in a queue, and in its dead-letter queue.
fn depth_chart(model: &Model, queue: &str) -> Chart {
    let dead = model.queue(queue).and_then(|queue| queue.redrive.as_ref());
    let dead = dead.map(|redrive| redrive.dead_letter_queue.as_str());
    let depth = |queue: &str| {
        let name = reference(&format!("{}.name", logical(queue, "Queue")));
        Yaml::from(vec!["AWS/SQS".to_owned(), VISIBLE.to_owned(), "QueueName".to_owned(), name])
    };
    Chart {
        title: "waiting, and dead letters".into(),
        stat: "Maximum",
        metrics: [Some(queue), dead].into_iter().flatten().map(depth).collect(),
    }
}

struct Chart {
    title: String,
    stat: &'static str,
    metrics: Vec<Yaml>,
}

/// How a function runs, and what it counts.
fn of_function(
    system: &str,
    name: &str,
    options: &BTreeMap<String, FunctionOptions>,
    by_the_library: &[Metric],
) -> Vec<Chart> {
    let by_lambda = ["Invocations", "Errors", "Throttles"].map(|metric| {
        Yaml::from(vec![
            "AWS/Lambda".to_owned(),
            metric.to_owned(),
            "FunctionName".to_owned(),
            function_name(name),
        ])
    });
    let declared = options.get(name).map(|options| &options.metrics[..]).unwrap_or_default();
    let of = |unit| {
        let metrics =
            by_the_library.iter().chain(declared).filter(move |metric: &&Metric| metric.unit() == unit);
        let told = |metric: &Metric| {
            let dimensions = ["choreography", system, "function"].map(str::to_owned);
            let mut told = vec![OURS.to_owned(), metric.name().to_owned()];
            told.extend(dimensions);
            told.push(function_name(name));
            Yaml::from(told)
        };
        metrics.map(told).collect::<Vec<Yaml>>()
    };
    let charts = [
        Chart { title: format!("{name}: invocations"), stat: "Sum", metrics: by_lambda.to_vec() },
        Chart { title: format!("{name}: what it did"), stat: "Sum", metrics: of(Unit::Count) },
        Chart {
            title: format!("{name}: times, 95 % within, ms"),
            stat: "p95",
            metrics: of(Unit::Milliseconds),
        },
    ];
    charts.into_iter().filter(|chart| !chart.metrics.is_empty()).collect()
}

fn place(x: i64, y: i64, width: i64, height: i64) -> Map {
    Map::new().with("x", x).with("y", y).with("width", width).with("height", height)
}
