//! Each function may do what its handler is declared to use, Lambda's own part and what it is seen by: no action on no
//! resource is missing, and none is too much.
//!
//! That a declared use takes just these actions is seen on the wire in the library's own tests, and that a handler uses
//! nothing it does not declare is seen in every test of it: the context refuses it.

use crate::{committed, program::Program, read};
use quadrille::{
    Choreography,
    choreography::{BucketUse, Model, QueueUse, TableUse},
    infrastructure::{Infrastructure, RELAY},
    needs::Needs,
};
use std::collections::BTreeSet;
use systems::auction::Auction;

/// The auction's definition.
fn auction() -> Choreography {
    quadrille::system::choreography(&Auction).unwrap()
}

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
}

fn expected(model: &Model, function: &str) -> Allowed {
    let mut expected = Expected(Allowed::new());
    expected
        .add(&["logs:CreateLogStream", "logs:PutLogEvents"], format!("${{{}Logs.arn}}:*", camel(function)));
    expected.add(&["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*");
    if function == RELAY {
        let stream = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"];
        expected.add(&stream, "${ordersTable.streamArn}");
        expected.add(&["dynamodb:ListStreams"], "${ordersTable.arn}/stream/*");
        expected.add(&["kms:Decrypt"], "${key.arn}");
        for queue in
            ["auction-poll", "auction-results", "auction-poll-dlq", "auction-results-dlq", "relay-failures"]
        {
            expected.add(&["sqs:SendMessage"], arn(queue, "Queue"));
        }
        return expected.0;
    }
    if let Some(step) = model.step(function) {
        let source = arn(&step.queue, "Queue");
        expected.add(&["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], &source);
        // Back to its own queue goes what has to wait longer than the queue can hold it back.
        expected.add(&["sqs:SendMessage"], &source);
        expected.add(QueueUse::Consume.actions(), &source);
        let dead = &model.queue(&step.queue).unwrap().redrive.as_ref().unwrap().dead_letter_queue;
        expected.add(&["sqs:SendMessage"], arn(dead, "Queue"));
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
    if function == "notify" {
        expected.add(&["secretsmanager:GetSecretValue"], "${webhookSecret.arn}");
    }
    expected.0
}

/// What is missing in the program's policies, and what is too much.
fn differences(program: &Program) -> Vec<String> {
    let choreography = auction();
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
    assert_eq!(differences(&read(&committed())), Vec::<String>::new());
}

#[test]
fn a_missing_permission_and_one_too_many_are_caught() {
    let changed = |from: &str, to: &str| {
        let mut files = committed();
        let (_, text) = files.iter_mut().find(|(_, text)| text.contains(from)).unwrap();
        *text = text.replacen(from, to, 1);
        differences(&read(&files))
    };
    let lacks = changed("sqs:SendMessage", "sqs:PurgeQueue");
    assert!(lacks.iter().any(|difference| difference.contains("lacks sqs:SendMessage")), "{lacks:?}");
    assert!(lacks.iter().any(|difference| difference.contains("has sqs:PurgeQueue")), "{lacks:?}");
}

#[test]
fn each_function_is_told_what_it_asks_for_and_nothing_else() {
    let (choreography, program) = (auction(), read(&committed()));
    let model = choreography.model();
    for function in Infrastructure::functions(model) {
        let needs = Needs::of_step(model, &function).unwrap_or_else(|| Needs::of_relay(model));
        let mut asked: BTreeSet<String> =
            needs.variables(model).into_iter().map(|variable| variable.name).collect();
        // What the functions' own tests start them with (handlers/lambda/tests/functions): which one it is, and its settings.
        let settings: &[&str] = match function.as_str() {
            "poll_auction" => &["PLATFORM", "PLATFORM_TIMEOUT", "SEED", "NOT_READY", "BACKOFF", "DEADLINE"],
            "notify" => &["WEBHOOK_SECRET"],
            _ => &[],
        };
        asked.extend(["FUNCTION"].iter().chain(settings).map(|name| format!("QUADRILLE_{name}")));
        let properties = program.properties(&format!("{}Function", camel(&function)));
        let told = properties["environment"]["variables"].as_object().unwrap();
        assert_eq!(told.keys().cloned().collect::<BTreeSet<String>>(), asked, "{function}");
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
