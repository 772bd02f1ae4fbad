//! Every event that Lambda hands in, fuzzed: see `core/tests/support/fuzz.rs`. Each is given to every function of a choreography,
//! whichever it was meant for.

use super::{Answer, Deadlines, Function, Runtime, trace};
use crate::{
    alarm::Alert,
    choreography::{Choreography, Consumer, Route, Table},
    commit::{Handled, Outcome},
    context::{Committed, Context},
    failure::Failure,
    http::{Request, Response},
    memory::{Memory, VirtualClock},
    model::Uses,
    pipeline::Pipeline,
    port::SeededRandom,
    stored::Stored,
    timestamp::Timestamp,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use fuzz::{fuzz, is_shown};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{cell::Cell, collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

#[path = "../../tests/support/fuzz.rs"]
mod fuzz;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[derive(Serialize, Deserialize)]
struct Bell {
    name: String,
    rings: u32,
}
crate::entity!(Bell: "bell", by name);

#[derive(Serialize, Deserialize)]
struct Rung {
    bell: String,
}
crate::event!(Rung: "bell.rung", to Bell by bell);

#[derive(Serialize, Deserialize)]
struct Cast {
    bell: String,
}
crate::event!(Cast: "bell.cast", to Bell by bell);

/// Hears every bell but the small one, of which it is told again.
async fn hear(bell: Option<Stored<Bell>>, event: Rung, _: Context<()>) -> Outcome<()> {
    if event.bell == "small" {
        return Err(Failure::transient("too_low", "nobody hears it"));
    }
    let mut bell = bell.unwrap_or_else(|| Stored::new(Bell { name: event.bell, rings: 0 }));
    bell.rings = bell.rings.saturating_add(1);
    Ok(bell.commit("rung").into())
}

async fn look(_: Cast, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

async fn alerted(_: Alert, _: Context<()>) -> Outcome<()> {
    Ok(Handled::Done)
}

/// Takes the body as it is.
async fn ring(request: Request, cx: Context<(Rung,)>) -> Result<Response, Failure> {
    let name = String::from_utf8_lossy(&request.body).chars().take(8).collect::<String>();
    let bell = Stored::new(Bell { name: format!("{}-{name}", request.parameter("name")), rings: 0 });
    let event = Rung { bell: bell.name.clone() };
    let is_new = cx.commit(bell.commit("cast").emit(event)).await? == Committed::Applied;
    Ok(Response::json(if is_new { 201 } else { 409 }, &is_new))
}

fn functions() -> Vec<Runtime> {
    let hourly = |at: Timestamp| Cast { bell: at.to_string() };
    let choreography = Choreography::define("tower")
        .table(Table::new("bells").holds::<Bell>())
        .route(Route::post("/bells/{name}", "ring", ring).uses(Uses::new().commits::<Bell>()))
        .on(Consumer::new("hear", hear).from_stream("bells"))
        .schedule("hourly", Duration::from_secs(3_600), hourly)
        .on(Consumer::new("look", look))
        .topic("alerts")
        .alarm_to("alerts")
        .on(Consumer::new("alerted", alerted).from_topic("alerts"))
        .build()
        .unwrap();
    let (clock, random) = (Arc::new(VirtualClock::new(NOW)), Arc::new(SeededRandom::new(1)));
    let ports = Memory::new(choreography.model(), clock, random).ports();
    let named = |name: &str| Function::find(choreography.model(), name).unwrap();
    let functions = ["hear", "look", "alerted", "ring", "relay"].map(named).into_iter();
    functions
        .map(|function| Runtime::new(Pipeline::new(choreography.clone(), ports.clone()), function))
        .collect()
}

/// The texts by a name, wherever they stand in an event.
fn named(event: &Value, name: &str, into: &mut BTreeSet<String>) {
    match event {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            if key == name
                && let Some(text) = value.as_str()
            {
                into.insert(text.to_owned());
            }
            named(value, name, into);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| named(element, name, into)),
        _ => {}
    }
}

/// What of a batch is to come again is of that batch: Lambda takes the whole of it to have failed otherwise. Returns how many there
/// are that name a part of it.
fn are_of_the_batch(answer: &Value, payload: &str, name: &str) -> usize {
    // Where a member stands twice, which of the two was read is no matter here.
    let Ok(event) = serde_json::from_str::<Value>(payload) else { return 0 };
    let mut known = BTreeSet::from([String::new()]);
    named(&event, name, &mut known);
    for failure in answer["batchItemFailures"].as_array().unwrap() {
        let id = failure["itemIdentifier"].as_str().unwrap();
        assert!(
            known.contains(id) || payload.matches(name).count() >= known.len(),
            "{id:?} is none of {known:?}"
        );
    }
    let ids = answer["batchItemFailures"].as_array().into_iter().flatten();
    ids.filter(|failure| failure["itemIdentifier"] != "").count()
}

/// Returns how many messages of a queue are to come again, and how many records of a stream.
fn holds(answer: &Answer, payload: &str) -> [usize; 2] {
    let written: Value = serde_json::from_str(&serde_json::to_string(answer).unwrap()).unwrap();
    match answer {
        Answer::Queue(_) => return [are_of_the_batch(&written, payload, "messageId"), 0],
        Answer::Stream(_) => {
            assert!(
                written["batchItemFailures"].as_array().unwrap().len() <= 1,
                "from one record on: {written}"
            );
            return [0, are_of_the_batch(&written, payload, "SequenceNumber")];
        }
        Answer::Http(_) => {
            assert!((200..600).contains(&written["statusCode"].as_u64().unwrap()), "{written}");
            for (name, value) in written["headers"].as_object().unwrap() {
                let value = value.as_str().unwrap();
                assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {value:?}");
            }
            if written["isBase64Encoded"] == true {
                BASE64_STANDARD.decode(written["body"].as_str().unwrap()).unwrap();
            }
        }
        Answer::Direct(_) | Answer::Nothing(()) => {}
    }
    [0, 0]
}

#[test]
fn whatever_lambda_hands_in_is_answered_in_its_own_terms_or_refused_in_short() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/lambda");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deadlines = Deadlines::of(NOW + Duration::from_secs(60), NOW);
    let (answered, again) = (Cell::new(0), Cell::new([0, 0]));
    fuzz(&folder, |document| {
        let payload = String::from_utf8_lossy(document);
        for function in functions() {
            match runtime.block_on(function.answer(&function.pipeline, &payload, deadlines)) {
                Ok(answer) => {
                    let [messages, records] = holds(&answer, &payload);
                    again.set([again.get()[0] + messages, again.get()[1] + records]);
                    answered.set(answered.get() + 1);
                }
                Err(failure) => {
                    is_shown(failure.detail(), 1_024);
                    let is_name =
                        |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit();
                    assert!(failure.reason().bytes().all(is_name), "{failure:?}");
                }
            }
        }
    });
    assert!(answered.get() > 1_000, "{} answers", answered.get());
    assert!(again.get().iter().all(|count| *count > 3), "{again:?} are to come again");
}

#[test]
fn the_header_of_a_trace_is_read_as_one_or_not_at_all() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/trace");
    fuzz(&folder, |document| {
        if let Some(traceparent) = trace::traceparent(&String::from_utf8_lossy(document)) {
            assert_eq!(crate::trace::trace_id(&traceparent).map(str::len), Some(32), "{traceparent:?}");
            is_shown(&traceparent, 200);
        }
    });
}
