//! What keeps something: the key, tables, queues, buckets, topics and secrets.

use super::{
    keys,
    permissions::{of_this_account, refuse_plain},
    program::{Options, Program, json, logical, reference},
    settings::{ALARM_EMAIL, EMPTY_BUCKETS, OLD_VERSIONS, REMOVAL_PROTECTION},
    yaml::{Map, Yaml},
};
use crate::{
    layout,
    limits::{MESSAGE_BYTES_MAX, QUEUE_RETENTION_MAX},
    model::{BusModel, Model, QueueModel, Rule, Source, StepModel, TableModel, TopicModel},
    setting::SettingModel,
};
use std::time::Duration;

/// How long AWS keeps a key that was removed, in days (KMS: 7 to 30): what it encrypted is lost with it.
const REMOVED_DAYS: i64 = 30;

/// Days after which the parts of an upload that was broken off are deleted.
const BROKEN_UPLOAD_DAYS: i64 = 7;

/// For how many seconds a bus tries to send to a queue: a day (EventBridge: at most that).
const BUS_AGE: i64 = 86_400;

/// How often a bus tries again to send to a queue (EventBridge: at most 185).
const BUS_RETRIES: i64 = 185;

/// Seconds, rounded up.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// The physical name of `name`.
pub(super) fn physical(name: &str) -> String {
    format!("{}-{name}", reference("prefix"))
}

/// The physical name of `name`: the one that it keeps, where it has one.
pub(super) fn kept_or_physical(kept: Option<&String>, name: &str) -> String {
    kept.cloned().unwrap_or_else(|| physical(name))
}

/// The stack's one key: for tables, objects and topics. Its alias is `alias`, or the prefix of the stack.
pub(super) fn key(program: &mut Program, system: &str, alias: Option<&str>) {
    let account = Map::new()
        .comment("the account's own policies decide who may do what; in a key's policy, `*` is this key")
        .with("Effect", "Allow")
        .with(
            "Principal",
            Map::new().with("AWS", format!("arn:aws:iam::{}:root", reference("caller.accountId"))),
        )
        .with("Action", "kms:*")
        .with("Resource", "*");
    let alarms = Map::new()
        .comment("alarms are published to an encrypted topic: CloudWatch can't do that with the key that AWS manages")
        .with("Effect", "Allow")
        .with("Principal", Map::new().with("Service", "cloudwatch.amazonaws.com"))
        .with("Action", ["kms:Decrypt", "kms:GenerateDataKey"])
        .with("Resource", "*")
        .with("Condition", of_this_account());
    let policy = Map::new().with("Version", "2012-10-17").with("Statement", vec![account, alarms]);
    let key = Map::new()
        .with(
            "description",
            format!("Tables, objects and alarms of {system} ({})", reference("pulumi.stack")),
        )
        .with("enableKeyRotation", true)
        .with("deletionWindowInDays", REMOVED_DAYS)
        .with("policy", json(policy));
    program.resource("key", "aws:kms:Key", key, Options::protected_by(REMOVAL_PROTECTION));
    let alias = Map::new()
        .with("name", format!("alias/{}", alias.map_or_else(|| reference("prefix"), str::to_owned)))
        .with("targetKeyId", reference("key.keyId"));
    program.resource("keyAlias", "aws:kms:Alias", alias, Options::default());
}

