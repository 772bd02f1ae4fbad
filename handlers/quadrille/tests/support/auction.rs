//! The auction from outside: its orders, what the simulated platform decides of them, and where they end.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::{Answer, Engine, command, encoded, eventually, files, members, on};
use quadrille::{decimal::Decimal, domain::auction::OrderStatus};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub const POLL: &str = "auction-poll";
pub const POLL_DEAD: &str = "auction-poll-dlq";
pub const RESULTS: &str = "auction-results";
pub const RESULTS_DEAD: &str = "auction-results-dlq";

impl Engine {
    /// Starts the service on `folder` and a free port; its schedule does nothing of itself unless `args` say so.
    pub fn up(folder: &Path, args: &[&str]) -> Self {
        Self::start(Self::command(folder, args), folder)
    }

    /// The command that [`up`](Self::up) starts.
    pub fn command(folder: &Path, args: &[&str]) -> Command {
        let mut command = command(&["up", "--port", "0", "--data"]);
        command.arg(folder).args(args);
        if !args.contains(&"--every") {
            command.args(["--every", "336h"]);
        }
        command
    }

    pub fn post(&self, body: &str) -> Answer {
        self.ask("POST", "/orders", Some(body.as_bytes()))
    }

    /// Posts orders that have to be taken as new ones.
    pub fn take(&self, orders: &[Order]) {
        for orders in orders.chunks(1_000) {
            let answer = self.post(&body(orders));
            assert_eq!(answer.status, 202, "{}", answer.text());
            let rows = answer.json();
            let outcomes: Vec<&str> = rows["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["outcome"].as_str().unwrap())
                .collect();
            assert_eq!(outcomes, vec!["stored"; orders.len()]);
        }
    }

    /// An order as the API tells of it.
    pub fn order(&self, record_id: &str) -> Value {
        let answer = self.get(&format!("/orders/{}", encoded(record_id)));
        assert_eq!(answer.status, 200, "{record_id}: {}", answer.text());
        answer.json()
    }

    /// Starts a run; returns its id.
    pub fn kickoff(&self) -> String {
        let started = on(&self.folder, &["kickoff", "--json"]).json();
        started["run_id"].as_str().unwrap().to_owned()
    }

    /// A run as it is kept, its state and its trail.
    pub fn run(&self, run_id: &str) -> Option<Value> {
        let answer = self.get(&format!("/_quadrille/entities/run/{}", encoded(run_id)));
        (answer.status == 200).then(|| answer.json())
    }

    /// Waits until `orders` orders in all have reached an end and no message of theirs is under way.
    pub fn settled(&self, orders: usize) {
        eventually(&format!("{orders} orders at their ends"), || {
            let queues = self.queues();
            let is_empty =
                |name: &str| ["visible", "in_flight", "delayed"].iter().all(|kind| queues[name][kind] == 0);
            if !is_empty(POLL) || !is_empty(RESULTS) {
                return None;
            }
            let dead = queues[RESULTS]["dead"].as_u64().unwrap();
            let ends = filed(&self.folder).len() + usize::try_from(dead).unwrap();
            assert!(ends <= orders, "{ends} ends of {orders} orders");
            (ends == orders).then_some(())
        });
    }
}

/// An order to post.
#[derive(Clone, Debug)]
pub struct Order {
    pub record_id: String,
    pub parameter_1: String,
    /// A number as it is written.
    pub parameter_2: String,
}

impl Order {
    pub fn new(
        record_id: impl Into<String>,
        parameter_1: impl Into<String>,
        parameter_2: impl Into<String>,
    ) -> Self {
        Self { record_id: record_id.into(), parameter_1: parameter_1.into(), parameter_2: parameter_2.into() }
    }

    pub fn json(&self) -> String {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let (id, one) = (text(&self.record_id), text(&self.parameter_1));
        format!(r#"{{"record_id":{id},"parameter_1":{one},"parameter_2":{}}}"#, self.parameter_2)
    }
}

/// `count` orders with ids that begin with `prefix`.
pub fn orders(prefix: &str, count: usize) -> Vec<Order> {
    (1..=count)
        .map(|number| Order::new(format!("{prefix}{number}"), format!("plant {number}"), number.to_string()))
        .collect()
}

/// The body that posts orders.
pub fn body(orders: &[Order]) -> String {
    let orders: Vec<String> = orders.iter().map(Order::json).collect();
    format!("[{}]", orders.join(","))
}

/// What the simulated platform decides of an order, and the power it gives.
pub fn decision(seed: u64, record_id: &str) -> (OrderStatus, Option<Decimal>) {
    let decision = systems::auction::platform::decide(seed, record_id);
    let status = match decision.status.as_deref() {
        Some("accepted") => OrderStatus::Accepted,
        Some("rejected") => OrderStatus::Rejected,
        other => panic!("the simulated platform knows no status {other:?}"),
    };
    (status, decision.power)
}

/// The ids that the simulated platform accepts, and those that it rejects.
pub fn expected(seed: u64, orders: &[Order]) -> (BTreeSet<String>, BTreeSet<String>) {
    let ids = orders.iter().map(|order| order.record_id.clone());
    ids.partition(|id| decision(seed, id).0 == OrderStatus::Accepted)
}

/// What is filed: the result bucket's objects by key, read from its folder.
pub fn filed(folder: &Path) -> BTreeMap<String, PathBuf> {
    let bucket = folder.join("bucket/order-results");
    files(&bucket)
        .into_iter()
        .map(|path| (path.strip_prefix(&bucket).unwrap().to_owned(), path))
        .filter(|(place, _)| !place.starts_with(".partial"))
        .map(|(place, path)| (key_of(place.to_str().unwrap()), path))
        .collect()
}

/// The filed objects by the `record_id` inside them; there must be one of each.
pub fn filed_by_id(folder: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut by_id = BTreeMap::new();
    for (key, path) in filed(folder) {
        let body = fs::read(path).unwrap();
        let id: String = serde_json::from_str(&members(&body)["record_id"]).unwrap();
        let earlier = by_id.insert(id.clone(), (key.clone(), body));
        assert!(earlier.is_none(), "{id:?} is filed twice: {key} and {:?}", earlier.map(|(key, _)| key));
    }
    by_id
}

/// The key of an object by where its file lies: `==` at a directory's end says that the name goes on, `=XX` stands for a
/// byte.
fn key_of(place: &str) -> String {
    let place = place.replace("==/", "");
    let mut key = Vec::new();
    let mut rest = place.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'=', [high, low, after @ ..]) => {
                let hex = [*high, *low];
                key.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                rest = after;
            }
            _ => {
                key.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(key).unwrap()
}
