//! The auction: an order as it is sent and as it is kept, and the result that is filed of it.

use crate::{
    decimal::Decimal,
    entity::Entity,
    input::{Input, Reader as _, Unique, array, decimal, field, text},
    percent::ALL_BUT_UNRESERVED,
    port::{IndexEntry, stable_hash},
    timestamp::Timestamp,
};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time::Duration};

/// The most orders one request may carry: the wire contract's limit.
pub const ORDERS_PER_REQUEST_MAX: usize = 1_000;

/// The largest body of a request, in bytes (1 MiB): the wire contract's limit.
pub const BODY_BYTES_MAX: usize = 1_048_576;

/// The longest `record_id`, in bytes of UTF-8: the wire contract's limit. The shortest has one byte.
pub const RECORD_ID_BYTES_MAX: usize = 256;

/// The longest `parameter_1`, in bytes of UTF-8: the wire contract's limit. It may be empty.
pub const PARAMETER_1_BYTES_MAX: usize = 1_024;

/// How long an order is kept: 24 h from when it was received.
pub const ORDER_TIME_TO_LIVE: Duration = Duration::from_secs(86_400);

/// Partitions of the sparse index that the open orders were spread over before their number was a setting. Whoever looks for open
/// orders looks through these at least.
pub const OPEN_SHARDS_MIN: u64 = 8;

/// The index partition of the open orders of `shard`.
pub fn open_partition(shard: u64) -> String {
    format!("open/{shard}")
}

/// An order as it was sent, checked and not yet stored.
///
/// Equality is by value: a `parameter_2` of `4` equals one of `4.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewOrder {
    /// The sender's name for the order: 1 to [`RECORD_ID_BYTES_MAX`] bytes without control characters. It is
    /// data and may look like a path, so it never becomes one unescaped.
    pub record_id: String,
    /// Any text, up to [`PARAMETER_1_BYTES_MAX`] bytes.
    pub parameter_1: String,
    /// A number, with the text it was sent as.
    pub parameter_2: Decimal,
}

/// Reads the orders of a body, for [`read_request`](crate::input::read_request). No `record_id` may be there twice.
pub fn orders(body: &Input<'_>) -> Option<Vec<NewOrder>> {
    let ids = Unique::new();
    array(1..=ORDERS_PER_REQUEST_MAX, |order: &Input<'_>| order_with(order, &ids))
        .of("order", "orders")
        .read(body)
}

fn order_with(order: &Input<'_>, ids: &Unique) -> Option<NewOrder> {
    let fields = (
        field("record_id", text(1..=RECORD_ID_BYTES_MAX).without_controls().unique(ids)),
        field("parameter_1", text(0..=PARAMETER_1_BYTES_MAX)),
        field("parameter_2", decimal()),
    );
    order.object(fields, |(record_id, parameter_1, parameter_2)| NewOrder {
        record_id,
        parameter_1,
        parameter_2,
    })
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Stored, in no run.
    Received,
    /// Belongs to a run.
    Submitted,
    /// The auction took it.
    Accepted,
    /// The auction did not take it.
    Rejected,
    /// It was withdrawn before a run took it.
    Withdrawn,
}

impl OrderStatus {
    /// All of them, in the order of the flow.
    pub const ALL: [Self; 5] =
        [Self::Received, Self::Submitted, Self::Accepted, Self::Rejected, Self::Withdrawn];

    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Submitted => "submitted",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether the auction has decided.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Accepted | Self::Rejected)
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word for an order that its run could not decide, by which people look for it.
pub const UNDECIDABLE: &str = "undecidable";

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id, 1 to 256 bytes of UTF-8 without control characters. Data: never a path.
    pub record_id: String,
    /// Text, at most 1,024 bytes.
    pub parameter_1: String,
    /// A number, exactly as it was sent.
    pub parameter_2: Decimal,
    /// How far it has come.
    pub status: OrderStatus,
    /// When it was stored.
    pub received_at: Timestamp,
    /// From when on it is gone.
    pub expires_at: Timestamp,
    /// The run it belongs to, or last belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What the auction gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Decimal>,
    /// When the run learnt of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Why there is no decision though its run has ended: the platform named none, or one that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecidable: Option<Cow<'static, str>>,
    /// What the platform wrote in place of a status that is known, cut to 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_status: Option<String>,
    /// Where its result is filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_key: Option<String>,
    /// Over how many partitions of the index open orders are spread: known when it is received. Later it leaves the index, or moves
    /// to one of the first [`OPEN_SHARDS_MIN`], where it is found as well.
    #[serde(skip)]
    pub shards: Option<u64>,
}

