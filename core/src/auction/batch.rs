//! The body of `POST /orders`: read and checked as a whole, before anything is stored.
//!
//! The text is scanned twice. The first scan proves that the whole body is JSON and cuts it into elements, so
//! malformed JSON is one fault with a place and nothing else. The second takes each element apart, and there
//! every fault is reported. Neither recurses, however deep the body nests, since `serde_json` scans raw values
//! with a stack of its own; and nothing is decoded but the keys and the values that are kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::number::{Number, NumberError};

/// The most orders one request may carry: the wire contract's limit.
pub const ORDERS_PER_REQUEST_MAX: usize = 1_000;

/// The largest body of a request, in bytes (1 MiB): the wire contract's limit. The HTTP side refuses a larger
/// one with `413` before it is read; [`parse_orders`] refuses it too, for callers without an HTTP side.
pub const BODY_BYTES_MAX: usize = 1_048_576;

/// The longest `record_id`, in bytes of UTF-8: the wire contract's limit. The shortest has one byte.
pub const RECORD_ID_BYTES_MAX: usize = 256;

/// The longest `parameter_1`, in bytes of UTF-8: the wire contract's limit. It may be empty.
pub const PARAMETER_1_BYTES_MAX: usize = 1_024;

/// The most faults that are listed for one body, so that the answer to a hostile body stays small: our own
/// limit. One last fault, [`FaultCode::MoreFaults`], follows them if there are more.
pub const FAULTS_MAX: usize = 100;

/// How much of a hostile text a fault repeats, in characters before they are escaped.
const EXCERPT_CHARACTERS_MAX: usize = 32;

/// The longest unknown key that is repeated in a pointer, in bytes; a longer one is left out of it.
const POINTER_KEY_BYTES_MAX: usize = 128;

const RECORD_ID: &str = "record_id";
const PARAMETER_1: &str = "parameter_1";
const PARAMETER_2: &str = "parameter_2";

/// The fields of an order; all are required, and there are no others.
const FIELDS: [&str; 3] = [RECORD_ID, PARAMETER_1, PARAMETER_2];

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
    pub parameter_2: Number,
}

/// One thing that is wrong with a body: a row of the `errors` in a problem body (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON Pointer (RFC 6901) into the body; the whole body is `""`. For a missing field it says
    /// where the field belongs. For an unknown key that is too long to repeat, or is no text, it names the
    /// order. Unlike `detail` it has other keys as they were sent, escaped only as RFC 6901 does.
    pub pointer: String,
    /// What kind of fault, for machines.
    pub code: FaultCode,
    /// What is wrong, as a sentence for people. What it repeats of the body is short and escaped.
    pub detail: String,
    /// The line of a fault in the text itself, counted from 1; absent for all other faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in that line, in bytes and counted from 1; absent where `line` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// The kinds of [`Fault`], written in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCode {
    /// The body has more than [`BODY_BYTES_MAX`] bytes.
    BodyTooLarge,
    /// The body is not UTF-8; line and column are those of the first offending byte.
    InvalidUtf8,
    /// The body is not JSON (RFC 8259); line and column say where that shows first.
    MalformedJson,
    /// The body is JSON, but not an array.
    NotAnArray,
    /// The array has no orders.
    EmptyArray,
    /// The array has more than [`ORDERS_PER_REQUEST_MAX`] orders; the first of them are checked all the same.
    TooManyOrders,
    /// A value is of another type than it has to be.
    WrongType,
    /// A field of an order is not there.
    MissingField,
    /// An order has a field of no known name.
    UnknownField,
    /// An order has the same field twice, once all escapes are decoded.
    DuplicateKey,
    /// An earlier order of the batch has the same `record_id`.
    DuplicateRecordId,
    /// A `\u` escape is one half of a surrogate pair without the other, so the string is no text.
    LoneSurrogate,
    /// A `record_id` is the empty string.
    Empty,
    /// A string or a number is written with more bytes than it may have.
    TooLong,
    /// A `record_id` has a control character (Unicode's general category Cc).
    ControlCharacter,
    /// A number has more significant digits than [`Number`] keeps.
    TooManyDigits,
    /// The magnitude of a number is not in the range of [`Number`].
    NumberOutOfRange,
    /// There are more faults than the [`FAULTS_MAX`] that are listed.
    MoreFaults,
}

