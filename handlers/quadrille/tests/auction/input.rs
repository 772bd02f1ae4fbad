//! Bad input over HTTP: each is refused with a status and a place, nothing of it is stored, and the service goes on.

use crate::support::{
    self, BOUND, Engine, Order, ask, body, eventually, exchange, on, orders, quadrille, read_answer, run,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

const MIB: usize = 1_048_576;
const GOOD: &str = r#"{"record_id":"good","parameter_1":"abc","parameter_2":4}"#;

fn engine(folder: &tempfile::TempDir) -> Engine {
    Engine::up(folder.path(), &[])
}

/// The orders that the engine has.
fn stored(engine: &Engine) -> Vec<String> {
    let orders = on(&engine.folder, &["orders", "--json", "--limit", "5000"]).json();
    let orders = orders.as_array().unwrap().iter();
    orders.map(|order| order["record_id"].as_str().unwrap().to_owned()).collect()
}

/// An order's text with one of its fields another.
fn with(field: &str, value: &str) -> String {
    let fields = [("record_id", r#""a""#), ("parameter_1", r#""abc""#), ("parameter_2", "4")];
    let fields = fields.map(|(name, own)| format!(r#""{name}":{}"#, if name == field { value } else { own }));
    format!("{{{}}}", fields.join(","))
}

#[test]
fn every_fault_has_its_place_and_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let text = |length: usize| format!("{:?}", "x".repeat(length));
    // What is wrong with the second order of two, by where it is and what it is called.
    let of_an_order: Vec<(String, &str, &str)> = vec![
        (with("record_id", r#""""#), "/1/record_id", "empty"),
        (with("record_id", &text(257)), "/1/record_id", "too_long"),
        (with("record_id", &format!("\"{}\"", "é".repeat(129))), "/1/record_id", "too_long"),
        (with("record_id", r#""a\u0000b""#), "/1/record_id", "control_character"),
        (with("record_id", r#""a\nb""#), "/1/record_id", "control_character"),
        (with("record_id", "\"a\u{7f}b\""), "/1/record_id", "control_character"),
        (with("record_id", "\"a\u{85}b\""), "/1/record_id", "control_character"),
        (with("record_id", r#""\ud800""#), "/1/record_id", "lone_surrogate"),
        (with("record_id", r#""good""#), "/1/record_id", "duplicate_record_id"),
        (with("record_id", r#""g\u006fod""#), "/1/record_id", "duplicate_record_id"),
        (with("record_id", "5"), "/1/record_id", "wrong_type"),
        (with("record_id", "null"), "/1/record_id", "wrong_type"),
        (with("parameter_1", &text(1_025)), "/1/parameter_1", "too_long"),
        (with("parameter_1", r#""x\udc00y""#), "/1/parameter_1", "lone_surrogate"),
        (with("parameter_1", "[]"), "/1/parameter_1", "wrong_type"),
        (with("parameter_2", r#""4""#), "/1/parameter_2", "wrong_type"),
        (with("parameter_2", "1e400"), "/1/parameter_2", "number_out_of_range"),
        (with("parameter_2", "-1e-400"), "/1/parameter_2", "number_out_of_range"),
        (with("parameter_2", &"1".repeat(39)), "/1/parameter_2", "too_many_digits"),
        (with("parameter_2", &"1".repeat(40)), "/1/parameter_2", "too_many_digits"),
        (with("parameter_2", &format!("0.{}1", "0".repeat(200))), "/1/parameter_2", "too_long"),
        (r#"{"parameter_1":"abc","parameter_2":4}"#.to_owned(), "/1/record_id", "missing_field"),
        (with("parameter_2", r#"4,"extra/~field":1"#), "/1/extra~1~0field", "unknown_field"),
        (with("parameter_2", r#"4,"parameter_2":4"#), "/1/parameter_2", "duplicate_key"),
        (with("parameter_2", r#"4,"parameter\u005f2":4"#), "/1/parameter_2", "duplicate_key"),
        ("[]".to_owned(), "/1", "wrong_type"),
        (
            with("record_id", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            "/1/record_id",
            "wrong_type",
        ),
    ];
    for (order, pointer, code) in &of_an_order {
        let answer = engine.post(&format!("[{GOOD},{order}]"));
        let shown = &order[..order.len().min(80)];
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        let problem = answer.problem();
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{shown}: {errors:?}");
        assert_eq!((&errors[0]["pointer"], &errors[0]["code"]), (&json!(pointer), &json!(code)), "{shown}");
        assert!(errors[0]["detail"].is_string());
        assert!(answer.body.len() < 2_000, "what was sent is not sent back");
    }

    // What is wrong with the body as a whole, and where its text breaks.
    type Place = Option<(u64, u64)>;
    let as_a_whole: Vec<(Vec<u8>, &str, Place)> = vec![
        (format!("[{GOOD},]").into(), "malformed_json", Some((1, 59))),
        (format!("[{GOOD}\n,\n]").into(), "malformed_json", Some((3, 1))),
        (format!("[{}]", with("parameter_2", "NaN")).into(), "malformed_json", Some((1, 53))),
        (format!("[{}]", with("parameter_2", "4.")).into(), "malformed_json", Some((1, 55))),
        (format!("[{}]", with("parameter_2", "04")).into(), "malformed_json", Some((1, 54))),
        (format!("[{}]", with("parameter_2", "4,")).into(), "malformed_json", Some((1, 55))),
        (format!("[{GOOD}] x").into(), "malformed_json", Some((1, 60))),
        (format!("[{GOOD}").into(), "malformed_json", Some((1, 58))),
        (format!("\u{feff}[{GOOD}]").into(), "malformed_json", Some((1, 1))),
        ("[".repeat(100_000).into(), "malformed_json", Some((1, 100_001))),
        (Vec::new(), "malformed_json", Some((1, 1))),
        (b"[{\"record_id\":\"\xff\"}]".to_vec(), "invalid_utf8", Some((1, 16))),
        (b"[{\"record_id\":\"\xed\xa0\x80\"}]".to_vec(), "invalid_utf8", Some((1, 16))),
        (GOOD.into(), "not_an_array", None),
        ("null".into(), "not_an_array", None),
        ("[]".into(), "empty_array", None),
        (body(&orders("o-", 1_001)).into(), "too_many_orders", None),
    ];
    for (bytes, code, place) in &as_a_whole {
        let answer = engine.ask("POST", "/orders", Some(bytes));
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        let problem = answer.problem();
        let fault = &problem["errors"][0];
        assert_eq!((&fault["pointer"], &fault["code"]), (&json!(""), &json!(code)), "{shown}: {problem}");
        let found = fault["line"].as_u64().zip(fault["column"].as_u64());
        assert_eq!(found, *place, "{shown}: {fault}");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{shown}");
    }

    assert_eq!(stored(&engine), [] as [String; 0]);
    assert_eq!(engine.post(&format!("[{GOOD}]")).status, 202, "the order that was fine each time is new");
}

#[test]
fn all_faults_are_told_at_once_and_not_too_many_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let several = r#"[{"record_id":"","parameter_1":5,"x":1},5,{"record_id":"a","parameter_1":"","parameter_2":1e999}]"#;
    let problem = engine.post(several).problem();
    let found: Vec<(&str, &str)> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["pointer"].as_str().unwrap(), fault["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("/0/x", "unknown_field"),
            ("/0/record_id", "empty"),
            ("/0/parameter_1", "wrong_type"),
            ("/0/parameter_2", "missing_field"),
            ("/1", "wrong_type"),
            ("/2/parameter_2", "number_out_of_range"),
        ]
    );
    let many = engine.post(&format!("[{}]", vec!["5"; 1_000].join(","))).problem();
    let many = many["errors"].as_array().unwrap();
    assert_eq!((many.len(), &many[100]["code"]), (101, &json!("more_faults")));
    assert_eq!(stored(&engine), [] as [String; 0]);
}

#[test]
fn the_largest_is_taken_and_one_byte_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let longest = Order::new("x".repeat(256), "é".repeat(512), format!("-{}e88", "9".repeat(38)));
    assert_eq!(engine.post(&body(std::slice::from_ref(&longest))).status, 202);
    assert_eq!(engine.order(&longest.record_id)["parameter_1"], longest.parameter_1);

    let thousand = body(&orders("o-", 1_000));
    let mut largest = thousand.clone().into_bytes();
    largest.resize(MIB, b' ');
    assert_eq!(engine.ask("POST", "/orders", Some(&largest)).status, 202);
    assert_eq!(stored(&engine).len(), 1_001);

    let more = body(&orders("more-", 1_000)).into_bytes();
    let mut too_large = more.clone();
    too_large.resize(MIB + 1, b' ');
    let answer = engine.ask("POST", "/orders", Some(&too_large));
    assert_eq!((answer.status, answer.problem()["title"].is_string()), (413, true));
    // Of a length that is not announced.
    let mut chunked = format!(
        "POST /orders HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        engine.address,
        too_large.len()
    )
    .into_bytes();
    chunked.extend_from_slice(&too_large);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(exchange(&engine.address, &chunked).unwrap().status, 413);
    assert_eq!(stored(&engine).len(), 1_001);
}

#[test]
fn only_json_in_utf_8_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let post = |headers: &[(&str, &str)]| {
        ask(&engine.address, "POST", "/orders", headers, Some(format!("[{GOOD}]").as_bytes())).unwrap()
    };
    for wrong in [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "application/json; charset=iso-8859-1",
        "application/jsonp",
        "multipart/form-data; boundary=x",
    ] {
        let answer = post(&[("content-type", wrong)]);
        assert_eq!((answer.status, answer.problem()["title"].is_string()), (415, true), "{wrong}");
    }
    assert_eq!(post(&[("content-encoding", "gzip")]).status, 415);
    let without = format!(
        "POST /orders HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n[{GOOD}]",
        engine.address,
        GOOD.len() + 2
    );
    assert_eq!(exchange(&engine.address, without.as_bytes()).unwrap().status, 415);
    assert_eq!(stored(&engine), [] as [String; 0]);
    assert_eq!(post(&[("content-type", "Application/JSON; charset=\"UTF-8\"")]).status, 202);
}

#[test]
fn a_body_that_stops_holds_up_nobody_and_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let whole = format!("[{GOOD}]");
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n",
        engine.address
    );
    // Many that send all but the last byte and then nothing, one that stops in its headers, one that says nothing.
    let mut slow: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(&engine.address).unwrap()).collect();
    for stream in &mut slow[..48] {
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let request = format!("{head}content-length: {}\r\n\r\n{}", whole.len(), &whole[..whole.len() - 1]);
        stream.write_all(request.as_bytes()).unwrap();
    }
    slow[48].write_all(&head.as_bytes()[..20]).unwrap();
    assert_eq!(engine.get("/healthz").status, 200);
    engine.take(&[Order::new("another", "abc", "1")]);
    assert_eq!(stored(&engine), ["another"]);

    // One that says it is done though it is not, and one that is reset.
    let mut cut = slow.remove(0);
    cut.shutdown(Shutdown::Write).unwrap();
    match read_answer(&mut cut) {
        Ok(answer) => assert_eq!(answer.status, 400, "{}", answer.text()),
        // To close without an answer is right as well: the client went away in the middle.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
    }
    drop(slow.remove(0));
    let broken_chunk =
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{whole}XX0\r\n\r\n", whole.len());
    let answer = exchange(&engine.address, broken_chunk.as_bytes());
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 400), "{answer:?}");
    assert_eq!(engine.get("/orders/good").status, 404);

    // The one byte that was missing makes an order of it: until then it was only waited for.
    let mut last = slow.remove(0);
    last.write_all(b"]").unwrap();
    assert_eq!(read_answer(&mut last).unwrap().status, 202);
    assert_eq!(engine.order("good")["status"], "received");
    drop(slow);
    assert_eq!(stored(&engine), ["good", "another"]);
    let done = engine.terminate();
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn what_is_not_http_is_answered_or_closed_and_the_service_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let host = format!("host: {}\r\n", engine.address);
    let long = "x".repeat(100_000);
    let requests: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\n{host}\r\n").into(),
        format!("GET / HTTP/1.1\r\n{host}x: {long}\r\n\r\n").into(),
        format!("POST /orders HTTP/1.1\r\n{host}content-length: -1\r\n\r\n").into(),
        format!("POST /orders HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\n[]").into(),
        format!("POST /orders HTTP/1.1\r\n{host}{host}content-length: 0\r\n\r\n").into(),
        b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(&engine.address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        // It may be closed before all of it is sent.
        let _: std::io::Result<()> = stream.write_all(&request);
        let _: std::io::Result<()> = stream.shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(read.is_err() || bytes.is_empty() || shown.starts_with("HTTP/1.1 4"), "{shown}");
        assert_eq!(engine.get("/healthz").status, 200);
    }
    assert_eq!(stored(&engine), [] as [String; 0]);
    assert!(!engine.terminate().err.contains("panicked"));
}

#[test]
fn a_web_page_of_another_site_can_not_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(folder.path(), &["--allowed-host", "auction.example"]);
    let port = engine.address.rsplit(':').next().unwrap();
    let post = |headers: &[(&str, &str)], path: &str, body: &str| {
        ask(&engine.address, "POST", path, headers, Some(body.as_bytes())).unwrap().status
    };
    let order = format!("[{GOOD}]");
    for host in ["evil.example", &format!("evil.example:{port}"), "localhost", "127.0.0.1:1", ""] {
        assert_eq!(post(&[("host", host)], "/orders", &order), 421, "{host}");
        assert_eq!(post(&[("host", host)], "/_quadrille/schedules/kickoff", "{}"), 421, "{host}");
    }
    for headers in [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "https://auction.example.evil.example")],
        [("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(post(&headers, "/orders", &order), 403, "{headers:?}");
        assert_eq!(post(&headers, "/_quadrille/schedules/kickoff", "{}"), 403, "{headers:?}");
        assert_eq!(ask(&engine.address, "GET", "/orders/good", &headers, None).unwrap().status, 403);
    }
    // What a form can send without being asked first is not taken by an operation either.
    assert_eq!(post(&[("content-type", "text/plain")], "/_quadrille/schedules/kickoff", "{}"), 415);
    assert_eq!(stored(&engine), [] as [String; 0]);
    assert_eq!(engine.queues()["auction-poll"]["visible"], 0);
    for headers in [
        vec![("host", format!("localhost:{port}")), ("origin", format!("http://localhost:{port}"))],
        vec![("host", "auction.example".to_owned())],
        vec![("origin", format!("http://{}", engine.address)), ("sec-fetch-site", "same-origin".to_owned())],
    ] {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(post(&headers, "/orders", &order), 202, "{headers:?}");
    }
}

#[test]
fn beyond_this_machine_it_needs_a_token() {
    const TOKEN: &str = "T0PSECRET-0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let open = |token: Option<&str>| {
        let mut command = Engine::command(folder.path(), &["--host", "0.0.0.0", "--log-level", "trace"]);
        command.envs(token.map(|token| ("QUADRILLE_TOKEN", token)));
        command
    };
    for (token, why) in
        [(None, "token"), (Some("short"), "16"), (Some("with spaces in it, 30 letters"), "16")]
    {
        let done = run(open(token), b"");
        assert_eq!(done.code, 2, "{token:?}: {done:?}");
        assert!(done.err.contains(why) && done.out.is_empty(), "{done:?}");
        assert!(token.is_none_or(|token| !done.err.contains(token)), "{done:?}");
    }

    let mut engine = Engine::start(open(Some(TOKEN)), folder.path());
    let port = engine.address.rsplit(':').next().unwrap().to_owned();
    engine.address = format!("127.0.0.1:{port}");
    let order = format!("[{GOOD}]");
    let bearer = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}0", &TOKEN[..TOKEN.len() - 1]);
    let long = format!("Bearer {TOKEN}0");
    let post = |headers: &[(&str, &str)], path: &str| {
        ask(&engine.address, "POST", path, headers, Some(order.as_bytes())).unwrap()
    };
    for headers in [
        vec![],
        vec![("authorization", wrong.as_str())],
        vec![("authorization", long.as_str())],
        vec![("authorization", TOKEN)],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Basic dDp0")],
    ] {
        for path in ["/orders", "/_quadrille/schedules/kickoff", "/healthz"] {
            let answer = post(&headers, path);
            assert_eq!(
                (answer.status, answer.headers["www-authenticate"].as_str()),
                (401, "Bearer"),
                "{headers:?}"
            );
        }
        for path in ["/orders/good", "/_quadrille/queues", "/healthz/", "/_quadrille/events"] {
            let answer = ask(&engine.address, "GET", path, &headers, None).unwrap();
            assert_eq!(answer.status, 401, "{path} {headers:?}");
        }
    }
    assert_eq!(engine.get("/healthz").json(), json!({ "status": "ok" }));
    assert_eq!(engine.get("/").status, 200, "the page, which asks for the token");
    let taken = post(&[("authorization", &bearer)], "/orders");
    assert_eq!((taken.status, taken.json()["results"][0]["outcome"].clone()), (202, json!("stored")));
    let found = ask(&engine.address, "GET", "/orders/good", &[("authorization", &bearer)], None).unwrap();
    assert_eq!(found.status, 200);

    // The commands show it too, from a file or from the environment.
    let url = format!("http://{}", engine.address);
    let without = quadrille(&["queues", "--url", &url]);
    assert_eq!(without.code, 4, "{without:?}");
    let token_file = folder.path().join("token");
    fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let with_file =
        quadrille(&["queues", "--json", "--url", &url, "--token-file", token_file.to_str().unwrap()]);
    assert!(with_file.json().is_array());
    #[cfg(unix)]
    for (mode, is_open) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false)] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&token_file, fs::Permissions::from_mode(mode)).unwrap();
        let told = quadrille(&["queues", "--url", &url, "--token-file", token_file.to_str().unwrap()]);
        assert_eq!(
            (told.code, told.err.contains("other users can read the token")),
            (0, is_open),
            "{told:?}"
        );
    }
    let mut command = support::command(&["kickoff", "--url", &url]);
    command.env("QUADRILLE_TOKEN", TOKEN);
    run(command, b"").ok();
    eventually("the run that the command started has the order", || {
        let found = ask(&engine.address, "GET", "/orders/good", &[("authorization", &bearer)], None).unwrap();
        (found.json()["status"] != "received").then_some(())
    });

    let done = engine.terminate();
    assert!(!done.err.contains(TOKEN) && !done.out.contains(TOKEN), "the token is in a log");
    fs::remove_file(token_file).unwrap();
    for file in support::files(folder.path()) {
        let holds = fs::read(&file).unwrap().windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes());
        assert!(!holds, "the token is in {file:?}");
    }
}

#[test]
fn an_unknown_field_of_an_operation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let status = |method: &str, path: &str, body: Option<&str>| {
        let answer = engine.ask(method, path, body.map(str::as_bytes));
        let problem: Value = answer.problem();
        assert!(problem["detail"].is_string(), "{problem}");
        answer.status
    };
    let redrive = |body: &str| status("POST", "/_quadrille/redrive", Some(body));
    assert_eq!(redrive(r#"{"queue":"auction-results-dlq","limit":1,"reason":"rejected"}"#), 400);
    assert_eq!(redrive(r#"{"queue":"nowhere","limit":1}"#), 404);
    assert_eq!(redrive("{"), 400);
    assert_eq!(status("GET", "/_quadrille/dead-letters", None), 400);
    assert_eq!(status("GET", "/_quadrille/dead-letters?queue=auction-results", None), 404);
    assert_eq!(status("GET", "/_quadrille/dead-letters?queue=auction-results-dlq&limit=many", None), 400);
    assert_eq!(status("GET", "/_quadrille/entities/order?after=%ff", None), 400);
    for place in ["", "nowhere", "1.5", "%00", "99999999999999999999"] {
        assert_eq!(status("GET", &format!("/_quadrille/entities/order?after={place}"), None), 400, "{place}");
        let letters = "/_quadrille/dead-letters?queue=auction-results-dlq";
        assert_eq!(status("GET", &format!("{letters}&after={place}"), None), 400, "{place}");
    }
    assert_eq!(status("GET", "/_quadrille/entities/order?limit=many", None), 400);
    assert_eq!(status("GET", "/_quadrille/entities/run/none", None), 404);
    assert_eq!(status("GET", "/_quadrille/entities/nothing", None), 404);
    assert_eq!(status("POST", "/_quadrille/schedules/nothing", Some("{}")), 404);
    assert_eq!(status("POST", "/_quadrille/invoke/nothing", Some("{}")), 404);
    assert_eq!(status("GET", "/_quadrille/nothing", None), 404);
}
