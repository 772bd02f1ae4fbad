//! The auction in a time that passes by hand: how long orders are kept, and in which order runs take them.

use crate::world::{HOUR, World};
use quadrille::{
    domain::auction::{OrderStatus, record_of_result},
    engine::{Engine, trigger},
    port::{Clock as _, Damage},
};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};
use systems::auction::{
    ALERTS, KICKOFF, OPEN_SHARDS, RESULT_PREFIXES, RUN_PARTS,
    results::RESULTS_BUCKET,
    run::{ORDERS_PER_PAGE, Phase},
};

#[tokio::test]
async fn an_order_does_not_expire_while_runs_try_to_have_it_decided() {
    // The first run gives up before, the second one learns the decision a quarter of an hour after the 24 h.
    let world = World::new(24 * HOUR + HOUR / 4);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["late"]).await;
    world.clock.pass(22 * HOUR + HOUR / 2).await;
    world.kick_off().await;
    world.clock.pass(HOUR + HOUR / 4).await;
    assert_eq!(
        world.order("late").await.unwrap().status,
        OrderStatus::Submitted,
        "the run is past its deadline"
    );
    world.kick_off().await;
    world.clock.pass(HOUR).await;
    let order = world.order("late").await.unwrap();
    assert_eq!(order.status, OrderStatus::Accepted);
    let filed = world.ports().bucket(RESULTS_BUCKET).unwrap().list("", None, 10).await.unwrap().keys;
    assert_eq!(filed, [order.result_key.clone().unwrap()]);
    engine.stop().await;
}

#[tokio::test]
async fn a_platform_that_is_away_for_most_of_a_run_costs_nothing() {
    let world = World::new(Duration::ZERO);
    *world.platform.away_until.lock().unwrap() = world.clock.now() + 50 * HOUR / 60;
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["patient"]).await;
    world.kick_off().await;
    world.clock.pass(49 * HOUR / 60).await;
    assert_eq!(world.order("patient").await.unwrap().status, OrderStatus::Submitted);
    // The next attempt is five minutes away at most.
    world.clock.pass(7 * HOUR / 60).await;
    assert_eq!(world.order("patient").await.unwrap().status, OrderStatus::Accepted);
    let submitted = world.platform.submitted.lock().unwrap().len();
    assert_eq!(submitted, 1, "the run that began ended, and no other took its orders");
    let dead = world.ports().queue("auction-poll-dlq").unwrap().depth().await.unwrap();
    assert_eq!(dead.total(), 0);
    engine.stop().await;
}

#[tokio::test]
async fn a_platform_that_tells_in_circles_is_left_long_before_the_deadline() {
    let world = World::new(Duration::ZERO);
    world.platform.circles.store(true, Ordering::Relaxed);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["one", "two"]).await;
    world.kick_off().await;
    world.clock.pass(HOUR / 60).await;
    let (one, two) = (world.order("one").await.unwrap(), world.order("two").await.unwrap());
    let decided = [&one, &two].into_iter().filter(|order| order.status == OrderStatus::Accepted).count();
    let undecidable = [&one, &two].into_iter().filter_map(|order| order.undecidable.as_deref());
    assert_eq!((decided, undecidable.collect::<Vec<_>>()), (1, vec!["decision_missing"]));
    assert!(world.platform.asked.load(Ordering::Relaxed) < 1_100);
    engine.stop().await;
}

#[tokio::test]
async fn a_page_that_the_platform_asks_to_wait_for_is_waited_for() {
    let world = World::new(Duration::ZERO);
    *world.platform.rests.lock().unwrap() = Some(HOUR / 6);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["one", "two"]).await;
    world.kick_off().await;
    let accepted = async || {
        let orders = [world.order("one").await.unwrap(), world.order("two").await.unwrap()];
        orders.iter().filter(|order| order.status == OrderStatus::Accepted).count()
    };
    world.clock.pass(HOUR / 6 - Duration::from_secs(2)).await;
    assert_eq!((accepted().await, world.platform.asked.load(Ordering::Relaxed)), (1, 2));
    world.clock.pass(Duration::from_secs(2)).await;
    assert_eq!((accepted().await, world.platform.asked.load(Ordering::Relaxed)), (2, 3));
    engine.stop().await;
}