/// Reads the body of `POST /orders`, and checks all of it. The orders come in the order they were sent.
///
/// # Errors
///
/// Every fault of the body, order by order: at most [`FAULTS_MAX`], and a last one if there are more. A body
/// that is no JSON array, or an empty or too large one, has that one fault. With too many orders, the first
/// [`ORDERS_PER_REQUEST_MAX`] are checked all the same.
pub fn parse_orders(body: &[u8]) -> Result<Vec<NewOrder>, Vec<Fault>> {
    let elements = read_array(body).map_err(|fault| vec![fault])?;
    let kept = elements.kept.len();
    let mut reader = OrderReader { index: 0, faults: Vec::new(), first_seen: HashMap::with_capacity(kept) };
    if elements.count > ORDERS_PER_REQUEST_MAX {
        let detail = format!("There are {} orders, the limit is {ORDERS_PER_REQUEST_MAX}.", elements.count);
        reader.faults.push(Fault::of_body(FaultCode::TooManyOrders, detail));
    }
    let mut orders = Vec::with_capacity(kept);
    for (index, element) in elements.kept.into_iter().enumerate() {
        reader.index = index;
        orders.extend(reader.read_order(element));
        if reader.has_faults_enough() {
            break;
        }
    }
    if reader.faults.is_empty() { Ok(orders) } else { Err(reader.faults) }
}

impl Fault {
    fn of_body(code: FaultCode, detail: String) -> Self {
        Self { pointer: String::new(), code, detail, line: None, column: None }
    }

    fn at(self, (line, column): (usize, usize)) -> Self {
        Self { line: Some(line), column: Some(column), ..self }
    }
}

/// The elements of the body's array, not yet looked into.
struct Elements<'a> {
    /// The first of them, as many as there may be.
    kept: Vec<&'a RawValue>,
    /// How many there are in all.
    count: usize,
}

/// Reads the body as far as its elements. The one fault it may have hides all others.
fn read_array(body: &[u8]) -> Result<Elements<'_>, Fault> {
    if body.len() > BODY_BYTES_MAX {
        let detail = format!("The body has {} bytes, the limit is {BODY_BYTES_MAX}.", body.len());
        return Err(Fault::of_body(FaultCode::BodyTooLarge, detail));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = "The body is not UTF-8.".to_owned();
        Fault::of_body(FaultCode::InvalidUtf8, detail).at(position(body, error.valid_up_to()))
    })?;
    if !text.trim_ascii_start().starts_with('[') {
        let raw = serde_json::from_str(text).map_err(|error| malformed(text, &error))?;
        let detail = format!("The body must be an array of orders, and is {}.", type_of(raw));
        return Err(Fault::of_body(FaultCode::NotAnArray, detail));
    }
    let elements: Elements = serde_json::from_str(text).map_err(|error| malformed(text, &error))?;
    if elements.count == 0 {
        let detail = "The array is empty; it must have at least one order.".to_owned();
        return Err(Fault::of_body(FaultCode::EmptyArray, detail));
    }
    Ok(elements)
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;

        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while let Some(element) = array.next_element()? {
                    kept.push(element);
                    if kept.len() == ORDERS_PER_REQUEST_MAX {
                        break;
                    }
                }
                let mut count = kept.len();
                if count == ORDERS_PER_REQUEST_MAX {
                    while array.next_element::<IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                }
                Ok(Elements { kept, count })
            }
        }

        deserializer.deserialize_seq(ElementsVisitor)
    }
}

