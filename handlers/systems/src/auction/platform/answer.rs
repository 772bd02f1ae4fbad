//! What the platform answers, and how it is read.

use quadrille::{Failure, decimal::Decimal, domain::auction::RECORD_ID_BYTES_MAX, excerpt};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The reason of the failure for an answer that can't be read as a whole. Transient: a platform that answers garbage
/// (a proxy's error page, half a body) may answer properly the next time.
pub const PLATFORM_GARBAGE: &str = "platform_garbage";

/// How much of a decision's status is kept, in bytes. Our own limit: the known ones have 8.
pub const STATUS_BYTES_MAX: usize = 64;

/// The longest token of a page, in bytes. Our own limit: it is carried in an event and in a URL.
pub const PAGE_TOKEN_BYTES_MAX: usize = 1_024;

/// The most broken decisions that are named for one page. Our own limit, so that a log line stays one.
pub const DECISION_FAULTS_MAX: usize = 20;

/// How much of one fault is kept, in bytes. Our own limit.
const FAULT_BYTES_MAX: usize = 256;

/// What the platform says to the question for results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not yet: ask again later.
    NotReady,
    /// One page of the results.
    Ready {
        /// The decisions of this page, in the platform's order.
        decisions: Vec<Decision>,
        /// What was among them and could not be read, at most [`DECISION_FAULTS_MAX`] and a last one if there were
        /// more: for the log. Each says which it was, and why.
        faults: Vec<String>,
        /// The token of the next page, at most [`PAGE_TOKEN_BYTES_MAX`] bytes; none with the last page.
        next: Option<String>,
    },
}

/// What the platform decided of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The order's id, as the platform names it: it may be one we never sent.
    pub record_id: String,
    /// The status as the platform wrote it, cut to [`STATUS_BYTES_MAX`] bytes and without control characters; none
    /// where it wrote none.
    pub status: Option<String>,
    /// What it gave the order, digit by digit; none where it said nothing.
    pub power: Option<Decimal>,
}

#[derive(Deserialize)]
struct WireAnswer<'a> {
    results: bool,
    // Read only once there are results: what stands beside a "not ready" does not matter.
    #[serde(borrow)]
    orders: Option<&'a RawValue>,
    #[serde(borrow)]
    next: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDecision<'a> {
    #[serde(borrow)]
    record_id: Cow<'a, str>,
    status: Option<String>,
    order: Option<String>,
    power: Option<Decimal>,
}

impl Answer {
    /// Reads `{"results": false}`, or `{"results": true, "orders": [{"record_id": "…", "status": "accepted",
    /// "power": 1}, …], "next": "…"}`. `order` is an alias of `status`; unknown fields are ignored; `null` is as good
    /// as absent, and so is an empty `next`. A decision that can't be read becomes a fault, and the others stand.
    ///
    /// # Errors
    /// A transient [`PLATFORM_GARBAGE`] where the answer as a whole is something else.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body).map_err(garbage)?;
        let answer: WireAnswer<'_> = read_object(text).map_err(garbage)?;
        if !answer.results {
            return Ok(Self::NotReady);
        }
        let orders = answer.orders.map_or("[]", RawValue::get);
        let orders: Vec<&RawValue> = serde_json::from_str(orders).map_err(garbage)?;
        let next: Option<String> =
            serde_json::from_str(answer.next.map_or("null", RawValue::get)).map_err(garbage)?;
        let next = next.filter(|token| !token.is_empty());
        if next.as_ref().is_some_and(|token| token.len() > PAGE_TOKEN_BYTES_MAX) {
            return Err(garbage(format_args!("a page token of more than {PAGE_TOKEN_BYTES_MAX} bytes")));
        }
        let (mut decisions, mut faults) = (Vec::with_capacity(orders.len()), Vec::new());
        for (index, entry) in orders.iter().enumerate() {
            match Decision::parse(entry.get()) {
                Ok(decision) => decisions.push(decision),
                Err(why) if faults.len() < DECISION_FAULTS_MAX => {
                    faults.push(fault(index, entry.get(), &why))
                }
                Err(_) => {}
            }
        }
        let unnamed = orders.len() - decisions.len() - faults.len();
        if unnamed > 0 {
            faults.push(format!("and {unnamed} more"));
        }
        Ok(Self::Ready { decisions, faults, next })
    }
}

