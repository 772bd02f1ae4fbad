//! The two kinds of failure, and the type that says which.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, time::Duration};

/// Whether trying again can help. Decided once, where the cause is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Try this message again after a backoff; after the last receive it is dead-lettered.
    Transient,
    /// No retry can help: dead-letter it now.
    Permanent,
}

/// Why a message could not be handled.
///
/// `reason` is a short machine name (`snake_case`, at most 64 bytes are kept): operators filter by it, alarms
/// count it, and it goes where the payload must not. `detail` is a sentence for the log and the dead letter.
///
/// ```
/// use quadrille::Failure;
/// let failure = Failure::permanent("rejected", "the kitchen rejected the order");
/// assert!(failure.is_permanent());
/// assert_eq!(failure.to_string(), "rejected: the kitchen rejected the order");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    reason: Cow<'static, str>,
    detail: String,
    not_before: Option<Duration>,
}

/// A queue hides a message for 12 h at most, counted from its receive; an attempt takes its part of that.
const NOT_BEFORE_MAX: Duration = Duration::from_secs(11 * 3_600);

const REASON_BYTES_MAX: usize = 64;
const DETAIL_BYTES_MAX: usize = 1_024;

impl Failure {
    /// A failure that may pass: a timeout, a throttle, a lost race.
    pub fn transient(reason: impl Into<Cow<'static, str>>, detail: impl fmt::Display) -> Self {
        Self::new(FailureKind::Transient, reason.into(), detail)
    }

    /// A failure that no retry mends: a malformed message, a rejected order.
    pub fn permanent(reason: impl Into<Cow<'static, str>>, detail: impl fmt::Display) -> Self {
        Self::new(FailureKind::Permanent, reason.into(), detail)
    }

    fn new(kind: FailureKind, mut reason: Cow<'static, str>, detail: impl fmt::Display) -> Self {
        if reason.len() > REASON_BYTES_MAX {
            reason = Cow::Owned(excerpt(&reason, REASON_BYTES_MAX));
        }
        Self { kind, reason, detail: excerpt(&detail.to_string(), DETAIL_BYTES_MAX), not_before: None }
    }

    /// The same, with how long whoever failed asks not to be asked again. The next attempt comes no sooner, however short the
    /// step's wait is; 11 h is the longest that counts.
    #[must_use]
    pub fn not_before(self, wait: Option<Duration>) -> Self {
        Self { not_before: wait.map(|wait| wait.min(NOT_BEFORE_MAX)), ..self }
    }

    /// How long it is to be until the next attempt, at least.
    pub fn wait_at_least(&self) -> Duration {
        self.not_before.unwrap_or_default()
    }

    /// Transient or permanent.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether no retry can help.
    pub fn is_permanent(&self) -> bool {
        self.kind == FailureKind::Permanent
    }

    /// The machine name of the cause.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// A sentence for people, at most 1,024 bytes, without control characters.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Failure {}

/// Makes a [`Failure`] of an error where it is met: the caller says whether trying again can help, and gives the reason;
/// the error's own text is the detail.
///
/// ```
/// use quadrille::{Failure, OrFailure as _};
/// fn cups(text: &str, menu: &[&str]) -> Result<u32, Failure> {
///     let cups = text.parse().permanent("malformed")?;
///     menu.first().ok_or("the menu is empty").transient("no_menu")?;
///     Ok(cups)
/// }
/// assert_eq!(cups("two", &[]).unwrap_err().to_string(), "malformed: invalid digit found in string");
/// assert!(!cups("2", &[]).unwrap_err().is_permanent());
/// ```
pub trait OrFailure<T> {
    /// The failure may pass: a timeout, a throttle, a lost race. The message is tried again.
    ///
    /// # Errors
    /// A transient [`Failure`] with this reason, where there is an error.
    fn transient(self, reason: impl Into<Cow<'static, str>>) -> Result<T, Failure>;

    /// No retry mends the failure. The message is dead-lettered.
    ///
    /// # Errors
    /// A permanent [`Failure`] with this reason, where there is an error.
    fn permanent(self, reason: impl Into<Cow<'static, str>>) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFailure<T> for Result<T, E> {
    fn transient(self, reason: impl Into<Cow<'static, str>>) -> Result<T, Failure> {
        self.map_err(|error| Failure::transient(reason, error))
    }

    fn permanent(self, reason: impl Into<Cow<'static, str>>) -> Result<T, Failure> {
        self.map_err(|error| Failure::permanent(reason, error))
    }
}

/// At most `bytes_max` bytes of `text`, cut between characters, control characters and those that break lines or turn the
/// writing around shown as escapes: text from outside may end in a log or on a terminal.
pub fn excerpt(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let before = out.len();
        if character.is_control() || is_layout(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        if out.len() > bytes_max {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Whether a character is not seen by itself: Unicode's line separators, its controls of direction, what has no width, what
/// chooses a variant, and tags.
fn is_layout(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_cut_and_escaped() {
        assert_eq!(excerpt("a\u{1b}[31mé", 100), "a\\u{1b}[31mé");
        assert_eq!(excerpt("a\u{202e}b\u{2028}c", 100), "a\\u{202e}b\\u{2028}c");
        // A C1 control, what has no width, a tag.
        assert_eq!(
            excerpt("a\u{9b}31m\u{200b}\u{feff}\u{e0041}b", 100),
            "a\\u{9b}31m\\u{200b}\\u{feff}\\u{e0041}b"
        );
        assert_eq!(excerpt("éé", 3), "é");
        let failure = Failure::permanent("x".repeat(100), "y".repeat(5_000));
        assert_eq!((failure.reason().len(), failure.detail().len()), (64, 1_024));
    }
}
