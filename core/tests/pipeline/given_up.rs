//! Giving up is a part of the flow: what follows a message that is given up, for whatever reason, and the ends that are no
//! fault.

use super::support::*;
use quadrille::{
    Consumer, Context, Definition, Failure, Outcome, RECEIVES_EXHAUSTED, Stored, Table, Verdict, Waits,
    port::PortError,
};
use std::time::Duration;

/// Makes good what was begun: the parcel stops at the place that is named after the failure.
async fn recover(parcel: Stored<Parcel>, event: Loaded, _: Context<()>) -> Outcome<()> {
    stop(parcel, &format!("back, {}", event.place))
}

/// `scan` gives a message up after 2 attempts, and `recover` is told of it.
fn recovering() -> Definition {
    let scan = Consumer::new("scan", scan)
        .attempts(2, Waits::from([secs(1)]))
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    parcels::<(Scanned,)>().on(scan).on(Consumer::new("recover", recover))
}

#[tokio::test]
async fn a_permanent_failure_is_followed_by_its_event_before_the_message_is_gone() {
    let world = World::new(recovering());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("burnt"));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
    assert_eq!(world.deliver("recover").await, [Verdict::Done]);
    assert_eq!(world.stops("1").await, ["back, burnt"]);
    assert_eq!(world.trail("1").await, ["posted", "dead-lettered: burnt", "stopped at back, burnt"]);
}

#[tokio::test]
async fn used_up_attempts_are_followed_once_and_no_sooner() {
    let world = World::new(recovering());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BUSY)).await;
    assert!(matches!(world.deliver("scan").await[..], [Verdict::Retry(after, _)] if after == secs(1)));
    assert_eq!(world.total("recover").await, 0);
    world.clock.advance(secs(1));
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("carrier_busy"));
    assert_eq!(world.total("recover").await, 1);
}

#[tokio::test]
async fn a_message_whose_process_died_on_each_attempt_is_followed_too_and_its_trail_tells() {
    let world = World::new(recovering());
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    // Received and never answered, as by a process that is killed, or one whose time is over.
    for _ in 0..2 {
        assert_eq!(world.receive("scan").await.len(), 1);
        world.clock.advance(secs(6 * 30));
    }
    let verdicts = world.deliver("scan").await;
    assert_eq!(reason(&verdicts[0]), Some(RECEIVES_EXHAUSTED));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
    assert_eq!(world.deliver("recover").await, [Verdict::Done]);
    let trail = world.trail("1").await;
    assert_eq!(trail[1], format!("dead-lettered: {RECEIVES_EXHAUSTED}"));
    assert_eq!(trail[2], format!("stopped at back, {RECEIVES_EXHAUSTED}"));
}

#[tokio::test]
async fn a_timeout_on_the_last_attempt_is_followed() {
    async fn hang(_: Stored<Parcel>, _: Scanned, _: Context<()>) -> Outcome<()> {
        std::future::pending().await
    }
    let scan = Consumer::new("scan", hang)
        .attempts(1, BACKOFF)
        .timeout(secs(5))
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    let world = World::new(parcels::<(Scanned,)>().on(scan).on(Consumer::new("recover", recover)));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let messages = world.receive("scan").await;
    let pipeline = world.pipeline();
    let (verdicts, ()) = tokio::join!(pipeline.deliver("scan", &messages), world.pass(secs(5)));
    assert_eq!(reason(&verdicts.unwrap()[0]), Some("timeout"));
    assert_eq!(world.deliver("recover").await, [Verdict::Done]);
}

#[tokio::test]
async fn a_message_whose_event_cannot_be_sent_stays_and_follows_later() {
    let mut world = World::new(recovering());
    let mut answers = 0;
    world.meddle_with_queue("recover", move |_| {
        answers += 1;
        (answers == 1).then(|| PortError::transient("recover", "no answer"))
    });
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    world.deliver("scan").await;
    // Neither gone nor dead-lettered: it comes again, and is given up again.
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (1, 0));
    world.clock.advance(secs(6 * 30));
    world.deliver("scan").await;
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 1));
    assert_eq!(world.total("recover").await, 1);
}

