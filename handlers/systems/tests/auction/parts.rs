//! A kickoff that is divided: what holds of a run holds of each of its parts.

use crate::world::{HOUR, World};
use quadrille::{
    Entity as _,
    choreography::BACKLOG_MAX,
    domain::auction::OrderStatus,
    engine::Engine,
    port::{Clock as _, Damage},
};
use std::{borrow::Cow, collections::BTreeSet, sync::atomic::Ordering, time::Duration};
use systems::auction::{
    OPEN_SHARDS, ORDERS_PER_RUN, RUN_PARTS,
    run::{Phase, PollAuction},
};

const SECOND: Duration = Duration::from_secs(1);
const POLL_DEAD: &str = "auction-poll-dlq";

impl World {
    async fn post_many(&self, count: usize) -> Vec<String> {
        let ids: Vec<String> = (0..count).map(|number| format!("order-{number:05}")).collect();
        for batch in ids.chunks(100) {
            self.post(&batch.iter().map(String::as_str).collect::<Vec<_>>()).await;
            self.clock.advance_to(self.clock.now() + Duration::from_millis(1));
        }
        ids
    }

    /// Every order is accepted, by one run, and the runs that had orders have ended.
    async fn all_are_decided(&self, ids: &[String], case: &str) {
        for id in ids {
            let order = self.order(id).await.unwrap();
            assert_eq!(order.status, OrderStatus::Accepted, "{case}: {id}");
            let decided = order.trail().entries.iter().filter(|entry| entry.what == "accepted").count();
            assert_eq!(decided, 1, "{case}: {id}");
        }
    }
}

#[tokio::test]
async fn a_part_that_is_full_kicks_off_the_next_run_of_its_own_part() {
    let said = [(OPEN_SHARDS, "64"), (RUN_PARTS, "4"), (ORDERS_PER_RUN, "10")];
    let world = World::with(Duration::ZERO, &said);
    let engine = Engine::start(world.pipeline.clone());
    let ids = world.post_many(200).await;
    world.kick_off().await;
    world.clock.pass(60 * SECOND).await;
    world.all_are_decided(&ids, "without another kickoff").await;
    let submitted = world.platform.submitted.lock().unwrap().clone();
    let mut parts = BTreeSet::new();
    for (run, pages) in &submitted {
        let orders: usize = pages.iter().map(Vec::len).sum();
        assert!(orders <= 10, "{run}: {orders}");
        assert_eq!(world.run(run).await.unwrap().phase, Phase::Ended, "{run}");
        parts.insert(run.split_once('~').expect("a part, and no whole run").1.to_owned());
    }
    assert_eq!(parts, (0..4).map(|part| format!("{part}of4")).collect());
    let orders: usize = submitted.values().flatten().map(Vec::len).sum();
    assert_eq!(orders, 200, "each was handed over once");
    let items = world.ports().table("orders").unwrap().scan(None, 1_000).await.unwrap().items;
    let whole = items.iter().filter(|item| item.key.starts_with("run/") && !item.key.contains('~'));
    assert_eq!(whole.count(), 1, "no further kickoff was divided");
    engine.stop().await;
}

/// Kickoffs of unlike parts come together where the setting is changed while runs are under way.
#[tokio::test]
async fn a_kickoff_is_dropped_only_for_one_of_the_same_part() {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64")]);
    let engine = Engine::start(world.pipeline.clone());
    let ids = world.post_many(200).await;
    *world.platform.takes.lock().unwrap() = 60 * SECOND;
    let mut runs = Vec::new();
    for part in ["0of4", "0of4", "0of2", "0of4", "0of2", "1of4"] {
        runs.push(format!("{}~{part}", world.clock.now()));
        let kickoff = PollAuction { run_id: runs.last().unwrap().clone(), round: 0 };
        world.memory.send(kickoff).await.unwrap();
        world.clock.pass(SECOND).await;
    }
    let mut phases = Vec::new();
    for run in &runs {
        phases.push(world.run(run).await.and_then(|run| run.status().map(Cow::into_owned)));
    }
    // The others of the part find one that is queued and takes theirs along. A part that meets no other begins at once.
    let phases: Vec<Option<&str>> = phases.iter().map(Option::as_deref).collect();
    let (gathers, queued) = (Some("gathering"), Some("queued"));
    assert_eq!(phases, [gathers, queued, queued, None, None, gathers]);
    *world.platform.takes.lock().unwrap() = Duration::ZERO;
    world.clock.pass(180 * SECOND).await;
    let taken = |run: &str| {
        let submitted = world.platform.submitted.lock().unwrap();
        submitted.get(run).map_or(0, |pages| pages.iter().map(Vec::len).sum::<usize>())
    };
    assert!(taken(&runs[0]) > 0 && taken(&runs[2]) > 0 && taken(&runs[5]) > 0, "{runs:?}");
    let last = world.kick_off().await;
    world.clock.pass(60 * SECOND).await;
    world.all_are_decided(&ids, "").await;
    assert_eq!(runs.iter().chain([&last]).map(|run| taken(run)).sum::<usize>(), 200);
    engine.stop().await;
}

