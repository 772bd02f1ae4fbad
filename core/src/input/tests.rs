//! Rules that hold for every reader. The tests of `domain/` hold a whole reader to them, with malformed text above all.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const BYTES_MAX: usize = 1_048_576;

#[derive(Debug, PartialEq)]
struct Parcel {
    to: String,
    items: Vec<(String, i64)>,
    is_gift: Option<bool>,
}

fn parcel(input: &Input<'_>) -> Option<Parcel> {
    let skus = Unique::new();
    let item = |item: &Input<'_>| {
        let fields = (field("sku", text(2..=8).unique(&skus)), field("count", integer(1..=9)));
        item.open_object(fields, |item| item)
    };
    input.object(
        (
            field("to", text(1..=16).without_controls()),
            field("items", array(2..=3, item).of("item", "items")),
            optional("is_gift", boolean),
        ),
        |(to, items, is_gift)| Parcel { to, items, is_gift },
    )
}

/// Pointer, code and detail of every fault.
fn faults_of<R: Reader>(document: &str, reader: R) -> Vec<(String, String, String)> {
    let faults = read(document.as_bytes(), BYTES_MAX, reader).err().expect("faults");
    faults.into_iter().map(|fault| (fault.pointer, fault.code.into_owned(), fault.detail)).collect()
}

#[track_caller]
fn assert_one_fault<R: Reader>(document: &str, reader: R, pointer: &str, code: &str, detail: &str) {
    assert_eq!(faults_of(document, reader), [(pointer.to_owned(), code.to_owned(), detail.to_owned())]);
}

#[test]
fn what_is_sound_is_read() {
    let document = r#" {"items": [{"sku": "t\u0065a", "count": 4.0, "new": [{}]}, {"count": 90e-1, "sku": "pot"}],
        "is_gift": true, "to": "Ada"} "#;
    let items = vec![("tea".to_owned(), 4), ("pot".to_owned(), 9)];
    let read_parcel = read(document.as_bytes(), BYTES_MAX, parcel);
    assert_eq!(read_parcel, Ok(Parcel { to: "Ada".into(), items, is_gift: Some(true) }));
    for is_gift in ["", r#", "is_gift": null"#] {
        let items = r#"[{"sku":"aa","count":1},{"sku":"bb","count":1}]"#;
        let document = format!(r#"{{"to": "Ada", "items": {items}{is_gift}}}"#);
        let is_gift = read(document.as_bytes(), BYTES_MAX, parcel).map(|parcel| parcel.is_gift);
        assert_eq!(is_gift, Ok(None));
    }
}

#[test]
fn no_fault_hides_another() {
    let document = r#"{"to": "a\u0007", "to": "b", "is_gift": "yes", "item": 1,
        "items": [{"sku": "tea", "count": 0}, 7, {"sku": "tea", "count": 1.5}, {}, {}]}"#;
    let found = faults_of(document, parcel);
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(pointer, code, detail)| (&**pointer, &**code, &**detail)).collect();
    assert_eq!(
        found,
        [
            ("/to", "duplicate_key", "`to` is there more than once."),
            ("/item", "unknown_field", "The body has no field \"item\"."),
            ("/to", "control_character", "`to` has the control character U+0007."),
            ("/items", "too_many_items", "There are 5 items, the limit is 3."),
            ("/items/0/count", "number_out_of_range", "`count` must be from 1 to 9."),
            ("/items/1", "wrong_type", "An item must be an object, and this is a number."),
            ("/items/2/sku", "duplicate_sku", "The item at /items/0 has the same `sku`."),
            ("/items/2/count", "not_an_integer", "`count` must be an integer."),
            ("/is_gift", "wrong_type", "`is_gift` must be a boolean, and is a string."),
        ]
    );
}

