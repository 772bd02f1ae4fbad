//! The operator's commands on a stack on AWS, as processes. They run on the peer that stands in for AWS, and where it lacks a
//! call, on a server that answers as SQS documents it. The rules and variables of `core/tests/aws` hold here too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A panic is how a test fails.

#[path = "../../../core/tests/aws/peer.rs"]
mod peer;
mod support;

use aws_config::SdkConfig;
use aws_sdk_sqs::types::MessageAttributeValue;
use quadrille::{
    aws::Names,
    port::{Random as _, SystemRandom},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    Done, Order, POLL, POLL_DEAD, RESULTS, RESULTS_DEAD, Watcher, ask,
    between::{Between, Stops},
    body, command, eventually, orders, run,
    server::{Asked, Reply, Server},
};

/// A command on `endpoint`, with nothing of the caller's AWS environment.
fn on_aws(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.envs(peer::variables(endpoint));
    command
}

/// A stack on the peer: what the infrastructure would make, with the parameter that it leaves.
struct Stack {
    url: String,
    name: String,
    sqs: aws_sdk_sqs::Client,
    settings: Names,
}

impl Stack {
    async fn new(test: &str) -> Option<Self> {
        let url = peer::require(test)?;
        let config: SdkConfig = peer::configuration(url).await;
        let model = auction();
        let settings = peer::provision(&model, &config).await;
        let name = format!("s{:016x}", SystemRandom.next_u64());
        let put = aws_sdk_ssm::Client::new(&config)
            .put_parameter()
            .name(format!("/quadrille/auction/{name}"))
            .r#type(aws_sdk_ssm::types::ParameterType::String)
            .value(serde_json::to_string(&settings).unwrap());
        put.send().await.unwrap();
        let sqs = aws_sdk_sqs::Client::new(&config);
        Some(Self { url: url.to_owned(), name, sqs, settings })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        on_aws(&self.url, &[arguments, &["--target", "aws", "--stack", &self.name]].concat())
    }

    fn run(&self, arguments: &[&str]) -> Done {
        run(self.command(arguments), b"")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    fn post(&self, orders: &[Order]) -> Done {
        run(self.command(&["post", "-", "--json"]), body(orders).as_bytes())
    }

    fn queue(&self, name: &str) -> Value {
        let queues = self.json(&["queues"]);
        queues.as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
    }

    /// Gives up a message for each of `subjects`, as a handler does.
    async fn give_up(&self, queue: &str, subjects: &[String], reason: &str) {
        for subject in subjects {
            let text = |value: &str| {
                MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
            };
            let sent = self
                .sqs
                .send_message()
                .queue_url(&self.settings.queues[queue])
                .message_body(json!({ "specversion": "1.0", "subject": subject }).to_string())
                .message_attributes("reason", text(reason))
                .message_attributes("handler", text("store_result"))
                .message_attributes("attempts", text("1"))
                .message_attributes("dead-at", text("2026-11-20T09:15:00.000Z"))
                .message_attributes("first-seen", text("2026-11-19T09:15:00.000Z"));
            sent.send().await.unwrap();
        }
    }

    fn letters(&self, more: &[&str]) -> BTreeMap<String, Value> {
        let listed = self.json(&[&["dlq", "list"], more].concat());
        let named = |letter: &Value| (letter["subject"].as_str().unwrap().to_owned(), letter.clone());
        listed.as_array().unwrap().iter().map(named).collect()
    }

    /// Takes all messages of a queue.
    async fn take(&self, queue: &str) -> Vec<aws_sdk_sqs::types::Message> {
        let mut all = Vec::new();
        loop {
            let request = self.sqs.receive_message().queue_url(&self.settings.queues[queue]);
            let request = request.max_number_of_messages(10).message_attribute_names("All");
            let messages = request.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            all.extend(messages);
        }
    }
}

/// The model of the auction.
fn auction() -> quadrille::choreography::Model {
    let choreography = quadrille::system::choreography(&systems::auction::Auction).unwrap();
    choreography.model().as_ref().clone()
}

fn subjects(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at}")).collect()
}