impl Decision {
    fn parse(text: &str) -> Result<Self, String> {
        let entry: WireDecision<'_> = read_object(text).map_err(|error| error.to_string())?;
        // No order has such an id, so nothing further on has to be ready for it.
        if entry.record_id.is_empty() || entry.record_id.len() > RECORD_ID_BYTES_MAX {
            return Err(format!("a `record_id` of {} bytes", entry.record_id.len()));
        }
        if entry.record_id.contains(char::is_control) {
            return Err("a `record_id` with a control character".to_owned());
        }
        let status = match (entry.status, entry.order) {
            (Some(status), Some(order)) if status != order => {
                return Err("`status` and its alias `order` differ".to_owned());
            }
            (status, order) => status.or(order),
        };
        Ok(Self {
            record_id: entry.record_id.into_owned(),
            status: status.map(|status| excerpt(&status, STATUS_BYTES_MAX)),
            power: entry.power,
        })
    }
}

/// Reads an object. Left to itself, serde takes an array for a struct as well, field by field.
fn read_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if !text.trim_start().starts_with('{') {
        return Err(de::Error::custom("not a JSON object"));
    }
    serde_json::from_str(text)
}

/// Which decision it is, by place and, if it can be told, by id, and what is wrong with it.
fn fault(index: usize, entry: &str, why: &str) -> String {
    #[derive(Deserialize)]
    struct Named {
        record_id: String,
    }
    let name = match read_object::<Named>(entry) {
        Ok(named) => format!(" ({})", excerpt(&named.record_id, STATUS_BYTES_MAX)),
        Err(_) => String::new(),
    };
    excerpt(&format!("orders/{index}{name}: {why}"), FAULT_BYTES_MAX)
}