/// The fault of a text that is not JSON, with the sentence and the place that `serde_json` found.
fn malformed(text: &str, error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    // The message ends with the place, which has members of its own.
    let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
    let has_mark = text.starts_with('\u{feff}');
    let reason = if has_mark { "it starts with a byte order mark" } else { reason };
    let place = match (error.line(), error.column()) {
        _ if error.is_eof() => position(text.as_bytes(), text.len()),
        // The offending byte is a line break, which `serde_json` counts to the line that it begins.
        (line, 0) => {
            let broken = text.split('\n').nth(line.saturating_sub(2)).unwrap_or_default();
            (line.saturating_sub(1), broken.len() + 1)
        }
        // Here alone it names the byte before the offending one.
        (line, column) if reason.starts_with("control character") => (line, column + 1),
        place => place,
    };
    let detail = format!("The body is not JSON: {reason}.");
    Fault::of_body(FaultCode::MalformedJson, detail).at(place)
}

/// The line and the column of the byte at `offset`, both counted from 1.
fn position(body: &[u8], offset: usize) -> (usize, usize) {
    let before = body.iter().take(offset);
    let line = 1 + before.clone().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}

/// The type of a value, as a sentence names it.
fn type_of(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Reads one order after another, and gathers the faults of all.
struct OrderReader<'a> {
    /// The place in the array of the order that is being read.
    index: usize,
    faults: Vec<Fault>,
    /// The index of the order of each `record_id`.
    first_seen: HashMap<Cow<'a, str>, usize>,
}

impl<'a> OrderReader<'a> {
    /// Adds a fault of the member `name` of this order, or of the order as a whole.
    fn fault(&mut self, name: Option<&str>, code: FaultCode, detail: String) {
        if self.faults.len() < FAULTS_MAX {
            let member = name.map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            let pointer = format!("/{}{}", self.index, member.unwrap_or_default());
            self.faults.push(Fault { pointer, ..Fault::of_body(code, detail) });
        } else if !self.has_faults_enough() {
            let detail = format!("There are more faults than the {FAULTS_MAX} above.");
            self.faults.push(Fault::of_body(FaultCode::MoreFaults, detail));
        }
    }

    /// True once another fault would change nothing, and looking for one is a waste.
    fn has_faults_enough(&self) -> bool {
        self.faults.len() > FAULTS_MAX
    }

    fn read_order(&mut self, element: &'a RawValue) -> Option<NewOrder> {
        let found = type_of(element);
        if found != "an object" {
            let detail = format!("An order must be an object, and this is {found}.");
            self.fault(None, FaultCode::WrongType, detail);
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(element.get());
        // The element is known to be JSON, so the one error there can be says that there are faults enough.
        let [record_id, parameter_1, parameter_2] = deserializer.deserialize_map(&mut *self).ok()?;
        let record_id = self.read_record_id(record_id);
        let parameter_1 = self.read_string(PARAMETER_1, parameter_1, PARAMETER_1_BYTES_MAX);
        let parameter_2 = self.read_number(PARAMETER_2, parameter_2);
        Some(NewOrder {
            record_id: record_id?.into_owned(),
            parameter_1: parameter_1?.into_owned(),
            parameter_2: parameter_2?,
        })
    }

    fn read_record_id(&mut self, value: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
        let record_id = self.read_string(RECORD_ID, value, RECORD_ID_BYTES_MAX)?;
        let (code, detail) = if record_id.is_empty() {
            (FaultCode::Empty, "`record_id` must not be empty.".to_owned())
        } else if let Some(control) = record_id.chars().find(|character| character.is_control()) {
            let detail = format!("`record_id` has the control character U+{:04X}.", u32::from(control));
            (FaultCode::ControlCharacter, detail)
        } else {
            match self.first_seen.entry(record_id.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(self.index);
                    return Some(record_id);
                }
                Entry::Occupied(entry) => {
                    let detail = format!("The order at /{} has the same `record_id`.", entry.get());
                    (FaultCode::DuplicateRecordId, detail)
                }
            }
        };
        self.fault(Some(RECORD_ID), code, detail);
        None
    }