#[track_caller]
fn fails(done: &Done, code: i32, says: &[&str]) {
    assert_eq!(done.code, code, "{done:?}");
    for says in says {
        assert!(done.err.contains(says), "{says:?} is not said: {}", done.err);
    }
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_posted_kicked_off_listed_and_traced_on_a_stack() {
    let Some(stack) = Stack::new("orders_are_posted_kicked_off_listed_and_traced_on_a_stack").await else {
        return;
    };
    let all = orders("order-", 12);
    assert_eq!(stack.post(&all).json(), json!({ "stored": 12, "unchanged": 0, "conflict": 0 }));
    assert_eq!(stack.post(&all).json(), json!({ "stored": 0, "unchanged": 12, "conflict": 0 }));
    let other = stack.post(&[Order::new("order-3", "something else", "7")]);
    fails(&other, 4, &["1 in conflict"]);
    fails(&run(stack.command(&["post", "-"]), b"[]"), 4, &["the stack answered 400"]);

    let listed = stack.json(&["orders", "--status", "received"]);
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|order| order["record_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 12);
    assert!(all.iter().all(|order| ids.contains(&order.record_id.as_str())), "{ids:?}");
    let traced = stack.json(&["trace", "order-3"]);
    assert_eq!((&traced["status"], &traced["timeline"][0]["what"]), (&json!("received"), &json!("received")));
    fails(&stack.run(&["trace", "nobody"]), 3, &["the stack answered 404"]);

    let run_id = stack.json(&["kickoff"])["run_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (stack.queue(POLL)["visible"].as_u64(), stack.queue(RESULTS)["visible"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(stack.queue("notify")["dead_letter_queue"], "notify-dlq");
    let sent = stack.take(POLL).await;
    let event: Value = serde_json::from_str(sent[0].body.as_ref().unwrap()).unwrap();
    assert_eq!((&event["data"]["run_id"], sent.len()), (&json!(run_id), 1));

    // The same from a file that tells the names.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    fs::write(&file, serde_json::to_string(&stack.settings).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let told =
        run(on_aws(&stack.url, &["orders", "--json", "--target", "aws", "--settings", file]), b"").json();
    assert_eq!(told.as_array().unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_and_shown_and_are_all_there_after() {
    let Some(stack) = Stack::new("dead_letters_are_listed_and_shown_and_are_all_there_after").await else {
        return;
    };
    stack.give_up(RESULTS_DEAD, &subjects("rejected-", 17), "rejected").await;
    stack.give_up(RESULTS_DEAD, &subjects("late-", 8), "timeout").await;
    let all = stack.letters(&[]);
    assert_eq!(all.len(), 25);
    // At once again: what was looked at was given back.
    assert_eq!(stack.queue(RESULTS)["dead"], 25);
    assert_eq!(stack.letters(&[]).into_keys().collect::<Vec<_>>(), all.keys().cloned().collect::<Vec<_>>());
    let late = stack.letters(&["--reason", "timeout"]);
    assert!(late.len() == 8 && late.values().all(|letter| letter["reason"] == "timeout"), "{late:?}");
    assert_eq!(stack.letters(&["--limit", "7"]).len(), 7);
    assert_eq!(stack.letters(&["--limit", "3", "--reason", "timeout"]).len(), 3);
    assert_eq!(stack.letters(&["--queue", POLL_DEAD]).len(), 0);
    let letter = &all["late-2"];
    let shown = stack.json(&["dlq", "show", letter["id"].as_str().unwrap()]);
    assert_eq!(shown, *letter);
    let text = stack.run(&["dlq", "list"]).ok();
    let group: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((group[0], group[1], group[2]), ("17", RESULTS_DEAD, "rejected"), "{text}");
    assert!(text.contains("\n25 dead letter(s) in "), "{text}");
    fails(&stack.run(&["dlq", "show", "nobody"]), 3, &["no dead letter nobody"]);
    fails(&stack.run(&["dlq", "list", "--queue", RESULTS]), 3, &["no dead-letter queue"]);
    let visible = |name: &str| stack.queue(name)["dead"].clone();
    assert_eq!(visible(RESULTS), 25);
    let received = stack.take(RESULTS_DEAD).await;
    assert_eq!(received.len(), 25, "every letter can be received at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filtered_redrive_moves_what_is_meant_and_can_be_repeated() {
    let Some(stack) = Stack::new("a_filtered_redrive_moves_what_is_meant_and_can_be_repeated").await else {
        return;
    };
    stack.give_up(RESULTS_DEAD, &subjects("rejected-", 12), "rejected").await;
    stack.give_up(RESULTS_DEAD, &subjects("late-", 14), "timeout").await;
    let moved = |arguments: &[&str]| stack.json(&[&["dlq"], arguments].concat());
    assert_eq!(moved(&["redrive", "--reason", "timeout", "--dry-run"])["redriven"], 14);
    assert_eq!(stack.letters(&[]).len(), 26);

    let began = Instant::now();
    let limited = moved(&["redrive", "--reason", "timeout", "--limit", "4", "--rate", "4"]);
    assert_eq!((&limited["redriven"], &limited["dry_run"]), (&json!(4), &json!(false)));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    // What was looked at and left is there at once.
    assert_eq!(stack.letters(&[]).len(), 22);
    assert_eq!(moved(&["redrive", "--reason", "timeout"])["redriven"], 10);
    assert_eq!(moved(&["redrive", "--reason", "timeout"])["redriven"], 0);
    assert!(stack.letters(&[]).values().all(|letter| letter["reason"] == "rejected"));

    let back = stack.take(RESULTS).await;
    assert_eq!(back.len(), 14);
    for message in &back {
        let attributes = message.message_attributes.as_ref().unwrap();
        assert_eq!(attributes.len(), 2);
        assert!(["first-seen", "redriven"].iter().all(|name| attributes.contains_key(*name)));
        assert!(message.body.as_ref().unwrap().contains("late-"));
    }
    assert_eq!(moved(&["purge", "--yes", "--limit", "5"])["purged"], 5);
    assert_eq!(moved(&["purge", "--yes", "--reason", "rejected"])["purged"], 7);
    assert_eq!(stack.queue(RESULTS)["dead"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_redrive_sends_what_the_plan_names_and_is_gone_on_with() {
    let Some(stack) = Stack::new("a_planned_redrive_sends_what_the_plan_names_and_is_gone_on_with").await
    else {
        return;
    };
    stack.give_up(RESULTS_DEAD, &subjects("rejected-", 6), "rejected").await;
    stack.give_up(RESULTS_DEAD, &subjects("late-", 9), "timeout").await;
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.jsonl").to_str().unwrap().to_owned();
    let told = stack.json(&["dlq", "plan", "--reason", "timeout", "--out", &plan]);
    assert_eq!((&told["letters"], &told["groups"][0]["letters"]), (&json!(9), &json!(9)), "{told}");
    assert_eq!(stack.letters(&[]).len(), 15, "what was looked at is there at once");
    let redrive = ["dlq", "redrive", "--plan", &plan, "--rate", "5", "--by", "ann"];
    assert_eq!(stack.json(&redrive)["sent"], 9);
    let again = stack.json(&redrive);
    assert_eq!((&again["sent"], &again["sent_before"]), (&json!(0), &json!(9)), "{again}");
    assert!(stack.letters(&[]).values().all(|letter| letter["reason"] == "rejected"));
    let back = stack.take(RESULTS).await;
    assert_eq!(back.len(), 9);
    for message in &back {
        let attributes = message.message_attributes.as_ref().unwrap();
        let redriven = attributes["redriven"].string_value.as_ref().unwrap();
        assert!(redriven.contains("\"by\":\"ann\"") && redriven.contains("\"times\":1"), "{redriven}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_sent_when_a_redrive_was_killed_is_not_sent_again() {
    let test = "what_may_have_been_sent_when_a_redrive_was_killed_is_not_sent_again";
    let Some(stack) = Stack::new(test).await else { return };
    stack.give_up(RESULTS_DEAD, &subjects("late-", 4), "timeout").await;
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.jsonl").to_str().unwrap().to_owned();
    assert_eq!(stack.json(&["dlq", "plan", "--out", &plan])["letters"], 4);
    let redrive = ["dlq", "redrive", "--plan", &plan, "--rate", "1", "--by", "ann"];
    // The queue has it, and the command is killed before it knows.
    let peer = stack.url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let between = Between::start(peer, Some((1, Stops::Behind)), "AmazonSQS.SendMessageBatch");
    let mut command = stack.command(&redrive);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", between.address));
    let mut killed = started(command);
    eventually("it has sent the first", || between.has_stopped().then_some(()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let done = stack.run(&redrive);
    assert!(done.out.contains("4 may have been sent when it was broken off, and stay"), "{}", done.out);
    assert_eq!(stack.json(&redrive)["unsure"], 4);
    assert_eq!(stack.take(RESULTS).await.len(), 1);
}

/// The pages of a stack, served on this machine over one's own permissions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_of_a_stack_shows_what_is_there_and_acts_only_where_it_may() {
    let Some(stack) = Stack::new("a_console_of_a_stack_shows_what_is_there").await else { return };
    assert_eq!(stack.post(&orders("order-", 3)).code, 0);
    stack.give_up(RESULTS_DEAD, &subjects("order-", 2), "timeout").await;
    for is_allowed in [false, true] {
        let mut arguments = vec!["console", "--port", "0"];
        arguments.extend(is_allowed.then_some("--allow-actions"));
        let serving = Watcher::start(stack.command(&arguments));
        let line =
            serving.out.find(|line| line.split_once("http://").map(|(_, rest)| rest.to_owned())).unwrap();
        let (address, token) = line.split_once("/#token=").unwrap();
        let (authorization, origin) = (format!("Bearer {token}"), format!("http://{address}"));
        let headers = [("authorization", authorization.as_str()), ("origin", origin.as_str())];
        let get = |path: &str| {
            let answer = ask(address, "GET", path, &headers, None).unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.json()
        };
        assert_eq!(ask(address, "GET", "/", &[], None).unwrap().status, 200, "the page");
        assert_eq!(ask(address, "GET", "/_quadrille/system", &[], None).unwrap().status, 401);
        let system = get("/_quadrille/system");
        assert_eq!((&system["target"], &system["stack"]), (&json!("aws"), &json!(stack.name)));
        assert_eq!((&system["place"], &system["allows_actions"]), (&json!("production"), &json!(is_allowed)));
        let story = get("/_quadrille/stories/order/order-2");
        assert_eq!(story["entity"]["status"], "received");
        let groups = get(&format!("/_quadrille/dead-letter-groups?queue={RESULTS_DEAD}"));
        assert_eq!(
            (&groups["groups"][0]["reason"], &groups["groups"][0]["count"]),
            (&json!("timeout"), &json!(2))
        );
        let post = |path: &str, body: &Value| {
            ask(address, "POST", path, &headers, Some(body.to_string().as_bytes())).unwrap()
        };
        let back = json!({ "queue": RESULTS_DEAD, "receipts": groups["held"] });
        assert_eq!(post("/_quadrille/give-back", &back).status, 200, "a page gives back what it looked at");
        let walk = json!({ "queue": RESULTS_DEAD, "filter": {}, "limit": 10 });
        let redriven = post("/_quadrille/redrive", &walk);
        match is_allowed {
            false => assert_eq!(redriven.problem()["type"], "/problems/read_only"),
            true => assert_eq!((redriven.status, &redriven.json()["moved"]), (200, &json!(2))),
        }
        assert_eq!(serving.terminate().code, 0);
    }
    assert_eq!(stack.take(RESULTS).await.len(), 2);
}

/// Starts a command whose end is waited for elsewhere.
fn started(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_redrive_has_lost_nothing_and_hides_nothing() {
    let Some(stack) = Stack::new("an_interrupted_redrive_has_lost_nothing_and_hides_nothing").await else {
        return;
    };
    stack.give_up(RESULTS_DEAD, &subjects("late-", 20), "timeout").await;
    stack.give_up(RESULTS_DEAD, &subjects("rejected-", 5), "rejected").await;
    let redrive = started(stack.command(&["dlq", "redrive", "--reason", "timeout", "--rate", "1", "--json"]));
    eventually("one is moved", || (stack.queue(RESULTS)["visible"].as_u64() > Some(0)).then_some(()));
    kill_process(Pid::from_child(&redrive), Signal::INT).unwrap();
    let done = ended(redrive);
    fails(&done, 1, &["interrupted"]);
    let moved: Value = serde_json::from_str(done.out.trim()).unwrap();
    let moved = moved["redriven"].as_u64().unwrap();
    assert!((1..20).contains(&moved), "{moved}");
    assert_eq!(stack.letters(&[]).len() as u64, 25 - moved);
    assert_eq!(stack.json(&["dlq", "redrive", "--reason", "timeout"])["redriven"], json!(20 - moved));
    assert_eq!(stack.take(RESULTS).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_tells_of_a_stack_of_its_clock_and_of_what_is_dead_there() {
    let Some(stack) = Stack::new("doctor").await else { return };
    stack.give_up(RESULTS_DEAD, &subjects("order-", 2), "rejected").await;
    let told = stack.json(&["doctor"]);
    let check = |told: &Value, name: &str| {
        let checks = told["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{told:#}")).clone()
    };
    assert_eq!(check(&told, "stack")["state"], "ok");
    assert_eq!(check(&told, "clock")["state"], "ok", "{told:#}");
    assert_eq!(check(&told, "dead letters")["state"], "warn");
    assert!(check(&told, "dead letters")["found"].as_str().unwrap().starts_with("2 in auction-results-dlq"));
    let missing =
        run(on_aws(&stack.url, &["doctor", "--json", "--target", "aws", "--stack", "nowhere"]), b"");
    let told: Value = serde_json::from_str(&missing.out).unwrap();
    assert_eq!((missing.code, &check(&told, "stack")["state"]), (1, &json!("fail")), "{told:#}");
    // Nobody answers.
    let away =
        run(on_aws("http://127.0.0.1:1", &["doctor", "--json", "--target", "aws", "--stack", "dev"]), b"");
    let told: Value = serde_json::from_str(&away.out).unwrap();
    assert_eq!((away.code, &check(&told, "stack")["state"]), (1, &json!("fail")), "{told:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_is_not_there_is_said_to_be() {
    let Some(stack) = Stack::new("a_stack_that_is_not_there_is_said_to_be").await else { return };
    let queues = |more: &[&str]| on_aws(&stack.url, &[&["queues", "--target", "aws"], more].concat());
    fails(
        &run(queues(&["--stack", "nowhere"]), b""),
        3,
        &["/quadrille/auction/nowhere", "us-east-1", "deploy the stack"],
    );

    // A profile tells region and credentials.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let profile =
        "[profile operator]\nregion = eu-west-1\naws_access_key_id = test\naws_secret_access_key = test\n";
    fs::write(&file, profile).unwrap();
    let mut by_profile = queues(&["--stack", "nowhere"]);
    for variable in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        by_profile.env_remove(variable);
    }
    by_profile.env("AWS_CONFIG_FILE", &file).env("AWS_PROFILE", "operator");
    fails(&run(by_profile, b""), 3, &["/quadrille/auction/nowhere", "eu-west-1"]);
}

#[test]
fn what_the_environment_lacks_is_named_with_what_to_do() {
    // Nobody listens there, and nobody is asked.
    let queues =
        |more: &[&str]| on_aws("http://127.0.0.1:9", &[&["queues", "--target", "aws"], more].concat());
    fails(&run(queues(&[]), b""), 2, &["--stack NAME"]);
    fails(&run(queues(&["--stack", "../prod"]), b""), 2, &["--stack"]);
    fails(&run(queues(&["--stack", "dev", "--settings", "x"]), b""), 2, &["--settings"]);
    let mut without = queues(&["--stack", "dev"]);
    without.env_remove("AWS_REGION");
    fails(&run(without, b""), 2, &["AWS_REGION", "AWS_PROFILE"]);
    let mut without = queues(&["--stack", "dev"]);
    without.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    fails(&run(without, b""), 2, &["no AWS credentials", "AWS_PROFILE"]);
    fails(&run(queues(&["--stack", "dev"]), b""), 5, &["no answer from AWS"]);
    fails(&run(command(&["queues", "--stack", "dev"]), b""), 2, &["--target aws"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    let from_file = |text: &str| {
        fs::write(&file, text).unwrap();
        run(queues(&["--settings", file.to_str().unwrap()]), b"")
    };
    fails(&from_file("no json"), 4, &["does not tell a stack's names"]);
    let lacking = json!({ "tables": { "orders": "t" }, "queues": { POLL: "http://127.0.0.1:9/q" } });
    fails(&from_file(&lacking.to_string()), 4, &["lacks queue auction-poll-dlq", "auction-results"]);
    fails(&run(queues(&["--settings", "/nowhere/settings.json"]), b""), 1, &["/nowhere/settings.json"]);
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let server = Server::start(|_| {
        let text = "User: arn:aws:iam::1:user/a is not authorized to perform: ssm:GetParameter";
        Reply::Is(400, json!({ "__type": "AccessDeniedException", "message": text }).to_string())
    });
    let done = run(on_aws(&server.url(), &["queues", "--target", "aws", "--stack", "dev"]), b"");
    fails(&done, 4, &["/quadrille/auction/dev", "ssm:GetParameter", "no permission"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    fs::write(&file, serde_json::to_string(&names_at(&server.url())).unwrap()).unwrap();
    let queues = ["queues", "--target", "aws", "--settings", file.to_str().unwrap()];
    fails(&run(on_aws(&server.url(), &queues), b""), 4, &["auction-poll", "is not authorized to perform"]);
}

/// The peer, but that nobody may send.
fn nobody_may_send(peer: &'static str) -> Server {
    Server::start(move |asked: &Asked| {
        let target = asked.headers.get("x-amz-target").cloned().unwrap_or_default();
        if target.contains("SendMessage") {
            let text = "User: arn:aws:iam::1:user/a is not authorized to perform: sqs:SendMessage";
            return Reply::Is(400, json!({ "__type": "AccessDenied", "message": text }).to_string());
        }
        Reply::ok(handed_on(peer, asked))
    })
}

/// What the peer answers to a call that goes by its target.
fn handed_on(peer: &str, asked: &Asked) -> String {
    let mut connection = std::net::TcpStream::connect(peer.strip_prefix("http://").unwrap()).unwrap();
    let mut head = "POST / HTTP/1.1\r\nconnection: close\r\n".to_owned();
    let names = ["host", "x-amz-target", "content-type", "authorization", "x-amz-date"];
    for name in names {
        if let Some(value) = asked.headers.get(name) {
            head += &format!("{name}: {value}\r\n");
        }
    }
    head += &format!("content-length: {}\r\n\r\n{}", asked.body.len(), asked.body);
    std::io::Write::write_all(&mut connection, head.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut connection, &mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_that_may_send_nothing_back_is_refused_and_says_how_many_stay() {
    let test = "a_redrive_that_may_send_nothing_back_is_refused_and_says_how_many_stay";
    let Some(stack) = Stack::new(test).await else { return };
    stack.give_up(POLL_DEAD, &subjects("run-", 3), "platform_unreachable").await;
    let server = nobody_may_send(peer::require(test).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    fs::write(&file, serde_json::to_string(&stack.settings).unwrap()).unwrap();
    let redrive = ["dlq", "redrive", "--queue", POLL_DEAD, "--reason", "platform_unreachable", "--json"];
    let target = ["--target", "aws", "--settings", file.to_str().unwrap()];
    let done = run(on_aws(&server.url(), &[&redrive[..], &target].concat()), b"");
    fails(&done, 4, &["3 dead letter(s) could not be sent back", "sqs:SendMessage"]);
    let told: Value = serde_json::from_str(done.out.trim()).unwrap();
    assert_eq!((&told["redriven"], &told["failed"]), (&json!(0), &json!(3)));
    assert_eq!(stack.take(POLL_DEAD).await.len(), 3, "they stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_of_everything_leaves_nothing_behind() {
    let test = "a_redrive_of_everything_leaves_nothing_behind";
    if peer::require_that_can(test, peer::Can::MoveMessages).is_none() {
        return;
    }
    let Some(stack) = Stack::new(test).await else { return };
    stack.give_up(RESULTS_DEAD, &subjects("rejected-", 23), "rejected").await;
    let left = stack.json(&["dlq", "redrive", "--rate", "100"]);
    assert_eq!((&left["redriven"], &left["ends_left"]), (&json!(0), &json!(23)));
    assert_eq!(stack.json(&["dlq", "redrive", "--with-ends", "--rate", "100"])["redriven"], 23);
    assert_eq!((stack.take(RESULTS).await.len(), stack.take(RESULTS_DEAD).await.len()), (23, 0));
}

/// SQS as far as a move task needs it, for the peer's are over at once: its documented answers, a script of what each look
/// at the task shows.
struct Moves {
    server: Server,
    folder: tempfile::TempDir,
}

/// A queue's ARN in the answers.
fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}

/// What a stack whose queues are at `url` is called.
fn names_at(url: &str) -> Names {
    let queues =
        [POLL, POLL_DEAD, "auction-left", "auction-left-dlq", RESULTS, RESULTS_DEAD, "notify", "notify-dlq"];
    Names {
        tables: BTreeMap::from([("orders".to_owned(), "orders".to_owned())]),
        queues: queues.map(|name| (name.to_owned(), format!("{url}/000000000000/{name}"))).into(),
        ..Names::default()
    }
}

impl Moves {
    /// `looks` are the answers of `ListMessageMoveTasks`, the last one for ever.
    fn start(looks: Vec<Value>) -> Self {
        let (at, started) = (AtomicUsize::new(0), Mutex::new(()));
        let server = Server::start(move |asked: &Asked| {
            let _one_at_a_time = started.lock().unwrap();
            let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
            let target = asked.headers["x-amz-target"].rsplit('.').next().unwrap().to_owned();
            Reply::ok(match target.as_str() {
                "GetQueueAttributes" => {
                    let queue = body["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
                    json!({ "Attributes": { "QueueArn": arn(&queue) } }).to_string()
                }
                "StartMessageMoveTask" => json!({ "TaskHandle": "the-handle" }).to_string(),
                "ListMessageMoveTasks" => {
                    let look = at.fetch_add(1, Ordering::SeqCst).min(looks.len() - 1);
                    json!({ "Results": looks[look] }).to_string()
                }
                other => panic!("{other}: {}", asked.body),
            })
        });
        let folder = tempfile::tempdir().unwrap();
        let settings = names_at(&server.url());
        fs::write(folder.path().join("settings.json"), serde_json::to_string(&settings).unwrap()).unwrap();
        Self { server, folder }
    }

    fn redrive(&self, more: &[&str]) -> Command {
        let file = self.folder.path().join("settings.json");
        let redrive = ["dlq", "redrive", "--with-ends", "--target", "aws"];
        let arguments = [&redrive[..], &["--settings", file.to_str().unwrap()]].concat();
        on_aws(&self.server.url(), &[&arguments, more].concat())
    }

    /// The bodies of the calls of that name.
    fn asked(&self, target: &str) -> Vec<Value> {
        let of = |asked: &Asked| asked.headers["x-amz-target"].ends_with(target);
        let asked = self.server.asked().into_iter().filter(of);
        asked.map(|asked| serde_json::from_str(&asked.body).unwrap()).collect()
    }
}

/// A task as `ListMessageMoveTasks` tells of it.
fn task(status: &str, started: i64, moved: i64) -> Value {
    let mut task = json!({
        "Status": status, "SourceArn": arn(RESULTS_DEAD), "DestinationArn": arn(RESULTS),
        "ApproximateNumberOfMessagesMoved": moved, "ApproximateNumberOfMessagesToMove": 40,
        "StartedTimestamp": started,
    });
    if status == "RUNNING" {
        task["TaskHandle"] = json!("the-handle");
    }
    task
}

#[test]
fn a_redrive_of_everything_is_a_move_task_that_is_followed_to_its_end() {
    let old = task("COMPLETED", 1_000, 3);
    let moves = Moves::start(vec![
        json!([old]),
        // It is not seen at once.
        json!([old]),
        json!([task("RUNNING", 2_000, 7), old]),
        json!([task("COMPLETED", 2_000, 40), old]),
    ]);
    let done = run(moves.redrive(&["--rate", "700", "--json"]), b"").json();
    assert_eq!(
        done,
        json!({ "dry_run": false, "redriven": 40, "status": "COMPLETED", "failure_reason": null })
    );
    let started = json!({
        "SourceArn": arn(RESULTS_DEAD), "DestinationArn": arn(RESULTS), "MaxNumberOfMessagesPerSecond": 500,
    });
    assert_eq!(moves.asked("StartMessageMoveTask"), [started]);
    assert_eq!(moves.asked("ListMessageMoveTasks").len(), 4);
}

#[test]
fn a_move_that_is_under_way_is_followed_and_none_is_started() {
    let moves = Moves::start(vec![
        json!([task("RUNNING", 2_000, 7)]),
        json!([task("RUNNING", 2_000, 20)]),
        json!([task("COMPLETED", 2_000, 40)]),
    ]);
    let done = run(moves.redrive(&[]), b"");
    assert!(done.err.contains("is being moved already"), "{done:?}");
    assert_eq!(done.ok(), "40 dead letter(s) redriven by a move task of SQS\n");
    assert_eq!(moves.asked("StartMessageMoveTask"), [] as [Value; 0]);

    let mut elsewhere = task("RUNNING", 2_000, 7);
    elsewhere["DestinationArn"] = json!(arn("another"));
    fails(&run(Moves::start(vec![json!([elsewhere])]).redrive(&[]), b""), 4, &["is being moved to"]);
}

#[test]
fn a_move_that_fails_says_why() {
    let mut failed = task("FAILED", 2_000, 5);
    failed["FailureReason"] = json!("AccessDenied");
    let moves = Moves::start(vec![json!([]), json!([failed])]);
    let done = run(moves.redrive(&["--json"]), b"");
    fails(&done, 4, &["FAILED", "AccessDenied", "still there"]);
    let told: Value = serde_json::from_str(done.out.trim()).unwrap();
    assert_eq!((&told["redriven"], &told["status"]), (&json!(5), &json!("FAILED")));
}

#[test]
fn ctrl_c_leaves_a_move_running_and_says_how_to_go_on() {
    let moves = Moves::start(vec![json!([]), json!([task("RUNNING", 2_000, 7)])]);
    let redrive = started(moves.redrive(&[]));
    eventually("the move is seen", || (moves.asked("ListMessageMoveTasks").len() >= 3).then_some(()));
    kill_process(Pid::from_child(&redrive), Signal::INT).unwrap();
    let dead = arn(RESULTS_DEAD);
    let see = format!("list-message-move-tasks --source-arn {dead}");
    fails(&ended(redrive), 1, &["goes on", &see, "cancel-message-move-task --task-handle the-handle"]);
}
