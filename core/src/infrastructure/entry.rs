//! How a flow begins: requests to the HTTP API, and schedules.

use super::{
    InfrastructureError,
    function::function,
    keys::{HTTP_BURST, HTTP_RATE},
    permissions::{Statements, trust},
    program::{Options, Program, json, logical, reference},
    settings::{JWT, JWT_AUDIENCE, JWT_ISSUER, LOG_RETENTION, schedule as schedule_setting},
    state::{failures_queue, physical},
    yaml::{Map, Yaml, call},
};
use crate::{
    choreography::Choreography,
    model::{Model, QueueUse, RouteModel, ScheduleModel, Source},
    timestamp::Timestamp,
};

/// What the scheduler replaces by the time for which a message was scheduled.
const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";

/// How often the scheduler tries to send before it gives up (at most 185), over [`SEND_AGE`].
const SENDS: i64 = 30;

/// For how many seconds the scheduler tries to send: an hour (60 s to 86,400 s).
const SEND_AGE: i64 = 3_600;

/// The API with its stage, which lets requests through at a rate and logs each.
pub(super) fn api(program: &mut Program, system: &str) {
    let properties = Map::new().with("name", reference("prefix")).with("protocolType", "HTTP");
    program.resource("api", "aws:apigatewayv2:Api", properties, Options::default());
    let logs = Map::new()
        .comment("vended logs: each other name would take a part of one policy of the account's, which 48 stacks fill")
        .with("name", format!("/aws/vendedlogs/apigateway/{}", reference("prefix")))
        .with("retentionInDays", reference(LOG_RETENTION));
    program.resource("apiLogs", "aws:cloudwatch:LogGroup", logs, Options::default());
    let fields = [
        ("request_id", "requestId"),
        ("at", "requestTimeEpoch"),
        ("route", "routeKey"),
        ("status", "status"),
        ("latency_ms", "responseLatency"),
        ("response_bytes", "responseLength"),
        ("source_ip", "identity.sourceIp"),
        ("caller", "identity.caller"),
        ("error", "error.message"),
        ("integration_error", "integrationErrorMessage"),
    ];
    let format =
        fields.iter().fold(Map::new(), |map, (name, value)| map.with(*name, format!("$context.{value}")));
    let stage = Map::new()
        .with("apiId", reference("api.id"))
        .with("name", "$default")
        .with("autoDeploy", true)
        .with(
            "defaultRouteSettings",
            Map::new()
                .with("throttlingRateLimit", reference(HTTP_RATE))
                .with("throttlingBurstLimit", reference(HTTP_BURST))
                .with("detailedMetricsEnabled", true),
        )
        .with(
            "accessLogSettings",
            Map::new().with("destinationArn", reference("apiLogs.arn")).with("format", json(format)),
        );
    program.resource("apiStage", "aws:apigatewayv2:Stage", stage, Options::default());
    program.say("Who has a token may call where the setting `jwt` is 1; otherwise it is unused.");
    let authorizer = Map::new()
        .with("apiId", reference("api.id"))
        .with("name", format!("{system}-tokens"))
        .with("authorizerType", "JWT")
        .with("identitySources", ["$request.header.Authorization"])
        .with(
            "jwtConfiguration",
            Map::new().with("issuer", reference(JWT_ISSUER)).with("audiences", [reference(JWT_AUDIENCE)]),
        );
    program.resource("apiTokens", "aws:apigatewayv2:Authorizer", authorizer, Options::default());
}

/// A route of the API to its function. The one that `tells_health` also answers `GET /healthz`, as every function of a
/// route does.
pub(super) fn route(program: &mut Program, route: &RouteModel, path: &str, tells_health: bool) {
    let integration = logical(&route.step, "Integration");
    let properties = Map::new()
        .with("apiId", reference("api.id"))
        .with("integrationType", "AWS_PROXY")
        .with("integrationUri", reference(&format!("{}.invokeArn", function(&route.step))))
        .with("payloadFormatVersion", "2.0");
    program.resource(&integration, "aws:apigatewayv2:Integration", properties, Options::default());
    address(program, &route.step, &route.step, &format!("{} {}", route.method, greedy(path)));
    if tells_health {
        program.say("200 while the function can reach its table.");
        address(program, "health", &route.step, "GET /healthz");
    }
}

/// What the API hands to the function of `step`.
fn address(program: &mut Program, name: &str, step: &str, key: &str) {
    let by_jwt = |without: &str, with: &str| -> Yaml {
        let choices = Yaml::from(vec![without, with]);
        call("select", Yaml::from(vec![Yaml::from(reference(JWT)), choices])).into()
    };
    let integration = reference(&format!("{}.id", logical(step, "Integration")));
    let properties = Map::new()
        .with("apiId", reference("api.id"))
        .with("routeKey", key)
        .with("target", format!("integrations/{integration}"))
        .with("authorizationType", by_jwt("AWS_IAM", "JWT"))
        .with("authorizerId", by_jwt("", &reference("apiTokens.id")));
    program.resource(&logical(name, "Route"), "aws:apigatewayv2:Route", properties, Options::default());
    let properties = Map::new()
        .with("statementId", format!("api-{name}"))
        .with("action", "lambda:InvokeFunction")
        .with("function", reference(&format!("{}.name", function(step))))
        .with("principal", "apigateway.amazonaws.com")
        .comment("the `*` is the stage, of which there is one")
        .with("sourceArn", format!("{}/*/{}", reference("api.executionArn"), key.replacen(" /", "/", 1)));
    program.resource(&logical(name, "Permission"), "aws:lambda:Permission", properties, Options::default());
}

