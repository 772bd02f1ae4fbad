//! Arrays.

use super::{
    Input, Reader, code,
    place::{Noun, Place},
};
use serde::{
    Deserializer as _,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, ops::RangeInclusive};

/// Reads an array: see [`array()`].
#[derive(Debug, Clone)]
pub struct Array<R> {
    lengths: RangeInclusive<usize>,
    element: R,
    noun: Noun,
}

/// Reads an array of so many elements. With too many, the first of them are checked all the same.
pub fn array<R: Reader>(lengths: RangeInclusive<usize>, element: R) -> Array<R> {
    Array { lengths, element, noun: Noun { one: "element", many: "elements" } }
}

impl<R> Array<R> {
    /// What the elements are called: `.of("order", "orders")`. The second is part of codes, as in `too_many_orders`.
    #[must_use]
    pub fn of(self, one: &'static str, many: &'static str) -> Self {
        Self { noun: Noun { one, many }, ..self }
    }

    fn check_length(&self, input: &Input<'_>, count: usize) {
        let (min, max) = (*self.lengths.start(), *self.lengths.end());
        let Noun { one, many } = self.noun;
        let place = &input.place;
        let faults = input.faults;
        if count > max {
            let detail = format_args!("There are {count} {many}, the limit is {max}.");
            faults.add::<()>(place, format!("too_many_{many}"), detail);
        } else if count == 0 && min > 0 {
            let subject = match place {
                Place::Document => "The array".to_owned(),
                place => place.subject(),
            };
            let least = if min == 1 { format!("one {one}") } else { format!("{min} {many}") };
            let detail = format_args!("{subject} is empty; it must have at least {least}.");
            faults.add::<()>(place, code::EMPTY_ARRAY, detail);
        } else if count < min {
            let detail = format_args!("There are {count} {many}, there must be at least {min}.");
            faults.add::<()>(place, format!("too_few_{many}"), detail);
        }
    }
}

impl<R: Reader> Reader for Array<R> {
    type Value = Vec<R::Value>;

    fn read(&self, input: &Input<'_>) -> Option<Self::Value> {
        let is_named = self.noun.many != "elements";
        let wanted = if is_named { format!("an array of {}", self.noun.many) } else { "an array".to_owned() };
        if !input.is_of_type("an array", code::NOT_AN_ARRAY, format_args!("{wanted}"))
            || !input.may_go_deeper()
        {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(input.raw);
        // An error is one of the document, which is proven again: of all else it is known to be JSON.
        let elements =
            deserializer.deserialize_seq(ElementsVisitor { kept_max: *self.lengths.end() }).ok()?;
        input.faults.read_to_end(&input.place, &mut deserializer)?;
        self.check_length(input, elements.count);
        let mut values = Vec::with_capacity(elements.kept.len());
        let count = elements.kept.len();
        for (index, raw) in elements.kept.into_iter().enumerate() {
            let place = Place::Element { array: &input.place, index, noun: self.noun };
            let element = Input { raw: raw.get(), place, depth: input.depth + 1, faults: input.faults };
            values.extend(self.element.read(&element));
            if input.faults.are_enough() {
                break;
            }
        }
        (values.len() == count).then_some(values)
    }
}

/// The elements of an array, not yet looked into.
struct Elements<'a> {
    /// The first of them, as many as there may be.
    kept: Vec<&'a RawValue>,
    /// How many there are in all.
    count: usize,
}

struct ElementsVisitor {
    kept_max: usize,
}

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.kept_max {
            match array.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(Elements { count: kept.len(), kept }),
            }
        }
        let mut count = kept.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Elements { kept, count })
    }
}
