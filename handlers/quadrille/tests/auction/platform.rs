//! The auction against a platform that is slow, broken, hostile or down. Nothing it does loses an order.

use crate::support::{
    BOUND, Engine, Order, POLL_DEAD, RESULTS_DEAD, dead_letters, eventually, filed_by_id, on, orders,
    server::{Asked, Reply, Server},
    subjects, whats,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

/// What the platform is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    /// A page of orders, by run and number.
    Submit(String, String),
    /// The results of a run, from a page's token on.
    Results(String, Option<String>),
}

fn question(asked: &Asked) -> Question {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let parts: Vec<&str> = path.split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("PUT", ["", "runs", run, "orders", page]) => Question::Submit(decoded(run), decoded(page)),
        ("GET", ["", "runs", run, "results"]) => {
            Question::Results(decoded(run), query.strip_prefix("after=").map(decoded))
        }
        _ => panic!("the platform knows no such request: {asked:?}"),
    }
}

/// The orders of a submission.
fn submitted(asked: &Asked) -> Vec<String> {
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let orders = body["orders"].as_array().unwrap().iter();
    orders.map(|order| order["record_id"].as_str().unwrap().to_owned()).collect()
}

fn ready(orders: impl IntoIterator<Item = Value>, next: Option<&str>) -> Reply {
    let orders: Vec<Value> = orders.into_iter().collect();
    Reply::ok(json!({ "results": true, "orders": orders, "next": next }).to_string())
}

fn not_ready() -> Reply {
    Reply::ok(r#"{"results": false}"#)
}

fn accepted(id: &str) -> Value {
    json!({ "record_id": id, "status": "accepted", "power": 2.5 })
}

/// A platform that accepts what it was given, in one page, as soon as `is_ready` says so, and does before that what
/// `before` says.
fn accepting(
    is_ready: Arc<AtomicBool>,
    before: impl Fn(&Question) -> Reply + Send + Sync + 'static,
) -> Server {
    let books: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::default();
    Server::start(move |asked| {
        let question = question(asked);
        if !is_ready.load(Ordering::Acquire) {
            let reply = before(&question);
            if !matches!(reply, Reply::Is(200, _)) || matches!(question, Question::Results(..)) {
                return reply;
            }
        }
        let mut books = books.lock().unwrap();
        match question {
            Question::Submit(run, _) => {
                books.entry(run).or_default().extend(submitted(asked));
                Reply::ok("")
            }
            Question::Results(run, _) => {
                ready(books.get(&run).into_iter().flatten().map(|id| accepted(id)), None)
            }
        }
    })
}

fn up(folder: &Path, platform: &Server, more: &[&str]) -> Engine {
    let url = platform.url();
    let mut arguments = vec!["--platform", &url, "--backoff", "10ms"];
    // Longer than a machine that is busy keeps an answer waiting: one that comes too late is asked for again.
    if !more.contains(&"--platform-timeout") {
        arguments.extend(["--platform-timeout", "30s"]);
    }
    arguments.extend(more);
    Engine::up(folder, &arguments)
}

fn ids(orders: &[Order]) -> BTreeSet<String> {
    orders.iter().map(|order| order.record_id.clone()).collect()
}

/// The reasons of dead letters with their subjects, sorted.
fn reasons(letters: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut reasons: Vec<(String, String)> =
        letters.iter().map(|letter| (text(&letter["reason"]), text(&letter["subject"]))).collect();
    reasons.sort();
    reasons
}

/// Waits for the one dead letter of the poll queue, and returns its reason.
fn given_up(engine: &Engine) -> String {
    eventually("the poll is given up", || (engine.queues()["auction-poll"]["dead"] == 1).then_some(()));
    let letters = engine.dead_letters(POLL_DEAD);
    let letter = &letters[0];
    assert_eq!(
        (&letter["handler"], &letter["source_queue"]),
        (&json!("poll_auction"), &json!("auction-poll"))
    );
    letter["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_platform_that_fails_is_asked_again_until_it_answers() {
    let (submissions, asks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all = orders("o-", 20);
    let decided = all.clone();
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(..) => match submissions.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::Is(503, "try later".into()),
            1 => Reply::Never,
            _ => Reply::Is(204, String::new()),
        },
        Question::Results(..) => match asks.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::Never,
            1 => Reply::ok("<html>502 Bad Gateway</html>"),
            2 => Reply::Is(500, "oops".into()),
            3 => not_ready(),
            4 => Reply::ok(r#"{"results": true, "orders": [{"record_id": "o-1", "status": "accep"#),
            _ => ready(decided.iter().map(|order| accepted(&order.record_id)), None),
        },
    });
    let folder = tempfile::tempdir().unwrap();
    // The waits between these attempts sum up to 11 s at most.
    let engine = up(folder.path(), &platform, &["--deadline", "1m", "--platform-timeout", "2s"]);
    engine.take(&all);
    let run = engine.kickoff();
    engine.settled(all.len());
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&all));

    let asked = platform.asked();
    let (puts, gets): (Vec<&Asked>, Vec<&Asked>) = asked.iter().partition(|asked| asked.method == "PUT");
    assert_eq!((puts.len(), gets.len()), (3, 6), "{asked:?}");
    for put in &puts {
        assert_eq!(
            put.headers["idempotency-key"],
            format!("{run}/0"),
            "a repeated submission is known as one"
        );
        assert_eq!((question(put), &put.body), (Question::Submit(run.clone(), "0".into()), &puts[0].body));
    }
    for get in &gets {
        assert_eq!(get.headers["idempotency-key"], run);
    }
    let told = engine.run(&run).unwrap();
    assert_eq!((&told["state"]["polls"], &told["state"]["phase"]), (&json!(1), &json!("ended")));
    for order in &all {
        let told = engine.order(&order.record_id);
        let way = ["received", &format!("submitted to run {run}"), "accepted", "stored"];
        assert_eq!(whats(&told["trail"]), way);
    }
    assert!(engine.dead_letters(POLL_DEAD).is_empty() && engine.dead_letters(RESULTS_DEAD).is_empty());
}

