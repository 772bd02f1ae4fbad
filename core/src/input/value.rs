//! Texts, numbers and booleans.

use super::{Input, Reader, Refusal, code, document, place::Place};
use crate::decimal::{Decimal, DecimalError};
use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    ops::RangeInclusive,
};

/// A reader with a rule of the caller's: see [`Reader::check`].
#[derive(Debug, Clone)]
pub struct Check<R, F> {
    pub(super) reader: R,
    pub(super) rule: F,
}

impl<R, T, F> Reader for Check<R, F>
where
    R: Reader,
    F: Fn(R::Value) -> Result<T, Refusal>,
{
    type Value = T;

    fn read(&self, input: &Input<'_>) -> Option<T> {
        let value = self.reader.read(input)?;
        (self.rule)(value).map_or_else(|refusal| input.refuse(refusal.code, refusal.detail), Some)
    }
}

/// Reads a text: see [`text`].
#[derive(Debug, Clone)]
pub struct Text<'u> {
    bytes: RangeInclusive<usize>,
    may_have_controls: bool,
    unique: Option<&'u Unique>,
}

/// Reads a string of so many bytes of UTF-8, once its escapes are decoded.
pub fn text(bytes: RangeInclusive<usize>) -> Text<'static> {
    Text { bytes, may_have_controls: true, unique: None }
}

impl Text<'_> {
    /// Refuses control characters (Unicode's general category Cc).
    #[must_use]
    pub fn without_controls(self) -> Self {
        Self { may_have_controls: false, ..self }
    }

    /// Refuses a text that an earlier element of the array has in the same place.
    #[must_use]
    pub fn unique(self, unique: &Unique) -> Text<'_> {
        Text { bytes: self.bytes, may_have_controls: self.may_have_controls, unique: Some(unique) }
    }
}

impl Reader for Text<'_> {
    type Value = String;

    fn read(&self, input: &Input<'_>) -> Option<String> {
        if !input.is_of_type("a string", code::WRONG_TYPE, format_args!("a string")) {
            return None;
        }
        // For faults only: in a sound text nothing of it is asked.
        let subject = || input.place.subject();
        let Some(text) = document::decode(input.raw) else {
            let detail = format!("{} has one half of a surrogate pair without the other.", subject());
            return input.refuse(code::LONE_SURROGATE, detail);
        };
        let (min, max, count) = (*self.bytes.start(), *self.bytes.end(), text.len());
        if count > max {
            let detail = format_args!("{} has {count} bytes, the limit is {max}.", subject());
            return input.refuse(code::TOO_LONG, detail);
        }
        if count < min && count == 0 {
            return input.refuse(code::EMPTY, format_args!("{} must not be empty.", subject()));
        }
        if count < min {
            let detail = format_args!("{} has {count} bytes, there must be at least {min}.", subject());
            return input.refuse(code::TOO_SHORT, detail);
        }
        if !self.may_have_controls
            && let Some(control) = text.chars().find(|character| character.is_control())
        {
            let detail =
                format_args!("{} has the control character U+{:04X}.", subject(), u32::from(control));
            return input.refuse(code::CONTROL_CHARACTER, detail);
        }
        let text = text.into_owned();
        match self.unique {
            Some(unique) => unique.admit(input, text),
            None => Some(text),
        }
    }
}

/// The texts that the elements of one array have in one place: see [`Text::unique`].
#[derive(Debug, Default)]
pub struct Unique {
    /// The index of the first element with each text.
    first: RefCell<HashMap<String, usize>>,
}

impl Unique {
    /// None as yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn admit(&self, input: &Input<'_>, text: String) -> Option<String> {
        let element = input.place.element();
        let index = element.map_or(0, |(_, index, _)| index);
        let first = match self.first.borrow_mut().entry(text.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(index);
                return Some(text);
            }
            Entry::Occupied(entry) => *entry.get(),
        };
        let (noun, at) = element.map_or(("value", String::new()), |(array, _, noun)| {
            (noun.one, format!(" at {}/{first}", array.pointer()))
        });
        let (code, name) = match input.place {
            Place::Member { name, .. } => (format!("{}_{name}", code::DUPLICATE), format!("`{name}`")),
            _ => (code::DUPLICATE.to_owned(), "value".to_owned()),
        };
        input.faults.add(&input.place, code, format_args!("The {noun}{at} has the same {name}."))
    }
}

/// Reads a number: see [`decimal`].
#[derive(Debug, Clone, Default)]
pub struct Number {
    min: Option<Decimal>,
    max: Option<Decimal>,
}

/// Reads a number exactly, as a [`Decimal`].
pub fn decimal() -> Number {
    Number::default()
}

impl Number {
    /// Refuses a number below `min`.
    #[must_use]
    pub fn at_least(self, min: impl Into<Decimal>) -> Self {
        Self { min: Some(min.into()), ..self }
    }

    /// Refuses a number above `max`.
    #[must_use]
    pub fn at_most(self, max: impl Into<Decimal>) -> Self {
        Self { max: Some(max.into()), ..self }
    }
}

impl Reader for Number {
    type Value = Decimal;

    fn read(&self, input: &Input<'_>) -> Option<Decimal> {
        if !input.is_of_type("a number", code::WRONG_TYPE, format_args!("a number")) {
            return None;
        }
        let subject = || input.place.subject();
        let number = match Decimal::parse(input.raw) {
            Ok(number) => number,
            Err(error) => {
                let code = match error {
                    DecimalError::NotANumber => code::WRONG_TYPE,
                    DecimalError::TooManyDigits { .. } => code::TOO_MANY_DIGITS,
                    DecimalError::OutOfRange => code::NUMBER_OUT_OF_RANGE,
                    DecimalError::TooLong { .. } => code::TOO_LONG,
                };
                return input.refuse(code, format_args!("{}: {error}.", subject()));
            }
        };
        if let Some(min) = self.min.as_ref().filter(|min| number < **min) {
            let detail = format_args!("{} must be at least {min}.", subject());
            return input.refuse(code::NUMBER_OUT_OF_RANGE, detail);
        }
        if let Some(max) = self.max.as_ref().filter(|max| number > **max) {
            let detail = format_args!("{} must be at most {max}.", subject());
            return input.refuse(code::NUMBER_OUT_OF_RANGE, detail);
        }
        Some(number)
    }
}

/// Reads an integer: see [`integer`].
#[derive(Debug, Clone)]
pub struct Integer {
    range: RangeInclusive<i64>,
}

/// Reads an integer within a range. It is one by its value: `4.0` and `40e-1` are 4.
pub fn integer(range: RangeInclusive<i64>) -> Integer {
    Integer { range }
}

impl Reader for Integer {
    type Value = i64;

    fn read(&self, input: &Input<'_>) -> Option<i64> {
        let number = decimal().read(input)?;
        let subject = || input.place.subject();
        if !number.is_integer() {
            return input.refuse(code::NOT_AN_INTEGER, format_args!("{} must be an integer.", subject()));
        }
        number.to_i64().filter(|integer| self.range.contains(integer)).or_else(|| {
            let (min, max) = (self.range.start(), self.range.end());
            let detail = format_args!("{} must be from {min} to {max}.", subject());
            input.refuse(code::NUMBER_OUT_OF_RANGE, detail)
        })
    }
}

/// Reads `true` or `false`.
pub fn boolean(input: &Input<'_>) -> Option<bool> {
    input.is_of_type("a boolean", code::WRONG_TYPE, format_args!("a boolean")).then(|| input.raw == "true")
}