    fn read_string(
        &mut self,
        name: &str,
        value: Option<&'a RawValue>,
        bytes_max: usize,
    ) -> Option<Cow<'a, str>> {
        let value = self.expect_type("a string", name, value)?;
        let (code, detail) = match decode(value) {
            Some(text) if text.len() <= bytes_max => return Some(text),
            Some(text) => {
                let detail = format!("`{name}` has {} bytes, the limit is {bytes_max}.", text.len());
                (FaultCode::TooLong, detail)
            }
            None => {
                let detail = format!("`{name}` has one half of a surrogate pair without the other.");
                (FaultCode::LoneSurrogate, detail)
            }
        };
        self.fault(Some(name), code, detail);
        None
    }

    fn read_number(&mut self, name: &str, value: Option<&'a RawValue>) -> Option<Number> {
        let value = self.expect_type("a number", name, value)?;
        let error = match Number::parse(value.get()) {
            Ok(number) => return Some(number),
            Err(error) => error,
        };
        let code = match error {
            NumberError::NotANumber => FaultCode::WrongType,
            NumberError::TooManyDigits { .. } => FaultCode::TooManyDigits,
            NumberError::OutOfRange => FaultCode::NumberOutOfRange,
            NumberError::TooLong { .. } => FaultCode::TooLong,
        };
        self.fault(Some(name), code, format!("`{name}`: {error}."));
        None
    }

    /// The value, if it is there and of the `expected` type, which is named as [`type_of`] does.
    fn expect_type(
        &mut self,
        expected: &str,
        name: &str,
        value: Option<&'a RawValue>,
    ) -> Option<&'a RawValue> {
        let (code, detail) = match value.map(type_of) {
            Some(found) if found == expected => return value,
            Some(found) => (FaultCode::WrongType, format!("`{name}` must be {expected}, and is {found}.")),
            None => (FaultCode::MissingField, format!("`{name}` is missing.")),
        };
        self.fault(Some(name), code, detail);
        None
    }
}

/// Takes an object apart into the values of its fields, and adds the faults of its keys.
impl<'a> Visitor<'a> for &mut OrderReader<'a> {
    type Value = [Option<&'a RawValue>; FIELDS.len()];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = Self::Value::default();
        // A key is read raw as well: one that is no text must not hide the faults of the others.
        while let Some((key, value)) = object.next_entry::<&RawValue, &RawValue>()? {
            let Some(key) = decode(key) else {
                let detail = "A key has one half of a surrogate pair without the other.".to_owned();
                self.fault(None, FaultCode::LoneSurrogate, detail);
                continue;
            };
            match FIELDS.iter().zip(&mut values).find(|(name, _)| **name == key) {
                Some((_, slot @ None)) => *slot = Some(value),
                Some((name, Some(_))) => {
                    let detail = format!("`{name}` is there more than once.");
                    self.fault(Some(name), FaultCode::DuplicateKey, detail);
                }
                None => {
                    let name = (key.len() <= POINTER_KEY_BYTES_MAX).then_some(key.as_ref());
                    let detail = format!("An order has no field \"{}\".", excerpt(&key));
                    self.fault(name, FaultCode::UnknownField, detail);
                }
            }
            if self.has_faults_enough() {
                return Err(A::Error::custom("there are faults enough"));
            }
        }
        Ok(values)
    }
}

