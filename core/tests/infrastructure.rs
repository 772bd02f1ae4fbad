//! The infrastructure of a choreography that is not the auction: a topic with a queue behind it, two tables, a schedule, a
//! cycle; and what is refused.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use quadrille::{
    Backlog, Backoff, Budget, Choreography, Consumer, Context, Cron, Definition, Emits, Entity, Event,
    Failure, Handled, Outcome, Route, Setting, Stored, Table, Timestamp, Topic, Uses, Waits,
    choreography::{Bus, Match, Rule, When},
    http::{Request, Response},
    infrastructure::{File, FunctionOptions, Infrastructure, InfrastructureError, STACK_BYTES_MAX, Stack},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Serialize, Deserialize)]
struct Parcel;

impl Entity for Parcel {
    const KIND: &'static str = "parcel";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed("1")
    }
}

macro_rules! events {
    ($($event:ident $name:literal),+) => {$(
        #[derive(Serialize, Deserialize)]
        struct $event;

        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = Parcel;

            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed("1")
            }
        }
    )+};
}

events!(Arrived "arrived", Moved "moved");

/// When the round is.
#[derive(Serialize, Deserialize)]
struct Round {
    at: Timestamp,
}

impl Event for Round {
    const TYPE: &'static str = "round";
    type Entity = ();

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

/// When the round is, told as a number.
#[derive(Serialize, Deserialize)]
struct Counted {
    millis: i64,
}

impl Event for Counted {
    const TYPE: &'static str = "counted";
    type Entity = ();

