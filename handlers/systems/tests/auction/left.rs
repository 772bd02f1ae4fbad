//! A run whose round is given up is left: the next run takes its orders at once, and each order has one end, whatever comes twice,
//! late or not at all.

use crate::world::{HOUR, Held, World};
use quadrille::{
    domain::auction::OrderStatus,
    engine::Engine,
    port::{Clock as _, NewMessage},
};
use std::{sync::atomic::Ordering, time::Duration};
use systems::auction::{
    DEADLINE,
    results::RESULTS_BUCKET,
    run::{LeaveRun, Phase, PollAuction, Run},
};

const SECOND: Duration = Duration::from_secs(1);
const POLL_DEAD: &str = "auction-poll-dlq";
const RESULTS_DEAD: &str = "auction-results-dlq";

impl World {
    /// Every order is accepted and filed, once, by this run; no run is left, and nothing is dead but rounds.
    async fn is_decided_by(&self, run: &str, ids: &[&str], case: &str) {
        for id in ids {
            let order = self.order(id).await.unwrap();
            assert_eq!(
                (order.status, order.run_id.as_deref()),
                (OrderStatus::Accepted, Some(run)),
                "{case}: {id}"
            );
            let decided = order.trail().entries.iter().filter(|entry| entry.what == "accepted").count();
            assert_eq!(decided, 1, "{case}: {id}");
        }
        let filed = self.ports().bucket(RESULTS_BUCKET).unwrap().list("", None, 1_000).await.unwrap().keys;
        assert_eq!(filed.len(), ids.len(), "{case}: {filed:?}");
        assert_eq!(self.dead(RESULTS_DEAD).await, 0, "{case}");
    }

    /// A run that the platform has refused, with the order `one`.
    async fn refused(&self) -> String {
        self.platform.refuses.store(true, Ordering::Relaxed);
        self.post(&["one"]).await;
        let run = self.kick_off().await;
        assert_eq!(self.dead(POLL_DEAD).await, 1);
        self.platform.refuses.store(false, Ordering::Relaxed);
        run
    }

    async fn redrive(&self) {
        let dead = self.ports().queue(POLL_DEAD).unwrap();
        for letter in dead.receive(10, Duration::ZERO, None).await.unwrap() {
            // As a redrive sends it back: with what stands beside it.
            let again =
                NewMessage { body: letter.body, attributes: letter.attributes, ..NewMessage::default() };
            let sent = self.ports().queue("auction-poll").unwrap().send(vec![again]).await;
            assert!(sent.iter().all(Result::is_ok), "{sent:?}");
            dead.delete(&[letter.receipt]).await.unwrap();
        }
        self.clock.pass(SECOND).await;
    }
}

#[tokio::test]
async fn the_next_kickoff_takes_the_orders_of_a_run_that_the_platform_was_away_for() {
    let world = World::with(Duration::ZERO, &[(DEADLINE, "1d")]);
    let engine = Engine::start(world.pipeline.clone());
    *world.platform.away_until.lock().unwrap() = world.clock.now() + 20 * HOUR;
    world.post(&["one", "two"]).await;
    let first = world.kick_off().await;
    world.clock.pass(4 * HOUR).await;
    assert_eq!(world.dead(POLL_DEAD).await, 1, "all attempts are used up, twenty hours before the deadline");
    let left = world.run(&first).await.unwrap();
    assert!(left.is_given_up && left.deadline > world.clock.now() + 19 * HOUR);
    *world.platform.away_until.lock().unwrap() = world.clock.now();
    world.post(&["three"]).await;
    let second = world.kick_off().await;
    world.clock.pass(SECOND).await;
    world.is_decided_by(&second, &["one", "two", "three"], "").await;
    assert_eq!(world.run(&first).await.unwrap().phase, Phase::Ended);
    engine.stop().await;
}

#[tokio::test]
async fn a_redrive_goes_on_with_a_run_that_nobody_has_taken_over_and_changes_nothing_of_another() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    let first = world.refused().await;
    world.redrive().await;
    world.is_decided_by(&first, &["one"], "redriven first").await;
    let run = world.run(&first).await.unwrap();
    assert_eq!((&run.phase, run.is_given_up), (&Phase::Ended, false));
    engine.stop().await;

    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    world.refused().await;
    // It decides nothing yet: the first run could come to its decision later than the second one has its order.
    *world.platform.away_until.lock().unwrap() = world.clock.now() + 60 * SECOND;
    let second = world.kick_off().await;
    world.redrive().await;
    assert_eq!(world.dead(POLL_DEAD).await, 0, "a round that is over is no fault");
    world.clock.pass(HOUR / 6).await;
    world.is_decided_by(&second, &["one"], "redriven late").await;
    engine.stop().await;

    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    world.refused().await;
    // It has begun to take over, and has no order yet.
    let taker = world.clock.now().to_string();
    let held = world.table.hold(&format!("run-page/{taker}/00000000"), "about to be taken", Held::Before);
    let second = world.kick_off().await;
    world.redrive().await;
    held.notify_one();
    world.clock.pass(SECOND).await;
    world.is_decided_by(&second, &["one"], "redriven meanwhile").await;
    engine.stop().await;
}

