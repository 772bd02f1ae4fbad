//! Orders as they are processed: once, or given up after three attempts and replayed.

use crate::world::{ALL_ATTEMPTS, CUSTOMER, World, cancel, json_of};
use quadrille::{
    Failure,
    domain::snacks::OrderStatus,
    operator::{self, Act, Filter, Walk},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use systems::snacks::{ATTEMPTS, PROCESSOR, Snacks, kitchen::KITCHEN_BUSY, orders::OrderCreated};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn what_is_delivered_twice_is_processed_once() {
    let world = World::new();
    world.memory.deliver_twice();
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(world.create(&format!("order-{number}")).await);
    }
    world.pass(ALL_ATTEMPTS).await;
    for id in &ids {
        let order = world.order(id).await;
        assert_eq!((order.status, order.version()), (OrderStatus::Processed, 2));
        let at = order.processed_at.unwrap();
        assert_eq!((order.updated_at, order.created_at <= at), (Some(at), true));
    }
    assert_eq!(world.kitchen.made(), ids.iter().cloned().collect());
    let notified = world.notified.data();
    assert_eq!(notified.len(), 20, "each is notified once: {notified:?}");
    let told: Vec<String> =
        notified.iter().map(|data| data["orderId"].as_str().unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| told.contains(id)));
}

#[tokio::test]
async fn an_order_is_given_up_after_three_attempts_kept_for_14_days_and_replayed() {
    let world = World::new();
    let is_mended = Arc::new(AtomicBool::new(false));
    let kitchen = Arc::clone(&is_mended);
    world.meanwhile(move |_, _| {
        let is_mended = kitchen.load(Ordering::SeqCst);
        async move { if is_mended { Ok(()) } else { Err(Failure::transient(KITCHEN_BUSY, "no hand free")) } }
    });
    let id = world.create("a").await;
    world.pass(ALL_ATTEMPTS).await;
    assert_eq!(world.kitchen.asked.lock().unwrap().len(), 3, "two retries");
    let dead = world.memory.dead_letters::<OrderCreated>(PROCESSOR).await.unwrap();
    let (event, letter) = &dead[0];
    assert_eq!(
        (event.order_id.as_str(), letter.reason.as_str(), letter.attempts),
        (id.as_str(), KITCHEN_BUSY, ATTEMPTS)
    );
    let order = world.order(&id).await;
    assert_eq!(order.status, OrderStatus::New);
    let last = order.trail().entries.last().unwrap().clone();
    assert_eq!((&*last.what, last.attempt), ("dead-lettered: kitchen_busy", 3));
    assert!(world.notified.all().is_empty());

    // Nobody looks for nearly two weeks.
    world.pass(13 * DAY).await;
    let redrive = async || {
        let (queue, filter) = ("order-processor-dlq".to_owned(), Filter::default());
        let asked = Walk { queue, filter, limit: 10, after: 0 };
        operator::walk(&world.pipeline, &asked, Act::Redrive).await.unwrap().moved
    };
    assert_eq!(redrive().await, 1);
    world.pass(ALL_ATTEMPTS).await;
    assert_eq!(
        world.memory.dead_letters::<OrderCreated>(PROCESSOR).await.unwrap().len(),
        1,
        "it failed again"
    );

    is_mended.store(true, Ordering::SeqCst);
    assert_eq!(redrive().await, 1);
    world.pass(ALL_ATTEMPTS).await;
    assert_eq!(world.order(&id).await.status, OrderStatus::Processed);
    assert_eq!((world.kitchen.made().len(), world.notified.all().len()), (1, 1));
    assert!(world.memory.dead_letters::<OrderCreated>(PROCESSOR).await.unwrap().is_empty());
}

#[test]
fn dead_letters_are_kept_for_14_days() {
    let snacks = quadrille::system::choreography(&Snacks).unwrap();
    let queue = |name: &str| snacks.model().queues.iter().find(|queue| queue.name == name).unwrap();
    assert_eq!(queue("order-processor-dlq").retention, 14 * DAY);
    let redrive = queue(PROCESSOR).redrive.as_ref().unwrap();
    assert_eq!(redrive.dead_letter_queue, "order-processor-dlq");
}

#[tokio::test]
async fn nobody_outside_is_told_who_ordered() {
    let world = World::new();
    // Made, cancelled, given up, and refused: all that can be told of an order.
    world.meanwhile(|order, _| async move {
        let fails = order == quadrille::domain::snacks::order_id("dead");
        if fails { Err(Failure::transient(KITCHEN_BUSY, "no hand free")) } else { Ok(()) }
    });
    let (made, dead) = (world.create("made").await, world.create("dead").await);
    let gone = world.create("gone").await;
    assert_eq!(cancel(&world.pipeline, &gone).await.status, 200);
    world.pass(ALL_ATTEMPTS).await;

    assert_eq!(world.order(&made).await.customer_name, CUSTOMER, "the table alone has the name");
    let page = operator::dead_letters(&world.pipeline, "order-processor-dlq", &Filter::default(), 0, 10)
        .await
        .unwrap();
    assert_eq!(
        page.letters.iter().filter_map(|listed| listed.letter.subject.as_deref()).collect::<Vec<_>>(),
        [dead]
    );
    let letters = page.letters.iter().map(|listed| listed.body.to_string());
    let told: Vec<String> = [world.on_bus.all(), world.notified.all(), letters.collect()].concat();
    assert_eq!(told.len(), 5, "{told:#?}");
    for text in told {
        assert!(CUSTOMER.split(' ').all(|name| !text.contains(name)), "{text}");
    }
    assert_eq!(world.notified.data(), [json!({"orderId": made, "processedAt": "2026-11-29T12:00:00.000Z"})]);
    let answer = cancel(&world.pipeline, &made).await;
    assert_eq!((answer.status, &json_of(&answer)["type"]), (409, &json!("/problems/already_processed")));
}
