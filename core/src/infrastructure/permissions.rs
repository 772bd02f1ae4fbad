//! What each function may do: derived from what it is declared to use, and nothing else.

use super::{
    program::{logical, reference},
    settings::REGION,
    yaml::{Map, Yaml, call},
};
use crate::{
    layout,
    model::{BucketUse, QueueUse, TableUse},
    needs::Needs,
};
use std::collections::{BTreeMap, BTreeSet};

/// Statements of one policy, each with what it is for.
#[derive(Debug, Default)]
pub(super) struct Statements(Vec<(Vec<String>, Map)>);

impl Statements {
    /// `actions` on `resources`; `about` says what for.
    pub(super) fn allow(&mut self, about: &str, actions: &[&str], resources: Vec<String>) {
        self.push(about, actions, resources, None, None);
    }

    /// `only_where` is the setting and its word without which the statement refuses instead.
    fn push(
        &mut self,
        about: &str,
        actions: &[&str],
        resources: Vec<String>,
        condition: Option<Map>,
        only_where: Option<&(String, String)>,
    ) {
        let resource: Yaml = match &resources[..] {
            [one] => one.into(),
            _ => resources.into(),
        };
        let effect: Yaml = only_where.map_or_else(|| "Allow".into(), |(key, word)| where_it_is(key, word));
        let mut statement = Map::new().with("Effect", effect).with("Action", actions.to_vec());
        statement.put("Resource", resource);
        if let Some(condition) = condition {
            statement.put("Condition", condition);
        }
        // What two need stands there once: a right that is there twice can't be taken away, or seen to be needed.
        match self.0.iter_mut().find(|(_, there)| *there == statement) {
            Some((about_it, _)) => about_it.push(about.to_owned()),
            None => self.0.push((vec![about.to_owned()], statement)),
        }
    }

    /// The stack's key, by way of `service` alone.
    fn key(&mut self, about: &str, actions: &[&str], service: &str, only_where: Option<&(String, String)>) {
        let service = format!("{service}.{}.amazonaws.com", reference(REGION));
        let condition = Map::new().with("StringEquals", Map::new().with("kms:ViaService", service));
        self.push(about, actions, vec![reference("key.arn")], Some(condition), only_where);
    }

    /// The policy they make.
    pub(super) fn policy(self) -> Map {
        let told = |(about, statement): (Vec<String>, Map)| {
            Map::new().comment(about.join("; ")).and(statement).into()
        };
        let statements: Vec<Yaml> = self.0.into_iter().map(told).collect();
        Map::new().with("Version", "2012-10-17").with("Statement", statements)
    }
}

/// `Allow` where the key of the configuration is `word`, else `Deny`. Pulumi YAML knows no condition: the text is cut at the
/// value, so that what follows the value in it is the second part.
fn where_it_is(key: &str, word: &str) -> Yaml {
    let value = format!("|{}|", reference(key));
    let cut = call("split", Yaml::from(vec![value.clone(), format!("|{word}|Allow{value}Deny")]));
    call("select", Yaml::List(vec![1.into(), cut.into()])).into()
}

