//! The relay over the in-memory adapter: what commits emit reaches its queues and topics, whatever fails on the way. An
//! engine runs it; the handlers remember what reached them.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Budget, Choreography, Consumer, Context, DeadLetter, Definition, Event, Failure, Handled, Outcome, Route,
    Stored, Table, Timestamp, Uses, Verdict,
    choreography::{Match, Rule},
    engine::Engine,
    http::{Method, Request, Response},
    limits::{NOTIFICATION_BYTES_MAX, QUEUE_DELAY_MAX},
    port::{Clock as _, NewMessage, PortError},
};
use std::{sync::Arc, time::Duration};
use support::*;

/// What reached a handler: which handler, when, and the place of the event.
type Reached = Log<(&'static str, Timestamp, String)>;

/// A handler that remembers what it was told.
fn remembering<Ev: Event>(
    name: &'static str,
    reached: &Reached,
    place: fn(&Ev) -> &str,
) -> impl Fn(Ev, Context<()>) -> std::future::Ready<Outcome<()>> + Send + Sync + 'static {
    let reached = reached.clone();
    move |event, cx| {
        reached.push((name, cx.now(), place(&event).to_owned()));
        std::future::ready(Ok(Handled::Done))
    }
}

fn scanned(name: &'static str, reached: &Reached) -> Consumer {
    Consumer::new(name, remembering(name, reached, |event: &Scanned| &event.place))
}

fn loaded(name: &'static str, reached: &Reached) -> Consumer {
    Consumer::new(name, remembering(name, reached, |event: &Loaded| &event.place))
}

/// `POST /parcels/{id}` with places in the query, `oslo,rome+60`: one commit for each, which has the parcel scanned and
/// loaded there, so many seconds later.
async fn travel(request: Request, cx: Context<(Scanned, Loaded)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    for place in request.query.split(',') {
        let (place, after) = place.split_once('+').unwrap_or((place, "0"));
        let after = secs(after.parse().unwrap());
        let known = cx.get::<Parcel>(&[id]).await?.remove(0);
        let parcel = known.unwrap_or_else(|| Stored::new(Parcel::new(id)));
        let commit = parcel.commit("on its way");
        // The item holds both of them, and is not to be larger than a table takes.
        let (scanned, loaded) = (Scanned::new(id, &place[..place.len().min(8)]), Loaded::new(id, place));
        let commit = if after.is_zero() {
            commit.emit(scanned).emit(loaded)
        } else {
            commit.emit_after(after, scanned).emit_after(after, loaded)
        };
        cx.commit_all(vec![commit]).await?;
    }
    Ok(Response::json(202, &()))
}

fn travelling() -> Definition {
    let uses = Uses::new().gets::<Parcel>().commits::<Parcel>();
    let uses = uses.emits_later::<Scanned>().emits_later::<Loaded>();
    Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .topic("news")
        .route(Route::post("/parcels/{id}", "travel", travel).uses(uses))
}

async fn post(world: &World, id: &str, places: &str) {
    let request = Request { query: places.to_owned(), ..Request::default() };
    let path = format!("/parcels/{id}");
    let response = world.pipeline().respond(Method::Post, &path, request).await.unwrap();
    assert_eq!(response.status, 202);
}

/// What reached whom, sorted.
fn sorted(reached: &Reached) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = reached.all().into_iter().map(|(name, _, place)| (name, place)).collect();
    all.sort();
    all
}

/// The places that a queue was sent, in their order.
fn places(queue: &MeddledQueue) -> Vec<String> {
    let place = |message: NewMessage| {
        let event: serde_json::Value = serde_json::from_str(&message.body).unwrap();
        event["data"]["place"].as_str().unwrap().to_owned()
    };
    queue.taken.all().into_iter().map(place).collect()
}