#[tokio::test]
async fn a_straggler_of_a_run_that_was_left_takes_no_order_along() {
    for at in [Held::Before, Held::Behind] {
        let world = World::new(Duration::ZERO);
        let engine = Engine::start(world.pipeline.clone());
        world.post(&["one", "two"]).await;
        let first = world.clock.now().to_string();
        // It is about to write down its page, or to take the orders on it, and is given up by another delivery.
        let straggler = world.table.hold(&format!("run-page/{first}/00000000"), "about to be taken", at);
        world.kick_off().await;
        world.memory.send(LeaveRun { run_id: first.clone(), round: 0 }).await.unwrap();
        world.clock.pass(SECOND).await;
        assert!(world.run(&first).await.unwrap().is_given_up);
        // The next run has found all that there is of it, and goes on once the straggler has done its worst.
        let taker = world.table.hold(&format!("run/{first}"), "went to run", Held::Before);
        let second = world.kick_off().await;
        straggler.notify_one();
        world.clock.pass(SECOND).await;
        taker.notify_one();
        world.clock.pass(10 * SECOND).await;
        world.is_decided_by(&second, &["one", "two"], &format!("{at:?}")).await;
        engine.stop().await;
    }
}

/// So many runs are live where the platform has been slow for long. Those that end first are looked at.
#[tokio::test]
async fn a_kickoff_looks_at_no_more_than_400_live_runs() {
    let world = World::new(Duration::ZERO);
    let engine = Engine::start(world.pipeline.clone());
    let left = world.refused().await;
    let like = world.run(&left).await.unwrap();
    for number in 0..450 {
        world.clock.pass(Duration::from_millis(1)).await;
        // None has a shard of the next one.
        let run_id = format!("{}~{}of1000", world.clock.now(), 2 * number + 1);
        let (started_at, deadline) = (world.clock.now(), world.clock.now() + HOUR);
        let run =
            Run { run_id, started_at, deadline, phase: Phase::Queued, is_given_up: false, ..(*like).clone() };
        world.memory.put(run).await.unwrap();
    }
    world.table.longest.lock().unwrap().clear();
    let second = format!("{}~0of2", world.clock.now());
    world.memory.send(PollAuction { run_id: second.clone(), round: 0 }).await.unwrap();
    world.clock.pass(60 * SECOND).await;
    world.is_decided_by(&second, &["one"], "").await;
    assert_eq!(world.table.longest.lock().unwrap()["live-runs"], 400);
    engine.stop().await;
}

/// A run is given up, and the next one takes its orders over with a new one.
async fn day(world: &World) -> String {
    world.platform.refuses.store(true, Ordering::Relaxed);
    while world.send(&["one", "two"]).await.status != 202 {}
    world.kick_off().await;
    world.clock.pass(HOUR / 12).await;
    world.platform.refuses.store(false, Ordering::Relaxed);
    while world.send(&["three"]).await.status != 202 {}
    let second = world.kick_off().await;
    world.clock.pass(HOUR / 12).await;
    second
}

#[tokio::test]
async fn whatever_comes_twice_or_fails_meanwhile_each_order_is_decided_once_by_the_next_run() {
    let ids = ["one", "two", "three"];
    let calls = {
        let world = World::new(Duration::ZERO);
        world.memory.deliver_twice();
        let engine = Engine::start(world.pipeline.clone());
        let second = day(&world).await;
        world.is_decided_by(&second, &ids, "twice").await;
        engine.stop().await;
        world.table.calls.load(Ordering::Relaxed)
    };
    assert!(calls > 30, "{calls}");
    for call in 1..=calls {
        for is_made in [false, true] {
            let world = World::new(Duration::ZERO);
            *world.table.fails.lock().unwrap() = Some((call, is_made));
            let engine = Engine::start(world.pipeline.clone());
            let second = day(&world).await;
            world.is_decided_by(&second, &ids, &format!("call {call}, made: {is_made}")).await;
            engine.stop().await;
        }
    }
}