#[tokio::test]
async fn parts_that_were_given_up_are_taken_over_at_the_next_kickoff_by_one_part_each() {
    for later in ["4", "3", "1"] {
        let mut world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64"), (RUN_PARTS, "4")]);
        let engine = Engine::start(world.pipeline.clone());
        let ids = world.post_many(100).await;
        world.platform.refuses.store(true, Ordering::Relaxed);
        let first = world.kick_off().await;
        assert_eq!(world.dead(POLL_DEAD).await, 4);
        world.platform.refuses.store(false, Ordering::Relaxed);
        engine.stop().await;
        world.set(&[(OPEN_SHARDS, "64"), (RUN_PARTS, later)]);
        let engine = Engine::start(world.pipeline.clone());
        world.kick_off().await;
        world.clock.pass(60 * SECOND).await;
        world.all_are_decided(&ids, &format!("{later} parts")).await;
        for part in 0..4 {
            let run = format!("{first}~{part}of4");
            assert_eq!(world.run(&run).await.unwrap().phase, Phase::Ended, "{later} parts: {run}");
        }
        engine.stop().await;
    }
}

#[tokio::test]
async fn a_part_that_can_not_be_read_is_taken_over_once_its_deadline_has_passed() {
    let said = [(OPEN_SHARDS, "64"), (RUN_PARTS, "4")];
    let world = World::with(60 * SECOND, &said);
    let engine = Engine::start(world.pipeline.clone());
    let ids = world.post_many(100).await;
    let begun = world.kick_off().await;
    for part in [1, 3] {
        let key = format!("run/{begun}~{part}of4");
        assert!(world.memory.damage(Damage::Item { table: "orders", key: &key }));
    }
    world.clock.pass(2 * HOUR).await;
    world.kick_off().await;
    world.clock.pass(HOUR).await;
    world.all_are_decided(&ids, "").await;
    engine.stop().await;
}

#[tokio::test]
async fn of_orders_over_many_pages_each_that_can_not_be_read_is_counted_once() {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64")]);
    let engine = Engine::start(world.pipeline.clone());
    // More than a round takes.
    let ids = world.post_many(3_500).await;
    let (unreadable, readable): (Vec<_>, Vec<_>) =
        ids.into_iter().enumerate().partition(|(number, _)| number % 7 == 3);
    for (_, id) in &unreadable {
        assert!(world.memory.damage(Damage::Item { table: "orders", key: &format!("order/{id}") }));
    }
    let run = world.kick_off().await;
    world.clock.pass(60 * SECOND).await;
    let run = world.run(&run).await.unwrap();
    assert_eq!((&run.phase, run.submitted, run.unreadable), (&Phase::Ended, 3_000, 500));
    world.all_are_decided(&readable.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), "").await;
    engine.stop().await;
}

#[tokio::test]
async fn open_orders_of_all_shards_count_as_waiting() {
    let world = World::with(Duration::ZERO, &[(OPEN_SHARDS, "64"), (BACKLOG_MAX, "90")]);
    let engine = Engine::start(world.pipeline.clone());
    world.post_many(100).await;
    world.clock.pass(2 * SECOND).await;
    assert_eq!(world.send(&["more"]).await.status, 503);
    engine.stop().await;
}
