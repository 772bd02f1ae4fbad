//! How a port tells of what is there and can't be read: by itself, so that what stands beside it goes on.

use crate::failure::excerpt;
use std::fmt;

/// Why something that is there can't be read. It alone is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    /// For this cause, which holds nothing of the content.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(excerpt(&why.to_string(), 1_024))
    }
}

/// What a table holds of an entity: its state and trail, JSON. Nothing looks into it until it is asked for, and whoever asks
/// is told where it can't be read. Its key, version, expiry and place in the index stand beside it and are known all the same.
///
/// ```
/// use quadrille::port::Document;
/// assert_eq!(Document::from("{}").text(), Ok("{}"));
/// let damaged = Document::unreadable("it is not UTF-8");
/// assert_eq!(damaged.text().unwrap_err().to_string(), "it is not UTF-8");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Result<String, Unreadable>);

impl Document {
    /// One that is there and can't be read for this cause.
    pub fn unreadable(why: impl fmt::Display) -> Self {
        Self(Err(Unreadable::new(why)))
    }

    /// Its text.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn text(&self) -> Result<&str, &Unreadable> {
        self.0.as_deref()
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self(Ok(text))
    }
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        Self(Ok(text.to_owned()))
    }
}