#[tokio::test]
async fn an_order_that_is_decided_in_time_is_kept_for_24_hours_and_no_longer() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["early"]).await;
    world.kick_off().await;
    let order = world.order("early").await.unwrap();
    assert_eq!(order.status, OrderStatus::Accepted);
    assert_eq!(order.expires_at, order.received_at + 24 * HOUR);
    assert!(world.ports().topics.contains_key(ALERTS));
    world.clock.pass(24 * HOUR).await;
    assert!(world.order("early").await.is_none());
    engine.stop().await;
}

/// Ids of that many orders, posted some at a time, a millisecond apart.
async fn post_many(world: &World, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|number| format!("order-{number:04}")).collect();
    for batch in ids.chunks(7) {
        world.post(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.clock.advance_to(world.clock.now() + Duration::from_millis(1));
    }
    ids
}

#[tokio::test]
async fn a_run_takes_orders_in_the_order_they_came_in_whatever_shard_they_fall_on() {
    for shards in ["1", "8", "64", "1000"] {
        let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, shards)]);
        let engine = Engine::start(world.pipeline.clone());
        let ids = post_many(&world, 2_000).await;
        world.kick_off().await;
        let submitted = world.platform.submitted.lock().unwrap().clone();
        let pages: Vec<Vec<String>> = submitted.into_values().flatten().collect();
        assert_eq!(pages.concat(), ids);
        // The shards are as full as chance makes them, and pages are full all the same.
        let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [ORDERS_PER_PAGE, ORDERS_PER_PAGE, 2_000 - 2 * ORDERS_PER_PAGE], "{shards} shards");
        engine.stop().await;
    }
}

