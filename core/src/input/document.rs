//! The document as a whole: that it is JSON, and where it is not.

use super::fault::{Fault, Faults, code};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A document whose text may turn out not to be JSON.
///
/// Who reads an array or an object to its end has proven it on the way, and spares the hot path a scan of its own. What is
/// anything else is proven first.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    text: &'a str,
}

impl<'a> Document<'a> {
    /// The document, if it is text of at most `bytes_max` bytes.
    pub(super) fn of(document: &'a [u8], bytes_max: usize) -> Result<Self, Faults> {
        if document.len() > bytes_max {
            let detail = format!("The body has {} bytes, the limit is {bytes_max}.", document.len());
            return Err(Fault::of_document(code::BODY_TOO_LARGE, detail).into());
        }
        let text = std::str::from_utf8(document).map_err(|error| {
            let detail = "The body is not UTF-8.".to_owned();
            Fault::of_document(code::INVALID_UTF8, detail).at(position(document, error.valid_up_to()))
        })?;
        let document = Self { text };
        if text.trim_ascii_start().starts_with(['[', '{']) {
            return Ok(document);
        }
        Ok(Self { text: document.prove()?.get() })
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The document, if it is JSON. Without recursion, however deep it nests.
    pub(super) fn prove(&self) -> Result<&'a RawValue, Faults> {
        Ok(serde_json::from_str(self.text).map_err(|error| malformed(self.text, &error))?)
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
    Fault::of_document(code::MALFORMED_JSON, format!("The body is not JSON: {reason}.")).at(place)
}

/// The line and the column of the byte at `offset`, both counted from 1.
fn position(document: &[u8], offset: usize) -> (usize, usize) {
    let before = document.iter().take(offset);
    let line = 1 + before.clone().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}

/// The type of a value, as a sentence names it.
pub(super) fn type_of(raw: &str) -> &'static str {
    match raw.trim_ascii_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The text of a string that is known to be JSON, borrowed if it has no escapes. `None` if it has a lone surrogate: the
/// one thing that JSON's grammar allows in a string and text does not.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}
