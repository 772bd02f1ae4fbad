//! Where a value stands in its document.

use std::borrow::Cow;

/// A place, by those around it. Only a fault makes a JSON Pointer of it.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Document,
    Member { object: &'a Place<'a>, name: &'a str },
    Element { array: &'a Place<'a>, index: usize, noun: Noun },
}

/// What the elements of an array are called in sentences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noun {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

impl Place<'_> {
    /// As a JSON Pointer (RFC 6901).
    pub(super) fn pointer(&self) -> String {
        let mut segments: Vec<Cow<'_, str>> = Vec::new();
        let mut place = self;
        loop {
            place = match place {
                Self::Document => break,
                Self::Member { object, name } => {
                    segments.push(name.replace('~', "~0").replace('/', "~1").into());
                    *object
                }
                Self::Element { array, index, .. } => {
                    segments.push(index.to_string().into());
                    *array
                }
            };
        }
        segments.iter().rev().flat_map(|segment| ["/", segment]).collect()
    }

    /// The value as the subject of a sentence.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Document => "The body".to_owned(),
            Self::Member { name, .. } => format!("`{name}`"),
            Self::Element { noun, .. } => {
                let article = if noun.one.starts_with(['a', 'e', 'i', 'o', 'u']) { "An" } else { "A" };
                format!("{article} {}", noun.one)
            }
        }
    }

    pub(super) fn is_element(&self) -> bool {
        matches!(self, Self::Element { .. })
    }

    /// The element of an array that the value is, or is part of.
    pub(super) fn element(&self) -> Option<(&Self, usize, Noun)> {
        let mut place = self;
        loop {
            place = match place {
                Self::Document => return None,
                Self::Member { object, .. } => object,
                Self::Element { array, index, noun } => return Some((array, *index, *noun)),
            };
        }
    }
}
