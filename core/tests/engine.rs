//! The engine: a choreography that runs by itself, its schedules, and its end. On the in-memory adapter, whose clock
//! moves only when a test moves it.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Context, DeadLetter, Definition, Event, Failure, Handled, Outcome, Route, Stored,
    Table, Timestamp, Uses,
    engine::{self, Engine},
    http::{Request, Response},
    port::{Clock as _, Depth, PortError},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::*;
use tokio::sync::Semaphore;

/// `POST /parcels/{id}`: posted, scanned, loaded an hour later, delivered.
fn travelling() -> Definition {
    let scan = |mut parcel: Stored<Parcel>, event: Scanned, _: Context<(Loaded,)>| async move {
        if !parcel.stops.is_empty() {
            return Ok(Handled::already("scanned"));
        }
        parcel.stops.push(event.place);
        let loaded = Loaded::new(&event.parcel, "lorry");
        Outcome::<(Loaded,)>::Ok(parcel.commit("scanned").emit_after(secs(3_600), loaded).into())
    };
    let load = |mut parcel: Stored<Parcel>, event: Loaded, _: Context<(Delivered,)>| async move {
        parcel.stops.push(event.place);
        let delivered = Delivered::new(&event.parcel, "door");
        Outcome::<(Delivered,)>::Ok(parcel.commit("loaded").emit(delivered).into())
    };
    let deliver = |parcel: Stored<Parcel>, event: Delivered, _: Context<()>| async move {
        stop::<()>(parcel, &event.place)
    };
    Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", scan).uses(Uses::new().emits_later::<Loaded>()))
        .on(Consumer::new("load", load))
        .on(Consumer::new("deliver", deliver))
}

async fn post(request: Request, cx: Context<(Scanned,)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let scanned = Stored::new(Parcel::new(id)).commit("posted").emit(Scanned::new(id, "oslo"));
    cx.commit_all(vec![scanned]).await?;
    Ok(Response::json(201, &()))
}

#[tokio::test]
async fn a_choreography_of_three_steps_runs_to_its_end() {
    let world = World::new(travelling());
    let engine = Engine::start(world.pipeline());
    let ids: Vec<String> = (0..25).map(|n| n.to_string()).collect();
    for id in &ids {
        world.post(&[id]).await;
        // Sending it again makes no second parcel.
        world.post(&[id]).await;
    }
    let at_the_door = async || (world.stops("24").await.len() == 3).then_some(());
    world.until("the last parcel is delivered", secs(7_200), at_the_door).await;
    engine.stop().await;
    for id in &ids {
        let parcel = world.parcel(id).await.unwrap();
        assert_eq!(parcel.stops, ["oslo", "lorry", "door"], "parcel {id}");
        let trail = parcel.trail();
        let (what, by): (Vec<_>, Vec<_>) =
            trail.entries.iter().map(|entry| (entry.what.as_ref(), entry.handler.as_ref())).unzip();
        assert_eq!(what, ["posted", "scanned", "loaded", "stopped at door"]);
        assert_eq!(by, ["post", "scan", "load", "deliver"]);
        let hour = START + secs(3_600);
        assert_eq!(
            trail.entries.iter().map(|entry| entry.at).collect::<Vec<_>>(),
            [START, START, hour, hour]
        );
    }
    // Nothing is left anywhere.
    for queue in world.ports.queues.keys() {
        assert_eq!(world.ports.queues[queue].depth().await.unwrap(), Depth::default(), "{queue}");
    }
    assert_eq!(world.emitted().await.len(), 0);
}

#[tokio::test]
async fn an_engine_goes_on_where_the_one_before_it_stopped() {
    let world = World::new(travelling());
    world.post(&["1"]).await;
    // Each gets to work for a moment only; what is delayed waits meanwhile.
    for _ in 0..8 {
        let engine = Engine::start(world.pipeline());
        world.pass(secs(600)).await;
        engine.stop().await;
    }
    assert_eq!(world.stops("1").await, ["oslo", "lorry", "door"]);
}

#[tokio::test]
async fn a_consumer_whose_queue_gives_no_answer_asks_again_after_a_pause() {
    let mut world = World::new(travelling());
    let queue = world.meddle_with_queue("scan", |_| None);
    let error = || PortError::transient("scan", "no answer");
    queue.deaf.lock().unwrap().extend([error(), error(), error()]);
    let engine = Engine::start(world.pipeline());
    world.post(&["1"]).await;
    all_wait().await;
    assert_eq!(queue.deaf.lock().unwrap().len(), 2, "not in a tight loop");
    assert_eq!(world.stops("1").await.len(), 0);
    world.until("it is scanned", secs(60), async || (world.stops("1").await.len() == 1).then_some(())).await;
    assert!(world.now() > START);
    engine.stop().await;
}

