//! The init phase, where it fails: reported by name, and the process ends.

use crate::{aws::Aws, function::Function};
use std::collections::BTreeMap;

/// Starts a function that can't, and returns what it reported.
async fn report(name: &str, variables: &BTreeMap<String, String>) -> (String, String) {
    let (error_type, report, ended) = Function::start(name, variables).await.failed_init().await;
    assert!(!ended.success(), "{ended}");
    assert_eq!(format!("Quadrille.{}", report["errorType"].as_str().unwrap()), error_type);
    (error_type, report["errorMessage"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_variable_that_is_missing_is_named() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    variables.remove("QUADRILLE_TABLE_ORDERS");
    variables.insert("QUADRILLE_QUEUE_AUCTION_RESULTS_DLQ".into(), " ".into());
    let (error_type, message) = report("store_result", &variables).await;
    assert_eq!(error_type, "Quadrille.Settings");
    let named = ["QUADRILLE_TABLE_ORDERS", "QUADRILLE_QUEUE_AUCTION_RESULTS_DLQ"];
    assert!(named.iter().all(|name| message.contains(name)), "{message}");
    assert!(!message.contains("QUADRILLE_BUCKET"), "what is there is not named: {message}");
}

/// The table of docs/aws.md: a function asks for what it uses and for nothing else.
#[tokio::test]
async fn a_function_needs_the_variables_of_what_it_uses() {
    let aws = Aws::start().await;
    let simulated = [("QUADRILLE_PLATFORM", "simulated")];
    let real = [("QUADRILLE_PLATFORM", "http://127.0.0.1:9")];
    let webhook = [("QUADRILLE_WEBHOOK_SECRET", "hook")];
    let poll = "TABLE_ORDERS, QUEUE_AUCTION_POLL, QUEUE_AUCTION_POLL_DLQ";
    for (name, given, needed) in [
        ("post_orders", &simulated, "TABLE_ORDERS"),
        ("get_order", &simulated, "TABLE_ORDERS"),
        ("poll_auction", &real, poll),
        ("poll_auction", &simulated, &format!("{poll}, BUCKET_AUCTION_PLATFORM")),
        (
            "store_result",
            &simulated,
            "TABLE_ORDERS, QUEUE_AUCTION_RESULTS, QUEUE_AUCTION_RESULTS_DLQ, BUCKET_ORDER_RESULTS",
        ),
        (
            "relay",
            &simulated,
            "QUEUE_AUCTION_POLL, QUEUE_AUCTION_POLL_DLQ, QUEUE_AUCTION_RESULTS, QUEUE_AUCTION_RESULTS_DLQ",
        ),
        ("notify", &webhook, "QUEUE_NOTIFY, QUEUE_NOTIFY_DLQ"),
    ] {
        let mut variables = aws.variables();
        variables.retain(|name, _| !name.starts_with("QUADRILLE_"));
        variables.extend(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (error_type, message) = report(name, &variables).await;
        let needed: Vec<String> = needed.split(", ").map(|name| format!("QUADRILLE_{name}")).collect();
        let needed = needed.join(", ");
        assert_eq!(error_type, "Quadrille.Settings", "{name}: {message}");
        let expected = format!("the environment lacks {needed}: the infrastructure has to set them");
        assert_eq!(message, expected, "{name}");
    }
}

#[tokio::test]
async fn a_platform_is_never_simulated_because_nobody_said_which() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    variables.remove("QUADRILLE_PLATFORM");
    let (error_type, message) = report("poll_auction", &variables).await;
    assert!(error_type == "Quadrille.Environment" && message.contains("QUADRILLE_PLATFORM"), "{message}");
    variables.insert("QUADRILLE_PLATFORM".into(), "ftp://auction".into());
    let (error_type, message) = report("poll_auction", &variables).await;
    assert!(error_type == "Quadrille.Platform" && message.contains("QUADRILLE_PLATFORM"), "{message}");
}

#[tokio::test]
async fn a_variable_that_is_wrong_is_named_with_what_it_holds() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_DEADLINE".into(), "soon".into());
    let (_, message) = report("poll_auction", &variables).await;
    assert!(message.starts_with("QUADRILLE_DEADLINE=\"soon\": "), "{message}");
}

#[tokio::test]
async fn a_webhook_that_is_not_told_or_can_not_be_read_is_an_error() {
    let aws = Aws::start().await;
    let (error_type, message) = report("notify", &aws.variables()).await;
    assert!(
        error_type == "Quadrille.Environment" && message.contains("QUADRILLE_WEBHOOK_SECRET"),
        "{message}"
    );
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_WEBHOOK_SECRET".into(), "hook".into());
    let (error_type, message) = report("notify", &variables).await;
    assert_eq!(error_type, "Quadrille.Webhook");
    assert!(message.contains("\"hook\"") && message.contains("ResourceNotFoundException"), "{message}");
    // A secret that is no URL is not repeated.
    aws.state().secrets.insert("hook".into(), "hooks.example.net/secret".into());
    let (error_type, message) = report("notify", &variables).await;
    assert!(error_type == "Quadrille.Webhook" && !message.contains("/secret"), "{message}");
}
