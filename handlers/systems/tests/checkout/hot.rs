//! Everybody wants one product.

use crate::world::{World, order};
use quadrille::domain::checkout::{OrderStatus, PARTS_MAX};
use std::sync::atomic::Ordering;

/// So many orders for one product at once: the bytes of the largest item of its stock, the most writes that one item took, the
/// races that were lost, and the messages that were tried again.
async fn rush(orders: u64, stock: u64) -> (usize, usize, usize, u64) {
    let world = World::with(7, 4).opened();
    world.sells("lamp", "19.90", stock).await;
    for id in 0..orders {
        world.send(order(&format!("order-{id}"), "lamp", 1, "19.90")).await;
    }
    world.settle().await;
    let mut completed = 0;
    for id in 0..orders {
        let order = world.order(&format!("order-{id}")).await;
        completed += u64::from(order.order_status == OrderStatus::Completed);
    }
    assert_eq!(completed, orders.min(stock));
    world.adds_up().await;
    let written = world.products.written.lock().unwrap().clone();
    let parts = || written.iter().filter(|(key, _)| key.starts_with("stock/")).map(|(_, seen)| *seen);
    let (largest, most) = (parts().map(|(_, bytes)| bytes).max(), parts().map(|(count, _)| count).max());
    let retried = world.pipeline.counts()["validate_order"].retried;
    let races = world.products.races.load(Ordering::Relaxed);
    world.close().await;
    (largest.unwrap(), most.unwrap(), races, retried)
}

#[tokio::test]
async fn a_hot_product_makes_no_item_large_no_item_busy_and_no_storm_of_retries() {
    let (small, ..) = rush(100, 500).await;
    let (large, most, races, retried) = rush(500, 500).await;
    // Five times the orders, and items of one size.
    assert!(large < 8_192 && large < small * 2, "{small} and {large} bytes");
    // The writes are spread: an even share is a part's, and a bit.
    let share = 500 / PARTS_MAX as usize;
    assert!(most < share * 3, "{most} writes of one part, where {share} are its share");
    // A race that is lost is one more read and write, and a message is tried again for none.
    assert!(races < 500, "{races} races lost by 500 orders");
    assert_eq!(retried, 0);
}

#[tokio::test]
async fn a_hot_product_that_is_sold_out_is_not_written_any_more() {
    let (_, most, races, retried) = rush(500, 40).await;
    assert!(most <= 40, "{most} writes of one part with eight units");
    assert!(races < 200, "{races} races lost");
    assert_eq!(retried, 0);
}