/// Told by a schedule.
#[derive(Clone, Serialize, Deserialize)]
struct Collected {
    at: Timestamp,
}

impl Event for Collected {
    const TYPE: &'static str = "parcels.collected";
    type Entity = Parcel;

    fn subject(&self) -> Cow<'_, str> {
        Cow::Owned(self.at.to_compact())
    }
}

const PERIOD: Duration = Duration::from_secs(300);

/// Every five minutes what was posted is collected; the collection is known by its time.
fn collecting(collected: &Log<Timestamp>) -> World {
    let log = collected.clone();
    let collect = move |round: Option<Stored<Parcel>>, event: Collected, _: Context<()>| {
        log.push(event.at);
        async move {
            if round.is_some() {
                return Ok(Handled::already("collected"));
            }
            let round = Stored::new(Parcel::new(event.at.to_compact()));
            Outcome::<()>::Ok(round.commit("collected").into())
        }
    };
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .schedule("collection", PERIOD, |at| Collected { at })
        .on(Consumer::new("collect", collect));
    World::new(definition)
}

/// The first five minutes that are over after the tests begin, and those after them.
fn rounds(range: std::ops::Range<i64>) -> Vec<Timestamp> {
    let period = i64::try_from(PERIOD.as_millis()).unwrap();
    let first = START.as_millis() / period + 1;
    range.map(|n| Timestamp::from_millis((first + n) * period)).collect()
}

#[tokio::test]
async fn a_schedule_fires_at_the_multiples_of_its_period_also_after_a_restart() {
    let collected = Log::default();
    let world = collecting(&collected);
    // None of the engines begins at a multiple of the period.
    let engine = Engine::start(world.pipeline());
    world.pass(3 * PERIOD).await;
    assert_eq!(collected.all(), rounds(0..3));
    engine.stop().await;
    world.pass(2 * PERIOD + secs(100)).await;
    assert_eq!(collected.len(), 3, "nobody fires while no engine runs");
    let engine = Engine::start(world.pipeline());
    world.pass(2 * PERIOD).await;
    assert_eq!(collected.all()[3..], rounds(5..7));
    engine.stop().await;
}

#[tokio::test]
async fn a_schedule_goes_on_on_a_clock_that_is_set_back() {
    let collected = Log::default();
    let world = collecting(&collected);
    let engine = Engine::start(world.pipeline());
    world.pass(2 * PERIOD).await;
    assert_eq!(collected.all(), rounds(0..2));
    // Once as it waits, and once more.
    for back in [secs(3_600), secs(86_400)] {
        world.clock.set_back(back);
        let (before, began) = (collected.len(), world.clock.uptime());
        let fired = async || (collected.len() == before + 3).then_some(());
        world.until("it has fired three times", 4 * PERIOD, fired).await;
        let took = world.clock.uptime() - began;
        assert!(took < 3 * PERIOD + PERIOD / 2, "{took:?}");
        assert_eq!(health(&engine).await, (200, vec![]));
    }
    assert_eq!(collected.all(), rounds(0..8), "each time once");
    engine.stop().await;
}

#[tokio::test]
async fn a_time_that_is_fired_twice_is_one_event_and_has_one_effect() {
    let collected = Log::default();
    let world = collecting(&collected);
    let engine = Engine::start(world.pipeline());
    let round = rounds(0..1)[0];
    world.pass(round.since(START)).await;
    engine::trigger(engine.pipeline(), "collection", round).await.unwrap();
    all_wait().await;
    assert_eq!(collected.all(), [round, round]);
    assert_eq!(world.trail(&round.to_compact()).await, ["collected"]);
    engine.stop().await;
    // It is the same event down to its id, whoever sends it and whenever.
    let message = |at| world.choreography.scheduled_message("collection", at).unwrap();
    assert_eq!(message(round), message(round));
    let (queues, body) = message(round);
    assert_eq!(queues, ["collect"]);
    let event: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["id"], format!("schedule/collection@{round}"));
    assert_ne!(message(round), message(rounds(1..2)[0]));
    let failure = engine::trigger(&world.pipeline(), "collections", round).await.unwrap_err();
    assert_eq!(failure.reason(), "no_schedule");
}

