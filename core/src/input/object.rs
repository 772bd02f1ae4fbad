//! Objects, and their fields.

use super::{Input, Reader, code, document, place::Place};
use serde::{
    Deserializer as _,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// The longest unknown key that is repeated in a pointer, in bytes; a longer one is left out of it: our own limit.
const POINTER_KEY_BYTES_MAX: usize = 128;

/// How much of an unknown key a detail repeats, in characters before they are escaped: our own limit.
const EXCERPT_CHARACTERS_MAX: usize = 32;

/// Fields that the reader does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Each is a fault.
    AreFaults,
    /// They are passed over.
    AreIgnored,
}

/// A field of an object: what [`field`] and [`optional`] make.
pub trait Field {
    /// What is read of it.
    type Value;

    /// Its name.
    fn name(&self) -> &'static str;

    /// Reads it as a member of `object`; `raw` is none where it is not there.
    fn read(&self, object: &Input<'_>, raw: Option<&str>) -> Option<Self::Value>;
}

/// A field that has to be there: see [`field`].
#[derive(Debug, Clone)]
pub struct Required<R> {
    name: &'static str,
    reader: R,
}

/// A field that may be absent: see [`optional`].
#[derive(Debug, Clone)]
pub struct Optional<R> {
    name: &'static str,
    reader: R,
}

/// A field that has to be there.
pub fn field<R: Reader>(name: &'static str, reader: R) -> Required<R> {
    Required { name, reader }
}

/// A field that may be absent; `null` is as good as absent.
pub fn optional<R: Reader>(name: &'static str, reader: R) -> Optional<R> {
    Optional { name, reader }
}

impl<R: Reader> Field for Required<R> {
    type Value = R::Value;

    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, object: &Input<'_>, raw: Option<&str>) -> Option<Self::Value> {
        let place = Place::Member { object: &object.place, name: self.name };
        match raw {
            Some(raw) => {
                self.reader.read(&Input { raw, place, depth: object.depth + 1, faults: object.faults })
            }
            None => {
                object.faults.add(&place, code::MISSING_FIELD, format_args!("`{}` is missing.", self.name))
            }
        }
    }
}

impl<R: Reader> Field for Optional<R> {
    type Value = Option<R::Value>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, object: &Input<'_>, raw: Option<&str>) -> Option<Self::Value> {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            return Some(None);
        };
        let place = Place::Member { object: &object.place, name: self.name };
        self.reader.read(&Input { raw, place, depth: object.depth + 1, faults: object.faults }).map(Some)
    }
}

/// The fields of an object: a tuple of one to twelve [`Field`]s.
pub trait Fields {
    /// What is read of them.
    type Values;

    /// Reads all, and has their values if all are sound.
    fn read(&self, object: &Input<'_>, others: Others) -> Option<Self::Values>;
}

macro_rules! fields_of {
    ($($field:ident $index:tt),+) => {
        impl<$($field: Field),+> Fields for ($($field,)+) {
            type Values = ($($field::Value,)+);

            fn read(&self, object: &Input<'_>, others: Others) -> Option<Self::Values> {
                let values = take_apart(object, [$(self.$index.name()),+], others)?;
                // All are read before one is asked for, so that no fault hides another.
                let read = ($(self.$index.read(object, values[$index]),)+);
                Some(($(read.$index?,)+))
            }
        }
    };
}

fields_of!(A 0);
fields_of!(A 0, B 1);
fields_of!(A 0, B 1, C 2);
fields_of!(A 0, B 1, C 2, D 3);
fields_of!(A 0, B 1, C 2, D 3, E 4);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
fields_of!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

/// Takes an object apart into the values of its fields, and adds the faults of its keys.
fn take_apart<'a, const N: usize>(
    object: &Input<'a>,
    names: [&'static str; N],
    others: Others,
) -> Option<[Option<&'a str>; N]> {
    if !object.is_of_type("an object", code::WRONG_TYPE, format_args!("an object")) || !object.may_go_deeper()
    {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.raw);
    // An error says that there are faults enough, or is one of the document, which is proven again.
    let values = deserializer.deserialize_map(MembersVisitor { object, names, others }).ok()?;
    object.faults.read_to_end(&object.place, &mut deserializer)?;
    Some(values)
}

struct MembersVisitor<'i, 'a, const N: usize> {
    object: &'i Input<'a>,
    names: [&'static str; N],
    others: Others,
}

impl<const N: usize> MembersVisitor<'_, '_, N> {
    /// Adds a fault of the member `name`, or of the object as a whole.
    fn fault(&self, name: Option<&str>, code: &'static str, detail: fmt::Arguments<'_>) {
        let object = &self.object.place;
        let place = name.map_or(*object, |name| Place::Member { object, name });
        self.object.faults.add::<()>(&place, code, detail);
    }

    fn unknown(&self, key: &str) {
        let name = (key.len() <= POINTER_KEY_BYTES_MAX).then_some(key);
        let (subject, key) = (self.object.place.subject(), excerpt(key));
        self.fault(name, code::UNKNOWN_FIELD, format_args!("{subject} has no field \"{key}\"."));
    }
}

impl<'a, const N: usize> Visitor<'a> for MembersVisitor<'_, '_, N> {
    type Value = [Option<&'a str>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        // A key is read raw as well: one that is no text must not hide the faults of the others.
        while let Some((key, value)) = object.next_entry::<&RawValue, &RawValue>()? {
            let key = document::decode(key.get());
            let known = self.names.iter().zip(&mut values).find(|(name, _)| key.as_deref() == Some(**name));
            match (known, key) {
                (Some((_, slot @ None)), _) => *slot = Some(value.get()),
                (Some((name, Some(_))), _) => {
                    self.fault(
                        Some(name),
                        code::DUPLICATE_KEY,
                        format_args!("`{name}` is there more than once."),
                    );
                }
                (None, _) if self.others == Others::AreIgnored => {}
                (None, Some(key)) => self.unknown(&key),
                (None, None) => {
                    let detail = format_args!("A key has one half of a surrogate pair without the other.");
                    self.fault(None, code::LONE_SURROGATE, detail);
                }
            }
            if self.object.faults.are_enough() {
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
