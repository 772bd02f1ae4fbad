//! The init phase, where it fails: reported by name, and the process ends.

use crate::{
    aws::Aws,
    function::{FUNCTION, Function},
    http::post,
};
use quadrille::{System, infrastructure::Infrastructure};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};
use systems::auction::Auction;

/// Starts a function that can't, and returns what it reported.
async fn report(name: &str, variables: &BTreeMap<String, String>) -> (String, String) {
    let (error_type, report, ended) = Function::start(name, variables).await.failed_init().await;
    assert!(!ended.success(), "{ended}");
    assert_eq!(format!("Quadrille.{}", report["errorType"].as_str().unwrap()), error_type);
    (error_type, report["errorMessage"].as_str().unwrap().to_owned())
}

/// What `poll_auction` reports where `name` has the value.
async fn report_of(aws: &Aws, name: &str, value: &str) -> String {
    let mut variables = aws.variables();
    variables.insert(name.to_owned(), value.to_owned());
    let (error_type, message) = report("poll_auction", &variables).await;
    assert_eq!(error_type, "Quadrille.Settings", "{message}");
    message
}

fn functions(system: &dyn System) -> Vec<String> {
    Infrastructure::functions(system.define().build().unwrap().model())
}

#[test]
fn each_system_has_a_binary_of_its_functions() {
    let folder = Path::new(env!("CARGO_BIN_EXE_auction-functions")).parent().unwrap();
    for system in systems::ALL {
        let name = format!("{}-functions", system.name());
        assert!(folder.join(&name).is_file(), "add src/bin/{name}.rs, and its name to Cargo.toml");
    }
}

#[tokio::test]
async fn a_function_that_is_not_named_or_not_known_is_an_error_that_lists_those_there_are() {
    let aws = Aws::start().await;
    let functions = functions(&Auction).join(", ");
    let of = r#"of the choreography "auction""#;
    for (name, error_type, expected) in [
        (
            "",
            "Quadrille.NoFunction",
            format!("the environment lacks {FUNCTION}: set it to a function {of}, one of {functions}"),
        ),
        (
            "post_order",
            "Quadrille.NoSuchFunction",
            format!("{FUNCTION}=\"post_order\" is no function {of}: set it to one of {functions}"),
        ),
    ] {
        assert_eq!(report(name, &aws.variables()).await, (error_type.to_owned(), expected));
    }
}

#[tokio::test]
async fn a_function_is_each_that_the_infrastructure_names() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    variables.retain(|name, _| !name.starts_with("QUADRILLE_"));
    for name in functions(&Auction) {
        // It knows what it lacks, and so itself.
        let (error_type, message) = report(&name, &variables).await;
        assert_eq!(error_type, "Quadrille.Names", "{name}: {message}");
    }
}

#[tokio::test]
async fn every_variable_that_is_missing_is_named() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    variables.remove("QUADRILLE_TABLE_ORDERS");
    variables.insert("QUADRILLE_QUEUE_AUCTION_RESULTS_DLQ".into(), " ".into());
    let (error_type, message) = report("store_result", &variables).await;
    assert_eq!(error_type, "Quadrille.Names");
    let named = ["QUADRILLE_TABLE_ORDERS", "QUADRILLE_QUEUE_AUCTION_RESULTS_DLQ"];
    assert!(named.iter().all(|name| message.contains(name)), "{message}");
    assert!(!message.contains("QUADRILLE_BUCKET"), "what is there is not named: {message}");
}

/// The table of docs/aws.md: a function asks for what it uses and for nothing else.
#[tokio::test]
async fn a_function_needs_the_variables_of_what_it_uses() {
    let aws = Aws::start().await;
    for (name, needed) in [
        ("post_orders", "TABLE_ORDERS"),
        ("get_order", "TABLE_ORDERS"),
        ("withdraw_order", "TABLE_ORDERS"),
        (
            "poll_auction",
            "TABLE_ORDERS, QUEUE_AUCTION_LEFT, QUEUE_AUCTION_POLL, QUEUE_AUCTION_POLL_DLQ, BUCKET_AUCTION_PLATFORM",
        ),
        ("leave_run", "TABLE_ORDERS, QUEUE_AUCTION_LEFT, QUEUE_AUCTION_LEFT_DLQ"),
        (
            "store_result",
            "TABLE_ORDERS, QUEUE_AUCTION_RESULTS, QUEUE_AUCTION_RESULTS_DLQ, BUCKET_ORDER_RESULTS",
        ),
        (
            "relay",
            "QUEUE_AUCTION_POLL, QUEUE_AUCTION_POLL_DLQ, QUEUE_AUCTION_RESULTS, QUEUE_AUCTION_RESULTS_DLQ",
        ),
        ("notify", "QUEUE_NOTIFY, QUEUE_NOTIFY_DLQ"),
    ] {
        let mut variables = aws.variables();
        variables.retain(|name, _| !name.starts_with("QUADRILLE_"));
        let (error_type, message) = report(name, &variables).await;
        let needed: Vec<String> = needed.split(", ").map(|name| format!("QUADRILLE_{name}")).collect();
        let needed = needed.join(", ");
        assert_eq!(error_type, "Quadrille.Names", "{name}: {message}");
        let expected = format!("the environment lacks {needed}: the infrastructure has to set them");
        assert_eq!(message, expected, "{name}");
    }
}