#[tokio::test]
async fn every_consumer_of_a_scheduled_event_is_told() {
    let collected = Log::default();
    let consumer = |name: &'static str| {
        let log = collected.clone();
        let handler = move |event: Collected, _: Context<()>| {
            log.push((name, event.at));
            std::future::ready(Outcome::<()>::Ok(Handled::Done))
        };
        Consumer::new(name, handler)
    };
    let definition = Choreography::define("parcels")
        .topic("collections")
        .schedule("collection", PERIOD, |at| Collected { at })
        .on(consumer("collect"))
        .on(consumer("count"))
        .on(consumer("tell").from_topic("collections"));
    let mut world = World::new(definition);
    // The queue of one of them fails at first: the others may be told twice, none is left out.
    let mut fails = true;
    world.meddle_with_queue("count", move |_| {
        std::mem::take(&mut fails).then(|| PortError::transient("count", "no answer"))
    });
    let engine = Engine::start(world.pipeline());
    world.pass(PERIOD + secs(1)).await;
    engine.stop().await;
    let mut told = collected.all();
    told.sort();
    told.dedup();
    let round = rounds(0..1)[0];
    assert_eq!(told, [("collect", round), ("count", round), ("tell", round)]);
}

#[tokio::test]
async fn a_scheduled_message_that_the_queue_does_not_take_is_sent_until_it_does() {
    let collected = Log::default();
    let mut world = collecting(&collected);
    let mut failures = 3;
    world.meddle_with_queue("collect", move |_| {
        failures = i32::max(failures - 1, -1);
        (failures >= 0).then(|| PortError::transient("collect", "no answer"))
    });
    let engine = Engine::start(world.pipeline());
    world.pass(2 * PERIOD).await;
    assert_eq!(collected.all(), rounds(0..2));
    engine.stop().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_takes_nothing_new() {
    let (started, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (log, opened) = (started.clone(), Arc::clone(&gate));
    let scan = move |parcel: Stored<Parcel>, event: Scanned, _: Context<()>| {
        let (log, opened) = (log.clone(), Arc::clone(&opened));
        async move {
            log.push(event.parcel.clone());
            opened.acquire().await.unwrap().forget();
            stop(parcel, &event.place)
        }
    };
    let world = World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan)));
    world.post(&["1", "2"]).await;
    let engine = Engine::start(world.pipeline());
    world.tell("scan", Scanned::new("1", "oslo")).await;
    all_wait().await;
    assert_eq!(started.all(), ["1"]);
    let stopping = tokio::spawn(engine.stop());
    all_wait().await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    all_wait().await;
    assert!(!stopping.is_finished(), "it waits for the one in hand");
    gate.add_permits(2);
    stopping.await.unwrap();
    assert_eq!(world.stops("1").await, ["oslo"]);
    assert_eq!(started.all(), ["1"]);
    // The first message is settled, the second one was not touched.
    let left = world.lying_in("scan").await;
    assert_eq!(left.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [0]);
    assert!(left[0].body.contains("\"parcel\":\"2\""));
}

#[tokio::test]
async fn a_handler_that_panics_ends_neither_its_consumer_nor_its_batch() {
    let scan = |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        assert_ne!(event.place, "cliff", "it fell");
        scan(parcel, event, cx)
    };
    let scan = Consumer::new("scan", scan).attempts(3, BACKOFF).workers(1);
    let world = World::new(parcels::<(Scanned,)>().on(scan));
    for (id, place) in [("1", "oslo"), ("2", "cliff"), ("3", "rome")] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let engine = Engine::start(world.pipeline());
    all_wait().await;
    assert_eq!(
        (world.stops("1").await.len(), world.stops("3").await.len()),
        (1, 1),
        "the others are committed"
    );
    let given_up = async || (world.total("scan-dlq").await == 1).then_some(());
    world.until("it is given up", secs(60), given_up).await;
    let letter = DeadLetter::read(&world.lying_in("scan-dlq").await[0]);
    assert_eq!((letter.reason.as_str(), letter.attempts), ("panicked", 3));
    assert_eq!(world.trail("2").await, ["posted", "dead-lettered: panicked"]);
    world.tell("scan", Scanned::new("1", "rome")).await;
    all_wait().await;
    assert_eq!(world.stops("1").await, ["oslo", "rome"], "the consumer goes on");
    engine.stop().await;
}

