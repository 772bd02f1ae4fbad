//! Requests: which route answers, with which parameters, and what a failure looks like from outside.

use super::support::*;
use quadrille::{
    Committed, Consumer, Context, Failure, Route, Stored, Uses,
    http::{Method, Request, Response, address},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Answers with the parameters.
async fn show(request: Request, _: Context<()>) -> Result<Response, Failure> {
    Ok(Response::json(200, &request.parameters))
}

/// Fails in the way that the path asks for.
async fn fail(request: Request, _: Context<()>) -> Result<Response, Failure> {
    match request.parameters["how"].as_str() {
        "transient" => Err(Failure::transient("table_busy", "the secret name of a table")),
        "permanent" => Err(Failure::permanent("no_table", "the secret name of a table")),
        _ => std::future::pending().await,
    }
}

async fn post(request: Request, cx: Context<(Scanned, Loaded)>) -> Result<Response, Failure> {
    let id = &request.parameters["id"];
    let commit = Stored::new(Parcel::new(id)).commit("posted");
    let commit = commit.emit(Scanned::new(id, "oslo")).emit(Loaded::new(id, "oslo"));
    let is_new = cx.commit(commit).await? == Committed::Applied;
    Ok(Response::json(if is_new { 201 } else { 409 }, &()))
}

fn world() -> World {
    let definition = parcels::<()>()
        .route(Route::get("/parcels/{id}", "show", show))
        .route(Route::get("/parcels/{id}/stops/{place}", "show-stop", show))
        .route(Route::get("/failures/{how}", "fail", fail))
        .route(Route::get("/quick/{how}", "quick", fail).timeout(secs(2)))
        .route(Route::post("/emit/{id}", "emit", post).uses(Uses::new().commits::<Parcel>()))
        .on(Consumer::new("scan", scan))
        .on(Consumer::new("load", idle::<Loaded>));
    World::new(definition)
}

async fn get(world: &World, path: &str) -> Option<Response> {
    world.pipeline().respond(Method::Get, path, Request::default()).await
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[tokio::test]
async fn a_request_finds_its_route_and_its_parameters_are_decoded() {
    let world = world();
    for (path, expected) in [
        ("/parcels/1", json!({"id": "1"})),
        // Data, whatever it looks like: it is decoded after the path was split, and only once.
        ("/parcels/a%2Fb", json!({"id": "a/b"})),
        ("/parcels/%2E%2E%2F", json!({"id": "../"})),
        ("/parcels/%2541", json!({"id": "%41"})),
        ("/parcels/a+b%20c", json!({"id": "a+b c"})),
        ("/parcels/%E2%82%AC", json!({"id": "€"})),
        ("/parcels/€", json!({"id": "€"})),
        ("/parcels/1/stops/oslo", json!({"id": "1", "place": "oslo"})),
    ] {
        let response = get(&world, path).await.unwrap_or_else(|| panic!("{path} has no route"));
        assert_eq!((response.status, body(&response)), (200, expected), "{path}");
    }
}

#[tokio::test]
async fn the_address_of_a_value_leads_to_it_whatever_it_holds() {
    let world = world();
    let ask = async |address: &str| {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let request = Request { query: query.to_owned(), ..Request::default() };
        world.pipeline().respond(Method::Get, path, request).await.unwrap()
    };
    for (id, place) in [("a?b", "100%"), ("%3F", "-"), ("..", "a/b&c=d"), ("ü", "oslo"), ("1", "oslo")] {
        let address = address("/parcels/{id}/stops/{place}", |name| if name == "id" { id } else { place });
        let response = ask(&address).await;
        let expected = json!({"id": id, "place": place});
        assert_eq!((response.status, body(&response)), (200, expected), "{address}");
    }
    let unreadable = ask("/parcels/-?id.hex=6").await;
    assert_eq!(
        (unreadable.status, &body(&unreadable)["type"]),
        (400, &json!("/problems/unreadable_address"))
    );
    assert_eq!(body(&ask("/parcels/-?place.hex=61").await), json!({"id": "-"}));
}

#[tokio::test]
async fn a_path_that_no_route_matches_has_no_answer() {
    let world = world();
    for path in [
        "/",
        "",
        "/parcels",
        // A parameter is never empty, and always UTF-8.
        "/parcels/",
        "/parcels/%FF",
        "/parcels/1/",
        "/parcels/1/stops",
        "/parcels/1/stops/oslo/2",
        "//parcels/1",
        "/Parcels/1",
        "/emit/1",
    ] {
        assert_eq!(get(&world, path).await, None, "{path}");
    }
    let other = world.pipeline().respond(Method::Post, "/failures/permanent", Request::default()).await;
    assert_eq!(other, None, "the method counts");
}

#[tokio::test]
async fn a_handler_answers_by_whether_its_commit_was_applied() {
    let world = world();
    for status in [201, 409] {
        let answer = world.pipeline().respond(Method::Post, "/emit/1", Request::default()).await.unwrap();
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_failure_says_whether_to_try_again_and_keeps_its_detail_to_itself() {
    let world = world();
    for (how, status, name) in [("transient", 503, "table_busy"), ("permanent", 500, "no_table")] {
        let response = get(&world, &format!("/failures/{how}")).await.unwrap();
        assert_eq!((response.status, response.content_type), (status, "application/problem+json"));
        let problem = body(&response);
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&json!(format!("/problems/{name}")), &json!(status))
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_a_transient_failure() {
    // Before an HTTP API of API Gateway answers by itself; or as soon as the route says.
    for (path, timeout) in [("/failures/never", secs(29)), ("/quick/never", secs(2))] {
        let world = world();
        let pipeline = world.pipeline();
        let answering =
            tokio::spawn(
                async move { pipeline.respond(Method::Get, path, Request::default()).await.unwrap() },
            );
        all_wait().await;
        world.clock.advance(timeout - Duration::from_millis(1));
        all_wait().await;
        assert!(!answering.is_finished(), "{path}");
        world.clock.advance(Duration::from_millis(1));
        let response = answering.await.unwrap();
        assert_eq!((response.status, &body(&response)["type"]), (503, &json!("/problems/timeout")));
    }
}

#[tokio::test]
async fn a_request_gives_its_flow_one_name_and_its_own_trace() {
    let world = world();
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for traceparent in [Some(given), Some("no trace"), None] {
        let headers = traceparent.map(|given| ("traceparent".to_owned(), given.to_owned()));
        let headers: BTreeMap<_, _> = headers.into_iter().collect();
        let id = format!("{}", headers.len() + traceparent.map_or(0, str::len));
        let request = Request { headers, ..Request::default() };
        world.pipeline().respond(Method::Post, &format!("/emit/{id}"), request).await.unwrap();
        let events = world.emitted().await;
        let [scanned, loaded] = &events[events.len() - 2..] else { panic!("{events:?}") };
        let parcel = world.parcel(&id).await.unwrap();
        let trace = |event: &Value| event["traceparent"].as_str().unwrap()[3..35].to_owned();
        assert_eq!(trace(scanned), trace(loaded));
        assert_eq!(parcel.trace_id(), Some(trace(scanned).as_str()));
        assert_eq!(trace(scanned) == given[3..35], traceparent == Some(given), "{traceparent:?}");
        assert_eq!(scanned["correlationid"], loaded["correlationid"]);
        assert_eq!(parcel.correlation_id(), scanned["correlationid"].as_str());
        assert_eq!(scanned["correlationid"].as_str().unwrap().len(), 32);
    }
    let mut names: Vec<String> =
        world.emitted().await.iter().map(|event| event["correlationid"].to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "each request is a flow of its own");
}
