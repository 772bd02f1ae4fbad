//! Rounds of a run, with the simulated platform.

use crate::{
    aws::Aws,
    function::Function,
    queue::{batch, envelope, take},
};
use quadrille::aws::table::stream_record;
use serde_json::{Value, json};

/// A round of the run of that id, told just now.
fn round(run: &str, number: u32) -> Value {
    let mut event = envelope("auction.poll", run, json!({"run_id": run, "round": number}));
    event["time"] = json!(now());
    event
}

#[tokio::test]
async fn a_run_goes_round_by_round_to_its_end() {
    let aws = Aws::start().await;
    take(&aws, &["a", "b"]).await;
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_NOT_READY".into(), "2".into());
    let mut function = Function::start("poll_auction", &variables).await;
    // A run's deadline counts from its scheduled time, which is its id.
    let id = now();
    // The relay's part is played here: each round is told as its commit before said.
    for number in 0..10 {
        let answer = function.invoke(&batch(&[("m", round(&id, number).to_string())])).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}), "{number}: {:#?}", function.lines());
        let run = document(&aws, &format!("run/{id}"));
        if run["state"]["phase"] == "ended" {
            break;
        }
    }
    let run = document(&aws, &format!("run/{id}"));
    assert_eq!((&run["state"]["phase"], &run["state"]["polls"]), (&json!("ended"), &json!(2)), "{run}");
    let decided = run["state"]["accepted"].as_u64().unwrap() + run["state"]["rejected"].as_u64().unwrap();
    assert_eq!(decided, 2);
    for id in ["a", "b"] {
        let status = aws.order(id).unwrap()["state"]["status"].clone();
        assert!(status == "accepted" || status == "rejected", "{status}");
        // What it told is in the item: the relay finds it in the stream.
        assert_eq!(aws.state().items[&format!("order/{id}")]["relay"]["S"], "1");
    }
    let metrics = function.line("a poll that was not ready", |line| line["PollsNotReady"] == 1).await;
    assert_eq!((&metrics["Polls"], &metrics["Handled"]), (&json!(1), &json!(1)));
    // A message of the schedule counts as one, beside all that is handled: the alarm that tells of a silent schedule looks for it.
    let mut kickoff = round(&now(), 0);
    kickoff["id"] = json!(format!("schedule/kickoff@{}", now()));
    function.invoke(&batch(&[("m", kickoff.to_string())])).await.unwrap();
    let scheduled = function.line("a kickoff", |line| line["Scheduled"] == 1).await;
    let dimensions = &scheduled["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
    assert_eq!(
        (&scheduled["schedule"], dimensions),
        (&json!("kickoff"), &json!([["choreography", "function", "schedule"]]))
    );
    // Beside it stands how long the oldest open order has waited: there is none.
    assert_eq!(scheduled["OldestWaiting"], json!([0.0]));
    let decided = function.line("decisions", |line| line.get("ReceivedToDecided").is_some()).await;
    assert_eq!(decided["ReceivedToDecided"].as_array().unwrap().len(), 2);
}

/// Lambda itself would stop a loop through a queue at its 16th round; where that is allowed, the run's own budget ends it.
#[tokio::test]
async fn a_run_that_never_gets_ready_goes_on_for_200_rounds_and_ends_by_its_budget() {
    let aws = Aws::start().await;
    take(&aws, &["a"]).await;
    let mut variables = aws.variables();
    variables.insert("QUADRILLE_NOT_READY".into(), "1000000".into());
    let mut function = Function::start("poll_auction", &variables).await;
    let id = now();
    let mut event = round(&id, 0);
    for number in 0..200 {
        let answer = function.invoke(&batch(&[("m", event.to_string())])).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}), "{number}: {:#?}", function.lines());
        // What its commit emitted, as the relay would send it on once its time has come.
        let item = aws.state().items[&format!("run/{id}")].clone();
        let text = |name: &str| item.get(name)?.as_object()?.values().next()?.as_str();
        let emitted = stream_record(0, "key", text).outbox.unwrap();
        event = serde_json::from_str(emitted[0].get()).unwrap();
        event.as_object_mut().unwrap().remove("notbefore");
        assert_eq!((&event["data"]["round"], &event["hops"]), (&json!(number + 1), &json!(number + 1)));
    }
    let run = document(&aws, &format!("run/{id}"));
    assert_eq!((&run["state"]["phase"], &run["state"]["polls"]), (&json!("waiting"), &json!(199)), "{run}");
    let trail = run["trail"]["entries"].as_array().unwrap();
    assert!(trail.len() <= 16 && run.to_string().len() < 8_192, "the run's item stays small: {run}");

    let mut reasons = Vec::new();
    for (budget, spent) in [("hops", json!(100_001)), ("deadline", json!("2020-01-01T00:00:00.000Z"))] {
        let mut last = event.clone();
        last[budget] = spent;
        // An event of its own: what is given up stays so for its first reason.
        last["id"] = json!(format!("{budget}-is-spent"));
        let answer = function.invoke(&batch(&[("m", last.to_string())])).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}));
        let dead = aws.sent_to("auction-poll-dlq");
        reasons.push(dead.last().unwrap()["MessageAttributes"]["reason"]["StringValue"].clone());
    }
    assert_eq!(reasons, ["hops_exhausted", "deadline_passed"]);
}

#[tokio::test]
async fn a_round_after_the_deadline_is_a_dead_letter() {
    let aws = Aws::start().await;
    let mut function = Function::start("poll_auction", &aws.variables()).await;
    let mut late = round(&now(), 1);
    late["deadline"] = json!("2020-01-01T00:00:00.000Z");
    let answer = function.invoke(&batch(&[("m", late.to_string())])).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    // A kickoff that comes after all the time of its run is over by its own id.
    let kickoff = round("2020-01-01T00:00:00.000Z", 0);
    let answer = function.invoke(&batch(&[("m", kickoff.to_string())])).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let dead = aws.sent_to("auction-poll-dlq");
    assert!(
        dead.iter().all(|letter| letter["MessageAttributes"]["reason"]["StringValue"] == "deadline_passed")
    );
    assert_eq!(dead.len(), 2);
}

fn document(aws: &Aws, key: &str) -> Value {
    let state = aws.state();
    let item =
        state.items.get(key).unwrap_or_else(|| panic!("no {key}: {:?} {:?}", state.items.keys(), state.sent));
    serde_json::from_str(item["document"]["S"].as_str().unwrap()).unwrap()
}

/// The time now, as an event has it.
fn now() -> String {
    use quadrille::port::{Clock as _, SystemClock};
    SystemClock.now().to_string()
}
