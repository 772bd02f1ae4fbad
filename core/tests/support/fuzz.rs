//! Fuzzing on the stable toolchain. A reader of text from outside is given each file of a corpus, and then changes of these files,
//! drawn at random; proptest keeps the fewest that do harm.
//!
//! A fuzzer that is guided by coverage (bolero, cargo-fuzz) was looked at. Its engine needs a command of its own and a C++ compiler,
//! and the best of it a nightly one. Here the texts are JSON of known shapes, much of it in strings of other JSON: a change to a
//! value at its place, however deep it is wrapped, reaches more than bytes that coverage has to guess.
#![allow(dead_code)] // Each test uses what it needs.

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestCaseError, TestError, TestRunner},
};
use serde_json::Value;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Changed documents that each target is given in a run of the tests; `PROPTEST_CASES` asks for more, each time others.
const CASES: u32 = 400;

/// Texts that are put in the place of a value.
const ODD: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "-0",
    "-1",
    "1.5",
    "1e400",
    "1E-400",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "-9223372036854775809",
    "\"\"",
    "\"0\"",
    "\"-1\"",
    "\"4294967296\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u202e\\u200b\\u001b[0m\"",
    "\"%2e%2e%2F%00\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"-262144-01-01T00:00:00+99:99\"",
    "\"0000-00-00T24:00:60Z\"",
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    "[null,{\"a\":[]}]",
    "NaN",
    "01",
    "'a'",
    "\"{}\"",
    "\"[\"",
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
    b"%",
    b"/",
    b"\xf4\x90\x80\x80",
    b"\\u0000",
    b"\xe2\x80\xae",
    b"null",
    b" ",
];

/// What is put in the place of a value, and replaced there by a text that need not be JSON.
const MARK: &str = "the value that goes";

/// One change: what, where, and with what, each taken modulo what there is.
type Change = (u8, u16, u16, u16);

/// Gives `check` each file of the corpus in `folder`, then changes of them. It panics where something does not hold.
pub fn fuzz(folder: &Path, check: impl Fn(&[u8])) {
    let seeds = corpus(folder);
    for (name, seed) in &seeds {
        let held = catch_unwind(AssertUnwindSafe(|| check(seed)));
        assert!(held.is_ok(), "{name} of the corpus {}", folder.display());
    }
    let mut runner = TestRunner::new(config());
    let drawn = (any::<u16>(), proptest::collection::vec(any::<Change>(), 1..4));
    let made = |(seed, changes): &(u16, Vec<Change>)| {
        let (_, seed) = &seeds[usize::from(*seed) % seeds.len()];
        changes.iter().fold(seed.clone(), |document, change| changed(&document, *change, &seeds))
    };
    let run = runner.run(&drawn, |drawn| {
        let document = made(&drawn);
        let held = catch_unwind(AssertUnwindSafe(|| check(&document)));
        held.map_err(|panic| TestCaseError::fail(text_of(panic.as_ref())))
    });
    match run {
        Ok(()) => {}
        Err(TestError::Fail(why, drawn)) => panic!(
            "{why}\nof this document, which is to be kept in {}:\n{}",
            folder.display(),
            made(&drawn).escape_ascii()
        ),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// So many cases of the same seed, so that every run of the tests is the same; others where more are asked for.
fn config() -> ProptestConfig {
    let asked = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return asked;
    }
    ProptestConfig { cases: CASES, rng_seed: RngSeed::Fixed(21), ..asked }
}

fn corpus(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("the corpus {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus {} is empty", folder.display());
    files
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// A document after a change. One to a value is tried first: of a text that is no JSON, bytes are changed.
fn changed(document: &[u8], (kind, at, to, what): Change, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    if kind % 3 > 0
        && let Ok(text) = std::str::from_utf8(document)
        && let Some(text) = changed_value(text, (kind / 3, at, to, what), 0)
    {
        return text.into_bytes();
    }
    let mut bytes = document.to_vec();
    let place = |draw: u16| usize::from(draw) * bytes.len().max(1) / 65_536;
    let (at, to) = (place(at.min(to)), place(at.max(to)));
    match kind / 3 % 6 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (what % 8);
            }
        }
        1 => drop(bytes.drain(at..to)),
        2 => {
            let odd = BYTES[usize::from(what) % BYTES.len()];
            bytes.splice(at..at, odd.iter().copied());
        }
        3 => {
            let part = bytes[at..to].to_vec();
            bytes.splice(at..at, part);
        }
        4 => bytes.truncate(to),
        _ => {
            let (_, other) = &seeds[usize::from(what) % seeds.len()];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[other.len() * usize::from(what) / 65_536..]);
        }
    }
    bytes
}

/// A JSON text with one of its values changed; also one in the JSON that a string of it holds. `None` where it is no JSON.
fn changed_value(text: &str, change: Change, depth: usize) -> Option<String> {
    let (kind, at, to, what) = change;
    let mut value: Value = serde_json::from_str(text).ok()?;
    let mut places = Vec::new();
    collect(&value, String::new(), &mut places);
    let place = places[usize::from(at) % places.len()].clone();
    let found = value.pointer(&place)?.clone();
    // What is wrapped is changed as often as what wraps it.
    if let Some(inner) = found.as_str()
        && inner.starts_with(['{', '['])
        && depth < 4
        && !to.is_multiple_of(4)
        && let Some(inner) =
            changed_value(inner, (kind, to, at.wrapping_mul(31).wrapping_add(7), what), depth + 1)
    {
        *value.pointer_mut(&place)? = Value::String(inner);
        return Some(value.to_string());
    }
    let (now, what) = (found.to_string(), usize::from(what));
    let instead = match kind % 8 {
        0..=2 => ODD[what % ODD.len()].to_owned(),
        3 => {
            let deep = 1 << (what % 13);
            ["[".repeat(deep), now, "]".repeat(deep)].concat()
        }
        4 => value.pointer(&places[usize::from(to) % places.len()])?.to_string(),
        5 => Value::String(now).to_string(),
        6 => Value::String("é".repeat([10, 129, 300, 5_000][what % 4])).to_string(),
        // The member before it stands there twice, or it is no member any more.
        _ => ["1, \"", place.rsplit('/').next().unwrap_or_default(), "\":", &now].concat(),
    };
    *value.pointer_mut(&place)? = MARK.into();
    Some(value.to_string().replace(&format!("\"{MARK}\""), &instead))
}

/// The JSON Pointers of all values.
fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(member, format!("{at}/{name}"), places);
            }
        }
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(index, element)| collect(element, format!("{at}/{index}"), places));
        }
        _ => {}
    }
    places.push(at);
}

/// Asserts that a text for people is short, and can be shown on a terminal and in a log.
pub fn is_shown(text: &str, bytes_max: usize) {
    assert!(text.len() <= bytes_max, "{} bytes, over {bytes_max}: {text:.200}", text.len());
    assert!(!text.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
}