/// A path whose last parameter takes all that is left: the API decodes a path before it compares, so that an id with a
/// slash in it would reach no route otherwise. The function itself compares the path as it was sent.
fn greedy(path: &str) -> String {
    match path.strip_suffix('}') {
        Some(parameter) => format!("{parameter}+}}"),
        None => path.to_owned(),
    }
}

/// A schedule, which sends its message to the queue of each consumer.
pub(super) fn schedule(
    program: &mut Program,
    choreography: &Choreography,
    schedule: &ScheduleModel,
) -> Result<(), InfrastructureError> {
    let (queues, input) = template(choreography, schedule)?;
    // A schedule that AWS can't have is no part of a model that was proved.
    let zone = schedule.when.to_aws().map_or("UTC", |(_, zone)| zone);
    let failures = failures_name(schedule);
    let arn = |queue: &str| reference(&format!("{}.arn", logical(queue, "Queue")));
    failures_queue(program, &failures);
    let role = logical(&schedule.name, "ScheduleRole");
    let properties = Map::new()
        .with("name", physical(&role_name(schedule)))
        .with("assumeRolePolicy", json(trust("scheduler.amazonaws.com", true)));
    program.resource(&role, "aws:iam:Role", properties, Options::default());
    let mut statements = Statements::default();
    let targets = queues.iter().chain([&failures]).map(|queue| arn(queue)).collect();
    statements.allow("its message, and what could not be sent", QueueUse::Send.actions(), targets);
    let policy = logical(&schedule.name, "SchedulePolicy");
    let properties =
        Map::new().with("role", reference(&format!("{role}.id"))).with("policy", json(statements.policy()));
    program.resource(&policy, "aws:iam:RolePolicy", properties, Options::default());
    for queue in &queues {
        let target = Map::new()
            .with("arn", arn(queue))
            .with("roleArn", reference(&format!("{role}.arn")))
            .comment(
                "as text: `fn::toJSON` would escape the brackets, and the scheduler not know its own word",
            )
            .with("input", &input)
            .with(
                "retryPolicy",
                Map::new().with("maximumRetryAttempts", SENDS).with("maximumEventAgeInSeconds", SEND_AGE),
            )
            .with("deadLetterConfig", Map::new().with("arn", arn(&failures)));
        let name =
            if queues.len() == 1 { schedule.name.clone() } else { format!("{}-{queue}", schedule.name) };
        let properties = Map::new()
            .with("name", physical(&name))
            .with("scheduleExpression", reference(&schedule_setting(&schedule.name)))
            .with("scheduleExpressionTimezone", zone)
            .with("flexibleTimeWindow", Map::new().with("mode", "OFF"))
            .with("target", target);
        program.resource(
            &logical(&name, "ScheduledMessage"),
            "aws:scheduler:Schedule",
            properties,
            Options::after(&policy),
        );
    }
    Ok(())
}

/// The role of a schedule.
pub(super) fn role_name(schedule: &ScheduleModel) -> String {
    format!("{}-schedule", schedule.name)
}

/// The queue of what a schedule could not send.
pub(super) fn failures_name(schedule: &ScheduleModel) -> String {
    format!("{}-failures", schedule.name)
}

/// The queues of a schedule, and its message with the scheduler's word for the scheduled time.
///
/// It is found by making the message for two times: what differs has to be the time as it is written.
fn template(
    choreography: &Choreography,
    schedule: &ScheduleModel,
) -> Result<(Vec<String>, String), InfrastructureError> {
    let at = |millis| -> Result<(Vec<String>, String), InfrastructureError> {
        let time = Timestamp::from_millis(millis);
        let wrong = || InfrastructureError::ScheduledTime { schedule: schedule.name.clone() };
        let (queues, message) = choreography.scheduled_message(&schedule.name, time).map_err(|_| wrong())?;
        let mut message: serde_json::Value = serde_json::from_str(&message).map_err(|_| wrong())?;
        // Of the run and not of the schedule: the one who receives it begins a trace.
        if let Some(envelope) = message.as_object_mut() {
            envelope.remove("traceparent");
        }
        Ok((queues, message.to_string().replace(&time.to_string(), SCHEDULED_TIME)))
    };
    // Two odd times, none of whose parts is like one of the other's.
    let (queues, template) = at(1_234_567_891_011)?;
    if template != at(2_222_222_222_999)?.1 || !template.contains(SCHEDULED_TIME) {
        return Err(InfrastructureError::ScheduledTime { schedule: schedule.name.clone() });
    }
    Ok((queues, template))
}

/// The schedules whose message goes to `queue`.
pub(super) fn of_queue<'a>(model: &'a Model, queue: &str) -> impl Iterator<Item = &'a ScheduleModel> {
    let step =
        model.steps.iter().find(|step| step.queue == queue && !matches!(step.source, Source::Outside(_)));
    let consumed = step.map(|step| step.event_type.clone());
    model.schedules.iter().filter(move |schedule| consumed.as_ref() == Some(&schedule.event_type))
}