#[tokio::test]
async fn every_consumer_and_every_subscriber_of_an_event_gets_it_once() {
    let reached = Reached::default();
    let definition = travelling()
        .on(scanned("scan", &reached))
        .on(scanned("count", &reached))
        .on(loaded("load", &reached))
        .on(loaded("tell-sender", &reached).from_topic("news"))
        .on(loaded("tell-receiver", &reached).from_topic("news"));
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo,rome").await;
    world.pass(secs(60)).await;
    let expected: Vec<(&str, String)> = ["count", "load", "scan", "tell-receiver", "tell-sender"]
        .into_iter()
        .flat_map(|name| ["oslo", "rome"].map(|place| (name, place.to_owned())))
        .collect();
    assert_eq!(sorted(&reached), expected);
    assert!(reached.all().iter().all(|(_, at, _)| *at == START), "nobody waited for anything");
    assert_eq!(world.emitted().await.len(), 0, "all of it is checkpointed");
    engine.stop().await;
}

/// SQS and SNS refuse two characters that JSON need not escape: an event that holds them is sent all the same.
#[tokio::test]
async fn an_event_is_sent_in_characters_that_every_queue_takes() {
    let reached = Reached::default();
    let mut world = World::new(travelling().on(scanned("scan", &reached)).on(loaded("load", &reached)));
    let queue = world.meddle_with_queue("load", |_| None);
    let engine = Engine::start(world.pipeline());
    let place = "\u{ffff}\u{fffe}é";
    post(&world, "1", place).await;
    world.pass(secs(60)).await;
    assert_eq!(sorted(&reached), [("load", place.to_owned()), ("scan", place.to_owned())]);
    let bodies: Vec<String> = queue.taken.all().into_iter().map(|message| message.body).collect();
    assert!(bodies.iter().all(|body| body.contains(r"\uffff\ufffeé")), "{bodies:?}");
    engine.stop().await;
}

#[tokio::test]
async fn a_queue_holds_a_delayed_event_back_and_a_subscriber_waits_by_itself() {
    let reached = Reached::default();
    let definition =
        travelling().on(scanned("scan", &reached)).on(loaded("tell", &reached).from_topic("news"));
    let mut world = World::new(definition);
    let (queue, subscription) =
        (world.meddle_with_queue("scan", |_| None), world.meddle_with_queue("tell", |_| None));
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo+60,rome+2000").await;
    world.pass(secs(3_600)).await;
    let at = |after| START + secs(after);
    let mut all = reached.all();
    all.sort();
    let expected = [
        ("scan", at(60), "oslo".to_owned()),
        ("scan", at(2_000), "rome".to_owned()),
        ("tell", at(60), "oslo".to_owned()),
        ("tell", at(2_000), "rome".to_owned()),
    ];
    assert_eq!(all, expected);
    let delays =
        |queue: &MeddledQueue| queue.taken.all().into_iter().map(|sent| sent.delay).collect::<Vec<_>>();
    // The relay asks the queue for the first hop; a topic has no delays, so that its subscriber asks for all of them.
    assert_eq!(delays(&queue), [secs(60), QUEUE_DELAY_MAX, QUEUE_DELAY_MAX, secs(200)]);
    assert_eq!(delays(&subscription), [secs(60), QUEUE_DELAY_MAX, QUEUE_DELAY_MAX, secs(200)]);
    engine.stop().await;
}

