//! Messages whose entity is gone: expired, deleted, never there, or another one by now.

use super::{scanning, support::*};
use quadrille::{Consumer, Context, Failure, Handled, Outcome, Stored, Timestamp, Verdict, memory::Memory};

/// Stops at the place and tells the parcel that it is loaded there.
async fn scan_and_load(
    mut parcel: Stored<Parcel>,
    event: Scanned,
    _: Context<(Loaded,)>,
) -> Outcome<(Loaded,)> {
    let loaded = Loaded::new(&event.parcel, &event.place);
    parcel.stops.push(event.place);
    Ok(parcel.commit("scanned").emit(loaded).into())
}

async fn load(parcel: Stored<Parcel>, event: Loaded, _: Context<()>) -> Outcome<()> {
    stop(parcel, &format!("a lorry in {}", event.place))
}

/// Parcels that are scanned, then loaded.
fn loading() -> World {
    let scan = Consumer::new("scan", scan_and_load);
    World::new(parcels::<(Scanned, Loaded)>().on(scan).on(Consumer::new("load", load)))
}

/// What `load` would be sent.
async fn emitted(world: &World) -> String {
    world.emitted().await.last().unwrap().to_string()
}

#[tokio::test]
async fn a_handler_that_needs_its_entity_is_not_called_without_it() {
    let calls = Log::default();
    let log = calls.clone();
    let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        log.push(());
        scan(parcel, event, cx)
    });
    world.tell("scan", Scanned::new("nobody", "oslo")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("entity_gone"));
    assert_eq!((calls.len(), world.total("scan-dlq").await), (0, 1));
    assert!(world.parcel("nobody").await.is_none());
}

#[tokio::test]
async fn a_handler_that_can_do_without_its_entity_is_told_that_there_is_none() {
    let world = scanning(|parcel: Option<Stored<Parcel>>, event: Scanned, _: Context<()>| async move {
        let parcel = parcel.unwrap_or_else(|| Stored::new(Parcel::new(&event.parcel)));
        stop::<()>(parcel, &event.place)
    });
    for place in ["oslo", "rome"] {
        world.tell("scan", Scanned::new("1", place)).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    }
    assert_eq!(world.trail("1").await, ["stopped at oslo", "stopped at rome"]);
}

#[tokio::test]
async fn an_event_reaches_the_entity_that_emitted_it() {
    let world = loading();
    world.post_for("1", 60).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    world.clock.advance(secs(59));
    world.send("load", emitted(&world).await).await;
    assert_eq!(world.deliver("load").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await, ["oslo", "a lorry in oslo"]);
}

#[tokio::test]
async fn an_event_told_to_another_entity_reaches_it_whenever_that_was_made() {
    let scan = |parcel: Stored<Parcel>, event: Scanned, _: Context<(Loaded,)>| async move {
        let other = Loaded::new("other", &event.place);
        Outcome::<(Loaded,)>::Ok(parcel.commit("scanned").emit(other).into())
    };
    let scan = Consumer::new("scan", scan);
    let world = World::new(parcels::<(Scanned, Loaded)>().on(scan).on(Consumer::new("load", load)));
    world.post(&["1"]).await;
    world.clock.advance(secs(60));
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    world.post(&["other"]).await;
    world.send("load", emitted(&world).await).await;
    assert_eq!(world.deliver("load").await, [Verdict::Done]);
    assert_eq!(world.stops("other").await, ["a lorry in oslo"]);
}

#[tokio::test]
async fn an_event_told_to_an_earlier_entity_of_the_same_id_is_not_applied_to_the_later_one() {
    let world = loading();
    world.post_for("1", 60).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    let told_to_the_first = emitted(&world).await;
    world.clock.advance(secs(60));
    world.post(&["1"]).await;
    world.send("load", told_to_the_first).await;
    assert_eq!(reason(&world.deliver("load").await[0]), Some("entity_gone"));
    // Not even its trail is touched: it has nothing to do with that dead letter.
    let later = world.parcel("1").await.unwrap();
    assert_eq!((later.version(), later.stops.len()), (1, 0));
    assert_eq!(world.trail("1").await, ["posted"]);
}

#[tokio::test]
async fn a_handler_that_can_do_without_its_entity_is_not_given_the_later_one_either() {
    let given = Log::default();
    let log = given.clone();
    let load = move |parcel: Option<Stored<Parcel>>, _: Loaded, _: Context<()>| {
        log.push(parcel.is_some());
        async { Ok::<_, Failure>(Handled::Done) }
    };
    let scan = Consumer::new("scan", scan_and_load);
    let world = World::new(parcels::<(Scanned, Loaded)>().on(scan).on(Consumer::new("load", load)));
    world.post_for("1", 60).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.deliver("scan").await;
    let told_to_the_first = emitted(&world).await;
    world.send("load", &told_to_the_first).await;
    world.deliver("load").await;
    world.clock.advance(secs(60));
    world.post(&["1"]).await;
    world.send("load", &told_to_the_first).await;
    world.deliver("load").await;
    assert_eq!(given.all(), [true, false]);
}

#[tokio::test]
async fn an_entity_that_has_expired_counts_as_gone_though_it_is_not_deleted_yet() {
    let world = scanning(scan);
    world.post_for("1", 60).await;
    let expires_at = world.parcel("1").await.unwrap().expires_at.unwrap();
    assert_eq!(expires_at, START + secs(60));
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.clock.advance_to(Timestamp::from_millis(expires_at.as_millis() - 1));
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    world.clock.advance_to(expires_at);
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("entity_gone"));
    // The table has it still, and leaves it as it was.
    assert_eq!(world.trail("1").await, ["posted", "stopped at oslo"]);
    world.clock.advance(Memory::EXPIRY_LAG);
    assert!(world.parcel("1").await.is_none());
    world.tell("scan", Scanned::new("1", "rome")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("entity_gone"));
}

#[tokio::test]
async fn a_handler_that_reads_others_does_not_see_the_expired_ones() {
    let seen = Log::default();
    let log = seen.clone();
    let world = scanning(move |_: Stored<Parcel>, _: Scanned, cx: Context<()>| {
        let log = log.clone();
        async move {
            let others = cx.get::<Parcel>(&["expired", "living", "nobody"]).await?;
            log.push(others.iter().map(Option::is_some).collect::<Vec<_>>());
            Ok::<_, Failure>(Handled::Done)
        }
    });
    world.post(&["1"]).await;
    world.post_for("expired", 60).await;
    world.post_for("living", 61).await;
    for _ in 0..2 {
        world.tell("scan", Scanned::new("1", "oslo")).await;
        assert_eq!(world.deliver("scan").await, [Verdict::Done]);
        world.clock.advance(secs(60));
    }
    assert_eq!(seen.all(), [[true, true, false], [false, true, false]]);
}