impl Order {
    /// An order as it is received at `now`.
    pub fn receive(new: NewOrder, now: Timestamp) -> Self {
        Self {
            record_id: new.record_id,
            parameter_1: new.parameter_1,
            parameter_2: new.parameter_2,
            status: OrderStatus::Received,
            received_at: now,
            expires_at: now + ORDER_TIME_TO_LIVE,
            run_id: None,
            power: None,
            decided_at: None,
            undecidable: None,
            platform_status: None,
            result_key: None,
            shards: None,
        }
    }

    /// Stands in one of `shards` partitions of the index while it is open.
    #[must_use]
    pub fn spread_over(mut self, shards: u64) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Whether a run is still to decide it.
    pub fn is_undecided(&self) -> bool {
        matches!(self.status, OrderStatus::Received | OrderStatus::Submitted) && self.undecidable.is_none()
    }

    /// Whether it was sent with the same content.
    pub fn same_content(&self, new: &NewOrder) -> bool {
        self.parameter_1 == new.parameter_1 && self.parameter_2 == new.parameter_2
    }

    /// What the open orders of a shard are sorted by: their time in milliseconds, 15 digits, then their id; at most 272 bytes.
    pub fn index_sort(&self) -> String {
        // Put together without the formatter: a POST writes one for each of its orders.
        const DIGITS: &str = "000000000000000";
        let millis = self.received_at.as_millis().to_string();
        [&DIGITS[millis.len().min(DIGITS.len())..], &millis, "/", &self.record_id].concat()
    }

    /// Its result, once it is decided.
    pub fn result(&self) -> Option<OrderResult<'_>> {
        Some(OrderResult {
            record_id: &self.record_id,
            status: self.status,
            power: self.power.as_ref(),
            parameter_1: &self.parameter_1,
            parameter_2: &self.parameter_2,
            run_id: self.run_id.as_deref()?,
            decided_at: self.decided_at.filter(|_| self.status.is_decided())?,
        })
    }
}

impl Entity for Order {
    const KIND: &'static str = "order";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.record_id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at)
    }

    /// Open orders stand in the index, from their first commit until a run takes them: one index write in, one out.
    fn index(&self) -> Option<IndexEntry> {
        (self.status == OrderStatus::Received).then(|| IndexEntry {
            partition: open_partition(spread(&self.record_id, self.shards.unwrap_or(OPEN_SHARDS_MIN))),
            sort: self.index_sort(),
        })
    }

    /// An undecidable one has a word of its own; stored and answered it is `submitted` still, as readers know it.
    fn status(&self) -> Option<Cow<'_, str>> {
        let word = if self.undecidable.is_some() { UNDECIDABLE } else { self.status.as_str() };
        Some(Cow::Borrowed(word))
    }

    /// An accepted one has its end once it is filed.
    fn is_ended(&self) -> bool {
        match self.status {
            OrderStatus::Accepted => self.result_key.is_some(),
            _ => !self.is_undecided(),
        }
    }

    /// The run that has it.
    fn related(&self) -> Vec<(String, String)> {
        self.run_id.iter().map(|run| ("run".to_owned(), run.clone())).collect()
    }
}

/// What is filed of a decided order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderResult<'a> {
    /// The order's id.
    pub record_id: &'a str,
    /// `accepted`, or `rejected`.
    pub status: OrderStatus,
    /// What the auction gave it; `null` where it said nothing.
    pub power: Option<&'a Decimal>,
    /// As it was sent.
    pub parameter_1: &'a str,
    /// As it was sent.
    pub parameter_2: &'a Decimal,
    /// The run that decided it.
    pub run_id: &'a str,
    /// When.
    pub decided_at: Timestamp,
}

/// Which of `of` places what is named `id` stands in: the same for everybody.
fn spread(id: &str, of: u64) -> u64 {
    stable_hash(id.as_bytes()) % of.max(1)
}

/// The key a result is filed under: `orders/order_20261120T091500Z_<percent-encoded record_id>.json`, at most 805
/// bytes. With more than one of `prefixes` a prefix of four hex digits stands before the name, `orders/002a/order_…`: names
/// that begin with the time all go to one place in S3.
pub fn result_key(record_id: &str, decided_at: Timestamp, prefixes: u64) -> String {
    let prefix = if prefixes > 1 { format!("{:04x}/", spread(record_id, prefixes)) } else { String::new() };
    let record_id: Cow<'_, str> = utf8_percent_encode(record_id, ALL_BUT_UNRESERVED).into();
    ["orders/", &prefix, "order_", &decided_at.to_compact(), "_", &record_id, ".json"].concat()
}