/// A table as the adapter expects it.
pub(super) fn table(program: &mut Program, table: &TableModel, is_read: bool) {
    let name = &table.name;
    let key = table.key_attribute.as_deref().unwrap_or(layout::KEY);
    let physical = kept_or_physical(table.physical.as_ref(), name);
    let attribute = |name: &str| Map::new().with("name", name).with("type", "S");
    let part = |name: &str, kind: &str| Map::new().with("attributeName", name).with("keyType", kind);
    let projected: Vec<&str> = layout::INDEX_PROJECTED.to_vec();
    let index = Map::new()
        .comment("sparse: holds the entities that say so and no others")
        .with("name", layout::INDEX)
        .with("keySchemas", vec![part(layout::INDEX_PARTITION, "HASH"), part(layout::INDEX_SORT, "RANGE")])
        .with("projectionType", "INCLUDE")
        .with("nonKeyAttributes", projected);
    let index = table_units(index, table, keys::warm_index(name));
    let properties = Map::new()
        .with("name", physical)
        .with("billingMode", "PAY_PER_REQUEST")
        .with("hashKey", key)
        .with(
            "attributes",
            vec![attribute(key), attribute(layout::INDEX_PARTITION), attribute(layout::INDEX_SORT)],
        )
        .with("globalSecondaryIndexes", vec![index]);
    let mut properties = table_units(properties, table, keys::warm(name));
    if is_read {
        properties = properties.with("streamEnabled", true).with("streamViewType", "NEW_IMAGE");
    }
    let properties = properties
        .with("ttl", Map::new().with("attributeName", layout::EXPIRES_AT).with("enabled", true))
        .with("pointInTimeRecovery", Map::new().with("enabled", true))
        .with(
            "serverSideEncryption",
            Map::new().with("enabled", true).with("kmsKeyArn", reference("key.arn")),
        )
        .with("deletionProtectionEnabled", reference(REMOVAL_PROTECTION));
    program.resource(
        &logical(name, "Table"),
        "aws:dynamodb:Table",
        properties,
        Options::protected_by(REMOVAL_PROTECTION),
    );
}

/// The units of a table, or of its index, where the definition says of them. `warm` are the keys of what it is ready for.
fn table_units(of: Map, table: &TableModel, warm: (String, String)) -> Map {
    let pair = |names: (&str, &str), keys: (String, String)| {
        Map::new().with(names.0, reference(&keys.0)).with(names.1, reference(&keys.1))
    };
    let of = match table.warm {
        Some(_) => of.with("warmThroughput", pair(("readUnitsPerSecond", "writeUnitsPerSecond"), warm)),
        None => of,
    };
    match table.at_most {
        Some(_) => {
            let names = ("maxReadRequestUnits", "maxWriteRequestUnits");
            of.with("onDemandThroughput", pair(names, keys::at_most(&table.name)))
        }
        None => of,
    }
}

/// What sends to a queue in its own name, and has to be let.
#[derive(Clone, Debug)]
pub(super) struct Feeder {
    /// The service.
    service: &'static str,
    /// The resource that it sends for.
    arn: String,
}

impl Feeder {
    /// What feeds the queue of a step, where that is not the relay, a schedule or others.
    pub(super) fn of(step: &StepModel) -> Option<Self> {
        match &step.source {
            Source::Topic(topic) => {
                let arn = reference(&format!("{}.arn", logical(topic, "Topic")));
                Some(Self { service: "sns.amazonaws.com", arn })
            }
            Source::Bus { .. } => {
                let arn = reference(&format!("{}.arn", rule(&step.name)));
                Some(Self { service: "events.amazonaws.com", arn })
            }
            Source::Events | Source::Stream(_) | Source::Outside(_) => None,
        }
    }
}

/// The logical name of the rule by which a bus feeds `step`.
fn rule(step: &str) -> String {
    logical(step, "Rule")
}

/// The queue of that name with its dead-letter queue. `fed_by` is what sends to it in its own name, where something does.
pub(super) fn queue(program: &mut Program, model: &Model, queue: &QueueModel, fed_by: Option<&Feeder>) {
    let physical_of = |queue: &QueueModel| kept_or_physical(queue.physical.as_ref(), &queue.name);
    let mut properties = bare_queue(&physical_of(queue), queue.retention);
    properties.put("visibilityTimeoutSeconds", seconds(queue.visibility_timeout));
    let dead = queue.redrive.as_ref().and_then(|redrive| {
        properties.put(
            "redrivePolicy",
            json(
                Map::new()
                    .with("deadLetterTargetArn", arn(&redrive.dead_letter_queue))
                    .with("maxReceiveCount", i64::from(redrive.receives_max)),
            ),
        );
        model.queue(&redrive.dead_letter_queue)
    });
    add_queue(program, &queue.name, properties, fed_by);
    if let Some(dead) = dead {
        // What the topic or the bus can't deliver goes there as well.
        add_queue(program, &dead.name, bare_queue(&physical_of(dead), dead.retention), fed_by);
        let allowed =
            Map::new().with("redrivePermission", "byQueue").with("sourceQueueArns", [arn(&queue.name)]);
        let redrive = Map::new().with("queueUrl", url(&dead.name)).with("redriveAllowPolicy", json(allowed));
        let name = logical(&dead.name, "QueueRedrive");
        program.resource(&name, "aws:sqs:RedriveAllowPolicy", redrive, Options::default());
    }
}

