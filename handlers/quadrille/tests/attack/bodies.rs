//! Bodies that are wrong in a drawn way: none is answered with a fault of ours, what can't be taken is refused, what says the
//! same in other words is taken, and stored is what was answered, and nothing else.

use crate::{
    mutate::{Due, Mutator},
    support::{Engine, command, number},
    wire::Connection,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, thread};

/// Bodies that are sent in all, unless `ATTACK_BODIES` says another number.
const BODIES: u64 = 4_000;
const CONNECTIONS: u64 = 8;

/// Where bodies are sent to, and what is made of the answer.
struct Target {
    system: &'static str,
    method: &'static str,
    path: fn(&str) -> String,
    /// A body that is taken.
    good: fn(&str) -> Value,
    /// The kind of entity that is stored.
    kind: &'static str,
    /// The ids of those that the answer calls stored.
    stored: fn(&Value) -> Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

const TARGETS: &[Target] = &[
    Target {
        system: "auction",
        method: "POST",
        path: |_| "/orders".to_owned(),
        good: |id| {
            json!([{"record_id": id, "parameter_1": "abc", "parameter_2": 4.25},
                {"record_id": format!("{id}-b"), "parameter_1": "é", "parameter_2": 0}])
        },
        kind: "order",
        stored: |answer| {
            let rows = answer["results"].as_array().unwrap().iter();
            rows.filter(|row| row["outcome"] != "conflict").map(|row| text(&row["record_id"])).collect()
        },
    },
    Target {
        system: "snacks",
        method: "POST",
        path: |_| "/orders".to_owned(),
        good: |id| {
            json!({"customerName": "Zaphod", "totalAmount": 7.5, "idempotencyKey": id,
                "snackItems": [{"name": "Chips", "quantity": 3, "price": 2.5}]})
        },
        kind: "order",
        stored: |answer| vec![text(&answer["orderId"])],
    },
    Target {
        system: "orders",
        method: "POST",
        path: |_| "/orders".to_owned(),
        good: |id| {
            json!({"order_id": id, "customer": "Zaphod", "email": "zaphod@example.org",
                "items": [{"product": "tea", "quantity": 3, "price": 1.1}], "amount": 3.3})
        },
        kind: "order",
        stored: |answer| vec![text(&answer["order_id"])],
    },
    Target {
        system: "checkout",
        method: "POST",
        path: |_| "/orders".to_owned(),
        good: |id| {
            json!({"orderId": id, "userId": "zaphod", "totalAmount": 5,
                "items": [{"productId": "lamp", "quantity": 2, "price": 2.5}]})
        },
        kind: "order",
        stored: |answer| vec![text(&answer["orderId"])],
    },
    Target {
        system: "checkout",
        method: "PUT",
        path: |id| format!("/products/{id}"),
        good: |_| json!({"price": 2.5, "stock": 6}),
        kind: "product",
        stored: |answer| vec![text(&answer["productId"])],
    },
];

/// What one client saw.
#[derive(Default)]
struct Seen {
    sent: u64,
    taken: u64,
    refused: u64,
    stored: BTreeSet<String>,
}

fn attack(target: &Target, address: &str, client: u64, bodies: u64) -> Seen {
    let seed = number("ATTACK_SEED", 20_261_129).wrapping_mul(1_000).wrapping_add(client);
    let mutator = Mutator::new(seed);
    let mut connection = Connection::to(address);
    let mut seen = Seen::default();
    for body in 0..bodies {
        // So far apart that what a mutation makes of one is no other one.
        let id = format!("{:016x}", (client << 32 | body).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mutant = mutator.mutant(&(target.good)(&id));
        let path = (target.path)(&id);
        let answer = loop {
            match connection.ask(target.method, &path, &mutant.body) {
                Some(answer) => break answer,
                // It may close a connection behind an answer that it gave early.
                None => connection = Connection::to(address),
            }
        };
        let told = || {
            let shown = String::from_utf8_lossy(&mutant.body[..mutant.body.len().min(2_000)]).into_owned();
            let (system, how) = (target.system, mutant.how);
            format!(
                "{system}: {how} (seed {seed}, body {body}): {}: {}\n{shown}",
                answer.status,
                answer.text()
            )
        };
        seen.sent += 1;
        if answer.status < 300 {
            assert_ne!(mutant.due, Due::Refused, "{}", told());
            let read: Result<Value, _> = serde_json::from_slice(&mutant.body);
            assert!(read.is_ok(), "another reader of JSON refuses it: {}", told());
            seen.taken += 1;
            seen.stored.extend((target.stored)(&answer.json()));
        } else {
            assert!((400..500).contains(&answer.status), "{}", told());
            assert_ne!(mutant.due, Due::Taken, "{}", told());
            let problem = answer.problem();
            assert!(problem["title"].is_string(), "{}", told());
            seen.refused += 1;
            // Of several, those that are no conflict are stored.
            if problem["results"].is_array() {
                seen.stored.extend((target.stored)(&problem));
            }
        }
    }
    seen
}

/// The ids of all entities of a kind.
fn listed(engine: &Engine, kind: &str) -> BTreeSet<String> {
    let (mut ids, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = engine.get(&format!("/_quadrille/entities/{kind}?limit=1000{after}")).json();
        ids.extend(page["entities"].as_array().unwrap().iter().map(|entity| text(&entity["id"])));
        let Some(next) = page["next"].as_str() else { return ids };
        after = format!("&after={}", crate::support::encoded(next));
    }
}

#[test]
fn no_body_breaks_a_system_and_what_is_answered_is_what_is_stored() {
    let bodies = number("ATTACK_BODIES", BODIES).div_ceil(TARGETS.len() as u64 * CONNECTIONS);
    let only = std::env::var("ATTACK_SYSTEM").ok();
    for target in TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.system)) {
        let folder = tempfile::tempdir().unwrap();
        let mut up = command(&["up", target.system, "--port", "0", "--data"]);
        up.arg(folder.path());
        let engine = Engine::start(up, folder.path());
        let seen: Vec<Seen> = thread::scope(|scope| {
            let clients = (0..CONNECTIONS).map(|client| {
                let address = &engine.address;
                scope.spawn(move || attack(target, address, client, bodies))
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let stored: BTreeSet<String> = seen.iter().flat_map(|seen| seen.stored.iter().cloned()).collect();
        assert_eq!(listed(&engine, target.kind), stored, "{}: stored, and answered as stored", target.system);
        assert_eq!(engine.get("/healthz").status, 200);
        let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
        let (taken, refused) = (sum(|seen| seen.taken), sum(|seen| seen.refused));
        assert!(taken > 0 && refused > 0, "both come up");
        println!(
            "{} {} {}s: {} bodies, {taken} taken, {refused} refused, {} stored",
            target.system,
            target.method,
            target.kind,
            sum(|seen| seen.sent),
            stored.len()
        );
        engine.terminate();
    }
}
