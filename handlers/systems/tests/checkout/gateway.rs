//! The gateway over HTTP, and the simulated one.

use crate::server::{Asked, Reply, Server};
use quadrille::{
    Failure, Timestamp,
    decimal::Decimal,
    http_client::HttpClientError,
    http_service::BaseUrlError,
    memory::{Memory, VirtualClock},
    port::SeededRandom,
};
use std::{net::TcpListener, sync::Arc, time::Duration};
use systems::checkout::gateway::{
    ANSWER_BYTES_MAX, Answer, Charge, Fate, HttpGateway, PAYMENTS_BUCKET, PaymentGateway, Receipt,
    SimulatedGateway, Voided, fate,
};

const TIMEOUT: Duration = Duration::from_secs(5);

fn charge(order_id: &str) -> Charge {
    Charge {
        key: format!("{order_id}@1"),
        order_id: order_id.into(),
        user_id: "anna".into(),
        amount: Decimal::parse("6.30").unwrap(),
    }
}

fn http(server: &Server, token: Option<&str>) -> HttpGateway {
    HttpGateway::new(&format!("{}/v1/", server.url()), token, TIMEOUT).unwrap()
}

fn receipt(transaction: Option<&str>, message: Option<&str>) -> Receipt {
    Receipt {
        transaction_id: transaction.map(str::to_owned),
        processed_at: None,
        provider: "gateway".into(),
        message: message.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_charge_is_asked_for_with_its_key_and_its_token() {
    let server = Server::start(|asked| {
        match asked.method.as_str() {
        "POST" => Reply::Is(
            201,
            r#"{"status": "succeeded", "transactionId": "t1", "provider": "acme", "processedAt": "2026-11-20T09:15:00Z", "new": 1}"#.into(),
        ),
        _ => Reply::ok(r#"{"status": "refunded", "transactionId": "t1"}"#),
    }
    });
    let gateway = http(&server, Some("secret"));
    assert!(!format!("{gateway:?}").contains("secret"));
    let answer = gateway.charge(&charge("a/é"), 0).await.unwrap();
    let processed_at = Some(Timestamp::parse("2026-11-20T09:15:00Z").unwrap());
    let paid = Receipt { processed_at, provider: "acme".into(), ..receipt(Some("t1"), None) };
    assert_eq!(answer, Answer::Succeeded(paid));
    assert_eq!(gateway.void("a/é@1").await.unwrap(), Voided::Refunded(receipt(Some("t1"), None)));
    let asked = server.asked();
    let Asked { method, path, headers, body, .. } = &asked[0];
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/v1/payments"));
    assert_eq!(
        (headers["idempotency-key"].as_str(), headers["authorization"].as_str()),
        ("a/%C3%A9@1", "Bearer secret")
    );
    assert_eq!(body, r#"{"orderId":"a/é","userId":"anna","amount":6.30}"#);
    assert_eq!((asked[1].method.as_str(), asked[1].path.as_str()), ("DELETE", "/v1/payments/a%2F%C3%A9%401"));
}

/// An answer, or the reason of a failure and whether it is permanent.
type Meaning = Result<Answer, (&'static str, bool)>;

#[tokio::test]
async fn each_answer_means_one_thing() {
    let pending = |millis| Ok(Answer::Pending(Duration::from_millis(millis)));
    let cases: [(u16, &str, Meaning); 17] = [
        (200, r#"{"status": "succeeded"}"#, Ok(Answer::Succeeded(receipt(None, None)))),
        (
            200,
            r#"{"status": "declined", "message": "no\nfunds"}"#,
            Ok(Answer::Declined(receipt(None, Some("no\\nfunds")))),
        ),
        (
            402,
            r#"{"status": "declined", "transactionId": "t"}"#,
            Ok(Answer::Declined(receipt(Some("t"), None))),
        ),
        (202, r#"{"status": "pending", "retryAfterMs": 250}"#, pending(250)),
        (202, r#"{"status": "pending"}"#, pending(5_000)),
        (202, r#"{"status": "pending", "retryAfterMs": 999999999}"#, pending(600_000)),
        (200, r#"{"status": "perhaps"}"#, Err(("gateway_garbage", false))),
        (200, "<html>", Err(("gateway_garbage", false))),
        (402, "", Err(("gateway_garbage", false))),
        (302, "", Err(("gateway_refused", true))),
        (400, "", Err(("gateway_refused", true))),
        (401, "", Err(("gateway_refused", true))),
        (404, "", Err(("gateway_refused", true))),
        (408, "", Err(("gateway_timeout", false))),
        (429, "", Err(("gateway_throttled", false))),
        (500, "", Err(("gateway_error", false))),
        (503, "", Err(("gateway_error", false))),
    ];
    for (status, body, expected) in cases {
        let server = Server::start(move |_| Reply::Is(status, body.into()));
        let answer = http(&server, None).charge(&charge("a"), 0).await;
        let found = answer.as_ref().map_err(|failure| (failure.reason(), failure.is_permanent()));
        assert_eq!(found, expected.as_ref().map_err(|kind| *kind), "{status} {body}");
        assert!(!format!("{answer:?}").contains("anna"));
        assert!(!server.asked()[0].headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_slow_or_long_winded_may_be_back() {
    let kind = |failure: Failure| (failure.reason().to_owned(), failure.is_permanent());
    let never = Server::start(|_| Reply::Never);
    let slow = HttpGateway::new(&never.url(), None, Duration::from_millis(50)).unwrap();
    assert_eq!(kind(slow.charge(&charge("a"), 0).await.unwrap_err()), ("gateway_timeout".to_owned(), false));
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = HttpGateway::new(&format!("http://{away}"), None, TIMEOUT).unwrap();
    assert_eq!(kind(away.void("a").await.unwrap_err()), ("gateway_unreachable".to_owned(), false));
    let long = Server::start(|_| Reply::ok(" ".repeat(ANSWER_BYTES_MAX + 1)));
    let failure = http(&long, None).charge(&charge("a"), 0).await.unwrap_err();
    assert_eq!(kind(failure), ("gateway_garbage".to_owned(), false));
    for url in ["", "ftp://host", "http://secret:secret@host/"] {
        let error = HttpGateway::new(url, None, TIMEOUT).unwrap_err();
        assert!(matches!(error, BaseUrlError::Client(HttpClientError::Request(_))), "{url}: {error:?}");
    }
}

fn simulated(delay: Duration, outages: u64) -> (SimulatedGateway, Memory) {
    let checkout = crate::world::checkout();
    let clock = Arc::new(VirtualClock::new(crate::world::at_first()));
    let memory = Memory::new(checkout.model(), clock.clone(), Arc::new(SeededRandom::new(1)));
    let bucket = Arc::clone(memory.ports().bucket(PAYMENTS_BUCKET).unwrap());
    (SimulatedGateway { bucket, clock, seed: 1, delay, outages, wire: quadrille::Wire::direct() }, memory)
}

#[tokio::test]
async fn the_simulated_gateway_decides_after_its_delay_and_then_always_alike() {
    let delay = Duration::from_millis(200);
    let (gateway, _memory) = simulated(delay, 0);
    for number in 0..40 {
        let charge = charge(&format!("order-{number}"));
        assert_eq!(gateway.charge(&charge, 0).await.unwrap(), Answer::Pending(delay));
        let first = gateway.charge(&charge, 1).await.unwrap();
        let is_charged = matches!(first, Answer::Succeeded(_));
        assert_eq!(is_charged, fate(1, &charge.order_id) == Fate::Succeeded);
        assert_eq!(gateway.charge(&charge, 1).await.unwrap(), first, "asked again");
        let voided = gateway.void(&charge.key).await.unwrap();
        assert_eq!(matches!(voided, Voided::Refunded(_)), is_charged);
        assert_eq!(gateway.void(&charge.key).await.unwrap(), voided, "voided again");
    }
}

#[tokio::test]
async fn the_simulated_gateway_charges_nothing_that_was_voided_before() {
    let (gateway, _memory) = simulated(Duration::ZERO, 0);
    let charge = charge("order-1");
    assert_eq!(fate(1, "order-1"), Fate::Succeeded);
    assert!(matches!(gateway.void(&charge.key).await.unwrap(), Voided::Nothing(_)));
    assert!(matches!(gateway.charge(&charge, 0).await.unwrap(), Answer::Declined(_)));
}

#[tokio::test]
async fn the_simulated_gateway_is_out_for_as_many_as_it_is_told() {
    let (gateway, _memory) = simulated(Duration::ZERO, 30);
    let mut out = 0;
    for number in 0..1_000 {
        let answer = gateway.charge(&charge(&format!("order-{number}")), 0).await;
        out += u32::from(answer.is_err_and(|failure| !failure.is_permanent()));
    }
    assert!((250..350).contains(&out), "{out}");
}

#[tokio::test]
async fn how_long_it_asks_not_to_be_asked_is_known_whatever_it_was_asked() {
    let server = Server::start(|_| Reply::Later(429, 300));
    let gateway = http(&server, None);
    let failures =
        [gateway.charge(&charge("a"), 0).await.unwrap_err(), gateway.void("a@1").await.unwrap_err()];
    for failure in failures {
        assert_eq!((failure.reason(), failure.wait_at_least().as_secs()), ("gateway_throttled", 300));
    }
}