/// The dead-letter queue of what leaves the choreography.
pub(super) fn outlet_dead_letters(program: &mut Program, model: &Model, name: &str) {
    let retention = model.queue(name).map_or(QUEUE_RETENTION_MAX, |queue| queue.retention);
    let kept = model.queue(name).and_then(|queue| queue.physical.as_ref());
    add_queue(program, name, bare_queue(&kept_or_physical(kept, name), retention), None);
}

/// A queue for what a service of AWS gave up, which nobody consumes: looked at by people.
pub(super) fn failures_queue(program: &mut Program, name: &str) {
    add_queue(program, name, bare_queue(&physical(name), QUEUE_RETENTION_MAX), None);
}

/// A queue whose name on AWS is `physical`.
fn bare_queue(physical: &str, retention: Duration) -> Map {
    Map::new()
        .with("name", physical)
        .with("sqsManagedSseEnabled", true)
        .with("maxMessageSize", i64::try_from(MESSAGE_BYTES_MAX).unwrap_or(i64::MAX))
        .with("messageRetentionSeconds", seconds(retention))
}

fn add_queue(program: &mut Program, name: &str, properties: Map, fed_by: Option<&Feeder>) {
    let logical_name = logical(name, "Queue");
    program.resource(&logical_name, "aws:sqs:Queue", properties, Options::default());
    let mut statements = vec![refuse_plain("sqs:*", vec![arn(name)])];
    if let Some(Feeder { service, arn: feeder }) = fed_by {
        statements.push(
            Map::new()
                .with("Effect", "Allow")
                .with("Principal", Map::new().with("Service", *service))
                .with("Action", "sqs:SendMessage")
                .with("Resource", arn(name))
                .with("Condition", Map::new().with("ArnEquals", Map::new().with("aws:SourceArn", feeder))),
        );
    }
    let policy = Map::new().with("Version", "2012-10-17").with("Statement", statements);
    let properties = Map::new().with("queueUrl", url(name)).with("policy", json(policy));
    program.resource(&format!("{logical_name}Policy"), "aws:sqs:QueuePolicy", properties, Options::default());
}

fn arn(queue: &str) -> String {
    reference(&format!("{}.arn", logical(queue, "Queue")))
}

fn url(queue: &str) -> String {
    reference(&format!("{}.url", logical(queue, "Queue")))
}

/// A bucket. Names of buckets are the world's: the account's number tells ours from others'.
pub(super) fn bucket(program: &mut Program, name: &str) {
    let logical_name = logical(name, "Bucket");
    let bucket = reference(&format!("{logical_name}.bucket"));
    let physical =
        format!("{}-{}-{}", name.replace('_', "-"), reference("pulumi.stack"), reference("caller.accountId"));
    let properties = Map::new().with("bucket", physical).with("forceDestroy", reference(EMPTY_BUCKETS));
    program.resource(&logical_name, "aws:s3:Bucket", properties, Options::protected_by(REMOVAL_PROTECTION));
    let of_bucket = || Map::new().with("bucket", bucket.clone());
    let block = of_bucket()
        .with("blockPublicAcls", true)
        .with("blockPublicPolicy", true)
        .with("ignorePublicAcls", true)
        .with("restrictPublicBuckets", true);
    let access = format!("{logical_name}Access");
    program.resource(&access, "aws:s3:BucketPublicAccessBlock", block, Options::default());
    let arn = reference(&format!("{logical_name}.arn"));
    let policy = Map::new()
        .with("Version", "2012-10-17")
        .with("Statement", vec![refuse_plain("s3:*", vec![arn.clone(), format!("{arn}/*")])]);
    program.resource(
        &format!("{logical_name}Policy"),
        "aws:s3:BucketPolicy",
        of_bucket().with("policy", json(policy)),
        Options::after(&access),
    );
    let by_default = Map::new().with("sseAlgorithm", "aws:kms").with("kmsMasterKeyId", reference("key.arn"));
    let rule =
        Map::new().with("applyServerSideEncryptionByDefault", by_default).with("bucketKeyEnabled", true);
    program.resource(
        &format!("{logical_name}Encryption"),
        "aws:s3:BucketServerSideEncryptionConfiguration",
        of_bucket().with("rules", vec![rule]),
        Options::default(),
    );
    let versioning = format!("{logical_name}Versioning");
    program.resource(
        &versioning,
        "aws:s3:BucketVersioning",
        of_bucket().with("versioningConfiguration", Map::new().with("status", "Enabled")),
        Options::default(),
    );
    let rule = Map::new()
        .with("id", "leftovers")
        .with("status", "Enabled")
        .with("filter", Map::new().with("prefix", ""))
        .with("noncurrentVersionExpiration", Map::new().with("noncurrentDays", reference(OLD_VERSIONS)))
        .with("abortIncompleteMultipartUpload", Map::new().with("daysAfterInitiation", BROKEN_UPLOAD_DAYS));
    program.resource(
        &format!("{logical_name}Lifecycle"),
        "aws:s3:BucketLifecycleConfiguration",
        of_bucket().with("rules", vec![rule]),
        Options::after(&versioning),
    );
}

