//! The whole auction on a peer of AWS, driven from outside only: the functions' zips behind an HTTP API, event source
//! mappings and a schedule; orders posted, asked for until they are decided, filed, dead-lettered and redriven.
//!
//! The peer is ministack 1.5.33. Some things it gets wrong, and this test does not show them. It has no alarms on queues. Its
//! scheduler does not fill in the scheduled time, so the message is sent with a fixed one. Its stream mapping drops the
//! rest of a batch that is reported failed in part; the tests of the single functions show that answer.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod cloud;
#[path = "../shared/definition.rs"]
mod definition;
#[path = "../../../../core/tests/aws/peer.rs"]
mod peer;

use cloud::Cloud;
use quadrille::{
    Timestamp,
    port::{Clock as _, Ports, SystemClock},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use systems::auction::{KICKOFF, platform::decide, results::RESULTS_BUCKET};

const SEED: u64 = 1;
const NOT_READY: u64 = 3;
const ORDERS: usize = 24;
const RESULTS_DEAD: &str = "auction-results-dlq";
/// How long anything may take.
const BOUND: Duration = Duration::from_secs(120);

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The ids of the orders filed.
async fn filed(ports: &Ports) -> BTreeSet<String> {
    let listed = ports.bucket(RESULTS_BUCKET).unwrap().list("orders/", None, 1_000).await.unwrap();
    let id = |key: &String| key.strip_suffix(".json").unwrap().rsplit_once("Z_").unwrap().1.to_owned();
    listed.keys.iter().map(id).collect()
}

async fn dead(ports: &Ports) -> u64 {
    ports.queue(RESULTS_DEAD).unwrap().depth().await.unwrap().total()
}

fn id(number: usize) -> String {
    format!("order-{number}")
}

/// The `quadrille` command, beside this test in the target folder, where it was built before.
fn command() -> Option<PathBuf> {
    let folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    Some(folder.join("quadrille")).filter(|command| command.is_file())
}

#[tokio::test]
async fn the_auction_runs_from_post_to_file_and_dead_letter_and_a_redrive() {
    let Some(url) = peer::require_that_can("the whole flow on AWS", peer::Can::RunFunctions) else { return };
    let choreography = quadrille::system::choreography(&systems::auction::Auction).unwrap();
    let config = peer::configuration(url).await;
    let names = peer::provision(choreography.model(), &config).await;
    let ports = quadrille::aws::ports(choreography.model(), &names, &config);
    let cloud = Cloud::deploy(
        url,
        choreography.model(),
        &names,
        &[
            ("QUADRILLE_PLATFORM", "simulated"),
            ("QUADRILLE_SEED", &SEED.to_string()),
            ("QUADRILLE_NOT_READY", &NOT_READY.to_string()),
            ("QUADRILLE_BACKOFF", "200ms"),
        ],
    )
    .await;

    let orders: Vec<Value> = (0..ORDERS)
        .map(|number| json!({ "record_id": id(number), "parameter_1": "plant", "parameter_2": number }))
        .collect();
    let posted = cloud.call("POST", "/orders", Some(&Value::from(orders.clone())));
    assert_eq!(posted.status, 202, "{posted:?}");
    let outcomes = posted.json()["results"].as_array().unwrap().clone();
    assert!(
        outcomes.len() == ORDERS && outcomes.iter().all(|row| row["outcome"] == "stored"),
        "{outcomes:?}"
    );
    let again = cloud.call("POST", "/orders", Some(&Value::from(orders))).json();
    assert!(again["results"].as_array().unwrap().iter().all(|row| row["outcome"] == "unchanged"), "{again}");
    let bad = cloud.call("POST", "/orders", Some(&json!([{ "record_id": "x" }])));
    assert_eq!(bad.status, 400, "{bad:?}");
    assert_eq!(cloud.call("GET", "/orders/order-0", None).json()["status"], "received");
    assert_eq!(cloud.call("GET", "/orders/nobody", None).status, 404);
    // The address of an order that no reading of its path changes, and a path that has more than one.
    assert_eq!(
        cloud.call("GET", "/orders/-?record_id.hex=6f726465722d30", None).json()["record_id"],
        "order-0"
    );
    for ambiguous in ["/orders/order%25-0", "/orders/order-0%3F"] {
        let refused = cloud.call("GET", ambiguous, None);
        assert_eq!(
            (refused.status, &refused.json()["type"]),
            (400, &json!("/problems/ambiguous_path")),
            "{ambiguous}"
        );
    }

    let scheduled = Timestamp::from_millis(SystemClock.now().as_millis() / 1_000 * 1_000);
    let (queues, message) = choreography.scheduled_message(KICKOFF, scheduled).unwrap();
    cloud.schedule(&queues[0], &message);

    let (accepted, rejected): (BTreeSet<String>, BTreeSet<String>) =
        (0..ORDERS).map(id).partition(|id| decide(SEED, id).status.as_deref() == Some("accepted"));
    assert!(!accepted.is_empty() && !rejected.is_empty());
    eventually("every order is at an end", async || {
        let is_over =
            filed(&ports).await.len() >= accepted.len() && dead(&ports).await >= rejected.len() as u64;
        is_over.then_some(())
    })
    .await;
    assert_eq!(filed(&ports).await, accepted);
    let run =
        ports.table("orders").unwrap().get(&[format!("run/{scheduled}")]).await.unwrap().remove(0).unwrap();
    let run: Value = serde_json::from_str(run.document.text().unwrap()).unwrap();
    assert!(run["state"]["polls"].as_u64().unwrap() >= NOT_READY, "{run}");
    for id in &accepted {
        let told = eventually("the order knows its file", async || {
            let told = cloud.call("GET", &format!("/orders/{id}"), None).json();
            told["result_key"].is_string().then_some(told)
        })
        .await;
        assert_eq!(told["status"], "accepted");
        let trail: Vec<&str> =
            told["trail"].as_array().unwrap().iter().map(|entry| entry["by"].as_str().unwrap()).collect();
        assert_eq!(trail, ["post_orders", "poll_auction", "poll_auction", "store_result"]);
    }

    let letters = eventually("the dead letters are there", async || {
        let letters = ports.queue(RESULTS_DEAD).unwrap();
        let letters = letters.receive(100, Duration::ZERO, Some(Duration::from_secs(1))).await.unwrap();
        (letters.len() == rejected.len()).then_some(letters)
    })
    .await;
    let reasons: BTreeSet<&str> = letters.iter().map(|letter| letter.attributes["reason"].as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["rejected"]));

    redrive(url, &names, rejected.len());
    eventually("what was redriven is rejected again, and nothing else happened", async || {
        (dead(&ports).await == rejected.len() as u64).then_some(())
    })
    .await;
    assert_eq!(filed(&ports).await, accepted);
}

/// By the command, as an operator would.
fn redrive(url: &str, names: &quadrille::aws::Names, letters: usize) {
    let left_out = || {
        let text = "LEFT OUT: the redrive: build the command first, `cargo build -p quadrille-command --features aws`";
        assert!(std::env::var_os("QUADRILLE_REQUIRE_PEER").is_none(), "{text}");
        eprintln!("{text}");
    };
    let Some(command) = command() else { return left_out() };
    let file = std::env::temp_dir().join(format!("quadrille-flow-{}.json", std::process::id()));
    let told = serde_json::to_string(names).unwrap();
    std::fs::write(&file, told).unwrap();
    let done = Command::new(command)
        .args(["dlq", "redrive", "--reason", "rejected", "--json", "--target", "aws", "--settings"])
        .arg(&file)
        .env_clear()
        .envs(peer::variables(url))
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let (out, told) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if told.contains("built without AWS") {
        return left_out();
    }
    assert!(done.status.success(), "{out}{told}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["redriven"], letters, "{last}");
}
