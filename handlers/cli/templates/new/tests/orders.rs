//! The flow in memory and on a virtual clock: hours pass in no time, and every run is the same.

use quadrille::{
    Stored, System, Timestamp,
    memory::{Memory, VirtualClock},
    port::SeededRandom,
};
use std::{error::Error, sync::Arc, time::Duration};

use tea_shop::{Order, OrderTaken, Shop, State};

#[tokio::test]
async fn an_order_is_served_unless_its_tea_is_sold_out() -> Result<(), Box<dyn Error>> {
    let shop = Shop.define().build()?;
    let clock = Arc::new(VirtualClock::new(Timestamp::parse("2026-11-20T16:00:00Z")?));
    let memory = Memory::new(shop.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
    memory.deliver_twice();
    let engine = memory.start(shop, &[("sold_out", "sencha")])?;

    for (id, tea) in [("1", "assam"), ("2", "sencha")] {
        let (id, tea, state) = (id.to_owned(), tea.to_owned(), State::Taken);
        let taken = OrderTaken { id: id.clone() };
        memory.put(Order { id, tea, state }).await?;
        memory.send(taken).await?;
    }
    clock.pass(Duration::from_secs(60)).await;

    let state = |order: Option<Stored<Order>>| order.map(|order| order.into_state().state);
    assert_eq!(state(memory.get("1").await?), Some(State::Served));
    assert_eq!(state(memory.get("2").await?), Some(State::Taken));
    let dead = memory.dead_letters::<OrderTaken>("brew").await?;
    let (event, letter) = dead.first().ok_or("no dead letter")?;
    assert_eq!((&*event.id, &*letter.reason), ("2", "sold_out"));
    engine.stop().await;
    Ok(())
}