#[tokio::test]
async fn a_port_that_panics_ends_no_consumer_no_relay_and_no_schedule() {
    let collected = Log::default();
    let mut world = collecting(&collected);
    let mut panics = true;
    let queue = world.meddle_with_queue("collect", move |_| {
        assert!(!std::mem::take(&mut panics), "a fault of the port");
        None
    });
    queue.panics.store(true, Ordering::Relaxed);
    let engine = Engine::start(world.pipeline());
    world.pass(2 * PERIOD).await;
    assert!(!queue.panics.load(Ordering::Relaxed));
    assert_eq!(collected.all(), rounds(0..2), "what the schedule could not send it sends again");
    engine.stop().await;

    let mut world = World::new(travelling());
    let mut panics = true;
    let queue = world.meddle_with_queue("scan", move |_| {
        assert!(!std::mem::take(&mut panics), "a fault of the port");
        None
    });
    let engine = Engine::start(world.pipeline());
    world.post(&["1"]).await;
    world.until("it is scanned", secs(60), async || (world.stops("1").await.len() == 1).then_some(())).await;
    assert_eq!(queue.taken.len(), 1);
    assert!(world.now() > START, "after a pause");
    engine.stop().await;
}

#[tokio::test]
async fn a_task_that_ends_or_panics_is_started_again_until_the_engine_stops() {
    let world = World::new(travelling());
    let mut engine = Engine::start(world.pipeline());
    let begun = Log::default();
    let log = begun.clone();
    engine.spawn("of a test", move |mut stopping| {
        log.push(());
        let begun = log.len();
        assert_ne!(begun, 1, "before its first await");
        async move {
            tokio::task::yield_now().await;
            assert_ne!(begun, 2, "after it");
            if begun > 3 {
                stopping.wait().await;
            }
        }
    });
    world.pass(secs(10)).await;
    assert_eq!(begun.len(), 4);
    engine.stop().await;
    assert_eq!(begun.len(), 4);
}

#[tokio::test]
async fn stopping_ends_a_task_that_fails_without_end() {
    let mut world = World::new(travelling());
    let broken = world.meddle_with_queue("scan", |_| panic!("a fault of the port"));
    world.post(&["1"]).await;
    let mut engine = Engine::start(world.pipeline());
    engine.spawn("of a test", |_| async { panic!("at once") });
    world.pass(secs(3)).await;
    engine.stop().await;
    assert_eq!(broken.taken.len(), 0);
    assert_eq!(world.emitted().await.len(), 1, "it is not lost");
}

