//! Each function may do what its handler is declared to use, Lambda's own part and what it is seen by: no action on no
//! resource is missing, and none is too much.
//!
//! That a declared use takes just these actions is seen on the wire in the library's own tests, and that a handler uses
//! nothing it does not declare is seen in every test of it: the context refuses it.

use crate::{
    committed, committed_of,
    program::{Program, effect},
    read,
};
use quadrille::{
    System,
    choreography::{BucketUse, BusUse, Model, QueueUse, TableUse, TopicUse},
    infrastructure::{Infrastructure, RELAY},
    needs::Needs,
    system::choreography,
};
use serde_json::Value;
use std::collections::BTreeSet;
use systems::auction::Auction;

type Allowed = BTreeSet<(String, String)>;

fn camel(name: &str) -> String {
    let mut parts = name.split(['-', '_']);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |camel, part| camel + &part[..1].to_uppercase() + &part[1..])
}

fn arn(name: &str, what: &str) -> String {
    format!("${{{}{what}.arn}}", camel(name))
}

struct Expected(Allowed);

impl Expected {
    fn add(&mut self, actions: &[&str], resource: impl Into<String>) {
        let resource = resource.into();
        self.0.extend(actions.iter().map(|action| ((*action).to_owned(), resource.clone())));
    }

    /// To read the stream of a table.
    fn add_stream(&mut self, table: &str) {
        let read = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"];
        self.add(&read, format!("${{{}Table.streamArn}}", camel(table)));
        self.add(&["dynamodb:ListStreams"], format!("{}/stream/*", arn(table, "Table")));
    }
}

