//! More orders than the auction can work: runs decide while they come in, and so many wait at most.

use crate::world::World;
use quadrille::{choreography::BACKLOG_MAX, domain::auction::OrderStatus, engine::Engine};
use serde_json::{Value, json};
use std::time::Duration;
use systems::auction::{ORDERS_PER_RUN, run::Phase};

const SECOND: Duration = Duration::from_secs(1);
const PER_RUN: usize = 10;
const BACKLOG: usize = 100;
const PER_SECOND: usize = 9;

impl World {
    async fn accepted(&self, ids: &[String]) -> usize {
        let mut accepted = 0;
        for id in ids {
            accepted += usize::from(self.order(id).await.unwrap().status == OrderStatus::Accepted);
        }
        accepted
    }
}

#[tokio::test]
async fn nine_times_what_can_be_worked_for_five_minutes_is_decided_meanwhile_and_bounded() {
    let (per_run, backlog) = (PER_RUN.to_string(), BACKLOG.to_string());
    let said = [(ORDERS_PER_RUN, per_run.as_str()), (BACKLOG_MAX, backlog.as_str())];
    let world = World::with(Duration::ZERO, &said);
    // So that an order a second is what it can work.
    *world.platform.takes.lock().unwrap() = 10 * SECOND;
    let engine = Engine::start(world.pipeline.clone());
    let mut taken: Vec<String> = Vec::new();
    let mut held_back = 0;
    for second in 0..300 {
        let ids: Vec<String> = (0..PER_SECOND).map(|number| format!("{second}-{number}")).collect();
        let answer = world.send(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        if answer.status == 202 {
            taken.extend(ids);
        } else {
            held_back += 1;
            let problem: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((answer.status, &problem["type"]), (503, &json!("/problems/backlog_full")));
            assert_eq!(problem["waiting_max"], json!(BACKLOG));
            assert!(answer.headers.contains(&("retry-after", "5".to_owned())), "{:?}", answer.headers);
        }
        if second == 9 {
            world.kick_off().await;
        }
        world.clock.pass(SECOND).await;
        if second == 25 {
            assert!(
                world.accepted(&taken).await >= PER_RUN,
                "the first run has decided while orders come in"
            );
        }
    }
    let accepted = world.accepted(&taken).await;
    assert!(accepted >= 240, "an order a second, but for a run's time at each end: {accepted}");
    // What was taken and is not decided: open, in the run under way, and what came in between two counts.
    let waiting = taken.len() - accepted;
    assert!((BACKLOG - 20..=BACKLOG + 3 * PER_RUN + 2 * PER_SECOND).contains(&waiting), "{waiting}");
    assert!(held_back > 200, "{held_back}");

    world.clock.pass(60 * SECOND).await;
    let last = ["last".to_owned()];
    assert_eq!(world.send(&["last"]).await.status, 202, "less waits again");
    // Without another kickoff: a run that is full starts the next.
    world.clock.pass(300 * SECOND).await;
    taken.extend(last);
    assert_eq!(world.accepted(&taken).await, taken.len());
    let submitted = world.platform.submitted.lock().unwrap().clone();
    assert!(submitted.values().all(|pages| pages.iter().map(Vec::len).sum::<usize>() <= PER_RUN));
    for run in submitted.keys() {
        assert_eq!(world.run(run).await.unwrap().phase, Phase::Ended);
    }
    engine.stop().await;
}
