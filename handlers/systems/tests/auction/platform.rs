//! The platform over HTTP: what it is asked, and what each of its answers means.

use crate::server::{Asked, Reply, Server};
use quadrille::{Failure, decimal::Decimal, http_client::HttpClientError, http_service::BaseUrlError};
use std::{net::TcpListener, time::Duration};
use systems::auction::platform::{
    ANSWER_BYTES_MAX, Answer, AuctionPlatform as _, HttpPlatform, PLATFORM_GARBAGE, SubmittedOrder,
};

const RUN: &str = "2026-11-20T09:15:00Z";
const TIMEOUT: Duration = Duration::from_secs(5);

fn platform(server: &Server) -> HttpPlatform {
    HttpPlatform::new(&format!("{}/v1/", server.url()), TIMEOUT).unwrap()
}

fn orders() -> [SubmittedOrder; 1] {
    let parameter_2 = Decimal::parse("2.10").unwrap();
    [SubmittedOrder { record_id: "a".into(), parameter_1: "abc".into(), parameter_2 }]
}

fn kind(failure: &Failure) -> (&str, bool) {
    (failure.reason(), failure.is_permanent())
}

/// A server that gives these answers, one after the other.
fn scripted(answers: &'static [(u16, &'static str)]) -> (HttpPlatform, Server) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let (status, body) = answers[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
        Reply::Is(status, body.to_owned())
    });
    (platform(&server), server)
}

/// What it was asked.
fn log(server: &Server) -> Vec<String> {
    let line = |Asked { method, path, headers, body, .. }| {
        format!("{method} {path} [{}] {body}", headers["idempotency-key"])
    };
    server.asked().into_iter().map(line).collect()
}

