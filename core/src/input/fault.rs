//! What is wrong with a document.

use super::{FAULTS_MAX, place::Place};
use crate::failure::excerpt;
use serde::Serialize;
use serde_json::{Deserializer, de::StrRead};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
};

/// The longest detail of a fault, in bytes: our own limit.
const DETAIL_BYTES_MAX: usize = 499;

/// The kinds of faults that the readers of this module find.
pub mod code {
    /// The document has more bytes than are taken.
    pub const BODY_TOO_LARGE: &str = "body_too_large";
    /// The document is not UTF-8; line and column are those of the first offending byte.
    pub const INVALID_UTF8: &str = "invalid_utf8";
    /// The document is not JSON (RFC 8259); line and column say where that shows first.
    pub const MALFORMED_JSON: &str = "malformed_json";
    /// A value is of another type than it has to be.
    pub const WRONG_TYPE: &str = "wrong_type";
    /// A value is no array, and has to be one.
    pub const NOT_AN_ARRAY: &str = "not_an_array";
    /// An array has no elements. Beside it are `too_few_` and `too_many_`, with what the elements are called.
    pub const EMPTY_ARRAY: &str = "empty_array";
    /// A field of an object is not there.
    pub const MISSING_FIELD: &str = "missing_field";
    /// An object has a field of no known name.
    pub const UNKNOWN_FIELD: &str = "unknown_field";
    /// An object has the same field twice, once all escapes are decoded.
    pub const DUPLICATE_KEY: &str = "duplicate_key";
    /// A `\u` escape is one half of a surrogate pair without the other, so the string is no text.
    pub const LONE_SURROGATE: &str = "lone_surrogate";
    /// A text is empty, and must not be.
    pub const EMPTY: &str = "empty";
    /// A text has fewer bytes than it has to have.
    pub const TOO_SHORT: &str = "too_short";
    /// A text or a number is written with more bytes than it may have.
    pub const TOO_LONG: &str = "too_long";
    /// A text has a control character (Unicode's general category Cc).
    pub const CONTROL_CHARACTER: &str = "control_character";
    /// A number has more significant digits than [`Decimal`](crate::decimal::Decimal) keeps.
    pub const TOO_MANY_DIGITS: &str = "too_many_digits";
    /// A number is not within its bounds.
    pub const NUMBER_OUT_OF_RANGE: &str = "number_out_of_range";
    /// A number has a fraction, and must not have one.
    pub const NOT_AN_INTEGER: &str = "not_an_integer";
    /// Another element of the array has the same value. Within a field its name is part of the code:
    /// `duplicate_order_id`.
    pub const DUPLICATE: &str = "duplicate";
    /// A value lies deeper than [`DEPTH_MAX`](crate::input::DEPTH_MAX) arrays and objects.
    pub const TOO_DEEP: &str = "too_deep";
    /// A reader of the caller's did not take the value, and gave no reason.
    pub const REFUSED: &str = "refused";
    /// There are more faults than the [`FAULTS_MAX`](crate::input::FAULTS_MAX) that are listed.
    pub const MORE_FAULTS: &str = "more_faults";
}

/// One thing that is wrong with a document: a row of the `errors` in a problem body (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON Pointer (RFC 6901); the whole document is `""`. For a missing field it says where the field
    /// belongs. For an unknown key that is too long to repeat, or is no text, it names the object. Unlike `detail` it
    /// has other keys as they were sent, escaped only as RFC 6901 does.
    pub pointer: String,
    /// What kind of fault, for machines: one of [`code`], or of the caller's. In `snake_case`.
    pub code: Cow<'static, str>,
    /// What is wrong, as a sentence for people. What it repeats of the document is short and escaped.
    pub detail: String,
    /// The line of a fault in the text itself, counted from 1; absent for all other faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in that line, in bytes and counted from 1; absent where `line` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Fault {
    pub(super) fn of_document(code: impl Into<Cow<'static, str>>, detail: String) -> Self {
        Self { pointer: String::new(), code: code.into(), detail, line: None, column: None }
    }

    pub(super) fn at(self, (line, column): (usize, usize)) -> Self {
        Self { line: Some(line), column: Some(column), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", excerpt(&self.pointer, DETAIL_BYTES_MAX))?;
        }
        f.write_str(&self.detail)?;
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " (line {line}, column {column})"),
            _ => Ok(()),
        }
    }
}

/// All faults of a document, in the order they were found: at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.0
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    /// The first fault, and how many there are besides.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.first() {
            first.fmt(f)?;
        }
        match self.len() {
            0 | 1 => Ok(()),
            count => write!(f, " (and {} more)", count - 1),
        }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

/// Why a rule of the caller's does not take a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl Refusal {
    /// A refusal named `code` (`snake_case`, for machines), with a sentence for people. The sentence is cut and
    /// escaped; it should repeat little of the value.
    pub fn new(code: &'static str, detail: impl fmt::Display) -> Self {
        Self { code, detail: detail.to_string() }
    }
}

/// Gathers faults while a document is read.
#[derive(Default)]
pub(super) struct Gatherer {
    faults: RefCell<Vec<Fault>>,
    is_document_proven: Cell<bool>,
}

impl Gatherer {
    /// Adds a fault. Always `None`, as a reader returns it.
    pub(super) fn add<T>(
        &self,
        place: &Place<'_>,
        code: impl Into<Cow<'static, str>>,
        detail: impl fmt::Display,
    ) -> Option<T> {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            let detail = excerpt(&detail.to_string(), DETAIL_BYTES_MAX);
            faults.push(Fault { pointer: place.pointer(), ..Fault::of_document(code, detail) });
        } else if faults.len() == FAULTS_MAX {
            let detail = format!("There are more faults than the {FAULTS_MAX} above.");
            faults.push(Fault::of_document(code::MORE_FAULTS, detail));
        }
        None
    }

    /// True once another fault would change nothing, and looking for one is a waste.
    pub(super) fn are_enough(&self) -> bool {
        self.faults.borrow().len() > FAULTS_MAX
    }

    /// Takes down that the document was read to its end at `place`, if that is the document itself.
    pub(super) fn read_to_end(
        &self,
        place: &Place<'_>,
        deserializer: &mut Deserializer<StrRead<'_>>,
    ) -> Option<()> {
        if matches!(place, Place::Document) {
            deserializer.end().ok()?;
            self.is_document_proven.set(true);
        }
        Some(())
    }

    /// Whether the document is known to be JSON from its start to its end.
    pub(super) fn is_document_proven(&self) -> bool {
        self.is_document_proven.get()
    }

    /// The value, if there are no faults.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        let faults = self.faults.into_inner();
        match value {
            Some(value) if faults.is_empty() => Ok(value),
            None if faults.is_empty() => {
                Err(Fault::of_document(code::REFUSED, "The body was refused.".to_owned()).into())
            }
            _ => Err(Faults(faults)),
        }
    }
}
