//! Functions: each with its log group, its role, its policy, and what invokes it.

use super::{
    keys::{self, HTTP_CONCURRENCY},
    permissions::{self, trust},
    program::{Options, Program, json, logical, reference},
    relayed_tables,
    settings::{LOG_RETENTION, MEMORY},
    state::{kept_or_physical, physical, seconds},
    yaml::Map,
};
use crate::{
    layout,
    model::{Budget, FUNCTION, Model, ResourceKind, RouteModel, StepModel},
    needs::Needs,
};
use std::time::Duration;

/// The relay's name among functions.
pub(super) const RELAY: &str = "relay";

/// The queue that Lambda tells of stream records it gave up.
pub(super) const RELAY_FAILURES: &str = "relay-failures";

/// How long the relay may work on a batch.
const RELAY_TIMEOUT: Duration = Duration::from_secs(60);

/// How old a record may be and still be tried: half of the 24 h for which DynamoDB keeps it, so that the other half is left
/// for people to send it on.
const RELAY_RECORD_AGE: Duration = Duration::from_secs(12 * 3_600);

/// How often a batch is tried again before it is given up (Lambda: at most 10,000). The age ends it sooner in an outage.
const RELAY_RETRIES: i64 = 1_000;

/// A function to be rendered.
struct Function<'a> {
    name: &'a str,
    /// Its name on AWS.
    physical: String,
    timeout: Duration,
    memory: Option<u32>,
    needs: Needs,
    is_http: bool,
    /// The tables whose streams invoke it, and the queue that Lambda tells of records it gave up.
    streams: Vec<&'a str>,
    failures: Option<&'a str>,
}

/// The logical name of the log group of the function `name`.
fn logs(name: &str) -> String {
    logical(name, "Logs")
}

fn policy(name: &str) -> String {
    logical(name, "Policy")
}

/// The logical name of the function `name`.
pub(super) fn function(name: &str) -> String {
    logical(name, "Function")
}

/// The function of a route.
pub(super) fn of_route(program: &mut Program, model: &Model, route: &RouteModel) {
    let needs = Needs::of_step(model, &route.step).unwrap_or_default();
    let (timeout, memory, is_http) = (route.timeout, route.memory, route.path.is_some());
    let (streams, failures) = (Vec::new(), None);
    let name = route.step.as_str();
    let physical = kept_or_physical(route.physical.as_ref(), name);
    add(program, model, Function { name, physical, timeout, memory, needs, is_http, streams, failures });
}

/// The function of a step, with the event source mapping that invokes it.
pub(super) fn of_step(program: &mut Program, model: &Model, step: &StepModel) {
    let needs = Needs::of_step(model, &step.name).unwrap_or_default();
    let (timeout, memory) = (step.timeout, step.memory);
    let redrive = model.queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
    let failures = redrive.map(|redrive| redrive.dead_letter_queue.as_str());
    let streams: Vec<&str> = step.stream().into_iter().collect();
    let read = streams.clone();
    let name = step.name.as_str();
    let physical = kept_or_physical(step.physical.as_ref(), name);
    add(
        program,
        model,
        Function { name, physical, timeout, memory, needs, is_http: false, streams, failures },
    );
    if let Some(budget) = model.budget_of(step) {
        allow_recursion(program, &step.name, &[budget]);
    }
    let mut mapping = Map::new()
        .with("functionName", reference(&format!("{}.arn", function(&step.name))))
        .with("eventSourceArn", reference(&format!("{}.arn", logical(&step.queue, "Queue"))))
        .with("batchSize", i64::try_from(step.batch).unwrap_or(i64::MAX));
    if !step.batch_window.is_zero() {
        mapping.put("maximumBatchingWindowInSeconds", seconds(step.batch_window));
    }
    let mapping = mapping.with("functionResponseTypes", ["ReportBatchItemFailures"]);
    // Lambda takes one of them.
    let mapping = match step.pollers {
        Some(_) => mapping.with(
            "provisionedPollerConfig",
            Map::new()
                .with("minimumPollers", reference(&keys::pollers_least(&step.name)))
                .with("maximumPollers", reference(&keys::pollers_most(&step.name))),
        ),
        None => {
            let concurrency = reference(&keys::concurrency(&step.name));
            mapping.with("scalingConfig", Map::new().with("maximumConcurrency", concurrency))
        }
    };
    program.resource(
        &logical(&step.name, "Mapping"),
        "aws:lambda:EventSourceMapping",
        mapping,
        Options::after(&policy(&step.name)),
    );
    for table in read {
        let batch = i64::try_from(step.batch).unwrap_or(i64::MAX);
        let retries = i64::from(step.attempts.saturating_sub(1));
        let failures = failures.unwrap_or(RELAY_FAILURES);
        let mapping = of_stream(&step.name, table, &step.name, batch, retries, failures);
        let window = (!step.batch_window.is_zero()).then(|| seconds(step.batch_window));
        let mapping = window
            .into_iter()
            .fold(mapping, |mapping, window| mapping.with("maximumBatchingWindowInSeconds", window));
        program.resource(
            &logical(&step.name, "SourceMapping"),
            "aws:lambda:EventSourceMapping",
            mapping,
            Options::after(&policy(&step.name)),
        );
    }
}

