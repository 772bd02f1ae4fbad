//! Back-pressure: a route whose work waits elsewhere holds its requests back, and no other route does.

use super::support::*;
use quadrille::{
    Backlog, Committed, Consumer, Context, Definition, Entity, Failure, Outcome, Pipeline, Route, Setting,
    Settings, Stored, Table, Uses,
    choreography::BACKLOG_MAX,
    engine::Engine,
    http::{Method, Request, Response},
    port::IndexEntry,
    setting::Place,
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
};

async fn take(request: Request, cx: Context<(Scanned,)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let commit = Stored::new(Parcel::new(id)).commit("taken").emit(Scanned::new(id, "oslo"));
    let is_new = cx.commit(commit).await? == Committed::Applied;
    Ok(Response::json(if is_new { 202 } else { 409 }, &()))
}

async fn pass_on(parcel: Stored<Parcel>, event: Scanned, _: Context<(Loaded,)>) -> Outcome<(Loaded,)> {
    Ok(parcel.commit("passed on").emit(Loaded::new(event.parcel, event.place)).into())
}

static IS_BUSY: AtomicBool = AtomicBool::new(true);

async fn load(parcel: Stored<Parcel>, event: Loaded, _: Context<()>) -> Outcome<()> {
    stop(parcel, if IS_BUSY.load(Ordering::Relaxed) { BUSY } else { &event.place })
}

/// Its pipeline and the clock behind it, with room for three.
fn world() -> (World, Pipeline) {
    let definition = parcels::<()>()
        .route(
            Route::post("/take/{id}", "take", take)
                .backlog(Backlog::new())
                .uses(Uses::new().commits::<Parcel>()),
        )
        .on(Consumer::new("scan", pass_on))
        .on(Consumer::new("load", load).attempts(100, BACKOFF));
    with_room_for_three(definition, None)
}

fn with_room_for_three(definition: Definition, places: Option<&str>) -> (World, Pipeline) {
    let world = World::new(definition);
    let value =
        |name: &str| if name == BACKLOG_MAX { Some("3".to_owned()) } else { places.map(str::to_owned) };
    let settings =
        Settings::read(Place::Command, &world.choreography.model().settings, |setting| value(&setting.name))
            .unwrap();
    let ports = world.choreography.equip(world.ports.clone(), settings).unwrap();
    let pipeline = Pipeline::new(world.choreography.clone(), ports);
    (world, pipeline)
}

async fn status(pipeline: &Pipeline, path: &str) -> u16 {
    pipeline.respond(Method::Post, path, Request::default()).await.unwrap().status
}

#[tokio::test]
async fn requests_are_held_back_while_too_much_waits_in_any_queue_behind_them_and_taken_again_after() {
    let (world, pipeline) = world();
    let engine = Engine::start(pipeline.clone());
    for id in 1..=3 {
        assert_eq!(status(&pipeline, &format!("/take/{id}")).await, 202);
        world.pass(secs(1)).await;
    }
    // They wait behind the second step, which is tried again and again.
    assert_eq!(world.total("load").await, 3);
    let answer = pipeline.respond(Method::Post, "/take/4", Request::default()).await.unwrap();
    assert_eq!((answer.status, answer.content_type), (503, "application/problem+json"));
    assert!(answer.headers.contains(&("retry-after", "5".to_owned())), "{:?}", answer.headers);
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&problem["type"], &problem["waiting"]), (&"/problems/backlog_full".into(), &3.into()));
    assert!(world.parcel("4").await.is_none(), "nothing of it was taken");
    assert_eq!(status(&pipeline, "/parcels/5").await, 201, "another route has no part in it");
    IS_BUSY.store(false, Ordering::Relaxed);
    world.pass(secs(60)).await;
    assert_eq!(status(&pipeline, "/take/4").await, 202);
    engine.stop().await;
}

#[tokio::test]
async fn where_no_engine_runs_nothing_is_counted_and_nothing_held_back() {
    let (world, pipeline) = world();
    for id in 1..=4 {
        world.tell("scan", Scanned::new(id.to_string(), "oslo")).await;
    }
    assert_eq!(status(&pipeline, "/take/1").await, 202);
    let engine = Engine::start(pipeline.clone());
    assert_eq!(status(&pipeline, "/take/2").await, 503, "an engine that runs counts them");
    engine.stop().await;
}

/// Parcels that are open, on two shelves of those that may be.
#[derive(Clone, Serialize, Deserialize)]
struct Shelved {
    id: String,
}

impl Entity for Shelved {
    const KIND: &'static str = "shelved";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }

    fn index(&self) -> Option<IndexEntry> {
        let shelf = if self.id.as_str() < "2" { "shelf-0" } else { "shelf-1" };
        Some(IndexEntry { partition: shelf.into(), sort: self.id.clone() })
    }
}

async fn shelve(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let commit = Stored::new(Shelved { id: request.parameters["id"].clone() }).commit("shelved");
    cx.commit_all(vec![commit]).await?;
    Ok(Response::json(202, &()))
}

/// Looks for what is open, some time.
async fn look(_: Loaded, _: Context<()>) -> Outcome<()> {
    Err(Failure::transient("busy", "not now"))
}

/// With room for three, on so many shelves.
fn shelves(places: &'static str) -> (World, Pipeline) {
    let open = Backlog::new().open::<Shelved>((0..8).map(|shelf| format!("shelf-{shelf}")));
    let definition = parcels::<(Loaded,)>()
        .table(Table::new("shelves").holds::<Shelved>().spread::<Shelved>("places"))
        .setting(Setting::integer("places").within(1..=8).default("1"))
        .route(
            Route::post("/shelve/{id}", "shelve", shelve)
                .backlog(open)
                .uses(Uses::new().creates::<Shelved>().setting("places")),
        )
        .on(Consumer::new("load", look)
            .attempts(100, BACKOFF)
            .uses(Uses::new().queries::<Shelved>().setting("places")));
    with_room_for_three(definition, Some(places))
}

#[tokio::test]
async fn what_is_open_counts_wherever_a_setting_spreads_it_and_so_do_the_messages_of_whoever_looks_for_it() {
    for (places, third) in [("1", 202), ("2", 503)] {
        let (world, pipeline) = shelves(places);
        let engine = Engine::start(pipeline.clone());
        for id in ["1", "2", "3"] {
            assert_eq!(status(&pipeline, &format!("/shelve/{id}")).await, 202);
            world.pass(secs(1)).await;
        }
        assert_eq!(status(&pipeline, "/shelve/4").await, third, "{places} places");
        engine.stop().await;
    }
    let (world, pipeline) = shelves("1");
    let engine = Engine::start(pipeline.clone());
    for _ in 0..3 {
        world.tell("load", Loaded::new("1", "oslo")).await;
    }
    assert_eq!(
        status(&pipeline, "/shelve/1").await,
        503,
        "whoever looks for what the route makes is behind it"
    );
    engine.stop().await;
}