#[tokio::test]
async fn a_queue_that_fails_for_one_message_loses_nothing_and_each_entity_keeps_its_order() {
    let reached = Reached::default();
    let mut world = World::new(travelling().on(scanned("scan", &reached)).on(loaded("load", &reached)));
    let mut failures = 2;
    let queue = world.meddle_with_queue("scan", move |message| {
        let fails = message.body.contains("bonn") && failures > 0;
        failures -= u32::from(fails);
        fails.then(|| PortError::transient("scan", "no answer"))
    });
    let stream = world.watch_stream();
    // Committed before the relay runs, so that it reads all of it at once: oslo, rome | bonn, riga | kyiv.
    post(&world, "1", "oslo,rome").await;
    post(&world, "2", "bonn,riga").await;
    post(&world, "1", "kyiv").await;
    let engine = Engine::start(world.pipeline());
    all_wait().await;
    assert_eq!(stream.checkpoints.all(), [2], "only what went before the first failure is done with");
    assert_eq!(world.emitted().await.len(), 3 * 2);
    world.pass(secs(60)).await;
    assert_eq!(
        stream.checkpoints.all(),
        [2, 5],
        "the second failure was the first record: nothing was done with"
    );
    assert_eq!(world.emitted().await.len(), 0);
    // What came behind the failure was sent anew, in its order: whoever saw it too early sees it again in its place.
    assert_eq!(places(&queue), ["oslo", "rome", "riga", "kyiv", "riga", "kyiv", "bonn", "riga", "kyiv"]);
    for handler in ["scan", "load"] {
        let mut places: Vec<String> = reached
            .all()
            .into_iter()
            .filter(|(name, ..)| *name == handler)
            .map(|(.., place)| place)
            .collect();
        places.sort();
        places.dedup();
        assert_eq!(places, ["bonn", "kyiv", "oslo", "riga", "rome"], "{handler}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_queue_that_fails_altogether_gets_everything_in_order_once_it_is_back() {
    let reached = Reached::default();
    let mut world = World::new(travelling().on(scanned("scan", &reached)).on(loaded("load", &reached)));
    let clock = Arc::clone(&world.clock);
    let queue = world.meddle_with_queue("scan", move |_| {
        (clock.now() < START + secs(2)).then(|| PortError::transient("scan", "no answer"))
    });
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo,rome,bonn").await;
    world.pass(secs(60)).await;
    assert_eq!(places(&queue), ["oslo", "rome", "bonn"]);
    let scanned: Vec<_> = reached.all().into_iter().filter(|(name, ..)| *name == "scan").collect();
    assert!(scanned.len() == 3 && scanned.iter().all(|(_, at, _)| *at >= START + secs(2)), "{scanned:?}");
    assert_eq!(world.emitted().await.len(), 0);
    engine.stop().await;
}

#[tokio::test]
async fn a_step_on_a_bus_gets_what_its_rule_takes_as_the_envelope_that_was_emitted() {
    let reached = Reached::default();
    let in_the_north = || Rule::new().source("parcels").detail("data.place", Match::Prefix("o".into()));
    let log = reached.clone();
    let hear = move |event: Loaded, cx: Context<()>| {
        assert!(cx.correlation_id().is_some(), "the envelope came with it");
        log.push(("hear", cx.now(), event.place));
        std::future::ready(Outcome::<()>::Ok(Handled::Done))
    };
    let definition = travelling()
        .bus("town")
        .on(scanned("scan", &reached).from_bus("town", Rule::new()))
        .on(loaded("load", &reached).from_bus("town", in_the_north()))
        .on(Consumer::new("hear", hear).from_bus("town", in_the_north()))
        .publish_to_bus::<Loaded>("town");
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo,rome,odda+60").await;
    world.pass(secs(30)).await;
    let early = sorted(&reached);
    world.pass(secs(60)).await;
    let expected = [
        ("hear", "oslo".to_owned()),
        ("load", "oslo".to_owned()),
        ("scan", "oslo".to_owned()),
        ("scan", "rome".to_owned()),
    ];
    assert_eq!(early, expected);
    let mut all: Vec<_> =
        expected.into_iter().chain(["hear", "load", "scan"].map(|name| (name, "odda".to_owned()))).collect();
    all.sort();
    assert_eq!(sorted(&reached), all, "a bus has no delay: the step's own queue holds it back");
    engine.stop().await;
}

#[tokio::test]
async fn an_event_that_a_bus_refuses_is_dead_lettered_where_the_definition_says() {
    let reached = Reached::default();
    let definition = travelling()
        .bus("town")
        .on(scanned("scan", &reached))
        .on(loaded("load", &reached).from_bus("town", Rule::new()))
        .publish_to_bus::<Loaded>("town");
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", &format!("{},rome", far())).await;
    world.pass(secs(60)).await;
    let loaded: Vec<_> = sorted(&reached).into_iter().filter(|(name, _)| *name == "load").collect();
    assert_eq!(loaded, [("load", "rome".to_owned())]);
    for dead_letter_queue in ["load-dlq", "town-dlq"] {
        let dead = world.lying_in(dead_letter_queue).await;
        assert_eq!(dead.len(), 1, "{dead_letter_queue}");
        assert_eq!(DeadLetter::read(&dead[0]).reason, "port_refused");
    }
    engine.stop().await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_dead_lettered_once_however_often_one_before_it_is_tried() {
    let reached = Reached::default();
    let definition =
        travelling().on(scanned("scan", &reached)).on(loaded("tell", &reached).from_topic("news"));
    let mut world = World::new(definition);
    let scan = world.meddle_with_queue("scan", |_| None);
    let letters = world.meddle_with_queue("tell-dlq", |_| None);
    let engine = Engine::start(world.pipeline());
    scan.outage.refuse(true);
    post(&world, "1", &format!("oslo,{},rome", far())).await;
    world.pass(secs(10)).await;
    assert_eq!(letters.taken.len(), 0, "it comes again with what stands before it");
    scan.outage.refuse(false);
    world.pass(secs(10)).await;
    assert_eq!((letters.taken.len(), world.emitted().await.len()), (1, 0));
    engine.stop().await;
}

#[tokio::test]
async fn a_step_on_a_stream_gets_what_is_committed_to_its_table_by_its_queue() {
    let reached = Reached::default();
    let definition = travelling()
        .on(scanned("scan", &reached))
        .on(loaded("load", &reached).from_stream(PARCELS))
        .on(loaded("count", &reached));
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo,rome+60").await;
    world.pass(secs(120)).await;
    let expected = ["count", "load", "scan"]
        .into_iter()
        .flat_map(|name| ["oslo", "rome"].map(|place| (name, place.to_owned())));
    assert_eq!(sorted(&reached), expected.collect::<Vec<_>>());
    engine.stop().await;
}

/// What EventBridge could not deliver it dead-letters with what it puts around it, and a redrive sends that to the queue.
#[tokio::test]
async fn a_step_on_a_bus_reads_what_comes_whole_from_the_dead_letter_queue() {
    let reached = Reached::default();
    let definition = travelling()
        .bus("town")
        .on(scanned("scan", &reached))
        .on(loaded("load", &reached).from_bus("town", Rule::new()));
    let world = World::new(definition);
    let envelope: serde_json::Value =
        serde_json::from_str(&text(&envelope(Loaded::new("1", "oslo")))).unwrap();
    let whole = serde_json::json!({
        "version": "0", "id": "1", "detail-type": "parcel.loaded", "source": "parcels", "account": "123456789012",
        "time": "2026-11-20T09:15:00Z", "region": "eu-central-1", "resources": [], "detail": envelope,
    });
    world.send("load", whole.to_string()).await;
    world.send("scan", whole.to_string()).await;
    assert_eq!(world.deliver("load").await, [Verdict::Done]);
    assert_eq!(sorted(&reached), [("load", "oslo".to_owned())]);
    assert_eq!(world.deliver("scan").await.iter().filter_map(reason).collect::<Vec<_>>(), ["malformed"]);
}

/// A place that is too far for a notification, and not for a queue.
fn far() -> String {
    "f".repeat(NOTIFICATION_BYTES_MAX)
}

#[tokio::test]
async fn an_event_that_a_topic_refuses_is_dead_lettered_for_each_subscriber_and_stops_nothing() {
    let reached = Reached::default();
    let definition = travelling()
        .on(scanned("scan", &reached))
        .on(loaded("tell-sender", &reached).from_topic("news"))
        .on(loaded("tell-receiver", &reached).from_topic("news"));
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", &format!("oslo,{},rome", far())).await;
    world.pass(secs(60)).await;
    let (told, whole): (Vec<_>, Vec<_>) = sorted(&reached).into_iter().partition(|(name, _)| *name != "scan");
    // Whoever has a queue of its own gets it whole.
    assert_eq!(whole.len(), 3);
    let expected = [
        ("tell-receiver", "oslo".to_owned()),
        ("tell-receiver", "rome".to_owned()),
        ("tell-sender", "oslo".to_owned()),
        ("tell-sender", "rome".to_owned()),
    ];
    assert_eq!(told, expected);
    assert_eq!(world.emitted().await.len(), 0);
    for subscription in ["tell-sender", "tell-receiver"] {
        let dead = world.lying_in(&format!("{subscription}-dlq")).await;
        assert_eq!(dead.len(), 1, "{subscription}");
        assert!(dead[0].body.contains(&far()), "it is there whole");
        let letter = DeadLetter::read(&dead[0]);
        assert_eq!((letter.reason.as_str(), letter.handler.as_str()), ("port_refused", "relay"));
        assert_eq!(letter.source_queue, subscription);
        assert_eq!(letter.subject.as_deref(), Some("1"));
        let parcel = world.parcel("1").await.unwrap();
        assert_eq!(letter.correlation_id.as_deref(), parcel.correlation_id());
        assert!(letter.correlation_id.is_some());
        assert!(letter.detail.contains("262144"), "{}", letter.detail);
        // The queue itself would take it: an operator can send it there.
        assert_eq!(world.total(subscription).await, 0);
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_refused_event_whose_dead_letter_cannot_be_sent_yet_is_kept_until_it_can() {
    let reached = Reached::default();
    let definition =
        travelling().on(scanned("scan", &reached)).on(loaded("tell", &reached).from_topic("news"));
    let mut world = World::new(definition);
    let mut failures = 3;
    world.meddle_with_queue("tell-dlq", move |_| {
        failures = i32::max(failures - 1, -1);
        (failures >= 0).then(|| PortError::transient("tell-dlq", "no answer"))
    });
    let engine = Engine::start(world.pipeline());
    post(&world, "1", &far()).await;
    all_wait().await;
    assert_eq!((world.total("tell-dlq").await, world.emitted().await.len()), (0, 2));
    world.pass(secs(60)).await;
    assert_eq!((world.total("tell-dlq").await, world.emitted().await.len()), (1, 0));
    engine.stop().await;
}

#[tokio::test]
async fn an_event_on_a_cycle_carries_its_budget_through_the_relay_to_its_end() {
    let reached = Reached::default();
    let log = reached.clone();
    let load = move |mut parcel: Stored<Parcel>, event: Loaded, cx: Context<(Loaded,)>| {
        log.push(("load", cx.now(), event.place.clone()));
        async move {
            let place = format!("{}'", event.place);
            parcel.stops.push(event.place);
            let next = Loaded::new(&event.parcel, place);
            Outcome::<(Loaded,)>::Ok(parcel.commit("loaded").emit_after(secs(60), next).into())
        }
    };
    let budget = Budget { deadline: secs(3_600), hops: 3 };
    let definition = travelling().on(scanned("scan", &reached)).on(Consumer::new("load", load)
        .gives_up_early()
        .budget(budget)
        .uses(Uses::new().emits_later::<Loaded>()));
    let world = World::new(definition);
    let engine = Engine::start(world.pipeline());
    post(&world, "1", "oslo").await;
    let day = Duration::from_secs(86_400);
    world.until("it is given up", day, async || (world.total("load-dlq").await > 0).then_some(())).await;
    world.pass(day).await;
    assert_eq!(world.stops("1").await, ["oslo", "oslo'", "oslo''", "oslo'''"]);
    let dead = world.lying_in("load-dlq").await;
    let reasons: Vec<String> = dead.iter().map(|letter| DeadLetter::read(letter).reason).collect();
    assert_eq!(reasons, ["hops_exhausted"]);
    engine.stop().await;
}
