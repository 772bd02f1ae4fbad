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
        "get" => cx.get::<Label>(&["1", "2"]).await.map(|_| ()),
        "get nothing" => cx.get::<Label>(&[] as &[&str]).await.map(|_| ()),
        "get one" => cx.get_one::<Label>("1").await.map(|_| ()),
        "get each of one" => cx.get_each::<Label>(&["1"]).await.map(|_| ()),
        "query" => {
            let query = IndexQuery { partition: "x".to_owned(), after: None, before: None, limit: 1 };
            cx.query::<Label>(&query).await.map(|_| ())
        }
        "create" => cx.commit_all(vec![label()]).await.map(|_| ()),
        "create one" => cx.commit(label()).await.map(|_| ()),
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
const WAYS: [fn(Uses) -> Uses; 8] = [
    Uses::gets::<Label>,
    Uses::gets_one::<Label>,
    Uses::queries::<Label>,
    Uses::creates::<Label>,
    Uses::commits_one::<Label>,
    |uses| uses.puts("photos"),
    |uses| uses.reads("photos"),
    |uses| uses.lists("photos"),
];

/// What a handler may be told to do: the places of the ways that allow it, and what is said where none is declared.
const ACTS: [(&str, &[usize], &str, &str); 11] = [
    ("get", &[0], "gets entities of kind \"label\"", "`.gets::<…>()`"),
    ("get nothing", &[0], "gets entities of kind \"label\"", "`.gets::<…>()`"),
    ("get one", &[0, 1], "gets an entity of kind \"label\"", "`.gets_one::<…>()`"),
    ("get each of one", &[0, 1], "gets an entity of kind \"label\"", "`.gets_one::<…>()`"),
    ("query", &[2], "queries the index of entities of kind \"label\"", "`.queries::<…>()`"),
    ("create", &[3], "creates entities of kind \"label\"", "`.creates::<…>()`"),
    // In the same request as what other messages of the batch commit.
    ("return", &[3], "creates entities of kind \"label\"", "`.creates::<…>()`"),
    ("create one", &[3, 4], "commits an entity of kind \"label\"", "`.commits_one::<…>()`"),
    ("put", &[5], "puts objects into the bucket \"photos\"", "`.puts(\"photos\")`"),
    ("read", &[6], "reads objects of the bucket \"photos\"", "`.reads(\"photos\")`"),
    ("list", &[7], "lists the keys of the bucket \"photos\"", "`.lists(\"photos\")`"),
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
    for (act, way) in ACTS.iter().flat_map(|(act, ways, ..)| ways.iter().map(move |way| (*act, *way))) {
        let world = using(&WAYS[way](Uses::new()));
        assert_eq!(scanned(&world, act).await, Ok(()), "{act}");
        assert_eq!(asked(&world, act).await.status, 200, "{act}");
    }
}

#[tokio::test]
async fn what_a_handler_does_not_declare_is_a_permanent_failure_that_says_what_to_add() {
    for (act, ways, does, add) in ACTS {
        // All but those: none of the others stands for it.
        let others = WAYS.iter().enumerate().filter(|(at, _)| !ways.contains(at)).map(|(_, way)| way);
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

/// Reads what is there and commits it, as it is told to.
async fn change(request: Request, cx: Context<(Delivered,)>) -> Result<Response, Failure> {
    let label = cx.get_one::<Label>("1").await?;
    let commit = label.unwrap_or_else(|| Stored::new(Label { id: "1".to_owned() })).commit("changed");
    let later = Delivered::new("1", "later");
    match request.query.as_str() {
        "one" => drop(cx.commit(commit).await?),
        "later" => drop(cx.commit(commit.emit_after(secs(1), later)).await?),
        _ => drop(cx.commit_all(vec![commit]).await?),
    }
    Ok(Response::json(200, &()))
}

/// The failure of `POST /change`, asked for so; `None` where it was answered.
async fn changed(uses: Uses, is_there: bool, query: &str) -> Option<String> {
    let definition = parcels::<(Delivered,)>()
        .table(Table::new("labels").holds::<Label>())
        .route(Route::post("/make", "make", change).uses(Uses::new().gets_one::<Label>().commits::<Label>()))
        .route(Route::post("/change", "change", change).uses(uses.gets_one::<Label>()))
        .on(Consumer::new("deliver", |_: Delivered, _: Context<()>| async {
            Outcome::<()>::Ok(Handled::Done)
        }));
    let world = World::new(definition);
    let request = |query: &str| Request { query: query.to_owned(), ..Request::default() };
    if is_there {
        let made = world.pipeline().respond(Method::Post, "/make", request("one")).await.unwrap();
        assert_eq!(made.status, 200);
    }
    let answer = world.pipeline().respond(Method::Post, "/change", request(query)).await.unwrap();
    (answer.status != 200).then(|| {
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        problem["type"].as_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn to_create_and_to_change_several_are_declared_each() {
    let undeclared = Some("/problems/undeclared_use".to_owned());
    let (creates, changes, one) =
        (Uses::creates::<Label>, Uses::changes::<Label>, Uses::commits_one::<Label>);
    for (way, is_there, query, expected) in [
        (creates as fn(Uses) -> Uses, false, "several", None),
        (creates, true, "several", undeclared.clone()),
        (changes, true, "several", None),
        (changes, false, "several", undeclared.clone()),
        (one, true, "several", undeclared.clone()),
        (one, true, "one", None),
        (one, false, "one", None),
        (changes, false, "one", undeclared.clone()),
        (Uses::commits::<Label>, true, "several", None),
    ] {
        assert_eq!(changed(way(Uses::new()), is_there, query).await, expected, "{is_there} {query}");
    }
}

#[tokio::test]
async fn an_event_with_a_later_time_is_declared() {
    let uses = Uses::new().commits::<Label>();
    assert_eq!(changed(uses.clone(), false, "later").await, Some("/problems/undeclared_use".to_owned()));
    assert_eq!(changed(uses.emits_later::<Delivered>(), false, "later").await, None);
}
