//! Whoever deploys a program may do what its resources take, and nothing else. What they take is held against what the provider
//! was seen to ask for, in rehearsals of each program: applied, changed, applied again and removed, as a user with the derived
//! policies alone (`deployed.json`).

use crate::{quadrille, root, text};
use quadrille::{
    System,
    infrastructure::{DeployedTo, Infrastructure, POLICY_BYTES_MAX, Rights, wide},
    system::choreography,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// What the provider asked for, by system: the actions.
static ASKED: &str = include_str!("deployed.json");

/// Actions that no rehearsal has seen, and why each is there all the same.
const UNSEEN: [(&str, &[&str]); 7] = [
    (
        "the rehearsal changes sizes, names and numbers, and no tag or description",
        &[
            "apigateway:PUT",
            "cloudwatch:UntagResource",
            "dynamodb:UntagResource",
            "events:UntagResource",
            "events:UpdateEventBus",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole",
            "kms:DisableKeyRotation",
            "kms:PutKeyPolicy",
            "kms:UntagResource",
            "kms:UpdateAlias",
            "kms:UpdateKeyDescription",
            "lambda:UntagResource",
            "logs:UntagResource",
            "secretsmanager:UntagResource",
            "secretsmanager:UpdateSecret",
            "sns:SetSubscriptionAttributes",
            "sns:UntagResource",
            "sqs:UntagQueue",
            "ssm:RemoveTagsFromResource",
            "dynamodb:UpdateTable",
            "scheduler:UpdateSchedule",
            "lambda:DeleteFunctionConcurrency",
        ],
    ),
    (
        "the peer knows these under other names, or asks for nothing",
        &[
            "cloudwatch:TagResource",
            "events:TagResource",
            "iam:PassRole",
            "lambda:DeleteEventSourceMapping",
            "lambda:GetEventSourceMapping",
            "lambda:GetFunctionConfiguration",
            "lambda:GetFunctionRecursionConfig",
            "lambda:PutFunctionRecursionConfig",
            "lambda:UpdateEventSourceMapping",
            "sqs:GetQueueUrl",
            "ssm:GetParameters",
        ],
    ),
    (
        "API Gateway arranges for an access log in the caller's name, on AWS",
        &[
            "logs:CreateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:DescribeResourcePolicies",
            "logs:GetLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:UpdateLogDelivery",
        ],
    ),
    (
        "DynamoDB looks whether whoever makes a table may use its key, on AWS",
        &[
            "kms:CreateGrant",
            "kms:Decrypt",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ],
    ),
    (
        "a bucket that holds objects is emptied before it is removed; in the rehearsal none does",
        &["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions"],
    ),
    (
        "the provider of version 7 tags buckets by S3's newer calls; the rehearsal has an older one",
        &["s3:ListTagsForResource", "s3:TagResource", "s3:UntagResource"],
    ),
    (
        "the peer takes buses and rules for others, and snacks was removed by the peer's own names",
        &[
            "events:DeleteEventBus",
            "events:DeleteRule",
            "events:DescribeEventBus",
            "events:DescribeRule",
            "events:ListTagsForResource",
            "events:ListTargetsByRule",
            "events:PutRule",
            "events:PutTargets",
            "events:RemoveTargets",
        ],
    ),
];

fn to(stack: &str) -> DeployedTo {
    DeployedTo { account: "123456789012".into(), region: "eu-west-1".into(), stack: stack.into() }
}

fn rights(system: &dyn System, stack: &str) -> Rights {
    let choreography = choreography(system).unwrap();
    system.infrastructure(Infrastructure::of(&choreography)).deployment(&to(stack)).unwrap()
}

fn asked() -> BTreeMap<String, BTreeSet<String>> {
    serde_json::from_str(ASKED).unwrap()
}

/// Each action with each ARN that policies allow it on.
fn allowed(policies: &[String]) -> BTreeSet<(String, String)> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut allowed = BTreeSet::new();
    for policy in policies {
        let policy: Value = serde_json::from_str(policy).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            for action in texts(&statement["Action"]) {
                allowed.extend(texts(&statement["Resource"]).into_iter().map(|on| (action.clone(), on)));
            }
        }
    }
    allowed
}

#[test]
fn whoever_deploys_may_do_what_the_provider_asks_for() {
    let asked = asked();
    for system in systems::ALL {
        let rights = rights(*system, "dev");
        let allowed: BTreeSet<&str> = rights.allowed().map(|(action, _)| action).collect();
        let asked = &asked[system.name()];
        assert!(asked.len() > 70, "{} actions", asked.len());
        let lacks: Vec<&String> = asked.iter().filter(|action| !allowed.contains(action.as_str())).collect();
        assert_eq!(lacks, Vec::<&String>::new(), "{}", system.name());
    }
}

#[test]
fn whoever_deploys_may_do_nothing_that_nothing_asks_for() {
    let seen: BTreeSet<String> = asked().into_values().flatten().collect();
    let unseen: BTreeSet<&str> = UNSEEN.iter().flat_map(|(_, actions)| *actions).copied().collect();
    for system in systems::ALL {
        let rights = rights(*system, "dev");
        let needless: BTreeSet<&str> = rights
            .allowed()
            .map(|(action, _)| action)
            .filter(|action| !seen.contains(*action) && !unseen.contains(action))
            .collect();
        assert_eq!(needless, BTreeSet::new(), "{}", system.name());
    }
    let both: Vec<&&str> = unseen.iter().filter(|action| seen.contains(**action)).collect();
    assert_eq!(both, Vec::<&&str>::new(), "seen after all");
}

