//! A disk that is full for some seconds in the middle of a run.

use crate::support::{
    Engine, RESULTS_DEAD, body, eventually, filed, filed_by_id, orders, subjects, without_file_size_signal,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const ORDERS: usize = 400;
/// Within this everything has reached its end once there is space again.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_disk_that_is_full_for_a_while_holds_nothing_up_for_longer() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--seed", "7", "--not-ready", "1", "--backoff", "200ms"];
    let command = without_file_size_signal(&Engine::command(folder.path(), &args));
    let engine = Engine::start(command, folder.path());
    let all = orders("order-", ORDERS);
    engine.take(&all);
    for moment in ["gathering", "storing"] {
        if moment == "gathering" {
            engine.kickoff();
        } else {
            eventually("some are filed", || (filed(folder.path()).len() >= 20).then_some(()));
        }
        engine.fill_disk(true);
        let standing = || engine.get("/healthz").json()["standing"].as_array().cloned().unwrap_or_default();
        eventually("nothing is written, and consumers stand", || {
            let standing: Vec<String> =
                standing().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            let has = |begin: &str| standing.iter().any(|name| name.starts_with(begin));
            (has("writes of ") && has("consumer ")).then_some(())
        });
        assert_eq!(engine.post(&body(&orders("later-", 1))).status, 503, "{moment}");
        engine.fill_disk(false);
    }
    let began = Instant::now();
    engine.settled(ORDERS);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    eventually("it is well", || (engine.get("/healthz").status == 200).then_some(()));
    let mut ends: BTreeSet<String> = filed_by_id(folder.path()).into_keys().collect();
    let dead = subjects(&engine.dead_letters(RESULTS_DEAD));
    assert_eq!(ends.len() + dead.len(), ORDERS, "each has one end");
    ends.extend(dead);
    assert_eq!(ends, all.into_iter().map(|order| order.record_id).collect());
    engine.terminate();
}
