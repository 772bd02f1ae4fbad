//! The secret that lets a client in.

use std::{fmt, hint::black_box};

/// A secret that a client shows to be let in. Never printed.
#[derive(Clone)]
pub struct Token(String);

/// A token that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token is {} to {} visible ASCII characters without spaces; `openssl rand -hex 32` makes a good one",
    Token::BYTES_MIN,
    Token::BYTES_MAX
)]
pub struct TokenError;

impl Token {
    /// Shortest token, in bytes. Ours: 16 hexadecimal digits are 64 bits.
    pub const BYTES_MIN: usize = 16;

    /// Longest token, in bytes. Ours: it has to fit in a header.
    pub const BYTES_MAX: usize = 4_096;

    /// A token of 16 to 4,096 visible ASCII characters.
    ///
    /// # Errors
    /// [`TokenError`] where it is shorter, longer, or holds another character.
    pub fn new(secret: String) -> Result<Self, TokenError> {
        let fits = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&secret.len());
        if fits && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret))
        } else {
            Err(TokenError)
        }
    }

    /// The secret, to be given to whoever may come in.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token. How long it takes depends on the lengths and not on how much of the token was
    /// guessed: every byte is compared, whatever the ones before it were.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differences =
            secret.iter().zip(given).fold(0, |found, (one, other)| black_box(found | (one ^ other)));
        secret.len() == given.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
