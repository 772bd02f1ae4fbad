//! Queues that others write to, ends outside of the choreography, and who invokes a function directly.

use super::support::*;
use quadrille::{
    Consumer, Context, DeadLetter, Definition, Failure, OrFailure as _, Outcome, Route, Stored, Verdict,
    engine::Engine,
    http::{Method, Request, Response},
    operator::{self, Act, Filter},
    port::PortError,
};
use serde::Deserialize;

/// A parcel as a carrier writes it.
#[derive(Deserialize)]
struct Report {
    #[serde(rename = "trackingNumber")]
    number: String,
    city: String,
}

fn decode(body: &str) -> Result<Scanned, Failure> {
    let report: Report = serde_json::from_str(body).permanent("no_report")?;
    Ok(Scanned::new(report.number, report.city))
}

/// Carriers write to the queue `reports`.
fn reported() -> Definition {
    parcels::<()>().on(Consumer::new("scan", scan).queue("reports").from_outside(decode))
}

#[tokio::test]
async fn a_body_in_another_form_becomes_an_event_and_twice_the_same_is_the_same_event() {
    let world = World::new(reported());
    world.post(&["1"]).await;
    let body = r#"{"trackingNumber": "1", "city": "oslo"}"#;
    for _ in 0..2 {
        world.send("reports", body).await;
    }
    world.send("reports", body.replace("oslo", "rome")).await;
    let messages = world.receive("reports").await;
    let mut seen = world.pipeline().observe();
    let pipeline = world.pipeline();
    drop(seen.try_recv());
    assert_eq!(
        pipeline.deliver("scan", &messages).await.unwrap(),
        [Verdict::Done, Verdict::Done, Verdict::Done]
    );
    assert_eq!(world.stops("1").await, ["oslo", "rome"]);
    assert_eq!(world.parcel("1").await.unwrap().version(), 3, "the second body changed nothing");
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_dead_lettered_with_its_reason_and_a_redrive_sends_it_as_it_was() {
    let world = World::new(reported());
    world.send("reports", "by hand: 1 to oslo").await;
    let messages = world.receive("reports").await;
    let verdicts = world.pipeline().deliver("scan", &messages).await.unwrap();
    assert_eq!(reason(&verdicts[0]), Some("no_report"));
    let dead = world.lying_in("reports-dlq").await;
    assert_eq!(dead[0].body, "by hand: 1 to oslo");
    assert_eq!(DeadLetter::read(&dead[0]).reason, "no_report");
    let pipeline = world.pipeline();
    operator::walk(&pipeline, &asked("reports-dlq", &Filter::default(), 10), Act::Redrive).await.unwrap();
    assert_eq!(world.receive("reports").await[0].body, "by hand: 1 to oslo");
}

#[tokio::test]
async fn a_decoder_that_panics_fails_its_message_alone() {
    fn careless(body: &str) -> Result<Scanned, Failure> {
        assert!(body != "boom", "no such body was thought of");
        decode(body)
    }
    let consumer = Consumer::new("scan", scan).queue("reports").attempts(1, BACKOFF).from_outside(careless);
    let world = World::new(parcels::<()>().on(consumer));
    world.post(&["1"]).await;
    world.send("reports", "boom").await;
    world.send("reports", r#"{"trackingNumber": "1", "city": "oslo"}"#).await;
    let messages = world.receive("reports").await;
    let verdicts = world.pipeline().deliver("scan", &messages).await.unwrap();
    assert_eq!((reason(&verdicts[0]), &verdicts[1]), (Some("panicked"), &Verdict::Done));
}

/// Commits a stop and tells everybody outside of it.
async fn announce(parcel: Stored<Parcel>, event: Scanned, _: Context<(Loaded,)>) -> Outcome<(Loaded,)> {
    let told = Loaded::new(event.parcel, event.place);
    Ok(parcel.commit("announced").emit(told).into())
}

fn announcing() -> Definition {
    parcels::<(Scanned,)>()
        .topic("announcements")
        .on(Consumer::new("announce", announce))
        .publish::<Loaded>("announcements")
        .send_outside::<Loaded>("billing")
}

#[tokio::test]
async fn an_event_for_others_reaches_their_queue_and_their_topic() {
    let world = World::new(announcing());
    let engine = Engine::start(world.pipeline());
    world.post(&["1"]).await;
    world.tell("announce", Scanned::new("1", "oslo")).await;
    world.pass(secs(1)).await;
    engine.stop().await;
    let billed = world.lying_in("billing").await;
    assert_eq!(billed.len(), 1);
    assert!(billed[0].body.contains(r#""type":"parcel.loaded""#), "{}", billed[0].body);
    assert_eq!((world.emitted().await.len(), world.total("billing-dlq").await), (0, 0));
}

#[tokio::test]
async fn what_others_refuse_for_good_is_dead_lettered_and_can_be_sent_again() {
    let mut world = World::new(announcing());
    let mut open = false;
    world.meddle_with_queue("billing", move |_| {
        let refused = !std::mem::replace(&mut open, true);
        refused.then(|| PortError::permanent("billing", "moved"))
    });
    let engine = Engine::start(world.pipeline());
    world.post(&["1"]).await;
    world.tell("announce", Scanned::new("1", "oslo")).await;
    world.pass(secs(1)).await;
    let dead = world.lying_in("billing-dlq").await;
    let letter = DeadLetter::read(&dead[0]);
    assert_eq!((letter.reason.as_str(), letter.source_queue.as_str()), ("port_refused", "billing"));
    let pipeline = world.pipeline();
    operator::walk(&pipeline, &asked("billing-dlq", &Filter::default(), 10), Act::Redrive).await.unwrap();
    assert_eq!((world.total("billing").await, world.total("billing-dlq").await), (1, 0));
    engine.stop().await;
}

async fn weigh(request: Request, _: Context<()>) -> Result<Response, Failure> {
    Ok(Response::json(200, &request.body.len()))
}

#[tokio::test]
async fn a_function_without_a_path_is_invoked_directly_and_answers_no_request() {
    let world = World::new(parcels::<()>().route(Route::direct("weigh", weigh)));
    let pipeline = world.pipeline();
    let request = || Request { body: "1234".into(), ..Request::default() };
    assert_eq!(pipeline.invoke("weigh", request()).await.unwrap().body, b"4");
    assert_eq!(pipeline.invoke("nobody", request()).await.unwrap_err().reason(), "no_step");
    assert!(pipeline.respond(Method::Post, "/weigh", request()).await.is_none());
    assert_eq!(pipeline.answer(None, "POST", "", request()).await.status, 404);
}

#[tokio::test]
async fn a_route_may_have_any_method_and_tells_which_where_another_is_asked() {
    let definition = parcels::<()>()
        .route(Route::put("/weights/{id}", "weigh", weigh))
        .route(Route::delete("/weights/{id}", "remove", weigh))
        .route(Route::patch("/weights/{id}", "mend", weigh))
        .route(Route::new(Method::Options, "/weights/{id}", "tell", weigh));
    let world = World::new(definition);
    let pipeline = world.pipeline();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let response = pipeline.answer(None, method, "/weights/1", Request::default()).await;
        assert_eq!(response.status, 200, "{method}");
    }
    let refused = pipeline.answer(None, "GET", "/weights/1", Request::default()).await;
    assert_eq!(refused.status, 405);
    let allowed = refused.headers.iter().find(|(name, _)| *name == "allow").unwrap();
    assert_eq!(allowed.1, "PUT, PATCH, DELETE, OPTIONS");
}
