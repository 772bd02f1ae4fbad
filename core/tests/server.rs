//! The HTTP server, from outside: a client over TCP, and a service that answers with what it was asked.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use quadrille::{
    http::{Request, Response},
    server::{EventStream, Server, ServerConfig, ServerError, Service, Token, TokenError},
};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream as Client},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinHandle};

const SECRET: &str = "0123456789abcdef";

/// Answers with what it was asked; `/hang` never does, `/held` when it is let go, and `/events` tells one event and then no more.
#[derive(Clone, Debug, Default)]
struct Echo {
    asked: Arc<Notify>,
    let_go: Arc<Notify>,
    left: Arc<Notify>,
}

/// Notices when it is dropped.
struct Leaving(Arc<Notify>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service for Echo {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        self.asked.notify_one();
        match path {
            "/hang" => std::future::pending().await,
            "/held" => self.let_go.notified().await,
            "/panic" => panic!("as asked"),
            _ => {}
        }
        let body = String::from_utf8_lossy(&request.body);
        Response::json(200, &(method, path, &request.query, &request.headers, body))
    }

    fn listen(&self, _: &str, path: &str, _: &Request) -> Option<Result<EventStream, Response>> {
        let leaving = Leaving(Arc::clone(&self.left));
        let silent = stream::pending().map(move |()| {
            let _ = &leaving;
            Bytes::new()
        });
        let told = stream::once(std::future::ready(Bytes::from_static(b"data: 1\n\n"))).chain(silent);
        (path == "/events").then(|| Ok(Box::pin(told) as EventStream))
    }

    fn is_open(&self, path: &str) -> bool {
        path == "/page"
    }
}

struct Running {
    address: SocketAddr,
    echo: Echo,
    stop: Arc<Notify>,
    server: JoinHandle<()>,
}

async fn start(configure: impl FnOnce(&mut ServerConfig)) -> Running {
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    configure(&mut config);
    let (echo, stop) = (Echo::default(), Arc::new(Notify::new()));
    let server = Server::bind(config, echo.clone()).await.unwrap();
    let address = server.local_addr();
    let stopped = Arc::clone(&stop);
    let server = tokio::spawn(server.run(async move { stopped.notified().await }));
    Running { address, echo, stop, server }
}

impl Running {
    fn connect(&self) -> Client {
        let client = Client::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Sends `HOST` replaced by the server's address, and reads until the server closes.
    fn exchange(&self, request: &str) -> String {
        let mut client = self.connect();
        client.write_all(request.replace("HOST", &self.address.to_string()).as_bytes()).unwrap();
        rest(&mut client)
    }
}

fn rest(client: &mut Client) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// One answer of a connection that stays open.
fn next(client: &mut Client) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let mut answer = String::from_utf8(answer).unwrap();
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    answer.push_str(std::str::from_utf8(&body).unwrap());
    answer
}

