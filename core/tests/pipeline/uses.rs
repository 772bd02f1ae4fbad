//! What a handler does not declare it can't do: what would have no permission on AWS fails everywhere, and says what to add.

use super::support::*;
use quadrille::{
    Choreography, Consumer, Context, Entity, Failure, Handled, Outcome, Route, Stored, Table, Uses, Verdict,
    http::{Method, Request, Response},
    port::IndexQuery,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What is stuck on a parcel: a kind of its own, in a table of its own.
#[derive(Serialize, Deserialize)]
struct Label {
    id: String,
}

impl Entity for Label {
    const KIND: &'static str = "label";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.id)
    }
}

fn label<Em>() -> quadrille::Commit<Em> {
    Stored::new(Label { id: "1".to_owned() }).commit("stuck on")
}

/// Does what it is told; what it is to return is left to the caller.
async fn act(what: &str, cx: &Context<()>) -> Result<(), Failure> {
    match what {
        "get" => cx.get::<Label>(&["1"]).await.map(|_| ()),
        "get nothing" => cx.get::<Label>(&[] as &[&str]).await.map(|_| ()),
        "query" => {
            let query = IndexQuery { partition: "x".to_owned(), after: None, before: None, limit: 1 };
            cx.query::<Label>(&query).await.map(|_| ())
        }
        "commit" => cx.commit_all(vec![label()]).await.map(|_| ()),
        "photo" => cx.bucket("photos").map(|_| ()),
        "put" => Ok(cx.bucket("photos")?.put_if_absent("1", Vec::new()).await.map(|_| ())?),
        "read" => Ok(cx.bucket("photos")?.get("1").await.map(|_| ())?),
        "list" => Ok(cx.bucket("photos")?.list("", None, 1).await.map(|_| ())?),
        _ => Ok(()),
    }
}

async fn stick(event: Scanned, cx: Context<()>) -> Outcome<()> {
    act(&event.place, &cx).await?;
    Ok(if event.place == "return" { label().into() } else { Handled::Done })
}

async fn ask(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    act(&request.query, &cx).await.map(|()| Response::json(200, &()))
}

/// A world whose step `scan` and route `GET /ask` have these uses.
fn using(uses: &Uses) -> World {
    let all = Uses::new().puts("photos").commits::<Label>();
    let definition = Choreography::define("parcels")
        .table(Table::new(PARCELS).holds::<Parcel>())
        .table(Table::new("labels").holds::<Label>())
        .bucket("photos")
        .route(Route::post("/parcels/{id}", "post", emit).uses(all))
        .route(Route::get("/ask", "ask", ask).uses(uses.clone()))
        .on(Consumer::new("scan", stick).uses(uses.clone()));
    World::new(definition)
}

/// So that what `scan` consumes has a producer.
async fn emit(_: Request, _: Context<(Scanned,)>) -> Result<Response, Failure> {
    Ok(Response::json(201, &()))
}

/// Ways to use labels and photos.
const WAYS: [fn(Uses) -> Uses; 6] = [
    Uses::gets::<Label>,
    Uses::queries::<Label>,
    Uses::commits::<Label>,
    |uses| uses.puts("photos"),
    |uses| uses.reads("photos"),
    |uses| uses.lists("photos"),
];

/// What a handler may be told to do: the place of the way that allows it, and what is said where it is not declared.
const ACTS: [(&str, usize, &str, &str); 8] = [
    ("get", 0, "gets entities of kind \"label\"", "`.gets::<…>()`"),
    ("get nothing", 0, "gets entities of kind \"label\"", "`.gets::<…>()`"),
    ("query", 1, "queries the index of entities of kind \"label\"", "`.queries::<…>()`"),
    ("commit", 2, "commits entities of kind \"label\"", "`.commits::<…>()`"),
    ("return", 2, "commits entities of kind \"label\"", "`.commits::<…>()`"),
    ("put", 3, "puts objects into the bucket \"photos\"", "`.puts(\"photos\")`"),
    ("read", 4, "reads objects of the bucket \"photos\"", "`.reads(\"photos\")`"),
    ("list", 5, "lists the keys of the bucket \"photos\"", "`.lists(\"photos\")`"),
];