#[tokio::test]
async fn an_engine_is_idle_when_only_what_is_for_later_is_left() {
    let world = World::new(travelling());
    let engine = Engine::start(world.pipeline());
    engine.idle().await;
    let ids: Vec<String> = (0..25).map(|id| id.to_string()).collect();
    for id in &ids {
        world.post(&[id]).await;
    }
    engine.idle().await;
    assert_eq!(world.now(), START);
    for id in &ids {
        assert_eq!(world.stops(id).await, ["oslo"], "parcel {id}");
    }
    // The hour is walked in hops, each of which is for later.
    for _ in 0..4 {
        world.clock.advance(secs(900));
        engine.idle().await;
    }
    for id in &ids {
        assert_eq!(world.stops(id).await, ["oslo", "lorry", "door"], "parcel {id}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn an_engine_is_not_idle_while_a_handler_runs_or_the_relay_cannot_send() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let deliver = move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        let opened = Arc::clone(&opened);
        async move {
            opened.acquire().await.unwrap().forget();
            scan(parcel, event, cx).await
        }
    };
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .route(Route::post("/parcels/{id}", "post", post).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", deliver));
    let mut world = World::new(definition);
    let mut refusals = 3;
    world.meddle_with_queue("scan", move |_| {
        refusals = i32::max(refusals - 1, -1);
        (refusals >= 0).then(|| PortError::transient("scan", "no answer"))
    });
    let world = Arc::new(world);
    let engine = Arc::new(Engine::start(world.pipeline()));
    world.post(&["1"]).await;
    let idling = Arc::clone(&engine);
    let idle = tokio::spawn(async move { idling.idle().await });
    all_wait().await;
    assert_eq!((world.emitted().await.len(), idle.is_finished()), (1, false), "it waits in the stream");
    world.until("it is sent", secs(60), async || world.emitted().await.is_empty().then_some(())).await;
    world.pass(secs(5)).await;
    assert!(!idle.is_finished(), "its handler runs");
    gate.add_permits(1);
    tokio::time::timeout(BOUND, idle).await.unwrap().unwrap();
    assert_eq!((world.stops("1").await.len(), world.total("scan").await), (1, 0));
    Arc::into_inner(engine).unwrap().stop().await;
}

#[tokio::test]
async fn what_moves_while_it_is_looked_for_is_not_overlooked() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let scan = |parcel: Stored<Parcel>, event: Scanned, _: Context<(Delivered,)>| async move {
        let delivered = Delivered::new(&event.parcel, "door");
        Outcome::<(Delivered,)>::Ok(parcel.commit("scanned").emit(delivered).into())
    };
    let deliver = move |parcel: Stored<Parcel>, event: Delivered, _: Context<()>| {
        let opened = Arc::clone(&opened);
        async move {
            opened.acquire().await.unwrap().forget();
            stop::<()>(parcel, &event.place)
        }
    };
    let definition =
        parcels::<(Scanned,)>().on(Consumer::new("scan", scan)).on(Consumer::new("deliver", deliver));
    let mut world = World::new(definition);
    let late = world.meddle_with_queue("deliver", |_| None);
    late.tells_late.store(true, Ordering::Relaxed);
    world.post(&["1"]).await;
    let engine = Arc::new(Engine::start(world.pipeline()));
    all_wait().await;
    let idling = Arc::clone(&engine);
    let idle = tokio::spawn(async move { idling.idle().await });
    tokio::task::yield_now().await;
    // The first queue was looked at. Before the last one is, this has gone from there to the first.
    world.tell("scan", Scanned::new("1", "oslo")).await;
    all_wait().await;
    all_wait().await;
    all_wait().await;
    assert!(!idle.is_finished(), "it is in the hands of the second handler");
    gate.add_permits(1);
    tokio::time::timeout(BOUND, idle).await.unwrap().unwrap();
    assert_eq!(world.stops("1").await, ["door"]);
    Arc::into_inner(engine).unwrap().stop().await;
}

#[tokio::test]
async fn an_onlooker_of_an_engine_is_told_once_a_message_is_acknowledged() {
    let mut world = World::new(parcels::<(Scanned,)>().on(Consumer::new("scan", scan)));
    world.meddle_with_queue("scan", |_| None);
    let engine = Engine::start(world.pipeline());
    let mut seen = engine.pipeline().observe();
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(seen.recv().await.unwrap().what, "stopped at oslo");
    assert_eq!((world.stops("1").await.len(), world.total("scan").await), (1, 0));
    engine.stop().await;
}

/// What `GET /healthz` answers: its status, and what it says stands.
async fn health(engine: &Engine) -> (u16, Vec<String>) {
    let answer = engine.pipeline().health().await;
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, serde_json::from_value(told["standing"].clone()).unwrap_or_default())
}

fn stands(name: &str) -> (u16, Vec<String>) {
    (503, vec![name.to_owned()])
}

#[tokio::test]
async fn a_relay_or_a_schedule_that_stands_is_told_by_name_until_it_goes_on() {
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = |queue: &'static str| {
        let refuses = Arc::clone(&refuses);
        move |_: &_| refuses.load(Ordering::Relaxed).then(|| PortError::transient(queue, "no answer"))
    };
    let mut world = World::new(travelling());
    world.meddle_with_queue("scan", refusing("scan"));
    let relaying = Engine::start(world.pipeline());
    assert_eq!(health(&relaying).await, (200, vec![]));
    world.post(&["1"]).await;
    all_wait().await;
    assert_eq!(health(&relaying).await, (200, vec![]), "one failure may be chance");
    let mut hourly = collecting(&Log::default());
    hourly.meddle_with_queue("collect", refusing("collect"));
    let scheduling = Engine::start(hourly.pipeline());
    world.pass(secs(3)).await;
    hourly.pass(PERIOD + secs(3)).await;
    assert_eq!(health(&relaying).await, stands("relay parcels"));
    assert_eq!(health(&scheduling).await, stands("schedule collection"));
    refuses.store(false, Ordering::Relaxed);
    world.pass(secs(1)).await;
    hourly.pass(secs(1)).await;
    assert_eq!(health(&relaying).await, (200, vec![]));
    assert_eq!(health(&scheduling).await, (200, vec![]));
    relaying.stop().await;
    scheduling.stop().await;
}