fn expected(model: &Model, function: &str) -> Allowed {
    let mut expected = Expected(Allowed::new());
    expected
        .add(&["logs:CreateLogStream", "logs:PutLogEvents"], format!("${{{}Logs.arn}}:*", camel(function)));
    expected.add(&["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*");
    if function == RELAY {
        let needs = Needs::of_relay(model);
        model.tables.iter().for_each(|table| expected.add_stream(&table.name));
        expected.add(&["kms:Decrypt"], "${key.arn}");
        for queue in needs.queues.keys().map(String::as_str).chain(["relay-failures"]) {
            expected.add(QueueUse::Send.actions(), arn(queue, "Queue"));
        }
        for topic in needs.topics.keys() {
            expected.add(TopicUse::Publish.actions(), arn(topic, "Topic"));
            expected.add(&["kms:GenerateDataKey"], "${key.arn}");
        }
        for bus in needs.buses.keys() {
            expected.add(BusUse::Publish.actions(), arn(bus, "Bus"));
        }
        return expected.0;
    }
    if let Some(step) = model.step(function) {
        let source = arn(&step.queue, "Queue");
        expected.add(&["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], &source);
        // Back to its own queue goes what has to wait longer than the queue can hold it back.
        if model.may_be_early(&step.event_type) {
            expected.add(&["sqs:SendMessage"], &source);
        }
        expected.add(QueueUse::Consume.actions(), &source);
        let dead = &model.queue(&step.queue).unwrap().redrive.as_ref().unwrap().dead_letter_queue;
        expected.add(&["sqs:SendMessage"], arn(dead, "Queue"));
        step.stream().into_iter().for_each(|table| expected.add_stream(table));
        // What follows a message that it gives up.
        for next in model.steps.iter().filter(|next| step.given_up.as_ref() == Some(&next.event_type)) {
            expected.add(&["sqs:SendMessage"], arn(&next.queue, "Queue"));
        }
    }
    for (table, uses) in model.tables_of(function) {
        expected.add(&["kms:Decrypt"], "${key.arn}");
        for used in uses {
            let index = if used == TableUse::Query { "/index/open" } else { "" };
            expected.add(used.actions(), format!("{}{index}", arn(&table, "Table")));
        }
    }
    for (bucket, uses) in model.buckets_of(function) {
        let bucket = arn(&bucket, "Bucket");
        for used in uses {
            for action in used.actions() {
                let of_objects = if *action == "s3:ListBucket" { "" } else { "/*" };
                expected.add(&[action], format!("{bucket}{of_objects}"));
            }
            match used {
                BucketUse::Put => expected.add(&["kms:Decrypt", "kms:GenerateDataKey"], "${key.arn}"),
                BucketUse::Get => expected.add(&["kms:Decrypt"], "${key.arn}"),
                BucketUse::List => {}
            }
        }
    }
    for secret in model.settings_of(function).into_iter().filter(|setting| setting.is_secret) {
        expected.add(&["secretsmanager:GetSecretValue"], arn(&secret.name, "Secret"));
    }
    expected.0
}

/// What is missing in the policies of a system's program, and what is too much.
fn differences(system: &dyn System, program: &Program) -> Vec<String> {
    let choreography = choreography(system).unwrap();
    let model = choreography.model();
    let mut differences = Vec::new();
    for function in Infrastructure::functions(model) {
        let allowed = program.allowed(&format!("{}Policy", camel(&function)));
        let expected = expected(model, &function);
        differences.extend(
            expected.difference(&allowed).map(|(action, on)| format!("{function} lacks {action} on {on}")),
        );
        differences.extend(
            allowed.difference(&expected).map(|(action, on)| format!("{function} has {action} on {on}")),
        );
    }
    differences
}

#[test]
fn each_function_may_do_what_it_needs_and_nothing_else() {
    for system in systems::ALL {
        let program = read(&committed_of(system.name()));
        assert_eq!(differences(*system, &program), Vec::<String>::new(), "{}", system.name());
    }
}

#[test]
fn a_missing_permission_and_one_too_many_are_caught() {
    let changed = |from: &str, to: &str| {
        let mut files = committed();
        let (_, text) = files.iter_mut().find(|(_, text)| text.contains(from)).unwrap();
        *text = text.replacen(from, to, 1);
        differences(&Auction, &read(&files))
    };
    let lacks = changed("sqs:SendMessage", "sqs:PurgeQueue");
    assert!(lacks.iter().any(|difference| difference.contains("lacks sqs:SendMessage")), "{lacks:?}");
    assert!(lacks.iter().any(|difference| difference.contains("has sqs:PurgeQueue")), "{lacks:?}");
}

#[test]
fn what_a_simulated_service_alone_needs_is_refused_where_there_is_a_real_one() {
    for (system, function, setting, bucket) in [
        ("auction", "pollAuction", "platform", "auctionPlatform"),
        ("checkout", "processPayment", "gateway", "payments"),
        ("checkout", "voidPayment", "gateway", "payments"),
    ] {
        let program = read(&committed_of(system));
        let policy = &program.properties(&format!("{function}Policy"))["policy"]["fn::toJSON"]["Statement"];
        let of_bucket: Vec<&Value> = policy
            .as_array()
            .unwrap()
            .iter()
            .filter(|statement| {
                statement.to_string().contains(bucket) || statement.to_string().contains("s3.")
            })
            .collect();
        assert!(of_bucket.len() > 1, "{function}: {of_bucket:?}");
        for statement in of_bucket {
            assert_eq!(effect(&statement["Effect"]), Some((setting, "simulated")), "{statement}");
        }
    }
}

/// Pulumi cuts a text at a separator and takes the second part, as here.
#[test]
fn an_effect_is_allow_for_its_word_alone() {
    for (value, expected) in [
        ("simulated", "Allow"),
        ("https://example.org", "Deny"),
        ("https://simulated.example.org/simulated", "Deny"),
        ("simulated ", "Deny"),
        ("", "Deny"),
    ] {
        let separator = format!("|{value}|");
        let text = format!("|simulated|Allow{separator}Deny");
        assert_eq!(text.split(separator.as_str()).nth(1), Some(expected), "{value}");
    }
}

#[test]
fn each_function_is_told_what_it_asks_for_and_nothing_else() {
    for system in systems::ALL {
        let (choreography, program) = (choreography(*system).unwrap(), read(&committed_of(system.name())));
        let model = choreography.model();
        for function in Infrastructure::functions(model) {
            let needs = Needs::of_step(model, &function).unwrap_or_else(|| Needs::of_relay(model));
            let names = needs.variables(model).into_iter().map(|variable| variable.name);
            let settings =
                model.settings_of(&function).into_iter().map(|setting| setting.function_variable());
            let asked: BTreeSet<String> =
                names.chain(settings).chain(["QUADRILLE_FUNCTION".to_owned()]).collect();
            let properties = program.properties(&format!("{}Function", camel(&function)));
            let told = properties["environment"]["variables"].as_object().unwrap();
            let told: BTreeSet<String> = told.keys().cloned().collect();
            assert_eq!(told, asked, "{}: {function}", system.name());
        }
    }
}

#[test]
fn just_the_functions_of_a_cycle_may_recur() {
    let program = read(&committed());
    let recurring: Vec<&str> = program
        .of_type("aws:lambda:FunctionRecursionConfig")
        .filter_map(|(_, resource)| resource["properties"]["functionName"].as_str())
        .collect();
    assert_eq!(recurring.len(), 2, "{recurring:?}");
    assert!(
        recurring.contains(&"${pollAuctionFunction.name}") && recurring.contains(&"${relayFunction.name}")
    );
}