/// What becomes of it where `scan` is told to do this.
async fn scanned(world: &World, what: &str) -> Result<(), Failure> {
    world.tell("scan", Scanned::new("1", what)).await;
    match world.deliver("scan").await.remove(0) {
        Verdict::Done => Ok(()),
        Verdict::DeadLetter(failure) => Err(failure),
        other => panic!("{what}: {other:?}"),
    }
}

async fn asked(world: &World, what: &str) -> Response {
    let request = Request { query: what.to_owned(), ..Request::default() };
    world.pipeline().respond(Method::Get, "/ask", request).await.unwrap()
}

#[tokio::test]
async fn what_a_handler_declares_it_can_do() {
    for (act, way, ..) in ACTS {
        let world = using(&WAYS[way](Uses::new()));
        assert_eq!(scanned(&world, act).await, Ok(()), "{act}");
        assert_eq!(asked(&world, act).await.status, 200, "{act}");
    }
}

#[tokio::test]
async fn what_a_handler_does_not_declare_is_a_permanent_failure_that_says_what_to_add() {
    for (act, way, does, add) in ACTS {
        // All but the one: none of the others stands for it.
        let others = WAYS.iter().enumerate().filter(|(at, _)| *at != way).map(|(_, way)| way);
        let world = using(&others.fold(Uses::new(), |uses, way| way(uses)));
        let failure = scanned(&world, act).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), ("undeclared_use", true), "{act}");
        let said = format!("scan {does}, which it does not declare: add {add} to its uses");
        assert_eq!(failure.detail(), said);
        if act != "return" {
            let answer = asked(&world, act).await;
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((answer.status, &problem["type"]), (500, &"/problems/undeclared_use".into()), "{act}");
        }
        let labels = world.ports.tables["labels"].get(&["label/1".to_owned()]).await.unwrap();
        assert_eq!(labels, [None], "{act}");
        assert_eq!(world.ports.buckets["photos"].get("1").await, Ok(None), "{act}");
    }
}

#[tokio::test]
async fn a_bucket_that_a_handler_does_not_declare_is_none_for_it() {
    let world = using(&Uses::new().gets::<Label>());
    let failure = scanned(&world, "photo").await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "undeclared_use: scan uses the bucket \"photos\", which it does not declare: add `.puts(\"photos\")`, \
         `.reads(\"photos\")` or `.lists(\"photos\")` to its uses"
    );
}

/// The entity a handler is called with it may read again, commit, and have its failures noted on; a step told nothing else
/// needs to declare nothing.
#[tokio::test]
async fn the_entity_that_is_loaded_need_not_be_declared() {
    let again = |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| async move {
        let read = cx.get::<Parcel>(&[&event.parcel]).await?.remove(0).unwrap();
        cx.commit_all(vec![read.commit("read again")]).await?;
        match event.place.as_str() {
            BURNT => Err(Failure::permanent("burnt", "nothing is left of it")),
            _ => stop::<()>(parcel, &event.place),
        }
    };
    let world = super::scanning(again);
    world.post(&["1"]).await;
    assert_eq!(scanned(&world, BURNT).await.unwrap_err().reason(), "burnt");
    assert_eq!(world.trail("1").await, ["posted", "read again", "dead-lettered: burnt"]);
    // Its index it may not read unless it says so.
    let query = IndexQuery { partition: "x".to_owned(), after: None, before: None, limit: 1 };
    let look = move |_: Stored<Parcel>, _: Scanned, cx: Context<()>| {
        let query = query.clone();
        async move { cx.query::<Parcel>(&query).await.map(|_| Handled::Done) }
    };
    let world = super::scanning(look);
    world.post(&["1"]).await;
    assert_eq!(scanned(&world, "anywhere").await.unwrap_err().reason(), "undeclared_use");
}