#[test]
fn results_come_in_pages_and_what_is_wrong_with_one_does_not_stop_the_others() {
    let all = orders("o-", 20);
    let id = |n: usize| format!("o-{n}");
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(..) => Reply::ok(""),
        Question::Results(_, None) => ready((1..=8).map(|n| accepted(&id(n))), Some("p/2 é&x")),
        Question::Results(_, Some(after)) if after == "p/2 é&x" => {
            let aliased = (9..=12).map(|n| json!({ "record_id": id(n), "order": "rejected" }));
            let odd = [
                json!({ "record_id": "stranger", "status": "accepted", "power": 1 }),
                json!({ "record_id": 5, "status": "accepted" }),
                json!({ "record_id": id(13), "status": "accepted", "power": "much" }),
                json!("accepted"),
                json!({ "record_id": id(14), "status": "maybe" }),
                json!({ "record_id": id(15) }),
                json!({ "record_id": id(16), "status": "accepted", "more": { "fields": [1] } }),
                json!({ "record_id": id(16), "status": "rejected" }),
                json!({ "record_id": id(1), "status": "rejected" }),
            ];
            ready(aliased.chain(odd), Some("last"))
        }
        Question::Results(_, Some(after)) => {
            assert_eq!(after, "last");
            ready((17..=18).map(|n| accepted(&id(n))), None)
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &[]);
    engine.take(&all);
    let run = engine.kickoff();
    eventually("the run's end", || {
        (engine.run(&run)?["state"]["phase"] == "ended" && engine.queues()["auction-results"]["visible"] == 0)
            .then_some(())
    });
    let expected_letters: Vec<(String, String)> = [
        ("broken_decision", ""),
        ("broken_decision", ""),
        ("broken_decision", ""),
        ("conflicting_decision", "o-1"),
        ("conflicting_decision", "o-16"),
        ("decision_missing", "o-13"),
        ("decision_missing", "o-15"),
        ("decision_missing", "o-19"),
        ("decision_missing", "o-20"),
        ("rejected", "o-10"),
        ("rejected", "o-11"),
        ("rejected", "o-12"),
        ("rejected", "o-9"),
        ("unknown_order", "stranger"),
        ("unknown_status", "o-14"),
    ]
    .map(|(reason, subject)| (reason.to_owned(), subject.to_owned()))
    .into();
    eventually("every dead letter", || {
        let dead = engine.queues()["auction-results"]["dead"].as_u64()?;
        (usize::try_from(dead).unwrap() >= expected_letters.len()).then_some(())
    });
    let letters = engine.dead_letters(RESULTS_DEAD);
    assert_eq!(reasons(&letters), expected_letters);
    let expected_files: BTreeSet<String> = (1..=8).chain(16..=18).map(|n| format!("o-{n}")).collect();
    eventually("every result is filed", || {
        (filed_by_id(folder.path()).len() == expected_files.len()).then_some(())
    });
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), expected_files);
    assert!(
        letters.iter().any(|letter| letter["detail"].as_str().unwrap().contains("o-13")),
        "the broken one is named"
    );
    for (id, reason) in
        [("o-14", "unknown_status"), ("o-15", "decision_missing"), ("o-20", "decision_missing")]
    {
        let told = engine.order(id);
        assert_eq!((&told["status"], &told["undecidable"]), (&json!("submitted"), &json!(reason)));
        let wrote = if reason == "unknown_status" { json!("maybe") } else { Value::Null };
        assert_eq!(told["platform_status"], wrote);
        let traced = on(folder.path(), &["trace", id]).ok();
        assert!(traced.starts_with(&format!("{id}  undecidable\n")) && !traced.contains("now: "), "{traced}");
        assert_eq!(traced.contains("the platform wrote the status"), reason == "unknown_status", "{traced}");
    }
    let undecidable = on(folder.path(), &["orders", "--status", "undecidable", "--json"]).json();
    assert_eq!(undecidable.as_array().unwrap().len(), 5, "{undecidable}");
    assert!(
        undecidable.as_array().unwrap().iter().all(|row| row["status"] == "undecidable"),
        "{undecidable}"
    );
    assert_eq!(on(folder.path(), &["orders", "--status", "submitted", "--json"]).json(), json!([]));
    let told = engine.run(&run).unwrap();
    let counted =
        ["submitted", "accepted", "rejected", "undecidable"].map(|name| told["state"][name].clone());
    assert_eq!(counted, [20, 11, 4, 5].map(|count| json!(count)));

    // They had their end: a later run asks for none of them again.
    let asked = platform.asked().len();
    engine.kickoff();
    eventually("the kickoff is worked", || {
        let poll = &engine.queues()["auction-poll"];
        (poll["visible"] == 0 && poll["in_flight"] == 0).then_some(())
    });
    assert_eq!(platform.asked().len(), asked);
}

