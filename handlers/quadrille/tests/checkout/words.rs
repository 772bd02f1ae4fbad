//! The words of the command for the checkout, and its demonstration.

use super::{ended, order, sells, up, word};
use crate::support::{quadrille, run};
use serde_json::json;

#[test]
fn orders_are_posted_listed_traced_and_products_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let engine = up(folder.path());
    sells(&engine, "lamp", 19.5, 3);
    let orders =
        json!([order("a", "lamp", 1, 19.5), order("b", "lamp", 1, 20.5), order("c", "lamp", 4, 19.5)]);
    let posted = run(word(&engine, &["post", "checkout", "-", "--json"]), orders.to_string().as_bytes());
    assert_eq!(posted.json(), json!({ "stored": 3, "unchanged": 0, "conflict": 0 }));
    let again = run(
        word(&engine, &["post", "checkout", "-", "--json"]),
        order("a", "lamp", 2, 19.5).to_string().as_bytes(),
    );
    assert_eq!(
        (again.code, again.out.trim()),
        (4, r#"{"conflict":1,"stored":0,"unchanged":0}"#),
        "{again:?}"
    );
    let ends: Vec<(String, String)> = ["a", "b", "c"]
        .map(|id| {
            let order = ended(&engine, id);
            let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
            (text("orderStatus"), text("errorReason"))
        })
        .into();
    let failed = |reason: &str| ("FAILED".to_owned(), reason.to_owned());
    let of_a = systems::checkout::gateway::fate(1, "a") == systems::checkout::gateway::Fate::Succeeded;
    assert!(of_a, "the seed lets a pay");
    assert_eq!(
        ends,
        [("COMPLETED".to_owned(), String::new()), failed("VALIDATION_FAILED"), failed("OUT_OF_STOCK")]
    );
    let listed = run(word(&engine, &["orders", "checkout", "--status", "COMPLETED", "--json"]), b"").ok();
    assert!(listed.contains("\"a\"") && !listed.contains("\"b\""), "{listed}");
    let traced = run(word(&engine, &["trace", "checkout", "order", "a"]), b"").ok();
    for says in ["taken in", "validated, its stock reserved", "paid, completed", "process_payment"] {
        assert!(traced.contains(says), "{says}: {traced}");
    }
    let product = run(word(&engine, &["product", "checkout", "lamp", "--json"]), b"").json();
    assert_eq!((&product["stock"], &product["available"]), (&json!(3), &json!(2)));
    engine.terminate();
}

#[test]
fn the_demonstration_accounts_for_every_order_charge_and_unit() {
    let played = quadrille(&["demo", "checkout", "--orders", "300", "--seed", "3", "--json"]).json();
    let count = |name: &str| played[name].as_u64().unwrap_or_else(|| panic!("{name}: {played}"));
    assert_eq!(
        (&played["system"], count("posted"), count("lost"), count("unfinished")),
        (&json!("checkout"), 300, 0, 0)
    );
    let ends = ["completed", "validation_failed", "out_of_stock", "payment_failed", "payment_unavailable"];
    assert!(ends.iter().all(|end| count(end) > 0), "{played}");
    let rest = count("validation_unavailable") + count("dead_lettered");
    assert_eq!((ends.iter().map(|end| count(end)).sum::<u64>(), rest), (300, 0), "{played}");
    assert_eq!(count("charged"), count("completed"));
    assert!(played["seconds"].as_f64().unwrap() > 0.0);
}
