//! Whatever call fails, and whether its effect was there or not: one end, one charge, and no unit lost.

use crate::{
    bank::Does,
    world::{World, order},
};
use quadrille::domain::checkout::OrderStatus;
use std::time::Duration;

/// A shop where one order of each kind is under way: paid, declined, charged and unheard, and beyond the stock.
async fn day(world: &World) {
    world.bank.does(|id, nth| match (id, nth) {
        ("pays", 0) => Does::Waits(Duration::from_secs(1)),
        ("declined", _) => Does::Declines,
        ("unheard", _) => Does::ChargesUnheard,
        _ => Does::Charges,
    });
    for (id, quantity) in [("pays", 9), ("declined", 5), ("unheard", 5), ("beyond", 21)] {
        world.send(order(id, "tea", quantity, "2.10")).await;
    }
    world.settle().await;
    // All that was given back is there again, and not more.
    world.send(order("last", "tea", 11, "2.10")).await;
    world.settle().await;
    world.send(order("none", "tea", 1, "2.10")).await;
    world.settle().await;
}

async fn shop() -> World {
    let world = World::open();
    world.sells("tea", "2.10", 20).await;
    world
}

#[tokio::test]
async fn a_call_that_fails_anywhere_leaves_one_end_one_charge_and_no_unit_lost() {
    let calls = {
        let world = shop().await;
        day(&world).await;
        world.adds_up().await;
        let calls = world.meddler.calls();
        world.close().await;
        calls
    };
    assert!(calls > 60, "{calls}");
    for call in 1..=calls {
        for is_made in [false, true] {
            let world = shop().await;
            world.meddler.fail(call, is_made);
            day(&world).await;
            world.adds_up().await;
            let last = world.order("last").await;
            let is_sold = last.order_status == OrderStatus::Completed;
            let pays = world.order("pays").await.order_status == OrderStatus::Completed;
            // Where the first one came to nothing by the failure, a unit is left for the one that came too late.
            assert!(is_sold, "call {call}, made: {is_made}: {last:?}");
            let none = world.order("none").await.order_status;
            assert_eq!(none == OrderStatus::Failed, pays, "call {call}, made: {is_made}");
            world.close().await;
        }
    }
}
