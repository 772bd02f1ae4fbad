//! Work that is acknowledged, bounded and measured from outside, as on Lambda.

use super::{scanning, support::*};
use quadrille::{
    Context, Invocation, Outcome, Stored, Verdict,
    http::Request,
    metrics::{self, Measured, Meter, Metric},
    port::PortError,
};

const STOPS: Metric = Metric::count("Stops");
const LOOKS: Metric = Metric::count("Looks");

/// `scan`, measured.
async fn measured(mut parcel: Stored<Parcel>, event: Scanned, cx: Context<()>) -> Outcome<()> {
    cx.measure(LOOKS, 1.0);
    if parcel.stops.contains(&event.place) || event.place == BURNT {
        return stop(parcel, &event.place);
    }
    parcel.stops.push(event.place.clone());
    Ok(parcel.commit("stopped").measure(STOPS, 1.0).into())
}

fn values(measured: &[Measured]) -> Vec<(&'static str, f64)> {
    measured.iter().map(|measured| (measured.metric.name(), measured.values[0])).collect()
}

#[tokio::test]
async fn all_but_deleting_is_done_and_what_must_not_be_deleted_is_named() {
    let mut world = scanning(scan);
    let mut refuse = true;
    world.meddle_with_queue("scan-dlq", move |_| {
        std::mem::take(&mut refuse).then(|| PortError::transient("scan-dlq", "no answer"))
    });
    for (id, place) in [("1", "oslo"), ("2", BUSY), ("3", BURNT), ("4", BURNT)] {
        world.post(&[id]).await;
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let mut early = envelope(Scanned::new("1", "rome"));
    early.notbefore = Some(START + secs(60));
    world.send("scan", text(&early)).await;
    let messages = world.receive("scan").await;
    let delivered = world.pipeline().deliver_unacknowledged("scan", &messages).await.unwrap();
    // To be tried again, and not dead-lettered. Handled, sent on and dead-lettered may go.
    assert_eq!(delivered.kept, [1, 2]);
    assert_eq!(delivered.verdicts[0], Verdict::Done);
    assert_eq!(world.total("scan").await, 6, "nothing was deleted, and one was sent on");
    assert_eq!(world.total("scan-dlq").await, 1);
}

#[tokio::test]
async fn past_its_deadline_nothing_is_begun() {
    let calls = Log::default();
    let log = calls.clone();
    let world = scanning(move |parcel: Stored<Parcel>, event: Scanned, cx: Context<()>| {
        log.push(event.parcel.clone());
        scan(parcel, event, cx)
    });
    world.post(&["1", "2"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.tell("scan", Scanned::new("2", "oslo")).await;
    let messages = world.receive("scan").await;
    let late = world.pipeline().during(Invocation { deadline: Some(START), ..Invocation::default() });
    let delivered = late.deliver_unacknowledged("scan", &messages).await.unwrap();
    assert_eq!(delivered.kept, [0, 1]);
    let is_late = |verdict: &Verdict| matches!(verdict, Verdict::Retry(_, why) if why.reason() == "timeout");
    assert!(delivered.verdicts.iter().all(is_late), "{:?}", delivered.verdicts);
    assert_eq!((calls.len(), world.total("scan-dlq").await), (0, 0));
}

#[tokio::test]
async fn what_runs_at_the_deadline_counts_as_failed_before_the_steps_own_timeout() {
    let world = scanning(async |_: Stored<Parcel>, _: Scanned, _: Context<()>| std::future::pending().await);
    world.post(&["1"]).await;
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let messages = world.receive("scan").await;
    let bound = Invocation { deadline: Some(START + secs(3)), ..Invocation::default() };
    let pipeline = world.pipeline().during(bound);
    let working = tokio::spawn(async move { pipeline.deliver_unacknowledged("scan", &messages).await });
    all_wait().await;
    assert!(!working.is_finished());
    world.clock.advance(secs(3));
    assert_eq!(working.await.unwrap().unwrap().kept, [0]);
}

#[tokio::test]
async fn a_commit_is_measured_when_it_is_applied_and_once() {
    let mut world = scanning(measured);
    let mut lost = false;
    world.post(&["1", "2"]).await;
    // The first commit loses its race, as if somebody else had been there.
    world.meddle_with_table(move |_| {
        if std::mem::replace(&mut lost, true) {
            CommitFault::None
        } else {
            CommitFault::Overtaken("rome".into())
        }
    });
    for (id, place) in [("1", "oslo"), ("1", "oslo"), ("2", BURNT)] {
        world.tell("scan", Scanned::new(id, place)).await;
    }
    let meter = Meter::gathering();
    let pipeline = world.pipeline().during(Invocation { meter: meter.clone(), ..Invocation::default() });
    let messages = world.receive("scan").await;
    pipeline.deliver("scan", &messages).await.unwrap();
    let measured = meter.take();
    let of = |metric: Metric| values(&measured).into_iter().find(|(name, _)| *name == metric.name());
    assert_eq!(of(STOPS), Some(("Stops", 1.0)), "{measured:?}");
    assert!(of(LOOKS).is_some_and(|(_, looks)| looks > 1.0), "{measured:?}");
    assert_eq!(of(metrics::HANDLED).map(|(_, count)| count), Some(2.0));
    assert_eq!(of(metrics::DEAD_LETTERED).map(|(_, count)| count), Some(1.0));
    assert_eq!(of(metrics::RETRIED), None);
}

#[tokio::test]
async fn what_carries_no_trace_goes_on_with_the_invocations() {
    let world = scanning(scan);
    world.post(&["1"]).await;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Invocation { traceparent: Some(given.into()), ..Invocation::default() };
    let pipeline = world.pipeline().during(traced);
    let response = pipeline.answer(None, "POST", "/parcels/2", Request::default()).await;
    assert_eq!(response.status, 201);
    assert_eq!(world.parcel("2").await.unwrap().trace_id(), Some(&given[3..35]));
}

#[tokio::test]
async fn what_no_route_answers_is_told_why() {
    let world = scanning(scan);
    let pipeline = world.pipeline();
    let ask = async |step, method, path| {
        let response = pipeline.answer(step, method, path, Request::default()).await;
        (response.status, response.headers)
    };
    assert_eq!(ask(None, "GET", "/parcels/1").await, (405, vec![("allow", "POST".to_owned())]));
    assert_eq!(ask(None, "DELETE", "/parcels/1").await, (405, vec![("allow", "POST".to_owned())]));
    assert_eq!(ask(None, "POST", "/parcels/%FF").await, (404, Vec::new()));
    assert_eq!(ask(None, "GET", "/").await, (404, Vec::new()));
    // A function has its own route and no other.
    assert_eq!(ask(Some("load"), "POST", "/parcels/1").await, (404, Vec::new()));
    assert_eq!(ask(Some("post"), "POST", "/parcels/1").await.0, 201);
}
