//! What is done to a body that a system takes.

use quadrille::port::{Random as _, SeededRandom};
use serde_json::Value;

/// A body, and the verdict that is due.
pub struct Mutant {
    pub body: Vec<u8>,
    /// What was done, for the one who reads of a failure.
    pub how: &'static str,
    pub due: Due,
}

/// The verdict that a body deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It says the same in other words.
    Taken,
    /// It can't be taken by anybody.
    Refused,
    /// Whichever, as long as the answer and what is stored agree.
    Either,
}

pub struct Mutator {
    random: SeededRandom,
}

/// Texts that are put where a value was.
const ODD: &[&str] = &[
    "null",
    "true",
    "-0",
    "1e400",
    "1E-400",
    "0.1e1",
    "99999999999999999999999999999999999999999",
    "-1",
    "[]",
    "{}",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\u202e\\u200b\"",
    "[[[[[[[[[]]]]]]]]]",
    "NaN",
    "Infinity",
    "0x10",
    "01",
    ".5",
    "5.",
    "\"\\x\"",
    "'a'",
    "\"../../etc/passwd\"",
    "\"%2e%2e\"",
    "1.0000000000000000000000000000000001",
];

/// Bytes that are put anywhere.
const BYTES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\0",
    b"\n",
    b"\x7f",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"e",
    b"-",
    b"9",
    b"/**/",
    b"\xf4\x90\x80\x80",
];

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { random: SeededRandom::new(seed) }
    }

    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.random.next_u64() % (limit.max(1) as u64)).unwrap()
    }

    /// A mutant of a body that is taken as it is.
    pub fn mutant(&self, good: &Value) -> Mutant {
        let (how, due, body) = match self.below(10) {
            0 | 1 => ("written otherwise", Due::Taken, self.rewritten(good).into_bytes()),
            2 => ("cut", Due::Refused, self.cut(good)),
            3 => ("more behind it", Due::Refused, self.with_more(good)),
            4 => ("a key twice", Due::Refused, self.key_twice(good)),
            5 => ("bytes that are no text", Due::Refused, self.no_text(good)),
            6 | 7 => ("another value", Due::Either, self.other_value(good)),
            _ => ("bytes changed", Due::Either, self.scrambled(good)),
        };
        Mutant { body, how, due }
    }

    /// The same value in another text: members in another order, space between the tokens, letters as escapes.
    fn rewritten(&self, value: &Value) -> String {
        let space = [" ", "\t", "\n", "\r\n", "", "", ""][self.below(7)];
        match value {
            Value::Object(members) => {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| {
                        format!("{space}{}{space}:{}", self.escaped(name), self.rewritten(value))
                    })
                    .collect();
                let at = self.below(members.len());
                members.rotate_left(at);
                format!("{{{}{space}}}", members.join(","))
            }
            Value::Array(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| self.rewritten(element)).collect();
                format!("{space}[{}]{space}", elements.join(","))
            }
            Value::String(text) => format!("{space}{}{space}", self.escaped(text)),
            other => format!("{space}{other}{space}"),
        }
    }

    fn escaped(&self, text: &str) -> String {
        let mut escaped = String::from("\"");
        for letter in text.chars() {
            match u16::try_from(u32::from(letter)) {
                Ok(unit) if self.below(8) == 0 => escaped.push_str(&format!("\\u{unit:04x}")),
                _ => escaped.push(letter),
            }
        }
        escaped + "\""
    }

    fn cut(&self, good: &Value) -> Vec<u8> {
        let mut body = good.to_string().into_bytes();
        body.truncate(self.below(body.len()));
        body
    }

    fn with_more(&self, good: &Value) -> Vec<u8> {
        let more = ["x", "{}", "]", ",", "null", "\0", "//"][self.below(7)];
        (good.to_string() + more).into_bytes()
    }

    /// A member of an object, somewhere, stands there twice.
    fn key_twice(&self, good: &Value) -> Vec<u8> {
        let text = good.to_string();
        let keys: Vec<usize> = text.match_indices("\":").map(|(at, _)| at).collect();
        let end = keys[self.below(keys.len())];
        let begin = text[..end].rfind('"').unwrap();
        let key = &text[begin..=end];
        format!("{}{key}:1,{}", &text[..begin], &text[begin..]).into_bytes()
    }

    fn no_text(&self, good: &Value) -> Vec<u8> {
        let mut body = good.to_string().into_bytes();
        let at = self.below(body.len() + 1);
        let bad = [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"][self.below(4)];
        body.splice(at..at, bad.iter().copied());
        body
    }

    /// One value, somewhere, is another.
    fn other_value(&self, good: &Value) -> Vec<u8> {
        const MARK: &str = "the value that goes";
        let mut good = good.clone();
        let mut places = Vec::new();
        collect(&good, String::new(), &mut places);
        let place = &places[self.below(places.len())];
        *good.pointer_mut(place).unwrap() = MARK.into();
        let odd = if self.below(10) == 0 {
            let length = [100, 300, 5_000, 70_000][self.below(4)];
            format!("\"{}\"", "é".repeat(length))
        } else {
            ODD[self.below(ODD.len())].to_owned()
        };
        good.to_string().replace(&format!("\"{MARK}\""), &odd).into_bytes()
    }

    fn scrambled(&self, good: &Value) -> Vec<u8> {
        let mut body = good.to_string().into_bytes();
        for _ in 0..=self.below(4) {
            let (at, to) = (self.below(body.len()), self.below(body.len()));
            match self.below(5) {
                0 => body[at] ^= 1 << self.below(8),
                1 => drop(body.remove(at)),
                2 => {
                    let bytes = BYTES[self.below(BYTES.len())];
                    body.splice(at..at, bytes.iter().copied());
                }
                3 => body.swap(at, to),
                _ => {
                    let part = body[at.min(to)..at.max(to)].to_vec();
                    body.splice(at..at, part);
                }
            }
            if body.is_empty() {
                break;
            }
        }
        body
    }
}

/// The JSON Pointers of all values.
fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(member, format!("{at}/{name}"), places);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect(element, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}