#[tokio::test]
async fn orders_are_found_where_they_are_when_the_number_of_shards_has_grown() {
    let mut world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "8")]);
    let mut ids = post_many(&world, 100).await;
    world.set(&[(OPEN_SHARDS, "64")]);
    world.post(&["later-1", "later-2", "later-3"]).await;
    ids.extend(["later-1", "later-2", "later-3"].map(str::to_owned));
    // However few there are said to be, those of an older version are found.
    world.set(&[(OPEN_SHARDS, "64"), (RUN_PARTS, "3")]);
    let engine = Engine::start(world.pipeline.clone());
    world.kick_off().await;
    for id in &ids {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn what_was_spread_over_eight_partitions_is_found_whatever_the_setting_says() {
    let mut world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "8")]);
    let ids = post_many(&world, 100).await;
    world.set(&[(OPEN_SHARDS, "1")]);
    let engine = Engine::start(world.pipeline.clone());
    world.kick_off().await;
    for id in &ids {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_kickoff_that_is_divided_takes_each_order_once_and_every_part_ends() {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64"), (RUN_PARTS, "5")]);
    let engine = Engine::start(world.pipeline.clone());
    let mut ids = post_many(&world, 2_000).await;
    let at = world.clock.now();
    world.kick_off().await;
    // A kickoff that comes twice is the same runs.
    trigger(&world.pipeline, KICKOFF, at).await.unwrap();
    world.clock.pass(Duration::from_secs(1)).await;
    let submitted = world.platform.submitted.lock().unwrap().clone();
    let runs: Vec<String> = (0..5).map(|part| format!("{at}~{part}of5")).collect();
    assert_eq!(submitted.keys().cloned().collect::<Vec<_>>(), runs);
    let mut taken: Vec<String> = submitted.into_values().flatten().flatten().collect();
    taken.sort();
    ids.sort();
    assert_eq!(taken, ids);
    for run in runs.iter().chain([&at.to_string()]) {
        assert_eq!(world.run(run).await.unwrap().phase, Phase::Ended, "{run}");
    }
    for id in &ids {
        assert!(world.order(id).await.unwrap().result_key.is_some(), "{id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn parts_that_passed_their_deadline_are_taken_over_also_by_fewer_of_them() {
    for later in ["5", "2", "1"] {
        let mut world = World::with(2 * HOUR, &[(OPEN_SHARDS, "64"), (RUN_PARTS, "5")]);
        let engine = Engine::start(world.pipeline.clone());
        let ids = post_many(&world, 100).await;
        world.kick_off().await;
        world.clock.pass(HOUR + HOUR / 4).await;
        engine.stop().await;
        world.set(&[(OPEN_SHARDS, "64"), (RUN_PARTS, later)]);
        let engine = Engine::start(world.pipeline.clone());
        world.kick_off().await;
        world.clock.pass(HOUR).await;
        for id in &ids {
            assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}, {later} parts");
        }
        engine.stop().await;
    }
}

#[tokio::test]
async fn results_are_filed_under_as_many_prefixes_as_are_set_and_each_order_names_its_own() {
    let world = World::with(Duration::ZERO, &[(RESULT_PREFIXES, "16")]);
    let engine = Engine::start(world.pipeline.clone());
    let ids = post_many(&world, 200).await;
    world.kick_off().await;
    let mut prefixes = BTreeSet::new();
    for id in &ids {
        let key = world.order(id).await.unwrap().result_key.clone().unwrap();
        assert!(world.ports().bucket(RESULTS_BUCKET).unwrap().get(&key).await.unwrap().is_some(), "{key}");
        assert_eq!(record_of_result(&key).as_deref(), Some(id.as_str()));
        prefixes.insert(key.split('/').nth(1).unwrap().to_owned());
    }
    assert_eq!(prefixes.len(), 16);
    engine.stop().await;
}

/// The run tells of it, and no dead letter comes with each run.
#[tokio::test]
async fn of_twenty_orders_one_that_can_not_be_read_is_left_and_the_others_are_decided() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    let ids: Vec<String> = (0..20).map(|number| format!("o-{number:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.post(&ids).await;
    assert!(world.memory.damage(Damage::Item { table: "orders", key: "order/o-07" }));
    let begun = world.clock.now();
    for _ in 0..2 {
        world.kick_off().await;
        world.clock.pass(HOUR).await;
    }
    for id in ids.iter().filter(|id| **id != "o-07") {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    let run = [format!("run/{begun}")];
    let run = world.ports().table("orders").unwrap().get(&run).await.unwrap().pop().flatten().unwrap();
    let run = run.document.text().unwrap().to_owned();
    assert!(
        run.contains("ended: 19 submitted, 19 accepted") && run.contains("1 open ones can't be read"),
        "{run}"
    );
    for queue in ["auction-poll-dlq", "auction-results-dlq"] {
        assert_eq!(world.ports().queue(queue).unwrap().depth().await.unwrap().total(), 0, "{queue}");
    }
    engine.stop().await;
}

/// What is known of a run by the index alone is enough to take its orders over.
#[tokio::test]
async fn a_run_that_can_not_be_read_is_taken_over_once_its_deadline_has_passed() {
    let world = World::new(Duration::from_secs(60));
    let engine = Engine::start(world.pipeline.clone());
    world.post(&["a", "b"]).await;
    let begun = world.clock.now();
    world.kick_off().await;
    assert_eq!(world.order("a").await.unwrap().status, OrderStatus::Submitted);
    assert!(world.memory.damage(Damage::Item { table: "orders", key: &format!("run/{begun}") }));
    world.clock.pass(2 * HOUR).await;
    world.post(&["c"]).await;
    world.kick_off().await;
    world.clock.pass(HOUR).await;
    for id in ["a", "b", "c"] {
        assert_eq!(world.order(id).await.unwrap().status, OrderStatus::Accepted, "{id}");
    }
    engine.stop().await;
}
