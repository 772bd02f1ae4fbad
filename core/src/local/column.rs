//! The columns of a row, each read by itself: what is wrong with one takes neither the others nor the other rows with it.

use super::checksum;
use crate::port::Unreadable;
use rusqlite::{Row, types::ValueRef};

/// A row as it is read.
pub(super) struct Columns<'r> {
    row: &'r Row<'r>,
    wrong: Option<Unreadable>,
}

impl<'r> Columns<'r> {
    pub(super) fn of(row: &'r Row<'_>) -> Self {
        Self { row, wrong: None }
    }

    /// What was met first that can't be read.
    pub(super) fn wrong(self) -> Option<Unreadable> {
        self.wrong
    }

    /// A text; what of it is text where it is damaged.
    pub(super) fn text(&mut self, at: usize, name: &str) -> rusqlite::Result<String> {
        Ok(self.optional_text(at, name)?.unwrap_or_else(|| {
            self.is_wrong(name, "is missing");
            String::new()
        }))
    }

    pub(super) fn optional_text(&mut self, at: usize, name: &str) -> rusqlite::Result<Option<String>> {
        Ok(match self.row.get_ref(at)? {
            ValueRef::Null => None,
            ValueRef::Text(bytes) => Some(match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(error) => {
                    self.is_wrong(name, format_args!("is not UTF-8: {error}"));
                    String::from_utf8_lossy(bytes).into_owned()
                }
            }),
            ValueRef::Blob(bytes) => {
                self.is_wrong(name, "is not text");
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            ValueRef::Integer(_) | ValueRef::Real(_) => {
                self.is_wrong(name, "is not text");
                Some(String::new())
            }
        })
    }

    /// A number that is not negative; 0 where it is damaged.
    pub(super) fn number(&mut self, at: usize, name: &str) -> rusqlite::Result<u64> {
        Ok(match self.row.get_ref(at)? {
            ValueRef::Integer(number) if number >= 0 => number.unsigned_abs(),
            _ => {
                self.is_wrong(name, "is no number of its kind");
                0
            }
        })
    }

    /// A time in milliseconds, where there is one that can be read.
    pub(super) fn optional_time(&mut self, at: usize, name: &str) -> rusqlite::Result<Option<i64>> {
        Ok(match self.row.get_ref(at)? {
            ValueRef::Null => None,
            ValueRef::Integer(millis) => Some(millis),
            _ => {
                self.is_wrong(name, "is no time");
                None
            }
        })
    }

    /// Holds what was read against the checksum of the row, where it has one.
    pub(super) fn check<const N: usize>(&mut self, at: usize, texts: [&str; N]) -> rusqlite::Result<()> {
        match self.row.get_ref(at)? {
            ValueRef::Null => {}
            ValueRef::Integer(stored) if stored == checksum::of(texts) => {}
            _ => self.is_wrong("content", "is not what was written: its checksum is another one"),
        }
        Ok(())
    }

    fn is_wrong(&mut self, name: &str, how: impl std::fmt::Display) {
        self.wrong.get_or_insert_with(|| Unreadable::new(format_args!("its {name} {how}")));
    }
}