#[test]
fn a_policy_fits_and_all_of_them_say_what_is_right_and_no_more() {
    let mut all = Rights::default();
    for system in systems::ALL {
        let rights = rights(*system, "dev");
        let told: BTreeSet<(String, String)> =
            rights.allowed().map(|(action, on)| (action.to_owned(), on.to_owned())).collect();
        let policies = rights.policies();
        assert!(policies.iter().all(|policy| policy.len() <= POLICY_BYTES_MAX));
        assert!(policies.len() < 5, "{}: {} policies", system.name(), policies.len());
        assert_eq!(allowed(&policies), told, "{}", system.name());
        all = all.and(rights);
    }
    let policies = all.policies();
    // What one role can have (IAM), unless AWS was asked for more.
    assert!(policies.len() <= 10, "{}", policies.len());
    assert!(policies.iter().all(|policy| policy.len() <= POLICY_BYTES_MAX && !policy.contains(['\n', ' '])));
    let long: Rights = (0..40).fold(Rights::default(), |long, at| {
        long.and(rights(systems::ALL[0], &format!("a-stack-of-a-long-name-{at}")))
    });
    assert!(long.policies().iter().all(|policy| policy.len() <= POLICY_BYTES_MAX), "cut where it has to be");
}

#[test]
fn a_right_is_on_resources_of_this_stack_alone_but_where_there_are_none_to_name() {
    let wide: BTreeSet<&str> = wide().into_iter().flat_map(|(_, actions, _)| actions).collect();
    for system in systems::ALL {
        let choreography = choreography(*system).unwrap();
        let model = choreography.model();
        let kept = model.tables.iter().filter_map(|table| table.physical.clone());
        let kept = kept.chain(model.queues.iter().filter_map(|queue| queue.physical.clone()));
        let kept = kept.chain(model.topics.iter().filter_map(|topic| topic.physical.clone()));
        let kept = kept.chain(model.buses.iter().filter_map(|bus| bus.physical.clone()));
        let kept = kept.chain(model.routes.iter().filter_map(|route| route.physical.clone()));
        let kept: Vec<String> =
            kept.chain(model.steps.iter().filter_map(|step| step.physical.clone())).collect();
        let (dev, prod) = (rights(*system, "dev"), rights(*system, "prod"));
        let prod: BTreeSet<&str> = prod.allowed().map(|(_, on)| on).collect();
        for (action, on) in dev.allowed() {
            let is_shared = prod.contains(on);
            // A name that the definition keeps is the same in every stack: there is one stack an account and region.
            let is_kept = kept.iter().any(|name| on.contains(name.as_str()));
            assert!(!is_shared || is_kept || wide.contains(action), "{}: {action} on {on}", system.name());
            let ends = on.ends_with("/*") || on.ends_with(":*");
            assert!(on != "*" || wide.contains(action), "{action} on {on}");
            assert!(!on.trim_end_matches("*").contains('*') || wide.contains(action), "{action} on {on}");
            assert!(ends || !on.ends_with('*') || on == "*", "{action} on {on}");
        }
    }
}

#[test]
fn the_command_prints_the_policies_of_the_systems_that_are_named() {
    let place = ["--stack", "dev", "--account", "123456789012", "--region", "eu-west-1"];
    let told = quadrille(&[&["infra", "policy", "snacks"][..], &place].concat());
    assert!(told.status.success(), "{told:?}");
    let printed: Vec<String> = text(&told.stdout).lines().map(str::to_owned).collect();
    assert_eq!(printed, rights(&systems::snacks::Snacks, "dev").policies());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let told = quadrille(&[&["infra", "policy", "--out", out][..], &place].concat());
    assert!(told.status.success(), "{told:?}");
    let all = systems::ALL.iter().fold(Rights::default(), |all, system| all.and(rights(*system, "dev")));
    for (at, policy) in all.policies().iter().enumerate() {
        assert_eq!(&fs::read_to_string(folder.path().join(format!("{}.json", at + 1))).unwrap(), policy);
    }
    for (option, wrong) in
        [("--account", "12"), ("--stack", "../prod"), ("--stack", "*"), ("--region", "here")]
    {
        let mut arguments = [&["infra", "policy"][..], &place].concat();
        let at = arguments.iter().position(|argument| *argument == option).unwrap();
        arguments[at + 1] = wrong;
        assert_eq!(quadrille(&arguments).status.code(), Some(2), "{option} {wrong}");
    }
}

/// What the workflow leaves out of an ephemeral stack, so that it mails nobody.
#[test]
fn an_ephemeral_stack_leaves_out_the_mail_and_nothing_else() {
    let action = fs::read_to_string(root().join(".github/actions/pulumi/action.yml")).unwrap();
    let pattern = "'urn:pulumi:**::aws:sns/topicSubscription:TopicSubscription::*Email'";
    assert!(action.contains(pattern), "{action}");
    for system in systems::ALL {
        let program = crate::read(&crate::committed_of(system.name()));
        let subscriptions = program.of_type("aws:sns:TopicSubscription");
        for (name, resource) in subscriptions {
            let is_mail = resource["properties"]["protocol"] == "email";
            assert_eq!(is_mail, name.ends_with("Email"), "{name}");
            let needed = program.root["resources"].to_string().matches(&format!("${{{name}")).count();
            assert!(!is_mail || needed == 0, "others depend on {name}");
        }
    }
}