#[tokio::test]
async fn a_run_is_submitted_and_its_results_are_paged() {
    let (platform, server) = scripted(&[
        (204, ""),
        (200, r#"{"results": false}"#),
        (200, r#"{"results": true, "orders": [{"record_id": "a", "status": "accepted"}], "next": "p/2 é"}"#),
        (200, r#"{"results": true, "orders": [{"record_id": "b", "status": "rejected"}]}"#),
    ]);
    platform.submit(RUN, 7, &orders()).await.unwrap();
    assert_eq!(platform.results(RUN, 0, None).await, Ok(Answer::NotReady));
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let Answer::Ready { decisions, faults, next } =
            platform.results(RUN, 1, after.as_deref()).await.unwrap()
        else {
            panic!("not ready")
        };
        assert!(faults.is_empty());
        seen.extend(decisions.into_iter().map(|decision| decision.record_id));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b"]);
    assert_eq!(
        log(&server),
        [
            "PUT /v1/runs/2026-11-20T09%3A15%3A00Z/orders/7 [2026-11-20T09:15:00Z/7] \
             {\"orders\":[{\"record_id\":\"a\",\"parameter_1\":\"abc\",\"parameter_2\":2.10}]}",
            "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results [2026-11-20T09:15:00Z] ",
            "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results [2026-11-20T09:15:00Z] ",
            "GET /v1/runs/2026-11-20T09%3A15%3A00Z/results?after=p%2F2%20%C3%A9 [2026-11-20T09:15:00Z] ",
        ]
    );
}

#[tokio::test]
async fn an_id_with_anything_in_it_stays_one_segment_and_one_line() {
    let (platform, server) = scripted(&[(200, "")]);
    platform.submit("../a%\r\né", 0, &[]).await.unwrap();
    let expected = "PUT /v1/runs/..%2Fa%25%0D%0A%C3%A9/orders/0 [../a%25%0D%0A%C3%A9/0] {\"orders\":[]}";
    assert_eq!(log(&server), [expected]);
    assert_eq!(platform.submit("..", 0, &[]).await.unwrap_err().reason(), "run_id_unusable");
}

#[tokio::test]
async fn it_fails_and_recovers() {
    let (platform, _server) = scripted(&[
        (500, "oops"),
        (200, "<html>"),
        (200, r#"{"results": true, "next": "same"}"#),
        (200, r#"{"results": false}"#),
    ]);
    for (after, reason) in
        [(None, "platform_error"), (None, PLATFORM_GARBAGE), (Some("same"), PLATFORM_GARBAGE)]
    {
        assert_eq!(kind(&platform.results(RUN, 0, after).await.unwrap_err()), (reason, false));
    }
    assert_eq!(platform.results(RUN, 0, None).await, Ok(Answer::NotReady));
}

#[tokio::test]
async fn every_status_has_its_failure() {
    let (platform, server) = scripted(&[
        (301, ""),
        (400, ""),
        (404, ""),
        (408, ""),
        (425, ""),
        (429, ""),
        (503, ""),
        (700, ""),
        (202, "accepted"),
    ]);
    for (reason, is_permanent) in [
        ("platform_refused", true),
        ("platform_refused", true),
        ("platform_refused", true),
        ("platform_timeout", false),
        ("platform_throttled", false),
        ("platform_throttled", false),
        ("platform_error", false),
        (PLATFORM_GARBAGE, false),
    ] {
        assert_eq!(kind(&platform.submit(RUN, 0, &[]).await.unwrap_err()), (reason, is_permanent));
    }
    assert_eq!(platform.submit(RUN, 0, &[]).await, Ok(()));
    assert_eq!(server.asked().len(), 9, "a redirect is not followed");
}

#[tokio::test]
async fn a_platform_that_hangs_or_is_away_is_asked_again() {
    let server = Server::start(|_| Reply::Never);
    let hanging = HttpPlatform::new(&server.url(), Duration::from_millis(50)).unwrap();
    assert_eq!(kind(&hanging.results(RUN, 0, None).await.unwrap_err()), ("platform_timeout", false));
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = HttpPlatform::new(&format!("http://{away}"), TIMEOUT).unwrap();
    assert_eq!(kind(&away.submit(RUN, 0, &[]).await.unwrap_err()), ("platform_unreachable", false));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_judged_by_its_status_where_that_is_enough() {
    let long = " ".repeat(ANSWER_BYTES_MAX + 1);
    let server = Server::start(move |asked| {
        Reply::Is(if asked.path.contains("refused") { 400 } else { 200 }, long.clone())
    });
    let platform = platform(&server);
    assert_eq!(platform.submit(RUN, 0, &[]).await, Ok(()));
    assert_eq!(kind(&platform.results(RUN, 0, None).await.unwrap_err()), (PLATFORM_GARBAGE, false));
    assert_eq!(kind(&platform.results("refused", 0, None).await.unwrap_err()), ("platform_refused", true));
}

#[tokio::test]
async fn a_base_url_is_a_base() {
    for url in ["http://host", "https://host:8443/a/b/"] {
        assert!(HttpPlatform::new(url, TIMEOUT).is_ok(), "{url}");
    }
    for url in ["http://host/?a", "https://host/#a", "http://host#"] {
        assert_eq!(HttpPlatform::new(url, TIMEOUT).unwrap_err(), BaseUrlError::QueryOrFragment, "{url}");
    }
    for url in ["", "host", "ftp://host", "file:///tmp", "http://secret:secret@host/"] {
        let error = HttpPlatform::new(url, TIMEOUT).unwrap_err();
        assert!(matches!(error, BaseUrlError::Client(HttpClientError::Request(_))), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn how_long_it_asks_not_to_be_asked_is_known_whatever_it_was_asked() {
    let server = Server::start(|_| Reply::Later(503, 300));
    let platform = platform(&server);
    let failures = [
        platform.submit(RUN, 0, &orders()).await.unwrap_err(),
        platform.results(RUN, 0, None).await.unwrap_err(),
    ];
    for failure in failures {
        assert_eq!((kind(&failure), failure.wait_at_least().as_secs()), (("platform_error", false), 300));
    }
}