#[tokio::test]
async fn a_message_given_up_twice_is_followed_by_one_event_under_one_id() {
    let world = World::new(recovering());
    world.post(&["1"]).await;
    for _ in 0..2 {
        world.tell("scan", Scanned::new("1", BURNT)).await;
    }
    world.deliver("scan").await;
    let followed = world.lying_in("recover").await;
    let ids: Vec<serde_json::Value> = followed
        .iter()
        .map(|message| serde_json::from_str::<serde_json::Value>(&message.body).unwrap()["id"].clone())
        .collect();
    let given_up = [&envelope(Scanned::new("1", BURNT)).id, "/given-up/"].concat();
    assert!(ids[0].as_str().unwrap().starts_with(&given_up) && ids[0] == ids[1], "{ids:?}");
    world.deliver("recover").await;
    assert_eq!(world.stops("1").await, ["back, burnt"], "the second changes nothing");
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_lettered_and_followed_by_nothing() {
    let world = World::new(recovering());
    world.send("scan", "no event").await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("malformed"));
    assert_eq!((world.total("scan-dlq").await, world.total("recover").await), (1, 0));
}

#[tokio::test]
async fn an_end_that_is_business_is_done_is_followed_and_is_no_dead_letter() {
    let scan = Consumer::new("scan", scan)
        .attempts(2, BACKOFF)
        .business_ends(["burnt"])
        .on_given_up(|event: &Scanned, why: &Failure| Loaded::new(event.parcel.clone(), why.reason()));
    let world = World::new(parcels::<(Scanned,)>().on(scan).on(Consumer::new("recover", recover)));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BURNT)).await;
    let pipeline = world.pipeline();
    let messages = world.receive("scan").await;
    let verdicts = pipeline.deliver("scan", &messages).await.unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Ended(failure)] if failure.reason() == "burnt"));
    let counts = pipeline.counts()["scan"];
    assert_eq!((counts.ended, counts.dead_lettered, counts.done), (1, 0, 0));
    assert_eq!((world.total("scan").await, world.total("scan-dlq").await), (0, 0));
    assert_eq!(world.deliver("recover").await, [Verdict::Done]);
    assert_eq!(world.trail("1").await, ["posted", "ended: burnt", "stopped at back, burnt"]);
    // Any other failure is one.
    world.tell("scan", Scanned::new("1", BUSY)).await;
    world.deliver("scan").await;
    world.clock.advance(secs(60));
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("carrier_busy"));
}

#[tokio::test]
async fn a_trail_that_keeps_details_tells_input_output_and_time_of_each_step() {
    async fn slow(parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>) -> Outcome<(Loaded,)> {
        if event.place == BURNT {
            return Err(Failure::permanent("burnt", "nothing is left"));
        }
        let begun = cx.now();
        while cx.now() < begun + secs(2) {
            tokio::task::yield_now().await;
        }
        let loaded = Loaded::new(event.parcel.clone(), &event.place);
        Ok(parcel.commit("scanned").emit(loaded).into())
    }
    let definition = parcels_in::<(Scanned,)>(Table::new(PARCELS).keeps_details());
    let load = Consumer::new("load", idle::<Loaded>);
    let world = World::new(definition.on(Consumer::new("scan", slow)).on(load));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let messages = world.receive("scan").await;
    let pipeline = world.pipeline();
    let (verdicts, ()) = tokio::join!(pipeline.deliver("scan", &messages), world.pass(secs(2)));
    assert_eq!(verdicts.unwrap(), [Verdict::Done]);
    world.tell("scan", Scanned::new("1", BURNT)).await;
    world.deliver("scan").await;
    let details = world.details("1").await;
    let told: Vec<(u64, &str, &str)> = details
        .iter()
        .map(|details| (details.took_millis, details.input.as_str(), details.output.as_str()))
        .collect();
    let scanned = r#"[{"type":"parcel.loaded","data":{"parcel":"1","place":"oslo"}}]"#;
    assert_eq!(told[1], (2_000, r#"{"parcel":"1","place":"oslo"}"#, scanned), "{told:?}");
    assert_eq!((told[2].1, told[2].2), (format!(r#"{{"parcel":"1","place":"{BURNT}"}}"#).as_str(), ""));
}

#[tokio::test]
async fn listed_waits_are_kept_to_the_millisecond() {
    let scan = Consumer::new("scan", scan).attempts(4, Waits::from([2, 4, 8].map(Duration::from_secs)));
    let world = World::new(parcels::<(Scanned,)>().on(scan));
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", BUSY)).await;
    for expected in [2, 4, 8] {
        let verdicts = world.deliver("scan").await;
        assert!(
            matches!(verdicts[..], [Verdict::Retry(after, _)] if after == secs(expected)),
            "{verdicts:?}"
        );
        world.clock.advance(secs(expected));
    }
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("carrier_busy"));
}