/// A topic, encrypted. One that alarms go to lets CloudWatch publish, and mails to people.
pub(super) fn topic(program: &mut Program, topic: &TopicModel, is_alarmed: bool) {
    let logical_name = logical(&topic.name, "Topic");
    let arn = reference(&format!("{logical_name}.arn"));
    let physical = kept_or_physical(topic.physical.as_ref(), &topic.name);
    let properties = Map::new().with("name", physical).with("kmsMasterKeyId", reference("key.arn"));
    program.resource(&logical_name, "aws:sns:Topic", properties, Options::default());
    // A topic's policy takes no `sns:*`: it must name actions of topics.
    let mut statements = vec![refuse_plain("sns:Publish", vec![arn.clone()])];
    if is_alarmed {
        statements.push(
            Map::new()
                .with("Effect", "Allow")
                .with("Principal", Map::new().with("Service", "cloudwatch.amazonaws.com"))
                .with("Action", "sns:Publish")
                .with("Resource", arn.clone())
                .with("Condition", of_this_account()),
        );
    }
    let policy = Map::new().with("Version", "2012-10-17").with("Statement", statements);
    let properties = Map::new().with("arn", arn.clone()).with("policy", json(policy));
    program.resource(&format!("{logical_name}Policy"), "aws:sns:TopicPolicy", properties, Options::default());
    if is_alarmed {
        let mail =
            Map::new().with("topic", arn).with("protocol", "email").with("endpoint", reference(ALARM_EMAIL));
        program.resource(
            &format!("{logical_name}Email"),
            "aws:sns:TopicSubscription",
            mail,
            Options::default(),
        );
    }
}

/// A queue's subscription to the topic that feeds it. Raw: the message as it was published, and not wrapped.
/// What can't be delivered goes to the queue's own dead-letter queue.
pub(super) fn subscription(program: &mut Program, model: &Model, topic: &str, queue: &str) {
    let dead = model.queue(queue).and_then(|queue| queue.redrive.as_ref());
    let mut properties = Map::new()
        .with("topic", reference(&format!("{}.arn", logical(topic, "Topic"))))
        .with("protocol", "sqs")
        .with("endpoint", arn(queue))
        .with("rawMessageDelivery", true);
    let policy = logical(queue, "QueuePolicy");
    let mut after = vec![policy];
    if let Some(redrive) = dead {
        let target = Map::new().with("deadLetterTargetArn", arn(&redrive.dead_letter_queue));
        properties.put("redrivePolicy", json(target));
        after.push(logical(&redrive.dead_letter_queue, "QueuePolicy"));
    }
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    program.resource(
        &logical(queue, "Subscription"),
        "aws:sns:TopicSubscription",
        properties,
        Options::after_all(&after),
    );
}

/// An event bus.
pub(super) fn bus(program: &mut Program, bus: &BusModel) {
    let physical = kept_or_physical(bus.physical.as_ref(), &bus.name);
    let properties = Map::new().with("name", physical);
    program.resource(&logical(&bus.name, "Bus"), "aws:cloudwatch:EventBus", properties, Options::default());
}

