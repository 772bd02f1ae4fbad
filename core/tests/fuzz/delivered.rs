//! Messages: envelopes, and what others write to a queue in a form of their own. Each body is given to a whole pipeline.

use crate::{fuzz::is_shown, fuzzed};
use quadrille::{
    Choreography, Consumer, Context, DeadLetter, Envelope, Failure, Handled, OrFailure as _, Outcome,
    Pipeline, Stored, Table, Timestamp, Verdict,
    memory::{Memory, VirtualClock},
    port::{NewMessage, SeededRandom},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

#[derive(Serialize, Deserialize)]
struct Parcel {
    id: String,
    stops: Vec<String>,
}
quadrille::entity!(Parcel: "parcel", by id);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Scanned {
    id: String,
    city: String,
}
quadrille::event!(Scanned: "parcel.scanned", to Parcel by id);

async fn scan(parcel: Option<Stored<Parcel>>, event: Scanned, _: Context<()>) -> Outcome<()> {
    let mut parcel =
        parcel.unwrap_or_else(|| Stored::new(Parcel { id: event.id.clone(), stops: Vec::new() }));
    if parcel.stops.contains(&event.city) {
        return Ok(Handled::already("scanned"));
    }
    parcel.stops.push(event.city);
    Ok(parcel.commit("scanned").into())
}

/// A parcel as a carrier writes it.
fn decode(body: &str) -> Result<Scanned, Failure> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(rename = "trackingNumber")]
        number: String,
        city: String,
    }
    let report: Report = serde_json::from_str(body).permanent("no_report")?;
    Ok(Scanned { id: report.number, city: report.city })
}

/// Sends a body to `scan` as often as asked for, and delivers it: each time it is done, given up with a reason, or waits. Whether
/// it was done.
fn delivered(body: &str, times: usize, is_from_outside: bool) -> bool {
    let consumer = Consumer::new("scan", scan).queue("reports");
    let consumer = if is_from_outside { consumer.from_outside(decode) } else { consumer };
    let hourly = |at: Timestamp| Scanned { id: "1".into(), city: at.to_string() };
    let definition =
        Choreography::define("parcels").table(Table::new("parcels").holds::<Parcel>()).on(consumer);
    let every = Duration::from_secs(3_600);
    let definition = if is_from_outside { definition } else { definition.schedule("hourly", every, hourly) };
    let choreography = definition.build().unwrap();
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let ports = Memory::new(choreography.model(), clock, Arc::new(SeededRandom::new(1))).ports();
    let pipeline = Pipeline::new(choreography, ports.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let queue = ports.queue("reports").unwrap();
        let sent = NewMessage { body: body.to_owned(), ..NewMessage::default() };
        let sent = queue.send(vec![sent; times]).await;
        let is_taken = sent.iter().all(Result::is_ok);
        let messages = queue.receive(10, Duration::ZERO, None).await.unwrap();
        assert_eq!(messages.len(), if is_taken { times } else { 0 });
        let verdicts = pipeline.deliver("scan", &messages).await.unwrap();
        let mut given_up = 0;
        for verdict in &verdicts {
            match verdict {
                Verdict::Done => {}
                Verdict::DeadLetter(failure) => {
                    given_up += 1;
                    is_shown(failure.detail(), 1_024);
                }
                // It names another entity than the one that it makes, or an earlier one.
                Verdict::Retry(_, failure) => {
                    assert_eq!(failure.reason(), "conflict", "no retry mends a body")
                }
                other => assert!(matches!(other, Verdict::Later(_)), "{other:?}"),
            }
        }
        let dead = ports.queue("reports-dlq").unwrap().arrived(0, 10).await.unwrap();
        assert_eq!(dead.len(), usize::from(given_up > 0), "one letter of a body: {verdicts:?}");
        assert!(
            dead.iter().all(|(_, letter)| letter.body == body && !DeadLetter::read(letter).reason.is_empty())
        );
        let items = ports.table("parcels").unwrap().scan(None, 10).await.unwrap().items;
        let done = verdicts.len() > given_up && verdicts.contains(&Verdict::Done);
        assert_eq!(items.len(), usize::from(done), "{verdicts:?}");
        assert!(items.iter().all(|item| item.version == 1), "a body has one effect, however often it comes");
        done
    })
}

/// What is read and written again reads the same.
fn is_read(text: &str) {
    let envelope = match Envelope::parse(text) {
        Ok(envelope) => envelope,
        Err(failure) => {
            assert_eq!((failure.reason(), failure.is_permanent()), ("malformed", true));
            return is_shown(failure.detail(), 1_024);
        }
    };
    let written = serde_json::to_string(&envelope).unwrap();
    let again = Envelope::parse(&written).unwrap();
    assert_eq!(format!("{again:?}"), format!("{envelope:?}"));
    match (envelope.data_as::<Scanned>(), again.data_as::<Scanned>()) {
        (Ok(event), Ok(again)) => assert_eq!(event, again),
        (Err(failure), Err(again)) => {
            assert_eq!(failure, again);
            assert!(["unexpected_event", "malformed"].contains(&failure.reason()) && failure.is_permanent());
            is_shown(failure.detail(), 1_024);
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    }
}

#[test]
fn an_envelope_reads_the_same_again_and_its_message_has_one_effect_or_one_letter_with_its_reason() {
    fuzzed("envelope", |document| {
        let text = String::from_utf8_lossy(document);
        is_read(&text);
        delivered(&text, 2, false)
    });
}

#[test]
fn what_others_write_to_a_queue_has_one_effect_or_one_letter_with_its_reason() {
    fuzzed("foreign", |document| delivered(&String::from_utf8_lossy(document), 2, true));
}