#[track_caller]
fn assert_problem(answer: &str, status: u16, name: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    assert!(answer.contains(&format!(r#""type":"/problems/{name}""#)), "{answer}");
}

macro_rules! server_test {
    ($name:ident, $running:ident = $configure:expr, $body:block) => {
        // The clients block the test's thread; the server has its own.
        #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $name() {
            let $running = start($configure).await;
            $body
            $running.stop.notify_one();
            $running.server.await.unwrap();
        }
    };
}

server_test!(a_request_is_handed_over_as_it_was_sent, running = |_| {}, {
    let answer = running.exchange(
        "POST /orders/a%2Fb?x=%20&y HTTP/1.1\r\nHost: HOST\r\nX-One: 1\r\nX-Two: é\r\nConnection: close\r\n\
         Content-Length: 4\r\n\r\nbody",
    );
    let host = running.address;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for header in
        ["content-type: application/json", "cache-control: no-store", "x-content-type-options: nosniff"]
    {
        assert!(answer.contains(&format!("{header}\r\n")), "{answer}");
    }
    let body = format!(
        r#"["POST","/orders/a%2Fb","x=%20&y",{{"connection":"close","content-length":"4","host":"{host}","x-one":"1","x-two":"é"}},"body"]"#
    );
    assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
});

server_test!(connections_are_kept_and_requests_pipelined, running = |_| {}, {
    let mut client = running.connect();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
    client.write_all(request("/1").as_bytes()).unwrap();
    assert!(next(&mut client).contains(r#"["GET","/1""#));
    client.write_all((request("/2") + &request("/3")).as_bytes()).unwrap();
    assert!(next(&mut client).contains(r#"["GET","/2""#));
    assert!(next(&mut client).contains(r#"["GET","/3""#));
    let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    client
        .write_all(
            (request("/post").replace("GET", "POST").trim_end().to_owned() + "\r\n" + chunked).as_bytes(),
        )
        .unwrap();
    assert!(next(&mut client).ends_with("\"body\"]"));
    // A refusal of a request that was read to its end ends no connection.
    client.write_all(request("/4").replace("Host: ", "Host: not.").as_bytes()).unwrap();
    assert_problem(&next(&mut client), 421, "other_host");
    client.write_all(request("/5").as_bytes()).unwrap();
    assert!(next(&mut client).contains(r#"["GET","/5""#));
});

server_test!(a_head_is_a_get_without_the_body, running = |_| {}, {
    let answer = running.exchange("HEAD /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains("content-length: 0\r\n") && answer.contains("content-length: "), "{answer}");
});

server_test!(every_method_is_the_services_to_answer, running = |_| {}, {
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer =
            running.exchange(&format!("{method} / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"));
        assert!(answer.contains(&format!(r#"["{method}","/""#)), "{answer}");
    }
});

server_test!(
    only_its_own_hosts_are_served,
    running = |config| config.hosts = vec!["Demo.test".into(), "x:1".into()],
    {
        let port = running.address.port();
        let ask = |host: &str| {
            running.exchange(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
        };
        for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
            assert!(ask(&format!("{host}:{port}")).starts_with("HTTP/1.1 200 "), "{host}");
        }
        for host in ["demo.test", "DEMO.test:8443", "x:1"] {
            assert!(ask(host).starts_with("HTTP/1.1 200 "), "{host}");
        }
        let others = [
            "evil.test",
            "localhost",
            "127.0.0.1:1",
            "",
            "x",
            "x:2",
            "demo.test.evil.test",
            "evil.test:demo.test",
        ];
        for host in others {
            assert_problem(&ask(host), 421, "other_host");
        }
        assert_problem(&ask(&format!("evil@localhost:{port}")), 421, "other_host");
        // The request line's own host counts, whatever the header says.
        let answer =
            running.exchange("GET http://evil.test/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert_problem(&answer, 421, "other_host");
        let answer =
            running.exchange("GET http://HOST/y HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert!(answer.contains(r#"["GET","/y""#), "{answer}");
        assert_problem(
            &running.exchange("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
            400,
            "host_required",
        );
        let twice = "GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nConnection: close\r\n\r\n";
        assert_problem(&running.exchange(twice), 400, "host_required");
    }
);

server_test!(web_pages_of_other_sites_are_refused, running = |_| {}, {
    let ask = |header: &str| {
        running.exchange(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{header}\r\nConnection: close\r\n\r\n"))
    };
    let own = ["Origin: http://HOST", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"];
    for header in own {
        assert!(ask(header).starts_with("HTTP/1.1 200 "), "{header}");
    }
    let others = [
        "Origin: https://evil.test",
        "Origin: null",
        "Origin: http://127.0.0.1",
        "Origin: http://HOST.evil.test",
    ];
    for header in
        others.into_iter().chain(["Sec-Fetch-Site: cross-site", "Origin: http://HOST\r\nOrigin: null"])
    {
        assert_problem(&ask(header), 403, "cross_site");
    }
});

server_test!(
    the_token_is_asked_for,
    running = |config| config.token = Some(Token::new(SECRET.into()).unwrap()),
    {
        let ask = |request: &str, header: &str| {
            running
                .exchange(&format!("{request} HTTP/1.1\r\nHost: HOST\r\n{header}Connection: close\r\n\r\n"))
        };
        let shown = format!("Authorization: Bearer {SECRET}\r\n");
        let answer = ask("GET /", &shown);
        // The handler does not get it.
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains(SECRET), "{answer}");
        assert!(ask("GET /", &shown.replace("Bearer", "bearer")).starts_with("HTTP/1.1 200 "));
        assert!(ask("GET /healthz", "").starts_with("HTTP/1.1 200 "));
        assert!(ask("HEAD /healthz", "").starts_with("HTTP/1.1 200 "));
        for wrong in [
            String::new(),
            shown.replace("f\r", "g\r"),
            shown.replace("f\r", "\r"),
            shown.replace("\r", "f\r"),
            shown.replace("Bearer", "Basic"),
            shown.repeat(2),
            "Authorization: Bearer\r\n".into(),
        ] {
            let answer = ask("GET /", &wrong);
            assert_problem(&answer, 401, "token_required");
            assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
        }
        assert_problem(&ask("POST /healthz", ""), 401, "token_required");
        assert_problem(&ask("GET /healthz/../orders", ""), 401, "token_required");
    }
);

#[test]
fn a_token_is_checked_and_never_printed() {
    assert_eq!(format!("{:?}", Token::new(SECRET.into()).unwrap()), "Token(…)");
    for wrong in [
        "0123456789abcde".to_owned(),
        "x".repeat(4_097),
        "0123456789 abcdef".into(),
        "0123456789abcdefé".into(),
    ] {
        assert_eq!(Token::new(wrong).unwrap_err(), TokenError);
    }
}

server_test!(a_body_over_the_limit_is_refused, running = |config| config.body_bytes_max = 100_000, {
    let post = "POST / HTTP/1.1\r\nHost: HOST\r\n";
    // At once, from the length that is announced.
    assert_problem(
        &running.exchange(&format!("{post}Content-Length: 100001\r\n\r\n")),
        413,
        "body_too_large",
    );
    // While it is read.
    let chunk = format!("186A1\r\n{}\r\n", "x".repeat(100_001));
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}");
    assert_problem(&running.exchange(&chunked), 413, "body_too_large");
    // A client that sends all before it reads still sees the answer.
    let all = "x".repeat(8_000_000);
    let answer = running.exchange(&format!("{post}Content-Length: {}\r\n\r\n{all}", all.len()));
    assert_problem(&answer, 413, "body_too_large");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    // As much as is allowed.
    let most = "x".repeat(100_000);
    let request = format!("{post}Connection: close\r\nContent-Length: 100000\r\n\r\n{most}");
    assert!(running.exchange(&request).ends_with(&format!("{most}\"]")));
});

server_test!(
    all_bodies_have_one_budget,
    running = |config| {
        config.read_timeout = Duration::from_secs(60);
        config.body_bytes_max = 100_000;
        config.bodies_bytes_max = 300_000;
    },
    {
        let post = "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
        let mut stopped: Vec<Client> = (0..3)
            .map(|_| {
                let mut client = running.connect();
                let head = post.replace("HOST", &running.address.to_string());
                client.write_all((head + &"x".repeat(90_000)).as_bytes()).unwrap();
                client
            })
            .collect();
        let until = |status: &str| {
            let begun = Instant::now();
            loop {
                let answer = running.exchange(&format!("{post}{}", "x".repeat(100_000)));
                if answer.starts_with(status) {
                    return answer;
                }
                assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
            }
        };
        // From when on the three have been read.
        let answer = until("HTTP/1.1 503 ");
        assert_problem(&answer, 503, "no_room_for_bodies");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        // What takes no room is answered all the time.
        let healthy = running.exchange("GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert!(healthy.starts_with("HTTP/1.1 200 "), "{healthy}");
        // One that stopped goes, and that is enough for the next.
        until("HTTP/1.1 200 ");
        let gone = stopped.iter_mut().map(|client| {
            client.set_nonblocking(true).unwrap();
            matches!(client.read(&mut [0]), Ok(0)) || client.write_all(b"x").is_err()
        });
        assert!(gone.filter(|gone| *gone).count() < 3);
    }
);

server_test!(
    a_body_keeps_its_room_until_it_is_answered,
    running = |config| {
        config.body_bytes_max = 1_000;
        config.bodies_bytes_max = 1_500;
    },
    {
        let post = |path: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", running.address);
            format!("{head}Content-Length: 1000\r\n\r\n{}", "x".repeat(1_000))
        };
        let mut held = running.connect();
        held.write_all(post("/held").as_bytes()).unwrap();
        running.echo.asked.notified().await;
        assert_problem(&running.exchange(&post("/")), 503, "no_room_for_bodies");
        running.echo.let_go.notify_one();
        assert!(rest(&mut held).starts_with("HTTP/1.1 200 "));
        assert!(running.exchange(&post("/")).starts_with("HTTP/1.1 200 "));
    }
);

server_test!(a_client_may_ask_before_it_sends, running = |config| config.body_bytes_max = 10, {
    let mut client = running.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\n", running.address);
    client.write_all(format!("{head}Content-Length: 4\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(next(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").unwrap();
    assert!(next(&mut client).ends_with("\"body\"]"));
    client.write_all(format!("{head}Content-Length: 11\r\n\r\n").as_bytes()).unwrap();
    assert_problem(&next(&mut client), 413, "body_too_large");
    assert_eq!(rest(&mut client), "");
});

server_test!(
    a_slow_request_is_given_up,
    running = |config| {
        config.read_timeout = Duration::from_millis(200);
        config.idle_timeout = Duration::from_millis(200);
    },
    {
        let started = Instant::now();
        let mut slow = running.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\nb", running.address);
        slow.write_all(head.as_bytes()).unwrap();
        let mut headless = running.connect();
        headless.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        let mut silent = running.connect();
        assert_problem(&rest(&mut slow), 408, "request_too_slow");
        assert_eq!(rest(&mut headless), "");
        assert_eq!(rest(&mut silent), "");
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(running.echo.asked.notified().now_or_never().is_none());
    }
);

server_test!(a_body_that_is_cut_off_reaches_no_handler, running = |_| {}, {
    let bodies = ["Content-Length: 10\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"];
    for body in bodies {
        let mut client = running.connect();
        client
            .write_all(format!("POST / HTTP/1.1\r\nHost: {}\r\n{body}", running.address).as_bytes())
            .unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut client);
        assert!(answer.is_empty() || answer.contains("body_cut_off"), "{answer}");
    }
    let malformed = "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n";
    assert_problem(&running.exchange(malformed), 400, "body_cut_off");
    assert!(running.echo.asked.notified().now_or_never().is_none());
});

server_test!(a_coding_that_is_not_undone_is_refused, running = |_| {}, {
    let ask = |codings: &str| {
        let body = "4\r\nbody\r\n0\r\n\r\n";
        running.exchange(&format!(
            "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{codings}\r\n\r\n{body}"
        ))
    };
    let others = [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity,chunked",
        "Transfer-Encoding: x;a=\"chunked,\", Chunked",
    ];
    for codings in others {
        assert_problem(&ask(codings), 501, "transfer_coding");
    }
    for codings in
        ["Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: CHUNKED"]
    {
        assert_problem(&ask(codings), 400, "chunked_twice");
    }
    for codings in
        ["Transfer-Encoding: chunked, gzip", "Transfer-Encoding: gzip", "Transfer-Encoding: é, chunked"]
    {
        let answer = ask(codings);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{codings}: {answer}");
    }
    assert!(running.echo.asked.notified().now_or_never().is_none());
    for codings in ["Transfer-Encoding: Chunked", "Transfer-Encoding: , chunked"] {
        assert!(ask(codings).ends_with("\"body\"]"), "{codings}");
    }
});

server_test!(
    a_request_that_stops_holds_no_seat,
    running = |config| {
        config.read_timeout = Duration::from_secs(60);
        config.connections_max = 5;
    },
    {
        let begun = Instant::now();
        let stopped = [
            "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
            "Transfer-Encoding: chunked\r\n\r\n7FFFFFFFFFFFFFFF\r\nbody",
            "Transfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 1000000\r\n\r\nbody",
            "X: ",
        ];
        let mut stopped = stopped.map(|rest| {
            let mut client = running.connect();
            let head = format!("POST / HTTP/1.1\r\nHost: {}\r\n", running.address);
            client.write_all((head + rest).as_bytes()).unwrap();
            client
        });
        // As many as there are seats: each has to go.
        let kept: Vec<Client> = stopped
            .iter()
            .map(|_| {
                let mut client = running.connect();
                client
                    .write_all(format!("GET /held HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes())
                    .unwrap();
                client
            })
            .collect();
        for client in &mut stopped {
            assert_eq!(rest(client), "");
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        drop(kept);
    }
);

server_test!(
    an_endless_chunk_is_given_up,
    running = |config| config.read_timeout = Duration::from_millis(200),
    {
        for size in ["FFFFFFFFFFFFFFFF", "10000000000000000"] {
            let head = "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = running.exchange(&format!("{head}{size}\r\nbody"));
            assert!(answer.starts_with("HTTP/1.1 40"), "{size}: {answer}");
        }
    }
);

server_test!(a_header_is_bounded, running = |_| {}, {
    let large = format!("GET / HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert!(running.exchange(&large).starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: HOST\r\n{}\r\n", "X: x\r\n".repeat(1_000));
    assert!(running.exchange(&many).starts_with("HTTP/1.1 431 "));
    assert!(running.exchange("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let smuggled = "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx";
    assert!(running.exchange(smuggled).starts_with("HTTP/1.1 400 "));
    assert!(running.echo.asked.notified().now_or_never().is_none());
});

server_test!(a_panic_is_answered, running = |_| {}, {
    let answer = running.exchange("GET /panic HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert_problem(&answer, 500, "panicked");
});

server_test!(
    connections_beyond_the_bound_wait_while_none_idles,
    running = |config| config.connections_max = 1,
    {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
        let mut first = running.connect();
        first.write_all(request("/held").as_bytes()).unwrap();
        running.echo.asked.notified().await;
        let mut second = running.connect();
        second.write_all(request("/").as_bytes()).unwrap();
        second.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
        assert!(second.read(&mut [0]).is_err());
        running.echo.let_go.notify_one();
        assert!(next(&mut first).starts_with("HTTP/1.1 200 "));
        second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(next(&mut second).starts_with("HTTP/1.1 200 "));
    }
);

server_test!(idle_connections_shut_nobody_out, running = |config| config.connections_max = 3, {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
    // One that never sent anything, one in the middle of a request, and one that was answered.
    let mut silent = running.connect();
    let mut sending = running.connect();
    let (begin, end) = request.split_at(10);
    sending.write_all(begin.as_bytes()).unwrap();
    let mut kept = running.connect();
    kept.write_all(request.as_bytes()).unwrap();
    next(&mut kept);
    let mut further = Vec::new();
    for _ in 0..4 {
        let mut client = running.connect();
        client.write_all(request.as_bytes()).unwrap();
        assert!(next(&mut client).starts_with("HTTP/1.1 200 "));
        further.push(client);
    }
    // The longest idle ones went; the one in hand stayed.
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut kept), "");
    assert_eq!(rest(&mut further[0]), "");
    sending.write_all(end.as_bytes()).unwrap();
    assert!(next(&mut sending).starts_with("HTTP/1.1 200 "));
    further[3].write_all(request.as_bytes()).unwrap();
    assert!(next(&mut further[3]).starts_with("HTTP/1.1 200 "));
});

server_test!(
    to_idle_and_to_send_have_times_of_their_own,
    running = |config| {
        config.read_timeout = Duration::from_millis(100);
        config.idle_timeout = Duration::from_millis(600);
    },
    {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
        let mut kept = running.connect();
        kept.write_all(request.as_bytes()).unwrap();
        next(&mut kept);
        let idle = Instant::now();
        // A head that stops is given up long before.
        let mut slow = running.connect();
        slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(rest(&mut slow), "");
        assert!(idle.elapsed() < Duration::from_millis(500));
        kept.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(kept.read(&mut [0]).is_err(), "it was closed within the time to send a request");
        kept.write_all(request.as_bytes()).unwrap();
        kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        next(&mut kept);
        assert_eq!(rest(&mut kept), "");
        assert!(idle.elapsed() >= Duration::from_millis(600));
    }
);

#[test]
fn a_proxy_closes_before_the_server_does() {
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    assert!(config.idle_timeout > Duration::from_secs(75) && config.read_timeout < Duration::from_secs(75));
}

server_test!(
    a_client_that_takes_no_answer_is_let_go,
    running = |config| {
        config.read_timeout = Duration::from_millis(200);
        config.connections_max = 1;
        config.body_bytes_max = 8 << 20;
    },
    {
        let mut deaf = running.connect();
        let body = vec![b'x'; 8 << 20];
        let head =
            format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", running.address, body.len());
        deaf.write_all(head.as_bytes()).unwrap();
        // Whether all of it is read in time or not, the only seat is free again soon.
        let _ = deaf.write_all(&body);
        let answer = running.exchange("GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stopping_finishes_what_is_in_hand() {
    let running = start(|_| {}).await;
    let idle = running.connect();
    let mut kept = running.connect();
    kept.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes()).unwrap();
    next(&mut kept);
    running.echo.asked.notified().await;
    let mut held = running.connect();
    held.write_all(format!("GET /held HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes()).unwrap();
    running.echo.asked.notified().await;
    running.stop.notify_one();
    // Those that wait for nothing end at once, while the one in hand goes on.
    assert_eq!(rest(&mut kept), "");
    assert!(!running.server.is_finished());
    running.echo.let_go.notify_one();
    let answer = rest(&mut held);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("/held"), "{answer}");
    running.server.await.unwrap();
    assert!(Client::connect(running.address).is_err());
    drop(idle);
}

/// Somebody who listens, and was told one event.
fn listening(running: &Running) -> Client {
    let mut client = running.connect();
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"data: 1\n\n") {
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/event-stream"), "{answer}");
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stopping_ends_what_would_go_on_for_ever() {
    let running = start(|_| {}).await;
    let _listening = listening(&running);
    running.stop.notify_one();
    tokio::time::timeout(Duration::from_secs(5), running.server).await.unwrap().unwrap();
}

server_test!(
    whoever_listens_keeps_the_seat_and_is_missed_once_gone,
    running = |config| {
        config.idle_timeout = Duration::from_millis(100);
        config.read_timeout = Duration::from_millis(100);
    },
    {
        let client = listening(&running);
        let left = running.echo.left.notified();
        assert!(tokio::time::timeout(Duration::from_millis(500), left).await.is_err(), "cut off");
        drop(client);
        tokio::time::timeout(Duration::from_secs(5), running.echo.left.notified()).await.unwrap();
    }
);

server_test!(
    a_page_that_is_open_needs_no_token_and_what_it_asks_does,
    running = |config| config.token = Some(Token::new(SECRET.into()).unwrap()),
    {
        for (path, status) in [("/page", 200), ("/events", 401), ("/other", 401)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
            let answer = running.exchange(&request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        }
        let answer = running.exchange("POST /page HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert_problem(&answer, 401, "token_required");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stopping_waits_for_nobody_longer_than_the_grace() {
    let running = start(|config| config.grace = Duration::from_millis(50)).await;
    let mut hanging = running.connect();
    hanging.write_all(format!("GET /hang HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes()).unwrap();
    running.echo.asked.notified().await;
    running.stop.notify_one();
    running.server.await.unwrap();
    assert_eq!(rest(&mut hanging), "");
}

#[tokio::test]
async fn an_address_that_can_not_be_had_is_an_error_with_a_way_out() {
    let server = Server::bind(ServerConfig::new(([127, 0, 0, 1], 0).into()), Echo::default()).await.unwrap();
    let error = Server::bind(ServerConfig::new(server.local_addr()), Echo::default()).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressInUse { .. }), "{error}");
    let open: SocketAddr = ([0, 0, 0, 0], 0).into();
    let error = Server::bind(ServerConfig::new(open), Echo::default()).await.unwrap_err();
    assert!(matches!(error, ServerError::TokenRequired { .. }), "{error}");
    let token = Some(Token::new(SECRET.into()).unwrap());
    Server::bind(ServerConfig { token, ..ServerConfig::new(open) }, Echo::default()).await.unwrap();
}