#[test]
fn bounds_are_inclusive_and_named_with_what_was_found() {
    let two = || text(2..=3);
    for sound in ["aa", "aaa", "é"] {
        assert_eq!(read(format!("\"{sound}\"").as_bytes(), BYTES_MAX, two()).as_deref(), Ok(sound));
    }
    assert_one_fault(r#""""#, two(), "", "empty", "The body must not be empty.");
    assert_one_fault(r#""a""#, two(), "", "too_short", "The body has 1 bytes, there must be at least 2.");
    assert_one_fault(r#""éé""#, two(), "", "too_long", "The body has 4 bytes, the limit is 3.");

    let numbers = || array(1..=2, decimal().at_least(0).at_most(10));
    for sound in ["[0]", "[-0]", "[10.0, 1e1]"] {
        assert!(read(sound.as_bytes(), BYTES_MAX, numbers()).is_ok(), "{sound}");
    }
    let detail = "An element must be at least 0.";
    assert_one_fault("[-1e-130]", numbers(), "/0", "number_out_of_range", detail);
    let detail = "An element must be at most 10.";
    assert_one_fault("[10.01]", numbers(), "/0", "number_out_of_range", detail);
    let detail = "The array is empty; it must have at least one element.";
    assert_one_fault("[]", numbers(), "", "empty_array", detail);
    let detail = "There are 3 elements, the limit is 2.";
    assert_one_fault("[1,2,3]", numbers(), "", "too_many_elements", detail);
    let detail = "There are 1 elements, there must be at least 2.";
    assert_one_fault("[1]", array(2..=2, decimal()), "", "too_few_elements", detail);
    assert_one_fault(
        "{}",
        array(0..=1, decimal()),
        "",
        "not_an_array",
        "The body must be an array, and is an object.",
    );
    for number in ["9223372036854775808", "1e125", "0"] {
        let detail = "The body must be from 1 to 9223372036854775807.";
        assert_one_fault(number, integer(1..=i64::MAX), "", "number_out_of_range", detail);
    }
}

#[test]
fn a_rule_of_the_callers_is_a_fault_like_any_other() {
    let even =
        || integer(0..=9).check(|n| if n % 2 == 0 { Ok(n / 2) } else { Err(Refusal::new("odd", "odd\n")) });
    assert_eq!(read(b"[4, 6]", BYTES_MAX, array(0..=9, even())), Ok(vec![2, 3]));
    assert_one_fault("[4, 7]", array(0..=9, even()), "/1", "odd", "odd\\n");
    // A rule is asked of sound values only.
    assert_one_fault("10", even(), "", "number_out_of_range", "The body must be from 0 to 9.");
    let silent = |_: &Input<'_>| None::<()>;
    assert_one_fault("1", silent, "", "refused", "The body was refused.");
}

#[test]
fn malformed_json_hides_all_else_whatever_is_read() {
    let faults = "1,".repeat(200);
    let endless = [format!(r#"{{"to": 5, {}"#, r#""x": 1,"#.repeat(200)), format!("[{faults}")];
    let documents = [r#"{"to": 5, "x": 1"#, "[5,", r#"{"to": 5} x"#, "[] []", "\"a", "5 5", "", " "];
    for document in documents.into_iter().chain(endless.iter().map(String::as_str)) {
        let found = [
            read(document.as_bytes(), BYTES_MAX, parcel).err(),
            read(document.as_bytes(), BYTES_MAX, array(0..=1, text(1..=1))).err(),
            read(document.as_bytes(), BYTES_MAX, text(1..=1)).err(),
            read(document.as_bytes(), BYTES_MAX, boolean).err(),
            read(document.as_bytes(), BYTES_MAX, |_: &Input<'_>| Some(())).err(),
        ];
        for faults in found {
            let faults = faults.expect(document);
            assert_eq!((faults.len(), &*faults[0].code), (1, code::MALFORMED_JSON), "{document}");
            assert!(faults[0].line.is_some() && faults[0].column.is_some(), "{document}");
        }
    }
}

#[test]
fn a_value_made_in_spite_of_a_fault_is_not_handed_out() {
    let careless = |input: &Input<'_>| Some(text(0..=1).read(input).unwrap_or_default());
    assert_one_fault("5", careless, "", "wrong_type", "The body must be a string, and is a number.");
}

#[test]
fn a_fault_repeats_no_more_than_an_excerpt() {
    let hostile = "\u{202e}\\u0007x".repeat(10_000);
    let documents = [
        format!(r#"{{"{hostile}": 1}}"#),
        format!(r#"{{"to": "{hostile}", "items": ["{hostile}", {{"sku": "{hostile}"}}]}}"#),
        format!("[\"{hostile}\"]"),
        hostile.clone(),
    ];
    for document in documents {
        for (pointer, _, detail) in faults_of(&document, parcel) {
            assert!(pointer.len() < 300 && detail.len() < 500, "{pointer} {detail}");
            assert!(!detail.contains(char::is_control) && !detail.contains('\u{202e}'), "{detail}");
        }
    }
    let faults = read(b"[{}, 1]", BYTES_MAX, array(2..=2, text(0..=1))).expect_err("faults");
    assert_eq!(faults.to_string(), "/0: An element must be a string, and this is an object. (and 1 more)");
}

#[test]
fn a_reader_that_calls_itself_goes_only_so_deep() {
    fn tree(input: &Input<'_>) -> Option<usize> {
        array(0..=9, tree).read(input).map(|subtrees| 1 + subtrees.into_iter().max().unwrap_or(0))
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(nested(DEPTH_MAX).as_bytes(), BYTES_MAX, tree), Ok(DEPTH_MAX));
    for depth in [DEPTH_MAX + 1, 100_000] {
        let pointer = "/0".repeat(DEPTH_MAX);
        let detail = "An element lies deeper than 64 arrays and objects.";
        assert_one_fault(&nested(depth), tree, &pointer, "too_deep", detail);
    }
}

#[test]
fn a_request_is_read_by_one_call_or_is_a_problem() {
    let request = |content_type: &str, body: &str| Request {
        headers: [("content-type".to_owned(), content_type.to_owned())].into(),
        body: body.to_owned().into(),
        ..Request::default()
    };
    let read = |request: &Request| read_request(request, "texts", 9, array(1..=2, text(1..=1)));
    assert_eq!(read(&request("application/json", r#"["a","b"]"#)).ok(), Some(vec!["a".into(), "b".into()]));
    let problem = |content_type, body| json!(read(&request(content_type, body)).expect_err("a problem"));
    let other = problem("text/plain", "[]");
    assert_eq!((&other["status"], &other["type"]), (&json!(415), &json!("/problems/unsupported_media_type")));
    let large = problem("application/json", r#"["a", "b"]"#);
    assert_eq!((&large["status"], &large["type"]), (&json!(413), &json!("/problems/body_too_large")));
    let invalid = problem("application/json", r#"["a", 5]"#);
    assert_eq!((&invalid["status"], &invalid["type"]), (&json!(400), &json!("/problems/invalid_texts")));
    let detail = "An element must be a string, and this is a number.";
    assert_eq!(invalid["errors"], json!([{ "pointer": "/1", "code": "wrong_type", "detail": detail }]));
}

proptest! {
    #[test]
    fn no_document_makes_a_reader_panic_and_pointers_lead_to_something(
        text in r#"(\{|\}|\[|\]|,|:|"|\\u|d800|"to":|"items":|"sku":|-|1|e9|\.|é|\n|true|null){0,24}"#,
    ) {
        let _ = read(text.as_bytes(), BYTES_MAX, parcel);
        if let (Err(faults), Ok(document)) =
            (read(text.as_bytes(), BYTES_MAX, parcel), serde_json::from_str::<Value>(&text))
        {
            for fault in faults.iter().filter(|fault| fault.code != code::MISSING_FIELD) {
                prop_assert!(document.pointer(&fault.pointer).is_some(), "{fault:?} in {document}");
            }
        }
    }
}