#[test]
fn a_decision_told_twice_does_not_stand_for_a_missing_one() {
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(..) => Reply::ok(""),
        Question::Results(_, None) => ready(["o-1", "o-2"].map(accepted), Some("2")),
        Question::Results(..) => ready(["o-1", "o-2"].map(accepted), None),
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &[]);
    engine.take(&orders("o-", 4));
    let run = engine.kickoff();
    engine.settled(4);
    assert_eq!(
        reasons(&engine.dead_letters(RESULTS_DEAD)),
        [
            ("decision_missing".to_owned(), "o-3".to_owned()),
            ("decision_missing".to_owned(), "o-4".to_owned())
        ]
    );
    let told = engine.run(&run).unwrap();
    let counted =
        ["submitted", "accepted", "rejected", "undecidable"].map(|name| told["state"][name].clone());
    assert_eq!(counted, [4, 2, 0, 2].map(|count| json!(count)));
}

#[test]
fn what_is_decided_before_the_platform_fails_within_a_round_is_not_decided_again() {
    let has_failed = AtomicBool::new(false);
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(..) => Reply::ok(""),
        Question::Results(_, None) => ready(["o-1", "o-2"].map(accepted), Some("2")),
        Question::Results(..) if !has_failed.swap(true, Ordering::SeqCst) => Reply::Is(500, String::new()),
        Question::Results(..) => ready(["o-3", "o-4"].map(accepted), None),
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &[]);
    let all = orders("o-", 4);
    engine.take(&all);
    let run = engine.kickoff();
    engine.settled(4);
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&all));
    let results = platform.asked().into_iter().filter_map(|asked| match question(&asked) {
        Question::Results(_, after) => Some(after),
        Question::Submit(..) => None,
    });
    let second = || Some("2".to_owned());
    assert_eq!(results.collect::<Vec<_>>(), [None, second(), second()]);
    let told =
        eventually("the run's end", || engine.run(&run).filter(|told| told["state"]["phase"] == "ended"));
    let trail = whats(&told["trail"]);
    let expected = [
        "decided 2 orders; the next page: platform_error",
        "ended: 4 submitted, 4 accepted, 0 rejected, 0 undecidable",
    ];
    let expected = expected.map(str::to_owned);
    assert!(trail.ends_with(&expected), "{trail:?}");
}