/// What every function needs to be seen: its log group, and X-Ray.
pub(super) fn observed(log_group: &str) -> Statements {
    let mut statements = Statements::default();
    statements.allow(
        "its logs: Lambda names the streams of its group, so that AWS has none to name",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        vec![format!("{}:*", reference(&format!("{log_group}.arn")))],
    );
    statements.allow(
        "its traces: X-Ray has no resource to name",
        &["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
        vec!["*".to_owned()],
    );
    statements
}

/// What a function needs of the model: each thing by name, in the ways that it is used.
pub(super) fn of_needs(statements: &mut Statements, needs: &Needs) {
    for (queue, uses) in &needs.queues {
        let about = if uses.contains(&QueueUse::Consume) {
            if uses.contains(&QueueUse::Send) {
                "its queue: Lambda receives for it; it hides what is to be tried again, and sends on what has to wait longer"
            } else {
                "its queue: Lambda receives for it; it hides what is to be tried again"
            }
        } else {
            "sends events, or what is given up"
        };
        statements.allow(about, &actions(uses, |used| used.actions()), vec![arn(queue, "Queue")]);
    }
    for (table, uses) in &needs.tables {
        let of_items: BTreeSet<TableUse> =
            uses.iter().copied().filter(|used| *used != TableUse::Query).collect();
        if !of_items.is_empty() {
            statements.allow(
                "entities",
                &actions(&of_items, |used| used.actions()),
                vec![arn(table, "Table")],
            );
        }
        if uses.contains(&TableUse::Query) {
            let index = format!("{}/index/{}", arn(table, "Table"), layout::INDEX);
            statements.allow("the sparse index of open entities", TableUse::Query.actions(), vec![index]);
        }
    }
    if !needs.tables.is_empty() {
        statements.key("the key that tables are encrypted with", &["kms:Decrypt"], "dynamodb", None);
    }
    of_buckets(statements, needs);
    for (topic, uses) in &needs.topics {
        statements.allow(
            "publishes events",
            &actions(uses, |used| used.actions()),
            vec![arn(topic, "Topic")],
        );
    }
    if !needs.topics.is_empty() {
        statements.key(
            "the key that topics are encrypted with",
            &["kms:Decrypt", "kms:GenerateDataKey"],
            "sns",
            None,
        );
    }
    for (bus, uses) in &needs.buses {
        statements.allow("publishes events", &actions(uses, |used| used.actions()), vec![arn(bus, "Bus")]);
    }
}

/// What a function needs of buckets, and of the key for their objects.
fn of_buckets(statements: &mut Statements, needs: &Needs) {
    // By the word without which they are not used: the buckets that always are stand for themselves.
    let mut of_key: BTreeMap<Option<&(String, String)>, BTreeSet<&str>> = BTreeMap::new();
    for (bucket, uses) in &needs.buckets {
        let only_where = needs.buckets_where.get(bucket);
        let (of_bucket, of_objects): (Vec<&str>, Vec<&str>) =
            actions(uses, |used| used.actions()).into_iter().partition(|action| *action == LIST_BUCKET);
        if !of_objects.is_empty() {
            let about = format!("objects of {bucket}: their keys are data, so that there are none to name");
            let objects = vec![format!("{}/*", arn(bucket, "Bucket"))];
            statements.push(&about, &of_objects, objects, None, only_where);
        }
        if !of_bucket.is_empty() {
            let about = "S3 tells a missing object from a forbidden one to who may list alone";
            statements.push(about, &of_bucket, vec![arn(bucket, "Bucket")], None, only_where);
        }
        let actions = uses.iter().flat_map(|used| match used {
            // A put may have to read what it finds in its place.
            BucketUse::Put => &["kms:Decrypt", "kms:GenerateDataKey"][..],
            BucketUse::Get => &["kms:Decrypt"],
            BucketUse::List => &[],
        });
        of_key.entry(only_where).or_default().extend(actions);
    }
    of_key.retain(|_, actions| !actions.is_empty());
    // A refusal would take the key from the buckets that are always used as well.
    if of_key.contains_key(&None) {
        let all = std::mem::take(&mut of_key).into_values().flatten().collect();
        of_key.insert(None, all);
    }
    for (only_where, actions) in of_key {
        let actions: Vec<&str> = actions.into_iter().collect();
        statements.key("the key that objects are encrypted with", &actions, "s3", only_where);
    }
}

/// The actions of all `uses`, each once.
fn actions<U: Copy>(uses: &BTreeSet<U>, of: impl Fn(U) -> &'static [&'static str]) -> Vec<&'static str> {
    let all: BTreeSet<&str> = uses.iter().flat_map(|used| of(*used)).copied().collect();
    all.into_iter().collect()
}

/// The secret whose value a function is to read.
pub(super) fn of_secret(statements: &mut Statements, secret: &str) {
    statements.allow("its secret", &["secretsmanager:GetSecretValue"], vec![arn(secret, "Secret")]);
}

/// The change stream of `table`, of the relay.
pub(super) fn of_stream(statements: &mut Statements, table: &str) {
    let table = |path: &str| reference(&format!("{}.{path}", logical(table, "Table")));
    statements.allow(
        "the change stream, which Lambda reads for it",
        &["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
        vec![table("streamArn")],
    );
    statements.allow(
        "AWS lists streams by table: each has a time in its name, so that there is none to name",
        &["dynamodb:ListStreams"],
        vec![format!("{}/stream/*", table("arn"))],
    );
}

/// What the mapping of a stream needs beside the stream: to read it decrypted, and to tell of what Lambda gave up.
pub(super) fn of_stream_mapping(statements: &mut Statements, failures: &str) {
    statements.key("the key that streams are encrypted with", &["kms:Decrypt"], "dynamodb", None);
    let failures = vec![reference(&format!("{failures}.arn"))];
    statements.allow("where Lambda tells of records it gave up", QueueUse::Send.actions(), failures);
}

/// The one action on the bucket itself; all others are on its objects.
const LIST_BUCKET: &str = "s3:ListBucket";

fn arn(name: &str, what: &str) -> String {
    reference(&format!("{}.arn", logical(name, what)))
}

/// Who may take on a role: a service of AWS, for this account.
pub(super) fn trust(service: &str, source_account: bool) -> Map {
    let mut statement = Map::new()
        .with("Effect", "Allow")
        .with("Principal", Map::new().with("Service", service))
        .with("Action", "sts:AssumeRole");
    if source_account {
        statement.put("Condition", of_this_account());
    }
    Map::new().with("Version", "2012-10-17").with("Statement", vec![statement])
}

/// A service that acts for this account and for no other (the "confused deputy").
pub(super) fn of_this_account() -> Map {
    Map::new().with("StringEquals", Map::new().with("aws:SourceAccount", reference("caller.accountId")))
}

/// Refuses whoever does not come by TLS. In a refusal, `*` takes nothing too much.
pub(super) fn refuse_plain(actions: &str, resources: Vec<String>) -> Map {
    Map::new()
        .comment("who does not come by TLS; in a refusal, `*` is never too much")
        .with("Effect", "Deny")
        .with("Principal", "*")
        .with("Action", actions)
        .with("Resource", resources)
        .with("Condition", Map::new().with("Bool", Map::new().with("aws:SecureTransport", "false")))
}
