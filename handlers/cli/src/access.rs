//! What a command is to do with what it reaches.

/// What a command does with a data folder at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// It only looks: nothing is made or changed.
    Looks,
    /// It sends, moves or deletes messages.
    Changes,
    /// It tries what handlers would do, and changes nothing.
    Tries,
    /// It does all that an operator does: looks, tries, sends, moves and deletes messages.
    Operates,
    /// This handler answers a request.
    Answers(&'a str),
}