/// What hands the stream of `table` to a function. A record that it gives up it tells of in the queue `failures`.
/// `factor` is whose key says how many batches of a shard it works at once.
fn of_stream(name: &str, table: &str, factor: &str, batch: i64, retries: i64, failures: &str) -> Map {
    let failures = reference(&format!("{}.arn", logical(failures, "Queue")));
    let destination = Map::new().with("onFailure", Map::new().with("destinationArn", failures));
    Map::new()
        .with("functionName", reference(&format!("{}.arn", function(name))))
        .with("eventSourceArn", reference(&format!("{}.streamArn", logical(table, "Table"))))
        .with("startingPosition", "TRIM_HORIZON")
        .comment("only items with something to relay: reads, expiries and other commits invoke nothing")
        .with(
            "filterCriteria",
            Map::new().with("filters", vec![Map::new().with("pattern", layout::RELAY_FILTER)]),
        )
        .with("batchSize", batch)
        .with("parallelizationFactor", reference(&keys::factor(factor)))
        .with("functionResponseTypes", ["ReportBatchItemFailures"])
        .with("bisectBatchOnFunctionError", true)
        .comment("the stream keeps a record for 24 h: given up before that, somebody can still send it on")
        .with("maximumRecordAgeInSeconds", seconds(RELAY_RECORD_AGE))
        .with("maximumRetryAttempts", retries)
        .with("destinationConfig", destination)
}

/// The relay, invoked by the streams of `tables`.
pub(super) fn relay(program: &mut Program, model: &Model, tables: &[&String]) {
    let needs = Needs::of_relay(model);
    add(
        program,
        model,
        Function {
            name: RELAY,
            physical: physical(RELAY),
            timeout: RELAY_TIMEOUT,
            memory: None,
            needs,
            is_http: false,
            streams: tables.iter().map(|table| table.as_str()).collect(),
            failures: Some(RELAY_FAILURES),
        },
    );
    let budgets: Vec<Budget> = model
        .steps
        .iter()
        .filter(|step| step.cycle.as_ref() == Some(&step.name))
        .filter_map(|step| model.budget_of(step))
        .collect();
    if !budgets.is_empty() {
        allow_recursion(program, RELAY, &budgets);
    }
    for table in tables {
        let mapping = of_stream(RELAY, table, table, keys::RELAY_BATCH.into(), RELAY_RETRIES, RELAY_FAILURES);
        program.resource(
            &logical(table, "StreamMapping"),
            "aws:lambda:EventSourceMapping",
            mapping,
            Options::after(&policy(RELAY)),
        );
    }
}

/// The function stands on a cycle: Lambda would stop it after about 16 rounds.
fn allow_recursion(program: &mut Program, name: &str, budgets: &[Budget]) {
    for budget in budgets {
        program.say(format!(
            "A cycle, which the flow itself bounds: {} events or {} s, whichever is first. Lambda would end it at 16 rounds.",
            budget.hops,
            seconds(budget.deadline)
        ));
    }
    let properties = Map::new()
        .with("functionName", reference(&format!("{}.name", function(name))))
        .with("recursiveLoop", "Allow");
    program.resource(
        &logical(name, "Recursion"),
        "aws:lambda:FunctionRecursionConfig",
        properties,
        Options::default(),
    );
}