#[tokio::test]
async fn a_platform_is_never_simulated_because_nobody_said_which() {
    let aws = Aws::start().await;
    let message = report_of(&aws, "QUADRILLE_PLATFORM", "").await;
    let expected =
        "QUADRILLE_PLATFORM is missing: set it to an http or https URL, or `simulated`. The auction platform";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_named_with_its_value_and_the_cure() {
    let aws = Aws::start().await;
    for (name, value, told) in [
        ("PLATFORM", "ftp://auction", "is not an http or https URL, or `simulated`: set it to an http"),
        ("PLATFORM", "\"https://auction.example\"", "stands in quotes: remove them"),
        ("PLATFORM", "https://auction.example\n", "ends with a line break: remove it"),
        ("PLATFORM", " simulated", "begins or ends with white space: remove it"),
        ("PLATFORM", "{\"platform\": \"simulated\"}", "is JSON: write the plain value"),
        ("PLATFORM", "https://auction.example/?run=1", "is of no use: "),
        ("DEADLINE", "soon", "is not a whole number with its unit"),
        ("DEADLINE", "2d", "is not a whole number with its unit (200ms, 30s, 5m, 1h, 2d), up to "),
        ("NOT_READY", "-1", "is not a whole number from 0 to 4294967295: set it to"),
    ] {
        let message = report_of(&aws, &format!("QUADRILLE_{name}"), value).await;
        assert!(message.starts_with(&format!("QUADRILLE_{name}={value:?} {told}")), "{message}");
    }
    let mut variables = aws.variables();
    variables.extend(["BACKOFF", "SEED"].map(|name| (format!("QUADRILLE_{name}"), "soon".to_owned())));
    let (_, message) = report("poll_auction", &variables).await;
    let named: Vec<&str> = message.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(
        named,
        ["QUADRILLE_SEED", "QUADRILLE_BACKOFF"],
        "all that is wrong is told at once: {message}"
    );
}

/// A setting that a function does not need is not looked at, whatever it is.
#[tokio::test]
async fn a_function_reads_no_setting_but_its_own() {
    let aws = Aws::start().await;
    let mut variables = aws.variables();
    for name in ["PLATFORM", "DEADLINE", "SEED", "BACKOFF"] {
        variables.insert(format!("QUADRILLE_{name}"), "\"wrong\"".to_owned());
    }
    let mut function = Function::start("post_orders", &variables).await;
    let order = json!([{"record_id": "a", "parameter_1": "abc", "parameter_2": 4}]);
    assert_eq!(function.invoke(&post(&order)).await.unwrap()["statusCode"], 202);
    assert_eq!(aws.calls("GetSecretValue"), 0);
}

#[tokio::test]
async fn a_webhook_that_is_not_told_or_can_not_be_read_is_an_error() {
    let aws = Aws::start().await;
    let (error_type, message) = report("notify", &aws.variables()).await;
    let expected =
        "QUADRILLE_WEBHOOK_SECRET is missing: set it to the name or ARN of a secret in Secrets Manager. ";
    assert!(error_type == "Quadrille.Settings" && message.starts_with(expected), "{message}");
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_WEBHOOK_SECRET".into(), "hook".into());
    let (error_type, message) = report("notify", &variables).await;
    assert_eq!(error_type, "Quadrille.Secret");
    assert!(message.contains("\"hook\"") && message.contains("ResourceNotFoundException"), "{message}");
    // A secret that is no URL is not repeated, nor one that the console wrote as JSON.
    for (secret, told) in [
        ("hooks.example.net/secret", "is not an http or https URL"),
        ("https://hooks.example.net/secret\n", "ends with a line break: remove it"),
        ("{\"webhook\":\"https://hooks.example.net/secret\"}", "is JSON: write the plain value"),
    ] {
        aws.state().secrets.insert("hook".into(), secret.into());
        let (error_type, message) = report("notify", &variables).await;
        let expected = format!("the secret behind QUADRILLE_WEBHOOK_SECRET {told}");
        assert!(message.starts_with(&expected) && !message.contains("/secret"), "{message}");
        assert_eq!(error_type, "Quadrille.Settings");
    }
}