    fn subject(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

async fn idle<Ev: Event, Em: Emits>(_: Ev, _: Context<Em>) -> Outcome<Em> {
    Ok(Handled::Done)
}

async fn load<Ev: Event<Entity = Parcel>, Em: Emits>(
    _: Stored<Parcel>,
    _: Ev,
    _: Context<Em>,
) -> Outcome<Em> {
    Ok(Handled::Done)
}

async fn take<Em: Emits>(_: Request, _: Context<Em>) -> Result<Response, Failure> {
    Ok(Response::json(202, &()))
}

fn post_office() -> Definition {
    Choreography::define("post-office")
        .table(Table::new("parcels").holds::<Parcel>())
        .topic("news")
        .route(
            Route::post("/parcels/{id}", "take", take::<(Arrived,)>)
                .uses(Uses::new().commits::<Parcel>())
                .timeout(secs(5)),
        )
        .schedule("rounds", secs(3_600), |at| Round { at })
        .on(Consumer::new("walk", idle::<Round, ()>).uses(Uses::new().queries::<Parcel>()))
        .on(Consumer::new("move-on", load::<Moved, (Moved,)>)
            .attempts(3, Backoff::default())
            .gives_up_early()
            .budget(Budget { deadline: secs(7_200), hops: 40 }))
        .on(Consumer::new("tell", load::<Arrived, (Moved,)>).from_topic("news"))
}

fn rendered(definition: Definition) -> String {
    let choreography = definition.build().unwrap();
    let mut stack = Stack::new("dev", "For trying.");
    if !choreography.model().alarms.is_empty() {
        stack = stack.set("alarmEmail", "team@example.org");
    }
    let files = Infrastructure::of(&choreography).stack(stack).render().unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["Pulumi.yaml", "Pulumi.dev.yaml"]);
    files[0].text.clone()
}

/// The lines of a resource, its properties and options.
#[track_caller]
fn resource(program: &str, name: &str) -> String {
    let begin = program.find(&format!("\n  {name}:\n")).unwrap_or_else(|| panic!("there is no {name}"));
    let body = &program[begin + 1..];
    let lines = body.lines().enumerate().take_while(|(at, line)| *at == 0 || line.starts_with("    "));
    lines.map(|(_, line)| line.trim()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn has(program: &str, name: &str, parts: &[&str]) {
    let resource = resource(program, name);
    parts.iter().for_each(|part| assert!(resource.contains(part), "{part:?} is not in:\n{resource}"));
}

#[test]
fn what_the_definition_says_is_what_the_program_has() {
    let program = rendered(post_office());
    has(&program, "takeFunction", &["timeout: 5", "QUADRILLE_TABLE_PARCELS: ${parcelsTable.name}"]);
    has(&program, "takeRoute", &["routeKey: POST /parcels/{id+}"]);
    has(&program, "healthRoute", &["routeKey: GET /healthz", "target: integrations/${takeIntegration.id}"]);
    has(&program, "takePermission", &["sourceArn: ${api.executionArn}/*/POST/parcels/{id+}"]);
    has(
        &program,
        "moveOnQueue",
        &["visibilityTimeoutSeconds: 180", "messageRetentionSeconds: 345600", "maxReceiveCount: 6"],
    );
    has(&program, "moveOnDlqQueue", &["messageRetentionSeconds: 1209600"]);
    has(
        &program,
        "moveOnMapping",
        &["batchSize: 10", "[ReportBatchItemFailures]", "maximumConcurrency: ${moveOnConcurrency}"],
    );
    assert!(!resource(&program, "moveOnMapping").contains("BatchingWindow"));
    // The relay feeds a topic, and the topic's queue lets it.
    has(
        &program,
        "relayPolicy",
        &["Action: [sns:Publish]", "Resource: ${newsTopic.arn}", "${moveOnQueue.arn}"],
    );
    has(
        &program,
        "tellSubscription",
        &["topic: ${newsTopic.arn}", "rawMessageDelivery: true", "${tellQueuePolicy}"],
    );
    has(&program, "tellQueuePolicy", &["Service: sns.amazonaws.com", "aws:SourceArn: ${newsTopic.arn}"]);
    // What a handler does not use, it may not do and is not told.
    let walk = resource(&program, "walkPolicy");
    assert!(walk.contains("dynamodb:Query") && walk.contains("${parcelsTable.arn}/index/open"), "{walk}");
    assert!(!walk.contains("dynamodb:PutItem") && !walk.contains("dynamodb:GetItem"), "{walk}");
    assert!(!resource(&program, "walkFunction").contains("MOVE_ON"));
    // Nobody is alarmed, where no topic was said for it.
    assert!(!program.contains("MetricAlarm"));
}

/// The post office, which tells of what arrived by a bus.
fn on_bus(bus: Bus) -> Definition {
    let rule = Rule::new().detail("data.from", Match::Prefix("N".into()));
    post_office()
        .bus(bus)
        .publish_to_bus::<Moved>("town")
        .on(Consumer::new("hear", idle::<Arrived, ()>).from_bus("town", rule))
}

#[test]
fn a_bus_feeds_the_queue_of_a_step_by_a_rule_and_what_it_can_not_deliver_is_dead_lettered() {
    let program = rendered(on_bus(Bus::new("town")));
    has(&program, "townBus", &["type: aws:cloudwatch:EventBus", "name: ${prefix}-town"]);
    has(
        &program,
        "hearRule",
        &[
            "type: aws:cloudwatch:EventRule",
            "eventBusName: ${townBus.name}",
            r#"eventPattern: '{"detail":{"data":{"from":[{"prefix":"N"}]}},"detail-type":["arrived"]}'"#,
        ],
    );
    has(
        &program,
        "hearTarget",
        &[
            "type: aws:cloudwatch:EventTarget",
            "eventBusName: ${townBus.name}",
            "rule: ${hearRule.name}",
            "arn: ${hearQueue.arn}",
            "inputPath: $.detail",
            "maximumEventAgeInSeconds: 86400",
            "maximumRetryAttempts: 185",
            "deadLetterConfig:",
            "arn: ${hearDlqQueue.arn}",
            "${hearQueuePolicy}",
            "${hearDlqQueuePolicy}",
        ],
    );
    for policy in ["hearQueuePolicy", "hearDlqQueuePolicy"] {
        has(&program, policy, &["Service: events.amazonaws.com", "aws:SourceArn: ${hearRule.arn}"]);
    }
    // The relay publishes, and is told the bus by its name.
    has(&program, "relayPolicy", &["Action: [events:PutEvents]", "Resource: ${townBus.arn}"]);
    has(&program, "relayFunction", &["QUADRILLE_BUS_TOWN: ${townBus.name}"]);
    assert!(!resource(&program, "hearFunction").contains("QUADRILLE_BUS"));
    has(&program, "townDlqQueue", &["messageRetentionSeconds: 1209600"]);
    has(&program, "names", &["town: ${townBus.name}"]);
}

#[test]
fn a_bus_has_the_name_that_has_to_stay_and_one_of_others_is_not_made() {
    let program = rendered(on_bus(Bus::new("town").physical_name("the-town")));
    has(&program, "townBus", &["name: the-town"]);
    let program = rendered(on_bus(Bus::of_others("town", "the-town")));
    assert!(!program.contains("aws:cloudwatch:EventBus\n"), "{program}");
    let variables = &program[program.find("variables:").unwrap()..program.find("resources:").unwrap()];
    for part in ["townBus:", "function: aws:cloudwatch:getEventBus", "name: the-town"] {
        assert!(variables.contains(part), "{part} is not in:\n{variables}");
    }
    has(&program, "hearRule", &["eventBusName: ${townBus.name}"]);
}

#[test]
fn what_others_know_by_a_name_keeps_it() {
    let table = Table::new("parcels").holds::<Parcel>().physical_name("Parcels");
    let sort = Consumer::new("sort", load::<Arrived, ()>)
        .physical_name("parcel-sorter")
        .queue_physical_name("parcels-to-sort")
        .dead_letter_queue_physical_name("parcels-lost")
        .uses(Uses::new().setting("days"));
    let take = Route::post("/parcels", "take", take::<(Arrived,)>).uses(Uses::new().commits::<Parcel>());
    let definition = Choreography::define("post-office")
        .table(table.key_attribute("parcelId").bare_keys().shows(["state"]).variable("PARCELS_TABLE"))
        .topic(Topic::new("news").physical_name("parcel-news").variable("NEWS_ARN"))
        .bus(Bus::new("town").physical_name("the-town").variable("TOWN_NAME"))
        .setting(Setting::integer("days").default("7").variable("DAYS"))
        .publish::<Arrived>("news")
        .publish_to_bus::<Arrived>("town")
        .route(take.physical_name("parcel-taker"))
        .on(sort);
    let choreography = definition.build().unwrap();
    let infrastructure = Infrastructure::of(&choreography).key_alias("parcels");
    let program = infrastructure.render().unwrap().remove(0).text;
    has(&program, "keyAlias", &["name: alias/parcels"]);
    has(&program, "parcelsTable", &["name: Parcels", "hashKey: parcelId"]);
    has(&program, "newsTopic", &["name: parcel-news"]);
    has(&program, "townBus", &["name: the-town"]);
    has(&program, "takeFunction", &["name: parcel-taker", "PARCELS_TABLE: ${parcelsTable.name}"]);
    has(&program, "sortFunction", &["name: parcel-sorter", "DAYS: ${days}"]);
    has(&program, "sortLogs", &["name: /aws/lambda/parcel-sorter"]);
    has(&program, "sortQueue", &["name: parcels-to-sort"]);
    has(&program, "sortDlqQueue", &["name: parcels-lost"]);
    has(&program, "relayFunction", &["NEWS_ARN: ${newsTopic.arn}", "TOWN_NAME: ${townBus.name}"]);
    let long = Choreography::define("post-office")
        .table(Table::new("parcels").holds::<Parcel>())
        .route(Route::get("/", "look", self::take::<()>).physical_name("x".repeat(65)));
    let long = Infrastructure::of(&long.build().unwrap()).render().unwrap_err();
    assert!(matches!(long, InfrastructureError::NameTooLong { limit: 64, bytes: 65, .. }), "{long}");
}

#[test]
fn a_step_on_a_stream_is_handed_its_records_and_lambda_tells_its_dead_letter_queue_what_it_gave_up() {
    let sort = |sort: Consumer| {
        Choreography::define("post-office")
            .table(Table::new("parcels").holds::<Parcel>())
            .route(Route::post("/parcels", "take", take::<(Arrived,)>).uses(Uses::new().commits::<Parcel>()))
            .on(sort)
    };
    let consumer = || {
        let consumer = Consumer::new("sort", load::<Arrived, ()>).attempts(4, Backoff::default());
        consumer.batch(50, secs(5)).from_stream("parcels")
    };
    let program = rendered(sort(consumer()));
    has(
        &program,
        "sortSourceMapping",
        &[
            "eventSourceArn: ${parcelsTable.streamArn}",
            "functionName: ${sortFunction.arn}",
            "startingPosition: TRIM_HORIZON",
            r#"pattern: '{"dynamodb":{"NewImage":{"relay":{"S":["1"]}}}}'"#,
            "batchSize: 50",
            "maximumBatchingWindowInSeconds: 5",
            "functionResponseTypes: [ReportBatchItemFailures]",
            "bisectBatchOnFunctionError: true",
            "maximumRetryAttempts: 3",
            "destinationArn: ${sortDlqQueue.arn}",
        ],
    );
    has(
        &program,
        "sortPolicy",
        &["dynamodb:GetRecords", "Resource: ${parcelsTable.streamArn}", "kms:Decrypt"],
    );
    has(&program, "parcelsTable", &["streamEnabled: true", "streamViewType: NEW_IMAGE"]);
    // A redrive, and what has to wait, go by the queue.
    has(&program, "sortMapping", &["eventSourceArn: ${sortQueue.arn}"]);
    // Whoever commits is updated after whoever reads.
    has(&program, "takeFunction", &["dependsOn:", "${sortFunction}"]);
    assert!(!program.contains("relayFunction"), "nothing is left for it to send: {program}");
    // Where there is something to send on, the relay is there, and leaves this event to the step.
    let moved = Consumer::new("move-on", idle::<Moved, ()>);
    let more = Route::get("/more", "more", take::<(Moved,)>).uses(Uses::new().commits::<Parcel>());
    let program = rendered(sort(consumer()).on(moved).route(more));
    has(&program, "relayPolicy", &["${moveOnQueue.arn}"]);
    assert!(!resource(&program, "relayPolicy").contains("sort"), "{program}");
    has(&program, "parcelsStreamMapping", &["functionName: ${relayFunction.arn}"]);
}

#[test]
fn just_the_functions_of_a_cycle_may_recur_and_its_budget_stands_beside_it() {
    let program = rendered(post_office());
    let count = program.matches("aws:lambda:FunctionRecursionConfig").count();
    assert_eq!(count, 2, "the step of the cycle, and the relay");
    has(&program, "moveOnRecursion", &["recursiveLoop: Allow"]);
    has(&program, "relayRecursion", &["recursiveLoop: Allow"]);
    assert_eq!(program.matches("40 events or 7200 s").count(), 2);
}

#[test]
fn an_alarm_topic_gets_every_alarm() {
    let program = rendered(post_office().topic("alerts").alarm_to("alerts"));
    for alarm in [
        "walkDlqAlarm",
        "walkDeadLettersAlarm",
        "walkAgeAlarm",
        "walkErrorsAlarm",
        "walkThrottlesAlarm",
        "takeErrorsAlarm",
        "relayErrorsAlarm",
        "relayFailuresAlarm",
        "relayLagAlarm",
        "relayPassedOverAlarm",
        "roundsFailuresAlarm",
        "roundsWalkSilenceAlarm",
        "api5xxAlarm",
    ] {
        has(&program, alarm, &["alarmActions: [\"${alertsTopic.arn}\"]"]);
    }
    has(&program, "alertsTopicPolicy", &["cloudwatch.amazonaws.com", "aws:SourceAccount"]);
    has(&program, "alertsTopicEmail", &["protocol: email", "endpoint: ${alarmEmail}"]);
    // A state tells that it is well again; what clears by itself does not.
    has(&program, "walkDlqAlarm", &["okActions"]);
    assert!(!resource(&program, "walkDeadLettersAlarm").contains("okActions"));
    // Older than 5 attempts with all their waits, and a delay before the first.
    let patience = 900 + Waits::default().total(5).as_millis().div_ceil(1_000) + 5 * 30;
    has(&program, "walkAgeAlarm", &[&format!("threshold: {patience}")]);
    // Retries of hours are told of after half an hour.
    let patient = Consumer::new("stroll", idle::<Round, ()>).attempts(40, Backoff::default());
    let program = rendered(post_office().on(patient).topic("alerts").alarm_to("alerts"));
    has(&program, "strollAgeAlarm", &["threshold: 2700"]);
}

#[test]
fn a_schedule_that_stops_rings_an_alarm_where_one_can_look_back_so_far() {
    let alarmed = |when: When| {
        let definition = post_office().schedule("nightly", when, |at| Round { at });
        definition.topic("alerts").alarm_to("alerts")
    };
    let cron = |expression: &str| When::from(Cron::new(expression, "Europe/Berlin"));
    let program = rendered(alarmed(cron("0 18 * * MON-FRI")));
    has(
        &program,
        "nightlyWalkSilenceAlarm",
        &[
            "metricName: Scheduled",
            "function: ${walkFunction.name}",
            "schedule: nightly",
            "statistic: Sum",
            "period: ${nightlyPeriod}",
            // Three weekends would be more than the seven days that an alarm looks back.
            "evaluationPeriods: 2",
            "threshold: 1",
            "comparisonOperator: LessThanThreshold",
            "treatMissingData: breaching",
            "okActions",
        ],
    );
    // Over the weekend in which summer ends.
    has(&program, "nightlyPeriod", &["type: integer", "default: 262800"]);
    has(&program, "roundsWalkSilenceAlarm", &["schedule: rounds", "evaluationPeriods: 3"]);
    has(&program, "roundsPeriod", &["default: 3600"]);
    let weekly = alarmed(cron("0 6 * * MON"));
    let choreography = weekly.build().unwrap();
    let advice: Vec<String> = choreography.advice().iter().map(ToString::to_string).collect();
    assert!(
        matches!(&advice[..], [one] if one.starts_with("no_silence_alarm: ") && one.contains("nightly")),
        "{advice:?}"
    );
    let program = rendered(alarmed(cron("0 6 * * MON")));
    assert!(!program.contains("nightlyWalkSilenceAlarm") && !program.contains("nightlyPeriod"));
    // Without a topic there is nobody to tell.
    assert!(!rendered(post_office()).contains("roundsPeriod"));
}

#[test]
fn what_a_schedule_works_off_and_what_can_not_be_read_have_an_alarm_where_there_is_something_of_it() {
    let alarmed = |backlog| {
        let route = Route::post("/parcels/{id}/leave", "leave", take::<()>);
        let definition = post_office().route(route.backlog(backlog).uses(Uses::new().commits::<Parcel>()));
        rendered(definition.topic("alerts").alarm_to("alerts"))
    };
    let program = alarmed(Backlog::new().open::<Parcel>(["gate".to_owned()]));
    has(
        &program,
        "roundsWalkWaitingAlarm",
        &[
            "metricName: OldestWaiting",
            "function: ${walkFunction.name}",
            "schedule: rounds",
            "statistic: Maximum",
            "period: ${roundsPeriod}",
            "threshold: ${roundsPatience}",
            "comparisonOperator: GreaterThanOrEqualToThreshold",
            // In between nothing is measured, and so nothing known.
            "treatMissingData: ignore",
            "okActions",
        ],
    );
    has(&program, "roundsPatience", &["type: integer", "default: 10800"]);
    has(&program, "walkUnreadableAlarm", &["metricName: Unreadable", "statistic: Sum", "threshold: 1"]);
    // A function that handles no entity meets none that it can't read.
    assert!(!program.contains("relayUnreadableAlarm"));
    let program = alarmed(Backlog::new());
    assert!(!program.contains("roundsWalkWaitingAlarm") && !program.contains("roundsPatience"));
}

/// The scheduler puts the time into the message as it writes times: to the second.
#[test]
fn the_scheduled_message_is_one_that_its_consumer_can_read() {
    let choreography = post_office().build().unwrap();
    let program = rendered(post_office());
    let schedule = resource(&program, "roundsScheduledMessage");
    let input = schedule.lines().find_map(|line| line.strip_prefix("input: '")?.strip_suffix('\'')).unwrap();
    let sent = input.replace("<aws.scheduler.scheduled-time>", "2026-11-20T09:15:00Z");
    let envelope: serde_json::Value = serde_json::from_str(&sent).unwrap();
    let at = Timestamp::parse("2026-11-20T09:15:00Z").unwrap();
    let (queues, ours) = choreography.scheduled_message("rounds", at).unwrap();
    assert_eq!(queues, ["walk"]);
    let ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
    for field in ["type", "source", "specversion"] {
        assert_eq!(envelope[field], ours[field]);
    }
    let round: Round = serde_json::from_value(envelope["data"].clone()).unwrap();
    assert_eq!(round.at, at);
    assert!(envelope.get("traceparent").is_none(), "it would be the same in every run");
}

fn refused(
    definition: Definition,
    change: impl FnOnce(Infrastructure<'_>) -> Infrastructure<'_>,
) -> InfrastructureError {
    let choreography = definition.build().unwrap();
    let refused = change(Infrastructure::of(&choreography)).render().unwrap_err();
    let message = refused.to_string();
    assert!(
        message.split_once(": ").is_some_and(|(name, mend)| !name.contains(' ') && mend.len() > 20),
        "{message}"
    );
    refused
}

#[test]
fn what_does_not_fit_the_choreography_is_refused_by_name() {
    fn none(infrastructure: Infrastructure<'_>) -> Infrastructure<'_> {
        infrastructure
    }
    let alike = post_office().table(Table::new("par-cels")).table(Table::new("par_cels").variable("PARCELS"));
    assert!(
        matches!(refused(alike, none), InfrastructureError::NamesAlike(names) if names.contains(&"parCelsTable".into()))
    );
    let long = post_office()
        .bucket("a".repeat(40))
        .on(Consumer::new("more", idle::<Round, ()>).uses(Uses::new().puts("a".repeat(40))));
    assert!(matches!(refused(long, none), InfrastructureError::NameTooLong { limit: 63, .. }));
    let timed = post_office().schedule("counts", secs(60), |at| Counted { millis: at.as_millis() });
    let timed = timed.on(Consumer::new("count", idle::<Counted, ()>));
    assert_eq!(refused(timed, none), InfrastructureError::ScheduledTime { schedule: "counts".into() });
}

/// The post office with alarms and with settings of its own.
fn furnished() -> Definition {
    let consumer = Consumer::new("greet", idle::<Round, ()>)
        .uses(Uses::new().setting("colour").setting("hook").setting("pace"))
        .memory(1_024);
    post_office()
        .topic("alerts")
        .alarm_to("alerts")
        .setting(Setting::text("colour").default("red").help("Of the van."))
        .setting(Setting::duration("pace").help("How fast."))
        .setting(Setting::url("hook").optional().secret().help("Where to tell."))
        .on(consumer)
}

#[test]
fn what_is_added_wrongly_is_refused_by_name() {
    let refused = |change: fn(Infrastructure<'_>) -> Infrastructure<'_>| refused(furnished(), change);
    let whole = |name: &str| Stack::new(name, "").set("alarmEmail", "a@b").set("pace", "3s");
    let unknown = refused(|it| it.function("nobody", FunctionOptions::new()));
    assert_eq!(unknown, InfrastructureError::NoSuchFunction("nobody".into()));
    let missing = refused(|it| it.stack(Stack::new("dev", "").set("pace", "3s")));
    assert!(
        matches!(missing, InfrastructureError::SettingMissing { setting, .. } if setting == "alarmEmail")
    );
    let missing = refused(|it| it.stack(Stack::new("dev", "").set("alarmEmail", "a@b")));
    assert!(matches!(missing, InfrastructureError::SettingMissing { setting, .. } if setting == "pace"));
    let choreography = furnished().build().unwrap();
    let stack = |stack: Stack| Infrastructure::of(&choreography).stack(stack).render().unwrap_err();
    let wrong = stack(whole("dev").set("colours", "red"));
    assert!(matches!(wrong, InfrastructureError::NoSuchSetting { setting, .. } if setting == "colours"));
    let secret = stack(whole("dev").set("hook", "https://a.example"));
    assert!(matches!(secret, InfrastructureError::NoSuchSetting { setting, .. } if setting == "hook"));
    let long = stack(whole(&"x".repeat(STACK_BYTES_MAX + 1)));
    assert!(matches!(long, InfrastructureError::NameTooLong { limit: STACK_BYTES_MAX, .. }));
    let taken = post_office().setting(Setting::integer("key").default("1")).on(Consumer::new(
        "greet",
        idle::<Round, ()>,
    )
    .uses(Uses::new().setting("key")));
    let taken = Infrastructure::of(&taken.build().unwrap()).render().unwrap_err();
    assert_eq!(taken, InfrastructureError::NamesAlike(vec!["key".into()]));
}

#[test]
fn a_setting_reaches_the_functions_that_need_it_and_no_others() {
    let choreography = furnished().build().unwrap();
    let stack =
        Stack::new("dev", "For trying.").set("alarmEmail", "a@b").set("colour", "blue").set("pace", "3s");
    let files: Vec<File> = Infrastructure::of(&choreography).stack(stack).render().unwrap();
    let program = &files[0].text;
    has(
        program,
        "greetFunction",
        &[
            "QUADRILLE_COLOUR: ${colour}",
            "QUADRILLE_PACE: ${pace}",
            "QUADRILLE_HOOK_SECRET: ${hookSecret.arn}",
        ],
    );
    has(
        program,
        "greetFunction",
        &["QUADRILLE_FUNCTION: greet", "memorySize: 1024", "./packages/post-office.zip"],
    );
    has(program, "greetPolicy", &["secretsmanager:GetSecretValue", "Resource: ${hookSecret.arn}"]);
    for other in ["takeFunction", "walkFunction", "relayFunction"] {
        let other = resource(program, other);
        assert!(!other.contains("COLOUR") && !other.contains("HOOK"), "{other}");
    }
    assert!(program.contains("  colour:\n    type: string\n    default: red\n"), "{program}");
    assert!(!program.contains("  hook:\n    type"), "a secret's value stands in no configuration");
    assert!(files[1].text.contains("quadrille-post-office:colour: blue"), "{}", files[1].text);
}