/// The beginning of a hostile text, escaped so that it can neither break a line nor turn the writing around.
fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut excerpt: String =
        characters.by_ref().take(EXCERPT_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

/// The text of a string that is known to be JSON, borrowed if it has no escapes. `None` if it has a lone
/// surrogate: the one thing that JSON's grammar allows in a string and text does not.
fn decode(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    use super::FaultCode::*;
    use super::*;

    /// A batch of one valid order, but for one member.
    fn order_with(name: &str, value: &str) -> String {
        let member = |field, valid| format!("\"{field}\":{}", if field == name { value } else { valid });
        let [id, text, number] =
            [member(RECORD_ID, "\"a\""), member(PARAMETER_1, "\"\""), member(PARAMETER_2, "0")];
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
    fn faults_of(body: impl AsRef<[u8]>) -> Vec<(FaultCode, String)> {
        let faults = parse_orders(body.as_ref()).expect_err("a fault");
        for fault in &faults {
            assert_eq!(fault.line.is_some(), matches!(fault.code, MalformedJson | InvalidUtf8));
            assert!(fault.detail.len() < 500, "{fault:?}");
            assert!(!fault.detail.contains(char::is_control), "{fault:?}");
        }
        faults.into_iter().map(|fault| (fault.code, fault.pointer)).collect()
    }

    fn of_body(code: FaultCode) -> Vec<(FaultCode, String)> {
        vec![(code, String::new())]
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
            assert_eq!(faults_of(body), of_body(NotAnArray), "{body}");
        }
        assert_eq!(faults_of("[]"), of_body(EmptyArray));
        assert_eq!(faults_of("\r\n\t [ ] "), of_body(EmptyArray));
        assert_eq!(faults_of(" ".repeat(BODY_BYTES_MAX)), of_body(MalformedJson));
        assert_eq!(faults_of(" ".repeat(BODY_BYTES_MAX + 1)), of_body(BodyTooLarge));
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
            assert!(matches!(faults[0].code, MalformedJson | InvalidUtf8), "{shown}");
            assert_eq!((faults[0].line, faults[0].column), (Some(line), Some(column)), "{shown}");
        }
    }

    #[test]
    fn each_fault_of_an_order_is_named_with_its_pointer() {
        let string = |bytes: usize| format!("\"{}{}\"", "é".repeat(bytes / 2), "x".repeat(bytes % 2));
        let (sevens, zeros) = ("7".repeat(40), format!("0.{}", "0".repeat(5_000)));
        let members = [
            (RECORD_ID, "null", WrongType),
            (RECORD_ID, "7", WrongType),
            (RECORD_ID, "\"\"", Empty),
            (RECORD_ID, r#""a\u0000""#, ControlCharacter),
            (RECORD_ID, "\"a\u{7f}\"", ControlCharacter),
            (RECORD_ID, "\"\u{85}\"", ControlCharacter),
            (RECORD_ID, r#""\ud800""#, LoneSurrogate),
            (RECORD_ID, r#""\udc00\ud800""#, LoneSurrogate),
            (RECORD_ID, &string(257), TooLong),
            (RECORD_ID, r#""b","\u0072ecord_id":"b""#, DuplicateKey),
            (PARAMETER_1, "true", WrongType),
            (PARAMETER_1, r#""\ud800\u0041""#, LoneSurrogate),
            (PARAMETER_1, &string(1_025), TooLong),
            (PARAMETER_2, "\"4\"", WrongType),
            (PARAMETER_2, "null", WrongType),
            (PARAMETER_2, "[4]", WrongType),
            (PARAMETER_2, "1e400", NumberOutOfRange),
            (PARAMETER_2, "1e99999999999999999999", NumberOutOfRange),
            (PARAMETER_2, &sevens, TooManyDigits),
            (PARAMETER_2, &zeros, TooLong),
        ];
        for (name, value, code) in members {
            assert_eq!(faults_of(order_with(name, value)), [(code, format!("/0/{name}"))], "{value}");
        }
        let hostile = format!("\"{}\":0", "\u{202e}\\u0007".repeat(100));
        let bodies = [
            (order_and(r#""a~/b":{"c":[]}"#), UnknownField, "/0/a~0~1b"),
            (order_and(r#""Record_id":"a""#), UnknownField, "/0/Record_id"),
            (order_and(r#""":0"#), UnknownField, "/0/"),
            (order_and(&hostile), UnknownField, "/0"),
            (order_and(r#""\udfff":0"#), LoneSurrogate, "/0"),
            ("[7]".to_owned(), WrongType, "/0"),
            (r#"["\ud800"]"#.to_owned(), WrongType, "/0"),
        ];
        for (body, code, pointer) in bodies {
            assert_eq!(faults_of(&body), [(code, pointer.to_owned())], "{body}");
        }
    }

    #[test]
    fn all_faults_of_a_batch_are_reported_in_one_answer() {
        let body = br#"[{"record_id":"a","parameter_1":"","parameter_2":1}, null,
            {"record_id":"\u0061","x":[],"parameter_1":1,"parameter_1":2}, {}]"#;
        let faults = parse_orders(body).expect_err("faults");
        let expected = [
            ("/1", WrongType, "An order must be an object, and this is null."),
            ("/2/x", UnknownField, "An order has no field \"x\"."),
            ("/2/parameter_1", DuplicateKey, "`parameter_1` is there more than once."),
            ("/2/record_id", DuplicateRecordId, "The order at /0 has the same `record_id`."),
            ("/2/parameter_1", WrongType, "`parameter_1` must be a string, and is a number."),
            ("/2/parameter_2", MissingField, "`parameter_2` is missing."),
            ("/3/record_id", MissingField, "`record_id` is missing."),
            ("/3/parameter_1", MissingField, "`parameter_1` is missing."),
            ("/3/parameter_2", MissingField, "`parameter_2` is missing."),
        ];
        let row = |fault: &Fault| (fault.pointer.clone(), fault.code, fault.detail.clone());
        let found: Vec<_> = faults.iter().map(row).collect();
        assert_eq!(found, expected.map(|(pointer, code, detail)| (pointer.into(), code, detail.into())));
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
        assert_eq!(faults_of(batch_of(1_001)), of_body(TooManyOrders));
        assert_eq!(faults_of(format!("[{}1]", "1,".repeat(99))).len(), 100);
        let endless = [
            format!("[{}1]", "1,".repeat(100)),
            format!("[{}1]", "{},".repeat(300_000)),
            order_and(&format!("{}\"a\":0", "\"a\":0,".repeat(150_000))),
        ];
        for body in endless {
            let faults = faults_of(body);
            assert_eq!(faults.len(), 101);
            assert_eq!(faults[100..], of_body(MoreFaults));
        }
    }

    #[test]
    fn deep_nesting_costs_neither_stack_nor_time() {
        let [open, close, open_object, close_object] =
            ["[", "]", "{\"a\":", "}"].map(|text| text.repeat(100_000));
        let object = format!("{open_object}1{close_object}");
        assert_eq!(faults_of(&open), of_body(MalformedJson));
        assert_eq!(faults_of(&open_object), of_body(MalformedJson));
        assert_eq!(faults_of(&object), of_body(NotAnArray));
        assert_eq!(faults_of(format!("{open}{close}")), [(WrongType, "/0".to_owned())]);
        assert_eq!(faults_of(order_and(&format!("\"x\":{object}"))), [(UnknownField, "/0/x".to_owned())]);
    }

    /// A JSON number of any form that is within the limits of [`Number`].
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
                NewOrder { record_id, parameter_1, parameter_2: Number::parse(&number).expect("in range") }
            };
            let orders: Vec<NewOrder> = rows.into_iter().map(order).collect();
            let body = serde_json::to_vec(&orders).expect("orders can be written");
            let read = parse_orders(&body).expect("valid");
            prop_assert_eq!(&read, &orders);
            prop_assert_eq!(serde_json::to_vec(&read).expect("orders can be written"), body);
        }
    }
}
