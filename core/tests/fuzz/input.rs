//! The reader of JSON, and what the systems' types read by it.

use crate::{fuzz::is_shown, fuzzed};
use quadrille::{
    decimal::Decimal,
    domain::{auction, checkout, orders, snacks},
    input::{
        self, FAULTS_MAX, Faults, Input, Reader, array, boolean, code, decimal, field, integer, optional,
        text,
    },
};
use serde::Serialize;
use serde_json::Value;

const BYTES_MAX: usize = 65_536;

#[derive(Debug, PartialEq, Serialize)]
struct Parcel {
    to: String,
    fragile: Option<bool>,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Item {
    sku: String,
    quantity: i64,
    price: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<Vec<Item>>,
}

fn parcel(input: &Input<'_>) -> Option<Parcel> {
    let fields = (
        field("to", text(1..=64).without_controls()),
        optional("fragile", boolean),
        field("items", array(1..=5, item).of("item", "items")),
    );
    input.object(fields, |(to, fragile, items)| Parcel { to, fragile, items })
}

/// An item may hold items, however deep.
fn item(input: &Input<'_>) -> Option<Item> {
    let fields = (
        field("sku", text(1..=16)),
        field("quantity", integer(-5..=1_000)),
        field("price", decimal().at_least(0)),
        optional("inside", array(0..=2, item)),
    );
    input.open_object(fields, |(sku, quantity, price, inside)| Item { sku, quantity, price, inside })
}

/// What holds of every list of faults: there is one at least, they are bounded and can be shown, and each leads to a place.
fn are_told(document: &[u8], faults: &Faults) {
    assert!((1..=FAULTS_MAX + 1).contains(&faults.len()), "{faults:?}");
    let whole = serde_json::from_slice::<Value>(document);
    // A pointer may lead into one of two members of a name, and serde_json keeps the other one.
    let is_twice =
        faults.iter().any(|fault| [code::DUPLICATE_KEY, code::MORE_FAULTS].contains(&&*fault.code));
    for fault in faults.iter() {
        is_shown(&fault.detail, 499);
        is_shown(&fault.to_string(), 1_100);
        assert!(
            fault.code.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte)),
            "{fault:?}"
        );
        assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'), "{fault:?}");
        if let Ok(whole) = &whole {
            let leads = is_twice || whole.pointer(&fault.pointer).is_some();
            assert!(leads || fault.code == code::MISSING_FIELD, "{fault:?}");
            assert_ne!(fault.code, code::MALFORMED_JSON, "{fault:?}");
        }
    }
    is_shown(&faults.to_string(), 1_200);
    assert!(
        faults.len() == 1 || faults.iter().all(|fault| fault.line.is_none()),
        "more beside no JSON: {faults:?}"
    );
}

/// What a reader makes of a document; `None` where it has faults.
fn is_checked<R: Reader>(document: &[u8], reader: R) -> Option<R::Value> {
    match input::read(document, BYTES_MAX, reader) {
        Ok(value) => Some(value),
        Err(faults) => {
            are_told(document, &faults);
            None
        }
    }
}

/// What is read and written again reads the same.
fn is_read<T: PartialEq + std::fmt::Debug + Serialize>(
    document: &[u8],
    reader: impl Fn(&Input<'_>) -> Option<T>,
) -> bool {
    let Some(value) = is_checked(document, &reader) else { return false };
    let written = serde_json::to_vec(&value).unwrap();
    assert_eq!(input::read(&written, BYTES_MAX, &reader).unwrap(), value);
    true
}

#[test]
fn what_a_reader_takes_reads_the_same_again_and_its_faults_are_bounded_and_lead_somewhere() {
    fuzzed("input", |document| {
        [
            is_read(document, parcel),
            is_read(document, auction::orders),
            is_read(document, checkout::order),
            // Of these none is written as it was sent.
            is_checked(document, orders::new_order).is_some(),
            is_checked(document, snacks::new_order).is_some(),
        ]
        .contains(&true)
    });
}