/// The rule by which `bus` feeds the queue of `step`. The queue gets the detail, which is the event's envelope, and not what
/// the bus puts around it. What can't be delivered goes to the queue's own dead-letter queue, whole.
pub(super) fn bus_rule(program: &mut Program, model: &Model, step: &StepModel, bus: &str, pattern: &Rule) {
    let bus = reference(&format!("{}.name", logical(bus, "Bus")));
    let of_bus = |name: &str| Map::new().with(name, bus.clone());
    let properties = Map::new()
        .with("name", physical(&step.name))
        .with("description", format!("What {} consumes", step.name))
        .with("eventBusName", bus.clone())
        .with("eventPattern", pattern.pattern());
    program.resource(&rule(&step.name), "aws:cloudwatch:EventRule", properties, Options::default());
    let retries =
        Map::new().with("maximumEventAgeInSeconds", BUS_AGE).with("maximumRetryAttempts", BUS_RETRIES);
    let mut properties = of_bus("eventBusName")
        .with("rule", reference(&format!("{}.name", rule(&step.name))))
        .with("arn", arn(&step.queue))
        .with("inputPath", "$.detail")
        .with("retryPolicy", retries);
    let mut after = vec![logical(&step.queue, "QueuePolicy")];
    if let Some(redrive) = model.queue(&step.queue).and_then(|queue| queue.redrive.as_ref()) {
        properties.put("deadLetterConfig", Map::new().with("arn", arn(&redrive.dead_letter_queue)));
        after.push(logical(&redrive.dead_letter_queue, "QueuePolicy"));
    }
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    let target = logical(&step.name, "Target");
    program.resource(&target, "aws:cloudwatch:EventTarget", properties, Options::after_all(&after));
}

/// A secret without a value: that is put there by people, so that it stands in no file and in no state of Pulumi's.
pub(super) fn secret(program: &mut Program, secret: &SettingModel) {
    let properties = Map::new()
        .with("name", physical(&secret.option()))
        .with("description", &secret.about)
        .comment("removed at once, so that a stack of this name can be made again: people have the value")
        .with("recoveryWindowInDays", 0);
    let name = logical(&secret.name, "Secret");
    program.resource(&name, "aws:secretsmanager:Secret", properties, Options::default());
}

/// The names behind the model's, for the operator's commands.
pub(super) fn parameter(program: &mut Program, model: &Model) {
    let names = |map: Vec<(&String, String)>| {
        map.into_iter().fold(Map::new(), |map, (name, value)| map.with(name, reference(&value)))
    };
    let of = |name: &String, what: &str, property: &str| format!("{}.{property}", logical(name, what));
    let mut settings = Map::new()
        .with("tables", names(model.tables.iter().map(|t| (&t.name, of(&t.name, "Table", "name"))).collect()))
        .with("queues", names(model.queues.iter().map(|q| (&q.name, of(&q.name, "Queue", "url"))).collect()))
        .with(
            "buckets",
            names(model.buckets.iter().map(|b| (&b.name, of(&b.name, "Bucket", "bucket"))).collect()),
        )
        .with("topics", names(model.topics.iter().map(|t| (&t.name, of(&t.name, "Topic", "arn"))).collect()));
    if !model.buses.is_empty() {
        let buses = model.buses.iter().map(|b| (&b.name, of(&b.name, "Bus", "name")));
        settings.put("buses", names(buses.collect()));
    }
    let properties = Map::new()
        .with("name", format!("/quadrille/{}/{}", model.name, reference("pulumi.stack")))
        .with("type", "String")
        .with(
            "description",
            format!(
                "What an operator's command goes by with `--target aws --stack {}`",
                reference("pulumi.stack")
            ),
        )
        .with("value", json(settings));
    program.resource("names", "aws:ssm:Parameter", properties, Options::default());
}

/// A mapping of the names of a sort of things to a property of each.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a String>, what: &str, property: &str) -> Yaml {
    names
        .fold(Map::new(), |map, name| {
            map.with(name, reference(&format!("{}.{property}", logical(name, what))))
        })
        .into()
}