/// The `record_id` that [`result_key`] made this key of; `None` where it made none such.
pub fn record_of_result(key: &str) -> Option<String> {
    let name = key.strip_prefix("orders/")?;
    let name = name.split_once('/').map_or(name, |(_, name)| name);
    let (_, id) = name.strip_prefix("order_")?.strip_suffix(".json")?.split_once('_')?;
    Some(percent_decode_str(id).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{self, Faults, code::*};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    fn parse_orders(body: &[u8]) -> Result<Vec<NewOrder>, Faults> {
        input::read(body, BODY_BYTES_MAX, orders)
    }

    const RECORD_ID: &str = "record_id";
    const PARAMETER_1: &str = "parameter_1";
    const PARAMETER_2: &str = "parameter_2";

    fn order(id: &str) -> Order {
        let new =
            NewOrder { record_id: id.into(), parameter_1: "abc".into(), parameter_2: Decimal::from(4_i64) };
        Order::receive(new, Timestamp::from_millis(1_000))
    }

    #[test]
    fn only_open_orders_stand_in_the_index() {
        let mut order = order("a");
        for status in OrderStatus::ALL {
            order.status = status;
            assert_eq!(order.index().is_some(), status == OrderStatus::Received, "{status}");
        }
    }

    #[test]
    fn a_key_can_not_become_a_path() {
        let at = Timestamp::parse("2026-11-20T09:15:00Z").unwrap();
        assert_eq!(result_key("../../x", at, 1), "orders/order_20261120T091500Z_..%2F..%2Fx.json");
        assert_eq!(
            result_key(&"é".repeat(128), at, 1).len(),
            "orders/order_20261120T091500Z_.json".len() + 768
        );
    }

    #[test]
    fn results_are_spread_over_as_many_prefixes_as_are_wanted_and_each_tells_its_order() {
        let at = Timestamp::parse("2026-11-20T09:15:00Z").unwrap();
        let mut prefixes = std::collections::BTreeSet::new();
        for number in 0..1_000 {
            let id = format!("a/b_{number}");
            for spread in [1, 16] {
                assert_eq!(record_of_result(&result_key(&id, at, spread)), Some(id.clone()));
            }
            let key = result_key(&id, at, 16);
            prefixes.insert(key.split('/').nth(1).unwrap().to_owned());
            assert!(key.ends_with(&result_key(&id, at, 1)["orders".len()..]), "{key}");
        }
        assert_eq!(prefixes.len(), 16);
        assert_eq!(record_of_result("orders/other.json"), None);
    }

    #[test]
    fn open_orders_are_spread_over_as_many_partitions_as_are_wanted() {
        for shards in [1, 8, 64] {
            let partition = |id: String| order(&id).spread_over(shards).index().unwrap().partition;
            let found: std::collections::BTreeSet<String> =
                (0..2_000).map(|number| partition(format!("order-{number}"))).collect();
            assert_eq!(found, (0..shards).map(open_partition).collect());
        }
        // Read again, an order does not know how many there are: it stands where everybody looks.
        let again: Order =
            serde_json::from_str(&serde_json::to_string(&order("a").spread_over(64)).unwrap()).unwrap();
        let first: Vec<String> = (0..OPEN_SHARDS_MIN).map(open_partition).collect();
        assert!(first.contains(&again.index().unwrap().partition));
    }

    #[test]
    fn the_sort_key_orders_by_time() {
        let (early, mut late) = (order("z"), order("a"));
        late.received_at = Timestamp::from_millis(2_000);
        assert!(early.index().unwrap().sort < late.index().unwrap().sort);
        assert_eq!(early.index().unwrap().sort, "000000000001000/z");
        late.received_at = Timestamp::MAX;
        assert_eq!(late.index().unwrap().sort, "253402300799999/a");
    }

    /// A batch of one valid order, but for one member.
    fn order_with(name: &str, value: &str) -> String {
        let member = |field, valid| format!("\"{field}\":{}", if field == name { value } else { valid });
        let [id, text, number] =
            [member("record_id", "\"a\""), member(PARAMETER_1, "\"\""), member(PARAMETER_2, "0")];
        format!("[{{{id},{text},{number}}}]")
    }

    /// A batch of one valid order with more members.
    fn order_and(members: &str) -> String {
        order_with(PARAMETER_2, &format!("0,{members}"))
    }

    /// A batch of that many valid orders.
    fn batch_of(count: usize) -> String {
        let order = |index| format!(r#"{{"record_id":"{index}","parameter_1":"","parameter_2":0}}"#);
        format!("[{}]", (0..count).map(order).collect::<Vec<_>>().join(","))
    }

    /// The code and the pointer of every fault, once what holds for all of them is checked.
    fn faults_of(body: impl AsRef<[u8]>) -> Vec<(Cow<'static, str>, String)> {
        let faults = parse_orders(body.as_ref()).expect_err("a fault");
        for fault in faults.iter() {
            assert_eq!(fault.line.is_some(), matches!(&*fault.code, MALFORMED_JSON | INVALID_UTF8));
            assert!(fault.detail.len() < 500, "{fault:?}");
            assert!(!fault.detail.contains(char::is_control), "{fault:?}");
        }
        faults.into_iter().map(|fault| (fault.code, fault.pointer)).collect()
    }

    fn of_body(code: &'static str) -> Vec<(Cow<'static, str>, String)> {
        vec![(code.into(), String::new())]
    }

    #[test]
    fn orders_are_read_as_they_were_sent() {
        let body = r#"[{"record_id": "unique_id_1", "parameter_1": "abc", "parameter_2": 4},
            {"parameter_2": 2.10, "\u0072ecord_id": "\ud83e\udd80/../~", "parameter_1": ""}]"#;
        let orders = parse_orders(body.as_bytes()).expect("valid");
        let text = serde_json::to_string(&orders).expect("orders can be written");
        let first = r#"{"record_id":"unique_id_1","parameter_1":"abc","parameter_2":4}"#;
        let second = r#"{"record_id":"🦀/../~","parameter_1":"","parameter_2":2.10}"#;
        assert_eq!(text, format!("[{first},{second}]"));
        assert_eq!(serde_json::from_str::<Vec<NewOrder>>(&text).expect("readable"), orders);

        let longest =
            [("record_id", "é".repeat(128)), ("parameter_1", format!("\\u0000{}", "x".repeat(1_023)))];
        for (name, value) in longest {
            assert!(parse_orders(order_with(name, &format!("\"{value}\"")).as_bytes()).is_ok());
        }
        assert_eq!(parse_orders(batch_of(1_000).as_bytes()).map(|orders| orders.len()), Ok(1_000));
    }

    #[test]
    fn a_body_that_is_no_array_of_orders_has_one_fault() {
        for body in ["{}", " {\"record_id\": \"a\"} ", "null", "\"[]\"", "1e400", "\"\\ud800\""] {
            assert_eq!(faults_of(body), of_body(NOT_AN_ARRAY), "{body}");
        }
        assert_eq!(faults_of("[]"), of_body(EMPTY_ARRAY));
        assert_eq!(faults_of("\r\n\t [ ] "), of_body(EMPTY_ARRAY));
        assert_eq!(faults_of(" ".repeat(BODY_BYTES_MAX)), of_body(MALFORMED_JSON));
        assert_eq!(faults_of(" ".repeat(BODY_BYTES_MAX + 1)), of_body(BODY_TOO_LARGE));
    }

    #[test]
    fn malformed_text_has_one_fault_with_its_place() {
        let cases: [(&[u8], usize, usize); 35] = [
            (b"", 1, 1),
            (b" \n ", 2, 2),
            (b"[", 1, 2),
            (b"[\n{\n", 3, 1),
            (b"[1,]", 1, 4),
            (b"[{},\n]", 2, 1),
            (b"[{\"a\":1,}]", 1, 9),
            (b"[1 2]", 1, 4),
            (b"[NaN]", 1, 2),
            (b"[{\"a\": Infinity}]", 1, 8),
            (b"[-Infinity]", 1, 3),
            (b"[nul]", 1, 5),
            (b"[+1]", 1, 2),
            (b"[01]", 1, 3),
            (b"[.5]", 1, 2),
            (b"[1.]", 1, 4),
            (b"[1e]", 1, 4),
            (b"[1,-\n]", 1, 5),
            (b"[\n1e\n]", 2, 3),
            (b"[0x1]", 1, 3),
            (b"['a']", 1, 2),
            (b"[{a: 1}]", 1, 3),
            (b"[{\"a\" 1}]", 1, 7),
            (b"[] // none", 1, 4),
            (b"[/* none */]", 1, 2),
            (b"[] []", 1, 4),
            (b"\x0c[]", 1, 1),
            (b"{} x", 1, 4),
            (b"[\"\\x\"]", 1, 4),
            (b"[\"\\u12g4\"]", 1, 8),
            (b"[\"a\nb\"]", 1, 4),
            (b"[\n\"\0\"]", 2, 2),
            (b"\xef\xbb\xbf[]", 1, 1),
            (b"[\n \"\xc3\xa9\xff\"]", 2, 5),
            (b"[\"\xed\xa0\x80\"]", 1, 3),
        ];
        for (body, line, column) in cases {
            let shown = body.escape_ascii().to_string();
            let faults = parse_orders(body).expect_err(&shown);
            assert_eq!(faults.len(), 1, "{shown}");
            assert!(matches!(&*faults[0].code, MALFORMED_JSON | INVALID_UTF8), "{shown}");
            assert_eq!((faults[0].line, faults[0].column), (Some(line), Some(column)), "{shown}");
        }
    }

    #[test]
    fn each_fault_of_an_order_is_named_with_its_pointer() {
        let string = |bytes: usize| format!("\"{}{}\"", "é".repeat(bytes / 2), "x".repeat(bytes % 2));
        let (sevens, zeros) = ("7".repeat(40), format!("0.{}", "0".repeat(5_000)));
        let members = [
            ("record_id", "null", WRONG_TYPE),
            ("record_id", "7", WRONG_TYPE),
            ("record_id", "\"\"", EMPTY),
            (RECORD_ID, r#""a\u0000""#, CONTROL_CHARACTER),
            ("record_id", "\"a\u{7f}\"", CONTROL_CHARACTER),
            ("record_id", "\"\u{85}\"", CONTROL_CHARACTER),
            (RECORD_ID, r#""\ud800""#, LONE_SURROGATE),
            (RECORD_ID, r#""\udc00\ud800""#, LONE_SURROGATE),
            (RECORD_ID, &string(257), TOO_LONG),
            (RECORD_ID, r#""b","\u0072ecord_id":"b""#, DUPLICATE_KEY),
            (PARAMETER_1, "true", WRONG_TYPE),
            (PARAMETER_1, r#""\ud800\u0041""#, LONE_SURROGATE),
            (PARAMETER_1, &string(1_025), TOO_LONG),
            (PARAMETER_2, "\"4\"", WRONG_TYPE),
            (PARAMETER_2, "null", WRONG_TYPE),
            (PARAMETER_2, "[4]", WRONG_TYPE),
            (PARAMETER_2, "1e400", NUMBER_OUT_OF_RANGE),
            (PARAMETER_2, "1e99999999999999999999", NUMBER_OUT_OF_RANGE),
            (PARAMETER_2, &sevens, TOO_MANY_DIGITS),
            (PARAMETER_2, &zeros, TOO_LONG),
        ];
        for (name, value, code) in members {
            assert_eq!(faults_of(order_with(name, value)), [(code.into(), format!("/0/{name}"))], "{value}");
        }
        let hostile = format!("\"{}\":0", "\u{202e}\\u0007".repeat(100));
        let bodies = [
            (order_and(r#""a~/b":{"c":[]}"#), UNKNOWN_FIELD, "/0/a~0~1b"),
            (order_and(r#""Record_id":"a""#), UNKNOWN_FIELD, "/0/Record_id"),
            (order_and(r#""":0"#), UNKNOWN_FIELD, "/0/"),
            (order_and(&hostile), UNKNOWN_FIELD, "/0"),
            (order_and(r#""\udfff":0"#), LONE_SURROGATE, "/0"),
            ("[7]".to_owned(), WRONG_TYPE, "/0"),
            (r#"["\ud800"]"#.to_owned(), WRONG_TYPE, "/0"),
        ];
        for (body, code, pointer) in bodies {
            assert_eq!(faults_of(&body), [(code.into(), pointer.to_owned())], "{body}");
        }
    }

    #[test]
    fn all_faults_of_a_batch_are_reported_in_one_answer() {
        let body = br#"[{"record_id":"a","parameter_1":"","parameter_2":1}, null,
            {"record_id":"\u0061","x":[],"parameter_1":1,"parameter_1":2}, {}]"#;
        let faults = parse_orders(body).expect_err("faults");
        let expected = [
            ("/1", WRONG_TYPE, "An order must be an object, and this is null."),
            ("/2/x", UNKNOWN_FIELD, "An order has no field \"x\"."),
            ("/2/parameter_1", DUPLICATE_KEY, "`parameter_1` is there more than once."),
            ("/2/record_id", "duplicate_record_id", "The order at /0 has the same `record_id`."),
            ("/2/parameter_1", WRONG_TYPE, "`parameter_1` must be a string, and is a number."),
            ("/2/parameter_2", MISSING_FIELD, "`parameter_2` is missing."),
            ("/3/record_id", MISSING_FIELD, "`record_id` is missing."),
            ("/3/parameter_1", MISSING_FIELD, "`parameter_1` is missing."),
            ("/3/parameter_2", MISSING_FIELD, "`parameter_2` is missing."),
        ];
        let row = |fault: &input::Fault| (fault.pointer.clone(), fault.code.clone(), fault.detail.clone());
        let found: Vec<_> = faults.iter().map(row).collect();
        assert_eq!(
            found,
            expected.map(|(pointer, code, detail)| (pointer.into(), code.into(), detail.into()))
        );
    }

    #[test]
    fn faults_are_written_as_rows_of_a_problem_body() {
        let rows = |body: &[u8]| json!(parse_orders(body).expect_err("a fault"));
        let detail = "An order must be an object, and this is a number.";
        assert_eq!(rows(b"[1]"), json!([{ "pointer": "/0", "code": "wrong_type", "detail": detail }]));
        let detail = "The body is not JSON: expected value.";
        let row =
            json!({ "pointer": "", "code": "malformed_json", "detail": detail, "line": 2, "column": 1 });
        assert_eq!(rows(b"[1,\n}"), json!([row]));
    }

    #[test]
    fn the_faults_listed_and_the_orders_taken_are_bounded() {
        assert_eq!(faults_of(batch_of(1_001)), of_body("too_many_orders"));
        assert_eq!(faults_of(format!("[{}1]", "1,".repeat(99))).len(), 100);
        let endless = [
            format!("[{}1]", "1,".repeat(100)),
            format!("[{}1]", "{},".repeat(300_000)),
            order_and(&format!("{}\"a\":0", "\"a\":0,".repeat(150_000))),
        ];
        for body in endless {
            let faults = faults_of(body);
            assert_eq!(faults.len(), 101);
            assert_eq!(faults[100..], of_body(MORE_FAULTS));
        }
    }

    #[test]
    fn deep_nesting_costs_neither_stack_nor_time() {
        let [open, close, open_object, close_object] =
            ["[", "]", "{\"a\":", "}"].map(|text| text.repeat(100_000));
        let object = format!("{open_object}1{close_object}");
        assert_eq!(faults_of(&open), of_body(MALFORMED_JSON));
        assert_eq!(faults_of(&open_object), of_body(MALFORMED_JSON));
        assert_eq!(faults_of(&object), of_body(NOT_AN_ARRAY));
        assert_eq!(faults_of(format!("{open}{close}")), [(WRONG_TYPE.into(), "/0".to_owned())]);
        assert_eq!(
            faults_of(order_and(&format!("\"x\":{object}"))),
            [(UNKNOWN_FIELD.into(), "/0/x".to_owned())]
        );
    }

    /// A JSON number of any form that is within the limits of [`Decimal`].
    const NUMBER: &str = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?";

    /// Texts that come near to a batch.
    const NEARLY_A_BATCH: &str =
        r#"\[?(\{|\}|\[|\]|,|:|"|\\u|d800|"record_id":|"parameter_2":|-|1|e9|\.|é|\n){0,24}\]?"#;

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes in vec(any::<u8>(), 0..64), text in NEARLY_A_BATCH) {
            let _ = parse_orders(&bytes);
            let _ = parse_orders(text.as_bytes());
        }

        #[test]
        fn a_valid_batch_survives_writing_and_reading(
            rows in btree_map("\\PC{1,64}", ("(?s).{0,99}", NUMBER), 1..9),
        ) {
            let order = |(record_id, (parameter_1, number)): (_, (_, String))| {
                NewOrder { record_id, parameter_1, parameter_2: Decimal::parse(&number).expect("in range") }
            };
            let orders: Vec<NewOrder> = rows.into_iter().map(order).collect();
            let body = serde_json::to_vec(&orders).expect("orders can be written");
            let read = parse_orders(&body).expect("valid");
            prop_assert_eq!(&read, &orders);
            prop_assert_eq!(serde_json::to_vec(&read).expect("orders can be written"), body);
        }
    }
}
