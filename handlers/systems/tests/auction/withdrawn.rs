//! An order is withdrawn before a run takes it, or not at all; and one that is withdrawn goes nowhere.

use crate::world::{Held, World};
use quadrille::{
    domain::auction::OrderStatus,
    engine::Engine,
    http::{Method, Request, Response},
    port::Clock as _,
};
use serde_json::Value;
use std::time::Duration;
use systems::auction::results::RESULTS_BUCKET;

const SECOND: Duration = Duration::from_secs(1);

async fn withdraw(world: &World, record_id: &str) -> (u16, Value) {
    let path = format!("/orders/{record_id}/withdrawal");
    let response: Response = world.pipeline.respond(Method::Post, &path, Request::default()).await.unwrap();
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

async fn filed(world: &World) -> usize {
    world.ports().bucket(RESULTS_BUCKET).unwrap().list("", None, 1_000).await.unwrap().keys.len()
}

#[tokio::test]
async fn an_order_that_no_run_has_is_withdrawn_once_and_goes_nowhere() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["kept", "unwanted"]).await;
    let (status, answer) = withdraw(&world, "unwanted").await;
    assert_eq!(
        (status, &answer["status"], &answer["outcome"]),
        (200, &"withdrawn".into(), &"withdrawn".into())
    );
    let (status, answer) = withdraw(&world, "unwanted").await;
    assert_eq!((status, &answer["outcome"]), (200, &"unchanged".into()), "a retry");
    // Posted again it is the same order still, and stays withdrawn.
    assert_eq!(world.send(&["unwanted"]).await.status, 202);
    let run = world.kick_off().await;
    world.clock.pass(10 * SECOND).await;
    let order = world.order("unwanted").await.unwrap();
    assert_eq!((order.status, order.run_id.as_deref()), (OrderStatus::Withdrawn, None));
    assert_eq!(world.order("kept").await.unwrap().status, OrderStatus::Accepted);
    assert_eq!((world.run(&run).await.unwrap().submitted, filed(&world).await), (1, 1));
    let whats: Vec<String> = order.trail().entries.iter().map(|entry| entry.what.to_string()).collect();
    assert_eq!(whats, ["received", "withdrawn"]);
    assert_eq!(withdraw(&world, "nobody").await.0, 404);
    engine.stop().await;
}

#[tokio::test]
async fn an_order_that_a_run_has_taken_or_decided_is_not_withdrawn() {
    let world = World::new(10 * SECOND);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["one"]).await;
    let run = world.kick_off().await;
    assert_eq!(world.order("one").await.unwrap().status, OrderStatus::Submitted);
    let (status, problem) = withdraw(&world, "one").await;
    assert_eq!((status, &problem["type"]), (409, &"/problems/taken_by_run".into()));
    assert_eq!(problem["run_id"], run.as_str());
    world.clock.pass(60 * SECOND).await;
    assert_eq!(world.order("one").await.unwrap().status, OrderStatus::Accepted);
    assert_eq!(withdraw(&world, "one").await.0, 409);
    assert_eq!((world.order("one").await.unwrap().status, filed(&world).await), (OrderStatus::Accepted, 1));
    engine.stop().await;
}

/// Of a run that has the order on its list and a withdrawal, the first commit wins.
#[tokio::test]
async fn an_order_that_is_withdrawn_while_a_run_is_about_to_take_it_is_not_taken() {
    for at in [Held::Before, Held::Behind] {
        let world = World::new(Duration::ZERO);
        let engine = Engine::start(world.pipeline.clone());
        world.post(&["kept", "unwanted"]).await;
        let run = world.clock.now().to_string();
        let held = world.table.hold(&format!("run-page/{run}/00000000"), "about to be taken", at);
        world.kick_off().await;
        assert_eq!(withdraw(&world, "unwanted").await.0, 200);
        held.notify_one();
        world.clock.pass(10 * SECOND).await;
        let order = world.order("unwanted").await.unwrap();
        assert_eq!((order.status, order.run_id.as_deref()), (OrderStatus::Withdrawn, None), "{at:?}");
        assert_eq!((world.run(&run).await.unwrap().submitted, filed(&world).await), (1, 1), "{at:?}");
        engine.stop().await;
    }
}