#[test]
fn a_large_run_is_handed_over_in_pages_each_order_once() {
    let all: Vec<Order> =
        (1..=1_300).map(|n| Order::new(format!("o-{n}"), format!("text {n}"), format!("{n}.10"))).collect();
    let book: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let written = Arc::clone(&book);
    let platform = Server::start(move |asked| {
        let mut book = written.lock().unwrap();
        match question(asked) {
            Question::Submit(_, page) => {
                let of_page = book.entry(page).or_default();
                of_page.extend(submitted(asked));
                assert!(of_page.len() <= 1_000);
                Reply::ok("")
            }
            Question::Results(_, after) => {
                let ids: Vec<&String> = book.values().flatten().collect();
                let from: usize = after.map_or(0, |after| after.parse().unwrap());
                let until = (from + 500).min(ids.len());
                let next = (until < ids.len()).then(|| until.to_string());
                ready(ids[from..until].iter().map(|id| accepted(id)), next.as_deref())
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &[]);
    engine.take(&all);
    let run = engine.kickoff();
    engine.settled(all.len());
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&all));
    let asked = platform.asked();
    let puts: Vec<&Asked> = asked.iter().filter(|asked| asked.method == "PUT").collect();
    assert!(puts.len() > 1);
    for (page, put) in puts.iter().enumerate() {
        assert_eq!(question(put), Question::Submit(run.clone(), page.to_string()));
        assert_eq!(put.headers["idempotency-key"], format!("{run}/{page}"));
    }
    let mut handed_over: Vec<String> = puts.iter().flat_map(|put| submitted(put)).collect();
    handed_over.sort();
    assert_eq!(handed_over, ids(&all).into_iter().collect::<Vec<_>>());
    let exactly = r#"{"record_id":"o-7","parameter_1":"text 7","parameter_2":7.10}"#;
    assert!(puts.iter().any(|put| put.body.contains(exactly)), "numbers are handed over as they were sent");
}

#[test]
fn a_refusal_is_not_retried_and_a_redrive_goes_on_from_there() {
    for refused in ["PUT", "GET"] {
        let is_ready = Arc::new(AtomicBool::new(false));
        let platform = accepting(Arc::clone(&is_ready), move |question| match question {
            Question::Submit(..) if refused == "GET" => Reply::ok(""),
            _ => Reply::Is(403, "SECRET of the platform".into()),
        });
        let folder = tempfile::tempdir().unwrap();
        let engine = up(folder.path(), &platform, &[]);
        let all = orders("o-", 12);
        engine.take(&all);
        let run = engine.kickoff();
        assert_eq!(given_up(&engine), "platform_refused");
        let times = platform.asked().iter().filter(|asked| asked.method == refused).count();
        assert_eq!(times, 1, "a {refused} that is refused is not tried again");
        for order in &all {
            assert_eq!(engine.order(&order.record_id)["status"], "submitted");
        }
        is_ready.store(true, Ordering::Release);
        let redriven = on(folder.path(), &["dlq", "redrive", "--queue", POLL_DEAD, "--json"]).json();
        assert_eq!(redriven["redriven"], 1);
        engine.settled(all.len());
        assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&all));
        for order in &all {
            let told = engine.order(&order.record_id);
            assert_eq!(
                (&told["run_id"], told["trail"].as_array().unwrap().len()),
                (&json!(run), 4),
                "{told}"
            );
        }
        let done = engine.terminate();
        assert!(!done.err.contains("SECRET"), "{}", done.err);
    }
}