#[tokio::test]
async fn a_consumer_that_stands_is_told_by_name_until_it_waits_again() {
    let mut world = World::new(travelling());
    let queue = world.meddle_with_queue("scan", |_| None);
    queue.deaf.lock().unwrap().extend(vec![PortError::transient("scan", "no answer"); 1_000]);
    let engine = Engine::start(world.pipeline());
    world.pass(secs(3)).await;
    assert_eq!(health(&engine).await, stands("consumer scan"));
    queue.deaf.lock().unwrap().clear();
    world.pass(secs(15)).await;
    assert_eq!(health(&engine).await, (200, vec![]));
    engine.stop().await;
}

#[tokio::test]
async fn a_table_that_takes_no_commits_is_told_by_name() {
    let mut world = World::new(travelling());
    let table = world.meddle_with_table(|_| CommitFault::None);
    let engine = Engine::start(world.pipeline());
    table.outage.refuse(true);
    assert_eq!(health(&engine).await, stands("writes of parcels"));
    table.outage.refuse(false);
    assert_eq!(health(&engine).await, (200, vec![]));
    engine.stop().await;
}

#[tokio::test]
async fn a_task_that_is_dead_is_told_by_name_for_good() {
    let mut world = World::new(travelling());
    let queue = world.meddle_with_queue("scan", |_| None);
    queue.kills.store(true, Ordering::Relaxed);
    let engine = Engine::start(world.pipeline());
    all_wait().await;
    assert_eq!(health(&engine).await, stands("consumer scan"));
    world.pass(secs(3_600)).await;
    assert_eq!(health(&engine).await, stands("consumer scan"));
    engine.stop().await;
}

#[tokio::test]
async fn a_call_that_gives_no_answer_is_told_by_the_name_of_who_waits_for_it() {
    let mut world = World::new(travelling());
    let queue = world.meddle_with_queue("load", |_| None);
    let stream = world.watch_stream();
    queue.outage.hang();
    stream.outage.hang();
    let engine = Engine::start(world.pipeline());
    world.pass(secs(60)).await;
    assert_eq!(health(&engine).await, (200, vec![]), "they may just wait");
    world.pass(secs(61)).await;
    let standing = vec!["consumer load".to_owned(), "relay parcels".to_owned()];
    assert_eq!(health(&engine).await, (503, standing));
    engine.stop().await;
}

#[tokio::test]
async fn a_batch_or_a_scheduled_message_that_is_never_done_is_told_and_one_that_takes_its_time_is_not() {
    let collected = Log::default();
    let mut world = collecting(&collected);
    let (table, queue) =
        (world.meddle_with_table(|_| CommitFault::None), world.meddle_with_queue("collect", |_| None));
    let engine = Engine::start(world.pipeline());
    world.pass(3 * PERIOD - secs(200)).await;
    assert_eq!(health(&engine).await, (200, vec![]), "it waits for its time");
    table.outage.hang();
    let round = rounds(2..3)[0];
    world.pass(round.since(world.now()) + secs(30)).await;
    let health_of = async || {
        let asked = tokio::spawn({
            let pipeline = engine.pipeline().clone();
            async move { pipeline.standing().await.into_iter().collect::<Vec<_>>() }
        });
        world.pass(secs(3)).await;
        assert!(asked.is_finished(), "it answers in time itself");
        asked.await.unwrap()
    };
    assert_eq!(health_of().await, ["reads of parcels"]);
    world.pass(secs(60)).await;
    assert_eq!(health_of().await, ["consumer collect", "reads of parcels"]);
    queue.outage.hang();
    world.pass(PERIOD + secs(61)).await;
    assert_eq!(health_of().await, ["consumer collect", "reads of parcels", "schedule collection"]);
    drop(engine);
}

#[tokio::test]
async fn writes_that_are_never_answered_are_told() {
    let mut world = World::new(travelling());
    let table = world.meddle_with_table(|_| CommitFault::None);
    let engine = Engine::start(world.pipeline());
    table.never_says_whether_it_takes.store(true, Ordering::Relaxed);
    let pipeline = engine.pipeline().clone();
    let asked = tokio::spawn(async move { pipeline.standing().await });
    world.pass(secs(3)).await;
    assert!(asked.is_finished());
    assert_eq!(asked.await.unwrap().into_iter().collect::<Vec<_>>(), ["writes of parcels"]);
    engine.stop().await;
}