fn garbage(why: impl std::fmt::Display) -> Failure {
    Failure::transient(PLATFORM_GARBAGE, format_args!("the platform's answer can not be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(record_id: &str, status: Option<&str>, power: Option<&str>) -> Decision {
        Decision {
            record_id: record_id.into(),
            status: status.map(str::to_owned),
            power: power.map(|text| Decimal::parse(text).unwrap()),
        }
    }

    fn ready(decisions: Vec<Decision>, next: Option<&str>) -> Answer {
        Answer::Ready { decisions, faults: Vec::new(), next: next.map(str::to_owned) }
    }

    fn parse_ready(body: &str) -> (Vec<Decision>, Vec<String>) {
        match Answer::parse(body.as_bytes()).unwrap() {
            Answer::Ready { decisions, faults, .. } => (decisions, faults),
            Answer::NotReady => panic!("not ready: {body}"),
        }
    }

    #[test]
    fn answers_are_read() {
        let accepted = || decision("a", Some("accepted"), Some("1"));
        let cases = [
            (r#"{"results": false}"#, Answer::NotReady),
            (r#" {"orders": 5, "next": 5, "more": {"a": [1]}, "results": false} "#, Answer::NotReady),
            (r#"{"results": true}"#, ready(vec![], None)),
            (r#"{"results": true, "orders": null, "next": null}"#, ready(vec![], None)),
            (r#"{"results": true, "orders": [], "next": ""}"#, ready(vec![], None)),
            (
                r#"{"results": true, "orders": [{"record_id": "a", "status": "accepted", "power": 1}], "next": "t"}"#,
                ready(vec![accepted()], Some("t")),
            ),
            (
                r#"{"results": true, "orders": [{"record_id": "a", "order": "accepted", "power": 1, "x": {}}]}"#,
                ready(vec![accepted()], None),
            ),
            (
                r#"{"results": true, "orders": [
                    {"record_id": "a", "order": "accepted", "status": "accepted", "power": 1},
                    {"record_id": "b", "order": null, "status": "rejected", "power": null},
                    {"record_id": "\u0063"},
                    {"record_id": "d", "status": "no\nidea", "power": 2.10}]}"#,
                ready(
                    vec![
                        accepted(),
                        decision("b", Some("rejected"), None),
                        decision("c", None, None),
                        decision("d", Some(r"no\nidea"), Some("2.10")),
                    ],
                    None,
                ),
            ),
        ];
        for (body, answer) in cases {
            assert_eq!(Answer::parse(body.as_bytes()), Ok(answer), "{body}");
        }
    }

    #[test]
    fn power_is_kept_digit_by_digit() {
        let (decisions, _) =
            parse_ready(r#"{"results": true, "orders": [{"record_id": "a", "power": 2.10}]}"#);
        assert_eq!(decisions[0].power.as_ref().unwrap().as_str(), "2.10");
    }

    #[test]
    fn a_long_status_is_cut() {
        let status = "accepted".repeat(100);
        let body = format!(r#"{{"results": true, "orders": [{{"record_id": "a", "status": "{status}"}}]}}"#);
        assert_eq!(parse_ready(&body).0[0].status.as_ref().unwrap().len(), STATUS_BYTES_MAX);
    }

    #[test]
    fn garbage_may_pass() {
        let long = format!(r#"{{"results": true, "next": "{}"}}"#, "x".repeat(PAGE_TOKEN_BYTES_MAX + 1));
        let bodies = [
            "",
            "<html>502 Bad Gateway</html>",
            "null",
            "[]",
            "[false, null, null]",
            "{}",
            r#"{"results": "yes"}"#,
            r#"{"results": null}"#,
            r#"{"results": true, "orders": [{"record_id": "a"}"#,
            r#"{"results": true, "results": false}"#,
            r#"{"results": true, "orders": {}}"#,
            r#"{"results": true, "next": 5}"#,
            r#"{"results": false} {"results": false}"#,
            long.as_str(),
        ];
        for body in
            bodies.map(str::as_bytes).into_iter().chain([b"{\"results\": false, \"\xff\": 1}".as_slice()])
        {
            let failure = Answer::parse(body).unwrap_err();
            assert_eq!((failure.reason(), failure.is_permanent()), (PLATFORM_GARBAGE, false), "{body:?}");
        }
    }

    #[test]
    fn a_broken_decision_does_not_lose_the_others() {
        let long = format!(r#"{{"record_id": "{}"}}"#, "x".repeat(257));
        let broken = [
            (r#"{"status": "accepted"}"#, "orders/1: missing field `record_id`"),
            (r#"{"record_id": 5}"#, "orders/1: invalid type: integer `5`"),
            (r#"{"record_id": ""}"#, "orders/1 (): a `record_id` of 0 bytes"),
            (long.as_str(), "a `record_id` of 257 bytes"),
            (
                r#"{"record_id": "b\u001b[0m"}"#,
                r"orders/1 (b\u{1b}[0m): a `record_id` with a control character",
            ),
            (r#"{"record_id": "b", "status": 5}"#, "orders/1 (b): invalid type: integer `5`"),
            (
                r#"{"record_id": "b", "status": "accepted", "status": "rejected"}"#,
                "orders/1 (b): duplicate field",
            ),
            (
                r#"{"record_id": "b", "status": "accepted", "order": "rejected"}"#,
                "(b): `status` and its alias `order`",
            ),
            (r#"{"record_id": "b", "power": "1"}"#, "orders/1 (b): the text is not a JSON number"),
            (r#"{"record_id": "b", "power": 1e999}"#, "orders/1 (b): the number is out of range"),
            (r#"["b", "accepted"]"#, "orders/1: not a JSON object"),
            ("null", "orders/1: not a JSON object"),
        ];
        for (entry, why) in broken {
            let body = format!(
                r#"{{"results": true, "orders": [{{"record_id": "a"}}, {entry}, {{"record_id": "c"}}]}}"#
            );
            let (decisions, faults) = parse_ready(&body);
            assert_eq!(decisions, [decision("a", None, None), decision("c", None, None)], "{entry}");
            assert!(faults.len() == 1 && faults[0].contains(why), "{entry}: {faults:?}");
        }
    }

    #[test]
    fn the_list_of_faults_is_bounded() {
        let body = format!(r#"{{"results": true, "orders": [{}{{"record_id": "a"}}]}}"#, "5,".repeat(25));
        let (decisions, faults) = parse_ready(&body);
        assert_eq!(
            (decisions.len(), faults.len(), faults[20].as_str()),
            (1, DECISION_FAULTS_MAX + 1, "and 5 more")
        );
    }
}