#[test]
fn a_run_past_its_deadline_leaves_its_orders_to_the_next() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let platform = accepting(Arc::clone(&is_ready), |question| match question {
        Question::Submit(..) => Reply::ok(""),
        Question::Results(..) => not_ready(),
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &["--deadline", "3s"]);
    let all = orders("o-", 12);
    engine.take(&all);
    let first = engine.kickoff();
    assert_eq!(given_up(&engine), "deadline_passed");
    for order in &all {
        let told = engine.order(&order.record_id);
        assert_eq!((&told["status"], &told["run_id"]), (&json!("submitted"), &json!(first)));
    }

    is_ready.store(true, Ordering::Release);
    let later = orders("later-", 3);
    engine.take(&later);
    let second = engine.kickoff();
    engine.settled(15);
    let both = [all.clone(), later].concat();
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&both));
    for order in &all {
        let told = engine.order(&order.record_id);
        let way = [
            "received",
            &format!("submitted to run {first}"),
            &format!("submitted to run {second}"),
            "accepted",
            "stored",
        ];
        assert_eq!(
            (&told["run_id"], whats(&told["trail"])),
            (&json!(second), way.map(str::to_owned).to_vec())
        );
    }
    let handed_over: BTreeSet<String> = platform
        .asked()
        .iter()
        .filter(|asked| matches!(question(asked), Question::Submit(run, _) if run == second))
        .flat_map(submitted)
        .collect();
    assert_eq!(handed_over, ids(&both));
    assert_eq!(engine.run(&first).unwrap()["state"]["phase"], "ended");

    // What is left of the first run changes nothing any more.
    let seen =
        || (filed_by_id(folder.path()), engine.run(&first).unwrap(), engine.dead_letters(RESULTS_DEAD));
    let before = seen();
    let redriven = on(folder.path(), &["dlq", "redrive", "--queue", POLL_DEAD, "--json"]).json();
    assert_eq!(redriven["redriven"], 1);
    eventually("what was sent back is worked", || {
        let poll = &engine.queues()["auction-poll"];
        (poll["visible"] == 0 && poll["in_flight"] == 0 && poll["delayed"] == 0).then_some(())
    });
    assert_eq!(seen(), before);
    assert_eq!(
        engine.dead_letters(POLL_DEAD),
        [] as [Value; 0],
        "a run that has ended has nothing to give up"
    );
}

#[test]
fn orders_of_a_run_that_never_got_through_are_taken_over_too() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let platform = accepting(Arc::clone(&is_ready), |_| Reply::Is(401, String::new()));
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &["--deadline", "1s"]);
    let all = orders("o-", 12);
    engine.take(&all);
    let first = engine.kickoff();
    assert_eq!(given_up(&engine), "platform_refused");
    is_ready.store(true, Ordering::Release);
    // Each run takes over what passed its deadline before it began.
    eventually("the deadline of the first run has passed, and another one has its orders", || {
        engine.kickoff();
        (filed_by_id(folder.path()).len() == all.len()).then_some(())
    });
    engine.settled(all.len());
    for order in &all {
        let told = engine.order(&order.record_id);
        assert_ne!(told["run_id"], json!(first));
        assert_eq!(
            (&told["status"], told["trail"].as_array().unwrap().len()),
            (&json!("accepted"), 5),
            "{told}"
        );
    }
}