/// The key of how many invocations are reserved for a function. One that is only invoked directly has none: by whom, and how often,
/// its owner knows.
fn reserved(model: &Model, name: &str, is_http: bool) -> Option<String> {
    let is_of_route = || model.routes.iter().any(|route| route.step == name);
    if is_http {
        return Some(HTTP_CONCURRENCY.to_owned());
    }
    (!is_of_route()).then(|| keys::reserved(name))
}

fn add(program: &mut Program, model: &Model, function: Function<'_>) {
    let Function { name, physical: own_name, timeout, memory, needs, is_http, streams, failures } = function;
    let settings = model.settings_of(name);
    let relayed = relayed_tables(model);
    let log_group = Map::new()
        .with("name", format!("/aws/lambda/{own_name}"))
        .with("retentionInDays", reference(LOG_RETENTION));
    program.resource(&logs(name), "aws:cloudwatch:LogGroup", log_group, Options::default());
    let role = logical(name, "Role");
    let properties = Map::new()
        .with("name", physical(name))
        .with("assumeRolePolicy", json(trust("lambda.amazonaws.com", false)));
    program.resource(&role, "aws:iam:Role", properties, Options::default());
    let mut statements = permissions::observed(&logs(name));
    streams.iter().for_each(|table| permissions::of_stream(&mut statements, table));
    if let Some(failures) = failures.filter(|_| !streams.is_empty()) {
        permissions::of_stream_mapping(&mut statements, &logical(failures, "Queue"));
    }
    permissions::of_needs(&mut statements, &needs);
    let secrets = settings.iter().filter(|setting| setting.is_secret);
    secrets.for_each(|secret| permissions::of_secret(&mut statements, &secret.name));
    let properties =
        Map::new().with("role", reference(&format!("{role}.id"))).with("policy", json(statements.policy()));
    program.resource(&policy(name), "aws:iam:RolePolicy", properties, Options::default());
    let mut variables = Map::new().with(FUNCTION, name);
    for variable in needs.variables(model) {
        let (what, property) = match variable.kind {
            ResourceKind::Table => ("Table", "name"),
            ResourceKind::Queue => ("Queue", "url"),
            ResourceKind::Bucket => ("Bucket", "bucket"),
            ResourceKind::Topic => ("Topic", "arn"),
            ResourceKind::Bus => ("Bus", "name"),
        };
        variables.put(variable.name, reference(&format!("{}.{property}", logical(&variable.of, what))));
    }
    for setting in settings {
        let key = setting.key();
        let value = if setting.is_secret { format!("{}.arn", logical(&setting.name, "Secret")) } else { key };
        variables.put(setting.function_variable(), reference(&value));
    }
    let mut properties = Map::new()
        .with("name", own_name)
        .with("role", reference(&format!("{role}.arn")))
        .with("runtime", "provided.al2023")
        .with("architectures", ["arm64"])
        .with("handler", "bootstrap")
        .with("code", super::yaml::call("fileArchive", format!("./packages/{}.zip", model.name)))
        .with("timeout", seconds(timeout));
    match memory {
        Some(memory) => properties.put("memorySize", i64::from(memory)),
        None => properties.put("memorySize", reference(MEMORY)),
    }
    if let Some(key) = reserved(model, name, is_http) {
        properties.put("reservedConcurrentExecutions", reference(&key));
    }
    properties.put("environment", Map::new().with("variables", variables));
    let logging =
        Map::new().with("logFormat", "JSON").with("logGroup", reference(&format!("{}.name", logs(name))));
    let properties =
        properties.with("loggingConfig", logging).with("tracingConfig", Map::new().with("mode", "Active"));
    // Whoever reads a stream has to read what newer code of the others may write: it is updated first.
    let mut before = vec![policy(name)];
    if needs.tables.values().any(|uses| uses.iter().any(|used| used.is_commit())) {
        before.extend((!relayed.is_empty()).then(|| self::function(RELAY)));
        let readers = model.steps.iter().filter(|step| step.stream().is_some() && streams.is_empty());
        before.extend(readers.map(|step| self::function(&step.name)));
    }
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    program.resource(&self::function(name), "aws:lambda:Function", properties, Options::after_all(&before));
}
