//! A schedule of which nothing is handled any more: healthz names it, and people are told, once.

use super::support::{
    bags::{Bag, gate},
    *,
};
use quadrille::{
    Alert, AlertState, Consumer, Context, Failure, Handled, Outcome, Pipeline, Route, Setting, Settings,
    Table, Uses,
    engine::Engine,
    http::{Method, Request, Response},
    setting::Place,
};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

static IS_AWAY: AtomicBool = AtomicBool::new(false);
static TOLD: Mutex<Vec<Alert>> = Mutex::new(Vec::new());

/// The messages of the schedule: to one of its two consumers nothing gets through while the carrier is away.
async fn walk(_: Scanned, _: Context<()>) -> Outcome<()> {
    if IS_AWAY.load(Ordering::Relaxed) {
        return Err(Failure::transient("carrier_away", "nobody answers"));
    }
    Ok(Handled::Done)
}

async fn refuse(_: Loaded, _: Context<()>) -> Outcome<()> {
    Err(Failure::transient("carrier_away", "nobody answers"))
}

async fn tell(alert: Alert, _: Context<()>) -> Outcome<()> {
    TOLD.lock().unwrap().push(alert);
    Ok(Handled::Done)
}

async fn collect(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let mut bag = cx.get_one::<Bag>(&request.parameters["id"]).await?.unwrap();
    bag.is_gone = true;
    cx.commit(bag.commit("collected")).await?;
    Ok(Response::json(200, &()))
}

async fn hear(alert: Alert, _: Context<()>) -> Outcome<()> {
    HEARD.lock().unwrap().push(alert.summary());
    Ok(Handled::Done)
}

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

async fn standing(pipeline: &Pipeline) -> Vec<String> {
    let health = pipeline.health().await;
    let standing: Vec<String> = pipeline.standing().await.into_iter().collect();
    assert_eq!(health.status, if standing.is_empty() { 200 } else { 503 });
    standing
}

#[tokio::test]
async fn a_schedule_of_which_a_consumer_handles_nothing_is_named_and_told_of_once_and_once_when_it_is_well() {
    let definition = parcels::<()>()
        .schedule("rounds", secs(300), |at| Scanned::new(at.to_string(), "oslo"))
        .topic("alarms")
        .alarm_to("alarms")
        .on(Consumer::new("walk", walk).attempts(900, BACKOFF))
        .on(Consumer::new("count", idle::<Scanned>))
        .on(Consumer::new("tell", tell).from_topic("alarms"));
    let world = World::new(definition);
    let pipeline = world.pipeline();
    let engine = Engine::start(pipeline.clone());
    world.pass(secs(3_600)).await;
    assert_eq!(standing(&pipeline).await, [""; 0]);
    IS_AWAY.store(true, Ordering::Relaxed);
    // Some of a period has passed since the last one.
    world.pass(secs(2 * 300)).await;
    assert_eq!(standing(&pipeline).await, [""; 0]);
    world.pass(secs(300)).await;
    assert_eq!(standing(&pipeline).await, ["schedule rounds: nothing handled in 3 periods"]);
    world.pass(secs(3_600)).await;
    let told = TOLD.lock().unwrap().clone();
    assert_eq!(told.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Alarm]);
    assert_eq!(told[0].summary(), "ALARM parcels: schedule rounds: nothing handled in 3 periods");
    IS_AWAY.store(false, Ordering::Relaxed);
    world.pass(secs(600)).await;
    assert_eq!(standing(&pipeline).await, [""; 0]);
    let told = TOLD.lock().unwrap().clone();
    assert_eq!(told.iter().map(|alert| alert.state).collect::<Vec<_>>(), [AlertState::Alarm, AlertState::Ok]);
    assert_eq!(told[1].summary(), "OK parcels: schedule rounds: well again");
    engine.stop().await;
}

#[tokio::test]
async fn a_schedule_that_comes_every_second_may_be_silent_for_three_minutes() {
    let definition = parcels::<()>()
        .setting(Setting::duration("pace").default("1s"))
        .schedule("rounds", secs(300), |_| Loaded::new("1", "oslo"))
        .schedule_setting("rounds", "pace")
        .on(Consumer::new("load", refuse).attempts(900, BACKOFF));
    let world = World::new(definition);
    let settings = Settings::read(Place::Command, &world.choreography.model().settings, |_| None).unwrap();
    let ports = world.choreography.equip(world.ports.clone(), settings).unwrap();
    let pipeline = Pipeline::new(world.choreography.clone(), ports);
    let engine = Engine::start(pipeline.clone());
    world.pass(secs(179)).await;
    assert_eq!(standing(&pipeline).await, [""; 0]);
    world.pass(secs(2)).await;
    assert_eq!(standing(&pipeline).await, ["schedule rounds: nothing handled in 3 periods"]);
    engine.stop().await;
}

#[tokio::test]
async fn of_what_a_schedule_works_off_and_that_waits_for_three_periods_people_are_told_once_though_all_is_handled()
 {
    let definition = parcels::<()>()
        .table(Table::new("bags").holds::<Bag>())
        .route(gate::<()>())
        .route(
            Route::post("/bags/{id}/collect", "collect", collect)
                .uses(Uses::new().gets_one::<Bag>().commits_one::<Bag>()),
        )
        .schedule("rounds", secs(300), |at| Scanned::new(at.to_string(), "oslo"))
        .topic("alarms")
        .alarm_to("alarms")
        .on(Consumer::new("count", idle::<Scanned>).uses(Uses::new().queries::<Bag>()))
        .on(Consumer::new("tell", hear).from_topic("alarms"));
    let world = World::new(definition);
    let pipeline = world.pipeline();
    let engine = Engine::start(pipeline.clone());
    let ask =
        async |path: &str| pipeline.respond(Method::Post, path, Request::default()).await.unwrap().status;
    // One is collected in time, again and again.
    for id in 1..=3 {
        assert_eq!(ask(&format!("/bags/{id}")).await, 202);
        world.pass(secs(600)).await;
        assert_eq!(ask(&format!("/bags/{id}/collect")).await, 200);
    }
    assert_eq!(HEARD.lock().unwrap().len(), 0);
    assert_eq!(ask("/bags/4").await, 202);
    world.pass(secs(890)).await;
    assert_eq!(HEARD.lock().unwrap().len(), 0);
    world.pass(secs(3_600)).await;
    let told = HEARD.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    let waits = "ALARM parcels: schedule rounds: what it works off waits for ";
    assert!(told[0].starts_with(waits), "{told:?}");
    assert_eq!(standing(&pipeline).await, [""; 0], "work goes on, so that nothing stands");
    assert_eq!(ask("/bags/4/collect").await, 200);
    world.pass(secs(600)).await;
    let told = HEARD.lock().unwrap().clone();
    assert_eq!(told[1..], ["OK parcels: schedule rounds: well again"]);
    engine.stop().await;
}
