//! Many orders for little stock at once, their calls interleaved at random.

use crate::{
    bank::Does,
    world::{World, order},
};
use quadrille::{
    domain::checkout::{ErrorReason, OrderStatus},
    port::{Random as _, SeededRandom},
};

/// A day of a shop, as a seed says.
async fn plays(seed: u64) {
    let random = SeededRandom::new(seed);
    let world = World::with(seed, 1 + random.next_u64() % 6).opened();
    let stock = random.next_u64() % 60;
    world.sells("tea", "2.10", stock).await;
    world.sells("milk", "1", random.next_u64() % 20).await;
    if random.next_u64().is_multiple_of(2) {
        world.memory.deliver_twice();
    }
    world.bank.does(move |id, nth| {
        let number: u64 = id.parse().unwrap();
        match (number.wrapping_mul(seed | 1) >> 3) % 8 {
            0 => Does::Declines,
            1 => Does::ChargesUnheard,
            2 if nth == 0 => Does::IsOut,
            3 if nth == 0 => Does::Waits(std::time::Duration::from_millis(300)),
            4 if nth < 2 => Does::ChargesUnheard,
            _ => Does::Charges,
        }
    });
    let orders = 20 + random.next_u64() % 40;
    for id in 0..orders {
        let (product, price) =
            if random.next_u64().is_multiple_of(4) { ("milk", "1") } else { ("tea", "2.10") };
        let quantity = u32::try_from(1 + random.next_u64() % 4).unwrap();
        world.send(order(&id.to_string(), product, quantity, price)).await;
    }
    world.settle().await;
    world.adds_up().await;
    // Nobody goes without while there is enough: who comes last gets all that is left.
    let mut left = stock;
    for id in 0..orders {
        let order = world.order(&id.to_string()).await;
        if order.order_status == OrderStatus::Completed && order.items[0].product_id == "tea" {
            left -= u64::from(order.items[0].quantity);
        }
        assert_ne!(order.error_reason, Some(ErrorReason::ValidationUnavailable), "nobody lost every race");
    }
    world.bank.does(|_, _| Does::Charges);
    if left > 0 {
        world.send(order("1000", "tea", u32::try_from(left).unwrap(), "2.10")).await;
        world.settle().await;
        assert_eq!(world.order("1000").await.order_status, OrderStatus::Completed, "{left} are left");
    }
    world.send(order("1001", "tea", 1, "2.10")).await;
    world.settle().await;
    assert_eq!(world.order("1001").await.error_reason, Some(ErrorReason::OutOfStock));
    world.adds_up().await;
    world.close().await;
}

#[test]
fn orders_that_race_for_the_last_units_get_what_is_there_and_not_more() {
    for seed in 0..24 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A seed that fails is named.
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(plays(seed))));
        assert!(played.is_ok(), "seed {seed}");
    }
}
