//! Texts of others that the systems read, fuzzed: the answers of the platform and of the gateway, and orders that others write to a queue.
//! See `core/tests/support/fuzz.rs`.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

#[path = "../../../../core/tests/support/fuzz.rs"]
mod fuzz;
#[path = "../../../../core/tests/support/http_server.rs"]
mod http_server;

use fuzz::{fuzz, is_shown};
use http_server::{response, serve};
use quadrille::{
    Failure,
    decimal::Decimal,
    domain::{auction::RECORD_ID_BYTES_MAX, checkout::Sent},
};
use serde_json::{json, value::RawValue};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use systems::{
    auction::platform::{
        Answer, DECISION_FAULTS_MAX, Decision, PAGE_TOKEN_BYTES_MAX, PLATFORM_GARBAGE, STATUS_BYTES_MAX,
    },
    checkout::{
        gateway::{self, Charge, HttpGateway, PaymentGateway as _, Receipt, Voided},
        intake::{MALFORMED_ORDER, decode},
    },
};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// The platform's answer, as it would write it.
fn written(decisions: &[Decision], next: Option<&str>) -> String {
    let power = |power: &Decimal| RawValue::from_string(power.as_str().to_owned()).unwrap();
    let orders: Vec<_> = decisions
        .iter()
        .map(|decision| {
            let power =
                decision.power.as_ref().map_or_else(|| "null".to_owned(), |of| power(of).get().to_owned());
            format!(
                "{{\"record_id\":{},\"status\":{},\"power\":{power}}}",
                json!(decision.record_id),
                json!(decision.status)
            )
        })
        .collect();
    format!("{{\"results\":true,\"orders\":[{}],\"next\":{}}}", orders.join(","), json!(next))
}

#[test]
fn an_answer_of_the_platform_is_bounded_and_reads_the_same_again_or_may_pass() {
    fuzz(&corpus("platform"), |body| match Answer::parse(body) {
        Ok(Answer::NotReady) => {}
        Ok(Answer::Ready { decisions, faults, next }) => {
            for decision in &decisions {
                assert!((1..=RECORD_ID_BYTES_MAX).contains(&decision.record_id.len()), "{decision:?}");
                assert!(!decision.record_id.contains(char::is_control), "{decision:?}");
                decision.status.iter().for_each(|status| is_shown(status, STATUS_BYTES_MAX));
            }
            assert!(faults.len() <= DECISION_FAULTS_MAX + 1, "{faults:?}");
            faults.iter().for_each(|fault| is_shown(fault, 256));
            assert!(
                next.as_ref().is_none_or(|token| (1..=PAGE_TOKEN_BYTES_MAX).contains(&token.len())),
                "{next:?}"
            );
            let again = Answer::parse(written(&decisions, next.as_deref()).as_bytes());
            assert_eq!(again, Ok(Answer::Ready { decisions, faults: Vec::new(), next }));
        }
        Err(failure) => {
            assert_eq!((failure.reason(), failure.is_permanent()), (PLATFORM_GARBAGE, false));
            is_shown(failure.detail(), 1_024);
        }
    });
}

fn is_kept_short(receipt: &Receipt) {
    let texts = [Some(&receipt.provider), receipt.transaction_id.as_ref(), receipt.message.as_ref()];
    texts.into_iter().flatten().for_each(|text| is_shown(text, 256));
}

/// Garbage may pass; and it is told without a word of it, as it may repeat an order.
fn may_pass(failure: &Failure) {
    assert_eq!((failure.reason(), failure.is_permanent()), ("gateway_garbage", false));
    is_shown(failure.detail(), 100);
}

#[test]
fn an_answer_of_the_gateway_is_kept_short_or_may_pass() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body: Arc<Mutex<Vec<u8>>> = Arc::default();
    let answered = Arc::clone(&body);
    let address = runtime.block_on(serve(move |_| Some(response(200, answered.lock().unwrap().clone()))));
    let gateway = HttpGateway::new(&format!("http://{address}"), None, Duration::from_secs(5)).unwrap();
    let charge = Charge {
        key: "order-1@1".into(),
        order_id: "order-1".into(),
        user_id: "anna".into(),
        amount: Decimal::parse("6.30").unwrap(),
    };
    fuzz(&corpus("gateway"), |answer| {
        answer.clone_into(&mut body.lock().unwrap());
        match runtime.block_on(gateway.charge(&charge, 0)) {
            Ok(gateway::Answer::Succeeded(receipt) | gateway::Answer::Declined(receipt)) => {
                is_kept_short(&receipt)
            }
            Ok(gateway::Answer::Pending(wait)) => assert!(wait <= Duration::from_secs(600), "{wait:?}"),
            Err(failure) => may_pass(&failure),
        }
        match runtime.block_on(gateway.void("order-1@1")) {
            Ok(Voided::Nothing(receipt) | Voided::Refunded(receipt)) => is_kept_short(&receipt),
            Err(failure) => may_pass(&failure),
        }
    });
}

#[test]
fn an_order_of_the_queue_is_read_with_its_faults_or_refused_without_a_word_of_it() {
    fuzz(&corpus("intake"), |body| {
        let body = String::from_utf8_lossy(body);
        match decode(&body) {
            Ok(event) => {
                let id = event.sent.order_id();
                assert!(!id.is_empty() && !id.contains(char::is_control), "{id:?}");
                if let Sent::Faulty { errors, .. } = &event.sent {
                    assert!(!errors.is_empty());
                    errors.iter().for_each(|error| is_shown(&error.message, 499));
                }
                let written = serde_json::to_string(&event.sent).unwrap();
                assert_eq!(serde_json::from_str::<Sent>(&written).unwrap(), event.sent);
            }
            Err(failure) => {
                assert_eq!((failure.reason(), failure.is_permanent()), (MALFORMED_ORDER, true));
                is_shown(failure.detail(), 100);
            }
        }
    });
}