#[test]
fn a_run_that_was_given_up_is_in_nobodys_way() {
    let refused: Arc<Mutex<Option<String>>> = Arc::default();
    let (first_run, books) = (Arc::clone(&refused), Mutex::new(BTreeMap::<String, Vec<String>>::new()));
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(run, _) => {
            if *first_run.lock().unwrap().get_or_insert_with(|| run.clone()) == run {
                return Reply::Is(400, String::new());
            }
            books.lock().unwrap().entry(run).or_default().extend(submitted(asked));
            Reply::ok("")
        }
        Question::Results(run, _) => {
            ready(books.lock().unwrap().get(&run).into_iter().flatten().map(|id| accepted(id)), None)
        }
    });
    let folder = tempfile::tempdir().unwrap();
    // Its deadline is an hour away.
    let engine = up(folder.path(), &platform, &[]);
    engine.take(&orders("first-", 5));
    let first = engine.kickoff();
    assert_eq!(given_up(&engine), "platform_refused");
    assert_eq!(refused.lock().unwrap().as_ref(), Some(&first));

    engine.take(&orders("later-", 5));
    engine.kickoff();
    // Those of the run that was given up go to the next one at once.
    eventually("all orders are decided", || (filed_by_id(folder.path()).len() == 10).then_some(()));
}

#[test]
fn a_call_in_hand_is_waited_for_when_it_stops() {
    let (begun, has_begun) = mpsc::channel();
    let (let_go, go) = mpsc::channel::<()>();
    let go = Mutex::new(go);
    let platform = Server::start(move |asked| match question(asked) {
        Question::Submit(..) => {
            begun.send(()).unwrap();
            go.lock().unwrap().recv_timeout(BOUND).unwrap();
            Reply::ok("")
        }
        Question::Results(..) => ready(["o-1", "o-2"].map(accepted), None),
    });
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path(), &platform, &[]);
    engine.take(&orders("o-", 2));
    let run = engine.kickoff();
    has_begun.recv_timeout(BOUND).unwrap();
    engine.ask_to_end();
    engine.out.find(|line| line.contains("stopping").then_some(())).expect("it says that it stops");
    let_go.send(()).unwrap();
    let done = engine.ended();
    assert_eq!(done.code, 0, "{done:?}");

    let engine = up(folder.path(), &platform, &[]);
    engine.settled(2);
    let submissions = platform.asked().iter().filter(|asked| asked.method == "PUT").count();
    assert_eq!(submissions, 1, "the call was finished, and is not made again");
    for id in ["o-1", "o-2"] {
        let told = engine.order(id);
        assert_eq!((&told["run_id"], told["trail"].as_array().unwrap().len()), (&json!(run), 4));
    }
}

#[test]
fn a_platform_that_is_away_stops_nobody_from_posting() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::up(
        folder.path(),
        &[
            "--platform",
            "http://127.0.0.1:9",
            "--platform-timeout",
            "200ms",
            "--deadline",
            "2s",
            "--every",
            "100ms",
        ],
    );
    let all = orders("o-", 30);
    for part in all.chunks(3) {
        engine.take(part);
    }
    assert_eq!(engine.get("/healthz").status, 200);
    eventually("a run is given up", || (engine.queues()["auction-poll"]["dead"].as_u64()? > 0).then_some(()));
    engine.terminate();
    let letters = dead_letters(folder.path(), POLL_DEAD);
    assert!(letters.iter().all(|letter| letter["reason"] == "platform_unreachable" || letter["reason"] == "deadline_passed"));
    assert_eq!(subjects(&dead_letters(folder.path(), RESULTS_DEAD)), [] as [String; 0]);

    // The platform is there again: every order is decided, whichever run had it.
    let is_ready = Arc::new(AtomicBool::new(true));
    let platform = accepting(is_ready, |_| not_ready());
    let engine = up(folder.path(), &platform, &["--deadline", "2s", "--every", "100ms"]);
    engine.settled(all.len());
    assert_eq!(filed_by_id(folder.path()).into_keys().collect::<BTreeSet<_>>(), ids(&all));
}
